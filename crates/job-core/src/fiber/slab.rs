//! Where stacks come from: large reservations cut into guarded slots.
//!
//! ```text
//!  one reservation (one mapping where the kernel has guard markers)
//!  +-------+-----------------------+--------+-------+-----------------------+--------+--- ...
//!  | guard | stack, grows <------- | header | guard | stack, grows <------- | header |
//!  | zone  |                       |        | zone  |                       |        |
//!  +-------+-----------------------+--------+-------+-----------------------+--------+--- ...
//!          ^ limit                 ^ base
//! ```
//!
//! Pages are touched when a job touches them: a slot that was never used costs no memory, and a
//! paused job that stays within its top page costs that page and its share of the page tables,
//! which is the stride divided by 512.
//!
//! # Wiping
//!
//! The mark is the deepest use known. A stack that another comes back on top of is overwritten down
//! to the mark, or down to the page that was the lowest this stack has used so far, so that a wipe
//! costs what the jobs use and not what a stack could hold. A job that goes deeper shows below that,
//! and four looks of growing reach and cost find it:
//! - at every return the next cache line;
//! - at every wipe the rest of the page, a kilobyte at least. A return address lies at the end of
//!   each frame, so the two overlook only what is below a frame that spans their reach and left it
//!   untouched;
//! - at one return in [`LOOK_EVERY`] the whole of each stack that was wiped since the last time,
//!   whatever lies between. That look overwrites what it finds. The kernel says which pages were
//!   ever touched, and the others are left alone: they stay out of memory;
//! - the stack that came back last, which is not wiped, is looked at whole when somebody asks for
//!   the mark, if there were [`LOOK_EVERY`] returns since the last time, and when it is wiped on
//!   request.
//!
//! So neither the mark nor a wiped stack is wrong for longer than [`LOOK_EVERY`] returns, but for
//! pages that the system has swapped out in between; and a wipe on request drops those as well.

use core::mem;
use std::rc::Rc;

use super::map::{self, Access, GuardKind, StackError};
use super::slot::{Chunk, Shape, Slot};

/// Stacks in the first reservation of a slab; every further one doubles, up to [`MAX_CHUNK`].
const MIN_CHUNK: usize = 16;
/// Stacks in the largest reservation.
const MAX_CHUNK: usize = 1024;
/// One return in this number looks at the whole of what was wiped since the last such look.
const LOOK_EVERY: u32 = 64;
/// Every return of a stack looks for traces so far below the mark: one cache line.
const TRIPWIRE: usize = 64;

/// The idle stacks of a pool, last in first out, and the reservation that new ones are cut from.
#[derive(Debug)]
pub(crate) struct Slab {
    shape: Shape,
    guard: GuardKind,
    wipe: bool,
    /// The stack that came back last, not wiped yet: most often the next job is on it before that
    /// would pay.
    hot: Option<Slot>,
    /// The others, wiped.
    idle: Vec<Idle>,
    /// How many of the idle stacks, from the bottom, have been looked at whole.
    looked_at: usize,
    /// The newest reservation and how many slots have been cut from it.
    fresh: Option<(Rc<Chunk>, usize)>,
    next_chunk: usize,
    made: usize,
    /// Returns until the next look at whole stacks.
    until_look: u32,
    /// Whether the hot stack is looked at when somebody asks for the mark.
    is_hot_due: bool,
    /// How deep stacks are wiped. At no time more than is known to have been used.
    mark: usize,
    /// Mappings we may still make before the kernel's limit; only counted with
    /// [`GuardKind::Protect`].
    headroom: usize,
}

/// A stack that was wiped.
#[derive(Debug)]
struct Idle {
    slot: Slot,
    /// Whether all of it was looked at since a job was on it.
    looked_at: bool,
}

impl Slab {
    /// A slab of stacks with at least `stack_size` bytes for frames; reserves nothing yet.
    pub(crate) fn new(stack_size: usize, guard: GuardKind, wipe: bool) -> Self {
        let shape = Shape::of(stack_size);
        // What `FiberStack` promises to corosensei.
        assert!(
            shape.usable >= corosensei::stack::MIN_STACK_SIZE,
            "the pool's builder saw to that"
        );
        Self {
            shape,
            guard,
            wipe,
            hot: None,
            idle: Vec::new(),
            looked_at: 0,
            fresh: None,
            next_chunk: MIN_CHUNK,
            made: 0,
            until_look: LOOK_EVERY,
            is_hot_due: true,
            mark: 0,
            headroom: 0,
        }
    }

