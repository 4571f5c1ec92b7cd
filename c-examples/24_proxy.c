/* A TCP proxy: what comes in goes to a target, and what the target answers goes back.
 *
 * Shows two streams tied together with backpressure both ways. When the queue of one is full (GYRE_EFULL) the other is
 * paused, so that its peer is held back by TCP, and resumed when there is room again (on_drain): a fast sender before a
 * slow receiver costs a fixed amount of memory. Each end of input is passed on as a half-close, a reset as a reset.
 *
 *   build: cc -std=c99 24_proxy.c -lgyre -o 24_proxy
 *   run:   ./24_proxy TARGET [ADDRESS]
 *
 * TARGET and ADDRESS are numeric, as 127.0.0.1:7000 or [::1]:7000, or unix:/path; as ADDRESS, port 0 takes a free one,
 * and the line on stdout tells which. Ends on SIGINT and SIGTERM.
 */
#define _POSIX_C_SOURCE 200809L

#include "tcp.h"

#include <gyre.h>

#include <errno.h>
#include <signal.h>

enum {
    INPUT_MAX = 64 * 1024,   /* kept of a stream that is paused */
    UNSENT_MAX = 256 * 1024, /* kept for a stream that is not read from */
    CONNECT_S = 10,
    STALL_S = 120,           /* until a peer that takes nothing is given up */
    IDLE_S = 15 * 60,
    CONNECTIONS_MAX = 4000,
    ADDRESS_SIZE = 128
};

struct proxy {
    gyre_loop loop;
    const char *target;
    gyre_stream_options stream;
};

/* One of the two streams of a pair; the other one is where its input goes. */
struct end {
    struct pair *pair;
    struct end *other;
    const char *name;
    gyre_stream stream;
    int is_closed; /* or was never there */
    int is_at_eof;
};

struct pair {
    struct proxy *proxy;
    struct end client, target;
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static size_t on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    const struct end *end = user_data;
    size_t chunk = length < INPUT_MAX ? length : INPUT_MAX;

    (void)loop;
    if (gyre_stream_write(end->other->stream, data, chunk) == GYRE_EFULL) {
        check(gyre_stream_pause(stream), "gyre_stream_pause");
        return 0;
    }
    return chunk; /* any other failure ends the other stream, and its on_close will end this one */
}

/* This end has room: take from the other one again. */
static void on_drain(gyre_loop loop, gyre_stream stream, void *user_data)
{
    const struct end *end = user_data;

    (void)loop;
    (void)stream;
    if (!end->other->is_closed)
        (void)gyre_stream_resume(end->other->stream); /* refused if it is being closed */
}

static void on_eof(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct end *end = user_data;

    (void)loop;
    end->is_at_eof = 1;
    if (!end->other->is_at_eof) {
        (void)gyre_stream_shutdown(end->other->stream); /* if it fails the other stream ends, and so will this one */
        return;
    }
    /* Nothing comes from either side any more; what is unsent is still sent. */
    check(gyre_stream_close(stream), "gyre_stream_close");
    (void)gyre_stream_close(end->other->stream);
}

static void on_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct end *end = user_data;

    (void)loop;
    (void)stream;
    if (end == NULL)
        return;
    end->is_closed = 1;
    /* Not of what the proxy does itself: -ECANCELED is its end, -ECONNABORTED the abort below. */
    if (status < 0 && status != -ECANCELED && status != -ECONNABORTED)
        fprintf(stderr, "%s: %s\n", end->name, gyre_status_message(status));
    if (end->other->is_closed)
        free(end->pair);
    else if (status < 0)
        (void)gyre_stream_abort(end->other->stream);
    else
        (void)gyre_stream_close(end->other->stream);
}

static void on_connected(gyre_loop loop, gyre_stream stream, void *user_data)
{
    const struct end *target = user_data;

    (void)loop;
    (void)stream;
    (void)gyre_stream_resume(target->other->stream); /* unless it is gone already */
}

