/* conformance_stream_connect.c: streams that connect, and descriptors that are adopted as streams. */
#define _GNU_SOURCE
#include "streams.h"

/* A socket that has a port, so that no other has it, and does not listen. */
static int make_dead_socket(char text[ADDRESS_TEXT])
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_SYS(bind(fd, (struct sockaddr *)&address, sizeof address));
    CHECK_SYS(getsockname(fd, (struct sockaddr *)&address, &length));
    address_to(&address, text);
    return fd;
}

static int start(struct side *side, gyre_loop loop, const char *address, const gyre_stream_options *options)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    int status;
    side_clear(side, loop);
    status = gyre_stream_connect(loop, address, options, &callbacks, side, &side->stream);
    CHECK_EQ(side->opens + side->closes, 0); /* never inside the call */
    return status;
}

static int status_of(struct side *side)
{
    RUN_UNTIL(side->loop, side->closes == 1);
    one_turn(side->loop);
    CHECK_EQ(side->closes, 1);
    CHECK_EQ(stats_of(side->loop).handles, 0);
    return side->status;
}

/* ---- connect ---- */

static void connect_opens_in_a_later_turn_and_talks(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    char address[ADDRESS_TEXT], peer[ADDRESS_TEXT], byte;
    int listener = make_listening_socket(1, address), fd;
    CHECK_OK(start(&side, loop, address, NULL));
    RUN_UNTIL(loop, side.opens == 1);
    CHECK_EQ(gyre_stream_peer(side.stream, peer, sizeof peer), (int)strlen(address));
    CHECK_STR(peer, address);
    CHECK(CHECK_SYS(fcntl(gyre_stream_fd(side.stream), F_GETFL)) & O_NONBLOCK);
    CHECK(CHECK_SYS(fcntl(gyre_stream_fd(side.stream), F_GETFD)) & FD_CLOEXEC);
    fd = (int)CHECK_SYS(accept(listener, NULL, NULL));
    CHECK_OK(gyre_stream_write(side.stream, "x", 1));
    RUN_UNTIL(loop, recv(fd, &byte, 1, MSG_DONTWAIT) == 1);
    peer_says(fd, "answer", 6);
    RUN_UNTIL(loop, side.taken_length == 6);
    CHECK_OK(gyre_stream_close(side.stream));
    CHECK_OK(status_of(&side));
    CHECK_STR(side.order, "odc");
    close_loop(loop);
    CHECK_SYS(close(fd));
    CHECK_SYS(close(listener));
    side_free(&side);
}

static void addresses_are_asked_for_as_snprintf_does(void)
{
    int (*const ask[])(gyre_stream, char *, size_t) = {gyre_stream_peer, gyre_stream_local};
    int i;
    for (i = 0; i < 2; i++) {
        struct scene scene;
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        char want[ADDRESS_TEXT], whole[ADDRESS_TEXT], part[8];
        int length;
        scene_open(&scene, CONNECTED, NULL);
        if (i == 0)
            CHECK_SYS(getsockname(scene.peer, (struct sockaddr *)&address, &size));
        else
            CHECK_SYS(getpeername(scene.peer, (struct sockaddr *)&address, &size));
        address_to(&address, want);
        length = ask[i](scene.side.stream, NULL, 0);
        CHECK_EQ(ask[i](scene.side.stream, whole, sizeof whole), length);
        CHECK_EQ(strlen(whole), length);
        CHECK_STR(whole, want);
        memset(part, 'x', sizeof part);
        CHECK_EQ(ask[i](scene.side.stream, part, 4), length);
        CHECK(memcmp(part, whole, 3) == 0 && part[3] == '\0' && part[4] == 'x');
        CHECK_STATUS(ask[i](scene.side.stream, NULL, 4), -EINVAL);
        scene_close(&scene);
    }
}

static void what_went_in_and_out_is_counted(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t received = 0, total;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_EQ(gyre_stream_received(scene.side.stream), 0);
        CHECK_EQ(gyre_stream_sent(scene.side.stream), 0);
        peer_says(scene.peer, "12345", 5);
        RUN_UNTIL(scene.loop, scene.side.taken_length == 5);
        CHECK_EQ(gyre_stream_received(scene.side.stream), 5);
        total = scene_fill(&scene, 10000);
        CHECK_EQ(gyre_stream_sent(scene.side.stream) + gyre_stream_pending(scene.side.stream), total);
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        CHECK_EQ(gyre_stream_sent(scene.side.stream), total);
        scene_close(&scene);
    }
}

