/*
 * gyre: one event loop for C and C++ servers.
 *
 * A loop waits for many sources at once, descriptors, timers, signals, child processes and functions posted by other threads,
 * and calls your functions when something has come. It is made to take the place of hand-written select loops.
 *
 *     #include <gyre.h>
 *     #include <stdio.h>
 *
 *     static void tick(gyre_loop loop, gyre_timer timer, void *count)
 *     {
 *         (void)loop;
 *         printf("tick %d\\n", ++*(int *)count);
 *         if (*(int *)count == 3)
 *             gyre_timer_close(timer);
 *     }
 *
 *     int main(void)
 *     {
 *         gyre_loop loop;
 *         gyre_timer timer;
 *         int count = 0;
 *         if (gyre_loop_open(NULL, &loop) != 0)
 *             return 1;
 *         gyre_timer_open(loop, GYRE_MS(100), GYRE_MS(100), tick, &count, &timer);
 *         gyre_loop_run(loop, GYRE_RUN_DEFAULT);
 *         return gyre_loop_close(loop) == 0 ? 0 : 1;
 *     }
 *
 * STATUSES. Functions return 0 or a count, or a negative status: -errno, or one of gyre's own below -4000. Outputs are
 * written only on success; what fails leaves everything as it was. gyre_status_name and gyre_status_message tell what a status is.
 *
 * HANDLES are small values to be copied freely. All-zero is none; compare the bits field. No misuse of a handle crashes: once
 * an object is closed its handle is GYRE_EHANDLE for ever, also when its place in memory serves another object, and so is a
 * handle of another kind or one made up. Checks come in this order: none or dead loop GYRE_EHANDLE, GYRE_EFORKED, GYRE_ETHREAD,
 * stale or foreign handle GYRE_EHANDLE, GYRE_ECLOSING, GYRE_EREENTRANT, then the arguments. "An error of the handle's" below
 * means one of these.
 *
 * THREADS. A loop belongs to the thread that opened it, or that took it with gyre_loop_claim after gyre_loop_release; so do all
 * handles of the loop. From any thread: gyre_loop_post, gyre_loop_wake, gyre_loop_stop, gyre_loop_claim. The functions named so
 * below may also be called from signal handlers. One process has up to 255 loops.
 *
 * CALLBACKS run inside gyre_loop_run and its kin only, never inside an open, set or close (but the completions, ends of streams and
 * posts that gyre_loop_close delivers). They may do anything to any handle but run the loop, close it or release it. A close takes effect at once: the
 * callback does not run again, not even for an event that was reaped already, and user_data may be freed. Streams end with their
 * on_close instead, exactly once.
 *
 * TIME is in nanoseconds of CLOCK_MONOTONIC, in uint64_t. What overflows means never.
 *
 * DESCRIPTORS stay the caller's: gyre closes none of them and changes no flags of theirs, but those that a listener or a stream has
 * made or adopted.
 *
 * FORK. In a child a loop answers GYRE_EFORKED until gyre_loop_after_fork or gyre_loop_close.
 *
 * This file is generated; its documentation stands in the sources under src/capi.
 */


#ifndef GYRE_H
#define GYRE_H


#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/** The version of this header: major << 16 | minor << 8 | patch. */
#define GYRE_VERSION 0x000100

/** Nanoseconds of n milliseconds. */
#define GYRE_MS(n) ((uint64_t)(n) * 1000000u)
/** Nanoseconds of n seconds. */
#define GYRE_SEC(n) ((uint64_t)(n) * 1000000000u)
/** A time that never comes. */
#define GYRE_FOREVER UINT64_MAX

/** The offset that means the file position, or none: for streams. */
#define GYRE_NO_OFFSET ((int64_t)-1)
/** In a completion's flags: a _many operation goes on. */
#define GYRE_MORE 1u
/** For gyre_op_fsync: leave out metadata that no read needs (fdatasync). */
#define GYRE_DATA_ONLY 1u
/** For gyre_op_send, beside MSG_*: complete when everything is sent. */
#define GYRE_SEND_ALL 0x100

/**
 * Statuses of gyre's own, beside 0 for success and -errno. Stable from version 1.0 on.
 */
typedef enum {
    /**
     * Success.
     */
    GYRE_OK = 0,
    /**
     * The handle is none, stale, forged, or of another kind.
     */
    GYRE_EHANDLE = -4001,
    /**
     * The calling thread does not own the loop.
     */
    GYRE_ETHREAD = -4002,
    /**
     * Not allowed from inside a callback.
     */
    GYRE_EREENTRANT = -4003,
    /**
     * The process was forked since the loop was opened.
     */
    GYRE_EFORKED = -4004,
    /**
     * The loop is being closed.
     */
    GYRE_ECLOSING = -4005,
    /**
     * The kernel, the backend or the engine cannot do this.
     */
    GYRE_EUNSUPPORTED = -4006,
    /**
     * A bounded queue is full; nothing was taken.
     */
    GYRE_EFULL = -4007,
} gyre_status;

/**
 * Which demultiplexer a loop waits with.
 */
typedef enum {
    /**
     * The best one there is, or the one that the environment variable GYRE_BACKEND names: epoll, poll or select.
     */
    GYRE_BACKEND_AUTO = 0,
    /**
     * epoll(7): any number of descriptors.
     */
    GYRE_BACKEND_EPOLL = 1,
    /**
     * poll(2): a few hundred descriptors; no GYRE_EDGE, no gyre_loop_fd.
     */
    GYRE_BACKEND_POLL = 2,
    /**
     * select(2): descriptors below FD_SETSIZE (1024); no GYRE_EDGE, no gyre_loop_fd. Hangups of a watcher that asks for
     * neither GYRE_READ nor GYRE_WRITE are told up to 100 ms late.
     */
    GYRE_BACKEND_SELECT = 3,
} gyre_backend;

/**
 * Which engine serves operations on files. Sockets, pipes and terminals go by readiness, but on io_uring when it is named, by
 * this option or the environment: then sockets go by it, too.
 */
typedef enum {
    /**
     * Whatever serves best, or what the environment variable GYRE_ENGINE names.
     */
    GYRE_ENGINE_AUTO = 0,
    /**
     * io_uring(7). Named, it serves operations on sockets as well, where the kernel has multishot receive and deferred task
     * work (Linux 6.1); a turn hands over, waits and takes back by one system call.
     */
    GYRE_ENGINE_IO_URING = 1,
    /**
     * POSIX AIO, aio(7), where it has a call; the file position and vectors by worker threads.
     */
    GYRE_ENGINE_POSIX_AIO = 2,
    /**
     * Worker threads.
     */
    GYRE_ENGINE_EMULATED = 3,
} gyre_engine;

/**
 * How POSIX AIO tells of completions.
 */
typedef enum {
    /**
     * By a real-time signal; by threads where the queue of signals is too small (RLIMIT_SIGPENDING).
     */
    GYRE_AIO_SIGNAL = 0,
    /**
     * By a thread of the C library's.
     */
    GYRE_AIO_THREAD = 1,
} gyre_aio_notify;

/**
 * How long gyre_loop_run goes on.
 */
typedef enum {
    /**
     * Until nothing is alive, or gyre_loop_stop.
     */
    GYRE_RUN_DEFAULT = 0,
    /**
     * One turn, which waits if something is alive.
     */
    GYRE_RUN_ONCE = 1,
    /**
     * One turn, which does not wait.
     */
    GYRE_RUN_NOWAIT = 2,
} gyre_run_mode;

/**
 * What is waited for on a descriptor, and what came.
 */
typedef enum {
    /**
     * There is data, a connection to accept, or the end of the stream: a read would not block.
     */
    GYRE_READ = 1,
    /**
     * A write would not block.
     */
    GYRE_WRITE = 2,
    /**
     * There is an exceptional condition: TCP urgent data.
     */
    GYRE_PRIORITY = 4,
    /**
     * The peer has shut down its sending side.
     */
    GYRE_PEER_CLOSED = 8,
    /**
     * Report only: the connection is gone, or the pipe has no other end. Comes with the GYRE_READ and GYRE_WRITE that were
     * asked for, because neither would block.
     */
    GYRE_HANGUP = 16,
    /**
     * Report only: an error is pending on the descriptor (SO_ERROR), or the descriptor is closed or another file by now.
     */
    GYRE_ERROR = 32,
    /**
     * Mode, when a watcher is opened: tell when readiness changes, and not as long as it lasts. Only with epoll.
     */
    GYRE_EDGE = 256,
    /**
     * Mode, when a watcher is opened: tell once, then be silent until gyre_io_set.
     */
    GYRE_ONESHOT = 512,
} gyre_events;

