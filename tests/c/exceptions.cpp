// exceptions.cpp: a C++ exception that leaves a callback leaves gyre_loop_run, and the loop runs on: what was reaped
// and not yet delivered arrives in the next run, and the item whose callback threw counts as delivered.
#include "fixtures.h"

#include <stdexcept>
#include <string>

namespace {

enum { ITEMS = 5 };

// Counts how often its destructor ran: unwinding must not skip those of the callback's frame.
struct Sentinel {
    explicit Sentinel(int &count) : count_(count) {}
    ~Sentinel() { ++count_; }
    int &count_;
};

// Items numbered in the order of their delivery; the ones in `throw_at` throw.
struct Scene {
    gyre_loop loop;
    int delivered[ITEMS];
    bool throws[ITEMS];
    int total;
    int unwound;
    std::string order;

    Scene() : loop(open_loop()), total(0), unwound(0)
    {
        for (int i = 0; i < ITEMS; i++) {
            delivered[i] = 0;
            throws[i] = false;
        }
    }
};

struct Item {
    Scene *scene;
    int number;

    void deliver() const
    {
        Sentinel sentinel(scene->unwound);
        scene->delivered[number]++;
        scene->total++;
        scene->order += static_cast<char>('a' + number);
        if (scene->throws[number])
            throw std::runtime_error("item " + std::to_string(number));
    }
};

void io_item(gyre_loop, gyre_io, uint32_t, void *user_data)
{
    static_cast<Item *>(user_data)->deliver();
}

void timer_item(gyre_loop, gyre_timer, void *user_data)
{
    static_cast<Item *>(user_data)->deliver();
}

void signal_item(gyre_loop, gyre_signal, int, uint32_t, void *user_data)
{
    static_cast<Item *>(user_data)->deliver();
}

void child_item(gyre_loop, gyre_child, const gyre_child_exit *, void *user_data)
{
    static_cast<Item *>(user_data)->deliver();
}

void post_item(gyre_loop, void *user_data)
{
    static_cast<Item *>(user_data)->deliver();
}

void hook_item(gyre_loop, gyre_hook, void *user_data)
{
    static_cast<Item *>(user_data)->deliver();
}

int run_nowait(gyre_loop loop)
{
    return gyre_loop_run(loop, GYRE_RUN_NOWAIT);
}

int run_once(gyre_loop loop)
{
    return gyre_loop_run(loop, GYRE_RUN_ONCE);
}

int run_for(gyre_loop loop)
{
    return gyre_loop_run_for(loop, GYRE_MS(20));
}

int turn(gyre_loop loop)
{
    return gyre_loop_turn(loop, 0);
}

int run_default(gyre_loop loop)
{
    CHECK_OK(gyre_loop_stop(loop)); // one turn that does not wait
    return gyre_loop_run(loop, GYRE_RUN_DEFAULT);
}

typedef int (*Run)(gyre_loop loop);
const Run runs[] = {run_nowait, run_once, run_for, turn, run_default};

// Runs once, and tells whether an exception came out of it.
bool throws_out_of(Run run, gyre_loop loop)
{
    try {
        CHECK(run(loop) >= 0);
    } catch (const std::runtime_error &error) {
        CHECK_EQ(std::string(error.what()).substr(0, 5) == "item ", true);
        return true;
    }
    return false;
}

// Five items are due in one turn, and two of them throw: three runs deliver all of them, each once.
void check_each_is_delivered_once(Scene &scene, Run run)
{
    scene.throws[1] = scene.throws[3] = true;
    int exceptions = 0;
    for (int i = 0; i < 3; i++)
        exceptions += throws_out_of(run, scene.loop);
    CHECK_EQ(exceptions, 2);
    CHECK_EQ(scene.total, ITEMS);
    CHECK_EQ(scene.unwound, ITEMS);
    for (int i = 0; i < ITEMS; i++)
        CHECK_EQ(scene.delivered[i], 1);
    scene.throws[1] = scene.throws[3] = false;
}

void an_exception_of_an_io_callback_costs_no_other_event()
{
    for (Run run : runs) {
        Scene scene;
        Item items[ITEMS];
        gyre_io ios[ITEMS];
        int ends[ITEMS][2];
        for (int i = 0; i < ITEMS; i++) {
            items[i] = Item{&scene, i};
            make_pipe(ends[i]);
            put_byte(ends[i][1]);
            // One-shot, so that an event that was lost would not be told again.
            CHECK_OK(gyre_io_open(scene.loop, ends[i][0], GYRE_READ | GYRE_ONESHOT, io_item, &items[i], &ios[i]));
        }
        check_each_is_delivered_once(scene, run);
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0); // all are spent, the ones that threw too
        for (int i = 0; i < ITEMS; i++)
            CHECK_OK(gyre_io_set(ios[i], GYRE_READ));
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_NOWAIT), 0);
        CHECK_EQ(scene.total, 2 * ITEMS);
        close_loop(scene.loop);
        for (int i = 0; i < ITEMS; i++)
            close_pair(ends[i]);
    }
}

