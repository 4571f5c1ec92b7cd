/* operation_many.c: gyre_op_recv_many and the library's buffers. */
#define _GNU_SOURCE
#include "operation.h"

enum { HELD = 8 };

/* Takes what a receive of many brings. */
struct taker {
    struct outcome end;
    size_t total; /* bytes, each checked */
    int pieces;
    size_t largest;
    int hold; /* so many buffers to be held, from the first on */
    int held;
    gyre_buffer buffers[HELD];
    const unsigned char *bytes[HELD];
    size_t lengths[HELD], places[HELD]; /* where in the stream they are from */
    int pause_at, cancel_at; /* pieces, or 0 */
};

static void take(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct taker *taker = (struct taker *)user_data;
    const unsigned char *bytes = (const unsigned char *)done->buf;
    size_t i;
    CHECK_EQ(done->op.bits, taker->end.op.bits);
    CHECK_EQ(taker->end.calls, 0); /* P1: the last one is the last */
    if (!(done->flags & GYRE_MORE)) {
        note(loop, done, &taker->end);
        return;
    }
    CHECK(done->result > 0);
    CHECK_EQ(done->len, done->result);
    CHECK(bytes != NULL);
    for (i = 0; i < done->len; i++)
        CHECK(bytes[i] == pattern(taker->total + i));
    if (taker->held < taker->hold) {
        CHECK_OK(gyre_buffer_hold(done, &taker->buffers[taker->held]));
        taker->bytes[taker->held] = bytes;
        taker->lengths[taker->held] = done->len;
        taker->places[taker->held++] = taker->total;
    }
    taker->total += done->len;
    if (done->len > taker->largest)
        taker->largest = done->len;
    taker->pieces++;
    if (taker->pieces == taker->pause_at)
        CHECK_OK(gyre_op_pause(done->op));
    if (taker->pieces == taker->cancel_at)
        CHECK_OK(gyre_op_cancel(done->op));
}

static struct taker nothing_taken(void)
{
    struct taker taker;
    memset(&taker, 0, sizeof taker);
    return taker;
}

static void start(gyre_loop loop, int fd, struct taker *taker)
{
    CHECK_OK(gyre_op_recv_many(loop, fd, take, taker, &taker->end.op));
    CHECK_EQ(taker->pieces + taker->end.calls, 0); /* P1: never inside the submit */
}

/* What was held is as it came. */
static void check_held(const struct taker *taker, int which)
{
    size_t i;
    for (i = 0; i < taker->lengths[which]; i++)
        CHECK(taker->bytes[which][i] == pattern(taker->places[which] + i));
}

/* Puts the next bytes of the pattern into a stream. */
static void put_pattern(int fd, size_t *place, size_t len)
{
    unsigned char bytes[4096];
    while (len > 0) {
        size_t part = len < sizeof bytes ? len : sizeof bytes, i;
        for (i = 0; i < part; i++)
            bytes[i] = pattern(*place + i);
        CHECK_EQ(write(fd, bytes, part), (ssize_t)part);
        *place += part;
        len -= part;
    }
}

static gyre_loop open_loop_with_buffers(uint32_t size, uint32_t count)
{
    gyre_loop_options options = default_options();
    gyre_loop loop;
    options.buffer_size = size;
    options.buffer_count = count;
    CHECK_OK(gyre_loop_open(&options, &loop));
    return loop;
}

/* ---- receiving ---- */

struct stream {
    int fd;
    size_t len;
};

static void *write_stream(void *argument)
{
    struct stream *stream = (struct stream *)argument;
    size_t place = 0, part = 1;
    while (place < stream->len) { /* parts of all sizes */
        part = part * 7 % 30011;
        put_pattern(stream->fd, &place, part < stream->len - place ? part : stream->len - place);
    }
    CHECK_SYS(close(stream->fd));
    return NULL;
}

