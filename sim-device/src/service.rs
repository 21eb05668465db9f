//! Service times: models and their sampling.

use core::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The longest service time accepted, one day. A longer one is most likely given in the wrong unit.
pub const LONGEST_SERVICE: Duration = Duration::from_secs(24 * 60 * 60);

/// The distribution of the time that a service unit takes for one request.
///
/// The constructors check their arguments;
/// [`InstanceConfig::validate`](crate::InstanceConfig::validate) checks values built without
/// them. Drawn times are whole nanoseconds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ServiceTime {
    /// Constant: fixed-function hardware, and the D of an M/D/1 queue.
    Fixed(Duration),
    /// Exponential: memoryless, the second M of an M/M/c queue.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// Log-normal: a usual fit for services reached over a network.
    LogNormal {
        /// The median. The mean is `median * exp(sigma^2 / 2)`.
        median: Duration,
        /// Standard deviation of the natural logarithm; 0 is fixed, 0.5 gives a p99 of 3.2 times
        /// the median, 1.0 one of 10 times.
        sigma: f64,
    },
    /// Uniform from `low` to `high`.
    Uniform {
        /// The shortest.
        low: Duration,
        /// The longest.
        high: Duration,
    },
    /// Measured values with their weights, drawn without interpolation.
    Empirical(Vec<(Duration, u32)>),
}

impl ServiceTime {
    /// A constant time.
    ///
    /// # Errors
    /// If `time` is longer than [`LONGEST_SERVICE`].
    pub fn fixed(time: Duration) -> Result<Self, ServiceTimeError> {
        Self::Fixed(time).validated()
    }

    /// Exponentially distributed around `mean`.
    ///
    /// # Errors
    /// If `mean` is zero or longer than [`LONGEST_SERVICE`].
    pub fn exponential(mean: Duration) -> Result<Self, ServiceTimeError> {
        Self::Exponential { mean }.validated()
    }

    /// Log-normally distributed around `median`.
    ///
    /// # Errors
    /// If `median` is zero or too long, or `sigma` is not between 0 and 4.
    pub fn log_normal(median: Duration, sigma: f64) -> Result<Self, ServiceTimeError> {
        Self::LogNormal { median, sigma }.validated()
    }

    /// Uniformly distributed from `low` to `high`.
    ///
    /// # Errors
    /// If `low` is above `high`, or `high` is longer than [`LONGEST_SERVICE`].
    pub fn uniform(low: Duration, high: Duration) -> Result<Self, ServiceTimeError> {
        Self::Uniform { low, high }.validated()
    }

    /// One of `samples`, drawn in proportion to its weight.
    ///
    /// # Errors
    /// If there is no sample of weight above zero, or a sample is longer than [`LONGEST_SERVICE`].
    pub fn empirical(samples: Vec<(Duration, u32)>) -> Result<Self, ServiceTimeError> {
        Self::Empirical(samples).validated()
    }

    /// The mean of the distribution, for computing capacity and load.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match self {
            Self::Fixed(time) => *time,
            Self::Exponential { mean } => *mean,
            Self::LogNormal { median, sigma } => scale(*median, (sigma * sigma / 2.0).exp()),
            Self::Uniform { low, high } => *low + high.saturating_sub(*low) / 2,
            Self::Empirical(samples) => {
                let total: u64 = samples.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let share = |weight: u32| f64::from(weight) / total.max(1) as f64;
                let parts = samples.iter().map(|(time, weight)| scale(*time, share(*weight)));
                parts.fold(Duration::ZERO, Duration::saturating_add)
            }
        }
    }

    /// The shortest time that may be drawn, rounded down to zero for models without one.
    pub(crate) fn shortest(&self) -> Duration {
        match self {
            Self::Fixed(time) => *time,
            Self::Exponential { .. } | Self::LogNormal { .. } => Duration::ZERO,
            Self::Uniform { low, .. } => *low,
            Self::Empirical(samples) => {
                let drawn = samples.iter().filter(|(_, weight)| *weight > 0);
                drawn.map(|(time, _)| *time).min().unwrap_or_default()
            }
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// As the constructors.
    pub fn validate(&self) -> Result<(), ServiceTimeError> {
        let longest = match self {
            Self::Fixed(time) => *time,
            Self::Exponential { mean } => nonzero("mean", *mean)?,
            Self::LogNormal { median, sigma } => {
                // At sigma 4 the p99 is already 11,000 times the median.
                if !(0.0..=4.0).contains(sigma) {
                    return Err(ServiceTimeError::Sigma(*sigma));
                }
                nonzero("median", *median)?
            }
            Self::Uniform { low, high } if low > high => {
                return Err(ServiceTimeError::Inverted { low: *low, high: *high });
            }
            Self::Uniform { high, .. } => *high,
            Self::Empirical(samples) => samples
                .iter()
                .filter(|(_, weight)| *weight > 0)
                .map(|(time, _)| *time)
                .max()
                .ok_or(ServiceTimeError::NoSamples)?,
        };
        if longest > LONGEST_SERVICE { Err(ServiceTimeError::TooLong(longest)) } else { Ok(()) }
    }

    fn validated(self) -> Result<Self, ServiceTimeError> {
        self.validate().map(|()| self)
    }
}

/// An invalid service-time model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceTimeError {
    /// A mean or median of zero.
    #[error("`{0}` is zero: give a time above zero, or use a fixed time of zero")]
    Zero(&'static str),
    /// Longer than [`LONGEST_SERVICE`].
    #[error("a service time of {0:?} is longer than a day: check the unit")]
    TooLong(Duration),
    /// A sigma outside 0 to 4.
    #[error("`sigma` is {0}: give a number from 0 to 4 (0.5 puts p99 at 3.2 times the median)")]
    Sigma(f64),
    /// `low` above `high`.
    #[error("`low` ({low:?}) is above `high` ({high:?}): swap them")]
    Inverted {
        /// As given.
        low: Duration,
        /// As given.
        high: Duration,
    },
    /// No sample with a weight above zero.
    #[error("`empirical` has no sample with a weight above zero: add at least one")]
    NoSamples,
}

/// A model prepared for drawing: a draw allocates nothing and takes at most log2(samples) steps.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    model: ServiceTime,
    /// The samples of an empirical model, with cumulative weights.
    cumulated: Vec<(u64, Duration)>,
}

