//! Clients connect, continue when data reaches them, and leave.

use std::rc::Rc;

use engine_core::Clock as _;
use lab_report::recording::HandshakeEnd;

use super::World;
use crate::{
    scenario::ConnectionKind,
    stepped::{
        build::Load,
        plan::ConnectionPlan,
        protocol::{Client, Protocol},
        time::Event,
        trace::Mark,
        wire::{End, Side, Wire},
        worker::Mail,
    },
};

impl<P: Protocol> World<P> {
    /// Clients of a stream connect, each if a place is free, and the next arrival is entered.
    pub(super) fn stream_arrival(&mut self) {
        let Load::Stream { arrivals, .. } = &mut self.setting.load else { return };
        let (begins, next) = arrivals.turn(self.setting.time.clock.now());
        if let Some(next) = next {
            self.setting.time.enter(next, Event::StreamArrival);
        }
        for _ in 0..begins {
            match self.free.pop() {
                Some(place) => self.connect(place),
                None => self.seen.turned_away += 1,
            }
        }
    }

    pub(super) fn connect(&mut self, place: usize) {
        let now = self.setting.time.clock.now();
        if let Load::Closed { rounds, time_box, .. } = &self.setting.load
            && (rounds.is_some_and(|rounds| self.places[place].rounds >= rounds)
                || now >= *time_box)
        {
            return;
        }
        let number = self.wires;
        self.wires += 1;
        let workers = self.workers.len() as u64;
        let worker = usize::try_from(number % workers).unwrap_or_default();
        let kind = self.protocol.kind(number);
        let device = self.setting.routing.device(kind.key, worker, number / workers);
        let wire = Wire::new(number, place, worker, device, kind);
        self.setting.time.mark(Mark::Arrival, number);
        self.setting.time.record(|recorder, now| recorder.opened(now, number, wire.worker));
        let end = End::new(&wire, Side::Client, &self.outbox);
        let client = match self.protocol.connect(end) {
            Ok(client) => client,
            Err(failure) => {
                self.fail(&wire, failure);
                return;
            }
        };
        if let Load::Closed { hang_ups: Some(hang_ups), .. }
        | Load::Stream { hang_ups: Some(hang_ups), .. } = &self.setting.load
            && hang_ups.strike(number)
        {
            self.setting.time.enter(now, Event::HangUp(Rc::clone(&wire)));
        }
        if let Load::Open(connections) = &self.setting.load {
            let ConnectionPlan { hangs_up_after, given_up_after, starts_over_after, .. } =
                connections[place];
            if let Some(after) = hangs_up_after {
                self.setting.time.enter(now + after, Event::HangUp(Rc::clone(&wire)));
            }
            if let Some(after) = given_up_after {
                self.setting.time.enter(now + after, Event::GiveUp(Rc::clone(&wire)));
            }
            if let Some(after) = starts_over_after {
                self.setting.time.enter(now + after, Event::StartOver(Rc::clone(&wire)));
            }
        }
        let here = &mut self.places[place];
        here.rounds += 1;
        here.client = Some(client);
        here.wire = Some(Rc::clone(&wire));
        here.opened = now;
        here.took = None;
        let worker = wire.worker;
        let outbox = Rc::clone(&self.workers[worker].desk.outbox);
        self.post(worker, Mail::Connected(End::new(&wire, Side::Server, &outbox)));
        self.drive(&wire);
    }

    pub(super) fn is_here(&self, wire: &Rc<Wire>) -> bool {
        let place = &self.places[wire.place];
        place.client.is_some() && place.wire.as_ref().is_some_and(|here| Rc::ptr_eq(here, wire))
    }

    /// Continues a client as far as its transport allows.
    pub(super) fn drive(&mut self, wire: &Rc<Wire>) {
        if !self.is_here(wire) {
            return;
        }
        let now = self.setting.time.clock.now();
        let place = &mut self.places[wire.place];
        let Some(client) = &mut place.client else { return };
        let driven = client.drive().map_err(|failure| failure.to_string());
        if client.is_established() && place.took.is_none() {
            place.took = Some(now.saturating_sub(place.opened));
        }
        match driven {
            Ok(false) => return,
            Ok(true) => {
                let took = place.took.unwrap_or_default();
                self.setting.time.mark(Mark::Done, wire.number);
                self.seen.handshakes += 1;
                // The latencies of a seed are not reported, and recording them would cost more than its handshakes.
                let timed = (!matches!(self.setting.load, Load::Open(_))).then_some(took);
                if let Some(took) = timed {
                    self.seen.latency.record(took);
                }
                let resumed = client.has_resumed();
                self.seen.kinds.done(ConnectionKind { resumed, ..wire.kind }, timed);
                self.setting.time.record(|recorder, now| {
                    recorder.handshake(now, took);
                    recorder.handshake_trace.ended(now, wire.number, HandshakeEnd::Done);
                });
            }
            Err(failure) => self.fail(wire, failure),
        }
        self.leave(wire.place);
    }

    pub(super) fn fail(&mut self, wire: &Wire, failure: String) {
        self.setting.time.mark(Mark::Failed, wire.number);
        self.setting.time.record(|recorder, now| {
            recorder.outcomes.failure(now);
            recorder.handshake_trace.ended(now, wire.number, HandshakeEnd::Failed);
        });
        if wire.given_up.get() {
            self.harm.given_up += 1;
        } else {
            self.seen.failed += 1;
            self.seen.kinds.failed(wire.kind);
            *self.seen.failures.entry(failure).or_default() += 1;
        }
    }

    /// The client of a place goes; in a closed load the next one comes.
    pub(super) fn leave(&mut self, place: usize) {
        let now = self.setting.time.clock.now();
        self.last_end = now;
        self.places[place].client = None;
        self.places[place].wire = None;
        match self.setting.load {
            Load::Closed { .. } => self.setting.time.enter(now, Event::Arrival(place)),
            Load::Stream { .. } => self.free.push(place),
            Load::Open(_) => {}
        }
    }
}
