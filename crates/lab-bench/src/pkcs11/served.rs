//! A server on one thread, its key in the token, and clients in a closed loop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use engine_core::Shutdown;
use handshake_lab::cpu::confine_to_last_processor;
use handshake_lab::load::{self, Clients, LoadPlan, LoadReport, Verified};
use handshake_lab::scenario::{KeyType, Mix, TlsVersion};
use pkcs11_engine::{Chain, Ended};
use rustls::ServerConfig;
use ssl_async::crypto_ops::encoding::der_from_raw;
use ssl_async::offload::SigningWork;
use ssl_async::{KeyPool, SignError};

use super::bare::{Asking, Library, rate};
use super::setting::{CLIENTS, Failure, SESSIONS};
use super::token::Given;
use crate::heartbeat::{self, Lateness};

const KEY: &str = "p256";
/// One turn of one arm.
const TURN: Duration = Duration::from_millis(2500);
/// Numbers of each round.
pub(super) const FIGURES: usize = 8;

/// In each round: handshakes a second of ours, and of one session behind a mutex; signatures a second of bare threads; p99
/// of our handshakes; p99 lateness of the heartbeat beside them, and less the time in which its thread had no
/// processor; both without any handshakes. Times are nanoseconds.
pub(super) fn numbers(rounds: usize) -> Result<Vec<f64>, Failure> {
    let given = Given::new()?;
    let token = given.open(SESSIONS)?;
    let key = token
        .key_named(&"pkcs11:object=p256".parse()?, Chain::Given(vec![given.certificate(KEY)?]))?;
    let ours = Arc::new(key.server_config());
    let library = Library::of(&given)?;
    let (locked, pool) = behind_a_mutex(&given, &library)?;
    let signers = library.sessions(SESSIONS, KEY)?;
    let mix = Mix::uniform(TlsVersion::Tls13, KeyType::P256);
    let verified = Verified::default();
    let clients = Arc::new(Clients::new(&mix, Some(&given.certificate("ca")?), &verified)?);
    let mut numbers = Vec::new();
    for _ in 0..rounds {
        let (of_ours, busy) = turn(&ours, &clients, CLIENTS)?;
        let (of_locked, _) = turn(&locked, &clients, CLIENTS)?;
        let (limit, _) = rate(&signers, SESSIONS, Asking::Ecdsa, TURN)?;
        let (_, idle) = turn(&ours, &clients, 0)?;
        let p99 = of_ours.latency.quantile_ms(0.99) * 1e6;
        let (of_ours, of_locked) = (per_second(&of_ours), per_second(&of_locked));
        numbers.extend([of_ours, of_locked, limit, p99]);
        numbers.extend([busy.all, busy.running, idle.all, idle.running]);
    }
    drop(signers);
    let ended = pool.shutdown_blocking(Duration::from_secs(5));
    if ended != Shutdown::Drained {
        return Err(format!("the pool behind the mutex: {ended:?}").into());
    }
    if let Ended::Stuck { calls } = token.shutdown_blocking(Duration::from_secs(5)) {
        return Err(format!("{calls} calls have not returned").into());
    }
    Ok(numbers)
}

fn per_second(report: &LoadReport) -> f64 {
    report.handshakes as f64 / report.elapsed.as_secs_f64()
}

/// The same key with one session for all threads, as programs have it that take a `Mutex` for a pool.
fn behind_a_mutex(
    given: &Given,
    library: &Library,
) -> Result<(Arc<ServerConfig>, KeyPool), Failure> {
    let signer = Arc::new(library.sessions(1, KEY)?.pop().ok_or("there is no session")?);
    // The module closes it when it is finalized: a thread of the pool would do so at the end of the process.
    core::mem::forget(Arc::clone(&signer));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let pool = KeyPool::builder_with_provider(&provider).threads(SESSIONS).blocking(
        move |work: &SigningWork| {
            let digest = work.digest().ok_or_else(|| SignError::permanent("no digest"))?;
            let raw = signer.sign(&Mechanism::Ecdsa, &digest).map_err(SignError::transient)?;
            der_from_raw(&raw).ok_or_else(|| SignError::transient("no signature"))
        },
    )?;
    let key = pool.key(vec![given.certificate(KEY)?], KEY)?;
    Ok((Arc::new(key.server_config()), pool))
}

/// What the clients saw, and how late the heartbeat was. Without clients it lasts as long.
fn turn(
    config: &Arc<ServerConfig>,
    clients: &Arc<Clients>,
    connections: usize,
) -> Result<(LoadReport, Lateness), Failure> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listener.set_nonblocking(true)?;
    let plan = LoadPlan {
        target: listener.local_addr()?,
        connections,
        rounds: None,
        time_box: TURN,
        drain: Duration::from_secs(5),
        hang_ups: None,
        clients: Arc::clone(clients),
        stop: None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (report, lateness) = thread::scope(|scope| {
        let load = scope.spawn(|| {
            confine_to_last_processor();
            let report = load::run(&plan);
            if plan.connections == 0 {
                thread::sleep(TURN);
            }
            stop.store(true, Ordering::Release);
            report
        });
        let lateness = heartbeat::lateness_on_mio(listener, config, &stop);
        (load.join().expect("the clients do not panic"), lateness)
    });
    let report = report?;
    if report.failed > 0 {
        return Err(format!("{} handshakes failed: {:?}", report.failed, report.failures).into());
    }
    Ok((report, lateness?))
}
