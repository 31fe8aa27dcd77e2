//! Builds graphs from Rust: typed, broadcasting like NumPy, and each node remembers the line that made it.
//!
//! A type error here is a mistake in Rust code and panics with the operator, its operands and the caller's line; code that
//! builds from user input uses [`Builder::try_op`].

use crate::graph::Origin;
use crate::ops::{self, ArgKind, Facts, Op, ReduceKind, TypeError};
use crate::{DType, Dim, Graph, Tensor, TensorType, Value};
use std::panic::Location;
use std::sync::Arc;

/// Adds nodes to a graph.
pub struct Builder<'g> {
    /// The graph under construction.
    pub graph: &'g mut Graph,
    origin: Option<Arc<Origin>>,
}

impl<'g> Builder<'g> {
    /// A builder whose nodes remember the Rust line that made them.
    pub fn new(graph: &'g mut Graph) -> Builder<'g> {
        Builder { graph, origin: None }
    }

    /// A builder whose nodes come from one place in a model.
    pub fn from_origin(graph: &'g mut Graph, origin: Option<Arc<Origin>>) -> Builder<'g> {
        Builder { graph, origin }
    }

    /// A builder of a region that a node of this graph will hold; its nodes come from the same place.
    pub fn region<'r>(&self, region: &'r mut Graph) -> Builder<'r> {
        Builder { graph: region, origin: self.origin.clone() }
    }

    /// The place in a model that nodes come from, if it is not the Rust line that makes them.
    pub fn origin(&self) -> Option<Arc<Origin>> {
        self.origin.clone()
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> TensorType {
        self.graph.ty(value).clone()
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> Vec<Dim> {
        self.graph.ty(value).shape.clone()
    }

    /// The element type of a value.
    pub fn dtype(&self, value: Value) -> DType {
        self.graph.ty(value).dtype
    }

    /// Applies an operator to operands that may be ill-typed. Errors: the type rule's.
    #[track_caller]
    pub fn try_op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Vec<Value>, TypeError> {
        let origin = self.origin.clone().or_else(|| Some(here()));
        self.graph.add(op.into(), x, origin)
    }

    /// Applies an operator with several results.
    #[track_caller]
    pub fn ops(&mut self, op: impl Into<Op>, x: &[Value]) -> Vec<Value> {
        let op = op.into();
        match self.try_op(op.clone(), x) {
            Ok(results) => results,
            Err(e) => {
                let types: Vec<String> = x.iter().map(|v| self.ty(*v).to_string()).collect();
                panic!("{} on ({}): {e}", op.name(), types.join(", "))
            }
        }
    }

    /// Applies an operator with one result.
    #[track_caller]
    pub fn op(&mut self, op: impl Into<Op>, x: &[Value]) -> Value {
        self.ops(op, x)[0]
    }

    /// A constant tensor.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        self.graph.add_constant(tensor)
    }

    /// A scalar constant.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Value {
        self.constant(Tensor::scalar(dtype, value))
    }

    /// A constant of the type and shape of `x`, every element `value`.
    #[track_caller]
    pub fn like(&mut self, x: Value, value: f64) -> Value {
        let scalar = self.scalar(self.dtype(x), value);
        self.broadcast_to(scalar, &self.shape(x))
    }

    /// Broadcasts to a shape; nothing if it has it already.
    #[track_caller]
    pub fn broadcast_to(&mut self, x: Value, shape: &[Dim]) -> Value {
        if self.graph.ty(x).shape == shape { x } else { self.op(ops::Broadcast { shape: shape.to_vec() }, &[x]) }
    }

    /// The shape that shapes broadcast to. Errors: `label` when they never do.
    pub fn broadcast_shape(&mut self, shapes: &[Vec<Dim>], label: &'static str) -> Result<Vec<Dim>, TypeError> {
        let ranges = self.graph.symbols.clone();
        let mut facts = Facts::new(&ranges);
        let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
        let mut result = vec![Dim::ONE; rank];
        for shape in shapes {
            for (to, from) in result[rank - shape.len()..].iter_mut().zip(shape) {
                *to = facts.broadcast(to, from, label, "broadcast")?;
            }
        }
        let guards = facts.into_guards("broadcast", self.origin.as_deref());
        guards.into_iter().for_each(|guard| self.graph.require(guard));
        Ok(result)
    }

    /// Broadcasts values to their common shape. Errors: `label` when they never broadcast.
    #[track_caller]
    pub fn try_broadcast_all(&mut self, x: &[Value], label: &'static str) -> Result<Vec<Value>, TypeError> {
        let shapes: Vec<Vec<Dim>> = x.iter().map(|v| self.shape(*v)).collect();
        let shape = self.broadcast_shape(&shapes, label)?;
        Ok(x.iter().map(|v| self.broadcast_to(*v, &shape)).collect())
    }

    #[track_caller]
    fn elementwise(&mut self, op: impl Into<Op>, x: &[Value]) -> Value {
        match self.try_broadcast_all(x, "broadcast_c2") {
            Ok(x) => self.op(op, &x),
            Err(e) => panic!("{e}"),
        }
    }

