//! Matrix products.

use crate::frontend::onnx::context::Context;
use crate::frontend::onnx::registry::{ANY, Results, Row, row};
use kiln_ir::ops::{self, ReduceKind};
use kiln_ir::{Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[row("Einsum", 12, (1, ANY), einsum), row("Gemm", 1, (2, 3), gemm), row("MatMul", 1, (2, 2), matmul)];

fn matmul(cx: &mut Context) -> Results {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![matrix_product(cx, a, b)?])
}

/// The product as NumPy's `matmul`: vectors count as a row or a column, leading axes broadcast.
pub fn matrix_product(cx: &mut Context, a: Value, b: Value) -> Result<Value, Diagnostic> {
    let (a_rank, b_rank) = (cx.rank(a), cx.rank(b));
    if a_rank == 0 || b_rank == 0 {
        return Err(cx.error("onnx_rank", format!("MatMul takes vectors and matrices, got {} and {}", cx.ty(a), cx.ty(b))));
    }
    if b_rank <= 2 {
        // Every row of `a`, however its leading axes are grouped, times one matrix.
        let op = ops::Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![a_rank - 1], b_contract: vec![b_rank.saturating_sub(2)] };
        return cx.op(op, &[a, b]);
    }
    if a_rank == 1 {
        // [k] × [.., k, n] → [.., n]
        let op = ops::Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![0], b_contract: vec![b_rank - 2] };
        return cx.op(op, &[a, b]);
    }
    let (a_shape, b_shape) = (cx.shape(a), cx.shape(b));
    let batch = cx.broadcast_shape(&[a_shape[..a_rank - 2].to_vec(), b_shape[..b_rank - 2].to_vec()])?;
    let a = cx.broadcast_to(a, &[&batch[..], &a_shape[a_rank - 2..]].concat())?;
    let b = cx.broadcast_to(b, &[&batch[..], &b_shape[b_rank - 2..]].concat())?;
    let axes: Vec<usize> = (0..batch.len()).collect();
    let (a_contract, b_contract) = (vec![batch.len() + 1], vec![batch.len()]);
    cx.op(ops::Dot { a_batch: axes.clone(), b_batch: axes, a_contract, b_contract }, &[a, b])
}

/// α·A'·B' + β·C
pub fn gemm(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["broadcast"]);
    let (alpha, beta) = (cx.attributes.float_or("alpha", 1.0)?, cx.attributes.float_or("beta", 1.0)?);
    let (trans_a, trans_b) = (cx.attributes.flag_or("transA", false)?, cx.attributes.flag_or("transB", false)?);
    let (a, b, c) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        return Err(cx.error("onnx_rank", format!("Gemm takes two matrices, got {} and {}", cx.ty(a), cx.ty(b))));
    }
    let op = ops::Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![usize::from(!trans_a)], b_contract: vec![usize::from(trans_b)] };
    let mut y = cx.op(op, &[a, b])?;
    y = scaled(cx, y, alpha)?;
    if let Some(c) = c.filter(|_| beta != 0.0) {
        let c = scaled(cx, c, beta)?;
        let shape = cx.shape(y);
        let c = cx.broadcast_to(c, &shape)?;
        y = cx.op(ops::Add {}, &[y, c])?;
    }
    Ok(vec![y])
}

/// The product with a number; nothing for 1.
pub fn scaled(cx: &mut Context, x: Value, factor: f32) -> Result<Value, Diagnostic> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = cx.like(x, factor.into())?;
    cx.op(ops::Mul {}, &[x, factor])
}

/// A value whose axes have labels.
struct Labelled {
    value: Value,
    labels: Vec<char>,
}

