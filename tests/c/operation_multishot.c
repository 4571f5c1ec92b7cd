/* operation_multishot.c: gyre_op_recv_many and gyre_op_accept_many while results are on their way: the engine has taken
 * them from the kernel, and the caller has not been told.
 *
 * Each engine takes more or less ahead. What holds for all of them, whatever ends the operation and whenever:
 *
 * 1. The end is told once, and last (P1).
 * 2. What was told, and then what the kernel still has, is the whole stream: in order, each byte once.
 * 3. A paused operation tells nothing before it is resumed or ended.
 * 4. All buffers come back to the pool. */
#define _GNU_SOURCE
#include "operation.h"

#include <sched.h>

/* ---- streams ---- */

enum { HELD = 32 };

struct stream {
    struct outcome end;
    int ends[2];      /* the receive's, and its peer's */
    int witness;      /* the receive's end once more, to look at what the kernel still has */
    size_t put, told; /* bytes of the pattern */
    int pieces;
    int silent; /* it is paused: nothing may be told */
    int hold, held; /* so many buffers to be held, from the first on */
    gyre_buffer buffers[HELD];
    const unsigned char *bytes[HELD];
    size_t lengths[HELD], places[HELD]; /* where in the stream they are from */
    void (*act)(gyre_loop loop, struct stream *stream); /* in the callback of each piece */
    struct stream *other; /* what `act` acts on */
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
    const unsigned char *bytes = (const unsigned char *)done->buf;
    CHECK_EQ(done->op.bits, stream->end.op.bits);
    CHECK_EQ(stream->end.calls, 0);
    CHECK_EQ(stream->silent, 0);
    if (!(done->flags & GYRE_MORE)) {
        note(loop, done, &stream->end);
        return;
    }
    CHECK(done->result > 0);
    CHECK_EQ(done->len, done->result);
    check_pattern(bytes, done->len, stream->told);
    if (stream->held < stream->hold) {
        CHECK_OK(gyre_buffer_hold(done, &stream->buffers[stream->held]));
        stream->bytes[stream->held] = bytes;
        stream->lengths[stream->held] = done->len;
        stream->places[stream->held++] = stream->told;
    }
    stream->told += done->len;
    stream->pieces++;
    if (stream->act != NULL)
        stream->act(loop, stream);
    check_pattern(bytes, done->len, stream->told - done->len); /* valid during the callback, whatever was called */
}

static void open_stream(struct stream *stream)
{
    memset(stream, 0, sizeof *stream);
    make_socketpair(stream->ends);
    stream->witness = (int)CHECK_SYS(dup(stream->ends[0]));
}

static void close_stream(const struct stream *stream)
{
    close_pair(stream->ends);
    CHECK_SYS(close(stream->witness));
}

static void start(gyre_loop loop, struct stream *stream)
{
    CHECK_OK(gyre_op_recv_many(loop, stream->ends[0], tell, stream, &stream->end.op));
    CHECK_EQ(stream->pieces + stream->end.calls, 0); /* P1: never inside the submit */
}

/* Puts the next bytes of the pattern into a stream. */
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

static void put_end(struct stream *stream)
{
    CHECK_SYS(shutdown(stream->ends[1], SHUT_WR));
}

static void pause_stream(struct stream *stream)
{
    CHECK_OK(gyre_op_pause(stream->end.op));
    stream->silent = 1;
}

static void resume_stream(struct stream *stream)
{
    stream->silent = 0;
    CHECK_OK(gyre_op_resume(stream->end.op));
}

static void release_buffers(struct stream *stream)
{
    int i;
    for (i = 0; i < stream->held; i++) {
        check_pattern(stream->bytes[i], stream->lengths[i], stream->places[i]);
        CHECK_OK(gyre_buffer_release(stream->buffers[i]));
    }
    stream->hold = stream->held = 0;
}

