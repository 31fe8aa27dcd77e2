//! The algebra of convolutions: sums of them, one behind the other, and what goes into kernels and padding.

use super::products::fixed_scale;
use super::vectors::{along, is_real, vector};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::View;
use egg::Id;
use kiln_ir::ops::{Conv, Dot, PadMode, Reshape, Transpose};
use kiln_ir::{Dim, Op};

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "scale-of-conv",
        mathematics: "conv(x, w) s = conv(x, w s), s a factor of each channel",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(scale_of_conv),
        examples: &["graph (%x: f32[n, 4, 6]) { %w = parameter w: f32[6, 2, 3] ; %s = parameter s: f32[6, 1] ;
             %b = broadcast %s {shape = [n, 6, 4]} ;
             %p = conv %x, %w {strides = [1], dilations = [1], lhs_dilations = [1], low = [0], high = [0], groups = 2} ;
             %y = mul %b, %p ; return %y }"],
    },
    Rule {
        name: "sum-of-convs",
        mathematics: "conv(x, a) + conv(x, b) = conv(x, a + b)",
        exactness: Exactness::Reassociated { bound: 64.0 },
        roots: &["add", "sub"],
        rewrite: Rewrite::Class(sum_of_convs),
        examples: &["graph (%x: f32[n, 3, 6], %a: f32[2, 3, 3], %b: f32[2, 3, 3]) {
             %p = conv %x, %a {strides = [2], dilations = [1], lhs_dilations = [1], low = [1], high = [1], groups = 1} ;
             %q = conv %x, %b {strides = [2], dilations = [1], lhs_dilations = [1], low = [1], high = [1], groups = 1} ;
             %y = sub %p, %q ; return %y }"],
    },
    Rule {
        name: "pad-into-conv",
        mathematics: "zeros around an image are the padding of what reads it",
        exactness: Exactness::Reassociated { bound: 16.0 },
        roots: &["conv"],
        rewrite: Rewrite::Class(pad_into_conv),
        examples: &["graph (%x: f32[n, 3, 6, 6], %w: f32[2, 3, 3, 3]) { %0 = const f32[] 0.0 ;
             %z = pad %x, %0 {low = [0, 0, 1, 0], high = [0, 0, 1, 2], mode = constant} ;
             %y = conv %z, %w {strides = [1, 2], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 1], high = [0, 0], groups = 1} ;
             return %y }"],
    },
    Rule {
        name: "unit-conv-of-conv",
        mathematics: "conv(conv(x, a), b) with one tap in b = conv(x, b a), channels multiplied as matrices",
        exactness: Exactness::Reassociated { bound: 256.0 },
        roots: &["conv"],
        rewrite: Rewrite::Class(unit_conv_of_conv),
        examples: &["graph (%x: f32[n, 3, 6]) { %a = parameter a: f32[4, 3, 3] ; %b = parameter b: f32[2, 4, 1] ;
             %p = conv %x, %a {strides = [2], dilations = [1], lhs_dilations = [1], low = [1], high = [1], groups = 1} ;
             %y = conv %p, %b {strides = [1], dilations = [1], lhs_dilations = [1], low = [0], high = [0], groups = 1} ; return %y }"],
    },
    Rule {
        name: "conv-of-unit-conv",
        mathematics: "conv(conv(x, a), b) with one tap in a = conv(x, b a), channels multiplied as matrices",
        exactness: Exactness::Reassociated { bound: 256.0 },
        roots: &["conv"],
        rewrite: Rewrite::Class(conv_of_unit_conv),
        examples: &["graph (%x: f32[n, 3, 6, 5]) { %a = parameter a: f32[4, 3, 1, 1] ; %b = parameter b: f32[2, 4, 3, 2] ;
             %p = conv %x, %a {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 0], high = [0, 0], groups = 1} ;
             %y = conv %p, %b {strides = [2, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 0], high = [1, 0], groups = 1} ;
             return %y }"],
    },
];

/// The convolutions in a class.
pub fn conv_of<'e, T>(view: View<'e>, class: Id, mut accept: impl FnMut(&'e Conv, &'e [Id]) -> Option<T>) -> Option<T> {
    view.find(class, |op, x| match op {
        Op::Conv(conv) => accept(conv, x),
        _ => None,
    })
}

