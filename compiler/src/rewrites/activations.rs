//! Activation functions from their formulas. Products and sums are matched in normal form, so a rule covers every order and
//! grouping of its factors, and division as well as multiplication by constants.

use crate::egraph::forms::Product;
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::{View, close};
use egg::Id;
use kiln_ir::attr::Real;
use kiln_ir::ops::{Add, Gelu, GeluKind, HardSigmoid, HardSwish, Mish, Mul, Sigmoid, Silu, Softplus, Swish};
use kiln_ir::{DType, Op};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, SQRT_2};

/// A few elementary functions and products, each rounded: tens of ε at arguments of about ten.
const FEW: Exactness = Exactness::Reassociated { bound: 32.0 };

/// The factor of the cube in the approximation of gelu by tanh.
const CUBIC: f64 = 0.044715;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "sigmoid",
        mathematics: "1 / (1 + e^(-x)) = e^x / (1 + e^x) = (1 + tanh(x / 2)) / 2 = sigmoid(x)",
        exactness: FEW,
        roots: &["div", "reciprocal", "pow", "mul"],
        rewrite: Rewrite::Class(sigmoid),
        examples: &[
            "graph (%x: f32[n, 3]) { %n = neg %x ; %e = exp %n ; %1 = const f32[] 1.0 ; %one = broadcast %1 {shape = [n, 3]} ;
             %s = add %one, %e ; %y = div %one, %s ; return %y }",
            "graph (%x: f32[4]) { %f = const f32[4] [-1.702, -1.702, -1.702, -1.702] ; %n = mul %x, %f ; %e = exp %n ;
             %one = const f32[4] [1.0, 1.0, 1.0, 1.0] ; %s = add %e, %one ; %y = reciprocal %s ; return %y }",
            "graph (%x: f32[n, 3]) { %e = exp %x ; %1 = const f32[] 1.0 ; %one = broadcast %1 {shape = [n, 3]} ; %s = add %one, %e ;
             %y = div %e, %s ; return %y }",
            "graph (%x: f32[n, 3]) { %h = const f32[] 0.5 ; %half = broadcast %h {shape = [n, 3]} ; %z = mul %x, %half ; %t = tanh %z ;
             %1 = const f32[] 1.0 ; %one = broadcast %1 {shape = [n, 3]} ; %s = add %one, %t ; %y = mul %s, %half ; return %y }",
        ],
    },
    Rule {
        name: "gated-by-own-sigmoid",
        mathematics: "x * sigmoid(x) = silu(x); x * sigmoid(beta * x) = swish(x); x / (1 + e^(-x)) = silu(x)",
        exactness: FEW,
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(gated_by_own_sigmoid),
        examples: &[
            "graph (%x: f32[n, 3]) { %s = sigmoid %x ; %y = mul %s, %x ; return %y }",
            "graph (%x: f32[3]) { %f = const f32[] 1.702 ; %b = broadcast %f {shape = [3]} ; %z = mul %x, %b ; %s = sigmoid %z ;
             %y = mul %x, %s ; return %y }",
            "graph (%x: f32[3]) { %n = neg %x ; %e = exp %n ; %one = const f32[3] [1.0, 1.0, 1.0] ; %s = add %one, %e ; %y = div %x, %s ;
             return %y }",
        ],
    },
    Rule {
        name: "product-and-itself",
        mathematics: "x + x * f = x * (f + 1) for f = erf or tanh of something",
        exactness: FEW,
        roots: &["add"],
        rewrite: Rewrite::Class(product_and_itself),
        examples: &["graph (%x: f32[n, 3], %z: f32[n, 3]) { %t = tanh %z ; %m = mul %t, %x ; %y = add %m, %x ; return %y }"],
    },
    Rule {
        name: "gelu-by-erf",
        mathematics: "x/2 * (1 + erf(x / sqrt(2))) = gelu(x)",
        exactness: FEW,
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(gelu_by_erf),
        examples: &[
            "graph (%x: f32[n, 3]) { %1 = const f32[] 1.4142135 ; %2 = broadcast %1 {shape = [n, 3]} ; %3 = div %x, %2 ; %4 = erf %3 ;
             %5 = const f32[] 1.0 ; %6 = broadcast %5 {shape = [n, 3]} ; %7 = add %4, %6 ; %8 = mul %x, %7 ; %9 = const f32[] 0.5 ;
             %10 = broadcast %9 {shape = [n, 3]} ; %y = mul %8, %10 ; return %y }",
            "graph (%x: f32[n, 3]) { %1 = const f32[] -0.70710678 ; %2 = broadcast %1 {shape = [n, 3]} ; %3 = mul %x, %2 ; %4 = erf %3 ;
             %5 = const f32[] 1.0 ; %6 = broadcast %5 {shape = [n, 3]} ; %7 = sub %6, %4 ; %9 = const f32[] 0.5 ;
             %10 = broadcast %9 {shape = [n, 3]} ; %h = mul %x, %10 ; %y = mul %h, %7 ; return %y }",
        ],
    },
    Rule {
        name: "gelu-by-tanh",
        mathematics: "x/2 * (1 + tanh(z)) = gelu(x) approximated, with z = sqrt(2/pi) * (x + 0.044715 * x^3)",
        exactness: FEW,
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(gelu_by_tanh),
        examples: &[
            "graph (%x: f32[n]) { %a = const f32[] 3.0 ; %b = broadcast %a {shape = [n]} ; %c = pow %x, %b ; %d = const f32[] 0.044715 ;
             %e = broadcast %d {shape = [n]} ; %f = mul %c, %e ; %g = add %x, %f ; %h = const f32[] 0.7978846 ;
             %i = broadcast %h {shape = [n]} ; %j = mul %g, %i ; %k = tanh %j ; %l = const f32[] 1.0 ; %m = broadcast %l {shape = [n]} ;
             %o = add %k, %m ; %p = const f32[] 0.5 ; %q = broadcast %p {shape = [n]} ; %r = mul %x, %q ; %y = mul %r, %o ; return %y }",
            "graph (%x: f32[n]) { %a = mul %x, %x ; %d = const f32[] 0.044715 ; %e = broadcast %d {shape = [n]} ; %f = mul %a, %e ;
             %l = const f32[] 1.0 ; %m = broadcast %l {shape = [n]} ; %g = add %m, %f ; %h = const f32[] 0.7978846 ;
             %i = broadcast %h {shape = [n]} ; %j = mul %x, %i ; %jj = mul %j, %g ; %k = tanh %jj ; %o = add %k, %m ; %r = mul %x, %o ;
             %p = const f32[] 0.5 ; %q = broadcast %p {shape = [n]} ; %y = mul %q, %r ; return %y }",
            "graph (%x: f32[n]) { %a = mul %x, %x ; %d = const f32[] 0.035677408 ; %e = broadcast %d {shape = [n]} ; %f = mul %a, %e ;
             %h = const f32[] 0.7978846 ; %i = broadcast %h {shape = [n]} ; %g = add %f, %i ; %j = mul %x, %g ; %k = tanh %j ;
             %l = const f32[] 1.0 ; %m = broadcast %l {shape = [n]} ; %o = add %k, %m ; %p = const f32[] 0.5 ;
             %q = broadcast %p {shape = [n]} ; %r = mul %x, %q ; %y = mul %r, %o ; return %y }",
        ],
    },
    Rule {
        name: "gelu-by-sigmoid",
        mathematics: "x * sigmoid(2z) = x/2 * (1 + tanh(z)) = gelu(x) approximated, z as in gelu-by-tanh",
        exactness: FEW,
        roots: &["mul"],
        rewrite: Rewrite::Class(gelu_by_sigmoid),
        examples: &[
            "graph (%x: f32[n]) { %a = mul %x, %x ; %b = mul %a, %x ; %d = const f32[] 0.044715 ; %e = broadcast %d {shape = [n]} ;
             %f = mul %b, %e ; %g = add %x, %f ; %h = const f32[] 1.5957691 ; %i = broadcast %h {shape = [n]} ; %j = mul %i, %g ;
             %s = sigmoid %j ; %y = mul %x, %s ; return %y }",
        ],
    },
    Rule {
        name: "softplus",
        mathematics: "log(1 + e^x) = softplus(x)",
        exactness: FEW,
        roots: &["log", "log1p"],
        rewrite: Rewrite::Class(softplus),
        examples: &[
            "graph (%x: f32[n]) { %e = exp %x ; %y = log1p %e ; return %y }",
            "graph (%x: f32[n]) { %e = exp %x ; %1 = const f32[] 1.0 ; %2 = broadcast %1 {shape = [n]} ; %s = add %e, %2 ; %y = log %s ;
             return %y }",
        ],
    },
    Rule {
        name: "softplus-of-both-signs",
        mathematics: "max(x, 0) + log(1 + e^(-|x|)) = softplus(x)",
        exactness: FEW,
        roots: &["add"],
        rewrite: Rewrite::Class(softplus_of_both_signs),
        examples: &[
            "graph (%x: f32[n]) { %r = relu %x ; %a = abs %x ; %m = neg %a ; %e = exp %m ; %l = log1p %e ; %y = add %l, %r ; return %y }",
        ],
    },
    Rule {
        name: "softplus-with-threshold",
        mathematics: "x where x > t >= 16, else softplus(x) = softplus(x): above t they differ by e^(-t), less than f32 rounds",
        exactness: FEW,
        roots: &["select"],
        rewrite: Rewrite::Class(softplus_with_threshold),
        examples: &[
            "graph (%x: f32[n]) { %t = const f32[] 20.0 ; %b = broadcast %t {shape = [n]} ; %g = greater %x, %b ; %s = softplus %x ;
             %y = select %g, %x, %s ; return %y }",
        ],
    },
    Rule {
        name: "mish",
        mathematics: "x * tanh(softplus(x)) = mish(x)",
        exactness: FEW,
        roots: &["mul"],
        rewrite: Rewrite::Class(mish),
        examples: &["graph (%x: f32[n, 2]) { %s = softplus %x ; %t = tanh %s ; %y = mul %x, %t ; return %y }"],
    },
    Rule {
        name: "mish-by-quotient",
        mathematics: "x * n / (n + 2) = mish(x) with n = e^x * (e^x + 2)",
        exactness: FEW,
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(mish_by_quotient),
        examples: &[
            "graph (%x: f32[n]) { %2 = const f32[] 2.0 ; %t = broadcast %2 {shape = [n]} ; %e = exp %x ; %a = add %e, %t ; %m = mul %e, %a ;
             %d = add %m, %t ; %q = div %m, %d ; %y = mul %q, %x ; return %y }",
        ],
    },
    Rule {
        name: "hard-sigmoid",
        mathematics: "max(0, min(1, alpha * x + beta)) = hard_sigmoid(x)",
        exactness: FEW,
        roots: &["clip", "min", "max", "relu"],
        rewrite: Rewrite::Class(hard_sigmoid),
        examples: &[
            "graph (%x: f32[n]) { %6 = const f32[] 6.0 ; %b = broadcast %6 {shape = [n]} ; %d = div %x, %b ; %5 = const f32[] 0.5 ;
             %h = broadcast %5 {shape = [n]} ; %s = add %d, %h ; %zero = const f32[] 0.0 ; %one = const f32[] 1.0 ;
             %y = clip %s, %zero, %one ; return %y }",
        ],
    },
    Rule {
        name: "hard-swish",
        mathematics: "x * min(max(x + 3, 0), 6) / 6 = x * hard_sigmoid(x) = hard_swish(x)",
        exactness: FEW,
        roots: &["mul", "div"],
        rewrite: Rewrite::Class(hard_swish),
        examples: &[
            "graph (%x: f32[n]) { %3 = const f32[] 3.0 ; %b = broadcast %3 {shape = [n]} ; %s = add %x, %b ; %zero = const f32[] 0.0 ;
             %six = const f32[] 6.0 ; %c = clip %s, %zero, %six ; %m = mul %x, %c ; %d = broadcast %six {shape = [n]} ; %y = div %m, %d ;
             return %y }",
            "graph (%x: f32[n]) { %h = hard_sigmoid %x {alpha = 0.16666667, beta = 0.5} ; %y = mul %h, %x ; return %y }",
        ],
    },
];

