/* stream_misuse.c: what no program should do with streams and listeners. Each misuse has its status; none crashes,
 * hangs, spins, or passes in silence. */
#define _GNU_SOURCE
#include "streams.h"

#include <limits.h>

/* ---- every call, as a table ---- */

enum kind { ON_LOOP, ON_LISTENER, ON_STREAM };

enum { REFUSED = -9999 }; /* stands for NULL: the answer of a call without status */

static union {
    uint64_t bits;
    gyre_loop loop;
    gyre_listener listener;
    gyre_stream stream;
} call_out;

static int call_callbacks, call_releases;
static char call_text[64];
static struct iovec call_piece = {call_text, 8};
static int call_fds[2]; /* to adopt: a connected socket, and one that listens */

static void never_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    (void)loop;
    (void)stream;
    (void)user_data;
    call_callbacks++;
}

static size_t never_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    (void)data;
    never_open(loop, stream, user_data);
    return length;
}

static void never_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    (void)status;
    never_open(loop, stream, user_data);
}

static void never_release(const void *data, size_t length, void *argument)
{
    (void)data;
    (void)length;
    (void)argument;
    call_releases++;
}

static const gyre_stream_callbacks call_told = {sizeof call_told, never_open, never_data, never_open, never_open,
                                                never_close};

#define CALL(kind, name, expression)      \
    static int call_##name(uint64_t bits) \
    {                                     \
        gyre_##kind h;                    \
        h.bits = bits;                    \
        return (expression);              \
    }
#define TELLS &call_told, NULL

CALL(loop, listener_open, gyre_listener_open(h, "127.0.0.1:0", NULL, TELLS, &call_out.listener))
CALL(loop, listener_adopt, gyre_listener_adopt(h, call_fds[1], NULL, TELLS, &call_out.listener))
CALL(loop, stream_connect, gyre_stream_connect(h, "127.0.0.1:1", NULL, TELLS, &call_out.stream))
CALL(loop, stream_adopt, gyre_stream_adopt(h, call_fds[0], NULL, TELLS, &call_out.stream))
CALL(listener, listener_address, gyre_listener_address(h, call_text, sizeof call_text))
CALL(listener, listener_fd, gyre_listener_fd(h))
CALL(listener, listener_close, gyre_listener_close(h))
CALL(listener, listener_set_keepalive, gyre_listener_set_keepalive(h, 0))
CALL(listener, listener_loop, gyre_listener_loop(h, &call_out.loop))
CALL(listener, listener_user_data, gyre_listener_user_data(h) == NULL ? REFUSED : 0)
CALL(listener, listener_set_user_data, gyre_listener_set_user_data(h, NULL))
CALL(stream, stream_write, gyre_stream_write(h, call_text, 8))
CALL(stream, stream_writev, gyre_stream_writev(h, &call_piece, 1))
CALL(stream, stream_write_owned, gyre_stream_write_owned(h, call_text, 8, never_release, NULL))
CALL(stream, stream_pause, gyre_stream_pause(h))
CALL(stream, stream_resume, gyre_stream_resume(h))
CALL(stream, stream_shutdown, gyre_stream_shutdown(h))
CALL(stream, stream_close, gyre_stream_close(h))
CALL(stream, stream_abort, gyre_stream_abort(h))
CALL(stream, stream_peer, gyre_stream_peer(h, call_text, sizeof call_text))
CALL(stream, stream_local, gyre_stream_local(h, call_text, sizeof call_text))
CALL(stream, stream_fd, gyre_stream_fd(h))
CALL(stream, stream_pending, (int)gyre_stream_pending(h))
CALL(stream, stream_received, (int)gyre_stream_received(h))
CALL(stream, stream_sent, (int)gyre_stream_sent(h))
CALL(stream, stream_set_keepalive, gyre_stream_set_keepalive(h, 0))
CALL(stream, stream_loop, gyre_stream_loop(h, &call_out.loop))
CALL(stream, stream_user_data, gyre_stream_user_data(h) == NULL ? REFUSED : 0)
CALL(stream, stream_set_user_data, gyre_stream_set_user_data(h, NULL))

