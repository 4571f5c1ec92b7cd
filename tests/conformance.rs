//! The behaviours that users rely on, each on every backend: `cargo test --test conformance epoll::`. Nothing here touches
//! what belongs to the process; such tests are in `process.rs`.

#[macro_use]
mod support;

use gyre::capi::*;
use libc::{EBADF, EBUSY, EINVAL};
use std::cell::Cell;
use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use support::*;

on_every_backend! {
    a_level_triggered_watcher_is_told_until_the_data_is_read,
    an_edge_is_told_once_until_there_is_another,
    an_edge_is_told_again_to_who_sets_its_watcher,
    edge_and_level_do_not_share_a_descriptor,
    a_oneshot_watcher_is_told_once_until_it_is_set,
    a_spent_oneshot_watcher_is_deaf_to_a_hangup,
    watchers_of_a_descriptor_are_told_in_opening_order_what_each_asked_for,
    closing_one_of_two_watchers_leaves_the_other_its_interest,
    a_closed_watcher_hears_nothing_of_the_batch,
    a_paused_watcher_hears_nothing_of_the_batch,
    a_watcher_opened_in_a_batch_hears_nothing_of_it,
    the_last_interest_of_a_turn_is_the_one_that_counts,
    a_paused_watcher_is_silent_and_keeps_nothing_alive,
    the_end_of_a_pipe_is_read_and_hangup,
    a_pipe_that_nobody_reads_is_write_and_error,
    a_hangup_is_told_once_to_who_asked_for_nothing,
    the_half_close_of_a_peer_is_told_to_who_asked_for_it,
    urgent_data_is_priority_and_not_read,
    a_regular_file_is_always_ready,
    a_small_turn_starves_nobody,
    what_is_no_interest_or_no_descriptor_is_refused,
    no_timer_fires_before_its_deadline,
    a_short_delay_is_not_rounded_to_milliseconds,
    timers_fire_by_deadline_then_by_arming,
    a_deadline_that_has_passed_keeps_its_place_in_the_order,
    a_zero_timer_armed_in_its_callback_waits_for_the_next_turn,
    a_periodic_timer_fires_once_for_all_it_missed_and_keeps_its_grid,
    a_delay_that_overflows_never_ends,
    a_timer_without_a_handle_closes_itself_unless_it_is_armed_again,
    a_timer_closed_or_moved_by_an_earlier_one_does_not_fire,
    posts_run_in_order_and_a_full_queue_takes_nothing,
    a_post_made_in_a_post_waits_for_the_next_turn,
    a_close_runs_what_was_posted_and_takes_no_more,
    a_turn_has_an_order,
    hooks_run_in_opening_order_from_the_next_turn_on,
    an_idle_hook_keeps_the_loop_from_waiting,
    a_stop_is_kept_for_the_next_run,
    a_wake_is_kept_for_the_next_wait,
    run_modes_wait_and_end_as_they_say,
    what_is_told_not_to_keep_the_loop_alive_is_served_all_the_same,
    statistics_count_what_happened,
    a_callback_can_neither_run_nor_close_nor_release_its_loop,
    another_thread_is_refused_until_it_claims_the_loop,
    an_embedded_loop_tells_its_host_when_to_run_it,
    no_post_is_lost_to_a_loop_that_falls_asleep,
    no_wake_is_lost_to_a_loop_that_falls_asleep,
}

fn socketpair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    for stream in [&ours, &theirs] {
        stream.set_nonblocking(true).unwrap();
    }
    (ours, theirs)
}

// ---- watchers of descriptors ----

fn a_level_triggered_watcher_is_told_until_the_data_is_read(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, READ, |_, io, events| heard.note((io, events)));
    it.turns(3);
    assert_eq!(heard.take(), []);
    put(theirs.as_raw_fd(), b"ab");
    it.turns(40); // past the turns in which a report that does not end is looked into
    assert_eq!(heard.take(), [(io, READ); 40]);
    assert_eq!((get(ours.as_raw_fd()), get(ours.as_raw_fd())), (Some(b'a'), Some(b'b')));
    it.turns(3);
    assert_eq!(heard.take(), []);
}

fn an_edge_is_told_once_until_there_is_another(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    let opened = it.try_io(ours.as_raw_fd(), READ | EDGE, |_, _, events| heard.note(events));
    if backend != EPOLL {
        assert_eq!(opened, Err(EUNSUPPORTED));
        return;
    }
    for _ in 0..3 {
        put(theirs.as_raw_fd(), b"x");
        it.turns(3);
        assert_eq!(heard.take(), [READ]);
    }
}

fn an_edge_is_told_again_to_who_sets_its_watcher(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    let Ok(io) = it.try_io(ours.as_raw_fd(), READ | EDGE, |_, _, events| heard.note(events)) else {
        assert_ne!(backend, EPOLL);
        return;
    };
    put(theirs.as_raw_fd(), b"x");
    it.turns(2);
    ok(gyre_io_set(io, READ));
    it.turns(2);
    assert_eq!(heard.take(), [READ, READ]);
    // What comes while it is paused is not lost.
    ok(gyre_io_set(io, 0));
    put(theirs.as_raw_fd(), b"x");
    it.turns(2);
    assert_eq!(heard.take(), []);
    ok(gyre_io_set(io, READ));
    it.turns(2);
    assert_eq!(heard.take(), [READ]);
}

