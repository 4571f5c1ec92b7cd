/* conformance_fd_traps.c: descriptors that are closed, duplicated, reused or inherited while they are watched.
 *
 * The kernel keeps an epoll registration for as long as any duplicate of the file lives, and a number that was closed
 * comes back with the next open. Whatever the host does to its descriptors: the loop does not spin, tells the watcher
 * at most one error, never hands it the events of another file, and goes on serving the others. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

#include <poll.h>

/* A second watcher, fed a byte three times a second: a loop that is busy with a dead descriptor must not starve it. */
struct bystander {
    int ends[2];
    gyre_io io;
    gyre_timer timer;
    struct ear ear;
};

static void feed(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct bystander *bystander = (struct bystander *)user_data;
    (void)loop;
    (void)timer;
    put_byte(bystander->ends[1]);
}

static void bystander_open(gyre_loop loop, struct bystander *bystander)
{
    memset(bystander, 0, sizeof *bystander);
    make_pipe(bystander->ends);
    CHECK_OK(gyre_io_open(loop, bystander->ends[0], GYRE_READ, hear_and_read, &bystander->ear, &bystander->io));
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(300), GYRE_MS(300), feed, bystander, &bystander->timer));
}

static void bystander_close(struct bystander *bystander)
{
    CHECK_OK(gyre_timer_close(bystander->timer));
    CHECK_OK(gyre_io_close(bystander->io));
    close_pair(bystander->ends);
}

/* The loop may take a moment to find out; then it is as quiet as if the dead descriptor had never been watched. */
static void check_settles_and_serves(gyre_loop loop, struct bystander *bystander)
{
    int served;
    let_pass(loop, GYRE_MS(300));
    served = bystander->ear.calls;
    check_idles_for_a_second(loop);
    CHECK(bystander->ear.calls - served >= 2);
    CHECK_EQ(bystander->ear.all, GYRE_READ);
}

/* A watcher whose descriptor is gone: one error at most, a few events of the old file at most, then nothing. */
static void check_is_detached(gyre_loop loop, gyre_io io, struct ear *ear)
{
    int calls = ear->calls;
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(ear->calls, calls);
    CHECK(ear->calls <= 128);
    CHECK(ear->errors <= 1);
    if (ear->errors == 1) {
        CHECK_EQ(ear->last, GYRE_ERROR);
        CHECK_STATUS(gyre_io_set(io, GYRE_READ), -EBADF);
        CHECK_STATUS(gyre_io_set(io, 0), -EBADF);
    }
}

/* ---- closed ---- */

static void a_closed_descriptor_with_a_duplicate_and_data_waiting_does_not_spin(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int ends[2], duplicate;
    bystander_open(loop, &bystander);
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    duplicate = (int)CHECK_SYS(dup(ends[0]));
    CHECK_SYS(close(ends[0]));
    check_settles_and_serves(loop, &bystander);
    CHECK_EQ(ear.errors, 1); /* nobody would ever know otherwise */
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    CHECK_STATUS(gyre_io_close(io), GYRE_EHANDLE);
    check_settles_and_serves(loop, &bystander);
    bystander_close(&bystander);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
    CHECK_SYS(close(duplicate));
    CHECK_SYS(close(ends[1]));
}

static void data_that_comes_to_a_duplicate_later_does_not_spin_either(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int ends[2], duplicate;
    bystander_open(loop, &bystander);
    make_socketpair(ends);
    io = watch(loop, ends[0], GYRE_READ | GYRE_PEER_CLOSED, &ear);
    one_turn(loop);
    duplicate = (int)CHECK_SYS(dup(ends[0]));
    CHECK_SYS(close(ends[0]));
    one_turn(loop);
    put_byte(ends[1]);
    CHECK_SYS(close(ends[1]));
    check_settles_and_serves(loop, &bystander);
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    bystander_close(&bystander);
    close_loop(loop);
    CHECK_SYS(close(duplicate));
}

static void a_watcher_closed_after_its_descriptor_leaves_no_spinning_registration(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int ends[2], duplicate;
    bystander_open(loop, &bystander);
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    duplicate = (int)CHECK_SYS(dup(ends[0]));
    CHECK_SYS(close(ends[0]));
    CHECK_OK(gyre_io_close(io));
    check_settles_and_serves(loop, &bystander);
    CHECK_EQ(ear.calls, 0);
    bystander_close(&bystander);
    close_loop(loop);
    CHECK_SYS(close(duplicate));
    CHECK_SYS(close(ends[1]));
}

