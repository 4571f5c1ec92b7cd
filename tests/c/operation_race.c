/* operation_race.c: cancel against completion, on operations that the engine already holds.
 *
 *   operation_race [RACES]      so many of each kind; else what GYRE_RACES in the environment says; else 2,000
 *
 * In a race another thread makes data or a connection appear, or the engine reads or writes a file, and at about that
 * moment the operation is cancelled. Whichever is first:
 *
 * 1. The operation is told once: with its real result, which is right, or with -ECANCELED, and then nothing was taken
 *    from the stream, nothing written to the file (P1, P3).
 * 2. Its buffer is not used once it was told (P2); this is looked at again many races later.
 *
 * After a race that the cancel has won the next one comes later, else earlier, so that both ends stay frequent wherever
 * the moment decides. The cancel comes in one of these ways, in turns:
 *
 *   seen     after a turn of the loop, which takes a result that is there
 *   unseen   without one: the loop does not know of a result that is there
 *   unsent   for files: before the turn that would hand the operation to the kernel
 *
 * How often each end came is printed, and never asserted. What decides depends on the engine:
 *
 * - What waits for readiness (streams, unless io_uring holds them) is carried out by the loop, in the thread that also
 *   cancels. So only the turn before the cancel decides, and an unseen result always loses: what the operation has not
 *   taken is with the kernel still.
 * - Files on emulated and posix_aio are read and written by other threads, from the start of the operation on: in all
 *   ways the cancel wins as long as no thread has taken the operation up.
 * - A receive or an accept that io_uring holds is finished as the loop enters the kernel the next time, which takes up
 *   the cancel first: here, too, an unseen result loses.
 * - io_uring finishes a read of what is cached as it is handed over, and does not take back one that the disk was asked
 *   for: such a cancel never wins, unless it is unsent, when it always does. Writes go to threads of the kernel's where
 *   the size of files is limited, which is why it is here; there the cancel wins until one of them has begun.
 */
#define _GNU_SOURCE
#include "operation.h"

#include <sched.h>
#include <semaphore.h>

enum {
    RACES = 2000,
    MESSAGE = 8, /* bytes */
    PAGE = 4096,
    PAGES = 256,  /* of a file */
    BUFFERS = 16, /* used in turns */
    EMPTY = 0x5a, /* what a buffer holds that is read into */
    SEALED = 0xa5 /* what every buffer holds from the completion on */
};

enum way { SEEN, UNSEEN, UNSENT, WAYS };

static const char *const way_names[WAYS] = {"seen", "unseen", "unsent"};

/* How the races of a kind have ended that were cancelled in the same way. */
struct tally {
    long real, cancelled;
    uint64_t delay; /* nanoseconds from the trigger to the cancel */
};

enum { FIRST_DELAY = 2000, LONGEST_DELAY = 30000, PURE_SPIN = 10000 };

/* The races of one kind, one after the other. */
struct race {
    const struct kind *kind;
    gyre_loop loop;
    int ends[2]; /* the operation's descriptor, and the other end of a stream */
    struct sockaddr_in address;
    struct tally tallies[WAYS];

    long number; /* of the present race, from 1 on */
    struct outcome outcome;
    unsigned char buffers[BUFFERS][PAGE];
    unsigned char message[MESSAGE];
    gyre_buffer held; /* what a receive of many has brought */
    const void *held_bytes;
    int client;
    size_t place; /* in the file */
    long written[PAGES]; /* the race whose bytes a page of the file holds */

    sem_t go, triggered; /* told to the other thread, and by it */
};

/* What differs between the kinds. */
struct kind {
    const char *name;
    void (*open)(struct race *race);
    void (*start)(struct race *race);      /* starts the operation */
    void (*trigger)(struct race *race);    /* what the other thread does; NULL where nothing is to be done */
    void (*completed)(struct race *race);  /* in the callback: the real result is right */
    void (*real)(struct race *race);       /* after the race: nothing else has happened */
    void (*cancelled)(struct race *race);  /* after the race: nothing has happened */
};

static long races = RACES; /* of each kind */

static void nothing(struct race *race)
{
    (void)race;
}

/* ---- buffers ---- */

static unsigned char *buffer_of(struct race *race)
{
    return race->buffers[race->number % BUFFERS];
}

static void check_filled(const unsigned char *bytes, size_t len, int byte)
{
    size_t at;
    for (at = 0; at < len; at++)
        CHECK_EQ(bytes[at], byte);
}