impl Sampler {
    /// `model` must have passed [`ServiceTime::validate`].
    pub(crate) fn new(model: &ServiceTime) -> Self {
        let mut cumulated = Vec::new();
        if let ServiceTime::Empirical(samples) = model {
            let mut total = 0;
            for (time, weight) in samples.iter().filter(|(_, weight)| *weight > 0) {
                total += u64::from(*weight);
                cumulated.push((total, *time));
            }
        }
        Self { model: model.clone(), cumulated }
    }

    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> Duration {
        match &self.model {
            ServiceTime::Fixed(time) => *time,
            ServiceTime::Exponential { mean } => from_nanos(-nanos(*mean) * (1.0 - unit(rng)).ln()),
            ServiceTime::LogNormal { median, sigma } => {
                let time = nanos(*median) * (sigma * standard_normal(rng)).exp();
                from_nanos(time).min(LONGEST_SERVICE)
            }
            ServiceTime::Uniform { low, high } => {
                let span = u64::try_from((*high - *low).as_nanos()).unwrap_or(u64::MAX - 1);
                *low + Duration::from_nanos(below(rng, span + 1))
            }
            ServiceTime::Empirical(_) => {
                let point = below(rng, self.cumulated.last().map_or(0, |(total, _)| *total));
                self.cumulated[self.cumulated.partition_point(|(upto, _)| *upto <= point)].1
            }
        }
    }
}

/// A uniform number in `0.0..1.0` with 53 random bits.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A uniform number in `0..bound`, as the high half of a product; its bias is at most `bound / 2^64`.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Marsaglia's polar method. The second value is discarded, so that a draw depends on the generator
/// alone.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let (x, y) = (2.0 * unit(rng) - 1.0, 2.0 * unit(rng) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

fn nonzero(field: &'static str, time: Duration) -> Result<Duration, ServiceTimeError> {
    if time.is_zero() { Err(ServiceTimeError::Zero(field)) } else { Ok(time) }
}

fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// Rounds to whole nanoseconds, saturating.
fn from_nanos(ns: f64) -> Duration {
    Duration::from_nanos(ns.round() as u64)
}

fn scale(time: Duration, factor: f64) -> Duration {
    from_nanos(nanos(time) * factor)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const N: u32 = 40_000;

    fn draws(model: &ServiceTime) -> Vec<Duration> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let sampler = Sampler::new(model);
        (0..N).map(|_| sampler.draw(&mut rng)).collect()
    }

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn the_mean_of_the_draws_is_the_mean_of_the_model() {
        for model in [
            ServiceTime::fixed(us(7)),
            ServiceTime::exponential(us(100)),
            ServiceTime::log_normal(us(100), 0.5),
            ServiceTime::uniform(us(10), us(30)),
            ServiceTime::empirical(vec![(us(1), 1), (us(10), 3), (us(50), 0)]),
        ] {
            let model = model.expect("valid");
            let mean = draws(&model).iter().sum::<Duration>() / N;
            let ratio = mean.as_secs_f64() / model.mean().as_secs_f64();
            assert!((0.98..1.02).contains(&ratio), "{model:?}: {mean:?}");
        }
    }

    #[test]
    fn half_of_the_log_normal_draws_are_below_the_median_and_one_in_a_hundred_above_p99() {
        let model = ServiceTime::log_normal(us(100), 0.5).expect("valid");
        let mut draws = draws(&model);
        draws.sort_unstable();
        let quantile = |share: f64| draws[(f64::from(N) * share) as usize].as_secs_f64() * 1e6;
        assert!((98.0..102.0).contains(&quantile(0.5)), "{}", quantile(0.5));
        // exp(0.5 * 2.326) = 3.2, as the documentation of `sigma` says.
        assert!((310.0..330.0).contains(&quantile(0.99)), "{}", quantile(0.99));
    }

    #[test]
    fn uniform_draws_stay_within_both_ends() {
        let (low, high) = (Duration::from_nanos(3), Duration::from_nanos(6));
        let draws = draws(&ServiceTime::uniform(low, high).expect("valid"));
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&low), Some(&high)));
    }

    #[test]
    fn empirical_draws_follow_the_weights_and_never_take_a_weight_of_zero() {
        let model = ServiceTime::empirical(vec![(us(1), 0), (us(2), 1), (us(3), 3), (us(4), 0)]);
        let draws = draws(&model.expect("valid"));
        let share = |time| draws.iter().filter(|t| **t == time).count() as f64 / f64::from(N);
        assert!((share(us(2)) - 0.25).abs() < 0.01);
        assert!((share(us(2)) + share(us(3)) - 1.0).abs() < 1e-9);
    }
}
