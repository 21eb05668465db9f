//! tokio-rustls on a runtime of several threads, whose `sign` waits within `block_in_place`: the runtime starts another
//! thread in the place of each that waits.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

use super::{Server, runtime::EVENT_INTERVAL, signer::signing_key};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct BlockInPlace;

pub(super) const BLOCK_IN_PLACE: BlockInPlace = BlockInPlace;

impl Server for BlockInPlace {
    fn name(&self) -> &'static str {
        "block-in-place"
    }

    fn title(&self) -> &'static str {
        "tokio-rustls, tokio's block_in_place"
    }

    fn own_free(&self) -> &'static str {
        "free-sign-tokio"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("block_in_place.rs"), include_str!("signer.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let asked = Arc::clone(site);
        let key = signing_key(site, move |message| {
            tokio::task::block_in_place(|| asked.sign_blocking(message.to_vec()))
        })?;
        let config = site.rustls_config(default_provider(), key)?;
        // By default at most 512 wait at once, and then the workers do, too.
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().event_interval(EVENT_INTERVAL);
        builder.max_blocking_threads((site.concurrent + 64).max(512));
        let runtime = builder.build()?;
        let (site, incoming) = (Arc::clone(site), incoming.clone());
        // On a worker, as everything else.
        let accepting = runtime.spawn(async move { accept_all(&site, &incoming, config).await });
        runtime.block_on(accepting)?
    }
    // [end of user code]
}

// [user code]
/// Accepts, and makes each handshake on a task of its own.
pub(super) async fn accept_all(
    site: &Site,
    incoming: &Incoming,
    config: Arc<ServerConfig>,
) -> Result<(), Problem> {
    site.heartbeat.on_tokio()?;
    let (acceptor, incoming) = (TlsAcceptor::from(config), incoming.on_tokio()?);
    loop {
        let handshake = acceptor.accept(incoming.accept().await?);
        tokio::spawn(async move { drop(handshake.await) });
    }
}
// [end of user code]
