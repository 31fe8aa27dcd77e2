//! Losses against PyTorch's, and their gradients against slopes.

use kiln::autodiff::{Variable, differentiate};
use kiln::losses::*;
use kiln_ir::eval::evaluate;
use kiln_ir::{Builder, DType, Graph, Module, Tensor, TensorType, Value};
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::slopes::slopes;

type Loss = fn(&mut Builder, Value, Value) -> Value;

const MEAN: LossReduction = LossReduction::Mean;
const LOGITS: CrossEntropy = CrossEntropy { scores: Scores::Logits, label_smoothing: 0.0, reduction: MEAN };
const SMOOTHED: CrossEntropy = CrossEntropy { label_smoothing: 0.1, ..LOGITS };
const PROBABILITIES: CrossEntropy = CrossEntropy { scores: Scores::Probabilities, ..LOGITS };
const SUM: CrossEntropy = CrossEntropy { reduction: LossReduction::Sum, ..LOGITS };

fn rows(values: [f64; 6]) -> Tensor {
    Tensor::from_floats(DType::F64, vec![2, 3], values)
}

fn scores() -> Tensor {
    rows([0.2, -1.5, 2.5, 0.9, 0.1, -0.3])
}

fn targets() -> Tensor {
    rows([0.0, -1.0, 0.5, 1.0, 0.25, -0.5])
}

fn probabilities() -> Tensor {
    rows([0.2, 0.5, 0.9, 0.7, 0.1, 0.6])
}

fn truths() -> Tensor {
    rows([0.0, 1.0, 1.0, 1.0, 0.3, 0.0])
}

fn distributions() -> Tensor {
    rows([0.5, 0.5, 0.0, 0.1, 0.2, 0.7])
}

fn labels() -> Tensor {
    Tensor::i64(&[2], &[2, 0])
}

/// Softmax of the scores, row by row.
fn shares() -> Tensor {
    let softmax = |row: &[f64]| {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| v.exp() / sum).collect::<Vec<f64>>()
    };
    let values: Vec<f64> = scores().floats().chunks(3).flat_map(softmax).collect();
    Tensor::from_floats(DType::F64, vec![2, 3], values)
}

fn kl(b: &mut Builder, scores: Value, targets: Value) -> Value {
    let logs = b.op(kiln_ir::ops::LogSoftmax { axis: 1 }, &[scores]);
    kl_divergence(b, logs, targets, MEAN)
}

