/* What the TCP examples share: numeric addresses and the limit on open descriptors. Nothing in here concerns gyre. */
#ifndef EXAMPLES_TCP_H
#define EXAMPLES_TCP_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

union tcp_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

enum { TCP_ADDRESS_TEXT = INET6_ADDRSTRLEN + 8 }; /* "[address]:port" with its terminating zero */

/* Reads "127.0.0.1:7000" or "[::1]:7000"; names are not resolved, for that would block. Returns the length of the
 * socket address, or 0 if the text is no such address. */
static inline socklen_t tcp_address_parse(const char *text, union tcp_address *out)
{
    char host[INET6_ADDRSTRLEN];
    size_t bracket = text[0] == '[' ? 1 : 0;
    size_t length = strcspn(text + bracket, bracket ? "]" : ":");
    const char *colon = text + bracket + length + bracket;
    char *end;
    long port;

    if (length >= sizeof host || (bracket && text[bracket + length] != ']') || colon[0] != ':')
        return 0;
    if (colon[1] < '0' || colon[1] > '9')
        return 0;
    port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || port > 65535)
        return 0;
    memcpy(host, text + bracket, length);
    host[length] = '\0';

    memset(out, 0, sizeof *out);
    if (bracket) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1 ? (socklen_t)sizeof out->v6 : 0;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &out->v4.sin_addr) == 1 ? (socklen_t)sizeof out->v4 : 0;
}

/* The reverse: what tcp_address_parse reads. */
static inline void tcp_address_format(const union tcp_address *address, char text[TCP_ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        snprintf(text, TCP_ADDRESS_TEXT, "[%s]:%u", host, (unsigned)ntohs(address->v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        snprintf(text, TCP_ADDRESS_TEXT, "%s:%u", host, (unsigned)ntohs(address->v4.sin_port));
    }
}

/* Lets the process open as many descriptors as the system allows it. Failure is no error: the old limit stays. */
static inline void tcp_raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#endif
