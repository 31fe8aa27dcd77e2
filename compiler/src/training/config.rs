//! How a network is trained, as model files say it.

use crate::optim::Optimiser;
use kiln_ir::DType;
use kiln_ir::artifact::Scores;
use kiln_runtime::training::meaning::Meaning;
use kiln_runtime::training::recipe::{Allowed, Answer, Augment, EarlyStopping, Metric, Schedule};
use std::sync::Arc;

/// A `[train]` table, or what another format says instead.
#[derive(Clone, Debug)]
pub struct TrainingConfig {
    /// What is minimised: the sum of these.
    pub losses: Vec<LossTerm>,
    /// How parameters follow their gradients.
    pub optimiser: Arc<dyn Optimiser>,
    /// What it is called in checkpoints.
    pub optimiser_name: &'static str,
    /// Bound of the norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// Bound of each element of each gradient.
    pub clip_value: Option<f64>,
    /// Part of the running mean of each parameter that stays after each update, in 0..1: evaluation and the final model use the means.
    pub ema: Option<f64>,
    /// The type that forward and backward pass are computed in, if it is not that of the network: parameters keep theirs.
    pub precision: Option<DType>,
    /// Parameters that stay as they are: names, in which `*` stands for anything.
    pub freeze: Vec<String>,
    /// How the steps follow one another.
    pub schedule: Schedule,
    /// What is measured after each epoch, of each output; `None`: what suits its loss.
    pub metrics: Option<Vec<Metric>>,
    /// When to stop before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// How pictures are varied.
    pub augment: Augment,
    /// Part of the training data that is held back when the data bring nothing to validate with.
    pub validation: f64,
}

impl TrainingConfig {
    /// What the first output, of that name if it has one, means by its loss.
    pub fn first_scores(&self, output: Option<&str>) -> Option<Scores> {
        let own = self.losses.iter().find(|term| term.output.as_deref().is_none_or(|name| Some(name) == output))?;
        match own.loss.meaning() {
            Meaning::Classes { logits: true } => Some(Scores::Logits),
            Meaning::YesOrNo { logits: true } => Some(Scores::YesOrNoLogits),
            Meaning::YesOrNo { logits: false } => Some(Scores::YesOrNo),
            Meaning::Classes { logits: false } | Meaning::Sides | Meaning::Values => None,
        }
    }
}

/// What one output costs.
#[derive(Clone, PartialEq, Debug)]
pub struct LossTerm {
    /// Which output; `None`: the only one.
    pub output: Option<String>,
    /// Its part in the sum.
    pub weight: f64,
    /// How it is compared with its target.
    pub loss: Loss,
}

/// How an output is compared with its target; see [`crate::losses`].
#[derive(Clone, PartialEq, Debug)]
pub enum Loss {
    /// Scores of classes against the number of the right one.
    SparseCrossEntropy {
        /// Whether the output is logits rather than probabilities.
        logits: bool,
        /// Part of the target that is spread over all classes.
        label_smoothing: f64,
        /// What mistakes on each class count; none: all the same.
        class_weights: Vec<f64>,
    },
    /// Scores of classes against probabilities.
    CrossEntropy {
        /// Whether the output is logits rather than probabilities.
        logits: bool,
        /// Part of the target that is spread over all classes.
        label_smoothing: f64,
    },
    /// Scores of yes or no, each by itself.
    BinaryCrossEntropy {
        /// Whether the output is logits rather than probabilities.
        logits: bool,
        /// Part of the target that is spread over both.
        label_smoothing: f64,
    },
    /// Logarithms of probabilities against probabilities.
    KlDivergence,
    /// Mean squared error.
    MeanSquaredError,
    /// Mean absolute error.
    MeanAbsoluteError,
    /// Squared near 0, straight further out than `delta`.
    Huber(f64),
    /// That divided by `beta`.
    SmoothL1(f64),
    /// Hinge, for targets −1 and 1.
    Hinge,
    /// Connectionist temporal classification of logits against labels, padded with −1.
    Ctc {
        /// The class that stands for nothing.
        blank: usize,
        /// Whether labels that cannot be spelled cost nothing.
        drop_impossible: bool,
        /// What the data call the numbers of time steps that count, one for each sample; `None`: all count.
        input_lengths: Option<String>,
    },
}

impl Loss {
    /// Whether targets are numbers of classes, without an axis for them.
    pub fn takes_labels(&self) -> bool {
        matches!(self, Loss::SparseCrossEntropy { .. })
    }

    /// Which targets make sense for an output of so many classes, if their number is known.
    pub fn allowed(&self, classes: Option<i64>) -> Allowed {
        match (self, classes) {
            (Loss::SparseCrossEntropy { .. }, Some(classes)) => Allowed::Classes(0, classes - 1),
            // −1 is the padding of a spelling.
            (Loss::Ctc { .. }, Some(classes)) => Allowed::Classes(-1, classes - 1),
            (Loss::CrossEntropy { .. } | Loss::BinaryCrossEntropy { .. } | Loss::KlDivergence, _) => Allowed::Probabilities,
            (Loss::Hinge, _) => Allowed::Signs,
            _ => Allowed::Anything,
        }
    }

    /// How outputs that it is of answer their targets.
    pub fn answer(&self) -> Answer {
        match self {
            Loss::SparseCrossEntropy { .. } => Answer::Labels,
            Loss::CrossEntropy { .. } | Loss::KlDivergence => Answer::Distribution,
            Loss::Ctc { blank, .. } => Answer::Spelling(*blank),
            Loss::BinaryCrossEntropy { logits: false, .. } => Answer::YesOrNo(0.5),
            Loss::BinaryCrossEntropy { logits: true, .. } | Loss::Hinge => Answer::YesOrNo(0.0),
            Loss::MeanSquaredError | Loss::MeanAbsoluteError | Loss::Huber(_) | Loss::SmoothL1(_) => Answer::Values,
        }
    }

    /// What outputs that it is of mean to whoever reads them.
    pub fn meaning(&self) -> Meaning {
        match self {
            Loss::SparseCrossEntropy { logits, .. } | Loss::CrossEntropy { logits, .. } => Meaning::Classes { logits: *logits },
            // The softmax of logarithms of probabilities is the probabilities.
            Loss::KlDivergence => Meaning::Classes { logits: true },
            Loss::BinaryCrossEntropy { logits, .. } => Meaning::YesOrNo { logits: *logits },
            Loss::Hinge => Meaning::Sides,
            Loss::MeanSquaredError | Loss::MeanAbsoluteError | Loss::Huber(_) | Loss::SmoothL1(_) | Loss::Ctc { .. } => Meaning::Values,
        }
    }

    /// What is usually measured beside it.
    pub fn usual_metric(&self) -> Metric {
        match self {
            Loss::SparseCrossEntropy { .. } | Loss::CrossEntropy { .. } | Loss::BinaryCrossEntropy { .. } | Loss::Hinge => Metric::Accuracy,
            Loss::Ctc { .. } => Metric::ErrorRate,
            Loss::KlDivergence | Loss::MeanSquaredError | Loss::MeanAbsoluteError | Loss::Huber(_) | Loss::SmoothL1(_) => {
                Metric::MeanAbsoluteError
            }
        }
    }
}
