//! The parts from which a world is built.

use std::{rc::Rc, sync::Arc, time::Duration};

use engine_core::Engine;
use job_core::JobPool;
use lab_report::Progress;
use sim_engine::SteppedCard;

use crate::scenario::{HangUps, Routing};

use super::{
    arrivals::StreamOfArrivals, cost::Costs, heartbeat::Heartbeat, plan::ConnectionPlan,
    protocol::Protocol, time::Time,
};

#[derive(Debug, Clone)]
pub(super) enum Load {
    /// A fixed number of places, each of which connects again when its handshake ends.
    Closed {
        places: usize,
        /// Connections for each place; `None` for no limit but the time.
        rounds: Option<u64>,
        /// After this none begins.
        time_box: Duration,
        /// Which clients hang up as soon as they have sent their hello.
        hang_ups: Option<HangUps>,
        /// When each place connects for the first time.
        first: Vec<Duration>,
    },
    /// Clients that come by a rate; when all places are taken, one more is turned away.
    Stream { places: usize, arrivals: Box<StreamOfArrivals>, hang_ups: Option<HangUps> },
    /// Each of these connects once.
    Open(Vec<ConnectionPlan>),
}

/// A device of the world and its engine.
#[derive(Debug)]
pub(super) struct Station<P: Protocol> {
    pub(super) name: String,
    pub(super) engine: Arc<Engine<P::Work>>,
    pub(super) card: Arc<SteppedCard<P::Work>>,
    /// Entries of the ring of each kind; `None` if kinds share one.
    pub(super) depth: Option<usize>,
    /// A session that found the ring full is woken to submit again.
    pub(super) notifies: bool,
}

/// The settings of a world, beside its protocol and its devices.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) time: Rc<Time>,
    pub(super) routing: Routing,
    pub(super) costs: Costs,
    pub(super) unprompted_every: Option<u64>,
    /// The heartbeat task of each worker's thread.
    pub(super) heartbeat: Option<Heartbeat>,
    /// Engines are polled whenever a worker pauses, beside when they ask for it.
    pub(super) collects: bool,
    /// Workers call parked sessions again, instead of being woken for them.
    pub(super) polls: bool,
    pub(super) load: Load,
    /// How many of the fibers' workers serve.
    pub(super) workers: usize,
    pub(super) deadlines: bool,
    /// Reports when the run is interrupted.
    pub(super) stop: Option<Progress>,
}

/// The fibers of a world, which pass their stacks on to the next world.
#[derive(Debug)]
pub struct Fibers {
    pub(super) workers: JobPool,
    /// One for each worker, for its sessions.
    pub(super) sessions: Vec<JobPool>,
}

impl Fibers {
    /// Pools for this number of workers, each with at most `max_jobs` sessions parked at a time.
    ///
    /// # Panics
    /// If `max_jobs` is zero.
    #[must_use]
    pub fn new(workers: usize, max_jobs: Option<usize>) -> Self {
        // The keys on these stacks are made for the test and used nowhere else.
        let builder = JobPool::builder().wipe_stacks(false);
        let pool = || {
            let mut builder = builder.clone();
            if let Some(jobs) = max_jobs {
                builder = builder.max_jobs(jobs);
            }
            builder.build().expect("max_jobs is not zero, and the rest are defaults")
        };
        let sessions = std::iter::repeat_with(pool).take(workers).collect();
        let workers = JobPool::builder().wipe_stacks(false).build().expect("defaults build");
        Self { workers, sessions }
    }
}
