//! What outputs mean to whoever reads them: labels and how sure they are, or numbers.

use super::metrics::largest;
use crate::arrays::Array;
use kiln_ir::{DType, Diagnostic};

/// What an output means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// Scores of classes along the last axis.
    Classes {
        /// Whether a softmax makes probabilities of them.
        logits: bool,
    },
    /// Each is a yes or a no.
    YesOrNo {
        /// Whether a sigmoid makes probabilities of them.
        logits: bool,
    },
    /// Each is a yes above 0, else a no; nothing says how sure.
    Sides,
    /// Numbers.
    Values,
}

/// The labels of an output, and how sure they are, if it is one of labels.
pub(super) fn label(output: &Array, meaning: Meaning) -> Result<Option<(Array, Option<Array>)>, Diagnostic> {
    let sigmoid = |score: f64| 1.0 / (1.0 + (-score).exp());
    let shape = output.shape();
    match meaning {
        Meaning::Values => Ok(None),
        Meaning::Classes { logits } => {
            let Some((classes, rows)) = shape.split_last().filter(|(classes, _)| **classes > 0) else { return Ok(None) };
            let (mut labels, mut sure) = (Array::zeroed(DType::I64, rows.to_vec())?, Array::zeroed(DType::F32, rows.to_vec())?);
            for row in 0..labels.len() {
                let scores: Vec<f64> = (0..*classes).map(|class| output.get_f64(row * classes + class)).collect();
                let best = largest(&scores);
                let sum: f64 = scores.iter().map(|score| (score - scores[best]).exp()).sum();
                labels.set_f64(row, best as f64);
                sure.set_f64(row, if logits { 1.0 / sum } else { scores[best] });
            }
            Ok(Some((labels, Some(sure))))
        }
        Meaning::YesOrNo { .. } | Meaning::Sides => {
            let (mut labels, mut sure) = (Array::zeroed(DType::I64, shape.to_vec())?, Array::zeroed(DType::F32, shape.to_vec())?);
            for i in 0..output.len() {
                let score = output.get_f64(i);
                let yes = if meaning == (Meaning::YesOrNo { logits: false }) { score } else { sigmoid(score) };
                labels.set_f64(i, f64::from(yes > 0.5));
                sure.set_f64(i, yes.max(1.0 - yes));
            }
            Ok(Some((labels, Some(sure).filter(|_| meaning != Meaning::Sides))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], values: &[f64]) -> Array {
        let mut array = Array::zeroed(DType::F32, shape.to_vec()).expect("small");
        values.iter().enumerate().for_each(|(i, value)| array.set_f64(i, *value));
        array
    }

    fn labels(output: &Array, meaning: Meaning) -> (Vec<f64>, Option<Vec<f64>>) {
        let (labels, sure) = label(output, meaning).expect("small").expect("labels");
        let values = |array: &Array| (0..array.len()).map(|i| array.get_f64(i)).collect::<Vec<_>>();
        (values(&labels), sure.as_ref().map(values))
    }

    #[test]
    fn labels_are_the_likeliest_and_confidences_their_probabilities() {
        let scores = array(&[2, 3], &[0.0, 2f64.ln(), 0.0, 5.0, 5.0, f64::NEG_INFINITY]);
        assert_eq!(labels(&scores, Meaning::Classes { logits: true }), (vec![1.0, 0.0], Some(vec![0.5, 0.5])));
        let shares = array(&[1, 2], &[0.25, 0.75]);
        assert_eq!(labels(&shares, Meaning::Classes { logits: false }), (vec![1.0], Some(vec![0.75])));
        assert_eq!(labels(&array(&[2, 1], &[0.75, 0.25]), Meaning::YesOrNo { logits: false }), (vec![1.0, 0.0], Some(vec![0.75, 0.75])));
        assert_eq!(labels(&array(&[2], &[0.0, 40.0]), Meaning::YesOrNo { logits: true }), (vec![0.0, 1.0], Some(vec![0.5, 1.0])));
        assert_eq!(labels(&array(&[2], &[-3.0, 0.5]), Meaning::Sides), (vec![0.0, 1.0], None));
        assert!(label(&shares, Meaning::Values).expect("small").is_none());
    }
}
