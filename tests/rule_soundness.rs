//! Every rewrite rule computes what it says: on each of its examples it fires, both sides have one type, and their values are
//! as close as the rule declares, for several sizes of symbols. Rules that are wrong on purpose are caught.

use kiln::egraph::ClassId;
use kiln::egraph::convert::Embedded;
use kiln::egraph::lang::ENode;
use kiln::egraph::rule::{Exactness, Freedom, Rewrite, Rule, Term};
use kiln::egraph::saturate::{Limits, saturate};
use kiln::egraph::view::View;
use kiln::rewrites::{all_rules, optimising_rules, rules};
use kiln_ir::eval::evaluate;
use kiln_ir::graph::Parameter;
use kiln_ir::ops::{Add, Exp, Mul, Reduce, ReduceKind, Transpose};
use kiln_ir::text::{ConstantTable, parse_graph};
use kiln_ir::verify::verify_module;
use kiln_ir::{DType, Graph, Module, NodeKind, Op, Tensor, TensorType};
use kiln_tests::samples::{Fill, Random, tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Values of the symbols in examples, n first.
const SIZES: [(i64, i64); 7] = [(1, 1), (2, 3), (5, 4), (8, 17), (3, 3), (0, 2), (4, 0)];
/// Draws of values for each size.
const DRAWS: usize = 4;

/// What is wrong with a rule, if anything.
fn faults(rule: &Rule) -> Vec<String> {
    rule.examples.iter().enumerate().flat_map(|(i, text)| example_faults(rule, i, text)).collect()
}

fn example_faults(rule: &Rule, number: usize, text: &str) -> Vec<String> {
    let named = |what: String| format!("{}, example {number}: {what}", rule.name);
    let left = parse_graph("", text, &ConstantTable::new()).unwrap_or_else(|e| panic!("{}: {}", named("does not read".into()), e[0]));
    let mut program = Embedded::new(&left, &BTreeMap::new());
    let roots: Vec<ClassId> = program.outputs().collect();
    assert!(!roots.is_empty(), "{}", named("has no output".into()));
    let report = saturate(&mut program, &[rule], &Limits { rounds: 1, ..Limits::default() });
    let mut choice = program.first_choice();
    for root in roots {
        // The first use at the output: others may have fired inside.
        let Some(used) = report.log.iter().find(|a| a.root == root) else {
            return vec![named("does not fire, or its right side does not have the type of its left side".into())];
        };
        let made: ENode = program.egraph.nodes()[usize::from(used.made)].clone();
        choice.insert(program.egraph.find(root), made);
    }
    let right = program.graph(&choice);
    if right == left {
        return vec![named("gives back what it was given".into())];
    }
    let (left, right) = (module(left), module(right));
    if let Err(errors) = verify_module(&right) {
        return vec![named(format!("its right side does not verify: {}", errors[0]))];
    }
    let mut random = Random::new(17);
    let mut faults = Vec::new();
    for sizes in SIZES {
        for draw in 0..DRAWS {
            let Some(inputs) = inputs(&left.functions["predict"], sizes, rule.exactness, draw, &mut random) else { continue };
            let (mut left, mut right) = (left.clone(), right.clone());
            fill_parameters(&mut left, rule.exactness, draw, &mut random);
            right.parameters = left.parameters.clone();
            let given: Vec<Tensor> = inputs.iter().cloned().chain(left.parameters.values().filter_map(|p| p.value.clone())).collect();
            let results = [&left, &right].map(|m| evaluate(m, &m.functions["predict"], &inputs));
            let fault = match &results {
                [Ok(left), Ok(right)] => left.iter().zip(right).find_map(|(left, right)| disagreement(rule.exactness, left, right, &given)),
                _ => Some(format!("one side fails: {results:?}")),
            };
            faults.extend(fault.map(|fault| named(format!("at sizes {sizes:?}: {fault}"))));
        }
    }
    faults.truncate(3);
    faults
}

fn module(graph: Graph) -> Module {
    let mut module = Module { name: "rule".into(), ..Module::default() };
    for id in graph.order() {
        if let NodeKind::Parameter(name) = &graph.node(id).kind {
            module.parameters.insert(name.to_string(), Parameter { ty: graph.node(id).types[0].clone(), value: None });
        }
    }
    module.functions.insert("predict".into(), graph);
    module
}

/// Values as far out as the exactness covers: special ones for rules that keep values, finite ones for the others.
fn values(ty: &TensorType, shape: &[usize], exactness: Exactness, draw: usize, random: &mut Random) -> Tensor {
    let exact = exactness.needs() == Freedom::Values;
    match (exact, draw) {
        (_, 0) => tensor(ty.dtype, shape, Fill::Ordinary, None, random),
        (true, _) => tensor(ty.dtype, shape, Fill::Special, None, random),
        // Zeros, subnormal numbers and small ones among ordinary ones.
        (false, 1) => tensor(ty.dtype, shape, Fill::Special, Some((-3.0, 3.0)), random),
        (false, _) => tensor(ty.dtype, shape, Fill::Ordinary, Some((-0.5 * draw as f64, 0.5 * draw as f64)), random),
    }
}

/// The function's inputs; `None` where the sizes break a guard.
fn inputs(graph: &Graph, sizes: (i64, i64), exactness: Exactness, draw: usize, random: &mut Random) -> Option<Vec<Tensor>> {
    let value = |s: &kiln_ir::Symbol| Some(if s.name() == "n" { sizes.0 } else { sizes.1 });
    if !graph.guards.iter().all(|g| g.holds(&value) == Some(true)) {
        return None;
    }
    let input = |(_, v): &(String, kiln_ir::Value)| {
        let ty = graph.ty(*v);
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.evaluate(&value).and_then(|d| usize::try_from(d).ok())).collect::<Option<_>>()?;
        Some(values(ty, &shape, exactness, draw, random))
    };
    graph.inputs().iter().map(input).collect()
}