static void a_stream_of_4_mib_comes_whole_and_in_order_and_ends_with_0(void)
{
    int tcp;
    for (tcp = 0; tcp < 2; tcp++) {
        gyre_loop loop = tcp ? open_loop() : open_loop_with_buffers(1000, 3);
        struct taker taker = nothing_taken();
        struct stream stream;
        pthread_t thread;
        int ends[2];
        if (tcp)
            make_tcp_pair(ends);
        else
            make_socketpair(ends);
        stream.fd = ends[1];
        stream.len = 4 * 1024 * 1024 / (check_small() ? 8 : 1);
        start(loop, ends[0], &taker);
        thread = check_thread(write_stream, &stream);
        CHECK_EQ(result_of(loop, &taker.end), 0);
        CHECK_EQ(taker.total, stream.len);
        CHECK(taker.largest <= (tcp ? 16384u : 1000u)); /* the options' size, and its default */
        check_join(thread);
        CHECK_EQ(gyre_loop_is_alive(loop), 0);
        close_loop(loop);
        CHECK_SYS(close(ends[0]));
    }
}

static void an_error_is_the_last_completion(void)
{
    struct linger at_once = {1, 0};
    gyre_loop loop = open_loop();
    struct taker taker = nothing_taken();
    size_t place = 0;
    int ends[2];
    make_tcp_pair(ends);
    start(loop, ends[0], &taker);
    put_pattern(ends[1], &place, 100);
    RUN_UNTIL(loop, taker.total == 100);
    CHECK_SYS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    CHECK_SYS(close(ends[1]));
    CHECK_STATUS((int)result_of(loop, &taker.end), -ECONNRESET);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void what_is_no_socket_is_enotsock(void)
{
    gyre_loop loop = open_loop();
    struct taker taker = nothing_taken();
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    start(loop, ends[0], &taker);
    CHECK_STATUS((int)result_of(loop, &taker.end), -ENOTSOCK);
    close_loop(loop);
    close_pair(ends);
}

static void other_receives_beside_it_are_busy_and_sends_are_not(void) /* P4 */
{
    gyre_loop loop = open_loop();
    struct taker taker = nothing_taken(), refused = nothing_taken(), single = nothing_taken();
    struct msghdr message;
    struct iovec piece;
    size_t place = 0;
    char buf[8] = "";
    int ends[2];
    make_socketpair(ends);
    memset(&message, 0, sizeof message);
    piece.iov_base = buf;
    piece.iov_len = sizeof buf;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    start(loop, ends[0], &taker);
    CHECK_STATUS(gyre_op_recv(loop, ends[0], buf, 8, 0, take, &refused, &refused.end.op), -EBUSY);
    CHECK_STATUS(gyre_op_recvmsg(loop, ends[0], &message, 0, take, &refused, &refused.end.op), -EBUSY);
    CHECK_STATUS(gyre_op_read(loop, ends[0], buf, 8, GYRE_NO_OFFSET, take, &refused, &refused.end.op), -EBUSY);
    CHECK_STATUS(gyre_op_readv(loop, ends[0], &piece, 1, GYRE_NO_OFFSET, take, &refused, &refused.end.op), -EBUSY);
    CHECK_STATUS(gyre_op_recv_many(loop, ends[0], take, &refused, &refused.end.op), -EBUSY);
    CHECK_OK(gyre_op_send(loop, ends[0], buf, 8, 0, take, &single, &single.end.op));
    CHECK_EQ(result_of(loop, &single.end), 8);
    put_pattern(ends[1], &place, 10);
    RUN_UNTIL(loop, taker.total == 10);
    CHECK_OK(gyre_op_cancel(taker.end.op));
    CHECK_STATUS((int)result_of(loop, &taker.end), -ECANCELED);
    single = nothing_taken();
    CHECK_OK(gyre_op_recv(loop, ends[0], buf, 8, 0, take, &single, &single.end.op));
    CHECK_STATUS(gyre_op_recv_many(loop, ends[0], take, &refused, &refused.end.op), -EBUSY);
    put_pattern(ends[1], &place, 3);
    CHECK_EQ(result_of(loop, &single.end), 3);
    CHECK_EQ(refused.end.calls + refused.pieces, 0);
    CHECK_EQ(refused.end.op.bits, 0);
    close_loop(loop);
    close_pair(ends);
}

static void a_watcher_of_the_other_direction_is_told_beside_it(void)
{
    gyre_loop loop = open_loop();
    struct taker taker = nothing_taken();
    struct ear ear;
    size_t place = 0;
    int ends[2], round;
    make_socketpair(ends);
    watch(loop, ends[0], GYRE_WRITE, &ear);
    start(loop, ends[0], &taker);
    for (round = 1; round <= 5; round++) {
        put_pattern(ends[1], &place, 100);
        RUN_UNTIL(loop, taker.total == place && ear.calls >= round);
    }
    CHECK_EQ(ear.all, GYRE_WRITE);
    close_loop(loop);
    CHECK_EQ(taker.end.calls, 1); /* P7 */
    close_pair(ends);
}

static void many_connections_share_few_buffers(void)
{
    enum { MANY = 100 };
    gyre_loop loop = open_loop_with_buffers(64, 1);
    static struct taker takers[MANY];
    static int ends[MANY][2];
    static size_t places[MANY];
    int i, round;
    memset(takers, 0, sizeof takers);
    memset(places, 0, sizeof places);
    for (i = 0; i < MANY; i++) {
        make_socketpair(ends[i]);
        start(loop, ends[i][0], &takers[i]); /* one without data holds no buffer */
    }
    for (round = 0; round < 3; round++) {
        for (i = 0; i < MANY; i++)
            put_pattern(ends[i][1], &places[i], 200);
        for (i = 0; i < MANY; i++)
            RUN_UNTIL(loop, takers[i].total == places[i]);
    }
    close_loop(loop);
    for (i = 0; i < MANY; i++) {
        CHECK_STATUS((int)takers[i].end.result, -ECANCELED);
        close_pair(ends[i]);
    }
}

/* ---- pause, resume, cancel ---- */

static void a_paused_one_leaves_data_and_end_to_the_kernel(void)
{
    gyre_loop loop = open_loop();
    struct taker taker = nothing_taken();
    size_t place = 0;
    int ends[2];
    make_socketpair(ends);
    start(loop, ends[0], &taker);
    taker.pause_at = 1;
    put_pattern(ends[1], &place, 100);
    RUN_UNTIL(loop, taker.total == 100);
    put_pattern(ends[1], &place, 100);
    CHECK_SYS(close(ends[1]));
    let_pass(loop, GYRE_MS(2));
    CHECK_EQ(taker.pieces, 1);
    CHECK_EQ(taker.end.calls, 0);
    CHECK_OK(gyre_op_pause(taker.end.op)); /* a second time */
    CHECK_OK(gyre_op_resume(taker.end.op));
    CHECK_EQ(result_of(loop, &taker.end), 0);
    CHECK_EQ(taker.total, 200);
    CHECK_STATUS(gyre_op_pause(taker.end.op), GYRE_EHANDLE);
    CHECK_STATUS(gyre_op_resume(taker.end.op), GYRE_EHANDLE);
    close_loop(loop);
    CHECK_SYS(close(ends[0]));
}

static void one_that_is_paused_before_its_first_turn_takes_nothing(void)
{
    gyre_loop loop = open_loop();
    struct taker taker = nothing_taken();
    size_t place = 0;
    int ends[2];
    make_socketpair(ends);
    put_pattern(ends[1], &place, 100);
    start(loop, ends[0], &taker);
    CHECK_OK(gyre_op_pause(taker.end.op));
    let_pass(loop, GYRE_MS(2));
    CHECK_EQ(taker.pieces, 0);
    CHECK_OK(gyre_op_resume(taker.end.op));
    RUN_UNTIL(loop, taker.total == 100);
    CHECK_OK(gyre_op_pause(taker.end.op));
    CHECK_OK(gyre_op_cancel(taker.end.op)); /* while it is paused */
    CHECK_STATUS((int)result_of(loop, &taker.end), -ECANCELED);
    close_loop(loop);
    close_pair(ends);
}

static void only_a_many_operation_is_paused(void)
{
    gyre_loop loop = open_loop();
    struct taker single = nothing_taken(), sleeper = nothing_taken();
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    CHECK_OK(gyre_op_recv(loop, ends[0], buf, 8, 0, take, &single, &single.end.op));
    CHECK_OK(gyre_op_sleep(loop, GYRE_FOREVER, take, &sleeper, &sleeper.end.op));
    CHECK_STATUS(gyre_op_pause(single.end.op), -EINVAL);
    CHECK_STATUS(gyre_op_resume(single.end.op), -EINVAL);
    CHECK_STATUS(gyre_op_pause(sleeper.end.op), -EINVAL);
    CHECK_STATUS(gyre_op_resume(sleeper.end.op), -EINVAL);
    close_loop(loop);
    close_pair(ends);
}

static void one_that_is_cancelled_in_its_callback_ends_and_loses_nothing(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 4);
    struct taker taker = nothing_taken(), rest = nothing_taken();
    size_t place = 0;
    int ends[2];
    make_socketpair(ends);
    start(loop, ends[0], &taker);
    taker.cancel_at = 2;
    put_pattern(ends[1], &place, 1000);
    CHECK_STATUS((int)result_of(loop, &taker.end), -ECANCELED);
    CHECK(taker.pieces >= 2); /* an engine may have taken more before: all of it is told */
    CHECK(taker.total < place);
    rest.total = taker.total; /* where the stream goes on */
    start(loop, ends[0], &rest);
    RUN_UNTIL(loop, rest.total == place);
    close_loop(loop);
    close_pair(ends);
}

