/* operation_accept.c: connections made and taken by operations. */
#define _GNU_SOURCE
#include "operation.h"

/* ---- completions ---- */

enum { CONNECTIONS = 64 };

/* What an accept of many brings. */
struct arrivals {
    struct outcome end;
    int accepted;
    int fds[CONNECTIONS];
    int pause_at; /* so many connections, or 0 */
    int cancel_at;
};

static void arrive(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct arrivals *arrivals = (struct arrivals *)user_data;
    CHECK_EQ(done->op.bits, arrivals->end.op.bits);
    CHECK_EQ(arrivals->end.calls, 0); /* P1: the last one is the last */
    if (!(done->flags & GYRE_MORE)) {
        note(loop, done, &arrivals->end);
        return;
    }
    CHECK(done->result >= 0);
    CHECK(arrivals->accepted < CONNECTIONS);
    arrivals->fds[arrivals->accepted++] = (int)done->result;
    if (arrivals->accepted == arrivals->pause_at)
        CHECK_OK(gyre_op_pause(done->op));
    if (arrivals->accepted == arrivals->cancel_at)
        CHECK_OK(gyre_op_cancel(done->op));
}

static void start_accept_many(gyre_loop loop, int fd, struct arrivals *arrivals)
{
    memset(arrivals, 0, sizeof *arrivals);
    CHECK_OK(gyre_op_accept_many(loop, fd, arrive, arrivals, &arrivals->end.op));
    CHECK_EQ(arrivals->end.calls + arrivals->accepted, 0); /* P1 */
}

static int start_connect(gyre_loop loop, int fd, const struct sockaddr_in *address, struct outcome *outcome)
{
    *outcome = none_yet();
    return gyre_op_connect(loop, fd, (const struct sockaddr *)address, sizeof *address, note, outcome, &outcome->op);
}

static void close_accepted(const struct arrivals *arrivals)
{
    int i;
    for (i = 0; i < arrivals->accepted; i++)
        CHECK_SYS(close(arrivals->fds[i]));
}

/* Whether the two descriptors are the ends of one connection. */
static int are_connected(int one, int other)
{
    put_byte(one);
    take_byte(other);
    return 1;
}

/* ---- accept ---- */

