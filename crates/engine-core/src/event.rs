//! Events of the log. Where it goes is a subscriber's matter, which is foreign code: it is contained as any other.

/// Emits an event, if its level is on.
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {
        if tracing::level_filters::LevelFilter::current() >= tracing::Level::$level {
            let _ = wait_ctx::contain("a subscriber of the log", || {
                tracing::event!(tracing::Level::$level, $($fields)+);
            });
        }
    };
}

pub(crate) use event;
