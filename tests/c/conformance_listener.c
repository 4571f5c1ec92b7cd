/* conformance_listener.c: listeners: addresses, limits, descriptors that run out, Unix sockets and their files. */
#define _GNU_SOURCE
#include "streams.h"

#include <sys/stat.h>

/* ---- the connections of a listener ---- */

enum { GUESTS = 512 };

static struct guests {
    gyre_loop loop;
    gyre_listener listener;
    int opened, closed, told; /* told: closed with a status that is not 0 */
    gyre_stream streams[GUESTS];
    int close_at; /* the listener, so many guests later; 0: never */
    int echoed;
} guests;

static void guest_came(gyre_loop loop, gyre_stream stream, void *user_data)
{
    CHECK(user_data == &guests);
    CHECK_EQ(loop.bits, guests.loop.bits);
    guests.streams[guests.opened++ % GUESTS] = stream;
    if (guests.opened == guests.close_at)
        CHECK_OK(gyre_listener_close(guests.listener));
}

static size_t guest_said(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    (void)loop;
    (void)user_data;
    CHECK_OK(gyre_stream_write(stream, data, length));
    guests.echoed += (int)length;
    return length;
}

static void guest_left(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    (void)loop;
    (void)stream;
    (void)user_data;
    guests.closed++;
    guests.told += status != 0;
}

static int listen_at(gyre_loop loop, const char *address, const gyre_listener_options *options)
{
    gyre_stream_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    callbacks.on_open = guest_came;
    callbacks.on_data = guest_said;
    callbacks.on_close = guest_left;
    memset(&guests, 0, sizeof guests);
    guests.loop = loop;
    return gyre_listener_open(loop, address, options, &callbacks, &guests, &guests.listener);
}

/* The same, on a free port. */
static void listen_anywhere(gyre_loop loop, const gyre_listener_options *options, char address[ADDRESS_TEXT])
{
    CHECK_OK(listen_at(loop, "127.0.0.1:0", options));
    address_of(guests.listener, address);
}

/* ---- addresses ---- */

static void the_real_address_is_told_as_snprintf_does(void)
{
    gyre_loop loop = open_loop();
    char whole[ADDRESS_TEXT], part[16];
    int length, fd;
    listen_anywhere(loop, NULL, whole);
    length = (int)strlen(whole);
    CHECK(strncmp(whole, "127.0.0.1:", 10) == 0 && atoi(whole + 10) > 0);
    CHECK_EQ(gyre_listener_address(guests.listener, NULL, 0), length);
    memset(part, 'x', sizeof part);
    CHECK_EQ(gyre_listener_address(guests.listener, part, 10), length);
    CHECK(memcmp(part, "127.0.0.1", 9) == 0 && part[9] == '\0' && part[10] == 'x');
    CHECK_STATUS(gyre_listener_address(guests.listener, NULL, 1), -EINVAL);
    fd = gyre_listener_fd(guests.listener);
    CHECK(CHECK_SYS(fcntl(fd, F_GETFL)) & O_NONBLOCK);
    CHECK(CHECK_SYS(fcntl(fd, F_GETFD)) & FD_CLOEXEC);
    fd = connect_to(whole);
    RUN_UNTIL(loop, guests.opened == 1);
    CHECK_SYS(close(fd));
    close_loop(loop);
}

static void ipv6_is_listened_on(void)
{
    gyre_loop loop = open_loop();
    struct sockaddr_in6 where;
    char address[ADDRESS_TEXT];
    int status = listen_at(loop, "[::1]:0", NULL), fd;
    if (status == -EADDRNOTAVAIL || status == -EAFNOSUPPORT) { /* a machine without IPv6 */
        close_loop(loop);
        return;
    }
    CHECK_OK(status);
    address_of(guests.listener, address);
    CHECK(strncmp(address, "[::1]:", 6) == 0);
    memset(&where, 0, sizeof where);
    where.sin6_family = AF_INET6;
    where.sin6_addr = in6addr_loopback;
    where.sin6_port = htons((uint16_t)atoi(address + 6));
    fd = (int)CHECK_SYS(socket(AF_INET6, SOCK_STREAM, 0));
    CHECK_SYS(connect(fd, (struct sockaddr *)&where, sizeof where));
    RUN_UNTIL(loop, guests.opened == 1);
    CHECK(gyre_stream_peer(guests.streams[0], address, sizeof address) > 0);
    CHECK(strncmp(address, "[::1]:", 6) == 0);
    CHECK_SYS(close(fd));
    close_loop(loop);
}

