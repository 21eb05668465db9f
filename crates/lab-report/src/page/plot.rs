//! One line plot as inline SVG.
//!
//! The colours drawn are names: the style sheet of the page replaces them by those of the light or the dark scheme, and
//! gives each series a pattern of dashes of its own, so that nothing depends on telling colours apart.

use std::ops::Range;

use indicatif::HumanFloatCount;
use plotters::{coord::Shift, prelude::*};

use super::html::escape;

/// Size in its own units. Scaled up on wide screens; on a phone about one to one.
const SIZE: (u32, u32) = (400, 262);

/// Series that one plot can hold and a reader can tell apart.
pub(super) const SERIES: usize = 6;

pub(super) const COLOURS: [&str; SERIES] =
    ["#0060A8", "#C44E00", "#007A59", "#A8558A", "#8A6A00", "#5A5A5A"];

/// The colour of vertical marks, by name.
const MARK: RGBColor = RGBColor(0xB0, 0x00, 0x20);

#[derive(Debug, Clone)]
pub(super) struct Plot {
    /// Unique in the page.
    pub(super) id: String,
    pub(super) title: String,
    /// A description for screen readers.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// Times at which something happened.
    pub(super) marks: Vec<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) range: Range<f64>,
    pub(super) scale: Scale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Powers of a tenth that are left out: 90 %, 99 %, 99.9 %.
    Nines,
}

/// A line of a plot. It goes on straight where there is no value.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    /// Its place among [`COLOURS`].
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

type Failure = DrawingAreaErrorKind<std::io::Error>;

impl Plot {
    pub(super) fn svg(&self) -> String {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            // A string takes whatever is written to it.
            let _ = self.draw(&area).and_then(|()| area.present());
        }
        // The size is the page's to choose.
        let (width, height) = SIZE;
        let body = text.split_once('>').map_or("", |(_, body)| body);
        let (id, title, description) = (&self.id, escape(&self.title), escape(&self.description));
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>{}",
            body.trim()
        )
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure> {
        match self.y.scale {
            Scale::Log => self.draw_log(area),
            Scale::Linear | Scale::Nines => self.draw_linear(area),
        }
    }
}

/// The two kinds of vertical axis have types of their own; what is drawn on them is the same.
macro_rules! draw {
    ($name:ident, $range:expr) => {
        impl Plot {
            fn $name(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure> {
                let vertical: fn(Range<f64>) -> _ = $range;
                let mut chart = ChartBuilder::on(area)
                    .margin_top(10)
                    .margin_left(6)
                    .margin_bottom(3)
                    .margin_right(28)
                    .x_label_area_size(48)
                    .y_label_area_size(78)
                    .build_cartesian_2d(self.x.range.clone(), vertical(self.y.range.clone()))?;
                chart
                    .configure_mesh()
                    .disable_x_mesh()
                    .light_line_style(TRANSPARENT)
                    .bold_line_style(RGBColor(0xDD, 0xDD, 0xDD))
                    .axis_style(RGBColor(0x88, 0x88, 0x88))
                    .label_style(("sans-serif", 12))
                    .axis_desc_style(("sans-serif", 12))
                    .x_labels(6)
                    .y_labels(5)
                    .x_label_formatter(&|value| self.x.tick(*value))
                    .y_label_formatter(&|value| self.y.tick(*value))
                    .x_desc(self.x.label)
                    .y_desc(self.y.label)
                    .draw()?;
                for &mark in &self.marks {
                    let ends = [(mark, self.y.range.start), (mark, self.y.range.end)];
                    chart.draw_series([PathElement::new(ends, MARK)])?;
                }
                for series in &self.series {
                    let style = ShapeStyle::from(&series.rgb()).stroke_width(2);
                    let points = series.values();
                    // A single point would be a line without length.
                    if let [point] = points[..] {
                        chart.draw_series([Circle::new(point, 3, style.filled())])?;
                    }
                    chart.draw_series(LineSeries::new(points, style))?;
                }
                Ok(())
            }
        }
    };
}

draw!(draw_linear, |range| range);
draw!(draw_log, |range| range.log_scale());

impl Series {
    fn rgb(&self) -> RGBColor {
        let digits = COLOURS[self.colour % SERIES].trim_start_matches('#');
        let number = u32::from_str_radix(digits, 16).unwrap_or_default();
        let [_, red, green, blue] = number.to_be_bytes();
        RGBColor(red, green, blue)
    }

    /// The points that have values.
    fn values(&self) -> Vec<(f64, f64)> {
        self.points.iter().filter_map(|&(x, y)| Some((x, y?))).collect()
    }
}

impl Axis {
    /// From zero to a round number above all values.
    pub(super) fn from_zero(label: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        Self { label, range: 0.0..ceiling(most), scale: Scale::Linear }
    }

    /// Powers of ten around all values.
    pub(super) fn log(label: &'static str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min);
        let most = positive.fold(0.0, f64::max);
        let (least, most) = if most > 0.0 { (least, most) } else { (1.0, 10.0) };
        let low = least.log10().floor();
        let high = most.log10().ceil().max(low + 1.0);
        Self { label, range: 10_f64.powf(low)..10_f64.powf(high), scale: Scale::Log }
    }

    fn tick(&self, value: f64) -> String {
        match self.scale {
            Scale::Linear => number(value),
            // Powers of ten only: between them there is no room.
            Scale::Log => {
                let power = value.log10();
                if (power - power.round()).abs() < 1e-6 { number(value) } else { String::new() }
            }
            Scale::Nines => match value {
                _ if (value - value.round()).abs() > 1e-6 => String::new(),
                value if value < 0.5 => "fastest".to_owned(),
                value if value < 1.5 => "90 %".to_owned(),
                value => {
                    let nines = "9".repeat(value.round().clamp(2.0, 9.0) as usize - 2);
                    let point = if nines.is_empty() { "" } else { "." };
                    format!("99{point}{nines} %")
                }
            },
        }
    }
}

/// The next round number: 1, 1.2, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value * 1.02).unwrap_or(12.0);
    step * power
}

/// A number for people: three significant digits or so, thousands apart.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    format!("{:.decimals$}", HumanFloatCount(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_their_thousands_apart() {
        let shown = [0.0, 0.05, 0.25, 3.0, 12.34, 999.9, 4_495.2, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "0.05", "0.25", "3", "12.3", "1,000", "4,495", "1,234,567"]);
    }

    #[test]
    fn axes_reach_above_every_value_and_not_far() {
        for value in [0.3, 1.0, 7.9, 92.0, 4_495.0] {
            let end = Axis::from_zero("", [value].into_iter()).range.end;
            assert!(end > value && end < 1.8 * value, "{value}: {end}");
        }
        assert_eq!(Axis::log("", [0.2, 42.0].into_iter()).range, 0.1..100.0);
    }

    #[test]
    fn a_percentile_is_labelled_by_its_nines() {
        let axis = Axis { label: "", range: 0.0..4.0, scale: Scale::Nines };
        let ticks = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0].map(|value| axis.tick(value));
        assert_eq!(ticks, ["fastest", "", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
