//! tokio accepts, and each whole handshake is made on a thread of `spawn_blocking`.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use tokio::runtime::Builder;

use super::{Server, pool::shake_hands, runtime::EVENT_INTERVAL, signer::signing_key};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;
use crate::wire::Connection;

pub(super) struct SpawnBlocking;

pub(super) const SPAWN_BLOCKING: SpawnBlocking = SpawnBlocking;

impl Server for SpawnBlocking {
    fn name(&self) -> &'static str {
        "spawn-blocking"
    }

    fn title(&self) -> &'static str {
        "rustls, tokio's spawn_blocking"
    }

    fn own_free(&self) -> &'static str {
        "free-sign-tokio"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("spawn_blocking.rs"), include_str!("signer.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let asked = Arc::clone(site);
        let key = signing_key(site, move |message| asked.sign_blocking(message.to_vec()))?;
        let config = site.rustls_config(default_provider(), key)?;
        // By default at most 512 run at once, and the others queue up.
        let mut builder = Builder::new_current_thread();
        builder.enable_all().event_interval(EVENT_INTERVAL);
        builder.max_blocking_threads(site.concurrent.max(512));
        builder.build()?.block_on(async {
            site.heartbeat.on_tokio()?;
            let incoming = incoming.on_tokio()?;
            loop {
                let connection = match incoming.accept().await? {
                    Connection::Memory(wire) => Connection::Memory(wire),
                    Connection::Loopback(socket) => {
                        let socket = socket.into_std()?;
                        socket.set_nonblocking(false)?;
                        Connection::Loopback(socket)
                    }
                };
                let config = Arc::clone(&config);
                tokio::task::spawn_blocking(move || shake_hands(config, connection));
            }
        })
    }
    // [end of user code]
}
