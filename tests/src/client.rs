//! An HTTPS client on rustls, in steps small enough to be put in an order.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Identity;
use crate::bounded::LIMIT;

/// One connection to the server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Client {
    /// Connects and sends the first message of the handshake; does not wait for an answer.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    ///
    /// # Panics
    ///
    /// If the authority of `identity` cannot be read.
    pub fn connect(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
        let authority = CertificateDer::from_pem_file(identity.ca()).expect("the authority");
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("the authority is a certificate");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a DNS name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("the configuration");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock)?;
        }
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Waits until the handshake is done.
    ///
    /// # Errors
    ///
    /// Those of the socket, and of the handshake.
    pub fn finish_handshake(&mut self) -> io::Result<()> {
        let stream = self.stream.get_mut();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(())
    }

    /// Whether the handshake is done, as far as what has arrived until now can tell.
    ///
    /// # Errors
    ///
    /// Those of the socket, and of the handshake.
    pub fn is_done_by_now(&mut self) -> io::Result<bool> {
        let stream = self.stream.get_mut();
        stream.sock.set_nonblocking(true)?;
        let outcome = stream.conn.complete_io(&mut stream.sock);
        stream.sock.set_nonblocking(false)?;
        match outcome {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(!stream.conn.is_handshaking()),
        }
    }

    /// Asks for the page and returns its first line, which is the same for everybody; the connection
    /// stays open.
    ///
    /// # Errors
    ///
    /// Those of the connection; `InvalidData` for an answer that is not a page of known length.
    pub fn greeting(&mut self) -> io::Result<String> {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.stream.get_mut().write_all(request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, line));
        }
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse::<usize>().ok();
                }
                Some(_) => {}
                None => break,
            }
        }
        let no_length = || io::Error::new(io::ErrorKind::InvalidData, "no Content-Length");
        let mut body = vec![0; length.ok_or_else(no_length)?];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body);
        Ok(body.lines().next().unwrap_or_default().to_owned())
    }
}
