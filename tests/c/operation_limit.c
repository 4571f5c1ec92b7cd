/* operation_limit.c: file reads of a user whose queue of signals is short or full (RLIMIT_SIGPENDING), where an engine
 * that is told by signals must lose nothing.
 *
 * The limit counts the signals of all processes of a user, so root takes an id that nobody uses. Limit and id are
 * those of a child. This process opens no loop itself: POSIX AIO serves only the process that was first to use it.
 */
#define _GNU_SOURCE
#include "operation.h"

#include <grp.h>

enum { READS = 1000, LENGTH = 4096, UNUSED_ID = 54321 };

static void become_somebody_else(void)
{
    if (geteuid() != 0)
        return;
    CHECK_SYS(setgroups(0, NULL));
    CHECK_SYS(setresgid(UNUSED_ID, UNUSED_ID, UNUSED_ID));
    CHECK_SYS(setresuid(UNUSED_ID, UNUSED_ID, UNUSED_ID));
}

static void limit_queue_of_signals(rlim_t signals)
{
    struct rlimit limit;
    CHECK_SYS(getrlimit(RLIMIT_SIGPENDING, &limit));
    limit.rlim_cur = signals < limit.rlim_max ? signals : limit.rlim_max; /* one that is shorter yet will do */
    CHECK_SYS(setrlimit(RLIMIT_SIGPENDING, &limit));
}

/* Makes a process of the same user that fills the queue with signals of its own, until it is killed. */
static pid_t fill_queue_of_signals(void)
{
    int ends[2];
    pid_t pid;
    make_pipe(ends);
    pid = check_fork();
    if (pid == 0) {
        union sigval value;
        sigset_t blocked;
        memset(&value, 0, sizeof value);
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGRTMAX);
        CHECK_SYS(sigprocmask(SIG_BLOCK, &blocked, NULL));
        while (sigqueue(getpid(), SIGRTMAX, value) == 0) {
        }
        CHECK_EQ(errno, EAGAIN);
        put_byte(ends[1]);
        for (;;)
            pause();
    }
    take_byte(ends[0]);
    close_pair(ends);
    return pid;
}

static void kill_and_reap(pid_t pid)
{
    CHECK_SYS(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

static int handled_real_time_signals(void)
{
    int signum, handled = 0;
    for (signum = SIGRTMIN; signum <= SIGRTMAX; signum++) {
        struct sigaction action;
        CHECK_SYS(sigaction(signum, NULL, &action));
        handled += action.sa_handler != SIG_DFL;
    }
    return handled;
}

static unsigned char bytes[READS][LENGTH];

/* Reads a file in READS parts at once, and checks each. Returns how many real-time signals the loop has taken. */
static int read_in_parts(int fd, int notify)
{
    static struct outcome outcomes[READS];
    gyre_loop_options options = default_options();
    gyre_loop loop;
    size_t i, at;
    int signals = -handled_real_time_signals();
    options.aio_notify = notify;
    CHECK_OK(gyre_loop_open(&options, &loop));
    memset(bytes, 0, sizeof bytes);
    completions = 0;
    for (i = 0; i < READS; i++)
        start_read(loop, fd, bytes[i], LENGTH, (int64_t)(i * LENGTH), &outcomes[i]);
    CHECK_EQ(stats_of(loop).op_in_flight, READS);
    signals += handled_real_time_signals();
    RUN_UNTIL(loop, completions == READS);
    one_turn(loop);
    CHECK_EQ(stats_of(loop).completions, READS); /* P1 */
    for (i = 0; i < READS; i++) {
        CHECK_EQ(outcomes[i].result, LENGTH);
        for (at = 0; at < LENGTH; at++)
            CHECK(bytes[i][at] == pattern(i * LENGTH + at));
    }
    close_loop(loop);
    return signals;
}

static void read_under_limit(rlim_t signals, int full)
{
    static const int notifies[] = {GYRE_AIO_SIGNAL, GYRE_AIO_THREAD, GYRE_AIO_SIGNAL};
    int fd = make_file(0);
    pid_t pid;
    fill_with_pattern(fd, (size_t)READS * LENGTH);
    pid = check_fork();
    if (pid == 0) {
        pid_t filler = 0;
        size_t i;
        become_somebody_else();
        limit_queue_of_signals(signals);
        if (full)
            filler = fill_queue_of_signals();
        for (i = 0; i < sizeof notifies / sizeof notifies[0]; i++) {
            int taken = read_in_parts(fd, notifies[i]);
            if (signals == 0 || notifies[i] == GYRE_AIO_THREAD)
                CHECK_EQ(taken, 0); /* what cannot be queued is told by threads */
        }
        if (full)
            kill_and_reap(filler);
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK_SYS(close(fd));
}

static void a_thousand_reads_complete_with_a_short_queue_of_signals(void)
{
    read_under_limit(8, 0);
}

static void a_thousand_reads_complete_with_a_queue_of_signals_that_is_full(void)
{
    read_under_limit(8, 1);
}

static void a_thousand_reads_complete_without_a_queue_of_signals(void)
{
    read_under_limit(0, 0);
}

int main(void)
{
    check_begin();
    if (!check_small()) { /* valgrind cannot deliver every signal */
        RUN(a_thousand_reads_complete_with_a_short_queue_of_signals);
        RUN(a_thousand_reads_complete_with_a_queue_of_signals_that_is_full);
    }
    RUN(a_thousand_reads_complete_without_a_queue_of_signals);
    return 0;
}
