/* misuse.c: what no program should do. Each misuse has its status; none crashes, hangs, spins, or passes in silence. */
#define _POSIX_C_SOURCE 200809L
#include "calls.h"

#include <limits.h>

/* ---- handles ---- */

static void check_all_refuse(uint64_t bits, int want)
{
    int i;
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], bits, want);
}

static int is_specimen(const struct specimens *s, uint64_t bits)
{
    int kind;
    for (kind = 0; kind < CALL_KINDS; kind++) {
        if (specimen(s, (enum call_kind)kind) == bits)
            return 1;
    }
    return 0;
}

static void none_and_forged_handles_are_refused_by_every_call(void)
{
    struct specimens s;
    uint64_t random = 88172645463325252u;
    int kind, i;
    check_all_refuse(0, GYRE_EHANDLE); /* before any loop was opened */
    check_all_refuse(UINT64_MAX, GYRE_EHANDLE);
    specimens_open(&s);
    check_all_refuse(0, GYRE_EHANDLE);
    check_all_refuse(UINT64_MAX, GYRE_EHANDLE);
    check_all_refuse(1, GYRE_EHANDLE);
    for (i = 0; i < CHECK_SCALED(20000); i++) { /* one in 2^32 hits a live place with its generation */
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        check_refused(&calls[i % CALLS], random, GYRE_EHANDLE);
    }
    for (kind = 0; kind < CALL_KINDS; kind++) { /* each single bit of a live handle turned */
        for (i = 0; i < 64; i++) {
            uint64_t forged = specimen(&s, (enum call_kind)kind) ^ (uint64_t)1 << i;
            if (!is_specimen(&s, forged))
                check_all_refuse(forged, GYRE_EHANDLE);
        }
    }
    CHECK_EQ(stats_of(s.loop).handles, s.handles);
    close_loop(s.loop);
    specimens_clean_up(&s);
}

static void handles_of_another_kind_are_refused_by_every_call(void)
{
    struct specimens s;
    int i, kind;
    specimens_open(&s);
    for (i = 0; i < CALLS; i++) {
        for (kind = 0; kind < CALL_KINDS; kind++) {
            if (calls[i].kind != (enum call_kind)kind)
                check_refused(&calls[i], specimen(&s, (enum call_kind)kind), GYRE_EHANDLE);
        }
    }
    CHECK_EQ(stats_of(s.loop).handles, s.handles);
    close_loop(s.loop);
    specimens_clean_up(&s);
}

static void closed_handles_are_refused_by_every_call(void)
{
    struct specimens s;
    int i;
    specimens_open(&s);
    CHECK_OK(gyre_io_close(s.io));
    CHECK_OK(gyre_timer_close(s.timer));
    CHECK_OK(gyre_signal_close(s.signal));
    if (has_specimen(&s, ON_CHILD))
        CHECK_OK(gyre_child_close(s.child));
    CHECK_OK(gyre_hook_close(s.hook));
    for (i = 0; i < CALLS; i++) { /* a second close among them */
        if (calls[i].kind != ON_LOOP)
            check_refused(&calls[i], specimen(&s, calls[i].kind), GYRE_EHANDLE);
    }
    CHECK_EQ(stats_of(s.loop).handles, 0);
    close_loop(s.loop);
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], specimen(&s, calls[i].kind), GYRE_EHANDLE);
    specimens_clean_up(&s);
}

static void handles_of_a_closed_loop_are_refused_by_every_call(void)
{
    struct specimens old, living; /* the living ones take the places of the old */
    int i;
    specimens_open(&old);
    close_loop(old.loop);
    specimens_open(&living);
    for (i = 0; i < CALLS; i++)
        check_refused(&calls[i], specimen(&old, calls[i].kind), GYRE_EHANDLE);
    CHECK_EQ(stats_of(living.loop).handles, living.handles);
    close_loop(living.loop);
    specimens_clean_up(&old);
    specimens_clean_up(&living);
}

/* ---- arguments ---- */

