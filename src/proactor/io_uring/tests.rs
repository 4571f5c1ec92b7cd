//! Tests of the io_uring engine on real rings, files, pipes and sockets.

use super::ring::{EMFILE, MODES};
use super::*;
use crate::proactor::Work;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
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
