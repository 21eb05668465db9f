//! `cargo xtask install-capi PREFIX`: builds the C library and puts it where C programs look for one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use crate::lab::{self, printed, usage_error};
use crate::output::print_line;
use crate::workspace::Workspace;

#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Where to: the library goes to PREFIX/lib, the header to PREFIX/include
    prefix: PathBuf,
}

/// The profile in the workspace's `Cargo.toml`, and the folder of what is built with it.
const PROFILE: &str = "c-library";
/// The libraries that are built.
const BUILT: &[&str] = &["liblayby_async.so", "liblayby_async.a"];

pub(crate) fn install(workspace: &Workspace, args: &InstallArgs) -> ExitCode {
    match build(workspace) {
        Ok(true) => {}
        Ok(false) => return ExitCode::FAILURE,
        Err(why) => return usage_error(&format!("cannot run cargo: {why}")),
    }
    match copy(workspace, &args.prefix) {
        Ok(()) => {
            let so = args.prefix.join("lib/liblayby_async.so");
            let so = so.display();
            printed(print_line(format_args!(
                "installed; try LD_PRELOAD={so} LAYBY_STATS=1 PROGRAM"
            )))
        }
        Err(why) => usage_error(&format!("cannot install to {}: {why}", args.prefix.display())),
    }
}

/// Builds the libraries as they are installed.
pub(crate) fn build(workspace: &Workspace) -> io::Result<bool> {
    let mut cargo: Command = lab::cargo();
    cargo.args(["rustc", "--profile", PROFILE, "--package", "capi", "--lib"]);
    // Not the rlib of the tests: there is no optimisation across crates together with one.
    cargo.args(["--crate-type", "cdylib,staticlib", "--target-dir"]);
    cargo.arg(workspace.target_dir()).current_dir(&workspace.root);
    if lab::locked_by_environment() {
        cargo.arg("--locked");
    }
    Ok(cargo.status()?.success())
}

fn copy(workspace: &Workspace, prefix: &Path) -> io::Result<()> {
    let source = workspace.root.join("crates/capi");
    let (lib, include) = (prefix.join("lib"), prefix.join("include"));
    fs::create_dir_all(lib.join("pkgconfig"))?;
    fs::create_dir_all(&include)?;
    for name in BUILT {
        fs::copy(workspace.target_dir().join(PROFILE).join(name), lib.join(name))?;
    }
    fs::copy(source.join("include/layby_async.h"), include.join("layby_async.h"))?;
    let template = fs::read_to_string(source.join("layby_async.pc.in"))?;
    let prefix = std::path::absolute(prefix)?;
    let filled = template
        .replace("@PREFIX@", &prefix.to_string_lossy())
        .replace("@VERSION@", &workspace.version);
    fs::write(lib.join("pkgconfig/layby_async.pc"), filled)
}
