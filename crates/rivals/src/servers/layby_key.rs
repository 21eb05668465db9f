//! The simulated key behind Layby: an accelerator that hands each request on and completes it with the answer.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use ssl_async::SlowKey;
use ssl_async::engine_core::{Accelerator, Capabilities, DeviceRefused, Request};
use ssl_async::offload::SigningWork;

use crate::Problem;
use crate::site::Site;

// [user code]
#[derive(Debug)]
struct Device {
    site: Arc<Site>,
    checks: bool,
}

impl Accelerator<SigningWork> for Device {
    fn submit(&self, request: Request<SigningWork>) -> Result<(), DeviceRefused<SigningWork>> {
        let message = request.work().message().to_vec();
        self.site.ask(message, move |signature| request.complete(Ok(signature)));
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        // With completions on the key's thread Layby checks every signature there; told otherwise, only those of RSA.
        Capabilities { completion_thread: self.checks, ..Capabilities::default() }
    }
}

/// A configuration for handshakes that are parked by replay or, if not `replayable`, on fibers. `checks`: whether ECDSA signatures
/// are checked, too.
pub(super) fn config(
    site: &Arc<Site>,
    replayable: bool,
    checks: bool,
) -> Result<Arc<ServerConfig>, Problem> {
    let mut provider = default_provider();
    let key = SlowKey::builder_with_provider(site.chain.clone(), &provider)?
        .queue_bound(site.concurrent)
        .accelerator(Arc::new(Device { site: Arc::clone(site), checks }))?;
    if replayable {
        provider = ssl_async::replayable(provider);
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(key);
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
// [end of user code]
