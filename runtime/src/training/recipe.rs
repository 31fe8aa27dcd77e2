//! How a network is trained, as data: what a compiled trainer carries beside its code, and what model files say about it.

use kiln_ir::DType;
use kiln_ir::artifact::{CtcOutput, TextInput, WeightsDecl};
use kiln_ir::initialiser::Initialiser;
use serde::{Deserialize, Serialize};

/// Everything that training needs beside the code of a step.
///
/// A step takes, in this order: `data`, the key of its random numbers (`u64[]`), the learning rate (`f64[]`), the number of the
/// update (`i64[]`, 1 at first), whether this step ends with an update (`bool[]`, only where `schedule.accumulate` > 1), `fixed`, `states`.
/// It gives the loss and the states. Evaluation takes `data`, `fixed` and the first `parameters` of the states; it gives the loss
/// and what the network gives. The trace takes `data`, the key, `fixed` and `parameters`; it gives for each of `layers` whether its
/// numbers are finite.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recipe {
    /// Name of the network.
    pub name: String,
    /// What random numbers depend on.
    pub seed: u64,
    /// What comes from the data: inputs, then targets.
    pub data: Vec<DataSlot>,
    /// Parameters that training does not change.
    pub fixed: Vec<Slot>,
    /// What each step changes: parameters, then what the optimiser remembers.
    pub states: Vec<Slot>,
    /// How many of `states` are the network's own.
    pub parameters: usize,
    /// What is trained in the place of some that are `fixed`.
    pub adapters: Vec<Adapter>,
    /// What the trace tells about: inputs and layers, in the order of computation.
    pub layers: Vec<String>,
    /// Where a trainer has the parameters that it begins with, in the safetensors format; `None`: those of the seed.
    pub start: Option<WeightsDecl>,
    /// What the network is made of, for people to read.
    pub summary: Vec<LayerSummary>,
    /// How the steps follow one another.
    pub schedule: Schedule,
    /// What is measured after each epoch.
    pub metrics: Vec<MeasuredOutput>,
    /// When to stop before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// How pictures are varied.
    pub augment: Augment,
    /// Which of `data` has the pictures that are varied: `[batch, channels, height, width]`.
    pub pictures: Option<usize>,
    /// Which of `data` has sounds.
    #[serde(default)]
    pub sounds: Option<SoundSlot>,
    /// How labels that are spelled become text, for metrics of words and characters.
    #[serde(default)]
    pub spelling: Option<CtcOutput>,
    /// How texts become one of `data`.
    pub text: Option<TextInput>,
    /// Digest of the step.
    pub step: String,
    /// Part of the training data that is held back when the data bring nothing to validate with, in 0..1.
    pub validation: f64,
}

/// Where sounds are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoundSlot {
    /// Which of [`Recipe::data`].
    pub slot: usize,
    /// Samples of a second.
    pub rate: u32,
}

/// A layer, or an input, as people read it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LayerSummary {
    /// What it is, and what it is called.
    pub name: String,
    /// Type of what it gives: `f32[batch, 10]`.
    pub gives: String,
    /// How many numbers its parameters have; those that it shares count where they are used first.
    pub parameters: usize,
}

/// What is added to a matrix that stays: `scale` times the product of two narrow ones.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Adapter {
    /// Which of `fixed` it is.
    pub weight: usize,
    /// Which of `states` has its rows.
    pub first: usize,
    /// Which of `states` has its columns.
    pub second: usize,
    /// The factor.
    pub scale: f64,
}

/// Something that comes from the data.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DataSlot {
    /// Its name in the model file: `image`; of a target that of the output: `scores`.
    pub name: String,
    /// Whether it is what the network should give.
    pub is_target: bool,
    /// Which axis counts the samples.
    pub batch_axis: usize,
    /// Which numbers it may have.
    pub allowed: Allowed,
}

impl DataSlot {
    /// Of how many classes it has the numbers, if it does.
    pub fn classes(&self) -> Option<usize> {
        match self.allowed {
            Allowed::Classes(_, largest) => usize::try_from(largest + 1).ok(),
            Allowed::Anything | Allowed::Probabilities | Allowed::Signs | Allowed::Lengths => None,
        }
    }
}

