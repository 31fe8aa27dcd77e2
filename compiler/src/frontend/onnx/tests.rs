//! Imports of small models, as text: what becomes of a graph, and how mistakes are reported.

use super::import::{Options, import_model};
use super::load::{Model, decode};
use super::proto::*;
use kiln_ir::text::{PrintOptions, print_graph};
use prost::Message as _;

/// A model under construction.
#[derive(Default)]
struct Sketch {
    graph: GraphProto,
    functions: Vec<FunctionProto>,
    opset: i64,
}

impl Sketch {
    fn new(opset: i64) -> Sketch {
        Sketch { opset, ..Sketch::default() }
    }

    /// A float input; sizes are numbers or names.
    fn input(mut self, name: &str, dims: &[&str]) -> Sketch {
        let size = |d: &&str| match d.parse() {
            Ok(size) => DimensionValue::Size(size),
            Err(_) => DimensionValue::Name(d.to_string()),
        };
        let dim = dims.iter().map(|d| DimensionProto { value: Some(size(d)) }).collect();
        let tensor = TensorTypeProto { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
        let ty = TypeProto { value: Some(TypeValue::Tensor(tensor)) };
        self.graph.input.push(ValueInfoProto { name: name.into(), r#type: Some(Box::new(ty)) });
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Sketch {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor =
            TensorProto { name: name.into(), dims: vec![values.len() as i64], data_type: 7, raw_data: raw.into(), ..Default::default() };
        self.graph.initializer.push(tensor);
        self
    }

    fn weight(mut self, name: &str, dims: &[i64]) -> Sketch {
        let count: i64 = dims.iter().product();
        let raw: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let tensor = TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 1, raw_data: raw.into(), ..Default::default() };
        self.graph.initializer.push(tensor);
        self
    }

    fn node(mut self, node: NodeProto) -> Sketch {
        self.graph.node.push(node);
        self
    }

    fn function(mut self, function: FunctionProto) -> Sketch {
        self.functions.push(function);
        self
    }

    fn output(mut self, name: &str) -> Sketch {
        self.graph.output.push(ValueInfoProto { name: name.into(), r#type: None });
        self
    }

    /// Through bytes, as a file would come.
    fn model(self) -> Model {
        let proto = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: self.opset }],
            graph: Some(Box::new(self.graph)),
            functions: self.functions,
            ..Default::default()
        };
        decode(proto.encode_to_vec().into(), Default::default()).expect("well formed")
    }
}

/// `Conv x w -> y`, in the words of this file.
fn node(text: &str) -> NodeProto {
    let (left, right) = text.split_once("->").expect("operands -> results");
    let mut words = left.split_whitespace();
    let name = |w: &str| if w == "-" { String::new() } else { w.to_string() };
    NodeProto {
        op_type: words.next().expect("an operator").into(),
        input: words.map(name).collect(),
        output: right.split_whitespace().map(name).collect(),
        ..Default::default()
    }
}

impl NodeProto {
    fn int(mut self, name: &str, i: i64) -> NodeProto {
        self.attribute.push(AttributeProto { name: name.into(), kind: attribute_type::INT, i, ..Default::default() });
        self
    }

    fn list(mut self, name: &str, ints: &[i64]) -> NodeProto {
        self.attribute.push(AttributeProto { name: name.into(), kind: attribute_type::INTS, ints: ints.to_vec(), ..Default::default() });
        self
    }
}

fn imported(sketch: Sketch, options: &Options) -> String {
    match import_model(sketch.model(), options) {
        Ok(module) => {
            kiln_ir::verify::verify_module(&module).expect("what is imported verifies");
            print_graph(module.predict().expect("predict"), PrintOptions::default()).text
        }
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
    }
}

macro_rules! check {
    ($sketch:expr, @$expected:literal) => { check!($sketch, Options::default(), @$expected) };
    ($sketch:expr, $options:expr, @$expected:literal) => { insta::assert_snapshot!(imported($sketch, &$options), @$expected) };
}

mod loops;

fn dims(list: &[(&str, i64)]) -> Options {
    Options { dims: list.iter().map(|(n, v)| (n.to_string(), *v)).collect(), ..Options::default() }
}

#[test]
fn weights_become_parameters_and_names_stay() {
    let sketch = Sketch::new(17)
        .input("x", &["batch", "1", "8", "8"])
        .weight("w", &[4, 1, 3, 3])
        .weight("b", &[4])
        .node(node("Conv x w b -> c").list("pads", &[1, 1, 1, 1]))
        .node(node("Relu c -> r"))
        .node(node("MaxPool r -> p").list("kernel_shape", &[2, 2]).list("strides", &[2, 2]))
        .node(node("Flatten p -> y"))
        .output("y");
    check!(sketch, @r"
    graph (%x: f32[batch, 1, 8, 8]) {
      %w = parameter w : f32[4, 1, 3, 3]
      %0 = conv %x, %w {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1} : f32[batch, 4, 8, 8]
      %b = parameter b : f32[4]
      %1 = reshape %b {shape = [4, 1, 1]} : f32[4, 1, 1]
      %2 = broadcast %1 {shape = [batch, 4, 8, 8]} : f32[batch, 4, 8, 8]
      %3 = add %0, %2 : f32[batch, 4, 8, 8]
      %4 = relu %3 : f32[batch, 4, 8, 8]
      %5 = window_reduce %4 {kind = max, window = [2, 2], strides = [2, 2], dilations = [1, 1], low = [0, 0], high = [0, 0]} : f32[batch, 4, 4, 4]
      %y = reshape %5 {shape = [batch, 64]} : f32[batch, 64]
      return %y
    }
    ");
}

#[test]
fn shape_arithmetic_leaves_no_nodes() {
    let flatten = || {
        Sketch::new(17)
            .input("x", &["n", "3", "h"])
            .ints("zero", &[0])
            .ints("rest", &[-1])
            .node(node("Shape x -> s"))
            .node(node("Gather s zero -> n"))
            .node(node("Concat n rest -> target").int("axis", 0))
            .node(node("Reshape x target -> y"))
            .output("y")
    };
    check!(flatten(), @r"
    graph (%x: f32[n, 3, h]) {
      %y = reshape %x {shape = [n, 3*h]} : f32[n, 3*h]
      return %y
    }
    ");
    check!(flatten(), dims(&[("n", 2)]), @r"
    graph (%x: f32[2, 3, h]) {
      %y = reshape %x {shape = [2, 3*h]} : f32[2, 3*h]
      return %y
    }
    ");
    check!(flatten(), Options { dynamic: true, ..Options::default() }, @r"
    graph (%x: f32[x_0, x_1, x_2]) {
      %y = reshape %x {shape = [x_0, x_1*x_2]} : f32[x_0, x_1*x_2]
      return %y
    }
    ");
}

#[test]
fn slices_of_unknown_sizes_are_guarded() {
    let sketch = Sketch::new(17)
        .input("x", &["n", "4"])
        .ints("one", &[1])
        .ints("zero", &[0])
        .node(node("Shape x -> s").int("end", 1))
        .node(node("Sub s one -> last"))
        .node(node("Slice x zero last zero -> y"))
        .output("y");
    check!(sketch, @r#"
    graph (%x: f32[n, 4]) {
      guard 0 <= n - 1 for "bounds of a slice that depend on sizes count from the front, from Slice \"y\""
      guard min(n, max(0, n - 1)) <= n for "slice, from Slice \"y\""
      %y = slice %x {starts = [0, 0], sizes = [min(n, max(0, n - 1)), 4], steps = [1, 1]} : f32[min(n, max(0, n - 1)), 4]
      return %y
    }
    "#);
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let body = NodeProto {
        attribute: vec![AttributeProto { name: "axis".into(), ref_attr_name: "along".into(), ..Default::default() }],
        ..node("Softmax a -> b")
    };
    let function = FunctionProto {
        name: "Soft".into(),
        domain: "mine".into(),
        input: vec!["a".into(), "unused".into()],
        output: vec!["b".into()],
        attribute: vec!["along".into()],
        node: vec![body],
        ..Default::default()
    };
    let call = NodeProto { domain: "mine".into(), ..node("Soft x -> y").int("along", 0) };
    check!(Sketch::new(17).input("x", &["2", "3"]).function(function).node(call).output("y"), @r"
    graph (%x: f32[2, 3]) {
      %y = softmax %x {axis = 0} : f32[2, 3]
      return %y
    }
    ");
}

#[test]
fn a_function_that_calls_itself_is_refused() {
    let call = || NodeProto { domain: "mine".into(), ..node("Again a -> b") };
    let function = FunctionProto {
        name: "Again".into(),
        domain: "mine".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![call()],
        ..Default::default()
    };
    let sketch = Sketch::new(17).input("a", &["2"]).function(function).node(call()).output("b");
    let errors = import_model(sketch.model(), &Options::default()).expect_err("endless");
    assert_eq!(errors[0].code, "onnx_recursion");
}

#[test]
fn every_unsupported_operator_is_reported_at_once() {
    let sketch = Sketch::new(17)
        .input("x", &["2", "3"])
        .node(node("Softmaxx x -> a"))
        .node(node("Relu a -> b"))
        .node(NodeProto { name: "n7".into(), domain: "com.example".into(), ..node("Fancy b x -> y") })
        .node(node("NeverNeeded x -> z"))
        .output("y");
    check!(sketch, @r#"
    error[onnx_unsupported_op]: the operator Softmaxx of ai.onnx (operator set 17) is not supported
      at node Softmaxx "a": applied to (x: float[2, 3])
      help: the nearest supported operator is Softmax

    error[onnx_unsupported_op]: the operator Fancy of com.example (no version given) is not supported
      at node Fancy "n7": applied to (b, x: float[2, 3])
      help: express it by supported operators, or add a local function of that name to the model
    "#);
}

#[test]
fn mistakes_name_the_node_and_the_types() {
    let x = || Sketch::new(17).input("x", &["2", "3"]).output("y");
    check!(x().input("z", &["4"]).node(node("Add x z -> y")), @r#"
    error[broadcast_c2]: broadcast: 3 and 4 do not broadcast
      at node Add "y": applied to (f32[2, 3], f32[4])
    "#);
    check!(x().node(node("Add x nowhere -> y")), @r#"
    error[onnx_missing_value]: nothing makes the value "nowhere"
      at node Add "y": applied to (f32[2, 3], ?)
      help: no node, input or initialiser has this name: the model is incomplete
    "#);
    check!(x().node(node("Add x -> y")), @r#"
    error[onnx_arity]: Add takes 2 operands, got 1
      at node Add "y": applied to (f32[2, 3])
    "#);
    check!(x().node(node("Softmax x -> y").int("axis", 2)), @r#"
    error[onnx_axis]: axis 2 of Softmax, whose operand has 2 axes
      at node Softmax "y": applied to (f32[2, 3])
    "#);
    check!(x().node(node("Softmax x -> y").int("axes", 1)), @r#"
    error[onnx_attribute]: attribute `axes` of Softmax is not known for this operator
      at node Softmax "y": applied to (f32[2, 3])
    "#);
    check!(x().node(node("Relu x -> y")).node(node("Neg x -> y")), @r#"
    error[onnx_duplicate]: two nodes make the value "y"
      at Relu "y": node 0 makes it
      at Neg "y": node 1 makes it again
    "#);
    check!(x().node(node("Add x b -> a")).node(node("Relu a -> b")).node(node("Relu b -> y")), @r#"
    error[onnx_cycle]: the graph has a cycle
      at Add "a": needs the next one
      at Relu "b": needs the one before, directly or through others
    "#);
    check!(Sketch::new(17).input("x", &["2"]).input("s", &["1"]).node(node("Reshape x s -> y")).output("y"), @r#"
    error[onnx_data_dependent]: the shape of Reshape depends on data that only the run has
      at node Reshape "y": applied to (f32[2], f32[1])
      help: make it a constant or compute it from sizes; `onnxsim` or a fixed input size at export often does
    "#);
}

#[test]
fn unknown_size_names_are_usage_errors() {
    check!(Sketch::new(17).input("x", &["n", "past + 1"]).node(node("Relu x -> y")).output("y"), dims(&[("m", 3)]), @r#"
    error[usage_dim]: the model has no size named "m"
      help: it has n, past___1
    "#);
}
