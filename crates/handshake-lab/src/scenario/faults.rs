//! The faults of a scenario as rules of the device, and the terms as the engine has them.

use std::time::Duration;

use engine_core::{BreakerPolicy, Fallback, Terms};
use sim_device::{Fault, FaultPlan, FaultRule, Trigger};

use super::types::{EngineTerms, FallbackTo, FaultKind, FaultSpec};

/// The plan of faults of a device.
pub(crate) fn plan(faults: &[FaultSpec]) -> FaultPlan {
    FaultPlan { rules: faults.iter().map(FaultSpec::rule).collect(), budget: None }
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
            every => Trigger::Every(every),
        };
        FaultRule::new(fault, trigger).budget(self.budget)
    }
}

impl EngineTerms {
    /// As long as it takes, and what the device does not carry out fails.
    pub const NONE: Self = Self {
        deadline_ms: 0.0,
        fallback: FallbackTo::Fail,
        breaker_failures: 0,
        breaker_pause_ms: 0.0,
    };

    /// The terms of an operation.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let terms = Terms::new().fallback(match self.fallback {
            FallbackTo::Fail => Fallback::Fail,
            FallbackTo::Software => Fallback::Standby,
        });
        if self.deadline_ms > 0.0 { terms.deadline(millis(self.deadline_ms)) } else { terms }
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
