//! Key agreement: both sides compute the same secret, and shares and results of the wrong form are rejected.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crypto_ops::testing::{fake_output, flip_bit};
use crypto_ops::{
    AgreeOp, AgreeStep, CryptoOp, CryptoOutput, EphemeralKey, Group, OpError, Secret, SoftwareKeys,
    Work, device_handles,
};
use proptest::prelude::*;

/// The count of handles is global: tests that make any run one after the other.
static HANDLES: Mutex<()> = Mutex::new(());

fn lock_handles() -> MutexGuard<'static, ()> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Computes an operation as a device would, and checks the result as the engine would.
fn execute(op: AgreeOp) -> CryptoOutput {
    let op = CryptoOp::from(op);
    assert!(op.must_check());
    let output = SoftwareKeys::new().execute(&op).expect("the library works");
    assert_eq!(op.check(&output), Ok(()));
    output
}

fn started(group: Group) -> (Vec<u8>, EphemeralKey) {
    match execute(AgreeOp::start(group)) {
        CryptoOutput::Started { share, key } => (share, key),
        other => panic!("{other:?}"),
    }
}

fn answered(group: Group, share: &[u8]) -> (Vec<u8>, Secret) {
    match execute(AgreeOp::start_and_complete(group, share).unwrap()) {
        CryptoOutput::Agreed { share, secret } => (share, secret),
        other => panic!("{other:?}"),
    }
}

fn completed(op: AgreeOp) -> Secret {
    match execute(op) {
        CryptoOutput::Secret(secret) => secret,
        other => panic!("{other:?}"),
    }
}

fn any_group() -> impl Strategy<Value = Group> {
    prop::sample::select(Group::ALL.to_vec())
}

#[test]
fn both_sides_compute_the_same_secret_and_no_other_exchange_does() {
    let _handles = lock_handles();
    for group in Group::ALL {
        let mut secrets = Vec::new();
        for _ in 0..4 {
            let (share, key) = started(group);
            let (answer, theirs) = answered(group, &share);
            let ours = completed(AgreeOp::complete(key, &answer).unwrap());
            assert_eq!(ours, theirs, "{group}");
            assert!(!secrets.contains(&ours));
            secrets.push(ours);
        }
    }
}

#[test]
fn another_implementation_computes_the_same_secret() {
    let _handles = lock_handles();
    use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
    for (group, algorithm) in [
        (Group::X25519, &agreement::X25519),
        (Group::P256, &agreement::ECDH_P256),
        (Group::P384, &agreement::ECDH_P384),
    ] {
        let theirs = PrivateKey::generate(algorithm).unwrap();
        let public = theirs.compute_public_key().unwrap();
        let (share, secret) = answered(group, public.as_ref());
        let peer = UnparsedPublicKey::new(algorithm, &share);
        let same = agreement::agree(&theirs, peer, (), |s| Ok(s == secret.expose()));
        assert_eq!(same, Ok(true));
    }
}

#[test]
fn a_server_without_the_hybrid_group_may_answer_its_classical_half() {
    let _handles = lock_handles();
    let (share, key) = started(Group::X25519MlKem768);
    let half = &share[share.len() - Group::X25519.client_share_len()..];
    let (answer, theirs) = answered(Group::X25519, half);
    let ours = completed(AgreeOp::complete_classical_half(key, &answer).unwrap());
    assert_eq!(ours, theirs);

    let (_, classical) = started(Group::P256);
    assert!(AgreeOp::complete_classical_half(classical, &answer).is_err());
}

#[test]
fn l8_a_handle_is_counted_until_its_last_clone_is_dropped() {
    let _handles = lock_handles();
    let before = device_handles().now;
    let (share, key) = started(Group::X25519);
    assert_eq!(device_handles().now, before + 1);
    let (answer, _) = answered(Group::X25519, &share);
    let op = AgreeOp::complete(key, &answer).unwrap();
    let twin = op.clone();
    assert_eq!(device_handles().now, before + 1, "a clone is the same key");
    drop(op);
    drop(twin);
    assert_eq!(device_handles().now, before);
    assert!(device_handles().peak > before);
}

