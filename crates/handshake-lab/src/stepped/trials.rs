//! What a seed does to handshakes by replay, which have to stand it: clients that say hello twice or ask for what the server
//! has not, and a hook that answers one pass otherwise than the other.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::{Resumption, danger::HandshakeSignatureValid},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{default_provider, kx_group},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};

use crate::{
    certs::{SERVER_NAME, TestPki},
    keys,
    load::{ClientError, TlsClient, Verified, client_config_over},
    passes::Passes,
    scenario::TlsVersion,
};

use super::wire::End;

/// How often each happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trials {
    /// One client in n offers only an application protocol that the server does not speak.
    pub unfit_every: u64,
    /// One client in n begins a key exchange that the server does not know, so that it has to say hello twice.
    pub retried_every: u64,
    /// One in n passes gets other names of authorities to send to the client, so that it signs another message.
    pub contradicts_every: u64,
}

/// Tickets that clients keep.
const SESSIONS: usize = 64;

/// Protocols of the server, and of the clients that want another.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"h3"];

impl Trials {
    /// The configuration of a server whose `key` and hooks `passes` watches.
    pub(super) fn server(
        self,
        pki: &TestPki,
        key: Arc<dyn SigningKey>,
        passes: &Passes,
    ) -> Result<ServerConfig, Error> {
        let provider = CryptoProvider { kx_groups: vec![kx_group::X25519], ..default_provider() };
        let provider = ssl_async::replayable(provider);
        let verifier = Arc::new(FickleVerifier {
            names: [DistinguishedName::in_sequence(b"another authority")],
            schemes: provider.signature_verification_algorithms.supported_schemes(),
            every: self.contradicts_every,
            asked: AtomicU64::new(0),
            passes: passes.clone(),
        });
        let certified = CertifiedKey::new(vec![pki.certificate.clone()], key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(passes.resolver(Arc::new(SingleCertAndKey::from(certified))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // The servers of other devices do not know them, so that half of those that come back make a full handshake.
        config.ticketer = keys::tickets()?;
        config.send_tls13_tickets = 1;
        config.alpn_protocols = vec![PROTOCOLS[0].to_vec()];
        Ok(config)
    }

    /// The clients of such a server.
    pub(super) fn clients(
        self,
        pki: &TestPki,
        tls: TlsVersion,
        verified: &Verified,
    ) -> Result<TriedClients, Error> {
        let with = |groups| {
            let provider = CryptoProvider { kx_groups: groups, ..default_provider() };
            client_config_over(provider, Some(&pki.ca), tls, verified)
        };
        let mut usual = with(vec![kx_group::X25519])?;
        let retried = with(vec![kx_group::SECP384R1, kx_group::X25519])?;
        let mut unfit = usual.clone();
        unfit.alpn_protocols = vec![PROTOCOLS[1].to_vec()];
        usual.resumption = Resumption::in_memory_sessions(SESSIONS);
        let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
        Ok(TriedClients { trials: self, configs: [usual, retried, unfit].map(Arc::new), name })
    }
}

/// Clients of a seed with trials.
#[derive(Debug)]
pub(super) struct TriedClients {
    trials: Trials,
    /// The usual one, one that says hello twice, and one that is refused.
    configs: [Arc<ClientConfig>; 3],
    name: ServerName<'static>,
}

impl TriedClients {
    /// Whether the client of this number offers only what the server has not.
    pub(super) fn is_unfit(&self, number: u64) -> bool {
        is_turn(number, self.trials.unfit_every)
    }

    /// The client of the connection of this number.
    pub(super) fn client(
        &self,
        number: u64,
        end: End,
        passes: &Passes,
    ) -> Result<TlsClient<End>, ClientError> {
        let (retried, unfit) = (is_turn(number, self.trials.retried_every), self.is_unfit(number));
        let config = match (retried, unfit) {
            (_, true) => &self.configs[2],
            (true, false) => &self.configs[1],
            (false, false) => &self.configs[0],
        };
        passes.count(|counts| {
            counts.unfit += u64::from(unfit);
            counts.retried += u64::from(retried && !unfit);
        });
        TlsClient::new(end, config, &self.name)
    }
}

/// Whether it is the turn of `number`, if one in `every` has it.
const fn is_turn(number: u64, every: u64) -> bool {
    number % every == every - 1
}

/// Asks for a client's certificate and demands none; now and then it names an authority in the asking, which is part of
/// what the server signs over TLS 1.3.
struct FickleVerifier {
    names: [DistinguishedName; 1],
    schemes: Vec<SignatureScheme>,
    every: u64,
    asked: AtomicU64,
    passes: Passes,
}

impl fmt::Debug for FickleVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FickleVerifier").field("every", &self.every).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for FickleVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let odd = is_turn(self.asked.fetch_add(1, Ordering::Relaxed), self.every);
        self.passes.count(|counts| counts.contradicted += u64::from(odd));
        if odd { &self.names } else { &[] }
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Err(Error::NoCertificatesPresented)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::NoCertificatesPresented)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::NoCertificatesPresented)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
