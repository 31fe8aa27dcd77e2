//! `scan`: runs a body once for each slice along axis 0, handing carried values from one step to the next.
//!
//! Operands: `carried` initial values, `scanned` stacked tensors `[T, ..]`, then captured values that every step sees alike.
//! Body inputs: the carried values, one slice `[..]` of each scanned tensor, the captured values.
//! Body outputs: the carried values of the next step, then slices.
//! Results: the carried values after the last step, then the slices stacked to `[T, ..]`, at the step they belong to.
//! `reverse` runs from the last slice to the first. With T = 0 the carried values are the initial ones.
//! Constraints: (C0) at least one scanned operand, and as many operands as body inputs. (C1) scanned operands have an axis 0, of equal size.
//! (C2) operands (slices of scanned ones) have the types of the body's inputs. (C3) the body has an output for each carried value, of its type.
//! (C4) the body refers to no parameter: what it needs is captured.

mod backward;

use super::{Example, Facts, Gradient, Meaning, Operator, TypeError};
use crate::eval::evaluate_observed;
use crate::graph::NodeKind;
use crate::op;
use crate::{Builder, Graph, Tensor, TensorType, Value};
use std::sync::Arc;

op! {
    /// See the head of this file.
    pub struct Scan {
        /// One step.
        pub body: Arc<Graph>,
        /// How many values are carried.
        pub carried: usize,
        /// How many operands are scanned.
        pub scanned: usize,
        /// Whether the last slice comes first.
        pub reverse: bool,
    }
}

impl Operator for Scan {
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
        let inputs = self.body.inputs();
        let first_captured = self.carried.saturating_add(self.scanned);
        if self.scanned == 0 || x.len() != inputs.len() || first_captured > x.len() {
            let found = format!(
                "{} operands for {} carried, {} scanned and a body of {} inputs",
                x.len(),
                self.carried,
                self.scanned,
                inputs.len()
            );
            return Err(TypeError::new("scan_c0", found));
        }
        let stacked = &x[self.carried..first_captured];
        for ty in stacked {
            let (Some(steps), Some(first)) = (ty.shape.first(), stacked[0].shape.first()) else {
                return Err(TypeError::new("scan_c1", format!("{ty} has no axis to scan")));
            };
            facts.equal(steps, first, "scan_c1", format_args!("steps of {ty} and of {}", stacked[0]))?;
        }
        for (i, (ty, (name, value))) in x.iter().zip(inputs).enumerate() {
            let slice = if (self.carried..first_captured).contains(&i) { ty.with_shape(&ty.shape[1..]) } else { ty.clone() };
            same_type(&slice, self.body.ty(*value), facts, "scan_c2", name)?;
        }
        if self.body.outputs().len() < self.carried {
            return Err(TypeError::new(
                "scan_c3",
                format!("{} body outputs for {} carried values", self.body.outputs().len(), self.carried),
            ));
        }
        let refers = |id: &crate::NodeId| matches!(self.body.node(*id).kind, NodeKind::Parameter(_));
        if self.body.order().iter().any(refers) {
            return Err(TypeError::new("scan_c4", "the body refers to a parameter"));
        }
        let mut results = Vec::new();
        for (i, (name, value)) in self.body.outputs().iter().enumerate() {
            let ty = self.body.ty(*value);
            results.push(if i < self.carried {
                same_type(&x[i], ty, facts, "scan_c3", name)?;
                x[i].clone()
            } else {
                ty.with_shape([&stacked[0].shape[..1], &ty.shape].concat())
            });
        }
        facts.require_all(&self.body.guards);
        Ok(results)
    }

    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let types: Vec<TensorType> = x.iter().map(Tensor::ty).collect();
        let result_types = super::inferred_types(self, &types)?;
        let first_captured = self.carried + self.scanned;
        let steps = x[self.carried].shape()[0];
        let mut carried = x[..self.carried].to_vec();
        let mut stacks = vec![Vec::new(); result_types.len() - self.carried];
        for i in 0..steps {
            let step = if self.reverse { steps - 1 - i } else { i };
            let slices = x[self.carried..first_captured].iter().map(|t| slice_of(t, step));
            let inputs: Vec<Tensor> = carried.iter().cloned().chain(slices).chain(x[first_captured..].iter().cloned()).collect();
            let results =
                evaluate_observed(&|_| None, &self.body, &inputs, &mut |_, _| {}).map_err(|e| format!("step {step}: {}", e.message))?;
            for (stack, slice) in stacks.iter_mut().zip(&results[self.carried..]) {
                stack.push(slice.bytes().to_vec());
            }
            carried = results[..self.carried].to_vec();
        }
        for (mut stack, ty) in stacks.into_iter().zip(&result_types[self.carried..]) {
            if self.reverse {
                stack.reverse();
            }
            carried.push(Tensor::from_vec(ty.dtype, super::constants(&ty.shape)?, stack.concat()));
        }
        Ok(carried)
    }

    fn vjp(&self, b: &mut Builder, x: &[Value], _: &[Value], dy: &[Option<Value>]) -> Gradient {
        backward::vjp(self, b, x, dy)
    }

    fn expand(&self, _: &mut Builder, _: &[Value]) -> Meaning {
        Meaning::Primitive
    }

    fn examples() -> Vec<Example> {
        let of = |reverse| Scan { body: Arc::new(running_sum()), carried: 1, scanned: 1, reverse };
        let mut with_parameter = running_sum();
        let parameter = with_parameter.add_parameter("w", TensorType::fixed(crate::DType::F32, &[3]));
        with_parameter.add_output("w", parameter);
        let mut without_output = Graph::new();
        for name in ["h", "x", "scale"] {
            without_output.add_input(name, TensorType::fixed(crate::DType::F32, &[3]));
        }
        vec![
            Example::accepted(of(false), &["f32[3]", "f32[t, 3]", "f32[3]"]),
            Example::accepted(of(true), &["f32[3]", "f32[4, 3]", "f32[3]"]),
            Example::accepted(Scan { carried: 0, scanned: 3, ..of(false) }, &["f32[t, 3]", "f32[t, 3]", "f32[t, 3]"]),
            alternating(false),
            alternating(true),
            Example::rejected("scan_c0", of(false), &["f32[3]", "f32[4, 3]"]),
            Example::rejected("scan_c0", Scan { scanned: 0, ..of(false) }, &["f32[3]", "f32[3]", "f32[3]"]),
            Example::rejected("scan_c1", of(false), &["f32[3]", "f32[]", "f32[3]"]),
            Example::rejected("scan_c1", Scan { scanned: 2, ..of(false) }, &["f32[3]", "f32[4, 3]", "f32[5, 3]"]),
            Example::rejected("scan_c2", of(false), &["f32[3]", "f32[4, 2]", "f32[3]"]),
            Example::rejected("scan_c2", of(false), &["f64[3]", "f32[4, 3]", "f32[3]"]),
            Example::rejected("scan_c3", Scan { body: Arc::new(without_output), ..of(false) }, &["f32[3]", "f32[4, 3]", "f32[3]"]),
            Example::rejected("scan_c4", Scan { body: Arc::new(with_parameter), ..of(false) }, &["f32[3]", "f32[4, 3]", "f32[3]"]),
        ]
    }
}

