/* operation_beside.c: operations beside everything else: other sources, hosts with a wait of their own, signals of the
 * host's, other threads, forks, other loops.
 *
 * What an engine of the kernel's does for a program is bound to a thread and a process, and the loop may wait in it. Nobody
 * is to notice. */
#define _GNU_SOURCE
#include "operation.h"

#include <poll.h>

/* ---- streams ---- */

struct stream {
    struct outcome end;
    int ends[2];      /* the receive's, and its peer's */
    size_t put, told; /* bytes of the pattern */
    gyre_buffer held; /* the first piece, if it is asked for */
    const unsigned char *held_bytes;
    size_t held_length;
    int hold;
};

static void check_pattern(const unsigned char *bytes, size_t len, size_t place)
{
    size_t i;
    for (i = 0; i < len; i++)
        CHECK(bytes[i] == pattern(place + i));
}

static void tell(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct stream *stream = (struct stream *)user_data;
    CHECK_EQ(stream->end.calls, 0);
    if (!(done->flags & GYRE_MORE)) {
        note(loop, done, &stream->end);
        return;
    }
    check_pattern((const unsigned char *)done->buf, (size_t)done->result, stream->told);
    stream->told += (size_t)done->result;
    if (stream->hold) {
        CHECK_OK(gyre_buffer_hold(done, &stream->held));
        stream->held_bytes = (const unsigned char *)done->buf;
        stream->held_length = done->len;
        stream->hold = 0;
    }
}

static void start(gyre_loop loop, struct stream *stream)
{
    stream->end = none_yet();
    CHECK_OK(gyre_op_recv_many(loop, stream->ends[0], tell, stream, &stream->end.op));
}

static void open_stream(gyre_loop loop, struct stream *stream)
{
    memset(stream, 0, sizeof *stream);
    make_socketpair(stream->ends);
    start(loop, stream);
}

static void put_bytes(struct stream *stream, size_t len)
{
    unsigned char bytes[4096];
    while (len > 0) {
        size_t part = len < sizeof bytes ? len : sizeof bytes, i;
        for (i = 0; i < part; i++)
            bytes[i] = pattern(stream->put + i);
        CHECK_EQ(write(stream->ends[1], bytes, part), (ssize_t)part);
        stream->put += part;
        len -= part;
    }
}

/* The receive works: what is put arrives. */
static void check_works(gyre_loop loop, struct stream *stream, size_t len)
{
    put_bytes(stream, len);
    RUN_UNTIL(loop, stream->told == stream->put);
    CHECK_EQ(stream->end.calls, 0);
}

/* ---- a signal of the host's ---- */

static volatile sig_atomic_t host_signals;

static void count_host_signal(int signum)
{
    (void)signum;
    host_signals++;
}

struct nuisance {
    pthread_t target;
    int stop;
};

/* Whether the target waits already cannot be seen, so it is done again until it is enough. */
static void *signal_until_told(void *argument)
{
    struct nuisance *nuisance = (struct nuisance *)argument;
    while (!LOAD(nuisance->stop)) {
        CHECK_EQ(pthread_kill(nuisance->target, SIGUSR1), 0);
        check_block(GYRE_MS(1));
    }
    return NULL;
}

/* The first test, for it needs a process in which nothing has been closed: what the kernel does after the end of a
 * ring looks like a signal. */
static void a_signal_of_the_hosts_ends_a_wait(void)
{
    gyre_loop loop = open_loop();
    struct sigaction action, before;
    struct nuisance nuisance;
    struct stream stream;
    pthread_t thread;
    open_stream(loop, &stream);
    check_works(loop, &stream, 10);
    memset(&action, 0, sizeof action);
    action.sa_handler = count_host_signal;
    action.sa_flags = SA_RESTART; /* which waits do not heed */
    CHECK_SYS(sigaction(SIGUSR1, &action, &before));
    nuisance.target = pthread_self();
    nuisance.stop = 0;
    thread = check_thread(signal_until_told, &nuisance);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1); /* nothing else would end it */
    STORE(nuisance.stop, 1);
    check_join(thread);
    CHECK(host_signals > 0 && host_signals < 500); /* the first one that comes during the wait */
    CHECK_SYS(sigaction(SIGUSR1, &before, NULL));
    check_works(loop, &stream, 10);
    close_loop(loop);
    close_pair(stream.ends);
}

