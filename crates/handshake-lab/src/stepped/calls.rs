//! Wakes by callback: each call is checked for its status and its time (law L4).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use wait_ctx::{Reason, Route, Status, WaitCtx};

use crate::evidence::Calls;

#[derive(Debug, Default)]
struct CallCounts {
    begun: AtomicU64,
    after_unset: AtomicU64,
    misinformed: AtomicU64,
    on_job_stack: AtomicU64,
}

/// Watches the callbacks of a run.
#[derive(Debug, Default)]
pub(super) struct Switchboard {
    counts: Arc<CallCounts>,
}

/// The callback of one session, as long as it is set.
#[derive(Debug)]
pub(super) struct Line {
    unset: Arc<AtomicU64>,
}

impl Switchboard {
    /// Wakes a session by a callback that does what its route would, and by the route once the callback is taken away.
    pub(super) fn connect(&self, wait_ctx: &WaitCtx, route: Route) -> Line {
        let unset = Arc::new(AtomicU64::new(0));
        if let Route::Ready(sender, token) = &route {
            let (sender, token) = (sender.clone(), *token);
            let (counts, gone) = (Arc::clone(&self.counts), Arc::clone(&unset));
            wait_ctx.set_callback(move |call| {
                counts.begun.fetch_add(1, Ordering::Relaxed);
                counts.after_unset.fetch_add(gone.load(Ordering::Relaxed), Ordering::Relaxed);
                let wrong = (call.reason == Reason::Retry) != (call.status == Status::Again);
                counts.misinformed.fetch_add(u64::from(wrong), Ordering::Relaxed);
                let on_job = u64::from(job_core::on_job_stack());
                counts.on_job_stack.fetch_add(on_job, Ordering::Relaxed);
                sender.push(token);
            });
        }
        wait_ctx.notifier().set_route(route);
        Line { unset }
    }

    pub(super) fn calls(&self) -> Calls {
        let CallCounts { begun, after_unset, misinformed, on_job_stack } = &*self.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Calls {
            begun: of(begun),
            after_unset: of(after_unset),
            misinformed: of(misinformed),
            on_job_stack: of(on_job_stack),
        }
    }
}

impl Line {
    /// Takes the callback away. A call after this breaks law L4.
    pub(super) fn cut(self, wait_ctx: &WaitCtx) {
        wait_ctx.unset_callback();
        self.unset.store(1, Ordering::Relaxed);
    }
}
