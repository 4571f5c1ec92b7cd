/* conformance_child.c: how children end, told once to each watcher, beside a host that waits for children itself. */
/* ctest: no valgrind (it does not know pidfd_open) */
#define _DEFAULT_SOURCE /* WCOREDUMP */
#include "fixtures.h"

#include <limits.h>
#include <sys/stat.h>

/* A child that waits for a byte (or for the death of its parent) and then ends as it was told to. */
struct kid {
    pid_t pid;
    int leash;
};

static struct kid start_kid(int exit_code, int signum)
{
    struct kid kid;
    int ends[2];
    make_pipe(ends);
    kid.pid = check_fork();
    if (kid.pid == 0) {
        char byte;
        ssize_t taken;
        CHECK_SYS(close(ends[1]));
        taken = read(ends[0], &byte, 1);
        (void)taken;
        if (signum != 0)
            raise(signum);
        _exit(exit_code);
    }
    CHECK_SYS(close(ends[0]));
    kid.leash = ends[1];
    return kid;
}

static void let_go(struct kid kid)
{
    put_byte(kid.leash);
    CHECK_SYS(close(kid.leash));
}

/* Waits until a child has ended, and leaves it to be reaped. */
static void await_zombie(pid_t pid)
{
    siginfo_t info;
    CHECK_SYS(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

struct child_ear {
    int calls;
    gyre_child_exit exit;
};

static void hear_exit(gyre_loop loop, gyre_child child, const gyre_child_exit *exit, void *user_data)
{
    struct child_ear *ear = (struct child_ear *)user_data;
    (void)loop;
    (void)child;
    CHECK(exit->size >= sizeof ear->exit);
    ear->calls++;
    ear->exit = *exit;
}

static gyre_child watch_child(gyre_loop loop, pid_t pid, struct child_ear *ear)
{
    gyre_child child;
    memset(ear, 0, sizeof *ear);
    CHECK_OK(gyre_child_open(loop, pid, hear_exit, ear, &child));
    return child;
}

static void check_exited(const struct child_ear *ear, pid_t pid, int code)
{
    CHECK_EQ(ear->calls, 1);
    CHECK_EQ(ear->exit.pid, pid);
    CHECK_EQ(ear->exit.error, 0);
    CHECK_EQ(ear->exit.code, code);
    CHECK_EQ(ear->exit.signal, 0);
    CHECK_EQ(ear->exit.core_dumped, 0);
}

static void check_reaped(pid_t pid)
{
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
}

/* ---- how it ended ---- */

static void an_exit_is_told_with_its_code_and_the_child_is_reaped(void)
{
    static const int codes[] = {0, 1, 7, 255};
    gyre_loop loop = open_loop();
    size_t i;
    for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct kid kid = start_kid(codes[i], 0);
        struct child_ear ear;
        gyre_child child = watch_child(loop, kid.pid, &ear);
        CHECK_EQ(gyre_loop_is_alive(loop), 1);
        let_pass(loop, GYRE_MS(5));
        CHECK_EQ(ear.calls, 0);
        let_go(kid);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        check_exited(&ear, kid.pid, codes[i]);
        check_reaped(kid.pid);
        CHECK_OK(gyre_child_close(child));
    }
    close_loop(loop);
}

static void a_death_by_signal_is_told_with_the_signal(void)
{
    static const int signals[] = {SIGKILL, SIGTERM, SIGUSR1};
    gyre_loop loop = open_loop();
    size_t i;
    for (i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct kid kid = start_kid(0, 0);
        struct child_ear ear;
        watch_child(loop, kid.pid, &ear);
        CHECK_SYS(kill(kid.pid, signals[i]));
        RUN_UNTIL(loop, ear.calls == 1);
        CHECK_EQ(ear.exit.pid, kid.pid);
        CHECK_EQ(ear.exit.error, 0);
        CHECK_EQ(ear.exit.code, -1);
        CHECK_EQ(ear.exit.signal, signals[i]);
        CHECK_EQ(ear.exit.core_dumped, 0);
        check_reaped(kid.pid);
        CHECK_SYS(close(kid.leash));
    }
    close_loop(loop);
}

/* In a directory of its own, which may then hold a file with the core. */
static struct kid start_kid_that_aborts(const char *directory)
{
    struct kid kid;
    int ends[2];
    make_pipe(ends);
    kid.pid = check_fork();
    if (kid.pid == 0) {
        struct rlimit limit;
        char byte;
        CHECK_SYS(chdir(directory));
        CHECK_SYS(getrlimit(RLIMIT_CORE, &limit));
        limit.rlim_cur = limit.rlim_max;
        CHECK_SYS(setrlimit(RLIMIT_CORE, &limit));
        CHECK_EQ(read(ends[0], &byte, 1), 1);
        abort();
    }
    CHECK_SYS(close(ends[0]));
    kid.leash = ends[1];
    return kid;
}

static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.')
            CHECK_SYS(unlinkat(dirfd(directory), entry->d_name, 0));
    }
    closedir(directory);
    CHECK_SYS(rmdir(path));
}

