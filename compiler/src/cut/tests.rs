//! How many kernels graphs become.

use super::{Choices, cut};
use crate::kernel::eval::{self, Memory};
use crate::kernel::{Body, BufferKind, ExprKind, Program, Stage, Step};
use kiln_ir::ops::{Attention, Broadcast, Cast, Conv, Dot, Operator, Scan};
use kiln_ir::types::parse_tensor_type;
use kiln_ir::{Builder, DType, Dim, Graph, Module, Tensor, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

fn program(inputs: &[&str], build: impl FnOnce(&mut Builder, &[Value]) -> Vec<Value>) -> Program {
    let mut graph = Graph::new();
    let x: Vec<Value> = inputs.iter().enumerate().map(|(i, ty)| graph.add_input(format!("x{i}"), parse_tensor_type(ty).unwrap())).collect();
    let y = build(&mut Builder::new(&mut graph), &x);
    for (i, value) in y.into_iter().enumerate() {
        graph.add_output(format!("y{i}"), value);
    }
    let mut module = Module::default();
    module.functions.insert("predict".into(), graph);
    cut(&module, "predict", &Choices::default()).unwrap()
}

fn shape_of(step: &Step) -> String {
    match step {
        Step::Loop { body, .. } => format!("loop {{ {} }}", body.iter().map(shape_of).collect::<Vec<_>>().join("; ")),
        Step::Run(kernel) => match &kernel.body {
            Body::Contract(_) => "contract".into(),
            Body::Attention(_) => "attention".into(),
            Body::Nest(nest) => {
                let stages = nest.stages.iter().map(|s| match s {
                    Stage::Reduce { .. } => "reduce",
                    Stage::Sweep { axes, .. } if axes.is_empty() => "store",
                    Stage::Sweep { .. } => "sweep",
                    Stage::Running { .. } => "running",
                });
                stages.collect::<Vec<_>>().join("+")
            }
        },
    }
}

fn shape(program: &Program) -> Vec<String> {
    program.steps.iter().map(shape_of).collect()
}

#[test]
fn convolution_takes_bias_activation_and_residual_along() {
    let p = program(&["f32[n, 3, h, w]", "f32[8, 3, 3, 3]", "f32[8]", "f32[n, 8, h - 2, w - 2]"], |b, x| {
        let op = Conv {
            strides: vec![1, 1],
            dilations: vec![1, 1],
            lhs_dilations: vec![1, 1],
            low: vec![Dim::ZERO; 2],
            high: vec![Dim::ZERO; 2],
            groups: 1,
        };
        let y = b.op(op, &[x[0], x[1]]);
        let bias = b.unsqueeze(x[2], &[1, 2]);
        let y = b.add(y, bias);
        let y = b.add(y, x[3]);
        let zero = b.like(y, 0.0);
        vec![b.max(y, zero)]
    });
    assert_eq!(shape(&p), ["contract"]);
}

#[test]
fn softmax_is_one_row_kernel() {
    let p = program(&["f32[b, 10]"], |b, x| {
        let max = b.reduce_max(x[0], &[1], true);
        let shifted = b.sub(x[0], max);
        let e = b.exp(shifted);
        let sum = b.reduce_sum(e, &[1], true);
        vec![b.div(e, sum)]
    });
    assert_eq!(shape(&p), ["reduce+sweep+reduce+sweep"]);
}

#[test]
fn layer_norm_is_one_row_kernel_in_front_of_a_dot() {
    let p = program(&["f32[b, t, 64]", "f32[64, 32]", "f32[64]"], |b, x| {
        let scale = b.scalar(kiln_ir::DType::F32, 1.0 / 64.0);
        let sum = b.reduce_sum(x[0], &[2], true);
        let mean = b.mul(sum, scale);
        let centred = b.sub(x[0], mean);
        let squared = b.mul(centred, centred);
        let sum = b.reduce_sum(squared, &[2], true);
        let variance = b.mul(sum, scale);
        let deviation = b.sqrt(variance);
        let y = b.div(centred, deviation);
        let y = b.mul(y, x[2]);
        vec![b.op(Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![2], b_contract: vec![0] }, &[y, x[1]])]
    });
    assert_eq!(shape(&p), ["reduce+reduce+sweep", "contract"]);
}

