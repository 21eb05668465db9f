//! One stack: its memory, the depth of its use, and wiping it.

use core::cell::{Cell, RefCell};
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::rc::Rc;

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::map::{self, Access, Mapping, StackError};

/// Bytes above the base of each stack for the fiber's header; whole cache lines.
pub(super) const HEADER_ROOM: usize = 256;

/// The least size of the guard zone below each stack, in bytes.
///
/// Compiled C has no stack probes as a rule: a function moves the stack pointer down by its whole
/// frame and writes anywhere in it. Cryptography has frames of 59 KiB. A frame that begins above the
/// limit and is at most as large as the zone has its lowest byte in the zone or above it.
pub(super) const GUARD_ZONE: usize = 120 * 1024;

/// The bytes below the high-water mark that every wipe checks, at least; it goes on to the end of
/// that page.
const WIPE_CHECK: usize = 1024;

/// A scan of a whole stack ends at this depth: a page that was never touched costs next to nothing,
/// but a stack of a terabyte has many of them. A wipe on request goes on.
const MAX_SCAN: usize = 64 << 20;

/// The number of pages for one call of `mincore`.
const PAGES_AT_ONCE: usize = 256;

/// The layout of stacks of one size.
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
    /// `guard` plus `usable`.
    below_base: usize,
    stride: usize,
}

impl Shape {
    /// The shape of stacks with at least `stack_size` bytes for frames.
    ///
    /// The stride is an odd number of pages, so that the tops of stacks, the pages in use, spread
    /// over all sets of the processor's translation lookaside buffer. The default is 95 pages of
    /// 4 KiB.
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

    /// The bytes of a stack and its header: whole pages.
    fn open(self) -> usize {
        self.usable + HEADER_ROOM
    }
}

/// One reservation; unmapped when the last slot cut from it is dropped.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Tell valgrind, if this runs under it, that a jump of the stack pointer into a slot is no
    /// error. Not in the slots, so that these fit in two registers.
    registrations: RefCell<Vec<ValgrindStackRegistration>>,
    mapping: Mapping,
    shape: Shape,
    /// For each slot, how many pages from its top were written to, without a gap.
    touched_pages: Box<[Cell<u32>]>,
}

impl Chunk {
    /// Reserves room for `stacks`.
    pub(super) fn reserve(shape: Shape, stacks: usize, access: Access) -> Result<Self, StackError> {
        let len = shape.stride.checked_mul(stacks).ok_or(StackError::OutOfMemory)?;
        let mapping = Mapping::reserve(len, access)?;
        let registrations = RefCell::new(Vec::with_capacity(stacks));
        Ok(Self { registrations, mapping, shape, touched_pages: vec![Cell::new(0); stacks].into() })
    }

    pub(super) fn stacks(&self) -> usize {
        self.mapping.len() / self.shape.stride
    }

    /// Guards the zone below slot `nth`, and opens the slot above it. Returns `false` where guard
    /// markers do not work.
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

/// A stack without a fiber.
///
/// The memory between [`limit`](Self::limit) and [`base`](Self::base) and [`HEADER_ROOM`] above it is
/// mapped, writable and owned by this value alone; below the limit is the guard zone.
#[derive(Debug)]
pub(crate) struct Slot {
    base: NonNull<u8>,
    chunk: Rc<Chunk>,
}

impl Slot {
    /// Slot `nth` of a chunk. The caller has guarded it and cuts it once.
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
        // Without a branch, for the sake of a start's speed: no mapping starts at address zero.
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

    /// Whether any of the `range` bytes below depth `known` is not zero.
    #[inline]
    pub(super) fn is_dirty_below(&self, known: usize, range: usize) -> bool {
        let checked = (self.usable() - known).min(range);
        // SAFETY: at most `usable`, so the result stays within the slot.
        let start = unsafe { self.base.sub(known + checked) };
        // SAFETY: the range is `base - known - checked..base - known`: memory of this slot, which
        // no fiber uses. The base is aligned, and all three lengths are multiples of 64.
        let words = unsafe { frozen(start, checked) };
        // Without an early exit: a few vector instructions, and hardly ever true.
        words.iter().fold(0, |all, &word| all | word) != 0
    }