static void core_dumped_is_what_waitpid_says_of_such_a_death(void)
{
    char directory[] = "/tmp/gyre-core-XXXXXX";
    gyre_loop loop = open_loop();
    struct child_ear ear;
    struct kid kid;
    int status;
    CHECK(mkdtemp(directory) != NULL);
    kid = start_kid_that_aborts(directory); /* whether this machine writes cores is its own affair: ask it */
    let_go(kid);
    CHECK_EQ(waitpid(kid.pid, &status, 0), kid.pid);
    CHECK(WIFSIGNALED(status));
    kid = start_kid_that_aborts(directory);
    watch_child(loop, kid.pid, &ear);
    let_go(kid);
    RUN_UNTIL(loop, ear.calls == 1);
    CHECK_EQ(ear.exit.code, -1);
    CHECK_EQ(ear.exit.signal, SIGABRT);
    CHECK_EQ(ear.exit.core_dumped, WCOREDUMP(status) ? 1 : 0);
    close_loop(loop);
    remove_directory(directory);
}

static void a_child_that_has_ended_already_is_told_too(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    struct kid kid = start_kid(3, 0);
    let_go(kid);
    await_zombie(kid.pid);
    watch_child(loop, kid.pid, &ear);
    CHECK_EQ(ear.calls, 0); /* not inside open */
    RUN_UNTIL(loop, ear.calls == 1);
    check_exited(&ear, kid.pid, 3);
    check_reaped(kid.pid);
    close_loop(loop);
}

static void a_stopped_and_continued_child_has_not_ended(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    struct kid kid = start_kid(4, 0);
    siginfo_t info;
    watch_child(loop, kid.pid, &ear);
    CHECK_SYS(kill(kid.pid, SIGSTOP));
    CHECK_SYS(waitid(P_PID, (id_t)kid.pid, &info, WSTOPPED));
    let_pass(loop, GYRE_MS(20));
    CHECK_SYS(kill(kid.pid, SIGCONT));
    CHECK_SYS(waitid(P_PID, (id_t)kid.pid, &info, WCONTINUED));
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    let_go(kid);
    RUN_UNTIL(loop, ear.calls == 1);
    check_exited(&ear, kid.pid, 4);
    close_loop(loop);
}

static void a_hundred_children_are_each_told_once(void)
{
    enum { KIDS = 100 };
    static struct child_ear ears[KIDS];
    gyre_loop loop = open_loop();
    struct kid kids[KIDS];
    int i;
    for (i = 0; i < KIDS; i++) {
        kids[i] = start_kid(i, 0);
        watch_child(loop, kids[i].pid, &ears[i]);
    }
    for (i = KIDS; i-- > 0;)
        let_go(kids[i]);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    for (i = 0; i < KIDS; i++) {
        check_exited(&ears[i], kids[i].pid, i);
        check_reaped(kids[i].pid);
    }
    close_loop(loop);
}

