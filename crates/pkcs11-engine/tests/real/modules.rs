//! The same with modules of different makers: a token that is made through the module, keys that it generates, handshakes in
//! each of their schemes, and what an owner beside us does to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use cryptoki::session::{Session, UserType};
use pkcs11_engine::{Chain, Ended, KeyUri, Token};
use ssl_async::rustls::pki_types::CertificateDer;
use ssl_async::rustls::pki_types::pem::PemObject;
use ssl_async::rustls::version::{TLS12, TLS13};
use ssl_async::rustls::{RootCertStore, SignatureScheme};

use crate::crowd::Crowd;
use crate::handshakes::handshake;
use crate::world::{LIMIT, PIN, in_process_of, is_there, run, softhsm, write_conf};

const SO_PIN: &str = "87654321";

#[test]
fn softhsm_serves_with_keys_that_it_has_generated() {
    let Some(module) = softhsm() else { return };
    let test = "modules::softhsm_serves_with_keys_that_it_has_generated";
    let configure = |dir: &Path, command: &mut Command| {
        command.env("SOFTHSM2_CONF", write_conf(dir));
    };
    in_process_of(test, |dir| serves(&module, dir), configure);
}

/// Version 3 of the interface, in Rust: `LAYBY_KRYOPTIC` names the library.
#[test]
fn kryoptic_serves_with_keys_that_it_has_generated() {
    let module = std::env::var_os("LAYBY_KRYOPTIC").map(PathBuf::from);
    if !is_there("kryoptic", module.is_some()) {
        return;
    }
    let test = "modules::kryoptic_serves_with_keys_that_it_has_generated";
    let configure = |dir: &Path, command: &mut Command| {
        let conf = dir.join("kryoptic.conf");
        let database = dir.join("token.sql").display().to_string();
        let text = format!("[[slots]]\nslot = 42\ndbtype = \"sqlite\"\ndbargs = {database:?}\n");
        fs::write(&conf, text).unwrap();
        command.env("KRYOPTIC_CONF", conf);
    };
    in_process_of(test, |dir| serves(&module.unwrap(), dir), configure);
}

fn library(module: &Path) -> Pkcs11 {
    let library = Pkcs11::new(module).unwrap();
    // Where a token is open it is initialized.
    let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    library
}

/// Makes a token with a key of each type, and their certificates in files.
fn make_token(module: &Path, dir: &Path) {
    let library = library(module);
    let slot = library.get_all_slots().unwrap()[0];
    library.init_token(slot, &SO_PIN.to_owned().into(), "web").unwrap();
    let session = library.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&SO_PIN.to_owned().into())).unwrap();
    session.init_pin(&PIN.to_owned().into()).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&PIN.to_owned().into())).unwrap();
    let authority = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let files = [path(dir, "ca.key"), path(dir, "ca.pem")];
    let more = ["-noenc", "-subj", "/CN=authority", "-keyout", &files[0], "-out", &files[1]];
    run("openssl", &[&authority[..], &more].concat(), None);
    fs::write(dir.join("extensions"), "subjectAltName=DNS:localhost\n").unwrap();
    let prime256v1 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let p256 = [Attribute::EcParams(prime256v1)];
    certify(dir, "p256", &generate(&session, &Mechanism::EccKeyPairGen, &p256, "p256", 1));
    let rsa = [Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    let mechanism = Mechanism::RsaPkcsKeyPairGen;
    certify(dir, "rsa2048", &generate(&session, &mechanism, &rsa, "rsa2048", 2));
    drop(session);
    library.finalize().unwrap();
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

/// A pair of keys, and the public one as a configuration for openssl's ASN.1.
fn generate(
    session: &Session,
    mechanism: &Mechanism<'_>,
    parameters: &[Attribute],
    name: &str,
    id: u8,
) -> String {
    let both = [Attribute::Token(true), Attribute::Label(name.into()), Attribute::Id(vec![id])];
    let public = [&both[..], &[Attribute::Verify(true)], parameters].concat();
    let private = [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)];
    let private = [&both[..], &private].concat();
    let (public, _) = session.generate_key_pair(mechanism, &public, &private).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let wanted = [AttributeType::Modulus, AttributeType::EcPoint];
    let spki = "asn1=SEQUENCE:spki\n[spki]\nalgorithm=SEQUENCE:algorithm\n";
    for attribute in session.get_attributes(public, &wanted).unwrap() {
        match attribute {
            Attribute::Modulus(n) => {
                return format!(
                    "{spki}key=BITWRAP,SEQUENCE:key\n[algorithm]\noid=OID:rsaEncryption\nnull=NULL\n\
                     [key]\nn=INTEGER:0x{}\ne=INTEGER:0x010001\n",
                    hex(&n)
                );
            }
            Attribute::EcPoint(point) => {
                // In an octet string, or bare.
                let bare = point.strip_prefix(&[0x04, 0x41]).unwrap_or(&point);
                return format!(
                    "{spki}key=FORMAT:HEX,BITSTRING:{}\n[algorithm]\noid=OID:id-ecPublicKey\n\
                     curve=OID:prime256v1\n",
                    hex(bare)
                );
            }
            _ => {}
        }
    }
    panic!("the module does not tell the public key of {name}");
}