/* ---- other loops ---- */

enum { ROUNDS = 8 };

static void use_and_close_a_loop(void)
{
    gyre_loop loop = open_loop();
    struct stream stream;
    open_stream(loop, &stream);
    check_works(loop, &stream, 100);
    close_loop(loop);
    close_pair(stream.ends);
}

static void *use_and_close_one_too(void *argument)
{
    use_and_close_a_loop();
    return argument;
}

static void after_a_loop_was_closed_the_waits_of_another_are_not_cut_short(void)
{
    int round;
    for (round = 0; round < ROUNDS; round++) {
        gyre_loop loop = open_loop();
        struct stream stream;
        gyre_timer timer;
        uint64_t begin;
        int ticks = 0;
        open_stream(loop, &stream);
        one_turn(loop);
        if (round % 2) { /* it may wait elsewhere when nothing is in flight */
            CHECK_OK(gyre_op_cancel(stream.end.op));
            CHECK_STATUS((int)result_of(loop, &stream.end), -ECANCELED);
        }
        use_and_close_a_loop();
        if (round % 4 >= 2)
            check_join(check_thread(use_and_close_one_too, NULL));
        begin = check_now();
        CHECK_OK(gyre_timer_open(loop, GYRE_MS(30), 0, count_timer, &ticks, &timer));
        CHECK(gyre_loop_turn(loop, GYRE_SEC(1)) >= 0);
        CHECK(check_now() - begin >= GYRE_MS(30));
        CHECK_EQ(ticks, 1);
        close_loop(loop);
        close_pair(stream.ends);
    }
}

/* ---- other sources ---- */

struct company {
    struct ear reader;
    int posts, ticks, signals, children;
};

static void hear_signal(gyre_loop loop, gyre_signal handle, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)handle;
    (void)signum;
    ((struct company *)user_data)->signals += (int)count;
}

static void hear_child(gyre_loop loop, gyre_child child, const gyre_child_exit *how, void *user_data)
{
    (void)loop;
    (void)how;
    CHECK_OK(gyre_child_close(child));
    ((struct company *)user_data)->children++;
}

struct poster {
    gyre_loop loop;
    int *posts;
};

static void *post_once(void *argument)
{
    struct poster *poster = (struct poster *)argument;
    CHECK_OK(gyre_loop_post(poster->loop, count_post, poster->posts));
    return NULL;
}

/* Writes until nobody reads any more. */
static void *flood(void *argument)
{
    static const char bytes[16384];
    while (send(*(const int *)argument, bytes, sizeof bytes, MSG_NOSIGNAL) > 0) {
    }
    CHECK_EQ(errno, EPIPE);
    return NULL;
}

static void count_flood(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)loop;
    if (done->flags & GYRE_MORE)
        *(size_t *)user_data += (size_t)done->result;
}

