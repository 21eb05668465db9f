//! What the process holds, as the kernel counts it.

use std::{fs, io, thread, time::Duration};

use serde::{Deserialize, Serialize};

use crate::memory;

/// What the process holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    pub descriptors: u64,
    pub threads: u64,
    pub resident_kib: u64,
}

impl Footprint {
    /// Reads `/proc` (proc(5)): Linux only.
    ///
    /// # Errors
    /// When there is no such thing here.
    pub fn now() -> io::Result<Self> {
        // The directory that is being read is open meanwhile.
        let descriptors = entries("/proc/self/fd")?.saturating_sub(1);
        let threads = entries("/proc/self/task")?;
        Ok(Self { descriptors, threads, resident_kib: memory::resident()? / 1024 })
    }

    /// As [`now`](Self::now), once no more than `threads` threads are left; after a second in any case. A thread that was
    /// joined is still in `/proc` for a moment.
    ///
    /// # Errors
    /// As those of [`now`](Self::now).
    pub fn with_at_most(threads: u64) -> io::Result<Self> {
        for _ in 0..100 {
            if entries("/proc/self/task")? <= threads {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Self::now()
    }
}

fn entries(directory: &str) -> io::Result<u64> {
    Ok(fs::read_dir(directory)?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        // Tests run beside each other, and one that lets go of as much in the same moment hides it: once is enough.
        let counted = (0..20).any(|_| {
            let before = Footprint::now().unwrap();
            let files: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
            let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
            let after = Footprint::now().unwrap();
            drop((files, memory));
            assert!(after.threads >= 1);
            after.descriptors >= before.descriptors + 150
                && after.resident_kib >= before.resident_kib + (32 << 10)
        });
        assert!(counted);
    }
}
