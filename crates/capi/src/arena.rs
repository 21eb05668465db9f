//! Records that C code holds by address. They are never freed, so any address can be checked, and a stale one is read
//! safely.
//!
//! Nothing here takes a lock: a process may fork while another thread is in the middle of any of these functions.

use std::alloc::{Layout, alloc};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// A chunk is aligned to its size, so that the chunk of an address is found by clearing bits.
const CHUNK: usize = 64 * 1024;
/// 4 GiB of records.
const MAX_CHUNKS: usize = 64 * 1024;
/// The alignment of every record. The free list keeps its counter in the bits that are 0 in each address.
pub(crate) const ALIGN: usize = 64;
/// Addresses of user space have no more bits than this.
pub(crate) const ADDRESS_BITS: u32 = 47;

/// All records of one kind in this process.
pub(crate) struct Arena<T: 'static> {
    /// Addresses of chunks, at the place that their number hashes to, or at the next free one.
    chunks: [AtomicUsize; MAX_CHUNKS],
    /// The same in the order in which they were made, and their number.
    made: [AtomicUsize; MAX_CHUNKS],
    count: AtomicUsize,
    /// The first free record, and a counter against confusing it with the same one freed later.
    free: AtomicU64,
    kind: std::marker::PhantomData<AtomicPtr<T>>,
}

/// A record in the arena.
#[repr(C, align(64))]
struct Cell<T> {
    /// First: the address of the cell is that of the record.
    record: T,
    /// The address of the next free one.
    next: AtomicUsize,
}

impl<T: Default + Sync> Arena<T> {
    /// Cells in one chunk.
    const CELLS: usize = CHUNK / size_of::<Cell<T>>();

    pub(crate) const fn new() -> Self {
        const { assert!(align_of::<Cell<T>>() == ALIGN) };
        Self {
            chunks: [const { AtomicUsize::new(0) }; MAX_CHUNKS],
            made: [const { AtomicUsize::new(0) }; MAX_CHUNKS],
            count: AtomicUsize::new(0),
            free: AtomicU64::new(0),
            kind: std::marker::PhantomData,
        }
    }

