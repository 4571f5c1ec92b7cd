/* conformance_stream_close.c: how streams end: half-close, close, abort, resets in every state, the loop's close. */
#define _GNU_SOURCE
#include "streams.h"

#include <sys/ioctl.h>

/* ---- half-close ---- */

static void shutdown_half_closes_and_the_peer_can_still_answer(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        char heard[16] = "";
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(gyre_stream_write(scene.side.stream, "question", 8));
        CHECK_OK(gyre_stream_shutdown(scene.side.stream));
        CHECK_STATUS(gyre_stream_shutdown(scene.side.stream), -EALREADY);
        CHECK_STATUS(gyre_stream_write(scene.side.stream, "x", 1), -EPIPE);
        CHECK_STATUS(gyre_stream_writev(scene.side.stream, NULL, 0), -EPIPE);
        RUN_UNTIL(scene.loop, (peer_hears(scene.peer, heard, sizeof heard), strlen(heard) == 8));
        RUN_UNTIL(scene.loop, peer_state(scene.peer) == 0);
        CHECK_EQ(scene.side.closes, 0);
        peer_says(scene.peer, "answer", 6);
        RUN_UNTIL(scene.loop, scene.side.taken_length == 6);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene)); /* both directions have come to their end */
        CHECK_STR(scene.side.order, "odec");
        scene_close(&scene);
    }
}

static void shut_down(struct side *side)
{
    CHECK_OK(gyre_stream_shutdown(side->stream));
}

static void shutdown_after_the_peers_ends_the_stream(void)
{
    int origin, in_on_eof;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (in_on_eof = 0; in_on_eof < 2; in_on_eof++) {
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            if (in_on_eof)
                scene.side.on_eof = shut_down;
            CHECK_SYS(shutdown(scene.peer, SHUT_WR));
            RUN_UNTIL(scene.loop, scene.side.eofs == 1);
            if (!in_on_eof)
                CHECK_OK(gyre_stream_shutdown(scene.side.stream));
            CHECK_OK(scene_status(&scene));
            CHECK_STR(scene.side.order, "oec");
            CHECK_EQ(peer_state(scene.peer), 0);
            scene_close(&scene);
        }
    }
}

static void shutdown_sends_what_is_pending_first(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = 1u << 20;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t total, received = 0;
        scene_open(&scene, (enum origin)origin, &options);
        shrink_buffer(gyre_stream_fd(scene.side.stream));
        total = scene_fill(&scene, 10000);
        CHECK_OK(gyre_stream_shutdown(scene.side.stream));
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        RUN_UNTIL(scene.loop, peer_state(scene.peer) == 0);
        CHECK_EQ(gyre_stream_pending(scene.side.stream), 0);
        CHECK_EQ(scene.side.closes, 0);
        scene_close(&scene);
    }
}

static void write_an_answer(struct side *side)
{
    CHECK_OK(gyre_stream_write(side->stream, "answer", 6));
}

static void after_the_peers_half_close_a_stream_writes_on(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        char heard[32] = "";
        scene_open(&scene, (enum origin)origin, NULL);
        scene.side.on_eof = write_an_answer;
        peer_says(scene.peer, "question", 8);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        RUN_UNTIL(scene.loop, (peer_hears(scene.peer, heard, sizeof heard), strlen(heard) == 6));
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(scene.side.closes, 0);
        CHECK_OK(gyre_stream_write(scene.side.stream, ", later", 7));
        CHECK_OK(gyre_stream_close(scene.side.stream));
        CHECK_OK(scene_status(&scene));
        peer_hears(scene.peer, heard, sizeof heard);
        CHECK_STR(heard, "answer, later");
        CHECK_EQ(peer_state(scene.peer), 0);
        scene_close(&scene);
    }
}

/* The peer goes on sending after the stream has half-closed: that is its right. */
static void data_after_shutdown_is_delivered(void)
{
    enum { TOTAL = 1 << 20 };
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t sent = 0;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(gyre_stream_shutdown(scene.side.stream));
        RUN_UNTIL(scene.loop, peer_push(scene.peer, &sent, TOTAL) && scene.side.taken_length == TOTAL);
        CHECK_EQ(peer_state(scene.peer), 0);
        CHECK_EQ(scene.side.closes, 0);
        scene_close(&scene);
    }
}

