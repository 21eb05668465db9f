//! Catches panics without printing them: a failing engine panics in every script of the shrinking.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// File and line of the last panic that was not printed.
    static LOCATION: Cell<Option<String>> = const { Cell::new(None) };
}

/// Calls `f` and catches a panic, which the process's panic hook does not see. Other threads panic as usual.
pub(super) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if QUIET.get() {
                LOCATION.set(info.location().map(|at| format!("{}:{}", at.file(), at.line())));
            } else {
                previous(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let caught = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(outer);
    caught
}

/// The message of the panic that [`catch`] has just caught, with its file and line.
pub(super) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("its payload is not text");
    LOCATION.take().map_or_else(|| text.to_owned(), |location| format!("{text} ({location})"))
}
