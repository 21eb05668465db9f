//! The certificates of a PEM file, and the chain among them that belongs to a key.

use crypto_ops::{DerKind, NotPem, PemBlock, PemFile};
use rustls::pki_types::CertificateDer;

/// The certificates of a file, in its order.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Certificate>);

#[derive(Debug)]
struct Certificate {
    der: CertificateDer<'static>,
    /// `SubjectPublicKeyInfo` in DER.
    public_key: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
}

/// Why a file has no certificates to offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It has none: what was found instead, and what to do.
    None { found: String, remedy: &'static str },
    /// One is damaged, and how.
    Damaged(String),
}

impl Certificates {
    /// Reads the certificates among the blocks of a PEM file.
    pub(super) fn read(file: &PemFile) -> Result<Self, Unfit> {
        let blocks: Vec<&PemBlock> =
            file.blocks().iter().filter(|block| is_certificate(block.label())).collect();
        if blocks.is_empty() {
            return Err(Unfit::None { found: file.found(), remedy: remedy(file) });
        }
        let count = blocks.len();
        let read = |(at, block): (usize, &PemBlock)| {
            let damaged = |how: &dyn std::fmt::Display| {
                Unfit::Damaged(format!("certificate {} of {count} is damaged: {how}", at + 1))
            };
            let der = block.der().map_err(|flaw| damaged(&flaw))?;
            Certificate::read(&der).ok_or_else(|| damaged(&"it is not an X.509 certificate"))
        };
        let mut all: Vec<Certificate> = Vec::with_capacity(count);
        for certificate in blocks.into_iter().enumerate().map(read) {
            let certificate = certificate?;
            // The same one twice is one.
            if all.iter().all(|other| other.der != certificate.der) {
                all.push(certificate);
            }
        }
        Ok(Self(all))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them is for this public key (`SubjectPublicKeyInfo` in DER).
    pub(super) fn has(&self, public_key: &[u8]) -> bool {
        self.0.iter().any(|certificate| certificate.public_key == public_key)
    }

    /// The chain that belongs to a public key: its certificate first, then those of the issuers that the file has, nearest
    /// first. Its certificate's place in the file comes with it. `None` if no certificate is for the key.
    ///
    /// TLS 1.2 wants this order (RFC 5246, 7.4.2), and certificates that issued nothing in the chain are left out.
    pub(super) fn chain(&self, public_key: &[u8]) -> Option<(usize, Vec<CertificateDer<'static>>)> {
        let first = self.0.iter().position(|certificate| certificate.public_key == public_key)?;
        let mut order = vec![first];
        let mut at = 0;
        while let Some(&child) = order.get(at) {
            for (other, certificate) in self.0.iter().enumerate() {
                if certificate.subject == self.0[child].issuer && !order.contains(&other) {
                    order.push(other);
                }
            }
            at += 1;
        }
        Some((first, order.into_iter().map(|at| self.0[at].der.clone()).collect()))
    }
}

fn is_certificate(label: &str) -> bool {
    // The second is an old name of the first.
    ["CERTIFICATE", "X509 CERTIFICATE"].contains(&label)
}

/// What to do about a file without a certificate; `CERT` stands for its name.
fn remedy(file: &PemFile) -> &'static str {
    const GIVE: &str = "give a file with -----BEGIN CERTIFICATE-----";
    const REQUEST: &str =
        "this only asks for one: give the certificate that the authority made of it";
    match file.not_pem() {
        Some(NotPem::Der(DerKind::Certificate)) => {
            "convert it with `openssl x509 -inform DER -in CERT -out CERT.pem`"
        }
        Some(NotPem::Der(DerKind::Pkcs7)) => {
            "convert it with `openssl pkcs7 -inform DER -in CERT -print_certs -out CERT.pem`"
        }
        Some(NotPem::Der(DerKind::Pkcs12)) => {
            "take the certificates out of it with `openssl pkcs12 -in CERT -nokeys -out CERT.pem`"
        }
        Some(NotPem::Der(DerKind::Request)) => REQUEST,
        Some(_) => GIVE,
        None => {
            let labels = file.blocks().iter().map(PemBlock::label);
            let remedies = labels.map(|label| match label {
                "TRUSTED CERTIFICATE" => "convert it with `openssl x509 -in CERT -out CERT.pem`",
                "PKCS7" | "CMS" => {
                    "convert it with `openssl pkcs7 -in CERT -print_certs -out CERT.pem`"
                }
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => REQUEST,
                _ => GIVE,
            });
            remedies.min_by_key(|&remedy| remedy == GIVE).unwrap_or(GIVE)
        }
    }
}

impl Certificate {
    /// Reads what matters here of a certificate (RFC 5280, 4.1), of whatever version.
    fn read(der: &[u8]) -> Option<Self> {
        const VERSION: u8 = 0xa0;
        let (_, certificate, rest) = element(der)?;
        let (_, mut fields, _) = element(certificate)?;
        if !rest.is_empty() {
            return None;
        }
        if fields.first() == Some(&VERSION) {
            (_, _, fields) = element(fields)?;
        }
        let mut next = || {
            let (whole, _, rest) = element(fields)?;
            fields = rest;
            Some(whole.to_vec())
        };
        let (_serial, _signature) = (next()?, next()?);
        let issuer = next()?;
        let _validity = next()?;
        let (subject, public_key) = (next()?, next()?);
        Some(Self { der: CertificateDer::from(der.to_vec()), public_key, issuer, subject })
    }
}

/// The first DER element of `input`, whole; its content; and what follows it.
fn element(input: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, length) = match *input.get(1)? {
        short @ 0..=0x7f => (2, usize::from(short)),
        long @ 0x81..=0x83 => {
            let head = 2 + usize::from(long & 0x7f);
            let digits = input.get(2..head)?;
            (head, digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)))
        }
        _ => return None,
    };
    let (whole, rest) = input.split_at_checked(head + length)?;
    Some((whole, whole.get(head..)?, rest))
}