/* What was told, and what the kernel still has, is the whole stream. */
static void check_nothing_is_lost(struct stream *stream)
{
    unsigned char bytes[4096];
    ssize_t got;
    while ((got = recv(stream->witness, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        check_pattern(bytes, (size_t)got, stream->told);
        stream->told += (size_t)got;
    }
    CHECK_EQ(stream->told, stream->put);
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

/* A stream that nobody disturbs fills, and holds, as many buffers as the loop was opened with. */
static void check_pool_is_whole(gyre_loop loop, uint32_t size, uint32_t count)
{
    struct stream stream;
    open_stream(&stream);
    start(loop, &stream);
    stream.hold = (int)count;
    while (stream.held < stream.hold) {
        put_bytes(&stream, size);
        RUN_UNTIL(loop, stream.told == stream.put);
    }
    release_buffers(&stream);
    CHECK_OK(gyre_op_cancel(stream.end.op));
    CHECK_STATUS((int)result_of(loop, &stream.end), -ECANCELED);
    close_stream(&stream);
}

/* ---- few buffers for many ---- */

enum { MANY = 64, FEW = 4, SIZE = 256 };

static struct stream streams[MANY];

static void open_streams(gyre_loop loop)
{
    int i;
    for (i = 0; i < MANY; i++) {
        open_stream(&streams[i]);
        start(loop, &streams[i]);
    }
}

static void close_streams(void)
{
    int i;
    for (i = 0; i < MANY; i++)
        close_stream(&streams[i]);
}

static size_t told_of_all(void)
{
    size_t total = 0;
    int i;
    for (i = 0; i < MANY; i++)
        total += streams[i].told;
    return total;
}

static void sixty_four_connections_share_four_buffers(void)
{
    gyre_loop loop = open_loop_with_buffers(SIZE, FEW);
    int round, i;
    open_streams(loop);
    for (round = 1; round <= 3; round++) {
        for (i = 0; i < MANY; i++)
            put_bytes(&streams[i], 1000);
        RUN_UNTIL(loop, told_of_all() == (size_t)round * MANY * 1000);
    }
    for (i = 0; i < MANY; i++) {
        put_bytes(&streams[i], 500);
        put_end(&streams[i]);
    }
    for (i = 0; i < MANY; i++) {
        CHECK_EQ(result_of(loop, &streams[i].end), 0);
        CHECK_EQ(streams[i].told, streams[i].put);
    }
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    check_pool_is_whole(loop, SIZE, FEW);
    close_loop(loop);
    close_streams();
}

/* In a timer's callback: nothing but the release brings the receives back to work. */
static void release_in_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    release_buffers((struct stream *)user_data);
}

static void connections_that_found_all_buffers_held_go_on_when_they_come_back(void)
{
    int in_a_callback;
    for (in_a_callback = 0; in_a_callback < 2; in_a_callback++) {
        gyre_loop loop = open_loop_with_buffers(SIZE, FEW);
        struct stream holder;
        int i;
        open_stream(&holder);
        start(loop, &holder);
        holder.hold = FEW;
        put_bytes(&holder, FEW * SIZE);
        RUN_UNTIL(loop, holder.held == FEW);
        open_streams(loop);
        for (i = 0; i < MANY; i++)
            put_bytes(&streams[i], 1000);
        let_pass(loop, GYRE_MS(1));
        CHECK_EQ(told_of_all(), 0);
        if (in_a_callback)
            CHECK_OK(gyre_timer_open(loop, GYRE_MS(1), 0, release_in_timer, &holder, NULL));
        else
            release_buffers(&holder);
        while (told_of_all() < MANY * 1000)
            CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_ONCE), 1); /* which waits, if it is not told that there is work */
        close_loop(loop);
        for (i = 0; i < MANY; i++)
            CHECK_EQ(streams[i].end.calls, 1); /* P7 */
        close_streams();
        close_stream(&holder);
    }
}

static void what_a_paused_stream_has_taken_starves_no_other(void)
{
    gyre_loop loop = open_loop_with_buffers(SIZE, FEW);
    struct stream flood, other;
    open_stream(&flood);
    open_stream(&other);
    put_bytes(&flood, 8 * FEW * SIZE);
    start(loop, &flood);
    pause_stream(&flood); /* the engine may have taken a part already */
    start(loop, &other);
    put_bytes(&other, 8 * FEW * SIZE);
    RUN_UNTIL(loop, other.told == other.put);
    resume_stream(&flood);
    RUN_UNTIL(loop, flood.told == flood.put);
    check_pool_is_whole(loop, SIZE, FEW);
    close_loop(loop);
    close_stream(&flood);
    close_stream(&other);
}

/* One that has more than all buffers hold, always, and others that have a little. */
static void a_flood_that_takes_every_buffer_starves_no_other(void)
{
    enum { QUIET = 8 };
    gyre_loop loop = open_loop_with_buffers(SIZE, FEW);
    struct stream flood;
    int i, told = 0;
    open_stream(&flood);
    put_bytes(&flood, 100 * FEW * SIZE);
    start(loop, &flood);
    one_turn(loop);
    for (i = 0; i < QUIET; i++) {
        open_stream(&streams[i]);
        start(loop, &streams[i]);
        put_bytes(&streams[i], 10);
    }
    while (told < QUIET) {
        one_turn(loop);
        for (told = 0; told < QUIET && streams[told].told == 10; told++) {
        }
    }
    CHECK(flood.told < flood.put / 2);
    RUN_UNTIL(loop, flood.told == flood.put);
    close_loop(loop);
    close_stream(&flood);
    for (i = 0; i < QUIET; i++)
        close_stream(&streams[i]);
}

/* ---- more buffers than the kernel takes in one group ---- */

enum { ALLOWED = 40000, USED = 32768 };

struct hoard {
    gyre_op op;
    size_t told;
    gyre_buffer buffers[ALLOWED];
    const unsigned char *bytes[ALLOWED];
    size_t held, first; /* how many, and where in the stream the first is from */
};

static void hoard(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct hoard *mine = (struct hoard *)user_data;
    (void)loop;
    if (!(done->flags & GYRE_MORE))
        return;
    CHECK_EQ(done->result, 1);
    CHECK(mine->held < ALLOWED);
    CHECK_OK(gyre_buffer_hold(done, &mine->buffers[mine->held]));
    mine->bytes[mine->held++] = (const unsigned char *)done->buf;
    mine->told++;
}

static void check_hoard_and_release(struct hoard *mine)
{
    size_t i;
    for (i = 0; i < mine->held; i++)
        CHECK(*mine->bytes[i] == pattern(mine->first + i));
    for (i = 0; i < mine->held; i++)
        CHECK_OK(gyre_buffer_release(mine->buffers[i]));
    mine->first += mine->held;
    mine->held = 0;
}