#[test]
fn a_reduction_needed_at_another_index_gets_its_own_kernel() {
    // The sums of rows are transposed before they meet the elements, so the row kernel does not hold them.
    let p = program(&["f32[4, 4]"], |b, x| {
        let sum = b.reduce_sum(x[0], &[1], true);
        let turned = b.transpose(sum, &[1, 0]);
        vec![b.sub(x[0], turned)]
    });
    assert_eq!(shape(&p), ["reduce+store", "store"]);
}

#[test]
fn movement_makes_no_kernels_of_its_own() {
    let p = program(&["f32[b, t, 12]", "f32[b, t, 12]"], |b, x| {
        let shape = b.shape(x[0]);
        let heads = b.reshape(x[0], &[shape[0].clone(), shape[1].clone(), Dim::from(3), Dim::from(4)]);
        let heads = b.transpose(heads, &[0, 2, 1, 3]);
        let other = b.reshape(x[1], &[shape[0].clone(), shape[1].clone(), Dim::from(3), Dim::from(4)]);
        let other = b.transpose(other, &[0, 2, 1, 3]);
        vec![b.op(Dot { a_batch: vec![0, 1], b_batch: vec![0, 1], a_contract: vec![3], b_contract: vec![3] }, &[heads, other])]
    });
    assert_eq!(shape(&p), ["contract"]);
}

#[test]
fn a_scan_of_elementwise_steps_is_a_loop_around_one_kernel() {
    let mut body = Graph::new();
    let h = body.add_input("h", parse_tensor_type("f32[b, 8]").unwrap());
    let x = body.add_input("x", parse_tensor_type("f32[b, 8]").unwrap());
    let mut b = Builder::new(&mut body);
    let sum = b.add(h, x);
    let next = b.tanh(sum);
    body.add_output("h", next);
    body.add_output("y", next);
    let p = program(&["f32[b, 8]", "f32[t, b, 8]"], |b, x| {
        b.ops(Scan { body: Arc::new(body), carried: 1, scanned: 1, reverse: false }, &[x[0], x[1]])
    });
    assert_eq!(shape(&p), ["store", "loop { store }"]);
}

#[test]
fn steps_on_parameters_alone_are_prepared() {
    let mut graph = Graph::new();
    let x = graph.add_input("x", parse_tensor_type("f32[n, 8]").unwrap());
    let w = graph.add_parameter("w", parse_tensor_type("f16[8, 4]").unwrap());
    let mut b = Builder::new(&mut graph);
    let w = b.op(Cast { dtype: kiln_ir::DType::F32 }, &[w]);
    let y = b.matmul(x, w);
    graph.add_output("y", y);
    let mut module = Module::default();
    module.functions.insert("predict".into(), graph);
    let p = cut(&module, "predict", &Choices::default()).unwrap();
    assert_eq!((p.prepare.len(), p.steps.len()), (1, 1));
}

#[test]
fn what_only_leads_to_what_is_prepared_is_not_kept() {
    // Of 8 MiB each; there is room for two.
    for (others_are_kept, steps) in [(false, (9, 1)), (true, (6, 5))] {
        let mut graph = Graph::new();
        let large = [Dim::from(2048), Dim::from(1024)];
        let x = graph.add_input("x", parse_tensor_type("f32[2048, 1024]").unwrap());
        let w = graph.add_parameter("w", parse_tensor_type("f32[1, 1024]").unwrap());
        let mut b = Builder::new(&mut graph);
        let mut values = vec![b.broadcast_to(w, &large)];
        for i in 0..4 {
            let e = b.exp(values[i]);
            let sum = b.reduce_sum(e, &[1], true);
            values.push(b.div(e, sum));
        }
        // Two users, as below.
        let mut y = vec![b.add(x, values[4]), b.mul(x, values[4])];
        if others_are_kept {
            y.extend([b.sub(x, values[1]), b.sub(x, values[2])]);
        }
        y.into_iter().enumerate().for_each(|(i, y)| graph.add_output(format!("y{i}"), y));
        let mut module = Module::default();
        module.functions.insert("predict".into(), graph);
        let program = cut(&module, "predict", &Choices::default()).unwrap();
        assert_eq!((program.prepare.len(), program.steps.len()), steps, "{others_are_kept}");
    }
}

