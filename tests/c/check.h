/* check.h: what the C conformance and misuse programs share: assertions, a watchdog, a census of descriptors.
 *
 * A program is a list of tests, each a function named by the behaviour that it holds:
 *
 *     int main(void)
 *     {
 *         check_begin();
 *         RUN(a_level_triggered_watcher_is_told_again);
 *         return 0;
 *     }
 *
 * 1. A failed check prints file, line, expression and values to stderr and ends the program with status 1.
 * 2. A program that hangs ends itself, and names the test it hung in.
 * 3. A test leaves exactly the descriptors open that it found.
 * 4. GYRE_TEST_SCALE=small in the environment is for runs under valgrind: it shortens what CHECK_SCALED counts, and
 *    leaves out what valgrind does not know.
 *
 * Define _POSIX_C_SOURCE (200809L) or more before including it. Valid as C99 and as C++11. */
#ifndef CHECK_H
#define CHECK_H

#include <gyre.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHECK_WATCHDOG_SECONDS = 50, CHECK_DEADLINE_SECONDS = 20, CHECK_DESCRIPTORS = 8192 };

static const char *volatile check_running = "start-up";

/* ---- assertions ---- */

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
#define CHECK_EQ(got, want) check_equal((long long)(got), (long long)(want), #got " == " #want, __FILE__, __LINE__)
#define CHECK_STATUS(got, want) check_status((got), (want), #got " == " #want, __FILE__, __LINE__)
#define CHECK_OK(got) check_status((got), GYRE_OK, #got, __FILE__, __LINE__)
#define CHECK_STR(got, want) check_text((got), (want), #got " == " #want, __FILE__, __LINE__)
#define CHECK_SYS(call) check_sys((long)(call), #call, __FILE__, __LINE__) /* a system call: -1 sets errno */
#define CHECK_SCALED(count) (check_small() ? ((count) + 49) / 50 : (count))

static inline void check_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "%s:%d: in %s: failed: %s\n", file, line, check_running, expression);
    _exit(1);
}

static inline void check_equal(long long got, long long want, const char *expression, const char *file, int line)
{
    if (got != want) {
        fprintf(stderr, "%s:%d: in %s: failed: %s: got %lld, want %lld\n", file, line, check_running, expression, got,
                want);
        _exit(1);
    }
}

static inline void check_status(int got, int want, const char *expression, const char *file, int line)
{
    if (got != want) {
        fprintf(stderr, "%s:%d: in %s: failed: %s: got %d %s, want %d %s\n", file, line, check_running, expression, got,
                gyre_status_name(got), want, gyre_status_name(want));
        _exit(1);
    }
}

static inline void check_text(const char *got, const char *want, const char *expression, const char *file, int line)
{
    if (got == NULL || strcmp(got, want) != 0) {
        fprintf(stderr, "%s:%d: in %s: failed: %s: got \"%s\", want \"%s\"\n", file, line, check_running, expression,
                got != NULL ? got : "(null)", want);
        _exit(1);
    }
}

static inline long check_sys(long result, const char *expression, const char *file, int line)
{
    if (result == -1) {
        fprintf(stderr, "%s:%d: in %s: failed: %s: %s\n", file, line, check_running, expression, strerror(errno));
        _exit(1);
    }
    return result;
}

static inline int check_small(void)
{
    const char *scale = getenv("GYRE_TEST_SCALE");
    return scale != NULL && strcmp(scale, "small") == 0;
}

/* ---- time ---- */

static inline uint64_t check_now(void)
{
    struct timespec now;
    CHECK_SYS(clock_gettime(CLOCK_MONOTONIC, &now));
    return GYRE_SEC(now.tv_sec) + (uint64_t)now.tv_nsec;
}

/* Holds the calling thread up: for making a loop late, never for waiting for something. */
static inline void check_block(uint64_t nanoseconds)
{
    struct timespec left;
    left.tv_sec = (time_t)(nanoseconds / GYRE_SEC(1));
    left.tv_nsec = (long)(nanoseconds % GYRE_SEC(1));
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
}

