// stream_exceptions.cpp: a C++ exception that leaves a stream's callback leaves gyre_loop_run, and the loop runs on:
// the callback counts as made, data that was offered to it as consumed, and nobody else loses anything.
#include "streams.h"

#include <stdexcept>
#include <string>

namespace {

enum { ITEMS = 5 };

// A stream whose callbacks note a letter, and throw where they are told to: o, d, w, e, c, and r for a release.
struct Item {
    gyre_stream stream;
    int peer;
    std::string throws, order, got;
    int unwound;

    Item() : stream(), peer(-1), unwound(0) {}

    struct Sentinel { // unwinding must not skip the destructors of the callback's frame
        explicit Sentinel(int &count) : count_(count) {}
        ~Sentinel() { ++count_; }
        int &count_;
    };

    void hear(char letter)
    {
        Sentinel sentinel(unwound);
        order += letter;
        std::string::size_type at = throws.find(letter);
        if (at == std::string::npos)
            return;
        throws.erase(at, 1);
        throw std::runtime_error(std::string(1, letter));
    }
};

void opened(gyre_loop, gyre_stream stream, void *user_data)
{
    Item *item = static_cast<Item *>(user_data);
    item->stream = stream;
    item->hear('o');
}

size_t got(gyre_loop, gyre_stream, const uint8_t *data, size_t length, void *user_data)
{
    Item *item = static_cast<Item *>(user_data);
    item->got.append(reinterpret_cast<const char *>(data), length);
    item->hear('d');
    return length;
}

void drained(gyre_loop, gyre_stream, void *user_data)
{
    static_cast<Item *>(user_data)->hear('w');
}

void ended(gyre_loop, gyre_stream, void *user_data)
{
    static_cast<Item *>(user_data)->hear('e');
}

void closed(gyre_loop, gyre_stream, int, void *user_data)
{
    static_cast<Item *>(user_data)->hear('c');
}

void released(const void *, size_t, void *argument)
{
    static_cast<Item *>(argument)->hear('r');
}

gyre_stream_callbacks callbacks()
{
    gyre_stream_callbacks all;
    memset(&all, 0, sizeof all);
    all.size = sizeof all;
    all.on_open = opened;
    all.on_data = got;
    all.on_drain = drained;
    all.on_eof = ended;
    all.on_close = closed;
    return all;
}

void adopt(gyre_loop loop, Item &item, const gyre_stream_options *options = nullptr)
{
    gyre_stream_callbacks all = callbacks();
    int ends[2];
    make_socketpair(ends);
    item.peer = ends[1];
    CHECK_OK(gyre_stream_adopt(loop, ends[0], options, &all, &item, &item.stream));
}

// Turns the loop until the condition holds; each exception must be the one of a callback. Returns how many there were.
template <typename Condition> int run_until(gyre_loop loop, Condition condition)
{
    uint64_t end = check_now() + GYRE_SEC(CHECK_DEADLINE_SECONDS);
    int exceptions = 0;
    while (!condition()) {
        CHECK(check_now() < end);
        try {
            CHECK(gyre_loop_turn(loop, GYRE_MS(50)) >= 0);
        } catch (const std::runtime_error &error) {
            CHECK_EQ(strlen(error.what()), 1);
            exceptions++;
        }
    }
    return exceptions;
}

void data_offered_to_a_callback_that_throws_counts_as_consumed()
{
    gyre_loop loop = open_loop();
    Item item;
    item.throws = "d";
    adopt(loop, item);
    peer_says(item.peer, "first", 5);
    CHECK_EQ(run_until(loop, [&] { return item.order == "od"; }), 1);
    let_pass(loop, GYRE_MS(5));
    CHECK_STR(item.got.c_str(), "first"); // and is not offered again
    peer_says(item.peer, "second", 6);
    CHECK_EQ(run_until(loop, [&] { return item.order == "odd"; }), 0);
    CHECK_STR(item.got.c_str(), "firstsecond");
    CHECK_EQ(item.unwound, 3);
    CHECK_OK(gyre_stream_write(item.stream, "x", 1)); // the stream is whole
    close_loop(loop);
    CHECK_STR(item.order.c_str(), "oddc");
    CHECK_SYS(close(item.peer));
}

void every_callback_may_throw_and_is_not_made_again()
{
    gyre_stream_options options = stream_options();
    options.write_limit = 100000;
    gyre_loop loop = open_loop();
    Item item;
    item.throws = "odwec";
    adopt(loop, item, &options);
    CHECK_EQ(run_until(loop, [&] { return item.order == "o"; }), 1);
    peer_says(item.peer, "x", 1);
    CHECK_EQ(run_until(loop, [&] { return item.order == "od"; }), 1);
    char bytes[10000] = "";
    while (gyre_stream_write(item.stream, bytes, sizeof bytes) == 0) {
    }
    auto read_and = [&](const char *order) {
        char sink[65536];
        while (recv(item.peer, sink, sizeof sink, MSG_DONTWAIT) > 0) {
        }
        return item.order == order;
    };
    CHECK_EQ(run_until(loop, [&] { return read_and("odw"); }), 1);
    CHECK_SYS(shutdown(item.peer, SHUT_WR));
    CHECK_EQ(run_until(loop, [&] { return item.order == "odwe"; }), 1);
    CHECK_OK(gyre_stream_close(item.stream));
    CHECK_EQ(run_until(loop, [&] { return read_and("odwec"); }), 1);
    CHECK_EQ(gyre_loop_run(loop, GYRE_RUN_DEFAULT), 0);
    CHECK_STR(item.order.c_str(), "odwec");
    CHECK_EQ(item.unwound, 5);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    CHECK_SYS(close(item.peer));
}

void an_exception_costs_no_other_stream_its_data()
{
    gyre_loop loop = open_loop();
    Item items[ITEMS];
    int heard = 0;
    for (Item &item : items) {
        adopt(loop, item);
        peer_says(item.peer, "data", 4);
    }
    items[1].throws = items[3].throws = "od";
    CHECK_EQ(run_until(loop, [&] {
        heard = 0;
        for (const Item &item : items)
            heard += item.got == "data";
        return heard == ITEMS;
    }), 4);
    for (const Item &item : items)
        CHECK_STR(item.order.c_str(), "od");
    close_loop(loop);
    for (const Item &item : items) {
        CHECK_STR(item.order.c_str(), "odc");
        CHECK_SYS(close(item.peer));
    }
}

// All accepted streams have the same item: of the listener.
void an_exception_of_on_open_costs_no_other_connection()
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks all = callbacks();
    gyre_listener listener;
    char address[ADDRESS_TEXT];
    Item item;
    int fds[ITEMS];
    CHECK_OK(gyre_listener_open(loop, "127.0.0.1:0", nullptr, &all, &item, &listener));
    address_of(listener, address);
    for (int &fd : fds)
        fd = connect_to(address);
    item.throws = "oo";
    CHECK_EQ(run_until(loop, [&] { return item.order.size() == ITEMS; }), 2);
    CHECK_STR(item.order.c_str(), "ooooo");
    for (int fd : fds)
        peer_says(fd, "x", 1);
    CHECK_EQ(run_until(loop, [&] { return item.got == "xxxxx"; }), 0); // those that threw are open as well
    for (int fd : fds)
        CHECK_SYS(close(fd));
    close_loop(loop);
}

