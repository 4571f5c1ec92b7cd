/* What a TCP echo costs the server: CPU microseconds a request, user and system.
 *
 * The server is a child process on 127.0.0.1. The client is lockstep: it sends 64 bytes on each of its connections,
 * then receives all replies, and again; at 1 connection and at 50. The servers are a bare epoll loop and a bare
 * io_uring loop as one would write them by hand, gyre's reactor, and gyre's proactor on each of its engines.
 *
 *   run:   ./echo [--rounds N] [--requests N] [--only NAME] [--cpus 1|2]
 *
 * Where the kernel lets the two run matters more than what they do: to wake an idle processor costs several times an
 * echo. So they are kept to one processor, where the server finds all that the client has sent in a round; or with
 * --cpus 2 to one each, where it runs beside the client and is woken from idleness. --only measures what has NAME in
 * its name.
 *
 * Exit status: 0; 1 on failure; 2 for bad usage. What this machine does not have shows as "not here". */
#define _GNU_SOURCE /* sched_setaffinity */

#include "echo_servers.h"
#include "measure.h"

#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

enum {
    MESSAGE_SIZE = 64,
    MAX_CONNECTIONS = 50,
    BACKLOG = 128
};

static const int loads[] = {1, MAX_CONNECTIONS};

/* ---- the client ---- */

static int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check_errno(fd, "socket");
    check_errno(connect(fd, (const struct sockaddr *)address, sizeof *address), "connect");
    echo_set_no_delay(fd);
    return fd;
}

/* Sends on all connections, receives on all, and so on. A server that hangs is killed in time, which ends the wait. */
static void exchange(const char *server, const int *fds, int connections, long times)
{
    char message[MESSAGE_SIZE], reply[MESSAGE_SIZE];
    int i;

    memset(message, 'x', sizeof message);
    for (; times > 0; times--) {
        memcpy(message, &times, sizeof times);
        for (i = 0; i < connections; i++) {
            ssize_t sent = send(fds[i], message, sizeof message, MSG_NOSIGNAL);

            echo_check(sent < 0 ? -errno : sent, MESSAGE_SIZE, server);
        }
        for (i = 0; i < connections; i++) {
            ssize_t received = recv(fds[i], reply, sizeof reply, MSG_WAITALL);

            echo_check(received < 0 ? -errno : received, MESSAGE_SIZE, server);
            if (memcmp(message, reply, sizeof reply) != 0)
                fail(server, "the reply is another");
        }
    }
}

/* ---- the measurement ---- */

enum { ROWS = ECHO_SERVERS * (int)(sizeof loads / sizeof loads[0]) };

struct row {
    int selected, absent;
    double cpu[MAX_ROUNDS], user[MAX_ROUNDS]; /* microseconds a request; user is a part of cpu */
    double rate[MAX_ROUNDS];                  /* requests a second */
};

static int listener;
static size_t processors[2]; /* the client's, and the last one is the server's */
static struct row rows[ROWS];
static struct options options = {"echo", "requests", 11, 30000, 10 * 1000 * 1000, NULL, "cpus", 1, 2};

static void listen_anywhere(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;

    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check_errno(listener, "socket");
    check_errno(bind(listener, (struct sockaddr *)address, sizeof *address), "bind");
    check_errno(listen(listener, BACKLOG), "listen");
    check_errno(getsockname(listener, (struct sockaddr *)address, &length), "getsockname");
}

/* Finds the processors, as many as are wanted, among those that the process may use. */
static void find_processors(void)
{
    cpu_set_t allowed;
    size_t number;
    int found = 0;

    check_errno(sched_getaffinity(0, sizeof allowed, &allowed), "sched_getaffinity");
    for (number = 0; number < CPU_SETSIZE && found < options.other; number++)
        if (CPU_ISSET(number, &allowed))
            processors[found++] = number;
    if (found < options.other)
        fail("--cpus", "there are not as many");
}

