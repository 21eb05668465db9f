//! Acceptor, connector and stream for tokio, in the place of tokio-rustls's: the handshake's future is `Send`, and waits
//! for a slow key without holding a thread of the runtime. Feature `tokio`.
//!
//! ```text
//!        a task, on any thread of any runtime                      a shard: one thread, one pool of jobs
//!  +--------------------------------------------+        +---------------------------------------------+
//!  | owns the transport; all reads, all writes  |        |                                             |
//!  |   read ---> the connection with its bytes -+------->| rustls: process_new_packets, in a job       |
//!  |                                            |        |   hook: sign ---> Engine::run, pauses       |
//!  |   reads ahead, up to 64 KiB: has the peer  |        |                     :                       |
//!  |   gone? deadline? dropped?  ----- Cancel --+------->|   cancelled here    : ready <-- device done |
//!  |                                            |        |                     v                       |
//!  |   write <--- the connection <--------------+--------| resumed, done                               |
//!  +--------------------------------------------+        +---------------------------------------------+
//! ```
//!
//! A fiber must stay on its thread and a task need not, so what moves is the boxed connection: to a shard for one packet,
//! and back. Nothing about the transport is known at the shard; the peer's close, a deadline and a shutdown are ordinary
//! events of the task. Several handshakes of one acceptor use several shards, and any number of them is parked at a time.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use std::{io, sync::Arc};
//!
//! use rustls::ServerConfig;
//! use ssl_async::task::TlsAcceptor;
//! use tokio::{io::AsyncWriteExt, net::TcpListener};
//!
//! /// The certificate resolver of `config` is a [`SlowKey`](ssl_async::SlowKey).
//! async fn serve(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<()> {
//!     // Once: it starts its shards.
//!     let acceptor = TlsAcceptor::from(config);
//!     loop {
//!         let (tcp, _) = listener.accept().await?;
//!         let handshake = acceptor.accept(tcp);
//!         tokio::spawn(async move {
//!             let mut tls = handshake.await?;
//!             tls.write_all(b"hello").await?;
//!             tls.shutdown().await
//!         });
//!     }
//! }
//! # }
//! ```
//!
//! # After the handshake
//!
//! Packets visit a shard until the handshake is done: a hook that may pause is reached from those and from no other
//! (`docs/what-runs-in-a-job.md` has the table; rustls neither renegotiates nor asks for a certificate later). From then
//! on records are processed on the task, as by tokio-rustls: application data takes no detour, and the connection is always
//! there to be asked for its properties. A hook of your own that rustls calls later, such as a client's session store,
//! runs on the task, too; if it waits for an engine or for a future there, it blocks that thread (law L11).
//!
//! # Cancellation and drop
//!
//! Every future may be dropped at any time. The shard hears of it and cancels the packet on its own thread, soon but not
//! at once: [`Shards::quiesce`] waits for that, and [`Shards::shutdown`] ends everything. A handshake that a
//! [deadline](TlsAcceptor::deadline) ends, or that is under `tokio::time::timeout`, is dropped like any other.
//!
//! # Bounds
//!
//! What a stranger can hold is bounded by default: a handshake by [60 seconds](TlsAcceptor::deadline), which need a runtime with
//! its timer enabled; the packets that are parked at a time by [4,096](ShardsBuilder::max_parked), beyond which they wait; the
//! tickets of one hello that are opened by four; and the bytes of a hello are gathered before a shard is visited. How many
//! connections one address may have is for the program to say: `examples/per_address.rs` shows how.
//!
//! # Shutdown
//!
//! Dropping a runtime drops its tasks, and the shards cancel what was parked. The shards themselves belong to no runtime:
//! [`Shards`] says who ends their threads.
//!
//! # Panics
//!
//! A panic in a hook reaches the task that awaits the handshake. The shard and its other packets go on.

mod accept;
mod connect;
mod early;
mod endpoint;
mod handshake;
mod hello;
mod inbox;
mod rewind;
mod shard;
mod shards;
mod stream;
mod sync_io;
mod task_device;
mod visit;

pub use accept::{Accept, FallibleHandshake};
pub use connect::Connect;
pub use endpoint::{TlsAcceptor, TlsConnector, TlsEndpoint};
pub use hello::StartHandshake;
pub use rewind::Rewind;
pub use shards::{Shards, ShardsBuilder};
pub use stream::TlsStream;
pub use task_device::TaskDevice;
