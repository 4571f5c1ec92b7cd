/* operation_misuse.c: what no program should do with operations, and what few do. */
#define _GNU_SOURCE
#include "operation.h"

#include <limits.h>

/* ---- every call, as a table ---- */

enum kind { ON_LOOP, ON_OP, ON_BUFFER };

enum { REFUSED = -9999 }; /* stands for NULL: the answer of a call without status */

static union {
    uint64_t bits;
    gyre_op op;
    gyre_loop loop;
} call_out;

static struct outcome call_outcome;
static char call_bytes[8];
static struct iovec call_piece = {call_bytes, sizeof call_bytes};
static struct msghdr call_message;
static struct sockaddr_in call_address;
static int call_fd; /* a stream socket, non-blocking */

#define CALL(kind, name, expression)      \
    static int call_##name(uint64_t bits) \
    {                                     \
        gyre_##kind h;                    \
        h.bits = bits;                    \
        return (expression);              \
    }
#define RESULT note, &call_outcome, &call_out.op

CALL(loop, read, gyre_op_read(h, call_fd, call_bytes, 8, GYRE_NO_OFFSET, RESULT))
CALL(loop, write, gyre_op_write(h, call_fd, call_bytes, 8, GYRE_NO_OFFSET, RESULT))
CALL(loop, readv, gyre_op_readv(h, call_fd, &call_piece, 1, GYRE_NO_OFFSET, RESULT))
CALL(loop, writev, gyre_op_writev(h, call_fd, &call_piece, 1, GYRE_NO_OFFSET, RESULT))
CALL(loop, recv, gyre_op_recv(h, call_fd, call_bytes, 8, 0, RESULT))
CALL(loop, send, gyre_op_send(h, call_fd, call_bytes, 8, 0, RESULT))
CALL(loop, recvmsg, gyre_op_recvmsg(h, call_fd, &call_message, 0, RESULT))
CALL(loop, sendmsg, gyre_op_sendmsg(h, call_fd, &call_message, 0, RESULT))
CALL(loop, accept, gyre_op_accept(h, call_fd, RESULT))
CALL(loop, connect, gyre_op_connect(h, call_fd, (struct sockaddr *)&call_address, sizeof call_address, RESULT))
CALL(loop, close_fd, gyre_op_close_fd(h, call_fd, RESULT))
CALL(loop, fsync, gyre_op_fsync(h, call_fd, 0, RESULT))
CALL(loop, sleep, gyre_op_sleep(h, 0, RESULT))
CALL(loop, accept_many, gyre_op_accept_many(h, call_fd, RESULT))
CALL(loop, recv_many, gyre_op_recv_many(h, call_fd, RESULT))
CALL(op, pause, gyre_op_pause(h))
CALL(op, resume, gyre_op_resume(h))
CALL(op, cancel, gyre_op_cancel(h))
CALL(op, timeout, gyre_op_timeout(h, 1))
CALL(op, set_keepalive, gyre_op_set_keepalive(h, 0))
CALL(op, loop, gyre_op_loop(h, &call_out.loop))
CALL(op, user_data, gyre_op_user_data(h) == NULL ? REFUSED : 0)
CALL(op, set_user_data, gyre_op_set_user_data(h, NULL))
CALL(buffer, release, gyre_buffer_release(h))

static const struct call {
    const char *name;
    enum kind kind;
    int (*make)(uint64_t bits);
} calls[] = {
    {"gyre_op_read", ON_LOOP, call_read},
    {"gyre_op_write", ON_LOOP, call_write},
    {"gyre_op_readv", ON_LOOP, call_readv},
    {"gyre_op_writev", ON_LOOP, call_writev},
    {"gyre_op_recv", ON_LOOP, call_recv},
    {"gyre_op_send", ON_LOOP, call_send},
    {"gyre_op_recvmsg", ON_LOOP, call_recvmsg},
    {"gyre_op_sendmsg", ON_LOOP, call_sendmsg},
    {"gyre_op_accept", ON_LOOP, call_accept},
    {"gyre_op_connect", ON_LOOP, call_connect},
    {"gyre_op_close_fd", ON_LOOP, call_close_fd},
    {"gyre_op_fsync", ON_LOOP, call_fsync},
    {"gyre_op_sleep", ON_LOOP, call_sleep},
    {"gyre_op_accept_many", ON_LOOP, call_accept_many},
    {"gyre_op_recv_many", ON_LOOP, call_recv_many},
    {"gyre_op_pause", ON_OP, call_pause},
    {"gyre_op_resume", ON_OP, call_resume},
    {"gyre_op_cancel", ON_OP, call_cancel},
    {"gyre_op_timeout", ON_OP, call_timeout},
    {"gyre_op_set_keepalive", ON_OP, call_set_keepalive},
    {"gyre_op_loop", ON_OP, call_loop},
    {"gyre_op_user_data", ON_OP, call_user_data},
    {"gyre_op_set_user_data", ON_OP, call_set_user_data},
    {"gyre_buffer_release", ON_BUFFER, call_release},
};