static void missing_callbacks_are_refused(void)
{
    struct specimens s;
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    gyre_child child;
    gyre_hook hook;
    specimens_open(&s);
    CHECK_STATUS(gyre_loop_post(s.loop, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_io_open(s.loop, s.ends[0], GYRE_READ, NULL, NULL, &io), -EINVAL);
    CHECK_STATUS(gyre_timer_open(s.loop, 0, 0, NULL, NULL, &timer), -EINVAL);
    CHECK_STATUS(gyre_timer_open(s.loop, 0, 0, NULL, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_signal_open(s.loop, SIGUSR1, NULL, NULL, &signal), -EINVAL);
    CHECK_STATUS(gyre_child_open(s.loop, s.pid, NULL, NULL, &child), -EINVAL);
    CHECK_STATUS(gyre_hook_open(s.loop, GYRE_HOOK_IDLE, NULL, NULL, &hook), -EINVAL);
    CHECK_EQ(stats_of(s.loop).handles, s.handles);
    one_turn(s.loop);
    close_loop(s.loop);
    specimens_clean_up(&s);
}

static void missing_outputs_are_refused(void)
{
    struct specimens s;
    gyre_loop_options options = default_options();
    CHECK_STATUS(gyre_loop_open(NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_loop_open(&options, NULL), -EINVAL);
    specimens_open(&s);
    CHECK_STATUS(gyre_io_open(s.loop, s.ends[0], GYRE_READ, ignore_io, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_timer_open(s.loop, 0, 1, ignore_timer, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_signal_open(s.loop, SIGUSR1, ignore_signal, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_child_open(s.loop, s.pid, ignore_child, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_hook_open(s.loop, GYRE_HOOK_IDLE, ignore_hook, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_loop_timeout(s.loop, NULL), -EINVAL);
    CHECK_STATUS(gyre_loop_stats(s.loop, NULL), -EINVAL);
    CHECK_STATUS(gyre_timer_remaining(s.timer, NULL), -EINVAL);
    CHECK_STATUS(gyre_io_loop(s.io, NULL), -EINVAL);
    CHECK_STATUS(gyre_timer_loop(s.timer, NULL), -EINVAL);
    CHECK_STATUS(gyre_signal_loop(s.signal, NULL), -EINVAL);
    if (has_specimen(&s, ON_CHILD))
        CHECK_STATUS(gyre_child_loop(s.child, NULL), -EINVAL);
    CHECK_STATUS(gyre_hook_loop(s.hook, NULL), -EINVAL);
    CHECK_EQ(stats_of(s.loop).handles, s.handles);
    close_loop(s.loop);
    specimens_clean_up(&s);
}

static void descriptors_that_are_none_are_refused(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    int ends[2];
    make_pipe(ends);
    close_pair(ends);
    io.bits = 0;
    CHECK_STATUS(gyre_io_open(loop, -1, GYRE_READ, ignore_io, NULL, &io), -EBADF);
    CHECK_STATUS(gyre_io_open(loop, INT_MIN, GYRE_READ, ignore_io, NULL, &io), -EBADF);
    CHECK_STATUS(gyre_io_open(loop, ends[0], GYRE_READ, ignore_io, NULL, &io), -EBADF);
    CHECK_STATUS(gyre_io_open(loop, ends[0], 0, ignore_io, NULL, &io), -EBADF);
    CHECK_STATUS(gyre_io_open(loop, INT_MAX, GYRE_READ, ignore_io, NULL, &io), -EBADF);
    CHECK_EQ(io.bits, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    if (runs_on(loop, "epoll"))
        CHECK_STATUS(gyre_io_open(loop, gyre_loop_fd(loop), GYRE_READ, ignore_io, NULL, &io), -EINVAL);
    CHECK_EQ(stats_of(loop).handles, 0);
    one_turn(loop);
    close_loop(loop);
}

static void event_bits_that_cannot_be_asked_for_are_refused(void)
{
    static const uint32_t never[] = {GYRE_HANGUP, GYRE_ERROR, 64, 128, 1024, 0x80000000u, UINT32_MAX};
    static const uint32_t only_at_open[] = {GYRE_EDGE, GYRE_ONESHOT, GYRE_EDGE | GYRE_ONESHOT};
    gyre_loop loop = open_loop();
    gyre_io io, refused;
    struct ear ear;
    int ends[2];
    size_t i;
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    refused.bits = 0;
    for (i = 0; i < sizeof never / sizeof never[0]; i++) {
        CHECK_STATUS(gyre_io_open(loop, ends[1], never[i], ignore_io, NULL, &refused), -EINVAL);
        CHECK_STATUS(gyre_io_open(loop, ends[1], GYRE_READ | never[i], ignore_io, NULL, &refused), -EINVAL);
        CHECK_STATUS(gyre_io_set(io, never[i]), -EINVAL);
        CHECK_STATUS(gyre_io_set(io, GYRE_WRITE | never[i]), -EINVAL);
    }
    for (i = 0; i < sizeof only_at_open / sizeof only_at_open[0]; i++) {
        CHECK_STATUS(gyre_io_set(io, only_at_open[i]), -EINVAL);
        CHECK_STATUS(gyre_io_set(io, GYRE_WRITE | only_at_open[i]), -EINVAL);
    }
    CHECK_EQ(refused.bits, 0);
    one_turn(loop);
    CHECK_EQ(ear.all, GYRE_READ); /* what failed left the interest as it was */
    close_loop(loop);
    close_pair(ends);
}

static void enumerators_that_do_not_exist_are_refused(void)
{
    static const int wrong[] = {3, 4, -1, INT_MAX, INT_MIN};
    gyre_loop loop = open_loop();
    gyre_hook hook;
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(gyre_loop_run(loop, wrong[i]), -EINVAL);
        CHECK_STATUS(gyre_hook_open(loop, wrong[i], ignore_hook, NULL, &hook), -EINVAL);
    }
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
}

static void signals_that_cannot_be_watched_are_refused(void)
{
    static const int wrong[] = {0,      -5,     65,     SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
                                SIGFPE, SIGILL, 32, 33, INT_MAX, INT_MIN};
    gyre_loop loop = open_loop();
    gyre_signal signal;
    size_t i;
    signal.bits = 0;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_STATUS(gyre_signal_open(loop, wrong[i], ignore_signal, NULL, &signal), -EINVAL);
    CHECK_EQ(signal.bits, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
}

static void statistics_of_no_size_are_refused(void)
{
    static const size_t wrong[] = {0, 1, sizeof(gyre_loop_statistics) - 1, 4097, SIZE_MAX};
    gyre_loop loop = open_loop();
    gyre_loop_statistics stats;
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memset(&stats, 0x5a, sizeof stats);
        stats.size = wrong[i];
        CHECK_STATUS(gyre_loop_stats(loop, &stats), -EINVAL);
        CHECK_EQ(stats.size, wrong[i]);
        CHECK_EQ(stats.turns, 0x5a5a5a5a5a5a5a5a);
    }
    close_loop(loop);
}

static void huge_waits_are_for_ever_and_no_overflow(void)
{
    static const uint64_t huge[] = {GYRE_FOREVER, GYRE_FOREVER - 1, UINT64_MAX / 2 + 1, INT64_MAX, INT64_MAX / 1000};
    gyre_loop loop = open_loop();
    size_t i;
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        int calls = 0;
        CHECK_OK(gyre_timer_open(loop, GYRE_MS(5), 0, count_timer, &calls, NULL));
        CHECK_EQ(gyre_loop_turn(loop, huge[i]), 1);
        RUN_UNTIL(loop, calls == 1);
        CHECK_OK(gyre_loop_wake(loop));
        CHECK_EQ(gyre_loop_turn(loop, huge[i]), 1);
        CHECK_OK(gyre_loop_stop(loop));
        CHECK_EQ(gyre_loop_run_for(loop, huge[i]), 1);
    }
    close_loop(loop);
}

/* ---- re-entry ---- */

static int reentries;

static void check_reentry_is_refused(gyre_loop loop)
{
    CHECK_STATUS(gyre_loop_run(loop, GYRE_RUN_DEFAULT), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_run(loop, 99), GYRE_EREENTRANT); /* told before the arguments */
    CHECK_STATUS(gyre_loop_run_for(loop, 0), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_turn(loop, 0), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_close(loop), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_release(loop), GYRE_EREENTRANT);
    CHECK_OK(gyre_loop_claim(loop));
    reentries++;
}

static void reenter_in_post(gyre_loop loop, void *user_data)
{
    (void)user_data;
    check_reentry_is_refused(loop);
}

static void reenter_in_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    (void)events;
    (void)user_data;
    check_reentry_is_refused(loop);
    CHECK_OK(gyre_io_close(io));
}

static void reenter_in_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)timer;
    (void)user_data;
    check_reentry_is_refused(loop);
}

static void reenter_in_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)signum;
    (void)count;
    (void)user_data;
    check_reentry_is_refused(loop);
    CHECK_OK(gyre_signal_close(signal));
}

static void reenter_in_child(gyre_loop loop, gyre_child child, const gyre_child_exit *exit, void *user_data)
{
    (void)exit;
    (void)user_data;
    check_reentry_is_refused(loop);
    CHECK_OK(gyre_child_close(child));
}

static void reenter_in_hook(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)user_data;
    check_reentry_is_refused(loop);
    CHECK_OK(gyre_hook_close(hook));
}

static void running_closing_or_releasing_a_loop_inside_its_callbacks_is_refused(void)
{
    gyre_loop loop = open_loop();
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    gyre_child child;
    gyre_hook hooks[3];
    int ends[2], i, expected;
    pid_t pid = check_fork();
    if (pid == 0)
        _exit(0);
    make_pipe(ends);
    put_byte(ends[1]);
    reentries = 0;
    CHECK_OK(gyre_loop_post(loop, reenter_in_post, NULL));
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, reenter_in_io, NULL, &io));
    CHECK_OK(gyre_timer_open(loop, 0, 0, reenter_in_timer, NULL, &timer));
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, reenter_in_signal, NULL, &signal));
    expected = 7 + open_child(loop, pid, reenter_in_child, NULL, &child);
    for (i = 0; i < 3; i++)
        CHECK_OK(gyre_hook_open(loop, i, reenter_in_hook, NULL, &hooks[i]));
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(reentries, expected);
    if (expected == 7)
        check_child_succeeds(pid);
    close_loop(loop);
    close_pair(ends);
}

