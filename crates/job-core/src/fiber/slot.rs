//! One stack: where it lies, how deep it was used, and wiping it.

use core::cell::{Cell, RefCell};
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::rc::Rc;

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::map::{self, Access, Mapping, StackError};
use super::switch::HEADER_ROOM;

/// Bytes below each stack that fault, at least.
///
/// Compiled C has no stack probes as a rule: a function moves the stack pointer down by its whole
/// frame and writes wherever in there it likes. Frames of 59 KiB are in use in cryptography. A frame
/// that begins above the limit and is at most this large, less what its caller had left, has its
/// lowest byte in the zone or above it.
pub(super) const GUARD_ZONE: usize = 120 * 1024;

/// Every wipe looks for traces at least so far below the mark, and on to the end of that page.
const WINDOW: usize = 1024;

/// A look at the whole of a stack ends so far below its base. A page that was never touched costs
/// next to nothing there, but a stack of a terabyte has many of them. A wipe on request goes on.
const MAX_LOOK: usize = 64 << 20;

/// The pages that the system is asked about at a time.
const PAGES_AT_ONCE: usize = 256;

/// How stacks of one size are cut.
///
/// ```text
///    <------------------------- stride ---------------------->
///   +-----------------+----------------------------+----------+
///   |   guard zone    |    stack, grows <-------   |  header  |
///   +-----------------+----------------------------+----------+
///                     ^ limit                      ^ base
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    guard: usize,
    /// Bytes between the limit and the base.
    pub(super) usable: usize,
    /// Those and the guard zone.
    below_base: usize,
    stride: usize,
}

impl Shape {
    /// The shape of stacks with at least `stack_size` bytes for frames.
    ///
    /// The stride is an odd number of pages, by which the tops of stacks, the pages in use, spread
    /// over all sets of the processor's translation buffer. The default comes to 95 pages of 4 KiB.
    pub(super) fn of(stack_size: usize) -> Self {
        let page = map::page_size();
        let open = (stack_size + HEADER_ROOM).next_multiple_of(page);
        let mut guard = GUARD_ZONE.next_multiple_of(page);
        if ((open + guard) / page).is_multiple_of(2) {
            guard += page;
        }
        let usable = open - HEADER_ROOM;
        Self { guard, usable, below_base: guard + usable, stride: open + guard }
    }

    /// Bytes that a job can touch, those of its header included: whole pages.
    fn open(self) -> usize {
        self.usable + HEADER_ROOM
    }
}

/// One reservation; unmapped when the last slot cut from it is gone.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Tell valgrind, if this runs under it, that a jump of the stack pointer into a slot is no
    /// error. Here and not in the slots, which are to be moved in registers.
    registrations: RefCell<Vec<ValgrindStackRegistration>>,
    mapping: Mapping,
    shape: Shape,
    /// For each slot, how many pages from its top are known to have been written to, without a gap.
    warm_pages: Box<[Cell<u32>]>,
}

impl Chunk {
    /// Reserves room for `stacks`.
    pub(super) fn reserve(shape: Shape, stacks: usize, access: Access) -> Result<Self, StackError> {
        let len = shape.stride.checked_mul(stacks).ok_or(StackError::OutOfMemory)?;
        let mapping = Mapping::reserve(len, access)?;
        let registrations = RefCell::new(Vec::with_capacity(stacks));
        Ok(Self { registrations, mapping, shape, warm_pages: vec![Cell::new(0); stacks].into() })
    }

    pub(super) fn stacks(&self) -> usize {
        self.mapping.len() / self.shape.stride
    }

    /// Makes the zone below slot `nth` a guard, with the slot open above it. Answers `false` where
    /// guard markers are of no use.
    pub(super) fn guard(&self, nth: usize, wanted: usize) -> Result<bool, StackError> {
        let start = nth * self.shape.stride;
        match self.mapping.access() {
            Access::Open => self.mapping.mark_guard(start, self.shape.guard),
            Access::Closed => {
                self.mapping.open(start + self.shape.guard, self.shape.open(), wanted)?;
                Ok(true)
            }
        }
    }
}

/// A stack on which no fiber runs: the right to put one there.
///
/// Everything between [`limit`](Self::limit) and [`base`](Self::base) is mapped, writable and
/// belongs to this value alone; below the limit is the guard zone.
#[derive(Debug)]
pub(crate) struct Slot {
    base: NonNull<u8>,
    chunk: Rc<Chunk>,
}

impl Slot {
    /// Slot `nth` of a chunk, which has its guard and is cut once.
    pub(super) fn cut(chunk: &Rc<Chunk>, nth: usize) -> Self {
        let Shape { stride, usable, .. } = chunk.shape;
        let base = chunk.mapping.at((nth + 1) * stride - HEADER_ROOM);
        let slot = Self { base, chunk: Rc::clone(chunk) };
        let registration = ValgrindStackRegistration::new(slot.limit().as_ptr(), usable);
        chunk.registrations.borrow_mut().push(registration);
        slot
    }

