//! The verifier finds what is broken in graphs that only tests can make.

use super::*;
use crate::dim::Range;
use crate::graph::Node;
use crate::ops;
use crate::text::{ConstantTable, parse_graph, parse_module};
use crate::{Builder, Dim, Proof};

fn graph(text: &str) -> Graph {
    parse_graph("", text, &ConstantTable::new()).unwrap_or_else(|e| panic!("{}", e[0]))
}

fn codes(graph: &Graph) -> Vec<String> {
    verify_graph(graph).err().unwrap_or_default().into_iter().map(|e| e.code).collect()
}

fn small() -> Graph {
    graph("graph (%a: f32[n, 3], %b: f32[3]) { %t = relu %a  %u = broadcast %b {shape = [n, 3]}  %y = add %t, %u  return %y }")
}

fn find(graph: &Graph, name: &str) -> NodeId {
    graph.order().into_iter().find(|id| matches!(&graph.node(*id).kind, NodeKind::Op(op) if op.name() == name)).unwrap()
}

#[test]
fn sound_graphs_pass() {
    assert_eq!(verify_graph(&small()), Ok(()));
    assert_eq!(verify_graph(&Graph::new()), Ok(()));
    for (name, example) in Op::all_examples() {
        if example.rejected.is_some() {
            continue;
        }
        let mut graph = Graph::new();
        let inputs: Vec<_> = example.inputs.iter().enumerate().map(|(i, t)| graph.add_input(format!("x{i}"), t.clone())).collect();
        graph.add(example.op.clone(), &inputs, None).unwrap();
        // An example may use a symbol only inside an expression.
        let undefined = |e: &Diagnostic| e.code == "symbol_undefined" || e.code == "symbol";
        let errors = verify_graph(&graph).err().unwrap_or_default();
        assert!(errors.iter().all(undefined), "{name}: {}", errors[0]);
    }
}

#[test]
fn operands_that_do_not_exist_are_found() {
    let mut g = small();
    let add = find(&g, "add");
    g.node_mut(add).inputs[1].result = 1;
    assert_eq!(codes(&g), ["operand"]);
    g.node_mut(add).inputs[0].node = NodeId::new(99);
    assert_eq!(codes(&g), ["operand", "operand", "edges"]);
}

#[test]
fn edges_that_disagree_with_operands_are_found() {
    let mut g = small();
    let add = find(&g, "add");
    g.node_mut(add).inputs.swap(0, 1);
    assert_eq!(codes(&g), ["edges"]);
    let mut g = small();
    g.node_mut(add).inputs.pop();
    assert_eq!(codes(&g), ["edges"]);
}

#[test]
fn a_cycle_is_found() {
    let mut g = small();
    let (relu, add) = (find(&g, "relu"), find(&g, "add"));
    g.redirect(relu, 0, Value { node: add, result: 0 });
    assert_eq!(codes(&g), ["cycle"]);
}

#[test]
fn a_broken_interface_is_found() {
    let mut g = small();
    let input = g.inputs()[0].1.node;
    g.node_mut(input).kind = NodeKind::Input(1);
    assert_eq!(codes(&g), ["input", "input"]);
    let mut g = small();
    let missing = Value { node: g.outputs()[0].1.node, result: 3 };
    g.add_output("z", missing);
    assert_eq!(codes(&g), ["output"]);
    let mut g = small();
    g.add_output("y", g.inputs()[0].1);
    g.add_input("a", TensorType::fixed(DType::F32, &[]));
    assert_eq!(codes(&g), ["duplicate", "duplicate"]);
}

#[test]
fn wrong_types_and_missing_guards_are_found_together() {
    let mut g = graph("graph (%a: f32[n], %b: f32[m]) { %y = add %a, %b  %z = relu %y  return %z }");
    assert_eq!(codes(&g), Vec::<String>::new());
    g.guards.clear();
    let relu = find(&g, "relu");
    g.node_mut(relu).types[0] = TensorType::fixed(DType::F32, &[7]);
    let errors = verify_graph(&g).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "error[guard_missing]: nothing checks that n = m (needed by add)\n  at `%0 = add` in graph: needed here"
    );
    assert_eq!(
        errors[1].to_string(),
        "error[declared_type]: `relu` gives (f32[n]), the node claims (f32[7])\n  at `%z = relu` in graph: here"
    );
}

#[test]
fn an_ill_typed_node_is_reported_by_its_label() {
    let mut g = small();
    let (relu, add) = (find(&g, "relu"), find(&g, "add"));
    g.node_mut(add).kind = NodeKind::Op(ops::Dot { b_contract: vec![], ..ops::Dot::matrix() }.into());
    g.node_mut(relu).kind = NodeKind::Op(ops::Reshape { shape: vec![Dim::symbol("q")] }.into());
    assert_eq!(codes(&g), ["symbol", "declared_type", "guard_missing", "dot_c2"]);
}

#[test]
fn symbols_must_be_defined_declared_and_named_well() {
    let codes_of = |text: &str| codes(&graph(text));
    assert_eq!(codes_of("graph (%a: f32[2*n]) { return %a }"), ["symbol_undefined"]);
    assert_eq!(codes_of("graph (%a: f32[2*n], %b: i8[n]) { return %a }"), Vec::<String>::new());
    assert_eq!(codes_of("graph (%a: f32[none]) { return %a }"), ["symbol"]);
    let mut g = small();
    g.symbols.set(Symbol::new("n"), Range { min: 4, max: 2 });
    assert_eq!(g.symbols.provably_equal(&Dim::symbol("n"), &Dim::from(3)), Proof::Unknown);
    assert_eq!(codes(&g), ["symbol_range"]);
    let mut g = small();
    g.symbols = crate::Ranges::default();
    assert!(codes(&g).iter().all(|c| c == "symbol"));
}

#[test]
fn parameters_must_be_declared() {
    let text = "module m {
        parameter w: f32[3] = f32[4] [1, 2, 3, 4]
        parameter v: f32[n]
        fn predict(%x: f32[3]) {
            %a = parameter w : f32[5]
            %b = parameter nope : f32[5]
            %c = const bool[2] [7, 1]
            return %a, %b, %c, %x
        }
    }";
    let module = parse_module("", text, &ConstantTable::new()).unwrap();
    let errors = verify_module(&module).unwrap_err();
    let messages: Vec<&str> = errors.iter().map(|e| e.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "parameter `v` has no fixed size",
            "parameter `w` is a f32[3], its value a f32[4]",
            "parameter `w` is declared as f32[3] and used as f32[5]",
            "there is no parameter `nope`",
            "a bool is stored as something else than 0 or 1",
        ]
    );
}

#[test]
fn a_constant_has_its_own_type() {
    let mut g = Graph::new();
    let mut b = Builder::new(&mut g);
    let one = b.scalar(DType::F32, 1.0);
    g.node_mut(one.node).types[0] = TensorType::fixed(DType::F32, &[2]);
    assert_eq!(codes(&g), ["constant"]);
    let node: &Node = g.node(one.node);
    assert!(node.inputs.is_empty());
}
