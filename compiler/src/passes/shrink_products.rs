//! Sums products over axes before multiplying, and multiplies once what is repeated.
//! ```text
//! %r = broadcast %x {shape = [t, k]} ; %y = dot %r, %w             →      %p = dot %x', %w ; %y = broadcast %p
//! %y = dot %a, %r, over an axis along which %r repeats             →      %s = reduce %a {kind = sum} ; %y = dot %s, %x
//! %p = dot %a, %w ; %y = reduce %p over a free axis of %a          →      %s = reduce %a {kind = sum} ; %y = dot %s, %w
//! ```
//! A mean over time behind a projection becomes a projection of the mean, and so do the gradients of both.
//!
//! Needs: composites expanded.  Keeps: the real function; sums are added up in another order.  Skips: `--exact`; types other than f32
//! and f64; axes of size 1; sums of products that something else needs as well.

use super::deduplicate::deduplicate;
use super::regions::{keep, rebuild_with_ids};
use crate::cut::role::{Role, role};
use crate::egraph::rule::Freedom;
use crate::pipeline::Context;
use kiln_ir::graph::{NodeKind, Origin};
use kiln_ir::ops::{Broadcast, Dot, Reduce, ReduceKind};
use kiln_ir::{Builder, DType, Dim, Graph, NodeId, Op, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Rounds after which it stops; each lets sums go through one product more.
const MOST_ROUNDS: usize = 6;
/// How far an axis is followed through operators.
const DEEPEST: usize = 24;

/// See the head of this file.
pub fn shrink_products(graph: &Graph, context: &Context) -> Graph {
    let free = context.config.recognise.as_ref().is_some_and(|how| how.freedom >= Freedom::Reassociation);
    if !free {
        return graph.clone();
    }
    let mut graph = graph.clone();
    for _ in 0..MOST_ROUNDS {
        let (smaller, changed) = once(&graph);
        // What two products now share is one sum, which may go into the next product.
        graph = deduplicate(&smaller, context);
        if !changed {
            break;
        }
    }
    graph
}

/// One round, and whether it changed anything.
fn once(graph: &Graph) -> (Graph, bool) {
    let mut shrinker = Shrinker::default();
    let live: BTreeSet<NodeId> = graph.order().into_iter().collect();
    let mut changed = false;
    let smaller = rebuild_with_ids(graph, |out, id, node, op, x| {
        let mut step = Step { out, origin: node.origin.clone(), shrinker: &mut shrinker };
        let made = match op {
            Op::Dot(dot) => step.dot(dot, x),
            Op::Reduce(reduce) => step.reduce(reduce, x[0]),
            _ => None,
        };
        changed |= made.is_some();
        let made = made.map(|value| vec![value]).unwrap_or_else(|| keep(out, node, op, x));
        let users = graph.users(id).iter().filter(|(user, _)| live.contains(user)).count();
        let outputs = graph.outputs().iter().filter(|(_, v)| v.node == id).count();
        made.iter().for_each(|value| *shrinker.users.entry(*value).or_default() += users + outputs);
        made
    });
    (smaller, changed)
}

/// What was found out about values of the new graph.
#[derive(Default)]
struct Shrinker {
    /// How many operators and outputs of the old graph use each.
    users: BTreeMap<Value, usize>,
    /// One slice along an axis of values that are the same along it. Looked up only.
    slices: HashMap<(Value, usize), Option<Value>>,
}

/// One operator in the place of another.
struct Step<'a> {
    out: &'a mut Graph,
    origin: Option<Arc<Origin>>,
    shrinker: &'a mut Shrinker,
}

