//! The gradient of a loop: a second loop, in the other direction.
//!
//! The body is differentiated like any graph. What its gradient needs of the values of a step is kept by the forward loop, which
//! stacks it beside its results; what only moves other values or depends on captured operands alone is computed again.
//! ```text
//! c', y = body(c, x, w)      →      dc, dx, dw += bodyᵀ(kept; dc', dy)      from the last step to the first
//! ```
//! Gradients of captured operands are sums over the steps. Where a step's term is a dot product or a sum, its operands are stacked
//! and one dot product or sum after the loop does the work of all steps.

use super::Scan;
use crate::gradient::gradients;
use crate::graph::NodeKind;
use crate::ops::{Dot, Gradient, Op, Reduce, ReduceKind, Transpose};
use crate::{Builder, Graph, NodeId, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See [`Operator::vjp`](crate::Operator::vjp); results always come from a loop that keeps what is needed.
pub(super) fn vjp(op: &Scan, b: &mut Builder, x: &[Value], dy: &[Option<Value>]) -> Gradient {
    let step = Step::new(op, dy);
    let kept: Vec<Value> = step.kept.iter().copied().collect();
    let results = forward(op, b, x, &step, &kept);
    let (results, stacks) = results.split_at(op.body.outputs().len());
    let stack_of: BTreeMap<Value, Value> = kept.into_iter().zip(stacks.iter().copied()).collect();
    Gradient::WithResults { results: results.to_vec(), gradients: backward(op, b, x, dy, &step, &stack_of) }
}

/// One step with its gradient.
struct Step {
    /// The body, inputs for the gradients of its results, and the gradients of its inputs.
    graph: Graph,
    /// The body's inputs.
    inputs: Vec<Value>,
    /// For each result of the body the input that holds its gradient.
    result_gradients: Vec<Option<Value>>,
    /// For each input of the body its gradient.
    gradients: Vec<Option<Value>>,
    /// Nodes that depend on the gradients of results.
    backward: BTreeSet<NodeId>,
    /// Captured operands whose gradient is computed after the loop.
    after: BTreeMap<usize, After>,
    /// Values that the forward loop stacks.
    kept: BTreeSet<Value>,
    /// Inputs of the body that the backward loop reads as they are.
    read: BTreeSet<usize>,
}

/// What sums a gradient over all steps: an operator on stacked operands, then a transposition.
struct After {
    op: Op,
    operands: Vec<Value>,
    perm: Option<Vec<usize>>,
}

impl Step {
    fn new(op: &Scan, dy: &[Option<Value>]) -> Step {
        let mut graph = (*op.body).clone();
        let inputs: Vec<Value> = graph.inputs().iter().map(|(_, v)| *v).collect();
        let results: Vec<Value> = graph.outputs().iter().map(|(_, v)| *v).collect();
        let mut result_gradients = Vec::new();
        for (position, result) in results.iter().enumerate() {
            let ty = graph.ty(*result).clone();
            // Later steps may pass a gradient to a carried value even if nothing outside the loop does.
            let has_gradient = ty.dtype.is_float() && (position < op.carried || dy[position].is_some());
            result_gradients.push(has_gradient.then(|| graph.add_input(format!("d{position}"), ty)));
        }
        let of: Vec<(Value, Value)> = results.iter().zip(&result_gradients).filter_map(|(y, dy)| Some((*y, (*dy)?))).collect();
        let found = gradients(&mut graph, &of, &inputs);
        let graph = graph.substitute(&found.same);
        let by = found.by.into_iter().zip(&inputs).map(|(g, v)| g.filter(|_| graph.ty(*v).dtype.is_float())).collect();
        let mut step = Step {
            graph,
            inputs,
            result_gradients,
            gradients: by,
            backward: BTreeSet::new(),
            after: BTreeMap::new(),
            kept: BTreeSet::new(),
            read: BTreeSet::new(),
        };
        step.divide(op);
        step
    }

    /// Decides where each value of the step comes from in the backward loop.
    fn divide(&mut self, op: &Scan) {
        let wanted: Vec<Value> = self.gradients.iter().flatten().copied().collect();
        let mut per_step: BTreeSet<NodeId> = BTreeSet::new();
        let order = self.graph.order_from(wanted.iter().map(|v| v.node), &|_| false);
        for id in &order {
            let node = self.graph.node(*id);
            let of = |set: &BTreeSet<NodeId>| node.inputs.iter().any(|v| set.contains(&v.node));
            if of(&self.backward) || self.result_gradients.iter().flatten().any(|v| v.node == *id) {
                self.backward.insert(*id);
            }
            if of(&per_step) || self.inputs[..op.carried + op.scanned].iter().any(|v| v.node == *id) {
                per_step.insert(*id);
            }
        }
        for position in op.carried + op.scanned..self.inputs.len() {
            let Some(after) = self.gradients[position].and_then(|gradient| after_loop(&self.graph, gradient)) else { continue };
            let varies = |v: &Value| self.backward.contains(&v.node) || per_step.contains(&v.node);
            if after.operands.iter().all(varies) {
                self.after.insert(position, after);
            }
        }
        // What backward nodes read of the forward step, back to where it is stored.
        let mut forward: Vec<Value> = Vec::new();
        let mut stacked: Vec<Value> = Vec::new();
        for (position, gradient) in self.gradients.iter().enumerate() {
            match self.after.get(&position) {
                Some(after) => stacked.extend(&after.operands),
                None => forward.extend(gradient),
            }
        }
        let roots: Vec<NodeId> = forward.iter().chain(&stacked).map(|v| v.node).collect();
        for id in self.graph.order_from(roots, &|id| !self.backward.contains(&id)) {
            if self.backward.contains(&id) {
                forward.extend(&self.graph.node(id).inputs);
            }
        }
        let mut seen = BTreeSet::new();
        while let Some(value) = forward.pop() {
            if self.backward.contains(&value.node) || !seen.insert(value) {
                continue;
            }
            match self.inputs.iter().position(|v| *v == value) {
                Some(position) if position >= op.carried => drop(self.read.insert(position)),
                None if !per_step.contains(&value.node) || self.only_moves(value) => forward.extend(&self.graph.node(value.node).inputs),
                _ => drop(self.kept.insert(value)),
            }
        }
        // What a few operations make of other kept values is not worth its memory.
        for value in self.kept.clone() {
            self.kept.remove(&value);
            let inputs = &self.graph.node(value.node).inputs;
            if !self.is_cheap(value) || !inputs.iter().all(|v| self.is_at_hand(*v, &per_step)) {
                self.kept.insert(value);
            }
        }
        for value in stacked.into_iter().filter(|v| !self.backward.contains(&v.node)) {
            if self.scanned_position(op, value).is_none() {
                self.kept.insert(value);
            }
        }
    }

    /// Whether the backward loop has a value, or makes it of what it has in a few operations.
    fn is_at_hand(&self, value: Value, per_step: &BTreeSet<NodeId>) -> bool {
        let is_read = || self.inputs.iter().position(|v| *v == value).is_some_and(|position| self.read.contains(&position));
        let is_made = || {
            let inputs = &self.graph.node(value.node).inputs;
            (self.is_cheap(value) || self.only_moves(value)) && inputs.iter().all(|v| self.is_at_hand(*v, per_step))
        };
        !per_step.contains(&value.node) || self.kept.contains(&value) || is_read() || is_made()
    }

    fn is_cheap(&self, value: Value) -> bool {
        let kind = &self.graph.node(value.node).kind;
        matches!(kind, NodeKind::Op(Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Neg(_)))
    }

    fn only_moves(&self, value: Value) -> bool {
        let kind = &self.graph.node(value.node).kind;
        matches!(kind, NodeKind::Op(Op::Broadcast(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_)))
    }

    /// The scanned operand that a value of the step is a slice of.
    fn scanned_position(&self, op: &Scan, value: Value) -> Option<usize> {
        (op.carried..op.carried + op.scanned).find(|p| self.inputs[*p] == value)
    }
}

/// How a gradient that every step adds to can be computed from stacked operands instead.
fn after_loop(graph: &Graph, gradient: Value) -> Option<After> {
    let node = graph.node(gradient.node);
    let later = |axes: &[usize]| axes.iter().map(|a| a + 1).collect::<Vec<_>>();
    let with_steps = |axes: &[usize]| [vec![0], later(axes)].concat();
    let NodeKind::Op(op) = &node.kind else { return None };
    let op: Op = match op {
        Op::Transpose(Transpose { perm }) => {
            let inner = after_loop(graph, node.inputs[0])?;
            return inner.perm.is_none().then(|| After { perm: Some(perm.clone()), ..inner });
        }
        Op::Dot(dot) => Dot {
            a_batch: later(&dot.a_batch),
            b_batch: later(&dot.b_batch),
            a_contract: with_steps(&dot.a_contract),
            b_contract: with_steps(&dot.b_contract),
        }
        .into(),
        Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: false }) => {
            Reduce { kind: ReduceKind::Sum, axes: with_steps(axes), keep: false }.into()
        }
        _ => return None,
    };
    Some(After { op, operands: node.inputs.clone(), perm: None })
}