#[test]
fn the_devices_value_is_dropped_with_the_last_handle() {
    let _handles = lock_handles();
    struct Object<'a>(&'a std::sync::atomic::AtomicBool);
    impl Drop for Object<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    static FREED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let key = EphemeralKey::new(Group::P384, Object(&FREED));
    assert!(key.private::<Object<'static>>().is_some() && key.private::<u8>().is_none());
    let elsewhere = std::thread::spawn(move || drop(key));
    elsewhere.join().unwrap();
    assert!(FREED.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn a_key_from_another_device_is_refused_by_name() {
    let _handles = lock_handles();
    let key = EphemeralKey::new(Group::X25519, 17_u32);
    let op = CryptoOp::from(AgreeOp::complete(key, &[9; 32]).unwrap());
    let refused = SoftwareKeys::new().execute(&op).unwrap_err();
    assert_eq!(refused, OpError::ForeignKey { group: Group::X25519 });
}

#[test]
fn a_point_of_small_order_or_off_the_curve_is_the_peers_fault() {
    let _handles = lock_handles();
    let keys = SoftwareKeys::new();
    let mut off_curve = [7; 65];
    off_curve[0] = 4;
    for (group, share) in [(Group::X25519, [0; 32].to_vec()), (Group::P256, off_curve.to_vec())] {
        let (_, key) = started(group);
        for op in [
            AgreeOp::start_and_complete(group, &share).unwrap(),
            AgreeOp::complete(key, &share).unwrap(),
        ] {
            let op = CryptoOp::from(op);
            let output = keys.execute(&op).unwrap();
            assert_eq!(output, CryptoOutput::BadShare);
            assert_eq!(op.check(&output), Ok(()), "the device is not at fault");
        }
    }
    // The encapsulation key's coefficients are out of range.
    let hybrid = Group::X25519MlKem768;
    let op = AgreeOp::start_and_complete(hybrid, &vec![0xff; hybrid.client_share_len()]).unwrap();
    assert_eq!(execute(op), CryptoOutput::BadShare);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_share_of_the_wrong_form_never_reaches_a_device(
        group in any_group(),
        share in prop::collection::vec(any::<u8>(), 0..1300),
    ) {
        let _handles = lock_handles();
        let key = EphemeralKey::new(group, ());
        let fits = share.len() == group.client_share_len();
        prop_assert!(AgreeOp::start_and_complete(group, &share).is_err() || fits);
        let fits = share.len() == group.server_share_len();
        prop_assert!(AgreeOp::complete(key, &share).is_err() || fits);
    }

    #[test]
    fn l12_a_result_of_the_wrong_form_is_caught(group in any_group(), cut in 1..32_usize) {
        let _handles = lock_handles();
        let (share, key) = started(group);
        let start = CryptoOp::from(AgreeOp::start(group));
        let short = share[..share.len() - cut].to_vec();
        let wrong = CryptoOutput::Started { share: short, key: key.clone() };
        prop_assert!(start.check(&wrong).is_err());

        let both = CryptoOp::from(AgreeOp::start_and_complete(group, &share).unwrap());
        let (answer, secret) = answered(group, &share);
        let agreed = |share: &[u8], secret: &[u8]| CryptoOutput::Agreed {
            share: share.to_vec(),
            secret: Secret::from(secret),
        };
        let bytes = secret.expose();
        prop_assert!(both.check(&agreed(&answer, bytes)).is_ok());
        prop_assert!(both.check(&agreed(&answer[cut..], bytes)).is_err());
        prop_assert!(both.check(&agreed(&answer, &bytes[..bytes.len() - cut])).is_err());
        prop_assert!(both.check(&agreed(&answer, &vec![0; bytes.len()])).is_err());
        // A hybrid secret with one half missing is as bad as none.
        if group.classical_half().is_some() {
            let half = [&bytes[..32], &[0; 32]].concat();
            prop_assert!(both.check(&agreed(&answer, &half)).is_err());
        }

        // Results of other steps and other operations.
        let complete = CryptoOp::from(AgreeOp::complete(key.clone(), &answer).unwrap());
        for output in [
            CryptoOutput::Started { share, key },
            CryptoOutput::Signature(vec![1].into()),
            CryptoOutput::Opened(None),
        ] {
            prop_assert!(both.check(&output).is_err());
            prop_assert!(complete.check(&output).is_err());
        }
        prop_assert!(start.check(&CryptoOutput::BadShare).is_err());
        prop_assert!(complete.check(&CryptoOutput::Secret(secret)).is_ok());
    }

    #[test]
    fn a_fake_output_has_the_right_form_and_a_flipped_bit_changes_a_secret(group in any_group()) {
        let _handles = lock_handles();
        let (share, key) = started(group);
        let (answer, secret) = answered(group, &share);
        for op in [
            AgreeOp::start(group),
            AgreeOp::start_and_complete(group, &share).unwrap(),
            AgreeOp::complete(key, &answer).unwrap(),
        ] {
            let op = CryptoOp::from(op);
            prop_assert_eq!(op.check(&fake_output(&op)), Ok(()));
        }
        let whole = CryptoOutput::Secret(secret);
        prop_assert_ne!(flip_bit(whole.clone()), whole);
    }
}

#[test]
fn nothing_secret_is_shown() {
    let _handles = lock_handles();
    let (share, key) = started(Group::P256);
    let (answer, secret) = answered(Group::P256, &share);
    assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
    assert_eq!(format!("{key:?}"), "EphemeralKey { group: P256, .. }");
    let op = AgreeOp::complete(key, &answer).unwrap();
    assert_eq!(format!("{op:?}"), "AgreeOp { group: P256, step: Complete }");
    assert_eq!(format!("{:?}", AgreeStep::Start), "Start");
    assert_eq!(format!("{:?}", CryptoOutput::Agreed { share, secret }), "Agreed(65 bytes)");
}

#[test]
fn groups_have_the_numbers_of_the_registry_and_a_kind_of_their_own() {
    let numbers: Vec<_> = Group::ALL.iter().map(|group| group.to_u16()).collect();
    assert_eq!(numbers, [29, 23, 24, 4588]);
    for group in Group::ALL {
        assert_eq!(Group::from_u16(group.to_u16()), Some(group));
    }
    let kinds: std::collections::BTreeSet<_> = Group::ALL.map(Group::agree_kind).into();
    assert_eq!(kinds.len(), 4);
}

#[test]
fn every_operation_may_be_sent_twice_but_the_one_that_needs_its_devices_key() {
    let _handles = lock_handles();
    let (share, key) = started(Group::X25519);
    let (answer, _) = answered(Group::X25519, &share);
    let twice = |op: AgreeOp| CryptoOp::from(op).duplicate().is_some();
    assert!(twice(AgreeOp::start(Group::X25519)));
    assert!(twice(AgreeOp::start_and_complete(Group::X25519, &share).unwrap()));
    assert!(!twice(AgreeOp::complete(key, &answer).unwrap()));
}
