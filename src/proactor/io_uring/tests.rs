//! Tests of the io_uring engine on real rings, files, pipes and sockets.

use super::ring::{EMFILE, MODES};
use super::*;
use crate::proactor::Work;
use crate::sys::clock::monotonic_ns;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;

static WAKES: AtomicUsize = AtomicUsize::new(0);

/// An engine, and what the loop would give it.
struct Bench {
    engine: ManuallyDrop<Uring>,
    wake: OwnedFd,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // SAFETY: dropped once; the engine goes before the descriptor that it was given.
        unsafe { ManuallyDrop::drop(&mut self.engine) };
    }
}

fn eventfd() -> OwnedFd {
    // SAFETY: eventfd takes no pointer, and the descriptor is nobody else's.
    unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) }
}

fn settings(wake_fd: RawFd) -> Settings {
    let wake = |_| {
        WAKES.fetch_add(1, Ordering::Relaxed);
    };
    Settings {
        file_threads: 1,
        aio: crate::proactor::AioSettings::default(),
        wake,
        place: 1,
        wake_fd,
        sockets: true,
        buffer_count: 4,
    }
}

impl Bench {
    fn with(mode: Mode, sizes: (u32, u32)) -> Bench {
        let wake = eventfd();
        let engine =
            Uring::with(&settings(wake.as_raw_fd()), Abilities { mode, sockets: mode == Mode::Deferred }, sizes);
        Bench { engine: ManuallyDrop::new(engine), wake }
    }

    fn new(mode: Mode) -> Bench {
        Bench::with(mode, (SUBMISSIONS, COMPLETIONS))
    }

    /// Whether the wake-up descriptor becomes readable in so many milliseconds; it is not, afterwards.
    fn wakes_within(&self, ms: i32) -> bool {
        let mut one = [libc::pollfd { fd: self.wake.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        // SAFETY: one entry is writable.
        while unsafe { libc::poll(one.as_mut_ptr(), 1, ms) } < 0 {} // EINTR: a thread of the kernel's called
        let woken = one[0].revents != 0;
        crate::sys::wakeup::drain(self.wake.as_raw_fd());
        woken
    }

    /// Submits, then waits as the loop does until so many jobs are done.
    fn reap(&mut self, count: usize) -> Vec<Done> {
        let mut done = Vec::new();
        while done.len() < count {
            let wakes = WAKES.load(Ordering::Relaxed);
            self.engine.submit();
            if !self.engine.done.is_empty() {
                assert!(WAKES.load(Ordering::Relaxed) > wakes, "the loop would sleep over what is done");
            } else {
                // Cooperative rings may be told of by EINTR alone, which ends a wait as well.
                assert!(self.wakes_within(10_000) || self.engine.abilities.mode != Mode::Deferred, "never told");
            }
            done.extend(core::iter::from_fn(|| self.engine.reap()));
        }
        assert_eq!(self.engine.in_flight(), 0);
        done
    }

    fn ring(&mut self) -> &mut Ring {
        self.engine.ring.as_mut().unwrap()
    }

    fn run(&mut self, job: Job) -> i64 {
        self.engine.start(id(0), job).unwrap();
        let done = self.reap(1);
        assert_eq!(done[0].id, id(0));
        done[0].result
    }
}

fn id(index: usize) -> u64 {
    (7 << 32) | (1 << 24) | index as u64
}

/// A file without a name.
fn file() -> File {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE).open(std::env::temp_dir()).unwrap()
}

fn read(fd: &impl AsRawFd, offset: i64, buf: &mut [u8]) -> Job {
    Job { fd: fd.as_raw_fd(), offset, work: Work::Read { buf: buf.as_mut_ptr(), len: buf.len() } }
}

fn write(fd: &impl AsRawFd, offset: i64, buf: &[u8]) -> Job {
    Job { fd: fd.as_raw_fd(), offset, work: Work::Write { buf: buf.as_ptr(), len: buf.len() } }
}

fn error(status: Status) -> i64 {
    i64::from(status.code())
}

/// A read that stays in the kernel until something is written.
fn pending_read(bench: &mut Bench, index: usize, buf: &mut [u8]) -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    bench.engine.start(id(index), read(&reader, -1, buf)).unwrap();
    (reader, writer)
}