static void close_descriptor(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    hear(loop, io, events, user_data);
    if (events & GYRE_READ)
        CHECK_SYS(close(gyre_io_fd(io)));
}

static void a_descriptor_closed_in_its_own_callback_is_told_at_most_once_more(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int ends[2];
    memset(&ear, 0, sizeof ear);
    bystander_open(loop, &bystander);
    make_pipe(ends);
    put_byte(ends[1]);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, close_descriptor, &ear, &io));
    check_settles_and_serves(loop, &bystander);
    CHECK(ear.calls <= 2);
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    bystander_close(&bystander);
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
}

static void changing_the_interest_of_a_closed_descriptor_finds_it_out(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    gyre_io io;
    int ends[2], status;
    make_socketpair(ends);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    one_turn(loop);
    CHECK_SYS(close(ends[0]));
    status = gyre_io_set(io, GYRE_READ | GYRE_WRITE); /* changes of a turn are merged, so it may be found out later */
    CHECK(status == GYRE_OK || status == -EBADF);
    let_pass(loop, GYRE_MS(20));
    CHECK(status == -EBADF || ear.errors == 1);
    CHECK_EQ(ear.all & ~(uint32_t)GYRE_ERROR, 0);
    CHECK_STATUS(gyre_io_set(io, GYRE_READ), -EBADF);
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
}

static void the_loop_can_still_be_embedded_after_a_dead_registration(void)
{
    gyre_loop loop = open_loop();
    struct ear dead, living;
    gyre_io dead_io, living_io;
    uint64_t timeout;
    struct pollfd foreign;
    int ends[2], other[2], duplicate, turn;
    if (runs_on(loop, "epoll")) {
        make_pipe(ends);
        make_pipe(other);
        foreign.fd = gyre_loop_fd(loop);
        foreign.events = POLLIN;
        put_byte(ends[1]);
        dead_io = watch(loop, ends[0], GYRE_READ, &dead);
        living_io = watch(loop, other[0], GYRE_READ, &living);
        duplicate = (int)CHECK_SYS(dup(ends[0]));
        CHECK_SYS(close(ends[0]));
        for (turn = 0; turn < 256; turn++)
            one_turn(loop);
        CHECK_EQ(gyre_loop_fd(loop), foreign.fd); /* a host that kept the number must not notice */
        CHECK_OK(gyre_loop_timeout(loop, &timeout));
        CHECK_EQ(poll(&foreign, 1, 20), 0);
        put_byte(other[1]);
        CHECK_EQ(poll(&foreign, 1, 10000), 1);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 1);
        CHECK_EQ(living.calls, 1);
        CHECK_OK(gyre_io_close(dead_io));
        CHECK_OK(gyre_io_close(living_io));
        CHECK_SYS(close(duplicate));
        CHECK_SYS(close(ends[1]));
        close_pair(other);
    }
    close_loop(loop);
}

/* ---- reused ---- */

static void a_number_that_is_reused_and_watched_again_belongs_to_the_new_watcher(void)
{
    gyre_loop loop = open_loop();
    struct ear old_ear, new_ear;
    gyre_io old_io, new_io;
    int old_ends[2], new_ends[2];
    make_pipe(old_ends);
    make_socketpair(new_ends);
    old_io = watch(loop, old_ends[0], GYRE_READ, &old_ear);
    one_turn(loop);
    replace_descriptor(old_ends[0], new_ends[0]);
    put_byte(new_ends[1]);
    memset(&new_ear, 0, sizeof new_ear);
    CHECK_OK(gyre_io_open(loop, old_ends[0], GYRE_READ, hear_and_read, &new_ear, &new_io));
    RUN_UNTIL(loop, new_ear.calls == 1);
    put_byte(new_ends[1]);
    RUN_UNTIL(loop, new_ear.calls == 2);
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(new_ear.all, GYRE_READ);
    CHECK_EQ(new_ear.calls, 2);
    CHECK_EQ(old_ear.all & ~(uint32_t)GYRE_ERROR, 0);
    check_is_detached(loop, old_io, &old_ear);
    /* Closing the old watcher takes nothing from the new one. */
    CHECK_OK(gyre_io_close(old_io));
    put_byte(new_ends[1]);
    RUN_UNTIL(loop, new_ear.calls == 3);
    CHECK_OK(gyre_io_close(new_io));
    close_loop(loop);
    close_pair(old_ends);
    close_pair(new_ends);
}

