/* conformance_io.c: what an I/O watcher hears, the same on every backend. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

#include <sys/select.h>

/* ---- level-triggered interest ---- */

static void level_triggered_readiness_is_told_every_turn_until_it_is_read(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    watch(loop, ends[0], GYRE_READ, &ear);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    put_byte(ends[1]);
    one_turn(loop);
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(ear.calls, 3);
    CHECK_EQ(ear.all, GYRE_READ);
    take_byte(ends[0]);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 3);
    close_loop(loop);
    close_pair(ends);
}

static void io_set_replaces_the_interest(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    make_socketpair(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_WRITE, &ear);
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_WRITE);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_READ);
    CHECK_OK(gyre_io_set(io, GYRE_READ | GYRE_WRITE));
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_READ | GYRE_WRITE);
    CHECK_EQ(ear.calls, 3);
    close_loop(loop);
    close_pair(ends);
}

static void a_paused_watcher_hears_nothing_and_keeps_nothing_alive_until_it_is_resumed(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_io_set(io, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    one_turn(loop);
    CHECK_EQ(ear.calls, 1);
    close_loop(loop);
    close_pair(ends);
}

static void a_watcher_may_be_opened_paused(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], 0, &ear);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_READ);
    close_loop(loop);
    close_pair(ends);
}

static void a_write_watcher_is_told_when_there_is_room(void)
{
    static const char block[4096];
    gyre_loop loop = open_loop();
    struct ear ear;
    int ends[2];
    char sink[sizeof block];
    make_pipe(ends);
    make_nonblocking(ends[0]);
    make_nonblocking(ends[1]);
    while (write(ends[1], block, sizeof block) > 0) {
    }
    watch(loop, ends[1], GYRE_WRITE, &ear);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    while (read(ends[0], sink, sizeof sink) > 0) {
    }
    one_turn(loop);
    CHECK_EQ(ear.calls, 1);
    CHECK_EQ(ear.last, GYRE_WRITE);
    close_loop(loop);
    close_pair(ends);
}

struct flipper {
    gyre_io writer;
    uint32_t settle_on;
};

static void flip_write_interest(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct flipper *flipper = (struct flipper *)user_data;
    int i;
    (void)loop;
    (void)events;
    take_byte(gyre_io_fd(io));
    for (i = 0; i < 1001; i++)
        CHECK_OK(gyre_io_set(flipper->writer, i % 2 ? GYRE_WRITE : GYRE_READ));
    CHECK_OK(gyre_io_set(flipper->writer, flipper->settle_on));
}

static void of_many_interest_changes_in_one_turn_the_last_one_counts(void)
{
    gyre_loop loop = open_loop();
    gyre_io trigger;
    struct flipper flipper;
    struct ear ear;
    int ends[2], other[2];
    make_socketpair(ends);
    make_pipe(other);
    flipper.writer = watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_OK(gyre_io_open(loop, other[0], GYRE_READ, flip_write_interest, &flipper, &trigger));
    flipper.settle_on = GYRE_READ;
    put_byte(other[1]);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    flipper.settle_on = GYRE_READ | GYRE_WRITE;
    put_byte(other[1]);
    RUN_UNTIL(loop, ear.calls > 0);
    CHECK_EQ(ear.all, GYRE_WRITE);
    flipper.settle_on = 0;
    put_byte(other[1]);
    one_turn(loop);
    ear.calls = 0;
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    close_loop(loop);
    close_pair(ends);
    close_pair(other);
}

static void a_watcher_does_not_change_the_flags_of_its_descriptor(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    long status, flags;
    int ends[2];
    make_pipe(ends);
    status = CHECK_SYS(fcntl(ends[0], F_GETFL));
    flags = CHECK_SYS(fcntl(ends[0], F_GETFD));
    watch(loop, ends[0], GYRE_READ, &ear);
    one_turn(loop);
    close_loop(loop);
    CHECK_EQ(fcntl(ends[0], F_GETFL), status);
    CHECK_EQ(fcntl(ends[0], F_GETFD), flags);
    close_pair(ends);
}

/* ---- edge-triggered and one-shot interest ---- */

static void edge_triggered_watchers_hear_each_transition_or_are_refused(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    memset(&ear, 0, sizeof ear);
    memset(&io, 0, sizeof io);
    make_pipe(ends);
    if (runs_on(loop, "epoll")) {
        CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ | GYRE_EDGE, hear, &ear, &io));
        put_byte(ends[1]);
        let_pass(loop, GYRE_MS(20));
        CHECK(ear.calls == 1 || ear.calls == 2); /* at least once a transition, and not again and again */
        CHECK_EQ(ear.all, GYRE_READ);
        ear.calls = 0;
        put_byte(ends[1]);
        RUN_UNTIL(loop, ear.calls > 0);
    } else {
        CHECK_STATUS(gyre_io_open(loop, ends[0], GYRE_READ | GYRE_EDGE, hear, &ear, &io), GYRE_EUNSUPPORTED);
        CHECK_EQ(io.bits, 0);
        CHECK_EQ(gyre_loop_is_alive(loop), 0);
    }
    close_loop(loop);
    close_pair(ends);
}

