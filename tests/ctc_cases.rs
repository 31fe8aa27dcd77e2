//! Connectionist temporal classification against PyTorch's on 1,000 random cases (`files/ctc`): losses and gradients, compiled, in f32 and
//! f64, and labels that the time steps cannot spell.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::losses::{Ctc, LossReduction, ctc_loss};
use kiln::pipeline::Config;
use kiln_ir::{Builder, DType, Graph, Module, Tensor, TensorType};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::Npz;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;

/// Losses, and with `drops` the gradient of their sum.
fn function(dtype: DType, logits: &[usize], labels: usize, blank: usize, drops: bool) -> Graph {
    let mut graph = Graph::new();
    let x = graph.add_input("logits", TensorType::fixed(dtype, logits));
    let y = graph.add_input("labels", TensorType::fixed(DType::I64, &[logits[0], labels]));
    let lengths = graph.add_input("lengths", TensorType::fixed(DType::I64, &logits[..1]));
    let choices = Ctc { blank, drop_impossible: drops, reduction: LossReduction::None };
    let mut b = Builder::new(&mut graph);
    let losses = ctc_loss(&mut b, x, y, Some(lengths), choices);
    let sum = b.reduce_sum(losses, &[0], false);
    graph.add_output("losses", losses);
    if !drops {
        return graph;
    }
    graph.add_output("sum", sum);
    differentiate(&graph, &["sum"], &[Variable::Input("logits".into())]).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn run(graph: Graph, inputs: &[Tensor], pool: &ThreadPool) -> Vec<Tensor> {
    let mut module = Module { name: "ctc".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph);
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = compile(&module, target, ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    compiled.predictor(pool).expect("it loads").run(inputs, pool).unwrap_or_else(|error| panic!("{error}"))
}

fn numbers(array: &Array) -> impl Iterator<Item = f64> + '_ {
    (0..array.len()).map(|i| array.get_f64(i))
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let pool = ThreadPool::new(2);
    let mut arrays = Npz::open(&repository().join("tests/files/ctc/cases.npz")).expect("it is there");
    let (mut compared, mut impossible) = (0, 0);
    for group in (0..20).map(|group| group.to_string()).chain(["long".to_owned()]) {
        let mut array = |name: &str| arrays.read(&format!("{group}/{name}")).expect("it is whole").expect("it has it");
        let [logits, labels, lengths, blank, losses, gradient] =
            ["logits", "labels", "lengths", "blank", "losses", "gradient"].map(&mut array);
        let blank = blank.get_f64(0) as usize;
        for (dtype, bound) in [(DType::F32, 1e-5), (DType::F64, 1e-6)] {
            let integers = |array: &Array| Tensor::from_ints(DType::I64, array.shape().to_vec(), numbers(array).map(|n| n as i128));
            let scores = Tensor::from_floats(dtype, logits.shape().to_vec(), numbers(&logits).map(|sixteenths| sixteenths / 16.0));
            let inputs = [scores, integers(&labels), integers(&lengths)];
            let of = |drops| function(dtype, logits.shape(), labels.shape()[1], blank, drops);
            let (reported, dropped) = (run(of(false), &inputs, &pool), run(of(true), &inputs, &pool));
            let pairs = reported[0].floats().into_iter().zip(dropped[0].floats()).zip(numbers(&losses));
            for (case, ((reported, dropped), expected)) in pairs.enumerate() {
                let place = format!("group {group}, case {case}, {dtype}");
                if expected.is_infinite() {
                    assert_eq!((reported, dropped), (f64::INFINITY, 0.0), "{place}");
                    impossible += 1;
                    continue;
                }
                let allowed = bound * expected.abs().max(1.0);
                assert!((reported - expected).abs() <= allowed, "{place}: {reported}, not {expected}");
                assert!((dropped - expected).abs() <= allowed, "{place}: {dropped}, not {expected}");
            }
            let found = dropped.last().expect("the gradient is last").floats();
            for (at, (found, expected)) in found.into_iter().zip(numbers(&gradient)).enumerate() {
                // Over 1,500 time steps, roundings of f32 add up.
                let bound = if group == "long" && dtype == DType::F32 { 2e-4 } else { 1e-5 };
                assert!((found - expected).abs() <= bound, "group {group}, {dtype}, gradient {at}: {found}, not {expected}");
            }
        }
        compared += losses.len();
    }
    assert_eq!(compared, 1001);
    assert!(impossible > 100, "{impossible} impossible cases");
}
