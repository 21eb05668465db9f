//! The servers: one file for each way to serve handshakes with a slow key.
//!
//! A file's lines between `// [user code]` and `// [end of user code]` are what a program would have to write; the report
//! counts them.

use std::fmt;
use std::sync::Arc;

use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

mod block_in_place;
mod blocking;
mod free_sign;
mod inline;
mod layby_key;
mod layby_mio;
mod layby_tokio;
mod one_thread;
mod pool;
mod runtime;
#[cfg(feature = "s2n")]
mod s2n;
mod signer;
mod spawn_blocking;
mod threads;

pub use runtime::runtime;

/// One way to serve.
pub trait Server: Sync {
    /// What figures call it.
    fn name(&self) -> &'static str;

    /// One line for readers.
    fn title(&self) -> &'static str;

    /// The server whose signature is free and everything else is as here: what this one's CPU time is compared with.
    fn own_free(&self) -> &'static str;

    /// The files whose user code a program needs.
    fn sources(&self) -> &'static [&'static str];

    /// Serves all connections. The whole process is pinned to one processor, so threads need not be.
    ///
    /// # Errors
    ///
    /// What keeps it from serving at all.
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem>;

    /// Whether the key is asked. If not, the key's latency changes nothing.
    fn asks_key(&self) -> bool {
        true
    }

    /// Whether clients can verify its signatures.
    fn signs(&self) -> bool {
        true
    }

    /// Whether it is one of ours.
    fn is_layby(&self) -> bool {
        false
    }
}

impl fmt::Debug for dyn Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The servers of this library, in the order of the report.
pub fn of_library() -> Vec<&'static dyn Server> {
    vec![
        &free_sign::FREE_SIGN,
        &free_sign::FREE_SIGN_TOKIO,
        &inline::INLINE,
        &blocking::BLOCKING,
        &threads::THREADS,
        &pool::POOL_64,
        &pool::POOL_256,
        &pool::POOL_1024,
        &spawn_blocking::SPAWN_BLOCKING,
        &block_in_place::BLOCK_IN_PLACE,
        #[cfg(feature = "s2n")]
        &s2n::FREE,
        #[cfg(feature = "s2n")]
        &s2n::S2N,
        &layby_mio::FIBER,
        &layby_mio::REPLAY,
        &layby_mio::UNCHECKED,
        &layby_tokio::FIBER,
        &layby_tokio::REPLAY,
    ]
}

/// Lines of user code in `sources`: neither empty nor a comment.
pub fn lines_of_code(sources: &[&str]) -> usize {
    let mut lines = 0;
    for source in sources {
        let mut counts = false;
        for line in source.lines().map(str::trim) {
            match line {
                "// [user code]" => counts = true,
                "// [end of user code]" => counts = false,
                "" => {}
                _ if line.starts_with("//") => {}
                _ => lines += usize::from(counts),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_code_is_counted_between_its_marks_without_comments() {
        let source =
            "use a;\n// [user code]\n/// Doc.\nfn b() {\n\n}\n// [end of user code]\nfn c() {}\n";
        assert_eq!(lines_of_code(&[source, source]), 4);
        for server in of_library() {
            assert!(lines_of_code(server.sources()) > 0, "{}", server.name());
        }
    }

    #[test]
    fn every_own_free_signature_is_a_server() {
        let all: Vec<_> = of_library().iter().map(|server| server.name()).collect();
        for server in of_library() {
            assert!(all.contains(&server.own_free()), "{}", server.name());
        }
    }
}
