//! Types of the model's inputs: fixed sizes, sizes with a name, sizes without one.
//!
//! A named size becomes a symbol of that name, equal wherever it stands; a size without a name becomes `INPUT_AXIS`.
//! Exporters also write formulas (`past + 1`); one whose symbols all stand alone somewhere is taken at its word.

use super::import::Options;
use super::proto::{DimensionValue, GraphProto, TensorShapeProto, TypeValue, ValueInfoProto};
use super::tensor::{dtype, dtype_name};
use kiln_ir::dim::parse_dim;
use kiln_ir::{Diagnostic, Dim, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// How each named size of a graph's inputs is represented.
pub struct InputSizes<'a> {
    options: &'a Options,
    /// The file's name for a size → its dim.
    named: BTreeMap<&'a str, Dim>,
}

impl<'a> InputSizes<'a> {
    /// Collects the names. Errors: `usage_dim` when `--dim` names a size that no input has or is negative.
    pub fn new(graph: &'a GraphProto, options: &'a Options) -> Result<Self, Diagnostic> {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut unnamed: BTreeSet<String> = BTreeSet::new();
        for input in &graph.input {
            for (axis, dim) in shape_of(input).into_iter().flat_map(|s| &s.dim).enumerate() {
                match &dim.value {
                    Some(DimensionValue::Name(name)) if !name.is_empty() && !options.dynamic => {
                        names.insert(name);
                    }
                    Some(DimensionValue::Size(size)) if *size >= 0 && !options.dynamic => {}
                    _ => {
                        unnamed.insert(axis_name(&input.name, axis));
                    }
                }
            }
        }
        let mut named = BTreeMap::new();
        let mut taken: BTreeSet<String> = unnamed.clone();
        // Plain names first, so that formulas can refer to them.
        let (plain, others): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|n| identifier(n) == **n);
        for name in plain {
            taken.insert(name.to_string());
            named.insert(name, Dim::symbol(name));
        }
        for name in others {
            let formula = parse_dim(name).ok().filter(|d| d.symbols().iter().all(|s| named.contains_key(s.name())));
            let dim = formula.unwrap_or_else(|| {
                let mut unique = identifier(name);
                while !taken.insert(unique.clone()) {
                    unique.push('_');
                }
                Dim::symbol(&unique)
            });
            named.insert(name, dim);
        }
        for (name, &size) in &options.dims {
            if size < 0 {
                return Err(Diagnostic::new("usage_dim", format!("the size {name} = {size} is negative")));
            }
            let symbol = |d: &Dim| d.as_symbol().is_some_and(|s| s.name() == name);
            if !named.contains_key(name.as_str()) && !named.values().any(symbol) && !unnamed.contains(name) {
                let all: Vec<String> = named.values().map(ToString::to_string).chain(unnamed).collect();
                let help =
                    if all.is_empty() { "every size of this model is fixed".to_string() } else { format!("it has {}", all.join(", ")) };
                return Err(Diagnostic::new("usage_dim", format!("the model has no size named \"{name}\"")).help(help));
            }
        }
        Ok(InputSizes { options, named })
    }

    /// The type of an input.
    ///
    /// Errors: `onnx_input_type` for sequences, text and unknown ranks.
    pub fn input_type(&self, input: &ValueInfoProto) -> Result<TensorType, Diagnostic> {
        let refuse = |what: String, help: &str| {
            Diagnostic::new("onnx_input_type", what).at(format!("input \"{}\"", input.name), "declared here").help(help)
        };
        let declared = input.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(TypeValue::Tensor(tensor)) = declared else {
            let kind = match declared {
                None => "has no type",
                Some(TypeValue::Sequence(_)) => "is a sequence",
                Some(TypeValue::Map(_)) => "is a map",
                Some(TypeValue::Optional(_)) => "is optional",
                Some(TypeValue::SparseTensor(_)) => "is a sparse tensor",
                Some(TypeValue::Tensor(_)) => "is a tensor",
            };
            return Err(refuse(format!("the input \"{}\" {kind}", input.name), "inputs are dense tensors of numbers"));
        };
        let element = dtype(tensor.elem_type)
            .map_err(|_| refuse(format!("the input \"{}\" holds {}", input.name, dtype_name(tensor.elem_type)), "inputs hold numbers"))?;
        let Some(shape) = &tensor.shape else {
            let what = format!("the input \"{}\" does not say how many axes it has", input.name);
            return Err(refuse(what, "export the model with the rank of every input; sizes may stay open"));
        };
        let dims = shape.dim.iter().enumerate().map(|(axis, dim)| self.dim(&input.name, axis, dim.value.as_ref()));
        Ok(TensorType::new(element, dims.collect::<Vec<_>>()))
    }

    fn dim(&self, input: &str, axis: usize, value: Option<&DimensionValue>) -> Dim {
        let bound = |name: &str| self.options.dims.get(name).map(|&size| Dim::from(size));
        match value {
            Some(DimensionValue::Size(size)) if *size >= 0 && !self.options.dynamic => Dim::from(*size),
            Some(DimensionValue::Name(name)) if !name.is_empty() && !self.options.dynamic => {
                let dim = &self.named[name.as_str()];
                bound(name).unwrap_or_else(|| dim.substitute(&|s| bound(s.name())))
            }
            _ => {
                let name = axis_name(input, axis);
                bound(&name).unwrap_or_else(|| Dim::symbol(&name))
            }
        }
    }
}

fn shape_of(input: &ValueInfoProto) -> Option<&TensorShapeProto> {
    match input.r#type.as_ref()?.value.as_ref()? {
        TypeValue::Tensor(tensor) => tensor.shape.as_ref(),
        TypeValue::Sequence(_) | TypeValue::Map(_) | TypeValue::SparseTensor(_) | TypeValue::Optional(_) => None,
    }
}

/// `x`, axis 0 → `x_0`.
fn axis_name(input: &str, axis: usize) -> String {
    identifier(&format!("{input}_{axis}"))
}

/// The text as a name that dims can be written with.
fn identifier(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, 'd');
    }
    if ["floordiv", "ceildiv", "mod", "min", "max", "bcast"].contains(&name.as_str()) {
        name.push('_');
    }
    name
}
