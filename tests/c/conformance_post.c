/* conformance_post.c: callbacks posted from any thread run on the loop's thread, in order for each poster; each one
 * that was accepted runs exactly once. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

#include <sched.h>

/* ---- one thread ---- */

static void note_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    trace_note(*(const char *)user_data);
}

static void posts_run_in_order_and_keep_the_loop_alive(void)
{
    static char letters[] = "abcdefgh";
    gyre_loop loop = open_loop();
    int i;
    trace_clear();
    for (i = 0; i < 8; i++)
        CHECK_OK(gyre_loop_post(loop, note_post, &letters[i]));
    CHECK_STR(trace, ""); /* never inside the call */
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(trace, "abcdefgh");
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(stats_of(loop).posts, 8);
    close_loop(loop);
}

static void a_waiting_post_makes_every_kind_of_run_return_without_waiting(void)
{
    gyre_loop loop = open_loop();
    int posts = 0;
    CHECK_OK(gyre_loop_post(loop, count_post, &posts));
    CHECK_EQ(gyre_loop_turn(loop, GYRE_FOREVER), 0);
    CHECK_EQ(posts, 1);
    CHECK_OK(gyre_loop_post(loop, count_post, &posts));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 0);
    CHECK_EQ(posts, 2);
    CHECK_OK(gyre_loop_post(loop, count_post, &posts));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 0);
    CHECK_EQ(posts, 3);
    CHECK_OK(gyre_loop_post(loop, count_post, &posts));
    CHECK_EQ(gyre_loop_run_for(loop, GYRE_FOREVER), 0);
    CHECK_EQ(posts, 4);
    close_loop(loop);
}

struct chain {
    int calls;
    int length;
};

static void post_the_next(gyre_loop loop, void *user_data)
{
    struct chain *chain = (struct chain *)user_data;
    if (++chain->calls < chain->length)
        CHECK_OK(gyre_loop_post(loop, post_the_next, chain));
}

static void a_post_made_in_a_post_waits_for_the_next_turn(void)
{
    gyre_loop loop = open_loop();
    struct chain chain = {0, 6};
    int turn;
    CHECK_OK(gyre_loop_post(loop, post_the_next, &chain));
    for (turn = 1; turn <= 5; turn++) {
        CHECK_EQ(gyre_loop_turn(loop, GYRE_SEC(5)), 1);
        CHECK_EQ(chain.calls, turn);
    }
    CHECK_EQ(gyre_loop_turn(loop, GYRE_SEC(5)), 0);
    CHECK_EQ(chain.calls, 6);
    close_loop(loop);
}

/* ---- capacity ---- */

static gyre_loop open_with_post_capacity(uint32_t capacity)
{
    gyre_loop_options options = default_options();
    gyre_loop loop;
    options.post_capacity = capacity;
    CHECK_OK(gyre_loop_open(&options, &loop));
    return loop;
}

static void post_capacity_is_exact_and_a_full_queue_takes_nothing(void)
{
    static const uint32_t capacities[] = {1, 2, 7, 64, 1000};
    size_t c;
    for (c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
        gyre_loop loop = open_with_post_capacity(capacities[c]);
        int posts = 0, refused = 0, round;
        uint32_t i;
        for (round = 1; round <= 3; round++) {
            for (i = 0; i < capacities[c]; i++)
                CHECK_OK(gyre_loop_post(loop, count_post, &posts));
            CHECK_STATUS(gyre_loop_post(loop, count_post, &refused), GYRE_EFULL);
            CHECK_STATUS(gyre_loop_post(loop, count_post, &refused), GYRE_EFULL);
            CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
            CHECK_EQ(posts, round * (int)capacities[c]);
            CHECK_EQ(refused, 0);
        }
        close_loop(loop);
    }
}

static void a_post_may_post_itself_again_with_room_for_one(void)
{
    gyre_loop loop = open_with_post_capacity(1);
    struct chain chain = {0, 100};
    CHECK_OK(gyre_loop_post(loop, post_the_next, &chain));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(chain.calls, 100);
    close_loop(loop);
}

struct contender {
    gyre_loop loop;
    int delivered;
    int accepted;
};

static void count_delivered(gyre_loop loop, void *user_data)
{
    (void)loop;
    ((struct contender *)user_data)->delivered++;
}

