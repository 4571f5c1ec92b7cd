/* See echo_servers.h. First what they share, then one server after the other. */
#define _GNU_SOURCE /* accept4 */

#include "echo_servers.h"
#include "measure.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

enum {
    EVENTS = 256,            /* taken at a time */
    RECEIVE_SIZE = 16 * 1024 /* what a buffer of gyre's has */
};

/* ---- what the servers share ---- */

static int listener;
static int report_fd; /* to the parent */
static char scratch[RECEIVE_SIZE];

/* The parent asks for the CPU time used so far. A signal costs the loops nothing, unlike one more descriptor. */
static void on_usage(int signum)
{
    struct usage usage = usage_now();

    (void)signum;
    child_tell(report_fd, &usage, sizeof usage);
}

static void ready(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_usage;
    sigemptyset(&action.sa_mask);
    check_errno(sigaction(SIGUSR1, &action, NULL), "sigaction");
    on_usage(0);
}

/* Accepts what is there. Returns -1 if nothing is. */
static int accept_one(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        fail("accept4", strerror(errno));
    return fd;
}

void echo_set_no_delay(int fd)
{
    int yes = 1;

    check_errno(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), "TCP_NODELAY");
}

void echo_check(int64_t result, int64_t expected, const char *what)
{
    if (result < 0)
        fail(what, strerror((int)-result));
    if (result == 0)
        fail(what, "the other side has gone");
    if (expected != 0 && result != expected)
        fail(what, "a part only");
}

/* ---- epoll by hand ---- */

static void epoll_watch(int set, int fd)
{
    struct epoll_event event;

    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = fd;
    check_errno(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void epoll_echo(int fd)
{
    ssize_t received = read(fd, scratch, sizeof scratch), sent;

    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    echo_check(received < 0 ? -errno : received, 0, "read");
    sent = write(fd, scratch, (size_t)received);
    echo_check(sent < 0 ? -errno : sent, received, "write");
}

static void serve_epoll(int engine)
{
    int set = epoll_create1(EPOLL_CLOEXEC);

    (void)engine;
    check_errno(set, "epoll_create1");
    epoll_watch(set, listener);
    ready();
    for (;;) {
        struct epoll_event events[EVENTS];
        int i, fd, count = epoll_wait(set, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            fail("epoll_wait", strerror(errno));
        for (i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                epoll_echo(events[i].data.fd);
            } else if ((fd = accept_one()) >= 0) {
                echo_set_no_delay(fd);
                epoll_watch(set, fd);
            }
        }
    }
}

/* ---- io_uring by hand ---- */

#ifdef HAVE_LIBURING
enum {
    BUFFERS = 128, /* a power of two; more than there are connections */
    BUFFER_GROUP = 0
};

enum request { ACCEPT, RECEIVE, SEND };

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static char buffers[BUFFERS][RECEIVE_SIZE];

static uint64_t pack(enum request request, unsigned buffer, int fd)
{
    return (uint64_t)request << 48 | (uint64_t)buffer << 32 | (uint32_t)fd;
}

static struct io_uring_sqe *uring_entry(void)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);

    if (entry == NULL) { /* the queue is full */
        int status = io_uring_submit(&ring);

        if (status < 0)
            fail("io_uring_submit", strerror(-status));
        entry = io_uring_get_sqe(&ring);
        if (entry == NULL)
            fail("io_uring_submit", "took nothing");
    }
    return entry;
}

