//! Tokens and their keys, as their users see them.

use core::fmt;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use engine_core::{BreakerPolicy, DeviceError, EngineError, Shutdown, ThreadPoolBuilder};
use ssl_async::crypto_ops::subject_public_key;
use ssl_async::offload::PublicKeyError;
use ssl_async::rustls::crypto::CryptoProvider;
use ssl_async::rustls::pki_types::CertificateDer;
use ssl_async::rustls::pki_types::pem::PemObject as _;
use ssl_async::rustls::server::ParsedCertificate;
use ssl_async::{KeyPool, SchemeFault, SelfTest, SlowKey};

use crate::account::Account;
use crate::error::OpenError;
use crate::journal::TokenStats;
use crate::module::Module;
use crate::objects::{self, KeyFacts};
use crate::pin::{PinSource, Pins};
use crate::service::Service;
use crate::threads::SigningThreads;
use crate::uri::KeyUri;

/// A PKCS#11 token that is logged in, with sessions on threads of a [`KeyPool`]. The [crate's page](crate) has an example.
///
/// Its keys keep it in service: the `Token` may be dropped, but then nothing can be [shut down](Self::shutdown_blocking).
pub struct Token {
    service: Arc<Service>,
    pool: KeyPool,
    uri: KeyUri,
    self_test: bool,
    end: Arc<End>,
}

/// The end of a token. Its calls may take longer than one caller waits; another caller goes on waiting.
#[derive(Default)]
struct End {
    state: Mutex<EndState>,
    reached: Condvar,
}

#[derive(Default)]
struct EndState {
    /// The thread that closes the sessions, once it was started.
    closing: Option<JoinHandle<()>>,
    was_started: bool,
    ended: Option<Ended>,
}

impl End {
    fn lock(&self) -> MutexGuard<'_, EndState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, ended: Ended) {
        self.lock().ended = Some(ended);
        self.reached.notify_all();
    }
}

/// Builds a [`Token`].
#[must_use = "a builder opens nothing before `open`"]
pub struct TokenBuilder {
    uri: KeyUri,
    pin: Option<PinSource>,
    sessions: usize,
    deadline: Duration,
    attempts: u32,
    despite_wrong_pin: bool,
    self_test: bool,
    provider: Option<CryptoProvider>,
}

/// Where the certificates of a key come from, its own first, then its issuers.
#[derive(Clone, Debug)]
pub enum Chain {
    /// From the token: the certificate with the same `CKA_ID`, and those that its issuers' names lead to.
    InToken,
    /// From a PEM file.
    File(PathBuf),
    /// These.
    Given(Vec<CertificateDer<'static>>),
}

impl From<Vec<CertificateDer<'static>>> for Chain {
    fn from(chain: Vec<CertificateDer<'static>>) -> Self {
        Self::Given(chain)
    }
}

/// How a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after `Stuck` only `_exit` ends the process safely"]
pub enum Ended {
    /// All sessions are closed and the module is finalized. The process may end as it likes.
    Finalized,
    /// All sessions are closed, and the module is still initialized: it serves another token or another part of the process,
    /// which finalizes it, or it refused to be finalized.
    InUse,
    /// This number of calls has not returned. Most modules crash when the process ends by `exit`, or by the return of `main`,
    /// during a call: end it with `_exit`.
    Stuck {
        /// The calls, at least.
        calls: usize,
    },
}

impl Token {
    /// Opens the token that a URI names, and logs in: eight sessions, a deadline of five seconds. The URI's key is what
    /// [`key`](Self::key) gives.
    ///
    /// Blocks while the module works; in an asynchronous program call it before the runtime, or where blocking is allowed.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A wrong PIN is given once.
    ///
    /// # Panics
    ///
    /// As [`KeyPool::builder`]: if rustls has no provider.
    pub fn open(uri: &str) -> Result<Self, OpenError> {
        Self::builder(uri.parse()?).open()
    }

