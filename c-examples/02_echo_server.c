/* A TCP echo server on the reactor: one thread, any number of connections.
 *
 * Shows level-triggered watchers on non-blocking sockets, accepting in batches, partial writes with back-pressure,
 * recovery when descriptors run out, and an orderly end on SIGINT or SIGTERM.
 *
 *   build: cc -std=c99 02_echo_server.c -lgyre -o 02_echo_server
 *   run:   ./02_echo_server [--backend epoll|poll|select] [ADDRESS]
 *
 * ADDRESS is numeric: 127.0.0.1:7000 or [::1]:7000; port 0 takes a free one, and the line on stdout tells which.
 * Without --backend the environment variable GYRE_BACKEND may choose.
 */
#define _GNU_SOURCE /* accept4 */

#include "tcp.h"

#include <gyre.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 64 * 1024, /* received at once, so also the most that one connection ever holds back */
    ACCEPT_BATCH = 64,       /* accepted in one callback: new clients must not starve those that are there */
    ACCEPT_PAUSE_MS = 100,   /* when descriptors have run out */
    BACKLOG = 4096
};

struct connection {
    struct server *server;
    struct connection *previous, *next;
    gyre_io io;
    int fd;
    char *unsent; /* NULL while there is nothing: an idle connection holds no buffer */
    size_t unsent_start, unsent_end;
};

struct server {
    gyre_loop loop;
    gyre_io listener;
    gyre_timer accept_again;
    int listener_fd;
    struct connection *connections;
    uint64_t accepted, refused, echoed_bytes;
    int failed;
    char buffer[BUFFER_SIZE];
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

/* Ends the server from within a callback. */
static void fail(struct server *server, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    server->failed = 1;
    check(gyre_loop_stop(server->loop), "gyre_loop_stop");
}

static int is_temporary(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* ---- connections ---- */

static void connection_close(struct connection *connection)
{
    struct server *server = connection->server;

    /* The watcher first: until then the descriptor's number must not be given to anyone else. Nothing that was
     * already reported for it arrives after this call, so that the memory can go at once. */
    check(gyre_io_close(connection->io), "gyre_io_close");
    close(connection->fd);
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    free(connection->unsent);
    free(connection);
}

/* Sends what it can. Returns how much that was, or -1 if the connection is broken. */
static ssize_t connection_send(struct connection *connection, const char *data, size_t length)
{
    ssize_t sent = send(connection->fd, data, length, MSG_NOSIGNAL);

    if (sent < 0)
        return is_temporary(errno) ? 0 : -1;
    connection->server->echoed_bytes += (uint64_t)sent;
    return sent;
}

/* One receive and one send an event. There may be more to read: the watcher is level-triggered and will say so again
 * in the next turn, after the other connections had theirs. Returns whether the connection lives on. */
static int connection_echo(struct connection *connection)
{
    struct server *server = connection->server;
    ssize_t received = recv(connection->fd, server->buffer, sizeof server->buffer, 0);
    ssize_t sent;

    if (received < 0)
        return is_temporary(errno);
    if (received == 0)
        return 0; /* end of input; nothing is unsent, or we would not be reading */
    sent = connection_send(connection, server->buffer, (size_t)received);
    if (sent < 0)
        return 0;
    if (sent == received)
        return 1;

    /* The peer reads slower than it writes. Keep the rest, and read nothing more until it is gone: so the peer is
     * held back by TCP, and memory stays bounded. */
    connection->unsent_start = 0;
    connection->unsent_end = (size_t)(received - sent);
    connection->unsent = malloc(connection->unsent_end);
    if (connection->unsent == NULL)
        return 0;
    memcpy(connection->unsent, server->buffer + sent, connection->unsent_end);
    return gyre_io_set(connection->io, GYRE_WRITE) == 0;
}

static int connection_flush(struct connection *connection)
{
    ssize_t sent = connection_send(connection, connection->unsent + connection->unsent_start,
                                   connection->unsent_end - connection->unsent_start);

    if (sent < 0)
        return 0;
    connection->unsent_start += (size_t)sent;
    if (connection->unsent_start < connection->unsent_end)
        return 1;
    free(connection->unsent);
    connection->unsent = NULL;
    return gyre_io_set(connection->io, GYRE_READ) == 0;
}

static void on_connection(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct connection *connection = user_data;
    int lives;

    (void)loop;
    (void)io;
    /* A hangup or an error comes together with what was asked for, and recv or send will tell which. When it comes
     * alone, the descriptor itself is lost. */
    if (connection->unsent != NULL)
        lives = (events & GYRE_WRITE) && connection_flush(connection);
    else
        lives = (events & GYRE_READ) && connection_echo(connection);
    if (!lives)
        connection_close(connection);
}

/* ---- listener ---- */

/* Takes over the descriptor. */
static void server_adopt(struct server *server, int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    int no_delay = 1;
    int status = -ENOMEM;

    if (connection != NULL) {
        connection->server = server;
        connection->fd = fd;
        /* The answer to a small request should not wait for the next one. Best effort. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
        status = gyre_io_open(server->loop, fd, GYRE_READ, on_connection, connection, &connection->io);
    }
    if (status < 0) { /* on select: any descriptor above FD_SETSIZE */
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
    server->accepted++;
}

static void on_accept_again(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct server *server = user_data;
    int status = gyre_io_set(server->listener, GYRE_READ);

    (void)loop;
    (void)timer;
    if (status < 0)
        fail(server, "gyre_io_set", gyre_status_message(status));
}

/* Descriptors or memory have run out. The clients stay in the backlog, so the listener would be reported ready again
 * and again: look away for a moment instead of spinning. */
static void server_pause_accept(struct server *server)
{
    int status = gyre_io_set(server->listener, 0);

    if (status == 0)
        status = gyre_timer_set(server->accept_again, GYRE_MS(ACCEPT_PAUSE_MS), 0);
    if (status < 0)
        fail(server, "pausing the listener", gyre_status_message(status));
}

static void on_listener(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct server *server = user_data;
    int i;

    (void)loop;
    (void)io;
    (void)events;
    for (i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(server->listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            server_adopt(server, fd);
            continue;
        }
        switch (errno) {
        case EAGAIN: /* that was all */
            return;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            server_pause_accept(server);
            return;
        case EBADF: /* the listener is broken */
        case EINVAL:
        case ENOTSOCK:
        case EOPNOTSUPP:
            fail(server, "accept4", strerror(errno));
            return;
        default: /* a client that has gone again, or the network's error for it */
            break;
        }
    }
}

static void on_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)signal;
    (void)signum;
    (void)count;
    (void)user_data;
    check(gyre_loop_stop(loop), "gyre_loop_stop");
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

static void usage(void)
{
    fprintf(stderr, "usage: 02_echo_server [--backend epoll|poll|select] [ADDRESS]\n"
                    "ADDRESS is numeric, as 127.0.0.1:7000 or [::1]:0; the default is 127.0.0.1:0\n");
    exit(2);
}

static int backend_by_name(const char *name)
{
    if (strcmp(name, "epoll") == 0)
        return GYRE_BACKEND_EPOLL;
    if (strcmp(name, "poll") == 0)
        return GYRE_BACKEND_POLL;
    if (strcmp(name, "select") == 0)
        return GYRE_BACKEND_SELECT;
    usage();
    return GYRE_BACKEND_AUTO;
}

int main(int argc, char **argv)
{
    static struct server server; /* zeroed, and its buffer is large for a stack */
    gyre_loop_options options;
    gyre_signal interrupt, terminate;
    union tcp_address address;
    socklen_t length;
    char text[TCP_ADDRESS_TEXT];
    const char *where = NULL;
    int i;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.backend = GYRE_BACKEND_AUTO;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc)
            options.backend = backend_by_name(argv[++i]);
        else if (argv[i][0] == '-' || where != NULL)
            usage();
        else
            where = argv[i];
    }
    length = tcp_address_parse(where != NULL ? where : "127.0.0.1:0", &address);
    if (length == 0)
        usage();