/* ---- close ---- */

static void close_is_told_later_and_once(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(gyre_stream_close(scene.side.stream));
        CHECK_EQ(scene.side.closes, 0); /* never inside the call */
        CHECK_STATUS(gyre_stream_close(scene.side.stream), GYRE_EHANDLE);
        CHECK_EQ(gyre_loop_is_alive(scene.loop), 1);
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0);
        CHECK_OK(scene_status(&scene));
        CHECK_STR(scene.side.order, "oc");
        CHECK_EQ(peer_state(scene.peer), 0);
        scene_close(&scene);
    }
}

static void close_flushes_and_the_handle_serves_until_the_end(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.write_limit = 1u << 20;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        char peer[ADDRESS_TEXT];
        uint64_t total, received = 0;
        scene_open(&scene, (enum origin)origin, &options);
        shrink_buffer(gyre_stream_fd(scene.side.stream));
        total = scene_fill(&scene, 10000);
        CHECK_OK(gyre_stream_close(scene.side.stream));
        let_pass(scene.loop, GYRE_MS(5));
        CHECK(gyre_stream_pending(scene.side.stream) > 0);
        CHECK(gyre_stream_fd(scene.side.stream) >= 0);
        CHECK(gyre_stream_peer(scene.side.stream, peer, sizeof peer) >= 0);
        CHECK(gyre_stream_user_data(scene.side.stream) == &scene.side);
        CHECK_STATUS(gyre_stream_write(scene.side.stream, "x", 1), GYRE_EHANDLE);
        CHECK_STATUS(gyre_stream_shutdown(scene.side.stream), GYRE_EHANDLE);
        CHECK_STATUS(gyre_stream_close(scene.side.stream), GYRE_EHANDLE);
        peer_says(scene.peer, "too late", 8);
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene));
        CHECK_EQ(scene.side.calls, 0); /* nobody wants to hear it any more */
        scene_close(&scene);
    }
}

static void a_flush_that_stalls_ends_at_its_deadline(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.close_ns = GYRE_MS(60);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t start;
        scene_open(&scene, (enum origin)origin, &options);
        (void)scene_fill(&scene, 10000);
        start = check_now();
        CHECK_OK(gyre_stream_close(scene.side.stream));
        CHECK_STATUS(scene_status(&scene), -ETIMEDOUT);
        CHECK(check_now() - start >= GYRE_MS(60));
        CHECK(check_now() - start < GYRE_SEC(3));
        scene_close(&scene);
    }
}

static void a_flush_can_be_aborted(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        (void)scene_fill(&scene, 10000);
        CHECK_OK(gyre_stream_close(scene.side.stream));
        CHECK_OK(gyre_stream_abort(scene.side.stream));
        CHECK_EQ(scene.side.closes, 0);
        CHECK_STATUS(scene_status(&scene), -ECONNABORTED);
        scene_close(&scene);
    }
}

static void abort_resets_and_drops_what_is_pending(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(gyre_stream_write(scene.side.stream, "x", 1));
        CHECK_OK(gyre_stream_abort(scene.side.stream));
        CHECK_EQ(scene.side.closes, 0);
        CHECK_STATUS(scene_status(&scene), -ECONNABORTED);
        CHECK_STR(scene.side.order, "oc");
        if (origin != ADOPTED_UNIX) {
            int state = peer_state(scene.peer);
            CHECK_STATUS(state == 1 ? peer_state(scene.peer) : state, -ECONNRESET);
        }
        scene_close(&scene);
    }
}

static void a_closed_stream_hears_no_data_that_had_come(void)
{
    int origin, abort;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (abort = 0; abort < 2; abort++) {
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            peer_says(scene.peer, "unheard", 7);
            CHECK_SYS(shutdown(scene.peer, SHUT_WR));
            CHECK_OK(abort ? gyre_stream_abort(scene.side.stream) : gyre_stream_close(scene.side.stream));
            CHECK_STATUS(scene_status(&scene), abort ? -ECONNABORTED : 0);
            CHECK_STR(scene.side.order, "oc");
            scene_close(&scene);
        }
    }
}

