//! Values of parameters in HDF5: `model.weights.h5` of a `.keras` archive, where each variable lies under the classes of the layers around
//! it, and files of Keras 2's format, which list the variables of each layer of the outermost model.

use super::super::model::context::product;
use super::super::model::tree::Mistake;
use super::layer::Stored;
use hdf5_pure::{AttrValue, DType as Hdf5Type, Dataset, File};
use kiln_ir::{DType, Tensor, TensorType};
use std::collections::BTreeMap;

/// Where the file keeps values.
pub enum Weights {
    /// By class and number, as in a `.keras` archive.
    ByPlace(File),
    /// By the names that each layer lists.
    ByLayer(File),
}

impl Weights {
    /// Opens HDF5. Errors: it is none, or damaged.
    pub fn open(bytes: Vec<u8>) -> Result<File, Mistake> {
        File::from_bytes(bytes).map_err(|error| Mistake::new(format!("the HDF5 part is damaged or cut: {error}")))
    }

    /// The values of all parameters, which `types` knows; `also` are groups that others may stand for. Errors: one is missing, damaged,
    /// or of another shape.
    pub fn values(
        &self,
        stored: &[Stored],
        also: &[(String, String)],
        types: &BTreeMap<String, TensorType>,
    ) -> Result<BTreeMap<String, Tensor>, Mistake> {
        match self {
            Weights::ByPlace(file) => by_place(file, stored, also, types),
            Weights::ByLayer(file) => by_layer(file, stored, types),
        }
    }
}

fn by_place(
    file: &File,
    stored: &[Stored],
    also: &[(String, String)],
    types: &BTreeMap<String, TensorType>,
) -> Result<BTreeMap<String, Tensor>, Mistake> {
    let mut values = BTreeMap::new();
    for variable in stored {
        let place = format!("{}/vars/{}", variable.group, variable.index);
        // Keras 2.12 to 2.15 named groups after private attributes.
        let private = place.split('/').map(underscored).collect::<Vec<_>>().join("/");
        let older = private.replacen("layers", "_layer_checkpoint_dependencies", 1);
        let elsewhere = also.iter().filter_map(|(group, other)| Some(format!("{other}{}", place.strip_prefix(group.as_str())?)));
        let places: Vec<String> = [place.clone(), private, older].into_iter().chain(elsewhere).collect();
        let dataset = places.iter().find_map(|place| file.dataset(place).ok());
        let dataset = dataset.ok_or_else(|| {
            let mistake = Mistake::new(format!("the file has no values for `{}`: nothing at {place}", variable.name));
            mistake.help("save the whole model again with model.save(\"model.keras\")")
        })?;
        values.insert(variable.name.clone(), read(&dataset, &variable.name, types)?);
    }
    Ok(values)
}

fn underscored(part: &str) -> String {
    if part.ends_with("_dense") { format!("_{part}") } else { part.to_string() }
}

fn by_layer(file: &File, stored: &[Stored], types: &BTreeMap<String, TensorType>) -> Result<BTreeMap<String, Tensor>, Mistake> {
    let base = if file.group("model_weights").is_ok() { "model_weights/" } else { "" };
    let mut layers: Vec<(&str, Vec<&Stored>)> = Vec::new();
    for variable in stored {
        let owner = variable.owners.first().map_or("", String::as_str);
        match layers.iter_mut().find(|(name, _)| *name == owner) {
            Some((_, variables)) => variables.push(variable),
            None => layers.push((owner, vec![variable])),
        }
    }
    let mut values = BTreeMap::new();
    for (layer, variables) in layers {
        let group = format!("{base}{layer}");
        let names = weight_names(file, &group, layer)?;
        for variable in &variables {
            let name = name_of(variable, &variables, &names).ok_or_else(|| {
                Mistake::new(format!("layer `{layer}`: the file lists {} variables for it, it has {}", names.len(), variables.len()))
                    .help("the weights are not those of this model")
            })?;
            let place = format!("{group}/{name}");
            let dataset = file.dataset(&place).map_err(|error| Mistake::new(format!("no values at {place}: {error}")))?;
            values.insert(variable.name.clone(), read(&dataset, &variable.name, types)?);
        }
    }
    Ok(values)
}

