//! No signature and no message of a [`SlowKey`] is left in freed memory, whatever becomes of the operation: an allocator looks
//! at each block that is freed. One test, for the allocator is that of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::{Accelerator, Capabilities, Clock, DeviceError, DeviceRefused, Request};
use job_core::{JobPool, Step};
use rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
use rustls::crypto::aws_lc_rs;
use ssl_async::{SlowKey, offload::SigningWork};

/// Looks for a pattern in every block that is freed.
struct Watching;

/// Nothing else that these tests free looks like this.
const PATTERN: [u8; 24] = *b"\xA5secret to be wiped!\x5A\xC3\x3C\xFE";

static FOUND: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator, and the only addition reads a block before it is freed.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut matched = 0;
        for at in 0..layout.size() {
            // SAFETY: `at` is within the block.
            let byte = unsafe { block.add(at) };
            // SAFETY: the block is alive, and its bytes were initialised when it was allocated.
            let byte = unsafe { byte.read_volatile() };
            matched = if byte == PATTERN[matched] {
                matched + 1
            } else {
                usize::from(byte == PATTERN[0])
            };
            if matched == PATTERN.len() {
                FOUND.fetch_add(1, Ordering::SeqCst);
                matched = 0;
            }
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn pattern() -> Vec<u8> {
    PATTERN.to_vec()
}

/// How often the pattern was freed while `run` ran.
fn freed(run: impl FnOnce()) -> usize {
    let before = FOUND.load(Ordering::SeqCst);
    run();
    FOUND.load(Ordering::SeqCst) - before
}

/// Holds one request until it is told to answer. With `checks`, what it answers is checked.
#[derive(Debug, Default)]
struct Held {
    request: Mutex<Option<Request<SigningWork>>>,
    checks: bool,
}

impl Held {
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

impl Accelerator<SigningWork> for Held {
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
struct HandClock(Arc<AtomicUsize>);

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst) as u64)
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    NotCollected,
    GivenUpBefore,
    Late,
    BothAnswer,
    DeviceFails,
    DeviceDropsIt,
    KeyDropped,
    GivenUpInTheQueue,
    Refused,
}

const FATES: [Fate; 9] = [
    Fate::NotCollected,
    Fate::GivenUpBefore,
    Fate::Late,
    Fate::BothAnswer,
    Fate::DeviceFails,
    Fate::DeviceDropsIt,
    Fate::KeyDropped,
    Fate::GivenUpInTheQueue,
    Fate::Refused,
];

/// Lets two signatures of the pattern be asked for, each in a job, and their fate befall them.
fn meet(fate: Fate, checks: bool, chain: &rustls::pki_types::CertificateDer<'static>) {
    let device = Arc::new(Held { checks, ..Held::default() });
    let standby = Arc::new(Held { checks, ..Held::default() });
    let clock = HandClock::default();
    let mut builder =
        SlowKey::builder_with_provider(vec![chain.clone()], &aws_lc_rs::default_provider())
            .unwrap()
            .deadline(Duration::from_secs(1))
            .clock(Arc::new(clock.clone()));
    if let Fate::BothAnswer = fate {
        builder = builder.standby(standby.clone());
    }
    let key = builder.accelerator(device.clone()).unwrap();
    if let Fate::Refused = fate {
        key.engine().close();
    }
    let pool = JobPool::new();
    let ask = || {
        let signer = key.certified_key().key.choose_scheme(&[ECDSA_NISTP256_SHA256]).unwrap();
        // What is collected is the caller's: it is not freed here.
        pool.start(move || signer.sign(&PATTERN).map(std::mem::forget).is_ok()).unwrap()
    };
    let time_passes = || {
        clock.0.fetch_add(2, Ordering::SeqCst);
        key.engine().poll();
    };
    let (Step::Paused(first), Step::Paused(second)) = (ask(), ask()) else {
        return assert!(matches!(fate, Fate::Refused), "{fate:?}: nothing was parked");
    };
    match fate {
        Fate::NotCollected => device.answer(),
        Fate::GivenUpBefore => drop(first.cancel()),
        Fate::Late => time_passes(),
        Fate::BothAnswer => {
            time_passes();
            standby.answer();
            device.answer();
            standby.answer();
        }
        Fate::DeviceFails => device.fail(),
        Fate::DeviceDropsIt => {
            // Without the lock: the next one is submitted as this one ends.
            let request = device.request.lock().unwrap().take();
            drop(request);
        }
        Fate::KeyDropped => return drop(key),
        Fate::GivenUpInTheQueue => drop(second.cancel()),
        Fate::Refused => unreachable!("it ended before"),
    }
    (0..3).for_each(|_| device.answer());
}

#[test]
fn l5_no_signature_and_no_message_is_freed_unwiped_whatever_becomes_of_it() {
    assert_eq!(freed(|| drop(pattern())), 1, "the allocator sees what is not wiped");
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = identity.cert.der().clone();
    for fate in FATES {
        for checks in [false, true] {
            assert_eq!(freed(|| meet(fate, checks, &chain)), 0, "{fate:?}, checked: {checks}");
        }
    }
}
