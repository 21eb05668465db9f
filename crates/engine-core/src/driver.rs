//! A thread that keeps an engine's deadlines and polls its device, for programs in which no other thread does.

use std::io;
use std::sync::{Arc, Weak};

use wait_ctx::contain_drop;

use crate::inner::EngineInner;
use crate::threads::MADE_ELSEWHERE;
use crate::waker::DriverWaker;
use crate::work::Work;

/// The thread of an engine's timers, made by [`Engine::spawn_driver`](crate::Engine::spawn_driver).
///
/// It sleeps until the next deadline, without a system call in between, and is woken when an earlier one is set. A device
/// that panics while it is polled does not end it.
///
/// Dropping it tells the thread to end and does not wait, on whatever thread that is; another driver may follow at once.
/// [`Engine::shutdown`](crate::Engine::shutdown) ends it and joins it. It also ends with the engine.
#[derive(Debug)]
#[must_use = "the thread ends when this is dropped"]
pub struct Driver {
    waker: DriverWaker,
    generation: u64,
}

/// Why an engine got no driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// It has one.
    #[error("the engine has a driver already: one is enough")]
    Running,
    /// The engine was made in another process.
    #[error("no driver for this engine: {MADE_ELSEWHERE}")]
    MadeElsewhere,
    /// The operating system gave no thread.
    #[error("no thread for the engine's driver: {0}")]
    Thread(#[from] io::Error),
}

impl Driver {
    pub(crate) fn spawn<W: Work>(engine: &Arc<EngineInner<W>>) -> Result<Self, DriverError> {
        let waker = engine.waker.clone();
        if !waker.home().is_here() {
            return Err(DriverError::MadeElsewhere);
        }
        let generation = waker.attach().ok_or(DriverError::Running)?;
        // Before the thread: if there is none to be had, the drop detaches.
        let driver = Self { waker: waker.clone(), generation };
        let engine = Arc::downgrade(engine);
        driver.waker.spawn(move || drive(&engine, &waker, generation))?;
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.waker.home().is_here() {
            self.waker.dismiss(Some(self.generation));
        }
    }
}

fn drive<W: Work>(engine: &Weak<EngineInner<W>>, waker: &DriverWaker, generation: u64) {
    loop {
        // Held only while polling: the driver keeps no engine alive.
        let Some(engine) = engine.upgrade() else { return };
        let next = engine.poll_contained();
        let now = engine.meter.now();
        // The last owner drops the device, which is foreign code.
        contain_drop("the drop of an engine", engine);
        if !waker.sleep(generation, next, now) {
            return;
        }
    }
}
