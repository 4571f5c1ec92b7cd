/* conformance_stream_write.c: what is written to a stream: bounds and backpressure, buffers that change hands. */
#define _GNU_SOURCE
#include "streams.h"

#include <limits.h>

/* ---- bounds ---- */

static void what_is_written_arrives(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        struct iovec pieces[4];
        char heard[64] = "";
        scene_open(&scene, (enum origin)origin, NULL);
        memset(pieces, 0, sizeof pieces);
        pieces[0].iov_base = (void *)"gathered ";
        pieces[0].iov_len = 9;
        pieces[2].iov_base = (void *)"write"; /* the ones between are empty */
        pieces[2].iov_len = 5;
        CHECK_OK(gyre_stream_write(scene.side.stream, "one, ", 5));
        CHECK_OK(gyre_stream_write(scene.side.stream, "", 0));
        CHECK_OK(gyre_stream_write(scene.side.stream, NULL, 0));
        CHECK_OK(gyre_stream_writev(scene.side.stream, pieces, 4));
        CHECK_OK(gyre_stream_writev(scene.side.stream, NULL, 0));
        RUN_UNTIL(scene.loop, (peer_hears(scene.peer, heard, sizeof heard), strlen(heard) == 19));
        CHECK_STR(heard, "one, gathered write");
        RUN_UNTIL(scene.loop, gyre_stream_pending(scene.side.stream) == 0);
        CHECK_EQ(scene.side.drains, 0);
        CHECK_EQ(scene.side.closes, 0);
        scene_close(&scene);
    }
}

static void a_write_over_the_limit_is_emsgsize_and_takes_nothing(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = 100;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        struct iovec pieces[2];
        char bytes[101], heard[256] = "";
        memset(bytes, 'x', sizeof bytes);
        scene_open(&scene, (enum origin)origin, &options);
        CHECK_STATUS(gyre_stream_write(scene.side.stream, bytes, 101), -EMSGSIZE);
        pieces[0].iov_base = pieces[1].iov_base = bytes;
        pieces[0].iov_len = 50;
        pieces[1].iov_len = 51;
        CHECK_STATUS(gyre_stream_writev(scene.side.stream, pieces, 2), -EMSGSIZE);
        CHECK_EQ(gyre_stream_pending(scene.side.stream), 0);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(peer_state(scene.peer), -EAGAIN);
        CHECK_OK(gyre_stream_write(scene.side.stream, bytes, 100)); /* the limit itself */
        RUN_UNTIL(scene.loop, (peer_hears(scene.peer, heard, sizeof heard), strlen(heard) == 100));
        CHECK_EQ(scene.side.drains, 0);
        scene_close(&scene);
    }
}

static void what_is_pending_never_exceeds_the_limit_and_drains_once(void)
{
    enum { LIMIT = 200000, CHUNK = 7000 };
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = LIMIT;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t total, received = 0;
        int64_t pending;
        char bytes[CHUNK];
        int i;
        scene_open(&scene, (enum origin)origin, &options);
        total = scene_fill(&scene, CHUNK);
        pending = gyre_stream_pending(scene.side.stream);
        CHECK(pending > LIMIT - CHUNK && pending <= LIMIT);
        memset(bytes, 'x', sizeof bytes);
        for (i = 0; i < 3; i++)
            CHECK_STATUS(gyre_stream_write(scene.side.stream, bytes, CHUNK), GYRE_EFULL);
        CHECK_EQ(gyre_stream_pending(scene.side.stream), pending);
        if (origin == ADOPTED_TCP)
            check_idles_for_a_second(scene.loop);
        CHECK_EQ(scene.side.drains, 0);
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        CHECK_EQ(scene.side.drains, 1);
        CHECK_EQ(gyre_stream_pending(scene.side.stream), 0);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(scene.side.drains, 1);
        scene_close(&scene);
    }
}

static void check_half_is_pending(struct side *side)
{
    side->count = (int)gyre_stream_pending(side->stream);
}

