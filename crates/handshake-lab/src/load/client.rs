//! One client: a handshake over a non-blocking socket, then waiting for the server to say goodbye.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

/// A client whose handshake is under way or just done.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: TcpStream,
    tls: ClientConnection,
    opened: Instant,
    /// It is to hang up once it has said hello.
    pub(super) hangs_up: bool,
    /// How long the handshake took, once it is done.
    took: Option<Duration>,
}

/// What one call to [`Client::drive`] came to.
#[derive(Debug)]
pub(super) enum Driven {
    /// Call again when the socket is ready.
    Waits,
    /// The handshake is done on both sides: the server has closed the session in good order after it.
    Done(Duration),
}

/// Why a client's handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("transport: {0}")]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the server closed the connection before the handshake was done")]
    ClosedEarly,
    #[error("the server closed the connection without close_notify")]
    ClosedAbruptly,
}

impl Client {
    pub(super) fn open(
        target: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, ClientError> {
        let opened = Instant::now();
        let socket = TcpStream::connect(target)?;
        let tls = ClientConnection::new(Arc::clone(config), name.clone())?;
        Ok(Self { socket, tls, opened, hangs_up: false, took: None })
    }

    /// Goes on as far as the socket allows.
    pub(super) fn drive(&mut self) -> Result<Driven, ClientError> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if waits(&error) => return Ok(Driven::Waits),
                    Err(error) => return Err(error.into()),
                }
            }
            self.note_end_of_handshake();
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => {
                    return Err(if self.took.is_none() {
                        ClientError::ClosedEarly
                    } else {
                        ClientError::ClosedAbruptly
                    });
                }
                Ok(_) => {}
                Err(error) if waits(&error) => return Ok(Driven::Waits),
                Err(error) => return Err(error.into()),
            }
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert that says why.
                    let _ = self.tls.write_tls(&mut self.socket);
                    return Err(error.into());
                }
            };
            if state.plaintext_bytes_to_read() > 0 {
                let mut ignored = vec![0; state.plaintext_bytes_to_read()];
                self.tls.reader().read_exact(&mut ignored)?;
            }
            if state.peer_has_closed() {
                // In TLS 1.2 the goodbye may come in one piece with the end of the handshake.
                self.note_end_of_handshake();
                return self.took.map(Driven::Done).ok_or(ClientError::ClosedEarly);
            }
        }
    }

    /// Whether the first flight has left.
    pub(super) fn has_said_hello(&self) -> bool {
        !self.tls.wants_write()
    }

    fn note_end_of_handshake(&mut self) {
        if self.took.is_none() && !self.tls.is_handshaking() {
            self.took = Some(self.opened.elapsed());
        }
    }
}

/// Whether a socket only has nothing for us now; not yet connected counts.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