/// Contracts operands from left to right; each step sums what no later operand and no result axis needs.
fn einsum(cx: &mut Context) -> Results {
    let equation: String = cx.attributes.string_or("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, result) = match equation.split_once("->") {
        Some((left, result)) => (left, Some(result)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    let values = cx.all_inputs()?;
    if terms.len() != values.len() {
        return Err(cx.attributes.refuse("equation", format!("has {} operands, the node has {}", terms.len(), values.len())));
    }
    let mut operands = Vec::new();
    let mut ellipsis_rank = 0;
    for (term, value) in terms.iter().zip(&values) {
        let (labels, hidden) = expand_ellipsis(cx, term, cx.rank(*value))?;
        ellipsis_rank = ellipsis_rank.max(hidden);
        operands.push(diagonals(cx, Labelled { value: *value, labels })?);
    }
    let wanted = match result {
        Some(result) => {
            let plain = result.replace("...", "").chars().count();
            expand_ellipsis(cx, result, plain + if result.contains("...") { ellipsis_rank } else { 0 })?.0
        }
        None => implicit_result(&operands, ellipsis_rank),
    };
    if let Some(stranger) = wanted.iter().find(|l| !operands.iter().any(|o| o.labels.contains(l))) {
        return Err(cx.attributes.refuse("equation", format!("the result has the axis `{stranger}`, no operand has")));
    }
    let mut operands = operands.into_iter();
    let Some(mut total) = operands.next() else {
        return Err(cx.attributes.refuse("equation", "has no operands".to_string()));
    };
    let rest: Vec<Labelled> = operands.collect();
    for (position, next) in rest.iter().enumerate() {
        let needed = |l: &char| wanted.contains(l) || rest[position + 1..].iter().any(|o| o.labels.contains(l));
        total = contract(cx, total, next, &needed)?;
    }
    total = sum_out(cx, total, &|l| wanted.contains(l))?;
    let perm: Option<Vec<usize>> = wanted.iter().map(|l| total.labels.iter().position(|t| t == l)).collect();
    match perm.filter(|p| p.len() == total.labels.len()) {
        Some(perm) => Ok(vec![cx.transpose(total.value, &perm)?]),
        None => Err(cx.attributes.refuse("equation", "names an axis of the result twice".to_string())),
    }
}

/// Labels of a term, and how many axes its `...` stands for; those get labels past ASCII, counted from the last axis.
fn expand_ellipsis(cx: &Context, term: &str, rank: usize) -> Result<(Vec<char>, usize), Diagnostic> {
    let refuse = |what: String| cx.attributes.refuse("equation", what);
    let (before, after) = match term.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (term, None),
    };
    let letters: Vec<char> = before.chars().chain(after.unwrap_or("").chars()).collect();
    if let Some(bad) = letters.iter().find(|c| !c.is_ascii_alphabetic()) {
        return Err(refuse(format!("has {bad:?} in {term:?}")));
    }
    let hidden = rank.checked_sub(letters.len()).filter(|&h| h == 0 || after.is_some());
    let Some(hidden) = hidden else {
        return Err(refuse(format!("names {} axes in {term:?}, the operand has {rank}", letters.len())));
    };
    // Letters past ASCII cannot be the user's.
    let hidden_label = |i: usize| char::from_u32('\u{100}' as u32 + i as u32).unwrap_or('\u{100}');
    let mut labels: Vec<char> = before.chars().collect();
    labels.extend((0..hidden).rev().map(hidden_label));
    labels.extend(after.unwrap_or("").chars());
    Ok((labels, hidden))
}

/// Without `->`: the ellipsis, then every letter that comes once, in alphabetic order.
fn implicit_result(operands: &[Labelled], ellipsis_rank: usize) -> Vec<char> {
    let all: Vec<char> = operands.iter().flat_map(|o| o.labels.iter().copied()).collect();
    let mut once: Vec<char> = all.iter().copied().filter(|l| l.is_ascii() && all.iter().filter(|a| *a == l).count() == 1).collect();
    once.sort_unstable();
    let hidden = (0..ellipsis_rank).rev().filter_map(|i| char::from_u32('\u{100}' as u32 + i as u32));
    hidden.chain(once).collect()
}

/// An axis label that repeats inside one operand means its diagonal.
fn diagonals(cx: &mut Context, mut x: Labelled) -> Result<Labelled, Diagnostic> {
    while let Some((i, j)) = repeated(&x.labels) {
        let shape = cx.shape(x.value);
        cx.require_equal(&shape[i], &shape[j], "axes of a diagonal are equal")?;
        // Keeps what is on the diagonal and sums the second axis away.
        let row = cx.op(ops::Iota { shape: shape.clone(), axis: i, dtype: kiln_ir::DType::I64 }, &[])?;
        let column = cx.op(ops::Iota { shape, axis: j, dtype: kiln_ir::DType::I64 }, &[])?;
        let on = cx.op(ops::Equal {}, &[row, column])?;
        let zero = cx.like(x.value, 0.0)?;
        let kept = cx.op(ops::Select {}, &[on, x.value, zero])?;
        x.value = cx.op(ops::Reduce { kind: ReduceKind::Sum, axes: vec![j], keep: false }, &[kept])?;
        x.labels.remove(j);
    }
    Ok(x)
}

fn repeated(labels: &[char]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|i| (i + 1..labels.len()).find(|&j| labels[i] == labels[j]).map(|j| (i, j)))
}

