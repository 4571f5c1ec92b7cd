/* conformance_stream_data.c: what arrives on a stream: framing, partial consumption, pause and resume, end of input. */
#define _GNU_SOURCE
#include "streams.h"

/* ---- framing ---- */

/* Messages of a length byte and as many more. */
static const char messages[] = "\005hello\000\001x\011a longer \000\004last";
enum { MESSAGES_LENGTH = sizeof messages - 1, MESSAGES = 6, NO_LIMIT = 0 };

/* Takes one message a call. */
static size_t take_a_message(struct side *side, const uint8_t *data, size_t length)
{
    if (length < 1 + (size_t)data[0])
        return 0;
    side->count++;
    return 1 + (size_t)data[0];
}

/* Takes all whole messages that are there. */
static size_t take_messages(struct side *side, const uint8_t *data, size_t length)
{
    size_t taken = 0, more;
    while (taken < length && (more = take_a_message(side, data + taken, length - taken)) > 0)
        taken += more;
    return taken;
}

/* How much has come so far, consumed or not. */
static size_t known(const struct side *side)
{
    return side->taken_length + side->rest_length;
}

static void check_messages_came(struct scene *scene)
{
    RUN_UNTIL(scene->loop, scene->side.count == MESSAGES);
    CHECK_EQ(scene->side.rest_length, 0);
    CHECK(side_has_taken(&scene->side, messages, MESSAGES_LENGTH));
    scene->side.count = 0;
    scene->side.taken_length = 0;
}

static void messages_come_whole_wherever_they_were_split(void)
{
    size_t (*const readers[])(struct side *, const uint8_t *, size_t) = {take_a_message, take_messages};
    int origin, reader;
    size_t first, second;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (reader = 0; reader < 2; reader++) {
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            scene.side.on_data = readers[reader];
            for (first = 1; first < MESSAGES_LENGTH; first++) {
                for (second = first; second < MESSAGES_LENGTH; second += check_small() ? 7 : 1) {
                    peer_says(scene.peer, messages, first);
                    RUN_UNTIL(scene.loop, known(&scene.side) == first);
                    if (second > first) {
                        peer_says(scene.peer, messages + first, second - first);
                        RUN_UNTIL(scene.loop, known(&scene.side) == second);
                    }
                    peer_says(scene.peer, messages + second, MESSAGES_LENGTH - second);
                    check_messages_came(&scene);
                }
            }
            scene_close(&scene);
        }
    }
}

static void messages_come_whole_byte_by_byte(void)
{
    int origin, i;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        scene.side.on_data = take_a_message;
        for (i = 0; i < MESSAGES_LENGTH; i++) {
            peer_says(scene.peer, messages + i, 1);
            RUN_UNTIL(scene.loop, known(&scene.side) == (size_t)i + 1);
        }
        check_messages_came(&scene);
        scene_close(&scene);
    }
}

/* ---- partial consumption ---- */

static size_t take_three(struct side *side, const uint8_t *data, size_t length)
{
    static const size_t lengths[] = {10, 7, 4, 1};
    (void)data;
    CHECK(side->count < 4);
    CHECK_EQ(length, lengths[side->count++]);
    return length < 3 ? length : 3;
}

static void data_is_offered_again_while_it_is_being_consumed(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        scene.side.on_data = take_three;
        peer_says(scene.peer, "0123456789", 10);
        RUN_UNTIL(scene.loop, scene.side.calls > 0);
        CHECK_EQ(scene.side.calls, 4); /* within the turn */
        CHECK(side_has_taken(&scene.side, "0123456789", 10));
        scene_close(&scene);
    }
}

static size_t take_nothing(struct side *side, const uint8_t *data, size_t length)
{
    (void)side;
    (void)data;
    (void)length;
    return 0;
}

static void data_that_is_not_consumed_waits_for_more(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        scene.side.on_data = take_nothing;
        peer_says(scene.peer, "abc", 3);
        RUN_UNTIL(scene.loop, scene.side.calls == 1);
        let_pass(scene.loop, GYRE_MS(20));
        CHECK_EQ(scene.side.calls, 1);
        peer_says(scene.peer, "def", 3);
        RUN_UNTIL(scene.loop, scene.side.calls == 2);
        CHECK_EQ(scene.side.offered, 6); /* contiguous: side_got has compared the first three */
        scene.side.on_data = NULL;
        peer_says(scene.peer, "g", 1);
        RUN_UNTIL(scene.loop, scene.side.calls == 3);
        CHECK(side_has_taken(&scene.side, "abcdefg", 7));
        scene_close(&scene);
    }
}

