//! The system calls behind the slab: reserving address space, guard pages, giving memory back.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

use super::slab::Slot;

/// Mappings left to the rest of the process when the kernel's limit comes near.
#[cfg(target_os = "linux")]
const SPARE_MAPPINGS: usize = 1024;

/// How the page below a stack is made to fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardKind {
    /// Try guard markers, settle for page protection.
    Auto,
    /// Guard markers in the page tables (Linux 6.13 and later): the reservation stays one mapping.
    Marker,
    /// `mprotect`: two mappings a stack, and the kernel allows some 65,530 in a process.
    Protect,
}

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackError {
    OutOfMemory,
    OutOfMappings { limit: usize, needed: usize },
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    // rustix reads this from the auxiliary vector, and does not survive the one that valgrind
    // shows.
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
}

impl Mapping {
    /// Reserves `len` bytes, a multiple of the page size: readable, writable, without huge pages.
    pub(super) fn reserve(len: usize) -> Result<Self, StackError> {
        // A huge page under a stack would make one paused job cost 2 MiB; a reservation is not a
        // promise of memory.
        #[cfg(target_os = "linux")]
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        #[cfg(not(target_os = "linux"))]
        let flags = MapFlags::PRIVATE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, access, flags) }
            .map_err(|_| StackError::OutOfMemory)?;
        let start = NonNull::new(start.cast()).ok_or(StackError::OutOfMemory)?;
        let mapping = Self { start, len };
        #[cfg(target_os = "linux")]
        {
            let range = mapping.start.as_ptr().cast();
            // A kernel built without huge pages refuses the advice, and has none to keep away.
            // SAFETY: the advice changes how the range is backed, not what it holds, and the range
            // is ours.
            let _ = unsafe { mm::madvise(range, len, mm::Advice::LinuxNoHugepage) };
        }
        Ok(mapping)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The address `offset` bytes into the reservation.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.len, "an offset lies within its reservation");
        // SAFETY: just checked to be in bounds of the mapping, which is one allocation.
        unsafe { self.start.add(offset) }
    }

    /// Turns the page at `offset` into a guard and says which kind it became.
    pub(super) fn guard(
        &self,
        offset: usize,
        kind: GuardKind,
        wanted: usize,
    ) -> Result<GuardKind, StackError> {
        let page = self.at(offset).as_ptr().cast::<c_void>();
        assert!(offset + page_size() <= self.len, "a guard page lies within its reservation");
        if kind != GuardKind::Protect {
            match install_marker(page) {
                Ok(()) => return Ok(GuardKind::Marker),
                // An older kernel, or the pages are locked in memory (`mlockall`).
                Err(Errno::INVAL | Errno::NOSYS) => {}
                Err(_) => return Err(StackError::OutOfMemory),
            }
        }
        // SAFETY: the page lies in this reservation, and no slot reaches into it: `Slab::make` cuts
        // slots above it.
        match unsafe { mm::mprotect(page, page_size(), MprotectFlags::empty()) } {
            Ok(()) => Ok(GuardKind::Protect),
            // This is how the kernel says that there are too many mappings already.
            Err(_) => Err(out_of_mappings(wanted)),
        }
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

#[cfg(target_os = "linux")]
fn install_marker(page: *mut c_void) -> Result<(), Errno> {
    /// `MADV_GUARD_INSTALL`, which rustix does not name.
    const GUARD_INSTALL: core::ffi::c_int = 102;

    unsafe extern "C" {
        fn madvise(addr: *mut c_void, len: usize, advice: core::ffi::c_int) -> core::ffi::c_int;
    }

    // SAFETY: the caller passes a page of its own reservation that no slot uses. The call either
    // makes it fault from now on or does nothing.
    match unsafe { madvise(page, page_size(), GUARD_INSTALL) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

#[cfg(not(target_os = "linux"))]
fn install_marker(_page: *mut c_void) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Gives the memory of an idle stack back to the system. Its guard stays.
pub(super) fn forget_contents(slot: &Slot) {
    #[cfg(target_os = "linux")]
    {
        // The page that holds the header and the top of the stack goes as well: an idle slot has no
        // header.
        let len = (slot.usable() + 1).next_multiple_of(page_size());
        let start = slot.limit().as_ptr().cast();
        // SAFETY: `limit` is page-aligned, the range ends where the slot ends, and the slot is
        // idle: nobody relies on its contents, which become zeros.
        let _ = unsafe { mm::madvise(start, len, mm::Advice::LinuxDontNeed) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = slot;
}

/// How many more mappings this process may make, less a reserve.
#[cfg(target_os = "linux")]
pub(super) fn mapping_headroom(wanted: usize) -> Result<usize, StackError> {
    let (limit, used) = mapping_limit_and_use();
    let left = limit.saturating_sub(used).saturating_sub(SPARE_MAPPINGS);
    if left < 2 { Err(out_of_mappings(wanted)) } else { Ok(left.min(2 * MAX_BETWEEN_CHECKS)) }
}

/// Stacks made before the mappings are counted again: others in the process make some, too.
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
fn out_of_mappings(wanted: usize) -> StackError {
    let (limit, used) = mapping_limit_and_use();
    let needed = wanted.saturating_mul(2).saturating_add(used + SPARE_MAPPINGS);
    StackError::OutOfMappings { limit, needed: needed.max(limit + 1) }
}

#[cfg(not(target_os = "linux"))]
fn out_of_mappings(_wanted: usize) -> StackError {
    StackError::OutOfMemory
}
