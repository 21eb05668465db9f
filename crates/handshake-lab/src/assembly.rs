//! From the words of a scenario to a device and the engine before it; both clocks and the swarm build theirs here.

use std::{sync::Arc, time::Duration};

use engine_core::{
    Accelerator, BreakerPolicy, CheckPolicy, Clock, Engine, Fallback, Offload, OnFull,
    RequestOptions, Work,
};
use sim_device::{Fault, FaultPlan, FaultRule, InterruptMode, ServiceTime, Trigger};
use sim_engine::{SimConfig, SimError};

use crate::scenario::{
    Checks, DeviceSpec, EngineOptions, FallbackTo, FaultKind, FaultSpec, PollingMode, Service,
    millis,
};

/// The settings of an engine, whatever device it is built before.
#[derive(Debug, Clone, Copy)]
pub struct EngineSettings {
    /// The most requests that wait for the device, for each kind.
    pub queue_bound: usize,
    pub checks: CheckPolicy,
    /// Deadline and fallback of a request.
    pub options: RequestOptions,
    /// What happens to a request that finds the ring full.
    pub on_full: OnFull,
    /// Which requests the device gets.
    pub offload: Offload,
    /// When a breaker keeps requests from the device; `None` for no breaker.
    pub breaker: Option<BreakerPolicy>,
}

impl EngineSettings {
    /// The settings that a scenario gives its engines.
    #[must_use]
    pub fn of(engine: &EngineOptions, queue_bound: usize) -> Self {
        let options = RequestOptions::new().fallback(match engine.fallback {
            FallbackTo::Fail => Fallback::Fail,
            FallbackTo::Software | FallbackTo::OtherDevice => Fallback::Standby,
        });
        let deadline = (engine.deadline_ms > 0.0).then(|| millis(engine.deadline_ms));
        let policy = BreakerPolicy::default()
            .pause(millis(engine.breaker_pause_ms))
            .failures(engine.breaker_failures);
        Self {
            queue_bound,
            checks: match engine.checks {
                Checks::Always => CheckPolicy::Always,
                Checks::Required => CheckPolicy::Required,
            },
            options: match deadline {
                Some(deadline) => options.deadline(deadline),
                None => options,
            },
            on_full: OnFull::Queue,
            offload: match engine.offload_beyond {
                0 => Offload::Always,
                beyond => Offload::Beyond(beyond),
            },
            breaker: (engine.breaker_failures > 0).then_some(policy),
        }
    }

    /// Builds the engine before `device`; without a `clock` it reads this machine's.
    pub(crate) fn build<W: Work>(
        &self,
        device: Arc<dyn Accelerator<W>>,
        standby: Option<Arc<dyn Accelerator<W>>>,
        clock: Option<Arc<dyn Clock>>,
    ) -> Arc<Engine<W>> {
        let mut engine = Engine::builder(device)
            .queue_bound(self.queue_bound)
            .checks(self.checks)
            .options(self.options)
            .on_full(self.on_full)
            .offload(self.offload);
        if let Some(standby) = standby {
            engine = engine.standby(standby);
        }
        if let Some(policy) = self.breaker {
            engine = engine.breaker(policy);
        }
        if let Some(clock) = clock {
            engine = engine.clock(clock);
        }
        engine.build()
    }
}

/// The configuration of the device that a scenario describes.
///
/// # Errors
/// If its service times are no distribution.
pub(crate) fn sim_config(
    device: &DeviceSpec,
    faults: &[FaultSpec],
    seed: u64,
) -> Result<SimConfig, SimError> {
    let latency = device.latency();
    let units = u32::try_from(device.units).unwrap_or(u32::MAX);
    let mut config = match device.profile.known() {
        Some(profile) => SimConfig::profile(profile),
        None => SimConfig::signer(latency, units, device.ring)?,
    };
    config.seed = seed;
    config.instance.name.clone_from(&device.name);
    let service = match device.service {
        _ if device.profile.known().is_some() => None,
        Service::Fixed => None,
        Service::Exponential => Some(ServiceTime::exponential(latency)),
        Service::LogNormal => Some(ServiceTime::log_normal(latency, device.sigma)),
    };
    if let Some(service) = service {
        for unit in &mut config.instance.units {
            let class = unit.class;
            unit.service = service
                .clone()
                .map_err(|source| sim_device::ConfigError::Service { class, source })?;
        }
    }
    for unit in &mut config.instance.units {
        unit.batch = device.batches();
    }
    let every = Duration::from_secs_f64(device.poll_us / 1e6);
    config.polling = match (device.polling, &config.instance.interrupts) {
        // One that never interrupts has to be asked.
        (PollingMode::Interval, _) | (PollingMode::Interrupt, InterruptMode::Polling) => {
            sim_engine::Polling::Interval(every)
        }
        (PollingMode::Interrupt, _) => config.polling,
        (PollingMode::Heuristic, _) => {
            sim_engine::Polling::Heuristic { threshold: device.poll_threshold, at_latest: every }
        }
        (PollingMode::Inline, _) => sim_engine::Polling::Inline(every),
    };
    config.instance.rings = match device.profile.known() {
        Some(_) => config.instance.rings,
        None => device.rings.layout(),
    };
    config.instance.faults = fault_plan(faults, &device.name);
    config.instances = device.instances;
    Ok(config)
}

/// The plan of faults of the device of this name.
fn fault_plan(faults: &[FaultSpec], device: &str) -> FaultPlan {
    let strikes = |fault: &&FaultSpec| fault.device.as_deref().is_none_or(|name| name == device);
    FaultPlan { rules: faults.iter().filter(strikes).map(rule).collect(), budget: None }
}

fn rule(fault: &FaultSpec) -> FaultRule {
    let lasts = millis(fault.lasts_ms);
    let kind = match fault.kind {
        FaultKind::RingStuck => Fault::RingStuck { lasts },
        FaultKind::Lost => Fault::Lost,
        FaultKind::Late => Fault::Late { by: lasts },
        FaultKind::Duplicate => Fault::Duplicate,
        FaultKind::Reordered => Fault::Reordered { behind: fault.behind },
        FaultKind::Corrupt => Fault::Corrupt,
        FaultKind::Misdirected => Fault::Misdirected,
        FaultKind::DeviceError => Fault::DeviceError,
        FaultKind::Reset => Fault::Reset { downtime: lasts },
        FaultKind::HeartbeatLoss => Fault::HeartbeatLoss { lasts },
        FaultKind::Hang => Fault::Hang { lasts },
        FaultKind::Removal => Fault::Removal { absent: Some(lasts) },
    };
    let trigger = match fault.every {
        0 => Trigger::At(millis(fault.at_ms)),
        every => Trigger::OneIn(every),
    };
    FaultRule::new(kind, trigger).budget(fault.budget)
}
