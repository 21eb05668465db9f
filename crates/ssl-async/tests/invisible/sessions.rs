//! Sessions on an event loop.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use job_core::JobPool;
use rustls::ServerConfig;
use ssl_async::{Outcome, Parking, Ssl, SslContext};
use tls_replay::ReplayError;

use crate::law::servers::{AnsweredServer, Server};
use crate::support::{Pipe, pipe};
use crate::{Device, Serving, tls_error};

pub(crate) struct Sessions(pub(crate) Parking);

impl Serving for Sessions {
    fn servers(&self, config: ServerConfig, device: &Device) -> Box<dyn Fn() -> Server> {
        let context = SslContext::server(Arc::new(config)).parking(self.0);
        let (device, pool) = (Arc::clone(device), JobPool::new());
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
