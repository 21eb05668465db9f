//! Makes and keeps stacks: large reservations, cut into slots with a guard zone each, as drawn at
//! [`Shape`].
//!
//! A slot that was never used costs no memory. A paused job that stays within its top page costs that
//! page and its share of the page tables, which is the stride divided by 512.
//!
//! # Wiping
//!
//! The high-water mark is the deepest use of a stack known. An idle stack is overwritten down to the
//! mark, or down to the lowest page that it has used itself, so that a wipe costs what the jobs use
//! and not what a stack could hold. A job that went deeper than the mark left bytes below it that are
//! not zero, which four checks of growing range and cost detect:
//! - at every return, of the next cache line;
//! - at every wipe, of the rest of the page, a kilobyte at least. Each frame ends with a return
//!   address, so these two miss only what lies below a frame that covers their range and left it
//!   unwritten;
//! - at one return in [`SCAN_EVERY`], of the whole of each stack that was wiped since the last scan,
//!   which also overwrites what it finds. The kernel knows which pages were ever touched; the others
//!   are not read, and stay out of memory;
//! - of the whole of the stack that came back last, which is not wiped, when the mark is asked for
//!   and there were [`SCAN_EVERY`] returns since the last time, and at a wipe on request.
//!
//! So neither the mark nor a wiped stack is wrong for longer than [`SCAN_EVERY`] returns, except for
//! pages that the system has swapped out in between; a wipe on request drops those, too.

use core::mem;
use std::rc::Rc;

use super::map::{self, Access, StackError, StackGuard};
use super::slot::{Chunk, Shape, Slot};

/// Stacks in the first reservation of a slab; every further one doubles, up to [`MAX_CHUNK`].
const MIN_CHUNK: usize = 16;
/// Stacks in the largest reservation.
const MAX_CHUNK: usize = 1024;
/// One return in this number scans the whole of each stack that was wiped since the last scan.
const SCAN_EVERY: u32 = 256;
/// The bytes below the high-water mark that every return checks: one cache line.
const RETURN_CHECK: usize = 64;

/// The idle stacks of a pool, last in, first out, and the reservation that new ones are cut from.
#[derive(Debug)]
pub(crate) struct Slab {
    shape: Shape,
    guard: StackGuard,
    wipe: bool,
    /// The stack that came back last, not wiped yet: most often the next job runs on it at once.
    hot: Option<Slot>,
    /// The other idle stacks, wiped.
    idle: Vec<Idle>,
    /// How many of `idle`, from the bottom, have been scanned.
    scanned_len: usize,
    /// The newest reservation and the number of slots cut from it.
    newest: Option<(Rc<Chunk>, usize)>,
    next_chunk: usize,
    made: usize,
    /// Returns until the next scan.
    until_scan: u32,
    /// Whether the hot stack is scanned when the high-water mark is asked for.
    hot_scan_due: bool,
    /// The deepest known use of a stack, in bytes.
    high_water: usize,
    /// Mappings left before the kernel's limit; only counted with [`StackGuard::Protect`].
    headroom: usize,
}

/// A stack that was wiped.
#[derive(Debug)]
struct Idle {
    slot: Slot,
    /// Whether all of it was checked since a job ran on it.
    scanned: bool,
}

impl Slab {
    /// A slab of stacks with at least `stack_size` bytes for frames; reserves nothing yet.
    pub(crate) fn new(stack_size: usize, guard: StackGuard, wipe: bool) -> Self {
        let shape = Shape::of(stack_size);
        // Promised to corosensei by `FiberStack`.
        assert!(
            shape.usable >= corosensei::stack::MIN_STACK_SIZE,
            "the pool's builder checks the size"
        );
        Self {
            shape,
            guard,
            wipe,
            hot: None,
            idle: Vec::new(),
            scanned_len: 0,
            newest: None,
            next_chunk: MIN_CHUNK,
            made: 0,
            until_scan: SCAN_EVERY,
            hot_scan_due: true,
            high_water: 0,
            headroom: 0,
        }
    }