fn drop_cache(file: &File) {
    file.sync_all().unwrap();
    // SAFETY: takes no pointer.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

#[test]
fn every_kind_of_job_gives_what_the_system_call_gives() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let file = file();
        let fd = file.as_raw_fd();
        assert_eq!(bench.run(write(&file, 0, b"hello, world")), 12);
        assert_eq!(bench.run(write(&file, -1, b"HELLO")), 5, "at the position, which is 0");
        let mut buf = [0; 64];
        assert_eq!(bench.run(read(&file, -1, &mut buf)), 7, "from the position, which is 5");
        assert_eq!(&buf[..7], b", world");
        let pieces = [
            libc::iovec { iov_base: c"ab".as_ptr().cast_mut().cast(), iov_len: 2 },
            libc::iovec { iov_base: c"cde".as_ptr().cast_mut().cast(), iov_len: 3 },
        ];
        let writev = Work::Writev { iov: pieces.as_ptr(), count: 2 };
        assert_eq!(bench.run(Job { fd, offset: 10, work: writev }), 5);
        let (head, tail) = buf.split_at_mut(3);
        let pieces = [
            libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: 3 },
            libc::iovec { iov_base: tail.as_mut_ptr().cast(), iov_len: 40 },
        ];
        let readv = Work::Readv { iov: pieces.as_ptr(), count: 2 };
        assert_eq!(bench.run(Job { fd, offset: 0, work: readv }), 15, "less than asked for");
        assert_eq!(&buf[..15], b"HELLO, worabcde");
        let none = Work::Readv { iov: core::ptr::null(), count: 0 };
        assert_eq!(bench.run(Job { fd, offset: 0, work: none }), 0);
        assert_eq!(bench.run(Job { fd, offset: -1, work: Work::Sync { data_only: true } }), 0);
        assert_eq!(bench.run(Job { fd, offset: -1, work: Work::Sync { data_only: false } }), 0);
        assert_eq!(bench.run(read(&file, 15, &mut buf)), 0, "the end of the file");
        assert_eq!(bench.run(read(&file, 0, &mut [])), 0);
    }
}

#[test]
fn offsets_past_4_gib_and_lengths_past_the_kernels_most_are_carried_out() {
    let mut bench = Bench::new(Mode::Deferred);
    let file = file();
    let far = (5i64 << 30) + 3;
    assert_eq!(bench.run(write(&file, far, b"far")), 3);
    let mut buf = [0; 4];
    assert_eq!(bench.run(read(&file, far, &mut buf)), 3);
    assert_eq!(&buf[..3], b"far");
    assert_eq!(bench.run(read(&file, 3, &mut buf)), 4, "a hole");
    assert_eq!(buf, [0; 4]);
    // 4 GiB are asked for, modulo 2^32 that is nothing; only 4 bytes are there, and only they are touched.
    let work = Work::Read { buf: buf.as_mut_ptr(), len: 4 << 30 };
    assert_eq!(bench.run(Job { fd: file.as_raw_fd(), offset: far - 1, work }), 4);
    assert_eq!(&buf, b"\0far");
}

#[test]
fn errors_are_those_of_the_system_call() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let mut buf = [0; 8];
        let dir = File::open(std::env::temp_dir()).unwrap();
        assert_eq!(bench.run(read(&dir, 0, &mut buf)), error(Status::from_errno(libc::EISDIR)));
        let read_only = File::open("/dev/null").unwrap();
        assert_eq!(bench.run(write(&read_only, 0, b"x")), error(Status::EBADF));
        assert_eq!(bench.run(read(&i32::MAX, 0, &mut buf)), error(Status::EBADF));
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(bench.run(write(&full, 0, b"x")), error(Status::from_errno(libc::ENOSPC)));
        assert_eq!(bench.run(read(&full, 0, &mut buf)), error(Status::EBADF));
    }
}

#[test]
fn a_non_blocking_file_that_is_not_cached_is_read_all_the_same() {
    let path = std::env::temp_dir().join(format!("gyre-uring-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all_at(&[7; 65536], 0).unwrap();
    drop_cache(&file);
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut buf = [0; 4096];
    assert_eq!(Bench::new(Mode::Deferred).run(read(&file, 32768, &mut buf)), 4096);
    assert_eq!(buf, [7; 4096]);
}

/// A write past RLIMIT_FSIZE raises SIGXFSZ, whose default is death, in the thread that writes.
#[test]
fn a_write_past_the_file_size_limit_is_an_error_and_no_signal() {
    in_child(|| {
        let mut bench = Bench::new(Mode::Deferred);
        let file = file();
        let limit = libc::rlimit { rlim_cur: 4096, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `limit` is readable.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
        let result = bench.run(write(&file, 4000, &[1; 200]));
        assert_eq!(result, 96, "what fits");
        assert_eq!(bench.run(write(&file, 4096, b"x")), error(Status::from_errno(libc::EFBIG)));
        // Where the file system can write without waiting, the submitting thread writes: direct I/O, nearly
        // everywhere.
        #[repr(align(4096))]
        struct Block([u8; 4096]);
        // SAFETY: takes no pointer. Where it is refused, the write below is an ordinary one.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_DIRECT) };
        let block = Box::new(Block([1; 4096]));
        assert_eq!(bench.run(write(&file, 4096, &block.0)), error(Status::from_errno(libc::EFBIG)));
    });
}

fn check_many(bench: &mut Bench, count: usize) {
    let file = file();
    for index in 0..count {
        file.write_all_at(&(index as u64).to_le_bytes(), index as u64 * 4096).unwrap();
    }
    drop_cache(&file);
    let mut buffers = vec![[0u8; 4096]; count];
    for (index, buf) in buffers.iter_mut().enumerate() {
        bench.engine.start(id(index), read(&file, index as i64 * 4096, buf)).unwrap();
    }
    let mut seen = vec![false; count];
    for done in bench.reap(count) {
        let index = (done.id - id(0)) as usize;
        assert!(!core::mem::replace(&mut seen[index], true), "told twice");
        assert_eq!(done.result, if index + 1 == count { 8 } else { 4096 });
        assert_eq!(buffers[index][..8], (index as u64).to_le_bytes());
    }
}

#[test]
fn a_thousand_reads_in_flight_each_complete_once_with_their_data() {
    for mode in MODES {
        check_many(&mut Bench::new(mode), 1000);
    }
}

#[test]
fn more_jobs_than_the_queues_hold_wait_and_complete() {
    for mode in MODES {
        check_many(&mut Bench::with(mode, (4, 8)), 300);
    }
}

#[test]
fn a_completion_ends_the_sleep_and_only_the_sleep() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let mut buf = [0; 4];
        let (_reader, mut writer) = pending_read(&mut bench, 1, &mut buf);
        bench.engine.submit();
        assert_eq!(bench.engine.reap(), None);
        bench.engine.submit();
        assert!(!bench.wakes_within(0), "told of nothing");
        let told = std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(b"data").unwrap());
            bench.wakes_within(10_000)
        });
        assert!(told || mode == Mode::Cooperative);
        let mut done = None;
        while done.is_none() {
            done = bench.engine.reap();
        }
        assert_eq!(done, Some(Done::new(id(1), 4)));
        assert!(mode == Mode::Plain || !bench.wakes_within(0), "told again");
        assert_eq!(&buf, b"data");
    }
}

