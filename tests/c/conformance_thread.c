/* conformance_thread.c: a loop belongs to one thread at a time, which may hand it over. */
#define _POSIX_C_SOURCE 200809L
#include "calls.h"

/* ---- the wrong thread ---- */

static void *make_every_call(void *argument)
{
    struct specimens *s = (struct specimens *)argument;
    int i;
    for (i = 0; i < CALLS; i++) {
        if (!(calls[i].traits & (ANY_THREAD | IN_CHILD)) && has_specimen(s, calls[i].kind))
            check_refused(&calls[i], specimen(s, calls[i].kind), GYRE_ETHREAD);
    }
    CHECK_STATUS(gyre_loop_close(s->loop), GYRE_ETHREAD);
    CHECK_STATUS(gyre_loop_after_fork(s->loop), GYRE_ETHREAD);
    CHECK_STATUS(gyre_loop_claim(s->loop), -EBUSY);
    return NULL;
}

static void every_call_of_the_owners_is_refused_to_another_thread(void)
{
    struct specimens s;
    gyre_loop found;
    specimens_open(&s);
    check_join(check_thread(make_every_call, &s));
    CHECK_EQ(gyre_loop_is_alive(s.loop), 1); /* and nothing has happened */
    CHECK(gyre_loop_user_data(s.loop) == &s);
    CHECK_EQ(stats_of(s.loop).handles, s.handles);
    CHECK_OK(gyre_io_loop(s.io, &found));
    one_turn(s.loop);
    close_loop(s.loop);
    specimens_clean_up(&s);
}

struct visit {
    gyre_loop loop;
    gyre_timer stale;
};

static void *visit_with_bad_arguments(void *argument)
{
    struct visit *visit = (struct visit *)argument;
    gyre_io io;
    CHECK_STATUS(gyre_io_open(visit->loop, -1, ~0u, NULL, NULL, NULL), GYRE_ETHREAD);
    CHECK_STATUS(gyre_io_open(visit->loop, STDERR_FILENO, GYRE_WRITE, ignore_io, NULL, &io), GYRE_ETHREAD);
    CHECK_STATUS(gyre_loop_run(visit->loop, 99), GYRE_ETHREAD);
    CHECK_STATUS(gyre_timer_set(visit->stale, 0, 0), GYRE_ETHREAD); /* a thread never reads a slot of another's loop */
    return NULL;
}

static void the_wrong_thread_is_told_before_a_stale_handle_or_a_bad_argument(void)
{
    struct visit visit;
    visit.loop = open_loop();
    CHECK_OK(gyre_timer_open(visit.loop, 0, 0, ignore_timer, NULL, &visit.stale));
    CHECK_OK(gyre_timer_close(visit.stale));
    check_join(check_thread(visit_with_bad_arguments, &visit));
    close_loop(visit.loop);
}

static void *run_busy_loop(void *argument)
{
    CHECK_STATUS(gyre_loop_run(*(gyre_loop *)argument, GYRE_RUN_DEFAULT), GYRE_ETHREAD);
    CHECK_STATUS(gyre_loop_run_for(*(gyre_loop *)argument, GYRE_SEC(1)), GYRE_ETHREAD);
    CHECK_OK(gyre_loop_stop(*(gyre_loop *)argument));
    return NULL;
}

static void a_loop_runs_on_one_thread(void)
{
    gyre_loop loop = open_loop();
    pthread_t thread;
    CHECK_OK(gyre_loop_set_keepalive(loop, 1));
    thread = check_thread(run_busy_loop, &loop);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 1);
    check_join(thread);
    close_loop(loop);
}

static void *call_from_any_thread(void *argument)
{
    gyre_loop loop = *(gyre_loop *)argument;
    CHECK(gyre_version() != 0);
    CHECK_STR(gyre_status_name(GYRE_ETHREAD), "GYRE_ETHREAD");
    CHECK_OK(gyre_loop_wake(loop));
    CHECK_OK(gyre_loop_post(loop, ignore_post, NULL));
    CHECK_OK(gyre_loop_stop(loop));
    return NULL;
}

static void post_wake_and_stop_are_for_any_thread(void)
{
    gyre_loop loop = open_loop();
    check_join(check_thread(call_from_any_thread, &loop));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(stats_of(loop).posts, 1);
    close_loop(loop);
}

/* ---- handing over ---- */

static void a_claim_by_the_owner_changes_nothing(void)
{
    gyre_loop loop = open_loop();
    CHECK_OK(gyre_loop_claim(loop));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 0);
    CHECK_OK(gyre_loop_release(loop));
    CHECK_OK(gyre_loop_claim(loop));
    CHECK_OK(gyre_loop_claim(loop));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 0);
    close_loop(loop);
}

