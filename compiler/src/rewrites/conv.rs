//! Convolutions and what follows them.

use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Add, BatchNorm, Broadcast, Conv, Div, Mul, Reshape, Sqrt, Sub};
use kiln_ir::{DType, Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[Rule {
    name: "batch-norm-into-conv",
    mathematics: "(conv(x, w) + k - m) * s / sqrt(v + e) + b = conv(x, w * t) + (b + (k - m) * t) with t = s / sqrt(v + e)",
    exactness: Exactness::Reassociated { bound: 512.0 },
    roots: &["batch_norm"],
    rewrite: Rewrite::Class(batch_norm_into_conv),
    examples: &[
        "graph (%x: f32[n, 3, 6, 6]) { %w = parameter w: f32[4, 3, 3, 3] ; %s = parameter s: f32[4] ; %b = parameter b: f32[4] ;
         %m = parameter m: f32[4] ; %v = parameter v: f32[4] ;
         %c = conv %x, %w {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 0], high = [0, 0], groups = 1} ;
         %q = mul %v, %v ; %y = batch_norm %c, %s, %b, %m, %q {epsilon = 0.1} ; return %y }",
        "graph (%x: f32[n, 4, 5]) { %w = parameter w: f32[4, 1, 3] ; %k = parameter k: f32[4, 1] ; %s = parameter s: f32[4] ;
         %b = parameter b: f32[4] ; %m = parameter m: f32[4] ; %v = parameter v: f32[4] ;
         %c = conv %x, %w {strides = [1], dilations = [1], lhs_dilations = [1], low = [1], high = [1], groups = 4} ;
         %kk = broadcast %k {shape = [n, 4, 5]} ; %a = add %c, %kk ; %q = mul %v, %v ; %y = batch_norm %a, %s, %b, %m, %q {epsilon = 0.1} ;
         return %y }",
    ],
}];

fn batch_norm_into_conv(view: View, root: Id) -> Option<Term> {
    // 16-bit weights would be rounded once more.
    if !matches!(view.ty(root).dtype, DType::F32 | DType::F64) {
        return None;
    }
    view.find(root, |op, x| match op {
        Op::BatchNorm(norm) if x[1..].iter().all(|p| view.is_fixed(*p)) => folded(view, norm, x),
        _ => None,
    })
}

fn folded(view: View, norm: &BatchNorm, x: &[Id]) -> Option<Term> {
    let (conv, data, weights, bias) = conv_with_bias(view, x[0])?;
    let (dtype, shape, kernel) = (view.ty(x[0]).dtype, view.shape(x[0]), view.shape(weights));
    let [scale, offset, mean, variance] = [x[1], x[2], x[3], x[4]].map(Term::Class);
    let channels = std::slice::from_ref(&shape[1]);
    let slope = || {
        let shifted = Term::apply(Add {}, [variance.clone(), Term::number(dtype, channels, norm.epsilon.0)]);
        Term::apply(Div {}, [scale.clone(), Term::apply(Sqrt {}, [shifted])])
    };
    let along = |term: Term, rank: usize, to: &[Dim]| {
        let ones = std::iter::repeat_n(Dim::ONE, rank);
        let spread = Term::apply(Reshape { shape: [shape[1].clone()].into_iter().chain(ones).collect() }, [term]);
        Term::apply(Broadcast { shape: to.to_vec() }, [spread])
    };
    let centre = match bias {
        Some(bias) => Term::apply(Sub {}, [Term::of(Reshape { shape: channels.to_vec() }, &[bias]), mean]),
        None => Term::apply(Sub {}, [Term::number(dtype, channels, 0.0), mean]),
    };
    let new_bias = Term::apply(Add {}, [offset, Term::apply(Mul {}, [centre, slope()])]);
    let new_weights = Term::apply(Mul {}, [Term::Class(weights), along(slope(), kernel.len() - 1, kernel)]);
    let product = Term::apply(conv.clone(), [Term::Class(data), new_weights]);
    Some(Term::apply(Add {}, [product, along(new_bias, shape.len() - 2, shape)]))
}

/// A convolution with fixed weights, and a bias per channel if one is added: `(conv, data, weights, bias)`.
fn conv_with_bias<'e>(view: View<'e>, class: Id) -> Option<(&'e Conv, Id, Id, Option<Id>)> {
    let conv = |class: Id| {
        view.find(class, |op, x| match op {
            Op::Conv(conv) if view.is_fixed(x[1]) => Some((conv, x[0], x[1])),
            _ => None,
        })
    };
    if let Some((conv, data, weights)) = conv(class) {
        return Some((conv, data, weights, None));
    }
    view.find(class, |op, x| match op {
        Op::Add(_) => [(x[0], x[1]), (x[1], x[0])].into_iter().find_map(|(product, added)| {
            let (conv, data, weights) = conv(product)?;
            let bias = view.before_broadcast(added);
            // [channels, 1, …], with or without a 1 for the batch: one number per channel.
            let (shape, whole) = (view.shape(bias), view.shape(class));
            let missing = whole.len().checked_sub(shape.len()).filter(|missing| *missing <= 1 && view.is_fixed(bias))?;
            let fits = |(axis, dim): (usize, &Dim)| if axis + missing == 1 { *dim == whole[1] } else { dim.is(1) };
            shape.iter().enumerate().all(fits).then_some((conv, data, weights, Some(bias)))
        }),
        _ => None,
    })
}