/// What PyTorch 2.15 computes of the tensors above in f64:
/// ```python
/// f.mse_loss(p, t), f.l1_loss(p, t), f.huber_loss(p, t, delta=0.6), f.smooth_l1_loss(p, t, beta=0.6)
/// f.binary_cross_entropy(q, u), f.binary_cross_entropy_with_logits(p, u)
/// f.cross_entropy(p, labels), f.cross_entropy(p, labels, label_smoothing=0.1), f.cross_entropy(p, labels, reduction="sum")
/// f.cross_entropy(p, d), f.cross_entropy(p, d, label_smoothing=0.1), f.kl_div(f.log_softmax(p, 1), d, reduction="batchmean")
/// ```
/// with `p` the scores, `t` the targets, `q` the probabilities, `u` the truths, `d` the distributions. Those of probabilities are
/// those of the logits that they come from; the hinge is its formula.
fn cases() -> Vec<(&'static str, Loss, Tensor, Tensor, f64)> {
    let hinges = scores().floats().into_iter().zip(targets().floats()).map(|(p, t)| (1.0 - t * p).max(0.0));
    let hinge_mean = hinges.sum::<f64>() / 6.0;
    vec![
        ("mse", |b, p, t| mean_squared_error(b, p, t, MEAN), scores(), targets(), 0.7270833333333333),
        ("mae", |b, p, t| mean_absolute_error(b, p, t, MEAN), scores(), targets(), 0.525),
        ("huber", |b, p, t| huber(b, p, t, 0.6, MEAN), scores(), targets(), 0.20020833333333332),
        ("smooth l1", |b, p, t| smooth_l1(b, p, t, 0.6, MEAN), scores(), targets(), 0.33368055555555554),
        ("hinge", |b, p, t| hinge(b, p, t, MEAN), scores(), targets(), hinge_mean),
        ("binary", |b, p, t| binary_cross_entropy(b, p, t, PROBABILITIES), probabilities(), truths(), 0.5098574687005935),
        ("binary logits", |b, p, t| binary_cross_entropy(b, p, t, LOGITS), scores(), truths(), 0.6980579434885134),
        ("sparse", |b, p, t| sparse_cross_entropy(b, p, t, LOGITS), scores(), labels(), 0.3359848961176461),
        ("sparse smoothed", |b, p, t| sparse_cross_entropy(b, p, t, SMOOTHED), scores(), labels(), 0.47431822945097946),
        ("sparse sum", |b, p, t| sparse_cross_entropy(b, p, t, SUM), scores(), labels(), 0.6719697922352922),
        ("sparse shares", |b, p, t| sparse_cross_entropy(b, p, t, PROBABILITIES), shares(), labels(), 0.3359848961176461),
        ("dense", |b, p, t| dense_cross_entropy(b, p, t, LOGITS), scores(), distributions(), 2.410984896117646),
        ("dense smoothed", |b, p, t| dense_cross_entropy(b, p, t, SMOOTHED), scores(), distributions(), 2.34181822945098),
        ("dense shares", |b, p, t| dense_cross_entropy(b, p, t, PROBABILITIES), shares(), distributions(), 2.410984896117646),
        ("kl", kl, scores(), distributions(), 1.6635020295660048),
    ]
}

