//! What happens when the library is loaded and when the process exits: the check that the program uses it at all, and the
//! counters of `LAYBY_STATS=1`.

use std::ffi::{CStr, CString, c_void};
use std::mem::MaybeUninit;
use std::sync::Once;

use crate::complaint::{refused, say};
use crate::counts::{Count, Counts};
use crate::record::Home;

/// Run by the dynamic loader, or by the C start-up code of a program that this library is linked into.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

/// Makes a linker that takes only some objects out of the archive take this one, too.
#[inline(never)]
pub(crate) fn link() {
    std::hint::black_box(&raw const LOADED);
}

extern "C" fn loaded() {
    if let Some(name) = name_of_other() {
        say(&format!(
            "ASYNC_start_job is bound to {name}: put -llayby_async before -lcrypto, or use LD_PRELOAD"
        ));
    }
    if std::env::var_os("LAYBY_STATS").is_some_and(|value| value == "1") {
        // SAFETY: the handler takes nothing, and reads counters that are never freed.
        unsafe { libc::atexit(print_stats) };
    }
}

/// The library whose `ASYNC_start_job` the program's references are bound to, if it is not this one.
fn name_of_other() -> Option<String> {
    // SAFETY: a search by name.
    let bound = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"ASYNC_start_job".as_ptr()) };
    if bound.is_null() {
        return None;
    }
    let (base, name) = object_of(bound)?;
    (object_of(loaded as *const c_void)?.0 != base).then_some(name)
}

/// Keeps the module that this code is linked into from being unloaded, before others are given addresses of its functions.
/// The shared library stays loaded anyway, by its build script; a module with the archive in it does not.
pub(crate) fn stay_loaded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(name) =
            object_of(loaded as *const c_void).and_then(|(_, name)| CString::new(name).ok())
        else {
            return;
        };
        let flags = libc::RTLD_NOLOAD | libc::RTLD_NODELETE | libc::RTLD_LAZY;
        // SAFETY: it loads nothing: the module is there. It may fail for the program itself, which is never unloaded.
        unsafe { libc::dlopen(name.as_ptr(), flags) };
    });
}

/// Where the program or library is loaded that an address is in, and its name.
fn object_of(address: *const c_void) -> Option<(usize, String)> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the place is ours.
    let known = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: zeros are a value of it.
    let info = unsafe { info.assume_init() };
    if known == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's text, which lives as long as that object is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some((info.dli_fbase.addr(), name.to_string_lossy().into_owned()))
}

extern "C" fn print_stats() {
    crate::boundary::guard((), || {
        let sum = |of: fn(&Counts) -> &Count| -> u64 {
            Home::all().map(|home| of(&home.counts).get()).sum()
        };
        let mut line = format!(
            "pid {}: jobs: {} started, {} finished, {} paused now, {} at the peak, {} pauses, {} refused starts; closed \
             sessions: {} orphaned, {} reclaimed, {} ended with their thread, {} leaked with it",
            std::process::id(),
            sum(|counts| &counts.started),
            sum(|counts| &counts.finished),
            Home::all().map(|home| home.counts.live()).sum::<u64>(),
            sum(|counts| &counts.peak_live),
            sum(|counts| &counts.pauses),
            sum(|counts| &counts.no_jobs),
            sum(|counts| &counts.orphans),
            sum(|counts| &counts.reclaimed),
            sum(|counts| &counts.dropped),
            sum(|counts| &counts.leaked),
        );
        let refused = refused().into_iter().filter(|(_, count)| *count > 0);
        for (at, (what, count)) in refused.enumerate() {
            line += if at == 0 { "; refused: " } else { ", " };
            line += &format!("{count} {what}");
        }
        say(&line);
    });
}