static void a_paused_stream_can_be_closed(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(gyre_stream_pause(scene.side.stream));
        peer_says(scene.peer, "unheard", 7);
        let_pass(scene.loop, GYRE_MS(2));
        CHECK_OK(gyre_stream_close(scene.side.stream));
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene));
        CHECK_STR(scene.side.order, "oc");
        scene_close(&scene);
    }
}

/* A close before all has been read would reset the connection, and the peer lose what it has not read yet. */
static void close_waits_for_a_peer_that_is_sending_so_that_it_loses_nothing(void)
{
    enum { BYTES = 300000 };
    gyre_stream_options options = stream_options();
    int origin;
    options.close_ns = GYRE_SEC(CHECK_DEADLINE_SECONDS);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        static unsigned char bytes[BYTES];
        uint64_t sent = 0, received = 0;
        scene_open(&scene, (enum origin)origin, &options);
        CHECK_OK(gyre_stream_pause(scene.side.stream));
        (void)peer_push(scene.peer, &sent, BYTES);
        fill_pattern(bytes, BYTES, 0);
        CHECK_OK(gyre_stream_write(scene.side.stream, bytes, BYTES));
        CHECK_OK(gyre_stream_close(scene.side.stream));
        let_pass(scene.loop, GYRE_MS(5));
        RUN_UNTIL(scene.loop, peer_push(scene.peer, &sent, 2 * BYTES)); /* and reads nothing before it has sent all */
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, BYTES));
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene));
        CHECK_EQ(peer_state(scene.peer), 0);
        CHECK_EQ(scene.side.calls, 0);
        scene_close(&scene);
    }
}

/* All of what it had sent is dropped, and it is about to send more. */
static void close_waits_for_a_peer_that_has_begun_to_send(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.close_ns = GYRE_SEC(CHECK_DEADLINE_SECONDS);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t total, received = 0;
        scene_open(&scene, (enum origin)origin, &options);
        total = scene_fill(&scene, 10000);
        CHECK_OK(gyre_stream_close(scene.side.stream));
        peer_says(scene.peer, "begun", 5);
        let_pass(scene.loop, GYRE_MS(5));
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(scene.side.closes, 0);
        CHECK_EQ(peer_state(scene.peer), 0); /* the stream has nothing more to say */
        peer_says(scene.peer, "and ended", 9);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene));
        scene_close(&scene);
    }
}

static void close_waits_for_a_peer_that_sends_for_ever_no_longer_than_its_deadline(void)
{
    gyre_stream_options options = stream_options();
    int origin;
    options.close_ns = GYRE_MS(60);
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t start = check_now();
        scene_open(&scene, (enum origin)origin, &options);
        peer_says(scene.peer, "x", 1);
        CHECK_OK(gyre_stream_close(scene.side.stream));
        while (scene.side.closes == 0) {
            (void)send(scene.peer, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
            let_pass(scene.loop, GYRE_MS(1));
            CHECK(check_now() - start < GYRE_SEC(3));
        }
        CHECK(scene.side.status == 0 || scene.side.status == -ETIMEDOUT);
        scene_close(&scene);
    }
}

/* ---- endings from within callbacks ---- */

static int (*ending)(gyre_stream stream);

static void end_it(struct side *side)
{
    CHECK_OK(ending(side->stream));
    CHECK_EQ(side->closes, 0);
}

static size_t end_it_with_data(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    end_it(side);
    return length / 2; /* the rest is not offered again */
}

