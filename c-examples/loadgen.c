/* A load generator for TCP echo servers that verifies every byte, itself written on gyre.
 *
 *   build: cc -std=c99 loadgen.c -lgyre -o loadgen
 *   run:   ./loadgen --connections 1000 --size 64 --in-flight 16 --seconds 10 127.0.0.1:7000
 *
 * Each connection carries a stream of messages, of which up to --in-flight are on their way at a time; as echoes come
 * back, the next ones follow. The bytes are a pseudo-random function of the connection and of their position in its
 * stream: what is expected back can be computed again, so that nothing sent is kept, and a byte that is lost, doubled,
 * changed or sent to the wrong connection does not match. At the end (time, number of messages, or SIGINT) it stops
 * sending, and waits for what is outstanding.
 *
 * Latency is counted for each message, from when its first byte was queued for sending to when its last byte came back.
 *
 * Exit status: 0 if every connection was made and every byte sent came back right; 1 if not; 2 for bad usage.
 * A progress bar is shown on stderr if that is a terminal; results go to stdout.
 */
#define _POSIX_C_SOURCE 200809L

#include "tcp.h"

#include <gyre.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

enum {
    CHUNK = 64 * 1024,   /* most that is received, or sent, for one event */
    CONNECTS_AT_A_TIME = 100,
    PATIENCE_S = 10,     /* without any progress; and for what is outstanding at the end */
    TICK_MS = 100,       /* progress bar, and watch over progress */
    COMPLAINTS_SHOWN = 5,
    BAR_WIDTH = 30
};

struct options {
    uint64_t connections, size, in_flight;
    uint64_t messages;    /* a connection; UINT64_MAX: bounded by time */
    uint64_t duration_ns; /* GYRE_FOREVER: bounded by messages */
    int quiet, json;
    union tcp_address address;
    socklen_t address_length;
};

enum state { NOT_STARTED, CONNECTING, OPEN, CLOSED };

struct connection {
    gyre_io io;
    int fd;
    uint32_t index;
    enum state state;
    uint64_t sent, received;    /* bytes */
    uint64_t queued, completed; /* messages; of those queued the last may be unsent or sent in part */
    uint64_t *queued_at;        /* ring: when the messages in flight were queued */
};

/* Latencies in buckets: 64 to each power of two, so that a bucket is 1.6 % wide at most, from a nanosecond to ever. */
enum { SUB_BITS = 6, SUB_BUCKETS = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS + 1) * SUB_BUCKETS };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[BUCKETS];
};

enum phase { RAMP_UP, RUN, DRAIN, FINISHED };

struct load {
    struct options options;
    gyre_loop loop;
    gyre_timer deadline; /* in RUN the end of sending, in DRAIN the end of patience */
    struct connection *connections;
    enum phase phase;
    int show_progress, interrupted;
    uint64_t attempted, connecting, connected, active; /* connections: tried, trying, ever made, open or trying */
    uint64_t sent, verified;                           /* bytes */
    uint64_t errors;
    uint64_t started_at, finished_at;
    uint64_t progress, progress_at; /* what the watch over progress saw last, and when that had changed */
    struct histogram latency;
};

static struct load load;
static unsigned char received_bytes[CHUNK];
static uint64_t pattern_words[CHUNK / 8 + 2];

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

static int is_temporary(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* The loop's own time stands still during a turn, which may serve a thousand connections. */
static uint64_t fresh_now(void)
{
    check(gyre_loop_update_now(load.loop), "gyre_loop_update_now");
    return gyre_loop_now(load.loop);
}

/* ---- the bytes ---- */

/* Bytes [position, position + length) of a connection's stream, until the next call. length is at most CHUNK. */
static const unsigned char *pattern(uint32_t connection, uint64_t position, size_t length)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t seed = (connection + UINT64_C(1)) * UINT64_C(0xd6e8feb86659fd93);
    uint64_t first = position / 8, last = (position + length - 1) / 8, word;

    for (word = first; word <= last; word++) {
        uint64_t x = (seed + word) * odd;

        x = (x ^ (x >> 32)) * odd;
        pattern_words[word - first] = x ^ (x >> 29);
    }
    return (const unsigned char *)pattern_words + position % 8;
}

/* ---- latencies ---- */

static void histogram_add(struct histogram *histogram, uint64_t value)
{
    unsigned shift = 0;

    while (value >> shift >= 2 * SUB_BUCKETS)
        shift++;
    histogram->buckets[shift * SUB_BUCKETS + (value >> shift)]++;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
}

