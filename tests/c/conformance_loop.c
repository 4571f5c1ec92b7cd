/* conformance_loop.c: the loop itself: run modes, stop and wake, time, options, reports, places, embedding. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>

/* ---- run modes ---- */

static void a_loop_with_nothing_alive_does_not_wait(void)
{
    gyre_loop loop = open_loop();
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 0);
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_SEC(1000)), 0);
    close_loop(loop);
}

static void default_runs_until_nothing_is_alive(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timers[3];
    int calls = 0, i;
    for (i = 0; i < 3; i++)
        CHECK_OK(gyre_timer_open(loop, GYRE_MS(i + 1), 0, count_timer, &calls, &timers[i]));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 3);
    close_loop(loop);
}

static void once_is_one_turn_that_may_wait(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    uint64_t turns;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(10), 0, count_timer, &calls, &timer));
    turns = stats_of(loop).turns;
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 0);
    CHECK_EQ(calls, 1);
    CHECK_EQ(stats_of(loop).turns - turns, 1);
    close_loop(loop);
}

static void nowait_is_always_one_turn_that_does_not_wait(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    uint64_t turns;
    int ends[2];
    turns = stats_of(loop).turns;
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 0); /* with nothing alive too */
    CHECK_EQ(stats_of(loop).turns - turns, 1);
    make_pipe(ends);
    watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 1);
    CHECK_EQ(ear.calls, 0);
    put_byte(ends[1]);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 1);
    CHECK_EQ(ear.calls, 1);
    CHECK_EQ(stats_of(loop).turns - turns, 3);
    close_loop(loop);
    close_pair(ends);
}

static void run_for_comes_back_when_the_time_is_over(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    uint64_t started;
    int ends[2];
    make_pipe(ends);
    watch(loop, ends[0], GYRE_READ, &ear);
    started = check_now();
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(20)), 1);
    CHECK(check_now() - started >= GYRE_MS(20));
    put_byte(ends[1]); /* a loop that is never out of work comes back too */
    started = check_now();
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(20)), 1);
    CHECK(check_now() - started >= GYRE_MS(20));
    CHECK(ear.calls > 1);
    CHECK_EQ(gyre_loop_run_for(loop, 0), 1);
    close_loop(loop);
    close_pair(ends);
}

static void a_turn_waits_at_most_so_long_alive_or_not(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    uint64_t started = check_now();
    int calls = 0;
    CHECK_EQ(gyre_loop_turn(loop, GYRE_MS(20)), 0);
    CHECK(check_now() - started >= GYRE_MS(20));
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(5), 0, count_timer, &calls, &timer));
    CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 0); /* no longer than to the next timer */
    CHECK_EQ(calls, 1);
    CHECK_OK(gyre_timer_set(timer, GYRE_SEC(1000), 0));
    CHECK_EQ(gyre_loop_turn(loop, 0), 1);
    CHECK_EQ(gyre_loop_turn(loop, GYRE_MS(1)), 1);
    close_loop(loop);
}

static void a_loop_kept_alive_waits_with_nothing_alive(void)
{
    gyre_loop loop = open_loop();
    uint64_t started = check_now();
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(20)), 1);
    CHECK(check_now() - started >= GYRE_MS(20));
    CHECK_OK(gyre_loop_set_keepalive(loop, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    close_loop(loop);
}

/* ---- stop ---- */

static void stop_in_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)timer;
    (void)user_data;
    CHECK_OK(gyre_loop_stop(loop));
}

static void stop_ends_the_run_after_its_turn(void)
{
    gyre_loop loop = open_loop();
    gyre_timer stopper, counter;
    int calls = 0;
    uint64_t deadline = gyre_loop_now(loop);
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, stop_in_timer, NULL, &stopper));
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, count_timer, &calls, &counter));
    CHECK_OK(gyre_timer_set_at(stopper, deadline, 0));
    CHECK_OK(gyre_timer_set_at(counter, deadline, GYRE_SEC(1000)));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1); /* the counter is alive still */
    CHECK_EQ(calls, 1);                                 /* and was due in the same turn */
    close_loop(loop);
}

static void a_stop_outside_a_run_ends_the_next_one_after_a_turn_without_waiting(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    uint64_t turns;
    int ends[2];
    make_pipe(ends);
    watch(loop, ends[0], GYRE_READ, &ear);
    put_byte(ends[1]);
    CHECK_OK(gyre_loop_stop(loop));
    CHECK_OK(gyre_loop_stop(loop)); /* two are one */
    turns = stats_of(loop).turns;
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1);
    CHECK_EQ(ear.calls, 1);
    CHECK_EQ(stats_of(loop).turns - turns, 1);
    take_byte(ends[0]);
    CHECK_OK(gyre_loop_stop(loop));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1); /* with nothing to hear */
    CHECK_OK(gyre_loop_stop(loop));
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_FOREVER), 1);
    turns = stats_of(loop).turns;
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(10)), 1); /* used up: this one waits */
    CHECK(stats_of(loop).turns - turns < 5);
    close_loop(loop);
    close_pair(ends);
}