static void a_reused_number_is_told_apart_while_a_duplicate_keeps_the_old_file(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear old_ear, new_ear;
    gyre_io old_io, new_io;
    int old_ends[2], new_ends[2], duplicate;
    bystander_open(loop, &bystander);
    make_pipe(old_ends);
    make_socketpair(new_ends);
    old_io = watch(loop, old_ends[0], GYRE_READ, &old_ear);
    one_turn(loop);
    duplicate = (int)CHECK_SYS(dup(old_ends[0]));
    replace_descriptor(old_ends[0], new_ends[0]);
    put_byte(old_ends[1]); /* the old file stays ready for ever */
    memset(&new_ear, 0, sizeof new_ear);
    CHECK_OK(gyre_io_open(loop, old_ends[0], GYRE_READ | GYRE_WRITE, hear, &new_ear, &new_io));
    one_turn(loop);
    one_turn(loop);
    CHECK_EQ(new_ear.all, GYRE_WRITE);
    CHECK_OK(gyre_io_set(new_io, GYRE_READ));
    check_settles_and_serves(loop, &bystander);
    CHECK_EQ(new_ear.all, GYRE_WRITE);
    CHECK_EQ(old_ear.all & ~(uint32_t)GYRE_ERROR, 0);
    put_byte(new_ends[1]);
    RUN_UNTIL(loop, new_ear.last == GYRE_READ);
    check_is_detached(loop, old_io, &old_ear);
    CHECK_OK(gyre_io_close(old_io));
    CHECK_OK(gyre_io_close(new_io));
    check_settles_and_serves(loop, &bystander);
    bystander_close(&bystander);
    close_loop(loop);
    close_pair(old_ends);
    close_pair(new_ends);
    CHECK_SYS(close(duplicate));
}

static void a_reused_number_that_nobody_watches_again_brings_nothing_of_the_new_file(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int old_ends[2], new_ends[2];
    bystander_open(loop, &bystander);
    make_pipe(old_ends);
    make_socketpair(new_ends);
    io = watch(loop, old_ends[0], GYRE_READ, &ear);
    one_turn(loop);
    replace_descriptor(old_ends[0], new_ends[0]);
    put_byte(new_ends[1]);
    check_settles_and_serves(loop, &bystander);
    CHECK_EQ(ear.all & ~(uint32_t)GYRE_ERROR, 0);
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    bystander_close(&bystander);
    close_loop(loop);
    close_pair(old_ends);
    close_pair(new_ends);
}

/* Two watchers in one batch; whoever is called first puts another file behind the number of the other. */
struct swap {
    int fds[2];
    int replacement;
    int close_first; /* closes the other watcher before its descriptor, as it should be done */
    gyre_io ios[2];
    int calls;
    struct ear victim_ear;
    struct ear new_ear;
    gyre_io new_io;
    int victim;
};

static void swap_the_other(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct swap *swap = (struct swap *)user_data;
    if (swap->calls++ == 0) {
        swap->victim = io.bits == swap->ios[0].bits;
        if (swap->close_first)
            CHECK_OK(gyre_io_close(swap->ios[swap->victim]));
        replace_descriptor(swap->fds[swap->victim], swap->replacement);
        swap->new_io = watch(loop, swap->fds[swap->victim], GYRE_READ, &swap->new_ear);
        CHECK_OK(gyre_io_set(io, 0));
    } else {
        CHECK_EQ(io.bits, swap->ios[swap->victim].bits);
        hear(loop, io, events, &swap->victim_ear);
    }
}

static void check_swap_in_batch(int close_first)
{
    gyre_loop loop = open_loop();
    struct swap swap;
    int ends[2][2], fresh[2];
    int i;
    memset(&swap, 0, sizeof swap);
    swap.close_first = close_first;
    make_socketpair(fresh);
    put_byte(fresh[1]);
    swap.replacement = fresh[0];
    for (i = 0; i < 2; i++) {
        make_pipe(ends[i]);
        put_byte(ends[i][1]);
        swap.fds[i] = ends[i][0];
        CHECK_OK(gyre_io_open(loop, ends[i][0], GYRE_READ, swap_the_other, &swap, &swap.ios[i]));
    }
    one_turn(loop);
    CHECK(swap.calls >= 1);
    CHECK_EQ(swap.new_ear.calls, 0); /* opened in the batch */
    one_turn(loop);
    CHECK_EQ(swap.new_ear.calls, 1);
    CHECK_EQ(swap.new_ear.last, GYRE_READ);
    let_pass(loop, GYRE_MS(20));
    if (close_first) {
        CHECK_EQ(swap.calls, 1);
    } else {
        CHECK_EQ(swap.victim_ear.all & ~(uint32_t)GYRE_ERROR, 0);
        check_is_detached(loop, swap.ios[swap.victim], &swap.victim_ear);
        CHECK_OK(gyre_io_close(swap.ios[swap.victim]));
    }
    CHECK(swap.new_ear.calls > 1);
    close_loop(loop);
    for (i = 0; i < 2; i++)
        close_pair(ends[i]);
    close_pair(fresh);
}

