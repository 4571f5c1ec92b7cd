/* calls.h: every call of the reactor that takes a handle, as a table, so that a test can hold all of them against the
 * same misuse. A call is made with the bits of a handle of its kind; what it answers is folded to a status. */
#ifndef CALLS_H
#define CALLS_H

#include "fixtures.h"

enum call_kind { ON_LOOP, ON_IO, ON_TIMER, ON_SIGNAL, ON_CHILD, ON_HOOK, CALL_KINDS };

enum call_traits {
    ANY_THREAD = 1, /* may be called from every thread */
    IN_CHILD = 2,   /* may be called in a forked child */
    READS_ONLY = 4  /* answers NULL, 0 or "none" where others answer a status */
};

/* What stands for NULL, 0 and "none": the answer of a call without status to a handle that it refuses. */
enum { REFUSED = -9999 };

struct call {
    const char *name;
    enum call_kind kind;
    unsigned traits;
    int (*make)(uint64_t bits);
};

static inline void ignore_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    (void)user_data;
}

static inline void ignore_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    (void)loop;
    (void)io;
    (void)events;
    (void)user_data;
}

static inline void ignore_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    (void)user_data;
}

static inline void ignore_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    (void)user_data;
}

static inline void ignore_child(gyre_loop loop, gyre_child child, const gyre_child_exit *exit, void *user_data)
{
    (void)loop;
    (void)child;
    (void)exit;
    (void)user_data;
}

static inline void ignore_hook(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)loop;
    (void)hook;
    (void)user_data;
}

/* Where calls write what they answer; a refused call must leave it as it was. */
static union {
    uint64_t bits;
    gyre_loop loop;
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    gyre_child child;
    gyre_hook hook;
} call_out;

static gyre_loop_statistics call_stats;
static char call_text[64];

#define CALL(kind, name, expression)       \
    static int call_##name(uint64_t bits)  \
    {                                      \
        gyre_##kind h;                     \
        h.bits = bits;                     \
        return (expression);               \
    }

CALL(loop, loop_close, gyre_loop_close(h))
CALL(loop, loop_run, gyre_loop_run(h, GYRE_RUN_NOWAIT))
CALL(loop, loop_run_for, gyre_loop_run_for(h, 0))
CALL(loop, loop_turn, gyre_loop_turn(h, 0))
CALL(loop, loop_set_user_data, gyre_loop_set_user_data(h, NULL))
CALL(loop, loop_user_data, gyre_loop_user_data(h) == NULL ? REFUSED : 0)
CALL(loop, loop_stop, gyre_loop_stop(h))
CALL(loop, loop_wake, gyre_loop_wake(h))
CALL(loop, loop_post, gyre_loop_post(h, ignore_post, NULL))
CALL(loop, loop_now, gyre_loop_now(h) == 0 ? REFUSED : 0)
CALL(loop, loop_update_now, gyre_loop_update_now(h))
CALL(loop, loop_is_alive, gyre_loop_is_alive(h))
CALL(loop, loop_set_keepalive, gyre_loop_set_keepalive(h, 0))
CALL(loop, loop_fd, gyre_loop_fd(h))
CALL(loop, loop_timeout, gyre_loop_timeout(h, &call_out.bits))
CALL(loop, loop_release, gyre_loop_release(h))
CALL(loop, loop_claim, gyre_loop_claim(h))
CALL(loop, loop_after_fork, gyre_loop_after_fork(h))
CALL(loop, loop_backend, strcmp(gyre_loop_backend(h), "none") == 0 ? REFUSED : 0)
CALL(loop, loop_engine, strcmp(gyre_loop_engine(h), "none") == 0 ? REFUSED : 0)
CALL(loop, loop_explain, gyre_loop_explain(h, call_text, sizeof call_text))
CALL(loop, loop_stats, gyre_loop_stats(h, &call_stats))
CALL(loop, loop_dump, gyre_loop_dump(h, STDERR_FILENO))
CALL(loop, io_open, gyre_io_open(h, STDERR_FILENO, GYRE_WRITE, ignore_io, NULL, &call_out.io))
CALL(loop, timer_open, gyre_timer_open(h, 0, 0, ignore_timer, NULL, &call_out.timer))
CALL(loop, signal_open, gyre_signal_open(h, SIGUSR1, ignore_signal, NULL, &call_out.signal))
CALL(loop, child_open, gyre_child_open(h, getpid(), ignore_child, NULL, &call_out.child))
CALL(loop, hook_open, gyre_hook_open(h, GYRE_HOOK_CHECK, ignore_hook, NULL, &call_out.hook))

