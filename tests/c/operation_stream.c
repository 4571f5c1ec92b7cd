/* operation_stream.c: operations on sockets and pipes. */
#define _GNU_SOURCE
#include "operation.h"

#include <limits.h>

/* ---- one transfer, in each of the ways to ask for it ---- */

enum way { PLAIN, PIECES, SOCKET_PLAIN, SOCKET_MESSAGE, WAYS };

/* What belongs to the operation until it completes (P2), and what came of it. */
struct transfer {
    struct outcome end;
    struct iovec pieces[2];
    struct msghdr message;
};

static void prepare(struct transfer *transfer, const void *buf, size_t len)
{
    memset(transfer, 0, sizeof *transfer);
    transfer->pieces[0].iov_base = (void *)buf;
    transfer->pieces[0].iov_len = len / 2;
    transfer->pieces[1].iov_base = (char *)buf + len / 2;
    transfer->pieces[1].iov_len = len - len / 2;
    transfer->message.msg_iov = transfer->pieces;
    transfer->message.msg_iovlen = 2;
}

static int begin_receive(gyre_loop loop, enum way way, int fd, void *buf, size_t len, struct transfer *transfer)
{
    prepare(transfer, buf, len);
    switch (way) {
    case PLAIN:
        return gyre_op_read(loop, fd, buf, len, GYRE_NO_OFFSET, note, &transfer->end, &transfer->end.op);
    case PIECES:
        return gyre_op_readv(loop, fd, transfer->pieces, 2, GYRE_NO_OFFSET, note, &transfer->end, &transfer->end.op);
    case SOCKET_PLAIN:
        return gyre_op_recv(loop, fd, buf, len, 0, note, &transfer->end, &transfer->end.op);
    default:
        return gyre_op_recvmsg(loop, fd, &transfer->message, 0, note, &transfer->end, &transfer->end.op);
    }
}

static int begin_send(gyre_loop loop, enum way way, int fd, const void *buf, size_t len, struct transfer *transfer)
{
    prepare(transfer, buf, len);
    switch (way) {
    case PLAIN:
        return gyre_op_write(loop, fd, buf, len, GYRE_NO_OFFSET, note, &transfer->end, &transfer->end.op);
    case PIECES:
        return gyre_op_writev(loop, fd, transfer->pieces, 2, GYRE_NO_OFFSET, note, &transfer->end, &transfer->end.op);
    case SOCKET_PLAIN:
        return gyre_op_send(loop, fd, buf, len, 0, note, &transfer->end, &transfer->end.op);
    default:
        return gyre_op_sendmsg(loop, fd, &transfer->message, 0, note, &transfer->end, &transfer->end.op);
    }
}

static void receive(gyre_loop loop, enum way way, int fd, void *buf, size_t len, struct transfer *transfer)
{
    CHECK_OK(begin_receive(loop, way, fd, buf, len, transfer));
    CHECK_EQ(transfer->end.calls, 0); /* P1: never inside the submit */
}

static void send_out(gyre_loop loop, enum way way, int fd, const void *buf, size_t len, struct transfer *transfer)
{
    CHECK_OK(begin_send(loop, way, fd, buf, len, transfer));
    CHECK_EQ(transfer->end.calls, 0); /* P1 */
}

/* ---- what it is done on ---- */

enum channel { PIPE, UNIX_SOCKETS, TCP_SOCKETS, CHANNELS };

/* The first end is read from, the second written to. */
static void make_channel(enum channel channel, int ends[2])
{
    if (channel == PIPE)
        make_pipe(ends);
    else if (channel == UNIX_SOCKETS)
        make_socketpair(ends);
    else
        make_tcp_pair(ends);
}

static int ways_of(enum channel channel)
{
    return channel == PIPE ? SOCKET_PLAIN : WAYS;
}

/* Leaves no room for a single byte; but TCP makes some as it hands on what it has. */
static size_t fill(int fd)
{
    static char zeros[65536];
    long flags = CHECK_SYS(fcntl(fd, F_GETFL));
    size_t filled = 0;
    ssize_t written;
    make_nonblocking(fd);
    while ((written = write(fd, zeros, sizeof zeros)) > 0)
        filled += (size_t)written;
    while (write(fd, zeros, 1) == 1)
        filled++;
    CHECK_EQ(errno, EAGAIN);
    CHECK_SYS(fcntl(fd, F_SETFL, (int)flags));
    return filled;
}

/* ---- transfers ---- */