/// y where a class is 1 + y.
fn one_plus_class(view: View, class: Id) -> Option<Id> {
    view.plus_number(class).filter(|(_, number)| close(*number, 1.0)).map(|(y, _)| y)
}

/// y where a class is 1 − y.
fn one_less_class(view: View, class: Id) -> Option<Id> {
    view.find(class, |op, x| (matches!(op, Op::Sub(_)) && view.is_number(x[0], 1.0)).then(|| x[1]))
}

/// `(x, k)` where a class is e^(k·x).
fn power(view: View, class: Id) -> Option<(Id, f64)> {
    view.find(class, |op, x| matches!(op, Op::Exp(_)).then(|| view.scaled(x[0])))
}

/// `(x, k)` where a class is 1 + e^(k·x).
fn one_plus_power(view: View, class: Id) -> Option<(Id, f64)> {
    power(view, one_plus_class(view, class)?)
}

fn sigmoid(view: View, root: Id) -> Option<Term> {
    let is_one = |(rest, x, factor): (Product, Id, f64)| (rest.is_number(1.0) && factor > 0.0).then_some((x, factor));
    let (x, factor) = sigmoid_factors(view, &view.product(root)).into_iter().find_map(is_one)?;
    Some(Term::apply(Sigmoid {}, [Term::scaled(view, x, factor)]))
}

