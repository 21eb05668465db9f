//! Where a task's handshake has its packets processed.

use crate::parking::ParkingWay;

/// A place where packets are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the shard, where hooks may wait.
    Shard,
    /// On the task: a replay has found that no hook waits any more.
    Task,
    /// On the task, and a hook of this crate that would wait fails ([`Parking::Never`](crate::Parking::Never)).
    TaskAtOnce,
}

impl Place {
    /// Where a server's first packet is processed, if not by replay.
    pub(crate) fn of(way: &ParkingWay) -> Self {
        if matches!(way, ParkingWay::Never) { Self::TaskAtOnce } else { Self::Shard }
    }
}