/// Which of the names that a layer lists is a variable's. Those that training changes stand first, each in the order of its making; of
/// layers inside a model inside, the names say whose they are.
fn name_of<'n>(variable: &Stored, all: &[&Stored], names: &'n [String]) -> Option<&'n str> {
    let owner = variable.owners.last()?;
    let nested = variable.owners.len() > 1;
    let own: Vec<&Stored> = all.iter().copied().filter(|other| other.owners == variable.owners).collect();
    let own_names: Vec<&String> = names.iter().filter(|name| !nested || name.split('/').any(|part| part == owner)).collect();
    let (first, last): (Vec<&Stored>, Vec<&Stored>) = own.iter().partition(|other| other.trainable);
    let at = first.iter().chain(&last).position(|other| other.name == variable.name)?;
    // Counts of what a layer has seen come after what is computed with.
    (own_names.len() >= own.len()).then(|| own_names.get(at).map(|name| name.as_str())).flatten()
}

/// The attribute `weight_names`, which is cut into several where it is long.
fn weight_names(file: &File, group: &str, layer: &str) -> Result<Vec<String>, Mistake> {
    let missing = |why: String| Mistake::new(format!("the file has no values for the layer `{layer}`: {why}"));
    let attributes = file.group(group).and_then(|group| group.attrs()).map_err(|error| missing(error.to_string()))?;
    if let Some(names) = attributes.get("weight_names").and_then(texts) {
        return Ok(names);
    }
    let parts = (0..).map_while(|n| attributes.get(&format!("weight_names{n}")).and_then(texts)).flatten().collect::<Vec<_>>();
    if parts.is_empty() { Err(missing("its names are not listed".into())) } else { Ok(parts) }
}

/// The texts of an attribute.
pub fn texts(value: &AttrValue) -> Option<Vec<String>> {
    Some(match value {
        AttrValue::String(text) | AttrValue::AsciiString(text) | AttrValue::VarLenString(text) | AttrValue::VarLenAsciiString(text) => {
            vec![text.clone()]
        }
        AttrValue::StringSized { value, .. } | AttrValue::AsciiStringSized { value, .. } => vec![value.clone()],
        AttrValue::StringArray(texts)
        | AttrValue::AsciiStringArray(texts)
        | AttrValue::VarLenStringArray(texts)
        | AttrValue::VarLenAsciiStringArray(texts)
        | AttrValue::VarLenAsciiCharArray(texts) => texts.clone(),
        AttrValue::StringArraySized { values, .. } | AttrValue::AsciiStringArraySized { values, .. } => values.clone(),
        _ => return None,
    })
}

/// Reads a variable. Errors: it is damaged, of another shape, or of an element type that is no float.
fn read(dataset: &Dataset, name: &str, types: &BTreeMap<String, TensorType>) -> Result<Tensor, Mistake> {
    let damaged = |error: hdf5_pure::Error| Mistake::new(format!("the values of `{name}` are damaged: {error}"));
    let ty = types.get(name).ok_or_else(|| Mistake::new(format!("there is no parameter `{name}`")))?;
    let expected = ty.fixed_shape().ok_or_else(|| Mistake::new(format!("`{name}` has no fixed shape")))?;
    let shape = dataset.shape().map_err(damaged)?;
    if !shape.iter().copied().eq(expected.iter().map(|size| *size as u64)) {
        let mistake = Mistake::new(format!("the file has values of shape {shape:?} for `{name}`, which is {ty}"));
        return Err(mistake.help("the weights are not those of this model"));
    }
    let stored = dataset.dtype().map_err(damaged)?;
    let count = product(&expected);
    let tensor = match (&stored, ty.dtype) {
        (Hdf5Type::F32, DType::F32) => {
            let values = dataset.read_f32().map_err(damaged)?;
            checked(values.len(), count, name)?;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Tensor::from_vec(DType::F32, expected, bytes)
        }
        // Keras writes bfloat16 as the bits that it consists of.
        (Hdf5Type::U16, DType::BF16) => {
            let values = dataset.read_u16().map_err(damaged)?;
            checked(values.len(), count, name)?;
            Tensor::from_vec(DType::BF16, expected, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        (Hdf5Type::String | Hdf5Type::VariableLengthString | Hdf5Type::Compound(_) | Hdf5Type::ObjectReference, _) => {
            return Err(Mistake::new(format!("the values of `{name}` are {stored}, no numbers")));
        }
        _ => {
            let values = dataset.read_f64().map_err(damaged)?;
            checked(values.len(), count, name)?;
            Tensor::from_floats(ty.dtype, expected, values)
        }
    };
    Ok(tensor)
}

fn checked(found: usize, expected: usize, name: &str) -> Result<(), Mistake> {
    if found == expected { Ok(()) } else { Err(Mistake::new(format!("the file has {found} numbers for the {expected} of `{name}`"))) }
}