/// Ways to see a product as `rest · sigmoid(factor · x)`: `(rest, x, factor)`.
fn sigmoid_factors(view: View, product: &Product) -> Vec<(Product, Id, f64)> {
    let mut found = Vec::new();
    for (class, exponent) in &product.powers {
        let Some(rest) = product.without(*class, *exponent) else { continue };
        if *exponent == 1.0 {
            let argument = view.find(*class, |op, x| matches!(op, Op::Sigmoid(_)).then(|| view.scaled(x[0])));
            found.extend(argument.map(|(x, factor)| (rest, x, factor)));
        } else if let Some((x, factor)) = one_plus_power(view, *class).filter(|_| *exponent == -1.0) {
            // e^z / (1 + e^z), and 1 / (1 + e^z)
            let grows = rest.powers.iter().find(|(class, exponent)| *exponent == 1.0 && power(view, *class) == Some((x, factor)));
            found.extend(grows.and_then(|(class, _)| Some((rest.without(*class, 1.0)?, x, factor))));
            found.push((rest, x, -factor));
        }
    }
    // (1 + tanh(z)) / 2 = sigmoid(2z)
    for (mut rest, z, sign) in one_plus(view, product, |op| matches!(op, Op::Tanh(_))) {
        let (x, factor) = view.scaled(z);
        rest.coefficient *= 2.0;
        found.push((rest, x, 2.0 * sign * factor));
    }
    found
}