static void a_refused_connection_is_told_by_on_close_alone(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    char address[ADDRESS_TEXT];
    int dead = make_dead_socket(address);
    CHECK_OK(start(&side, loop, address, NULL));
    CHECK_STATUS(status_of(&side), -ECONNREFUSED);
    CHECK_STR(side.order, "c");
    close_loop(loop);
    CHECK_SYS(close(dead));
}

/* A listener whose queue is full answers no more: the kernel drops what comes. */
static int make_full_listener(char address[ADDRESS_TEXT], int clients[2])
{
    int listener = make_listening_socket(0, address), i;
    struct sockaddr_in where = address_from(address);
    for (i = 0; i < 2; i++) {
        clients[i] = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        if (connect(clients[i], (struct sockaddr *)&where, sizeof where) == -1)
            CHECK_EQ(errno, EINPROGRESS);
    }
    return listener;
}

static void a_connection_that_is_not_answered_ends_at_its_deadline(void)
{
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct side side;
    char address[ADDRESS_TEXT];
    int clients[2], listener = make_full_listener(address, clients);
    uint64_t begin = check_now();
    options.connect_ns = GYRE_MS(80);
    CHECK_OK(start(&side, loop, address, &options));
    CHECK_STATUS(status_of(&side), -ETIMEDOUT);
    CHECK(check_now() - begin >= GYRE_MS(80));
    CHECK(check_now() - begin < GYRE_SEC(3));
    CHECK_STR(side.order, "c");
    close_loop(loop);
    close_pair(clients);
    CHECK_SYS(close(listener));
}

static void addresses_are_tried_in_turn(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    char dead[2][ADDRESS_TEXT], live[ADDRESS_TEXT], all[4 * ADDRESS_TEXT], peer[ADDRESS_TEXT];
    int listener = make_listening_socket(4, live), refusing[2], fd;
    refusing[0] = make_dead_socket(dead[0]);
    refusing[1] = make_dead_socket(dead[1]);
    snprintf(all, sizeof all, "%s,%s,%s", dead[0], dead[1], live);
    CHECK_OK(start(&side, loop, all, NULL));
    RUN_UNTIL(loop, side.opens == 1);
    CHECK(gyre_stream_peer(side.stream, peer, sizeof peer) > 0);
    CHECK_STR(peer, live);
    fd = (int)CHECK_SYS(accept(listener, NULL, NULL));
    peer_says(fd, "hello", 5);
    RUN_UNTIL(loop, side.taken_length == 5);
    CHECK_OK(gyre_stream_close(side.stream));
    CHECK_OK(status_of(&side));
    side_free(&side);
    snprintf(all, sizeof all, "%s,%s", live, dead[0]); /* the first one that answers is taken */
    CHECK_OK(start(&side, loop, all, NULL));
    RUN_UNTIL(loop, side.opens == 1);
    CHECK_OK(gyre_stream_abort(side.stream));
    CHECK_STATUS(status_of(&side), -ECONNABORTED);
    snprintf(all, sizeof all, "%s,unix:/nowhere/at/all,%s", dead[0], dead[1]);
    CHECK_OK(start(&side, loop, all, NULL));
    CHECK_STATUS(status_of(&side), -ECONNREFUSED); /* what the last one said */
    CHECK_STR(side.order, "c");
    close_loop(loop);
    close_pair(refusing);
    CHECK_SYS(close(fd));
    CHECK_SYS(close(listener));
}

/* One deadline for all of them would leave nothing for the second. */
static void each_address_has_its_own_deadline(void)
{
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct side side;
    char full[2][ADDRESS_TEXT], both[2 * ADDRESS_TEXT];
    int clients[2][2], listeners[2], i;
    uint64_t begin;
    for (i = 0; i < 2; i++)
        listeners[i] = make_full_listener(full[i], clients[i]);
    snprintf(both, sizeof both, "%s,%s", full[0], full[1]);
    options.connect_ns = GYRE_MS(80);
    begin = check_now();
    CHECK_OK(start(&side, loop, both, &options));
    CHECK_STATUS(status_of(&side), -ETIMEDOUT);
    CHECK(check_now() - begin >= GYRE_MS(2 * 80));
    close_loop(loop);
    for (i = 0; i < 2; i++)
        close_pair(clients[i]);
    close_pair(listeners);
}

