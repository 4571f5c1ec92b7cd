/* What the benchmarks share: CPU time, medians, a child process for each measurement, options.
 *
 * Each measurement has a process of its own. So the CPU time of all threads counts, those of the kernel's and the C
 * library's that work for the process among them, and no method inherits the threads, the signals or the settings of
 * the one before. Methods take turns, round after round, so that a busy minute of the machine falls on all of them. */
#ifndef BENCHES_MEASURE_H
#define BENCHES_MEASURE_H

#include <gyre.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_NOT_HERE = 3, /* of a child: this kernel, or this build, lacks what was to be measured */
    MAX_ROUNDS = 1000
};

/* ---- errors ---- */

static inline void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static inline void check_errno(intmax_t result, const char *what)
{
    if (result < 0)
        fail(what, strerror(errno));
}

static inline void check(int status, const char *what)
{
    if (status < 0)
        fail(what, gyre_status_message(status));
}

/* ---- time ---- */

static inline double clock_ns(void)
{
    struct timespec now;

    check_errno(clock_gettime(CLOCK_MONOTONIC, &now), "clock_gettime");
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* CPU time in nanoseconds. The kernel knows the sum exactly, and shares it out by what the ticks of its clock met: the
 * parts of a short run are rough. */
struct usage {
    double user, system;
};

/* Of all threads of the process. May be called from a signal handler: it is but a system call. */
static inline struct usage usage_now(void)
{
    struct rusage all;
    struct usage usage = {0, 0};

    if (getrusage(RUSAGE_SELF, &all) == 0) {
        usage.user = (double)all.ru_utime.tv_sec * 1e9 + (double)all.ru_utime.tv_usec * 1e3;
        usage.system = (double)all.ru_stime.tv_sec * 1e9 + (double)all.ru_stime.tv_usec * 1e3;
    }
    return usage;
}

/* ---- figures ---- */

static inline int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

/* The value below which the given part of the values lies: 0.5 for the median. */
static inline double quantile(const double *values, int count, double part)
{
    double sorted[MAX_ROUNDS], place = part * (count - 1);
    int below = (int)place;

    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
}

static inline double median(const double *values, int count)
{
    return quantile(values, count, 0.5);
}

static inline double mean(const double *values, int count)
{
    double sum = 0;
    int i;

    for (i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

/* How far the middle half of the values reaches to either side, in percent of the median. */
static inline double spread(const double *values, int count)
{
    return 50 * (quantile(values, count, 0.75) - quantile(values, count, 0.25)) / median(values, count);
}

/* The median of what each round says: what slowed a round down slowed down both. */
static inline double median_ratio(const double *values, const double *reference, int count)
{
    double ratios[MAX_ROUNDS];
    int i;

    for (i = 0; i < count; i++)
        ratios[i] = values[i] / reference[i];
    return median(ratios, count);
}

/* ---- children ---- */

struct child {
    pid_t pid;
    int report; /* what the child tells */
};

/* Tells the parent, from the child. */
static inline void child_tell(int report, const void *data, size_t length)
{
    /* What fits into a pipe at once is written whole or not at all. Without a parent there is nobody to tell. */
    if (write(report, data, length) != (ssize_t)length)
        _exit(EXIT_FAILURE);
}

/* Runs a function in a process of its own, which is killed after some seconds, and when its parent has ended. */
static inline struct child child_start(void (*body)(const void *context, int report), const void *context,
                                       unsigned seconds)
{
    struct child child;
    int ends[2];
    pid_t parent = getpid();

    fflush(NULL); /* or the child would write it again */
    check_errno(pipe(ends), "pipe");
    child.report = ends[0];
    child.pid = fork();
    check_errno(child.pid, "fork");
    if (child.pid == 0) {
        close(ends[0]);
        alarm(seconds);
        check_errno(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
        if (getppid() != parent)
            exit(EXIT_FAILURE);
        body(context, ends[1]);
        exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    return child;
}

/* Returns whether the child told as much before it ended. */
static inline int child_hear(const struct child *child, void *data, size_t length)
{
    char *to = data;

    while (length > 0) {
        ssize_t count = read(child->report, to, length);

        if (count == 0)
            return 0;
        if (count < 0 && errno == EINTR)
            continue;
        check_errno(count, "read");
        to += count;
        length -= (size_t)count;
    }
    return 1;
}

/* Waits for the end of the child, to which `signum` was sent unless it is 0. Returns whether what it measures is to be
 * had here. */
static inline int child_end(const struct child *child, const char *name, int signum)
{
    int status;

    close(child->report);
    while (waitpid(child->pid, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_HERE)
        return 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        fail(name, "took too long");
    if (WIFSIGNALED(status) ? WTERMSIG(status) != signum : WEXITSTATUS(status) != EXIT_SUCCESS)
        fail(name, "failed");
    return 1;
}

/* ---- gyre ---- */

/* In a child. */
static inline gyre_loop open_loop(int engine, int aio_notify)
{
    gyre_loop_options options;
    gyre_loop loop;
    int status;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.engine = engine;
    options.aio_notify = aio_notify;
    status = gyre_loop_open(&options, &loop);
    if (status == GYRE_EUNSUPPORTED)
        exit(EXIT_NOT_HERE);
    check(status, "gyre_loop_open");
    return loop;
}

/* ---- command line and rounds ---- */

struct options {
    const char *program, *counted; /* --COUNTED N */
    int rounds;
    long count, max_count;
    const char *only;       /* measure what has this in its name; NULL for everything */
    const char *other_name; /* --OTHER_NAME N, of one program; NULL for none */
    long other, max_other;
};

/* Returns 0 for what is no number from 1 to `max`. */
static inline long parse_count(const char *text, long max)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && value >= 1 && value <= max ? value : 0;
}

/* What is not given stays as it is. */
static inline void parse_options(struct options *options, int argc, char **argv)
{
    const struct option known[] = {{"rounds", required_argument, NULL, 'r'},
                                   {options->counted, required_argument, NULL, 'c'},
                                   {"only", required_argument, NULL, 'o'},
                                   {options->other_name, required_argument, NULL, 'x'},
                                   {NULL, 0, NULL, 0}};
    int option, good = 1;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'r')
            good &= (options->rounds = (int)parse_count(optarg, MAX_ROUNDS)) != 0;
        else if (option == 'c')
            good &= (options->count = parse_count(optarg, options->max_count)) != 0;
        else if (option == 'o')
            options->only = optarg;
        else if (option == 'x')
            good &= (options->other = parse_count(optarg, options->max_other)) != 0;
        else
            good = 0;
    }
    if (good && optind == argc)
        return;
    fprintf(stderr, "usage: %s [--rounds 1..%d] [--%s 1..%ld] [--only NAME]", options->program, MAX_ROUNDS,
            options->counted, options->max_count);
    if (options->other_name != NULL)
        fprintf(stderr, " [--%s 1..%ld]", options->other_name, options->max_other);
    fputc('\n', stderr);
    exit(EXIT_USAGE);
}

static inline int is_selected(const struct options *options, const char *name)
{
    return options->only == NULL || strstr(name, options->only) != NULL;
}

/* Measures each row once a round. Each round begins with another row, for the order might matter. */
static inline void run_rounds(const struct options *options, int rows, void (*measure_row)(int row, int round))
{
    int show_progress = isatty(STDERR_FILENO), round, i;

    for (round = 0; round < options->rounds; round++) {
        if (show_progress)
            fprintf(stderr, "\r%s: round %d of %d ", options->program, round + 1, options->rounds);
        for (i = 0; i < rows; i++)
            measure_row((i + round) % rows, round);
    }
    if (show_progress)
        fputs("\r\033[K", stderr);
}

#endif
