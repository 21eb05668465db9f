//! The card with a thread, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Wake;

use crypto_ops::CryptoOutput;
use engine_core::{CheckPolicy, DeviceError, Engine, EngineError, Shutdown};
use sim_device::ServiceTime;
use sim_engine::{Compute, CryptoOp, SimCard, SoftwareKeys};
use wait_ctx::{Notifier, Route};

use crate::rig::{Card, PATIENCE, Rig, config, keys, sign, verified};

#[test]
fn l11_threads_that_block_are_served_as_well() {
    let rig = Rig::threaded(config(4, 4), |builder| builder);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &rig.engine;
            scope.spawn(move || {
                for n in 0..10 {
                    assert_eq!(verified(engine, 100 * thread + n), Ok(()));
                }
            });
        }
    });
    assert_eq!(rig.engine.stats().blocking_waits, 40);
    rig.settle();
}

/// Panics at its first computation.
#[derive(Debug)]
struct PanicsOnce(Arc<SoftwareKeys>, AtomicBool);

impl Compute for PanicsOnce {
    type Work = CryptoOp;

    fn compute(&self, work: &CryptoOp) -> Result<CryptoOutput, DeviceError> {
        if !self.1.swap(true, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        self.0.compute(work)
    }

    fn spoil(&self, output: CryptoOutput) -> CryptoOutput {
        self.0.spoil(output)
    }
}

#[test]
fn l10_a_computation_that_panics_fails_its_request_and_the_cards_thread_goes_on() {
    let compute = PanicsOnce(keys(), AtomicBool::new(false));
    let card = SimCard::start(config(1, 4), Arc::new(compute)).unwrap();
    let engine = Engine::builder(card).build();
    let failed = EngineError::Device(DeviceError::Failed("the computation panicked"));
    assert_eq!(engine.run(sign(0)).unwrap_err(), failed);
    assert_eq!(verified(&engine, 1), Ok(()));
}

#[test]
fn l5_a_card_that_is_stopped_loses_what_it_holds_and_takes_no_more() {
    let mut config = config(1, 4);
    // Nothing will be finished before the stop.
    config.instance.units.iter_mut().for_each(|unit| {
        unit.service = ServiceTime::fixed(PATIENCE * 10).unwrap();
    });
    config.response_timeout = None;
    let rig = Rig::threaded(config, |builder| builder);
    let Card::Threaded(card, _) = &rig.card else { unreachable!() };
    let held: Vec<_> = (0..4).map(|n| rig.engine.submit(sign(n)).unwrap()).collect();
    let waiting: Vec<_> = (4..8).map(|n| rig.engine.submit(sign(n)).unwrap()).collect();
    card.stop();
    card.stop();
    for pending in held {
        assert_eq!(pending.wait().unwrap_err(), EngineError::Device(DeviceError::Lost));
    }
    for error in waiting.into_iter().map(|pending| pending.wait().unwrap_err()) {
        assert!(matches!(error, EngineError::Device(DeviceError::Unavailable(_))), "{error}");
    }
    assert!(rig.engine.run(sign(9)).is_err());
    assert!(rig.engine.quiesce(PATIENCE));
}

#[test]
fn l5_an_engine_dropped_with_requests_in_flight_leaves_no_caller_waiting() {
    let mut config = config(1, 4);
    config.instance.units.iter_mut().for_each(|unit| {
        unit.service = ServiceTime::fixed(PATIENCE * 10).unwrap();
    });
    let card = SimCard::start(config, keys()).unwrap();
    let engine = Engine::builder(card).build();
    let pending: Vec<_> = (0..8).map(|n| engine.submit(sign(n)).unwrap()).collect();
    drop(engine);
    for pending in pending {
        let error = pending.wait().unwrap_err();
        assert_eq!(error, EngineError::Gone);
    }
}

/// A wake that owns an engine, and drops it where it runs.
struct OnWake(Mutex<Option<Owned>>);

type Owned = (Arc<Engine<CryptoOp>>, mpsc::Sender<()>);

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        if let Some((engine, told)) = self.0.lock().unwrap().take() {
            drop(engine);
            told.send(()).unwrap();
        }
    }
}

/// The thread that completes the last request also drops the last owner of the engine, and so of the card whose thread
/// it is.
#[test]
fn l5_the_last_owner_may_go_on_the_hardware_thread_itself() {
    for _ in 0..20 {
        let card = SimCard::start(config(1, 4), keys()).unwrap();
        let engine = Engine::builder(card).checks(CheckPolicy::Always).build();
        let notifier = Notifier::new();
        let (told, hears) = mpsc::channel();
        let wake = OnWake(Mutex::new(Some((Arc::clone(&engine), told))));
        notifier.set_route(Route::Waker(Arc::new(wake).into()));
        let mut pending = engine.submit_on(&notifier, sign(1)).unwrap();
        drop(engine);
        if pending.poll_result().is_pending() {
            hears.recv_timeout(PATIENCE).expect("L3: a wake was lost");
            assert!(pending.poll_result().is_ready());
        }
    }
}

#[test]
fn l8_a_card_that_is_shut_down_finishes_what_it_holds_and_joins_its_thread() {
    for deadline in [PATIENCE, std::time::Duration::MAX] {
        let card = SimCard::start(config(2, 64), keys()).unwrap();
        let engine = Engine::builder(card.clone()).build();
        let pending: Vec<_> = (0..20).map(|n| engine.submit(sign(n)).unwrap()).collect();
        assert_eq!(card.shutdown_blocking(deadline), Shutdown::Drained);
        for pending in pending {
            assert!(pending.wait().is_ok());
        }
        let error = engine.run(sign(9)).unwrap_err();
        assert!(matches!(error, EngineError::Device(DeviceError::Unavailable(_))), "{error}");
        assert_eq!(engine.shutdown_blocking(deadline), Shutdown::Drained);
    }
}

#[test]
fn l8_an_engine_that_is_shut_down_ends_its_card_unless_another_uses_it() {
    let card = SimCard::start(config(2, 64), keys()).unwrap();
    let [one, other] = [(); 2].map(|()| Engine::builder(card.clone()).build());
    assert_eq!(one.shutdown_blocking(PATIENCE), Shutdown::Drained);
    assert_eq!(verified(&other, 1), Ok(()));
    assert_eq!(other.shutdown_blocking(PATIENCE), Shutdown::Drained);
}

#[test]
fn l5_a_shutdown_ends_when_the_card_is_stopped_meanwhile() {
    let mut config = config(1, 4);
    // Nothing will be finished before the stop.
    config.instance.units.iter_mut().for_each(|unit| {
        unit.service = ServiceTime::fixed(PATIENCE * 10).unwrap();
    });
    config.response_timeout = None;
    let rig = Rig::threaded(config, |builder| builder);
    let Card::Threaded(card, _) = &rig.card else { unreachable!() };
    let held = rig.engine.submit(sign(0)).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| card.shutdown_blocking(std::time::Duration::MAX));
        card.stop();
        assert_eq!(waits.join().unwrap(), Shutdown::Drained);
    });
    assert!(held.wait().is_err());
}