#define ROW(kind, name) {"gyre_" #name, kind, call_##name}

static const struct call {
    const char *name;
    enum kind kind;
    int (*make)(uint64_t bits);
} calls[] = {
    ROW(ON_LOOP, listener_open),
    ROW(ON_LOOP, listener_adopt),
    ROW(ON_LOOP, stream_connect),
    ROW(ON_LOOP, stream_adopt),
    ROW(ON_LISTENER, listener_address),
    ROW(ON_LISTENER, listener_fd),
    ROW(ON_LISTENER, listener_close),
    ROW(ON_LISTENER, listener_set_keepalive),
    ROW(ON_LISTENER, listener_loop),
    ROW(ON_LISTENER, listener_user_data),
    ROW(ON_LISTENER, listener_set_user_data),
    ROW(ON_STREAM, stream_write),
    ROW(ON_STREAM, stream_writev),
    ROW(ON_STREAM, stream_write_owned),
    ROW(ON_STREAM, stream_pause),
    ROW(ON_STREAM, stream_resume),
    ROW(ON_STREAM, stream_shutdown),
    ROW(ON_STREAM, stream_close),
    ROW(ON_STREAM, stream_abort),
    ROW(ON_STREAM, stream_peer),
    ROW(ON_STREAM, stream_local),
    ROW(ON_STREAM, stream_fd),
    ROW(ON_STREAM, stream_pending),
    ROW(ON_STREAM, stream_received),
    ROW(ON_STREAM, stream_sent),
    ROW(ON_STREAM, stream_set_keepalive),
    ROW(ON_STREAM, stream_loop),
    ROW(ON_STREAM, stream_user_data),
    ROW(ON_STREAM, stream_set_user_data),
};

enum { CALLS = sizeof calls / sizeof calls[0], NO_BITS = 0x5a5a };

/* Makes a call that must be refused with one status, and must then have done and written nothing. */
static void check_refused(const struct call *call, uint64_t bits, int want)
{
    int got;
    call_out.bits = NO_BITS;
    memset(call_text, 'x', sizeof call_text);
    if (call->make == call_stream_user_data || call->make == call_listener_user_data)
        want = REFUSED;
    got = call->make(bits);
    if (got != want) {
        fprintf(stderr, "in %s: %s(0x%llx): got %d %s, want %d %s\n", check_running, call->name,
                (unsigned long long)bits, got, gyre_status_name(got), want, gyre_status_name(want));
        _exit(1);
    }
    CHECK_EQ(call_out.bits, NO_BITS);
    CHECK_EQ(call_text[0], 'x');
    CHECK_EQ(call_callbacks, 0);
    CHECK_EQ(call_releases, 0);
}

static void check_all_refuse(uint64_t bits, int want)
{
    int i;
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits, want);
}

/* One stream and one listener, on one loop. Neither has anything to hear. */
struct specimens {
    struct scene scene;
    gyre_listener listener;
};

static void specimens_open(struct specimens *s)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    char text[ADDRESS_TEXT];
    int ends[2];
    scene_open(&s->scene, ADOPTED_TCP, NULL);
    CHECK_OK(gyre_listener_open(s->scene.loop, "127.0.0.1:0", NULL, &callbacks, s, &s->listener));
    make_socketpair(ends);
    call_fds[0] = ends[0];
    CHECK_SYS(close(ends[1]));
    call_fds[1] = make_listening_socket(1, text);
}

/* Whatever was tried with them, they are as they were. */
static void specimens_close(struct specimens *s)
{
    char text[ADDRESS_TEXT];
    int fd;
    CHECK_EQ(s->scene.side.closes, 0);
    CHECK_EQ(stats_of(s->scene.loop).handles, 2);
    CHECK(gyre_stream_user_data(s->scene.side.stream) == &s->scene.side);
    CHECK(gyre_listener_user_data(s->listener) == s);
    CHECK_OK(gyre_stream_write(s->scene.side.stream, "x", 1));
    RUN_UNTIL(s->scene.loop, peer_state(s->scene.peer) == 1);
    address_of(s->listener, text);
    fd = connect_to(text);
    CHECK_SYS(close(fd));
    CHECK_OK(gyre_listener_close(s->listener));
    scene_close(&s->scene);
    close_pair(call_fds); /* never adopted */
}