#[test]
fn cancel_drops_what_waits_and_ends_what_is_in_the_kernel() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let (mut first, mut second) = ([0; 4], [0; 4]);
        let _first = pending_read(&mut bench, 1, &mut first);
        let _second = pending_read(&mut bench, 2, &mut second);
        assert_eq!(bench.engine.cancel(id(2)), Cancel::Dropped);
        bench.engine.submit();
        assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes);
        assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes, "twice is no harm");
        assert_eq!(bench.reap(1), [Done::new(id(1), error(Status::ECANCELED))]);
        assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes, "too late is no harm");
        bench.engine.submit();
        assert_eq!(bench.engine.reap(), None);
    }
}

#[test]
fn a_result_that_is_there_beats_the_cancel() {
    let mut bench = Bench::new(Mode::Deferred);
    let mut buf = [0; 4];
    let (_reader, mut writer) = pending_read(&mut bench, 1, &mut buf);
    bench.engine.submit();
    writer.write_all(b"real").unwrap();
    bench.ring().enter(0).unwrap(); // it stands in the completion queue, and the engine has not looked
    assert_eq!(bench.engine.cancel(id(1)), Cancel::Comes);
    assert_eq!(bench.reap(1)[0].result, 4);
    assert_eq!(&buf, b"real");
}

#[test]
fn completions_that_overflow_the_queue_are_not_lost() {
    for mode in MODES {
        let mut bench = Bench::with(mode, (64, 64));
        let mut buffers = vec![[0u8; 4]; 64];
        let pipes: Vec<_> =
            buffers.iter_mut().enumerate().map(|(index, buf)| pending_read(&mut bench, index, buf)).collect();
        bench.engine.submit();
        (0..64).for_each(|index| assert_eq!(bench.engine.cancel(id(index)), Cancel::Comes));
        // Behind the engine's back, so that nothing is taken from the queue: 128 completions for 64 places.
        assert!(bench.engine.offer());
        let taken = bench.ring().enter(0).unwrap();
        assert_eq!(taken, 64);
        bench.engine.waiting.drain(..taken);
        bench.engine.offered = 0;
        assert!(bench.ring().uring.submission().cq_overflow());
        let mut done = bench.reap(64);
        done.sort_by_key(|done| done.id);
        assert!(done.iter().enumerate().all(|(i, done)| done.id == id(i) && done.result == error(Status::ECANCELED)));
        drop(pipes);
    }
}

#[test]
fn drain_and_drop_wait_until_the_kernel_has_no_job() {
    for mode in MODES {
        let (mut first, mut second) = ([0; 4], [0; 4]);
        let mut bench = Bench::new(mode);
        let (_reader, mut writer) = pending_read(&mut bench, 1, &mut first);
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(b"one").unwrap());
            bench.engine.drain(); // also what was not submitted
        });
        assert_eq!(bench.engine.reap(), Some(Done::new(id(1), 3)));
        assert_eq!(bench.engine.reap(), None);
        let (reader, mut writer) = pending_read(&mut bench, 2, &mut second);
        bench.engine.submit();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(b"two").unwrap());
            drop(bench);
        });
        assert_eq!((&first, &second), (b"one\0", b"two\0"));
        drop(reader);
    }
}

