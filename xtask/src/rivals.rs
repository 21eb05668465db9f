//! `cargo xtask bench --rivals`: builds the package `rivals` and becomes it.
//!
//! The package is a workspace of its own, so that nothing else builds its C libraries. A server that cannot be built, because
//! a tool is missing or otherwise, is a note on the run and not a failure.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

use crate::lab::{cargo, locked_by_environment, printed, usage_error};
use crate::output::{eprint_line, print};
use crate::workspace::Workspace;

/// A server that needs more than rustls does.
struct Rival {
    /// The server as figures name it.
    server: &'static str,
    feature: &'static str,
    /// Its program, unless it is in the main one.
    binary: Option<&'static str>,
    /// What is missing to build it, if anything is.
    missing: fn() -> Option<&'static str>,
}

/// The program that has all other servers, and is the command.
const MAIN: &str = "rivals";

const RIVALS: [Rival; 3] = [
    Rival { server: "s2n-tls", feature: "s2n", binary: None, missing: || None },
    Rival {
        server: "boring",
        feature: "boring",
        binary: Some("rivals-boring"),
        missing: || {
            let no = |tool| !answers(tool, &["--version"]);
            (no("cmake") || no("clang") || !has_libclang())
                .then_some("it needs cmake, clang and libclang (Debian: cmake clang libclang-dev)")
        },
    },
    Rival {
        server: "openssl-async",
        feature: "openssl",
        binary: Some("rivals-openssl"),
        missing: || {
            let found = answers("pkg-config", &["--atleast-version=3.0", "openssl"])
                || env::var_os("OPENSSL_DIR").is_some();
            (!found).then_some("it needs OpenSSL 3's headers (Debian: libssl-dev pkg-config)")
        },
    },
];

/// Takes `--rivals` out of the arguments of `bench`, if it is there.
pub(crate) fn asked_for(args: &mut Vec<OsString>) -> bool {
    let before = args.len();
    args.retain(|arg| arg != "--rivals");
    args.len() < before
}

/// Builds what can be built and runs `rivals ARGS...`; answers `--help` without building.
pub(crate) fn bench(workspace: &Workspace, args: Vec<OsString>) -> ExitCode {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return printed(print(include_str!("../help/rivals.txt")));
    }
    let directory = workspace.target_dir().join("rivals");
    let binaries = directory.join("release");
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    for rival in &RIVALS {
        match (rival.missing)() {
            None => wanted.push(rival),
            Some(why) => skipped.push((rival, why)),
        }
    }
    let build = |rivals: &[&Rival]| build(workspace, &directory, rivals);
    match build(&wanted) {
        Ok(true) => {}
        Ok(false) => {
            // One of them does not build: which?
            let (good, bad) =
                wanted.into_iter().partition(|rival| build(&[rival]).unwrap_or(false));
            wanted = good;
            let bad: Vec<&Rival> = bad;
            skipped.extend(bad.into_iter().map(|rival| (rival, "it does not build here")));
            if !build(&wanted).unwrap_or(false) {
                return ExitCode::FAILURE;
            }
        }
        Err(e) => return usage_error(&format!("cannot run cargo: {e}")),
    }
    for binary in skipped.iter().filter_map(|(rival, _)| rival.binary) {
        // One of an earlier build may be behind the others.
        let _ = fs::remove_file(binaries.join(binary));
    }
    let skipped = skipped.iter().map(|(rival, why)| format!("--skipped={}: {why}", rival.server));
    let failure = Command::new(binaries.join(MAIN)).args(args).args(skipped).exec();
    usage_error(&format!("cannot run {}: {failure}", binaries.join(MAIN).display()))
}

/// Builds the main program and those of `rivals`.
fn build(workspace: &Workspace, directory: &Path, rivals: &[&Rival]) -> io::Result<bool> {
    if !directory.join("release").join(MAIN).exists() {
        eprint_line("building the rivals in release mode (about eight minutes the first time)");
    }
    let (apart, together): (Vec<&Rival>, Vec<&Rival>) =
        rivals.iter().copied().partition(|rival| rival.feature == APART);
    let main = Some(MAIN).into_iter().chain(together.iter().filter_map(|rival| rival.binary));
    if !cargo_build(workspace, directory, main.collect(), &together)? {
        return Ok(false);
    }
    let binaries: Vec<&str> = apart.iter().filter_map(|rival| rival.binary).collect();
    Ok(binaries.is_empty() || cargo_build(workspace, directory, binaries, &apart)?)
}

/// This feature is built without the others: BoringSSL's libraries have OpenSSL's names, and the linker would take them.
const APART: &str = "openssl";

fn cargo_build(
    workspace: &Workspace,
    directory: &Path,
    binaries: Vec<&str>,
    rivals: &[&Rival],
) -> io::Result<bool> {
    let mut cargo = cargo();
    let manifest = workspace.root.join("crates/rivals/Cargo.toml");
    cargo.args(["build", "--release", "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(directory);
    let features: Vec<&str> = rivals.iter().map(|rival| rival.feature).collect();
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    for binary in binaries {
        cargo.args(["--bin", binary]);
    }
    if locked_by_environment() {
        cargo.arg("--locked");
    }
    Ok(cargo.stdin(Stdio::null()).stdout(Stdio::null()).status()?.success())
}

/// Whether the program is there and content with these arguments.
fn answers(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let status = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Where distributions put the library that generates bindings.
fn has_libclang() -> bool {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let mut directories: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).into();
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        directories.push(entry.path());
        directories.push(entry.path().join("lib"));
    }
    directories.iter().flat_map(fs::read_dir).flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libclang.so") || (name.starts_with("libclang-") && !name.contains("cpp"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_chooses_the_rivals_is_not_handed_on() {
        let mut args: Vec<OsString> = ["--json", "--rivals", "--quick"].map(OsString::from).into();
        assert!(asked_for(&mut args));
        assert_eq!(args, ["--json", "--quick"]);
        assert!(!asked_for(&mut args));
    }
}
