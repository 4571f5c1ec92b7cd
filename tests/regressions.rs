//! Traps of the kernel's interfaces, each named by the behaviour that keeps it out. A number that was closed is given out
//! again by the next open of any thread, so these tests run one after the other.

#[macro_use]
mod support;

use gyre::capi::*;
use libc::{EBADF, EINVAL};
use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use support::*;

on_every_backend! { alone:
    a_closed_descriptor_that_lives_on_as_a_duplicate_does_not_spin,
    what_a_closed_watcher_left_in_the_set_does_not_spin,
    a_reused_number_brings_nothing_to_its_old_watcher,
    a_reused_number_can_be_watched_while_the_old_file_lives_on,
    a_descriptor_closed_under_a_paused_watcher_is_told_when_it_asks,
    a_hangup_without_interest_does_not_spin,
    a_file_that_is_back_at_its_number_can_be_watched_again,
    a_file_replaced_beneath_a_watcher_that_is_always_ready_is_told_apart,
    a_child_that_closes_a_descriptor_does_not_silence_the_parent,
    a_child_that_closes_the_loop_does_not_silence_the_parent,
    a_descriptor_above_fd_setsize_is_served_or_refused,
    the_loops_own_descriptors_are_refused,
    the_half_close_alone_is_a_report_of_its_own,
    a_set_made_anew_keeps_all_that_was_in_it,
}

/// How often a quiet loop may wait in 50 ms: there is some finding out to be done, and then one wait.
const FEW: u64 = 10;

/// Turns in which anything that is still to be found out about a descriptor is.
const ENOUGH_TURNS: usize = 40;

/// A watcher of a pipe that must be served whatever befalls others.
struct Bystander {
    pipe: (std::fs::File, std::fs::File),
    heard: Cell<u32>,
}

impl Bystander {
    fn new() -> Bystander {
        Bystander { pipe: pipe(), heard: Cell::new(0) }
    }

    fn watch<'a>(&'a self, it: &Loop<'a>) {
        it.io(&self.pipe.0, READ, |_, _, events| {
            assert_eq!(events, READ);
            assert_eq!(get(self.pipe.0.as_raw_fd()), Some(b'.'));
            add(&self.heard);
        });
    }

    #[track_caller]
    fn assert_is_served(&self, it: &Loop<'_>) {
        let before = self.heard.get();
        put(self.pipe.1.as_raw_fd(), b".");
        it.until(|| self.heard.get() > before);
        assert_eq!(self.heard.get(), before + 1);
    }
}

/// A watcher that lost its descriptor was told so at most once, last, and says so when it is set.
#[track_caller]
fn assert_is_lost(io: gyre_io, heard: &Log<u32>, original: u32) {
    let mut heard = heard.take();
    assert!(heard.len() <= ENOUGH_TURNS, "{heard:?}");
    assert_eq!(heard.pop(), Some(ERROR));
    assert!(heard.iter().all(|events| *events == original), "{heard:?}");
    assert_eq!(gyre_io_set(io, READ), -EBADF);
    assert_eq!(gyre_io_set(io, 0), -EBADF);
}

fn a_closed_descriptor_that_lives_on_as_a_duplicate_does_not_spin(backend: c_int) {
    let ((ours, theirs), heard, bystander) = (bare_pipe(), Log::new(), Bystander::new());
    let it = Loop::open(backend);
    let io = it.try_io(ours, READ, |_, _, events| heard.note(events)).unwrap();
    bystander.watch(&it);
    put(theirs, b"x");
    let duplicate = dup(ours);
    close_fd(ours);
    it.turns(ENOUGH_TURNS);
    assert!(it.waits_within(50 * MS) < FEW);
    assert_is_lost(io, &heard, READ);
    bystander.assert_is_served(&it);
    assert_eq!(heard.take(), []);
    ok(gyre_io_close(io));
    for fd in [duplicate, theirs] {
        close_fd(fd);
    }
}

fn what_a_closed_watcher_left_in_the_set_does_not_spin(backend: c_int) {
    let ((ours, theirs), bystander) = (bare_pipe(), Bystander::new());
    let it = Loop::open(backend);
    bystander.watch(&it);
    let io = it.try_io(ours, READ, |_, _, _| panic!("it was closed")).unwrap();
    let duplicate = dup(ours);
    close_fd(ours);
    ok(gyre_io_close(io)); // the kernel cannot be told: the number is gone, the registration is not
    put(theirs, b"x");
    it.turns(3);
    assert!(it.waits_within(50 * MS) < FEW);
    assert_eq!(it.statistics().stale_events > 0, backend == EPOLL);
    bystander.assert_is_served(&it);
    for fd in [duplicate, theirs] {
        close_fd(fd);
    }
}