    /// Takes the stack that was given back last, or makes one. `wanted` is how many the pool may
    /// need, for the figure in the error.
    #[inline]
    pub(crate) fn take(&mut self, wanted: impl FnOnce() -> usize) -> Result<Slot, StackError> {
        match self.hot.take() {
            Some(slot) => Ok(slot),
            None => self.take_cold(wanted()),
        }
    }

    // Not inlined, to keep a start on the hot stack short.
    #[inline(never)]
    fn take_cold(&mut self, wanted: usize) -> Result<Slot, StackError> {
        let Some(Idle { slot, .. }) = self.idle.pop() else { return self.make(wanted) };
        self.scanned_len = self.scanned_len.min(self.idle.len());
        Ok(slot)
    }

    /// Makes up to `n` idle stacks and returns how many.
    pub(crate) fn preallocate(&mut self, n: usize) -> usize {
        let cold = (0..n).map_while(|done| self.make(n - done).ok());
        let cold: Vec<Idle> = cold.map(|slot| Idle { slot, scanned: true }).collect();
        let made = cold.len();
        // At the bottom: stacks that were used before are reused first.
        self.idle.splice(0..0, cold);
        self.scanned_len += made;
        made
    }

    /// Takes a stack back. It must have no fiber.
    #[inline]
    pub(crate) fn give_back(&mut self, slot: Slot) {
        if self.wipe && slot.is_dirty_below(self.high_water, RETURN_CHECK) {
            self.measure(&slot);
        }
        if let Some(previous) = self.hot.replace(slot) {
            self.wipe_and_store(previous);
        }
        self.until_scan -= 1;
        if self.until_scan == 0 {
            self.scan();
        }
    }

    /// Takes back a stack whose frames were forgotten, without their contents, also in a slab that does not wipe: the code
    /// on it did not get to erase what it would have erased.
    #[cold]
    pub(crate) fn give_back_emptied(&mut self, mut slot: Slot) {
        slot.discard();
        self.idle.push(Idle { slot, scanned: true });
    }

    // Not inlined, to keep the end of a job on the hot stack short.
    #[inline(never)]
    fn wipe_and_store(&mut self, mut slot: Slot) {
        let mut scanned = false;
        if self.wipe {
            // Not below the pages that this stack has used: a write would take memory.
            let known = self.high_water.min(slot.touched());
            if slot.is_dirty_below(known, slot.wipe_check(known)) {
                self.note_depth(slot.clean());
                scanned = true;
            } else {
                slot.wipe(known);
            }
        }
        self.idle.push(Idle { slot, scanned });
    }

    /// Checks and wipes the whole of each stack that was wiped since the last scan.
    #[cold]
    fn scan(&mut self) {
        self.until_scan = SCAN_EVERY;
        self.hot_scan_due = true;
        if self.wipe {
            let mut deepest = 0;
            for idle in self.idle[self.scanned_len..].iter_mut().filter(|idle| !idle.scanned) {
                deepest = deepest.max(idle.slot.clean());
                idle.scanned = true;
            }
            self.note_depth(deepest);
        }
        self.scanned_len = self.idle.len();
    }

    /// Wipes the whole of every idle stack, the one that came back last included.
    pub(crate) fn wipe(&mut self) {
        if !self.wipe {
            return;
        }
        if let Some(slot) = self.hot.take() {
            self.idle.push(Idle { slot, scanned: false });
        }
        let mut deepest = 0;
        for idle in &mut self.idle {
            deepest = deepest.max(idle.slot.clean_all());
            idle.scanned = true;
        }
        self.scanned_len = self.idle.len();
        self.note_depth(deepest);
    }

    #[cold]
    fn measure(&mut self, slot: &Slot) {
        self.note_depth(slot.depth());
    }

    fn note_depth(&mut self, depth: usize) {
        self.high_water = self.high_water.max(depth);
    }

