/* A TCP echo server on the proactor: one thread, any number of connections.
 *
 * The counterpart of 02_echo_server.c. There the loop tells when a socket is ready and the program calls accept, recv
 * and send; here it submits operations and is told what came of them. Shows gyre_op_accept_many, gyre_op_recv_many with
 * the library's buffers, which are sent from without a copy, back-pressure by gyre_op_pause, recovery when descriptors
 * run out, and an orderly end on SIGINT or SIGTERM.
 *
 *   build: cc -std=c99 11_echo_proactor.c -lgyre -o 11_echo_proactor
 *   run:   ./11_echo_proactor [--engine auto|io_uring|posix_aio|emulated] [ADDRESS]
 *
 * ADDRESS is numeric: 127.0.0.1:7000 or [::1]:7000; port 0 takes a free one, and the line on stdout tells which.
 * Exit status: 0; 1 on failure; 2 for bad usage; 3 if the engine is not to be had here.
 */
#define _GNU_SOURCE /* SOCK_NONBLOCK, SOCK_CLOEXEC */

#include "tcp.h"

#include <gyre.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_NO_ENGINE = 3,
    MAX_CONNECTIONS = 100000,
    MAX_PENDING = 4,       /* sends of a connection; while there are as many, nothing is received on it */
    STALL_S = 30,          /* how long a peer may leave them all unread */
    BUFFER_COUNT = 16384,  /* 16 KiB each; those that wait to be sent are no others' */
    ACCEPT_PAUSE_MS = 100, /* when descriptors have run out */
    BACKLOG = 4096
};

struct connection {
    struct server *server;
    struct connection *previous, *next;
    int fd;
    gyre_op receive;    /* none after the end of input */
    unsigned pending;   /* sends */
    int paused, closing;
};

/* What was received at a time, and is being sent. */
struct piece {
    struct connection *connection;
    struct piece *next; /* in the list of spare ones */
    gyre_buffer buffer;
};

struct server {
    gyre_loop loop;
    gyre_op accept; /* accept_many, or the sleep before the next one */
    gyre_signal interrupt, terminate;
    int listener;
    struct connection *connections;
    struct piece *spare;
    uint64_t connected, accepted, refused, echoed_bytes;
    int stopping, failed;
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

/* ---- connections ---- */

static void on_closed(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct connection *connection = user_data;
    struct server *server = connection->server;

    (void)loop;
    (void)done; /* the descriptor is gone, also when close had something to complain of */
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    server->connected--;
    free(connection);
}

/* Cancels what is pending on the connection. That still completes, and the close after all of it, so on_closed is the
 * last to use the connection. */
static void connection_close(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = 1;
    check(gyre_op_close_fd(connection->server->loop, connection->fd, on_closed, connection, NULL),
          "gyre_op_close_fd");
}

static struct piece *piece_new(struct connection *connection)
{
    struct piece *piece = connection->server->spare;

