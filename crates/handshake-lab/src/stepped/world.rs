//! The world in virtual time: the event loop over the calendar, on one thread.
//!
//! ```text
//!   calendar --> arrival: a client and a wire, its hello departs
//!            --> delivery: mail to the worker, or the client continues
//!            --> end of a worker's CPU time: its job continues
//!            --> deadline of a device: Engine::poll; completions wake sessions and workers
//!            --> a client hangs up; the server gives a session up
//!   then, until nothing more happens at this time: workers that have something to do, devices that were written to
//! ```

use std::{io, rc::Rc, sync::Arc, time::Duration};

use engine_core::{Accelerator as _, Clock as _};
use job_core::JobPool;
use sim_device::{Event as DeviceEvent, Fault, TraceRecord};
use wait_ctx::{ReadyQueue, Route, Token, WaitCtx};

mod clients;

use lab_report::Progress;
use lab_report::recording::{HandshakeEnd, Reading};

use super::{
    build::{Fibers, Load, Setting, Station},
    protocol::Protocol,
    time::Event,
    trace::{Mark, Trace},
    wire::{Outbox, Side, Wire},
    worker::{self, Desk, Doing, Mail},
    worker_job::{Runnable, SteppedWorker},
};
use crate::{
    evidence::{Answers, Calls, DeviceReport, Harm, Replays, TraceSummary},
    load::LoadReport,
    server::{Limits, LiveCounters, WorkerReport, worker_core::Policy},
};

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) load: LoadReport,
    pub(super) harm: Harm,
    pub(super) asked: u64,
    pub(super) verified: u64,
    pub(super) answers: Option<Answers>,
    pub(super) calls: Option<Calls>,
    pub(super) replays: Option<Replays>,
    pub(super) workers: Vec<WorkerReport>,
    pub(super) devices: Vec<DeviceReport>,
    pub(super) trace: TraceSummary,
}

#[derive(Debug)]
struct Place<C> {
    client: Option<C>,
    wire: Option<Rc<Wire>>,
    opened: Duration,
    took: Option<Duration>,
    rounds: u64,
}

pub(super) struct World<P: Protocol> {
    protocol: Rc<P>,
    stations: Vec<Station<P>>,
    setting: Setting,
    workers: Vec<SteppedWorker>,
    runnable: Runnable,
    /// The next entry of each device in the calendar, if known.
    alarms: Vec<Option<Duration>>,
    /// The time from which each device takes requests for which it has room, if known.
    usable_from: Vec<Duration>,
    /// Workers that an engine has woken, by their numbers, and workers with completions, by numbers after those.
    woken: ReadyQueue,
    tokens: Vec<Token>,
    /// The records of a device, while they are read.
    records: Vec<(usize, TraceRecord)>,
    places: Vec<Place<P::Client>>,
    /// Free places, where clients come by a rate.
    free: Vec<usize>,
    outbox: Rc<Outbox>,
    wires: u64,
    harm: Harm,
    last_end: Duration,
    /// Handshakes that have not ended by then never will; devices may have events after it without end.
    horizon: Duration,
    seen: LoadReport,
    /// Counters shared by the workers.
    live: Arc<LiveCounters>,
}

/// Time after the last connection of an open load; longer than the longest queue before a device.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run<P: Protocol>(
    protocol: P,
    stations: Vec<Station<P>>,
    setting: Setting,
    fibers: &Fibers,
) -> io::Result<Outcome> {
    let mut world = World::new(protocol, stations, setting, fibers)?;
    world.settle()?;
    loop {
        while let Some((at, event)) = world.next() {
            if world.setting.stop.as_ref().is_some_and(Progress::is_interrupted)
                || at > world.horizon
            {
                return world.end();
            }
            world.read_until(at);
            world.setting.time.clock.advance_to(at);
            world.happen(event);
            world.settle()?;
        }
        if !world.shake()? {
            return world.end();
        }
    }
}

