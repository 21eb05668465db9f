//! Several devices in one scenario: which of them signs for which connection, and which is the others' standby.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    error::{ScenarioError, nearest},
    mix::Mix,
    types::{ClockMode, FallbackTo, KeyType, Scenario},
};

/// For which connections a device signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Serves {
    /// For all.
    #[default]
    All,
    /// For those to the name with an ECDSA key on P-256.
    P256,
    /// On P-384.
    P384,
    /// With an Ed25519 key.
    Ed25519,
    /// With an RSA key.
    Rsa2048,
    /// For none: it does what another device could not.
    Standby,
}

impl Serves {
    /// Whether it signs with this key.
    #[must_use]
    pub fn covers(self, key: KeyType) -> bool {
        match self {
            Self::All => true,
            Self::Standby => false,
            Self::P256 => key == KeyType::P256,
            Self::P384 => key == KeyType::P384,
            Self::Ed25519 => key == KeyType::Ed25519,
            Self::Rsa2048 => key == KeyType::Rsa2048,
        }
    }
}

/// How connections are spread over the devices that could sign for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Spread {
    /// In turn, those of each event loop by themselves.
    #[default]
    Connections,
    /// Each event loop has its device.
    Workers,
}

/// Which device signs for which connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    by_key: BTreeMap<KeyType, Vec<usize>>,
    spread: Spread,
}

impl Routing {
    /// By what each device serves.
    #[must_use]
    pub fn of(devices: &[Serves], spread: Spread) -> Self {
        let serving = |key: KeyType| {
            let serves = |(_, serves): &(usize, &Serves)| serves.covers(key);
            devices.iter().enumerate().filter(serves).map(|(number, _)| number).collect()
        };
        Self { by_key: KeyType::ALL.into_iter().map(|key| (key, serving(key))).collect(), spread }
    }

    /// Every device for every key, in turn.
    #[must_use]
    pub fn even(devices: usize) -> Self {
        Self::of(&vec![Serves::All; devices], Spread::Connections)
    }

    /// The device for a connection with this key, the `turn`th of this event loop; the first where none serves it.
    #[must_use]
    pub fn device(&self, key: KeyType, worker: usize, turn: u64) -> usize {
        let serving = self.by_key.get(&key).map_or(&[][..], Vec::as_slice);
        let place = match self.spread {
            Spread::Workers => worker as u64,
            Spread::Connections => turn,
        };
        let place = place.checked_rem(serving.len() as u64).unwrap_or_default();
        let place = usize::try_from(place).unwrap_or_default();
        serving.get(place).copied().unwrap_or_default()
    }
}

