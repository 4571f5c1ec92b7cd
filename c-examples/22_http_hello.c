/* An HTTP/1.1 server: "Hello, world!" at /, and the files of a directory at every other path.
 *
 * Shows how a parser is fed from on_data, with keep-alive and pipelining: a request that cannot be answered at once
 * pauses the stream. And a large file on its way from the proactor to a stream: gyre_op_read reads a chunk,
 * gyre_stream_write_owned sends it without a copy, and on_drain says when a slow client has room for the next one; so a
 * connection never holds more than a few chunks. The parser is http_parser (Debian: libhttp-parser-dev).
 *
 *   build: cc -std=c99 22_http_hello.c -lgyre -lhttp_parser -o 22_http_hello
 *   run:   ./22_http_hello [ADDRESS [DIRECTORY]]
 *   use:   curl http://127.0.0.1:PORT/
 *
 * ADDRESS is numeric, as 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one, and the line on stdout tells which.
 * Without DIRECTORY there are no files. Nothing outside of it is served: ".." and symbolic links are refused. Ends on
 * SIGINT and SIGTERM.
 */
#define _POSIX_C_SOURCE 200809L

#include "beneath.h"
#include "tcp.h"

#include <gyre.h>

#include <http_parser.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

enum {
    PATH_SIZE = 1024,        /* of a request's target; a longer one is answered with 414 */
    HEAD_SIZE = 512,         /* of an answer */
    BODY_MAX = 64 * 1024,    /* of a request; nothing here wants one */
    CHUNK_SIZE = 64 * 1024,  /* of a file, read and sent at once */
    UNSENT_MAX = 256 * 1024, /* that a client has not taken */
    REQUEST_S = 10,          /* from the first byte of a request to its last one */
    CONNECTIONS_MAX = 10000,
    ADDRESS_SIZE = 128
};

struct server {
    gyre_loop loop;
    int root; /* or -1: no files */
    int64_t date_second;
    char date[32];
};

struct connection {
    struct server *server;
    gyre_stream stream;
    gyre_timer too_late;
    int is_gone; /* the stream has ended; an unfinished read keeps the rest */

    /* The request that is being received. */
    http_parser parser;
    char target[PATH_SIZE];
    size_t target_length, body_length;
    int is_receiving; /* its first byte has come, its last one has not */