static void setting_an_edge_triggered_watcher_tells_again_what_is_ready_already(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    if (runs_on(loop, "epoll")) {
        make_pipe(ends);
        io = watch(loop, ends[0], GYRE_READ | GYRE_EDGE, &ear);
        put_byte(ends[1]);
        RUN_UNTIL(loop, ear.calls > 0);
        let_pass(loop, GYRE_MS(5));
        ear.calls = 0;
        CHECK_OK(gyre_io_set(io, GYRE_READ));
        RUN_UNTIL(loop, ear.calls > 0);
        CHECK_OK(gyre_io_set(io, 0));
        put_byte(ends[1]);
        let_pass(loop, GYRE_MS(5));
        ear.calls = 0;
        CHECK_OK(gyre_io_set(io, GYRE_READ));
        RUN_UNTIL(loop, ear.calls > 0);
        close_pair(ends);
    }
    close_loop(loop);
}

static void several_edge_triggered_watchers_on_a_descriptor_all_hear_a_transition(void)
{
    gyre_loop loop = open_loop();
    gyre_io first;
    struct ear ears[2];
    int ends[2];
    if (runs_on(loop, "epoll")) {
        make_socketpair(ends);
        first = watch(loop, ends[0], GYRE_READ | GYRE_EDGE, &ears[0]);
        watch(loop, ends[0], GYRE_READ | GYRE_EDGE, &ears[1]);
        put_byte(ends[1]);
        RUN_UNTIL(loop, ears[0].calls > 0 && ears[1].calls > 0);
        /* Closing one must not cost the other a transition. */
        CHECK_OK(gyre_io_close(first));
        ears[1].calls = 0;
        put_byte(ends[1]);
        RUN_UNTIL(loop, ears[1].calls > 0);
        close_pair(ends);
    }
    close_loop(loop);
}

static void edge_and_level_do_not_mix_on_a_descriptor(void)
{
    gyre_loop loop = open_loop();
    gyre_io level, edge;
    struct ear ear;
    int ends[2];
    if (runs_on(loop, "epoll")) {
        make_pipe(ends);
        level = watch(loop, ends[0], GYRE_READ, &ear);
        CHECK_STATUS(gyre_io_open(loop, ends[0], GYRE_READ | GYRE_EDGE, hear, &ear, &edge), -EINVAL);
        put_byte(ends[1]);
        one_turn(loop);
        one_turn(loop);
        CHECK_EQ(ear.calls, 2);
        CHECK_OK(gyre_io_close(level));
        edge = watch(loop, ends[0], GYRE_READ | GYRE_EDGE, &ear);
        CHECK_STATUS(gyre_io_open(loop, ends[0], GYRE_READ, hear, &ear, &level), -EINVAL);
        RUN_UNTIL(loop, ear.calls > 0);
        CHECK_OK(gyre_io_close(edge));
        close_pair(ends);
    }
    close_loop(loop);
}

static void a_oneshot_watcher_is_told_once_until_it_is_set(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ | GYRE_ONESHOT, &ear);
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 1);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 2);
    CHECK_EQ(ear.all, GYRE_READ);
    close_loop(loop);
    close_pair(ends);
}

static void set_again(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    hear(loop, io, events, user_data);
    if (((struct ear *)user_data)->calls < 3)
        CHECK_OK(gyre_io_set(io, GYRE_READ));
}

static void a_oneshot_watcher_may_be_set_in_its_own_callback(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    memset(&ear, 0, sizeof ear);
    make_pipe(ends);
    put_byte(ends[1]);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ | GYRE_ONESHOT, set_again, &ear, &io));
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 3);
    close_loop(loop);
    close_pair(ends);
}

static void oneshot_is_kept_for_each_watcher_of_a_descriptor(void)
{
    gyre_loop loop = open_loop();
    gyre_io once;
    struct ear once_ear, always_ear;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    once = watch(loop, ends[0], GYRE_READ | GYRE_ONESHOT, &once_ear);
    watch(loop, ends[0], GYRE_READ, &always_ear);
    one_turn(loop);
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(once_ear.calls, 1);
    CHECK_EQ(always_ear.calls, 3);
    CHECK_OK(gyre_io_set(once, GYRE_READ));
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(once_ear.calls, 2);
    CHECK_EQ(always_ear.calls, 5);
    close_loop(loop);
    close_pair(ends);
}