static int made_while_closing;

static void make_calls_while_closing(gyre_loop loop, void *user_data)
{
    struct specimens *s = (struct specimens *)user_data;
    int i;
    CHECK_EQ(loop.bits, s->loop.bits);
    for (i = 0; i < CALLS; i++) {
        int status;
        if (calls[i].traits & READS_ONLY) {
            calls[i].make(specimen(s, calls[i].kind)); /* whatever it answers, it harms nothing */
        } else if (calls[i].kind == ON_LOOP) {
            check_refused(&calls[i], loop.bits, GYRE_ECLOSING);
        } else {
            status = calls[i].make(specimen(s, calls[i].kind));
            CHECK(status == GYRE_ECLOSING || status == GYRE_EHANDLE); /* the watcher may be gone already */
        }
    }
    made_while_closing++;
}

static void every_call_from_a_post_that_close_delivers_is_refused(void)
{
    struct specimens s;
    specimens_open(&s);
    made_while_closing = 0;
    CHECK_OK(gyre_loop_post(s.loop, make_calls_while_closing, &s));
    CHECK_OK(gyre_loop_post(s.loop, make_calls_while_closing, &s));
    close_loop(s.loop);
    CHECK_EQ(made_while_closing, 2);
    CHECK_STATUS(gyre_loop_close(s.loop), GYRE_EHANDLE);
    specimens_clean_up(&s);
}

