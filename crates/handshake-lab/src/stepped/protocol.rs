//! The protocol of a run: real TLS or profiled handshakes.

use std::fmt;

use engine_core::{Kind, Work};
use job_core::JobPool;
use wait_ctx::Route;

use super::wire::End;
use crate::{
    evidence::{Answers, Calls, Replays},
    scenario::ConnectionKind,
    server::Session,
};

/// Makes both ends of a handshake.
pub(super) trait Protocol: 'static {
    /// What the devices compute for it.
    type Work: Work + fmt::Debug;
    type Session: Session + 'static;
    type Client: Client;

    /// The kind of the connection of this number.
    fn kind(&self, number: u64) -> ConnectionKind;

    /// The session of a new connection; `None` if none can be made.
    fn accept(&self, end: End, pool: &JobPool, route: Option<Route>) -> Option<Self::Session>;

    fn connect(&self, end: End) -> Result<Self::Client, String>;

    /// Signatures that sessions have asked the key for.
    fn asked(&self) -> u64;

    fn verified(&self) -> u64;

    /// How many requests are inside a device or wait for it now, by kind, where that is counted.
    fn present(&self, device: usize, tell: impl FnMut(Kind, usize)) {
        let _ = (device, tell);
    }

    /// The account of results, where it is kept; taken once, at the end.
    fn answers(&self) -> Option<Answers> {
        None
    }

    /// How sessions were called back, where that is watched.
    fn calls(&self) -> Option<Calls> {
        None
    }

    /// What was seen of handshakes by replay, if they are real and parked so.
    fn replays(&self) -> Option<Replays> {
        None
    }
}

/// A client: a handshake, then waiting for the server to close.
pub(super) trait Client {
    type Failure: fmt::Display;

    /// Continues as far as the transport allows. Returns true when the server has closed the session with
    /// `close_notify` after the handshake.
    fn drive(&mut self) -> Result<bool, Self::Failure>;

    fn is_established(&self) -> bool;

    /// Whether its handshake, which is done, has resumed a session.
    fn has_resumed(&self) -> bool;
}
