//! One step of a job: the switch to it, and its end.

use std::rc::Rc;

use crate::context::{JobContext, JobFiber};
use crate::fiber::{Slot, Switch};
use crate::pool_inner::{Ending, PoolInner};

/// Switches to a job, within its span.
#[inline]
pub(crate) fn switch_to<T: 'static>(fiber: &mut JobFiber<T>) -> Switch<T> {
    let context = fiber.context();
    context.note_resume();
    context.pool.counts.resumes.add_one();
    if context.span().is_none() {
        return fiber.resume();
    }
    switch_within_span(fiber)
}

#[cold]
fn switch_within_span<T: 'static>(fiber: &mut JobFiber<T>) -> Switch<T> {
    let pool = Rc::clone(&fiber.context().pool);
    // Not with a guard: its drop would be a second panic if the subscriber panics in `enter`.
    let enter = || fiber.context().span()?.with_subscriber(|(id, to)| to.enter(id));
    let entered = pool.contain("a tracing subscriber", enter).is_some();
    let switch = fiber.resume();
    if entered {
        let exit = || fiber.context().span()?.with_subscriber(|(id, to)| to.exit(id));
        pool.contain("a tracing subscriber", exit);
    }
    switch
}

/// Gives the stack of a job that has ended back to its pool, and drops what it leaves behind.
#[inline]
pub(crate) fn end<T: 'static>(fiber: JobFiber<T>, ending: Ending) -> Rc<PoolInner> {
    release(fiber.retire(), ending)
}

#[inline(always)]
pub(crate) fn release((slot, context): (Slot, JobContext), ending: Ending) -> Rc<PoolInner> {
    let (pool, leftovers) = context.into_parts();
    pool.take_back(slot, ending);
    // Last, since it runs foreign code, which may use the pool.
    if let Some(leftovers) = leftovers {
        leftovers.discard(&pool);
    }
    pool
}
