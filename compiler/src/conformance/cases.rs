//! Test cases on disk: a model and data sets of inputs with the outputs they must give.

use super::agreement::Tolerance;
use crate::frontend::onnx::load::load_tensor;
use crate::frontend::onnx::proto::{ModelProto, TypeValue, ValueInfoProto};
use kiln_ir::{Diagnostic, Graph, Tensor};
use kiln_runtime::files::file_error;
use std::path::{Path, PathBuf};

/// ONNX's number for strings.
const STRING: i32 = 8;

/// Case directories among and below `roots`, each in the order of names. A case has a `model.onnx`; nothing is searched below it.
///
/// Errors: `file`; `no_cases` when a root holds none.
pub fn find(roots: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut cases = Vec::new();
    for root in roots {
        let before = cases.len();
        search(root, 0, &mut cases)?;
        if cases.len() == before {
            let error = Diagnostic::new("no_cases", format!("{} holds no test case", root.display()));
            return Err(error.help("a case is a directory with model.onnx and test_data_set_0/input_0.pb, output_0.pb"));
        }
    }
    Ok(cases)
}

fn search(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Diagnostic> {
    if directory.join("model.onnx").is_file() {
        found.push(directory.to_owned());
        return Ok(());
    }
    if depth < 4 {
        for child in entries(directory)?.into_iter().filter(|path| path.is_dir()) {
            search(&child, depth + 1, found)?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let failed = |error: &std::io::Error| file_error("read", directory, error);
    let listed = std::fs::read_dir(directory).map_err(|error| failed(&error))?;
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    paths.sort();
    Ok(paths)
}

/// Why a case needs what Kiln has no types for, if it does.
pub fn skip_reason(model: &ModelProto) -> Option<String> {
    let graph = model.graph.as_ref()?;
    let kinds = [("input", &graph.input), ("output", &graph.output)];
    kinds.iter().find_map(|(kind, values)| values.iter().find_map(|value| Some(format!("{kind} \"{}\" {}", value.name, odd(value)?))))
}

fn odd(value: &ValueInfoProto) -> Option<&'static str> {
    match value.r#type.as_ref()?.value.as_ref()? {
        TypeValue::Tensor(tensor) if tensor.elem_type == STRING => Some("holds text"),
        TypeValue::Tensor(_) => None,
        TypeValue::Sequence(_) => Some("is a sequence"),
        TypeValue::Map(_) => Some("is a map"),
        TypeValue::Optional(_) => Some("is optional"),
        TypeValue::SparseTensor(_) => Some("is a sparse tensor"),
    }
}

/// The tolerance in `tol.txt` (relative, absolute), else 1e-3 and 1e-7.
///
/// Errors: `tolerance` when the file holds something else.
pub fn tolerance(case: &Path) -> Result<Tolerance, Diagnostic> {
    let path = case.join("tol.txt");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(Tolerance { relative: 1e-3, absolute: 1e-7 }) };
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).filter(|n: &f64| *n >= 0.0).collect();
    match (numbers.as_slice(), text.split_whitespace().count()) {
        ([relative, absolute], 2) => Ok(Tolerance { relative: *relative, absolute: *absolute }),
        _ => Err(Diagnostic::new("tolerance", format!("{} must hold two numbers, relative and absolute", path.display()))),
    }
}

/// The data sets of a case, in the order of their names.
pub fn data_sets(case: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let is_set = |path: &PathBuf| path.is_dir() && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("test_data_set_"));
    Ok(entries(case)?.into_iter().filter(is_set).collect())
}

/// Inputs and expected outputs of a data set, in the order of the graph.
pub struct DataSet {
    /// What goes in.
    pub inputs: Vec<Tensor>,
    /// What must come out.
    pub outputs: Vec<Tensor>,
}

impl DataSet {
    /// Reads a data set for a graph. Files bear numbers; where all tensors bear names of the graph, these count.
    ///
    /// Errors: `file`, what decoding reports, `data_set` when there are fewer files than inputs or outputs.
    pub fn read(directory: &Path, graph: &Graph) -> Result<DataSet, Diagnostic> {
        let names = |list: &[(String, kiln_ir::Value)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let inputs = in_order(directory, "input", &names(graph.inputs()))?;
        let outputs = in_order(directory, "output", &names(graph.outputs()))?;
        Ok(DataSet { inputs, outputs })
    }
}

fn in_order(directory: &Path, kind: &str, names: &[String]) -> Result<Vec<Tensor>, Diagnostic> {
    let mut found: Vec<(String, Tensor)> = Vec::new();
    for number in 0.. {
        let path = directory.join(format!("{kind}_{number}.pb"));
        if !path.exists() {
            break;
        }
        let (name, data) = load_tensor(&path)?;
        found.push((name, data.to_tensor()?));
    }
    if found.len() < names.len() {
        let message = format!("{} has {} {kind}s, the model {}", directory.display(), found.len(), names.len());
        return Err(Diagnostic::new("data_set", message));
    }
    let by_name = |name: &String| found.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor.clone());
    let named: Option<Vec<Tensor>> = names.iter().map(by_name).collect();
    Ok(named.unwrap_or_else(|| found.iter().take(names.len()).map(|(_, tensor)| tensor.clone()).collect()))
}