    /// A record that no other caller has. It may have been used before. `None` if there is no memory.
    pub(crate) fn take(&'static self) -> Option<&'static T> {
        loop {
            let head = self.free.load(Ordering::Acquire);
            let Some(cell) = self.cell(address_of(head)) else {
                return self.grow().map(|cell| &cell.record);
            };
            let next = with_counter(cell.next.load(Ordering::Relaxed), head);
            let taken = self.free.compare_exchange(head, next, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(&cell.record);
            }
        }
    }

    /// Makes a record free to be taken again. The caller forgets it.
    pub(crate) fn give_back(&'static self, record: &'static T) {
        if let Some(cell) = self.cell(ptr::from_ref(record).addr()) {
            self.push(cell);
        }
    }

    /// The record at an address, if there is one: any other address gives `None`.
    #[inline]
    pub(crate) fn find(&'static self, address: usize) -> Option<&'static T> {
        self.cell(address).map(|cell| &cell.record)
    }

    /// All records, used and free.
    pub(crate) fn all(&'static self) -> impl Iterator<Item = &'static T> {
        let count = self.count.load(Ordering::Acquire).min(MAX_CHUNKS);
        let chunks = self.made[..count].iter().map(|chunk| chunk.load(Ordering::Acquire));
        chunks
            .flat_map(|chunk| (0..Self::CELLS).map(move |at| chunk + at * size_of::<Cell<T>>()))
            .filter_map(|address| self.find(address))
    }

    #[inline]
    fn cell(&'static self, address: usize) -> Option<&'static Cell<T>> {
        let offset = address % CHUNK;
        let is_cell = offset.is_multiple_of(size_of::<Cell<T>>())
            && offset / size_of::<Cell<T>>() < Self::CELLS;
        if !is_cell || !self.has_chunk(address - offset) {
            return None;
        }
        let cell = ptr::with_exposed_provenance::<Cell<T>>(address);
        // SAFETY: `grow` has written a cell at each such place of a chunk before it published the chunk's address, and
        // no chunk is ever freed. Cells are shared only, and everything in them is `Sync`.
        Some(unsafe { &*cell })
    }

    #[inline]
    fn has_chunk(&self, chunk: usize) -> bool {
        if chunk == 0 {
            return false;
        }
        // At its first place, most likely.
        self.chunks[chunk / CHUNK % MAX_CHUNKS].load(Ordering::Acquire) == chunk
            || self.is_further_on(chunk)
    }

    #[cold]
    fn is_further_on(&self, chunk: usize) -> bool {
        places(chunk)
            .map(|at| self.chunks[at].load(Ordering::Acquire))
            .take_while(|there| *there != 0)
            .any(|there| there == chunk)
    }

    /// Makes a chunk of records, keeps one for the caller, and frees the others.
    #[cold]
    fn grow(&'static self) -> Option<&'static Cell<T>> {
        let layout = Layout::from_size_align(CHUNK, CHUNK).ok()?;
        // SAFETY: the size is not 0.
        let chunk = unsafe { alloc(layout) }.cast::<Cell<T>>();
        if chunk.is_null() {
            return None;
        }
        for at in 0..Self::CELLS {
            // SAFETY: `CELLS` of them fit in the chunk.
            let place = unsafe { chunk.add(at) };
            // SAFETY: the place is in memory that is ours alone, aligned for a cell.
            unsafe { place.write(Cell { record: T::default(), next: AtomicUsize::new(0) }) };
        }
        let address = chunk.expose_provenance();
        let is_published = places(address).any(|at| {
            let free = &self.chunks[at];
            free.compare_exchange(0, address, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if !is_published {
            // The chunk is leaked: there are four gigabytes of records.
            return None;
        }
        let at = self.count.fetch_add(1, Ordering::AcqRel);
        self.made[at % MAX_CHUNKS].store(address, Ordering::Release);
        let cell = |at: usize| self.cell(address + at * size_of::<Cell<T>>());
        (1..Self::CELLS).rev().filter_map(cell).for_each(|cell| self.push(cell));
        cell(0)
    }

    fn push(&'static self, cell: &'static Cell<T>) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            cell.next.store(address_of(head), Ordering::Relaxed);
            let new = with_counter(ptr::from_ref(cell).addr(), head);
            match self.free.compare_exchange(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The places of the table at which a chunk may be, the most likely first.
#[inline]
fn places(chunk: usize) -> impl Iterator<Item = usize> {
    let first = chunk / CHUNK;
    (0..MAX_CHUNKS).map(move |step| (first + step) % MAX_CHUNKS)
}

/// The bits of a head that are the address of a cell.
const ADDRESS: u64 = (1 << ADDRESS_BITS) - ALIGN as u64;

fn address_of(head: u64) -> usize {
    usize::try_from(head & ADDRESS).expect("addresses have 64 bits")
}

/// A new head of the free list, with the counter of the old one advanced: it fills the bits that no address has.
fn with_counter(address: usize, old: u64) -> u64 {
    let counter = (old | ADDRESS).wrapping_add(1) & !ADDRESS;
    counter | address as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_at_its_own_address_only() {
        static ARENA: Arena<AtomicU64> = Arena::new();
        let a = ARENA.take().unwrap();
        let address = ptr::from_ref(a).addr();
        assert!(ptr::eq(ARENA.find(address).unwrap(), a));
        for foreign in [0, 1, address + 1, address + 8, address + 16 * CHUNK, usize::MAX] {
            assert!(ARENA.find(foreign).is_none(), "{foreign:x}");
        }
    }

    #[test]
    fn records_are_reused_last_in_first_out_and_no_two_are_the_same() {
        static ARENA: Arena<AtomicU64> = Arena::new();
        let taken: Vec<_> = (0..3000).map(|_| ARENA.take().unwrap()).collect();
        let addresses: std::collections::BTreeSet<_> =
            taken.iter().map(|record| ptr::from_ref(*record).addr()).collect();
        assert_eq!(addresses.len(), 3000);
        assert!(ARENA.all().count() >= 3000);
        ARENA.give_back(taken[7]);
        ARENA.give_back(taken[9]);
        assert!(ptr::eq(ARENA.take().unwrap(), taken[9]));
        assert!(ptr::eq(ARENA.take().unwrap(), taken[7]));
    }

    #[test]
    fn the_counter_advances_and_leaves_the_address_alone() {
        let address = 0x7fff_1234_5640;
        let mut head = with_counter(address, 0);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            assert_eq!(address_of(head), address);
            assert!(seen.insert(head));
            head = with_counter(address, head);
        }
    }
}