#[test]
fn giant_work_on_a_small_parameter_is_left_to_the_run() {
    for (length, prepared) in [(1i64 << 10, 1), (1i64 << 40, 0)] {
        let mut graph = Graph::new();
        let x = graph.add_input("x", parse_tensor_type("f32[4]").unwrap());
        let w = graph.add_parameter("w", parse_tensor_type("f32[1, 4]").unwrap());
        let mut b = Builder::new(&mut graph);
        let many = b.op(Broadcast { shape: vec![Dim::from(length), Dim::from(4)] }, &[w]);
        let sum = b.reduce_sum(many, &[0], false);
        // Two users, so that the reduction takes neither along as its epilogue.
        let (y, z) = (b.add(x, sum), b.mul(x, sum));
        graph.add_output("y", y);
        graph.add_output("z", z);
        let mut module = Module::default();
        module.functions.insert("predict".into(), graph);
        assert_eq!(cut(&module, "predict", &Choices::default()).unwrap().prepare.len(), prepared, "{length} rows");
    }
}

#[test]
fn rows_are_fused_also_when_movement_stands_between_them_and_a_dot() {
    let p = program(&["f32[b, 4, 10]", "f32[10, 7]"], |b, x| {
        let max = b.reduce_max(x[0], &[2], true);
        let shifted = b.sub(x[0], max);
        let e = b.exp(shifted);
        let sum = b.reduce_sum(e, &[2], true);
        let y = b.div(e, sum);
        let y = b.reshape(y, &[Dim::symbol("b") * Dim::from(4), Dim::from(10)]);
        vec![b.matmul(y, x[1])]
    });
    assert_eq!(shape(&p), ["reduce+sweep+reduce+sweep", "contract"]);
}

#[test]
fn rows_are_fused_over_axes_of_one_element() {
    let p = program(&["f32[1, 4, 10]"], |b, x| {
        let sum = b.reduce_sum(x[0], &[2], true);
        vec![b.div(x[0], sum)]
    });
    assert_eq!(shape(&p), ["reduce+sweep"]);
}

/// Values of the outputs of a program that runs on these inputs, by the kernel interpreter.
fn outputs(p: &Program, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let given = p.inputs.iter().zip(inputs).map(|((_, id), tensor)| (*id, tensor.clone())).collect();
    let sizes = BTreeMap::new();
    let mut memory = Memory::new(p, &sizes, &given).unwrap();
    eval::run(p, &sizes, &mut memory).unwrap();
    p.outputs.iter().map(|(_, id)| memory.tensor(p, *id).floats()).collect()
}

fn ramp(shape: &[usize]) -> Tensor {
    let elements = shape.iter().product::<usize>();
    Tensor::from_floats(DType::F32, shape.to_vec(), (0..elements).map(|i| i as f64 - 7.5))
}

