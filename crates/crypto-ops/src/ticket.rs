//! The ticket operation: session tickets sealed and opened, and the keys for it in rotation.

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
/// Unlike a signing key it is made by software and travels with the operation: all servers of a farm must have it, and
/// it lives for hours. It is wiped when the last clone is dropped, and compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey(Arc<Inner>);

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        let secrets = self.secret.as_slice().ct_eq(other.secret.as_slice());
        // Every ticket shows the name.
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
    /// By how many bytes a ticket is longer than what it seals.
    pub const OVERHEAD: usize = Self::NAME_LEN + NONCE_LEN + TAG_LEN;

    /// A key from random bytes: the name, which every ticket shows, and the secret.
    pub fn new(name: [u8; Self::NAME_LEN], secret: Zeroizing<[u8; Self::SECRET_LEN]>) -> Self {
        Self(Arc::new(Inner { name, secret }))
    }

    /// A key from the bytes that `fill` gives, which must be random.
    ///
    /// # Errors
    ///
    /// Those of `fill`.
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

    /// The secret, for the device that uses it.
    pub fn expose(&self) -> &[u8; Self::SECRET_LEN] {
        &self.0.secret
    }

    /// Whether a ticket says that this key sealed it.
    pub fn is_named_by(&self, ticket: &[u8]) -> bool {
        ticket.len() >= Self::OVERHEAD && ticket.starts_with(self.name())
    }
}

/// The length in bytes of the nonce in a ticket.
pub(crate) const NONCE_LEN: usize = 12;
/// The length in bytes of the tag in a ticket.
pub(crate) const TAG_LEN: usize = 16;

/// Shows the start of the name only.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0.name;
        write!(f, "TicketKey({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// A ticket to be sealed or opened.
///
/// A ticket is laid out as RFC 5077, section 4, recommends: the key's name, the nonce, the sealed state, the tag. The
/// name is authenticated too.
#[derive(Clone)]
#[non_exhaustive]
pub enum TicketOp {
    /// Seal a session's state under a nonce of the device's choice ([`CryptoOutput::Sealed`]).
    Seal {
        /// The key.
        key: TicketKey,
        /// The state.
        state: Secret,
    },
    /// Open a ticket ([`CryptoOutput::Opened`]). Whoever has sent it may have made it up.
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
        if right { Ok(()) } else { Err(CheckFailed("the result has not the form of a ticket's")) }
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

/// Ticket keys in rotation: one seals for a period, and opens for one more.
///
/// ```text
///   time       0 ......... period ........ 2 periods ....... 3 periods
///   seals      [-- key A --)[-- key B --)[-- key C --)
///   opens      [-- key A -----------------)
///                           [-- key B -----------------)
/// ```
///
/// It is pure: the time is told, and counts from wherever the caller likes. A ticket can be opened for at least one
/// period and less than two, whether or not anybody calls meanwhile.
#[derive(Debug)]
pub struct TicketRotation {
    period: Duration,
    current: TicketKey,
    /// When `current` began to seal.
    since: Duration,
    previous: Option<TicketKey>,
}

impl TicketRotation {
    /// A rotation that begins `now` with `first`. A `period` of zero is taken as a nanosecond; one that is longer than time
    /// lasts never ends.
    pub fn new(period: Duration, first: TicketKey, now: Duration) -> Self {
        let period = period.max(Duration::from_nanos(1));
        Self { period, current: first, since: now, previous: None }
    }

    /// How long a key seals, and a ticket can be opened at least.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Whether a new key is due `now`.
    pub fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= self.period
    }

    /// Takes up a new key `now`, if one is due.
    pub fn rotate(&mut self, fresh: TicketKey, now: Duration) {
        if !self.is_due(now) {
            return;
        }
        let age = now - self.since;
        let sealed_lately = age < self.period.saturating_mul(2);
        let retired = std::mem::replace(&mut self.current, fresh);
        self.previous = sealed_lately.then_some(retired);
        self.since = if sealed_lately { self.since.saturating_add(self.period) } else { now };
    }

    /// The key that seals.
    pub fn sealing_key(&self) -> &TicketKey {
        &self.current
    }

    /// The key that opens `ticket`, if it is one of ours and has not expired `now`.
    pub fn opening_key(&self, ticket: &[u8], now: Duration) -> Option<&TicketKey> {
        let age = now.saturating_sub(self.since);
        let current = Some(&self.current).filter(|_| age < self.period.saturating_mul(2));
        let previous = self.previous.as_ref().filter(|_| age < self.period);
        current.into_iter().chain(previous).find(|key| key.is_named_by(ticket))
    }
}