static uint64_t bits_for(const struct specimens *s, enum kind kind)
{
    return kind == ON_LOOP ? s->scene.loop.bits : kind == ON_STREAM ? s->scene.side.stream.bits : s->listener.bits;
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
            if (forged != s.scene.loop.bits && forged != s.scene.side.stream.bits && forged != s.listener.bits)
                check_refused(&calls[i], forged, GYRE_EHANDLE);
        }
    }
    specimens_close(&s);
}

static void handles_of_another_kind_are_refused_by_every_call(void)
{
    struct specimens s;
    gyre_timer timer;
    gyre_io io;
    gyre_op op;
    int i;
    specimens_open(&s);
    CHECK_OK(gyre_timer_open(s.scene.loop, GYRE_FOREVER, 0, count_timer, NULL, &timer));
    for (i = 0; i < CALLS; i++) {
        check_refused(&calls[i], timer.bits, GYRE_EHANDLE);
        if (calls[i].kind != ON_LOOP)
            check_refused(&calls[i], s.scene.loop.bits, GYRE_EHANDLE);
        if (calls[i].kind != ON_LISTENER)
            check_refused(&calls[i], s.listener.bits, GYRE_EHANDLE);
        if (calls[i].kind != ON_STREAM)
            check_refused(&calls[i], s.scene.side.stream.bits, GYRE_EHANDLE);
    }
    io.bits = s.scene.side.stream.bits; /* and those of streams by other calls */
    CHECK_STATUS(gyre_io_close(io), GYRE_EHANDLE);
    io.bits = s.listener.bits;
    CHECK_STATUS(gyre_io_close(io), GYRE_EHANDLE);
    op.bits = s.scene.side.stream.bits;
    CHECK_STATUS(gyre_op_cancel(op), GYRE_EHANDLE);
    CHECK_OK(gyre_timer_close(timer));
    specimens_close(&s);
}

static void handles_of_what_has_ended_are_refused_by_every_call(void)
{
    struct specimens s;
    int i;
    specimens_open(&s);
    CHECK_OK(gyre_listener_close(s.listener));
    CHECK_OK(gyre_stream_abort(s.scene.side.stream));
    RUN_UNTIL(s.scene.loop, s.scene.side.closes == 1);
    for (i = 0; i < CALLS; i++) /* a second close among them */
        if (calls[i].kind != ON_LOOP)
            check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EHANDLE);
    CHECK_EQ(stats_of(s.scene.loop).handles, 0);
    scene_close(&s.scene);
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EHANDLE);
    close_pair(call_fds);
}

static void a_handle_never_means_a_later_stream_in_the_same_place(void)
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_stream old;
    struct side side;
    int ends[2], i;
    old.bits = 0;
    for (i = 0; i < 100; i++) {
        make_socketpair(ends);
        side_clear(&side, loop);
        CHECK_OK(gyre_stream_adopt(loop, ends[0], NULL, &callbacks, &side, &side.stream));
        CHECK_STATUS(gyre_stream_abort(old), GYRE_EHANDLE);
        old = side.stream;
        CHECK_OK(gyre_stream_abort(side.stream));
        RUN_UNTIL(loop, side.closes == 1);
        CHECK_SYS(close(ends[1]));
    }
    close_loop(loop);
}

static void loops_and_user_data_are_told(void)
{
    struct specimens s;
    gyre_loop loop;
    int other;
    specimens_open(&s);
    CHECK_OK(gyre_stream_loop(s.scene.side.stream, &loop));
    CHECK_EQ(loop.bits, s.scene.loop.bits);
    CHECK_OK(gyre_listener_loop(s.listener, &loop));
    CHECK_EQ(loop.bits, s.scene.loop.bits);
    CHECK_STATUS(gyre_stream_loop(s.scene.side.stream, NULL), -EINVAL);
    CHECK_STATUS(gyre_listener_loop(s.listener, NULL), -EINVAL);
    CHECK_OK(gyre_stream_set_user_data(s.scene.side.stream, &other));
    CHECK(gyre_stream_user_data(s.scene.side.stream) == &other);
    CHECK_OK(gyre_stream_set_user_data(s.scene.side.stream, &s.scene.side));
    CHECK_OK(gyre_listener_set_user_data(s.listener, &other));
    CHECK(gyre_listener_user_data(s.listener) == &other);
    CHECK_OK(gyre_listener_set_user_data(s.listener, &s));
    specimens_close(&s);
}

