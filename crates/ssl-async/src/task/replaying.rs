//! A server's handshake by replay, on its task: it needs no shard and no fiber.
//!
//! ```text
//!   hear ----> hello not whole: hear again
//!     +------> Parked: Queued --permit--> Waiting --> Established
//!     ^                                    | ^ +--> the next question
//!     +-- second hello needed -------------+ +-------+
//! ```

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use engine_core::EngineError;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

use crate::rustls23::{Broken, KeyExchange, Replay, ReplayConfig, Replayed, ServerConfig};
use crate::task::active::ActiveGuard;
use crate::task::shards::Shards;

/// A handshake by replay. Dropping it cancels what it waits for.
pub(crate) struct Replaying {
    replay: Replay,
    /// `None` while it waits for the client's hello, its second one included. Stays while one question follows another.
    parked: Option<ParkedReplay>,
    /// For a fiber, if the handshake needs one.
    config: Arc<ServerConfig>,
}

/// A parked handshake counts as a packet of the shards.
struct ParkedReplay {
    turn: Turn,
    /// Ready when the shards end.
    ending: Pin<Box<OwnedNotified>>,
    _active: ActiveGuard,
}

enum Turn {
    /// Too many handshakes are parked. First come, first served.
    Queued(Queued),
    /// What it waits for is being computed.
    Waiting { _permit: OwnedSemaphorePermit },
}

type Queued = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl Replaying {
    pub(crate) fn new(
        replayable: &ReplayConfig,
        only: bool,
        exchange: KeyExchange,
        config: Arc<ServerConfig>,
    ) -> Self {
        Self { replay: Replay::new(replayable, only, exchange), parked: None, config }
    }

    /// Whether the handshake waits for an answer, or for the permit to ask.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// The bytes to send to the client first. The caller removes those that it has sent.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        self.replay.output()
    }

    /// Processes records of the client's hello. Hooks run on the calling thread, and their panics pass through.
    pub(crate) fn hear(&mut self, records: &[u8], shards: &Shards) -> Replayed {
        let heard = self.replay.hear(records);
        if matches!(heard, Replayed::Parked) {
            let (turn, ending, active) = shards.park();
            let turn = Turn::Queued(Box::pin(turn));
            self.parked = Some(ParkedReplay { turn, ending: Box::pin(ending), _active: active });
        }
        heard
    }

    /// Continues a parked handshake with its answer. Hooks run on the calling thread, and their panics pass through.
    pub(crate) fn poll(&mut self, shards: &Shards, cx: &mut Context<'_>) -> Poll<Replayed> {
        let parked = self.parked.as_mut().expect("only a parked handshake is polled");
        // Registers the waker before the flag is read, so that no end is missed.
        let ended = match parked.ending.as_mut().poll(cx) {
            Poll::Ready(()) => Some(EngineError::Cancelled),
            Poll::Pending => shards.is_closed().then_some(EngineError::Gone),
        };
        if let Some(error) = ended {
            return Poll::Ready(Replayed::Broken(Broken::of_engine(error)));
        }
        if let Turn::Queued(turn) = &mut parked.turn {
            let permit = ready!(turn.as_mut().poll(cx)).expect("the semaphore is never closed");
            self.replay.ask(None);
            parked.turn = Turn::Waiting { _permit: permit };
        }
        let replayed = ready!(self.replay.poll_answer(cx));
        match replayed {
            Replayed::Parked => self.replay.ask(None),
            _ => self.parked = None,
        }
        Poll::Ready(replayed)
    }

    pub(crate) fn into_config(self) -> Arc<ServerConfig> {
        self.config
    }
}