static void *stop_from_thread(void *argument)
{
    CHECK_OK(gyre_loop_stop(*(gyre_loop *)argument));
    return NULL;
}

static void a_stop_from_a_thread_ends_a_run_that_sleeps_or_is_about_to(void)
{
    gyre_loop loop = open_loop();
    long i;
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    for (i = 0; i < CHECK_SCALED(1000); i++) {
        pthread_t thread = check_thread(stop_from_thread, &loop);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1);
        check_join(thread);
    }
    close_loop(loop);
}

/* ---- wake ---- */

static void a_wake_ends_the_wait_of_the_turn_or_of_the_next(void)
{
    gyre_loop loop = open_loop();
    uint64_t started;
    CHECK_OK(gyre_loop_wake(loop));
    CHECK_OK(gyre_loop_wake(loop));
    CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 0);
    started = check_now();
    CHECK_EQ(gyre_loop_turn(loop, GYRE_MS(20)), 0); /* used up */
    CHECK(check_now() - started >= GYRE_MS(20));
    close_loop(loop);
}

struct alarm_clock {
    gyre_loop loop;
    long rounds;
    long asked, rung;
};

static void *ring_when_asked(void *argument)
{
    struct alarm_clock *clock = (struct alarm_clock *)argument;
    long round;
    for (round = 1; round <= clock->rounds; round++) {
        while (LOAD(clock->asked) < round)
            sched_yield();
        CHECK_OK(gyre_loop_wake(clock->loop));
        STORE(clock->rung, round);
    }
    return NULL;
}

static void a_wake_from_a_thread_is_never_lost_to_a_loop_that_is_about_to_sleep(void)
{
    gyre_loop loop = open_loop();
    struct alarm_clock clock = {loop, 10000, 0, 0};
    pthread_t thread;
    long round;
    clock.rounds = CHECK_SCALED(10000);
    thread = check_thread(ring_when_asked, &clock);
    for (round = 1; round <= clock.rounds; round++) {
        STORE(clock.asked, round);
        CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 0);
        while (LOAD(clock.rung) < round)
            sched_yield();
    }
    check_join(thread);
    close_loop(loop);
}

static gyre_loop handler_loop;
static int (*handler_call)(gyre_loop loop);
static volatile sig_atomic_t handler_status, handler_errno;

static void call_in_handler(int signum)
{
    int saved = errno;
    (void)signum;
    errno = EXDEV;
    handler_status = handler_call(handler_loop);
    handler_errno = errno;
    errno = saved;
}

static void *signal_thread(void *argument)
{
    check_block(GYRE_MS(2)); /* sleeping or not, the loop must come back */
    CHECK_EQ(pthread_kill(*(pthread_t *)argument, SIGUSR1), 0);
    return NULL;
}

static void check_call_in_handler(int (*call)(gyre_loop), void (*run)(gyre_loop))
{
    gyre_loop loop = open_loop();
    struct sigaction action, usual;
    pthread_t self = pthread_self(), thread;
    memset(&action, 0, sizeof action);
    action.sa_handler = call_in_handler;
    action.sa_flags = SA_RESTART;
    CHECK_SYS(sigaction(SIGUSR1, &action, &usual));
    handler_call = call;
    handler_loop = loop;
    handler_status = handler_errno = -1;
    thread = check_thread(signal_thread, &self);
    run(loop);
    check_join(thread);
    CHECK_STATUS(handler_status, GYRE_OK);
    CHECK_EQ(handler_errno, EXDEV);
    close_loop(loop);
    CHECK_EQ(raise(SIGUSR1), 0); /* on a loop that is gone */
    CHECK_STATUS(handler_status, GYRE_EHANDLE);
    CHECK_EQ(handler_errno, EXDEV);
    CHECK_SYS(sigaction(SIGUSR1, &usual, NULL));
}

static void turn_for_ever(gyre_loop loop)
{
    CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 0);
}

static void run_for_ever(gyre_loop loop)
{
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1);
}

static void wake_and_stop_work_in_a_signal_handler_and_keep_errno(void)
{
    check_call_in_handler(gyre_loop_wake, turn_for_ever);
    check_call_in_handler(gyre_loop_stop, run_for_ever);
}

static void ignore_signal(int signum)
{
    (void)signum;
}

static void an_interrupted_wait_goes_on(void)
{
    gyre_loop loop = open_loop();
    struct sigaction action, usual;
    pthread_t self = pthread_self(), thread;
    gyre_timer timer;
    int calls = 0;
    memset(&action, 0, sizeof action);
    action.sa_handler = ignore_signal;
    CHECK_SYS(sigaction(SIGUSR1, &action, &usual));
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(30), 0, count_timer, &calls, &timer));
    thread = check_thread(signal_thread, &self);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0); /* EINTR is no failure */
    CHECK_EQ(calls, 1);
    check_join(thread);
    CHECK_SYS(sigaction(SIGUSR1, &usual, NULL));
    close_loop(loop);
}

