//! What the library asks of the kernel, as strace(1) sees it: each test runs itself once more under strace and counts the
//! system calls between two marks.

#[macro_use]
mod support;

use gyre::capi::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use support::*;

on_every_backend! {
    an_interest_that_was_changed_back_costs_nothing,
    an_interest_that_changed_costs_one_call_however_often,
    a_watcher_costs_one_call_to_open_and_one_to_close,
    a_second_watcher_that_asks_for_nothing_new_costs_nothing_at_its_close,
    an_event_costs_the_wait_and_next_to_nothing_else,
    timers_cost_no_call,
    a_post_from_a_callback_writes_to_no_descriptor,
    posts_of_a_thread_to_a_loop_at_work_write_to_no_descriptor,
    posts_to_a_loop_that_nobody_runs_write_once,
}

/// Set in the run under strace.
const TRACED: &str = "GYRE_TEST_TRACED";

/// Leaves a mark in the trace.
fn mark(name: &CStr) {
    // SAFETY: the name ends with NUL. Nothing of that name exists, and it does not matter.
    unsafe { libc::access(name.as_ptr(), libc::F_OK) };
}

/// The part of a test that is counted.
fn counted(act: impl FnOnce()) {
    mark(c"gyre-test:begin");
    act();
    mark(c"gyre-test:end");
}

/// The waits of all backends; the clock is read without a system call on most machines, and with one on some.
const WAITS: [&str; 5] = ["epoll_wait", "epoll_pwait", "epoll_pwait2", "ppoll", "pselect6"];
const CLOCKS: [&str; 1] = ["clock_gettime"];

/// The system calls that `test` made between its marks, by name; in all threads if `everywhere`, else in its own.
/// `None` in the run under strace, where there is nothing to check, and where there is no strace.
fn trace(backend: c_int, test: &str, everywhere: bool, act: impl FnOnce()) -> Option<BTreeMap<String, u32>> {
    if std::env::var_os(TRACED).is_some() {
        act();
        return None;
    }
    let works = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
    };
    if !works(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        say(&format!("{test}: SKIPPED, strace is not installed (scripts/install-deps) or may not trace"));
        return None;
    }
    let test = format!("{}::{test}", ["", "epoll", "poll", "select"][backend as usize]);
    let output = std::env::temp_dir().join(format!("gyre-{}-{}.strace", test.replace("::", "-"), std::process::id()));
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(TRACED, "1")
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&output).unwrap();
    std::fs::remove_file(&output).unwrap();
    assert!(
        traced.status.success(),
        "{}{}",
        String::from_utf8_lossy(&traced.stdout),
        String::from_utf8_lossy(&traced.stderr)
    );

    // A line is `tid name(arguments) = result`; one that others interrupt goes on in `tid <... name resumed>`.
    let calls = text.lines().filter_map(|line| {
        let (thread, rest) = line.split_once(' ')?;
        let (name, arguments) = rest.trim_start().split_once('(')?;
        Some((thread, name, arguments))
    });
    let (mut own, mut counts) = (None, BTreeMap::new());
    let mut ended = false;
    for (thread, name, arguments) in calls {
        if arguments.contains("gyre-test:begin") {
            own = Some(thread);
        } else if arguments.contains("gyre-test:end") {
            ended = true;
            break;
        } else if own.is_some_and(|own| everywhere || own == thread)
            && !CLOCKS.contains(&name)
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert!(ended, "no marks in the trace:\n{text}");
    Some(counts)
}

fn of(counts: &BTreeMap<String, u32>, names: &[&str]) -> u32 {
    names.iter().filter_map(|name| counts.get(*name)).sum()
}

/// How often the demultiplexer was told of a change: only epoll has calls for it.
fn expected(backend: c_int, count: u32) -> u32 {
    if backend == EPOLL { count } else { 0 }
}