enum { CALLS = sizeof calls / sizeof calls[0], NO_BITS = 0x5a5a };

/* Makes a call that must be refused with one status, and must then have written nothing. */
static void check_refused(const struct call *call, uint64_t bits, int want)
{
    int got;
    call_out.bits = NO_BITS;
    if (call->make == call_user_data)
        want = REFUSED;
    got = call->make(bits);
    if (got != want) {
        fprintf(stderr, "in %s: %s(0x%llx): got %d %s, want %d %s\n", check_running, call->name,
                (unsigned long long)bits, got, gyre_status_name(got), want, gyre_status_name(want));
        _exit(1);
    }
    CHECK_EQ(call_out.bits, NO_BITS);
    CHECK_EQ(call_outcome.calls, 0);
}

static void check_all_refuse(uint64_t bits, int want)
{
    int i;
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits, want);
}

/* A loop with a receive of many that waits, a buffer that is held, and a watcher. */
struct specimens {
    gyre_loop loop;
    gyre_op op;
    gyre_buffer buffer;
    gyre_io io;
    struct ear ear;
    int ends[2], others[2];
    int calls; /* of the operation, without GYRE_MORE */
};

static void hold_first(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct specimens *s = (struct specimens *)user_data;
    (void)loop;
    if (!(done->flags & GYRE_MORE))
        s->calls++;
    else if (s->buffer.bits == 0)
        CHECK_OK(gyre_buffer_hold(done, &s->buffer));
}

static void specimens_open(struct specimens *s)
{
    memset(s, 0, sizeof *s);
    call_outcome = none_yet();
    make_socketpair(s->ends);
    make_socketpair(s->others);
    make_nonblocking(s->others[0]);
    call_fd = s->others[0];
    s->loop = open_loop();
    CHECK_OK(gyre_op_recv_many(s->loop, s->ends[0], hold_first, s, &s->op));
    s->io = watch(s->loop, s->ends[0], GYRE_PRIORITY, &s->ear);
    put_byte(s->ends[1]);
    RUN_UNTIL(s->loop, s->buffer.bits != 0);
}

static void specimens_close(struct specimens *s)
{
    close_loop(s->loop);
    CHECK_EQ(s->calls, 1); /* P7: told, whatever was done to it */
    CHECK_EQ(call_outcome.calls, 0);
    close_pair(s->ends);
    close_pair(s->others);
}

static uint64_t bits_for(const struct specimens *s, enum kind kind)
{
    return kind == ON_LOOP ? s->loop.bits : kind == ON_OP ? s->op.bits : s->buffer.bits;
}

/* ---- handles ---- */

static void none_and_forged_handles_are_refused_by_every_call(void)
{
    struct specimens s;
    uint64_t random = 88172645463325252u;
    int i, bit;
    check_all_refuse(0, GYRE_EHANDLE); /* before any loop was opened */
    specimens_open(&s);
    check_all_refuse(0, GYRE_EHANDLE);
    check_all_refuse(1, GYRE_EHANDLE);
    check_all_refuse(UINT64_MAX, GYRE_EHANDLE);
    for (i = 0; i < CHECK_SCALED(20000); i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        check_refused(&calls[i % CALLS], random, GYRE_EHANDLE);
    }
    for (bit = 0; bit < 64; bit++) { /* each single bit of a live handle turned */
        for (i = 0; i < CALLS; i++) {
            uint64_t forged = bits_for(&s, calls[i].kind) ^ (uint64_t)1 << bit;
            if (forged != s.loop.bits && forged != s.op.bits && forged != s.buffer.bits)
                check_refused(&calls[i], forged, GYRE_EHANDLE);
        }
    }
    CHECK_EQ(stats_of(s.loop).op_in_flight, 1);
    specimens_close(&s);
}

