//! Behaviours that have to do with what belongs to the process: signals, child processes, forks, limits, the environment.
//! One runs at a time.

#[macro_use]
mod support;

use gyre::capi::*;
use libc::{EBUSY, ECHILD, EINVAL, EMFILE, ESRCH};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use support::*;

on_every_backend! { alone:
    a_signal_is_told_to_every_watcher_with_its_count,
    a_signal_is_told_to_all_though_one_of_them_replaces_a_descriptor,
    a_signal_wakes_a_loop_that_waits,
    the_last_close_puts_back_what_handled_a_signal_before,
    an_interrupted_wait_goes_on,
    a_stop_from_a_signal_handler_ends_the_run,
    signals_that_cannot_be_watched_are_refused,
    the_end_of_a_child_is_told_once_with_its_code,
    a_child_that_somebody_else_waited_for_is_told_as_stolen,
    what_is_no_child_is_refused,
    a_forked_loop_works_again_after_after_fork,
    a_callback_that_forks_ends_the_childs_run,
    a_loop_copied_while_its_owner_was_at_work_can_be_closed,
    a_loop_that_finds_no_descriptor_fails_and_leaves_nothing,
    the_environment_names_the_backend_of_auto,
    a_loop_leaves_no_descriptor_behind,
}

fn raise(signum: c_int) {
    // SAFETY: takes no pointer; a watcher or a handler is there for the signal.
    system(unsafe { libc::raise(signum) });
}

fn disposition(signum: c_int) -> libc::sighandler_t {
    // SAFETY: all bit patterns are a sigaction, and it is valid to write to.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        system(libc::sigaction(signum, std::ptr::null(), &mut action));
        action.sa_sigaction
    }
}