struct handed {
    gyre_loop loop;
    gyre_io io;
    struct ear ear;
    int ends[2];
    int posts, timers;
};

static void *claim_and_run(void *argument)
{
    struct handed *handed = (struct handed *)argument;
    gyre_timer timer;
    CHECK_STATUS(gyre_loop_run(handed->loop, GYRE_RUN_NOWAIT), GYRE_ETHREAD); /* a free loop is to be claimed first */
    CHECK_OK(gyre_loop_claim(handed->loop));
    CHECK_OK(gyre_timer_open(handed->loop, 0, 0, count_timer, &handed->timers, &timer));
    put_byte(handed->ends[1]);
    RUN_UNTIL(handed->loop, handed->ear.calls == 1 && handed->posts == 1 && handed->timers == 1);
    CHECK_OK(gyre_loop_release(handed->loop));
    CHECK_STATUS(gyre_loop_run(handed->loop, GYRE_RUN_NOWAIT), GYRE_ETHREAD);
    CHECK_STATUS(gyre_loop_release(handed->loop), GYRE_ETHREAD);
    return NULL;
}

static void a_released_loop_can_be_claimed_with_all_its_watchers(void)
{
    struct handed handed;
    memset(&handed, 0, sizeof handed);
    handed.loop = open_loop();
    make_pipe(handed.ends);
    CHECK_OK(gyre_io_open(handed.loop, handed.ends[0], GYRE_READ, hear_and_read, &handed.ear, &handed.io));
    CHECK_OK(gyre_loop_release(handed.loop));
    CHECK_STATUS(gyre_io_close(handed.io), GYRE_ETHREAD);
    CHECK_STATUS(gyre_loop_close(handed.loop), GYRE_ETHREAD);
    CHECK_OK(gyre_loop_post(handed.loop, count_post, &handed.posts)); /* nobody's loop takes posts too */
    check_join(check_thread(claim_and_run, &handed));
    CHECK_OK(gyre_loop_claim(handed.loop));
    put_byte(handed.ends[1]);
    RUN_UNTIL(handed.loop, handed.ear.calls == 2);
    close_loop(handed.loop);
    close_pair(handed.ends);
}

static void *open_and_exit(void *argument)
{
    struct handed *handed = (struct handed *)argument;
    handed->loop = open_loop();
    CHECK_OK(gyre_io_open(handed->loop, handed->ends[0], GYRE_READ, hear_and_read, &handed->ear, &handed->io));
    return NULL;
}

static void the_exit_of_a_thread_releases_its_loop(void)
{
    struct handed handed;
    memset(&handed, 0, sizeof handed);
    make_pipe(handed.ends);
    check_join(check_thread(open_and_exit, &handed));
    CHECK_STATUS(gyre_loop_run(handed.loop, GYRE_RUN_NOWAIT), GYRE_ETHREAD);
    CHECK_OK(gyre_loop_post(handed.loop, count_post, &handed.posts));
    CHECK_OK(gyre_loop_claim(handed.loop));
    put_byte(handed.ends[1]);
    RUN_UNTIL(handed.loop, handed.ear.calls == 1 && handed.posts == 1);
    close_loop(handed.loop);
    close_pair(handed.ends);
}

static void *claim_busy(void *argument)
{
    CHECK_STATUS(gyre_loop_claim(*(gyre_loop *)argument), -EBUSY);
    return NULL;
}

static void a_thread_that_comes_after_an_exited_owner_is_not_taken_for_it(void)
{
    struct handed handed;
    int i;
    memset(&handed, 0, sizeof handed);
    make_pipe(handed.ends);
    for (i = 0; i < 50; i++) {
        check_join(check_thread(open_and_exit, &handed));
        CHECK_OK(gyre_loop_claim(handed.loop)); /* the next thread may be given the identity of the exited one */
        check_join(check_thread(claim_busy, &handed.loop));
        close_loop(handed.loop);
    }
    close_pair(handed.ends);
}

enum { RUNNERS = 3 };

struct baton {
    gyre_loop loop;
    int rounds;
    int done[RUNNERS];
    int posts;
};

struct runner {
    struct baton *baton;
    int number;
};

static void *take_turns(void *argument)
{
    struct runner *runner = (struct runner *)argument;
    struct baton *baton = runner->baton;
    while (baton->done[runner->number] < baton->rounds) {
        int status = gyre_loop_claim(baton->loop);
        if (status == -EBUSY)
            continue;
        CHECK_OK(status);
        CHECK_OK(gyre_loop_post(baton->loop, count_post, &baton->posts));
        CHECK_EQ(gyre_loop_run(baton->loop, GYRE_RUN_DEFAULT), 0);
        baton->done[runner->number]++;
        CHECK_OK(gyre_loop_release(baton->loop));
    }
    return NULL;
}

