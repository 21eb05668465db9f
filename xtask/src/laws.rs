//! `docs/laws.md`: each law, the tests named after it, and the bugs planted to show that it is checked. Generated, so
//! that it cannot drift; the gate fails if it has.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where the map is.
pub(crate) const PATH: &str = "docs/laws.md";

/// One law.
struct Law {
    number: u8,
    title: &'static str,
    text: &'static str,
    /// What breaks the law and is caught: `--plant` names, or what stands in for one.
    plants: &'static str,
}

#[rustfmt::skip]
const LAWS: &[Law] = &[
    Law { number: 1, title: "Ownership",
          text: "A device only ever touches memory that the request owns; the request travels to it and back. No pointer \
                 into a fiber's stack leaves the fiber through an engine.",
          plants: "by type: `Work: 'static`, and `Request` owns it" },
    Law { number: 2, title: "A wake is a hint, the request is the truth",
          text: "An extra resume at any time changes nothing and never submits twice.",
          plants: "`trust-wake`" },
    Law { number: 3, title: "No lost wakeup",
          text: "A completion before the pause, before `submit` returns, or on another thread still leads to a resume.",
          plants: "`lost-wake`" },
    Law { number: 4, title: "One wake per reason to resume",
          text: "A completion gives one, and so does a fatal error. A full ring gives none, unless the engine was told to \
                 notify; then it gives one when the request may be retried. No call begins after unset, cancel or finish \
                 has returned. Callbacks never run on a fiber; a panic in one is caught and counted.",
          plants: "`double-wake`" },
    Law { number: 5, title: "Drop is sound",
          text: "Cancelled is sticky. A cancelled job is resumed under our own `catch_unwind`; a second pause starts the \
                 unwinding; what swallows it again and again is quarantined and counted. Late completions are counted, \
                 wiped and dropped.",
          plants: "`skip-erase` (crates/engine-core/tests/plants.rs); a job that swallows every unwinding, and one that panics while it is cancelled" },
    Law { number: 6, title: "Threads",
          text: "A job is `!Send` and resumes where it started. Wakers are `Send + Sync`.",
          plants: "compile-fail tests, each with a twin that compiles" },
    Law { number: 7, title: "No spin",
          text: "For each request, the resumes that our own loops make are at most its wakes and one more. With nothing in \
                 flight and no timer armed there are no system calls.",
          plants: "`spin-resume`" },
    Law { number: 8, title: "Ledger",
          text: "With nothing in flight there are no jobs, stacks in use, requests or waiters; with no session alive, no \
                 descriptors and no device handles.",
          plants: "`leak-request`" },
    Law { number: 9, title: "Determinism",
          text: "The same scenario, profiles and seed give the same trace in virtual time; another seed gives another.",
          plants: "another seed" },
    Law { number: 10, title: "Panics",
          text: "A panic in a job surfaces in whoever resumes it; in a drop it is swallowed and counted. The pool and every \
                 other job are unharmed.",
          plants: "jobs that panic, in the random schedules" },
    Law { number: 11, title: "Where pausing is refused the operation completes synchronously",
          text: "Outside a job, under a pause block, on the parent's stack, while panicking: `pause` says which it was.",
          plants: "each of the four cases" },
    Law { number: 12, title: "Nothing unverified leaves the engine",
          text: "RSA signatures are always checked against the public key; other results as the policy says, on the \
                 completion side.",
          plants: "`skip-check`" },
    Law { number: 13, title: "Backpressure is fair",
          text: "First come first served for each device and kind, and bounded; past the bound the work comes back.",
          plants: "`lifo-queue`; `slow-blocks-fast` (crates/engine-core/tests/plants.rs)" },
    Law { number: 14, title: "Deadlines",
          text: "An operation may have a deadline and a policy for when it passes; the losing result is discarded as law 5 \
                 says.",
          plants: "`ignore-deadline` (with the scenario `deadline-fallback`)" },
    Law { number: 15, title: "A failed operation ends its session, cleanly",
          text: "The session keeps the typed cause, sends what is due and `close_notify`, or the alert that rustls has chosen \
                 instead, and answers every later call with the cause.",
          plants: "devices that fail" },
];

/// The map for the tests found in `sources`, given as path and text.
pub(crate) fn page<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut tests: BTreeMap<u8, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, text) in sources {
        for (law, name) in law_tests(text) {
            tests.entry(law).or_default().push((name, path));
        }
    }
    let mut page = String::from(
        "# The laws\n\n\
         <!-- Generated by `cargo xtask laws`; edit xtask/src/laws.rs instead. -->\n\n\
         What the system promises, whoever drops, panics, cancels or floods it. Each law has tests named after it, and\n\
         a bug that breaks it and that they catch: planted with `cargo xtask sim --plant BUG` where a name stands in\n\
         backquotes alone. A run of a scenario checks the laws as well and says how often.\n",
    );
    for law in LAWS {
        let _ = write!(
            page,
            "\n## L{} {}\n\n{}\n\nCaught: {}.\n",
            law.number, law.title, law.text, law.plants
        );
        let mut tests = tests.remove(&law.number).unwrap_or_default();
        tests.sort_unstable();
        tests.dedup();
        page.push('\n');
        for (name, path) in tests {
            let _ = writeln!(page, "- `{name}` in {path}");
        }
    }
    page
}

/// What is wrong with the map, given the one that is committed.
pub(crate) fn findings(committed: &str, generated: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if committed != generated {
        findings.push(format!("{PATH}: laws: it is out of date; run `cargo xtask laws`"));
    }
    for law in LAWS {
        let title = format!("## L{} {}\n", law.number, law.title);
        let section = generated.split_once(&title).map_or("", |(_, rest)| rest);
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        if !section.contains("\n- `l") {
            findings.push(format!("{PATH}: laws: L{} has no test; name one after it", law.number));
        }
    }
    findings
}

/// The tests of a source that are named after laws. One may hold several: `l3_l7_...`.
fn law_tests(text: &str) -> Vec<(u8, &str)> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let after_fn = words.windows(2).filter(|pair| pair[0] == "fn").map(|pair| pair[1]);
    after_fn.flat_map(|name| laws_in(name).into_iter().map(move |law| (law, name))).collect()
}

/// The laws that a name begins with; none unless a claim follows.
fn laws_in(name: &str) -> Vec<u8> {
    let mut laws = Vec::new();
    for part in name.split('_') {
        match part.strip_prefix('l').and_then(|number| number.parse().ok()) {
            Some(law) => laws.push(law),
            None => return laws,
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_laws_it_holds() {
        assert_eq!(laws_in(concat!("l3", "_no_lost_wakeup")), [3]);
        assert_eq!(laws_in(concat!("l5", "_l8_nothing_accumulates")), [5, 8]);
        assert!(laws_in("later_on").is_empty() && laws_in("l3").is_empty());
    }

    #[test]
    fn a_law_without_a_test_and_a_stale_page_are_found() {
        let all: String =
            LAWS.iter().map(|law| format!("fn l{}_holds() {{}}\n", law.number)).collect();
        let page_of = |text: &str| page([("a.rs", text)].into_iter());
        let whole = page_of(&all);
        assert_eq!(findings(&whole, &whole), Vec::<String>::new());
        let without = page_of(&all.replace(concat!("fn l4", "_holds"), "fn other"));
        assert_eq!(findings(&whole, &without).len(), 2, "stale, and L4 has none");
    }
}