/* ---- threads, forks ---- */

static void *call_everything(void *argument)
{
    struct specimens *s = (struct specimens *)argument;
    int i;
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits_for(s, calls[i].kind), GYRE_ETHREAD);
    CHECK_STATUS(gyre_listener_open(s->scene.loop, NULL, NULL, NULL, NULL, NULL), GYRE_ETHREAD); /* before arguments */
    CHECK_STATUS(gyre_stream_write(s->scene.side.stream, NULL, SIZE_MAX), GYRE_ETHREAD);
    return NULL;
}

static void every_call_of_another_thread_is_refused(void)
{
    struct specimens s;
    specimens_open(&s);
    check_join(check_thread(call_everything, &s));
    specimens_close(&s);
}

static void every_call_of_a_forked_child_is_refused(void)
{
    struct specimens s;
    pid_t pid;
    int i;
    specimens_open(&s);
    pid = check_fork();
    if (pid == 0) {
        for (i = 0; i < CALLS; i++)
            check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EFORKED);
        CHECK_OK(gyre_loop_close(s.scene.loop));
        for (i = 0; i < CALLS; i++)
            check_refused(&calls[i], bits_for(&s, calls[i].kind), GYRE_EHANDLE);
        CHECK_EQ(s.scene.side.closes, 0);
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK_EQ(peer_state(s.scene.peer), -EAGAIN);
    specimens_close(&s);
}

static void *claim_and_serve(void *argument)
{
    struct scene *scene = (struct scene *)argument;
    CHECK_OK(gyre_loop_claim(scene->loop));
    peer_says(scene->peer, "there", 5);
    RUN_UNTIL(scene->loop, scene->side.taken_length == 5);
    CHECK_OK(gyre_loop_release(scene->loop));
    return NULL;
}

/* Streams go with their loop: they are no operations of the user's. */
static void a_loop_with_streams_is_handed_to_another_thread(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_TCP, NULL);
    CHECK_OK(gyre_loop_release(scene.loop));
    check_join(check_thread(claim_and_serve, &scene));
    CHECK_OK(gyre_loop_claim(scene.loop));
    peer_says(scene.peer, "back", 4);
    RUN_UNTIL(scene.loop, scene.side.taken_length == 9);
    scene_close(&scene);
}

/* ---- arguments ---- */

static void missing_callbacks_are_refused(void)
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_listener listener;
    gyre_stream stream;
    char text[ADDRESS_TEXT];
    int ends[2], i, listening = make_listening_socket(1, text);
    listener.bits = stream.bits = NO_BITS;
    make_socketpair(ends);
    callbacks.on_data = NULL;
    for (i = 0; i < 2; i++) {
        const gyre_stream_callbacks *none = i == 0 ? NULL : &callbacks;
        CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", NULL, none, NULL, &listener), -EINVAL);
        CHECK_STATUS(gyre_listener_adopt(loop, listening, NULL, none, NULL, &listener), -EINVAL);
        CHECK_STATUS(gyre_stream_connect(loop, text, NULL, none, NULL, &stream), -EINVAL);
        CHECK_STATUS(gyre_stream_adopt(loop, ends[0], NULL, none, NULL, &stream), -EINVAL);
    }
    CHECK_EQ(listener.bits, NO_BITS);
    CHECK_EQ(stream.bits, NO_BITS);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    close_pair(ends);
    CHECK_SYS(close(listening));
}