    if (piece != NULL)
        connection->server->spare = piece->next;
    else
        piece = malloc(sizeof *piece);
    if (piece != NULL)
        piece->connection = connection;
    return piece;
}

static void piece_free(struct piece *piece)
{
    struct server *server = piece->connection->server;

    piece->next = server->spare;
    server->spare = piece;
}

static void on_sent(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct piece *piece = user_data;
    struct connection *connection = piece->connection;

    (void)loop;
    check(gyre_buffer_release(piece->buffer), "gyre_buffer_release");
    piece_free(piece);
    connection->pending--;
    if (done->result > 0)
        connection->server->echoed_bytes += (uint64_t)done->result;
    if (connection->closing)
        return;
    /* GYRE_SEND_ALL is short only if it was ended: by its deadline, for the peer does not read. */
    if (done->result < (int64_t)done->len) {
        connection_close(connection);
    } else if (connection->receive.bits == 0) {
        if (connection->pending == 0)
            connection_close(connection);
    } else if (connection->paused) {
        connection->paused = 0;
        check(gyre_op_resume(connection->receive), "gyre_op_resume");
    }
}

/* Sends out of the buffer that was received into, which is kept until that is done. Returns 0 or a status. */
static int connection_echo(struct connection *connection, const gyre_completion *received)
{
    struct piece *piece = piece_new(connection);
    gyre_op send;
    int status;

    if (piece == NULL)
        return -ENOMEM;
    status = gyre_buffer_hold(received, &piece->buffer);
    if (status < 0) {
        piece_free(piece);
        return status;
    }
    status = gyre_op_send(connection->server->loop, connection->fd, received->buf, (size_t)received->result,
                          GYRE_SEND_ALL, on_sent, piece, &send);
    if (status < 0) {
        check(gyre_buffer_release(piece->buffer), "gyre_buffer_release");
        piece_free(piece);
        return status;
    }
    if (++connection->pending < MAX_PENDING || connection->paused)
        return 0;
    /* The peer reads slower than it writes. Take nothing more, so that it is held back by TCP and memory stays bounded,
     * but do not wait for it for ever. */
    connection->paused = 1;
    status = gyre_op_pause(connection->receive);
    return status < 0 ? status : gyre_op_timeout(send, GYRE_SEC(STALL_S));
}

static void on_received(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct connection *connection = user_data;

    (void)loop;
    if (!(done->flags & GYRE_MORE))
        connection->receive.bits = 0;
    if (connection->closing)
        return;
    if (done->result > 0 && connection_echo(connection, done) == 0)
        return;
    /* At the end of input the echo is still to be sent; after an error there is nobody to send it to. */
    if (done->result != 0 || connection->pending == 0)
        connection_close(connection);
}

/* Takes over the descriptor. */
static void server_adopt(struct server *server, int fd)
{
    struct connection *connection = NULL;
    int no_delay = 1;
    int status = GYRE_EFULL;

    if (server->connected < MAX_CONNECTIONS) {
        connection = calloc(1, sizeof *connection);
        status = -ENOMEM;
    }
    if (connection != NULL) {
        connection->server = server;
        connection->fd = fd;
        /* The answer to a small request should not wait for the next one. Best effort. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
        status = gyre_op_recv_many(server->loop, fd, on_received, connection, &connection->receive);
    }
    if (status < 0) {
        if (server->refused++ == 0)
            fprintf(stderr, "refusing connections: %s\n", gyre_status_message(status));
        free(connection);
        close(fd);
        return;
    }
    connection->next = server->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    server->connections = connection;
    server->connected++;
    server->accepted++;
}

/* ---- listener ---- */

static void server_accept(struct server *server);

/* Cancels everything. The loop then has nothing left to wait for, and ends when all of it has completed. */
static void server_stop(struct server *server)
{
    struct connection *connection;

    if (server->stopping)
        return;
    server->stopping = 1;
    if (server->accept.bits != 0)
        check(gyre_op_cancel(server->accept), "gyre_op_cancel");
    for (connection = server->connections; connection != NULL; connection = connection->next)
        connection_close(connection);
    check(gyre_signal_close(server->interrupt), "gyre_signal_close");
    check(gyre_signal_close(server->terminate), "gyre_signal_close");
}

static void server_fail(struct server *server, const char *what, int status)
{
    fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
    server->failed = 1;
    server_stop(server);
}

static void on_accept_again(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct server *server = user_data;

    (void)loop;
    (void)done;
    server->accept.bits = 0;
    if (!server->stopping)
        server_accept(server);
}

static void on_accepted(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct server *server = user_data;
    int status;

    if (!(done->flags & GYRE_MORE))
        server->accept.bits = 0;
    if (done->result >= 0) {
        if (server->stopping)
            close((int)done->result);
        else
            server_adopt(server, (int)done->result);
        return;
    }
    if (server->stopping)
        return;
    switch ((int)done->result) {
    case -EBADF: /* the listener is broken */
    case -EINVAL:
    case -ENOTSOCK:
    case -EOPNOTSUPP:
        server_fail(server, "accept", (int)done->result);
        return;
    default:
        /* Descriptors or memory have run out, or the network has. The clients stay in the backlog; to accept at once
         * would fail again and again. */
        status = gyre_op_sleep(loop, GYRE_MS(ACCEPT_PAUSE_MS), on_accept_again, server, &server->accept);
        if (status < 0)
            server_fail(server, "gyre_op_sleep", status);
        return;
    }
}

static void server_accept(struct server *server)
{
    int status = gyre_op_accept_many(server->loop, server->listener, on_accepted, server, &server->accept);

    if (status < 0)
        server_fail(server, "gyre_op_accept_many", status);
}

static void on_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    server_stop(user_data);
}

static int listen_on(const union tcp_address *address, socklen_t length)
{
    int yes = 1;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    check_errno(fd, "socket");
    check_errno(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), "setsockopt");
    check_errno(bind(fd, &address->any, length), "bind");
    check_errno(listen(fd, BACKLOG), "listen");
    return fd;
}

/* ---- command line ---- */

static void usage(void)
{
    fprintf(stderr, "usage: 11_echo_proactor [--engine auto|io_uring|posix_aio|emulated] [ADDRESS]\n"
                    "ADDRESS is numeric, as 127.0.0.1:7000 or [::1]:0; the default is 127.0.0.1:0\n");
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

int main(int argc, char **argv)
{
    static struct server server;
    gyre_loop_options options;
    union tcp_address address;
    socklen_t length;
    char text[TCP_ADDRESS_TEXT];
    const char *engine = "auto", *where = NULL;
    int i, status;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.buffer_count = BUFFER_COUNT;
    /* So that it never runs out: for each connection a receive, the sends and the close; and the accept. A receive that
     * is paused may still bring a few pieces that were taken before. */
    options.op_capacity = MAX_CONNECTIONS * (MAX_PENDING + 4) + 1;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--engine") == 0 && i + 1 < argc)
            options.engine = engine_by_name(engine = argv[++i]);
        else if (argv[i][0] == '-' || where != NULL)
            usage();
        else
            where = argv[i];
    }
    length = tcp_address_parse(where != NULL ? where : "127.0.0.1:0", &address);
    if (length == 0)
        usage();

    status = gyre_loop_open(&options, &server.loop);
    if (status == GYRE_EUNSUPPORTED) {
        fprintf(stderr, "11_echo_proactor: the engine %s is not to be had here: %s\n", engine,
                gyre_status_message(status));
        return EXIT_NO_ENGINE;
    }
    check(status, "gyre_loop_open");
    /* select cannot take a high descriptor anyhow: there the surplus had better wait in the backlog. */
    if (strcmp(gyre_loop_backend(server.loop), "select") != 0)
        tcp_raise_descriptor_limit();

    server.listener = listen_on(&address, length);
    check(gyre_signal_open(server.loop, SIGINT, on_signal, &server, &server.interrupt), "gyre_signal_open");
    check(gyre_signal_open(server.loop, SIGTERM, on_signal, &server, &server.terminate), "gyre_signal_open");
    server_accept(&server);

    length = sizeof address;
    check_errno(getsockname(server.listener, &address.any, &length), "getsockname");
    tcp_address_format(&address, text);
    printf("listening on %s (engine %s)\n", text, gyre_loop_engine(server.loop));
    check_errno(fflush(stdout), "stdout");

    check(gyre_loop_run(server.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    check(gyre_loop_close(server.loop), "gyre_loop_close");
    close(server.listener);
    while (server.spare != NULL) {
        struct piece *piece = server.spare;

        server.spare = piece->next;
        free(piece);
    }
    fprintf(stderr, "served %" PRIu64 " connections, %" PRIu64 " bytes\n", server.accepted, server.echoed_bytes);
    if (server.refused > 0)
        fprintf(stderr, "refused %" PRIu64 " connections\n", server.refused);
    return server.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