/* The upper end of the bucket in which the given part of all values is reached. */
static uint64_t histogram_quantile(const struct histogram *histogram, double part)
{
    uint64_t rank = (uint64_t)(part * (double)histogram->count), seen = 0;
    size_t i;

    for (i = 0; i < BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > rank) {
            size_t shift = i < 2 * SUB_BUCKETS ? 0 : i / SUB_BUCKETS - 1;
            uint64_t end = ((uint64_t)(i - shift * SUB_BUCKETS + 1) << shift) - 1;

            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}

/* ---- progress and complaints ---- */

static void erase_progress(void)
{
    if (load.show_progress)
        fputs("\r\033[K", stderr);
}

static double seconds_between(uint64_t from, uint64_t to)
{
    return (double)(to - from) / 1e9;
}

static void draw_progress(void)
{
    double elapsed, part;
    char bar[BAR_WIDTH + 1];
    int filled;

    if (!load.show_progress)
        return;
    erase_progress();
    if (load.phase == RAMP_UP) {
        fprintf(stderr, "connecting %" PRIu64 " of %" PRIu64, load.connected, load.options.connections);
        return;
    }
    elapsed = seconds_between(load.started_at, gyre_loop_now(load.loop));
    if (load.options.messages != UINT64_MAX)
        part = (double)load.latency.count / (double)load.options.messages / (double)load.options.connections;
    else
        part = elapsed * 1e9 / (double)load.options.duration_ns;
    part = part > 1 ? 1 : part;
    filled = (int)(part * BAR_WIDTH);
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '=', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "[%s] %3.0f %%  %.1f s  ", bar, part * 100, elapsed);
    if (load.phase == DRAIN)
        fprintf(stderr, "waiting for %" PRIu64 " bytes", load.sent - load.verified);
    else
        fprintf(stderr, "%" PRIu64 " connections  %.0f requests/s", load.active,
                elapsed > 0 ? (double)load.latency.count / elapsed : 0);
}

/* ---- connections ---- */

static void advance(void);

static void connection_close(struct connection *connection)
{
    if (connection->state == CONNECTING)
        load.connecting--;
    connection->state = CLOSED;
    load.active--;
    if (connection->io.bits != 0)
        check(gyre_io_close(connection->io), "gyre_io_close");
    if (connection->fd >= 0)
        close(connection->fd);
}

/* Counts an error, tells of the first few, and closes the connection. */
static void connection_fail(struct connection *connection, const char *format, ...)
{
    va_list arguments;

    if (load.errors++ < COMPLAINTS_SHOWN) {
        erase_progress();
        fprintf(stderr, "loadgen: connection %" PRIu32 ": ", connection->index);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputs(load.errors == COMPLAINTS_SHOWN ? "\n(further errors are only counted)\n" : "\n", stderr);
    }
    connection_close(connection);
}

static void connection_want(struct connection *connection, uint32_t events)
{
    int status = gyre_io_set(connection->io, events);

    if (status < 0)
        connection_fail(connection, "gyre_io_set: %s", gyre_status_message(status));
}

static void verify(struct connection *connection, size_t length)
{
    uint64_t position = connection->received;
    const unsigned char *expected = pattern(connection->index, position, length);
    uint64_t now;
    size_t i = 0;

    if (length > connection->sent - position) {
        connection_fail(connection, "more came back than was sent");
        return;
    }
    if (memcmp(received_bytes, expected, length) != 0) {
        while (received_bytes[i] == expected[i])
            i++;
        connection_fail(connection, "wrong byte at position %" PRIu64 ": expected %02x, got %02x", position + i,
                        (unsigned)expected[i], (unsigned)received_bytes[i]);
        return;
    }
    connection->received += length;
    load.verified += length;

    now = fresh_now();
    while (connection->completed < connection->queued
           && connection->received >= (connection->completed + 1) * load.options.size) {
        histogram_add(&load.latency, now - connection->queued_at[connection->completed % load.options.in_flight]);
        connection->completed++;
    }
}

static void connection_receive(struct connection *connection)
{
    ssize_t length = recv(connection->fd, received_bytes, sizeof received_bytes, 0);

    if (length > 0)
        verify(connection, (size_t)length);
    else if (length == 0)
        connection_fail(connection, "closed by the server with %" PRIu64 " bytes outstanding",
                        connection->sent - connection->received);
    else if (!is_temporary(errno))
        connection_fail(connection, "recv: %s", strerror(errno));
}

