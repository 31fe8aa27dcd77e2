//! Laws that hold for every operator, looped over the table: no operator has tests of its own here.

use kiln_ir::attr::AttrMap;
use kiln_ir::eval::evaluate;
use kiln_ir::ops::Example;
use kiln_ir::verify::verify_module;
use kiln_ir::{DType, Dim, Graph, Module, Op, Symbol, Tensor};
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::instances::{self, Instance};
use kiln_tests::samples::Fill;
use kiln_tests::slopes::{gradient_graph, wrong_slope};
use std::collections::{BTreeMap, BTreeSet};

/// Ordinary values once, special ones several times, as each draw meets a few of their combinations.
const FILLS: [Fill; 5] = [Fill::Ordinary, Fill::Special, Fill::Special, Fill::Special, Fill::Special];

/// Collects failures, so that one run shows them all.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    fn report(self) {
        let shown: Vec<&str> = self.0.iter().take(40).map(String::as_str).collect();
        assert!(self.0.is_empty(), "{} failures, the first:\n{}", self.0.len(), shown.join("\n"));
    }
}

#[test]
fn names_are_unique() {
    assert_eq!(Op::NAMES.iter().collect::<BTreeSet<_>>().len(), Op::NAMES.len());
}

#[test]
fn rejected_examples_are_rejected_with_their_label() {
    let mut failures = Failures::default();
    for (name, example) in Op::all_examples() {
        if let Some(label) = example.rejected {
            let found = instances::function(&example).map(|_| ());
            let what = || format!("{name} {:?} on {:?}: expected {label}, found {found:?}", example.op, example.inputs);
            failures.check(matches!(&found, Err((l, _)) if *l == label), what);
        }
    }
    failures.report();
}

#[test]
fn every_documented_constraint_has_a_rejected_example_and_the_reverse() {
    let mut failures = Failures::default();
    let mut rejected: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, example) in Op::all_examples() {
        rejected.entry(name).or_default().extend(example.rejected.map(str::to_string));
    }
    for (name, docs) in Op::all_docs() {
        failures.check(docs.starts_with(&format!("`{name}`: ")), || format!("{name}: its header does not begin with its name"));
        let documented: BTreeSet<String> = (0..20).filter(|n| docs.contains(&format!("(C{n})"))).map(|n| format!("{name}_c{n}")).collect();
        let examples = rejected.remove(name).unwrap_or_default();
        failures.check(documented == examples, || format!("{name}: documented {documented:?}, examples for {examples:?}"));
    }
    failures.report();
}

#[test]
fn attributes_round_trip() {
    let mut failures = Failures::default();
    for (name, example) in Op::all_examples() {
        let mut attrs: AttrMap = example.op.to_attrs().into_iter().map(|(name, attr)| (name.to_string(), attr)).collect();
        let found = Op::from_attrs(name, &mut attrs);
        failures.check(found.as_ref() == Ok(&example.op), || format!("{name}: {:?} came back as {found:?}", example.op));
        failures.check(attrs.is_empty(), || format!("{name}: {attrs:?} is left over"));
        let mut same = example.op.clone();
        same.map_dims(&mut Clone::clone);
        failures.check(same == example.op, || format!("{name}: mapping dims to themselves changes {:?}", example.op));
    }
    failures.report();
}

#[test]
fn evaluation_gives_the_inferred_types() {
    let mut failures = Failures::default();
    let mut evaluated: BTreeSet<String> = BTreeSet::new();
    let mut examples: BTreeSet<String> = BTreeSet::new();
    for instance in instances::all() {
        let mut random = instance.random();
        let example = format!("{:?} on {:?}", instance.example.op, instance.example.inputs);
        examples.insert(example.clone());
        if !instance.guards_hold() {
            continue;
        }
        evaluated.insert(example);
        for fill in FILLS {
            let inputs = instance.inputs(fill, &mut random);
            match evaluate(&Module::default(), &instance.graph, &inputs) {
                Ok(results) => {
                    let found: Vec<_> = results.iter().map(|t| (t.dtype(), t.shape().to_vec())).collect();
                    failures.check(found == expected_types(&instance), || {
                        format!("{instance}: {found:?}, expected {:?}", expected_types(&instance))
                    });
                }
                Err(e) => failures.check(false, || format!("{instance}: {}", e.message)),
            }
        }
    }
    for example in examples.difference(&evaluated) {
        failures.check(false, || format!("no size satisfies the guards of {example}"));
    }
    failures.report();
}

