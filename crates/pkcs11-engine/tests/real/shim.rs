//! The module in front of SoftHSM that does as it is told: `shim.c`. Tests and benches of other packages use it, too.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The words of the page, as in `shim.c`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    /// Calls of `C_Login`.
    Logins,
    /// Calls of `C_Sign`.
    Signs,
    Finalizes,
    /// Threads in `C_Sign`.
    Inside,
    /// 1: `C_Sign` does not return while this is not zero; 2: only the calls that wait already do not.
    Block,
    /// 1: signatures are wrong; 2: they are three bytes long; 3: their last bit is.
    Garbage,
    /// Added to each `C_Sign`, in microseconds.
    DelayUs,
    /// The most sessions; zero is no limit.
    Sessions,
    /// The most sessions, as the token tells it.
    SessionsTold,
    /// What `C_Sign` answers.
    FailSign,
    CrashAtExit,
    /// Sessions that are open, while there is a limit.
    SessionsNow,
    /// What `C_Login` answers.
    FailLogin,
    /// `C_CloseSession` does not return while this is not zero.
    BlockClose,
    /// Threads in `C_CloseSession`.
    Closing,
    /// Calls of `C_Initialize`.
    Initializes,
    /// `C_Initialize` says that another part of the process was faster.
    ByAnother,
    /// As a client whose server was started again: not initialized when it is used, and initialized already when it is
    /// initialized, until it is finalized.
    ServerGone,
}

/// The page that the module reads and writes.
pub(crate) struct Page(File);

impl Page {
    /// In this directory, all zero.
    pub(crate) fn new(dir: &Path) -> Self {
        fs::write(dir.join("page"), [0; 4096]).unwrap();
        Self::of(dir)
    }

    /// The page that is in this directory.
    pub(crate) fn of(dir: &Path) -> Self {
        Self(File::options().read(true).write(true).open(dir.join("page")).unwrap())
    }

    pub(crate) fn set(&self, word: Word, value: u64) {
        self.0.write_all_at(&value.to_ne_bytes(), 8 * word as u64).unwrap();
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        let mut value = [0; 8];
        self.0.read_exact_at(&mut value, 8 * word as u64).unwrap();
        u64::from_ne_bytes(value)
    }
}

/// Compiles the module into this directory. `None` without a C compiler.
pub(crate) fn module(dir: &Path) -> Option<PathBuf> {
    let library = dir.join("shim.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args(["-x", "c", "-", "-ldl"]);
    let compiled = cc.stdin(Stdio::piped()).spawn().and_then(|mut cc| {
        cc.stdin.take().expect("a pipe").write_all(include_bytes!("shim.c"))?;
        cc.wait()
    });
    match compiled {
        Ok(status) => {
            assert!(status.success(), "the module compiles");
            Some(library)
        }
        Err(error) => {
            // A bench prints it too, perhaps to a closed pipe.
            let _ = writeln!(io::stderr(), "skipped: no C compiler: {error}");
            None
        }
    }
}
