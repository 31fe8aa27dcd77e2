//! What is measured of outputs against targets, over all batches of an evaluation.

use super::entities::entities;
use super::recipe::{Answer, MeasuredOutput, Metric};
use crate::arrays::Array;
use crate::transcript::text_of;
use kiln_ir::artifact::CtcOutput;
use kiln_ir::diagnostic::edit_distance;

impl Metric {
    /// What it is called in tables.
    pub fn name(self) -> String {
        match self {
            Metric::Accuracy => "accuracy".into(),
            Metric::TopK(k) => format!("top_{k}"),
            Metric::Precision => "precision".into(),
            Metric::Recall => "recall".into(),
            Metric::F1 => "f1".into(),
            Metric::Auc => "auc".into(),
            Metric::MeanAbsoluteError => "mae".into(),
            Metric::MeanSquaredError => "mse".into(),
            Metric::ErrorRate => "error_rate".into(),
            Metric::WordErrorRate => "wer".into(),
            Metric::CharacterErrorRate => "cer".into(),
            Metric::EntityF1 => "entity_f1".into(),
        }
    }
}

/// One metric while it is measured.
pub struct Measuring {
    measured: MeasuredOutput,
    /// How labels become text.
    spelling: Option<CtcOutput>,
    count: f64,
    sum: f64,
    /// Of each class: rightly called it, wrongly called it, not called it although it is.
    classes: Vec<[f64; 3]>,
    /// Score and whether it should be a yes.
    scored: Vec<(f64, bool)>,
    /// What the classes are called, if that is known.
    names: Option<Vec<String>>,
    /// Names among labelled words: rightly found, found, there are.
    entities: [f64; 3],
}

impl Measuring {
    /// Nothing measured yet; names among labelled words need what the classes are called, and of what is spelled, labels become text as
    /// `spelling` says.
    pub fn new(measured: MeasuredOutput, names: Option<&[String]>, spelling: Option<&CtcOutput>) -> Measuring {
        let (names, spelling) = (names.map(<[String]>::to_vec), spelling.cloned());
        Measuring { measured, spelling, count: 0.0, sum: 0.0, classes: Vec::new(), scored: Vec::new(), names, entities: [0.0; 3] }
    }

    /// Takes a batch: `outputs` of the network, `data` in the order of the recipe.
    pub fn add(&mut self, outputs: &[Array], data: &[Array]) {
        let (output, target) = (&outputs[self.measured.output], &data[self.measured.target]);
        match self.measured.answer {
            Answer::Labels if self.measured.metric == Metric::EntityF1 => self.add_entities(output, target),
            Answer::Labels | Answer::Distribution => self.add_classes(output, target),
            Answer::YesOrNo(threshold) => {
                for i in 0..output.len() {
                    let (score, yes) = (output.get_f64(i), target.get_f64(i) > 0.5);
                    self.add_class(usize::from(score > threshold), usize::from(yes));
                    if self.measured.metric == Metric::Auc {
                        self.scored.push((score, yes));
                    }
                    self.add_error(score, target.get_f64(i));
                }
            }
            Answer::Spelling(blank) => self.add_spellings(output, target, self.measured.lengths.map(|at| &data[at]), blank),
            Answer::Values => (0..output.len()).for_each(|i| self.add_error(output.get_f64(i), target.get_f64(i))),
        }
    }

    fn add_classes(&mut self, output: &Array, target: &Array) {
        let Some(classes) = output.shape().last().copied().filter(|classes| *classes > 0) else { return };
        for row in 0..output.len() / classes {
            let scores: Vec<f64> = (0..classes).map(|i| output.get_f64(row * classes + i)).collect();
            let right = match self.measured.answer {
                // Of several labels for each sample, −1 are none.
                Answer::Labels if target.get_f64(row) < 0.0 => continue,
                Answer::Labels => target.get_f64(row) as usize,
                _ => largest(&(0..classes).map(|i| target.get_f64(row * classes + i)).collect::<Vec<_>>()),
            };
            if let Metric::TopK(k) = self.measured.metric {
                let own = scores.get(right).copied().unwrap_or(f64::NAN);
                // Ties are broken as by a stable sort: earlier classes first.
                let before = scores.iter().enumerate().filter(|(i, s)| **s > own || (**s == own && *i < right)).count();
                self.count += 1.0;
                self.sum += f64::from(own.is_finite() && before < k as usize);
                continue;
            }
            self.add_class(largest(&scores), right);
            if self.measured.metric == Metric::Auc && classes == 2 {
                self.scored.push((scores[1] - scores[0], right == 1));
            }
            if self.measured.answer == Answer::Distribution {
                (0..classes).for_each(|i| self.add_error(scores[i], target.get_f64(row * classes + i)));
            }
        }
    }

