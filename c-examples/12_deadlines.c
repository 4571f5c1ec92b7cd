/* Deadlines and cancels of operations, on sockets of this machine only. Checks itself.
 *
 * Shows that an operation with a deadline completes once, with -ETIMEDOUT and never early, or with its real result if
 * that is quicker; that a deadline can be cleared; that the one of a _many operation covers all of it, and not each
 * piece; and that a cancel is told as -ECANCELED. All of it runs at the same time in one loop.
 *
 *   build: cc -std=c99 12_deadlines.c -lgyre -o 12_deadlines
 *   run:   ./12_deadlines
 *
 * Prints what came of each operation, in the order of completion. Exit status: 0 if all is as it should be, else 1.
 */
#define _GNU_SOURCE /* SOCK_NONBLOCK, SOCK_CLOEXEC */

#include "tcp.h"

#include <gyre.h>

#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

enum {
    BEAT_MS = 40,         /* the peer sends something at each beat */
    LATE_BEATS = 3,       /* to some only after so many */
    SHORT_MS = 100,       /* a deadline that passes */
    AMPLE_MS = 5000,      /* one that does not */
    WATCHDOG_MS = 10000,
    CONNECTIONS_AHEAD = 4 /* in the queue of the listener that is full */
};

/* An operation, and what should come of it. */
struct attempt {
    const char *name;
    int64_t expected;
    uint64_t not_before_ms;
    gyre_op op;
    uint64_t submitted_ns;
    unsigned pieces; /* of a _many operation */
    int completed;
};

enum {
    CONNECT_ACCEPTED,
    CONNECT_REFUSED,
    CONNECT_QUEUE_FULL,
    RECV_NOTHING,
    RECV_IN_TIME,
    RECV_CLEARED,
    RECV_CANCELLED,
    RECV_MANY,
    SLEEP,
    SLEEP_CANCELLED,
    ATTEMPTS
};

static struct attempt attempts[ATTEMPTS] = {
    {"connect, to a listener", 0, 0, {0}, 0, 0, 0},
    {"connect, to a port without listener", -ECONNREFUSED, 0, {0}, 0, 0, 0},
    {"connect, to a listener whose queue is full", -ETIMEDOUT, SHORT_MS, {0}, 0, 0, 0},
    {"recv, nothing comes", -ETIMEDOUT, SHORT_MS, {0}, 0, 0, 0},
    {"recv, data comes in time", 5, BEAT_MS, {0}, 0, 0, 0},
    {"recv, data comes late, deadline cleared", 5, BEAT_MS * LATE_BEATS, {0}, 0, 0, 0},
    {"recv, cancelled", -ECANCELED, 0, {0}, 0, 0, 0},
    {"recv_many, data comes for ever", -ETIMEDOUT, 2 * SHORT_MS, {0}, 0, 0, 0},
    {"sleep", 0, SHORT_MS / 2, {0}, 0, 0, 0},
    {"sleep for ever, cancelled", -ECANCELED, 0, {0}, 0, 0, 0},
};

/* Both ends of a connection each; the near end receives. */
static int near_end[ATTEMPTS], far_end[ATTEMPTS];
static char received[ATTEMPTS][16];
static unsigned beats;
static int failed;

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

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void complain(const struct attempt *attempt, const char *what)
{
    fprintf(stderr, "%s: %s\n", attempt->name, what);
    failed = 1;
}

static void on_completed(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct attempt *attempt = user_data;
    uint64_t elapsed_ns = clock_ns() - attempt->submitted_ns;
    char result[32] = "";

    (void)loop;
    if (attempt->completed)
        complain(attempt, "completed a second time");
    if (done->flags & GYRE_MORE) {
        attempt->pieces++;
        return;
    }
    attempt->completed = 1;
    if (done->result < 0)
        snprintf(result, sizeof result, "%s", gyre_status_name((int)done->result));
    else
        snprintf(result, sizeof result, "%" PRId64, done->result);
    printf("%-45s %-12s after %3.0f ms", attempt->name, result, (double)elapsed_ns / 1e6);
    if (attempt->pieces > 0)
        printf(", %u pieces before", attempt->pieces);
    putchar('\n');

    if (done->result != attempt->expected)
        complain(attempt, "not the result that was expected");
    if (elapsed_ns < GYRE_MS(attempt->not_before_ms))
        complain(attempt, "came too early");
}

