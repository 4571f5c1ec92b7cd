/* header.c: gyre.h as a C99 program sees it: complete by itself, safe to include twice, and what must never change
 * between minor versions: sizes of handles, values of statuses and flags, and every prototype. */
/* ctest: once */
#define _GNU_SOURCE /* the C library shows all its names: none may be in the header */
#include <aio.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>

#include <gyre.h>
#include <gyre.h>

#include <string.h>

#define STATIC_CHECK(name, condition) typedef char check_##name[(condition) ? 1 : -1]

STATIC_CHECK(loop_is_8_bytes, sizeof(gyre_loop) == 8);
STATIC_CHECK(io_is_8_bytes, sizeof(gyre_io) == 8);
STATIC_CHECK(timer_is_8_bytes, sizeof(gyre_timer) == 8);
STATIC_CHECK(signal_is_8_bytes, sizeof(gyre_signal) == 8);
STATIC_CHECK(child_is_8_bytes, sizeof(gyre_child) == 8);
STATIC_CHECK(hook_is_8_bytes, sizeof(gyre_hook) == 8);
STATIC_CHECK(bits_are_64, sizeof(((gyre_loop *)0)->bits) == sizeof(uint64_t));

STATIC_CHECK(ok, GYRE_OK == 0);
STATIC_CHECK(ehandle, GYRE_EHANDLE == -4001);
STATIC_CHECK(ethread, GYRE_ETHREAD == -4002);
STATIC_CHECK(ereentrant, GYRE_EREENTRANT == -4003);
STATIC_CHECK(eforked, GYRE_EFORKED == -4004);
STATIC_CHECK(eclosing, GYRE_ECLOSING == -4005);
STATIC_CHECK(eunsupported, GYRE_EUNSUPPORTED == -4006);
STATIC_CHECK(efull, GYRE_EFULL == -4007);

STATIC_CHECK(read, GYRE_READ == 1);
STATIC_CHECK(write, GYRE_WRITE == 2);
STATIC_CHECK(priority, GYRE_PRIORITY == 4);
STATIC_CHECK(peer_closed, GYRE_PEER_CLOSED == 8);
STATIC_CHECK(hangup, GYRE_HANGUP == 16);
STATIC_CHECK(error, GYRE_ERROR == 32);
STATIC_CHECK(edge, GYRE_EDGE == 256);
STATIC_CHECK(oneshot, GYRE_ONESHOT == 512);

STATIC_CHECK(backend_auto, GYRE_BACKEND_AUTO == 0);
STATIC_CHECK(backend_epoll, GYRE_BACKEND_EPOLL == 1);
STATIC_CHECK(backend_poll, GYRE_BACKEND_POLL == 2);
STATIC_CHECK(backend_select, GYRE_BACKEND_SELECT == 3);
STATIC_CHECK(engine_auto, GYRE_ENGINE_AUTO == 0);
STATIC_CHECK(engine_io_uring, GYRE_ENGINE_IO_URING == 1);
STATIC_CHECK(engine_posix_aio, GYRE_ENGINE_POSIX_AIO == 2);
STATIC_CHECK(engine_emulated, GYRE_ENGINE_EMULATED == 3);
STATIC_CHECK(run_default, GYRE_RUN_DEFAULT == 0);
STATIC_CHECK(run_once, GYRE_RUN_ONCE == 1);
STATIC_CHECK(run_nowait, GYRE_RUN_NOWAIT == 2);
STATIC_CHECK(hook_prepare, GYRE_HOOK_PREPARE == 0);
STATIC_CHECK(hook_check, GYRE_HOOK_CHECK == 1);
STATIC_CHECK(hook_idle, GYRE_HOOK_IDLE == 2);

STATIC_CHECK(ms, GYRE_MS(3) == 3000000u);
STATIC_CHECK(sec, GYRE_SEC(5) == UINT64_C(5000000000));
STATIC_CHECK(forever, GYRE_FOREVER == UINT64_MAX);
STATIC_CHECK(options_begin_with_size, offsetof(gyre_loop_options, size) == 0);
STATIC_CHECK(statistics_begin_with_size, offsetof(gyre_loop_statistics, size) == 0);
STATIC_CHECK(child_exit_begins_with_size, offsetof(gyre_child_exit, size) == 0);

/* A prototype that differs from these does not compile. */
static const char *(*const status_calls[])(int) = {gyre_status_name, gyre_status_message};
static uint32_t (*const version)(void) = gyre_version;
static const char *(*const version_string)(void) = gyre_version_string;
static int (*const loop_open)(const gyre_loop_options *, gyre_loop *) = gyre_loop_open;
static int (*const loop_calls[])(gyre_loop) = {
    gyre_loop_close, gyre_loop_stop,  gyre_loop_wake,       gyre_loop_update_now, gyre_loop_is_alive, gyre_loop_fd,
    gyre_loop_claim, gyre_loop_release, gyre_loop_after_fork};