    /// Another shape for the same elements; nothing if it has it already.
    #[track_caller]
    pub fn reshape(&mut self, x: Value, shape: &[Dim]) -> Value {
        if self.graph.ty(x).shape == shape { x } else { self.op(ops::Reshape { shape: shape.to_vec() }, &[x]) }
    }

    /// Inserts axes of size 1, so that they are at `axes` of the result.
    #[track_caller]
    pub fn unsqueeze(&mut self, x: Value, axes: &[usize]) -> Value {
        let mut shape = self.shape(x);
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        for axis in axes {
            shape.insert(axis, Dim::ONE);
        }
        self.reshape(x, &shape)
    }

    /// The same values in another element type; nothing if they have it already.
    #[track_caller]
    pub fn cast(&mut self, x: Value, dtype: DType) -> Value {
        if self.dtype(x) == dtype { x } else { self.op(ops::Cast { dtype }, &[x]) }
    }

    /// The axes in another order; nothing if it is the one they have.
    #[track_caller]
    pub fn transpose(&mut self, x: Value, perm: &[usize]) -> Value {
        if perm.iter().copied().eq(0..self.graph.ty(x).rank()) { x } else { self.op(ops::Transpose { perm: perm.to_vec() }, &[x]) }
    }

    /// `size` neighbouring elements of one axis from `start`; nothing if that is all of it.
    #[track_caller]
    pub fn slice_axis(&mut self, x: Value, axis: usize, start: &Dim, size: &Dim) -> Value {
        let mut sizes = self.shape(x);
        if start.is(0) && sizes[axis] == *size {
            return x;
        }
        let mut starts = vec![Dim::ZERO; sizes.len()];
        starts[axis] = start.clone();
        sizes[axis] = size.clone();
        self.slice(x, &starts, &sizes)
    }

    /// Neighbouring elements: `sizes` of them from `starts`, on every axis.
    #[track_caller]
    pub fn slice(&mut self, x: Value, starts: &[Dim], sizes: &[Dim]) -> Value {
        self.op(ops::Slice { starts: starts.to_vec(), sizes: sizes.to_vec(), steps: vec![1; starts.len()] }, &[x])
    }

    /// More elements on every axis, of one value; negative amounts crop.
    #[track_caller]
    pub fn pad(&mut self, x: Value, low: &[Dim], high: &[Dim], value: f64) -> Value {
        let value = self.scalar(self.dtype(x), value);
        self.op(ops::Pad { low: low.to_vec(), high: high.to_vec(), mode: ops::PadMode::Constant }, &[x, value])
    }

    /// One after another along an axis; nothing for a single operand.
    #[track_caller]
    pub fn concat(&mut self, x: &[Value], axis: usize) -> Value {
        if let [only] = x { *only } else { self.op(ops::Concat { axis }, x) }
    }

    /// Slices of an axis, chosen by index.
    #[track_caller]
    pub fn gather(&mut self, x: Value, indices: Value, axis: usize) -> Value {
        self.op(ops::Gather { axis }, &[x, indices])
    }

    /// Each element's index along an axis.
    #[track_caller]
    pub fn iota(&mut self, dtype: DType, shape: &[Dim], axis: usize) -> Value {
        self.op(ops::Iota { shape: shape.to_vec(), axis, dtype }, &[])
    }

    /// Sizes as an `i64` vector.
    #[track_caller]
    pub fn dims(&mut self, values: &[Dim]) -> Value {
        self.op(ops::Dims { values: values.to_vec() }, &[])
    }

    /// Combines the elements along axes, which vanish or stay with size 1; nothing for no axes.
    #[track_caller]
    pub fn reduce(&mut self, kind: ReduceKind, x: Value, axes: &[usize], keep: bool) -> Value {
        if axes.is_empty() { x } else { self.op(ops::Reduce { kind, axes: axes.to_vec(), keep }, &[x]) }
    }

    /// The sum along axes.
    #[track_caller]
    pub fn reduce_sum(&mut self, x: Value, axes: &[usize], keep: bool) -> Value {
        self.reduce(ReduceKind::Sum, x, axes, keep)
    }

    /// The largest along axes.
    #[track_caller]
    pub fn reduce_max(&mut self, x: Value, axes: &[usize], keep: bool) -> Value {
        self.reduce(ReduceKind::Max, x, axes, keep)
    }

    /// The smallest along axes.
    #[track_caller]
    pub fn reduce_min(&mut self, x: Value, axes: &[usize], keep: bool) -> Value {
        self.reduce(ReduceKind::Min, x, axes, keep)
    }

    /// The product along axes.
    #[track_caller]
    pub fn reduce_prod(&mut self, x: Value, axes: &[usize], keep: bool) -> Value {
        self.reduce(ReduceKind::Prod, x, axes, keep)
    }

    /// Where along an axis the first largest or smallest element is.
    #[track_caller]
    pub fn arg_reduce(&mut self, kind: ArgKind, x: Value, axis: usize, keep: bool) -> Value {
        self.op(ops::ArgReduce { kind, axis, keep, last: false }, &[x])
    }

