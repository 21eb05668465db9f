//! rustls that signs in software on the serving thread: what a server without a slow key does.

use std::sync::Arc;

use super::{Server, one_thread};
use crate::Problem;
use crate::incoming::Incoming;
use crate::site::Site;

pub(super) struct Inline;

pub(super) const INLINE: Inline = Inline;

impl Server for Inline {
    fn name(&self) -> &'static str {
        "inline"
    }

    fn title(&self) -> &'static str {
        "rustls, key in software on the same thread"
    }

    fn own_free(&self) -> &'static str {
        "free-sign"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("one_thread.rs"), include_str!("../event_loop.rs")]
    }

    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        one_thread::serve(site, incoming, site.software_key()?)
    }

    fn asks_key(&self) -> bool {
        false
    }
}
