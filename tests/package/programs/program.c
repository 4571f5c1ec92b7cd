/* A user's first program: a timer on a loop. */
#include <gyre.h>
#include <stdio.h>

static void on_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    int *fired = user_data;
    (void)loop;
    (void)timer;
    *fired += 1;
}

int main(void)
{
    gyre_loop loop;
    gyre_timer timer;
    int fired = 0;
    int status = gyre_loop_open(NULL, &loop);

    if (status == GYRE_OK)
        status = gyre_timer_open(loop, GYRE_MS(1), 0, on_timer, &fired, &timer);
    if (status == GYRE_OK)
        status = gyre_loop_run(loop, GYRE_RUN_DEFAULT);
    if (status == GYRE_OK)
        status = gyre_loop_close(loop);
    printf("gyre %s: %d timer fired, status %d\n", gyre_version_string(), fired, status);
    return status == GYRE_OK && fired == 1 ? 0 : 1;
}