static void handles_of_another_kind_are_refused_by_every_call(void)
{
    struct specimens s;
    gyre_timer timer;
    int i;
    specimens_open(&s);
    CHECK_OK(gyre_timer_open(s.loop, GYRE_FOREVER, 0, count_timer, NULL, &timer));
    for (i = 0; i < CALLS; i++) {
        check_refused(&calls[i], s.io.bits, GYRE_EHANDLE);
        check_refused(&calls[i], timer.bits, GYRE_EHANDLE);
        if (calls[i].kind != ON_LOOP)
            check_refused(&calls[i], s.loop.bits, GYRE_EHANDLE);
        if (calls[i].kind != ON_OP)
            check_refused(&calls[i], s.op.bits, GYRE_EHANDLE);
        if (calls[i].kind != ON_BUFFER)
            check_refused(&calls[i], s.buffer.bits, GYRE_EHANDLE);
    }
    s.io.bits = s.op.bits; /* and those of operations by other calls */
    CHECK_STATUS(gyre_io_close(s.io), GYRE_EHANDLE);
    timer.bits = s.buffer.bits;
    CHECK_STATUS(gyre_timer_close(timer), GYRE_EHANDLE);
    specimens_close(&s);
}

static void handles_of_what_has_ended_are_refused_by_every_call(void)
{
    struct specimens s;
    int i;
    specimens_open(&s);
    CHECK_OK(gyre_op_cancel(s.op));
    CHECK_OK(gyre_buffer_release(s.buffer));
    RUN_UNTIL(s.loop, s.calls == 1);
    for (i = 0; i < CALLS; i++) {
        if (calls[i].kind != ON_LOOP)
            check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EHANDLE);
    }
    specimens_close(&s);
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EHANDLE);
}

static void the_handles_of_an_operation_and_its_loop_match(void)
{
    struct specimens s;
    gyre_loop loop;
    int other;
    specimens_open(&s);
    CHECK_OK(gyre_op_loop(s.op, &loop));
    CHECK_EQ(loop.bits, s.loop.bits);
    CHECK_STATUS(gyre_op_loop(s.op, NULL), -EINVAL);
    CHECK(gyre_op_user_data(s.op) == &s);
    CHECK_OK(gyre_op_set_user_data(s.op, &other));
    CHECK(gyre_op_user_data(s.op) == &other);
    CHECK_OK(gyre_op_set_user_data(s.op, &s)); /* for the completion to come */
    specimens_close(&s);
}

/* ---- threads ---- */

static void *call_everything(void *argument)
{
    struct specimens *s = (struct specimens *)argument;
    int i;
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits_for(s, calls[i].kind), GYRE_ETHREAD);
    for (i = 0; i < CALLS; i++) /* told before the arguments, and without a look at the slot */
        check_refused(&calls[i], bits_for(s, calls[i].kind) ^ (uint64_t)1 << 40, calls[i].kind == ON_LOOP ?
                      GYRE_EHANDLE : GYRE_ETHREAD);
    CHECK_STATUS(gyre_op_recv(s->loop, -1, NULL, SIZE_MAX, -1, NULL, NULL, NULL), GYRE_ETHREAD);
    return NULL;
}

static void every_call_of_another_thread_is_refused(void)
{
    struct specimens s;
    specimens_open(&s);
    check_join(check_thread(call_everything, &s));
    CHECK_EQ(stats_of(s.loop).op_in_flight, 1);
    specimens_close(&s);
}

static void *claim_and_use(void *argument)
{
    gyre_loop loop = *(gyre_loop *)argument;
    struct outcome outcome;
    CHECK_OK(gyre_loop_claim(loop));
    start_sleep(loop, 0, &outcome);
    CHECK_EQ(result_of(loop, &outcome), 0);
    CHECK_OK(gyre_loop_release(loop));
    return NULL;
}

static void a_loop_is_handed_over_only_without_operations_in_flight(void)
{
    gyre_loop loop = open_loop();
    struct outcome waiting, reading;
    char byte = 0;
    int ends[2], fd = make_file(0);
    make_socketpair(ends);
    start_recv(loop, ends[0], &byte, 1, &waiting);
    start_read(loop, fd, &byte, 1, 0, &reading);
    CHECK_STATUS(gyre_loop_release(loop), -EBUSY);
    CHECK_EQ(result_of(loop, &reading), 0);
    CHECK_STATUS(gyre_loop_release(loop), -EBUSY);
    CHECK_OK(gyre_op_cancel(waiting.op));
    CHECK_STATUS(gyre_loop_release(loop), -EBUSY); /* it is not told yet */
    CHECK_STATUS((int)result_of(loop, &waiting), -ECANCELED);
    CHECK_OK(gyre_loop_release(loop));
    check_join(check_thread(claim_and_use, &loop));
    CHECK_OK(gyre_loop_claim(loop));
    close_loop(loop);
    close_pair(ends);
    CHECK_SYS(close(fd));
}

