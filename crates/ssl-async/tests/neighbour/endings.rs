//! Points about the end of a connection.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::libraries::{Configs, Library, TokioRustls, configs, pair, said};
use crate::{Point, point};

pub(crate) fn points() -> Vec<Point> {
    vec![
        point!("the peer closes with close_notify: reads", clean_end),
        point!("the peer ends without close_notify: reads", unclean_end),
        point!("the peer has closed its half: writes arrive", half_close),
        point!("`write` after `shutdown`", write_after),
        point!("an empty `write` after `shutdown`", empty_write_after),
        point!("`flush` after `shutdown`", flush_after),
        point!("`shutdown` twice", twice),
        point!("`shutdown` when the peer has left", shutdown_alone),
        point!("`write` and `flush` when the peer has left", write_alone),
        point!("a dropped stream: what the peer reads", dropped),
    ]
}

fn count(len: &usize) -> String {
    format!("Ok({len})")
}

fn done(_: &()) -> String {
    "Ok".to_owned()
}

async fn clean_end<L: Library>() -> String {
    let (mut server, mut client) = pair::<L>().await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    let read = server.read_to_end(&mut all).await;
    let again = server.read(&mut [0; 8]).await;
    format!("{} {}; again {}", said(&read, count), all.escape_ascii(), said(&again, count))
}

async fn unclean_end<L: Library>() -> String {
    let Configs { server, client } = configs::<L>();
    let (ours, theirs) = duplex(1 << 16);
    let (server, client) = tokio::join!(
        L::accept(Arc::new(server), ours),
        TokioRustls::connect(Arc::new(client), theirs)
    );
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    client.write_all(b"last").await.unwrap();
    client.flush().await.unwrap();
    // The bare transport ends.
    drop(client);
    let mut all = Vec::new();
    let read = server.read_to_end(&mut all).await;
    let again = server.read(&mut [0; 8]).await;
    format!("{} after {:?}; again {}", said(&read, count), all.len(), said(&again, count))
}

async fn half_close<L: Library>() -> String {
    let (mut server, mut client) = pair::<L>().await;
    client.shutdown().await.unwrap();
    let end = server.read(&mut [0; 8]).await;
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    let mut all = Vec::new();
    let read = client.read_to_end(&mut all).await;
    format!("{}; {} {}", said(&end, count), said(&read, count), all.escape_ascii())
}

async fn write_after<L: Library>() -> String {
    let (_server, mut client) = pair::<L>().await;
    client.shutdown().await.unwrap();
    said(&client.write(b"late").await, count)
}

async fn empty_write_after<L: Library>() -> String {
    let (_server, mut client) = pair::<L>().await;
    client.shutdown().await.unwrap();
    said(&client.write(b"").await, count)
}

async fn flush_after<L: Library>() -> String {
    let (_server, mut client) = pair::<L>().await;
    client.shutdown().await.unwrap();
    said(&client.flush().await, done)
}

async fn twice<L: Library>() -> String {
    let (_server, mut client) = pair::<L>().await;
    client.shutdown().await.unwrap();
    said(&client.shutdown().await, done)
}

async fn shutdown_alone<L: Library>() -> String {
    let (server, mut client) = pair::<L>().await;
    drop(server);
    said(&client.shutdown().await, done)
}

async fn write_alone<L: Library>() -> String {
    let (server, mut client) = pair::<L>().await;
    drop(server);
    let written = client.write(b"late").await;
    let flushed = client.flush().await;
    format!("{}, {}", said(&written, count), said(&flushed, done))
}

async fn dropped<L: Library>() -> String {
    let (server, mut client) = pair::<L>().await;
    drop(server);
    said(&client.read(&mut [0; 8]).await, count)
}
