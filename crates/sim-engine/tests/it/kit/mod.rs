//! The conformance kit of wait-ctx on an engine over devices that keep their own time: the card in both clocks, and the
//! pool of threads. Each of them completes requests in the order of submission.

mod gated;
mod stepped;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use engine_core::{CheckFailed, CheckPolicy, Engine, EngineBuilder, OnFull, Pending, Work};
use sim_device::{ServiceTime, UnitConfig};
use sim_engine::{InstanceConfig, Kind, ServiceClass, SimConfig};
use wait_ctx::Notifier;
use wait_ctx::testing::{self, Conformance, Coverage, Failed, Tag};

/// The work: to give a number back.
#[derive(Debug)]
struct Echo {
    n: u64,
    kind: Kind,
}

const KNOWN: Kind = Kind::new("echo");
/// No card has a unit for it.
const UNKNOWN: Kind = Kind::new("other");

impl Work for Echo {
    type Output = u64;

    fn kind(&self) -> Kind {
        self.kind
    }

    fn check(&self, output: &u64) -> Result<(), CheckFailed> {
        if *output == self.n { Ok(()) } else { Err(CheckFailed("another number")) }
    }
}

/// One ring and one unit, that takes `service` for each request.
fn card(service: core::time::Duration) -> SimConfig {
    let class = ServiceClass(0);
    let service = ServiceTime::fixed(service).unwrap();
    let instance = InstanceConfig {
        units: vec![UnitConfig::new(class, 1, service)],
        ..InstanceConfig::default()
    };
    let mut config = SimConfig::new(instance, vec![(KNOWN, class)]);
    config.response_timeout = None;
    config
}

/// The half of an engine under test that is the same over every device.
struct Session {
    engine: Arc<Engine<Echo>>,
    on_full: OnFull,
}

impl Session {
    /// Nothing is checked: the kit itself looks at the results.
    fn new(builder: EngineBuilder<Echo>, on_full: OnFull) -> Self {
        let engine = builder.on_full(on_full).checks(CheckPolicy::Required).build();
        Self { engine, on_full }
    }

    fn on_full(&self) -> testing::FullPolicy {
        match self.on_full {
            OnFull::Notify => testing::FullPolicy::Notify,
            _ => testing::FullPolicy::Queue,
        }
    }

    fn submit(&self, notifier: &Notifier, tag: Tag, answer: testing::Answer) -> Ticket {
        let kind = if answer == testing::Answer::Fatal { UNKNOWN } else { KNOWN };
        let pending = self.engine.submit_on(notifier, Echo { n: tag.0, kind }).unwrap();
        Ticket { tag, pending }
    }
}

/// What a session holds of its request.
struct Ticket {
    tag: Tag,
    pending: Pending<Echo>,
}

impl Ticket {
    fn poll(&mut self) -> Poll<Result<Tag, Failed>> {
        self.pending.poll_result().map(|result| result.map(Tag).map_err(|_| Failed))
    }
}

/// Runs scripts, and checks that they made wakes and results.
fn passes<E: testing::TestedEngine>(scripts: u32, make: impl Fn() -> E) -> Coverage {
    let mut conformance = Conformance::default();
    conformance.scripts = scripts;
    let report = conformance.run(make).unwrap_or_else(|broken| panic!("{broken}"));
    let scripts = u64::from(scripts);
    assert!(report.wakes > scripts / 2 && report.results > scripts, "{report:?}");
    report
}

/// Runs scripts until one fails, and returns the failure. Each planted bug has to be found in few steps.
fn found<E: testing::TestedEngine>(make: impl Fn() -> E) -> String {
    let failure = Conformance::default().run(make).expect_err("the bug is found");
    assert!(failure.script.len() <= 6, "{failure}");
    failure.to_string()
}

/// The numbers of what the device holds, oldest first.
type Held = VecDeque<u64>;