    /// The stack that was given back last, or a new one. `wanted` is how many may be asked for, for
    /// the figure in the error.
    #[inline]
    pub(crate) fn take(&mut self, wanted: usize) -> Result<Slot, StackError> {
        match self.hot.take() {
            Some(slot) => Ok(slot),
            None => self.take_cold(wanted),
        }
    }

    // Out of the way of a start on the hot stack.
    #[inline(never)]
    fn take_cold(&mut self, wanted: usize) -> Result<Slot, StackError> {
        let Some(Idle { slot, .. }) = self.idle.pop() else { return self.make(wanted) };
        self.looked_at = self.looked_at.min(self.idle.len());
        Ok(slot)
    }

    /// Makes up to `n` idle stacks and answers how many.
    pub(crate) fn preallocate(&mut self, n: usize) -> usize {
        let cold = (0..n).map_while(|done| self.make(n - done).ok());
        let cold: Vec<Idle> = cold.map(|slot| Idle { slot, looked_at: true }).collect();
        let made = cold.len();
        // Below the ones that are warm.
        self.idle.splice(0..0, cold);
        self.looked_at += made;
        made
    }

    /// Takes a stack back.
    #[inline]
    pub(crate) fn give_back(&mut self, slot: Slot) {
        if self.wipe && slot.is_used_beyond(self.mark, TRIPWIRE) {
            self.measure(&slot);
        }
        if let Some(cooler) = self.hot.replace(slot) {
            self.retire(cooler);
        }
        self.until_look -= 1;
        if self.until_look == 0 {
            self.look();
        }
    }

    fn retire(&mut self, mut slot: Slot) {
        let mut looked_at = false;
        if self.wipe {
            // No page that this stack has not used yet is written to.
            let known = self.mark.min(slot.warm());
            if slot.is_used_beyond(known, slot.window(known)) {
                self.note_depth(slot.clean());
                looked_at = true;
            } else {
                slot.wipe(known);
            }
        }
        self.idle.push(Idle { slot, looked_at });
    }

    /// Looks at the whole of each stack that was wiped since the last time.
    #[cold]
    fn look(&mut self) {
        self.until_look = LOOK_EVERY;
        self.is_hot_due = true;
        if self.wipe {
            let mut deepest = 0;
            for idle in self.idle[self.looked_at..].iter_mut().filter(|idle| !idle.looked_at) {
                deepest = deepest.max(idle.slot.clean());
                idle.looked_at = true;
            }
            self.note_depth(deepest);
        }
        self.looked_at = self.idle.len();
    }

    /// Wipes every idle stack, the one that came back last included, to its true depth.
    pub(crate) fn wipe(&mut self) {
        if !self.wipe {
            return;
        }
        if let Some(slot) = self.hot.take() {
            self.idle.push(Idle { slot, looked_at: false });
        }
        let mut deepest = 0;
        for idle in &mut self.idle {
            deepest = deepest.max(idle.slot.clean_all());
            idle.looked_at = true;
        }
        self.looked_at = self.idle.len();
        self.note_depth(deepest);
    }

    #[cold]
    fn measure(&mut self, slot: &Slot) {
        self.note_depth(slot.depth());
    }

    fn note_depth(&mut self, depth: usize) {
        self.mark = self.mark.max(depth);
    }

