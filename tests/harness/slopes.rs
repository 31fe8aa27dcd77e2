//! Gradients against central differences, in f64 with the reference interpreter.

use crate::compare::{Tolerance, difference};
use crate::samples::{self, Fill, Random};
use kiln_ir::eval::evaluate;
use kiln_ir::gradient::gradients;
use kiln_ir::{Builder, DType, Graph, Module, Tensor, Value};
use std::collections::BTreeMap;

/// Half the distance between the points of a central difference.
const STEP: f64 = 1e-5;

/// A function of the inputs of `graph`, and of a weight for each floating output, that gives the gradient of Σ weight · output by
/// each floating input.
pub fn gradient_graph(graph: &Graph) -> Graph {
    let mut work = graph.clone();
    let smooth = |(_, v): &&(String, Value)| graph.ty(*v).dtype.is_float();
    let by: Vec<Value> = graph.inputs().iter().filter(smooth).map(|(_, v)| *v).collect();
    let outputs: Vec<Value> = graph.outputs().iter().filter(smooth).map(|(_, v)| *v).collect();
    let of: Vec<(Value, Value)> =
        outputs.iter().enumerate().map(|(i, y)| (*y, work.add_input(format!("w{i}"), graph.ty(*y).clone()))).collect();
    let found = gradients(&mut work, &of, &by);
    // No gradient claims that nothing depends on the operand.
    let by: Vec<Value> = found.by.into_iter().zip(&by).map(|(g, x)| g.unwrap_or_else(|| Builder::new(&mut work).like(*x, 0.0))).collect();
    let work = work.substitute(&found.same);
    let mut out = work.without_nodes();
    let mut map = BTreeMap::new();
    for (position, (_, input)) in work.inputs().iter().enumerate() {
        map.insert(*input, out.add_input(format!("x{position}"), work.ty(*input).clone()));
    }
    for (position, value) in out.copy_from(&work, &by, &mut map).into_iter().enumerate() {
        out.add_output(format!("d{position}"), value);
    }
    out
}

/// The first element of a gradient that is not the slope, in words. `gradient` comes from [`gradient_graph`], `inputs` fill `graph`.
pub fn wrong_slope(graph: &Graph, gradient: &Graph, inputs: &[Tensor], tolerance: Tolerance, random: &mut Random) -> Option<String> {
    let run = |graph: &Graph, inputs: &[Tensor]| evaluate(&Module::default(), graph, inputs).map_err(|e| e.to_string());
    let results = match run(graph, inputs) {
        Ok(results) => results,
        Err(error) => return Some(error),
    };
    let smooth: Vec<usize> = (0..results.len()).filter(|i| results[*i].dtype() == DType::F64).collect();
    // What is infinite or not a number has no slope.
    let draw = |i: &usize, random: &mut Random| {
        let weights = samples::tensor(DType::F64, results[*i].shape(), Fill::Ordinary, Some((0.5, 1.0)), random);
        let kept = weights.floats().into_iter().zip(results[*i].floats()).map(|(w, y)| if y.is_finite() { w } else { 0.0 });
        Tensor::from_floats(DType::F64, weights.shape().to_vec(), kept)
    };
    let weights: Vec<Tensor> = smooth.iter().map(|i| draw(i, random)).collect();
    let found = match run(gradient, &[inputs, &weights].concat()) {
        Ok(found) => found,
        Err(error) => return Some(format!("its gradient: {error}")),
    };
    let sum = |inputs: &[Tensor]| -> f64 {
        let results = run(graph, inputs).unwrap_or_else(|error| panic!("{error}"));
        let term = |(y, w): (f64, f64)| if w == 0.0 { 0.0 } else { y * w };
        let sum = |(i, w): (&usize, &Tensor)| results[*i].floats().into_iter().zip(w.floats()).map(term).sum::<f64>();
        smooth.iter().zip(&weights).map(sum).sum()
    };
    let operands = (0..inputs.len()).filter(|i| inputs[*i].dtype() == DType::F64);
    operands.zip(&found).find_map(|(operand, found)| {
        difference(found, &slopes(&sum, inputs, operand), tolerance).map(|apart| format!("by operand {operand}, {apart}"))
    })
}

/// A number that depends on tensors.
pub type Function<'a> = &'a dyn Fn(&[Tensor]) -> f64;

/// The central difference of a function by each element of one of its f64 arguments.
pub fn slopes(f: Function, inputs: &[Tensor], operand: usize) -> Tensor {
    let values = inputs[operand].floats();
    let at = |element: usize, value: f64| {
        let mut moved = values.clone();
        moved[element] = value;
        let mut inputs = inputs.to_vec();
        inputs[operand] = Tensor::from_floats(DType::F64, inputs[operand].shape().to_vec(), moved);
        f(&inputs)
    };
    let slope = |(i, v): (usize, &f64)| (at(i, v + STEP) - at(i, v - STEP)) / (2.0 * STEP);
    Tensor::from_floats(DType::F64, inputs[operand].shape().to_vec(), values.iter().enumerate().map(slope))
}