    check(gyre_loop_open(&options, &server.loop), "gyre_loop_open");
    /* select cannot take a high descriptor anyhow: there the surplus had better wait in the backlog. */
    if (strcmp(gyre_loop_backend(server.loop), "select") != 0)
        tcp_raise_descriptor_limit();

    server.listener_fd = listen_on(&address, length);
    check(gyre_io_open(server.loop, server.listener_fd, GYRE_READ, on_listener, &server, &server.listener),
          "gyre_io_open");
    check(gyre_timer_open(server.loop, GYRE_FOREVER, 0, on_accept_again, &server, &server.accept_again),
          "gyre_timer_open");
    check(gyre_signal_open(server.loop, SIGINT, on_signal, NULL, &interrupt), "gyre_signal_open");
    check(gyre_signal_open(server.loop, SIGTERM, on_signal, NULL, &terminate), "gyre_signal_open");

    length = sizeof address;
    check_errno(getsockname(server.listener_fd, &address.any, &length), "getsockname");
    tcp_address_format(&address, text);
    printf("listening on %s (backend %s)\n", text, gyre_loop_backend(server.loop));
    check_errno(fflush(stdout), "stdout");

    check(gyre_loop_run(server.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    while (server.connections != NULL)
        connection_close(server.connections);
    check(gyre_loop_close(server.loop), "gyre_loop_close"); /* closes the listener's, timer's and signals' watchers */
    close(server.listener_fd);
    fprintf(stderr, "served %" PRIu64 " connections, %" PRIu64 " bytes\n", server.accepted, server.echoed_bytes);
    if (server.refused > 0)
        fprintf(stderr, "refused %" PRIu64 " connections\n", server.refused);
    return server.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
