//! The system calls of the slab: reserve address space, guard zones, give memory back, and query
//! which pages are in memory.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

#[cfg(target_os = "linux")]
use core::sync::atomic::{AtomicU8, Ordering};

use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

/// Mappings that are left to the rest of the process before the kernel's limit.
#[cfg(target_os = "linux")]
const SPARE_MAPPINGS: usize = 1024;

/// How the guard zone below a stack is made. Its size is the same but for a page: 120 KiB at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackGuard {
    /// Guard markers in the page tables where the kernel has them (Linux 6.13 and later), page
    /// protection elsewhere. Markers are trusted once one has faulted in this process, since
    /// emulators accept them and guard nothing.
    #[default]
    Auto,
    /// Page protection always: two memory mappings for each stack, of which Linux allows some 65,530
    /// in a process.
    Protect,
}

/// Why no stack could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackError {
    OutOfMemory,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux limits them"))]
    OutOfMappings {
        limit: usize,
        needed: usize,
    },
}

/// The protection of a reservation when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Readable and writable; guard zones are marked afterwards.
    Open,
    /// Not accessible; stacks are opened one by one, and the rest between them is the guard. Where
    /// the process locks its memory, only opened stacks take any.
    Closed,
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    // Not from rustix, which reads the auxiliary vector and panics at the one under valgrind.
    unsafe extern "C" {
        safe fn getpagesize() -> core::ffi::c_int;
    }

    getpagesize().unsigned_abs() as usize
}

/// A private anonymous reservation.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    access: Access,
}

impl Mapping {
    /// Reserves `len` bytes, a multiple of the page size, without huge pages.
    pub(super) fn reserve(len: usize, access: Access) -> Result<Self, StackError> {
        // A huge page under a stack would make one paused job cost 2 MiB.
        #[cfg(target_os = "linux")]
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        #[cfg(not(target_os = "linux"))]
        let flags = MapFlags::PRIVATE;
        let allowed = match access {
            Access::Open => ProtFlags::READ | ProtFlags::WRITE,
            Access::Closed => ProtFlags::empty(),
        };
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, allowed, flags) }
            .map_err(|_| StackError::OutOfMemory)?;
        let start = NonNull::new(start.cast()).ok_or(StackError::OutOfMemory)?;
        let mapping = Self { start, len, access };
        #[cfg(target_os = "linux")]
        {
            let range = mapping.start.as_ptr().cast();
            // Refused by a kernel built without huge pages.
            // SAFETY: the advice changes how the range is backed, not what it holds, and the range
            // is ours.
            let _ = unsafe { mm::madvise(range, len, mm::Advice::LinuxNoHugepage) };
        }
        Ok(mapping)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// The address `offset` bytes into the reservation.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.len, "an offset lies within its reservation");
        // SAFETY: just checked to be in bounds of the mapping, which is one allocation.
        unsafe { self.start.add(offset) }
    }

    /// Marks `len` bytes at `offset` as a guard zone. Returns `false` where there are no markers or
    /// they do not fault; the zone may be marked or not then.
    pub(super) fn mark_guard(&self, offset: usize, len: usize) -> Result<bool, StackError> {
        assert!(len <= self.len - offset, "a guard zone lies within its reservation");
        mark_guard(self.at(offset), len)
    }

    /// Opens the `len` bytes of a stack at `offset` of a closed reservation.
    pub(super) fn open(&self, offset: usize, len: usize, wanted: usize) -> Result<(), StackError> {
        assert!(len <= self.len - offset, "a stack lies within its reservation");
        let start = self.at(offset).as_ptr().cast::<c_void>();
        let allowed = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in this reservation, and nothing points into a range that was
        // never open.
        unsafe { mm::mprotect(start, len, allowed) }.map_err(|_| refusal(wanted))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole range was mapped by `reserve`. Every `Slot` cut from it holds its chunk
        // alive, and a fiber holds its slot, so nothing points into it any more.
        let unmapped = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of a whole reservation");
    }
}

/// Whether guard markers fault in this process: [`UNTESTED`], [`FAULT`] or [`NO_FAULT`].
///
/// Emulators accept advice that they do not know, and guard nothing. So the first zone of a process
/// is tested.
#[cfg(target_os = "linux")]
static MARKERS: AtomicU8 = AtomicU8::new(UNTESTED);
#[cfg(target_os = "linux")]
const UNTESTED: u8 = 0;
#[cfg(target_os = "linux")]
const FAULT: u8 = 1;
#[cfg(target_os = "linux")]
const NO_FAULT: u8 = 2;

#[cfg(target_os = "linux")]
fn mark_guard(start: NonNull<u8>, len: usize) -> Result<bool, StackError> {
    /// `MADV_GUARD_INSTALL`, which libc does not have yet.
    const GUARD_INSTALL: core::ffi::c_int = 102;

    let known = MARKERS.load(Ordering::Relaxed);
    #[cfg(test)]
    let known = if emulator::is_simulated() { UNTESTED } else { known };
    if known == NO_FAULT {
        return Ok(false);
    }
    let advise = || {
        #[cfg(test)]
        if emulator::is_simulated() {
            return 0;
        }
        // SAFETY: the caller passes a zone of its own reservation that no slot uses. The call
        // either makes it fault from now on or does nothing.
        unsafe { libc::madvise(start.as_ptr().cast(), len, GUARD_INSTALL) }
    };
    if advise() != 0 {
        return match errno::errno().0 {
            // An older kernel, or the pages are locked in memory (`mlockall`).
            libc::EINVAL | libc::ENOSYS => Ok(false),
            _ => Err(StackError::OutOfMemory),
        };
    }
    if known == FAULT {
        return Ok(true);
    }
    let Some(faults) = faults_at_both_ends(start, len) else { return Ok(false) };
    #[cfg(test)]
    if emulator::is_simulated() {
        return Ok(faults);
    }
    MARKERS.store(if faults { FAULT } else { NO_FAULT }, Ordering::Relaxed);
    Ok(faults)
}

