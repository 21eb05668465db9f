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
//! Pages are touched when a job touches them: a slot that was never used costs no memory, and a
//! paused job that stays within its top page costs that page and its share of the page tables.

use core::cell::RefCell;
use core::mem;
use core::ptr::NonNull;
use std::rc::Rc;

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::map::{self, GuardKind, Mapping, StackError};
use super::switch::HEADER_ROOM;

/// Stacks in the first reservation of a slab; every further one doubles, up to [`MAX_CHUNK`].
const MIN_CHUNK: usize = 16;
/// Stacks in the largest reservation.
const MAX_CHUNK: usize = 1024;
/// Every so many returns of a stack the slab measures how deep it was really used.
const MEASURE_EVERY: u64 = 4096;
/// The first returns of a slab are all measured, so that the mark is known early.
const MEASURE_FIRST: u64 = 8;

/// How far below the mark a measurement looks.
const MAX_LOOK: usize = 1 << 20;

/// One reservation; unmapped when the last slot cut from it is gone.
#[derive(Debug)]
struct Chunk {
    /// Tell valgrind, if this runs under it, that a jump of the stack pointer into a slot is no
    /// error. Here and not in the slots, which are to be moved in registers.
    registrations: RefCell<Vec<ValgrindStackRegistration>>,
    mapping: Mapping,
    /// Usable bytes of each stack.
    usable: usize,
}

