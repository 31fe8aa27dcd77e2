//! What outputs mean to a person: the likeliest classes when one is a distribution, else a summary of each.

use crate::arrays::Array;
use kiln_ir::artifact::Signature;
use serde::Serialize;
use std::fmt::Write as _;

/// How far a row's sum may be from 1: what f16 rounding of a thousand classes can add up to.
const SUM_TOLERANCE: f64 = 5e-3;

/// One class of a ranking.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RankedClass {
    /// Its index.
    pub class: usize,
    /// Its name, if names are known.
    pub label: Option<String>,
    /// Its probability when the output is a distribution, else its score.
    pub confidence: f64,
}

/// The likeliest classes, best first, for each row of one output.
pub struct Ranking {
    /// Index of the output that was ranked.
    pub output: usize,
    /// True if rows sum to 1.
    pub is_distribution: bool,
    /// One list per row.
    pub rows: Vec<Vec<RankedClass>>,
}

/// A summary of one output.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Smallest element that is a number; `None` when there is none.
    pub min: Option<f64>,
    /// Largest element that is a number.
    pub max: Option<f64>,
    /// Mean of all elements.
    pub mean: Option<f64>,
    /// The first elements.
    pub first: Vec<f64>,
}

/// Ranks the first output whose rows along the last axis are distributions; failing that, with names for classes, the
/// first floating-point one with as many columns as names. At most `top` classes each.
pub fn rank(outputs: &[Array], labels: Option<&[String]>, top: usize) -> Option<Ranking> {
    let columns = |array: &Array| array.shape().last().copied().filter(|&n| n > 1 && array.dtype().is_float() && !array.is_empty());
    let distribution = outputs.iter().position(|array| columns(array).is_some_and(|n| is_distribution(array, n)));
    let named = || outputs.iter().position(|array| columns(array).is_some_and(|n| Some(n) == labels.map(<[String]>::len)));
    let output = distribution.or_else(named)?;
    let array = &outputs[output];
    let n = columns(array)?;
    let row = |index: usize| {
        let mut classes: Vec<(usize, f64)> = (0..n).map(|class| (class, array.get_f64(index * n + class))).collect();
        // Descending, NaN last, ties in order of class.
        classes.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan())));
        let label = |class: usize| labels.and_then(|labels| labels.get(class)).cloned();
        classes.into_iter().take(top).map(|(class, confidence)| RankedClass { class, label: label(class), confidence }).collect()
    };
    Some(Ranking { output, is_distribution: distribution.is_some(), rows: (0..array.len() / n).map(row).collect() })
}

fn is_distribution(array: &Array, n: usize) -> bool {
    (0..array.len() / n).all(|row| {
        let values = (0..n).map(|class| array.get_f64(row * n + class));
        let in_range = values.clone().all(|value| (-SUM_TOLERANCE..=1.0 + SUM_TOLERANCE).contains(&value));
        in_range && (values.sum::<f64>() - 1.0).abs() <= SUM_TOLERANCE
    })
}

/// Summaries of all outputs.
pub fn summarise(signature: &Signature, outputs: &[Array]) -> Vec<Summary> {
    let summary = |(name, array): (&String, &Array)| {
        let (mut min, mut max, mut sum) = (None::<f64>, None::<f64>, 0.0);
        for value in (0..array.len()).map(|index| array.get_f64(index)) {
            sum += value;
            if !value.is_nan() {
                min = Some(min.map_or(value, |low| low.min(value)));
                max = Some(max.map_or(value, |high| high.max(value)));
            }
        }
        Summary {
            name: name.clone(),
            dtype: array.dtype().to_string(),
            shape: array.shape().to_vec(),
            min,
            max,
            mean: (!array.is_empty()).then(|| sum / array.len() as f64),
            first: (0..array.len().min(6)).map(|index| array.get_f64(index)).collect(),
        }
    };
    signature.outputs.iter().map(|output| &output.name).zip(outputs).map(summary).collect()
}

impl RankedClass {
    /// `cat`, or `class 281` when it has no name.
    pub fn name(&self) -> String {
        self.label.clone().unwrap_or_else(|| format!("class {}", self.class))
    }

