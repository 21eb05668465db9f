//! The scenarios that come with the laboratory, one file each in `scenarios/`.

/// A built-in scenario: its name and the text of its file.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// The name under which it is run, also in its file.
    pub name: &'static str,
    pub text: &'static str,
}

/// The scenario that runs when none is named.
pub const DEFAULT: &str = "offload-modes";

/// The name of the swarm, which stands among the scenarios on the command line and draws its own from each seed.
pub const SWARM: &str = "swarm";

macro_rules! builtins {
    ($($name:literal),+ $(,)?) => {
        &[$(Builtin { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")) }),+]
    };
}

/// All built-in scenarios, by question.
pub const BUILTINS: &[Builtin] = builtins![
    "offload-modes",
    "ring-full",
    "device-reset",
    "heartbeat-loss",
    "lost-completion",
    "late-completion",
    "corrupt-signature",
    "reorder",
    "peer-hangup",
    "deadline-fallback",
    "device-standby",
    "polling-policies",
    "batching",
    "slow-beside-fast",
    "heartbeat",
    "opportunistic",
    "hsm",
    "kms",
    "usb-token",
    "capacity",
    "million",
    "million-in-flight",
    "million-parked",
    "published-shapes",
    "mixed-fleet",
];
