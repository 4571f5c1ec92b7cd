/* stream_sequences.c: random sequences of calls on the two ends of a connection, from outside and from callbacks, held
 * against a model. Both ends are streams of one loop. A failure names its seed: GYRE_TEST_SEED=n runs that one. */
#define _GNU_SOURCE
#include "streams.h"

enum { STEPS = 60, MOST = 3000 };

/* What an end should be like, and what it has told. */
struct end {
    gyre_loop loop;
    gyre_stream stream;
    struct end *other;
    int number;
    size_t limit, max_input;
    uint64_t written, read; /* bytes that were taken, and that came from the other */
    int opened, at_eof, closed, status;
    int is_shut, is_closing, is_aborted, is_paused, is_full, has_failed;
    int lent, released;
};

static uint64_t seed, state;
static int is_ending; /* the last phase: everything is consumed, and nothing else is begun */
static int is_over;   /* the loop is being closed */

static unsigned random_below(unsigned bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 16) % bound);
}

static void expect(int holds, const char *what, int number)
{
    if (!holds) {
        fprintf(stderr, "%s: seed %llu, end %d: %s\n", check_running, (unsigned long long)seed, number, what);
        _exit(1);
    }
}

/* ---- what is done ---- */

static int is_gone(const struct end *end)
{
    return end->closed || end->is_closing || end->is_aborted;
}

/* The connection may break as soon as one side has ended otherwise than by a shutdown. */
static int may_break(const struct end *end)
{
    return is_gone(end->other) || end->has_failed || end->other->has_failed;
}

/* A stream that has come to its end by itself, or by a failure, is dead though on_close is still to come. */
static int may_be_dead(const struct end *end)
{
    return may_break(end) || (end->is_shut && end->at_eof);
}

static void check_answer(const struct end *end, int status, int want, const char *what)
{
    expect(status == want || (status == GYRE_EHANDLE && may_be_dead(end)), what, end->number);
}

static void release(const void *data, size_t length, void *argument)
{
    struct end *end = (struct end *)argument;
    (void)length;
    expect(!end->closed, "a release after on_close", end->number);
    end->released++;
    free((void *)(uintptr_t)data);
}

static void do_write(struct end *end)
{
    size_t length = random_below(4) == 0 ? random_below(MOST) : random_below(100);
    unsigned char *bytes = (unsigned char *)malloc(length + 1);
    int64_t pending = gyre_stream_pending(end->stream);
    int kind = (int)random_below(3), status, want = 0;
    CHECK(bytes != NULL);
    fill_pattern(bytes, length, end->written + (uint64_t)end->number * 1000003u);
    if (kind == 0) {
        status = gyre_stream_write(end->stream, bytes, length);
    } else if (kind == 1) {
        struct iovec pieces[3];
        size_t first = random_below((unsigned)length + 1);
        pieces[0].iov_base = bytes;
        pieces[0].iov_len = first;
        pieces[1].iov_base = NULL;
        pieces[1].iov_len = 0;
        pieces[2].iov_base = bytes + first;
        pieces[2].iov_len = length - first;
        status = gyre_stream_writev(end->stream, pieces, 3);
    } else {
        status = gyre_stream_write_owned(end->stream, bytes, length, release, end);
    }
    if (kind != 2 || status < 0)
        free(bytes);
    else
        end->lent++;
    if (is_gone(end))
        want = GYRE_EHANDLE;
    else if (end->is_shut)
        want = -EPIPE;
    else if (length > end->limit)
        want = -EMSGSIZE;
    else if ((uint64_t)pending + length > end->limit)
        want = GYRE_EFULL;
    if (status == 0 && want == 0)
        end->written += length;
    else if (status == GYRE_EFULL)
        end->is_full = 1;
    if (status != want) {
        expect((may_break(end) && (status == -EPIPE || status == -ECONNRESET)) ||
                   (may_be_dead(end) && status == GYRE_EHANDLE),
               "a write", end->number);
        end->has_failed |= status != GYRE_EHANDLE;
    }
    if (!is_gone(end) && !end->has_failed)
        expect(gyre_stream_pending(end->stream) <= (int64_t)end->limit, "more is pending than the limit", end->number);
}