static void a_receive_tells_what_came_though_it_is_short(void)
{
    int channel, way;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfer;
            char buf[100];
            int ends[2];
            make_channel((enum channel)channel, ends);
            memset(buf, '-', sizeof buf);
            receive(loop, (enum way)way, ends[0], buf, sizeof buf, &transfer);
            let_pass(loop, GYRE_MS(1));
            CHECK_EQ(transfer.end.calls, 0);
            put(ends[1], "three");
            CHECK_EQ(result_of(loop, &transfer.end), 5);
            CHECK_EQ(memcmp(buf, "three-", 6), 0);
            put(ends[1], "there already");
            receive(loop, (enum way)way, ends[0], buf, 6, &transfer);
            CHECK_EQ(result_of(loop, &transfer.end), 6);
            CHECK_EQ(memcmp(buf, "there ", 6), 0);
            receive(loop, (enum way)way, ends[0], buf, sizeof buf, &transfer); /* what was left */
            CHECK_EQ(result_of(loop, &transfer.end), 7);
            CHECK_EQ(memcmp(buf, "already", 7), 0);
            close_loop(loop);
            close_pair(ends);
        }
    }
}

static void a_send_delivers_what_it_tells(void)
{
    int channel, way;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfer;
            char buf[100];
            int ends[2];
            make_channel((enum channel)channel, ends);
            send_out(loop, (enum way)way, ends[1], "fourteen bytes", 14, &transfer);
            CHECK_EQ(result_of(loop, &transfer.end), 14);
            CHECK_EQ(read(ends[0], buf, sizeof buf), 14);
            CHECK_EQ(memcmp(buf, "fourteen bytes", 14), 0);
            close_loop(loop);
            close_pair(ends);
        }
    }
}

static void a_send_without_room_waits_and_is_short(void)
{
    enum { LENGTH = 32 * 1024 * 1024 };
    char *data = (char *)calloc(LENGTH, 1), *taken = (char *)malloc(LENGTH);
    int channel, way;
    CHECK(data != NULL && taken != NULL);
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfer;
            int ends[2];
            size_t before, total = 0;
            ssize_t got;
            make_channel((enum channel)channel, ends);
            before = fill(ends[1]);
            send_out(loop, (enum way)way, ends[1], data, LENGTH, &transfer);
            one_turn(loop);
            if (channel != TCP_SOCKETS)
                CHECK_EQ(transfer.end.calls, 0);
            make_nonblocking(ends[0]);
            while (transfer.end.calls == 0) {
                if ((got = read(ends[0], taken, LENGTH)) > 0)
                    total += (size_t)got;
                CHECK(gyre_loop_turn(loop, GYRE_MS(1)) >= 0);
            }
            CHECK(transfer.end.result > 0 && transfer.end.result < LENGTH);
            CHECK_SYS(close(ends[1]));
            while ((got = read(ends[0], taken, LENGTH)) != 0) { /* to the end: TCP hands on in its own time */
                if (got > 0)
                    total += (size_t)got;
                else
                    CHECK_EQ(errno, EAGAIN);
            }
            CHECK_EQ(total, before + (size_t)transfer.end.result); /* no more and no less than was told */
            close_loop(loop);
            CHECK_SYS(close(ends[0]));
        }
    }
    free(data);
    free(taken);
}

static void the_end_of_a_stream_is_0(void)
{
    int channel, way;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfers[3];
            char buf[3][8];
            int ends[2], i;
            make_channel((enum channel)channel, ends);
            for (i = 0; i < 3; i++)
                receive(loop, (enum way)way, ends[0], buf[i], sizeof buf[i], &transfers[i]);
            put(ends[1], "last");
            CHECK_SYS(close(ends[1]));
            CHECK_EQ(result_of(loop, &transfers[0].end), 4); /* what was sent before comes before */
            CHECK_EQ(result_of(loop, &transfers[1].end), 0);
            CHECK_EQ(result_of(loop, &transfers[2].end), 0); /* P4: not cancelled by the one before */
            close_loop(loop);
            CHECK_SYS(close(ends[0]));
        }
    }
}

static void receives_of_one_descriptor_are_served_first_in_first_out(void) /* P4 */
{
    enum { MANY = 50 };
    int channel, way, round, i;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfers[MANY];
            unsigned char numbers[MANY], taken[MANY];
            int ends[2];
            make_channel((enum channel)channel, ends);
            for (i = 0; i < MANY; i++)
                numbers[i] = (unsigned char)i;
            for (round = 0; round < 2; round++) { /* data after the receives, and before */
                completions = 0;
                if (round == 1)
                    CHECK_EQ(write(ends[1], numbers, MANY), MANY);
                for (i = 0; i < MANY; i++)
                    receive(loop, (enum way)way, ends[0], &taken[i], 1, &transfers[i]);
                if (round == 0)
                    CHECK_EQ(write(ends[1], numbers, MANY), MANY);
                RUN_UNTIL(loop, completions == MANY);
                for (i = 0; i < MANY; i++) {
                    CHECK_EQ(transfers[i].end.order, i + 1);
                    CHECK_EQ(transfers[i].end.result, 1);
                    CHECK_EQ(taken[i], i);
                }
            }
            close_loop(loop);
            close_pair(ends);
        }
    }
}