/**
 * Where in a turn a hook runs.
 */
typedef enum {
    /**
     * Before the wait.
     */
    GYRE_HOOK_PREPARE = 0,
    /**
     * At the end of the turn.
     */
    GYRE_HOOK_CHECK = 1,
    /**
     * At the start of the turn, which then does not wait: for work that is done a piece at a time while nothing else is to do.
     */
    GYRE_HOOK_IDLE = 2,
} gyre_hook_phase;

/**
 * What a loop is opened with. Set `size` to sizeof(gyre_loop_options) and the rest to zero, which is the default of every
 * field: `gyre_loop_options options = {sizeof options};`
 */
typedef struct {
    /**
     * sizeof(gyre_loop_options).
     */
    size_t size;
    /**
     * A gyre_backend.
     */
    int backend;
    /**
     * A gyre_engine.
     */
    int engine;
    /**
     * How many ready descriptors a turn takes at the most; default 1024, at most 65,536.
     */
    uint32_t events_per_turn;
    /**
     * How many posts may wait; default 1,048,576.
     */
    uint32_t post_capacity;
    /**
     * How many operations may be in flight; default 65,536.
     */
    uint32_t op_capacity;
    /**
     * A gyre_aio_notify.
     */
    int aio_notify;
    /**
     * The real-time signal of POSIX AIO, SIGRTMIN to SIGRTMAX; 0 for the first free one.
     */
    int aio_signal;
    /**
     * How many threads POSIX AIO may have; the first loop of the process that uses it decides. Default: the C library's.
     */
    uint32_t aio_threads;
    /**
     * How many threads file operations of the emulated engine may have; default 4, at most 64.
     */
    uint32_t file_threads;
    /**
     * Bytes a buffer of gyre_op_recv_many; default 16 KiB.
     */
    uint32_t buffer_size;
    /**
     * How many such buffers there may be; default 1024, at most 32,768. They are made when they are needed. What an
     * engine had received for an operation that was then paused does not count, up to as many again.
     */
    uint32_t buffer_count;
} gyre_loop_options;

/**
 * An event loop. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_loop;

/**
 * Runs once on the loop's thread for each accepted `gyre_loop_post`.
 */
typedef void (*gyre_post_cb)(gyre_loop loop, void *user_data);

/**
 * What a loop has counted since it was opened.
 */
typedef struct {
    /**
     * Set by the caller: sizeof(gyre_loop_statistics).
     */
    size_t size;
    /**
     * Turns begun.
     */
    uint64_t turns;
    /**
     * Waits in the demultiplexer.
     */
    uint64_t waits;
    /**
     * Callbacks of descriptor and child watchers.
     */
    uint64_t events;
    /**
     * Timers fired.
     */
    uint64_t timers;
    /**
     * Posts run.
     */
    uint64_t posts;
    /**
     * Operations completed.
     */
    uint64_t completions;
    /**
     * Reports of the kernel's that were dropped because their watcher was closed.
     */
    uint64_t stale_events;
    /**
     * Operations in flight now.
     */
    uint64_t op_in_flight;
    /**
     * Handles open now, without the loop's own.
     */
    uint64_t handles;
    /**
     * The longest time that a callback took, in nanoseconds.
     */
    uint64_t callback_ns_max;
    /**
     * Calls of accept.
     */
    uint64_t accept_calls;
    /**
     * Times that a listener found no descriptor or no memory for a connection, and paused; once however long it lasts.
     */
    uint64_t accept_pauses;
} gyre_loop_statistics;

/**
 * A watcher of a descriptor. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_io;

/**
 * Tells what a descriptor is ready for: `events` holds `GYRE_READ`, `GYRE_WRITE`, `GYRE_PRIORITY` and `GYRE_PEER_CLOSED`
 * as far as asked for, and `GYRE_HANGUP` and `GYRE_ERROR` unasked.
 */
typedef void (*gyre_io_cb)(gyre_loop loop, gyre_io io, uint32_t events, void *user_data);

/**
 * A timer. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_timer;

/**
 * Tells that a timer's deadline has passed.
 */
typedef void (*gyre_timer_cb)(gyre_loop loop, gyre_timer timer, void *user_data);

/**
 * A watcher of a signal. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_signal;

/**
 * Tells that `signum` was raised, `count` times since the last call.
 */
typedef void (*gyre_signal_cb)(gyre_loop loop, gyre_signal signal, int signum, uint32_t count, void *user_data);

/**
 * A watcher of a child process. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_child;

/**
 * How a child process ended; valid during the callback.
 */
typedef struct {
    /**
     * The size of this struct in the library; fields of later versions come behind the ones here.
     */
    size_t size;
    /**
     * The process that ended.
     */
    pid_t pid;
    /**
     * 0; or -ECHILD when the end was taken by somebody else (a waitpid of the host, or SIGCHLD set to SIG_IGN), and so
     * only the fact of the end is known.
     */
    int error;
    /**
     * What the process gave to exit, 0 to 255; -1 when a signal killed it or the end is not known.
     */
    int code;
    /**
     * The signal that killed it; 0 when none did.
     */
    int signal;
    /**
     * 1 when a core was dumped.
     */
    int core_dumped;
} gyre_child_exit;

/**
 * Tells, once, how a child process ended.
 */
typedef void (*gyre_child_cb)(gyre_loop loop, gyre_child child, const gyre_child_exit *exit, void *user_data);

/**
 * A hook that runs in each turn. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_hook;

/**
 * Runs in each turn of the loop, in the phase that the hook was opened for.
 */
typedef void (*gyre_hook_cb)(gyre_loop loop, gyre_hook hook, void *user_data);

/**
 * An operation. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_op;

/**
 * What came of an operation; valid during the callback.
 */
typedef struct {
    /**
     * The size of this struct in the library; fields of later versions come behind the ones here.
     */
    size_t size;
    /**
     * The operation; its handle is dead unless `flags` holds GYRE_MORE.
     */
    gyre_op op;
    /**
     * Bytes, a descriptor, 0, or a negative status.
     */
    int64_t result;
    /**
     * The descriptor that it was submitted on; -1 for a sleep.
     */
    int fd;
    /**
     * GYRE_MORE: a _many operation goes on.
     */
    uint32_t flags;
    /**
     * The caller's buffer, NULL where there is none; for gyre_op_recv_many the library's with `result` bytes, valid during
     * the callback unless it is held.
     */
    void *buf;
    /**
     * The length of `buf`.
     */
    size_t len;
    /**
     * The peer's address, for gyre_op_accept; else NULL.
     */
    const struct sockaddr *peer;
    /**
     * The length of the peer's address.
     */
    socklen_t peer_len;
} gyre_completion;

/**
 * Tells, on the loop's thread, what came of an operation. Its buffer is the caller's again, unless GYRE_MORE is set.
 */
typedef void (*gyre_op_cb)(gyre_loop loop, const gyre_completion *done, void *user_data);

/**
 * One of the library's buffers that the caller keeps. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_buffer;

/**
 * The bounds and deadlines of a stream. Set `size` to sizeof(gyre_stream_options) and the rest to zero, which is the
 * default of every field. GYRE_FOREVER is no deadline, SIZE_MAX no bound.
 */
typedef struct {
    /**
     * sizeof(gyre_stream_options).
     */
    size_t size;
    /**
     * How many bytes may wait to be sent; default 1 MiB.
     */
    size_t write_limit;
    /**
     * How many bytes that on_data did not consume are kept, and the most that it is shown at once; default 1 MiB. When
     * so many are there and it still consumes nothing, the stream ends with -EMSGSIZE.
     */
    size_t max_input;
    /**
     * How long connecting may take, for each address; default 30 s. Then -ETIMEDOUT.
     */
    uint64_t connect_ns;
    /**
     * How long on_data may consume nothing, and nothing be sent; default 120 s. Then -ETIMEDOUT. A peer that sends a
     * message in ever smaller bits does not keep the stream open. Does not count while the stream is paused, or output
     * waits.
     */
    uint64_t idle_ns;
    /**
     * How long nothing of the output that waits may be sent; default 30 s. Then -ETIMEDOUT, by a reset.
     */
    uint64_t write_stall_ns;
    /**
     * How long gyre_stream_close may take; default 5 s. Then -ETIMEDOUT, by a reset.
     */
    uint64_t close_ns;
    /**
     * Not 0: probes idle connections (SO_KEEPALIVE).
     */
    int keepalive;
    /**
     * Not 0: leaves the delay of small segments on (no TCP_NODELAY).
     */
    int delay;
} gyre_stream_options;

