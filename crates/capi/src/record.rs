//! Jobs and their threads, as other threads and C code see them. An `ASYNC_JOB *` is a record's address and its generation, and points to nothing.
//!
//! ```text
//!   bit 63     62..47          46..6          5..0
//!      1    generation    address of the   generation
//!                         record, / 64
//! ```
//!
//! So a handle is never the address of anything, and a stale one is told from those of later jobs on the same record. The
//! generation has 22 bits: the 4,194,304th job after it has the same handle again. A busy thread, which uses one record again
//! and again, gets there in minutes, and one that does nothing else in less than a second. So this finds the mistakes that
//! programs make, and is no reason to keep handles of jobs that have ended.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::arena::{ADDRESS_BITS, ALIGN, Arena};
use crate::counts::Counts;

static RECORDS: Arena<JobRecord> = Arena::new();

/// Set in every handle.
const TAG: usize = 1 << 63;
/// The bits that are the record's address.
const ADDRESS: usize = (1 << ADDRESS_BITS) - ALIGN;

/// What has happened to a job, as a set of bits.
pub(crate) type News = u32;
/// The wait context of the job was freed.
pub(crate) const FREED: News = 1;
/// The engine has woken the job.
pub(crate) const WOKEN: News = 2;
/// The bits of news in a record's word. Above them is the generation of the job that they are about.
const NEWS_BITS: u32 = 2;

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

    /// Leaves word about a job that runs on this thread.
    fn post(&self, job: &'static JobRecord, word: u32) {
        let mut old = job.news.load(Ordering::Acquire);
        loop {
            // Looked at after `old`, so that word about a later job is never replaced.
            if !job.is_about_live_job(word) {
                return;
            }
            let same_job = old >> NEWS_BITS == word >> NEWS_BITS;
            let new = if same_job { old | word } else { word };
            match job.news.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(0) => break,
                // It is in the list already.
                Ok(_) => return,
                Err(now) => old = now,
            }
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

    /// Takes all news about live jobs, for the thread itself to act on.
    pub(crate) fn take_news(&'static self, mut read: impl FnMut(&'static JobRecord, News)) {
        let mut next = self.news.swap(ptr::null_mut(), Ordering::AcqRel);
        while let Some(job) = JobRecord::at(next.addr()) {
            next = job.next_with_news.load(Ordering::Relaxed);
            let word = job.news.swap(0, Ordering::AcqRel);
            if !job.is_at(self) {
                // Left while the record went from one thread to the next.
                job.forward(word);
            } else if job.is_about_live_job(word) {
                read(job, word % (1 << NEWS_BITS));
            }
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
    /// 0, or what has happened, and to which job. Not 0 means that the record is in the list of a thread.
    news: AtomicU32,
    next_with_news: AtomicPtr<Self>,
}

impl JobRecord {
    /// A record for a place in a thread's table.
    pub(crate) fn take(home: &'static Home, place: u32) -> Option<&'static Self> {
        // One that is still in the list of the thread before cannot be in that of this one.
        let mut listed = Vec::new();
        let record = loop {
            match RECORDS.take() {
                Some(record) if record.news.load(Ordering::Acquire) != 0 => listed.push(record),
                taken => break taken,
            }
        };
        listed.into_iter().for_each(|record| RECORDS.give_back(record));
        let record = record?;
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

    /// The address of the wait context that the live job of a handle was started with, or 0. The context may be freed.
    pub(crate) fn wait_of(handle: usize) -> Option<usize> {
        let record = Self::find(handle)?;
        let wait = record.wait();
        // Read again after the context, which may be that of a later job.
        (record.handle.load(Ordering::Acquire) == handle).then_some(wait)
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
        self.wait.store(wait, Ordering::Release);
        self.handle.store(handle, Ordering::Release);
        handle
    }

    /// The job has ended: its handle is stale from now on.
    #[inline]
    pub(crate) fn end(&self) {
        self.handle.store(0, Ordering::Release);
        self.wait.store(0, Ordering::Release);
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

    /// Tells the thread of the job of a handle what has happened to it. Nothing happens if it has ended.
    pub(crate) fn tell(handle: usize, news: News) {
        if let Some(record) = Self::find(handle) {
            record.forward(generation(handle) << NEWS_BITS | news);
        }
    }

    fn forward(&'static self, word: u32) {
        if let Some(home) = HOMES.find(self.home.load(Ordering::Acquire).addr()) {
            home.post(self, word);
        }
    }

    fn is_about_live_job(&self, word: u32) -> bool {
        let handle = self.handle();
        handle != 0 && generation(handle) == word >> NEWS_BITS
    }
}

/// The generation in a handle: 22 bits.
fn generation(handle: usize) -> u32 {
    let high = (handle & !TAG) >> ADDRESS_BITS;
    let low = handle % ALIGN;
    u32::try_from(high * ALIGN + low).expect("16 and 6 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news_at(home: &'static Home) -> Vec<(usize, News)> {
        let mut news = Vec::new();
        home.take_news(|job, what| news.push((job.handle(), what)));
        news
    }

    #[test]
    fn news_about_a_job_reach_its_thread_once_and_together() {
        let home = Home::take().unwrap();
        let job = JobRecord::take(home, 0).unwrap();
        let handle = job.begin(0);
        JobRecord::tell(handle, WOKEN);
        JobRecord::tell(handle, FREED);
        assert_eq!(news_at(home), [(handle, WOKEN | FREED)]);
        assert_eq!(news_at(home), []);
    }

    #[test]
    fn news_about_an_ended_job_do_not_reach_the_next_one_of_the_record() {
        let home = Home::take().unwrap();
        let job = JobRecord::take(home, 0).unwrap();
        let first = job.begin(0);
        JobRecord::tell(first, WOKEN);
        job.end();
        let second = job.begin(0);
        assert_eq!(news_at(home), []);
        JobRecord::tell(first, WOKEN);
        JobRecord::tell(second, FREED);
        assert_eq!(news_at(home), [(second, FREED)]);
    }

    #[test]
    fn a_record_with_news_that_its_thread_has_not_read_is_not_given_to_another_thread() {
        let (ended, other) = (Home::take().unwrap(), Home::take().unwrap());
        let job = JobRecord::take(ended, 0).unwrap();
        JobRecord::tell(job.begin(0), WOKEN);
        job.end();
        job.give_back();
        let next = JobRecord::take(other, 0).unwrap();
        assert!(!ptr::eq(next, job));
        let handle = next.begin(0);
        JobRecord::tell(handle, FREED);
        assert_eq!(news_at(other), [(handle, FREED)]);
        assert_eq!(news_at(ended), []);
    }
}