impl<P: Protocol> World<P> {
    fn new(
        protocol: P,
        stations: Vec<Station<P>>,
        setting: Setting,
        fibers: &Fibers,
    ) -> io::Result<Self> {
        let woken = ReadyQueue::new()?;
        let places = match &setting.load {
            Load::Closed { places, .. } | Load::Stream { places, .. } => *places,
            Load::Open(connections) => connections.len(),
        };
        let mut free = Vec::new();
        let mut horizon = Duration::MAX;
        match &setting.load {
            Load::Closed { first, .. } => {
                for (place, at) in first.iter().enumerate() {
                    setting.time.enter(*at, Event::Arrival(place));
                }
            }
            Load::Stream { .. } => {
                free = (0..places).rev().collect();
                setting.time.enter(Duration::ZERO, Event::StreamArrival);
            }
            Load::Open(connections) => {
                let last = connections.iter().map(|one| one.at).max().unwrap_or_default();
                horizon = last + PATIENCE;
                for (place, connection) in connections.iter().enumerate() {
                    setting.time.enter(connection.at, Event::Arrival(place));
                }
            }
        }
        let empty =
            || Place { client: None, wire: None, opened: Duration::ZERO, took: None, rounds: 0 };
        let workers = setting.workers;
        let mut world = Self {
            alarms: vec![None; stations.len()],
            usable_from: vec![Duration::ZERO; stations.len()],
            workers: Vec::with_capacity(fibers.sessions.len()),
            runnable: Runnable::new(workers),
            woken,
            tokens: Vec::new(),
            records: Vec::new(),
            places: std::iter::repeat_with(empty).take(places).collect(),
            free,
            outbox: Rc::default(),
            wires: 0,
            harm: Harm { deadlines: setting.deadlines, ..Harm::default() },
            last_end: Duration::ZERO,
            horizon,
            seen: LoadReport::default(),
            live: Arc::default(),
            protocol: Rc::new(protocol),
            stations,
            setting,
        };
        for (number, pool) in fibers.sessions.iter().take(workers).enumerate() {
            world.start_worker(number, &fibers.workers, pool.clone())?;
        }
        Ok(world)
    }

    fn start_worker(&mut self, number: usize, jobs: &JobPool, pool: JobPool) -> io::Result<()> {
        let setting = &self.setting;
        let desk = Desk::new(number, &setting.time, setting.heartbeat.clone());
        let completed = Token(setting.workers + number);
        let ready = ReadyQueue::below(self.woken.sender(), completed)?;
        let wait_ctx = WaitCtx::new();
        wait_ctx.notifier().set_route(Route::Ready(self.woken.sender(), Token(number)));
        let body = {
            let (protocol, desk) = (Rc::clone(&self.protocol), Rc::clone(&desk));
            let costs = setting.costs.clone();
            let live = Arc::clone(&self.live);
            let policy = Policy {
                unprompted_every: setting.unprompted_every,
                polls: setting.polls,
                limits: Limits::default(),
            };
            move || worker::serve(&*protocol, &desk, (pool, ready), policy, costs, live)
        };
        let step =
            jobs.start_with(&wait_ctx, body).map_err(|refused| io::Error::other(refused.reason))?;
        let mut worker =
            SteppedWorker { desk, job: None, report: None, computed: 0, _wait_ctx: wait_ctx };
        worker.take(step)?;
        self.workers.push(worker);
        Ok(())
    }

