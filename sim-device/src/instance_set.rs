//! Several instances that are driven together.

use core::fmt;
use core::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::InstanceConfig;
use crate::error::ConfigError;
use crate::fault::Fault;
use crate::instance::Instance;

/// Several instances with one seed and one clock, like those of one accelerator card.
///
/// ```text
///            +-- instance 0: rings, units, interrupt line
///   set -----+-- instance 1: rings, units, interrupt line
///            +-- ...
/// ```
///
/// Instances share no resources. [`inject_everywhere`](Self::inject_everywhere) makes a fault strike
/// all of them at the same instant, as when a card is pulled out. The software chooses the instance
/// of each request.
///
/// ```
/// use core::time::Duration;
/// use sim_device::{InstanceSet, Fault, Presence, Profile};
///
/// let config = Profile::AcceleratorCard.instance_config();
/// let mut card = InstanceSet::new(vec![config.clone(), config], 7)?;
/// let [first, second] = card.ids().collect::<Vec<_>>()[..] else { panic!("two instances") };
///
/// card.instance_mut(first).submit(Duration::ZERO, Profile::SYMMETRIC, "ticket")?;
/// assert_eq!(card.occupancy(), 1);
///
/// card.inject_everywhere(Duration::from_micros(1), Fault::Removal { absent: None });
/// assert_eq!(card.instance(second).presence(), Presence::Removed { until: None });
///
/// let mut back = Vec::new();
/// card.instance_mut(first).poll_responses(8, &mut back);
/// assert_eq!(back[0].payload, Some("ticket"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct InstanceSet<P> {
    instances: Vec<Instance<P>>,
}

/// Which instance of an [`InstanceSet`], counted from zero in the order of their configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u32);

impl InstanceId {
    /// The position in the set, from zero.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {}", self.0)
    }
}

impl<P> InstanceSet<P> {
    /// Builds all instances, each with a seed of its own drawn from `seed`.
    ///
    /// # Errors
    /// The first invalid field of the first invalid configuration.
    pub fn new(configs: Vec<InstanceConfig>, seed: u64) -> Result<Self, ConfigError> {
        let mut seeds = ChaCha8Rng::seed_from_u64(seed);
        let instances = configs
            .into_iter()
            .map(|config| Instance::new(config, seeds.next_u64()))
            .collect::<Result<_, _>>()?;
        Ok(Self { instances })
    }

    /// The identifiers of all instances.
    pub fn ids(&self) -> impl Iterator<Item = InstanceId> + use<P> {
        (0..u32::try_from(self.instances.len()).unwrap_or(u32::MAX)).map(InstanceId)
    }

    /// One instance.
    ///
    /// # Panics
    /// If `id` is from a set with more instances.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> &Instance<P> {
        &self.instances[id.index()]
    }

    /// One instance, to submit to and to drain.
    ///
    /// # Panics
    /// If `id` is from a set with more instances.
    pub fn instance_mut(&mut self, id: InstanceId) -> &mut Instance<P> {
        &mut self.instances[id.index()]
    }

    /// All instances, in order.
    pub fn iter(&self) -> impl Iterator<Item = (InstanceId, &Instance<P>)> {
        self.ids().zip(&self.instances)
    }

    /// All instances, in order, to submit to and to drain.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (InstanceId, &mut Instance<P>)> {
        self.ids().zip(&mut self.instances)
    }

    /// Advances every instance to `now`, in order.
    pub fn advance(&mut self, now: Duration) {
        self.instances.iter_mut().for_each(|instance| instance.advance(now));
    }

    /// The earliest deadline of any instance.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.instances.iter().filter_map(Instance::next_deadline).min()
    }

    /// The number of requests inside all instances.
    #[must_use]
    pub fn occupancy(&self) -> usize {
        self.instances.iter().map(Instance::occupancy).sum()
    }

    /// Makes `fault` strike each instance, as [`Instance::inject`] does.
    pub fn inject_everywhere(&mut self, now: Duration, fault: Fault) {
        self.instances.iter_mut().for_each(|instance| instance.inject(now, fault));
    }
}

impl<P> fmt::Debug for InstanceSet<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.instances).finish()
    }
}
