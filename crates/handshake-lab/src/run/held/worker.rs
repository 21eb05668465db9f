//! A worker of a row whose handshakes are held: the core of an event loop over connections in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use crypto_ops::SoftwareKeys;
use job_core::JobPool;
use lab_report::Progress;
use ssl_async::{Ssl, SslContext};
use wait_ctx::ReadyQueue;

use super::{
    keeper::Keeper,
    wire::{ClientEnd, ServerEnd, SharedWire},
};
use crate::{
    cpu::thread_cpu,
    load::{ClientError, Clients, TlsClient},
    server::{
        Connection, Limits, LiveCounters, RealTime, Service, WorkerReport,
        worker_core::{Core, Policy},
    },
};

/// Hellos that are made one after the other before the server hears them, so that the memory of their clients is one
/// block again afterwards.
const BATCH: usize = 256;

/// Every n-th session that parks is resumed once without a wake, which must do no harm (law L2).
const UNPROMPTED_EVERY: u64 = 64;

/// What the workers of a row share.
pub(super) struct Parts<'a> {
    pub(super) context: &'a SslContext,
    pub(super) clients: &'a Clients,
    pub(super) keys: &'a SoftwareKeys,
    pub(super) device: &'a Keeper,
    /// The numbers of the handshakes that are completed.
    pub(super) drawn: BTreeSet<usize>,
    pub(super) live: Arc<LiveCounters>,
    pub(super) progress: &'a Progress,
}

/// What one worker did.
pub(super) struct Finished {
    pub(super) report: WorkerReport,
    /// How long each completed handshake took, from its hello on.
    pub(super) done: Vec<Duration>,
    /// Why others failed.
    pub(super) failures: Vec<String>,
}

/// A client that is kept until its handshake is completed.
struct Kept {
    client: TlsClient<ClientEnd>,
    wire: SharedWire,
    said_hello: Instant,
    /// The key of its session, once there is one.
    session: Option<usize>,
}

type Sessions = Core<Connection<ServerEnd>, RealTime>;

/// Parks the handshakes of these numbers and completes the drawn ones. Says when it is about to park and when it has, and
/// waits to be told to go on each time.
pub(super) fn serve(
    parts: &Parts<'_>,
    range: Range<usize>,
    ready: &mpsc::Sender<()>,
    go: &mpsc::Receiver<()>,
) -> io::Result<Finished> {
    let tls = |error: ClientError| io::Error::other(error.to_string());
    let mut kept = BTreeMap::new();
    for &number in parts.drawn.range(range.clone()) {
        let wire = SharedWire::default();
        let mut client = parts.client(number, ClientEnd(SharedWire::clone(&wire))).map_err(tls)?;
        client.drive().map_err(tls)?;
        kept.insert(number, Kept { client, wire, said_hello: Instant::now(), session: None });
    }
    let policy = Policy {
        unprompted_every: Some(UNPROMPTED_EVERY),
        polls: false,
        limits: Limits::default(),
    };
    let (pool, queue) = (JobPool::new(), ReadyQueue::new()?);
    let mut core = Sessions::new(pool, queue, Arc::clone(&parts.live), policy, RealTime);
    let _told = ready.send(());
    // Whether this is an error or not, the next one is.
    let _go = go.recv();

    let cpu = thread_cpu();
    parts.park(range.clone(), &mut core, &mut kept).map_err(tls)?;
    let parking = thread_cpu() - cpu;
    let _told = ready.send(());
    let _go = go.recv();

    let cpu = thread_cpu();
    let mut finished = (Vec::new(), Vec::new());
    let completed = kept.len();
    for (number, one) in kept {
        let said_hello = one.said_hello;
        match parts.complete(number - range.start, one, &mut core) {
            Ok(()) => finished.0.push(said_hello.elapsed()),
            Err(why) => finished.1.push(why),
        }
    }
    let cpu = thread_cpu() - cpu;
    core.give_up_all();
    // Of the time in which all were parked, the part of those that were completed.
    let parking = parking.as_secs_f64() * completed as f64 / range.len().max(1) as f64;
    let report = core.finish(cpu + Duration::from_secs_f64(parking));
    Ok(Finished { report, done: finished.0, failures: finished.1 })
}

impl Parts<'_> {
    fn client(&self, number: usize, end: ClientEnd) -> Result<TlsClient<ClientEnd>, ClientError> {
        self.clients.client(self.clients.kind(number as u64).full(), end)
    }

    fn park(
        &self,
        range: Range<usize>,
        core: &mut Sessions,
        kept: &mut BTreeMap<usize, Kept>,
    ) -> Result<(), ClientError> {
        let mut from = range.start;
        while from < range.end && !self.progress.is_interrupted() {
            let batch = from..range.end.min(from + BATCH);
            from = batch.end;
            let ends = batch.map(|number| {
                if let Some(one) = kept.get(&number) {
                    let wire = Some(SharedWire::clone(&one.wire));
                    return Ok((number, ServerEnd { hello: Vec::new(), wire }));
                }
                let wire = SharedWire::default();
                let mut client = self.client(number, ClientEnd(SharedWire::clone(&wire)))?;
                client.drive()?;
                Ok((number, ServerEnd { hello: wire.take_sent(), wire: None }))
            });
            for (number, end) in ends.collect::<Result<Vec<_>, ClientError>>()? {
                let session = core.welcome(Duration::ZERO, (), |_, pool, route| {
                    let ssl = Ssl::accept(self.context, pool, end).ok()?;
                    if let Some(route) = route {
                        ssl.wait_ctx().notifier().set_route(route);
                    }
                    Some(Connection::new(ssl, Service::HandshakeOnly, None))
                });
                if let Some(key) = session {
                    core.transport_ready(key, true);
                    core.begin_one();
                }
                if let Some(one) = kept.get_mut(&number) {
                    one.session = session;
                }
            }
        }
        Ok(())
    }

    /// Signs for one handshake, and lets its client verify and finish.
    fn complete(&self, place: usize, mut one: Kept, core: &mut Sessions) -> Result<(), String> {
        let session = one.session.ok_or("it was never parked")?;
        if !self.device.sign(place, self.keys) {
            return Err("it has asked for no signature".to_owned());
        }
        core.completions();
        let client = &mut one.client;
        client.drive().map_err(|error| error.to_string())?;
        core.transport_ready(session, true);
        match client.drive() {
            Ok(true) => Ok(()),
            Ok(false) => Err("it has its signature and does not end".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
