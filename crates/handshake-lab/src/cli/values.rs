//! Options that several commands share, and values on the command line; a bad one is refused with the value, the reason
//! and the remedy.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    ops::RangeInclusive,
    path::PathBuf,
};

/// Options of a scenario and of the swarm alike.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// Where files go [default: target/layby/SCENARIO/TIME, or target/layby/swarm].
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) report: Option<PathBuf>,
    /// Print the results as one JSON document and nothing else.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Plant a bug, to see the laws catch it (exit status 1); needs a build with the feature `plant`.
    #[arg(long, value_name = "BUG", global = true)]
    pub(super) plant: Option<String>,
}

/// A whole number within `range`, as a clap value parser.
pub(super) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    unit: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number =
            text.parse().map_err(|_| format!("not a whole number; {}", give(&range, unit)));
        let number = within(number?, &range, unit)?;
        T::try_from(number).map_err(|_| "too large for this machine; give a smaller one".to_owned())
    }
}

/// The number, if it lies within `range`.
pub(super) fn within(number: u64, range: &RangeInclusive<u64>, unit: &str) -> Result<u64, String> {
    let (least, most) = (range.start(), range.end());
    if number < *least {
        Err(format!("below the smallest value {least}; {}", give(range, unit)))
    } else if number > *most {
        Err(format!("above the largest value {most}; {}", give(range, unit)))
    } else {
        Ok(number)
    }
}

fn give(range: &RangeInclusive<u64>, unit: &str) -> String {
    let (least, most) = (range.start(), range.end());
    format!("give {least} to {most} {unit}").trim_end().to_owned()
}

/// Any seed that a scenario can have.
pub(super) fn seed() -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    whole(0..=i64::MAX as u64, "")
}

/// A number of milliseconds from 0 to 60,000.
pub(super) fn millis(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=60_000.0).contains(&number) => Ok(number),
        Ok(number) if number.is_finite() => Err("out of range; give 0 to 60000 ms".to_owned()),
        _ => Err("not a number; give 0 to 60000 ms".to_owned()),
    }
}

/// The addresses of `HOST:PORT`, those of version 4 first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses(pub(super) Vec<SocketAddr>);

/// Resolves `HOST:PORT`.
pub(super) fn addresses(text: &str) -> Result<Addresses, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err("not an address; give HOST:PORT, for example 127.0.0.1:8443".to_owned());
    }
    let resolved = text.to_socket_addrs();
    let resolved =
        resolved.map_err(|error| format!("{error}; give a name that is known, or IP:PORT"));
    let mut addresses: Vec<SocketAddr> = resolved?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(Addresses(addresses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_value_and_remedy() {
        let ring = whole::<usize>(1..=65_536, "requests");
        assert_eq!(ring("64"), Ok(64));
        assert_eq!(ring("0").unwrap_err(), "below the smallest value 1; give 1 to 65536 requests");
        assert_eq!(
            whole::<u64>(1..=64, "threads")("two").unwrap_err(),
            "not a whole number; give 1 to 64 threads"
        );
        for bad in ["-1", "nan", "inf", "x", "60001"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
