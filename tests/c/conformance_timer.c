/* conformance_timer.c: timers fire in order, never early, and leave nothing behind, the same on every backend. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

/* ---- deadlines ---- */

struct shot {
    uint64_t armed; /* by the test's own clock, before the timer was */
    uint64_t delay;
    int calls;
};

static void check_not_early(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct shot *shot = (struct shot *)user_data;
    (void)loop;
    (void)timer;
    CHECK(check_now() - shot->armed >= shot->delay);
    shot->calls++;
}

static void a_timer_never_fires_early(void)
{
    enum { SHOTS = 200 };
    static struct shot shots[SHOTS];
    gyre_loop loop = open_loop();
    gyre_timer timers[SHOTS];
    int i;
    for (i = 0; i < SHOTS; i++) {
        shots[i].delay = (uint64_t)i * 97003; /* up to 20 ms, most of them no whole milliseconds */
        shots[i].armed = check_now();
        CHECK_OK(gyre_timer_open(loop, shots[i].delay, 0, check_not_early, &shots[i], &timers[i]));
    }
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    for (i = 0; i < SHOTS; i++) {
        CHECK_EQ(shots[i].calls, 1);
        CHECK_OK(gyre_timer_close(timers[i]));
    }
    close_loop(loop);
}

static void delay_counts_from_a_fresh_clock(gyre_loop loop, void *user_data)
{
    struct shot *shot = (struct shot *)user_data;
    gyre_timer timer;
    check_block(GYRE_MS(20)); /* the loop's cached time is now 20 ms old */
    shot->delay = GYRE_MS(10);
    shot->armed = check_now();
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, check_not_early, shot, &timer));
    CHECK_OK(gyre_timer_set(timer, shot->delay, 0));
}

static void timer_set_counts_from_a_fresh_clock_read(void)
{
    gyre_loop loop = open_loop();
    struct shot shot;
    memset(&shot, 0, sizeof shot);
    CHECK_OK(gyre_loop_post(loop, delay_counts_from_a_fresh_clock, &shot));
    RUN_UNTIL(loop, shot.calls == 1);
    close_loop(loop);
}

static void timer_set_at_takes_a_deadline_on_the_loops_clock(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    uint64_t deadline;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, count_timer, &calls, &timer));
    CHECK_OK(gyre_loop_update_now(loop));
    deadline = gyre_loop_now(loop) + GYRE_MS(20);
    CHECK_OK(gyre_timer_set_at(timer, deadline, 0));
    RUN_UNTIL(loop, calls == 1);
    CHECK(gyre_loop_now(loop) >= deadline);
    CHECK_OK(gyre_timer_set_at(timer, deadline, 0)); /* past: due at once */
    one_turn(loop);
    CHECK_EQ(calls, 2);
    CHECK_OK(gyre_timer_set_at(timer, 0, 0));
    one_turn(loop);
    CHECK_EQ(calls, 3);
    CHECK_OK(gyre_timer_set_at(timer, GYRE_FOREVER, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
}

static void a_timer_below_a_millisecond_is_met_below_a_millisecond(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    uint64_t armed, took, best = GYRE_FOREVER;
    int calls = 0, i;
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, count_timer, &calls, &timer));
    for (i = 0; i < 100; i++) { /* the best of many: a busy machine may be late */
        armed = check_now();
        CHECK_OK(gyre_timer_set(timer, 200000, 0));
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        took = check_now() - armed;
        CHECK(took >= 200000);
        best = took < best ? took : best;
    }
    CHECK_EQ(calls, 100);
    if (!check_small())
        CHECK(best < 900000);
    close_loop(loop);
}

/* ---- order ---- */

struct ordered {
    uint64_t deadline;
    long armed; /* position in the order of arming */
    gyre_timer timer;
};

static const struct ordered *last_fired;
static long fired;

static void check_after_the_last(gyre_loop loop, gyre_timer timer, void *user_data)
{
    const struct ordered *now = (const struct ordered *)user_data;
    CHECK_EQ(timer.bits, now->timer.bits);
    CHECK(gyre_loop_now(loop) >= now->deadline);
    if (last_fired != NULL)
        CHECK(last_fired->deadline < now->deadline ||
              (last_fired->deadline == now->deadline && last_fired->armed < now->armed));
    last_fired = now;
    fired++;
}

