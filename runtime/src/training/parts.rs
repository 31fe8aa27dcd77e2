//! Which samples serve what: to learn from, to validate with, to test.

use super::data::{Dataset, Splits};
use super::order::held_back;
use super::recipe::Recipe;

/// Samples that serve one purpose.
pub struct Part<'d> {
    /// What they are called: `train`, `validation`, `test`.
    pub name: &'static str,
    /// The data they are of.
    pub dataset: &'d Dataset,
    /// Which of them.
    pub samples: Vec<usize>,
}

impl<'d> Part<'d> {
    /// All samples of a dataset.
    pub fn all(name: &'static str, dataset: &'d Dataset) -> Part<'d> {
        Part { name, dataset, samples: (0..dataset.len()).collect() }
    }
}

/// The samples of a training.
pub struct Parts<'d> {
    /// What it learns from.
    pub train: Part<'d>,
    /// What decides when to stop: what the data say, else what is held back of the rest.
    pub validation: Option<Part<'d>>,
    /// What it is measured by in the end.
    pub test: Option<Part<'d>>,
}

impl<'d> Parts<'d> {
    /// The parts of data, where the recipe's share of the training data is held back if nothing in them is for validation.
    pub fn new(recipe: &Recipe, splits: &'d Splits) -> Parts<'d> {
        let mut train = Part::all("train", &splits.train);
        let mut validation = splits.validation.as_ref().map(|dataset| Part::all("validation", dataset));
        if validation.is_none() && recipe.validation > 0.0 && train.samples.len() > 1 {
            let (learnt, held) = held_back(train.samples.len(), recipe.validation, recipe.seed);
            train.samples = learnt;
            validation = Some(Part { name: "validation", dataset: &splits.train, samples: held });
        }
        Parts { train, validation, test: splits.test.as_ref().map(|dataset| Part::all("test", dataset)) }
    }

    /// What each epoch is measured by.
    pub fn measured(&self) -> Option<&Part<'d>> {
        self.validation.as_ref().or(self.test.as_ref())
    }
}
