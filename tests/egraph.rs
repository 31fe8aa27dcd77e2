//! E-graphs hold what graphs mean: into one and out again gives the same graph, for every operator and for real programs.

use kiln::egraph::analysis::ClassFacts;
use kiln::egraph::convert::Embedded;
use kiln::egraph::cost::ByKind;
use kiln::egraph::extract::extract;
use kiln::egraph::rule::Freedom;
use kiln::egraph::saturate::{Limits, Outcome, saturate};
use kiln::frontend::onnx::{Options, import};
use kiln::passes::deduplicate::deduplicate;
use kiln::pipeline::{Config, Context};
use kiln::rewrites::rules;
use kiln_ir::text::{ConstantTable, parse_graph};
use kiln_ir::{DType, Graph};
use kiln_tests::bless::repository;
use kiln_tests::samples::Random;
use kiln_tests::{instances, random_graphs};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an e-graph without rules should give back: equal nodes are one in it, as after that pass.
fn expected(graph: &Graph) -> Graph {
    deduplicate(graph, &Context { config: &Config::default(), parameters: &BTreeMap::new() })
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
