//! A million TLS 1.3 handshakes parked by replay at once in one process, each with a hello of its own; then a thousand of
//! them, drawn by seed, are signed and finished by clients that verify.
//!
//! The clients of the thousand exist before memory is read for the first time. Each other client is dropped as soon as it
//! has said hello.
//!
//! A bench and not a scenario of the laboratory: what it measures is the memory of the real process, which virtual time
//! does not have, and it needs a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use crypto_ops::CryptoOp;
use engine_core::{DeviceError, Engine};
use handshake_lab::load::Verified;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tls_replay::ReplayConfig;

use super::party::{Client, Fixture, Keeper, Replaying, Server, Stood, Wire};
use crate::paused::{affordable, numbers_of_child, print_numbers, resident};
use crate::report::{Bench, Better};

const MANY: usize = 1_000_000;
/// Memory for that many, with room to spare.
const NEEDED: u64 = 3 << 30;
const DRAWN: usize = 1_000;
const SEED: u64 = 18;
/// Hellos that are made one after the other before the server hears them, so that the memory of their clients is one
/// block again afterwards.
const BATCH: usize = 256;

/// `tls.million_parked` and the bytes of each.
pub(crate) fn million_parked() -> Vec<Bench> {
    const COUNT: &str = "tls.million_parked";
    const BYTES: &str = "tls.million_parked.bytes";
    let (wanted, scaled) = affordable(MANY, NEEDED);
    match numbers_of_child("million-parked", wanted).as_deref() {
        Ok(&[parked, bytes, seconds, completed, verified]) => {
            let note = format!(
                "parked in {seconds:.1} s; {completed} of them completed, {verified} signatures verified"
            );
            let whole = format!("{:.2} GB in all, page tables in", parked * bytes / 1e9);
            vec![
                scaled(Bench::figure(COUNT, "count", Better::Higher, parked).with_note(note)),
                scaled(Bench::figure(BYTES, "bytes", Better::Lower, bytes).with_note(whole)),
            ]
        }
        Ok(numbers) => vec![Bench::missing(COUNT, "count", format!("it said {numbers:?}"))],
        Err(why) => vec![Bench::missing(COUNT, "count", why.clone())],
    }
}

/// In a process of its own: prints how many were parked, bytes for each, the seconds that parking took, and how many were
/// completed and verified.
pub(crate) fn child(handshakes: usize) -> Result<(), String> {
    let (crowd, outcome) = park_and_complete(handshakes)?;
    let Parked { bytes, took, completed, verified } = outcome;
    let seconds = took.as_secs_f64();
    print_numbers(format_args!("{handshakes} {bytes} {seconds} {completed} {verified}"))?;
    // The process ends instead.
    std::mem::forget(crowd);
    Ok(())
}

struct Parked {
    /// Of memory, for each handshake.
    bytes: f64,
    took: Duration,
    completed: usize,
    verified: u64,
}

/// Returns the handshakes too: a measurement of the whole process must not wait for their end.
fn park_and_complete(handshakes: usize) -> Result<(Vec<Share>, Parked), String> {
    let verified = Verified::default();
    let fixture = Fixture::verifying(&verified)?;
    let config = fixture.replay()?;
    let mut drawn: BTreeMap<usize, (Client, Wire)> =
        draw(handshakes).into_iter().map(|index| (index, say_hello(&fixture))).collect();
    let hellos: BTreeMap<usize, Vec<u8>> = drawn
        .iter_mut()
        .map(|(index, (_, wire))| (*index, std::mem::take(&mut wire.to_server)))
        .collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut crowd: Vec<Share> = (0..threads)
        .map(|index| Share::new(index * handshakes / threads..(index + 1) * handshakes / threads))
        .collect();
    let (before, begun) = (resident()?, Instant::now());
    thread::scope(|scope| {
        for share in &mut crowd {
            scope.spawn(|| share.park(&fixture, &config, &hellos));
        }
    });
    let took = begun.elapsed();
    let bytes = resident()?.saturating_sub(before) as f64 / handshakes as f64;
    let mut completed = 0;
    for (index, (mut client, _)) in drawn {
        let share = crowd.iter_mut().find(|share| share.range.contains(&index));
        share.expect("each index is in a share").complete(index, &fixture, &mut client)?;
        completed += 1;
    }
    Ok((crowd, Parked { bytes, took, completed, verified: verified.count() }))
}

/// The indices of the handshakes that are completed.
fn draw(handshakes: usize) -> BTreeSet<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn = BTreeSet::new();
    while drawn.len() < DRAWN.min(handshakes) {
        drawn.insert(random.random_range(0..handshakes));
    }
    drawn
}

fn say_hello(fixture: &Fixture) -> (Client, Wire) {
    let (mut client, mut wire) = (fixture.client(), Wire::default());
    client.step(&mut wire);
    (client, wire)
}

/// The handshakes of one thread.
struct Share {
    range: Range<usize>,
    device: Arc<Keeper>,
    engine: Arc<Engine<CryptoOp>>,
    servers: Vec<Replaying>,
}

impl Share {
    fn new(range: Range<usize>) -> Self {
        let device = Arc::<Keeper>::default();
        let engine = Engine::builder(Arc::clone(&device) as Arc<_>).build();
        let servers = Vec::with_capacity(range.len());
        Self { range, device, engine, servers }
    }

    fn park(
        &mut self,
        fixture: &Fixture,
        config: &ReplayConfig,
        hellos: &BTreeMap<usize, Vec<u8>>,
    ) {
        let mut wires = Vec::with_capacity(BATCH);
        for index in self.range.clone() {
            wires.push(match hellos.get(&index) {
                Some(hello) => Wire { to_server: hello.clone(), ..Wire::default() },
                None => say_hello(fixture).1,
            });
            if wires.len() == BATCH || index + 1 == self.range.end {
                for wire in wires.drain(..) {
                    let waker = Waker::noop().clone();
                    let mut server = Replaying::new(config, &self.engine, waker, wire);
                    assert_eq!(server.step(), Stood::Parked);
                    self.servers.push(server);
                }
            }
        }
    }

    /// Signs, and lets the client verify and finish.
    fn complete(
        &mut self,
        index: usize,
        fixture: &Fixture,
        client: &mut Client,
    ) -> Result<(), String> {
        let place = index - self.range.start;
        let request = self.device.take(place).expect("each is completed once");
        let signature = fixture.keys.execute(request.work());
        request.complete(signature.map_err(|error| DeviceError::reported(&error)));
        let server = &mut self.servers[place];
        if server.step() != Stood::WaitsForPeer {
            return Err(format!("handshake {index} has its signature and does not go on"));
        }
        client.step(server.wire());
        match server.step() {
            Stood::Done => Ok(()),
            stood => Err(format!("handshake {index} ended in {stood:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_thousand_parked_handshakes_a_thousand_are_completed_and_verified() {
        let (crowd, parked) = park_and_complete(2_000).unwrap();
        assert_eq!(crowd.iter().map(|share| share.servers.len()).sum::<usize>(), 2_000);
        assert_eq!((parked.completed, parked.verified), (DRAWN, DRAWN as u64));
        let in_flight = crowd.iter().map(|share| share.engine.stats().requests.now);
        assert_eq!(in_flight.sum::<u64>(), 1_000);
    }
}