fn edge_and_level_do_not_share_a_descriptor(backend: c_int) {
    let ((ours, _theirs), (others, _)) = (socketpair(), socketpair());
    let it = Loop::open(backend);
    it.io(&ours, READ, |_, _, _| {});
    let mixed = it.try_io(ours.as_raw_fd(), READ | EDGE, |_, _, _| {});
    assert_eq!(mixed, Err(if backend == EPOLL { -EINVAL } else { EUNSUPPORTED }));
    if backend == EPOLL {
        it.io(&others, READ | EDGE, |_, _, _| {});
        assert_eq!(it.try_io(others.as_raw_fd(), READ, |_, _, _| {}), Err(-EINVAL));
        it.io(&others, READ | EDGE, |_, _, _| {});
    }
}

fn a_oneshot_watcher_is_told_once_until_it_is_set(backend: c_int) {
    let ((ours, theirs), heard, rival) = (pipe(), Log::new(), Cell::new(0));
    let it = Loop::open(backend);
    let io = it.io(&ours, READ | ONESHOT, |_, _, events| heard.note(events));
    put(theirs.as_raw_fd(), b"x");
    it.turns(3);
    assert_eq!(heard.take(), [READ]);
    assert!(!it.is_alive());
    ok(gyre_io_set(io, READ));
    assert!(it.is_alive());
    it.turns(3);
    assert_eq!(heard.take(), [READ]);
    // It is each watcher's own: another one of the descriptor goes on, also when one is set in its own callback.
    it.io(&ours, READ, |_, _, _| _ = add(&rival));
    it.io(&ours, READ | ONESHOT, |_, io, _| {
        heard.note(0);
        ok(gyre_io_set(io, READ));
    });
    it.turns(5);
    assert_eq!((rival.get(), heard.len()), (5, 5));
}

fn a_spent_oneshot_watcher_is_deaf_to_a_hangup(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, READ | ONESHOT, |_, _, events| heard.note(events));
    put(theirs.as_raw_fd(), b"x");
    it.turns(1);
    assert_eq!(heard.take(), [READ]);
    drop(theirs);
    it.turns(3);
    assert_eq!(heard.take(), []);
    ok(gyre_io_set(io, READ));
    it.turns(3);
    assert_eq!(heard.take(), [READ | HANGUP]);
}

fn watchers_of_a_descriptor_are_told_in_opening_order_what_each_asked_for(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    it.io(&ours, READ, |_, _, events| heard.note((1, events)));
    let second = it.io(&ours, WRITE, |_, _, events| heard.note((2, events)));
    it.io(&ours, 0, |_, _, events| heard.note((3, events)));
    let fourth = it.io(&ours, READ | WRITE, |_, _, events| heard.note((4, events)));
    it.turns(1);
    assert_eq!(heard.take(), [(2, WRITE), (4, WRITE)]);
    put(theirs.as_raw_fd(), b"x");
    it.turns(1);
    assert_eq!(heard.take(), [(1, READ), (2, WRITE), (4, READ | WRITE)]);
    ok(gyre_io_set(second, READ)); // it keeps its place
    it.turns(1);
    assert_eq!(heard.take(), [(1, READ), (2, READ), (4, READ | WRITE)]);
    ok(gyre_io_set(second, WRITE));
    ok(gyre_io_set(fourth, PRIORITY)); // the others' interest is still asked for
    it.turns(1);
    assert_eq!(heard.take(), [(1, READ), (2, WRITE)]);
}

fn closing_one_of_two_watchers_leaves_the_other_its_interest(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    let reader = it.io(&ours, READ, |_, _, events| heard.note(events));
    let writer = it.io(&ours, WRITE, |_, _, events| heard.note(events));
    ok(gyre_io_close(writer));
    it.turns(2);
    assert_eq!(heard.take(), []);
    put(theirs.as_raw_fd(), b"x");
    it.turns(1);
    assert_eq!(heard.take(), [READ]);
    ok(gyre_io_close(reader));
    it.turns(1);
    assert_eq!(heard.take(), []);
    it.io(&ours, READ, |_, _, events| heard.note(events | 1 << 16));
    it.turns(1);
    assert_eq!(heard.take(), [READ | 1 << 16]);
}

/// Two descriptors are ready in one batch; the watcher that is called first does something to the other one.
fn of_two_in_a_batch_the_first_acts_on_the_other(backend: c_int, act: fn(gyre_io)) -> Vec<&'static str> {
    let (first, second, heard) = (pipe(), pipe(), Log::new());
    let ios = Cell::new([gyre_io::default(); 2]);
    let it = Loop::open(backend);
    let react = |name| {
        let (ios, heard) = (&ios, &heard);
        move |_: &Loop, io: gyre_io, _: u32| {
            heard.note(name);
            act(ios.get().into_iter().find(|other| *other != io).unwrap());
        }
    };
    ios.set([it.io(&first.0, READ, react("told")), it.io(&second.0, READ, react("told"))]);
    put(first.1.as_raw_fd(), b"x");
    put(second.1.as_raw_fd(), b"x");
    it.turns(1);
    heard.take()
}

fn a_closed_watcher_hears_nothing_of_the_batch(backend: c_int) {
    let close = |io| {
        ok(gyre_io_close(io));
        assert_eq!(gyre_io_close(io), EHANDLE);
    };
    assert_eq!(of_two_in_a_batch_the_first_acts_on_the_other(backend, close), ["told"]);
    // On one descriptor too, where the report is fanned out, and when the place in memory serves another at once.
    let ((ours, theirs), other, heard) = (pipe(), pipe(), Log::new());
    let next = Cell::new(gyre_io::default());
    let it = Loop::open(backend);
    it.io(&ours, READ, |it, io, _| {
        heard.note(1);
        ok(gyre_io_close(next.get()));
        it.io(&other.0, READ, |_, _, _| panic!("nobody writes there"));
        ok(gyre_io_close(io));
    });
    next.set(it.io(&ours, READ, |_, _, _| heard.note(2)));
    it.io(&ours, READ, |_, _, _| heard.note(3));
    put(theirs.as_raw_fd(), b"x");
    it.turns(1);
    assert_eq!(heard.take(), [1, 3]);
}

