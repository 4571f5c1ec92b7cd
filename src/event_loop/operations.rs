//! Operations: the proactor's face. What waits for readiness is carried out here, on the descriptors that `io.rs` keeps; files
//! go to the engine, and operations on sockets too if it takes them (`transfers.rs`).
//!
//! An operation goes through these states:
//!
//! ```text
//!   Queued ----> Waiting (for readiness) ---------------> Completed ---> told, and its handle is dead
//!          \---> Running (in the engine) ---> Ending ---/
//! ```
//!
//! Contract: P1 to P7 of [`crate::proactor`]. Besides:
//! 1. An operation is in one list: its descriptor's `reads`, `writes` or `others`, or the list of completed ones.
//! 2. Of `reads` and `writes` only the head is Waiting, Running or Ending (P4). Ending is a `_many` operation whose end is
//!    known, and not told before its results, or before it is resumed.
//! 3. By readiness, writes are tried at once, since there is nearly always room; their completion still comes out of the dispatch (P1).
//! 4. A `_many` operation is told of each result while it stays Waiting, and completes once, at the end.

use super::buffers::Buffers;
use super::callback::gyre_op_cb;
use super::core::{Call, Core};
use super::slots::{Kind, List, NONE, Object};
use super::transfers::Results;
use crate::demux::Events;
use crate::proactor::{Engine, Job, Work};
use crate::status::{Result, Status};
use crate::sys::clock::{FOREVER, monotonic_ns};
use crate::sys::descriptor::check_open;
use crate::sys::io::{self, Address, Class, class_of};
use crate::sys::memory::{UserData, reserve_to, try_box};
use core::ffi::c_int;
use std::os::fd::RawFd;

/// What an operation does. The pointers are the caller's.
#[derive(Clone, Copy)]
pub enum Ask {
    /// Read, write or sync.
    File(Work),
    /// recv(2).
    Recv { buf: *mut u8, len: usize, flags: c_int },
    /// send(2); `all` completes when everything is sent.
    Send { buf: *const u8, len: usize, flags: c_int, all: bool },
    /// recvmsg(2).
    RecvMessage { message: *mut libc::msghdr, flags: c_int },
    /// sendmsg(2).
    SendMessage { message: *const libc::msghdr, flags: c_int },
    /// accept(2).
    Accept,
    /// connect(2).
    Connect { address: *const libc::sockaddr, len: libc::socklen_t },
    /// Accept until an error or a cancel.
    AcceptMany,
    /// Receive into the library's buffers until the end of the stream, an error or a cancel.
    ReceiveMany,
    /// close(2).
    Close,
    /// Nothing, for a time.
    Sleep,
}

impl Ask {
    pub fn is_many(self) -> bool {
        matches!(self, Ask::AcceptMany | Ask::ReceiveMany)
    }

    /// Whether it asks for no bytes at all, for which nothing has to be waited for.
    pub fn is_empty(self) -> bool {
        matches!(self, Ask::File(Work::Read { len: 0, .. } | Work::Readv { count: 0, .. }) | Ask::Recv { len: 0, .. })
    }

    /// What the caller's buffer is, to be told with the completion.
    fn buffer(self) -> (*mut u8, usize) {
        match self {
            Ask::File(Work::Read { buf, len }) | Ask::Recv { buf, len, .. } => (buf, len),
            Ask::File(Work::Write { buf, len }) | Ask::Send { buf, len, .. } => (buf.cast_mut(), len),
            _ => (core::ptr::null_mut(), 0),
        }
    }
}

/// Which of a descriptor's lists an operation is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
    /// At an offset, or not on a descriptor's data at all: concurrent.
    Free,
}

/// How far an operation is; the module's documentation has the picture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    Waiting,
    Running,
    Ending,
    Completed,
}

/// An operation's slot.
pub struct Op {
    callback: gyre_op_cb,
    operation: Box<Operation>,
}

impl Op {
    /// Whether it can still bring a callback by itself: not while it is paused.
    pub fn is_active(&self) -> bool {
        !self.operation.paused || self.operation.ended_by != 0 || self.operation.state == State::Completed
    }

    /// Notes that the engine was asked for it back, if it has it.
    pub fn note_asked_back(&mut self) {
        self.operation.cancel_asked |= self.operation.state == State::Running;
    }

    /// The descriptor, for people.
    pub fn fd(&self) -> RawFd {
        self.operation.fd
    }
}