/// The loop of `op` that stacks what is kept, too.
fn forward(op: &Scan, b: &mut Builder, x: &[Value], step: &Step, kept: &[Value]) -> Vec<Value> {
    let mut body = step.graph.without_nodes();
    let mut map = BTreeMap::new();
    for (input, (name, _)) in step.inputs.iter().zip(op.body.inputs()) {
        map.insert(*input, body.add_input(name.clone(), step.graph.ty(*input).clone()));
    }
    let outputs: Vec<Value> = step.graph.outputs().iter().map(|(_, v)| *v).chain(kept.iter().copied()).collect();
    for (position, value) in body.copy_from(&step.graph, &outputs, &mut map).into_iter().enumerate() {
        body.add_output(format!("y{position}"), value);
    }
    b.ops(Scan { body: Arc::new(body), ..op.clone() }, x)
}

/// The loop in the other direction, and the gradients by the operands of `op`.
fn backward(
    op: &Scan,
    b: &mut Builder,
    x: &[Value],
    dy: &[Option<Value>],
    step: &Step,
    stack_of: &BTreeMap<Value, Value>,
) -> Vec<Option<Value>> {
    let first_captured = op.carried + op.scanned;
    let mut body = step.graph.without_nodes();
    let mut map = BTreeMap::new();
    let mut operands: Vec<Value> = Vec::new();
    let mut input = |body: &mut Graph, operand: Value, ty: &crate::TensorType| {
        operands.push(operand);
        body.add_input(format!("x{}", operands.len() - 1), ty.clone())
    };
    let of_step = |value: Value| step.graph.ty(value);

    // Carried: gradients of the carried values, and sums for the captured ones.
    let carried: Vec<usize> = (0..op.carried).filter(|p| step.result_gradients[*p].is_some()).collect();
    for &position in &carried {
        let gradient = dy[position].unwrap_or_else(|| b.like(x[position], 0.0));
        let inside = step.result_gradients[position].expect("just chosen");
        map.insert(inside, input(&mut body, gradient, of_step(inside)));
    }
    let summed: Vec<usize> =
        (first_captured..x.len()).filter(|p| step.gradients[*p].is_some() && !step.after.contains_key(p)).collect();
    let mut sums = Vec::new();
    for &position in &summed {
        let zeros = b.like(x[position], 0.0);
        sums.push(input(&mut body, zeros, of_step(step.inputs[position])));
    }
    // Scanned: what was kept, slices of scanned operands, gradients of stacked results.
    let carried_count = carried.len() + summed.len();
    let mut scanned_count = 0;
    for (value, stack) in stack_of {
        map.insert(*value, input(&mut body, *stack, of_step(*value)));
        scanned_count += 1;
    }
    for (position, operand) in x.iter().enumerate().take(first_captured).skip(op.carried) {
        let nothing_else = scanned_count == 0 && position + 1 == first_captured && step.result_gradients[op.carried..].iter().all(Option::is_none);
        // A loop needs something to count its steps by.
        if step.read.contains(&position) || nothing_else {
            map.insert(step.inputs[position], input(&mut body, *operand, of_step(step.inputs[position])));
            scanned_count += 1;
        }
    }
    for (inside, dy) in step.result_gradients.iter().zip(dy).skip(op.carried) {
        if let (Some(inside), Some(dy)) = (inside, dy) {
            map.insert(*inside, input(&mut body, *dy, of_step(*inside)));
            scanned_count += 1;
        }
    }
    for position in step.read.range(first_captured..) {
        map.insert(step.inputs[*position], input(&mut body, x[*position], of_step(step.inputs[*position])));
    }

    let origin = b.origin();
    let place = |body: &mut Graph, map: &mut BTreeMap<Value, Value>, value: Value| body.copy_from(&step.graph, &[value], map)[0];
    for &position in &carried {
        let next = match step.gradients[position] {
            Some(gradient) => place(&mut body, &mut map, gradient),
            None => Builder::from_origin(&mut body, origin.clone()).like(map[&step.result_gradients[position].expect("chosen")], 0.0),
        };
        body.add_output(format!("y{position}"), next);
    }
    for (&position, sum) in summed.iter().zip(&sums) {
        let term = place(&mut body, &mut map, step.gradients[position].expect("just chosen"));
        let next = Builder::from_origin(&mut body, origin.clone()).add(*sum, term);
        body.add_output(format!("y{position}"), next);
    }
    let scanned: Vec<usize> = (op.carried..first_captured).filter(|p| step.gradients[*p].is_some()).collect();
    for &position in &scanned {
        let slice = place(&mut body, &mut map, step.gradients[position].expect("just chosen"));
        body.add_output(format!("y{position}"), slice);
    }
    // Operands of what is computed after the loop, unless their stacks are there already.
    let mut stacked: Vec<Value> = scanned.iter().filter_map(|p| step.gradients[*p]).collect();
    for operand in step.after.values().flat_map(|after| &after.operands) {
        if step.backward.contains(&operand.node) && !stacked.contains(operand) {
            stacked.push(*operand);
            let slice = place(&mut body, &mut map, *operand);
            body.add_output(format!("s{}", stacked.len()), slice);
        }
    }
    if body.outputs().is_empty() {
        return vec![None; x.len()];
    }

    let back = Scan { body: Arc::new(body), carried: carried_count, scanned: scanned_count, reverse: !op.reverse };
    let results = b.ops(back, &operands);
    let mut gradients = vec![None; x.len()];
    for (position, result) in carried.iter().chain(&summed).chain(&scanned).zip(&results) {
        gradients[*position] = Some(*result);
    }
    let new_stacks = &results[carried_count..];
    for (position, after) in &step.after {
        let stack = |value: &Value| match (stacked.iter().position(|v| v == value), step.scanned_position(op, *value)) {
            (Some(at), _) => new_stacks[at],
            (None, Some(position)) => x[position],
            (None, None) => stack_of[value],
        };
        let operands: Vec<Value> = after.operands.iter().map(stack).collect();
        let sum = b.op(after.op.clone(), &operands);
        gradients[*position] = Some(after.perm.as_ref().map_or(sum, |perm| b.transpose(sum, perm)));
    }
    gradients
}