    /// `99.98 %`, or the score.
    pub fn confidence_text(&self, is_distribution: bool) -> String {
        if is_distribution { format!("{:.2} %", self.confidence * 100.0) } else { short(self.confidence) }
    }
}

impl Summary {
    /// One line: `y: f32[1, 10]  min -1.2  max 3.4  mean 0.5  (0.1 0.2 …)`.
    pub fn text(&self) -> String {
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let mut text = format!("{}: {}[{}]", self.name, self.dtype, shape.join(", "));
        for (what, value) in [("min", self.min), ("max", self.max), ("mean", self.mean)] {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(text, "  {what} {}", short(value));
            }
        }
        let first: Vec<String> = self.first.iter().map(|&value| short(value)).collect();
        let more = if self.shape.iter().product::<usize>() > first.len() { " …" } else { "" };
        if !first.is_empty() {
            let _ = write!(text, "  ({}{more})", first.join(" "));
        }
        text
    }
}

/// About five digits: as a plain number where that is readable, else with an exponent.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == value.trunc() && size < 1e7 {
        format!("{value}")
    } else if (1e-3..1e7).contains(&size) {
        let decimals = if size >= 1000.0 { 1 } else { 4 };
        format!("{value:.decimals$}")
    } else {
        format!("{value:.4e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_model::signature;
    use kiln_ir::DType;

    fn array(dtype: DType, shape: &[usize], values: &[f64]) -> Array {
        let mut array = Array::zeroed(dtype, shape.to_vec()).expect("small");
        values.iter().enumerate().for_each(|(index, &value)| array.set_f64(index, value));
        array
    }

    #[test]
    fn distributions_are_ranked_and_other_outputs_are_not() {
        let outputs = [array(DType::F32, &[2], &[3.0, -2.0]), array(DType::F16, &[2, 3], &[0.2, 0.5, 0.3, 1.0, 0.0, 0.0])];
        let names = ["a", "b", "c"].map(str::to_owned);
        let ranking = rank(&outputs, Some(&names), 2).expect("the second output");
        assert!(ranking.is_distribution && ranking.output == 1);
        let best: Vec<String> = ranking.rows[0].iter().map(|class| format!("{} {}", class.name(), class.confidence_text(true))).collect();
        assert_eq!(best, ["b 50.00 %", "c 30.00 %"]);
        assert_eq!(ranking.rows[1][0].name(), "a");
        assert!(rank(&outputs[..1], None, 5).is_none());
        assert!(rank(&[array(DType::I32, &[2], &[1.0, 0.0])], None, 5).is_none());
        assert!(rank(&[array(DType::F32, &[0, 3], &[])], None, 5).is_none());
    }

    #[test]
    fn scores_are_ranked_only_when_classes_have_names() {
        let outputs = [array(DType::F32, &[3], &[-7.5, f64::NAN, 12.25])];
        assert!(rank(&outputs, None, 3).is_none());
        let ranking = rank(&outputs, Some(&["a", "b", "c"].map(str::to_owned)), 3).expect("as many names as columns");
        let order: Vec<usize> = ranking.rows[0].iter().map(|class| class.class).collect();
        assert_eq!((order, ranking.is_distribution), (vec![2, 0, 1], false));
        assert_eq!(ranking.rows[0][0].confidence_text(false), "12.2500");
    }

    #[test]
    fn summaries_are_short_lines() {
        let signature = signature(&[], &[("y", DType::F32, &[2, 4]), ("none", DType::I64, &[0])]);
        let outputs = [array(DType::F32, &[2, 4], &[1.0, -2.5, 3e-9, 4e12, 0.0, 1.0, 2.0, 3.0]), array(DType::I64, &[0], &[])];
        let lines: Vec<String> = summarise(&signature, &outputs).iter().map(Summary::text).collect();
        assert_eq!(lines[0], "y: f32[2, 4]  min -2.5000  max 4.0000e12  mean 5.0000e11  (1 -2.5000 3.0000e-9 4.0000e12 0 1 …)");
        assert_eq!(lines[1], "none: i64[0]");
    }
}
