//! Why a token or a key could not be opened.

use std::path::PathBuf;

use engine_core::DriverError;
use ssl_async::SelfTest;
use ssl_async::offload::PublicKeyError;

use crate::ladder::Rung;
use crate::uri::UriError;

/// Why a token, or a key in it, is of no use. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URI is wrong.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// Neither the URI nor the builder names the library.
    #[error("no library is named: add ?module-path=/usr/lib/... to the URI")]
    NoModule,
    /// The library cannot be loaded.
    #[error("module-path={}: {reason}", path.display())]
    Module {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The module cannot be called by several threads.
    #[error("{}: the module does not lock by itself, so several threads would crash it: use it through p11-kit-server", path.display())]
    NoLocking {
        /// Its path.
        path: PathBuf,
    },
    /// The module was initialized in a parent process.
    #[error(
        "the module was initialized before a fork: open the token in the process that serves, after the fork"
    )]
    Forked,
    /// No token is like the URI.
    #[error("no token is {wanted}: the module shows {}", list(found))]
    NoToken {
        /// The URI.
        wanted: String,
        /// The tokens that there are.
        found: Vec<String>,
    },
    /// Several tokens are like the URI.
    #[error("{} tokens are {wanted}: {}; add serial", found.len(), list(found))]
    SeveralTokens {
        /// The URI.
        wanted: String,
        /// These tokens.
        found: Vec<String>,
    },
    /// The PIN cannot be had.
    #[error("no PIN: {0}")]
    NoPin(String),
    /// The token refused the PIN. It was given once, and is not given again.
    #[error(
        "the token refused the PIN ({0}); it was given once and will not be given again, since the token locks after a few: correct it"
    )]
    WrongPin(String),
    /// A login might lock the token, so none was tried.
    #[error("the token {0}, so no PIN was given")]
    PinAtRisk(&'static str),
    /// The token answered the login twice with an error that does not say whether it counted a wrong PIN. The PIN is not given
    /// a third time.
    #[error(
        "the login failed twice ({0}), and the token may have counted a wrong PIN each time, so the PIN is not given again: look at the token"
    )]
    LoginFails(String),
    /// The token was shut down.
    #[error("the token was shut down: open it anew")]
    ShutDown,
    /// No private key is like the URI.
    #[error("the token has no private key {wanted}: it has {}", list(found))]
    NoKey {
        /// The URI.
        wanted: String,
        /// The keys that there are.
        found: Vec<String>,
    },
    /// Several private keys are like the URI.
    #[error("the token has {} private keys {wanted}: {}; add id", found.len(), list(found))]
    SeveralKeys {
        /// The URI.
        wanted: String,
        /// These keys.
        found: Vec<String>,
    },
    /// The key can be used only with the PIN given anew for each signature.
    #[error(
        "the key {0} wants the PIN again for each signature (CKA_ALWAYS_AUTHENTICATE): generate it without that"
    )]
    AlwaysAuthenticate(String),
    /// There is no certificate in the token.
    #[error(
        "the token has no certificate with the identifier of the key {0}: give the chain from a file"
    )]
    NoCertificate(String),
    /// The token's key is another one than the certificate's.
    #[error(
        "the key {0} is not that of the first certificate of the chain: give the certificate that was made for it"
    )]
    OtherKey(String),
    /// The file with the chain cannot be read.
    #[error("{}: {reason}", path.display())]
    Chain {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The chain is of no use.
    #[error("the certificate: {0}")]
    Certificate(#[from] PublicKeyError),
    /// The key does not sign.
    #[error("{0}")]
    KeyTest(SelfTest),
    /// The URI of a key names another token than the one that is open.
    #[error(
        "the URI of the key names {0}, which is not the token that is open: leave out all but object and id"
    )]
    OtherToken(String),
    /// The token, or its module, failed.
    #[error("the token cannot be used: {0}")]
    Token(String),
    /// The system gives no thread.
    #[error(transparent)]
    Thread(#[from] DriverError),
}

impl OpenError {
    /// Whether no further login may be tried.
    pub(crate) const fn is_about_the_pin(&self) -> bool {
        matches!(self, Self::WrongPin(_) | Self::PinAtRisk(_) | Self::LoginFails(_))
    }

    /// Whether a recovery from this rung on may help, if one from a lower rung has failed so.
    pub(crate) fn may_be_helped_by(&self, rung: Rung) -> bool {
        match self {
            Self::ShutDown => false,
            // The module has said what it sees.
            Self::NoPin(_) | Self::SeveralTokens { .. } => rung < Rung::Module,
            _ => !self.is_about_the_pin(),
        }
    }

    /// Whether a new login may help: without one all private objects are invisible.
    pub(crate) fn may_be_a_lost_login(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::NoKey { found, .. } => found.is_empty(),
            _ => false,
        }
    }
}

fn list(found: &[String]) -> String {
    if found.is_empty() { "none".into() } else { found.join(", ") }
}