/// What holds between the devices of a scenario and the rest of it.
pub(super) fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    let devices = &scenario.devices;
    if let Some(second) = devices.get(1).filter(|_| scenario.clock == ClockMode::Real) {
        return Err(ScenarioError::NotBuilt {
            field: "[[device]]".to_owned(),
            value: format!(
                "{:?} beside {:?} under the clock \"real\"",
                second.name, devices[0].name
            ),
            remedy: "give one [[device]], or clock = \"virtual\" too".to_owned(),
        });
    }
    let bad = |field: String, value: String, reason: &str, remedy: &str| {
        let (reason, remedy) = (reason.to_owned(), remedy.to_owned());
        Err(ScenarioError::BadValue { field, value, reason, remedy })
    };
    let mut standbys = devices.iter().filter(|device| device.serves == Serves::Standby);
    let falls_back = scenario.engine.fallback == FallbackTo::OtherDevice;
    match (standbys.next(), standbys.next()) {
        (Some(standby), None) if !falls_back => {
            return bad(
                format!("device.{}.serves", standby.name),
                "\"standby\"".to_owned(),
                "nobody falls back to it",
                "give engine.fallback = \"other-device\" too",
            );
        }
        (None, _) if falls_back => {
            return bad(
                "engine.fallback".to_owned(),
                "\"other-device\"".to_owned(),
                "no device is the standby",
                "give one more [[device]] with serves = \"standby\"",
            );
        }
        (_, Some(second)) => {
            return bad(
                format!("device.{}.serves", second.name),
                "\"standby\"".to_owned(),
                "there is a standby already",
                "give one device serves = \"standby\"",
            );
        }
        _ => {}
    }
    let mix = Mix::of(&scenario.load, &scenario.mix, scenario.seed);
    let unserved = |key: &KeyType| !devices.iter().any(|device| device.serves.covers(*key));
    if let Some(key) = mix.keys().into_iter().find(unserved) {
        return bad(
            "device.serves".to_owned(),
            format!("nothing for {key}"),
            "load.key has connections with that key",
            &format!("give a [[device]] serves = \"{key}\" or \"all\""),
        );
    }
    for fault in &scenario.faults {
        let Some(name) = &fault.device else { continue };
        if !devices.iter().any(|device| device.name == *name) {
            let known: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
            let remedy = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known here: {}", known.join(", ")),
            };
            return bad(
                format!("fault.{}.device", fault.name),
                format!("{name:?}"),
                "no device has this name",
                &remedy,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: [Serves; 4] = [Serves::All, Serves::P256, Serves::Rsa2048, Serves::Standby];

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let head = "name = \"x\"\nquestion = \"q\"\nsummary = \"s\"\nclock = \"virtual\"\n";
        let row = "[[row]]\nname = \"async\"\nmode = \"async\"\n";
        Scenario::parse("x.toml", &format!("{head}{text}{row}"), &[])
    }

    fn refusal(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    const TWO: &str = "[[device]]\nname = \"a\"\n[[device]]\nname = \"b\"\n";

    #[test]
    fn devices_that_do_not_fit_together_are_refused_with_the_remedy() {
        assert!(parse(TWO).is_ok());
        let standby = format!("{TWO}serves = \"standby\"\n");
        assert_eq!(
            refusal(&standby),
            "device.b.serves = \"standby\": nobody falls back to it; give engine.fallback = \"other-device\" too"
        );
        let engine = "[engine]\nfallback = \"other-device\"\n";
        assert!(parse(&format!("{engine}{standby}")).is_ok());
        assert_eq!(
            refusal(&format!("{engine}{TWO}")),
            "engine.fallback = \"other-device\": no device is the standby; \
             give one more [[device]] with serves = \"standby\""
        );
        assert_eq!(
            refusal("[[device]]\nname = \"a\"\nserves = \"rsa2048\"\n"),
            "device.serves = nothing for p256: load.key has connections with that key; \
             give a [[device]] serves = \"p256\" or \"all\""
        );
        assert_eq!(
            refusal(&format!("{TWO}[[fault]]\nname = \"f\"\nkind = \"reset\"\ndevice = \"zzz\"\n")),
            "fault.f.device = \"zzz\": no device has this name; known here: a, b"
        );
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_serves_the_key_and_all_who_do_get_as_many(
            devices in prop::collection::vec(prop::sample::select(&ANY[..]), 1..6),
            key in prop::sample::select(&KeyType::ALL[..]),
            by_worker: bool,
        ) {
            let spread = if by_worker { Spread::Workers } else { Spread::Connections };
            let routing = Routing::of(&devices, spread);
            let serving = devices.iter().filter(|serves| serves.covers(key)).count();
            prop_assume!(serving > 0);
            let mut counts = vec![0; devices.len()];
            for place in 0..60 {
                let (worker, turn) = if by_worker { (place, 7) } else { (1, place as u64) };
                counts[routing.device(key, worker, turn)] += 1;
            }
            for (count, serves) in counts.iter().zip(&devices) {
                let share = if serves.covers(key) { 60 / serving } else { 0 };
                prop_assert_eq!(*count, share);
            }
        }
    }
}
