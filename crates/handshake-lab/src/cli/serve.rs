//! `lab serve`: an HTTPS server on the stack, until Ctrl-C.

use std::{
    io::Write as _,
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    iterator::Signals,
};

use super::{INTERRUPTED, Stop, number};
use crate::{
    certs::TestPki,
    scenario::{self, KeyType, nearest},
    serve::{EngineChoice, Identity, ServePlan, Serving, Threads, log},
    server::{Limits, LiveCounters},
};

/// Arguments of `lab serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen, for example 127.0.0.1:8443 or localhost:8443; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Where to tell /metrics (in Prometheus's text format) and /health, over HTTP without TLS.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// The certificate and those of its issuers, PEM; read anew at SIGHUP.
    #[arg(long, value_name = "PEM")]
    cert: Option<PathBuf>,
    /// The private key, PEM; read anew at SIGHUP.
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// Make a certificate for localhost instead, and say where its authority was written.
    #[arg(long)]
    self_signed: bool,
    /// Where the key is used: inline, threads or sim (pkcs11 is not built yet).
    #[arg(long, value_name = "ENGINE", default_value = "sim")]
    engine: String,
    /// How long the device takes for a signature, or one of the threads blocks before it [default: 10, with threads 0].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    latency_ms: Option<String>,
    /// Event loops, one thread each.
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true)]
    workers: String,
    /// Requests that the device holds, or that wait before the threads [default: 64].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    ring: Option<String>,
    /// Operations that the device works on at the same time, or threads [default: 64].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    units: Option<String>,
    /// Seconds within which a handshake has to be done, or its connection is closed.
    #[arg(long, value_name = "N", default_value = "60", allow_hyphen_values = true)]
    handshake_seconds: String,
    /// Seconds within which a request has to end, from the end of the handshake or its first byte.
    #[arg(long, value_name = "N", default_value = "10", allow_hyphen_values = true)]
    request_seconds: String,
    /// Seconds that a connection may be idle between two requests.
    #[arg(long, value_name = "N", default_value = "60", allow_hyphen_values = true)]
    idle_seconds: String,
    /// Seconds that a drain may take; it ends with the last connection [default: those of a handshake and a request,
    /// and 5].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    drain_seconds: Option<String>,
}

/// Where `--self-signed` writes the certificate of its authority.
const AUTHORITY: &str = "target/layby/serve/ca.pem";

/// How often counters are printed, when they have changed.
const COUNTERS_EVERY: Duration = Duration::from_secs(3);

pub(super) fn run(args: &ServeArgs) -> Result<(), Stop> {
    let plan = plan(args)?;
    // Before anything can be known of the server: who knows that it listens may send a signal.
    let orders = orders().map_err(Stop::usage)?;
    let mut serving = Serving::start(plan).map_err(Stop::usage)?;
    tell(&format!("listening on {}", serving.address()));
    if let Some(metrics) = serving.metrics_address() {
        tell(&format!("metrics on {metrics}"));
    }
    if args.self_signed {
        let port = serving.address().port();
        log::say(&format!(
            "its authority is in {AUTHORITY}; try: curl --cacert {AUTHORITY} https://localhost:{port}/"
        ));
    }
    serve(&mut serving, args, &orders);
    log::say("draining; a second signal ends the process at once");
    let report = serving.drain().map_err(Stop::usage)?;
    tell(&serde_json::to_string(&report).map_err(Stop::usage)?);
    log::flush(FLUSH);
    let left = report.ledger.entries().iter().any(|(_, level)| level.now > 0);
    if left { Err(Stop::Bad) } else { Ok(()) }
}

/// Writes a line to standard output. Nothing can be done if that is gone.
fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// How long the end waits for standard error to take the last lines.
const FLUSH: Duration = Duration::from_millis(500);

fn plan(args: &ServeArgs) -> Result<ServePlan, Stop> {
    let listen = resolve("--listen", &args.listen)?;
    let metrics = args.metrics.as_deref().map(|address| resolve("--metrics", address));
    let workers = number::whole("--workers", &args.workers, 1..=64, "threads")?;
    let engine = engine(args)?;
    let seconds = |option, text: &str| number::whole(option, text, 1..=3_600, "seconds");
    let handshake = seconds("--handshake-seconds", &args.handshake_seconds)?;
    let request = seconds("--request-seconds", &args.request_seconds)?;
    let idle = seconds("--idle-seconds", &args.idle_seconds)?;
    let drain = match &args.drain_seconds {
        Some(text) => number::whole("--drain-seconds", text, 0..=3_600, "seconds")?,
        None => handshake + request + 5,
    };
    Ok(ServePlan {
        listen,
        metrics: metrics.transpose()?.unwrap_or_default(),
        engine,
        workers: usize::try_from(workers).unwrap_or(usize::MAX),
        identity: identity(args)?,
        limits: Limits {
            handshake: Some(Duration::from_secs(handshake)),
            request: Some(Duration::from_secs(request)),
            idle: Some(Duration::from_secs(idle)),
        },
        drain: Duration::from_secs(drain),
    })
}

/// The addresses that HOST:PORT stands for, those of version 4 first.
fn resolve(option: &str, text: &str) -> Result<Vec<SocketAddr>, Stop> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err(Stop::Usage(format!(
            "{option} {text}: not an address; give HOST:PORT, for example 127.0.0.1:8443"
        )));
    }
    let resolved = text.to_socket_addrs().map(Iterator::collect);
    let mut addresses: Vec<SocketAddr> = resolved.map_err(|error| {
        Stop::Usage(format!("{option} {text}: {error}; give a name that is known, or IP:PORT"))
    })?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

