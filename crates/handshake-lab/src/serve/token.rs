//! The key of a server in a PKCS#11 token.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use engine_core::EngineStats;
use pkcs11_engine::{Chain, Ended, KeyUri, OpenError, Token};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};

/// A key in a token, and how it is used.
#[derive(Debug, Clone)]
pub struct TokenPlan {
    pub uri: KeyUri,
    /// The chain; from the token if there is none.
    pub certificate: Option<PathBuf>,
    pub sessions: usize,
}

/// How long the token may take to close its sessions.
const PATIENCE: Duration = Duration::from_secs(2);

/// A token that is logged in. Its drop, where the server does not start, ends it: the exit of the process must not find threads
/// in a call of its module.
#[derive(Debug)]
pub(super) struct OpenToken {
    token: Token,
    was_ended: bool,
}

impl OpenToken {
    pub(super) fn open(plan: &TokenPlan) -> Result<(Self, Arc<CertifiedKey>), OpenError> {
        let builder = Token::builder(plan.uri.clone()).sessions(plan.sessions);
        let token = builder.provider(&aws_lc_rs::default_provider()).open()?;
        let open = Self { token, was_ended: false };
        let key = open.key(plan.certificate.as_deref())?;
        Ok((open, key))
    }

    /// Tests the key with the certificate as the file has it now.
    pub(super) fn key(&self, certificate: Option<&Path>) -> Result<Arc<CertifiedKey>, OpenError> {
        let chain = certificate.map_or(Chain::InToken, |file| Chain::File(file.to_owned()));
        Ok(Arc::clone(self.token.key(chain)?.certified_key()))
    }

    pub(super) const fn token(&self) -> &Token {
        &self.token
    }

    /// Ends it. Returns its counters, and whether a call has not returned: then only `_exit` ends the process safely.
    pub(super) fn end(mut self) -> (EngineStats, bool) {
        let is_stuck = self.shut_down();
        (self.token.pool().stats(), is_stuck)
    }

    fn shut_down(&mut self) -> bool {
        self.was_ended = true;
        let ended = self.token.shutdown_blocking(PATIENCE);
        if let Ended::Stuck { calls } = ended {
            tracing::warn!(calls, "serve.token_stuck");
        }
        matches!(ended, Ended::Stuck { .. })
    }
}

impl Drop for OpenToken {
    fn drop(&mut self) {
        if !self.was_ended {
            self.shut_down();
        }
    }
}