/* Many bytes wait for the end of a message that is as long as max_input. */
static void a_message_as_long_as_max_input_comes_whole(void)
{
    enum { INPUT = 300000 };
    gyre_stream_options options = stream_options();
    int origin;
    options.max_input = INPUT;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t sent = 0;
        size_t i;
        scene_open(&scene, (enum origin)origin, &options);
        scene.side.on_data = take_nothing;
        RUN_UNTIL(scene.loop, peer_push(scene.peer, &sent, INPUT - 1));
        RUN_UNTIL(scene.loop, known(&scene.side) == INPUT - 1);
        CHECK_EQ(scene.side.closes, 0);
        scene.side.on_data = NULL;
        RUN_UNTIL(scene.loop, peer_push(scene.peer, &sent, INPUT));
        RUN_UNTIL(scene.loop, scene.side.taken_length > 0);
        CHECK_EQ(scene.side.taken_length, INPUT);
        for (i = 0; i < INPUT; i++)
            CHECK_EQ(scene.side.taken[i], pattern(i));
        scene_close(&scene);
    }
}

static void input_that_is_full_and_not_consumed_ends_the_stream(void)
{
    gyre_stream_options options = stream_options();
    int origin, at_once;
    options.max_input = 1000;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (at_once = 0; at_once < 2; at_once++) {
            struct scene scene;
            char bytes[5000];
            memset(bytes, 'x', sizeof bytes);
            scene_open(&scene, (enum origin)origin, &options);
            scene.side.on_data = take_nothing;
            if (!at_once) {
                peer_says(scene.peer, bytes, 999);
                RUN_UNTIL(scene.loop, known(&scene.side) == 999);
                CHECK_EQ(scene.side.closes, 0);
            }
            peer_says(scene.peer, bytes, at_once ? sizeof bytes : 1);
            CHECK_STATUS(scene_status(&scene), -EMSGSIZE);
            CHECK_EQ(scene.side.offered, 1000); /* however much has come at once */
            CHECK_EQ(scene.side.taken_length, 0);
            scene_close(&scene);
        }
    }
}

static size_t take_a_hundred(struct side *side, const uint8_t *data, size_t length)
{
    (void)side;
    (void)data;
    return length < 100 ? 0 : 100;
}

static void input_that_is_full_and_consumed_goes_on(void)
{
    enum { TOTAL = 1000000 };
    gyre_stream_options options = stream_options();
    int origin;
    options.max_input = 1000;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        uint64_t sent = 0;
        size_t i;
        scene_open(&scene, (enum origin)origin, &options);
        scene.side.on_data = take_a_hundred;
        RUN_UNTIL(scene.loop, peer_push(scene.peer, &sent, TOTAL) && scene.side.taken_length == TOTAL);
        for (i = 0; i < TOTAL; i++)
            CHECK_EQ(scene.side.taken[i], pattern(i));
        scene_close(&scene);
    }
}

static size_t take_too_much(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    return side->limit == 0 ? length + 1 : side->limit;
}

static void consuming_more_than_there_is_aborts_the_stream(void)
{
    static const size_t results[] = {0, (size_t)1 << 40, SIZE_MAX};
    int origin;
    size_t i;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (i = 0; i < 3; i++) {
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            scene.side.on_data = take_too_much;
            scene.side.limit = results[i];
            peer_says(scene.peer, "abc", 3);
            CHECK_STATUS(scene_status(&scene), -EINVAL);
            CHECK_EQ(scene.side.calls, 1);
            CHECK_EQ(peer_state(scene.peer), origin == ADOPTED_UNIX ? 0 : -ECONNRESET);
            scene_close(&scene);
        }
    }
}

static size_t take_one(struct side *side, const uint8_t *data, size_t length)
{
    (void)side;
    (void)data;
    (void)length;
    return 1;
}

