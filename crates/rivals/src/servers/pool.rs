//! A fixed pool of threads, each of which accepts a connection, makes its handshake and waits for the key.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ServerConfig, ServerConnection};

use super::{Server, signer::signing_key};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;
use crate::wire::Connection;

pub(super) struct Pool {
    threads: usize,
}

pub(super) const POOL_64: Pool = Pool { threads: 64 };
pub(super) const POOL_256: Pool = Pool { threads: 256 };
pub(super) const POOL_1024: Pool = Pool { threads: 1024 };

impl Server for Pool {
    fn name(&self) -> &'static str {
        match self.threads {
            64 => "pool-64",
            256 => "pool-256",
            _ => "pool-1024",
        }
    }

    fn title(&self) -> &'static str {
        match self.threads {
            64 => "rustls, 64 threads",
            256 => "rustls, 256 threads",
            _ => "rustls, 1,024 threads",
        }
    }

    fn own_free(&self) -> &'static str {
        "free-sign"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("pool.rs"), include_str!("signer.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let asked = Arc::clone(site);
        let key = signing_key(site, move |message| asked.sign_blocking(message.to_vec()))?;
        let config = site.rustls_config(default_provider(), key)?;
        site.heartbeat.on_thread();
        for _ in 0..self.threads {
            let (config, incoming) = (Arc::clone(&config), incoming.clone());
            thread::Builder::new().spawn(move || {
                while let Ok(connection) = incoming.accept() {
                    shake_hands(Arc::clone(&config), connection);
                }
            })?;
        }
        loop {
            thread::park();
        }
    }
    // [end of user code]
}

// [user code]
/// A handshake on a blocking connection.
pub(super) fn shake_hands(config: Arc<ServerConfig>, mut connection: Connection<TcpStream>) {
    let Ok(mut tls) = ServerConnection::new(config) else { return };
    // Clients count those that fail.
    let _ = tls.complete_io(&mut connection);
}
// [end of user code]