/* ---- closing everything from inside ---- */

enum { CROWD = 4 };

/* Several of each kind, all due in one turn. The first to be called closes the others, or all. */
struct crowd {
    gyre_loop loop;
    gyre_io ios[CROWD];
    gyre_timer timers[CROWD];
    gyre_signal signals[CROWD];
    gyre_hook hooks[CROWD];
    int ends[CROWD][2];
    int calls;
};

static void close_the_crowd(struct crowd *crowd)
{
    int i;
    crowd->calls++;
    for (i = 0; i < CROWD; i++) {
        CHECK_OK(gyre_io_close(crowd->ios[i]));
        CHECK_OK(gyre_timer_close(crowd->timers[i]));
        CHECK_OK(gyre_signal_close(crowd->signals[i]));
        CHECK_OK(gyre_hook_close(crowd->hooks[i]));
    }
}

static void crowd_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    (void)loop;
    (void)io;
    (void)events;
    close_the_crowd((struct crowd *)user_data);
}

static void crowd_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    close_the_crowd((struct crowd *)user_data);
}

static void crowd_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    close_the_crowd((struct crowd *)user_data);
}

static void crowd_hook(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)loop;
    (void)hook;
    close_the_crowd((struct crowd *)user_data);
}

static void crowd_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    close_the_crowd((struct crowd *)user_data);
}

