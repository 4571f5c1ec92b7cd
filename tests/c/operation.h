/* operation.h: what the programs about operations (operation_*.c) share: an outcome to be told of, the calls that start
 * operations for it, data with a pattern.
 *
 * P1 to P7 in these programs are the clauses of the contract of operations.
 *
 * Define _GNU_SOURCE before including it. */
#ifndef OPERATION_H
#define OPERATION_H

#include "fixtures.h"

#include <sys/ioctl.h>

/* ---- outcomes ---- */

/* What came of an operation, with `note` as its callback. */
struct outcome {
    gyre_op op;
    int calls; /* without GYRE_MORE */
    int order; /* the how-many-eth completion of all it was */
    int64_t result;
    struct sockaddr_in peer; /* of an accept */
};

static int completions; /* of all outcomes; a test that looks at the order sets it to 0 */

static inline struct outcome none_yet(void)
{
    struct outcome outcome;
    memset(&outcome, 0, sizeof outcome);
    return outcome;
}

static inline void note(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct outcome *outcome = (struct outcome *)user_data;
    (void)loop;
    CHECK(done->size >= sizeof *done);
    CHECK_EQ(done->op.bits, outcome->op.bits);
    CHECK_EQ(done->flags, 0);
    CHECK_STATUS(gyre_op_cancel(done->op), GYRE_EHANDLE); /* it has completed */
    CHECK_EQ(outcome->calls, 0); /* P1: the last one is the last */
    outcome->calls++;
    outcome->order = ++completions;
    outcome->result = done->result;
    if (done->peer != NULL) {
        CHECK_EQ(done->peer_len, sizeof outcome->peer);
        memcpy(&outcome->peer, done->peer, sizeof outcome->peer);
    }
}

/* Waits for an outcome, and for a second one that must not be. */
static inline int64_t result_of(gyre_loop loop, const struct outcome *outcome)
{
    RUN_UNTIL(loop, outcome->calls > 0);
    one_turn(loop);
    CHECK_EQ(outcome->calls, 1); /* P1: exactly once */
    CHECK_STATUS(gyre_op_cancel(outcome->op), GYRE_EHANDLE);
    CHECK_STATUS(gyre_op_timeout(outcome->op, 1), GYRE_EHANDLE);
    return outcome->result;
}

/* ---- starting operations ---- */

/* P1: never told inside the submit. */
#define START(outcome, call)              \
    do {                                  \
        *(outcome) = none_yet();          \
        CHECK_OK(call);                   \
        CHECK_EQ((outcome)->calls, 0);    \
    } while (0)

static inline void start_read(gyre_loop loop, int fd, void *buf, size_t len, int64_t offset, struct outcome *outcome)
{
    START(outcome, gyre_op_read(loop, fd, buf, len, offset, note, outcome, &outcome->op));
}

static inline void start_write(gyre_loop loop, int fd, const void *buf, size_t len, int64_t offset,
                               struct outcome *outcome)
{
    START(outcome, gyre_op_write(loop, fd, buf, len, offset, note, outcome, &outcome->op));
}

static inline void start_recv(gyre_loop loop, int fd, void *buf, size_t len, struct outcome *outcome)
{
    START(outcome, gyre_op_recv(loop, fd, buf, len, 0, note, outcome, &outcome->op));
}

static inline void start_send(gyre_loop loop, int fd, const void *buf, size_t len, int flags, struct outcome *outcome)
{
    START(outcome, gyre_op_send(loop, fd, buf, len, flags, note, outcome, &outcome->op));
}

static inline void start_accept(gyre_loop loop, int fd, struct outcome *outcome)
{
    START(outcome, gyre_op_accept(loop, fd, note, outcome, &outcome->op));
}

static inline void start_sleep(gyre_loop loop, uint64_t delay, struct outcome *outcome)
{
    START(outcome, gyre_op_sleep(loop, delay, note, outcome, &outcome->op));
}

static inline void start_close(gyre_loop loop, int fd, struct outcome *outcome)
{
    START(outcome, gyre_op_close_fd(loop, fd, note, outcome, &outcome->op));
}

/* ---- data ---- */

/* The byte at a place of a file or a stream: no two pages are the same for long. */
static inline unsigned char pattern(size_t at)
{
    return (unsigned char)(at * 131 + at / 4096 * 7);
}

/* A file without a name: it is gone when it is closed. */
static inline int make_file(size_t len)
{
    char name[] = "/tmp/gyre-test-XXXXXX";
    int fd = (int)CHECK_SYS(mkstemp(name));
    CHECK_SYS(unlink(name));
    CHECK_SYS(ftruncate(fd, (off_t)len));
    return fd;
}

static inline void fill_with_pattern(int fd, size_t len)
{
    unsigned char *data = (unsigned char *)malloc(len);
    size_t i;
    CHECK(data != NULL);
    for (i = 0; i < len; i++)
        data[i] = pattern(i);
    CHECK_EQ(pwrite(fd, data, len, 0), (ssize_t)len);
    free(data);
}

static inline void put(int fd, const char *text)
{
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static inline int bytes_in(int fd)
{
    int bytes = 0;
    CHECK_SYS(ioctl(fd, FIONREAD, &bytes));
    return bytes;
}

/* ---- listeners ---- */

static inline struct sockaddr_in address_of(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&address, &length));
    return address;
}

static inline int make_listener(int backlog, struct sockaddr_in *address)
{
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_SYS(bind(fd, (struct sockaddr *)address, sizeof *address));
    CHECK_SYS(listen(fd, backlog));
    *address = address_of(fd);
    return fd;
}

static inline int make_client(const struct sockaddr_in *address)
{
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    CHECK_SYS(connect(fd, (const struct sockaddr *)address, sizeof *address));
    return fd;
}

static inline int is_from(const struct sockaddr_in *peer, int client)
{
    struct sockaddr_in address = address_of(client);
    return peer->sin_family == AF_INET && peer->sin_port == address.sin_port &&
           peer->sin_addr.s_addr == address.sin_addr.s_addr;
}

#endif
