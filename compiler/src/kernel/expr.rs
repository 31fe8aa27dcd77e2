//! Expressions of kernels: a hash-consed arena, so that shared work is one node and equal kernels compare equal.

use super::BufferId;
use kiln_ir::{DType, Dim, Symbol};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Index of an expression in its kernel's [`Exprs`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExprId(pub u32);

impl ExprId {
    /// The symbol that stands for this integer expression's value inside an offset (`%12`): how gathers index.
    pub fn symbol(self) -> Symbol {
        Symbol::new(&format!("%{}", self.0))
    }

    /// The expression a symbol stands for, if it is one made by [`ExprId::symbol`].
    pub fn of_symbol(symbol: &Symbol) -> Option<ExprId> {
        symbol.name().strip_prefix('%')?.parse().ok().map(ExprId)
    }
}

/// A constant element: floats by their f64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scalar {
    /// Integer or truth value.
    Int(i128),
    /// Floating point.
    Float(u64),
}

/// An expression with its element type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Expr {
    /// Element type of the value.
    pub dtype: DType,
    /// What it computes.
    pub kind: ExprKind,
}

/// What an expression computes at one point.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ExprKind {
    /// A constant.
    Constant(Scalar),
    /// The value of a polynomial over indices and sizes, as i64.
    Index(Dim),
    /// An element of a buffer.
    Load(Access),
    /// One operand, of the same dtype unless the function says otherwise.
    Unary(UnaryFn, ExprId),
    /// Two operands of this dtype.
    Binary(BinaryFn, ExprId, ExprId),
    /// Two operands of one dtype; gives bool.
    Compare(CompareFn, ExprId, ExprId),
    /// The second where the first (bool) holds, else the third. Both are evaluated.
    Select(ExprId, ExprId, ExprId),
    /// Conversion to this dtype, as SPEC.md defines `cast`.
    Cast(ExprId),
    /// An accumulator of an earlier stage.
    Accumulator(u32),
    /// An integer (any width) used as index along an axis of `extent`: negative values count from the end; a value outside is an
    /// error that names the node, and 0 is used instead. Gives i64.
    CheckedIndex {
        /// The index.
        index: ExprId,
        /// Size of the axis.
        extent: Dim,
        /// Position in `Program::checked_nodes`.
        node: u32,
    },
}

impl ExprKind {
    /// The dims it is made of: offsets, bounds, extents.
    pub fn dims(&self) -> Vec<&Dim> {
        match self {
            ExprKind::Index(dim) => vec![dim],
            ExprKind::Load(access) => {
                std::iter::once(&access.offset).chain(access.bounds.iter().flat_map(|b| [&b.index, &b.extent])).collect()
            }
            ExprKind::CheckedIndex { extent, .. } => vec![extent],
            ExprKind::Constant(_)
            | ExprKind::Unary(..)
            | ExprKind::Binary(..)
            | ExprKind::Compare(..)
            | ExprKind::Select(..)
            | ExprKind::Cast(_)
            | ExprKind::Accumulator(_) => vec![],
        }
    }
}

impl ExprKind {
    /// The same of other operands and dims.
    pub fn map(&self, of: &mut dyn FnMut(ExprId) -> ExprId, dim: &mut dyn FnMut(&Dim) -> Dim) -> ExprKind {
        match self {
            ExprKind::Constant(_) | ExprKind::Accumulator(_) => self.clone(),
            ExprKind::Index(d) => ExprKind::Index(dim(d)),
            ExprKind::Load(access) => ExprKind::Load(Access {
                buffer: access.buffer,
                offset: dim(&access.offset),
                bounds: access.bounds.iter().map(|b| Bound { index: dim(&b.index), extent: dim(&b.extent) }).collect(),
                otherwise: access.otherwise.map(&mut *of),
            }),
            ExprKind::Unary(f, a) => ExprKind::Unary(*f, of(*a)),
            ExprKind::Binary(f, a, b) => ExprKind::Binary(*f, of(*a), of(*b)),
            ExprKind::Compare(f, a, b) => ExprKind::Compare(*f, of(*a), of(*b)),
            ExprKind::Select(c, a, b) => ExprKind::Select(of(*c), of(*a), of(*b)),
            ExprKind::Cast(a) => ExprKind::Cast(of(*a)),
            ExprKind::CheckedIndex { index, extent, node } => {
                ExprKind::CheckedIndex { index: of(*index), extent: dim(extent), node: *node }
            }
        }
    }
}

/// Where an element is loaded from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    /// The buffer.
    pub buffer: BufferId,
    /// Element offset: a polynomial over indices, sizes and values of integer expressions ([`ExprId::symbol`]).
    pub offset: Dim,
    /// The element exists only where all of these hold; elsewhere nothing is read.
    pub bounds: Vec<Bound>,
    /// The value elsewhere; present exactly when there are bounds.
    pub otherwise: Option<ExprId>,
}

/// `0 ≤ index < extent`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bound {
    /// What is bounded.
    pub index: Dim,
    /// Exclusive upper bound.
    pub extent: Dim,
}