static void a_spent_oneshot_watcher_does_not_hear_a_hangup_until_it_is_set(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ | GYRE_ONESHOT, &ear);
    one_turn(loop);
    CHECK_EQ(ear.calls, 1);
    take_byte(ends[0]);
    CHECK_SYS(close(ends[1]));
    let_pass(loop, GYRE_MS(150));
    CHECK_EQ(ear.calls, 1);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 2);
    CHECK_EQ(ear.last, GYRE_READ | GYRE_HANGUP);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void an_edge_triggered_oneshot_watcher_is_told_once_until_it_is_set(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    if (runs_on(loop, "epoll")) {
        make_pipe(ends);
        io = watch(loop, ends[0], GYRE_READ | GYRE_EDGE | GYRE_ONESHOT, &ear);
        put_byte(ends[1]);
        RUN_UNTIL(loop, ear.calls > 0);
        put_byte(ends[1]);
        let_pass(loop, GYRE_MS(20));
        CHECK_EQ(ear.calls, 1);
        CHECK_OK(gyre_io_set(io, GYRE_READ));
        RUN_UNTIL(loop, ear.calls > 1);
        let_pass(loop, GYRE_MS(20));
        CHECK_EQ(ear.calls, 2);
        close_pair(ends);
    }
    close_loop(loop);
}

/* ---- several watchers on one descriptor ---- */

struct lettered {
    char letter;
    uint32_t events;
};

static void note_letter(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct lettered *lettered = (struct lettered *)user_data;
    (void)loop;
    (void)io;
    trace_note(lettered->letter);
    lettered->events = events;
}

static void watchers_of_a_descriptor_are_told_in_opening_order_each_its_own_events(void)
{
    struct lettered a = {'a', 0}, b = {'b', 0}, c = {'c', 0};
    gyre_loop loop = open_loop();
    gyre_io io_a, io_b, io_c;
    int ends[2];
    make_socketpair(ends);
    put_byte(ends[1]);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, note_letter, &a, &io_a));
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_WRITE, note_letter, &b, &io_b));
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ | GYRE_WRITE, note_letter, &c, &io_c));
    trace_clear();
    one_turn(loop);
    CHECK_STR(trace, "abc");
    CHECK_EQ(a.events, GYRE_READ);
    CHECK_EQ(b.events, GYRE_WRITE);
    CHECK_EQ(c.events, GYRE_READ | GYRE_WRITE);

    trace_clear();
    CHECK_OK(gyre_io_set(io_a, GYRE_WRITE)); /* a change of interest is no new opening */
    CHECK_OK(gyre_io_set(io_b, GYRE_READ));
    one_turn(loop);
    CHECK_STR(trace, "abc");
    CHECK_EQ(a.events, GYRE_WRITE);
    CHECK_EQ(b.events, GYRE_READ);

    trace_clear();
    CHECK_OK(gyre_io_close(io_a));
    one_turn(loop);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, note_letter, &a, &io_a));
    one_turn(loop);
    CHECK_STR(trace, "bcbca");

    trace_clear();
    CHECK_OK(gyre_io_set(io_c, 0));
    take_byte(ends[0]);
    one_turn(loop);
    CHECK_STR(trace, "");
    CHECK_OK(gyre_io_set(io_c, GYRE_WRITE));
    one_turn(loop);
    CHECK_STR(trace, "c");
    close_loop(loop);
    close_pair(ends);
}

static void closing_one_of_two_watchers_leaves_the_other_its_interest(void)
{
    gyre_loop loop = open_loop();
    gyre_io reader;
    struct ear read_ear, write_ear;
    int ends[2];
    make_socketpair(ends);
    put_byte(ends[1]);
    reader = watch(loop, ends[0], GYRE_READ, &read_ear);
    watch(loop, ends[0], GYRE_WRITE, &write_ear);
    one_turn(loop);
    CHECK_OK(gyre_io_close(reader));
    one_turn(loop);
    CHECK_EQ(read_ear.calls, 1);
    CHECK_EQ(write_ear.calls, 2);
    CHECK_EQ(write_ear.all, GYRE_WRITE);
    close_loop(loop);
    close_pair(ends);
}

/* ---- what ends, breaks or stands out ---- */