    /// Starts to open the token that a URI names.
    pub const fn builder(uri: KeyUri) -> TokenBuilder {
        TokenBuilder {
            uri,
            pin: None,
            sessions: 8,
            deadline: Duration::from_secs(5),
            attempts: 16,
            despite_wrong_pin: false,
            self_test: true,
            provider: None,
        }
    }

    /// The key that the token's URI names, for a server's configuration or a [`CertStore`](ssl_async::CertStore).
    ///
    /// The key is compared with the certificate, and signs once in each of its schemes. Schemes that the token
    /// does not know are left out, with a line in the log. Blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the certificate, the key, or what is wrong with its signatures.
    pub fn key(&self, chain: impl Into<Chain>) -> Result<Arc<SlowKey>, OpenError> {
        self.open_key(self.uri.key_part(), chain.into())
    }

    /// Another key of the token, such as `pkcs11:object=mail`.
    ///
    /// # Errors
    ///
    /// As [`key`](Self::key).
    pub fn key_named(
        &self,
        uri: &KeyUri,
        chain: impl Into<Chain>,
    ) -> Result<Arc<SlowKey>, OpenError> {
        let same = |theirs: &Option<String>, ours: &Option<String>| {
            theirs.is_none() || ours.is_none() || theirs == ours
        };
        let is_ours = same(&uri.token, &self.uri.token) && same(&uri.serial, &self.uri.serial);
        if !is_ours {
            return Err(OpenError::OtherToken(uri.to_string()));
        }
        self.open_key(uri.key_part(), chain.into())
    }

    fn open_key(&self, uri: KeyUri, chain: Chain) -> Result<Arc<SlowKey>, OpenError> {
        let in_token = matches!(chain, Chain::InToken);
        let (facts, of_token) = self.service.look(|session| {
            let failed = |fault: crate::fault::Fault| OpenError::Token(fault.text);
            let keys = objects::private_keys(session, &uri).map_err(failed)?;
            let [key] = keys[..] else {
                let wanted = uri.to_string();
                if keys.is_empty() {
                    let all = objects::private_keys(session, &KeyUri::default()).map_err(failed)?;
                    let found = objects::names(session, &all);
                    return Err(OpenError::NoKey { wanted, found });
                }
                let found = objects::names(session, &keys);
                return Err(OpenError::SeveralKeys { wanted, found });
            };
            let facts = objects::facts(session, key).map_err(failed)?;
            let chain = match &facts.id {
                Some(id) if in_token => objects::chain(session, id).map_err(failed)?,
                _ => Vec::new(),
            };
            Ok((facts, chain))
        })?;
        let chain = match chain {
            Chain::InToken if of_token.is_empty() => {
                return Err(OpenError::NoCertificate(uri.to_string()));
            }
            Chain::InToken => of_token,
            Chain::Given(chain) => chain,
            Chain::File(path) => read_chain(&path)?,
        };
        if facts.always_authenticate {
            return Err(OpenError::AlwaysAuthenticate(uri.to_string()));
        }
        if !is_for(&facts, &chain)? {
            return Err(OpenError::OtherKey(uri.to_string()));
        }
        let name: Arc<str> = uri.to_string().into();
        self.service.add_key(&name, uri);
        let key = self.pool.key(chain, name)?;
        if !self.self_test {
            return Ok(key);
        }
        let test = key.self_test_blocking();
        if test.is_ok() {
            return Ok(key);
        }
        let without_them = test.results().iter().all(|(_, result)| is_final(result));
        if !without_them || test.passed().next().is_none() {
            return Err(OpenError::KeyTest(test));
        }
        log_left_out(&test);
        Ok(key.with_schemes(test.passed())?)
    }

    /// The threads, to watch them.
    pub const fn pool(&self) -> &KeyPool {
        &self.pool
    }

    /// What the token has done so far.
    pub fn stats(&self) -> TokenStats {
        self.service.journal.stats(self.service.is_stopped())
    }

