//! Key exchange by an engine.

use core::cell::RefCell;
use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_ops::{AgreeOp, CryptoOp, CryptoOutput, EphemeralKey, Group, MalformedShare, Secret};
use engine_core::{CheckFailed, Engine, EngineError};
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

use crate::packet_local::{self, OfPacket};
use crate::rustls23::at_once;
use crate::rustls23::engine_error::wrap;
use crate::rustls23::postponed::{Asked, Reply, give_up, is_asked, postpone_operation};

/// The engine for a session's key exchanges, if it has one.
///
/// rustls holds key-exchange groups as `&'static`, so they cannot hold an engine. They find it in the job that calls them, or
/// on the thread of a replay.
#[derive(Clone, Default)]
pub(crate) struct KeyExchange(Option<Arc<Engine<CryptoOp>>>);

impl KeyExchange {
    pub(crate) fn by(engine: Arc<Engine<CryptoOp>>) -> Self {
        Self(Some(engine))
    }

    /// Runs `work` with this engine in the current job. Without an engine or a job, just calls `work`.
    pub(crate) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let job = if self.0.is_some() { job_core::current() } else { None };
        let Some(job) = job else { return work() };
        let before = job.set_local(self);
        let result = work();
        // The job may be another session's, if a hook calls this one: restore what that session finds.
        job.set_local(before.map_or_else(Self::default, |before| Self::clone(&before)));
        result
    }

    /// Runs a step of a replay with this engine, or with none.
    pub(super) fn lend<T>(&self, step: impl FnOnce() -> T) -> T {
        packet_local::during(&LENT, Some(OfPacket::new(self.clone())), step)
    }

    /// The engine of the current job, or of a replay that asks `group`. An error if another group was asked in its place,
    /// and the handshake takes a fiber.
    fn current(group: &OffloadedGroup) -> Result<Option<Arc<Engine<CryptoOp>>>, Error> {
        if at_once::is_required() {
            return Ok(None);
        }
        let lent = LENT.with_borrow(|lent| lent.as_ref().and_then(OfPacket::get).cloned());
        let Some(Self(engine)) = lent else {
            let exchange = job_core::current().and_then(|job| job.local::<Self>());
            return Ok(exchange.and_then(|exchange| exchange.0.clone()));
        };
        let Some(engine) = engine else { return Ok(None) };
        if give_up(group, Asked::KeyExchange) {
            return Err(POSTPONED);
        }
        Ok(is_asked(group).then_some(engine))
    }
}

thread_local! {
    /// Of the replay that runs on this thread.
    static LENT: RefCell<Option<OfPacket<KeyExchange>>> = const { RefCell::new(None) };
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyExchange").field(&self.0).finish()
    }
}

/// Replaces the key-exchange groups of `provider` by groups that an engine computes, in sessions whose context
/// [names one](crate::SslContext::key_exchange). In other sessions the provider computes them.
///
/// Covers X25519, P-256, P-384 and X25519MLKEM768, as far as the provider has them; its other groups stay unchanged. A
/// TLS 1.3 server needs one operation per handshake, a client two.
///
/// An offloaded group never claims to be FIPS-approved: that depends on the device.
///
/// Without an engine the provider computes on the thread's stack, not on the job's: with X25519MLKEM768 a server's
/// handshake that is then parked in its signature holds 26 KB instead of 42. So this function saves memory even where the
/// key exchange is not offloaded. Do not use it with a group of your own that pauses its job: on the thread's stack a
/// pause is refused.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::sync::Arc;
/// use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
/// use ssl_async::{SslContext, engine_core::Engine, offload};
/// # let keys = crypto_ops::SoftwareKeys::new();
/// # let device = Arc::new(engine_core::Inline::new(move |op: &crypto_ops::CryptoOp| keys.execute(op).map_err(|_| engine_core::DeviceError::Lost)));
///
/// let engine = Engine::builder(device).build();
/// let provider = offload::key_exchange(aws_lc_rs::default_provider());
/// let config = ClientConfig::builder_with_provider(Arc::new(provider))
///     .with_safe_default_protocol_versions()?
///     .with_root_certificates(RootCertStore::empty())
///     .with_no_client_auth();
/// let context = SslContext::client(Arc::new(config)).key_exchange(engine);
/// # }
/// # Ok::<(), rustls::Error>(())
/// ```
pub fn key_exchange(mut provider: CryptoProvider) -> CryptoProvider {
    for group in &mut provider.kx_groups {
        *group = intern(*group);
    }
    provider
}

