/* gyre beside another library that is written in Rust: both panic machineries, allocators and runtimes in one program. */
#include <gyre.h>
#include <stddef.h>

int other_catches_a_panic(void);

static void on_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    *(int *)user_data = other_catches_a_panic();
}

int main(void)
{
    gyre_loop loop;
    int answer = 0;

    if (gyre_loop_open(NULL, &loop) != GYRE_OK)
        return 1;
    if (gyre_loop_post(loop, on_post, &answer) != GYRE_OK || gyre_loop_run(loop, GYRE_RUN_DEFAULT) != 0)
        return 1;
    return gyre_loop_close(loop) == GYRE_OK && answer == 7 ? 0 : 1;
}
