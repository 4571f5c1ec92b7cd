/* conformance_signal.c: signals as events of a loop, beside the handlers that the host has of its own. */
#define _XOPEN_SOURCE 700 /* POSIX with SA_ONSTACK */
#include "fixtures.h"

struct signal_ear {
    int calls;
    int signum;
    uint64_t count; /* sum of the counts */
};

static void hear_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    struct signal_ear *ear = (struct signal_ear *)user_data;
    (void)loop;
    (void)signal;
    CHECK(count >= 1);
    ear->calls++;
    ear->signum = signum;
    ear->count += count;
}

static gyre_signal listen_for(gyre_loop loop, int signum, struct signal_ear *ear)
{
    gyre_signal signal;
    memset(ear, 0, sizeof *ear);
    CHECK_OK(gyre_signal_open(loop, signum, hear_signal, ear, &signal));
    return signal;
}

static volatile sig_atomic_t plain_calls, info_calls, info_value, info_code;

static void plain_handler(int signum)
{
    (void)signum;
    plain_calls++;
}

static void other_handler(int signum)
{
    (void)signum;
}

static void info_handler(int signum, siginfo_t *info, void *context)
{
    (void)signum;
    info_calls++;
    info_code = info->si_code;
    info_value = info->si_value.sival_int;
    if (context == NULL)
        info_code = -1;
}

static struct sigaction disposition(void (*handler)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    CHECK_SYS(sigemptyset(&action.sa_mask));
    return action;
}

static void install(int signum, const struct sigaction *action)
{
    CHECK_SYS(sigaction(signum, action, NULL));
}

static void check_disposition(int signum, const struct sigaction *want)
{
    static const int flags = SA_NOCLDSTOP | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND;
    struct sigaction got;
    int member;
    CHECK_SYS(sigaction(signum, NULL, &got));
    CHECK_EQ(got.sa_flags & flags, want->sa_flags); /* the C library adds one of its own */
    if (want->sa_flags & SA_SIGINFO)
        CHECK(got.sa_sigaction == want->sa_sigaction);
    else
        CHECK(got.sa_handler == want->sa_handler);
    for (member = 1; member <= SIGRTMAX; member++)
        CHECK_EQ(sigismember(&got.sa_mask, member), sigismember(&want->sa_mask, member));
}

/* ---- delivery ---- */

static void a_raised_signal_is_told_with_its_count(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear ear;
    listen_for(loop, SIGUSR1, &ear);
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    let_pass(loop, GYRE_MS(5));
    CHECK_EQ(ear.calls, 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(ear.calls, 0); /* told in the loop's turn, never in the handler */
    RUN_UNTIL(loop, ear.calls == 1);
    CHECK_EQ(ear.signum, SIGUSR1);
    CHECK_EQ(ear.count, 1);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(loop, ear.count == 4);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.count, 4);
    close_loop(loop);
}

static void *raise_soon(void *argument)
{
    check_block(GYRE_MS(5)); /* so that the loop is likely to sleep already; it does not matter if it does not */
    CHECK_SYS(kill(getpid(), *(int *)argument));
    return NULL;
}

static void a_signal_wakes_a_sleeping_loop(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear ear;
    int signum = SIGUSR2;
    pthread_t thread;
    listen_for(loop, signum, &ear);
    thread = check_thread(raise_soon, &signum);
    while (ear.calls == 0)
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1);
    CHECK_EQ(ear.signum, SIGUSR2);
    check_join(thread);
    close_loop(loop);
}

static void each_signal_goes_to_its_own_watchers(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear usr1, usr2, first, last;
    int highest = check_small() ? SIGRTMAX - 1 : SIGRTMAX; /* valgrind keeps SIGRTMAX for itself */
    listen_for(loop, SIGUSR1, &usr1);
    listen_for(loop, SIGUSR2, &usr2);
    listen_for(loop, SIGRTMIN, &first);
    listen_for(loop, highest, &last);
    CHECK_EQ(raise(SIGUSR2), 0);
    CHECK_EQ(raise(SIGRTMIN), 0);
    CHECK_EQ(raise(highest), 0);
    RUN_UNTIL(loop, usr2.calls == 1 && first.calls == 1 && last.calls == 1);
    CHECK_EQ(usr1.calls, 0);
    CHECK_EQ(first.signum, SIGRTMIN);
    CHECK_EQ(last.signum, highest);
    close_loop(loop);
}