static void bad_sizes_are_refused_and_longer_structs_with_a_zero_tail_are_taken(void)
{
    static const size_t wrong[] = {0, 1, sizeof(size_t), 4097, SIZE_MAX};
    gyre_loop loop = open_loop();
    union {
        gyre_stream_callbacks it;
        char room[4097];
    } callbacks;
    union {
        gyre_stream_options it;
        char room[4097];
    } stream_like;
    union {
        gyre_listener_options it;
        char room[4097];
    } listener_like;
    gyre_listener listener;
    gyre_stream stream;
    size_t i;
    int ends[2];
    make_socketpair(ends);
    memset(&stream_like, 0, sizeof stream_like);
    memset(&listener_like, 0, sizeof listener_like);
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memset(&callbacks, 0, sizeof callbacks);
        callbacks.it = side_callbacks();
        callbacks.it.size = wrong[i];
        CHECK_STATUS(gyre_stream_adopt(loop, ends[0], NULL, &callbacks.it, NULL, &stream), -EINVAL);
        CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", NULL, &callbacks.it, NULL, &listener), -EINVAL);
        callbacks.it = side_callbacks();
        stream_like.it.size = listener_like.it.size = wrong[i];
        CHECK_STATUS(gyre_stream_adopt(loop, ends[0], &stream_like.it, &callbacks.it, NULL, &stream), -EINVAL);
        CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &listener_like.it, &callbacks.it, NULL, &listener),
                     -EINVAL);
    }
    callbacks.it.size = stream_like.it.size = listener_like.it.size = 4096;
    callbacks.room[4095] = 1;
    CHECK_STATUS(gyre_stream_adopt(loop, ends[0], NULL, &callbacks.it, NULL, &stream), -EINVAL);
    callbacks.room[4095] = 0;
    stream_like.room[4095] = listener_like.room[4095] = 1;
    CHECK_STATUS(gyre_stream_adopt(loop, ends[0], &stream_like.it, &callbacks.it, NULL, &stream), -EINVAL);
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &listener_like.it, &callbacks.it, NULL, &listener), -EINVAL);
    CHECK_EQ(stats_of(loop).handles, 0);
    stream_like.room[4095] = listener_like.room[4095] = 0;
    CHECK_OK(gyre_listener_open(loop, "127.0.0.1:0", &listener_like.it, &callbacks.it, NULL, &listener));
    CHECK_OK(gyre_listener_close(listener));
    close_loop(loop);
    close_pair(ends);
}

static void bad_options_are_refused(void)
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_listener_options options = listener_options();
    gyre_listener listener;
    options.backlog = -1;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &options, &callbacks, NULL, &listener), -EINVAL);
    options.backlog = INT_MAX; /* the kernel's limit holds */
    CHECK_OK(gyre_listener_open(loop, "127.0.0.1:0", &options, &callbacks, NULL, &listener));
    CHECK_OK(gyre_listener_close(listener));
    options = listener_options();
    options.stream.size = 1;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &options, &callbacks, NULL, &listener), -EINVAL);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void handles_need_not_be_kept(void)
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    struct side side;
    int ends[2];
    make_socketpair(ends);
    side_clear(&side, loop);
    callbacks.on_open = scene_accepted; /* which learns the handle */
    CHECK_OK(gyre_stream_adopt(loop, ends[0], NULL, &callbacks, &side, NULL));
    peer_says(ends[1], "x", 1);
    RUN_UNTIL(loop, side.taken_length == 1);
    CHECK_OK(gyre_listener_open(loop, "127.0.0.1:0", NULL, &callbacks, NULL, NULL));
    CHECK_EQ(stats_of(loop).handles, 2);
    close_loop(loop);
    CHECK_EQ(side.closes, 1);
    CHECK_SYS(close(ends[1]));
    side_free(&side);
}

/* ---- descriptors ---- */

