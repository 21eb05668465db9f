//! Signatures by the module's own functions, without TLS.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use pkcs11_engine::Ended;

use super::setting::Failure;
use super::token::{Given, PIN};
use crate::measure::Measured;

/// One turn of one arm.
const TURN: Duration = Duration::from_millis(700);
const ROUNDS: usize = 3;

/// The library, in a process whose token is logged in.
pub(super) struct Library(Pkcs11);

impl Library {
    pub(super) fn of(given: &Given) -> Result<Self, Failure> {
        let library = Pkcs11::new(&given.module)?;
        // Most modules are initialized by the token. Of p11-kit's client each user has an instance.
        let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        Ok(Self(library))
    }

    /// A session, and the key of this name.
    pub(super) fn session(&self, key: &str) -> Result<(Session, ObjectHandle), Failure> {
        let slots = self.0.get_slots_with_initialized_token()?;
        let session = self.0.open_ro_session(*slots.first().ok_or("there is no token")?)?;
        // Likewise the login.
        let _ = session.login(UserType::User, Some(&PIN.to_owned().into()));
        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(key.into())];
        let found = session.find_objects(&wanted)?;
        let key = *found.first().ok_or_else(|| format!("there is no key {key}"))?;
        Ok((session, key))
    }

    /// This number of sessions.
    pub(super) fn sessions(&self, n: usize, key: &str) -> Result<Vec<Signer>, Failure> {
        let signer = |_| Ok(Signer(Mutex::new(self.session(key)?)));
        (0..n).map(signer).collect()
    }
}

/// A session with its key. Threads that share one take turns.
pub(super) struct Signer(pub(super) Mutex<(Session, ObjectHandle)>);

impl Signer {
    pub(super) fn sign(
        &self,
        mechanism: &Mechanism<'_>,
        data: &[u8],
    ) -> Result<Vec<u8>, cryptoki::error::Error> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.sign(mechanism, held.1, data)
    }
}

/// What the module is asked to sign, as TLS does.
#[derive(Clone, Copy)]
pub(super) enum Asking {
    Ecdsa,
    RsaPkcs,
}

impl Asking {
    fn of(self) -> (Mechanism<'static>, &'static [u8]) {
        match self {
            Self::Ecdsa => (Mechanism::Ecdsa, &[7; 32]),
            Self::RsaPkcs => (Mechanism::RsaPkcs, &DIGEST_INFO),
        }
    }
}

/// Signatures a second, and nanoseconds at the 99th percentile, of this number of threads on these sessions.
pub(super) fn rate(
    signers: &[Signer],
    threads: usize,
    asking: Asking,
    time: Duration,
) -> Result<(f64, f64), Failure> {
    let begun = Instant::now();
    let sign = |thread: usize| {
        let ((mechanism, data), mut took) = (asking.of(), Vec::new());
        while begun.elapsed() < time {
            let before = Instant::now();
            signers[thread % signers.len()].sign(&mechanism, data)?;
            took.push(before.elapsed().as_nanos() as f64);
        }
        Ok::<_, cryptoki::error::Error>(took)
    };
    let took: Vec<_> = thread::scope(|scope| {
        let sign = &sign;
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || sign(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let elapsed = begun.elapsed();
    let mut all = Vec::new();
    for took in took {
        all.extend(took?);
    }
    all.sort_by(f64::total_cmp);
    let p99 = all.get(all.len() * 99 / 100).copied().ok_or("no signature was made")?;
    Ok((all.len() as f64 / elapsed.as_secs_f64(), p99))
}

/// P-256 on one thread; RSA-2048 on `threads` threads with a session each, and with one session for all: signatures a
/// second, and those of RSA at the 99th percentile.
pub(super) fn numbers(threads: usize) -> Result<Vec<f64>, Failure> {
    let given = Given::new()?;
    // It keeps the login.
    let token = given.open(1)?;
    let library = Library::of(&given)?;
    let (p256, rsa) = (library.sessions(1, "p256")?, library.sessions(threads, "rsa2048")?);
    let mut rounds: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let (one, _) = rate(&p256, 1, Asking::Ecdsa, TURN)?;
        let (each, p99) = rate(&rsa, threads, Asking::RsaPkcs, TURN)?;
        let (locked, p99_locked) = rate(&rsa[..1], threads, Asking::RsaPkcs, TURN)?;
        for (round, value) in rounds.iter_mut().zip([one, each, p99, locked, p99_locked]) {
            round.push(value);
        }
    }
    drop((p256, rsa));
    if let Ended::Stuck { calls } = token.shutdown_blocking(Duration::from_secs(5)) {
        return Err(format!("{calls} calls have not returned").into());
    }
    Ok(rounds.iter().map(|round| Measured::of(round).median).collect())
}

/// A SHA-256 digest as PKCS #1 signs it.
const DIGEST_INFO: [u8; 51] = {
    let prefix = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let mut info = [7; 51];
    let mut n = 0;
    while n < prefix.len() {
        info[n] = prefix[n];
        n += 1;
    }
    info
};