fn a_paused_watcher_hears_nothing_of_the_batch(backend: c_int) {
    assert_eq!(of_two_in_a_batch_the_first_acts_on_the_other(backend, |io| ok(gyre_io_set(io, 0))), ["told"]);
}

fn a_watcher_opened_in_a_batch_hears_nothing_of_it(backend: c_int) {
    let (pipes, heard, opened) = ([pipe(), pipe(), pipe()], Log::new(), Cell::new(false));
    let it = Loop::open(backend);
    // Whichever of the two is called first opens watchers on all descriptors, also those whose report is still to come.
    for (ours, theirs) in &pipes[..2] {
        put(theirs.as_raw_fd(), b"x");
        let (pipes, heard, opened) = (&pipes, &heard, &opened);
        it.io(ours, READ, move |it, _, _| {
            heard.note("old");
            if !opened.replace(true) {
                put(pipes[2].1.as_raw_fd(), b"x");
                for (ours, _) in pipes {
                    it.io(ours, READ, |_, _, _| heard.note("new"));
                }
            }
        });
    }
    it.turns(1);
    assert_eq!(heard.take(), ["old", "old"]);
    it.turns(1);
    let mut told = heard.take();
    told.sort_unstable();
    assert_eq!(told, ["new", "new", "new", "old", "old"]);
}

fn the_last_interest_of_a_turn_is_the_one_that_counts(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, READ, |_, _, events| heard.note(events));
    put(theirs.as_raw_fd(), b"x");
    for (interests, told) in
        [(&[WRITE, READ | WRITE, 0, WRITE][..], &[WRITE][..]), (&[0, READ], &[READ]), (&[READ | WRITE, 0], &[])]
    {
        for interest in interests {
            ok(gyre_io_set(io, *interest));
        }
        it.turns(1);
        assert_eq!(heard.take(), told, "{interests:?}");
    }
}

fn a_paused_watcher_is_silent_and_keeps_nothing_alive(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, 0, |_, _, events| heard.note(events));
    put(theirs.as_raw_fd(), b"x");
    it.turns(2);
    assert!(!it.is_alive());
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!(heard.take(), []);
    ok(gyre_io_set(io, READ));
    assert!(it.is_alive());
    assert_eq!(it.run(ONCE), 1);
    assert_eq!(heard.take(), [READ]);
}

fn the_end_of_a_pipe_is_read_and_hangup(backend: c_int) {
    let ((mut ours, theirs), heard) = (pipe(), Log::new());
    put(theirs.as_raw_fd(), b"last words");
    drop(theirs);
    let fd = ours.as_raw_fd();
    {
        let it = Loop::open(backend);
        it.io(&ours, READ, |_, _, events| heard.note(events));
        it.turns(2); // level-triggered: as long as nobody does anything about it
    }
    assert_eq!(heard.take(), [READ | HANGUP; 2]);
    let mut words = String::new();
    ours.read_to_string(&mut words).unwrap();
    assert_eq!((words.as_str(), get(fd)), ("last words", None));
}

fn a_pipe_that_nobody_reads_is_write_and_error(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let it = Loop::open(backend);
    it.io(&theirs, WRITE, |_, _, events| heard.note(events));
    drop(ours);
    it.turns(1);
    assert_eq!(heard.take(), [WRITE | ERROR]);
}

fn a_hangup_is_told_once_to_who_asked_for_nothing(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, 0, |_, _, events| heard.note(events));
    drop(theirs);
    it.until(|| heard.len() > 0);
    assert_eq!(heard.take(), [HANGUP]);
    assert!(it.waits_within(50 * MS) < 10);
    assert_eq!(heard.take(), []);
    ok(gyre_io_set(io, 0));
    it.until(|| heard.len() > 0);
    assert_eq!(heard.take(), [HANGUP]);
}

fn the_half_close_of_a_peer_is_told_to_who_asked_for_it(backend: c_int) {
    let ((ours, theirs), heard) = (socketpair(), Log::new());
    let it = Loop::open(backend);
    it.io(&ours, PEER_CLOSED, |_, io, events| {
        heard.note((1, events));
        ok(gyre_io_set(io, 0));
    });
    it.io(&ours, WRITE, |_, _, events| heard.note((2, events)));
    put(theirs.as_raw_fd(), b"x");
    it.turns(1);
    assert_eq!(heard.take(), [(2, WRITE)]); // data is no half-close
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    it.turns(1);
    assert_eq!(heard.take(), [(1, PEER_CLOSED), (2, WRITE)]);
    it.io(&ours, READ, |_, _, events| heard.note((3, events)));
    it.turns(1);
    assert_eq!(heard.take(), [(2, WRITE), (3, READ)]);
}

fn urgent_data_is_priority_and_not_read(backend: c_int) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, heard) = (listener.accept().unwrap().0, Log::new());
    let it = Loop::open(backend);
    it.io(&ours, PRIORITY, |_, _, events| heard.note(events));
    it.turns(1);
    assert_eq!(heard.take(), []);
    // SAFETY: one byte of a live slice.
    system(unsafe { libc::send(theirs.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) } as c_int);
    it.until(|| heard.len() > 0);
    assert_eq!(heard.take(), [PRIORITY]);
}

