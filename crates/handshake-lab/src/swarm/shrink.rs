//! Shrinking: from a seed that breaks a law to the least part of its plan that still does, and to a file that runs it.

use super::{
    report::Failure,
    subset::{SeedFile, SeedSubset},
};
use crate::stepped::SeedPlan;

/// The most plans that are tried, a few seconds' worth.
const TRIES: usize = 400;

/// The least part of a seed's plan that still breaks its law.
#[derive(Debug, Clone)]
pub struct Shrunk {
    pub failure: Failure,
    pub kept: SeedSubset,
    /// The plan of that part.
    pub plan: SeedPlan,
}

/// Takes parts of the plan away for as long as `fails` still returns true without them.
pub(super) fn shrink<E>(
    whole: &SeedPlan,
    from: SeedSubset,
    mut fails: impl FnMut(&SeedSubset) -> Result<bool, E>,
) -> Result<SeedSubset, E> {
    let rules = whole.devices.iter().map(|device| device.faults.rules.len()).sum();
    let mut best = from;
    let mut tries = TRIES;
    let mut attempt = |next: SeedSubset, best: &mut SeedSubset| -> Result<bool, E> {
        if tries == 0 {
            return Ok(false);
        }
        tries -= 1;
        let smaller = fails(&next)?;
        if smaller {
            *best = next;
        }
        Ok(smaller)
    };
    attempt(SeedSubset { stays_connected: true, ..best.clone() }, &mut best)?;
    attempt(SeedSubset { workers: Some(1), ..best.clone() }, &mut best)?;
    best.connections.get_or_insert_with(|| (0..whole.connections.len()).collect());
    best.faults.get_or_insert_with(|| (0..rules).collect());
    let lists: [fn(&mut SeedSubset) -> &mut Vec<usize>; 2] = [
        |kept| kept.faults.get_or_insert_with(Vec::new),
        |kept| kept.connections.get_or_insert_with(Vec::new),
    ];
    for list in lists {
        // Halves first, then quarters, at last one by one.
        let mut size = list(&mut best).len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < list(&mut best).len() {
                let mut next = best.clone();
                let end = (at + size).min(list(&mut next).len());
                list(&mut next).drain(at..end);
                if !attempt(next, &mut best)? {
                    at += size;
                }
            }
            size /= 2;
        }
    }
    Ok(best)
}

impl Shrunk {
    /// What is left of the seed, in a line.
    pub fn summary(&self) -> String {
        let rules: usize = self.plan.devices.iter().map(|device| device.faults.rules.len()).sum();
        format!(
            "seed {} still breaks {} with {} of its connections and {rules} of its faults.",
            self.failure.seed,
            self.failure.law,
            self.plan.connections.len()
        )
    }

    /// The file that runs it again, with the shrunk plan in its comments.
    pub fn toml(&self) -> String {
        use std::fmt::Write as _;
        let Self { failure: Failure { seed, law, detail }, kept, plan } = self;
        let mut out =
            format!("# {}\n# {law}: {detail}\n# The plan that is left:\n", self.summary());
        let _ = writeln!(
            out,
            "#   {:?}, parked by {}, {} workers, wake by {}, {:?}, {:?}, {:?}, {:?}",
            plan.mode,
            plan.parking,
            plan.workers,
            plan.wake,
            plan.polling,
            plan.engine.options,
            plan.engine.on_full,
            plan.engine.breaker
        );
        for device in &plan.devices {
            let _ = writeln!(
                out,
                "#   device {}: {} times a ring of {}",
                device.name, plan.instances, device.ring_depth
            );
            for rule in &device.faults.rules {
                let _ = writeln!(out, "#     {rule:?}");
            }
        }
        for connection in &plan.connections {
            let _ = writeln!(out, "#   {connection:?}");
        }
        let file = SeedFile { seed: *seed, keep: kept.clone() };
        out + &toml::to_string(&file).expect("a seed file is plain data")
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_makes_it_fail_is_found_among_everything_else(seed in 0..500_u64, a in 0..50_usize, b in 0..50_usize) {
            let whole = SeedPlan::of(seed);
            let needs = |kept: &SeedSubset| -> Result<bool, Infallible> {
                let connections = kept.connections.as_deref();
                let here = |n| connections.is_none_or(|numbers| numbers.contains(&n));
                Ok(here(a) && here(b))
            };
            let Ok(least) = shrink(&whole, SeedSubset::default(), needs);
            let mut wanted = vec![a, b];
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(least.connections, Some(wanted));
            prop_assert_eq!(least.faults, Some(Vec::new()));
            prop_assert_eq!((least.stays_connected, least.workers), (true, Some(1)));
        }
    }
}
