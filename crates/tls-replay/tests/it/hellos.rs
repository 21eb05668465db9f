//! Any bytes of a client, and hellos of other people's libraries.

use proptest::prelude::*;

use crate::hello_bytes::{CHOICES, drive, recorded};

#[test]
fn l16_recorded_hellos_get_the_answer_of_rustls_in_every_configuration() {
    let recorded = recorded();
    assert!(recorded.len() >= 15, "hellos of browsers, tools and libraries");
    for (file, hello) in recorded {
        let mut answered = 0;
        for choice in 0..CHOICES {
            for piece in [0, 20, 255] {
                let input = [&[choice, piece], &hello[2..]].concat();
                let seen = drive(&input).unwrap_or_else(|| panic!("{file}"));
                // A flight and not an alert.
                answered += usize::from(seen.sent.len() > 100);
            }
        }
        assert!(answered > 0, "{file} is never answered");
    }
}

prop_compose! {
    /// A recorded hello in which some bytes are changed, cut out or doubled.
    fn changed()(
        index in any::<prop::sample::Index>(),
        choice in 0..CHOICES,
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
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn l16_changed_hellos_get_the_answer_of_rustls(input in changed()) {
        drive(&input);
    }

    #[test]
    fn l16_any_bytes_get_the_answer_of_rustls(input in prop::collection::vec(any::<u8>(), 0..100)) {
        drive(&input);
    }
}