static void of_threads_that_claim_at_once_one_gets_the_loop(void)
{
    struct baton baton;
    struct runner runners[RUNNERS];
    pthread_t threads[RUNNERS];
    int i;
    memset(&baton, 0, sizeof baton);
    baton.loop = open_loop();
    baton.rounds = (int)CHECK_SCALED(2000);
    CHECK_OK(gyre_loop_release(baton.loop));
    for (i = 0; i < RUNNERS; i++) {
        runners[i].baton = &baton;
        runners[i].number = i;
        threads[i] = check_thread(take_turns, &runners[i]);
    }
    for (i = 0; i < RUNNERS; i++)
        check_join(threads[i]);
    CHECK_EQ(baton.posts, RUNNERS * baton.rounds); /* one at a time, or the count would not be exact */
    CHECK_OK(gyre_loop_claim(baton.loop));
    close_loop(baton.loop);
}

static void *close_own_loops(void *argument)
{
    long i, rounds = *(long *)argument;
    for (i = 0; i < rounds; i++) {
        gyre_loop loop = open_loop();
        int posts = 0;
        CHECK_OK(gyre_loop_post(loop, count_post, &posts));
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        CHECK_EQ(posts, 1);
        close_loop(loop);
    }
    return NULL;
}

static void threads_open_run_and_close_loops_of_their_own_side_by_side(void)
{
    pthread_t threads[4];
    long rounds = CHECK_SCALED(500);
    int i;
    for (i = 0; i < 4; i++)
        threads[i] = check_thread(close_own_loops, &rounds);
    for (i = 0; i < 4; i++)
        check_join(threads[i]);
}

struct late_waker {
    gyre_loop loop;
    int closed;
};

static void *wake_and_stop_until_gone(void *argument)
{
    struct late_waker *waker = (struct late_waker *)argument;
    int status;
    do {
        status = gyre_loop_wake(waker->loop);
        CHECK(status == GYRE_OK || status == GYRE_EHANDLE || status == GYRE_ECLOSING);
        status = gyre_loop_stop(waker->loop);
        CHECK(status == GYRE_OK || status == GYRE_EHANDLE || status == GYRE_ECLOSING);
    } while (!LOAD(waker->closed));
    CHECK_STATUS(gyre_loop_wake(waker->loop), GYRE_EHANDLE);
    return NULL;
}

static void a_late_wake_never_writes_into_a_descriptor_that_came_after(void)
{
    long round;
    for (round = 0; round < CHECK_SCALED(500); round++) {
        struct late_waker waker;
        pthread_t threads[2];
        int ends[4][2], i;
        char byte;
        waker.loop = open_loop();
        waker.closed = 0;
        for (i = 0; i < 2; i++)
            threads[i] = check_thread(wake_and_stop_until_gone, &waker);
        one_turn(waker.loop);
        close_loop(waker.loop);
        for (i = 0; i < 4; i++) { /* takes the numbers that the loop had */
            make_socketpair(ends[i]);
            make_nonblocking(ends[i][0]);
            make_nonblocking(ends[i][1]);
        }
        STORE(waker.closed, 1);
        for (i = 0; i < 2; i++)
            check_join(threads[i]);
        for (i = 0; i < 4; i++) {
            CHECK_EQ(read(ends[i][0], &byte, 1), -1);
            CHECK_EQ(read(ends[i][1], &byte, 1), -1);
            close_pair(ends[i]);
        }
    }
}

int main(void)
{
    check_begin();
    RUN(every_call_of_the_owners_is_refused_to_another_thread);
    RUN(the_wrong_thread_is_told_before_a_stale_handle_or_a_bad_argument);
    RUN(a_loop_runs_on_one_thread);
    RUN(post_wake_and_stop_are_for_any_thread);
    RUN(a_claim_by_the_owner_changes_nothing);
    RUN(a_released_loop_can_be_claimed_with_all_its_watchers);
    RUN(the_exit_of_a_thread_releases_its_loop);
    RUN(a_thread_that_comes_after_an_exited_owner_is_not_taken_for_it);
    RUN(of_threads_that_claim_at_once_one_gets_the_loop);
    RUN(threads_open_run_and_close_loops_of_their_own_side_by_side);
    RUN(a_late_wake_never_writes_into_a_descriptor_that_came_after);
    return 0;
}
