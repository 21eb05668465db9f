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

/// A token that is logged in.
#[derive(Debug)]
pub(super) struct OpenToken(Token);

impl OpenToken {
    pub(super) fn open(plan: &TokenPlan) -> Result<(Self, Arc<CertifiedKey>), OpenError> {
        let builder = Token::builder(plan.uri.clone()).sessions(plan.sessions);
        let token = Self(builder.provider(&aws_lc_rs::default_provider()).open()?);
        let key = token.key(plan.certificate.as_deref())?;
        Ok((token, key))
    }

    /// Tests the key with the certificate as the file has it now.
    pub(super) fn key(&self, certificate: Option<&Path>) -> Result<Arc<CertifiedKey>, OpenError> {
        let chain = certificate.map_or(Chain::InToken, |file| Chain::File(file.to_owned()));
        Ok(Arc::clone(self.0.key(chain)?.certified_key()))
    }

    pub(super) const fn token(&self) -> &Token {
        &self.0
    }

    pub(super) fn end(self) -> EngineStats {
        let ended = self.0.shutdown_blocking(PATIENCE);
        if let Ended::Stuck { calls } = ended {
            tracing::warn!(calls, "serve.token_stuck");
        }
        self.0.pool().stats()
    }
}
