/* operation_cancel.c: the end of operations before their time: by cancel, deadline, close of the descriptor, close of
 * the loop. */
#define _GNU_SOURCE
#include "operation.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>

/* ---- cancel, in each state ---- */

static void an_operation_that_waits_is_cancelled(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome, after;
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    memset(buf, '-', sizeof buf);
    start_recv(loop, ends[0], buf, sizeof buf, &outcome);
    one_turn(loop);
    CHECK_OK(gyre_op_cancel(outcome.op));
    CHECK_EQ(outcome.calls, 0); /* P1: nor inside the cancel */
    CHECK_OK(gyre_op_cancel(outcome.op)); /* a second time */
    CHECK_STATUS((int)result_of(loop, &outcome), -ECANCELED);
    put(ends[1], "late");
    let_pass(loop, GYRE_MS(1));
    CHECK_EQ(memcmp(buf, "--------", 8), 0); /* P2: the buffer is the caller's */
    start_recv(loop, ends[0], buf, sizeof buf, &after);
    CHECK_EQ(result_of(loop, &after), 4); /* nothing was taken by the one that was cancelled */
    close_loop(loop);
    close_pair(ends);
}

static void an_operation_is_cancelled_before_its_first_turn(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    start_recv(loop, ends[0], buf, sizeof buf, &outcome);
    CHECK_OK(gyre_op_cancel(outcome.op));
    CHECK_STATUS((int)result_of(loop, &outcome), -ECANCELED);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
    close_pair(ends);
}

static void operations_behind_one_that_is_cancelled_move_up(void) /* P4 */
{
    enum { MANY = 6 };
    gyre_loop loop = open_loop();
    struct outcome outcomes[MANY];
    char buf[MANY];
    int ends[2], i;
    make_socketpair(ends);
    for (i = 0; i < MANY; i++)
        start_recv(loop, ends[0], &buf[i], 1, &outcomes[i]);
    one_turn(loop);
    CHECK_OK(gyre_op_cancel(outcomes[0].op)); /* the one that is served, */
    CHECK_OK(gyre_op_cancel(outcomes[3].op)); /* one in the middle, */
    CHECK_OK(gyre_op_cancel(outcomes[5].op)); /* and the last */
    put(ends[1], "abc");
    for (i = 0; i < MANY; i++) {
        if (i == 0 || i == 3 || i == 5)
            CHECK_STATUS((int)result_of(loop, &outcomes[i]), -ECANCELED);
        else
            CHECK_EQ(result_of(loop, &outcomes[i]), 1);
    }
    CHECK_EQ(buf[1], 'a');
    CHECK_EQ(buf[2], 'b');
    CHECK_EQ(buf[4], 'c');
    CHECK(outcomes[1].order < outcomes[2].order && outcomes[2].order < outcomes[4].order);
    close_loop(loop);
    close_pair(ends);
}

static void an_operation_that_is_done_and_not_told_keeps_its_result(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    int ends[2];
    make_socketpair(ends);
    start_send(loop, ends[1], "four", 4, 0, &outcome);
    CHECK_OK(gyre_op_cancel(outcome.op));
    CHECK_OK(gyre_op_timeout(outcome.op, 1));
    if (result_of(loop, &outcome) < 0) /* P3: one or the other; and it is so */
        CHECK_STATUS((int)outcome.result, -ECANCELED);
    CHECK_EQ(bytes_in(ends[0]), outcome.result < 0 ? 0 : outcome.result);
    close_loop(loop);
    close_pair(ends);
}