/**
 * How a listener is opened. Set `size` to sizeof(gyre_listener_options) and the rest to zero, which is the default of
 * every field.
 */
typedef struct {
    /**
     * sizeof(gyre_listener_options).
     */
    size_t size;
    /**
     * How many connections may wait to be accepted; default 1024. The kernel takes no more than net.core.somaxconn.
     */
    int backlog;
    /**
     * Not 0: several listeners, also of other processes of the same user, may share the address (SO_REUSEPORT). Not
     * for Unix sockets.
     */
    int reuse_port;
    /**
     * How many connections there may be at once; default 65,536. Further ones wait to be accepted until one has ended.
     */
    uint32_t max_connections;
    /**
     * How many connections a turn accepts; default 64.
     */
    uint32_t accept_batch;
    /**
     * What the accepted streams are given. Its size may be 0 here.
     */
    gyre_stream_options stream;
} gyre_listener_options;

/**
 * A stream: a connection with its buffers and deadlines. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_stream;

/**
 * What a stream tells. Set `size` to sizeof(gyre_stream_callbacks); only `on_data` is required, the others may be
 * NULL.
 *
 * They run on the loop's thread inside its run, each with the stream's user_data, and may do anything to any handle.
 */
typedef struct {
    /**
     * sizeof(gyre_stream_callbacks).
     */
    size_t size;
    /**
     * The stream is connected. Comes first, once; not when connecting failed.
     */
    void (*on_open)(gyre_loop loop, gyre_stream stream, void *user_data);
    /**
     * Bytes have come; they are valid during the call. Returns how many of them are done with: the rest is shown
     * again, together with what follows, in one piece. While it takes something and bytes remain it is called again; 0
     * waits for more.
     */
    size_t (*on_data)(gyre_loop loop, gyre_stream stream, const uint8_t *data, size_t len, void *user_data);
    /**
     * After a write was GYRE_EFULL: what is pending has gone down to half of the limit or less, and what was refused
     * fits.
     */
    void (*on_drain)(gyre_loop loop, gyre_stream stream, void *user_data);
    /**
     * The peer sends nothing more; writing goes on. Without this function the stream closes itself, as by
     * gyre_stream_close.
     */
    void (*on_eof)(gyre_loop loop, gyre_stream stream, void *user_data);
    /**
     * The stream has ended: exactly once, last, and its handle is dead. `status` is 0 after gyre_stream_close or when
     * both directions have come to their end; -ETIMEDOUT for a deadline; -ECONNABORTED after gyre_stream_abort;
     * -ECANCELED when the loop is closed; -EMSGSIZE for more than max_input; -EINVAL for an on_data that took more
     * than there was; or the errno.
     */
    void (*on_close)(gyre_loop loop, gyre_stream stream, int status, void *user_data);
} gyre_stream_callbacks;

/**
 * A listener: what accepts connections. All-zero is none.
 */
typedef struct {
    /**
     * Opaque; compare for equality only.
     */
    uint64_t bits;
} gyre_listener;

/**
 * Gives a buffer back that `gyre_stream_write_owned` took: runs once, on the loop's thread, never inside that call,
 * and before the stream's `on_close`.
 */
typedef void (*gyre_release_cb)(const void *data, size_t len, void *arg);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Names a status: "EBADF" for -EBADF, "GYRE_EHANDLE", "GYRE_OK" for 0 and for counts, "?" for what is no status.
 *
 * @return a string that lives as long as the library, never NULL.
 *
 * Thread: any.
 */
const char *gyre_status_name(int status);

/**
 * Describes a status in a few English words.
 *
 * @return a string that lives as long as the library, never NULL.
 *
 * Thread: any.
 */
const char *gyre_status_message(int status);

/**
 * The version of the library that is linked: major << 16 | minor << 8 | patch. Compare with GYRE_VERSION, which is that of
 * the header.
 *
 * Thread: any.
 */
uint32_t gyre_version(void);

/**
 * The version of the library that is linked, as "major.minor.patch".
 *
 * @return a string that lives as long as the library, never NULL.
 *
 * Thread: any.
 */
const char *gyre_version_string(void);

/**
 * Opens a loop. The calling thread owns it: all functions of the loop and of its handles are for this thread alone, but
 * gyre_loop_post, gyre_loop_wake and gyre_loop_stop.
 *
 * @param options what to open it with, or NULL for the defaults.
 * @param out receives the handle.
 * @return 0; -EINVAL for `out` NULL, a bad size, an unknown enum value, or non-zero bytes behind what this library knows;
 * -EINVAL for an aio_signal that is no real-time signal; GYRE_EUNSUPPORTED for a backend or engine that is named and not to be had; GYRE_EFULL for the 256th loop; -ENOMEM,
 * -EMFILE, -ENFILE.
 *
 * Thread: any. Ownership: close it with gyre_loop_close.
 *
 * # Safety
 * `options` is NULL or valid for as many bytes as its size field says; `out` is NULL or valid to write to.
 */
int gyre_loop_open(const gyre_loop_options *options,
                   gyre_loop *out);

/**
 * Closes a loop and all of its handles. Before it returns it tells the operations that are in flight, with -ECANCELED or their
 * result, and runs the posts that were accepted, once each; from these every call on the loop is GYRE_ECLOSING. No buffer is
 * used after it returns. Watchers, timers and hooks hear nothing. Descriptors of the caller's stay open.
 *
 * In a child of fork it frees memory and descriptors, runs nothing, and leaves the parent's loop as it is.
 *
 * @return 0; GYRE_EHANDLE; GYRE_ETHREAD; GYRE_EREENTRANT inside a callback; GYRE_ECLOSING.
 *
 * Thread: the owner. Blocks: while these functions run, and while file operations that have begun go on. An exception that leaves one of these ends the process.
 */
int gyre_loop_close(gyre_loop loop);

/**
 * Runs the loop: waits for what is watched and calls back.
 *
 * One turn: IDLE hooks, PREPARE hooks, the wait, descriptors and children, operations, signals, posts, due timers, CHECK hooks. A turn is
 * bounded: each source gives what there was when its time came.
 *
 * A C++ exception that leaves a callback leaves this function too. What was reaped and not delivered comes in the next run;
 * the callback that threw counts as done. longjmp and pthread_exit out of a callback are undefined behaviour.
 *
 * @param mode a gyre_run_mode.
 * @return 1 while something is alive (also after a stop), 0 when nothing is; GYRE_EHANDLE; GYRE_EFORKED, also when a
 * callback forked and the child returned from it; GYRE_ETHREAD; GYRE_ECLOSING; GYRE_EREENTRANT inside a callback; -EINVAL for
 * an unknown mode; the status of a wait that failed.
 *
 * Thread: the owner. Blocks: as the mode says.
 */
int gyre_loop_run(gyre_loop loop,
                  int mode);

/**
 * Runs the loop as GYRE_RUN_DEFAULT does, and comes back when the time is over.
 *
 * @param timeout_ns nanoseconds; GYRE_FOREVER for no end; 0 for one turn that does not wait.
 * @return as gyre_loop_run.
 *
 * Thread: the owner. Blocks: until nothing is alive, gyre_loop_stop, or `timeout_ns` later.
 */
int gyre_loop_run_for(gyre_loop loop, uint64_t timeout_ns);

/**
 * Runs one turn, which waits at most `max_wait_ns`, alive or not.
 *
 * @param max_wait_ns nanoseconds; GYRE_FOREVER for no end.
 * @return as gyre_loop_run.
 *
 * Thread: the owner. Blocks: at most `max_wait_ns`, and the callbacks' time.
 */
int gyre_loop_turn(gyre_loop loop, uint64_t max_wait_ns);

/**
 * Keeps a pointer of the caller's with the loop.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_loop_set_user_data(gyre_loop loop, void *user_data);

/**
 * The pointer that gyre_loop_set_user_data kept.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_loop_user_data(gyre_loop loop);

/**
 * Ends the present run after its turn; if none is going on, the next one, after one turn that does not wait.
 *
 * @return 0; GYRE_EHANDLE; GYRE_EFORKED; GYRE_ECLOSING.
 *
 * Thread: any, and signal handlers: takes no lock and keeps errno.
 */
int gyre_loop_stop(gyre_loop loop);

/**
 * Ends the present wait; if none is going on, the next one.
 *
 * @return 0; GYRE_EHANDLE; GYRE_EFORKED; GYRE_ECLOSING.
 *
 * Thread: any, and signal handlers: takes no lock and keeps errno.
 */
int gyre_loop_wake(gyre_loop loop);

