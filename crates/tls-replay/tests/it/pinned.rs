//! What rustls asks, and of which traits, written down: a rustls that asks something new fails here first.

use std::path::PathBuf;
use std::{env, fs};

use cargo_metadata::MetadataCommand;

use crate::case::Case;
use crate::invisible::compare;

/// The questions up to the server's flight and after it, of two connections each. [`compare`] has found that both ways
/// of serving ask the same, so this is what the first pass asks and the second one replays.
#[test]
fn rustls_asks_what_it_asked_before() {
    let mut asked = String::new();
    for (name, case) in Case::kinds() {
        for (connection, seen) in ["first", "second"].iter().zip(compare(&case).unwrap()) {
            asked += &format!("{name}, {connection}: {}\n", seen.asked.join(", "));
        }
    }
    assert_pinned("questions.txt", &asked, "rustls asks something new");
}

/// Compares with a committed text, or writes it if `LAYBY_RECORD` is set.
fn assert_pinned(file: &str, text: &str, otherwise: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/pinned").join(file);
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
