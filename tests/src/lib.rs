//! Helpers of the tests that look at the workspace from outside: the lab binary as a server, an
//! identity for it, a small HTTPS client, a browser, and programs that are given a bound.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod binaries;
mod bounded;
mod browser;
mod client;
mod identity;
mod server;

pub use binaries::{lab, lab_binary, xtask_binary};
pub use bounded::{LIMIT, Run, run};
pub use browser::{chromium, headless};
pub use client::Client;
pub use identity::{Identity, KeyType};
pub use server::{Server, Signal};