static unsigned char *next_buffer(struct race *race)
{
    unsigned char *buffer = buffer_of(race);
    check_filled(buffer, PAGE, SEALED); /* P2: since its last race */
    memset(buffer, EMPTY, PAGE);
    return buffer;
}

static void told(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct race *race = (struct race *)user_data;
    note(loop, done, &race->outcome);
    if (done->result >= 0)
        race->kind->completed(race);
    else
        CHECK_STATUS((int)done->result, -ECANCELED);
    memset(buffer_of(race), SEALED, PAGE);
}

#define RESULT(race) told, (race), &(race)->outcome.op

/* ---- streams ---- */

static void open_sockets(struct race *race)
{
    make_socketpair(race->ends);
}

static void open_pipe(struct race *race)
{
    make_pipe(race->ends);
}

static void choose_message(struct race *race)
{
    int i;
    for (i = 0; i < MESSAGE; i++)
        race->message[i] = pattern((size_t)race->number * MESSAGE + (size_t)i);
}

static void start_receive(struct race *race)
{
    choose_message(race);
    CHECK_OK(gyre_op_recv(race->loop, race->ends[0], next_buffer(race), PAGE, 0, RESULT(race)));
}

static void start_pipe_read(struct race *race)
{
    choose_message(race);
    CHECK_OK(gyre_op_read(race->loop, race->ends[0], next_buffer(race), PAGE, GYRE_NO_OFFSET, RESULT(race)));
}

static void put_message(struct race *race)
{
    CHECK_EQ(write(race->ends[1], race->message, MESSAGE), MESSAGE);
}

static void check_message(struct race *race)
{
    const unsigned char *buffer = buffer_of(race);
    CHECK_EQ(race->outcome.result, MESSAGE);
    CHECK_EQ(memcmp(buffer, race->message, MESSAGE), 0);
    check_filled(buffer + MESSAGE, PAGE - MESSAGE, EMPTY);
}

static void check_no_message(struct race *race)
{
    CHECK_EQ(bytes_in(race->ends[0]), 0);
}

static void take_message(struct race *race)
{
    char left[MESSAGE];
    CHECK_EQ(bytes_in(race->ends[0]), MESSAGE);
    CHECK_EQ(read(race->ends[0], left, MESSAGE), MESSAGE);
    CHECK_EQ(memcmp(left, race->message, MESSAGE), 0);
}

/* ---- a receive of many: its real result is a message before the end by the cancel ---- */

static void take_piece(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct race *race = (struct race *)user_data;
    if (done->flags & GYRE_MORE) {
        CHECK_EQ(done->op.bits, race->outcome.op.bits);
        CHECK_EQ(race->outcome.calls, 0); /* P1: the last one is the last */
        CHECK_EQ(race->held.bits, 0);
        CHECK_EQ(done->result, MESSAGE);
        CHECK_EQ(memcmp(done->buf, race->message, MESSAGE), 0);
        CHECK_OK(gyre_buffer_hold(done, &race->held));
        race->held_bytes = done->buf;
        return;
    }
    note(loop, done, &race->outcome);
    CHECK_STATUS((int)done->result, -ECANCELED);
    if (race->held.bits != 0)
        race->outcome.result = MESSAGE;
}

static void start_receive_of_many(struct race *race)
{
    choose_message(race);
    race->held.bits = 0;
    CHECK_OK(gyre_op_recv_many(race->loop, race->ends[0], take_piece, race, &race->outcome.op));
}

static void check_piece(struct race *race)
{
    check_no_message(race);
    CHECK_EQ(memcmp(race->held_bytes, race->message, MESSAGE), 0); /* also after the end of the operation */
    CHECK_OK(gyre_buffer_release(race->held));
}

/* ---- connections ---- */

static void open_listener(struct race *race)
{
    race->ends[0] = make_listener(8, &race->address);
    race->ends[1] = (int)CHECK_SYS(dup(race->ends[0]));
}