void a_release_may_throw_and_is_not_made_again()
{
    gyre_loop loop = open_loop();
    Item item;
    item.throws = "rr";
    adopt(loop, item);
    for (int i = 0; i < 4; i++)
        CHECK_OK(gyre_stream_write_owned(item.stream, "owned", 5, released, &item));
    CHECK_EQ(run_until(loop, [&] { return item.order == "orrrr" || item.order == "rrrro"; }), 2);
    CHECK_OK(gyre_stream_close(item.stream));
    CHECK_EQ(run_until(loop, [&] { return item.order.size() == 6; }), 0);
    CHECK_EQ(item.order[5], 'c');
    close_loop(loop);
    CHECK_SYS(close(item.peer));
}

void a_callback_may_close_its_stream_and_throw()
{
    gyre_loop loop = open_loop();
    gyre_stream_callbacks all = callbacks();
    Item item;
    int ends[2];
    all.on_data = [](gyre_loop, gyre_stream stream, const uint8_t *, size_t, void *user_data) -> size_t {
        CHECK_OK(gyre_stream_abort(stream));
        static_cast<Item *>(user_data)->hear('d');
        return 0;
    };
    make_socketpair(ends);
    item.throws = "d";
    CHECK_OK(gyre_stream_adopt(loop, ends[0], nullptr, &all, &item, &item.stream));
    peer_says(ends[1], "x", 1);
    CHECK_EQ(run_until(loop, [&] { return item.order == "odc"; }), 1);
    CHECK_EQ(stats_of(loop).handles, 0);
    close_loop(loop);
    CHECK_SYS(close(ends[1]));
}

void a_loop_with_streams_can_be_closed_right_after_an_exception()
{
    gyre_loop loop = open_loop();
    Item items[ITEMS];
    for (Item &item : items) {
        adopt(loop, item);
        peer_says(item.peer, "data", 4);
        item.throws = "d";
    }
    int thrown = 0;
    CHECK_EQ(run_until(loop, [&] {
        thrown = 0;
        for (const Item &item : items)
            thrown += item.throws.empty();
        return thrown > 0;
    }), 1);
    close_loop(loop);
    for (const Item &item : items) {
        CHECK_EQ(item.order[item.order.size() - 1], 'c');
        CHECK_SYS(close(item.peer));
    }
}

} // namespace

int main()
{
    check_begin();
    RUN(data_offered_to_a_callback_that_throws_counts_as_consumed);
    RUN(every_callback_may_throw_and_is_not_made_again);
    RUN(an_exception_costs_no_other_stream_its_data);
    RUN(an_exception_of_on_open_costs_no_other_connection);
    RUN(a_release_may_throw_and_is_not_made_again);
    RUN(a_callback_may_close_its_stream_and_throw);
    RUN(a_loop_with_streams_can_be_closed_right_after_an_exception);
    return 0;
}
