//! Kernels that are emitted as PTX, run by the interpreter from their text, mean what the reference interpreter does: of every operator
//! and of random graphs. Networks, and a step of training, give the bits that the CPU gives, however threads are scheduled.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln::schedule::winograd::WinogradUse;
use kiln_ir::{DType, Module, Op, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::agreement::{Run, Way, check_all, example_agrees, graph_agrees, guarded};
use kiln_tests::gpu::on_device;
use kiln_tests::samples::{Fill, Random, tensor};
use kiln_tests::training::{first_step, planned};

/// Ordinary values once, special ones twice.
const FILLS: [Fill; 3] = [Fill::Ordinary, Fill::Special, Fill::Special];

/// Random graphs to try.
const GRAPHS: usize = 90;
/// Values of their symbol.
const SIZES: [i64; 3] = [0, 1, 5];

/// Schedules of threads that networks are run with.
const SCHEDULES: [u64; 5] = [1, 2, 3, 4, 5];

fn with_way<R>(fixed: bool, seed: u64, use_it: impl FnOnce(&Way) -> R) -> R {
    let compile = |module: &Module| {
        let mut session = on_device(module, &ModelFacts::default(), &Config::default(), seed)?;
        Ok(Box::new(move |inputs: &[Tensor]| session.run(inputs).map_err(|error| error.to_string())) as Run)
    };
    use_it(&Way { name: format!("PTX, fixed {fixed}"), fixed, fills: &FILLS, compile: &compile })
}

#[test]
fn every_operator_on_the_interpreter_agrees_with_its_reference() {
    let mut examples = Op::all_examples();
    examples.retain(|(_, example)| example.rejected.is_none());
    check_all(
        examples.len(),
        || (),
        |at, ()| {
            let (name, example) = &examples[at];
            let check = |fixed: bool| guarded(name, || with_way(fixed, at as u64, |way| example_agrees(name, example, way)));
            [false, true].into_iter().flat_map(check).collect()
        },
    );
}

#[test]
fn random_graphs_on_the_interpreter_agree_with_the_reference() {
    check_all(
        GRAPHS,
        || (),
        |seed, ()| guarded(&format!("graph {seed}"), || with_way(false, seed as u64, |way| graph_agrees(seed as u64, &SIZES, way))),
    );
}

/// A small network of many kinds of layers over `[batch, 1, 11, 9]`.
const CONVOLUTIONS: &str = "
seed = 3
outputs = ['scores']
input = [{ name = 'image', shape = [1, 11, 9] }]
[[layer]]
type = 'conv2d'
filters = 5
kernel = 3
padding = 'same'
activation = 'relu'
[[layer]]
type = 'batch_norm'
[[layer]]
type = 'max_pool2d'
size = 2
[[layer]]
type = 'conv2d'
filters = 7
kernel = [2, 3]
activation = 'gelu'
[[layer]]
type = 'global_avg_pool'
[[layer]]
type = 'dense'
name = 'scores'
units = 4
[train]
loss = 'sparse_cross_entropy'
optimiser = 'adamw'
";

/// Two recurrent layers and a block of a transformer over `[batch, 7, 6]`.
const SEQUENCES: &str = "
seed = 5
outputs = ['scores']
input = [{ name = 'x', shape = [7, 6] }]
[[layer]]
type = 'lstm'
units = 8
return_sequences = true
[[layer]]
type = 'transformer_encoder'
heads = 2
hidden = 12
[[layer]]
type = 'gru'
units = 5
[[layer]]
type = 'dense'
name = 'scores'
units = 3
[train]
loss = 'sparse_cross_entropy'
optimiser = 'adam'
";

/// The module's outputs on the CPU, and on the interpreter by every schedule: the same bits.
fn same_bits(name: &str, module: &Module, inputs: &[Tensor]) {
    // What a GPU sums in an order of its own is compared within tolerances elsewhere.
    let config = Config { winograd: WinogradUse::Never, matrices: false, ..Config::default() };
    let pool = ThreadPool::new(2);
    let facts = ModelFacts { name: "net".into(), ..ModelFacts::default() };
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = compile(module, target, facts.clone(), &config).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let expected = compiled.predictor(&pool).and_then(|p| p.run(inputs, &pool)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for seed in SCHEDULES {
        let mut session = on_device(module, &facts, &config, 100 * seed).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = session.run(inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.ty(), expected.ty(), "{name}, output {at}");
            let pairs = found.floats().into_iter().zip(expected.floats());
            let apart = pairs.enumerate().find(|(_, (f, e))| f.to_bits() != e.to_bits() || !f.is_finite());
            assert!(apart.is_none(), "{name}, schedule {seed}, output {at}: {apart:?}");
        }
    }
}

#[test]
fn networks_and_steps_of_training_give_the_bits_of_the_cpu() {
    for (name, text, shape) in [("convolutions", CONVOLUTIONS, vec![3, 1, 11, 9]), ("sequences", SEQUENCES, vec![3, 7, 6])] {
        let model = parse("test.toml", name, text, Language::Toml).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let mut random = Random::new(9);
        let x = tensor(DType::F32, &shape, Fill::Ordinary, None, &mut random);
        let module = model.initialised().unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        same_bits(name, &module, std::slice::from_ref(&x));
        let plan = planned(&model);
        let inputs = first_step(&plan, &model, vec![x, Tensor::i64(&[3], &[0, 2, 1])]);
        same_bits(&format!("training {name}"), &plan.step, &inputs);
    }
}
