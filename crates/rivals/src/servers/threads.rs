//! A thread for each handshake: rustls on a blocking socket, and the thread waits for the key.

use std::sync::Arc;
use std::thread;

use rustls::crypto::aws_lc_rs::default_provider;

use super::{Server, pool::shake_hands, signer::signing_key};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct Threads;

pub(super) const THREADS: Threads = Threads;

impl Server for Threads {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn title(&self) -> &'static str {
        "rustls, a thread for each handshake"
    }

    fn own_free(&self) -> &'static str {
        "free-sign"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("threads.rs"), include_str!("signer.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let asked = Arc::clone(site);
        let key = signing_key(site, move |message| asked.sign_blocking(message.to_vec()))?;
        let config = site.rustls_config(default_provider(), key)?;
        site.heartbeat.on_thread();
        loop {
            let (config, connection) = (Arc::clone(&config), incoming.accept()?);
            thread::Builder::new().spawn(move || shake_hands(config, connection))?;
        }
    }
    // [end of user code]
}