    /// Names among the labels `[batch, time]` and among those that score best in `[batch, time, classes]`.
    fn add_entities(&mut self, output: &Array, target: &Array) {
        let ([batch, time, classes], Some(names)) = (output.shape(), &self.names) else { return };
        let name = |class: usize| names.get(class).map_or("O", String::as_str);
        for sample in 0..*batch {
            let (mut found, mut right) = (Vec::new(), Vec::new());
            for at in (0..*time).map(|t| sample * time + t).filter(|at| target.get_f64(*at) >= 0.0) {
                let scores: Vec<f64> = (0..*classes).map(|class| output.get_f64(at * classes + class)).collect();
                found.push(name(largest(&scores)));
                right.push(name(target.get_f64(at) as usize));
            }
            let (found, right) = (entities(&found), entities(&right));
            let both = found.iter().filter(|entity| right.contains(entity)).count();
            let counts = [both, found.len(), right.len()];
            self.entities.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as f64);
        }
    }

    fn add_spellings(&mut self, output: &Array, target: &Array, lengths: Option<&Array>, blank: usize) {
        let ([batch, time, classes], [_, labels]) = (output.shape(), target.shape()) else { return };
        for sample in 0..*batch {
            let at = |t: usize| (0..*classes).map(|i| output.get_f64((sample * time + t) * classes + i)).collect::<Vec<_>>();
            let steps = lengths.map_or(*time, |lengths| counted_steps(lengths, sample, *time));
            let mut spelled: Vec<usize> = (0..steps).map(|t| largest(&at(t))).collect();
            spelled.dedup();
            spelled.retain(|class| *class != blank);
            let right = (0..*labels).map(|i| target.get_f64(sample * labels + i)).filter(|label| *label >= 0.0);
            let right: Vec<usize> = right.map(|label| label as usize).collect();
            let (distance, length) = self.compare(&spelled, &right);
            self.count += length as f64;
            self.sum += distance as f64;
        }
    }

    /// What must be inserted, left out or exchanged, and how much there should be.
    fn compare(&self, spelled: &[usize], right: &[usize]) -> (usize, usize) {
        let Some(ctc) = &self.spelling else { return (edit_distance(spelled, right), right.len()) };
        let [said, meant] = [spelled, right].map(|labels| text_of(ctc, labels.iter().copied()));
        match self.measured.metric {
            Metric::WordErrorRate => {
                let [said, meant] = [&said, &meant].map(|text| text.split_whitespace().collect::<Vec<_>>());
                (edit_distance(&said, &meant), meant.len())
            }
            Metric::CharacterErrorRate => {
                let [said, meant] = [&said, &meant].map(|text| text.chars().collect::<Vec<_>>());
                (edit_distance(&said, &meant), meant.len())
            }
            _ => (edit_distance(spelled, right), right.len()),
        }
    }

    fn add_class(&mut self, called: usize, right: usize) {
        let most = called.max(right);
        if self.classes.len() <= most {
            self.classes.resize(most + 1, [0.0; 3]);
        }
        if called == right {
            self.classes[right][0] += 1.0;
        } else {
            self.classes[called][1] += 1.0;
            self.classes[right][2] += 1.0;
        }
    }

    fn add_error(&mut self, output: f64, target: f64) {
        let error = output - target;
        match self.measured.metric {
            Metric::MeanAbsoluteError => self.sum += error.abs(),
            Metric::MeanSquaredError => self.sum += error * error,
            _ => return,
        }
        self.count += 1.0;
    }

    /// The value over everything taken; NaN where there is none, as of classes for an output of numbers.
    pub fn value(&self) -> f64 {
        match self.measured.metric {
            Metric::TopK(_) | Metric::MeanAbsoluteError | Metric::MeanSquaredError => self.sum / self.count,
            Metric::ErrorRate | Metric::WordErrorRate | Metric::CharacterErrorRate => self.sum / self.count,
            Metric::EntityF1 if self.names.is_none() => f64::NAN,
            Metric::EntityF1 => 2.0 * self.entities[0] / (self.entities[1] + self.entities[2]).max(1.0),
            Metric::Accuracy => {
                let right: f64 = self.classes.iter().map(|class| class[0]).sum();
                right / self.classes.iter().map(|class| class[0] + class[2]).sum::<f64>()
            }
            Metric::Precision => self.class_mean(|[right, wrong, _]| [right, right + wrong]),
            Metric::Recall => self.class_mean(|[right, _, missed]| [right, right + missed]),
            Metric::F1 => self.class_mean(|[right, wrong, missed]| [2.0 * right, 2.0 * right + wrong + missed]),
            Metric::Auc => area(self.scored.clone()),
        }
    }

    /// Mean over classes; of yes and no, that of yes. A class without cases counts 0, as in scikit-learn.
    fn class_mean(&self, ratio: impl Fn([f64; 3]) -> [f64; 2]) -> f64 {
        let value = |class: &[f64; 3]| {
            let [top, bottom] = ratio(*class);
            if bottom > 0.0 { top / bottom } else { 0.0 }
        };
        if let Answer::YesOrNo(_) = self.measured.answer {
            return self.classes.get(1).map_or(0.0, value);
        }
        let present: Vec<f64> = self.classes.iter().filter(|class| class.iter().any(|count| *count > 0.0)).map(value).collect();
        present.iter().sum::<f64>() / present.len() as f64
    }
}

