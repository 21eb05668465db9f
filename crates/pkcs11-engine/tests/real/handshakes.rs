//! Handshakes with keys in SoftHSM, verified by rustls and by OpenSSL.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pkcs11_engine::{Chain, Ended, KeyUri, OpenError, Token};
use ssl_async::rustls::client::Resumption;
use ssl_async::rustls::pki_types::pem::PemObject;
use ssl_async::rustls::pki_types::{CertificateDer, ServerName};
use ssl_async::rustls::version::{TLS12, TLS13};
use ssl_async::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};
use ssl_async::{SlowKey, TlsError};

use crate::world::{in_own_process, is_there};

/// A handshake in memory. rustls calls the key in place, so it blocks here.
pub(crate) fn handshake(
    roots: RootCertStore,
    key: &Arc<SlowKey>,
    version: &'static SupportedProtocolVersion,
) -> Result<(), TlsError> {
    let mut client = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    let host = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), host).unwrap();
    let server = ServerConfig::builder_with_protocol_versions(&[version])
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(key) as _);
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn every_key_signs_in_each_of_its_schemes_and_rustls_verifies() {
    in_own_process(
        "handshakes::every_key_signs_in_each_of_its_schemes_and_rustls_verifies",
        |world| {
            let token = world.open();
            let mut n = 0;
            for (name, schemes) in
                [("rsa2048", 6), ("rsa4096", 6), ("p256", 1), ("p384", 1), ("ed25519", 1)]
            {
                let uri: KeyUri = format!("pkcs11:object={name}").parse().unwrap();
                let key = token.key_named(&uri, world.chain(name)).unwrap();
                assert_eq!(key.schemes().len(), schemes, "{name}: {:?}", key.schemes());
                for scheme in key.schemes() {
                    let only = key.with_schemes([*scheme]).unwrap();
                    let pkcs1 = matches!(
                        scheme,
                        SignatureScheme::RSA_PKCS1_SHA256
                            | SignatureScheme::RSA_PKCS1_SHA384
                            | SignatureScheme::RSA_PKCS1_SHA512
                    );
                    handshake(world.roots(name), &only, &TLS12).unwrap();
                    match handshake(world.roots(name), &only, &TLS13) {
                        Ok(()) => assert!(!pkcs1, "TLS 1.3 has no {scheme:?}"),
                        Err(error) => assert!(pkcs1, "{name} {scheme:?}: {error}"),
                    }
                    n += 1;
                }
            }
            assert_eq!(n, 15);
            let stats = token.stats();
            assert_eq!(stats.failures, Default::default());
            assert!(stats.signatures >= 15 + 15 + 9, "{stats:?}");
            assert_eq!(token.shutdown_blocking(Duration::from_secs(60)), Ended::Finalized);
        },
    );
}

#[test]
fn openssl_verifies_the_handshakes() {
    let openssl = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !is_there("openssl", openssl) {
        return;
    }
    in_own_process("handshakes::openssl_verifies_the_handshakes", |world| {
        let token = world.open();
        for name in ["rsa2048", "p256", "p384", "ed25519"] {
            let uri: KeyUri = format!("pkcs11:object={name}").parse().unwrap();
            let config =
                Arc::new(token.key_named(&uri, world.chain(name)).unwrap().server_config());
            for version in ["-tls1_3", "-tls1_2"] {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let file = world.chain_file(name);
                let mut client = Command::new("openssl")
                    .args(["s_client", "-verify_return_error", "-verify_hostname", "localhost"])
                    .args([version, "-CAfile"])
                    .arg(file)
                    .args(["-connect", &listener.local_addr().unwrap().to_string()])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                let (socket, _) = listener.accept().unwrap();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, socket);
                client.stdin.take().unwrap().write_all(b"ping\n").unwrap();
                let mut line = [0; 5];
                stream.read_exact(&mut line).unwrap();
                assert_eq!(&line, b"ping\n");
                stream.conn.send_close_notify();
                stream.flush().unwrap();
                drop(stream);
                let output = client.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains("Verification: OK"), "{name} {version}: {said}");
            }
        }
        assert_eq!(token.shutdown_blocking(Duration::from_secs(60)), Ended::Finalized);
    });
}

