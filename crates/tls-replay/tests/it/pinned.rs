//! What rustls asks, and of which traits, written down: a rustls that asks something new fails here first.

use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use cargo_metadata::MetadataCommand;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom};
use rustls::sign::SigningKey;

use crate::case::Case;
use crate::invisible::{compare_with, seen_in};
use crate::servers::{ByReplay, PlainRustls, Server, Way};

/// The questions up to the server's flight and after it, of two connections for each kind of handshake.
fn questions(way: &dyn Way) -> String {
    let mut asked = String::new();
    for (name, case) in Case::kinds() {
        for (connection, seen) in ["first", "second"].iter().zip(seen_in(&case, way)) {
            asked += &format!("{name}, {connection}: {}\n", seen.asked.join(", "));
        }
    }
    asked
}

/// Law L16's tests find that both ways of serving ask the same, so this is what the first pass asks and the second one
/// replays.
#[test]
fn rustls_asks_what_it_asked_before() {
    for way in [&ByReplay as &dyn Way, &PlainRustls] {
        assert_pinned("questions.txt", &questions(way), "rustls asks something new");
    }
}

/// Serves with a provider that is asked for one more random number each time: as if rustls, or a wrapper, asked more.
struct AskingMore<W>(W);

impl<W: Way> Way for AskingMore<W> {
    fn provider(&self, provider: CryptoProvider) -> CryptoProvider {
        let provider = self.0.provider(provider);
        let secure_random = Box::leak(Box::new(Twice(provider.secure_random)));
        CryptoProvider { secure_random, ..provider }
    }

    fn key(&self, key: Arc<dyn SigningKey>) -> Arc<dyn SigningKey> {
        self.0.key(key)
    }

    fn servers(&self, config: ServerConfig) -> Box<dyn Fn() -> Server> {
        self.0.servers(config)
    }
}

#[derive(Debug)]
struct Twice(&'static dyn SecureRandom);

impl SecureRandom for Twice {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.fill(&mut [0])?;
        self.0.fill(buffer)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

#[test]
fn one_more_question_is_noticed_by_the_list_and_by_the_comparison() {
    let pinned = fs::read_to_string(pinned("questions.txt")).unwrap();
    for way in [&AskingMore(PlainRustls) as &dyn Way, &AskingMore(ByReplay)] {
        let asked = questions(way);
        let lines = || asked.lines().zip(pinned.lines());
        assert_eq!(asked.lines().count(), pinned.lines().count());
        assert!(lines().all(|(asked, pinned)| asked != pinned && asked.contains("random 1,")));
    }
    // Recorded in the first pass and replayed in the second, as any other: the handshake itself goes well.
    assert!(
        seen_in(&Case::default(), &AskingMore(ByReplay)).iter().all(|seen| seen.result.is_ok())
    );
    let difference = compare_with(&Case::default(), &AskingMore(ByReplay)).unwrap_err();
    assert!(difference.contains("random 1"), "{difference}");
}

fn pinned(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/pinned").join(file)
}

/// Compares with a committed text, or writes it if `LAYBY_RECORD` is set.
fn assert_pinned(file: &str, text: &str, otherwise: &str) {
    let path = pinned(file);
    if env::var_os("LAYBY_RECORD").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap(), "{otherwise}");
}

/// The traits that are wrapped, and the structs of which parts are wrapped: a new method would not be forwarded, and a
/// new hook not be recorded.
const WRAPPED: &[(&str, &str)] = &[
    ("crypto/mod.rs", "pub struct CryptoProvider"),
    ("crypto/mod.rs", "pub trait SecureRandom"),
    ("crypto/mod.rs", "pub trait SupportedKxGroup"),
    ("crypto/mod.rs", "pub trait ActiveKeyExchange"),
    ("crypto/hash.rs", "pub trait Hash"),
    ("crypto/hash.rs", "pub trait Context"),
    ("crypto/tls13.rs", "pub trait Hkdf"),
    ("crypto/tls13.rs", "pub trait HkdfExpander"),
    ("crypto/cipher.rs", "pub trait Tls13AeadAlgorithm"),
    ("crypto/cipher.rs", "pub trait MessageEncrypter"),
    ("crypto/cipher.rs", "pub trait MessageDecrypter"),
    ("crypto/signer.rs", "pub trait SigningKey"),
    ("crypto/signer.rs", "pub trait Signer"),
    ("server/server_conn.rs", "pub struct ServerConfig"),
    ("server/server_conn.rs", "pub trait StoresServerSessions"),
    ("server/server_conn.rs", "pub trait ProducesTickets"),
    ("server/server_conn.rs", "pub trait ResolvesServerCert"),
    ("time_provider.rs", "pub trait TimeProvider"),
    ("key_log.rs", "pub trait KeyLog"),
];

#[test]
fn the_wrapped_traits_have_the_methods_they_had_before() {
    let source = rustls_source();
    let mut found = String::new();
    for (file, item) in WRAPPED {
        let text = fs::read_to_string(source.join(file)).unwrap();
        found += &format!("{item}: {}\n", members(&text, item).join(" "));
    }
    assert_pinned("traits.txt", &found, "rustls has something new to wrap");
}

/// The source of the rustls that these tests are built with.
fn rustls_source() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).exec().unwrap();
    let mut rustls = metadata.packages.iter().filter(|package| package.name.as_str() == "rustls");
    let (rustls, another) = (rustls.next().unwrap(), rustls.next());
    assert!(another.is_none(), "one rustls in the tree");
    rustls.manifest_path.parent().unwrap().join("src").into()
}

/// The methods of a trait, or the public fields of a struct.
fn members(text: &str, item: &str) -> Vec<String> {
    let start = text
        .match_indices(item)
        .find(|(at, _)| !text[at + item.len()..].starts_with(char::is_alphanumeric))
        .unwrap_or_else(|| panic!("{item} is not where it was"))
        .0;
    let body = text[start..].split("\n}").next().unwrap();
    let name = |line: &str| {
        let line = line.strip_prefix("    ")?;
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("fn "))?;
        let end = line.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        Some(line[..end].to_owned())
    };
    body.lines().filter_map(name).collect()
}
