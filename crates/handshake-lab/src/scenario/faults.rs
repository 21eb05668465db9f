//! The faults of a scenario as rules of the device, and the options as the engine has them.

use std::time::Duration;

use engine_core::{BreakerPolicy, Fallback, Offload, RequestOptions};
use sim_device::{Fault, FaultPlan, FaultRule, Trigger};

use super::types::{EngineOptions, FallbackTo, FaultKind, FaultSpec};

/// The plan of faults of the device of this name.
pub(crate) fn plan(faults: &[FaultSpec], device: &str) -> FaultPlan {
    let strikes = |fault: &&FaultSpec| fault.device.as_deref().is_none_or(|name| name == device);
    FaultPlan { rules: faults.iter().filter(strikes).map(FaultSpec::rule).collect(), budget: None }
}

impl FaultSpec {
    fn rule(&self) -> FaultRule {
        let lasts = millis(self.lasts_ms);
        let fault = match self.kind {
            FaultKind::RingStuck => Fault::RingStuck { lasts },
            FaultKind::Lost => Fault::Lost,
            FaultKind::Late => Fault::Late { by: lasts },
            FaultKind::Duplicate => Fault::Duplicate,
            FaultKind::Reordered => Fault::Reordered { behind: self.behind },
            FaultKind::Corrupt => Fault::Corrupt,
            FaultKind::Misdirected => Fault::Misdirected,
            FaultKind::DeviceError => Fault::DeviceError,
            FaultKind::Reset => Fault::Reset { downtime: lasts },
            FaultKind::HeartbeatLoss => Fault::HeartbeatLoss { lasts },
            FaultKind::Hang => Fault::Hang { lasts },
            FaultKind::Removal => Fault::Removal { absent: Some(lasts) },
        };
        let trigger = match self.every {
            0 => Trigger::At(millis(self.at_ms)),
            every => Trigger::OneIn(every),
        };
        FaultRule::new(fault, trigger).budget(self.budget)
    }
}

impl EngineOptions {
    /// The options of an operation.
    #[must_use]
    pub fn request_options(&self) -> RequestOptions {
        let options = RequestOptions::new().fallback(match self.fallback {
            FallbackTo::Fail => Fallback::Fail,
            FallbackTo::Software | FallbackTo::OtherDevice => Fallback::Standby,
        });
        if self.deadline_ms > 0.0 { options.deadline(millis(self.deadline_ms)) } else { options }
    }

    /// Which operations the device gets.
    #[must_use]
    pub const fn offload(&self) -> Offload {
        match self.offload_beyond {
            0 => Offload::Always,
            beyond => Offload::Beyond(beyond),
        }
    }

    /// The breaker, if there is to be one.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerPolicy> {
        let pause = millis(self.breaker_pause_ms);
        let policy = BreakerPolicy::default().pause(pause).failures(self.breaker_failures);
        (self.breaker_failures > 0).then_some(policy)
    }
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1_000.0)
}
