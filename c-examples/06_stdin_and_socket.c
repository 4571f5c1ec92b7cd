/* A telnet-like client: what is typed goes to a TCP server, what the server says is shown.
 *
 * The program that select loops are written for. Standard input may be a terminal, a pipe or a file. Nothing is read
 * on one side before the other side has taken what came before, so that memory is bounded and a slow end slows the
 * fast one. At the end of input the connection is closed for writing only; the program ends with the peer's output.
 *
 *   build: cc -std=c99 06_stdin_and_socket.c -lgyre -o 06_stdin_and_socket
 *   run:   ./06_stdin_and_socket 127.0.0.1:7000
 */
#define _POSIX_C_SOURCE 200809L

#include "tcp.h"

#include <gyre.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

/* Standard input and output are shared with the shell and other programs, so O_NONBLOCK, which would be set for all of
 * them, is out of the question. A blocking descriptor that is reported ready can be used all the same: a read takes
 * what is there, and a write of no more than PIPE_BUF bytes fits. */
enum { BUFFER_SIZE = PIPE_BUF };

struct buffer {
    char data[BUFFER_SIZE];
    size_t start, end; /* data[start, end) is still to be written */
    int eof;           /* nothing more will come in */
};

struct client {
    gyre_io input, output, socket;
    int fd, connected, done, failed;
    struct buffer up;   /* standard input to socket */
    struct buffer down; /* socket to standard output */
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

static int is_empty(const struct buffer *buffer)
{
    return buffer->start == buffer->end;
}

/* Takes in the result of a read into an empty buffer. Returns 0, or -1 for an error other than "not now". */
static int buffer_filled(struct buffer *buffer, ssize_t result)
{
    if (result < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    buffer->start = 0;
    buffer->end = (size_t)result;
    buffer->eof = result == 0;
    return 0;
}

static int buffer_written(struct buffer *buffer, ssize_t result)
{
    if (result < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    buffer->start += (size_t)result;
    return 0;
}

static void stop(gyre_loop loop, struct client *client, const char *failure, int error)
{
    if (failure != NULL) {
        fprintf(stderr, "%s: %s\n", failure, strerror(error));
        client->failed = 1;
    }
    client->done = 1;
    check(gyre_loop_stop(loop), "gyre_loop_stop");
}

/* Asks for exactly that which the buffers have room or data for. Called after each event: a call that changes nothing
 * costs no system call. */
static void update_interest(gyre_loop loop, struct client *client)
{
    struct buffer *up = &client->up, *down = &client->down;
    uint32_t socket_events = 0;

    if (client->done)
        return;
    if (down->eof && is_empty(down)) {
        stop(loop, client, NULL, 0);
        return;
    }
    if (!client->connected)
        socket_events = GYRE_WRITE;
    else
        socket_events = (is_empty(down) ? GYRE_READ : 0) | (is_empty(up) ? 0 : GYRE_WRITE);
    check(gyre_io_set(client->socket, socket_events), "gyre_io_set");
    check(gyre_io_set(client->input, client->connected && is_empty(up) && !up->eof ? GYRE_READ : 0), "gyre_io_set");
    check(gyre_io_set(client->output, is_empty(down) ? 0 : GYRE_WRITE), "gyre_io_set");
}

/* The callbacks look at GYRE_READ and GYRE_WRITE only. A hangup or an error comes with them, and the system call says
 * what it is; what a watcher without interest hears of them shows in the next call just as well. */

static void on_input(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct client *client = user_data;

    (void)io;
    if (!(events & GYRE_READ))
        return;
    if (buffer_filled(&client->up, read(STDIN_FILENO, client->up.data, BUFFER_SIZE)) < 0) {
        stop(loop, client, "standard input", errno);
        return;
    }
    /* The buffer was empty, so all that came before is sent; the peer may go on talking. */
    if (client->up.eof && shutdown(client->fd, SHUT_WR) < 0) {
        stop(loop, client, "shutdown", errno);
        return;
    }
    update_interest(loop, client);
}

static void on_output(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct client *client = user_data;
    struct buffer *down = &client->down;

    (void)io;
    if (!(events & GYRE_WRITE))
        return;
    if (buffer_written(down, write(STDOUT_FILENO, down->data + down->start, down->end - down->start)) < 0) {
        stop(loop, client, "standard output", errno);
        return;
    }
    update_interest(loop, client);
}

static void on_connected(gyre_loop loop, struct client *client)
{
    int error = 0;
    socklen_t length = sizeof error;

    check_errno(getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &length), "getsockopt");
    if (error != 0) {
        stop(loop, client, "connect", error);
        return;
    }
    client->connected = 1;
    update_interest(loop, client);
}

static void on_socket(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct client *client = user_data;
    struct buffer *up = &client->up, *down = &client->down;
    int result = 0;

    (void)io;
    if (!client->connected) {
        on_connected(loop, client);
        return;
    }
    if (events & GYRE_READ)
        result = buffer_filled(down, recv(client->fd, down->data, BUFFER_SIZE, 0));
    if (result == 0 && (events & GYRE_WRITE))
        result = buffer_written(up, send(client->fd, up->data + up->start, up->end - up->start, MSG_NOSIGNAL));
    if (result < 0) {
        stop(loop, client, "connection", errno);
        return;
    }
    update_interest(loop, client);
}

int main(int argc, char **argv)
{
    static struct client client;
    union tcp_address address;
    socklen_t length = argc == 2 ? tcp_address_parse(argv[1], &address) : 0;
    gyre_loop loop;

    if (length == 0) {
        fprintf(stderr, "usage: 06_stdin_and_socket ADDRESS        (as 127.0.0.1:7000 or [::1]:7000)\n");
        return 2;
    }

    /* If they are closed, the next descriptors opened would take their numbers. */
    check_errno(fcntl(STDIN_FILENO, F_GETFD), "standard input");
    check_errno(fcntl(STDOUT_FILENO, F_GETFD), "standard output");

    /* Interest 0: a paused watcher, until there is a connection to carry the data. */
    check(gyre_loop_open(NULL, &loop), "gyre_loop_open");
    check(gyre_io_open(loop, STDIN_FILENO, 0, on_input, &client, &client.input), "standard input");
    check(gyre_io_open(loop, STDOUT_FILENO, 0, on_output, &client, &client.output), "standard output");

    client.fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check_errno(client.fd, "socket");
    if (connect(client.fd, &address.any, length) < 0 && errno != EINPROGRESS)
        check_errno(-1, "connect");
    check(gyre_io_open(loop, client.fd, GYRE_WRITE, on_socket, &client, &client.socket), "gyre_io_open");

    check(gyre_loop_run(loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    check(gyre_loop_close(loop), "gyre_loop_close"); /* closes the watchers; the descriptors are ours */
    close(client.fd);
    return client.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