static void a_cancelled_send_all_tells_what_it_has_sent(void)
{
    static char bulk[8 * 1024 * 1024];
    gyre_loop loop = open_loop();
    struct outcome outcome, behind;
    int ends[2];
    int64_t sent;
    ssize_t got, total = 0;
    make_socketpair(ends);
    start_send(loop, ends[1], bulk, sizeof bulk, GYRE_SEND_ALL, &outcome);
    start_send(loop, ends[1], "behind", 6, GYRE_SEND_ALL, &behind);
    let_pass(loop, GYRE_MS(1));
    CHECK_EQ(outcome.calls, 0);
    CHECK_OK(gyre_op_cancel(behind.op));
    CHECK_OK(gyre_op_cancel(outcome.op));
    sent = result_of(loop, &outcome);
    CHECK(sent > 0 && sent < (int64_t)sizeof bulk);
    CHECK_STATUS((int)result_of(loop, &behind), -ECANCELED);
    CHECK_SYS(close(ends[1]));
    while ((got = read(ends[0], bulk, sizeof bulk)) > 0)
        total += got;
    CHECK_EQ(total, sent);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

/* One that cancels another, or itself, as it is told. */
struct canceller {
    struct outcome outcome;
    struct outcome *victim;
    int status;
};

static void cancel_in_callback(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct canceller *canceller = (struct canceller *)user_data;
    CHECK_STATUS(gyre_op_cancel(done->op), GYRE_EHANDLE); /* itself: it has completed */
    if (canceller->victim != NULL)
        canceller->status = gyre_op_cancel(canceller->victim->op);
    note(loop, done, &canceller->outcome);
}

static void a_completion_may_cancel_itself_and_others(void)
{
    gyre_loop loop = open_loop();
    struct canceller canceller;
    struct outcome waiting, ready;
    char buf[3];
    int ends[2], others[2];
    make_socketpair(ends);
    make_socketpair(others);
    memset(&canceller, 0, sizeof canceller);
    canceller.victim = &waiting;
    CHECK_OK(gyre_op_recv(loop, ends[0], &buf[0], 1, 0, cancel_in_callback, &canceller, &canceller.outcome.op));
    start_recv(loop, ends[0], &buf[1], 1, &waiting);
    put(ends[1], "a");
    CHECK_EQ(result_of(loop, &canceller.outcome), 1);
    CHECK_OK(canceller.status);
    CHECK_STATUS((int)result_of(loop, &waiting), -ECANCELED);

    memset(&canceller, 0, sizeof canceller); /* one that is ready in the same turn */
    canceller.victim = &ready;
    CHECK_OK(gyre_op_recv(loop, ends[0], &buf[0], 1, 0, cancel_in_callback, &canceller, &canceller.outcome.op));
    start_recv(loop, others[0], &buf[2], 1, &ready);
    put(ends[1], "a");
    put(others[1], "b");
    CHECK_EQ(result_of(loop, &canceller.outcome), 1);
    CHECK(canceller.status == GYRE_OK || canceller.status == GYRE_EHANDLE);
    if (result_of(loop, &ready) < 0)
        CHECK_STATUS((int)ready.result, -ECANCELED);
    CHECK_EQ(bytes_in(others[0]), ready.result < 0 ? 1 : 0); /* the byte was taken, or is there */
    close_loop(loop);
    close_pair(ends);
    close_pair(others);
}

static void cancelled_file_operations_complete_once_whatever_they_had_come_to(void)
{
    enum { MANY = 64, LENGTH = 256 * 1024 };
    static struct outcome outcomes[MANY];
    static char bufs[MANY][LENGTH];
    int fd = make_file(LENGTH), round, i;
    gyre_loop_options options = default_options();
    options.file_threads = 1; /* a queue builds up */
    for (round = 0; round < CHECK_SCALED(100); round++) {
        gyre_loop loop;
        CHECK_OK(gyre_loop_open(&options, &loop));
        completions = 0;
        for (i = 0; i < MANY; i++)
            start_read(loop, fd, bufs[i], LENGTH, i % 2 ? 0 : GYRE_NO_OFFSET, &outcomes[i]);
        for (i = MANY - 1; i >= 0; i--)
            CHECK_OK(gyre_op_cancel(outcomes[i].op));
        RUN_UNTIL(loop, completions == MANY);
        one_turn(loop);
        for (i = 0; i < MANY; i++) {
            CHECK_EQ(outcomes[i].calls, 1); /* P1 */
            CHECK(outcomes[i].result == LENGTH || outcomes[i].result == -ECANCELED || /* P3 */
                  (i % 2 == 0 && outcomes[i].result == 0));
        }
        close_loop(loop);
        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    }
    CHECK_SYS(close(fd));
}

/* ---- cancel against completion ---- */

struct writer {
    int fd;
    int go;   /* rounds that may be written */
    int done; /* rounds that were */
    int rounds;
};

static void *write_when_told(void *argument)
{
    struct writer *writer = (struct writer *)argument;
    int round;
    for (round = 1; round <= writer->rounds; round++) {
        while (LOAD(writer->go) < round)
            sched_yield();
        put_byte(writer->fd);
        STORE(writer->done, round);
    }
    return NULL;
}

/* Another thread writes as the operation is ended: it tells the byte, or the byte is there still. The moment of the end
 * is moved towards that of the write: earlier after a byte that was taken, later after one that was not. */
static void race(int sockets, int by_deadline)
{
    gyre_loop loop = open_loop();
    struct writer writer;
    struct outcome outcome;
    pthread_t thread;
    uint64_t patience = 1000; /* nanoseconds */
    int ends[2], round, taken = 0, ended = 0;
    if (sockets)
        make_socketpair(ends);
    else
        make_pipe(ends);
    memset(&writer, 0, sizeof writer);
    writer.fd = ends[1];
    writer.rounds = CHECK_SCALED(5000);
    thread = check_thread(write_when_told, &writer);
    for (round = 1; round <= writer.rounds; round++) {
        uint64_t begin;
        char byte = 0;
        start_read(loop, ends[0], &byte, 1, GYRE_NO_OFFSET, &outcome);
        one_turn(loop);
        STORE(writer.go, round);
        if (by_deadline) {
            CHECK_OK(gyre_op_timeout(outcome.op, patience));
            while (outcome.calls == 0)
                one_turn(loop); /* a wait would oversleep */
        } else {
            begin = check_now();
            do
                one_turn(loop);
            while (outcome.calls == 0 && check_now() - begin < patience);
            CHECK_STATUS(gyre_op_cancel(outcome.op), outcome.calls ? GYRE_EHANDLE : GYRE_OK);
        }
        RUN_UNTIL(loop, outcome.calls > 0);
        while (LOAD(writer.done) < round)
            sched_yield();
        one_turn(loop);
        CHECK_EQ(outcome.calls, 1); /* P1 */
        if (outcome.result == 1) {
            CHECK_EQ(byte, 'x');
            CHECK_EQ(bytes_in(ends[0]), 0);
            patience -= patience > 200 ? 100 : 0;
            taken++;
        } else { /* P3 */
            CHECK_STATUS((int)outcome.result, by_deadline ? -ETIMEDOUT : -ECANCELED);
            CHECK_EQ(byte, 0); /* P2 */
            CHECK_EQ(bytes_in(ends[0]), 1);
            take_byte(ends[0]);
            patience += patience < 50000 ? 100 : 0;
            ended++;
        }
    }
    check_join(thread);
    CHECK_EQ(taken + ended, writer.rounds);
    CHECK_EQ(stats_of(loop).completions, writer.rounds);
    close_loop(loop);
    close_pair(ends);
}

static void a_cancel_that_races_a_completion_loses_no_byte_and_no_completion(void)
{
    race(0, 0);
    race(1, 0);
}

static void a_deadline_that_races_a_completion_loses_no_byte_and_no_completion(void)
{
    race(0, 1);
    race(1, 1);
}

/* ---- deadlines ---- */

static void a_deadline_ends_an_operation_and_not_before_its_time(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome, behind;
    uint64_t begin;
    char buf[2][8];
    int ends[2];
    make_socketpair(ends);
    begin = check_now();
    start_recv(loop, ends[0], buf[0], 8, &outcome);
    start_recv(loop, ends[0], buf[1], 8, &behind);
    CHECK_OK(gyre_op_timeout(outcome.op, GYRE_MS(20)));
    RUN_UNTIL(loop, outcome.calls > 0);
    CHECK(check_now() - begin >= GYRE_MS(20));
    CHECK_STATUS((int)result_of(loop, &outcome), -ETIMEDOUT);
    CHECK_EQ(behind.calls, 0);
    CHECK_OK(gyre_op_timeout(behind.op, GYRE_MS(1)));
    CHECK_STATUS((int)result_of(loop, &behind), -ETIMEDOUT);
    close_loop(loop);
    close_pair(ends);
}

static void a_deadline_bounds_an_operation_that_is_queued_behind_another(void)
{
    gyre_loop loop = open_loop();
    struct outcome first, queued;
    char buf[2];
    int ends[2];
    make_socketpair(ends);
    start_recv(loop, ends[0], &buf[0], 1, &first);
    start_recv(loop, ends[0], &buf[1], 1, &queued);
    CHECK_OK(gyre_op_timeout(queued.op, GYRE_MS(1)));
    CHECK_STATUS((int)result_of(loop, &queued), -ETIMEDOUT);
    put_byte(ends[1]);
    CHECK_EQ(result_of(loop, &first), 1);
    close_loop(loop);
    close_pair(ends);
}

static void a_result_that_comes_before_the_deadline_is_told(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    start_recv(loop, ends[0], buf, sizeof buf, &outcome);
    CHECK_OK(gyre_op_timeout(outcome.op, GYRE_SEC(1000)));
    put(ends[1], "quick");
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0); /* a deadline that is not needed holds nothing up */
    CHECK_EQ(result_of(loop, &outcome), 5);
    close_loop(loop);
    close_pair(ends);
}

