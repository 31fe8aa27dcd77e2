//! The report of a training: one page that needs nothing else, with curves and a table.

use super::history::EpochRecord;
use super::history::Point;
use crate::files::write_whole;
use kiln_ir::Diagnostic;
use plotters::prelude::*;
use std::path::Path;

/// What the page is about.
pub struct Report<'a> {
    /// Name of the network.
    pub name: &'a str,
    /// Facts for the top of the page: what and how much.
    pub facts: Vec<(&'static str, String)>,
    /// The epochs.
    pub history: &'a [EpochRecord],
    /// The course of the loss.
    pub points: &'a [Point],
    /// The epoch with the smallest loss of validation.
    pub best: Option<u32>,
}

const SIZE: (u32, u32) = (720, 300);
const BLUE: RGBColor = RGBColor(31, 119, 180);
const ORANGE: RGBColor = RGBColor(230, 110, 10);

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:1.6rem 0 .3rem}dl{display:grid;grid-template-columns:max-content 1fr;\
gap:.1rem 1rem;margin:.6rem 0}dt{color:#666}dd{margin:0}svg{width:100%;height:auto}table{border-collapse:collapse;width:100%;\
font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.15rem .5rem;border-bottom:1px solid #e5e5e5}\
th:first-child,td:first-child{text-align:left}tr.best td{font-weight:600}";

/// A line of a picture.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Report<'_> {
    /// Writes the page. Errors: `file`.
    pub fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        let page = self.page().map_err(|error| Diagnostic::new("report", format!("cannot draw {}: {error}", path.display())))?;
        write_whole(path, |sink| sink.write_all(page.as_bytes()))
    }

    fn page(&self) -> Result<String, Box<dyn std::error::Error>> {
        let name = escaped(self.name);
        let mut page = format!("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: training</title>");
        page += &format!("<style>{STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n<dl>\n");
        for (what, value) in &self.facts {
            page += &format!("<dt>{}</dt><dd>{}</dd>\n", escaped(what), escaped(value));
        }
        page += "</dl>\n";
        let measured = || self.history.iter().filter_map(|record| Some((f64::from(record.epoch), record.measured.as_ref()?)));
        let part = measured().next().map_or(String::new(), |(_, measured)| measured.part.clone());
        let mut losses = vec![Line {
            name: "training".into(),
            colour: BLUE,
            points: self.points.iter().map(|point| (point.epochs, point.loss)).collect(),
        }];
        if !part.is_empty() {
            losses.push(Line { name: part.clone(), colour: ORANGE, points: measured().map(|(epoch, m)| (epoch, m.loss)).collect() });
        }
        page += &format!("<h2>Loss</h2>\n{}\n", picture(&losses)?);
        let names: Vec<String> = measured().next().map_or(Vec::new(), |(_, m)| m.metrics.iter().map(|(name, _)| name.clone()).collect());
        for (at, name) in names.iter().enumerate() {
            let points: Vec<(f64, f64)> = measured().filter_map(|(epoch, m)| Some((epoch, m.metrics.get(at)?.1?))).collect();
            let line = Line { name: part.clone(), colour: ORANGE, points };
            page += &format!("<h2>{}</h2>\n{}\n", escaped(name), picture(&[line])?);
        }
        page += "<h2>Epochs</h2>\n<table>\n<tr><th>epoch</th><th>loss</th>";
        if !part.is_empty() {
            page += &format!("<th>{part} loss</th>");
        }
        names.iter().for_each(|name| page += &format!("<th>{}</th>", escaped(name)));
        page += "<th>learning rate</th><th>samples/s</th><th>s</th></tr>\n";
        for record in self.history {
            let class = if Some(record.epoch) == self.best { " class=\"best\"" } else { "" };
            page += &format!("<tr{class}><td>{}</td><td>{:.4}</td>", record.epoch, record.loss);
            if let Some(measured) = &record.measured {
                page += &format!("<td>{:.4}</td>", measured.loss);
                for (_, value) in &measured.metrics {
                    page += &value.map_or("<td>–</td>".to_owned(), |value| format!("<td>{value:.4}</td>"));
                }
            }
            page += &format!("<td>{:.3e}</td>", record.learning_rate);
            page += &format!("<td>{:.0}</td><td>{:.1}</td></tr>\n", record.samples_per_second, record.seconds);
        }
        Ok(page + "</table>\n</body></html>\n")
    }
}

/// Lines over epochs, as SVG.
fn picture(lines: &[Line]) -> Result<String, Box<dyn std::error::Error>> {
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