/* ---- time ---- */

static void now_is_cached_until_a_turn_or_update_now(void)
{
    gyre_loop loop = open_loop();
    uint64_t first = gyre_loop_now(loop), second;
    CHECK(first != 0);
    check_block(GYRE_MS(5));
    CHECK_EQ(gyre_loop_now(loop), first);
    CHECK_OK(gyre_loop_update_now(loop));
    second = gyre_loop_now(loop);
    CHECK(second - first >= GYRE_MS(5) && second > first);
    CHECK_EQ(gyre_loop_turn(loop, GYRE_MS(5)), 0);
    CHECK(gyre_loop_now(loop) - second >= GYRE_MS(5));
    close_loop(loop);
}

/* ---- options ---- */

static int open_status(const gyre_loop_options *options)
{
    gyre_loop loop;
    int status;
    loop.bits = 0x5a5a5a5a5a5a5a5a;
    status = gyre_loop_open(options, &loop);
    if (status == GYRE_OK)
        close_loop(loop);
    else
        CHECK_EQ(loop.bits, 0x5a5a5a5a5a5a5a5a); /* outputs are written only on success */
    return status;
}

static void options_of_another_size_are_taken_when_they_say_nothing_new(void)
{
    union {
        gyre_loop_options known;
        unsigned char bytes[4096 + sizeof(gyre_loop_options)];
    } newer;
    size_t sizes[] = {sizeof newer.known + 1, sizeof newer.known + 8, 1000, 4096};
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(&newer, 0, sizeof newer);
        newer.known.size = sizes[i];
        CHECK_OK(open_status(&newer.known));
        newer.bytes[sizes[i] - 1] = 1; /* a field that this library does not know */
        CHECK_STATUS(open_status(&newer.known), -EINVAL);
        memset(&newer.bytes[sizes[i] - 1], 0, 1);
        newer.bytes[sizes[i]] = 1; /* beyond the struct */
        CHECK_OK(open_status(&newer.known));
    }
    memset(&newer, 0, sizeof newer);
    CHECK_STATUS(open_status(&newer.known), -EINVAL);
    newer.known.size = 1;
    CHECK_STATUS(open_status(&newer.known), -EINVAL);
    newer.known.size = sizeof newer.known - 1;
    CHECK_STATUS(open_status(&newer.known), -EINVAL);
    newer.known.size = 4097;
    CHECK_STATUS(open_status(&newer.known), -EINVAL);
    newer.known.size = SIZE_MAX;
    CHECK_STATUS(open_status(&newer.known), -EINVAL);
    newer.known.size = sizeof newer.known;
    CHECK_OK(open_status(&newer.known));
    CHECK_OK(open_status(NULL));
}

static void enumerators_that_do_not_exist_are_refused(void)
{
    static const int wrong[] = {4, 99, -1, INT_MAX, INT_MIN};
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        gyre_loop_options options = default_options();
        options.backend = wrong[i];
        CHECK_STATUS(open_status(&options), -EINVAL);
        options = default_options();
        options.engine = wrong[i];
        CHECK_STATUS(open_status(&options), -EINVAL);
        options = default_options();
        options.aio_notify = wrong[i];
        CHECK_STATUS(open_status(&options), -EINVAL);
    }
}

static void a_named_backend_is_the_one_that_serves(void)
{
    static const struct {
        int backend;
        const char *name;
    } named[] = {{GYRE_BACKEND_EPOLL, "epoll"}, {GYRE_BACKEND_POLL, "poll"}, {GYRE_BACKEND_SELECT, "select"}};
    size_t i;
    for (i = 0; i < 3; i++) {
        gyre_loop_options options = default_options();
        gyre_loop loop;
        struct ear ear;
        int ends[2];
        options.backend = named[i].backend;
        CHECK_OK(gyre_loop_open(&options, &loop)); /* whatever GYRE_BACKEND says */
        CHECK_STR(gyre_loop_backend(loop), named[i].name);
        make_pipe(ends);
        put_byte(ends[1]);
        watch(loop, ends[0], GYRE_READ, &ear);
        one_turn(loop);
        CHECK_EQ(ear.calls, 1);
        close_loop(loop);
        CHECK_STR(gyre_loop_backend(loop), "none");
        close_pair(ends);
    }
}

/* ---- the environment ---- */

static void explain_all(gyre_loop loop, char *text, size_t size)
{
    int length = gyre_loop_explain(loop, text, size);
    CHECK(length > 0 && (size_t)length < size);
    CHECK_EQ(strlen(text), length);
}