#[test]
fn another_thread_gets_a_new_ring_also_one_with_the_number_of_one_that_ended() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let file = file();
        for round in 0u8..4 {
            // Threads of the C library's reuse stacks, and with them numbers, when the one before has ended.
            (bench, _) = std::thread::scope(|scope| {
                let file = &file;
                scope
                    .spawn(move || {
                        let mut bench = bench;
                        let mut buf = [0];
                        assert_eq!(bench.run(write(file, 0, &[round])), 1);
                        assert_eq!(bench.run(read(file, 0, &mut buf)), 1);
                        assert_eq!(buf, [round]);
                        (bench, ())
                    })
                    .join()
                    .unwrap()
            });
        }
        assert_eq!(bench.run(write(&file, 0, b"x")), 1);
    }
}

#[test]
fn a_descriptor_closed_beneath_the_engine_ends_its_jobs_and_a_new_ring_serves_the_next() {
    in_child(|| {
        let mut bench = Bench::new(Mode::Deferred);
        let mut buf = [0; 4];
        let _pipe = pending_read(&mut bench, 1, &mut buf);
        bench.engine.submit();
        // SAFETY: the descriptor is the ring's, and the point of the test.
        unsafe { libc::close(bench.ring().uring.as_raw_fd()) };
        bench.engine.drain(); // nothing new to hand over: it finds out when it waits
        assert_eq!(bench.engine.reap(), Some(Done::new(id(1), error(Status::EBADF))));
        assert_eq!(bench.run(write(&file(), 0, b"on")), 2);
    });
}

/// Runs a function in a child of fork, which may end itself only by returning.
fn in_child(run: impl FnOnce()) {
    // SAFETY: the child uses memory and descriptors only, and does not return from here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        // SAFETY: ends the child without the parent's destructors.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    let mut how = 0;
    // SAFETY: `how` is writable, and the child ours.
    assert_eq!(unsafe { libc::waitpid(pid, &mut how, 0) }, pid);
    assert_eq!(how, 0, "the child failed, or was killed");
}

#[test]
fn a_child_of_fork_starts_empty_and_leaves_the_parents_jobs_alone() {
    for mode in MODES {
        let mut bench = Bench::new(mode);
        let (mut buf, mut queued) = ([0; 4], [0; 4]);
        let (_reader, mut writer) = pending_read(&mut bench, 1, &mut buf);
        bench.engine.submit();
        let _queued = pending_read(&mut bench, 2, &mut queued);
        in_child(|| {
            let inherited = bench.ring().uring.as_raw_fd();
            let wake = eventfd();
            bench.engine.after_fork(wake.as_raw_fd()).unwrap();
            // SAFETY: takes no pointer.
            assert_eq!(unsafe { libc::fcntl(inherited, libc::F_GETFD) }, -1, "the copy is closed");
            bench.wake = wake;
            assert_eq!(bench.engine.reap(), None);
            let file = file();
            assert_eq!(bench.run(write(&file, 0, b"child")), 5);
            bench.engine.drain();
            // SAFETY: dropped once, for the child does not return.
            unsafe { ManuallyDrop::drop(&mut bench.engine) };
        });
        // One that drops its copy without ado: it neither waits for the parent's jobs nor ends them.
        // SAFETY: dropped once in that child, which does not return.
        in_child(|| unsafe { ManuallyDrop::drop(&mut bench.engine) });
        assert_eq!(bench.engine.cancel(id(2)), Cancel::Dropped);
        writer.write_all(b"mine").unwrap();
        assert_eq!(bench.reap(1), [Done::new(id(1), 4)]);
        assert_eq!(&buf, b"mine");
    }
}

/// Not a test by itself: run under strace by the next one.
#[test]
#[ignore = "run by without_the_system_call_it_is_unsupported_and_the_reason_is_kept"]
fn child_without_the_system_call() {
    let errno: i32 = std::env::var("GYRE_TEST_ERRNO").unwrap().parse().unwrap();
    let wake = eventfd();
    let status = Uring::new(&settings(wake.as_raw_fd())).err();
    if errno == libc::EMFILE {
        assert_eq!((status, unavailable()), (Some(EMFILE), None));
    } else {
        assert_eq!((status, unavailable()), (Some(Status::EUNSUPPORTED), Some(Status::from_errno(errno))));
    }
    println!("as expected");
}

