//! Which thread drops the work that a device has done: the caller's, which has most likely allocated it.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, ThreadId};

use engine_core::{CheckFailed, Engine, Kind, ThreadPoolBuilder, Work};

/// Tells which thread drops it.
struct Telling(Sender<ThreadId>);

impl Work for Telling {
    type Output = ();

    fn kind(&self) -> Kind {
        Kind::new("telling")
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).expect("the test listens");
    }
}

#[test]
fn the_caller_drops_the_work_that_a_device_has_done() {
    let pool = ThreadPoolBuilder::new().threads(1).build(|_: &Telling| Ok(()));
    let engine = Engine::builder(Arc::new(pool)).build();
    let (tell, told) = channel();
    assert_eq!(engine.run(Telling(tell)), Ok(()));
    assert_eq!(told.recv(), Ok(thread::current().id()));
}
