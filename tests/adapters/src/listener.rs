//! A listener whose handshakes run at once, for `axum::serve` and whatever takes a stream of connections.

use std::io;
use std::net::SocketAddr;

use axum::serve::Listener;
use futures_util::Stream;
use futures_util::stream::unfold;
use layby::tls::{SslError, TlsAcceptor, TlsStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::stream::Tls;

/// Each handshake is a task, and `limit` of them at most are under way. Dropping the listener cancels them.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    limit: usize,
    handshakes: JoinSet<Result<(TlsStream<TcpStream>, SocketAddr), SslError>>,
}

impl TlsListener {
    pub fn new(tcp: TcpListener, acceptor: TlsAcceptor, limit: usize) -> Self {
        Self { tcp, acceptor, limit, handshakes: JoinSet::new() }
    }

    /// How many handshakes are under way, or done and not yet taken.
    pub fn handshakes(&self) -> usize {
        self.handshakes.len()
    }

    /// For `serve_with_incoming` of tonic.
    pub fn connections(self) -> impl Stream<Item = io::Result<Tls>> {
        unfold(self, async |mut listener| {
            let (tls, _address) = listener.accept().await;
            Some((Ok(Tls(tls)), listener))
        })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// Clients that cannot be accepted are left out. Cancelling loses no connection: both branches are safe to cancel.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                // axum's, which waits a while if there is no descriptor left.
                (tcp, address) = Listener::accept(&mut self.tcp), if self.handshakes.len() < self.limit => {
                    let handshake = self.acceptor.accept(tcp);
                    self.handshakes.spawn(async move { Ok((handshake.await?, address)) });
                }
                Some(handshake) = self.handshakes.join_next() => {
                    if let Ok(Ok(accepted)) = handshake {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