#[test]
fn attention_is_one_kernel_with_its_end_and_gives_its_values() {
    let op = Attention { causal: true, left_window: Some(2), has_mask: true, has_lengths: true, ..Attention::plain() };
    let types = ["f32[2, 4, 3, 8]", "f32[2, 2, 5, 8]", "f32[2, 2, 5, 6]", "f32[3, 5]", "i64[2]"];
    let p = program(&types, |b, x| {
        let y = b.op(op.clone(), x);
        vec![b.neg(y)]
    });
    assert_eq!(shape(&p), ["attention"]);
    let small = |shape: &[usize]| {
        let elements = shape.iter().product::<usize>();
        Tensor::from_floats(DType::F32, shape.to_vec(), (0..elements).map(|i| (i * 7 % 11) as f64 * 0.2 - 1.0))
    };
    let mask = Tensor::from_floats(DType::F32, vec![3, 5], (0..15).map(|i| if i % 4 == 1 || i < 5 { f64::NEG_INFINITY } else { 0.1 }));
    let inputs = [small(&[2, 4, 3, 8]), small(&[2, 2, 5, 8]), small(&[2, 2, 5, 6]), mask, Tensor::i64(&[2], &[5, 3])];
    let expected = op.eval(&inputs).unwrap()[0].floats();
    assert!(expected.contains(&0.0) && expected.iter().any(|value| *value != 0.0));
    for (found, expected) in outputs(&p, &inputs)[0].iter().zip(expected) {
        assert!((found + expected).abs() < 1e-6, "{found} is not -{expected}");
    }
}

#[test]
fn a_sum_of_padded_values_asks_no_element_whether_it_exists() {
    let p = program(&["f32[2, 16]", "f32[2, 32]"], |b, x| {
        let zero = [Dim::ZERO, Dim::ZERO];
        let first = b.pad(x[0], &zero, &[Dim::ZERO, Dim::from(32)], 0.0);
        let second = b.pad(x[1], &[Dim::ZERO, Dim::from(16)], &zero, 0.0);
        let sum = b.add(first, second);
        vec![b.mul(sum, sum)]
    });
    // Pieces of 16 and 32 elements are kernels of their own.
    assert_eq!(shape(&p), ["store", "store"]);
    for step in &p.steps {
        let Step::Run(kernel) = step else { panic!("no loops were made") };
        let is_bounded = |id| matches!(&kernel.exprs.get(id).kind, ExprKind::Load(access) if !access.bounds.is_empty());
        assert!(!kernel.live_exprs().into_iter().any(is_bounded));
    }
    let (a, c) = (ramp(&[2, 16]), ramp(&[2, 32]));
    let expected: Vec<f64> = (0..2).flat_map(|row| [&a.floats()[row * 16..][..16], &c.floats()[row * 32..][..32]].concat()).collect();
    assert_eq!(outputs(&p, &[a, c]), [expected.iter().map(|v| v * v).collect::<Vec<f64>>()]);
}

#[test]
fn maps_over_the_same_points_are_one_kernel() {
    // Each output needs a kernel; they share an operand, and the last one both others.
    let p = program(&["f32[40]", "f32[40]"], |b, x| {
        let sum = b.add(x[0], x[1]);
        let product = b.mul(x[0], x[1]);
        let both = b.sub(sum, product);
        vec![sum, product, both]
    });
    assert_eq!(shape(&p), ["store"]);
    let (a, c) = (ramp(&[40]), ramp(&[40]));
    let by = |f: fn(f64) -> f64| a.floats().into_iter().map(f).collect::<Vec<f64>>();
    assert_eq!(outputs(&p, &[a.clone(), c]), [by(|v| v + v), by(|v| v * v), by(|v| v + v - v * v)]);
}

#[test]
fn a_map_that_reads_other_points_stays_apart() {
    let p = program(&["f32[8, 8]"], |b, x| {
        let doubled = b.add(x[0], x[0]);
        let turned = b.transpose(doubled, &[1, 0]);
        vec![doubled, b.sub(x[0], turned)]
    });
    assert_eq!(shape(&p), ["store", "store"]);
}

#[test]
fn what_is_costly_is_stored_before_it_is_repeated() {
    let p = program(&["f32[]", "f32[64]", "f32[64, 2]"], |b, x| {
        let costly = b.exp(x[0]);
        let wide = b.broadcast_to(costly, &[Dim::from(64)]);
        let first = b.mul(wide, x[1]);
        let wider = b.broadcast_to(costly, &[Dim::from(64), Dim::from(2)]);
        vec![first, b.mul(wider, x[2])]
    });
    let stored: Vec<Dim> = p.buffers.iter().filter(|b| b.kind == BufferKind::Temporary).map(|b| b.elements()).collect();
    assert_eq!(stored, [Dim::ONE]);
}