static void the_end_of_a_pipe_comes_as_read_and_hangup(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    char byte;
    int ends[2];
    make_pipe(ends);
    watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_SYS(close(ends[1]));
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(ear.calls, 2); /* level-triggered: told until the watcher is closed or set */
    CHECK_EQ(ear.last, GYRE_READ | GYRE_HANGUP);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void a_hangup_behind_data_does_not_hide_the_data(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    CHECK_SYS(close(ends[1]));
    watch(loop, ends[0], GYRE_READ, &ear);
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_READ | GYRE_HANGUP);
    take_byte(ends[0]);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void a_pipe_without_reader_comes_as_write_and_error(void)
{
    static const char block[4096];
    gyre_loop loop = open_loop();
    struct ear roomy, full;
    int ends[2], filled[2];
    make_pipe(ends);
    make_pipe(filled);
    make_nonblocking(filled[1]);
    while (write(filled[1], block, sizeof block) > 0) {
    }
    CHECK_SYS(close(ends[0]));
    CHECK_SYS(close(filled[0]));
    watch(loop, ends[1], GYRE_WRITE, &roomy);
    watch(loop, filled[1], GYRE_WRITE, &full);
    one_turn(loop);
    CHECK_EQ(roomy.last, GYRE_WRITE | GYRE_ERROR);
    CHECK_EQ(full.last, GYRE_WRITE | GYRE_ERROR); /* a write would fail, not block */
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
    CHECK_SYS(close(filled[1]));
}

static void a_closed_socket_peer_comes_with_what_each_watcher_asked_for(void)
{
    gyre_loop loop = open_loop();
    struct ear reader, writer, closed, both;
    int ends[2];
    make_socketpair(ends);
    CHECK_SYS(close(ends[1]));
    watch(loop, ends[0], GYRE_READ, &reader);
    watch(loop, ends[0], GYRE_WRITE, &writer);
    watch(loop, ends[0], GYRE_PEER_CLOSED, &closed);
    watch(loop, ends[0], GYRE_READ | GYRE_PEER_CLOSED, &both);
    one_turn(loop);
    CHECK_EQ(reader.last, GYRE_READ | GYRE_HANGUP);
    CHECK_EQ(writer.last, GYRE_WRITE | GYRE_HANGUP);
    CHECK_EQ(closed.last, GYRE_PEER_CLOSED | GYRE_HANGUP);
    CHECK_EQ(both.last, GYRE_READ | GYRE_PEER_CLOSED | GYRE_HANGUP);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void a_reset_connection_comes_as_read_write_and_error(void)
{
    gyre_loop loop = open_loop();
    struct ear reader, writer;
    struct linger reset;
    int ends[2];
    make_tcp_pair(ends);
    reset.l_onoff = 1;
    reset.l_linger = 0;
    CHECK_SYS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    watch(loop, ends[0], GYRE_READ, &reader);
    CHECK_SYS(close(ends[1]));
    RUN_UNTIL(loop, reader.calls > 0);
    watch(loop, ends[0], GYRE_WRITE, &writer);
    one_turn(loop);
    CHECK_EQ(reader.last, GYRE_READ | GYRE_HANGUP | GYRE_ERROR);
    CHECK_EQ(writer.last, GYRE_WRITE | GYRE_HANGUP | GYRE_ERROR);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void the_half_close_of_a_peer_is_told_to_who_asked_for_it(void)
{
    gyre_loop loop = open_loop();
    struct ear reader, closed, both;
    int ends[2];
    make_tcp_pair(ends);
    watch(loop, ends[0], GYRE_READ, &reader);
    watch(loop, ends[0], GYRE_PEER_CLOSED, &closed);
    watch(loop, ends[0], GYRE_READ | GYRE_PEER_CLOSED, &both);
    put_byte(ends[1]);
    RUN_UNTIL(loop, reader.calls > 0);
    CHECK_EQ(closed.calls, 0);
    CHECK_EQ(both.all, GYRE_READ);
    CHECK_SYS(shutdown(ends[1], SHUT_WR));
    RUN_UNTIL(loop, closed.calls > 0);
    CHECK_EQ(closed.last, GYRE_PEER_CLOSED);
    CHECK_EQ(both.last, GYRE_READ | GYRE_PEER_CLOSED);
    CHECK_EQ(reader.all, GYRE_READ);
    take_byte(ends[0]);
    one_turn(loop);
    CHECK_EQ(reader.last, GYRE_READ); /* the end of the stream can be read */
    close_loop(loop);
    close_pair(ends);
}

/* Within one wait: what the kernel does not wake the loop for must be looked for. */
static void check_told_in_a_long_wait(gyre_loop loop, const struct ear *ear)
{
    uint64_t started = check_now();
    CHECK(gyre_loop_turn(loop, GYRE_SEC(CHECK_DEADLINE_SECONDS)) >= 0);
    CHECK_EQ(ear->calls, 1);
    CHECK(check_now() - started < GYRE_SEC(CHECK_DEADLINE_SECONDS / 2));
}

static void waiting_for_the_peer_to_close_does_not_spin_over_unread_data(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    int ends[2];
    make_tcp_pair(ends);
    put_byte(ends[1]);
    watch(loop, ends[0], GYRE_PEER_CLOSED, &ear);
    check_idles_for_a_second(loop);
    CHECK_EQ(ear.calls, 0);
    CHECK_SYS(shutdown(ends[1], SHUT_WR));
    check_told_in_a_long_wait(loop, &ear);
    CHECK_EQ(ear.all, GYRE_PEER_CLOSED);
    close_loop(loop);
    close_pair(ends);
}

static void a_hangup_without_interest_is_told_once_and_does_not_spin(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear, opened_paused;
    int ends[2];
    make_pipe(ends);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    watch(loop, ends[0], 0, &opened_paused);
    CHECK_OK(gyre_io_set(io, 0));
    CHECK_SYS(close(ends[1]));
    check_told_in_a_long_wait(loop, &ear);
    CHECK_EQ(ear.last, GYRE_HANGUP);
    CHECK_EQ(opened_paused.last, GYRE_HANGUP);
    check_idles_for_a_second(loop);
    CHECK_EQ(ear.calls, 1);
    CHECK_EQ(opened_paused.calls, 1);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    RUN_UNTIL(loop, ear.calls > 1);
    CHECK_EQ(ear.last, GYRE_READ | GYRE_HANGUP);
    CHECK_EQ(opened_paused.calls, 1);
    CHECK_OK(gyre_io_set(io, 0));
    RUN_UNTIL(loop, ear.last == GYRE_HANGUP);
    ear.calls = 0;
    check_idles_for_a_second(loop);
    CHECK_EQ(ear.calls, 0);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void urgent_data_is_told_as_priority_to_who_asked_for_it(void)
{
    gyre_loop loop = open_loop();
    struct ear priority, reader;
    char byte;
    int ends[2];
    make_tcp_pair(ends);
    watch(loop, ends[0], GYRE_PRIORITY, &priority);
    watch(loop, ends[0], GYRE_READ, &reader);
    put_byte(ends[1]);
    RUN_UNTIL(loop, reader.calls > 0);
    CHECK_EQ(priority.calls, 0);
    take_byte(ends[0]);
    CHECK_EQ(send(ends[1], "!", 1, MSG_OOB), 1);
    RUN_UNTIL(loop, priority.calls > 0);
    CHECK_EQ(priority.all, GYRE_PRIORITY);
    CHECK_EQ(reader.all, GYRE_READ);
    CHECK_EQ(recv(ends[0], &byte, 1, MSG_OOB), 1);
    priority.calls = 0;
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(priority.calls, 0);
    close_loop(loop);
    close_pair(ends);
}

/* ---- files that cannot block ---- */

static void check_is_always_ready(int fd)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear, pipe_ear;
    int ends[2];
    make_pipe(ends);
    io = watch(loop, fd, GYRE_READ, &ear);
    watch(loop, ends[0], GYRE_READ, &pipe_ear);
    CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1);
    CHECK_EQ(ear.calls, 2);
    CHECK_EQ(ear.all, GYRE_READ);
    put_byte(ends[1]);
    one_turn(loop);
    CHECK_EQ(pipe_ear.calls, 1);
    CHECK_EQ(ear.calls, 3);
    CHECK_OK(gyre_io_set(io, GYRE_READ | GYRE_WRITE));
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_READ | GYRE_WRITE);
    CHECK_OK(gyre_io_set(io, 0));
    one_turn(loop);
    CHECK_EQ(ear.calls, 4);
    CHECK_OK(gyre_io_set(io, GYRE_WRITE));
    one_turn(loop);
    CHECK_EQ(ear.last, GYRE_WRITE);
    CHECK_OK(gyre_io_close(io));
    one_turn(loop);
    CHECK_EQ(ear.calls, 5);

    io = watch(loop, fd, GYRE_READ | GYRE_ONESHOT, &ear);
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(ear.calls, 1);
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(ear.calls, 2);
    close_loop(loop);
    close_pair(ends);
}

static void a_regular_file_is_always_ready(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL);
    check_is_always_ready(fileno(file));
    CHECK_EQ(fclose(file), 0);
}