static void an_address_that_is_not_answered_gives_way_to_the_next(void)
{
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct side side;
    char full[ADDRESS_TEXT], live[ADDRESS_TEXT], both[2 * ADDRESS_TEXT];
    int clients[2], silent = make_full_listener(full, clients), listener = make_listening_socket(1, live);
    options.connect_ns = GYRE_MS(700);
    snprintf(both, sizeof both, "%s,%s", full, live);
    CHECK_OK(start(&side, loop, both, &options));
    RUN_UNTIL(loop, side.opens + side.closes == 1);
    CHECK_EQ(side.opens, 1);
    close_loop(loop);
    close_pair(clients);
    CHECK_SYS(close(silent));
    CHECK_SYS(close(listener));
    side_free(&side);
}

static void a_connecting_stream_can_be_closed_and_aborted(void)
{
    int abort, turns;
    for (abort = 0; abort < 2; abort++) {
        for (turns = 0; turns < 2; turns++) {
            gyre_loop loop = open_loop();
            struct side side;
            char address[ADDRESS_TEXT];
            int clients[2], listener = make_full_listener(address, clients);
            CHECK_OK(start(&side, loop, address, NULL));
            if (turns)
                one_turn(loop);
            CHECK_OK(abort ? gyre_stream_abort(side.stream) : gyre_stream_close(side.stream));
            CHECK_EQ(side.closes, 0);
            CHECK_STATUS(status_of(&side), abort ? -ECONNABORTED : 0);
            CHECK_STR(side.order, "c");
            close_loop(loop);
            close_pair(clients);
            CHECK_SYS(close(listener));
        }
    }
}

/* What is written before the connection is there is sent as soon as it is. */
static void a_connecting_stream_takes_writes(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    char address[ADDRESS_TEXT], heard[16] = "";
    int listener = make_listening_socket(1, address), fd;
    CHECK_OK(start(&side, loop, address, NULL));
    CHECK_OK(gyre_stream_write(side.stream, "early", 5));
    RUN_UNTIL(loop, side.opens == 1);
    fd = (int)CHECK_SYS(accept(listener, NULL, NULL));
    RUN_UNTIL(loop, (peer_hears(fd, heard, sizeof heard), strlen(heard) == 5));
    CHECK_STR(heard, "early");
    close_loop(loop);
    CHECK_SYS(close(fd));
    CHECK_SYS(close(listener));
    side_free(&side);
}

