//! `lab serve`: an HTTPS server on the stack, until Ctrl-C.

use std::{
    io::Write as _,
    ops::RangeInclusive,
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

use super::{
    stop::{INTERRUPTED, Stop},
    values::{self, Addresses},
};
use crate::{
    certs::TestPki,
    scenario::{self, KeyType, nearest},
    serve::{CertFiles, EngineChoice, Identity, ServePlan, Serving, Threads, TokenPlan, log},
    server::{Limits, LiveCounters},
};

/// Arguments of `lab serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen, for example 127.0.0.1:8443 or localhost:8443; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", value_parser = values::addresses)]
    listen: Addresses,
    /// Where to serve /metrics (in Prometheus's text format) and /health, over HTTP without TLS.
    #[arg(long, value_name = "ADDR", value_parser = values::addresses)]
    metrics: Option<Addresses>,
    /// The certificate and those of its issuers, PEM; read anew at SIGHUP. Once more, with another --key, for other hosts.
    /// An OCSP response is taken from the file of the same name with .ocsp in the place of .pem, whenever it changes.
    #[arg(long, value_name = "PEM")]
    cert: Vec<PathBuf>,
    /// The private key, PEM; read anew at SIGHUP. The first belongs to the first --cert, and so on. Or the URI of a key in a
    /// PKCS#11 token, pkcs11:token=NAME;object=NAME?module-path=FILE&pin-source=file:FILE, with --engine pkcs11; then --cert
    /// may be left out if the token has the certificate.
    #[arg(long, value_name = "PEM")]
    key: Vec<PathBuf>,
    /// A directory with certificates for several hosts instead, as NAME.pem with NAME.key, or NAME/fullchain.pem with
    /// NAME/privkey.pem; read anew at SIGHUP. The first name is also for clients that ask for another host.
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Make a certificate for localhost instead, and say where its authority was written.
    #[arg(long)]
    self_signed: bool,
    /// Where the key is used: inline, threads, sim or pkcs11.
    #[arg(long, value_name = "ENGINE", default_value = "sim")]
    engine: String,
    /// How long the device takes for a signature, or one of the threads blocks before it [default: 10, with threads 0].
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = values::millis)]
    latency_ms: Option<f64>,
    /// Event loops, one thread each.
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true,
        value_parser = values::whole::<usize>(1..=64, "threads"))]
    workers: usize,
    /// Requests that the device holds, or that wait before the threads [default: 64].
    #[arg(long, value_name = "N", allow_hyphen_values = true,
        value_parser = values::whole::<usize>(1..=65_536, "requests"))]
    ring: Option<usize>,
    /// Operations that the device works on at the same time, or threads [default: 64], or sessions with the token
    /// [default: 8].
    #[arg(long, value_name = "N", allow_hyphen_values = true,
        value_parser = values::whole::<usize>(1..=65_536, "units"))]
    units: Option<usize>,
    /// Seconds within which a handshake has to be done, or its connection is closed.
    #[arg(long, value_name = "N", default_value = "60", allow_hyphen_values = true,
        value_parser = values::whole::<u64>(1..=3_600, "seconds"))]
    handshake_seconds: u64,
    /// Seconds within which a request has to end, from the end of the handshake or its first byte.
    #[arg(long, value_name = "N", default_value = "10", allow_hyphen_values = true,
        value_parser = values::whole::<u64>(1..=3_600, "seconds"))]
    request_seconds: u64,
    /// Seconds that a connection may be idle between two requests.
    #[arg(long, value_name = "N", default_value = "60", allow_hyphen_values = true,
        value_parser = values::whole::<u64>(1..=3_600, "seconds"))]
    idle_seconds: u64,
    /// Seconds that a drain may take; it ends with the last connection [default: those of a handshake and a request,
    /// and 5].
    #[arg(long, value_name = "N", allow_hyphen_values = true,
        value_parser = values::whole::<u64>(0..=3_600, "seconds"))]
    drain_seconds: Option<u64>,
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
    if report.is_in_module {
        // Exit handlers of the token's library would run during its own calls.
        signal_hook::low_level::exit(1);
    }
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
    let drain = args.drain_seconds;
    let drain = drain.unwrap_or(args.handshake_seconds + args.request_seconds + 5);
    Ok(ServePlan {
        listen: args.listen.0.clone(),
        metrics: args.metrics.clone().map(|addresses| addresses.0).unwrap_or_default(),
        engine: engine(args)?,
        workers: args.workers,
        identities: identities(args)?,
        limits: Limits {
            handshake: Some(Duration::from_secs(args.handshake_seconds)),
            request: Some(Duration::from_secs(args.request_seconds)),
            idle: Some(Duration::from_secs(args.idle_seconds)),
        },
        drain: Duration::from_secs(drain),
    })
}