fn engine(args: &ServeArgs) -> Result<EngineChoice, Stop> {
    let device_options =
        [("--latency-ms", &args.latency_ms), ("--ring", &args.ring), ("--units", &args.units)];
    let latency =
        |default| number::millis("--latency-ms", args.latency_ms.as_deref().unwrap_or(default));
    let whole = |option, value: &Option<String>, most, unit| {
        let text = value.as_deref().unwrap_or("64");
        number::whole(option, text, 1..=most, unit)
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    match args.engine.as_str() {
        "inline" => match device_options.iter().find(|(_, value)| value.is_some()) {
            None => Ok(EngineChoice::Inline),
            Some((option, value)) => Err(Stop::Usage(format!(
                "{option} {}: --engine inline has no device; leave it out or give --engine threads or sim",
                value.as_deref().unwrap_or_default()
            ))),
        },
        "threads" => Ok(EngineChoice::Threads(Threads {
            threads: whole("--units", &args.units, MOST_THREADS, "threads")?,
            ring: whole("--ring", &args.ring, LARGEST, "requests")?,
            latency: Duration::from_secs_f64(latency("0")? / 1e3),
        })),
        "sim" => Ok(EngineChoice::Sim(scenario::DeviceSpec {
            latency_ms: latency("10")?,
            ring: whole("--ring", &args.ring, LARGEST, "requests")?,
            units: whole("--units", &args.units, LARGEST, "units")?,
            ..scenario::DeviceSpec::default()
        })),
        "pkcs11" => Err(Stop::Usage(format!("--engine pkcs11: not built yet; {GIVE}"))),
        other => {
            let near = nearest(other, ["inline", "threads", "sim", "pkcs11"]);
            let hint = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
            Err(Stop::Usage(format!("--engine {other}: no such engine; {hint}{GIVE}")))
        }
    }
}

/// What to write after `--engine`.
const GIVE: &str = "give inline, threads or sim";

/// Units and ring entries of a simulated device.
const LARGEST: u64 = 65_536;

/// Real threads, which the system has fewer of.
const MOST_THREADS: u64 = 1_024;

fn identity(args: &ServeArgs) -> Result<Identity, Stop> {
    let missing = |option: &str| {
        Stop::Usage(format!("{option} is missing; give --cert PEM and --key PEM, or --self-signed"))
    };
    match (&args.cert, &args.key, args.self_signed) {
        (None, None, true) => self_signed(),
        (Some(_), _, true) | (_, Some(_), true) => Err(Stop::Usage(
            "--self-signed: makes its own certificate and key; leave out --cert and --key"
                .to_owned(),
        )),
        (_, Some(key), false) if key.to_string_lossy().starts_with("pkcs11:") => Err(Stop::Usage(
            format!("--key {}: keys in tokens are not built yet; give a PEM file", key.display()),
        )),
        (Some(cert), Some(key), false) => Identity::from_files(cert, key).map_err(Stop::usage),
        (None, _, false) => Err(missing("--cert")),
        (Some(_), None, false) => Err(missing("--key")),
    }
}

fn self_signed() -> Result<Identity, Stop> {
    let pki = TestPki::generate(KeyType::P256).map_err(Stop::usage)?;
    let file = Path::new(AUTHORITY);
    let written = match file.parent() {
        Some(directory) => std::fs::create_dir_all(directory),
        None => Ok(()),
    };
    written.and_then(|()| std::fs::write(file, &pki.ca_pem)).map_err(|error| {
        Stop::Usage(format!(
            "--self-signed: {AUTHORITY}: {error}; run where target/ can be written"
        ))
    })?;
    Identity::of(&pki).map_err(Stop::usage)
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// `SIGINT` or `SIGTERM`: drain.
    Drain,
    /// `SIGHUP`: read certificate and key anew.
    Reload,
}

/// From now on signals are orders. A second `SIGINT` or `SIGTERM` ends the process at once, whatever it does.
fn orders() -> std::io::Result<Receiver<Order>> {
    let asked_before = Arc::new(AtomicBool::new(false));
    // All of the first before any of the second, so that a signal in between finds the flag down.
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&asked_before))?;
    }
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&asked_before))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (order, orders) = mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let asks = if signal == SIGHUP { Order::Reload } else { Order::Drain };
            if order.send(asks).is_err() {
                break;
            }
        }
    })?;
    Ok(orders)
}

/// Carries orders out until one says to drain, and says counters meanwhile when they have changed.
fn serve(serving: &mut Serving, args: &ServeArgs, orders: &Receiver<Order>) {
    let live = Arc::clone(serving.live());
    let mut shown = (0, 0, 0);
    loop {
        match orders.recv_timeout(COUNTERS_EVERY) {
            Ok(Order::Drain) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Order::Reload) => reload(serving, args),
            Err(RecvTimeoutError::Timeout) => {
                log::tell_left_out();
                show(&live, &mut shown);
            }
        }
    }
}

fn reload(serving: &mut Serving, args: &ServeArgs) {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else {
        log::say("SIGHUP: --self-signed has no files to read anew");
        return;
    };
    match serving.reload(cert, key) {
        Ok(()) => log::say(
            "reloaded: new handshakes use the certificate and key as the files have them now",
        ),
        Err(error) => {
            log::say(&format!("not reloaded, certificate and key stay as they were: {error}"))
        }
    }
}

fn show(live: &LiveCounters, shown: &mut (u64, u64, u64)) {
    let now = (live.handshakes(), live.failed(), live.requests());
    if now != *shown {
        log::say(&format!(
            "{} handshakes, {} sessions failed or cut off, {} requests",
            now.0, now.1, now.2
        ));
        *shown = now;
    }
}