static void many_timers_fire_by_deadline_then_by_arming(void)
{
    long count = CHECK_SCALED(100000), i;
    struct ordered *timers = (struct ordered *)calloc((size_t)count, sizeof *timers);
    gyre_loop loop = open_loop();
    uint64_t now, seed = 1;
    CHECK(timers != NULL);
    last_fired = NULL;
    fired = 0;
    now = gyre_loop_now(loop);
    for (i = 0; i < count; i++)
        CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, check_after_the_last, &timers[i], &timers[i].timer));
    for (i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        timers[i].deadline = now + (seed >> 33) % 1000 * 100000; /* within 100 ms; a hundred share each deadline */
        timers[i].armed = i;
        CHECK_OK(gyre_timer_set_at(timers[i].timer, timers[i].deadline, 0));
    }
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(fired, count);
    for (i = 0; i < count; i++)
        CHECK_OK(gyre_timer_close(timers[i].timer));
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    free(timers);
}

static void note_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    trace_note(*(const char *)user_data);
}

static void arming_again_moves_a_timer_behind_those_of_the_same_deadline(void)
{
    static const char a = 'a', b = 'b', c = 'c';
    gyre_loop loop = open_loop();
    gyre_timer timer_a, timer_b, timer_c;
    uint64_t deadline;
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, note_timer, (void *)&a, &timer_a));
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, note_timer, (void *)&b, &timer_b));
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, note_timer, (void *)&c, &timer_c));
    deadline = gyre_loop_now(loop) + GYRE_MS(1);
    CHECK_OK(gyre_timer_set_at(timer_a, deadline, 0));
    CHECK_OK(gyre_timer_set_at(timer_b, deadline, 0));
    CHECK_OK(gyre_timer_set_at(timer_c, deadline - 1, 0));
    CHECK_OK(gyre_timer_set_at(timer_a, deadline, 0));
    trace_clear();
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(trace, "cba");
    close_loop(loop);
}

/* ---- zero delays ---- */

static void arm_zero_again(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    ++*(int *)user_data;
    CHECK_OK(gyre_timer_set(timer, 0, 0));
}

static void a_zero_timer_armed_again_in_its_callback_waits_for_the_next_turn(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0, turn;
    CHECK_OK(gyre_timer_open(loop, 0, 0, arm_zero_again, &calls, &timer));
    CHECK_EQ(calls, 0); /* no callback runs inside open or set */
    for (turn = 1; turn <= 5; turn++) {
        CHECK_EQ(gyre_loop_turn(loop, GYRE_SEC(5)), 1);
        CHECK_EQ(calls, turn);
    }
    close_loop(loop);
}

static void open_zero_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    gyre_timer opened;
    (void)timer;
    CHECK_OK(gyre_timer_open(loop, 0, 0, count_timer, user_data, &opened));
}

static void a_zero_timer_opened_in_a_callback_waits_for_the_next_turn(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, 0, open_zero_timer, &calls, &timer));
    one_turn(loop);
    CHECK_EQ(calls, 0);
    one_turn(loop);
    CHECK_EQ(calls, 1);
    close_loop(loop);
}

/* ---- never ---- */

static void a_huge_delay_is_never(void)
{
    static const uint64_t huge[] = {GYRE_FOREVER, GYRE_FOREVER - 1, UINT64_MAX / 2 + 1, INT64_MAX, INT64_MAX - 1};
    gyre_loop loop = open_loop();
    gyre_timer timers[sizeof huge / sizeof huge[0]];
    uint64_t remaining, turns;
    int calls = 0;
    size_t i;
    for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        CHECK_OK(gyre_timer_open(loop, huge[i], 0, count_timer, &calls, &timers[i]));
        CHECK_OK(gyre_timer_remaining(timers[i], &remaining));
        CHECK(remaining > GYRE_SEC(1000000));
        CHECK_OK(gyre_timer_set(timers[i], huge[i], huge[i]));
        CHECK_OK(gyre_timer_set_at(timers[i], huge[i], huge[i]));
    }
    turns = stats_of(loop).turns;
    let_pass(loop, GYRE_MS(30));
    CHECK_EQ(calls, 0);
    CHECK(stats_of(loop).turns - turns < 10); /* the wait takes them too */
    CHECK_OK(gyre_timer_remaining(timers[0], &remaining));
    CHECK_EQ(remaining, GYRE_FOREVER);
    close_loop(loop);
}

