//! What the Rust tests share: the C interface with closures as callbacks, fixtures, and a macro that runs a behaviour on
//! every backend. Unsafe code stands here, and the tests have none but a few system calls.
//!
//! 1. A closure lives as long as its [`Loop`], so a callback that comes after a close is a failed test and not a wild call.
//! 2. A callback that panics stops the loop; the panic goes on in the test when the run has returned.
//! 3. A test that hangs ends the process and is named.

#![allow(dead_code, unused_macros)] // every file of tests takes what it needs

use gyre::capi::*;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

pub const EPOLL: c_int = gyre_backend::GYRE_BACKEND_EPOLL as c_int;
pub const POLL: c_int = gyre_backend::GYRE_BACKEND_POLL as c_int;
pub const SELECT: c_int = gyre_backend::GYRE_BACKEND_SELECT as c_int;

pub const READ: u32 = gyre_events::GYRE_READ as u32;
pub const WRITE: u32 = gyre_events::GYRE_WRITE as u32;
pub const PRIORITY: u32 = gyre_events::GYRE_PRIORITY as u32;
pub const PEER_CLOSED: u32 = gyre_events::GYRE_PEER_CLOSED as u32;
pub const HANGUP: u32 = gyre_events::GYRE_HANGUP as u32;
pub const ERROR: u32 = gyre_events::GYRE_ERROR as u32;
pub const EDGE: u32 = gyre_events::GYRE_EDGE as u32;
pub const ONESHOT: u32 = gyre_events::GYRE_ONESHOT as u32;

pub const DEFAULT: c_int = gyre_run_mode::GYRE_RUN_DEFAULT as c_int;
pub const ONCE: c_int = gyre_run_mode::GYRE_RUN_ONCE as c_int;
pub const NOWAIT: c_int = gyre_run_mode::GYRE_RUN_NOWAIT as c_int;

pub const PREPARE: c_int = gyre_hook_phase::GYRE_HOOK_PREPARE as c_int;
pub const CHECK: c_int = gyre_hook_phase::GYRE_HOOK_CHECK as c_int;
pub const IDLE: c_int = gyre_hook_phase::GYRE_HOOK_IDLE as c_int;

pub const EHANDLE: c_int = gyre_status::GYRE_EHANDLE as c_int;
pub const ETHREAD: c_int = gyre_status::GYRE_ETHREAD as c_int;
pub const EREENTRANT: c_int = gyre_status::GYRE_EREENTRANT as c_int;
pub const EFORKED: c_int = gyre_status::GYRE_EFORKED as c_int;
pub const ECLOSING: c_int = gyre_status::GYRE_ECLOSING as c_int;
pub const EUNSUPPORTED: c_int = gyre_status::GYRE_EUNSUPPORTED as c_int;
pub const EFULL: c_int = gyre_status::GYRE_EFULL as c_int;

pub const FOREVER: u64 = u64::MAX;
pub const MS: u64 = 1_000_000;
pub const SEC: u64 = 1_000_000_000;

// ---- one behaviour, every backend ----

/// Makes a test of each behaviour for each backend: `epoll::behaviour`, `poll::behaviour`, `select::behaviour`.
macro_rules! on_every_backend {
    ($($behaviour:ident),* $(,)?) => {
        on_every_backend!(@ (), $($behaviour),*);
    };
    // The tests of the file change what is the process's, so they run one after the other.
    (alone: $($behaviour:ident),* $(,)?) => {
        on_every_backend!(@ (crate::support::alone()), $($behaviour),*);
    };
    (@ ($($guard:expr)?), $($behaviour:ident),*) => {
        on_every_backend!(@@ epoll, crate::support::EPOLL, ($($guard)?), $($behaviour),*);
        on_every_backend!(@@ poll, crate::support::POLL, ($($guard)?), $($behaviour),*);
        on_every_backend!(@@ select, crate::support::SELECT, ($($guard)?), $($behaviour),*);
    };
    (@@ $module:ident, $backend:expr, $guard:tt, $($behaviour:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $behaviour() {
                    let _guard = $guard;
                    let name = concat!(stringify!($module), "::", stringify!($behaviour));
                    crate::support::watched(name, || super::$behaviour($backend));
                }
            )*
        }
    };
}

/// What one turns to for tests that must not run beside others of their file.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a test may take, and how long [`Loop::until`] waits.
const DEADLINE: Duration = Duration::from_secs(50);
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test and ends the process if it hangs.
pub fn watched(name: &'static str, test: impl FnOnce()) {
    let (done, finished) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if finished.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
            say(&format!("{name} hangs"));
            std::process::abort();
        }
    });
    test();
    drop(done);
}

