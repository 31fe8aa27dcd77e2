//! Affine layers over features, and tables of vectors.

use super::super::super::model::context::{Weight, product};
use super::super::super::model::tree::{Kind, Mistake, Node};
use super::super::call::Call;
use super::super::layer::Layer;
use super::activation::Activation;
use kiln_ir::initialiser::{Initialiser, Scale, Shape};
use kiln_ir::ops::{Add, Dot, Gather};
use kiln_ir::{DType, Dim, Value};

/// How Keras draws matrices unless a config says otherwise.
pub const GLOROT: Initialiser = Initialiser::Scaled(Scale::Glorot, Shape::Uniform);
/// How it draws biases.
pub const ZEROS: Initialiser = Initialiser::Constant(0.0);

/// `Dense`: activation(x·kernel + bias) over the last axis.   `kernel: [features, units]`, `bias: [units]`
pub fn dense<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let x = call.value()?;
    l.settings.refuse("lora_rank", "merge the low-rank matrices into the kernel first")?;
    l.settings.ignore(&["lora_alpha"]);
    let (units, bias) = (l.settings.size("units")?, l.settings.flag("use_bias", true)?);
    let units = l.replaced().unwrap_or(units);
    let activation = Activation::read(&l.settings, "activation", "linear")?;
    l.context().expect_floats(x)?;
    let last = l.axis(x, -1)?;
    let features = l.size(x, last, "features")?;
    let kernel = l.parameter("kernel", Weight::matrix("kernel", features, units, GLOROT))?;
    let y = l.op(Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![last], b_contract: vec![0] }, &[x, kernel])?;
    let y = with_bias(l, y, units, bias)?;
    activation.apply(l, y)
}

/// Adds the parameter `bias` along the last axis, if there is one.
pub fn with_bias(l: &mut Layer, y: Value, units: usize, bias: bool) -> Result<Value, Mistake> {
    if !bias {
        return Ok(y);
    }
    let bias = l.parameter("bias", Weight::vector("bias", units, ZEROS))?;
    l.broadcast_op(Add {}, &[y, bias])
}

/// `Embedding`: the vectors of whole numbers.   `embeddings: [input_dim, output_dim]`
pub fn embedding(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = call.value()?;
    l.settings.refuse("lora_rank", "merge the low-rank matrices into the embeddings first")?;
    // Whether a mask matters is for the layers that read it.
    l.settings.ignore(&["mask_zero", "lora_alpha"]);
    let (vocabulary, features) = (l.settings.size("input_dim")?, l.settings.size("output_dim")?);
    let table = Weight { incoming: vec![1], ..Weight::matrix("embeddings", vocabulary, features, Initialiser::Uniform(0.05)) };
    let table = l.parameter("embeddings", table)?;
    let index = if l.ty(x).dtype.is_int() { x } else { l.cast(x, DType::I32) };
    l.op(Gather { axis: 0 }, &[table, index])
}

