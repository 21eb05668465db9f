//! Process exit with a key behind a C library that must not be called once `exit` has begun, as with PKCS#11 modules. Each
//! case runs in processes of its own.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine_core::Shutdown;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use ssl_async::SlowKey;

/// A module whose exit handler frees its state, and then gives calls under way time to use it.
const MODULE: &str = r"
#include <stdlib.h>
#include <unistd.h>
static int * volatile state;
static void gone(void) { state = 0; usleep(20000); }
void module_open(void) { state = calloc(1, sizeof *state); atexit(gone); }
void module_use(void) { for (int i = 0; i < 20; i++) { usleep(50); *state += 1; } }
void module_stall(void) { for (;;) pause(); }
";

const MODE: &str = "LAYBY_EXIT";
const LIBRARY: &str = "LAYBY_EXIT_LIBRARY";

/// `None` on a machine without a C compiler.
fn module(dir: &Path) -> Option<std::path::PathBuf> {
    let (source, library) = (dir.join("module.c"), dir.join("module.so"));
    std::fs::write(&source, MODULE).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    match compiled {
        Ok(status) => {
            assert!(status.success(), "the module compiles");
            Some(library)
        }
        Err(error) => {
            eprintln!("skipped: no C compiler: {error}");
            None
        }
    }
}

fn end_of(mode: &str, library: &Path) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_ends"])
        .env(MODE, mode)
        .env(LIBRARY, library)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn l8_a_process_exits_a_hundred_times_under_load_after_a_shutdown_of_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = module(dir.path()) else { return };
    for round in 0..100 {
        let status = end_of("shutdown", &library);
        assert_eq!(status.code(), Some(0), "round {round}: {status}");
    }
    // Without the shutdown, calls are under way while the exit handlers run, and the module crashes.
    let crashed = (0..5).filter(|_| end_of("none", &library).code() != Some(0)).count();
    assert!(crashed > 0, "the module crashes when it is used after exit");
}

#[test]
fn l8_a_shutdown_over_a_stalled_call_is_stuck_at_its_deadline_and_the_process_can_end() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = module(dir.path()) else { return };
    let status = end_of("stalled", &library);
    assert_eq!(status.code(), Some(7), "{status}");
}

/// Does nothing unless one of the tests above started it.
#[test]
fn the_process_that_ends() {
    let Ok(mode) = std::env::var(MODE) else { return };
    // SAFETY: the library was made by this test; it does nothing when it is loaded.
    let library = unsafe { libloading::Library::new(std::env::var_os(LIBRARY).unwrap()).unwrap() };
    let function = |name: &str| {
        // SAFETY: the three functions of the module have this type, and the library is never unloaded.
        let symbol = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()).unwrap() };
        *symbol
    };
    let (open, call) = match &*mode {
        "stalled" => (function("module_open"), function("module_stall")),
        _ => (function("module_open"), function("module_use")),
    };
    // SAFETY: called once, before any use.
    unsafe { open() };

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let software = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let software = aws_lc_rs::sign::any_supported_type(&software).unwrap();
    let provider = aws_lc_rs::default_provider();
    let key = SlowKey::builder_with_provider(vec![made.cert.der().clone()], &provider).unwrap();
    let key = key.deadline(Duration::from_secs(30)).threads(8);
    let key = key
        .blocking(move |scheme, message| {
            // SAFETY: the module was opened; the test checks that it is not closed yet.
            unsafe { call() };
            software.choose_scheme(&[scheme]).unwrap().sign(message)
        })
        .unwrap();
    // The library is never unloaded, and so outlives its functions.
    core::mem::forget(library);

    let begun = Arc::new(AtomicBool::new(false));
    for _ in 0..16 {
        let (signer, begun) = (Arc::clone(&key.certified_key().key), Arc::clone(&begun));
        thread::spawn(move || {
            let signer = signer.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            while signer.sign(b"under load").is_ok() {
                begun.store(true, Ordering::SeqCst);
            }
        });
    }
    let under_way = || match &*mode {
        "stalled" => key.stats().accepted > 0,
        _ => begun.load(Ordering::SeqCst),
    };
    while !under_way() {
        thread::yield_now();
    }
    match &*mode {
        "none" => std::process::exit(0),
        "shutdown" => {
            let end = key.shutdown_blocking(Duration::MAX);
            std::process::exit(i32::from(end != Shutdown::Drained));
        }
        _ => {
            let end = key.shutdown_blocking(Duration::from_millis(200));
            let code = if matches!(end, Shutdown::Stuck { n: 1.. }) { 7 } else { 1 };
            // SAFETY: ends the process without its exit handlers, for calls of the module are under way.
            unsafe { libc::_exit(code) }
        }
    }
}