static void a_timer_set_to_forever_is_stopped(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, GYRE_MS(1), count_timer, &calls, &timer));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_OK(gyre_timer_set(timer, 0, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 1);
    close_loop(loop);
}

static void a_huge_period_fires_once(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, GYRE_FOREVER, count_timer, &calls, &timer));
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(calls, 1);
    CHECK_OK(gyre_timer_close(timer));
    close_loop(loop);
}

/* ---- periods ---- */

struct grid {
    uint64_t start, period;
    uint64_t last_slot;
    int calls;
    int block_at;   /* the call that holds the loop up */
    uint64_t jump;  /* slots between that call and the next */
    uint64_t phase; /* how far off the grid the next deadline is; the least of all calls after that one */
};

static void check_on_grid(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct grid *grid = (struct grid *)user_data;
    uint64_t now = gyre_loop_now(loop);
    uint64_t slot, remaining, phase;
    CHECK(now >= grid->start);
    slot = (now - grid->start) / grid->period + 1;
    CHECK(slot > grid->last_slot); /* one call for each point of the grid, and none before it */
    if (grid->calls == grid->block_at + 1)
        grid->jump = slot - grid->last_slot;
    grid->last_slot = slot;
    if (grid->calls > grid->block_at) {
        CHECK_OK(gyre_timer_remaining(timer, &remaining));
        CHECK_OK(gyre_loop_update_now(loop));
        phase = (gyre_loop_now(loop) + remaining - grid->start) % grid->period;
        grid->phase = phase < grid->phase ? phase : grid->phase;
    }
    if (grid->calls++ == grid->block_at)
        check_block(grid->period * 7 / 2);
}

static void a_periodic_timer_keeps_its_grid_and_fires_once_for_all_missed_ticks(void)
{
    gyre_loop loop = open_loop();
    struct grid grid;
    gyre_timer timer;
    memset(&grid, 0, sizeof grid);
    CHECK_OK(gyre_timer_open(loop, GYRE_FOREVER, 0, check_on_grid, &grid, &timer));
    CHECK_OK(gyre_loop_update_now(loop));
    grid.period = GYRE_MS(5);
    grid.start = gyre_loop_now(loop) + GYRE_MS(3);
    grid.block_at = 4;
    grid.phase = grid.period;
    CHECK_OK(gyre_timer_set_at(timer, grid.start, grid.period));
    RUN_UNTIL(loop, grid.calls >= 20);
    CHECK(grid.jump >= 3);
    CHECK(grid.phase < 200000); /* ns: what passes between two readings of the clock */
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    close_loop(loop);
}

static void a_first_delay_may_differ_from_the_period(void)
{
    gyre_loop loop = open_loop();
    struct shot shot;
    gyre_timer timer;
    memset(&shot, 0, sizeof shot);
    shot.delay = GYRE_MS(20);
    shot.armed = check_now();
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(20), 1, check_not_early, &shot, &timer));
    RUN_UNTIL(loop, shot.calls >= 3);
    close_loop(loop);
}

static void the_shortest_period_fires_once_a_turn(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, 1, count_timer, &calls, &timer));
    one_turn(loop);
    CHECK_EQ(calls, 1);
    one_turn(loop);
    CHECK_EQ(calls, 2);
    close_loop(loop);
}

static void stop_at_three(gyre_loop loop, gyre_timer timer, void *user_data)
{
    count_timer(loop, timer, user_data);
    if (*(int *)user_data == 3)
        CHECK_OK(gyre_timer_stop(timer));
}

static void a_periodic_timer_may_stop_itself(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, GYRE_MS(1), stop_at_three, &calls, &timer));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 3);
    CHECK_OK(gyre_timer_close(timer));
    close_loop(loop);
}

static void slow_down(gyre_loop loop, gyre_timer timer, void *user_data)
{
    count_timer(loop, timer, user_data);
    CHECK_OK(gyre_timer_set(timer, GYRE_FOREVER, 0));
}

static void a_setting_made_in_the_callback_replaces_the_period(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, GYRE_MS(1), slow_down, &calls, &timer));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 1);
    close_loop(loop);
}

/* ---- stop, remaining, close ---- */