#[test]
fn without_the_system_call_it_is_unsupported_and_the_reason_is_kept() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: no strace here, so that io_uring_setup cannot be made to fail");
        return;
    }
    let errors = [("EPERM", libc::EPERM), ("ENOSYS", libc::ENOSYS), ("EACCES", libc::EACCES), ("EMFILE", libc::EMFILE)];
    for (name, errno) in errors {
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=io_uring_setup:error={name}")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "proactor::io_uring::tests::child_without_the_system_call", "--ignored", "--nocapture"])
            .env("GYRE_TEST_ERRNO", errno.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("as expected"), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_the_kernel_tells_of_an_unknown_id_is_dropped() {
    let mut bench = Bench::new(Mode::Deferred);
    let file = file();
    bench.engine.start(id(1), write(&file, 0, b"x")).unwrap();
    assert!(bench.engine.offer());
    assert_eq!(bench.ring().enter(0), Ok(1)); // and the engine does not know
    bench.engine.waiting.clear();
    bench.engine.offered = 0;
    assert_eq!(bench.run(write(&file, 0, b"y")), 1);
}

#[test]
fn one_system_call_hands_over_a_turns_jobs() {
    let mut bench = Bench::new(Mode::Deferred);
    let file = file();
    (0..100).for_each(|index| bench.engine.start(id(index), write(&file, 0, b"x")).unwrap());
    assert!(bench.engine.offer());
    assert!(bench.engine.enter(|ring| ring.enter(0)), "all are taken by the first call");
    assert_eq!(bench.engine.flying.len() + bench.engine.done.len(), 100);
    assert_eq!(bench.reap(100).len(), 100);
    let mut nothing = Vec::new();
    assert_eq!((&file).take(1).read_to_end(&mut nothing).unwrap(), 1);
}

// ---- sockets (E7) ----

const SIZE: usize = 4;

/// Buffers to be lent, with the engine that has them.
struct Pool {
    bench: Bench, // dropped first: the kernel is done with the buffers before they are freed
    buffers: Vec<[u8; SIZE]>,
}

impl Pool {
    fn new(buffers: usize) -> Pool {
        let mut pool = Pool { bench: Bench::new(Mode::Deferred), buffers: vec![[0; SIZE]; buffers] };
        (0..buffers).for_each(|index| pool.lend(index as u32));
        pool
    }

    fn lend(&mut self, index: u32) {
        let buffer = &mut self.buffers[index as usize];
        buffer.fill(0);
        self.bench.engine.lend(index as u16, buffer.as_mut_ptr(), SIZE).unwrap();
    }

    fn start(&mut self, index: usize, fd: &impl AsRawFd, transfer: Transfer) {
        self.bench.engine.start_transfer(id(index), fd.as_raw_fd(), &transfer).unwrap();
    }

    /// The next so many results, waiting as the loop does that cannot wait in the ring.
    fn take(&mut self, count: usize) -> Vec<Done> {
        let mut taken = Vec::new();
        while taken.len() < count {
            self.bench.engine.submit();
            assert!(!self.bench.engine.done.is_empty() || self.bench.wakes_within(10_000), "never told");
            taken.extend(core::iter::from_fn(|| self.bench.engine.reap()));
        }
        assert_eq!(taken.len(), count, "{taken:?}");
        taken
    }

    /// Takes a piece that was received into a lent buffer, while the job goes on. Returns it, and the buffer's number.
    fn piece(&self, done: &Done, job: usize) -> ([u8; SIZE], u32) {
        assert_eq!((done.id, done.result, done.more), (id(job), SIZE as i64, true));
        (self.buffers[done.buffer as usize], done.buffer)
    }
}

fn canceled(index: usize) -> Done {
    Done::new(id(index), error(Status::ECANCELED))
}

fn without_buffers(index: usize) -> Done {
    Done::new(id(index), error(Status::ENOBUFS))
}

fn stream() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn receive(buf: &mut [u8]) -> Transfer {
    Transfer::Receive { buf: buf.as_mut_ptr(), len: buf.len(), flags: 0 }
}

#[test]
fn a_receive_of_many_takes_a_lent_buffer_for_each_piece_and_ends_without_one() {
    let mut pool = Pool::new(2);
    let (near, mut far) = stream();
    pool.start(1, &near, Transfer::ReceiveMany);
    far.write_all(b"one two fourfive").unwrap();
    let done = pool.take(3);
    let (first, second) = (pool.piece(&done[0], 1), pool.piece(&done[1], 1));
    assert_eq!((&first.0, &second.0), (b"one ", b"two "));
    assert_ne!(first.1, second.1);
    assert_eq!(done[2], without_buffers(1));
    // Both are lent again, in another order, and the rest of the stream is still there.
    pool.lend(second.1);
    pool.lend(first.1);
    pool.start(1, &near, Transfer::ReceiveMany);
    let done = pool.take(2);
    assert_eq!(&pool.piece(&done[0], 1).0, b"four");
    assert_eq!(&pool.piece(&done[1], 1).0, b"five");
    far.write_all(b"six").unwrap();
    assert_eq!(pool.take(1), [without_buffers(1)]);
}

#[test]
fn a_receive_of_many_goes_on_into_buffers_that_are_lent_meanwhile_until_the_end_of_the_stream() {
    let mut pool = Pool::new(1);
    let (near, mut far) = stream();
    pool.start(1, &near, Transfer::ReceiveMany);
    for round in 0..20u8 {
        far.write_all(&[round; SIZE]).unwrap();
        let done = pool.take(1);
        let (bytes, buffer) = pool.piece(&done[0], 1);
        assert_eq!(bytes, [round; SIZE]);
        pool.lend(buffer); // before it is looked for again: the job has not ended
    }
    drop(far);
    assert_eq!(pool.take(1), [Done::new(id(1), 0)]);
}

#[test]
fn a_receive_of_many_without_lent_buffers_ends_at_once_when_there_is_data_and_takes_none() {
    let mut pool = Pool::new(0);
    let (near, mut far) = stream();
    far.write_all(b"data").unwrap();
    pool.start(1, &near, Transfer::ReceiveMany);
    assert_eq!(pool.take(1), [without_buffers(1)]);
    let mut buf = [0; SIZE];
    pool.start(2, &near, receive(&mut buf));
    assert_eq!(pool.take(1), [Done::new(id(2), 4)]);
    assert_eq!(&buf, b"data");
}

#[test]
fn an_accept_of_many_tells_each_connection_and_then_its_cancel() {
    let mut pool = Pool::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap(); // which is not to end it
    pool.start(1, &listener, Transfer::AcceptMany);
    for _ in 0..3 {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let done = pool.take(1)[0];
        assert!(done.more && done.id == id(1) && done.buffer == NO_BUFFER);
        // SAFETY: the descriptor was accepted just now, and is nobody else's.
        let mut accepted = unsafe { TcpStream::from_raw_fd(done.result as RawFd) };
        // SAFETY: takes no pointer.
        let flags = unsafe {
            (libc::fcntl(accepted.as_raw_fd(), libc::F_GETFD), libc::fcntl(accepted.as_raw_fd(), libc::F_GETFL))
        };
        assert_eq!(flags.0, libc::FD_CLOEXEC);
        assert_ne!(flags.1 & libc::O_NONBLOCK, 0);
        client.write_all(b"data").unwrap();
        accepted.set_nonblocking(false).unwrap();
        let mut buf = [0; 4];
        accepted.read_exact(&mut buf).unwrap();
    }
    assert_eq!(pool.bench.engine.cancel(id(1)), Cancel::Comes);
    assert_eq!(pool.take(1), [canceled(1)]);
}

#[test]
fn a_new_ring_in_another_thread_keeps_the_lent_buffers() {
    let mut pool = Pool::new(3);
    let (near, mut far) = stream();
    pool.start(1, &near, Transfer::ReceiveMany);
    far.write_all(b"here").unwrap();
    let done = pool.take(1);
    let (_, kept) = pool.piece(&done[0], 1); // and not lent again
    assert_eq!(pool.bench.engine.cancel(id(1)), Cancel::Comes);
    assert_eq!(pool.take(1), [canceled(1)]);
    for _ in 0..2 {
        pool = std::thread::scope(|scope| {
            let (near, far) = (&near, &mut far);
            let in_thread = move || {
                far.write_all(b"and there").unwrap();
                pool.start(2, near, Transfer::ReceiveMany);
                let done = pool.take(3);
                let (first, second) = (pool.piece(&done[0], 2), pool.piece(&done[1], 2));
                assert_eq!((&first.0, &second.0), (b"and ", b"ther"));
                assert!(first.1 != second.1 && first.1 != kept && second.1 != kept);
                assert_eq!(done[2], without_buffers(2), "the third is not lent");
                assert_eq!(&pool.buffers[kept as usize], b"here");
                pool.lend(first.1);
                pool.start(2, near, Transfer::ReceiveMany);
                let done = pool.take(1);
                assert_eq!(done[0].result, 1);
                pool.lend(done[0].buffer);
                pool.lend(second.1);
                assert_eq!(pool.bench.engine.cancel(id(2)), Cancel::Comes);
                assert_eq!(pool.take(1), [canceled(2)]);
                pool
            };
            scope.spawn(in_thread).join().unwrap()
        });
    }
}

#[test]
fn dropping_the_engine_ends_the_kernels_use_of_lent_buffers() {
    let (near, mut far) = stream();
    let mut pool = Pool::new(2);
    pool.start(1, &near, Transfer::ReceiveMany);
    let mut buf = [0; SIZE];
    let (other, mut other_far) = stream();
    pool.start(2, &other, receive(&mut buf));
    pool.bench.engine.submit();
    let Pool { bench, buffers } = pool;
    drop(bench);
    far.write_all(b"late").unwrap();
    other_far.write_all(b"late").unwrap();
    assert_eq!((buffers, buf), (vec![[0; SIZE]; 2], [0; SIZE]));
}

#[test]
fn a_cancel_of_what_stands_in_the_submission_queue_follows_it() {
    let mut pool = Pool::new(1);
    let (near, mut far) = stream();
    pool.start(1, &near, Transfer::ReceiveMany);
    assert!(pool.bench.engine.offer()); // and the kernel has not been called
    assert_eq!(pool.bench.engine.cancel(id(1)), Cancel::Comes);
    assert_eq!(pool.take(1), [canceled(1)]);
    far.write_all(b"data").unwrap();
    pool.bench.engine.submit();
    assert_eq!(pool.bench.engine.reap(), None);
}

// ---- waiting in the ring (E8) ----

const MS: u64 = 1_000_000;
const LONG: u64 = 10_000 * MS;

/// An epoll set that holds an eventfd, as the loop's does.
struct Set {
    set: OwnedFd,
    event: OwnedFd,
}

impl Set {
    fn new() -> Set {
        // SAFETY: takes no pointer, and the descriptor is nobody else's.
        let set = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let event = eventfd();
        let mut interest = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: `interest` is readable.
        let added = unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, event.as_raw_fd(), &mut interest) };
        assert_eq!(added, 0);
        Set { set, event }
    }

    fn make_readable(&self) {
        crate::sys::wakeup::signal(self.event.as_raw_fd());
    }

    fn make_unreadable(&self) {
        crate::sys::wakeup::drain(self.event.as_raw_fd());
    }
}

