//! Between jobs and futures: a job as a future, and a future awaited inside a job.

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use wait_ctx::{Route, WaitCtx};

use crate::cancel::PATIENCE;
use crate::fiber::{self, Fiber};
use crate::job::{self, Job, Step};
use crate::pause::{Pause, pause};
use crate::pool::JobPool;
use crate::queue::Ticket;
use crate::start::{StartError, StartRefused};

/// Why a future was not awaited to its end. The future has been dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitForError {
    /// No job is running here.
    #[error(
        "wait_for was called outside a job: call the synchronous code that needs it through \
         job_core::run(&pool, || ..).await or JobPool::start, or await the future directly"
    )]
    NotInJob,
    /// The job is being ended.
    #[error("the job was cancelled while it waited: return an error to the caller")]
    Cancelled,
    /// The job may not pause here.
    #[error(
        "the job may not pause here: drop the block_pause guard before waiting, and do not wait inside on_parent_stack"
    )]
    Blocked,
    /// The thread is unwinding.
    #[error(
        "a destructor cannot wait while its thread is unwinding: wait before the value is dropped"
    )]
    Panicking,
}

/// Awaits `future` inside a job: polls it, and pauses the job while it is pending.
///
/// The future is woken through the task that awaits the job, if that is a [`run`]; else through the
/// job's wait context; else not at all, and it is polled whenever the job is resumed.
///
/// # Errors
///
/// See [`WaitForError`]. A future that is ready at the first poll needs no pause and succeeds even
/// where pausing is refused.
pub fn wait_for<F: Future>(future: F) -> Result<F::Output, WaitForError> {
    let told = fiber::here(|here| {
        let context = here.context();
        context.is_cancelled() && context.note_answer() < PATIENCE
    });
    match told {
        None => return Err(WaitForError::NotInJob),
        Some(true) => return Err(WaitForError::Cancelled),
        Some(false) => {}
    }
    let mut future = pin!(future);
    loop {
        // Asked for at every turn: a task may poll the job with another waker than before.
        let waker = waker_of_job();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        match pause() {
            Pause::Resumed => {}
            Pause::Cancelled => return Err(WaitForError::Cancelled),
            Pause::NotInJob => return Err(WaitForError::NotInJob),
            Pause::Blocked => return Err(WaitForError::Blocked),
            Pause::Panicking => return Err(WaitForError::Panicking),
        }
    }
}

fn waker_of_job() -> Waker {
    fiber::here(|here| here.context().waker_to_use())
        .flatten()
        .unwrap_or_else(|| Waker::noop().clone())
}

/// Runs `f` as a job of `pool`, as a future: inside it, [`wait_for`] awaits.
///
/// The job starts at the first poll. If the pool's limit is reached the future waits its turn,
/// first come, first served among futures. Dropping the future cancels the job.
pub fn run<F, T>(pool: &JobPool, f: F) -> Run<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Run { pool: pool.clone(), ctx: None, state: State::Waiting(Box::new(f), None) }
}

/// The same, with a wait context that belongs to the job until it ends. While the future is polled
/// the context's wakes go to the task that polls it, unless it has a callback or a descriptor.
pub fn run_with<F, T>(pool: &JobPool, ctx: &WaitCtx, f: F) -> Run<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Run { pool: pool.clone(), ctx: Some(ctx.clone()), state: State::Waiting(Box::new(f), None) }
}

/// A job as a future. Made by [`run`].
///
/// The output is the value of the closure, or the reason why there is no job: anything but
/// [`NoJobs`](StartRefused::NoJobs), which it waits out.
///
/// # Panics
///
/// Polling panics with the panic of the job, and if it is polled again after it was ready.
#[must_use = "a future does nothing unless it is polled"]
pub struct Run<T: 'static> {
    pool: JobPool,
    ctx: Option<WaitCtx>,
    state: State<T>,
}

/// What a job runs.
type Body<T> = Box<dyn FnOnce() -> T>;

enum State<T: 'static> {
    /// Not started; with a place in the queue once the pool was found full.
    Waiting(Body<T>, Option<Ticket>),
    Paused(Job<T>),
    Done,
}

impl<T: 'static> Future for Run<T> {
    type Output = Result<T, StartRefused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let step = match core::mem::replace(&mut this.state, State::Done) {
            State::Waiting(f, ticket) => {
                let fiber = match this.prepare(f, ticket, cx.waker()) {
                    Ok(fiber) => fiber,
                    Err(error) if matches!(error.reason, StartRefused::NoJobs { .. }) => {
                        let ticket = this.pool.inner().enqueue(ticket, cx.waker());
                        this.state = State::Waiting(error.into_closure(), Some(ticket));
                        return Poll::Pending;
                    }
                    Err(error) => {
                        this.give_up_place(ticket);
                        return Poll::Ready(Err(error.reason));
                    }
                };
                this.give_up_place(ticket);
                this.wake_through(cx.waker());
                job::run(fiber)
            }
            State::Paused(job) => {
                job.fiber().context().set_waker(cx.waker());
                this.wake_through(cx.waker());
                job.resume()
            }
            State::Done => panic!("a finished job was polled again"),
        };
        match step {
            Step::Paused(job) => {
                this.state = State::Paused(job);
                Poll::Pending
            }
            Step::Finished(value) => Poll::Ready(Ok(value)),
        }
    }
}

impl<T: 'static> Run<T> {
    fn prepare(
        &self,
        f: Body<T>,
        ticket: Option<Ticket>,
        waker: &Waker,
    ) -> Result<Fiber<T>, StartError<Body<T>>> {
        let pool = self.pool.inner();
        if pool.is_others_turn(ticket) {
            return Err(StartError::new(StartRefused::NoJobs { max_jobs: pool.max_jobs() }, f));
        }
        let Ok(lease) = self.ctx.as_ref().map(WaitCtx::lease).transpose() else {
            return Err(StartError::new(StartRefused::WaitCtxBusy, f));
        };
        self.pool.prepare(lease, Some(waker), f)
    }

    fn give_up_place(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.pool.inner().dequeue(ticket);
        }
    }

    fn wake_through(&self, waker: &Waker) {
        if let Some(ctx) = &self.ctx {
            ctx.notifier().set_route(Route::Waker(waker.clone()));
        }
    }
}

impl<T: 'static> Drop for Run<T> {
    fn drop(&mut self) {
        if let State::Waiting(_, ticket) = self.state {
            self.give_up_place(ticket);
        }
    }
}

impl<T: 'static> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting(_, None) => "not started",
            State::Waiting(_, Some(_)) => "waiting for a job",
            State::Paused(_) => "paused",
            State::Done => "done",
        };
        f.debug_struct("Run").field("state", &state).finish_non_exhaustive()
    }
}