    /* The answer that is being sent: the head, which is text, then the rest of the file. */
    char head[HEAD_SIZE];
    size_t head_length; /* 0: sent */
    int keep_alive, is_paused;
    int file; /* or -1 */
    uint64_t offset, left;
    char *chunk; /* being read, or with chunk_length bytes to be sent; NULL: none */
    size_t chunk_length;
    int is_reading;
    gyre_op read;
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

/* ---- connections ---- */

static void connection_end_file(struct connection *connection)
{
    if (connection->file >= 0)
        close(connection->file);
    connection->file = -1;
    free(connection->chunk);
    connection->chunk = NULL;
}

/* Frees it when both the stream and the read have ended. */
static void connection_free(struct connection *connection)
{
    if (!connection->is_gone || connection->is_reading)
        return;
    connection_end_file(connection);
    free(connection);
}

/* ---- answers ---- */

static void connection_continue(struct connection *connection);

static void release_chunk(const void *data, size_t length, void *argument)
{
    (void)length;
    (void)argument;
    free((void *)(uintptr_t)data);
}

static void on_read(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct connection *connection = user_data;

    (void)loop;
    connection->is_reading = 0;
    if (connection->is_gone) {
        connection_free(connection);
    } else if (done->result <= 0) {
        /* The head promised more than there is: all that is left is to break off. */
        fprintf(stderr, "reading a file: %s\n",
                done->result < 0 ? gyre_status_message((int)done->result) : "it is shorter than it was");
        (void)gyre_stream_abort(connection->stream);
    } else {
        connection->chunk_length = (size_t)done->result;
        connection->offset += connection->chunk_length;
        connection->left -= connection->chunk_length;
        connection_continue(connection);
    }
}

static int connection_read(struct connection *connection)
{
    size_t length = connection->left < CHUNK_SIZE ? (size_t)connection->left : CHUNK_SIZE;
    int status;

    connection->chunk = malloc(length);
    if (connection->chunk == NULL)
        return -ENOMEM;
    status = gyre_op_read(connection->server->loop, connection->file, connection->chunk, length,
                          (int64_t)connection->offset, on_read, connection, &connection->read);
    connection->is_reading = status == 0;
    return status;
}

/* Sends what there is of the answer. Returns 0 when all of it is on its way, GYRE_EFULL when on_drain is to go on,
 * -EINPROGRESS when on_read is, or a status that ends the connection. */
static int connection_send(struct connection *connection)
{
    int status;

    if (connection->head_length > 0) {
        status = gyre_stream_write(connection->stream, connection->head, connection->head_length);
        if (status < 0)
            return status;
        connection->head_length = 0;
    }
    if (connection->is_reading)
        return -EINPROGRESS;
    if (connection->chunk != NULL) {
        status = gyre_stream_write_owned(connection->stream, connection->chunk, connection->chunk_length,
                                         release_chunk, NULL);
        if (status < 0)
            return status; /* the chunk is still ours */
        connection->chunk = NULL;
    }
    if (connection->left == 0) {
        connection_end_file(connection);
        return 0;
    }
    status = connection_read(connection);
    return status < 0 ? status : -EINPROGRESS;
}

/* Goes on with the answer. The requests behind it wait for its end. */
static void connection_continue(struct connection *connection)
{
    int status = connection_send(connection);

    if (status == GYRE_EFULL || status == -EINPROGRESS) {
        connection->is_paused = 1;
        check(gyre_stream_pause(connection->stream), "gyre_stream_pause");
    } else if (status < 0) {
        (void)gyre_stream_abort(connection->stream); /* refused if it has ended by itself: the client is gone */
    } else if (!connection->keep_alive) {
        check(gyre_stream_close(connection->stream), "gyre_stream_close");
    } else if (connection->is_paused) {
        connection->is_paused = 0;
        check(gyre_stream_resume(connection->stream), "gyre_stream_resume");
    }
}

static const char *date_now(struct server *server)
{
    time_t now = time(NULL);
    struct tm parts;

    if (server->date_second != (int64_t)now && gmtime_r(&now, &parts) != NULL) {
        strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        server->date_second = (int64_t)now;
    }
    return server->date;
}

/* The body, if any, is the text or, without one, the file. */
static void connection_answer(struct connection *connection, unsigned code, const char *type, const char *text)
{
    uint64_t length = text != NULL ? strlen(text) : connection->left;
    const char *keep = "";
    int written;

    if (connection->parser.method == HTTP_HEAD) {
        text = NULL;
        connection->left = 0;
    }
    if (!connection->keep_alive)
        keep = "Connection: close\r\n";
    else if (connection->parser.http_minor == 0)
        keep = "Connection: keep-alive\r\n";
    written = snprintf(connection->head, sizeof connection->head,
                       "HTTP/1.1 %u %s\r\n"
                       "Date: %s\r\n"
                       "Content-Type: %s\r\n"
                       "Content-Length: %" PRIu64 "\r\n"
                       "%s%s\r\n%s",
                       code, http_status_str((enum http_status)code), date_now(connection->server), type, length,
                       code == 405 ? "Allow: GET, HEAD\r\n" : "", keep, text != NULL ? text : "");
    connection->head_length = (size_t)written; /* HEAD_SIZE is ample */
    connection_continue(connection);
}

static void connection_refuse(struct connection *connection, unsigned code)
{
    char text[64];

    snprintf(text, sizeof text, "%s\n", http_status_str((enum http_status)code));
    connection_answer(connection, code, "text/plain", text);
}

/* ---- requests ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* Makes a path of a request's target, in place: without the query, with "%41" decoded. Returns whether it is one. */
static int target_decode(char *target)
{
    const char *from = target;
    char *to = target;

    if (*from != '/')
        return 0;
    while (*from != '\0' && *from != '?' && *from != '#') {
        if (*from == '%') {
            int high = hex_digit(from[1]);
            int low = high < 0 ? -1 : hex_digit(from[2]);

            if (low < 0 || high + low == 0) /* a zero byte would hide what follows */
                return 0;
            *to++ = (char)(high * 16 + low);
            from += 3;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return 1;
}

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".css", "text/css"},  {".js", "text/javascript"},
        {".txt", "text/plain; charset=utf-8"}, {".png", "image/png"}, {".json", "application/json"},
    };
    const char *ending = strrchr(path, '.');
    size_t i;