#[test]
fn what_is_wrong_at_the_start_is_said_with_its_remedy() {
    in_own_process("handshakes::what_is_wrong_at_the_start_is_said_with_its_remedy", |world| {
        let error = |uri: &str| Token::open(uri).map(drop).unwrap_err().to_string();
        let module = format!("module-path={}", world.softhsm.display());
        let pin = "pin-source=env:WEB_PIN";
        assert!(error("pkcs11:token=web").contains("add ?module-path="));
        assert!(error("pkcs11:token=web?module-path=/none.so").contains("No such file"));
        let no_token = error(&format!("pkcs11:token=wep?{module}&{pin}"));
        assert!(
            no_token.contains("no token is pkcs11:token=wep")
                && no_token.contains("token=web serial="),
            "{no_token}"
        );
        assert!(error(&format!("pkcs11:token=web?{module}")).contains("add ?pin-source="));
        assert!(
            error(&format!("pkcs11:token=web?{module}&pin-source=env:NONE"))
                .contains("pin-source=env:NONE")
        );

        let token = world.open();
        let named =
            |uri: &str, chain: Chain| token.key_named(&uri.parse().unwrap(), chain).map(drop);
        let no_key = named("pkcs11:object=p265", world.chain("p256")).unwrap_err().to_string();
        assert!(no_key.contains("pkcs11:object=p256;id=%03"), "{no_key}");
        let several = named("pkcs11:", world.chain("p256")).unwrap_err();
        assert!(
            matches!(&several, OpenError::SeveralKeys { found, .. } if found.len() == 5),
            "{several}"
        );
        for (key, other) in
            [("rsa2048", "rsa4096"), ("p256", "p384"), ("ed25519", "p256"), ("p256", "rsa2048")]
        {
            let mixed_up = named(&format!("pkcs11:object={key}"), world.chain(other)).unwrap_err();
            assert!(matches!(mixed_up, OpenError::OtherKey(_)), "{mixed_up}");
        }
        let in_token = named("pkcs11:object=p256", Chain::InToken).unwrap_err();
        assert!(matches!(in_token, OpenError::NoCertificate(_)), "{in_token}");
        let none = named("pkcs11:object=p256", Chain::Given(Vec::new())).unwrap_err();
        assert!(none.to_string().contains("the chain has no certificate"), "{none}");
        let other = named("pkcs11:token=mail;object=p256", world.chain("p256")).unwrap_err();
        assert!(matches!(other, OpenError::OtherToken(_)), "{other}");
        assert_eq!(token.shutdown_blocking(Duration::from_secs(60)), Ended::Finalized);
    });
}

#[test]
fn the_chain_may_be_in_the_token_and_another_owner_finalizes_the_module() {
    in_own_process(
        "handshakes::the_chain_may_be_in_the_token_and_another_owner_finalizes_the_module",
        |world| {
            use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
            use cryptoki::object::{Attribute, CertificateType, ObjectClass};
            use cryptoki::session::UserType;

            // Another part of the process has the module in use, and stores the certificate.
            let other = Pkcs11::new(&world.softhsm).unwrap();
            other.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
            let slot = other.get_slots_with_initialized_token().unwrap()[0];
            let session = other.open_rw_session(slot).unwrap();
            session.login(UserType::User, Some(&"1234".to_owned().into())).unwrap();
            let der = CertificateDer::from_pem_file(world.chain_file("p384")).unwrap();
            session
                .create_object(&[
                    Attribute::Class(ObjectClass::CERTIFICATE),
                    Attribute::CertificateType(CertificateType::X_509),
                    Attribute::Token(true),
                    Attribute::Private(false),
                    Attribute::Id(vec![4]),
                    Attribute::Subject(b"localhost".to_vec()),
                    Attribute::Value(der.to_vec()),
                ])
                .unwrap();

            let token = world.builder(&world.softhsm, "p384").open().unwrap();
            let key = token.key(Chain::InToken).unwrap();
            assert_eq!(key.certified_key().cert[0], der);
            handshake(world.roots("p384"), &key, &TLS13).unwrap();
            assert_eq!(token.shutdown_blocking(Duration::from_secs(60)), Ended::InUse);
            // Its session and its login are as they were.
            assert!(
                session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap().len()
                    == 5
            );
        },
    );
}