/* Turns the loop until the condition holds, under a deadline. */
#define RUN_UNTIL(loop, condition)                                                     \
    do {                                                                               \
        uint64_t run_until_end = check_now() + GYRE_SEC(CHECK_DEADLINE_SECONDS);       \
        while (!(condition)) {                                                         \
            if (check_now() > run_until_end)                                           \
                check_failed("in time: " #condition, __FILE__, __LINE__);              \
            CHECK(gyre_loop_turn((loop), GYRE_MS(50)) >= 0);                           \
        }                                                                              \
    } while (0)

/* Waits for another thread or process to make the condition hold, under a deadline. */
#define WAIT_UNTIL(condition)                                                          \
    do {                                                                               \
        uint64_t wait_until_end = check_now() + GYRE_SEC(CHECK_DEADLINE_SECONDS);      \
        while (!(condition)) {                                                         \
            if (check_now() > wait_until_end)                                          \
                check_failed("in time: " #condition, __FILE__, __LINE__);              \
            check_block(100000);                                                       \
        }                                                                              \
    } while (0)

/* ---- threads and processes ---- */

#define LOAD(variable) __atomic_load_n(&(variable), __ATOMIC_SEQ_CST)
#define STORE(variable, value) __atomic_store_n(&(variable), (value), __ATOMIC_SEQ_CST)
#define ADD(variable, value) __atomic_add_fetch(&(variable), (value), __ATOMIC_SEQ_CST)

static inline pthread_t check_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, body, argument), 0);
    return thread;
}

static inline void check_join(pthread_t thread)
{
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* A forked child that fails or hangs says so itself; it ends with _exit. It has an alarm of its own. */
static inline pid_t check_fork(void)
{
    pid_t pid = fork();
    CHECK_SYS(pid);
    if (pid == 0)
        alarm(CHECK_DEADLINE_SECONDS);
    return pid;
}

static inline void check_child_succeeds(pid_t pid)
{
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- the runner ---- */

struct check_census {
    unsigned char open[CHECK_DESCRIPTORS];
};

static inline void check_take_census(struct check_census *census)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    CHECK(directory != NULL);
    memset(census, 0, sizeof *census);
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name); /* "." and ".." count as 0 in every census */
        if (fd < CHECK_DESCRIPTORS && fd != dirfd(directory))
            census->open[fd] = 1;
    }
    closedir(directory);
}

static inline void check_compare_census(const struct check_census *before, const struct check_census *after)
{
    int fd;
    for (fd = 0; fd < CHECK_DESCRIPTORS; fd++) {
        if (before->open[fd] != after->open[fd]) {
            fprintf(stderr, "%s: descriptor %d was %s\n", check_running, fd, after->open[fd] ? "leaked" : "closed");
            _exit(1);
        }
    }
}

#define RUN(test) check_run(#test, (test))

/* valgrind does not extend the stack of the main thread when a signal is delivered at its end (it ends the program), and
 * never takes back what it has given. */
static inline void check_extend_stack(void)
{
    volatile char deep[128 * 1024];
    size_t i;
    for (i = 0; i < sizeof deep; i += 1024)
        deep[i] = 0;
}

static inline void check_run(const char *name, void (*test)(void))
{
    struct check_census before, after;
    check_extend_stack();
    check_running = name;
    check_take_census(&before);
    test();
    check_take_census(&after);
    check_compare_census(&before, &after);
}

static inline void check_say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static inline void check_hung(int signum)
{
    (void)signum;
    check_say(check_running);
    check_say(": timed out\n");
    _exit(1);
}

static inline void check_begin(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = check_hung;
    CHECK_SYS(sigaction(SIGALRM, &action, NULL));
    alarm(CHECK_WATCHDOG_SECONDS * (check_small() ? 4 : 1)); /* valgrind is slow */
}

#endif