fn a_reused_number_brings_nothing_to_its_old_watcher(backend: c_int) {
    let ((ours, theirs), (new, feeder), heard) = (bare_pipe(), bare_pipe(), Log::new());
    let it = Loop::open(backend);
    let old = it.try_io(ours, READ, |_, _, events| heard.note(events)).unwrap();
    it.turns(1);
    dup_to(new, ours); // closes the old file: its registration goes with it
    put(feeder, b"y");
    it.turns(ENOUGH_TURNS);
    assert!(heard.take().iter().all(|events| *events == ERROR));
    // The number may be watched anew, and the new watcher has it to itself.
    let fresh = it.try_io(ours, READ, |_, _, events| heard.note(events | 1 << 16)).unwrap();
    it.turns(3);
    assert_eq!(heard.take().iter().filter(|events| **events != ERROR).collect::<Vec<_>>(), [&(READ | 1 << 16); 3]);
    assert_eq!(gyre_io_set(old, READ), -EBADF);
    ok(gyre_io_close(old));
    it.turns(1);
    assert_eq!(heard.take(), [READ | 1 << 16]);
    ok(gyre_io_close(fresh));
    for fd in [ours, theirs, new, feeder] {
        close_fd(fd);
    }
}

fn a_reused_number_can_be_watched_while_the_old_file_lives_on(backend: c_int) {
    let ((ours, theirs), (new, feeder), heard) = (bare_pipe(), bare_pipe(), Log::new());
    let it = Loop::open(backend);
    let old = it.try_io(ours, READ, |_, _, events| heard.note((1, events))).unwrap();
    let duplicate = dup(ours);
    dup_to(new, ours);
    put(theirs, b"x"); // the kernel still reports the old file, with a token that was right
    let fresh = it.try_io(ours, READ, |_, _, events| heard.note((2, events))).unwrap();
    it.turns(ENOUGH_TURNS);
    assert_eq!(heard.take(), [(1, ERROR)]);
    assert!(it.waits_within(50 * MS) < FEW);
    put(feeder, b"y");
    it.turns(3);
    assert_eq!(heard.take(), [(2, READ); 3]);
    ok(gyre_io_close(old));
    ok(gyre_io_close(fresh));
    for fd in [ours, theirs, new, feeder, duplicate] {
        close_fd(fd);
    }
}

fn a_descriptor_closed_under_a_paused_watcher_is_told_when_it_asks(backend: c_int) {
    let ((ours, theirs), heard, bystander) = (bare_pipe(), Log::new(), Bystander::new());
    let it = Loop::open(backend);
    bystander.watch(&it);
    let io = it.try_io(ours, 0, |_, _, events| heard.note(events)).unwrap();
    close_fd(ours);
    assert!(it.waits_within(50 * MS) < FEW);
    it.turns(2);
    // poll and select see it by themselves, epoll when the interest changes.
    if heard.len() == 0 {
        ok(gyre_io_set(io, READ));
        it.turns(3);
    }
    assert_is_lost(io, &heard, ERROR);
    assert!(it.waits_within(50 * MS) < FEW);
    bystander.assert_is_served(&it);
    ok(gyre_io_close(io));
    close_fd(theirs);
}

fn a_hangup_without_interest_does_not_spin(backend: c_int) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (told, silent) = (Cell::new(0), Cell::new(0));
    let it = Loop::open(backend);
    let io = it.io(&ours, READ | ONESHOT, |_, _, _| _ = add(&silent));
    drop(theirs);
    it.until(|| silent.get() == 1);
    // Spent beside one that asks for nothing: the union is empty, the kernel reports all the same.
    it.io(&ours, 0, |_, _, events| {
        assert_eq!(events, HANGUP);
        add(&told);
    });
    it.until(|| told.get() == 1);
    assert!(it.waits_within(100 * MS) < FEW);
    assert_eq!((told.get(), silent.get()), (1, 1));
    // Beside one that does ask, the report comes on and on: only that one hears it.
    let asks = it.io(&ours, READ, |_, _, _| {});
    it.turns(ENOUGH_TURNS);
    assert_eq!((told.get(), silent.get()), (1, 1));
    ok(gyre_io_close(asks));
    ok(gyre_io_set(io, READ));
    it.turns(3);
    assert_eq!((told.get(), silent.get()), (1, 2));
}