/**
 * Has a function run on the loop's thread. Posts of one thread run in the order in which they were accepted; an accepted
 * post is never lost, and keeps the loop alive. A turn runs those that were accepted before it came to them.
 *
 * @param callback what to run.
 * @param user_data what to run it with.
 * @return 0; GYRE_EHANDLE; GYRE_EFORKED; GYRE_ECLOSING; -EINVAL for a NULL callback; GYRE_EFULL when as many posts wait as
 * the option post_capacity says; -ENOMEM. After an error the post was not taken.
 *
 * Thread: any. Not for signal handlers.
 *
 * # Safety
 * `callback` may be called with `user_data` on the loop's thread until it has been.
 */
int gyre_loop_post(gyre_loop loop,
                   gyre_post_cb callback,
                   void *user_data);

/**
 * The loop's time: nanoseconds on CLOCK_MONOTONIC, read once a turn when first asked for, so that all callbacks of a turn
 * see the same. For a fresh one call gyre_loop_update_now before.
 *
 * @return the time; 0 for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
uint64_t gyre_loop_now(gyre_loop loop);

/**
 * Reads the clock, for gyre_loop_now to tell.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_loop_update_now(gyre_loop loop);

/**
 * Whether something keeps gyre_loop_run from returning: watchers that ask for something, armed timers, signals, children
 * that have not ended, hooks, posts; but none whose keep-alive is off.
 *
 * @return 1 or 0, or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_loop_is_alive(gyre_loop loop);

/**
 * Lets the loop count as alive even with nothing in it, so that gyre_loop_run waits for posts and gyre_loop_stop.
 *
 * @param on 0 for off, which is the default.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_loop_set_keepalive(gyre_loop loop, int on);

/**
 * A descriptor that is readable when the loop has something to do, to be watched by another loop. Watch it only for
 * reading; before each wait ask gyre_loop_timeout, after it run GYRE_RUN_NOWAIT.
 *
 * @return the descriptor, the same for the life of the loop (another one after gyre_loop_after_fork); GYRE_EUNSUPPORTED on
 * poll and select; -EMFILE, -ENFILE, -ENOMEM; or an error of the handle's.
 *
 * Thread: the owner. Ownership: the loop's; do not close it.
 */
int gyre_loop_fd(gyre_loop loop);

/**
 * How long a foreign wait on gyre_loop_fd may last at the most. Sends changes of interest to the kernel first, so call it
 * before each such wait.
 *
 * @param out_ns receives nanoseconds; GYRE_FOREVER for no end.
 * @return 0; -EINVAL for `out_ns` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out_ns` is NULL or valid to write to.
 */
int gyre_loop_timeout(gyre_loop loop,
                      uint64_t *out_ns);

/**
 * Gives the loop up, for another thread to take with gyre_loop_claim. A thread that ends gives up all it owns.
 *
 * @return 0; -EBUSY while operations are in flight; GYRE_EREENTRANT inside a callback; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_loop_release(gyre_loop loop);

/**
 * Takes a loop that no thread owns.
 *
 * @return 0, also when the calling thread owns it already; -EBUSY when another thread does; GYRE_EHANDLE; GYRE_EFORKED;
 * -ENOMEM.
 *
 * Thread: any; it is the owner from then on.
 */
int gyre_loop_claim(gyre_loop loop);

/**
 * Makes the loop usable in a child of fork. All watchers, timers, hooks and posts are there, on a kernel object of the
 * child's own; operations that were in flight complete with -ECANCELED; the parent's loop stays as it is. Until then every call but this one and gyre_loop_close is GYRE_EFORKED.
 * Watchers of children hear -ECHILD when the process ends: it is not the child's child.
 *
 * @return 0, also when there was no fork; GYRE_EHANDLE; -EBUSY when another thread forked while the owner was at work in the
 * loop (then only gyre_loop_close is left); -EMFILE, -ENFILE, -ENOMEM (then it can be tried again).
 *
 * Thread: any of the child; it is the owner from then on.
 */
int gyre_loop_after_fork(gyre_loop loop);

/**
 * The name of the loop's backend.
 *
 * @return "epoll", "poll" or "select"; "none" for a bad handle and from other threads. Lives as long as the library.
 *
 * Thread: the owner.
 */
const char *gyre_loop_backend(gyre_loop loop);

/**
 * The name of the engine that serves operations on files.
 *
 * @return "emulated", "io_uring" or "posix_aio"; "none" for a bad handle and from other threads. Lives as long as the library.
 *
 * Thread: the owner.
 */
const char *gyre_loop_engine(gyre_loop loop);

/**
 * Says in a line a backend which one the loop took and why, and why not the others.
 *
 * @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0.
 * @param len how many bytes `buf` has.
 * @return the length of the whole text without the NUL, as snprintf does; -EINVAL for `buf` NULL with `len`; or an error of
 * the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `buf` is NULL or valid to write `len` bytes to.
 */
int gyre_loop_explain(gyre_loop loop,
                      char *buf,
                      size_t len);

/**
 * Tells what the loop has counted.
 *
 * @param out receives the figures; its size field is set by the caller.
 * @return 0; -EINVAL for `out` NULL or a size below the first version's or above 4096; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL, or valid to read its size field from and to write as many bytes to as that says.
 */
int gyre_loop_stats(gyre_loop loop, gyre_loop_statistics *out);

/**
 * Writes a line of text for the loop (backend, whether it is alive, posts), and one for each open handle: its kind and bits,
 * what it waits for, and whether it keeps the loop running.
 * For finding out why gyre_loop_run does not return.
 *
 * @param fd where to write to.
 * @return 0; the status of a write that failed (-EBADF, -EPIPE without the signal, …); or an error of the handle's.
 *
 * Thread: the owner. Blocks: while `fd` takes no more.
 */
int gyre_loop_dump(gyre_loop loop,
                   int fd);

/**
 * Opens a watcher: the callback runs whenever the descriptor is ready, level-triggered unless GYRE_EDGE says otherwise.
 *
 * Several watchers may share a descriptor; they are called in the order of opening, each with what it asked for. A watcher
 * opened in a callback hears nothing of the events that were reaped before. Regular files are always ready.
 *
 * GYRE_HANGUP and GYRE_ERROR come unasked. A watcher that asks for nothing is told of them once, without GYRE_READ or
 * GYRE_WRITE, then not again before gyre_io_set; it does not keep the loop alive. When the descriptor is closed under the watcher,
 * or its number is given to another file, the watcher is told GYRE_ERROR at most once and nothing of the other file. Close
 * watchers before their descriptors.
 *
 * @param fd the descriptor; it stays the caller's, with its flags as they are.
 * @param events GYRE_READ, GYRE_WRITE, GYRE_PRIORITY, GYRE_PEER_CLOSED, or none of them to begin paused; and GYRE_EDGE,
 * GYRE_ONESHOT.
 * @param callback what to call.
 * @param user_data what to call it with.
 * @param out receives the handle.
 * @return 0; -EINVAL for a NULL callback or `out`, unknown or report-only bits, the loop's own descriptor, or GYRE_EDGE on a
 * descriptor that is watched without it or the other way round; -EBADF for what is no open descriptor; GYRE_EUNSUPPORTED for
 * GYRE_EDGE on poll and select, and for FD_SETSIZE and above on select; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM, -ENOSPC;
 * or an error of the handle's.
 *
 * Thread: the owner. Ownership: close it with gyre_io_close.
 *
 * # Safety
 * `callback` may be called with `user_data` until the watcher is closed; `out` is NULL or valid to write to.
 */
int gyre_io_open(gyre_loop loop,
                 int fd,
                 uint32_t events,
                 gyre_io_cb callback,
                 void *user_data,
                 gyre_io *out);

