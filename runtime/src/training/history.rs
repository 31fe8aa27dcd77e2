//! How training went, epoch by epoch.

use crate::files::write_whole;
use kiln_ir::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// One epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Its number, 1 at first.
    pub epoch: u32,
    /// Mean loss of its samples, each before the step it was part of.
    pub loss: f64,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// What was measured after it.
    pub measured: Option<Measured>,
    /// Time of its steps.
    pub seconds: f64,
    /// Samples a second, in its steps.
    pub samples_per_second: f64,
}

/// An evaluation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// On which part of the data: `validation`, `test`.
    pub part: String,
    /// Mean loss.
    pub loss: f64,
    /// The metrics by name; `None`: not a number.
    pub metrics: Vec<(String, Option<f64>)>,
}

impl Measured {
    /// `test loss 0.2913, accuracy 0.8979`
    pub fn text(&self) -> String {
        let mut text = format!("{} loss {:.4}", self.part, self.loss);
        for (name, value) in &self.metrics {
            text += &value.map_or(format!(", {name} undefined"), |value| format!(", {name} {value:.4}"));
        }
        text
    }
}

/// A point of the course of the loss.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Epochs, parts included.
    pub epochs: f64,
    /// Mean loss since the point before.
    pub loss: f64,
}

impl EpochRecord {
    /// What is known of it, by the names of columns; `None`: not a number.
    fn columns(&self) -> Vec<(String, Option<f64>)> {
        let mut columns = vec![("loss".to_owned(), Some(self.loss)), ("learning_rate".to_owned(), Some(self.learning_rate))];
        columns.push(("seconds".to_owned(), Some((self.seconds * 1e3).round() / 1e3)));
        if let Some(Measured { part, loss, metrics }) = &self.measured {
            columns.push((format!("{part}_loss"), Some(*loss)));
            columns.extend(metrics.iter().map(|(name, value)| (format!("{part}_{name}"), *value)));
        }
        columns
    }
}

/// Writes the epochs as a table of comma-separated values. Errors: `file`.
pub fn write_csv(path: &Path, history: &[EpochRecord]) -> Result<(), Diagnostic> {
    write_whole(path, |sink| {
        let Some(first) = history.first() else { return Ok(()) };
        let names: Vec<String> = first.columns().into_iter().map(|(name, _)| name).collect();
        writeln!(sink, "epoch,{}", names.join(","))?;
        history.iter().try_for_each(|record| {
            write!(sink, "{}", record.epoch)?;
            let values = record.columns().into_iter().map(|(_, value)| value.map_or(String::new(), |value| value.to_string()));
            values.into_iter().try_for_each(|value| write!(sink, ",{value}"))?;
            writeln!(sink)
        })
    })
}

/// Writes the epochs as lines of JSON, one object each. Errors: `file`.
pub fn write_jsonl(path: &Path, history: &[EpochRecord]) -> Result<(), Diagnostic> {
    write_whole(path, |sink| {
        history.iter().try_for_each(|record| {
            let mut line = Map::from_iter([("epoch".to_owned(), json!(record.epoch))]);
            line.extend(record.columns().into_iter().map(|(name, value)| (name, json!(value))));
            writeln!(sink, "{}", Value::Object(line))
        })
    })
}
