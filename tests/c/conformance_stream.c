/* Listeners and streams: what is told, in which order, and what a program may rely on. */
#define _POSIX_C_SOURCE 200809L
#include "fixtures.h"

#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- a stream that takes notes ---- */

enum { KEEP = 64 * 1024 };

/* What a stream has told. What it is to do is chosen by the members that a test sets. */
struct notes {
    gyre_stream stream;
    char calls[128];        /* o(pen) d(ata) r(elease) n (drain) e(of) c(lose) */
    size_t taken;           /* bytes consumed */
    size_t shown;           /* length of the last on_data */
    int status;             /* of on_close */
    int closed;             /* how often */
    uint8_t bytes[KEEP];    /* the first ones consumed */
    size_t at_once;         /* consume so many a call; 0 for all */
    size_t frame;           /* consume only whole frames of so many bytes */
    int refuses;            /* consume nothing */
    int pauses;             /* pause in on_data */
    int echoes;
    int closes;             /* in on_data */
};

static void note(struct notes *notes, char call)
{
    size_t length = strlen(notes->calls);
    if (length + 1 < sizeof notes->calls && (call != 'd' || length == 0 || notes->calls[length - 1] != 'd')) {
        notes->calls[length] = call;
        notes->calls[length + 1] = '\0';
    }
}

static void on_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct notes *notes = (struct notes *)user_data;
    (void)loop;
    note(notes, 'o');
    notes->stream = stream;
}

static size_t on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t len, void *user_data)
{
    struct notes *notes = (struct notes *)user_data;
    size_t takes = len;
    (void)loop;
    note(notes, 'd');
    notes->shown = len;
    if (notes->pauses)
        CHECK_OK(gyre_stream_pause(stream));
    if (notes->refuses)
        return 0;
    if (notes->at_once != 0 && takes > notes->at_once)
        takes = notes->at_once;
    if (notes->frame != 0)
        takes -= takes % notes->frame;
    if (notes->taken < KEEP)
        memcpy(notes->bytes + notes->taken, data, takes < KEEP - notes->taken ? takes : KEEP - notes->taken);
    notes->taken += takes;
    if (notes->echoes)
        CHECK_OK(gyre_stream_write(stream, data, takes));
    if (notes->closes)
        CHECK_OK(gyre_stream_close(stream));
    return takes;
}

static void on_drain(gyre_loop loop, gyre_stream stream, void *user_data)
{
    (void)loop;
    (void)stream;
    note((struct notes *)user_data, 'n');
}

static void on_eof(gyre_loop loop, gyre_stream stream, void *user_data)
{
    (void)loop;
    (void)stream;
    note((struct notes *)user_data, 'e');
}

static void on_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    struct notes *notes = (struct notes *)user_data;
    (void)loop;
    note(notes, 'c');
    notes->status = status;
    notes->closed++;
    CHECK_STATUS((int)gyre_stream_pending(stream), GYRE_EHANDLE);
}

static void on_release(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    note((struct notes *)arg, 'r');
}

static const gyre_stream_callbacks all_callbacks = {
    sizeof all_callbacks, on_open, on_data, on_drain, on_eof, on_close,
};

static const gyre_stream_callbacks without_eof = {
    sizeof without_eof, on_open, on_data, on_drain, NULL, on_close,
};

