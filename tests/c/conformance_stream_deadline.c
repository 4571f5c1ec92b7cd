/* conformance_stream_deadline.c: the deadlines of streams: idle, write-stall; connect and close have theirs beside what
 * they are about. A deadline is never early. */
#define _GNU_SOURCE
#include "streams.h"

enum { LIMIT_MS = 150, SLACK_S = 5 };

/* The stream is to end by its deadline, counted from start. */
static void check_timed_out(struct scene *scene, uint64_t start)
{
    uint64_t elapsed;
    CHECK_STATUS(scene_status(scene), -ETIMEDOUT);
    elapsed = check_now() - start;
    CHECK(elapsed >= GYRE_MS(LIMIT_MS));
    CHECK(elapsed < GYRE_SEC(SLACK_S));
}

static void a_silent_peer_is_cut_off(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.idle_ns = GYRE_MS(LIMIT_MS);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t start;
        scene_open(&scene, (enum origin)origin, &options);
        start = check_now();
        peer_says(scene.peer, "x", 1);
        RUN_UNTIL(scene.loop, scene.side.calls == 1);
        check_timed_out(&scene, start);
        CHECK_STR(scene.side.order, "odc");
        scene_close(&scene);
    }
}

static void a_peer_that_never_says_anything_is_cut_off(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.idle_ns = GYRE_MS(LIMIT_MS);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t start = check_now();
        scene_open(&scene, (enum origin)origin, &options);
        check_timed_out(&scene, start);
        CHECK_STR(scene.side.order, "oc");
        scene_close(&scene);
    }
}

static size_t wait_for_a_line(struct side *side, const uint8_t *data, size_t length)
{
    const uint8_t *end = (const uint8_t *)memchr(data, '\n', length);
    side->count++;
    return end == NULL ? 0 : (size_t)(end - data) + 1;
}

/* A byte now and then, and never the end of a message: what comes and is not consumed is no progress. */
static void a_peer_that_sends_a_byte_at_a_time_for_ever_is_cut_off(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.idle_ns = GYRE_MS(LIMIT_MS);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t start;
        scene_open(&scene, (enum origin)origin, &options);
        scene.side.on_data = wait_for_a_line;
        start = check_now();
        while (scene.side.closes == 0) {
            (void)send(scene.peer, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
            let_pass(scene.loop, GYRE_MS(5));
            CHECK(check_now() - start < GYRE_SEC(SLACK_S));
        }
        CHECK_STATUS(scene_status(&scene), -ETIMEDOUT);
        CHECK(scene.side.count > 0);
        scene_close(&scene);
    }
}

static void a_peer_that_is_heard_in_time_stays(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    uint64_t start = 0;
    int i;
    options.idle_ns = GYRE_SEC(1);
    scene_open(&scene, ADOPTED_TCP, &options);
    for (i = 0; i < 30; i++) { /* a second and a half in all */
        start = check_now();
        peer_says(scene.peer, "x", 1);
        let_pass(scene.loop, GYRE_MS(50));
        CHECK_EQ(scene.side.closes, 0);
    }
    CHECK_STATUS(scene_status(&scene), -ETIMEDOUT);
    CHECK(check_now() - start >= GYRE_SEC(1));
    scene_close(&scene);
}

static void what_is_sent_is_no_idleness(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    int i;
    options.idle_ns = GYRE_SEC(1);
    scene_open(&scene, ADOPTED_TCP, &options);
    for (i = 0; i < 30; i++) {
        CHECK_OK(gyre_stream_write(scene.side.stream, "x", 1));
        let_pass(scene.loop, GYRE_MS(50));
        CHECK_EQ(scene.side.closes, 0);
    }
    scene_close(&scene);
}

static void a_paused_stream_is_not_idle(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    uint64_t start;
    options.idle_ns = GYRE_MS(LIMIT_MS);
    scene_open(&scene, ADOPTED_TCP, &options);
    CHECK_OK(gyre_stream_pause(scene.side.stream));
    let_pass(scene.loop, GYRE_MS(3 * LIMIT_MS));
    CHECK_EQ(scene.side.closes, 0);
    start = check_now();
    CHECK_OK(gyre_stream_resume(scene.side.stream)); /* from here on it counts */
    check_timed_out(&scene, start);
    scene_close(&scene);
}

static void a_peer_that_does_not_read_is_cut_off(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.write_stall_ns = GYRE_MS(LIMIT_MS);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t start;
        scene_open(&scene, (enum origin)origin, &options);
        shrink_buffer(gyre_stream_fd(scene.side.stream));
        start = check_now();
        (void)scene_fill(&scene, 10000);
        check_timed_out(&scene, start);
        scene_close(&scene);
    }
}