/* ---- several watchers ---- */

static void every_watcher_of_a_child_is_told_once_the_same(void)
{
    gyre_loop loops[2] = {open_loop(), open_loop()};
    struct child_ear ears[4];
    struct kid kid = start_kid(9, 0);
    int i;
    for (i = 0; i < 4; i++)
        watch_child(loops[i / 2], kid.pid, &ears[i]);
    let_go(kid);
    CHECK_EQ(gyre_loop_run(loops[0], GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(gyre_loop_run(loops[1], GYRE_RUN_DEFAULT), 0);
    for (i = 0; i < 4; i++)
        check_exited(&ears[i], kid.pid, 9);
    check_reaped(kid.pid);
    close_loop(loops[0]);
    close_loop(loops[1]);
}

static void a_loop_that_closes_first_leaves_the_child_to_the_other(void)
{
    gyre_loop loops[2] = {open_loop(), open_loop()};
    struct child_ear ears[2];
    struct kid kid = start_kid(9, 0);
    watch_child(loops[0], kid.pid, &ears[0]);
    watch_child(loops[1], kid.pid, &ears[1]);
    close_loop(loops[0]);
    let_go(kid);
    CHECK_EQ(gyre_loop_run(loops[1], GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(ears[0].calls, 0);
    check_exited(&ears[1], kid.pid, 9);
    close_loop(loops[1]);
}

struct child_pair {
    gyre_child children[2];
    int calls;
};

static void close_both(gyre_loop loop, gyre_child child, const gyre_child_exit *exit, void *user_data)
{
    struct child_pair *pair = (struct child_pair *)user_data;
    (void)loop;
    (void)child;
    pair->calls++;
    CHECK_OK(gyre_child_close(pair->children[0]));
    CHECK_OK(gyre_child_close(pair->children[1]));
    CHECK_EQ(exit->code, 5); /* the record lasts as long as the callback */
}

static void a_watcher_closed_in_the_batch_is_never_called(void)
{
    gyre_loop loop = open_loop();
    struct child_pair pair;
    struct kid kid = start_kid(5, 0);
    memset(&pair, 0, sizeof pair);
    CHECK_OK(gyre_child_open(loop, kid.pid, close_both, &pair, &pair.children[0]));
    CHECK_OK(gyre_child_open(loop, kid.pid, close_both, &pair, &pair.children[1]));
    let_go(kid);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(pair.calls, 1);
    check_reaped(kid.pid);
    close_loop(loop);
}

static void a_watcher_is_inert_after_its_callback_until_it_is_closed(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    struct kid kid = start_kid(0, 0);
    gyre_child child = watch_child(loop, kid.pid, &ear);
    let_go(kid);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 1);
    CHECK(gyre_child_user_data(child) == &ear);
    CHECK_OK(gyre_child_close(child));
    CHECK_STATUS(gyre_child_close(child), GYRE_EHANDLE);
    close_loop(loop);
}

/* ---- whose child it is ---- */

static void a_child_of_another_process_is_refused(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    gyre_child child;
    struct kid parent;
    int ends[2], report[2];
    pid_t grandchild;
    child.bits = 0;
    make_pipe(ends);
    make_pipe(report);
    parent.pid = check_fork();
    if (parent.pid == 0) {
        struct kid kid;
        char byte;
        CHECK_SYS(close(ends[1]));
        kid = start_kid(0, 0);
        CHECK_EQ(write(report[1], &kid.pid, sizeof kid.pid), (ssize_t)sizeof kid.pid);
        CHECK_EQ(read(ends[0], &byte, 1), 0);
        let_go(kid);
        check_child_succeeds(kid.pid);
        _exit(0);
    }
    CHECK_EQ(read(report[0], &grandchild, sizeof grandchild), (ssize_t)sizeof grandchild);
    CHECK_STATUS(gyre_child_open(loop, grandchild, hear_exit, &ear, &child), -ECHILD);
    CHECK_STATUS(gyre_child_open(loop, getpid(), hear_exit, &ear, &child), -ECHILD);
    if (getppid() > 0)
        CHECK_STATUS(gyre_child_open(loop, getppid(), hear_exit, &ear, &child), -ECHILD);
    CHECK_EQ(child.bits, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_pair(ends);
    close_pair(report);
    check_child_succeeds(parent.pid);
    close_loop(loop);
}

static void a_process_that_does_not_exist_is_refused(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    gyre_child child;
    struct kid kid = start_kid(0, 0);
    let_go(kid);
    check_child_succeeds(kid.pid);
    CHECK_STATUS(gyre_child_open(loop, kid.pid, hear_exit, &ear, &child), -ESRCH);
    CHECK_STATUS(gyre_child_open(loop, INT_MAX, hear_exit, &ear, &child), -ESRCH);
    CHECK_STATUS(gyre_child_open(loop, 0, hear_exit, &ear, &child), -EINVAL);
    CHECK_STATUS(gyre_child_open(loop, -1, hear_exit, &ear, &child), -EINVAL);
    CHECK_STATUS(gyre_child_open(loop, INT_MIN, hear_exit, &ear, &child), -EINVAL);
    close_loop(loop);
}

static void a_child_that_the_host_reaped_is_told_as_stolen(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ears[2];
    struct kid kid = start_kid(6, 0);
    int status;
    watch_child(loop, kid.pid, &ears[0]);
    watch_child(loop, kid.pid, &ears[1]);
    let_go(kid);
    CHECK_EQ(waitpid(kid.pid, &status, 0), kid.pid);
    CHECK_EQ(WEXITSTATUS(status), 6);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(ears[0].calls, 1);
    CHECK_EQ(ears[0].exit.pid, kid.pid);
    CHECK_STATUS(ears[0].exit.error, -ECHILD);
    CHECK_EQ(ears[1].calls, 1);
    CHECK_STATUS(ears[1].exit.error, -ECHILD);
    close_loop(loop);
}

static void a_child_that_the_kernel_reaped_is_told_as_stolen(void)
{
    gyre_loop loop = open_loop();
    struct sigaction ignore, usual;
    struct child_ear ear;
    struct kid kid;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN; /* children then leave no zombie */
    CHECK_SYS(sigaction(SIGCHLD, &ignore, &usual));
    kid = start_kid(6, 0);
    watch_child(loop, kid.pid, &ear);
    let_go(kid);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(ear.calls, 1);
    CHECK_STATUS(ear.exit.error, -ECHILD);
    CHECK_SYS(sigaction(SIGCHLD, &usual, NULL));
    close_loop(loop);
}

static void a_watcher_that_was_closed_leaves_the_child_to_the_host(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    struct kid kid = start_kid(8, 0);
    gyre_child child = watch_child(loop, kid.pid, &ear);
    int status;
    CHECK_OK(gyre_child_close(child));
    let_go(kid);
    await_zombie(kid.pid);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear.calls, 0);
    CHECK_EQ(waitpid(kid.pid, &status, 0), kid.pid);
    CHECK_EQ(WEXITSTATUS(status), 8);
    close_loop(loop);
}

/* ---- SIGCHLD ---- */

static volatile sig_atomic_t sigchld_calls;

static void count_sigchld(int signum)
{
    (void)signum;
    sigchld_calls++;
}

static void sigchld_and_its_handler_stay_the_hosts(void)
{
    gyre_loop loop = open_loop();
    struct sigaction mine, usual, after;
    struct child_ear ear;
    struct kid kid = start_kid(0, 0);
    sigset_t mask;
    memset(&mine, 0, sizeof mine);
    mine.sa_handler = count_sigchld;
    CHECK_SYS(sigaction(SIGCHLD, &mine, &usual));
    sigchld_calls = 0;
    watch_child(loop, kid.pid, &ear);
    CHECK_SYS(sigaction(SIGCHLD, NULL, &after));
    CHECK(after.sa_handler == count_sigchld);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGCHLD), 0);
    let_go(kid);
    RUN_UNTIL(loop, ear.calls == 1);
    check_exited(&ear, kid.pid, 0);
    WAIT_UNTIL(sigchld_calls == 1);
    close_loop(loop);
    CHECK_SYS(sigaction(SIGCHLD, &usual, &after));
    CHECK(after.sa_handler == count_sigchld);
}

/* ---- limits, and what a handle carries ---- */

static void a_watcher_that_finds_no_descriptor_is_refused_and_leaves_nothing(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    gyre_child child;
    struct rlimit usual, none;
    struct kid kid = start_kid(2, 0);
    child.bits = 0;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &usual));
    none = usual;
    none.rlim_cur = 0;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_STATUS(gyre_child_open(loop, kid.pid, hear_exit, &ear, &child), -EMFILE);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &usual));
    CHECK_EQ(child.bits, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    CHECK_EQ(stats_of(loop).handles, 0);
    watch_child(loop, kid.pid, &ear);
    let_go(kid);
    RUN_UNTIL(loop, ear.calls == 1);
    check_exited(&ear, kid.pid, 2);
    close_loop(loop);
}