/* A child that has ended. Returns 0 where there are no watchers of children. */
static int open_ended_child(gyre_loop loop, struct company *company)
{
    siginfo_t info;
    gyre_child child;
    pid_t pid = check_fork();
    if (pid == 0)
        _exit(0);
    CHECK_SYS(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    if (open_child(loop, pid, hear_child, company, &child))
        return 1;
    check_child_succeeds(pid);
    return 0;
}

static void a_flood_of_data_starves_no_other_source(void)
{
    enum { TIMES = 20, TURNS = 3 };
    gyre_loop loop = open_loop();
    struct company company;
    struct poster poster;
    struct stream quiet;
    gyre_signal usr2;
    gyre_io reader;
    gyre_timer timer;
    pthread_t thread;
    size_t flooded = 0;
    int ends[2], pipe_ends[2], round, turn, rounds = CHECK_SCALED(TIMES) + 1;
    memset(&company, 0, sizeof company);
    make_socketpair(ends);
    make_pipe(pipe_ends);
    open_stream(loop, &quiet);
    poster.loop = loop;
    poster.posts = &company.posts;
    CHECK_OK(gyre_io_open(loop, pipe_ends[0], GYRE_READ, hear_and_read, &company.reader, &reader));
    CHECK_OK(gyre_signal_open(loop, SIGUSR2, hear_signal, &company, &usr2));
    CHECK_OK(gyre_op_recv_many(loop, ends[0], count_flood, &flooded, NULL));
    thread = check_thread(flood, &ends[1]);
    RUN_UNTIL(loop, flooded > 1000000);
    for (round = 1; round <= rounds; round++) {
        size_t before = flooded;
        int children = company.children + open_ended_child(loop, &company);
        put_byte(pipe_ends[1]);
        put_bytes(&quiet, 100);
        CHECK_EQ(raise(SIGUSR2), 0);
        check_join(check_thread(post_once, &poster));
        CHECK_OK(gyre_timer_open(loop, 0, 0, count_timer, &company.ticks, &timer));
        for (turn = 0; turn < TURNS; turn++)
            CHECK(gyre_loop_turn(loop, GYRE_SEC(1)) >= 0);
        CHECK_EQ(company.reader.calls, round);
        CHECK_EQ(quiet.told, quiet.put);
        CHECK_EQ(company.signals, round);
        CHECK_EQ(company.posts, round);
        CHECK_EQ(company.ticks, round);
        CHECK_EQ(company.children, children);
        RUN_UNTIL(loop, flooded > before);
    }
    CHECK_SYS(shutdown(ends[0], SHUT_RD));
    check_join(thread);
    close_loop(loop);
    close_pair(ends);
    close_pair(pipe_ends);
    close_pair(quiet.ends);
}

static void a_periodic_timer_keeps_its_time_while_receives_wait(void)
{
    gyre_loop loop = open_loop();
    struct stream stream;
    gyre_timer timer;
    uint64_t begin;
    int ticks = 0;
    open_stream(loop, &stream);
    one_turn(loop);
    begin = check_now();
    CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), GYRE_MS(1), count_timer, &ticks, &timer));
    while (ticks < 20)
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1);
    CHECK(check_now() - begin >= GYRE_MS(20));
    CHECK(stats_of(loop).turns < 60); /* the waits end when there is something to do */
    close_loop(loop);
    close_pair(stream.ends);
}

static void a_watcher_that_is_always_ready_starves_no_operation(void)
{
    gyre_loop loop = open_loop();
    struct stream stream;
    struct ear ear;
    int ends[2], round, turn;
    make_pipe(ends);
    put_byte(ends[1]);
    watch(loop, ends[0], GYRE_READ, &ear); /* and never reads */
    open_stream(loop, &stream);
    for (round = 0; round < 20; round++) {
        put_bytes(&stream, 100);
        for (turn = 0; turn < 3; turn++)
            CHECK(gyre_loop_turn(loop, GYRE_SEC(1)) >= 0);
        CHECK_EQ(stream.told, stream.put);
    }
    CHECK(ear.calls >= 60);
    close_loop(loop);
    close_pair(ends);
    close_pair(stream.ends);
}

