//! Points about reading and writing.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;

use rustls::Connection;
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

use crate::libraries::{Configs, Library, configs, pair, said};
use crate::{Point, point};

pub(crate) fn points() -> Vec<Point> {
    vec![
        point!("`fill_buf` shows what was decrypted", buffered),
        point!("a read that is given up loses nothing", given_up),
        point!("vectored writes", vectored),
        point!("what one `write` takes while the transport is free", one_write),
        point!("a write to a transport that is full", full),
        point!("128 KiB each way at once, through a pipe of 100 bytes", narrow),
        point!("bytes right behind the last record, after `into_inner`", behind),
    ]
}

async fn buffered<L: Library>() -> String {
    let (mut server, mut client) = pair::<L>().await;
    client.write_all(b"one\ntwo\n").await.unwrap();
    client.flush().await.unwrap();
    let mut line = String::new();
    server.read_line(&mut line).await.unwrap();
    let left = server.fill_buf().await.unwrap();
    format!("{line:?}, then {:?}", String::from_utf8_lossy(left))
}

async fn given_up<L: Library>() -> String {
    let (mut server, mut client) = pair::<L>().await;
    let mut buffer = [0; 8];
    // Polled once, and dropped.
    poll_fn(|context| {
        let read = Pin::new(&mut server);
        let poll = tokio::io::AsyncRead::poll_read(read, context, &mut ReadBuf::new(&mut buffer));
        assert!(poll.is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    client.write_all(b"complete").await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut buffer).await.unwrap();
    buffer.escape_ascii().to_string()
}

async fn vectored<L: Library>() -> String {
    let (mut server, mut client) = pair::<L>().await;
    let advertised = client.is_write_vectored();
    let slices = [IoSlice::new(b"one "), IoSlice::new(b"two "), IoSlice::new(b"three")];
    let written = client.write_vectored(&slices).await.unwrap();
    client.flush().await.unwrap();
    let mut buffer = vec![0; written];
    server.read_exact(&mut buffer).await.unwrap();
    format!("advertised {advertised}, at once {:?}", String::from_utf8(buffer))
}

async fn one_write<L: Library>() -> String {
    let Configs { server, client } = configs::<L>();
    let (ours, theirs) = duplex(64 << 20);
    let (server, client) =
        tokio::join!(L::accept(Arc::new(server), ours), L::connect(Arc::new(client), theirs));
    let (_server, mut client) = (server.unwrap(), client.unwrap());
    let written = client.write(&vec![0; 8 << 20]).await.unwrap();
    format!("{} KiB of 8 MiB", written >> 10)
}

async fn full<L: Library>() -> String {
    let Configs { server, client } = configs::<L>();
    let (ours, theirs) = duplex(4096);
    let (server, client) =
        tokio::join!(L::accept(Arc::new(server), ours), L::connect(Arc::new(client), theirs));
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    // It writes until the pipe and all buffers are full; then the peer reads, and all that was accepted arrives.
    let mut accepted = 0_usize;
    poll_fn(|context| {
        loop {
            let data = [7; 1000];
            match Pin::new(&mut client).poll_write(context, &data) {
                std::task::Poll::Ready(written) => accepted += written.unwrap(),
                std::task::Poll::Pending => return std::task::Poll::Ready(()),
            }
        }
    })
    .await;
    let arrives = async {
        let mut all = vec![0; accepted];
        server.read_exact(&mut all).await.unwrap();
        all.iter().all(|byte| *byte == 7)
    };
    let (flushed, arrived) = tokio::join!(client.flush(), arrives);
    format!("pending, not an error; flush {}, all arrives: {arrived}", flushed.is_ok())
}

async fn narrow<L: Library>() -> String {
    const LEN: usize = 1 << 17;
    let Configs { mut server, client } = configs::<L>();
    // They would not fit into the pipe while the client, whose handshake is done, does not read.
    server.send_tls13_tickets = 0;
    let (ours, theirs) = duplex(100);
    let (server, client) =
        tokio::join!(L::accept(Arc::new(server), ours), L::connect(Arc::new(client), theirs));
    let (server, client) = (server.unwrap(), client.unwrap());
    let exchange = async |stream: L::Stream, mine: u8| {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writes = async {
            writer.write_all(&vec![mine; LEN]).await.unwrap();
            writer.flush().await.unwrap();
        };
        let mut heard = vec![0; LEN];
        let (read, ()) = tokio::join!(reader.read_exact(&mut heard), writes);
        read.unwrap();
        heard.iter().all(|byte| *byte == 3 - mine)
    };
    let (one, two) = tokio::join!(exchange(server, 1), exchange(client, 2));
    format!("{one} {two}")
}

/// A client of plain rustls whose close and the next protocol's first bytes come in one piece.
async fn behind<L: Library>() -> String {
    let Configs { server, client } = configs::<L>();
    let (ours, mut theirs) = duplex(1 << 16);
    let plain = async {
        let client = rustls::ClientConnection::new(Arc::new(client), crate::libraries::localhost());
        let mut client = Connection::from(client.unwrap());
        while client.is_handshaking() {
            exchange(&mut client, &mut theirs).await;
        }
        client.send_close_notify();
        let mut last = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut last).unwrap();
        }
        last.extend_from_slice(b"plaintext");
        theirs.write_all(&last).await.unwrap();
        theirs.shutdown().await.unwrap();
        theirs
    };
    let (server, _theirs) = tokio::join!(L::accept(Arc::new(server), ours), plain);
    let mut server = server.unwrap();
    let closed = server.read(&mut [0; 8]).await;
    let behind = L::behind(server, 9).await;
    let text = |bytes: &Vec<u8>| bytes.escape_ascii().to_string();
    format!("read {closed:?}, then {}", said(&behind, text))
}

/// Sends what the connection has to send, and reads once if it wants to.
async fn exchange(connection: &mut Connection, io: &mut DuplexStream) {
    let mut out = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut out).unwrap();
    }
    io.write_all(&out).await.unwrap();
    if connection.is_handshaking() {
        let mut buffer = [0; 4096];
        let len = io.read(&mut buffer).await.unwrap();
        let mut unread = &buffer[..len];
        while !unread.is_empty() {
            connection.read_tls(&mut unread).unwrap();
            connection.process_new_packets().unwrap();
        }
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).unwrap();
        }
        io.write_all(&out).await.unwrap();
    }
}