    /// The k largest along an axis, sorted, and where they were.
    #[track_caller]
    pub fn top_k(&mut self, x: Value, k: &Dim, axis: usize, largest: bool) -> (Value, Value) {
        let results = self.ops(ops::TopK { k: k.clone(), axis, largest }, &[x]);
        (results[0], results[1])
    }

    /// Whether elements are infinite, of either sign.
    #[track_caller]
    pub fn is_inf(&mut self, x: Value) -> Value {
        self.op(ops::IsInf { positive: true, negative: true }, &[x])
    }

    /// The product of two matrices, `[m, k] × [k, n]`.
    #[track_caller]
    pub fn matmul(&mut self, a: Value, b: Value) -> Value {
        self.op(ops::Dot::matrix(), &[a, b])
    }
}

#[track_caller]
fn here() -> Arc<Origin> {
    let place = Location::caller();
    Arc::new(Origin::new(format!("{}:{}", place.file(), place.line())))
}

macro_rules! methods {
    ($($(#[$meta:meta])* $method:ident($($x:ident),+) => $op:expr;)*) => {
        impl Builder<'_> {
            $($(#[$meta])*
            #[track_caller]
            pub fn $method(&mut self, $($x: Value),+) -> Value {
                self.elementwise($op, &[$($x),+])
            })*
        }
    };
}

methods! {
    /// −a
    neg(a) => ops::Neg {};
    /// |a|
    abs(a) => ops::Abs {};
    /// −1, 0 or 1 by the sign of a
    sign(a) => ops::Sign {};
    /// ⌈a⌉
    ceil(a) => ops::Ceil {};
    /// ⌊a⌋
    floor(a) => ops::Floor {};
    /// a towards zero
    trunc(a) => ops::Trunc {};
    /// a to the nearest integer, halves to even
    round(a) => ops::Round {};
    /// √a
    sqrt(a) => ops::Sqrt {};
    /// 1 / a
    reciprocal(a) => ops::Reciprocal {};
    /// eᵃ
    exp(a) => ops::Exp {};
    /// eᵃ − 1
    expm1(a) => ops::Expm1 {};
    /// ln a
    log(a) => ops::Log {};
    /// ln(1 + a)
    log1p(a) => ops::Log1p {};
    /// sin a
    sin(a) => ops::Sin {};
    /// cos a
    cos(a) => ops::Cos {};
    /// tan a
    tan(a) => ops::Tan {};
    /// asin a
    asin(a) => ops::Asin {};
    /// acos a
    acos(a) => ops::Acos {};
    /// atan a
    atan(a) => ops::Atan {};
    /// sinh a
    sinh(a) => ops::Sinh {};
    /// cosh a
    cosh(a) => ops::Cosh {};
    /// tanh a
    tanh(a) => ops::Tanh {};
    /// asinh a
    asinh(a) => ops::Asinh {};
    /// acosh a
    acosh(a) => ops::Acosh {};
    /// atanh a
    atanh(a) => ops::Atanh {};
    /// erf a
    erf(a) => ops::Erf {};
    /// ¬a, of truth values
    not(a) => ops::Not {};
    /// every bit of a flipped
    bit_not(a) => ops::BitNot {};
    /// Where a is NaN.
    is_nan(a) => ops::IsNan {};
    /// a + b
    add(a, b) => ops::Add {};
    /// a − b
    sub(a, b) => ops::Sub {};
    /// a · b
    mul(a, b) => ops::Mul {};
    /// a / b
    div(a, b) => ops::Div {};
    /// a − b·trunc(a / b)
    rem(a, b) => ops::Rem {};
    /// aᵇ
    pow(a, b) => ops::Pow {};
    /// The smaller.
    min(a, b) => ops::Min {};
    /// The larger.
    max(a, b) => ops::Max {};
    /// a ∧ b, of truth values
    and(a, b) => ops::And {};
    /// a ∨ b, of truth values
    or(a, b) => ops::Or {};
    /// a ≠ b, of truth values
    xor(a, b) => ops::Xor {};
    /// Conjunction of each bit.
    bit_and(a, b) => ops::BitAnd {};
    /// Disjunction of each bit.
    bit_or(a, b) => ops::BitOr {};
    /// Exclusive or of each bit.
    bit_xor(a, b) => ops::BitXor {};
    /// Bits of a moved up by b.
    shift_left(a, b) => ops::ShiftLeft {};
    /// Bits of a moved down by b.
    shift_right(a, b) => ops::ShiftRight {};
    /// a = b
    equal(a, b) => ops::Equal {};
    /// a ≠ b
    not_equal(a, b) => ops::NotEqual {};
    /// a < b
    less(a, b) => ops::Less {};
    /// a ≤ b
    less_equal(a, b) => ops::LessEqual {};
    /// a > b
    greater(a, b) => ops::Greater {};
    /// a ≥ b
    greater_equal(a, b) => ops::GreaterEqual {};
    /// condition ? a : b
    select(condition, a, b) => ops::Select {};
}
