//! Certificates and keys as other programs write them: they load, or the refusal names what was found and the command that
//! mends it.
//!
//! OpenSSL makes the files. Without it the test is skipped, unless `LAYBY_REQUIRE` names `openssl`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use handshake_lab::serve::Identity;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// A directory of files made with OpenSSL.
struct Desk(TempDir);

impl Desk {
    /// Runs `openssl ARGS` in the directory.
    fn openssl(&self, args: &str) {
        let output = Command::new("openssl")
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        assert!(
            output.status.success(),
            "openssl {args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file")
    }

    fn write(&self, name: &str, parts: &[&[u8]]) {
        fs::write(self.path(name), parts.concat()).expect("a file");
    }

    /// Makes a key by the `genpkey` arguments, and a certificate for it by the authority.
    fn pair(&self, name: &str, key: &str) {
        self.openssl(&format!("genpkey {key} -out {name}.key"));
        self.openssl(&format!("req -new -key {name}.key -subj /CN=localhost -out {name}.csr"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem"
        ));
    }

    fn load(&self, cert: &str, key: &str) -> Result<Identity, String> {
        Identity::from_files(&self.path(cert), &self.path(key)).map_err(|error| {
            error.to_string().replace(&format!("{}/", self.0.path().display()), "")
        })
    }
}

const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

fn desk() -> Option<Desk> {
    let there = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    assert!(
        there || !required.split(',').any(|name| name == "openssl"),
        "openssl is not installed"
    );
    if !there {
        eprintln!("skipped: openssl is not installed");
        return None;
    }
    let desk = Desk(TempDir::new().expect("a directory"));
    desk.openssl(&format!("genpkey {P256} -out ca.key"));
    desk.openssl("req -x509 -new -key ca.key -subj /CN=Authority -days 2 -out ca.pem");
    desk.pair("p256", P256);
    Some(desk)
}

fn der(path: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(path).expect("a certificate")
}