static void addresses_that_are_none_are_refused_at_once(void)
{
    static const char *const none[] = {
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:1x",
        "127.0.0.1:http", "127.0.0.1:1 ", " 127.0.0.1:1", "127.1:80", "256.0.0.1:1", "127.0.0.1.1:1", ":80", "*:80",
        "localhost:80", "tcp:127.0.0.1:1", "[::1]", "[::1:80", "::1:80", "[::1]80", "[127.0.0.1]:1", "[]:1", "unix:",
        "127.0.0.1:1,", ",127.0.0.1:1", "127.0.0.1:1,,127.0.0.1:2", "127.0.0.1:1,localhost:2",
    };
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_loop loop = open_loop();
    struct side side;
    char many[65 * 12 + 1];
    size_t i;
    for (i = 0; i < sizeof none / sizeof none[0]; i++) {
        int status = start(&side, loop, none[i], NULL);
        if (status != -EINVAL)
            fprintf(stderr, "connect to \"%s\": %d\n", none[i], status);
        CHECK_STATUS(status, -EINVAL);
        CHECK_EQ(side.stream.bits, 0);
    }
    CHECK_STATUS(gyre_stream_connect(loop, NULL, NULL, &callbacks, &side, &side.stream), -EINVAL);
    for (i = 0; i < 65; i++)
        strcpy(many + 12 * i, "127.0.0.1:1,");
    many[65 * 12 - 1] = '\0';
    CHECK_STATUS(start(&side, loop, many, NULL), -EINVAL); /* more than 64 of them */
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

/* ---- Unix sockets ---- */

static void make_directory(char path[64])
{
    strcpy(path, "/tmp/gyre-test-XXXXXX");
    CHECK(mkdtemp(path) != NULL);
}

static void unix_sockets_are_connected_to(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    struct sockaddr_un where;
    char directory[64], address[ADDRESS_TEXT], heard[16] = "";
    int listener = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0)), fd;
    make_directory(directory);
    memset(&where, 0, sizeof where);
    where.sun_family = AF_UNIX;
    snprintf(where.sun_path, sizeof where.sun_path, "%s/s", directory);
    snprintf(address, sizeof address, "unix:%s/s", directory);
    CHECK_OK(start(&side, loop, address, NULL)); /* there is nothing yet */
    CHECK_STATUS(status_of(&side), -ENOENT);
    CHECK_SYS(bind(listener, (struct sockaddr *)&where, sizeof where));
    CHECK_OK(start(&side, loop, address, NULL)); /* nobody listens yet */
    CHECK_STATUS(status_of(&side), -ECONNREFUSED);
    CHECK_SYS(listen(listener, 4));
    CHECK_OK(start(&side, loop, address, NULL));
    RUN_UNTIL(loop, side.opens == 1);
    CHECK_OK(gyre_stream_write(side.stream, "hello", 5));
    fd = (int)CHECK_SYS(accept(listener, NULL, NULL));
    RUN_UNTIL(loop, (peer_hears(fd, heard, sizeof heard), strlen(heard) == 5));
    CHECK_SYS(close(fd));
    RUN_UNTIL(loop, side.eofs == 1);
    CHECK_OK(gyre_stream_close(side.stream));
    CHECK_OK(status_of(&side));
    close_loop(loop);
    CHECK_SYS(close(listener));
    CHECK_SYS(unlink(where.sun_path));
    CHECK_SYS(rmdir(directory));
}

/* A Unix listener with a full queue answers EAGAIN to a non-blocking connect: that is no failure yet. */
static void a_unix_socket_with_a_full_queue_is_waited_for(void)
{
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct side sides[3];
    struct sockaddr_un where;
    char directory[64], address[ADDRESS_TEXT];
    int listener = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0)), fds[3], i;
    uint64_t begin;
    make_directory(directory);
    memset(&where, 0, sizeof where);
    where.sun_family = AF_UNIX;
    snprintf(where.sun_path, sizeof where.sun_path, "%s/s", directory);
    snprintf(address, sizeof address, "unix:%s/s", directory);
    CHECK_SYS(bind(listener, (struct sockaddr *)&where, sizeof where));
    CHECK_SYS(listen(listener, 0));
    CHECK_OK(start(&sides[0], loop, address, NULL));
    RUN_UNTIL(loop, sides[0].opens == 1);
    options.connect_ns = GYRE_MS(80);
    begin = check_now();
    CHECK_OK(start(&sides[1], loop, address, &options)); /* who waits in vain */
    RUN_UNTIL(loop, sides[1].closes == 1);
    CHECK_STATUS(sides[1].status, -ETIMEDOUT);
    CHECK(check_now() - begin >= GYRE_MS(80));
    CHECK_OK(start(&sides[2], loop, address, NULL)); /* who waits until there is room */
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(sides[2].opens + sides[2].closes, 0);
    for (i = 0; i < 2; i++) {
        fds[i] = (int)CHECK_SYS(accept(listener, NULL, NULL));
        if (i == 0)
            RUN_UNTIL(loop, sides[2].opens == 1);
    }
    close_loop(loop);
    close_pair(fds);
    CHECK_SYS(close(listener));
    CHECK_SYS(unlink(where.sun_path));
    CHECK_SYS(rmdir(directory));
}

static void long_unix_paths_are_refused(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    char address[ADDRESS_TEXT] = "unix:/tmp/";
    size_t longest = strlen("unix:") + sizeof ((struct sockaddr_un *)NULL)->sun_path - 1;
    while (strlen(address) < longest)
        strcat(address, "a");
    CHECK_OK(start(&side, loop, address, NULL));
    CHECK_STATUS(status_of(&side), -ENOENT); /* as long as it may be */
    strcat(address, "a");
    CHECK_STATUS(start(&side, loop, address, NULL), -ENAMETOOLONG);
    close_loop(loop);
}

