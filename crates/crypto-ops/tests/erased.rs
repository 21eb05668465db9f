//! No secret is left in freed memory, however an operation ends.

#[path = "support/searching_allocator.rs"]
mod searching_allocator;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crypto_ops::testing::flip_bit;
use crypto_ops::{
    AgreeOp, CryptoOp, CryptoOutput, Group, Secret, SoftwareKeys, TicketKey, TicketOp,
};
use engine_core::{
    Accelerator, CheckPolicy, Clock, DeviceError, DeviceRefused, Engine, Fallback, Request,
    RequestOptions,
};
use searching_allocator::{PATTERN, freed_with_pattern, pattern};
use zeroize::Zeroizing;

/// A device that holds one request until `answer` is called.
#[derive(Debug, Default)]
struct HoldingDevice(Mutex<Option<Request<CryptoOp>>>);

impl HoldingDevice {
    fn answer(&self, answer: Result<CryptoOutput, DeviceError>) {
        if let Some(request) = { self.0.lock().unwrap().take() } {
            request.complete(answer);
        }
    }
}

impl Accelerator<CryptoOp> for HoldingDevice {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), DeviceRefused<CryptoOp>> {
        let mut held = self.0.lock().unwrap();
        if held.is_some() {
            return Err(DeviceRefused::Full(request));
        }
        *held = Some(request);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct ManualClock(AtomicUsize);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst) as u64)
    }
}

/// How an operation ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Collected,
    NotCollected,
    DroppedBefore,
    Late,
    DeviceAndStandbyAnswer,
    EngineDropped,
    DeviceFails,
    DeviceDropsIt,
    DroppedInTheQueue,
    Refused,
}

const ENDINGS: [Ending; 10] = [
    Ending::Collected,
    Ending::NotCollected,
    Ending::DroppedBefore,
    Ending::Late,
    Ending::DeviceAndStandbyAnswer,
    Ending::EngineDropped,
    Ending::DeviceFails,
    Ending::DeviceDropsIt,
    Ending::DroppedInTheQueue,
    Ending::Refused,
];

fn end_by(ending: Ending, op: CryptoOp, output: impl Fn() -> CryptoOutput, checks: CheckPolicy) {
    let (device, standby) =
        (Arc::new(HoldingDevice::default()), Arc::new(HoldingDevice::default()));
    let clock = Arc::<ManualClock>::default();
    let fallback = if matches!(ending, Ending::DeviceAndStandbyAnswer) {
        Fallback::Standby
    } else {
        Fallback::Fail
    };
    let engine = Engine::builder(device.clone())
        .standby(standby.clone())
        .clock(clock.clone())
        .checks(checks)
        .options(RequestOptions::new().deadline(Duration::from_secs(1)).fallback(fallback))
        .build();
    let time_passes = || {
        clock.0.fetch_add(2, Ordering::SeqCst);
        engine.poll();
    };
    if let Ending::Refused = ending {
        engine.close();
        drop(engine.submit(op).unwrap_err());
        return;
    }
    let pending = engine.submit(op.clone()).unwrap();
    match ending {
        Ending::Collected => {
            device.answer(Ok(output()));
            drop(pending.wait());
        }
        Ending::NotCollected => {
            device.answer(Ok(output()));
            drop(pending);
        }
        Ending::DroppedBefore => {
            drop(pending);
            device.answer(Ok(output()));
        }
        Ending::Late => {
            time_passes();
            device.answer(Ok(output()));
            drop(pending.wait());
        }
        Ending::DeviceAndStandbyAnswer => {
            time_passes();
            standby.answer(Ok(output()));
            device.answer(Ok(output()));
            drop(pending.wait());
        }
        Ending::EngineDropped => {
            drop(engine);
            device.answer(Ok(output()));
            drop(pending);
        }
        Ending::DeviceFails => {
            device.answer(Err(DeviceError::Reset));
            drop(pending.wait());
        }
        Ending::DeviceDropsIt => {
            drop(device.0.lock().unwrap().take());
            drop(pending.wait());
        }
        Ending::DroppedInTheQueue => {
            drop(engine.submit(op).unwrap());
            device.answer(Ok(output()));
            drop(pending);
        }
        Ending::Refused => unreachable!("handled above"),
    }
}