static gyre_stream_options stream_options(void)
{
    gyre_stream_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

static gyre_listener_options listener_options(void)
{
    gyre_listener_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

/* Adopts one end of a pair; returns the other, which is the caller's. */
static int adopt_pair(gyre_loop loop, int tcp, const gyre_stream_options *options,
                      const gyre_stream_callbacks *callbacks, struct notes *notes)
{
    int ends[2];
    if (tcp)
        make_tcp_pair(ends);
    else
        make_socketpair(ends);
    CHECK_OK(gyre_stream_adopt(loop, ends[0], options, callbacks, notes, &notes->stream));
    return ends[1];
}

static struct notes *new_notes(void)
{
    struct notes *notes = (struct notes *)calloc(1, sizeof *notes);
    CHECK(notes != NULL);
    return notes;
}

static void send_all(int fd, const void *data, size_t len)
{
    CHECK_EQ(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

/* ---- shown and consumed ---- */

static void bytes_are_shown_until_consumed_whatever_the_split(void)
{
    enum { LENGTH = 24, FRAME = 8 };
    uint8_t message[LENGTH];
    size_t split, i;
    for (i = 0; i < LENGTH; i++)
        message[i] = pattern(i);
    for (split = 0; split <= LENGTH; split++) {
        gyre_loop loop = open_loop();
        struct notes *notes = new_notes();
        int peer = adopt_pair(loop, split % 2 == 0, NULL, &all_callbacks, notes);
        notes->frame = FRAME;
        if (split > 0)
            send_all(peer, message, split);
        RUN_UNTIL(loop, gyre_stream_received(notes->stream) == (int64_t)split && strchr(notes->calls, 'o'));
        CHECK_EQ(notes->taken, split - split % FRAME);
        if (split < LENGTH)
            send_all(peer, message + split, LENGTH - split);
        RUN_UNTIL(loop, notes->taken == LENGTH);
        CHECK(memcmp(notes->bytes, message, LENGTH) == 0);
        CHECK_SYS(close(peer));
        close_loop(loop);
        CHECK_STATUS(notes->status, -ECANCELED);
        free(notes);
    }
}

static void a_reader_of_one_byte_at_a_time_gets_all(void)
{
    enum { LENGTH = 40000 };
    static uint8_t message[LENGTH];
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 0, NULL, &all_callbacks, notes);
    size_t i;
    for (i = 0; i < LENGTH; i++)
        message[i] = pattern(i);
    notes->at_once = 1;
    send_all(peer, message, LENGTH);
    CHECK_SYS(close(peer));
    RUN_UNTIL(loop, strchr(notes->calls, 'e'));
    CHECK_STR(notes->calls, "ode");
    CHECK_EQ(notes->taken, LENGTH);
    CHECK(memcmp(notes->bytes, message, LENGTH) == 0);
    close_loop(loop);
    free(notes);
}

static size_t take_too_much(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t len, void *user_data)
{
    (void)loop;
    (void)stream;
    (void)data;
    note((struct notes *)user_data, 'd');
    return len + 1;
}

static void taking_more_than_there_is_ends_with_einval(void)
{
    gyre_stream_callbacks callbacks = all_callbacks;
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer;
    callbacks.on_data = take_too_much;
    peer = adopt_pair(loop, 1, NULL, &callbacks, notes);
    put_byte(peer);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "odc");
    CHECK_STATUS(notes->status, -EINVAL);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void more_input_than_the_bound_ends_with_emsgsize_but_not_while_paused(void)
{
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer;
    options.max_input = 100;
    peer = adopt_pair(loop, 0, &options, &all_callbacks, notes);
    notes->refuses = 1;
    notes->pauses = 1;
    send_all(peer, "01234567890123456789012345678901234567890123456789"
                   "01234567890123456789012345678901234567890123456789"
                   "and more", 108);
    let_pass(loop, GYRE_MS(30));
    CHECK_STR(notes->calls, "od");
    CHECK_EQ(notes->shown, 100);
    CHECK_EQ(notes->closed, 0);
    notes->pauses = 0;
    CHECK_OK(gyre_stream_resume(notes->stream));
    CHECK_EQ(notes->closed, 0); /* not inside the call */
    RUN_UNTIL(loop, notes->closed);
    CHECK_STATUS(notes->status, -EMSGSIZE);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void what_was_kept_is_shown_again_at_resume_without_new_input(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    notes->refuses = 1;
    send_all(peer, "abc", 3);
    RUN_UNTIL(loop, notes->shown == 3);
    CHECK_OK(gyre_stream_pause(notes->stream));
    send_all(peer, "def", 3);
    CHECK_SYS(shutdown(peer, SHUT_WR));
    notes->shown = 0;
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(notes->shown, 0);
    CHECK_STR(notes->calls, "od");
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0); /* a paused stream keeps no loop alive */
    notes->refuses = 0;
    CHECK_OK(gyre_stream_resume(notes->stream));
    CHECK_EQ(notes->taken, 0);
    one_turn(loop);
    CHECK_EQ(notes->taken >= 3, 1);
    RUN_UNTIL(loop, strchr(notes->calls, 'e'));
    CHECK_EQ(notes->taken, 6);
    CHECK(memcmp(notes->bytes, "abcdef", 6) == 0);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void the_end_shows_the_rest_once_and_then_itself(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 0, NULL, &all_callbacks, notes);
    notes->frame = 4;
    send_all(peer, "abcdef", 6);
    RUN_UNTIL(loop, notes->taken == 4);
    notes->shown = 0;
    notes->frame = 100;
    CHECK_SYS(shutdown(peer, SHUT_WR));
    RUN_UNTIL(loop, strchr(notes->calls, 'e'));
    CHECK_EQ(notes->shown, 2);
    CHECK_STR(notes->calls, "ode");
    CHECK_OK(gyre_stream_write(notes->stream, "still", 5)); /* half open */
    let_pass(loop, GYRE_MS(10));
    CHECK_EQ(notes->closed, 0);
    CHECK_OK(gyre_stream_close(notes->stream));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STATUS(notes->status, 0);
    CHECK_STR(notes->calls, "odec");
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void without_on_eof_the_end_closes(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &without_eof, notes);
    notes->echoes = 1;
    send_all(peer, "abc", 3);
    CHECK_SYS(shutdown(peer, SHUT_WR));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "odc");
    CHECK_STATUS(notes->status, 0);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void a_stream_ends_when_both_directions_have(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    char byte;
    one_turn(loop);
    CHECK_OK(gyre_stream_write(notes->stream, "x", 1));
    CHECK_OK(gyre_stream_shutdown(notes->stream));
    CHECK_STATUS(gyre_stream_shutdown(notes->stream), -EALREADY);
    CHECK_STATUS(gyre_stream_write(notes->stream, "x", 1), -EPIPE);
    take_byte(peer);
    CHECK_EQ(read(peer, &byte, 1), 0);
    send_all(peer, "late", 4);
    RUN_UNTIL(loop, notes->taken == 4);
    CHECK_EQ(notes->closed, 0);
    CHECK_SYS(close(peer));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "odec");
    CHECK_STATUS(notes->status, 0);
    close_loop(loop);
    free(notes);
}

static void bytes_before_a_reset_are_all_told(void)
{
    int writes;
    for (writes = 0; writes < 2; writes++) {
        struct linger reset = {1, 0};
        gyre_loop loop = open_loop();
        struct notes *notes = new_notes();
        int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
        one_turn(loop);
        send_all(peer, "last words", 10);
        CHECK_SYS(setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
        CHECK_SYS(close(peer));
        if (writes) /* the write hears of the reset first */
            CHECK_STATUS(gyre_stream_write(notes->stream, "x", 1), -ECONNRESET);
        CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        CHECK_STR(notes->calls, "odc");
        CHECK_EQ(notes->taken, 10);
        CHECK_STATUS(notes->status, -ECONNRESET);
        close_loop(loop);
        free(notes);
    }
}

/* ---- writing ---- */

static size_t read_all(int fd, size_t len)
{
    static uint8_t buffer[1 << 16];
    size_t all = 0, i;
    while (all < len) {
        ssize_t got = read(fd, buffer, len - all < sizeof buffer ? len - all : sizeof buffer);
        CHECK_SYS(got);
        if (got == 0)
            break;
        for (i = 0; i < (size_t)got; i++)
            CHECK_EQ(buffer[i], pattern(all + i));
        all += (size_t)got;
    }
    return all;
}

static void writes_are_bounded_and_drain_is_told_once(void)
{
    enum { LIMIT = 100000 };
    static uint8_t message[LIMIT * 8];
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    size_t written = 0, i;
    int peer, status;
    for (i = 0; i < sizeof message; i++)
        message[i] = pattern(i);
    options.write_limit = LIMIT;
    peer = adopt_pair(loop, 0, &options, &all_callbacks, notes);
    one_turn(loop);
    CHECK_STATUS(gyre_stream_write(notes->stream, message, LIMIT + 1), -EMSGSIZE);
    while ((status = gyre_stream_write(notes->stream, message + written, LIMIT / 4)) == 0) {
        written += LIMIT / 4;
        CHECK(written + LIMIT <= sizeof message);
    }
    CHECK_STATUS(status, GYRE_EFULL);
    CHECK_STATUS(gyre_stream_write(notes->stream, message, LIMIT), GYRE_EFULL);
    CHECK(gyre_stream_pending(notes->stream) <= LIMIT);
    CHECK(gyre_stream_pending(notes->stream) > LIMIT / 2);
    CHECK_EQ(gyre_stream_pending(notes->stream) + gyre_stream_sent(notes->stream), (int64_t)written);
    let_pass(loop, GYRE_MS(10));
    CHECK_STR(notes->calls, "o");
    CHECK_EQ(read_all(peer, LIMIT / 4), LIMIT / 4);
    {
        size_t at = LIMIT / 4;
        static uint8_t buffer[4096];
        while (at < written) {
            ssize_t got = recv(peer, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got > 0) {
                for (i = 0; i < (size_t)got; i++)
                    CHECK_EQ(buffer[i], pattern(at + i));
                at += (size_t)got;
            }
            one_turn(loop);
        }
    }
    CHECK_STR(notes->calls, "on");
    CHECK_EQ(gyre_stream_pending(notes->stream), 0);
    CHECK_EQ(gyre_stream_sent(notes->stream), (int64_t)written);
    CHECK_OK(gyre_stream_write(notes->stream, "", 0));
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void lent_buffers_are_sent_in_order_and_released_once(void)
{
    enum { LENGTH = 300000 };
    static uint8_t message[LENGTH];
    struct iovec pieces[3];
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 0, NULL, &all_callbacks, notes);
    size_t i, at = 0;
    for (i = 0; i < LENGTH; i++)
        message[i] = pattern(i);
    one_turn(loop);
    CHECK_STATUS(gyre_stream_write_owned(notes->stream, message, 1, NULL, NULL), -EINVAL);
    CHECK_OK(gyre_stream_write_owned(notes->stream, message, 1000, on_release, notes));
    CHECK_STR(notes->calls, "o"); /* never inside the call */
    one_turn(loop);
    CHECK_STR(notes->calls, "or");
    CHECK_OK(gyre_stream_write_owned(notes->stream, message + 1000, LENGTH - 2000, on_release, notes));
    pieces[0].iov_base = message + LENGTH - 1000;
    pieces[0].iov_len = 300;
    pieces[1].iov_base = NULL;
    pieces[1].iov_len = 0;
    pieces[2].iov_base = message + LENGTH - 700;
    pieces[2].iov_len = 690;
    CHECK_OK(gyre_stream_writev(notes->stream, pieces, 3));
    CHECK_OK(gyre_stream_write_owned(notes->stream, message + LENGTH - 10, 10, on_release, notes));
    CHECK_STR(notes->calls, "or");
    while (at < LENGTH) {
        static uint8_t buffer[1 << 16];
        ssize_t got = recv(peer, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got > 0) {
            for (i = 0; i < (size_t)got; i++)
                CHECK_EQ(buffer[i], pattern(at + i));
            at += (size_t)got;
        }
        one_turn(loop);
    }
    one_turn(loop);
    CHECK_STR(notes->calls, "orrr");
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void lent_buffers_come_back_before_the_end(void)
{
    enum { LENGTH = 1 << 20 };
    static uint8_t message[LENGTH];
    int how;
    for (how = 0; how < 3; how++) {
        gyre_loop loop = open_loop();
        struct notes *notes = new_notes();
        int peer = adopt_pair(loop, 0, NULL, &all_callbacks, notes);
        one_turn(loop);
        CHECK_OK(gyre_stream_write_owned(notes->stream, message, LENGTH, on_release, notes));
        CHECK(gyre_stream_pending(notes->stream) > 0);
        if (how == 0)
            CHECK_SYS(close(peer));
        if (how == 1)
            CHECK_OK(gyre_stream_abort(notes->stream));
        if (how < 2)
            CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
        close_loop(loop);
        CHECK_STR(notes->calls, "orc");
        CHECK(notes->status == (how == 0 ? -EPIPE : how == 1 ? -ECONNABORTED : -ECANCELED) ||
              (how == 0 && notes->status == -ECONNRESET));
        if (how != 0)
            CHECK_SYS(close(peer));
        free(notes);
    }
}

/* ---- ends ---- */

static void close_sends_what_waits_and_the_handle_serves_until_on_close(void)
{
    enum { LENGTH = 500000 };
    static uint8_t message[LENGTH];
    gyre_loop loop = open_loop();
    gyre_loop other;
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 0, NULL, &all_callbacks, notes);
    char text[64];
    size_t i, at = 0;
    for (i = 0; i < LENGTH; i++)
        message[i] = pattern(i);
    one_turn(loop);
    CHECK_OK(gyre_stream_write(notes->stream, message, LENGTH));
    CHECK_OK(gyre_stream_close(notes->stream));
    CHECK_STATUS(gyre_stream_close(notes->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_write(notes->stream, "x", 1), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_shutdown(notes->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_pause(notes->stream), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_resume(notes->stream), GYRE_EHANDLE);
    CHECK(gyre_stream_pending(notes->stream) > 0);
    CHECK_EQ(gyre_stream_peer(notes->stream, text, sizeof text), 5);
    CHECK_STR(text, "unix:");
    CHECK_OK(gyre_stream_loop(notes->stream, &other));
    CHECK(gyre_stream_user_data(notes->stream) == notes);
    while (at < LENGTH) {
        static uint8_t buffer[1 << 16];
        ssize_t got = recv(peer, buffer, sizeof buffer, MSG_DONTWAIT);
        CHECK(got != 0);
        if (got > 0) {
            for (i = 0; i < (size_t)got; i++)
                CHECK_EQ(buffer[i], pattern(at + i));
            at += (size_t)got;
        }
        one_turn(loop);
    }
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "oc");
    CHECK_STATUS(notes->status, 0);
    CHECK_EQ(read(peer, text, 1), 0);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void a_close_that_cannot_send_ends_at_its_deadline(void)
{
    static uint8_t message[1 << 20];
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    uint64_t begun = check_now();
    int peer;
    options.close_ns = GYRE_MS(60);
    peer = adopt_pair(loop, 1, &options, &all_callbacks, notes);
    one_turn(loop);
    while (gyre_stream_pending(notes->stream) == 0)
        CHECK_OK(gyre_stream_write(notes->stream, message, sizeof message));
    CHECK_OK(gyre_stream_close(notes->stream));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STATUS(notes->status, -ETIMEDOUT);
    CHECK(check_now() - begun >= GYRE_MS(60));
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

/* A close with bytes unread would reset the connection, and the peer would lose the answer. */
static void a_peer_that_is_still_sending_gets_the_answer_to_its_end(void)
{
    static uint8_t flood[1 << 18];
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    uint64_t begun = check_now();
    char answer[8];
    CHECK_OK(gyre_stream_pause(notes->stream));
    one_turn(loop);
    make_nonblocking(peer);
    while (send(peer, flood, sizeof flood, MSG_NOSIGNAL) > 0) {
    }
    CHECK_OK(gyre_stream_write(notes->stream, "go away", 7));
    CHECK_OK(gyre_stream_close(notes->stream));
    let_pass(loop, GYRE_MS(20));
    CHECK_EQ(notes->closed, 0);
    CHECK_EQ(recv(peer, answer, 7, MSG_WAITALL), 7);
    CHECK_EQ(recv(peer, answer, 1, 0), 0);
    CHECK_SYS(close(peer));
    RUN_UNTIL(loop, notes->closed);
    CHECK_STATUS(notes->status, 0);
    CHECK(check_now() - begun < GYRE_SEC(4)); /* the peer's end, not the deadline */
    close_loop(loop);
    free(notes);
}

static void abort_resets(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    char byte;
    one_turn(loop);
    CHECK_OK(gyre_stream_close(notes->stream));
    CHECK_OK(gyre_stream_abort(notes->stream)); /* also after close */
    CHECK_STATUS(gyre_stream_abort(notes->stream), GYRE_EHANDLE);
    CHECK_STR(notes->calls, "o");
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "oc");
    CHECK_STATUS(notes->status, -ECONNABORTED);
    CHECK_EQ(recv(peer, &byte, 1, 0), -1);
    CHECK_EQ(errno, ECONNRESET);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void an_adopted_stream_closed_at_once_is_told_only_its_end(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    CHECK_STR(notes->calls, "");
    CHECK_OK(gyre_stream_close(notes->stream));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "c");
    CHECK_STATUS(notes->status, 0);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void a_descriptor_closed_under_a_stream_ends_it_once(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    int number, other[2];
    one_turn(loop);
    number = gyre_stream_fd(notes->stream);
    CHECK(number >= 0);
    make_pipe(other);
    replace_descriptor(number, other[0]); /* closes the connection */
    put_byte(other[1]);
    CHECK_OK(gyre_stream_pause(notes->stream)); /* a change finds out */
    RUN_UNTIL(loop, notes->closed);
    CHECK_STR(notes->calls, "oc");
    CHECK_STATUS(notes->status, -EBADF);
    take_byte(number); /* it is another's, and open */
    CHECK_SYS(close(number));
    close_pair(other);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

/* ---- deadlines ---- */

static void a_stream_without_progress_is_ended(void)
{
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct notes *silent = new_notes(), *trickling = new_notes(), *busy = new_notes(), *paused = new_notes();
    int peers[4], i;
    uint64_t begun = check_now();
    options.idle_ns = GYRE_MS(400);
    peers[0] = adopt_pair(loop, 1, &options, &all_callbacks, silent);
    peers[1] = adopt_pair(loop, 0, &options, &all_callbacks, trickling);
    peers[2] = adopt_pair(loop, 0, &options, &all_callbacks, busy);
    peers[3] = adopt_pair(loop, 0, &options, &all_callbacks, paused);
    trickling->frame = 1000;
    CHECK_OK(gyre_stream_pause(paused->stream));
    for (i = 0; i < 12; i++) {
        if (!trickling->closed)
            (void)send(peers[1], "x", 1, MSG_NOSIGNAL);
        send_all(peers[2], "x", 1);
        let_pass(loop, GYRE_MS(60));
        if (silent->closed || trickling->closed)
            CHECK(check_now() - begun >= GYRE_MS(400));
    }
    CHECK_STATUS(silent->status, -ETIMEDOUT);
    CHECK_EQ(silent->closed, 1);
    CHECK_STATUS(trickling->status, -ETIMEDOUT);
    CHECK_EQ(trickling->closed, 1);
    CHECK_EQ(busy->closed, 0);
    CHECK_EQ(paused->closed, 0);
    RUN_UNTIL(loop, busy->closed);
    CHECK_STATUS(busy->status, -ETIMEDOUT);
    for (i = 0; i < 4; i++)
        CHECK_SYS(close(peers[i]));
    close_loop(loop);
    free(silent);
    free(trickling);
    free(busy);
    free(paused);
}

static void output_that_nobody_reads_ends_the_stream(void)
{
    static uint8_t message[1 << 20];
    gyre_stream_options options = stream_options();
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    uint64_t begun;
    int peer, i;
    options.write_stall_ns = GYRE_MS(100);
    peer = adopt_pair(loop, 0, &options, &all_callbacks, notes);
    one_turn(loop);
    begun = check_now();
    CHECK_OK(gyre_stream_write(notes->stream, message, sizeof message));
    for (i = 0; i < 5; i++) { /* what comes does not count */
        put_byte(peer);
        let_pass(loop, GYRE_MS(10));
    }
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STATUS(notes->status, -ETIMEDOUT);
    CHECK(check_now() - begun >= GYRE_MS(100));
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

/* ---- listeners and connecting ---- */

struct server {
    gyre_loop loop;
    gyre_listener listener;
    char address[128];
    struct notes *last; /* of the stream that was accepted last */
    int opened;
    int closed;
    int close_listener;
};

static void server_open(gyre_loop loop, gyre_stream stream, void *user_data)
{
    struct server *server = (struct server *)user_data;
    (void)loop;
    server->opened++;
    server->last->stream = stream;
    if (server->close_listener)
        CHECK_OK(gyre_listener_close(server->listener));
}

static size_t server_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t len, void *user_data)
{
    int status = gyre_stream_write(stream, data, len);
    (void)loop;
    (void)user_data;
    CHECK(status == 0 || status == -ECONNRESET || status == -EPIPE); /* clients may be gone by now */
    return len;
}

static void server_close(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    (void)loop;
    (void)stream;
    (void)status;
    ((struct server *)user_data)->closed++;
}

static const gyre_stream_callbacks server_callbacks = {
    sizeof server_callbacks, server_open, server_data, NULL, NULL, server_close,
};

static void start(struct server *server, const char *address, const gyre_listener_options *options)
{
    memset(server, 0, sizeof *server);
    server->loop = open_loop();
    server->last = new_notes();
    CHECK_OK(gyre_listener_open(server->loop, address, options, &server_callbacks, server, &server->listener));
    CHECK(gyre_listener_address(server->listener, server->address, sizeof server->address) > 0);
}

static void finish(struct server *server)
{
    close_loop(server->loop);
    CHECK_EQ(server->opened, server->closed);
    free(server->last);
}

static void temporary_path(char path[64])
{
    char directory[] = "/tmp/gyre-test-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, 64, "%s/socket", directory);
}

static void remove_temporary(const char *path)
{
    char directory[64];
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = '\0';
    unlink(path);
    CHECK_SYS(rmdir(directory));
}

static void connections_are_accepted_and_served_on_every_kind_of_address(void)
{
    char path[64], addresses[3][96];
    int i;
    temporary_path(path);
    snprintf(addresses[0], sizeof addresses[0], "127.0.0.1:0");
    snprintf(addresses[1], sizeof addresses[1], "[::1]:0");
    snprintf(addresses[2], sizeof addresses[2], "unix:%s", path);
    for (i = 0; i < 3; i++) {
        struct server server;
        struct notes *client = new_notes();
        char text[128];
        start(&server, addresses[i], NULL);
        CHECK_OK(gyre_stream_connect(server.loop, server.address, NULL, &all_callbacks, client, &client->stream));
        CHECK_OK(gyre_stream_write(client->stream, "early", 5)); /* sent once it is connected */
        CHECK_EQ(gyre_stream_pending(client->stream) + gyre_stream_sent(client->stream), 5);
        RUN_UNTIL(server.loop, client->taken == 5);
        CHECK(memcmp(client->bytes, "early", 5) == 0);
        CHECK(gyre_stream_peer(client->stream, text, sizeof text) > 0);
        CHECK_STR(text, server.address);
        CHECK(gyre_stream_local(server.last->stream, text, sizeof text) > 0);
        CHECK_STR(text, server.address);
        CHECK_EQ(gyre_stream_peer(client->stream, NULL, 0), (int)strlen(text));
        if (i < 2) {
            int value = 0;
            socklen_t length = sizeof value;
            CHECK_SYS(getsockopt(gyre_stream_fd(server.last->stream), IPPROTO_TCP, TCP_NODELAY, &value, &length));
            CHECK(value != 0);
        }
        CHECK_OK(gyre_stream_close(client->stream));
        RUN_UNTIL(server.loop, client->closed && server.closed);
        CHECK_STR(client->calls, "odc");
        finish(&server);
        free(client);
    }
    remove_temporary(path);
}

static void connecting_is_told_by_on_close_when_it_fails(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    CHECK_OK(gyre_stream_connect(loop, "unix:/nonexistent/gyre", NULL, &all_callbacks, notes, &notes->stream));
    CHECK_STR(notes->calls, "");
    CHECK_STATUS(gyre_stream_fd(notes->stream), -ENOTCONN);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(notes->calls, "c");
    CHECK_STATUS(notes->status, -ENOENT);
    close_loop(loop);
    free(notes);
}

static void several_addresses_are_tried_in_turn(void)
{
    struct server server;
    struct notes *notes = new_notes();
    char address[256];
    start(&server, "127.0.0.1:0", NULL);
    snprintf(address, sizeof address, "unix:/nonexistent/gyre,127.0.0.1:1,%s", server.address);
    CHECK_OK(gyre_stream_connect(server.loop, address, NULL, &all_callbacks, notes, &notes->stream));
    RUN_UNTIL(server.loop, strchr(notes->calls, 'o'));
    CHECK_STR(notes->calls, "o");
    CHECK_OK(gyre_stream_abort(notes->stream));
    RUN_UNTIL(server.loop, notes->closed && server.closed == server.opened);
    notes->calls[0] = '\0';
    CHECK_OK(gyre_stream_connect(server.loop, "unix:/nonexistent/gyre,127.0.0.1:1", NULL, &all_callbacks, notes, NULL));
    RUN_UNTIL(server.loop, notes->closed == 2);
    CHECK_STR(notes->calls, "c");
    CHECK_STATUS(notes->status, -ECONNREFUSED);
    finish(&server);
    free(notes);
}

/* A listener whose queue is full answers nothing. */
static void connecting_ends_at_its_deadline(void)
{
    gyre_stream_options options = stream_options();
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int listener = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    int fillers[4], i;
    char text[64];
    uint64_t begun;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_SYS(bind(listener, (struct sockaddr *)&address, sizeof address));
    CHECK_SYS(listen(listener, 0));
    CHECK_SYS(getsockname(listener, (struct sockaddr *)&address, &length));
    for (i = 0; i < 4; i++) {
        fillers[i] = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
        make_nonblocking(fillers[i]);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    snprintf(text, sizeof text, "127.0.0.1:%d", ntohs(address.sin_port));
    options.connect_ns = GYRE_MS(80);
    begun = check_now();
    CHECK_OK(gyre_stream_connect(loop, text, &options, &all_callbacks, notes, &notes->stream));
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK(check_now() - begun >= GYRE_MS(80));
    CHECK_STR(notes->calls, "c");
    CHECK_STATUS(notes->status, -ETIMEDOUT);
    for (i = 0; i < 4; i++)
        CHECK_SYS(close(fillers[i]));
    CHECK_SYS(close(listener));
    close_loop(loop);
    free(notes);
}

static void a_full_queue_of_a_unix_listener_is_waited_for(void)
{
    struct sockaddr_un address;
    gyre_loop loop = open_loop();
    struct notes *notes[4];
    int listener = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    int i, opened = 0;
    char path[64], text[96];
    temporary_path(path);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    CHECK_SYS(bind(listener, (struct sockaddr *)&address, sizeof address));
    CHECK_SYS(listen(listener, 1));
    snprintf(text, sizeof text, "unix:%s", path);
    for (i = 0; i < 4; i++) {
        notes[i] = new_notes();
        CHECK_OK(gyre_stream_connect(loop, text, NULL, &all_callbacks, notes[i], NULL));
    }
    let_pass(loop, GYRE_MS(30));
    for (i = 0; i < 4; i++)
        opened += strchr(notes[i]->calls, 'o') != NULL;
    CHECK(opened < 4);
    for (i = 0; i < 4; i++) {
        CHECK_SYS(close((int)CHECK_SYS(accept(listener, NULL, NULL))));
        let_pass(loop, GYRE_MS(30));
    }
    for (i = 0; i < 4; i++)
        CHECK(strchr(notes[i]->calls, 'o') != NULL);
    CHECK_SYS(close(listener));
    remove_temporary(path);
    close_loop(loop);
    for (i = 0; i < 4; i++)
        free(notes[i]);
}

static int connect_raw(const struct server *server)
{
    struct sockaddr_in address;
    int fd = (int)CHECK_SYS(socket(AF_INET, SOCK_STREAM, 0));
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(strrchr(server->address, ':') + 1));
    CHECK_SYS(connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

static void no_more_than_max_connections_are_accepted(void)
{
    gyre_listener_options options = listener_options();
    struct server server;
    int clients[4], i;
    options.max_connections = 2;
    options.stream.idle_ns = GYRE_FOREVER; /* its size may be 0 */
    start(&server, "127.0.0.1:0", &options);
    for (i = 0; i < 4; i++)
        clients[i] = connect_raw(&server);
    RUN_UNTIL(server.loop, server.opened == 2);
    check_idles_for_a_second(server.loop);
    CHECK_EQ(server.opened, 2);
    CHECK_SYS(close(clients[0]));
    RUN_UNTIL(server.loop, server.opened == 3);
    let_pass(server.loop, GYRE_MS(20));
    CHECK_EQ(server.opened, 3);
    CHECK_EQ(server.closed, 1);
    for (i = 1; i < 4; i++)
        CHECK_SYS(close(clients[i]));
    RUN_UNTIL(server.loop, server.opened == 4 && server.closed == 4);
    finish(&server);
}

static void a_listener_closed_in_on_open_accepts_no_more_and_its_streams_go_on(void)
{
    struct server server;
    int clients[3], i;
    start(&server, "127.0.0.1:0", NULL);
    server.close_listener = 1;
    for (i = 0; i < 3; i++)
        clients[i] = connect_raw(&server);
    RUN_UNTIL(server.loop, server.opened == 1);
    let_pass(server.loop, GYRE_MS(20));
    CHECK_EQ(server.opened, 1);
    CHECK_STATUS(gyre_listener_fd(server.listener), GYRE_EHANDLE);
    put_byte(clients[0]);
    RUN_UNTIL(server.loop, gyre_stream_sent(server.last->stream) == 1);
    take_byte(clients[0]);
    for (i = 0; i < 3; i++)
        CHECK_SYS(close(clients[i]));
    RUN_UNTIL(server.loop, server.closed == 1);
    finish(&server);
}

static void without_descriptors_a_listener_backs_off_and_comes_back(void)
{
    struct server server;
    struct rlimit before, tight;
    gyre_loop_statistics was;
    int client, fillers[64], count = 0;
    uint64_t begun;
    if (check_small())
        return; /* valgrind accepts the connection itself, and drops it */
    start(&server, "127.0.0.1:0", NULL);
    client = connect_raw(&server);
    CHECK_SYS(getrlimit(RLIMIT_NOFILE, &before));
    tight = before;
    tight.rlim_cur = 64;
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &tight));
    while (count < 64 && (fillers[count] = dup(client)) >= 0)
        count++;
    CHECK_EQ(errno, EMFILE);
    was = stats_of(server.loop);
    check_idles_for_a_second(server.loop);
    CHECK_EQ(server.opened, 0);
    CHECK(stats_of(server.loop).accept_calls - was.accept_calls <= 20);
    CHECK(stats_of(server.loop).accept_calls - was.accept_calls >= 2);
    CHECK_EQ(stats_of(server.loop).accept_pauses - was.accept_pauses, 1);
    while (count > 0)
        CHECK_SYS(close(fillers[--count]));
    CHECK_SYS(setrlimit(RLIMIT_NOFILE, &before));
    begun = check_now();
    RUN_UNTIL(server.loop, server.opened == 1);
    CHECK(check_now() - begun < GYRE_SEC(1));
    CHECK_SYS(close(client));
    RUN_UNTIL(server.loop, server.closed == 1);
    finish(&server);
}

static int exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static void the_file_of_a_unix_listener_is_its_own_alone(void)
{
    gyre_loop loop = open_loop();
    gyre_listener one, two;
    char path[64], text[96];
    int dead, file;
    struct sockaddr_un address;
    temporary_path(path);
    snprintf(text, sizeof text, "unix:%s", path);
    CHECK_OK(gyre_listener_open(loop, text, NULL, &server_callbacks, NULL, &one));
    CHECK(exists(path));
    CHECK_STATUS(gyre_listener_open(loop, text, NULL, &server_callbacks, NULL, &two), -EADDRINUSE); /* it lives */
    CHECK(exists(path));
    CHECK_OK(gyre_listener_close(one));
    CHECK(!exists(path));

    /* a socket that a killed server left behind */
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    dead = (int)CHECK_SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_SYS(bind(dead, (struct sockaddr *)&address, sizeof address));
    CHECK_SYS(close(dead));
    CHECK_OK(gyre_listener_open(loop, text, NULL, &server_callbacks, NULL, &one));

    /* another's file at the path stays */
    CHECK_SYS(unlink(path));
    file = (int)CHECK_SYS(open(path, O_CREAT | O_RDWR, 0600));
    CHECK_SYS(close(file));
    CHECK_STATUS(gyre_listener_open(loop, text, NULL, &server_callbacks, NULL, &two), -EADDRINUSE);
    CHECK_OK(gyre_listener_close(one));
    CHECK(exists(path));
    CHECK_SYS(unlink(path));

    /* and so does one's own in a child of fork */
    CHECK_OK(gyre_listener_open(loop, text, NULL, &server_callbacks, NULL, &one));
    {
        pid_t pid = check_fork();
        if (pid == 0) {
            CHECK_OK(gyre_loop_after_fork(loop));
            CHECK_OK(gyre_listener_close(one));
            CHECK_OK(gyre_loop_close(loop));
            _exit(0);
        }
        check_child_succeeds(pid);
    }
    CHECK(exists(path));
    close_loop(loop); /* the loop's close removes it as well */
    CHECK(!exists(path));
    remove_temporary(path);
}

static void what_cannot_be_listened_on_is_refused(void)
{
    static const char *const not_addresses[] = {
        "", "80", ":80", "localhost:80", "127.0.0.1", "[::1]", "unix:", "127.0.0.1:0,127.0.0.1:0", "*:80",
    };
    gyre_listener_options options = listener_options();
    gyre_stream_callbacks callbacks = all_callbacks;
    gyre_loop loop = open_loop();
    gyre_listener listener, other;
    char text[160];
    size_t i;
    int pair[2], handed;
    for (i = 0; i < sizeof not_addresses / sizeof not_addresses[0]; i++)
        CHECK_STATUS(gyre_listener_open(loop, not_addresses[i], NULL, &all_callbacks, NULL, &listener), -EINVAL);
    CHECK_STATUS(gyre_listener_open(loop, NULL, NULL, &all_callbacks, NULL, &listener), -EINVAL);
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", NULL, NULL, NULL, &listener), -EINVAL);
    callbacks.on_data = NULL;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", NULL, &callbacks, NULL, &listener), -EINVAL);
    callbacks = all_callbacks;
    callbacks.size--;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", NULL, &callbacks, NULL, &listener), -EINVAL);
    options.size = 0;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &options, &all_callbacks, NULL, &listener), -EINVAL);
    options = listener_options();
    options.backlog = -1;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &options, &all_callbacks, NULL, &listener), -EINVAL);
    options = listener_options();
    options.stream.size = 1;
    CHECK_STATUS(gyre_listener_open(loop, "127.0.0.1:0", &options, &all_callbacks, NULL, &listener), -EINVAL);
    memset(text, 'p', sizeof text);
    memcpy(text, "unix:", 5);
    text[5 + 108] = '\0';
    CHECK_STATUS(gyre_listener_open(loop, text, NULL, &all_callbacks, NULL, &listener), -ENAMETOOLONG);
    CHECK_STATUS(gyre_stream_connect(loop, text, NULL, &all_callbacks, NULL, NULL), -ENAMETOOLONG);

    CHECK_OK(gyre_listener_open(loop, "127.0.0.1:0", NULL, &all_callbacks, NULL, &listener));
    CHECK(gyre_listener_address(listener, text, sizeof text) > 0);
    CHECK_STATUS(gyre_listener_open(loop, text, NULL, &all_callbacks, NULL, &other), -EADDRINUSE);
    CHECK_STATUS(gyre_listener_adopt(loop, gyre_listener_fd(listener), NULL, &all_callbacks, NULL, &other), -EBUSY);
    make_socketpair(pair);
    CHECK_STATUS(gyre_listener_adopt(loop, pair[0], NULL, &all_callbacks, NULL, &other), -EINVAL);
    CHECK_STATUS(gyre_listener_adopt(loop, -1, NULL, &all_callbacks, NULL, &other), -EBADF);
    close_pair(pair);
    make_pipe(pair);
    CHECK_STATUS(gyre_listener_adopt(loop, pair[0], NULL, &all_callbacks, NULL, &other), -ENOTSOCK);
    CHECK_STATUS(gyre_stream_adopt(loop, pair[0], NULL, &all_callbacks, NULL, NULL), -ENOTSOCK);
    close_pair(pair);
    handed = (int)CHECK_SYS(socket(AF_INET, SOCK_DGRAM, 0));
    CHECK_STATUS(gyre_stream_adopt(loop, handed, NULL, &all_callbacks, NULL, NULL), -EINVAL);
    CHECK_SYS(close(handed));
    handed = (int)CHECK_SYS(dup(gyre_listener_fd(listener)));
    CHECK_STATUS(gyre_stream_adopt(loop, handed, NULL, &all_callbacks, NULL, NULL), -EINVAL);
    CHECK_OK(gyre_listener_adopt(loop, handed, NULL, &all_callbacks, NULL, &other)); /* socket activation */
    CHECK_EQ(gyre_listener_fd(other), handed);
    CHECK_EQ(stats_of(loop).handles, 2);
    CHECK_OK(gyre_listener_close(other));
    CHECK_STATUS(gyre_listener_close(other), GYRE_EHANDLE);
    close_loop(loop);
}

static void several_listeners_share_an_address_with_reuse_port(void)
{
    gyre_listener_options options = listener_options();
    struct server server;
    gyre_listener second;
    options.reuse_port = 1;
    start(&server, "[::1]:0", &options);
    CHECK_OK(gyre_listener_open(server.loop, server.address, &options, &server_callbacks, &server, &second));
    finish(&server);
}

/* ---- the descriptor beside others, forks, the end of the loop ---- */

static void ignore_op(gyre_loop loop, const gyre_completion *done, void *user_data)
{
    (void)loop;
    (void)done;
    (void)user_data;
}

static void others_on_the_descriptor_are_told_when_the_stream_closes_it(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    struct ear ear;
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    char byte;
    gyre_io io;
    one_turn(loop);
    io = watch(loop, gyre_stream_fd(notes->stream), GYRE_READ, &ear);
    CHECK_STATUS(gyre_op_recv(loop, gyre_stream_fd(notes->stream), &byte, 1, 0, ignore_op, NULL, NULL), -EBUSY);
    CHECK_STATUS(gyre_op_close_fd(loop, gyre_stream_fd(notes->stream), ignore_op, NULL, NULL), -EBUSY);
    CHECK_STATUS(gyre_stream_adopt(loop, gyre_stream_fd(notes->stream), NULL, &all_callbacks, NULL, NULL), -EBUSY);
    CHECK_OK(gyre_stream_close(notes->stream));
    RUN_UNTIL(loop, notes->closed);
    RUN_UNTIL(loop, ear.errors);
    CHECK_STATUS(gyre_io_set(io, GYRE_READ), -EBADF);
    CHECK_EQ(ear.errors, 1);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static void a_child_of_fork_does_not_touch_the_parents_streams(void)
{
    gyre_loop loop = open_loop();
    struct notes *notes = new_notes();
    int peer = adopt_pair(loop, 1, NULL, &all_callbacks, notes);
    int how;
    one_turn(loop);
    for (how = 0; how < 2; how++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            CHECK_STATUS(gyre_stream_write(notes->stream, "x", 1), GYRE_EFORKED);
            if (how == 1) {
                CHECK_OK(gyre_loop_after_fork(loop));
                CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
                CHECK_STATUS(notes->status, -ECANCELED);
            }
            CHECK_OK(gyre_loop_close(loop));
            CHECK_EQ(notes->closed, how);
            _exit(0);
        }
        check_child_succeeds(pid);
    }
    send_all(peer, "abc", 3);
    RUN_UNTIL(loop, notes->taken == 3);
    CHECK_OK(gyre_stream_write(notes->stream, "x", 1));
    take_byte(peer);
    CHECK_SYS(close(peer));
    close_loop(loop);
    free(notes);
}

static size_t fork_in_on_data(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t len, void *user_data)
{
    pid_t *pid = (pid_t *)user_data;
    (void)loop;
    (void)data;
    *pid = check_fork();
    if (*pid != 0)
        CHECK_OK(gyre_stream_write(stream, "parent", 6));
    return len - 1;
}

static void a_child_forked_in_on_data_leaves_the_stream_to_the_parent(void)
{
    gyre_stream_callbacks callbacks = {sizeof callbacks, NULL, fork_in_on_data, NULL, NULL, NULL};
    gyre_loop loop = open_loop();
    char answer[8];
    pid_t pid = -1;
    int ends[2], status = 0;
    make_tcp_pair(ends);
    CHECK_OK(gyre_stream_adopt(loop, ends[0], NULL, &callbacks, &pid, NULL));
    send_all(ends[1], "x", 1);
    while (pid == -1) {
        status = gyre_loop_turn(loop, GYRE_MS(50));
        CHECK(status >= 0 || pid == 0);
    }
    if (pid == 0) {
        CHECK_STATUS(status, GYRE_EFORKED);
        CHECK_OK(gyre_loop_close(loop));
        _exit(0);
    }
    check_child_succeeds(pid);
    CHECK_EQ(recv(ends[1], answer, 6, MSG_WAITALL), 6);
    CHECK(memcmp(answer, "parent", 6) == 0);
    CHECK_SYS(close(ends[1]));
    close_loop(loop);
}

static void calls_in_the_last_callbacks(gyre_loop loop, gyre_stream stream, int status, void *user_data)
{
    CHECK_STATUS(status, -ECANCELED);
    CHECK_STATUS(gyre_stream_write(stream, "x", 1), GYRE_EHANDLE);
    CHECK_STATUS(gyre_stream_connect(loop, "127.0.0.1:1", NULL, &all_callbacks, NULL, NULL), GYRE_ECLOSING);
    CHECK_STATUS(gyre_loop_close(loop), GYRE_ECLOSING);
    note((struct notes *)user_data, 'c');
}

static void the_loops_close_ends_every_stream_once(void)
{
    gyre_stream_callbacks callbacks = all_callbacks;
    gyre_loop loop = open_loop();
    struct notes *notes[3];
    int peers[3], i;
    callbacks.on_close = calls_in_the_last_callbacks;
    for (i = 0; i < 3; i++) {
        notes[i] = new_notes();
        peers[i] = adopt_pair(loop, i % 2, NULL, &callbacks, notes[i]);
        if (i == 0)
            one_turn(loop);
    }
    CHECK_OK(gyre_stream_close(notes[1]->stream));
    CHECK_OK(gyre_stream_write_owned(notes[2]->stream, "abc", 3, on_release, notes[2]));
    close_loop(loop);
    CHECK_STR(notes[0]->calls, "oc");
    CHECK_STR(notes[1]->calls, "c");
    CHECK_STR(notes[2]->calls, "rc");
    for (i = 0; i < 3; i++) {
        CHECK_SYS(close(peers[i]));
        free(notes[i]);
    }
}

static void many_connections_leave_nothing(void)
{
    const int rounds = CHECK_SCALED(50);
    struct server server;
    int clients[40], round, i;
    start(&server, "127.0.0.1:0", NULL);
    for (round = 0; round < rounds; round++) {
        for (i = 0; i < 40; i++)
            clients[i] = connect_raw(&server);
        RUN_UNTIL(server.loop, server.opened == (round + 1) * 40);
        for (i = 0; i < 40; i++) {
            struct linger reset = {1, 0};
            put_byte(clients[i]);
            if (i % 3 == 0)
                CHECK_SYS(setsockopt(clients[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
            CHECK_SYS(close(clients[i]));
        }
        RUN_UNTIL(server.loop, server.closed == server.opened);
        CHECK_EQ(stats_of(server.loop).handles, 1);
    }
    finish(&server);
}

int main(void)
{
    check_begin();
    RUN(bytes_are_shown_until_consumed_whatever_the_split);
    RUN(a_reader_of_one_byte_at_a_time_gets_all);
    RUN(taking_more_than_there_is_ends_with_einval);
    RUN(more_input_than_the_bound_ends_with_emsgsize_but_not_while_paused);
    RUN(what_was_kept_is_shown_again_at_resume_without_new_input);
    RUN(the_end_shows_the_rest_once_and_then_itself);
    RUN(without_on_eof_the_end_closes);
    RUN(a_stream_ends_when_both_directions_have);
    RUN(bytes_before_a_reset_are_all_told);
    RUN(writes_are_bounded_and_drain_is_told_once);
    RUN(lent_buffers_are_sent_in_order_and_released_once);
    RUN(lent_buffers_come_back_before_the_end);
    RUN(close_sends_what_waits_and_the_handle_serves_until_on_close);
    RUN(a_close_that_cannot_send_ends_at_its_deadline);
    RUN(a_peer_that_is_still_sending_gets_the_answer_to_its_end);
    RUN(abort_resets);
    RUN(an_adopted_stream_closed_at_once_is_told_only_its_end);
    RUN(a_descriptor_closed_under_a_stream_ends_it_once);
    RUN(a_stream_without_progress_is_ended);
    RUN(output_that_nobody_reads_ends_the_stream);
    RUN(connections_are_accepted_and_served_on_every_kind_of_address);
    RUN(connecting_is_told_by_on_close_when_it_fails);
    RUN(several_addresses_are_tried_in_turn);
    RUN(connecting_ends_at_its_deadline);
    RUN(a_full_queue_of_a_unix_listener_is_waited_for);
    RUN(no_more_than_max_connections_are_accepted);
    RUN(a_listener_closed_in_on_open_accepts_no_more_and_its_streams_go_on);
    RUN(without_descriptors_a_listener_backs_off_and_comes_back);
    RUN(the_file_of_a_unix_listener_is_its_own_alone);
    RUN(what_cannot_be_listened_on_is_refused);
    RUN(several_listeners_share_an_address_with_reuse_port);
    RUN(others_on_the_descriptor_are_told_when_the_stream_closes_it);
    RUN(a_child_of_fork_does_not_touch_the_parents_streams);
    RUN(a_child_forked_in_on_data_leaves_the_stream_to_the_parent);
    RUN(the_loops_close_ends_every_stream_once);
    RUN(many_connections_leave_nothing);
    return 0;
}
