//! Tests of operations and the key store through the public API.

/// The PEM text of a key in `tests/keys`. These keys are public test data.
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