/* Calls with GYRE_BACKEND set, or unset for NULL, and puts it back. */
static void with_environment(const char *value, void (*body)(gyre_loop loop, const char *explained))
{
    char saved[64] = "";
    char explained[4096];
    const char *before = getenv("GYRE_BACKEND");
    gyre_loop loop;
    if (before != NULL) {
        CHECK(strlen(before) < sizeof saved);
        strcpy(saved, before);
    }
    if (value != NULL)
        CHECK_SYS(setenv("GYRE_BACKEND", value, 1));
    else
        CHECK_SYS(unsetenv("GYRE_BACKEND"));
    loop = open_loop();
    explain_all(loop, explained, sizeof explained);
    body(loop, explained);
    close_loop(loop);
    if (before != NULL)
        CHECK_SYS(setenv("GYRE_BACKEND", saved, 1));
    else
        CHECK_SYS(unsetenv("GYRE_BACKEND"));
}

static void check_poll(gyre_loop loop, const char *explained)
{
    CHECK_STR(gyre_loop_backend(loop), "poll");
    CHECK(strstr(explained, "GYRE_BACKEND") != NULL);
}

static void check_select(gyre_loop loop, const char *explained)
{
    CHECK_STR(gyre_loop_backend(loop), "select");
    CHECK(strstr(explained, "GYRE_BACKEND") != NULL);
}

static void check_automatic(gyre_loop loop, const char *explained)
{
    CHECK_STR(gyre_loop_backend(loop), "epoll");
    CHECK(strstr(explained, "epoll") != NULL);
    CHECK(strstr(explained, "poll") != NULL);
    CHECK(strstr(explained, "select") != NULL);
}

static void check_ignored(gyre_loop loop, const char *explained)
{
    CHECK_STR(gyre_loop_backend(loop), "epoll");
    CHECK(strstr(explained, "no-such-backend") != NULL);
}

static void the_environment_overrides_auto_and_nonsense_in_it_is_ignored_and_told(void)
{
    with_environment("poll", check_poll);
    with_environment("select", check_select);
    with_environment(NULL, check_automatic);
    with_environment("", check_automatic);
    with_environment("no-such-backend", check_ignored);
}

/* ---- reports ---- */

static void explain_is_cut_as_snprintf_does(void)
{
    gyre_loop loop = open_loop();
    char text[4096], cut[4096];
    int length;
    explain_all(loop, text, sizeof text);
    CHECK(strstr(text, gyre_loop_backend(loop)) != NULL);
    length = (int)strlen(text);
    CHECK_EQ(gyre_loop_explain(loop, NULL, 0), length);
    memset(cut, 'x', sizeof cut);
    CHECK_EQ(gyre_loop_explain(loop, cut, 0), length);
    CHECK_EQ(cut[0], 'x');
    CHECK_EQ(gyre_loop_explain(loop, cut, 1), length);
    CHECK_EQ(cut[0], '\0');
    CHECK_EQ(cut[1], 'x');
    CHECK_EQ(gyre_loop_explain(loop, cut, 10), length);
    CHECK_EQ(strlen(cut), 9);
    CHECK_EQ(strncmp(cut, text, 9), 0);
    CHECK_EQ(cut[10], 'x');
    CHECK_EQ(gyre_loop_explain(loop, cut, (size_t)length), length);
    CHECK_EQ(strlen(cut), length - 1);
    CHECK_EQ(gyre_loop_explain(loop, cut, (size_t)length + 1), length);
    CHECK_STR(cut, text);
    CHECK_STATUS(gyre_loop_explain(loop, NULL, 10), -EINVAL);
    close_loop(loop);
}

static void slow_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    count_timer(loop, timer, user_data);
    check_block(GYRE_MS(5));
}