/**
 * Changes what a watcher asks for. Changes of one turn go to the kernel together, before the next wait; what is changed back
 * costs nothing. On a GYRE_EDGE watcher it also asks for readiness that is there already to be told once more.
 *
 * @param events GYRE_READ, GYRE_WRITE, GYRE_PRIORITY, GYRE_PEER_CLOSED; 0 pauses.
 * @return 0; -EINVAL for other bits; -EBADF when the watcher has been told that its descriptor is gone, or is about to be; or
 * an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_io_set(gyre_io io,
                uint32_t events);

/**
 * Closes a watcher. Once it returns the callback never runs again, also when its event was reaped already; user_data may be
 * freed at once. The descriptor stays open.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_io_close(gyre_io io);

/**
 * The descriptor that the watcher was opened with.
 *
 * @return the descriptor or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_io_fd(gyre_io io);

/**
 * Chooses whether the watcher, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_io_set_keepalive(gyre_io io, int on);

/**
 * The loop that the watcher belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_io_loop(gyre_io io, gyre_loop *out);

/**
 * The pointer that the watcher calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_io_user_data(gyre_io io);

/**
 * Changes the pointer that the watcher calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_io_set_user_data(gyre_io io, void *user_data);

/**
 * Opens a timer. It never fires before its deadline; timers fire in the order of their deadlines, then of arming.
 *
 * A periodic timer keeps to the grid of its first deadline, and fires once for ticks that it missed. A timer that is armed in
 * a callback fires in the next turn at the earliest.
 *
 * @param delay_ns nanoseconds from now to the first deadline; GYRE_FOREVER opens it stopped, and it does not keep the loop
 * alive until it is set. A sum that overflows is never.
 * @param period_ns nanoseconds from deadline to deadline; 0 for once.
 * @param callback what to call.
 * @param user_data what to call it with.
 * @param out receives the handle; NULL for a timer that closes itself after it has fired, unless its callback has armed it
 * again. Until then it keeps the loop alive.
 * @return 0; -EINVAL for a NULL callback, or a period without `out`; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or
 * an error of the handle's.
 *
 * Thread: the owner. Ownership: close it with gyre_timer_close.
 *
 * # Safety
 * `callback` may be called with `user_data` until the timer is closed; `out` is NULL or valid to write to.
 */
int gyre_timer_open(gyre_loop loop,
                    uint64_t delay_ns,
                    uint64_t period_ns,
                    gyre_timer_cb callback,
                    void *user_data,
                    gyre_timer *out);

/**
 * Arms a timer anew, running or not, from a fresh reading of the clock.
 *
 * @param delay_ns nanoseconds from now to the deadline; GYRE_FOREVER stops it.
 * @param period_ns nanoseconds from deadline to deadline; 0 for once.
 * @return 0; -EINVAL for a period on a timer that closes itself; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_timer_set(gyre_timer timer, uint64_t delay_ns, uint64_t period_ns);

/**
 * Arms a timer anew for a point in time, without reading the clock.
 *
 * @param deadline_ns nanoseconds on the clock of gyre_loop_now; one that has passed fires in the next turn; GYRE_FOREVER
 * stops it.
 * @param period_ns nanoseconds from deadline to deadline; 0 for once.
 * @return 0; -EINVAL for a period on a timer that closes itself; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_timer_set_at(gyre_timer timer,
                      uint64_t deadline_ns,
                      uint64_t period_ns);

/**
 * Stops a timer; it can be set again.
 *
 * @return 0, also for one that was stopped, or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_timer_stop(gyre_timer timer);

/**
 * Tells how long it is to a timer's deadline, from a fresh reading of the clock.
 *
 * @param out_ns receives nanoseconds; 0 for a deadline that has passed, GYRE_FOREVER for a timer that is stopped.
 * @return 0; -EINVAL for `out_ns` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out_ns` is NULL or valid to write to.
 */
int gyre_timer_remaining(gyre_timer timer, uint64_t *out_ns);

/**
 * Closes a timer. Once it returns the callback never runs again; user_data may be freed at once.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_timer_close(gyre_timer timer);

/**
 * Chooses whether the timer, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_timer_set_keepalive(gyre_timer timer, int on);

/**
 * The loop that the timer belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_timer_loop(gyre_timer timer, gyre_loop *out);

/**
 * The pointer that the timer calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_timer_user_data(gyre_timer timer);

/**
 * Changes the pointer that the timer calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_timer_set_user_data(gyre_timer timer, void *user_data);

/**
 * Opens a watcher of a signal: the callback runs in the loop, not in a signal handler. Any number of loops and watchers may
 * watch a signal. Raises coalesce: after the last raise there is at least one callback, with the count.
 *
 * A handler that was installed before still runs, in the context of the signal. The last watcher of the process to be
 * closed puts back what was there, unless somebody has replaced it since. The signal must not be blocked in all threads.
 *
 * @param signum the signal's number.
 * @param callback what to call.
 * @param user_data what to call it with.
 * @param out receives the handle.
 * @return 0; -EINVAL for a NULL callback or `out`, a number that is no signal or is the C library's own, and for SIGKILL,
 * SIGSTOP, SIGSEGV, SIGBUS, SIGFPE and SIGILL; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or an error of the handle's.
 *
 * Thread: the owner. Ownership: close it with gyre_signal_close.
 *
 * # Safety
 * `callback` may be called with `user_data` until the watcher is closed; `out` is NULL or valid to write to.
 */
int gyre_signal_open(gyre_loop loop,
                     int signum,
                     gyre_signal_cb callback,
                     void *user_data,
                     gyre_signal *out);

/**
 * Closes a watcher of a signal. Once it returns the callback never runs again; user_data may be freed at once.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_signal_close(gyre_signal signal);

/**
 * Chooses whether the watcher, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_signal_set_keepalive(gyre_signal signal, int on);

/**
 * The loop that the watcher belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_signal_loop(gyre_signal signal, gyre_loop *out);

/**
 * The pointer that the watcher calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_signal_user_data(gyre_signal signal);

/**
 * Changes the pointer that the watcher calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_signal_set_user_data(gyre_signal signal, void *user_data);

/**
 * Opens a watcher of a child process: the callback runs once, when the process has ended. The end is taken from the kernel
 * (the child is no zombie any more) and told to all watchers of the process, in any loop. SIGCHLD is left alone.
 *
 * @param pid the process.
 * @param callback what to call.
 * @param user_data what to call it with.
 * @param out receives the handle.
 * @return 0; -EINVAL for `pid` <= 0 or a NULL callback or `out`; -ESRCH when there is no such process; -ECHILD when it is not
 * a child of this process, or somebody has waited for it; GYRE_EUNSUPPORTED on kernels without pidfd_open(2);
 * GYRE_EFULL for more than 16,777,214 handles; -EMFILE, -ENFILE, -ENOMEM; or an error of the handle's.
 *
 * Thread: the owner. Ownership: close it with gyre_child_close, also after the callback.
 *
 * # Safety
 * `callback` may be called with `user_data` until the watcher is closed; `out` is NULL or valid to write to.
 */
int gyre_child_open(gyre_loop loop,
                    pid_t pid,
                    gyre_child_cb callback,
                    void *user_data,
                    gyre_child *out);

/**
 * Closes a watcher of a child process; the process goes on. Once it returns the callback never runs again; user_data may be
 * freed at once.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_child_close(gyre_child child);

/**
 * Chooses whether the watcher, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_child_set_keepalive(gyre_child child, int on);

/**
 * The loop that the watcher belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_child_loop(gyre_child child, gyre_loop *out);

/**
 * The pointer that the watcher calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_child_user_data(gyre_child child);

/**
 * Changes the pointer that the watcher calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_child_set_user_data(gyre_child child, void *user_data);

/**
 * Opens a hook: the callback runs in each turn, from the next one on, in the order of opening. A hook keeps the loop alive.
 *
 * @param phase a gyre_hook_phase.
 * @param callback what to call.
 * @param user_data what to call it with.
 * @param out receives the handle.
 * @return 0; -EINVAL for an unknown phase or a NULL callback or `out`; GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or
 * an error of the handle's.
 *
 * Thread: the owner. Ownership: close it with gyre_hook_close.
 *
 * # Safety
 * `callback` may be called with `user_data` until the hook is closed; `out` is NULL or valid to write to.
 */
int gyre_hook_open(gyre_loop loop,
                   int phase,
                   gyre_hook_cb callback,
                   void *user_data,
                   gyre_hook *out);

