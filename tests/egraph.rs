//! E-graphs hold what graphs mean: into one and out again gives the same graph, for every operator and for real programs.

use kiln::backend::cpu::roofline::CORE;
use kiln::egraph::analysis::ClassFacts;
use kiln::egraph::choices::Choices;
use kiln::egraph::convert::Embedded;
use kiln::egraph::cost::ByKind;
use kiln::egraph::extract::extract;
use kiln::egraph::ilp::extract_by_ilp;
use kiln::egraph::roofline::OnMachine;
use kiln::egraph::rule::Freedom;
use kiln::egraph::saturate::{Limits, Outcome, saturate};
use kiln::frontend::onnx::{Options, import};
use kiln::passes::deduplicate::deduplicate;
use kiln::pipeline::{Config, Context};
use kiln::rewrites::{optimising_rules, rules};
use kiln_ir::text::{ConstantTable, parse_graph};
use kiln_ir::{DType, Graph};
use kiln_tests::bless::repository;
use kiln_tests::samples::Random;
use kiln_tests::{instances, random_graphs};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What an e-graph without rules should give back: equal nodes are one in it, as after that pass.
fn expected(graph: &Graph) -> Graph {
    deduplicate(graph, &Context::new(&Config::default(), &BTreeMap::new()))
}

fn check(graph: &Graph, what: &dyn Fn() -> String) {
    let mut embedded = Embedded::new(graph, &BTreeMap::new());
    let report = saturate(&mut embedded, &[], &Limits::default());
    assert_eq!((report.outcome, report.rounds), (Outcome::Saturated, 1));
    let back = embedded.graph(&embedded.first_choice());
    assert_eq!(back, expected(graph), "{}", what());
    // With no rules there is nothing to choose.
    let extraction = extract(&embedded, &report, &ByKind, &BTreeSet::new());
    assert_eq!(extraction.cost_before, extraction.cost_after, "{}", what());
    assert_eq!(embedded.graph(&extraction.choice), back, "{}", what());
}

fn origins(graph: &Graph) -> Vec<Option<String>> {
    graph.order().into_iter().map(|id| graph.node(id).origin.as_ref().map(|o| o.text.clone())).collect()
}

#[test]
fn every_operator_comes_back() {
    for instance in instances::all() {
        check(&instance.graph, &|| instance.to_string());
    }
}

#[test]
fn random_graphs_come_back() {
    let mut random = Random::new(11);
    for _ in 0..200 {
        let module = random_graphs::module(DType::F32, &mut random);
        let graph = &module.functions["predict"];
        check(graph, &|| graph.to_string());
    }
}

#[test]
fn a_real_model_comes_back_with_its_origins() {
    let model = repository().join("examples/digits/digits.onnx");
    let module = import(&model, &Options::default()).unwrap_or_else(|e| panic!("{}", e[0]));
    for graph in module.functions.values() {
        check(graph, &|| graph.to_string());
        let embedded = Embedded::new(graph, &module.parameters);
        assert_eq!(origins(&embedded.graph(&embedded.first_choice())), origins(&expected(graph)));
    }
}

#[test]
fn several_results_regions_and_guards_come_back() {
    let text = "graph (%x: f32[n, 4], %y: f32[m, 4]) {
        guard n = m for \"add\"
        %v, %i = top_k %x {k = 2, axis = 1, largest = true}
        %s = add %x, %y
        %e = exp %s
        %f = exp %s
        return values: %v, places: %i, both: %e, again: %f
    }";
    let graph = read(text);
    check(&graph, &|| graph.to_string());
    let embedded = Embedded::new(&graph, &BTreeMap::new());
    let back = embedded.graph(&embedded.first_choice());
    assert_eq!((back.guards.len(), back.outputs().len()), (1, 4));
    assert_eq!(back.outputs()[2].1, back.outputs()[3].1, "equal values are one");
}

fn read(text: &str) -> Graph {
    parse_graph("", text, &ConstantTable::new()).unwrap_or_else(|e| panic!("{}", e[0]))
}

#[test]
fn a_union_of_two_types_stops_where_it_happens() {
    let graph = read("graph (%x: f32[n, 4]) { %e = exp %x ; %s = reduce %e {kind = sum, axes = [1], keep = true} ; return %e, %s }");
    let mut embedded = Embedded::new(&graph, &BTreeMap::new());
    let [power, sum] = [0, 1].map(|i| embedded.outputs().nth(i).unwrap_or_else(|| panic!("two outputs")));
    assert!(catch_unwind(AssertUnwindSafe(|| embedded.egraph.union(power, sum))).is_err());
}

