/* streams.h: the streams, listeners and peers that the stream tests are set up with.
 *
 * A side is one stream as its callbacks see it: what they were told, and how they behave. A scene is a loop with one
 * side, and a plain socket as its peer. All is in one thread: what a peer does takes effect when the loop turns.
 *
 * Define _GNU_SOURCE before including it. */
#ifndef STREAMS_H
#define STREAMS_H

#include "fixtures.h"

#include <netinet/tcp.h>
#include <sys/un.h>

/* ---- a stream as its callbacks see it ---- */

struct side {
    gyre_loop loop;
    gyre_stream stream;
    int opens, calls, drains, eofs, closes; /* callbacks so far; calls: on_data */
    int status;                             /* of on_close */
    int running;                            /* callbacks that have begun and not ended */
    char order[64];                         /* o, d, w, e, c: what was told, repetitions once */

    unsigned char *taken; /* the bytes that were consumed */
    size_t taken_length, taken_size;
    unsigned char *rest; /* what was offered and not consumed: it must be offered again, with what follows */
    size_t rest_length, rest_size;
    size_t offered; /* in the last call */
    int is_greedy;  /* set by the test: it leaves too much for a copy of the rest each time */

    /* How it behaves. NULL: on_data consumes all, the others do nothing. */
    size_t (*on_data)(struct side *side, const uint8_t *data, size_t length);
    void (*on_open)(struct side *side);
    void (*on_drain)(struct side *side);
    void (*on_eof)(struct side *side);
    void (*on_close)(struct side *side);
    size_t limit; /* for on_data: whatever it needs */
    int count;
};

static inline void side_append(unsigned char **bytes, size_t *length, size_t *size, const uint8_t *more, size_t count)
{
    if (*length + count > *size) {
        *size = (*length + count) * 2;
        *bytes = (unsigned char *)realloc(*bytes, *size);
        CHECK(*bytes != NULL);
    }
    if (count > 0)
        memcpy(*bytes + *length, more, count);
    *length += count;
}

/* What holds whenever a callback begins. */
static inline struct side *side_enter(gyre_loop loop, gyre_stream stream, void *user_data, char letter)
{
    struct side *side = (struct side *)user_data;
    size_t length = strlen(side->order);
    CHECK_EQ(loop.bits, side->loop.bits);
    CHECK_EQ(stream.bits, side->stream.bits);
    CHECK_EQ(side->closes, 0);  /* on_close is the last */
    CHECK_EQ(side->running, 0); /* no callback runs inside another, nor inside a call that one makes */
    side->running = 1;
    if (length == 0 || (side->order[length - 1] != letter && length + 1 < sizeof side->order))
        side->order[length] = letter;
    return side;
}

static inline void side_opened(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct side *side = side_enter(loop, stream, user_data, 'o');
    CHECK_EQ(side->opens, 0);
    CHECK_EQ(side->calls + side->drains + side->eofs, 0); /* on_open is the first */
    side->opens++;
    if (side->on_open != NULL)
        side->on_open(side);
    side->running = 0;
}

static inline size_t side_got(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    struct side *side = side_enter(loop, stream, user_data, 'd');
    size_t consumed;
    CHECK_EQ(side->opens, 1);
    CHECK_EQ(side->eofs, 0);
    CHECK(data != NULL && length > 0);
    CHECK(length >= side->rest_length);
    if (side->rest_length > 0)
        CHECK(memcmp(data, side->rest, side->rest_length) == 0);
    side->calls++;
    side->offered = length;
    consumed = side->on_data != NULL ? side->on_data(side, data, length) : length;
    if (consumed <= length) {
        side_append(&side->taken, &side->taken_length, &side->taken_size, data, consumed);
        side->rest_length = 0;
        if (!side->is_greedy)
            side_append(&side->rest, &side->rest_length, &side->rest_size, data + consumed, length - consumed);
    }
    side->running = 0;
    return consumed;
}

static inline void side_drained(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct side *side = side_enter(loop, stream, user_data, 'w');
    side->drains++;
    if (side->on_drain != NULL)
        side->on_drain(side);
    side->running = 0;
}

static inline void side_ended(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct side *side = side_enter(loop, stream, user_data, 'e');
    CHECK_EQ(side->opens, 1);
    CHECK_EQ(side->eofs, 0);
    side->eofs++;
    if (side->on_eof != NULL)
        side->on_eof(side);
    side->running = 0;
}

static inline void side_closed(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct side *side = side_enter(loop, stream, user_data, 'c');
    CHECK(status <= 0);
    side->closes++;
    side->status = status;
    if (side->on_close != NULL)
        side->on_close(side);
    side->running = 0;
}

static inline gyre_stream_callbacks side_callbacks(void)
{
    gyre_stream_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    callbacks.on_open = side_opened;
    callbacks.on_data = side_got;
    callbacks.on_drain = side_drained;
    callbacks.on_eof = side_ended;
    callbacks.on_close = side_closed;
    return callbacks;
}

