//! Text reads back, mistakes are told where they are, and no text makes the parser panic.

use super::*;
use crate::ops::Op;
use crate::{Builder, DType, Dim, Graph, Module, Tensor, TensorType};
use std::collections::BTreeMap;

fn printed_reads_back(module: &Module) -> String {
    let printed = print_module(module, PrintOptions::default());
    let read = parse_module("", &printed.text, &printed.constants).unwrap_or_else(|e| panic!("{}\n{}", e[0], printed.text));
    assert_eq!(&read, module, "{}", printed.text);
    let again = print_module(&read, PrintOptions::default());
    assert_eq!(again.text, printed.text);
    printed.text
}

fn errors(text: &str) -> String {
    let errors = parse_graph("", text, &ConstantTable::new()).unwrap_err();
    errors
        .iter()
        .map(|e| {
            let places: Vec<&str> = e.labels.iter().filter_map(|l| l.span).map(|(a, b)| &text[a..b]).collect();
            format!("{}: {} at {:?}{}", e.code, e.message, places, e.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn example_module() -> Module {
    let mut graph = Graph::new();
    let batch = Dim::symbol("batch");
    let x = graph.add_input("x", TensorType::new(DType::F32, vec![batch, Dim::from(3)]));
    let odd = graph.add_input("input:0", TensorType::new(DType::F32, vec![Dim::symbol("n"), Dim::from(4)]));
    let w = graph.add_parameter("w", TensorType::fixed(DType::F32, &[3, 4]));
    let again = graph.add_parameter("w", TensorType::fixed(DType::F32, &[3, 4]));
    let mut b = Builder::new(&mut graph);
    let (h, g) = (b.matmul(x, w), b.matmul(x, again));
    let both = b.add(h, g);
    let sum = b.add(both, odd);
    let large = b.constant(Tensor::f32(&[65, 1, 4], &[0.5; 260]));
    let small = b.constant(Tensor::f32(&[4], &[f32::NAN, -0.0, f32::INFINITY, 1e-45]));
    let y = b.add(sum, small);
    let z = b.add(y, large);
    graph.add_output("y", y);
    graph.add_output("x", z);
    graph.add_output("second name", y);
    graph.add_output("w", w);
    let mut module = Module { name: "odd name".into(), ..Module::default() };
    module.metadata.insert("kiln.labels".into(), "zero\none \"quoted\"\n".into());
    let ty = TensorType::fixed(DType::F32, &[3, 4]);
    module.parameters.insert("w".into(), crate::graph::Parameter { ty: ty.clone(), value: Some(Tensor::f32(&[3, 4], &[1.5; 12])) });
    module.parameters.insert("onnx::unused".into(), crate::graph::Parameter { ty, value: None });
    module.functions.insert("predict".into(), graph);
    module
}

#[test]
fn a_module_reads_back_with_odd_names_guards_and_constants() {
    let text = printed_reads_back(&example_module());
    for part in
        ["module \"odd name\" {", "%\"input:0\": f32[n, 4]", "guard batch broadcasts n for \"broadcast\"", "nan, -0.0, inf, 1e-45", "] @"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn the_sketch_of_the_manual_reads() {
    let text = "module mlp {
        parameter w: f32[784,128]   # stored elsewhere
        fn predict(%x: f32[batch,784]) where batch in 1..=64 {
            %h = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[0]}
            return %h
        }
    }";
    let module = parse_module("mlp.kiln", text, &ConstantTable::new()).unwrap();
    let graph = &module.functions["predict"];
    assert_eq!(graph.ty(graph.outputs()[0].1).to_string(), "f32[batch, 128]");
    assert_eq!(graph.node(graph.outputs()[0].1.node).origin.as_ref().unwrap().text, "mlp.kiln:4");
    let text = printed_reads_back(&module);
    assert_eq!(
        text,
        "module mlp {
  parameter w: f32[784, 128]
  fn predict(%x: f32[batch, 784]) where batch in 1..=64 {
    %h = dot %x, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} : f32[batch, 128]
    return %h
  }
}
"
    );
}

#[test]
fn one_line_and_many_results_read() {
    let text = "graph (%a: f32[4]) { %t = add %a, %a ; %u = relu %t; return %u, %t, again: %u }";
    let graph = parse_graph("", text, &ConstantTable::new()).unwrap();
    assert_eq!(graph.outputs().iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["u", "t", "again"]);
    assert_eq!(parse_graph("", &graph.to_string(), &ConstantTable::new()), Ok(graph));
}

#[test]
fn origins_are_kept_on_request() {
    let text = "graph (%a: f32[4]) { %t = relu %a from \"Relu \\\"/r\\\"\" return %t }";
    let graph = parse_graph("", text, &ConstantTable::new()).unwrap();
    let printed = print_graph(&graph, PrintOptions { origins: true }).text;
    assert!(printed.contains("%t = relu %a : f32[4] from \"Relu \\\"/r\\\"\"\n"), "{printed}");
    assert!(!graph.to_string().contains("from"));
    assert_eq!(parse_graph("x.kiln", &graph.to_string(), &ConstantTable::new()), Ok(graph));
}

#[test]
fn every_operator_example_reads_back() {
    for (name, example) in Op::all_examples() {
        if example.rejected.is_some() {
            continue;
        }
        let mut graph = Graph::new();
        let inputs: Vec<_> = example.inputs.iter().enumerate().map(|(i, t)| graph.add_input(format!("x{i}"), t.clone())).collect();
        let results = graph.add(example.op.clone(), &inputs, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (i, result) in results.into_iter().enumerate() {
            graph.add_output(format!("y{i}"), result);
        }
        let mut module = Module { name: "m".into(), ..Module::default() };
        module.functions.insert("predict".into(), graph);
        printed_reads_back(&module);
    }
}

#[test]
fn mistakes_are_found_where_they_are() {
    let head = "graph (%image: f32[n, 3], %b: f32[4]) {";
    for (body, expected) in [
        ("%y = rellu %b return %y", "unknown_op: no operator `rellu` at [\"rellu\"] (did you mean `relu`?)"),
        ("%y = relu %imag return %y", "unknown_value: no value `%imag` at [\"%imag\"] (did you mean `%image`?)"),
        ("%y = add %image, %b return %y", "add_c2: `add`: shapes differ: f32[n, 3] and f32[4] at [\"add\"]"),
        ("%y = relu %b {alpha = 1} return %y", "attribute: `relu` has no attribute `alpha` at [\"relu\"] (it has none)"),
        ("%y = reshape %b {shap = [4]} return %y", "attribute: `reshape` has no attribute `shap` at [\"reshape\"] (did you mean `shape`?)"),
        ("%y = reshape %b {shape = 4} return %y", "attribute: `reshape`: attribute `shape`: expected a list, found `4` at [\"reshape\"]"),
        ("%y = reshape %b return %y", "attribute: `reshape`: attribute `shape` is missing at [\"reshape\"]"),
        ("%y, %z = relu %b return %y", "results: `relu` has 1 results, 2 names are given at [\"relu\"]"),
        ("%b = relu %b return %b", "duplicate: `%b` is defined twice at [\"%b\"]"),
        ("%y = relu %b : f32[5] return %y", "declared_type: `relu`: declared f32[5], but the result is f32[4] at [\"relu\"]"),
        ("%y = const f3[] 1.0 return %y", "unknown_dtype: no element type `f3` at [\"f3\"] (did you mean `f32`?)"),
        ("%y = const f32[2] [1.0] return %y", "constant: f32[2] takes 2 elements, 1 are given at [\"[1.0]\"]"),
        ("%y = const f32[n] [1.0] return %y", "constant: a constant needs constant sizes, f32[n] has others at [\"f32[n]\"]"),
        ("%y = const u8[] 256 return %y", "constant: 256 is outside 0..=255, the range of u8 at [\"256\"]"),
        ("return %b", ""),
        ("return %b } x", "syntax: expected the end of the text, found `x` at [\"x\"]"),
        ("%y = relu %b €", "syntax: unexpected character `€` at [\"€\"]"),
        ("%y = relu %b", "syntax: expected `%name = …`, `guard` or `return`, found `}` at [\"}\"]"),
    ] {
        let text = format!("{head} {body} }}");
        let found = if expected.is_empty() { String::new() } else { errors(&text) };
        assert_eq!(found, expected, "{text}");
    }
    let missing = format!("{head} %y = const f32[65] @{} return %y }}", "0".repeat(32));
    assert!(errors(&missing).starts_with("unknown_constant: no tensor with digest @0000"));
}

#[test]
fn all_mistakes_of_meaning_are_found_at_once() {
    let text = "graph (%a: f32[4]) { %x = nope %a  %y = relu %q  %z = add %x, %y  %w = dot %a return %z }";
    let found = errors(text);
    let codes: Vec<&str> = found.lines().map(|l| l.split(':').next().unwrap()).collect();
    assert_eq!(codes, ["unknown_op", "unknown_value", "attribute"]);
}

#[test]
fn hostile_text_is_refused_quickly() {
    let deep_lists = format!("graph (%a: f32[4]) {{ %y = reshape %a {{shape = {} ", "[".repeat(200_000));
    let deep_regions = "graph (%a: f32[4]) { %y = scan %a {body = ".repeat(50_000);
    let many_errors = format!("graph (%a: f32[4]) {{ {} return %a }}", "%y = nope %a ".repeat(100_000));
    let deep_dims = format!("graph (%a: f32[{}", "min(".repeat(100_000));
    let wide = format!("graph (%a: f32[{}1]) {{ return %a }}", "n*n*n+".repeat(100_000));
    for text in [deep_lists, deep_regions, many_errors, deep_dims, wide] {
        let errors = parse_graph("", &text, &ConstantTable::new()).unwrap_err();
        assert!(errors.len() <= 50 && errors.iter().all(|e| e.to_string().len() < 1000));
    }
}

#[test]
fn damaged_text_never_panics() {
    let printed = print_module(&example_module(), PrintOptions { origins: true });
    let text = printed.text.as_bytes();
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for _ in 0..3000 {
        let mut damaged = text.to_vec();
        for _ in 0..=random(4) {
            let at = random(damaged.len());
            match random(4) {
                0 => damaged.truncate(at.max(1)),
                1 => damaged[at] = random(256) as u8,
                2 => drop(damaged.remove(at)),
                _ => {
                    let piece = damaged[at..(at + random(20)).min(damaged.len())].to_vec();
                    damaged.splice(at..at, piece);
                }
            }
            if damaged.is_empty() {
                damaged.push(b' ');
            }
        }
        let damaged = String::from_utf8_lossy(&damaged).into_owned();
        if let Ok(module) = parse_module("", &damaged, &printed.constants) {
            printed_reads_back(&module);
        }
    }
}

#[test]
fn declared_types_are_kept_as_written() {
    // Equal for every n, but another normal form.
    let text = "graph (%a: f32[n]) where n in 1.. { %y = relu %a : f32[max(n, 1)] return %y }";
    let graph = parse_graph("", text, &ConstantTable::new()).unwrap();
    assert_eq!(graph.ty(graph.outputs()[0].1).shape[0], Dim::symbol("n").maximum(&Dim::ONE));
    assert_eq!(parse_graph("", &graph.to_string(), &ConstantTable::new()), Ok(graph));
}

#[test]
fn names_are_stable_and_unique() {
    let module = example_module();
    let names = value_names(&module.functions["predict"]);
    let unique: BTreeMap<&String, ()> = names.values().map(|n| (n, ())).collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn the_example_of_the_specification_is_as_printed() {
    let specification = include_str!("../../SPEC.md");
    let text = specification.split("```\n").find(|block| block.starts_with("module mlp {")).unwrap();
    let module = parse_module("", text, &ConstantTable::new()).unwrap();
    assert_eq!(module.to_string(), text);
    crate::verify::verify_module(&module).unwrap();
}