static void a_result_that_is_there_when_the_deadline_comes_is_told(void) /* P3: a real result beats both */
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    start_recv(loop, ends[0], buf, sizeof buf, &outcome);
    one_turn(loop);
    CHECK_OK(gyre_op_timeout(outcome.op, GYRE_MS(1)));
    put(ends[1], "there");
    check_block(GYRE_MS(3)); /* both are due in the next turn, which looks at descriptors first */
    CHECK_EQ(result_of(loop, &outcome), 5);
    close_loop(loop);
    close_pair(ends);
}

static void a_deadline_is_moved_and_cleared(void)
{
    gyre_loop loop = open_loop();
    struct outcome moved, cleared;
    uint64_t begin;
    char buf[2];
    int ends[2], other[2];
    make_socketpair(ends);
    make_socketpair(other);
    start_recv(loop, ends[0], &buf[0], 1, &moved);
    start_recv(loop, other[0], &buf[1], 1, &cleared);
    CHECK_OK(gyre_op_timeout(cleared.op, GYRE_MS(1)));
    CHECK_OK(gyre_op_timeout(cleared.op, 0));
    CHECK_OK(gyre_op_timeout(cleared.op, 0)); /* one that is not there */
    begin = check_now();
    CHECK_OK(gyre_op_timeout(moved.op, GYRE_MS(1)));
    CHECK_OK(gyre_op_timeout(moved.op, GYRE_FOREVER));
    CHECK_OK(gyre_op_timeout(moved.op, GYRE_MS(10)));
    RUN_UNTIL(loop, moved.calls > 0);
    CHECK(check_now() - begin >= GYRE_MS(10));
    CHECK_STATUS((int)result_of(loop, &moved), -ETIMEDOUT);
    CHECK_EQ(cleared.calls, 0);
    put_byte(other[1]);
    CHECK_EQ(result_of(loop, &cleared), 1);
    close_loop(loop);
    close_pair(ends);
    close_pair(other);
}