fn a_file_that_is_back_at_its_number_can_be_watched_again(backend: c_int) {
    let ((ours, theirs), heard) = (bare_pipe(), Log::new());
    let it = Loop::open(backend);
    let io = it.try_io(ours, READ, |_, _, events| heard.note(events)).unwrap();
    let duplicate = dup(ours);
    close_fd(ours);
    ok(gyre_io_close(io)); // the registration of this file and number stays behind
    dup_to(duplicate, ours);
    let again = it.try_io(ours, READ, |_, _, events| heard.note(events | 1 << 16)).unwrap();
    put(theirs, b"x");
    it.turns(3);
    assert_eq!(heard.take(), [READ | 1 << 16; 3]);
    ok(gyre_io_close(again));
    assert!(it.waits_within(20 * MS) < FEW);
    for fd in [ours, theirs, duplicate] {
        close_fd(fd);
    }
}

fn a_file_replaced_beneath_a_watcher_that_is_always_ready_is_told_apart(backend: c_int) {
    let open = |name: &str| std::fs::File::open(name).unwrap();
    let (file, other) = (open(env!("CARGO_MANIFEST_PATH")), open("/proc/self/exe"));
    let (number, heard, bystander) = (dup(file.as_raw_fd()), Log::new(), Bystander::new());
    let it = Loop::open(backend);
    bystander.watch(&it);
    let io = it.try_io(number, READ, |_, _, events| heard.note(events)).unwrap();
    it.turns(3);
    assert_eq!(heard.take(), [READ; 3]);
    dup_to(other.as_raw_fd(), number);
    it.turns(ENOUGH_TURNS);
    assert!(it.waits_within(50 * MS) < FEW);
    assert_is_lost(io, &heard, READ);
    bystander.assert_is_served(&it);
    ok(gyre_io_close(io));
    close_fd(number);
}

fn a_child_that_closes_a_descriptor_does_not_silence_the_parent(backend: c_int) {
    let ((ours, theirs), heard) = (pipe(), Log::new());
    let it = Loop::open(backend);
    let io = it.io(&ours, READ, |_, _, events| heard.note(events));
    let handle = it.handle;
    let child = fork(|| {
        // EPOLL_CTL_DEL here would take the watcher out of the set that the parent shares.
        if gyre_io_close(io) != EFORKED || gyre_io_set(io, 0) != EFORKED || gyre_loop_run(handle, NOWAIT) != EFORKED {
            return 1;
        }
        close_fd(ours.as_raw_fd());
        if gyre_loop_after_fork(handle) != 0 || gyre_io_close(io) != 0 {
            return 2;
        }
        gyre_loop_close(handle)
    });
    assert_child_is_content(child);
    put(theirs.as_raw_fd(), b"x");
    it.turns(2);
    assert_eq!(heard.take(), [READ, READ]);
}

fn a_child_that_closes_the_loop_does_not_silence_the_parent(backend: c_int) {
    let ((ours, theirs), heard, posted) = (pipe(), Log::new(), Cell::new(0));
    let it = Loop::open(backend);
    it.io(&ours, READ, |_, _, events| heard.note(events));
    it.post(|_| _ = add(&posted));
    let handle = it.handle;
    let child = fork(|| {
        let (status, again) = (gyre_loop_close(handle), gyre_loop_close(handle));
        if (status, again, posted.get()) == (0, EHANDLE, 0) { 0 } else { 1 }
    });
    assert_child_is_content(child);
    put(theirs.as_raw_fd(), b"x");
    it.turns(2);
    assert_eq!((heard.take(), posted.get()), (vec![READ, READ], 1));
    // Its wake-up descriptor works on too.
    let waker = std::thread::spawn(move || gyre_loop_stop(handle));
    it.until(|| waker.is_finished());
    ok(waker.join().unwrap());
}

fn a_descriptor_above_fd_setsize_is_served_or_refused(backend: c_int) {
    const NUMBER: RawFd = 1500;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to read and to write.
    unsafe {
        system(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit));
        if limit.rlim_cur <= NUMBER as libc::rlim_t {
            let raised = libc::rlimit { rlim_cur: NUMBER as libc::rlim_t + 1, ..limit };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) != 0 {
                return say("a_descriptor_above_fd_setsize: SKIPPED, the hard limit of open files is too low");
            }
        }
    }
    let ((ours, theirs), heard) = (pipe(), Log::new());
    dup_to(ours.as_raw_fd(), NUMBER);
    {
        let it = Loop::open(backend);
        let opened = it.try_io(NUMBER, READ, |_, _, events| heard.note(events));
        put(theirs.as_raw_fd(), b"x");
        it.turns(1);
        if backend == SELECT {
            assert_eq!((opened, heard.take()), (Err(EUNSUPPORTED), vec![]));
            assert_eq!(it.statistics().handles, 0);
        } else {
            assert_eq!((opened.is_ok(), heard.take()), (true, vec![READ]));
        }
    }
    close_fd(NUMBER);
    // SAFETY: the limits are those from before.
    system(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) });
}

