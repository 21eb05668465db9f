//! Session tickets that an engine seals and opens.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto_ops::{CryptoOp, CryptoOutput, Secret, TicketKey, TicketOp, TicketRotation};
use engine_core::{Engine, EngineError};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::server::ProducesTickets;

use crate::rustls23::at_once;
use crate::rustls23::on_thread;
use crate::rustls23::openings;
use crate::rustls23::postponed::{
    Asked, Reply, give_up, is_asked, postpone_operation, waits_later,
};

/// Makes a ticketer whose tickets `engine` seals and opens. Give it to rustls as `ServerConfig::ticketer`.
///
/// Keys rotate by the engine's clock: each seals for one `period`, which is also the lifetime announced to clients, and
/// opens for one more. Do not wrap it into rustls's `TicketRotator`, which would hold its lock while the job is parked.
///
/// `period` is clamped to a range from one second to seven days, the maximum of TLS 1.3.
///
/// A ticket that cannot be sealed is not sent, and one that cannot be opened leads to a full handshake: an engine's
/// failure here never ends a session.
///
/// At most four tickets of one hello are opened. A TLS 1.3 client may offer more than a thousand; the others are treated as
/// not opening, without an operation. Where rustls is not driven by this crate, and hellos cannot be told apart, the limit
/// holds for tickets that fail to open in quick succession on one thread.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use core::time::Duration;
/// use std::sync::Arc;
/// use rustls::crypto::aws_lc_rs;
/// use ssl_async::{engine_core::Engine, offload};
/// # let keys = crypto_ops::SoftwareKeys::new();
/// # let device = Arc::new(engine_core::Inline::new(move |op: &crypto_ops::CryptoOp| keys.execute(op).map_err(|_| engine_core::DeviceError::Lost)));
///
/// let engine = Engine::builder(device).build();
/// let six_hours = Duration::from_secs(6 * 60 * 60);
/// let ticketer = offload::tickets(engine, &aws_lc_rs::default_provider(), six_hours)?;
/// let ticket = ticketer.encrypt(b"a session").expect("the engine works");
/// assert_eq!(ticketer.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
/// # }
/// # Ok::<(), rustls::crypto::GetRandomFailed>(())
/// ```
///
/// # Errors
///
/// [`GetRandomFailed`] if the provider has no randomness for the first key.
pub fn tickets(
    engine: Arc<Engine<CryptoOp>>,
    provider: &CryptoProvider,
    period: Duration,
) -> Result<Arc<dyn ProducesTickets>, GetRandomFailed> {
    let period = period.clamp(SHORTEST_PERIOD, LONGEST_PERIOD);
    let random = provider.secure_random;
    let first = fresh_key(random)?;
    let rotation = Mutex::new(TicketRotation::new(period, first, engine.now()));
    Ok(Arc::new(OffloadedTicketer { engine, random, rotation }))
}

/// Lifetimes are announced in whole seconds.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// The longest lifetime of a ticket that TLS 1.3 allows (RFC 8446, section 4.6.1).
const LONGEST_PERIOD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[derive(Debug)]
struct OffloadedTicketer {
    engine: Arc<Engine<CryptoOp>>,
    random: &'static dyn SecureRandom,
    /// Never locked while a job may pause.
    rotation: Mutex<TicketRotation>,
}

impl OffloadedTicketer {
    /// The keys at the time `now`, rotated if that is due.
    fn keys(&self, now: Duration) -> Option<MutexGuard<'_, TicketRotation>> {
        let due = self.lock().is_due(now);
        let fresh = if due { Some(fresh_key(self.random).ok()?) } else { None };
        let mut rotation = self.lock();
        if let Some(fresh) = fresh {
            // Does nothing if another thread has rotated meanwhile.
            rotation.rotate(fresh, now);
        }
        Some(rotation)
    }

    fn lock(&self) -> MutexGuard<'_, TicketRotation> {
        // Nothing panics while the keys are locked, so poisoned ones are still whole.
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `op`; in a replay its result is postponed, as the answer that `reply` makes of it.
    fn run(&self, op: TicketOp, reply: fn(Option<Vec<u8>>) -> Reply) -> Option<Vec<u8>> {
        if is_asked(self) {
            let engine = Arc::clone(&self.engine);
            postpone_operation(self, engine, op.into(), move |output| Ok(reply(result(output))));
            return None;
        }
        result(at_once::run(&self.engine, op.into(), "a session ticket"))
    }
}

/// A sealed or opened ticket. An engine's error is none.
fn result(output: Result<CryptoOutput, EngineError>) -> Option<Vec<u8>> {
    match output.inspect_err(|error| tracing::warn!(%error, "ssl.no_ticket")) {
        Ok(CryptoOutput::Sealed(ticket)) => Some(ticket),
        Ok(CryptoOutput::Opened(state)) => Some(state?.expose().to_vec()),
        _ => None,
    }
}

impl ProducesTickets for OffloadedTicketer {
    fn enabled(&self) -> bool {
        waits_later();
        on_thread::waits();
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lock().period().as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if give_up(self, Asked::Ticket) {
            return None;
        }
        let key = self.keys(self.engine.now())?.sealing_key().clone();
        self.run(TicketOp::Seal { key, state: Secret::from(plain) }, Reply::Sealed)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.engine.now();
        let key = self.keys(now)?.opening_key(ticket, now)?.clone();
        if give_up(self, Asked::Ticket) {
            return None;
        }
        // A replay has a limit of its own.
        let counts = !is_asked(self);
        if counts && !openings::admit(now) {
            tracing::trace!("ssl.ticket_not_opened");
            return None;
        }
        let op = TicketOp::Open { key, ticket: ticket.to_vec() };
        let opened = self.run(op, Reply::Resumption);
        if counts {
            openings::ended(opened.is_some(), self.engine.now());
        }
        opened
    }
}

fn fresh_key(random: &dyn SecureRandom) -> Result<TicketKey, GetRandomFailed> {
    TicketKey::generate(|bytes| random.fill(bytes))
}