void an_exception_costs_no_other_watcher_of_the_descriptor_its_event()
{
    for (Run run : runs) {
        Scene scene;
        Item items[ITEMS];
        gyre_io io;
        int ends[2];
        make_pipe(ends);
        put_byte(ends[1]);
        for (int i = 0; i < ITEMS; i++) {
            items[i] = Item{&scene, i};
            CHECK_OK(gyre_io_open(scene.loop, ends[0], GYRE_READ | GYRE_ONESHOT, io_item, &items[i], &io));
        }
        check_each_is_delivered_once(scene, run);
        CHECK_STR(scene.order.c_str(), "abcde");
        close_loop(scene.loop);
        close_pair(ends);
    }
}

void an_exception_costs_no_edge()
{
    Scene scene;
    if (runs_on(scene.loop, "epoll")) {
        Item items[ITEMS];
        gyre_io io;
        int ends[ITEMS][2];
        for (int i = 0; i < ITEMS; i++) {
            items[i] = Item{&scene, i};
            make_pipe(ends[i]);
            CHECK_OK(gyre_io_open(scene.loop, ends[i][0], GYRE_READ | GYRE_EDGE, io_item, &items[i], &io));
            put_byte(ends[i][1]);
        }
        check_each_is_delivered_once(scene, run_nowait);
        for (int i = 0; i < ITEMS; i++)
            close_pair(ends[i]);
    }
    close_loop(scene.loop);
}

void an_exception_of_a_timer_costs_no_other_timer()
{
    for (Run run : runs) {
        Scene scene;
        Item items[ITEMS];
        gyre_timer timers[ITEMS];
        for (int i = 0; i < ITEMS; i++) {
            items[i] = Item{&scene, i};
            CHECK_OK(gyre_timer_open(scene.loop, 0, 0, timer_item, &items[i], i == 1 ? nullptr : &timers[i]));
        }
        check_each_is_delivered_once(scene, run);
        CHECK_STR(scene.order.c_str(), "abcde");
        CHECK_EQ(stats_of(scene.loop).handles, ITEMS - 1); // the one without a handle is closed
        CHECK_EQ(gyre_loop_is_alive(scene.loop), 0);
        close_loop(scene.loop);
    }
}

void a_periodic_timer_that_throws_goes_on()
{
    Scene scene;
    Item item = {&scene, 0};
    gyre_timer timer;
    scene.throws[0] = true;
    CHECK_OK(gyre_timer_open(scene.loop, 0, GYRE_MS(1), timer_item, &item, &timer));
    int exceptions = 0;
    while (exceptions < 3)
        exceptions += throws_out_of(run_once, scene.loop);
    CHECK_EQ(scene.total, 3);
    close_loop(scene.loop);
}