fn sum_out(cx: &mut Context, x: Labelled, needed: &dyn Fn(&char) -> bool) -> Result<Labelled, Diagnostic> {
    let axes: Vec<usize> = (0..x.labels.len()).filter(|&i| !needed(&x.labels[i])).collect();
    if axes.is_empty() {
        return Ok(x);
    }
    let labels = x.labels.iter().copied().filter(|l| needed(l)).collect();
    Ok(Labelled { value: cx.op(ops::Reduce { kind: ReduceKind::Sum, axes, keep: false }, &[x.value])?, labels })
}

fn contract(cx: &mut Context, a: Labelled, b: &Labelled, needed: &dyn Fn(&char) -> bool) -> Result<Labelled, Diagnostic> {
    let a = sum_out(cx, a, &|l| b.labels.contains(l) || needed(l))?;
    let b = sum_out(cx, Labelled { value: b.value, labels: b.labels.clone() }, &|l| a.labels.contains(l) || needed(l))?;
    let (mut a_value, mut b_value) = (a.value, b.value);
    let (mut a_batch, mut b_batch, mut a_contract, mut b_contract) = (vec![], vec![], vec![], vec![]);
    let mut labels = Vec::new();
    for (i, label) in a.labels.iter().enumerate() {
        let Some(j) = b.labels.iter().position(|l| l == label) else { continue };
        (a_value, b_value) = same_size(cx, a_value, i, b_value, j)?;
        if needed(label) {
            a_batch.push(i);
            b_batch.push(j);
            labels.push(*label);
        } else {
            a_contract.push(i);
            b_contract.push(j);
        }
    }
    labels.extend(a.labels.iter().filter(|l| !b.labels.contains(l)));
    labels.extend(b.labels.iter().filter(|l| !a.labels.contains(l)));
    let value = cx.op(ops::Dot { a_batch, b_batch, a_contract, b_contract }, &[a_value, b_value])?;
    Ok(Labelled { value, labels })
}

/// Axes of size 1 broadcast to the other operand's.
fn same_size(cx: &mut Context, a: Value, i: usize, b: Value, j: usize) -> Result<(Value, Value), Diagnostic> {
    let (mut a_shape, mut b_shape) = (cx.shape(a), cx.shape(b));
    if a_shape[i] == b_shape[j] {
        return Ok((a, b));
    }
    let common: Dim = cx.broadcast_shape(&[vec![a_shape[i].clone()], vec![b_shape[j].clone()]])?.remove(0);
    a_shape[i] = common.clone();
    b_shape[j] = common;
    Ok((cx.broadcast_to(a, &a_shape)?, cx.broadcast_to(b, &b_shape)?))
}
