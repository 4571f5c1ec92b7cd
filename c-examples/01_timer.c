/* Timers: one-shot, re-armed, periodic, and one that closes itself.
 *
 * Shows that a loop runs for as long as something is alive, and that gyre_loop_run then returns by itself.
 *
 *   build: cc -std=c99 01_timer.c -lgyre -o 01_timer
 *   run:   ./01_timer
 */
#include <gyre.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t started;
static int once_fired, ticks, farewells;

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static void say(gyre_loop loop, const char *what)
{
    printf("%4" PRIu64 " ms  %s\n", (gyre_loop_now(loop) - started) / GYRE_MS(1), what);
}

/* A one-shot timer stays open after it has fired, and can be armed again. */
static void on_once(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)user_data;
    say(loop, "one-shot");
    if (++once_fired == 1)
        check(gyre_timer_set(timer, GYRE_MS(50), 0), "gyre_timer_set");
    else
        check(gyre_timer_close(timer), "gyre_timer_close");
}

static void on_tick(gyre_loop loop, gyre_timer timer, void *user_data)
{
    int *count = user_data;

    say(loop, "tick");
    if (++*count == 5) /* a stopped timer does not keep the loop alive */
        check(gyre_timer_stop(timer), "gyre_timer_stop");
}

static void on_farewell(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)timer;
    (void)user_data;
    farewells++;
    say(loop, "closes itself");
}

int main(void)
{
    gyre_loop loop;
    gyre_timer once, tick;

    check(gyre_loop_open(NULL, &loop), "gyre_loop_open");
    started = gyre_loop_now(loop);
    check(gyre_timer_open(loop, GYRE_MS(50), 0, on_once, NULL, &once), "gyre_timer_open");
    check(gyre_timer_open(loop, GYRE_MS(100), GYRE_MS(100), on_tick, &ticks, &tick), "gyre_timer_open");
    /* Without an out parameter nobody holds the timer: it closes itself once it has fired. */
    check(gyre_timer_open(loop, GYRE_MS(600), 0, on_farewell, NULL, NULL), "gyre_timer_open");

    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
    say(loop, "nothing is alive any more");

    check(gyre_timer_close(tick), "gyre_timer_close");
    check(gyre_loop_close(loop), "gyre_loop_close");
    return once_fired == 2 && ticks == 5 && farewells == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