void an_exception_of_a_post_costs_no_other_post_and_no_order()
{
    for (Run run : runs) {
        Scene scene;
        Item items[ITEMS];
        for (int i = 0; i < ITEMS; i++) {
            items[i] = Item{&scene, i};
            CHECK_OK(gyre_loop_post(scene.loop, post_item, &items[i]));
        }
        scene.throws[1] = scene.throws[3] = true;
        CHECK_EQ(throws_out_of(run, scene.loop), true);
        CHECK_EQ(gyre_loop_is_alive(scene.loop), 1);
        CHECK_OK(gyre_loop_post(scene.loop, post_item, &items[0])); // comes behind those that wait
        CHECK_EQ(throws_out_of(run, scene.loop), true);
        CHECK_EQ(throws_out_of(run, scene.loop), false);
        CHECK_STR(scene.order.c_str(), "abcdea");
        CHECK_EQ(gyre_loop_is_alive(scene.loop), 0);
        close_loop(scene.loop);
    }
}

void close_delivers_the_posts_that_an_exception_left()
{
    Scene scene;
    Item items[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        items[i] = Item{&scene, i};
        CHECK_OK(gyre_loop_post(scene.loop, post_item, &items[i]));
    }
    scene.throws[1] = true;
    CHECK_EQ(throws_out_of(run_nowait, scene.loop), true);
    close_loop(scene.loop);
    CHECK_STR(scene.order.c_str(), "abcde");
}

void an_exception_of_a_signal_callback_costs_no_other_watcher_the_signal()
{
    for (Run run : runs) {
        Scene scene;
        Item items[ITEMS];
        gyre_signal signals[ITEMS];
        for (int i = 0; i < ITEMS; i++) {
            items[i] = Item{&scene, i};
            CHECK_OK(gyre_signal_open(scene.loop, i % 2 ? SIGUSR1 : SIGUSR2, signal_item, &items[i], &signals[i]));
        }
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_EQ(raise(SIGUSR2), 0);
        check_each_is_delivered_once(scene, run);
        close_loop(scene.loop);
    }
}

void an_exception_of_a_child_callback_costs_no_other_child()
{
    Scene scene;
    Item items[ITEMS];
    pid_t pids[ITEMS];
    int opened = 0;
    for (int i = 0; i < ITEMS; i++) {
        items[i] = Item{&scene, i};
        pids[i] = check_fork();
        if (pids[i] == 0)
            _exit(0);
        siginfo_t info;
        CHECK_SYS(waitid(P_PID, static_cast<id_t>(pids[i]), &info, WEXITED | WNOWAIT));
        gyre_child child;
        opened += open_child(scene.loop, pids[i], child_item, &items[i], &child);
    }
    if (opened == 0) {
        for (pid_t pid : pids)
            check_child_succeeds(pid);
    } else {
        check_each_is_delivered_once(scene, run_nowait);
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0);
        CHECK_EQ(scene.total, ITEMS);
    }
    close_loop(scene.loop);
}

void an_exception_of_a_hook_leaves_the_loop_and_the_other_sources_whole()
{
    const int phases[] = {GYRE_HOOK_PREPARE, GYRE_HOOK_CHECK, GYRE_HOOK_IDLE};
    for (int phase : phases) {
        Scene scene;
        Item thrower = {&scene, 0}, other = {&scene, 1}, post = {&scene, 2}, timer = {&scene, 3}, io = {&scene, 4};
        gyre_hook hooks[2];
        gyre_timer due;
        gyre_io reader;
        int ends[2];
        make_pipe(ends);
        put_byte(ends[1]);
        CHECK_OK(gyre_hook_open(scene.loop, phase, hook_item, &thrower, &hooks[0]));
        CHECK_OK(gyre_hook_open(scene.loop, phase, hook_item, &other, &hooks[1]));
        CHECK_OK(gyre_loop_post(scene.loop, post_item, &post));
        CHECK_OK(gyre_timer_open(scene.loop, 0, 0, timer_item, &timer, &due));
        CHECK_OK(gyre_io_open(scene.loop, ends[0], GYRE_READ | GYRE_ONESHOT, io_item, &io, &reader));
        scene.throws[0] = true;
        CHECK_EQ(throws_out_of(run_nowait, scene.loop), true);
        CHECK_EQ(scene.delivered[0], 1);
        scene.throws[0] = false;
        CHECK_EQ(throws_out_of(run_nowait, scene.loop), false);
        CHECK(scene.delivered[1] >= 1);
        for (int i = 2; i < ITEMS; i++)
            CHECK_EQ(scene.delivered[i], 1);
        CHECK_OK(gyre_hook_close(hooks[0]));
        CHECK_OK(gyre_hook_close(hooks[1]));
        CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0);
        close_loop(scene.loop);
        close_pair(ends);
    }
}

