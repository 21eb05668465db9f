//! The places for the jobs of one thread, and what is known of the job at each.

use std::ffi::c_int;
use std::mem;

use job_core::Job;

use crate::complaint::{Complaint, complain};
use crate::openssl::LibraryContext;
use crate::record::{FREED, Home, JobRecord, News, WOKEN};
use crate::wait::WaitRecord;

pub(crate) struct Table {
    entries: Vec<Entry>,
    /// The places without a job, last in, first out.
    free: Vec<u32>,
}

/// A place for one job.
struct Entry {
    record: &'static JobRecord,
    wait: Option<&'static WaitRecord>,
    phase: Phase,
    /// The job's default library context, while it is paused.
    library: LibraryContext,
    /// News about the job that came before they could be acted on.
    unread: u32,
}

/// Never dropped with a job in it: that would resume the job, to cancel it.
enum Phase {
    Free,
    Running,
    Paused(Job<c_int>),
    /// Paused, and its wait context was freed. What it waits for may still write to its stack.
    Orphan(Job<c_int>),
}

impl Phase {
    /// Replaces a phase without a job. An assignment would look for one to drop.
    #[inline]
    fn enter(&mut self, next: Self) {
        mem::forget(mem::replace(self, next));
    }
}

/// A paused job, taken out of its place to be resumed.
pub(crate) struct Taken {
    pub(crate) place: usize,
    pub(crate) job: Job<c_int>,
    pub(crate) library: LibraryContext,
    pub(crate) wait: Option<&'static WaitRecord>,
}

/// A job that waits when its thread cleans up.
pub(crate) struct Waiting {
    pub(crate) job: Job<c_int>,
    /// Whether its engine has woken it, and so is done with its stack.
    pub(crate) is_woken: bool,
}

/// Why a job cannot be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPaused {
    /// It was orphaned, and counts as gone.
    Orphaned,
    Running,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// A place for a job that begins, and its handle. `None` if there is no memory.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        home: &'static Home,
        wait: Option<&'static WaitRecord>,
    ) -> Option<(usize, usize)> {
        let place = match self.free.pop() {
            Some(place) => place as usize,
            None => self.grow(home)?,
        };
        let entry = &mut self.entries[place];
        entry.phase.enter(Phase::Running);
        entry.wait = wait;
        let handle = entry.record.begin(wait.map_or(0, |wait| wait.address().addr()));
        if let Some(wait) = wait {
            wait.attach(handle);
        }
        Some((place, handle))
    }

    #[cold]
    fn grow(&mut self, home: &'static Home) -> Option<usize> {
        let place = self.entries.len();
        self.entries.try_reserve(1).ok()?;
        // One for each place, so that the end of a job never allocates.
        self.free.try_reserve(place + 1).ok()?;
        let record = JobRecord::take(home, u32::try_from(place).ok()?)?;
        let (phase, library) = (Phase::Free, LibraryContext::NONE);
        self.entries.push(Entry { record, wait: None, phase, library, unread: 0 });
        Some(place)
    }

    /// The job at a place has ended.
    #[inline]
    pub(crate) fn release(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        if let Some(wait) = entry.wait.take() {
            wait.detach(entry.record.handle());
        }
        self.vacate(place);
    }

    /// The job at a place counts as ended, but its engine may still look for it: a freed wait context stays out of use.
    pub(crate) fn give_up(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        if let Some(wait) = entry.wait.take() {
            wait.let_go(entry.record.handle());
        }
        self.vacate(place);
    }

    #[inline]
    fn vacate(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        entry.record.end();
        entry.phase.enter(Phase::Free);
        entry.unread = 0;
        // `grow` has counted places so.
        self.free.push(place as u32);
    }

    /// The job at a place was not started. The newest place is given up, since it may have been made for that job.
    pub(crate) fn withdraw(&mut self, place: usize) {
        self.release(place);
        if place + 1 == self.entries.len() {
            self.free.pop();
            if let Some(entry) = self.entries.pop() {
                entry.record.give_back();
            }
        }
    }

    /// The job at a place has paused. Returns its handle, and whether there are news to act on.
    #[inline]
    pub(crate) fn park(
        &mut self,
        place: usize,
        job: Job<c_int>,
        library: LibraryContext,
    ) -> (usize, bool) {
        let entry = &mut self.entries[place];
        entry.library = library;
        entry.phase.enter(Phase::Paused(job));
        (entry.record.handle(), entry.unread != 0)
    }

    /// Takes the paused job of a record of this thread out.
    #[inline]
    pub(crate) fn take_paused(&mut self, record: &JobRecord) -> Result<Taken, NotPaused> {
        let place = record.place();
        let entry = &mut self.entries[place];
        match mem::replace(&mut entry.phase, Phase::Running) {
            Phase::Paused(job) => {
                Ok(Taken { place, job, library: entry.library, wait: entry.wait })
            }
            other => Err(Self::put_back(&mut entry.phase, other)),
        }
    }

    #[cold]
    fn put_back(place: &mut Phase, phase: Phase) -> NotPaused {
        let is_orphan = matches!(phase, Phase::Orphan(_));
        place.enter(phase);
        complain(if is_orphan { Complaint::OrphanedJob } else { Complaint::RunningJob });
        if is_orphan { NotPaused::Orphaned } else { NotPaused::Running }
    }

    /// Acts on news about the job at a place. Returns the job if it is to be reclaimed.
    pub(crate) fn orphan_or_reclaim(
        &mut self,
        home: &Home,
        place: usize,
        news: News,
    ) -> Option<Job<c_int>> {
        let Entry { phase, unread, .. } = &mut self.entries[place];
        // An engine may look for the context while another thread closes it: then it has woken the job before the context
        // counts as freed.
        *unread |= news;
        let news = *unread;
        let job = match mem::replace(phase, Phase::Running) {
            Phase::Paused(job) if news & FREED != 0 => {
                home.counts.orphans.add();
                job
            }
            Phase::Orphan(job) => job,
            other => {
                phase.enter(other);
                return None;
            }
        };
        if news & WOKEN == 0 {
            phase.enter(Phase::Orphan(job));
            return None;
        }
        Some(job)
    }

    /// The number of places.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes the job out that waits at a place, paused or orphaned.
    pub(crate) fn take_waiting(&mut self, place: usize) -> Option<Waiting> {
        let Entry { phase, wait, unread, .. } = &mut self.entries[place];
        match mem::replace(phase, Phase::Running) {
            Phase::Paused(job) | Phase::Orphan(job) => {
                let is_woken =
                    *unread & WOKEN != 0 || wait.is_some_and(WaitRecord::has_readable_fd);
                Some(Waiting { job, is_woken })
            }
            other => {
                phase.enter(other);
                None
            }
        }
    }

    /// Gives the records of all places back, none of which has a job.
    pub(crate) fn give_back_records(&mut self) {
        self.free = Vec::new();
        for entry in mem::take(&mut self.entries) {
            entry.record.give_back();
        }
    }
}