static void a_child_watcher_with_keepalive_off_is_served_but_does_not_hold_the_loop(void)
{
    gyre_loop loop = open_loop();
    struct child_ear ear;
    struct kid kid = start_kid(0, 0);
    gyre_child child = watch_child(loop, kid.pid, &ear);
    CHECK_OK(gyre_child_set_keepalive(child, 0));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(ear.calls, 0);
    CHECK_OK(gyre_child_set_keepalive(child, 1));
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_child_set_keepalive(child, 0));
    let_go(kid);
    RUN_UNTIL(loop, ear.calls == 1);
    close_loop(loop);
}

static void a_child_watcher_knows_its_loop_and_user_data(void)
{
    gyre_loop loop = open_loop();
    gyre_loop found;
    struct child_ear ear, other;
    struct kid kid = start_kid(0, 0);
    gyre_child child = watch_child(loop, kid.pid, &ear);
    memset(&other, 0, sizeof other);
    CHECK_OK(gyre_child_loop(child, &found));
    CHECK_EQ(found.bits, loop.bits);
    CHECK(gyre_child_user_data(child) == &ear);
    CHECK_OK(gyre_child_set_user_data(child, &other));
    CHECK(gyre_child_user_data(child) == &other);
    let_go(kid);
    RUN_UNTIL(loop, other.calls == 1);
    CHECK_EQ(ear.calls, 0);
    close_loop(loop);
}

