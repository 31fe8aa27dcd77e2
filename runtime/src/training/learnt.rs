//! What training finds out about its data beside the parameters, and what goes with them: names of classes and the vocabulary of texts.
//!
//! It stands as JSON in the metadata of `model.safetensors`, so that the file alone is enough to evaluate, predict and compile.

use super::checkpoint;
use kiln_ir::Diagnostic;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// See the head of this file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Learnt {
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// What the classes are called, if the data say so.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// The tokens of texts, if the data say which there are: see `TextInput::vocabulary`.
    #[serde(default)]
    pub vocabulary: Option<Vec<String>>,
}

impl Learnt {
    /// What a file of parameters says; nothing where another program wrote it. Errors: `file`; `checkpoint` when it is damaged.
    pub fn of_file(path: &Path) -> Result<Learnt, Diagnostic> {
        let (_, text) = checkpoint::load(path, [])?;
        Ok(Learnt::of_text(&text))
    }

    /// What the metadata of such a file say.
    pub fn of_text(text: &str) -> Learnt {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// As metadata.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| panic!("what was learnt: {error}"))
    }
}