static void sends_of_one_descriptor_are_served_first_in_first_out(void) /* P4 */
{
    enum { MANY = 50 };
    int channel, way, full, i;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            for (full = 0; full < 2; full++) {
                gyre_loop loop = open_loop();
                struct transfer transfers[MANY];
                unsigned char numbers[MANY], last[MANY];
                static unsigned char taken[65536];
                size_t total = 0, before = 0;
                int ends[2];
                make_channel((enum channel)channel, ends);
                if (full)
                    before = fill(ends[1]);
                completions = 0;
                for (i = 0; i < MANY; i++) {
                    numbers[i] = (unsigned char)i;
                    send_out(loop, (enum way)way, ends[1], &numbers[i], 1, &transfers[i]);
                }
                make_nonblocking(ends[0]);
                while (total < before + MANY) {
                    ssize_t got = read(ends[0], taken, sizeof taken), each;
                    CHECK(got > 0 || errno == EAGAIN);
                    for (each = 0; each < got; each++, total++) {
                        if (total >= before)
                            last[total - before] = taken[each];
                    }
                    CHECK(gyre_loop_turn(loop, got > 0 ? 0 : GYRE_MS(1)) >= 0);
                }
                RUN_UNTIL(loop, completions == MANY);
                for (i = 0; i < MANY; i++) {
                    CHECK_EQ(transfers[i].end.order, i + 1);
                    CHECK_EQ(transfers[i].end.result, 1);
                    CHECK_EQ(last[i], i);
                }
                close_loop(loop);
                close_pair(ends);
            }
        }
    }
}

static void a_short_or_failed_transfer_leaves_those_behind_it_in_place(void) /* P4 */
{
    gyre_loop loop = open_loop();
    struct transfer first, urgent, last;
    char buf[3][8];
    int ends[2];
    make_tcp_pair(ends);
    receive(loop, PLAIN, ends[0], buf[0], 8, &first);
    prepare(&urgent, buf[1], 8); /* there is no urgent data: it fails */
    CHECK_OK(gyre_op_recv(loop, ends[0], buf[1], 8, MSG_OOB, note, &urgent.end, &urgent.end.op));
    receive(loop, PLAIN, ends[0], buf[2], 8, &last);
    put(ends[1], "one");
    CHECK_EQ(result_of(loop, &first.end), 3);
    CHECK_EQ(last.end.calls, 0);
    put(ends[1], "two");
    CHECK_EQ(result_of(loop, &urgent.end), -EINVAL);
    CHECK_EQ(result_of(loop, &last.end), 3);
    CHECK_EQ(memcmp(buf[2], "two", 3), 0);
    close_loop(loop);
    close_pair(ends);
}

static void the_two_directions_of_a_socket_do_not_wait_for_each_other(void)
{
    gyre_loop loop = open_loop();
    struct transfer in, out;
    static char bulk[16 * 1024 * 1024];
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    receive(loop, SOCKET_PLAIN, ends[0], buf, sizeof buf, &in);
    send_out(loop, SOCKET_PLAIN, ends[0], "ping", 4, &out);
    CHECK_EQ(result_of(loop, &out.end), 4); /* a receive that waits holds no send up */
    CHECK_EQ(in.end.calls, 0);
    fill(ends[0]);
    send_out(loop, SOCKET_PLAIN, ends[0], bulk, sizeof bulk, &out);
    put(ends[1], "pong");
    CHECK_EQ(result_of(loop, &in.end), 4); /* nor the other way round */
    CHECK_EQ(out.end.calls, 0);
    CHECK_OK(gyre_op_cancel(out.end.op));
    CHECK_EQ(result_of(loop, &out.end), -ECANCELED);
    close_loop(loop);
    close_pair(ends);
}

static void a_descriptor_travels_in_a_message(void)
{
    gyre_loop loop = open_loop();
    struct transfer in, out;
    struct cmsghdr *control;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } sent, received;
    char buf[8];
    int ends[2], passed;
    make_socketpair(ends);
    prepare(&out, "fd", 2);
    memset(&sent, 0, sizeof sent);
    out.message.msg_control = &sent;
    out.message.msg_controllen = sizeof sent;
    control = CMSG_FIRSTHDR(&out.message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(control), &ends[0], sizeof(int));
    prepare(&in, buf, sizeof buf);
    memset(&received, 0, sizeof received);
    in.message.msg_control = &received;
    in.message.msg_controllen = sizeof received;
    CHECK_OK(gyre_op_recvmsg(loop, ends[0], &in.message, MSG_CMSG_CLOEXEC, note, &in.end, &in.end.op));
    CHECK_OK(gyre_op_sendmsg(loop, ends[1], &out.message, 0, note, &out.end, &out.end.op));
    CHECK_EQ(result_of(loop, &out.end), 2);
    CHECK_EQ(result_of(loop, &in.end), 2);
    control = CMSG_FIRSTHDR(&in.message);
    CHECK(control != NULL);
    CHECK_EQ(control->cmsg_type, SCM_RIGHTS);
    memcpy(&passed, CMSG_DATA(control), sizeof passed);
    CHECK(CHECK_SYS(fcntl(passed, F_GETFD)) & FD_CLOEXEC);
    CHECK_SYS(close(passed));
    close_loop(loop);
    close_pair(ends);
}