impl Bench {
    /// Waits until it is told that the set may be readable, or a job is done, at most so long. Returns whether the set may
    /// be, and how long it took: a wait may end early, as long as it does not tell what is not so.
    fn wait(&mut self, timeout_ns: u64, set: &Set) -> (bool, u64) {
        let begun = monotonic_ns();
        loop {
            let waited = monotonic_ns().saturating_sub(begun);
            let readable = self.engine.wait(timeout_ns.saturating_sub(waited), set.set.as_raw_fd());
            let waited = monotonic_ns().saturating_sub(begun);
            if readable || !self.engine.done.is_empty() || waited >= timeout_ns {
                return (readable, waited);
            }
        }
    }
}

/// An engine with a job that does not end by itself, so that there is a ring to wait in.
fn waiting_bench() -> (Bench, Box<[u8; 4]>, PipeReader, PipeWriter) {
    let mut bench = Bench::new(Mode::Deferred);
    let mut buf = Box::new([0; 4]);
    let (reader, writer) = pending_read(&mut bench, 1, &mut *buf);
    assert!(bench.engine.wants_to_wait());
    (bench, buf, reader, writer)
}

#[test]
fn a_wait_sees_the_descriptor_become_readable_and_stay_so() {
    let (mut bench, _buf, _reader, _writer) = waiting_bench();
    let set = Set::new();
    for round in 0..3 {
        assert!(!bench.wait(MS, &set).0);
        assert!(!bench.wait(MS, &set).0, "the poll of the wait before is still there");
        std::thread::scope(|scope| {
            scope.spawn(|| set.make_readable());
            assert!(bench.wait(LONG, &set).0, "round {round}");
        });
        // What the loop did not take is told in each wait.
        for _ in 0..3 {
            let (readable, waited) = bench.wait(LONG, &set);
            assert!(readable && waited < LONG);
        }
        set.make_unreadable();
    }
    assert_eq!(bench.engine.reap(), None);
}

