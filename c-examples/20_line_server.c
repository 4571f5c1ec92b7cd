/* A server of commands, one a line: pwd, ls, cd and quit, for any number of clients, each with a directory of its own.
 *
 * Shows a listener whose streams call back; framing by what on_data returns; and a command that is taken only when its
 * answer was: a client that does not read is held back by TCP, and memory stays bounded. No shell and no process is
 * started, the server's own working directory stays as it is, and nobody gets out of DIRECTORY: ".." ends at its top,
 * and symbolic links are not followed.
 *
 *   build: cc -std=c99 20_line_server.c -lgyre -o 20_line_server
 *   run:   ./20_line_server [ADDRESS [DIRECTORY]]
 *   use:   nc 127.0.0.1 PORT, or telnet
 *
 * ADDRESS is numeric, as 127.0.0.1:7000 or [::1]:7000, or unix:/path; port 0 takes a free one, and the line on stdout
 * tells which. DIRECTORY is what the clients see as /, by default the current one. An answer ends with a line that is
 * "ok" or begins with "error: ". Ends on SIGINT and SIGTERM.
 */
#define _POSIX_C_SOURCE 200809L

#include "beneath.h"

#include <gyre.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINE_SIZE = 1024,         /* a line without end is no longer than that, else the client is cut off */
    PATH_SIZE = 1024,
    LISTING_SIZE = 64 * 1024, /* longer than that a directory must not be */
    UNSENT_MAX = 128 * 1024,  /* of answers that a client has not read; more than the longest one */
    ADDRESS_SIZE = 128
};

struct server {
    gyre_loop loop;
    int root;
    char listing[LISTING_SIZE];
};

struct client {
    struct server *server;
    char path[PATH_SIZE]; /* beneath the root, as "/a/b"; the root itself is "" */
    char peer[ADDRESS_SIZE];
};

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s (%s)\n", what, gyre_status_message(status), gyre_status_name(status));
        exit(EXIT_FAILURE);
    }
}

/* ---- commands ---- each returns the status of writing its answer; GYRE_EFULL: nothing was done, try again later */

static int answer(gyre_stream stream, const char *text)
{
    return gyre_stream_write(stream, text, strlen(text));
}

static int answer_error(gyre_stream stream, int error)
{
    char text[256];

    snprintf(text, sizeof text, "error: %s\n", strerror(error));
    return answer(stream, text);
}

static int command_pwd(const struct client *client, gyre_stream stream)
{
    char text[PATH_SIZE + 8];

    snprintf(text, sizeof text, "%s\nok\n", client->path[0] != '\0' ? client->path : "/");
    return answer(stream, text);
}

/* Where a path leads from the client's directory: by the text alone, so that ".." never leaves the root. Returns 0 or
 * an errno. */
static int path_resolve(const struct client *client, const char *to, char path[PATH_SIZE])
{
    size_t length = 0;

    if (to[0] != '/') {
        length = strlen(client->path);
        memcpy(path, client->path, length);
    }
    for (;;) {
        size_t part;

        to += strspn(to, "/");
        part = strcspn(to, "/");
        if (part == 0)
            break;
        if (part == 2 && memcmp(to, "..", 2) == 0) {
            while (length > 0 && path[--length] != '/') {
            }
        } else if (part != 1 || to[0] != '.') {
            if (length + 1 + part >= PATH_SIZE)
                return ENAMETOOLONG;
            path[length] = '/';
            memcpy(path + length + 1, to, part);
            length += 1 + part;
        }
        to += part;
    }
    path[length] = '\0';
    return 0;
}

