//! The stack that each kind of packet needs, and its table in docs/figures.md.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use job_core::{JobPool, Step};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, Connection, ServerConnection};

use crate::identities::{ALGORITHMS, Chain, Provider, Version, localhost, providers};

/// The packets of a handshake, each in a job of its own.
const PACKETS: [&str; 4] =
    ["client, start", "server, hello", "client, server's flight", "server, client's flight"];

/// Half of the usable stack. The other half is for the application's hooks and for later releases.
const LIMIT: usize = 128 * 1024;
/// By how many bytes a packet may exceed the documented figure. aws-lc chooses its code by the processor: RSA of
/// TLS 1.2 uses 6 KiB on one and 11 KiB on another.
const TOLERANCE: usize = 16 * 1024;

/// Runs `f` as the only job of a pool. Returns its result and the bytes of stack it used.
fn measure<T: 'static>(f: impl FnOnce() -> T + 'static) -> (T, usize) {
    let pool = JobPool::new();
    let step = pool.start(f).unwrap_or_else(|error| panic!("no job: {error}"));
    let Step::Finished(value) = step else { unreachable!("nothing in here pauses") };
    pool.wipe();
    (value, pool.stats().stack_high_water)
}

/// Delivers the output of `from` and lets `to` process it in a job.
fn deliver(from: &mut Connection, to: Connection) -> (Connection, usize) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("a vector takes everything");
    }
    let mut to = Box::new(to);
    let ((to, unread), used) = measure(move || {
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            to.read_tls(&mut unread).expect("a slice does not fail");
            to.process_new_packets().expect("a good packet");
        }
        (to, unread.len())
    });
    assert_eq!(unread, 0);
    (*to, used)
}

/// The stack that each of [`PACKETS`] uses in one handshake in which both ends show `chain`.
fn handshake(chain: &Chain, provider: &Provider, version: Version) -> [usize; 4] {
    let (server, client) = (chain.server(provider, version, true), chain.client(provider, version));
    let (client, start) =
        measure(move || ClientConnection::new(client, localhost()).expect("a configuration"));
    let mut client = Connection::from(client);
    let server = Connection::from(ServerConnection::new(server).expect("a configuration"));
    let (mut server, hello) = deliver(&mut client, server);
    let (mut client, flight) = deliver(&mut server, client);
    let (mut server, answer) = deliver(&mut client, server);
    let (client, _) = deliver(&mut server, client);
    assert!(!client.is_handshaking() && !server.is_handshaking());
    [start, hello, flight, answer]
}

/// One line of the table: its name and the bytes.
type Row = (String, [usize; 4]);

fn rows() -> Vec<Row> {
    let [aws_lc, ring] = providers();
    let classic = aws_lc.with_exchange(kx_group::X25519);
    let hybrid = aws_lc.with_exchange(kx_group::X25519MLKEM768);
    let mut rows = Vec::new();
    let mut add = |name: String, chain: &Chain, provider: &Provider, version| {
        rows.push((name, handshake(chain, provider, version)));
    };
    for algorithm in &ALGORITHMS {
        let name = algorithm.name;
        let (one, seven) = (Chain::new(algorithm, 1), Chain::new(algorithm, 7));
        add(format!("{name}, chain of 1"), &one, &classic, &TLS13);
        add(format!("{name}, chain of 7"), &seven, &classic, &TLS13);
        if matches!(name, "ECDSA P-256" | "ML-DSA-87") {
            add(format!("{name}, chain of 7, X25519MLKEM768"), &seven, &hybrid, &TLS13);
        }
        if matches!(name, "ECDSA P-256" | "RSA-2048") {
            add(format!("{name}, chain of 7, TLS 1.2"), &seven, &classic, &TLS12);
            add(format!("{name}, chain of 7, ring"), &seven, &ring, &TLS13);
        }
    }
    rows
}

const BEGIN: &str = "<!-- The stack of each packet: written by LAYBY_RECORD=1 cargo test --release -p layby-ssl-async \
                     --features ring --test stacks -->\n";
const END: &str = "<!-- End of the stack of each packet. -->\n";

fn table(rows: &[Row]) -> String {
    let mut table = format!("{BEGIN}\n| TLS 1.3, X25519, aws-lc, both ends show the chain |");
    for packet in PACKETS {
        let _ = write!(table, " {packet} |");
    }
    table.push_str("\n| --- | --- | --- | --- | --- |\n");
    for (name, bytes) in rows {
        let _ = write!(table, "| {name} |");
        for bytes in bytes {
            let _ = write!(table, " {bytes} |");
        }
        table.push('\n');
    }
    table + "\n" + END
}

/// The figures of a row of the page.
fn documented(page: &str, name: &str) -> Option<Vec<usize>> {
    let line = page.lines().find(|line| line.starts_with(&format!("| {name} |")))?;
    line.split('|')
        .skip(2)
        .filter(|cell| !cell.is_empty())
        .map(|cell| cell.trim().parse().ok())
        .collect()
}

#[test]
fn no_packet_needs_more_than_half_of_the_default_stack() {
    let rows = rows();
    if cfg!(debug_assertions) {
        // Unoptimised Rust needs more; here it is enough that the packets fit.
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/figures.md");
    let text = fs::read_to_string(&page).expect("docs/figures.md");
    if env::var_os("LAYBY_RECORD").is_some() {
        let (before, rest) = text.split_once(BEGIN).expect("the place of the table");
        let (_, after) = rest.split_once(END).expect("the end of the table");
        fs::write(&page, format!("{before}{}{after}", table(&rows)))
            .expect("a page that can be written");
    }
    let text = fs::read_to_string(&page).expect("docs/figures.md");
    for (name, measured) in rows {
        let said =
            documented(&text, &name).unwrap_or_else(|| panic!("docs/figures.md: no row {name}"));
        for ((packet, measured), said) in PACKETS.iter().zip(measured).zip(said) {
            assert!(measured <= LIMIT, "{name}, {packet}: {measured} bytes of stack");
            assert!(
                measured <= said + TOLERANCE,
                "{name}, {packet}: {measured} bytes of stack, docs/figures.md says {said}; LAYBY_RECORD=1 records it"
            );
        }
    }
}