fn a_regular_file_is_always_ready(backend: c_int) {
    let (file, heard) = (File::open(env!("CARGO_MANIFEST_PATH")).unwrap(), Log::new());
    let ((ours, theirs), fed) = (pipe(), Cell::new(0));
    let it = Loop::open(backend);
    let io = it.io(&file, READ, |_, _, events| heard.note((1, events)));
    it.io(&file, READ | WRITE, |_, _, events| heard.note((2, events)));
    it.io(&ours, READ, |_, _, _| _ = add(&fed));
    put(theirs.as_raw_fd(), b"x");
    assert_eq!(it.run(ONCE), 1); // does not wait
    assert_eq!((heard.take(), fed.get()), (vec![(1, READ), (2, READ | WRITE)], 1));
    ok(gyre_io_set(io, WRITE));
    it.turns(1);
    assert_eq!((heard.take(), fed.get()), (vec![(1, WRITE), (2, READ | WRITE)], 2));
    ok(gyre_io_close(io));
    it.turns(1);
    assert_eq!((heard.take(), fed.get()), (vec![(2, READ | WRITE)], 3));
}

fn a_small_turn_starves_nobody(backend: c_int) {
    const COUNT: usize = 9;
    let pipes = [(); COUNT].map(|()| pipe());
    let file = File::open(env!("CARGO_MANIFEST_PATH")).unwrap();
    let heard = [const { Cell::new(0) }; COUNT + 1];
    let it = Loop::open_with(&gyre_loop_options { events_per_turn: 2, ..options(backend) }).unwrap();
    for (heard, (ours, theirs)) in heard.iter().zip(&pipes) {
        it.io(ours, READ, move |_, _, _| _ = add(heard));
        put(theirs.as_raw_fd(), b"x");
    }
    it.io(&file, READ, |_, _, _| _ = add(&heard[COUNT]));
    let mut told = 0;
    for _ in 0..10 * COUNT {
        it.turns(1);
        let now = heard.iter().map(Cell::get).sum::<u32>();
        assert!((1..=2).contains(&(now - told)), "{told} {now}");
        told = now;
    }
    assert!(heard.iter().all(|heard| heard.get() >= 5), "{heard:?}");
}

fn what_is_no_interest_or_no_descriptor_is_refused(backend: c_int) {
    let (ours, _theirs) = pipe();
    let it = Loop::open(backend);
    for events in [HANGUP, ERROR, READ | HANGUP, 64, 128, 1024, 1 << 31, u32::MAX] {
        assert_eq!(it.try_io(ours.as_raw_fd(), events, |_, _, _| {}), Err(-EINVAL), "{events:#x}");
    }
    for fd in [-1, c_int::MIN, c_int::MAX] {
        assert_eq!(it.try_io(fd, READ, |_, _, _| {}).map_err(|status| status == -EINVAL), Err(false), "{fd}");
    }
    assert_eq!(it.try_io(-1, READ, |_, _, _| {}), Err(-EBADF));
    let io = it.io(&ours, READ, |_, _, _| {});
    for events in [HANGUP, ERROR, EDGE | READ, ONESHOT, 64, u32::MAX] {
        assert_eq!(gyre_io_set(io, events), -EINVAL, "{events:#x}");
    }
    assert_eq!(it.statistics().handles, 1);
}

// ---- timers ----

fn no_timer_fires_before_its_deadline(backend: c_int) {
    let (mut random, fired) = (Random::new(1), Cell::new(0));
    let it = Loop::open(backend);
    for _ in 0..200 {
        let delay = random.next() % (20 * MS);
        let deadline = clock() + delay;
        let fired = &fired;
        it.timer(delay, 0, move |it, timer| {
            assert!(clock() >= deadline && gyre_loop_now(it.handle) >= deadline, "{delay} ns: too early");
            add(fired);
            ok(gyre_timer_close(timer));
        });
    }
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!((fired.get(), it.statistics().handles), (200, 0));
}

fn a_short_delay_is_not_rounded_to_milliseconds(backend: c_int) {
    const DELAY: u64 = 100_000;
    let it = Loop::open(backend);
    // A busy machine is late now and then, one that rounds is late always.
    let took = |_| {
        let begun = clock();
        ok(it.one_shot(DELAY, 0, |_, _| {}));
        assert_eq!(it.run(DEFAULT), 0);
        clock() - begun
    };
    assert!((0..5000).map(took).any(|took| took < 8 * DELAY));
}

fn timers_fire_by_deadline_then_by_arming(backend: c_int) {
    let (mut random, fired) = (Random::new(2), Log::new());
    let it = Loop::open(backend);
    let start = gyre_loop_now(it.handle);
    let mut expected = Vec::new();
    for opened in 0..500 {
        let fired = &fired;
        let timer = it.timer(FOREVER, 0, move |_, _| fired.note(opened));
        expected.push((start + random.next() % 20, timer, opened)); // many share a deadline
    }
    for index in 0..500 {
        expected.swap(index, random.below(500));
    }
    for (deadline, timer, _) in &expected {
        ok(gyre_timer_set_at(*timer, start + SEC * 1000, 0));
        ok(gyre_timer_set_at(*timer, *deadline, 0)); // armed last counts
    }
    expected.sort_by_key(|(deadline, ..)| *deadline); // stable: the order of arming among equals
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!(fired.take(), expected.into_iter().map(|(.., opened)| opened).collect::<Vec<_>>());
}

