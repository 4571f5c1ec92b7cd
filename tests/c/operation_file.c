/* operation_file.c: operations on files. */
#define _GNU_SOURCE
#include "operation.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int64_t read_now(gyre_loop loop, int fd, void *buf, size_t len, int64_t offset)
{
    struct outcome outcome;
    start_read(loop, fd, buf, len, offset, &outcome);
    return result_of(loop, &outcome);
}

static int64_t write_now(gyre_loop loop, int fd, const void *buf, size_t len, int64_t offset)
{
    struct outcome outcome;
    start_write(loop, fd, buf, len, offset, &outcome);
    return result_of(loop, &outcome);
}

/* The same file by another descriptor. */
static int reopen(int fd, int flags)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return (int)CHECK_SYS(open(name, flags | O_CLOEXEC));
}

/* ---- reads and writes ---- */

static void a_read_and_a_write_take_place_at_their_offset(void)
{
    gyre_loop loop = open_loop();
    int fd = make_file(0);
    char buf[16];
    CHECK_EQ(write_now(loop, fd, "0123456789", 10, 0), 10);
    CHECK_EQ(write_now(loop, fd, "ab", 2, 4), 2);
    memset(buf, '-', sizeof buf);
    CHECK_EQ(read_now(loop, fd, buf, 5, 3), 5);
    CHECK_EQ(memcmp(buf, "3ab67-", 6), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0); /* the file position is where it was */
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void pieces_are_read_and_written_in_turn(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome = none_yet();
    int fd = make_file(0);
    char first[3], last[8];
    struct iovec out[3] = {{(void *)"abc", 3}, {NULL, 0}, {(void *)"defgh", 5}};
    struct iovec in[2];
    in[0].iov_base = first;
    in[0].iov_len = sizeof first;
    in[1].iov_base = last;
    in[1].iov_len = sizeof last;
    CHECK_OK(gyre_op_writev(loop, fd, out, 3, 1, note, &outcome, &outcome.op));
    CHECK_EQ(result_of(loop, &outcome), 8);
    outcome = none_yet();
    CHECK_OK(gyre_op_readv(loop, fd, in, 2, 2, note, &outcome, &outcome.op));
    CHECK_EQ(result_of(loop, &outcome), 7); /* to the end of the file */
    CHECK_EQ(memcmp(first, "bcd", 3), 0);
    CHECK_EQ(memcmp(last, "efgh", 4), 0);
    outcome = none_yet();
    CHECK_OK(gyre_op_readv(loop, fd, in, 2, GYRE_NO_OFFSET, note, &outcome, &outcome.op));
    CHECK_EQ(result_of(loop, &outcome), 9);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 9);
    outcome = none_yet();
    CHECK_OK(gyre_op_readv(loop, fd, NULL, 0, 0, note, &outcome, &outcome.op)); /* no piece at all */
    CHECK_EQ(result_of(loop, &outcome), 0);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void offsets_above_4_gib_are_kept(void)
{
    static const int64_t offsets[] = {((int64_t)1 << 32) - 3, ((int64_t)1 << 32) + 5, ((int64_t)5 << 30) + 12345};
    gyre_loop loop = open_loop();
    int fd = make_file(0), i;
    char buf[8];
    for (i = 0; i < 3; i++) {
        char text[8] = "number ";
        text[7] = (char)('0' + i);
        CHECK_EQ(write_now(loop, fd, text, 8, offsets[i]), 8);
        CHECK_EQ(pread(fd, buf, 8, offsets[i]), 8);
        CHECK_EQ(memcmp(buf, text, 8), 0);
        memset(buf, 0, sizeof buf);
        CHECK_EQ(read_now(loop, fd, buf, 8, offsets[i]), 8);
        CHECK_EQ(memcmp(buf, text, 8), 0);
    }
    CHECK_EQ(read_now(loop, fd, buf, 8, offsets[2] & 0xffffffff), 8);
    CHECK_EQ(memcmp(buf, "\0\0\0\0\0\0\0\0", 8), 0); /* a hole is where a cut offset would be */
    CHECK_EQ(lseek(fd, 0, SEEK_END), offsets[2] + 8);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void the_end_of_a_file_is_0_and_a_read_across_it_short(void)
{
    gyre_loop loop = open_loop();
    int fd = make_file(0);
    char buf[8];
    CHECK_EQ(read_now(loop, fd, buf, sizeof buf, 0), 0);
    CHECK_EQ(read_now(loop, fd, buf, sizeof buf, GYRE_NO_OFFSET), 0);
    CHECK_EQ(write(fd, "abcde", 5), 5);
    CHECK_EQ(read_now(loop, fd, buf, sizeof buf, 2), 3);
    CHECK_EQ(read_now(loop, fd, buf, sizeof buf, 5), 0);
    CHECK_EQ(read_now(loop, fd, buf, sizeof buf, INT64_MAX / 2), 0);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void operations_at_the_file_position_follow_each_other(void) /* P4 */
{
    enum { MANY = 100 };
    gyre_loop loop = open_loop();
    struct outcome outcomes[MANY];
    unsigned char data[MANY], taken[MANY];
    int fd = make_file(0), i;
    completions = 0;
    for (i = 0; i < MANY; i++) {
        data[i] = (unsigned char)i;
        start_write(loop, fd, &data[i], 1, GYRE_NO_OFFSET, &outcomes[i]);
    }
    RUN_UNTIL(loop, completions == MANY);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), MANY);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    for (i = 0; i < MANY; i++) {
        CHECK_EQ(outcomes[i].order, i + 1);
        CHECK_EQ(outcomes[i].result, 1);
    }
    completions = 0;
    for (i = 0; i < MANY; i++)
        start_read(loop, fd, &taken[i], 1, GYRE_NO_OFFSET, &outcomes[i]);
    RUN_UNTIL(loop, completions == MANY);
    for (i = 0; i < MANY; i++) {
        CHECK_EQ(outcomes[i].order, i + 1);
        CHECK_EQ(outcomes[i].result, 1);
        CHECK_EQ(taken[i], i);
    }
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void a_failed_operation_at_the_file_position_leaves_those_behind_it_in_place(void) /* P4 */
{
    gyre_loop loop = open_loop();
    struct outcome first, second, third;
    int fd = make_file(0), reader;
    char buf[2][4];
    fill_with_pattern(fd, 8);
    reader = reopen(fd, O_RDONLY);
    start_read(loop, reader, buf[0], 4, GYRE_NO_OFFSET, &first);
    start_write(loop, reader, "no", 2, GYRE_NO_OFFSET, &second);
    start_read(loop, reader, buf[1], 4, GYRE_NO_OFFSET, &third);
    CHECK_EQ(result_of(loop, &third), 4);
    CHECK_EQ(first.result, 4);
    CHECK_STATUS((int)second.result, -EBADF);
    CHECK_EQ(buf[1][0], (char)pattern(4));
    close_loop(loop);
    CHECK_SYS(close(reader));
    CHECK_SYS(close(fd));
}

static void a_thousand_reads_in_flight_have_the_right_data(void)
{
    enum { READS = 1000, LENGTH = 1024 };
    static struct outcome outcomes[READS];
    static unsigned char bufs[READS][LENGTH];
    gyre_loop loop = open_loop();
    int fd = make_file(0), i, round;
    size_t at;
    fill_with_pattern(fd, READS * LENGTH);
    for (round = 0; round < (check_small() ? 1 : 4); round++) {
        memset(bufs, 0, sizeof bufs);
        completions = 0;
        for (i = 0; i < READS; i++) { /* not in the order of the file */
            int place = i * 7 % READS;
            start_read(loop, fd, bufs[place], LENGTH, (int64_t)place * LENGTH, &outcomes[place]);
        }
        CHECK_EQ(stats_of(loop).op_in_flight, READS);
        RUN_UNTIL(loop, completions == READS);
        for (i = 0; i < READS; i++) {
            CHECK_EQ(outcomes[i].calls, 1); /* P1 */
            CHECK_EQ(outcomes[i].result, LENGTH);
            for (at = 0; at < LENGTH; at++)
                CHECK(bufs[i][at] == pattern((size_t)i * LENGTH + at));
        }
    }
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void a_thousand_writes_in_flight_all_arrive(void)
{
    enum { WRITES = 1000, LENGTH = 1024 };
    static struct outcome outcomes[WRITES];
    static unsigned char data[WRITES * LENGTH], found[WRITES * LENGTH];
    gyre_loop loop = open_loop();
    int fd = make_file(0), i;
    size_t at;
    for (at = 0; at < sizeof data; at++)
        data[at] = pattern(at);
    completions = 0;
    for (i = 0; i < WRITES; i++) {
        size_t place = (size_t)(i * 7 % WRITES) * LENGTH;
        start_write(loop, fd, data + place, LENGTH, (int64_t)place, &outcomes[i]);
    }
    RUN_UNTIL(loop, completions == WRITES);
    for (i = 0; i < WRITES; i++)
        CHECK_EQ(outcomes[i].result, LENGTH);
    CHECK_EQ(pread(fd, found, sizeof found, 0), (ssize_t)sizeof found);
    CHECK_EQ(memcmp(data, found, sizeof data), 0);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void lengths_of_2_gib_and_more_are_taken_and_may_be_short(void)
{
    static const size_t lengths[] = {(size_t)1 << 31, ((size_t)1 << 31) + 1, ((size_t)1 << 32) + 1};
    const size_t reserved = ((size_t)1 << 32) + 4096;
    gyre_loop loop;
    unsigned char *area;
    int fd, null, i;
    if (check_small())
        return; /* valgrind has no room for it */
    area = (unsigned char *)mmap(NULL, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                                 -1, 0);
    CHECK(area != MAP_FAILED);
    loop = open_loop();
    fd = make_file(0);
    fill_with_pattern(fd, 100000);
    null = (int)CHECK_SYS(open("/dev/null", O_WRONLY | O_CLOEXEC));
    for (i = 0; i < 3; i++) {
        int64_t result;
        memset(area, 0, 100000);
        CHECK_EQ(read_now(loop, fd, area, lengths[i], 10), 99990); /* all that there is */
        CHECK_EQ(area[99989], pattern(99999));
        CHECK_EQ(area[99990], 0);
        result = write_now(loop, null, area, lengths[i], GYRE_NO_OFFSET);
        CHECK(result > 0 && result <= (int64_t)lengths[i]);
    }
    close_loop(loop);
    CHECK_SYS(close(null));
    CHECK_SYS(close(fd));
    CHECK_SYS(munmap(area, reserved));
}

static void reads_of_a_file_go_on_beside_25_idle_receives(void)
{
    enum { IDLE = 25, READS = 100 };
    gyre_loop loop = open_loop();
    struct outcome idle[IDLE], reads[READS];
    char bytes[IDLE], buf[READS][16];
    int ends[IDLE][2], fd = make_file(0), i;
    fill_with_pattern(fd, READS * 16);
    for (i = 0; i < IDLE; i++) {
        idle[i] = none_yet();
        if (i % 2) {
            make_socketpair(ends[i]);
            CHECK_OK(gyre_op_recv(loop, ends[i][0], &bytes[i], 1, 0, note, &idle[i], &idle[i].op));
        } else {
            make_pipe(ends[i]);
            start_read(loop, ends[i][0], &bytes[i], 1, GYRE_NO_OFFSET, &idle[i]);
        }
    }
    completions = 0;
    for (i = 0; i < READS; i++)
        start_read(loop, fd, buf[i], 16, i * 16, &reads[i]);
    RUN_UNTIL(loop, completions == READS);
    for (i = 0; i < READS; i++)
        CHECK_EQ(reads[i].result, 16);
    for (i = 0; i < IDLE; i++) {
        CHECK_EQ(idle[i].calls, 0);
        put_byte(ends[i][1]);
    }
    RUN_UNTIL(loop, completions == READS + IDLE); /* these live too */
    for (i = 0; i < IDLE; i++) {
        CHECK_EQ(idle[i].result, 1);
        close_pair(ends[i]);
    }
    close_loop(loop);
    CHECK_SYS(close(fd));
}

/* ---- fsync ---- */

static void fsync_completes_with_0_for_data_alone_and_for_all(void)
{
    static const uint32_t wrong[] = {2, 4, 0x80000000u, UINT32_MAX};
    gyre_loop loop = open_loop();
    struct outcome outcome = none_yet();
    int fd = make_file(0), ends[2];
    size_t i;
    CHECK_EQ(write_now(loop, fd, "data", 4, 0), 4);
    CHECK_OK(gyre_op_fsync(loop, fd, 0, note, &outcome, &outcome.op));
    CHECK_EQ(outcome.calls, 0);
    CHECK_EQ(result_of(loop, &outcome), 0);
    outcome = none_yet();
    CHECK_OK(gyre_op_fsync(loop, fd, GYRE_DATA_ONLY, note, &outcome, &outcome.op));
    CHECK_EQ(result_of(loop, &outcome), 0);
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_STATUS(gyre_op_fsync(loop, fd, wrong[i], note, &outcome, &outcome.op), -EINVAL);
    make_pipe(ends);
    outcome = none_yet();
    CHECK_OK(gyre_op_fsync(loop, ends[1], 0, note, &outcome, &outcome.op));
    CHECK_STATUS((int)result_of(loop, &outcome), -EINVAL); /* a pipe cannot be synchronised */
    close_loop(loop);
    close_pair(ends);
    CHECK_SYS(close(fd));
}

/* ---- errors ---- */

static void a_file_opened_for_the_other_direction_is_ebadf(void)
{
    gyre_loop loop = open_loop();
    int fd = make_file(0), reader = reopen(fd, O_RDONLY), writer = reopen(fd, O_WRONLY);
    char buf[4] = "";
    CHECK_STATUS((int)write_now(loop, reader, buf, 4, 0), -EBADF);
    CHECK_STATUS((int)write_now(loop, reader, buf, 4, GYRE_NO_OFFSET), -EBADF);
    CHECK_STATUS((int)read_now(loop, writer, buf, 4, 0), -EBADF);
    CHECK_STATUS((int)read_now(loop, writer, buf, 4, GYRE_NO_OFFSET), -EBADF);
    close_loop(loop);
    CHECK_SYS(close(reader));
    CHECK_SYS(close(writer));
    CHECK_SYS(close(fd));
}

static void a_directory_is_eisdir(void)
{
    gyre_loop loop = open_loop();
    int fd = (int)CHECK_SYS(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    char buf[4];
    CHECK_STATUS((int)read_now(loop, fd, buf, 4, 0), -EISDIR);
    CHECK_STATUS((int)read_now(loop, fd, buf, 4, GYRE_NO_OFFSET), -EISDIR);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void a_full_device_is_enospc(void)
{
    gyre_loop loop = open_loop();
    int fd = (int)CHECK_SYS(open("/dev/full", O_WRONLY | O_CLOEXEC));
    CHECK_STATUS((int)write_now(loop, fd, "data", 4, GYRE_NO_OFFSET), -ENOSPC);
    CHECK_STATUS((int)write_now(loop, fd, "data", 4, 0), -ENOSPC);
    CHECK_STATUS((int)write_now(loop, fd, "data", 4, 4096), -ENOSPC); /* it has offsets: pwrite(2) takes them */
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void a_file_above_the_limit_is_short_and_then_efbig(void)
{
    struct rlimit before, limit;
    gyre_loop loop = open_loop();
    int fd = make_file(0);
    char data[100];
    memset(data, 'x', sizeof data);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK_SYS(getrlimit(RLIMIT_FSIZE, &before));
    limit = before;
    limit.rlim_cur = 4096;
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &limit));
    CHECK_EQ(write_now(loop, fd, data, sizeof data, 4050), 46);
    CHECK_STATUS((int)write_now(loop, fd, data, sizeof data, 4096), -EFBIG);
    CHECK_STATUS((int)write_now(loop, fd, data, sizeof data, (int64_t)1 << 33), -EFBIG);
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &before));
    CHECK_EQ(lseek(fd, 0, SEEK_END), 4096);
    close_loop(loop);
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    CHECK_SYS(close(fd));
}

static void offsets_that_cannot_be_are_refused_at_the_submit(void)
{
    static const int64_t negative[] = {-2, -4096, INT64_MIN};
    gyre_loop loop = open_loop();
    struct outcome outcome = none_yet();
    int fd = make_file(0), pipes[2], sockets[2], i;
    char buf[4] = "";
    struct iovec piece = {buf, sizeof buf};
    make_pipe(pipes);
    make_socketpair(sockets);
    for (i = 0; i < 3; i++) {
        CHECK_STATUS(gyre_op_read(loop, fd, buf, 4, negative[i], note, &outcome, &outcome.op), -EINVAL);
        CHECK_STATUS(gyre_op_write(loop, fd, buf, 4, negative[i], note, &outcome, &outcome.op), -EINVAL);
        CHECK_STATUS(gyre_op_readv(loop, fd, &piece, 1, negative[i], note, &outcome, &outcome.op), -EINVAL);
        CHECK_STATUS(gyre_op_writev(loop, fd, &piece, 1, negative[i], note, &outcome, &outcome.op), -EINVAL);
    }
    for (i = 0; i < 2; i++) {
        int from = i == 0 ? pipes[0] : sockets[0], to = i == 0 ? pipes[1] : sockets[0];
        CHECK_STATUS(gyre_op_read(loop, from, buf, 4, 10, note, &outcome, &outcome.op), -ESPIPE);
        CHECK_STATUS(gyre_op_write(loop, to, buf, 4, 10, note, &outcome, &outcome.op), -ESPIPE);
        CHECK_STATUS(gyre_op_readv(loop, from, &piece, 1, 10, note, &outcome, &outcome.op), -ESPIPE);
        CHECK_STATUS(gyre_op_writev(loop, to, &piece, 1, 10, note, &outcome, &outcome.op), -ESPIPE);
    }
    CHECK_EQ(outcome.op.bits, 0);
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    close_loop(loop);
    close_pair(pipes);
    close_pair(sockets);
    CHECK_SYS(close(fd));
}

static void piece_counts_that_cannot_be_are_refused_at_the_submit(void)
{
    static const int wrong[] = {-1, INT_MIN, IOV_MAX + 1, INT_MAX};
    static struct iovec pieces[IOV_MAX];
    static char bytes[IOV_MAX];
    gyre_loop loop = open_loop();
    struct outcome outcome = none_yet();
    int fd = make_file(0), i;
    for (i = 0; i < 4; i++) {
        CHECK_STATUS(gyre_op_readv(loop, fd, pieces, wrong[i], 0, note, &outcome, &outcome.op), -EINVAL);
        CHECK_STATUS(gyre_op_writev(loop, fd, pieces, wrong[i], 0, note, &outcome, &outcome.op), -EINVAL);
    }
    CHECK_STATUS(gyre_op_readv(loop, fd, NULL, 1, 0, note, &outcome, &outcome.op), -EINVAL);
    CHECK_STATUS(gyre_op_writev(loop, fd, NULL, 1, 0, note, &outcome, &outcome.op), -EINVAL);
    for (i = 0; i < IOV_MAX; i++) {
        pieces[i].iov_base = &bytes[i];
        pieces[i].iov_len = 1;
    }
    CHECK_OK(gyre_op_writev(loop, fd, pieces, IOV_MAX, 0, note, &outcome, &outcome.op)); /* as many as there may be */
    CHECK_EQ(result_of(loop, &outcome), IOV_MAX);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void a_buffer_that_is_not_there_is_efault(void)
{
    gyre_loop loop;
    int fd;
    void *nowhere;
    if (check_small())
        return; /* valgrind takes it for a mistake, and is right */
    loop = open_loop();
    fd = make_file(0);
    fill_with_pattern(fd, 100);
    nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(nowhere != MAP_FAILED);
    CHECK_STATUS((int)read_now(loop, fd, nowhere, 100, 0), -EFAULT);
    CHECK_STATUS((int)write_now(loop, fd, nowhere, 100, 0), -EFAULT);
    close_loop(loop);
    CHECK_SYS(munmap(nowhere, 4096));
    CHECK_SYS(close(fd));
}

/* ---- capacity ---- */

static void op_capacity_is_exact_and_a_full_loop_takes_nothing(void)
{
    enum { CAPACITY = 8 };
    gyre_loop_options options = default_options();
    gyre_loop loop;
    struct outcome outcomes[CAPACITY], refused = none_yet();
    int ends[2], fd = make_file(0), i;
    char bytes[CAPACITY], extra = '-';
    options.op_capacity = CAPACITY;
    CHECK_OK(gyre_loop_open(&options, &loop));
    make_pipe(ends);
    for (i = 0; i < CAPACITY; i++)
        start_read(loop, ends[0], &bytes[i], 1, GYRE_NO_OFFSET, &outcomes[i]);
    for (i = 0; i < 2; i++) {
        CHECK_STATUS(gyre_op_read(loop, ends[0], &extra, 1, GYRE_NO_OFFSET, note, &refused, &refused.op), GYRE_EFULL);
        CHECK_STATUS(gyre_op_write(loop, fd, &extra, 1, 0, note, &refused, &refused.op), GYRE_EFULL);
        CHECK_STATUS(gyre_op_sleep(loop, 0, note, &refused, &refused.op), GYRE_EFULL);
        CHECK_STATUS(gyre_op_fsync(loop, fd, 0, note, &refused, &refused.op), GYRE_EFULL);
        CHECK_STATUS(gyre_op_close_fd(loop, fd, note, &refused, &refused.op), GYRE_EFULL);
        CHECK_STATUS(gyre_op_write(loop, ends[1], &extra, 1, GYRE_NO_OFFSET, note, &refused, &refused.op),
                     GYRE_EFULL);
    }
    CHECK_EQ(stats_of(loop).op_in_flight, CAPACITY);
    CHECK_EQ(refused.op.bits, 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(result_of(loop, &outcomes[0]), 1);
    start_write(loop, fd, "y", 1, 0, &outcomes[0]); /* one has gone, one may come */
    CHECK_STATUS(gyre_op_write(loop, fd, &extra, 1, 0, note, &refused, &refused.op), GYRE_EFULL);
    CHECK_EQ(result_of(loop, &outcomes[0]), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 1); /* nothing of the refused ones was done */
    CHECK_EQ(refused.calls, 0);
    close_loop(loop);
    for (i = 1; i < CAPACITY; i++)
        CHECK_EQ(outcomes[i].calls, 1); /* P1 */
    CHECK_EQ(refused.calls, 0);
    close_pair(ends);
    CHECK_SYS(close(fd));
}

static int64_t kept[3];

static void keep_nothing(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)loop;
    kept[*(int *)user_data] = done->result;
}

static void an_operation_needs_no_handle(void)
{
    static int first = 0, second = 1, third = 2;
    gyre_loop loop = open_loop();
    int fd = make_file(0);
    char buf[4];
    memset(kept, 0, sizeof kept);
    CHECK_OK(gyre_op_write(loop, fd, "data", 4, 0, keep_nothing, &first, NULL));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0); /* runs till it is told */
    CHECK_OK(gyre_op_read(loop, fd, buf, 4, 0, keep_nothing, &second, NULL));
    CHECK_OK(gyre_op_read(loop, fd, buf, 3, 0, keep_nothing, &third, NULL));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(kept[0], 4);
    CHECK_EQ(kept[1], 4);
    CHECK_EQ(kept[2], 3);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

int main(void)
{
    check_begin();
    RUN(a_read_and_a_write_take_place_at_their_offset);
    RUN(pieces_are_read_and_written_in_turn);
    RUN(offsets_above_4_gib_are_kept);
    RUN(the_end_of_a_file_is_0_and_a_read_across_it_short);
    RUN(operations_at_the_file_position_follow_each_other);
    RUN(a_failed_operation_at_the_file_position_leaves_those_behind_it_in_place);
    RUN(a_thousand_reads_in_flight_have_the_right_data);
    RUN(a_thousand_writes_in_flight_all_arrive);
    RUN(lengths_of_2_gib_and_more_are_taken_and_may_be_short);
    RUN(reads_of_a_file_go_on_beside_25_idle_receives);
    RUN(fsync_completes_with_0_for_data_alone_and_for_all);
    RUN(a_file_opened_for_the_other_direction_is_ebadf);
    RUN(a_directory_is_eisdir);
    RUN(a_full_device_is_enospc);
    RUN(a_file_above_the_limit_is_short_and_then_efbig);
    RUN(offsets_that_cannot_be_are_refused_at_the_submit);
    RUN(piece_counts_that_cannot_be_are_refused_at_the_submit);
    RUN(a_buffer_that_is_not_there_is_efault);
    RUN(op_capacity_is_exact_and_a_full_loop_takes_nothing);
    RUN(an_operation_needs_no_handle);
    return 0;
}
