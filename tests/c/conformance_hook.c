/* conformance_hook.c: where hooks run in a turn, and what they do to its wait. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

static void note_hook(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)loop;
    (void)hook;
    trace_note(*(const char *)user_data);
}

static void note_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    (void)loop;
    (void)events;
    trace_note(*(const char *)user_data);
    take_byte(gyre_io_fd(io));
}

static void note_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    trace_note(*(const char *)user_data);
}

static void note_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    trace_note(*(const char *)user_data);
}

static void note_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    trace_note(*(const char *)user_data);
}

static gyre_hook open_hook(gyre_loop loop, int phase, gyre_hook_cb callback, void *user_data)
{
    gyre_hook hook;
    CHECK_OK(gyre_hook_open(loop, phase, callback, user_data, &hook));
    return hook;
}

/* ---- order ---- */

static void a_turn_runs_idle_prepare_io_signals_posts_timers_check(void)
{
    static char idle = 'i', prepare = 'p', io = 'f', signal = 's', post = 'q', timer = 't', check = 'c';
    gyre_loop loop = open_loop();
    gyre_io reader;
    gyre_signal usr1;
    gyre_timer due;
    int ends[2];
    make_pipe(ends);
    /* Opened in an order that is not the order of running. */
    open_hook(loop, GYRE_HOOK_CHECK, note_hook, &check);
    CHECK_OK(gyre_timer_open(loop, 0, 0, note_timer, &timer, &due));
    CHECK_OK(gyre_loop_post(loop, note_post, &post));
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, note_signal, &signal, &usr1));
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, note_io, &io, &reader));
    open_hook(loop, GYRE_HOOK_PREPARE, note_hook, &prepare);
    open_hook(loop, GYRE_HOOK_IDLE, note_hook, &idle);
    CHECK_EQ(raise(SIGUSR1), 0);
    put_byte(ends[1]);
    trace_clear();
    one_turn(loop);
    CHECK_STR(trace, "ipfsqtc");
    trace_clear();
    one_turn(loop);
    CHECK_STR(trace, "ipc");
    close_loop(loop);
    close_pair(ends);
}

static void hooks_run_once_in_each_turn_even_when_nothing_happens(void)
{
    static const int phases[] = {GYRE_HOOK_PREPARE, GYRE_HOOK_CHECK, GYRE_HOOK_IDLE};
    gyre_loop loop = open_loop();
    int calls[3] = {0, 0, 0};
    int i, turn;
    for (i = 0; i < 3; i++)
        open_hook(loop, phases[i], count_hook, &calls[i]);
    for (turn = 1; turn <= 3; turn++) {
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 1);
        for (i = 0; i < 3; i++)
            CHECK_EQ(calls[i], turn);
    }
    close_loop(loop);
}

/* ---- the wait ---- */

static void an_idle_hook_keeps_the_wait_at_zero(void)
{
    gyre_loop loop = open_loop();
    gyre_hook hook;
    uint64_t started;
    int calls = 0;
    hook = open_hook(loop, GYRE_HOOK_IDLE, count_hook, &calls);
    CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1);
    CHECK_EQ(calls, 2);
    CHECK_OK(gyre_hook_close(hook));
    started = check_now();
    CHECK_EQ(gyre_loop_turn(loop, GYRE_MS(20)), 0); /* without it a turn waits again */
    CHECK(check_now() - started >= GYRE_MS(20));
    close_loop(loop);
}

static void prepare_and_check_hooks_do_not_shorten_the_wait(void)
{
    gyre_loop loop = open_loop();
    uint64_t turns;
    int calls = 0;
    open_hook(loop, GYRE_HOOK_PREPARE, count_hook, &calls);
    open_hook(loop, GYRE_HOOK_CHECK, count_hook, &calls);
    turns = stats_of(loop).turns;
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(50)), 1);
    CHECK(stats_of(loop).turns - turns < 10);
    close_loop(loop);
}

struct preparation {
    void (*prepare)(gyre_loop loop, int *heard);
    int heard;
};

static void post_something(gyre_loop loop, int *heard)
{
    CHECK_OK(gyre_loop_post(loop, count_post, heard));
}

static void arm_a_short_timer(gyre_loop loop, int *heard)
{
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, count_timer, heard, NULL));
}

static void wake_the_loop(gyre_loop loop, int *heard)
{
    ++*heard;
    CHECK_OK(gyre_loop_wake(loop));
}

static void stop_the_loop(gyre_loop loop, int *heard)
{
    ++*heard;
    CHECK_OK(gyre_loop_stop(loop));
}

static void run_preparation(gyre_loop loop, gyre_hook hook, void *user_data)
{
    struct preparation *preparation = (struct preparation *)user_data;
    CHECK_OK(gyre_hook_close(hook));
    preparation->prepare(loop, &preparation->heard);
}

static void what_a_prepare_hook_does_counts_for_the_wait_that_follows(void)
{
    static void (*const prepares[])(gyre_loop, int *) = {post_something, arm_a_short_timer, wake_the_loop,
                                                         stop_the_loop};
    struct preparation preparation;
    size_t i;
    for (i = 0; i < sizeof prepares / sizeof prepares[0]; i++) {
        gyre_loop loop = open_loop();
        preparation.prepare = prepares[i];
        preparation.heard = 0;
        open_hook(loop, GYRE_HOOK_PREPARE, run_preparation, &preparation);
        CHECK(gyre_loop_turn(loop, GYRE_FOREVER) >= 0); /* one turn, or the watchdog */
        CHECK_EQ(preparation.heard, 1);
        close_loop(loop);
    }
}