/// Which numbers make sense as a target; others would train in silence for something else than is meant.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// All.
    Anything,
    /// Classes from the first to the last of these.
    Classes(i64, i64),
    /// Those from 0 to 1.
    Probabilities,
    /// −1 and 1.
    Signs,
    /// Numbers of time steps. Only they are targets that are no output's.
    Lengths,
}

impl Allowed {
    /// Whether the number is one of them.
    pub fn has(self, value: f64) -> bool {
        match self {
            Allowed::Anything => true,
            Allowed::Classes(least, largest) => (least as f64..=largest as f64).contains(&value),
            // Rounded quotients may exceed 1 by a little.
            Allowed::Probabilities => (-1e-6..=1.0 + 1e-6).contains(&value),
            Allowed::Signs => value.abs() == 1.0,
            Allowed::Lengths => value >= 0.0,
        }
    }

    /// What they are, in words.
    pub fn text(self) -> String {
        match self {
            Allowed::Anything => "all numbers".into(),
            Allowed::Classes(_, largest) => format!("classes, numbered from 0 to {largest}"),
            Allowed::Probabilities => "probabilities, from 0 to 1".into(),
            Allowed::Signs => "-1 and 1".into(),
            Allowed::Lengths => "numbers of time steps, from 0 on".into(),
        }
    }
}

/// A tensor that a step takes and that comes from no data.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// Its name: that of a parameter, with `/adam.mean` or the like behind it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Its values before the first step.
    pub initial: Initial,
}

/// Values before the first step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Initial {
    /// By the seed and the name.
    Drawn {
        /// How.
        initialiser: Initialiser,
        /// Inputs that each output sums, and the reverse.
        fans: (usize, usize),
    },
    /// Those of the state at that place: a running mean of it.
    Of(usize),
}

/// How the steps follow one another.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// Passes over the training data.
    pub epochs: u32,
    /// Samples in a step.
    pub batch: u32,
    /// Steps whose gradients are averaged for one update.
    pub accumulate: u32,
    /// The learning rate that `rate` varies.
    pub learning_rate: f64,
    /// How it changes.
    pub rate: RateSchedule,
    /// Epochs, or parts of one, in which it rises evenly from 0.
    pub warmup: f64,
}

/// How the learning rate changes with time, where 0 is the end of the warm-up and 1 the end of training.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum RateSchedule {
    /// Not at all.
    Constant,
    /// Times `factor` every so many epochs.
    Step {
        /// Epochs.
        every: u32,
        /// What it is multiplied by.
        factor: f64,
    },
    /// Times `factor` every epoch, evenly in between.
    Exponential {
        /// What it is multiplied by.
        factor: f64,
    },
    /// Half a cosine down to the part `last`. *Source*: Loshchilov & Hutter 2017, equation 5, without restarts.
    Cosine {
        /// What is left of it at the end.
        last: f64,
    },
    /// A straight line to the part `last`.
    Linear {
        /// What is left of it at the end.
        last: f64,
    },
    /// Half a cosine up from the part `first`, at `peak` of the time the whole, half a cosine down to the part `last`.
    /// *Source*: Smith & Topin 2018; the defaults are PyTorch's.
    OneCycle {
        /// Where it begins.
        first: f64,
        /// When it is whole, in 0..1.
        peak: f64,
        /// What is left of it at the end.
        last: f64,
    },
    /// Times `factor` whenever the loss of validation has not fallen for so many epochs, down to the part `least`.
    ReduceOnPlateau {
        /// Epochs without a better loss.
        patience: u32,
        /// What it is multiplied by.
        factor: f64,
        /// What is always left of it.
        least: f64,
    },
}

/// A metric of one output.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeasuredOutput {
    /// Which output.
    pub output: usize,
    /// Which of `data` has its targets.
    pub target: usize,
    /// Which of `data` has the numbers of time steps that count; `None`: all do.
    pub lengths: Option<usize>,
    /// How outputs answer targets.
    pub answer: Answer,
    /// What is measured.
    pub metric: Metric,
}