static void start_taking(struct race *race)
{
    struct linger at_once = {1, 0}; /* no connection stays behind in TIME_WAIT */
    race->client = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    CHECK_SYS(setsockopt(race->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    CHECK_OK(gyre_op_accept(race->loop, race->ends[0], RESULT(race)));
}

static void connect_client(struct race *race)
{
    CHECK_SYS(connect(race->client, (struct sockaddr *)&race->address, sizeof race->address));
}

static void check_connection(struct race *race)
{
    int connection = (int)race->outcome.result;
    CHECK(is_from(&race->outcome.peer, race->client));
    put_byte(race->client);
    take_byte(connection);
    CHECK_SYS(close(race->client));
    CHECK_SYS(close(connection));
}

static void take_connection(struct race *race)
{
    race->outcome.result = CHECK_SYS(accept(race->ends[0], NULL, NULL));
    race->outcome.peer = address_of(race->client);
    check_connection(race);
}

/* ---- files ---- */

static void open_file(struct race *race)
{
    race->ends[0] = make_file(0);
    race->ends[1] = (int)CHECK_SYS(dup(race->ends[0]));
    fill_with_pattern(race->ends[0], PAGES * PAGE);
    CHECK_SYS(fsync(race->ends[0])); /* or it could not be dropped from the cache */
    CHECK_EQ(posix_fadvise(race->ends[0], 0, 0, POSIX_FADV_RANDOM), 0); /* nor would it stay dropped */
}

static void choose_page(struct race *race)
{
    race->place = (size_t)(race->number * 7 % PAGES) * PAGE;
}

static void start_file_read(struct race *race)
{
    choose_page(race);
    CHECK_OK(gyre_op_read(race->loop, race->ends[0], next_buffer(race), PAGE, (int64_t)race->place, RESULT(race)));
}

static void start_disk_read(struct race *race)
{
    CHECK_EQ(posix_fadvise(race->ends[0], 0, 0, POSIX_FADV_DONTNEED), 0);
    start_file_read(race);
}

static void check_page(struct race *race)
{
    const unsigned char *buffer = buffer_of(race);
    size_t at;
    CHECK_EQ(race->outcome.result, PAGE);
    for (at = 0; at < PAGE; at++)
        CHECK(buffer[at] == pattern(race->place + at));
}

/* What a race writes to its page. */
static unsigned char written_by(long number, size_t at)
{
    return pattern((size_t)number * 5 + at);
}

static void start_file_write(struct race *race)
{
    unsigned char *buffer = next_buffer(race);
    size_t at;
    choose_page(race);
    for (at = 0; at < PAGE; at++)
        buffer[at] = written_by(race->number, at);
    CHECK_OK(gyre_op_write(race->loop, race->ends[0], buffer, PAGE, (int64_t)race->place, RESULT(race)));
}

static void check_write(struct race *race)
{
    CHECK_EQ(race->outcome.result, PAGE);
    race->written[race->place / PAGE] = race->number;
}

static void check_file(struct race *race)
{
    unsigned char page[PAGE];
    long writer = race->written[race->place / PAGE];
    size_t at;
    CHECK_EQ(pread(race->ends[0], page, PAGE, (off_t)race->place), PAGE);
    for (at = 0; at < PAGE; at++)
        CHECK(page[at] == (writer != 0 ? written_by(writer, at) : pattern(race->place + at)));
}

/* ---- the race ---- */

static const struct kind kinds[] = {
    {"recv", open_sockets, start_receive, put_message, check_message, check_no_message, take_message},
    {"recv_many", open_sockets, start_receive_of_many, put_message, nothing, check_piece, take_message},
    {"accept", open_listener, start_taking, connect_client, nothing, check_connection, take_connection},
    {"read of a pipe", open_pipe, start_pipe_read, put_message, check_message, check_no_message, take_message},
    {"read of a cached file", open_file, start_file_read, NULL, check_page, nothing, nothing},
    {"read of a file on disk", open_file, start_disk_read, NULL, check_page, nothing, nothing},
    {"write of a file", open_file, start_file_write, NULL, check_write, check_file, check_file},
};

/* Stays awake for a while, for who is woken up comes late to a race. */
static void await(sem_t *semaphore)
{
    int tries;
    for (tries = 0; tries < 2000; tries++) {
        if (sem_trywait(semaphore) == 0)
            return;
    }
    while (sem_wait(semaphore) == -1)
        CHECK_EQ(errno, EINTR);
}

static void *trigger_when_told(void *argument)
{
    struct race *race = (struct race *)argument;
    long number;
    for (number = 1; number <= races; number++) {
        await(&race->go);
        race->kind->trigger(race);
        CHECK_SYS(sem_post(&race->triggered));
    }
    return NULL;
}

static void spin(uint64_t nanoseconds)
{
    uint64_t begin = check_now(), past;
    while ((past = check_now() - begin) < nanoseconds) {
        if (past > PURE_SPIN)
            sched_yield(); /* it may be this processor that the other thread waits for */
    }
}

static void count(struct race *race, struct tally *tally)
{
    uint64_t step = tally->delay / 8 + 10;
    if (race->outcome.result >= 0) {
        race->kind->real(race);
        tally->real++;
        tally->delay -= step < tally->delay ? step : tally->delay;
    } else {
        race->kind->cancelled(race);
        tally->cancelled++;
        tally->delay += tally->delay < LONGEST_DELAY ? step : 0;
    }
}

static void run_race(struct race *race)
{
    int ways = race->kind->trigger != NULL ? UNSENT : WAYS;
    enum way way = (enum way)(race->number % ways);
    race->outcome = none_yet();
    race->kind->start(race);
    CHECK_EQ(race->outcome.calls, 0); /* P1 */
    if (way != UNSENT)
        one_turn(race->loop);
    if (race->kind->trigger != NULL)
        CHECK_SYS(sem_post(&race->go));
    spin(race->tallies[way].delay);
    if (way == SEEN)
        one_turn(race->loop);
    CHECK_STATUS(gyre_op_cancel(race->outcome.op), race->outcome.calls ? GYRE_EHANDLE : GYRE_OK);
    RUN_UNTIL(race->loop, race->outcome.calls > 0);
    if (race->kind->trigger != NULL)
        await(&race->triggered);
    one_turn(race->loop);
    CHECK_EQ(race->outcome.calls, 1); /* P1 */
    count(race, &race->tallies[way]);
}

static double percent(long part, long other)
{
    return 100.0 * (double)part / (double)(part + other);
}

static void print_tallies(const struct race *race)
{
    long real = 0, cancelled = 0;
    int way;
    for (way = 0; way < WAYS; way++) {
        real += race->tallies[way].real;
        cancelled += race->tallies[way].cancelled;
    }
    printf("%-22s %6ld real %5.1f %%, %6ld cancelled %5.1f %%; real when", race->kind->name, real,
           percent(real, cancelled), cancelled, percent(cancelled, real));
    for (way = 0; way < WAYS; way++) {
        const struct tally *tally = &race->tallies[way];
        if (tally->real + tally->cancelled > 0)
            printf(" %s %.1f %%", way_names[way], percent(tally->real, tally->cancelled));
    }
    printf("\n");
}

static void run_races(const struct kind *kind)
{
    static struct race race;
    pthread_t thread;
    int way;
    memset(&race, 0, sizeof race);
    memset(race.buffers, SEALED, sizeof race.buffers);
    for (way = 0; way < WAYS; way++)
        race.tallies[way].delay = FIRST_DELAY;
    race.kind = kind;
    race.loop = open_loop();
    CHECK_SYS(sem_init(&race.go, 0, 0));
    CHECK_SYS(sem_init(&race.triggered, 0, 0));
    kind->open(&race);
    completions = 0;
    memset(&thread, 0, sizeof thread);
    if (kind->trigger != NULL)
        thread = check_thread(trigger_when_told, &race);
    for (race.number = 1; race.number <= races; race.number++)
        run_race(&race);
    if (kind->trigger != NULL)
        check_join(thread);
    CHECK_EQ(completions, races); /* P1 */
    CHECK_EQ(stats_of(race.loop).op_in_flight, 0);
    close_loop(race.loop);
    CHECK_EQ(completions, races);
    check_filled(race.buffers[0], sizeof race.buffers, SEALED); /* P2 */
    close_pair(race.ends);
    CHECK_SYS(sem_destroy(&race.go));
    CHECK_SYS(sem_destroy(&race.triggered));
    print_tallies(&race);
}

static void a_race_of_cancel_and_completion_has_one_end(void)
{
    struct rlimit before, limit;
    size_t i;
    CHECK_SYS(getrlimit(RLIMIT_FSIZE, &before));
    limit = before;
    if (limit.rlim_cur == RLIM_INFINITY)
        limit.rlim_cur = 1 << 30;
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &limit));
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        run_races(&kinds[i]);
    CHECK_SYS(setrlimit(RLIMIT_FSIZE, &before));
}

int main(int argc, char **argv)
{
    const char *number = argc > 1 ? argv[1] : getenv("GYRE_RACES");
    check_begin();
    races = number != NULL ? atol(number) : RACES / (check_small() ? 10 : 1);
    CHECK(races > 0);
    alarm((unsigned)(CHECK_WATCHDOG_SECONDS * (check_small() ? 4 : 1) + races / 100));
    RUN(a_race_of_cancel_and_completion_has_one_end);
    return 0;
}