    /// Returns the memory of idle stacks to the system; whole reservations where all their stacks
    /// are idle. Answers how many stacks ceased to exist.
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
        self.looked_at = self.idle.len();
        let gone = before - self.idle.len();
        self.made -= gone;
        gone
    }

    /// Unmaps a reservation if these are all the slots ever cut from it; else empties and keeps
    /// them.
    fn release(&mut self, slots: &mut Vec<Slot>) {
        let Some(first) = slots.first() else { return };
        let is_fresh =
            self.fresh.as_ref().is_some_and(|(chunk, _)| Rc::ptr_eq(chunk, first.chunk()));
        // The slab's own handle to the newest reservation counts as one.
        if Rc::strong_count(first.chunk()) == slots.len() + usize::from(is_fresh) {
            if is_fresh {
                self.fresh = None;
            }
            slots.clear();
        } else {
            slots.iter_mut().for_each(Slot::forget_contents);
            self.idle.extend(slots.drain(..).map(|slot| Idle { slot, looked_at: true }));
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
    pub(crate) fn mark(&mut self) -> usize {
        if self.wipe
            && self.is_hot_due
            && let Some(slot) = &self.hot
        {
            self.is_hot_due = false;
            let depth = slot.depth();
            self.note_depth(depth);
        }
        self.mark
    }

    /// A stack that leaves the books for good, because its job cannot be ended.
    pub(crate) fn write_off(&mut self) {
        self.made -= 1;
    }

    /// Cuts a new slot, reserving more address space if need be.
    #[cold]
    fn make(&mut self, wanted: usize) -> Result<Slot, StackError> {
        // Asking for what the kernel may not have is how this works, and none of the application's
        // business.
        let _errno = KeepErrno(errno::errno());
        loop {
            if self.guard == GuardKind::Protect && self.headroom < 2 {
                self.headroom = map::mapping_headroom(wanted)?;
            }
            let (chunk, cut) = match self.fresh.take() {
                Some((chunk, cut)) if cut < chunk.stacks() => (chunk, cut),
                _ => (self.reserve()?, 0),
            };
            // A failure leaves the slot uncut: the next attempt tries the same one again.
            self.fresh = Some((Rc::clone(&chunk), cut));
            if chunk.guard(cut, wanted)? {
                self.fresh = Some((Rc::clone(&chunk), cut + 1));
                self.made += 1;
                self.headroom = self.headroom.saturating_sub(2);
                return Ok(Slot::cut(&chunk, cut));
            }
            // No markers: from now on reservations are closed, and this one is left to the slots
            // that were cut from it before.
            self.guard = GuardKind::Protect;
            self.fresh = None;
        }
    }

    fn reserve(&mut self) -> Result<Rc<Chunk>, StackError> {
        let access = match self.guard {
            GuardKind::Auto => Access::Open,
            GuardKind::Protect => Access::Closed,
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

/// Puts the thread's `errno` back.
struct KeepErrno(errno::Errno);

impl Drop for KeepErrno {
    fn drop(&mut self) {
        errno::set_errno(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::GUARD_ZONE;
    use super::super::switch::HEADER_ROOM;
    use super::*;

    const STACK: usize = 64 * 1024;

    fn slab(wipe: bool) -> Slab {
        Slab::new(STACK, GuardKind::Auto, wipe)
    }

    /// Does what a job of that depth does to a stack.
    fn use_down_to(slot: &Slot, depth: usize) {
        use_between(slot, 0, depth);
    }

    /// The same for one that leaves the highest `from` bytes as they are.
    fn use_between(slot: &Slot, from: usize, depth: usize) {
        assert!((from..=slot.usable()).contains(&depth));
        // SAFETY: within the slot, see above.
        let lowest = unsafe { slot.base().sub(depth) };
        // SAFETY: from `lowest` to the base is memory of the slot that nobody else uses.
        unsafe { lowest.write_bytes(0xA5, depth - from) };
    }

    /// Looks at every byte, whatever the system says about pages.
    fn is_clean(slot: &Slot) -> bool {
        !slot.is_used_beyond(0, slot.usable())
    }

    /// Bytes of the stack that are in memory.
    fn resident(slot: &Slot) -> usize {
        let mut pages = vec![0; slot.usable().div_ceil(map::page_size())];
        assert!(map::pages_in_memory(slot.limit(), &mut pages));
        pages.iter().filter(|&&page| page & 1 == 1).count() * map::page_size()
    }

    #[test]
    fn depth_is_the_distance_of_the_lowest_trace_from_the_base() {
        let slot = slab(true).take(1).unwrap();
        assert_eq!(slot.depth(), 0);
        for depth in [64, 4096, 6016, slot.usable()] {
            use_down_to(&slot, depth);
            assert_eq!(slot.depth(), depth);
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

    /// A slab that has seen `depth` and no more, and two of its stacks.
    fn accustomed_to(depth: usize) -> (Slab, Slot, Slot) {
        let mut slab = slab(true);
        for _ in 0..2 {
            let (first, second) = (slab.take(1).unwrap(), slab.take(1).unwrap());
            use_down_to(&first, depth);
            use_down_to(&second, depth);
            slab.give_back(first);
            slab.give_back(second);
        }
        assert_eq!(slab.mark(), depth);
        slab.wipe();
        let (first, second) = (slab.take(1).unwrap(), slab.take(1).unwrap());
        assert!(is_clean(&first) && is_clean(&second));
        (slab, first, second)
    }

    /// Gives both back and finds the first again.
    fn give_back_both(slab: &mut Slab, first: Slot, second: Slot) -> Slot {
        let base = first.base();
        slab.give_back(first);
        slab.give_back(second);
        let _hot = slab.take(1).unwrap();
        let first = slab.take(1).unwrap();
        assert_eq!(first.base(), base);
        first
    }

    #[test]
    fn a_secret_left_deeper_than_ever_is_gone_after_the_next_return() {
        for depth in [704, 768, 6016, 30_016] {
            let (mut slab, first, second) = accustomed_to(640);
            use_down_to(&first, depth);
            let first = give_back_both(&mut slab, first, second);
            assert!(is_clean(&first), "{depth}");
            assert_eq!(slab.mark(), depth);
        }
    }

    #[test]
    fn a_secret_below_a_gap_shorter_than_the_window_is_gone_after_the_next_return() {
        for gap in [64, 128, 512, 1024 - 64] {
            let (mut slab, first, second) = accustomed_to(640);
            use_between(&first, 640 + gap, 6016);
            let first = give_back_both(&mut slab, first, second);
            assert!(is_clean(&first), "{gap}");
        }
    }

    /// Gaps wider than any window: within a page, over pages, down to the last bytes.
    const GAPS: [(usize, usize); 4] =
        [(4096, 4160), (20_032, 20_096), (61_440, 61_504), (65_472, 65_536)];

    #[test]
    fn a_secret_below_any_gap_is_wiped_on_request_on_every_idle_stack() {
        for (from, depth) in GAPS {
            let (mut slab, first, second) = accustomed_to(640);
            let third = slab.take(1).unwrap();
            for slot in [&first, &second, &third] {
                use_between(slot, from, depth);
            }
            slab.give_back(first);
            slab.give_back(second);
            slab.give_back(third);
            slab.wipe();
            assert_eq!(slab.mark(), depth);
            for _ in 0..3 {
                assert!(is_clean(&slab.take(1).unwrap()), "{from}");
            }
        }
    }

    #[test]
    fn a_secret_below_any_gap_on_an_idle_stack_is_gone_after_64_returns_of_others() {
        for (from, depth) in GAPS {
            let (mut slab, first, mut second) = accustomed_to(640);
            let base = first.base();
            use_between(&first, from, depth);
            slab.give_back(first);
            // All of them of one stack, which is never wiped.
            for _ in 0..LOOK_EVERY {
                slab.give_back(second);
                second = slab.take(1).unwrap();
            }
            let first = slab.take(1).unwrap();
            assert_eq!(first.base(), base);
            assert!(is_clean(&first), "{from}");
            assert_eq!(slab.mark(), depth);
        }
    }

    #[test]
    fn the_mark_is_right_after_64_returns_of_one_stack_alone() {
        for (from, depth) in GAPS {
            let (mut slab, mut only, _) = accustomed_to(640);
            assert_eq!(slab.mark(), 640);
            use_between(&only, from, depth);
            for _ in 0..LOOK_EVERY {
                slab.give_back(only);
                only = slab.take(1).unwrap();
            }
            slab.give_back(only);
            assert_eq!(slab.mark(), depth);
        }
    }

    #[test]
    fn stacks_that_change_hands_at_random_are_never_wrong_for_more_than_64_returns() {
        // A generator of our own, for one that is small enough to be read: xorshift.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut slab = slab(true);
        let mut in_use = Vec::new();
        let mut deepest = 0;
        let mut since_deepest = 0;
        for _ in 0..5_000 {
            if in_use.len() < 9 && random(2) == 0 {
                let slot = slab.take(1).unwrap();
                // Hardly ever deep, and then anywhere.
                if random(40) == 0 {
                    let from = random(slot.usable() / 64) * 64;
                    use_between(&slot, from, from + 64);
                }
                use_down_to(&slot, 64 * (1 + random(20)));
                in_use.push(slot);
            } else if !in_use.is_empty() {
                let slot = in_use.swap_remove(random(in_use.len()));
                let depth = slot.depth();
                slab.give_back(slot);
                since_deepest += 1;
                if depth > deepest {
                    (deepest, since_deepest) = (depth, 0);
                }
            }
            // A stack that has a job again is looked at when that one ends.
            if since_deepest > LOOK_EVERY as usize && in_use.is_empty() {
                assert_eq!(slab.mark(), deepest);
            }
            let unlooked = slab.idle.iter().rev().take_while(|idle| !idle.looked_at).count();
            assert!(unlooked <= LOOK_EVERY as usize);
            assert!(slab.idle.iter().filter(|idle| idle.looked_at).all(|i| is_clean(&i.slot)));
        }
        in_use.into_iter().for_each(|slot| slab.give_back(slot));
        slab.wipe();
        assert!(slab.idle.iter().all(|idle| is_clean(&idle.slot)));
    }

    #[test]
    fn looking_and_wiping_bring_no_page_into_memory_that_no_job_touched() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let mut slab = slab(true);
        let (first, second) = (slab.take(1).unwrap(), slab.take(1).unwrap());
        // One deep job, and the mark is deep for all.
        use_down_to(&first, 60 * 1024);
        use_down_to(&second, 640);
        let (deep, shallow) = (first.base(), second.base());
        slab.give_back(first);
        slab.give_back(second);
        for _ in 0..3 * LOOK_EVERY {
            let (a, b) = (slab.take(1).unwrap(), slab.take(1).unwrap());
            slab.give_back(a);
            slab.give_back(b);
        }
        assert_eq!(slab.mark(), 60 * 1024);
        slab.wipe();
        let slots = [slab.take(1).unwrap(), slab.take(1).unwrap()];
        let at = |base| slots.iter().find(|slot| slot.base() == base).unwrap();
        assert!(resident(at(deep)) >= 60 * 1024);
        // The top page, and two in which looks have read, at the mark and below the top page: that
        // maps the page of zeros that all processes share, and takes no memory.
        let few = 3 * map::page_size();
        assert!(resident(at(shallow)) <= few, "{}", resident(at(shallow)));
    }

    #[test]
    fn looking_below_the_mark_stays_on_the_stack() {
        let mut slab = slab(true);
        let slot = slab.take(1).unwrap();
        let usable = slot.usable();
        for known in [usable, usable - 64, 0] {
            assert!(!slot.is_used_beyond(known, TRIPWIRE));
            assert!(!slot.is_used_beyond(known, slot.window(known)));
        }
        use_down_to(&slot, usable);
        slab.give_back(slot);
        slab.wipe();
        assert_eq!((slab.mark(), is_clean(&slab.take(1).unwrap())), (usable, true));
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
            let idle = slab.take(1).unwrap();
            assert!(is_clean(&idle));
            assert_zone_faults(&idle);
            drop(in_use);
        }
    }

    /// The system reads no byte of the zone for us.
    fn assert_zone_faults(slot: &Slot) {
        let start = slot.guard_start().get();
        let (_reader, writer) = std::io::pipe().unwrap();
        for address in (start..slot.limit().addr().get()).step_by(map::page_size() / 4) {
            let byte = core::ptr::with_exposed_provenance::<core::ffi::c_void>(address);
            let fd = std::os::fd::AsRawFd::as_raw_fd(&writer);
            // SAFETY: the kernel reads the byte, or says that it cannot.
            assert_eq!(unsafe { libc::write(fd, byte, 1) }, -1, "{address:x}");
            assert_eq!(errno::errno().0, libc::EFAULT);
        }
    }

    #[test]
    fn slots_do_not_overlap_each_other_or_their_guards() {
        for (guard, stack_size) in
            [(GuardKind::Auto, STACK), (GuardKind::Protect, 16 * 1024), (GuardKind::Auto, 262_144)]
        {
            let mut slab = Slab::new(stack_size, guard, true);
            let mut slots: Vec<_> = (0..40).map(|_| slab.take(1).unwrap()).collect();
            slots.sort_unstable_by_key(Slot::base);
            for pair in slots.windows(2) {
                let (lower, upper) = (&pair[0], &pair[1]);
                let end = lower.base().addr().get() + HEADER_ROOM;
                assert!(end + GUARD_ZONE <= upper.limit().addr().get());
                assert!(end <= upper.guard_start().get());
                assert!(upper.usable() >= stack_size);
                assert_eq!(upper.limit().addr().get() % map::page_size(), 0);
            }
            for slot in &slots {
                assert_zone_faults(slot);
                // The lowest and the highest byte are the job's.
                use_between(slot, slot.usable() - 1, slot.usable());
                use_between(slot, 0, 1);
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn where_guard_markers_are_accepted_and_guard_nothing_memory_is_closed_instead() {
        map::lie::tell(|| {
            let mut slab = slab(true);
            let slots = [slab.take(1).unwrap(), slab.take(1).unwrap()];
            assert_eq!(slab.guard, GuardKind::Protect);
            slots.iter().for_each(assert_zone_faults);
        });
        // The lie is of this thread's making, and no other slab heard of it.
        let mut slab = slab(true);
        let slot = slab.take(1).unwrap();
        assert_zone_faults(&slot);
    }
}
