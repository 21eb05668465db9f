//! Real signatures, made and checked.

use crypto_ops::{CryptoOp, SignOp, Work as _};

use crate::keys::one_of_each;

#[test]
fn every_scheme_signs_and_its_check_accepts() {
    let (store, keys) = one_of_each();
    for key in &keys {
        for &scheme in key.schemes() {
            let op = SignOp::new(key.clone(), scheme, b"hello".to_vec()).expect("own scheme");
            let op = CryptoOp::from(op);
            let output = store.execute(&op).expect("signs");
            assert_eq!(op.check(&output), Ok(()), "{scheme}");
            assert!(op.check(&op.garbage()).is_err(), "{scheme}");
        }
    }
}
