//! From a seed that breaks a law to the least of its plan that still does, and to a file that runs it again.

use crate::scenario::{Departures, SeedSubset};

use super::{plan::SeedPlan, report::Failure};

/// Plans tried at most; a swarm that shrinks for minutes helps nobody.
const TRIES: usize = 400;

/// The least of a seed's plan that still breaks its law.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// What it breaks.
    pub failure: Failure,
    /// What is left.
    pub remains: SeedSubset,
    /// The plan of what is left.
    pub left: SeedPlan,
}

/// The plan of a seed without what is not left of it.
pub(super) fn left_of(mut plan: SeedPlan, remains: &SeedSubset) -> SeedPlan {
    let kept = |list: &Option<Vec<usize>>, number: usize| {
        list.as_ref().is_none_or(|list| list.contains(&number))
    };
    let mut number = 0;
    plan.visits.retain(|_| {
        number += 1;
        kept(&remains.visits, number - 1)
    });
    number = 0;
    for device in &mut plan.devices {
        device.faults.rules.retain(|_| {
            number += 1;
            kept(&remains.faults, number - 1)
        });
    }
    if remains.departures == Departures::None {
        for visit in &mut plan.visits {
            visit.hangs_up_after = None;
            visit.given_up_after = None;
            visit.starts_over_after = None;
        }
    }
    if remains.workers > 0 {
        plan.workers = remains.workers;
    }
    plan
}

/// Takes away whatever can go while `fails` still says that the law breaks.
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
    attempt(SeedSubset { departures: Departures::None, ..best.clone() }, &mut best)?;
    attempt(SeedSubset { workers: 1, ..best.clone() }, &mut best)?;
    best.visits.get_or_insert_with(|| (0..whole.visits.len()).collect());
    best.faults.get_or_insert_with(|| (0..rules).collect());
    let lists: [fn(&mut SeedSubset) -> &mut Vec<usize>; 2] = [
        |remains| remains.faults.get_or_insert_with(Vec::new),
        |remains| remains.visits.get_or_insert_with(Vec::new),
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
    /// What is left, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let rules: usize = self.left.devices.iter().map(|device| device.faults.rules.len()).sum();
        format!(
            "seed {} still breaks {} with {} of its connections and {rules} of its faults.",
            self.failure.seed,
            self.failure.law,
            self.left.visits.len()
        )
    }

    /// A scenario file that runs it again.
    #[must_use]
    pub fn toml(&self) -> String {
        use std::fmt::Write as _;
        let Self { failure: Failure { seed, law, detail }, remains, left } = self;
        let mut out = format!("# {}\n# {law}: {detail}\n# What is left of it:\n", self.summary());
        let _ = writeln!(
            out,
            "#   {:?}, {} workers, wake by {}, {:?}, {:?}, {:?}, {:?}",
            left.mode,
            left.workers,
            left.wake,
            left.polling,
            left.terms,
            left.on_full,
            left.breaker
        );
        for device in &left.devices {
            let _ = writeln!(
                out,
                "#   device {}: {} times a ring of {}",
                device.name, left.instances, device.ring_depth
            );
            for rule in &device.faults.rules {
                let _ = writeln!(out, "#     {rule:?}");
            }
        }
        for visit in &left.visits {
            let _ = writeln!(out, "#   {visit:?}");
        }
        let list = |list: &Option<Vec<usize>>| format!("{:?}", list.clone().unwrap_or_default());
        let departures = match remains.departures {
            Departures::Drawn => "drawn",
            Departures::None => "none",
        };
        let _ = write!(
            out,
            "name = \"swarm\"\nquestion = \"Why does seed {seed} break {law}?\"\n\
             summary = \"The least of the plan of seed {seed} that still breaks {law}.\"\n\
             clock = \"virtual\"\nusual_seconds = 1\nseed = {seed}\n\n[load]\nhandshakes = \"profiled\"\n\n\
             [swarm]\nvisits = {}\nfaults = {}\ndepartures = \"{departures}\"\nworkers = {}\n\n\
             [[row]]\nname = \"swarm\"\nmode = \"async\"\n",
            list(&remains.visits),
            list(&remains.faults),
            remains.workers,
        );
        out
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
            let needs = |remains: &SeedSubset| -> Result<bool, Infallible> {
                let visits = remains.visits.as_deref();
                let here = |n| visits.is_none_or(|visits| visits.contains(&n));
                Ok(here(a) && here(b))
            };
            let Ok(least) = shrink(&whole, SeedSubset::default(), needs);
            let mut wanted = vec![a, b];
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(least.visits, Some(wanted));
            prop_assert_eq!(least.faults, Some(Vec::new()));
            prop_assert_eq!((least.departures, least.workers), (Departures::None, 1));
        }
    }
}