static void stats_count_what_happened(void)
{
    gyre_loop loop = open_loop();
    gyre_loop_statistics before, after;
    struct ear ear;
    gyre_timer timer;
    gyre_io io;
    int ends[2], calls = 0;
    make_pipe(ends);
    before = stats_of(loop);
    CHECK_EQ(before.handles, 0);
    CHECK_EQ(before.op_in_flight, 0);
    CHECK_EQ(before.completions, 0);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    put_byte(ends[1]);
    CHECK_OK(gyre_timer_open(loop, 0, 0, slow_timer, &calls, &timer));
    CHECK_OK(gyre_loop_post(loop, count_post, &calls));
    CHECK_OK(gyre_loop_post(loop, count_post, &calls));
    one_turn(loop);
    after = stats_of(loop);
    CHECK_EQ(after.turns - before.turns, 1);
    CHECK(after.waits - before.waits <= 1);
    CHECK(after.events - before.events >= 1);
    CHECK_EQ(after.timers - before.timers, 1);
    CHECK_EQ(after.posts - before.posts, 2);
    CHECK_EQ(after.handles, 2);
    CHECK_EQ(after.stale_events, before.stale_events);
    CHECK(after.callback_ns_max >= GYRE_MS(5));
    CHECK_OK(gyre_timer_close(timer));
    CHECK_OK(gyre_io_close(io));
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    close_pair(ends);
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

static void dump_text(gyre_loop loop, char *text, size_t size)
{
    int ends[2];
    ssize_t length;
    make_pipe(ends);
    CHECK(gyre_loop_dump(loop, ends[1]) >= 0);
    CHECK_SYS(close(ends[1]));
    length = CHECK_SYS(read(ends[0], text, size - 1));
    text[length] = '\0';
    CHECK_SYS(close(ends[0]));
}

static void ignore_signal_event(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    (void)user_data;
}

static void dump_writes_a_line_for_each_live_handle(void)
{
    gyre_loop loop = open_loop();
    char text[4096];
    struct ear ear;
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    gyre_hook hook;
    int ends[2], calls = 0, empty;
    make_pipe(ends);
    dump_text(loop, text, sizeof text);
    empty = count_lines(text);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_OK(gyre_timer_open(loop, GYRE_SEC(10), 0, count_timer, &calls, &timer));
    CHECK_OK(gyre_signal_open(loop, SIGUSR2, ignore_signal_event, NULL, &signal));
    CHECK_OK(gyre_hook_open(loop, GYRE_HOOK_CHECK, count_hook, &calls, &hook));
    dump_text(loop, text, sizeof text);
    CHECK_EQ(count_lines(text), empty + 4);
    CHECK(strstr(text, "io") != NULL);
    CHECK(strstr(text, "timer") != NULL);
    CHECK(strstr(text, "signal") != NULL);
    CHECK(strstr(text, "hook") != NULL);
    CHECK_OK(gyre_timer_close(timer));
    dump_text(loop, text, sizeof text);
    CHECK_EQ(count_lines(text), empty + 3);
    CHECK(strstr(text, "timer") == NULL);
    CHECK_STATUS(gyre_loop_dump(loop, -1), -EBADF);
    CHECK_STATUS(gyre_loop_dump(loop, ends[0]), -EBADF); /* not open for writing */
    CHECK_OK(gyre_io_close(io));
    CHECK_OK(gyre_signal_close(signal));
    CHECK_OK(gyre_hook_close(hook));
    dump_text(loop, text, sizeof text);
    CHECK_EQ(count_lines(text), empty);
    close_loop(loop);
    close_pair(ends);
}

static void a_dump_into_a_broken_pipe_raises_no_sigpipe(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    int ends[2], watched[2];
    make_pipe(ends);
    make_pipe(watched);
    watch(loop, watched[0], GYRE_READ, &ear);
    CHECK_SYS(close(ends[0]));
    CHECK_STATUS(gyre_loop_dump(loop, ends[1]), -EPIPE); /* SIGPIPE would have ended the program */
    CHECK_SYS(close(ends[1]));
    close_loop(loop);
    close_pair(watched);
}

static void statuses_and_versions_have_names(void)
{
    char version[32];
    uint32_t number = gyre_version();
    CHECK_STR(gyre_status_name(GYRE_OK), "GYRE_OK");
    CHECK_STR(gyre_status_name(GYRE_EHANDLE), "GYRE_EHANDLE");
    CHECK_STR(gyre_status_name(GYRE_ETHREAD), "GYRE_ETHREAD");
    CHECK_STR(gyre_status_name(GYRE_EREENTRANT), "GYRE_EREENTRANT");
    CHECK_STR(gyre_status_name(GYRE_EFORKED), "GYRE_EFORKED");
    CHECK_STR(gyre_status_name(GYRE_ECLOSING), "GYRE_ECLOSING");
    CHECK_STR(gyre_status_name(GYRE_EUNSUPPORTED), "GYRE_EUNSUPPORTED");
    CHECK_STR(gyre_status_name(GYRE_EFULL), "GYRE_EFULL");
    CHECK_STR(gyre_status_name(-EBADF), "EBADF");
    CHECK_STR(gyre_status_name(-EINVAL), "EINVAL");
    CHECK_STR(gyre_status_name(-4000), "?");
    CHECK_STR(gyre_status_name(-4008), "?");
    CHECK_STR(gyre_status_name(INT_MIN), "?");
    CHECK(gyre_status_name(INT_MAX) != NULL);
    CHECK(strlen(gyre_status_message(GYRE_EHANDLE)) > 5);
    CHECK(strlen(gyre_status_message(-EBADF)) > 5);
    CHECK(strcmp(gyre_status_message(-EBADF), gyre_status_message(-EINVAL)) != 0);
    CHECK(strlen(gyre_status_message(INT_MIN)) > 0);
    CHECK(strlen(gyre_status_message(GYRE_OK)) > 0);
    sprintf(version, "%u.%u.%u", (unsigned)(number >> 16), (unsigned)(number >> 8 & 0xff), (unsigned)(number & 0xff));
    CHECK_STR(gyre_version_string(), version);
}

static void a_loop_carries_user_data(void)
{
    gyre_loop loop = open_loop();
    int something;
    CHECK(gyre_loop_user_data(loop) == NULL);
    CHECK_OK(gyre_loop_set_user_data(loop, &something));
    CHECK(gyre_loop_user_data(loop) == &something);
    close_loop(loop);
    CHECK(gyre_loop_user_data(loop) == NULL);
}

/* ---- open and close ---- */

static void every_descriptor_of_a_loop_is_closed_on_exec(void)
{
    static struct check_census before, after;
    gyre_loop loop;
    struct ear ear;
    gyre_signal signal;
    int ends[2], fd, made = 0;
    make_pipe(ends);
    check_take_census(&before);
    loop = open_loop();
    watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, ignore_signal_event, NULL, &signal));
    one_turn(loop);
    check_take_census(&after);
    for (fd = 0; fd < CHECK_DESCRIPTORS; fd++) {
        if (after.open[fd] && !before.open[fd]) {
            CHECK(CHECK_SYS(fcntl(fd, F_GETFD)) & FD_CLOEXEC);
            made++;
        }
    }
    CHECK(made > 0);
    close_loop(loop);
    close_pair(ends);
}