/* ---- adopt ---- */

static int adopt(struct side *side, gyre_loop loop, int fd)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    side_clear(side, loop);
    return gyre_stream_adopt(loop, fd, NULL, &callbacks, side, &side->stream);
}

static void both_ends_of_a_socketpair_are_adopted_and_talk(void)
{
    gyre_loop loop = open_loop();
    struct side sides[2];
    int ends[2], i;
    make_socketpair(ends);
    for (i = 0; i < 2; i++) {
        CHECK_OK(adopt(&sides[i], loop, ends[i]));
        CHECK_EQ(gyre_stream_fd(sides[i].stream), ends[i]);
    }
    CHECK_OK(gyre_stream_write(sides[0].stream, "ping", 4));
    RUN_UNTIL(loop, sides[1].taken_length == 4);
    CHECK_EQ(sides[1].opens, 1);
    CHECK_OK(gyre_stream_write(sides[1].stream, "pong", 4));
    RUN_UNTIL(loop, sides[0].taken_length == 4);
    CHECK_OK(gyre_stream_close(sides[0].stream));
    RUN_UNTIL(loop, sides[1].eofs == 1);
    CHECK_OK(gyre_stream_close(sides[1].stream));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    for (i = 0; i < 2; i++) {
        CHECK_OK(sides[i].status);
        CHECK_EQ(fcntl(ends[i], F_GETFD), -1); /* adopted: the stream's to close */
        side_free(&sides[i]);
    }
    close_loop(loop);
}

static void what_is_no_stream_is_not_adopted(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    char address[ADDRESS_TEXT];
    int ends[2], fds[4], i;
    struct rlimit limit;
    make_pipe(ends);
    CHECK_STATUS(adopt(&side, loop, ends[0]), -ENOTSOCK);
    fds[0] = (int)CHECK_SYS(open("/dev/null", O_RDWR));
    CHECK_STATUS(adopt(&side, loop, fds[0]), -ENOTSOCK);
    fds[1] = (int)CHECK_SYS(socket(AF_INET, SOCK_DGRAM, 0));
    CHECK_STATUS(adopt(&side, loop, fds[1]), -EINVAL);
    fds[2] = make_listening_socket(1, address);
    CHECK_STATUS(adopt(&side, loop, fds[2]), -EINVAL);
    fds[3] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    CHECK_STATUS(adopt(&side, loop, fds[3]), -EINVAL);
    CHECK_STATUS(adopt(&side, loop, -1), -EBADF);
    CHECK_STATUS(adopt(&side, loop, INT32_MAX), -EBADF);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    CHECK_STATUS(adopt(&side, loop, (int)limit.rlim_cur - 1), -EBADF);
    CHECK_EQ(side.stream.bits, 0);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    for (i = 0; i < 4; i++)
        CHECK_SYS(close(fds[i])); /* still the caller's */
    close_pair(ends);
}

static void a_socket_that_is_not_connected_is_not_adopted(void)
{
    gyre_loop loop = open_loop();
    struct side side;
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    int status = adopt(&side, loop, fd);
    CHECK(status == -ENOTCONN || status == -EINVAL);
    close_loop(loop);
    CHECK_SYS(close(fd));
}

static void a_descriptor_that_is_a_stream_is_not_adopted_twice(void)
{
    struct scene scene;
    struct side second;
    scene_open(&scene, ADOPTED_TCP, NULL);
    CHECK_STATUS(adopt(&second, scene.loop, gyre_stream_fd(scene.side.stream)), -EBUSY);
    peer_says(scene.peer, "x", 1);
    RUN_UNTIL(scene.loop, scene.side.calls == 1);
    scene_close(&scene);
}

static void a_blocking_descriptor_does_not_block_the_loop(void)
{
    struct scene scene;
    uint64_t total, received = 0;
    scene_open(&scene, ADOPTED_UNIX, NULL); /* its socket was a blocking one */
    total = scene_fill(&scene, 10000);
    RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
    scene_close(&scene);
}