static void on_drain_comes_at_half_and_only_after_full(void)
{
    enum { LIMIT = 1 << 20 };
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = LIMIT;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t total, received = 0;
        unsigned char bytes[10000];
        scene_open(&scene, (enum origin)origin, &options);
        shrink_buffer(gyre_stream_fd(scene.side.stream));
        scene.side.on_drain = check_half_is_pending;
        scene.side.count = -1;
        for (total = 0; gyre_stream_pending(scene.side.stream) < LIMIT / 2; total += sizeof bytes) {
            fill_pattern(bytes, sizeof bytes, total);
            CHECK_OK(gyre_stream_write(scene.side.stream, bytes, sizeof bytes));
        }
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        let_pass(scene.loop, GYRE_MS(2));
        CHECK_EQ(scene.side.drains, 0); /* it was never full */
        total = scene_fill(&scene, sizeof bytes);
        received = 0;
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        CHECK_EQ(scene.side.drains, 1);
        CHECK(scene.side.count >= 0 && scene.side.count <= LIMIT / 2);
        total = scene_fill(&scene, sizeof bytes); /* full once more, told once more */
        received = 0;
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        CHECK_EQ(scene.side.drains, 2);
        scene_close(&scene);
    }
}

static void on_drain_comes_before_all_is_sent(void)
{
    enum { LIMIT = 1 << 20 };
    gyre_stream_options options = stream_options();
    struct scene scene;
    char some[10000];
    options.write_limit = LIMIT;
    scene_open(&scene, ADOPTED_UNIX, &options);
    shrink_buffer(gyre_stream_fd(scene.side.stream));
    scene.side.on_drain = check_half_is_pending;
    (void)scene_fill(&scene, 10000);
    while (scene.side.drains == 0) { /* the peer reads little by little */
        CHECK(gyre_stream_pending(scene.side.stream) > 0);
        CHECK_SYS(recv(scene.peer, some, sizeof some, 0));
        one_turn(scene.loop);
    }
    CHECK(scene.side.count > LIMIT / 8 && scene.side.count <= LIMIT / 2);
    scene_close(&scene);
}

enum { ALL = 4 << 20 };

static void write_what_was_refused(struct side *side)
{
    static const unsigned char bytes[ALL];
    CHECK_OK(gyre_stream_write(side->stream, bytes, side->limit));
}

/* A write as long as the limit fits only when nothing is pending. */
static void on_drain_comes_when_what_was_refused_fits(void)
{
    static const unsigned char bytes[ALL];
    gyre_stream_options options = stream_options();
    struct scene scene;
    uint64_t total = 0;
    options.write_limit = ALL;
    scene_open(&scene, ADOPTED_UNIX, &options);
    scene.side.limit = ALL;
    scene.side.on_drain = write_what_was_refused;
    while (gyre_stream_pending(scene.side.stream) < ALL / 4) {
        CHECK_OK(gyre_stream_write(scene.side.stream, bytes, 10000));
        total += 10000;
    }
    CHECK_STATUS(gyre_stream_write(scene.side.stream, bytes, ALL), GYRE_EFULL);
    RUN_UNTIL(scene.loop, (peer_drops(scene.peer), scene.side.drains == 1));
    RUN_UNTIL(scene.loop, (peer_drops(scene.peer), gyre_stream_pending(scene.side.stream) == 0));
    CHECK_EQ(gyre_stream_sent(scene.side.stream), total + ALL);
    CHECK_EQ(scene.side.drains, 1);
    scene_close(&scene);
}

/* Writes on from on_drain, until there is nothing left: limit is how much is still to be written. */
static void write_on(struct side *side)
{
    unsigned char bytes[10000];
    while (side->limit > 0) {
        size_t length = side->limit < sizeof bytes ? side->limit : sizeof bytes;
        int status;
        fill_pattern(bytes, length, (1u << 24) - side->limit);
        status = gyre_stream_write(side->stream, bytes, length);
        if (status == GYRE_EFULL) {
            side->count++;
            return;
        }
        CHECK_OK(status);
        side->limit -= length;
    }
}

static void a_long_transfer_runs_on_drains_alone(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = 100000;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t received = 0;
        scene_open(&scene, (enum origin)origin, &options);
        scene.side.limit = 1u << 24;
        scene.side.on_drain = write_on;
        write_on(&scene.side);
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, 1u << 24));
        CHECK_EQ(scene.side.drains, scene.side.count); /* one for each time it was full */
        scene_close(&scene);
    }
}