/// The process's wrapper of `inner`; `inner` itself if there is no operation for it.
fn intern(inner: &'static dyn SupportedKxGroup) -> &'static dyn SupportedKxGroup {
    static WRAPPERS: Mutex<Wrappers> = Mutex::new(Wrappers(Vec::new()));
    WRAPPERS.lock().unwrap_or_else(PoisonError::into_inner).of(inner)
}

/// Every wrapper of this process, one per group. rustls takes groups as `&'static`, so each is leaked, up to
/// [`MAX_WRAPPERS`].
struct Wrappers(Vec<&'static OffloadedGroup>);

impl Wrappers {
    fn of(&mut self, inner: &'static dyn SupportedKxGroup) -> &'static dyn SupportedKxGroup {
        let Some(group) = Group::from_u16(u16::from(inner.name())) else { return inner };
        let known = self.0.iter().find(|known| same(known.inner, inner) || same(**known, inner));
        if let Some(known) = known {
            return *known;
        }
        if self.0.len() == MAX_WRAPPERS {
            tracing::warn!(%group, "ssl.not_offloaded");
            return inner;
        }
        let wrapper: &'static OffloadedGroup = Box::leak(Box::new(OffloadedGroup { inner, group }));
        self.0.push(wrapper);
        wrapper
    }
}

/// Bounds the leak of a program that makes groups at run time.
const MAX_WRAPPERS: usize = 64;

#[derive(Debug)]
struct OffloadedGroup {
    inner: &'static dyn SupportedKxGroup,
    group: Group,
}

/// Whether both are the same object. Compares the names too, because an object may start with another one, and for groups
/// without fields, which may share one address, the vtables. (Elsewhere vtables say nothing: a type may have several.)
fn same(a: &'static dyn SupportedKxGroup, b: &'static dyn SupportedKxGroup) -> bool {
    let one_object = core::ptr::addr_eq(a, b) && size_of_val(a) == size_of_val(b);
    one_object && a.name() == b.name() && (size_of_val(a) > 0 || core::ptr::eq(a, b))
}

impl SupportedKxGroup for OffloadedGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let Some(engine) = KeyExchange::current(self)? else {
            return on_thread_stack(|| self.inner.start());
        };
        let op = AgreeOp::start(self.group);
        if is_asked(self) {
            postpone_operation(self, Arc::clone(&engine), op.into(), |output| {
                Ok(Reply::KeyExchangeStart(Ok(started(engine, output?)?)))
            });
            return Err(POSTPONED);
        }
        let output = engine.run(op.into());
        output.and_then(|output| started(engine, output)).map_err(wrap)
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let Some(engine) = KeyExchange::current(self)? else {
            return on_thread_stack(|| self.inner.start_and_complete(peer));
        };
        let op = AgreeOp::start_and_complete(self.group, peer).map_err(misbehaved)?;
        let group = self.group;
        if is_asked(self) {
            postpone_operation(self, engine, op.into(), move |output| {
                Ok(Reply::KeyExchange(agreed(group, output?)?))
            });
            return Err(POSTPONED);
        }
        engine.run(op.into()).and_then(|output| agreed(group, output)).map_err(wrap)?
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.inner.name()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.inner.usable_for_version(version)
    }
}

/// Computes without an engine, on the thread's stack: a parked job keeps every page that it has touched, and ML-KEM
/// touches four that nothing else in a handshake needs.
fn on_thread_stack<T>(f: impl FnOnce() -> T) -> T {
    job_core::on_thread_stack(f)
}

/// A key exchange whose private half is in a device.
struct Active {
    engine: Arc<Engine<CryptoOp>>,
    share: Vec<u8>,
    key: EphemeralKey,
}

impl Active {
    fn finish(self, op: Result<AgreeOp, MalformedShare>) -> Result<SharedSecret, Error> {
        let op = op.map_err(misbehaved)?;
        let group = op.group();
        match self.engine.run(op.into()).map_err(wrap)? {
            CryptoOutput::Secret(secret) => Ok(shared(&secret)),
            CryptoOutput::BadShare => Err(misbehaved(MalformedShare { group })),
            _ => Err(wrap(SHAPE)),
        }
    }
}

impl ActiveKeyExchange for Active {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let op = AgreeOp::complete(self.key.clone(), peer);
        self.finish(op)
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        let half = self.key.group().classical_half()?;
        let at = self.share.len().checked_sub(half.client_share_len())?;
        Some((NamedGroup::from(half.to_u16()), &self.share[at..]))
    }

    fn complete_hybrid_component(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let op = AgreeOp::complete_classical_half(self.key.clone(), peer);
        self.finish(op)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::from(self.key.group().to_u16())
    }
}