static void addresses_that_are_none_are_refused(void)
{
    static const char *const none[] = {
        "", ":0", ":8080", "*:0", "0", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:0x1", "127.0.0.1: 1", "localhost:0", "127.1:0", "[::1]", "[::1", "::1:0", "[]:0", "[127.0.0.1]:0",
        "unix:", "unix", "file:/x", "127.0.0.1:0,127.0.0.1:0",
    };
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_listener listener;
    size_t i;
    for (i = 0; i < sizeof none / sizeof none[0]; i++) {
        int status = listen_at(loop, none[i], NULL);
        if (status != -EINVAL)
            fprintf(stderr, "listen at \"%s\": %d\n", none[i], status);
        CHECK_STATUS(status, -EINVAL);
        CHECK_EQ(guests.listener.bits, 0);
    }
    CHECK_STATUS(gyre_listener_open(loop, NULL, NULL, &callbacks, NULL, &listener), -EINVAL);
    CHECK_STATUS(listen_at(loop, "192.0.2.1:0", NULL), -EADDRNOTAVAIL); /* an address of nobody's */
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void an_address_in_use_is_eaddrinuse(void)
{
    gyre_loop loop = open_loop();
    gyre_listener first;
    char address[ADDRESS_TEXT];
    int fd;
    listen_anywhere(loop, NULL, address);
    first = guests.listener;
    CHECK_STATUS(listen_at(loop, address, NULL), -EADDRINUSE);
    fd = connect_to(address);
    RUN_UNTIL(loop, guests.opened == 1);
    CHECK_OK(gyre_stream_close(guests.streams[0])); /* so that this end is the one that waits in TIME_WAIT */
    RUN_UNTIL(loop, guests.closed == 1);
    CHECK_SYS(close(fd));
    CHECK_OK(gyre_listener_close(first));
    CHECK_OK(listen_at(loop, address, NULL)); /* a server that starts again gets its port */
    close_loop(loop);
}

static void ports_are_shared_when_both_ask_for_it(void)
{
    gyre_listener_options options = listener_options();
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT];
    int fds[64], i;
    options.reuse_port = 1;
    listen_anywhere(loop, &options, address);
    CHECK_OK(listen_at(loop, address, &options));
    for (i = 0; i < 64; i++)
        fds[i] = connect_to(address);
    RUN_UNTIL(loop, guests.opened == 64); /* all of them, by either */
    for (i = 0; i < 64; i++)
        CHECK_SYS(close(fds[i]));
    close_loop(loop);
}

/* ---- life ---- */

static void a_listener_keeps_the_loop_running_unless_told_otherwise(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT];
    listen_anywhere(loop, NULL, address);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_NOWAIT), 1);
    CHECK_OK(gyre_listener_set_keepalive(guests.listener, 0));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_OK(gyre_listener_set_keepalive(guests.listener, 1));
    check_idles_for_a_second(loop);
    CHECK_OK(gyre_listener_close(guests.listener));
    CHECK_STATUS(gyre_listener_close(guests.listener), GYRE_EHANDLE);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void streams_outlive_their_listener(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT], heard[16] = "";
    int fd;
    listen_anywhere(loop, NULL, address);
    fd = connect_to(address);
    RUN_UNTIL(loop, guests.opened == 1);
    CHECK_OK(gyre_listener_close(guests.listener));
    peer_says(fd, "hello", 5);
    RUN_UNTIL(loop, (peer_hears(fd, heard, sizeof heard), strlen(heard) == 5));
    CHECK_SYS(close(fd));
    RUN_UNTIL(loop, guests.closed == 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    close_loop(loop);
}

static void a_listener_closed_in_a_callback_takes_no_more(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT];
    int fds[10], i;
    listen_anywhere(loop, NULL, address);
    for (i = 0; i < 10; i++)
        fds[i] = connect_to(address);
    guests.close_at = 3;
    RUN_UNTIL(loop, guests.opened == 3);
    let_pass(loop, GYRE_MS(10));
    CHECK_EQ(guests.opened, 3);
    for (i = 0; i < 10; i++)
        CHECK_SYS(close(fds[i]));
    RUN_UNTIL(loop, guests.closed == 3);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

