//! Functions in C with large frames and without stack probes, called near the end of a stack.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use job_core::{JobPool, StackGuard, pause};
use libloading::Library;

use super::stack_address;
use crate::start_paused;

/// Environment variables that select what a child does.
const GUARD: &str = "JOB_CORE_FRAMES_GUARD";
const KIB: &str = "JOB_CORE_FRAMES_KIB";

/// The functions of `frames.c`.
#[derive(Clone, Copy)]
pub(super) struct Frames {
    descend: unsafe extern "C" fn(usize, i32),
    leave_secret: unsafe extern "C" fn() -> usize,
}

impl Frames {
    /// Compiles and loads the functions once. `None` where there is no C compiler.
    pub(super) fn load() -> Option<Self> {
        static FRAMES: OnceLock<Option<Frames>> = OnceLock::new();
        *FRAMES.get_or_init(|| {
            let library = Self::compile()?;
            // SAFETY: the library is ours and runs nothing when it is loaded.
            let library = unsafe { Library::new(library) }.unwrap();
            // Never unloaded, so its functions are valid for the rest of the process.
            let library = Box::leak(Box::new(library));
            // SAFETY: the function has that type.
            let descend = unsafe { library.get(b"descend") }.unwrap();
            // SAFETY: as above.
            let leave_secret = unsafe { library.get(b"leave_secret") }.unwrap();
            Some(Self { descend: *descend, leave_secret: *leave_secret })
        })
    }

    fn compile() -> Option<PathBuf> {
        let name = format!("frames-{}.so", std::process::id());
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/stacks/frames.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let output = Command::new(compiler)
            .args(["-O2", "-shared", "-fPIC", "-fno-stack-protector"])
            .args(["-fno-stack-clash-protection", source, "-o"])
            .arg(&library)
            .output();
        match output {
            Ok(output) if output.status.success() => Some(library),
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                eprintln!("skipped: no compiler for C: {error}");
                None
            }
        }
    }

    /// Leaves a secret 100 KiB further down, and returns its address.
    pub(super) fn leave_secret(self) -> usize {
        // SAFETY: takes 100 KiB of stack, and the stacks of these tests have more.
        unsafe { (self.leave_secret)() }
    }
}

/// The lowest address of the current stack that the system can read.
fn limit() -> usize {
    let (_reader, writer) = std::io::pipe().unwrap();
    let page = rustix::param::page_size();
    let mut lowest = stack_address() / page * page;
    let is_mapped = |address: usize| {
        let byte = std::ptr::with_exposed_provenance(address);
        // SAFETY: the kernel reads the byte, or returns an error.
        unsafe { libc::write(writer.as_raw_fd(), byte, 1) == 1 }
    };
    while is_mapped(lowest - page) {
        lowest -= page;
    }
    lowest
}

/// The child of the test below, in a process of its own.
#[test]
fn frame_in_a_child() {
    let Ok(kib) = std::env::var(KIB) else { return };
    let kib = kib.parse().unwrap();
    let frames = Frames::load().expect("the parent has compiled them");
    let guard = match &*std::env::var(GUARD).unwrap() {
        "protect" => StackGuard::Protect,
        _ => StackGuard::Auto,
    };
    let pool = JobPool::builder().guard(guard).build().unwrap();
    let canary = || {
        start_paused(&pool, || {
            let canary = std::hint::black_box([0x11_u8; 2048]);
            let _ = pause();
            std::hint::black_box(&canary).iter().all(|&byte| byte == 0x11)
        })
    };
    let below = canary();
    let culprit = start_paused(&pool, move || {
        let _ = pause();
        let limit = limit();
        let depth = stack_address() - limit;
        writeln!(std::io::stdout().lock(), "{depth} bytes left").unwrap();
        std::io::stdout().flush().unwrap();
        // SAFETY: it overflows the stack, which is what guard zones are for.
        unsafe { (frames.descend)(limit, kib) };
    });
    let above = canary();
    culprit.resume().finished().unwrap();
    let whole = [below, above].map(|canary| canary.resume().finished().unwrap());
    println!("returned; neighbours whole: {whole:?}");
}

#[test]
fn a_c_frame_of_16_48_or_100_kib_without_probes_faults_instead_of_returning() {
    if Frames::load().is_none() {
        return;
    }
    for guard in ["auto", "protect"] {
        for kib in ["16", "48", "100"] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "stacks::frames::frame_in_a_child", "--nocapture"])
                .args(["--test-threads=1"])
                .envs([(GUARD, guard), (KIB, kib)])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("bytes left"), "{text}");
            assert!(!text.contains("returned"), "{guard}, {kib} KiB: {text}");
            // SIGSEGV on Linux, SIGBUS elsewhere.
            let signal = output.status.signal();
            assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)), "{:?}", output.status);
        }
    }
}