static void do_something(struct end *end)
{
    int status;
    switch (random_below(is_ending ? 1 : 40)) {
    case 0:
    case 1:
        check_answer(end, gyre_stream_resume(end->stream), is_gone(end) ? GYRE_EHANDLE : 0, "a resume");
        end->is_paused = 0;
        break;
    case 2:
        check_answer(end, gyre_stream_pause(end->stream), is_gone(end) ? GYRE_EHANDLE : 0, "a pause");
        end->is_paused = 1;
        break;
    case 3:
        status = gyre_stream_shutdown(end->stream);
        check_answer(end, status, is_gone(end) ? GYRE_EHANDLE : end->is_shut ? -EALREADY : 0, "a shutdown");
        end->is_shut = 1;
        break;
    case 4:
        if (random_below(3) > 0)
            break;
        status = gyre_stream_close(end->stream);
        check_answer(end, status, is_gone(end) ? GYRE_EHANDLE : 0, "a close");
        end->is_closing |= status == 0;
        break;
    case 5:
        if (random_below(6) > 0)
            break;
        status = gyre_stream_abort(end->stream);
        check_answer(end, status, end->closed || end->is_aborted ? GYRE_EHANDLE : 0, "an abort");
        end->is_aborted |= status == 0;
        break;
    default:
        do_write(end);
    }
}

/* Either end may be what a callback meddles with; seldom enough that a turn ends. */
static void meddle(struct end *end)
{
    while (!is_over && random_below(3) == 0)
        do_something(random_below(2) ? end : end->other);
}

/* ---- what is told ---- */

static struct end *enter(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct end *end = (struct end *)user_data;
    expect(loop.bits == end->loop.bits && stream.bits == end->stream.bits, "handles of another", end->number);
    expect(!end->closed, "a callback after on_close", end->number);
    return end;
}

static void on_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct end *end = enter(loop, stream, user_data);
    expect(!end->opened && !is_gone(end), "on_open", end->number);
    end->opened = 1;
    meddle(end);
}

static size_t on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    struct end *end = enter(loop, stream, user_data);
    size_t i, consumed = length;
    expect(end->opened && !end->at_eof && !is_gone(end) && !end->is_paused, "on_data", end->number);
    expect(length > 0 && length <= end->max_input, "the length of data", end->number);
    expect(end->read + length <= end->other->written, "more than was written", end->number);
    for (i = 0; i < length; i++)
        expect(data[i] == pattern(end->read + i + (uint64_t)end->other->number * 1000003u), "the data", end->number);
    meddle(end);
    if (!is_ending && length < end->max_input)
        consumed = random_below((unsigned)length + 1); /* which may be nothing */
    else if (!is_ending)
        consumed = 1 + random_below((unsigned)length);
    end->read += consumed;
    return consumed;
}

static void on_drain(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct end *end = enter(loop, stream, user_data);
    expect(end->opened && end->is_full && !is_gone(end), "on_drain", end->number);
    expect(gyre_stream_pending(stream) <= (int64_t)(end->limit / 2), "on_drain above half", end->number);
    end->is_full = 0;
    meddle(end);
}

static void on_eof(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct end *end = enter(loop, stream, user_data);
    expect(end->opened && !end->at_eof && !is_gone(end) && !end->is_paused, "on_eof", end->number);
    expect(end->other->is_shut || is_gone(end->other) || end->other->has_failed, "an end that is none", end->number);
    end->at_eof = 1;
    meddle(end);
}