static void two_watchers_of_a_loop_and_two_loops_all_hear_a_signal(void)
{
    gyre_loop loops[2] = {open_loop(), open_loop()};
    struct signal_ear ears[4];
    gyre_signal signals[4];
    int i;
    for (i = 0; i < 4; i++)
        signals[i] = listen_for(loops[i / 2], SIGUSR1, &ears[i]);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(loops[0], ears[0].count == 2 && ears[1].count == 2);
    CHECK_EQ(ears[2].calls + ears[3].calls, 0);
    RUN_UNTIL(loops[1], ears[2].count == 2 && ears[3].count == 2);
    CHECK_OK(gyre_signal_close(signals[0]));
    close_loop(loops[1]);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(loops[0], ears[1].count == 3);
    CHECK_EQ(ears[0].count, 2);
    CHECK_EQ(ears[2].count, 2);
    close_loop(loops[0]);
}

struct sleeper {
    int ready;
    int heard;
};

static void *sleep_until_signalled(void *argument)
{
    struct sleeper *sleeper = (struct sleeper *)argument;
    gyre_loop loop = open_loop();
    struct signal_ear ear;
    listen_for(loop, SIGUSR1, &ear);
    STORE(sleeper->ready, 1);
    while (ear.calls == 0)
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1);
    STORE(sleeper->heard, 1);
    close_loop(loop);
    return NULL;
}

static void a_signal_wakes_the_loops_of_all_threads(void)
{
    enum { SLEEPERS = 4 };
    struct sleeper sleepers[SLEEPERS];
    pthread_t threads[SLEEPERS];
    int i;
    memset(sleepers, 0, sizeof sleepers);
    for (i = 0; i < SLEEPERS; i++) {
        threads[i] = check_thread(sleep_until_signalled, &sleepers[i]);
        WAIT_UNTIL(LOAD(sleepers[i].ready));
    }
    CHECK_SYS(kill(getpid(), SIGUSR1)); /* whichever thread the kernel gives it to */
    for (i = 0; i < SLEEPERS; i++) {
        WAIT_UNTIL(LOAD(sleepers[i].heard));
        check_join(threads[i]);
    }
}

struct storm {
    long raises;
    struct signal_ear ear;
};

static void raise_many(gyre_loop loop, void *user_data)
{
    struct storm *storm = (struct storm *)user_data;
    long i;
    (void)loop;
    for (i = 0; i < storm->raises; i++)
        CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(storm->ear.calls, 0);
}

static void signals_raised_while_the_loop_is_held_up_are_counted(void)
{
    gyre_loop loop = open_loop();
    struct storm storm;
    storm.raises = CHECK_SCALED(100000);
    listen_for(loop, SIGUSR1, &storm.ear);
    CHECK_OK(gyre_loop_post(loop, raise_many, &storm));
    RUN_UNTIL(loop, storm.ear.calls > 0);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(storm.ear.count, storm.raises); /* raise() returns after its handler, so the kernel merged none */
    close_loop(loop);
}

static int raising_the_last;

static void hear_the_last(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    int *heard_after_the_last = (int *)user_data;
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    if (LOAD(raising_the_last))
        *heard_after_the_last = 1;
}

static void *kill_many(void *argument)
{
    long i, raises = *(long *)argument;
    for (i = 1; i < raises; i++)
        CHECK_SYS(kill(getpid(), SIGUSR1));
    STORE(raising_the_last, 1);
    CHECK_SYS(kill(getpid(), SIGUSR1));
    return NULL;
}