static void the_first_of_cancel_and_deadline_names_the_status(void) /* P3 */
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    char buf;
    int ends[2];
    make_socketpair(ends);
    start_recv(loop, ends[0], &buf, 1, &outcome);
    CHECK_OK(gyre_op_cancel(outcome.op));
    CHECK_OK(gyre_op_timeout(outcome.op, 1));
    CHECK_STATUS((int)result_of(loop, &outcome), -ECANCELED);
    close_loop(loop);
    close_pair(ends);
}

static void finish(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct outcome *outcome = (struct outcome *)user_data;
    if (done->flags & GYRE_MORE)
        outcome->order++; /* pieces */
    else
        note(loop, done, outcome);
}

static void a_deadline_covers_a_whole_receive_of_many(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    uint64_t begin = check_now();
    int ends[2], pieces = 0;
    make_socketpair(ends);
    outcome = none_yet();
    CHECK_OK(gyre_op_recv_many(loop, ends[0], finish, &outcome, &outcome.op));
    CHECK_OK(gyre_op_timeout(outcome.op, GYRE_MS(20)));
    while (outcome.calls == 0) { /* pieces that go on coming do not put it off */
        CHECK(check_now() - begin < GYRE_SEC(CHECK_DEADLINE_SECONDS));
        if (bytes_in(ends[0]) == 0)
            put_byte(ends[1]);
        CHECK(gyre_loop_turn(loop, GYRE_MS(1)) >= 0);
        if (outcome.calls == 0)
            pieces = outcome.order;
    }
    CHECK(check_now() - begin >= GYRE_MS(20));
    CHECK(pieces > 0);
    CHECK_STATUS((int)outcome.result, -ETIMEDOUT);
    close_loop(loop);
    close_pair(ends);
}

/* ---- sleeps ---- */

static void sleeps_complete_in_the_order_of_their_ends_and_not_before(void)
{
    static const uint64_t delays[] = {GYRE_MS(75), 0, GYRE_MS(25), GYRE_MS(50)};
    static const int order[] = {4, 1, 2, 3};
    gyre_loop loop = open_loop();
    struct outcome outcomes[4];
    uint64_t begin = check_now();
    int i;
    completions = 0;
    for (i = 0; i < 4; i++)
        start_sleep(loop, delays[i], &outcomes[i]);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK(check_now() - begin >= GYRE_MS(75));
    for (i = 0; i < 4; i++) {
        CHECK_EQ(result_of(loop, &outcomes[i]), 0);
        CHECK_EQ(outcomes[i].order, order[i]);
    }
    close_loop(loop);
}

static void a_sleep_is_cancelled_and_has_no_deadline(void)
{
    gyre_loop loop = open_loop();
    struct outcome endless, shorter;
    start_sleep(loop, GYRE_FOREVER, &endless);
    start_sleep(loop, GYRE_SEC(1000), &shorter);
    CHECK_STATUS(gyre_op_timeout(endless.op, GYRE_MS(1)), -EINVAL);
    CHECK_STATUS(gyre_op_timeout(endless.op, 0), -EINVAL);
    one_turn(loop);
    CHECK_EQ(endless.calls, 0);
    CHECK_OK(gyre_op_cancel(endless.op));
    CHECK_OK(gyre_op_cancel(shorter.op));
    CHECK_STATUS((int)result_of(loop, &endless), -ECANCELED);
    CHECK_STATUS((int)result_of(loop, &shorter), -ECANCELED);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
}

