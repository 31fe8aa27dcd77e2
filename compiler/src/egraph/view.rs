//! How rules look at the e-graph: classes, their types and values, and the operators in them.
//!
//! Matching is plain Rust: [`View::find`] tries the operators of a class until the closure accepts one, and closures nest, so
//! that what fails inside goes on with the next operator outside.

use super::EGraph;
use super::lang::ENode;
use egg::Id;
use kiln_ir::ops::{Reduce, ReduceKind};
use kiln_ir::{Dim, NodeKind, Op, Proof, Tensor, TensorType};

/// The e-graph as rules see it: rebuilt, so that equal classes have equal ids.
#[derive(Clone, Copy)]
pub struct View<'e>(pub &'e EGraph);

impl<'e> View<'e> {
    /// The type of a class.
    pub fn ty(self, class: Id) -> &'e TensorType {
        &self.0[class].data.types[0]
    }

    /// The shape of a class.
    pub fn shape(self, class: Id) -> &'e [Dim] {
        &self.ty(class).shape
    }

    /// Operators of a class with their operands, in an order that depends on the program alone.
    pub fn ops(self, class: Id) -> impl Iterator<Item = (&'e Op, &'e [Id])> {
        let EGraph { analysis, .. } = self.0;
        self.0[class].nodes.iter().filter_map(|node: &ENode| analysis.op(node).map(|op| (op, node.operands.as_slice())))
    }

    /// The operator of a class that is nothing else, and its operands.
    pub fn only(self, class: Id) -> Option<(&'e Op, &'e [Id])> {
        let mut ops = self.ops(class);
        let first = ops.next()?;
        ops.next().is_none().then_some(first)
    }

    /// The first that `accept` makes something of.
    pub fn find<T>(self, class: Id, mut accept: impl FnMut(&'e Op, &'e [Id]) -> Option<T>) -> Option<T> {
        self.ops(class).find_map(|(op, x)| accept(op, x))
    }

    /// The value that all elements have, if it is known, as a number.
    pub fn uniform(self, class: Id) -> Option<f64> {
        self.0[class].data.uniform.as_ref().map(|scalar| scalar.floats()[0])
    }

    /// Whether every element is that number, up to the rounding of its type.
    pub fn is_number(self, class: Id, number: f64) -> bool {
        self.uniform(class).is_some_and(|value| close(value, number))
    }

    /// The elements of a constant.
    pub fn constant(self, class: Id) -> Option<&'e Tensor> {
        self.0[class].nodes.iter().find_map(|node| match self.0.analysis.kind(node) {
            super::lang::Kind::Node(NodeKind::Constant(tensor)) => Some(tensor),
            _ => None,
        })
    }

    /// Whether a class depends on parameters and constants alone.
    pub fn is_fixed(self, class: Id) -> bool {
        self.0[class].data.fixed
    }

    /// Whether dims are equal for every value of the symbols.
    pub fn same_dims(self, a: &[Dim], b: &[Dim]) -> bool {
        let same = |(a, b): (&Dim, &Dim)| self.0.analysis.symbols.provably_equal(a, b) == Proof::Yes;
        a.len() == b.len() && a.iter().zip(b).all(same)
    }

    /// What a class repeats along axes, or the class itself: the smallest operand of broadcasts.
    pub fn before_broadcast(self, mut class: Id) -> Id {
        // Each is smaller than the one before, or has fewer axes, except where a broadcast repeats nothing.
        while let Some(inner) =
            self.find(class, |op, x| (matches!(op, Op::Broadcast(_)) && self.shape(x[0]) != self.shape(class)).then(|| x[0]))
        {
            class = inner;
        }
        class
    }

    /// The operand and the axes of a reduction whose result, kept along `axes` and repeated there, is this class.
    pub fn spread_reduction(self, class: Id, kind: ReduceKind) -> Option<(Id, Vec<usize>)> {
        self.spread(class, |op, x| match op {
            Op::Reduce(reduce) if reduce.kind == kind => Some((x[0], reduce.axes.clone(), reduce.keep)),
            _ => None,
        })
    }

    /// The same for a mean.
    pub fn spread_mean(self, class: Id) -> Option<(Id, Vec<usize>)> {
        self.spread(class, |op, x| match op {
            Op::Mean(mean) => Some((x[0], mean.axes.clone(), mean.keep)),
            _ => None,
        })
    }

    /// Looks through broadcast and reshape for `reduced`; what it gives must have kept its axes, or be reshaped as if it had.
    fn spread(self, class: Id, reduced: impl Fn(&'e Op, &'e [Id]) -> Option<(Id, Vec<usize>, bool)>) -> Option<(Id, Vec<usize>)> {
        let kept = self.before_broadcast(class);
        let found = self.find(kept, &reduced).map(|found| (kept, found)).or_else(|| {
            self.find(kept, |op, x| match op {
                Op::Reshape(_) => self.find(x[0], &reduced).map(|found| (kept, found)),
                _ => None,
            })
        });
        let (kept, (operand, axes, _)) = found?;
        let as_kept = Reduce::shape(self.shape(operand), &axes, true, Dim::ONE);
        let spread = self.same_dims(self.shape(class), self.shape(operand)) || self.same_dims(self.shape(class), &as_kept);
        (spread && self.same_dims(self.shape(kept), &as_kept)).then_some((operand, axes))
    }
}

/// Whether a number of a program is the number meant: programs round constants to f32, or to seven digits.
pub fn close(value: f64, meant: f64) -> bool {
    (value - meant).abs() <= 1e-6 * meant.abs()
}
