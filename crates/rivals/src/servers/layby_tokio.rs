//! Layby on tokio, in the place of tokio-rustls.

use std::sync::Arc;

use ssl_async::Parking;
use ssl_async::task::{Shards, TlsAcceptor};

use super::{Server, layby_key, runtime};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct LaybyTokio {
    parking: Parking,
}

pub(super) const FIBER: LaybyTokio = LaybyTokio { parking: Parking::Fiber };
pub(super) const REPLAY: LaybyTokio = LaybyTokio { parking: Parking::Replay };

impl Server for LaybyTokio {
    fn name(&self) -> &'static str {
        if self.parking == Parking::Replay { "layby-tokio" } else { "layby-tokio-fiber" }
    }

    fn title(&self) -> &'static str {
        match self.parking {
            Parking::Replay => "Layby on tokio, by replay (its default)",
            _ => "Layby on tokio, on fibers",
        }
    }

    fn own_free(&self) -> &'static str {
        "free-sign-tokio"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("layby_tokio.rs"), include_str!("layby_key.rs")]
    }

    fn is_layby(&self) -> bool {
        true
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let config = layby_key::config(site, self.parking == Parking::Replay, true)?;
        let shards = Shards::builder().threads(1).max_parked(site.concurrent).build()?;
        let acceptor = TlsAcceptor::new(config, &shards).parking(self.parking);
        runtime()?.block_on(async {
            site.heartbeat.on_tokio()?;
            let incoming = incoming.on_tokio()?;
            loop {
                let handshake = acceptor.accept(incoming.accept().await?);
                tokio::spawn(async move { drop(handshake.await) });
            }
        })
    }
    // [end of user code]
}
