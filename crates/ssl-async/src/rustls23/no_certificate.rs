//! Logs the host for which a server's resolver has no certificate, for every kind of resolver.

use std::sync::LazyLock;
use std::time::Instant;

use engine_core::LogLimit;
use rustls::Error;

/// rustls's error when a resolver returns `None`; it has no variant of its own. `tests/no_certificate.rs` checks that the text
/// is still the same.
const UNRESOLVED: &str = "no server certificate chain resolved";

/// Logs `host` if `error` says that there was no certificate for it; at most once a second.
pub(super) fn log_host(error: &Error, host: Option<&str>) {
    static LIMIT: LogLimit = LogLimit::new();
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // A cancelled hook returns `None` too.
    let is_cancelled = || job_core::current().is_some_and(|job| job.is_cancelled());
    if matches!(error, Error::General(text) if text == UNRESOLVED)
        && !is_cancelled()
        && let Some(held_back) = LIMIT.admit(START.elapsed())
    {
        let host = host.unwrap_or("none named");
        let remedy = "the resolver answered None: give it a certificate for this host, or one for hosts it does not know";
        tracing::warn!(host, remedy, held_back, "ssl.no_certificate");
    }
}