static void an_accept_tells_the_connection_and_the_peers_address(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    int listener = make_listener(8, &address), before, client, accepted;
    for (before = 0; before < 2; before++) { /* the client is there before, or comes later */
        struct outcome outcome;
        if (before)
            client = make_client(&address);
        start_accept(loop, listener, &outcome);
        if (!before) {
            let_pass(loop, GYRE_MS(1));
            CHECK_EQ(outcome.calls, 0);
            client = make_client(&address);
        }
        accepted = (int)result_of(loop, &outcome);
        CHECK(accepted >= 0);
        CHECK(is_from(&outcome.peer, client));
        CHECK(CHECK_SYS(fcntl(accepted, F_GETFL)) & O_NONBLOCK);
        CHECK(CHECK_SYS(fcntl(accepted, F_GETFD)) & FD_CLOEXEC);
        CHECK(are_connected(client, accepted));
        CHECK_SYS(close(client));
        CHECK_SYS(close(accepted));
    }
    CHECK_EQ(CHECK_SYS(fcntl(listener, F_GETFL)) & O_NONBLOCK, 0); /* as the caller has made it */
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void accepts_are_served_first_in_first_out(void) /* P4 */
{
    enum { MANY = 8 };
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome outcomes[MANY];
    int listener = make_listener(MANY, &address), clients[MANY], i;
    completions = 0;
    for (i = 0; i < MANY; i++)
        start_accept(loop, listener, &outcomes[i]);
    for (i = 0; i < MANY; i++)
        clients[i] = make_client(&address);
    RUN_UNTIL(loop, completions == MANY);
    for (i = 0; i < MANY; i++) {
        CHECK_EQ(outcomes[i].order, i + 1);
        CHECK(is_from(&outcomes[i].peer, clients[i]));
        CHECK_SYS(close((int)outcomes[i].result));
        CHECK_SYS(close(clients[i]));
    }
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void an_accept_is_cancelled_and_takes_no_connection(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome first, second;
    int listener = make_listener(8, &address), client;
    start_accept(loop, listener, &first);
    start_accept(loop, listener, &second);
    one_turn(loop);
    CHECK_OK(gyre_op_cancel(first.op));
    CHECK_OK(gyre_op_timeout(second.op, GYRE_MS(1)));
    CHECK_STATUS((int)result_of(loop, &first), -ECANCELED);
    CHECK_STATUS((int)result_of(loop, &second), -ETIMEDOUT);
    client = make_client(&address);
    start_accept(loop, listener, &first);
    CHECK(result_of(loop, &first) >= 0);
    CHECK(are_connected(client, (int)first.result));
    CHECK_SYS(close((int)first.result));
    CHECK_SYS(close(client));
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void an_accept_on_what_does_not_listen_is_einval(void)
{
    gyre_loop loop = open_loop();
    struct outcome outcome;
    struct arrivals many;
    int ends[2];
    make_tcp_pair(ends);
    put_byte(ends[1]); /* readable, and yet no listener */
    start_accept(loop, ends[0], &outcome);
    CHECK_STATUS((int)result_of(loop, &outcome), -EINVAL);
    start_accept_many(loop, ends[0], &many);
    CHECK_STATUS((int)result_of(loop, &many.end), -EINVAL);
    close_loop(loop);
    close_pair(ends);
}

/* ---- accept_many ---- */

static void accept_many_tells_each_connection_until_it_is_cancelled(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct arrivals many;
    int listener = make_listener(CONNECTIONS, &address), clients[50], i;
    start_accept_many(loop, listener, &many);
    for (i = 0; i < 50; i++) {
        clients[i] = make_client(&address);
        if (i % 10 == 0)
            one_turn(loop);
    }
    RUN_UNTIL(loop, many.accepted == 50);
    for (i = 0; i < 50; i++) {
        CHECK(CHECK_SYS(fcntl(many.fds[i], F_GETFL)) & O_NONBLOCK);
        CHECK(CHECK_SYS(fcntl(many.fds[i], F_GETFD)) & FD_CLOEXEC);
        CHECK(are_connected(clients[i], many.fds[i])); /* in the order of the queue */
        CHECK_SYS(close(clients[i]));
    }
    CHECK_EQ(many.end.calls, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 1);
    CHECK_OK(gyre_op_cancel(many.end.op));
    CHECK_STATUS((int)result_of(loop, &many.end), -ECANCELED);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_accepted(&many);
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void calls_of_accept_are_counted(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome outcome;
    int listener = make_listener(8, &address), client = make_client(&address);
    start_accept(loop, listener, &outcome);
    CHECK(result_of(loop, &outcome) >= 0);
    CHECK(stats_of(loop).accept_calls >= 1);
    CHECK_SYS(close((int)outcome.result));
    CHECK_SYS(close(client));
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void a_paused_accept_many_leaves_connections_to_the_kernel(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct arrivals many;
    int listener = make_listener(8, &address), clients[6], i;
    start_accept_many(loop, listener, &many);
    many.pause_at = 2; /* in its callback, though more are ready */
    for (i = 0; i < 6; i++)
        clients[i] = make_client(&address);
    RUN_UNTIL(loop, many.accepted == 2);
    let_pass(loop, GYRE_MS(2));
    CHECK_EQ(many.accepted, 2);
    CHECK_OK(gyre_op_pause(many.end.op)); /* a second time */
    CHECK_OK(gyre_op_resume(many.end.op));
    RUN_UNTIL(loop, many.accepted == 6);
    for (i = 0; i < 6; i++)
        CHECK(are_connected(clients[i], many.fds[i]));
    CHECK_OK(gyre_op_resume(many.end.op)); /* one that is not paused */
    CHECK_OK(gyre_op_pause(many.end.op));
    CHECK_OK(gyre_op_cancel(many.end.op)); /* while it is paused */
    CHECK_STATUS((int)result_of(loop, &many.end), -ECANCELED);
    CHECK_STATUS(gyre_op_resume(many.end.op), GYRE_EHANDLE);
    for (i = 0; i < 6; i++)
        CHECK_SYS(close(clients[i]));
    close_accepted(&many);
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void accept_many_cancelled_in_its_callback_takes_no_more(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct arrivals many;
    struct outcome rest;
    int listener = make_listener(8, &address), clients[4], i;
    for (i = 0; i < 4; i++)
        clients[i] = make_client(&address);
    start_accept_many(loop, listener, &many);
    many.cancel_at = 2;
    CHECK_STATUS((int)result_of(loop, &many.end), -ECANCELED);
    CHECK(many.accepted >= 2); /* an engine may have taken more before; all of them are told */
    for (i = many.accepted; i < 4; i++) {
        start_accept(loop, listener, &rest);
        CHECK(result_of(loop, &rest) >= 0);
        CHECK(are_connected(clients[i], (int)rest.result));
        CHECK_SYS(close((int)rest.result));
    }
    for (i = 0; i < 4; i++)
        CHECK_SYS(close(clients[i]));
    close_accepted(&many);
    close_loop(loop);
    CHECK_SYS(close(listener));
}

/* The limit of descriptors that has room for two more. */
static rlim_t room_for_two(void)
{
    int fds[2];
    fds[0] = (int)CHECK_SYS(dup(STDERR_FILENO));
    fds[1] = (int)CHECK_SYS(dup(STDERR_FILENO));
    close_pair(fds);
    return (rlim_t)fds[1] + 1;
}

static void accept_many_ends_when_descriptors_run_out_and_loses_no_connection(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct arrivals many;
    struct outcome single;
    struct rlimit before, limit;
    int listener, clients[4], i;
    if (check_small()) { /* valgrind takes the connection, and drops it when it finds the number above the limit */
        close_loop(loop);
        return;
    }
    listener = make_listener(8, &address);
    start_accept_many(loop, listener, &many); /* the engine may open descriptors of its own */
    CHECK_OK(gyre_op_cancel(many.end.op));
    CHECK_STATUS((int)result_of(loop, &many.end), -ECANCELED);
    for (i = 0; i < 4; i++)
        clients[i] = make_client(&address);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
    limit = before;
    limit.rlim_cur = room_for_two();
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
    start_accept_many(loop, listener, &many);
    CHECK_STATUS((int)result_of(loop, &many.end), -EMFILE);
    CHECK_EQ(many.accepted, 2);
    start_accept(loop, listener, &single);
    CHECK_STATUS((int)result_of(loop, &single), -EMFILE);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    close_accepted(&many);
    if (!check_small()) { /* valgrind's own limit comes too late: it takes the connection and drops it */
        start_accept_many(loop, listener, &many); /* those that had no room are in the queue still */
        RUN_UNTIL(loop, many.accepted == 2);
        for (i = 0; i < 2; i++)
            CHECK(are_connected(clients[i + 2], many.fds[i]));
        CHECK_OK(gyre_op_cancel(many.end.op));
        CHECK_STATUS((int)result_of(loop, &many.end), -ECANCELED);
        close_accepted(&many);
    }
    close_loop(loop);
    for (i = 0; i < 4; i++)
        CHECK_SYS(close(clients[i]));
    CHECK_SYS(close(listener));
}

static void other_accepts_beside_accept_many_are_busy(void) /* P4 */
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct arrivals many;
    struct outcome single, refused = none_yet();
    int listener = make_listener(8, &address), client;
    start_accept_many(loop, listener, &many);
    CHECK_STATUS(gyre_op_accept(loop, listener, note, &refused, &refused.op), -EBUSY);
    CHECK_STATUS(gyre_op_accept_many(loop, listener, note, &refused, &refused.op), -EBUSY);
    CHECK_OK(gyre_op_cancel(many.end.op));
    CHECK_STATUS((int)result_of(loop, &many.end), -ECANCELED);
    start_accept(loop, listener, &single);
    CHECK_STATUS(gyre_op_accept_many(loop, listener, note, &refused, &refused.op), -EBUSY);
    client = make_client(&address);
    CHECK(result_of(loop, &single) >= 0);
    CHECK_EQ(refused.op.bits, 0);
    CHECK_EQ(refused.calls, 0);
    CHECK_SYS(close((int)single.result));
    CHECK_SYS(close(client));
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void closing_the_listener_ends_accept_many_first(void) /* P6 */
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct arrivals many;
    struct outcome closed = none_yet();
    int listener = make_listener(8, &address);
    start_accept_many(loop, listener, &many);
    one_turn(loop);
    completions = 0;
    CHECK_OK(gyre_op_close_fd(loop, listener, note, &closed, &closed.op));
    CHECK_EQ(result_of(loop, &closed), 0);
    CHECK_STATUS((int)many.end.result, -ECANCELED);
    CHECK(many.end.order < closed.order);
    CHECK_EQ(fcntl(listener, F_GETFD), -1);
    close_loop(loop);
}

/* ---- connect ---- */

static int make_connector(void)
{
    return (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

static void a_connect_completes_with_0_when_it_is_connected(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome connected, accepted;
    int listener = make_listener(8, &address), fd = make_connector();
    start_accept(loop, listener, &accepted);
    CHECK_OK(start_connect(loop, fd, &address, &connected));
    CHECK_EQ(connected.calls, 0); /* P1 */
    CHECK_EQ(result_of(loop, &connected), 0);
    CHECK(result_of(loop, &accepted) >= 0);
    CHECK(is_from(&accepted.peer, fd));
    CHECK(are_connected(fd, (int)accepted.result));
    CHECK_SYS(close((int)accepted.result));
    CHECK_SYS(close(fd));
    close_loop(loop);
    CHECK_SYS(close(listener));
}

static void a_connect_that_nobody_answers_is_refused(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome outcome;
    int fd = make_connector();
    CHECK_SYS(close(make_listener(8, &address)));
    CHECK_OK(start_connect(loop, fd, &address, &outcome));
    CHECK_STATUS((int)result_of(loop, &outcome), -ECONNREFUSED);
    CHECK_SYS(close(fd));
    close_loop(loop);
}

static void a_connect_of_a_blocking_socket_is_einval(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome outcome;
    int listener = make_listener(8, &address), fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    CHECK_STATUS(start_connect(loop, fd, &address, &outcome), -EINVAL);
    CHECK_EQ(outcome.op.bits, 0);
    make_nonblocking(fd);
    CHECK_STATUS(gyre_op_connect(loop, fd, NULL, sizeof address, note, &outcome, &outcome.op), -EINVAL);
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    CHECK_OK(start_connect(loop, fd, &address, &outcome)); /* what was refused did no harm */
    CHECK_EQ(result_of(loop, &outcome), 0);
    CHECK_SYS(close(fd));
    close_loop(loop);
    CHECK_SYS(close(listener));
}

/* Fills a listener's queue, so that it lets further connects wait. */
static void a_connect_to_a_full_backlog_is_bounded_by_deadline_and_cancel(void)
{
    enum { FULL = 2 };
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome filling[FULL], waiting, cancelled;
    int listener = make_listener(0, &address), fds[FULL + 2], i;
    for (i = 0; i < FULL + 2; i++)
        fds[i] = make_connector();
    for (i = 0; i < FULL; i++)
        CHECK_OK(start_connect(loop, fds[i], &address, &filling[i]));
    RUN_UNTIL(loop, filling[0].calls == 1);
    CHECK_EQ(filling[0].result, 0);
    let_pass(loop, GYRE_MS(2));
    CHECK_OK(start_connect(loop, fds[FULL], &address, &waiting));
    CHECK_OK(start_connect(loop, fds[FULL + 1], &address, &cancelled));
    CHECK_OK(gyre_op_timeout(waiting.op, GYRE_MS(20)));
    one_turn(loop);
    CHECK_EQ(cancelled.calls, 0);
    CHECK_OK(gyre_op_cancel(cancelled.op));
    CHECK_STATUS((int)result_of(loop, &cancelled), -ECANCELED);
    CHECK_STATUS((int)result_of(loop, &waiting), -ETIMEDOUT);
    close_loop(loop);
    for (i = 0; i < FULL; i++)
        CHECK_EQ(filling[i].calls, 1); /* P1, P7 */
    for (i = 0; i < FULL + 2; i++)
        CHECK_SYS(close(fds[i]));
    CHECK_SYS(close(listener));
}

static void a_send_behind_a_connect_goes_out_when_it_is_connected(void) /* P4 */
{
    gyre_loop loop = open_loop();
    struct sockaddr_in address;
    struct outcome connected, sent = none_yet(), received = none_yet(), accepted;
    int listener = make_listener(8, &address), fd = make_connector();
    char buf[8];
    completions = 0;
    start_accept(loop, listener, &accepted);
    CHECK_OK(start_connect(loop, fd, &address, &connected));
    CHECK_OK(gyre_op_send(loop, fd, "hello", 5, 0, note, &sent, &sent.op));
    CHECK_EQ(result_of(loop, &sent), 5);
    CHECK_EQ(connected.result, 0);
    CHECK(connected.order < sent.order);
    CHECK(result_of(loop, &accepted) >= 0);
    CHECK_OK(gyre_op_recv(loop, (int)accepted.result, buf, sizeof buf, 0, note, &received, &received.op));
    CHECK_EQ(result_of(loop, &received), 5);
    CHECK_EQ(memcmp(buf, "hello", 5), 0);
    CHECK_SYS(close((int)accepted.result));
    CHECK_SYS(close(fd));
    close_loop(loop);
    CHECK_SYS(close(listener));
}

int main(void)
{
    check_begin();
    RUN(an_accept_tells_the_connection_and_the_peers_address);
    RUN(accepts_are_served_first_in_first_out);
    RUN(an_accept_is_cancelled_and_takes_no_connection);
    RUN(an_accept_on_what_does_not_listen_is_einval);
    RUN(accept_many_tells_each_connection_until_it_is_cancelled);
    RUN(calls_of_accept_are_counted);
    RUN(a_paused_accept_many_leaves_connections_to_the_kernel);
    RUN(accept_many_cancelled_in_its_callback_takes_no_more);
    RUN(accept_many_ends_when_descriptors_run_out_and_loses_no_connection);
    RUN(other_accepts_beside_accept_many_are_busy);
    RUN(closing_the_listener_ends_accept_many_first);
    RUN(a_connect_completes_with_0_when_it_is_connected);
    RUN(a_connect_that_nobody_answers_is_refused);
    RUN(a_connect_of_a_blocking_socket_is_einval);
    RUN(a_connect_to_a_full_backlog_is_bounded_by_deadline_and_cancel);
    RUN(a_send_behind_a_connect_goes_out_when_it_is_connected);
    return 0;
}