static int (*const loop_int_calls[])(gyre_loop, int) = {gyre_loop_run, gyre_loop_set_keepalive, gyre_loop_dump};
static int (*const loop_time_calls[])(gyre_loop, uint64_t) = {gyre_loop_run_for, gyre_loop_turn};
static int (*const loop_set_user_data)(gyre_loop, void *) = gyre_loop_set_user_data;
static void *(*const loop_user_data)(gyre_loop) = gyre_loop_user_data;
static int (*const loop_post)(gyre_loop, gyre_post_cb, void *) = gyre_loop_post;
static uint64_t (*const loop_now)(gyre_loop) = gyre_loop_now;
static int (*const loop_timeout)(gyre_loop, uint64_t *) = gyre_loop_timeout;
static const char *(*const loop_names[])(gyre_loop) = {gyre_loop_backend, gyre_loop_engine};
static int (*const loop_explain)(gyre_loop, char *, size_t) = gyre_loop_explain;
static int (*const loop_stats)(gyre_loop, gyre_loop_statistics *) = gyre_loop_stats;
static int (*const io_open)(gyre_loop, int, uint32_t, gyre_io_cb, void *, gyre_io *) = gyre_io_open;
static int (*const io_set)(gyre_io, uint32_t) = gyre_io_set;
static int (*const io_calls[])(gyre_io) = {gyre_io_close, gyre_io_fd};
static int (*const timer_open)(gyre_loop, uint64_t, uint64_t, gyre_timer_cb, void *, gyre_timer *) = gyre_timer_open;
static int (*const timer_set_calls[])(gyre_timer, uint64_t, uint64_t) = {gyre_timer_set, gyre_timer_set_at};
static int (*const timer_calls[])(gyre_timer) = {gyre_timer_stop, gyre_timer_close};
static int (*const timer_remaining)(gyre_timer, uint64_t *) = gyre_timer_remaining;
static int (*const signal_open)(gyre_loop, int, gyre_signal_cb, void *, gyre_signal *) = gyre_signal_open;
static int (*const signal_close)(gyre_signal) = gyre_signal_close;
static int (*const child_open)(gyre_loop, pid_t, gyre_child_cb, void *, gyre_child *) = gyre_child_open;
static int (*const child_close)(gyre_child) = gyre_child_close;
static int (*const hook_open)(gyre_loop, int, gyre_hook_cb, void *, gyre_hook *) = gyre_hook_open;
static int (*const hook_close)(gyre_hook) = gyre_hook_close;

#define COMMON_CALLS(kind)                                                                    \
    static int (*const kind##_set_keepalive)(gyre_##kind, int) = gyre_##kind##_set_keepalive; \
    static int (*const kind##_loop)(gyre_##kind, gyre_loop *) = gyre_##kind##_loop;           \
    static void *(*const kind##_user_data)(gyre_##kind) = gyre_##kind##_user_data;            \
    static int (*const kind##_set_user_data)(gyre_##kind, void *) = gyre_##kind##_set_user_data
COMMON_CALLS(io);
COMMON_CALLS(timer);
COMMON_CALLS(signal);
COMMON_CALLS(child);
COMMON_CALLS(hook);

#define PRESENT(kind) \
    (kind##_set_keepalive != NULL && kind##_loop != NULL && kind##_user_data != NULL && kind##_set_user_data != NULL)

static gyre_post_cb post_callback;
static gyre_io_cb io_callback;
static gyre_timer_cb timer_callback;
static gyre_signal_cb signal_callback;
static gyre_child_cb child_callback;
static gyre_hook_cb hook_callback;

static void a_post(gyre_loop loop, void *user_data)
{
    (void)loop;
    (void)user_data;
}

static void an_io(gyre_loop loop, gyre_io io, uint32_t events, void *user_data)
{
    (void)loop;
    (void)io;
    (void)events;
    (void)user_data;
}

static void a_timer(gyre_loop loop, gyre_timer timer, void *user_data)
{
    (void)loop;
    (void)timer;
    (void)user_data;
}

static void a_signal(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data)
{
    (void)loop;
    (void)signal;
    (void)signum;
    (void)count;
    (void)user_data;
}

static void a_child(gyre_loop loop, gyre_child child, const gyre_child_exit *exit, void *user_data)
{
    (void)loop;
    (void)child;
    (void)exit;
    (void)user_data;
}

static void a_hook(gyre_loop loop, gyre_hook hook, void *user_data)
{
    (void)loop;
    (void)hook;
    (void)user_data;
}

int main(void)
{
    int present = status_calls[0] != NULL && status_calls[1] != NULL && version_string != NULL && loop_open != NULL &&
                  loop_calls[0] != NULL && loop_int_calls[0] != NULL && loop_time_calls[0] != NULL &&
                  loop_set_user_data != NULL && loop_user_data != NULL && loop_post != NULL && loop_now != NULL &&
                  loop_timeout != NULL && loop_names[0] != NULL && loop_explain != NULL && loop_stats != NULL &&
                  io_open != NULL && io_set != NULL && io_calls[0] != NULL && timer_open != NULL &&
                  timer_set_calls[0] != NULL && timer_calls[0] != NULL && timer_remaining != NULL &&
                  signal_open != NULL && signal_close != NULL && child_open != NULL && child_close != NULL &&
                  hook_open != NULL && hook_close != NULL && PRESENT(io) && PRESENT(timer) && PRESENT(signal) &&
                  PRESENT(child) && PRESENT(hook);
    post_callback = a_post;
    io_callback = an_io;
    timer_callback = a_timer;
    signal_callback = a_signal;
    child_callback = a_child;
    hook_callback = a_hook;
    present = present && post_callback != NULL && io_callback != NULL && timer_callback != NULL &&
              signal_callback != NULL && child_callback != NULL && hook_callback != NULL;
    return present && version() != 0 && strlen(version_string()) >= 5 ? 0 : 1;
}