/// What an operation needs beside its slot.
pub struct Operation {
    pub ask: Ask,
    pub fd: RawFd,
    offset: i64,
    pub class: Class,
    direction: Direction,
    pub state: State,
    pub paused: bool,
    /// Whether it waits for a library-owned buffer to come back.
    pub starved: bool,
    /// How often it has found no buffer since it last got one.
    pub hunger: u32,
    /// Whether it has room in the heap of timers.
    timed: bool,
    /// What ends it before its time: -ECANCELED or -ETIMEDOUT; 0 for nothing.
    pub ended_by: i32,
    /// Whether the engine was asked for it back: to be paused, or ended.
    pub cancel_asked: bool,
    /// The batch in which it was submitted: readiness reported then is not for it.
    opened_in: u32,
    /// What was sent of a send that completes when all is.
    pub sent: usize,
    result: i64,
    pub peer: Address,
}

/// The operations of one descriptor.
#[derive(Clone, Copy)]
struct Queues {
    reads: List,
    writes: List,
    others: List,
    /// The close that waits for the others to end.
    closing: u32,
    /// What the heads wait for.
    waiting: Events,
    /// What stands behind the descriptor, as found out for the operations that are pending on it.
    class: Option<Class>,
}

impl Queues {
    const EMPTY: Queues = Queues {
        reads: List::EMPTY,
        writes: List::EMPTY,
        others: List::EMPTY,
        closing: NONE,
        waiting: Events::NONE,
        class: None,
    };

    fn is_quiet(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    fn list(&mut self, direction: Direction) -> &mut List {
        match direction {
            Direction::In => &mut self.reads,
            Direction::Out => &mut self.writes,
            Direction::Free => &mut self.others,
        }
    }
}

fn interest_of(direction: Direction) -> Events {
    if direction == Direction::Out { Events::WRITE } else { Events::READ }
}

/// How many connections an `accept_many` takes from one report of readiness.
pub const ACCEPT_BATCH: u32 = 16;

/// The operations of a loop.
pub struct Operations {
    pub engine: Box<dyn Engine>,
    queues: Vec<Queues>,
    /// Sleeps, which have no descriptor.
    sleeping: List,
    completed: List,
    completed_count: usize,
    /// How many of the completed ones this turn tells.
    quota: usize,
    in_flight: usize,
    /// How many the engine has.
    pub running: usize,
    capacity: usize,
    pub buffers: Buffers,
    pub results: Results,
    /// What the last call was about; kept while the caller's function may look at it.
    pub current: Current,
}

/// What is kept from one call to the next.
pub struct Current {
    /// The operation that completed: the peer's address in it was shown.
    operation: Option<Box<Operation>>,
    /// The `recv_many` whose buffer was shown, and that buffer.
    pub bits: u64,
    pub buffer: u32,
}

impl Operations {
    /// No operations.
    pub fn new(engine: Box<dyn Engine>, capacity: usize, buffer_size: usize, buffer_count: usize) -> Operations {
        Operations {
            engine,
            queues: Vec::new(),
            sleeping: List::EMPTY,
            completed: List::EMPTY,
            completed_count: 0,
            quota: 0,
            in_flight: 0,
            running: 0,
            capacity,
            buffers: Buffers::new(buffer_size, buffer_count),
            results: Results::EMPTY,
            current: Current { operation: None, bits: 0, buffer: NONE },
        }
    }

    fn queues(&mut self, fd: RawFd) -> Option<&mut Queues> {
        self.queues.get_mut(fd as u32 as usize)
    }

    /// What the operations of a descriptor wait for.
    #[inline]
    pub fn waiting(&self, fd: RawFd) -> Events {
        self.queues.get(fd as u32 as usize).map_or(Events::NONE, |queues| queues.waiting)
    }

    /// Whether operations are to be told.
    #[inline]
    pub fn has_completed(&self) -> bool {
        self.completed_count > 0 || self.results.has_some()
    }

    /// Whether the engine has nothing that is done.
    pub fn is_nothing_ready(&mut self) -> bool {
        self.running == 0 || self.engine.ready() == 0
    }

    /// Whether the loop is to wait in the engine, if it can.
    #[inline]
    pub fn wants_to_wait(&self) -> bool {
        self.running > 0 && self.engine.wants_to_wait()
    }

    /// Hands to the kernel what was started since the last wait (P5).
    #[inline]
    pub fn submit(&mut self) {
        if self.running > 0 {
            self.engine.submit();
        }
    }

    /// Whether `fd` is a descriptor of the engine's own.
    pub fn owns(&self, fd: RawFd) -> bool {
        self.engine.owns(fd)
    }

    /// Whether there are operations on a descriptor.
    pub fn has_any(&self, fd: RawFd) -> bool {
        self.queues
            .get(fd as u32 as usize)
            .is_some_and(|queues| !queues.reads.is_empty() || !queues.writes.is_empty() || !queues.others.is_empty())
    }