/// A stack nobody is running on: the right to put one fiber on it.
///
/// Everything between [`limit`](Self::limit) and [`base`](Self::base) is mapped, writable and
/// belongs to this value alone; the page below is a guard.
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

    /// How many bytes below the base were used, if more than `known`. Looks at most [`MAX_LOOK`]
    /// bytes beyond that.
    fn depth_beyond(&self, known: usize) -> Option<usize> {
        let looked_at = (self.usable() - known).min(MAX_LOOK);
        let deepest = known + looked_at;
        // SAFETY: `deepest` is at most `usable`, so the result stays within the slot.
        let start = unsafe { self.base.sub(deepest) }.cast::<u64>().as_ptr();
        // SAFETY: the range is `base - deepest..base - known`, mapped memory of this slot that no
        // fiber uses (the slot is ours) and that is always initialised, because anonymous mappings
        // start as zeros. The base is aligned, and all three lengths are multiples of 64.
        let unused = unsafe { core::slice::from_raw_parts(start, looked_at / size_of::<u64>()) };
        let dirty = unused.chunks(8).position(|line| line.iter().any(|&word| word != 0))?;
        Some(deepest - dirty * 64)
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

/// The idle stacks of a pool, last in first out, and the reservation that new ones are cut from.
#[derive(Debug)]
pub(crate) struct Slab {
    stack_size: usize,
    guard: GuardKind,
    wipe: bool,
    /// The stack that came back last, not wiped yet: most often the next job is on it before that
    /// would pay.
    hot: Option<Slot>,
    /// The others, wiped.
    idle: Vec<Slot>,
    /// The newest reservation and how many slots have been cut from it.
    fresh: Option<(Rc<Chunk>, usize)>,
    next_chunk: usize,
    made: usize,
    returns: u64,
    mark: usize,
    /// Mappings we may still make before the kernel's limit; only counted with
    /// [`GuardKind::Protect`].
    headroom: usize,
}

impl Slab {
    /// A slab of stacks of `stack_size` bytes (rounded up to pages); reserves nothing yet.
    pub(crate) fn new(stack_size: usize, guard: GuardKind, wipe: bool) -> Self {
        Self {
            stack_size: stack_size.next_multiple_of(map::page_size()),
            guard,
            wipe,
            hot: None,
            idle: Vec::new(),
            fresh: None,
            next_chunk: MIN_CHUNK,
            made: 0,
            returns: 0,
            mark: 0,
            headroom: 0,
        }
    }

    /// The stack that was given back last, or a new one. `wanted` is how many may be asked for, for
    /// the figure in the error.
    #[inline]
    pub(crate) fn take(&mut self, wanted: usize) -> Result<Slot, StackError> {
        match self.hot.take().or_else(|| self.idle.pop()) {
            Some(slot) => Ok(slot),
            None => self.make(wanted),
        }
    }

    /// Makes up to `n` idle stacks and answers how many.
    pub(crate) fn preallocate(&mut self, n: usize) -> usize {
        let cold: Vec<Slot> = (0..n).map_while(|done| self.make(n - done).ok()).collect();
        let made = cold.len();
        // Below the ones that are warm.
        self.idle.splice(0..0, cold);
        made
    }

    /// Takes a stack back.
    #[inline]
    pub(crate) fn give_back(&mut self, slot: Slot) {
        self.returns += 1;
        if self.wipe
            && (self.returns <= MEASURE_FIRST || self.returns.is_multiple_of(MEASURE_EVERY))
        {
            self.measure(&slot);
        }
        if let Some(cooler) = self.hot.replace(slot) {
            self.retire(cooler);
        }
    }

    fn retire(&mut self, slot: Slot) {
        if self.wipe {
            slot.wipe(self.mark);
        }
        self.idle.push(slot);
    }

    /// Wipes the stack that came back last, too.
    pub(crate) fn wipe(&mut self) {
        if let Some(slot) = self.hot.take() {
            self.retire(slot);
        }
    }

    #[cold]
    fn measure(&mut self, slot: &Slot) {
        if let Some(depth) = slot.depth_beyond(self.mark) {
            self.mark = depth;
        }
    }

    /// Returns the memory of idle stacks to the system; whole reservations where all their stacks
    /// are idle. Answers how many stacks ceased to exist.
    pub(crate) fn shrink(&mut self) -> usize {
        self.wipe();
        let mut idle = mem::take(&mut self.idle);
        let before = idle.len();
        idle.sort_unstable_by_key(Slot::base);
        let mut together: Vec<Slot> = Vec::new();
        for slot in idle {
            if together.first().is_some_and(|first| !Rc::ptr_eq(&first.chunk, &slot.chunk)) {
                self.release(&mut together);
            }
            together.push(slot);
        }
        self.release(&mut together);
        let gone = before - self.idle.len();
        self.made -= gone;
        gone
    }

    /// Unmaps a reservation if these are all the slots ever cut from it; else empties and keeps
    /// them.
    fn release(&mut self, slots: &mut Vec<Slot>) {
        let Some(first) = slots.first() else { return };
        let is_fresh =
            self.fresh.as_ref().is_some_and(|(chunk, _)| Rc::ptr_eq(chunk, &first.chunk));
        // The slab's own handle to the newest reservation counts as one.
        if Rc::strong_count(&first.chunk) == slots.len() + usize::from(is_fresh) {
            if is_fresh {
                self.fresh = None;
            }
            slots.clear();
        } else {
            slots.iter().for_each(map::forget_contents);
            self.idle.append(slots);
        }
    }

    /// Stacks waiting for a job.
    pub(crate) fn idle(&self) -> usize {
        self.idle.len() + usize::from(self.hot.is_some())
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

    /// Cuts a new slot, reserving more address space if need be.
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
        let base = chunk.mapping.at(start + stride - HEADER_ROOM);
        let limit = chunk.mapping.at(start + map::page_size());
        let registration = ValgrindStackRegistration::new(limit.as_ptr(), chunk.usable);
        chunk.registrations.borrow_mut().push(registration);
        Ok(Slot { base, chunk })
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
        let usable = self.stack_size - HEADER_ROOM;
        Ok(Rc::new(Chunk { registrations: RefCell::default(), mapping, usable }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: usize = 64 * 1024;

    fn slab(wipe: bool) -> Slab {
        Slab::new(STACK, GuardKind::Auto, wipe)
    }

    /// Does what a job of that depth does to a stack.
    fn use_down_to(slot: &Slot, depth: usize) {
        assert!(depth <= slot.usable());
        // SAFETY: within the slot, see above.
        let from = unsafe { slot.base().sub(depth) };
        // SAFETY: `from..base` is memory of the slot that nobody else uses.
        unsafe { from.write_bytes(0xA5, depth) };
    }

    fn is_clean(slot: &Slot) -> bool {
        slot.depth_beyond(0).is_none()
    }

    #[test]
    fn depth_is_the_distance_of_the_lowest_trace_from_the_base() {
        let slot = slab(true).take(1).unwrap();
        assert_eq!(slot.depth_beyond(0), None);
        for depth in [64, 4096, 6016, slot.usable()] {
            use_down_to(&slot, depth);
            assert_eq!(slot.depth_beyond(0), Some(depth));
            assert_eq!(slot.depth_beyond(depth), None);
        }
    }

    #[test]
    fn a_stack_that_another_comes_back_on_top_of_is_wiped() {
        let mut slab = slab(true);
        let (first, second) = (slab.take(1).unwrap(), slab.take(1).unwrap());
        use_down_to(&first, 6016);
        use_down_to(&second, 640);
        slab.give_back(first);
        slab.give_back(second);
        assert_eq!(slab.mark(), 6016);
        let (second, first) = (slab.take(1).unwrap(), slab.take(1).unwrap());
        assert!(is_clean(&first));
        assert!(!is_clean(&second), "the one that came back last is wiped on request");
        slab.give_back(second);
        slab.wipe();
        assert!(is_clean(&slab.take(1).unwrap()));
    }

    #[test]
    fn a_greater_depth_is_noticed_when_it_is_measured() {
        let mut slab = slab(true);
        for depth in [640, 6016] {
            for _ in 0..MEASURE_EVERY {
                let slot = slab.take(1).unwrap();
                use_down_to(&slot, depth);
                slab.give_back(slot);
            }
            assert_eq!(slab.mark(), depth);
        }
    }

    #[test]
    fn without_wiping_nothing_is_measured_or_overwritten() {
        let mut slab = slab(false);
        let slot = slab.take(1).unwrap();
        use_down_to(&slot, 640);
        slab.give_back(slot);
        slab.wipe();
        assert_eq!((slab.mark(), is_clean(&slab.take(1).unwrap())), (0, false));
    }

    #[test]
    fn an_emptied_stack_holds_zeros_and_keeps_its_guard() {
        for guard in [GuardKind::Auto, GuardKind::Protect] {
            let mut slab = Slab::new(STACK, guard, false);
            let (in_use, idle) = (slab.take(1).unwrap(), slab.take(1).unwrap());
            use_down_to(&idle, 6016);
            slab.give_back(idle);
            assert_eq!(slab.shrink(), 0);
            assert!(is_clean(&slab.take(1).unwrap()));
            drop(in_use);
        }
    }

    #[test]
    fn slots_do_not_overlap_each_other_or_their_guards() {
        let mut slab = slab(true);
        let mut slots: Vec<_> = (0..40).map(|_| slab.take(1).unwrap()).collect();
        slots.sort_unstable_by_key(Slot::base);
        for pair in slots.windows(2) {
            let (lower, upper) = (&pair[0], &pair[1]);
            let end = lower.base().addr().get() + HEADER_ROOM;
            assert!(end + map::page_size() <= upper.limit().addr().get());
            assert_eq!(upper.limit().addr().get() % map::page_size(), 0);
        }
    }
}