static void of_signals_that_race_the_loop_the_last_is_never_lost(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction harmless = disposition(other_handler, 0); /* for a signal that arrives after the close */
    gyre_signal signal;
    long round, raises;
    install(SIGUSR1, &harmless);
    for (round = 0; round < CHECK_SCALED(500); round++) {
        int heard_after_the_last = 0;
        pthread_t thread;
        raises = 1 + round % 50;
        STORE(raising_the_last, 0);
        CHECK_OK(gyre_signal_open(loop, SIGUSR1, hear_the_last, &heard_after_the_last, &signal));
        thread = check_thread(kill_many, &raises);
        while (!heard_after_the_last) /* a lost one ends here, in the watchdog */
            CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1);
        check_join(thread);
        CHECK_OK(gyre_signal_close(signal));
    }
    install(SIGUSR1, &usual);
    close_loop(loop);
}

static void a_handler_keeps_errno(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear ear;
    int i;
    listen_for(loop, SIGUSR1, &ear);
    for (i = 0; i < 100; i++) {
        errno = EXDEV;
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_EQ(errno, EXDEV);
    }
    close_loop(loop);
}

static void opening_a_watcher_leaves_the_signal_mask_alone(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear ear;
    sigset_t before, after;
    int signum;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    listen_for(loop, SIGUSR1, &ear);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (signum = 1; signum <= SIGRTMAX; signum++)
        CHECK_EQ(sigismember(&before, signum), sigismember(&after, signum));
    close_loop(loop);
}

/* ---- close ---- */

struct signal_pair {
    gyre_signal signals[2];
    int calls;
};

static void close_both(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    struct signal_pair *pair = (struct signal_pair *)user_data;
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    pair->calls++;
    CHECK_OK(gyre_signal_close(pair->signals[0]));
    CHECK_OK(gyre_signal_close(pair->signals[1]));
}

static void a_watcher_closed_in_the_batch_is_never_called(void)
{
    gyre_loop loop = open_loop();
    struct signal_pair pair;
    memset(&pair, 0, sizeof pair);
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, close_both, &pair, &pair.signals[0]));
    CHECK_OK(gyre_signal_open(loop, SIGUSR1, close_both, &pair, &pair.signals[1]));
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(pair.calls, 1);
    CHECK_STATUS(gyre_signal_close(pair.signals[0]), GYRE_EHANDLE);
    close_loop(loop);
}