/* Whichever kind of callback it is that closes all: it is the last one to be called. */
static void check_crowd_is_closed_by(enum call_kind first, int phase)
{
    struct crowd crowd;
    int i;
    memset(&crowd, 0, sizeof crowd);
    crowd.loop = open_loop();
    for (i = 0; i < CROWD; i++) {
        make_socketpair(crowd.ends[i]);
        put_byte(crowd.ends[i][1]);
        CHECK_OK(gyre_io_open(crowd.loop, crowd.ends[i][0], first == ON_IO ? GYRE_READ : GYRE_PRIORITY, crowd_io,
                              &crowd, &crowd.ios[i]));
        CHECK_OK(gyre_timer_open(crowd.loop, 0, GYRE_MS(1), crowd_timer, &crowd, &crowd.timers[i]));
        CHECK_OK(gyre_signal_open(crowd.loop, SIGUSR1, crowd_signal, &crowd, &crowd.signals[i]));
        CHECK_OK(gyre_hook_open(crowd.loop, first == ON_HOOK ? phase : GYRE_HOOK_CHECK, crowd_hook, &crowd,
                                &crowd.hooks[i]));
    }
    if (first == ON_LOOP)
        CHECK_OK(gyre_loop_post(crowd.loop, crowd_post, &crowd));
    if (first == ON_SIGNAL)
        CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(gyre_loop_run(crowd.loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(crowd.calls, 1);
    CHECK_EQ(stats_of(crowd.loop).handles, 0);
    close_loop(crowd.loop);
    for (i = 0; i < CROWD; i++)
        close_pair(crowd.ends[i]);
}

static void a_callback_of_any_kind_may_close_every_watcher(void)
{
    check_crowd_is_closed_by(ON_IO, 0);
    check_crowd_is_closed_by(ON_TIMER, 0);
    check_crowd_is_closed_by(ON_SIGNAL, 0);
    check_crowd_is_closed_by(ON_LOOP, 0);
    check_crowd_is_closed_by(ON_HOOK, GYRE_HOOK_IDLE);
    check_crowd_is_closed_by(ON_HOOK, GYRE_HOOK_PREPARE);
}

/* ---- storms ---- */

enum { STORM = 64 };

struct storm {
    gyre_io ios[STORM];
    gyre_timer timers[STORM];
    int ends[STORM][2];
    uint64_t random;
    long calls, opened, closed, in_turn;
};

static uint64_t next_random(struct storm *storm)
{
    storm->random ^= storm->random << 13;
    storm->random ^= storm->random >> 7;
    storm->random ^= storm->random << 17;
    return storm->random;
}

static void storm_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data);
static void storm_timer(gyre_loop loop, gyre_timer timer, void *user_data);

/* Closes and opens watchers at random; places are reused while their events wait in the batch. */
static void blow(gyre_loop loop, struct storm *storm)
{
    int i;
    CHECK(++storm->in_turn < 4 * STORM); /* a turn is bounded, however much is opened in it */
    storm->calls++;
    for (i = 0; i < 8; i++) {
        uint64_t random = next_random(storm);
        int at = (int)(random >> 8 & 0xffff) % STORM;
        if (random & 1) {
            if (gyre_io_close(storm->ios[at]) == GYRE_OK)
                storm->closed++;
            CHECK_OK(gyre_io_open(loop, storm->ends[at][random >> 1 & 1], GYRE_READ | GYRE_WRITE, storm_io, storm,
                                  &storm->ios[at]));
        } else {
            if (gyre_timer_close(storm->timers[at]) == GYRE_OK)
                storm->closed++;
            CHECK_OK(gyre_timer_open(loop, random % 3, 0, storm_timer, storm, &storm->timers[at]));
        }
        storm->opened++;
    }
}

static int holds_io(const struct storm *storm, gyre_io io)
{
    int i;
    for (i = 0; i < STORM; i++) {
        if (storm->ios[i].bits == io.bits)
            return 1;
    }
    return 0;
}

static int holds_timer(const struct storm *storm, gyre_timer timer)
{
    int i;
    for (i = 0; i < STORM; i++) {
        if (storm->timers[i].bits == timer.bits)
            return 1;
    }
    return 0;
}

static void storm_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct storm *storm = (struct storm *)user_data;
    CHECK(holds_io(storm, io)); /* never one that was closed */
    CHECK_EQ(events & ~(uint32_t)(GYRE_READ | GYRE_WRITE), 0);
    blow(loop, storm);
}

static void storm_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct storm *storm = (struct storm *)user_data;
    CHECK(holds_timer(storm, timer));
    blow(loop, storm);
}

static void a_storm_of_opens_and_closes_in_callbacks_reaches_only_living_watchers(void)
{
    static struct storm storm;
    gyre_loop loop = open_loop();
    long turn, turns = CHECK_SCALED(2000);
    int i;
    memset(&storm, 0, sizeof storm);
    storm.random = 88172645463325252u;
    for (i = 0; i < STORM; i++) {
        make_socketpair(storm.ends[i]);
        if (i % 2)
            put_byte(storm.ends[i][1]);
        CHECK_OK(gyre_io_open(loop, storm.ends[i][0], GYRE_READ | GYRE_WRITE, storm_io, &storm, &storm.ios[i]));
        CHECK_OK(gyre_timer_open(loop, 0, 0, storm_timer, &storm, &storm.timers[i]));
    }
    storm.opened = 2 * STORM;
    for (turn = 0; turn < turns; turn++) {
        storm.in_turn = 0;
        one_turn(loop);
    }
    CHECK(storm.calls >= turns);
    CHECK_EQ(stats_of(loop).handles, storm.opened - storm.closed);
    CHECK_EQ(stats_of(loop).handles, 2 * STORM);
    close_loop(loop);
    for (i = 0; i < STORM; i++)
        close_pair(storm.ends[i]);
}

/* ---- work without end ---- */

/* Each of them goes on till the test has seen enough. */
struct endless {
    int enough;
    int posts, timers, signals, hooks;
};

static void post_again(gyre_loop loop, void *user_data)
{
    struct endless *endless = (struct endless *)user_data;
    endless->posts++;
    if (!endless->enough)
        CHECK_OK(gyre_loop_post(loop, post_again, endless));
}

static void arm_again(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct endless *endless = (struct endless *)user_data;
    (void)loop;
    endless->timers++;
    if (!endless->enough)
        CHECK_OK(gyre_timer_set(timer, 0, 0));
}

static void raise_again(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    struct endless *endless = (struct endless *)user_data;
    (void)loop;
    (void)signal;
    (void)count;
    endless->signals++;
    if (!endless->enough)
        CHECK_EQ(raise(signum), 0);
}