static void data_that_was_there_before_is_delivered_after_on_open(void)
{
    int ended;
    for (ended = 0; ended < 2; ended++) {
        gyre_loop loop = open_loop();
        struct side side;
        int ends[2];
        make_socketpair(ends);
        peer_says(ends[1], "early", 5);
        if (ended)
            CHECK_SYS(close(ends[1]));
        CHECK_OK(adopt(&side, loop, ends[0]));
        RUN_UNTIL(loop, side.taken_length == 5 && side.eofs == ended);
        CHECK_STR(side.order, ended ? "ode" : "od");
        close_loop(loop);
        if (!ended)
            CHECK_SYS(close(ends[1]));
        side_free(&side);
    }
}

/* ---- options and descriptors ---- */

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    CHECK_SYS(getsockopt(fd, level, name, &value, &length));
    return value;
}

static void small_packets_are_not_delayed_unless_asked_for(void)
{
    int origin, delay, keepalive;
    for (origin = ACCEPTED; origin <= CONNECTED; origin++) {
        for (delay = 0; delay < 2; delay++) {
            for (keepalive = 0; keepalive < 2; keepalive++) {
                gyre_stream_options options = stream_options();
                struct scene scene;
                int fd;
                options.delay = delay;
                options.keepalive = keepalive;
                scene_open(&scene, (enum origin)origin, &options);
                fd = gyre_stream_fd(scene.side.stream);
                CHECK_EQ(option_of(fd, IPPROTO_TCP, TCP_NODELAY) != 0, !delay);
                CHECK_EQ(option_of(fd, SOL_SOCKET, SO_KEEPALIVE) != 0, keepalive);
                scene_close(&scene);
            }
        }
    }
}

static void streams_that_come_and_go_leave_nothing(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT];
    int listener = make_listening_socket(128, address), i;
    const int rounds = CHECK_SCALED(2000);
    for (i = 0; i < rounds; i++) {
        struct side side;
        int fd;
        CHECK_OK(start(&side, loop, address, NULL));
        RUN_UNTIL(loop, side.opens == 1);
        fd = (int)CHECK_SYS(accept(listener, NULL, NULL));
        if (i % 3 == 0)
            reset_peer(fd);
        else
            CHECK_SYS(close(fd));
        if (i % 3 == 1)
            CHECK_OK(gyre_stream_close(side.stream));
        else if (i % 3 == 2)
            CHECK_OK(gyre_stream_abort(side.stream));
        RUN_UNTIL(loop, side.closes == 1);
        side_free(&side);
    }
    one_turn(loop);
    CHECK_EQ(stats_of(loop).handles, 0);
    CHECK_EQ(gyre_loop_is_alive(loop), 0);
    close_loop(loop);
    CHECK_SYS(close(listener));
}

int main(void)
{
    check_begin();
    RUN(connect_opens_in_a_later_turn_and_talks);
    RUN(addresses_are_asked_for_as_snprintf_does);
    RUN(what_went_in_and_out_is_counted);
    RUN(a_refused_connection_is_told_by_on_close_alone);
    RUN(a_connection_that_is_not_answered_ends_at_its_deadline);
    RUN(addresses_are_tried_in_turn);
    RUN(each_address_has_its_own_deadline);
    RUN(an_address_that_is_not_answered_gives_way_to_the_next);
    RUN(a_connecting_stream_can_be_closed_and_aborted);
    RUN(a_connecting_stream_takes_writes);
    RUN(addresses_that_are_none_are_refused_at_once);
    RUN(unix_sockets_are_connected_to);
    RUN(a_unix_socket_with_a_full_queue_is_waited_for);
    RUN(long_unix_paths_are_refused);
    RUN(both_ends_of_a_socketpair_are_adopted_and_talk);
    RUN(what_is_no_stream_is_not_adopted);
    RUN(a_socket_that_is_not_connected_is_not_adopted);
    RUN(a_descriptor_that_is_a_stream_is_not_adopted_twice);
    RUN(a_blocking_descriptor_does_not_block_the_loop);
    RUN(data_that_was_there_before_is_delivered_after_on_open);
    RUN(small_packets_are_not_delayed_unless_asked_for);
    RUN(streams_that_come_and_go_leave_nothing);
    return 0;
}