/// Functions of one operand. Semantics per dtype are those of the operator of that name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // each is the operator of the same name in OPS.md
pub enum UnaryFn {
    Neg,
    Abs,
    Sign,
    Ceil,
    Floor,
    Trunc,
    Round,
    Sqrt,
    Reciprocal,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    /// Logical not, bool.
    Not,
    BitNot,
    /// Gives bool.
    IsNan,
    /// Gives bool.
    IsInf {
        positive: bool,
        negative: bool,
    },
}

/// Functions of two operands of one dtype.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // each is the operator of the same name in OPS.md
pub enum BinaryFn {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Pow,
    Min,
    Max,
    And,
    Or,
    Xor,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
}

/// Comparisons; signedness follows the dtype; every comparison with NaN is false except `NotEqual`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // each is the operator of the same name in OPS.md
pub enum CompareFn {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// The expressions of one kernel. Operands come before their users.
#[derive(Clone, Default, Debug)]
pub struct Exprs {
    list: Vec<Expr>,
    known: HashMap<Expr, ExprId>,
}

impl PartialEq for Exprs {
    fn eq(&self, other: &Exprs) -> bool {
        self.list == other.list
    }
}

impl Exprs {
    /// The id of this expression, added if it is new.
    pub fn add(&mut self, dtype: DType, kind: ExprKind) -> ExprId {
        let expr = Expr { dtype, kind };
        if let Some(id) = self.known.get(&expr) {
            return *id;
        }
        let id = ExprId(self.list.len() as u32);
        self.known.insert(expr.clone(), id);
        self.list.push(expr);
        id
    }

    /// The expression of that id.
    pub fn get(&self, id: ExprId) -> &Expr {
        &self.list[id.0 as usize]
    }

    /// All expressions in order.
    pub fn iter(&self) -> impl Iterator<Item = (ExprId, &Expr)> {
        self.list.iter().enumerate().map(|(i, e)| (ExprId(i as u32), e))
    }

    /// A floating or integer constant of that dtype.
    pub fn constant(&mut self, dtype: DType, value: f64) -> ExprId {
        let scalar = if dtype.is_float() { Scalar::Float(value.to_bits()) } else { Scalar::Int(value as i128) };
        self.add(dtype, ExprKind::Constant(scalar))
    }

    /// The expression in another element type. An integer that was widened before is taken as it was.
    pub fn cast(&mut self, dtype: DType, id: ExprId) -> ExprId {
        let expr = self.get(id);
        if let ExprKind::Cast(original) = expr.kind {
            let (from, between) = (self.get(original).dtype, expr.dtype);
            let is_wider = from.is_int() && from.class() == between.class() && between.size_bytes() > from.size_bytes();
            if from == dtype && is_wider {
                return original;
            }
        }
        if expr.dtype == dtype { id } else { self.add(dtype, ExprKind::Cast(id)) }
    }

    /// Loads from other buffers in place of those that `names` lists; ids stay.
    pub fn rename_buffers(&mut self, names: &BTreeMap<BufferId, BufferId>) {
        for expr in &mut self.list {
            if let ExprKind::Load(access) = &mut expr.kind
                && let Some(name) = names.get(&access.buffer)
            {
                access.buffer = *name;
            }
        }
        self.known = self.list.iter().enumerate().map(|(at, expr)| (expr.clone(), ExprId(at as u32))).collect();
    }

    /// The operands of an expression, those inside offsets included.
    pub fn operands(&self, id: ExprId) -> Vec<ExprId> {
        let kind = &self.get(id).kind;
        let mut found = Vec::new();
        for dim in kind.dims() {
            dim.visit_symbols(&mut |s| found.extend(ExprId::of_symbol(s)));
        }
        match kind {
            ExprKind::Constant(_) | ExprKind::Accumulator(_) | ExprKind::Index(_) => {}
            ExprKind::Load(access) => found.extend(access.otherwise),
            ExprKind::Unary(_, a) | ExprKind::Cast(a) => found.push(*a),
            ExprKind::Binary(_, a, b) | ExprKind::Compare(_, a, b) => found.extend([*a, *b]),
            ExprKind::Select(c, a, b) => found.extend([*c, *a, *b]),
            ExprKind::CheckedIndex { index, .. } => found.push(*index),
        }
        found
    }

    /// These expressions and all that they are made of.
    pub fn reached(&self, roots: impl IntoIterator<Item = ExprId>) -> BTreeSet<ExprId> {
        let (mut reached, mut left) = (BTreeSet::new(), roots.into_iter().collect::<Vec<_>>());
        while let Some(id) = left.pop() {
            if reached.insert(id) {
                left.extend(self.operands(id));
            }
        }
        reached
    }

    /// The indices and sizes an expression depends on, through all its operands.
    pub fn symbols(&self, id: ExprId) -> BTreeSet<Symbol> {
        let (mut found, mut todo) = (BTreeSet::new(), vec![id]);
        while let Some(id) = todo.pop() {
            let dims = self.get(id).kind.dims();
            found.extend(dims.into_iter().flat_map(Dim::symbols).filter(|s| ExprId::of_symbol(s).is_none()));
            todo.extend(self.operands(id));
        }
        found
    }
}