fn a_deadline_that_has_passed_keeps_its_place_in_the_order(backend: c_int) {
    let fired = Log::new();
    let it = Loop::open(backend);
    let now = gyre_loop_now(it.handle);
    for (name, deadline) in [('c', now), ('b', now - SEC), ('d', now), ('a', 0)] {
        let fired = &fired;
        ok(gyre_timer_set_at(it.timer(FOREVER, 0, move |_, _| fired.note(name)), deadline, 0));
    }
    assert_eq!(it.run(ONCE), 0);
    assert_eq!(fired.take(), ['a', 'b', 'c', 'd']);
}

fn a_zero_timer_armed_in_its_callback_waits_for_the_next_turn(backend: c_int) {
    let (fired, posted) = (Log::new(), Cell::new(0));
    let it = Loop::open(backend);
    let timer = it.timer(0, 0, |it, timer| {
        fired.note(it.statistics().turns);
        if it.statistics().turns % 2 == 0 {
            ok(gyre_timer_set(timer, 0, 0));
        } else {
            ok(gyre_timer_set_at(timer, 0, 0));
        }
    });
    it.post(|_| _ = add(&posted));
    it.turns(4);
    assert_eq!((fired.take(), posted.get()), (vec![1, 2, 3, 4], 1));
    assert_eq!(remaining(timer), 0);
    ok(gyre_timer_stop(timer));
    assert_eq!(remaining(timer), FOREVER);
    it.turns(2);
    assert_eq!(fired.take(), []);
}

fn a_periodic_timer_fires_once_for_all_it_missed_and_keeps_its_grid(backend: c_int) {
    const PERIOD: u64 = 5 * MS;
    let fired = Cell::new(0);
    let it = Loop::open(backend);
    let timer = it.timer(FOREVER, 0, |_, _| _ = add(&fired));
    let first = clock() + PERIOD;
    ok(gyre_timer_set_at(timer, first, PERIOD));
    let_clock_pass(first + 20 * PERIOD);
    let late = clock();
    it.turns(1);
    assert_eq!(fired.get(), 1);
    // The next deadline lies on the grid, as exactly as the clock can be read around the question.
    let (before, left, after) = loop {
        let (before, left, after) = (clock(), remaining(timer), clock());
        if left > 0 {
            break (before, left, after);
        }
        it.turns(1); // this machine took a whole period to come here
    };
    assert!(left <= PERIOD);
    let latest_on_grid = first + (after + left - first) / PERIOD * PERIOD;
    assert!(latest_on_grid >= before + left, "{left} ns left, {} ns off the grid", after + left - latest_on_grid);
    // Once for the twenty that were missed, and once for each that has come since.
    assert!(u64::from(fired.get()) <= 2 + (clock() - late) / PERIOD, "{} times", fired.get());
}

fn a_delay_that_overflows_never_ends(backend: c_int) {
    let it = Loop::open(backend);
    let timer = it.timer(FOREVER, 0, |_, _| panic!("forever is over"));
    assert!(!it.is_alive());
    for (delay, alive) in [(FOREVER - 1, false), (FOREVER - clock() + SEC, false), (FOREVER, false), (1 << 62, true)] {
        ok(gyre_timer_set(timer, delay, 0));
        assert_eq!(it.is_alive(), alive, "{delay}");
        assert_eq!(remaining(timer) == FOREVER, !alive, "{delay}");
        it.turns(1);
    }
    ok(gyre_timer_set(timer, 0, FOREVER)); // fires, and then never again
    let fires = it.timer(0, FOREVER, |_, _| {});
    ok(gyre_timer_close(timer));
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!((it.statistics().timers, remaining(fires)), (1, FOREVER));
    // As lengths of waits too.
    it.post(|_| {});
    it.turn(FOREVER - 1);
    assert_eq!(gyre_loop_run_for(it.handle, FOREVER), 0);
}

fn a_timer_without_a_handle_closes_itself_unless_it_is_armed_again(backend: c_int) {
    let fired = Cell::new(0);
    let it = Loop::open(backend);
    let again = |_: &Loop<'_>, timer| {
        if add(&fired) < 3 {
            ok(gyre_timer_set(timer, 0, 0));
            assert_eq!(gyre_timer_set(timer, 0, 1), -EINVAL); // it cannot be periodic
        }
    };
    ok(it.one_shot(0, 0, again));
    assert_eq!(it.one_shot(0, 1, |_, _| {}), -EINVAL);
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!((fired.get(), it.statistics().handles), (3, 0));
}

fn a_timer_closed_or_moved_by_an_earlier_one_does_not_fire(backend: c_int) {
    let (fired, others) = (Log::new(), Cell::new([gyre_timer::default(); 3]));
    let it = Loop::open(backend);
    let start = gyre_loop_now(it.handle);
    let at = |deadline, name| {
        let fired = &fired;
        let timer = it.timer(FOREVER, 0, move |_, _| fired.note(name));
        ok(gyre_timer_set_at(timer, deadline, 0));
        timer
    };
    let first = it.timer(FOREVER, 0, |_, _| {
        fired.note("first");
        let [closed, stopped, moved] = others.get();
        ok(gyre_timer_close(closed));
        ok(gyre_timer_stop(stopped));
        ok(gyre_timer_set(moved, 1000 * SEC, 0));
    });
    ok(gyre_timer_set_at(first, start - 1, 0));
    others.set([at(start, "closed"), at(start, "stopped"), at(start, "moved")]);
    at(start, "last");
    it.turns(2);
    assert_eq!(fired.take(), ["first", "last"]);
    assert!(it.is_alive()); // the one that was moved
}

