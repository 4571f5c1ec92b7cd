/* A chat server: each line that a client sends goes to all others.
 *
 * Shows broadcast to many streams when some of them do not read. What waits for a client is bounded: when its queue is
 * full (GYRE_EFULL) it misses messages, and is told how many as soon as there is room (on_drain); when nothing at all
 * gets through to it for a while it is cut off. So one slow reader costs the others neither time nor memory.
 *
 *   build: cc -std=c99 21_chat.c -lgyre -o 21_chat
 *   run:   ./21_chat [ADDRESS]
 *   use:   nc 127.0.0.1 PORT, or telnet; /name NAME, /who, /quit
 *
 * ADDRESS is numeric, as 127.0.0.1:7000 or [::1]:7000, or unix:/path; port 0 takes a free one, and the line on stdout
 * tells which. Ends on SIGINT and SIGTERM.
 */
#define _POSIX_C_SOURCE 200809L

#include <gyre.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_SIZE = 1024,        /* a line without end is no longer than that, else the client is cut off */
    NAME_SIZE = 17,
    MESSAGE_SIZE = NAME_SIZE + LINE_SIZE + 64,
    UNSENT_MAX = 64 * 1024,  /* messages that wait for one client */
    STALL_S = 20,            /* until a client that reads nothing is cut off */
    IDLE_S = 60 * 60,        /* until one that says nothing is */
    CLIENTS_MAX = 1000,      /* more of them wait until others have left */
    ADDRESS_SIZE = 128
};

struct client {
    struct chat *chat;
    struct client *previous, *next;
    gyre_stream stream;
    unsigned missed; /* messages since its queue was full */
    char name[NAME_SIZE];
};

struct chat {
    gyre_loop loop;
    struct client *clients;
    unsigned guests; /* so far */
    int ending;
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

/* ---- messages ---- */

/* Sends a client a message, or counts it as missed. Once it has missed one it gets no other before it was told so.
 * What fails otherwise ends the stream, of which on_close tells. */
static void client_send(struct client *client, const char *message)
{
    if (client->missed > 0 || gyre_stream_write(client->stream, message, strlen(message)) == GYRE_EFULL)
        client->missed++;
}

/* No callback runs inside a write, so the list stays as it is meanwhile. */
static void chat_broadcast(const struct chat *chat, const struct client *but, const char *message)
{
    struct client *client;

    for (client = chat->clients; client != NULL; client = client->next)
        if (client != but)
            client_send(client, message);
}

static void chat_announce(const struct chat *chat, const struct client *client, const char *what)
{
    char message[MESSAGE_SIZE];

    snprintf(message, sizeof message, "* %s %s\n", client->name, what);
    chat_broadcast(chat, client, message);
}

/* ---- commands ---- */

static int name_is_taken(const struct chat *chat, const char *name)
{
    const struct client *client;

    for (client = chat->clients; client != NULL; client = client->next)
        if (strcmp(client->name, name) == 0)
            return 1;
    return 0;
}

static void client_rename(struct client *client, const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t length = strlen(name);
    char news[NAME_SIZE + 32];

    if (length == 0 || length >= sizeof client->name || strspn(name, allowed) != length) {
        client_send(client, "* a name has 1 to 16 letters, digits, '-' or '_'\n");
    } else if (name_is_taken(client->chat, name)) {
        client_send(client, "* that name is taken\n");
    } else {
        snprintf(news, sizeof news, "is now called %s", name);
        chat_announce(client->chat, client, news);
        memcpy(client->name, name, length + 1);
        client_send(client, "* ok\n");
    }
}

static void client_list(struct client *client)
{
    const struct client *other;
    char message[MESSAGE_SIZE];

    for (other = client->chat->clients; other != NULL; other = other->next) {
        snprintf(message, sizeof message, "* %s%s\n", other->name, other == client ? ", which is you" : "");
        client_send(client, message);
    }
}

static void client_says(struct client *client, char *line)
{
    char message[MESSAGE_SIZE];
    char *c;

    if (strncmp(line, "/name ", 6) == 0) {
        client_rename(client, line + 6);
    } else if (strcmp(line, "/who") == 0) {
        client_list(client);
    } else if (strcmp(line, "/quit") == 0) {
        check(gyre_stream_close(client->stream), "gyre_stream_close");
    } else if (line[0] == '/') {
        client_send(client, "* the commands are /name NAME, /who and /quit\n");
    } else {
        for (c = line; *c != '\0'; c++) /* what would steer the terminals of the others */
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                *c = '?';
        snprintf(message, sizeof message, "%s: %s\n", client->name, line);
        chat_broadcast(client->chat, client, message);
    }
}

/* ---- connections ---- */

static void on_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct chat *chat = user_data;
    struct client *client = calloc(1, sizeof *client);

