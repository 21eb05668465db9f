//! Writes `docs/laws.md`: each law, the tests named after it, and the planted bugs that these tests catch.
//!
//! The gate fails if the committed page differs from the generated one, and for a law without a test or a bug.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// The page, relative to the root.
pub(crate) const PATH: &str = "docs/laws.md";

/// The table of planted bugs, relative to the root.
const PLANTS_PATH: &str = "docs/plants.toml";

/// One law.
struct Law {
    number: u8,
    title: &'static str,
    text: &'static str,
}

/// The bugs that break laws. The tests of the swarm go by the same table.
const PLANTS: &str = include_str!("../../docs/plants.toml");

#[derive(Deserialize)]
struct Plants {
    plant: Vec<Plant>,
}

/// A bug, and what finds it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plant {
    /// Its name after `--plant`, if the swarm can have it.
    bug: Option<String>,
    law: u8,
    what: String,
    /// The swarm finds the broken law within this number of seeds.
    seeds: Option<u64>,
    /// Else: the test that finds it.
    by: Option<String>,
}

impl Plant {
    /// The bug and what catches it, as a line of the page; an error if the table does not say what catches it.
    fn line(&self) -> Result<String, String> {
        let Self { law, what, .. } = self;
        match (&self.bug, self.seeds, &self.by) {
            (Some(bug), Some(seeds), None) => {
                Ok(format!("- `{bug}`: {what}. By the swarm, within {seeds} seeds."))
            }
            (None, None, Some(test)) if test.contains(' ') => {
                Ok(format!("- {}. By {test}.", capital(what)))
            }
            (None, None, Some(test)) => Ok(format!("- {}. By `{test}`.", capital(what))),
            _ => Err(format!("a plant of L{law} needs either `bug` and `seeds`, or `by`")),
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The table, by law.
fn plants(table: &str) -> Result<BTreeMap<u8, Vec<Plant>>, String> {
    let table: Plants = toml::from_str(table).map_err(|error| error.message().to_owned())?;
    let mut plants: BTreeMap<u8, Vec<Plant>> = BTreeMap::new();
    table.plant.into_iter().for_each(|plant| plants.entry(plant.law).or_default().push(plant));
    Ok(plants)
}

#[rustfmt::skip]
const LAWS: &[Law] = &[
    Law { number: 1, title: "Ownership",
          text: "A device only ever touches memory that the request owns; the request travels to it and back. No pointer \
                 into a fiber's stack leaves the fiber through an engine." },
    Law { number: 2, title: "A wake is a hint, the request is the truth",
          text: "An extra resume at any time changes nothing and never submits twice." },
    Law { number: 3, title: "No lost wakeup",
          text: "A completion before the pause, before `submit` returns, or on another thread still leads to a resume." },
    Law { number: 4, title: "One wake per reason to resume",
          text: "A completion gives one, and so does a fatal error. A full ring gives none, unless the engine was told to \
                 notify; then it gives one when the request may be retried. No call begins after unset, cancel or finish \
                 has returned. Callbacks, checks, devices and software computations never run on a job's stack, in whichever \
                 job the engine is called, and a pause in them answers `Blocked`; a panic in a callback is caught and counted." },
    Law { number: 5, title: "Drop is sound",
          text: "Cancelled is sticky. A cancelled job is resumed under our own `catch_unwind` and told so at every pause; \
                 one that does not end is quarantined and counted, or unwound in a pool that asks for that and accepts \
                 that an unwind aborts in a frame of C or a destructor that panics. A job that \
                 was paused when its thread began to destroy its thread-local variables is leaked and counted, as far as \
                 a destructor can tell. Two things stay undefined behaviour, in safe code that pauses inside the standard \
                 library's: a pause in a `thread_local!` initialiser, and a pause inside `LocalKey::with` by a job that \
                 is alive when its thread ends and is missed by that (`docs/what-runs-in-a-job.md` has both); so does a \
                 pause inside a scoped thread-local of another crate. Late \
                 completions are counted, wiped and dropped. No drop of ours joins a thread, blocks, panics or aborts, on any \
                 thread, in any process: what is under way ends by itself and is counted; `shutdown(deadline)` is the call \
                 that waits." },
    Law { number: 6, title: "Threads",
          text: "A job is `!Send` and resumes where it started. Wakers are `Send + Sync`." },
    Law { number: 7, title: "No spin",
          text: "For each request, the resumes that our own loops make are at most its wakes and one more. With nothing in \
                 flight and no timer armed there are no system calls." },
    Law { number: 8, title: "Ledger",
          text: "With nothing in flight there are no jobs, stacks in use, requests or waiters; with no session alive, no \
                 descriptors and no device handles." },
    Law { number: 9, title: "Determinism",
          text: "The same scenario, profiles and seed give the same trace in virtual time; another seed gives another." },
    Law { number: 10, title: "Panics",
          text: "A panic in a job surfaces from the call that resumed the job; in a drop it is caught and counted. The \
                 pool and every other job are unharmed." },
    Law { number: 11, title: "Where pausing is refused the operation completes synchronously",
          text: "Outside a job, under a pause block, on the parent's stack, while panicking: `pause` says which it was." },
    Law { number: 12, title: "Nothing unverified leaves the engine",
          text: "RSA signatures are always checked against the public key; other results as the policy says, on the \
                 completion side." },
    Law { number: 13, title: "Backpressure is fair",
          text: "First come first served for each device and kind, and bounded; past the bound the work comes back." },
    Law { number: 14, title: "Deadlines",
          text: "An operation may have a deadline and a policy for when it passes; the losing result is counted, wiped and \
                 dropped." },
    Law { number: 15, title: "A failed operation ends its session, cleanly",
          text: "The session keeps the typed cause, and answers every later call with it. The peer learns of it: the flight \
                 that needed the result has not left, so the alert `internal_error` goes in its place, in the clear. Where \
                 the peer expects an encrypted one it is rustls's own, or `close_notify`, which is all that a TLS 1.3 \
                 client can send after the server's flight." },
    Law { number: 16, title: "Replay is invisible",
          text: "A handshake that is parked by replay runs twice, and no peer, hook or device can tell. A signature leaves \
                 only for the identical scheme and message; no byte of a rehearsal is sent but a HelloRetryRequest; each \
                 hook of the user is asked once per hello; a rehearsal that did not sign counts only if everything in it \
                 was real; the client sees what plain rustls would have sent." },
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
         <!-- Generated by `cargo xtask laws`; edit xtask/src/laws.rs or docs/plants.toml instead. -->\n\n\
         What the system promises when its users drop, panic, cancel or overload it. Each law has tests named after it, and\n\
         a planted bug that breaks it and that a test catches. `cargo xtask sim swarm --from 1 --plant BUG` switches a\n\
         named bug on. The swarm does not know which bug is planted: it draws load, faults and cancels from a seed and\n\
         checks every law at the end, as the run of any scenario does. The bugs are listed in `docs/plants.toml`.\n",
    );
    let plants = plants(PLANTS).unwrap_or_default();
    for law in LAWS {
        let _ = write!(
            page,
            "\n## L{} {}\n\n{}\n\nWhat breaks it, and is caught:\n\n",
            law.number, law.title, law.text
        );
        for line in plants.get(&law.number).into_iter().flatten().filter_map(|p| p.line().ok()) {
            let _ = writeln!(page, "{line}");
        }
        page.push_str("\nTests:\n");
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
    findings.extend(faults(PLANTS, generated));
    for law in LAWS {
        let title = format!("## L{} {}\n", law.number, law.title);
        let section = generated.split_once(&title).map_or("", |(_, rest)| rest);
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let tests = section.split_once("\nTests:\n").map_or("", |(_, tests)| tests);
        if !tests.contains("\n- `l") {
            findings.push(format!("{PATH}: laws: L{} has no test; name one after it", law.number));
        }
    }
    findings
}

/// What is wrong with a table of plants: a law without one, and a test that there is not.
fn faults(table: &str, page: &str) -> Vec<String> {
    let plants = match plants(table) {
        Ok(plants) => plants,
        Err(why) => return vec![format!("{PLANTS_PATH}: laws: {why}")],
    };
    let without = LAWS.iter().filter(|law| !plants.contains_key(&law.number)).map(|law| {
        format!("{PLANTS_PATH}: laws: L{} has no plant; give a bug that breaks it", law.number)
    });
    let all = || plants.values().flatten();
    let unclear = all().filter_map(|plant| plant.line().err());
    let unclear = unclear.map(|why| format!("{PLANTS_PATH}: laws: {why}"));
    let tests = all().filter_map(|plant| plant.by.as_ref()).filter(|test| !test.contains(' '));
    let untested = tests.filter(|test| !page.contains(&format!("\n- `{test}` in ")));
    let untested = untested.map(|test| format!("{PLANTS_PATH}: laws: there is no test {test}"));
    without.chain(unclear).chain(untested).collect()
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
    fn a_law_without_a_plant_and_a_plant_without_a_test_are_found() {
        let page = page(
            [("a.rs", concat!("fn l5", "_l10_l11_random_schedules_match_the_model() {}"))]
                .into_iter(),
        );
        assert_eq!(faults(PLANTS, &page), Vec::<String>::new());
        assert_eq!(faults(&PLANTS.replace("law = 10", "law = 11"), &page).len(), 1, "no law 10");
        assert_eq!(faults(&PLANTS.replace("by = \"l5", "by = \"l9"), &page).len(), 1, "no test");
        assert_eq!(faults(&PLANTS.replace("bug = \"lost", "# \""), &page).len(), 1, "no bug");
    }

    #[test]
    fn a_law_without_a_test_and_a_stale_page_are_found() {
        let mut all: String =
            LAWS.iter().map(|law| format!("fn l{}_holds() {{}}\n", law.number)).collect();
        all.push_str(concat!("fn l5", "_l10_l11_random_schedules_match_the_model() {}"));
        let page_of = |text: &str| page([("a.rs", text)].into_iter());
        let whole = page_of(&all);
        assert_eq!(findings(&whole, &whole), Vec::<String>::new());
        let without = page_of(&all.replace(concat!("fn l4", "_holds"), "fn other"));
        assert_eq!(findings(&whole, &without).len(), 2, "stale, and L4 has none");
    }
}