impl Step<'_> {
    fn build<T>(&mut self, f: impl FnOnce(&mut Builder) -> T) -> T {
        f(&mut Builder::from_origin(self.out, self.origin.clone()))
    }

    fn shape(&self, value: Value) -> Vec<Dim> {
        self.out.ty(value).shape.clone()
    }

    fn producer(&self, value: Value) -> Option<(Op, Vec<Value>)> {
        let node = self.out.node(value.node);
        match &node.kind {
            NodeKind::Op(op) if node.types.len() == 1 => Some((op.clone(), node.inputs.clone())),
            _ => None,
        }
    }

    /// A smaller product in the place of one whose operands repeat.
    fn dot(&mut self, dot: &Dot, x: &[Value]) -> Option<Value> {
        if !is_real(self.out.ty(x[0]).dtype) {
            return None;
        }
        let ranks = [self.shape(x[0]).len(), self.shape(x[1]).len()];
        let (given, mut axes) = (Axes::of(dot, ranks), Axes::of(dot, ranks));
        let mut operands = [x[0], x[1]];
        // Axes along which the result repeats.
        let mut repeated: Vec<usize> = Vec::new();
        let result = dot_shape(dot, &self.shape(x[0]), &self.shape(x[1]));
        for side in [0, 1] {
            // From the last on, so that those before keep their places.
            for axis in given.free(side).into_iter().rev() {
                let is_one = self.shape(operands[side])[axis].is(1);
                let Some(slice) = self.slice(operands[side], axis, DEEPEST).filter(|_| !is_one) else { continue };
                repeated.push(given.result_axis(side, axis));
                operands[side] = slice;
                axes.remove_free(side, axis);
            }
        }
        let mut shrunk = !repeated.is_empty();
        for side in [0, 1] {
            let other = 1 - side;
            // A product with a vector is no more work than a sum.
            if !axes.free(side).iter().any(|axis| !self.shape(operands[side])[*axis].is(1)) {
                continue;
            }
            for pair in (0..axes.contract[0].len()).rev() {
                let [axis, across] = [axes.contract[side][pair], axes.contract[other][pair]];
                if self.shape(operands[side])[axis].is(1) {
                    continue;
                }
                let Some(slice) = self.slice(operands[side], axis, DEEPEST) else { continue };
                operands[side] = slice;
                operands[other] = self.sum(operands[other], across);
                axes.remove_pair(pair);
                shrunk = true;
            }
        }
        if !shrunk {
            return None;
        }
        let product = self.build(|b| b.op(axes.dot(), &operands));
        let kept: Vec<Dim> = result.iter().enumerate().map(|(i, d)| if repeated.contains(&i) { Dim::ONE } else { d.clone() }).collect();
        Some(self.build(|b| {
            let kept = b.reshape(product, &kept);
            b.broadcast_to(kept, &result)
        }))
    }

    /// A product of sums in the place of a sum of products.
    fn reduce(&mut self, reduce: &Reduce, x: Value) -> Option<Value> {
        if reduce.kind != ReduceKind::Sum || !is_real(self.out.ty(x).dtype) {
            return None;
        }
        let shape = self.shape(x);
        let (axis, summed) = reduce
            .axes
            .iter()
            .filter(|axis| !shape[**axis].is(1))
            .find_map(|axis| Some((*axis, self.sum_of_product(x, *axis, DEEPEST)?)))?;
        let others: Vec<usize> = reduce.axes.iter().filter(|a| **a != axis).map(|a| a - usize::from(*a > axis)).collect();
        let shape = Reduce::shape(&shape, &reduce.axes, reduce.keep, Dim::ONE);
        Some(self.build(|b| {
            let rest = if others.is_empty() { summed } else { b.reduce_sum(summed, &others, false) };
            b.reshape(rest, &shape)
        }))
    }

    /// The value at any one place of an axis along which it is the same, without the axis.
    fn slice(&mut self, value: Value, axis: usize, depth: usize) -> Option<Value> {
        if let Some(known) = self.shrinker.slices.get(&(value, axis)) {
            return *known;
        }
        let found = depth.checked_sub(1).and_then(|depth| self.find_slice(value, axis, depth));
        self.shrinker.slices.insert((value, axis), found);
        found
    }

    fn find_slice(&mut self, value: Value, axis: usize, depth: usize) -> Option<Value> {
        let (op, x) = self.producer(value)?;
        match &op {
            Op::Broadcast(_) => {
                let shape = self.shape(value);
                let without = [&shape[..axis], &shape[axis + 1..]].concat();
                let from = self.shape(x[0]);
                let inner = (axis + from.len()).checked_sub(shape.len());
                let inner = match inner {
                    None => x[0],
                    Some(at) if from[at].is(1) && !shape[axis].is(1) => {
                        self.build(|b| b.reshape(x[0], &[&from[..at], &from[at + 1..]].concat()))
                    }
                    Some(at) => self.slice(x[0], at, depth)?,
                };
                Some(self.build(|b| b.op(Broadcast { shape: without }, &[inner])))
            }
            Op::Transpose(_) | Op::Reshape(_) => self.through_movement(value, axis, |step, x, at| step.slice(x, at, depth)),
            _ if is_elementwise(&op) => {
                let inner = x.iter().map(|x| self.slice(*x, axis, depth)).collect::<Option<Vec<Value>>>()?;
                Some(self.build(|b| b.op(op, &inner)))
            }
            _ => None,
        }
    }

    /// What `inside` makes of a transposition's or a reshape's operand and the axis there, moved as the operand is.
    fn through_movement(
        &mut self,
        value: Value,
        axis: usize,
        inside: impl FnOnce(&mut Self, Value, usize) -> Option<Value>,
    ) -> Option<Value> {
        let (op, x) = self.producer(value)?;
        match &op {
            Op::Transpose(op) => {
                let inner = inside(self, x[0], op.perm[axis])?;
                let perm = perm_without(&op.perm, axis);
                Some(self.build(|b| b.transpose(inner, &perm)))
            }
            Op::Reshape(_) => {
                let shape = self.shape(value);
                let inner = inside(self, x[0], aligned(&self.shape(x[0]), &shape, axis)?)?;
                let without = [&shape[..axis], &shape[axis + 1..]].concat();
                Some(self.build(|b| b.reshape(inner, &without)))
            }
            _ => None,
        }
    }

    /// The sum along an axis, without it.
    fn sum(&mut self, value: Value, axis: usize) -> Value {
        self.sum_of_product(value, axis, DEEPEST).unwrap_or_else(|| self.build(|b| b.reduce_sum(value, &[axis], false)))
    }

    /// The sum along an axis, if it can be taken of an operand of the product that the value is made of.
    fn sum_of_product(&mut self, value: Value, axis: usize, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        if self.shrinker.users.get(&value).is_some_and(|users| *users > 1) {
            return None;
        }
        let (op, x) = self.producer(value)?;
        let shape = self.shape(value);
        match &op {
            Op::Transpose(_) | Op::Reshape(_) => self.through_movement(value, axis, |step, x, at| step.sum_of_product(x, at, depth)),
            Op::Neg(_) => {
                let inner = self.sum_of_product(x[0], axis, depth)?;
                Some(self.build(|b| b.op(op, &[inner])))
            }
            Op::Add(_) | Op::Sub(_) => {
                let mut parts = [None, None];
                for (part, other) in [(0, 1), (1, 0)] {
                    if let Some(slice) = self.slice(x[other], axis, DEEPEST) {
                        let sum = self.sum_of_product(x[part], axis, depth)?;
                        parts[part] = Some(sum);
                        parts[other] = Some(self.times(slice, &shape[axis]));
                        break;
                    }
                }
                let [Some(a), Some(c)] = parts else { return None };
                Some(self.build(|b| b.op(op, &[a, c])))
            }
            Op::Mul(_) | Op::Div(_) => {
                let is_quotient = matches!(op, Op::Div(_));
                let (part, factor) = match (self.slice(x[1], axis, DEEPEST), is_quotient) {
                    (Some(slice), _) => (x[0], [None, Some(slice)]),
                    (None, true) => return None,
                    (None, false) => (x[1], [Some(self.slice(x[0], axis, DEEPEST)?), None]),
                };
                let sum = self.sum_of_product(part, axis, depth)?;
                let operands = factor.map(|known| known.unwrap_or(sum));
                Some(self.build(|b| b.op(op, &operands)))
            }
            Op::Dot(dot) => {
                let mut axes = Axes::of(dot, [self.shape(x[0]).len(), self.shape(x[1]).len()]);
                let (side, at) = [0, 1].into_iter().find_map(|side| {
                    let at = axes.free(side).into_iter().find(|at| axes.result_axis(side, *at) == axis)?;
                    Some((side, at))
                })?;
                // What the other operand adds must be more than nothing.
                if !axes.free(1 - side).iter().chain(&axes.contract[1 - side]).any(|a| !self.shape(x[1 - side])[*a].is(1)) {
                    return None;
                }
                let mut operands = [x[0], x[1]];
                operands[side] = self.sum(x[side], at);
                axes.remove_free(side, at);
                Some(self.build(|b| b.op(axes.dot(), &operands)))
            }
            _ => None,
        }
    }

    /// A value times a size.
    fn times(&mut self, value: Value, size: &Dim) -> Value {
        let shape = self.shape(value);
        self.build(|b| {
            let (dtype, size) = (b.dtype(value), b.dims(std::slice::from_ref(size)));
            let size = b.reshape(size, &[]);
            let size = b.cast(size, dtype);
            let size = b.broadcast_to(size, &shape);
            b.mul(value, size)
        })
    }
}