// ---- posts, hooks ----

fn posts_run_in_order_and_a_full_queue_takes_nothing(backend: c_int) {
    let run = Log::new();
    let it = Loop::open_with(&gyre_loop_options { post_capacity: 3, ..options(backend) }).unwrap();
    for round in 0..2 {
        for number in 0..5 {
            let run = &run;
            let status = it.try_post(move |_| run.note(number));
            assert_eq!(status, if number < 3 { 0 } else { EFULL }, "post {number} of round {round}");
        }
        assert!(it.is_alive());
        assert_eq!(it.run(DEFAULT), 0);
        assert_eq!(run.take(), [0, 1, 2]);
    }
    // SAFETY: there is nothing to call.
    assert_eq!(unsafe { gyre_loop_post(it.handle, None, std::ptr::null_mut()) }, -EINVAL);
}

fn a_post_made_in_a_post_waits_for_the_next_turn(backend: c_int) {
    let run = Log::new();
    let it = Loop::open(backend);
    it.post(|it| {
        run.note(("outer", it.statistics().turns));
        let run = &run;
        it.post(move |it| run.note(("inner", it.statistics().turns)));
    });
    it.post(|it| run.note(("second", it.statistics().turns)));
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!(run.take(), [("outer", 1), ("second", 1), ("inner", 2)]);
}

fn a_close_runs_what_was_posted_and_takes_no_more(backend: c_int) {
    let (run, timer) = (Log::new(), Cell::new(gyre_timer::default()));
    let it = Loop::open(backend);
    timer.set(it.timer(0, 0, |_, _| panic!("a closing loop calls no timer")));
    for number in 0..3 {
        let (run, timer) = (&run, &timer);
        it.post(move |it| {
            run.note(number);
            assert_eq!(it.try_post(|_| {}), ECLOSING);
            assert_eq!(gyre_loop_run(it.handle, NOWAIT), ECLOSING);
            assert_eq!(gyre_loop_close(it.handle), ECLOSING);
            assert_eq!(gyre_timer_stop(timer.get()), ECLOSING);
        });
    }
    ok(it.close());
    assert_eq!(run.take(), [0, 1, 2]);
    assert_eq!(it.close(), EHANDLE);
    assert_eq!(gyre_timer_stop(timer.get()), EHANDLE);
    assert_eq!(it.try_post(|_| {}), EHANDLE);
}

fn a_turn_has_an_order(backend: c_int) {
    let ((ours, theirs), order) = (pipe(), Log::new());
    let it = Loop::open(backend);
    // Opened in the opposite order.
    it.hook(CHECK, |_, _| order.note("check"));
    it.timer(0, 0, |_, _| order.note("timer"));
    it.post(|_| order.note("post"));
    it.io(&ours, READ, |_, _, _| order.note("io"));
    it.hook(PREPARE, |_, _| order.note("prepare"));
    it.hook(IDLE, |_, _| order.note("idle"));
    put(theirs.as_raw_fd(), b"x");
    it.turns(1);
    assert_eq!(order.take(), ["idle", "prepare", "io", "post", "timer", "check"]);
}

fn hooks_run_in_opening_order_from_the_next_turn_on(backend: c_int) {
    let (order, late) = (Log::new(), Cell::new(gyre_hook::default()));
    let it = Loop::open(backend);
    let hook = it.hook(PREPARE, |it, _| {
        order.note(1);
        if order.len() == 1 {
            let order = &order;
            late.set(it.hook(PREPARE, move |_, _| order.note(3)));
        }
    });
    it.hook(PREPARE, |_, _| order.note(2));
    it.turns(1);
    assert_eq!(order.take(), [1, 2]);
    order.note(0);
    it.turns(1);
    assert_eq!(order.take(), [0, 1, 2, 3]);
    ok(gyre_hook_close(hook));
    ok(gyre_hook_close(late.get()));
    it.turns(1);
    assert_eq!(order.take(), [2]);
}

fn an_idle_hook_keeps_the_loop_from_waiting(backend: c_int) {
    let (rounds, hook) = (Cell::new(0), Cell::new(gyre_hook::default()));
    let it = Loop::open(backend);
    it.timer(1000 * SEC, 0, |_, _| panic!("it waited"));
    hook.set(it.hook(IDLE, |it, hook| {
        if add(&rounds) == 10 {
            ok(gyre_hook_close(hook));
            ok(gyre_loop_stop(it.handle));
        }
    }));
    assert_eq!(it.run(DEFAULT), 1);
    assert_eq!((rounds.get(), gyre_hook_close(hook.get())), (10, EHANDLE));
}

// ---- runs ----

fn a_stop_is_kept_for_the_next_run(backend: c_int) {
    let ticks = Cell::new(0);
    let it = Loop::open(backend);
    let timer = it.timer(1000 * SEC, 0, |_, _| panic!("it waited"));
    ok(gyre_loop_stop(it.handle));
    ok(gyre_loop_stop(it.handle));
    assert_eq!(it.run(DEFAULT), 1);
    assert_eq!(it.statistics().turns, 1);
    // In a callback it ends the run after the turn, and is then spent.
    ok(gyre_timer_close(timer));
    it.timer(0, 1, |it, timer| match add(&ticks) {
        3 => ok(gyre_loop_stop(it.handle)),
        6 => ok(gyre_timer_close(timer)),
        _ => {}
    });
    it.post(|it| it.post(|_| {}));
    assert_eq!((it.run(DEFAULT), ticks.get()), (1, 3));
    assert_eq!((it.run(DEFAULT), ticks.get()), (0, 6));
}