fn set_disposition(signum: c_int, handler: libc::sighandler_t) {
    // SAFETY: the handlers of this file are async-signal-safe.
    assert_ne!(unsafe { libc::signal(signum, handler) }, libc::SIG_ERR);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

// ---- signals ----

fn a_signal_is_told_to_every_watcher_with_its_count(backend: c_int) {
    let heard = Log::new();
    let (it, other) = (Loop::open(backend), Loop::open(backend));
    for name in [1, 2] {
        let heard = &heard;
        it.try_signal(libc::SIGUSR1, move |_, _, signum, count| heard.note((name, signum, count))).unwrap();
    }
    other.try_signal(libc::SIGUSR1, |_, _, signum, count| heard.note((3, signum, count))).unwrap();
    other.try_signal(libc::SIGUSR2, |_, _, _, _| panic!("that was another signal")).unwrap();
    for _ in 0..3 {
        raise(libc::SIGUSR1);
    }
    it.try_signal(libc::SIGUSR1, |_, _, _, count| heard.note((4, 0, count))).unwrap(); // too late for those
    it.turns(2);
    other.turns(2);
    let signal = libc::SIGUSR1;
    assert_eq!(heard.take(), [(1, signal, 3), (2, signal, 3), (3, signal, 3)]);
    raise(libc::SIGUSR1);
    it.turns(2);
    assert_eq!(heard.take(), [(1, signal, 1), (2, signal, 1), (4, 0, 1)]);
    assert_eq!((it.is_alive(), other.is_alive()), (true, true));
}

fn a_signal_is_told_to_all_though_one_of_them_replaces_a_descriptor(backend: c_int) {
    let (ours, theirs) = bare_pipe();
    let (other, writer) = bare_pipe();
    let heard = Log::new();
    let it = Loop::open(backend);
    it.try_io(ours, READ, |_, _, events| heard.note(if events & ERROR == 0 { "data" } else { "gone" })).unwrap();
    it.try_signal(libc::SIGUSR1, |it, _, _, _| {
        heard.note("first");
        dup_to(other, ours); // the number whose report was the last one of this turn
        it.try_io(ours, READ, |_, _, _| heard.note("other")).unwrap();
    })
    .unwrap();
    it.try_signal(libc::SIGUSR1, |_, _, _, _| heard.note("second")).unwrap();
    put(theirs, b"x");
    raise(libc::SIGUSR1);
    it.turns(2);
    assert_eq!(heard.take(), ["data", "first", "second", "gone"]);
    drop(it);
    [ours, theirs, other, writer].into_iter().for_each(close_fd);
}

fn a_signal_wakes_a_loop_that_waits(backend: c_int) {
    const ROUNDS: u32 = 200;
    let heard = Arc::new(AtomicU32::new(0));
    let it = Loop::open(backend);
    let counter = heard.clone();
    let note = move |_: &Loop<'_>, _, _, count| {
        counter.fetch_add(count, SeqCst);
    };
    it.try_signal(libc::SIGUSR2, note).unwrap();
    let seen = heard.clone();
    let raiser = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            // In this thread, so that it does not interrupt the wait by itself.
            raise(libc::SIGUSR2);
            while seen.load(SeqCst) <= round {
                std::hint::spin_loop();
            }
        }
    });
    while heard.load(SeqCst) < ROUNDS {
        it.turn(FOREVER);
    }
    raiser.join().unwrap();
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_handled(_: c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

fn the_last_close_puts_back_what_handled_a_signal_before(backend: c_int) {
    let handler = count_handled as extern "C" fn(c_int) as libc::sighandler_t;
    let heard = Cell::new(0);
    for before in [handler, libc::SIG_IGN, libc::SIG_DFL] {
        set_disposition(libc::SIGUSR1, before);
        HANDLED.store(0, SeqCst);
        heard.set(0);
        let (it, other) = (Loop::open(backend), Loop::open(backend));
        let first = it.try_signal(libc::SIGUSR1, |_, _, _, _| _ = add(&heard)).unwrap();
        other.try_signal(libc::SIGUSR1, |_, _, _, _| _ = add(&heard)).unwrap();
        assert_ne!(disposition(libc::SIGUSR1), before);
        raise(libc::SIGUSR1);
        it.turns(1);
        other.turns(1);
        assert_eq!((heard.get(), HANDLED.load(SeqCst)), (2, u32::from(before == handler)));
        ok(gyre_signal_close(first));
        assert_ne!(disposition(libc::SIGUSR1), before);
        ok(other.close()); // with the last watcher in it
        assert_eq!(disposition(libc::SIGUSR1), before);
    }
    // What the host has installed since is not touched.
    let it = Loop::open(backend);
    it.try_signal(libc::SIGUSR1, |_, _, _, _| {}).unwrap();
    set_disposition(libc::SIGUSR1, handler);
    ok(it.close());
    assert_eq!(disposition(libc::SIGUSR1), handler);
    set_disposition(libc::SIGUSR1, libc::SIG_DFL);
}

fn an_interrupted_wait_goes_on(backend: c_int) {
    set_disposition(libc::SIGUSR1, count_handled as extern "C" fn(c_int) as libc::sighandler_t);
    let (fired, ended) = (Cell::new(0), Arc::new(AtomicBool::new(false)));
    // SAFETY: takes no arguments.
    let waiting = unsafe { libc::pthread_self() };
    let interrupter = {
        let ended = ended.clone();
        std::thread::spawn(move || {
            while !ended.load(SeqCst) {
                // SAFETY: the thread lives: it joins this one.
                assert_eq!(unsafe { libc::pthread_kill(waiting, libc::SIGUSR1) }, 0);
                std::thread::yield_now();
            }
        })
    };
    let it = Loop::open(backend);
    let deadline = clock() + 30 * MS;
    let fired_in = &fired;
    it.timer(30 * MS, 0, move |_, _| {
        assert!(clock() >= deadline);
        add(fired_in);
    });
    let status = it.run(DEFAULT);
    ended.store(true, SeqCst);
    interrupter.join().unwrap();
    assert_eq!((status, fired.get()), (0, 1));
    set_disposition(libc::SIGUSR1, libc::SIG_DFL);
}

/// For the signal handler below.
static STOPPED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

extern "C" fn stop_in_handler(_: c_int) {
    // SAFETY: the thread's own errno.
    unsafe {
        *libc::__errno_location() = 4711;
        let status = gyre_loop_stop(gyre_loop { bits: STOPPED.load(SeqCst) });
        if status != 0 || *libc::__errno_location() != 4711 {
            libc::abort();
        }
    }
}

fn a_stop_from_a_signal_handler_ends_the_run(backend: c_int) {
    let it = Loop::open(backend);
    STOPPED.store(it.handle.bits, SeqCst);
    set_disposition(libc::SIGUSR1, stop_in_handler as extern "C" fn(c_int) as libc::sighandler_t);
    ok(gyre_loop_set_keepalive(it.handle, 1));
    it.post(|_| raise(libc::SIGUSR1)); // while the loop is at work
    assert_eq!(it.run(DEFAULT), 1);
    raise(libc::SIGUSR1); // and while nobody runs it
    assert_eq!(it.run(DEFAULT), 1);
    set_disposition(libc::SIGUSR1, libc::SIG_DFL);
}

fn signals_that_cannot_be_watched_are_refused(backend: c_int) {
    let it = Loop::open(backend);
    let special = [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
    for signum in special.into_iter().chain([0, -1, -5, 65, 1000, c_int::MIN, c_int::MAX, 32, 33]) {
        assert_eq!(it.try_signal(signum, |_, _, _, _| {}), Err(-EINVAL), "{signum}");
    }
    let last = it.try_signal(64, |_, _, _, _| {}).unwrap();
    assert_eq!(it.statistics().handles, 1);
    ok(gyre_signal_close(last));
}

// ---- children ----

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap()
}

fn the_end_of_a_child_is_told_once_with_its_code(backend: c_int) {
    let told = Log::new();
    let (it, other) = (Loop::open(backend), Loop::open(backend));
    for (script, code, signal) in [("read x; exit 7", 7, 0), ("read x; exit 0", 0, 0), ("kill -9 $$", -1, 9)] {
        let mut child = shell(script);
        let pid = child.id() as c_int;
        let watchers = [&it, &it, &other].map(|it| it.try_child(pid, |_, _, exit| told.note(exit)).unwrap());
        drop(child.stdin.take());
        it.until(|| told.len() == 2);
        other.until(|| told.len() == 3);
        assert!(!it.is_alive() && !other.is_alive());
        it.turns(3);
        for exit in told.take() {
            assert_eq!((exit.pid, exit.error, exit.code, exit.signal, exit.core_dumped), (pid, 0, code, signal, 0));
            assert_eq!(exit.size, size_of::<gyre_child_exit>());
        }
        let no_zombie = child.wait().unwrap_err();
        assert_eq!(no_zombie.raw_os_error(), Some(ECHILD));
        for watcher in watchers {
            ok(gyre_child_close(watcher));
        }
    }
    assert_eq!(it.statistics().handles + other.statistics().handles, 0);
}

fn a_child_that_somebody_else_waited_for_is_told_as_stolen(backend: c_int) {
    let (told, mut child) = (Log::new(), shell("exit 3"));
    let it = Loop::open(backend);
    let watcher = it.try_child(child.id() as c_int, |_, _, exit| told.note(exit)).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    it.until(|| told.len() == 1);
    let exit = told.take()[0];
    assert_eq!((exit.pid, exit.error, exit.code, exit.signal), (child.id() as c_int, -ECHILD, -1, 0));
    assert_eq!(it.run(DEFAULT), 0);
    ok(gyre_child_close(watcher));
}

fn what_is_no_child_is_refused(backend: c_int) {
    let it = Loop::open(backend);
    let mut gone = shell("exit 0");
    gone.wait().unwrap();
    // SAFETY: takes no arguments.
    let this = unsafe { libc::getpid() };
    for (pid, status) in [(0, -EINVAL), (-1, -EINVAL), (c_int::MIN, -EINVAL), (this, -ECHILD), (1, -ECHILD)] {
        assert_eq!(it.try_child(pid, |_, _, _| {}), Err(status), "{pid}");
    }
    assert_eq!(it.try_child(c_int::MAX, |_, _, _| {}), Err(-ESRCH));
    assert_eq!(it.try_child(gone.id() as c_int, |_, _, _| {}), Err(-ESRCH));
    assert_eq!(it.statistics().handles, 0);
}

// ---- forks ----

fn a_forked_loop_works_again_after_after_fork(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let it = Loop::open(backend);
    it.io(&ours, READ, |_, _, _| heard.note("io"));
    it.timer(0, 0, |_, _| heard.note("timer"));
    it.post(|_| heard.note("post"));
    ok(gyre_loop_after_fork(it.handle)); // without a fork it is nothing
    let child = fork(|| {
        for _ in 0..2 {
            assert_eq!(gyre_loop_run(it.handle, NOWAIT), EFORKED);
            assert_eq!(gyre_loop_stop(it.handle), EFORKED);
            assert_eq!(gyre_loop_wake(it.handle), EFORKED);
            assert_eq!(it.try_post(|_| {}), EFORKED);
            assert_eq!(gyre_loop_claim(it.handle), EFORKED);
        }
        ok(gyre_loop_after_fork(it.handle));
        put(theirs.as_raw_fd(), b"x");
        it.turns(1);
        assert_eq!(heard.take(), ["io", "post", "timer"]);
        assert_eq!(get(ours.as_raw_fd()), Some(b'x'));
        // The wake-up descriptor is one of its own.
        let handle = it.handle;
        let waker = std::thread::spawn(move || gyre_loop_stop(handle));
        it.run(DEFAULT);
        ok(waker.join().unwrap());
        it.close()
    });
    assert_child_is_content(child);
    it.turns(1); // what the child did is not seen here
    assert_eq!(heard.take(), ["post", "timer"]);
}

fn a_callback_that_forks_ends_the_childs_run(backend: c_int) {
    let (forked, heard) = (Cell::new(-1), Log::new());
    let it = Loop::open(backend);
    it.post(|_| {
        // SAFETY: the child comes back from the run and exits below.
        forked.set(system(unsafe { libc::fork() }));
        heard.note("forked");
    });
    it.post(|_| heard.note("second"));
    let status = it.run(DEFAULT);
    if forked.get() == 0 {
        let content = status == EFORKED && heard.take() == ["forked"] && gyre_loop_close(it.handle) == 0;
        // SAFETY: the child ends here, whatever the test harness has begun in the parent.
        unsafe { libc::_exit(if content { 0 } else { 1 }) };
    }
    assert_child_is_content(forked.get());
    assert_eq!((status, heard.take()), (0, vec!["forked", "second"]));
}

fn a_loop_copied_while_its_owner_was_at_work_can_be_closed(backend: c_int) {
    let (started, finish) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let owner = {
        let (started, finish) = (started.clone(), finish.clone());
        std::thread::spawn(move || {
            let it = Loop::open(backend);
            OWNED.store(it.handle.bits, SeqCst);
            it.post(|_| {
                started.wait();
                finish.wait();
            });
            it.run(DEFAULT)
        })
    };
    started.wait();
    let handle = gyre_loop { bits: OWNED.load(SeqCst) };
    let child = fork(|| {
        if gyre_loop_run(handle, NOWAIT) != EFORKED {
            return 1;
        }
        let after = gyre_loop_after_fork(handle);
        if after == -EBUSY || after == 0 { gyre_loop_close(handle) } else { 2 }
    });
    assert_child_is_content(child);
    finish.wait();
    assert_eq!(owner.join().unwrap(), 0);
}

static OWNED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

// ---- limits and the environment ----

fn a_loop_that_finds_no_descriptor_fails_and_leaves_nothing(backend: c_int) {
    // In a child, whose limit is nobody else's.
    let child = fork(|| {
        let before = open_descriptors();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is valid to write to.
        system(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) });
        let highest = File::open("/dev/null").unwrap().as_raw_fd() as u64; // the lowest free number
        let mut refused = 0;
        for room in 0..8 {
            let small = libc::rlimit { rlim_cur: highest + room, ..limit };
            // SAFETY: the limit is valid to read.
            system(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &small) });
            match Loop::open_with(&options(backend)) {
                Ok(it) => assert!(!it.turn(0)),
                Err(status) => {
                    assert_eq!(status, -EMFILE);
                    refused += 1;
                }
            }
        }
        // SAFETY: as above.
        system(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) });
        assert!((1..8).contains(&refused), "{refused}");
        assert_eq!(open_descriptors(), before);
        0
    });
    assert_child_is_content(child);
}

