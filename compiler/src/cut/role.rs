//! What each operator is to the cutter: the one place that lists operators.

use crate::kernel::{BinaryFn, Combine, CompareFn, UnaryFn};
use kiln_ir::ops::*;

/// How a value is made in kernels.
pub enum Role<'a> {
    /// A function of one operand at the same point.
    Unary(UnaryFn),
    /// A function of two operands at the same point.
    Binary(BinaryFn),
    /// A comparison of two operands at the same point.
    Compare(CompareFn),
    /// `select` at the same point.
    Select,
    /// Conversion at the same point.
    Cast,
    /// The operand at another point.
    View(View<'a>),
    /// Computed from the point alone.
    Iota(&'a Iota),
    /// Needs a kernel of its own.
    Root(Root<'a>),
    /// Must have been expanded before.
    Composite,
}

/// Operators that only say where an element comes from.
pub enum View<'a> {
    /// Axes in another order.
    Transpose(&'a Transpose),
    /// Repetition.
    Broadcast,
    /// Another shape.
    Reshape,
    /// A part.
    Slice(&'a Slice),
    /// A border.
    Pad(&'a Pad),
    /// Elements by index.
    Gather(&'a Gather),
    /// Elements by index per point.
    GatherElements(&'a GatherElements),
    /// Elements by index vectors.
    GatherNd(&'a GatherNd),
}

/// Operators that combine many elements or store out of order.
pub enum Root<'a> {
    /// Sizes as data.
    Dims(&'a Dims),
    /// Pieces after each other.
    Concat(&'a Concat),
    /// Combination over axes.
    Reduce(&'a Reduce),
    /// Position of an extreme.
    ArgReduce(&'a ArgReduce),
    /// Combination over windows.
    WindowReduce(&'a WindowReduce),
    /// Position of the largest in windows.
    WindowArgMax(&'a WindowArgMax),
    /// Running combination.
    Cumulative(&'a Cumulative),
    /// Sum of products.
    Dot(&'a Dot),
    /// Mean by exponentials of sums of products.
    Attention(&'a Attention),
    /// Convolution.
    Conv(&'a Conv),
    /// Stores by index per point.
    ScatterElements(&'a ScatterElements),
    /// Stores by index vectors.
    ScatterNd(&'a ScatterNd),
    /// The largest or smallest, sorted.
    TopK(&'a TopK),
    /// A loop with state.
    Scan(&'a Scan),
}

/// The role of an operator.
pub fn role(op: &Op) -> Role<'_> {
    use Role::{Binary, Compare, Unary};
    match op {
        Op::Neg(_) => Unary(UnaryFn::Neg),
        Op::Abs(_) => Unary(UnaryFn::Abs),
        Op::Sign(_) => Unary(UnaryFn::Sign),
        Op::Ceil(_) => Unary(UnaryFn::Ceil),
        Op::Floor(_) => Unary(UnaryFn::Floor),
        Op::Trunc(_) => Unary(UnaryFn::Trunc),
        Op::Round(_) => Unary(UnaryFn::Round),
        Op::Sqrt(_) => Unary(UnaryFn::Sqrt),
        Op::Reciprocal(_) => Unary(UnaryFn::Reciprocal),
        Op::Exp(_) => Unary(UnaryFn::Exp),
        Op::Expm1(_) => Unary(UnaryFn::Expm1),
        Op::Log(_) => Unary(UnaryFn::Log),
        Op::Log1p(_) => Unary(UnaryFn::Log1p),
        Op::Sin(_) => Unary(UnaryFn::Sin),
        Op::Cos(_) => Unary(UnaryFn::Cos),
        Op::Tan(_) => Unary(UnaryFn::Tan),
        Op::Asin(_) => Unary(UnaryFn::Asin),
        Op::Acos(_) => Unary(UnaryFn::Acos),
        Op::Atan(_) => Unary(UnaryFn::Atan),
        Op::Sinh(_) => Unary(UnaryFn::Sinh),
        Op::Cosh(_) => Unary(UnaryFn::Cosh),
        Op::Tanh(_) => Unary(UnaryFn::Tanh),
        Op::Asinh(_) => Unary(UnaryFn::Asinh),
        Op::Acosh(_) => Unary(UnaryFn::Acosh),
        Op::Atanh(_) => Unary(UnaryFn::Atanh),
        Op::Erf(_) => Unary(UnaryFn::Erf),
        Op::Not(_) => Unary(UnaryFn::Not),
        Op::BitNot(_) => Unary(UnaryFn::BitNot),
        Op::IsNan(_) => Unary(UnaryFn::IsNan),
        Op::IsInf(op) => Unary(UnaryFn::IsInf { positive: op.positive, negative: op.negative }),
        Op::Add(_) => Binary(BinaryFn::Add),
        Op::Sub(_) => Binary(BinaryFn::Sub),
        Op::Mul(_) => Binary(BinaryFn::Mul),
        Op::Div(_) => Binary(BinaryFn::Div),
        Op::Rem(_) => Binary(BinaryFn::Rem),
        Op::Pow(_) => Binary(BinaryFn::Pow),
        Op::Min(_) => Binary(BinaryFn::Min),
        Op::Max(_) => Binary(BinaryFn::Max),
        Op::And(_) => Binary(BinaryFn::And),
        Op::Or(_) => Binary(BinaryFn::Or),
        Op::Xor(_) => Binary(BinaryFn::Xor),
        Op::BitAnd(_) => Binary(BinaryFn::BitAnd),
        Op::BitOr(_) => Binary(BinaryFn::BitOr),
        Op::BitXor(_) => Binary(BinaryFn::BitXor),
        Op::ShiftLeft(_) => Binary(BinaryFn::ShiftLeft),
        Op::ShiftRight(_) => Binary(BinaryFn::ShiftRight),
        Op::Equal(_) => Compare(CompareFn::Equal),
        Op::NotEqual(_) => Compare(CompareFn::NotEqual),
        Op::Less(_) => Compare(CompareFn::Less),
        Op::LessEqual(_) => Compare(CompareFn::LessEqual),
        Op::Greater(_) => Compare(CompareFn::Greater),
        Op::GreaterEqual(_) => Compare(CompareFn::GreaterEqual),
        Op::Select(_) => Role::Select,
        Op::Cast(_) => Role::Cast,
        Op::Transpose(op) => Role::View(View::Transpose(op)),
        Op::Broadcast(_) => Role::View(View::Broadcast),
        Op::Reshape(_) => Role::View(View::Reshape),
        Op::Slice(op) => Role::View(View::Slice(op)),
        Op::Pad(op) => Role::View(View::Pad(op)),
        Op::Gather(op) => Role::View(View::Gather(op)),
        Op::GatherElements(op) => Role::View(View::GatherElements(op)),
        Op::GatherNd(op) => Role::View(View::GatherNd(op)),
        Op::Iota(op) => Role::Iota(op),
        Op::Dims(op) => Role::Root(Root::Dims(op)),
        Op::Concat(op) => Role::Root(Root::Concat(op)),
        Op::Reduce(op) => Role::Root(Root::Reduce(op)),
        Op::ArgReduce(op) => Role::Root(Root::ArgReduce(op)),
        Op::WindowReduce(op) => Role::Root(Root::WindowReduce(op)),
        Op::WindowArgMax(op) => Role::Root(Root::WindowArgMax(op)),
        Op::Cumulative(op) => Role::Root(Root::Cumulative(op)),
        Op::Dot(op) => Role::Root(Root::Dot(op)),
        Op::Attention(op) if op.scores.is_none() => Role::Root(Root::Attention(op)),
        Op::Conv(op) => Role::Root(Root::Conv(op)),
        Op::ScatterElements(op) => Role::Root(Root::ScatterElements(op)),
        Op::ScatterNd(op) => Role::Root(Root::ScatterNd(op)),
        Op::TopK(op) => Role::Root(Root::TopK(op)),
        Op::Scan(op) => Role::Root(Root::Scan(op)),
        // Everything else is a composite. One that is not expanded before is refused by name in `plan`.
        _ => Role::Composite,
    }
}

/// How a reduce operator combines.
pub fn combine_of(kind: ReduceKind) -> Combine {
    match kind {
        ReduceKind::Sum => Combine::Sum,
        ReduceKind::Prod => Combine::Product,
        ReduceKind::Max => Combine::Max,
        ReduceKind::Min => Combine::Min,
        ReduceKind::And => Combine::And,
        ReduceKind::Or => Combine::Or,
    }
}
