/* Copies a file through the proactor, many blocks at a time, and verifies the copy.
 *
 * Shows reads and writes at an offset, of which a chosen number is in flight, short ones carried on, errors told with
 * their place, and an end in good order on SIGINT: cancel, and wait until no operation uses a buffer any more.
 *
 *   build: cc -std=c99 10_aio_copy.c -lgyre -o 10_aio_copy
 *   run:   ./10_aio_copy [--engine auto|io_uring|posix_aio|emulated] [--depth N] [--block BYTES] SOURCE DESTINATION
 *
 * A block is read, then written to the same offset. The blocks form a window that moves over the file: they complete
 * in any order, and are retired in the file's order, which is when a block joins the checksum and its buffer takes the
 * next one. After an fsync the destination is read back in the same way, and the checksums are compared.
 *
 * SOURCE is a regular file. DESTINATION may also be a character device: that takes its bytes in order, one block at a
 * time, and cannot be read back. A copy that failed or was interrupted is removed.
 *
 * Exit status: 0 if the copy is there and right; 1 if not; 2 for bad usage; 3 if the engine is not to be had here; 130
 * after SIGINT. A progress bar is shown on stderr if that is a terminal; the result goes to stdout.
 */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700 /* SIGXFSZ */
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
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_NO_ENGINE = 3,
    MAX_DEPTH = 4096,
    MAX_MEMORY = 1024 * 1024 * 1024, /* in all blocks together */
    TICK_MS = 100,                   /* progress bar */
    BAR_WIDTH = 30
};

/* FNV-1a with 64 bits in four lanes, byte n of the file in lane n % 4: each multiplication waits for the one before it,
 * and four such chains side by side keep up with a disk. Blocks of any length give the same value. */
enum { LANES = 4 };

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

struct checksum {
    uint64_t lanes[LANES];
    uint64_t length;
};

/* What goes over the file at present: the copy, and later the check of what was written. */
enum pass { COPY, VERIFY };

struct block {
    struct copy *copy;
    unsigned char *data;
    int64_t offset;      /* in the file */
    size_t length, done; /* done: of the read or the write that is under way */
    int complete;        /* to be retired when all blocks before it are */
    gyre_op op;          /* none while nothing is in flight */
};

struct copy {
    gyre_loop loop;
    const char *source_path, *destination_path;
    int source, destination;
    int to_device;
    int64_t size;

    size_t block_size, depth;
    unsigned char *memory; /* of all blocks */
    struct block *blocks; /* the block at offset o is blocks[o / block_size % depth] */
    gyre_op sync;

    enum pass pass;
    int64_t begun, retired; /* bytes: [0, retired) is done, [retired, begun) is the window */
    struct checksum checksums[2];