static void a_peer_that_reads_on_is_not_stalled(void)
{
    enum { TOTAL = 600000 };
    gyre_stream_options options = stream_options();
    struct scene scene;
    static unsigned char bytes[TOTAL];
    uint64_t received = 0, start;
    options.write_stall_ns = GYRE_SEC(1);
    options.write_limit = TOTAL;
    scene_open(&scene, ADOPTED_UNIX, &options);
    shrink_buffer(gyre_stream_fd(scene.side.stream));
    fill_pattern(bytes, sizeof bytes, 0);
    CHECK_OK(gyre_stream_write(scene.side.stream, bytes, sizeof bytes));
    start = check_now();
    while (gyre_stream_pending(scene.side.stream) > 0) {
        unsigned char some[8000];
        ssize_t i, done = recv(scene.peer, some, sizeof some, MSG_DONTWAIT);
        for (i = 0; i < done; i++)
            CHECK_EQ(some[i], pattern(received + (uint64_t)i));
        received += done > 0 ? (uint64_t)done : 0;
        let_pass(scene.loop, GYRE_MS(20));
        CHECK_EQ(scene.side.closes, 0);
    }
    CHECK(check_now() - start > GYRE_SEC(1)); /* longer than the limit in all */
    RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, TOTAL));
    scene_close(&scene);
}

/* It empties the kernel's buffer, yet not so far that the stream could send more: that is progress all the same. */
static void a_peer_that_reads_little_by_little_is_not_stalled(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    int64_t pending;
    uint64_t start;
    char some[10000];
    options.write_stall_ns = GYRE_MS(1500);
    scene_open(&scene, ADOPTED_UNIX, &options);
    (void)scene_fill(&scene, sizeof some);
    pending = gyre_stream_pending(scene.side.stream);
    start = check_now();
    while (gyre_stream_pending(scene.side.stream) == pending) {
        CHECK_EQ(recv(scene.peer, some, sizeof some, 0), sizeof some);
        let_pass(scene.loop, GYRE_MS(150));
        CHECK_EQ(scene.side.closes, 0);
    }
    CHECK(check_now() - start > GYRE_MS(1500)); /* longer than the limit in all */
    scene_close(&scene);
}

static void nothing_is_stalled_while_nothing_is_pending(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    options.write_stall_ns = GYRE_MS(LIMIT_MS);
    scene_open(&scene, ADOPTED_TCP, &options);
    CHECK_OK(gyre_stream_write(scene.side.stream, "x", 1));
    let_pass(scene.loop, GYRE_MS(3 * LIMIT_MS));
    CHECK_EQ(scene.side.closes, 0);
    scene_close(&scene);
}

static void deadlines_can_be_turned_off(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    options.idle_ns = options.write_stall_ns = options.close_ns = options.connect_ns = GYRE_FOREVER;
    scene_open(&scene, CONNECTED, &options);
    (void)scene_fill(&scene, 10000);
    check_idles_for_a_second(scene.loop);
    CHECK_OK(gyre_stream_close(scene.side.stream));
    let_pass(scene.loop, GYRE_MS(20));
    CHECK_EQ(scene.side.closes, 0);
    scene_close(&scene);
}

static void the_defaults_let_a_quiet_stream_live_for_a_while(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_TCP, NULL);
    check_idles_for_a_second(scene.loop);
    CHECK_EQ(scene.side.closes, 0);
    scene_close(&scene);
}

/* Many deadlines on one loop: each in its time, and the one that is cut off takes no other with it. */
static void each_stream_has_its_own_deadline(void)
{
    enum { MANY = 50 };
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_loop loop = open_loop();
    struct side sides[MANY];
    int ends[MANY][2], i, closed;
    uint64_t start = check_now();
    for (i = 0; i < MANY; i++) {
        gyre_stream_options options = stream_options();
        options.idle_ns = GYRE_MS((i * 7) % MANY * 10 + 20);
        make_socketpair(ends[i]);
        side_clear(&sides[i], loop);
        CHECK_OK(gyre_stream_adopt(loop, ends[i][0], &options, &callbacks, &sides[i], &sides[i].stream));
    }
    do {
        one_turn(loop);
        let_pass(loop, GYRE_MS(1));
        for (closed = i = 0; i < MANY; i++) {
            if (sides[i].closes == 0)
                continue;
            closed++;
            CHECK_STATUS(sides[i].status, -ETIMEDOUT);
            CHECK(check_now() - start >= GYRE_MS((i * 7) % MANY * 10 + 20));
        }
        CHECK(check_now() - start < GYRE_SEC(SLACK_S));
    } while (closed < MANY);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    close_loop(loop);
    for (i = 0; i < MANY; i++) {
        CHECK_SYS(close(ends[i][1]));
        side_free(&sides[i]);
    }
}

int main(void)
{
    check_begin();
    RUN(a_silent_peer_is_cut_off);
    RUN(a_peer_that_never_says_anything_is_cut_off);
    RUN(a_peer_that_sends_a_byte_at_a_time_for_ever_is_cut_off);
    RUN(a_peer_that_is_heard_in_time_stays);
    RUN(what_is_sent_is_no_idleness);
    RUN(a_paused_stream_is_not_idle);
    RUN(a_peer_that_does_not_read_is_cut_off);
    RUN(a_peer_that_reads_on_is_not_stalled);
    RUN(a_peer_that_reads_little_by_little_is_not_stalled);
    RUN(nothing_is_stalled_while_nothing_is_pending);
    RUN(deadlines_can_be_turned_off);
    RUN(the_defaults_let_a_quiet_stream_live_for_a_while);
    RUN(each_stream_has_its_own_deadline);
    return 0;
}
