//! The global allocator of tests that look for secrets in freed memory; ssl-async's tests include this file too. It is the
//! whole process's, so such a test has a file of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An allocator that searches every block for a pattern when it is freed.
struct SearchingAllocator;

/// Unlike anything else that these tests free.
/// A static: a constant would be copied to the stack wherever it is used, and from there into what new values leave unset.
pub(crate) static PATTERN: [u8; 24] = *b"\xA5secret to be wiped!\x5A\xC3\x3C\xFE";

static FOUND: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded to the system's allocator; `dealloc` only reads the block before.
unsafe impl GlobalAlloc for SearchingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut matched = 0;
        for at in 0..layout.size() {
            // SAFETY: `at` is within the block.
            let byte = unsafe { block.add(at) };
            // SAFETY: the block is alive, and its bytes were initialised when it was allocated.
            let byte = unsafe { byte.read_volatile() };
            matched = if byte == PATTERN[matched] {
                matched + 1
            } else {
                usize::from(byte == PATTERN[0])
            };
            if matched == PATTERN.len() {
                FOUND.fetch_add(1, Ordering::SeqCst);
                matched = 0;
            }
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: SearchingAllocator = SearchingAllocator;

pub(crate) fn pattern() -> Vec<u8> {
    PATTERN.to_vec()
}

/// The number of times that a block with the pattern was freed during `run`.
pub(crate) fn freed_with_pattern(run: impl FnOnce()) -> usize {
    let before = FOUND.load(Ordering::SeqCst);
    run();
    FOUND.load(Ordering::SeqCst) - before
}