/// A line to stderr that no test harness catches.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "!!!! {line}");
}

// ---- the loop ----

/// A loop that closes itself, with closures as callbacks. They are given the loop, to open more from inside.
pub struct Loop<'a> {
    pub handle: gyre_loop,
    kept: RefCell<Vec<*mut (dyn Kept + 'a)>>,
}

/// What lives until the loop is gone.
trait Kept {}
impl<T> Kept for T {}

/// A closure and the loop to call it with: the `user_data` of a callback.
struct Context<'a, F> {
    owner: *const Loop<'a>,
    function: F,
}

thread_local! {
    static PANIC: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// A panic must not unwind through the library.
fn guarded(handle: gyre_loop, act: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(act)) {
        PANIC.with_borrow_mut(|first| _ = first.get_or_insert(panic));
        gyre_loop_stop(handle);
    }
}

fn let_panics_go_on() {
    if !std::thread::panicking()
        && let Some(panic) = PANIC.with_borrow_mut(Option::take)
    {
        resume_unwind(panic);
    }
}

impl<'a, F> Context<'a, F> {
    /// # Safety
    /// `user_data` is a `Context` of exactly this type whose loop lives.
    unsafe fn of<'b>(user_data: *mut c_void) -> (&'b Loop<'a>, &'b F) {
        // SAFETY: by this function's contract; `Loop` frees contexts only when it is dropped.
        unsafe {
            let context = &*user_data.cast::<Context<'a, F>>();
            (&*context.owner, &context.function)
        }
    }
}

