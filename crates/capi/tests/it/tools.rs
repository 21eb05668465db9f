//! Compiling and running C programs.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use wait_timeout::ChildExt as _;

/// A program that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(300);

/// Which header a program is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    OpenSsl,
    Ours,
}

/// Which functions a program is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// OpenSSL's.
    Stock,
    /// Ours, by `LD_PRELOAD`.
    Preloaded,
    /// Ours, by the order of `-l`.
    Linked,
    /// Ours, from the archive.
    Static,
}

/// The folder with the shared library and the archive that were built with this test.
pub(crate) fn libraries() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    test.parent().expect("it lies in a folder").to_owned()
}

pub(crate) fn shared_library() -> PathBuf {
    libraries().join("liblayby_async.so")
}

pub(crate) fn c_sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c")
}

/// Whether a thing that tests need is there; `probe` tells. Where it is not, the test is skipped, and says so, unless
/// `LAYBY_REQUIRE` names it.
pub(crate) fn has(name: &str, probe: impl FnOnce() -> bool) -> bool {
    let found = probe();
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    assert!(
        found || !required.split(',').any(|word| word == name),
        "LAYBY_REQUIRE names {name}, which is not there"
    );
    if !found {
        println!("skipped: {name} is not installed");
    }
    found
}

/// Whether C programs can be compiled that use OpenSSL.
pub(crate) fn has_libssl_dev() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        has("libssl-dev", || {
            let folder = TempDir::new().expect("a folder for the probe");
            let probe = folder.path().join("probe.c");
            std::fs::write(
                &probe,
                "#include <openssl/async.h>\nint main(void) { return !ASYNC_is_capable(); }\n",
            )
            .expect("write the probe");
            let out = folder.path().join("probe");
            let mut cc = Command::new("cc");
            cc.arg(&probe).arg("-o").arg(&out).arg("-lcrypto").stderr(Stdio::null());
            cc.status().is_ok_and(|status| status.success())
        })
    })
}

/// A compiled program, in a folder of its own.
pub(crate) struct Program {
    /// Kept as long as the program.
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Program {
    /// Compiles a C file, by its path in the folder of sources, with further arguments for the compiler.
    pub(crate) fn compile(source: &str, header: Header, library: Library, more: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder for the program");
        let path = folder.path().join("program");
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&path);
        cc.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
        cc.arg(match header {
            Header::OpenSsl => "-DASYNC_HEADER=<openssl/async.h>",
            Header::Ours => "-DASYNC_HEADER=\"layby_async.h\"",
        });
        cc.arg(c_sources().join(source)).args(more);
        match library {
            Library::Stock | Library::Preloaded => {}
            Library::Linked => {
                cc.arg("-L").arg(libraries()).arg("-llayby_async");
            }
            Library::Static => {
                cc.arg(libraries().join("liblayby_async.a"));
            }
        }
        cc.args(["-lssl", "-lcrypto", "-lpthread", "-ldl", "-lm"]);
        run_to_end(&mut cc).must_succeed(source);
        Self { _folder: folder, path }
    }

    /// The command that runs the program with the functions of `library`.
    pub(crate) fn command(&self, library: Library) -> Command {
        command(&self.path, library)
    }
}

/// The command that runs a program with the functions of `library`.
pub(crate) fn command(program: impl AsRef<OsStr>, library: Library) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    match library {
        Library::Stock | Library::Static => {}
        Library::Preloaded => {
            command.env("LD_PRELOAD", shared_library());
        }
        Library::Linked => {
            command.env("LD_LIBRARY_PATH", libraries());
        }
    }
    command
}

/// What a program that has ended has said.
pub(crate) struct Ended(pub(crate) Output);

impl Ended {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Asserts that it has ended with status 0.
    pub(crate) fn must_succeed(&self, what: &str) {
        assert!(
            self.0.status.success(),
            "{what}: {}\n{}{}",
            self.0.status,
            self.stdout(),
            self.stderr()
        );
    }
}

/// Runs a command to its end, which has to come soon. What it writes has to fit into files.
pub(crate) fn run_to_end(command: &mut Command) -> Ended {
    let folder = TempDir::new().expect("a folder for the output");
    let file = |name: &str| folder.path().join(name);
    let create = |name: &str| std::fs::File::create(file(name)).expect("create an output file");
    command.stdout(create("out")).stderr(create("err"));
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let status = child.wait_timeout(LONGEST).expect("wait for the program");
    let Some(status) = status else {
        child.kill().expect("end the program");
        child.wait().expect("the program ends");
        panic!("{command:?} hangs");
    };
    let read = |name: &str| std::fs::read(file(name)).expect("read an output file");
    Ended(Output { status, stdout: read("out"), stderr: read("err") })
}
