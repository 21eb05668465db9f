//! A connector for hyper-util's client, and for tonic's `Endpoint::connect_with_connector`.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use layby::rustls::pki_types::ServerName;
use layby::tls::TlsConnector;
use tonic::codegen::http::Uri;
use tower_service::Service;

use crate::stream::Tls;

#[derive(Clone)]
pub struct HttpsConnector {
    http: HttpConnector,
    tls: TlsConnector,
    /// Instead of the host of the address.
    name: Option<ServerName<'static>>,
}

impl HttpsConnector {
    pub fn new(tls: TlsConnector) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        Self { http, tls, name: None }
    }

    pub fn server_name(mut self, name: ServerName<'static>) -> Self {
        self.name = Some(name);
        self
    }
}

impl Service<Uri> for HttpsConnector {
    type Response = TokioIo<Tls>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tcp, tls, name) = (self.http.call(uri.clone()), self.tls.clone(), self.name.clone());
        Box::pin(async move {
            let scheme = uri.scheme_str().unwrap_or_default();
            if scheme != "https" {
                return Err(format!("unsupported scheme {scheme}").into());
            }
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let name = name.map_or_else(|| ServerName::try_from(host.to_owned()), Ok)?;
            let tls = tls.connect(name, tcp.await?.into_inner()).await;
            // As with hyper-rustls: rustls's error, or the transport's, in an `io::Error`.
            Ok(TokioIo::new(Tls(tls.map_err(io::Error::from)?)))
        })
    }
}
