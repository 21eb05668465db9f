//! Session tickets: the operation that seals or opens one, ticket keys, and their rotation.

use core::time::Duration;
use std::fmt;
use std::sync::Arc;

use engine_core::CheckFailed;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::output::CryptoOutput;
use crate::secret::Secret;

/// A key that seals session tickets with AES-256-GCM.
///
/// Unlike a signing key it is made by software and sent with the operation, because all servers of a cluster share it
/// and it lives for hours. It is wiped when the last clone is dropped, and compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey(Arc<Inner>);

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        let secrets = self.secret.as_slice().ct_eq(other.secret.as_slice());
        // Only the secret needs constant time: every ticket contains the name.
        bool::from(secrets) && self.name == other.name
    }
}

impl Eq for Inner {}

struct Inner {
    name: [u8; TicketKey::NAME_LEN],
    secret: Zeroizing<[u8; TicketKey::SECRET_LEN]>,
}

impl TicketKey {
    /// The length in bytes of a key's name.
    pub const NAME_LEN: usize = 16;
    /// The length in bytes of a key.
    pub const SECRET_LEN: usize = 32;
    /// The length in bytes of a ticket without the state it seals.
    pub const OVERHEAD: usize = Self::NAME_LEN + NONCE_LEN + TAG_LEN;

    /// Makes a key from random bytes: the name, which every ticket contains in the clear, and the secret.
    pub fn new(name: [u8; Self::NAME_LEN], secret: Zeroizing<[u8; Self::SECRET_LEN]>) -> Self {
        Self(Arc::new(Inner { name, secret }))
    }

    /// Makes a key; `fill` must fill its argument with random bytes.
    ///
    /// # Errors
    ///
    /// The error of `fill`.
    pub fn generate<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut name = [0; Self::NAME_LEN];
        let mut secret = Zeroizing::new([0; Self::SECRET_LEN]);
        fill(&mut name)?;
        fill(secret.as_mut_slice())?;
        Ok(Self::new(name, secret))
    }

    /// The name.
    pub fn name(&self) -> &[u8; Self::NAME_LEN] {
        &self.0.name
    }

    /// The secret, for a device.
    pub fn expose(&self) -> &[u8; Self::SECRET_LEN] {
        &self.0.secret
    }

    /// Whether `ticket` begins with the name of this key.
    pub fn is_named_by(&self, ticket: &[u8]) -> bool {
        ticket.len() >= Self::OVERHEAD && ticket.starts_with(self.name())
    }
}

/// The length in bytes of the nonce in a ticket.
pub(crate) const NONCE_LEN: usize = 12;
/// The length in bytes of the tag in a ticket.
pub(crate) const TAG_LEN: usize = 16;

/// Shows only the start of the name.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0.name;
        write!(f, "TicketKey({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// A ticket to seal or to open.
///
/// A ticket has the layout that RFC 5077, section 4, recommends: the key's name, the nonce, the sealed state, the tag.
/// The name is authenticated, too.
#[derive(Clone)]
#[non_exhaustive]
pub enum TicketOp {
    /// Seals a session's state ([`CryptoOutput::Sealed`]). The device chooses the nonce.
    Seal {
        /// The key.
        key: TicketKey,
        /// The state.
        state: Secret,
    },
    /// Opens a ticket ([`CryptoOutput::Opened`]), which may be forged.
    Open {
        /// The key that the ticket names.
        key: TicketKey,
        /// The ticket.
        ticket: Vec<u8>,
    },
}

impl TicketOp {
    /// Checks the form of a result.
    pub(crate) fn check(&self, output: &CryptoOutput) -> Result<(), CheckFailed> {
        let right = match (self, output) {
            (Self::Seal { key, state }, CryptoOutput::Sealed(ticket)) => {
                key.is_named_by(ticket)
                    && ticket.len() == state.expose().len() + TicketKey::OVERHEAD
            }
            (Self::Open { ticket, .. }, CryptoOutput::Opened(Some(state))) => {
                ticket.len() == state.expose().len() + TicketKey::OVERHEAD
            }
            (Self::Open { .. }, CryptoOutput::Opened(None)) => true,
            _ => false,
        };
        if right {
            Ok(())
        } else {
            Err(CheckFailed("the result does not have the form of a ticket's"))
        }
    }
}

impl fmt::Debug for TicketOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, key, len) = match self {
            Self::Seal { key, state } => ("Seal", key, state.expose().len()),
            Self::Open { key, ticket } => ("Open", key, ticket.len()),
        };
        f.debug_struct(step).field("key", key).field("len", &len).finish()
    }
}

/// Ticket keys in rotation: each seals for one period, and opens until the end of the next.
///
/// ```text
///   time       0 ......... period ........ 2 periods ....... 3 periods
///   seals      [-- key A --)[-- key B --)[-- key C --)
///   opens      [-- key A -----------------)
///                           [-- key B -----------------)
/// ```
///
/// The caller passes the time, as a duration since any fixed point. A ticket can be opened for at least one period and
/// less than two, even when no method is called in between.
#[derive(Debug)]
pub struct TicketRotation {
    period: Duration,
    current: TicketKey,
    /// When `current` began to seal.
    since: Duration,
    previous: Option<TicketKey>,
}

impl TicketRotation {
    /// Makes a rotation that begins `now` with the key `first`. A `period` of zero counts as one nanosecond.
    pub fn new(period: Duration, first: TicketKey, now: Duration) -> Self {
        let period = period.max(Duration::from_nanos(1));
        Self { period, current: first, since: now, previous: None }
    }

    /// How long a key seals, which is also the minimum lifetime of a ticket.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Whether the current key's period has ended.
    pub fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= self.period
    }

    /// Replaces the current key by `fresh` if its period has ended.
    pub fn rotate(&mut self, fresh: TicketKey, now: Duration) {
        if !self.is_due(now) {
            return;
        }
        let age = now - self.since;
        let sealed_recently = age < self.period.saturating_mul(2);
        let retired = std::mem::replace(&mut self.current, fresh);
        self.previous = sealed_recently.then_some(retired);
        self.since = if sealed_recently { self.since.saturating_add(self.period) } else { now };
    }

    /// The current key.
    pub fn sealing_key(&self) -> &TicketKey {
        &self.current
    }

    /// The key that opens `ticket`, unless it is unknown or has expired.
    pub fn opening_key(&self, ticket: &[u8], now: Duration) -> Option<&TicketKey> {
        let age = now.saturating_sub(self.since);
        let current = Some(&self.current).filter(|_| age < self.period.saturating_mul(2));
        let previous = self.previous.as_ref().filter(|_| age < self.period);
        current.into_iter().chain(previous).find(|key| key.is_named_by(ticket))
    }
}
