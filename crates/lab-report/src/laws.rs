//! The laws by their titles, from the file that `docs/laws.md` is generated from.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

#[derive(Deserialize)]
struct Laws {
    law: Vec<Law>,
}

#[derive(Deserialize)]
struct Law {
    number: u8,
    title: String,
}

static TITLES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let laws: Laws =
        toml::from_str(include_str!("../../../docs/laws.toml")).expect("a table of laws");
    laws.law.into_iter().map(|law| (format!("L{}", law.number), law.title)).collect()
});

/// The title of a law, such as "No lost wakeup" of `L3`; empty for a name that is none.
pub fn law_title(law: &str) -> &'static str {
    TITLES.get(law).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_have_titles() {
        assert_eq!(law_title("L3"), "No lost wakeup");
        assert_eq!(law_title("L99"), "");
        assert_eq!(TITLES.len(), 16);
    }
}
