//! Batch normalisation by statistics of what it normalises: exporters spell a layer norm so, with one channel for each row.

use super::norms::centred;
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::LayerNorm;
use kiln_ir::{Op, Tensor};

/// The rules.
pub const RULES: &[Rule] = &[Rule {
    name: "layer-norm-by-batch-norm",
    mathematics: "batch_norm(x, 1, 0, mean(x), variance(x)) of one sample = layer_norm(x, 1, 0) of every channel",
    exactness: Exactness::Reassociated { bound: 256.0 },
    roots: &["batch_norm"],
    rewrite: Rewrite::Class(layer_norm_by_batch_norm),
    examples: &["graph (%x: f32[1, n, 5, 1]) { %1 = const f32[] 1.0 ; %s = broadcast %1 {shape = [n]} ; %0 = const f32[] 0.0 ;
         %o = broadcast %0 {shape = [n]} ; %m = mean %x {axes = [0, 2, 3], keep = true} ; %k = reshape %m {shape = [n]} ;
         %b = broadcast %m {shape = [1, n, 5, 1]} ; %d = sub %x, %b ; %q = mul %d, %d ; %v = mean %q {axes = [0, 2, 3], keep = false} ;
         %y = batch_norm %x, %s, %o, %k, %v {epsilon = 0.001} ; return %y }"],
}];

/// The mean that a class is, with its axes kept or not: of what, over which axes.
fn mean_of(view: View, class: Id) -> Option<(Id, Vec<usize>)> {
    let mean = |class: Id| {
        view.find(class, |op, x| match op {
            Op::Mean(mean) => Some((x[0], mean.axes.clone())),
            _ => None,
        })
    };
    mean(class).or_else(|| view.find(class, |op, x| if matches!(op, Op::Reshape(_)) { mean(x[0]) } else { None }))
}

fn layer_norm_by_batch_norm(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::BatchNorm(norm) = op else { return None };
        let others: Vec<usize> = (0..view.ty(x[0]).rank()).filter(|axis| *axis != 1).collect();
        let plain = view.is_number(x[1], 1.0) && view.is_number(x[2], 0.0) && view.shape(x[0])[0].is(1) && others.len() > 1;
        if !plain || mean_of(view, x[3])? != (x[0], others.clone()) {
            return None;
        }
        let (square, axes) = mean_of(view, x[4])?;
        let of_own = axes == others && centred(view, view.square_root_of(square)?, &axes)? == x[0];
        let number = |value: f64| Term::Constant(Tensor::scalar(view.ty(root).dtype, value));
        let norm = LayerNorm { axes_from: 2, epsilon: norm.epsilon };
        of_own.then(|| Term::apply(norm, [Term::Class(x[0]), number(1.0), number(0.0)]))
    })
}