/// A certificate for this public key.
fn certify(dir: &Path, name: &str, spki: &str) {
    let files = ["spki", "spki.der", "spki.pem", "ca.pem", "ca.key", "extensions"];
    let [conf, der, pem, ca, ca_key, extensions] = files.map(|file| path(dir, file));
    fs::write(&conf, spki).unwrap();
    run("openssl", &["asn1parse", "-genconf", &conf, "-noout", "-out", &der], None);
    let convert = ["pkey", "-pubin", "-inform", "DER", "-in", &der, "-pubout", "-out", &pem];
    run("openssl", &convert, None);
    let certificate = path(dir, &format!("{name}.pem"));
    let issue = ["x509", "-new", "-subj", "/CN=localhost", "-days", "30", "-out", &certificate];
    let by = ["-force_pubkey", &pem, "-CA", &ca, "-CAkey", &ca_key, "-extfile", &extensions];
    run("openssl", &[&issue[..], &by].concat(), None);
}

/// Makes a token and serves with it. An owner beside us logs out, and finalizes the module.
pub(crate) fn serves(module: &Path, dir: &Path) {
    make_token(module, dir);
    let uri: KeyUri =
        format!("pkcs11:token=web?pin-source=env:WEB_PIN&module-path={}", module.display())
            .parse()
            .unwrap();
    let token = Token::builder(uri).deadline(LIMIT).open().unwrap();
    let roots = || {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
        roots
    };
    let mut crowds = Vec::new();
    for (name, schemes) in [("p256", 1), ("rsa2048", 6)] {
        let object: KeyUri = format!("pkcs11:object={name}").parse().unwrap();
        let chain = Chain::File(dir.join(format!("{name}.pem")));
        let key = token.key_named(&object, chain).unwrap();
        assert_eq!(key.schemes().len(), schemes, "{name}: {:?}", key.schemes());
        for scheme in key.schemes() {
            let only = key.with_schemes([*scheme]).unwrap();
            let is_pkcs1 = matches!(
                scheme,
                SignatureScheme::RSA_PKCS1_SHA256
                    | SignatureScheme::RSA_PKCS1_SHA384
                    | SignatureScheme::RSA_PKCS1_SHA512
            );
            let version = if is_pkcs1 { &TLS12 } else { &TLS13 };
            handshake(roots(), &only, version).unwrap();
        }
        let crowd = Crowd::new(&key, roots());
        assert_eq!(crowd.run(32), [""; 0], "{:?}", token.stats());
        crowds.push(crowd);
    }
    assert_eq!(token.stats().failures, Default::default());
    let other = library(module);
    let slot = other.get_slots_with_initialized_token().unwrap()[0];
    other.open_ro_session(slot).unwrap().logout().unwrap();
    for crowd in &crowds {
        assert_eq!(crowd.run(16), [""; 0], "{:?}", token.stats());
    }
    assert!(token.stats().logins > 0, "{:?}", token.stats());
    other.finalize().unwrap();
    for crowd in &crowds {
        assert_eq!(crowd.run(16), [""; 0], "{:?}", token.stats());
    }
    assert_eq!(token.stats().restarts, 1, "{:?}", token.stats());
    assert_eq!(token.shutdown_blocking(LIMIT), Ended::Finalized);
}