fn fill_parameters(module: &mut Module, exactness: Exactness, draw: usize, random: &mut Random) {
    for parameter in module.parameters.values_mut() {
        let shape = parameter.ty.fixed_shape().unwrap_or_else(|| panic!("a parameter of symbolic size"));
        parameter.value = Some(values(&parameter.ty, &shape, exactness, draw, random));
    }
}

/// The first element of the right side that is not what the exactness promises.
fn disagreement(exactness: Exactness, left: &Tensor, right: &Tensor, inputs: &[Tensor]) -> Option<String> {
    if left.ty() != right.ty() {
        return Some(format!("the sides have types {} and {}", left.ty(), right.ty()));
    }
    let (a, b) = (left.floats(), right.floats());
    let largest = |t: &Tensor| t.floats().into_iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
    let scale = inputs.iter().chain([left]).filter(|t| t.dtype().is_float()).map(largest).fold(f64::from(f32::MIN_POSITIVE), f64::max);
    let epsilon = if left.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
    let agree = |a: f64, b: f64| match exactness {
        Exactness::SameBits => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        Exactness::SameValue => a == b || a.is_nan() && b.is_nan(),
        Exactness::Reassociated { bound } | Exactness::Approx { bound, .. } => {
            a.is_nan() || a == b || (a - b).abs() <= bound * epsilon * scale
        }
    };
    let at = (0..a.len()).find(|&i| !agree(a[i], b[i]))?;
    Some(format!("element {at} is {:e} on the left, {:e} on the right, of operands up to {scale:e}", a[at], b[at]))
}

#[test]
fn every_rule_is_sound() {
    let faults: Vec<String> = all_rules().into_iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_are_unique_and_rows_complete() {
    let all = all_rules();
    let reached: BTreeSet<&str> =
        rules(Freedom::Approximation).into_iter().chain(optimising_rules(Freedom::Approximation)).map(|r| r.name).collect();
    assert_eq!(all.len(), reached.len());
    assert_eq!(all.iter().map(|r| r.name).collect::<BTreeSet<_>>().len(), all.len());
    for rule in all {
        assert!(!rule.mathematics.is_empty() && !rule.examples.is_empty() && !rule.roots.is_empty(), "{}", rule.name);
        assert!(rule.roots.iter().all(|root| Op::NAMES.contains(root)), "{}: a root is no operator", rule.name);
        assert!(rule.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", rule.name);
    }
}

#[test]
fn approximations_wait_to_be_asked_for() {
    let some = |freedom| rules(freedom).iter().map(|r| r.exactness.needs()).max();
    assert_eq!(some(Freedom::Values), Some(Freedom::Values));
    assert_eq!(some(Freedom::Reassociation), Some(Freedom::Reassociation));
    assert_eq!(some(Freedom::Approximation), Some(Freedom::Approximation));
}

fn operands(view: View, root: ClassId, is: fn(&Op) -> bool) -> Option<Vec<ClassId>> {
    view.find(root, |op, x| is(op).then(|| x.to_vec()))
}

/// A row that lies, and what must be said of it.
fn planted(
    name: &'static str,
    exactness: Exactness,
    root: &'static [&'static str],
    rewrite: fn(View, ClassId) -> Option<Term>,
    example: &'static [&'static str],
) -> Rule {
    Rule { name, mathematics: "wrong on purpose", exactness, roots: root, rewrite: Rewrite::Class(rewrite), examples: example }
}