    uint64_t started_ns; /* of the present pass */
    int show_progress;
    int failed, signum; /* either one is the end: nothing more is submitted */
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double seconds_since(uint64_t start_ns)
{
    return (double)(clock_ns() - start_ns) / 1e9;
}

static double mib_per_second(int64_t bytes, double seconds)
{
    return seconds > 0 ? (double)bytes / (1024 * 1024) / seconds : 0;
}

/* ---- checksum ---- */

static void checksum_start(struct checksum *checksum)
{
    int i;

    for (i = 0; i < LANES; i++)
        checksum->lanes[i] = FNV_BASIS;
    checksum->length = 0;
}

static void checksum_byte(struct checksum *checksum, unsigned char byte)
{
    uint64_t *lane = &checksum->lanes[checksum->length++ % LANES];

    *lane = (*lane ^ byte) * FNV_PRIME;
}

static void checksum_add(struct checksum *checksum, const unsigned char *data, size_t length)
{
    const unsigned char *end = data + length;
    uint64_t a, b, c, d;

    while (data < end && checksum->length % LANES != 0)
        checksum_byte(checksum, *data++);
    a = checksum->lanes[0];
    b = checksum->lanes[1];
    c = checksum->lanes[2];
    d = checksum->lanes[3];
    for (; end - data >= LANES; data += LANES, checksum->length += LANES) {
        a = (a ^ data[0]) * FNV_PRIME;
        b = (b ^ data[1]) * FNV_PRIME;
        c = (c ^ data[2]) * FNV_PRIME;
        d = (d ^ data[3]) * FNV_PRIME;
    }
    checksum->lanes[0] = a;
    checksum->lanes[1] = b;
    checksum->lanes[2] = c;
    checksum->lanes[3] = d;
    while (data < end)
        checksum_byte(checksum, *data++);
}

static uint64_t checksum_value(const struct checksum *checksum)
{
    uint64_t value = FNV_BASIS;
    int i;

    for (i = 0; i < LANES; i++)
        value = (value ^ checksum->lanes[i]) * FNV_PRIME;
    return (value ^ checksum->length) * FNV_PRIME;
}

/* ---- progress ---- */

static void erase_progress(const struct copy *copy)
{
    if (copy->show_progress)
        fputs("\r\033[K", stderr);
}

static void on_tick(gyre_loop loop, gyre_timer timer, void *user_data)
{
    const struct copy *copy = user_data;
    double part = copy->size > 0 ? (double)copy->retired / (double)copy->size : 1;
    char bar[BAR_WIDTH + 1];

    (void)loop;
    (void)timer;
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '=', (size_t)(part * BAR_WIDTH));
    bar[BAR_WIDTH] = '\0';
    erase_progress(copy);
    fprintf(stderr, "%s [%s] %3.0f %%  ", copy->pass == COPY ? "copying  " : "verifying", bar, part * 100);
    if (copy->sync.bits != 0)
        fputs("waiting for the disk", stderr);
    else
        fprintf(stderr, "%.0f MiB/s", mib_per_second(copy->retired, seconds_since(copy->started_ns)));
}

/* ---- the end before the end ---- */

static int is_ending(const struct copy *copy)
{
    return copy->failed || copy->signum != 0;
}

/* A cancel is a request: each operation still completes, once, and its buffer stays in use until then. As nothing new
 * is submitted, the loop runs until the last one has completed, and then has nothing left to wait for. */
static void cancel_all(struct copy *copy)
{
    size_t i;

    for (i = 0; i < copy->depth; i++)
        if (copy->blocks[i].op.bits != 0)
            check(gyre_op_cancel(copy->blocks[i].op), "gyre_op_cancel");
    if (copy->sync.bits != 0)
        check(gyre_op_cancel(copy->sync), "gyre_op_cancel");
}

/* Only the first failure is told: what else comes is of its making. */
static void fail_because(struct copy *copy, const char *path, const char *what, int64_t offset, const char *why)
{
    if (is_ending(copy))
        return;
    copy->failed = 1;
    erase_progress(copy);
    fprintf(stderr, "10_aio_copy: %s: %s at byte %" PRId64 ": %s\n", path, what, offset, why);
    cancel_all(copy);
}

static void fail(struct copy *copy, const char *path, const char *what, int64_t offset, int status)
{
    char why[100];

    snprintf(why, sizeof why, "%s (%s)", gyre_status_message(status), gyre_status_name(status));
    fail_because(copy, path, what, offset, why);
}

static void on_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    struct copy *copy = user_data;

    (void)loop;
    (void)signal;
    (void)count;
    if (is_ending(copy))
        return;
    copy->signum = signum;
    cancel_all(copy);
}

/* ---- blocks ---- */

static void on_read(gyre_loop loop, const gyre_completion *done, void *user_data);
static void on_written(gyre_loop loop, const gyre_completion *done, void *user_data);

static void block_read(struct block *block)
{
    struct copy *copy = block->copy;
    int from_source = copy->pass == COPY;
    int status = gyre_op_read(copy->loop, from_source ? copy->source : copy->destination, block->data + block->done,
                              block->length - block->done, block->offset + (int64_t)block->done, on_read, block,
                              &block->op);

    if (status < 0)
        fail(copy, from_source ? copy->source_path : copy->destination_path, "read", block->offset, status);
}