static void uring_give_buffer(unsigned buffer)
{
    io_uring_buf_ring_add(buffer_ring, buffers[buffer], RECEIVE_SIZE, (unsigned short)buffer,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
}

static void uring_accept(void)
{
    struct io_uring_sqe *entry = uring_entry();

    io_uring_prep_multishot_accept(entry, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(entry, pack(ACCEPT, 0, listener));
}

static void uring_receive(int fd)
{
    struct io_uring_sqe *entry = uring_entry();

    io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = BUFFER_GROUP;
    io_uring_sqe_set_data64(entry, pack(RECEIVE, 0, fd));
}

static void uring_send(int fd, unsigned buffer, size_t length)
{
    struct io_uring_sqe *entry = uring_entry();

    io_uring_prep_send(entry, fd, buffers[buffer], length, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(entry, pack(SEND, buffer, fd));
}

static void uring_complete(const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;

    switch ((enum request)(cqe->user_data >> 48)) {
    case ACCEPT:
        if (cqe->res < 0)
            fail("accept", strerror(-cqe->res));
        echo_set_no_delay(cqe->res);
        uring_receive(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            uring_accept();
        break;
    case RECEIVE:
        echo_check(cqe->res, 0, "recv");
        uring_send(fd, cqe->flags >> IORING_CQE_BUFFER_SHIFT, (size_t)cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            uring_receive(fd);
        break;
    case SEND:
        echo_check(cqe->res, 0, "send");
        uring_give_buffer((unsigned)(cqe->user_data >> 32) & 0xffff);
        break;
    }
}

static void uring_open(void)
{
    struct io_uring_buf_reg registration;
    void *memory;
    unsigned i;

    if (io_uring_queue_init(EVENTS, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
        exit(EXIT_NOT_HERE);
    if (posix_memalign(&memory, 4096, BUFFERS * sizeof(struct io_uring_buf)) != 0)
        fail("posix_memalign", "not enough memory");
    buffer_ring = memory;
    io_uring_buf_ring_init(buffer_ring);
    memset(&registration, 0, sizeof registration);
    registration.ring_addr = (uintptr_t)memory;
    registration.ring_entries = BUFFERS;
    registration.bgid = BUFFER_GROUP;
    if (io_uring_register_buf_ring(&ring, &registration, 0) < 0)
        exit(EXIT_NOT_HERE);
    for (i = 0; i < BUFFERS; i++)
        uring_give_buffer(i);
}

static void serve_uring(int engine)
{
    (void)engine;
    uring_open();
    uring_accept();
    ready();
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        int status = io_uring_submit_and_wait(&ring, 1);

        if (status < 0 && status != -EINTR)
            fail("io_uring_submit_and_wait", strerror(-status));
        io_uring_for_each_cqe(&ring, head, cqe) {
            uring_complete(cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
#else
static void serve_uring(int engine)
{
    (void)engine;
    exit(EXIT_NOT_HERE);
}
#endif

/* ---- gyre's reactor ---- */

static void on_readable(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    int fd = (int)(intptr_t)user_data;
    ssize_t received = recv(fd, scratch, sizeof scratch, 0), sent;

    (void)loop;
    (void)io;
    (void)events;
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    echo_check(received < 0 ? -errno : received, 0, "recv");
    sent = send(fd, scratch, (size_t)received, MSG_NOSIGNAL);
    echo_check(sent < 0 ? -errno : sent, received, "send");
}

static void on_listener(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    gyre_io connection;
    int fd = accept_one();

    (void)io;
    (void)events;
    (void)user_data;
    if (fd < 0)
        return;
    echo_set_no_delay(fd);
    check(gyre_io_open(loop, fd, GYRE_READ, on_readable, (void *)(intptr_t)fd, &connection), "gyre_io_open");
}

static void serve_reactor(int engine)
{
    gyre_loop loop = open_loop(engine, 0);
    gyre_io watcher;

    check(gyre_io_open(loop, listener, GYRE_READ, on_listener, NULL, &watcher), "gyre_io_open");
    ready();
    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
}

/* ---- gyre's proactor ---- */

/* What was received at a time, and is being sent from where it lies. */
struct piece {
    gyre_buffer buffer;
    struct piece *next; /* in the list of spare ones */
};

static struct piece *spare;

static void on_sent(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct piece *piece = user_data;

    (void)loop;
    echo_check(done->result, (int64_t)done->len, "gyre_op_send");
    check(gyre_buffer_release(piece->buffer), "gyre_buffer_release");
    piece->next = spare;
    spare = piece;
}

static void on_received(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct piece *piece = spare;

    (void)user_data;
    echo_check(done->result, 0, "gyre_op_recv_many");
    if (piece != NULL)
        spare = piece->next;
    else if ((piece = malloc(sizeof *piece)) == NULL)
        fail("malloc", "not enough memory");
    check(gyre_buffer_hold(done, &piece->buffer), "gyre_buffer_hold");
    check(gyre_op_send(loop, done->fd, done->buf, (size_t)done->result, GYRE_SEND_ALL, on_sent, piece, NULL),
          "gyre_op_send");
}

static void on_accepted(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)user_data;
    check(done->result < 0 ? (int)done->result : 0, "gyre_op_accept_many");
    echo_set_no_delay((int)done->result);
    check(gyre_op_recv_many(loop, (int)done->result, on_received, NULL, NULL), "gyre_op_recv_many");
}

static void serve_proactor(int engine)
{
    gyre_loop loop = open_loop(engine, 0);

    check(gyre_op_accept_many(loop, listener, on_accepted, NULL, NULL), "gyre_op_accept_many");
    ready();
    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
}

/* ---- all of them ---- */

/* The reactor has nothing to do with engines. */
const struct echo_server echo_servers[ECHO_SERVERS] = {
    {"epoll by hand", serve_epoll, 0},
    {"io_uring by hand", serve_uring, 0},
    {"gyre reactor", serve_reactor, GYRE_ENGINE_EMULATED},
    {"gyre proactor, io_uring", serve_proactor, GYRE_ENGINE_IO_URING},
    {"gyre proactor, emulated", serve_proactor, GYRE_ENGINE_EMULATED},
    {"gyre proactor, posix_aio", serve_proactor, GYRE_ENGINE_POSIX_AIO},
};

void echo_serve(const struct echo_server *server, int listener_fd, int report)
{
    listener = listener_fd;
    report_fd = report;
    server->serve(server->engine);
    fail(server->name, "has ended");
}