    fn next(&mut self) -> Option<(Duration, Event)> {
        self.setting.time.calendar.borrow_mut().pop()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(place) => self.connect(place),
            Event::StreamArrival => self.stream_arrival(),
            Event::Delivery(wire, side) => {
                wire.deliver(side);
                match side {
                    Side::Server => {
                        self.setting.time.mark(Mark::ToServer, wire.number);
                        let worker = wire.worker;
                        self.post(worker, Mail::Arrived(wire));
                    }
                    Side::Client => {
                        self.setting.time.mark(Mark::ToClient, wire.number);
                        self.drive(&wire);
                    }
                }
            }
            Event::HangUp(wire) => {
                if self.is_here(&wire) {
                    self.setting.time.mark(Mark::HangUp, wire.number);
                    self.setting.time.record(|recorder, now| {
                        recorder.handshake_trace.ended(now, wire.number, HandshakeEnd::HungUp);
                    });
                    self.seen.hung_up += 1;
                    self.leave(wire.place);
                }
            }
            Event::GiveUp(wire) => {
                if self.is_here(&wire) {
                    self.setting.time.mark(Mark::GiveUp, wire.number);
                    wire.given_up.set(true);
                    let worker = wire.worker;
                    self.post(worker, Mail::GiveUp(wire));
                }
            }
            Event::StartOver(wire) => {
                if self.is_here(&wire) {
                    self.setting.time.mark(Mark::StartOver, wire.number);
                    let worker = wire.worker;
                    self.post(worker, Mail::StartOver(wire));
                }
            }
            Event::Worked(worker) => self.runnable.insert(worker),
            Event::Heartbeat(worker) => {
                // A busy worker checks for completions itself when it is done.
                if self.workers[worker].desk.doing.get() == Doing::Nothing {
                    self.runnable.insert(worker);
                }
            }
            Event::Device(device) => {
                if self.alarms[device].is_some_and(|at| at <= self.setting.time.clock.now()) {
                    self.alarms[device] = None;
                }
                self.poll(device);
                // Completions that a standby made meanwhile.
                for other in 0..self.stations.len() {
                    if other != device {
                        self.read_trace(other);
                    }
                }
                self.check_starvation(device);
            }
        }
        self.setting.time.send_off(&self.outbox);
    }

    /// Records engines and devices, if there is a recorder and a reading is due, before time advances.
    fn read_until(&self, at: Duration) {
        let time = &self.setting.time;
        let Some(recorder) = time.recorder.get() else { return };
        if at < recorder.borrow().readings.due() {
            return;
        }
        let reading = self.reading();
        let mut recorder = recorder.borrow_mut();
        if self.places.iter().all(|place| place.client.is_none()) {
            recorder.idles(time.clock.now(), &reading);
        }
        recorder.stand_still(at, &reading);
    }

    fn reading(&self) -> Reading {
        let mut reading = Reading::default();
        for station in &self.stations {
            reading.add(&station.engine.stats(), &station.card.stats());
        }
        reading
    }

    /// Runs workers and devices until nothing more happens at the present time.
    fn settle(&mut self) -> io::Result<()> {
        loop {
            self.take_woken();
            let Some(number) = self.runnable.pop_first() else {
                return Ok(());
            };
            let asked = self.protocol.asked();
            for station in &self.stations {
                station.engine.set_active(self.live.sessions());
            }
            self.workers[number].go_on()?;
            // A worker that asked for no signature submitted nothing to a device, unless it retried.
            let asked = self.protocol.asked() != asked;
            for device in 0..self.stations.len() {
                if asked || self.stations[device].notifies {
                    self.look_at(device);
                }
            }
            if self.setting.collects {
                // Its work is done.
                (0..self.stations.len()).for_each(|device| self.poll(device));
            }
        }
    }

    /// Marks woken workers as ready. A busy one checks for completions itself before it waits.
    fn take_woken(&mut self) {
        self.woken.drain(&mut self.tokens);
        for Token(token) in self.tokens.drain(..) {
            let number = token % self.setting.workers;
            if token == number || self.workers[number].desk.waits() {
                self.runnable.insert(number);
            }
        }
    }

    /// Enters devices that were submitted to: the new request may be due at once, or before the known ones.
    fn look_at(&mut self, device: usize) {
        // A device without new records got no request. Requests that wait before it are in the calendar already: their
        // deadlines are not before those of the requests that were queued first.
        let moved = self.read_trace(device);
        // Before the poll, which might repair the fault.
        self.check_starvation(device);
        if moved {
            self.poll(device);
        }
    }

    /// Polls a device at the present time and enters its next event.
    fn poll(&mut self, device: usize) {
        self.harm.polls += 1;
        let station = &self.stations[device];
        station.card.set_active(self.live.sessions());
        let next = station.engine.poll();
        self.read_trace(device);
        let time = &self.setting.time;
        // Everything due is done. An engine that asks for the present time again would stop the clock.
        if next.is_some_and(|next| next <= time.clock.now()) {
            self.harm.unnoticed += 1;
            return;
        }
        if let Some(next) = next
            && self.alarms[device].is_none_or(|at| next < at)
        {
            self.alarms[device] = Some(next);
            time.enter(next, Event::Device(device));
        }
    }

    /// Writes the records of a device into the trace. Returns whether there were any: a fault that has just struck may
    /// explain what follows.
    fn read_trace(&mut self, device: usize) -> bool {
        let mut trace = self.setting.time.trace.borrow_mut();
        let mut recorder = self.setting.time.recorder.get().map(std::cell::RefCell::borrow_mut);
        self.stations[device].card.drain_trace(&mut self.records);
        let any = !self.records.is_empty();
        for (instance, record) in self.records.drain(..) {
            if let DeviceEvent::Struck { fault, .. } = record.event {
                self.harm.strike(fault);
                if let Fault::RingStuck { lasts }
                | Fault::Reset { downtime: lasts }
                | Fault::Removal { absent: Some(lasts) } = fault
                {
                    let usable = &mut self.usable_from[device];
                    *usable = (*usable).max(record.at + lasts);
                }
            }
            trace.device(device, instance, &record);
            if let Some(recorder) = &mut recorder {
                recorder.handshake_trace.device(device, instance, &record);
            }
        }
        any
    }

    /// Checks that no request waits for a ring that has room, kind by kind.
    fn check_starvation(&mut self, device: usize) {
        let notifies = self.stations[device].notifies;
        // A place that a permit reserves is not free.
        let in_reserve = notifies && self.wakes_are_under_way();
        let station = &self.stations[device];
        let usable = self.usable_from[device] <= self.setting.time.clock.now() && !in_reserve;
        let Some(depth) = station.depth.filter(|_| usable) else { return };
        let (card, starved) = (&station.card, &mut self.harm.starved);
        self.protocol.present(device, |kind, present| {
            if present > 0
                && let Some(room) = card.credits(kind)
            {
                *starved += u64::from(room > 0 && present > depth.saturating_sub(room));
            }
        });
    }

    /// Whether a session may have been woken and has not run yet.
    fn wakes_are_under_way(&mut self) -> bool {
        self.take_woken();
        let waits = |worker: &SteppedWorker| worker.desk.waits();
        self.setting.polls || !self.runnable.is_empty() || !self.workers.iter().all(waits)
    }

    fn post(&mut self, worker: usize, mail: Mail) {
        let desk = &self.workers[worker].desk;
        desk.mail.borrow_mut().push_back(mail);
        if desk.waits() {
            self.runnable.insert(worker);
        }
    }

    /// Called when the calendar is empty: a session that still waits would wait forever. Wakes what was overlooked and
    /// returns whether there was anything.
    fn shake(&mut self) -> io::Result<bool> {
        self.harm.overdue += self.unsettled();
        for device in 0..self.stations.len() {
            self.poll(device);
        }
        // Every waiting worker checks for completions.
        for (number, worker) in self.workers.iter().enumerate() {
            if worker.desk.waits() {
                self.runnable.insert(number);
            }
        }
        self.settle()?;
        Ok(!self.setting.time.calendar.borrow().is_empty())
    }

    /// Operations that have begun and not ended.
    fn unsettled(&self) -> u64 {
        let open = |station: &Station<P>| {
            let engine = station.engine.stats();
            engine.submitted.saturating_sub(engine.completed + engine.failed + engine.cancelled)
        };
        self.stations.iter().map(open).sum()
    }

    fn end(mut self) -> io::Result<Outcome> {
        for place in &mut self.places {
            self.seen.unfinished += u64::from(place.client.take().is_some());
        }
        for worker in &mut self.workers {
            worker.desk.ending.set(true);
            worker.end()?;
        }
        self.seen.elapsed = self.last_end;
        // The counts since the last reading.
        let reading = self.reading();
        self.setting.time.record(|recorder, now| recorder.readings.read(now, &reading));
        // The last timer of a device may fire long after the last client left; it does not count.
        let elapsed = self.last_end;
        let workers = self.workers.drain(..).filter_map(|worker| worker.report).collect();
        let devices = self.stations.drain(..).map(|station| {
            station.engine.close();
            let engine = station.engine.stats();
            DeviceReport {
                name: station.name,
                quiet: engine.requests.now == 0,
                engine,
                card: station.card.stats(),
                elapsed,
            }
        });
        let devices = devices.collect();
        let time = &self.setting.time;
        let trace = time.trace.replace(Trace::new()).finish();
        Ok(Outcome {
            load: self.seen,
            harm: self.harm,
            asked: self.protocol.asked(),
            verified: self.protocol.verified(),
            answers: self.protocol.answers(),
            calls: self.protocol.calls(),
            replays: self.protocol.replays(),
            workers,
            devices,
            trace,
        })
    }
}
