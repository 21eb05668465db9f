//! The sections of the language that speak of outcomes: what is expected, and what is left of a seed that failed.

use super::field::{
    Absent::{Default, Inherits},
    Accepts, Field, Section,
};

const COUNT: Accepts = Accepts::Integer { min: 0, max: 1_000_000_000 };

pub(super) const SWARM: Section = Section {
    name: "swarm",
    repeats: false,
    meaning: "Of the scenario swarm: what is left of each seed's plan. The swarm writes such files when it shrinks a seed that fails.",
    fields: &[
        Field {
            key: "visits",
            meaning: "Only these of its connections come, counted from 0 as the seed draws them.",
            unit: "",
            accepts: Accepts::Numbers { max: 100_000 },
            absent: Inherits("the plan of the seed"),
        },
        Field {
            key: "faults",
            meaning: "Only these of its faults can strike, counted from 0 over all its devices.",
            unit: "",
            accepts: Accepts::Numbers { max: 100_000 },
            absent: Inherits("the plan of the seed"),
        },
        Field {
            key: "departures",
            meaning: "Whether clients hang up and the server gives sessions up as the seed has it, or nobody goes early.",
            unit: "",
            accepts: Accepts::OneOf { built: &["drawn", "none"], reserved: &[] },
            absent: Default("\"drawn\""),
        },
        Field {
            key: "workers",
            meaning: "Event loops; 0 for as many as the seed has.",
            unit: "threads",
            accepts: Accepts::Integer { min: 0, max: 2 },
            absent: Default("0"),
        },
    ],
};

pub(super) const EXPECT: Section = Section {
    name: "expect",
    repeats: false,
    meaning: "What has to come of each row that uses the device, beside the laws.",
    fields: &[
        Field {
            key: "most_failed",
            meaning: "At most so many handshakes fail.",
            unit: "handshakes",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_failed",
            meaning: "At least so many handshakes fail.",
            unit: "handshakes",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_faults",
            meaning: "Faults strike at least so often.",
            unit: "times",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_fallbacks",
            meaning: "At least so many operations are done by software instead.",
            unit: "operations",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_late",
            meaning: "At least so many answers come when nobody waits for them any more.",
            unit: "answers",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_ring_full",
            meaning: "The ring is full at least so often.",
            unit: "times",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_cancelled",
            meaning: "At least so many operations are given up.",
            unit: "operations",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_invalid",
            meaning: "At least so many results do not pass their check.",
            unit: "results",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "least_trips",
            meaning: "The breaker opens at least so often.",
            unit: "times",
            accepts: COUNT,
            absent: Default("0"),
        },
        Field {
            key: "wait_within_percent",
            meaning: "The mean wait for the device is within so much of what queueing theory (Erlang C) says of clients that come by Poisson and exponential service times; 0 for not compared.",
            unit: "%",
            accepts: Accepts::Integer { min: 0, max: 100 },
            absent: Default("0"),
        },
    ],
};