CALL(io, io_set, gyre_io_set(h, GYRE_READ))
CALL(io, io_close, gyre_io_close(h))
CALL(io, io_fd, gyre_io_fd(h))
CALL(io, io_set_keepalive, gyre_io_set_keepalive(h, 1))
CALL(io, io_loop, gyre_io_loop(h, &call_out.loop))
CALL(io, io_user_data, gyre_io_user_data(h) == NULL ? REFUSED : 0)
CALL(io, io_set_user_data, gyre_io_set_user_data(h, call_text))

CALL(timer, timer_set, gyre_timer_set(h, GYRE_SEC(1000), 0))
CALL(timer, timer_set_at, gyre_timer_set_at(h, GYRE_FOREVER, 0))
CALL(timer, timer_stop, gyre_timer_stop(h))
CALL(timer, timer_remaining, gyre_timer_remaining(h, &call_out.bits))
CALL(timer, timer_close, gyre_timer_close(h))
CALL(timer, timer_set_keepalive, gyre_timer_set_keepalive(h, 1))
CALL(timer, timer_loop, gyre_timer_loop(h, &call_out.loop))
CALL(timer, timer_user_data, gyre_timer_user_data(h) == NULL ? REFUSED : 0)
CALL(timer, timer_set_user_data, gyre_timer_set_user_data(h, call_text))

CALL(signal, signal_close, gyre_signal_close(h))
CALL(signal, signal_set_keepalive, gyre_signal_set_keepalive(h, 1))
CALL(signal, signal_loop, gyre_signal_loop(h, &call_out.loop))
CALL(signal, signal_user_data, gyre_signal_user_data(h) == NULL ? REFUSED : 0)
CALL(signal, signal_set_user_data, gyre_signal_set_user_data(h, call_text))

CALL(child, child_close, gyre_child_close(h))
CALL(child, child_set_keepalive, gyre_child_set_keepalive(h, 1))
CALL(child, child_loop, gyre_child_loop(h, &call_out.loop))
CALL(child, child_user_data, gyre_child_user_data(h) == NULL ? REFUSED : 0)
CALL(child, child_set_user_data, gyre_child_set_user_data(h, call_text))

CALL(hook, hook_close, gyre_hook_close(h))
CALL(hook, hook_set_keepalive, gyre_hook_set_keepalive(h, 1))
CALL(hook, hook_loop, gyre_hook_loop(h, &call_out.loop))
CALL(hook, hook_user_data, gyre_hook_user_data(h) == NULL ? REFUSED : 0)
CALL(hook, hook_set_user_data, gyre_hook_set_user_data(h, call_text))

#define ROW(kind, name, traits) {"gyre_" #name, kind, traits, call_##name}

static const struct call calls[] = {
    ROW(ON_LOOP, loop_close, IN_CHILD),
    ROW(ON_LOOP, loop_run, 0),
    ROW(ON_LOOP, loop_run_for, 0),
    ROW(ON_LOOP, loop_turn, 0),
    ROW(ON_LOOP, loop_set_user_data, 0),
    ROW(ON_LOOP, loop_user_data, READS_ONLY),
    ROW(ON_LOOP, loop_stop, ANY_THREAD),
    ROW(ON_LOOP, loop_wake, ANY_THREAD),
    ROW(ON_LOOP, loop_post, ANY_THREAD),
    ROW(ON_LOOP, loop_now, READS_ONLY),
    ROW(ON_LOOP, loop_update_now, 0),
    ROW(ON_LOOP, loop_is_alive, 0),
    ROW(ON_LOOP, loop_set_keepalive, 0),
    ROW(ON_LOOP, loop_fd, 0),
    ROW(ON_LOOP, loop_timeout, 0),
    ROW(ON_LOOP, loop_release, 0),
    ROW(ON_LOOP, loop_claim, ANY_THREAD),
    ROW(ON_LOOP, loop_after_fork, IN_CHILD),
    ROW(ON_LOOP, loop_backend, READS_ONLY),
    ROW(ON_LOOP, loop_engine, READS_ONLY),
    ROW(ON_LOOP, loop_explain, 0),
    ROW(ON_LOOP, loop_stats, 0),
    ROW(ON_LOOP, loop_dump, 0),
    ROW(ON_LOOP, io_open, 0),
    ROW(ON_LOOP, timer_open, 0),
    ROW(ON_LOOP, signal_open, 0),
    ROW(ON_LOOP, child_open, 0),
    ROW(ON_LOOP, hook_open, 0),
    ROW(ON_IO, io_set, 0),
    ROW(ON_IO, io_close, 0),
    ROW(ON_IO, io_fd, 0),
    ROW(ON_IO, io_set_keepalive, 0),
    ROW(ON_IO, io_loop, 0),
    ROW(ON_IO, io_user_data, READS_ONLY),
    ROW(ON_IO, io_set_user_data, 0),
    ROW(ON_TIMER, timer_set, 0),
    ROW(ON_TIMER, timer_set_at, 0),
    ROW(ON_TIMER, timer_stop, 0),
    ROW(ON_TIMER, timer_remaining, 0),
    ROW(ON_TIMER, timer_close, 0),
    ROW(ON_TIMER, timer_set_keepalive, 0),
    ROW(ON_TIMER, timer_loop, 0),
    ROW(ON_TIMER, timer_user_data, READS_ONLY),
    ROW(ON_TIMER, timer_set_user_data, 0),
    ROW(ON_SIGNAL, signal_close, 0),
    ROW(ON_SIGNAL, signal_set_keepalive, 0),
    ROW(ON_SIGNAL, signal_loop, 0),
    ROW(ON_SIGNAL, signal_user_data, READS_ONLY),
    ROW(ON_SIGNAL, signal_set_user_data, 0),
    ROW(ON_CHILD, child_close, 0),
    ROW(ON_CHILD, child_set_keepalive, 0),
    ROW(ON_CHILD, child_loop, 0),
    ROW(ON_CHILD, child_user_data, READS_ONLY),
    ROW(ON_CHILD, child_set_user_data, 0),
    ROW(ON_HOOK, hook_close, 0),
    ROW(ON_HOOK, hook_set_keepalive, 0),
    ROW(ON_HOOK, hook_loop, 0),
    ROW(ON_HOOK, hook_user_data, READS_ONLY),
    ROW(ON_HOOK, hook_set_user_data, 0),
};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* Makes a call that must be refused with one status, and must then have written nothing. */
static inline void check_refused(const struct call *call, uint64_t bits, int want)
{
    int got;
    call_out.bits = 0x5a5a5a5a5a5a5a5a;
    memset(&call_stats, 0, sizeof call_stats);
    call_stats.size = sizeof call_stats;
    memset(call_text, 'x', sizeof call_text);
    if (call->traits & READS_ONLY)
        want = REFUSED;
    got = call->make(bits);
    if (got != want) {
        fprintf(stderr, "in %s: %s(0x%llx): got %d %s, want %d %s\n", check_running, call->name,
                (unsigned long long)bits, got, gyre_status_name(got), want, gyre_status_name(want));
        _exit(1);
    }
    CHECK_EQ(call_out.bits, 0x5a5a5a5a5a5a5a5a);
    CHECK_EQ(call_stats.turns, 0);
    CHECK_EQ(call_text[0], 'x');
}