static void a_device_that_does_not_poll_is_always_ready(void)
{
    int fd = (int)CHECK_SYS(open("/dev/null", O_RDWR));
    check_is_always_ready(fd);
    CHECK_SYS(close(fd));
}

static void several_watchers_share_a_regular_file(void)
{
    struct lettered a = {'a', 0}, b = {'b', 0};
    gyre_loop loop = open_loop();
    gyre_io io_a, io_b;
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK_OK(gyre_io_open(loop, fileno(file), GYRE_READ, note_letter, &a, &io_a));
    CHECK_OK(gyre_io_open(loop, fileno(file), GYRE_WRITE, note_letter, &b, &io_b));
    trace_clear();
    one_turn(loop);
    CHECK_OK(gyre_io_close(io_a));
    one_turn(loop);
    CHECK_STR(trace, "abb");
    CHECK_EQ(a.events, GYRE_READ);
    CHECK_EQ(b.events, GYRE_WRITE);
    close_loop(loop);
    CHECK_EQ(fclose(file), 0);
}

/* ---- changes within a batch ---- */

struct rival {
    gyre_io other;
    int *calls;
};

static void close_rival(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct rival *rival = (struct rival *)user_data;
    gyre_io other = rival->other;
    (void)loop;
    (void)io;
    (void)events;
    ++*rival->calls;
    CHECK_OK(gyre_io_close(other));
}

