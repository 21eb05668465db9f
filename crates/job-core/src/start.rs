//! The errors of a start.

use core::fmt;

use crate::fiber::StackError;

/// A refused start, with the closure that did not run.
#[derive(thiserror::Error)]
#[error("job not started: {reason}")]
#[non_exhaustive]
pub struct StartError<F> {
    /// Why the start was refused.
    #[source]
    pub reason: StartRefused,
    closure: F,
}

/// Why a start was refused. No part of the closure ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartRefused {
    /// The wait context belongs to another live job, until that ends.
    #[error(
        "the wait context is in use by another live job: finish or cancel that one, or use a context of its own"
    )]
    WaitCtxBusy,
    /// The pool's limit on live jobs is reached. Retry when one of them has ended.
    #[error("all {max_jobs} jobs of the pool are live: end one, or raise max_jobs")]
    NoJobs {
        /// The pool's limit.
        max_jobs: usize,
    },
    /// The kernel's limit on memory mappings does not allow another stack. Only where stacks need
    /// two mappings each: before Linux 6.13, or with all memory locked.
    #[error(
        "vm.max_map_count is {limit}: set it to at least {needed}, or use a kernel with guard markers (6.13 or later)"
    )]
    OutOfMappings {
        /// The limit in force.
        limit: usize,
        /// A limit that is enough for the pool's `max_jobs`, or for twice its stacks if it has no
        /// limit.
        needed: usize,
    },
    /// The system refused memory for another stack.
    #[error("no memory for another stack: end jobs, shrink pools, or lower stack_size")]
    OutOfMemory,
    /// This process cannot switch stacks: run the closure inline instead.
    #[error(
        "fibers do not work in this process (user-mode shadow stacks are on): call the closure directly"
    )]
    NotCapable,
}

impl<F> StartError<F> {
    pub(crate) fn new(reason: StartRefused, closure: F) -> Self {
        Self { reason, closure }
    }

    /// The closure, which did not run.
    pub fn into_closure(self) -> F {
        self.closure
    }
}

impl From<StackError> for StartRefused {
    fn from(error: StackError) -> Self {
        match error {
            StackError::OutOfMemory => Self::OutOfMemory,
            StackError::OutOfMappings { limit, needed } => Self::OutOfMappings { limit, needed },
        }
    }
}

impl<F> fmt::Debug for StartError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::error::Error as _;

    use crate::{JobPool, StartRefused};

    #[test]
    fn l11_where_fibers_do_not_work_the_closure_comes_back_to_be_called_inline() {
        let pool = JobPool::builder().incapable().build().unwrap();
        let refused = pool.start(|| 3).unwrap_err();
        assert_eq!(refused.reason, StartRefused::NotCapable);
        let source = refused.source().and_then(|source| source.downcast_ref());
        assert_eq!(source, Some(&StartRefused::NotCapable));
        assert_eq!((refused.into_closure())(), 3);
        assert_eq!(pool.stats().started, 0);
    }
}