static size_t echo(struct side *side, const uint8_t *data, size_t length)
{
    int status = gyre_stream_write(side->stream, data, length);
    if (status == GYRE_EFULL) {
        CHECK_OK(gyre_stream_pause(side->stream));
        return 0;
    }
    CHECK_OK(status);
    return length;
}

static void resume_the_echo(struct side *side)
{
    CHECK_OK(gyre_stream_resume(side->stream));
}

/* A peer that sends all before it reads anything. */
static void an_echo_with_backpressure_loses_nothing(void)
{
    enum { TOTAL = 8 << 20 };
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = 200000;
    options.max_input = 100000;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t sent = 0, received = 0, before;
        int settled;
        scene_open(&scene, (enum origin)origin, &options);
        scene.side.is_greedy = 1;
        scene.side.on_data = echo;
        scene.side.on_drain = resume_the_echo;
        for (settled = 0; settled < 3; settled += sent == before) {
            before = sent;
            (void)peer_push(scene.peer, &sent, TOTAL);
            let_pass(scene.loop, GYRE_MS(1));
            CHECK(gyre_stream_pending(scene.side.stream) <= 200000);
        }
        RUN_UNTIL(scene.loop, (peer_push(scene.peer, &sent, TOTAL), peer_pull(scene.peer, &received, TOTAL)));
        CHECK_EQ(scene.side.closes, 0);
        scene_close(&scene);
    }
}

static void impossible_lengths_are_refused(void)
{
    struct scene scene;
    struct iovec pieces[2];
    char byte = 'x';
    scene_open(&scene, ADOPTED_TCP, NULL);
    CHECK_STATUS(gyre_stream_write(scene.side.stream, NULL, 1), -EINVAL);
    CHECK_STATUS(gyre_stream_write(scene.side.stream, &byte, (size_t)SSIZE_MAX + 1), -EINVAL);
    CHECK_STATUS(gyre_stream_write(scene.side.stream, &byte, SIZE_MAX), -EINVAL);
    CHECK_STATUS(gyre_stream_write(scene.side.stream, &byte, (size_t)SSIZE_MAX), -EMSGSIZE);
    CHECK_STATUS(gyre_stream_writev(scene.side.stream, NULL, 1), -EINVAL);
    CHECK_STATUS(gyre_stream_writev(scene.side.stream, pieces, -1), -EINVAL);
    CHECK_STATUS(gyre_stream_writev(scene.side.stream, pieces, INT_MAX), -EINVAL);
    pieces[0].iov_base = NULL;
    pieces[0].iov_len = 1;
    CHECK_STATUS(gyre_stream_writev(scene.side.stream, pieces, 1), -EINVAL);
    pieces[0].iov_base = pieces[1].iov_base = &byte;
    pieces[0].iov_len = (size_t)SSIZE_MAX;
    pieces[1].iov_len = (size_t)SSIZE_MAX; /* their sum is past it */
    CHECK_STATUS(gyre_stream_writev(scene.side.stream, pieces, 2), -EINVAL);
    pieces[1].iov_len = SIZE_MAX;
    CHECK_STATUS(gyre_stream_writev(scene.side.stream, pieces, 2), -EINVAL);
    CHECK_EQ(gyre_stream_pending(scene.side.stream), 0);
    CHECK_EQ(peer_state(scene.peer), -EAGAIN);
    scene_close(&scene);
}

/* ---- writes from callbacks ---- */

static size_t write_from_on_data(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    CHECK_OK(gyre_stream_write(side->stream, "d", 1));
    return length;
}

static void write_from_on_open(struct side *side)
{
    CHECK_OK(gyre_stream_write(side->stream, "o", 1));
}

static void write_from_on_eof(struct side *side)
{
    CHECK_OK(gyre_stream_write(side->stream, "e", 1));
    CHECK_OK(gyre_stream_close(side->stream));
}

static void write_from_on_close(struct side *side)
{
    CHECK_STATUS(gyre_stream_write(side->stream, "c", 1), GYRE_EHANDLE);
}

static void every_callback_but_the_last_may_write(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        gyre_stream_callbacks callbacks = side_callbacks();
        char heard[16] = "";
        scene_begin(&scene, (enum origin)origin);
        scene.side.on_open = write_from_on_open;
        scene.side.on_data = write_from_on_data;
        scene.side.on_eof = write_from_on_eof;
        scene.side.on_close = write_from_on_close;
        scene_connect(&scene, NULL, &callbacks);
        peer_says(scene.peer, "x", 1);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene));
        peer_hears(scene.peer, heard, sizeof heard);
        CHECK_STR(heard, "ode");
        CHECK_EQ(peer_state(scene.peer), 0);
        scene_close(&scene);
    }
}

