//! Handshakes whose signatures an engine computes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use engine_core::{
    CheckFailed, DeviceError, Engine, EngineError, Kind, Shutdown, ThreadPoolBuilder, Work,
};
use rustls::SignatureScheme;
use tls_replay::{
    EngineSession, EngineSessionError, MAX_HELLO, Question, ReplayError, Session, SessionOptions,
    SessionStage,
};

use crate::world::{Device, Pair, Want, World};

/// A signature that the device computes.
struct Sign(SignatureScheme, Vec<u8>);

impl Work for Sign {
    type Output = Vec<u8>;

    fn kind(&self) -> Kind {
        Kind::new("sign")
    }

    fn check(&self, _: &Vec<u8>) -> Result<(), CheckFailed> {
        Ok(())
    }
}

/// The request that a parked session waits for.
fn sign(session: &Session) -> Option<Sign> {
    match session.question()? {
        Question::Signature { scheme, message } => Some(Sign(scheme, message.to_vec())),
        _ => None,
    }
}

fn engine(device: &Arc<Device>, fails: bool) -> Arc<Engine<Sign>> {
    let device = Arc::clone(device);
    let pool = ThreadPoolBuilder::new().threads(2).build(move |work: &Sign| {
        if fails {
            Err(DeviceError::Failed("on purpose"))
        } else {
            Ok(device.sign(work.0, &work.1))
        }
    });
    Engine::builder(Arc::new(pool)).build()
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        std::thread::park();
    }
}

/// A handshake up to its question, with the client and what the server has sent.
fn parked(world: &World, engine: &Arc<Engine<Sign>>) -> (EngineSession<Sign>, Pair, Vec<u8>) {
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    let session = Session::new(world.replay(), SessionOptions::default());
    let mut session = EngineSession::new(session, Arc::clone(engine), sign, Some);
    let mut out = Vec::new();
    assert_eq!(
        session.hear(&std::mem::take(&mut pair.to_server), &mut out),
        Ok(SessionStage::Parked)
    );
    (session, pair, out)
}

#[test]
fn many_handshakes_signed_by_an_engine() {
    let world = World::new(Want::default());
    let engine = engine(&world.device, false);
    let all: Vec<_> = (0..32).map(|_| parked(&world, &engine)).collect();
    for (mut session, mut pair, mut out) in all {
        let stage = block_on(poll_fn(|cx| session.poll_resume(cx, &mut out)));
        assert_eq!(stage, Ok(SessionStage::Established));
        pair.to_client = out;
        pair.client_turn().unwrap();
        assert!(!pair.client.is_handshaking());
        let finished = std::mem::take(&mut pair.to_server);
        assert_eq!(session.hear(&finished, &mut Vec::new()), Ok(SessionStage::Established));
        assert!(!session.connection().unwrap().is_handshaking());
    }
    assert_eq!((world.device.signed(), engine.stats().requests.now), (32, 0));
}

#[test]
fn a_failed_signature_ends_the_handshake_with_an_alert() {
    let world = World::new(Want::default());
    let engine = engine(&world.device, true);
    let (mut session, mut pair, mut out) = parked(&world, &engine);
    let failed = block_on(poll_fn(|cx| session.poll_resume(cx, &mut out)));
    assert!(
        matches!(failed, Err(EngineSessionError::Failed(EngineError::Device(_)))),
        "{failed:?}"
    );
    pair.to_client = out;
    let alert = rustls::AlertDescription::InternalError;
    assert_eq!(pair.client_turn(), Err(rustls::Error::AlertReceived(alert)));
}

#[test]
fn a_handshake_that_failed_while_it_was_parked_has_failed_whenever_it_is_polled() {
    let world = World::new(Want::default());
    let engine = engine(&world.device, false);
    let (mut session, _, mut out) = parked(&world, &engine);
    let too_much = session.hear(&[0; 2 * MAX_HELLO], &mut out);
    assert_eq!(too_much, Err(ReplayError::TooLong.into()));
    let polled = block_on(poll_fn(|cx| session.poll_resume(cx, &mut out)));
    assert_eq!(polled, Err(ReplayError::Closed.into()));
}

#[test]
fn a_session_that_is_parked_already_is_signed_for_at_the_first_poll() {
    let world = World::new(Want::default());
    let engine = engine(&world.device, false);
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let crate::servers::Server::Replay(session) = pair.server else { panic!("replay") };
    let mut session = EngineSession::new(session, engine, sign, Some);
    assert_eq!(session.session().stage(), Some(SessionStage::Parked));
    let mut out = Vec::new();
    let stage = block_on(poll_fn(|cx| session.poll_resume(cx, &mut out)));
    assert_eq!(stage, Ok(SessionStage::Established));
    assert!(!out.is_empty());
}

#[test]
fn a_dropped_handshake_leaves_no_request() {
    let world = World::new(Want::default());
    let engine = engine(&world.device, false);
    drop(parked(&world, &engine));
    assert_eq!(engine.shutdown_blocking(Duration::from_secs(10)), Shutdown::Drained);
    assert_eq!(engine.stats().requests.now, 0);
}
