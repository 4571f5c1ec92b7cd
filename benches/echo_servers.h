/* The servers that echo.c compares. Each runs in a process of its own, and does what an echo takes and nothing else:
 * one that loses its client fails. */
#ifndef BENCHES_ECHO_SERVERS_H
#define BENCHES_ECHO_SERVERS_H

#include <stddef.h>
#include <stdint.h>

struct echo_server {
    const char *name;
    void (*serve)(int engine);
    int engine; /* of gyre */
};

/* The first is what the others are compared with. */
extern const struct echo_server echo_servers[];

enum { ECHO_SERVERS = 6 };

/* Serves the clients of the listener, which is non-blocking, until the process is killed; exits with EXIT_NOT_HERE if
 * it cannot. Tells `report` the CPU time used so far, a struct usage, when it begins to serve and at each SIGUSR1. */
void echo_serve(const struct echo_server *server, int listener, int report);

/* `result` is a count of bytes or -errno. Fails unless it is `expected`, or above 0 if `expected` is 0. So little data
 * goes into any socket at once. */
void echo_check(int64_t result, int64_t expected, const char *what);

void echo_set_no_delay(int fd);

#endif