/* ---- failing for good ---- */

static void a_write_to_a_peer_that_has_reset_tells_why_and_so_does_on_close(void)
{
    int origin;
    for (origin = ACCEPTED; origin <= ADOPTED_TCP; origin++) {
        struct scene scene;
        int status;
        scene_open(&scene, (enum origin)origin, NULL);
        reset_peer(scene.peer);
        scene.peer = -1;
        status = gyre_stream_write(scene.side.stream, "x", 1); /* before the loop could know */
        CHECK_EQ(scene.side.closes, 0);
        CHECK(status == -ECONNRESET || status == -EPIPE || status == 0); /* 0: an engine that sends later */
        if (status == 0)
            CHECK_STATUS(scene_status(&scene), -ECONNRESET);
        else
            CHECK_STATUS(scene_status(&scene), status);
        scene_close(&scene);
    }
}

static void a_write_to_a_peer_that_is_gone_tells_epipe_and_raises_no_signal(void)
{
    struct scene scene;
    int status;
    scene_open(&scene, ADOPTED_UNIX, NULL);
    CHECK_OK(gyre_stream_pause(scene.side.stream)); /* it does not see the end */
    CHECK_SYS(close(scene.peer));
    scene.peer = -1;
    status = gyre_stream_write(scene.side.stream, "x", 1);
    CHECK(status == -EPIPE || status == 0);
    CHECK_STATUS(scene_status(&scene), -EPIPE);
    scene_close(&scene);
}

/* ---- buffers that change hands ---- */

static pthread_t loop_thread;
static int in_a_write;

/* A buffer that is given away, and what came of it. */
struct parcel {
    struct side *side;
    int released;
    int number; /* in the order of the releases */
    int closes; /* of the stream, by then */
    size_t length;
    unsigned char *bytes;
};

static int releases;

static void release(const void *data, size_t length, void *argument)
{
    struct parcel *parcel = (struct parcel *)argument;
    CHECK(pthread_equal(pthread_self(), loop_thread));
    CHECK_EQ(in_a_write, 0);
    CHECK_EQ(parcel->released, 0);
    CHECK(data == parcel->bytes);
    CHECK_EQ(length, parcel->length);
    parcel->released = 1;
    parcel->number = ++releases;
    parcel->closes = parcel->side->closes;
    free(parcel->bytes);
    parcel->bytes = NULL;
}

static int parcel_send(struct parcel *parcel, struct side *side, size_t length, uint64_t offset)
{
    int status;
    loop_thread = pthread_self();
    memset(parcel, 0, sizeof *parcel);
    parcel->side = side;
    parcel->length = length;
    parcel->bytes = (unsigned char *)malloc(length + 1);
    CHECK(parcel->bytes != NULL);
    fill_pattern(parcel->bytes, length, offset);
    in_a_write = 1;
    status = gyre_stream_write_owned(side->stream, parcel->bytes, length, release, parcel);
    in_a_write = 0;
    CHECK_EQ(parcel->released, 0);
    if (status < 0) { /* still the caller's, for ever */
        memset(parcel->bytes, 0, length);
        free(parcel->bytes);
    }
    return status;
}

static void an_owned_buffer_is_released_once_after_it_was_sent(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        struct parcel parcels[3];
        uint64_t received = 0;
        int i;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(parcel_send(&parcels[0], &scene.side, 1000, 0));
        CHECK_OK(parcel_send(&parcels[1], &scene.side, 0, 1000)); /* of no bytes */
        CHECK_OK(parcel_send(&parcels[2], &scene.side, 1000, 1000));
        releases = 0;
        RUN_UNTIL(scene.loop, parcels[0].released + parcels[1].released + parcels[2].released == 3);
        for (i = 0; i < 3; i++)
            CHECK_EQ(parcels[i].number, i + 1);
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, 2000));
        scene_close(&scene);
    }
}

enum { PARCELS = 64, PARCEL_SIZE = 10000 };