    /// The highest address of the stack, where the header begins.
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The lowest usable address; a page begins here.
    pub(super) fn limit(&self) -> NonNull<u8> {
        // SAFETY: a slot is cut so that `usable` bytes below its base lie in its chunk's mapping.
        unsafe { self.base.sub(self.usable()) }
    }

    /// Where the guard zone below the limit begins.
    #[inline]
    pub(super) fn guard_start(&self) -> NonZeroUsize {
        // Without a branch, for every start comes by here. No mapping starts at address zero.
        let lowest = self.base.addr().get() - self.chunk.shape.below_base;
        NonZeroUsize::new(lowest).unwrap_or(NonZeroUsize::MIN)
    }

    /// Bytes between the limit and the base.
    #[inline]
    pub(super) fn usable(&self) -> usize {
        self.chunk.shape.usable
    }

    pub(super) fn chunk(&self) -> &Rc<Chunk> {
        &self.chunk
    }

    /// Whether the `range` bytes below depth `known` show traces of use.
    #[inline]
    pub(super) fn is_used_beyond(&self, known: usize, range: usize) -> bool {
        let looked_at = (self.usable() - known).min(range);
        // SAFETY: at most `usable`, so the result stays within the slot.
        let start = unsafe { self.base.sub(known + looked_at) };
        // SAFETY: the range is `base - known - looked_at..base - known`: memory of this slot, which
        // no fiber uses. The base is aligned, and all three lengths are multiples of 64.
        let words = unsafe { settled(start, looked_at) };
        // Without an early exit: it is a few vector instructions, and hardly ever true.
        words.iter().fold(0, |traces, &word| traces | word) != 0
    }

    /// How far to look below depth `known` when the stack is wiped: its page is in memory and most
    /// likely in the cache, the pages below would have to be brought there.
    pub(super) fn window(&self, known: usize) -> usize {
        let lowest = self.base.addr().get() - known;
        WINDOW.max(lowest % map::page_size())
    }

    /// Overwrites the highest `depth` bytes with zeros, [`warm`](Self::warm) at most.
    pub(super) fn wipe(&mut self, depth: usize) {
        debug_assert!(depth <= self.usable() && depth <= self.warm());
        // SAFETY: `depth` is at most `usable`, so the result stays within the slot.
        let from = unsafe { self.base.sub(depth) };
        // SAFETY: `from..base` is writable memory of this slot, and no fiber is on it.
        unsafe { from.write_bytes(0, depth) };
    }

    /// How deep the stack is known to have been used, whole pages: a wipe so deep touches no page
    /// that no job wrote to.
    pub(super) fn warm(&self) -> usize {
        (self.warm_pages() * map::page_size()).saturating_sub(HEADER_ROOM)
    }

    /// The deepest use of the stack that can be seen, in bytes: the distance from the base to its
    /// lowest trace. Looks at all of it, [`MAX_LOOK`] at most.
    pub(super) fn depth(&self) -> usize {
        let mut deepest = 0;
        self.visit_pages(MAX_LOOK, |page, len, may_hold| {
            if may_hold == MayHold::Nothing {
                return true;
            }
            // SAFETY: as `visit_pages` says, the range is memory of this slot.
            let words = unsafe { settled(page, len) };
            let Some(dirty) = first_trace(words) else { return true };
            deepest = self.base.addr().get() - page.addr().get() - dirty;
            false
        });
        deepest
    }

    /// Overwrites everything with zeros that is not zero, down to [`MAX_LOOK`], and answers how deep
    /// that reached. Pages that were never touched stay so.
    pub(super) fn clean(&mut self) -> usize {
        self.clean_down_to(MAX_LOOK)
    }

    fn clean_down_to(&mut self, reach: usize) -> usize {
        let mut deepest = 0;
        // Pages in use without a gap, up to where we are.
        let mut run = 0;
        self.visit_pages(reach, |page, len, may_hold| {
            if may_hold == MayHold::Nothing {
                run = 0;
                return true;
            }
            // SAFETY: as `visit_pages` says, the range is memory of this slot.
            let words = unsafe { settled(page, len) };
            let dirty = first_trace(words);
            if let Some(dirty) = dirty {
                let depth = self.base.addr().get() - page.addr().get() - dirty;
                deepest = deepest.max(depth);
                // SAFETY: `len` bytes from `page` on are writable memory of this slot, and no fiber
                // is on it.
                unsafe { page.write_bytes(0, len) };
            }
            // A page that is in memory and holds zeros was most likely only read.
            run = if dirty.is_some() || may_hold == MayHold::WasWarm { run + 1 } else { 0 };
            true
        });
        self.note_warm_pages(run);
        deepest
    }