static void datagrams_keep_their_bounds(void)
{
    gyre_loop loop = open_loop();
    struct transfer in[3], out[3];
    char buf[3][8];
    int ends[2], i;
    CHECK_SYS(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    for (i = 0; i < 3; i++)
        receive(loop, i == 0 ? PLAIN : SOCKET_MESSAGE, ends[0], buf[i], sizeof buf[i], &in[i]);
    for (i = 0; i < 3; i++)
        send_out(loop, i == 0 ? PIECES : SOCKET_PLAIN, ends[1], "abc", (size_t)(3 - i), &out[i]);
    for (i = 0; i < 3; i++) {
        CHECK_EQ(result_of(loop, &out[i].end), 3 - i);
        CHECK_EQ(result_of(loop, &in[i].end), 3 - i);
    }
    close_loop(loop);
    close_pair(ends);
}

/* ---- GYRE_SEND_ALL ---- */

enum { PARCEL = 8 * 1024 * 1024, SIP = 16 * 1024 };

/* Reads a stream a little at a time, and knows what it must be. */
struct sipper {
    int fd;
    size_t total;
    unsigned char buf[SIP];
};

static void sip(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct sipper *sipper = (struct sipper *)user_data;
    int64_t i;
    CHECK(done->result > 0);
    for (i = 0; i < done->result; i++)
        CHECK_EQ(sipper->buf[i], pattern(sipper->total + (size_t)i));
    sipper->total += (size_t)done->result;
    if (sipper->total < PARCEL)
        CHECK_OK(gyre_op_recv(loop, sipper->fd, sipper->buf, SIP, 0, sip, sipper, NULL));
}

static void send_all_delivers_everything_in_order_through_a_slow_reader(void)
{
    enum { PARTS = 3 };
    static const size_t lengths[PARTS] = {PARCEL / 4, 1, PARCEL - PARCEL / 4 - 1};
    static struct sipper sipper;
    unsigned char *data = (unsigned char *)malloc(PARCEL);
    int channel, part;
    size_t i;
    CHECK(data != NULL);
    for (i = 0; i < PARCEL; i++)
        data[i] = pattern(i);
    for (channel = UNIX_SOCKETS; channel < CHANNELS; channel++) {
        gyre_loop loop = open_loop();
        struct transfer parts[PARTS];
        size_t from = 0;
        int ends[2];
        make_channel((enum channel)channel, ends);
        completions = 0;
        for (part = 0; part < PARTS; from += lengths[part++]) { /* those behind a long one do not overtake it */
            prepare(&parts[part], data + from, lengths[part]);
            CHECK_OK(gyre_op_send(loop, ends[1], data + from, lengths[part], GYRE_SEND_ALL, note, &parts[part],
                                  &parts[part].end.op));
        }
        let_pass(loop, GYRE_MS(1));
        CHECK_EQ(parts[PARTS - 1].end.calls, 0); /* nobody has read yet */
        memset(&sipper, 0, sizeof sipper);
        sipper.fd = ends[0];
        CHECK_OK(gyre_op_recv(loop, ends[0], sipper.buf, SIP, 0, sip, &sipper, NULL));
        RUN_UNTIL(loop, sipper.total == PARCEL && completions == PARTS);
        for (part = 0; part < PARTS; part++) {
            CHECK_EQ(parts[part].end.result, lengths[part]);
            CHECK_EQ(parts[part].end.order, part + 1);
        }
        close_loop(loop);
        close_pair(ends);
    }
    free(data);
}

/* ---- errors ---- */

static void a_send_to_a_peer_that_is_gone_is_epipe_and_raises_no_signal(void)
{
    int channel, way, waiting;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            for (waiting = 0; waiting < (channel == TCP_SOCKETS ? 1 : 2); waiting++) {
                gyre_loop loop = open_loop();
                struct sigaction action;
                struct transfer transfers[3];
                int ends[2], i;
                make_channel((enum channel)channel, ends);
                if (waiting) {
                    fill(ends[1]);
                } else {
                    CHECK_SYS(close(ends[0]));
                    if (channel == TCP_SOCKETS) { /* which takes a first send, and is reset by its answer */
                        send_out(loop, (enum way)way, ends[1], "lost", 4, &transfers[0]);
                        CHECK_EQ(result_of(loop, &transfers[0].end), 4);
                    }
                }
                for (i = 0; i < 3; i++) /* SIGPIPE would end the process */
                    send_out(loop, (enum way)way, ends[1], "lost", 4, &transfers[i]);
                if (waiting)
                    CHECK_SYS(close(ends[0]));
                for (i = 0; i < 3; i++) {
                    int64_t result = result_of(loop, &transfers[i].end);
                    if (result == -ECONNRESET) /* unread data at the peer: told once */
                        CHECK(i == 0 && waiting && channel == UNIX_SOCKETS);
                    else
                        CHECK_STATUS((int)result, -EPIPE);
                }
                CHECK_SYS(sigaction(SIGPIPE, NULL, &action));
                CHECK(action.sa_handler == SIG_DFL);
                close_loop(loop);
                CHECK_SYS(close(ends[1]));
            }
        }
    }
}

