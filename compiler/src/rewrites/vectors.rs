//! Values that vary along one axis, which can be taken into the weights of a product: scales and offsets of features.

use crate::egraph::rule::Term;
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Broadcast, Reshape};
use kiln_ir::{DType, Dim};

/// Whether sums of products may be rounded in another order: 16-bit weights would be rounded once more, integers have rules of their own.
pub fn is_real(view: View, class: Id) -> bool {
    matches!(view.ty(class).dtype, DType::F32 | DType::F64)
}

/// A class as a vector along one of its axes, if it is the same along all others.
pub fn vector(view: View, class: Id, axis: usize) -> Option<Term> {
    let whole = view.shape(class);
    let inner = view.before_broadcast(class);
    let shape = view.shape(inner);
    let missing = whole.len().checked_sub(shape.len())?;
    let varies = |(at, dim): (usize, &Dim)| !dim.is(1) && at + missing != axis;
    if shape.iter().enumerate().any(varies) {
        return None;
    }
    let size = Dim::product(shape);
    let flat = Term::of(Reshape { shape: vec![size] }, &[inner]);
    Some(Term::apply(Broadcast { shape: vec![whole.get(axis)?.clone()] }, [flat]))
}

/// A vector, repeated along all axes of a shape but one.
pub fn along(vector: Term, axis: usize, shape: &[Dim]) -> Term {
    let behind = std::iter::repeat_n(Dim::ONE, shape.len() - axis - 1);
    let column = Term::apply(Reshape { shape: [shape[axis].clone()].into_iter().chain(behind).collect() }, [vector]);
    Term::apply(Broadcast { shape: shape.to_vec() }, [column])
}