static void a_stopped_timer_does_not_fire_until_it_is_set(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    uint64_t remaining = 0;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, count_timer, &calls, &timer));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_timer_stop(timer));
    CHECK_OK(gyre_timer_stop(timer));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_OK(gyre_timer_remaining(timer, &remaining));
    CHECK_EQ(remaining, GYRE_FOREVER);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(calls, 0);
    CHECK_OK(gyre_timer_set(timer, GYRE_MS(1), 0));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 1);
    CHECK_OK(gyre_timer_remaining(timer, &remaining));
    CHECK_EQ(remaining, GYRE_FOREVER); /* fired, and so stopped */
    close_loop(loop);
}

static void remaining_tells_the_time_to_the_deadline(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    uint64_t remaining;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, GYRE_SEC(100), GYRE_SEC(1), count_timer, &calls, &timer));
    CHECK_OK(gyre_timer_remaining(timer, &remaining));
    CHECK(remaining <= GYRE_SEC(100) && remaining > GYRE_SEC(50));
    CHECK_OK(gyre_timer_set(timer, GYRE_SEC(10), 0));
    CHECK_OK(gyre_timer_remaining(timer, &remaining));
    CHECK(remaining <= GYRE_SEC(10) && remaining > GYRE_SEC(1));
    CHECK_OK(gyre_timer_set(timer, 0, 0));
    CHECK_OK(gyre_loop_update_now(loop));
    CHECK_OK(gyre_timer_remaining(timer, &remaining));
    CHECK_EQ(remaining, 0);
    close_loop(loop);
}

struct timer_pair {
    gyre_timer timers[2];
    int calls;
    int (*silence)(gyre_timer timer);
};

static void silence_the_other(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct timer_pair *pair = (struct timer_pair *)user_data;
    (void)loop;
    pair->calls++;
    CHECK_OK(pair->silence(pair->timers[timer.bits == pair->timers[0].bits]));
}

static int put_off(gyre_timer timer)
{
    return gyre_timer_set(timer, GYRE_SEC(100), 0);
}

static void a_due_timer_that_is_closed_stopped_or_put_off_in_the_batch_does_not_fire(void)
{
    static int (*const silences[])(gyre_timer) = {gyre_timer_close, gyre_timer_stop, put_off};
    gyre_loop loop = open_loop();
    struct timer_pair pair;
    size_t i;
    for (i = 0; i < sizeof silences / sizeof silences[0]; i++) {
        pair.calls = 0;
        pair.silence = silences[i];
        CHECK_OK(gyre_timer_open(loop, 0, 0, silence_the_other, &pair, &pair.timers[0]));
        CHECK_OK(gyre_timer_open(loop, 0, 0, silence_the_other, &pair, &pair.timers[1]));
        one_turn(loop);
        one_turn(loop);
        CHECK_EQ(pair.calls, 1);
        CHECK_OK(gyre_timer_close(pair.timers[0]));
        CHECK_STATUS(gyre_timer_close(pair.timers[1]), i == 0 ? GYRE_EHANDLE : GYRE_OK);
    }
    close_loop(loop);
}

static void close_own_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    count_timer(loop, timer, user_data);
    CHECK_OK(gyre_timer_close(timer));
    CHECK_STATUS(gyre_timer_set(timer, 0, 0), GYRE_EHANDLE);
}

static void a_timer_may_close_itself(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, GYRE_MS(1), close_own_timer, &calls, &timer));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 1);
    CHECK_STATUS(gyre_timer_close(timer), GYRE_EHANDLE);
    close_loop(loop);
}

/* ---- timers without a handle ---- */

struct nameless {
    gyre_timer seen;
    int calls;
    int rearm_until;
};

static void hear_nameless(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct nameless *nameless = (struct nameless *)user_data;
    gyre_loop found;
    CHECK_OK(gyre_timer_loop(timer, &found)); /* in the callback the handle serves */
    CHECK_EQ(found.bits, loop.bits);
    CHECK(gyre_timer_user_data(timer) == user_data);
    nameless->seen = timer;
    if (++nameless->calls < nameless->rearm_until)
        CHECK_OK(gyre_timer_set(timer, GYRE_MS(1), 0));
}

