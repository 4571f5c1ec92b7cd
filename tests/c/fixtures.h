/* fixtures.h: the descriptors, loops and callbacks that the conformance programs are set up with.
 *
 * Sockets are of the loopback interface with ephemeral ports. Who makes a descriptor or a loop closes it. */
#ifndef FIXTURES_H
#define FIXTURES_H

#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ---- descriptors ---- */

static inline void make_pipe(int ends[2])
{
    CHECK_SYS(pipe(ends));
}

static inline void make_socketpair(int ends[2])
{
    CHECK_SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

static inline void make_tcp_pair(int ends[2])
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_SYS(bind(listener, (struct sockaddr *)&address, sizeof address));
    CHECK_SYS(listen(listener, 1));
    CHECK_SYS(getsockname(listener, (struct sockaddr *)&address, &length));
    ends[0] = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    CHECK_SYS(connect(ends[0], (struct sockaddr *)&address, sizeof address));
    ends[1] = (int)CHECK_SYS(accept(listener, NULL, NULL));
    CHECK_SYS(close(listener));
}

static inline void close_pair(const int ends[2])
{
    CHECK_SYS(close(ends[0]));
    CHECK_SYS(close(ends[1]));
}

static inline void make_nonblocking(int fd)
{
    long flags = CHECK_SYS(fcntl(fd, F_GETFL));
    CHECK_SYS(fcntl(fd, F_SETFL, (int)flags | O_NONBLOCK));
}

static inline void put_byte(int fd)
{
    CHECK_EQ(write(fd, "x", 1), 1);
}

static inline void take_byte(int fd)
{
    char byte;
    CHECK_EQ(read(fd, &byte, 1), 1);
}

/* Puts another file behind a number that is open, as close and a later open would. */
static inline void replace_descriptor(int number, int other)
{
    CHECK_EQ(dup2(other, number), number);
}

/* ---- loops ---- */

static inline gyre_loop open_loop(void)
{
    gyre_loop loop;
    CHECK_OK(gyre_loop_open(NULL, &loop));
    return loop;
}

static inline void close_loop(gyre_loop loop)
{
    CHECK_OK(gyre_loop_close(loop));
}

static inline gyre_loop_options default_options(void)
{
    gyre_loop_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

static inline int runs_on(gyre_loop loop, const char *backend)
{
    return strcmp(gyre_loop_backend(loop), backend) == 0;
}

static inline void one_turn(gyre_loop loop)
{
    CHECK(gyre_loop_turn(loop, 0) >= 0);
}

/* Turns the loop for a while, so that what must not happen has the time to happen. */
static inline void let_pass(gyre_loop loop, uint64_t nanoseconds)
{
    uint64_t end = check_now() + nanoseconds;
    uint64_t now;
    while ((now = check_now()) < end)
        CHECK(gyre_loop_turn(loop, end - now) >= 0);
}

static inline gyre_loop_statistics stats_of(gyre_loop loop)
{
    gyre_loop_statistics stats;
    memset(&stats, 0, sizeof stats);
    stats.size = sizeof stats;
    CHECK_OK(gyre_loop_stats(loop, &stats));
    return stats;
}

static inline uint64_t cpu_time(void)
{
    struct rusage usage;
    CHECK_SYS(getrusage(RUSAGE_SELF, &usage));
    return GYRE_SEC(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

/* Runs the loop for a second, in which a loop that does not spin makes few turns and uses hardly any CPU time. */
static inline void check_idles_for_a_second(gyre_loop loop)
{
    uint64_t turns = stats_of(loop).turns;
    uint64_t cpu = cpu_time();
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_SEC(1)), 1);
    CHECK_OK(gyre_loop_set_keepalive(loop, 0));
    turns = stats_of(loop).turns - turns;
    cpu = cpu_time() - cpu;
    if (turns > 20)
        fprintf(stderr, "%llu turns in a second\n", (unsigned long long)turns);
    CHECK(turns <= 20);
    if (cpu > GYRE_MS(20))
        fprintf(stderr, "%llu us of CPU time in a second\n", (unsigned long long)cpu / 1000u);
    CHECK(cpu < (check_small() ? GYRE_MS(600) : GYRE_MS(50)));
}

/* Opens a watcher of a child. Returns 0, and none, where pidfd_open(2) is not to be had: valgrind does not know it. */
static inline int open_child(gyre_loop loop, pid_t pid, gyre_child_cb callback, void *user_data, gyre_child *child)
{
    int status = gyre_child_open(loop, pid, callback, user_data, child);
    if (status == GYRE_EUNSUPPORTED && check_small()) {
        child->bits = 0;
        return 0;
    }
    CHECK_OK(status);
    return 1;
}

/* ---- callbacks ---- */

/* What an I/O watcher has heard. */
struct ear {
    int calls;
    int errors;      /* calls with GYRE_ERROR */
    uint32_t last;   /* events of the last call */
    uint32_t all;    /* events of all calls */
};

static inline void hear(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct ear *ear = (struct ear *)user_data;
    (void)loop;
    (void)io;
    ear->calls++;
    ear->last = events;
    ear->all |= events;
    if (events & GYRE_ERROR)
        ear->errors++;
}

/* The same, and takes the byte that made the descriptor readable. */
static inline void hear_and_read(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    hear(loop, io, events, user_data);
    if (events & GYRE_READ)
        take_byte(gyre_io_fd(io));
}

static inline gyre_io watch(gyre_loop loop, int fd, uint32_t events, struct ear *ear)
{
    gyre_io io;
    memset(ear, 0, sizeof *ear);
    CHECK_OK(gyre_io_open(loop, fd, events, hear, ear, &io));
    return io;
}

static inline void count_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    ++*(int *)user_data;
}

static inline void count_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    ++*(int *)user_data;
}

static inline void count_hook(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)loop;
    (void)hook;
    ++*(int *)user_data;
}

/* Order of calls: each callback notes a letter. */
static char trace[256];

static inline void trace_clear(void)
{
    memset(trace, 0, sizeof trace);
}

static inline void trace_note(char letter)
{
    size_t length = strlen(trace);
    CHECK(length + 1 < sizeof trace);
    trace[length] = letter;
}

#endif
