//! rustls on one thread that waits for its key: what happens when the library of an HSM is called where rustls calls `sign`.

use std::sync::Arc;

use super::{Server, one_thread, signer::signing_key};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct Blocking;

pub(super) const BLOCKING: Blocking = Blocking;

impl Server for Blocking {
    fn name(&self) -> &'static str {
        "rustls-blocking"
    }

    fn title(&self) -> &'static str {
        "rustls, one thread that waits for its key"
    }

    fn own_free(&self) -> &'static str {
        "free-sign"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[
            include_str!("one_thread.rs"),
            include_str!("../event_loop.rs"),
            include_str!("signer.rs"),
        ]
    }

    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let asked = Arc::clone(site);
        let key = signing_key(site, move |message| asked.sign_blocking(message.to_vec()))?;
        one_thread::serve(site, incoming, key)
    }
}