    /// How many operations were accepted and not told.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn reserve(&mut self, fd: RawFd) -> Result<()> {
        let end = usize::try_from(fd).map_err(|_| Status::EBADF)?.saturating_add(1);
        if end > self.queues.len() {
            check_open(fd)?; // before the table grows for a number that is no descriptor
            reserve_to(&mut self.queues, end)?;
            self.queues.resize(end, Queues::EMPTY);
        }
        Ok(())
    }
}

/// What became of an attempt to carry out an operation.
enum Attempt {
    /// The result, or a negative status.
    Done(i64),
    /// Nothing can be done before the descriptor is ready.
    NotReady,
    /// A `_many` operation has a result and goes on: bytes or descriptor, and the library's buffer.
    More(i64, u32),
    /// All of the library's buffers are out.
    Starved,
}

fn attempted(result: Result<usize>) -> Attempt {
    match result {
        Ok(bytes) => Attempt::Done(bytes as i64),
        Err(Status::EAGAIN) => Attempt::NotReady,
        Err(status) => Attempt::Done(i64::from(status.code())),
    }
}

impl Operation {
    /// Tries to carry the operation out without waiting.
    fn attempt(&mut self, buffers: &mut Buffers) -> Attempt {
        let (fd, class) = (self.fd, self.class);
        match self.ask {
            Ask::Recv { buf, len, flags } => attempted(io::recv(fd, buf, len, flags)),
            Ask::Send { buf, len, flags, all: false } => attempted(io::send(fd, buf, len, flags)),
            Ask::Send { buf, len, flags, all: true } => loop {
                match io::send(fd, buf.wrapping_add(self.sent), len.saturating_sub(self.sent), flags) {
                    Ok(bytes) => self.sent = self.sent.saturating_add(bytes),
                    failed => return attempted(failed),
                }
                if self.sent >= len {
                    return Attempt::Done(self.sent as i64);
                }
            },
            Ask::RecvMessage { message, flags } => attempted(io::recvmsg(fd, message, flags)),
            Ask::SendMessage { message, flags } => attempted(io::sendmsg(fd, message, flags)),
            Ask::Accept => attempted(io::accept(fd, &mut self.peer).map(|fd| fd as usize)),
            Ask::AcceptMany => match io::accept(fd, &mut self.peer) {
                Ok(accepted) => Attempt::More(i64::from(accepted), NONE),
                failed => attempted(failed.map(|_| 0)),
            },
            Ask::Connect { .. } => attempted(io::connected(fd).map(|()| 0)),
            Ask::ReceiveMany => match buffers.take() {
                Ok(None) => Attempt::Starved,
                Err(status) => attempted(Err(status)),
                Ok(Some(index)) => match io::recv(fd, buffers.address(index), buffers.size(), 0) {
                    Ok(bytes) if bytes > 0 => Attempt::More(bytes as i64, index),
                    result => {
                        buffers.give_back(index);
                        attempted(result)
                    }
                },
            },
            Ask::File(Work::Read { buf, len }) => {
                let piece = libc::iovec { iov_base: buf.cast(), iov_len: len };
                attempted(io::read_ready(fd, class, &piece, 1))
            }
            Ask::File(Work::Write { buf, len }) => {
                let piece = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len };
                attempted(io::write_ready(fd, class, &piece, 1))
            }
            Ask::File(Work::Readv { iov, count }) => attempted(io::read_ready(fd, class, iov, count)),
            Ask::File(Work::Writev { iov, count }) => attempted(io::write_ready(fd, class, iov, count)),
            Ask::File(Work::Sync { .. }) | Ask::Close | Ask::Sleep => Attempt::Done(i64::from(Status::EINVAL.code())),
        }
    }

    /// Whether the engine carries it out.
    fn is_for_the_engine(&self) -> bool {
        match self.ask {
            Ask::File(Work::Sync { .. }) => true,
            Ask::File(_) => self.class == Class::File,
            _ => false,
        }
    }
}

impl Core {
    // ---- submitting ----