/**
 * Closes a hook. Once it returns the callback never runs again; user_data may be freed at once.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_hook_close(gyre_hook hook);

/**
 * Chooses whether the hook, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_hook_set_keepalive(gyre_hook hook, int on);

/**
 * The loop that the hook belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_hook_loop(gyre_hook hook, gyre_loop *out);

/**
 * The pointer that the hook calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_hook_user_data(gyre_hook hook);

/**
 * Changes the pointer that the hook calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_hook_set_user_data(gyre_hook hook, void *user_data);

/**
 * Reads from a file at an offset, or from a stream or the file position. Completes with the number of bytes, which may be
 * fewer than asked for; 0 is the end.
 *
 * Reads and writes at an offset run at the same time and in any order. On a socket, a pipe, or with GYRE_NO_OFFSET they run
 * one after the other in the order of submission, reads and writes apart.
 *
 * @param fd the descriptor; its flags stay as they are.
 * @param buf where to; the operation's until it completes, also after a cancel.
 * @param len bytes.
 * @param offset where in the file, or GYRE_NO_OFFSET.
 * @param callback what to call.
 * @param user_data what to call it with.
 * @param out receives the handle; may be NULL.
 * @return 0; -EINVAL for a NULL callback, `buf` NULL with `len`, a length above SSIZE_MAX, an offset below -1; -EBADF for what
 * is no open descriptor, or one that is being closed; -ESPIPE for an offset on what has none; -EBUSY beside a
 * gyre_op_recv_many; GYRE_EFULL when as many operations are in flight as the option op_capacity says, or 16,777,214 handles
 * are open; -ENOMEM; or an error of the handle's. After an error nothing was accepted.
 *
 * Thread: the owner. Ownership: `buf` and the descriptor are the operation's until the callback; close the descriptor by
 * gyre_op_close_fd. Engines: files by the engine; sockets by io_uring when that was named; the rest by readiness.
 *
 * # Safety
 * `buf` is valid for `len` bytes until the operation completes; `callback` may be called with `user_data` then; `out` is NULL or
 * valid to write to.
 */
int gyre_op_read(gyre_loop loop,
                 int fd,
                 void *buf,
                 size_t len,
                 int64_t offset,
                 gyre_op_cb callback,
                 void *user_data,
                 gyre_op *out);

/**
 * Writes to a file at an offset, or to a stream or the file position. Completes with the number of bytes, which may be fewer
 * than asked for. Never raises SIGPIPE.
 *
 * Parameters, statuses and order are those of gyre_op_read.
 *
 * Thread: the owner. Ownership: `buf` is the operation's until the callback.
 *
 * # Safety
 * As gyre_op_read.
 */
int gyre_op_write(gyre_loop loop,
                  int fd,
                  const void *buf,
                  size_t len,
                  int64_t offset,
                  gyre_op_cb callback,
                  void *user_data,
                  gyre_op *out);

/**
 * As gyre_op_read, into several pieces: preadv(2), readv(2).
 *
 * @param iov the pieces; they and what they point to are the operation's until it completes.
 * @param count how many: 0 to IOV_MAX (1024), else -EINVAL.
 * @return as gyre_op_read.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_read, for the pieces and the array.
 */
int gyre_op_readv(gyre_loop loop,
                  int fd,
                  const struct iovec *iov,
                  int count,
                  int64_t offset,
                  gyre_op_cb callback,
                  void *user_data,
                  gyre_op *out);

/**
 * As gyre_op_write, from several pieces: pwritev(2), writev(2).
 *
 * @param iov the pieces; they and what they point to are the operation's until it completes.
 * @param count how many: 0 to IOV_MAX (1024), else -EINVAL.
 * @return as gyre_op_read.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_read, for the pieces and the array.
 */
int gyre_op_writev(gyre_loop loop,
                   int fd,
                   const struct iovec *iov,
                   int count,
                   int64_t offset,
                   gyre_op_cb callback,
                   void *user_data,
                   gyre_op *out);

/**
 * Receives from a socket: recv(2). Completes with the number of bytes; 0 is the end of the stream.
 *
 * @param buf where to; the operation's until it completes, also after a cancel.
 * @param flags MSG_* of recv(2).
 * @return as gyre_op_read; what is no socket completes with -ENOTSOCK.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_read.
 */
int gyre_op_recv(gyre_loop loop,
                 int fd,
                 void *buf,
                 size_t len,
                 int flags,
                 gyre_op_cb callback,
                 void *user_data,
                 gyre_op *out);

/**
 * Sends on a socket: send(2). Completes with the number of bytes, which may be fewer than asked for unless `flags` holds
 * GYRE_SEND_ALL; several sends behind each other want that, for a short one does not stop the next. A cancelled
 * GYRE_SEND_ALL that has sent something completes with what it has sent. Never raises SIGPIPE.
 *
 * @param buf where from; the operation's until it completes, also after a cancel.
 * @param flags MSG_* of send(2), and GYRE_SEND_ALL.
 * @return as gyre_op_read; what is no socket completes with -ENOTSOCK.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_read.
 */
int gyre_op_send(gyre_loop loop,
                 int fd,
                 const void *buf,
                 size_t len,
                 int flags,
                 gyre_op_cb callback,
                 void *user_data,
                 gyre_op *out);

/**
 * Receives a message from a socket: recvmsg(2).
 *
 * @param msg the message; it and what it points to are the operation's until it completes.
 * @param flags MSG_* of recvmsg(2).
 * @return as gyre_op_read; -EINVAL for `msg` NULL.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_read, for the message and what it points to.
 */
int gyre_op_recvmsg(gyre_loop loop,
                    int fd,
                    struct msghdr *msg,
                    int flags,
                    gyre_op_cb callback,
                    void *user_data,
                    gyre_op *out);

/**
 * Sends a message on a socket: sendmsg(2). Never raises SIGPIPE.
 *
 * @param msg the message; it and what it points to are the operation's until it completes.
 * @param flags MSG_* of sendmsg(2).
 * @return as gyre_op_read; -EINVAL for `msg` NULL.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_read, for the message and what it points to.
 */
int gyre_op_sendmsg(gyre_loop loop,
                    int fd,
                    const struct msghdr *msg,
                    int flags,
                    gyre_op_cb callback,
                    void *user_data,
                    gyre_op *out);

/**
 * Accepts one connection: accept4(2). Completes with its descriptor, non-blocking and close-on-exec, which is the caller's, and
 * shows the peer's address in the completion. A connection that was aborted in the queue is skipped.
 *
 * @return as gyre_op_read.
 *
 * Thread: the owner. Ownership: the new descriptor is the caller's.
 *
 * # Safety
 * `callback` may be called with `user_data` when the operation completes; `out` is NULL or valid to write to.
 */
int gyre_op_accept(gyre_loop loop,
                   int fd,
                   gyre_op_cb callback,
                   void *user_data,
                   gyre_op *out);

/**
 * Connects a socket: connect(2). Completes with 0 or the error. The socket must be non-blocking.
 *
 * @param addr the address; the operation's until it completes.
 * @param len its length.
 * @return as gyre_op_read; -EINVAL for `addr` NULL or a blocking socket.
 *
 * Thread: the owner.
 *
 * # Safety
 * `addr` is valid for `len` bytes until the operation completes; the rest as gyre_op_accept.
 */
int gyre_op_connect(gyre_loop loop,
                    int fd,
                    const struct sockaddr *addr,
                    socklen_t len,
                    gyre_op_cb callback,
                    void *user_data,
                    gyre_op *out);

/**
 * Closes a descriptor after what is pending on it has been cancelled and has ended. From now on operations on the number are
 * -EBADF. Completes with 0 or the error of close(2); cannot be cancelled.
 *
 * @return as gyre_op_read; -EBUSY while watchers are open on the descriptor.
 *
 * Thread: the owner. Ownership: the descriptor is the operation's; its number may be given out again before the callback.
 *
 * # Safety
 * As gyre_op_accept; and nobody else uses the descriptor any more.
 */
int gyre_op_close_fd(gyre_loop loop,
                     int fd,
                     gyre_op_cb callback,
                     void *user_data,
                     gyre_op *out);

/**
 * Writes a file's data to the disk: fsync(2). Completes with 0 or the error. Covers writes that have completed before.
 *
 * @param flags GYRE_DATA_ONLY, or 0.
 * @return as gyre_op_read; -EINVAL for other flags.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_accept.
 */
int gyre_op_fsync(gyre_loop loop, int fd, uint32_t flags, gyre_op_cb callback, void *user_data, gyre_op *out);

/**
 * Completes with 0 after a time: a timer in the shape of an operation.
 *
 * @param delay_ns nanoseconds; GYRE_FOREVER only ends by a cancel.
 * @return as gyre_op_read.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_accept.
 */
int gyre_op_sleep(gyre_loop loop, uint64_t delay_ns, gyre_op_cb callback, void *user_data, gyre_op *out);

/**
 * Accepts connections until it is cancelled or fails. Each is told with GYRE_MORE; the last completion, without it, tells the
 * end: an error (-EMFILE among them) or -ECANCELED.
 *
 * @return as gyre_op_read; -EBUSY beside other accepts on the descriptor.
 *
 * Thread: the owner. Ownership: the new descriptors are the caller's.
 *
 * # Safety
 * As gyre_op_accept; the callback is called any number of times.
 */
int gyre_op_accept_many(gyre_loop loop,
                        int fd,
                        gyre_op_cb callback,
                        void *user_data,
                        gyre_op *out);