static void connections_that_were_not_told_are_closed_with_the_loop(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT], byte;
    int fds[10], i;
    listen_anywhere(loop, NULL, address);
    for (i = 0; i < 10; i++)
        fds[i] = connect_to(address);
    close_loop(loop);
    CHECK_EQ(guests.opened, 0);
    CHECK_EQ(guests.closed, 0);
    for (i = 0; i < 10; i++) {
        ssize_t end = recv(fds[i], &byte, 1, 0);
        CHECK(end == 0 || (end == -1 && errno == ECONNRESET));
        CHECK_SYS(close(fds[i]));
    }
}

/* ---- adopted listeners: socket activation ---- */

static int adopt(gyre_loop loop, int fd)
{
    gyre_stream_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    callbacks.on_open = guest_came;
    callbacks.on_data = guest_said;
    callbacks.on_close = guest_left;
    memset(&guests, 0, sizeof guests);
    guests.loop = loop;
    return gyre_listener_adopt(loop, fd, NULL, &callbacks, &guests, &guests.listener);
}

static void a_listening_socket_is_adopted(void)
{
    gyre_loop loop = open_loop();
    char made[ADDRESS_TEXT], told[ADDRESS_TEXT];
    int listener = make_listening_socket(8, made), fd;
    CHECK_OK(adopt(loop, listener));
    address_of(guests.listener, told);
    CHECK_STR(told, made);
    CHECK_EQ(gyre_listener_fd(guests.listener), listener);
    fd = connect_to(made);
    RUN_UNTIL(loop, guests.opened == 1);
    one_turn(loop); /* a blocking accept would hang here */
    CHECK_OK(gyre_listener_close(guests.listener));
    CHECK_EQ(fcntl(listener, F_GETFD), -1); /* adopted: the listener's to close */
    CHECK_SYS(close(fd));
    close_loop(loop);
}

static void what_does_not_listen_is_not_adopted(void)
{
    gyre_loop loop = open_loop();
    int ends[2], fds[3], i;
    make_tcp_pair(ends);
    CHECK_STATUS(adopt(loop, ends[0]), -EINVAL);
    close_pair(ends);
    make_pipe(ends);
    CHECK_STATUS(adopt(loop, ends[0]), -ENOTSOCK);
    close_pair(ends);
    fds[0] = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0)); /* bound to nothing */
    fds[1] = (int)CHECK_SYS(socket(AF_INET, SOCK_DGRAM, 0));
    fds[2] = (int)CHECK_SYS(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    for (i = 0; i < 3; i++) {
        CHECK_STATUS(adopt(loop, fds[i]), -EINVAL);
        CHECK_SYS(close(fds[i])); /* still the caller's */
    }
    CHECK_STATUS(adopt(loop, -1), -EBADF);
    CHECK_STATUS(adopt(loop, INT32_MAX), -EBADF);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

/* ---- limits ---- */

static void more_than_max_connections_wait_in_the_queue(void)
{
    gyre_listener_options options = listener_options();
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT];
    int fds[8], i;
    options.max_connections = 3;
    listen_anywhere(loop, &options, address);
    for (i = 0; i < 8; i++)
        fds[i] = connect_to(address);
    RUN_UNTIL(loop, guests.opened == 3);
    check_idles_for_a_second(loop); /* though the listener is ready */
    CHECK_EQ(guests.opened, 3);
    CHECK_SYS(close(fds[0]));
    RUN_UNTIL(loop, guests.opened == 4); /* one goes, one comes */
    let_pass(loop, GYRE_MS(10));
    CHECK_EQ(guests.opened, 4);
    CHECK_OK(gyre_stream_abort(guests.streams[1]));
    RUN_UNTIL(loop, guests.opened == 5);
    for (i = 1; i < 8; i++)
        CHECK_SYS(close(fds[i]));
    RUN_UNTIL(loop, guests.closed == 8);
    CHECK_EQ(guests.opened, 8);
    close_loop(loop);
}

static int opened_at_the_tick;

static void note_the_opened(gyre_loop loop, gyre_hook hook, void *user_data)
{
    int *most = (int *)user_data;
    (void)loop;
    (void)hook;
    if (guests.opened - opened_at_the_tick > *most)
        *most = guests.opened - opened_at_the_tick;
    opened_at_the_tick = guests.opened;
}

