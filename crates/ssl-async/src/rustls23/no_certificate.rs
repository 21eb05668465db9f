//! A server's resolver that has no certificate for a host: the log names the host, for every kind of resolver.

use std::sync::LazyLock;
use std::time::Instant;

use engine_core::LogLimit;
use rustls::Error;

/// What rustls says of a resolver that answers `None`. A test holds it against rustls.
const UNRESOLVED: &str = "no server certificate chain resolved";

/// Logs the host for which there was no certificate, if that is the error; not more than once a second.
pub(crate) fn complain(error: &Error, host: Option<&str>) {
    static LIMIT: LogLimit = LogLimit::new();
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // A hook that was cancelled answers `None`, too, and is at no fault.
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
