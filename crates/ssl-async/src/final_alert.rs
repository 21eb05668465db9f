//! The last records of a failed session.

use std::io::{self, Read, Write};

use crate::error::SslError;
use crate::id::SslId;
use crate::read_ahead::{READ_AHEAD, ReadAhead};
use crate::rustls23::{self, Broken, at_once};

/// Why a session failed, and the records that tell the peer, usually an alert. Survives a transport that takes a few bytes at
/// a time.
#[derive(Debug)]
pub(crate) struct FinalAlert {
    pub(crate) error: SslError,
    bytes: Vec<u8>,
    sent: usize,
    /// How many more of the peer's bytes are read and discarded.
    to_drain: usize,
}

impl From<Broken> for FinalAlert {
    fn from(broken: Broken) -> Self {
        let error = match rustls23::unwrap(&broken.error) {
            Some(cause) => SslError::Failed(cause),
            None => match at_once::missed(&broken.error) {
                Some(what) => SslError::WouldWait(what),
                None => SslError::Tls(broken.error),
            },
        };
        Self::new(broken.output.into_bytes(), error)
    }
}

impl FinalAlert {
    pub(crate) fn new(bytes: Vec<u8>, error: SslError) -> Self {
        Self { error, bytes, sent: 0, to_drain: READ_AHEAD }
    }

    /// Sends nothing: the peer has closed, or rustls has sent the alert already.
    pub(crate) fn none(error: SslError) -> Self {
        Self::new(Vec::new(), error)
    }

    /// Sends the records. False if the transport takes no more now; true when all have left or the transport has failed.
    ///
    /// Discards meanwhile what the transport has received: a peer may not read before it has sent everything, and closing
    /// a socket with unread bytes resets the connection, which may destroy the alert on its way.
    pub(crate) fn send<S: Read + Write>(
        &mut self,
        id: SslId,
        io: &mut S,
        ahead: &mut ReadAhead,
    ) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        let sent = self.try_send(io);
        ahead.drain(io, &mut self.to_drain);
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(why) => tracing::debug!(ssl = id.as_u64(), %why, "ssl.alert_unsent"),
            Ok(()) => {}
        }
        self.bytes.clear();
        true
    }

    fn try_send(&mut self, io: &mut dyn Write) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            match io.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        io.flush()
    }
}