    for (i = 0; ending != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(ending, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static void connection_answer_with_file(struct connection *connection)
{
    struct stat status;
    int fd = open_beneath(connection->server->root, connection->target, O_RDONLY | O_NONBLOCK);

    if (fd < 0) {
        /* To tell a stranger "forbidden" from "not found" would tell what exists. */
        connection_refuse(connection, errno == EMFILE || errno == ENFILE ? 503 : 404);
        return;
    }
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        connection_refuse(connection, 404);
        return;
    }
    connection->file = fd;
    connection->offset = 0;
    connection->left = (uint64_t)status.st_size;
    connection_answer(connection, 200, type_of(connection->target), NULL);
}

/* The parser has stopped at the end of a request. */
static void connection_serve(struct connection *connection)
{
    connection->keep_alive = http_should_keep_alive(&connection->parser);
    if (connection->parser.method != HTTP_GET && connection->parser.method != HTTP_HEAD)
        connection_refuse(connection, 405);
    else if (connection->target_length >= sizeof connection->target)
        connection_refuse(connection, 414);
    else if (connection->target[connection->target_length] = '\0', !target_decode(connection->target))
        connection_refuse(connection, 400);
    else if (strcmp(connection->target, "/") == 0)
        connection_answer(connection, 200, "text/plain", "Hello, world!\n");
    else if (connection->server->root < 0)
        connection_refuse(connection, 404);
    else
        connection_answer_with_file(connection);
}

static int on_message_begin(http_parser *parser)
{
    struct connection *connection = parser->data;

    connection->target_length = connection->body_length = 0;
    connection->is_receiving = 1;
    return 0;
}

/* May come in pieces. */
static int on_url(http_parser *parser, const char *text, size_t length)
{
    struct connection *connection = parser->data;
    size_t room = sizeof connection->target - connection->target_length;

    if (length > room)
        length = room; /* full is too long */
    memcpy(connection->target + connection->target_length, text, length);
    connection->target_length += length;
    return 0;
}

static int on_body(http_parser *parser, const char *data, size_t length)
{
    struct connection *connection = parser->data;

    (void)data;
    connection->body_length += length;
    return connection->body_length > BODY_MAX; /* which ends the parsing */
}

static int on_message_complete(http_parser *parser)
{
    struct connection *connection = parser->data;

    connection->is_receiving = 0;
    http_parser_pause(parser, 1); /* the next request is parsed when this one has been answered */
    return 0;
}

static const http_parser_settings parser_settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the stream ---- */

static void on_too_late(gyre_loop loop, gyre_timer timer, void *user_data)
{
    struct connection *connection = user_data;

    (void)loop;
    (void)timer;
    connection->keep_alive = 0;
    connection_refuse(connection, 408);
}

static void on_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct connection *connection = calloc(1, sizeof *connection);
    int status = -ENOMEM;

    /* From here on the callbacks of this stream get its connection instead of the server, or NULL. */
    check(gyre_stream_set_user_data(stream, connection), "gyre_stream_set_user_data");
    if (connection != NULL) {
        connection->server = user_data;
        connection->stream = stream;
        connection->file = -1;
        http_parser_init(&connection->parser, HTTP_REQUEST);
        connection->parser.data = connection;
        status = gyre_timer_open(loop, GYRE_FOREVER, 0, on_too_late, connection, &connection->too_late);
    }
    if (status < 0) {
        fprintf(stderr, "refusing a client: %s\n", gyre_status_message(status));
        check(gyre_stream_abort(stream), "gyre_stream_abort");
    }
}

/* Takes bytes up to the end of one request; for the next one it is called again, unless the stream is paused. */
static size_t on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    struct connection *connection = user_data;
    int was_receiving = connection->is_receiving;
    size_t taken = http_parser_execute(&connection->parser, &parser_settings, (const char *)data, length);
    enum http_errno error = HTTP_PARSER_ERRNO(&connection->parser);

