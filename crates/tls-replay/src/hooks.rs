//! The user's hooks of a configuration, each asked once per hello.
//!
//! A caller that serves a hello in another way after [`ReplayError::HookInHook`](crate::ReplayError::HookInHook), as
//! ssl-async does on a fiber, asks them again there.

use std::fmt;
use std::sync::Arc;

use rustls::KeyLog;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

use crate::pass::{self, Asked, Mode};
use crate::plant::is_armed;
use crate::record::{Context, LoggedSecret, Next, Record, Recorded};

/// A hook whose answers are recorded in the first pass and replayed in the next.
pub(crate) struct Hook<T: ?Sized>(pub(crate) Arc<T>);

impl<T: ?Sized + fmt::Debug> fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResolvesServerCert for Hook<dyn ResolvesServerCert> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let next = pass::next(|answer, _| match answer {
            Recorded::Certificate(key) => Some(key.clone()),
            _ => None,
        });
        if !matches!(next, Next::Live) {
            // Whichever certificate it is, its key says so itself.
            pass::with(|record| record.key_postpones = false);
        }
        match next {
            Next::Replayed(_) if is_armed!(AskTwice) => pass::call(|| self.0.resolve(hello)),
            Next::Replayed(key) => key,
            Next::Live => self.0.resolve(hello),
            Next::Stopped => None,
            Next::New => match pass::call_postponable(Asked::Certificate, &*self.0, |hook| {
                hook.resolve(hello)
            }) {
                Ok(key) => {
                    pass::with(|record| record.push(Recorded::Certificate(key.clone())));
                    key
                }
                Err(context) => {
                    pass::with(|record| record.ask_certificate(context));
                    None
                }
            },
        }
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}

/// Replays or asks for the plaintext of a ticket or a stored session; `postponed` puts the question.
fn resumption<H: ?Sized>(
    hook: &H,
    ask: impl FnOnce(&H) -> Option<Vec<u8>>,
    postponed: impl FnOnce(&mut Record, Context),
) -> Option<Vec<u8>> {
    let next = pass::next(|answer, bytes| match answer {
        Recorded::Resumption(plain) => Some(plain.map(|plain| bytes.get(plain).to_vec())),
        _ => None,
    });
    match next {
        Next::Replayed(plain) => plain,
        Next::Live => ask(hook),
        Next::Stopped => None,
        Next::New => match pass::call_postponable(Asked::Ticket, hook, ask) {
            Ok(plain) => {
                pass::with(|record| record.push_resumption(plain.as_deref()));
                plain
            }
            Err(context) => {
                let refused = pass::with(|record| {
                    if record.may_postpone_ticket(&context) {
                        postponed(record, context);
                        return None;
                    }
                    record.push_resumption(None);
                    Some(context)
                });
                // The hook's own code may run here, so the record is no longer borrowed.
                drop(refused);
                None
            }
        },
    }
}

impl ProducesTickets for Hook<dyn ProducesTickets> {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    /// In a pass only when TLS 1.2 resumes: everywhere else tickets are sealed after the client's last flight.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let next = pass::next(|answer, _| match answer {
            Recorded::Sealed(ticket) => Some(ticket.as_deref().map(<[u8]>::to_vec)),
            _ => None,
        });
        match next {
            Next::Replayed(ticket) => ticket,
            Next::Live => self.0.encrypt(plain),
            Next::Stopped => None,
            Next::New => {
                match pass::call_postponable(Asked::Ticket, &*self.0, |hook| hook.encrypt(plain)) {
                    Ok(ticket) => {
                        pass::with(|record| record.push_sealed(ticket.as_deref()));
                        ticket
                    }
                    Err(context) => {
                        pass::with(|record| record.ask_seal(plain, context));
                        None
                    }
                }
            }
        }
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        resumption(
            &*self.0,
            |hook| hook.decrypt(sealed),
            |record, context| record.ask_ticket(sealed, context),
        )
    }
}

impl StoresServerSessions for Hook<dyn StoresServerSessions> {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.0.put(id, session)
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        resumption(
            &*self.0,
            |hook| hook.get(id),
            |record, context| record.ask_stored_session(id, context),
        )
    }

    /// Takes the session out of the store, so a second question would find nothing.
    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        resumption(
            &*self.0,
            |hook| hook.take(id),
            |record, context| record.ask_stored_session(id, context),
        )
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}

impl TimeProvider for Hook<dyn TimeProvider> {
    fn current_time(&self) -> Option<UnixTime> {
        let next = pass::next(|answer, _| match answer {
            Recorded::Time(now) => Some(*now),
            _ => None,
        });
        match next {
            Next::Replayed(now) => now,
            Next::Live => self.0.current_time(),
            Next::Stopped => None,
            Next::New => {
                let now = pass::call(|| self.0.current_time());
                pass::with(|record| record.push(Recorded::Time(now)));
                now
            }
        }
    }
}

impl KeyLog for Hook<dyn KeyLog> {
    /// In a pass the line waits until its connection has become the real one.
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        match pass::mode() {
            Mode::Live => self.0.log(label, client_random, secret),
            Mode::Rehearsal => {}
            Mode::Real | Mode::Delivered => pass::with(|record| {
                record.key_log.push(LoggedSecret {
                    label: label.to_owned(),
                    client_random: client_random.to_vec(),
                    secret: Zeroizing::new(secret.to_vec()),
                });
            }),
        }
    }

    fn will_log(&self, label: &str) -> bool {
        pass::mode() != Mode::Rehearsal && self.0.will_log(label)
    }
}