fn graph_of(loss: Loss, predictions: &TensorType, targets: &TensorType) -> Graph {
    let mut graph = Graph::new();
    let (p, t) = (graph.add_input("p", predictions.clone()), graph.add_input("t", targets.clone()));
    let loss = loss(&mut Builder::new(&mut graph), p, t);
    graph.add_output("loss", loss);
    graph
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    evaluate(&Module::default(), graph, inputs).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn losses_are_those_of_pytorch_and_their_gradients_are_slopes() {
    for (name, loss, predictions, targets, expected) in cases() {
        let graph = graph_of(loss, &predictions.ty(), &targets.ty());
        let inputs = [predictions, targets];
        let found = run(&graph, &inputs)[0].floats()[0];
        assert!((found - expected).abs() <= 1e-14 + 1e-14 * expected.abs(), "{name}: {found}, expected {expected}");
        let gradient = differentiate(&graph, &["loss"], &[Variable::Input("p".into())]).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let sum = |inputs: &[Tensor]| run(&graph, inputs)[0].floats()[0];
        let tolerance = Tolerance { absolute: 1e-9, relative: 1e-6 };
        let apart = difference(&run(&gradient, &inputs)[1], &slopes(&sum, &inputs, 0), tolerance);
        assert!(apart.is_none(), "{name}: {}", apart.unwrap_or_default());
    }
}

#[test]
fn weights_cost_their_sizes_and_squares() {
    let mut graph = Graph::new();
    let w = graph.add_input("w", TensorType::fixed(DType::F64, &[2, 2]));
    let cost = weight_penalty(&mut Builder::new(&mut graph), w, Penalty { l1: 0.5, l2: 0.1 });
    graph.add_output("cost", cost);
    let w = Tensor::from_floats(DType::F64, vec![2, 2], [1.0, -2.0, 0.0, 3.0]);
    let gradient = differentiate(&graph, &["cost"], &[Variable::Input("w".into())]).expect("it is smooth");
    let found = run(&gradient, &[w]);
    assert!((found[0].floats()[0] - (0.5 * 6.0 + 0.1 * 14.0)).abs() < 1e-12, "{:?}", found[0]);
    let expected = Tensor::from_floats(DType::F64, vec![2, 2], [0.7, -0.9, 0.0, 1.1]);
    let apart = difference(&found[1], &expected, Tolerance { absolute: 1e-12, relative: 1e-12 });
    assert!(apart.is_none(), "{}", apart.unwrap_or_default());
}

#[test]
fn losses_serve_any_batch_and_lower_precision() {
    // A loss of each sample, over sequences of a length that is open, from 16-bit scores.
    let scores = kiln_ir::types::parse_tensor_type("bf16[batch, time, 3]").expect("a type");
    let labels = kiln_ir::types::parse_tensor_type("i32[batch, time]").expect("a type");
    let graph =
        graph_of(|b, p, t| sparse_cross_entropy(b, p, t, CrossEntropy { reduction: LossReduction::None, ..SMOOTHED }), &scores, &labels);
    assert_eq!(graph.ty(graph.outputs()[0].1).to_string(), "f32[batch, time]");
    for (batch, time) in [(2, 1), (0, 3), (1, 0)] {
        let p = Tensor::from_floats(DType::BF16, vec![batch, time, 3], vec![1.0; batch * time * 3]);
        let t = Tensor::from_ints(DType::I32, vec![batch, time], vec![1; batch * time]);
        let found = run(&graph, &[p, t])[0].floats();
        assert!(found.len() == batch * time && found.iter().all(|v| (v - 3f64.ln()).abs() < 1e-6), "{found:?}");
    }
}

#[test]
fn certain_mistakes_cost_a_finite_amount() {
    // A probability of 0 for what happened: −log 1e-7, and a slope that is a number.
    let at = |values: [f64; 2]| Tensor::from_floats(DType::F64, vec![2], values);
    let graph = graph_of(|b, p, t| binary_cross_entropy(b, p, t, PROBABILITIES), &at([0.0; 2]).ty(), &at([0.0; 2]).ty());
    let gradient = differentiate(&graph, &["loss"], &[Variable::Input("p".into())]).expect("it is smooth");
    let found = run(&gradient, &[at([0.0, 1.0]), at([1.0, 0.0])]);
    assert!((found[0].floats()[0] + 1e-7f64.ln()).abs() < 1e-8, "{:?}", found[0]);
    assert!(found[1].floats().iter().all(|v| v.is_finite()), "{:?}", found[1]);
    // Logits far out neither overflow nor vanish.
    let graph = graph_of(|b, p, t| binary_cross_entropy(b, p, t, SUM), &at([0.0; 2]).ty(), &at([0.0; 2]).ty());
    assert_eq!(run(&graph, &[at([-1e6, 1e6]), at([1.0, 1.0])])[0].floats(), [1e6]);
}

/// All ways to walk through time, weighed and added up: what the recursion must give.
fn spelled_by_hand(logits: &[f64], time: usize, classes: usize, labels: &[usize], blank: usize) -> f64 {
    let rows: Vec<Vec<f64>> = logits
        .chunks(classes)
        .map(|row| {
            let sum: f64 = row.iter().map(|v| v.exp()).sum();
            row.iter().map(|v| v.exp() / sum).collect()
        })
        .collect();
    let mut total = 0.0;
    for walk in 0..classes.pow(time as u32) {
        let path: Vec<usize> = (0..time).map(|t| walk / classes.pow(t as u32) % classes).collect();
        let mut spelled = path.clone();
        spelled.dedup();
        spelled.retain(|class| *class != blank);
        if spelled == labels {
            total += path.iter().enumerate().map(|(t, class)| rows[t][*class]).product::<f64>();
        }
    }
    -total.ln()
}

fn ctc_function(batch: usize, time: usize, classes: usize, labels: usize, blank: usize, lengths: bool, drop_impossible: bool) -> Graph {
    let mut graph = Graph::new();
    let x = graph.add_input("logits", TensorType::fixed(DType::F64, &[batch, time, classes]));
    let y = graph.add_input("labels", TensorType::fixed(DType::I64, &[batch, labels]));
    let lengths = lengths.then(|| graph.add_input("lengths", TensorType::fixed(DType::I64, &[batch])));
    let choices = Ctc { blank, drop_impossible, reduction: LossReduction::None };
    let losses = ctc_loss(&mut Builder::new(&mut graph), x, y, lengths, choices);
    graph.add_output("losses", losses);
    graph
}

#[test]
fn ctc_adds_up_all_ways_to_spell() {
    let mut random = kiln_tests::samples::Random::new(11);
    for case in 0..60 {
        let (time, classes) = (1 + random.below(5), 2 + random.below(2));
        let (blank, longest) = (random.below(classes), random.below(4));
        let batch = 3;
        let logits: Vec<f64> = (0..batch * time * classes).map(|_| 4.0 * random.unit() - 2.0).collect();
        let lengths: Vec<usize> = (0..batch).map(|_| if case % 2 == 0 { time } else { 1 + random.below(time) }).collect();
        let labels: Vec<Vec<usize>> = (0..batch)
            .map(|_| {
                let count = random.below(longest + 1);
                (0..count).map(|_| (blank + 1 + random.below(classes - 1)) % classes).collect()
            })
            .collect();
        let padded = labels.iter().flat_map(|row| (0..longest).map(move |i| row.get(i).map_or(-1, |l| *l as i64)));
        let graph = ctc_function(batch, time, classes, longest, blank, case % 2 == 1, false);
        let mut inputs = vec![
            Tensor::from_floats(DType::F64, vec![batch, time, classes], logits.clone()),
            Tensor::i64(&[batch, longest], &padded.collect::<Vec<_>>()),
        ];
        if case % 2 == 1 {
            inputs.push(Tensor::i64(&[batch], &lengths.iter().map(|l| *l as i64).collect::<Vec<_>>()));
        }
        let found = evaluate(&Module::default(), &graph, &inputs).unwrap_or_else(|error| panic!("{error}"))[0].floats();
        for sample in 0..batch {
            let rows = &logits[sample * time * classes..][..lengths[sample] * classes];
            let expected = spelled_by_hand(rows, lengths[sample], classes, &labels[sample], blank);
            let same = if expected.is_finite() { (found[sample] - expected).abs() < 1e-9 } else { found[sample] == f64::INFINITY };
            assert!(same, "case {case}: {}, expected {expected}", found[sample]);
        }
    }
}

/// Repeated labels, padding, and labels that do not fit, whose loss has no slope.
#[test]
fn ctc_has_the_slopes_of_its_values() {
    let logits: Vec<f64> = (0..2 * 6 * 3).map(|i| (1.7 * f64::from(i)).sin()).collect();
    let x = Tensor::from_floats(DType::F64, vec![2, 6, 3], logits);
    for (labels, drops) in [([1, 1, 2, 2, -1, -1], false), ([1, 1, 1, -1, -1, -1], false), ([1, 1, 1, 1, 1, 2], true)] {
        let y = Tensor::i64(&[2, 3], &[[labels[0], labels[1], labels[2]], [labels[3], labels[4], labels[5]]].concat());
        let graph = ctc_function(2, 6, 3, 3, 0, false, drops);
        let gradient =
            differentiate(&graph, &["losses"], &[Variable::Input("logits".into())]).unwrap_or_else(|errors| panic!("{errors:?}"));
        let given = [x.clone(), y.clone()];
        let found = evaluate(&Module::default(), &gradient, &given).unwrap_or_else(|error| panic!("{error}"))[1].floats();
        let value = |values: &[f64]| {
            let x = Tensor::from_floats(DType::F64, vec![2, 6, 3], values.to_vec());
            evaluate(&Module::default(), &graph, &[x, y.clone()]).expect("it computes")[0].floats().iter().sum::<f64>()
        };
        for (i, found) in found.iter().enumerate() {
            let (mut up, mut down) = (x.floats(), x.floats());
            up[i] += 1e-5;
            down[i] -= 1e-5;
            let slope = (value(&up) - value(&down)) / 2e-5;
            assert!((found - slope).abs() < 1e-7, "{labels:?} {i}: {found}, slope {slope}");
        }
    }
}
