//! The simulated machine's clock and entropy, for all of the process: what the standard library, tokio, uuid and rand take from the C library.
//!
//! The two functions are defined here, so the linker takes these for the C library's. Before [`Machine::start`] they ask the system. So no
//! crate needs to know that its time and its random numbers are simulated.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;

/// `CLOCK_REALTIME` and `CLOCK_REALTIME_COARSE` of Linux; all others count from the start of something.
const REALTIME: [c_int; 2] = [0, 5];
const NANOS: u64 = 1_000_000_000;

static STARTED: AtomicBool = AtomicBool::new(false);
/// Nanoseconds since 1970.
static NOW: AtomicU64 = AtomicU64::new(0);
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// Simulates time and entropy from now on: it is `since_1970`, and stays so until [`advance_to`].
pub(crate) fn start(seed: u64, since_1970: Duration) {
    RANDOM.store(seed, Ordering::Relaxed);
    advance_to(since_1970);
    STARTED.store(true, Ordering::Relaxed);
}

/// Sets the clock.
pub(crate) fn advance_to(since_1970: Duration) {
    NOW.store(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The C library's `struct timespec` on 64-bit Linux.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

/// `clock_gettime(2)`.
///
/// # Safety
/// `time` points to a `struct timespec` that may be written.
#[expect(unsafe_code, reason = "takes the place of a function of the C library")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let now = if STARTED.load(Ordering::Relaxed) {
        let now = NOW.load(Ordering::Relaxed);
        Timespec { seconds: (now / NANOS).cast_signed(), nanos: (now % NANOS).cast_signed() }
    } else {
        let real = if REALTIME.contains(&clock) { ClockId::Realtime } else { ClockId::Monotonic };
        let real = rustix::time::clock_gettime(real);
        Timespec { seconds: real.tv_sec, nanos: real.tv_nsec }
    };
    // SAFETY: the caller's promise, which is that of the C function.
    unsafe { time.write(now) };
    0
}

/// `getrandom(2)`.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written.
#[expect(unsafe_code, reason = "takes the place of a function of the C library")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise, which is that of the C function; the bytes are written only.
    let bytes = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    if STARTED.load(Ordering::Relaxed) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
        }
        return length.cast_signed();
    }
    match rustix::rand::getrandom(bytes, GetRandomFlags::empty()) {
        Ok(read) => read.cast_signed(),
        Err(_) => -1,
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn next() -> u64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut z = RANDOM.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