/// `EinsumDense`: activation(einsum(equation, x, kernel) + bias), where no letter stands twice in an operand.
/// `kernel`: the sizes of its letters; `bias`: those of `bias_axes`, 1 for others behind the first of them.
pub fn einsum_dense<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let x = call.value()?;
    let activation = Activation::read(&l.settings, "activation", "linear")?;
    let equation = l.settings.word("equation", "")?;
    let wrong = || Mistake::new(format!("the equation `{equation}` is not supported: \"ab…,bc…->ac…\" is"));
    let (inputs, output) = equation.split_once("->").ok_or_else(wrong)?;
    let (left, right) = inputs.split_once(',').ok_or_else(wrong)?;
    // Dots stand for axes in front that all have.
    let rank = l.rank(x);
    let letters = |text: &str, dots: usize| -> Vec<char> {
        let rest = text.trim().replace("...", "");
        let front = if text.contains("...") { dots } else { 0 };
        (0..front).map(|n| char::from(b'0' + n as u8)).chain(rest.chars()).collect()
    };
    let dots = rank.saturating_sub(left.trim().replace("...", "").chars().count()).min(9);
    let (left, right, output) = (letters(left, dots), letters(right, dots), letters(output, dots));
    let place = |letters: &[char], letter: char| letters.iter().position(|other| *other == letter);
    let twice = |letters: &[char]| letters.iter().enumerate().any(|(at, letter)| letters[..at].contains(letter));
    if left.len() != rank || [&left, &right, &output].iter().any(|letters| twice(letters)) {
        return Err(wrong());
    }
    let sizes = output_sizes(l.settings.get("output_shape"), output.len())?;
    let mut shape = Vec::new();
    for letter in &right {
        shape.push(match (place(&left, *letter), place(&output, *letter)) {
            (Some(axis), _) => l.size(x, axis, "features")?,
            (None, Some(axis)) => sizes[axis].ok_or_else(|| Mistake::new("`output_shape` leaves a size of the kernel open"))?,
            (None, None) => return Err(wrong()),
        });
    }
    let contracted: Vec<usize> = (0..right.len()).filter(|axis| place(&left, right[*axis]).is_some()).collect();
    if contracted.iter().any(|axis| place(&output, right[*axis]).is_some()) {
        return Err(wrong());
    }
    let fan_in = product(&contracted.iter().map(|axis| shape[*axis]).collect::<Vec<_>>());
    let fan_out = product(&shape).checked_div(fan_in).unwrap_or(1);
    let weight = Weight {
        name: "kernel",
        shape: shape.clone(),
        initialiser: GLOROT,
        fans: (fan_in, fan_out),
        trainable: true,
        incoming: contracted.clone(),
    };
    let kernel = l.parameter("kernel", weight)?;
    let a_contract: Vec<usize> = contracted.iter().filter_map(|axis| place(&left, right[*axis])).collect();
    let free = |letters: &[char], bound: &[usize]| -> Vec<char> {
        (0..letters.len()).filter(|axis| !bound.contains(axis)).map(|axis| letters[axis]).collect()
    };
    let made = [free(&left, &a_contract), free(&right, &contracted)].concat();
    let y = l.op(Dot { a_batch: vec![], b_batch: vec![], a_contract, b_contract: contracted }, &[x, kernel])?;
    let perm = output.iter().map(|letter| place(&made, *letter)).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    let y = l.transpose(y, &perm)?;
    let y = match l.settings.word("bias_axes", "")? {
        "" => y,
        axes => {
            let first = axes.chars().filter_map(|letter| place(&output, letter)).min().ok_or_else(wrong)?;
            let mut shape = Vec::new();
            for (axis, letter) in output.iter().enumerate().skip(first) {
                shape.push(if axes.contains(*letter) { l.size(y, axis, "features")? } else { 1 });
            }
            let bias = Weight { name: "bias", shape, initialiser: ZEROS, fans: (1, 1), trainable: true, incoming: vec![] };
            let bias = l.parameter("bias", bias)?;
            l.broadcast_op(Add {}, &[y, bias])?
        }
    };
    activation.apply(l, y)
}

/// Sizes of the result's axes where the setting says them: those of its last axes.
fn output_sizes(node: Option<&Node>, rank: usize) -> Result<Vec<Option<usize>>, Mistake> {
    let wrong = || Mistake::new("`output_shape` is no list of sizes");
    let items = match node {
        None => &[],
        Some(node) => node.list().map_or(std::slice::from_ref(node), |items| items),
    };
    let size = |item: &Node| match item.kind {
        Kind::Null => Ok(None),
        _ => item.integer().and_then(|n| u32::try_from(n).ok()).map(|n| Some(n as usize)).ok_or_else(wrong),
    };
    let sizes = items.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    if sizes.len() > rank {
        return Err(wrong());
    }
    Ok([vec![None; rank - sizes.len()], sizes].concat())
}

/// The dimension of that size.
pub fn dims(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().map(|size| Dim::from(*size)).collect()
}
