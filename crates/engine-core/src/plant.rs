//! Bugs planted on purpose, to show that the laws are really checked.
//!
//! With the feature `plant`, [`arm`] switches one of them on for the whole process; a run of the lab must then fail and
//! name the law that the bug breaks. Without the feature nothing here is compiled in, and every check below is the
//! constant `false`.

use crate::work::RequestId;

wait_ctx::planted_bugs! {
    /// Another request's result is handed out, checked against the work that it was for.
    ForeignResult = "foreign-result" breaks 1,
    /// A resume is taken for a completion.
    TrustWake = "trust-wake" breaks 2,
    /// A completion forgets to wake.
    LostWake = "lost-wake" breaks 3,
    /// A completion wakes twice.
    DoubleWake = "double-wake" breaks 4,
    /// A settled request is settled again by a second answer.
    DoubleCompletion = "double-completion" breaks 4,
    /// The answer to a cancelled request settles it, and wakes.
    CompletionAfterCancel = "completion-after-cancel" breaks 4,
    /// A late result is dropped without being erased.
    SkipErase = "skip-erase" breaks 5,
    /// A full ring is asked again and again.
    SpinOnFull = "spin-on-full" breaks 7,
    /// A request is never freed.
    LeakRequest = "leak-request" breaks 8,
    /// Results are handed on unchecked.
    SkipCheck = "skip-check" breaks 12,
    /// The newest waiting request is served first.
    LifoQueue = "lifo-queue" breaks 13,
    /// A kind that finds its ring full holds up the others.
    SlowBlocksFast = "slow-blocks-fast" breaks 13,
    /// Deadlines pass unnoticed.
    IgnoreDeadline = "ignore-deadline" breaks 14,
}

/// Whether `bug` strikes this request: every sixteenth one, so that most of a run looks healthy.
pub(crate) fn strikes(bug: Bug, request: RequestId) -> bool {
    armed(bug) && request.as_u64() % 16 == 7
}