fn engine(args: &ServeArgs) -> Result<EngineChoice, Stop> {
    let given = [
        ("--latency-ms", args.latency_ms.map(|ms| ms.to_string())),
        ("--ring", args.ring.map(|ring| ring.to_string())),
        ("--units", args.units.map(|units| units.to_string())),
    ];
    let (ring, units) = (args.ring.unwrap_or(64), args.units.unwrap_or(64));
    match args.engine.as_str() {
        "inline" => match given.into_iter().find_map(|(option, value)| Some((option, value?))) {
            None => Ok(EngineChoice::Inline),
            Some((option, value)) => Err(Stop::Usage(format!(
                "{option} {value}: --engine inline has no device; leave it out or give --engine threads or sim",
            ))),
        },
        "threads" => {
            values::within(units as u64, &MOST_THREADS, "threads")
                .map_err(|why| Stop::Usage(format!("--units {units}: {why}")))?;
            let latency = Duration::from_secs_f64(args.latency_ms.unwrap_or(0.0) / 1e3);
            Ok(EngineChoice::Threads(Threads { threads: units, ring, latency }))
        }
        "sim" => Ok(EngineChoice::Sim(scenario::DeviceSpec {
            latency_ms: args.latency_ms.unwrap_or(10.0),
            ring,
            units,
            ..scenario::DeviceSpec::default()
        })),
        "pkcs11" => token_plan(args),
        other => {
            let near = nearest(other, ["inline", "threads", "sim", "pkcs11"]);
            let hint = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
            Err(Stop::Usage(format!("--engine {other}: no such engine; {hint}{GIVE}")))
        }
    }
}

/// The key in a token.
fn token_plan(args: &ServeArgs) -> Result<EngineChoice, Stop> {
    let usage = |text: String| Err(Stop::Usage(text));
    let [key] = &args.key[..] else {
        return usage(format!("--engine pkcs11: {} keys; {GIVE_URI}", args.key.len()));
    };
    let uri = key.to_string_lossy();
    if !is_token_key(key) {
        return usage(format!("--key {uri}: no key in a token; {GIVE_URI}"));
    }
    if args.cert.len() > 1 || args.cert_dir.is_some() || args.self_signed {
        return usage("--engine pkcs11: serves one certificate; give one --cert".to_owned());
    }
    if args.latency_ms.is_some() || args.ring.is_some() {
        return usage(
            "--engine pkcs11: takes no --latency-ms and no --ring; leave them out".to_owned(),
        );
    }
    let sessions = args.units.unwrap_or(8);
    values::within(sessions as u64, &MOST_THREADS, "sessions")
        .map_err(|why| Stop::Usage(format!("--units {sessions}: {why}")))?;
    let uri = uri.parse().map_err(|error| Stop::Usage(format!("--key: {error}")))?;
    Ok(EngineChoice::Token(TokenPlan { uri, certificate: args.cert.first().cloned(), sessions }))
}

fn is_token_key(key: &Path) -> bool {
    key.to_string_lossy().starts_with("pkcs11:")
}

