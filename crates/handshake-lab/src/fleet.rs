//! The server's side of a row: a certificate and a key for each type of key that its connections mix.

use std::sync::Arc;

use crypto_ops::{KeyHandle, SoftwareKeys};
use rustls::{server::ProducesTickets, sign::SigningKey};
use ssl_async::SslContext;

use crate::{
    certs::{TestPki, name_of},
    error::RunError,
    keys::{self, Asked},
    scenario::{KeyType, Mode, RowPlan},
};

/// The keys of a row, loaded into the key store of its devices.
pub(crate) struct Fleet<'a> {
    plan: &'a RowPlan,
    members: Vec<(&'a TestPki, KeyHandle)>,
    asked: Asked,
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
        Ok(Self { plan, members, asked: asked.clone(), tickets })
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
            let key = keys::counted(key, &self.asked);
            fleet.push((name_of(pki.key), pki.certificate.clone(), key));
        }
        let config = keys::fleet_config(fleet, self.tickets.clone())?;
        Ok(SslContext::server(Arc::new(config)).async_mode(self.plan.mode == Mode::Async))
    }
}
