//! Where stacks come from: large reservations cut into guarded slots.
//!
//! ```text
//!  one reservation (one mapping where the kernel has guard markers)
//!  +-------+-----------------------+--------+-------+-----------------------+--------+--- ...
//!  | guard | stack, grows <------- | header | guard | stack, grows <------- | header |
//!  +-------+-----------------------+--------+-------+-----------------------+--------+--- ...
//!          ^ limit                 ^ base
//! ```
//!
//! Pages are touched when a job touches them: a slot that was never used costs no memory, and a paused job that
//! stays within its top page costs that page and its share of the page tables.

use core::mem;
use core::ptr::NonNull;
use std::rc::Rc;

use super::map::{self, GuardKind, Mapping, StackError};
use super::switch::Header;

/// Stacks in the first reservation of a slab; every further one doubles, up to [`MAX_CHUNK`].
const MIN_CHUNK: usize = 16;
/// Stacks in the largest reservation.
const MAX_CHUNK: usize = 1024;
/// Every so many returns of a stack the slab measures how deep it was really used.
const MEASURE_EVERY: u64 = 256;
/// The first returns of a slab are all measured, so that the mark is known early.
const MEASURE_FIRST: u64 = 8;
/// Room for the header at the top of a slot, rounded so that the base is a cache line boundary.
const HEADER_ROOM: usize = size_of::<Header>().next_multiple_of(64);

/// One reservation; unmapped when the last slot cut from it is gone.
#[derive(Debug)]
struct Chunk {
    mapping: Mapping,
    /// Usable bytes of each stack.
    usable: usize,
}

/// A stack nobody is running on: the right to put one fiber on it.
///
/// Everything between [`limit`](Self::limit) and [`base`](Self::base) is mapped, writable and belongs to this value
/// alone; the page below is a guard.
#[derive(Debug)]
pub(crate) struct Slot {
    base: NonNull<u8>,
    chunk: Rc<Chunk>,
}

impl Slot {
    /// The highest address of the stack, where the header begins.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The lowest usable address.
    pub(super) fn limit(&self) -> NonNull<u8> {
        // SAFETY: a slot is cut so that `usable` bytes below its base lie in its chunk's mapping.
        unsafe { self.base.sub(self.chunk.usable) }
    }

    /// Bytes between the limit and the base.
    pub(super) fn usable(&self) -> usize {
        self.chunk.usable
    }

    /// How many bytes below the base hold anything but zeros, looking only deeper than `known`.
    fn depth_beyond(&self, known: usize) -> Option<usize> {
        let words = (self.usable() - known) / size_of::<u64>();
        let start = self.limit().cast::<u64>().as_ptr();
        // SAFETY: the range is `limit..base - known`, mapped memory of this slot that no fiber uses (the slot is
        // ours) and that is always initialised, because anonymous mappings start as zeros. `limit` is page-aligned.
        let unused = unsafe { core::slice::from_raw_parts(start, words) };
        let mut clean = 0;
        for line in unused.chunks(8) {
            if line.iter().fold(0, |all, word| all | word) != 0 {
                return Some(self.usable() - clean);
            }
            clean += size_of_val(line);
        }
        None
    }

    /// Overwrites the highest `depth` bytes with zeros.
    fn wipe(&self, depth: usize) {
        debug_assert!(depth <= self.usable());
        // SAFETY: `depth` is at most `usable`, so the result stays within the slot.
        let from = unsafe { self.base.sub(depth) };
        // SAFETY: `from..base` is writable memory of this slot, and no fiber is on it.
        unsafe { from.write_bytes(0, depth) };
    }
}

/// The idle stacks of a pool, last in first out, and the reservations they are cut from.
#[derive(Debug)]
pub(crate) struct Slab {
    stack_size: usize,
    guard: GuardKind,
    wipe: bool,
    idle: Vec<Slot>,
    /// The newest reservation and how many slots have been cut from it.
    fresh: Option<(Rc<Chunk>, usize)>,
    next_chunk: usize,
    made: usize,
    returns: u64,
    mark: usize,
    /// Mappings we may still make before the kernel's limit; only counted with [`GuardKind::Protect`].
    headroom: usize,
}

impl Slab {
    /// A slab of stacks of `stack_size` bytes (rounded up to pages); reserves nothing yet.
    pub(crate) fn new(stack_size: usize, guard: GuardKind, wipe: bool) -> Self {
        Self {
            stack_size: stack_size.next_multiple_of(map::page_size()),
            guard,
            wipe,
            idle: Vec::new(),
            fresh: None,
            next_chunk: MIN_CHUNK,
            made: 0,
            returns: 0,
            mark: 0,
            headroom: 0,
        }
    }

    /// The stack that was given back last, or a new one.
    pub(crate) fn take(&mut self, wanted: usize) -> Result<Slot, StackError> {
        match self.idle.pop() {
            Some(slot) => Ok(slot),
            None => self.make(wanted),
        }
    }

