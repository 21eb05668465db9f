//! How many descriptors a process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ten thousand clients, or as many connections of a server, are more descriptors than most systems give by default.
pub(crate) fn raise_file_limit() {
    const ENOUGH: u64 = 1 << 14;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raise = |limit| setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    let enough = maximum.is_none_or(|maximum| maximum >= ENOUGH);
    // Beyond the maximum only as root. Where neither works the turn says what it has run out of.
    if enough || raise(Some(ENOUGH)).is_err() {
        let _ = raise(maximum);
    }
}
