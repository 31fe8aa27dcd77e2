//! Opens a model: maps the file, checks its structure, decodes the messages, finds the operator sets.

use super::external::{ExternalFiles, map_file};
use super::proto::{ModelProto, OperatorSetIdProto, TensorProto};
use super::tensor::TensorData;
use super::wire_scan::{Root, scan};
use bytes::Bytes;
use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use prost::Message as _;
use std::collections::BTreeMap;
use std::path::Path;

/// The oldest operator set whose semantics are implemented.
pub const OLDEST_OPSET: i64 = 1;
/// The newest one; later sets are tried, and an operator that changed since is refused by name.
pub const NEWEST_OPSET: i64 = 28;

/// A decoded model and the files its weights are in.
#[derive(Debug)]
pub struct Model {
    /// The messages.
    pub proto: ModelProto,
    /// Operator set version per domain; the standard domain is the empty name.
    pub opsets: BTreeMap<String, i64>,
    /// Where external tensors come from.
    pub files: ExternalFiles,
    /// Size of the model file, without external data; budgets are multiples of it.
    pub file_bytes: usize,
}

/// Opens the model at `path`.
///
/// Errors: `file` (cannot be read), those of [`decode`].
pub fn load(path: &Path) -> Result<Model, Diagnostic> {
    let bytes = map_file(path).map_err(|error| file_error("open", path, &error))?;
    decode(bytes, ExternalFiles::beside(path)).map_err(|d| d.at(path.display().to_string(), "this file"))
}

/// Decodes a model from memory; `files` says where external data may come from.
///
/// Errors: `onnx_empty`, `onnx_no_graph`, `onnx_opset`, and those of [`scan`].
pub fn decode(bytes: Bytes, files: ExternalFiles) -> Result<Model, Diagnostic> {
    recognise(&bytes)?;
    scan(&bytes, Root::Model)?;
    let file_bytes = bytes.len();
    let proto =
        ModelProto::decode(bytes).map_err(|error| Diagnostic::new("onnx_malformed", format!("the file is not an ONNX model: {error}")))?;
    if proto.graph.is_none() {
        return Err(Diagnostic::new("onnx_no_graph", "the file holds no graph")
            .help("is this an ONNX model? A tensor (`.pb`) or another protobuf file looks like this"));
    }
    let opsets = opsets(&proto.opset_import)?;
    Ok(Model { proto, opsets, files, file_bytes })
}

/// Reads a `.pb` file with one tensor, as test data comes.
///
/// Errors: `file`, those of [`scan`] and of [`TensorData::decode`].
pub fn load_tensor(path: &Path) -> Result<(String, TensorData), Diagnostic> {
    let place = path.display().to_string();
    let bytes = map_file(path).map_err(|error| file_error("open", path, &error))?;
    scan(&bytes, Root::Tensor).map_err(|d| d.at(place.clone(), "this file"))?;
    let tensor = TensorProto::decode(bytes).map_err(|error| {
        Diagnostic::new("onnx_malformed", format!("the file is not an ONNX tensor: {error}")).at(place.clone(), "this file")
    })?;
    let data = TensorData::decode(&tensor, &mut ExternalFiles::beside(path)).map_err(|d| d.at(place, "this file"))?;
    Ok((tensor.name, data))
}

/// Versions per domain, with `ai.onnx` under its short name, the empty one.
///
/// Errors: `onnx_opset` when a domain comes twice with different versions or a version is not a positive number.
pub fn opsets(imports: &[OperatorSetIdProto]) -> Result<BTreeMap<String, i64>, Diagnostic> {
    let mut versions = BTreeMap::new();
    for import in imports {
        let domain = canonical_domain(&import.domain).to_string();
        let version = import.version;
        if version < OLDEST_OPSET {
            return Err(Diagnostic::new("onnx_opset", format!("operator set version {version}"))
                .at(format!("domain \"{}\"", import.domain), "versions count from 1"));
        }
        if let Some(earlier) = versions.insert(domain, version)
            && earlier != version
        {
            return Err(Diagnostic::new("onnx_opset", "an operator set is imported twice")
                .at(format!("domain \"{}\"", import.domain), format!("versions {earlier} and {version}")));
        }
    }
    Ok(versions)
}

/// `ai.onnx` and the empty name are one domain.
pub fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Refuses files that are recognisably something else, before the decoder calls them damaged.
fn recognise(bytes: &[u8]) -> Result<(), Diagnostic> {
    const OTHERS: [(&[u8], &str, &str); 5] = [
        (b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` to get the model itself"),
        (b"PK\x03\x04", "a zip archive", "unpack it first; a PyTorch checkpoint must be exported to ONNX"),
        (b"\x1f\x8b", "gzip-compressed", "unpack it first"),
        (b"\x89HDF\r\n", "an HDF5 file", "export the model to ONNX"),
        (b"<", "a text or web page", "the download went wrong: fetch the file itself"),
    ];
    if bytes.is_empty() {
        return Err(Diagnostic::new("onnx_empty", "the file is empty").help("copy or download the file again and compare its size"));
    }
    match OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        Some((_, what, help)) => Err(Diagnostic::new("onnx_malformed", format!("the file is not an ONNX model: it is {what}")).help(*help)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{GraphProto, NodeProto, ValueInfoProto};
    use super::*;

    fn model() -> ModelProto {
        let weight =
            TensorProto { name: "w".into(), dims: vec![64], data_type: 1, raw_data: Bytes::from(vec![1u8; 256]), ..Default::default() };
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: "ai.onnx".into(), version: 17 }],
            graph: Some(Box::new(GraphProto {
                node: vec![NodeProto {
                    op_type: "Add".into(),
                    input: vec!["x".into(), "w".into()],
                    output: vec!["y".into()],
                    ..Default::default()
                }],
                initializer: vec![weight],
                input: vec![ValueInfoProto { name: "x".into(), ..Default::default() }],
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    #[test]
    fn weights_are_slices_of_the_mapped_file() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("m.onnx");
        std::fs::write(&path, model().encode_to_vec()).expect("write");
        let mapped = map_file(&path).expect("map");
        let range = mapped.as_ptr_range();
        let mut model = decode(mapped.clone(), ExternalFiles::beside(&path)).expect("valid model");
        assert_eq!(model.opsets.get(""), Some(&17));
        let graph = model.proto.graph.as_ref().expect("graph");
        let data = TensorData::decode(&graph.initializer[0], &mut model.files).expect("weight");
        assert!(range.contains(&data.bytes.as_ptr()));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_smaller_model() {
        let whole = Bytes::from(model().encode_to_vec());
        for end in 0..whole.len() {
            if let Err(error) = decode(whole.slice(..end), ExternalFiles::default()) {
                assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error_or_another_model() {
        let whole = model().encode_to_vec();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(mut model) = decode(damaged.into(), ExternalFiles::default()) {
                    for tensor in &model.proto.graph.as_ref().expect("checked").initializer {
                        drop(TensorData::decode(tensor, &mut model.files));
                    }
                }
            }
        }
    }

    #[test]
    fn other_files_are_named() {
        let message = |bytes: &'static [u8]| decode(Bytes::from_static(bytes), ExternalFiles::default()).expect_err("refused").message;
        assert_eq!(message(b""), "the file is empty");
        assert!(message(b"PK\x03\x04....").contains("zip archive"));
        assert!(message(b"version https://git-lfs.github.com/spec/v1").contains("Git LFS"));
        assert!(message(b"\x08\x08").contains("no graph"));
        assert!(load(Path::new("/nonexistent/m.onnx")).expect_err("refused").message.contains("cannot open"));
    }
}
