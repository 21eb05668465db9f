//! Awaits a future in a hook of rustls.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};

use engine_core::EngineError;
use job_core::{WaitForError, wait_for};

use crate::hook_runtime::enter;
use crate::rustls23::at_once;
use crate::rustls23::on_thread;

/// Awaits the future that `hook` makes: parks the packet, or blocks the thread where there is no job to park, or polls it once
/// where waiting is excluded. The call of `hook` and each poll run inside the runtime of the task that waits for the packet,
/// if there is one.
pub(crate) fn wait<F: Future>(hook: impl FnOnce() -> F) -> Result<F::Output, EngineError> {
    on_thread::waits();
    let mut future = pin!(enter(hook));
    let mut future = pin!(poll_fn(|cx| enter(|| future.as_mut().poll(cx))));
    if at_once::is_required() {
        return match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(at_once::would_wait("an async hook")),
        };
    }
    match wait_for(future.as_mut()) {
        Ok(output) => Ok(output),
        Err(WaitForError::Cancelled) => Err(EngineError::Cancelled),
        Err(refused) => {
            tracing::debug!(%refused, "ssl.blocking_wait");
            Ok(block_on(future))
        }
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
