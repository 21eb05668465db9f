//! A server's session under any sequence of calls and events, against a model of its allowed results.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use job_core::JobPool;
use proptest::prelude::*;
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use ssl_async::{AsyncCallback, Outcome, Parking, Ssl, SslContext, SslError, replayable};
use wait_ctx::Status;

use crate::support::{Fixture, KeyType, Pipe, PlainPeer, fixture, pipe, provider, server_config};

#[derive(Clone, Copy, Debug)]
enum Action {
    /// One of the session's calls.
    Call(Call),
    /// The device answers or fails the oldest request.
    Answer,
    Fail,
    /// From now on the device answers within `submit`, and async mode is off or on.
    AtOnce {
        async_mode: bool,
    },
    /// From now on it answers on command. Needs async mode.
    WhenTold,
    SetCallback(bool),
    /// A spurious wake.
    Wake,
    ClientStep,
    ClientSend,
    ClientCloses,
    /// The session is cleared for a new client.
    Clear,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Handshake,
    Read,
    Peek,
    Write,
    Flush,
    WatchPeer,
}

fn any_action() -> impl Strategy<Value = Action> {
    use Action::{
        Answer, AtOnce, Clear, ClientCloses, ClientSend, ClientStep, Fail, SetCallback, Wake,
        WhenTold,
    };
    let call = prop::sample::select(vec![
        Call::Handshake,
        Call::Read,
        Call::Peek,
        Call::Write,
        Call::Flush,
        Call::WatchPeer,
    ]);
    prop_oneof![
        10 => call.prop_map(Action::Call),
        4 => Just(Answer),
        1 => Just(Fail),
        1 => any::<bool>().prop_map(|async_mode| AtOnce { async_mode }),
        2 => Just(WhenTold),
        2 => any::<bool>().prop_map(SetCallback),
        1 => Just(Wake),
        8 => Just(ClientStep),
        2 => Just(ClientSend),
        1 => Just(ClientCloses),
        1 => Just(Clear),
    ]
}

/// The request that the session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Live {
    No,
    Asked,
    /// Settled, and not collected yet.
    Done,
    Failed,
}

struct World {
    fixture: Fixture,
    pool: JobPool,
    version: &'static rustls::SupportedProtocolVersion,
    parking: Parking,
    ssl: Ssl<Pipe>,
    client: PlainPeer,
    live: Live,
    /// Requests that the device holds for dropped connections.
    orphans: usize,
    asked: u64,
    asked_of_connection: u64,
    status: Status,
    has_callback: bool,
    calls_back: Arc<AtomicU64>,
    owed_calls: u64,
    client_closed: bool,
    dead: Option<String>,
}

impl World {
    fn new(version: &'static rustls::SupportedProtocolVersion, parking: Parking) -> Self {
        let fixture = fixture(KeyType::P256, 64);
        let pool = JobPool::new();
        let (ours, theirs) = pipe();
        let client = fixture.client(version, theirs);
        let provider = replayable(provider());
        let config = server_config(provider, ALL_VERSIONS, &fixture.identity, &fixture.key);
        let context = SslContext::server(Arc::new(config)).parking(parking);
        let ssl = Ssl::accept(&context, &pool, ours).unwrap();
        Self {
            fixture,
            pool,
            version,
            parking,
            ssl,
            client,
            live: Live::No,
            orphans: 0,
            asked: 0,
            asked_of_connection: 0,
            status: Status::Unsupported,
            has_callback: false,
            calls_back: Arc::default(),
            owed_calls: 0,
            client_closed: false,
            dead: None,
        }
    }

    fn call(&mut self, call: Call) -> Result<Outcome<()>, SslError> {
        let mut buffer = [0; 8];
        match call {
            Call::Handshake => self.ssl.do_handshake(),
            Call::Read => self.ssl.read(&mut buffer).map(|o| o.map(drop)),
            Call::Peek => self.ssl.peek(&mut buffer).map(|o| o.map(drop)),
            Call::Write => self.ssl.write(b"data").map(|o| o.map(drop)),
            Call::Flush => self.ssl.flush(),
            Call::WatchPeer => self.ssl.watch_peer().map(|()| Outcome::Ready(())),
        }
    }

    fn check_call(&mut self, call: Call) {
        let at_once = self.fixture.device.answers_at_once();
        let result = self.call(call);
        let asked = self.fixture.engine.stats().accepted - self.asked;
        self.asked += asked;
        self.asked_of_connection += asked;
        assert!(self.asked_of_connection <= 1, "a handshake has one signature");
        let took_up = !matches!(call, Call::WatchPeer);
        if asked == 1 {
            assert_eq!(self.live, Live::No);
            // Completion within `submit` never parks; blocking operations do not set the session's status.
            self.live = if at_once { Live::No } else { Live::Asked };
            if self.ssl.async_mode() {
                self.status = Status::Ok;
            }
        }
        if let Some(cause) = &self.dead {
            let again = result.as_ref().err().map(ToString::to_string);
            let silent = matches!(call, Call::WatchPeer).then_some(None);
            assert!(again.as_ref() == Some(cause) || silent == Some(again), "the same error again");
            return;
        }
        match &result {
            Ok(Outcome::WantAsync) => assert_eq!(self.live, Live::Asked),
            Ok(_) if took_up => {
                assert!(matches!(self.live, Live::No | Live::Done), "{call:?} was not parked");
                self.live = Live::No;
            }
            Ok(_) => {}
            Err(error) => {
                match error {
                    SslError::Failed(_) => assert_eq!(self.live, Live::Failed),
                    SslError::PeerClosed(_) => assert!(self.client_closed),
                    other => panic!("an error without a cause: {other}"),
                }
                self.dead = Some(error.to_string());
                self.let_go();
            }
        }
    }

