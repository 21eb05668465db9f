//! The scenarios that come with the laboratory, one file each in `scenarios/`.

/// A built-in scenario: its name and the text of its file.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// The name under which it is run; the file says the same.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// The scenario that runs when none is named.
pub const DEFAULT: &str = "offload-modes";

/// The scenario that is not run once but seed by seed.
pub const SWARM: &str = "swarm";

/// All built-in scenarios, by name.
pub const BUILTINS: &[Builtin] = &[
    Builtin { name: DEFAULT, text: include_str!("../../scenarios/offload-modes.toml") },
    Builtin { name: SWARM, text: include_str!("../../scenarios/swarm.toml") },
];