/* Sends parcels to a peer that does not read, until the stream is full. Returns how many were taken. */
static int send_parcels(struct scene *scene, struct parcel parcels[PARCELS])
{
    int i, status;
    uint64_t total = 0;
    shrink_buffer(gyre_stream_fd(scene->side.stream));
    releases = 0;
    for (i = 0; i < PARCELS; i++) {
        status = parcel_send(&parcels[i], &scene->side, PARCEL_SIZE, total);
        if (status == GYRE_EFULL)
            break;
        CHECK_OK(status);
        total += PARCEL_SIZE;
    }
    CHECK(i > 2 && i < PARCELS);
    return i;
}

static void check_all_released_before_close(const struct parcel parcels[PARCELS], int count)
{
    int i;
    for (i = 0; i < count; i++) {
        CHECK_EQ(parcels[i].released, 1);
        CHECK_EQ(parcels[i].number, i + 1);
        CHECK_EQ(parcels[i].closes, 0);
    }
    CHECK_EQ(releases, count); /* and not the one that was refused */
}

static gyre_stream_options parcel_options(void)
{
    gyre_stream_options options = stream_options();
    options.write_limit = 20 * PARCEL_SIZE;
    return options;
}

static void owned_buffers_are_released_in_order_as_the_peer_reads(void)
{
    gyre_stream_options options = parcel_options();
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        struct parcel parcels[PARCELS];
        uint64_t received = 0;
        int count;
        scene_open(&scene, (enum origin)origin, &options);
        count = send_parcels(&scene, parcels);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK(releases < count); /* what is not sent is still theirs */
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, (uint64_t)count * PARCEL_SIZE) && releases == count);
        check_all_released_before_close(parcels, count);
        scene_close(&scene);
    }
}

static void owned_buffers_are_released_before_on_close_however_the_stream_ends(void)
{
    enum { ABORT, FLUSHED, FLUSH_TIMED_OUT, RESET, LOOP_CLOSED, ENDS };
    static const int statuses[] = {-ECONNABORTED, 0, -ETIMEDOUT, -ECONNRESET, -ECANCELED};
    gyre_stream_options options = parcel_options();
    int origin, end;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (end = 0; end < ENDS; end++) {
            struct scene scene;
            struct parcel parcels[PARCELS];
            uint64_t received = 0;
            int count;
            if (end == RESET && origin == ADOPTED_UNIX)
                continue; /* there are none */
            options.close_ns = end == FLUSH_TIMED_OUT ? GYRE_MS(50) : GYRE_FOREVER;
            scene_open(&scene, (enum origin)origin, &options);
            count = send_parcels(&scene, parcels);
            switch (end) {
            case ABORT:
                CHECK_OK(gyre_stream_abort(scene.side.stream));
                CHECK_EQ(scene.side.closes, 0);
                break;
            case FLUSHED:
                CHECK_OK(gyre_stream_close(scene.side.stream));
                RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, (uint64_t)count * PARCEL_SIZE));
                break;
            case FLUSH_TIMED_OUT:
                CHECK_OK(gyre_stream_close(scene.side.stream));
                break;
            case RESET:
                reset_peer(scene.peer);
                scene.peer = -1;
                break;
            default:
                close_loop(scene.loop);
            }
            if (end != LOOP_CLOSED)
                (void)scene_status(&scene);
            CHECK_STATUS(scene.side.status, statuses[end]);
            check_all_released_before_close(parcels, count);
            if (end != LOOP_CLOSED) {
                scene_close(&scene);
            } else {
                CHECK_SYS(close(scene.peer));
                side_free(&scene.side);
            }
        }
    }
}

