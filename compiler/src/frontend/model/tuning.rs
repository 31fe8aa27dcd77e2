//! Files that say how a network of another file is trained on: a `[train]` table, and `[fine_tune]` with what becomes of the network.
//! ```toml
//! seed = 1
//! [train]
//! loss = "sparse_cross_entropy"
//! freeze = ["conv*"]
//! [fine_tune]
//! replace = [{ pattern = "fc.*", units = 10 }]
//! adapters = { pattern = "*.attention.*", rank = 8, alpha = 16 }
//! ```

use super::read::read;
use super::train::read_train;
use super::tree::{Mistake, Node};
use super::{Language, read_tree};
use crate::training::config::TrainingConfig;
use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::Path;

/// What such a file says.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// What first values of new parameters, the order of samples and dropout depend on.
    pub seed: u64,
    /// How the network is trained; `None`: as its own file says.
    pub train: Option<TrainingConfig>,
    /// Dense layers that begin anew.
    pub replace: Vec<Replacement>,
    /// Matrices that low-rank adapters are trained for.
    pub adapters: Option<Adapters>,
}

/// Dense layers that begin anew, with another number of units.
#[derive(Deserialize, JsonSchema, Clone, PartialEq, Debug)]
#[schemars(deny_unknown_fields)]
pub struct Replacement {
    /// Names of their parameters, in which `*` stands for anything.
    pub pattern: String,
    /// What they give from now on.
    #[schemars(range(min = 1))]
    pub units: u32,
}

/// Low-rank adapters. *Source*: Hu et al. 2021, §4.1.
#[derive(Deserialize, JsonSchema, Clone, PartialEq, Debug)]
#[schemars(deny_unknown_fields)]
pub struct Adapters {
    /// Names of matrices, in which `*` stands for anything.
    pub pattern: String,
    /// The rank of what is added to each.
    #[schemars(range(min = 1))]
    pub rank: u32,
    /// What is added is multiplied by `alpha` / `rank`; the rank if left out.
    pub alpha: Option<f64>,
}

/// The file but for its tables.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Head {
    /// What first values of new parameters, the order of samples and dropout depend on.
    #[serde(default)]
    seed: u64,
    #[serde(rename = "train")]
    #[schemars(skip)]
    _train: Option<IgnoredAny>,
    #[serde(rename = "fine_tune")]
    #[schemars(skip)]
    _fine_tune: Option<IgnoredAny>,
}

/// The table `[fine_tune]`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct Settings {
    /// Dense layers that begin anew.
    replace: Vec<Replacement>,
    /// Low-rank adapters for matrices that stay.
    adapters: Option<Adapters>,
}

/// Reads such a file. Errors: `file`; everything that can be wrong with it, with line and column.
pub fn load_tuning(path: &Path) -> Result<Tuning, Vec<Diagnostic>> {
    let Some(language) = Language::of(path) else {
        let error = Diagnostic::new("tuning_file", format!("{} is no file of settings", path.display()));
        return Err(vec![error.help("write [train] and [fine_tune] into a .toml or .json file")]);
    };
    let text = std::fs::read_to_string(path).map_err(|error| vec![file_error("read", path, &error)])?;
    parse_tuning(&path.display().to_string(), &text, language)
}

/// Reads the text of such a file; `place` is what diagnostics call it. Errors: as [`load_tuning`].
pub fn parse_tuning(place: &str, text: &str, language: Language) -> Result<Tuning, Vec<Diagnostic>> {
    let root = read_tree(place, text, language)?;
    read_root(&root).map_err(|mistake| vec![mistake.told("tuning_value", place)])
}

fn read_root(root: &Node) -> Result<Tuning, Mistake> {
    let head: Head = read(root)?;
    let settings = root.field("fine_tune").map_or(Ok(Settings::default()), read::<Settings>)?;
    let inside = |name: &str| root.field("fine_tune").and_then(|table| table.field(name)).map_or(root.span, |node| node.span);
    if settings.replace.iter().any(|replacement| replacement.units == 0) {
        return Err(Mistake::new("`units` is at least 1").at(inside("replace")));
    }
    if let Some(adapters) = &settings.adapters {
        if adapters.rank == 0 {
            return Err(Mistake::new("`rank` is at least 1").at(inside("adapters")));
        }
        if adapters.alpha.is_some_and(|alpha| !(alpha.is_finite() && alpha > 0.0)) {
            return Err(Mistake::new("`alpha` is a number above 0").at(inside("adapters")));
        }
    }
    let train = root.field("train").map(read_train).transpose()?;
    if let Some(train) = train.as_ref().filter(|train| train.precision.is_some()) {
        let span = root.field("train").map_or(root.span, |node| node.span);
        let name = train.precision.map_or(String::new(), |dtype| dtype.to_string());
        let mistake = Mistake::new(format!("`precision` = \"{name}\" is for model files, whose layers are written for it")).at(span);
        return Err(mistake.help("leave it away: the network is trained in the types of its file"));
    }
    Ok(Tuning { seed: head.seed, train, replace: settings.replace, adapters: settings.adapters })
}