int main(void)
{
    check_begin();
    RUN(an_exit_is_told_with_its_code_and_the_child_is_reaped);
    RUN(a_death_by_signal_is_told_with_the_signal);
    RUN(core_dumped_is_what_waitpid_says_of_such_a_death);
    RUN(a_child_that_has_ended_already_is_told_too);
    RUN(a_stopped_and_continued_child_has_not_ended);
    RUN(a_hundred_children_are_each_told_once);
    RUN(every_watcher_of_a_child_is_told_once_the_same);
    RUN(a_loop_that_closes_first_leaves_the_child_to_the_other);
    RUN(a_watcher_closed_in_the_batch_is_never_called);
    RUN(a_watcher_is_inert_after_its_callback_until_it_is_closed);
    RUN(a_child_of_another_process_is_refused);
    RUN(a_process_that_does_not_exist_is_refused);
    RUN(a_child_that_the_host_reaped_is_told_as_stolen);
    RUN(a_child_that_the_kernel_reaped_is_told_as_stolen);
    RUN(a_watcher_that_was_closed_leaves_the_child_to_the_host);
    RUN(sigchld_and_its_handler_stay_the_hosts);
    RUN(a_watcher_that_finds_no_descriptor_is_refused_and_leaves_nothing);
    RUN(a_child_watcher_with_keepalive_off_is_served_but_does_not_hold_the_loop);
    RUN(a_child_watcher_knows_its_loop_and_user_data);
    return 0;
}
