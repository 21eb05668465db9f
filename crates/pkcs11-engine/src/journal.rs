//! What a token has done: counters, and lines in the log.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use engine_core::LogLimit;

use crate::fault::{Class, Fault};
use crate::ladder::Rung;

/// What a token has done so far. A failed call that was made good by another one counts, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenStats {
    /// Signatures that the token gave.
    pub signatures: u64,
    /// Failed calls by what they meant.
    pub failures: Failures,
    /// Logins anew.
    pub logins: u64,
    /// Recoveries that closed all sessions.
    pub new_sessions: u64,
    /// Recoveries that finalized and initialized the module.
    pub restarts: u64,
    /// Recoveries that did not help, after which the token was left alone for a while.
    pub rests: u64,
    /// The token refused the PIN, and nothing is tried any more.
    pub is_stopped: bool,
}

/// Failed calls of a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// The key or the mechanism is wrong.
    pub request: u64,
    /// No session, or no memory, was left.
    pub busy: u64,
    /// The session was closed, or in the middle of something.
    pub session: u64,
    /// The error does not say.
    pub unclear: u64,
    /// The login was gone, and with it the handle of the key.
    pub login: u64,
    /// The token or the module was away.
    pub device: u64,
    /// The token refused the PIN.
    pub pin: u64,
}

#[cfg(feature = "metrics")]
impl TokenStats {
    /// Passes these counters to the installed recorder, with the label `token`. Call it before each scrape, beside
    /// [`EngineStats::publish`](engine_core::EngineStats::publish) of the [pool](crate::Token::pool). The names are
    /// [listed](https://github.com/layby-rs/layby/blob/main/docs/events.md#metrics), and are interface.
    pub fn publish(&self, token: impl Into<metrics::SharedString>) {
        use metrics::{counter, gauge};

        let token = token.into();
        counter!("layby_pkcs11_signatures_total", "token" => token.clone())
            .absolute(self.signatures);
        for (class, count) in Class::ALL.iter().zip(self.failures.each()) {
            let labels = [("token", token.clone()), ("class", class.name().into())];
            counter!("layby_pkcs11_failures_total", &labels).absolute(count);
        }
        let recoveries = [
            (Rung::Login, self.logins),
            (Rung::Sessions, self.new_sessions),
            (Rung::Module, self.restarts),
        ];
        for (rung, count) in recoveries {
            let labels = [("token", token.clone()), ("rung", rung.name().into())];
            counter!("layby_pkcs11_recoveries_total", &labels).absolute(count);
        }
        counter!("layby_pkcs11_rests_total", "token" => token.clone()).absolute(self.rests);
        gauge!("layby_pkcs11_stopped", "token" => token).set(if self.is_stopped {
            1.0
        } else {
            0.0
        });
    }
}

#[cfg(feature = "metrics")]
impl Failures {
    /// In the order of [`Class::ALL`].
    const fn each(&self) -> [u64; Class::ALL.len()] {
        [self.request, self.busy, self.session, self.unclear, self.login, self.device, self.pin]
    }
}

/// Counts, and writes to the log at most once a second and cause.
pub(crate) struct Journal {
    token: String,
    signatures: AtomicU64,
    failures: [AtomicU64; Class::ALL.len()],
    complaints: [LogLimit; Class::ALL.len()],
    recovered: [AtomicU64; 3],
    recovery_lines: LogLimit,
    rests: AtomicU64,
    rest_lines: LogLimit,
    last_setback: Mutex<String>,
}

impl Journal {
    pub(crate) fn new(token: String) -> Self {
        Self {
            token,
            signatures: AtomicU64::new(0),
            failures: Default::default(),
            complaints: Default::default(),
            recovered: Default::default(),
            recovery_lines: LogLimit::new(),
            rests: AtomicU64::new(0),
            rest_lines: LogLimit::new(),
            last_setback: Mutex::default(),
        }
    }

    pub(crate) fn signed(&self) {
        self.signatures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed call. Returns the place of its class.
    pub(crate) fn count(&self, class: Class) -> usize {
        let place = Class::ALL.iter().position(|other| *other == class).unwrap_or(0);
        self.failures[place].fetch_add(1, Ordering::Relaxed);
        place
    }

    pub(crate) fn failed(&self, now: Duration, fault: &Fault) {
        let class = self.count(fault.class);
        if let Some(held_back) = self.complaints[class].admit(now) {
            let (token, class, error) = (&*self.token, fault.class.name(), &*fault.text);
            tracing::warn!(token, class, error, held_back, "pkcs11.failed");
        }
    }

    pub(crate) fn recovered(&self, now: Duration, rung: Rung) {
        self.recovered[rung as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = self.recovery_lines.admit(now) {
            let (token, rung) = (&*self.token, rung.name());
            tracing::info!(token, rung, held_back, "pkcs11.recovered");
        }
    }

    pub(crate) fn resting(&self, now: Duration, rest: Duration, error: &str) {
        self.rests.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = self.rest_lines.admit(now) {
            let (token, rest_ms) = (&*self.token, rest.as_millis() as u64);
            tracing::warn!(token, error, rest_ms, held_back, "pkcs11.resting");
        }
    }

    pub(crate) fn stopped(&self, error: &str) {
        let token = &*self.token;
        tracing::error!(token, error, "pkcs11.stopped");
    }

    /// Keeps why requests will fail. To be called before the ladder is told, which other threads see at once.
    pub(crate) fn set_back(&self, text: &str) {
        text.clone_into(&mut self.last_setback.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Why the last recovery did not help.
    pub(crate) fn last_setback(&self) -> String {
        self.last_setback.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stats(&self, is_stopped: bool) -> TokenStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [request, busy, session, unclear, login, device, pin] =
            self.failures.each_ref().map(count);
        let [logins, new_sessions, restarts] = self.recovered.each_ref().map(count);
        TokenStats {
            signatures: count(&self.signatures),
            failures: Failures { request, busy, session, unclear, login, device, pin },
            logins,
            new_sessions,
            restarts,
            rests: count(&self.rests),
            is_stopped,
        }
    }
}