/* Watchers come and go while the loop waits for operations: each is heard of as soon as it is there. */
static void watchers_that_are_opened_closed_and_changed_are_heard_while_receives_wait(void)
{
    gyre_loop loop = open_loop();
    struct stream stream;
    int round;
    open_stream(loop, &stream);
    for (round = 0; round < 20; round++) {
        struct ear ear, other;
        gyre_io io;
        int ends[2];
        make_socketpair(ends);
        io = watch(loop, ends[0], GYRE_READ, &ear);
        watch(loop, ends[1], GYRE_READ, &other);
        let_pass(loop, 1);
        CHECK_EQ(ear.calls, 0);
        put_byte(ends[1]);
        RUN_UNTIL(loop, ear.calls > 0);
        CHECK_OK(gyre_io_set(io, 0));
        let_pass(loop, 1);
        ear.calls = 0;
        check_works(loop, &stream, 10);
        CHECK_EQ(ear.calls, 0);
        CHECK_OK(gyre_io_set(io, GYRE_WRITE));
        RUN_UNTIL(loop, ear.calls > 0);
        CHECK_OK(gyre_io_close(io));
        close_pair(ends); /* with the other watcher open: the set has to be made anew, perhaps */
        check_works(loop, &stream, 10);
    }
    close_loop(loop);
    close_pair(stream.ends);
}

/* ---- hosts with a wait of their own, or with none ---- */

struct visitor {
    gyre_loop loop;
    struct sockaddr_in address;
    int fd;     /* the peer of the receive */
    int rounds; /* how many it is to do */
    int served; /* how many have come back */
};

static void serve_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    ADD(((struct visitor *)user_data)->served, 1);
}

/* Each round in turn needs the loop: a byte through a socket, a connection, a post. */
static void *visit(void *argument)
{
    struct visitor *visitor = (struct visitor *)argument;
    int round;
    for (round = 1; round <= visitor->rounds; round++) {
        int client;
        put_byte(visitor->fd);
        WAIT_UNTIL(LOAD(visitor->served) >= 3 * round - 2);
        client = make_client(&visitor->address);
        WAIT_UNTIL(LOAD(visitor->served) >= 3 * round - 1);
        CHECK_SYS(close(client));
        CHECK_OK(gyre_loop_post(visitor->loop, serve_post, visitor));
        WAIT_UNTIL(LOAD(visitor->served) >= 3 * round);
    }
    return NULL;
}

static void serve_visitor(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct visitor *visitor = (struct visitor *)user_data;
    (void)loop;
    if (!(done->flags & GYRE_MORE))
        return;
    if (done->buf == NULL)
        CHECK_SYS(close((int)done->result));
    ADD(visitor->served, 1);
}

enum host { OF_THE_DESCRIPTOR, NOWAIT, TURN_0 };

static void wait_and_run(gyre_loop loop, enum host host)
{
    if (host == OF_THE_DESCRIPTOR) {
        struct pollfd ready;
        struct timespec wait;
        uint64_t timeout;
        ready.fd = gyre_loop_fd(loop);
        ready.events = POLLIN;
        CHECK(ready.fd >= 0);
        CHECK_OK(gyre_loop_timeout(loop, &timeout));
        wait.tv_sec = (time_t)(timeout / GYRE_SEC(1));
        wait.tv_nsec = (long)(timeout % GYRE_SEC(1));
        CHECK(ppoll(&ready, 1, timeout == GYRE_FOREVER ? NULL : &wait, NULL) >= 0 || errno == EINTR);
    } else {
        check_block(100000); /* a host that looks every now and then */
    }
    CHECK((host == TURN_0 ? gyre_loop_turn(loop, 0) : gyre_loop_run(loop, GYRE_RUN_NOWAIT)) >= 0);
}

