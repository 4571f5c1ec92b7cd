//! Handles: random sequences of open and close over several loops, held against a model of what is alive.

mod support;

use gyre::capi::*;
use std::collections::HashSet;
use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use support::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Io,
    Timer,
    Signal,
    Child,
    Hook,
}

const KINDS: [Kind; 5] = [Kind::Io, Kind::Timer, Kind::Signal, Kind::Child, Kind::Hook];

impl Kind {
    fn close(self, bits: u64) -> c_int {
        match self {
            Kind::Io => gyre_io_close(gyre_io { bits }),
            Kind::Timer => gyre_timer_close(gyre_timer { bits }),
            Kind::Signal => gyre_signal_close(gyre_signal { bits }),
            Kind::Child => gyre_child_close(gyre_child { bits }),
            Kind::Hook => gyre_hook_close(gyre_hook { bits }),
        }
    }

    /// A call that changes nothing that matters here; its status says whether the handle is good.
    fn touch(self, bits: u64) -> c_int {
        match self {
            Kind::Io => gyre_io_set_keepalive(gyre_io { bits }, 1),
            Kind::Timer => gyre_timer_set_keepalive(gyre_timer { bits }, 1),
            Kind::Signal => gyre_signal_set_keepalive(gyre_signal { bits }, 1),
            Kind::Child => gyre_child_set_keepalive(gyre_child { bits }, 1),
            Kind::Hook => gyre_hook_set_keepalive(gyre_hook { bits }, 1),
        }
    }
}

/// A child process that ends with its standard input.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

type Handles = Vec<(Kind, u64)>;

/// What should be alive, and everything that ever was.
struct Model<'a> {
    loops: Vec<(Rc<Loop<'a>>, Handles)>,
    stale: Handles,
    stale_loops: Vec<gyre_loop>,
    ever: HashSet<u64>,
}

impl<'a> Model<'a> {
    fn new() -> Model<'a> {
        Model { loops: Vec::new(), stale: Vec::new(), stale_loops: Vec::new(), ever: HashSet::new() }
    }

    fn note_new(&mut self, bits: u64) {
        assert_ne!(bits, 0);
        assert!(self.ever.insert(bits), "{bits:#018x} was given out before");
    }

    fn open_loop(&mut self, random: &mut Random) {
        let it = Loop::open([EPOLL, POLL, SELECT][random.below(3)]);
        self.note_new(it.handle.bits);
        self.loops.push((it, Vec::new()));
    }

    fn close_loop(&mut self, index: usize) {
        let (it, handles) = self.loops.swap_remove(index);
        ok(it.close());
        self.stale_loops.push(it.handle);
        self.stale.extend(handles);
    }

    fn open(&mut self, index: usize, kind: Kind, fd: c_int, child: c_int, random: &mut Random) {
        let it = &self.loops[index].0;
        let bits = match kind {
            Kind::Io => it.try_io(fd, READ, |_, _, _| {}).unwrap().bits,
            Kind::Timer => it.timer(1000 * SEC, 0, |_, _| {}).bits,
            Kind::Signal => {
                it.try_signal([libc::SIGUSR1, libc::SIGWINCH][random.below(2)], |_, _, _, _| {}).unwrap().bits
            }
            Kind::Child => it.try_child(child, |_, _, _| {}).unwrap().bits,
            Kind::Hook => it.hook([PREPARE, CHECK][random.below(2)], |_, _| {}).bits,
        };
        self.note_new(bits);
        self.loops[index].1.push((kind, bits));
    }

    fn check(&self, random: &mut Random) {
        for (it, handles) in &self.loops {
            assert_eq!(it.statistics().handles, handles.len() as u64);
            let Some((kind, bits)) = handles.get(random.below(handles.len().max(1))) else { continue };
            ok(kind.touch(*bits));
            // Of another kind, of another generation, of another place, of another slot.
            for other in KINDS.iter().filter(|other| *other != kind) {
                assert_eq!(other.touch(*bits), EHANDLE, "{other:?} for {kind:?}");
                assert_eq!(other.close(*bits), EHANDLE, "{other:?} for {kind:?}");
            }
            let forged = (*kind, bits ^ 1 << random.below(64));
            if !self.loops.iter().any(|(_, handles)| handles.contains(&forged)) {
                assert_eq!(kind.close(forged.1), EHANDLE, "{:#x} forged from {bits:#x}", forged.1);
            }
            assert_eq!(kind.touch(it.handle.bits), EHANDLE);
            assert_eq!(gyre_loop_run(gyre_loop { bits: *bits }, NOWAIT), EHANDLE);
        }
        for _ in 0..4 {
            let Some((_, bits)) = self.stale.get(random.below(self.stale.len().max(1))) else { break };
            for kind in KINDS {
                assert_eq!((kind.touch(*bits), kind.close(*bits)), (EHANDLE, EHANDLE), "{kind:?} {bits:#x}");
            }
        }
        if let Some(handle) = self.stale_loops.get(random.below(self.stale_loops.len().max(1))) {
            assert_eq!(gyre_loop_run(*handle, NOWAIT), EHANDLE);
            assert_eq!((gyre_loop_close(*handle), gyre_loop_wake(*handle)), (EHANDLE, EHANDLE));
        }
    }
}

