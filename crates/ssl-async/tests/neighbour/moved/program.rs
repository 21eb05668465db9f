// A program of tokio-rustls, with all its names. `tls` is the library; everything else is the same text.

use std::io::{self, Read as _};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;

use tls::rustls::{self, ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tls::{client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::libraries::{Configs, TokioRustls, configs, localhost};

type Pair = (server::TlsStream<DuplexStream>, client::TlsStream<DuplexStream>);

fn made() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let Configs { mut server, mut client } = configs::<TokioRustls>();
    server.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    server.max_early_data_size = 1024;
    client.enable_early_data = true;
    (Arc::new(server), Arc::new(client))
}

pub(crate) async fn run() -> Vec<(&'static str, String)> {
    vec![
        ("accept and connect", accepted().await),
        ("closures see the connections", closures().await),
        ("a connector with its own protocols", alpn().await),
        ("early data by writing", early().await),
        ("early data to a server that leaves", early_alone().await),
        ("a hello before its configuration", lazy().await),
        ("a hello that the program has read", parts().await),
        ("no hello, and the transport back", refused().await),
        ("futures that give the transport back", fallible().await),
        ("the enum of both sides", either().await),
        ("a stream taken apart", apart().await),
        ("the transport's descriptor", descriptor().await),
    ]
}

async fn pair(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Pair {
    let acceptor: tls::TlsAcceptor = tls::TlsAcceptor::from(Arc::clone(server));
    let connector: tls::TlsConnector = tls::TlsConnector::from(Arc::clone(client));
    let (ours, theirs) = duplex(1 << 16);
    let accept: tls::Accept<DuplexStream> = acceptor.clone().accept(ours);
    let connect: tls::Connect<DuplexStream> = connector.clone().connect(localhost(), theirs);
    assert!(accept.get_ref().is_some() && connect.get_ref().is_some());
    let (server, client): (io::Result<_>, io::Result<_>) = tokio::join!(accept, connect);
    (server.unwrap(), client.unwrap())
}

/// The client says `text`, and what the server hears.
async fn says((server, client): &mut Pair, text: &[u8]) -> String {
    client.write_all(text).await.unwrap();
    client.flush().await.unwrap();
    let mut heard = vec![0; text.len()];
    server.read_exact(&mut heard).await.unwrap();
    heard.escape_ascii().to_string()
}

async fn accepted() -> String {
    let (server, client) = made();
    let mut pair = pair(&server, &client).await;
    let heard = says(&mut pair, b"hello").await;
    let of_server: &ServerConnection = pair.0.get_ref().1;
    let of_client: &ClientConnection = pair.1.get_ref().1;
    format!(
        "{heard} {:?} {:?} {:?}",
        of_server.server_name(),
        of_server.protocol_version(),
        of_client.negotiated_cipher_suite()
    )
}

async fn closures() -> String {
    let (server, client) = made();
    let acceptor = tls::TlsAcceptor::from(server);
    let connector = tls::TlsConnector::from(client);
    let (ours, theirs) = duplex(1 << 16);
    // Not `Send`, and borrowed.
    let mut seen = std::cell::Cell::new(0);
    let count = &seen;
    let (server, client) = tokio::join!(
        acceptor.accept_with(ours, |connection: &mut ServerConnection| {
            connection.set_buffer_limit(Some(1000));
            count.set(count.get() + 1);
        }),
        connector.connect_with(localhost(), theirs, |connection: &mut ClientConnection| {
            connection.set_buffer_limit(Some(1000));
            count.set(count.get() + 1);
        }),
    );
    let mut pair = (server.unwrap(), client.unwrap());
    let heard = says(&mut pair, &[b'a'; 5000]).await;
    format!("{} {}", seen.get_mut(), heard.len())
}

async fn alpn() -> String {
    let (server, client) = made();
    let acceptor = tls::TlsAcceptor::from(server);
    let connector = tls::TlsConnector::from(client);
    let mut chosen = Vec::new();
    for protocol in ["h2", "http/1.1"] {
        let (ours, theirs) = duplex(1 << 16);
        let offers: tls::TlsConnectorWithAlpn<'_> = connector.with_alpn(vec![protocol.into()]);
        let connect = offers.connect(localhost(), theirs);
        let (server, client) = tokio::join!(acceptor.accept(ours), connect);
        let (server, _client) = (server.unwrap(), client.unwrap());
        let protocol = server.get_ref().1.alpn_protocol().unwrap();
        chosen.push(String::from_utf8_lossy(protocol).into_owned());
    }
    let (ours, theirs) = duplex(1 << 16);
    let connect = connector.with_alpn(vec![b"h3".into()]).connect_with(localhost(), theirs, |_| ());
    let (server, client) = tokio::join!(acceptor.accept(ours), connect);
    let said = |error: io::Error| format!("{:?} {error}", error.kind());
    format!("{chosen:?}; {}; {}", said(server.unwrap_err()), said(client.unwrap_err()))
}

/// Early data to a server that takes up to `max` bytes, written before the handshake, with a reader that waits meanwhile.
async fn early_to(max: u32) -> String {
    let (mut server, client) = made();
    let mut first = pair(&server, &client).await;
    first.0.write_all(b"a ticket comes with it").await.unwrap();
    first.0.flush().await.unwrap();
    first.1.read_exact(&mut [0; 22]).await.unwrap();

    Arc::make_mut(&mut server).max_early_data_size = max;
    let (ours, theirs) = duplex(1 << 16);
    let connector = tls::TlsConnector::from(client).early_data(true);
    let serves = async {
        let mut stream = tls::TlsAcceptor::from(server).accept(ours).await.unwrap();
        let mut early = String::new();
        if let Some(mut data) = stream.get_mut().1.early_data() {
            data.read_to_string(&mut early).unwrap();
        }
        let mut later = vec![0; 10 - early.len()];
        stream.read_exact(&mut later).await.unwrap();
        stream.write_all(b"heard").await.unwrap();
        stream.shutdown().await.unwrap();
        format!("early {early:?}, later {:?}", String::from_utf8(later).unwrap())
    };
    let asks = async {
        let stream = connector.connect(localhost(), theirs).await.unwrap();
        let handshakes = stream.get_ref().1.is_handshaking();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writes = async {
            // The reader is polled first, and finds that there is no connection yet.
            tokio::task::yield_now().await;
            writer.write_all(b"early").await.unwrap();
            writer.flush().await.unwrap();
            writer.write_all(b"later").await.unwrap();
            writer.flush().await.unwrap();
        };
        let mut heard = String::new();
        let (read, ()) = tokio::join!(reader.read_to_string(&mut heard), writes);
        read.unwrap();
        format!("handshaking {handshakes}, {heard}")
    };
    let (served, asked) = tokio::join!(serves, asks);
    format!("{served}; {asked}")
}

async fn early() -> String {
    let (taken, refused) = (early_to(1024).await, early_to(0).await);
    // Without a ticket, or without the configuration's leave, the handshake comes first.
    let (server, client) = made();
    let mut no_leave = Arc::clone(&client);
    Arc::make_mut(&mut no_leave).enable_early_data = false;
    let mut handshaking = Vec::new();
    for client in [client, no_leave] {
        let (ours, theirs) = duplex(1 << 16);
        let connector = tls::TlsConnector::from(client).early_data(true);
        let acceptor = tls::TlsAcceptor::from(Arc::clone(&server));
        let connect = connector.connect(localhost(), theirs);
        let (_server, client) = tokio::join!(acceptor.accept(ours), connect);
        handshaking.push(client.unwrap().get_ref().1.is_handshaking());
    }
    format!("{taken}; {refused}; {handshaking:?}")
}

async fn early_alone() -> String {
    let (server, client) = made();
    let mut first = pair(&server, &client).await;
    first.0.write_all(b"a ticket comes with it").await.unwrap();
    first.0.flush().await.unwrap();
    first.1.read_exact(&mut [0; 22]).await.unwrap();
    let (mut ours, theirs) = duplex(1 << 16);
    let connector = tls::TlsConnector::from(client).early_data(true);
    let mut stream = connector.connect(localhost(), theirs).await.unwrap();
    stream.write_all(b"early").await.unwrap();
    let leaves = async {
        let hello = ours.read(&mut [0; 4096]).await;
        ours.shutdown().await.unwrap();
        assert!(hello.unwrap() > 0);
    };
    let (flushed, ()) = tokio::join!(stream.flush(), leaves);
    format!("{:?}", flushed.unwrap_err().kind())
}

async fn lazy() -> String {
    let (server, client) = made();
    let mut heard = Vec::new();
    for with in [false, true] {
        let (ours, theirs) = duplex(1 << 16);
        let (config, connector) = (Arc::clone(&server), tls::TlsConnector::from(Arc::clone(&client)));
        let serves = async {
            let mut acceptor =
                pin!(tls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), ours));
            let start: tls::StartHandshake<_> = acceptor.as_mut().await.unwrap();
            assert!(acceptor.take_io().is_none());
            let host = start.client_hello().server_name().map(str::to_owned);
            let _transport: &DuplexStream = &start.io;
            let mut seen = false;
            let stream = match with {
                true => start.into_stream_with(config, |_: &mut ServerConnection| seen = true).await,
                false => start.into_stream(config).await,
            };
            (host, seen, stream.unwrap())
        };
        let ((host, seen, server), client) =
            tokio::join!(serves, connector.connect(localhost(), theirs));
        heard.push((host, seen, says(&mut (server, client.unwrap()), b"hi").await));
    }
    format!("{heard:?}")
}