static void be_host(enum host host)
{
    enum { VISITS = 50 };
    gyre_loop loop = open_loop();
    struct visitor visitor;
    struct outcome outcome;
    pthread_t thread;
    char buf[64];
    int ends[2], listener, file = make_file(0), round = 0;
    make_socketpair(ends);
    fill_with_pattern(file, sizeof buf);
    listener = make_listener(8, &visitor.address);
    visitor.loop = loop;
    visitor.fd = ends[1];
    visitor.rounds = CHECK_SCALED(VISITS);
    visitor.served = 0;
    CHECK_OK(gyre_op_recv_many(loop, ends[0], serve_visitor, &visitor, NULL));
    CHECK_OK(gyre_op_accept_many(loop, listener, serve_visitor, &visitor, NULL));
    thread = check_thread(visit, &visitor);
    while (LOAD(visitor.served) < 3 * visitor.rounds)
        wait_and_run(loop, host);
    check_join(thread);
    for (round = 0; round < visitor.rounds; round++) { /* alone: nothing else would end the wait */
        start_read(loop, file, buf, sizeof buf, 0, &outcome);
        while (outcome.calls == 0)
            wait_and_run(loop, host);
        CHECK_EQ(outcome.result, sizeof buf);
        start_sleep(loop, 1000, &outcome);
        while (outcome.calls == 0)
            wait_and_run(loop, host);
    }
    if (host == OF_THE_DESCRIPTOR)
        CHECK(stats_of(loop).turns < (uint64_t)visitor.rounds * 40); /* it is readable for a reason */
    close_loop(loop);
    close_pair(ends);
    CHECK_SYS(close(listener));
    CHECK_SYS(close(file));
}

static void a_host_that_waits_on_the_loops_descriptor_misses_nothing(void)
{
    gyre_loop loop = open_loop();
    int has_one = gyre_loop_fd(loop) >= 0;
    close_loop(loop);
    if (has_one)
        be_host(OF_THE_DESCRIPTOR);
}

static void runs_that_do_not_wait_miss_nothing(void)
{
    be_host(NOWAIT);
    be_host(TURN_0);
}

/* ---- other threads ---- */

enum { READS = 16, PAGE = 4096 };

/* Operations of all kinds, each of which another thread may see the end of. */
struct estate {
    gyre_loop loop;
    struct stream fresh, half, paused;
    struct outcome recv, accept, reads[READS];
    char bytes[8];
    unsigned char pages[READS][PAGE];
    int ends[2], listener, file, accepted;
    struct sockaddr_in address;
    int has_turned; /* before its owner ends */
};

static void count_accepted(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct estate *estate = (struct estate *)user_data;
    if (!(done->flags & GYRE_MORE)) {
        note(loop, done, &estate->accept);
        return;
    }
    CHECK_SYS(close((int)done->result));
    estate->accepted++;
}

static void *open_and_leave(void *argument)
{
    struct estate *estate = (struct estate *)argument;
    int i;
    estate->loop = open_loop();
    make_socketpair(estate->ends);
    estate->listener = make_listener(8, &estate->address);
    estate->accept = none_yet();
    open_stream(estate->loop, &estate->fresh);
    open_stream(estate->loop, &estate->half);
    open_stream(estate->loop, &estate->paused);
    start_recv(estate->loop, estate->ends[0], estate->bytes, sizeof estate->bytes, &estate->recv);
    CHECK_OK(gyre_op_accept_many(estate->loop, estate->listener, count_accepted, estate, &estate->accept.op));
    if (estate->has_turned) {
        check_works(estate->loop, &estate->half, 1000);
        one_turn(estate->loop);
    }
    for (i = 0; i < READS; i++)
        start_read(estate->loop, estate->file, estate->pages[i], PAGE, i * PAGE, &estate->reads[i]);
    put_bytes(&estate->half, 1000); /* what the engine may have taken, and nobody was told of */
    put_bytes(&estate->paused, 1000);
    CHECK_OK(gyre_op_pause(estate->paused.end.op));
    return NULL;
}