static size_t count_a_byte(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t length, void *user_data)
{
    uint64_t *count = (uint64_t *)user_data;
    (void)loop;
    (void)stream;
    (void)length;
    CHECK(data[0] == pattern(*count));
    ++*count;
    return 1;
}

static void a_reader_that_takes_a_byte_a_call_gets_64_mib_in_time(void)
{
    const uint64_t total = CHECK_SCALED(64u << 20);
    gyre_stream_callbacks callbacks;
    gyre_loop loop = open_loop();
    gyre_stream stream;
    uint64_t sent = 0, count = 0, start;
    int ends[2];
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    callbacks.on_data = count_a_byte; /* alone: nothing else is required */
    make_tcp_pair(ends);
    CHECK_OK(gyre_stream_adopt(loop, ends[0], NULL, &callbacks, &count, &stream));
    start = cpu_time();
    RUN_UNTIL(loop, peer_push(ends[1], &sent, total) && count == total);
    if (!check_small())
        CHECK(cpu_time() - start < GYRE_SEC(10));
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
}

static void a_stream_with_much_to_read_leaves_the_others_their_turns(void)
{
    struct scene scene;
    uint64_t sent = 0;
    gyre_timer timer;
    int ticks = 0, turn;
    scene_open(&scene, ADOPTED_TCP, NULL);
    scene.side.on_data = take_one;
    scene.side.is_greedy = 1;
    CHECK_OK(gyre_timer_open(scene.loop, 0, GYRE_MS(1), count_timer, &ticks, &timer));
    for (turn = 0; turn < CHECK_SCALED(100); turn++) { /* the peer sends without end */
        uint64_t start = check_now();
        (void)peer_push(scene.peer, &sent, sent + (1u << 18));
        one_turn(scene.loop);
        CHECK(check_now() - start < GYRE_SEC(1));
    }
    CHECK(ticks > 0);
    scene_close(&scene);
}

/* ---- end of input ---- */

static void at_the_end_of_input_the_rest_is_shown_once(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        scene.side.on_data = take_nothing;
        peer_says(scene.peer, "rest", 4);
        RUN_UNTIL(scene.loop, scene.side.calls == 1);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        RUN_UNTIL(scene.loop, scene.side.eofs == 1);
        CHECK_EQ(scene.side.calls, 2);
        CHECK_EQ(scene.side.offered, 4);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(scene.side.calls, 2);
        CHECK_EQ(scene.side.closes, 0);
        CHECK_STR(scene.side.order, "ode");
        scene_close(&scene);
    }
}

static void at_the_end_of_input_what_is_being_consumed_is_offered_to_its_end(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        scene.side.on_data = take_nothing;
        peer_says(scene.peer, "rest", 4);
        RUN_UNTIL(scene.loop, scene.side.calls == 1);
        scene.side.on_data = take_one;
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        RUN_UNTIL(scene.loop, scene.side.eofs == 1);
        CHECK(side_has_taken(&scene.side, "rest", 4));
        CHECK_EQ(scene.side.calls, 5);
        scene_close(&scene);
    }
}

static void data_and_end_that_come_together_are_told_in_order(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        peer_says(scene.peer, "last words", 10);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        RUN_UNTIL(scene.loop, scene.side.eofs == 1);
        CHECK(side_has_taken(&scene.side, "last words", 10));
        CHECK_STR(scene.side.order, "ode");
        scene_close(&scene);
    }
}

static void an_end_without_data_is_told_alone(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        RUN_UNTIL(scene.loop, scene.side.eofs == 1);
        CHECK_STR(scene.side.order, "oe");
        if (origin == ADOPTED_TCP)
            check_idles_for_a_second(scene.loop); /* the end of input is readable for ever */
        CHECK_EQ(scene.side.closes, 0);
        scene_close(&scene);
    }
}

static void without_on_eof_a_stream_ends_with_its_input(void)
{
    gyre_stream_callbacks callbacks = side_callbacks();
    int origin;
    callbacks.on_eof = NULL;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        char heard[16] = "";
        scene_begin(&scene, (enum origin)origin);
        scene_connect(&scene, NULL, &callbacks);
        CHECK_OK(gyre_stream_write(scene.side.stream, "answer", 6)); /* which is flushed */
        peer_says(scene.peer, "last words", 10);
        CHECK_SYS(shutdown(scene.peer, SHUT_WR));
        CHECK_OK(scene_status(&scene));
        CHECK(side_has_taken(&scene.side, "last words", 10));
        CHECK_STR(scene.side.order, "odc");
        peer_hears(scene.peer, heard, sizeof heard);
        CHECK_STR(heard, "answer");
        CHECK_EQ(peer_state(scene.peer), 0);
        scene_close(&scene);
    }
}