void an_exception_of_one_source_costs_no_other_source_its_events()
{
    Scene scene;
    Item io = {&scene, 0}, signal = {&scene, 1}, post = {&scene, 2}, timer = {&scene, 3}, hook = {&scene, 4};
    gyre_io reader;
    gyre_signal usr1;
    gyre_timer due;
    gyre_hook check;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    CHECK_OK(gyre_io_open(scene.loop, ends[0], GYRE_READ | GYRE_ONESHOT, io_item, &io, &reader));
    CHECK_OK(gyre_signal_open(scene.loop, SIGUSR1, signal_item, &signal, &usr1));
    CHECK_OK(gyre_loop_post(scene.loop, post_item, &post));
    CHECK_OK(gyre_timer_open(scene.loop, 0, 0, timer_item, &timer, &due));
    CHECK_OK(gyre_hook_open(scene.loop, GYRE_HOOK_CHECK, hook_item, &hook, &check));
    CHECK_EQ(raise(SIGUSR1), 0);
    for (int i = 0; i < 4; i++)
        scene.throws[i] = true; // all but the hook
    int exceptions = 0;
    for (int i = 0; i < 5; i++)
        exceptions += throws_out_of(run_nowait, scene.loop);
    CHECK_EQ(exceptions, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(scene.delivered[i], 1);
    CHECK(scene.delivered[4] >= 1);
    close_loop(scene.loop);
    close_pair(ends);
}

void what_an_exception_left_can_still_be_closed_unheard()
{
    Scene scene;
    Item items[ITEMS];
    gyre_io ios[ITEMS];
    gyre_timer timers[ITEMS];
    int ends[ITEMS][2];
    for (int i = 0; i < ITEMS; i++) {
        items[i] = Item{&scene, i};
        make_pipe(ends[i]);
        put_byte(ends[i][1]);
        CHECK_OK(gyre_io_open(scene.loop, ends[i][0], GYRE_READ, io_item, &items[i], &ios[i]));
        CHECK_OK(gyre_timer_open(scene.loop, 0, 0, timer_item, &items[i], &timers[i]));
        scene.throws[i] = true;
    }
    CHECK_EQ(throws_out_of(run_nowait, scene.loop), true);
    CHECK_EQ(scene.total, 1);
    for (int i = 0; i < ITEMS; i++) {
        CHECK_OK(gyre_io_close(ios[i]));
        CHECK_OK(gyre_timer_close(timers[i]));
        close_pair(ends[i]);
    }
    CHECK_EQ(gyre_loop_run(scene.loop, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(scene.total, 1);
    close_loop(scene.loop);
}

void a_loop_can_be_closed_right_after_an_exception()
{
    Scene scene;
    Item items[ITEMS];
    gyre_io io;
    int ends[2];
    make_pipe(ends);
    put_byte(ends[1]);
    for (int i = 0; i < ITEMS; i++) {
        items[i] = Item{&scene, i};
        CHECK_OK(gyre_io_open(scene.loop, ends[0], GYRE_READ, io_item, &items[i], &io));
    }
    scene.throws[0] = true;
    CHECK_EQ(throws_out_of(run_default, scene.loop), true);
    close_loop(scene.loop); // no callback is running any more
    CHECK_EQ(scene.total, 1);
    close_pair(ends);
}

// A stream of pieces, some of which throw: `got` is what was told.
struct Receiver {
    gyre_loop loop;
    gyre_op op;
    int ends[2];
    std::string got;
    std::string throw_at; // the letters of pieces that throw, and '.' for the end
    int pieces, calls;
    int hold; // so many buffers to be held
};

void receive_item(gyre_loop, const gyre_completion *done, void *user_data)
{
    Receiver *receiver = static_cast<Receiver *>(user_data);
    char letter = '.';
    if (done->flags & GYRE_MORE) {
        receiver->got.append(static_cast<const char *>(done->buf), static_cast<size_t>(done->result));
        receiver->pieces++;
        letter = *receiver->got.rbegin();
        if (receiver->hold > 0) {
            gyre_buffer buffer;
            CHECK_OK(gyre_buffer_hold(done, &buffer));
            receiver->hold--;
        }
    } else {
        CHECK(done->result == 0 || done->result == -ECANCELED);
        receiver->calls++;
    }
    if (receiver->throw_at.find(letter) != std::string::npos)
        throw std::runtime_error("item " + std::string(1, letter));
}

// One buffer a piece, so that an engine has several results in its hands. Returns false where there is no such engine.
bool open_receiver(Receiver &receiver, int engine, uint32_t buffers)
{
    gyre_loop_options options = default_options();
    options.engine = engine;
    options.buffer_size = 1;
    options.buffer_count = buffers;
    if (engine == GYRE_ENGINE_IO_URING && check_small()) // which valgrind does not know
        return false;
    int status = gyre_loop_open(&options, &receiver.loop);
    if (status == GYRE_EUNSUPPORTED)
        return false;
    CHECK_OK(status);
    make_socketpair(receiver.ends);
    receiver.pieces = receiver.calls = receiver.hold = 0;
    CHECK_OK(gyre_op_recv_many(receiver.loop, receiver.ends[0], receive_item, &receiver, &receiver.op));
    return true;
}

const int engines[] = {GYRE_ENGINE_EMULATED, GYRE_ENGINE_IO_URING, GYRE_ENGINE_POSIX_AIO};

void put(const Receiver &receiver, const std::string &text)
{
    CHECK_EQ(write(receiver.ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

// Runs until the condition holds, and counts what is thrown meanwhile.
template <typename Condition> int exceptions_until(gyre_loop loop, Condition condition)
{
    int exceptions = 0;
    while (!condition())
        exceptions += throws_out_of(run_once, loop);
    return exceptions;
}

void an_exception_of_a_receive_costs_no_byte_no_buffer_and_no_end()
{
    for (int engine : engines) {
        Receiver receiver;
        if (!open_receiver(receiver, engine, 4))
            continue;
        receiver.throw_at = "bdj";
        put(receiver, "abcdefghij"); // more than there are buffers
        CHECK_EQ(exceptions_until(receiver.loop, [&] { return receiver.pieces == 10; }), 3);
        CHECK_STR(receiver.got.c_str(), "abcdefghij");
        receiver.hold = 4; // all: none was lost
        put(receiver, "klmn");
        CHECK_EQ(exceptions_until(receiver.loop, [&] { return receiver.pieces == 14; }), 0);
        CHECK_EQ(receiver.hold, 0);
        close_loop(receiver.loop);
        close_pair(receiver.ends);
        CHECK_EQ(receiver.calls, 1);
    }
}

void an_end_that_throws_is_told_once()
{
    for (int engine : engines) {
        Receiver receiver;
        if (!open_receiver(receiver, engine, 4))
            continue;
        receiver.throw_at = "ab.";
        put(receiver, "abc");
        CHECK_SYS(shutdown(receiver.ends[1], SHUT_WR));
        CHECK_EQ(exceptions_until(receiver.loop, [&] { return receiver.calls == 1; }), 3);
        CHECK_EQ(gyre_loop_run(receiver.loop, GYRE_RUN_DEFAULT), 0);
        CHECK_STR(receiver.got.c_str(), "abc");
        CHECK_EQ(stats_of(receiver.loop).op_in_flight, 0);
        CHECK_STATUS(gyre_op_cancel(receiver.op), GYRE_EHANDLE);
        close_loop(receiver.loop);
        close_pair(receiver.ends);
    }
}

void what_a_receive_had_taken_when_it_threw_is_told_by_the_loops_close()
{
    for (int engine : engines) {
        Receiver receiver;
        if (!open_receiver(receiver, engine, 8))
            continue;
        receiver.throw_at = "a";
        put(receiver, "abcde");
        CHECK_EQ(exceptions_until(receiver.loop, [&] { return receiver.pieces == 1; }), 1);
        receiver.throw_at.clear();
        close_loop(receiver.loop);
        CHECK_EQ(receiver.calls, 1);
        char rest[8];
        ssize_t left = recv(receiver.ends[0], rest, sizeof rest, MSG_DONTWAIT);
        receiver.got.append(rest, left > 0 ? static_cast<size_t>(left) : 0);
        CHECK_STR(receiver.got.c_str(), "abcde");
        close_pair(receiver.ends);
    }
}

struct Nested {
    gyre_loop inner;
    int caught;
};

void run_inner_loop(gyre_loop, void *user_data)
{
    Nested *nested = static_cast<Nested *>(user_data);
    try {
        gyre_loop_run(nested->inner, GYRE_RUN_DEFAULT);
    } catch (const std::runtime_error &) {
        nested->caught++;
    }
}

void an_exception_may_be_caught_inside_another_loops_callback()
{
    Scene scene;
    Item item = {&scene, 0};
    gyre_loop outer = open_loop();
    Nested nested = {scene.loop, 0};
    scene.throws[0] = true;
    CHECK_OK(gyre_loop_post(scene.loop, post_item, &item));
    CHECK_OK(gyre_loop_post(outer, run_inner_loop, &nested));
    CHECK_EQ(gyre_loop_run(outer, GYRE_RUN_DEFAULT), 0);
    CHECK_EQ(nested.caught, 1);
    close_loop(outer);
    close_loop(scene.loop);
}

void throw_a_number(gyre_loop, void *)
{
    throw 42;
}

void what_is_thrown_need_not_be_an_exception_class()
{
    gyre_loop loop = open_loop();
    int caught = 0;
    CHECK_OK(gyre_loop_post(loop, throw_a_number, nullptr));
    try {
        gyre_loop_run(loop, GYRE_RUN_DEFAULT);
    } catch (int number) {
        caught = number;
    }
    CHECK_EQ(caught, 42);
    close_loop(loop);
}

} // namespace

int main()
{
    check_begin();
    RUN(an_exception_of_an_io_callback_costs_no_other_event);
    RUN(an_exception_costs_no_other_watcher_of_the_descriptor_its_event);
    RUN(an_exception_costs_no_edge);
    RUN(an_exception_of_a_timer_costs_no_other_timer);
    RUN(a_periodic_timer_that_throws_goes_on);
    RUN(an_exception_of_a_post_costs_no_other_post_and_no_order);
    RUN(close_delivers_the_posts_that_an_exception_left);
    RUN(an_exception_of_a_signal_callback_costs_no_other_watcher_the_signal);
    RUN(an_exception_of_a_child_callback_costs_no_other_child);
    RUN(an_exception_of_a_hook_leaves_the_loop_and_the_other_sources_whole);
    RUN(an_exception_of_one_source_costs_no_other_source_its_events);
    RUN(what_an_exception_left_can_still_be_closed_unheard);
    RUN(a_loop_can_be_closed_right_after_an_exception);
    RUN(an_exception_of_a_receive_costs_no_byte_no_buffer_and_no_end);
    RUN(an_end_that_throws_is_told_once);
    RUN(what_a_receive_had_taken_when_it_threw_is_told_by_the_loops_close);
    RUN(an_exception_may_be_caught_inside_another_loops_callback);
    RUN(what_is_thrown_need_not_be_an_exception_class);
    return 0;
}
