//! Law L16 over random configurations and hellos, and over each kind of handshake.

use proptest::prelude::*;
use tls_replay::ReplayError;

use crate::case::{Case, Kept, any_case};
use crate::invisible::{changed_message_gets_no_signature, compare};
use crate::world::Trouble;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn l16_the_client_sees_what_plain_rustls_sends(case in any_case()) {
        if let Err(difference) = compare(&case) {
            return Err(TestCaseError::fail(difference));
        }
    }
}

#[test]
fn l16_every_hook_is_asked_once_per_hello_and_the_key_log_is_that_of_rustls() {
    for (name, case) in Case::kinds() {
        let seen = compare(&case).unwrap_or_else(|difference| panic!("{name}\n{difference}"));
        for (n, seen) in seen.iter().enumerate() {
            assert_eq!((&seen.result, &seen.client), (&Ok(()), &Ok(())), "{name}");
            let resumed = n == 1 && case.kept != Kept::Not;
            assert_eq!(seen.signed, usize::from(!resumed), "{name}");
            assert!(!seen.log.is_empty());
        }
    }
}

#[test]
fn l16_a_rehearsal_that_does_not_sign_is_run_again_for_real() {
    // The alert comes after the server's hello: under keys, which no rehearsal has.
    let case = Case::without_common_protocol();
    for seen in compare(&case).unwrap() {
        let refused = Trouble::Server(ReplayError::Tls(rustls::Error::NoApplicationProtocol));
        assert_eq!((seen.result, seen.signed), (Err(refused), 0));
        let alert = rustls::AlertDescription::NoApplicationProtocol;
        assert_eq!(seen.client, Err(rustls::Error::AlertReceived(alert)));
    }
}

#[test]
fn l16_a_refused_client_is_sent_what_rustls_sends() {
    for case in Case::refusals() {
        let seen = compare(&case).unwrap_or_else(|difference| panic!("{case:?}\n{difference}"));
        assert!(seen.iter().all(|seen| seen.result.is_err()), "{case:?}");
    }
}

#[test]
fn l16_a_signature_leaves_only_for_the_message_it_was_made_for() {
    changed_message_gets_no_signature().unwrap();
}