/* ---- pause and resume ---- */

static void a_paused_stream_is_silent_and_resume_offers_what_came(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        scene_open(&scene, (enum origin)origin, NULL);
        CHECK_OK(gyre_stream_pause(scene.side.stream));
        peer_says(scene.peer, "abc", 3);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(scene.side.calls, 0);
        CHECK_OK(gyre_stream_pause(scene.side.stream)); /* a second time */
        CHECK_OK(gyre_stream_resume(scene.side.stream));
        CHECK_EQ(scene.side.calls, 0); /* never inside the call */
        RUN_UNTIL(scene.loop, scene.side.calls == 1);
        CHECK(side_has_taken(&scene.side, "abc", 3));
        CHECK_OK(gyre_stream_resume(scene.side.stream)); /* one that is not paused */
        peer_says(scene.peer, "d", 1);
        RUN_UNTIL(scene.loop, scene.side.calls == 2);
        scene_close(&scene);
    }
}

static size_t pause_and_take_some(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    CHECK_OK(gyre_stream_pause(side->stream));
    return length < side->limit ? length : side->limit;
}

static void data_left_by_a_pause_is_offered_again_without_new_input(void)
{
    int origin;
    size_t taken;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (taken = 0; taken < 6; taken += 2) { /* nothing, some, all */
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            scene.side.on_data = pause_and_take_some;
            scene.side.limit = taken;
            peer_says(scene.peer, "abcd", 4);
            RUN_UNTIL(scene.loop, scene.side.calls == 1);
            let_pass(scene.loop, GYRE_MS(2));
            CHECK_EQ(scene.side.calls, 1);
            scene.side.on_data = NULL;
            CHECK_OK(gyre_stream_resume(scene.side.stream));
            if (taken < 4)
                RUN_UNTIL(scene.loop, scene.side.calls == 2);
            CHECK(side_has_taken(&scene.side, "abcd", 4));
            let_pass(scene.loop, GYRE_MS(2));
            CHECK_EQ(scene.side.calls, taken < 4 ? 2 : 1);
            scene_close(&scene);
        }
    }
}

static void resume_offers_again_what_was_refused_before(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_TCP, NULL);
    scene.side.on_data = take_nothing;
    peer_says(scene.peer, "abc", 3);
    RUN_UNTIL(scene.loop, scene.side.calls == 1);
    CHECK_OK(gyre_stream_pause(scene.side.stream));
    CHECK_OK(gyre_stream_resume(scene.side.stream));
    RUN_UNTIL(scene.loop, scene.side.calls == 2);
    let_pass(scene.loop, GYRE_MS(2));
    CHECK_EQ(scene.side.calls, 2);
    scene_close(&scene);
}

static void pause_on_open(struct side *side)
{
    CHECK_OK(gyre_stream_pause(side->stream));
}

static void a_stream_paused_as_it_opens_hears_nothing_before_resume(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        struct scene scene;
        gyre_stream_callbacks callbacks = side_callbacks();
        scene_begin(&scene, (enum origin)origin);
        scene.side.on_open = pause_on_open;
        scene_connect(&scene, NULL, &callbacks);
        peer_says(scene.peer, "abc", 3);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_STR(scene.side.order, "o");
        CHECK_OK(gyre_stream_resume(scene.side.stream));
        RUN_UNTIL(scene.loop, scene.side.calls == 1);
        scene_close(&scene);
    }
}