fn gated_by_own_sigmoid(view: View, root: Id) -> Option<Term> {
    sigmoid_factors(view, &view.product(root)).into_iter().find_map(|(rest, inner, factor)| {
        let gated = rest.over(&view.product(inner));
        if gated.is_number(factor) {
            return Some(Term::apply(Silu {}, [Term::scaled(view, inner, factor)]));
        }
        gated.is_number(1.0).then(|| Term::of(Swish { beta: Real(factor) }, &[inner]))
    })
}

/// Ways to see a product as `rest · (1 + sign · f(z))` for an operator f: `(rest, z, sign)`.
fn one_plus(view: View, product: &Product, is: fn(&Op) -> bool) -> Vec<(Product, Id, f64)> {
    let factor = |(class, exponent): &(Id, f64)| {
        let rest = product.without(*class, *exponent).filter(|_| *exponent == 1.0)?;
        let (y, sign) = one_plus_class(view, *class).map(|y| (y, 1.0)).or_else(|| Some((one_less_class(view, *class)?, -1.0)))?;
        let (y, factor) = view.scaled(y);
        let z = view.find(y, |op, x| is(op).then(|| x[0])).filter(|_| factor.abs() == 1.0)?;
        Some((rest, z, sign * factor))
    };
    product.powers.iter().filter_map(factor).collect()
}

