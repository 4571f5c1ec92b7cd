/* Both faces of one loop: it watches standard input, ticks, and moves a file.
 *
 * The reactor tells when something can be read from standard input, which the program then reads itself, and when it is
 * time for a tick. The proactor reads and writes the file: files have no readiness, and a read or write of one may
 * block, which here nobody else has to wait for.
 *
 *   build: cc -std=c99 13_both_faces.c -lgyre -o 13_both_faces
 *   run:   ./13_both_faces [SOURCE DESTINATION]
 *
 * Moves SOURCE to DESTINATION, which must not exist, by copying and removing; they may be on different file systems.
 * Without arguments it makes a file of its own to move, in $TMPDIR or /tmp, and leaves nothing behind. An empty line on
 * standard input asks how far it is; "quit", the end of input, and SIGINT end the program early, and then SOURCE is
 * still there and DESTINATION is not. Exit status: 0, also when it was ended early; 1 on failure; 2 for bad usage.
 */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include <gyre.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK_SIZE = 64 * 1024,
    OWN_FILE_MIB = 128,
    TICK_MS = 50,
    LINE_SIZE = 80,
    PATH_SIZE = 1024
};

struct mover {
    gyre_loop loop;
    /* the reactor's */
    gyre_io input;
    gyre_timer tick;
    gyre_signal interrupt;
    char line[LINE_SIZE];
    size_t line_length;
    unsigned ticks;
    /* the proactor's */
    gyre_op op; /* one at a time: 10_aio_copy.c shows how to have many */
    const char *source_path, *destination_path;
    int source, destination;
    int64_t size, moved;
    size_t block_length, block_written;
    int finished, stopping, failed;
    char block[BLOCK_SIZE];
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static void check_errno(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(EXIT_FAILURE);
    }
}

/* Closes the watchers, and asks the operation in flight to end. When it has completed nothing is left in the loop, and
 * gyre_loop_run returns. */
static void stop(struct mover *mover)
{
    if (mover->stopping)
        return;
    mover->stopping = 1;
    check(gyre_io_close(mover->input), "gyre_io_close");
    check(gyre_timer_close(mover->tick), "gyre_timer_close");
    check(gyre_signal_close(mover->interrupt), "gyre_signal_close");
    if (mover->op.bits != 0)
        check(gyre_op_cancel(mover->op), "gyre_op_cancel");
}

static void fail(struct mover *mover, const char *what, const char *why)
{
    if (mover->stopping)
        return;
    fprintf(stderr, "%s: %s\n", what, why);
    mover->failed = 1;
    stop(mover);
}

static void show(const struct mover *mover, const char *what)
{
    printf("%-6s %" PRId64 " of %" PRId64 " bytes moved\n", what, mover->moved, mover->size);
}

/* ---- reactor ---- */

static void on_tick(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct mover *mover = user_data;

    (void)loop;
    (void)timer;
    mover->ticks++;
    show(mover, "tick");
}

static void on_interrupt(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    stop(user_data);
}

static void on_line(struct mover *mover)
{
    mover->line[mover->line_length] = '\0';
    if (strcmp(mover->line, "quit") == 0)
        stop(mover);
    else if (mover->line_length == 0)
        show(mover, "asked");
    else
        printf("not understood: %s\n", mover->line);
    mover->line_length = 0;
}

/* Standard input is shared with others, so it stays a blocking descriptor: when it is ready, one read takes what is
 * there and does not block. */
static void on_input(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct mover *mover = user_data;
    char data[512];
    ssize_t length, i;

    (void)loop;
    (void)io;
    (void)events; /* a hangup or an error shows in the read */
    length = read(STDIN_FILENO, data, sizeof data);
    if (length < 0 && errno != EAGAIN && errno != EINTR)
        fail(mover, "standard input", strerror(errno));
    if (length == 0)
        stop(mover);
    for (i = 0; i < length && !mover->stopping; i++) {
        if (data[i] == '\n')
            on_line(mover);
        else if (mover->line_length < LINE_SIZE - 1) /* a longer line loses its end */
            mover->line[mover->line_length++] = data[i];
    }
}

/* ---- proactor ---- */

static void on_read(gyre_loop loop, const gyre_completion *done, void *user_data);
static void on_written(gyre_loop loop, const gyre_completion *done, void *user_data);
static void on_synced(gyre_loop loop, const gyre_completion *done, void *user_data);

/* Reads the next block, or after the last one has the destination written to the disk: the source is about to go. */
static void next_block(struct mover *mover)
{
    int status;

    if (mover->moved < mover->size)
        status = gyre_op_read(mover->loop, mover->source, mover->block, BLOCK_SIZE, mover->moved, on_read, mover,
                              &mover->op);
    else
        status = gyre_op_fsync(mover->loop, mover->destination, 0, on_synced, mover, &mover->op);
    if (status < 0)
        fail(mover, "submit", gyre_status_message(status));
}

static void write_block(struct mover *mover)
{
    int status = gyre_op_write(mover->loop, mover->destination, mover->block + mover->block_written,
                               mover->block_length - mover->block_written,
                               mover->moved + (int64_t)mover->block_written, on_written, mover, &mover->op);

    if (status < 0)
        fail(mover, "submit", gyre_status_message(status));
}