static void a_number_reused_within_a_batch_gets_no_event_of_the_old_file(void)
{
    check_swap_in_batch(1);
}

static void a_watcher_overtaken_within_a_batch_gets_no_event_of_the_new_file(void)
{
    check_swap_in_batch(0);
}

static void reopening_a_number_again_and_again_leaves_each_file_to_its_watcher(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    gyre_io io;
    int ends[2], number, round;
    make_pipe(ends);
    number = (int)CHECK_SYS(dup(ends[0]));
    close_pair(ends);
    for (round = 0; round < 200; round++) {
        if (round % 2)
            make_pipe(ends);
        else
            make_socketpair(ends);
        replace_descriptor(number, ends[0]);
        memset(&ear, 0, sizeof ear);
        CHECK_OK(gyre_io_open(loop, number, GYRE_READ, hear_and_read, &ear, &io));
        one_turn(loop);
        CHECK_EQ(ear.calls, 0);
        put_byte(ends[1]);
        one_turn(loop);
        CHECK_EQ(ear.calls, 1);
        CHECK_OK(gyre_io_close(io));
        close_pair(ends);
    }
    CHECK_SYS(close(number));
    close_loop(loop);
}

/* ---- inherited ---- */

static void a_forked_child_that_closes_the_loop_does_not_silence_the_parent(void)
{
    gyre_loop loop = open_loop();
    struct ear reader, writer;
    int ends[2], sockets[2], posts = 0, timers = 0;
    gyre_timer timer;
    gyre_io io;
    pid_t pid;
    make_pipe(ends);
    make_socketpair(sockets);
    memset(&reader, 0, sizeof reader);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, hear_and_read, &reader, &io));
    watch(loop, sockets[0], GYRE_READ, &writer);
    one_turn(loop);
    pid = check_fork();
    if (pid == 0) {
        CHECK_OK(gyre_loop_close(loop));
        CHECK_STATUS(gyre_loop_close(loop), GYRE_EHANDLE);
        _exit(0);
    }
    check_child_succeeds(pid);
    put_byte(ends[1]);
    put_byte(sockets[1]);
    CHECK_OK(gyre_loop_post(loop, count_post, &posts));
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, count_timer, &timers, &timer));
    RUN_UNTIL(loop, reader.calls == 1 && writer.calls > 0 && posts == 1 && timers == 1);
    put_byte(ends[1]);
    RUN_UNTIL(loop, reader.calls == 2);
    close_loop(loop);
    close_pair(ends);
    close_pair(sockets);
}

static void a_forked_child_that_closes_watched_descriptors_does_not_silence_the_parent(void)
{
    gyre_loop loop = open_loop();
    struct ear ear;
    gyre_io io;
    int ends[2];
    pid_t pid;
    memset(&ear, 0, sizeof ear);
    make_pipe(ends);
    CHECK_OK(gyre_io_open(loop, ends[0], GYRE_READ, hear_and_read, &ear, &io));
    pid = check_fork();
    if (pid == 0) {
        CHECK_STATUS(gyre_io_close(io), GYRE_EFORKED);
        close_pair(ends);
        _exit(0);
    }
    check_child_succeeds(pid);
    put_byte(ends[1]);
    RUN_UNTIL(loop, ear.calls == 1);
    close_loop(loop);
    close_pair(ends);
}

static void a_descriptor_that_lives_on_in_a_forked_child_does_not_spin(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int ends[2], leash[2];
    pid_t pid;
    make_pipe(ends);
    make_pipe(leash);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    pid = check_fork();
    if (pid == 0) {
        char byte;
        CHECK_SYS(close(leash[1]));
        CHECK_EQ(read(leash[0], &byte, 1), 0); /* keeps the file behind ends[0] open till the parent lets go */
        _exit(0);
    }
    bystander_open(loop, &bystander);
    CHECK_SYS(close(ends[0]));
    check_settles_and_serves(loop, &bystander);
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    bystander_close(&bystander);
    close_loop(loop);
    close_pair(leash);
    check_child_succeeds(pid);
    CHECK_SYS(close(ends[1]));
}

/* ---- none left ---- */

enum { FEW_DESCRIPTORS = 64 };

