//! Fault rules: which fault strikes, when, and how often.
//!
//! Rules are data, not closures: they can be written in a scenario file, printed and compared.

use core::fmt;
use core::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::completion::ServiceClass;
use crate::error::{ConfigError, LONGEST_FAULT};
use crate::service::unit;

/// A kind of fault.
///
/// Each fault strikes at an *opportunity*: the submission of a request, the completion of one, or
/// the raising of an interrupt. A [`Trigger`] counts opportunities of its fault's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// At a submission: every ring reports that it is full for a while, even an empty one.
    RingStuck {
        /// How long.
        lasts: Duration,
    },
    /// At a completion: the response is never written. The request stays in the device and holds
    /// its ring entry until a reset, a removal, or [`Instance::reclaim`](crate::Instance::reclaim).
    Lost,
    /// At a completion: the response is written later; the unit takes other work meanwhile.
    Late {
        /// How much later.
        by: Duration,
    },
    /// At a completion: a second response with the same tag follows, without payload.
    Duplicate,
    /// At a completion: the response is held back until this many others have overtaken it, or no
    /// other request is left to overtake it.
    Reordered {
        /// How many others.
        behind: u32,
    },
    /// At a completion: reported as [`Corrupt`](crate::CompletionStatus::Corrupt).
    Corrupt,
    /// At a completion: the tag is exchanged with that of the oldest other request in progress. A
    /// reset or removal restores the other's tag. Does not strike if there is no other request.
    Misdirected,
    /// At a completion: reported as [`DeviceError`](crate::CompletionStatus::DeviceError).
    DeviceError,
    /// At a submission: everything inside comes back with [`Reset`](crate::CompletionStatus::Reset), and
    /// requests are refused for a while.
    Reset {
        /// How long.
        downtime: Duration,
    },
    /// At a submission: the heartbeat stops for a while, while work continues.
    HeartbeatLoss {
        /// How long.
        lasts: Duration,
    },
    /// At a submission: the heartbeat and all work stop for a while, then both continue.
    Hang {
        /// How long.
        lasts: Duration,
    },
    /// At a submission: surprise removal. Everything inside comes back with
    /// [`Removed`](crate::CompletionStatus::Removed), and requests are refused until the return.
    Removal {
        /// How long; `None` for good.
        absent: Option<Duration>,
    },
    /// When an interrupt is raised: it is not delivered. A later response raises the next.
    InterruptLost,
}

impl Fault {
    pub(crate) const fn opportunity(self) -> Opportunity {
        match self {
            Self::RingStuck { .. }
            | Self::Reset { .. }
            | Self::HeartbeatLoss { .. }
            | Self::Hang { .. }
            | Self::Removal { .. } => Opportunity::Submission,
            Self::Lost
            | Self::Late { .. }
            | Self::Duplicate
            | Self::Reordered { .. }
            | Self::Corrupt
            | Self::Misdirected
            | Self::DeviceError => Opportunity::Completion,
            Self::InterruptLost => Opportunity::Interrupt,
        }
    }

    /// Whether it strikes the whole instance and not one request or interrupt.
    pub(crate) fn strikes_instance(self) -> bool {
        self.opportunity() == Opportunity::Submission
    }

    const fn name(self) -> &'static str {
        match self {
            Self::RingStuck { .. } => "ring-stuck",
            Self::Lost => "lost",
            Self::Late { .. } => "late",
            Self::Duplicate => "duplicate",
            Self::Reordered { .. } => "reordered",
            Self::Corrupt => "corrupt",
            Self::Misdirected => "misdirected",
            Self::DeviceError => "device-error",
            Self::Reset { .. } => "reset",
            Self::HeartbeatLoss { .. } => "heartbeat-loss",
            Self::Hang { .. } => "hang",
            Self::Removal { .. } => "removal",
            Self::InterruptLost => "interrupt-lost",
        }
    }

    const fn duration(self) -> Option<Duration> {
        match self {
            Self::RingStuck { lasts }
            | Self::HeartbeatLoss { lasts }
            | Self::Hang { lasts }
            | Self::Late { by: lasts }
            | Self::Reset { downtime: lasts } => Some(lasts),
            Self::Removal { absent } => absent,
            _ => None,
        }
    }
}

/// The name with its number, in nanoseconds: `late ns=1000`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Reordered { behind } => write!(f, " behind={behind}"),
            _ => self.duration().map_or(Ok(()), |time| write!(f, " ns={}", time.as_nanos())),
        }
    }
}

/// At which opportunities a rule strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Trigger {
    /// At each, with this probability, 0 to 1.
    Chance(f64),
    /// At the nth, counted from 1, or the first after it at which the fault can strike. Strikes
    /// once.
    Nth(u64),
    /// At every nth.
    Every(u64),
    /// At one of every n, drawn at random.
    OneIn(u64),
    /// At this time if the fault strikes the whole instance, else at the first opportunity from
    /// then on. Strikes once.
    At(Duration),
}

/// One fault, its trigger, and how often it may strike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRule {
    /// The fault.
    pub fault: Fault,
    /// When it strikes.
    pub trigger: Trigger,
    /// Only with requests of this class; `None` for all. Interrupts have no class.
    pub class: Option<ServiceClass>,
    /// The most strikes of this rule.
    pub budget: u32,
}

impl FaultRule {
    /// A rule for requests of every class that strikes once.
    #[must_use]
    pub const fn new(fault: Fault, trigger: Trigger) -> Self {
        Self { fault, trigger, class: None, budget: 1 }
    }

    /// The same, up to `budget` times.
    #[must_use]
    pub const fn budget(self, budget: u32) -> Self {
        Self { budget, ..self }
    }

    /// The same, for requests of one class.
    #[must_use]
    pub const fn only(self, class: ServiceClass) -> Self {
        Self { class: Some(class), ..self }
    }
}