static void no_turn_accepts_more_than_a_batch(void)
{
    gyre_listener_options options = listener_options();
    gyre_loop loop = open_loop();
    gyre_hook hook;
    char address[ADDRESS_TEXT];
    int fds[50], i, most = 0;
    options.accept_batch = 7;
    options.backlog = 50;
    listen_anywhere(loop, &options, address);
    opened_at_the_tick = 0;
    CHECK_OK(gyre_hook_open(loop, GYRE_HOOK_CHECK, note_the_opened, &most, &hook));
    for (i = 0; i < 50; i++)
        fds[i] = connect_to(address);
    RUN_UNTIL(loop, guests.opened == 50);
    CHECK(most <= 7);
    for (i = 0; i < 50; i++)
        CHECK_SYS(close(fds[i]));
    close_loop(loop);
}

static void resets_in_the_queue_are_nothing(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT], heard[16] = "";
    int i, fd;
    listen_anywhere(loop, NULL, address);
    for (i = 0; i < 20; i++)
        reset_peer(connect_to(address));
    fd = connect_to(address);
    peer_says(fd, "hello", 5);
    RUN_UNTIL(loop, (peer_hears(fd, heard, sizeof heard), strlen(heard) == 5));
    CHECK_SYS(close(fd));
    RUN_UNTIL(loop, guests.opened == guests.closed);
    CHECK_EQ(stats_of(loop).handles, 1);
    close_loop(loop);
}

static void ten_thousand_connections_leave_nothing(void)
{
    enum { BATCH = 250 };
    gyre_loop loop = open_loop();
    struct check_census before, after;
    char address[ADDRESS_TEXT];
    const int total = check_small() ? 2 * BATCH : 10000;
    int fds[BATCH], done, i;
    listen_anywhere(loop, NULL, address);
    one_turn(loop);
    check_take_census(&before);
    for (done = 0; done < total; done += BATCH) {
        for (i = 0; i < BATCH; i++) {
            fds[i] = connect_to(address);
            if (i % 50 == 49)
                one_turn(loop); /* the queue is shorter than a batch */
        }
        RUN_UNTIL(loop, guests.opened == done + BATCH);
        for (i = 0; i < BATCH; i++) {
            gyre_stream stream = guests.streams[(done + i) % GUESTS];
            /* Mostly by resets: each orderly end keeps a port busy for a minute. */
            if (i % 10 == 0)
                CHECK_SYS(close(fds[i]));
            else if (i % 10 == 1)
                CHECK_OK(gyre_stream_close(stream));
            else if (i % 2 == 0)
                reset_peer(fds[i]);
            else
                CHECK_OK(gyre_stream_abort(stream));
        }
        RUN_UNTIL(loop, guests.closed == done + BATCH);
        for (i = 0; i < BATCH; i++)
            if (i % 2 == 1)
                CHECK_SYS(close(fds[i]));
    }
    one_turn(loop);
    CHECK_EQ(guests.opened, total);
    CHECK_EQ(guests.closed, total);
    CHECK_EQ(stats_of(loop).handles, 1); /* the listener */
    check_take_census(&after);
    check_compare_census(&before, &after);
    close_loop(loop);
}

/* ---- descriptors that run out ---- */

/* The limit of descriptors that has room for so many more. */
static void leave_room_for(int count, struct rlimit *before)
{
    struct rlimit limit;
    int fds[8], i;
    for (i = 0; i <= count; i++)
        fds[i] = (int)CHECK_SYS(dup(STDERR_FILENO));
    for (i = 0; i <= count; i++)
        CHECK_SYS(close(fds[i]));
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, before));
    limit = *before;
    limit.rlim_cur = (rlim_t)fds[count];
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &limit));
}

static int echoes(gyre_loop loop, int fd)
{
    char heard[2] = "";
    peer_says(fd, "x", 1);
    RUN_UNTIL(loop, (peer_hears(fd, heard, sizeof heard), heard[0] == 'x'));
    return 1;
}

