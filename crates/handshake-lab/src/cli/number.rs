//! Numbers on the command line, refused in one line that names the option, the value and the remedy.

use std::ops::RangeInclusive;

use super::Stop;

/// A whole number within `range`.
pub(super) fn whole(
    option: &str,
    text: &str,
    range: RangeInclusive<u64>,
    unit: &str,
) -> Result<u64, Stop> {
    let (least, most) = (*range.start(), *range.end());
    let remedy = format!("give {least} to {most}{}{unit}", if unit.is_empty() { "" } else { " " });
    let Ok(number) = text.parse::<u64>() else {
        return Err(Stop::Usage(format!("{option} {text}: not a whole number; {remedy}")));
    };
    if range.contains(&number) {
        Ok(number)
    } else if number < least {
        Err(Stop::Usage(format!("{option} {text}: below the smallest value {least}; {remedy}")))
    } else {
        Err(Stop::Usage(format!("{option} {text}: above the largest value {most}; {remedy}")))
    }
}

/// A number of milliseconds from 0 to 60,000.
pub(super) fn millis(option: &str, text: &str) -> Result<f64, Stop> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=60_000.0).contains(&number) => Ok(number),
        Ok(number) if number.is_finite() => {
            Err(Stop::Usage(format!("{option} {text}: out of range; give 0 to 60000 ms")))
        }
        _ => Err(Stop::Usage(format!("{option} {text}: not a number; give 0 to 60000 ms"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(result: Result<u64, Stop>) -> String {
        match result {
            Ok(number) => number.to_string(),
            Err(Stop::Usage(line)) => line,
            Err(Stop::Bad | Stop::Interrupted) => "bad".to_owned(),
        }
    }

    #[test]
    fn refusals_name_option_value_and_remedy() {
        assert_eq!(says(whole("--ring", "64", 1..=65_536, "requests")), "64");
        assert_eq!(
            says(whole("--ring", "0", 1..=65_536, "requests")),
            "--ring 0: below the smallest value 1; give 1 to 65536 requests"
        );
        assert_eq!(
            says(whole("--workers", "two", 1..=64, "threads")),
            "--workers two: not a whole number; give 1 to 64 threads"
        );
        for bad in ["-1", "nan", "inf", "x", "60001"] {
            assert!(millis("--latency-ms", bad).is_err(), "{bad}");
        }
    }
}
