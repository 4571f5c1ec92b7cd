/* gyre inside a program that has an event loop of its own, here one around poll(2).
 *
 * The host watches the loop's descriptor beside its own, for no longer than gyre_loop_timeout allows, and then lets
 * gyre do what is ready. A byte goes round between the two: a gyre timer sends it to the host's pipe, the host
 * passes it on into a pipe that gyre watches.
 *
 *   build: cc -std=c99 05_embed_in_poll.c -lgyre -o 05_embed_in_poll
 *   run:   ./05_embed_in_poll        (ends after a second)
 */
#define _POSIX_C_SOURCE 200809L

#include <gyre.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 10, MAX_WAKEUPS = 20 * ROUNDS };

struct program {
    int to_host[2], to_gyre[2]; /* pipes: [0] is read, [1] written */
    int ticks, passed_on, came_back;
    int wakeups;
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static void check_errno(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(EXIT_FAILURE);
    }
}

static void on_tick(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct program *program = user_data;

    (void)loop;
    check_errno((int)write(program->to_host[1], ".", 1), "write");
    if (++program->ticks == ROUNDS)
        check(gyre_timer_close(timer), "gyre_timer_close");
}

static void on_pipe(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct program *program = user_data;
    char byte;

    (void)loop;
    (void)events;
    check_errno((int)read(gyre_io_fd(io), &byte, 1), "read");
    if (++program->came_back == ROUNDS)
        check(gyre_io_close(io), "gyre_io_close"); /* the last that was alive */
}

/* poll(2) takes milliseconds: round up, or the host would spin through the last fraction of one. */
static int poll_timeout(gyre_loop loop)
{
    uint64_t ns, ms;

    check(gyre_loop_timeout(loop, &ns), "gyre_loop_timeout");
    if (ns == GYRE_FOREVER)
        return -1;
    ms = ns / GYRE_MS(1) + (ns % GYRE_MS(1) != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void host_loop(struct program *program, gyre_loop loop)
{
    struct pollfd watched[2];
    char byte;
    int alive = gyre_loop_is_alive(loop);

    check(alive, "gyre_loop_is_alive");
    watched[0].fd = gyre_loop_fd(loop);
    check(watched[0].fd, "gyre_loop_fd");
    watched[0].events = POLLIN;
    watched[1].fd = program->to_host[0];
    watched[1].events = POLLIN;

    while (alive) {
        /* The timeout is asked for before every wait: it also tells the kernel what the callbacks have changed. */
        int ready = poll(watched, 2, poll_timeout(loop));

        if (ready < 0 && errno == EINTR)
            continue;
        check_errno(ready, "poll");
        program->wakeups++;
        if (watched[1].revents != 0) {
            check_errno((int)read(program->to_host[0], &byte, 1), "read");
            check_errno((int)write(program->to_gyre[1], &byte, 1), "write");
            program->passed_on++;
        }
        /* Also when only the time is over: timers have no descriptor. */
        alive = gyre_loop_run(loop, GYRE_RUN_NOWAIT);
        check(alive, "gyre_loop_run");
    }
}

int main(void)
{
    struct program program;
    gyre_loop_options options;
    gyre_loop loop;
    gyre_timer timer;
    gyre_io io;

    memset(&program, 0, sizeof program);
    check_errno(pipe(program.to_host), "pipe");
    check_errno(pipe(program.to_gyre), "pipe");

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.backend = GYRE_BACKEND_EPOLL; /* poll and select have no descriptor that could be watched */
    check(gyre_loop_open(&options, &loop), "gyre_loop_open");
    check(gyre_timer_open(loop, GYRE_MS(100), GYRE_MS(100), on_tick, &program, &timer), "gyre_timer_open");
    check(gyre_io_open(loop, program.to_gyre[0], GYRE_READ, on_pipe, &program, &io), "gyre_io_open");

    host_loop(&program, loop);

    check(gyre_loop_close(loop), "gyre_loop_close");
    close(program.to_host[0]);
    close(program.to_host[1]);
    close(program.to_gyre[0]);
    close(program.to_gyre[1]);

    printf("%d ticks, %d bytes passed on, %d came back, %d wake-ups of the host\n", program.ticks, program.passed_on,
           program.came_back, program.wakeups);
    if (program.ticks != ROUNDS || program.passed_on != ROUNDS || program.came_back != ROUNDS) {
        fprintf(stderr, "%d of each were expected\n", ROUNDS);
        return EXIT_FAILURE;
    }
    if (program.wakeups > MAX_WAKEUPS) {
        fprintf(stderr, "the host was woken far too often\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