/**
 * Receives from a socket until the end of the stream, into buffers of the library's. Each piece is told with GYRE_MORE, and is
 * valid during the callback, or until gyre_buffer_release if gyre_buffer_hold keeps it; the last completion, without GYRE_MORE, is
 * 0 for the end of the stream, an error or -ECANCELED. A connection without data holds no buffer; when all are held, it
 * waits for one.
 *
 * @return as gyre_op_read; -EBUSY beside other receives on the descriptor.
 *
 * Thread: the owner.
 *
 * # Safety
 * As gyre_op_accept; the callback is called any number of times.
 */
int gyre_op_recv_many(gyre_loop loop,
                      int fd,
                      gyre_op_cb callback,
                      void *user_data,
                      gyre_op *out);

/**
 * Stops a _many operation from taking more, so that what the peer sends stays with the kernel. A paused one does not keep the
 * loop alive.
 *
 * @return 0; -EINVAL for an operation of another kind; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_op_pause(gyre_op op);

/**
 * Lets a paused _many operation go on.
 *
 * @return 0; -EINVAL for an operation of another kind; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_op_resume(gyre_op op);

/**
 * Asks for an operation not to be carried out. Its completion comes all the same, once: with -ECANCELED, or with the real result
 * when it was quicker. Until then its buffer is not the caller's.
 *
 * @return 0, also the second time; GYRE_EHANDLE for what has completed; -EALREADY for gyre_op_close_fd; or another error of
 * the handle's.
 *
 * Thread: the owner.
 */
int gyre_op_cancel(gyre_op op);

/**
 * Sets a deadline for an operation, all of a _many one: at the deadline it is asked to end, and completes with -ETIMEDOUT, or with
 * the real result when that was quicker. File I/O that the kernel has begun is not bounded by it.
 *
 * @param timeout_ns nanoseconds from now; 0 clears the deadline.
 * @return 0; -EINVAL for a sleep or a close; GYRE_EHANDLE for what has completed; -ENOMEM; or another error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_op_timeout(gyre_op op,
                    uint64_t timeout_ns);

/**
 * Keeps the buffer of a gyre_op_recv_many past the callback that it was shown to. It counts against the pool until it is released.
 *
 * @param done the completion, as it came.
 * @param out receives the buffer's handle; its bytes stay where `done->buf` says.
 * @return 0; -EINVAL for `done` or `out` NULL, outside that callback, a second time, or without a buffer of the library's;
 * GYRE_EFULL, -ENOMEM; or an error of the operation's handle.
 *
 * Thread: the owner. Ownership: give it back with gyre_buffer_release; closing the loop frees it.
 *
 * # Safety
 * `done` is NULL or points to a completion; `out` is NULL or valid to write to.
 */
int gyre_buffer_hold(const gyre_completion *done,
                     gyre_buffer *out);

/**
 * Gives a buffer back.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_buffer_release(gyre_buffer buffer);

/**
 * Chooses whether the operation, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_op_set_keepalive(gyre_op op, int on);

/**
 * The loop that the operation belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_op_loop(gyre_op op, gyre_loop *out);

/**
 * The pointer that the operation calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_op_user_data(gyre_op op);

/**
 * Changes the pointer that the operation calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_op_set_user_data(gyre_op op, void *user_data);

/**
 * Opens a listener: connections to the address are accepted and become streams, which are called back with the
 * listener's user_data until gyre_stream_set_user_data. The first callback of each is `on_open`.
 *
 * A listener that finds no descriptor or no memory for a connection pauses and tries ten times a second, until there
 * is some; gyre_loop_stats counts such a time once, as accept_pauses, and gyre_loop_dump shows it while it lasts.
 * Connections that were aborted while they waited are skipped.
 *
 * The file of a Unix socket is made by the listener, and removed by its close if it is still the same. One that a dead
 * server left behind, that is on which nobody listens, is replaced.
 *
 * @param address "127.0.0.1:80", "[::1]:80" or "unix:/path"; numeric only. Port 0 takes a free one, which
 * gyre_listener_address tells. "0.0.0.0:80" and "[::]:80" stand for every interface, of IPv4 and IPv6 apart.
 * @param options how to open it, or NULL for the defaults.
 * @param callbacks what the streams tell; copied.
 * @param user_data what to call it with.
 * @param out receives the handle; may be NULL.
 * @return 0; -EINVAL for what is no address, `address` or `callbacks` NULL, a NULL on_data, a negative backlog, a bad
 * size, or non-zero bytes behind what this library knows; -ENAMETOOLONG for a path of more than 107 bytes;
 * -EADDRINUSE, also for a path where somebody listens, or where something else is; -EADDRNOTAVAIL, -EACCES, -ENOENT
 * and other statuses of bind(2); -EMFILE, -ENFILE; GYRE_EUNSUPPORTED for a descriptor that select cannot take;
 * GYRE_EFULL for more than 16,777,214 handles; -ENOMEM; or an error of the handle's.
 *
 * Thread: the owner. Ownership: close it with gyre_listener_close.
 *
 * # Safety
 * `address` is NULL or a C string; `options` and `callbacks` are NULL or valid for as many bytes as their size fields
 * say; the callbacks may be called with `user_data` until the listener is closed and its streams have ended; `out` is
 * NULL or valid to write to.
 */
int gyre_listener_open(gyre_loop loop,
                       const char *address,
                       const gyre_listener_options *options,
                       const gyre_stream_callbacks *callbacks,
                       void *user_data,
                       gyre_listener *out);

/**
 * Takes over a socket that listens already, as a service manager hands it to a program (socket activation). Else as
 * gyre_listener_open; backlog and reuse_port have no meaning, and no file is removed.
 *
 * @param fd a stream socket in the listening state. It becomes non-blocking and close-on-exec.
 * @return as gyre_listener_open; also -EBADF; -ENOTSOCK; -EINVAL for a socket that does not listen or is of another
 * type; -EBUSY when it is a listener's already, or operations are in flight on it.
 *
 * Thread: the owner. Ownership: on success the descriptor is the listener's, which closes it; else it stays the
 * caller's.
 *
 * # Safety
 * As gyre_listener_open; nobody else closes the descriptor.
 */
int gyre_listener_adopt(gyre_loop loop,
                        int fd,
                        const gyre_listener_options *options,
                        const gyre_stream_callbacks *callbacks,
                        void *user_data,
                        gyre_listener *out);

/**
 * Tells the address that the listener listens on, with the port that was chosen for port 0.
 *
 * @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0. 128 bytes are enough.
 * @param len how many bytes `buf` has.
 * @return the length of the whole text without the NUL, as snprintf does; -EINVAL for `buf` NULL with `len`; the
 * status of getsockname(2); or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `buf` is NULL or valid to write `len` bytes to.
 */
int gyre_listener_address(gyre_listener listener, char *buf, size_t len);

/**
 * The descriptor that is listened on. It stays the listener's.
 *
 * @return the descriptor; -EBADF when somebody else has closed it; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_listener_fd(gyre_listener listener);

/**
 * Closes a listener: nothing is accepted any more, and connections that were not accepted are gone. Its streams go on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_listener_close(gyre_listener listener);

/**
 * Chooses whether the listener, while active, keeps gyre_loop_run from returning; it does by default. What it accepts
 * is not concerned.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_listener_set_keepalive(gyre_listener listener, int on);

/**
 * The loop that the listener belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_listener_loop(gyre_listener listener, gyre_loop *out);

/**
 * The pointer that the listener gives to the streams that it accepts.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_listener_user_data(gyre_listener listener);

/**
 * Changes the pointer that the listener gives to the streams that it accepts, from the next stream on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_listener_set_user_data(gyre_listener listener, void *user_data);

/**
 * Makes a stream that connects. `on_open` tells that it has; what is written before that is sent then. When no address
 * can be connected to, `on_close` comes alone, with the status of the last one: -ECONNREFUSED, -ETIMEDOUT, -ENOENT and
 * so on.
 *
 * @param address "127.0.0.1:80", "[::1]:80" or "unix:/path"; numeric only. Several with commas between them are tried
 * in turn; a path has no comma here.
 * @param options its bounds and deadlines, or NULL for the defaults.
 * @param callbacks what it tells; copied.
 * @param user_data what to call it with.
 * @param out receives the handle; may be NULL.
 * @return 0; -EINVAL for what is no address, more than 64 of them, `address` or `callbacks` NULL, a NULL on_data, a
 * bad size, or non-zero bytes behind what this library knows; -ENAMETOOLONG for a path of more than 107 bytes;
 * -EMFILE, -ENFILE, -ENOBUFS; GYRE_EUNSUPPORTED for a descriptor that select cannot take; GYRE_EFULL for more than
 * 16,777,214 handles; -ENOMEM; or an error of the handle's. After an error no callback comes.
 *
 * Thread: the owner. Ownership: it ends by gyre_stream_close, gyre_stream_abort or by itself; `on_close` tells.
 *
 * # Safety
 * `address` is NULL or a C string; `options` and `callbacks` are NULL or valid for as many bytes as their size fields
 * say; the callbacks may be called with `user_data` until `on_close`; `out` is NULL or valid to write to.
 */
