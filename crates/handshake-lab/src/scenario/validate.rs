//! What holds between the fields of a scenario, once each is right by itself.

use super::{
    error::{ScenarioError, nearest},
    language::{OrMix, Scenario},
    mix::Mix,
    words::{Arrivals, ClockMode, FallbackTo, Handshakes, Mode, Resumption, Serves, Wake},
};

/// Checks what holds between fields.
///
/// # Errors
/// [`ScenarioError::BadValue`] for the first field that does not fit the others.
pub(super) fn validate(scenario: &Scenario) -> Result<(), ScenarioError> {
    shares(scenario)?;
    devices(scenario)?;
    clock(scenario)?;
    held(scenario)?;
    slow_signatures(scenario)?;
    offload(scenario)
}

fn refuse(
    field: impl Into<String>,
    value: impl Into<String>,
    reason: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<(), ScenarioError> {
    Err(ScenarioError::bad(field, value, reason, remedy))
}

/// What only one of the two clocks can do.
fn clock(scenario: &Scenario) -> Result<(), ScenarioError> {
    let Scenario { load, server, engine, .. } = scenario;
    const VIRTUAL: &str = "give clock = \"virtual\" too";
    if scenario.clock == ClockMode::Virtual {
        if load.handshakes == Handshakes::Held {
            let remedy = "give clock = \"real\", or handshakes = \"real\"";
            return refuse("load.handshakes", "\"held\"", "works in real time only", remedy);
        }
        if matches!(server.wake, Wake::Ready | Wake::Poll) {
            return Ok(());
        }
        let wake = format!("{:?}", server.wake.to_string());
        let remedy = "give \"ready\" or \"poll\", or clock = \"real\"";
        return refuse("server.wake", wake, "works in real time only", remedy);
    }
    let positive = |number: f64| (number > 0.0).then(|| number.to_string());
    let breaker = (engine.breaker_failures > 0).then(|| engine.breaker_failures.to_string());
    let arrivals = (load.arrivals != Arrivals::Closed).then(|| format!("\"{}\"", load.arrivals));
    let profiled = load.handshakes == Handshakes::Profiled;
    let of_virtual_time = [
        ("engine.deadline_ms", positive(engine.deadline_ms), ""),
        ("engine.breaker_failures", breaker, ""),
        (
            "server.beat_ms",
            positive(server.beat_ms),
            "; cargo xtask bench tls measures it in real time",
        ),
        ("load.arrivals", arrivals, ", or \"closed\""),
        ("load.first_connect_ms", positive(load.first_connect_ms), ""),
        ("load.handshakes", profiled.then(|| "\"profiled\"".to_owned()), ", or \"real\""),
    ];
    for (field, value, more) in of_virtual_time {
        if let Some(value) = value {
            let remedy = format!("{VIRTUAL}{more}");
            return refuse(field, value, "works in virtual time only", remedy);
        }
    }
    Ok(())
}

/// Held handshakes wait for the device, in any number; others have a connection of their own each.
fn held(scenario: &Scenario) -> Result<(), ScenarioError> {
    const MOST_SOCKETS: usize = 65_536;
    let load = &scenario.load;
    let rows = scenario.rows.iter().filter_map(|row| row.connections);
    let most = rows.chain([load.connections]).max().unwrap_or_default();
    if load.handshakes != Handshakes::Held {
        return match most {
            0..=MOST_SOCKETS => Ok(()),
            _ => refuse(
                "load.connections",
                most.to_string(),
                "a connection of its own for each is too much",
                "give at most 65536, or handshakes = \"held\"",
            ),
        };
    }
    if let Some(row) = scenario.rows.iter().find(|row| row.mode != Mode::Async) {
        return refuse(
            format!("row.{}.mode", row.name),
            format!("\"{}\"", row.mode),
            "held handshakes are parked",
            "give \"async\", or handshakes = \"real\"",
        );
    }
    Ok(())
}

/// Only profiled handshakes of one kind have a slow kind of signature.
fn slow_signatures(scenario: &Scenario) -> Result<(), ScenarioError> {
    let load = &scenario.load;
    let rows = scenario.rows.iter().filter_map(|row| row.slow_every);
    let slow = rows.chain([load.slow_every]).max().unwrap_or_default();
    if slow == 0 {
        return Ok(());
    }
    let refuse = |reason, remedy| refuse("load.slow_every", slow.to_string(), reason, remedy);
    if load.handshakes == Handshakes::Real {
        return refuse(
            "real handshakes have one kind of signature for each key",
            "give handshakes = \"profiled\" too",
        );
    }
    if !Mix::of(load, &scenario.mix, scenario.seed).is_uniform() {
        return refuse(
            "does not go with a mix",
            "give one load.key, one load.tls and load.resumption = \"none\"",
        );
    }
    Ok(())
}

/// Operations are kept from the device only where software does them; software does nothing else in real time.
fn offload(scenario: &Scenario) -> Result<(), ScenarioError> {
    let rows = scenario.rows.iter().filter_map(|row| row.offload_beyond);
    let beyond = rows.chain([scenario.engine.offload_beyond]).max().unwrap_or_default();
    let software = scenario.engine.fallback == FallbackTo::Software;
    if beyond > 0 && !software {
        return refuse(
            "engine.offload_beyond",
            beyond.to_string(),
            "nothing does what the device is not given",
            "give engine.fallback = \"software\" too",
        );
    }
    if scenario.clock == ClockMode::Real && software && beyond == 0 {
        return refuse(
            "engine.fallback",
            "\"software\"",
            "works in virtual time only, or with engine.offload_beyond",
            "give clock = \"virtual\" too, or engine.offload_beyond",
        );
    }
    Ok(())
}

/// Shares sum to 100 where a mix is asked for, and are zero where none is.
fn shares(scenario: &Scenario) -> Result<(), ScenarioError> {
    let (load, mix) = (&scenario.load, &scenario.mix);
    let keys = mix.keys().map(|(key, share)| (format!("mix.{key}"), share));
    sum("load.key", &keys, matches!(load.key, OrMix::Mix(_)))?;
    let versions = mix
        .versions()
        .map(|(tls, share)| (format!("mix.tls{}", tls.to_string().replace('.', "")), share));
    sum("load.tls", &versions, matches!(load.tls, OrMix::Mix(_)))?;
    match (load.resumption, mix.resumed > 0.0) {
        (Resumption::None, true) => refuse(
            "mix.resumed",
            mix.resumed.to_string(),
            "no client resumes while load.resumption is \"none\"",
            "give load.resumption = \"tickets\" too",
        ),
        (Resumption::Tickets, false) => refuse(
            "load.resumption",
            "\"tickets\"",
            "no client would use one",
            "give mix.resumed, in percent, too",
        ),
        _ => Ok(()),
    }
}

/// How far a sum of shares may be from 100: the rounding of a few numbers written in decimals.
const ROUNDING: f64 = 1e-6;

fn sum(field: &str, shares: &[(String, f64)], mixed: bool) -> Result<(), ScenarioError> {
    if !mixed {
        return match shares.iter().find(|(_, share)| *share > 0.0) {
            None => Ok(()),
            Some((name, share)) => refuse(
                name,
                share.to_string(),
                format!("{field} is not \"mix\""),
                format!("give {field} = \"mix\" too"),
            ),
        };
    }
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    if (sum - 100.0).abs() <= ROUNDING {
        return Ok(());
    }
    let names: Vec<&str> = shares.iter().map(|(name, _)| name.as_str()).collect();
    let reason = format!("the shares of {} sum to {sum} %", names.join(", "));
    refuse(field, "\"mix\"", reason, "give shares that sum to 100")
}

/// Every key has a device, the standby is one and is used, and faults name devices that exist.
fn devices(scenario: &Scenario) -> Result<(), ScenarioError> {
    let devices = &scenario.devices;
    if let Some(second) = devices.get(1).filter(|_| scenario.clock == ClockMode::Real) {
        return refuse(
            "[[device]]",
            format!("{:?} beside {:?}", second.name, devices[0].name),
            "several devices work in virtual time only",
            "give one [[device]], or clock = \"virtual\" too",
        );
    }
    let mut standbys = devices.iter().filter(|device| device.serves == Serves::Standby);
    let falls_back = scenario.engine.fallback == FallbackTo::OtherDevice;
    match (standbys.next(), standbys.next()) {
        (Some(standby), None) if !falls_back => {
            return refuse(
                format!("device.{}.serves", standby.name),
                "\"standby\"",
                "no engine falls back to it",
                "give engine.fallback = \"other-device\" too",
            );
        }
        (None, _) if falls_back => {
            return refuse(
                "engine.fallback",
                "\"other-device\"",
                "no device is the standby",
                "give one more [[device]] with serves = \"standby\"",
            );
        }
        (_, Some(second)) => {
            return refuse(
                format!("device.{}.serves", second.name),
                "\"standby\"",
                "there is a standby already",
                "give one device serves = \"standby\"",
            );
        }
        _ => {}
    }
    let mix = Mix::of(&scenario.load, &scenario.mix, scenario.seed);
    let unserved = |key: &_| !devices.iter().any(|device| device.serves.covers(*key));
    if let Some(key) = mix.keys().into_iter().find(unserved) {
        return refuse(
            "device.serves",
            format!("nothing for {key}"),
            "load.key has connections with that key",
            format!("give a [[device]] serves = \"{key}\" or \"all\""),
        );
    }
    for fault in &scenario.faults {
        let Some(name) = &fault.device else { continue };
        let known: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        if !known.contains(&name.as_str()) {
            let remedy = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known here: {}", known.join(", ")),
            };
            return refuse(
                format!("fault.{}.device", fault.name),
                format!("{name:?}"),
                "no device has this name",
                remedy,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Scenario::find("offload-modes", &overrides).expect_err("refused").to_string()
    }

    #[test]
    fn shares_that_do_not_fit_are_refused_with_the_field_and_the_sum() {
        assert_eq!(
            refusal(&["load.key=mix", "mix.p256=70", "mix.rsa2048=20"]),
            "load.key = \"mix\": the shares of mix.p256, mix.p384, mix.ed25519, mix.rsa2048 sum to 90 %; \
             give shares that sum to 100"
        );
        assert_eq!(
            refusal(&["mix.tls12=20"]),
            "mix.tls12 = 20: load.tls is not \"mix\"; give load.tls = \"mix\" too"
        );
        assert_eq!(
            refusal(&["mix.resumed=20"]),
            "mix.resumed = 20: no client resumes while load.resumption is \"none\"; \
             give load.resumption = \"tickets\" too"
        );
        assert_eq!(
            refusal(&["load.resumption=tickets"]),
            "load.resumption = \"tickets\": no client would use one; give mix.resumed, in percent, too"
        );
        assert_eq!(
            refusal(&["mix.p265=20"]),
            "unknown key \"mix.p265\"; did you mean \"mix.p256\"?"
        );
        assert_eq!(
            refusal(&["mix.p256=101"]),
            "mix.p256 = 101: above the largest value 100; give 0 to 100 %"
        );
    }

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let head = "name = \"x\"\nquestion = \"q\"\nsummary = \"s\"\nclock = \"virtual\"\n";
        let row = "[[row]]\nname = \"async\"\nmode = \"async\"\n";
        Scenario::parse("x.toml", &format!("{head}{text}{row}"), &[])
    }

    fn refusal_of(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    const TWO: &str = "[[device]]\nname = \"a\"\n[[device]]\nname = \"b\"\n";

    #[test]
    fn devices_that_do_not_fit_together_are_refused_with_the_remedy() {
        assert!(parse(TWO).is_ok());
        let standby = format!("{TWO}serves = \"standby\"\n");
        assert_eq!(
            refusal_of(&standby),
            "device.b.serves = \"standby\": no engine falls back to it; give engine.fallback = \"other-device\" too"
        );
        let engine = "[engine]\nfallback = \"other-device\"\n";
        assert!(parse(&format!("{engine}{standby}")).is_ok());
        assert_eq!(
            refusal_of(&format!("{engine}{TWO}")),
            "engine.fallback = \"other-device\": no device is the standby; \
             give one more [[device]] with serves = \"standby\""
        );
        assert_eq!(
            refusal_of("[[device]]\nname = \"a\"\nserves = \"rsa2048\"\n"),
            "device.serves = nothing for p256: load.key has connections with that key; \
             give a [[device]] serves = \"p256\" or \"all\""
        );
        assert_eq!(
            refusal_of(&format!(
                "{TWO}[[fault]]\nname = \"f\"\nkind = \"reset\"\ndevice = \"zzz\"\n"
            )),
            "fault.f.device = \"zzz\": no device has this name; known here: a, b"
        );
    }
}
