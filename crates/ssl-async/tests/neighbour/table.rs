//! The table of differences in the documentation.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

pub(crate) const LIBRARIES: [&str; 4] = [
    "tokio-rustls",
    "ssl-async on a fiber",
    "ssl-async by replay",
    "ssl-async by tokio-rustls's names",
];

/// Why a point is not as in tokio-rustls. A point without a row is the same in all.
const REASONS: &[(&str, &str)] = &[
    ("the peer ends before its hello", "says what happened"),
    ("the peer ends within its hello", "says what happened"),
    ("the peer ends before its hello is read", "says what happened"),
    (
        "a hello that is no TLS, and 64 KiB behind it: what the transport still has",
        "at most 64 KiB are discarded while the alert is sent: closing a socket with unread bytes could destroy it on its way",
    ),
    (
        "what one `write` takes while the transport is free",
        "a `write` encrypts at most what rustls buffers, so that one connection does not hold the thread for megabytes; `write_all` goes on",
    ),
    (
        "bytes right behind the last record, after `into_inner`",
        "what was read and is no TLS comes back with the transport; tokio-rustls drops it with its buffer",
    ),
    ("`write` after `shutdown`", "says what to do instead"),
];

const PAGE: &str = "../../docs/slow-key-behind-rustls.md";
const BEGIN: &str = "<!-- The differences from tokio-rustls: written by LAYBY_RECORD=1 cargo test --test neighbour -->\n";
const END: &str = "<!-- End of the differences from tokio-rustls. -->\n";

/// Holds what was observed, by point and library, against the reasons and the page.
pub(crate) fn check(observed: &[(&str, [String; 4])]) {
    let different = observed.iter().filter(|(_, said)| said.iter().any(|one| *one != said[0]));
    let mut complaints = String::new();
    let mut rows = String::new();
    for (name, [theirs, fiber, replay, compat]) in different.clone() {
        let Some((_, reason)) = REASONS.iter().find(|(point, _)| point == name) else {
            let _ = writeln!(complaints, "{name}:\n  {theirs}\n  {fiber}\n  {replay}\n  {compat}");
            continue;
        };
        let mut ours = if fiber == replay {
            format!("`{fiber}`")
        } else {
            format!("on a fiber `{fiber}`, by replay `{replay}`")
        };
        if compat == theirs {
            ours += "; by `compat` as there";
        } else if compat != replay {
            let _ = write!(ours, "; by `compat` `{compat}`");
        }
        let _ = writeln!(rows, "| {name} | `{theirs}` | {ours} | {reason} |");
    }
    assert!(complaints.is_empty(), "differences without a reason in REASONS:\n{complaints}");
    for (point, _) in REASONS {
        assert!(
            different.clone().any(|(name, _)| name == point),
            "{point}: has a reason, and no difference"
        );
    }
    let same = observed.len() - REASONS.len();
    let table = format!(
        "{BEGIN}\nOf {} points {same} are the same over both libraries, and these are not:\n\n\
         | point | tokio-rustls | here | why |\n| --- | --- | --- | --- |\n{rows}\n{END}",
        observed.len()
    );
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the place of the table");
    let (_, after) = rest.split_once(END).expect("the end of the table");
    if env::var_os("LAYBY_RECORD").is_some() {
        fs::write(&page, format!("{before}{table}{after}")).unwrap();
    } else {
        assert!(text.contains(&table), "{PAGE} is behind; LAYBY_RECORD=1 writes it:\n{table}");
    }
}