static void a_listener_without_descriptors_backs_off_and_recovers(void)
{
    enum { CLIENTS = 6, ROOM = 2, SECONDS = 3 };
    gyre_loop loop;
    struct rlimit before;
    char address[ADDRESS_TEXT];
    uint64_t calls, cpu, freed;
    int fds[CLIENTS], i;
    if (check_small()) /* valgrind takes the connection, and drops it when it finds the number above the limit */
        return;
    loop = open_loop();
    listen_anywhere(loop, NULL, address);
    one_turn(loop); /* which may open descriptors of its own */
    for (i = 0; i < CLIENTS; i++)
        fds[i] = connect_to(address);
    leave_room_for(ROOM, &before);
    RUN_UNTIL(loop, guests.opened == ROOM);
    let_pass(loop, GYRE_MS(100));
    calls = stats_of(loop).accept_calls;
    cpu = cpu_time();
    for (i = 0; i < SECONDS; i++) {
        let_pass(loop, GYRE_SEC(1));
        CHECK(echoes(loop, fds[i % ROOM])); /* who is there is served meanwhile */
    }
    calls = stats_of(loop).accept_calls - calls;
    if (calls > 20 * SECONDS)
        fprintf(stderr, "%llu calls of accept in %d s\n", (unsigned long long)calls, (int)SECONDS);
    CHECK(calls <= 20 * SECONDS);
    CHECK_EQ(stats_of(loop).accept_pauses, 1); /* one time, however often it was tried */
    CHECK(cpu_time() - cpu < GYRE_MS(200));
    CHECK_EQ(guests.opened, ROOM);
    freed = check_now();
    CHECK_OK(gyre_stream_abort(guests.streams[0]));
    RUN_UNTIL(loop, guests.opened == ROOM + 1);
    CHECK(check_now() - freed < GYRE_SEC(1));
    freed = check_now();
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    for (i = 1; i < CLIENTS; i++)
        CHECK(echoes(loop, fds[i])); /* nobody was lost */
    CHECK(check_now() - freed < GYRE_SEC(1));
    for (i = 0; i < CLIENTS; i++)
        CHECK_SYS(close(fds[i]));
    close_loop(loop);
}

static void without_descriptors_nothing_opens_and_nothing_is_left(void)
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks callbacks = side_callbacks();
    struct rlimit before;
    gyre_stream stream;
    one_turn(loop);
    leave_room_for(0, &before);
    CHECK_STATUS(listen_at(loop, "127.0.0.1:0", NULL), -EMFILE);
    CHECK_EQ(guests.listener.bits, 0);
    CHECK_STATUS(gyre_stream_connect(loop, "127.0.0.1:1", NULL, &callbacks, NULL, &stream), -EMFILE);
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
}

/* ---- Unix sockets ---- */

struct unix_place {
    char directory[64];
    struct sockaddr_un where;
    char address[ADDRESS_TEXT];
};

static void unix_place_make(struct unix_place *place)
{
    memset(place, 0, sizeof *place);
    strcpy(place->directory, "/tmp/gyre-test-XXXXXX");
    CHECK(mkdtemp(place->directory) != NULL);
    place->where.sun_family = AF_UNIX;
    snprintf(place->where.sun_path, sizeof place->where.sun_path, "%s/s", place->directory);
    snprintf(place->address, sizeof place->address, "unix:%s", place->where.sun_path);
}

/* Fails if anything is left in it. */
static void unix_place_remove(struct unix_place *place)
{
    CHECK_SYS(rmdir(place->directory));
}

static int unix_place_bind(const struct unix_place *place)
{
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_SYS(bind(fd, (const struct sockaddr *)&place->where, sizeof place->where));
    return fd;
}

static int unix_place_connect(const struct unix_place *place)
{
    int fd = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_SYS(connect(fd, (const struct sockaddr *)&place->where, sizeof place->where));
    return fd;
}

static void a_unix_listener_serves_and_removes_its_file(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    char told[ADDRESS_TEXT];
    int fd, by_loop;
    for (by_loop = 0; by_loop < 2; by_loop++) {
        unix_place_make(&place);
        CHECK_OK(listen_at(loop, place.address, NULL));
        address_of(guests.listener, told);
        CHECK_STR(told, place.address);
        fd = unix_place_connect(&place);
        CHECK(echoes(loop, fd));
        CHECK(gyre_stream_peer(guests.streams[0], told, sizeof told) >= 0); /* a client without a name */
        if (by_loop)
            close_loop(loop);
        else
            CHECK_OK(gyre_listener_close(guests.listener));
        CHECK_EQ(access(place.where.sun_path, F_OK), -1);
        CHECK_SYS(close(fd));
        unix_place_remove(&place);
    }
}

static void a_unix_path_that_is_too_long_is_refused(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    size_t longest = strlen("unix:") + sizeof place.where.sun_path - 1;
    unix_place_make(&place);
    while (strlen(place.address) < longest)
        strcat(place.address, "s");
    CHECK_OK(listen_at(loop, place.address, NULL)); /* as long as it may be */
    CHECK_SYS(access(place.address + strlen("unix:"), F_OK));
    CHECK_OK(gyre_listener_close(guests.listener));
    strcat(place.address, "s");
    CHECK_STATUS(listen_at(loop, place.address, NULL), -ENAMETOOLONG);
    close_loop(loop);
    unix_place_remove(&place);
}