static void close_closes_every_watcher_and_no_descriptor_of_the_host(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    gyre_hook hook;
    int ends[2], calls = 0;
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    CHECK_OK(gyre_timer_open(loop, 0, 0, count_timer, &calls, &timer));
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, ignore_signal_event, NULL, &signal));
    CHECK_OK(gyre_hook_open(loop, GYRE_HOOK_IDLE, count_hook, &calls, &hook));
    close_loop(loop);
    CHECK_EQ(ear.calls + calls, 0); /* watchers hear nothing */
    CHECK_STATUS(gyre_io_close(io), GYRE_EHANDLE);
    CHECK_STATUS(gyre_timer_close(timer), GYRE_EHANDLE);
    CHECK_STATUS(gyre_signal_close(signal), GYRE_EHANDLE);
    CHECK_STATUS(gyre_hook_close(hook), GYRE_EHANDLE);
    CHECK_STATUS(gyre_loop_close(loop), GYRE_EHANDLE);
    take_byte(ends[0]);
    close_pair(ends);
}

static void there_may_be_255_loops_at_once(void)
{
    enum { LOOPS = 255 };
    static gyre_loop loops[LOOPS];
    gyre_loop one_more;
    struct rlimit usual, raised;
    int i, posts = 0;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &usual));
    raised = usual;
    raised.rlim_cur = raised.rlim_max < 4096 ? raised.rlim_max : 4096;
    if (raised.rlim_cur > usual.rlim_cur)
        CHECK_SYS(setrlimit(RLIMIT_NOFILE, &raised));
    one_more.bits = 0;
    for (i = 0; i < LOOPS; i++)
        loops[i] = open_loop();
    CHECK_STATUS(gyre_loop_open(NULL, &one_more), GYRE_EFULL);
    CHECK_EQ(one_more.bits, 0);
    for (i = 0; i < LOOPS; i++)
        CHECK_OK(gyre_loop_post(loops[i], count_post, &posts));
    for (i = 0; i < LOOPS; i++)
        CHECK_EQ(gyre_loop_run(loops[i], GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(posts, LOOPS);
    close_loop(loops[100]);
    CHECK_OK(gyre_loop_open(NULL, &one_more));
    CHECK_STATUS(gyre_loop_close(loops[100]), GYRE_EHANDLE);
    loops[100] = one_more;
    for (i = 0; i < LOOPS; i++)
        close_loop(loops[i]);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &usual));
}

static void a_handle_never_matches_a_later_loop_in_the_same_place(void)
{
    enum { ROUNDS = 1000 };
    static gyre_loop loops[ROUNDS];
    static gyre_io ios[ROUNDS];
    struct ear ear;
    int ends[2];
    int rounds = (int)CHECK_SCALED(ROUNDS), round, earlier;
    make_pipe(ends);
    for (round = 0; round < rounds; round++) {
        loops[round] = open_loop();
        ios[round] = watch(loops[round], ends[0], GYRE_READ, &ear);
        for (earlier = 0; earlier < round; earlier++) {
            CHECK(loops[earlier].bits != loops[round].bits);
            CHECK(ios[earlier].bits != ios[round].bits);
        }
        if (round > 0) {
            CHECK_STATUS(gyre_loop_stop(loops[round - 1]), GYRE_EHANDLE);
            CHECK_STATUS(gyre_io_set(ios[round - 1], GYRE_READ), GYRE_EHANDLE);
            CHECK_STATUS(gyre_io_set(ios[0], GYRE_READ), GYRE_EHANDLE);
        }
        close_loop(loops[round]);
    }
    close_pair(ends);
}