fn random_sequence(seed: u64) {
    let (ours, _theirs) = pipe();
    let child = Sleeper::new();
    let mut random = Random::new(seed);
    let mut model = Model::new();
    for _ in 0..3000 {
        let index = random.below(model.loops.len().max(1));
        match random.below(100) {
            0..5 if model.loops.len() < 4 => model.open_loop(&mut random),
            _ if model.loops.is_empty() => model.open_loop(&mut random),
            0..3 => model.close_loop(index),
            3..6 => _ = model.loops[index].0.run(NOWAIT),
            // Grows up to a size, then goes up and down around it.
            dice if dice < 60 && model.loops[index].1.len() < 60 => {
                let kind = KINDS[random.below(5)];
                model.open(index, kind, ours.as_raw_fd(), child.0.id() as c_int, &mut random);
            }
            _ => {
                let handles = &mut model.loops[index].1;
                if !handles.is_empty() {
                    let (kind, bits) = handles.swap_remove(random.below(handles.len()));
                    ok(kind.close(bits));
                    model.stale.push((kind, bits));
                }
            }
        }
        model.check(&mut random);
    }
    assert!(model.stale.len() > 500 && model.stale_loops.len() > 10);
}

#[test]
fn in_any_sequence_a_handle_is_good_from_its_open_to_its_close_and_never_again() {
    let _alone = alone();
    for seed in 1..=6 {
        // A panic tells the seed, which is all that is needed to see it again.
        let outcome = std::panic::catch_unwind(|| random_sequence(seed));
        if let Err(panic) = outcome {
            say(&format!("random_sequence({seed}) failed"));
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn one_place_gives_out_new_handles_each_time_it_is_opened() {
    let _alone = alone();
    let mut ever = HashSet::new();
    let mut places = HashSet::new();
    for round in 0..2000 {
        let it = Loop::open(POLL);
        places.insert(it.handle.bits as u32);
        for _ in 0..round % 4 {
            assert!(ever.insert(it.timer(FOREVER, 0, |_, _| {}).bits));
        }
        let closed = it.timer(FOREVER, 0, |_, _| {});
        assert!(ever.insert(closed.bits) && ever.insert(it.handle.bits));
        ok(gyre_timer_close(closed)); // closed before the loop or with it: no matter
    }
    assert_eq!(places.len(), 1, "it was to be one place");
}

#[test]
fn bits_made_up_are_no_handle() {
    let _alone = alone();
    let it = Loop::open(EPOLL);
    let mut random = Random::new(7);
    let place = it.handle.bits & 0xff00_0000;
    for number in 0..20_000 {
        let bits = match number {
            0 => 0,
            1 => u64::MAX,
            2 => 1,
            number if number % 2 == 0 => random.next(),
            _ => random.next() & 0x0000_000f_0000_00ff | place, // close to what is there
        };
        for kind in KINDS {
            assert_eq!(kind.close(bits), EHANDLE, "{kind:?} {bits:#x}");
        }
        if bits != it.handle.bits {
            assert_eq!(gyre_loop_stop(gyre_loop { bits }), EHANDLE);
            assert_eq!(gyre_loop_close(gyre_loop { bits }), EHANDLE);
        }
    }
    assert!(!it.turn(0));
}

#[test]
fn the_256th_loop_is_refused_and_leaves_the_others_as_they_are() {
    let _alone = alone();
    let mut loops: Vec<Rc<Loop<'_>>> = Vec::new();
    let refused = loop {
        match Loop::open_with(&options(POLL)) {
            Ok(it) => loops.push(it),
            Err(status) => break status,
        }
        assert!(loops.len() <= 255);
    };
    assert_eq!((loops.len(), refused), (255, EFULL));
    assert_eq!(loops.iter().map(|it| it.handle.bits).collect::<HashSet<_>>().len(), 255);
    loops.swap_remove(100);
    loops.push(Loop::open(SELECT));
    for it in &loops {
        it.post(|_| {});
        assert_eq!(it.run(DEFAULT), 0);
    }
}
