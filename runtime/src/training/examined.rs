//! What a network takes for what, and where it is most wrong: gathered while it is measured.

use super::metrics::largest;
use super::parts::Part;
use super::recipe::{Answer, MeasuredOutput, Recipe};
use crate::arrays::Array;
use crate::pictures::{image_input_named, png_of};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{ImageInput, Signature};
use std::collections::BTreeMap;

/// Examples that are kept of each output.
const MOST: usize = 24;

/// One evaluation looked into.
pub struct Examined {
    /// The part of the data.
    pub part: String,
    /// Samples of it.
    pub samples: usize,
    /// Each output that has targets.
    pub outputs: Vec<ExaminedOutput>,
    /// Which of the data has pictures, and how they became numbers.
    picture: Option<(usize, ImageInput)>,
}

/// One output against its targets.
pub struct ExaminedOutput {
    /// Its name.
    pub name: String,
    /// How it answers.
    pub answer: Answer,
    /// How often each class (first) was called which (second); empty where there are no classes.
    pub confusion: BTreeMap<(usize, usize), u64>,
    /// The worst answers, the worst first: wrong labels, or the largest errors.
    pub worst: Vec<Mistake>,
    output: usize,
    target: usize,
}

/// An answer that was wrong.
pub struct Mistake {
    /// The sample by its name, or its number.
    pub sample: String,
    /// Which of the sample's answers it is, if it has several.
    pub position: Option<usize>,
    /// What is right.
    pub right: f64,
    /// What was said.
    pub said: f64,
    /// How sure the network was of it, where that is known.
    pub confidence: Option<f64>,
    /// How wrong it was.
    pub badness: f64,
    /// The sample as a PNG file, if it is a picture.
    pub picture: Option<Vec<u8>>,
}

impl Examined {
    /// Nothing seen yet of a part. `signature` is that of the evaluation.
    pub fn new(recipe: &Recipe, part: &Part, signature: &Signature) -> Examined {
        let mut outputs: Vec<ExaminedOutput> = Vec::new();
        for MeasuredOutput { output, target, answer, .. } in recipe.metrics.iter().copied() {
            let known = outputs.iter().any(|known| known.output == output);
            if !known && !matches!(answer, Answer::Spelling(_)) {
                let name = recipe.data[target].name.clone();
                outputs.push(ExaminedOutput { name, answer, confusion: BTreeMap::new(), worst: Vec::new(), output, target });
            }
        }
        let inputs = recipe.data.iter().enumerate().filter(|(_, slot)| !slot.is_target);
        let mut pictures = inputs.filter_map(|(at, slot)| Some((at, image_input_named(signature, &slot.name)?)));
        let picture = pictures.next().filter(|_| pictures.next().is_none());
        Examined { part: part.name.to_owned(), samples: part.samples.len(), outputs, picture }
    }

    /// Takes a batch: `outputs` of the network, `data` in the order of the recipe, of these samples of the part.
    ///
    /// Errors: `picture` when one cannot be written.
    pub fn add(&mut self, part: &Part, samples: &[usize], outputs: &[Array], data: &[Array]) -> Result<(), Diagnostic> {
        for examined in &mut self.outputs {
            let (output, target) = (&outputs[examined.output], &data[examined.target]);
            for (at, mut mistake) in examined.judge(output, target, samples.len()) {
                let worse = examined.worst.len() < MOST || mistake.badness > examined.worst[MOST - 1].badness;
                if !worse {
                    continue;
                }
                mistake.sample = part.dataset.names.as_ref().map_or_else(|| samples[at].to_string(), |names| names[samples[at]].clone());
                if let Some((slot, image)) = &self.picture {
                    mistake.picture = png_of(&data[*slot], at, image)?;
                }
                // Equals stay in the order of the samples.
                let place = examined.worst.partition_point(|other| other.badness >= mistake.badness);
                examined.worst.insert(place, mistake);
                examined.worst.truncate(MOST);
            }
        }
        Ok(())
    }
}

