//! Operators that move elements. What they make of constants is computed now.

use super::writer::{Operand, Writer, int, ints, text};
use super::{Spelled, unspelled};
use crate::frontend::onnx::tensor::data_type;
use kiln_ir::ops::{Op, PadMode};
use kiln_ir::{DType, Diagnostic, Dim, Tensor, TensorType};

/// Writes the operator if it is one of these.
pub fn spell(w: &mut Writer, op: &Op, x: &[Operand], types: &[TensorType]) -> Spelled {
    if let Some(tensor) = folded(w, op, x) {
        return Ok(Some(vec![w.constant(tensor)]));
    }
    match op {
        Op::Broadcast(op) => Ok(Some(vec![w.repeated(x[0], &op.shape)])),
        Op::Reshape(op) => {
            let (x, shape) = (w.name(x[0])?, w.shape(&op.shape)?);
            let zeros = op.shape.iter().any(|dim| dim.is(0));
            let attributes = if zeros { vec![int("allowzero", 1)] } else { vec![] };
            Ok(Some(w.results("Reshape", vec![x, shape], attributes, types)))
        }
        Op::Transpose(op) => w.plain("Transpose", x, vec![ints("perm", op.perm.iter().map(|axis| *axis as i64))], types),
        Op::Slice(slice) => {
            let shape = w.ty(x[0]).shape.clone();
            let whole = |axis: &usize| slice.starts[*axis].is(0) && slice.sizes[*axis] == shape[*axis] && slice.steps[*axis] == 1;
            let axes: Vec<usize> = (0..shape.len()).filter(|axis| !whole(axis)).collect();
            if axes.is_empty() {
                return w.plain("Identity", x, vec![], types);
            }
            let starts: Vec<Dim> = axes.iter().map(|axis| slice.starts[*axis].clone()).collect();
            let end = |axis: &usize| {
                let end = &slice.starts[*axis] + &(&slice.sizes[*axis] * &Dim::from(slice.steps[*axis]));
                // Before the first element: further than counting from the end could mean.
                if end.as_const().is_some_and(|end| end < 0) { Dim::from(i64::MIN + 1) } else { end }
            };
            if axes.iter().any(|axis| slice.steps[*axis] < 0 && end(axis).as_const().is_none()) {
                return Err(unspelled(op, "a step backwards over an open size"));
            }
            let ends: Vec<Dim> = axes.iter().map(end).collect();
            let (x, starts, ends) = (w.name(x[0])?, w.sizes(&starts)?, w.sizes(&ends)?);
            let steps = w.integers(&axes.iter().map(|axis| slice.steps[*axis]).collect::<Vec<_>>());
            let axes = w.integers(&axes.iter().map(|axis| *axis as i64).collect::<Vec<_>>());
            Ok(Some(w.results("Slice", vec![x, starts, ends, axes, steps], vec![], types)))
        }
        Op::Pad(pad) => {
            let mode = match pad.mode {
                PadMode::Constant => "constant",
                PadMode::Edge => "edge",
                PadMode::Reflect => "reflect",
                PadMode::Wrap => "wrap",
            };
            let amounts: Vec<Dim> = pad.low.iter().chain(&pad.high).cloned().collect();
            let (y, pads, value) = (w.name(x[0])?, w.sizes(&amounts)?, w.name(x[1])?);
            let inputs = if pad.mode == PadMode::Constant { vec![y, pads, value] } else { vec![y, pads] };
            Ok(Some(w.results("Pad", inputs, vec![text("mode", mode)], types)))
        }
        Op::Concat(op) => w.plain("Concat", x, vec![int("axis", op.axis as i64)], types),
        Op::Gather(op) => w.plain("Gather", x, vec![int("axis", op.axis as i64)], types),
        Op::GatherElements(op) => w.plain("GatherElements", x, vec![int("axis", op.axis as i64)], types),
        Op::Dims(op) => {
            let name = w.sizes(&op.values)?;
            Ok(Some(vec![w.written(name, &types[0])]))
        }
        Op::Iota(op) => {
            let n = w.size(&op.shape[op.axis])?;
            let (zero, one) = (w.initializer(&Tensor::i64(&[], &[0]), "zero"), w.initializer(&Tensor::i64(&[], &[1]), "one"));
            let n = w.node("Squeeze", &[n], vec![]);
            let counted = w.node("Range", &[zero, n, one], vec![]);
            let along: Vec<i64> = (0..op.shape.len()).map(|axis| if axis == op.axis { -1 } else { 1 }).collect();
            let along = w.integers(&along);
            let mut name = w.node("Reshape", &[counted, along], vec![]);
            if op.dtype != DType::I64 {
                name = w.node("Cast", &[name], vec![int("to", i64::from(data_type(op.dtype)))]);
            }
            if op.shape.iter().enumerate().any(|(axis, dim)| axis != op.axis && !dim.is(1)) {
                let shape = w.sizes(&op.shape)?;
                name = w.node("Expand", &[name, shape], vec![]);
            }
            Ok(Some(vec![w.written(name, &types[0])]))
        }
        _ => Ok(None),
    }
}

/// What an operator makes of constants, if it takes nothing else and makes no more of them.
fn folded(w: &Writer, op: &Op, x: &[Operand]) -> Option<Tensor> {
    let sized = |dims: &[Dim]| dims.iter().all(|dim| dim.as_const().is_some());
    let fixed = match op {
        Op::Reshape(op) => sized(&op.shape),
        Op::Slice(op) => sized(&op.starts) && sized(&op.sizes),
        Op::Iota(op) => sized(&op.shape),
        Op::Transpose(_) => true,
        _ => false,
    };
    let operands: Vec<Tensor> = x.iter().map(|x| w.tensor(*x).cloned()).collect::<Option<_>>().filter(|_| fixed)?;
    op.eval(&operands).ok()?.pop()
}

impl Writer<'_> {
    /// A shape for `Reshape`: one open size follows from the others.
    fn shape(&mut self, dims: &[Dim]) -> Result<String, Diagnostic> {
        let open = dims.iter().filter(|dim| dim.as_const().is_none()).count();
        match open {
            1 if !dims.iter().any(|dim| dim.is(0)) => {
                let sizes: Vec<i64> = dims.iter().map(|dim| dim.as_const().unwrap_or(-1)).collect();
                Ok(self.integers(&sizes))
            }
            _ => self.sizes(dims),
        }
    }

    /// A value in another shape of known sizes.
    pub fn reshaped(&mut self, x: Operand, shape: &[i64]) -> Result<String, Diagnostic> {
        if let Some(tensor) = self.tensor(x) {
            let shape = shape.iter().map(|size| *size as usize).collect();
            let tensor = tensor.reshaped(shape);
            return Ok(self.initializer(&tensor, "weight"));
        }
        let (x, shape) = (self.name(x)?, self.integers(shape));
        Ok(self.node("Reshape", &[x, shape], vec![]))
    }
}
