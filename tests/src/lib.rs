//! Helpers of the tests that look at the workspace from outside: the lab binary as a server, an
//! identity for it, a small HTTPS client, a browser, and programs that are given a bound.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bounded;
mod browser;
mod client;
mod identity;
mod lab;
mod server;

pub use bounded::{LIMIT, Run, run};
pub use browser::{chromium, headless};
pub use client::Client;
pub use identity::{Identity, KeyType};
pub use lab::{lab, lab_binary};
pub use server::Server;
