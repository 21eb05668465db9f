//! Keys in two kinds of key service that sign digests: one in the manner of a Vault's transit engine (base64, DER), one in the
//! manner of a cloud vault (base64url, r and s side by side). The services are small servers in this program; the two
//! functions `sign_by_...` are what one copies.
//!
//! Each key tests itself, then serves a handshake. A throttled service is called again when it says, a denied one is not.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use ssl_async::crypto_ops::encoding::der_from_raw;
use ssl_async::offload::SigningWork;
use ssl_async::task::{TlsAcceptor, TlsConnector};
use ssl_async::{KeyPool, SignError, SlowKey};

/// The answer of a service to a request, sorted by what helps.
fn post(service: SocketAddr, path: &str, body: &str) -> Result<String, SignError> {
    let mut stream = TcpStream::connect(service).map_err(SignError::transient)?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .map_err(SignError::transient)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(SignError::transient)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0_u16);
    let after = head.lines().find_map(|line| line.strip_prefix("Retry-After: "));
    let after = after.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(1);
    match status {
        200 => Ok(body.to_owned()),
        429 | 503 => Err(SignError::retry_after(Duration::from_secs(after), body)),
        400..500 => Err(SignError::permanent(format_args!("{status} {body}"))),
        _ => Err(SignError::transient(format_args!("{status} {body}"))),
    }
}

/// The text value of a field of a flat JSON object.
fn field<'a>(json: &'a str, name: &str) -> Result<&'a str, SignError> {
    let value =
        json.split_once(&format!("\"{name}\":\"")).and_then(|(_, rest)| rest.split_once('"'));
    Ok(value.ok_or_else(|| SignError::permanent(format_args!("no field {name} in {json}")))?.0)
}

/// The digest of a request. Neither service signs messages.
fn digest_of(work: &SigningWork) -> Result<Vec<u8>, SignError> {
    work.digest().ok_or_else(|| SignError::permanent("the service signs digests only"))
}

/// `POST /v1/transit/sign/KEY`, with a digest in base64; the signature is DER in base64 after `vault:v1:`.
fn sign_by_transit(service: SocketAddr, work: &SigningWork) -> Result<Vec<u8>, SignError> {
    let input = BASE64_STANDARD.encode(digest_of(work)?);
    let body = format!(r#"{{"input":"{input}","prehashed":true,"marshaling_algorithm":"asn1"}}"#);
    let answer = post(service, &format!("/v1/transit/sign/{}", work.key_id()), &body)?;
    let signature = field(&answer, "signature")?.rsplit(':').next().unwrap_or_default();
    BASE64_STANDARD.decode(signature).map_err(SignError::permanent)
}

/// `POST /keys/KEY/sign`, with a digest in base64url; the signature is r and s side by side in base64url.
fn sign_by_cloud_vault(service: SocketAddr, work: &SigningWork) -> Result<Vec<u8>, SignError> {
    let value = BASE64_URL_SAFE_NO_PAD.encode(digest_of(work)?);
    let body = format!(r#"{{"alg":"ES256","value":"{value}"}}"#);
    let answer = post(service, &format!("/keys/{}/sign", work.key_id()), &body)?;
    let raw = BASE64_URL_SAFE_NO_PAD.decode(field(&answer, "value")?);
    der_from_raw(&raw.map_err(SignError::permanent)?)
        .ok_or_else(|| SignError::permanent("the signature is not r and s side by side"))
}

/// A service with one key, of either manner. It throttles every third request.
fn service(key: EcdsaKeyPair, is_transit: bool) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let served = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that is cut off is no concern of the next.
            let _ = serve(stream, &key, is_transit, served.fetch_add(1, Ordering::Relaxed));
        }
    });
    Ok(address)
}

fn serve(
    stream: TcpStream,
    key: &EcdsaKeyPair,
    is_transit: bool,
    number: usize,
) -> Result<(), Box<dyn Error>> {
    let mut reader = BufReader::new(&stream);
    let (mut path, mut length) = (String::new(), 0);
    for line in reader.by_ref().lines() {
        let line = line?;
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse()?;
        } else if let Some(rest) = line.strip_prefix("POST ") {
            rest.split(' ').next().unwrap_or_default().clone_into(&mut path);
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body)?;
    let (status, text) = if !path.contains("shop") {
        ("403 Forbidden", "permission denied".to_owned())
    } else if number % 3 == 1 {
        ("429 Too Many Requests\r\nRetry-After: 0", "slow down".to_owned())
    } else {
        let input = field(&body, if is_transit { "input" } else { "value" })?;
        let decoded = if is_transit {
            BASE64_STANDARD.decode(input)?
        } else {
            BASE64_URL_SAFE_NO_PAD.decode(input)?
        };
        let digest = Digest::import_less_safe(&decoded, &digest::SHA256)?;
        let signature = key.sign_digest(&digest)?;
        (
            "200 OK",
            if is_transit {
                format!(r#"{{"signature":"vault:v1:{}"}}"#, BASE64_STANDARD.encode(signature))
            } else {
                format!(r#"{{"value":"{}"}}"#, BASE64_URL_SAFE_NO_PAD.encode(signature))
            },
        )
    };
    write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
    Ok(())
}

/// Tests the key and serves a handshake with it.
async fn try_out(key: Arc<SlowKey>) -> Result<(), Box<dyn Error>> {
    let test = key.self_test().await;
    println!("{test}");
    if !test.is_ok() {
        return Err("the key does not sign".into());
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.certified_key().cert[0].clone())?;
    let client =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
    let connector = TlsConnector::from(Arc::new(client));
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (server, client) =
        tokio::join!(acceptor.accept(ours), connector.connect("localhost".try_into()?, theirs));
    let (_server, _client) = (server?, client?);
    println!("  and serves {:?}", key.id());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("no other provider");
    let manners = [
        (true, &ECDSA_P256_SHA256_ASN1_SIGNING, sign_by_transit as fn(_, &_) -> _),
        (false, &ECDSA_P256_SHA256_FIXED_SIGNING, sign_by_cloud_vault),
    ];
    for (is_transit, algorithm, sign) in manners {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let chain = vec![identity.cert.der().clone()];
        let private = EcdsaKeyPair::from_pkcs8(algorithm, &identity.signing_key.serialize_der())?;
        let service = service(private, is_transit)?;

        let pool = KeyPool::builder()
            .threads(8)
            .deadline(Duration::from_secs(5))
            .attempts(3)
            .blocking(move |work| sign(service, work))?;
        for _ in 0..4 {
            try_out(pool.key(chain.clone(), "shop")?).await?;
        }
        // The service denies every other key, and is asked once.
        let denied = try_out(pool.key(chain, "other")?).await;
        assert!(denied.is_err());
        assert!(pool.stats().attempts_again > 0, "it was throttled at times");
    }
    Ok(())
}
