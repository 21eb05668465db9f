//! A store with a key of every algorithm, and strategies for operations.

use std::sync::LazyLock;

use crypto_ops::{CryptoOp, KeyHandle, Scheme, SignOp, SoftwareKeys};
use proptest::prelude::*;

/// The store. Loaded once, because validating an RSA key is slow.
pub(crate) static STORE: LazyLock<SoftwareKeys> = LazyLock::new(SoftwareKeys::new);

/// The keys in the store: one of each algorithm, and a second size of RSA.
pub(crate) static KEYS: LazyLock<Vec<KeyHandle>> = LazyLock::new(|| {
    [
        key!("p256.pkcs8"),
        key!("p384.pkcs8"),
        key!("ed25519.pkcs8"),
        key!("rsa2048.pkcs8"),
        key!("rsa3072.pkcs8"),
    ]
    .map(|pem| STORE.load_pem(pem).expect("a good key"))
    .into()
});

/// Every key with each of its schemes.
pub(crate) fn key_schemes() -> impl Iterator<Item = (KeyHandle, Scheme)> {
    KEYS.iter().flat_map(|key| key.schemes().iter().map(|&scheme| (key.clone(), scheme)))
}

/// Any signature operation.
pub(crate) fn any_sign_op() -> impl Strategy<Value = SignOp> {
    let pairs: Vec<_> = key_schemes().collect();
    (prop::sample::select(pairs), prop::collection::vec(any::<u8>(), 1..200))
        .prop_map(|((key, scheme), message)| sign_op(&key, scheme, &message))
}

pub(crate) fn sign_op(key: &KeyHandle, scheme: Scheme, message: &[u8]) -> SignOp {
    SignOp::new(key.clone(), scheme, message.to_vec()).expect("one of the key's schemes")
}

/// The store's signature.
pub(crate) fn signature(op: &SignOp) -> Vec<u8> {
    let output = STORE.execute(&CryptoOp::from(op.clone())).expect("signs");
    output.into_signature().expect("a signature")
}