fn utf16(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).expect("ASCII");
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn files_of_every_make_load_or_are_refused_with_the_command_that_mends_them() {
    let Some(desk) = desk() else { return };
    let (cert, key, ca) = (desk.read("p256.pem"), desk.read("p256.key"), desk.read("ca.pem"));

    for (name, algorithm) in [
        ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
        ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
        (
            "explicit",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
        ),
        ("ed25519", "-algorithm ED25519"),
        ("ed448", "-algorithm ED448"),
        ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        ("small", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
        ("pss", "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048"),
    ] {
        desk.pair(name, algorithm);
    }
    let bag = b"Bag Attributes\n    friendlyName: B\xfcro\nsubject=CN = localhost\n";
    let crlf = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\n', "\r\n").into_bytes();
    for (name, of) in [("pem", &cert), ("key", &key)] {
        desk.write(&format!("latin1.{name}"), &[bag, of]);
        desk.write(&format!("bom.{name}"), &[b"\xef\xbb\xbf", of]);
        desk.write(&format!("utf16.{name}"), &[&utf16(of)]);
        desk.write(&format!("crlf.{name}"), &[&crlf(of)]);
        desk.write(&format!("cut.{name}"), &[&of[..of.len() / 2]]);
        let mut bad = of.clone();
        bad[40] = b'!';
        desk.write(&format!("bad64.{name}"), &[&bad]);
        // Whole lines are missing: good base64, bad DER.
        let lines: Vec<&[u8]> = of.split_inclusive(|&byte| byte == b'\n').collect();
        desk.write(&format!("short.{name}"), &[lines[0], lines[1], lines[lines.len() - 1]]);
        desk.write(&format!("empty.{name}"), &[]);
        desk.write(&format!("text.{name}"), &[b"see the other file\n"]);
    }
    desk.openssl("x509 -in p256.pem -outform DER -out der.pem");
    desk.openssl("x509 -in p256.pem -trustout -addtrust serverAuth -out trusted.pem");
    desk.openssl("crl2pkcs7 -nocrl -certfile p256.pem -out p7.pem");
    desk.openssl("crl2pkcs7 -nocrl -certfile p256.pem -outform DER -out p7der.pem");
    desk.openssl("pkcs12 -export -in p256.pem -inkey p256.key -passout pass:x -out p12.pem");
    desk.openssl("pkey -in p256.key -outform DER -out der.key");
    desk.openssl("pkey -in p256.key -pubout -out public.key");
    desk.openssl("ec -in p256.key -out sec1.key");
    desk.openssl("ecparam -name prime256v1 -out params.key");
    desk.openssl("pkcs8 -topk8 -in p256.key -passout pass:x -out encrypted.key");
    desk.openssl("pkcs8 -topk8 -in p256.key -passout pass:x -outform DER -out encryptedder.key");
    desk.openssl("ec -in p256.key -aes256 -passout pass:x -out traditional.key");
    desk.openssl("rsa -in rsa.key -traditional -out pkcs1.key");
    desk.write("withparams.key", &[&desk.read("params.key"), &desk.read("sec1.key")]);
    desk.write("two.key", &[&desk.read("rsa.key"), &key]);
    desk.write(
        "encryptedfirst.key",
        &[&desk.read("encrypted.key"), &desk.read("traditional.key"), &key],
    );
    desk.write("strangers.key", &[&desk.read("rsa.key"), &desk.read("ed25519.key")]);
    desk.write("rootfirst.pem", &[&ca, &cert]);
    desk.write("leaffirst.pem", &[&cert, &ca]);
    desk.write("twoleaves.pem", &[&desk.read("rsa.pem"), &cert]);
    desk.write("onefile.pem", &[&key, &cert, &ca]);
    desk.write("joined.pem", &[cert.trim_ascii_end(), &ca]);

    const LOADS: &str = "";
    const ACCEPTED: &str = "accepted are ECDSA P-256, ECDSA P-384, Ed25519, and RSA of 2048 to 8192 bits; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW.key` and have a certificate issued for it";
    const NO_KEY: &str =
        "accepted are PRIVATE KEY (PKCS #8), RSA PRIVATE KEY (PKCS #1) and EC PRIVATE KEY (SEC 1)";
    #[rustfmt::skip]
    let table = [
        ("p256.pem", "p256.key", LOADS.to_owned()),
        ("p384.pem", "p384.key", LOADS.to_owned()),
        ("ed25519.pem", "ed25519.key", LOADS.to_owned()),
        ("rsa.pem", "rsa.key", LOADS.to_owned()),
        ("rsa.pem", "pkcs1.key", LOADS.to_owned()),
        ("latin1.pem", "latin1.key", LOADS.to_owned()),
        ("bom.pem", "bom.key", LOADS.to_owned()),
        ("utf16.pem", "utf16.key", LOADS.to_owned()),
        ("crlf.pem", "crlf.key", LOADS.to_owned()),
        ("p256.pem", "sec1.key", LOADS.to_owned()),
        ("p256.pem", "withparams.key", LOADS.to_owned()),
        ("p256.pem", "two.key", LOADS.to_owned()),
        ("rsa.pem", "two.key", LOADS.to_owned()),
        ("p256.pem", "encryptedfirst.key", LOADS.to_owned()),
        ("rootfirst.pem", "p256.key", LOADS.to_owned()),
        ("leaffirst.pem", "p256.key", LOADS.to_owned()),
        ("twoleaves.pem", "p256.key", LOADS.to_owned()),
        ("twoleaves.pem", "rsa.key", LOADS.to_owned()),
        ("onefile.pem", "onefile.pem", LOADS.to_owned()),
        ("joined.pem", "p256.key", LOADS.to_owned()),
        ("p521.pem", "p521.key", format!("--key p521.key: found an EC key on curve P-521; {ACCEPTED}")),
        ("explicit.pem", "explicit.key", format!("--key explicit.key: found an EC key with explicit curve parameters; {ACCEPTED}")),
        ("ed448.pem", "ed448.key", format!("--key ed448.key: found an Ed448 key; {ACCEPTED}")),
        ("small.pem", "small.key", "--key small.key: found an RSA key of 1024 bits; accepted are 2048 to 8192 bits; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW.key` and have a certificate issued for it".to_owned()),
        ("pss.pem", "pss.key", format!("--key pss.key: found an RSA key bound to PSS (id-RSASSA-PSS); {ACCEPTED}")),
        ("p256.pem", "rsa.key", "--key rsa.key: not the key of the certificate in p256.pem; give the key that the certificate was made for".to_owned()),
        ("twoleaves.pem", "ed25519.key", "--key ed25519.key: not the key of any of the 2 certificates in twoleaves.pem; give the key that the certificate was made for".to_owned()),
        ("p256.pem", "strangers.key", "--key strangers.key: 2 private keys in the PEM text: keep the one that belongs to the certificate".to_owned()),
        ("p256.pem", "public.key", format!("--key public.key: no private key in the PEM text: found PUBLIC KEY; {NO_KEY}; this is the public half: give the private key")),
        ("p256.pem", "p256.pem", format!("--key p256.pem: no private key in the PEM text: found CERTIFICATE; {NO_KEY}; give the private key that the certificate was made for")),
        ("p256.pem", "params.key", format!("--key params.key: no private key in the PEM text: found EC PARAMETERS; {NO_KEY}; this is only the curve: give the private key on it")),
        ("p256.pem", "der.key", format!("--key der.key: no private key in the PEM text: found a private key in DER; {NO_KEY}; convert it with `openssl pkey -inform DER -in der.key -out KEY.pem`")),
        ("p256.pem", "p12.pem", format!("--key p12.pem: no private key in the PEM text: found a PKCS #12 file; {NO_KEY}; take the key out of it with `openssl pkcs12 -in p12.pem -nocerts -nodes -out KEY.pem`")),
        ("p256.pem", "empty.key", format!("--key empty.key: no private key in the PEM text: found an empty file; {NO_KEY}; give the file with the private key")),
        ("p256.pem", "text.key", format!("--key text.key: no private key in the PEM text: found no -----BEGIN line at all; {NO_KEY}; give the file with the private key")),
        ("p256.pem", "encrypted.key", "--key encrypted.key: the private key is encrypted (ENCRYPTED PRIVATE KEY): decrypt it first, for instance with `openssl pkey -in encrypted.key -out PLAIN`".to_owned()),
        ("p256.pem", "encryptedder.key", format!("--key encryptedder.key: no private key in the PEM text: found an encrypted private key in DER; {NO_KEY}; decrypt it with `openssl pkcs8 -inform DER -in encryptedder.key -out KEY.pem`")),
        ("p256.pem", "traditional.key", "--key traditional.key: the private key is encrypted (Proc-Type: 4,ENCRYPTED): decrypt it first, for instance with `openssl pkey -in traditional.key -out PLAIN`".to_owned()),
        ("p256.pem", "cut.key", "--key cut.key: the block PRIVATE KEY is damaged: it has no -----END line; copy the file again from where it was made".to_owned()),
        ("p256.pem", "bad64.key", "--key bad64.key: the block PRIVATE KEY is damaged: it is not base64; copy the file again from where it was made".to_owned()),
        ("p256.pem", "short.key", "--key short.key: the PKCS #8 structure is damaged, or its numbers do not make a key".to_owned()),
        ("p256.key", "p256.key", "--cert p256.key: no certificate in it: found PRIVATE KEY; give a file with -----BEGIN CERTIFICATE-----".to_owned()),
        ("p256.csr", "p256.key", "--cert p256.csr: no certificate in it: found CERTIFICATE REQUEST; this only asks for one: give the certificate that the authority made of it".to_owned()),
        ("der.pem", "p256.key", "--cert der.pem: no certificate in it: found a certificate in DER; convert it with `openssl x509 -inform DER -in der.pem -out CERT.pem`".to_owned()),
        ("p7der.pem", "p256.key", "--cert p7der.pem: no certificate in it: found a PKCS #7 bundle in DER; convert it with `openssl pkcs7 -inform DER -in p7der.pem -print_certs -out CERT.pem`".to_owned()),
        ("p12.pem", "p256.key", "--cert p12.pem: no certificate in it: found a PKCS #12 file; take the certificates out of it with `openssl pkcs12 -in p12.pem -nokeys -out CERT.pem`".to_owned()),
        ("trusted.pem", "p256.key", "--cert trusted.pem: no certificate in it: found TRUSTED CERTIFICATE; convert it with `openssl x509 -in trusted.pem -out CERT.pem`".to_owned()),
        ("p7.pem", "p256.key", "--cert p7.pem: no certificate in it: found PKCS7; convert it with `openssl pkcs7 -in p7.pem -print_certs -out CERT.pem`".to_owned()),
        ("empty.pem", "p256.key", "--cert empty.pem: no certificate in it: found an empty file; give a file with -----BEGIN CERTIFICATE-----".to_owned()),
        ("text.pem", "p256.key", "--cert text.pem: no certificate in it: found no -----BEGIN line at all; give a file with -----BEGIN CERTIFICATE-----".to_owned()),
        ("cut.pem", "p256.key", "--cert cut.pem: certificate 1 of 1 is damaged: it has no -----END line; copy the file again from where it was made".to_owned()),
        ("bad64.pem", "p256.key", "--cert bad64.pem: certificate 1 of 1 is damaged: it is not base64; copy the file again from where it was made".to_owned()),
        ("short.pem", "p256.key", "--cert short.pem: certificate 1 of 1 is damaged: it is not an X.509 certificate; copy the file again from where it was made".to_owned()),
    ];
    let found = |cert: &str, key: &str| desk.load(cert, key).err().unwrap_or_default();
    let complaints: Vec<String> = table
        .iter()
        .map(|(cert, key, expected)| (found(cert, key), expected))
        .filter(|(found, expected)| found != *expected)
        .map(|(found, expected)| format!("expected  {expected}\nfound     {found}"))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_certificate_that_fits_the_key_is_sent_first_and_its_issuers_behind_it() {
    let Some(desk) = desk() else { return };
    desk.pair("other", P256);
    let [cert, ca, other] = ["p256.pem", "ca.pem", "other.pem"].map(|name| desk.read(name));
    let [leaf, root] = ["p256.pem", "ca.pem"].map(|name| der(&desk.path(name)));
    for (name, parts, expected) in [
        ("root first", vec![&ca, &cert], vec![leaf.clone(), root.clone()]),
        ("in order", vec![&cert, &ca], vec![leaf.clone(), root.clone()]),
        ("twice", vec![&cert, &cert, &ca, &ca], vec![leaf.clone(), root.clone()]),
        ("two leaves", vec![&other, &cert], vec![leaf.clone()]),
        ("all of it", vec![&other, &ca, &cert], vec![leaf.clone(), root.clone()]),
    ] {
        let parts: Vec<&[u8]> = parts.into_iter().map(Vec::as_slice).collect();
        desk.write("chain.pem", &parts);
        let identity = desk.load("chain.pem", "p256.key").expect("it loads");
        assert_eq!(identity.chain, expected, "{name}");
    }
}
