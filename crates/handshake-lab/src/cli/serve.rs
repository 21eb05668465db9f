//! `lab serve`: an HTTPS server on the stack, until Ctrl-C.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, mpsc},
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
};

use super::{INTERRUPTED, Stop, number};
use crate::{
    certs::TestPki,
    scenario::{self, KeyType, nearest},
    serve::{EngineChoice, Identity, ServePlan, Serving, Threads},
    server::LiveCounters,
};

/// Arguments of `lab serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen, for example 127.0.0.1:8443; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// The certificate chain, PEM, the server's own first.
    #[arg(long, value_name = "PEM")]
    cert: Option<PathBuf>,
    /// The private key, PEM.
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
}

/// Where `--self-signed` writes the certificate of its authority.
const AUTHORITY: &str = "target/layby/serve/ca.pem";

/// How often counters are printed, when they have changed.
const COUNTERS_EVERY: Duration = Duration::from_secs(3);

pub(super) fn run(args: &ServeArgs) -> Result<(), Stop> {
    let plan = plan(args)?;
    let serving = Serving::start(plan).map_err(Stop::usage)?;
    println!("listening on {}", serving.address());
    // Whoever reads the line waits for it.
    std::io::stdout().flush().map_err(Stop::usage)?;
    if args.self_signed {
        let port = serving.address().port();
        eprintln!(
            "its authority is in {AUTHORITY}; try: curl --cacert {AUTHORITY} https://localhost:{port}/"
        );
    }

    wait_for_signal(serving.live()).map_err(Stop::usage)?;
    eprintln!("draining; Ctrl-C again quits at once");
    let report = serving.drain().map_err(Stop::usage)?;
    println!("{}", serde_json::to_string(&report).map_err(Stop::usage)?);
    let left = report.ledger.entries().iter().any(|(_, level)| level.now > 0);
    if left { Err(Stop::Bad) } else { Ok(()) }
}

fn plan(args: &ServeArgs) -> Result<ServePlan, Stop> {
    let listen: SocketAddr = args.listen.parse().map_err(|_| {
        Stop::Usage(format!(
            "--listen {}: not an address; give IP:PORT, for example 127.0.0.1:8443",
            args.listen
        ))
    })?;
    let workers = number::whole("--workers", &args.workers, 1..=64, "threads")?;
    let engine = engine(args)?;
    let seconds =
        number::whole("--handshake-seconds", &args.handshake_seconds, 1..=3_600, "seconds")?;
    Ok(ServePlan {
        listen,
        engine,
        workers: usize::try_from(workers).unwrap_or(usize::MAX),
        identity: identity(args)?,
        handshake_timeout: Duration::from_secs(seconds),
    })
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
        "sim" => Ok(EngineChoice::Sim(scenario::Device {
            latency_ms: latency("10")?,
            ring: whole("--ring", &args.ring, LARGEST, "requests")?,
            units: whole("--units", &args.units, LARGEST, "units")?,
            ..scenario::Device::default()
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

/// Waits for Ctrl-C (or `SIGTERM`), printing counters meanwhile when they have changed. A second Ctrl-C quits at once.
fn wait_for_signal(live: &Arc<LiveCounters>) -> std::io::Result<()> {
    let asked_before = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&asked_before))?;
    flag::register(SIGINT, asked_before)?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (heard, hears) = mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            // The receiver lives until it has heard.
            let _ = heard.send(());
        }
    })?;
    let mut shown = (0, 0, 0);
    while let Err(mpsc::RecvTimeoutError::Timeout) = hears.recv_timeout(COUNTERS_EVERY) {
        let now = (live.handshakes(), live.failed(), live.requests());
        if now != shown {
            eprintln!(
                "{} handshakes, {} sessions failed or cut off, {} requests",
                now.0, now.1, now.2
            );
            shown = now;
        }
    }
    Ok(())
}
