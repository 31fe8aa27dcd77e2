//! Models made to hurt: giant sizes in few bytes, depth, width, recursion, cycles.

use crate::message::*;
use crate::random::Random;
use kiln::frontend::onnx::proto::*;

/// Deep and wide models are slow, so they are made once each; the rest comes with random sizes.
pub const DEEP: [fn() -> ModelProto; 11] = [
    || chain(5000, |i, x, y| vec![node(["Relu", "Abs", "Neg"][i % 3], &[x], &[y])]),
    || chain(5000, |_, x, y| vec![node("Add", &[x, x], &[y])]),
    || chain(5000, |i, x, y| vec![if i % 2 == 0 { node("Transpose", &[x], &[y]) } else { node("Softmax", &[x], &[y]) }]),
    || chain(5000, |i, x, y| vec![node("Transpose", &[x], &[y]).with(int_list("perm", &[(i % 2) as i64, 1 - (i % 2) as i64]))]),
    || chain(5000, |_, x, y| vec![node("Identity", &[x], &[y])]),
    || chain(1500, |i, x, y| vec![node("Concat", &[x, x], &[y]).with(int("axis", (i % 2) as i64))]),
    || chain(1500, |i, x, y| vec![node("Add", &[x, ["a", "b"][i % 2]], &[y])]),
    || chain(700, |_, x, y| vec![node("Shape", &[x], &[&format!("{y}s")]), node("Expand", &[x, &format!("{y}s")], &[y])]),
    || chain(300, |_, x, y| vec![node("MatMul", &[x, "c"], &[y])]),
    wide,
    steps,
];

const GIANT: [i64; 12] =
    [1 << 20, 1 << 24, 1 << 28, 1 << 31, 1 << 33, 1 << 36, 1 << 40, 1 << 50, 1 << 56, 1 << 62, i64::MAX, i64::MAX - 63];

fn chain(length: usize, step: impl Fn(usize, &str, &str) -> Vec<NodeProto>) -> ModelProto {
    let nodes = (0..length).flat_map(|i| step(i, &format!("t{i}"), &format!("t{}", i + 1))).collect();
    let weights = vec![floats("a", &[3]), floats("b", &[2, 1]), floats("c", &[3, 3])];
    model(17, graph(vec![input("t0", F32, &[2, 3], true)], weights, nodes, &[&format!("t{length}")]))
}