static void a_reset_by_the_peer_is_told_to_a_receive_that_waits(void)
{
    struct linger at_once = {1, 0};
    int way;
    for (way = 0; way < WAYS; way++) {
        gyre_loop loop = open_loop();
        struct transfer transfers[2];
        char buf[8];
        int ends[2];
        make_tcp_pair(ends);
        receive(loop, (enum way)way, ends[0], buf, sizeof buf, &transfers[0]);
        receive(loop, (enum way)way, ends[0], buf, sizeof buf, &transfers[1]);
        CHECK_SYS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
        CHECK_SYS(close(ends[1]));
        CHECK_STATUS((int)result_of(loop, &transfers[0].end), -ECONNRESET);
        CHECK_EQ(result_of(loop, &transfers[1].end), 0); /* the error is told once by the kernel */
        close_loop(loop);
        CHECK_SYS(close(ends[0]));
    }
}

static void what_is_no_socket_completes_with_enotsock(void)
{
    gyre_loop loop = open_loop();
    struct transfer transfers[6];
    char buf[8] = "", name[] = "/tmp/gyre-test-XXXXXX";
    struct sockaddr_in address;
    int ends[2], fds[3], i, each;
    make_pipe(ends);
    make_nonblocking(ends[1]);
    fds[0] = ends[0]; /* with nothing to read: that is not what it waits for */
    fds[1] = ends[1];
    fds[2] = (int)CHECK_SYS(mkstemp(name));
    CHECK_SYS(unlink(name));
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    for (i = 0; i < 3; i++) {
        receive(loop, SOCKET_PLAIN, fds[i], buf, sizeof buf, &transfers[0]);
        receive(loop, SOCKET_MESSAGE, fds[i], buf, sizeof buf, &transfers[1]);
        send_out(loop, SOCKET_PLAIN, fds[i], buf, sizeof buf, &transfers[2]);
        send_out(loop, SOCKET_MESSAGE, fds[i], buf, sizeof buf, &transfers[3]);
        prepare(&transfers[4], NULL, 0);
        CHECK_OK(gyre_op_accept(loop, fds[i], note, &transfers[4].end, &transfers[4].end.op));
        for (each = 0; each < 5; each++)
            CHECK_STATUS((int)result_of(loop, &transfers[each].end), -ENOTSOCK);
    }
    prepare(&transfers[5], NULL, 0);
    CHECK_OK(gyre_op_connect(loop, ends[1], (struct sockaddr *)&address, sizeof address, note, &transfers[5],
                             &transfers[5].end.op));
    CHECK_STATUS((int)result_of(loop, &transfers[5].end), -ENOTSOCK);
    close_loop(loop);
    close_pair(ends);
    CHECK_SYS(close(fds[2]));
}

static void descriptors_that_are_none_are_refused_at_the_submit(void)
{
    gyre_loop loop = open_loop();
    struct transfer transfer;
    int ends[2], fds[5], i, way;
    char buf[8] = "";
    make_socketpair(ends);
    close_pair(ends);
    fds[0] = ends[0];
    fds[1] = ends[1];
    fds[2] = -1;
    fds[3] = INT_MAX;
    fds[4] = INT_MIN;
    for (i = 0; i < 5; i++) {
        for (way = 0; way < WAYS; way++) {
            CHECK_STATUS(begin_receive(loop, (enum way)way, fds[i], buf, sizeof buf, &transfer), -EBADF);
            CHECK_EQ(transfer.end.op.bits, 0);
            CHECK_STATUS(begin_send(loop, (enum way)way, fds[i], buf, sizeof buf, &transfer), -EBADF);
            CHECK_EQ(transfer.end.op.bits, 0);
        }
        CHECK_STATUS(gyre_op_accept(loop, fds[i], note, &transfer, NULL), -EBADF);
        CHECK_STATUS(gyre_op_accept_many(loop, fds[i], note, &transfer, NULL), -EBADF);
        CHECK_STATUS(gyre_op_recv_many(loop, fds[i], note, &transfer, NULL), -EBADF);
        CHECK_STATUS(gyre_op_close_fd(loop, fds[i], note, &transfer, NULL), -EBADF);
        CHECK_STATUS(gyre_op_fsync(loop, fds[i], 0, note, &transfer, NULL), -EBADF);
    }
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    one_turn(loop);
    CHECK_EQ(transfer.end.calls, 0);
    close_loop(loop);
}