/* ---- close of a descriptor ---- */

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static void a_close_comes_after_what_was_pending_and_the_peer_sees_the_end(void) /* P6 */
{
    static char bulk[8 * 1024 * 1024];
    enum { PENDING = 5 };
    int tcp;
    for (tcp = 0; tcp < 2; tcp++) {
        gyre_loop loop = open_loop();
        struct outcome pending[PENDING], close_outcome, refused;
        struct pollfd readable;
        char buf[3][8] = {""};
        int ends[2], i;
        ssize_t got, total = 0;
        if (tcp)
            make_tcp_pair(ends);
        else
            make_socketpair(ends);
        for (i = 0; i < 3; i++)
            start_recv(loop, ends[0], buf[i], 8, &pending[i]);
        for (i = 3; i < PENDING; i++)
            start_send(loop, ends[0], bulk, sizeof bulk, GYRE_SEND_ALL, &pending[i]);
        one_turn(loop);
        completions = 0;
        start_close(loop, ends[0], &close_outcome);
        CHECK_STATUS(gyre_op_cancel(close_outcome.op), -EALREADY);
        CHECK_STATUS(gyre_op_timeout(close_outcome.op, 1), -EINVAL);
        refused = none_yet();
        CHECK_STATUS(gyre_op_recv(loop, ends[0], buf[0], 8, 0, note, &refused, &refused.op), -EBADF);
        CHECK_STATUS(gyre_op_send(loop, ends[0], buf[0], 8, 0, note, &refused, &refused.op), -EBADF);
        CHECK_STATUS(gyre_op_accept(loop, ends[0], note, &refused, &refused.op), -EBADF);
        CHECK_STATUS(gyre_op_close_fd(loop, ends[0], note, &refused, &refused.op), -EBADF);
        CHECK_EQ(result_of(loop, &close_outcome), 0);
        CHECK_EQ(is_open(ends[0]), 0);
        for (i = 0; i < PENDING; i++) {
            CHECK_EQ(pending[i].calls, 1); /* P1: before the close */
            CHECK(pending[i].order < close_outcome.order);
            if (i != 3) /* what it had sent is told */
                CHECK_STATUS((int)pending[i].result, -ECANCELED);
        }
        CHECK(pending[3].result > 0);
        readable.fd = ends[1];
        readable.events = POLLIN;
        do {
            CHECK_EQ(poll(&readable, 1, 5000), 1); /* the end comes while this process lives */
            got = read(ends[1], bulk, sizeof bulk);
            CHECK(got >= 0);
            total += got;
        } while (got > 0);
        CHECK_EQ(total, pending[3].result);
        CHECK_EQ(refused.calls, 0);
        close_loop(loop);
        CHECK_SYS(close(ends[1]));
    }
}

static void note_many(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    if (!(done->flags & GYRE_MORE))
        note(loop, done, user_data);
}

/* An engine in which the receive holds the socket must let go of it, or the peer would hear of the close only when the
 * process ends. */
static void a_close_ends_the_stream_for_the_peer_while_a_receive_waits(void) /* P6 */
{
    int tcp, many;
    for (tcp = 0; tcp < 2; tcp++) {
        for (many = 0; many < 2; many++) {
            gyre_loop loop = open_loop();
            struct outcome pending = none_yet(), closed;
            struct pollfd readable;
            char buf[8], byte;
            int ends[2];
            if (tcp)
                make_tcp_pair(ends);
            else
                make_socketpair(ends);
            memset(buf, '-', sizeof buf);
            if (many)
                CHECK_OK(gyre_op_recv_many(loop, ends[0], note_many, &pending, &pending.op));
            else
                start_recv(loop, ends[0], buf, sizeof buf, &pending);
            let_pass(loop, GYRE_MS(1)); /* it waits where it is to wait */
            completions = 0;
            start_close(loop, ends[0], &closed);
            CHECK_EQ(result_of(loop, &closed), 0);
            readable.fd = ends[1];
            readable.events = POLLIN;
            CHECK_EQ(poll(&readable, 1, 5000), 1);
            CHECK_EQ(read(ends[1], &byte, 1), 0);
            CHECK_EQ(pending.calls, 1); /* P1 */
            CHECK_STATUS((int)pending.result, -ECANCELED);
            CHECK(pending.order < closed.order);
            CHECK_EQ(memcmp(buf, "--------", 8), 0);
            close_loop(loop);
            CHECK_SYS(close(ends[1]));
        }
    }
}

static void a_close_with_nothing_pending_completes_too(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    int ends[2];
    make_pipe(ends);
    start_close(loop, ends[0], &outcome);
    CHECK_EQ(result_of(loop, &outcome), 0);
    CHECK_EQ(is_open(ends[0]), 0);
    start_close(loop, ends[1], &outcome);
    close_loop(loop); /* P7 */
    CHECK_EQ(outcome.calls, 1);
    CHECK_EQ(outcome.result, 0); /* a close cannot be cancelled */
    CHECK_EQ(is_open(ends[1]), 0);
}

static void a_watched_descriptor_is_not_closed(void)
{
    gyre_loop loop = open_loop();
    struct outcome pending, outcome;
    struct ear ear;
    gyre_io io;
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    start_recv(loop, ends[0], buf, sizeof buf, &pending);
    outcome = none_yet();
    CHECK_STATUS(gyre_op_close_fd(loop, ends[0], note, &outcome, &outcome.op), -EBUSY);
    CHECK_OK(gyre_io_set(io, 0)); /* a paused watcher is one too */
    CHECK_STATUS(gyre_op_close_fd(loop, ends[0], note, &outcome, &outcome.op), -EBUSY);
    put(ends[1], "data");
    CHECK_EQ(result_of(loop, &pending), 4); /* what was pending is as it was */
    CHECK_OK(gyre_io_close(io));
    start_close(loop, ends[0], &outcome);
    CHECK_EQ(result_of(loop, &outcome), 0);
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
}