    /// Lets requests log in again after the token has refused the PIN, which stops everything: call it when the PIN, or the
    /// file or variable that it is read from, has been corrected.
    pub fn resume(&self) {
        self.service.resume();
    }

    /// Ends the token: refuses new signatures at once, lets those under way finish until `deadline`, closes the sessions, and
    /// finalizes the module if nothing else uses it, and never during a call. Blocks until then. Do not call it on a thread
    /// of a runtime that runs handshakes.
    ///
    /// After [`Ended::Stuck`] it may be called again, which waits again. Called after the end it says once more how that went.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Ended {
        let until = Instant::now().checked_add(deadline);
        if let Shutdown::Stuck { n } = self.pool.shutdown_blocking(deadline) {
            return Ended::Stuck { calls: n };
        }
        let mut state = self.end.lock();
        if !state.was_started {
            let (service, end) = (Arc::clone(&self.service), Arc::clone(&self.end));
            // Also these calls may never return.
            let closing = thread::Builder::new().name("pkcs11-end".into()).spawn(move || {
                service.close();
                let finalized = service.module().leave();
                end.reach(if finalized { Ended::Finalized } else { Ended::InUse });
            });
            let Ok(closing) = closing else { return Ended::Stuck { calls: 0 } };
            (state.was_started, state.closing) = (true, Some(closing));
        }
        let left = until.map_or(deadline, |until| until.saturating_duration_since(Instant::now()));
        let waited = self
            .end
            .reached
            .wait_timeout_while(state, left.max(SHORTEST_END), |state| state.ended.is_none());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let Some(ended) = state.ended else { return Ended::Stuck { calls: 1 } };
        if let Some(closing) = state.closing.take() {
            drop(state);
            // It has nothing left to do.
            let _ = closing.join();
        }
        ended
    }
}

