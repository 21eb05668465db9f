//! Law L16 over random configurations and hellos, and over each kind of handshake.

use proptest::prelude::*;
use rustls::NamedGroup;
use tls_replay::ReplayError;

use crate::invisible::{BOTH, Case, Kept, X, changed_message_gets_no_signature, compare};
use crate::world::{Trouble, V12, V13, identities};

static P: &[NamedGroup] = &[NamedGroup::secp384r1];
static XP: &[NamedGroup] = &[NamedGroup::X25519, NamedGroup::secp384r1];
static PX: &[NamedGroup] = &[NamedGroup::secp384r1, NamedGroup::X25519];

type Names = &'static [&'static [u8]];

/// The server's protocols and the client's: none, one in common, none in common.
static PROTOCOLS: &[(Names, Names)] =
    &[(&[], &[]), (&[b"h2"], &[b"http/1.1", b"h2"]), (&[b"h2"], &[b"http/1.1"])];

prop_compose! {
    fn versions_and_groups()(
        server_versions in prop::sample::select(vec![BOTH, BOTH, V13, V12]),
        client_versions in prop::sample::select(vec![BOTH, BOTH, V13, V12]),
        server_groups in prop::sample::select(vec![X, P, XP, PX]),
        client_groups in prop::sample::select(vec![X, XP, PX]),
    ) -> Case {
        Case { server_versions, client_versions, server_groups, client_groups, ..Case::default() }
    }
}

prop_compose! {
    fn case()(
        base in versions_and_groups(),
        seed in any::<u64>(),
        key in 0..identities().len(),
        suite in 0..9usize,
        protocols in prop::sample::select(PROTOCOLS),
        flags in any::<[bool; 3]>(),
        local_key in prop::bool::weighted(0.1),
        kept in prop::sample::select(vec![Kept::Not, Kept::InTickets, Kept::InStore]),
        fragment in prop::option::weighted(0.3, 32..200usize),
        piece in prop_oneof![Just(usize::MAX), 1..40usize, 100..400usize],
        damage in prop::option::weighted(0.3, (0..1000usize, 1..=u8::MAX)),
    ) -> Case {
        let (server_protocols, client_protocols) = protocols;
        let [client_auth, early_data, compressed] = flags;
        Case {
            seed, key, suite, server_protocols, client_protocols, client_auth, early_data, compressed, kept,
            fragment, piece, damage, local_key, ..base
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn l16_the_client_sees_what_plain_rustls_sends(case in case()) {
        if let Err(difference) = compare(&case) {
            return Err(TestCaseError::fail(difference));
        }
    }
}

#[test]
fn l16_every_hook_is_asked_once_per_hello_and_the_key_log_is_that_of_rustls() {
    let kinds = [
        Case::default(),
        Case { client_versions: V12, ..Case::default() },
        Case { server_groups: P, client_groups: XP, ..Case::default() },
        Case { kept: Kept::InTickets, ..Case::default() },
        Case { kept: Kept::InStore, ..Case::default() },
        Case { kept: Kept::InTickets, client_versions: V12, ..Case::default() },
        Case { kept: Kept::InStore, client_versions: V12, ..Case::default() },
        Case { kept: Kept::InStore, early_data: true, ..Case::default() },
        Case { client_auth: true, compressed: true, ..Case::default() },
        Case { local_key: true, ..Case::default() },
    ];
    for case in kinds {
        let seen = compare(&case).unwrap_or_else(|difference| panic!("{case:?}\n{difference}"));
        for (n, seen) in seen.iter().enumerate() {
            assert_eq!((&seen.result, &seen.client), (&Ok(()), &Ok(())), "{case:?}");
            let resumed = n == 1 && case.kept != Kept::Not;
            assert_eq!(seen.signed, usize::from(!resumed), "{case:?}");
            assert!(!seen.log.is_empty());
        }
    }
}

#[test]
fn l16_a_rehearsal_that_does_not_sign_is_run_again_for_real() {
    // The alert comes after the server's hello: under keys, which no rehearsal has.
    let case =
        Case { server_protocols: &[b"h2"], client_protocols: &[b"http/1.1"], ..Case::default() };
    for seen in compare(&case).unwrap() {
        let refused = Trouble::Server(ReplayError::Tls(rustls::Error::NoApplicationProtocol));
        assert_eq!((seen.result, seen.signed), (Err(refused), 0));
        let alert = rustls::AlertDescription::NoApplicationProtocol;
        assert_eq!(seen.client, Err(rustls::Error::AlertReceived(alert)));
    }
}

#[test]
fn l16_a_signature_leaves_only_for_the_message_it_was_made_for() {
    changed_message_gets_no_signature().unwrap();
}
