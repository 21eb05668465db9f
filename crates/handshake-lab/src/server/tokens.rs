//! What the poller's tokens mean. The largest are the worker's own; below them, a key of the slots is a connection's socket,
//! and the same with one bit set is its session's own descriptor.

use mio::Token;

/// The owner of the server says something.
pub(super) const CONTROL: Token = Token(usize::MAX);
/// The ready queue has something.
pub(super) const READY: Token = Token(usize::MAX - 1);
/// The listening socket has something.
pub(super) const LISTENER: Token = Token(usize::MAX - 2);

/// Keys are below this.
pub(super) const KEYS: usize = 1 << (usize::BITS - 2);

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventSource {
    /// Of the control or the ready queue: that the poll has ended is all there is to it.
    Bell,
    Listener,
    Socket(usize),
    /// The descriptor of a connection's session.
    Session(usize),
}

pub(super) const fn socket(key: usize) -> Token {
    Token(key)
}

pub(super) const fn session(key: usize) -> Token {
    Token(key | KEYS)
}

pub(super) fn source(token: Token) -> EventSource {
    match token {
        CONTROL | READY => EventSource::Bell,
        LISTENER => EventSource::Listener,
        Token(key) if key & KEYS != 0 => EventSource::Session(key & !KEYS),
        Token(key) => EventSource::Socket(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_means_what_it_was_made_for() {
        for key in [0, 1, KEYS - 1] {
            assert_eq!(source(socket(key)), EventSource::Socket(key));
            assert_eq!(source(session(key)), EventSource::Session(key));
        }
        assert_eq!(source(LISTENER), EventSource::Listener);
        assert_eq!([source(READY), source(CONTROL)], [EventSource::Bell, EventSource::Bell]);
    }
}
