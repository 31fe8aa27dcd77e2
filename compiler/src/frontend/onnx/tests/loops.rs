//! `Scan` and `Loop`: what bodies become and compute, and what is refused.

use super::*;
use kiln_ir::eval::evaluate;
use kiln_ir::{DType, Tensor};

/// A graph inside a node.
fn body(inputs: &str, nodes: &[NodeProto], outputs: &str) -> GraphProto {
    let infos = |names: &str| names.split_whitespace().map(|n| ValueInfoProto { name: n.into(), r#type: None }).collect();
    GraphProto { input: infos(inputs), node: nodes.to_vec(), output: infos(outputs), ..Default::default() }
}

impl NodeProto {
    fn body(mut self, graph: GraphProto) -> NodeProto {
        let attribute = AttributeProto { name: "body".into(), kind: attribute_type::GRAPH, g: Some(Box::new(graph)), ..Default::default() };
        self.attribute.push(attribute);
        self
    }
}

fn results(sketch: Sketch, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let module = import_model(sketch.model(), &Options::default()).expect("imports");
    kiln_ir::verify::verify_module(&module).expect("what is imported verifies");
    let results = evaluate(&module, module.predict().expect("predict"), inputs).expect("evaluates");
    results.iter().map(Tensor::floats).collect()
}

fn floats(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_floats(DType::F32, shape.to_vec(), values.to_vec())
}

/// As often as `x` has rows: h becomes 2·h + x[i] + w, and is a slice. All of x, its length, a weight and the number of the step are
/// read inside.
fn loop_over_rows() -> Sketch {
    let nodes = [
        node("Identity on -> still"),
        node("Gather x i -> row").int("axis", 0),
        node("Mul h two -> doubled"),
        node("Add doubled row -> sum"),
        node("Add sum w -> next"),
        node("Identity next -> slice"),
    ];
    Sketch::new(17)
        .input("x", &["n", "2"])
        .input("h0", &["2"])
        .input("two", &[])
        .weight("w", &[2])
        .ints("zero", &[0])
        .node(node("Shape x -> s"))
        .node(node("Gather s zero -> rows"))
        .node(node("Loop rows - h0 -> last all").body(body("i on h", &nodes, "still next slice")))
        .output("last")
        .output("all")
}

#[test]
fn a_loop_over_a_size_is_a_scan() {
    check!(loop_over_rows(), @r"
    graph (%x: f32[n, 2], %h0: f32[2], %two: f32[]) {
      %0 = iota {shape = [n], axis = 0, dtype = i64} : i64[n]
      %w = parameter w : f32[2]
      %last, %all = scan %h0, %0, %two, %x, %w {body = graph (%h: f32[2], %i: i64[], %captured0: f32[], %captured1: f32[n, 2], %captured2: f32[2]) {
        %0 = broadcast %captured0 {shape = [2]} : f32[2]
        %1 = mul %h, %0 : f32[2]
        %2 = gather %captured1, %i {axis = 0} : f32[2]
        %3 = add %1, %2 : f32[2]
        %next = add %3, %captured2 : f32[2]
        return %next, slice: %next
      }, carried = 1, scanned = 1, reverse = false} : f32[2], f32[n, 2]
      return %last, %all
    }
    ");
    // 2·[1, 1] + [10, 20] + [0, 1] = [12, 23], then 2·[12, 23] + [30, 40] + [0, 1].
    let inputs = [floats(&[2, 2], &[10.0, 20.0, 30.0, 40.0]), floats(&[2], &[1.0, 1.0]), floats(&[], &[2.0])];
    assert_eq!(results(loop_over_rows(), &inputs), [vec![54.0, 87.0], vec![12.0, 23.0, 54.0, 87.0]]);
    let none = [floats(&[0, 2], &[]), floats(&[2], &[1.0, 1.0]), floats(&[], &[2.0])];
    assert_eq!(results(loop_over_rows(), &none), [vec![1.0, 1.0], vec![]]);
}

#[test]
fn sizes_that_no_operand_has_come_with_the_region() {
    // The body spreads a number over n, which is the length of a tensor that it does not read.
    let nodes = [node("Expand h s -> wide"), node("ReduceSum wide -> next").int("keepdims", 0)];
    let sketch = || {
        Sketch::new(17)
            .input("x", &["n"])
            .input("h0", &[])
            .input("t", &["3"])
            .node(node("Shape x -> s"))
            .node(node("Scan h0 t -> y").int("num_scan_inputs", 1).body(body("h row", &nodes, "next")))
            .output("y")
    };
    let inputs = [floats(&[4], &[0.0; 4]), floats(&[], &[1.0]), floats(&[3], &[0.0; 3])];
    assert_eq!(results(sketch(), &inputs), [[64.0]]);
}

#[test]
fn scans_go_along_any_axis_in_both_directions() {
    // Running sums of the columns of a, from the last to the first, and of b, from the first on.
    let nodes = [node("Add h a -> s"), node("Add s b -> next"), node("Identity next -> slice"), node("Neg next -> other")];
    let scan = |directions: [i64; 2], outputs: [i64; 2]| {
        let scan = node("Scan h0 a b -> y all negated")
            .int("num_scan_inputs", 2)
            .list("scan_input_axes", &[-1, 0])
            .list("scan_input_directions", &directions)
            .list("scan_output_axes", &[1, -2])
            .list("scan_output_directions", &outputs)
            .body(body("h a b", &nodes, "next slice other"));
        let inputs = [
            floats(&[2], &[0.0; 2]),
            floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            floats(&[3, 2], &[0.0, 0.0, 100.0, 100.0, 0.0, 0.0]),
        ];
        let sketch = Sketch::new(17).input("h0", &["2"]).input("a", &["2", "t"]).input("b", &["t", "2"]).node(scan);
        results(sketch.output("y").output("all").output("negated"), &inputs)
    };
    let last = vec![106.0, 115.0];
    let mixed = scan([1, 0], [0, 1]);
    assert_eq!(mixed, [last.clone(), vec![3.0, 105.0, 106.0, 6.0, 111.0, 115.0], vec![-106.0, -115.0, -105.0, -111.0, -3.0, -6.0]]);
    let backward = scan([1, 1], [1, 0]);
    assert_eq!(backward, [last.clone(), vec![106.0, 105.0, 3.0, 115.0, 111.0, 6.0], vec![-3.0, -6.0, -105.0, -111.0, -106.0, -115.0]]);
    let forward = scan([0, 0], [0, 0]);
    assert_eq!(forward, [last, vec![1.0, 103.0, 106.0, 4.0, 109.0, 115.0], vec![-1.0, -4.0, -103.0, -109.0, -106.0, -115.0]]);
}

#[test]
fn loops_inside_loops_capture_through_both() {
    let inner = body("i on g", &[node("Identity on -> still"), node("Mul g w -> product"), node("Add product row -> next")], "still next");
    let outer = [node("Loop two - h -> next").body(inner)];
    let sketch = Sketch::new(17)
        .input("h0", &["2"])
        .input("x", &["t", "2"])
        .weight("w", &[2])
        .ints("two", &[2])
        .node(node("Scan h0 x -> y").int("num_scan_inputs", 1).body(body("h row", &outer, "next")))
        .output("y");
    // w = [0, 1]: the first number ends as the last row's, the second gets every row twice.
    assert_eq!(results(sketch, &[floats(&[2], &[5.0, 7.0]), floats(&[2, 2], &[1.0, 10.0, 2.0, 20.0])]), [[2.0, 67.0]]);
}

#[test]
fn loops_that_cannot_be_expressed_are_told_by_name() {
    let named = |node: NodeProto| NodeProto { name: "n5".into(), ..node };
    let loop_of =
        |operands: &str, nodes: &[NodeProto]| named(node(&format!("Loop {operands} -> y"))).body(body("i on h", nodes, "still next"));
    let (still, next) = (node("Identity on -> still"), node("Neg h -> next"));
    let x = || Sketch::new(17).input("x", &["2"]).input("n", &[]).ints("three", &[3]).output("y");
    check!(x().node(loop_of("n - x", &[still.clone(), next.clone()])), @r#"
    error[onnx_data_dependent]: the number of steps of Loop depends on data that only the run has
      at node Loop "n5": applied to (f32[], -, f32[2])
      help: make the number of steps a constant or a size, and the condition true throughout
    "#);
    check!(x().node(loop_of("- - x", &[still.clone(), next.clone()])), @r#"
    error[onnx_data_dependent]: the end of Loop depends on data that only the run has
      at node Loop "n5": applied to (-, -, f32[2])
      help: make the number of steps a constant or a size, and the condition true throughout
    "#);
    let until = [node("ReduceMax h -> top").int("keepdims", 0), node("Less top n -> still"), next];
    check!(x().node(loop_of("three - x", &until)), @r#"
    error[onnx_data_dependent]: the condition of Loop depends on data that only the run has
      at node Loop "n5": applied to (i64[1], -, f32[2])
      help: make the number of steps a constant or a size, and the condition true throughout
    "#);
    check!(x().node(loop_of("three - x", &[still, node("Concat h h -> next").int("axis", 0)])), @r#"
    error[onnx_unsupported]: the carried value "h" is f32[2] at first and f32[4] after a step: values whose type changes are not supported
      at node Loop "n5": applied to (i64[1], -, f32[2])
    "#);
    let summed = || body("h row", &[node("Add h row -> next")], "next");
    let lengths = Sketch::new(8).input("l", &["2"]).input("h", &["2", "3"]).input("x", &["2", "4", "3"]).output("y");
    check!(lengths.node(named(node("Scan l h x -> y").int("num_scan_inputs", 1).body(summed()))), @r#"
    error[onnx_unsupported]: Scan with lengths of sequences is not supported
      at node Scan "n5": applied to (f32[2], f32[2, 3], f32[2, 4, 3])
      help: export the model for operator set 9 or newer, which has none
    "#);
    check!(x().node(named(node("Scan x -> y").int("num_scan_inputs", 2).body(summed()))), @r#"
    error[onnx_attribute]: attribute `num_scan_inputs` of Scan is 2, of 1 operands
      at node Scan "n5": applied to (f32[2])
    "#);
}