/* ---- arguments ---- */

static void missing_callbacks_are_refused(void)
{
    struct specimens s;
    gyre_op op;
    int fd;
    specimens_open(&s);
    fd = s.others[0];
    op.bits = NO_BITS;
    CHECK_STATUS(gyre_op_read(s.loop, fd, call_bytes, 8, GYRE_NO_OFFSET, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_write(s.loop, fd, call_bytes, 8, GYRE_NO_OFFSET, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_readv(s.loop, fd, &call_piece, 1, GYRE_NO_OFFSET, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_writev(s.loop, fd, &call_piece, 1, GYRE_NO_OFFSET, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_recv(s.loop, fd, call_bytes, 8, 0, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_send(s.loop, fd, call_bytes, 8, 0, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_recvmsg(s.loop, fd, &call_message, 0, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_sendmsg(s.loop, fd, &call_message, 0, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_accept(s.loop, fd, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_connect(s.loop, fd, (struct sockaddr *)&call_address, sizeof call_address, NULL, NULL, &op),
                 -EINVAL);
    CHECK_STATUS(gyre_op_close_fd(s.loop, fd, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_fsync(s.loop, fd, 0, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_sleep(s.loop, 0, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_accept_many(s.loop, fd, NULL, NULL, &op), -EINVAL);
    CHECK_STATUS(gyre_op_recv_many(s.loop, fd, NULL, NULL, &op), -EINVAL);
    CHECK_EQ(op.bits, NO_BITS);
    CHECK_EQ(stats_of(s.loop).op_in_flight, 1);
    CHECK_SYS(fcntl(fd, F_GETFD)); /* it was not closed */
    specimens_close(&s);
}

static void missing_data_is_refused(void)
{
    struct specimens s;
    gyre_op op;
    int fd;
    specimens_open(&s);
    fd = s.others[0];
    op.bits = NO_BITS;
    CHECK_STATUS(gyre_op_read(s.loop, fd, NULL, 8, GYRE_NO_OFFSET, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_write(s.loop, fd, NULL, 8, GYRE_NO_OFFSET, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_readv(s.loop, fd, NULL, 1, GYRE_NO_OFFSET, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_writev(s.loop, fd, NULL, 1, GYRE_NO_OFFSET, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_recv(s.loop, fd, NULL, 8, 0, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_send(s.loop, fd, NULL, 8, 0, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_recvmsg(s.loop, fd, NULL, 0, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_sendmsg(s.loop, fd, NULL, 0, note, &call_outcome, &op), -EINVAL);
    CHECK_STATUS(gyre_op_connect(s.loop, fd, NULL, 16, note, &call_outcome, &op), -EINVAL);
    CHECK_EQ(op.bits, NO_BITS);
    CHECK_EQ(stats_of(s.loop).op_in_flight, 1);
    specimens_close(&s);
}

static void flags_of_messages_that_do_not_exist_harm_nothing(void)
{
    static const int flags[] = {-1, INT_MIN, MSG_OOB, MSG_ERRQUEUE | MSG_OOB, 0x7fffffff & ~MSG_PEEK};
    gyre_loop loop = open_loop();
    char buf[8] = "";
    int ends[2];
    size_t i;
    make_socketpair(ends);
    for (i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct outcome in = none_yet(), out = none_yet();
        put_byte(ends[0]);
        put_byte(ends[1]);
        if (gyre_op_recv(loop, ends[0], buf, 1, flags[i], note, &in, &in.op) == GYRE_OK) {
            let_pass(loop, GYRE_MS(1));
            if (in.calls == 0)
                CHECK_OK(gyre_op_cancel(in.op));
            result_of(loop, &in); /* whatever it is, it is told once, and nothing has waited */
        }
        if (gyre_op_send(loop, ends[0], buf, 1, flags[i], note, &out, &out.op) == GYRE_OK) {
            let_pass(loop, GYRE_MS(1));
            if (out.calls == 0)
                CHECK_OK(gyre_op_cancel(out.op));
            result_of(loop, &out);
        }
    }
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    close_loop(loop);
    close_pair(ends);
}

static void an_operation_on_the_loops_own_descriptor_harms_nothing(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome = none_yet();
    char buf[8];
    int fd = gyre_loop_fd(loop), ticks = 0;
    if (fd >= 0 && gyre_op_read(loop, fd, buf, 8, GYRE_NO_OFFSET, note, &outcome, &outcome.op) == GYRE_OK) {
        let_pass(loop, GYRE_MS(1));
        if (outcome.calls == 0)
            CHECK_OK(gyre_op_cancel(outcome.op));
        CHECK(result_of(loop, &outcome) < 0);
    }
    CHECK_OK(gyre_timer_open(loop, 0, 0, count_timer, &ticks, NULL)); /* the loop lives */
    RUN_UNTIL(loop, ticks == 1);
    close_loop(loop);
}

/* ---- callbacks that do anything ---- */

enum { CROWD = 24 };

/* Many operations, which end, begin and close each other as they are told. */
struct crowd {
    gyre_loop loop;
    struct member {
        struct crowd *crowd;
        gyre_op op;
        int pending;
        char buf[16];
    } members[CROWD];
    int ends[CROWD][2];
    uint64_t random;
    long begun, told, in_turn;
};

static uint64_t next_random(struct crowd *crowd)
{
    crowd->random ^= crowd->random << 13;
    crowd->random ^= crowd->random >> 7;
    crowd->random ^= crowd->random << 17;
    return crowd->random;
}

static void crowd_told(gyre_loop loop, const gyre_completion *done, void *user_data);

static void begin_one(struct crowd *crowd, struct member *member)
{
    uint64_t random = next_random(crowd);
    int fd = crowd->ends[random % CROWD][random >> 8 & 1], status;
    CHECK_EQ(member->pending, 0);
    member->crowd = crowd;
    switch (random >> 16 & 7) {
    case 0:
        status = gyre_op_sleep(crowd->loop, random % 100000, crowd_told, member, &member->op);
        break;
    case 1:
    case 2:
        status = gyre_op_send(crowd->loop, fd, member->buf, 16, 0, crowd_told, member, &member->op);
        break;
    case 3:
        status = gyre_op_recv_many(crowd->loop, fd, crowd_told, member, &member->op);
        break;
    case 4:
        status = gyre_op_write(crowd->loop, fd, member->buf, 3, GYRE_NO_OFFSET, crowd_told, member, &member->op);
        break;
    default:
        status = gyre_op_recv(crowd->loop, fd, member->buf, 16, 0, crowd_told, member, &member->op);
    }
    CHECK(status == GYRE_OK || status == -EBUSY);
    if (status == GYRE_OK) {
        member->pending = 1;
        crowd->begun++;
    }
}

static void stir(struct crowd *crowd)
{
    int i;
    CHECK(++crowd->in_turn < 64 * CROWD); /* a turn is bounded, however much is begun in it */
    for (i = 0; i < 4; i++) {
        struct member *member = &crowd->members[next_random(crowd) % CROWD];
        uint64_t random = next_random(crowd);
        if (!member->pending) {
            begin_one(crowd, member);
        } else if (random % 4 == 0) {
            CHECK_OK(gyre_op_cancel(member->op));
        } else if (random % 4 == 1) {
            int status = gyre_op_timeout(member->op, random % 50000);
            CHECK(status == GYRE_OK || status == -EINVAL); /* a sleep has no deadline */
        } else if (random % 4 == 2) {
            int status = random & 16 ? gyre_op_pause(member->op) : gyre_op_resume(member->op);
            CHECK(status == GYRE_OK || status == -EINVAL);
        }
    }
}

static void crowd_told(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct member *member = (struct member *)user_data;
    struct crowd *crowd = member->crowd;
    CHECK_EQ(loop.bits, crowd->loop.bits);
    CHECK_EQ(done->op.bits, member->op.bits);
    CHECK_EQ(member->pending, 1); /* P1: never after the last */
    if (!(done->flags & GYRE_MORE)) {
        member->pending = 0;
        crowd->told++;
    }
    if (crowd->random != 0)
        stir(crowd);
}

static void a_storm_of_operations_from_callbacks_tells_each_once(void)
{
    static struct crowd crowd;
    long turn, turns = CHECK_SCALED(3000);
    int i;
    memset(&crowd, 0, sizeof crowd);
    crowd.loop = open_loop();
    crowd.random = 88172645463325252u;
    for (i = 0; i < CROWD; i++)
        make_socketpair(crowd.ends[i]);
    for (turn = 0; turn < turns; turn++) {
        crowd.in_turn = 0;
        stir(&crowd);
        one_turn(crowd.loop);
    }
    CHECK(crowd.told > turns / 2);
    CHECK_EQ(stats_of(crowd.loop).op_in_flight, crowd.begun - crowd.told);
    crowd.random = 0;
    close_loop(crowd.loop);
    CHECK_EQ(crowd.told, crowd.begun); /* P1, P7 */
    for (i = 0; i < CROWD; i++)
        close_pair(crowd.ends[i]);
}

/* Closes a watcher, a timer and a descriptor that have something to tell in the same turn. */
struct closer {
    gyre_io io;
    gyre_timer timer;
    int fd;
    struct outcome closed, outcome;
};

static void close_everything(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct closer *closer = (struct closer *)user_data;
    CHECK_OK(gyre_io_close(closer->io));
    CHECK_OK(gyre_timer_close(closer->timer));
    CHECK_OK(gyre_op_close_fd(loop, closer->fd, note, &closer->closed, &closer->closed.op));
    CHECK_STATUS(gyre_loop_run(loop, GYRE_RUN_NOWAIT), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_close(loop), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_release(loop), GYRE_EREENTRANT);
    note(loop, done, &closer->outcome);
}

static void a_completion_may_close_what_is_due_in_the_same_turn(void)
{
    gyre_loop loop = open_loop();
    struct closer closer;
    struct outcome victim;
    struct ear ear;
    char byte, other;
    int ends[2], others[2], ticks = 0, heard;
    make_socketpair(ends);
    make_socketpair(others);
    memset(&closer, 0, sizeof closer);
    closer.fd = others[0];
    CHECK_OK(gyre_op_recv(loop, ends[0], &byte, 1, 0, close_everything, &closer, &closer.outcome.op));
    start_recv(loop, others[0], &other, 1, &victim);
    closer.io = watch(loop, others[0], GYRE_READ, &ear);
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, count_timer, &ticks, &closer.timer));
    put_byte(ends[1]);
    put_byte(others[1]);
    check_block(GYRE_MS(2)); /* all of it is due */
    RUN_UNTIL(loop, closer.closed.calls == 1);
    heard = ear.calls; /* what came before the close came */
    one_turn(loop);
    CHECK_EQ(ticks, 0);
    CHECK_EQ(ear.calls, heard);
    CHECK_EQ(closer.outcome.result, 1);
    CHECK_EQ(closer.closed.result, 0);
    CHECK_EQ(victim.calls, 1); /* P1 */
    CHECK(victim.result == 1 || victim.result == -ECANCELED);
    close_loop(loop);
    close_pair(ends);
    CHECK_SYS(close(others[1]));
}

/* ---- operations without end ---- */

struct endless {
    int fd;
    int enough;
    long calls;
};

static void write_again(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct endless *endless = (struct endless *)user_data;
    CHECK_EQ(done->result, 1);
    endless->calls++;
    if (!endless->enough)
        CHECK_OK(gyre_op_write(loop, endless->fd, "x", 1, GYRE_NO_OFFSET, write_again, endless, NULL));
}

static void sleep_again(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct endless *endless = (struct endless *)user_data;
    CHECK_EQ(done->result, 0);
    endless->calls++;
    if (!endless->enough)
        CHECK_OK(gyre_op_sleep(loop, 0, sleep_again, endless, NULL));
}

static void read_again(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    static char byte;
    struct endless *endless = (struct endless *)user_data;
    CHECK_EQ(done->result, 1);
    endless->calls++;
    if (!endless->enough)
        CHECK_OK(gyre_op_read(loop, endless->fd, &byte, 1, 0, read_again, endless, NULL));
}

static void operations_that_begin_themselves_again_starve_no_other(void) /* a turn is bounded */
{
    gyre_loop loop = open_loop();
    struct endless writer, sleeper, reader;
    struct ear ear;
    gyre_io io;
    gyre_timer timer;
    char byte;
    static char drained[65536];
    int feed[2], drain[2], posts = 0, ticks = 0, turn;
    memset(&writer, 0, sizeof writer);
    sleeper = reader = writer;
    memset(&ear, 0, sizeof ear);
    make_pipe(drain); /* has room for all that comes */
    writer.fd = drain[1];
    reader.fd = make_file(0);
    put_byte(reader.fd);
    make_pipe(feed);
    CHECK_OK(gyre_io_open(loop, feed[0], GYRE_READ, hear_and_read, &ear, &io));
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), GYRE_MS(1), count_timer, &ticks, &timer));
    CHECK_OK(gyre_op_write(loop, writer.fd, "x", 1, GYRE_NO_OFFSET, write_again, &writer, NULL));
    CHECK_OK(gyre_op_sleep(loop, 0, sleep_again, &sleeper, NULL));
    CHECK_OK(gyre_op_read(loop, reader.fd, &byte, 1, 0, read_again, &reader, NULL));
    for (turn = 1; turn <= 200; turn++) {
        put_byte(feed[1]);
        CHECK_OK(gyre_loop_post(loop, count_post, &posts));
        CHECK_EQ(gyre_loop_turn(loop, GYRE_SEC(1)), 1);
        CHECK_EQ(ear.calls, turn);
        CHECK_EQ(posts, turn);
    }
    RUN_UNTIL(loop, ticks > 2 && reader.calls > 2);
    CHECK(writer.calls > 100);
    CHECK(sleeper.calls > 100);
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(5)), 1); /* time is kept too */
    CHECK(read(drain[0], drained, sizeof drained) > 0);
    writer.enough = sleeper.enough = reader.enough = 1;
    CHECK_OK(gyre_io_close(io));
    CHECK_OK(gyre_timer_close(timer));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    close_loop(loop);
    close_pair(feed);
    close_pair(drain);
    CHECK_SYS(close(reader.fd));
}

/* ---- fork ---- */

enum { INHERITED = 5 };

struct heir {
    gyre_loop loop;
    int count; /* under valgrind without the last: threads that a fork leaves behind are a leak to it */
    struct outcome outcomes[INHERITED]; /* a receive, one behind it, a sleep, reads of a pipe and of a file */
    char bytes[INHERITED][8];
    int ends[2], pipe_ends[2], fd;
};

static void heir_open(struct heir *heir)
{
    struct outcome *o = heir->outcomes;
    memset(heir, 0, sizeof *heir);
    heir->loop = open_loop();
    heir->count = check_small() ? INHERITED - 1 : INHERITED;
    heir->fd = make_file(0);
    make_socketpair(heir->ends);
    make_pipe(heir->pipe_ends);
    CHECK_EQ(write(heir->fd, "file", 4), 4);
    start_recv(heir->loop, heir->ends[0], heir->bytes[0], 8, &o[0]);
    start_recv(heir->loop, heir->ends[0], heir->bytes[1], 8, &o[1]);
    start_sleep(heir->loop, GYRE_MS(1), &o[2]);
    start_read(heir->loop, heir->pipe_ends[0], heir->bytes[3], 8, GYRE_NO_OFFSET, &o[3]);
    if (heir->count == INHERITED)
        start_read(heir->loop, heir->fd, heir->bytes[4], 8, 0, &o[4]);
}

/* The parent's operations are as if no child had been. */
static void check_parent(struct heir *heir)
{
    int i;
    CHECK_EQ(write(heir->ends[1], "one", 3), 3);
    CHECK_EQ(result_of(heir->loop, &heir->outcomes[0]), 3);
    CHECK_EQ(write(heir->ends[1], "four", 4), 4);
    CHECK_EQ(write(heir->pipe_ends[1], "pipe", 4), 4);
    CHECK_EQ(result_of(heir->loop, &heir->outcomes[1]), 4);
    CHECK_EQ(result_of(heir->loop, &heir->outcomes[2]), 0);
    CHECK_EQ(result_of(heir->loop, &heir->outcomes[3]), 4);
    CHECK_EQ(memcmp(heir->bytes[0], "one", 3), 0);
    CHECK_EQ(memcmp(heir->bytes[1], "four", 4), 0);
    CHECK_EQ(memcmp(heir->bytes[3], "pipe", 4), 0);
    if (heir->count == INHERITED) {
        CHECK_EQ(result_of(heir->loop, &heir->outcomes[4]), 4);
        CHECK_EQ(memcmp(heir->bytes[4], "file", 4), 0);
    }
    close_loop(heir->loop);
    for (i = 0; i < heir->count; i++)
        CHECK_EQ(heir->outcomes[i].calls, 1); /* P1 */
    close_pair(heir->ends);
    close_pair(heir->pipe_ends);
    CHECK_SYS(close(heir->fd));
}

static void every_call_in_a_forked_child_is_refused_and_its_close_tells_nothing(void)
{
    struct specimens s;
    struct heir heir;
    pid_t pid;
    int i;
    specimens_open(&s);
    heir_open(&heir);
    pid = check_fork();
    if (pid == 0) {
        for (i = 0; i < CALLS; i++)
            check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EFORKED);
        CHECK_STATUS(gyre_op_recv(s.loop, -1, NULL, SIZE_MAX, -1, NULL, NULL, NULL), GYRE_EFORKED);
        CHECK_OK(gyre_loop_close(s.loop));
        CHECK_OK(gyre_loop_close(heir.loop));
        CHECK_EQ(s.calls, 0);
        for (i = 0; i < heir.count; i++)
            CHECK_EQ(heir.outcomes[i].calls, 0);
        _exit(0);
    }
    check_child_succeeds(pid);
    check_parent(&heir);
    specimens_close(&s);
}

static void after_fork_completes_inherited_operations_as_cancelled(void)
{
    struct heir heir;
    pid_t pid;
    int i, round;
    for (round = 0; round < CHECK_SCALED(20); round++) { /* the file's read is at another point each time */
        heir_open(&heir);
        if (round % 2)
            CHECK(gyre_loop_turn(heir.loop, 0) >= 0);
        pid = check_fork();
        if (pid == 0) {
            struct outcome fresh, told[INHERITED];
            char byte;
            int ends[2];
            memcpy(told, heir.outcomes, sizeof told);
            CHECK_OK(gyre_loop_after_fork(heir.loop));
            for (i = 0; i < heir.count; i++)
                CHECK_EQ(heir.outcomes[i].calls, told[i].calls); /* P1: not inside the call */
            for (i = 0; i < heir.count; i++) {
                if (told[i].calls == 0 && result_of(heir.loop, &heir.outcomes[i]) < 0)
                    CHECK_STATUS((int)heir.outcomes[i].result, -ECANCELED);
            }
            CHECK_STATUS((int)heir.outcomes[0].result, -ECANCELED);
            CHECK_STATUS((int)heir.outcomes[1].result, -ECANCELED);
            CHECK_STATUS((int)heir.outcomes[3].result, -ECANCELED);
            make_socketpair(ends); /* new ones are carried out */
            start_recv(heir.loop, ends[0], &byte, 1, &fresh);
            put_byte(ends[1]);
            CHECK_EQ(result_of(heir.loop, &fresh), 1);
            if (heir.count == INHERITED) {
                start_read(heir.loop, heir.fd, &byte, 1, 0, &fresh);
                CHECK_EQ(result_of(heir.loop, &fresh), 1);
            }
            close_loop(heir.loop);
            for (i = 0; i < heir.count; i++)
                CHECK_EQ(heir.outcomes[i].calls, 1);
            _exit(0);
        }
        check_child_succeeds(pid);
        check_parent(&heir);
    }
}

struct forker {
    pid_t pid;
    int calls;
};

static void fork_in_callback(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct forker *forker = (struct forker *)user_data;
    struct outcome outcome;
    (void)done;
    forker->calls++;
    forker->pid = check_fork();
    if (forker->pid == 0)
        CHECK_STATUS(gyre_op_sleep(loop, 0, note, &outcome, &outcome.op), GYRE_EFORKED);
}

static void a_completion_that_forks_ends_the_run_in_the_child(void)
{
    gyre_loop loop = open_loop();
    struct forker forker = {0, 0};
    struct outcome outcome;
    int status;
    CHECK_OK(gyre_op_sleep(loop, 0, fork_in_callback, &forker, NULL));
    start_sleep(loop, GYRE_MS(1), &outcome);
    status = gyre_loop_run(loop, GYRE_RUN_DEFAULT);
    if (forker.pid == 0) {
        CHECK_STATUS(status, GYRE_EFORKED);
        CHECK_OK(gyre_loop_after_fork(loop));
        CHECK_STATUS((int)result_of(loop, &outcome), -ECANCELED);
        CHECK_EQ(forker.calls, 1);
        close_loop(loop);
        _exit(0);
    }
    CHECK_EQ(status, 0);
    check_child_succeeds(forker.pid);
    CHECK_EQ(outcome.result, 0);
    CHECK_EQ(outcome.calls, 1);
    close_loop(loop);
}

int main(void)
{
    check_begin();
    call_message.msg_iov = &call_piece;
    call_message.msg_iovlen = 1;
    RUN(none_and_forged_handles_are_refused_by_every_call);
    RUN(handles_of_another_kind_are_refused_by_every_call);
    RUN(handles_of_what_has_ended_are_refused_by_every_call);
    RUN(the_handles_of_an_operation_and_its_loop_match);
    RUN(every_call_of_another_thread_is_refused);
    RUN(a_loop_is_handed_over_only_without_operations_in_flight);
    RUN(missing_callbacks_are_refused);
    RUN(missing_data_is_refused);
    RUN(flags_of_messages_that_do_not_exist_harm_nothing);
    RUN(an_operation_on_the_loops_own_descriptor_harms_nothing);
    RUN(a_storm_of_operations_from_callbacks_tells_each_once);
    RUN(a_completion_may_close_what_is_due_in_the_same_turn);
    RUN(operations_that_begin_themselves_again_starve_no_other);
    RUN(every_call_in_a_forked_child_is_refused_and_its_close_tells_nothing);
    RUN(after_fork_completes_inherited_operations_as_cancelled);
    RUN(a_completion_that_forks_ends_the_run_in_the_child);
    return 0;
}
