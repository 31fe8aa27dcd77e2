//! Whole networks as PTX, run by the interpreter from their text: a CNN and a step of its training, a layer of BERT, an LSTM. They give
//! what the reference interpreter gives, and the same bits however threads are scheduled.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::generation::Generation;
use kiln::compile::compile_ptx;
use kiln::frontend::model::{Language, Model, load, parse};
use kiln::pipeline::Config;
use kiln::schedule::winograd::WinogradUse;
use kiln_ir::eval::evaluate;
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{DType, Module, Tensor};
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::gpu::on_device;
use kiln_tests::samples::{Fill, Random, tensor};
use kiln_tests::training::{first_step, planned};

/// Schedules of threads.
const SCHEDULES: [u64; 5] = [1, 2, 3, 4, 5];

/// Sums of thousands of products in f32, whose order may be another one.
const CLOSE: Tolerance = Tolerance { absolute: 2e-5, relative: 1e-4 };
/// Values of bf16 after a few layers, each of which rounds.
const CLOSE_HALVES: Tolerance = Tolerance { absolute: 0.02, relative: 0.02 };

/// A layer of BERT-base over sequences of any length. *Source*: Devlin et al. 2019, §3.
const BERT: &str = "
seed = 7
input = [{ name = 'x', shape = ['time', 768] }]
[[layer]]
type = 'transformer_encoder'
heads = 12
hidden = 3072
activation = 'gelu'
epsilon = 1e-12
";

