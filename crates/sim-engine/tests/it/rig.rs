//! A card, an engine over it and an event loop, in stepped or in real time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use crypto_ops::{KeyHandle, SignOp};
use engine_core::{CheckPolicy, Clock, Driver, Engine, EngineBuilder, EngineError, EngineStats};
use job_core::{Job, JobPool, Step};
use sim_engine::{CryptoOp, InstanceStats, SimCard, SimConfig, SoftwareKeys, SteppedCard};
use wait_ctx::WaitCtx;

/// Long enough for any machine; only a broken engine makes a test wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const LATENCY: Duration = Duration::from_micros(300);

static KEYS: LazyLock<(Arc<SoftwareKeys>, KeyHandle)> = LazyLock::new(|| {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let keys = Arc::new(SoftwareKeys::new());
    let key = keys.load_pem(&pem).unwrap();
    (keys, key)
});

pub(crate) fn keys() -> Arc<SoftwareKeys> {
    KEYS.0.clone()
}

/// The key that every test signs with: P-256.
pub(crate) fn key() -> &'static KeyHandle {
    &KEYS.1
}

pub(crate) fn message(n: u64) -> Vec<u8> {
    format!("message {n}").into_bytes()
}

pub(crate) fn sign(n: u64) -> CryptoOp {
    SignOp::new(key().clone(), key().schemes()[0], message(n)).unwrap().into()
}

/// A card of `units` service units behind rings of `ring`.
pub(crate) fn config(units: u32, ring: usize) -> SimConfig {
    let mut config = SimConfig::signer(LATENCY, units, ring).unwrap();
    config.trace = true;
    config
}

