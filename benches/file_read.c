/* What a read of 4 KiB from a cached file costs: CPU nanoseconds, user and system, of the whole process.
 *
 * The file lies in the page cache, so that nothing but the way of asking for it is measured. Random aligned blocks are
 * read, one at a time or 32 in flight, by pread(2) in a loop, by the C library's POSIX AIO and by io_uring as one would
 * write it by hand, and through gyre on each of its engines. Every block is looked at: it holds its own number.
 *
 *   run:   ./file_read [--rounds N] [--reads N] [--only NAME]
 *
 * --only measures what has NAME in its name. Exit status: 0; 1 on failure; 2 for bad usage. What this machine does not
 * have shows as "not here". */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE

#include "measure.h"

#include <aio.h>
#include <fcntl.h>
#include <pthread.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

enum {
    READ_SIZE = 4096,
    BLOCK_BITS = 14,
    BLOCKS = 1 << BLOCK_BITS, /* 64 MiB */
    MAX_DEPTH = 32
};

static const int depths[] = {1, MAX_DEPTH};

/* One of the reads in flight, and its buffer. */
struct slot {
    struct run *run;
    unsigned char *data;
    uint64_t block;       /* to be read */
    struct slot *next;    /* in a list of completed ones */
    struct aiocb request; /* for POSIX AIO */
};

struct run {
    const struct method *method;
    int fd, depth;
    uint64_t left;   /* to be started */
    uint64_t done;   /* and found right */
    uint64_t random; /* never 0 */
    struct slot slots[MAX_DEPTH];
};

/* A way of reading. `prepare` is not measured; `read_all` starts what is left, and returns when all of it has come. */
struct method {
    const char *name;
    void (*prepare)(struct run *run);
    void (*read_all)(struct run *run);
    int engine, aio_notify; /* for gyre */
};

/* Chooses the block to read next. Returns 0 if enough are on their way. The sequence is the same for each method. */
static int slot_next(struct slot *slot)
{
    struct run *run = slot->run;

    if (run->left == 0)
        return 0;
    run->left--;
    run->random ^= run->random << 13; /* xorshift64 */
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    slot->block = run->random >> (64 - BLOCK_BITS);
    return 1;
}

static off_t slot_offset(const struct slot *slot)
{
    return (off_t)slot->block * READ_SIZE;
}

/* `result` is a count of bytes or -errno. */
static void slot_finish(struct slot *slot, int64_t result)
{
    uint64_t number;

    if (result != READ_SIZE)
        fail(slot->run->method->name, result < 0 ? strerror((int)-result) : "a short read");
    memcpy(&number, slot->data, sizeof number);
    if (number != slot->block)
        fail(slot->run->method->name, "another block was read");
    slot->run->done++;
}

static void prepare_nothing(struct run *run)
{
    (void)run;
}

#ifndef HAVE_LIBURING
static void prepare_absent(struct run *run)
{
    (void)run;
    exit(EXIT_NOT_HERE);
}
#endif

/* ---- pread ---- */

/* Depth here is how many buffers there are: it costs to walk through more memory. */
static void pread_all(struct run *run)
{
    struct slot *slot = run->slots;

    while (slot_next(slot)) {
        ssize_t count = pread(run->fd, slot->data, READ_SIZE, slot_offset(slot));

        slot_finish(slot, count < 0 ? -errno : count);
        if (++slot == run->slots + run->depth)
            slot = run->slots;
    }
}

/* ---- POSIX AIO by hand ---- */

static struct slot *volatile completed; /* list */
static struct sigevent notification;
static struct slot *(*take_completed)(void); /* waits for at least one */

static void aio_start(struct slot *slot)
{
    memset(&slot->request, 0, sizeof slot->request);
    slot->request.aio_fildes = slot->run->fd;
    slot->request.aio_buf = slot->data;
    slot->request.aio_nbytes = READ_SIZE;
    slot->request.aio_offset = slot_offset(slot);
    slot->request.aio_sigevent = notification;
    slot->request.aio_sigevent.sigev_value.sival_ptr = slot;
    check_errno(aio_read(&slot->request), "aio_read");
}

static void aio_read_all(struct run *run)
{
    int i, in_flight = 0;

    for (; in_flight < run->depth && slot_next(&run->slots[in_flight]); in_flight++)
        ;
    for (i = 0; i < in_flight; i++)
        aio_start(&run->slots[i]);
    while (in_flight > 0) {
        struct slot *slot, *next;

        for (slot = take_completed(); slot != NULL; slot = next) {
            int error = aio_error(&slot->request);

            next = slot->next;
            slot_finish(slot, error != 0 ? -error : aio_return(&slot->request));
            if (slot_next(slot))
                aio_start(slot);
            else
                in_flight--;
        }
    }
}