static void on_accepted(gyre_loop loop, gyre_stream stream, void *user_data)
{
    static const gyre_stream_callbacks callbacks = {
        .size = sizeof callbacks,
        .on_open = on_connected,
        .on_data = on_data,
        .on_drain = on_drain,
        .on_eof = on_eof,
        .on_close = on_close,
    };
    struct proxy *proxy = user_data;
    struct pair *pair = calloc(1, sizeof *pair);
    int status = -ENOMEM;

    /* From here on the callbacks of this stream get its end of the pair instead of the proxy, or NULL. */
    check(gyre_stream_set_user_data(stream, pair != NULL ? &pair->client : NULL), "gyre_stream_set_user_data");
    if (pair != NULL) {
        pair->proxy = proxy;
        pair->client.pair = pair->target.pair = pair;
        pair->client.other = &pair->target;
        pair->client.name = "client";
        pair->client.stream = stream;
        pair->target.other = &pair->client;
        pair->target.name = "target";
        /* Nothing is taken from the client before there is somebody to give it to. */
        check(gyre_stream_pause(stream), "gyre_stream_pause");
        status = gyre_stream_connect(loop, proxy->target, &proxy->stream, &callbacks, &pair->target,
                                     &pair->target.stream);
        pair->target.is_closed = status < 0;
    }
    if (status < 0) {
        fprintf(stderr, "refusing a client: %s\n", gyre_status_message(status));
        check(gyre_stream_abort(stream), "gyre_stream_abort");
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

static void usage(void)
{
    fprintf(stderr, "usage: 24_proxy TARGET [ADDRESS]\n"
                    "Both are numeric, as 127.0.0.1:7000 or [::1]:7000, or unix:/path\n"
                    "ADDRESS is by default 127.0.0.1:0\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const gyre_stream_callbacks callbacks = {
        .size = sizeof callbacks,
        .on_open = on_accepted,
        .on_data = on_data,
        .on_drain = on_drain,
        .on_eof = on_eof,
        .on_close = on_close,
    };
    struct proxy proxy;
    const char *where = argc > 2 ? argv[2] : "127.0.0.1:0";
    gyre_listener_options options;
    gyre_listener listener;
    gyre_signal interrupt, terminate;
    char address[ADDRESS_SIZE];

    if (argc < 2 || argc > 3 || argv[1][0] == '-' || where[0] == '-')
        usage();

    memset(&proxy, 0, sizeof proxy);
    proxy.target = argv[1];
    proxy.stream.size = sizeof proxy.stream;
    proxy.stream.max_input = INPUT_MAX;
    proxy.stream.write_limit = UNSENT_MAX;
    proxy.stream.connect_ns = GYRE_SEC(CONNECT_S);
    proxy.stream.write_stall_ns = GYRE_SEC(STALL_S);
    proxy.stream.close_ns = GYRE_SEC(STALL_S);
    proxy.stream.idle_ns = GYRE_SEC(IDLE_S);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.max_connections = CONNECTIONS_MAX;
    options.stream = proxy.stream;

    tcp_raise_descriptor_limit(); /* two for each connection */
    check(gyre_loop_open(NULL, &proxy.loop), "gyre_loop_open");
    check(gyre_listener_open(proxy.loop, where, &options, &callbacks, &proxy, &listener), where);
    check(gyre_listener_address(listener, address, sizeof address), "gyre_listener_address");
    check(gyre_signal_open(proxy.loop, SIGINT, on_signal, NULL, &interrupt), "gyre_signal_open");
    check(gyre_signal_open(proxy.loop, SIGTERM, on_signal, NULL, &terminate), "gyre_signal_open");
    printf("listening on %s, for %s\n", address, proxy.target);
    if (fflush(stdout) != 0) {
        perror("stdout");
        return EXIT_FAILURE;
    }

    check(gyre_loop_run(proxy.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    check(gyre_loop_close(proxy.loop), "gyre_loop_close"); /* closes each stream, and the last on_close frees a pair */
    return EXIT_SUCCESS;
}