static void check_dead(struct side *side)
{
    char text[ADDRESS_TEXT];
    CHECK_STATUS(gyre_stream_close(side->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_abort(side->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_shutdown(side->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_pause(side->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_resume(side->stream), GYRE_EHANDLE);
    CHECK_STATUS((int)gyre_stream_pending(side->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_fd(side->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_peer(side->stream, text, sizeof text), GYRE_EHANDLE);
    CHECK(gyre_stream_user_data(side->stream) == NULL);
}

static void every_callback_may_end_the_stream(void)
{
    static int (*const endings[])(gyre_stream) = {gyre_stream_close, gyre_stream_abort};
    static const char *const orders[] = {"oc", "odc", "owc", "oec"};
    gyre_stream_options options = stream_options();
    int origin, which, callback;
    options.write_limit = 1u << 20;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (which = 0; which < 2; which++) {
            for (callback = 0; callback < 4; callback++) {
                struct scene scene;
                gyre_stream_callbacks callbacks = side_callbacks();
                ending = endings[which];
                scene_begin(&scene, (enum origin)origin);
                scene.side.on_close = check_dead;
                if (callback == 0)
                    scene.side.on_open = end_it;
                scene_connect(&scene, &options, &callbacks);
                switch (callback) {
                case 1:
                    scene.side.on_data = end_it_with_data;
                    peer_says(scene.peer, "data", 4);
                    break;
                case 2:
                    scene.side.on_drain = end_it;
                    (void)scene_fill(&scene, 10000);
                    RUN_UNTIL(scene.loop, (peer_drops(scene.peer), scene.side.drains > 0));
                    RUN_UNTIL(scene.loop, (peer_drops(scene.peer), scene.side.closes > 0));
                    break;
                case 3:
                    scene.side.on_eof = end_it;
                    CHECK_SYS(shutdown(scene.peer, SHUT_WR));
                    break;
                }
                CHECK_STATUS(scene_status(&scene), which == 0 ? 0 : -ECONNABORTED);
                CHECK_STR(scene.side.order, orders[callback]);
                scene_close(&scene);
            }
        }
    }
}

static gyre_stream next_stream;
static struct side next_side;
static int next_end;

/* Opens another stream, which takes the place of this one. */
static void open_the_next(struct side *side)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    int ends[2];
    make_socketpair(ends);
    side_clear(&next_side, side->loop);
    CHECK_OK(gyre_stream_adopt(side->loop, ends[0], NULL, &callbacks, &next_side, &next_side.stream));
    next_stream = next_side.stream;
    next_end = ends[1];
}

static void on_close_may_open_another_stream(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_UNIX, NULL);
    scene.side.on_close = open_the_next;
    CHECK_OK(gyre_stream_close(scene.side.stream));
    RUN_UNTIL(scene.loop, scene.side.closes == 1);
    RUN_UNTIL(scene.loop, next_side.opens == 1);
    CHECK(next_stream.bits != scene.side.stream.bits);
    peer_says(next_end, "hello", 5);
    RUN_UNTIL(scene.loop, next_side.taken_length == 5);
    scene_close(&scene);
    CHECK_STATUS(next_side.status, -ECANCELED);
    CHECK_SYS(close(next_end));
    side_free(&next_side);
}

static struct side *victim;

static size_t end_the_other(struct side *side, const uint8_t *data, size_t length)
{
    (void)side;
    (void)data;
    CHECK_OK(gyre_stream_abort(victim->stream));
    return length;
}

/* Both have data in the same turn; whichever is served first ends the other. */
static void a_stream_ended_by_another_in_the_same_turn_hears_nothing(void)
{
    int first;
    for (first = 0; first < 2; first++) {
        gyre_stream_callbacks callbacks = side_callbacks();
        gyre_loop loop = open_loop();
        struct side sides[2];
        int ends[2][2], i;
        for (i = 0; i < 2; i++) {
            make_tcp_pair(ends[i]);
            side_clear(&sides[i], loop);
            CHECK_OK(gyre_stream_adopt(loop, ends[i][0], NULL, &callbacks, &sides[i], &sides[i].stream));
        }
        RUN_UNTIL(loop, sides[0].opens + sides[1].opens == 2);
        for (i = 0; i < 2; i++)
            peer_says(ends[i][1], "data", 4);
        victim = &sides[first];
        sides[!first].on_data = end_the_other;
        RUN_UNTIL(loop, sides[first].closes == 1);
        CHECK_STATUS(sides[first].status, -ECONNABORTED);
        CHECK_EQ(sides[!first].taken_length, 4);
        CHECK(sides[first].calls <= 1); /* it may have been served before */
        close_loop(loop);
        for (i = 0; i < 2; i++) {
            CHECK_SYS(close(ends[i][1]));
            side_free(&sides[i]);
        }
    }
}

/* ---- resets ---- */

static size_t reset_in_on_data(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    if (side->count >= 0) {
        reset_peer(side->count);
        side->count = -1;
    }
    return length;
}

static size_t leave_it(struct side *side, const uint8_t *data, size_t length)
{
    (void)side;
    (void)data;
    (void)length;
    RUN(close_waits_for_a_peer_that_is_sending_so_that_it_loses_nothing);
    return 0;
}

static void a_reset_is_told_once_in_every_state(void)
{
    enum { IDLE, IN_ON_DATA, WITH_A_REST, WRITES_PENDING, PAUSED, AFTER_SHUTDOWN, FLUSHING, AFTER_EOF, STATES };
    int origin, state;
    for (origin = ACCEPTED; origin <= ADOPTED_TCP; origin++) {
        for (state = 0; state < STATES; state++) {
            struct scene scene;
            int status;
            scene_open(&scene, (enum origin)origin, NULL);
            switch (state) {
            case IN_ON_DATA:
                scene.side.on_data = reset_in_on_data;
                scene.side.count = scene.peer;
                peer_says(scene.peer, "data", 4);
                break;
            case WITH_A_REST:
                scene.side.on_data = leave_it;
                peer_says(scene.peer, "data", 4);
                RUN_UNTIL(scene.loop, scene.side.calls == 1);
                break;
            case WRITES_PENDING:
                (void)scene_fill(&scene, 10000);
                break;
            case PAUSED:
                CHECK_OK(gyre_stream_pause(scene.side.stream));
                one_turn(scene.loop);
                break;
            case AFTER_SHUTDOWN:
                CHECK_OK(gyre_stream_shutdown(scene.side.stream));
                one_turn(scene.loop);
                break;
            case FLUSHING:
                (void)scene_fill(&scene, 10000);
                CHECK_OK(gyre_stream_close(scene.side.stream));
                one_turn(scene.loop);
                break;
            case AFTER_EOF:
                CHECK_SYS(shutdown(scene.peer, SHUT_WR));
                RUN_UNTIL(scene.loop, scene.side.eofs == 1);
                break;
            }
            if (state != IN_ON_DATA)
                reset_peer(scene.peer);
            scene.peer = -1;
            if (state == PAUSED) { /* it may be told at once, or when somebody listens again */
                let_pass(scene.loop, GYRE_MS(10));
                CHECK_EQ(scene.side.calls + scene.side.eofs, 0);
                if (scene.side.closes == 0)
                    CHECK_OK(gyre_stream_resume(scene.side.stream));
            }
            status = scene_status(&scene);
            /* After the end of input the kernel calls it a broken pipe. */
            CHECK(status == -ECONNRESET || (state == AFTER_EOF && status == -EPIPE));
            CHECK_EQ(scene.side.eofs, state == AFTER_EOF);
            scene_close(&scene);
        }
    }
}

static int nothing_is_unsent(int fd)
{
    int unsent = 0;
    CHECK_SYS(ioctl(fd, TIOCOUTQ, &unsent));
    return unsent == 0;
}

static void bytes_before_a_reset_are_all_delivered(void)
{
    enum { TOTAL = 100000 };
    enum { READING, PAUSED, WRITING, CASES };
    int origin, which;
    for (origin = ACCEPTED; origin <= ADOPTED_TCP; origin++) {
        for (which = 0; which < CASES; which++) {
            struct scene scene;
            uint64_t sent = 0;
            scene_open(&scene, (enum origin)origin, NULL);
            if (which == PAUSED)
                CHECK_OK(gyre_stream_pause(scene.side.stream));
            CHECK(peer_push(scene.peer, &sent, TOTAL));
            WAIT_UNTIL(nothing_is_unsent(scene.peer)); /* a reset throws away what is still on its way */
            reset_peer(scene.peer);
            scene.peer = -1;
            if (which == PAUSED)
                CHECK_OK(gyre_stream_resume(scene.side.stream));
            if (which == WRITING) { /* it is a write that finds out */
                int status = gyre_stream_write(scene.side.stream, "x", 1);
                CHECK(status == -ECONNRESET || status == 0);
            }
            CHECK_STATUS(scene_status(&scene), -ECONNRESET);
            CHECK_EQ(scene.side.taken_length, TOTAL);
            scene_close(&scene);
        }
    }
}

/* The kernel may drop a connection that was reset in the queue, and knows a socket that was reset as not connected. */
static void a_reset_before_the_stream_was_opened_leaves_nothing(void)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    struct scene scene;
    gyre_listener listener;
    char address[ADDRESS_TEXT];
    int ends[2], status;
    scene_begin(&scene, ADOPTED_TCP);
    make_tcp_pair(ends);
    reset_peer(ends[1]);
    status = gyre_stream_adopt(scene.loop, ends[0], NULL, &callbacks, &scene.side, &scene.side.stream);
    CHECK_STATUS(status, -ENOTCONN);
    CHECK_SYS(close(ends[0])); /* still the caller's */
    make_tcp_pair(ends);
    CHECK_OK(gyre_stream_adopt(scene.loop, ends[0], NULL, &callbacks, &scene.side, &scene.side.stream));
    reset_peer(ends[1]);
    CHECK_STATUS(scene_status(&scene), -ECONNRESET);
    side_clear(&scene.side, scene.loop);
    callbacks.on_open = scene_accepted;
    CHECK_OK(gyre_listener_open(scene.loop, "127.0.0.1:0", NULL, &callbacks, &scene.side, &listener));
    address_of(listener, address);
    reset_peer(connect_to(address));
    let_pass(scene.loop, GYRE_MS(20));
    CHECK_EQ(scene.side.opens, scene.side.closes);
    CHECK(scene.side.closes == 0 || scene.side.status == -ECONNRESET);
    CHECK_EQ(stats_of(scene.loop).handles, 1);
    close_loop(scene.loop);
}

/* ---- the loop's close ---- */

static void try_everything_on_a_closing_loop(struct side *side)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_stream stream;
    gyre_timer timer;
    int ends[2];
    CHECK_STATUS(side->status, -ECANCELED);
    CHECK_STATUS(gyre_stream_write(side->stream, "x", 1), GYRE_EHANDLE);
    CHECK_STATUS(gyre_timer_open(side->loop, 0, 0, count_timer, NULL, &timer), GYRE_ECLOSING);
    CHECK_STATUS(gyre_loop_close(side->loop), GYRE_ECLOSING);
    make_socketpair(ends);
    CHECK_STATUS(gyre_stream_adopt(side->loop, ends[0], NULL, &callbacks, side, &stream), GYRE_ECLOSING);
    close_pair(ends);
    side->count++;
}

static void closing_the_loop_ends_each_stream_once(void)
{
    enum { MANY = 20 };
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_loop loop = open_loop();
    struct side sides[MANY];
    int ends[MANY][2], i;
    for (i = 0; i < MANY; i++) {
        if (i % 2)
            make_tcp_pair(ends[i]);
        else
            make_socketpair(ends[i]);
        side_clear(&sides[i], loop);
        sides[i].on_close = try_everything_on_a_closing_loop;
        CHECK_OK(gyre_stream_adopt(loop, ends[i][0], NULL, &callbacks, &sides[i], &sides[i].stream));
    }
    RUN_UNTIL(loop, sides[MANY - 1].opens == 1);
    for (i = 0; i < MANY; i++) {
        CHECK_EQ(sides[i].opens, 1);
        if (i % 3 == 0)
            CHECK_OK(gyre_stream_write(sides[i].stream, "flushed or not", 14));
        if (i % 5 == 0)
            CHECK_OK(gyre_stream_pause(sides[i].stream));
        peer_says(ends[i][1], "unheard", 7);
    }
    close_loop(loop);
    for (i = 0; i < MANY; i++) {
        CHECK_EQ(sides[i].closes, 1);
        CHECK_EQ(sides[i].count, 1);
        CHECK_STR(sides[i].order, "oc");
        CHECK_SYS(close(ends[i][1]));
        side_free(&sides[i]);
    }
}

static void streams_that_are_not_open_yet_end_with_the_loop(void)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    gyre_loop loop = open_loop();
    struct side adopted, connecting;
    char address[ADDRESS_TEXT];
    int ends[2], listener = make_listening_socket(1, address);
    make_socketpair(ends);
    side_clear(&adopted, loop);
    side_clear(&connecting, loop);
    CHECK_OK(gyre_stream_adopt(loop, ends[0], NULL, &callbacks, &adopted, &adopted.stream));
    CHECK_OK(gyre_stream_connect(loop, address, NULL, &callbacks, &connecting, &connecting.stream));
    close_loop(loop);
    CHECK_STR(adopted.order, "c");
    CHECK_STR(connecting.order, "c");
    CHECK_STATUS(adopted.status, -ECANCELED);
    CHECK_STATUS(connecting.status, -ECANCELED);
    CHECK_SYS(close(ends[1]));
    CHECK_SYS(close(listener));
}