static void a_loop_whose_thread_has_ended_goes_on_in_another(void)
{
    static struct estate estate;
    int round, i, rounds = CHECK_SCALED(20);
    estate.file = make_file(0);
    fill_with_pattern(estate.file, READS * PAGE);
    for (round = 0; round < rounds; round++) {
        int client;
        memset(estate.pages, 0, sizeof estate.pages);
        estate.accepted = 0;
        estate.has_turned = round % 2;
        CHECK_EQ(posix_fadvise(estate.file, 0, 0, POSIX_FADV_DONTNEED), 0); /* so that the reads take their time */
        check_join(check_thread(open_and_leave, &estate));
        CHECK_OK(gyre_loop_claim(estate.loop));
        if (round % 4 < 2)
            client = make_client(&estate.address); /* before the new owner's first turn */
        check_works(estate.loop, &estate.fresh, 1000);
        RUN_UNTIL(estate.loop, estate.half.told == estate.half.put);
        check_works(estate.loop, &estate.half, 1000);
        if (round % 4 >= 2)
            client = make_client(&estate.address);
        RUN_UNTIL(estate.loop, estate.accepted == 1);
        CHECK_EQ(estate.recv.calls, 0);
        put(estate.ends[1], "data");
        CHECK_EQ(result_of(estate.loop, &estate.recv), 4);
        CHECK_EQ(memcmp(estate.bytes, "data", 4), 0);
        for (i = 0; i < READS; i++) {
            CHECK_EQ(result_of(estate.loop, &estate.reads[i]), PAGE);
            check_pattern(estate.pages[i], PAGE, (size_t)i * PAGE);
        }
        CHECK_EQ(estate.paused.told, 0);
        CHECK_OK(gyre_op_resume(estate.paused.end.op));
        check_works(estate.loop, &estate.paused, 1000);
        close_loop(estate.loop);
        CHECK_EQ(estate.fresh.end.calls, 1);
        CHECK_EQ(estate.half.end.calls, 1);
        CHECK_EQ(estate.paused.end.calls, 1);
        CHECK_EQ(estate.accept.calls, 1);
        close_pair(estate.fresh.ends);
        close_pair(estate.half.ends);
        close_pair(estate.paused.ends);
        close_pair(estate.ends);
        CHECK_SYS(close(client));
        CHECK_SYS(close(estate.listener));
    }
    CHECK_SYS(close(estate.file));
}

static void a_loop_whose_thread_has_ended_is_closed_by_another(void)
{
    static struct estate estate;
    int round, i, rounds = CHECK_SCALED(20);
    estate.file = make_file(0);
    fill_with_pattern(estate.file, READS * PAGE);
    for (round = 0; round < rounds; round++) {
        estate.has_turned = round % 2;
        check_join(check_thread(open_and_leave, &estate));
        CHECK_OK(gyre_loop_claim(estate.loop));
        if (round % 4 < 2) {
            CHECK_OK(gyre_op_cancel(estate.half.end.op));
            CHECK_OK(gyre_op_cancel(estate.paused.end.op));
            CHECK_OK(gyre_op_cancel(estate.recv.op));
        }
        close_loop(estate.loop);
        CHECK_STATUS((int)estate.fresh.end.result, -ECANCELED);
        CHECK_STATUS((int)estate.half.end.result, -ECANCELED);
        CHECK_STATUS((int)estate.paused.end.result, -ECANCELED);
        CHECK_STATUS((int)estate.recv.result, -ECANCELED);
        CHECK_STATUS((int)estate.accept.result, -ECANCELED);
        for (i = 0; i < READS; i++)
            CHECK_EQ(estate.reads[i].calls, 1);
        close_pair(estate.fresh.ends);
        close_pair(estate.half.ends);
        close_pair(estate.paused.ends);
        close_pair(estate.ends);
        CHECK_SYS(close(estate.listener));
    }
    CHECK_SYS(close(estate.file));
}

/* A send that goes from thread to thread, each of which ends when the peer has got some more. */
struct parcel {
    gyre_loop loop;
    struct outcome outcome;
    int ends[2];
    size_t got, got_before; /* of the pattern, by the peer */
};

enum { PARCEL = 4 * 1024 * 1024, STAGES = 3 };

static unsigned char parcel_bytes[PARCEL];

