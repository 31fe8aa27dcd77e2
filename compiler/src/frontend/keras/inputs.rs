//! The inputs of the outermost model: their types, and names for sizes that stay open.

use super::super::model::tree::{Kind, Mistake, Node};
use super::config::{Object, element_type};
use super::layer::Import;
use kiln_ir::{DType, Dim, TensorType, Value};

/// Adds the inputs of the outermost model to the graph. Errors: what is wrong with one of them.
pub fn inputs(object: &Object, import: &mut Import) -> Result<Vec<Value>, Mistake> {
    let layers = object.layers()?;
    let mut declared: Vec<(&str, DType, Vec<Option<usize>>)> = Vec::new();
    if object.class == "Sequential" {
        let first = layers.first().ok_or_else(|| Mistake::new("the model has no layers"))?;
        let shape = first.batch_shape()?.or(object.batch_shape()?);
        let shape = shape.ok_or_else(|| {
            Mistake::new("the model does not say what comes in").help("begin it with keras.Input(shape), or call it once before saving")
        })?;
        // A layer that comes first casts what comes in; indices keep their type.
        let user = layers.iter().find(|layer| layer.class != "InputLayer");
        let dtype = match first.class {
            _ if user.is_some_and(|layer| layer.class == "Embedding") => index_type(input_type(first)?),
            "InputLayer" => input_type(first)?,
            _ => first.dtypes((DType::F32, DType::F32))?.1,
        };
        declared.push((if first.class == "InputLayer" { first.name() } else { "input" }, dtype, shape));
    } else {
        for (_, (name, ..)) in object.references("input_layers")? {
            let layer = layers.iter().find(|layer| layer.name() == name && layer.class == "InputLayer");
            let layer = layer.ok_or_else(|| Mistake::new(format!("the input `{name}` is no InputLayer of the model")))?;
            let shape = layer.batch_shape()?.ok_or_else(|| Mistake::new(format!("the input `{name}` has no shape")))?;
            let mut users = layers.iter().filter(|layer| layer.calls().is_ok_and(|calls| calls.iter().any(|call| mentions(call, name))));
            if declared.iter().any(|(other, ..)| *other == name) {
                return Err(Mistake::new(format!("the input `{name}` stands twice among the inputs")));
            }
            let dtype = input_type(layer)?;
            let index = users.clone().next().is_some() && users.all(|layer| layer.class == "Embedding");
            declared.push((name, if index { index_type(dtype) } else { dtype }, shape));
        }
    }
    let several = declared.len() > 1;
    let mut values = Vec::new();
    for (name, dtype, shape) in declared {
        let shape = open_shape(name, &shape, several);
        values.push(import.graph.add_input(name, TensorType::new(dtype, shape)));
    }
    Ok(values)
}

fn input_type(layer: &Object) -> Result<DType, Mistake> {
    for what in ["sparse", "ragged"] {
        if matches!(layer.config.field(what), Some(Node { kind: Kind::Bool(true), .. })) {
            return Err(Mistake::new(format!("the input `{}` is {what}; dense ones are supported", layer.name())));
        }
    }
    match layer.config.field("dtype").and_then(Node::text) {
        Some(name) => element_type(name),
        None => Ok(layer.dtypes((DType::F32, DType::F32))?.1),
    }
}

/// What Embedding alone looks up is whole numbers, whatever the input says: floats are what keras.Input says unless it is told.
fn index_type(dtype: DType) -> DType {
    if dtype.is_float() { DType::I32 } else { dtype }
}

/// Whether a call refers to a layer of that name.
fn mentions(node: &Node, name: &str) -> bool {
    match &node.kind {
        Kind::Text(text) => text == name,
        Kind::List(items) => items.iter().any(|item| mentions(item, name)),
        Kind::Table(entries) => entries.iter().any(|(_, value)| mentions(value, name)),
        _ => false,
    }
}

/// Sizes that stay open get names: the first is the batch, one more is the time, two or three more those of a picture.
fn open_shape(name: &str, shape: &[Option<usize>], several: bool) -> Vec<Dim> {
    let open = shape.iter().skip(1).filter(|size| size.is_none()).count();
    let words: &[&str] = match open {
        1 => &["time"],
        2 => &["height", "width"],
        3 => &["depth", "height", "width"],
        _ => &[],
    };
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("input_{name}") };
    let mut words = words.iter();
    let size = |(axis, size): (usize, &Option<usize>)| match size {
        Some(size) => Dim::from(*size),
        None if axis == 0 => Dim::symbol("batch"),
        None => {
            let word = words.next().map_or_else(|| format!("axis{axis}"), |word| word.to_string());
            Dim::symbol(&if several { format!("{name}_{word}") } else { word })
        }
    };
    shape.iter().enumerate().map(size).collect()
}