/// Whether an operator is odd, −f(x) = f(−x), and a factor 1 + f is what gates are made of.
fn is_odd_gate(op: &Op) -> bool {
    matches!(op, Op::Erf(_) | Op::Tanh(_))
}

fn product_and_itself(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, x| match op {
        Op::Add(_) => [(x[0], x[1]), (x[1], x[0])].into_iter().find_map(|(alone, multiple)| {
            let (gate, exponent) = view.product(multiple).over(&view.product(alone)).only()?;
            let coefficient = view.product(multiple).over(&view.product(alone)).coefficient;
            let is_gate = view.find(gate, |op, _| is_odd_gate(op).then_some(())).is_some();
            let ty = view.ty(root);
            let one = Term::number(ty.dtype, &ty.shape, 1.0);
            (is_gate && exponent == 1.0 && close(coefficient, 1.0) && view.uniform(alone).is_none())
                .then(|| Term::apply(Mul {}, [Term::Class(alone), Term::apply(Add {}, [Term::Class(gate), one])]))
        }),
        _ => None,
    })
}

fn gelu(approximate: GeluKind, x: Term) -> Term {
    Term::apply(Gelu { approximate }, [x])
}

fn gelu_by_erf(view: View, root: Id) -> Option<Term> {
    one_plus(view, &view.product(root), |op| matches!(op, Op::Erf(_))).into_iter().find_map(|(rest, z, sign)| {
        let (inner, factor) = view.scaled(z);
        let factor = sign * factor;
        // x = factor · √2 · inner
        let half = rest.over(&view.product(inner)).is_number(0.5 * factor * SQRT_2);
        half.then(|| gelu(GeluKind::Erf, Term::scaled(view, inner, factor / FRAC_1_SQRT_2)))
    })
}

/// x where a class is factor · √(2/π) · (x + 0.044715·x³).
fn cubic(view: View, class: Id, factor: f64) -> Option<Id> {
    let outer = view.product(class);
    let (linear, cube) = (factor * FRAC_2_PI.sqrt(), factor * FRAC_2_PI.sqrt() * CUBIC);
    // c · (a·x + b·x³)
    let expanded = outer.only().and_then(|(sum, _)| {
        let (first, second) = view.find(sum, |op, x| matches!(op, Op::Add(_)).then(|| (x[0], x[1])))?;
        [(first, second), (second, first)].into_iter().find_map(|(low, high)| {
            let (x, a) = view.scaled(low);
            let unit = view.product(x);
            let rest = view.product(high).over(&unit).over(&unit).over(&unit);
            (close(outer.coefficient * a, linear) && rest.is_number(cube / outer.coefficient)).then_some(x)
        })
    });
    // c · x · (a + b·x²)
    expanded.or_else(|| {
        outer.powers.iter().filter(|(_, exponent)| *exponent == 1.0).find_map(|(factor, _)| {
            let (high, low) = view.plus_number(*factor).filter(|(_, low)| *low != 0.0)?;
            let rest = outer.without(*factor, 1.0)?;
            let alone = rest.only().filter(|(_, exponent)| *exponent == 1.0).map(|(x, _)| x);
            let x = alone.or_else(|| view.square_root_of(view.scaled(high).0))?;
            let unit = view.product(x);
            let rest_of_high = view.product(high).over(&unit).over(&unit);
            (rest.over(&unit).is_number(linear / low) && rest_of_high.is_number(cube / linear * low)).then_some(x)
        })
    })
}