static inline void side_clear(struct side *side, gyre_loop loop)
{
    memset(side, 0, sizeof *side);
    side->loop = loop;
}

/* After on_close. */
static inline void side_free(struct side *side)
{
    free(side->taken);
    free(side->rest);
    side->taken = side->rest = NULL;
}

static inline int side_has_taken(const struct side *side, const void *bytes, size_t length)
{
    return side->taken_length == length && (length == 0 || memcmp(side->taken, bytes, length) == 0);
}

/* ---- options ---- */

static inline gyre_stream_options stream_options(void)
{
    gyre_stream_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

static inline gyre_listener_options listener_options(void)
{
    gyre_listener_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.stream.size = sizeof options.stream;
    return options;
}

/* ---- addresses ---- */

enum { ADDRESS_TEXT = 160 };

/* Reads "127.0.0.1:7000". */
static inline struct sockaddr_in address_from(const char *text)
{
    struct sockaddr_in address;
    char host[64];
    const char *colon = strrchr(text, ':');
    CHECK(colon != NULL && (size_t)(colon - text) < sizeof host);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    CHECK_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
    return address;
}

static inline void address_to(const struct sockaddr_in *address, char text[ADDRESS_TEXT])
{
    char host[64];
    CHECK(inet_ntop(AF_INET, &address->sin_addr, host, sizeof host) != NULL);
    snprintf(text, ADDRESS_TEXT, "%s:%u", host, (unsigned)ntohs(address->sin_port));
}

static inline void address_of(gyre_listener listener, char text[ADDRESS_TEXT])
{
    int length = gyre_listener_address(listener, text, ADDRESS_TEXT);
    CHECK(length > 0 && length < ADDRESS_TEXT);
    CHECK_EQ(strlen(text), length);
}

/* ---- peers: plain sockets ---- */

/* A socket that listens, and its address. */
static inline int make_listening_socket(int backlog, char text[ADDRESS_TEXT])
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_SYS(bind(fd, (struct sockaddr *)&address, sizeof address));
    CHECK_SYS(listen(fd, backlog));
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&address, &length));
    address_to(&address, text);
    return fd;
}