    /// As [`clean`](Self::clean), and gives what is not in memory back to the system: what was
    /// swapped out is gone, too.
    pub(super) fn clean_all(&mut self) -> usize {
        let deepest = self.clean();
        let page_size = map::page_size();
        // The run of absent pages that was seen last.
        let mut absent: Option<(NonNull<u8>, usize)> = None;
        let drop_run = |run: Option<(NonNull<u8>, usize)>| {
            if let Some((start, len)) = run {
                // Locked memory is not given back, but it is not swapped out either.
                // SAFETY: the range is whole pages of this slot, on which no fiber is.
                let _ = unsafe { map::give_back_memory(start, len) };
            }
        };
        self.visit_pages(MAX_LOOK, |page, _, may_hold| {
            absent = match (may_hold, absent.take()) {
                (MayHold::Nothing, None) => Some((page, page_size)),
                (MayHold::Nothing, Some((start, len))) => Some((start, len + page_size)),
                (_, run) => {
                    drop_run(run);
                    None
                }
            };
            true
        });
        drop_run(absent);
        if let Some(beyond) = self.usable().checked_sub(MAX_LOOK) {
            let beyond = beyond.next_multiple_of(page_size).min(self.chunk.shape.open());
            // SAFETY: from the limit on, not more than the slot has, and no fiber is on it.
            if !unsafe { map::give_back_memory(self.limit(), beyond) } {
                let _ = self.clean_down_to(usize::MAX);
            }
        }
        deepest
    }

    /// Gives all memory of the slot back to the system, or overwrites it where that is refused.
    pub(super) fn forget_contents(&mut self) {
        // The page that holds the header and the top of the stack goes as well: an idle slot has no
        // header.
        // SAFETY: the limit is page-aligned, the range ends where the slot ends, and the slot is
        // idle.
        if unsafe { map::give_back_memory(self.limit(), self.chunk.shape.open()) } {
            self.note_warm_pages(0);
        } else {
            let _ = self.clean_down_to(usize::MAX);
        }
    }

    /// Calls `visit` with each page of the highest `reach` bytes, from the lowest, as long as it
    /// answers `true`: where it begins, how many bytes of it lie below the base, and whether it may
    /// hold anything.
    fn visit_pages(
        &self,
        reach: usize,
        mut visit: impl FnMut(NonNull<u8>, usize, MayHold) -> bool,
    ) {
        let page_size = map::page_size();
        let pages = self.usable().div_ceil(page_size);
        let lowest = pages - pages.min(reach.div_ceil(page_size));
        let warm_from = pages.saturating_sub(self.warm_pages());
        let mut states = [0; PAGES_AT_ONCE];
        for first in (lowest..pages).step_by(PAGES_AT_ONCE) {
            let states = &mut states[..PAGES_AT_ONCE.min(pages - first)];
            // SAFETY: `first` is below `pages`, so the result stays within the slot.
            let start = unsafe { self.limit().add(first * page_size) };
            let told = map::pages_in_memory(start, states);
            for (nth, state) in (first..).zip(&*states) {
                let may_hold = match (nth >= warm_from, told && state & 1 == 0) {
                    (true, _) => MayHold::WasWarm,
                    (false, true) => MayHold::Nothing,
                    (false, false) => MayHold::Something,
                };
                let offset = nth * page_size;
                // SAFETY: below `usable`, so the result stays within the slot.
                let page = unsafe { self.limit().add(offset) };
                let len = page_size.min(self.usable() - offset);
                if !visit(page, len, may_hold) {
                    return;
                }
            }
        }
    }

    fn warm_pages(&self) -> usize {
        self.chunk.warm_pages[self.nth()].get() as usize
    }

    fn note_warm_pages(&self, pages: usize) {
        self.chunk.warm_pages[self.nth()].set(u32::try_from(pages).unwrap_or(u32::MAX));
    }

    fn nth(&self) -> usize {
        let from_start = self.base.addr().get() - self.chunk.mapping.at(0).addr().get();
        from_start / self.chunk.shape.stride
    }
}

/// Whether a page of a stack may hold anything but zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MayHold {
    /// It was never touched, or was swapped out before it was ever seen in use.
    Nothing,
    /// It is in memory, or the system does not say.
    Something,
    /// It was in use before, and is in memory or was swapped out.
    WasWarm,
}

/// Where in there the first cache line is that is not all zero, in bytes.
fn first_trace(words: &[u64]) -> Option<usize> {
    let line = 64 / size_of::<u64>();
    words.chunks(line).position(|line| line.iter().any(|&word| word != 0)).map(|nth| nth * 64)
}

/// The `len` bytes from `start` on, as the processor sees them.
///
/// Frames leave bytes that were never initialised in the sense of the language: padding, buffers
/// filled in part, what an optimiser did not write. To read those as integers is undefined, unless
/// something has written them since. Here that is a piece of assembly which the compiler must
/// assume to write all memory it can reach, and which leaves every byte as it is.
///
/// # Safety
///
/// The range is memory of one slot that no fiber is on, mapped and open; `start` and `len` are
/// multiples of eight. Nothing writes there while the answer is in use.
#[inline(always)]
unsafe fn settled<'a>(start: NonNull<u8>, len: usize) -> &'a [u64] {
    let words = start.cast::<u64>().as_ptr();
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", in(reg) words, options(nostack, preserves_flags)) };
    // SAFETY: mapped, aligned, and as just said initialised; not written meanwhile, says the
    // caller.
    unsafe { core::slice::from_raw_parts(words, len / size_of::<u64>()) }
}

const _: () = assert!(HEADER_ROOM.is_multiple_of(64) && align_of::<u64>() <= 64);