fn an_interest_that_was_changed_back_costs_nothing(backend: c_int) {
    let act = || {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let it = Loop::open(backend);
        let io = it.io(&ours, READ, |_, _, _| {});
        it.turns(1);
        counted(|| {
            for _ in 0..100 {
                ok(gyre_io_set(io, READ | WRITE));
                ok(gyre_io_set(io, READ));
            }
            it.turns(1);
        });
    };
    let Some(counts) = trace(backend, "an_interest_that_was_changed_back_costs_nothing", false, act) else { return };
    // select asks ppoll what pselect has found.
    assert_eq!(of(&counts, &WAITS), if backend == SELECT { 2 } else { 1 }, "{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), of(&counts, &WAITS), "{counts:?}");
}

fn an_interest_that_changed_costs_one_call_however_often(backend: c_int) {
    let act = || {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let it = Loop::open(backend);
        let io = it.io(&ours, READ, |_, _, _| {});
        it.turns(1);
        counted(|| {
            for interest in [WRITE, 0, READ, PRIORITY, READ | WRITE, 0, READ, READ | PEER_CLOSED] {
                ok(gyre_io_set(io, interest));
            }
            it.turns(3);
        });
    };
    let test = "an_interest_that_changed_costs_one_call_however_often";
    let Some(counts) = trace(backend, test, false, act) else { return };
    assert_eq!(of(&counts, &["epoll_ctl"]), expected(backend, 1), "{counts:?}");
}

fn a_watcher_costs_one_call_to_open_and_one_to_close(backend: c_int) {
    let act = || {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let it = Loop::open(backend);
        ok(gyre_io_close(it.io(&ours, READ, |_, _, _| {}))); // grows the tables
        counted(|| {
            for _ in 0..10 {
                ok(gyre_io_close(it.io(&ours, READ, |_, _, _| {})));
            }
        });
    };
    let Some(counts) = trace(backend, "a_watcher_costs_one_call_to_open_and_one_to_close", false, act) else { return };
    assert_eq!(of(&counts, &["epoll_ctl"]), expected(backend, 20), "{counts:?}");
}

fn a_second_watcher_that_asks_for_nothing_new_costs_nothing_at_its_close(backend: c_int) {
    let act = || {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let it = Loop::open(backend);
        it.io(&ours, READ | WRITE, |_, _, _| {});
        let second = it.io(&ours, READ, |_, _, _| {});
        it.turns(1);
        counted(|| {
            ok(gyre_io_close(second));
            it.turns(1);
        });
    };
    let test = "a_second_watcher_that_asks_for_nothing_new_costs_nothing_at_its_close";
    let Some(counts) = trace(backend, test, false, act) else { return };
    assert_eq!(of(&counts, &["epoll_ctl"]), 0, "{counts:?}");
}

fn an_event_costs_the_wait_and_next_to_nothing_else(backend: c_int) {
    const EVENTS: u32 = 100;
    let act = || {
        let ((ours, theirs), heard) = (pipe(), Cell::new(0));
        let it = Loop::open(backend);
        // Read in the callback and written again, as servers do: what is on top is the test's own read and write.
        it.io(&ours, READ, |it, _, _| {
            assert_eq!(get(ours.as_raw_fd()), Some(b'x'));
            if add(&heard) == EVENTS {
                mark(c"gyre-test:end");
                ok(gyre_loop_stop(it.handle));
            } else {
                put(theirs.as_raw_fd(), b"x");
            }
        });
        it.turns(1);
        put(theirs.as_raw_fd(), b"x");
        mark(c"gyre-test:begin");
        it.run(DEFAULT);
    };
    let Some(counts) = trace(backend, "an_event_costs_the_wait_and_next_to_nothing_else", false, act) else { return };
    assert_eq!((counts["read"], counts["write"]), (EVENTS, EVENTS - 1));
    let waits = if backend == SELECT { 2 * EVENTS } else { EVENTS };
    assert_eq!(of(&counts, &WAITS), waits, "{counts:?}");
    if backend == EPOLL {
        // A report that comes 16, 32, 64 turns running is looked into: the descriptor may be a duplicate's by now.
        assert_eq!(of(&counts, &["epoll_ctl"]), 3, "{counts:?}");
        assert_eq!(counts.values().sum::<u32>(), waits + 2 * EVENTS - 1 + 3, "{counts:?}");
    }
}

fn timers_cost_no_call(backend: c_int) {
    let act = || {
        let fired = Cell::new(0);
        let it = Loop::open(backend);
        let timers = [(); 50].map(|()| it.timer(FOREVER, 0, |_, _| _ = add(&fired)));
        it.turns(1);
        counted(|| {
            for round in 0..20 {
                for timer in timers {
                    ok(gyre_timer_set(timer, 1000 * SEC + round, 0));
                }
            }
            for timer in timers {
                ok(gyre_timer_set(timer, 0, 0));
            }
            it.turns(1);
        });
        assert_eq!(fired.get(), 50);
    };
    let Some(counts) = trace(backend, "timers_cost_no_call", false, act) else { return };
    assert_eq!(of(&counts, &WAITS), if backend == SELECT { 2 } else { 1 }, "{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), of(&counts, &WAITS), "{counts:?}");
}

fn a_post_from_a_callback_writes_to_no_descriptor(backend: c_int) {
    const POSTS: u32 = 1000;
    fn post_again<'a>(it: &Loop<'a>, left: u32) {
        if left > 0 {
            it.post(move |it| post_again(it, left - 1));
        }
    }
    let act = || {
        let it = Loop::open(backend);
        it.post(|it| {
            mark(c"gyre-test:begin");
            post_again(it, POSTS); // one a turn
            for _ in 0..POSTS {
                it.post(|_| {}); // and many in one
            }
        });
        it.run(DEFAULT);
        mark(c"gyre-test:end");
        assert_eq!(it.statistics().posts, u64::from(2 * POSTS + 1));
    };
    let Some(counts) = trace(backend, "a_post_from_a_callback_writes_to_no_descriptor", false, act) else { return };
    assert_eq!(of(&counts, &["write", "read"]), 0, "{counts:?}");
}

fn posts_of_a_thread_to_a_loop_at_work_write_to_no_descriptor(backend: c_int) {
    let act = || {
        let it = Loop::open(backend);
        it.post(|it| {
            let handle = it.handle;
            let poster = move || {
                counted(|| {
                    for _ in 0..1000 {
                        ok(post_from_any_thread(handle, |_| {}));
                    }
                });
            };
            std::thread::spawn(poster).join().unwrap(); // the loop is in this callback all the time
        });
        assert_eq!(it.run(DEFAULT), 0);
        assert_eq!(it.statistics().posts, 1001);
    };
    let test = "posts_of_a_thread_to_a_loop_at_work_write_to_no_descriptor";
    let Some(counts) = trace(backend, test, true, act) else { return };
    assert_eq!(of(&counts, &["write"]), 0, "{counts:?}");
}

fn posts_to_a_loop_that_nobody_runs_write_once(backend: c_int) {
    let act = || {
        let it = Loop::open(backend);
        counted(|| {
            for _ in 0..1000 {
                ok(post_from_any_thread(it.handle, |_| {}));
                ok(gyre_loop_wake(it.handle));
            }
        });
    };
    let test = "posts_to_a_loop_that_nobody_runs_write_once";
    let Some(counts) = trace(backend, test, false, act) else { return };
    assert_eq!(of(&counts, &["write"]), 1, "{counts:?}");
}
