//! Lines over epochs.

use plotters::prelude::*;

const SIZE: (u32, u32) = (720, 300);
/// The colour of what is learnt from.
pub const BLUE: RGBColor = RGBColor(31, 119, 180);
/// The colour of what is measured by.
pub const ORANGE: RGBColor = RGBColor(230, 110, 10);

/// A line of a picture.
pub struct Line {
    /// What it is called where there are several.
    pub name: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Epochs, and values.
    pub points: Vec<(f64, f64)>,
}

/// Lines over epochs, as SVG.
pub fn picture(lines: &[Line]) -> Result<String, Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied()).filter(|(x, y)| x.is_finite() && y.is_finite());
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, y)| (low.min(y), high.max(y)));
    let right = all().fold(1.0f64, |right, (x, _)| right.max(x));
    if low > high {
        return Ok("<p>nothing yet</p>".to_owned());
    }
    let room = ((high - low) * 0.06).max(high.abs() * 1e-3).max(1e-9);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..right, low - room..high + room)?;
        chart.configure_mesh().x_desc("epoch").light_line_style(TRANSPARENT).bold_line_style(RGBColor(229, 229, 229)).draw()?;
        for line in lines {
            let style = line.colour.stroke_width(2);
            let drawn = chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            if lines.len() > 1 {
                drawn.label(line.name.as_str()).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
            if line.points.len() < 60 {
                chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 2, line.colour.filled())))?;
            }
        }
        if lines.len() > 1 {
            chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(TRANSPARENT).draw()?;
        }
        area.present()?;
    }
    Ok(svg)
}