static void a_timer_without_out_closes_itself_after_it_fired(void)
{
    gyre_loop loop = open_loop();
    struct nameless nameless;
    memset(&nameless, 0, sizeof nameless);
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, hear_nameless, &nameless, NULL));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_EQ(stats_of(loop).handles, 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(nameless.calls, 1);
    CHECK_STATUS(gyre_timer_close(nameless.seen), GYRE_EHANDLE);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void a_timer_without_out_lives_on_when_its_callback_arms_it(void)
{
    gyre_loop loop = open_loop();
    struct nameless nameless;
    memset(&nameless, 0, sizeof nameless);
    nameless.rearm_until = 3;
    CHECK_OK(gyre_timer_open(loop, 0, 0, hear_nameless, &nameless, NULL));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(nameless.calls, 3);
    CHECK_STATUS(gyre_timer_close(nameless.seen), GYRE_EHANDLE);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void a_timer_without_out_may_close_itself(void)
{
    gyre_loop loop = open_loop();
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, 0, 0, close_own_timer, &calls, NULL));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 1);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void a_timer_without_out_cannot_be_periodic(void)
{
    gyre_loop loop = open_loop();
    int calls = 0;
    CHECK_STATUS(gyre_timer_open(loop, 0, GYRE_MS(1), count_timer, &calls, NULL), -EINVAL);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
}

/* ---- what a handle carries ---- */

static void a_timer_with_keepalive_off_fires_but_does_not_hold_the_loop(void)
{
    gyre_loop loop = open_loop();
    gyre_timer timer;
    int calls = 0;
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, count_timer, &calls, &timer));
    CHECK_OK(gyre_timer_set_keepalive(timer, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 0);
    RUN_UNTIL(loop, calls == 1);
    CHECK_OK(gyre_timer_set(timer, GYRE_MS(1), 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_OK(gyre_timer_set_keepalive(timer, 1));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(calls, 2);
    close_loop(loop);
}

static void a_timer_knows_its_loop_and_user_data(void)
{
    gyre_loop loop = open_loop();
    gyre_loop found;
    gyre_timer timer;
    int calls = 0, other = 0;
    CHECK_OK(gyre_timer_open(loop, 0, 0, count_timer, &calls, &timer));
    CHECK_OK(gyre_timer_loop(timer, &found));
    CHECK_EQ(found.bits, loop.bits);
    CHECK(gyre_timer_user_data(timer) == &calls);
    CHECK_OK(gyre_timer_set_user_data(timer, &other));
    CHECK(gyre_timer_user_data(timer) == &other);
    one_turn(loop);
    CHECK_EQ(calls, 0);
    CHECK_EQ(other, 1);
    close_loop(loop);
}

int main(void)
{
    check_begin();
    RUN(a_timer_never_fires_early);
    RUN(timer_set_counts_from_a_fresh_clock_read);
    RUN(timer_set_at_takes_a_deadline_on_the_loops_clock);
    RUN(a_timer_below_a_millisecond_is_met_below_a_millisecond);
    RUN(many_timers_fire_by_deadline_then_by_arming);
    RUN(arming_again_moves_a_timer_behind_those_of_the_same_deadline);
    RUN(a_zero_timer_armed_again_in_its_callback_waits_for_the_next_turn);
    RUN(a_zero_timer_opened_in_a_callback_waits_for_the_next_turn);
    RUN(a_huge_delay_is_never);
    RUN(a_timer_set_to_forever_is_stopped);
    RUN(a_huge_period_fires_once);
    RUN(a_periodic_timer_keeps_its_grid_and_fires_once_for_all_missed_ticks);
    RUN(a_first_delay_may_differ_from_the_period);
    RUN(the_shortest_period_fires_once_a_turn);
    RUN(a_periodic_timer_may_stop_itself);
    RUN(a_setting_made_in_the_callback_replaces_the_period);
    RUN(a_stopped_timer_does_not_fire_until_it_is_set);
    RUN(remaining_tells_the_time_to_the_deadline);
    RUN(a_due_timer_that_is_closed_stopped_or_put_off_in_the_batch_does_not_fire);
    RUN(a_timer_may_close_itself);
    RUN(a_timer_without_out_closes_itself_after_it_fired);
    RUN(a_timer_without_out_lives_on_when_its_callback_arms_it);
    RUN(a_timer_without_out_may_close_itself);
    RUN(a_timer_without_out_cannot_be_periodic);
    RUN(a_timer_with_keepalive_off_fires_but_does_not_hold_the_loop);
    RUN(a_timer_knows_its_loop_and_user_data);
    return 0;
}
