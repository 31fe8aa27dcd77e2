//! Sums of products: `MatMul` where the axes lie as it wants them, else `Einsum`; `Conv` and `ConvTranspose`.

use super::writer::{Operand, Writer, int, ints, text};
use super::{Spelled, movement, unspelled};
use kiln_ir::ops::{Conv, Dot, Op, Slice, Transpose};
use kiln_ir::{Dim, Tensor, TensorType};

/// Writes the operator if it is one of these.
pub fn spell(w: &mut Writer, op: &Op, x: &[Operand], types: &[TensorType]) -> Spelled {
    match op {
        Op::Dot(dot) => write_dot(w, dot, x, types),
        Op::Conv(conv) => write_conv(w, op, conv, x, types),
        _ => Ok(None),
    }
}

fn write_dot(w: &mut Writer, dot: &Dot, x: &[Operand], types: &[TensorType]) -> Spelled {
    let [a, b] = [w.ty(x[0]).rank(), w.ty(x[1]).rank()];
    let batch = dot.a_batch.len();
    let leads = |axes: &[usize]| axes.iter().copied().eq(0..batch);
    let one = dot.a_contract.len() == 1 && leads(&dot.a_batch) && leads(&dot.b_batch);
    // A matrix serves every row of the other side; batches need one matrix each.
    let ranks = b == batch + 2 && (batch == 0 && a >= 2 || a == batch + 2);
    if one && ranks && dot.a_contract[0] + 1 == a {
        let mut right = x[1];
        if dot.b_contract[0] + 1 == b {
            let turn = Op::from(Transpose { perm: (0..batch).chain([b - 1, b - 2]).collect() });
            let ty = w.ty(right);
            let shape: Vec<Dim> = ty.shape[..batch].iter().chain([&ty.shape[b - 1], &ty.shape[b - 2]]).cloned().collect();
            let turned = TensorType::new(ty.dtype, shape);
            right = movement::spell(w, &turn, &[right], &[turned])?.expect("it is one of them")[0];
        }
        return w.plain("MatMul", &[x[0], right], vec![], types);
    }
    let letters = |rank: usize| vec![' '; rank];
    let (mut left, mut right, mut next) = (letters(a), letters(b), 'a'..='z');
    let mut result = Vec::new();
    let pairs = |a: &[usize], b: &[usize]| a.iter().copied().zip(b.iter().copied()).collect::<Vec<_>>();
    for (at, other) in pairs(&dot.a_batch, &dot.b_batch) {
        let letter = next.next().unwrap_or('?');
        (left[at], right[other]) = (letter, letter);
        result.push(letter);
    }
    for (at, other) in pairs(&dot.a_contract, &dot.b_contract) {
        let letter = next.next().unwrap_or('?');
        (left[at], right[other]) = (letter, letter);
    }
    for side in [&mut left, &mut right] {
        for place in side.iter_mut().filter(|place| **place == ' ') {
            *place = next.next().unwrap_or('?');
            result.push(*place);
        }
    }
    let [left, right, result] = [left, right, result].map(|letters| letters.into_iter().collect::<String>());
    w.plain("Einsum", x, vec![text("equation", &format!("{left},{right}->{result}"))], types)
}

fn write_conv(w: &mut Writer, op: &Op, conv: &Conv, x: &[Operand], types: &[TensorType]) -> Spelled {
    let wide = |numbers: &[usize]| numbers.iter().map(|n| *n as i64).collect::<Vec<i64>>();
    let common = [ints("dilations", wide(&conv.dilations)), int("group", conv.groups as i64)];
    if conv.lhs_dilations.iter().all(|n| *n == 1) {
        let (y, pads) = w.padded(x[0], &conv.low, &conv.high, 0.0)?;
        let mut attributes = vec![ints("strides", wide(&conv.strides)), ints("pads", pads)];
        attributes.extend(common);
        let weight = w.name(x[1])?;
        return Ok(Some(w.results("Conv", vec![y, weight], attributes, types)));
    }
    let known = |dims: &[Dim]| dims.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>();
    let (Some(low), Some(high)) = (known(&conv.low), known(&conv.high)) else {
        return Err(unspelled(op, "zeros between elements and open padding"));
    };
    if conv.strides.iter().any(|n| *n != 1) {
        return Err(unspelled(op, "both strides and zeros between elements"));
    }
    let Some(weight) = w.tensor(x[1]).cloned() else { return Err(unspelled(op, "zeros between elements and weights that are computed")) };
    // There, padding is what is cut off of the whole result.
    let span = |axis: usize| ((weight.shape()[axis + 2] - 1) * conv.dilations[axis]) as i64;
    let cut: Vec<i64> = (0..low.len()).map(|axis| span(axis) - low[axis]).collect();
    let behind: Vec<i64> = (0..high.len()).map(|axis| span(axis) - high[axis]).collect();
    if cut.iter().any(|n| *n < 0) {
        return Err(unspelled(op, "zeros between elements and padding beyond the kernel"));
    }
    let more: Vec<i64> = behind.iter().map(|n| (-n).max(0)).collect();
    let turned = turned(weight, conv.groups);
    let weight = w.initializer(&turned, "weight");
    let mut attributes = vec![ints("strides", wide(&conv.lhs_dilations)), ints("output_padding", more)];
    attributes.push(ints("pads", cut.into_iter().chain(behind.into_iter().map(|n| n.max(0)))));
    attributes.extend(common);
    let x = w.name(x[0])?;
    Ok(Some(w.results("ConvTranspose", vec![x, weight], attributes, types)))
}

/// `[O, C/groups, k..]` → `[C, O/groups, k..]`, each kernel mirrored.
fn turned(weight: Tensor, groups: usize) -> Tensor {
    let shape = weight.shape().to_vec();
    let dims = |sizes: &[usize]| sizes.iter().map(|n| Dim::from(*n)).collect::<Vec<Dim>>();
    let starts: Vec<usize> = shape.iter().enumerate().map(|(axis, size)| if axis < 2 { 0 } else { size - 1 }).collect();
    let steps = (0..shape.len()).map(|axis| if axis < 2 { 1 } else { -1 }).collect();
    let mirrored = moved(Slice { starts: dims(&starts), sizes: dims(&shape), steps }, weight);
    let (outer, inner) = (shape[0] / groups, shape[1]);
    let split = mirrored.reshaped([&[groups, outer, inner], &shape[2..]].concat());
    let perm = [0, 2, 1].into_iter().chain(3..shape.len() + 1).collect();
    moved(Transpose { perm }, split).reshaped([&[groups * inner, outer], &shape[2..]].concat())
}

fn moved(op: impl Into<Op>, tensor: Tensor) -> Tensor {
    let mut results = op.into().eval(&[tensor]).unwrap_or_else(|error| panic!("export: {error}"));
    results.remove(0)
}