static void a_watcher_handle_never_matches_a_later_watcher_in_the_same_place(void)
{
    enum { ROUNDS = 1000 };
    static gyre_timer timers[ROUNDS];
    gyre_loop loop = open_loop();
    gyre_io io;
    struct ear ear;
    int rounds = (int)CHECK_SCALED(ROUNDS), round, earlier, ends[2], calls = 0;
    make_pipe(ends);
    for (round = 0; round < rounds; round++) {
        CHECK_OK(gyre_timer_open(loop, 0, 0, count_timer, &calls, &timers[round]));
        for (earlier = 0; earlier < round; earlier++)
            CHECK(timers[earlier].bits != timers[round].bits);
        CHECK_OK(gyre_timer_close(timers[round]));
        io = watch(loop, ends[0], GYRE_READ, &ear); /* another kind in the place that came free */
        CHECK_STATUS(gyre_timer_close(timers[round]), GYRE_EHANDLE);
        CHECK_OK(gyre_io_close(io));
    }
    close_loop(loop);
    close_pair(ends);
}

static void run_and_close_inner(gyre_loop loop, void *user_data)
{
    gyre_loop inner = *(gyre_loop *)user_data;
    CHECK_STATUS(gyre_loop_run(loop, GYRE_RUN_NOWAIT), GYRE_EREENTRANT);
    CHECK_EQ(gyre_loop_run(inner, GYRE_RUN_DEFAULT), 0);
    CHECK_STATUS(gyre_loop_run(loop, GYRE_RUN_NOWAIT), GYRE_EREENTRANT);
    close_loop(inner);
}

static void a_loop_may_run_and_close_inside_a_callback_of_another(void)
{
    gyre_loop outer = open_loop(), inner = open_loop();
    int calls = 0;
    CHECK_OK(gyre_loop_post(inner, count_post, &calls));
    CHECK_OK(gyre_loop_post(outer, run_and_close_inner, &inner));
    CHECK_EQ(gyre_loop_run(outer, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 1);
    close_loop(outer);
}

/* ---- embedding ---- */

/* One round of a foreign loop: asks how long it may wait, waits on the loop's descriptor, and runs what is due. */
static void foreign_round(gyre_loop loop)
{
    struct pollfd foreign;
    uint64_t timeout;
    int milliseconds = -1;
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    if (timeout < GYRE_SEC(1000))
        milliseconds = (int)((timeout + GYRE_MS(1) - 1) / GYRE_MS(1));
    foreign.fd = gyre_loop_fd(loop);
    foreign.events = POLLIN;
    CHECK_SYS(poll(&foreign, 1, milliseconds));
    CHECK(gyre_loop_run(loop, GYRE_RUN_NOWAIT) >= 0);
}

struct poster {
    gyre_loop loop;
    int posts;
};

static void *post_from_thread(void *argument)
{
    struct poster *poster = (struct poster *)argument;
    check_block(GYRE_MS(5)); /* so that the foreign loop is likely to wait already */
    CHECK_OK(gyre_loop_post(poster->loop, count_post, &poster->posts));
    return NULL;
}

static void a_foreign_poll_loop_can_embed_it(void)
{
    gyre_loop loop = open_loop();
    struct poster poster = {loop, 0};
    struct ear ear;
    gyre_io io;
    gyre_timer timer;
    pthread_t thread;
    uint64_t armed, rounds = 0;
    int ends[2], timers = 0;
    if (!runs_on(loop, "epoll")) {
        CHECK_STATUS(gyre_loop_fd(loop), GYRE_EUNSUPPORTED);
        close_loop(loop);
        return;
    }
    make_socketpair(ends);
    CHECK(gyre_loop_fd(loop) >= 0);
    CHECK_EQ(gyre_loop_fd(loop), gyre_loop_fd(loop));

    thread = check_thread(post_from_thread, &poster); /* a post from a thread */
    while (poster.posts == 0)
        foreign_round(loop);
    check_join(thread);

    armed = check_now(); /* a timer */
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(20), 0, count_timer, &timers, &timer));
    for (; timers == 0; rounds++)
        foreign_round(loop);
    CHECK(check_now() - armed >= GYRE_MS(20));
    CHECK(rounds < 20);

    io = watch(loop, ends[0], GYRE_READ, &ear); /* a watcher */
    put_byte(ends[1]);
    while (ear.calls == 0)
        foreign_round(loop);
    take_byte(ends[0]);
    CHECK_OK(gyre_io_set(io, GYRE_WRITE)); /* a change of interest is flushed before the foreign wait */
    while (ear.last != GYRE_WRITE)
        foreign_round(loop);
    close_loop(loop);
    close_pair(ends);
}