static void wake_again(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)hook;
    ((struct endless *)user_data)->hooks++;
    CHECK_OK(gyre_loop_wake(loop));
}

static void sources_that_never_run_dry_starve_no_other(void)
{
    gyre_loop loop = open_loop();
    struct endless endless = {0, 0, 0, 0, 0};
    struct ear busy, fed;
    gyre_io io;
    gyre_timer timer, tick;
    gyre_signal signal;
    gyre_hook hook;
    int ends[2], feed[2], ticks = 0, turn;
    make_socketpair(ends);
    make_pipe(feed);
    watch(loop, ends[0], GYRE_WRITE, &busy); /* always ready */
    memset(&fed, 0, sizeof fed);
    CHECK_OK(gyre_io_open(loop, feed[0], GYRE_READ, hear_and_read, &fed, &io));
    CHECK_OK(gyre_loop_post(loop, post_again, &endless));
    CHECK_OK(gyre_timer_open(loop, 0, 0, arm_again, &endless, &timer));
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, raise_again, &endless, &signal));
    CHECK_OK(gyre_hook_open(loop, GYRE_HOOK_IDLE, wake_again, &endless, &hook));
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), GYRE_MS(1), count_timer, &ticks, &tick));
    CHECK_EQ(raise(SIGUSR1), 0);
    for (turn = 1; turn <= 200; turn++) {
        put_byte(feed[1]);
        CHECK_EQ(gyre_loop_turn(loop, GYRE_SEC(1)), 1); /* comes back: a turn is bounded */
        CHECK_EQ(fed.calls, turn);
        CHECK_EQ(busy.calls, turn);
        CHECK_EQ(endless.posts, turn);
        CHECK_EQ(endless.timers, turn);
        CHECK_EQ(endless.signals, turn);
        CHECK_EQ(endless.hooks, turn);
    }
    RUN_UNTIL(loop, ticks > 2);
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_MS(20)), 1); /* time is kept too */
    endless.enough = 1;
    one_turn(loop);
    close_loop(loop);
    close_pair(ends);
    close_pair(feed);
}

/* ---- fork ---- */

static void every_call_in_a_forked_child_is_refused_and_the_parent_is_unharmed(void)
{
    struct specimens s;
    struct ear ear;
    gyre_signal signal;
    pid_t pid;
    int i;
    specimens_open(&s);
    CHECK_OK(gyre_io_close(s.io));
    s.io = watch(s.loop, s.ends[0], GYRE_READ, &ear);
    CHECK_OK(gyre_signal_open(s.loop, SIGUSR1, ignore_signal, NULL, &signal));
    pid = check_fork();
    if (pid == 0) {
        for (i = 0; i < CALLS; i++) {
            if (!(calls[i].traits & IN_CHILD) && has_specimen(&s, calls[i].kind))
                check_refused(&calls[i], specimen(&s, calls[i].kind), GYRE_EFORKED);
        }
        CHECK_STATUS(gyre_loop_run(s.loop, 99), GYRE_EFORKED);
        CHECK_STATUS(gyre_io_open(s.loop, -1, ~0u, NULL, NULL, NULL), GYRE_EFORKED);
        CHECK_EQ(raise(SIGUSR1), 0); /* the handler is inherited, and wakes nobody in the parent */
        CHECK_OK(gyre_loop_close(s.loop));
        CHECK_STATUS(gyre_loop_close(s.loop), GYRE_EHANDLE);
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK_EQ(stats_of(s.loop).handles, s.handles + 1);
    put_byte(s.ends[1]);
    RUN_UNTIL(s.loop, ear.calls > 0);
    close_loop(s.loop);
    specimens_clean_up(&s);
}

struct heir {
    gyre_loop loop;
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    struct ear ear;
    int ends[2];
    int posts, timers, signals, hooks;
};

static void count_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    ++*(int *)user_data;
}

static void heir_open(struct heir *heir)
{
    gyre_hook hook;
    memset(heir, 0, sizeof *heir);
    make_pipe(heir->ends);
    heir->loop = open_loop();
    CHECK_OK(gyre_io_open(heir->loop, heir->ends[0], GYRE_READ, hear_and_read, &heir->ear, &heir->io));
    CHECK_OK(gyre_timer_open(heir->loop, GYRE_MS(1), 0, count_timer, &heir->timers, &heir->timer));
    CHECK_OK(gyre_signal_open(heir->loop, SIGUSR1, count_signal, &heir->signals, &heir->signal));
    CHECK_OK(gyre_hook_open(heir->loop, GYRE_HOOK_CHECK, count_hook, &heir->hooks, &hook));
    CHECK_OK(gyre_loop_post(heir->loop, count_post, &heir->posts));
}