/* ---- buffers ---- */

static void a_held_buffer_keeps_its_bytes_until_it_is_released(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 4);
    struct taker taker = nothing_taken();
    size_t place = 0;
    int ends[2], i;
    make_socketpair(ends);
    start(loop, ends[0], &taker);
    taker.hold = 3; /* one is left to go on with */
    put_pattern(ends[1], &place, 3000);
    RUN_UNTIL(loop, taker.total == place);
    CHECK_EQ(taker.held, 3);
    for (i = 0; i < 3; i++) {
        check_held(&taker, i);
        CHECK(taker.buffers[i].bits != 0);
        CHECK(taker.buffers[i].bits != taker.end.op.bits);
    }
    CHECK_OK(gyre_buffer_release(taker.buffers[1]));
    put_pattern(ends[1], &place, 3000);
    RUN_UNTIL(loop, taker.total == place);
    check_held(&taker, 0);
    check_held(&taker, 2);
    CHECK_OK(gyre_op_cancel(taker.end.op));
    CHECK_STATUS((int)result_of(loop, &taker.end), -ECANCELED);
    check_held(&taker, 0); /* after the end of the operation too */
    CHECK_OK(gyre_buffer_release(taker.buffers[0]));
    CHECK_STATUS(gyre_buffer_release(taker.buffers[0]), GYRE_EHANDLE);
    CHECK_STATUS(gyre_buffer_release(taker.buffers[1]), GYRE_EHANDLE);
    check_held(&taker, 2);
    close_loop(loop);
    CHECK_STATUS(gyre_buffer_release(taker.buffers[2]), GYRE_EHANDLE); /* its memory is gone */
    close_pair(ends);
}