/* What every completion has in common. Returns whether to go on. */
static int take_result(struct mover *mover, const gyre_completion *done, const char *path)
{
    mover->op.bits = 0;
    if (done->result < 0)
        fail(mover, path, gyre_status_message((int)done->result)); /* says nothing of a cancel by stop */
    return !mover->stopping;
}

static void on_read(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct mover *mover = user_data;

    (void)loop;
    if (!take_result(mover, done, mover->source_path))
        return;
    if (done->result == 0) {
        fail(mover, mover->source_path, "has become shorter meanwhile");
        return;
    }
    mover->block_length = (size_t)done->result; /* may be less than a block: the next read begins behind it */
    mover->block_written = 0;
    write_block(mover);
}

static void on_written(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct mover *mover = user_data;

    (void)loop;
    if (!take_result(mover, done, mover->destination_path))
        return;
    if (done->result == 0) {
        fail(mover, mover->destination_path, "takes no more");
        return;
    }
    mover->block_written += (size_t)done->result;
    if (mover->block_written < mover->block_length) {
        write_block(mover);
        return;
    }
    mover->moved += (int64_t)mover->block_length;
    next_block(mover);
}

static void on_synced(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct mover *mover = user_data;

    (void)loop;
    if (!take_result(mover, done, mover->destination_path))
        return;
    mover->finished = 1;
    stop(mover);
}

/* ---- files ---- */

/* Makes a file to be moved. Blocking calls are all right before the loop runs. */
static void make_own_file(char source[PATH_SIZE], char destination[PATH_SIZE])
{
    const char *directory = getenv("TMPDIR");
    static char block[1024 * 1024];
    int fd, i;

    if (directory == NULL || directory[0] == '\0')
        directory = "/tmp";
    if (snprintf(source, PATH_SIZE - 8, "%s/13_both_faces.XXXXXX", directory) >= PATH_SIZE - 8) {
        fprintf(stderr, "TMPDIR: too long\n");
        exit(EXIT_FAILURE);
    }
    check_errno(fd = mkstemp(source), source);
    for (i = 0; i < OWN_FILE_MIB; i++) {
        memset(block, i + 1, sizeof block);
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block) {
            fprintf(stderr, "%s: cannot be filled\n", source);
            unlink(source);
            exit(EXIT_FAILURE);
        }
    }
    close(fd);
    strcpy(destination, source);
    strcat(destination, ".moved");
}

static void open_files(struct mover *mover)
{
    struct stat stat;

    /* Without O_NONBLOCK the open of a named pipe would wait for a writer. */
    mover->source = open(mover->source_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    check_errno(mover->source, mover->source_path);
    check_errno(fstat(mover->source, &stat), mover->source_path);
    if (!S_ISREG(stat.st_mode)) {
        fprintf(stderr, "%s: not a regular file\n", mover->source_path);
        exit(EXIT_FAILURE);
    }
    check_errno(fcntl(mover->source, F_SETFL, 0), mover->source_path);
    mover->size = stat.st_size;
    mover->destination =
        open(mover->destination_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, stat.st_mode & (mode_t)0777);
    check_errno(mover->destination, mover->destination_path);
}

int main(int argc, char **argv)
{
    static struct mover mover;
    static char own_source[PATH_SIZE], own_destination[PATH_SIZE];

    if (argc != 1 && argc != 3) {
        fprintf(stderr, "usage: 13_both_faces [SOURCE DESTINATION]\n");
        return 2;
    }
    /* If it is closed, the next descriptor opened would take its number. */
    check_errno(fcntl(STDIN_FILENO, F_GETFD), "standard input");
    check(gyre_loop_open(NULL, &mover.loop), "gyre_loop_open");
    check(gyre_io_open(mover.loop, STDIN_FILENO, GYRE_READ, on_input, &mover, &mover.input), "standard input");
    check(gyre_signal_open(mover.loop, SIGINT, on_interrupt, &mover, &mover.interrupt), "gyre_signal_open");

    if (argc == 1)
        make_own_file(own_source, own_destination);
    mover.source_path = argc == 1 ? own_source : argv[1];
    mover.destination_path = argc == 1 ? own_destination : argv[2];
    open_files(&mover);

    check(gyre_timer_open(mover.loop, GYRE_MS(TICK_MS), GYRE_MS(TICK_MS), on_tick, &mover, &mover.tick),
          "gyre_timer_open");
    next_block(&mover);
    check(gyre_loop_run(mover.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
    check(gyre_loop_close(mover.loop), "gyre_loop_close");

    close(mover.source);
    if (close(mover.destination) < 0) {
        fprintf(stderr, "%s: %s\n", mover.destination_path, strerror(errno));
        mover.failed = 1;
    }
    check_errno(unlink(mover.finished && !mover.failed ? mover.source_path : mover.destination_path), "unlink");
    show(&mover, mover.finished && !mover.failed ? "done" : "ended");
    printf("%u ticks meanwhile\n", mover.ticks);
    if (argc == 1)
        check_errno(unlink(mover.finished && !mover.failed ? own_destination : own_source), "unlink");
    return mover.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