static void check_one_rival_survives(int first_fd, int second_fd)
{
    gyre_loop loop = open_loop();
    struct rival *first = (struct rival *)malloc(sizeof *first);
    struct rival *second = (struct rival *)malloc(sizeof *second);
    gyre_io first_io, second_io;
    int first_calls = 0, second_calls = 0;
    CHECK(first != NULL && second != NULL);
    CHECK_OK(gyre_io_open(loop, first_fd, GYRE_READ, close_rival, first, &first_io));
    CHECK_OK(gyre_io_open(loop, second_fd, GYRE_READ, close_rival, second, &second_io));
    first->other = second_io;
    first->calls = &first_calls;
    second->other = first_io;
    second->calls = &second_calls;
    one_turn(loop);
    CHECK_EQ(first_calls + second_calls, 1);
    CHECK_STATUS(gyre_io_close(first_calls ? second_io : first_io), GYRE_EHANDLE);
    CHECK_OK(gyre_io_close(first_calls ? first_io : second_io));
    free(first);
    free(second);
    close_loop(loop);
}

static void a_watcher_closed_by_another_in_the_batch_is_never_called(void)
{
    int a[2], b[2];
    make_pipe(a);
    make_pipe(b);
    put_byte(a[1]);
    put_byte(b[1]);
    check_one_rival_survives(a[0], b[0]);
    check_one_rival_survives(a[0], a[0]);
    close_pair(a);
    close_pair(b);
}

static void free_other(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct rival **pair = (struct rival **)user_data;
    int i;
    (void)loop;
    (void)events;
    for (i = 0; i < 2; i++) {
        if (pair[i]->other.bits != io.bits) {
            CHECK_OK(gyre_io_close(pair[i]->other));
            free(pair[i]);
            pair[i] = NULL;
        } else {
            ++*pair[i]->calls;
        }
    }
    CHECK_OK(gyre_io_close(io));
}

static void user_data_may_be_freed_once_close_has_returned(void)
{
    gyre_loop loop = open_loop();
    struct rival *pair[2];
    int ends[2][2];
    int i, calls = 0;
    for (i = 0; i < 2; i++) {
        make_pipe(ends[i]);
        put_byte(ends[i][1]);
        pair[i] = (struct rival *)malloc(sizeof *pair[i]);
        CHECK(pair[i] != NULL);
        pair[i]->calls = &calls;
        CHECK_OK(gyre_io_open(loop, ends[i][0], GYRE_READ, free_other, pair, &pair[i]->other));
    }
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(calls, 1);
    for (i = 0; i < 2; i++) {
        free(pair[i]);
        close_pair(ends[i]);
    }
    close_loop(loop);
}

static void pause_rival(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct rival *rival = (struct rival *)user_data;
    (void)loop;
    (void)io;
    CHECK_EQ(events, GYRE_READ);
    ++*rival->calls;
    CHECK_OK(gyre_io_set(rival->other, 0));
}

static void an_event_whose_interest_was_withdrawn_in_the_batch_is_not_told(void)
{
    gyre_loop loop = open_loop();
    struct rival rivals[2];
    gyre_io ios[2];
    int ends[2][2];
    int i, calls = 0;
    for (i = 0; i < 2; i++) {
        make_pipe(ends[i]);
        put_byte(ends[i][1]);
        CHECK_OK(gyre_io_open(loop, ends[i][0], GYRE_READ, pause_rival, &rivals[i], &ios[i]));
        rivals[i].calls = &calls;
    }
    rivals[0].other = ios[1];
    rivals[1].other = ios[0];
    one_turn(loop);
    CHECK_EQ(calls, 1);
    close_loop(loop);
    close_pair(ends[0]);
    close_pair(ends[1]);
}

struct exchange {
    gyre_io next;
    int other_fd;
    gyre_io opened;
    struct ear opened_ear;
};

static void exchange_next(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct exchange *exchange = (struct exchange *)user_data;
    (void)events;
    CHECK_OK(gyre_io_close(exchange->next));
    exchange->opened = watch(loop, exchange->other_fd, GYRE_READ, &exchange->opened_ear); /* may take its place */
    CHECK_OK(gyre_io_close(io));
}

static void closing_and_opening_between_two_watchers_of_a_descriptor_costs_the_second_nothing(void)
{
    gyre_loop loop = open_loop();
    struct exchange exchange;
    struct ear closed, last;
    gyre_io io;
    int ends[2], other[2];
    make_pipe(ends);
    make_pipe(other);
    put_byte(ends[1]);
    exchange.other_fd = other[0];
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, exchange_next, &exchange, &io));
    exchange.next = watch(loop, ends[0], GYRE_READ, &closed);
    watch(loop, ends[0], GYRE_READ, &last);
    one_turn(loop);
    CHECK_EQ(closed.calls, 0);
    CHECK_EQ(last.calls, 1);
    put_byte(other[1]);
    one_turn(loop);
    CHECK_EQ(last.calls, 2);
    CHECK_EQ(exchange.opened_ear.calls, 1);
    close_loop(loop);
    close_pair(ends);
    close_pair(other);
}

struct opener {
    int fds[2];
    int calls;
    gyre_io opened[4];
    struct ear ears[4];
};