fn gelu_by_tanh(view: View, root: Id) -> Option<Term> {
    one_plus(view, &view.product(root), |op| matches!(op, Op::Tanh(_))).into_iter().find_map(|(rest, z, sign)| {
        let x = cubic(view, z, sign)?;
        rest.over(&view.product(x)).is_number(0.5).then(|| gelu(GeluKind::Tanh, Term::Class(x)))
    })
}

fn gelu_by_sigmoid(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == 1.0).find_map(|(gate, _)| {
        let z = view.find(*gate, |op, x| matches!(op, Op::Sigmoid(_)).then(|| x[0]))?;
        let x = cubic(view, z, 2.0)?;
        let rest = product.without(*gate, 1.0)?;
        rest.over(&view.product(x)).is_number(1.0).then(|| gelu(GeluKind::Tanh, Term::Class(x)))
    })
}

/// `(x, k)` where a class is log(1 + e^(k·x)).
fn log_of_one_plus_power(view: View, class: Id) -> Option<(Id, f64)> {
    view.find(class, |op, x| match op {
        Op::Softplus(_) => Some(view.scaled(x[0])),
        Op::Log1p(_) => power(view, x[0]),
        Op::Log(_) => one_plus_power(view, x[0]),
        _ => None,
    })
}

fn softplus(view: View, root: Id) -> Option<Term> {
    let (x, _) = log_of_one_plus_power(view, root).filter(|(_, factor)| *factor == 1.0)?;
    Some(Term::of(Softplus {}, &[x]))
}

fn softplus_of_both_signs(view: View, root: Id) -> Option<Term> {
    view.find(root, |op, y| match op {
        Op::Add(_) => [(y[0], y[1]), (y[1], y[0])].into_iter().find_map(|(above, log)| {
            let (x, _) = at_least(view, above).filter(|(_, low)| *low == 0.0)?;
            let (absolute, _) = log_of_one_plus_power(view, log).filter(|(_, factor)| *factor == -1.0)?;
            let of_x = view.find(absolute, |op, y| (matches!(op, Op::Abs(_)) && y[0] == x).then_some(())).is_some();
            of_x.then(|| Term::of(Softplus {}, &[x]))
        }),
        _ => None,
    })
}

fn softplus_with_threshold(view: View, root: Id) -> Option<Term> {
    let (condition, above, below) = view.find(root, |op, x| matches!(op, Op::Select(_)).then(|| (x[0], x[1], x[2])))?;
    let x = view.find(below, |op, x| matches!(op, Op::Softplus(_)).then(|| x[0])).filter(|x| *x == above)?;
    let threshold = view.find(condition, |op, y| (matches!(op, Op::Greater(_)) && y[0] == x).then(|| view.uniform(y[1]))?)?;
    (threshold >= 16.0 && view.ty(x).dtype != DType::F64).then(|| Term::Class(below))
}

fn mish(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == 1.0).find_map(|(gate, _)| {
        let tanh = view.find(*gate, |op, x| matches!(op, Op::Tanh(_)).then(|| x[0]))?;
        let x = view.find(tanh, |op, x| matches!(op, Op::Softplus(_)).then(|| x[0]))?;
        let rest = product.without(*gate, 1.0)?;
        rest.over(&view.product(x)).is_number(1.0).then(|| Term::of(Mish {}, &[x]))
    })
}

