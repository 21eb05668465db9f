//! What was read for a connection, handed on with it.

use rustls::Connection;

/// The plaintext that makes rustls take no more records, once there is more than that.
const PLAINTEXT: usize = 16 * 1024;

/// Gives a connection what was read for it, as much as it takes, and processes it. It takes nothing behind `close_notify`.
pub(super) fn given_back(mut connection: Connection, mut unread: &[u8]) -> Connection {
    let Ok(state) = connection.process_new_packets() else { return connection };
    let mut at_most = state.plaintext_bytes_to_read();
    loop {
        let begin = unread.len();
        // A read of nothing would be the end of the stream.
        while !unread.is_empty()
            && let Ok(n @ 1..) = connection.read_tls(&mut unread)
        {
            at_most += n;
            // Beyond that it is left in rustls's other buffer until that is full, too.
            if at_most <= PLAINTEXT && connection.process_new_packets().is_err() {
                return connection;
            }
        }
        // A failed connection fails again when it is used.
        if unread.len() == begin || connection.process_new_packets().is_err() {
            return connection;
        }
    }
}