/// The descriptors of this process that are no files: event descriptors, epoll sets.
fn anonymous_descriptors() -> Vec<RawFd> {
    let is_anonymous = |fd: &RawFd| {
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        link.is_ok_and(|file| file.as_os_str().as_encoded_bytes().starts_with(b"anon_inode:"))
    };
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<RawFd>().unwrap());
    numbers.filter(is_anonymous).collect()
}

fn the_loops_own_descriptors_are_refused(backend: c_int) {
    // A host that closes a number too early and then watches it may find a descriptor of the loop's there.
    let before = anonymous_descriptors();
    let it = Loop::open(backend);
    let embedded = gyre_loop_fd(it.handle);
    let own = anonymous_descriptors().into_iter().filter(|fd| !before.contains(fd)).collect::<Vec<_>>();
    assert_eq!((own.len(), own.contains(&embedded)), if backend == EPOLL { (3, true) } else { (1, false) });
    for fd in own {
        assert_eq!(it.try_io(fd, READ, |_, _, _| {}), Err(-EINVAL));
    }
    let handle = it.handle;
    let waker = std::thread::spawn(move || gyre_loop_wake(handle));
    it.turn(FOREVER); // still woken
    ok(waker.join().unwrap());
}

fn the_half_close_alone_is_a_report_of_its_own(backend: c_int) {
    let ((ours, theirs), heard) = (UnixStream::pair().unwrap(), Log::new());
    let it = Loop::open(backend);
    it.io(&ours, PEER_CLOSED, |_, _, events| heard.note(events));
    put(theirs.as_raw_fd(), b"unread");
    assert!(it.waits_within(20 * MS) < FEW); // unread data is no reason to spin
    assert_eq!(heard.take(), []);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    it.until(|| heard.len() > 0);
    assert_eq!(heard.take(), [PEER_CLOSED]);
}

fn a_set_made_anew_keeps_all_that_was_in_it(backend: c_int) {
    let file = std::fs::File::open(env!("CARGO_MANIFEST_PATH")).unwrap();
    let (pipes, heard) = ([pipe(), pipe(), pipe()], Log::new());
    let it = Loop::open(backend);
    let fd = gyre_loop_fd(it.handle);
    let read = it.io(&pipes[0].0, READ, |_, _, events| heard.note(("read", events)));
    it.io(&pipes[1].1, WRITE | ONESHOT, |_, _, events| heard.note(("oneshot", events)));
    let paused = it.io(&pipes[2].0, 0, |_, _, events| heard.note(("paused", events)));
    it.turns(1);
    assert_eq!(heard.take(), [("oneshot", WRITE)]);
    // What makes the set be rebuilt on epoll.
    let (dead, feeder) = bare_pipe();
    let io = it.try_io(dead, READ, |_, _, _| {}).unwrap();
    let duplicate = dup(dead);
    close_fd(dead);
    ok(gyre_io_close(io));
    put(feeder, b"x");
    it.turns(3);
    // Each watcher is as it was, the spent one too, and the descriptor for embedding is the same.
    for (_, theirs) in &pipes {
        put(theirs.as_raw_fd(), b"x");
    }
    it.io(&file, WRITE | ONESHOT, |_, _, events| heard.note(("file", events)));
    it.turns(1);
    let mut told = heard.take();
    told.sort_unstable();
    assert_eq!(told, [("file", WRITE), ("read", READ)]);
    ok(gyre_io_set(paused, READ));
    ok(gyre_io_set(read, 0));
    it.turns(1);
    assert_eq!(heard.take(), [("paused", READ)]);
    assert_eq!(gyre_loop_fd(it.handle), fd);
    if backend == EPOLL {
        let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, valid to write to.
        assert_eq!(system(unsafe { libc::poll(&mut polled, 1, 0) }), 1);
    }
    for fd in [duplicate, feeder] {
        close_fd(fd);
    }
}