static void check_heir_lives(struct heir *heir)
{
    int heard = heir->ear.calls;
    RUN_UNTIL(heir->loop, heir->posts == 1 && heir->timers == 1 && heir->hooks > 0);
    put_byte(heir->ends[1]);
    RUN_UNTIL(heir->loop, heir->ear.calls == heard + 1);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(heir->loop, heir->signals == 1);
    CHECK_OK(gyre_io_set(heir->io, GYRE_READ | GYRE_WRITE));
    CHECK_OK(gyre_io_set(heir->io, GYRE_READ));
    CHECK_OK(gyre_timer_set(heir->timer, 0, 0));
    RUN_UNTIL(heir->loop, heir->timers == 2);
}

static void *wake_forked(void *argument)
{
    CHECK_OK(gyre_loop_wake(*(gyre_loop *)argument));
    return NULL;
}

static void after_fork_makes_the_loop_the_childs_own(void)
{
    struct heir heir;
    pid_t pid;
    heir_open(&heir);
    pid = check_fork();
    if (pid == 0) {
        CHECK_STATUS(gyre_loop_run(heir.loop, GYRE_RUN_NOWAIT), GYRE_EFORKED);
        CHECK_OK(gyre_loop_after_fork(heir.loop));
        check_heir_lives(&heir);
        check_join(check_thread(wake_forked, &heir.loop));
        CHECK(gyre_loop_turn(heir.loop, GYRE_FOREVER) >= 0);
        CHECK_OK(gyre_io_close(heir.io));
        close_loop(heir.loop);
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK_EQ(heir.posts + heir.timers + heir.signals + heir.ear.calls, 0); /* what the child heard was the child's */
    check_heir_lives(&heir);
    close_loop(heir.loop);
    close_pair(heir.ends);
}

static void parent_and_child_hear_side_by_side_after_after_fork(void)
{
    gyre_loop loop = open_loop();
    struct ear parent_ear, child_ear;
    gyre_io parent_io, child_io;
    int parent_ends[2], child_ends[2], done[2];
    char byte;
    pid_t pid;
    make_pipe(parent_ends);
    make_pipe(child_ends);
    make_pipe(done);
    memset(&parent_ear, 0, sizeof parent_ear);
    memset(&child_ear, 0, sizeof child_ear);
    CHECK_OK(gyre_io_open(loop, parent_ends[0], GYRE_READ, hear_and_read, &parent_ear, &parent_io));
    CHECK_OK(gyre_io_open(loop, child_ends[0], GYRE_READ, hear_and_read, &child_ear, &child_io));
    pid = check_fork();
    if (pid == 0) {
        CHECK_OK(gyre_loop_after_fork(loop));
        CHECK_OK(gyre_io_close(parent_io)); /* takes nothing from the parent's registration */
        put_byte(done[1]);
        RUN_UNTIL(loop, child_ear.calls == 2);
        close_loop(loop);
        _exit(0);
    }
    CHECK_EQ(read(done[0], &byte, 1), 1);
    CHECK_OK(gyre_io_close(child_io));
    put_byte(child_ends[1]);
    put_byte(parent_ends[1]);
    RUN_UNTIL(loop, parent_ear.calls == 1);
    put_byte(child_ends[1]);
    check_child_succeeds(pid);
    put_byte(parent_ends[1]);
    RUN_UNTIL(loop, parent_ear.calls == 2);
    CHECK_EQ(child_ear.calls, 0);
    close_loop(loop);
    close_pair(parent_ends);
    close_pair(child_ends);
    close_pair(done);
}

struct forker {
    pid_t pid;
    int calls;
};

static void fork_in_callback(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct forker *forker = (struct forker *)user_data;
    (void)events;
    if (forker->calls++ > 0)
        return;
    take_byte(gyre_io_fd(io));
    forker->pid = check_fork();
    if (forker->pid == 0)
        CHECK_STATUS(gyre_io_set(io, GYRE_READ), GYRE_EFORKED);
    else
        CHECK_OK(gyre_loop_stop(loop));
}

static void a_callback_that_forks_ends_the_run_in_the_child(void)
{
    gyre_loop loop = open_loop();
    struct forker forker = {0, 0};
    gyre_io io;
    int ends[2], other[2], status;
    struct ear ear;
    make_pipe(ends);
    make_pipe(other);
    put_byte(ends[1]);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, fork_in_callback, &forker, &io));
    watch(loop, other[0], GYRE_READ, &ear);
    status = gyre_loop_run(loop, GYRE_RUN_DEFAULT);
    if (forker.pid == 0) {
        CHECK_STATUS(status, GYRE_EFORKED);
        CHECK_OK(gyre_loop_after_fork(loop));
        put_byte(ends[1]);
        RUN_UNTIL(loop, forker.calls > 1);
        close_loop(loop);
        _exit(0);
    }
    CHECK_EQ(status, 1);
    check_child_succeeds(forker.pid);
    take_byte(ends[0]); /* the child's: the pipe is shared */
    put_byte(ends[1]);
    RUN_UNTIL(loop, forker.calls > 1);
    CHECK_EQ(ear.calls, 0);
    close_loop(loop);
    close_pair(ends);
    close_pair(other);
}