/// Closing the sessions may take as long, whatever the signatures have left of the time.
const SHORTEST_END: Duration = Duration::from_millis(500);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl TokenBuilder {
    /// Sets how many sessions sign at once, each on a thread; at least one, and one less than the token allows. The default
    /// is eight.
    pub const fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Sets how long a signature may take, the time in the queue and a recovery included; then the handshake fails. The call
    /// of the module cannot be ended: its late answer is dropped, and a thread that is in a call for twice as long is
    /// replaced, as long as the token has sessions for it. The default is five seconds.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many times a signature is tried within its deadline while the token is away or has no session left. No thread
    /// waits between two. The default is 16. Their pauses add up to more than the default
    /// deadline, which ends the signature first.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the library, if the URI has no `module-path`.
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.uri.module_path = Some(path.into());
        self
    }

    /// Sets a function that gives the PIN, in place of the URI's `pin-source`. It is called at each login, on the thread that
    /// recovers the token, and must not open keys of it.
    pub fn pin(mut self, ask: impl Fn() -> io::Result<String> + Send + Sync + 'static) -> Self {
        self.pin = Some(PinSource::Ask(Arc::new(ask)));
        self
    }

    /// Gives the PIN although the token remembers that somebody gave it a wrong one since the last login. Without this the
    /// token is refused, so that a service that is restarted with a wrong PIN over and over does not lock it.
    pub const fn despite_wrong_pin(mut self, despite: bool) -> Self {
        self.despite_wrong_pin = despite;
        self
    }

    /// Whether a key signs once in each scheme before it is given out. It does by default.
    pub const fn self_test(mut self, test: bool) -> Self {
        self.self_test = test;
        self
    }

    /// Sets whose algorithms check the signatures. By default those of the process's provider, the one that
    /// `ServerConfig::builder` uses.
    pub fn provider(mut self, provider: &CryptoProvider) -> Self {
        self.provider = Some(provider.clone());
        self
    }

    /// Opens the token and logs in.
    ///
    /// # Errors
    ///
    /// As [`Token::open`].
    ///
    /// # Panics
    ///
    /// As [`Token::open`].
    pub fn open(self) -> Result<Token, OpenError> {
        let path = self.uri.module_path.clone().ok_or(OpenError::NoModule)?;
        let source = self
            .pin
            .clone()
            .unwrap_or_else(|| self.uri.pin.clone().map_or(PinSource::Absent, PinSource::Uri));
        let module = Module::open(&path)?;
        self.log_in(module, Pins::new(source)).inspect_err(|_| {
            // Other tokens may use it; otherwise it is finalized.
            module.leave();
        })
    }

    fn log_in(self, module: &'static Module, pins: Pins) -> Result<Token, OpenError> {
        let mut of_token = self.uri.clone();
        (of_token.object, of_token.id) = (None, None);
        let mut account = Account::new(of_token, pins, self.despite_wrong_pin);
        let slot = account.log_in(module)?;
        let inside = module.enter().map_err(|fault| OpenError::Token(fault.text))?;
        let limit = account.session_limit(module)?;
        drop(inside);
        let limit = limit.unwrap_or(usize::MAX);
        if limit == 0 {
            let one = "it allows one session, and one more is needed to keep the login";
            return Err(OpenError::Token(one.into()));
        }
        let threads = self.sessions.clamp(1, ThreadPoolBuilder::MAX_THREADS).min(limit);
        let spare = limit.saturating_sub(threads).min(MOST_SPARE);
        let service = Service::new(module, account, slot, threads + spare, self.deadline);
        let service = Arc::new(service);
        let pool = ThreadPoolBuilder::new()
            .name("pkcs11")
            .threads(threads)
            .stuck_after(self.deadline.saturating_mul(2))
            .replacements(spare);
        let device = SigningThreads::new(Arc::clone(&service), pool, threads, self.deadline);
        let pool = match &self.provider {
            Some(provider) => KeyPool::builder_with_provider(provider),
            None => KeyPool::builder(),
        };
        let pool = pool
            .deadline(self.deadline)
            .attempts(self.attempts)
            // A stall opens it, and errors only while it tries the device again.
            .breaker(BreakerPolicy::default().health_only())
            .accelerator(Arc::new(device))?;
        let (uri, self_test) = (self.uri, self.self_test);
        Ok(Token { service, pool, uri, self_test, end: Arc::default() })
    }
}

/// Sessions for threads in place of stuck ones.
const MOST_SPARE: usize = 4;

impl fmt::Debug for TokenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBuilder")
            .field("uri", &self.uri)
            .field("sessions", &self.sessions)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

fn read_chain(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let unreadable = |error: &dyn fmt::Display| OpenError::Chain {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    certificates.collect::<Result<_, _>>().map_err(|error| unreadable(&error))
}

/// Whether the token's key can be that of the certificate. A token that tells no public half is believed: its signatures
/// are checked.
fn is_for(facts: &KeyFacts, chain: &[CertificateDer<'static>]) -> Result<bool, OpenError> {
    let Some(public) = &facts.public else { return Ok(true) };
    let certificate = chain.first().ok_or(PublicKeyError::NoCertificate)?;
    let parsed = ParsedCertificate::try_from(certificate).map_err(PublicKeyError::Certificate)?;
    let spki = parsed.subject_public_key_info();
    let bare = subject_public_key(spki.as_ref()).ok_or(PublicKeyError::Malformed)?;
    Ok(public.are(bare))
}

/// Whether the result of a scheme will be the same another time.
fn is_final(result: &Result<(), SchemeFault>) -> bool {
    use EngineError::Device;
    use SchemeFault::{NotSigned, Signature};
    matches!(
        result,
        Ok(())
            | Err(Signature(_)
                | NotSigned(Device(DeviceError::Permanent(_) | DeviceError::Unsupported(_))))
    )
}

fn log_left_out(test: &SelfTest) {
    tracing::warn!(%test, "pkcs11.schemes_left_out");
}