static void *post_a_thousand(void *argument)
{
    struct contender *contender = (struct contender *)argument;
    int i;
    for (i = 0; i < 1000; i++) {
        int status = gyre_loop_post(contender->loop, count_delivered, contender);
        if (status == GYRE_OK)
            contender->accepted++;
        else
            CHECK_STATUS(status, GYRE_EFULL);
    }
    return NULL;
}

static void threads_that_contend_for_a_full_queue_share_its_capacity_exactly(void)
{
    gyre_loop loop = open_with_post_capacity(100);
    struct contender contenders[4];
    pthread_t threads[4];
    int i, round, accepted, delivered;
    memset(contenders, 0, sizeof contenders);
    for (round = 1; round <= 10; round++) {
        for (i = 0; i < 4; i++) {
            contenders[i].loop = loop;
            threads[i] = check_thread(post_a_thousand, &contenders[i]);
        }
        for (i = 0; i < 4; i++)
            check_join(threads[i]);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        for (accepted = delivered = 0, i = 0; i < 4; i++) {
            accepted += contenders[i].accepted;
            delivered += contenders[i].delivered;
        }
        CHECK_EQ(accepted, 100 * round);
        CHECK_EQ(delivered, 100 * round);
    }
    close_loop(loop);
}

/* ---- many threads ---- */

enum { POSTERS = 4 };

struct poster {
    gyre_loop loop;
    long count;    /* posts to make */
    long accepted; /* posts that were taken */
    long next;     /* number of the next post to be delivered */
    pthread_t owner;
};

static struct poster posters[POSTERS];

/* The user data is the poster and the number of its post, so that each post is told apart without a malloc. */
static void *post_token(const struct poster *poster, long number)
{
    return (void *)(((uintptr_t)number << 3) | (uintptr_t)(poster - posters));
}

static void check_in_order(gyre_loop loop, void *user_data)
{
    struct poster *poster = &posters[(uintptr_t)user_data & 7];
    CHECK_EQ(loop.bits, poster->loop.bits);
    CHECK_EQ((uintptr_t)user_data >> 3, poster->next);
    poster->next++;
    CHECK(pthread_equal(pthread_self(), poster->owner));
}

static void posters_reset(gyre_loop loop, long count)
{
    int i;
    memset(posters, 0, sizeof posters);
    for (i = 0; i < POSTERS; i++) {
        posters[i].loop = loop;
        posters[i].count = count;
        posters[i].owner = pthread_self();
    }
}

static void *post_all(void *argument)
{
    struct poster *poster = (struct poster *)argument;
    while (poster->accepted < poster->count) {
        CHECK_OK(gyre_loop_post(poster->loop, check_in_order, post_token(poster, poster->accepted)));
        poster->accepted++;
    }
    return NULL;
}

static void four_threads_lose_no_post_and_each_keeps_its_order(void)
{
    gyre_loop loop = open_loop();
    pthread_t threads[POSTERS];
    int i;
    posters_reset(loop, CHECK_SCALED(250000));
    for (i = 0; i < POSTERS; i++)
        threads[i] = check_thread(post_all, &posters[i]);
    for (i = 0; i < POSTERS; i++)
        RUN_UNTIL(loop, posters[i].next == posters[i].count);
    for (i = 0; i < POSTERS; i++)
        check_join(threads[i]);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(stats_of(loop).posts, POSTERS * posters[0].count);
    close_loop(loop);
}

/* ---- posts against sleep ---- */

struct relay {
    gyre_loop loop;
    int acknowledged;
    int count;
};

static void acknowledge(gyre_loop loop, void *user_data)
{
    (void)loop;
    ADD(((struct relay *)user_data)->acknowledged, 1);
}

static void stop_loop(gyre_loop loop, void *user_data)
{
    (void)user_data;
    CHECK_OK(gyre_loop_stop(loop));
}

static void *post_one_after_the_other(void *argument)
{
    struct relay *relay = (struct relay *)argument;
    int i;
    for (i = 1; i <= relay->count; i++) {
        CHECK_OK(gyre_loop_post(relay->loop, acknowledge, relay));
        while (LOAD(relay->acknowledged) < i) /* a lost wake-up ends here, in the watchdog */
            sched_yield();
    }
    CHECK_OK(gyre_loop_post(relay->loop, stop_loop, NULL));
    return NULL;
}