fn scale_of_conv(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    fixed_scale(view, root, |scaling, product, scale| {
        conv_of(view, product, |conv, x| {
            let factor = vector(view, scale, 1).filter(|_| view.is_fixed(x[1]))?;
            let kernel = Term::apply(scaling.clone(), [Term::Class(x[1]), along(factor, 0, view.shape(x[1]))]);
            Some(Term::apply(conv.clone(), [Term::Class(x[0]), kernel]))
        })
    })
}

fn sum_of_convs(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    view.find(root, |op, sum| {
        if !matches!(op, Op::Add(_) | Op::Sub(_)) || sum[0] == sum[1] {
            return None;
        }
        conv_of(view, sum[0], |conv, x| {
            conv_of(view, sum[1], |other, z| {
                let same = conv == other && x[0] == z[0] && view.same_dims(view.shape(x[1]), view.shape(z[1]));
                same.then(|| Term::apply(conv.clone(), [Term::Class(x[0]), Term::of(op.clone(), &[x[1], z[1]])]))
            })
        })
    })
}

fn pad_into_conv(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    conv_of(view, root, |conv, x| {
        let (data, pad) = view.find(x[0], |op, y| match op {
            Op::Pad(pad) if pad.mode == PadMode::Constant && view.uniform(y[1]) == Some(0.0) => Some((y[0], pad)),
            _ => None,
        })?;
        let adds = |dim: &Dim| dim.as_const().is_some_and(|n| n >= 0);
        let around = [&pad.low, &pad.high].into_iter().all(|list| list[..2].iter().all(|d| d.is(0)) && list[2..].iter().all(adds));
        // Cropping what was padded differs from padding less only behind strides.
        let grows = conv.low.iter().chain(&conv.high).all(adds) && conv.lhs_dilations.iter().all(|d| *d == 1);
        let sum = |own: &[Dim], more: &[Dim]| own.iter().zip(more).map(|(a, b)| a + b).collect::<Vec<Dim>>();
        let wider = Conv { low: sum(&conv.low, &pad.low[2..]), high: sum(&conv.high, &pad.high[2..]), ..conv.clone() };
        (around && grows).then(|| Term::of(wider, &[data, x[1]]))
    })
}

/// Whether each output is made of one pixel, in place.
pub fn is_unit(view: View, conv: &Conv, kernel: Id) -> bool {
    view.shape(kernel)[2..].iter().all(|d| d.is(1)) && *conv == Conv::plain(conv.strides.len())
}

/// A kernel of one tap as a matrix: `[outputs, channels]`.
pub fn matrix(view: View, kernel: Id) -> Term {
    Term::of(Reshape { shape: view.shape(kernel)[..2].to_vec() }, &[kernel])
}

fn unit_conv_of_conv(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    conv_of(view, root, |outer, x| {
        conv_of(view, x[0], |inner, y| {
            let fits = is_unit(view, outer, x[1]) && inner.groups == 1 && view.is_fixed(x[1]) && view.is_fixed(y[1]);
            let kernel = || Term::apply(Dot::matrix(), [matrix(view, x[1]), Term::Class(y[1])]);
            (fits && y[0] != root).then(|| Term::apply(inner.clone(), [Term::Class(y[0]), kernel()]))
        })
    })
}

fn conv_of_unit_conv(view: View, root: Id) -> Option<Term> {
    if !is_real(view, root) {
        return None;
    }
    conv_of(view, root, |outer, x| {
        conv_of(view, x[0], |inner, y| {
            let fits = is_unit(view, inner, y[1]) && outer.groups == 1 && view.is_fixed(x[1]) && view.is_fixed(y[1]);
            if !fits || y[0] == root {
                return None;
            }
            // [outputs, taps.., channels], then the channels where they belong.
            let product = Term::apply(Dot::matrix(), [Term::Class(x[1]), matrix(view, y[1])]);
            let rank = view.ty(x[1]).rank();
            let perm = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            Some(Term::apply(outer.clone(), [Term::Class(y[0]), Term::apply(Transpose { perm }, [product])]))
        })
    })
}
