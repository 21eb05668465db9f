//! The options that a scenario and the swarm share.

use std::path::PathBuf;

/// Options of a scenario and of the swarm alike.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// Where files go [default: target/layby/SCENARIO/TIME, or target/layby/swarm].
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) report: Option<PathBuf>,
    /// Print the results as one JSON document and nothing else.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Plant a bug, to see the laws catch it (exit status 1); needs a build with the feature `plant`.
    #[arg(long, value_name = "BUG", global = true)]
    pub(super) plant: Option<String>,
}