    (void)loop;
    /* From here on the callbacks of this stream get its client instead of the chat, or NULL. */
    check(gyre_stream_set_user_data(stream, client), "gyre_stream_set_user_data");
    if (client == NULL) {
        fprintf(stderr, "out of memory: refusing a client\n");
        check(gyre_stream_abort(stream), "gyre_stream_abort");
        return;
    }
    client->chat = chat;
    client->stream = stream;
    do
        snprintf(client->name, sizeof client->name, "guest-%u", ++chat->guests);
    while (name_is_taken(chat, client->name));
    client->next = chat->clients;
    if (client->next != NULL)
        client->next->previous = client;
    chat->clients = client;
    client_send(client, "* welcome; the commands are /name NAME, /who and /quit\n");
    chat_announce(chat, client, "has come");
}

/* Takes one line; for the next one it is called again. */
static size_t on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    const uint8_t *end = memchr(data, '\n', length);
    char line[LINE_SIZE];
    size_t line_length;

    (void)loop;
    (void)stream;
    if (end == NULL)
        return 0; /* the rest of the line will come; max_input is the limit for that */
    line_length = (size_t)(end - data);
    if (line_length < sizeof line) {
        memcpy(line, data, line_length);
        line[line_length] = '\0';
        line[strcspn(line, "\r")] = '\0';
        client_says(user_data, line);
    } else {
        client_send(user_data, "* that was too long\n");
    }
    return (size_t)(end - data) + 1;
}

/* There is room again in a queue that was full: half of it, at the least. */
static void on_drain(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct client *client = user_data;
    char message[MESSAGE_SIZE];

    (void)loop;
    (void)stream;
    snprintf(message, sizeof message, "* you were too slow and missed %u messages\n", client->missed);
    client->missed = 0;
    client_send(client, message);
}

static void on_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct client *client = user_data;
    struct chat *chat;

    (void)loop;
    (void)stream;
    if (client == NULL)
        return;
    chat = client->chat;
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        chat->clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    if (!chat->ending) {
        if (status < 0)
            fprintf(stderr, "%s: %s\n", client->name, gyre_status_message(status));
        chat_announce(chat, client, status == -ETIMEDOUT ? "was cut off" : "has left");
    }
    free(client);
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
    fprintf(stderr, "usage: 21_chat [ADDRESS]\n"
                    "ADDRESS is numeric, as 127.0.0.1:7000 or [::1]:0, or unix:/path; the default is 127.0.0.1:0\n");
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
    struct chat chat = {{0}, NULL, 0, 0};
    const char *where = argc > 1 ? argv[1] : "127.0.0.1:0";
    gyre_listener_options options;
    gyre_listener listener;
    gyre_signal interrupt, terminate;
    char address[ADDRESS_SIZE];

    if (argc > 2 || where[0] == '-')
        usage();

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.max_connections = CLIENTS_MAX;
    options.stream.size = sizeof options.stream;
    options.stream.max_input = LINE_SIZE;
    options.stream.write_limit = UNSENT_MAX;
    options.stream.write_stall_ns = GYRE_SEC(STALL_S);
    options.stream.idle_ns = GYRE_SEC(IDLE_S);

    check(gyre_loop_open(NULL, &chat.loop), "gyre_loop_open");
    check(gyre_listener_open(chat.loop, where, &options, &callbacks, &chat, &listener), where);
    check(gyre_listener_address(listener, address, sizeof address), "gyre_listener_address");
    check(gyre_signal_open(chat.loop, SIGINT, on_signal, NULL, &interrupt), "gyre_signal_open");
    check(gyre_signal_open(chat.loop, SIGTERM, on_signal, NULL, &terminate), "gyre_signal_open");
    printf("listening on %s\n", address);
    if (fflush(stdout) != 0) {
        perror("stdout");
        return EXIT_FAILURE;
    }

    check(gyre_loop_run(chat.loop, GYRE_RUN_DEFAULT), "gyre_loop_run");

    chat.ending = 1;
    check(gyre_loop_close(chat.loop), "gyre_loop_close"); /* closes each stream, and its on_close frees the client */
    return EXIT_SUCCESS;
}