static void when_all_buffers_are_held_it_waits_and_goes_on_with_a_release(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 2);
    struct taker taker = nothing_taken(), other = nothing_taken();
    size_t place = 0, other_place = 0;
    int ends[2], others[2];
    uint64_t cpu;
    make_socketpair(ends);
    make_socketpair(others);
    start(loop, ends[0], &taker);
    start(loop, others[0], &other);
    taker.hold = 3;
    put_pattern(ends[1], &place, 1000);
    RUN_UNTIL(loop, taker.held == 2);
    put_pattern(others[1], &other_place, 100); /* one that has held nothing waits as well */
    cpu = cpu_time();
    let_pass(loop, GYRE_MS(20));
    CHECK(cpu_time() - cpu < GYRE_MS(15)); /* without spinning */
    CHECK_EQ(taker.pieces, 2); /* no ENOBUFS either */
    CHECK_EQ(taker.end.calls, 0);
    CHECK_EQ(other.pieces, 0);
    CHECK_OK(gyre_buffer_release(taker.buffers[0]));
    RUN_UNTIL(loop, taker.held == 3 || other.total == 100);
    CHECK_OK(gyre_buffer_release(taker.buffers[1]));
    RUN_UNTIL(loop, taker.total == place && other.total == 100);
    check_held(&taker, 2);
    CHECK_OK(gyre_buffer_release(taker.buffers[2]));
    close_loop(loop);
    CHECK_EQ(taker.end.calls, 1); /* P7 */
    CHECK_EQ(other.end.calls, 1);
    close_pair(ends);
    close_pair(others);
}