static void block_write(struct block *block)
{
    struct copy *copy = block->copy;
    int64_t offset = block->offset + (int64_t)block->done;
    int status = gyre_op_write(copy->loop, copy->destination, block->data + block->done, block->length - block->done,
                               copy->to_device ? GYRE_NO_OFFSET : offset, on_written, block, &block->op);

    if (status < 0)
        fail(copy, copy->destination_path, "write", offset, status);
}

/* Gives the file's next part to a block that has nothing to do. */
static void block_begin(struct copy *copy)
{
    struct block *block = &copy->blocks[(uint64_t)copy->begun / copy->block_size % copy->depth];
    int64_t left = copy->size - copy->begun;

    block->offset = copy->begun;
    block->length = left < (int64_t)copy->block_size ? (size_t)left : copy->block_size;
    block->done = 0;
    block->complete = 0;
    copy->begun += (int64_t)block->length;
    block_read(block);
}

/* Retires what is complete at the front of the window, and moves the window on. */
static void advance(struct copy *copy)
{
    while (copy->retired < copy->begun && !is_ending(copy)) {
        struct block *front = &copy->blocks[(uint64_t)copy->retired / copy->block_size % copy->depth];

        if (!front->complete)
            return;
        checksum_add(&copy->checksums[copy->pass], front->data, front->length);
        copy->retired += (int64_t)front->length;
        if (copy->begun < copy->size)
            block_begin(copy);
    }
}

static void on_read(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct block *block = user_data;
    struct copy *copy = block->copy;
    const char *path = copy->pass == COPY ? copy->source_path : copy->destination_path;
    int64_t offset = block->offset + (int64_t)block->done;

    (void)loop;
    block->op.bits = 0;
    if (is_ending(copy))
        return;
    if (done->result < 0) {
        fail(copy, path, "read", offset, (int)done->result);
        return;
    }
    if (done->result == 0) {
        fail_because(copy, path, "read", offset, "the file has become shorter");
        return;
    }
    block->done += (size_t)done->result;
    if (block->done < block->length) {
        block_read(block);
    } else if (copy->pass == COPY) {
        block->done = 0;
        block_write(block);
    } else {
        block->complete = 1;
        advance(copy);
    }
}

static void on_written(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct block *block = user_data;
    struct copy *copy = block->copy;
    int64_t offset = block->offset + (int64_t)block->done;

    (void)loop;
    block->op.bits = 0;
    if (is_ending(copy))
        return;
    if (done->result < 0) {
        fail(copy, copy->destination_path, "write", offset, (int)done->result);
        return;
    }
    if (done->result == 0) { /* no error of the system's, but to try again might never end */
        fail_because(copy, copy->destination_path, "write", offset, "nothing was written");
        return;
    }
    block->done += (size_t)done->result;
    if (block->done < block->length) {
        block_write(block);
    } else {
        block->complete = 1;
        advance(copy);
    }
}

static void on_synced(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct copy *copy = user_data;

    (void)loop;
    copy->sync.bits = 0;
    if (done->result < 0)
        fail(copy, copy->destination_path, "fsync", copy->retired, (int)done->result);
}

/* ---- the passes ---- */

/* Fills the window and runs the loop until all operations have completed. Watchers of signals and the timer of the
 * progress bar do not keep it running. */