/// What to write after `--key`.
const GIVE_URI: &str =
    "give --key 'pkcs11:token=NAME;object=NAME?module-path=FILE&pin-source=file:FILE'";

/// What to write after `--engine`.
const GIVE: &str = "give inline, threads, sim or pkcs11";

/// Real threads, which the system has fewer of than a simulated device has units.
const MOST_THREADS: RangeInclusive<u64> = 1..=1_024;

/// The files of the certificates; `None` for those that the server makes.
fn cert_files(args: &ServeArgs) -> Result<Option<CertFiles>, Stop> {
    let usage = |text: &str| Err(Stop::Usage(text.to_owned()));
    let missing = |option: &str| {
        usage(&format!("{option} is missing; give --cert PEM and --key PEM, or --self-signed"))
    };
    let (certs, keys) = (&args.cert, &args.key);
    let has_files = !(certs.is_empty() && keys.is_empty());
    if args.self_signed {
        return match has_files || args.cert_dir.is_some() {
            true => usage(
                "--self-signed: makes its own certificate and key; leave out --cert, --key and --cert-dir",
            ),
            false => Ok(None),
        };
    }
    if let Some(directory) = &args.cert_dir {
        return match has_files {
            true => usage("--cert-dir: has all certificates and keys; leave out --cert and --key"),
            false => Ok(Some(CertFiles::Directory(directory.clone()))),
        };
    }
    if let Some(key) = keys.iter().find(|key| is_token_key(key)) {
        return usage(&format!("--key {}: is used by --engine pkcs11; add it", key.display()));
    }
    match (certs.len(), keys.len()) {
        (0, _) => missing("--cert"),
        (_, 0) => missing("--key"),
        (n, m) if n != m => usage(&format!(
            "--cert is given {n} times and --key {m} times; give a --key for each --cert, in the same order"
        )),
        _ => Ok(Some(CertFiles::Pairs(certs.iter().cloned().zip(keys.iter().cloned()).collect()))),
    }
}

fn identities(args: &ServeArgs) -> Result<Vec<Identity>, Stop> {
    if args.engine == "pkcs11" {
        return Ok(Vec::new());
    }
    match cert_files(args)? {
        Some(files) => files.load(&Arc::default(), &[]).map_err(Stop::usage),
        None => Ok(vec![self_signed()?]),
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

/// Carries out orders until one asks for a drain, and prints counters meanwhile when they have changed.
fn serve(serving: &mut Serving, args: &ServeArgs, orders: &Receiver<Order>) {
    let live = Arc::clone(serving.live());
    let mut shown = (0, 0, 0);
    loop {
        match orders.recv_timeout(COUNTERS_EVERY) {
            Ok(Order::Drain) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Order::Reload) => reload(serving, args),
            Err(RecvTimeoutError::Timeout) => {
                log::tell_left_out();
                serving.forget_replaced_keys();
                for file in serving.refresh_staples() {
                    log::say(&format!("{}: the OCSP response is sent from now on", file.display()));
                }
                show(&live, &mut shown);
            }
        }
    }
}

fn reload(serving: &mut Serving, args: &ServeArgs) {
    if args.engine == "pkcs11" {
        match serving.reload_of_token(args.cert.first().map(PathBuf::as_path)) {
            Ok(()) => log::say("reloaded: new handshakes use the certificate as it is now"),
            Err(error) => {
                log::say(&format!("not reloaded, the certificate stays as it was: {error}"))
            }
        }
        return;
    }
    let Ok(Some(files)) = cert_files(args) else {
        log::say("SIGHUP: --self-signed has no files to read anew");
        return;
    };
    match serving.reload(&files) {
        Ok(1) => log::say(
            "reloaded: new handshakes use the certificate and key as the files have them now",
        ),
        Ok(n) => log::say(&format!(
            "reloaded: new handshakes use the {n} certificates and their keys as the files have them now"
        )),
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