static void stay_on(size_t processor)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    check_errno(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

/* In the child. */
static void serve(const void *server, int report)
{
    stay_on(processors[options.other - 1]);
    echo_serve(server, listener, report);
}

static struct usage ask_usage(const struct child *child, const char *name)
{
    struct usage usage;

    check_errno(kill(child->pid, SIGUSR1), "kill");
    if (!child_hear(child, &usage, sizeof usage))
        fail(name, "has gone");
    return usage;
}

static void measure_requests(struct row *row, int round, const struct child *child, const struct echo_server *server,
                             int connections, const struct sockaddr_in *address)
{
    long times = (options.count + connections - 1) / connections;
    double requests = (double)times * connections, started_ns, ended_ns;
    struct usage before, after;
    int fds[MAX_CONNECTIONS], i;

    for (i = 0; i < connections; i++)
        fds[i] = connect_to(address);
    exchange(server->name, fds, connections, times / 10 + 1); /* to warm up */
    before = ask_usage(child, server->name);
    started_ns = clock_ns();
    exchange(server->name, fds, connections, times);
    ended_ns = clock_ns();
    after = ask_usage(child, server->name);

    row->user[round] = (after.user - before.user) / requests / 1e3;
    row->cpu[round] = row->user[round] + (after.system - before.system) / requests / 1e3;
    row->rate[round] = requests / (ended_ns - started_ns) * 1e9;
    check_errno(kill(child->pid, SIGKILL), "kill"); /* before it hears that its client has gone */
    for (i = 0; i < connections; i++)
        close(fds[i]);
}

static void measure_row(int number, int round)
{
    const struct echo_server *server = &echo_servers[number % ECHO_SERVERS];
    struct row *row = &rows[number];
    struct sockaddr_in address;
    struct child child;
    struct usage usage;

    if (!row->selected || row->absent)
        return;
    listen_anywhere(&address);
    child = child_start(serve, server, 30 + (unsigned)(options.count / 1000));
    close(listener); /* the child's alone: when that ends, clients are refused */
    if (child_hear(&child, &usage, sizeof usage)) {
        measure_requests(row, round, &child, server, loads[number / ECHO_SERVERS], &address);
        child_end(&child, server->name, SIGKILL);
    } else {
        row->absent = !child_end(&child, server->name, 0);
    }
}

static void print_row(const struct row *row, const struct row *reference)
{
    int rounds = options.rounds;
    double cpu = median(row->cpu, rounds);
    /* By ticks: only all rounds together have enough of them. */
    double user = cpu * mean(row->user, rounds) / mean(row->cpu, rounds);

    printf("%8.2f %7.2f %7.2f %6.0f %% %11.0f ", cpu, user, cpu - user, spread(row->cpu, rounds),
           median(row->rate, rounds));
    if (reference->selected)
        printf("%9.2f", median_ratio(row->cpu, reference->cpu, rounds));
}

static void print_table(void)
{
    int i;

    printf("Server CPU time of a TCP echo of %d bytes, client and server on %s.\n"
           "Medians of %d rounds, %ld requests each\n\n",
           MESSAGE_SIZE, options.other == 1 ? "one processor" : "a processor each", options.rounds, options.count);
    printf("%-26s %11s %8s %7s %7s %8s %11s %9s\n", "", "connections", "CPU us", "user", "system", "spread",
           "requests/s", "to epoll");
    for (i = 0; i < ROWS; i++) {
        if (!rows[i].selected)
            continue;
        printf("%-26s %11d ", echo_servers[i % ECHO_SERVERS].name, loads[i / ECHO_SERVERS]);
        if (rows[i].absent)
            printf("not here");
        else
            print_row(&rows[i], &rows[i / ECHO_SERVERS * ECHO_SERVERS]);
        putchar('\n');
    }
}

int main(int argc, char **argv)
{
    int i, selected = 0;

    parse_options(&options, argc, argv);
    find_processors();
    stay_on(processors[0]);
    for (i = 0; i < ROWS; i++)
        selected += rows[i].selected = is_selected(&options, echo_servers[i % ECHO_SERVERS].name);
    if (selected == 0)
        fail("--only", "there is no such name");
    run_rounds(&options, ROWS, measure_row);
    print_table();
    check_errno(fflush(stdout), "stdout");
    return EXIT_SUCCESS;
}
