//! Which samples serve what: to learn from, to validate with, to test.

use super::data::{Dataset, Splits};
use super::order::held_back;
use super::recipe::Recipe;
use kiln_ir::Diagnostic;
use std::str::FromStr;

/// Which samples are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartName {
    /// What is learnt from.
    Train,
    /// What decides when to stop.
    Validation,
    /// What the end is measured by.
    Test,
    /// What would be learnt from if nothing of it were held back.
    All,
}

impl FromStr for PartName {
    type Err = String;

    fn from_str(text: &str) -> Result<PartName, String> {
        match text {
            "train" => Ok(PartName::Train),
            "validation" => Ok(PartName::Validation),
            "test" => Ok(PartName::Test),
            "all" => Ok(PartName::All),
            _ => Err(format!("`{text}` is no part of data: train, validation, test and all are")),
        }
    }
}

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

    /// The part of that name; without one, that for tests, or else that for validation. Errors: `data_part` when there is none.
    pub fn choose(self, name: Option<PartName>) -> Result<Part<'d>, Diagnostic> {
        let all = Part::all("all", self.train.dataset);
        let (what, found) = match name {
            None => ("test nor validation", self.test.or(self.validation)),
            Some(PartName::Train) => ("train", Some(self.train)),
            Some(PartName::Validation) => ("validation", self.validation),
            Some(PartName::Test) => ("test", self.test),
            Some(PartName::All) => ("all", Some(all)),
        };
        found.ok_or_else(|| missing(what))
    }
}

/// The dataset of that part, as the data have it; without a name, that for tests, or else that for validation, or else the only one.
///
/// Errors: `data_part` when there is none.
pub fn dataset_of(splits: &Splits, name: Option<PartName>) -> Result<&Dataset, Diagnostic> {
    let (what, found) = match name {
        None => ("", splits.test.as_ref().or(splits.validation.as_ref()).or(Some(&splits.train))),
        Some(PartName::Train | PartName::All) => ("train", Some(&splits.train)),
        Some(PartName::Validation) => ("validation", splits.validation.as_ref()),
        Some(PartName::Test) => ("test", splits.test.as_ref()),
    };
    found.ok_or_else(|| missing(what))
}

fn missing(what: &str) -> Diagnostic {
    let error = Diagnostic::new("data_part", format!("the data have no part for {what}"));
    error.help("--part all takes every sample of data without parts")
}