static void a_signal_from_before_a_watcher_was_opened_is_not_told_to_it(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear old_ear, new_ear;
    gyre_signal signal = listen_for(loop, SIGUSR1, &old_ear);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_OK(gyre_signal_close(signal));
    listen_for(loop, SIGUSR1, &new_ear);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(old_ear.calls, 0);
    CHECK_EQ(new_ear.calls, 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(loop, new_ear.count == 1);
    close_loop(loop);
}

/* ---- the host's own handlers ---- */

static void an_earlier_handler_still_runs_and_comes_back(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction plain = disposition(plain_handler, SA_RESTART);
    struct signal_ear ear;
    gyre_signal signal;
    CHECK_SYS(sigaddset(&plain.sa_mask, SIGUSR2));
    install(SIGUSR1, &plain);
    plain_calls = 0;
    signal = listen_for(loop, SIGUSR1, &ear);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(plain_calls, 1);
    RUN_UNTIL(loop, ear.calls == 1);
    CHECK_OK(gyre_signal_close(signal));
    check_disposition(SIGUSR1, &plain);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(plain_calls, 2);
    CHECK_EQ(ear.calls, 1);
    install(SIGUSR1, &usual);
    close_loop(loop);
}

static void an_earlier_handler_with_siginfo_gets_it_all(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction info = disposition(SIG_DFL, SA_SIGINFO | SA_NODEFER);
    struct signal_ear ear;
    gyre_signal signal;
    union sigval value;
    info.sa_sigaction = info_handler;
    install(SIGUSR1, &info);
    info_calls = 0;
    signal = listen_for(loop, SIGUSR1, &ear);
    value.sival_int = 4711;
    CHECK_SYS(sigqueue(getpid(), SIGUSR1, value));
    RUN_UNTIL(loop, ear.calls == 1);
    CHECK_EQ(info_calls, 1);
    CHECK_EQ(info_code, SI_QUEUE);
    CHECK_EQ(info_value, 4711);
    CHECK_OK(gyre_signal_close(signal));
    check_disposition(SIGUSR1, &info);
    install(SIGUSR1, &usual);
    close_loop(loop);
}

static volatile sig_atomic_t usr2_was_blocked;

static void note_mask(int signum)
{
    sigset_t mask;
    (void)signum;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    usr2_was_blocked = sigismember(&mask, SIGUSR2);
}

static void an_earlier_handler_still_runs_under_its_own_mask(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction masking = disposition(note_mask, 0);
    struct signal_ear ear;
    CHECK_SYS(sigaddset(&masking.sa_mask, SIGUSR2)); /* a handler that SIGUSR2 must not interrupt */
    install(SIGUSR1, &masking);
    listen_for(loop, SIGUSR1, &ear);
    usr2_was_blocked = 0;
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(usr2_was_blocked, 1);
    close_loop(loop);
    install(SIGUSR1, &usual);
}

static struct sigaction replaced;
static int chained_calls;

static void chaining_handler(int signum, siginfo_t *info, void *context)
{
    ADD(chained_calls, 1);
    if (replaced.sa_flags & SA_SIGINFO)
        replaced.sa_sigaction(signum, info, context);
    else if (replaced.sa_handler != SIG_DFL && replaced.sa_handler != SIG_IGN)
        replaced.sa_handler(signum);
}

static void *raise_in_thread(void *argument)
{
    long i, raises = *(long *)argument;
    for (i = 0; i < raises; i++)
        CHECK_EQ(raise(SIGUSR1), 0);
    return NULL;
}

/* The host puts its handler over gyre's and calls it from there; the next watcher puts gyre's over the host's again. */
static void handlers_that_call_each_other_make_no_circle(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction chaining = disposition(SIG_DFL, SA_SIGINFO);
    struct signal_ear ear;
    gyre_signal signal = listen_for(loop, SIGUSR1, &ear);
    pthread_t threads[3];
    long raises = CHECK_SCALED(20000);
    int i;
    chaining.sa_sigaction = chaining_handler;
    chained_calls = 0;
    CHECK_SYS(sigaction(SIGUSR1, &chaining, &replaced));
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(chained_calls, 1);
    RUN_UNTIL(loop, ear.count == 1); /* the host's handler calls gyre's */
    CHECK_OK(gyre_signal_close(signal));
    check_disposition(SIGUSR1, &chaining);
    listen_for(loop, SIGUSR1, &ear);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(chained_calls, 2);
    RUN_UNTIL(loop, ear.count == 1);
    for (i = 0; i < 3; i++) /* several threads inside at once */
        threads[i] = check_thread(raise_in_thread, &raises);
    for (i = 0; i < 3; i++)
        check_join(threads[i]);
    CHECK_EQ(chained_calls, 2 + 3 * raises);
    RUN_UNTIL(loop, ear.count == (uint64_t)(1 + 3 * raises));
    close_loop(loop);
    install(SIGUSR1, &usual);
}

static void the_disposition_comes_back_with_the_last_close_and_not_before(void)
{
    static void (*const handlers[])(int) = {SIG_DFL, SIG_IGN, plain_handler};
    struct sigaction usual = disposition(SIG_DFL, 0);
    size_t i;
    for (i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        gyre_loop loops[2] = {open_loop(), open_loop()};
        struct sigaction before = disposition(handlers[i], 0);
        struct signal_ear ears[3];
        gyre_signal first, second;
        install(SIGUSR1, &before);
        first = listen_for(loops[0], SIGUSR1, &ears[0]);
        second = listen_for(loops[0], SIGUSR1, &ears[1]);
        listen_for(loops[1], SIGUSR1, &ears[2]);
        CHECK_OK(gyre_signal_close(first));
        CHECK_EQ(raise(SIGUSR1), 0);
        RUN_UNTIL(loops[0], ears[1].calls == 1);
        CHECK_OK(gyre_signal_close(second));
        CHECK_EQ(raise(SIGUSR1), 0);
        RUN_UNTIL(loops[1], ears[2].count == 2);
        close_loop(loops[1]); /* closes the last watcher */
        check_disposition(SIGUSR1, &before);
        close_loop(loops[0]);
        check_disposition(SIGUSR1, &before);
        install(SIGUSR1, &usual);
    }
}

static void a_handler_that_the_host_installed_since_stays(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction other = disposition(other_handler, SA_NODEFER);
    struct signal_ear ear;
    gyre_signal signal = listen_for(loop, SIGUSR1, &ear);
    install(SIGUSR1, &other);
    CHECK_OK(gyre_signal_close(signal));
    check_disposition(SIGUSR1, &other);
    close_loop(loop);
    check_disposition(SIGUSR1, &other);
    install(SIGUSR1, &usual);
}

static void watching_a_signal_again_and_again_restores_it_each_time(void)
{
    gyre_loop loop = open_loop();
    struct sigaction usual = disposition(SIG_DFL, 0);
    struct sigaction plain = disposition(plain_handler, 0);
    struct signal_ear ear;
    int i;
    plain_calls = 0;
    for (i = 0; i < 100; i++) {
        const struct sigaction *before = i % 2 ? &usual : &plain;
        gyre_signal signal;
        install(SIGUSR1, before);
        signal = listen_for(loop, SIGUSR1, &ear);
        CHECK_EQ(raise(SIGUSR1), 0);
        RUN_UNTIL(loop, ear.calls == 1);
        CHECK_OK(gyre_signal_close(signal));
        check_disposition(SIGUSR1, before);
    }
    CHECK_EQ(plain_calls, 50);
    install(SIGUSR1, &usual);
    close_loop(loop);
}

/* ---- what a handle carries ---- */

static void a_signal_watcher_with_keepalive_off_is_served_but_does_not_hold_the_loop(void)
{
    gyre_loop loop = open_loop();
    struct signal_ear ear;
    gyre_signal signal = listen_for(loop, SIGUSR1, &ear);
    CHECK_OK(gyre_signal_set_keepalive(signal, 0));
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(loop, ear.calls == 1);
    CHECK_OK(gyre_signal_set_keepalive(signal, 1));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    close_loop(loop);
}

static void a_signal_watcher_knows_its_loop_and_user_data(void)
{
    gyre_loop loop = open_loop();
    gyre_loop found;
    struct signal_ear ear, other;
    gyre_signal signal = listen_for(loop, SIGUSR1, &ear);
    memset(&other, 0, sizeof other);
    CHECK_OK(gyre_signal_loop(signal, &found));
    CHECK_EQ(found.bits, loop.bits);
    CHECK(gyre_signal_user_data(signal) == &ear);
    CHECK_OK(gyre_signal_set_user_data(signal, &other));
    CHECK(gyre_signal_user_data(signal) == &other);
    CHECK_EQ(raise(SIGUSR1), 0);
    RUN_UNTIL(loop, other.calls == 1);
    CHECK_EQ(ear.calls, 0);
    close_loop(loop);
}

int main(void)
{
    check_begin();
    RUN(a_raised_signal_is_told_with_its_count);
    RUN(a_signal_wakes_a_sleeping_loop);
    RUN(each_signal_goes_to_its_own_watchers);
    RUN(two_watchers_of_a_loop_and_two_loops_all_hear_a_signal);
    RUN(a_signal_wakes_the_loops_of_all_threads);
    RUN(signals_raised_while_the_loop_is_held_up_are_counted);
    RUN(of_signals_that_race_the_loop_the_last_is_never_lost);
    RUN(a_handler_keeps_errno);
    RUN(opening_a_watcher_leaves_the_signal_mask_alone);
    RUN(a_watcher_closed_in_the_batch_is_never_called);
    RUN(a_signal_from_before_a_watcher_was_opened_is_not_told_to_it);
    RUN(an_earlier_handler_still_runs_and_comes_back);
    RUN(an_earlier_handler_with_siginfo_gets_it_all);
    RUN(an_earlier_handler_still_runs_under_its_own_mask);
    RUN(handlers_that_call_each_other_make_no_circle);
    RUN(the_disposition_comes_back_with_the_last_close_and_not_before);
    RUN(a_handler_that_the_host_installed_since_stays);
    RUN(watching_a_signal_again_and_again_restores_it_each_time);
    RUN(a_signal_watcher_with_keepalive_off_is_served_but_does_not_hold_the_loop);
    RUN(a_signal_watcher_knows_its_loop_and_user_data);
    return 0;
}
