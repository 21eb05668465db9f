//! The simulated key: it answers each request a fixed time after it was asked, in the order of the requests, with a real
//! signature.
//!
//! Any number of requests may be in flight. The signature is computed when the time has passed, on the key's own thread,
//! so that the key's rate is that of one processor: some 40,000 ECDSA or 3,000 RSA-2048 signatures a second.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::{self, thread_cpu};

/// How long a key takes that never answers.
pub const NEVER: Duration = Duration::from_secs(1 << 30);

/// Makes the signature.
type Sign = Box<dyn FnOnce() -> Vec<u8> + Send>;
/// Takes the signature, on the key's thread.
type Answer = Box<dyn FnOnce(Vec<u8>) + Send>;

/// A key that takes its time. Cheap to clone.
#[derive(Clone)]
pub struct SimulatedKey {
    shared: Arc<Shared>,
    latency: Duration,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<VecDeque<Request>>,
    first: Condvar,
    asked: AtomicU64,
    /// Nanoseconds of CPU time of the key's thread, and those of them that the answers took.
    thread: AtomicU64,
    answers: AtomicU64,
}

struct Request {
    due: Instant,
    sign: Sign,
    answer: Answer,
}

impl SimulatedKey {
    /// Starts the key's thread, on the processor beside the servers'.
    pub fn start(latency: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let at_work = Arc::clone(&shared);
        thread::Builder::new()
            .name("simulated-key".to_owned())
            .spawn(move || at_work.run())
            .expect("the system has a thread left");
        Self { shared, latency }
    }

    /// Asks for a signature and returns at once. `sign` and `answer` run on the key's thread when its time has passed.
    pub fn ask(
        &self,
        sign: impl FnOnce() -> Vec<u8> + Send + 'static,
        answer: impl FnOnce(Vec<u8>) + Send + 'static,
    ) {
        let due = Instant::now() + self.latency;
        // A key that never answers keeps the way to answer and nothing else: the memory of a server is measured with it.
        let sign: Sign = if self.latency == NEVER { Box::new(Vec::new) } else { Box::new(sign) };
        let request = Request { due, sign, answer: Box::new(answer) };
        let mut requests = self.shared.requests();
        requests.push_back(request);
        let first = requests.len() == 1;
        drop(requests);
        self.shared.asked.fetch_add(1, Ordering::Relaxed);
        // Otherwise the thread sleeps until an earlier request is due.
        if first {
            self.shared.first.notify_one();
        }
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// CPU time of the key's thread so far.
    pub fn thread_cpu(&self) -> Duration {
        Duration::from_nanos(self.shared.thread.load(Ordering::Relaxed))
    }

    /// The part of it that handing over the answers took: waking a thread or a task, and any check of the signature.
    pub fn answers_cpu(&self) -> Duration {
        Duration::from_nanos(self.shared.answers.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        cpu::pin(cpu::Place::Beside);
        let mut due = Vec::new();
        loop {
            self.wait(&mut due);
            for Request { sign, answer, .. } in due.drain(..) {
                let signature = sign();
                let before = thread_cpu();
                answer(signature);
                // After each: a thousand that are due together may take longer than the measurement.
                let after = thread_cpu();
                self.answers.fetch_add(cpu::nanoseconds(after - before), Ordering::Relaxed);
                self.thread.store(cpu::nanoseconds(after), Ordering::Relaxed);
            }
        }
    }

    /// Waits until a request is due, and takes all that are.
    fn wait(&self, due: &mut Vec<Request>) {
        let mut requests = self.requests();
        loop {
            let now = Instant::now();
            while let Some(request) = requests.pop_front_if(|request| request.due <= now) {
                due.push(request);
            }
            if !due.is_empty() {
                return;
            }
            requests = match requests.front() {
                None => self.first.wait(requests).unwrap_or_else(PoisonError::into_inner),
                Some(request) => {
                    let left = request.due - now;
                    self.first
                        .wait_timeout(requests, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

impl fmt::Debug for SimulatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedKey").field("latency", &self.latency).finish_non_exhaustive()
    }
}