/* What a deadline or a cancel is set on: the operation that was submitted for the attempt just now. */
static struct attempt *begin(int which)
{
    attempts[which].submitted_ns = clock_ns();
    return &attempts[which];
}

static void deadline(const struct attempt *attempt, uint64_t timeout_ns)
{
    check(gyre_op_timeout(attempt->op, timeout_ns), "gyre_op_timeout");
}

/* ---- connect ---- */

/* A socket on a free port of 127.0.0.1; without a backlog it does not listen. */
static int bound_socket(int backlog, union tcp_address *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    check_errno(fd, "socket");
    if (tcp_address_parse("127.0.0.1:0", address) == 0)
        exit(EXIT_FAILURE);
    check_errno(bind(fd, &address->any, sizeof address->v4), "bind");
    check_errno(getsockname(fd, &address->any, &length), "getsockname");
    if (backlog >= 0)
        check_errno(listen(fd, backlog), "listen");
    return fd;
}

static int client_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    check_errno(fd, "socket");
    return fd;
}

/* The address is the operation's until it completes, as a buffer is: hence not on the stack. */
static void begin_connect(gyre_loop loop, int which, int fd, const union tcp_address *address, uint64_t timeout_ns)
{
    struct attempt *attempt = begin(which);

    check(gyre_op_connect(loop, fd, &address->any, sizeof address->v4, on_completed, attempt, &attempt->op),
          "gyre_op_connect");
    deadline(attempt, timeout_ns);
}

/* ---- recv ---- */

static struct attempt *begin_recv(gyre_loop loop, int which)
{
    struct attempt *attempt = begin(which);

    check(gyre_op_recv(loop, near_end[which], received[which], sizeof received[which], 0, on_completed, attempt,
                       &attempt->op),
          "gyre_op_recv");
    return attempt;
}

static void on_far_end_sent(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)loop;
    (void)user_data;
    if (done->result != (int64_t)done->len)
        check(done->result < 0 ? (int)done->result : -EIO, "gyre_op_send");
}

static void far_end_send(gyre_loop loop, int which)
{
    static const char hello[] = "hello";

    check(gyre_op_send(loop, far_end[which], hello, sizeof hello - 1, GYRE_SEND_ALL, on_far_end_sent, NULL, NULL),
          "gyre_op_send");
}

/* A sleep is the way to do something later among operations; a timer that repeats is the other one. */
static void on_beat(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)user_data;
    check((int)done->result, "beat");
    beats++;
    if (beats == 1)
        far_end_send(loop, RECV_IN_TIME);
    if (beats == LATE_BEATS)
        far_end_send(loop, RECV_CLEARED);
    if (attempts[RECV_MANY].completed)
        return;
    far_end_send(loop, RECV_MANY);
    check(gyre_op_sleep(loop, GYRE_MS(BEAT_MS), on_beat, NULL, NULL), "gyre_op_sleep");
}

static void on_watchdog(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)timer;
    (void)user_data;
    check(gyre_loop_stop(loop), "gyre_loop_stop");
}

