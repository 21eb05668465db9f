//! `lab sim swarm`: run seeds, and shrink the first that breaks a law.

use std::{
    io::{self, Write as _},
    num::NonZeroUsize,
    ops::Range,
    path::PathBuf,
    sync::atomic::Ordering,
};

use lab_report::{
    Progress, ReportDir,
    output::{eprint_line, print, print_line},
};

use super::{
    stop::{self, Stop},
    values::{self, Common},
};
use crate::{
    scenario::SWARM,
    swarm::{SeedFile, SeedSubset, Swarm, SwarmError, SwarmReport},
};

/// Random load, topology, faults and cancels, drawn from seeds; every law checked, every seed run twice.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SwarmArgs {
    /// A shrunk seed that the swarm has written.
    #[arg(value_name = "SEED.toml", conflicts_with_all = ["seeds", "from"])]
    file: Option<PathBuf>,
    /// How many seeds.
    #[arg(long, value_name = "N", default_value = "2000", allow_hyphen_values = true,
        value_parser = values::whole::<u64>(1..=100_000_000, "seeds"))]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "S", default_value = "1", allow_hyphen_values = true,
        value_parser = values::seed())]
    from: u64,
    /// On how many threads [default: one for each processor].
    #[arg(long, value_name = "N", allow_hyphen_values = true,
        value_parser = values::whole::<usize>(1..=1_024, "threads"))]
    threads: Option<usize>,
    /// End with the first seed that breaks a law, and do not shrink it.
    #[arg(long)]
    fail_fast: bool,
    /// Print one line of JSON for each seed, as it ends, and nothing else.
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,
}

pub(super) fn run(args: &SwarmArgs, common: &Common) -> Result<(), Stop> {
    let (seeds, kept) = args.seeds()?;
    let progress = Progress::new(1).counting("seeds");
    stop::listen(&progress).map_err(Stop::usage)?;
    let count = seeds.end.saturating_sub(seeds.start);
    progress.begin(SWARM, &format!("{count} seeds from {}", seeds.start));
    let mut swarm = Swarm::new(kept).map_err(Stop::usage)?.watched(progress.clone());
    if let Some(threads) = args.threads.and_then(NonZeroUsize::new) {
        swarm = swarm.threads(threads);
    }
    if args.fail_fast {
        swarm = swarm.fail_fast();
    }
    if let Some(bug) = &common.plant {
        swarm = swarm.planted(bug);
    }
    let report = args.judge(&swarm, seeds, &progress).map_err(Stop::usage)?;
    progress.finish();
    if args.json_lines {
        eprint_line(report.text().trim_end());
    } else if common.json {
        let document = serde_json::to_string_pretty(&report).map_err(Stop::usage)?;
        print_line(document).map_err(Stop::usage)?;
    } else {
        print(report.text()).map_err(Stop::usage)?;
    }
    if let Some(failure) = report.failures.first().filter(|_| !args.fail_fast) {
        let shrunk = swarm.shrink(failure).map_err(Stop::usage)?;
        let directory = ReportDir::create(common.report.as_deref(), SWARM).map_err(Stop::usage)?;
        let name = format!("seed-{}.toml", failure.seed);
        let file = directory.put(&name, &shrunk.toml()).map_err(Stop::usage)?;
        let command = report.command(&file.display().to_string());
        eprint_line(format_args!("{}\nnext:    {command}", shrunk.summary()));
    }
    Stop::after(report.is_good(), report.partial)
}

impl SwarmArgs {
    /// The seeds to run, and the part of each that is kept.
    fn seeds(&self) -> Result<(Range<u64>, SeedSubset), Stop> {
        match &self.file {
            Some(path) => {
                let SeedFile { seed, keep } = SeedFile::read(path).map_err(Stop::usage)?;
                Ok((seed..seed.saturating_add(1), keep))
            }
            None => Ok((self.from..self.from.saturating_add(self.seeds), SeedSubset::default())),
        }
    }

    /// Runs the seeds; interrupts the run when the pipe for their lines is closed.
    fn judge(
        &self,
        swarm: &Swarm,
        seeds: Range<u64>,
        progress: &Progress,
    ) -> Result<SwarmReport, SwarmError> {
        if !self.json_lines {
            return swarm.run(seeds);
        }
        swarm.run_each(seeds, |line| {
            let mut out = io::stdout().lock();
            // Flushed one by one, so that a shard that is killed leaves whole lines.
            let text = serde_json::to_string(line)?;
            match writeln!(out, "{text}").and_then(|()| out.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    progress.interrupt().store(true, Ordering::Relaxed);
                    Ok(())
                }
                written => written,
            }
        })
    }
}
