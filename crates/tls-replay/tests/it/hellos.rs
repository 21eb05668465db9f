//! Any bytes of a client, and hellos of other people's libraries.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::hello_bytes::drive;

/// The recorded hellos, by file.
fn recorded() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hello_bytes/seeds");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}

#[test]
fn l16_recorded_hellos_get_the_answer_of_rustls_in_every_configuration() {
    let recorded = recorded();
    assert!(recorded.len() >= 6, "hellos of openssl, curl and gnutls");
    let mut answered = 0;
    for (file, hello) in recorded {
        for choice in 0..12 {
            for piece in [0, 20, 255] {
                let input = [&[choice, piece], &hello[2..]].concat();
                let seen = drive(&input).unwrap_or_else(|| panic!("{file}"));
                // A flight and not an alert.
                answered += usize::from(seen.sent.len() > 100);
            }
        }
    }
    assert!(answered > 100, "{answered}");
}

prop_compose! {
    /// A recorded hello in which some bytes are changed, cut out or doubled.
    fn changed()(
        index in any::<prop::sample::Index>(),
        choice in 0..12u8,
        piece in any::<u8>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 0..4),
    ) -> Vec<u8> {
        let mut input = index.get(&recorded()).1.clone();
        (input[0], input[1]) = (choice, piece);
        for (at, how, value) in edits {
            let at = 2 + at.index(input.len() - 2);
            match how {
                0 => input[at] = value,
                1 => drop(input.remove(at)),
                _ => input.insert(at, value),
            }
            if input.len() < 4 {
                break;
            }
        }
        input
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn l16_changed_hellos_get_the_answer_of_rustls(input in changed()) {
        drive(&input);
    }

    #[test]
    fn l16_any_bytes_get_the_answer_of_rustls(input in prop::collection::vec(any::<u8>(), 0..100)) {
        drive(&input);
    }
}