static void tens_of_thousands_of_held_buffers_keep_their_bytes(void)
{
    static struct hoard mine;
    size_t used = USED / (check_small() ? 100 : 1);
    gyre_loop loop = open_loop_with_buffers(1, ALLOWED);
    struct stream stream;
    int round;
    memset(&mine, 0, sizeof mine);
    open_stream(&stream);
    CHECK_OK(gyre_op_recv_many(loop, stream.ends[0], hoard, &mine, &mine.op));
    for (round = 0; round < 3; round++) {
        while (mine.held < used) {
            put_bytes(&stream, 64); /* a small message takes as much of the queue as a larger one */
            RUN_UNTIL(loop, mine.told == stream.put);
        }
        put_bytes(&stream, 64); /* whether an engine has buffers for more or not */
        let_pass(loop, GYRE_MS(1));
        check_hoard_and_release(&mine);
        RUN_UNTIL(loop, mine.told == stream.put);
    }
    check_hoard_and_release(&mine);
    close_loop(loop);
    close_stream(&stream);
}

/* ---- more results at once than there is room for ---- */

enum { MASS = 250, SHARE = 40 };

static struct stream mass[MASS];

/* In a callback, so that all of them reach the kernel together. */
static void start_mass(gyre_loop loop, void *user_data)
{
    int i;
    (void)user_data;
    for (i = 0; i < MASS; i++)
        start(loop, &mass[i]);
}

static size_t told_of_mass(void)
{
    size_t total = 0;
    int i;
    for (i = 0; i < MASS; i++)
        total += mass[i].told;
    return total;
}

static void ten_thousand_results_of_one_turn_are_all_told(void)
{
    static struct hoard mine;
    gyre_loop loop = open_loop_with_buffers(1, 16384);
    struct stream stream;
    int i;
    memset(&mine, 0, sizeof mine);
    open_stream(&stream);
    CHECK_OK(gyre_op_recv_many(loop, stream.ends[0], hoard, &mine, &mine.op));
    while (mine.held < MASS * SHARE) { /* so many buffers are there from now on */
        put_bytes(&stream, 64);
        RUN_UNTIL(loop, mine.told == stream.put);
    }
    check_hoard_and_release(&mine);
    for (i = 0; i < MASS; i++) {
        open_stream(&mass[i]);
        put_bytes(&mass[i], SHARE);
    }
    CHECK_OK(gyre_loop_post(loop, start_mass, NULL));
    RUN_UNTIL(loop, told_of_mass() == MASS * SHARE);
    for (i = 0; i < MASS; i++) {
        put_bytes(&mass[i], SHARE);
        put_end(&mass[i]);
    }
    for (i = 0; i < MASS; i++) {
        CHECK_EQ(result_of(loop, &mass[i].end), 0);
        CHECK_EQ(mass[i].told, 2 * SHARE);
        close_stream(&mass[i]);
    }
    close_loop(loop);
    close_stream(&stream);
}

/* ---- paused with results on their way ---- */

enum { BUFFERS = 8, PIECE = 4 };

/* When a stream is paused. */
enum moment {
    AT_ONCE,        /* after the submit, which may have taken what was there */
    BEFORE_A_TURN,  /* when the kernel has had the time to take what came */
    IN_CALLBACK,    /* of the first piece */
    AGAIN,          /* in the callback of the first, resumed, and in the callback of the next */
    MOMENTS
};

static void pause_first(gyre_loop loop, struct stream *stream)
{
    (void)loop;
    if (stream->pieces == 1)
        pause_stream(stream);
}

static void pause_each(gyre_loop loop, struct stream *stream)
{
    (void)loop;
    pause_stream(stream);
}

/* Starts a stream, puts some pieces into it, and pauses it. */
static void start_and_pause(gyre_loop loop, struct stream *stream, enum moment moment)
{
    open_stream(stream);
    if (moment == BEFORE_A_TURN) {
        start(loop, stream);
        one_turn(loop);
        put_bytes(stream, 5 * PIECE);
        pause_stream(stream);
    } else if (moment == AT_ONCE) {
        put_bytes(stream, 5 * PIECE);
        start(loop, stream);
        pause_stream(stream);
    } else {
        put_bytes(stream, 5 * PIECE);
        stream->act = moment == AGAIN ? pause_each : pause_first;
        start(loop, stream);
        RUN_UNTIL(loop, stream->silent);
        if (moment == AGAIN) {
            one_turn(loop);
            resume_stream(stream);
            RUN_UNTIL(loop, stream->silent);
        }
        CHECK_EQ(stream->pieces, moment == AGAIN ? 2 : 1);
        stream->act = NULL;
    }
}

static void a_paused_stream_tells_nothing_and_then_all_in_order_and_the_end_last(void)
{
    int moment, with_end;
    for (moment = 0; moment < MOMENTS; moment++) {
        for (with_end = 0; with_end < 2; with_end++) {
            gyre_loop loop = open_loop_with_buffers(PIECE, BUFFERS);
            struct stream stream;
            start_and_pause(loop, &stream, (enum moment)moment);
            if (with_end)
                put_end(&stream);
            let_pass(loop, GYRE_MS(1)); /* fails if anything is told */
            CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0); /* nor does it keep the loop alive */
            if (!with_end)
                put_bytes(&stream, 5 * PIECE);
            let_pass(loop, GYRE_MS(1));
            resume_stream(&stream);
            if (with_end)
                CHECK_EQ(result_of(loop, &stream.end), 0);
            RUN_UNTIL(loop, stream.told == stream.put);
            CHECK_EQ(stream.end.calls, with_end);
            check_pool_is_whole(loop, PIECE, BUFFERS);
            close_loop(loop);
            close_stream(&stream);
        }
    }
}

