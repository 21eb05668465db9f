//! Secrets that jobs leave on their stacks.

use std::hint::black_box;
use std::mem::MaybeUninit;

use job_core::{JobPool, pause};

/// The size of a secret in bytes.
pub(crate) const SIZE: usize = 64;

/// Leaves a secret at the lower end of a frame of `N` bytes that is not written otherwise. Returns
/// its address.
#[inline(never)]
pub(crate) fn leave<const N: usize>() -> usize {
    let mut frame = MaybeUninit::<[u8; N]>::uninit();
    let lowest = frame.as_mut_ptr().cast::<u8>();
    for nth in 0..SIZE {
        // SAFETY: within the frame.
        let byte = unsafe { lowest.add(nth) };
        // SAFETY: as above.
        unsafe { byte.write_volatile(0x5A) };
    }
    black_box(&frame);
    lowest.expose_provenance()
}

/// Counts the bytes of a secret that are still there.
pub(crate) fn remaining(at: usize) -> usize {
    let is_there = |nth| {
        let byte = std::ptr::with_exposed_provenance::<u8>(at + nth);
        // SAFETY: memory of a stack of a pool that is alive, and no job is on it.
        unsafe { byte.read_volatile() == 0x5A }
    };
    (0..SIZE).filter(|&nth| is_there(nth)).count()
}

/// Has `N` jobs that are live at the same time leave a secret each. Returns the addresses, in the
/// order in which the jobs ended.
pub(crate) fn in_jobs<const N: usize>(pool: &JobPool, leave: fn() -> usize) -> [usize; N] {
    let start = || {
        let step = pool.start(move || {
            let _ = pause();
            leave()
        });
        step.unwrap().paused().unwrap()
    };
    [(); N].map(|()| start()).map(|job| job.resume().finished().unwrap())
}
