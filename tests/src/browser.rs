//! Chromium without a window.

use std::env;
use std::path::Path;
use std::process::Command;

const NAMES: [&str; 2] = ["chromium", "chromium-browser"];

/// The browser, if there is one.
///
/// # Panics
///
/// If there is none although `LAYBY_REQUIRE` names `chromium`.
pub fn chromium() -> Option<&'static str> {
    let is_there = |name: &&str| {
        Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success())
    };
    let found = NAMES.into_iter().find(is_there);
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    assert!(
        found.is_some() || !required.split(',').any(|name| name == "chromium"),
        "chromium is required and not installed"
    );
    if found.is_none() {
        eprintln!("skipped: chromium is not installed");
    }
    found
}

/// The browser as a command that writes a page's document to its standard output, once it is loaded, and ends. Its
/// profile is in a directory of its own; it connects only to the given address.
pub fn headless(browser: &str, profile: &Path) -> Command {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    command.args(["--no-first-run", "--disable-background-networking"]);
    command.args(["--disable-component-update", "--disable-sync"]);
    command.args(["--enable-logging=stderr", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command
}
