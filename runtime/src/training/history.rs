//! How training went, epoch by epoch.

use crate::files::write_whole;
use kiln_ir::Diagnostic;
use serde::{Deserialize, Serialize};
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

/// Writes the epochs as a table of comma-separated values. Errors: `file`.
pub fn write_csv(path: &Path, history: &[EpochRecord]) -> Result<(), Diagnostic> {
    write_whole(path, |sink| {
        let first = history.iter().find_map(|record| record.measured.as_ref());
        let names: Vec<&str> = first.map_or(Vec::new(), |m| m.metrics.iter().map(|(name, _)| name.as_str()).collect());
        let part = first.map_or("", |measured| measured.part.as_str());
        write!(sink, "epoch,loss,learning_rate,seconds")?;
        if first.is_some() {
            write!(sink, ",{part}_loss")?;
        }
        names.iter().try_for_each(|name| write!(sink, ",{part}_{name}"))?;
        writeln!(sink)?;
        for record in history {
            write!(sink, "{},{},{},{:.3}", record.epoch, record.loss, record.learning_rate, record.seconds)?;
            if let Some(measured) = &record.measured {
                write!(sink, ",{}", measured.loss)?;
                measured.metrics.iter().try_for_each(|(_, value)| match value {
                    Some(value) => write!(sink, ",{value}"),
                    None => write!(sink, ","),
                })?;
            }
            writeln!(sink)?;
        }
        Ok(())
    })
}