/// A started exchange of `engine`'s.
fn started(
    engine: Arc<Engine<CryptoOp>>,
    output: CryptoOutput,
) -> Result<Box<dyn ActiveKeyExchange>, EngineError> {
    match output {
        CryptoOutput::Started { share, key } => Ok(Box::new(Active { engine, share, key })),
        _ => Err(SHAPE),
    }
}

/// A completed exchange, or the fault of the peer's share.
fn agreed(
    group: Group,
    output: CryptoOutput,
) -> Result<Result<CompletedKeyExchange, Error>, EngineError> {
    match output {
        CryptoOutput::Agreed { share, secret } => Ok(Ok(CompletedKeyExchange {
            group: NamedGroup::from(group.to_u16()),
            pub_key: share,
            secret: shared(&secret),
        })),
        CryptoOutput::BadShare => Ok(Err(misbehaved(MalformedShare { group }))),
        _ => Err(SHAPE),
    }
}

/// What a hook returns after it has postponed or given up. Nothing reads it.
const POSTPONED: Error = Error::HandshakeNotComplete;

fn misbehaved(share: MalformedShare) -> Error {
    tracing::debug!(%share, "ssl.bad_share");
    PeerMisbehaved::InvalidKeyShare.into()
}

fn shared(secret: &Secret) -> SharedSecret {
    SharedSecret::from(secret.expose())
}

/// A result of another kind that the engine let through unchecked.
const SHAPE: EngineError = EngineError::Invalid(CheckFailed("the result is no key agreement's"));

#[cfg(test)]
mod tests {
    use super::*;

    /// A group without fields: all such values may share one address.
    #[derive(Debug)]
    struct Empty<const GROUP: u16>;

    impl<const GROUP: u16> SupportedKxGroup for Empty<GROUP> {
        fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
            Err(Error::General(GROUP.to_string()))
        }

        fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
            None
        }

        fn name(&self) -> NamedGroup {
            GROUP.into()
        }
    }

    #[test]
    fn a_group_is_wrapped_once() {
        let first = intern(&Empty::<29>);
        assert!(same(first, intern(&Empty::<29>)));
        assert!(same(first, intern(first)), "a wrapper is not wrapped");
        let other = intern(&Empty::<23>);
        assert!(!same(first, other));
        assert_eq!((first.name(), other.name()), (NamedGroup::X25519, NamedGroup::secp256r1));
    }

    #[test]
    fn groups_made_at_run_time_leak_up_to_the_bound() {
        #[derive(Debug)]
        struct Made(u8);

        impl SupportedKxGroup for Made {
            fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
                Err(Error::General(self.0.to_string()))
            }

            fn name(&self) -> NamedGroup {
                NamedGroup::X25519
            }
        }

        let mut wrappers = Wrappers(Vec::new());
        for n in 0..=u8::MAX {
            let made: &'static Made = Box::leak(Box::new(Made(n)));
            let wrapped = !same(wrappers.of(made), made);
            assert_eq!(wrapped, usize::from(n) < MAX_WRAPPERS);
        }
        assert_eq!(wrappers.0.len(), MAX_WRAPPERS);
    }

    #[test]
    fn a_group_without_an_operation_is_not_wrapped() {
        let exotic: &'static dyn SupportedKxGroup = &Empty::<0x0100>;
        assert!(same(exotic, intern(exotic)));
    }

    #[test]
    #[cfg(feature = "aws-lc-rs")]
    fn without_an_engine_a_wrapped_group_computes_off_the_stack_of_the_job() {
        use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;

        let used_by = |start: fn() -> bool| {
            let pool = job_core::JobPool::new();
            let started = pool.start(start).ok().and_then(|step| step.finished());
            assert_eq!(started, Some(true));
            pool.wipe();
            pool.stats().stack_high_water
        };
        let bare = used_by(|| X25519MLKEM768.start().is_ok());
        let wrapped = used_by(|| intern(X25519MLKEM768).start().is_ok());
        assert!(wrapped < bare / 2, "{wrapped} bytes of a job's stack, {bare} unwrapped");
    }

    #[test]
    fn outside_a_job_the_wrapped_group_computes_itself() {
        let Err(Error::General(text)) = intern(&Empty::<24>).start() else {
            panic!("the group of the test refuses to start")
        };
        assert_eq!(text, "24");
    }
}
