//! No signature and no message of a [`SlowKey`] is left in freed memory, however the operation ends.

#[path = "../../crypto-ops/tests/support/searching_allocator.rs"]
mod searching_allocator;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::{Accelerator, Capabilities, Clock, DeviceError, DeviceRefused, Request};
use job_core::{JobPool, Step};
use rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
use rustls::crypto::aws_lc_rs;
use searching_allocator::{PATTERN, freed_with_pattern, pattern};
use ssl_async::{SlowKey, offload::SigningWork};

/// A device that holds one request until `answer` or `fail`. With `checks`, its answers are checked.
#[derive(Debug, Default)]
struct HoldingDevice {
    request: Mutex<Option<Request<SigningWork>>>,
    checks: bool,
}

impl HoldingDevice {
    fn answer(&self) {
        if let Some(request) = { self.request.lock().unwrap().take() } {
            request.complete(Ok(pattern()));
        }
    }

    fn fail(&self) {
        if let Some(request) = { self.request.lock().unwrap().take() } {
            request.complete(Err(DeviceError::reported(&"locked")));
        }
    }
}

impl Accelerator<SigningWork> for HoldingDevice {
    fn submit(&self, request: Request<SigningWork>) -> Result<(), DeviceRefused<SigningWork>> {
        let mut held = self.request.lock().unwrap();
        if held.is_some() {
            return Err(DeviceRefused::Full(request));
        }
        *held = Some(request);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: self.checks, needs_poll: false }
    }
}

#[derive(Clone, Debug, Default)]
struct ManualClock(Arc<AtomicUsize>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst) as u64)
    }
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    NotCollected,
    DroppedBefore,
    Late,
    DeviceAndStandbyAnswer,
    DeviceFails,
    DeviceDropsIt,
    KeyDropped,
    DroppedInTheQueue,
    Refused,
}

const ENDINGS: [Ending; 9] = [
    Ending::NotCollected,
    Ending::DroppedBefore,
    Ending::Late,
    Ending::DeviceAndStandbyAnswer,
    Ending::DeviceFails,
    Ending::DeviceDropsIt,
    Ending::KeyDropped,
    Ending::DroppedInTheQueue,
    Ending::Refused,
];

/// Asks for two signatures of the pattern, each in a job, and ends them so.
fn end_by(ending: Ending, checks: bool, chain: &rustls::pki_types::CertificateDer<'static>) {
    let device = Arc::new(HoldingDevice { checks, ..HoldingDevice::default() });
    let standby = Arc::new(HoldingDevice { checks, ..HoldingDevice::default() });
    let clock = ManualClock::default();
    let mut builder =
        SlowKey::builder_with_provider(vec![chain.clone()], &aws_lc_rs::default_provider())
            .unwrap()
            .deadline(Duration::from_secs(1))
            .clock(Arc::new(clock.clone()));
    if let Ending::DeviceAndStandbyAnswer = ending {
        builder = builder.standby(standby.clone());
    }
    let key = builder.accelerator(device.clone()).unwrap();
    if let Ending::Refused = ending {
        key.engine().close();
    }
    let pool = JobPool::new();
    let ask = || {
        let signer = key.certified_key().key.choose_scheme(&[ECDSA_NISTP256_SHA256]).unwrap();
        // A collected signature is the caller's: it is not freed here.
        pool.start(move || signer.sign(&PATTERN).map(std::mem::forget).is_ok()).unwrap()
    };
    let time_passes = || {
        clock.0.fetch_add(2, Ordering::SeqCst);
        key.engine().poll();
    };
    let (Step::Paused(first), Step::Paused(second)) = (ask(), ask()) else {
        return assert!(matches!(ending, Ending::Refused), "{ending:?}: nothing was parked");
    };
    match ending {
        Ending::NotCollected => device.answer(),
        Ending::DroppedBefore => drop(first.cancel()),
        Ending::Late => time_passes(),
        Ending::DeviceAndStandbyAnswer => {
            time_passes();
            standby.answer();
            device.answer();
            standby.answer();
        }
        Ending::DeviceFails => device.fail(),
        Ending::DeviceDropsIt => {
            // Not under the lock: dropping this request submits the next.
            let request = device.request.lock().unwrap().take();
            drop(request);
        }
        Ending::KeyDropped => return drop(key),
        Ending::DroppedInTheQueue => drop(second.cancel()),
        Ending::Refused => unreachable!("returned above"),
    }
    (0..3).for_each(|_| device.answer());
}

#[test]
fn l5_no_signature_or_message_is_freed_unwiped_however_it_ends() {
    assert_eq!(freed_with_pattern(|| drop(pattern())), 1, "the allocator finds an unwiped block");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = identity.cert.der().clone();
    for ending in ENDINGS {
        for checks in [false, true] {
            assert_eq!(
                freed_with_pattern(|| end_by(ending, checks, &chain)),
                0,
                "{ending:?}, checked: {checks}"
            );
        }
    }
}
