//! Layby under the libraries that servers and clients are made of: each module is to be copied into a program. The page
//! `docs/adapters.md` shows them, and a test holds it against these files.

pub mod axum_server;
pub mod client;
pub mod listener;
pub mod stream;