static void lengths_above_ssize_max_are_refused_before_all_else(void)
{
    static const size_t lengths[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX};
    gyre_loop loop = open_loop();
    struct transfer transfer;
    int ends[2], i, each;
    char buf[8] = "";
    make_socketpair(ends);
    for (i = 0; i < 2; i++) {
        for (each = 0; each < 3; each++) {
            int fd = each == 2 ? -1 : ends[each];
            CHECK_STATUS(begin_receive(loop, PLAIN, fd, buf, lengths[i], &transfer), -EINVAL);
            CHECK_STATUS(begin_receive(loop, SOCKET_PLAIN, fd, buf, lengths[i], &transfer), -EINVAL);
            CHECK_STATUS(begin_send(loop, PLAIN, fd, buf, lengths[i], &transfer), -EINVAL);
            CHECK_STATUS(begin_send(loop, SOCKET_PLAIN, fd, buf, lengths[i], &transfer), -EINVAL);
        }
    }
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    close_loop(loop);
    close_pair(ends);
}

static void nothing_to_transfer_completes_with_0(void)
{
    int channel, way;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfer;
            char buf[8];
            int ends[2];
            make_channel((enum channel)channel, ends);
            send_out(loop, (enum way)way, ends[1], NULL, 0, &transfer);
            CHECK_EQ(result_of(loop, &transfer.end), 0);
            put(ends[1], "kept");
            receive(loop, (enum way)way, ends[0], NULL, 0, &transfer);
            CHECK_EQ(result_of(loop, &transfer.end), 0);
            receive(loop, (enum way)way, ends[0], buf, sizeof buf, &transfer);
            CHECK_EQ(result_of(loop, &transfer.end), 4);
            close_loop(loop);
            close_pair(ends);
        }
    }
}

/* ---- descriptors stay as they are ---- */

static void blocking_descriptors_stay_blocking_and_block_nothing(void)
{
    static char bulk[4 * 1024 * 1024];
    int channel, way;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer in, out, more;
            char buf[8];
            int ends[2], back[2], flags[2], ticks = 0;
            make_channel((enum channel)channel, ends);
            make_channel((enum channel)channel, back);
            flags[0] = (int)CHECK_SYS(fcntl(back[0], F_GETFL));
            flags[1] = (int)CHECK_SYS(fcntl(ends[1], F_GETFL));
            CHECK_EQ((flags[0] | flags[1]) & O_NONBLOCK, 0);
            receive(loop, (enum way)way, back[0], buf, sizeof buf, &in); /* nothing to read, */
            send_out(loop, (enum way)way, ends[1], bulk, sizeof bulk, &out);
            send_out(loop, (enum way)way, ends[1], bulk, sizeof bulk, &more); /* and more than there is room for */
            CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, count_timer, &ticks, NULL));
            RUN_UNTIL(loop, ticks == 1 && out.end.calls == 1);
            CHECK(out.end.result > 0 && out.end.result < (int64_t)sizeof bulk);
            let_pass(loop, GYRE_MS(1));
            CHECK_EQ(in.end.calls, 0);
            CHECK_EQ(fcntl(back[0], F_GETFL), flags[0]);
            CHECK_EQ(fcntl(ends[1], F_GETFL), flags[1]);
            close_loop(loop);
            CHECK_EQ(in.end.calls, 1); /* P7 */
            CHECK_EQ(more.end.calls, 1);
            close_pair(ends);
            close_pair(back);
        }
    }
}

static void data_taken_by_another_reader_blocks_nothing(void)
{
    enum { ROUNDS = 50 };
    int channel, way, round;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            gyre_loop loop = open_loop();
            struct transfer transfer;
            char buf[8];
            int ends[2];
            make_channel((enum channel)channel, ends);
            receive(loop, (enum way)way, ends[0], buf, sizeof buf, &transfer);
            for (round = 0; round < ROUNDS; round++) {
                put_byte(ends[1]);
                take_byte(ends[0]); /* readiness was there, and is gone */
                one_turn(loop);
            }
            CHECK_EQ(transfer.end.calls, 0);
            put_byte(ends[1]);
            CHECK_EQ(result_of(loop, &transfer.end), 1);
            close_loop(loop);
            close_pair(ends);
        }
    }
}

