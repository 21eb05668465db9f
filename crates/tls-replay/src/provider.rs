//! A provider whose randomness and key exchange are recorded and replayed.

use std::fmt;

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom,
    SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};

use crate::error::{ABANDONED, NotReplayable};
use crate::mute;
use crate::pass::{self, Asked, Mode};
use crate::plant::is_armed;
use crate::record::{Next, Recorded, Stop};
use crate::started::StartedExchange;

/// Wraps `provider` so that handshakes of its configurations can be parked by a [`Session`](crate::Session). Everywhere
/// else it behaves as before.
///
/// rustls wants groups, suites and randomness as `&'static`: each call leaks about a kilobyte. Call it once per provider.
pub fn replayable(provider: CryptoProvider) -> CryptoProvider {
    let wrap_group =
        |&inner| -> &'static dyn SupportedKxGroup { Box::leak(Box::new(Group { inner })) };
    CryptoProvider {
        cipher_suites: provider.cipher_suites.iter().copied().map(mute::wrap_suite).collect(),
        kx_groups: provider.kx_groups.iter().map(wrap_group).collect(),
        secure_random: Box::leak(Box::new(Random { inner: provider.secure_random })),
        ..provider
    }
}

/// Whether every part of `provider` that a rehearsal needs came from [`replayable`].
///
/// # Errors
///
/// [`NotReplayable`] names the first part that did not.
pub(crate) fn check(provider: &CryptoProvider) -> Result<(), NotReplayable> {
    if !pass::reaches_probe(|| {
        provider.secure_random.fips();
    }) {
        return Err(NotReplayable::Provider);
    }
    if let Some(suite) = provider.cipher_suites.iter().find(|suite| !mute::is_wrapped(suite)) {
        return Err(NotReplayable::CipherSuite(suite.suite()));
    }
    let unwrapped = |group: &&&dyn SupportedKxGroup| {
        !pass::reaches_probe(|| {
            group.fips();
        })
    };
    match provider.kx_groups.iter().find(unwrapped) {
        Some(group) => Err(NotReplayable::Group(group.name())),
        None => Ok(()),
    }
}

struct Random {
    inner: &'static dyn SecureRandom,
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl SecureRandom for Random {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        let next = pass::next(|answer, bytes| match answer {
            Recorded::Random(span) if span.len() == buffer.len() => {
                buffer.copy_from_slice(bytes.get(*span));
                Some(())
            }
            _ => None,
        });
        match next {
            Next::Replayed(()) if is_armed!(FreshRandomness) => {
                pass::call(|| self.inner.fill(buffer))
            }
            Next::Replayed(()) => Ok(()),
            Next::Live => self.inner.fill(buffer),
            Next::Stopped => Err(GetRandomFailed),
            Next::New => {
                pass::call(|| self.inner.fill(buffer))?;
                pass::with(|record| record.push_random(buffer));
                Ok(())
            }
        }
    }

    fn fips(&self) -> bool {
        pass::probed();
        self.inner.fips()
    }
}

struct Group {
    inner: &'static dyn SupportedKxGroup,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl SupportedKxGroup for Group {
    /// TLS 1.2: the exchange is completed after the server's flight, by the real connection.
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let next = pass::next(|answer, _| match answer {
            Recorded::Started(exchange) if exchange.group == self.name() => {
                Some(Ok(exchange.clone() as Box<dyn ActiveKeyExchange>))
            }
            Recorded::ExchangeFailed(error) => Some(Err((**error).clone())),
            _ => None,
        });
        match next {
            Next::Live => self.inner.start(),
            Next::Stopped => Err(ABANDONED),
            Next::Replayed(exchange) => exchange,
            Next::New => {
                if signs_at_once() {
                    return Err(ABANDONED);
                }
                let started =
                    match pass::call_postponable(Asked::KeyExchange, self.inner, |group| {
                        group.start()
                    }) {
                        Ok(started) => started.inspect_err(record_failure)?,
                        Err(context) => {
                            pass::with(|record| {
                                record.ask_key_exchange_start(self.name(), context)
                            });
                            return Err(ABANDONED);
                        }
                    };
                let exchange = Box::new(StartedExchange::new(started));
                pass::with(|record| record.push(Recorded::Started(exchange.clone())));
                Ok(exchange)
            }
        }
    }

    /// TLS 1.3.
    fn start_and_complete(&self, peer_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let rehearsal = pass::mode() == Mode::Rehearsal;
        let next = pass::next(|answer, bytes| match answer {
            Recorded::Exchanged { group, public, secret } if *group == self.name() => {
                let pub_key = bytes.get(*public).to_vec();
                let secret = match rehearsal {
                    true => mute::no_secret(),
                    false => SharedSecret::from(bytes.get(*secret)),
                };
                Some(Ok(CompletedKeyExchange { group: *group, pub_key, secret }))
            }
            Recorded::ExchangeFailed(error) => Some(Err((**error).clone())),
            _ => None,
        });
        match next {
            Next::Live => self.inner.start_and_complete(peer_share),
            Next::Stopped => Err(ABANDONED),
            Next::Replayed(exchange) => exchange,
            Next::New => {
                if signs_at_once() {
                    return Err(ABANDONED);
                }
                let mut done =
                    match pass::call_postponable(Asked::KeyExchange, self.inner, |group| {
                        group.start_and_complete(peer_share)
                    }) {
                        Ok(done) => done.inspect_err(record_failure)?,
                        Err(context) => {
                            pass::with(|record| {
                                record.ask_key_exchange(self.name(), peer_share, context)
                            });
                            return Err(ABANDONED);
                        }
                    };
                let secret = done.secret.secret_bytes();
                pass::with(|record| record.push_exchanged(done.group, &done.pub_key, secret));
                if rehearsal {
                    done.secret = mute::no_secret();
                }
                Ok(done)
            }
        }
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.inner.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.inner.name()
    }

    fn fips(&self) -> bool {
        pass::probed();
        self.inner.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.inner.usable_for_version(version)
    }
}

/// Ends a rehearsal whose key signs at once: the handshake parks nowhere any more, and the real pass need not be rehearsed.
fn signs_at_once() -> bool {
    let at_once = pass::mode() == Mode::Rehearsal && !pass::with(|record| record.key_postpones);
    if at_once {
        pass::with(|record| record.key_is_local = true);
        pass::stop(Stop::LocalKey);
    }
    at_once
}

/// Keeps a failed exchange: its alert belongs to the real pass.
fn record_failure(error: &Error) {
    pass::with(|record| record.push(Recorded::ExchangeFailed(Box::new(error.clone()))));
}