/* Queues what the window permits, and sends it together. */
static void connection_send(struct connection *connection)
{
    const struct options *options = &load.options;
    uint64_t end = connection->sent, now;
    ssize_t sent;

    if (load.phase == RUN) {
        now = fresh_now();
        while (connection->queued - connection->completed < options->in_flight
               && connection->queued < options->messages)
            connection->queued_at[connection->queued++ % options->in_flight] = now;
        end = connection->queued * options->size;
    }
    if (connection->sent < end) {
        size_t length = end - connection->sent < CHUNK ? (size_t)(end - connection->sent) : CHUNK;

        sent = send(connection->fd, pattern(connection->index, connection->sent, length), length, MSG_NOSIGNAL);
        if (sent < 0 && !is_temporary(errno)) {
            connection_fail(connection, "send: %s", strerror(errno));
            return;
        }
        connection->sent += sent > 0 ? (uint64_t)sent : 0;
        load.sent += sent > 0 ? (uint64_t)sent : 0;
    }
    connection_want(connection, connection->sent < end ? GYRE_READ | GYRE_WRITE : GYRE_READ);
}

static int connection_is_done(const struct connection *connection)
{
    if (load.phase == DRAIN)
        return connection->received == connection->sent;
    return connection->completed == load.options.messages;
}

static void connection_established(struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    if (error != 0) {
        connection_fail(connection, "connect: %s", strerror(error));
        return;
    }
    connection->state = OPEN;
    load.connecting--;
    load.connected++;
    connection_want(connection, GYRE_READ); /* nothing is to come yet, except the end */
}

static void on_connection(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    struct connection *connection = user_data;

    (void)loop;
    (void)io;
    if (connection->state == CONNECTING) {
        connection_established(connection);
    } else if (!(events & (GYRE_READ | GYRE_WRITE))) {
        connection_fail(connection, "the descriptor is lost");
    } else {
        if (events & GYRE_READ)
            connection_receive(connection);
        if (connection->state == OPEN)
            connection_send(connection);
        if (connection->state == OPEN && connection_is_done(connection))
            connection_close(connection);
    }
    advance();
}

static void connection_start(struct connection *connection)
{
    int no_delay = 1, status;

    connection->state = CONNECTING;
    load.connecting++;
    load.active++;
    connection->fd = socket(load.options.address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) {
        connection_fail(connection, "socket: %s", strerror(errno));
        return;
    }
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
    if (connect(connection->fd, &load.options.address.any, load.options.address_length) < 0 && errno != EINPROGRESS) {
        connection_fail(connection, "connect: %s", strerror(errno));
        return;
    }
    status = gyre_io_open(load.loop, connection->fd, GYRE_WRITE, on_connection, connection, &connection->io);
    if (status < 0)
        connection_fail(connection, "gyre_io_open: %s", gyre_status_message(status));
}

/* ---- the run ---- */

/* All start together: asked to write, each connection hears that it can. */
static void begin_run(void)
{
    uint64_t i;

    load.phase = RUN;
    load.started_at = fresh_now();
    check(gyre_timer_set(load.deadline, load.options.duration_ns, 0), "gyre_timer_set");
    for (i = 0; i < load.options.connections; i++)
        if (load.connections[i].state == OPEN)
            connection_want(&load.connections[i], GYRE_READ | GYRE_WRITE);
}

/* What has not been sent yet will not be; what has been has to come back. */
static void begin_drain(void)
{
    uint64_t i;

    load.phase = DRAIN;
    check(gyre_timer_set(load.deadline, GYRE_SEC(PATIENCE_S), 0), "gyre_timer_set");
    for (i = 0; i < load.options.connections; i++) {
        struct connection *connection = &load.connections[i];

        if (connection->state == CONNECTING || (connection->state == OPEN && connection_is_done(connection)))
            connection_close(connection);
        else if (connection->state == OPEN)
            connection_want(connection, GYRE_READ);
    }
    advance();
}

static void give_up(const char *why)
{
    uint64_t i;

    load.phase = load.phase == RAMP_UP ? DRAIN : load.phase;
    for (i = 0; i < load.options.connections; i++) {
        struct connection *connection = &load.connections[i];

        if (connection->state == CONNECTING)
            connection_fail(connection, "not connected: %s", why);
        else if (connection->state == OPEN)
            connection_fail(connection, "%" PRIu64 " bytes outstanding: %s",
                            connection->sent - connection->received, why);
    }
    advance();
}