/* ---- beside watchers ---- */

static void an_operation_and_a_level_watcher_share_a_descriptor(void)
{
    int channel;
    for (channel = 0; channel < CHANNELS; channel++) {
        gyre_loop loop = open_loop();
        struct transfer transfer, other;
        struct ear ear;
        gyre_io io;
        char buf[8];
        int ends[2], heard;
        make_channel((enum channel)channel, ends);
        io = watch(loop, ends[0], GYRE_READ, &ear);
        receive(loop, PLAIN, ends[0], buf, 2, &transfer);
        put(ends[1], "abc");
        CHECK_EQ(result_of(loop, &transfer.end), 2);
        RUN_UNTIL(loop, ear.calls > 0);
        heard = ear.calls;
        RUN_UNTIL(loop, ear.calls > heard + 2); /* "c" is still there: level-triggered goes on */
        receive(loop, PLAIN, ends[0], buf, 8, &transfer);
        CHECK_EQ(result_of(loop, &transfer.end), 1);
        one_turn(loop);
        heard = ear.calls;
        let_pass(loop, GYRE_MS(2));
        CHECK_EQ(ear.calls, heard); /* nothing is there */
        put_byte(ends[1]);
        RUN_UNTIL(loop, ear.calls > heard); /* the end of the operation left the watcher's interest */
        CHECK_OK(gyre_io_set(io, 0));
        receive(loop, PLAIN, ends[0], buf, 1, &transfer);
        receive(loop, PLAIN, ends[0], buf, 1, &other);
        CHECK_EQ(result_of(loop, &transfer.end), 1);
        CHECK_OK(gyre_io_close(io)); /* the close of the watcher leaves the operation's */
        put_byte(ends[1]);
        CHECK_EQ(result_of(loop, &other.end), 1);
        CHECK_EQ(ear.last, GYRE_READ);
        close_loop(loop);
        close_pair(ends);
    }
}

static void an_operation_and_an_edge_watcher_share_a_descriptor(void)
{
    int channel;
    for (channel = 0; channel < CHANNELS; channel++) {
        gyre_loop loop = open_loop();
        struct transfer transfer, other;
        struct ear ear;
        gyre_io io;
        char buf[8];
        int ends[2], heard, round;
        if (!runs_on(loop, "epoll")) {
            close_loop(loop);
            return;
        }
        make_channel((enum channel)channel, ends);
        io = watch(loop, ends[0], GYRE_READ | GYRE_EDGE, &ear);
        for (round = 0; round < 3; round++) { /* each transition is told to the watcher, and served */
            heard = ear.calls;
            receive(loop, PLAIN, ends[0], buf, 2, &transfer);
            receive(loop, PLAIN, ends[0], buf, 2, &other);
            put(ends[1], "abcde");
            CHECK_EQ(result_of(loop, &transfer.end), 2);
            CHECK_EQ(result_of(loop, &other.end), 2);
            RUN_UNTIL(loop, ear.calls > heard);
            receive(loop, PLAIN, ends[0], buf, 8, &transfer); /* there is no new edge for what was left */
            CHECK_EQ(result_of(loop, &transfer.end), 1);
            receive(loop, PLAIN, ends[0], buf, 8, &transfer);
            let_pass(loop, GYRE_MS(1));
            CHECK_EQ(transfer.end.calls, 0);
            put(ends[1], "f");
            CHECK_EQ(result_of(loop, &transfer.end), 1);
        }
        receive(loop, PLAIN, ends[0], buf, 8, &transfer);
        CHECK_OK(gyre_io_close(io));
        put_byte(ends[1]);
        CHECK_EQ(result_of(loop, &transfer.end), 1);
        CHECK_EQ(ear.errors, 0);
        close_loop(loop);
        close_pair(ends);
    }
}

/* ---- descriptors closed beneath an operation ---- */

/* One completion, at the latest at the cancel; never the data of the file that has the number now. */
static void a_descriptor_closed_and_reused_beneath_a_receive_gives_it_no_foreign_data(void)
{
    int channel, way, patient;
    for (channel = 0; channel < CHANNELS; channel++) {
        for (way = 0; way < ways_of((enum channel)channel); way++) {
            for (patient = 0; patient < 2; patient++) {
                gyre_loop loop = open_loop();
                struct transfer stale, fresh;
                char buf[8], own[8];
                int ends[2], other[2];
                make_channel((enum channel)channel, ends);
                make_channel((enum channel)channel, other);
                memset(buf, '-', sizeof buf);
                receive(loop, (enum way)way, ends[0], buf, sizeof buf, &stale);
                one_turn(loop);
                replace_descriptor(ends[0], other[0]);
                put(other[1], "foreign");
                if (patient)
                    let_pass(loop, GYRE_MS(5));
                if (stale.end.calls == 0)
                    CHECK_OK(gyre_op_cancel(stale.end.op));
                CHECK(result_of(loop, &stale.end) <= 0); /* an error, or the end of the old stream */
                CHECK_EQ(memcmp(buf, "--------", 8), 0);
                receive(loop, (enum way)way, ends[0], own, sizeof own, &fresh); /* the number's owner has it all */
                CHECK_EQ(result_of(loop, &fresh.end), 7);
                CHECK_EQ(memcmp(own, "foreign", 7), 0);
                close_loop(loop);
                close_pair(ends);
                close_pair(other);
            }
        }
    }
}

