//! From files to inputs in signature order.

use super::Failure;
use super::options::Options;
use crate::arrays::Array;
use crate::npz::{Npz, read_npy};
use crate::pictures::{decode, image_input_named, to_input};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Extent, Signature, SymbolDecl};
use std::path::Path;

/// True if the command line names any input file.
pub fn are_given(options: &Options) -> bool {
    !options.npz.is_empty() || !options.inputs.is_empty()
}

/// Reads all inputs: from `--input` first, then from the archives, by name or (`arr_0`, …) by order.
///
/// Errors: usage when a name is unknown, given twice or missing; what reading reports.
pub fn read(options: &Options, signature: &Signature) -> Result<Vec<Array>, Failure> {
    let names: Vec<&str> = signature.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut arrays: Vec<Option<Array>> = names.iter().map(|_| None).collect();
    for (name, path) in &options.inputs {
        let index = match (names.iter().position(|input| input == name), names.len()) {
            (Some(index), _) => index,
            (None, 1) if name.is_empty() => 0,
            _ => return Err(Failure::Usage(format!("--input {name}={}: the model's inputs are {}", path.display(), list(&names)))),
        };
        if arrays[index].is_some() {
            return Err(Failure::Usage(format!("input `{}` is given twice", names[index])));
        }
        arrays[index] = Some(read_one(path, names[index], signature)?);
    }
    for path in &options.npz {
        let mut npz = Npz::open(path)?;
        let by_order = npz.names().iter().all(|name| name.starts_with("arr_")) && !names.iter().any(|name| name.starts_with("arr_"));
        for (index, name) in names.iter().enumerate().filter(|(index, _)| arrays[*index].is_none()).collect::<Vec<_>>() {
            let name = if by_order { format!("arr_{index}") } else { (*name).to_owned() };
            arrays[index] = npz.read(&name)?;
        }
        if let (Some(missing), true) = (arrays.iter().position(Option::is_none), options.npz.last() == Some(path)) {
            let message = format!("input `{}` is missing: {} holds {}", names[missing], path.display(), list(&npz.names()));
            return Err(Diagnostic::new("inputs", message).at("the model takes", signature.inputs[missing].to_string()).into());
        }
    }
    if let Some(missing) = arrays.iter().position(Option::is_none) {
        let help = format!("give it with --input {}=FILE or --inputs FILE.npz", names[missing]);
        let error = Diagnostic::new("inputs", format!("input `{}` is missing", names[missing]));
        return Err(error.at("the model takes", signature.inputs[missing].to_string()).help(help).into());
    }
    Ok(arrays.into_iter().flatten().collect())
}

/// One array, from a `.npy` file or a picture.
fn read_one(path: &Path, name: &str, signature: &Signature) -> Result<Array, Diagnostic> {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    if extension == "png" || extension == "jpg" || extension == "jpeg" {
        let image = image_input_named(signature, name);
        let image = image.ok_or_else(|| Diagnostic::new("picture_input", format!("input `{name}` takes no pictures")))?;
        return to_input(&[decode(path)?], &image, signature);
    }
    read_npy(path)
}

/// Inputs for timing: floats from a fixed sequence in −1..1, integers and truth values 0.
///
/// Symbols have the sizes in `options.dims`, else 1 or their smallest above.
/// Errors: usage for an unknown symbol; `memory`.
pub fn make_up(options: &Options, signature: &Signature) -> Result<Vec<Array>, Failure> {
    if let Some((name, _)) = options.dims.iter().find(|(name, _)| !signature.symbols.iter().any(|symbol| symbol.name == *name)) {
        let names: Vec<&str> = signature.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
        return Err(Failure::Usage(format!("--dim {name}: the model's sizes are {}", list(&names))));
    }
    let size = |symbol: &SymbolDecl| {
        let given = options.dims.iter().rev().find(|(name, _)| *name == symbol.name);
        given.map_or(symbol.min.max(1), |(_, size)| *size)
    };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut arrays = Vec::with_capacity(signature.inputs.len());
    for input in &signature.inputs {
        let extent = |extent: &Extent| match extent {
            Extent::Fixed(n) => *n,
            Extent::Expression(name) => signature.symbols.iter().find(|symbol| symbol.name == *name).map_or(1, size),
        };
        let shape: Result<Vec<usize>, _> = input.shape.iter().map(|axis| usize::try_from(extent(axis))).collect();
        let shape = shape.map_err(|_| Failure::Usage(format!("a size of input `{}` is negative", input.name)))?;
        let mut array = Array::zeroed(input.dtype, shape)?;
        if input.dtype.is_float() {
            for index in 0..array.len() {
                // xorshift64 (Marsaglia 2003), its upper 24 bits.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                array.set_f64(index, (state >> 40) as f64 / f64::from(1 << 23) - 1.0);
            }
        }
        arrays.push(array);
    }
    Ok(arrays)
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none".to_owned(),
        1..=20 => quoted.join(", "),
        more => format!("{} and {} more", quoted.join(", "), more - 20),
    }
}