/* How a paused stream ends. */
enum way { CANCEL, DEADLINE, CLOSE_DESCRIPTOR, CLOSE_LOOP, WAYS };

static void end_stream(gyre_loop loop, struct stream *stream, enum way way)
{
    int want = way == DEADLINE ? -ETIMEDOUT : -ECANCELED;
    struct outcome closed = none_yet();
    stream->silent = 0;
    if (way == CANCEL)
        CHECK_OK(gyre_op_cancel(stream->end.op));
    else if (way == DEADLINE)
        CHECK_OK(gyre_op_timeout(stream->end.op, 1));
    else if (way == CLOSE_DESCRIPTOR)
        start_close(loop, stream->ends[0], &closed);
    if (way == CLOSE_LOOP) {
        close_loop(loop);
        CHECK_EQ(stream->end.calls, 1);
        CHECK_STATUS((int)stream->end.result, want);
        return;
    }
    CHECK_STATUS((int)result_of(loop, &stream->end), want);
    if (way == CLOSE_DESCRIPTOR) {
        CHECK_EQ(result_of(loop, &closed), 0);
        CHECK(stream->end.order < closed.order); /* P6 */
        stream->ends[0] = (int)CHECK_SYS(dup(stream->witness)); /* for close_stream */
    }
}

static void a_paused_stream_ends_once_after_all_that_was_taken(void)
{
    int moment, way, patient;
    for (moment = 0; moment < MOMENTS; moment++) {
        for (way = 0; way < WAYS; way++) {
            for (patient = 0; patient < 2; patient++) {
                gyre_loop loop = open_loop_with_buffers(PIECE, BUFFERS);
                struct stream stream;
                start_and_pause(loop, &stream, (enum moment)moment);
                if (patient)
                    let_pass(loop, GYRE_MS(1));
                end_stream(loop, &stream, (enum way)way);
                check_nothing_is_lost(&stream);
                if (way != CLOSE_LOOP) {
                    check_pool_is_whole(loop, PIECE, BUFFERS);
                    close_loop(loop);
                }
                close_stream(&stream);
            }
        }
    }
}

/* A default run, which ends when nothing is alive, is to tell it too: what was cancelled is not paused any more. */
static void a_run_tells_the_end_of_a_paused_stream_that_is_cancelled(void)
{
    int moment;
    for (moment = 0; moment < MOMENTS; moment++) {
        gyre_loop loop = open_loop_with_buffers(PIECE, BUFFERS);
        struct stream stream;
        start_and_pause(loop, &stream, (enum moment)moment);
        CHECK_OK(gyre_op_cancel(stream.end.op));
        stream.silent = 0;
        CHECK_EQ(gyre_loop_is_alive(loop), 1);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        CHECK_EQ(stream.end.calls, 1);
        check_nothing_is_lost(&stream);
        close_loop(loop);
        close_stream(&stream);
    }
}

static void flicker(gyre_loop loop, struct stream *stream)
{
    int i;
    (void)loop;
    for (i = 0; i < 5; i++) {
        pause_stream(stream);
        resume_stream(stream);
    }
}

static void a_stream_paused_and_resumed_many_times_in_each_callback_comes_whole(void)
{
    gyre_loop loop = open_loop_with_buffers(PIECE, BUFFERS);
    struct stream stream;
    open_stream(&stream);
    stream.act = flicker;
    start(loop, &stream);
    put_bytes(&stream, 20 * PIECE);
    flicker(loop, &stream); /* outside of a run too */
    RUN_UNTIL(loop, stream.told == stream.put);
    put_bytes(&stream, 20 * PIECE);
    put_end(&stream);
    CHECK_EQ(result_of(loop, &stream.end), 0);
    CHECK_EQ(stream.told, stream.put);
    close_loop(loop);
    close_stream(&stream);
}

/* Resumes the other stream, which pauses itself again at its next piece. */
static void resume_other_once(gyre_loop loop, struct stream *stream)
{
    (void)loop;
    if (stream->pieces == 1)
        resume_stream(stream->other);
}

static void a_stream_resumed_and_paused_again_within_a_turn_keeps_its_order(void)
{
    int turns, with_end;
    for (turns = 0; turns < 8; turns++) { /* what is told in the turn of the resume differs */
        for (with_end = 0; with_end < 2; with_end++) {
            gyre_loop loop = open_loop_with_buffers(PIECE, 4 * BUFFERS);
            struct stream stream, other;
            open_stream(&stream);
            open_stream(&other);
            put_bytes(&stream, 5 * PIECE);
            if (with_end)
                put_end(&stream);
            start(loop, &stream);
            pause_stream(&stream);
            let_pass(loop, GYRE_MS(1));
            stream.act = pause_each;
            other.act = resume_other_once;
            other.other = &stream;
            start(loop, &other);
            put_bytes(&other, (size_t)(turns + 1) * PIECE);
            RUN_UNTIL(loop, other.told == other.put && stream.silent);
            while (stream.told < stream.put) {
                resume_stream(&stream);
                RUN_UNTIL(loop, stream.silent);
                let_pass(loop, 1);
            }
            if (with_end) {
                CHECK_EQ(stream.end.calls, 0);
                resume_stream(&stream);
                CHECK_EQ(result_of(loop, &stream.end), 0);
            }
            check_pool_is_whole(loop, PIECE, 4 * BUFFERS);
            stream.silent = 0;
            close_loop(loop);
            close_stream(&stream);
            close_stream(&other);
        }
    }
}