static void one_that_waits_for_a_buffer_is_paused_and_cancelled_like_any(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 1);
    struct taker taker = nothing_taken(), other = nothing_taken();
    size_t place = 0, other_place = 0;
    int ends[2], others[2];
    make_socketpair(ends);
    make_socketpair(others);
    start(loop, ends[0], &taker);
    start(loop, others[0], &other);
    taker.hold = 1;
    put_pattern(ends[1], &place, 200);
    RUN_UNTIL(loop, taker.held == 1);
    put_pattern(others[1], &other_place, 64);
    let_pass(loop, GYRE_MS(1));
    CHECK_OK(gyre_op_pause(other.end.op));
    CHECK_OK(gyre_op_cancel(taker.end.op));
    CHECK_STATUS((int)result_of(loop, &taker.end), -ECANCELED);
    CHECK_OK(gyre_buffer_release(taker.buffers[0]));
    let_pass(loop, GYRE_MS(1));
    CHECK_EQ(other.pieces, 0); /* it is paused */
    CHECK_OK(gyre_op_resume(other.end.op));
    RUN_UNTIL(loop, other.total == 64);
    close_loop(loop);
    close_pair(ends);
    close_pair(others);
}

static void the_only_buffer_of_a_pool_goes_round(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 1);
    struct taker taker = nothing_taken();
    size_t place = 0;
    int ends[2], i;
    make_socketpair(ends);
    start(loop, ends[0], &taker);
    for (i = 1; i <= 20; i++) { /* the only buffer goes round */
        taker.hold = 1;
        taker.held = 0;
        put_pattern(ends[1], &place, 64);
        RUN_UNTIL(loop, taker.total == place);
        CHECK_EQ(taker.held, 1);
        check_held(&taker, 0);
        CHECK_OK(gyre_buffer_release(taker.buffers[0]));
    }
    close_loop(loop);
    close_pair(ends);
}

/* Everything that must not be held. */
struct misuser {
    gyre_op op;
    gyre_completion seen;
    gyre_completion final;
    int pieces, calls;
};

static void misuse(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct misuser *misuser = (struct misuser *)user_data;
    gyre_completion forged = *done;
    gyre_buffer first, second;
    char own[8];
    (void)loop;
    first.bits = second.bits = 0;
    if (!(done->flags & GYRE_MORE)) {
        CHECK(gyre_buffer_hold(done, &second) != GYRE_OK); /* the end has no buffer, and its handle is dead */
        CHECK_EQ(second.bits, 0);
        misuser->final = *done;
        misuser->calls++;
        return;
    }
    CHECK_STATUS(gyre_buffer_hold(NULL, &second), -EINVAL);
    CHECK_STATUS(gyre_buffer_hold(done, NULL), -EINVAL);
    forged.buf = own;
    CHECK_STATUS(gyre_buffer_hold(&forged, &second), -EINVAL);
    forged.buf = NULL;
    CHECK_STATUS(gyre_buffer_hold(&forged, &second), -EINVAL);
    forged = *done;
    forged.op.bits = 0;
    CHECK_STATUS(gyre_buffer_hold(&forged, &second), GYRE_EHANDLE);
    if (misuser->pieces++ == 0) {
        misuser->seen = *done;
        return;
    }
    CHECK_OK(gyre_buffer_hold(done, &first));
    CHECK_STATUS(gyre_buffer_hold(done, &second), -EINVAL); /* twice */
    CHECK_EQ(second.bits, 0);
    CHECK_OK(gyre_buffer_release(first));
    CHECK_STATUS(gyre_buffer_release(first), GYRE_EHANDLE);
    CHECK_STATUS(gyre_buffer_hold(done, &second), -EINVAL); /* it is the pool's again */
}

