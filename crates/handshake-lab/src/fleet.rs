//! The server's side of a row: a certificate and a key for each type of key that its connections mix.

use std::sync::Arc;

use crypto_ops::{KeyHandle, SoftwareKeys};
use rustls::{server::ProducesTickets, sign::SigningKey};
use ssl_async::SslContext;

use crate::{
    certs::{TestPki, name_of},
    error::RunError,
    keys::{self, Asked},
    passes::Passes,
    scenario::{KeyType, Mode, RowPlan},
};

/// The keys of a row, loaded into the key store of its devices.
pub(crate) struct Fleet<'a> {
    plan: &'a RowPlan,
    members: Vec<(&'a TestPki, KeyHandle)>,
    asked: Asked,
    /// Watches them, if they are parked by replay.
    passes: Option<Passes>,
    tickets: Option<Arc<dyn ProducesTickets>>,
}

impl<'a> Fleet<'a> {
    /// The keys of the row go into `store`; what they are asked for is counted in `asked`.
    pub(crate) fn load(
        plan: &'a RowPlan,
        fleet: &'a [TestPki],
        store: &SoftwareKeys,
        asked: &Asked,
    ) -> Result<Self, RunError> {
        let load = |pki: &'a TestPki| Ok((pki, store.load_pem(&pki.key_pem)?));
        let members = fleet.iter().map(load).collect::<Result<_, crypto_ops::KeyFileError>>()?;
        // The same for all that serve the row: a client may come back to another one.
        let tickets = plan.mix.resumes().then(keys::tickets).transpose()?;
        let passes = plan.replays().then(Passes::default);
        Ok(Self { plan, members, asked: asked.clone(), passes, tickets })
    }

    /// A server with the keys that `offload` puts on a device, in rows that have one, or all of them in software.
    pub(crate) fn context(
        &self,
        offload: impl Fn(KeyType, KeyHandle) -> Option<Arc<dyn SigningKey>>,
    ) -> Result<SslContext, RunError> {
        let mut fleet = Vec::with_capacity(self.members.len());
        for (pki, handle) in &self.members {
            let key = match self.plan.mode {
                Mode::FreeSign => keys::free_sign(handle.clone()),
                Mode::Software => pki.software_key()?,
                Mode::Blocking | Mode::Async => match offload(pki.key, handle.clone()) {
                    Some(key) => key,
                    None => continue,
                },
            };
            let key = match &self.passes {
                Some(passes) => passes.key(key, &self.asked),
                None => keys::counted(key, &self.asked),
            };
            fleet.push((name_of(pki.key), pki.certificate.clone(), key));
        }
        let parking = self.plan.parking;
        let provider = keys::provider(parking);
        let mut config = keys::fleet_config(provider, fleet, self.tickets.clone())?;
        if let Some(passes) = &self.passes {
            config.cert_resolver = passes.resolver(config.cert_resolver);
        }
        let context = SslContext::server(Arc::new(config)).parking(parking.strictly());
        Ok(context.async_mode(self.plan.mode == Mode::Async))
    }

    /// Watches handshakes by replay, if they are parked so.
    pub(crate) fn passes(&self) -> Option<Passes> {
        self.passes.clone()
    }
}