/* ---- a storm ---- */

static uint32_t chance_state;

static uint32_t chance(uint32_t of)
{
    chance_state = chance_state * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
    return (chance_state >> 16) % of;
}

/* Pauses, resumes, holds or releases whatever it comes upon. */
static void meddle(struct stream *stream)
{
    if (stream->end.calls != 0 || stream->end.op.bits == 0)
        return;
    switch (chance(4)) {
    case 0:
        pause_stream(stream);
        break;
    case 1:
        resume_stream(stream);
        break;
    case 2:
        stream->hold = stream->held < 2 ? stream->held + 1 : stream->held;
        break;
    default:
        release_buffers(stream);
    }
}

static void meddle_with_any(gyre_loop loop, struct stream *stream)
{
    (void)loop;
    if (chance(2))
        meddle(stream);
    meddle(&streams[chance(FEW)]);
}

static void streams_that_pause_and_resume_each_other_at_random_come_whole(void)
{
    uint32_t seed, seeds = (uint32_t)CHECK_SCALED(50);
    for (seed = 0; seed < seeds; seed++) {
        gyre_loop loop = open_loop_with_buffers(PIECE, 3 * FEW);
        int rounds, i;
        chance_state = seed;
        for (i = 0; i < FEW; i++) {
            open_stream(&streams[i]);
            streams[i].act = meddle_with_any;
            start(loop, &streams[i]);
        }
        for (rounds = 0; rounds < 40; rounds++) {
            put_bytes(&streams[chance(FEW)], 1 + chance(6 * PIECE));
            meddle(&streams[chance(FEW)]);
            if (chance(2))
                one_turn(loop);
        }
        for (i = 0; i < FEW; i++) {
            put_end(&streams[i]);
            meddle(&streams[chance(FEW)]);
        }
        for (i = 0; i < FEW; i++)
            streams[i].act = NULL;
        for (i = 0; i < FEW; i++) {
            release_buffers(&streams[i]);
            if (streams[i].end.calls == 0)
                resume_stream(&streams[i]);
        }
        for (i = 0; i < FEW; i++) {
            CHECK_EQ(result_of(loop, &streams[i].end), 0);
            CHECK_EQ(streams[i].told, streams[i].put);
        }
        check_pool_is_whole(loop, PIECE, 3 * FEW);
        close_loop(loop);
        for (i = 0; i < FEW; i++)
            close_stream(&streams[i]);
    }
}

/* ---- cancelled with results on their way ---- */

static void cancel_second(gyre_loop loop, struct stream *stream)
{
    (void)loop;
    if (stream->pieces == 2)
        CHECK_OK(gyre_op_cancel(stream->end.op));
}

static void a_cancel_in_the_callback_of_its_own_data_loses_nothing(void)
{
    gyre_loop loop = open_loop_with_buffers(PIECE, BUFFERS);
    struct stream stream;
    open_stream(&stream);
    stream.act = cancel_second;
    start(loop, &stream);
    put_bytes(&stream, 20 * PIECE);
    CHECK_STATUS((int)result_of(loop, &stream.end), -ECANCELED);
    CHECK(stream.pieces >= 2); /* an engine may have taken more before: all of it is told */
    CHECK(stream.told < stream.put);
    check_nothing_is_lost(&stream);
    check_pool_is_whole(loop, PIECE, BUFFERS);
    close_loop(loop);
    close_stream(&stream);
}

static enum way way_of_other; /* what end_other does */

static void end_other(gyre_loop loop, struct stream *stream)
{
    gyre_op op = stream->other->end.op;
    if (stream->pieces > 1)
        return;
    if (way_of_other == CANCEL)
        CHECK_OK(gyre_op_cancel(op));
    else if (way_of_other == DEADLINE)
        CHECK_OK(gyre_op_timeout(op, 1));
    else
        CHECK_OK(gyre_op_close_fd(loop, stream->other->ends[0], note, &stream->other[1].end, &stream->other[1].end.op));
}

static void a_stream_ended_in_anothers_callback_with_results_untold_loses_nothing(void)
{
    int way;
    for (way = 0; way < CLOSE_LOOP; way++) {
        gyre_loop loop = open_loop_with_buffers(PIECE, 2 * BUFFERS);
        struct stream first, stream[2]; /* the second for the outcome of the close */
        open_stream(&first);
        open_stream(&stream[0]);
        memset(&stream[1], 0, sizeof stream[1]);
        way_of_other = (enum way)way;
        first.act = end_other;
        first.other = stream;
        start(loop, &first);
        start(loop, &stream[0]);
        one_turn(loop);
        put_bytes(&first, PIECE);
        put_bytes(&stream[0], 5 * PIECE);
        CHECK_STATUS((int)result_of(loop, &stream[0].end), way == DEADLINE ? -ETIMEDOUT : -ECANCELED);
        if (way == CLOSE_DESCRIPTOR) {
            CHECK_EQ(result_of(loop, &stream[1].end), 0);
            CHECK(stream[0].end.order < stream[1].end.order); /* P6 */
            stream[0].ends[0] = (int)CHECK_SYS(dup(stream[0].witness));
        }
        check_nothing_is_lost(&stream[0]);
        check_pool_is_whole(loop, PIECE, 2 * BUFFERS);
        close_loop(loop);
        close_stream(&first);
        close_stream(&stream[0]);
    }
}