fn explanation(it: &Loop<'_>) -> String {
    let mut buffer = [0; 2048];
    // SAFETY: the buffer is valid for its length, and the library ends what it writes with NUL.
    unsafe {
        let length = gyre_loop_explain(it.handle, buffer.as_mut_ptr().cast::<c_char>(), buffer.len());
        let text = CStr::from_ptr(buffer.as_ptr().cast::<c_char>()).to_str().unwrap().to_owned();
        assert_eq!(length, text.len() as c_int);
        text
    }
}

fn the_environment_names_the_backend_of_auto(backend: c_int) {
    let named = ["", "epoll", "poll", "select"][backend as usize];
    for (value, expected) in [(named, named), ("kqueue", "epoll"), ("", "epoll"), ("EPOLL", "epoll")] {
        // The environment is a child's own: threads of the test harness may read that of this process.
        let child = fork(|| {
            // SAFETY: this process has one thread.
            unsafe { std::env::set_var("GYRE_BACKEND", value) };
            let automatic = Loop::open(0);
            assert_eq!(backend_of(automatic.handle), expected, "GYRE_BACKEND={value}");
            let text = explanation(&automatic);
            assert!(text.contains("GYRE_BACKEND"), "{text}");
            assert!(["epoll", "poll", "select"].iter().all(|name| text.contains(name)), "{text}");
            // A backend that is named wins over the environment.
            assert_eq!(backend_of(Loop::open(POLL).handle), "poll");
            0
        });
        assert_child_is_content(child);
    }
}

fn a_loop_leaves_no_descriptor_behind(backend: c_int) {
    // In a child: threads of the test harness come and go here.
    let child = fork(|| {
        let (ours, theirs) = pipe();
        let before = open_descriptors();
        for _ in 0..3 {
            let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let it = Loop::open(backend);
            it.io(&ours, READ, |_, _, _| {});
            it.try_child(cat.id() as c_int, |_, _, _| {}).unwrap();
            it.try_signal(libc::SIGUSR1, |_, _, _, _| {}).unwrap();
            it.timer(0, 0, |_, _| {});
            let _ = gyre_loop_fd(it.handle);
            put(theirs.as_raw_fd(), b"x");
            it.turns(2);
            drop(it);
            drop(cat.stdin.take());
            cat.wait().unwrap(); // a watcher that was closed has left it to us
        }
        assert_eq!(open_descriptors(), before);
        0
    });
    assert_child_is_content(child);
}