/* The signal is blocked but while the thread waits for it, so this never runs beside what takes the list. */
static void on_signal(int signum, siginfo_t *info, void *context)
{
    struct slot *slot = info->si_value.sival_ptr;

    (void)signum;
    (void)context;
    slot->next = completed;
    completed = slot;
}

static struct slot *take_after_signal(void)
{
    struct slot *list;
    sigset_t none;

    sigemptyset(&none);
    while (completed == NULL)
        sigsuspend(&none);
    list = completed;
    completed = NULL;
    return list;
}

static void prepare_aio_signal(struct run *run)
{
    struct rlimit queue;
    struct sigaction action;
    sigset_t set;

    /* When the queue of signals is full, one is lost, and with it the read. */
    check_errno(getrlimit(RLIMIT_SIGPENDING, &queue), "getrlimit");
    if (queue.rlim_cur < (rlim_t)run->depth)
        exit(EXIT_NOT_HERE);
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    check_errno(sigaction(SIGRTMIN, &action, NULL), "sigaction");
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    check_errno(sigprocmask(SIG_BLOCK, &set, NULL), "sigprocmask");
    notification.sigev_notify = SIGEV_SIGNAL;
    notification.sigev_signo = SIGRTMIN;
    take_completed = take_after_signal;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of `completed`, for threads */
static pthread_cond_t is_completed = PTHREAD_COND_INITIALIZER;

static void on_thread(union sigval value)
{
    struct slot *slot = value.sival_ptr;

    pthread_mutex_lock(&mutex);
    slot->next = completed;
    completed = slot;
    pthread_cond_signal(&is_completed);
    pthread_mutex_unlock(&mutex);
}

static struct slot *take_from_threads(void)
{
    struct slot *list;

    pthread_mutex_lock(&mutex);
    while (completed == NULL)
        pthread_cond_wait(&is_completed, &mutex);
    list = completed;
    completed = NULL;
    pthread_mutex_unlock(&mutex);
    return list;
}

static void prepare_aio_thread(struct run *run)
{
    (void)run;
    notification.sigev_notify = SIGEV_THREAD;
    notification.sigev_notify_function = on_thread;
    take_completed = take_from_threads;
}

/* ---- io_uring by hand ---- */

#ifdef HAVE_LIBURING
static struct io_uring ring;

static void prepare_uring(struct run *run)
{
    int status = io_uring_queue_init(MAX_DEPTH, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

    (void)run;
    if (status < 0)
        exit(EXIT_NOT_HERE);
}

/* As many entries as there are slots: there always is one. */
static void uring_start(struct slot *slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    io_uring_prep_read(sqe, slot->run->fd, slot->data, READ_SIZE, (uint64_t)slot_offset(slot));
    io_uring_sqe_set_data(sqe, slot);
}

static void uring_read_all(struct run *run)
{
    int in_flight;

    for (in_flight = 0; in_flight < run->depth && slot_next(&run->slots[in_flight]); in_flight++)
        uring_start(&run->slots[in_flight]);
    while (in_flight > 0) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        int status = io_uring_submit_and_wait(&ring, 1);

        if (status < 0 && status != -EINTR)
            fail("io_uring_submit_and_wait", strerror(-status));
        io_uring_for_each_cqe(&ring, head, cqe) {
            struct slot *slot = io_uring_cqe_get_data(cqe);

            slot_finish(slot, cqe->res);
            if (slot_next(slot))
                uring_start(slot);
            else
                in_flight--;
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
#endif

/* ---- gyre ---- */

static gyre_loop loop;

static void prepare_gyre(struct run *run)
{
    loop = open_loop(run->method->engine, run->method->aio_notify);
}

static void on_read(gyre_loop on, const gyre_completion *done, void *user_data)
{
    struct slot *slot = user_data;

    slot_finish(slot, done->result);
    if (slot_next(slot))
        check(gyre_op_read(on, slot->run->fd, slot->data, READ_SIZE, slot_offset(slot), on_read, slot, NULL),
              "gyre_op_read");
}

static void gyre_read_all(struct run *run)
{
    int i;

    for (i = 0; i < run->depth && slot_next(&run->slots[i]); i++) {
        struct slot *slot = &run->slots[i];

        check(gyre_op_read(loop, run->fd, slot->data, READ_SIZE, slot_offset(slot), on_read, slot, NULL),
              "gyre_op_read");
    }
    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
}

/* ---- the measurement ---- */

/* The first is what the others are compared with. */
static const struct method methods[] = {
    {"pread", prepare_nothing, pread_all, 0, 0},
#ifdef HAVE_LIBURING
    {"io_uring by hand", prepare_uring, uring_read_all, 0, 0},
#else
    {"io_uring by hand", prepare_absent, NULL, 0, 0},
#endif
    {"POSIX AIO by hand, signal", prepare_aio_signal, aio_read_all, 0, 0},
    {"POSIX AIO by hand, thread", prepare_aio_thread, aio_read_all, 0, 0},
    {"gyre io_uring", prepare_gyre, gyre_read_all, GYRE_ENGINE_IO_URING, 0},
    {"gyre emulated", prepare_gyre, gyre_read_all, GYRE_ENGINE_EMULATED, 0},
    {"gyre posix_aio, signal", prepare_gyre, gyre_read_all, GYRE_ENGINE_POSIX_AIO, GYRE_AIO_SIGNAL},
    {"gyre posix_aio, thread", prepare_gyre, gyre_read_all, GYRE_ENGINE_POSIX_AIO, GYRE_AIO_THREAD},
};

enum {
    METHODS = sizeof methods / sizeof methods[0],
    ROWS = METHODS * (int)(sizeof depths / sizeof depths[0])
};

struct row {
    int selected, absent;
    double ns[MAX_ROUNDS]; /* a read */
};

static struct row rows[ROWS];
static struct run run;
static struct options options = {"file_read", "reads", 11, 20000, 10 * 1000 * 1000, NULL, NULL, 0, 0};

/* In the child. */
static void measure(const void *context, int report)
{
    struct usage before, after;
    double ns;

    (void)context;
    run.method->prepare(&run);
    run.left = (uint64_t)(options.count / 10 + run.depth); /* to warm up: threads, rings, memory */
    run.method->read_all(&run);
    run.left = (uint64_t)options.count;
    run.done = 0;
    before = usage_now();
    run.method->read_all(&run);
    after = usage_now();
    if (run.done != (uint64_t)options.count)
        fail(run.method->name, "not all reads have come");
    ns = (after.user - before.user + after.system - before.system) / (double)options.count;
    child_tell(report, &ns, sizeof ns);
}

static void measure_row(int number, int round)
{
    struct row *row = &rows[number];
    struct child child;
    int told;

    if (!row->selected || row->absent)
        return;
    run.method = &methods[number % METHODS];
    run.depth = depths[number / METHODS];
    child = child_start(measure, NULL, 30 + (unsigned)(options.count / 1000));
    told = child_hear(&child, &row->ns[round], sizeof row->ns[round]);
    row->absent = !child_end(&child, run.method->name, 0);
    if (!told && !row->absent)
        fail(run.method->name, "tells nothing");
}

/* Writes the file, which has no name and goes with the process. */
static int create_file(void)
{
    static unsigned char block[READ_SIZE];
    const char *directory = getenv("TMPDIR");
    char path[4096];
    uint64_t number;
    int fd;

    snprintf(path, sizeof path, "%s/gyre-bench.XXXXXX", directory != NULL ? directory : "/tmp");
    fd = mkstemp(path);
    check_errno(fd, path);
    check_errno(unlink(path), path);
    for (number = 0; number < BLOCKS; number++) {
        ssize_t count;

        memcpy(block, &number, sizeof number);
        count = write(fd, block, sizeof block);
        if (count != (ssize_t)sizeof block)
            fail(path, count < 0 ? strerror(errno) : "no room for the file");
    }
    check_errno(fsync(fd), path); /* or it would be written back while we measure */
    return fd;
}

static void print_row(const struct row *row, const struct row *reference)
{
    printf("%9.0f %6.0f %% ", median(row->ns, options.rounds), spread(row->ns, options.rounds));
    if (reference->selected)
        printf("%9.2f", median_ratio(row->ns, reference->ns, options.rounds));
}

static void print_table(void)
{
    int i;

    printf("CPU time of a cached read of %d bytes.\nMedians of %d rounds, %ld reads each\n\n", READ_SIZE,
           options.rounds, options.count);
    printf("%-26s %5s %9s %8s %9s\n", "", "depth", "CPU ns", "spread", "to pread");
    for (i = 0; i < ROWS; i++) {
        if (!rows[i].selected)
            continue;
        printf("%-26s %5d ", methods[i % METHODS].name, depths[i / METHODS]);
        if (rows[i].absent)
            printf("not here");
        else
            print_row(&rows[i], &rows[i / METHODS * METHODS]);
        putchar('\n');
    }
}

int main(int argc, char **argv)
{
    int i, selected = 0;

    parse_options(&options, argc, argv);
    run.fd = create_file();
    run.random = UINT64_C(0x9e3779b97f4a7c15);
    for (i = 0; i < MAX_DEPTH; i++) {
        void *data;

        if (posix_memalign(&data, READ_SIZE, READ_SIZE) != 0)
            fail("posix_memalign", "not enough memory");
        run.slots[i].data = data;
        run.slots[i].run = &run;
    }
    for (i = 0; i < ROWS; i++)
        selected += rows[i].selected = is_selected(&options, methods[i % METHODS].name);
    if (selected == 0)
        fail("--only", "there is no such name");
    run_rounds(&options, ROWS, measure_row);
    print_table();
    for (i = 0; i < MAX_DEPTH; i++)
        free(run.slots[i].data);
    close(run.fd);
    check_errno(fflush(stdout), "stdout");
    return EXIT_SUCCESS;
}
