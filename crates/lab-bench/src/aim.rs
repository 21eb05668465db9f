//! What each figure is to reach.

use core::fmt;

use serde::Serialize;

/// The aim of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// The ratio, which is above 1 if ours is ahead.
    Ratio(f64),
    /// Ours as a multiple of the rival's.
    TimesRival(f64),
    AtMost(f64),
    AtLeast(f64),
}

const AIMS: &[(&str, Aim)] = &[
    ("wait_ctx.life_cycle", Aim::Ratio(1.5)),
    ("wait_ctx.notify_eventfd", Aim::Ratio(0.83)),
    ("wait_ctx.notify_unlistened", Aim::Ratio(0.33)),
    ("job.pause_resume", Aim::Ratio(3.0)),
    ("job.pause_resume.raw", Aim::Ratio(0.67)),
    ("job.start_finish", Aim::Ratio(5.0)),
    ("job.start_finish.raw", Aim::Ratio(0.67)),
    ("job.first_start", Aim::Ratio(1.0)),
    ("job.cold_resume", Aim::Ratio(2.0)),
    ("job.paused_count", Aim::AtLeast(1e6)),
    ("job.paused_bytes", Aim::AtMost(4_900.0)),
    ("capi.start_finish", Aim::Ratio(3.0)),
    ("capi.pause_resume", Aim::Ratio(2.0)),
    ("capi.wait_ctx_life", Aim::Ratio(1.0)),
    ("capi.paused_count", Aim::AtLeast(1e5)),
    ("capi.paused_bytes", Aim::AtMost(5_500.0)),
    ("engine.per_op", Aim::Ratio(0.05)),
    ("engine.mass_cancel", Aim::AtMost(0.05)),
    ("engine.mass_cancel.oldest", Aim::AtMost(0.05)),
    ("engine.mass_cancel.random", Aim::AtMost(0.05)),
    ("device.virtual_requests", Aim::AtLeast(2e6)),
    ("sim.real_tls_virtual", Aim::Ratio(0.6)),
    ("sim.swarm_seeds", Aim::AtLeast(1_000.0)),
    ("sim.million_seconds", Aim::AtMost(10.0)),
    ("sim.million_in_flight", Aim::AtMost(10.0)),
    ("pkcs11.handshakes", Aim::Ratio(6.0)),
    ("pkcs11.of_the_limit", Aim::Ratio(0.9)),
    ("pkcs11.p99", Aim::TimesRival(1.5)),
    ("pkcs11.heartbeat", Aim::TimesRival(2.0)),
    ("pkcs11.heartbeat.running", Aim::TimesRival(2.0)),
    ("tls.heartbeat.running", Aim::TimesRival(3.0)),
    ("tls.cpu_vs_free_sign", Aim::TimesRival(1.15)),
    ("tls.cpu_vs_free_sign.replay", Aim::TimesRival(1.12)),
    ("tls.added_instructions.unparked", Aim::TimesRival(1.1)),
    ("tls.added_instructions.never", Aim::TimesRival(1.1)),
    ("tls.unparked_vs_tokio_rustls", Aim::TimesRival(1.1)),
    ("tls.unparked_vs_tokio_rustls.replayable", Aim::TimesRival(1.1)),
    ("tls.unparked_vs_tokio_rustls.never", Aim::TimesRival(1.1)),
    ("tls.added_instructions", Aim::TimesRival(1.02)),
    ("tls.added_instructions.replay", Aim::TimesRival(1.07)),
    ("tls.paused_bytes", Aim::AtMost(18_432.0)),
    ("tls.paused_bytes.replay", Aim::AtMost(2_048.0)),
    ("tls.paused_bytes.replay_mlkem", Aim::AtMost(4_608.0)),
    ("tls.million_parked", Aim::AtLeast(1e6)),
    ("tls.million_parked.bytes", Aim::AtMost(2_200.0)),
];

impl Aim {
    pub(crate) fn of(name: &str) -> Option<Self> {
        AIMS.iter().find(|(figure, _)| *figure == name).map(|(_, aim)| *aim)
    }

    /// The aim, and whether a figure of ours missed it beside the rival's. `ratio` is above 1 if ours is ahead.
    pub(crate) fn verdict(
        self,
        value: Option<f64>,
        rival: Option<f64>,
        ratio: Option<f64>,
    ) -> String {
        let times_rival = || Some(value? / rival?);
        let met = match self {
            Self::Ratio(least) => ratio.map(|ratio| ratio >= least),
            Self::TimesRival(most) => times_rival().map(|times| times <= most),
            Self::AtMost(most) => value.map(|value| value <= most),
            Self::AtLeast(least) => value.map(|value| value >= least),
        };
        match met {
            Some(true) => self.to_string(),
            Some(false) => format!("{self}: **missed**"),
            None => format!("{self}: not measured"),
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ratio(ratio) => write!(f, "ratio {ratio}"),
            Self::TimesRival(times) => write!(f, "{times} times the rival's"),
            Self::AtMost(most) => write!(f, "at most {}", plain(most)),
            Self::AtLeast(least) => write!(f, "at least {}", plain(least)),
        }
    }
}

/// Four significant digits are more than the machine repeats.
pub(crate) fn plain(value: f64) -> String {
    match value.abs() {
        x if x >= 1000.0 => format!("{value:.0}"),
        x if x >= 100.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