struct noise {
    gyre_loop loop;
    int stop;
};

static void *post_noise(void *argument)
{
    struct noise *noise = (struct noise *)argument;
    while (!LOAD(noise->stop)) {
        int status = gyre_loop_post(noise->loop, ignore_post, NULL);
        CHECK(status == GYRE_OK || status == GYRE_EFULL);
    }
    return NULL;
}

static void *open_noise(void *argument)
{
    struct noise *noise = (struct noise *)argument;
    while (!LOAD(noise->stop)) {
        gyre_loop loop = open_loop();
        gyre_signal signal;
        CHECK_OK(gyre_signal_open(loop, SIGUSR2, ignore_signal, NULL, &signal));
        CHECK_OK(gyre_loop_post(loop, ignore_post, NULL));
        close_loop(loop);
    }
    return NULL;
}

/* What the other threads held at the moment of the fork nobody in the child will ever let go. */
static void a_fork_while_other_threads_are_inside_the_library_leaves_the_child_usable(void)
{
    gyre_loop_options options = default_options();
    struct noise noise;
    pthread_t threads[2];
    long i;
    if (check_small())
        return; /* valgrind would count as lost in the child what the other threads were about to open */
    options.post_capacity = 1000;
    CHECK_OK(gyre_loop_open(&options, &noise.loop));
    noise.stop = 0;
    threads[0] = check_thread(post_noise, &noise);
    threads[1] = check_thread(open_noise, &noise);
    for (i = 0; i < CHECK_SCALED(200); i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            gyre_loop own;
            gyre_signal signal;
            int posts = 0;
            if (i % 2) {
                CHECK_OK(gyre_loop_after_fork(noise.loop));
                one_turn(noise.loop);
                CHECK_OK(gyre_loop_post(noise.loop, count_post, &posts));
                RUN_UNTIL(noise.loop, posts == 1);
                CHECK_OK(gyre_signal_open(noise.loop, SIGUSR2, ignore_signal, NULL, &signal));
            }
            CHECK_OK(gyre_loop_close(noise.loop));
            own = open_loop();
            CHECK_OK(gyre_signal_open(own, SIGUSR2, ignore_signal, NULL, &signal));
            CHECK_OK(gyre_loop_close(own));
            _exit(0);
        }
        check_child_succeeds(pid);
        one_turn(noise.loop);
    }
    STORE(noise.stop, 1);
    for (i = 0; i < 2; i++)
        check_join(threads[i]);
    close_loop(noise.loop);
}

static void after_fork_in_the_parent_harms_nothing(void)
{
    struct heir heir;
    heir_open(&heir);
    CHECK_OK(gyre_loop_after_fork(heir.loop));
    check_heir_lives(&heir);
    close_loop(heir.loop);
    close_pair(heir.ends);
}

int main(void)
{
    check_begin();
    RUN(none_and_forged_handles_are_refused_by_every_call);
    RUN(handles_of_another_kind_are_refused_by_every_call);
    RUN(closed_handles_are_refused_by_every_call);
    RUN(handles_of_a_closed_loop_are_refused_by_every_call);
    RUN(missing_callbacks_are_refused);
    RUN(missing_outputs_are_refused);
    RUN(descriptors_that_are_none_are_refused);
    RUN(event_bits_that_cannot_be_asked_for_are_refused);
    RUN(enumerators_that_do_not_exist_are_refused);
    RUN(signals_that_cannot_be_watched_are_refused);
    RUN(statistics_of_no_size_are_refused);
    RUN(huge_waits_are_for_ever_and_no_overflow);
    RUN(running_closing_or_releasing_a_loop_inside_its_callbacks_is_refused);
    RUN(every_call_from_a_post_that_close_delivers_is_refused);
    RUN(a_callback_of_any_kind_may_close_every_watcher);
    RUN(a_storm_of_opens_and_closes_in_callbacks_reaches_only_living_watchers);
    RUN(sources_that_never_run_dry_starve_no_other);
    RUN(every_call_in_a_forked_child_is_refused_and_the_parent_is_unharmed);
    RUN(after_fork_makes_the_loop_the_childs_own);
    RUN(parent_and_child_hear_side_by_side_after_after_fork);
    RUN(a_callback_that_forks_ends_the_run_in_the_child);
    RUN(a_fork_while_other_threads_are_inside_the_library_leaves_the_child_usable);
    RUN(after_fork_in_the_parent_harms_nothing);
    return 0;
}
