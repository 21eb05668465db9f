//! When the clients of a stream come. A pure generator: the time goes in, the next arrival comes out.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::scenario::Stream;

/// The clients of a stream, one moment after the other.
#[derive(Debug, Clone)]
pub(super) struct StreamOfArrivals {
    stream: Stream,
    time_box: Duration,
    left: u64,
    begun: bool,
    rng: ChaCha8Rng,
}

impl StreamOfArrivals {
    /// Clients for this long; the same seed gives the same times.
    pub(super) fn new(stream: &Stream, time_box: Duration, seed: u64) -> Self {
        Self {
            stream: *stream,
            time_box,
            left: stream.total.unwrap_or(u64::MAX),
            begun: false,
            // Not the draws of the device, which has the same seed.
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6172_7269_7661_6c73),
        }
    }

    /// The number of arrivals at this moment (none at the first call, which only begins), and the time of the next call.
    pub(super) fn turn(&mut self, now: Duration) -> (u64, Option<Duration>) {
        let come = if self.begun { self.stream.burst.min(self.left) } else { 0 };
        self.begun = true;
        self.left -= come;
        if self.left == 0 {
            return (come, None);
        }
        let next = now + self.gap(now);
        (come, (next < self.time_box).then_some(next))
    }

    /// Exponential around the reciprocal of the present rate.
    fn gap(&mut self, now: Duration) -> Duration {
        let Stream { rate_per_s: first, final_rate_per_s: last, burst, .. } = self.stream;
        let passed = (now.as_secs_f64() / self.time_box.as_secs_f64()).min(1.0);
        let rate = (first + (last - first) * passed) / (burst as f64);
        let share: f64 = self.rng.random_range(0.0..1.0);
        Duration::from_secs_f64(-(1.0 - share).ln() / rate)
    }
}

/// When each place of a closed loop connects for the first time: at moments spread evenly over `within`, drawn from the
/// seed.
pub(super) fn first(places: usize, within: Duration, seed: u64) -> Vec<Duration> {
    // Not the draws of the device or of a stream, which have the same seed.
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6669_7273_7420_636e);
    let mut at = || {
        let share: f64 = rng.random_range(0.0..1.0);
        within.mul_f64(share)
    };
    (0..places).map(|_| if within.is_zero() { Duration::ZERO } else { at() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Arrivals;

    const SECOND: Duration = Duration::from_secs(1);

    fn moments(stream: Stream) -> Vec<(Duration, u64)> {
        let mut arrivals = StreamOfArrivals::new(&stream, 10 * SECOND, 3);
        let (mut at, mut moments) = (Some(Duration::ZERO), Vec::new());
        while let Some(now) = at {
            let (come, next) = arrivals.turn(now);
            moments.push((now, come));
            at = next;
        }
        moments
    }

    fn stream(arrivals: Arrivals) -> Stream {
        Stream { arrivals, rate_per_s: 1_000.0, final_rate_per_s: 1_000.0, burst: 1, total: None }
    }

    fn count(moments: &[(Duration, u64)]) -> u64 {
        moments.iter().map(|(_, come)| come).sum()
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_gaps_as_wide_as_their_mean() {
        let moments = moments(stream(Arrivals::Poisson));
        assert!((9_700..10_300).contains(&count(&moments)), "{}", count(&moments));
        let gaps: Vec<f64> =
            moments.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.95..1.05).contains(&(variance.sqrt() / mean)));
    }

    #[test]
    fn bursts_come_together_and_a_total_is_kept_to() {
        let bursts = Stream { burst: 50, total: Some(1_010), ..stream(Arrivals::Bursts) };
        let moments = moments(bursts);
        assert_eq!(count(&moments), 1_010);
        assert_eq!(moments.iter().filter(|(_, come)| *come == 50).count(), 20);
    }

    #[test]
    fn a_ramp_grows() {
        let ramp = Stream { final_rate_per_s: 3_000.0, ..stream(Arrivals::Ramp) };
        let moments = moments(ramp);
        let half = moments.iter().filter(|(at, _)| *at < 5 * SECOND).count();
        let late = moments.len() - half;
        // 1,000 to 2,000 on average 1,500; then 2,500.
        assert!((1.55..1.8).contains(&(late as f64 / half as f64)), "{half} {late}");
    }
}
