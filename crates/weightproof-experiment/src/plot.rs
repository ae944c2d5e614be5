//! Line plots as SVG, text as text, in colours that colour-blind people tell apart (Okabe and Ito 2008) and with markers.

use crate::error::ExperimentError;
use plotters::prelude::*;

/// Okabe and Ito's palette without yellow, which is hard to see on white.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Width and height of a plot in pixels.
const SIZE: (u32, u32) = (860, 520);
/// Size of a marker in pixels.
const MARKER: i32 = 4;

/// How numbers lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences have equal length.
    Linear,
    /// Equal ratios have equal length; numbers that are not above zero are left out.
    Logarithmic,
    /// As linear, written in percent.
    Percent,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How numbers lie on it.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(label: &str, scale: Scale) -> Self {
        Axis { label: label.into(), scale }
    }

    fn place(&self, v: f64) -> Option<f64> {
        match self.scale {
            Scale::Linear | Scale::Percent => Some(v),
            Scale::Logarithmic => (v > 0.0).then(|| v.log10()),
        }
        .filter(|v| v.is_finite())
    }

    fn text(&self, place: f64) -> String {
        // Far from rounding: ticks are multiples of a thousandth at least.
        let short = |v: f64| format!("{:.4}", v).trim_end_matches('0').trim_end_matches('.').to_owned();
        match self.scale {
            Scale::Linear => short(place),
            Scale::Percent => format!("{}%", short(100.0 * place)),
            Scale::Logarithmic => {
                let value = 10f64.powf(place);
                if (1e-3..1e4).contains(&value) {
                    let digits = (1.0 - value.log10().floor()).max(0.0) as usize;
                    format!("{value:.digits$}")
                } else {
                    format!("{value:.1e}")
                }
            }
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Name of its file.
    pub name: String,
    /// Title.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
    /// Whether the points of a line are joined; else there are only markers.
    pub joined: bool,
}

impl Plot {
    /// The plot as the text of an SVG file.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn svg(&self) -> Result<String, ExperimentError> {
        let mut text = String::new();
        let drawn = self.draw(SVGBackend::with_string(&mut text, SIZE));
        drawn
            .map_err(|error| ExperimentError::Plot { name: self.name.clone(), detail: error.to_string() })?;
        Ok(text)
    }

    fn draw(&self, backend: SVGBackend<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let lines: Vec<Vec<(f64, f64)>> = self.lines.iter().map(|line| self.places(line)).collect();
        let all = || lines.iter().flatten();
        let (x, y) = (range(all().map(|p| p.0)), range(all().map(|p| p.1)));
        let root = backend.into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(14)
            .caption(&self.title, ("sans-serif", 18))
            .x_label_area_size(48)
            .y_label_area_size(70)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&|v| self.x.text(*v))
            .y_label_formatter(&|v| self.y.text(*v))
            .x_labels(8)
            .y_labels(8)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .draw()?;
        for (k, (line, points)) in self.lines.iter().zip(lines).enumerate() {
            let color = COLORS[k % COLORS.len()];
            let style = color.stroke_width(if self.joined { 2 } else { 0 });
            let joined = points.iter().copied().filter(|_| self.joined);
            chart.draw_series(LineSeries::new(joined, style))?.label(&line.name).legend(move |(x, y)| {
                EmptyElement::at((x, y))
                    + PathElement::new(vec![(0, 0), (22, 0)], style)
                    + marker(k, (11, 0), color)
            });
            let markers = points.into_iter().map(|at| EmptyElement::at(at) + marker(k, (0, 0), color));
            chart.draw_series(markers)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(160, 160, 160))
            .legend_area_size(30)
            .label_font(("sans-serif", 13))
            .draw()?;
        root.present()?;
        Ok(())
    }

    fn places(&self, line: &Line) -> Vec<(f64, f64)> {
        line.points.iter().filter_map(|&(x, y)| Some((self.x.place(x)?, self.y.place(y)?))).collect()
    }
}

/// An octagon for even lines, a square for odd ones, drawn with three widths in turn.
fn marker(k: usize, (x, y): (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    let corners = if k.is_multiple_of(2) { 8 } else { 4 };
    let corner = |i: usize| {
        let angle = std::f64::consts::TAU * (i as f64 + 0.5) / corners as f64;
        (
            x + (f64::from(MARKER) * angle.cos()).round() as i32,
            y + (f64::from(MARKER) * angle.sin()).round() as i32,
        )
    };
    PathElement::new(
        (0..=corners).map(corner).collect::<Vec<_>>(),
        color.stroke_width(1 + (k as u32 / 2) % 3),
    )
}

/// From the smallest to the largest number, with some room; a unit around a single one.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    match high - low {
        width if !width.is_finite() => (0.0, 1.0),
        width if width > 0.0 => (low - 0.03 * width, high + 0.05 * width),
        _ => (low - 0.5, high + 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        Plot {
            name: "p".into(),
            title: "Title".into(),
            x: Axis::new("radius [unit of the weights]", Scale::Logarithmic),
            y: Axis::new("accuracy [%]", Scale::Percent),
            lines: vec![Line { name: "a line".into(), points }],
            joined: true,
        }
    }

    #[test]
    fn text_stays_text() {
        let svg = plot(vec![(0.001, 0.9), (0.01, 0.5)]).svg().unwrap();
        for text in ["Title", "radius [unit of the weights]", "accuracy [%]", "a line", "<polyline", "<text"]
        {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn points_that_have_no_place_are_left_out() {
        let plot = plot(vec![(0.0, 0.9), (0.01, f64::NAN), (0.1, 0.5)]);
        assert_eq!(plot.places(&plot.lines[0]), [(-1.0, 0.5)]);
        assert!(plot.svg().is_ok());
        assert!(self::plot(Vec::new()).svg().is_ok());
    }
}