static void open_more(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct opener *opener = (struct opener *)user_data;
    (void)io;
    (void)events;
    if (opener->calls < 2) { /* both watchers of the first batch open one on each descriptor of the batch */
        int at = 2 * opener->calls;
        opener->opened[at] = watch(loop, opener->fds[0], GYRE_READ, &opener->ears[at]);
        opener->opened[at + 1] = watch(loop, opener->fds[1], GYRE_READ, &opener->ears[at + 1]);
    }
    opener->calls++;
}

static void a_watcher_opened_in_a_batch_hears_nothing_of_that_batch(void)
{
    gyre_loop loop = open_loop();
    struct opener opener;
    gyre_io ios[2];
    int ends[2][2];
    int i;
    memset(&opener, 0, sizeof opener);
    for (i = 0; i < 2; i++) {
        make_pipe(ends[i]);
        put_byte(ends[i][1]);
        opener.fds[i] = ends[i][0];
        CHECK_OK(gyre_io_open(loop, ends[i][0], GYRE_READ, open_more, &opener, &ios[i]));
    }
    one_turn(loop);
    CHECK_EQ(opener.calls, 2);
    for (i = 0; i < 4; i++)
        CHECK_EQ(opener.ears[i].calls, 0);
    one_turn(loop);
    CHECK_EQ(opener.calls, 4);
    for (i = 0; i < 4; i++)
        CHECK_EQ(opener.ears[i].calls, 1);
    close_loop(loop);
    close_pair(ends[0]);
    close_pair(ends[1]);
}

/* ---- fairness and numbers ---- */

static void a_bounded_turn_reaches_every_ready_watcher_in_the_end(void)
{
    gyre_loop_options options = default_options();
    gyre_loop loop;
    struct ear ears[8];
    int ends[8][2];
    int i, turn, calls, before = 0;
    options.events_per_turn = 2;
    CHECK_OK(gyre_loop_open(&options, &loop));
    for (i = 0; i < 8; i++) {
        make_pipe(ends[i]);
        put_byte(ends[i][1]); /* never read: all stay ready */
        watch(loop, ends[i][0], GYRE_READ, &ears[i]);
    }
    for (turn = 0; turn < 40; turn++) {
        one_turn(loop);
        for (calls = 0, i = 0; i < 8; i++)
            calls += ears[i].calls;
        CHECK(calls - before <= 2);
        before = calls;
    }
    for (i = 0; i < 8; i++)
        CHECK(ears[i].calls > 0);
    close_loop(loop);
    for (i = 0; i < 8; i++)
        close_pair(ends[i]);
}

static void hundreds_of_descriptors_are_each_served(void)
{
    enum { PAIRS = 200 };
    static struct ear ears[PAIRS];
    static gyre_io ios[PAIRS];
    static int ends[PAIRS][2];
    gyre_loop loop = open_loop();
    int i, round;
    for (i = 0; i < PAIRS; i++) {
        make_socketpair(ends[i]);
        memset(&ears[i], 0, sizeof ears[i]);
        CHECK_OK(gyre_io_open(loop, ends[i][0], GYRE_READ, hear_and_read, &ears[i], &ios[i]));
    }
    for (round = 1; round <= 3; round++) {
        for (i = 0; i < PAIRS; i++)
            put_byte(ends[i][1]);
        for (i = 0; i < PAIRS; i++)
            RUN_UNTIL(loop, ears[i].calls == round);
    }
    let_pass(loop, GYRE_MS(20));
    for (i = 0; i < PAIRS; i++) {
        CHECK_EQ(ears[i].calls, 3);
        CHECK_EQ(ears[i].all, GYRE_READ);
        CHECK_OK(gyre_io_close(ios[i]));
    }
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
    for (i = 0; i < PAIRS; i++)
        close_pair(ends[i]);
}

static void a_descriptor_beyond_fd_setsize_is_served_or_refused_clearly(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    struct rlimit limit, raised;
    int ends[2];
    int high = FD_SETSIZE + 100;
    memset(&ear, 0, sizeof ear);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    raised = limit;
    if (raised.rlim_cur < (rlim_t)high + 1)
        raised.rlim_cur = (rlim_t)high + 1;
    make_pipe(ends);
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0 && dup2(ends[0], high) == high) {
        put_byte(ends[1]);
        if (runs_on(loop, "select")) {
            CHECK_STATUS(gyre_io_open(loop, high, GYRE_READ, hear, &ear, &io), GYRE_EUNSUPPORTED);
            one_turn(loop);
        } else {
            CHECK_OK(gyre_io_open(loop, high, GYRE_READ, hear, &ear, &io));
            one_turn(loop);
            CHECK_EQ(ear.calls, 1);
            CHECK_OK(gyre_io_close(io));
        }
        CHECK_SYS(close(high));
    } else {
        fprintf(stderr, "%s: skipped: no descriptor above FD_SETSIZE to be had\n", check_running);
    }
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
    close_loop(loop);
    close_pair(ends);
}

/* ---- what a handle carries ---- */