#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    /// Moves on to `time`, never back.
    pub(crate) fn set(&self, time: Duration) {
        self.0.fetch_max(time.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) enum Card {
    Stepped(Arc<SteppedCard>, Arc<HandClock>),
    /// With a thread that keeps its deadlines and polls it, if the device needs one.
    Threaded(Arc<SimCard>, #[expect(dead_code, reason = "it works by being there")] Driver),
}

pub(crate) struct Rig {
    pub(crate) engine: Arc<Engine<CryptoOp>>,
    pub(crate) card: Card,
}

pub(crate) type Build = fn(EngineBuilder<CryptoOp>) -> EngineBuilder<CryptoOp>;

/// What one job came to: right, or an error.
pub(crate) type Outcome = Result<(), EngineError>;

impl Rig {
    pub(crate) fn stepped(config: SimConfig, build: Build) -> Self {
        let clock = Arc::<HandClock>::default();
        let card = SteppedCard::new(config, keys(), clock.clone()).unwrap();
        let builder = Engine::builder(card.clone()).clock(clock.clone());
        let engine = build(builder.checks(CheckPolicy::Always)).build();
        Self { engine, card: Card::Stepped(card, clock) }
    }

    pub(crate) fn threaded(config: SimConfig, build: Build) -> Self {
        let card = SimCard::start(config, keys()).unwrap();
        let engine = build(Engine::builder(card.clone()).checks(CheckPolicy::Always)).build();
        let driver = engine.spawn_driver().unwrap();
        Self { engine, card: Card::Threaded(card, driver) }
    }

    /// One under each clock.
    pub(crate) fn both(config: &SimConfig, build: Build) -> [Self; 2] {
        [Self::stepped(config.clone(), build), Self::threaded(config.clone(), build)]
    }

    pub(crate) fn stats(&self) -> InstanceStats {
        match &self.card {
            Card::Stepped(card, _) => card.stats(),
            Card::Threaded(card, _) => card.stats(),
        }
    }

    /// Lets a stepped card's time pass until its next event. False if there is none.
    pub(crate) fn step(&self) -> bool {
        let Card::Stepped(_, clock) = &self.card else { return true };
        let Some(next) = self.poll() else { return false };
        clock.set(next);
        self.poll();
        true
    }

    /// Everything that is due is done in one poll, and what was submitted meanwhile is in its answer.
    fn poll(&self) -> Option<Duration> {
        let next = self.engine.poll();
        assert_eq!(self.engine.poll(), next, "a poll knew less than the one after it");
        next
    }

    /// Lets a stepped card's time pass although nothing is planned.
    pub(crate) fn wait(&self, time: Duration) {
        let Card::Stepped(_, clock) = &self.card else { panic!("real time passes by itself") };
        clock.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
        self.engine.poll();
    }

    /// Runs `n` jobs that sign one message each, resumed only when woken, and checks the ledger and the laws at the end.
    pub(crate) fn sign_many(&self, n: usize) -> Vec<Outcome> {
        let before = self.engine.stats();
        let pool = JobPool::new();
        let (wake, woken) = mpsc::channel::<usize>();
        let contexts: Vec<WaitCtx> = (0..n).map(|_| WaitCtx::new()).collect();
        let mut jobs: Vec<Option<Job<Outcome>>> = Vec::new();
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        for (i, ctx) in contexts.iter().enumerate() {
            let wake = wake.clone();
            ctx.set_callback(move |_| wake.send(i).unwrap());
            let engine = Arc::clone(&self.engine);
            let step = pool.start_with(ctx, move || verified(&engine, i as u64)).unwrap();
            let (job, outcome) = match step {
                Step::Paused(job) => (Some(job), None),
                Step::Finished(outcome) => (None, Some(outcome)),
            };
            jobs.push(job);
            outcomes.push(outcome);
        }
        while outcomes.iter().any(Option::is_none) {
            let i = self.next_wake(&woken);
            match jobs[i].take().expect("L4: a wake for a job that has finished").resume() {
                Step::Paused(job) => jobs[i] = Some(job),
                Step::Finished(outcome) => outcomes[i] = Some(outcome),
            }
        }
        self.check(&before);
        outcomes.into_iter().flatten().collect()
    }

    fn next_wake(&self, woken: &mpsc::Receiver<usize>) -> usize {
        if let Card::Threaded(..) = self.card {
            return woken.recv_timeout(PATIENCE).expect("L3: a wake was lost");
        }
        // Every event moves time on or ends something; no script here has as many.
        for _ in 0..1_000_000 {
            if let Ok(i) = woken.try_recv() {
                return i;
            }
            assert!(self.step(), "L3: a job waits and no timer is set");
        }
        panic!("L3: no job was woken in a million events")
    }

    fn check(&self, before: &EngineStats) {
        if let Card::Threaded(..) = self.card {
            // A completion counts after it has woken; it is over when its request is gone.
            assert!(self.engine.quiesce(PATIENCE), "L8: requests");
        }
        let after = self.engine.stats();
        assert_eq!(after.waiters.now, 0, "L8: waiters");
        let wakes = |snapshot: &EngineStats| snapshot.wakes + snapshot.retry_wakes;
        assert_eq!(after.resumes - before.resumes, wakes(&after) - wakes(before), "L7: resumes");
        assert_eq!(after.spurious_resumes, 0, "L7");
        assert_eq!(after.out_of_order, 0, "L13");
        assert_eq!(after.submitted, after.completed + after.failed + after.cancelled, "L8");
    }

    /// Waits until the device holds nothing, and checks that nothing is left anywhere.
    pub(crate) fn settle(self) {
        if let Card::Stepped(..) = self.card {
            for _ in 0..1_000_000 {
                if !self.step() {
                    break;
                }
            }
        }
        assert!(self.engine.quiesce(PATIENCE), "L8: requests at the end");
        let stats = self.stats();
        assert_eq!(
            stats.submitted + stats.duplicates,
            stats.drained + stats.reclaimed,
            "L8: ring entries at the end"
        );
    }
}

/// Signs, and holds the signature against the key.
pub(crate) fn verified(engine: &Engine<CryptoOp>, n: u64) -> Outcome {
    let signature = engine.run(sign(n))?.into_signature().expect("a signature");
    let verdict = key().check(key().schemes()[0], &message(n), &signature);
    assert_eq!(verdict, Ok(()), "L1: the signature of another message");
    Ok(())
}