static int command_cd(struct client *client, gyre_stream stream, const char *to)
{
    char path[PATH_SIZE];
    int error = path_resolve(client, to, path);
    int directory, status;

    if (error != 0)
        return answer_error(stream, error);
    directory = open_beneath(client->server->root, path, O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return answer_error(stream, errno);
    close(directory);
    status = answer(stream, "ok\n");
    if (status == 0)
        memcpy(client->path, path, sizeof path);
    return status;
}

/* Appends a name and keeps room for the last line. Bytes that would confuse a terminal, or the framing, are shown as
 * '?'. Returns whether the name fitted. */
static int listing_add(struct server *server, size_t *length, const char *name)
{
    if (strlen(name) + strlen("\nok\n") > sizeof server->listing - *length)
        return 0;
    for (; *name != '\0'; name++)
        server->listing[(*length)++] = (unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name;
    server->listing[(*length)++] = '\n';
    return 1;
}

/* Reads the directory right here, in the loop: that is good for local disks. For a file system that may hang a worker
 * thread would have to do it. */
static int command_ls(const struct client *client, gyre_stream stream, const char *of)
{
    struct server *server = client->server;
    char path[PATH_SIZE];
    size_t length = 0;
    struct dirent *entry;
    DIR *directory;
    int fd, error = path_resolve(client, of, path);

    if (error != 0)
        return answer_error(stream, error);
    fd = open_beneath(server->root, path, O_RDONLY | O_DIRECTORY);
    directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        error = errno;
        if (fd >= 0)
            close(fd);
        return answer_error(stream, error);
    }
    do {
        errno = 0;
        entry = readdir(directory);
        error = errno;
        if (entry != NULL && entry->d_name[0] != '.' && !listing_add(server, &length, entry->d_name))
            error = EMSGSIZE;
    } while (entry != NULL && error == 0);
    closedir(directory);
    if (error != 0)
        return answer_error(stream, error);
    memcpy(server->listing + length, "ok\n", 3);
    return gyre_stream_write(stream, server->listing, length + 3);
}

static int command_quit(gyre_stream stream)
{
    int status = answer(stream, "ok\n");

    return status < 0 ? status : gyre_stream_close(stream); /* which first sends what is unsent */
}

static int client_obey(struct client *client, gyre_stream stream, char *line)
{
    char *argument = line + strcspn(line, " ");

    if (*argument != '\0')
        *argument++ = '\0';
    argument += strspn(argument, " ");
    if (strcmp(line, "pwd") == 0 && *argument == '\0')
        return command_pwd(client, stream);
    if (strcmp(line, "ls") == 0)
        return command_ls(client, stream, argument);
    if (strcmp(line, "cd") == 0)
        return command_cd(client, stream, *argument != '\0' ? argument : "/");
    if (strcmp(line, "quit") == 0 && *argument == '\0')
        return command_quit(stream);
    return answer(stream, "error: the commands are pwd, ls [DIRECTORY], cd [DIRECTORY] and quit\n");
}

/* ---- connections ---- */

static void on_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct client *client = calloc(1, sizeof *client);

    (void)loop;
    /* From here on the callbacks of this stream get its client instead of the server, or NULL. */
    check(gyre_stream_set_user_data(stream, client), "gyre_stream_set_user_data");
    if (client == NULL) {
        fprintf(stderr, "out of memory: refusing a client\n");
        check(gyre_stream_abort(stream), "gyre_stream_abort");
        return;
    }
    client->server = user_data;
    check(gyre_stream_peer(stream, client->peer, sizeof client->peer), "gyre_stream_peer");
}

/* Takes one line; for the next one it is called again. */
static size_t on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    const uint8_t *end = memchr(data, '\n', length);
    char line[LINE_SIZE];
    size_t line_length;
    int status;

    (void)loop;
    if (end == NULL)
        return 0; /* the rest of the line will come; max_input is the limit for that */
    line_length = (size_t)(end - data);
    if (line_length >= sizeof line) {
        status = answer_error(stream, EMSGSIZE);
    } else if (memchr(data, '\0', line_length) != NULL) {
        status = answer_error(stream, EINVAL);
    } else {
        memcpy(line, data, line_length);
        line[line_length] = '\0';
        if (line_length > 0 && line[line_length - 1] == '\r')
            line[line_length - 1] = '\0';
        status = client_obey(user_data, stream, line);
    }
    if (status == GYRE_EFULL) {
        /* The client does not read its answers. Leave the command where it is until there is room for this one. */
        check(gyre_stream_pause(stream), "gyre_stream_pause");
        return 0;
    }
    return (size_t)(end - data) + 1; /* any other failure ends the stream, and on_close tells of it */
}

static void on_drain(gyre_loop loop, gyre_stream stream, void *user_data)
{
    (void)loop;
    (void)user_data;
    check(gyre_stream_resume(stream), "gyre_stream_resume");
}

static void on_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct client *client = user_data;

    (void)loop;
    (void)stream;
    if (client != NULL && status < 0 && status != -ECANCELED) /* that one is the end of the server */
        fprintf(stderr, "%s: %s\n", client->peer, gyre_status_message(status));
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
    fprintf(stderr, "usage: 20_line_server [ADDRESS [DIRECTORY]]\n"
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
    static struct server server;
    const char *where = argc > 1 ? argv[1] : "127.0.0.1:0";
    const char *directory = argc > 2 ? argv[2] : ".";
    gyre_listener_options options;
    gyre_listener listener;
    gyre_signal interrupt, terminate;
    char address[ADDRESS_SIZE];

    if (argc > 3 || where[0] == '-')
        usage();
    server.root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (server.root < 0) {
        fprintf(stderr, "%s: %s\n", directory, strerror(errno));
        return EXIT_FAILURE;
    }

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.stream.size = sizeof options.stream;
    options.stream.max_input = LINE_SIZE;
    options.stream.write_limit = UNSENT_MAX;

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

    check(gyre_loop_close(server.loop), "gyre_loop_close"); /* closes each stream, and its on_close frees the client */
    close(server.root);
    return EXIT_SUCCESS;
}
