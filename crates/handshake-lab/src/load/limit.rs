//! The limit on open files: a thousand connections in one process are two thousand sockets.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The process may not open enough files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileLimitError {
    #[error(
        "load.connections = {connections}: needs {needed} open files and the hard limit RLIMIT_NOFILE is {hard}; \
         raise it (ulimit -Hn {needed}) or give fewer connections"
    )]
    TooLow { connections: usize, needed: u64, hard: u64 },
    #[error("RLIMIT_NOFILE cannot be raised to {needed}: {reason}; run ulimit -n {needed} before")]
    Refused { needed: u64, reason: String },
}

/// Files beside the sockets: listener, pollers, eventfds, standard streams, report.
const OTHERS: u64 = 128;

/// Raises the soft limit on open files, if need be, so that `connections` fit that take `each` files in this process.
pub fn raise_file_limit(connections: usize, each: u64) -> Result<(), FileLimitError> {
    let needed = each * connections as u64 + OTHERS;
    let mut limit = getrlimit(Resource::Nofile);
    // No number means no limit.
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum.filter(|hard| *hard < needed) {
        return Err(FileLimitError::TooLow { connections, needed, hard });
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit)
        .map_err(|error| FileLimitError::Refused { needed, reason: error.to_string() })?;
    tracing::debug!(needed, "limit.raised");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_beyond_the_hard_limit_is_refused_by_name() {
        let Some(hard) = getrlimit(Resource::Nofile).maximum else { return };
        let Ok(connections) = usize::try_from(hard) else { return };
        let error = raise_file_limit(connections, 2).expect_err("twice the hard limit");
        assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
    }
}