static void the_number_of_a_closed_descriptor_serves_its_next_file(void)
{
    gyre_loop loop = open_loop();
    struct outcome pending, outcome, next;
    char buf[8], own[8];
    int ends[2], others[2], round;
    make_socketpair(ends);
    for (round = 0; round < 10; round++) {
        int number = ends[0];
        memset(buf, '-', sizeof buf);
        start_recv(loop, number, buf, sizeof buf, &pending);
        one_turn(loop);
        start_close(loop, number, &outcome);
        CHECK_EQ(result_of(loop, &outcome), 0);
        make_socketpair(others); /* the lowest number that is free */
        CHECK_EQ(others[0], number);
        put(others[1], "next");
        start_recv(loop, number, own, sizeof own, &next);
        CHECK_EQ(result_of(loop, &next), 4);
        CHECK_STATUS((int)result_of(loop, &pending), -ECANCELED);
        CHECK_EQ(memcmp(buf, "--------", 8), 0);
        CHECK_SYS(close(ends[1]));
        ends[0] = others[0];
        ends[1] = others[1];
    }
    close_loop(loop);
    close_pair(ends);
}

/* With glibc's AIO alone a write that is queued when its descriptor is closed goes to whatever has the number next. */
static void a_queued_write_never_reaches_the_next_file_with_the_number(void)
{
    enum { WRITES = 32, LENGTH = 128 * 1024 };
    static char data[LENGTH];
    static struct outcome writes[WRITES];
    gyre_loop_options options = default_options();
    int round, i;
    options.file_threads = 1;
    memset(data, 'x', sizeof data);
    for (round = 0; round < CHECK_SCALED(50); round++) {
        gyre_loop loop;
        struct outcome outcome;
        int fd = make_file(0), keeper = (int)CHECK_SYS(dup(fd)), next;
        CHECK_OK(gyre_loop_open(&options, &loop));
        for (i = 0; i < WRITES; i++) {
            start_write(loop, fd, data, LENGTH, (int64_t)i * LENGTH, &writes[i]);
        }
        completions = 0;
        start_close(loop, fd, &outcome);
        while (is_open(fd)) /* as soon as the number is free */
            CHECK(gyre_loop_turn(loop, GYRE_MS(50)) >= 0);
        next = make_file(0);
        CHECK_EQ(next, fd);
        CHECK_EQ(result_of(loop, &outcome), 0);
        for (i = 0; i < WRITES; i++) {
            char byte = 0;
            CHECK_EQ(writes[i].calls, 1);
            CHECK(writes[i].order < outcome.order); /* P6 */
            CHECK(writes[i].result == LENGTH || writes[i].result == -ECANCELED);
            if (writes[i].result == LENGTH) {
                CHECK_EQ(pread(keeper, &byte, 1, (off_t)(i + 1) * LENGTH - 1), 1);
                CHECK_EQ(byte, 'x');
            }
        }
        CHECK_EQ(lseek(next, 0, SEEK_END), 0);
        close_loop(loop);
        CHECK_SYS(close(next));
        CHECK_SYS(close(keeper));
    }
}

/* ---- close of the loop ---- */

static int told_while_closing;

static void check_closing(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct outcome *outcome = (struct outcome *)user_data;
    struct outcome other;
    gyre_timer timer;
    char byte;
    CHECK_STATUS(gyre_loop_close(loop), GYRE_ECLOSING);
    CHECK_STATUS(gyre_loop_run(loop, GYRE_RUN_NOWAIT), GYRE_ECLOSING);
    CHECK_STATUS(gyre_op_recv(loop, done->fd, &byte, 1, 0, note, &other, &other.op), GYRE_ECLOSING);
    CHECK_STATUS(gyre_op_sleep(loop, 0, note, &other, &other.op), GYRE_ECLOSING);
    CHECK_STATUS(gyre_op_close_fd(loop, done->fd, note, &other, &other.op), GYRE_ECLOSING);
    CHECK_STATUS(gyre_timer_open(loop, 0, 0, count_timer, NULL, &timer), GYRE_ECLOSING);
    CHECK_STATUS(gyre_loop_post(loop, count_post, NULL), GYRE_ECLOSING);
    told_while_closing++;
    if (done->flags & GYRE_MORE)
        return;
    CHECK_EQ(done->op.bits, outcome->op.bits);
    outcome->calls++;
    outcome->result = done->result;
}

