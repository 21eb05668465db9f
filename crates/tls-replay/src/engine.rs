//! A handshake whose signatures come from an engine.

use core::fmt;
use core::future::Future as _;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use engine_core::{Engine, EngineError, Pending, RefusedReason, Work};
use rustls::server::ServerConnection;

use crate::error::ReplayError;
use crate::question::Question;
use crate::session::{Session, SessionStage};

/// A [`Session`] whose signatures an [`Engine`] computes: it submits each, and wakes the task that polls.
///
/// For handshakes that postpone signatures only. One that also postpones other answers drives its [`Session`] itself.
/// Dropping it cancels the request; the engine counts and drops a late answer.
pub struct EngineSession<W: Work> {
    session: Session,
    engine: Arc<Engine<W>>,
    work: fn(&Session) -> Option<W>,
    signature: fn(W::Output) -> Option<Vec<u8>>,
    signing: Option<Pending<W>>,
}

/// Why a handshake over an engine ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineSessionError {
    /// The handshake itself failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The engine took the request and failed. The alert `internal_error` was written.
    #[error("the signature failed: {0}")]
    Failed(#[from] EngineError),
    /// The engine did not take the request. The alert `internal_error` was written.
    #[error("the signature was refused: {0}")]
    Refused(RefusedReason),
    /// The session waits for something else than a signature, or for one that the engine has no work for. The alert
    /// `internal_error` was written.
    #[error("the engine has no work for this question")]
    NoWork,
    /// The engine's result is no signature. The alert `internal_error` was written.
    #[error("the result of the engine is no signature")]
    NoSignature,
}

impl<W: Work> EngineSession<W> {
    /// Lets `engine` sign for `session`.
    ///
    /// `work` makes a request of the session's [question](Session::question) and the
    /// [context](Session::context) of its key; `None` if the key cannot sign so. `signature` takes the signature out of
    /// the engine's result; `None` if it has none.
    pub fn new(
        session: Session,
        engine: Arc<Engine<W>>,
        work: fn(&Session) -> Option<W>,
        signature: fn(W::Output) -> Option<Vec<u8>>,
    ) -> Self {
        Self { session, engine, work, signature, signing: None }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// As [`Session::connection`].
    pub fn connection(&mut self) -> Option<&mut ServerConnection> {
        self.session.connection()
    }

    /// The session, once it is established or has failed.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// As [`Session::hear`], and submits the signature once the session parks.
    ///
    /// # Errors
    ///
    /// Any [`EngineSessionError`].
    pub fn hear(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, EngineSessionError> {
        let heard = self.session.hear(bytes, out);
        if self.session.stage().is_none() {
            // The handshake has failed, and nothing waits for its signature any more.
            self.signing = None;
        }
        let stage = heard?;
        self.submit_if_parked(out)?;
        Ok(stage)
    }

    fn submit_if_parked(&mut self, out: &mut Vec<u8>) -> Result<(), EngineSessionError> {
        if self.session.stage() == Some(SessionStage::Parked) && self.signing.is_none() {
            self.signing = Some(self.submit().inspect_err(|_| self.session.abort(out))?);
        }
        Ok(())
    }

    fn submit(&self) -> Result<Pending<W>, EngineSessionError> {
        let Some(Question::Signature { .. }) = self.session.question() else {
            return Err(EngineSessionError::NoWork);
        };
        let work = (self.work)(&self.session).ok_or(EngineSessionError::NoWork)?;
        self.engine.submit(work).map_err(|refused| EngineSessionError::Refused(refused.reason))
    }

    /// Resumes when the signature is available, and appends to `out` the bytes to send. Pending only while the session is
    /// parked; wakes the task of `cx` once.
    ///
    /// # Errors
    ///
    /// Any [`EngineSessionError`].
    pub fn poll_resume(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<SessionStage, EngineSessionError>> {
        self.submit_if_parked(out)?;
        let Some(signing) = &mut self.signing else {
            return Poll::Ready(self.session.stage().ok_or(ReplayError::Closed.into()));
        };
        let signed = ready!(Pin::new(signing).poll(cx));
        self.signing = None;
        let signature = signed
            .map_err(EngineSessionError::Failed)
            .and_then(|output| (self.signature)(output).ok_or(EngineSessionError::NoSignature));
        Poll::Ready(match signature {
            Ok(signature) => self.session.resume(signature, out).map_err(Into::into),
            Err(error) => {
                self.session.abort(out);
                Err(error)
            }
        })
    }
}

impl<W: Work> fmt::Debug for EngineSession<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSession").field("session", &self.session).finish_non_exhaustive()
    }
}
