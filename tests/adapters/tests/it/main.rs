//! Each adapter under the library that it is for, with a key that is slow.

mod hyper_rustls;
mod listener;
mod page;
mod servers;
mod world;
