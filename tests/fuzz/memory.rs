//! An allocator that counts what lives and the most that lived, and that names the input which asks for far too much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts bytes on top of the system's allocator.
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Beyond this an allocation fails, which ends the process: better than a machine without memory.
const REFUSE_BYTES: usize = 3 << 30;

/// Bytes that live now.
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Starts a new measurement of the most bytes alive.
pub fn restart_peak() {
    PEAK.store(live(), Ordering::Relaxed);
}

/// The most bytes alive since the last [`restart_peak`].
pub fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// Counts before allocating; false when it is too much.
fn grow(bytes: usize) -> bool {
    if live().saturating_add(bytes) > REFUSE_BYTES {
        if !REFUSED.swap(true, Ordering::Relaxed) {
            // Standard error has no buffer, so this allocates nothing.
            let _ = writeln!(std::io::stderr(), "fuzz: input {} allocates {bytes} bytes at once or in sum", super::current_input());
        }
        return false;
    }
    let now = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
    true
}

// SAFETY: every call is passed on to the system's allocator with its arguments unchanged; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises about the layout hold for the system's allocator too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from the system's allocator with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if !grow(bytes) {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from the system's allocator with this layout; the caller promises a valid new size.
        unsafe { System.realloc(at, layout, bytes) }
    }
}