    /// Makes one more idle stack.
    pub(crate) fn add_idle(&mut self, wanted: usize) -> Result<(), StackError> {
        let slot = self.make(wanted)?;
        self.idle.push(slot);
        Ok(())
    }

    /// Takes a stack back, without the secrets that its job left on it.
    pub(crate) fn give_back(&mut self, slot: Slot) {
        if self.wipe {
            self.returns += 1;
            if self.returns <= MEASURE_FIRST || self.returns % MEASURE_EVERY == 0 {
                self.measure(&slot);
            }
            slot.wipe(self.mark);
        }
        self.idle.push(slot);
    }

    #[cold]
    fn measure(&mut self, slot: &Slot) {
        if let Some(depth) = slot.depth_beyond(self.mark) {
            self.mark = depth;
        }
    }

    /// Returns the memory of idle stacks to the system; whole reservations where all their stacks are idle.
    /// Answers how many stacks ceased to exist.
    pub(crate) fn shrink(&mut self) -> usize {
        let before = self.idle.len();
        let fresh = self.fresh.take();
        let mut by_chunk: Vec<(*const Chunk, usize)> = Vec::new();
        self.idle.sort_unstable_by_key(Slot::base);
        for slot in &self.idle {
            let chunk = Rc::as_ptr(&slot.chunk);
            match by_chunk.last_mut() {
                Some((last, count)) if *last == chunk => *count += 1,
                _ => by_chunk.push((chunk, 1)),
            }
        }
        let cut_from_fresh = fresh.as_ref().map(|(chunk, _)| Rc::as_ptr(chunk));
        let is_unused = |slot: &Slot| {
            let chunk = Rc::as_ptr(&slot.chunk);
            // The slab's own handle to the newest reservation counts as one, too.
            let handles =
                Rc::strong_count(&slot.chunk) - usize::from(cut_from_fresh == Some(chunk));
            by_chunk.iter().any(|&(of, idle)| of == chunk && idle == handles)
        };
        let (unused, kept): (Vec<_>, Vec<_>) =
            mem::take(&mut self.idle).into_iter().partition(is_unused);
        // The newest reservation goes with its stacks.
        self.fresh = fresh.filter(|(chunk, _)| {
            Rc::strong_count(chunk) > 1 && !unused.iter().any(|slot| Rc::ptr_eq(&slot.chunk, chunk))
        });
        drop(unused);
        for slot in &kept {
            map::forget_contents(slot);
        }
        self.idle = kept;
        let gone = before - self.idle.len();
        self.made -= gone;
        if self.made == 0 {
            self.next_chunk = MIN_CHUNK;
        }
        gone
    }

    /// Stacks waiting for a job.
    pub(crate) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Stacks that exist, idle or not.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// The deepest use seen so far, in bytes; 0 while nothing was measured.
    pub(crate) fn mark(&self) -> usize {
        self.mark
    }

    /// A stack that leaves the books for good, because its job cannot be ended.
    pub(crate) fn write_off(&mut self) {
        self.made -= 1;
    }

    /// Cuts a new slot, reserving more address space if need be. `wanted` is how many more may follow, for the
    /// figure in the error.
    #[cold]
    fn make(&mut self, wanted: usize) -> Result<Slot, StackError> {
        if self.guard == GuardKind::Protect && self.headroom < 2 {
            self.headroom = map::mapping_headroom(wanted)?;
        }
        let stride = self.stack_size + map::page_size();
        let (chunk, cut) = match self.fresh.take() {
            Some((chunk, cut)) if (cut + 1) * stride <= chunk.mapping.len() => (chunk, cut),
            _ => (self.reserve(stride)?, 0),
        };
        let start = cut * stride;
        // A failure leaves the slot uncut: the next attempt tries the same one again.
        self.fresh = Some((Rc::clone(&chunk), cut));
        match chunk.mapping.guard(start, self.guard, wanted)? {
            GuardKind::Protect => {
                self.guard = GuardKind::Protect;
                self.headroom = self.headroom.saturating_sub(2);
            }
            kind => self.guard = kind,
        }
        self.fresh = Some((Rc::clone(&chunk), cut + 1));
        self.made += 1;
        Ok(Slot { base: chunk.mapping.at(start + stride - HEADER_ROOM), chunk })
    }

    fn reserve(&mut self, stride: usize) -> Result<Rc<Chunk>, StackError> {
        let mut stacks = self.next_chunk;
        let mapping = loop {
            match stride
                .checked_mul(stacks)
                .ok_or(StackError::OutOfMemory)
                .and_then(Mapping::reserve)
            {
                Ok(mapping) => break mapping,
                Err(_) if stacks > 1 => stacks /= 2,
                Err(error) => return Err(error),
            }
        };
        self.next_chunk = (stacks * 2).min(MAX_CHUNK);
        Ok(Rc::new(Chunk { mapping, usable: self.stack_size - HEADER_ROOM }))
    }
}