static void closing_streams_end_with_the_loop(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_TCP, NULL);
    (void)scene_fill(&scene, 10000);
    CHECK_OK(gyre_stream_close(scene.side.stream));
    scene_close(&scene); /* which is told as -ECANCELED */
}

static size_t try_to_run_and_close(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    CHECK_STATUS(gyre_loop_close(side->loop), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_run(side->loop, GYRE_RUN_NOWAIT), GYRE_EREENTRANT);
    CHECK_STATUS(gyre_loop_release(side->loop), GYRE_EREENTRANT);
    return length;
}

static void a_stream_callback_can_neither_run_nor_close_the_loop(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_UNIX, NULL);
    scene.side.on_data = try_to_run_and_close;
    peer_says(scene.peer, "x", 1);
    RUN_UNTIL(scene.loop, scene.side.calls == 1);
    scene_close(&scene);
}

/* ---- what keeps a loop running ---- */

static void an_open_stream_keeps_the_loop_running_unless_told_otherwise(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_NOWAIT), 1);
        CHECK_OK(gyre_stream_set_keepalive(scene.side.stream, 0));
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0);
        CHECK_OK(gyre_stream_set_keepalive(scene.side.stream, 1));
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_NOWAIT), 1);
        CHECK_OK(gyre_stream_close(scene.side.stream));
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0);
        CHECK_EQ(scene.side.closes, 1);
        scene_close(&scene);
    }
}