#[test]
fn common_values_are_known_through_movement_and_arithmetic() {
    let graph = read(
        "graph (%x: f32[n]) { %d = const i64[1] [64] ; %f = cast %d {dtype = f32} ; %r = sqrt %f ; %b = broadcast %r {shape = [n]} ;
         %y = add %x, %b ; return %b, %y }",
    );
    let embedded = Embedded::new(&graph, &BTreeMap::new());
    let facts: Vec<&ClassFacts> = embedded.outputs().map(|id| &embedded.egraph[id].data).collect();
    assert_eq!(facts[0].uniform.as_ref().map(|v| v.floats()), Some(vec![8.0]));
    assert!(facts[0].fixed && !facts[1].fixed && facts[1].uniform.is_none());
}

#[test]
fn limits_end_saturation_and_say_so() {
    let graph = read(
        "graph (%x: f32[n, 4]) { %e = exp %x ; %s = reduce %e {kind = sum, axes = [1], keep = true} ; %b = broadcast %s {shape = [n, 4]} ;
         %p = div %e, %b ; %y = log %p ; return %y }",
    );
    let outcome = |limits| {
        let mut embedded = Embedded::new(&graph, &BTreeMap::new());
        let report = saturate(&mut embedded, &rules(Freedom::Reassociation), &limits);
        (report.outcome, report.log.iter().map(|a| (a.rule, a.round)).collect::<Vec<_>>())
    };
    let (softmax, log) = (("softmax-of-exponentials", 1), ("log-of-softmax", 2));
    assert_eq!(outcome(Limits::default()), (Outcome::Saturated, vec![softmax, log]));
    assert_eq!(outcome(Limits { rounds: 1, ..Limits::default() }), (Outcome::RoundLimit, vec![softmax]));
    assert_eq!(outcome(Limits { nodes: 1, ..Limits::default() }), (Outcome::NodeLimit, vec![softmax]));
    assert_eq!(outcome(Limits { time: Some(Default::default()), ..Limits::default() }), (Outcome::TimeLimit, vec![softmax]));
}

/// The least cost of all choices without a cycle, one after the other; `None` where there are too many.
fn least_of_all(choices: &Choices) -> Option<u64> {
    let counts: Vec<usize> = choices.options.iter().map(Vec::len).collect();
    counts.iter().try_fold(1usize, |product, count| product.checked_mul(*count).filter(|product| *product <= 20_000))?;
    let (mut chosen, mut least) = (vec![0; counts.len()], u64::MAX);
    loop {
        if let Ok(needed) = choices.needed(&chosen) {
            least = least.min(needed.into_iter().map(|class| choices.options[class][chosen[class]].cost).sum());
        }
        let Some(next) = (0..counts.len()).find(|at| chosen[*at] + 1 < counts[*at]) else { return Some(least) };
        chosen[next] += 1;
        chosen[..next].fill(0);
    }
}

#[test]
fn integer_linear_programming_finds_the_least_of_all_choices() {
    let cost = OnMachine { machine: &CORE, usual_sizes: &BTreeMap::new() };
    let (mut compared, mut better) = (0, 0);
    for rule in optimising_rules(Freedom::Reassociation) {
        for text in rule.examples {
            let mut program = Embedded::new(&read(text), &BTreeMap::new());
            let report = saturate(&mut program, &optimising_rules(Freedom::Reassociation), &Limits { rounds: 3, ..Limits::default() });
            let extraction = extract(&program, &report, &cost, &BTreeSet::new());
            let proof = extract_by_ilp(&program, &cost, &extraction.choice, Duration::from_secs(600));
            assert!(!proof.interrupted, "{}", rule.name);
            assert!(proof.bound <= proof.extraction.cost_after && proof.extraction.cost_after <= extraction.cost_after, "{}", rule.name);
            better += usize::from(proof.extraction.cost_after < extraction.cost_after);
            if let Some(least) = least_of_all(&Choices::new(&program, &cost, &BTreeSet::new())) {
                compared += 1;
                assert!(proof.extraction.cost_after == least && proof.bound <= least, "{}: {} and not {least}", rule.name, proof.bound);
            }
            // It has no cycle, and types.
            program.graph(&proof.extraction.choice);
        }
    }
    assert!(compared > 20, "{compared} compared, {better} better than by steps");
}