/* From phase to phase. Called whenever the number of connections may have changed. */
static void advance(void)
{
    if (load.phase == RAMP_UP) {
        while (load.attempted < load.options.connections && load.connecting < CONNECTS_AT_A_TIME)
            connection_start(&load.connections[load.attempted++]);
        if (load.attempted == load.options.connections && load.connecting == 0)
            begin_run();
    }
    if (load.phase != RAMP_UP && load.phase != FINISHED && load.active == 0) {
        load.phase = FINISHED;
        load.finished_at = fresh_now();
        check(gyre_loop_stop(load.loop), "gyre_loop_stop");
    }
}

static void on_deadline(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    (void)user_data;
    if (load.phase == RUN)
        begin_drain();
    else
        give_up("the server took too long");
}

static void on_tick(gyre_loop loop, gyre_timer timer, void *user_data)
{
    uint64_t now = gyre_loop_now(loop), progress = load.connected + load.verified;

    (void)timer;
    (void)user_data;
    draw_progress();
    if (progress != load.progress) {
        load.progress = progress;
        load.progress_at = now;
    } else if (now - load.progress_at >= GYRE_SEC(PATIENCE_S)) {
        give_up("the server does not move");
    }
}

static void on_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    (void)user_data;
    load.interrupted = 1;
    if (load.phase == DRAIN)
        give_up("interrupted");
    else if (load.phase != FINISHED)
        begin_drain();
}

/* ---- results ---- */

/* Returns whether all went well, and says on stderr what did not. */
static int judge(void)
{
    uint64_t missing = load.sent - load.verified;
    int good = 1;

    if (load.connected < load.options.connections) {
        fprintf(stderr, "loadgen: only %" PRIu64 " of %" PRIu64 " connections were made%s\n", load.connected,
                load.options.connections, load.interrupted ? " (interrupted)" : "");
        good = 0;
    }
    if (missing > 0) {
        fprintf(stderr, "loadgen: %" PRIu64 " of %" PRIu64 " bytes did not come back right\n", missing, load.sent);
        good = 0;
    }
    if (load.verified == 0) {
        fprintf(stderr, "loadgen: nothing was verified\n");
        good = 0;
    }
    if (load.errors > 0) {
        fprintf(stderr, "loadgen: %" PRIu64 " errors\n", load.errors);
        good = 0;
    }
    return good;
}

static void report(void)
{
    const struct options *options = &load.options;
    uint64_t requests = load.latency.count;
    double elapsed = seconds_between(load.started_at, load.finished_at);
    double per_second = elapsed > 0 ? (double)requests / elapsed : 0;
    double p50 = (double)histogram_quantile(&load.latency, 0.50) / 1e3;
    double p99 = (double)histogram_quantile(&load.latency, 0.99) / 1e3;
    double max = (double)load.latency.max / 1e3;

    if (options->quiet) {
        printf("connections=%" PRIu64 " size=%" PRIu64 " in_flight=%" PRIu64 " requests=%" PRIu64 " rps=%.0f"
               " p50_us=%.1f p99_us=%.1f verified_bytes=%" PRIu64 " errors=%" PRIu64 "\n",
               load.connected, options->size, options->in_flight, requests, per_second, p50, p99, load.verified,
               load.errors);
    } else if (options->json) {
        printf("{\"connections\": %" PRIu64 ", \"size\": %" PRIu64 ", \"in_flight\": %" PRIu64 ", \"seconds\": %.3f,"
               " \"requests\": %" PRIu64 ", \"rps\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f,"
               " \"sent_bytes\": %" PRIu64 ", \"verified_bytes\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n",
               load.connected, options->size, options->in_flight, elapsed, requests, per_second, p50, p99, max,
               load.sent, load.verified, load.errors);
    } else {
        printf("requests        %12" PRIu64 "\n", requests);
        printf("requests/s      %12.0f\n", per_second);
        printf("bytes verified  %12" PRIu64 "\n", load.verified);
        printf("latency p50     %12.1f us\n", p50);
        printf("latency p99     %12.1f us\n", p99);
        printf("latency max     %12.1f us\n", max);
        printf("connections     %12" PRIu64 "\n", load.connected);
        printf("errors          %12" PRIu64 "\n", load.errors);
    }
}

/* ---- command line ---- */

static void usage(const char *problem)
{
    if (problem != NULL)
        fprintf(stderr, "loadgen: %s\n", problem);
    fprintf(stderr, "usage: loadgen [--connections N] [--size BYTES] [--in-flight MESSAGES]\n"
                    "               [--seconds S | --messages PER_CONNECTION] [--quiet | --json] ADDRESS\n"
                    "ADDRESS is numeric, as 127.0.0.1:7000 or [::1]:7000.\n"
                    "Defaults: 50 connections, 64 bytes, 1 in flight, 5 seconds.\n");
    exit(2);
}

