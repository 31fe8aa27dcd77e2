//! Laws that hold for every operator, looped over the table: no operator has tests of its own here.

use kiln_ir::attr::AttrMap;
use kiln_ir::eval::evaluate;
use kiln_ir::ops::{Example, Gradient};
use kiln_ir::{Builder, DType, Dim, Graph, Module, Op, Tensor};
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::instances::{self, Instance};
use kiln_tests::samples::{Fill, Random};
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

/// Half the distance between the points of a central difference, in f64.
const STEP: f64 = 1e-5;

#[test]
fn gradients_are_slopes() {
    let mut failures = Failures::default();
    let mut tested: BTreeSet<&str> = BTreeSet::new();
    let mut random = Random::new(4);
    for (name, example) in Op::all_examples() {
        let Some(example) = in_f64(name, &example) else { continue };
        // Sizes chosen for symbols may not fit one another, and an operator may want a type other than f64.
        let Ok(graph) = instances::function(&example) else { continue };
        let floating = |ty: &kiln_ir::TensorType| ty.dtype == DType::F64;
        if !graph.guards.is_empty() || !example.inputs.iter().any(floating) || !graph.outputs().iter().any(|(_, v)| floating(graph.ty(*v)))
        {
            continue;
        }
        let Some((gradient, weighted)) = gradient_graph(&example) else { continue };
        tested.insert(name);
        let instance = Instance { name, example: example.clone(), graph, symbols: BTreeMap::new() };
        let operands = instance.inputs(Fill::Ordinary, &mut random);
        let draw = |v: &kiln_ir::Value, random: &mut Random| {
            let ty = gradient.ty(*v);
            kiln_tests::samples::tensor(ty.dtype, &instance.sizes_of(&ty.shape), Fill::Ordinary, Some((0.5, 1.0)), random)
        };
        let weights: Vec<Tensor> = gradient.inputs()[operands.len()..].iter().map(|(_, v)| draw(v, &mut random)).collect();
        let all: Vec<Tensor> = operands.iter().chain(&weights).cloned().collect();
        let found = match evaluate(&Module::default(), &gradient, &all) {
            Ok(found) => found,
            Err(e) => {
                failures.check(false, || format!("{instance}: {}", e.message));
                continue;
            }
        };
        for (operand, gradient) in found.iter().enumerate().filter(|(i, _)| operands[*i].dtype() == DType::F64) {
            let slopes = slopes(&instance, &operands, operand, &weighted, &weights);
            let expected = Tensor::from_floats(DType::F64, operands[operand].shape().to_vec(), slopes);
            let difference = difference(gradient, &expected, Tolerance { absolute: 1e-6, relative: 1e-6 });
            failures.check(difference.is_none(), || format!("{instance}: by operand {operand}, {}", difference.unwrap_or_default()));
        }
    }
    assert!(tested.len() > 40, "gradients were tested of {tested:?} only");
    failures.report();
}

/// The accepted example with constant dims and f64 for every float, drawn from where the operator is smooth.
fn in_f64(name: &str, example: &Example) -> Option<Example> {
    if example.rejected.is_some() {
        return None;
    }
    let symbols = instances::sizes(example).pop()?;
    let bind = |d: &Dim| d.substitute(&|s| symbols.get(s).map(|v| Dim::from(*v)));
    let mut example = example.clone();
    example.op.map_dims(&mut |d| bind(d));
    for (ty, interval) in example.inputs.iter_mut().zip(&mut example.values) {
        ty.shape.iter_mut().for_each(|d| *d = bind(d));
        if ty.dtype.is_float() {
            ty.dtype = DType::F64;
            let domain = if name == "acosh" { (1.2, 2.0) } else { (0.2, 0.9) };
            interval.get_or_insert(domain);
        }
    }
    Some(example)
}

/// A function of the operands and of a weight for each floating result that gives the gradient by each operand of the sum of
/// weighted results, and which results are weighted. `None` if the operator has no gradient of its own.
fn gradient_graph(example: &Example) -> Option<(Graph, Vec<usize>)> {
    let mut graph = Graph::new();
    let x: Vec<_> = example.inputs.iter().enumerate().map(|(i, ty)| graph.add_input(format!("x{i}"), ty.clone())).collect();
    let y = graph.add(example.op.clone(), &x, None).ok()?;
    let mut weighted = Vec::new();
    let dy: Vec<_> = y
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let ty = graph.ty(*v).clone();
            ty.dtype.is_float().then(|| {
                weighted.push(i);
                graph.add_input(format!("dy{i}"), ty)
            })
        })
        .collect();
    match example.op.vjp(&mut Builder::new(&mut graph), &x, &y, &dy) {
        Gradient::Operands(gradients) => {
            for (i, gradient) in gradients.into_iter().enumerate() {
                // No gradient claims that the result does not depend on the operand.
                let value = gradient.unwrap_or_else(|| Builder::new(&mut graph).like(x[i], 0.0));
                graph.add_output(format!("dx{i}"), value);
            }
            Some((graph, weighted))
        }
        Gradient::ThroughExpansion | Gradient::Stops(_) | Gradient::NotYet => None,
    }
}

/// Central differences of the weighted sum by each element of one operand.
fn slopes(instance: &Instance, operands: &[Tensor], operand: usize, weighted: &[usize], weights: &[Tensor]) -> Vec<f64> {
    let values = operands[operand].floats();
    let sum_at = |element: usize, value: f64| -> f64 {
        let mut moved = values.clone();
        moved[element] = value;
        let mut inputs = operands.to_vec();
        inputs[operand] = Tensor::from_floats(DType::F64, operands[operand].shape().to_vec(), moved);
        let results = evaluate(&Module::default(), &instance.graph, &inputs).unwrap_or_else(|e| panic!("{instance}: {}", e.message));
        let sum = |(i, w): (&usize, &Tensor)| results[*i].floats().iter().zip(w.floats()).map(|(y, w)| y * w).sum::<f64>();
        weighted.iter().zip(weights).map(sum).sum()
    };
    (0..values.len()).map(|i| (sum_at(i, values[i] + STEP) - sum_at(i, values[i] - STEP)) / (2.0 * STEP)).collect()
}