static void a_pause_withholds_the_end_of_input(void)
{
    int origin, with_data;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (with_data = 0; with_data < 2; with_data++) {
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            CHECK_OK(gyre_stream_pause(scene.side.stream));
            if (with_data)
                peer_says(scene.peer, "abc", 3);
            CHECK_SYS(shutdown(scene.peer, SHUT_WR));
            if (origin == ADOPTED_UNIX)
                check_idles_for_a_second(scene.loop);
            else
                let_pass(scene.loop, GYRE_MS(5));
            CHECK_STR(scene.side.order, "o");
            CHECK_OK(gyre_stream_resume(scene.side.stream));
            RUN_UNTIL(scene.loop, scene.side.eofs == 1);
            CHECK_STR(scene.side.order, with_data ? "ode" : "oe");
            scene_close(&scene);
        }
    }
}

static size_t pause_at_the_rest(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    (void)length;
    side->count++;
    CHECK_OK(gyre_stream_pause(side->stream));
    return 0;
}

static void a_pause_at_the_rest_keeps_it_and_the_end_for_resume(void)
{
    int origin, end_is_known;
    for (origin = 0; origin < ORIGINS; origin++) {
        for (end_is_known = 0; end_is_known < 2; end_is_known++) {
            struct scene scene;
            scene_open(&scene, (enum origin)origin, NULL);
            if (end_is_known)
                scene.side.on_data = take_nothing;
            else
                scene.side.on_data = pause_at_the_rest;
            peer_says(scene.peer, "rest", 4);
            RUN_UNTIL(scene.loop, scene.side.calls == 1);
            scene.side.on_data = pause_at_the_rest;
            CHECK_SYS(shutdown(scene.peer, SHUT_WR));
            if (end_is_known) /* what is left at the end is shown once more */
                RUN_UNTIL(scene.loop, scene.side.calls == 2);
            let_pass(scene.loop, GYRE_MS(5));
            CHECK_EQ(scene.side.count, 1);
            CHECK_EQ(scene.side.eofs, 0);
            scene.side.on_data = NULL;
            CHECK_OK(gyre_stream_resume(scene.side.stream));
            RUN_UNTIL(scene.loop, scene.side.eofs == 1);
            CHECK(side_has_taken(&scene.side, "rest", 4));
            scene_close(&scene);
        }
    }
}

static size_t pause_when_full(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    if (length == side->limit)
        CHECK_OK(gyre_stream_pause(side->stream));
    return 0;
}

static void a_pause_withholds_that_the_input_is_full(void)
{
    gyre_stream_options options = stream_options();
    int resume_and_take;
    options.max_input = 1000;
    for (resume_and_take = 0; resume_and_take < 2; resume_and_take++) {
        struct scene scene;
        char bytes[1000];
        memset(bytes, 'x', sizeof bytes);
        scene_open(&scene, ADOPTED_TCP, &options);
        scene.side.on_data = pause_when_full;
        scene.side.limit = sizeof bytes;
        peer_says(scene.peer, bytes, sizeof bytes);
        RUN_UNTIL(scene.loop, scene.side.offered == sizeof bytes);
        let_pass(scene.loop, GYRE_MS(5));
        CHECK_EQ(scene.side.closes, 0);
        scene.side.on_data = resume_and_take ? NULL : take_nothing;
        CHECK_OK(gyre_stream_resume(scene.side.stream));
        if (resume_and_take) {
            RUN_UNTIL(scene.loop, scene.side.taken_length == sizeof bytes);
            CHECK_EQ(scene.side.closes, 0);
        } else {
            CHECK_STATUS(scene_status(&scene), -EMSGSIZE);
        }
        scene_close(&scene);
    }
}

static size_t pause_and_resume(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    CHECK_OK(gyre_stream_pause(side->stream));
    CHECK_OK(gyre_stream_resume(side->stream));
    return length < 2 ? length : 2;
}

static void a_pause_taken_back_in_the_callback_changes_nothing(void)
{
    struct scene scene;
    scene_open(&scene, ADOPTED_TCP, NULL);
    scene.side.on_data = pause_and_resume;
    peer_says(scene.peer, "abcde", 5);
    RUN_UNTIL(scene.loop, scene.side.taken_length == 5);
    CHECK_EQ(scene.side.calls, 3);
    scene_close(&scene);
}

static size_t refuse_with_a_resume(struct side *side, const uint8_t *data, size_t length)
{
    (void)data;
    (void)length;
    CHECK_OK(gyre_stream_pause(side->stream));
    CHECK_OK(gyre_stream_resume(side->stream));
    return 0;
}

