//! Attention from products, a softmax and whatever exporters put between: scales before or after, masks added or selected, caps,
//! K transposed or not, heads as one axis or more, shared key heads repeated, operands whose batches are repeated to each other's, a
//! softmax in a wider type than the products, a division by its sum after the second product.
//!
//! A rule looks at the second product, finds the softmax below it and then the first product, peeling what stands between into
//! attributes and masks. What it cannot peel stays outside (a scale applied before heads are split stays with the queries).

use super::heads::{Operand, before_repeat, regrouped, split, with_two_batches};
use crate::egraph::rule::{Exactness, Rewrite, Rule, Term};
use crate::egraph::view::{View, close};
use egg::Id;
use kiln_ir::attr::Real;
use kiln_ir::ops::{Add, Attention, Broadcast, Cast, Div, Dot, Mul, ReduceKind, Reshape, Select, Softmax};
use kiln_ir::{DType, Dim, Op};

/// Two contractions and a softmax: sums of the depth and of the keys.
const TWO_SUMS: f64 = 512.0;

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "attention",
        mathematics: "softmax(cap(q k^T * scale) + mask) v = attention(q, k, v, mask); a score replaced by -inf or -10^38 is that plus the score",
        exactness: Exactness::Reassociated { bound: TWO_SUMS },
        roots: &["dot"],
        rewrite: Rewrite::Class(|view, root| attention(view, root, Search::new(Fill::Absorbing))),
        examples: &[
            "graph (%q: f32[2, 3, n, 4], %k: f32[2, 3, m, 4], %v: f32[2, 3, m, 5]) {
             %t = transpose %k {perm = [0, 1, 3, 2]} ;
             %s = dot %q, %t {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ;
             %c = const f32[] 0.5 ; %b = broadcast %c {shape = [2, 3, n, m]} ; %z = mul %s, %b ; %p = softmax %z {axis = 3} ;
             %y = dot %p, %v {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
            "graph (%q: f32[6, 5, 4], %k: f32[6, 7, 4], %v: f32[6, 7, 3], %mask: f32[2, 1, 1, 7]) {
             %s = dot %q, %k {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [2]} ;
             %r = reshape %s {shape = [2, 3, 5, 7]} ; %m = broadcast %mask {shape = [2, 3, 5, 7]} ; %a = add %r, %m ;
             %f = reshape %a {shape = [6, 5, 7]} ; %p = softmax %f {axis = 2} ;
             %y = dot %p, %v {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [1]} ; return %y }",
            "graph (%q: f32[1, 2, n, 4], %k: f32[1, 2, n, 4], %v: f32[1, 2, n, 4], %mask: bool[n, n]) {
             %s = dot %q, %k {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ;
             %i = const f32[] -inf ; %never = broadcast %i {shape = [1, 2, n, n]} ; %m = broadcast %mask {shape = [1, 2, n, n]} ;
             %a = select %m, %s, %never ; %p = softmax %a {axis = 3} ;
             %y = dot %p, %v {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
            "graph (%q: f32[1, 2, n, 4], %k: f32[1, 2, m, 4], %v: f32[1, 2, m, 4], %hidden: bool[n, m]) {
             %s = dot %q, %k {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ;
             %i = const f32[] -3.4028235e38 ; %never = broadcast %i {shape = [1, 2, n, m]} ; %h = broadcast %hidden {shape = [1, 2, n, m]} ;
             %a = select %h, %never, %s ; %p = softmax %a {axis = 3} ;
             %y = dot %p, %v {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
            "graph (%q: f32[n, 4], %k: f32[n, 4], %v: f32[n, 4]) {
             %s = dot %q, %k {a_batch = [], b_batch = [], a_contract = [1], b_contract = [1]} ;
             %c = const f32[] 3.0 ; %b = broadcast %c {shape = [n, n]} ; %d = div %s, %b ; %t = tanh %d ; %u = mul %t, %b ;
             %p = softmax %u {axis = 1} ; %y = dot %p, %v {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} ; return %y }",
            "graph (%q: f32[2, 3, n, 4], %k: f32[2, 3, m, 4], %v: f32[2, 3, m, 5], %t: f32[3, 1, 1], %mask: f32[2, 1, 1, m]) {
             %s = dot %q, %k {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ;
             %b = broadcast %t {shape = [2, 3, n, m]} ; %w = mul %b, %s ; %mb = broadcast %mask {shape = [2, 3, n, m]} ; %a = add %w, %mb ;
             %h = const f32[] 0.5 ; %hb = broadcast %h {shape = [2, 3, n, m]} ; %z = mul %a, %hb ; %p = softmax %z {axis = 3} ;
             %y = dot %p, %v {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
            "graph (%q: f32[2*n, 3, 5, 4], %k: f32[2*n, 3, m, 4], %v: f32[2*n, 3, m, 4], %bias: f32[3, 5, m], %mask: f32[n, 2, 1, 5, m]) {
             %s = dot %q, %k {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ;
             %t = const f32[3, 1, 1] [0.5, 0.25, 1.5] ; %tb = broadcast %t {shape = [2*n, 3, 5, m]} ; %w = mul %s, %tb ;
             %b = broadcast %bias {shape = [2*n, 3, 5, m]} ; %a = add %w, %b ; %r = reshape %a {shape = [n, 2, 3, 5, m]} ;
             %mb = broadcast %mask {shape = [n, 2, 3, 5, m]} ; %z = add %r, %mb ; %f = reshape %z {shape = [2*n, 3, 5, m]} ;
             %p = softmax %f {axis = 3} ;
             %y = dot %p, %v {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
            "graph (%q: f32[n, 4, 5, 3], %k: f32[n, m, 2, 3], %v: f32[n, 2, m, 3]) {
             %k1 = reshape %k {shape = [n, m, 2, 1, 3]} ; %k2 = broadcast %k1 {shape = [n, m, 2, 2, 3]} ;
             %k4 = reshape %k2 {shape = [n, m, 4, 3]} ; %kt = transpose %k4 {perm = [0, 2, 1, 3]} ;
             %i = const i64[4] [0, 0, 1, 1] ; %v4 = gather %v, %i {axis = 1} ;
             %s = dot %q, %kt {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ; %p = softmax %s {axis = 3} ;
             %y = dot %p, %v4 {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
            "graph (%q: f32[n, 6, 5, 3], %k: f32[n, m, 3, 3], %v: f32[n, 3, m, 3]) {
             %k1 = reshape %k {shape = [n, m, 3, 1, 1, 3]} ; %k2 = broadcast %k1 {shape = [n, m, 3, 2, 1, 3]} ;
             %k6 = reshape %k2 {shape = [n, m, 6, 3]} ; %kt = transpose %k6 {perm = [0, 2, 1, 3]} ;
             %v1 = reshape %v {shape = [n, 3, 1, 1, m, 3]} ; %v2 = broadcast %v1 {shape = [n, 3, 2, 1, m, 3]} ;
             %v6 = reshape %v2 {shape = [n, 6, m, 3]} ;
             %s = dot %q, %kt {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ; %p = softmax %s {axis = 3} ;
             %y = dot %p, %v6 {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }",
        ],
    },
    Rule {
        name: "values-over-sum",
        mathematics: "(e^s V) / sum(e^s) = softmax(s) V",
        exactness: Exactness::Reassociated { bound: TWO_SUMS },
        roots: &["div", "mul"],
        rewrite: Rewrite::Class(values_over_sum),
        examples: &["graph (%s: f32[2, n, m], %v: f32[2, m, 3]) { %e = exp %s ; %t = reduce %e {kind = sum, axes = [2], keep = true} ;
             %p = dot %e, %v {a_batch = [0], b_batch = [0], a_contract = [2], b_contract = [1]} ; %b = broadcast %t {shape = [2, n, 3]} ;
             %y = div %p, %b ; return %y }"],
    },
    Rule {
        name: "attention-with-finite-mask",
        mathematics: "a score replaced by a large negative number is, after softmax, as good as that number added, where a score is left",
        exactness: Exactness::Approx { bound: TWO_SUMS, domain: "every query sees a key whose score exceeds the number by 104" },
        roots: &["dot"],
        rewrite: Rewrite::Class(|view, root| attention(view, root, Search::new(Fill::Large))),
        examples: &["graph (%q: f32[1, 2, 3, 4], %k: f32[1, 2, 3, 4], %v: f32[1, 2, 3, 4]) {
             %mask = const bool[3, 3] [true, false, false, true, true, false, true, true, true] ;
             %s = dot %q, %k {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [3]} ;
             %i = const f32[] -1000000000.0 ; %never = broadcast %i {shape = [1, 2, 3, 3]} ; %m = broadcast %mask {shape = [1, 2, 3, 3]} ;
             %a = select %m, %s, %never ; %p = softmax %a {axis = 3} ;
             %y = dot %p, %v {a_batch = [0, 1], b_batch = [0, 1], a_contract = [3], b_contract = [2]} ; return %y }"],
    },
];

fn values_over_sum(view: View, root: Id) -> Option<Term> {
    let product = view.product(root);
    let [a, b] = product.powers.as_slice() else { return None };
    let [values, sum] = if a.1 > b.1 { [a, b] } else { [b, a] };
    if values.1 != 1.0 || sum.1 != -1.0 || !close(product.coefficient, 1.0) {
        return None;
    }
    let (powers, axes) = view.spread_reduction(sum.0, ReduceKind::Sum)?;
    let last = view.ty(powers).rank() - 1;
    view.find(values.0, |op, x| {
        let Op::Dot(dot) = op else { return None };
        let of_rows = x[0] == powers && axes == [last] && dot.a_contract == [last] && view.ty(root).rank() == last + 1;
        // Rows of the result are those of the powers.
        let in_place = dot.a_batch.iter().copied().eq(0..last.checked_sub(1)?);
        let scores = view.find(powers, |op, x| matches!(op, Op::Exp(_)).then(|| x[0])).filter(|_| of_rows && in_place)?;
        Some(Term::apply(dot.clone(), [Term::of(Softmax { axis: last }, &[scores]), Term::Class(x[1])]))
    })
}

/// Which numbers in the place of a score hide a key. The number is added to the score instead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// −∞, and numbers so large that a score added to them is lost in rounding: they give the same where a query sees no key, too.
    Absorbing,
    /// Numbers of −10⁴ and below as well.
    Large,
}

/// How scores are looked for.
#[derive(Clone, Copy)]
struct Search {
    fill: Fill,
    /// How many operators may still be looked through; sums of sums branch, so it is a small number.
    steps: u32,
}

impl Search {
    fn new(fill: Fill) -> Search {
        Search { fill, steps: 8 }
    }

    fn hides(self, value: f64) -> bool {
        value <= if self.fill == Fill::Absorbing { -1e30 } else { -1e4 }
    }

    fn deeper(self) -> Option<Search> {
        Some(Search { steps: self.steps.checked_sub(1)?, ..self })
    }
}

/// What stands between the two products.
struct Scores {
    dot: Dot,
    q: Id,
    k: Id,
    scale: f64,
    softcap: Option<f64>,
    /// What the queries are multiplied by, or divided if so marked: temperatures that are no numbers, the same for all keys.
    factors: Vec<Factor>,
    /// What is added, with its shape, which broadcasts to that of the scores.
    mask: Option<(Term, Vec<Dim>)>,
    /// The axes before queries and keys, as they are where masks are added.
    batch: Vec<Dim>,
    /// Shapes that scores or shares were repeated to, one after the other: operands are repeated so instead.
    repeated: Vec<Vec<Dim>>,
    /// The type of what masks are added to: wider than the operands where a softmax is computed in it.
    dtype: DType,
}

/// What queries are multiplied by, or divided.
struct Factor {
    term: Term,
    /// Broadcasts to that of the scores.
    shape: Vec<Dim>,
    divides: bool,
}

fn attention(view: View, root: Id, search: Search) -> Option<Term> {
    view.find(root, |op, x| {
        let Op::Dot(dot) = op else { return None };
        let (shares, v) = (x[0], x[1]);
        let rank = view.ty(shares).rank();
        let batch: Vec<usize> = (0..rank.checked_sub(2)?).collect();
        if dot.a_batch != batch || dot.a_contract != [rank - 1] {
            return None;
        }
        let v = operand(view, v, &dot.b_batch, &dot.b_contract, true)?;
        let scores = shares_of(view, shares, search)?;
        build(view, root, &scores, &v)
    })
}

/// The scores of probabilities; what only replaces a NaN is looked through, as attention does that itself.
fn shares_of(view: View, class: Id, search: Search) -> Option<Scores> {
    let search = search.deeper()?;
    let rank = view.ty(class).rank();
    let of_softmax = view.find(class, |op, x| match op {
        Op::Softmax(Softmax { axis }) if *axis == rank - 1 => scores(view, x[0], search),
        _ => None,
    });
    of_softmax.or_else(|| {
        view.find(class, |op, x| match op {
            Op::Select(_) if view.is_number(x[1], 0.0) => {
                let checked = view.find(x[0], |op, y| matches!(op, Op::IsNan(_)).then(|| y[0]))?;
                (checked == x[2]).then(|| shares_of(view, x[2], search))?
            }
            Op::Reshape(_) if keeps_last_two(view, x[0], class) => shares_of(view, x[0], search),
            // Not along the keys: shares are the same for all of them then.
            Op::Broadcast(_)
                if view.same_dims(&view.shape(x[0])[view.ty(x[0]).rank().saturating_sub(1)..], &view.shape(class)[rank - 1..]) =>
            {
                repeated(view, shares_of(view, x[0], search)?, x[0], class)
            }
            Op::Cast(_) if view.ty(x[0]).dtype.is_float() && view.ty(class).dtype.is_float() => shares_of(view, x[0], search),
            _ => None,
        })
    })
}

/// Scores of a class that another repeats along axes that it has.
fn repeated(view: View, mut inside: Scores, class: Id, to: Id) -> Option<Scores> {
    let (from, to) = (view.shape(class).to_vec(), view.shape(to).to_vec());
    let batch = to[..to.len() - 2].to_vec();
    if inside.batch.len() != batch.len() {
        return None;
    }
    // One after the other, as it was stated that each can be.
    let both = |mask| [&from, &to].into_iter().fold(mask, |mask, shape| Term::apply(Broadcast { shape: shape.clone() }, [mask]));
    inside.mask = inside.mask.map(|(mask, _)| (both(mask), to.clone()));
    inside.repeated.push(to);
    Some(Scores { batch, ..inside })
}

/// Whether a reshape regroups the axes before the last two only.
fn keeps_last_two(view: View, from: Id, to: Id) -> bool {
    let last_two = |class: Id| view.shape(class).len().checked_sub(2).map(|at| &view.shape(class)[at..]);
    matches!((last_two(from), last_two(to)), (Some(a), Some(b)) if view.same_dims(a, b))
}

fn is_wider(a: DType, b: DType) -> bool {
    a.is_float() && b.is_float() && a.size_bytes() > b.size_bytes()
}

fn swaps_last_two(perm: &[usize]) -> bool {
    matches!(perm, [batch @ .., a, b] if batch.iter().copied().eq(0..batch.len()) && *a == perm.len() - 1 && *b == perm.len() - 2)
}

fn scores(view: View, class: Id, search: Search) -> Option<Scores> {
    let search = search.deeper()?;
    let shape = view.shape(class);
    let batch = || shape[..shape.len() - 2].to_vec();
    let (inner, factor) = view.scaled(class);
    if inner != class {
        if let Some(capped) = capped(view, inner, factor, search) {
            return Some(capped);
        }
        let inside = scores(view, inner, search).filter(|s| s.softcap.is_none() && (factor > 0.0 || s.mask.is_none()))?;
        // A factor of a masked score scales the mask as well; positive, so that −∞ stays it.
        let dtype = view.ty(class).dtype;
        let mask = inside.mask.map(|(mask, shape)| (Term::apply(Mul {}, [mask, Term::number(dtype, &shape, factor)]), shape));
        return Some(Scores { scale: inside.scale * factor, mask, ..inside });
    }
    view.find(class, |op, x| match op {
        Op::Dot(dot) => {
            let (q, q_scale) = view.scaled(x[0]);
            let (k, k_scale) = view.scaled(x[1]);
            let free = |rank: usize, batch: &[usize], contract: &[usize]| Dot::free_axes(rank, batch, contract).len() == 1;
            let matrices =
                free(view.ty(x[0]).rank(), &dot.a_batch, &dot.a_contract) && free(view.ty(x[1]).rank(), &dot.b_batch, &dot.b_contract);
            (matrices && dot.a_contract.len() == 1).then(|| Scores {
                dot: dot.clone(),
                q,
                k,
                scale: q_scale * k_scale,
                softcap: None,
                factors: Vec::new(),
                mask: None,
                batch: batch(),
                repeated: Vec::new(),
                dtype: view.ty(class).dtype,
            })
        }
        Op::Add(_) => [(x[0], x[1]), (x[1], x[0])].into_iter().find_map(|(inner, mask)| {
            let mask = view.before_broadcast(mask);
            masked(view, scores(view, inner, search)?, Term::Class(mask), view.shape(mask), shape)
        }),
        Op::Select(_) => {
            let (inner, values) = match (view.uniform(x[1]), view.uniform(x[2])) {
                (None, Some(value)) if search.hides(value) => (x[1], [0.0, value]),
                (Some(value), None) if search.hides(value) => (x[2], [value, 0.0]),
                _ => return None,
            };
            let condition = view.before_broadcast(x[0]);
            let [yes, no] = values.map(|value| Term::number(view.ty(class).dtype, view.shape(condition), value));
            let mask = Term::apply(Select {}, [Term::Class(condition), yes, no]);
            masked(view, scores(view, inner, search)?, mask, view.shape(condition), shape)
        }
        Op::Mul(_) => {
            [(x[0], x[1]), (x[1], x[0])].into_iter().find_map(|(inner, factor)| warmed(view, inner, factor, false, shape, search))
        }
        Op::Div(_) => warmed(view, x[0], x[1], true, shape, search),
        Op::Transpose(transpose) if swaps_last_two(&transpose.perm) => {
            // The product of keys and queries, in that order.
            let inside = scores(view, x[0], search).filter(|s| s.mask.is_none() && s.factors.is_empty() && s.repeated.is_empty())?;
            let Dot { a_batch, b_batch, a_contract, b_contract } = inside.dot;
            let dot = Dot { a_batch: b_batch, b_batch: a_batch, a_contract: b_contract, b_contract: a_contract };
            Some(Scores { dot, q: inside.k, k: inside.q, ..inside })
        }
        Op::Broadcast(_) if view.ty(x[0]).rank() == shape.len() => repeated(view, scores(view, x[0], search)?, x[0], class),
        // Softmax in a wider type than the products, whose sums are computed in it anyway.
        Op::Cast(Cast { dtype }) if is_wider(*dtype, view.ty(x[0]).dtype) => {
            let inside = scores(view, x[0], search)?;
            let mask = inside.mask.map(|(mask, shape)| (Term::apply(Cast { dtype: *dtype }, [mask]), shape));
            Some(Scores { mask, dtype: *dtype, ..inside })
        }
        Op::Reshape(_) if keeps_last_two(view, x[0], class) => {
            let inside = scores(view, x[0], search)?;
            if inside.mask.is_none() && inside.factors.is_empty() {
                return Some(Scores { batch: batch(), ..inside });
            }
            // Masks and temperatures keep the axes that they were applied to, unless each is split: windows of pictures are.
            let counts = if inside.repeated.is_empty() { split(view, &inside.batch, &batch()) } else { None };
            match counts {
                Some(counts) => split_scores(inside, batch(), &counts),
                None => Some(inside),
            }
        }
        _ => None,
    })
}

/// Scores whose batch axes are split, with what was applied to them.
fn split_scores(inside: Scores, batch: Vec<Dim>, counts: &[usize]) -> Option<Scores> {
    let split = |term: Term, shape: &[Dim]| regrouped(term, shape, &inside.batch, &batch, counts);
    let mask = match inside.mask {
        Some((mask, shape)) => Some(split(mask, &shape)?),
        None => None,
    };
    let factor = |Factor { term, shape, divides }| split(term, &shape).map(|(term, shape)| Factor { term, shape, divides });
    let factors = inside.factors.into_iter().map(factor).collect::<Option<Vec<_>>>()?;
    Some(Scores { mask, factors, batch, ..inside })
}

/// The scores with one more mask added where they have that shape. A second one joins the first if both see the same axes.
fn masked(view: View, inside: Scores, mask: Term, mask_shape: &[Dim], shape: &[Dim]) -> Option<Scores> {
    let batch = shape[..shape.len() - 2].to_vec();
    // Where scores had to be repeated, the mask need not fit what they were before.
    let (mask, mask_shape) = match inside.repeated.is_empty() {
        true => (mask, mask_shape),
        false => (Term::apply(Broadcast { shape: shape.to_vec() }, [mask]), shape),
    };
    let Some((first, first_shape)) = inside.mask else {
        return Some(Scores { batch, mask: Some((mask, mask_shape.to_vec())), ..inside });
    };
    let at = |of: &[Dim], axis: usize| (axis + of.len()).checked_sub(shape.len()).map_or(Dim::ONE, |place| of[place].clone());
    let common: Vec<Dim> =
        (0..shape.len()).map(|a| if at(&first_shape, a).is(1) { at(mask_shape, a) } else { at(&first_shape, a) }).collect();
    let [first, mask] = [first, mask].map(|term| Term::apply(Broadcast { shape: common.clone() }, [term]));
    let same_axes = view.same_dims(&inside.batch, &batch);
    same_axes.then(|| Scores { batch, mask: Some((Term::apply(Add {}, [first, mask]), common)), ..inside })
}

/// Scores multiplied or divided by something that all keys share, as if the queries had been.
fn warmed(view: View, inner: Id, factor: Id, divides: bool, shape: &[Dim], search: Search) -> Option<Scores> {
    let factor = view.before_broadcast(factor);
    let shared = view.shape(factor).last().is_none_or(|d| d.is(1));
    let mut inside = scores(view, inner, search).filter(|s| shared && s.mask.is_none() && s.softcap.is_none())?;
    let batch = shape[..shape.len() - 2].to_vec();
    let same_axes = inside.factors.is_empty() || view.same_dims(&inside.batch, &batch);
    inside.factors.push(Factor { term: Term::Class(factor), shape: view.shape(factor).to_vec(), divides });
    same_axes.then_some(Scores { batch, ..inside })
}

/// cap · tanh(scores / cap)
fn capped(view: View, class: Id, cap: f64, search: Search) -> Option<Scores> {
    let inner = view.find(class, |op, x| matches!(op, Op::Tanh(_)).then(|| x[0])).filter(|_| cap > 0.0)?;
    let inside = scores(view, inner, search).filter(|s| s.mask.is_none() && s.softcap.is_none())?;
    Some(Scores { scale: inside.scale * cap, softcap: Some(cap), ..inside })
}

/// An operand of a product of matrices; the contracted axis stands before or after the free one.
fn operand(view: View, class: Id, batch: &[usize], contract: &[usize], contract_first: bool) -> Option<Operand> {
    let free = Dot::free_axes(view.ty(class).rank(), batch, contract);
    let ([contract], [free]) = (contract, free.as_slice()) else { return None };
    let last = if contract_first { [*contract, *free] } else { [*free, *contract] };
    Some(Operand { class, perm: batch.iter().copied().chain(last).collect() })
}

/// The attention that a program spells: every operand with four axes, and the result reshaped to what it was.
fn build(view: View, root: Id, scores: &Scores, v: &Operand) -> Option<Term> {
    let q = operand(view, scores.q, &scores.dot.a_batch, &scores.dot.a_contract, false)?;
    let k = operand(view, scores.k, &scores.dot.b_batch, &scores.dot.b_contract, false)?;
    let batch = match scores.batch.as_slice() {
        [] => [Dim::ONE, Dim::ONE],
        [heads] => [Dim::ONE, heads.clone()],
        [batch, heads] => [batch.clone(), heads.clone()],
        more if scores.mask.is_none() && scores.factors.is_empty() => [Dim::ONE, Dim::product(more)],
        [batch, heads @ ..] => [batch.clone(), Dim::product(heads)],
    };
    let more = scores.batch.len() > 2;
    if more && !scores.repeated.is_empty() {
        return None;
    }
    let permuted = |operand: &Operand| operand.perm.iter().map(|a| view.shape(operand.class)[*a].clone()).collect::<Vec<Dim>>();
    let with_batch = |shape: &[Dim]| [&batch[..], &shape[shape.len() - 2..]].concat();
    // Masks and temperatures in a wider type stay as they are: in a narrower one they may be others.
    let narrow = view.ty(root).dtype;
    let wide = scores.dtype != narrow && (scores.mask.is_some() || !scores.factors.is_empty());
    let cast = |term: Term, dtype: DType| if wide { Term::apply(Cast { dtype }, [term]) } else { term };
    let widened = |term: Term| cast(term, scores.dtype);
    // Repeated as the scores were, of which an operand has all axes but the last and `rows` in the place of the one before.
    let four_axes = |operand: &Operand, rows: Option<usize>| {
        let mut shape = permuted(operand);
        let mut term = Term::transposed(view, operand.class, &operand.perm);
        for of_scores in rows.iter().flat_map(|_| &scores.repeated) {
            let last = shape[shape.len() - 1].clone();
            let (lead, rows) = (of_scores.len() - 2, of_scores.len() - 2 + rows.unwrap_or(0));
            shape = [&of_scores[..lead], &[of_scores[rows].clone(), last]].concat();
            term = Term::apply(Broadcast { shape: shape.clone() }, [term]);
        }
        let to = with_batch(&shape);
        widened(if shape == to { term } else { Term::apply(Reshape { shape: to }, [term]) })
    };
    let mut queries = four_axes(&q, Some(0));
    for Factor { term, shape: own, divides } in &scores.factors {
        let mut shape = permuted(&q);
        let rows = shape.len() - 2;
        shape[rows] = scores.repeated.last().map_or(shape[rows].clone(), |of_scores| of_scores[of_scores.len() - 2].clone());
        let factor = if more { with_two_batches(term.clone(), own, &scores.batch)?.0 } else { term.clone() };
        let factor = Term::apply(Broadcast { shape: with_batch(&shape) }, [factor]);
        queries = if *divides { Term::apply(Div {}, [queries, factor]) } else { Term::apply(Mul {}, [queries, factor]) };
    }
    let [k, v] = match (before_repeat(view, &k, &batch), before_repeat(view, v, &batch)) {
        (Some((shared, heads)), Some((v, v_heads))) if heads == v_heads => {
            let [lead, depth] = [batch[0].clone(), permuted(&k)[k.perm.len() - 1].clone()];
            let keys = scores.repeated.last().map(|of_scores| of_scores[of_scores.len() - 1].clone());
            let repeated = |keys| Term::apply(Broadcast { shape: vec![lead, heads, keys, depth] }, [shared.clone()]);
            [keys.map_or_else(|| shared.clone(), repeated), v].map(widened)
        }
        _ => [four_axes(&k, Some(1)), four_axes(v, None)],
    };
    let depth = view.shape(q.class)[q.perm[q.perm.len() - 1]].as_const();
    let usual = depth.is_some_and(|d| close(scores.scale, 1.0 / (d as f64).sqrt()));
    let op = Attention {
        scale: (!usual).then_some(Real(scores.scale)),
        softcap: scores.softcap.map(Real),
        has_mask: scores.mask.is_some(),
        ..Attention::plain()
    };
    let mask = match &scores.mask {
        Some((mask, shape)) if more => Some(with_two_batches(mask.clone(), shape, &scores.batch)?.0),
        mask => mask.as_ref().map(|(mask, _)| mask.clone()),
    };
    let y = cast(Term::apply(op, [queries, k, v].into_iter().chain(mask)), narrow);
    let to = view.shape(root);
    let as_it_is = to.len() == 4 && view.same_dims(&to[..2], &batch);
    Some(if as_it_is { y } else { Term::apply(Reshape { shape: to.to_vec() }, [y]) })
}