    /// Accepts an operation on a descriptor; `offset` is -1 for a stream or the file position.
    pub fn op_open(
        &mut self,
        fd: RawFd,
        offset: i64,
        ask: Ask,
        callback: gyre_op_cb,
        user_data: UserData,
    ) -> Result<u64> {
        if callback.is_none() {
            return Err(Status::EINVAL);
        }
        self.operations.reserve(fd)?;
        if self.operations.queues(fd).is_none_or(|queues| queues.closing != NONE) {
            return Err(Status::EBADF);
        }
        let class = match ask {
            Ask::File(_) if offset >= 0 => self.known_class_of(fd)?,
            Ask::File(_) | Ask::Close => class_of(fd)?,
            _ => Class::Socket,
        };
        if matches!(ask, Ask::ReceiveMany) {
            let room = self.operations.in_flight.saturating_add(1);
            reserve_to(&mut self.operations.results.starved, room)?;
        }
        // Where nothing else finds out: an engine tells only later that there is no such descriptor. What others are
        // pending on was open when they came.
        let is_unchecked = self.operations.engine.takes_sockets() && !matches!(ask, Ask::File(_) | Ask::Close);
        if is_unchecked && self.operations.queues(fd).is_some_and(|queues| queues.is_quiet()) {
            check_open(fd)?;
        }
        if class != Class::File && offset > 0 && matches!(ask, Ask::File(_)) {
            return Err(Status::ESPIPE);
        }
        let positioned = offset >= 0 && class == Class::File;
        let direction = match ask {
            Ask::File(Work::Sync { .. }) | Ask::Close | Ask::Sleep => Direction::Free,
            Ask::File(_) if positioned => Direction::Free,
            // Reads and writes share the file position, so they share a queue.
            Ask::File(_) if class == Class::File => Direction::In,
            Ask::File(Work::Write { .. } | Work::Writev { .. }) => Direction::Out,
            Ask::Send { .. } | Ask::SendMessage { .. } | Ask::Connect { .. } => Direction::Out,
            _ => Direction::In,
        };
        let head = self.operations.queues(fd).map_or(NONE, |queues| queues.list(direction).head);
        if direction != Direction::Free
            && let Some(first) = self.operation(head)
            && (first.ask.is_many() || ask.is_many())
        {
            return Err(Status::EBUSY);
        }
        if direction != Direction::Free && self.is_handled(fd) {
            return Err(Status::EBUSY); // a stream's, or a listener's
        }
        let index = self.op_insert(fd, offset, ask, class, direction, callback, user_data)?;
        if let Some(queues) = self.operations.queues.get_mut(fd as u32 as usize) {
            self.slots.push_back(queues.list(direction), index);
        }
        if (direction == Direction::Free || head == NONE)
            && let Err(status) = self.start(index)
        {
            self.op_unlink(index);
            self.op_remove(index);
            return Err(status);
        }
        Ok(self.slots.bits(index))
    }

    /// What stands behind a descriptor, as it is known while operations are pending on it. It may be another file by now, if
    /// the host has closed the number beneath them: for operations at an offset, which wait on no kind of file.
    fn known_class_of(&mut self, fd: RawFd) -> Result<Class> {
        let Some(queues) = self.operations.queues(fd) else { return class_of(fd) };
        let is_pending = !(queues.is_quiet() && queues.others.is_empty());
        match queues.class {
            Some(class) if is_pending => Ok(class),
            _ => {
                let class = class_of(fd)?;
                queues.class = Some(class);
                Ok(class)
            }
        }
    }

    /// Accepts a sleep.
    pub fn op_sleep(&mut self, delay: u64, callback: gyre_op_cb, user_data: UserData) -> Result<u64> {
        if callback.is_none() {
            return Err(Status::EINVAL);
        }
        let index = self.op_insert(-1, -1, Ask::Sleep, Class::Stream, Direction::Free, callback, user_data)?;
        self.slots.push_back(&mut self.operations.sleeping, index);
        let bits = self.slots.bits(index);
        if let Err(status) = self.op_arm(index, monotonic_ns().saturating_add(delay)) {
            self.op_unlink(index);
            self.op_remove(index);
            return Err(status);
        }
        Ok(bits)
    }