    /// How many bytes below depth `known` a wipe checks: to the end of the page, which is in memory
    /// and most likely in the cache, unlike those below.
    pub(super) fn wipe_check(&self, known: usize) -> usize {
        let lowest = self.base.addr().get() - known;
        WIPE_CHECK.max(lowest % map::page_size())
    }

    /// Overwrites the highest `depth` bytes with zeros; at most [`touched`](Self::touched).
    pub(super) fn wipe(&mut self, depth: usize) {
        debug_assert!(depth <= self.usable() && depth <= self.touched());
        // SAFETY: `depth` is at most `usable`, so the result stays within the slot.
        let from = unsafe { self.base.sub(depth) };
        // SAFETY: `from..base` is writable memory of this slot, and no fiber is on it.
        unsafe { from.write_bytes(0, depth) };
    }

    /// The depth to which every page is known to have been written to, in bytes.
    pub(super) fn touched(&self) -> usize {
        (self.touched_pages() * map::page_size()).saturating_sub(HEADER_ROOM)
    }

    /// The distance from the base to the lowest byte that is not zero, in whole cache lines. Reads
    /// all of the stack, [`MAX_SCAN`] at most.
    pub(super) fn depth(&self) -> usize {
        let mut deepest = 0;
        self.for_each_page(MAX_SCAN, |page, len, state| {
            if state == PageState::Untouched {
                return true;
            }
            // SAFETY: as `for_each_page` says, the range is memory of this slot.
            let words = unsafe { frozen(page, len) };
            let Some(dirty) = first_nonzero(words) else { return true };
            deepest = self.base.addr().get() - page.addr().get() - dirty;
            false
        });
        deepest
    }

    /// Overwrites with zeros what is not zero, down to [`MAX_SCAN`], and returns the
    /// [depth](Self::depth) before. Pages that were never touched stay so.
    pub(super) fn clean(&mut self) -> usize {
        self.clean_down_to(MAX_SCAN)
    }

    fn clean_down_to(&mut self, reach: usize) -> usize {
        let mut deepest = 0;
        // The number of touched pages above, without a gap.
        let mut run = 0;
        self.for_each_page(reach, |page, len, state| {
            if state == PageState::Untouched {
                run = 0;
                return true;
            }
            // SAFETY: as `for_each_page` says, the range is memory of this slot.
            let words = unsafe { frozen(page, len) };
            let dirty = first_nonzero(words);
            if let Some(dirty) = dirty {
                let depth = self.base.addr().get() - page.addr().get() - dirty;
                deepest = deepest.max(depth);
                // SAFETY: `len` bytes from `page` on are writable memory of this slot, and no fiber
                // is on it.
                unsafe { page.write_bytes(0, len) };
            }
            // A page in memory that holds zeros was most likely only read.
            run = if dirty.is_some() || state == PageState::Touched { run + 1 } else { 0 };
            true
        });
        self.note_touched_pages(run);
        deepest
    }

    /// As [`clean`](Self::clean), and also discards pages that were swapped out.
    pub(super) fn clean_all(&mut self) -> usize {
        let deepest = self.clean();
        let page_size = map::page_size();
        // The latest run of pages that are not in memory.
        let mut absent: Option<(NonNull<u8>, usize)> = None;
        let drop_run = |run: Option<(NonNull<u8>, usize)>| {
            if let Some((start, len)) = run {
                // Refused for locked memory, which is not swapped out.
                // SAFETY: the range is whole pages of this slot, on which no fiber is.
                let _ = unsafe { map::give_back_memory(start, len) };
            }
        };
        self.for_each_page(MAX_SCAN, |page, _, state| {
            absent = match (state, absent.take()) {
                (PageState::Untouched, None) => Some((page, page_size)),
                (PageState::Untouched, Some((start, len))) => Some((start, len + page_size)),
                (_, run) => {
                    drop_run(run);
                    None
                }
            };
            true
        });
        drop_run(absent);
        if let Some(beyond) = self.usable().checked_sub(MAX_SCAN) {
            let beyond = beyond.next_multiple_of(page_size).min(self.chunk.shape.open());
            // SAFETY: from the limit on, not more than the slot has, and no fiber is on it.
            if !unsafe { map::give_back_memory(self.limit(), beyond) } {
                let _ = self.clean_down_to(usize::MAX);
            }
        }
        deepest
    }