static inline int connect_to(const char *text)
{
    struct sockaddr_in address = address_from(text);
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    CHECK_SYS(connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

/* Closes a TCP socket so that the other end sees a reset. */
static inline void reset_peer(int fd)
{
    struct linger linger;
    linger.l_onoff = 1;
    linger.l_linger = 0;
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    CHECK_SYS(close(fd));
}

/* Sends what the buffers of the kernel take: small things only. */
static inline void peer_says(int fd, const void *bytes, size_t length)
{
    CHECK_EQ(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* The byte at an offset of a long transfer, for both ends to agree on. */
static inline unsigned char pattern(uint64_t offset)
{
    return (unsigned char)((offset * 2654435761u) >> 11);
}

static inline void fill_pattern(unsigned char *bytes, size_t length, uint64_t offset)
{
    size_t i;
    for (i = 0; i < length; i++)
        bytes[i] = pattern(offset + i);
}

/* Sends as much of a transfer as goes without waiting. Returns whether all has been sent. */
static inline int peer_push(int fd, uint64_t *sent, uint64_t total)
{
    static unsigned char bytes[64 * 1024];
    while (*sent < total) {
        size_t length = total - *sent < sizeof bytes ? (size_t)(total - *sent) : sizeof bytes;
        ssize_t done;
        fill_pattern(bytes, length, *sent);
        done = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0) {
            CHECK(errno == EAGAIN);
            return 0;
        }
        *sent += (uint64_t)done;
    }
    return 1;
}

/* Receives what is there of a transfer, and checks it. Returns whether all of it has come. */
static inline int peer_pull(int fd, uint64_t *received, uint64_t total)
{
    static unsigned char bytes[64 * 1024];
    for (;;) {
        ssize_t i, done = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (done < 0) {
            CHECK(errno == EAGAIN);
            return *received == total;
        }
        if (done == 0)
            return *received == total;
        for (i = 0; i < done; i++)
            CHECK_EQ(bytes[i], pattern(*received + (uint64_t)i));
        *received += (uint64_t)done;
        CHECK(*received <= total);
    }
}

/* Receives what is there, and forgets it. */
static inline void peer_drops(int fd)
{
    static unsigned char bytes[64 * 1024];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
}

/* Receives into a string what is there. */
static inline void peer_hears(int fd, char *text, size_t size)
{
    size_t length = strlen(text);
    ssize_t done;
    while ((done = recv(fd, text + length, size - 1 - length, MSG_DONTWAIT)) > 0) {
        length += (size_t)done;
        text[length] = '\0';
    }
    CHECK(done == 0 || errno == EAGAIN);
}

/* What a receive says: >0, 0 at the end, or -errno; -EAGAIN: nothing yet. Takes one byte. */
static inline int peer_state(int fd)
{
    char byte;
    ssize_t done = recv(fd, &byte, 1, MSG_DONTWAIT);
    return done < 0 ? -errno : (int)done;
}

/* Makes the kernel hold less of what is sent, but still some segments of the loopback interface: with less TCP crawls,
 * as it does with a small window, so that the receiving side stays as it is. */
static inline void shrink_buffer(int fd)
{
    int size = 128 * 1024;
    CHECK_SYS(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
}

/* ---- scenes ---- */

enum origin { ACCEPTED, CONNECTED, ADOPTED_TCP, ADOPTED_UNIX, ORIGINS };

struct scene {
    gyre_loop loop;
    struct side side;
    int peer; /* or -1 */
    enum origin origin;
};

/* on_open of a listener's stream: from here on it is the side's. */
static inline void scene_accepted(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct side *side = (struct side *)user_data;
    CHECK_EQ(side->stream.bits, 0);
    side->stream = stream;
    side_opened(loop, stream, user_data);
}

/* Before scene_open: sets how the side behaves, if it is to be otherwise from the start. */
static inline void scene_begin(struct scene *scene, enum origin origin)
{
    memset(scene, 0, sizeof *scene);
    scene->loop = open_loop();
    scene->side.loop = scene->loop;
    scene->peer = -1;
    scene->origin = origin;
}

static inline void scene_connect(struct scene *scene, const gyre_stream_options *options,
                                 const gyre_stream_callbacks *callbacks)
{
    gyre_listener_options listening = listener_options();
    gyre_stream_callbacks accepted = *callbacks;
    gyre_listener listener;
    char address[ADDRESS_TEXT];
    int ends[2], fd;

    switch (scene->origin) {
    case ACCEPTED:
        if (options != NULL)
            listening.stream = *options;
        accepted.on_open = scene_accepted;
        CHECK_OK(gyre_listener_open(scene->loop, "127.0.0.1:0", &listening, &accepted, &scene->side, &listener));
        address_of(listener, address);
        scene->peer = connect_to(address);
        RUN_UNTIL(scene->loop, scene->side.stream.bits != 0);
        CHECK_OK(gyre_listener_close(listener));
        break;
    case CONNECTED:
        fd = make_listening_socket(1, address);
        CHECK_OK(gyre_stream_connect(scene->loop, address, options, callbacks, &scene->side, &scene->side.stream));
        RUN_UNTIL(scene->loop, scene->side.opens + scene->side.closes > 0);
        scene->peer = (int)CHECK_SYS(accept(fd, NULL, NULL));
        CHECK_SYS(close(fd));
        break;
    default:
        if (scene->origin == ADOPTED_TCP)
            make_tcp_pair(ends);
        else
            make_socketpair(ends);
        scene->peer = ends[1];
        CHECK_OK(gyre_stream_adopt(scene->loop, ends[0], options, callbacks, &scene->side, &scene->side.stream));
        CHECK_EQ(scene->side.opens, 0); /* in the next turn */
        RUN_UNTIL(scene->loop, scene->side.opens > 0);
    }
    CHECK_EQ(scene->side.opens, 1);
}

static inline void scene_open(struct scene *scene, enum origin origin, const gyre_stream_options *options)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    scene_begin(scene, origin);
    scene_connect(scene, options, &callbacks);
}

/* Closes the loop, and with it the stream if it lives. */
static inline void scene_close(struct scene *scene)
{
    int lived = scene->side.closes == 0;
    close_loop(scene->loop);
    CHECK_EQ(scene->side.closes, 1);
    if (lived)
        CHECK_STATUS(scene->side.status, -ECANCELED);
    if (scene->peer >= 0)
        CHECK_SYS(close(scene->peer));
    side_free(&scene->side);
}

/* Waits for the end of the stream, after which nothing of it is left in the loop. */
static inline int scene_status(struct scene *scene)
{
    RUN_UNTIL(scene->loop, scene->side.closes > 0);
    one_turn(scene->loop);
    CHECK_EQ(scene->side.closes, 1);
    CHECK_EQ(stats_of(scene->loop).handles, 0);
    CHECK_STATUS(gyre_stream_close(scene->side.stream), GYRE_EHANDLE);
    return scene->side.status;
}

/* Fills the way to the peer, which does not read: writes the pattern until the stream is full. Returns how much. */
static inline uint64_t scene_fill(struct scene *scene, size_t chunk)
{
    unsigned char *bytes = (unsigned char *)malloc(chunk);
    uint64_t total = 0;
    int status;
    CHECK(bytes != NULL);
    for (;;) {
        fill_pattern(bytes, chunk, total);
        status = gyre_stream_write(scene->side.stream, bytes, chunk);
        if (status == GYRE_EFULL) {
            int64_t pending = gyre_stream_pending(scene->side.stream);
            one_turn(scene->loop); /* the kernel may take more, a moment later */
            if (gyre_stream_pending(scene->side.stream) == pending)
                break;
            continue;
        }
        CHECK_OK(status);
        total += chunk;
        CHECK(total < 256u << 20); /* for ever? */
    }
    free(bytes);
    return total;
}

#endif