static void a_stream_that_waits_for_a_buffer_is_ended_like_any(void)
{
    int way;
    for (way = 0; way < WAYS; way++) {
        gyre_loop loop = open_loop_with_buffers(PIECE, FEW);
        struct stream holder, stream;
        open_stream(&holder);
        open_stream(&stream);
        start(loop, &holder);
        start(loop, &stream);
        holder.hold = FEW;
        put_bytes(&holder, FEW * PIECE);
        RUN_UNTIL(loop, holder.held == FEW);
        put_bytes(&stream, 5 * PIECE);
        let_pass(loop, GYRE_MS(1));
        CHECK_EQ(stream.pieces, 0);
        end_stream(loop, &stream, (enum way)way);
        CHECK_EQ(stream.pieces, 0);
        check_nothing_is_lost(&stream);
        if (way == CLOSE_LOOP) {
            CHECK_STATUS(gyre_buffer_release(holder.buffers[0]), GYRE_EHANDLE); /* its memory is gone */
        } else {
            release_buffers(&holder);
            check_pool_is_whole(loop, PIECE, FEW);
            close_loop(loop);
        }
        close_stream(&holder);
        close_stream(&stream);
    }
}

/* What was submitted is about the file that the number stood for then, also when nothing has run since. */
static void a_number_that_is_reused_before_the_first_turn_brings_no_foreign_data(void)
{
    gyre_loop loop = open_loop_with_buffers(SIZE, FEW);
    struct stream stream, other;
    char byte;
    open_stream(&stream);
    open_stream(&other);
    start(loop, &stream);
    replace_descriptor(stream.ends[0], other.ends[0]);
    put_byte(other.ends[1]);
    let_pass(loop, GYRE_MS(1));
    if (stream.end.calls == 0) /* an engine may have seen it */
        CHECK_OK(gyre_op_cancel(stream.end.op));
    CHECK(result_of(loop, &stream.end) <= 0);
    CHECK_EQ(stream.pieces, 0);
    CHECK_EQ(recv(other.witness, &byte, 1, MSG_DONTWAIT), 1);
    close_loop(loop);
    close_stream(&stream);
    close_stream(&other);
}

/* ---- the loop's close ---- */

static void check_is_closing(gyre_loop loop, struct stream *stream)
{
    CHECK_STATUS(gyre_op_cancel(stream->end.op), GYRE_ECLOSING);
    CHECK_STATUS(gyre_op_pause(stream->end.op), GYRE_ECLOSING);
    CHECK_STATUS(gyre_op_resume(stream->end.op), GYRE_ECLOSING);
    CHECK_STATUS(gyre_op_recv_many(loop, stream->ends[0], tell, stream, NULL), GYRE_ECLOSING);
}

static void closing_the_loop_tells_what_was_taken_and_then_the_end(void)
{
    int has_turned;
    for (has_turned = 0; has_turned < 2; has_turned++) {
        gyre_loop loop = open_loop_with_buffers(SIZE, FEW);
        int i;
        if (has_turned)
            open_streams(loop);
        else
            for (i = 0; i < MANY; i++)
                open_stream(&streams[i]);
        if (has_turned)
            one_turn(loop);
        for (i = 0; i < MANY; i++) {
            put_bytes(&streams[i], 1000);
            if (!has_turned)
                start(loop, &streams[i]); /* with data in place */
            streams[i].act = check_is_closing;
        }
        close_loop(loop);
        for (i = 0; i < MANY; i++) {
            CHECK_EQ(streams[i].end.calls, 1);
            CHECK_STATUS((int)streams[i].end.result, -ECANCELED);
            CHECK_STATUS(gyre_op_cancel(streams[i].end.op), GYRE_EHANDLE);
            check_nothing_is_lost(&streams[i]);
        }
        close_streams();
    }
}

/* ---- accept_many ---- */

enum { CLIENTS = 12 };

struct hall {
    struct outcome end;
    int listener, witness;
    struct sockaddr_in address;
    int clients[CLIENTS], guests[CLIENTS];
    int accepted, silent, pause_at, cancel_at;
};

static void welcome(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    struct hall *hall = (struct hall *)user_data;
    CHECK_EQ(done->op.bits, hall->end.op.bits);
    CHECK_EQ(hall->end.calls, 0);
    CHECK_EQ(hall->silent, 0);
    if (!(done->flags & GYRE_MORE)) {
        note(loop, done, &hall->end);
        return;
    }
    CHECK(hall->accepted < CLIENTS);
    hall->guests[hall->accepted++] = (int)done->result;
    if (hall->accepted == hall->pause_at) {
        CHECK_OK(gyre_op_pause(done->op));
        hall->silent = 1;
    }
    if (hall->accepted == hall->cancel_at)
        CHECK_OK(gyre_op_cancel(done->op));
}

