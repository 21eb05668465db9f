//! The laboratory: real TLS handshakes through the whole stack, against a simulated accelerator, counted and judged.
//!
//! It is the integration crate. It has the event loop that every other crate is written for, a load generator, scenarios
//! that a stranger can run and change, and the `lab` binary. It is not a server for production: it shows how one is built.
//!
//! ```text
//!   scenario (TOML) --> rows, one after the other, each with everything fresh:
//!
//!     load generator               server                               simulated device
//!     one thread                   one thread a worker                  hardware queue thread
//!     verifying rustls  <--TCP-->  mio loop, ssl-async sessions  <--->  engine-core, sim-engine
//!     clients, closed loop         parked on fibers or by replay        rings, units, real signatures
//!            |                            |                                    |
//!            +------- independent counters of each ------+
//!                                         |
//!                     laws + ledger --> results.json, report.html, table, verdict
//! ```
//!
//! # Example
//!
//! A scenario of one row: 8 clients, two handshakes each, with a key that takes 2 ms.
//!
//! ```
//! use handshake_lab::{run, scenario::Scenario};
//! use lab_report::Progress;
//!
//! let scenario = Scenario::parse("example", r#"
//!     name = "example"
//!     question = "Do handshakes wait?"
//!     summary = "Eight clients and a slow key."
//!     [load]
//!     connections = 8
//!     rounds = 2
//!     [[device]]
//!     latency_ms = 2
//!     [[row]]
//!     name = "parked"
//!     mode = "async"
//! "#, &[])?;
//! let results = run::run(&scenario, &Progress::silent())?;
//!
//! assert_eq!(results.rows[0].handshakes, 16);
//! assert_eq!(results.rows[0].failed, 0);
//! assert!(results.laws.iter().all(|law| law.held));
//! assert_eq!(results.ledger.jobs.now, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is measured, and how
//!
//! - **Handshakes** are counted when both sides are done: the client has verified the server's certificate and signature
//!   (RFC 8446, 4.4.3; RFC 5246, 7.4.3), and the server has answered with `close_notify`.
//! - **Latency** is the client's, from opening the TCP connection to the end of the handshake. In a closed loop it is
//!   mostly queueing: connections divided by rate.
//! - **CPU** is that of single threads (`CLOCK_THREAD_CPUTIME_ID`): the workers' for the server, the load generator's for
//!   the clients. The device's thread is in neither.
//! - **Laws** are checked by holding independent counts against each other: what rustls asked the key for against what the
//!   engine submitted, what the engine woke against what came out of the ready queue, what the engine checked against
//!   what it completed, and so on; [`evidence::Laws`] has them all. Each of them can fail, and the feature `plant` shows it.
//!
//! # Threads
//!
//! A row has one thread for the clients, one a worker, one for the device. Several workers share the listening socket, each
//! with its own handle on it. Sessions and jobs stay on the worker that accepted them.
//!
//! # Virtual time
//!
//! With `clock = "virtual"` the same workers, engines and devices run on one thread, stepped by a calendar:
//!
//! ```text
//!   calendar --> arrivals, deliveries, ends of CPU time, deadlines of devices and operations
//!      ^                |
//!      |                v
//!      +-- worker: a job of its own; pauses where a thread would sleep, block, or have work to do
//!                  its core, sessions, jobs, wait contexts, engine and device: the code of real time
//! ```
//!
//! Only the calendar takes time: the service times of the device, 50 microseconds for the network each
//! way, and the CPU time of the serving thread by the [cost profile](stepped::CostProfile), which [`calibrate`] measures on
//! your machine. TLS is executed all the same,
//! or profiled (`load.handshakes = "profiled"`), with the same trace. Each row runs twice, and the
//! hashes of the two traces must agree (law L9).
//!
//! What virtual time leaves out: the CPU time of clients, of polls and checks, of the device's own thread and of a
//! standby that it calls (one that computes on the serving thread is charged as a signature in software); that a step of a
//! worker takes time *while* it runs (its writes leave, and its time passes, at the end of the step; only the work before
//! the signature is charged first); and threads, so virtual time finds no races.
//!
//! # Faults and the swarm
//!
//! A scenario may let things go wrong (`[[fault]]`), set deadlines and fallbacks for operations (`[engine]`) and expectations
//! (`[expect]`); ten built-in ones do. The [swarm](swarm::Swarm) draws load, topology, faults, hang-ups and cancels from
//! seeds and checks every law on each; a seed that fails prints the command that runs it again.
//!
//! # The soak
//!
//! Laws and ledgers say what our own counters say. The [soak] asks the kernel: after very many handshakes under random
//! faults, in real time, the process has as many descriptors and threads as before, and its memory has not grown.
//!
//! # Features
//!
//! - `plant`: `lab sim --plant BUG` switches on a planted bug; the run must then fail and name the law it breaks.

#![forbid(unsafe_code)]
// `lab_report::output` instead: these macros panic when their pipe is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod scenario;

pub mod certs;
pub mod keys;
pub mod load;
pub mod server;

pub mod assembly;
pub mod error;
pub mod evidence;
mod fleet;
mod passes;
pub mod run;
pub mod serve;
pub mod soak;
pub mod stepped;
pub mod swarm;

pub mod calibrate;

pub mod plant;

pub mod cli;

pub mod cpu;
pub mod memory;