#[test]
fn a_wait_lasts_as_long_as_it_is_to_and_ends_when_a_job_is_done() {
    let (mut bench, buf, _reader, mut writer) = waiting_bench();
    let set = Set::new();
    let (readable, waited) = bench.wait(20 * MS, &set);
    assert!(!readable && waited >= 20 * MS);
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(b"data").unwrap());
        let (readable, waited) = bench.wait(LONG, &set);
        assert!(!readable && waited < LONG);
    });
    assert_eq!(bench.engine.reap(), Some(Done::new(id(1), 4)));
    assert_eq!(&*buf, b"data");
    assert!(!bench.engine.wants_to_wait());
}

#[test]
fn a_wait_for_no_time_tells_what_is_there() {
    let (mut bench, _buf, _reader, mut writer) = waiting_bench();
    let set = Set::new();
    assert!(!bench.wait(MS, &set).0);
    set.make_readable();
    writer.write_all(b"data").unwrap();
    assert!(bench.engine.wait(0, set.set.as_raw_fd()), "the poll of the wait before reports");
    assert_eq!(bench.engine.reap(), Some(Done::new(id(1), 4)));
}

#[test]
fn after_unwatch_the_old_descriptor_ends_no_wait_and_the_new_one_does() {
    for was_readable in [false, true] {
        let (mut bench, _buf, _reader, _writer) = waiting_bench();
        let (old, new) = (Set::new(), Set::new());
        assert!(!bench.wait(MS, &old).0);
        if was_readable {
            old.make_readable(); // its report is on its way already
        }
        bench.engine.unwatch();
        old.make_readable();
        let (readable, waited) = bench.wait(20 * MS, &new);
        assert!(!readable && waited >= 20 * MS, "{was_readable}");
        new.make_readable();
        assert!(bench.wait(LONG, &new).0);
    }
}