static void take_parcel(struct parcel *parcel)
{
    static unsigned char part[65536];
    ssize_t got = recv(parcel->ends[1], part, sizeof part, MSG_DONTWAIT);
    if (got > 0) {
        check_pattern(part, (size_t)got, parcel->got);
        parcel->got += (size_t)got;
    }
}

static void *carry_parcel(void *argument)
{
    struct parcel *parcel = (struct parcel *)argument;
    if (parcel->loop.bits == 0) {
        parcel->loop = open_loop();
        start_send(parcel->loop, parcel->ends[0], parcel_bytes, PARCEL, GYRE_SEND_ALL, &parcel->outcome);
    } else {
        CHECK_OK(gyre_loop_claim(parcel->loop));
    }
    while (parcel->got < parcel->got_before + PARCEL / (STAGES + 1)) {
        one_turn(parcel->loop);
        take_parcel(parcel);
    }
    parcel->got_before = parcel->got;
    CHECK_EQ(parcel->outcome.calls, 0);
    return NULL;
}

static void a_send_all_goes_on_where_the_thread_that_ended_left_it(void)
{
    int is_cancelled, stage;
    size_t i;
    for (i = 0; i < PARCEL; i++)
        parcel_bytes[i] = pattern(i);
    for (is_cancelled = 0; is_cancelled < 2; is_cancelled++) {
        struct parcel parcel;
        memset(&parcel, 0, sizeof parcel);
        make_socketpair(parcel.ends);
        for (stage = 0; stage < STAGES; stage++)
            check_join(check_thread(carry_parcel, &parcel));
        CHECK_OK(gyre_loop_claim(parcel.loop));
        if (is_cancelled) {
            one_turn(parcel.loop);
            CHECK_OK(gyre_op_cancel(parcel.outcome.op));
        }
        while (parcel.outcome.calls == 0) {
            one_turn(parcel.loop);
            if (!is_cancelled)
                take_parcel(&parcel);
        }
        while (bytes_in(parcel.ends[1]) > 0)
            take_parcel(&parcel);
        CHECK_EQ(parcel.outcome.result, parcel.got); /* in all, whoever sent it */
        CHECK(is_cancelled ? parcel.got < PARCEL : parcel.got == PARCEL);
        close_loop(parcel.loop);
        close_pair(parcel.ends);
    }
}

/* Two threads that both live and take turns with a loop. */
struct relay {
    gyre_loop loop;
    struct stream stream;
    int turn; /* whose it is */
};

static void run_leg(struct relay *relay)
{
    CHECK_OK(gyre_loop_claim(relay->loop));
    start(relay->loop, &relay->stream);
    check_works(relay->loop, &relay->stream, 1000);
    CHECK_OK(gyre_op_cancel(relay->stream.end.op));
    CHECK_STATUS((int)result_of(relay->loop, &relay->stream.end), -ECANCELED);
    CHECK_OK(gyre_loop_release(relay->loop));
}

enum { LEGS = 20 };

static void *run_odd_legs(void *argument)
{
    struct relay *relay = (struct relay *)argument;
    int leg;
    for (leg = 1; leg < LEGS; leg += 2) {
        WAIT_UNTIL(LOAD(relay->turn) == leg);
        run_leg(relay);
        STORE(relay->turn, leg + 1);
    }
    return NULL;
}

static void a_loop_without_operations_is_handed_to_and_fro(void)
{
    gyre_loop_options options = default_options();
    struct relay relay;
    pthread_t thread;
    int leg;
    options.buffer_size = 64;
    options.buffer_count = 4; /* which the engine that was left behind has in its hands */
    memset(&relay, 0, sizeof relay);
    CHECK_OK(gyre_loop_open(&options, &relay.loop));
    make_socketpair(relay.stream.ends);
    CHECK_OK(gyre_loop_release(relay.loop));
    thread = check_thread(run_odd_legs, &relay);
    for (leg = 0; leg < LEGS; leg += 2) {
        WAIT_UNTIL(LOAD(relay.turn) == leg);
        run_leg(&relay);
        STORE(relay.turn, leg + 1);
    }
    check_join(thread);
    CHECK_OK(gyre_loop_claim(relay.loop));
    close_loop(relay.loop);
    close_pair(relay.stream.ends);
}

