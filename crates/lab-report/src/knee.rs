//! The knee of rows with rising load: the load up to which latency stays low.

use crate::results::{KNEE_TIMES, Knee, RowReport};

impl Knee {
    /// The knee of three or more rows of rising load; `None` for other runs.
    pub fn of(rows: &[RowReport]) -> Option<Self> {
        let loads: Vec<(f64, &RowReport)> =
            rows.iter().filter_map(|row| Some((row.offered_per_s?, row))).collect();
        let rising = loads.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if loads.len() < 3 || !rising {
            return None;
        }
        let lightest = loads[0].1.latency_ms.p99;
        let is_borne = |row: &RowReport| {
            row.latency_ms.p99 <= KNEE_TIMES * lightest && row.turned_away == 0 && row.failed == 0
        };
        let borne = loads.iter().take_while(|(_, row)| is_borne(row)).count();
        let (load_per_s, row) = loads[borne.checked_sub(1)?];
        let next = loads.get(borne);
        Some(Self {
            load_per_s,
            p99_ms: row.latency_ms.p99,
            next_load_per_s: next.map(|(load, _)| *load),
            next_p99_ms: next.map(|(_, row)| row.latency_ms.p99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::LatencyMs;

    fn row(load: f64, p99: f64) -> RowReport {
        RowReport {
            offered_per_s: Some(load),
            latency_ms: LatencyMs { p99, ..LatencyMs::default() },
            ..RowReport::default()
        }
    }

    #[test]
    fn the_knee_is_the_last_load_before_p99_climbs() {
        let rows = [row(100.0, 10.0), row(200.0, 14.0), row(300.0, 21.0), row(400.0, 12.0)];
        let said = Knee::of(&rows).expect("a knee").sentence();
        assert!(said.starts_with("up to 200 a second") && said.contains("at 300 it is 21.0 ms"));
    }

    #[test]
    fn loads_that_do_not_rise_have_none() {
        assert_eq!(Knee::of(&[row(100.0, 1.0), row(100.0, 9.0), row(50.0, 9.0)]), None);
        assert_eq!(Knee::of(&[row(100.0, 1.0), row(200.0, 9.0)]), None);
        let level = [row(1.0, 1.0), row(2.0, 1.0), row(3.0, 1.0)];
        assert!(Knee::of(&level).expect("said").sentence().starts_with("none up to 3"));
    }
}