static uint64_t parse_count(const char *option, const char *text, uint64_t max)
{
    char problem[100], *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 || value > max) {
        snprintf(problem, sizeof problem, "%s takes a number from 1 to %" PRIu64, option, max);
        usage(problem);
    }
    return value;
}

static uint64_t parse_seconds(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= 0.001 && value <= 86400))
        usage("--seconds takes a number from 0.001 to 86400");
    return (uint64_t)(value * 1e9);
}

static void parse_options(struct options *options, int argc, char **argv)
{
    const char *address = NULL;
    int i;

    options->connections = 50;
    options->size = 64;
    options->in_flight = 1;
    options->messages = UINT64_MAX;
    options->duration_ns = GYRE_FOREVER;
    for (i = 1; i < argc; i++) {
        const char *option = argv[i];

        if (option[0] != '-') {
            if (address != NULL)
                usage("more than one address");
            address = option;
        } else if (strcmp(option, "--quiet") == 0) {
            options->quiet = 1;
        } else if (strcmp(option, "--json") == 0) {
            options->json = 1;
        } else if (i + 1 == argc) {
            usage("unknown option, or its value is missing");
        } else if (strcmp(option, "--connections") == 0) {
            options->connections = parse_count(option, argv[++i], 1000000);
        } else if (strcmp(option, "--size") == 0) {
            options->size = parse_count(option, argv[++i], 1 << 30);
        } else if (strcmp(option, "--in-flight") == 0) {
            options->in_flight = parse_count(option, argv[++i], 65536);
        } else if (strcmp(option, "--messages") == 0) {
            options->messages = parse_count(option, argv[++i], UINT64_C(1000000000000));
        } else if (strcmp(option, "--seconds") == 0) {
            options->duration_ns = parse_seconds(argv[++i]);
        } else {
            usage("unknown option");
        }
    }
    if (address == NULL)
        usage("the address is missing");
    options->address_length = tcp_address_parse(address, &options->address);
    if (options->address_length == 0)
        usage("the address is not a numeric one with a port");
    if (options->messages != UINT64_MAX && options->duration_ns != GYRE_FOREVER)
        usage("--seconds and --messages exclude each other");
    if (options->quiet && options->json)
        usage("--quiet and --json exclude each other");
    if (options->messages == UINT64_MAX && options->duration_ns == GYRE_FOREVER)
        options->duration_ns = GYRE_SEC(5);
}

int main(int argc, char **argv)
{
    uint64_t *queued_at, i;
    gyre_timer tick;
    gyre_signal interrupt, terminate;
    int good;

    parse_options(&load.options, argc, argv);
    load.show_progress = isatty(STDERR_FILENO);
    load.connections = calloc((size_t)load.options.connections, sizeof *load.connections);
    queued_at = calloc((size_t)load.options.connections, (size_t)load.options.in_flight * sizeof *queued_at);
    if (load.connections == NULL || queued_at == NULL) {
        fprintf(stderr, "loadgen: not enough memory for so many messages in flight\n");
        return EXIT_FAILURE;
    }
    for (i = 0; i < load.options.connections; i++) {
        load.connections[i].index = (uint32_t)i;
        load.connections[i].fd = -1;
        load.connections[i].queued_at = queued_at + i * load.options.in_flight;
    }

    check(gyre_loop_open(NULL, &load.loop), "gyre_loop_open");
    if (strcmp(gyre_loop_backend(load.loop), "select") != 0)
        tcp_raise_descriptor_limit();
    check(gyre_timer_open(load.loop, GYRE_FOREVER, 0, on_deadline, NULL, &load.deadline), "gyre_timer_open");
    check(gyre_timer_open(load.loop, GYRE_MS(TICK_MS), GYRE_MS(TICK_MS), on_tick, NULL, &tick), "gyre_timer_open");
    check(gyre_signal_open(load.loop, SIGINT, on_signal, NULL, &interrupt), "gyre_signal_open");
    check(gyre_signal_open(load.loop, SIGTERM, on_signal, NULL, &terminate), "gyre_signal_open");

    load.started_at = load.progress_at = gyre_loop_now(load.loop);
    advance();
    check(gyre_loop_run(load.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");
    check(gyre_loop_close(load.loop), "gyre_loop_close"); /* closes the timers and the signals' watchers */

    erase_progress();
    good = judge();
    report();
    if (fflush(stdout) == EOF)
        good = 0;
    free(queued_at);
    free(load.connections);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
