//! Keys around a [`ReplayKey`] and keys in it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, Error, SignatureAlgorithm, SignatureScheme};
use tls_replay::{ReplayError, ReplayKey, SessionStage, replayable};

use crate::world::{AtOnce, Pair, V12, V13, Want, World, pki};

/// Lets the server of `world` sign with `key`.
fn sign_with(world: &mut World, key: Arc<dyn SigningKey>) {
    let chain = world.resolver.certified.cert.clone();
    world.server.cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
}

/// Names another scheme each time it is asked.
#[derive(Debug)]
struct Fickle(Arc<AtomicUsize>);

impl SigningKey for Fickle {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Self(Arc::clone(&self.0))))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Fickle {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        unreachable!("the key is wrapped")
    }

    fn scheme(&self) -> SignatureScheme {
        match self.0.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => SignatureScheme::ECDSA_NISTP256_SHA256,
            _ => SignatureScheme::ECDSA_NISTP384_SHA384,
        }
    }
}

#[test]
fn l16_a_signer_that_changes_its_scheme_labels_no_signature() {
    for versions in [V13, V12] {
        let mut world = World::new(Want { versions, ..Want::default() });
        sign_with(&mut world, Arc::new(ReplayKey::new(Arc::new(Fickle(Arc::default())))));
        let mut pair = world.pair();
        pair.client_turn().unwrap();
        assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
        assert!(matches!(pair.resume(vec![0; 70]), Err(ReplayError::Differs(_))));
        assert!(pair.sent.is_empty());
    }
}

/// Begins a handshake of its own whenever it is asked something.
#[derive(Debug)]
struct Dialing {
    key: AtOnce,
    client: Arc<ClientConfig>,
    hellos: Mutex<Vec<Vec<u8>>>,
}

impl Dialing {
    fn dial(&self) {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        self.hellos.lock().unwrap().push(hello);
    }
}

impl SigningKey for Dialing {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.dial();
        self.key.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.dial();
        self.key.algorithm()
    }
}

#[test]
fn l16_a_handshake_that_the_wrapped_key_makes_is_not_recorded() {
    for versions in [V13, V12] {
        let mut world = World::new(Want { versions, ..Want::default() });
        let client = ClientConfig::builder_with_provider(replayable(default_provider()).into())
            .with_protocol_versions(V13)
            .unwrap()
            .with_root_certificates(Arc::clone(&pki().roots))
            .with_no_client_auth();
        let key = Arc::new(Dialing {
            key: AtOnce(Arc::clone(&world.device)),
            client: Arc::new(client),
            hellos: Mutex::default(),
        });
        sign_with(&mut world, Arc::new(ReplayKey::new(Arc::clone(&key) as _)));
        let mut pair = world.pair();
        pair.handshake(&world.device).unwrap();
        pair.exchange_messages();
        let hellos = key.hellos.lock().unwrap();
        assert!(hellos.len() >= 4, "two questions in each of two passes");
        assert_eq!(hellos.iter().collect::<HashSet<_>>().len(), hellos.len());
    }
}

/// Answers by one key which algorithm it has, and signs with another.
#[derive(Debug)]
struct Mixed {
    named: Arc<dyn SigningKey>,
    signing: Arc<dyn SigningKey>,
}

impl SigningKey for Mixed {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.signing.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.named.algorithm()
    }
}

#[test]
fn a_key_need_not_sign_with_the_key_that_names_its_algorithm() {
    for versions in [V13, V12] {
        for (postpones, stale_ticket) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let mut world = World::new(Want { versions, ..Want::default() });
            if stale_ticket {
                // The hello offers a ticket that the server cannot open, so its first pass may be the last.
                world.client.resumption = Resumption::in_memory_sessions(8);
                world.server.ticketer = Ticketer::new().unwrap();
                world.pair().handshake(&world.device).unwrap();
                world.server.ticketer = Ticketer::new().unwrap();
            }
            let at_once: Arc<dyn SigningKey> = Arc::new(AtOnce(Arc::clone(&world.device)));
            let later: Arc<dyn SigningKey> = Arc::new(ReplayKey::new(Arc::clone(&at_once)));
            let (named, signing) = if postpones { (at_once, later) } else { (later, at_once) };
            sign_with(&mut world, Arc::new(Mixed { named, signing }));
            let mut pair: Pair = world.pair();
            let done = pair.handshake(&world.device);
            assert_eq!(done, Ok(()), "{versions:?}, postpones {postpones}, ticket {stale_ticket}");
            assert_eq!(pair.parked, usize::from(postpones));
            pair.exchange_messages();
        }
    }
}
