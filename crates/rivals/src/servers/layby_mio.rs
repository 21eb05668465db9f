//! Layby on an event loop: one thread, and a handshake that waits for its key is parked, on a fiber or by replay.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;
use ssl_async::wait_ctx::{ReadyQueue, Route, Token};
use ssl_async::{JobPool, Outcome, Parking, Ssl, SslContext};

use super::{Server, layby_key};
use crate::Problem;
use crate::event_loop::{EventLoop, WAKES};
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct LaybyMio {
    name: &'static str,
    title: &'static str,
    parking: Parking,
    checks: bool,
}

pub(super) const FIBER: LaybyMio = LaybyMio {
    name: "layby-mio",
    title: "Layby on mio, on fibers",
    parking: Parking::Fiber,
    checks: true,
};
pub(super) const REPLAY: LaybyMio = LaybyMio {
    name: "layby-replay",
    title: "Layby on mio, by replay",
    parking: Parking::Replay,
    checks: true,
};
pub(super) const UNCHECKED: LaybyMio = LaybyMio {
    name: "layby-unchecked",
    title: "Layby on mio, by replay, ECDSA signatures unchecked",
    parking: Parking::Replay,
    checks: false,
};

/// Sessions that are served between two looks at the sockets.
const BATCH: usize = 64;

impl Server for LaybyMio {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn own_free(&self) -> &'static str {
        "free-sign"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[
            include_str!("layby_mio.rs"),
            include_str!("layby_key.rs"),
            include_str!("../event_loop.rs"),
        ]
    }

    fn is_layby(&self) -> bool {
        true
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let config = layby_key::config(site, self.parking == Parking::Replay, self.checks)?;
        let context = SslContext::server(config).parking(self.parking);
        let jobs = JobPool::builder().max_jobs(site.concurrent).build()?;
        let mut events = EventLoop::new(site, incoming.clone())?;
        let mut queue = ReadyQueue::new()?;
        events.watch(&queue, WAKES)?;
        let (mut sessions, mut ready) = (Slab::new(), VecDeque::new());
        let (mut woken, mut readable) = (Vec::new(), Vec::new());
        loop {
            // Handshakes whose key has answered come first, so that no more are parked than there must be.
            for token in ready.drain(..ready.len().min(BATCH)) {
                let session: Option<&mut Ssl<_>> = sessions.get_mut(token);
                if session.is_some_and(is_over) {
                    sessions.remove(token);
                }
                events.tick();
            }
            while ready.len() < BATCH
                && let Some(io) = events.accept(sessions.vacant_key())?
            {
                let token = sessions.insert(Ssl::accept(&context, &jobs, io)?);
                let session = &mut sessions[token];
                let route = Route::Ready(queue.sender(), Token(token));
                session.wait_ctx().notifier().set_route(route);
                if is_over(session) {
                    sessions.remove(token);
                }
                events.tick();
            }
            // It may not sleep if a session was woken since the last drain, or is next.
            let sleep = queue.prepare_sleep() && ready.is_empty();
            events.wait(sleep, &mut readable)?;
            queue.awake();
            queue.drain(&mut woken);
            ready.extend(readable.drain(..).chain(woken.drain(..).map(|token| token.0)));
        }
    }
    // [end of user code]
}

// [user code]
/// Goes on with the handshake; whether the session is over, done or failed.
fn is_over<S: std::io::Read + std::io::Write>(session: &mut Ssl<S>) -> bool {
    matches!(session.do_handshake(), Ok(Outcome::Ready(())) | Err(_))
}
// [end of user code]