static void open_hall(gyre_loop loop, struct hall *hall)
{
    memset(hall, 0, sizeof *hall);
    hall->listener = make_listener(CLIENTS, &hall->address);
    hall->witness = (int)CHECK_SYS(dup(hall->listener));
    make_nonblocking(hall->listener); /* as servers have it */
    CHECK_OK(gyre_op_accept_many(loop, hall->listener, welcome, hall, &hall->end.op));
}

static void knock(struct hall *hall, int from, int to)
{
    int i;
    for (i = from; i < to; i++)
        hall->clients[i] = make_client(&hall->address);
}

/* Takes what is still in the listener's queue, then sees that each client has one connection, and closes all. */
static void close_hall(struct hall *hall)
{
    int i, fd;
    while ((fd = accept(hall->witness, NULL, NULL)) >= 0) {
        CHECK(hall->accepted < CLIENTS);
        hall->guests[hall->accepted++] = fd;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(hall->accepted, CLIENTS);
    for (i = 0; i < CLIENTS; i++) {
        put_byte(hall->clients[i]);
        take_byte(hall->guests[i]);
        CHECK_SYS(close(hall->clients[i]));
        CHECK_SYS(close(hall->guests[i]));
    }
    CHECK_SYS(close(hall->listener));
    CHECK_SYS(close(hall->witness));
}

static void a_paused_accept_many_loses_no_connection(void)
{
    gyre_loop loop = open_loop();
    struct hall hall;
    open_hall(loop, &hall);
    one_turn(loop);
    knock(&hall, 0, CLIENTS / 2);
    hall.pause_at = 2;
    RUN_UNTIL(loop, hall.silent);
    knock(&hall, CLIENTS / 2, CLIENTS);
    let_pass(loop, GYRE_MS(2));
    CHECK_EQ(hall.accepted, 2);
    hall.silent = 0;
    hall.pause_at = 4; /* half way through what may have been taken already */
    CHECK_OK(gyre_op_resume(hall.end.op));
    RUN_UNTIL(loop, hall.silent);
    let_pass(loop, GYRE_MS(2));
    CHECK_EQ(hall.accepted, 4);
    hall.silent = 0;
    CHECK_OK(gyre_op_resume(hall.end.op));
    RUN_UNTIL(loop, hall.accepted == CLIENTS);
    CHECK_OK(gyre_op_cancel(hall.end.op));
    CHECK_STATUS((int)result_of(loop, &hall.end), -ECANCELED);
    close_loop(loop);
    close_hall(&hall);
}

static void an_accept_many_that_ends_tells_each_connection_that_was_taken(void)
{
    int way, paused;
    for (way = 0; way < WAYS; way++) {
        for (paused = 0; paused < 2; paused++) {
            gyre_loop loop = open_loop();
            struct outcome closed = none_yet();
            struct hall hall;
            open_hall(loop, &hall);
            one_turn(loop);
            hall.pause_at = paused ? 1 : 0;
            knock(&hall, 0, CLIENTS);
            if (paused)
                RUN_UNTIL(loop, hall.silent);
            hall.silent = hall.pause_at = 0;
            if (way == CANCEL)
                CHECK_OK(gyre_op_cancel(hall.end.op));
            else if (way == DEADLINE)
                CHECK_OK(gyre_op_timeout(hall.end.op, 1));
            else if (way == CLOSE_DESCRIPTOR)
                start_close(loop, hall.listener, &closed);
            else
                close_loop(loop);
            if (way == CLOSE_LOOP)
                CHECK_EQ(hall.end.calls, 1);
            else
                RUN_UNTIL(loop, hall.end.calls == 1);
            CHECK_STATUS((int)hall.end.result, way == DEADLINE ? -ETIMEDOUT : -ECANCELED);
            if (way == CLOSE_DESCRIPTOR) {
                CHECK_EQ(result_of(loop, &closed), 0);
                hall.listener = (int)CHECK_SYS(dup(hall.witness));
            }
            if (way != CLOSE_LOOP)
                close_loop(loop);
            close_hall(&hall); /* and the census of the test sees what has leaked */
        }
    }
}

static void an_accept_many_cancelled_in_its_callback_loses_no_connection(void)
{
    gyre_loop loop = open_loop();
    struct hall hall;
    open_hall(loop, &hall);
    hall.cancel_at = 2;
    knock(&hall, 0, CLIENTS);
    CHECK_STATUS((int)result_of(loop, &hall.end), -ECANCELED);
    close_loop(loop);
    close_hall(&hall);
}

/* ---- sends in part ---- */

enum { BULK = 64 * 1024 * 1024, PART = 64 * 1024 };

static unsigned char bulk[BULK];

struct reader {
    int fd;
    size_t got;
    size_t limit; /* where it waits to be told to go on */
};

/* Reads small parts and steps aside after each, so that the sender waits most of the time. */
static void *read_slowly(void *argument)
{
    struct reader *reader = (struct reader *)argument;
    unsigned char *part = (unsigned char *)malloc(PART);
    ssize_t got;
    CHECK(part != NULL);
    while ((got = CHECK_SYS(read(reader->fd, part, PART))) > 0) {
        CHECK_EQ(memcmp(part, bulk + LOAD(reader->got), (size_t)got), 0);
        ADD(reader->got, (size_t)got);
        WAIT_UNTIL(reader->got < LOAD(reader->limit));
        sched_yield();
    }
    free(part);
    return NULL;
}

static void a_send_all_that_is_ended_half_way_tells_what_the_peer_got(void)
{
    size_t len = BULK / (check_small() ? 2 : 1), i; /* more than TCP keeps for a peer that does not read */
    int tcp, by_deadline;
    for (i = 0; i < len; i++)
        bulk[i] = pattern(i);
    for (tcp = 0; tcp < 2; tcp++) {
        for (by_deadline = 0; by_deadline < 2; by_deadline++) {
            gyre_loop loop = open_loop();
            struct outcome outcome;
            struct reader reader;
            pthread_t thread;
            int ends[2];
            if (tcp)
                make_tcp_pair(ends);
            else
                make_socketpair(ends);
            reader.fd = ends[1];
            reader.got = 0;
            reader.limit = len / 8;
            start_send(loop, ends[0], bulk, len, GYRE_SEND_ALL, &outcome);
            thread = check_thread(read_slowly, &reader);
            RUN_UNTIL(loop, LOAD(reader.got) >= len / 8);
            if (by_deadline)
                CHECK_OK(gyre_op_timeout(outcome.op, 1));
            else
                CHECK_OK(gyre_op_cancel(outcome.op));
            CHECK(result_of(loop, &outcome) >= (int64_t)(len / 8));
            STORE(reader.limit, len + 1);
            CHECK_SYS(close(ends[0]));
            check_join(thread);
            CHECK_EQ(reader.got, outcome.result);
            close_loop(loop);
            CHECK_SYS(close(ends[1]));
        }
    }
}

/* ---- many at once ---- */

enum { CROWD = 2000 };

static void two_thousand_receives_wait_and_complete_one_by_one(void)
{
    static struct outcome outcomes[CROWD];
    static struct sockaddr_in addresses[CROWD];
    static int fds[CROWD], bytes[CROWD];
    gyre_loop loop = open_loop();
    struct rlimit limit;
    int sender = (int)CHECK_SYS(socket(AF_INET, SOCK_DGRAM, 0)), count = CROWD, i, which;
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &limit));
    if (!runs_on(loop, "epoll") || limit.rlim_cur < CROWD + 100 || check_small())
        count = 400; /* the others walk all of them in each turn */
    for (i = 0; i < count; i++) {
        struct sockaddr_in any;
        memset(&any, 0, sizeof any);
        any.sin_family = AF_INET;
        any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fds[i] = (int)CHECK_SYS(socket(AF_INET, SOCK_DGRAM, 0));
        CHECK_SYS(bind(fds[i], (struct sockaddr *)&any, sizeof any));
        addresses[i] = address_of(fds[i]);
        start_recv(loop, fds[i], &bytes[i], sizeof bytes[i], &outcomes[i]);
    }
    completions = 0;
    for (i = 0; i < count; i++) {
        which = (int)((long)i * 1237 % count); /* a prime: each once, in no order */
        CHECK_EQ(sendto(sender, &which, sizeof which, 0, (struct sockaddr *)&addresses[which], sizeof addresses[which]),
                 sizeof which);
        RUN_UNTIL(loop, outcomes[which].calls > 0);
        CHECK_EQ(outcomes[which].result, sizeof which);
        CHECK_EQ(bytes[which], which);
        CHECK_EQ(completions, i + 1); /* and no other */
    }
    CHECK_EQ(stats_of(loop).op_in_flight, 0);
    close_loop(loop);
    for (i = 0; i < count; i++)
        CHECK_SYS(close(fds[i]));
    CHECK_SYS(close(sender));
}