/// h' = h + x·scale, and the slice −h'.
fn running_sum() -> Graph {
    let mut graph = Graph::new();
    let [h, x, scale] = ["h", "x", "scale"].map(|name| graph.add_input(name, TensorType::fixed(crate::DType::F32, &[3])));
    let mut b = Builder::new(&mut graph);
    let term = b.mul(x, scale);
    let next = b.add(h, term);
    let slice = b.neg(next);
    graph.add_output("next", next);
    graph.add_output("slice", slice);
    graph
}

/// n' = n + 1, h' = x·h + b where n is even, else h·b: a counter, a choice, a factor that all steps see. Only the states come out.
fn alternating(reverse: bool) -> Example {
    let f64 = crate::DType::F64;
    let mut body = Graph::new();
    let count = body.add_input("n", TensorType::fixed(crate::DType::I64, &[]));
    let h = body.add_input("h", TensorType::fixed(f64, &[2, 3]));
    let x = body.add_input("x", TensorType::fixed(f64, &[2, 3]));
    let factor = body.add_input("b", TensorType::fixed(f64, &[3]));
    let mut b = Builder::new(&mut body);
    let (product, scaled) = (b.mul(x, h), b.mul(h, factor));
    let sum = b.add(product, factor);
    let (one, two, zero) = (b.like(count, 1.0), b.like(count, 2.0), b.like(count, 0.0));
    let parity = b.rem(count, two);
    let even = b.equal(parity, zero);
    let next = b.select(even, sum, scaled);
    let more = b.add(count, one);
    body.add_output("n", more);
    body.add_output("h", next);
    let op = Scan { body: Arc::new(body), carried: 2, scanned: 1, reverse };
    Example::accepted(op, &["i64[]", "f64[2, 3]", "f64[t, 2, 3]", "f64[3]"]).with_values(0, 0.0, 1.0)
}

fn same_type(found: &TensorType, expected: &TensorType, facts: &mut Facts, label: &'static str, name: &str) -> Result<(), TypeError> {
    if found.dtype != expected.dtype || found.rank() != expected.rank() {
        return Err(TypeError::new(label, format!("`{name}` of the body is {expected}, outside it is {found}")));
    }
    for (a, b) in found.shape.iter().zip(&expected.shape) {
        facts.equal(a, b, label, format_args!("`{name}` of the body is {expected}, outside it is {found}"))?;
    }
    Ok(())
}

fn slice_of(stacked: &Tensor, step: usize) -> Tensor {
    let size = stacked.bytes().len() / stacked.shape()[0];
    Tensor::from_vec(stacked.dtype(), stacked.shape()[1..].to_vec(), stacked.bytes()[step * size..][..size].to_vec())
}