static void closing_the_loop_tells_each_operation_once(void)
{
    enum { RECV, QUEUED, SEND, SENT, READ, MANY, ACCEPT_MANY, SLEEP, CANCELLED, EXPIRING, CLOSE, OPERATIONS };
    static char bulk[8 * 1024 * 1024];
    struct outcome outcomes[OPERATIONS];
    struct sockaddr_in address;
    gyre_loop loop = open_loop();
    char buf[OPERATIONS][8];
    int ends[2], out[2], many[2], last[2], fd = make_file(8), listener, i;
    memset(outcomes, 0, sizeof outcomes);
    make_socketpair(ends);
    make_socketpair(out);
    make_socketpair(many);
    make_socketpair(last);
    listener = make_listener(1, &address);
#define ARGUMENTS(which) check_closing, &outcomes[which], &outcomes[which].op
    CHECK_OK(gyre_op_recv(loop, ends[0], buf[RECV], 8, 0, ARGUMENTS(RECV)));
    CHECK_OK(gyre_op_recv(loop, ends[0], buf[QUEUED], 8, 0, ARGUMENTS(QUEUED)));
    CHECK_OK(gyre_op_recv(loop, ends[0], buf[CANCELLED], 8, 0, ARGUMENTS(CANCELLED)));
    CHECK_OK(gyre_op_recv(loop, ends[0], buf[EXPIRING], 8, 0, ARGUMENTS(EXPIRING)));
    CHECK_OK(gyre_op_timeout(outcomes[EXPIRING].op, GYRE_SEC(1000)));
    CHECK_OK(gyre_op_send(loop, out[0], bulk, sizeof bulk, GYRE_SEND_ALL, ARGUMENTS(SEND)));
    CHECK_OK(gyre_op_send(loop, ends[0], "sent", 4, 0, ARGUMENTS(SENT)));
    CHECK_OK(gyre_op_recv_many(loop, many[0], ARGUMENTS(MANY)));
    CHECK_OK(gyre_op_accept_many(loop, listener, ARGUMENTS(ACCEPT_MANY)));
    CHECK_OK(gyre_op_sleep(loop, GYRE_SEC(1000), ARGUMENTS(SLEEP)));
    CHECK_OK(gyre_op_read(loop, fd, buf[READ], 8, 0, ARGUMENTS(READ)));
    CHECK_OK(gyre_op_cancel(outcomes[CANCELLED].op));
    CHECK_OK(gyre_op_close_fd(loop, last[0], ARGUMENTS(CLOSE)));
#undef ARGUMENTS
    told_while_closing = 0;
    close_loop(loop);
    CHECK_EQ(told_while_closing, OPERATIONS);
    for (i = 0; i < OPERATIONS; i++) {
        CHECK_EQ(outcomes[i].calls, 1); /* P1 */
        CHECK_STATUS(gyre_op_cancel(outcomes[i].op), GYRE_EHANDLE);
    }
    CHECK_STATUS((int)outcomes[RECV].result, -ECANCELED);
    CHECK_STATUS((int)outcomes[QUEUED].result, -ECANCELED);
    CHECK_STATUS((int)outcomes[CANCELLED].result, -ECANCELED);
    CHECK_STATUS((int)outcomes[EXPIRING].result, -ECANCELED);
    CHECK_STATUS((int)outcomes[MANY].result, -ECANCELED);
    CHECK_STATUS((int)outcomes[ACCEPT_MANY].result, -ECANCELED);
    CHECK_STATUS((int)outcomes[SLEEP].result, -ECANCELED);
    CHECK(outcomes[SENT].result == 4 || outcomes[SENT].result == -ECANCELED);
    CHECK_EQ(bytes_in(ends[1]), outcomes[SENT].result == 4 ? 4 : 0);
    CHECK(outcomes[SEND].result > 0 || outcomes[SEND].result == -ECANCELED);
    CHECK(outcomes[READ].result == 8 || outcomes[READ].result == -ECANCELED);
    CHECK_EQ(outcomes[CLOSE].result, 0);
    CHECK_EQ(is_open(last[0]), 0);
    close_pair(ends);
    close_pair(out);
    close_pair(many);
    CHECK_SYS(close(last[1]));
    CHECK_SYS(close(listener));
    CHECK_SYS(close(fd));
}

static void note_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    (void)user_data;
    trace_note('p');
}

static void note_operation(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)loop;
    (void)done;
    (void)user_data;
    trace_note('o');
}

static void closing_the_loop_tells_operations_and_then_posts(void)
{
    gyre_loop loop = open_loop();
    int i;
    trace_clear();
    for (i = 0; i < 2; i++) {
        CHECK_OK(gyre_loop_post(loop, note_post, NULL));
        CHECK_OK(gyre_op_sleep(loop, GYRE_FOREVER, note_operation, NULL, NULL));
    }
    close_loop(loop);
    CHECK_STR(trace, "oopp");
}

/* ---- buffers after the end ---- */

/* A page that is taken away as soon as the operation on it has completed. */
struct page {
    struct outcome outcome;
    unsigned char *bytes;
};

enum { PAGE = 4096, PAGES = 64 };

static void take_page_away(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct page *page = (struct page *)user_data;
    note(loop, done, &page->outcome);
    CHECK_SYS(mprotect(page->bytes, PAGE, PROT_NONE));
}

static void make_pages(struct page *pages)
{
    int i;
    for (i = 0; i < PAGES; i++) {
        void *bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(bytes != MAP_FAILED);
        memset(&pages[i], 0, sizeof pages[i]);
        pages[i].bytes = (unsigned char *)bytes;
        memset(bytes, 0x5a, PAGE);
    }
}

/* Nothing but the result is in the pages: 'x' from a socket, 0 from the file. */
static void check_pages(struct page *pages, int byte)
{
    int i, at;
    for (i = 0; i < PAGES; i++) {
        int64_t written = pages[i].outcome.result > 0 ? pages[i].outcome.result : 0;
        CHECK_EQ(pages[i].outcome.calls, 1);
        CHECK_SYS(mprotect(pages[i].bytes, PAGE, PROT_READ));
        for (at = 0; at < PAGE; at++)
            CHECK(pages[i].bytes[at] == (at < written ? byte : 0x5a));
        CHECK_SYS(munmap(pages[i].bytes, PAGE));
    }
}

