//! The operations and the key store, as an engine and an application see them.

/// The PEM text of a key in `tests/keys`. These keys are public and protect nothing.
macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../keys/", $name, ".pem"))
    };
}

mod agreements;
mod crt_faults;
mod fixture;
mod interop;
mod key_files;
mod public_halves;
mod signatures;
mod stores;
mod tickets;