/// A ticket whose opened state is as long as the pattern.
fn ticket() -> Vec<u8> {
    vec![0; PATTERN.len() + TicketKey::OVERHEAD]
}

#[test]
fn l5_no_output_and_no_input_is_freed_unwiped_however_the_operation_ends() {
    assert_eq!(
        freed_with_pattern(|| drop(pattern())),
        1,
        "the allocator finds a pattern that is not wiped"
    );

    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let key = SoftwareKeys::new().load_pem(&pem).unwrap();
    let scheme = key.schemes()[0];
    let sign = CryptoOp::from(crypto_ops::SignOp::new(key, scheme, vec![1; 100]).unwrap());
    let agree = CryptoOp::from(AgreeOp::start(Group::P256));
    let secret = || {
        let mut bytes = Zeroizing::new([0; TicketKey::SECRET_LEN]);
        bytes[..PATTERN.len()].copy_from_slice(&PATTERN);
        bytes
    };
    let seal = || TicketOp::Seal {
        key: TicketKey::new([7; TicketKey::NAME_LEN], secret()),
        state: Secret::new(pattern()),
    };
    let open = || TicketOp::Open {
        key: TicketKey::new([7; TicketKey::NAME_LEN], secret()),
        ticket: ticket(),
    };
    let share = || vec![4; 65];
    type Output = Box<dyn Fn() -> CryptoOutput>;
    type Case<'a> = (&'static str, Box<dyn Fn() -> CryptoOp + 'a>, Output);
    let cases: [Case<'_>; 6] = [
        (
            "a signature",
            Box::new(|| sign.clone()),
            Box::new(|| CryptoOutput::Signature(pattern().into())),
        ),
        (
            "a secret of another kind",
            Box::new(|| agree.clone()),
            Box::new(|| CryptoOutput::Secret(Secret::new(pattern()))),
        ),
        (
            "an agreement",
            Box::new(|| sign.clone()),
            Box::new(move || CryptoOutput::Agreed {
                share: share(),
                secret: Secret::new(pattern()),
            }),
        ),
        (
            "an opened ticket",
            Box::new(|| open().into()),
            Box::new(|| CryptoOutput::Opened(Some(Secret::new(pattern())))),
        ),
        (
            "a sealed ticket",
            Box::new(|| seal().into()),
            Box::new(|| CryptoOutput::Sealed(vec![7; 30])),
        ),
        (
            "an answer of the wrong kind",
            Box::new(|| seal().into()),
            Box::new(|| CryptoOutput::Signature(pattern().into())),
        ),
    ];
    for (what, op, output) in &cases {
        for ending in ENDINGS {
            // With and without the check, which every one of these signatures fails.
            for checks in [CheckPolicy::Always, CheckPolicy::Required] {
                let found = freed_with_pattern(|| end_by(ending, op(), output, checks));
                assert_eq!(found, 0, "{what}, {ending:?}, {checks:?}");
            }
        }
    }
    // Values that are never given to an engine.
    assert_eq!(freed_with_pattern(|| drop(flip_bit(CryptoOutput::Signature(pattern().into())))), 0);
    assert_eq!(freed_with_pattern(|| drop((Secret::new(pattern()).clone(), seal(), open()))), 0);
}

#[test]
fn secrets_and_ticket_keys_are_equal_by_their_bytes() {
    let secret = |byte| Secret::new(vec![byte; 40]);
    assert!(secret(1) == secret(1) && secret(1) != secret(2));
    assert!(Secret::new(vec![1; 39]) != secret(1));
    let key = |name, byte| TicketKey::new([name; 16], Zeroizing::new([byte; 32]));
    assert!(key(1, 1) == key(1, 1) && key(1, 1) != key(1, 2) && key(1, 1) != key(2, 1));
}
