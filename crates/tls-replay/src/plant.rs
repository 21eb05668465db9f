//! Bugs planted on purpose, to show that law L16 is really checked.
//!
//! With the feature `plant`, [`arm`] switches one of them on for the whole process, and a test named after the law must
//! then fail. Without the feature nothing here is compiled in.

/// Whether a bug is switched on.
#[cfg(feature = "plant")]
macro_rules! is_armed {
    ($bug:ident) => {
        $crate::plant::armed($crate::plant::Bug::$bug)
    };
}
#[cfg(not(feature = "plant"))]
macro_rules! is_armed {
    ($bug:ident) => {
        false
    };
}
pub(crate) use is_armed;

#[cfg(feature = "plant")]
wait_ctx::planted_bugs! {
    /// A signature is handed over without comparing scheme and message.
    SkipMessageCheck = "skip-message-check" breaks 16,
    /// The flight of a rehearsal is sent.
    SendRehearsal = "send-rehearsal" breaks 16,
    /// The second pass draws its randomness anew.
    FreshRandomness = "fresh-randomness" breaks 16,
    /// The second pass asks the certificate resolver again.
    AskTwice = "ask-twice" breaks 16,
    /// A rehearsal without keys that ends in an error counts as the real connection.
    BelieveMute = "believe-mute" breaks 16,
}
