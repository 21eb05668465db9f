//! Layby beside everything else that a Rust server could do with a slow key, on one machine in one run.
//!
//! ```text
//!   bin rivals    the command: the matrix, the table, the page, the document         main.rs, command/
//!      | one process for each turn: rivals, rivals-boring or rivals-openssl
//!      v
//!   turn          starts a server, waits until the opening burst is over, measures
//!      |
//!      +-- site        certificate, the slow key (key.rs), heartbeat
//!      +-- incoming    the closed loop of clients: in memory (wire.rs) or over loopback, in a process of their own
//!      |               (clients.rs)
//!      +-- servers     one file for each way to serve; those of BoringSSL and OpenSSL in bin/
//! ```
//!
//! Everything that serves runs on one processor, and the key on another one: figures are those of one core. CPU time is that of all
//! threads but the key's and the clients'; clients in memory run inside the server's reads and writes and are measured apart.

#![forbid(unsafe_code)]
// `lab_report::output` instead: these macros panic when their pipe is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod clients;
mod cpu;
mod event_loop;
mod heartbeat;
mod incoming;
mod key;
mod limits;
mod memory;
mod meter;
pub mod program;
mod servers;
mod site;
mod turn;
mod wire;

pub use event_loop::{EventLoop, WAKES};
pub use heartbeat::{Beat, Heartbeat};
pub use incoming::{Crowd, Incoming, TokioIncoming};
pub use key::SimulatedKey;
pub use servers::{Server, lines_of_code, of_library, runtime};
pub use site::{Site, Suite};
pub use turn::{Memory, Order, Outcome, Speed, Transport};
pub use wire::{Connection, Wire};

/// What keeps a server or a turn from working.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;
