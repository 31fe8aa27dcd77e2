//! Pools, and norms over channels or trailing axes.

use super::writer::{Operand, Writer, float, int, ints};
use super::{Spelled, unspelled};
use crate::frontend::onnx::proto::AttributeProto;
use kiln_ir::ops::{Op, WindowKind};
use kiln_ir::{Diagnostic, Dim, Tensor, TensorType};

/// Writes the operator if it is one of these.
pub fn spell(w: &mut Writer, op: &Op, x: &[Operand], types: &[TensorType]) -> Spelled {
    match op {
        Op::WindowReduce(pool) => {
            let ty = w.ty(x[0]).clone();
            let missing = (pool.window.len() + 2).saturating_sub(ty.rank());
            if pool.window.len() + 2 < ty.rank() || !ty.dtype.is_float() {
                return Err(unspelled(op, "integers, or windows over other axes than those behind batch and channels"));
            }
            // Batch and channels that are not there are put in front meanwhile.
            let mut x = x[0];
            let front: Vec<i64> = (0..missing as i64).collect();
            if missing > 0 {
                let shape = [vec![Dim::ONE; missing], ty.shape].concat();
                let inputs = vec![w.name(x)?, w.integers(&front)];
                x = w.results("Unsqueeze", inputs, vec![], &[TensorType::new(ty.dtype, shape)])[0];
            }
            let settings = |pads| window(&pool.window, &pool.strides, &pool.dilations, pads);
            let mut pooled = if pool.kind == WindowKind::Max {
                let (y, pads) = w.padded(x, &pool.low, &pool.high, f64::NEG_INFINITY)?;
                w.node("MaxPool", &[y], settings(pads))
            } else {
                // A sum is the mean of as many as the window has, zeros around the edge included, times their number.
                let (y, pads) = w.padded(x, &pool.low, &pool.high, 0.0)?;
                let mean = w.node("AveragePool", &[y], [settings(pads), vec![int("count_include_pad", 1)]].concat());
                let count = w.initializer(&Tensor::scalar(ty.dtype, pool.window.iter().product::<usize>() as f64), "count");
                w.node("Mul", &[mean, count], vec![])
            };
            if missing > 0 {
                let front = w.integers(&front);
                pooled = w.node("Squeeze", &[pooled, front], vec![]);
            }
            Ok(Some(vec![w.written(pooled, &types[0])]))
        }
        Op::AvgPool(pool) => match padding(&pool.low, &pool.high) {
            Some(pads) if pool.window.len() + 2 == w.ty(x[0]).rank() && pool.overhang.iter().all(|n| n.is(0)) => {
                let mut attributes = window(&pool.window, &pool.strides, &pool.dilations, pads);
                attributes.push(int("count_include_pad", i64::from(pool.count_padding)));
                w.plain("AveragePool", x, attributes, types)
            }
            _ => Ok(None),
        },
        Op::BatchNorm(norm) => w.plain("BatchNormalization", x, vec![float("epsilon", norm.epsilon.0)], types),
        Op::InstanceNorm(norm) => w.plain("InstanceNormalization", x, vec![float("epsilon", norm.epsilon.0)], types),
        Op::GroupNorm(norm) => {
            w.plain("GroupNormalization", x, vec![int("num_groups", norm.groups as i64), float("epsilon", norm.epsilon.0)], types)
        }
        Op::LayerNorm(norm) => {
            let normalised = &w.ty(x[0]).shape[norm.axes_from..];
            if x[1..].iter().any(|x| w.ty(*x).shape != normalised) {
                return Ok(None);
            }
            w.plain("LayerNormalization", x, vec![int("axis", norm.axes_from as i64), float("epsilon", norm.epsilon.0)], types)
        }
        _ => Ok(None),
    }
}

impl Writer<'_> {
    /// A value to slide windows over, and the padding that is left to say: padding that is open, or crops, is a node of its own.
    pub fn padded(&mut self, x: Operand, low: &[Dim], high: &[Dim], value: f64) -> Result<(String, Vec<i64>), Diagnostic> {
        let (y, dtype, leading) = (self.name(x)?, self.ty(x).dtype, self.ty(x).rank() - low.len());
        if let Some(pads) = padding(low, high) {
            return Ok((y, pads));
        }
        let amounts = |side: &[Dim]| std::iter::repeat_n(Dim::ZERO, leading).chain(side.iter().cloned()).collect::<Vec<Dim>>();
        let pads = self.sizes(&[amounts(low), amounts(high)].concat())?;
        let value = self.initializer(&Tensor::scalar(dtype, value), "padding");
        Ok((self.node("Pad", &[y, pads, value], vec![]), vec![0; 2 * low.len()]))
    }
}

/// Paddings of both sides as ONNX lists them, if they are known and not below 0.
fn padding(low: &[Dim], high: &[Dim]) -> Option<Vec<i64>> {
    low.iter().chain(high).map(|dim| dim.as_const().filter(|n| *n >= 0)).collect()
}

fn window(window: &[usize], strides: &[usize], dilations: &[usize], pads: Vec<i64>) -> Vec<AttributeProto> {
    let list = |name: &str, values: &[usize]| ints(name, values.iter().map(|n| *n as i64));
    vec![list("kernel_shape", window), list("strides", strides), list("dilations", dilations), ints("pads", pads)]
}