/* Whatever such a stream is offered, the loop must go on. */
static void resuming_and_refusing_for_ever_starves_nobody(void)
{
    struct scene scene;
    gyre_timer timer;
    int ticks = 0;
    scene_open(&scene, ADOPTED_TCP, NULL);
    scene.side.on_data = refuse_with_a_resume;
    peer_says(scene.peer, "abc", 3);
    CHECK_OK(gyre_timer_open(scene.loop, 0, GYRE_MS(1), count_timer, &ticks, &timer));
    RUN_UNTIL(scene.loop, scene.side.calls > 0 && ticks > 3);
    scene_close(&scene);
}

static void a_paused_stream_holds_the_peer_back(void)
{
    gyre_stream_options options = stream_options();
    struct scene scene;
    uint64_t sent = 0, before;
    int settled;
    options.max_input = 10000;
    scene_open(&scene, ADOPTED_TCP, &options);
    shrink_buffer(scene.peer);
    CHECK_OK(gyre_stream_pause(scene.side.stream));
    for (settled = 0; settled < 5; settled += sent == before) {
        before = sent;
        (void)peer_push(scene.peer, &sent, 1u << 30);
        let_pass(scene.loop, GYRE_MS(2));
    }
    CHECK(sent < 4u << 20); /* what the kernel's buffers and max_input hold, and no more */
    CHECK_EQ(scene.side.calls, 0);
    check_idles_for_a_second(scene.loop);
    CHECK_OK(gyre_stream_resume(scene.side.stream));
    RUN_UNTIL(scene.loop, scene.side.taken_length == sent);
    scene_close(&scene);
}

static void a_paused_stream_writes_on(void)
{
    int origin;
    for (origin = 0; origin < ORIGINS; origin++) {
        gyre_stream_options options = stream_options();
        struct scene scene;
        uint64_t total, received = 0;
        options.write_limit = 1u << 20;
        scene_open(&scene, (enum origin)origin, &options);
        shrink_buffer(gyre_stream_fd(scene.side.stream));
        CHECK_OK(gyre_stream_pause(scene.side.stream));
        total = scene_fill(&scene, 10000);
        RUN_UNTIL(scene.loop, peer_pull(scene.peer, &received, total));
        CHECK_EQ(scene.side.drains, 1);
        CHECK_EQ(scene.side.calls, 0);
        scene_close(&scene);
    }
}

int main(void)
{
    check_begin();
    RUN(messages_come_whole_wherever_they_were_split);
    RUN(messages_come_whole_byte_by_byte);
    RUN(data_is_offered_again_while_it_is_being_consumed);
    RUN(data_that_is_not_consumed_waits_for_more);
    RUN(a_message_as_long_as_max_input_comes_whole);
    RUN(input_that_is_full_and_not_consumed_ends_the_stream);
    RUN(input_that_is_full_and_consumed_goes_on);
    RUN(consuming_more_than_there_is_aborts_the_stream);
    RUN(a_reader_that_takes_a_byte_a_call_gets_64_mib_in_time);
    RUN(a_stream_with_much_to_read_leaves_the_others_their_turns);
    RUN(at_the_end_of_input_the_rest_is_shown_once);
    RUN(at_the_end_of_input_what_is_being_consumed_is_offered_to_its_end);
    RUN(data_and_end_that_come_together_are_told_in_order);
    RUN(an_end_without_data_is_told_alone);
    RUN(without_on_eof_a_stream_ends_with_its_input);
    RUN(a_paused_stream_is_silent_and_resume_offers_what_came);
    RUN(data_left_by_a_pause_is_offered_again_without_new_input);
    RUN(resume_offers_again_what_was_refused_before);
    RUN(a_stream_paused_as_it_opens_hears_nothing_before_resume);
    RUN(a_pause_withholds_the_end_of_input);
    RUN(a_pause_at_the_rest_keeps_it_and_the_end_for_resume);
    RUN(a_pause_withholds_that_the_input_is_full);
    RUN(a_pause_taken_back_in_the_callback_changes_nothing);
    RUN(resuming_and_refusing_for_ever_starves_nobody);
    RUN(a_paused_stream_holds_the_peer_back);
    RUN(a_paused_stream_writes_on);
    return 0;
}