int gyre_stream_connect(gyre_loop loop,
                        const char *address,
                        const gyre_stream_options *options,
                        const gyre_stream_callbacks *callbacks,
                        void *user_data,
                        gyre_stream *out);

/**
 * Makes a stream of a connected socket: one that was accepted elsewhere, or half of a socketpair. `on_open` comes in
 * the next turn.
 *
 * @param fd a connected stream socket. It becomes non-blocking and close-on-exec.
 * @return as gyre_stream_connect; also -EBADF; -ENOTSOCK; -EINVAL for a socket of another type, or one that listens;
 * -ENOTCONN; -EBUSY when it is a stream's already, or operations are in flight on it.
 *
 * Thread: the owner. Ownership: on success the descriptor is the stream's, which closes it; else it stays the
 * caller's.
 *
 * # Safety
 * As gyre_stream_connect; nobody else closes the descriptor.
 */
int gyre_stream_adopt(gyre_loop loop,
                      int fd,
                      const gyre_stream_options *options,
                      const gyre_stream_callbacks *callbacks,
                      void *user_data,
                      gyre_stream *out);

/**
 * Sends bytes, all or none: what the socket does not take at once is copied and sent when it does. Writes go out in
 * their order.
 *
 * @param data the bytes; the caller's again when this returns.
 * @param len how many.
 * @return 0 when all were taken; GYRE_EFULL when what waits would be more than write_limit: nothing was taken, and
 * `on_drain` tells when to try again; -EMSGSIZE for more than write_limit at once; -EINVAL for `data` NULL with `len`,
 * or a length above SSIZE_MAX; -EPIPE after gyre_stream_shutdown; GYRE_EHANDLE after gyre_stream_close or
 * gyre_stream_abort; -ENOMEM; the status of send(2) when the connection is gone, and `on_close` follows with it; or an
 * error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `data` is NULL or valid for `len` bytes.
 */
int gyre_stream_write(gyre_stream stream, const void *data, size_t len);

/**
 * Sends several pieces as one: all or none of them. Else as gyre_stream_write.
 *
 * @param iov the pieces.
 * @param count how many; at most IOV_MAX.
 * @return as gyre_stream_write; -EINVAL for a bad count or piece.
 *
 * Thread: the owner.
 *
 * # Safety
 * `iov` is NULL or valid for `count` pieces, and each of them for its length.
 */
int gyre_stream_writev(gyre_stream stream, const struct iovec *iov, int count);

/**
 * Sends a buffer without copying it: it is the stream's until `release` is called, which happens once, on the loop's
 * thread, never inside this call, and before `on_close`; also for a stream that fails, and when the loop is closed.
 *
 * @param data the bytes, which nobody may change until then.
 * @param len how many.
 * @param release what gives the buffer back.
 * @param arg what to call it with.
 * @return as gyre_stream_write, and -EINVAL for a NULL release. After an error the buffer is still the caller's, and
 * `release` is not called.
 *
 * Thread: the owner. Ownership: `data` is the stream's until `release`.
 *
 * # Safety
 * `data` is NULL or valid for `len` bytes until `release` is called; `release` may be called with `arg`.
 */
int gyre_stream_write_owned(gyre_stream stream, const void *data, size_t len, gyre_release_cb release, void *arg);

/**
 * Withholds what comes, also the end of the stream, until gyre_stream_resume: backpressure. What was not consumed is
 * kept; the peer can send only as much more as the kernel's buffers take. A paused stream that has nothing to send
 * does not keep the loop alive, and is not idle for its deadline.
 *
 * @return 0, also when it is paused; or an error of the handle's. GYRE_EHANDLE after gyre_stream_close.
 *
 * Thread: the owner.
 */
int gyre_stream_pause(gyre_stream stream);

/**
 * Ends a pause: what was kept is shown in the next turn, without waiting for more, and then what has come.
 *
 * @return 0, also when it is not paused; or an error of the handle's. GYRE_EHANDLE after gyre_stream_close.
 *
 * Thread: the owner.
 */
int gyre_stream_resume(gyre_stream stream);

/**
 * Tells the peer that nothing more comes, once what waits is sent. What the peer sends goes on to be told; when that
 * has come to its end too, the stream ends with status 0.
 *
 * @return 0; -EALREADY the second time; GYRE_EHANDLE after gyre_stream_close; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_stream_shutdown(gyre_stream stream);

/**
 * Ends a stream in order: nothing more is shown, what waits is sent, within close_ns, and then `on_close` comes, with
 * status 0. When the peer is in the middle of sending, what it sends is dropped until it has ended, within close_ns
 * too, for else the kernel would reset the connection and the peer might lose the last bytes.
 *
 * Until `on_close` the handle serves gyre_stream_abort, gyre_stream_pending and the functions that tell something; all
 * else is GYRE_EHANDLE.
 *
 * @return 0; GYRE_EHANDLE the second time; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_stream_close(gyre_stream stream);

/**
 * Ends a stream at once: the connection is reset, and what waits is not sent. `on_close` comes with -ECONNABORTED.
 *
 * @return 0, also after gyre_stream_close; GYRE_EHANDLE the second time; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_stream_abort(gyre_stream stream);

/**
 * Tells the peer's address.
 *
 * @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0. 128 bytes are enough. A
 * Unix socket without a name is "unix:".
 * @param len how many bytes `buf` has.
 * @return the length of the whole text without the NUL, as snprintf does; -EINVAL for `buf` NULL with `len`; -ENOTCONN
 * before it is connected, or when the connection is gone; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `buf` is NULL or valid to write `len` bytes to.
 */
int gyre_stream_peer(gyre_stream stream, char *buf, size_t len);

/**
 * Tells the stream's own address; as gyre_stream_peer.
 *
 * @param buf receives the text and a NUL, cut to `len` bytes; may be NULL when `len` is 0.
 * @param len how many bytes `buf` has.
 * @return as gyre_stream_peer.
 *
 * Thread: the owner.
 *
 * # Safety
 * `buf` is NULL or valid to write `len` bytes to.
 */
int gyre_stream_local(gyre_stream stream, char *buf, size_t len);

/**
 * The descriptor, for getsockopt(2) and the like. It stays the stream's: do not read, write or close it.
 *
 * @return the descriptor; -ENOTCONN while there is none; or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_stream_fd(gyre_stream stream);

/**
 * How many bytes still wait to be sent.
 *
 * @return the number or an error of the handle's.
 *
 * Thread: the owner.
 */
int64_t gyre_stream_pending(gyre_stream stream);

/**
 * How many bytes were received from the peer since the stream was made.
 *
 * @return the number or an error of the handle's.
 *
 * Thread: the owner.
 */
int64_t gyre_stream_received(gyre_stream stream);

/**
 * How many bytes the kernel has taken to be sent to the peer since the stream was made.
 *
 * @return the number or an error of the handle's.
 *
 * Thread: the owner.
 */
int64_t gyre_stream_sent(gyre_stream stream);

/**
 * Chooses whether the stream, while active, keeps gyre_loop_run from returning; it does by default.
 *
 * @param on 0 for no.
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner.
 */
int gyre_stream_set_keepalive(gyre_stream stream, int on);

/**
 * The loop that the stream belongs to.
 *
 * @param out receives the loop's handle.
 * @return 0; -EINVAL for `out` NULL; or an error of the handle's.
 *
 * Thread: the owner.
 *
 * # Safety
 * `out` is NULL or valid to write to.
 */
int gyre_stream_loop(gyre_stream stream, gyre_loop *out);

/**
 * The pointer that the stream calls back with.
 *
 * @return the pointer; NULL for a bad handle and from other threads.
 *
 * Thread: the owner.
 */
void *gyre_stream_user_data(gyre_stream stream);

/**
 * Changes the pointer that the stream calls back with, from the next callback on.
 *
 * @return 0 or an error of the handle's.
 *
 * Thread: the owner. Ownership: the pointer stays the caller's.
 */
int gyre_stream_set_user_data(gyre_stream stream, void *user_data);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GYRE_H */
