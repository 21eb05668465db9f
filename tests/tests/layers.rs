//! The layers of the workspace: which crate may depend on which, ours and others.
//!
//! The picture below is the law, and `cargo metadata` is held against it. A crate depends only on
//! crates of lower layers, and of those only on the ones in its row. A `?` marks what only a feature
//! may bring in. If a change needs another edge, it is this table that the change has to argue with.

use std::fmt;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// One crate, what it may depend on, and what its tests may use besides [`TESTING`].
struct Row {
    layer: u8,
    name: &'static str,
    ours: &'static str,
    others: &'static str,
    testing: &'static str,
}

#[rustfmt::skip]
const LAYERS: &[Row] = &[
    Row { layer: 0, name: "wait-ctx",
          ours:    "",
          others:  "rustix thiserror tracing mio? proptest?",
          testing: "libloading loom" },
    Row { layer: 0, name: "sim-device",
          ours:    "",
          others:  "rand rand_chacha slab thiserror tracing",
          testing: "" },
    Row { layer: 1, name: "job-core",
          ours:    "wait-ctx",
          others:  "corosensei errno libc rustix thiserror tracing",
          testing: "libloading regex smol tokio tracing-subscriber" },
    // What it is on is what OpenSSL's functions are: jobs and wait contexts. It loads libcrypto's symbols with libc.
    Row { layer: 2, name: "capi",
          ours:    "job-core wait-ctx",
          others:  "libc",
          testing: "wait-timeout" },
    Row { layer: 2, name: "engine-core",
          ours:    "job-core wait-ctx",
          others:  "forkguard nix rustc-hash slab thiserror tracing metrics?",
          testing: "libc rustix" },
    Row { layer: 3, name: "crypto-ops",
          ours:    "engine-core",
          others:  "aws-lc-rs rustls-pki-types subtle thiserror tracing zeroize",
          testing: "rcgen" },
    // The macro that declares planted bugs is wait-ctx's, for builds with that feature only.
    Row { layer: 3, name: "tls-replay",
          ours:    "engine-core wait-ctx",
          others:  "rustls thiserror zeroize",
          testing: "cargo_metadata rcgen tokio" },
    Row { layer: 4, name: "sim-engine",
          ours:    "crypto-ops engine-core sim-device",
          others:  "crossbeam-channel thiserror tracing",
          testing: "rcgen" },
    Row { layer: 4, name: "ssl-async",
          ours:    "crypto-ops engine-core job-core tls-replay wait-ctx",
          others:  "aws-lc-rs? num-bigint rustls rustls-webpki sha2 thiserror tracing zeroize tokio?",
          testing: "rustix base64 http-body-util hyper hyper-util libc libloading mio rcgen tokio tokio-rustls tonic tonic-health tower \
                    tracing-subscriber" },
    // The C surface of a token's library stays inside cryptoki. It is no part of ssl-async, as it loads libraries.
    Row { layer: 5, name: "pkcs11-engine",
          ours:    "ssl-async engine-core",
          others:  "cryptoki thiserror tracing zeroize metrics?",
          testing: "tokio" },
    Row { layer: 5, name: "lab-report",
          ours:    "engine-core sim-device",
          others:  "comfy-table hdrhistogram indicatif plotters serde serde_json time toml",
          testing: "" },
    Row { layer: 6, name: "layby",
          ours:    "engine-core job-core pkcs11-engine ssl-async",
          others:  "",
          testing: "rcgen tokio" },
    Row { layer: 6, name: "handshake-lab",
          ours:    "lab-report pkcs11-engine sim-engine ssl-async tls-replay crypto-ops engine-core job-core sim-device wait-ctx",
          others:  "aws-lc-rs clap clap_complete clap_mangen httparse httpdate mio rand rand_chacha rcgen rustix rustls \
                    serde serde_json signal-hook slab strsim thiserror toml tracing tracing-subscriber",
          testing: "" },
    Row { layer: 7, name: "lab-bench",
          ours:    "handshake-lab lab-report pkcs11-engine sim-engine ssl-async tls-replay crypto-ops engine-core job-core sim-device wait-ctx",
          others:  "clap comfy-table corosensei cryptoki libloading mio rand rand_chacha rcgen rustix rustls serde serde_json tempfile \
                    tokio tokio-rustls tracing tracing-subscriber",
          testing: "" },
    Row { layer: 8, name: "tests",
          ours:    "",
          others:  "base64 cargo_metadata proc-macro2 public-api rcgen rustix rustls serde_json syn tempfile",
          testing: "" },
    Row { layer: 0, name: "xtask",
          ours:    "",
          others:  "clap serde strsim toml wait-timeout",
          testing: "" },
];

/// What any crate may use in its tests.
const TESTING: &str = "insta proptest proptest-state-machine tempfile";

/// Dependencies that shape the crate that uses them: only these crates may, whatever their row says. `lab-bench`
/// measures some of them as rivals.
#[rustfmt::skip]
const RESERVED: &[(&str, &str)] = &[
    ("corosensei",        "job-core lab-bench"),
    ("crossbeam-channel", "sim-engine"),
    ("aws-lc-rs",         "crypto-ops ssl-async handshake-lab"),
    ("rustls",            "tls-replay ssl-async handshake-lab lab-bench tests"),
    // In the row of ssl-async it is for testing only: an example shows the same server on a bare event loop.
    ("mio",               "wait-ctx handshake-lab lab-bench ssl-async"),
    // In the row of job-core it is for testing only: an example shows that jobs run under it, and a
    // library that a runtime must carry would be of no use under another. In tls-replay, pkcs11-engine and layby an example likewise.
    ("tokio",             "ssl-async lab-bench job-core tls-replay pkcs11-engine layby"),
    ("cryptoki",          "pkcs11-engine lab-bench"),
];