fn mish_by_quotient(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == -1.0).find_map(|(denominator, _)| {
        let (numerator, _) = view.plus_number(*denominator).filter(|(_, number)| close(*number, 2.0))?;
        let parts = view.product(numerator);
        // e^x · (e^x + 2)
        let x = parts.powers.iter().find_map(|(class, _)| {
            let (x, _) = power(view, *class).filter(|(_, factor)| *factor == 1.0)?;
            let (other, _) =
                parts.without(*class, 1.0)?.only().filter(|(_, exponent)| *exponent == 1.0 && close(parts.coefficient, 1.0))?;
            let (inside, number) = view.plus_number(other)?;
            (inside == *class && close(number, 2.0)).then_some(x)
        })?;
        let rest = product.without(*denominator, -1.0)?.over(&parts);
        rest.over(&view.product(x)).is_number(1.0).then(|| Term::of(Mish {}, &[x]))
    })
}

/// `(x, low, high)` where a class is x between two numbers.
fn clamped(view: View, class: Id) -> Option<(Id, f64, f64)> {
    let clip = view.find(class, |op, x| match op {
        Op::Clip(_) => Some((x[0], view.uniform(x[1])?, view.uniform(x[2])?)),
        _ => None,
    });
    let low_inside = || {
        let (inner, high) = at_most(view, class)?;
        at_least(view, inner).map(|(x, low)| (x, low, high))
    };
    let high_inside = || {
        let (inner, low) = at_least(view, class)?;
        at_most(view, inner).map(|(x, high)| (x, low, high))
    };
    clip.or_else(low_inside).or_else(high_inside)
}

/// `(x, high)` where a class is the smaller of x and a number.
fn at_most(view: View, class: Id) -> Option<(Id, f64)> {
    view.find(class, |op, x| if matches!(op, Op::Min(_)) { with_number(view, x) } else { None })
}

/// `(x, low)` where a class is the larger of x and a number.
fn at_least(view: View, class: Id) -> Option<(Id, f64)> {
    view.find(class, |op, x| match op {
        Op::Max(_) => with_number(view, x),
        Op::Relu(_) => Some((x[0], 0.0)),
        _ => None,
    })
}

/// The operand that is no number, and the one that is.
fn with_number(view: View, x: &[Id]) -> Option<(Id, f64)> {
    match (view.uniform(x[0]), view.uniform(x[1])) {
        (None, Some(number)) => Some((x[0], number)),
        (Some(number), None) => Some((x[1], number)),
        _ => None,
    }
}

fn hard_sigmoid(view: View, root: Id) -> Option<Term> {
    let (line, low, high) = clamped(view, root)?;
    // A clip to 0..1 of something that is no line stays one.
    let (scaled, offset) = view.plus_number(line)?;
    let (x, slope) = view.scaled(scaled);
    (low == 0.0 && high == 1.0).then(|| Term::of(HardSigmoid { alpha: Real(slope), beta: Real(offset) }, &[x]))
}

fn hard_swish(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    product.powers.iter().filter(|(_, exponent)| *exponent == 1.0).find_map(|(gate, _)| {
        let rest = product.without(*gate, 1.0)?;
        let by_sigmoid = view.find(*gate, |op, x| match op {
            Op::HardSigmoid(op) if close(op.alpha.0, 1.0 / 6.0) && close(op.beta.0, 0.5) => Some((x[0], 1.0)),
            _ => None,
        });
        let (x, scale) = by_sigmoid.or_else(|| {
            let (line, low, high) = clamped(view, *gate)?;
            let (x, offset) = view.plus_number(line)?;
            (close(offset, 3.0) && low == 0.0 && high == 6.0).then_some((x, 1.0 / 6.0))
        })?;
        rest.over(&view.product(x)).is_number(scale).then(|| Term::of(HardSwish {}, &[x]))
    })
}