static void every_post_wakes_a_loop_that_is_about_to_sleep(void)
{
    gyre_loop loop = open_loop();
    struct relay relay = {loop, 0, 20000};
    pthread_t thread;
    relay.count = (int)CHECK_SCALED(20000);
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    thread = check_thread(post_one_after_the_other, &relay);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1);
    check_join(thread);
    CHECK_EQ(relay.acknowledged, relay.count);
    close_loop(loop);
}

/* ---- posts against close ---- */

static void close_delivers_what_was_accepted_in_order(void)
{
    static char letters[] = "abc";
    gyre_loop loop = open_loop();
    int i;
    trace_clear();
    for (i = 0; i < 3; i++)
        CHECK_OK(gyre_loop_post(loop, note_post, &letters[i]));
    close_loop(loop);
    CHECK_STR(trace, "abc");
    CHECK_STATUS(gyre_loop_post(loop, note_post, &letters[0]), GYRE_EHANDLE);
}

static void post_while_closing(gyre_loop loop, void *user_data)
{
    CHECK_STATUS(gyre_loop_post(loop, post_while_closing, user_data), GYRE_ECLOSING);
    ++*(int *)user_data;
}

static void a_post_delivered_by_close_cannot_post(void)
{
    gyre_loop loop = open_loop();
    int posts = 0;
    CHECK_OK(gyre_loop_post(loop, post_while_closing, &posts));
    CHECK_OK(gyre_loop_post(loop, post_while_closing, &posts));
    close_loop(loop);
    CHECK_EQ(posts, 2);
}

static void *post_until_refused(void *argument)
{
    struct poster *poster = (struct poster *)argument;
    int status;
    do {
        status = gyre_loop_post(poster->loop, check_in_order, post_token(poster, poster->accepted));
        if (status == GYRE_OK)
            STORE(poster->accepted, poster->accepted + 1);
        else if (status == GYRE_EFULL)
            sched_yield();
    } while (status == GYRE_OK || status == GYRE_EFULL);
    if (status != GYRE_ECLOSING)
        CHECK_STATUS(status, GYRE_EHANDLE);
    return NULL;
}

static long accepted_so_far(void)
{
    long accepted = 0;
    int i;
    for (i = 0; i < POSTERS; i++)
        accepted += LOAD(posters[i].accepted);
    return accepted;
}

static void every_post_accepted_while_the_loop_closes_is_delivered_once(void)
{
    pthread_t threads[POSTERS];
    long round, rounds = CHECK_SCALED(200);
    int i, turn;
    for (round = 0; round < rounds; round++) {
        gyre_loop loop = open_with_post_capacity(round % 2 ? 10000 : 10);
        posters_reset(loop, 0);
        for (i = 0; i < POSTERS; i++)
            threads[i] = check_thread(post_until_refused, &posters[i]);
        WAIT_UNTIL(accepted_so_far() >= round % 10);
        for (turn = 0; turn < round % 5; turn++)
            one_turn(loop);
        close_loop(loop);
        for (i = 0; i < POSTERS; i++) {
            check_join(threads[i]);
            CHECK_EQ(posters[i].next, posters[i].accepted);
        }
    }
}

int main(void)
{
    check_begin();
    RUN(posts_run_in_order_and_keep_the_loop_alive);
    RUN(a_waiting_post_makes_every_kind_of_run_return_without_waiting);
    RUN(a_post_made_in_a_post_waits_for_the_next_turn);
    RUN(post_capacity_is_exact_and_a_full_queue_takes_nothing);
    RUN(a_post_may_post_itself_again_with_room_for_one);
    RUN(threads_that_contend_for_a_full_queue_share_its_capacity_exactly);
    RUN(four_threads_lose_no_post_and_each_keeps_its_order);
    RUN(every_post_wakes_a_loop_that_is_about_to_sleep);
    RUN(close_delivers_what_was_accepted_in_order);
    RUN(a_post_delivered_by_close_cannot_post);
    RUN(every_post_accepted_while_the_loop_closes_is_delivered_once);
    return 0;
}