extern "C-unwind" fn io_called<'a, F>(handle: gyre_loop, io: gyre_io, events: u32, user_data: *mut c_void)
where
    F: Fn(&Loop<'a>, gyre_io, u32) + 'a,
{
    // SAFETY: `Loop::try_io` passes this function together with such a context.
    let (owner, function) = unsafe { Context::<'a, F>::of(user_data) };
    guarded(handle, || function(owner, io, events));
}

extern "C-unwind" fn timer_called<'a, F>(handle: gyre_loop, timer: gyre_timer, user_data: *mut c_void)
where
    F: Fn(&Loop<'a>, gyre_timer) + 'a,
{
    // SAFETY: `Loop::try_timer` and `Loop::one_shot` pass this function together with such a context.
    let (owner, function) = unsafe { Context::<'a, F>::of(user_data) };
    guarded(handle, || function(owner, timer));
}

extern "C-unwind" fn hook_called<'a, F>(handle: gyre_loop, hook: gyre_hook, user_data: *mut c_void)
where
    F: Fn(&Loop<'a>, gyre_hook) + 'a,
{
    // SAFETY: `Loop::hook` passes this function together with such a context.
    let (owner, function) = unsafe { Context::<'a, F>::of(user_data) };
    guarded(handle, || function(owner, hook));
}

extern "C-unwind" fn signal_called<'a, F>(
    handle: gyre_loop,
    signal: gyre_signal,
    signum: c_int,
    count: u32,
    user_data: *mut c_void,
) where
    F: Fn(&Loop<'a>, gyre_signal, c_int, u32) + 'a,
{
    // SAFETY: `Loop::try_signal` passes this function together with such a context.
    let (owner, function) = unsafe { Context::<'a, F>::of(user_data) };
    guarded(handle, || function(owner, signal, signum, count));
}

extern "C-unwind" fn child_called<'a, F>(
    handle: gyre_loop,
    child: gyre_child,
    exit: *const gyre_child_exit,
    user_data: *mut c_void,
) where
    F: Fn(&Loop<'a>, gyre_child, gyre_child_exit) + 'a,
{
    // SAFETY: `Loop::try_child` passes this function together with such a context; the record is valid during the call.
    let ((owner, function), exit) = unsafe { (Context::<'a, F>::of(user_data), *exit) };
    guarded(handle, || function(owner, child, exit));
}

extern "C-unwind" fn post_called<'a, F>(handle: gyre_loop, user_data: *mut c_void)
where
    F: Fn(&Loop<'a>) + 'a,
{
    // SAFETY: `Loop::try_post` passes this function together with such a context.
    let (owner, function) = unsafe { Context::<'a, F>::of(user_data) };
    guarded(handle, || function(owner));
}

extern "C-unwind" fn remote_post_called<F: FnOnce(gyre_loop) + Send + 'static>(
    handle: gyre_loop,
    user_data: *mut c_void,
) {
    // SAFETY: `post_from_any_thread` passes this function with such a box, and an accepted post runs once.
    let function = unsafe { Box::from_raw(user_data.cast::<F>()) };
    guarded(handle, || function(handle));
}

/// Posts from whatever thread. Returns the status.
pub fn post_from_any_thread<F: FnOnce(gyre_loop) + Send + 'static>(handle: gyre_loop, function: F) -> c_int {
    let boxed = Box::into_raw(Box::new(function));
    // SAFETY: the box is given over with an accepted post, and taken back with a refused one.
    unsafe {
        let status = gyre_loop_post(handle, Some(remote_post_called::<F>), boxed.cast());
        if status != 0 {
            drop(Box::from_raw(boxed));
        }
        status
    }
}

/// Default options with a backend.
pub fn options(backend: c_int) -> gyre_loop_options {
    gyre_loop_options {
        size: size_of::<gyre_loop_options>(),
        backend,
        engine: 0,
        events_per_turn: 0,
        post_capacity: 0,
        op_capacity: 0,
        aio_notify: 0,
        aio_signal: 0,
        aio_threads: 0,
        file_threads: 0,
        buffer_size: 0,
        buffer_count: 0,
    }
}

impl<'a> Loop<'a> {
    /// A loop on this backend.
    pub fn open(backend: c_int) -> Rc<Loop<'a>> {
        Loop::open_with(&options(backend)).unwrap_or_else(|status| panic!("gyre_loop_open: {}", name(status)))
    }

    /// A loop with these options, or why not.
    pub fn open_with(options: &gyre_loop_options) -> Result<Rc<Loop<'a>>, c_int> {
        let mut handle = gyre_loop::default();
        // SAFETY: both pointers are of live objects, and `size` is that of the struct.
        match unsafe { gyre_loop_open(options, &mut handle) } {
            0 => Ok(Rc::new(Loop { handle, kept: RefCell::new(Vec::new()) })),
            status => Err(status),
        }
    }

    /// A context for a callback, to live as long as the loop.
    fn keep<F: 'a>(&self, function: F) -> *mut c_void {
        let context = Box::into_raw(Box::new(Context { owner: self, function }));
        self.kept.borrow_mut().push(context);
        context.cast()
    }

    pub fn try_io<F>(&self, fd: RawFd, events: u32, function: F) -> Result<gyre_io, c_int>
    where
        F: Fn(&Loop<'a>, gyre_io, u32) + 'a,
    {
        let (context, mut io) = (self.keep(function), gyre_io::default());
        // SAFETY: the context lives longer than the loop, and `io` is valid to write to.
        status(unsafe { gyre_io_open(self.handle, fd, events, Some(io_called::<'a, F>), context, &mut io) })
            .map(|()| io)
    }

    pub fn io<F: Fn(&Loop<'a>, gyre_io, u32) + 'a>(&self, fd: &impl AsRawFd, events: u32, function: F) -> gyre_io {
        self.try_io(fd.as_raw_fd(), events, function).unwrap_or_else(|status| panic!("gyre_io_open: {}", name(status)))
    }

    pub fn try_timer<F>(&self, delay: u64, period: u64, function: F) -> Result<gyre_timer, c_int>
    where
        F: Fn(&Loop<'a>, gyre_timer) + 'a,
    {
        let (context, mut timer) = (self.keep(function), gyre_timer::default());
        let callback: gyre_timer_cb = Some(timer_called::<'a, F>);
        // SAFETY: the context lives longer than the loop, and `timer` is valid to write to.
        status(unsafe { gyre_timer_open(self.handle, delay, period, callback, context, &mut timer) }).map(|()| timer)
    }

    pub fn timer<F: Fn(&Loop<'a>, gyre_timer) + 'a>(&self, delay: u64, period: u64, function: F) -> gyre_timer {
        self.try_timer(delay, period, function).unwrap_or_else(|status| panic!("gyre_timer_open: {}", name(status)))
    }

    /// A timer without a handle. Returns the status.
    pub fn one_shot<F: Fn(&Loop<'a>, gyre_timer) + 'a>(&self, delay: u64, period: u64, function: F) -> c_int {
        let context = self.keep(function);
        let callback: gyre_timer_cb = Some(timer_called::<'a, F>);
        // SAFETY: the context lives longer than the loop; NULL asks for a timer that closes itself.
        unsafe { gyre_timer_open(self.handle, delay, period, callback, context, std::ptr::null_mut()) }
    }

    pub fn hook<F: Fn(&Loop<'a>, gyre_hook) + 'a>(&self, phase: c_int, function: F) -> gyre_hook {
        let (context, mut hook) = (self.keep(function), gyre_hook::default());
        // SAFETY: the context lives longer than the loop, and `hook` is valid to write to.
        ok(unsafe { gyre_hook_open(self.handle, phase, Some(hook_called::<'a, F>), context, &mut hook) });
        hook
    }

    pub fn try_signal<F>(&self, signum: c_int, function: F) -> Result<gyre_signal, c_int>
    where
        F: Fn(&Loop<'a>, gyre_signal, c_int, u32) + 'a,
    {
        let (context, mut signal) = (self.keep(function), gyre_signal::default());
        let callback: gyre_signal_cb = Some(signal_called::<'a, F>);
        // SAFETY: the context lives longer than the loop, and `signal` is valid to write to.
        status(unsafe { gyre_signal_open(self.handle, signum, callback, context, &mut signal) }).map(|()| signal)
    }

    pub fn try_child<F>(&self, pid: libc::pid_t, function: F) -> Result<gyre_child, c_int>
    where
        F: Fn(&Loop<'a>, gyre_child, gyre_child_exit) + 'a,
    {
        let (context, mut child) = (self.keep(function), gyre_child::default());
        let callback: gyre_child_cb = Some(child_called::<'a, F>);
        // SAFETY: the context lives longer than the loop, and `child` is valid to write to.
        status(unsafe { gyre_child_open(self.handle, pid, callback, context, &mut child) }).map(|()| child)
    }

    /// Posts from the loop's own thread. Returns the status.
    pub fn try_post<F: Fn(&Loop<'a>) + 'a>(&self, function: F) -> c_int {
        let context = self.keep(function);
        // SAFETY: the context lives longer than the loop, whose close runs what is left.
        unsafe { gyre_loop_post(self.handle, Some(post_called::<'a, F>), context) }
    }

    pub fn post<F: Fn(&Loop<'a>) + 'a>(&self, function: F) {
        ok(self.try_post(function));
    }

    pub fn run(&self, mode: c_int) -> c_int {
        let status = gyre_loop_run(self.handle, mode);
        let_panics_go_on();
        status
    }

    /// One turn that waits at most so long; whether something is alive.
    pub fn turn(&self, wait_ns: u64) -> bool {
        let alive = gyre_loop_turn(self.handle, wait_ns);
        let_panics_go_on();
        assert!(alive >= 0, "gyre_loop_turn: {}", name(alive));
        alive == 1
    }

    /// Turns that do not wait.
    pub fn turns(&self, count: usize) {
        for _ in 0..count {
            self.turn(0);
        }
    }

    /// Turns until something has come about.
    pub fn until(&self, came: impl Fn() -> bool) {
        let begun = Instant::now();
        while !came() {
            assert!(begun.elapsed() < PATIENCE, "waited for it in vain");
            self.turn(100 * MS);
        }
    }

    pub fn is_alive(&self) -> bool {
        let alive = gyre_loop_is_alive(self.handle);
        assert!(alive >= 0, "gyre_loop_is_alive: {}", name(alive));
        alive == 1
    }

    pub fn statistics(&self) -> gyre_loop_statistics {
        let size = size_of::<gyre_loop_statistics>();
        let mut out = gyre_loop_statistics { size, ..gyre_loop_statistics::default() };
        // SAFETY: `out` is valid to write to for as many bytes as its size says.
        ok(unsafe { gyre_loop_stats(self.handle, &mut out) });
        out
    }

    /// The waits of the loop in this time while it is run on: many when it spins.
    pub fn waits_within(&self, time_ns: u64) -> u64 {
        let before = self.statistics().waits;
        let end = self.timer(time_ns, 0, |it, _| ok(gyre_loop_stop(it.handle)));
        self.run(DEFAULT);
        ok(gyre_timer_close(end));
        self.statistics().waits - before
    }

    pub fn close(&self) -> c_int {
        let status = gyre_loop_close(self.handle);
        let_panics_go_on();
        status
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        gyre_loop_close(self.handle); // GYRE_EHANDLE when the test has closed it
        for context in self.kept.borrow_mut().drain(..) {
            // SAFETY: `keep` made it from a box, and with the loop closed nobody calls with it any more.
            drop(unsafe { Box::from_raw(context) });
        }
        let_panics_go_on();
    }
}

pub fn remaining(timer: gyre_timer) -> u64 {
    let mut ns = 0;
    // SAFETY: `ns` is valid to write to.
    ok(unsafe { gyre_timer_remaining(timer, &mut ns) });
    ns
}

pub fn timeout_of(handle: gyre_loop) -> u64 {
    let mut ns = 0;
    // SAFETY: `ns` is valid to write to.
    ok(unsafe { gyre_loop_timeout(handle, &mut ns) });
    ns
}

pub fn backend_of(handle: gyre_loop) -> &'static str {
    text(gyre_loop_backend(handle))
}

// ---- statuses ----

pub fn name(status: c_int) -> &'static str {
    text(gyre_status_name(status))
}

/// A string of the library's.
pub fn text(text: *const std::ffi::c_char) -> &'static str {
    assert!(!text.is_null());
    // SAFETY: the library's strings end with NUL and live as long as it does.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap()
}

#[track_caller]
pub fn ok(status: c_int) {
    assert!(status == 0, "{status} ({})", name(status));
}

fn status(status: c_int) -> Result<(), c_int> {
    if status == 0 { Ok(()) } else { Err(status) }
}

// ---- fixtures ----

/// What callbacks note down.
pub struct Log<T>(RefCell<Vec<T>>);

impl<T> Log<T> {
    pub fn new() -> Log<T> {
        Log(RefCell::new(Vec::new()))
    }

    pub fn note(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The entries since the last call.
    pub fn take(&self) -> Vec<T> {
        self.0.take()
    }
}

pub fn add(counter: &Cell<u32>) -> u32 {
    counter.set(counter.get() + 1);
    counter.get()
}

/// An errno as a result.
#[track_caller]
pub fn system(result: c_int) -> c_int {
    assert!(result != -1, "{}", std::io::Error::last_os_error());
    result
}

/// The reading and the writing end of a pipe.
pub fn pipe() -> (File, File) {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors, which are new and nobody else's.
    unsafe {
        system(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK));
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    }
}

/// A pipe whose ends the test closes by number, as nobody's property: for descriptors that are closed under watchers.
pub fn bare_pipe() -> (RawFd, RawFd) {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors.
    system(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) });
    (ends[0], ends[1])
}

#[track_caller]
pub fn close_fd(fd: RawFd) {
    // SAFETY: the tests that call this made the descriptor by number and let nobody own it.
    system(unsafe { libc::close(fd) });
}

#[track_caller]
pub fn dup(fd: RawFd) -> RawFd {
    // SAFETY: takes no pointer.
    system(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
}

/// Makes `number` another name of the file `fd`.
#[track_caller]
pub fn dup_to(fd: RawFd, number: RawFd) {
    // SAFETY: takes no pointer; what had the number is the test's own.
    system(unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) });
}

#[track_caller]
pub fn put(fd: RawFd, bytes: &[u8]) {
    // SAFETY: pointer and length are of a live slice.
    let count = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    assert_eq!(count, bytes.len() as isize, "{}", std::io::Error::last_os_error());
}

/// A byte, or `None` when there is none.
pub fn get(fd: RawFd) -> Option<u8> {
    let mut byte = 0_u8;
    // SAFETY: one byte is writable.
    let count = unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
    (count == 1).then_some(byte)
}

/// Nanoseconds on the clock of `gyre_loop_now`.
pub fn clock() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * SEC + now.tv_nsec as u64
}

/// Lets the clock pass a point in time, where time is what a test is about.
pub fn let_clock_pass(deadline: u64) {
    while clock() <= deadline {
        std::hint::spin_loop();
    }
}

/// Random numbers that are the same in each run (xorshift64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

// ---- processes ----

/// Forks, and has the child end with what `act` returns, or with 101 after a panic. Returns its pid.
pub fn fork(act: impl FnOnce() -> c_int) -> libc::pid_t {
    // SAFETY: the child runs `act` and `_exit`s: it returns to no code that expects the parent's threads.
    unsafe {
        let pid = system(libc::fork());
        if pid == 0 {
            libc::alarm(DEADLINE.as_secs() as u32); // it must not outlive a test that was given up
            libc::_exit(catch_unwind(AssertUnwindSafe(act)).unwrap_or(101));
        }
        pid
    }
}

/// Waits for a child to end and returns what waitpid(2) says.
pub fn await_child(pid: libc::pid_t) -> c_int {
    let mut ending = 0;
    // SAFETY: `ending` is valid to write to.
    while unsafe { libc::waitpid(pid, &mut ending, 0) } == -1 {
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR));
    }
    ending
}

/// The child must have exited with 0: all that it checked was so.
#[track_caller]
pub fn assert_child_is_content(pid: libc::pid_t) {
    let ending = await_child(pid);
    assert!(
        libc::WIFEXITED(ending) && libc::WEXITSTATUS(ending) == 0,
        "the child ended with {ending:#x}: {}",
        match libc::WEXITSTATUS(ending) {
            101 => "it panicked",
            _ => "see its exit code in the test",
        }
    );
}
