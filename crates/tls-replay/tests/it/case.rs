//! Handshakes to compare: configurations of both sides, and what happens to the hello on its way.

use proptest::prelude::*;
use rustls::{NamedGroup, SupportedProtocolVersion, version};

use super::world::{V12, V13, identities};

/// How sessions are kept for resumption.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kept {
    Not,
    InTickets,
    InStore,
}

/// The client's certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ClientAuth {
    NotAsked,
    Shown,
    /// The server asks for it and the client has none.
    Missing,
}

/// The server's certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ServerKey {
    /// Its key signs later.
    Waits,
    /// Its key signs at once.
    SignsAtOnce,
    /// The server has none for this client.
    None,
}

/// A 0-RTT request of the second connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EarlyData {
    None,
    Accepted,
    /// The server's second configuration takes none.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    /// Index into [`identities`].
    pub(crate) key: usize,
    pub(crate) server_versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) client_versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) server_groups: &'static [NamedGroup],
    pub(crate) client_groups: &'static [NamedGroup],
    /// The client offers its suites from this one on.
    pub(crate) suite: usize,
    pub(crate) server_protocols: &'static [&'static [u8]],
    pub(crate) client_protocols: &'static [&'static [u8]],
    pub(crate) client_auth: ClientAuth,
    pub(crate) kept: Kept,
    pub(crate) early_data: EarlyData,
    /// Certificates are compressed: with a cache or without.
    pub(crate) compressed: Option<bool>,
    pub(crate) fragment: Option<usize>,
    pub(crate) piece: usize,
    /// Changes one byte of the first hello: where, in thousandths of its length, and by what.
    pub(crate) damage: Option<(usize, u8)>,
    pub(crate) server_key: ServerKey,
}

static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
static X: &[NamedGroup] = &[NamedGroup::X25519];
static P: &[NamedGroup] = &[NamedGroup::secp384r1];
static XP: &[NamedGroup] = &[NamedGroup::X25519, NamedGroup::secp384r1];
static PX: &[NamedGroup] = &[NamedGroup::secp384r1, NamedGroup::X25519];
static MX: &[NamedGroup] = &[NamedGroup::X25519MLKEM768, NamedGroup::X25519];

impl Default for Case {
    fn default() -> Self {
        Self {
            seed: 1,
            key: 0,
            server_versions: BOTH,
            client_versions: BOTH,
            server_groups: X,
            client_groups: X,
            suite: 0,
            server_protocols: &[],
            client_protocols: &[],
            client_auth: ClientAuth::NotAsked,
            kept: Kept::Not,
            early_data: EarlyData::None,
            compressed: None,
            fragment: None,
            piece: usize::MAX,
            damage: None,
            server_key: ServerKey::Waits,
        }
    }
}

impl Case {
    /// The server and the client have no protocol in common.
    pub(crate) fn without_common_protocol() -> Self {
        Self { server_protocols: &[b"h2"], client_protocols: &[b"http/1.1"], ..Self::default() }
    }

    /// Each kind of handshake that the server ends with an alert.
    pub(crate) fn refusals() -> Vec<Self> {
        let refusals = [
            Self::without_common_protocol(),
            Self { server_key: ServerKey::None, ..Self::default() },
            Self { client_auth: ClientAuth::Missing, ..Self::default() },
            Self { server_groups: P, client_groups: X, ..Self::default() },
        ];
        let older = refusals.clone().map(|case| Self { client_versions: V12, ..case });
        [&refusals[..], &older].concat()
    }

    /// Each kind of handshake that succeeds, by name.
    pub(crate) fn kinds() -> Vec<(&'static str, Self)> {
        let v13 = Self::default;
        let v12 = || Self { client_versions: V12, ..v13() };
        let (shown, stored) = (ClientAuth::Shown, Kept::InStore);
        vec![
            ("TLS 1.3", v13()),
            ("TLS 1.3, another hello", Self { server_groups: P, client_groups: XP, ..v13() }),
            ("TLS 1.3, tickets", Self { kept: Kept::InTickets, ..v13() }),
            ("TLS 1.3, stored sessions", Self { kept: stored, ..v13() }),
            (
                "TLS 1.3, early data",
                Self { kept: stored, early_data: EarlyData::Accepted, ..v13() },
            ),
            (
                "TLS 1.3, client certificate",
                Self { client_auth: shown, compressed: Some(true), ..v13() },
            ),
            ("TLS 1.2", v12()),
            ("TLS 1.2, tickets", Self { kept: Kept::InTickets, ..v12() }),
            ("TLS 1.2, stored sessions", Self { kept: stored, ..v12() }),
            ("TLS 1.2, client certificate", Self { client_auth: shown, ..v12() }),
            ("TLS 1.2, RSA", Self { key: 1, ..v12() }),
            ("TLS 1.3, ML-KEM", Self { server_groups: MX, client_groups: MX, ..v13() }),
            (
                "TLS 1.3, early data refused",
                Self { kept: stored, early_data: EarlyData::Refused, ..v13() },
            ),
            ("TLS 1.3, key at once", Self { server_key: ServerKey::SignsAtOnce, ..v13() }),
        ]
    }
}

type Names = &'static [&'static [u8]];

/// The server's protocols and the client's: none, one in common, none in common.
static PROTOCOLS: &[(Names, Names)] =
    &[(&[], &[]), (&[b"h2"], &[b"http/1.1", b"h2"]), (&[b"h2"], &[b"http/1.1"])];

prop_compose! {
    fn versions_and_groups()(
        server_versions in prop::sample::select(vec![BOTH, BOTH, V13, V12]),
        client_versions in prop::sample::select(vec![BOTH, BOTH, V13, V12]),
        server_groups in prop::sample::select(vec![X, P, XP, PX, MX]),
        client_groups in prop::sample::select(vec![X, XP, PX, MX]),
        suite in 0..9usize,
    ) -> Case {
        Case {
            server_versions, client_versions, server_groups, client_groups, suite, ..Case::default()
        }
    }
}

prop_compose! {
    fn on_the_way()(
        fragment in prop::option::weighted(0.3, 32..200usize),
        piece in prop_oneof![Just(usize::MAX), 1..40usize, 100..400usize],
        damage in prop::option::weighted(0.3, (0..1000usize, 1..=u8::MAX)),
    ) -> (Option<usize>, usize, Option<(usize, u8)>) {
        (fragment, piece, damage)
    }
}

prop_compose! {
    /// Any case.
    pub(crate) fn any_case()(
        base in versions_and_groups(),
        seed in any::<u64>(),
        key in 0..identities().len(),
        (server_protocols, client_protocols) in prop::sample::select(PROTOCOLS),
        client_auth in prop::sample::select(
            vec![ClientAuth::NotAsked, ClientAuth::NotAsked, ClientAuth::Shown, ClientAuth::Missing]
        ),
        early_data in prop::sample::select(
            vec![EarlyData::None, EarlyData::Accepted, EarlyData::Refused]
        ),
        compressed in any::<Option<bool>>(),
        server_key in prop_oneof![
            18 => Just(ServerKey::Waits), 2 => Just(ServerKey::SignsAtOnce), 1 => Just(ServerKey::None)
        ],
        kept in prop::sample::select(vec![Kept::Not, Kept::InTickets, Kept::InStore, Kept::InStore]),
        (fragment, piece, damage) in on_the_way(),
    ) -> Case {
        Case {
            seed, key, server_protocols, client_protocols, client_auth, kept, early_data, compressed,
            fragment, piece, damage, server_key, ..base
        }
    }
}