/// The faults of one instance.
///
/// At each opportunity the first rule that is triggered and has budget left strikes, and no other.
/// When the budget is spent no fault strikes, so that a test can require all work to complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FaultPlan {
    /// The rules, in order of precedence.
    pub rules: Vec<FaultRule>,
    /// The most strikes of all rules together; `None` if only the rules' own budgets count.
    pub budget: Option<u32>,
}

impl FaultPlan {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (index, rule) in self.rules.iter().enumerate() {
            match rule.trigger {
                Trigger::Chance(chance) if !(0.0..=1.0).contains(&chance) => {
                    return Err(ConfigError::FaultChance { index, value: chance });
                }
                Trigger::Nth(0) | Trigger::Every(0) | Trigger::OneIn(0) => {
                    return Err(ConfigError::FaultZeroth(index));
                }
                _ => {}
            }
            if let Some(value) = rule.fault.duration().filter(|time| *time > LONGEST_FAULT) {
                return Err(ConfigError::FaultDuration { index, value });
            }
        }
        Ok(())
    }
}

/// The three points at which faults can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opportunity {
    Submission,
    Completion,
    Interrupt,
}

/// The rules with their counts, and a random generator that nothing else draws from.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Vec<RuleState>,
    /// The remaining budget of the plan.
    left: u32,
    /// Injected by the caller, oldest first.
    injected: Vec<Fault>,
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct RuleState {
    rule: FaultRule,
    seen: u64,
    /// Of [`Trigger::OneIn`]: how many of the current n pass before the one that is struck.
    passes: u64,
    left: u32,
}

/// A fault that may strike now; [`Faults::spend`] it when it does.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// Index of its rule; `None` if it was injected.
    rule: Option<usize>,
}

impl Faults {
    pub(crate) fn new(plan: &FaultPlan, rng: ChaCha8Rng) -> Self {
        let once = |rule: &FaultRule| matches!(rule.trigger, Trigger::At(_) | Trigger::Nth(_));
        let left = if plan.rules.is_empty() { 0 } else { plan.budget.unwrap_or(u32::MAX) };
        let rules = plan
            .rules
            .iter()
            .map(|rule| {
                let left = if once(rule) { rule.budget.min(1) } else { rule.budget };
                RuleState { rule: *rule, seen: 0, passes: 0, left }
            })
            .collect();
        Self { rules, left, injected: Vec::new(), rng }
    }

    /// The rules that strike at a fixed time instead of at an opportunity, with that time.
    pub(crate) fn timed(&self) -> impl Iterator<Item = (Duration, usize)> {
        self.rules.iter().enumerate().filter_map(|(index, state)| match state.rule.trigger {
            Trigger::At(at) if is_timed(&state.rule) => Some((at, index)),
            _ => None,
        })
    }

    /// Returns the strike of the timed rule `index`, if its budget allows.
    pub(crate) fn due(&self, index: usize) -> Option<Strike> {
        let state = &self.rules[index];
        let may = self.left > 0 && state.left > 0;
        may.then_some(Strike { fault: state.rule.fault, rule: Some(index) })
    }

    /// Returns the strike at this opportunity, if any.
    pub(crate) fn decide(
        &mut self,
        opportunity: Opportunity,
        class: Option<ServiceClass>,
        now: Duration,
    ) -> Option<Strike> {
        if let Some(fault) =
            self.injected.iter().find(|fault| fault.opportunity() == opportunity).copied()
        {
            return Some(Strike { fault, rule: None });
        }
        if self.left == 0 {
            return None;
        }
        let mut strike = None;
        for (index, state) in self.rules.iter_mut().enumerate() {
            let rule = state.rule;
            let concerns = rule.class.is_none_or(|only| class == Some(only));
            if rule.fault.opportunity() != opportunity || !concerns || is_timed(&rule) {
                continue;
            }
            state.seen += 1;
            // Draws and counts continue after an earlier rule has struck, so that one rule does not
            // shift another.
            let triggered = match rule.trigger {
                Trigger::Chance(chance) => unit(&mut self.rng) < chance,
                Trigger::Nth(nth) => state.seen >= nth,
                Trigger::Every(nth) => state.seen.is_multiple_of(nth),
                Trigger::OneIn(n) => {
                    let place = (state.seen - 1) % n;
                    if place == 0 {
                        state.passes = self.rng.random_range(0..n);
                    }
                    place == state.passes
                }
                Trigger::At(at) => at <= now,
            };
            if triggered && state.left > 0 && strike.is_none() {
                strike = Some(Strike { fault: rule.fault, rule: Some(index) });
            }
        }
        strike
    }

    /// Charges a strike to its rule's budget.
    pub(crate) fn spend(&mut self, strike: Strike) {
        if let Some(index) = strike.rule {
            self.rules[index].left -= 1;
            self.left -= 1;
        } else if let Some(index) = self.injected.iter().position(|fault| *fault == strike.fault) {
            self.injected.remove(index);
        }
    }

    /// Makes `fault` strike at the next opportunity.
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.injected.push(fault);
    }

    /// Ends all rules and injected faults.
    pub(crate) fn disarm(&mut self) {
        self.left = 0;
        self.injected.clear();
    }

    /// The number of strikes still possible.
    pub(crate) fn left(&self) -> u64 {
        let rules: u64 = self.rules.iter().map(|state| u64::from(state.left)).sum();
        rules.min(u64::from(self.left)) + self.injected.len() as u64
    }
}

/// Whether the rule strikes at a fixed time instead of at an opportunity.
fn is_timed(rule: &FaultRule) -> bool {
    matches!(rule.trigger, Trigger::At(_)) && rule.fault.strikes_instance()
}