int main(void)
{
    check_begin();
    RUN(sixty_four_connections_share_four_buffers);
    RUN(connections_that_found_all_buffers_held_go_on_when_they_come_back);
    RUN(what_a_paused_stream_has_taken_starves_no_other);
    RUN(a_flood_that_takes_every_buffer_starves_no_other);
    RUN(tens_of_thousands_of_held_buffers_keep_their_bytes);
    RUN(ten_thousand_results_of_one_turn_are_all_told);
    RUN(a_paused_stream_tells_nothing_and_then_all_in_order_and_the_end_last);
    RUN(a_paused_stream_ends_once_after_all_that_was_taken);
    RUN(a_run_tells_the_end_of_a_paused_stream_that_is_cancelled);
    RUN(a_stream_paused_and_resumed_many_times_in_each_callback_comes_whole);
    RUN(a_stream_resumed_and_paused_again_within_a_turn_keeps_its_order);
    RUN(streams_that_pause_and_resume_each_other_at_random_come_whole);
    RUN(a_cancel_in_the_callback_of_its_own_data_loses_nothing);
    RUN(a_stream_ended_in_anothers_callback_with_results_untold_loses_nothing);
    RUN(a_stream_that_waits_for_a_buffer_is_ended_like_any);
    RUN(a_number_that_is_reused_before_the_first_turn_brings_no_foreign_data);
    RUN(closing_the_loop_tells_what_was_taken_and_then_the_end);
    RUN(a_paused_accept_many_loses_no_connection);
    RUN(an_accept_many_that_ends_tells_each_connection_that_was_taken);
    RUN(an_accept_many_cancelled_in_its_callback_loses_no_connection);
    RUN(a_send_all_that_is_ended_half_way_tells_what_the_peer_got);
    RUN(two_thousand_receives_wait_and_complete_one_by_one);
    return 0;
}
