//! rustls with a signature that costs nothing: the limit of every server that keeps rustls. The signature is garbage, so its
//! clients cannot verify.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;

use super::{Server, block_in_place, one_thread, signer::signing_key};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct FreeSign {
    tokio: bool,
}

/// On an event loop.
pub(super) const FREE_SIGN: FreeSign = FreeSign { tokio: false };
/// On tokio, by tokio-rustls.
pub(super) const FREE_SIGN_TOKIO: FreeSign = FreeSign { tokio: true };

impl Server for FreeSign {
    fn name(&self) -> &'static str {
        if self.tokio { "free-sign-tokio" } else { "free-sign" }
    }

    fn title(&self) -> &'static str {
        match self.tokio {
            false => "rustls, signature for free: the limit",
            true => "tokio-rustls, signature for free",
        }
    }

    fn own_free(&self) -> &'static str {
        self.name()
    }

    fn sources(&self) -> &'static [&'static str] {
        match self.tokio {
            false => &[include_str!("one_thread.rs"), include_str!("../event_loop.rs")],
            true => &[include_str!("block_in_place.rs")],
        }
    }

    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let garbage = site.garbage();
        let key = signing_key(site, move |_| garbage.clone())?;
        if self.tokio {
            let config = site.rustls_config(default_provider(), key)?;
            return super::runtime()?.block_on(block_in_place::accept_all(site, incoming, config));
        }
        one_thread::serve(site, incoming, key)
    }

    fn asks_key(&self) -> bool {
        false
    }

    fn signs(&self) -> bool {
        false
    }
}
