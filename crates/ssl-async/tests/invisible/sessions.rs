//! Sessions on an event loop.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use job_core::JobPool;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::SigningKey;
use ssl_async::{Outcome, Parking, Ssl, SslContext, replayable};
use tls_replay::ReplayError;

use crate::law::servers::{AnsweredServer, Server, Way};
use crate::support::{Pipe, pipe};
use crate::{Device, INTERNAL_ERROR, device, key_on, tls_error};

pub(crate) struct Sessions {
    parking: Parking,
    device: Device,
}

impl Sessions {
    pub(crate) fn new(parking: Parking) -> Self {
        Self { parking, device: device() }
    }
}

impl Way for Sessions {
    fn provider(&self, provider: CryptoProvider) -> CryptoProvider {
        replayable(provider)
    }

    fn key(&self, key: Arc<dyn SigningKey>) -> Arc<dyn SigningKey> {
        key_on(&self.device, key)
    }

    fn failure_alert(&self) -> &'static [u8] {
        &INTERNAL_ERROR
    }

    fn servers(&self, config: ServerConfig) -> Box<dyn Fn() -> Server> {
        let context = SslContext::server(Arc::new(config)).parking(self.parking);
        let (device, pool) = (Arc::clone(&self.device), JobPool::new());
        Box::new(move || {
            let (ours, client) = pipe();
            let ssl = Ssl::accept(&context, &pool, ours).expect("a configuration");
            Server::Answered(Box::new(Session { ssl, client, device: Arc::clone(&device) }))
        })
    }
}

struct Session {
    ssl: Ssl<Pipe>,
    /// The other end.
    client: Pipe,
    device: Device,
}

impl AnsweredServer for Session {
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ReplayError> {
        self.client.write_all(bytes).expect("a pipe takes all");
        let mut plaintext = [0; 100];
        let heard = loop {
            match self.ssl.read(&mut plaintext) {
                Ok(Outcome::WantAsync) => self.device.answer(),
                Ok(Outcome::Ready(1..)) => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(tls_error(error)),
            }
        };
        // Sends the alert of a session that has failed.
        let _same_error = self.ssl.flush();
        let _would_block = self.client.read_to_end(out);
        heard
    }

    fn is_handshaking(&self) -> bool {
        self.ssl.is_handshaking()
    }
}