#[cfg(not(target_os = "linux"))]
fn mark_guard(_start: NonNull<u8>, _len: usize) -> Result<bool, StackError> {
    Ok(false)
}

/// Whether the system refuses to read the first and the last byte of the zone. `None` if there is no
/// free descriptor for the test.
#[cfg(target_os = "linux")]
fn faults_at_both_ends(start: NonNull<u8>, len: usize) -> Option<bool> {
    use std::os::fd::AsRawFd as _;

    // Not to `/dev/null`, which does not read what is written to it.
    let (_reader, writer) = std::io::pipe().ok()?;
    let faults = |offset| {
        // SAFETY: the zone is `len` bytes of one reservation, and both offsets are below that.
        let byte = unsafe { start.add(offset) };
        // SAFETY: the kernel reads the byte, and returns EFAULT where it cannot.
        let written = unsafe { libc::write(writer.as_raw_fd(), byte.as_ptr().cast(), 1) };
        written == -1 && errno::errno().0 == libc::EFAULT
    };
    Some(faults(0) && faults(len - 1))
}

/// Simulates an emulator that accepts `MADV_GUARD_INSTALL` and guards nothing.
#[cfg(all(test, target_os = "linux"))]
pub(super) mod emulator {
    use core::cell::Cell;

    thread_local! {
        static SIMULATED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn is_simulated() -> bool {
        SIMULATED.get()
    }

    /// Calls `f` while guard markers of this thread do nothing.
    pub(in crate::fiber) fn simulate<R>(f: impl FnOnce() -> R) -> R {
        SIMULATED.set(true);
        let result = f();
        SIMULATED.set(false);
        result
    }
}

/// Gives the memory of a range back to the system; the range then holds zeros. Returns `false` if it
/// is unchanged, since locked memory is not given back.
///
/// # Safety
///
/// The range lies in one open stack that no fiber is on, and starts and ends with a page.
pub(super) unsafe fn give_back_memory(start: NonNull<u8>, len: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        let advice = mm::Advice::LinuxDontNeed;
        // SAFETY: no fiber is on the stack, says the caller, so its contents are not used again.
        unsafe { mm::madvise(start.as_ptr().cast(), len, advice) }.is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (start, len);
        false
    }
}

/// Sets the lowest bit of each byte of `pages` whose page, counted from `start`, is in memory. That
/// is not so for a page that was never touched, or was swapped out. Returns `false` where the system
/// does not tell.
pub(super) fn pages_in_memory(start: NonNull<u8>, pages: &mut [u8]) -> bool {
    #[cfg(target_os = "linux")]
    {
        let len = pages.len() * page_size();
        // SAFETY: the call writes a byte for each page of the range to `pages`, which has that
        // many, and touches nothing else.
        unsafe { libc::mincore(start.as_ptr().cast(), len, pages.as_mut_ptr()) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (start, pages);
        false
    }
}

/// The number of mappings that this process can still make, less a reserve.
#[cfg(target_os = "linux")]
pub(super) fn mapping_headroom(wanted: usize) -> Result<usize, StackError> {
    let (limit, used) = mapping_limit_and_use();
    let left = limit.saturating_sub(used).saturating_sub(SPARE_MAPPINGS);
    if left < 2 {
        Err(out_of_mappings(wanted, limit, used))
    } else {
        Ok(left.min(2 * MAX_BETWEEN_CHECKS))
    }
}

/// The number of stacks after which mappings are counted again: other code makes some, too.
#[cfg(target_os = "linux")]
const MAX_BETWEEN_CHECKS: usize = 2048;

#[cfg(not(target_os = "linux"))]
pub(super) fn mapping_headroom(_wanted: usize) -> Result<usize, StackError> {
    Ok(usize::MAX)
}

#[cfg(target_os = "linux")]
fn mapping_limit_and_use() -> (usize, usize) {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_530);
    let used = std::fs::read("/proc/self/maps")
        .map_or(0, |maps| maps.iter().filter(|&&byte| byte == b'\n').count());
    (limit, used)
}

#[cfg(target_os = "linux")]
fn out_of_mappings(wanted: usize, limit: usize, used: usize) -> StackError {
    let needed = wanted.saturating_mul(2).saturating_add(used + SPARE_MAPPINGS);
    StackError::OutOfMappings { limit, needed: needed.max(limit + 1) }
}

/// The reason why a stack was not opened: the kernel has one error for too many mappings and too
/// little memory.
#[cfg(target_os = "linux")]
fn refusal(wanted: usize) -> StackError {
    let (limit, used) = mapping_limit_and_use();
    if used + 2 < limit { StackError::OutOfMemory } else { out_of_mappings(wanted, limit, used) }
}

#[cfg(not(target_os = "linux"))]
fn refusal(_wanted: usize) -> StackError {
    StackError::OutOfMemory
}
