//! The report of a training or an evaluation: one page that needs nothing else. Curves and epochs, what the network takes for what, where
//! it is most wrong, and what it is made of.

mod curves;
mod tables;

use super::examined::Examined;
use super::history::{EpochRecord, Measured, Point};
use super::recipe::LayerSummary;
use crate::files::write_whole;
use curves::{BLUE, Line, ORANGE, picture};
use kiln_ir::Diagnostic;
use std::path::Path;

/// What the page is about.
pub struct Report<'a> {
    /// Name of the network.
    pub name: &'a str,
    /// Whether it is about a training or an evaluation.
    pub what: &'a str,
    /// Facts for the top of the page: what and how much.
    pub facts: Vec<(&'static str, String)>,
    /// The epochs.
    pub history: &'a [EpochRecord],
    /// The course of the loss.
    pub points: &'a [Point],
    /// The epoch with the smallest loss of validation.
    pub best: Option<u32>,
    /// What was measured, and what it was looked into.
    pub examined: Option<(&'a Measured, &'a Examined)>,
    /// What the classes are called.
    pub classes: Option<&'a [String]>,
    /// The layers of the network.
    pub layers: &'a [LayerSummary],
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:1.6rem 0 .3rem}dl{display:grid;grid-template-columns:max-content 1fr;\
gap:.1rem 1rem;margin:.6rem 0}dt{color:#666}dd{margin:0}svg{width:100%;height:auto}table{border-collapse:collapse;width:100%;\
font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.15rem .5rem;border-bottom:1px solid #e5e5e5}\
th:first-child,td:first-child{text-align:left}tr.best td{font-weight:600}p{margin:.3rem 0;color:#666}.wide{overflow-x:auto}\
table.confusion{width:auto;font-size:13px}table.confusion td,table.confusion th{padding:.2rem .4rem;text-align:right;white-space:nowrap}\
table.confusion th:first-child{text-align:right;font-weight:500}table.confusion tr:first-child th{font-weight:500}\
.examples{display:grid;grid-template-columns:repeat(auto-fill,minmax(108px,1fr));gap:.7rem;margin:.5rem 0}.examples figure{margin:0;\
font-size:12.5px;line-height:1.35}.examples img{width:100%;image-rendering:pixelated;border:1px solid #ddd;display:block;margin-bottom:.2rem}\
.examples .said{color:#b3261e}.text{text-align:left}";

impl Report<'_> {
    /// Writes the page. Errors: `file`.
    pub fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        let page = self.page().map_err(|error| Diagnostic::new("report", format!("cannot draw {}: {error}", path.display())))?;
        write_whole(path, |sink| sink.write_all(page.as_bytes()))
    }

    fn page(&self) -> Result<String, Box<dyn std::error::Error>> {
        let name = escaped(self.name);
        let mut page = format!("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: {}</title>", self.what);
        page += &format!("<style>{STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n<dl>\n");
        for (what, value) in &self.facts {
            page += &format!("<dt>{}</dt><dd>{}</dd>\n", escaped(what), escaped(value));
        }
        if let Some((measured, _)) = self.examined {
            page += &format!("<dt>{}</dt><dd>loss {:.4}", escaped(&measured.part), measured.loss);
            for (name, value) in &measured.metrics {
                page += &format!(", {} {}", escaped(name), value.map_or("undefined".to_owned(), |value| format!("{value:.4}")));
            }
            page += "</dd>\n";
        }
        page += "</dl>\n";
        if !self.history.is_empty() {
            page += &self.curves()?;
        }
        if let Some((_, examined)) = self.examined {
            for output in &examined.outputs {
                let of = if examined.outputs.len() > 1 { format!(" of {}", escaped(&output.name)) } else { String::new() };
                page += &tables::confusion(output, examined, &of, self.classes);
                page += &tables::worst(output, examined, &of, self.classes);
            }
        }
        page += &tables::layers(self.layers);
        if !self.history.is_empty() {
            page += &self.epochs();
        }
        Ok(page + "</body></html>\n")
    }

    fn measured(&self) -> impl Iterator<Item = (f64, &Measured)> {
        self.history.iter().filter_map(|record| Some((f64::from(record.epoch), record.measured.as_ref()?)))
    }

    fn curves(&self) -> Result<String, Box<dyn std::error::Error>> {
        let part = self.measured().next().map_or("", |(_, measured)| measured.part.as_str());
        let mut losses = vec![Line {
            name: "training".into(),
            colour: BLUE,
            points: self.points.iter().map(|point| (point.epochs, point.loss)).collect(),
        }];
        if !part.is_empty() {
            losses.push(Line { name: part.into(), colour: ORANGE, points: self.measured().map(|(epoch, m)| (epoch, m.loss)).collect() });
        }
        let mut page = format!("<h2>Loss</h2>\n{}\n", picture(&losses)?);
        let first = self.measured().next();
        for (at, (name, _)) in first.iter().flat_map(|(_, measured)| measured.metrics.iter().enumerate()) {
            let points: Vec<(f64, f64)> = self.measured().filter_map(|(epoch, m)| Some((epoch, m.metrics.get(at)?.1?))).collect();
            let line = Line { name: part.into(), colour: ORANGE, points };
            page += &format!("<h2>{}</h2>\n{}\n", escaped(name), picture(&[line])?);
        }
        Ok(page)
    }

    fn epochs(&self) -> String {
        let mut page = "<h2>Epochs</h2>\n<table>\n<tr><th>epoch</th><th>loss</th>".to_owned();
        if let Some((_, measured)) = self.measured().next() {
            page += &format!("<th>{} loss</th>", measured.part);
            measured.metrics.iter().for_each(|(name, _)| page += &format!("<th>{}</th>", escaped(name)));
        }
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
        page + "</table>\n"
    }
}

/// The text as it stands in a page.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