fn a_wake_is_kept_for_the_next_wait(backend: c_int) {
    let it = Loop::open(backend);
    ok(gyre_loop_set_keepalive(it.handle, 1));
    for _ in 0..3 {
        ok(gyre_loop_wake(it.handle));
        ok(gyre_loop_wake(it.handle));
        it.turn(FOREVER); // does not hang
    }
    // Two of them were one: now a turn waits as long as it is told to.
    let begun = clock();
    it.turn(20 * MS);
    assert!(clock() - begun >= 20 * MS);
}

fn run_modes_wait_and_end_as_they_say(backend: c_int) {
    let fired = Cell::new(0);
    let it = Loop::open(backend);
    assert_eq!((it.run(DEFAULT), it.statistics().turns), (0, 0));
    assert_eq!((it.run(ONCE), it.statistics().turns), (0, 1)); // nothing alive: does not wait
    assert_eq!((it.run(NOWAIT), it.statistics().turns), (0, 2));
    for mode in [-1, 3, c_int::MAX, c_int::MIN] {
        assert_eq!(it.run(mode), -EINVAL);
    }
    let timer = it.timer(20 * MS, 0, |_, _| _ = add(&fired));
    assert_eq!((it.run(NOWAIT), fired.get()), (1, 0));
    assert_eq!((it.run(DEFAULT), fired.get()), (0, 1));
    ok(gyre_timer_set(timer, 20 * MS, 0));
    while it.run(ONCE) == 1 {}
    assert_eq!(fired.get(), 2);
    ok(gyre_timer_set(timer, 1000 * SEC, 0));
    let turns = it.statistics().turns;
    assert_eq!((gyre_loop_run_for(it.handle, 0), it.statistics().turns), (1, turns + 1)); // does not wait
    let begun = clock();
    assert_eq!(gyre_loop_run_for(it.handle, 20 * MS), 1);
    assert!(clock() - begun >= 20 * MS);
    ok(gyre_timer_close(timer));
    let begun = clock();
    assert!(!it.turn(20 * MS)); // waits though nothing is alive
    assert!(clock() - begun >= 20 * MS);
}

fn what_is_told_not_to_keep_the_loop_alive_is_served_all_the_same(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, READ, |_, _, _| heard.note("io"));
    let timer = it.timer(0, 0, |_, _| heard.note("timer"));
    let hook = it.hook(PREPARE, |_, _| heard.note("hook"));
    ok(gyre_io_set_keepalive(io, 0));
    ok(gyre_timer_set_keepalive(timer, 0));
    assert!(it.is_alive());
    ok(gyre_hook_set_keepalive(hook, 0));
    assert!(!it.is_alive());
    assert_eq!(it.run(DEFAULT), 0);
    assert_eq!(heard.take(), [""; 0]);
    put(theirs.as_raw_fd(), b"x");
    assert_eq!(it.run(ONCE), 0);
    assert_eq!(heard.take(), ["hook", "io", "timer"]);
    ok(gyre_io_set_keepalive(io, 1));
    assert!(it.is_alive());
    ok(gyre_io_close(io));
    assert!(!it.is_alive());
    // And the loop itself the other way round: it waits with nothing in it.
    ok(gyre_loop_set_keepalive(it.handle, 1));
    assert!(it.is_alive());
    let stopper = {
        let handle = it.handle;
        std::thread::spawn(move || gyre_loop_stop(handle))
    };
    assert_eq!(it.run(DEFAULT), 1);
    ok(stopper.join().unwrap());
}

fn statistics_count_what_happened(backend: c_int) {
    let (ours, theirs) = pipe();
    let it = Loop::open(backend);
    let io = it.io(&ours, READ, |_, _, _| {});
    it.timer(0, 0, |_, _| let_clock_pass(clock() + 5 * MS));
    it.post(|_| {});
    it.post(|_| {});
    put(theirs.as_raw_fd(), b"x");
    it.turns(3);
    let counted = it.statistics();
    assert_eq!(
        (counted.turns, counted.waits, counted.events, counted.timers, counted.posts, counted.handles),
        (3, 3, 3, 1, 2, 2)
    );
    assert!((4 * MS..10 * SEC).contains(&counted.callback_ns_max), "{}", counted.callback_ns_max);
    ok(gyre_io_close(io));
    assert_eq!((it.statistics().handles, it.statistics().stale_events), (1, 0));
    assert_eq!(backend_of(it.handle), ["", "epoll", "poll", "select"][backend as usize]);
}

fn a_callback_can_neither_run_nor_close_nor_release_its_loop(backend: c_int) {
    let heard = Cell::new(0);
    let other = Loop::open(backend);
    let it = Loop::open(backend);
    it.post(|it| {
        for mode in [DEFAULT, ONCE, NOWAIT, 99] {
            assert_eq!(gyre_loop_run(it.handle, mode), EREENTRANT);
        }
        assert_eq!(gyre_loop_run_for(it.handle, 0), EREENTRANT);
        assert_eq!(gyre_loop_turn(it.handle, 0), EREENTRANT);
        assert_eq!(gyre_loop_close(it.handle), EREENTRANT);
        assert_eq!(gyre_loop_release(it.handle), EREENTRANT);
        other.post(|_| _ = add(&heard));
        assert_eq!(other.run(DEFAULT), 0); // another loop is no re-entry
        add(&heard);
    });
    assert_eq!((it.run(DEFAULT), heard.get()), (0, 2));
}