/// An edge of the dependency graph, as a manifest states it.
#[derive(Clone, Debug)]
struct Edge {
    from: String,
    to: String,
    kind: DependencyKind,
    optional: bool,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

fn row(name: &str) -> Option<&'static Row> {
    LAYERS.iter().find(|row| row.name == name)
}

fn names(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|word| word == name)
}

/// Why an edge is not allowed, and where it would have to be.
fn verdict(edge: &Edge) -> Result<(), String> {
    let Some(from) = row(&edge.from) else {
        return Err(format!("{} has no row in LAYERS; give it a layer", edge.from));
    };
    let to = row(&edge.to);
    if let Some(to) = to.filter(|to| to.layer >= from.layer) {
        return Err(format!("{edge}: layer {} may not see layer {}", from.layer, to.layer));
    }
    if let Some((_, owners)) = RESERVED.iter().find(|(name, _)| *name == edge.to)
        && !names(owners, &edge.from)
    {
        return Err(format!("{edge}: only {owners} may name {}", edge.to));
    }
    match edge.kind {
        // Tests may see any lower layer of ours.
        DependencyKind::Development => {
            let lists = [TESTING, from.testing, from.others];
            let allowed = to.is_some() || lists.iter().any(|list| names(list, &edge.to));
            allowed.then_some(()).ok_or_else(|| format!("{edge}: not in TESTING, nor in its row"))
        }
        DependencyKind::Normal => {
            let list = if to.is_some() { from.ours } else { from.others };
            if names(list, &edge.to) || edge.optional && names(list, &format!("{}?", edge.to)) {
                Ok(())
            } else if names(list, &format!("{}?", edge.to)) {
                Err(format!("{edge}: allowed behind a feature only; make it optional"))
            } else {
                Err(format!("{edge}: not in the row of {}", edge.from))
            }
        }
        _ => Err(format!("{edge}: no crate of ours has a build script")),
    }
}

/// A package of ours by the name of its folder and library: on a registry it has the prefix `layby-`.
fn folder(package: &str) -> String {
    package.strip_prefix("layby-").unwrap_or(package).to_owned()
}

/// The edges of the workspace, and its members.
fn workspace() -> (Vec<Edge>, Vec<String>) {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata describes the workspace");
    let members = metadata.packages.iter().map(|package| folder(&package.name)).collect();
    let edges = metadata.packages.iter().flat_map(|package| {
        package.dependencies.iter().map(|dependency| Edge {
            from: folder(&package.name),
            to: folder(&dependency.name),
            kind: dependency.kind,
            optional: dependency.optional,
        })
    });
    (edges.collect(), members)
}

#[test]
fn every_edge_of_the_workspace_is_in_the_picture() {
    let (edges, members) = workspace();
    assert!(edges.len() > members.len(), "the metadata lists the dependencies");
    let refused: Vec<String> = edges.iter().filter_map(|edge| verdict(edge).err()).collect();
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
}

#[test]
fn the_picture_shows_every_member_and_nothing_else() {
    let (_, mut members) = workspace();
    members.sort();
    let mut rows: Vec<String> = LAYERS.iter().map(|row| row.name.to_owned()).collect();
    rows.sort();
    assert_eq!(members, rows);
}

#[test]
fn the_picture_itself_points_downwards() {
    for from in LAYERS {
        for name in from.ours.split_whitespace() {
            let to = row(name).unwrap_or_else(|| panic!("{name} is not one of ours"));
            assert!(to.layer < from.layer, "{} -> {name}", from.name);
        }
    }
}

#[test]
fn a_forbidden_edge_is_refused_with_its_reason() {
    use DependencyKind::{Build, Development, Normal};
    let cases = [
        ("wait-ctx", "job-core", Normal, "layer 0 may not see layer 1"),
        ("wait-ctx", "sim-device", Normal, "layer 0 may not see layer 0"),
        ("ssl-async", "sim-engine", Normal, "layer 4 may not see layer 4"),
        ("ssl-async", "sim-device", Normal, "not in the row of ssl-async"),
        ("ssl-async", "sim-engine", Development, "layer 4 may not see layer 4"),
        ("xtask", "wait-ctx", Normal, "layer 0 may not see layer 0"),
        ("engine-core", "corosensei", Normal, "lab-bench may name corosensei"),
        ("handshake-lab", "corosensei", Normal, "lab-bench may name corosensei"),
        ("lab-report", "handshake-lab", Normal, "layer 5 may not see layer 6"),
        ("engine-core", "rustls", Development, "may name rustls"),
        ("wait-ctx", "mio", Normal, "make it optional"),
        ("job-core", "serde", Normal, "not in the row of job-core"),
        ("job-core", "rcgen", Development, "not in TESTING"),
        ("job-core", "tokio", Normal, "not in the row of job-core"),
        ("wait-ctx", "tokio", Development, "may name tokio"),
        ("ssl-async", "mio", Normal, "not in the row of ssl-async"),
        ("crypto-ops", "cc", Build, "build script"),
        ("newcomer", "wait-ctx", Normal, "newcomer has no row in LAYERS"),
    ];
    for (from, to, kind, reason) in cases {
        let edge = Edge { from: from.into(), to: to.into(), kind, optional: false };
        let refusal = verdict(&edge).expect_err("the edge is refused");
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn an_edge_of_the_picture_is_allowed() {
    let normal = DependencyKind::Normal;
    for (from, to, optional) in
        [("job-core", "wait-ctx", false), ("wait-ctx", "mio", true), ("xtask", "clap", false)]
    {
        let edge = Edge { from: from.into(), to: to.into(), kind: normal, optional };
        assert_eq!(verdict(&edge), Ok(()));
    }
}