/// A residual block of images of half floats, whose channels lie last, with strides, padding, a dilation and pooling.
const IMAGES: &str = "
module images {
  parameter w1: bf16[64, 24, 3, 3]
  parameter w2: bf16[72, 64, 3, 3]
  parameter w3: bf16[72, 64, 1, 1]
  fn predict(%x: bf16[n, 24, 11, 9]) {
    %0 = conv %x, %w1 {strides = [1, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [1, 1], high = [1, 1], groups = 1}
    %1 = relu %0
    %2 = conv %1, %w2 {strides = [2, 1], dilations = [1, 2], lhs_dilations = [1, 1], low = [1, 2], high = [0, 2], groups = 1}
    %3 = conv %1, %w3 {strides = [2, 1], dilations = [1, 1], lhs_dilations = [1, 1], low = [0, 0], high = [-1, 0], groups = 1}
    %4 = add %2, %3
    %5 = window_reduce %4 {kind = max, window = [3, 3], strides = [2, 2], dilations = [1, 1], low = [1, 1], high = [1, 1]}
    %y = relu %5
    return %y
  }
}
";

/// Three products of one input.
const PROJECTIONS: &str = "
module projections {
  parameter q: f32[768, 768]
  parameter k: f32[768, 768]
  parameter v: f32[768, 768]
  fn predict(%x: f32[128, 768]) {
    %0 = dot %x, %q {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}
    %1 = dot %x, %k {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}
    %2 = dot %x, %v {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}
    %3 = tanh %0
    %4 = mul %3, %1
    %y = mul %4, %2
    return %y
  }
}
";

fn example(name: &str) -> Model {
    load(&repository().join(format!("examples/networks/{name}.toml")), Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The reference's values by every schedule, and all schedules the same bits.
fn agrees(name: &str, module: &Module, inputs: &[Tensor]) {
    agrees_on(Generation::OLDEST, CLOSE, name, module, inputs);
}

/// The same of code for a generation of GPUs, as close as said.
fn agrees_on(generation: Generation, close: Tolerance, name: &str, module: &Module, inputs: &[Tensor]) {
    let config = Config { winograd: WinogradUse::Never, generation, ..Config::default() };
    let expected = evaluate(module, module.predict().expect("a function"), inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut first: Option<Vec<Tensor>> = None;
    for seed in SCHEDULES {
        let mut session = on_device(module, &ModelFacts::default(), &config, 100 * seed).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = session.run(inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found.floats().iter().all(|value| value.is_finite()), "{name}, output {at}");
            let apart = difference(found, expected, close);
            assert!(apart.is_none(), "{name}, schedule {seed}, output {at}: {}", apart.unwrap_or_default());
        }
        match &first {
            None => first = Some(found),
            Some(first) => {
                let same = first.iter().zip(&found).all(|(a, b)| a.bytes() == b.bytes());
                assert!(same, "{name}: schedule {seed} gives other bits");
            }
        }
    }
}

#[test]
fn a_cnn_agrees_with_the_reference() {
    let module = example("mnist_cnn").initialised().expect("it fits");
    let image = tensor(DType::F32, &[3, 28, 28, 1], Fill::Ordinary, None, &mut Random::new(1));
    agrees("mnist_cnn", &module, &[image]);
}

#[test]
fn a_step_of_training_of_a_cnn_agrees_with_the_reference() {
    let model = example("mnist_cnn");
    let plan = planned(&model);
    let image = tensor(DType::F32, &[3, 28, 28, 1], Fill::Ordinary, None, &mut Random::new(1));
    let inputs = first_step(&plan, &model, vec![image, Tensor::i64(&[3], &[4, 0, 9])]);
    agrees("training mnist_cnn", &plan.step, &inputs);
}

#[test]
fn a_layer_of_bert_agrees_with_the_reference() {
    let model = parse("test.toml", "bert", BERT, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let module = model.initialised().expect("it fits");
    let x = tensor(DType::F32, &[1, 5, 768], Fill::Ordinary, None, &mut Random::new(2));
    agrees("a layer of BERT", &module, &[x]);
}

#[test]
fn projections_of_one_input_are_one_kernel() {
    let mut module = parse_module("projections", PROJECTIONS, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    for (number, parameter) in module.parameters.values_mut().enumerate() {
        parameter.value = Some(tensor(DType::F32, &[768, 768], Fill::Ordinary, None, &mut Random::new(number as u64)));
    }
    let kernels = |config: &Config| {
        let compiled = compile_ptx(&module, &ModelFacts::default(), config).unwrap_or_else(|errors| panic!("{errors:?}"));
        compiled.plan.main.steps.len()
    };
    let apart = kernels(&Config { optimise: None, ..Config::default() });
    assert_eq!((apart, kernels(&Config::default())), (3, 2), "products are joined, and one kernel reads their parts");
}

#[test]
fn an_lstm_agrees_with_the_reference() {
    let module = example("lstm").initialised().expect("it fits");
    let x = tensor(DType::F32, &[5, 3, 128], Fill::Ordinary, None, &mut Random::new(3));
    agrees("lstm", &module, &[x]);
}

#[test]
fn images_of_half_floats_agree_with_the_reference() {
    let mut module = parse_module("images", IMAGES, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut random = Random::new(4);
    for parameter in module.parameters.values_mut() {
        let shape: Vec<usize> = parameter.ty.shape.iter().map(|dim| dim.as_const().expect("a number") as usize).collect();
        let scale = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| scale * (2.0 * random.unit() - 1.0)).collect();
        parameter.value = Some(Tensor::from_floats(DType::BF16, shape, values));
    }
    let x = tensor(DType::BF16, &[3, 24, 11, 9], Fill::Ordinary, None, &mut random);
    agrees_on(Generation::OLDEST, CLOSE_HALVES, "images", &module, std::slice::from_ref(&x));
    agrees_on(Generation::HOPPER, CLOSE_HALVES, "images on Hopper", &module, &[x]);
    let hopper = Config { generation: Generation::HOPPER, ..Config::default() };
    let compiled = compile_ptx(&module, &ModelFacts::default(), &hopper).unwrap_or_else(|errors| panic!("{errors:?}"));
    let by_warpgroups = compiled.kernels.text.split(".entry").filter(|kernel| kernel.contains("wgmma")).count();
    assert_eq!(by_warpgroups, 3, "the two convolutions that read what another one made, and the first one, whose image is written out");
}