int main(void)
{
    static union tcp_address listening, deaf, full;
    int sockets[16 + 2 * ATTEMPTS], opened = 0, i, pair[2];
    struct attempt *attempt;
    gyre_loop loop;
    gyre_timer watchdog;

    check(gyre_loop_open(NULL, &loop), "gyre_loop_open");
    check(gyre_timer_open(loop, GYRE_MS(WATCHDOG_MS), 0, on_watchdog, NULL, &watchdog), "gyre_timer_open");
    check(gyre_timer_set_keepalive(watchdog, 0), "gyre_timer_set_keepalive");

    sockets[opened++] = bound_socket(16, &listening);
    sockets[opened++] = bound_socket(-1, &deaf);
    sockets[opened++] = bound_socket(0, &full);
    for (i = 0; i < CONNECTIONS_AHEAD; i++) {
        sockets[opened++] = client_socket();
        if (connect(sockets[opened - 1], &full.any, sizeof full.v4) < 0 && errno != EINPROGRESS)
            check_errno(-1, "connect");
    }
    for (i = RECV_NOTHING; i <= RECV_MANY; i++) {
        check_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), "socketpair");
        sockets[opened++] = near_end[i] = pair[0];
        sockets[opened++] = far_end[i] = pair[1];
    }

    begin_connect(loop, CONNECT_ACCEPTED, sockets[opened++] = client_socket(), &listening, GYRE_MS(AMPLE_MS));
    begin_connect(loop, CONNECT_REFUSED, sockets[opened++] = client_socket(), &deaf, GYRE_MS(AMPLE_MS));
    begin_connect(loop, CONNECT_QUEUE_FULL, sockets[opened++] = client_socket(), &full, GYRE_MS(SHORT_MS));

    deadline(begin_recv(loop, RECV_NOTHING), GYRE_MS(SHORT_MS));
    deadline(begin_recv(loop, RECV_IN_TIME), GYRE_MS(AMPLE_MS));
    attempt = begin_recv(loop, RECV_CLEARED);
    deadline(attempt, GYRE_MS(BEAT_MS));
    deadline(attempt, 0);
    attempt = begin_recv(loop, RECV_CANCELLED);
    deadline(attempt, GYRE_MS(AMPLE_MS));
    check(gyre_op_cancel(attempt->op), "gyre_op_cancel");

    attempt = begin(RECV_MANY);
    check(gyre_op_recv_many(loop, near_end[RECV_MANY], on_completed, attempt, &attempt->op), "gyre_op_recv_many");
    deadline(attempt, GYRE_MS(2 * SHORT_MS));

    attempt = begin(SLEEP);
    check(gyre_op_sleep(loop, GYRE_MS(SHORT_MS / 2), on_completed, attempt, &attempt->op), "gyre_op_sleep");
    if (gyre_op_timeout(attempt->op, GYRE_MS(SHORT_MS)) != -EINVAL)
        complain(attempt, "takes a deadline, though it is one");
    attempt = begin(SLEEP_CANCELLED);
    check(gyre_op_sleep(loop, GYRE_FOREVER, on_completed, attempt, &attempt->op), "gyre_op_sleep");
    check(gyre_op_cancel(attempt->op), "gyre_op_cancel");

    check(gyre_op_sleep(loop, GYRE_MS(BEAT_MS), on_beat, NULL, NULL), "gyre_op_sleep");

    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run"); /* until nothing is in flight */

    for (i = 0; i < ATTEMPTS; i++) {
        if (!attempts[i].completed)
            complain(&attempts[i], "not completed");
        else if (gyre_op_cancel(attempts[i].op) != GYRE_EHANDLE)
            complain(&attempts[i], "can be cancelled, though it has completed");
    }
    if (attempts[RECV_MANY].pieces == 0)
        complain(&attempts[RECV_MANY], "received nothing");
    for (i = RECV_IN_TIME; i <= RECV_CLEARED; i++)
        if (memcmp(received[i], "hello", 5) != 0)
            complain(&attempts[i], "not the data that was sent");

    check(gyre_loop_close(loop), "gyre_loop_close");
    while (opened > 0)
        close(sockets[--opened]);
    puts(failed ? "NOT as it should be" : "all as it should be");
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