static void a_refused_owned_buffer_stays_the_callers(void)
{
    gyre_stream_options options = parcel_options();
    struct scene scene;
    struct parcel parcel;
    char byte = 'x';
    scene_open(&scene, ADOPTED_TCP, &options);
    releases = 0;
    CHECK_STATUS(parcel_send(&parcel, &scene.side, 20 * PARCEL_SIZE + 1, 0), -EMSGSIZE);
    CHECK_STATUS(gyre_stream_write_owned(scene.side.stream, &byte, 1, NULL, NULL), -EINVAL);
    CHECK_STATUS(gyre_stream_write_owned(scene.side.stream, NULL, 1, release, &parcel), -EINVAL);
    CHECK_STATUS(gyre_stream_write_owned(scene.side.stream, &byte, SIZE_MAX, release, &parcel), -EINVAL);
    CHECK_OK(gyre_stream_shutdown(scene.side.stream));
    CHECK_STATUS(parcel_send(&parcel, &scene.side, 1, 0), -EPIPE);
    CHECK_OK(gyre_stream_close(scene.side.stream));
    CHECK_STATUS(parcel_send(&parcel, &scene.side, 1, 0), GYRE_EHANDLE);
    CHECK_OK(scene_status(&scene));
    CHECK_STATUS(parcel_send(&parcel, &scene.side, 1, 0), GYRE_EHANDLE);
    one_turn(scene.loop);
    CHECK_EQ(releases, 0);
    scene_close(&scene);
}

static int chained;

/* A release that gives the next buffer away, as a pool would. */
static void release_and_send(const void *data, size_t length, void *argument)
{
    struct side *side = (struct side *)argument;
    (void)data;
    (void)length;
    if (++chained < 100)
        CHECK_OK(gyre_stream_write_owned(side->stream, "chain", 5, release_and_send, side));
    else
        CHECK_OK(gyre_stream_close(side->stream));
}

static void a_release_may_write_and_close(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        char heard[600] = "";
        scene_open(&scene, (enum origin)origin, NULL);
        chained = 0;
        CHECK_OK(gyre_stream_write_owned(scene.side.stream, "chain", 5, release_and_send, &scene.side));
        CHECK_EQ(chained, 0);
        CHECK_OK(scene_status(&scene));
        CHECK_EQ(chained, 100);
        RUN_UNTIL(scene.loop, (peer_hears(scene.peer, heard, sizeof heard), strlen(heard) == 500));
        scene_close(&scene);
    }
}

static void copied_and_owned_writes_keep_their_order(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = 8u << 20;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        static struct parcel parcels[200];
        unsigned char bytes[1000];
        struct iovec pieces[2];
        uint64_t total = 0, received = 0;
        int i;
        scene_open(&scene, (enum origin)origin, &options);
        shrink_buffer(gyre_stream_fd(scene.side.stream));
        for (i = 0; i < 200; i++) {
            size_t length = (size_t)(i * 37 % 1000);
            CHECK_OK(parcel_send(&parcels[i], &scene.side, (size_t)(i * 97 % 5000), total));
            total += (uint64_t)(i * 97 % 5000);
            fill_pattern(bytes, length, total);
            CHECK_OK(gyre_stream_write(scene.side.stream, bytes, length));
            total += length;
            fill_pattern(bytes, length, total);
            pieces[0].iov_base = bytes;
            pieces[0].iov_len = length / 2;
            pieces[1].iov_base = bytes + length / 2;
            pieces[1].iov_len = length - length / 2;
            CHECK_OK(gyre_stream_writev(scene.side.stream, pieces, 2));
            total += length;
        }
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        scene_close(&scene);
    }
}

int main(void)
{
    check_begin();
    RUN(what_is_written_arrives);
    RUN(a_write_over_the_limit_is_emsgsize_and_takes_nothing);
    RUN(what_is_pending_never_exceeds_the_limit_and_drains_once);
    RUN(on_drain_comes_at_half_and_only_after_full);
    RUN(on_drain_comes_before_all_is_sent);
    RUN(on_drain_comes_when_what_was_refused_fits);
    RUN(a_long_transfer_runs_on_drains_alone);
    RUN(an_echo_with_backpressure_loses_nothing);
    RUN(impossible_lengths_are_refused);
    RUN(every_callback_but_the_last_may_write);
    RUN(a_write_to_a_peer_that_has_reset_tells_why_and_so_does_on_close);
    RUN(a_write_to_a_peer_that_is_gone_tells_epipe_and_raises_no_signal);
    RUN(an_owned_buffer_is_released_once_after_it_was_sent);
    RUN(owned_buffers_are_released_in_order_as_the_peer_reads);
    RUN(owned_buffers_are_released_before_on_close_however_the_stream_ends);
    RUN(a_refused_owned_buffer_stays_the_callers);
    RUN(a_release_may_write_and_close);
    RUN(copied_and_owned_writes_keep_their_order);
    return 0;
}