    /// Records that the connection is dropped, and its request with it.
    fn let_go(&mut self) {
        self.orphans += usize::from(self.live == Live::Asked);
        self.live = Live::No;
        self.asked_of_connection = 0;
    }

    fn settle(&mut self, as_what: Live) {
        let device = &self.fixture.device;
        if device.held() == 0 {
            return;
        }
        match as_what {
            Live::Failed => device.fail(),
            _ => device.answer(),
        }
        if self.orphans > 0 {
            self.orphans -= 1;
            return;
        }
        assert_eq!(self.live, Live::Asked);
        self.live = as_what;
        if as_what == Live::Failed {
            self.status = Status::Err;
        }
        if self.has_callback {
            self.owed_calls += 1;
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Call(call) => self.check_call(call),
            Action::Answer => self.settle(Live::Done),
            Action::Fail => self.settle(Live::Failed),
            Action::AtOnce { async_mode } => {
                self.fixture.device.set_answers_at_once(true);
                self.ssl.set_async_mode(async_mode);
            }
            Action::WhenTold => {
                self.fixture.device.set_answers_at_once(false);
                self.ssl.set_async_mode(true);
            }
            Action::SetCallback(set) => {
                // An undelivered wake goes to the new callback.
                let before = self.calls_back.load(Ordering::Relaxed);
                let calls = Arc::clone(&self.calls_back);
                let callback: AsyncCallback = Arc::new(move |_, _| {
                    calls.fetch_add(1, Ordering::Relaxed);
                });
                self.ssl.set_async_callback(set.then_some(callback));
                self.has_callback = set;
                self.owed_calls += self.calls_back.load(Ordering::Relaxed) - before;
            }
            Action::Wake => {
                self.ssl.wait_ctx().notifier().waker().wake();
                self.owed_calls += u64::from(self.has_callback);
            }
            Action::ClientStep => drop(self.client.try_step()),
            Action::ClientSend if !self.client_closed => {
                let _full = std::io::Write::write(&mut self.client.tls.writer(), b"question");
            }
            Action::ClientSend => {}
            Action::ClientCloses => {
                self.client.io.close();
                self.client_closed = true;
            }
            Action::Clear => {
                let (ours, theirs) = pipe();
                self.client = self.fixture.client(self.version, theirs);
                drop(self.ssl.clear(ours).unwrap());
                self.let_go();
                self.dead = None;
                self.client_closed = false;
                self.status = self.ssl.async_status();
            }
        }
        assert_eq!(self.ssl.waiting_for_async(), self.live != Live::No);
        let has_none = self.live != Live::No || self.dead.is_some();
        if self.parking == Parking::Fiber {
            assert_eq!(self.ssl.connection().is_none(), has_none);
            assert_eq!(self.pool.stats().live, usize::from(self.live != Live::No));
        } else {
            // There is none before the hello either.
            assert!(self.ssl.connection().is_none() || !has_none);
            assert_eq!(self.pool.stats().live, 0);
        }
        assert_eq!(
            self.calls_back.load(Ordering::Relaxed),
            self.owed_calls,
            "one call for one wake"
        );
        if self.live != Live::No {
            assert_eq!(self.ssl.async_status(), self.status);
        }
    }

    fn finish(mut self) {
        while self.orphans > 0 {
            self.settle(Live::Done);
        }
        if !self.client_closed && self.dead.is_none() && self.live != Live::Failed {
            for _ in 0..6 {
                self.settle(Live::Done);
                self.client.step();
                self.check_call(Call::Handshake);
            }
            assert!(!self.ssl.is_handshaking() && !self.client.tls.is_handshaking());
        }
        let Self { fixture, pool, ssl, .. } = self;
        drop(ssl);
        while fixture.device.held() > 0 {
            fixture.device.answer();
        }
        let (jobs, engine) = (pool.stats(), fixture.engine.stats());
        assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0));
        assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn any_call_at_any_time_advances_the_packet_or_wants_async(
        tls13 in any::<bool>(),
        parking in prop::sample::select(vec![Parking::Fiber, Parking::Replay]),
        actions in prop::collection::vec(any_action(), 1..60),
    ) {
        let mut world = World::new(if tls13 { &TLS13 } else { &TLS12 }, parking);
        for action in actions {
            world.apply(action);
        }
        world.finish();
    }
}
