//! A keyless server: the private key is in a second process, which signs over HTTP. Here the second process is this program
//! with the argument `signer`; it makes the key, and hands out only the certificate.
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, service::service_fn};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::{self, sign::any_ecdsa_type};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use ssl_async::SlowKey;
use ssl_async::task::{TaskDevice, TlsAcceptor, TlsConnector};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The second process: `POST /SCHEME` signs the body, any other request gets the certificate.
async fn signer() -> Result<(), Failure> {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = any_ecdsa_type(&identity.signing_key.serialize_der().try_into()?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    loop {
        let (key, certificate) = (key.clone(), identity.cert.der().to_vec());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (key, certificate) = (key.clone(), certificate.clone());
            async move {
                let scheme = request.uri().path()[1..].parse::<u16>().map(SignatureScheme::from);
                let message = request.into_body().collect().await?.to_bytes();
                let signer = scheme.ok().and_then(|scheme| key.choose_scheme(&[scheme]));
                let body = signer.map_or(Ok(certificate), |signer| signer.sign(&message))?;
                Ok::<_, Failure>(Response::new(Full::new(Bytes::from(body))))
            }
        });
        let io = TokioIo::new(listener.accept().await?.0);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    if std::env::args().nth(1).as_deref() == Some("signer") {
        return signer().await;
    }
    aws_lc_rs::default_provider().install_default().expect("it is the first");
    let program = std::env::current_exe()?;
    let mut second = Command::new(program).arg("signer").stdout(Stdio::piped()).spawn()?;
    let mut url = String::new();
    BufReader::new(second.stdout.take().expect("piped")).read_line(&mut url)?;
    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = http.get(url.trim().parse()?).await?.into_body().collect().await?;
    let certificate = CertificateDer::from(answer.to_bytes().to_vec());
    let sign = move |scheme: SignatureScheme, message: Vec<u8>| {
        let (http, url) = (http.clone(), format!("{}{}", url.trim(), u16::from(scheme)));
        async move {
            let request = Request::post(url).body(Full::from(message))?;
            let answer = http.request(request).await?.into_body().collect().await?;
            Ok::<_, Failure>(answer.to_bytes().to_vec())
        }
    };
    let device = Arc::new(TaskDevice::signing(sign));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let key = SlowKey::builder(vec![certificate])?.attempts(3).accelerator(device)?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();

    let (ours, theirs) = tokio::io::duplex(16384);
    let accept = TlsAcceptor::from(Arc::new(key.server_config())).accept(ours);
    let connect = TlsConnector::from(Arc::new(client)).connect("localhost".try_into()?, theirs);
    let done = tokio::try_join!(accept, connect);
    second.kill().and_then(|()| second.wait())?;
    done?;
    println!("a verified handshake whose signature came over HTTP");
    Ok(())
}