static void anothers_live_unix_socket_is_left_alone(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    gyre_listener first;
    int other, fd;
    unix_place_make(&place);
    other = unix_place_bind(&place);
    CHECK_SYS(listen(other, 4));
    CHECK_STATUS(listen_at(loop, place.address, NULL), -EADDRINUSE);
    fd = unix_place_connect(&place); /* as before */
    CHECK_SYS(close(fd));
    CHECK_SYS(close(other));
    CHECK_SYS(unlink(place.where.sun_path));
    CHECK_OK(listen_at(loop, place.address, NULL)); /* our own as well */
    first = guests.listener;
    CHECK_STATUS(listen_at(loop, place.address, NULL), -EADDRINUSE);
    fd = unix_place_connect(&place);
    CHECK(echoes(loop, fd));
    CHECK_OK(gyre_listener_close(first));
    CHECK_SYS(close(fd));
    close_loop(loop);
    unix_place_remove(&place);
}

/* The socket of a process that died is a file that nobody listens at. */
static void a_stale_unix_socket_is_taken_over(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    int fd;
    unix_place_make(&place);
    CHECK_SYS(close(unix_place_bind(&place)));
    CHECK_SYS(access(place.where.sun_path, F_OK));
    CHECK_OK(listen_at(loop, place.address, NULL));
    fd = unix_place_connect(&place);
    CHECK(echoes(loop, fd));
    CHECK_SYS(close(fd));
    close_loop(loop);
    unix_place_remove(&place);
}

static void files_that_are_no_sockets_are_left_alone(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    struct stat before, after;
    char target[ADDRESS_TEXT];
    unix_place_make(&place);
    CHECK_SYS(close((int)CHECK_SYS(open(place.where.sun_path, O_CREAT | O_WRONLY, 0600))));
    CHECK_SYS(lstat(place.where.sun_path, &before));
    CHECK_STATUS(listen_at(loop, place.address, NULL), -EADDRINUSE);
    CHECK_SYS(lstat(place.where.sun_path, &after));
    CHECK(before.st_ino == after.st_ino);
    CHECK_SYS(unlink(place.where.sun_path));
    snprintf(target, sizeof target, "%s/nowhere", place.directory);
    CHECK_SYS(symlink(target, place.where.sun_path)); /* which leads nowhere */
    CHECK_STATUS(listen_at(loop, place.address, NULL), -EADDRINUSE);
    CHECK_SYS(lstat(place.where.sun_path, &after));
    CHECK_SYS(unlink(place.where.sun_path));
    CHECK_SYS(mkdir(place.where.sun_path, 0700));
    CHECK_STATUS(listen_at(loop, place.address, NULL), -EADDRINUSE);
    CHECK_SYS(rmdir(place.where.sun_path));
    strcat(place.address, "/s"); /* in no directory */
    CHECK_STATUS(listen_at(loop, place.address, NULL), -ENOENT);
    close_loop(loop);
    unix_place_remove(&place);
}

static void a_unix_listener_removes_no_file_of_anothers(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    int other, fd;
    unix_place_make(&place);
    CHECK_OK(listen_at(loop, place.address, NULL));
    CHECK_SYS(unlink(place.where.sun_path)); /* a new server has taken the place */
    other = unix_place_bind(&place);
    CHECK_SYS(listen(other, 4));
    CHECK_OK(gyre_listener_close(guests.listener));
    fd = unix_place_connect(&place);
    CHECK_SYS(close(fd));
    CHECK_SYS(close(other));
    CHECK_SYS(unlink(place.where.sun_path));
    CHECK_OK(listen_at(loop, place.address, NULL));
    CHECK_SYS(unlink(place.where.sun_path)); /* or it is gone already */
    CHECK_OK(gyre_listener_close(guests.listener));
    close_loop(loop);
    unix_place_remove(&place);
}