/// A sample whose labels cannot be spelled in its time steps: a step for each, and one between two of the same.
pub struct Impossible {
    /// Its place in the batch.
    pub sample: usize,
    /// How many labels it has.
    pub labels: usize,
    /// How many time steps they take.
    pub needed: usize,
    /// How many there are.
    pub steps: usize,
}

/// The first such sample of a batch, where the output is measured by what it spells.
pub fn first_impossible(measured: &MeasuredOutput, outputs: &[Array], data: &[Array]) -> Option<Impossible> {
    let Answer::Spelling(_) = measured.answer else { return None };
    let ([batch, time, _], [_, most]) = (outputs[measured.output].shape(), data[measured.target].shape()) else { return None };
    (0..*batch).find_map(|sample| {
        let all = (0..*most).map(|i| data[measured.target].get_f64(sample * most + i));
        let labels: Vec<f64> = all.filter(|label| *label >= 0.0).collect();
        let needed = labels.len() + labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let steps = measured.lengths.map_or(*time, |at| counted_steps(&data[at], sample, *time));
        (needed > steps).then_some(Impossible { sample, labels: labels.len(), needed, steps })
    })
}

/// How many of the time steps of a sample count: so many, or, of floats, such a part of them, the last one that it touches included.
pub(super) fn counted_steps(lengths: &Array, sample: usize, time: usize) -> usize {
    let given = lengths.get_f64(sample);
    let steps = if lengths.dtype().is_float() { (given * time as f64).ceil().max(1.0) } else { given };
    (steps as usize).min(time)
}

