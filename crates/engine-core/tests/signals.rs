//! Threads of ours block the signals of the application, from their first moment on. A process of its own, whose threads
//! can be told apart by name.

#![cfg(target_os = "linux")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use engine_core::{CheckFailed, Engine, Kind, Shutdown, ShuttingDown, ThreadPoolBuilder, Work};

struct Nothing;

impl Work for Nothing {
    type Output = ();

    fn kind(&self) -> Kind {
        Kind::new("nothing")
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }
}

/// The numbers of Linux on every architecture that this runs on but MIPS.
const SIGUSR1: u32 = 10;
const SIGPROF: u32 = 27;
const APPLICATION: [u32; 6] = [1, 2, 3, SIGUSR1, 12, 15];
const OWN: [u32; 6] = [4, 5, 6, 7, 8, 11];

/// The signals that a thread blocks, a bit each.
fn blocked(task: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{task}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn assert_blocks_the_application(mask: u64, who: &str) {
    let blocks = |signal: u32| mask >> (signal - 1) & 1 == 1;
    assert!(APPLICATION.into_iter().all(blocks), "{who}: {mask:x}");
    assert!(!OWN.into_iter().any(blocks) && !blocks(SIGPROF), "{who}: {mask:x}");
}

/// Checks the masks of the threads with these names, and counts them.
fn masks_of_threads_named(names: &[&str]) -> usize {
    let mut seen = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().file_name().into_string().unwrap();
        let name = fs::read_to_string(format!("/proc/self/task/{task}/comm")).unwrap_or_default();
        if names.iter().any(|ours| name.trim().starts_with(ours)) {
            seen += 1;
            assert_blocks_the_application(blocked(&task), name.trim());
        }
    }
    seen
}

#[test]
fn threads_of_an_engine_block_the_signals_of_the_application() {
    let mine = fs::read_link("/proc/thread-self").unwrap();
    let me = mine.file_name().unwrap().to_str().unwrap().to_owned();
    let before = blocked(&me);
    let pool = ThreadPoolBuilder::new().threads(2).name("a-pool").build(|_: &Nothing| Ok(()));
    let engine = Engine::builder(Arc::new(pool)).build();
    let driver = engine.spawn_driver().unwrap();
    engine.run(Nothing).unwrap();
    let (told, hear) = std::sync::mpsc::channel();
    let shutdown = ShuttingDown::on_own_thread(Duration::ZERO, move |_| {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        told.send(blocked(thread.file_name().unwrap().to_str().unwrap())).unwrap();
        Shutdown::Drained
    });
    assert_blocks_the_application(hear.recv().unwrap(), "shutdown");
    // The driver and a thread of the pool. A thread has its name a moment after it has begun.
    while masks_of_threads_named(&["a-pool", "engine-driver"]) < 2 {
        std::thread::yield_now();
    }
    assert_eq!(blocked(&me), before, "the mask of the thread that started them");
    drop((shutdown, driver));
}