    /// Gives all memory of the slot back to the system, or overwrites it where that is refused.
    pub(super) fn discard(&mut self) {
        // SAFETY: the limit is page-aligned, the range ends where the slot ends, and the slot has no
        // fiber, so its header is unused, too.
        if unsafe { map::give_back_memory(self.limit(), self.chunk.shape.open()) } {
            self.note_touched_pages(0);
        } else {
            let _ = self.clean_down_to(usize::MAX);
        }
    }

    /// Calls `f` with each page of the highest `reach` bytes, from the lowest, until it returns
    /// `false`: with its start, how many bytes of it lie below the base, and its state.
    fn for_each_page(
        &self,
        reach: usize,
        mut f: impl FnMut(NonNull<u8>, usize, PageState) -> bool,
    ) {
        let page_size = map::page_size();
        let pages = self.usable().div_ceil(page_size);
        let lowest = pages - pages.min(reach.div_ceil(page_size));
        let touched_from = pages.saturating_sub(self.touched_pages());
        let mut states = [0; PAGES_AT_ONCE];
        for first in (lowest..pages).step_by(PAGES_AT_ONCE) {
            let states = &mut states[..PAGES_AT_ONCE.min(pages - first)];
            // SAFETY: `first` is below `pages`, so the result stays within the slot.
            let start = unsafe { self.limit().add(first * page_size) };
            let is_known = map::pages_in_memory(start, states);
            for (nth, state) in (first..).zip(&*states) {
                let state = match (nth >= touched_from, is_known && state & 1 == 0) {
                    (true, _) => PageState::Touched,
                    (false, true) => PageState::Untouched,
                    (false, false) => PageState::InMemory,
                };
                let offset = nth * page_size;
                // SAFETY: below `usable`, so the result stays within the slot.
                let page = unsafe { self.limit().add(offset) };
                let len = page_size.min(self.usable() - offset);
                if !f(page, len, state) {
                    return;
                }
            }
        }
    }

    fn touched_pages(&self) -> usize {
        self.chunk.touched_pages[self.nth()].get() as usize
    }

    fn note_touched_pages(&self, pages: usize) {
        self.chunk.touched_pages[self.nth()].set(u32::try_from(pages).unwrap_or(u32::MAX));
    }

    fn nth(&self) -> usize {
        let from_start = self.base.addr().get() - self.chunk.mapping.at(0).addr().get();
        from_start / self.chunk.shape.stride
    }
}

/// What is known of a page of a stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PageState {
    /// Not in memory: never touched, or swapped out before it was noted as touched.
    Untouched,
    /// In memory, or the system does not tell.
    InMemory,
    /// Noted as touched, in memory or swapped out.
    Touched,
}

/// The offset in bytes of the first cache line that is not all zero.
fn first_nonzero(words: &[u64]) -> Option<usize> {
    let line = 64 / size_of::<u64>();
    words.chunks(line).position(|line| line.iter().any(|&word| word != 0)).map(|nth| nth * 64)
}

/// The `len` bytes from `start` on, as the processor sees them (LLVM's `freeze`, for memory).
///
/// Frames leave bytes that the language counts as uninitialised: padding, buffers filled in part,
/// values that the optimiser did not write. To read those as integers is undefined behaviour, unless
/// something has written them since. That is an empty assembly block here, which the compiler must
/// assume to write all memory it can reach.
///
/// # Safety
///
/// The range is memory of one slot that no fiber is on, mapped and open; `start` and `len` are
/// multiples of eight. Nothing writes there while the slice is in use.
#[inline(always)]
unsafe fn frozen<'a>(start: NonNull<u8>, len: usize) -> &'a [u64] {
    let words = start.cast::<u64>().as_ptr();
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", in(reg) words, options(nostack, preserves_flags)) };
    // SAFETY: mapped, aligned, and as just said initialised; not written meanwhile, says the
    // caller.
    unsafe { core::slice::from_raw_parts(words, len / size_of::<u64>()) }
}

const _: () = assert!(HEADER_ROOM.is_multiple_of(64));