async fn parts() -> String {
    let (server, client) = made();
    let mut heard = Vec::new();
    for with in [false, true] {
        let (mut ours, theirs) = duplex(1 << 16);
        let (config, connector) = (Arc::clone(&server), tls::TlsConnector::from(Arc::clone(&client)));
        let serves = async {
            let mut acceptor = rustls::server::Acceptor::default();
            let accepted = loop {
                let mut bytes = [0; 4096];
                let n = ours.read(&mut bytes).await.unwrap();
                acceptor.read_tls(&mut &bytes[..n]).unwrap();
                if let Some(accepted) = acceptor.accept().ok().unwrap() {
                    break accepted;
                }
            };
            let start = tls::StartHandshake::from_parts(accepted, ours);
            let host = start.client_hello().server_name().map(str::to_owned);
            let stream = match with {
                true => start.into_stream_with(config, |_| ()).await,
                false => start.into_stream(config).await,
            };
            (host, stream.unwrap())
        };
        let ((host, server), client) = tokio::join!(serves, connector.connect(localhost(), theirs));
        heard.push((host, says(&mut (server, client.unwrap()), b"hi").await));
    }
    format!("{heard:?}")
}

async fn refused() -> String {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut acceptor =
        pin!(tls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), ours));
    let error = acceptor.as_mut().await.unwrap_err();
    let is = error.get_ref().is_some_and(|error| error.is::<rustls::Error>());
    let mut io = acceptor.take_io().unwrap();
    io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let again = acceptor.as_mut().await.unwrap_err();
    drop(io);
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    format!("{:?} {is} {error}; {again}; {}", error.kind(), answer.escape_ascii())
}