    (void)loop;
    (void)stream;
    /* A deadline for all of the request, not for each piece: who sends a byte now and then is cut off as well. Most
     * requests come in one piece, and need none. */
    if (connection->is_receiving && !was_receiving)
        check(gyre_timer_set(connection->too_late, GYRE_SEC(REQUEST_S), 0), "gyre_timer_set");
    else if (was_receiving && !connection->is_receiving)
        check(gyre_timer_stop(connection->too_late), "gyre_timer_stop");
    if (error == HPE_PAUSED) {
        http_parser_pause(&connection->parser, 0);
        connection_serve(connection);
        return taken;
    }
    if (error != HPE_OK) {
        check(gyre_timer_stop(connection->too_late), "gyre_timer_stop");
        connection->keep_alive = 0;
        connection_refuse(connection, error == HPE_CB_body ? 413 : error == HPE_HEADER_OVERFLOW ? 431 : 400);
    }
    return length;
}

static void on_drain(gyre_loop loop, gyre_stream stream, void *user_data)
{
    (void)loop;
    (void)stream;
    connection_continue(user_data); /* which was waiting for room */
}

static void on_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct connection *connection = user_data;

    (void)loop;
    (void)stream;
    (void)status; /* clients come and go as they like; that is nothing to tell of */
    if (connection == NULL)
        return;
    /* Both are refused while the loop is being closed, which sees to them itself. */
    (void)gyre_timer_close(connection->too_late);
    if (connection->is_reading)
        (void)gyre_op_cancel(connection->read);
    connection->is_gone = 1;
    connection_free(connection);
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
    fprintf(stderr, "usage: 22_http_hello [ADDRESS [DIRECTORY]]\n"
                    "ADDRESS is numeric, as 127.0.0.1:8080 or [::1]:0; the default is 127.0.0.1:0\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const gyre_stream_callbacks callbacks = {
        .size = sizeof callbacks,
        .on_open = on_open,
        .on_data = on_data,
        .on_drain = on_drain,
        .on_close = on_close, /* no on_eof: at the end of its input a client is closed */
    };
    struct server server;
    const char *where = argc > 1 ? argv[1] : "127.0.0.1:0";
    gyre_listener_options options;
    gyre_listener listener;
    gyre_signal interrupt, terminate;
    char address[ADDRESS_SIZE];

    if (argc > 3 || where[0] == '-')
        usage();
    memset(&server, 0, sizeof server);
    server.root = argc > 2 ? open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (argc > 2 && server.root < 0) {
        fprintf(stderr, "%s: %s\n", argv[2], strerror(errno));
        return EXIT_FAILURE;
    }

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.max_connections = CONNECTIONS_MAX;
    options.stream.size = sizeof options.stream;
    options.stream.write_limit = UNSENT_MAX;

    tcp_raise_descriptor_limit(); /* one for each connection, and one for its file */
    check(gyre_loop_open(NULL, &server.loop), "gyre_loop_open");
    check(gyre_listener_open(server.loop, where, &options, &callbacks, &server, &listener), where);
    check(gyre_listener_address(listener, address, sizeof address), "gyre_listener_address");
    check(gyre_signal_open(server.loop, SIGINT, on_signal, NULL, &interrupt), "gyre_signal_open");
    check(gyre_signal_open(server.loop, SIGTERM, on_signal, NULL, &terminate), "gyre_signal_open");
    printf("listening on %s\n", address);
    if (fflush(stdout) != 0) {
        perror("stdout");
        return EXIT_FAILURE;
    }

    check(gyre_loop_run(server.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    check(gyre_loop_close(server.loop), "gyre_loop_close"); /* ends each stream and each read: the last one frees */
    if (server.root >= 0)
        close(server.root);
    return EXIT_SUCCESS;
}
