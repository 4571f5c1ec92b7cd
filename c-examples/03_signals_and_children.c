/* Signals and child processes as ordinary events of the loop.
 *
 * Forks one child that signals its parent and exits with 7, and one that is killed. When both have ended and the
 * signal was heard, the program interrupts itself; the SIGINT watcher closes the last watchers, and the loop is done.
 *
 *   build: cc -std=c99 03_signals_and_children.c -lgyre -o 03_signals_and_children
 *   run:   ./03_signals_and_children
 */
#define _POSIX_C_SOURCE 200809L

#include <gyre.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct program {
    gyre_signal usr1, interrupt;
    int usr1_heard, interrupt_heard;
    int children_ended;
    int exited_with_7, killed_by_sigkill;
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

static void interrupt_when_done(const struct program *program)
{
    if (program->children_ended == 2 && program->usr1_heard)
        check_errno(kill(getpid(), SIGINT), "kill");
}

/* Runs in the loop, not in a signal handler: everything is allowed here. count is how many were raised, as far as
 * the system tells: equal signals that are pending at the same time merge into one. */
static void on_usr1(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    struct program *program = user_data;

    (void)loop;
    (void)signal;
    printf("signal %d, %u time(s)\n", signum, (unsigned)count);
    program->usr1_heard = 1;
    interrupt_when_done(program);
}

static void on_interrupt(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    struct program *program = user_data;

    (void)loop;
    printf("signal %d, %u time(s): closing\n", signum, (unsigned)count);
    program->interrupt_heard = 1;
    check(gyre_signal_close(program->usr1), "gyre_signal_close");
    check(gyre_signal_close(signal), "gyre_signal_close");
}

static void on_child(gyre_loop loop, gyre_child child, const gyre_child_exit *end, void *user_data)
{
    struct program *program = user_data;

    (void)loop;
    if (end->error != 0)
        printf("a child was reaped by somebody else: %s\n", gyre_status_message(end->error));
    else if (end->code >= 0)
        printf("a child exited with %d\n", end->code);
    else
        printf("a child was killed by signal %d\n", end->signal);

    if (end->error == 0 && end->code == 7)
        program->exited_with_7++;
    if (end->error == 0 && end->code == -1 && end->signal == SIGKILL)
        program->killed_by_sigkill++;
    program->children_ended++;
    check(gyre_child_close(child), "gyre_child_close");
    interrupt_when_done(program);
}

static void on_too_late(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)timer;
    (void)user_data;
    fprintf(stderr, "not done after 5 seconds\n");
    check(gyre_loop_stop(loop), "gyre_loop_stop");
}

int main(void)
{
    struct program program = {{0}, {0}, 0, 0, 0, 0, 0};
    gyre_loop loop;
    gyre_timer watchdog;
    gyre_child child;
    pid_t exiting, killed;

    check(gyre_loop_open(NULL, &loop), "gyre_loop_open");
    check(gyre_signal_open(loop, SIGUSR1, on_usr1, &program, &program.usr1), "gyre_signal_open");
    check(gyre_signal_open(loop, SIGINT, on_interrupt, &program, &program.interrupt), "gyre_signal_open");

    /* The watchdog must not be what keeps the loop running. */
    check(gyre_timer_open(loop, GYRE_SEC(5), 0, on_too_late, NULL, &watchdog), "gyre_timer_open");
    check(gyre_timer_set_keepalive(watchdog, 0), "gyre_timer_set_keepalive");

    /* A child shares nothing with the parent's loop and must not use it; _exit also leaves the parent's stdio alone. */
    check_errno(exiting = fork(), "fork");
    if (exiting == 0) {
        kill(getppid(), SIGUSR1);
        _exit(7);
    }
    check_errno(killed = fork(), "fork");
    if (killed == 0) {
        sleep(60); /* not for ever, lest it outlives a parent that fails */
        _exit(0);
    }

    /* It does no harm that a child may have ended before it is watched. */
    check(gyre_child_open(loop, exiting, on_child, &program, &child), "gyre_child_open");
    check(gyre_child_open(loop, killed, on_child, &program, &child), "gyre_child_open");
    check_errno(kill(killed, SIGKILL), "kill");

    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
    check(gyre_loop_close(loop), "gyre_loop_close"); /* closes the watchdog too */

    if (program.exited_with_7 != 1 || program.killed_by_sigkill != 1 || !program.interrupt_heard) {
        fprintf(stderr, "that is not what was expected\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
