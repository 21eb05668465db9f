//! The public API of each published crate is the committed listing in `docs/api`.
//!
//! A change of a listing is a change that users see: the diff of a commit shows it line by line. After an intended
//! change, `LAYBY_RECORD=1 cargo test --package layby-tests --test api` writes the listings again.
//!
//! The listings come from rustdoc's JSON, whose format changes between compilers. Where the crate `public-api` cannot
//! read it, the test is skipped, unless `LAYBY_REQUIRE` names `api`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use cargo_metadata::{Metadata, MetadataCommand};

#[test]
fn every_public_item_is_in_the_committed_listing() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata describes the workspace");
    let json = rustdoc_json(root, &metadata);
    let mut differences = String::new();
    for name in published_libraries(&metadata) {
        let listing = match listing(&json.join(format!("{name}.json"))) {
            Ok(listing) => listing,
            Err(reason) => return skip(&reason),
        };
        let path = root.join(format!("docs/api/{name}.txt"));
        if env::var_os("LAYBY_RECORD").is_some() {
            fs::create_dir_all(path.parent().expect("a file has a folder"))
                .expect("create docs/api");
            fs::write(&path, listing).expect("write the listing");
            continue;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let changes = changes(&committed, &listing);
        if !changes.is_empty() {
            differences += &format!("docs/api/{name}.txt:\n{changes}");
        }
    }
    assert!(
        differences.is_empty(),
        "the public API is not the committed one; if that is intended, set LAYBY_RECORD=1 and run this test again\n\
         {differences}"
    );
}

/// Documents the workspace as JSON, with what `cargo doc` has built, and returns the folder with the files.
///
/// Only rustdoc is told that it may use an unstable option: told to cargo, all dependencies would be built anew.
fn rustdoc_json(root: &Path, metadata: &Metadata) -> PathBuf {
    let target = metadata.target_directory.as_std_path();
    fs::create_dir_all(target).expect("create the target directory");
    let wrapper = target.join("rustdoc-json");
    let script = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\" -Z unstable-options --output-format json\n";
    fs::write(&wrapper, script).expect("write the wrapper of rustdoc");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("make it executable");
    let status = Command::new(env!("CARGO"))
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--all-features", "--target-dir"])
        .arg(target)
        .env("RUSTDOC", &wrapper)
        .env_remove("RUSTDOCFLAGS")
        .current_dir(root)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo doc failed");
    target.join("doc")
}

fn published_libraries(metadata: &Metadata) -> impl Iterator<Item = String> {
    let published = metadata.packages.iter().filter(|package| package.publish.is_none());
    published
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_lib())
        .map(|target| target.name.clone())
}

/// One line for each public item, without the implementations that the compiler derives or that every type has.
fn listing(json: &Path) -> Result<String, String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .map_err(|e| format!("{}: {e}", json.display()))?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// The lines that only one of two listings has.
fn changes(committed: &str, current: &str) -> String {
    let only = |these: &str, those: &str, sign: char| -> String {
        let lines = these.lines().filter(|line| !those.lines().any(|other| other == *line));
        lines.map(|line| format!("  {sign} {line}\n")).collect()
    };
    only(committed, current, '-') + &only(current, committed, '+')
}

fn skip(reason: &str) {
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == "api"), "the API cannot be listed: {reason}");
    eprintln!("skipped: the API cannot be listed: {reason}");
}

#[test]
fn a_new_and_a_missing_item_are_told() {
    let (committed, current) = ("pub fn a()\npub fn b()\n", "pub fn b()\npub fn c()\n");
    assert_eq!(changes(committed, current), "  - pub fn a()\n  + pub fn c()\n");
    assert_eq!(changes(current, current), "");
}