fn expected_types(instance: &Instance) -> Vec<(DType, Vec<usize>)> {
    let types = instance.graph.outputs().iter().map(|(_, v)| instance.graph.ty(*v));
    types.map(|ty| (ty.dtype, instance.sizes_of(&ty.shape))).collect()
}

#[test]
fn sizes_that_break_a_guard_are_refused() {
    let mut failures = Failures::default();
    for instance in instances::all().iter().filter(|i| !i.guards_hold()) {
        let mut random = instance.random();
        let inputs = instance.inputs(Fill::Ordinary, &mut random);
        let found = evaluate(&Module::default(), &instance.graph, &inputs);
        failures.check(matches!(&found, Err(e) if e.code == "guard"), || format!("{instance}: {found:?}"));
    }
    failures.report();
}

#[test]
fn expansion_means_what_evaluation_does() {
    let mut failures = Failures::default();
    for instance in instances::all() {
        let mut random = instance.random();
        let Some(expanded) = instances::expanded(&instance.example) else { continue };
        let types = |g: &Graph| g.outputs().iter().map(|(_, v)| g.ty(*v).clone()).collect::<Vec<_>>();
        let expanded = instances::bind_undefined(&expanded, &instance.symbols);
        failures
            .check(types(&expanded) == types(&instance.graph), || format!("{instance}: the expansion has types {:?}", types(&expanded)));
        if !instance.guards_hold() {
            continue;
        }
        for fill in FILLS {
            let inputs = instance.inputs(fill, &mut random);
            let whole = evaluate(&Module::default(), &instance.graph, &inputs);
            let parts = evaluate(&Module::default(), &expanded, &inputs);
            match (whole, parts) {
                (Ok(whole), Ok(parts)) => {
                    for (i, (whole, part)) in whole.iter().zip(&parts).enumerate() {
                        let found = difference(part, whole, Tolerance::of_composite(&instance.example.op, whole.dtype()));
                        failures
                            .check(found.is_none(), || format!("{instance}: result {i}, {}; inputs {inputs:?}", found.unwrap_or_default()));
                    }
                }
                (whole, parts) => failures.check(false, || format!("{instance}: {whole:?} and {parts:?}")),
            }
        }
    }
    failures.report();
}

/// Where gradients of the table's operators are compared with slopes.
const SLOPES: Tolerance = Tolerance { absolute: 1e-6, relative: 1e-6 };
/// Where gradients of gradients are: differences of functions that are larger and less smooth.
const SECOND_SLOPES: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-5 };

#[test]
fn gradients_are_slopes() {
    let mut failures = Failures::default();
    let mut tested: BTreeSet<&str> = BTreeSet::new();
    for instance in smooth_instances() {
        tested.insert(instance.name);
        let mut random = instance.random();
        let inputs = instance.inputs(Fill::Ordinary, &mut random);
        let gradient = gradient_graph(&instance.graph);
        let wrong = wrong_slope(&instance.graph, &gradient, &inputs, SLOPES, &mut random);
        failures.check(wrong.is_none(), || format!("{instance}: {}", wrong.unwrap_or_default()));
    }
    for name in Op::NAMES.iter().filter(|name| !tested.contains(*name)) {
        // Only operators without a floating operand or a floating result have no slope to test.
        let takes_and_gives_floats = Op::all_examples().iter().any(|(n, e)| n == name && e.rejected.is_none() && has_slope(e));
        failures.check(!takes_and_gives_floats, || format!("no example of {name} was tested"));
    }
    failures.report();
}

