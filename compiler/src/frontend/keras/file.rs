//! Keras files: which kind one is, by its first bytes, and its parts.

use super::super::model::tree::{Mistake, Node, read_json};
use super::weights::{Weights, texts};
use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use kiln_runtime::zip::Archive;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The parts of a file.
pub struct Parts {
    /// The config of the model, JSON.
    pub config: String,
    /// What is said of training, JSON, where it does not stand in the config.
    pub training: Option<String>,
    /// The version of Keras that wrote the file.
    pub version: Option<String>,
    /// The values of parameters.
    pub weights: Option<Weights>,
}

/// Whether a file is to be read as Keras's: it is named so, or it is a JSON file that holds an object of Keras rather than layers of
/// a model file.
pub fn is_keras(path: &Path) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("keras" | "h5" | "hdf5") => true,
        Some("json") => std::fs::read_to_string(path).is_ok_and(|text| is_config(&text)),
        _ => false,
    }
}

/// Whether a text is a config of Keras.
pub fn is_config(text: &str) -> bool {
    read_json(text).is_ok_and(|root| ["class_name", "config"].iter().all(|name| root.field(name).is_some()))
}

/// Reads the parts. Errors: `file`, `keras_file`.
pub fn read(path: &Path) -> Result<Parts, Vec<Diagnostic>> {
    let unreadable = |error: std::io::Error| vec![file_error("read", path, &error)];
    let mut file = File::open(path).map_err(unreadable)?;
    let mut first = Vec::new();
    (&mut file).take(8).read_to_end(&mut first).map_err(unreadable)?;
    let wrong = |mistake: Mistake| {
        let error = Diagnostic::new("keras_file", mistake.message).at(path.display().to_string(), "this file");
        vec![mistake.help.into_iter().fold(error, Diagnostic::help)]
    };
    if first.starts_with(b"PK\x03\x04") {
        return archive(file).map_err(wrong);
    }
    if first.starts_with(b"\x89HDF\r\n\x1a\n") {
        return hdf5(std::fs::read(path).map_err(unreadable)?).map_err(wrong);
    }
    if first.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let config = std::fs::read_to_string(path).map_err(unreadable)?;
        return Ok(Parts { config, training: None, version: None, weights: None });
    }
    let mistake = Mistake::new("this is neither a .keras archive, nor HDF5, nor a config in JSON");
    Err(wrong(mistake.help("save the model with model.save(\"model.keras\")")))
}

/// A `.keras` archive.
fn archive(file: File) -> Result<Parts, Mistake> {
    let mut archive = Archive::open(file).map_err(|error| Mistake::new(format!("the archive cannot be read: {error}")))?;
    let mut part = |name: &str| -> Result<Option<Vec<u8>>, Mistake> {
        let Some(at) = archive.entries.iter().position(|entry| entry.name == name) else { return Ok(None) };
        let most = archive.entries[at].bytes;
        let bytes = archive.read(at, |source| {
            let mut bytes = Vec::new();
            // The checksum is compared at the end of what the table of contents promises.
            source.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            Ok(bytes)
        });
        bytes.map(Some).map_err(|reason| Mistake::new(format!("`{name}` in the archive: {reason}")))
    };
    let text = |bytes: Vec<u8>, name: &str| String::from_utf8(bytes).map_err(|_| Mistake::new(format!("`{name}` is no text")));
    let config = part("config.json")?.ok_or_else(|| Mistake::new("the archive has no config.json: it is no Keras model"))?;
    let config = text(config, "config.json")?;
    let metadata = part("metadata.json")?.map(|bytes| text(bytes, "metadata.json")).transpose()?;
    let metadata = metadata.and_then(|text| read_json(&text).ok());
    let version = metadata.and_then(|node| node.field("keras_version").and_then(Node::text).map(str::to_string));
    let weights = part("model.weights.h5")?.ok_or_else(|| {
        Mistake::new("the archive has no model.weights.h5").help("a config alone is read as a .json file, with first values for training")
    })?;
    let weights = Some(Weights::ByPlace(Weights::open(weights)?));
    Ok(Parts { config, training: None, version, weights })
}

/// A file of Keras 2's format.
fn hdf5(bytes: Vec<u8>) -> Result<Parts, Mistake> {
    let file = Weights::open(bytes)?;
    let attributes = file.root().attrs().map_err(|error| Mistake::new(format!("the HDF5 file is damaged: {error}")))?;
    let text = |name: &str| attributes.get(name).and_then(texts).and_then(|texts| texts.into_iter().next());
    let config = text("model_config").ok_or_else(|| {
        Mistake::new("the file has weights but no model").help("save the whole model with model.save, not its weights alone")
    })?;
    let (training, version) = (text("training_config"), text("keras_version"));
    Ok(Parts { config, training, version, weights: Some(Weights::ByLayer(file)) })
}