static void a_stop_in_any_hook_ends_the_run(void)
{
    static const int phases[] = {GYRE_HOOK_PREPARE, GYRE_HOOK_CHECK, GYRE_HOOK_IDLE};
    struct preparation preparation;
    size_t i;
    for (i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        gyre_loop loop = open_loop();
        preparation.prepare = stop_the_loop;
        preparation.heard = 0;
        CHECK_OK(gyre_loop_set_keepalive(loop, 1));
        open_hook(loop, phases[i], run_preparation, &preparation);
        if (phases[i] == GYRE_HOOK_CHECK)
            CHECK_OK(gyre_loop_wake(loop)); /* a check hook runs after the wait */
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1);
        CHECK_EQ(preparation.heard, 1);
        close_loop(loop);
    }
}

/* ---- opened and closed while hooks run ---- */

struct opener {
    int phase;
    int opened;
    int heard;
};

static void open_another(gyre_loop loop, gyre_hook hook, void *user_data)
{
    struct opener *opener = (struct opener *)user_data;
    (void)hook;
    opener->opened++;
    open_hook(loop, opener->phase, count_hook, &opener->heard);
}

static void a_hook_opened_by_a_hook_of_its_phase_waits_for_the_next_turn(void)
{
    static const int phases[] = {GYRE_HOOK_PREPARE, GYRE_HOOK_CHECK, GYRE_HOOK_IDLE};
    size_t i;
    for (i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        gyre_loop loop = open_loop();
        struct opener opener = {0, 0, 0};
        opener.phase = phases[i];
        open_hook(loop, phases[i], open_another, &opener);
        one_turn(loop);
        CHECK_EQ(opener.opened, 1);
        CHECK_EQ(opener.heard, 0);
        one_turn(loop);
        CHECK_EQ(opener.opened, 2);
        CHECK_EQ(opener.heard, 1);
        close_loop(loop);
    }
}

struct hook_pair {
    gyre_hook hooks[2];
    int calls;
};

static void close_both(gyre_loop loop, gyre_hook hook, void *user_data)
{
    struct hook_pair *pair = (struct hook_pair *)user_data;
    (void)loop;
    (void)hook;
    pair->calls++;
    CHECK_OK(gyre_hook_close(pair->hooks[0]));
    CHECK_OK(gyre_hook_close(pair->hooks[1]));
}

static void a_hook_closed_by_another_in_the_turn_is_never_called(void)
{
    static const int phases[] = {GYRE_HOOK_PREPARE, GYRE_HOOK_CHECK, GYRE_HOOK_IDLE};
    gyre_loop loop = open_loop();
    struct hook_pair pair;
    size_t i;
    for (i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        pair.calls = 0;
        pair.hooks[0] = open_hook(loop, phases[i], close_both, &pair);
        pair.hooks[1] = open_hook(loop, phases[i], close_both, &pair);
        one_turn(loop);
        one_turn(loop);
        CHECK_EQ(pair.calls, 1);
        CHECK_STATUS(gyre_hook_close(pair.hooks[0]), GYRE_EHANDLE);
        CHECK_STATUS(gyre_hook_close(pair.hooks[1]), GYRE_EHANDLE);
    }
    close_loop(loop);
}

/* ---- what a handle carries ---- */

static void a_hook_keeps_the_loop_alive_unless_told_not_to(void)
{
    gyre_loop loop = open_loop();
    gyre_hook hook;
    int calls = 0;
    hook = open_hook(loop, GYRE_HOOK_CHECK, count_hook, &calls);
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_hook_set_keepalive(hook, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    one_turn(loop);
    CHECK(calls >= 1);
    CHECK_OK(gyre_hook_set_keepalive(hook, 1));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_hook_close(hook));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
}

static void a_hook_knows_its_loop_and_user_data(void)
{
    gyre_loop loop = open_loop();
    gyre_loop found;
    gyre_hook hook;
    int calls = 0, other = 0;
    hook = open_hook(loop, GYRE_HOOK_PREPARE, count_hook, &calls);
    CHECK_OK(gyre_hook_loop(hook, &found));
    CHECK_EQ(found.bits, loop.bits);
    CHECK(gyre_hook_user_data(hook) == &calls);
    CHECK_OK(gyre_hook_set_user_data(hook, &other));
    CHECK(gyre_hook_user_data(hook) == &other);
    one_turn(loop);
    CHECK_EQ(calls, 0);
    CHECK_EQ(other, 1);
    close_loop(loop);
}

int main(void)
{
    check_begin();
    RUN(a_turn_runs_idle_prepare_io_signals_posts_timers_check);
    RUN(hooks_run_once_in_each_turn_even_when_nothing_happens);
    RUN(an_idle_hook_keeps_the_wait_at_zero);
    RUN(prepare_and_check_hooks_do_not_shorten_the_wait);
    RUN(what_a_prepare_hook_does_counts_for_the_wait_that_follows);
    RUN(a_stop_in_any_hook_ends_the_run);
    RUN(a_hook_opened_by_a_hook_of_its_phase_waits_for_the_next_turn);
    RUN(a_hook_closed_by_another_in_the_turn_is_never_called);
    RUN(a_hook_keeps_the_loop_alive_unless_told_not_to);
    RUN(a_hook_knows_its_loop_and_user_data);
    return 0;
}