    /// Accepts the close of a descriptor (P6).
    pub fn op_close_fd(&mut self, fd: RawFd, callback: gyre_op_cb, user_data: UserData) -> Result<u64> {
        if self.descriptor_has_watchers(fd) {
            return Err(Status::EBUSY);
        }
        let bits = self.op_open(fd, -1, Ask::Close, callback, user_data)?;
        let index = self.slots.find(bits, Kind::Op)?;
        if let Some(queues) = self.operations.queues(fd) {
            queues.closing = index;
        }
        for direction in [Direction::In, Direction::Out, Direction::Free] {
            self.cancel_all(fd, direction, index, Status::ECANCELED);
        }
        self.close_when_quiet(fd);
        Ok(bits)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one struct, named where they are given")]
    fn op_insert(
        &mut self,
        fd: RawFd,
        offset: i64,
        ask: Ask,
        class: Class,
        direction: Direction,
        callback: gyre_op_cb,
        user_data: UserData,
    ) -> Result<u32> {
        if self.operations.in_flight >= self.operations.capacity {
            return Err(Status::EFULL);
        }
        let operation = try_box(Operation {
            ask,
            fd,
            offset,
            class,
            direction,
            state: State::Queued,
            paused: false,
            starved: false,
            hunger: 0,
            timed: false,
            ended_by: 0,
            cancel_asked: false,
            opened_in: self.batch_number,
            sent: 0,
            result: 0,
            peer: Address::EMPTY,
        })?;
        let index = self.slots.insert(Object::Op(Op { callback, operation }), user_data)?;
        self.operations.in_flight = self.operations.in_flight.saturating_add(1);
        Ok(index)
    }

    pub fn operation(&mut self, index: u32) -> Option<&mut Operation> {
        match self.slots.get_mut(index).map(|slot| &mut slot.object) {
            Some(Object::Op(op)) => Some(&mut op.operation),
            _ => None,
        }
    }

    /// Begins to carry out an operation. Fails only when that cannot even be begun; what the operation itself comes to is
    /// its result.
    pub fn start(&mut self, index: u32) -> Result<()> {
        let bits = self.slots.bits(index);
        let Some(Object::Op(Op { operation, .. })) = self.slots.get_mut(index).map(|slot| &mut slot.object) else {
            return Ok(());
        };
        let (fd, direction, offset, ask) = (operation.fd, operation.direction, operation.offset, operation.ask);
        if operation.is_for_the_engine() {
            let Ask::File(work) = ask else { return Ok(()) };
            self.operations.engine.start(bits, Job { fd, offset, work })?;
            self.note_running(index);
            return Ok(());
        }
        if self.operations.engine.takes_sockets()
            && let Some(transfer) = operation.transfer()
        {
            return self.start_transfer(index, &transfer);
        }
        if matches!(ask, Ask::Close) {
            operation.state = State::Waiting;
            return Ok(());
        }
        if let Ask::Connect { address, len } = ask {
            match io::connect(fd, address, len) {
                Ok(true) => return self.finish_start(index, 0),
                Ok(false) => {}
                Err(status @ (Status::EBADF | Status::EINVAL)) => return Err(status),
                Err(status) => return self.finish_start(index, i64::from(status.code())),
            }
        } else if direction == Direction::Out || ask.is_empty() {
            match operation.attempt(&mut self.operations.buffers) {
                Attempt::Done(result) if result == i64::from(Status::EBADF.code()) => return Err(Status::EBADF),
                Attempt::Done(result) => return self.finish_start(index, result),
                _ => {}
            }
        }
        let for_a_socket = direction == Direction::In && !matches!(ask, Ask::File(_));
        // Once a registration, so that what is no socket is told at once, and not when it becomes readable.
        if for_a_socket && !self.is_known_socket(fd) && class_of(fd)? != Class::Socket {
            return self.finish_start(index, i64::from(Status::ENOTSOCK.code()));
        }
        if let Some(operation) = self.operation(index) {
            operation.state = State::Waiting;
        }
        self.wait_for(fd, interest_of(direction))?;
        if for_a_socket {
            self.note_socket(fd);
        }
        Ok(())
    }

    fn finish_start(&mut self, index: u32, result: i64) -> Result<()> {
        self.complete(index, result);
        Ok(())
    }

    /// Has the demultiplexer report when the descriptor is ready.
    pub fn wait_for(&mut self, fd: RawFd, interest: Events) -> Result<()> {
        let before = self.operations.waiting(fd);
        if let Some(queues) = self.operations.queues(fd) {
            queues.waiting |= interest;
        }
        if before.intersects(interest) {
            return Ok(());
        }
        let result = self.register_operations(fd, interest, before);
        if result.is_err()
            && let Some(queues) = self.operations.queues(fd)
        {
            queues.waiting = before;
        }
        result
    }

    pub fn stop_waiting(&mut self, fd: RawFd, interest: Events) {
        if let Some(queues) = self.operations.queues(fd)
            && queues.waiting.intersects(interest)
        {
            queues.waiting = queues.waiting & !interest;
            self.note_operations_changed(fd);
        }
    }

    // ---- completing ----

    /// Gives an operation its result; it is told by the dispatch.
    pub fn complete(&mut self, index: u32, result: i64) {
        let Some(operation) = self.operation(index) else { return };
        if operation.state == State::Completed {
            return;
        }
        let (fd, direction) = (operation.fd, operation.direction);
        self.op_unlink(index);
        let Some(operation) = self.operation(index) else { return };
        operation.state = State::Completed;
        operation.result = result;
        self.slots.refresh(index);
        self.slots.push_back(&mut self.operations.completed, index);
        self.operations.completed_count = self.operations.completed_count.saturating_add(1);
        if direction != Direction::Free {
            self.advance(fd, direction);
        }
        self.close_when_quiet(fd);
    }

    /// Takes an operation out of its descriptor's list, and out of what the descriptor waits for and the heap of timers.
    fn op_unlink(&mut self, index: u32) {
        let Some(operation) = self.operation(index) else { return };
        let (fd, direction, state) = (operation.fd, operation.direction, operation.state);
        self.timers.disarm(index);
        if fd < 0 {
            self.slots.unlink(&mut self.operations.sleeping, index);
            return;
        }
        if state == State::Running {
            self.operations.running = self.operations.running.saturating_sub(1);
        }
        self.note_fed(index);
        if let Some(queues) = self.operations.queues.get_mut(fd as u32 as usize) {
            self.slots.unlink(queues.list(direction), index);
        }
    }

    /// Starts what has become the head of a list, and waits no more for readiness that nobody needs.
    fn advance(&mut self, fd: RawFd, direction: Direction) {
        let head = self.operations.queues(fd).map_or(NONE, |queues| queues.list(direction).head);
        if self.operation(head).is_some_and(|first| first.state == State::Queued)
            && let Err(status) = self.start(head)
        {
            self.complete(head, i64::from(status.code()));
        }
        let head = self.operations.queues(fd).map_or(NONE, |queues| queues.list(direction).head);
        let needed = |first: &Operation| first.state == State::Waiting && !first.paused && !first.starved;
        if !self.operation(head).is_some_and(|first| needed(first)) {
            self.stop_waiting(fd, interest_of(direction));
        }
    }

    /// Carries out a close once nothing is left on the descriptor.
    fn close_when_quiet(&mut self, fd: RawFd) {
        let Some(queues) = self.operations.queues(fd) else { return };
        let closing = queues.closing;
        let mut rest = *queues;
        if closing == NONE {
            return;
        }
        let only_the_close = rest.reads.is_empty()
            && rest.writes.is_empty()
            && rest.list(Direction::Free).head == closing
            && self.slots.get(closing).is_some_and(|slot| slot.next == NONE);
        if !only_the_close {
            return;
        }
        if let Some(queues) = self.operations.queues(fd) {
            queues.closing = NONE;
        }
        self.forget_descriptor(fd); // before the number is free for another file
        let result = match io::close(fd) {
            Ok(()) => 0,
            Err(status) => i64::from(status.code()),
        };
        self.complete(closing, result);
    }

    /// Frees the slot of an operation that is in no list.
    fn op_remove(&mut self, index: u32) {
        if self.operation(index).is_some_and(|operation| operation.timed) {
            self.release_timer();
        }
        self.slots.remove(index);
        self.operations.in_flight = self.operations.in_flight.saturating_sub(1);
    }

    /// Begins to tell what is completed now.
    pub fn begin_completions(&mut self) {
        let ready = if self.operations.running > 0 { self.operations.engine.ready() } else { 0 };
        self.begin_results(ready);
        self.operations.quota = self.operations.completed_count;
    }

    /// The next operation to be told of.
    pub fn next_completion(&mut self) -> Option<Call> {
        if self.operations.quota > 0 {
            self.operations.quota = self.operations.quota.saturating_sub(1);
            return self.tell(self.operations.completed.head);
        }
        self.next_result()
    }

    /// The next operation to be told of before the loop goes. Waits for what the engine has.
    pub fn next_last_completion(&mut self) -> Option<Call> {
        loop {
            let call = self.next_completion();
            if call.is_some() {
                return call;
            }
            if self.operations.running > 0 && !self.operations.has_completed() {
                self.operations.engine.drain();
            }
            self.begin_completions();
            if self.operations.running == 0 && !self.operations.has_completed() {
                return None;
            }
        }
    }

    /// Takes a completed operation out of the loop and names its call.
    pub fn tell(&mut self, index: u32) -> Option<Call> {
        let bits = self.slots.bits(index);
        let slot = self.slots.get_mut(index)?;
        let user_data = slot.user_data;
        let Object::Op(_) = &slot.object else { return None };
        self.slots.unlink(&mut self.operations.completed, index);
        self.operations.completed_count = self.operations.completed_count.saturating_sub(1);
        let Object::Op(Op { callback, operation }) = self.slots.take(index)? else { return None };
        if operation.timed {
            self.release_timer();
        }
        self.operations.in_flight = self.operations.in_flight.saturating_sub(1);
        self.statistics.completions = self.statistics.completions.wrapping_add(1);
        let ((buf, len), result, fd) = (operation.ask.buffer(), operation.result, operation.fd);
        let kept = self.operations.current.operation.insert(operation); // the peer's address stays while it is looked at
        let peer =
            if result >= 0 && matches!(kept.ask, Ask::Accept) { kept.peer.parts() } else { (core::ptr::null(), 0) };
        Some(Call::Op { callback, bits, result, fd, more: false, buffer: (buf, len), peer, user_data })
    }

    // ---- readiness ----

    /// Carries out what a report of readiness allows; the next operation to be told of it. `ready` loses what is used up.
    pub fn next_ready_operation(&mut self, fd: RawFd, ready: &mut Events, budget: &mut u32) -> Option<Call> {
        loop {
            let direction = match () {
                () if ready.intersects(Events::READ) => Direction::In,
                () if ready.intersects(Events::WRITE) => Direction::Out,
                () => return None,
            };
            let interest = interest_of(direction);
            let index = self.operations.queues(fd).map_or(NONE, |queues| queues.list(direction).head);
            let batch = self.batch_number;
            let Some(Object::Op(Op { operation, .. })) = self.slots.get_mut(index).map(|slot| &mut slot.object) else {
                *ready = *ready & !interest;
                continue;
            };
            if operation.state != State::Waiting || operation.opened_in == batch || operation.paused {
                *ready = *ready & !interest;
                continue;
            }
            let accepts = matches!(operation.ask, Ask::Accept | Ask::AcceptMany);
            let attempt = operation.attempt(&mut self.operations.buffers);
            if accepts && matches!(attempt, Attempt::Done(_)) {
                self.statistics.accept_calls = self.statistics.accept_calls.wrapping_add(1);
            }
            match attempt {
                Attempt::NotReady => {
                    *ready = *ready & !interest;
                    self.rearm_edge(fd);
                }
                Attempt::Starved => {
                    self.note_starved(index);
                    *ready = *ready & !interest;
                    self.stop_waiting(fd, interest);
                }
                Attempt::Done(result) => {
                    let first = self.operations.completed.is_empty();
                    self.complete(index, result);
                    if first && self.operations.completed.head == index {
                        return self.tell(index);
                    }
                }
                Attempt::More(result, buffer) => {
                    *budget = budget.saturating_sub(1);
                    if buffer != NONE || *budget == 0 {
                        *ready = *ready & !interest; // level-triggered: what is left is reported again
                        *budget = ACCEPT_BATCH;
                        self.rearm_edge(fd);
                    }
                    return self.tell_one_of_many(index, result, buffer);
                }
            }
        }
    }

    /// Names the call for a result of a `_many` operation: bytes in the library's buffer, or a descriptor.
    pub fn tell_one_of_many(&mut self, index: u32, result: i64, buffer: u32) -> Option<Call> {
        let bits = self.slots.bits(index);
        let slot = self.slots.get(index)?;
        let Object::Op(Op { callback, operation }) = &slot.object else { return None };
        let (callback, fd, user_data) = (*callback, operation.fd, slot.user_data);
        if buffer == NONE {
            self.statistics.accept_calls = self.statistics.accept_calls.wrapping_add(1);
        }
        self.operations.current.bits = bits;
        self.operations.current.buffer = buffer;
        self.statistics.completions = self.statistics.completions.wrapping_add(1);
        let len = if buffer == NONE { 0 } else { result as usize };
        let (buf, peer) = (self.operations.buffers.address(buffer), (core::ptr::null(), 0));
        Some(Call::Op { callback, bits, result, fd, more: true, buffer: (buf, len), peer, user_data })
    }

    /// Fails what waits on a descriptor that is gone.
    pub fn fail_operations(&mut self, fd: RawFd) {
        for direction in [Direction::In, Direction::Out] {
            self.cancel_all(fd, direction, NONE, Status::EBADF);
        }
    }

    /// The peer's address and the library's buffer of the last call are not looked at any more.
    #[inline]
    pub fn settle_operations(&mut self) {
        if self.operations.current.operation.is_some() {
            self.operations.current.operation = None;
        }
        if self.operations.current.buffer != NONE {
            let buffer = core::mem::replace(&mut self.operations.current.buffer, NONE);
            self.operations.current.bits = 0;
            self.give_back(buffer);
        }
    }

    // ---- cancel, deadline ----

    /// Asks for an operation not to be carried out (P3).
    pub fn op_cancel(&mut self, index: u32, status: Status) -> Result<()> {
        let Some(operation) = self.operation(index) else { return Err(Status::EHANDLE) };
        if matches!(operation.ask, Ask::Close) {
            return Err(Status::EALREADY);
        }
        if operation.state == State::Completed || operation.ended_by != 0 {
            return Ok(()); // it comes with its result, or with the status that was first
        }
        operation.ended_by = status.code();
        let state = operation.state;
        let partial = operation.sent as i64;
        let result = if partial > 0 { partial } else { i64::from(status.code()) };
        if state != State::Running || self.ask_back(index) {
            self.finish(index, result);
        }
        self.slots.refresh(index); // what is paused keeps the loop alive now, until its end is told
        self.release_held();
        Ok(())
    }

    /// Ends whatever is in a list, but for one.
    fn cancel_all(&mut self, fd: RawFd, direction: Direction, but: u32, status: Status) {
        // Those behind the head go first, or each would be started when the one before it ends.
        while let Some(index) = self.last_not_ended(fd, direction, but) {
            let _ = self.op_cancel(index, status); // found just now, and no close
        }
    }

    fn last_not_ended(&mut self, fd: RawFd, direction: Direction, but: u32) -> Option<u32> {
        let mut index = self.operations.queues(fd)?.list(direction).head;
        let mut last = None;
        while let Some(slot) = self.slots.get(index) {
            if let Object::Op(op) = &slot.object
                && op.operation.ended_by == 0
                && !matches!(op.operation.ask, Ask::Close)
                && index != but
            {
                last = Some(index);
            }
            index = slot.next;
        }
        last
    }

    /// Sets an operation's deadline; 0 clears it.
    pub fn op_timeout(&mut self, index: u32, timeout: u64) -> Result<()> {
        let Some(operation) = self.operation(index) else { return Err(Status::EHANDLE) };
        if matches!(operation.ask, Ask::Sleep | Ask::Close) {
            return Err(Status::EINVAL);
        }
        if operation.state == State::Completed {
            return Ok(()); // it comes with its result
        }
        if timeout == 0 {
            self.timers.disarm(index);
            return Ok(());
        }
        self.op_arm(index, monotonic_ns().saturating_add(timeout))
    }

    fn op_arm(&mut self, index: u32, deadline: u64) -> Result<()> {
        if self.operation(index).is_some_and(|operation| !operation.timed) {
            self.reserve_timer(index)?;
            if let Some(operation) = self.operation(index) {
                operation.timed = true;
            }
        }
        if deadline == FOREVER {
            self.timers.disarm(index);
        } else {
            self.timers.arm(index, deadline);
        }
        Ok(())
    }

    /// An operation's deadline has passed: the end of a sleep, or of the caller's patience.
    pub fn op_expired(&mut self, index: u32) {
        match self.operation(index) {
            Some(operation) if matches!(operation.ask, Ask::Sleep) => self.complete(index, 0),
            Some(_) => {
                let _ = self.op_cancel(index, Status::ETIMEDOUT); // no close: these have no deadline
            }
            None => {}
        }
    }

    // ---- the end ----

    /// Ends all operations; [`Core::next_last_completion`] tells of them, and has then seen to it that the kernel has no use
    /// of any buffer (P7).
    pub fn operations_end(&mut self) {
        for fd in 0..i32::try_from(self.operations.queues.len()).unwrap_or(i32::MAX) {
            for direction in [Direction::In, Direction::Out, Direction::Free] {
                self.cancel_all(fd, direction, NONE, Status::ECANCELED);
            }
        }
        while self.operations.sleeping.head != NONE {
            let _ = self.op_cancel(self.operations.sleeping.head, Status::ECANCELED); // completes it
        }
    }

    /// In a child of fork: what was in flight in the parent is not in flight here.
    pub fn operations_after_fork(&mut self, wake_fd: RawFd) -> Result<()> {
        self.operations.engine.after_fork(wake_fd)?;
        self.operations.results = Results::EMPTY;
        self.take_buffers_back();
        for fd in 0..i32::try_from(self.operations.queues.len()).unwrap_or(i32::MAX) {
            for direction in [Direction::In, Direction::Out, Direction::Free] {
                if let Some(queues) = self.operations.queues(fd) {
                    queues.closing = NONE;
                }
                // From the end on, or each would be started when the one before it ends.
                while let Some(index) = self.operations.queues(fd).and_then(|queues| queues.list(direction).last()) {
                    self.complete(index, i64::from(Status::ECANCELED.code()));
                }
            }
        }
        while self.operations.sleeping.head != NONE {
            let _ = self.op_cancel(self.operations.sleeping.head, Status::ECANCELED);
        }
        Ok(())
    }
}