/// How outputs answer targets.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Scores of classes along the last axis; the targets are numbers of classes.
    Labels,
    /// Scores of classes along the last axis; the targets are probabilities.
    Distribution,
    /// Each is a yes above this number; the targets are above one half where it is right.
    YesOrNo(f64),
    /// Scores of classes for each time step, `[batch, time, classes]`, of which this one stands for nothing; the targets are labels,
    /// `[batch, n]`, padded with −1.
    Spelling(usize),
    /// Numbers.
    Values,
}

/// What is measured of outputs against targets.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Metric {
    /// Part of the labels that are the most likely class; of yes-or-no outputs, the part on the right side.
    Accuracy,
    /// Part of the labels among the k most likely classes.
    TopK(u32),
    /// Of what was called a class, the part that is it; the mean over classes.
    Precision,
    /// Of what is a class, the part that was called it; the mean over classes.
    Recall,
    /// The harmonic mean of both for each class; the mean over classes.
    F1,
    /// How often a yes scores above a no: the area under the receiver operating characteristic.
    Auc,
    /// Mean absolute error.
    MeanAbsoluteError,
    /// Mean squared error.
    MeanSquaredError,
    /// Labels that must be inserted, left out or exchanged to make what is spelled what should be, by the number of those that should:
    /// the word or character error rate, by what labels stand for.
    ErrorRate,
    /// The same of the words of the text that labels spell.
    WordErrorRate,
    /// The same of its characters.
    CharacterErrorRate,
    /// The harmonic mean of precision and recall of whole names among labelled words, B-TYPE, I-TYPE, O, over all types together.
    EntityF1,
}

/// When to stop.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// Epochs without a better loss of validation.
    pub patience: u32,
    /// By how much it must be better to count.
    pub least_gain: f64,
}

/// How pictures are varied, by chance for each sample and epoch.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Augment {
    /// Mirrored from left to right, every second one.
    pub flip: bool,
    /// Moved by up to so many pixels each way.
    pub shift: u32,
    /// Turned by up to so many degrees each way.
    pub rotate: f64,
    /// Made larger or smaller by up to this part.
    pub zoom: f64,
    /// A square of this side set to 0. *Source*: DeVries & Taylor 2017.
    pub cutout: u32,
    /// Normal noise added: of this deviation; to sounds, of a deviation drawn up to this part of their loudness.
    pub noise: f64,
    /// Of sounds: played faster or slower, and so higher or lower, by up to this part.
    pub speed: f64,
    /// Of sounds: moved by up to so many seconds each way, where the network takes a fixed number of samples.
    pub time_shift: f64,
    /// Of sounds: louder or softer by up to so many decibels.
    pub gain: f64,
}

impl Augment {
    /// Whether nothing is varied.
    pub fn is_none(&self) -> bool {
        *self == Augment::default()
    }

    /// The first choice that only pictures have, if there is one.
    pub fn of_pictures(&self) -> Option<&'static str> {
        let choices = [
            ("flip", self.flip),
            ("shift", self.shift > 0),
            ("rotate", self.rotate > 0.0),
            ("zoom", self.zoom > 0.0),
            ("cutout", self.cutout > 0),
        ];
        choices.into_iter().find(|(_, chosen)| *chosen).map(|(name, _)| name)
    }

    /// The first choice that only sounds have, if there is one.
    pub fn of_sounds(&self) -> Option<&'static str> {
        let choices = [("speed", self.speed > 0.0), ("time_shift", self.time_shift > 0.0), ("gain", self.gain > 0.0)];
        choices.into_iter().find(|(_, chosen)| *chosen).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::Allowed;

    #[test]
    fn targets_are_what_their_loss_takes() {
        let of = |allowed: Allowed| [-1.0, 0.0, 0.5, 1.0, 2.0, f64::NAN].map(|value| allowed.has(value));
        assert_eq!(of(Allowed::Anything), [true; 6]);
        assert_eq!(of(Allowed::Classes(0, 1)), [false, true, true, true, false, false]);
        assert_eq!(of(Allowed::Classes(-1, 2)), [true, true, true, true, true, false]);
        assert_eq!(of(Allowed::Probabilities), [false, true, true, true, false, false]);
        assert_eq!(of(Allowed::Signs), [true, false, false, true, false, false]);
        assert_eq!(of(Allowed::Lengths), [false, true, true, true, true, false]);
    }
}