fn is_real(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

fn is_elementwise(op: &Op) -> bool {
    matches!(role(op), Role::Unary(_) | Role::Binary(_) | Role::Compare(_) | Role::Select | Role::Cast)
}

/// A permutation of what is left without the axis at one place of its result.
fn perm_without(perm: &[usize], at: usize) -> Vec<usize> {
    let gone = perm[at];
    perm.iter().filter(|a| **a != gone).map(|a| a - usize::from(*a > gone)).collect()
}

/// The axis of a reshape's operand that one of its result's axes is, untouched.
fn aligned(from: &[Dim], to: &[Dim], axis: usize) -> Option<usize> {
    let before = Dim::product(&to[..axis]);
    (0..from.len()).find(|&at| from[at] == to[axis] && Dim::product(&from[..at]) == before)
}

fn dot_shape(dot: &Dot, a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let free_of_a = Dot::free_axes(a.len(), &dot.a_batch, &dot.a_contract).into_iter().map(|i| a[i].clone());
    let free_of_b = Dot::free_axes(b.len(), &dot.b_batch, &dot.b_contract).into_iter().map(|i| b[i].clone());
    dot.a_batch.iter().map(|i| a[*i].clone()).chain(free_of_a).chain(free_of_b).collect()
}

/// The axes of a product's operands, some of which go.
struct Axes {
    ranks: [usize; 2],
    batch: [Vec<usize>; 2],
    contract: [Vec<usize>; 2],
}

impl Axes {
    fn of(dot: &Dot, ranks: [usize; 2]) -> Axes {
        Axes { ranks, batch: [dot.a_batch.clone(), dot.b_batch.clone()], contract: [dot.a_contract.clone(), dot.b_contract.clone()] }
    }

    fn dot(&self) -> Dot {
        let [a_batch, b_batch] = self.batch.clone();
        let [a_contract, b_contract] = self.contract.clone();
        Dot { a_batch, b_batch, a_contract, b_contract }
    }

    fn free(&self, side: usize) -> Vec<usize> {
        Dot::free_axes(self.ranks[side], &self.batch[side], &self.contract[side])
    }

    /// Where a free axis is in the result.
    fn result_axis(&self, side: usize, axis: usize) -> usize {
        let before = if side == 1 { self.free(0).len() } else { 0 };
        self.batch[0].len() + before + self.free(side).iter().filter(|a| **a < axis).count()
    }

    fn remove_free(&mut self, side: usize, axis: usize) {
        self.ranks[side] -= 1;
        for list in [&mut self.batch[side], &mut self.contract[side]] {
            list.iter_mut().filter(|a| **a > axis).for_each(|a| *a -= 1);
        }
    }

    fn remove_pair(&mut self, pair: usize) {
        for side in [0, 1] {
            let axis = self.contract[side].remove(pair);
            self.remove_free(side, axis);
        }
    }
}