fn another_thread_is_refused_until_it_claims_the_loop(backend: c_int) {
    let it = Loop::open(backend);
    let (handle, io_end) = (it.handle, pipe());
    let (io, timer) = (it.io(&io_end.0, READ, |_, _, _| {}), it.timer(FOREVER, 0, |_, _| {}));
    let visit = move || {
        assert_eq!(gyre_loop_run(handle, NOWAIT), ETHREAD);
        assert_eq!(gyre_io_set(io, HANGUP), ETHREAD); // before the arguments
        assert_eq!(gyre_timer_stop(timer), ETHREAD);
        assert_eq!(gyre_timer_stop(gyre_timer { bits: timer.bits ^ 1 << 40 }), ETHREAD); // and before the slot
        assert_eq!(gyre_loop_close(handle), ETHREAD);
        assert_eq!(gyre_loop_now(handle), 0);
        assert_eq!(gyre_loop_claim(handle), -EBUSY);
    };
    std::thread::spawn(visit).join().unwrap();
    ok(gyre_loop_claim(handle)); // by its owner
    ok(gyre_loop_release(handle));
    assert_eq!(gyre_loop_run(handle, NOWAIT), ETHREAD);
    let take_over = move || {
        ok(gyre_loop_claim(handle));
        ok(gyre_timer_set(timer, 0, 0));
        assert_eq!(gyre_loop_run(handle, ONCE), 1);
        ok(gyre_io_set(io, 0));
    };
    std::thread::spawn(take_over).join().unwrap(); // and its end gives the loop up
    ok(gyre_loop_claim(handle));
    assert_eq!((it.statistics().timers, it.is_alive()), (1, false));
}

fn an_embedded_loop_tells_its_host_when_to_run_it(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let (it, host) = (Loop::open(backend), Loop::open(backend));
    let io = it.io(&ours, READ, |_, _, _| heard.note("io"));
    let fd = gyre_loop_fd(it.handle);
    if backend != EPOLL {
        assert_eq!(fd, EUNSUPPORTED);
        return;
    }
    host.io(&fd, READ, |_, _, events| heard.note(if events == READ { "readable" } else { "?" }));
    assert_eq!(timeout_of(it.handle), FOREVER);
    host.turns(1);
    assert_eq!(heard.take(), [""; 0]);
    put(theirs.as_raw_fd(), b"x");
    host.turns(1);
    assert_eq!(heard.take(), ["readable"]);
    assert_eq!(it.run(NOWAIT), 1);
    assert_eq!(heard.take(), ["io"]);
    // A change of interest takes effect by asking for the timeout.
    ok(gyre_io_set(io, 0));
    assert_eq!(timeout_of(it.handle), FOREVER);
    host.turns(1);
    assert_eq!(heard.take(), [""; 0]);
    // So do posts, by the descriptor and by the timeout, and timers by the timeout.
    it.post(|_| heard.note("post"));
    assert_eq!(timeout_of(it.handle), 0);
    host.turns(1);
    assert_eq!(it.run(NOWAIT), 0);
    assert_eq!(heard.take(), ["readable", "post"]);
    it.timer(SEC, 0, |_, _| {});
    assert!((1..=SEC).contains(&timeout_of(it.handle)));
    assert_eq!(gyre_loop_fd(it.handle), fd);
}

// ---- threads ----

fn no_post_is_lost_to_a_loop_that_falls_asleep(backend: c_int) {
    const THREADS: u64 = 3;
    const EACH: u64 = 2000;
    let it = Loop::open_with(&gyre_loop_options { post_capacity: 64, ..options(backend) }).unwrap();
    let (handle, next) = (it.handle, Arc::new([const { AtomicU64::new(0) }; THREADS as usize]));
    ok(gyre_loop_set_keepalive(handle, 1));
    let start = Arc::new(Barrier::new(THREADS as usize));
    let threads = [0, 1, 2].map(|thread| {
        let (next, start) = (next.clone(), start.clone());
        std::thread::spawn(move || {
            start.wait();
            for number in 0..EACH {
                let next = next.clone();
                let check = move |handle| {
                    assert_eq!(next[thread].fetch_add(1, SeqCst), number, "a post of thread {thread} out of order");
                    if next.iter().map(|next| next.load(SeqCst)).sum::<u64>() == THREADS * EACH {
                        ok(gyre_loop_stop(handle));
                    }
                };
                // A full queue took nothing: the same again.
                loop {
                    match post_from_any_thread(handle, check.clone()) {
                        0 => break,
                        status => assert_eq!(status, EFULL),
                    }
                    std::thread::yield_now();
                }
            }
        })
    });
    assert_eq!(it.run(DEFAULT), 1); // hangs if the last post does not wake it
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(it.statistics().posts, THREADS * EACH);
}

fn no_wake_is_lost_to_a_loop_that_falls_asleep(backend: c_int) {
    const ROUNDS: u64 = 2000;
    let it = Loop::open(backend);
    let (handle, asked) = (it.handle, Arc::new(AtomicU64::new(0)));
    let waker = {
        let asked = asked.clone();
        std::thread::spawn(move || {
            for round in 1..=ROUNDS {
                while asked.load(SeqCst) < round {
                    std::hint::spin_loop();
                }
                ok(gyre_loop_wake(handle));
            }
        })
    };
    for round in 1..=ROUNDS {
        asked.store(round, SeqCst);
        it.turn(FOREVER);
    }
    waker.join().unwrap();
    assert_eq!(it.statistics().turns, ROUNDS);
}
