//! Tests of the slab: wiping, the high-water mark, guard zones.

use super::super::slot::{GUARD_ZONE, HEADER_ROOM};
use super::*;

const STACK: usize = 64 * 1024;

fn slab(wipe: bool) -> Slab {
    Slab::new(STACK, StackGuard::Auto, wipe)
}

/// Writes to the stack as a job of that depth does.
fn use_down_to(slot: &Slot, depth: usize) {
    use_between(slot, 0, depth);
}

/// As a job that leaves the highest `from` bytes unwritten.
fn use_between(slot: &Slot, from: usize, depth: usize) {
    assert!((from..=slot.usable()).contains(&depth));
    // SAFETY: within the slot, see above.
    let lowest = unsafe { slot.base().sub(depth) };
    // SAFETY: from `lowest` to the base is memory of the slot, which has no fiber.
    unsafe { lowest.write_bytes(0xA5, depth - from) };
}

/// Whether every byte is zero, also in pages that the system says were not touched.
fn is_clean(slot: &Slot) -> bool {
    !slot.is_dirty_below(0, slot.usable())
}

/// Bytes of the stack that are in memory.
fn resident(slot: &Slot) -> usize {
    let mut pages = vec![0; slot.usable().div_ceil(map::page_size())];
    assert!(map::pages_in_memory(slot.limit(), &mut pages));
    pages.iter().filter(|&&page| page & 1 == 1).count() * map::page_size()
}

#[test]
fn depth_is_the_distance_of_the_lowest_written_byte_from_the_base() {
    let slot = slab(true).take(|| 1).unwrap();
    assert_eq!(slot.depth(), 0);
    for depth in [64, 4096, 6016, slot.usable()] {
        use_down_to(&slot, depth);
        assert_eq!(slot.depth(), depth);
    }
}

#[test]
fn a_stack_that_another_comes_back_on_top_of_is_wiped() {
    let mut slab = slab(true);
    let (first, second) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
    use_down_to(&first, 6016);
    use_down_to(&second, 640);
    slab.give_back(first);
    slab.give_back(second);
    assert_eq!(slab.high_water(), 6016);
    let (second, first) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
    assert!(is_clean(&first));
    assert!(!is_clean(&second), "the one that came back last is only wiped on request");
    slab.give_back(second);
    slab.wipe();
    assert!(is_clean(&slab.take(|| 1).unwrap()));
}

/// A slab with a high-water mark of `depth`, and two of its stacks.
fn slab_used_to(depth: usize) -> (Slab, Slot, Slot) {
    let mut slab = slab(true);
    for _ in 0..2 {
        let (first, second) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
        use_down_to(&first, depth);
        use_down_to(&second, depth);
        slab.give_back(first);
        slab.give_back(second);
    }
    assert_eq!(slab.high_water(), depth);
    slab.wipe();
    let (first, second) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
    assert!(is_clean(&first) && is_clean(&second));
    (slab, first, second)
}

/// Gives both back and takes the first again.
fn give_back_both(slab: &mut Slab, first: Slot, second: Slot) -> Slot {
    let base = first.base();
    slab.give_back(first);
    slab.give_back(second);
    let _hot = slab.take(|| 1).unwrap();
    let first = slab.take(|| 1).unwrap();
    assert_eq!(first.base(), base);
    first
}

#[test]
fn a_secret_left_deeper_than_ever_is_gone_after_the_next_return() {
    for depth in [704, 768, 6016, 30_016] {
        let (mut slab, first, second) = slab_used_to(640);
        use_down_to(&first, depth);
        let first = give_back_both(&mut slab, first, second);
        assert!(is_clean(&first), "{depth}");
        assert_eq!(slab.high_water(), depth);
    }
}

#[test]
fn a_secret_below_a_gap_shorter_than_the_window_is_gone_after_the_next_return() {
    for gap in [64, 128, 512, 1024 - 64] {
        let (mut slab, first, second) = slab_used_to(640);
        use_between(&first, 640 + gap, 6016);
        let first = give_back_both(&mut slab, first, second);
        assert!(is_clean(&first), "{gap}");
    }
}

/// Gaps wider than any wipe_check: within a page, over pages, down to the last bytes.
const GAPS: [(usize, usize); 4] =
    [(4096, 4160), (20_032, 20_096), (61_440, 61_504), (65_472, 65_536)];

#[test]
fn a_secret_below_any_gap_is_wiped_on_request_on_every_idle_stack() {
    for (from, depth) in GAPS {
        let (mut slab, first, second) = slab_used_to(640);
        let third = slab.take(|| 1).unwrap();
        for slot in [&first, &second, &third] {
            use_between(slot, from, depth);
        }
        slab.give_back(first);
        slab.give_back(second);
        slab.give_back(third);
        slab.wipe();
        assert_eq!(slab.high_water(), depth);
        for _ in 0..3 {
            assert!(is_clean(&slab.take(|| 1).unwrap()), "{from}");
        }
    }
}

#[test]
fn a_secret_below_any_gap_on_an_idle_stack_is_gone_after_a_scan_s_returns_of_others() {
    for (from, depth) in GAPS {
        let (mut slab, first, mut second) = slab_used_to(640);
        let base = first.base();
        use_between(&first, from, depth);
        slab.give_back(first);
        // All of them of one stack, which is never wiped.
        for _ in 0..SCAN_EVERY {
            slab.give_back(second);
            second = slab.take(|| 1).unwrap();
        }
        let first = slab.take(|| 1).unwrap();
        assert_eq!(first.base(), base);
        assert!(is_clean(&first), "{from}");
        assert_eq!(slab.high_water(), depth);
    }
}

