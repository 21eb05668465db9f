//! One client: a handshake over a transport that does not block, then waiting for the server to say goodbye.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, pki_types::ServerName};

/// A client whose handshake is under way or just done, over the transport `T`.
#[derive(Debug)]
pub struct TlsClient<T> {
    pub transport: T,
    tls: ClientConnection,
    established: bool,
    /// It is to hang up once it has said hello.
    pub(super) hangs_up: bool,
}

/// Why a client's handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("transport: {0}")]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the server closed the connection before the handshake was done")]
    ClosedEarly,
    #[error("the server closed the connection without close_notify")]
    ClosedAbruptly,
}

impl<T: Read + Write> TlsClient<T> {
    /// A client that has sent nothing yet.
    ///
    /// # Errors
    /// What rustls says of the configuration or the name.
    pub fn new(
        transport: T,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, ClientError> {
        let tls = ClientConnection::new(Arc::clone(config), name.clone())?;
        Ok(Self { transport, tls, established: false, hangs_up: false })
    }

    /// Whether its handshake is done, though the server may not have said goodbye yet.
    pub const fn is_established(&self) -> bool {
        self.established
    }

    /// Whether its handshake, which is done, has resumed a session.
    pub fn has_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the server's hello has arrived. False of one that had to say hello twice, for which rustls does not tell.
    pub(crate) fn has_heard_hello(&self) -> bool {
        let retried = self.tls.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest);
        // A client that offers a ticket has the ticket's cipher suite before.
        self.tls.protocol_version().is_some() && !retried
    }

    pub(super) fn has_said_hello(&self) -> bool {
        !self.tls.wants_write()
    }

    /// Continues as far as the transport allows. True when the server has closed the session with `close_notify`
    /// after the handshake.
    ///
    /// # Errors
    /// Why the handshake failed; a transport that would block is none.
    pub fn drive(&mut self) -> Result<bool, ClientError> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.transport) {
                    Ok(_) => {}
                    Err(error) if waits(&error) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
            self.established = !self.tls.is_handshaking();
            match self.tls.read_tls(&mut self.transport) {
                Ok(0) => {
                    return Err(if self.established {
                        ClientError::ClosedAbruptly
                    } else {
                        ClientError::ClosedEarly
                    });
                }
                Ok(_) => {}
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that says why.
                    let _ = self.tls.write_tls(&mut self.transport);
                    return Err(error.into());
                }
            };
            if state.plaintext_bytes_to_read() > 0 {
                let mut ignored = vec![0; state.plaintext_bytes_to_read()];
                self.tls.reader().read_exact(&mut ignored)?;
            }
            if state.peer_has_closed() {
                // In TLS 1.2 the goodbye may come in one piece with the end of the handshake.
                self.established = !self.tls.is_handshaking();
                return if self.established { Ok(true) } else { Err(ClientError::ClosedEarly) };
            }
        }
    }
}

/// Whether a transport only has nothing for us now; not yet connected counts.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