static void a_descriptor_closed_under_a_stream_is_told_once_and_does_not_spin(void)
{
    int reused;
    for (reused = 0; reused < 2; reused++) {
        struct scene scene;
        int fd, pipe_ends[2];
        scene_open(&scene, ADOPTED_TCP, NULL);
        fd = gyre_stream_fd(scene.side.stream);
        CHECK_SYS(close(fd));
        if (reused) {
            make_pipe(pipe_ends); /* one of them takes the number */
            CHECK(pipe_ends[0] == fd || pipe_ends[1] == fd);
            if (pipe_ends[0] == fd)
                put_byte(pipe_ends[1]);
        }
        check_idles_for_a_second(scene.loop);
        CHECK(scene.side.closes <= 1);
        if (scene.side.closes == 0) {
            int status = gyre_stream_write(scene.side.stream, "x", 1);
            CHECK(status == -EBADF || status == -ENOTSOCK);
            (void)gyre_stream_abort(scene.side.stream);
            RUN_UNTIL(scene.loop, scene.side.closes == 1);
        }
        CHECK_EQ(scene.side.calls, 0); /* nothing of the other's */
        close_loop(scene.loop);
        CHECK_SYS(close(scene.peer));
        side_free(&scene.side);
        if (reused) {
            int i;
            for (i = 0; i < 2; i++) /* the stream may have taken the number for its own */
                if (pipe_ends[i] != fd || fcntl(fd, F_GETFD) != -1)
                    CHECK_SYS(close(pipe_ends[i]));
        }
    }
}

static void never_completed(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)loop;
    (void)done;
    (void)user_data;
    call_callbacks++;
}

/* Two that read one connection would split the data. */
static void operations_on_the_descriptor_of_a_stream_or_listener_are_busy(void)
{
    struct specimens s;
    gyre_op op;
    char byte;
    int fd;
    specimens_open(&s);
    fd = gyre_stream_fd(s.scene.side.stream);
    op.bits = NO_BITS;
    CHECK_STATUS(gyre_op_recv(s.scene.loop, fd, &byte, 1, 0, never_completed, NULL, &op), -EBUSY);
    CHECK_STATUS(gyre_op_recv_many(s.scene.loop, fd, never_completed, NULL, &op), -EBUSY);
    CHECK_STATUS(gyre_op_close_fd(s.scene.loop, fd, never_completed, NULL, &op), -EBUSY);
    fd = gyre_listener_fd(s.listener);
    CHECK_STATUS(gyre_op_accept(s.scene.loop, fd, never_completed, NULL, &op), -EBUSY);
    CHECK_STATUS(gyre_op_accept_many(s.scene.loop, fd, never_completed, NULL, &op), -EBUSY);
    CHECK_STATUS(gyre_op_close_fd(s.scene.loop, fd, never_completed, NULL, &op), -EBUSY);
    CHECK_EQ(op.bits, NO_BITS);
    CHECK_EQ(call_callbacks, 0);
    specimens_close(&s);
}

static void a_descriptor_with_operations_in_flight_is_not_adopted(void)
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_stream stream;
    gyre_op op;
    char byte;
    int ends[2];
    make_socketpair(ends);
    CHECK_OK(gyre_op_recv(loop, ends[0], &byte, 1, 0, never_completed, NULL, &op));
    CHECK_STATUS(gyre_stream_adopt(loop, ends[0], NULL, &callbacks, NULL, &stream), -EBUSY);
    close_loop(loop);
    CHECK_EQ(call_callbacks, 1);
    call_callbacks = 0;
    close_pair(ends);
}

int main(void)
{
    check_begin();
    RUN(none_and_forged_handles_are_refused_by_every_call);
    RUN(handles_of_another_kind_are_refused_by_every_call);
    RUN(handles_of_what_has_ended_are_refused_by_every_call);
    RUN(a_handle_never_means_a_later_stream_in_the_same_place);
    RUN(loops_and_user_data_are_told);
    RUN(every_call_of_another_thread_is_refused);
    RUN(every_call_of_a_forked_child_is_refused);
    RUN(a_loop_with_streams_is_handed_to_another_thread);
    RUN(missing_callbacks_are_refused);
    RUN(bad_sizes_are_refused_and_longer_structs_with_a_zero_tail_are_taken);
    RUN(bad_options_are_refused);
    RUN(handles_need_not_be_kept);
    RUN(a_descriptor_closed_under_a_stream_is_told_once_and_does_not_spin);
    RUN(operations_on_the_descriptor_of_a_stream_or_listener_are_busy);
    RUN(a_descriptor_with_operations_in_flight_is_not_adopted);
    return 0;
}