static void a_descriptor_closed_beneath_operations_ends_them_at_the_loops_close_at_the_latest(void)
{
    int channel;
    for (channel = 0; channel < CHANNELS; channel++) {
        gyre_loop loop = open_loop();
        struct transfer in, queued, out;
        char buf[2][8];
        int ends[2];
        make_channel((enum channel)channel, ends);
        fill(ends[1]);
        send_out(loop, PLAIN, ends[1], "x", 1, &out);
        close_pair(ends);
        make_channel((enum channel)channel, ends); /* takes the numbers */
        receive(loop, PLAIN, ends[0], buf[0], 8, &in);
        receive(loop, PLAIN, ends[0], buf[1], 8, &queued);
        one_turn(loop);
        close_pair(ends);
        let_pass(loop, GYRE_MS(1));
        close_loop(loop);
        CHECK_EQ(in.end.calls, 1); /* P1 */
        CHECK_EQ(queued.end.calls, 1);
        CHECK_EQ(out.end.calls, 1);
        CHECK(in.end.result <= 0 && queued.end.result <= 0);
        CHECK(out.end.result < 0 || channel == TCP_SOCKETS);
    }
}

/* ---- alive ---- */

static void an_operation_keeps_the_loop_running_unless_told_not_to(void)
{
    gyre_loop loop = open_loop();
    struct transfer transfer, other;
    char buf[8];
    int ends[2];
    make_pipe(ends);
    receive(loop, PLAIN, ends[0], buf, sizeof buf, &transfer);
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_EQ(stats_of(loop).op_in_flight, 1);
    CHECK_OK(gyre_op_set_keepalive(transfer.end.op, 0));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(transfer.end.calls, 0);
    CHECK_OK(gyre_op_set_keepalive(transfer.end.op, 1));
    put_byte(ends[1]);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0); /* till it has completed */
    CHECK_EQ(transfer.end.calls, 1);
    send_out(loop, PLAIN, ends[1], "x", 1, &other); /* what is done and not told keeps it running too */
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(other.end.calls, 1);
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    CHECK_EQ(stats_of(loop).completions, 2);
    close_loop(loop);
    close_pair(ends);
}

int main(void)
{
    check_begin();
    RUN(a_receive_tells_what_came_though_it_is_short);
    RUN(a_send_delivers_what_it_tells);
    RUN(a_send_without_room_waits_and_is_short);
    RUN(the_end_of_a_stream_is_0);
    RUN(receives_of_one_descriptor_are_served_first_in_first_out);
    RUN(sends_of_one_descriptor_are_served_first_in_first_out);
    RUN(a_short_or_failed_transfer_leaves_those_behind_it_in_place);
    RUN(the_two_directions_of_a_socket_do_not_wait_for_each_other);
    RUN(a_descriptor_travels_in_a_message);
    RUN(datagrams_keep_their_bounds);
    RUN(send_all_delivers_everything_in_order_through_a_slow_reader);
    RUN(a_send_to_a_peer_that_is_gone_is_epipe_and_raises_no_signal);
    RUN(a_reset_by_the_peer_is_told_to_a_receive_that_waits);
    RUN(what_is_no_socket_completes_with_enotsock);
    RUN(descriptors_that_are_none_are_refused_at_the_submit);
    RUN(lengths_above_ssize_max_are_refused_before_all_else);
    RUN(nothing_to_transfer_completes_with_0);
    RUN(blocking_descriptors_stay_blocking_and_block_nothing);
    RUN(data_taken_by_another_reader_blocks_nothing);
    RUN(an_operation_and_a_level_watcher_share_a_descriptor);
    RUN(an_operation_and_an_edge_watcher_share_a_descriptor);
    RUN(a_descriptor_closed_and_reused_beneath_a_receive_gives_it_no_foreign_data);
    RUN(a_descriptor_closed_beneath_operations_ends_them_at_the_loops_close_at_the_latest);
    RUN(an_operation_keeps_the_loop_running_unless_told_not_to);
    return 0;
}
