//! Jobs and their threads, as other threads and C code see them. An `ASYNC_JOB *` is a record's address and its generation, and points to nothing.
//!
//! ```text
//!   bit 63     62..47          46..6          5..0
//!      1    generation    address of the   generation
//!                         record, / 64
//! ```
//!
//! So a handle is never the address of anything, and a stale one is told from that of a later job on the same record,
//! until two million jobs have used it.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::arena::{ADDRESS_BITS, ALIGN, Arena};
use crate::counts::Counts;

static RECORDS: Arena<JobRecord> = Arena::new();

/// Set in every handle.
const TAG: usize = 1 << 63;
/// The bits that are the record's address.
const ADDRESS: usize = (1 << ADDRESS_BITS) - ALIGN;

/// The wait context of the job was freed.
pub(crate) const FREED: u8 = 1;
/// The engine has woken the job.
pub(crate) const WOKEN: u8 = 2;

static HOMES: Arena<Home> = Arena::new();

/// What other threads may see of a thread that runs jobs. It outlives the thread, and then serves another.
#[derive(Default)]
pub(crate) struct Home {
    pub(crate) counts: Counts,
    /// The first record with news, each linked to the next.
    news: AtomicPtr<JobRecord>,
}

impl Home {
    pub(crate) fn take() -> Option<&'static Self> {
        HOMES.take()
    }

    pub(crate) fn give_back(&'static self) {
        HOMES.give_back(self);
    }

    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        HOMES.all()
    }

    /// Leaves news about a job that runs on this thread.
    fn post(&self, job: &'static JobRecord, news: u8) {
        if job.news.fetch_or(news, Ordering::AcqRel) != 0 {
            return;
        }
        let mut first = self.news.load(Ordering::Relaxed);
        loop {
            job.next_with_news.store(first, Ordering::Relaxed);
            let new = ptr::from_ref(job).cast_mut();
            match self.news.compare_exchange(first, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.news.load(Ordering::Relaxed).is_null()
    }

    /// Takes all news, for the thread itself to act on.
    pub(crate) fn take_news(&self, mut read: impl FnMut(&'static JobRecord, u8)) {
        let mut next = self.news.swap(ptr::null_mut(), Ordering::AcqRel);
        while let Some(job) = JobRecord::at(next.addr()) {
            next = job.next_with_news.load(Ordering::Relaxed);
            read(job, job.news.swap(0, Ordering::AcqRel));
        }
    }
}

/// What other threads may see of a job.
#[derive(Default)]
pub(crate) struct JobRecord {
    /// The handle of the live job, 0 while there is none.
    handle: AtomicUsize,
    /// The last handle, to make the next one from.
    last: AtomicUsize,
    home: AtomicPtr<Home>,
    /// The place in the table of its thread.
    place: AtomicU32,
    /// The address of the wait context that the job was started with, or 0. It may have been freed since.
    wait: AtomicUsize,
    news: AtomicU8,
    next_with_news: AtomicPtr<Self>,
}

impl JobRecord {
    /// A record for a place in a thread's table.
    pub(crate) fn take(home: &'static Home, place: u32) -> Option<&'static Self> {
        let record = RECORDS.take()?;
        record.home.store(ptr::from_ref(home).cast_mut(), Ordering::Relaxed);
        record.place.store(place, Ordering::Relaxed);
        Some(record)
    }

    /// The thread ends. No job of the record is live.
    pub(crate) fn give_back(&'static self) {
        RECORDS.give_back(self);
    }

    /// The record of a live job.
    #[inline]
    pub(crate) fn find(handle: usize) -> Option<&'static Self> {
        let record = RECORDS.find(handle & ADDRESS)?;
        (handle != 0 && record.handle.load(Ordering::Acquire) == handle).then_some(record)
    }

    /// Whether it is, or was, the handle of a job of this library.
    pub(crate) fn is_ours(handle: usize) -> bool {
        handle & TAG != 0 && RECORDS.find(handle & ADDRESS).is_some()
    }

    /// The live jobs with this wait context. Slow: it looks at every record.
    pub(crate) fn all_with(wait: usize) -> impl Iterator<Item = &'static Self> {
        RECORDS.all().filter(move |job| job.wait() == wait && job.handle() != 0)
    }

    /// The record at an address that another record has stored.
    pub(crate) fn at(address: usize) -> Option<&'static Self> {
        RECORDS.find(address)
    }

    /// A new job begins, with this wait context. Returns its handle.
    #[inline]
    pub(crate) fn begin(&'static self, wait: usize) -> usize {
        let last = self.last.load(Ordering::Relaxed);
        // The carry passes over the bits of the address.
        let next = (last | ADDRESS).wrapping_add(1) & !ADDRESS;
        let handle = TAG | next | ptr::from_ref(self).addr();
        self.last.store(handle, Ordering::Relaxed);
        self.wait.store(wait, Ordering::Relaxed);
        self.handle.store(handle, Ordering::Release);
        handle
    }

    /// The job has ended: its handle is stale from now on.
    #[inline]
    pub(crate) fn end(&self) {
        self.handle.store(0, Ordering::Release);
        self.wait.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn handle(&self) -> usize {
        self.handle.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn is_at(&self, home: &'static Home) -> bool {
        ptr::eq(self.home.load(Ordering::Relaxed), home)
    }

    #[inline]
    pub(crate) fn wait(&self) -> usize {
        self.wait.load(Ordering::Acquire)
    }

    /// Tells the job's thread what has happened to it.
    pub(crate) fn tell(&'static self, news: u8) {
        if let Some(home) = HOMES.find(self.home.load(Ordering::Acquire).addr()) {
            home.post(self, news);
        }
    }
}