int main(void)
{
    check_begin();
    RUN(shutdown_half_closes_and_the_peer_can_still_answer);
    RUN(shutdown_after_the_peers_ends_the_stream);
    RUN(shutdown_sends_what_is_pending_first);
    RUN(after_the_peers_half_close_a_stream_writes_on);
    RUN(data_after_shutdown_is_delivered);
    RUN(close_is_told_later_and_once);
    RUN(close_flushes_and_the_handle_serves_until_the_end);
    RUN(a_flush_that_stalls_ends_at_its_deadline);
    RUN(a_flush_can_be_aborted);
    RUN(abort_resets_and_drops_what_is_pending);
    RUN(a_closed_stream_hears_no_data_that_had_come);
    RUN(a_paused_stream_can_be_closed);
    RUN(close_waits_for_a_peer_that_has_begun_to_send);
    RUN(close_waits_for_a_peer_that_sends_for_ever_no_longer_than_its_deadline);
    RUN(every_callback_may_end_the_stream);
    RUN(on_close_may_open_another_stream);
    RUN(a_stream_ended_by_another_in_the_same_turn_hears_nothing);
    RUN(a_reset_is_told_once_in_every_state);
    RUN(bytes_before_a_reset_are_all_delivered);
    RUN(a_reset_before_the_stream_was_opened_leaves_nothing);
    RUN(closing_the_loop_ends_each_stream_once);
    RUN(streams_that_are_not_open_yet_end_with_the_loop);
    RUN(closing_streams_end_with_the_loop);
    RUN(a_stream_callback_can_neither_run_nor_close_the_loop);
    RUN(an_open_stream_keeps_the_loop_running_unless_told_otherwise);
    RUN(close_waits_for_a_peer_that_is_sending_so_that_it_loses_nothing);
    return 0;
}