static rlim_t limit_descriptors(rlim_t count)
{
    struct rlimit limit;
    rlim_t before;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    before = limit.rlim_cur;
    limit.rlim_cur = count;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
    return before;
}

/* Uses up every descriptor below the limit that is in force. Returns how many it made. */
static int exhaust_descriptors(int made[FEW_DESCRIPTORS])
{
    int count = 0, fd;
    while ((fd = dup(STDERR_FILENO)) != -1) {
        CHECK(count < FEW_DESCRIPTORS);
        made[count++] = fd;
    }
    CHECK_EQ(errno, EMFILE);
    return count;
}

static void a_loop_that_finds_no_descriptors_leaves_none_behind(void)
{
    int made[FEW_DESCRIPTORS];
    int count, status, refused = 0;
    rlim_t usual = limit_descriptors(FEW_DESCRIPTORS);
    struct check_census before, after;
    gyre_loop loop;
    memset(&loop, 0, sizeof loop);
    count = exhaust_descriptors(made);
    for (;;) {
        limit_descriptors(usual); /* the census needs a descriptor itself */
        check_take_census(&before);
        limit_descriptors(FEW_DESCRIPTORS);
        status = gyre_loop_open(NULL, &loop);
        limit_descriptors(usual);
        if (status == GYRE_OK)
            break;
        CHECK_STATUS(status, -EMFILE);
        CHECK_EQ(loop.bits, 0);
        check_take_census(&after);
        check_compare_census(&before, &after);
        CHECK(count > 0);
        CHECK_SYS(close(made[--count]));
        refused++;
    }
    CHECK(refused > 0);
    close_loop(loop);
    while (count > 0)
        CHECK_SYS(close(made[--count]));
}

static void a_dead_registration_is_survived_without_a_descriptor_to_spare(void)
{
    gyre_loop loop = open_loop();
    struct bystander bystander;
    struct ear ear;
    gyre_io io;
    int made[FEW_DESCRIPTORS];
    int ends[2], duplicate, count;
    rlim_t usual;
    bystander_open(loop, &bystander);
    make_pipe(ends);
    put_byte(ends[1]);
    io = watch(loop, ends[0], GYRE_READ, &ear);
    duplicate = (int)CHECK_SYS(dup(ends[0]));
    usual = limit_descriptors((rlim_t)ends[0]); /* so that the number which close frees is not to be had either */
    count = exhaust_descriptors(made);
    CHECK_SYS(close(ends[0]));
    RUN_UNTIL(loop, bystander.ear.calls >= 2);
    limit_descriptors(usual);
    while (count > 0)
        CHECK_SYS(close(made[--count]));
    check_settles_and_serves(loop, &bystander);
    check_is_detached(loop, io, &ear);
    CHECK_OK(gyre_io_close(io));
    bystander_close(&bystander);
    close_loop(loop);
    CHECK_SYS(close(duplicate));
    CHECK_SYS(close(ends[1]));
}

int main(void)
{
    check_begin();
    RUN(a_closed_descriptor_with_a_duplicate_and_data_waiting_does_not_spin);
    RUN(data_that_comes_to_a_duplicate_later_does_not_spin_either);
    RUN(a_watcher_closed_after_its_descriptor_leaves_no_spinning_registration);
    RUN(a_descriptor_closed_in_its_own_callback_is_told_at_most_once_more);
    RUN(changing_the_interest_of_a_closed_descriptor_finds_it_out);
    RUN(the_loop_can_still_be_embedded_after_a_dead_registration);
    RUN(a_number_that_is_reused_and_watched_again_belongs_to_the_new_watcher);
    RUN(a_reused_number_is_told_apart_while_a_duplicate_keeps_the_old_file);
    RUN(a_reused_number_that_nobody_watches_again_brings_nothing_of_the_new_file);
    RUN(a_number_reused_within_a_batch_gets_no_event_of_the_old_file);
    RUN(a_watcher_overtaken_within_a_batch_gets_no_event_of_the_new_file);
    RUN(reopening_a_number_again_and_again_leaves_each_file_to_its_watcher);
    RUN(a_forked_child_that_closes_the_loop_does_not_silence_the_parent);
    RUN(a_forked_child_that_closes_watched_descriptors_does_not_silence_the_parent);
    RUN(a_descriptor_that_lives_on_in_a_forked_child_does_not_spin);
    RUN(a_loop_that_finds_no_descriptors_leaves_none_behind);
    RUN(a_dead_registration_is_survived_without_a_descriptor_to_spare);
    return 0;
}