impl ExaminedOutput {
    /// Counts the answers of a batch; gives the wrong ones with the number of their sample in it.
    fn judge(&mut self, output: &Array, target: &Array, samples: usize) -> Vec<(usize, Mistake)> {
        let mistake = |right, said, confidence, badness, position| Mistake {
            sample: String::new(),
            position,
            right,
            said,
            confidence,
            badness,
            picture: None,
        };
        let mut wrong = Vec::new();
        let per_sample = |answers: usize| (answers / samples.max(1)).max(1);
        match self.answer {
            Answer::Labels | Answer::Distribution => {
                let Some(classes) = output.shape().last().copied().filter(|classes| *classes > 0) else { return wrong };
                let rows = output.len() / classes;
                let row = |array: &Array, at: usize| (0..classes).map(|i| array.get_f64(at * classes + i)).collect::<Vec<_>>();
                let scores: Vec<Vec<f64>> = (0..rows).map(|at| row(output, at)).collect();
                let shares = are_probabilities(&scores);
                let each = per_sample(rows);
                for (at, scores) in scores.into_iter().enumerate() {
                    let right = if self.answer == Answer::Labels { target.get_f64(at) as usize } else { largest(&row(target, at)) };
                    let said = largest(&scores);
                    *self.confusion.entry((right, said)).or_default() += 1;
                    if right != said && right < classes {
                        let sure = if shares { scores } else { softmax(&scores) };
                        // The least likely right answer is the worst one.
                        let badness = -sure[right].max(f64::MIN_POSITIVE).ln();
                        let position = (each > 1).then_some(at % each);
                        wrong.push((at / each, mistake(right as f64, said as f64, Some(sure[said]), badness, position)));
                    }
                }
            }
            Answer::YesOrNo(threshold) => {
                let each = per_sample(output.len());
                for at in 0..output.len() {
                    let (score, right) = (output.get_f64(at), f64::from(target.get_f64(at) > 0.5));
                    let said = f64::from(score > threshold);
                    *self.confusion.entry((right as usize, said as usize)).or_default() += 1;
                    if right != said {
                        let confidence = (threshold == 0.5).then(|| score.max(1.0 - score));
                        let position = (each > 1).then_some(at % each);
                        wrong.push((at / each, mistake(right, said, confidence, (score - threshold).abs(), position)));
                    }
                }
            }
            Answer::Values => {
                let each = per_sample(output.len());
                for at in 0..output.len() {
                    let (said, right) = (output.get_f64(at), target.get_f64(at));
                    let position = (each > 1).then_some(at % each);
                    wrong.push((at / each, mistake(right, said, None, (said - right).abs(), position)));
                }
            }
            Answer::Spelling(_) => {}
        }
        wrong
    }
}

fn are_probabilities(rows: &[Vec<f64>]) -> bool {
    let is_one = |row: &Vec<f64>| row.iter().all(|p| (0.0..=1.0).contains(p)) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-3;
    rows.iter().all(is_one)
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::DType;

    fn array(dtype: DType, shape: &[usize], values: &[f64]) -> Array {
        let mut array = Array::zeroed(dtype, shape.to_vec()).expect("small");
        values.iter().enumerate().for_each(|(i, value)| array.set_f64(i, *value));
        array
    }

    fn examined(answer: Answer) -> ExaminedOutput {
        ExaminedOutput { name: "y".into(), answer, confusion: BTreeMap::new(), worst: Vec::new(), output: 0, target: 0 }
    }

    #[test]
    fn classes_are_counted_and_the_least_likely_right_answer_is_the_worst() {
        let mut output = examined(Answer::Labels);
        let scores = array(DType::F32, &[3, 2], &[0.0, 3f64.ln(), 1.0, 0.0, 0.0, 9f64.ln()]);
        let wrong = output.judge(&scores, &array(DType::I64, &[3], &[0.0, 0.0, 0.0]), 3);
        assert_eq!(output.confusion, BTreeMap::from([((0, 0), 1), ((0, 1), 2)]));
        let told: Vec<(usize, f64)> = wrong.iter().map(|(at, m)| (*at, (m.confidence.unwrap_or(0.0) * 1e4).round())).collect();
        assert_eq!(told, [(0, 7500.0), (2, 9000.0)]);
        assert!(wrong[1].1.badness > wrong[0].1.badness);
    }

    #[test]
    fn probabilities_are_taken_as_they_are_and_positions_are_told() {
        let mut output = examined(Answer::Labels);
        let shares = array(DType::F32, &[1, 2, 2], &[0.25, 0.75, 0.9, 0.1]);
        let wrong = output.judge(&shares, &array(DType::I64, &[1, 2], &[1.0, 1.0]), 1);
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0].0, wrong[0].1.position, wrong[0].1.said), (0, Some(1), 0.0));
        assert!((wrong[0].1.confidence.unwrap_or(0.0) - 0.9).abs() < 1e-6);
    }

    #[test]
    fn yes_or_no_and_numbers() {
        let mut output = examined(Answer::YesOrNo(0.0));
        let wrong = output.judge(&array(DType::F32, &[2, 1], &[-2.0, 0.5]), &array(DType::F32, &[2, 1], &[1.0, 1.0]), 2);
        assert_eq!(output.confusion, BTreeMap::from([((1, 0), 1), ((1, 1), 1)]));
        assert_eq!((wrong.len(), wrong[0].1.badness, wrong[0].1.confidence), (1, 2.0, None));
        let mut output = examined(Answer::Values);
        let wrong = output.judge(&array(DType::F32, &[2], &[1.0, 5.0]), &array(DType::F32, &[2], &[1.5, 5.0]), 2);
        assert_eq!(wrong.iter().map(|(_, m)| m.badness).collect::<Vec<_>>(), [0.5, 0.0]);
        assert!(output.confusion.is_empty());
    }
}