static void no_buffer_of_a_receive_is_written_after_its_completion(void) /* P2 */
{
    static struct page pages[PAGES];
    int round;
    for (round = 0; round < CHECK_SCALED(100); round++) {
        gyre_loop loop = open_loop();
        struct outcome rest;
        char byte;
        int ends[2], i, taken = 0;
        make_pages(pages);
        make_socketpair(ends);
        for (i = 0; i < PAGES; i++)
            CHECK_OK(gyre_op_recv(loop, ends[0], pages[i].bytes, 1, 0, take_page_away, &pages[i],
                                  &pages[i].outcome.op));
        completions = 0;
        for (i = 0; i < PAGES; i++) {
            int told = pages[i].outcome.calls;
            if (i % 3 == 1)
                CHECK_STATUS(gyre_op_cancel(pages[i].outcome.op), told ? GYRE_EHANDLE : GYRE_OK);
            if (i % 3 == 2)
                CHECK_STATUS(gyre_op_timeout(pages[i].outcome.op, 1), told ? GYRE_EHANDLE : GYRE_OK);
            put_byte(ends[1]);
            if (i % 16 == 15)
                one_turn(loop);
        }
        RUN_UNTIL(loop, completions == PAGES);
        for (i = 0; i < PAGES; i++)
            taken += pages[i].outcome.result == 1;
        for (; taken < PAGES; taken++) { /* what the others have not taken is all there */
            start_recv(loop, ends[0], &byte, 1, &rest);
            CHECK_EQ(result_of(loop, &rest), 1);
        }
        CHECK_EQ(bytes_in(ends[0]), 0);
        check_pages(pages, 'x');
        close_loop(loop);
        close_pair(ends);
    }
}

static void no_buffer_of_a_file_read_is_written_after_its_completion_or_the_loops_close(void) /* P2, P7 */
{
    static struct page pages[PAGES];
    int round, fd = make_file((size_t)PAGES * PAGE);
    for (round = 0; round < CHECK_SCALED(200); round++) {
        gyre_loop loop = open_loop();
        int i;
        make_pages(pages);
        completions = 0;
        for (i = 0; i < PAGES; i++) {
            CHECK_OK(gyre_op_read(loop, fd, pages[i].bytes, PAGE, (int64_t)i * PAGE, take_page_away, &pages[i],
                                  &pages[i].outcome.op));
            if (i % 2)
                CHECK_OK(gyre_op_cancel(pages[i].outcome.op));
        }
        if (round % 2)
            RUN_UNTIL(loop, completions == PAGES);
        close_loop(loop);
        check_pages(pages, 0);
    }
    CHECK_SYS(close(fd));
}

int main(void)
{
    check_begin();
    RUN(an_operation_that_waits_is_cancelled);
    RUN(an_operation_is_cancelled_before_its_first_turn);
    RUN(operations_behind_one_that_is_cancelled_move_up);
    RUN(an_operation_that_is_done_and_not_told_keeps_its_result);
    RUN(a_cancelled_send_all_tells_what_it_has_sent);
    RUN(a_completion_may_cancel_itself_and_others);
    RUN(cancelled_file_operations_complete_once_whatever_they_had_come_to);
    RUN(a_cancel_that_races_a_completion_loses_no_byte_and_no_completion);
    RUN(a_deadline_that_races_a_completion_loses_no_byte_and_no_completion);
    RUN(a_deadline_ends_an_operation_and_not_before_its_time);
    RUN(a_deadline_bounds_an_operation_that_is_queued_behind_another);
    RUN(a_result_that_comes_before_the_deadline_is_told);
    RUN(a_result_that_is_there_when_the_deadline_comes_is_told);
    RUN(a_deadline_is_moved_and_cleared);
    RUN(the_first_of_cancel_and_deadline_names_the_status);
    RUN(a_deadline_covers_a_whole_receive_of_many);
    RUN(sleeps_complete_in_the_order_of_their_ends_and_not_before);
    RUN(a_sleep_is_cancelled_and_has_no_deadline);
    RUN(a_close_comes_after_what_was_pending_and_the_peer_sees_the_end);
    RUN(a_close_ends_the_stream_for_the_peer_while_a_receive_waits);
    RUN(a_close_with_nothing_pending_completes_too);
    RUN(a_watched_descriptor_is_not_closed);
    RUN(the_number_of_a_closed_descriptor_serves_its_next_file);
    RUN(a_queued_write_never_reaches_the_next_file_with_the_number);
    RUN(closing_the_loop_tells_each_operation_once);
    RUN(closing_the_loop_tells_operations_and_then_posts);
    RUN(no_buffer_of_a_receive_is_written_after_its_completion);
    RUN(no_buffer_of_a_file_read_is_written_after_its_completion_or_the_loops_close);
    return 0;
}