#[test]
fn gradients_verify_in_every_type_and_at_open_sizes() {
    let mut failures = Failures::default();
    for (name, example) in Op::all_examples().into_iter().filter(|(_, e)| e.rejected.is_none() && has_slope(e)) {
        let Ok(function) = instances::function(&example) else { continue };
        // Symbols that only attributes mention have no input to come from.
        let function = instances::bind_undefined(&function, &instances::sizes(&example).pop().expect("there is one"));
        let mut module = Module { name: "law".into(), ..Module::default() };
        module.functions.insert("predict".into(), gradient_graph(&function));
        let found = verify_module(&module);
        failures.check(found.is_ok(), || format!("{name} on {:?}: {found:?}\n{module}", example.inputs));
    }
    failures.report();
}

#[test]
fn gradients_have_gradients() {
    let mut failures = Failures::default();
    for instance in smooth_instances() {
        let mut random = instance.random();
        let mut inputs = instance.inputs(Fill::Ordinary, &mut random);
        // Gradients of what is not a number are none either.
        let finite = |t: &Tensor| !t.dtype().is_float() || t.floats().iter().all(|v| v.is_finite());
        let Ok(results) = evaluate(&Module::default(), &instance.graph, &inputs) else { continue };
        let first = gradient_graph(&instance.graph);
        for (_, weight) in &first.inputs()[inputs.len()..] {
            let shape = instance.sizes_of(&first.ty(*weight).shape);
            inputs.push(kiln_tests::samples::tensor(DType::F64, &shape, Fill::Ordinary, Some((0.5, 1.0)), &mut random));
        }
        // Differences of every element take long where there are many.
        if !results.iter().all(finite) || inputs.iter().map(Tensor::elements).sum::<usize>() > 200 {
            continue;
        }
        let wrong = wrong_slope(&first, &gradient_graph(&first), &inputs, SECOND_SLOPES, &mut random);
        failures.check(wrong.is_none(), || format!("{instance}: {}", wrong.unwrap_or_default()));
    }
    failures.report();
}

/// Whether floats go in and come out.
fn has_slope(example: &Example) -> bool {
    let Ok(graph) = instances::function(example) else { return false };
    let floating = |(_, v): &(String, kiln_ir::Value)| graph.ty(*v).dtype.is_float();
    graph.inputs().iter().any(floating) && graph.outputs().iter().any(floating)
}

/// The accepted examples at every size that fits, with f64 for every float, drawn from where the operator is smooth.
fn smooth_instances() -> Vec<Instance> {
    let mut found = Vec::new();
    for (name, example) in Op::all_examples() {
        // A value that may not move has no slope.
        let fixed =
            example.inputs.iter().zip(&example.values).any(|(ty, v)| ty.dtype.is_float() && v.is_some_and(|(low, high)| low == high));
        if example.rejected.is_some() || fixed || !has_slope(&example) {
            continue;
        }
        found.extend(instances::sizes(&example).into_iter().filter_map(|symbols| in_f64(name, &example, &symbols)));
    }
    found
}

/// `None` where the sizes do not fit one another, or the operator wants or gives other types.
fn in_f64(name: &'static str, example: &Example, symbols: &BTreeMap<Symbol, i64>) -> Option<Instance> {
    let bind = |d: &Dim| d.substitute(&|s| symbols.get(s).map(|v| Dim::from(*v)));
    let mut example = example.clone();
    example.op.map_dims(&mut |d| bind(d));
    let domain = match name {
        "acosh" => (1.2, 2.0),
        // Poles, branch points and kinks at 0.
        "log" | "sqrt" | "reciprocal" | "div" | "rem" | "pow" | "lp_norm" => (0.2, 0.9),
        _ => (-0.9, 0.9),
    };
    for (ty, interval) in example.inputs.iter_mut().zip(&mut example.values) {
        ty.shape.iter_mut().for_each(|d| *d = bind(d));
        if ty.dtype.is_float() {
            ty.dtype = DType::F64;
            interval.get_or_insert(domain);
        }
    }
    let graph = instances::function(&example).ok()?;
    // Differences as small as these vanish in shorter types.
    let exact = graph.outputs().iter().map(|(_, v)| graph.ty(*v).dtype).all(|dtype| dtype == DType::F64 || !dtype.is_float());
    (exact && graph.guards.is_empty()).then(|| Instance { name, example, graph, symbols: BTreeMap::new() })
}