static void timeout_tells_how_long_a_foreign_wait_may_last(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    gyre_hook hook;
    gyre_io io;
    struct ear ear;
    uint64_t timeout = 1;
    int calls = 0;
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK_EQ(timeout, GYRE_FOREVER);
    CHECK_OK(gyre_timer_open(loop, GYRE_SEC(100), 0, count_timer, &calls, &timer));
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK(timeout > GYRE_SEC(50) && timeout <= GYRE_SEC(100));
    CHECK_OK(gyre_timer_set(timer, 0, 0));
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK_EQ(timeout, 0);
    CHECK_OK(gyre_timer_stop(timer));
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK_EQ(timeout, GYRE_FOREVER);
    CHECK_OK(gyre_loop_post(loop, count_post, &calls));
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK_EQ(timeout, 0);
    CHECK(gyre_loop_run(loop, GYRE_RUN_NOWAIT) >= 0);
    CHECK_OK(gyre_hook_open(loop, GYRE_HOOK_IDLE, count_hook, &calls, &hook));
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK_EQ(timeout, 0);
    CHECK_OK(gyre_hook_close(hook));
    if (runs_on(loop, "epoll")) { /* elsewhere there is no descriptor for a foreign wait */
        io = watch(loop, fileno(file), GYRE_READ, &ear);
        CHECK_OK(gyre_loop_timeout(loop, &timeout));
        CHECK_EQ(timeout, 0);
        CHECK_OK(gyre_io_close(io));
    }
    CHECK_OK(gyre_loop_timeout(loop, &timeout));
    CHECK_EQ(timeout, GYRE_FOREVER);
    close_loop(loop);
    CHECK_EQ(fclose(file), 0);
}

static void run_embedded(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    (void)loop;
    (void)io;
    (void)events;
    CHECK(gyre_loop_run(*(gyre_loop *)user_data, GYRE_RUN_NOWAIT) >= 0);
}

static void a_loop_can_watch_another_loop(void)
{
    gyre_loop outer = open_loop(), inner = open_loop();
    gyre_io io;
    uint64_t timeout;
    int calls = 0;
    if (runs_on(inner, "epoll")) {
        CHECK_OK(gyre_io_open(outer, gyre_loop_fd(inner), GYRE_READ, run_embedded, &inner, &io));
        CHECK_OK(gyre_loop_timeout(inner, &timeout));
        CHECK_OK(gyre_loop_post(inner, count_post, &calls));
        RUN_UNTIL(outer, calls == 1);
    }
    close_loop(outer);
    close_loop(inner);
}

int main(void)
{
    check_begin();
    RUN(a_loop_with_nothing_alive_does_not_wait);
    RUN(default_runs_until_nothing_is_alive);
    RUN(once_is_one_turn_that_may_wait);
    RUN(nowait_is_always_one_turn_that_does_not_wait);
    RUN(run_for_comes_back_when_the_time_is_over);
    RUN(a_turn_waits_at_most_so_long_alive_or_not);
    RUN(a_loop_kept_alive_waits_with_nothing_alive);
    RUN(stop_ends_the_run_after_its_turn);
    RUN(a_stop_outside_a_run_ends_the_next_one_after_a_turn_without_waiting);
    RUN(a_stop_from_a_thread_ends_a_run_that_sleeps_or_is_about_to);
    RUN(a_wake_ends_the_wait_of_the_turn_or_of_the_next);
    RUN(a_wake_from_a_thread_is_never_lost_to_a_loop_that_is_about_to_sleep);
    RUN(wake_and_stop_work_in_a_signal_handler_and_keep_errno);
    RUN(an_interrupted_wait_goes_on);
    RUN(now_is_cached_until_a_turn_or_update_now);
    RUN(options_of_another_size_are_taken_when_they_say_nothing_new);
    RUN(enumerators_that_do_not_exist_are_refused);
    RUN(a_named_backend_is_the_one_that_serves);
    RUN(the_environment_overrides_auto_and_nonsense_in_it_is_ignored_and_told);
    RUN(explain_is_cut_as_snprintf_does);
    RUN(stats_count_what_happened);
    RUN(dump_writes_a_line_for_each_live_handle);
    RUN(a_dump_into_a_broken_pipe_raises_no_sigpipe);
    RUN(statuses_and_versions_have_names);
    RUN(a_loop_carries_user_data);
    RUN(every_descriptor_of_a_loop_is_closed_on_exec);
    RUN(close_closes_every_watcher_and_no_descriptor_of_the_host);
    RUN(there_may_be_255_loops_at_once);
    RUN(a_handle_never_matches_a_later_loop_in_the_same_place);
    RUN(a_watcher_handle_never_matches_a_later_watcher_in_the_same_place);
    RUN(a_loop_may_run_and_close_inside_a_callback_of_another);
    RUN(a_foreign_poll_loop_can_embed_it);
    RUN(timeout_tells_how_long_a_foreign_wait_may_last);
    RUN(a_loop_can_watch_another_loop);
    return 0;
}
