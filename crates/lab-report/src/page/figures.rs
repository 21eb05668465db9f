//! Which pictures a run has.

use super::figure::{Curve, Figure, Kind};
use crate::recording::RowTimeline;

type Values<'a> = &'a dyn Fn(&RowTimeline) -> Vec<Option<f64>>;

/// How long handshakes took, by their share.
pub(super) fn distribution(rows: &[RowTimeline]) -> Option<Figure> {
    let lines = rows.iter().enumerate().map(|(place, row)| {
        let below = row.distribution.iter().filter(|quantile| quantile.share < 1.0);
        let points = below.map(|q| (-(1.0 - q.share).log10(), (q.ms > 0.0).then_some(q.ms)));
        Curve { place, name: row.name.clone(), points: points.collect() }
    });
    let lines: Vec<Curve> = lines.filter(|line| !line.points.is_empty()).collect();
    (!lines.is_empty()).then(|| Figure {
        id: "distribution".to_owned(),
        title: "Latency by share of handshakes",
        note: "The further right, the slower the handshakes meant: at 99 %, one in a hundred took longer.".to_owned(),
        x: "share of handshakes",
        y: "ms",
        kind: Kind::Distribution,
        lines,
        marks: Vec::new(),
    })
}

/// What changed while the rows ran; and what never happened, in words.
#[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
pub(super) fn over_time(rows: &[RowTimeline]) -> (Vec<Figure>, Vec<&'static str>) {
    let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let percent = |values: &[f64]| values.iter().map(|v| Some(100.0 * v)).collect::<Vec<_>>();
    let so_far = |counts: &[u64]| {
        let sums = counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(Some(*sum as f64))
        });
        sums.collect::<Vec<_>>()
    };
    // Marks of several rows could not be told apart.
    let marks: Vec<f64> = match rows {
        [row] => {
            let struck = row.at_s.iter().zip(&row.faults).filter(|(_, faults)| **faults > 0);
            struck.map(|(at, _)| *at).collect()
        }
        _ => Vec::new(),
    };
    // Of faults at every moment the marks would hide the picture.
    let marks = if marks.len() > 12 { Vec::new() } else { marks };
    let figure = |id: &str, title, note: &str, y, kind, values: Values<'_>| {
        let lines = rows.iter().enumerate().map(|(place, row)| {
            let points = row.at_s.iter().copied().zip(values(row)).collect();
            Curve { place, name: row.name.clone(), points }
        });
        let lines = lines.filter(|line| !line.points.is_empty()).collect();
        let note = if marks.is_empty() || id == "faults" {
            note.to_owned()
        } else {
            format!("{note} A dotted upright is a fault.")
        };
        Figure {
            id: id.to_owned(),
            title,
            note,
            x: "seconds",
            y,
            kind,
            lines,
            marks: marks.clone(),
        }
    };
    let far = are_far_apart(rows);
    let (kind, note) = if far {
        (Kind::Logarithmic, "Handshakes that both sides completed; the scale is in powers of ten.")
    } else {
        (Kind::Amount, "Handshakes that both sides completed.")
    };
    let mut figures = vec![
        figure("throughput", "Throughput", note, "handshakes a second", kind, &|row| {
            let rates = row.handshakes_per_s.iter();
            rates.map(|rate| (!far || *rate > 0.0).then_some(*rate)).collect()
        }),
        figure(
            "p99",
            "Latency, 99th percentile",
            "Of the handshakes that ended at that time, one in a hundred took longer.",
            "ms",
            Kind::Logarithmic,
            &|row| row.p99_ms.clone(),
        ),
        figure(
            "p50",
            "Latency, median",
            "Of the handshakes that ended at that time, half took longer.",
            "ms",
            Kind::Logarithmic,
            &|row| row.p50_ms.clone(),
        ),
        figure(
            "in-flight",
            "Requests in flight",
            "Submitted to the engine and not settled; those that wait for the ring included.",
            "requests",
            Kind::Amount,
            &|row| some(&row.in_flight),
        ),
        figure(
            "waiting",
            "Requests before a full ring",
            "In flight, and waiting for a ring entry.",
            "requests",
            Kind::Amount,
            &|row| some(&row.waiting),
        ),
        figure(
            "ring",
            "Ring occupancy",
            "Entries in use; at 100 % the next request has to wait.",
            "% of the entries",
            Kind::Share,
            &|row| {
                let entries = row.ring_entries.unwrap_or(1).max(1) as f64;
                row.ring.iter().map(|ring| Some((100.0 * ring / entries).min(100.0))).collect()
            },
        ),
        figure(
            "utilisation",
            "Device utilisation",
            "Service units at work; what is missing at 100 % is idle.",
            "% of the units",
            Kind::Share,
            &|row| percent(&row.utilisation),
        ),
        figure(
            "wakes",
            "Wakes",
            "Completions that woke a parked handshake.",
            "wakes a second",
            Kind::Amount,
            &|row| some(&row.wakes_per_s),
        ),
        figure(
            "faults",
            "Faults so far",
            "Faults that struck the device since the row began.",
            "faults",
            Kind::Amount,
            &|row| so_far(&row.faults),
        ),
        figure(
            "ring-full",
            "Full rings so far",
            "Submissions that found the ring full.",
            "times",
            Kind::Amount,
            &|row| so_far(&row.ring_full),
        ),
        figure(
            "failed",
            "Failed handshakes so far",
            "Handshakes that failed on the client's side.",
            "handshakes",
            Kind::Amount,
            &|row| so_far(&row.failed),
        ),
    ];
    let mut never = Vec::new();
    figures.retain(|figure| {
        let shown = figure
            .lines
            .iter()
            .any(|line| line.points.iter().any(|(_, y)| y.is_some_and(|y| y > 0.0)));
        if !shown {
            never.push(figure.title);
        }
        shown
    });
    (figures, never)
}

/// Whether some row is usually so much faster than another that on one linear scale the slower could not be read.
fn are_far_apart(rows: &[RowTimeline]) -> bool {
    let usual = rows.iter().filter_map(|row| {
        let mut rates: Vec<f64> =
            row.handshakes_per_s.iter().copied().filter(|rate| *rate > 0.0).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    });
    let (least, most) =
        usual.fold((f64::INFINITY, 0.0), |(least, most), rate| (rate.min(least), rate.max(most)));
    most > 30.0 * least
}