static void what_is_not_shown_just_now_is_not_held(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 4);
    struct misuser misuser;
    gyre_buffer buffer;
    int ends[2];
    make_socketpair(ends);
    memset(&misuser, 0, sizeof misuser);
    buffer.bits = 0;
    CHECK_OK(gyre_op_recv_many(loop, ends[0], misuse, &misuser, &misuser.op));
    put_byte(ends[1]);
    RUN_UNTIL(loop, misuser.pieces == 1);
    CHECK_STATUS(gyre_buffer_hold(&misuser.seen, &buffer), -EINVAL); /* outside its callback */
    put_byte(ends[1]);
    RUN_UNTIL(loop, misuser.pieces == 2);
    CHECK_STATUS(gyre_buffer_hold(&misuser.seen, &buffer), -EINVAL);
    CHECK_SYS(close(ends[1]));
    RUN_UNTIL(loop, misuser.calls == 1);
    CHECK_STATUS(gyre_buffer_hold(&misuser.seen, &buffer), GYRE_EHANDLE); /* the operation has ended */
    CHECK_STATUS(gyre_buffer_hold(&misuser.final, &buffer), GYRE_EHANDLE);
    CHECK_EQ(buffer.bits, 0);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    CHECK_STATUS(gyre_buffer_hold(&misuser.seen, &buffer), GYRE_EHANDLE);
    CHECK_SYS(close(ends[0]));
}

static int strangers;

static void hold_a_stranger(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    gyre_buffer buffer;
    (void)loop;
    (void)user_data;
    CHECK(gyre_buffer_hold(done, &buffer) != GYRE_OK); /* the buffer is the caller's own */
    strangers++;
}

static void the_callers_own_buffer_is_not_held(void)
{
    gyre_loop loop = open_loop();
    char buf[8];
    int ends[2];
    make_socketpair(ends);
    strangers = 0;
    CHECK_OK(gyre_op_recv(loop, ends[0], buf, 8, 0, hold_a_stranger, NULL, NULL));
    CHECK_OK(gyre_op_sleep(loop, 0, hold_a_stranger, NULL, NULL));
    put_byte(ends[1]);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(strangers, 2);
    close_loop(loop);
    close_pair(ends);
}

/* Ends its own operation while the buffer is shown, and looks at it still. */
static void close_and_look(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct taker *taker = (struct taker *)user_data;
    if (done->flags & GYRE_MORE) {
        const unsigned char *bytes = (const unsigned char *)done->buf;
        int64_t i;
        CHECK_OK(gyre_op_cancel(done->op));
        CHECK_OK(gyre_op_close_fd(loop, done->fd, hold_a_stranger, NULL, NULL));
        for (i = 0; i < done->result; i++)
            CHECK(bytes[i] == pattern((size_t)i)); /* valid during the callback, whatever is called */
        taker->pieces++;
        return;
    }
    taker->end.calls++;
    taker->end.result = done->result;
}

static void a_shown_buffer_outlives_the_end_of_its_operation(void)
{
    gyre_loop loop = open_loop_with_buffers(64, 1);
    struct taker taker = nothing_taken();
    size_t place = 0;
    int ends[2];
    make_socketpair(ends);
    strangers = 0;
    CHECK_OK(gyre_op_recv_many(loop, ends[0], close_and_look, &taker, &taker.end.op));
    put_pattern(ends[1], &place, 64);
    RUN_UNTIL(loop, strangers == 1);
    CHECK_EQ(taker.pieces, 1);
    CHECK_EQ(taker.end.calls, 1);
    CHECK_STATUS((int)taker.end.result, -ECANCELED);
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
}

int main(void)
{
    check_begin();
    RUN(a_stream_of_4_mib_comes_whole_and_in_order_and_ends_with_0);
    RUN(an_error_is_the_last_completion);
    RUN(what_is_no_socket_is_enotsock);
    RUN(other_receives_beside_it_are_busy_and_sends_are_not);
    RUN(a_watcher_of_the_other_direction_is_told_beside_it);
    RUN(many_connections_share_few_buffers);
    RUN(a_paused_one_leaves_data_and_end_to_the_kernel);
    RUN(one_that_is_paused_before_its_first_turn_takes_nothing);
    RUN(only_a_many_operation_is_paused);
    RUN(one_that_is_cancelled_in_its_callback_ends_and_loses_nothing);
    RUN(a_held_buffer_keeps_its_bytes_until_it_is_released);
    RUN(when_all_buffers_are_held_it_waits_and_goes_on_with_a_release);
    RUN(one_that_waits_for_a_buffer_is_paused_and_cancelled_like_any);
    RUN(the_only_buffer_of_a_pool_goes_round);
    RUN(what_is_not_shown_just_now_is_not_held);
    RUN(the_callers_own_buffer_is_not_held);
    RUN(a_shown_buffer_outlives_the_end_of_its_operation);
    return 0;
}