/* One live handle of each kind, on one loop. None of them has anything to hear. */
struct specimens {
    gyre_loop loop;
    gyre_io io;
    gyre_timer timer;
    gyre_signal signal;
    gyre_child child;
    gyre_hook hook;
    int ends[2];
    int leash[2]; /* the watched child lives until it gets a byte */
    pid_t pid;
    int handles; /* on the loop */
};

static inline void specimens_open(struct specimens *s)
{
    make_pipe(s->ends);
    make_pipe(s->leash);
    s->pid = check_fork();
    if (s->pid == 0) {
        char byte;
        ssize_t taken;
        CHECK_SYS(close(s->leash[1]));
        taken = read(s->leash[0], &byte, 1);
        (void)taken;
        _exit(0);
    }
    s->loop = open_loop();
    CHECK_OK(gyre_loop_set_user_data(s->loop, s));
    CHECK_OK(gyre_io_open(s->loop, s->ends[0], GYRE_READ, ignore_io, s, &s->io));
    CHECK_OK(gyre_timer_open(s->loop, GYRE_SEC(1000), 0, ignore_timer, s, &s->timer));
    CHECK_OK(gyre_signal_open(s->loop, SIGUSR2, ignore_signal, s, &s->signal));
    CHECK_OK(gyre_hook_open(s->loop, GYRE_HOOK_CHECK, ignore_hook, s, &s->hook));
    s->handles = 4 + open_child(s->loop, s->pid, ignore_child, s, &s->child);
}

/* Whether there is one of a kind: all but a watcher of a child under valgrind. */
static inline int has_specimen(const struct specimens *s, enum call_kind kind)
{
    return kind != ON_CHILD || s->child.bits != 0;
}

static inline uint64_t specimen(const struct specimens *s, enum call_kind kind)
{
    switch (kind) {
    case ON_LOOP:
        return s->loop.bits;
    case ON_IO:
        return s->io.bits;
    case ON_TIMER:
        return s->timer.bits;
    case ON_SIGNAL:
        return s->signal.bits;
    case ON_CHILD:
        return s->child.bits;
    case ON_HOOK:
        return s->hook.bits;
    case CALL_KINDS:
        break;
    }
    CHECK(!"a kind of handle");
    return 0;
}

/* Gives up what is not the loop's: after the loop was closed. */
static inline void specimens_clean_up(struct specimens *s)
{
    put_byte(s->leash[1]);
    check_child_succeeds(s->pid);
    close_pair(s->leash);
    close_pair(s->ends);
}

#endif