    /// Gives the memory of idle stacks back to the system, and unmaps reservations of which all
    /// stacks are idle. Returns how many stacks ceased to exist.
    pub(crate) fn shrink(&mut self) -> usize {
        self.wipe();
        let mut idle: Vec<Slot> = mem::take(&mut self.idle).into_iter().map(|i| i.slot).collect();
        idle.extend(self.hot.take());
        let before = idle.len();
        idle.sort_unstable_by_key(Slot::base);
        let mut together: Vec<Slot> = Vec::new();
        for slot in idle {
            if together.first().is_some_and(|first| !Rc::ptr_eq(first.chunk(), slot.chunk())) {
                self.release(&mut together);
            }
            together.push(slot);
        }
        self.release(&mut together);
        self.scanned_len = self.idle.len();
        let gone = before - self.idle.len();
        self.made -= gone;
        gone
    }

    /// Unmaps the reservation of `slots` if these are all that were cut from it; else discards their
    /// contents and keeps them.
    fn release(&mut self, slots: &mut Vec<Slot>) {
        let Some(first) = slots.first() else { return };
        let is_newest =
            self.newest.as_ref().is_some_and(|(chunk, _)| Rc::ptr_eq(chunk, first.chunk()));
        // The slab has one more handle to the newest reservation.
        if Rc::strong_count(first.chunk()) == slots.len() + usize::from(is_newest) {
            if is_newest {
                self.newest = None;
            }
            slots.clear();
        } else {
            slots.iter_mut().for_each(Slot::discard);
            self.idle.extend(slots.drain(..).map(|slot| Idle { slot, scanned: true }));
        }
    }

    /// The number of idle stacks.
    pub(crate) fn idle(&self) -> usize {
        self.idle.len() + usize::from(self.hot.is_some())
    }

    /// The number of stacks that exist, idle or not.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// The deepest use seen so far, in bytes; 0 in a slab that does not wipe.
    pub(crate) fn high_water(&mut self) -> usize {
        if self.wipe
            && self.hot_scan_due
            && let Some(slot) = &self.hot
        {
            self.hot_scan_due = false;
            let depth = slot.depth();
            self.note_depth(depth);
        }
        self.high_water
    }

    /// Stops counting a stack whose fiber is leaked.
    pub(crate) fn write_off(&mut self) {
        self.made -= 1;
    }

    /// Cuts a new slot, from a new reservation if the newest is used up.
    #[cold]
    fn make(&mut self, wanted: usize) -> Result<Slot, StackError> {
        // The attempt to mark a guard fails on older kernels, which the application must not see.
        let _errno = KeepErrno(errno::errno());
        loop {
            if self.guard == StackGuard::Protect && self.headroom < 2 {
                self.headroom = map::mapping_headroom(wanted)?;
            }
            let (chunk, cut) = match self.newest.take() {
                Some((chunk, cut)) if cut < chunk.stacks() => (chunk, cut),
                _ => (self.reserve()?, 0),
            };
            // After a failure the next attempt tries the same slot again.
            self.newest = Some((Rc::clone(&chunk), cut));
            if chunk.guard(cut, wanted)? {
                self.newest = Some((Rc::clone(&chunk), cut + 1));
                self.made += 1;
                self.headroom = self.headroom.saturating_sub(2);
                return Ok(Slot::cut(&chunk, cut));
            }
            // No guard markers: later reservations are closed, and no more is cut from this one.
            self.guard = StackGuard::Protect;
            self.newest = None;
        }
    }

    fn reserve(&mut self) -> Result<Rc<Chunk>, StackError> {
        let access = match self.guard {
            StackGuard::Auto => Access::Open,
            StackGuard::Protect => Access::Closed,
        };
        let mut stacks = self.next_chunk;
        let chunk = loop {
            match Chunk::reserve(self.shape, stacks, access) {
                Ok(chunk) => break chunk,
                Err(_) if stacks > 1 => stacks /= 2,
                Err(error) => return Err(error),
            }
        };
        self.next_chunk = (stacks * 2).min(MAX_CHUNK);
        Ok(Rc::new(chunk))
    }
}

/// Restores the thread's `errno` when dropped.
struct KeepErrno(errno::Errno);

impl Drop for KeepErrno {
    fn drop(&mut self) {
        errno::set_errno(self.0);
    }
}

#[cfg(test)]
mod tests;