/* ---- forks ---- */

/* A child that takes its copy of the loop over, and uses it. */
static void use_copy(gyre_loop loop, struct stream *stream, struct stream *paused)
{
    struct stream own;
    size_t told = stream->told;
    CHECK_OK(gyre_loop_after_fork(loop));
    CHECK_STATUS((int)result_of(loop, &stream->end), -ECANCELED);
    CHECK_STATUS((int)result_of(loop, &paused->end), -ECANCELED);
    CHECK_EQ(stream->told, told); /* the data is the parent's */
    open_stream(loop, &own);
    check_works(loop, &own, 10000); /* through all buffers but the held one */
    check_pattern(stream->held_bytes, stream->held_length, 0);
    CHECK_OK(gyre_buffer_release(stream->held));
    check_works(loop, &own, 10000);
    close_loop(loop);
    close_pair(own.ends);
}

static void a_fork_with_receives_in_flight_leaves_the_parents_alone(void)
{
    int round, way;
    for (way = 0; way < 3; way++) { /* the child uses its copy, closes it, or just ends */
        gyre_loop_options options = default_options();
        struct stream stream, paused;
        gyre_loop loop;
        options.buffer_size = 64;
        options.buffer_count = 8;
        CHECK_OK(gyre_loop_open(&options, &loop));
        open_stream(loop, &stream);
        open_stream(loop, &paused);
        stream.hold = 1;
        check_works(loop, &stream, 64);
        put_bytes(&paused, 128);
        CHECK_OK(gyre_op_pause(paused.end.op));
        one_turn(loop);
        for (round = 0; round < 3; round++) {
            pid_t pid;
            put_bytes(&stream, 128); /* which the engine may have taken already */
            pid = check_fork();
            if (pid == 0) {
                if (way == 0)
                    use_copy(loop, &stream, &paused);
                if (way == 1)
                    close_loop(loop);
                _exit(0);
            }
            check_child_succeeds(pid);
            RUN_UNTIL(loop, stream.told == stream.put);
            check_works(loop, &stream, 10000); /* each buffer several times */
            check_pattern(stream.held_bytes, stream.held_length, 0);
        }
        CHECK_EQ(paused.told, 0);
        CHECK_OK(gyre_op_resume(paused.end.op));
        check_works(loop, &paused, 100);
        close_loop(loop);
        CHECK_EQ(stream.end.calls, 1);
        CHECK_EQ(paused.end.calls, 1);
        close_pair(stream.ends);
        close_pair(paused.ends);
    }
}

int main(void)
{
    check_begin();
    RUN(a_signal_of_the_hosts_ends_a_wait);
    RUN(after_a_loop_was_closed_the_waits_of_another_are_not_cut_short);
    RUN(a_flood_of_data_starves_no_other_source);
    RUN(a_periodic_timer_keeps_its_time_while_receives_wait);
    RUN(a_watcher_that_is_always_ready_starves_no_operation);
    RUN(watchers_that_are_opened_closed_and_changed_are_heard_while_receives_wait);
    RUN(a_host_that_waits_on_the_loops_descriptor_misses_nothing);
    RUN(runs_that_do_not_wait_miss_nothing);
    RUN(a_loop_whose_thread_has_ended_goes_on_in_another);
    RUN(a_loop_whose_thread_has_ended_is_closed_by_another);
    RUN(a_send_all_goes_on_where_the_thread_that_ended_left_it);
    RUN(a_loop_without_operations_is_handed_to_and_fro);
    RUN(a_fork_with_receives_in_flight_leaves_the_parents_alone);
    return 0;
}
