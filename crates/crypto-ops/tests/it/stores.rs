//! Key stores against a model.

use std::collections::BTreeSet;
use std::sync::Arc;

use crypto_ops::{CryptoOp, KeyHandle, OpError, SoftwareKeys, Work as _};
use proptest::prelude::*;

use crate::fixture::{KEYS, sign_op};

const PEMS: [&str; 3] = [key!("p256.pkcs8"), key!("p384.sec1"), key!("ed25519.pkcs8")];

#[derive(Clone, Debug)]
enum Step {
    Load(usize),
    Remove(usize),
    Sign(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    (0..3_usize, 0..PEMS.len()).prop_map(|(step, key)| match step {
        0 => Step::Load(key),
        1 => Step::Remove(key),
        _ => Step::Sign(key),
    })
}

/// Signs and checks the signature; returns whether the store held the key.
fn signs(store: &SoftwareKeys, key: &KeyHandle) -> bool {
    let op = CryptoOp::from(sign_op(key, key.schemes()[0], b"model"));
    match store.execute(&op) {
        Ok(output) => {
            assert_eq!(op.check(&output), Ok(()));
            true
        }
        Err(OpError::UnknownKey { id, algorithm }) => {
            assert_eq!((id, algorithm), (key.id(), key.algorithm()));
            false
        }
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_store_signs_with_exactly_the_keys_it_holds(
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        let store = SoftwareKeys::new();
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Load(key) => {
                    prop_assert_eq!(&store.load_pem(PEMS[key]).expect("a good key"), &KEYS[key]);
                    model.insert(key);
                }
                Step::Remove(key) => {
                    prop_assert_eq!(store.remove(&KEYS[key]), model.remove(&key));
                }
                Step::Sign(key) => {
                    prop_assert_eq!(signs(&store, &KEYS[key]), model.contains(&key));
                }
            }
        }
    }
}

#[test]
fn a_store_serves_many_threads_while_keys_are_loaded_and_removed() {
    let store = Arc::new(SoftwareKeys::new());
    let kept = store.load_pem(PEMS[0]).expect("a good key");
    let signers: Vec<_> = (0..4)
        .map(|_| {
            let (store, key) = (Arc::clone(&store), kept.clone());
            std::thread::spawn(move || (0..50).filter(|_| signs(&store, &key)).count())
        })
        .collect();
    for _ in 0..50 {
        let removed = store.load_pem(PEMS[2]).expect("a good key");
        assert!(store.remove(&removed));
    }
    for signer in signers {
        assert_eq!(signer.join().expect("no panic"), 50);
    }
}

#[test]
fn debug_shows_names_only() {
    let store = SoftwareKeys::new();
    let key = store.load_pem(PEMS[2]).expect("a good key");
    assert_eq!(format!("{store:?}"), format!("SoftwareKeys {{ keys: [{:?}] }}", key.id()));
}
