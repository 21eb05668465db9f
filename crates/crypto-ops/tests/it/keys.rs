//! Key files of every kind, and the stores they are loaded into.

use crypto_ops::{KeyHandle, SoftwareKeys};

/// The PEM text of a key in `tests/keys`; these keys protect nothing.
macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../keys/", $name, ".pem"))
    };
}

/// A store with one key of each algorithm, and the handles.
pub(crate) fn one_of_each() -> (SoftwareKeys, Vec<KeyHandle>) {
    let store = SoftwareKeys::new();
    let handles = [
        key!("p256.pkcs8"),
        key!("p384.pkcs8"),
        key!("ed25519.pkcs8"),
        key!("rsa2048.pkcs8"),
        key!("rsa3072.pkcs8"),
    ]
    .map(|pem| store.load_pem(pem).expect("a good key"));
    (store, handles.into())
}