/// The first of the largest.
pub(super) fn largest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// The share of pairs of a yes and a no in which the yes scores higher; ties count half. *Source*: Mann & Whitney 1947.
fn area(mut scored: Vec<(f64, bool)>) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut pairs, mut at) = (0.0, 0.0, 0);
    while at < scored.len() {
        let same = scored[at..].iter().take_while(|(score, _)| *score == scored[at].0).count().max(1);
        let yes = scored[at..at + same].iter().filter(|(_, yes)| *yes).count() as f64;
        let no = same as f64 - yes;
        pairs += yes * (below + no / 2.0);
        below += no;
        at += same;
    }
    pairs / (below * (scored.len() as f64 - below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::DType;

    fn array(shape: &[usize], values: &[f64]) -> Array {
        let mut array = Array::zeroed(DType::F32, shape.to_vec()).expect("small");
        values.iter().enumerate().for_each(|(i, value)| array.set_f64(i, *value));
        array
    }

    #[test]
    fn words_and_characters_are_those_of_the_text() {
        // Best classes 1 0 2 spell `on to`, and `on two` is right.
        let labels = ["", "on", "to", "two"].map(str::to_owned).to_vec();
        let ctc = CtcOutput { output: "y".into(), labels, blank: 0, separator: " ".into() };
        let scores = [1, 0, 2].iter().flat_map(|class| (0..4).map(move |i| f64::from(i == *class))).collect::<Vec<_>>();
        let of = |metric| {
            let measured = MeasuredOutput { output: 0, target: 0, lengths: None, answer: Answer::Spelling(0), metric };
            let mut measuring = Measuring::new(measured, None, Some(&ctc));
            measuring.add(&[array(&[1, 3, 4], &scores)], &[array(&[1, 3], &[1.0, 3.0, -1.0])]);
            measuring.value()
        };
        assert_eq!((of(Metric::WordErrorRate), of(Metric::CharacterErrorRate)), (0.5, 1.0 / 6.0));
        let measured = MeasuredOutput { output: 0, target: 0, lengths: None, answer: Answer::Spelling(0), metric: Metric::ErrorRate };
        let of = |labels: &[f64]| {
            first_impossible(&measured, &[array(&[2, 3, 4], &scores.repeat(2))], &[array(&[2, 4], labels)])
                .map(|found| (found.sample, found.needed))
        };
        assert_eq!(of(&[1.0, 2.0, 3.0, -1.0, 2.0, 2.0, -1.0, -1.0]), None);
        assert_eq!(of(&[1.0, 2.0, 3.0, -1.0, 2.0, 2.0, 1.0, -1.0]), Some((1, 4)));
        // Parts of the time count the step that they end in.
        assert_eq!(counted_steps(&array(&[2], &[0.34, 0.0]), 0, 3), 2);
        assert_eq!(counted_steps(&array(&[2], &[0.34, 0.0]), 1, 3), 1);
    }

    fn measure(metric: Metric, answer: Answer, batches: &[(Array, Array)]) -> f64 {
        let mut measuring = Measuring::new(MeasuredOutput { output: 0, target: 0, lengths: None, answer, metric }, None, None);
        for (output, target) in batches {
            measuring.add(std::slice::from_ref(output), std::slice::from_ref(target));
        }
        measuring.value()
    }

    /// What scikit-learn 1.9 gives: `accuracy_score`, `precision_score(average="macro")` and so on, `roc_auc_score`.
    #[test]
    fn metrics_are_those_of_scikit_learn() {
        let scores = || array(&[5, 3], &[0.1, 0.7, 0.2, 0.5, 0.3, 0.2, 0.2, 0.3, 0.5, 0.6, 0.1, 0.3, 0.2, 0.7, 0.1]);
        let batches = || [(scores(), array(&[5], &[1.0, 0.0, 1.0, 2.0, 1.0]))];
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
        close(measure(Metric::Accuracy, Answer::Labels, &batches()), 0.6);
        close(measure(Metric::TopK(2), Answer::Labels, &batches()), 1.0);
        close(measure(Metric::Precision, Answer::Labels, &batches()), 0.5);
        close(measure(Metric::Recall, Answer::Labels, &batches()), 0.555_555_6);
        close(measure(Metric::F1, Answer::Labels, &batches()), 0.488_888_9);
        let yes = || {
            let target = array(&[5, 1], &[0.0, 0.0, 1.0, 1.0, 1.0]);
            [(array(&[5, 1], &[-1.0, 0.5, 0.5, 2.0, -0.5]), target)]
        };
        close(measure(Metric::Accuracy, Answer::YesOrNo(0.0), &yes()), 0.6);
        close(measure(Metric::Precision, Answer::YesOrNo(0.0), &yes()), 0.666_666_7);
        close(measure(Metric::Auc, Answer::YesOrNo(0.0), &yes()), 0.75);
        // Best classes 1 1 0 2 2 spell 1 2; 0 1 0 1 1 spell 1 1.
        let best = [1, 1, 0, 2, 2, 0, 1, 0, 1, 1];
        let scores = best.iter().flat_map(|class| (0..3).map(move |i| f64::from(i == *class))).collect::<Vec<_>>();
        let spelled = || [(array(&[2, 5, 3], &scores), array(&[2, 3], &[1.0, 2.0, -1.0, 1.0, 2.0, 2.0]))];
        close(measure(Metric::ErrorRate, Answer::Spelling(0), &spelled()), 2.0 / 5.0);
        // Of four and two time steps, 1 1 0 2 and 0 1: they spell 1 2 and 1.
        let measured = MeasuredOutput { output: 0, target: 0, lengths: Some(1), answer: Answer::Spelling(0), metric: Metric::ErrorRate };
        let mut measuring = Measuring::new(measured, None, None);
        let [(output, target)] = spelled();
        measuring.add(&[output], &[target, array(&[2], &[4.0, 2.0])]);
        close(measuring.value(), 2.0 / 5.0);
        // seqeval 1.2: of O B-x I-x and B-x O, two names are found right, B-x O B-x are found; −1 is no label.
        let names = ["O", "B-x", "I-x"].map(str::to_owned);
        let labels = [0.0, 1.0, 2.0, 1.0, 0.0, -1.0];
        let measured = MeasuredOutput { output: 0, target: 1, lengths: None, answer: Answer::Labels, metric: Metric::EntityF1 };
        let mut measuring = Measuring::new(measured, Some(&names), None);
        let best = [0, 1, 2, 1, 1, 1].iter().flat_map(|class| (0..3).map(move |i| f64::from(i == *class))).collect::<Vec<_>>();
        measuring.add(&[array(&[2, 3, 3], &best)], &[array(&[1], &[0.0]), array(&[2, 3], &labels)]);
        close(measuring.value(), 0.8);
        let numbers = || [(array(&[3], &[1.0, 2.0, 4.0]), array(&[3], &[1.0, 1.0, 2.0]))];
        close(measure(Metric::MeanAbsoluteError, Answer::Values, &numbers()), 1.0);
        close(measure(Metric::MeanSquaredError, Answer::Values, &numbers()), 5.0 / 3.0);
    }
}