static void on_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct end *end = enter(loop, stream, user_data);
    expect(end->released == end->lent, "on_close before a release", end->number);
    end->closed = 1;
    end->status = status;
    switch (status) {
    case 0:
        expect(end->is_closing || (end->is_shut && end->at_eof), "an end in order", end->number);
        break;
    case -ECONNABORTED:
        expect(end->is_aborted, "an abort of nobody's", end->number);
        break;
    case -ECONNRESET:
    case -EPIPE:
        expect(may_break(end), "a reset of nobody's", end->number);
        break;
    case -ECANCELED:
        break;
    default:
        fprintf(stderr, "status %d\n", status);
        expect(0, "on_close", end->number);
    }
    meddle(end);
}

/* ---- sequences ---- */

static void open_ends(gyre_loop loop, struct end ends[2])
{
    gyre_stream_callbacks callbacks;
    int fds[2], i;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    callbacks.on_open = on_open;
    callbacks.on_data = on_data;
    callbacks.on_drain = on_drain;
    callbacks.on_eof = on_eof;
    callbacks.on_close = on_close;
    memset(ends, 0, 2 * sizeof ends[0]);
    if (random_below(4) == 0)
        make_tcp_pair(fds);
    else
        make_socketpair(fds);
    for (i = 0; i < 2; i++) {
        gyre_stream_options options = stream_options();
        int size = 4608;
        struct end *end = &ends[i];
        end->loop = loop;
        end->number = i;
        end->other = &ends[!i];
        end->limit = options.write_limit = 1 + random_below(2 * MOST);
        end->max_input = options.max_input = 1 + random_below(2 * MOST);
        CHECK_SYS(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size)); /* soon full */
        CHECK_OK(gyre_stream_adopt(loop, fds[i], &options, &callbacks, end, &end->stream));
    }
}

static void check_outcome(const struct end *end)
{
    const struct end *other = end->other;
    expect(end->closed, "no on_close", end->number);
    expect(end->released == end->lent, "a buffer is not released", end->number);
    if (!is_gone(end) && end->status == 0)
        expect(end->at_eof, "no on_eof", end->number);
    /* What ends in order on the one side has come whole to the other, unless that did not want it. */
    if (end->status == 0 && !is_gone(other) && other->status == 0)
        expect(other->read == end->written, "bytes are lost", end->number);
}

static void run_sequence(void)
{
    gyre_loop loop = open_loop();
    struct end ends[2];
    int i, step, ends_with_loop;
    state = seed * 0x9e3779b97f4a7c15u + 1;
    random_below(2);
    is_ending = is_over = 0;
    open_ends(loop, ends);
    for (step = 0; step < STEPS; step++) {
        do_something(&ends[random_below(2)]);
        if (random_below(4) == 0)
            one_turn(loop);
    }
    ends_with_loop = random_below(8) == 0;
    is_ending = 1;
    if (!ends_with_loop) {
        for (i = 0; i < 2; i++) { /* with a pause before the resume, which offers again what was refused */
            (void)gyre_stream_pause(ends[i].stream);
            do_something(&ends[i]);
            if (gyre_stream_shutdown(ends[i].stream) == 0)
                ends[i].is_shut = 1;
        }
        RUN_UNTIL(loop, ends[0].closed && ends[1].closed);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        CHECK_EQ(stats_of(loop).handles, 0);
    }
    is_over = 1;
    close_loop(loop);
    for (i = 0; i < 2; i++)
        check_outcome(&ends[i]);
}

static void random_sequences_keep_to_the_model(void)
{
    const char *only = getenv("GYRE_TEST_SEED");
    const uint64_t count = (uint64_t)CHECK_SCALED(4000);
    if (only != NULL) {
        seed = strtoull(only, NULL, 10);
        run_sequence();
        return;
    }
    for (seed = 1; seed <= count; seed++)
        run_sequence();
}

int main(void)
{
    check_begin();
    RUN(random_sequences_keep_to_the_model);
    return 0;
}
