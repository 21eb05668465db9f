//! Acceptor, connector and stream for tokio, as a replacement for tokio-rustls. A handshake that waits for a slow key holds
//! no thread of the runtime, and its future is `Send`. Feature `tokio`.
//!
//! ```text
//!        a task, on any thread of the runtime                     a shard: one thread, one pool of jobs
//!  +--------------------------------------------+        +---------------------------------------------+
//!  | owns the transport, reads and writes       |        |                                             |
//!  |   read ---> connection and records --------+------->| rustls: process_new_packets, in a job       |
//!  |                                            |        |   hook: sign ---> Engine::run, pauses       |
//!  |   meanwhile it watches for the peer's      |        |                     :                       |
//!  |   close, the deadline and a drop -- Cancel-+------->|   cancelled here    : woken <-- device done |
//!  |                                            |        |                     v                       |
//!  |   write <--- connection <------------------+--------| resumed, done                               |
//!  +--------------------------------------------+        +---------------------------------------------+
//! ```
//!
//! A fiber must stay on its thread, and a task moves between threads. So the boxed connection is sent to a shard for one
//! packet, and back. Only the task uses the transport. The handshakes of an acceptor are spread over its shards, each of
//! which can park thousands of packets.
//!
//! A server that waits only before its flight, for its key or its certificate for instance, needs neither fiber nor shard: its
//! handshakes are parked by [replay](crate::Parking) on the task itself, with the configuration of
//! [`SlowKey::server_config`](crate::SlowKey::server_config) or one whose provider was made by
//! [`replayable`](crate::replayable). Everything else, and every client, uses the shards, whose threads start when the
//! first packet needs one.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use std::{io, sync::Arc};
//!
//! use ssl_async::{SlowKey, task::TlsAcceptor};
//! use tokio::{io::AsyncWriteExt, net::TcpListener};
//!
//! async fn serve(listener: TcpListener, key: Arc<SlowKey>) -> io::Result<()> {
//!     let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
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
//! # Migrating from tokio-rustls
//!
//! [`compat`] has all of tokio-rustls's names, so that moving is an import. Here `TlsAcceptor`, `TlsConnector`, `accept`,
//! `connect`, `into_fallible` and the stream's traits have the same names, and this differs:
//!
//! - Make an acceptor once, not for each connection.
//! - Await the handshake in a task of its own, as in the example. An accept loop that awaits it serves one client at a time.
//! - [`StartHandshake::read`] replaces `LazyConfigAcceptor`, and its [`accept`](StartHandshake::accept) takes an acceptor in
//!   the place of a configuration.
//! - [`TlsStream`] is one type for both sides, and its `get_ref` returns a
//!   [`rustls::Connection`].
//! - The error of a handshake is an [`SslError`](crate::SslError), which converts to `io::Error`.
//! - Early data is given before the handshake ([`Connect::early_data`]) and read by [`TlsStream::read_early_data`].
//! - During a handshake by replay, hooks of the configuration run on the task, as in tokio-rustls. In any other handshake they
//!   run on a shard: most of them with the task's runtime and the stack of a thread, the others in a job with a stack of
//!   256 KiB ([`PoolBuilder::stack_size`](job_core::PoolBuilder::stack_size)); [a page][jobs] has the table.
//!   Task-locals are not set there.
//! - Where the provider is not [`replayable`](crate::replayable), a packet that may reach a hook makes the trip to a shard even if
//!   nothing waits there, which is most of what a single connection costs more than over tokio-rustls. A `replayable` one saves it.
//! - A hook of your own that waits for an engine blocks its thread, unless you ask for a fiber with [`TlsAcceptor::parking`].
//!   The hooks of this crate that wait do so themselves.
//!
//! [Another page](https://github.com/layby-rs/layby/blob/main/docs/slow-key-behind-rustls.md#from-tokio-rustls) has the table
//! method by method.
//!
//! [jobs]: https://github.com/layby-rs/layby/blob/main/docs/what-runs-in-a-job.md
//!
//! # After the handshake
//!
//! Once the handshake is done, records are processed on the task, as in tokio-rustls: no hook that may pause is reached from
//! them ([the page about jobs][jobs] lists the hooks). Other hooks that rustls then calls, such as a client's session store,
//! run on the task, too. If one waits for an engine or a future, it blocks the thread
//! ([law L11](https://github.com/layby-rs/layby/blob/main/docs/laws.md): where pausing is refused, an operation blocks).
//!
//! # Cancellation and drop
//!
//! Every future may be dropped at any time. A signature that it waits for by replay is cancelled with the drop. A packet on a
//! shard is cancelled there, shortly after the drop: [`Shards::quiesce`] waits for that, and [`Shards::shutdown`] ends all handshakes. A handshake that a
//! [deadline](TlsAcceptor::deadline) or `tokio::time::timeout` ends is dropped in the same way.
//!
//! # Limits
//!
//! By default the resources of clients are limited: a handshake takes at most [60 seconds](TlsAcceptor::deadline), which
//! requires a runtime with a timer; at most [4,096 packets](ShardsBuilder::max_parked) on fibers and 4,096 handshakes by replay
//! are parked, and others queue; at most four tickets of one hello are opened; and an incomplete hello is not sent to a shard.
//! The program limits the connections of each address: `examples/per_address.rs` shows how.
//!
//! # Shutdown
//!
//! Dropping a runtime drops its tasks, and the shards cancel their packets. The shards do not belong to a runtime:
//! see [`Shards`](Shards#shutdown).
//!
//! # Panics
//!
//! A panic in a hook reaches the task that awaits the handshake. A shard continues with its other packets.

mod accept;
mod active;
pub mod compat;
mod connect;
mod deadline;
mod early;
mod endpoint;
mod exclusive;
mod handshake;
mod hello;
mod inbox;
mod packet_task;
mod place;
mod replaying;
mod rewind;
mod shard;
mod shards;
mod stream;
mod sync_io;
mod task_device;

pub use accept::{Accept, FallibleHandshake};
pub use connect::Connect;
pub use endpoint::{TlsAcceptor, TlsConnector, TlsEndpoint};
pub use hello::StartHandshake;
pub use rewind::Rewind;
pub use shards::{Shards, ShardsBuilder};
pub use stream::TlsStream;
pub use task_device::TaskDevice;