static void an_adopted_unix_socket_keeps_its_file(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    char told[ADDRESS_TEXT];
    int listener, fd;
    unix_place_make(&place);
    listener = unix_place_bind(&place);
    CHECK_SYS(listen(listener, 4));
    CHECK_OK(adopt(loop, listener));
    address_of(guests.listener, told);
    CHECK_STR(told, place.address);
    fd = unix_place_connect(&place);
    CHECK(echoes(loop, fd));
    CHECK_OK(gyre_listener_close(guests.listener));
    CHECK_SYS(unlink(place.where.sun_path)); /* whoever has made it removes it */
    CHECK_SYS(close(fd));
    close_loop(loop);
    unix_place_remove(&place);
}

/* ---- fork ---- */

static void in_a_child_listeners_go_on_and_streams_stay_the_parents(void)
{
    gyre_loop loop = open_loop();
    char address[ADDRESS_TEXT];
    int fds[2], i;
    pid_t pid;
    listen_anywhere(loop, NULL, address);
    fds[0] = connect_to(address);
    CHECK(echoes(loop, fds[0]));
    pid = check_fork();
    if (pid == 0) {
        CHECK_OK(gyre_loop_after_fork(loop));
        RUN_UNTIL(loop, guests.closed == 1);
        CHECK_EQ(guests.told, 1); /* -ECANCELED */
        fds[1] = connect_to(address);
        CHECK(echoes(loop, fds[1]));
        close_loop(loop);
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK(echoes(loop, fds[0]));
    CHECK_EQ(guests.closed, 0);
    fds[1] = connect_to(address);
    CHECK(echoes(loop, fds[1]));
    for (i = 0; i < 2; i++)
        CHECK_SYS(close(fds[i]));
    close_loop(loop);
}

static void a_child_that_closes_its_loop_does_the_parent_no_harm(void)
{
    gyre_loop loop = open_loop();
    struct unix_place place;
    pid_t pid;
    int fds[2], i;
    unix_place_make(&place);
    CHECK_OK(listen_at(loop, place.address, NULL));
    fds[0] = unix_place_connect(&place);
    CHECK(echoes(loop, fds[0]));
    pid = check_fork();
    if (pid == 0) {
        CHECK_STATUS(gyre_listener_close(guests.listener), GYRE_EFORKED);
        CHECK_STATUS(gyre_stream_write(guests.streams[0], "x", 1), GYRE_EFORKED);
        CHECK_STATUS(gyre_stream_abort(guests.streams[0]), GYRE_EFORKED);
        close_loop(loop);
        CHECK_EQ(guests.closed, 0); /* no callback there */
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK(echoes(loop, fds[0]));
    fds[1] = unix_place_connect(&place); /* the file is there still */
    CHECK(echoes(loop, fds[1]));
    CHECK_EQ(guests.closed, 0);
    for (i = 0; i < 2; i++)
        CHECK_SYS(close(fds[i]));
    close_loop(loop);
    unix_place_remove(&place);
}

int main(void)
{
    check_begin();
    RUN(the_real_address_is_told_as_snprintf_does);
    RUN(ipv6_is_listened_on);
    RUN(addresses_that_are_none_are_refused);
    RUN(an_address_in_use_is_eaddrinuse);
    RUN(ports_are_shared_when_both_ask_for_it);
    RUN(a_listener_keeps_the_loop_running_unless_told_otherwise);
    RUN(streams_outlive_their_listener);
    RUN(a_listener_closed_in_a_callback_takes_no_more);
    RUN(connections_that_were_not_told_are_closed_with_the_loop);
    RUN(a_listening_socket_is_adopted);
    RUN(what_does_not_listen_is_not_adopted);
    RUN(more_than_max_connections_wait_in_the_queue);
    RUN(no_turn_accepts_more_than_a_batch);
    RUN(resets_in_the_queue_are_nothing);
    RUN(ten_thousand_connections_leave_nothing);
    RUN(a_listener_without_descriptors_backs_off_and_recovers);
    RUN(without_descriptors_nothing_opens_and_nothing_is_left);
    RUN(a_unix_listener_serves_and_removes_its_file);
    RUN(a_unix_path_that_is_too_long_is_refused);
    RUN(anothers_live_unix_socket_is_left_alone);
    RUN(a_stale_unix_socket_is_taken_over);
    RUN(files_that_are_no_sockets_are_left_alone);
    RUN(a_unix_listener_removes_no_file_of_anothers);
    RUN(an_adopted_unix_socket_keeps_its_file);
    RUN(in_a_child_listeners_go_on_and_streams_stay_the_parents);
    RUN(a_child_that_closes_its_loop_does_the_parent_no_harm);
    return 0;
}