async fn fallible() -> String {
    let (server, client) = made();
    let mut said = Vec::new();
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let accept: tls::FallibleAccept<_> = tls::TlsAcceptor::from(server).accept(ours).into_fallible();
    let (error, _io): (io::Error, DuplexStream) = accept.await.err().unwrap();
    said.push(error.to_string());
    let (mut ours, theirs) = duplex(1 << 16);
    ours.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let connector = tls::TlsConnector::from(client);
    let connect: tls::FallibleConnect<_> = connector.connect(localhost(), theirs).into_fallible();
    let (error, _io): (io::Error, DuplexStream) = connect.await.err().unwrap();
    said.push(error.to_string());
    format!("{said:?}")
}

async fn either() -> String {
    let (server, client) = made();
    let (server, client) = pair(&server, &client).await;
    let mut both: [tls::TlsStream<DuplexStream>; 2] = [server.into(), client.into()];
    let [server, client] = &mut both;
    assert_eq!(client.write_vectored(&[io::IoSlice::new(b"both ")]).await.unwrap(), 5);
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).await.unwrap();
    let sides = both.each_mut().map(|stream| {
        let version = stream.get_ref().1.protocol_version();
        let _: &mut DuplexStream = stream.get_mut().0;
        let side = match stream {
            tls::TlsStream::Server(_) => "server",
            tls::TlsStream::Client(_) => "client",
        };
        format!("{side} {version:?}")
    });
    format!("{heard}{sides:?}")
}

async fn apart() -> String {
    let (server, client) = made();
    let (server, client) = pair(&server, &client).await;
    let (mut ours, mut server): (DuplexStream, ServerConnection) = server.into_inner();
    let (mut theirs, mut client): (DuplexStream, ClientConnection) = client.into_inner();
    // The connections go on without their streams.
    io::Write::write_all(&mut client.writer(), b"apart").unwrap();
    let mut record = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut record).unwrap();
    }
    theirs.write_all(&record).await.unwrap();
    let mut heard = [0; 5];
    while server.reader().read(&mut heard).is_err() {
        let mut bytes = [0; 4096];
        let n = ours.read(&mut bytes).await.unwrap();
        server.read_tls(&mut &bytes[..n]).unwrap();
        server.process_new_packets().unwrap();
    }
    heard.escape_ascii().to_string()
}

async fn descriptor() -> String {
    let (server, client) = made();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let connector = tls::TlsConnector::from(client);
    let connect = async { connector.connect(localhost(), tcp).await };
    let acceptor = tls::TlsAcceptor::from(server);
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await };
    let (server, client) = tokio::join!(accept, connect);
    let (server, client) = (server.unwrap(), client.unwrap());
    let same = server.as_raw_fd() == server.get_ref().0.as_raw_fd();
    let fd = client.as_raw_fd();
    format!("{same} {}", tls::TlsStream::from(client).as_raw_fd() == fd)
}