fn wide() -> ModelProto {
    let names: Vec<String> = (0..2000).map(|i| format!("x{i}")).collect();
    let inputs = names.iter().map(|n| input(n, F32, &[2, -1], true)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    model(17, graph(inputs, vec![], vec![node("Sum", &names, &["y"])], &["y"]))
}

/// A model with one giant or tangled thing in it.
pub fn hostile_model(random: &mut Random) -> ModelProto {
    let big = random.pick(&GIANT);
    let other = random.pick(&[0, 1, 2, 3, -1, -2, 1 << 16, 1 << 30, 1 << 40, i64::MAX, i64::MIN]);
    let x = || input("x", F32, &[2, 3, 4, 4], true);
    let one = |tensors: Vec<TensorProto>, nodes: Vec<NodeProto>| model(17, graph(vec![x()], tensors, nodes, &["y"]));
    let small = random.below(6) as i64;
    match random.below(28) {
        0 => one(vec![ints("n", &[big, 1 + small])], vec![node("ConstantOfShape", &["n"], &["y"])]),
        1 => one(
            vec![ints("n", &[big])],
            vec![
                node("ConstantOfShape", &["n"], &["c"]),
                node(random.pick(&["ReduceSum", "Relu", "Exp", "CumSum", "Size"]), &["c"], &["y"]),
            ],
        ),
        2 => one(
            vec![ints("n", &[big]), floats("w", &[1])],
            vec![
                node("ConstantOfShape", &["n"], &["c"]),
                node("Add", &["c", "w"], &["d"]),
                node("Exp", &["d"], &["e"]),
                node("Mul", &["e", "d"], &["y"]),
            ],
        ),
        3 => one(vec![ints("n", &[1, 1, big, other])], vec![node(random.pick(&["Tile", "Expand"]), &["x", "n"], &["y"])]),
        4 => {
            let mode = random.pick(&["constant", "reflect", "edge", "wrap"]);
            let pads = ints("n", &[0, 0, other, big, 0, 0, small, 0]);
            one(vec![pads], vec![node("Pad", &["x", "n"], &["y"]).with(text("mode", mode))])
        }
        5 => {
            let range = vec![scalar("a", other), scalar("b", big), scalar("c", 1 + small)];
            one(
                range,
                vec![
                    node("Range", &["a", "b", "c"], &["r"]),
                    node(random.pick(&["Neg", "Identity", "Shape", "ReduceMax"]), &["r"], &["y"]),
                ],
            )
        }
        6 => one(vec![ints("n", &[2, 3, big, other])], vec![node("Resize", &["x", "", "", "n"], &["y"])]),
        7 => {
            let scales = [1.0f32, 1.0, random.pick(&[1e9, 1e30, f32::INFINITY, f32::NAN, -1.0, 0.0, 1e-30]), 2.0];
            let raw = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
            one(vec![raw_tensor("s", F32, &[4], raw)], vec![node("Resize", &["x", "", "s"], &["y"])])
        }
        8 => one(
            vec![ints("n", &[1, 3, big, 1 + small])],
            vec![node("ConstantOfShape", &["n"], &["w"]), node("Conv", &["x", "w"], &["y"]).with(int_list("pads", &[big, 4, big, 4]))],
        ),
        9 => {
            let pool =
                node(random.pick(&["MaxPool", "AveragePool", "LpPool"]), &["x"], &["y"]).with(int_list("kernel_shape", &[big, 1 + small]));
            one(vec![], vec![pool.with(int_list("pads", &[big / 2, 0, big / 2, 0])).with(int_list("strides", &[1, big]))])
        }
        10 => one(vec![], vec![node("Add", &["x", "z"], &["y"]), node("Relu", &["y"], &["z"])]),
        11 => one(vec![], vec![node("Relu", &["y"], &["y"])]),
        12 => functions(1 + random.below(70), 1 + random.below(3), false),
        13 => functions(1 + random.below(3), 1 + random.below(2), true),
        14 => branches(1 + random.below(90)),
        15 => one(vec![ints("n", &vec![1; random.below(400)])], vec![node("Reshape", &["x", "n"], &["y"])]),
        16 => {
            let slice =
                vec![ints("a", &[other]), ints("b", &[big]), ints("c", &[2]), ints("d", &[random.pick(&[1, -1, 0, i64::MIN, i64::MAX])])];
            one(slice, vec![node("Slice", &["x", "a", "b", "c", "d"], &["y"])])
        }
        17 => one(
            vec![scalar("n", big), floats("v", &[2]), ints("i", &[0, 1])],
            vec![node("OneHot", &["i", "n", "v"], &["h"]), node("ReduceSum", &["h"], &["y"])],
        ),
        18 => one(vec![ints("k", &[big])], vec![node("TopK", &["x", "k"], &["y", ""]).with(int("axis", small - 3))]),
        19 => one(vec![scalar("k", random.pick(&[big, -big]))], vec![node("Trilu", &["x", "k"], &["y"])]),
        20 => one(
            vec![ints("n", &[big, big])],
            vec![node("ConstantOfShape", &["n"], &["c"]), node("EyeLike", &["c"], &["y"]).with(int("k", other))],
        ),
        21 => one(
            vec![raw_tensor("w", 1 + random.below(22) as i32, &[big, other], vec![1; random.below(40)])],
            vec![node("Add", &["x", "w"], &["y"])],
        ),
        22 => {
            let mut tensor = raw_tensor("w", F32, &[big], vec![]);
            let entry = |key: &str, value: &str| StringStringEntryProto { key: key.to_string(), value: value.to_string() };
            tensor.external_data = vec![
                entry("location", random.pick(&["../../../etc/passwd", "/dev/zero", "", "nothing.bin"])),
                entry("length", &big.to_string()),
            ];
            tensor.data_location = 1;
            one(vec![tensor], vec![node("Add", &["x", "w"], &["y"])])
        }
        23 => {
            let sizes = [big, other, 3, 4];
            let nodes = vec![node(random.pick(&["Relu", "Softmax", "GlobalAveragePool", "ReduceSum", "CumSum"]), &["x"], &["y"])];
            model(17, graph(vec![input("x", F32, &sizes, false)], vec![], nodes, &["y"]))
        }
        24 => {
            // Sizes that are sums and products of each other.
            let steps = 1 + random.below(12);
            let nodes = (0..steps).flat_map(|i| {
                let (x, j, y) = (format!("t{i}"), format!("j{i}"), format!("t{}", i + 1));
                vec![node("Concat", &[&x, &x, "b"], &[&j]).with(int("axis", 0)), node("Reshape", &[&j, "n"], &[&y])]
            });
            let inputs = vec![input("t0", F32, &[-1, -2], true), input("b", F32, &[-3, -2], true)];
            model(17, graph(inputs, vec![ints("n", &[-1, 1 + small])], nodes.collect(), &[&format!("t{steps}")]))
        }
        25 => loops(1 + random.below(70), random.pick(&[big, other, 3])),
        26 => scan(random, big),
        _ => {
            let lstm = node(random.pick(&["LSTM", "GRU", "RNN"]), &["s", "w", "r"], &["y"]).with(int("hidden_size", big));
            let fill = |n: &str, y: &str| node("ConstantOfShape", &[n], &[y]);
            let sizes = vec![ints("nw", &[1, big, 3]), ints("nr", &[1, big, big])];
            model(17, graph(vec![input("s", F32, &[5, 1, 3], false)], sizes, vec![fill("nw", "w"), fill("nr", "r"), lstm], &["y"]))
        }
    }
}

/// A recurrent layer, step by step.
fn steps() -> ModelProto {
    let step = |t: usize| {
        let [i, x, p, h, r, s, n] = ["i", "x", "p", "h", "r", "s", "h"].map(|n| format!("{n}{t}"));
        let next = format!("{n}_");
        let before = if t == 0 { "first".to_string() } else { format!("h{}_", t - 1) };
        let value = AttributeProto { name: "value_int".to_string(), kind: 2, i: t as i64, ..Default::default() };
        vec![
            node("Constant", &[], &[&i]).with(value),
            node("Gather", &["rows", &i], &[&x]),
            node("MatMul", &[&x, "w"], &[&p]),
            node("Identity", &[&before], &[&h]),
            node("MatMul", &[&h, "w"], &[&r]),
            node("Add", &[&p, &r], &[&s]),
            node("Tanh", &[&s], &[&next]),
        ]
    };
    let count = 1500;
    let inputs = vec![input("rows", F32, &[count as i64, 2, 3], false), input("first", F32, &[2, 3], false)];
    model(17, graph(inputs, vec![floats("w", &[3, 3])], (0..count).flat_map(step).collect(), &[&format!("h{}_", count - 1)]))
}

/// Loops inside loops, each as often as the other.
fn loops(depth: usize, count: i64) -> ModelProto {
    let mut inner = node("Relu", &["h"], &["n"]);
    for _ in 0..depth {
        let inputs = vec![input("i", 7, &[], false), input("c", 9, &[], false), input("h", F32, &[2], false)];
        let nodes = vec![node("Identity", &["c"], &["d"]), inner];
        inner = node("Loop", &["count", "", "h"], &["n"]).with(body("body", graph(inputs, vec![], nodes, &["d", "n"])));
    }
    model(17, graph(vec![input("h", F32, &[2], false)], vec![scalar("count", count)], vec![inner], &["n"]))
}

/// A scan whose attributes, ranks and types may or may not fit.
fn scan(random: &mut Random, big: i64) -> ModelProto {
    let opset = random.pick(&[7, 8, 9, 17]);
    let size = random.pick(&[1, 2, 3, big]);
    let shapes: [&[i64]; 4] = [&[], &[2], &[2, 3], &[size, 2, 3]];
    let (state, rows) = (random.pick(&shapes), random.pick(&shapes));
    let nodes = vec![node(random.pick(&["Add", "Mul", "MatMul", "Concat", "Gather"]), &["a", "b"], &["n"]), node("Neg", &["n"], &["s"])];
    let inside =
        graph(vec![input("a", F32, &[], false), input("b", F32, &[], false)], vec![], nodes, &["n", random.pick(&["s", "n", "b", "x"])]);
    let mut scan = node("Scan", if opset == 8 { &["", "h", "x"] } else { &["h", "x"] }, &["y", "z"]).with(body("body", inside));
    scan = scan.with(int("num_scan_inputs", random.pick(&[1, 1, 1, 2, 0, -1, big])));
    let mut list = |name: &str, values: &[i64]| {
        if random.below(3) == 0 {
            scan.attribute.push(int_list(name, &vec![random.pick(values); 1 + random.below(5) / 4]));
        }
    };
    list("scan_input_axes", &[0, 1, -1, 2, big]);
    list("scan_input_directions", &[0, 1, 1, 2]);
    list("scan_output_axes", &[0, 1, -1, 2, i64::MIN]);
    list("scan_output_directions", &[0, 1, -1]);
    model(opset, graph(vec![input("h", F32, state, false), input("x", F32, rows, false)], vec![], vec![scan], &["y", "z"]))
}

/// Functions that call the next one several times; the last calls the first when they are recursive.
fn functions(depth: usize, calls: usize, recursive: bool) -> ModelProto {
    let function = |i: usize| {
        let next = if i + 1 < depth {
            format!("F{}", i + 1)
        } else if recursive {
            "F0".to_string()
        } else {
            String::new()
        };
        let node_of = |j: usize| {
            let (from, to) = (format!("v{j}"), format!("v{}", j + 1));
            match next.as_str() {
                "" => node("Relu", &[&from], &[&to]),
                name => NodeProto { domain: "local".to_string(), ..node(name, &[&from], &[&to]) },
            }
        };
        FunctionProto {
            name: format!("F{i}"),
            domain: "local".to_string(),
            input: vec!["v0".to_string()],
            output: vec![format!("v{calls}")],
            node: (0..calls).map(node_of).collect(),
            opset_import: vec![
                OperatorSetIdProto { domain: String::new(), version: 17 },
                OperatorSetIdProto { domain: "local".to_string(), version: 1 },
            ],
            ..Default::default()
        }
    };
    let call = NodeProto { domain: "local".to_string(), ..node("F0", &["x"], &["y"]) };
    let mut made = model(17, graph(vec![input("x", F32, &[2], false)], vec![], vec![call], &["y"]));
    made.opset_import.push(OperatorSetIdProto { domain: "local".to_string(), version: 1 });
    made.functions = (0..depth).map(function).collect();
    made
}

/// Branches inside branches.
fn branches(depth: usize) -> ModelProto {
    let mut inner = graph(vec![], vec![], vec![node("Relu", &["x"], &["y"])], &["y"]);
    for _ in 0..depth {
        let other = graph(vec![], vec![], vec![node("Neg", &["x"], &["y"])], &["y"]);
        let choice = node("If", &["c"], &["y"]).with(body("then_branch", inner)).with(body("else_branch", other));
        inner = graph(vec![], vec![], vec![choice], &["y"]);
    }
    inner.input = vec![input("x", F32, &[2, 3], false), input("c", 9, &[], false)];
    model(17, inner)
}