static void run_pass(struct copy *copy, enum pass pass)
{
    size_t i;

    copy->pass = pass;
    copy->begun = copy->retired = 0;
    copy->started_ns = clock_ns();
    checksum_start(&copy->checksums[pass]);
    for (i = 0; i < copy->depth && copy->begun < copy->size && !is_ending(copy); i++)
        block_begin(copy);
    check(gyre_loop_run(copy->loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
}

static void run_sync(struct copy *copy)
{
    int status = gyre_op_fsync(copy->loop, copy->destination, 0, on_synced, copy, &copy->sync);

    if (status < 0)
        fail(copy, copy->destination_path, "fsync", copy->retired, status);
    check(gyre_loop_run(copy->loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
}

static void copy_run(struct copy *copy)
{
    double seconds, sync_seconds = 0;
    uint64_t sync_started_ns, value;

    run_pass(copy, COPY);
    seconds = seconds_since(copy->started_ns);
    if (!is_ending(copy) && !copy->to_device) {
        sync_started_ns = clock_ns();
        run_sync(copy);
        sync_seconds = seconds_since(sync_started_ns);
    }
    if (!is_ending(copy) && !copy->to_device)
        run_pass(copy, VERIFY);
    erase_progress(copy);
    if (is_ending(copy))
        return;

    value = checksum_value(&copy->checksums[COPY]);
    if (!copy->to_device && checksum_value(&copy->checksums[VERIFY]) != value) {
        fprintf(stderr, "10_aio_copy: %s: the copy differs from %s\n", copy->destination_path, copy->source_path);
        copy->failed = 1;
        return;
    }
    printf("bytes=%" PRId64 " seconds=%.3f mib_per_s=%.1f fsync_seconds=%.3f engine=%s checksum=%016" PRIx64
           " verified=%s\n",
           copy->size, seconds, mib_per_second(copy->size, seconds), sync_seconds, gyre_loop_engine(copy->loop), value,
           copy->to_device ? "no" : "yes");
}

/* ---- files ---- */

static void refuse(const char *path, const char *why)
{
    fprintf(stderr, "10_aio_copy: %s: %s\n", path, why);
    exit(EXIT_FAILURE);
}

static int is_same_file(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

static void open_source(struct copy *copy, struct stat *from)
{
    /* Without O_NONBLOCK the open of a named pipe would wait for a writer. A file is better read without it. */
    copy->source = open(copy->source_path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (copy->source < 0 || fstat(copy->source, from) < 0)
        refuse(copy->source_path, strerror(errno));
    if (!S_ISREG(from->st_mode))
        refuse(copy->source_path, "not a regular file; pipes, devices and directories cannot be copied");
    if (fcntl(copy->source, F_SETFL, 0) < 0)
        refuse(copy->source_path, strerror(errno));
    copy->size = from->st_size;
}

static void open_destination(struct copy *copy, const struct stat *from)
{
    struct stat to;

    /* Not O_TRUNC: it may be the source under another name. */
    copy->destination =
        open(copy->destination_path, O_RDWR | O_CREAT | O_NOCTTY | O_CLOEXEC, from->st_mode & (mode_t)0777);
    if (copy->destination < 0 || fstat(copy->destination, &to) < 0)
        refuse(copy->destination_path, strerror(errno));
    if (is_same_file(from, &to))
        refuse(copy->destination_path, "is the source itself");
    copy->to_device = S_ISCHR(to.st_mode);
    if (copy->to_device)
        copy->depth = 1;
    else if (!S_ISREG(to.st_mode))
        refuse(copy->destination_path, "neither a regular file nor a character device");
    else if (ftruncate(copy->destination, 0) < 0)
        refuse(copy->destination_path, strerror(errno));
}

/* Half a copy is worse than none. A symbolic link is left in place, and what it leads to is emptied. */
static void remove_destination(const struct copy *copy)
{
    struct stat opened, named;
    int result;

    if (copy->to_device)
        return;
    if (fstat(copy->destination, &opened) == 0 && lstat(copy->destination_path, &named) == 0 &&
        is_same_file(&opened, &named))
        result = unlink(copy->destination_path);
    else
        result = ftruncate(copy->destination, 0);
    fprintf(stderr, "10_aio_copy: %s: %s\n", copy->destination_path,
            result == 0 ? "the incomplete copy is removed" : "the incomplete copy could not be removed");
}

static void allocate_blocks(struct copy *copy)
{
    uint64_t useful = ((uint64_t)copy->size + copy->block_size - 1) / copy->block_size;
    size_t i;

    if (copy->depth > useful)
        copy->depth = useful > 0 ? (size_t)useful : 1;
    copy->blocks = calloc(copy->depth, sizeof *copy->blocks);
    copy->memory = malloc(copy->depth * copy->block_size);
    if (copy->blocks == NULL || copy->memory == NULL) {
        fprintf(stderr, "10_aio_copy: not enough memory for the blocks\n");
        exit(EXIT_FAILURE);
    }
    for (i = 0; i < copy->depth; i++) {
        copy->blocks[i].copy = copy;
        copy->blocks[i].data = copy->memory + i * copy->block_size;
    }
}

/* ---- command line ---- */

static void usage(void)
{
    fprintf(stderr, "usage: 10_aio_copy [--engine auto|io_uring|posix_aio|emulated] [--depth N] [--block BYTES]"
                    " SOURCE DESTINATION\n"
                    "N blocks (1 to %d, default 16) of BYTES (default 262144) are in flight; no more than %d bytes\n",
            (int)MAX_DEPTH, (int)MAX_MEMORY);
    exit(EXIT_USAGE);
}

static int engine_by_name(const char *name)
{
    static const char *const names[] = {"auto", "io_uring", "posix_aio", "emulated"};
    static const int engines[] = {GYRE_ENGINE_AUTO, GYRE_ENGINE_IO_URING, GYRE_ENGINE_POSIX_AIO, GYRE_ENGINE_EMULATED};
    size_t i;

    for (i = 0; i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return engines[i];
    usage();
    return GYRE_ENGINE_AUTO;
}

static size_t parse_number(const char *text, unsigned long max)
{
    char *end;
    unsigned long value;

    if (text[0] < '0' || text[0] > '9')
        usage();
    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < 1 || value > max)
        usage();
    return value;
}

int main(int argc, char **argv)
{
    static struct copy copy;
    gyre_loop_options options;
    gyre_signal interrupt, terminate;
    gyre_timer tick;
    struct stat from;
    const char *engine = "auto";
    int i, status;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    copy.depth = 16;
    copy.block_size = 256 * 1024;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--engine") == 0 && i + 1 < argc)
            options.engine = engine_by_name(engine = argv[++i]);
        else if (strcmp(argv[i], "--depth") == 0 && i + 1 < argc)
            copy.depth = parse_number(argv[++i], MAX_DEPTH);
        else if (strcmp(argv[i], "--block") == 0 && i + 1 < argc)
            copy.block_size = parse_number(argv[++i], MAX_MEMORY);
        else if (argv[i][0] == '-' || copy.destination_path != NULL)
            usage();
        else if (copy.source_path == NULL)
            copy.source_path = argv[i];
        else
            copy.destination_path = argv[i];
    }
    if (copy.destination_path == NULL || copy.block_size > MAX_MEMORY / copy.depth)
        usage();

    /* So that a write above RLIMIT_FSIZE is an error like others, EFBIG, and not the end of the program. */
    signal(SIGXFSZ, SIG_IGN);

    status = gyre_loop_open(&options, &copy.loop);
    if (status == GYRE_EUNSUPPORTED) {
        fprintf(stderr, "10_aio_copy: the engine %s is not to be had here: %s\n", engine, gyre_status_message(status));
        return EXIT_NO_ENGINE;
    }
    check(status, "gyre_loop_open");
    check(gyre_signal_open(copy.loop, SIGINT, on_signal, &copy, &interrupt), "gyre_signal_open");
    check(gyre_signal_open(copy.loop, SIGTERM, on_signal, &copy, &terminate), "gyre_signal_open");
    check(gyre_signal_set_keepalive(interrupt, 0), "gyre_signal_set_keepalive");
    check(gyre_signal_set_keepalive(terminate, 0), "gyre_signal_set_keepalive");
    copy.show_progress = isatty(STDERR_FILENO);
    if (copy.show_progress) {
        check(gyre_timer_open(copy.loop, GYRE_MS(TICK_MS), GYRE_MS(TICK_MS), on_tick, &copy, &tick),
              "gyre_timer_open");
        check(gyre_timer_set_keepalive(tick, 0), "gyre_timer_set_keepalive");
    }

    open_source(&copy, &from);
    allocate_blocks(&copy);
    open_destination(&copy, &from); /* last: what fails before leaves it as it was */
    copy_run(&copy);

    check(gyre_loop_close(copy.loop), "gyre_loop_close");
    if (is_ending(&copy))
        remove_destination(&copy);
    free(copy.blocks);
    free(copy.memory);
    close(copy.source);
    close(copy.destination);
    return copy.signum != 0 ? 128 + copy.signum : copy.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