static void a_watcher_with_keepalive_off_is_served_but_does_not_hold_the_loop(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int ends[2];
    make_pipe(ends);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_OK(gyre_io_set_keepalive(io, 0));
    CHECK_OK(gyre_io_set_keepalive(io, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    put_byte(ends[1]);
    one_turn(loop);
    CHECK_EQ(ear.calls, 1);
    CHECK_OK(gyre_io_set(io, 0)); /* paused and resumed: still off */
    CHECK_OK(gyre_io_set(io, GYRE_READ));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_OK(gyre_io_set_keepalive(io, 1));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_io_close(io));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
    close_pair(ends);
}

static void a_watcher_knows_its_loop_descriptor_and_user_data(void)
{
    gyre_loop loop = open_loop();
    gyre_loop found;
    gyre_io io;
    struct ear ear, other;
    int ends[2];
    memset(&other, 0, sizeof other);
    make_pipe(ends);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    CHECK(io.bits != 0);
    CHECK_EQ(gyre_io_fd(io), ends[0]);
    CHECK_OK(gyre_io_loop(io, &found));
    CHECK_EQ(found.bits, loop.bits);
    CHECK(gyre_io_user_data(io) == &ear);
    CHECK_OK(gyre_io_set_user_data(io, &other));
    CHECK(gyre_io_user_data(io) == &other);
    put_byte(ends[1]);
    one_turn(loop);
    CHECK_EQ(ear.calls, 0);
    CHECK_EQ(other.calls, 1);
    CHECK_OK(gyre_io_set_user_data(io, NULL));
    CHECK(gyre_io_user_data(io) == NULL);
    close_loop(loop);
    close_pair(ends);
}

int main(void)
{
    check_begin();
    RUN(level_triggered_readiness_is_told_every_turn_until_it_is_read);
    RUN(io_set_replaces_the_interest);
    RUN(a_paused_watcher_hears_nothing_and_keeps_nothing_alive_until_it_is_resumed);
    RUN(a_watcher_may_be_opened_paused);
    RUN(a_write_watcher_is_told_when_there_is_room);
    RUN(of_many_interest_changes_in_one_turn_the_last_one_counts);
    RUN(a_watcher_does_not_change_the_flags_of_its_descriptor);
    RUN(edge_triggered_watchers_hear_each_transition_or_are_refused);
    RUN(setting_an_edge_triggered_watcher_tells_again_what_is_ready_already);
    RUN(several_edge_triggered_watchers_on_a_descriptor_all_hear_a_transition);
    RUN(edge_and_level_do_not_mix_on_a_descriptor);
    RUN(a_oneshot_watcher_is_told_once_until_it_is_set);
    RUN(a_oneshot_watcher_may_be_set_in_its_own_callback);
    RUN(oneshot_is_kept_for_each_watcher_of_a_descriptor);
    RUN(a_spent_oneshot_watcher_does_not_hear_a_hangup_until_it_is_set);
    RUN(an_edge_triggered_oneshot_watcher_is_told_once_until_it_is_set);
    RUN(watchers_of_a_descriptor_are_told_in_opening_order_each_its_own_events);
    RUN(closing_one_of_two_watchers_leaves_the_other_its_interest);
    RUN(the_end_of_a_pipe_comes_as_read_and_hangup);
    RUN(a_hangup_behind_data_does_not_hide_the_data);
    RUN(a_pipe_without_reader_comes_as_write_and_error);
    RUN(a_closed_socket_peer_comes_with_what_each_watcher_asked_for);
    RUN(a_reset_connection_comes_as_read_write_and_error);
    RUN(the_half_close_of_a_peer_is_told_to_who_asked_for_it);
    RUN(waiting_for_the_peer_to_close_does_not_spin_over_unread_data);
    RUN(a_hangup_without_interest_is_told_once_and_does_not_spin);
    RUN(urgent_data_is_told_as_priority_to_who_asked_for_it);
    RUN(a_regular_file_is_always_ready);
    RUN(a_device_that_does_not_poll_is_always_ready);
    RUN(several_watchers_share_a_regular_file);
    RUN(a_watcher_closed_by_another_in_the_batch_is_never_called);
    RUN(user_data_may_be_freed_once_close_has_returned);
    RUN(closing_and_opening_between_two_watchers_of_a_descriptor_costs_the_second_nothing);
    RUN(an_event_whose_interest_was_withdrawn_in_the_batch_is_not_told);
    RUN(a_watcher_opened_in_a_batch_hears_nothing_of_that_batch);
    RUN(a_bounded_turn_reaches_every_ready_watcher_in_the_end);
    RUN(hundreds_of_descriptors_are_each_served);
    RUN(a_descriptor_beyond_fd_setsize_is_served_or_refused_clearly);
    RUN(a_watcher_with_keepalive_off_is_served_but_does_not_hold_the_loop);
    RUN(a_watcher_knows_its_loop_descriptor_and_user_data);
    return 0;
}
