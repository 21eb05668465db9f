//! A trace of the first handshakes of a row and of their requests inside devices.

use std::{collections::BTreeMap, time::Duration};

use sim_device::{Event, TraceRecord};

/// The first handshakes of a row, event by event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandshakeTrace {
    /// Handshakes, by the number of their connection.
    pub handshakes: Vec<Handshake>,
    /// Requests inside devices, in the order of their submission.
    pub entries: Vec<Entry>,
    pub strikes: Vec<Strike>,
    pub handshakes_left_out: u64,
    pub entries_left_out: u64,
    pub strikes_left_out: u64,
    open: BTreeMap<Which, usize>,
}

/// Identifies a request inside devices: device, instance, tag.
type Which = (usize, usize, u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub worker: usize,
    pub opened: Duration,
    pub ended: Option<(Duration, HandshakeEnd)>,
    /// When its job paused, and when it resumed.
    pub parked: Vec<(Duration, Option<Duration>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeEnd {
    Done,
    Failed,
    HungUp,
}

/// One request inside a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub device: usize,
    pub instance: usize,
    pub tag: u64,
    /// When the ring took it.
    pub submitted: Duration,
    /// When a unit began to work on it.
    pub started: Option<Duration>,
    /// When the unit was done.
    pub finished: Option<Duration>,
    /// When the software took the response, or reclaimed the request.
    pub drained: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    pub at: Duration,
    /// What, as the trace of the device has it.
    pub what: String,
}

impl HandshakeTrace {
    /// Handshakes and requests that are kept, each.
    pub const MOST: usize = 500;
    pub const MOST_STRIKES: usize = 200;

    /// Records that a client opened connection `number`; numbers count up.
    pub fn opened(&mut self, at: Duration, number: u64, worker: usize) {
        if self.handshakes.len() >= Self::MOST || number != self.handshakes.len() as u64 {
            self.handshakes_left_out += 1;
            return;
        }
        self.handshakes.push(Handshake { worker, opened: at, ended: None, parked: Vec::new() });
    }

    /// Records the end of the handshake of connection `number`.
    pub fn ended(&mut self, at: Duration, number: u64, how: HandshakeEnd) {
        if let Some(handshake) = self.handshake(number) {
            handshake.ended.get_or_insert((at, how));
        }
    }

    /// Records that the job of connection `number` paused, or resumed.
    pub fn parked(&mut self, at: Duration, number: u64, parked: bool) {
        let Some(handshake) = self.handshake(number) else { return };
        match (handshake.parked.last_mut(), parked) {
            (Some((_, end @ None)), false) => *end = Some(at),
            (Some((_, None)), true) | (_, false) => {}
            (_, true) => handshake.parked.push((at, None)),
        }
    }

    /// Records an event of a device.
    pub fn device(&mut self, device: usize, instance: usize, record: &TraceRecord) {
        let at = record.at;
        match record.event {
            Event::Submitted { entry, .. } => {
                let tag = entry.as_u64();
                if self.entries.len() >= Self::MOST {
                    self.entries_left_out += 1;
                    return;
                }
                self.open.insert((device, instance, tag), self.entries.len());
                let (started, finished, drained) = (None, None, None);
                self.entries.push(Entry {
                    device,
                    instance,
                    tag,
                    submitted: at,
                    started,
                    finished,
                    drained,
                });
            }
            Event::Started(entry) => {
                self.entry((device, instance, entry.as_u64()), |entry| entry.started = Some(at));
            }
            Event::Finished(entry) => {
                self.entry((device, instance, entry.as_u64()), |entry| entry.finished = Some(at));
            }
            Event::Drained { entry, payload: true } | Event::Reclaimed(entry) => {
                let which = (device, instance, entry.as_u64());
                self.entry(which, |entry| entry.drained = Some(at));
                self.open.remove(&which);
            }
            Event::Struck { .. } | Event::WentAway(_) | Event::Returned | Event::Recovered => {
                if self.strikes.len() >= Self::MOST_STRIKES {
                    self.strikes_left_out += 1;
                    return;
                }
                self.strikes.push(Strike { at, what: record.event.to_string() });
            }
            _ => {}
        }
    }

    /// The time of the last event.
    pub fn end(&self) -> Duration {
        let handshakes = self.handshakes.iter().flat_map(|handshake| {
            let parked = handshake.parked.iter().flat_map(|(from, to)| [Some(*from), *to]);
            let ended = handshake.ended.map(|(at, _)| at);
            parked.chain([Some(handshake.opened), ended]).flatten()
        });
        let entries = self.entries.iter().flat_map(|entry| {
            let later = [entry.started, entry.finished, entry.drained];
            later.into_iter().chain([Some(entry.submitted)]).flatten()
        });
        let strikes = self.strikes.iter().map(|strike| strike.at);
        handshakes.chain(entries).chain(strikes).max().unwrap_or_default()
    }

    fn handshake(&mut self, number: u64) -> Option<&mut Handshake> {
        self.handshakes.get_mut(usize::try_from(number).ok()?)
    }

    fn entry(&mut self, which: Which, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.open.get(&which).and_then(|&at| self.entries.get_mut(at)) {
            change(entry);
        }
    }
}
