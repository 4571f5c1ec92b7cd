//! Another Rust library, which uses the allocator, threads and unwinding of its own copy of std.

/// Seven: what a panic in a thread carries, caught.
#[no_mangle]
pub extern "C" fn other_catches_a_panic() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    let panicked = std::thread::spawn(|| std::panic::panic_any(vec![3, 4])).join();
    let payload = panicked.err().and_then(|payload| payload.downcast::<Vec<i32>>().ok());
    payload.map_or(0, |numbers| numbers.iter().sum())
}
