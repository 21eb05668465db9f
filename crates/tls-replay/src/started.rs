//! A key exchange of TLS 1.2, between its start and its completion.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{ActiveKeyExchange, SharedSecret};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup};

use crate::error::ABANDONED;

/// A started key exchange, shared by the record and the connection of each pass. The connection that is kept completes
/// it, whichever pass that was; the last owner drops it.
#[derive(Clone)]
pub(crate) struct StartedExchange {
    pub(crate) group: NamedGroup,
    share: Arc<[u8]>,
    ffdhe_group: Option<FfdheGroup<'static>>,
    exchange: Arc<Mutex<Option<Box<dyn ActiveKeyExchange>>>>,
}

impl StartedExchange {
    pub(crate) fn new(exchange: Box<dyn ActiveKeyExchange>) -> Self {
        Self {
            group: exchange.group(),
            share: exchange.pub_key().into(),
            ffdhe_group: exchange.ffdhe_group(),
            exchange: Arc::new(Mutex::new(Some(exchange))),
        }
    }
}

impl ActiveKeyExchange for StartedExchange {
    fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        let exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner).take();
        exchange.ok_or(ABANDONED)?.complete(peer_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.ffdhe_group
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}
