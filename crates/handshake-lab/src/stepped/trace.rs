//! The trace of a run in virtual time: every event with its time, hashed as it is written (law L9).
//!
//! It holds times, kinds of event and numbers counted from the beginning of the run; never lengths or bytes, which
//! depend on the randomness of the crypto library.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use sim_device::{Event as DeviceEvent, TraceRecord};

use crate::evidence::TraceSummary;

/// What happened, outside the devices. The numbers are part of the trace: they are added to and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mark {
    /// A client opened a connection.
    Arrival = 1,
    /// Bytes, or the end of them, reached the server.
    ToServer = 2,
    /// Bytes, or the end of them, reached the client.
    ToClient = 3,
    HangUp = 4,
    /// The server gave a session up.
    GiveUp = 5,
    /// A client's handshake was done.
    Done = 6,
    /// A client's handshake failed.
    Failed = 7,
    /// A worker has been at work until now.
    Worked = 8,
    /// A session cancelled its operation and asked again.
    StartOver = 9,
}

/// Device events follow after the marks.
const DEVICE_EVENTS: u8 = 32;

/// How much is hashed at a time, in bytes.
const BLOCK: usize = 1 << 16;

pub(super) struct Trace {
    hash: Context,
    buffer: Vec<u8>,
    events: u64,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { hash: Context::new(&SHA256), buffer: Vec::with_capacity(BLOCK / 16), events: 0 }
    }

    pub(super) fn mark(&mut self, at: Duration, mark: Mark, who: u64) {
        self.write(at, mark as u8, who, 0);
    }

    pub(super) fn device(&mut self, device: usize, instance: usize, record: &TraceRecord) {
        let whose = (device as u64) << 32 | instance as u64;
        let (event, who) = match record.event {
            DeviceEvent::Submitted { entry, class } => {
                (0, entry.as_u64() ^ (u64::from(class.0) << 56))
            }
            DeviceEvent::Refused { class, .. } => (1, u64::from(class.0)),
            DeviceEvent::Started(entry) => (2, entry.as_u64()),
            DeviceEvent::Finished(entry) => (3, entry.as_u64()),
            DeviceEvent::Answered { entry, status } => (4 + status as u8, entry.as_u64()),
            DeviceEvent::Stalled(entry) => (16, entry.as_u64()),
            DeviceEvent::Drained { entry, payload } => (17 + u8::from(payload), entry.as_u64()),
            DeviceEvent::Reclaimed(entry) => (19, entry.as_u64()),
            DeviceEvent::Interrupt => (20, 0),
            DeviceEvent::Struck { entry, .. } => {
                (21, entry.map_or(u64::MAX, sim_device::EntryId::as_u64))
            }
            DeviceEvent::Recovered => (22, 0),
            DeviceEvent::WentAway(status) => (24, status as u64),
            DeviceEvent::Returned => (23, 0),
            // A kind newer than this list: hashed by its time at least.
            _ => (31, 0),
        };
        self.write(record.at, DEVICE_EVENTS + event, who, whose);
    }

    fn write(&mut self, at: Duration, kind: u8, who: u64, whose: u64) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.buffer.push(kind);
        for number in [nanos, who, whose] {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.events += 1;
        if self.buffer.len() >= BLOCK {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
    }

    pub(super) fn finish(mut self) -> TraceSummary {
        self.hash.update(&self.buffer);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.hash.finish().as_ref());
        TraceSummary { events: self.events, sha256 }
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("events", &self.events).finish_non_exhaustive()
    }
}