#[test]
fn wrong_rules_are_caught() {
    let rows: Vec<(Rule, &str)> = vec![
        (
            // −0 + 0 is +0.
            planted(
                "zero-is-neutral",
                Exactness::SameBits,
                &["add"],
                |view, root| {
                    let x = operands(view, root, |op| matches!(op, Op::Add(_)))?;
                    view.is_number(x[1], 0.0).then(|| Term::Class(x[0]))
                },
                &["graph (%x: f32[n, 8]) { %0 = const f32[] 0.0 ; %z = broadcast %0 {shape = [n, 8]} ; %y = add %x, %z ; return %y }"],
            ),
            "element",
        ),
        (
            // The shape is lost.
            planted(
                "divided-by-itself",
                Exactness::Reassociated { bound: 4.0 },
                &["div"],
                |view, root| {
                    let x = operands(view, root, |op| matches!(op, Op::Div(_)))?;
                    (x[0] == x[1]).then(|| Term::Constant(Tensor::scalar(DType::F32, 1.0)))
                },
                &["graph (%x: f32[n, 8]) { %y = div %x, %x ; return %y }"],
            ),
            "does not have the type",
        ),
        (
            // ∞ · 0 is NaN.
            planted(
                "product-of-powers",
                Exactness::SameValue,
                &["mul"],
                |view, root| {
                    let x = operands(view, root, |op| matches!(op, Op::Mul(_)))?;
                    let power = |id| operands(view, id, |op| matches!(op, Op::Exp(_))).map(|x| x[0]);
                    Some(Term::apply(Exp {}, [Term::of(Add {}, &[power(x[0])?, power(x[1])?])]))
                },
                &["graph (%a: f32[n, 8], %b: f32[n, 8]) { %x = exp %a ; %z = exp %b ; %y = mul %x, %z ; return %y }"],
            ),
            "element",
        ),
        (
            // (a + b) + c rounds otherwise than a + (b + c).
            planted(
                "sums-associate",
                Exactness::SameValue,
                &["add"],
                |view, root| {
                    let x = operands(view, root, |op| matches!(op, Op::Add(_)))?;
                    let inner = operands(view, x[0], |op| matches!(op, Op::Add(_)))?;
                    Some(Term::apply(Add {}, [Term::Class(inner[0]), Term::of(Add {}, &[inner[1], x[1]])]))
                },
                &["graph (%a: f32[n, 8], %b: f32[n, 8], %c: f32[n, 8]) { %s = add %a, %b ; %y = add %s, %c ; return %y }"],
            ),
            "element",
        ),
        (
            // Only square sizes hide that axes are not put back.
            planted(
                "transposes-vanish",
                Exactness::SameBits,
                &["transpose"],
                |view, root| operands(view, root, |op| matches!(op, Op::Transpose(_))).map(|x| Term::Class(x[0])),
                &["graph (%x: f32[n, n]) { %y = transpose %x {perm = [1, 0]} ; return %y }"],
            ),
            "element",
        ),
        (
            planted(
                "sum-is-maximum",
                Exactness::Reassociated { bound: 16.0 },
                &["reduce"],
                |view, root| {
                    view.find(root, |op, x| match op {
                        Op::Reduce(r) if r.kind == ReduceKind::Sum => Some(Term::of(Reduce { kind: ReduceKind::Max, ..r.clone() }, x)),
                        _ => None,
                    })
                },
                &["graph (%x: f32[n, 8]) { %y = reduce %x {kind = sum, axes = [1], keep = true} ; return %y }"],
            ),
            "element",
        ),
        (
            // A condition that the graph does not state is needed for the right side.
            planted(
                "needs-equal-sizes",
                Exactness::Reassociated { bound: 16.0 },
                &["exp"],
                |view, root| {
                    let x = operands(view, root, |op| matches!(op, Op::Exp(_)))?;
                    let flipped = Term::of(Transpose { perm: vec![1, 0] }, &[x[0]]);
                    Some(Term::apply(Mul {}, [Term::Class(x[0]), flipped]))
                },
                &["graph (%x: f32[n, m]) { %y = exp %x ; return %y }"],
            ),
            "does not fire",
        ),
        (
            planted("never", Exactness::SameBits, &["neg"], |_, _| None, &["graph (%x: f32[n]) { %y = neg %x ; return %y }"]),
            "does not fire",
        ),
    ];
    for (row, expected) in rows {
        let found = faults(&row);
        assert!(found.iter().any(|f| f.contains(expected)), "`{}` should be caught with `{expected}`, found {found:?}", row.name);
    }
}
