//! What a world is built from.

use std::{rc::Rc, sync::Arc, time::Duration};

use engine_core::Engine;
use job_core::JobPool;
use lab_report::Progress;
use sim_engine::SteppedCard;

use crate::scenario::{HangUps, Routing};

use super::{
    arrivals::StreamOfArrivals, beats::Beats, cost::Costs, protocol::Protocol, time::Time,
};

/// Who connects, and when.
#[derive(Debug, Clone)]
pub(super) enum Load {
    /// So many places connect again and again.
    Closed {
        places: usize,
        /// Connections for each place; `None` for as many as fit.
        rounds: Option<u64>,
        /// After this none begins.
        time_box: Duration,
        /// Which clients hang up as soon as they have said hello.
        hang_ups: Option<HangUps>,
        /// When each place connects for the first time.
        first: Vec<Duration>,
    },
    /// They come by a rate; at most so many are there at a time, and one more is turned away.
    Stream { places: usize, arrivals: Box<StreamOfArrivals>, hang_ups: Option<HangUps> },
    /// Each of these connects once.
    Open(Vec<Visit>),
}

/// One connection of an open load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) at: Duration,
    /// The client hangs up so long after connecting, unless it is done.
    pub(super) hangs_up_after: Option<Duration>,
    /// The server gives the session up so long after the client has connected, unless it is done.
    pub(super) given_up_after: Option<Duration>,
    /// The session cancels what it waits for so long after the client has connected, and asks anew.
    pub(super) starts_over_after: Option<Duration>,
}

/// A device of the world and its engine.
#[derive(Debug)]
pub(super) struct Station<P: Protocol> {
    pub(super) name: String,
    pub(super) engine: Arc<Engine<P::Work>>,
    pub(super) card: Arc<SteppedCard<P::Work>>,
    /// Entries of the ring of each kind; `None` if kinds share one.
    pub(super) depth: Option<usize>,
    /// Whoever found its ring full is woken to submit again.
    pub(super) notifies: bool,
}

/// What a world is built from, beside its protocol and its devices.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) time: Rc<Time>,
    /// Which station signs for which connection.
    pub(super) routing: Routing,
    pub(super) costs: Costs,
    pub(super) unprompted_every: Option<u64>,
    /// The other task of each worker's thread, if there is one.
    pub(super) beats: Option<Beats>,
    /// Engines are polled whenever a worker pauses, beside when they ask for it.
    pub(super) collects: bool,
    /// Workers call parked sessions again, instead of being woken for them.
    pub(super) polls: bool,
    pub(super) load: Load,
    /// How many of the fibers' workers serve.
    pub(super) workers: usize,
    /// Whether operations have deadlines.
    pub(super) deadlines: bool,
    /// Tells when the run is to be broken off.
    pub(super) stop: Option<Progress>,
}

/// The fibers of a world. Kept from one to the next, so that their stacks are.
#[derive(Debug)]
pub struct Fibers {
    pub(super) workers: JobPool,
    /// One for each worker, for its sessions.
    pub(super) sessions: Vec<JobPool>,
}

impl Fibers {
    /// Pools for so many workers, each with at most `max_jobs` sessions parked at a time.
    ///
    /// # Panics
    /// If `max_jobs` is zero.
    #[must_use]
    pub fn new(workers: usize, max_jobs: Option<usize>) -> Self {
        // There are no keys on these stacks that anything else knows.
        let builder = JobPool::builder().wipe_stacks(false);
        let pool = || {
            let mut builder = builder.clone();
            if let Some(jobs) = max_jobs {
                builder = builder.max_jobs(jobs);
            }
            builder.build().expect("max_jobs is not zero, and the rest is as it comes")
        };
        let sessions = std::iter::repeat_with(pool).take(workers).collect();
        let workers = JobPool::builder().wipe_stacks(false).build().expect("as it comes");
        Self { workers, sessions }
    }
}