#[test]
fn a_wait_in_a_new_ring_watches_anew() {
    let set = Set::new();
    let (mut bench, _buf, _reader, mut writer) = waiting_bench();
    assert!(!bench.wait(MS, &set).0);
    writer.write_all(b"data").unwrap();
    assert!(!bench.wait(LONG, &set).0);
    assert_eq!(bench.engine.reap(), Some(Done::new(id(1), 4)));
    std::thread::scope(|scope| {
        let in_thread = || {
            let mut bench = bench; // whose ring, with the poll in it, is the other thread's
            let mut buf = [0; 4];
            let _pipe = pending_read(&mut bench, 2, &mut buf);
            assert!(!bench.wait(MS, &set).0);
            set.make_readable();
            let (readable, waited) = bench.wait(LONG, &set);
            assert!(readable && waited < LONG);
            assert_eq!(bench.engine.cancel(id(2)), Cancel::Comes);
            while bench.engine.reap().is_none() {
                bench.engine.submit();
            }
        };
        scope.spawn(in_thread).join().unwrap();
    });
}

#[test]
fn a_wait_sees_the_descriptor_also_while_more_files_wait_than_the_kernel_may_have() {
    let mut bench = Bench::with(Mode::Deferred, (4, 8));
    let mut buffers = [[0; 4]; 12];
    let pipes: Vec<_> = buffers.iter_mut().enumerate().map(|(i, buf)| pending_read(&mut bench, i, buf)).collect();
    let set = Set::new();
    set.make_readable();
    let (readable, waited) = bench.wait(LONG, &set);
    assert!(readable && waited < LONG);
    assert_eq!(bench.engine.flying.len(), 8);
    assert_eq!(bench.engine.cancel(id(0)), Cancel::Comes); // nor does a request to cancel stand behind them
    set.make_unreadable();
    while bench.engine.done.is_empty() {
        let _ = bench.wait(LONG, &set);
    }
    assert_eq!(bench.engine.reap(), Some(canceled(0)));
    (1..12).for_each(|index| {
        let _ = bench.engine.cancel(id(index));
    });
    while bench.engine.unfinished() > 0 {
        let _ = bench.wait(LONG, &set);
    }
    drop(pipes);
}

// ---- the end of a thread ----

#[test]
fn a_thread_that_ends_leaves_nothing_in_the_kernel_and_its_jobs_come_back() {
    let (near, mut far) = stream();
    let (told, mut told_far) = stream();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reader, _writer) = pipe().unwrap();
    let set = Set::new();
    let mut bufs = [[0; SIZE]; 2];
    let [told_buf, pipe_buf] = &mut bufs;
    let mut pool = std::thread::scope(|scope| {
        let in_thread = || {
            let mut pool = Pool::new(2);
            pool.start(1, &near, Transfer::ReceiveMany);
            pool.start(2, &told, receive(told_buf));
            pool.start(3, &listener, Transfer::AcceptMany);
            pool.bench.engine.start(id(4), read(&reader, -1, pipe_buf)).unwrap();
            assert!(!pool.bench.wait(MS, &set).0);
            far.write_all(b"data").unwrap();
            told_far.write_all(b"told").unwrap();
            set.make_readable(); // the poll reports as well, and is not one of the jobs
            pool.bench.ring().enter(0).unwrap(); // all of it stands in the completion queue
            pool.bench.engine.leave_thread();
            assert_eq!(pool.bench.engine.unfinished(), 0);
            pool
        };
        scope.spawn(in_thread).join().unwrap()
    });
    let mut done: Vec<_> = core::iter::from_fn(|| pool.bench.engine.reap()).collect();
    done.sort_by_key(|done| (done.id, !done.more)); // stable
    let (bytes, _) = pool.piece(&done[0], 1);
    assert_eq!(&bytes, b"data");
    assert_eq!(done[1..], [canceled(1), Done::new(id(2), 4), canceled(3), canceled(4)]);
    assert_eq!(&bufs[0], b"told");
    // And in this thread all goes on.
    pool.start(1, &near, Transfer::ReceiveMany);
    far.write_all(b"more").unwrap();
    let done = pool.take(1);
    assert_eq!(&pool.piece(&done[0], 1).0, b"more");
}

#[test]
fn a_thread_that_ends_waits_for_what_the_disk_was_asked_for() {
    const COUNT: usize = 64;
    let file = file();
    for index in 0..COUNT {
        file.write_all_at(&[index as u8; 4096], index as u64 * 4096).unwrap();
    }
    let mut buffers = vec![[0xff; 4096]; COUNT];
    for _ in 0..10 {
        drop_cache(&file);
        let mut bench = std::thread::scope(|scope| {
            let in_thread = || {
                let mut bench = Bench::new(Mode::Deferred);
                for (index, buf) in buffers.iter_mut().enumerate() {
                    bench.engine.start(id(index), read(&file, index as i64 * 4096, buf)).unwrap();
                }
                bench.engine.leave_thread();
                assert_eq!(bench.engine.unfinished(), 0);
                bench
            };
            scope.spawn(in_thread).join().unwrap()
        });
        let done: Vec<_> = core::iter::from_fn(|| bench.engine.reap()).collect();
        assert_eq!(done.len(), COUNT);
        for done in done {
            let index = (done.id - id(0)) as usize;
            assert!(done.result == 4096 && buffers[index] == [index as u8; 4096] || done == canceled(index));
        }
    }
}