#[test]
fn the_mark_is_right_after_a_scan_s_returns_of_one_stack_alone() {
    for (from, depth) in GAPS {
        let (mut slab, mut only, _) = slab_used_to(640);
        assert_eq!(slab.high_water(), 640);
        use_between(&only, from, depth);
        for _ in 0..SCAN_EVERY {
            slab.give_back(only);
            only = slab.take(|| 1).unwrap();
        }
        slab.give_back(only);
        assert_eq!(slab.high_water(), depth);
    }
}

#[test]
fn stacks_that_change_hands_at_random_are_never_wrong_for_more_returns_than_a_scan_has() {
    // xorshift
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut slab = slab(true);
    let mut in_use = Vec::new();
    // The deepest use, by which stack, and the returns since that stack came back.
    let (mut deepest, mut deepest_at, mut since_deepest) = (0, None, 0);
    for _ in 0..20_000 {
        if in_use.len() < 9 && random(2) == 0 {
            let slot = slab.take(|| 1).unwrap();
            // Rarely deep, and then at any depth.
            if random(40) == 0 {
                let from = random(slot.usable() / 64) * 64;
                use_between(&slot, from, from + 64);
            }
            use_down_to(&slot, 64 * (1 + random(20)));
            in_use.push(slot);
        } else if !in_use.is_empty() {
            let slot = in_use.swap_remove(random(in_use.len()));
            let (depth, at) = (slot.depth(), Some(slot.base()));
            slab.give_back(slot);
            since_deepest += 1;
            // A stack that has a job again is scanned after that one has ended.
            if depth > deepest || at == deepest_at {
                (deepest, deepest_at, since_deepest) = (deepest.max(depth), at, 0);
            }
        }
        if since_deepest > SCAN_EVERY as usize && in_use.is_empty() {
            assert_eq!(slab.high_water(), deepest);
        }
        let unscanned = slab.idle.iter().rev().take_while(|idle| !idle.scanned).count();
        assert!(unscanned <= SCAN_EVERY as usize);
        assert!(slab.idle.iter().filter(|idle| idle.scanned).all(|i| is_clean(&i.slot)));
    }
    in_use.into_iter().for_each(|slot| slab.give_back(slot));
    slab.wipe();
    assert!(slab.idle.iter().all(|idle| is_clean(&idle.slot)));
}

#[test]
fn scans_and_wipes_bring_no_page_into_memory_that_no_job_touched() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let mut slab = slab(true);
    let (first, second) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
    // One deep job, and the mark is deep for all.
    use_down_to(&first, 60 * 1024);
    use_down_to(&second, 640);
    let (deep, shallow) = (first.base(), second.base());
    slab.give_back(first);
    slab.give_back(second);
    for _ in 0..3 * SCAN_EVERY {
        let (a, b) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
        slab.give_back(a);
        slab.give_back(b);
    }
    assert_eq!(slab.high_water(), 60 * 1024);
    slab.wipe();
    let slots = [slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap()];
    let at = |base| slots.iter().find(|slot| slot.base() == base).unwrap();
    assert!(resident(at(deep)) >= 60 * 1024);
    // The top page, and two that checks have read, at the mark and below the top page: that
    // maps the page of zeros that all processes share, and takes no memory.
    let few = 3 * map::page_size();
    assert!(resident(at(shallow)) <= few, "{}", resident(at(shallow)));
}

#[test]
fn checks_below_the_mark_stay_on_the_stack() {
    let mut slab = slab(true);
    let slot = slab.take(|| 1).unwrap();
    let usable = slot.usable();
    for known in [usable, usable - 64, 0] {
        assert!(!slot.is_dirty_below(known, RETURN_CHECK));
        assert!(!slot.is_dirty_below(known, slot.wipe_check(known)));
    }
    use_down_to(&slot, usable);
    slab.give_back(slot);
    slab.wipe();
    assert_eq!((slab.high_water(), is_clean(&slab.take(|| 1).unwrap())), (usable, true));
}

#[test]
fn without_wiping_nothing_is_measured_or_overwritten() {
    let mut slab = slab(false);
    let slot = slab.take(|| 1).unwrap();
    use_down_to(&slot, 640);
    slab.give_back(slot);
    slab.wipe();
    assert_eq!((slab.high_water(), is_clean(&slab.take(|| 1).unwrap())), (0, false));
}

#[test]
fn an_emptied_stack_holds_zeros_and_keeps_its_guard() {
    for guard in [StackGuard::Auto, StackGuard::Protect] {
        let mut slab = Slab::new(STACK, guard, false);
        let (in_use, idle) = (slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap());
        use_down_to(&idle, 6016);
        slab.give_back(idle);
        assert_eq!(slab.shrink(), 0);
        let idle = slab.take(|| 1).unwrap();
        assert!(is_clean(&idle));
        assert_zone_faults(&idle);
        drop(in_use);
    }
}

/// Checks that the system can read no byte of the zone.
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
        [(StackGuard::Auto, STACK), (StackGuard::Protect, 16 * 1024), (StackGuard::Auto, 262_144)]
    {
        let mut slab = Slab::new(stack_size, guard, true);
        let mut slots: Vec<_> = (0..40).map(|_| slab.take(|| 1).unwrap()).collect();
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
    map::emulator::simulate(|| {
        let mut slab = slab(true);
        let slots = [slab.take(|| 1).unwrap(), slab.take(|| 1).unwrap()];
        assert_eq!(slab.guard, StackGuard::Protect);
        slots.iter().for_each(assert_zone_faults);
    });
    // The simulation leaves no trace in later slabs.
    let mut slab = slab(true);
    let slot = slab.take(|| 1).unwrap();
    assert_zone_faults(&slot);
}
