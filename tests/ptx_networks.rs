//! Whole networks as PTX, run by the interpreter from their text: a CNN and a step of its training, a layer of BERT, an LSTM. They give
//! what the reference interpreter gives, and the same bits however threads are scheduled.

use kiln::artifact::describe::ModelFacts;
use kiln::frontend::model::{Language, Model, load, parse};
use kiln::pipeline::Config;
use kiln::schedule::winograd::WinogradUse;
use kiln_ir::eval::evaluate;
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

fn example(name: &str) -> Model {
    load(&repository().join(format!("examples/networks/{name}.toml")), Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The reference's values by every schedule, and all schedules the same bits.
fn agrees(name: &str, module: &Module, inputs: &[Tensor]) {
    let config = Config { winograd: WinogradUse::Never, ..Config::default() };
    let expected = evaluate(module, module.predict().expect("a function"), inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut first: Option<Vec<Tensor>> = None;
    for seed in SCHEDULES {
        let mut session = on_device(module, &ModelFacts::default(), &config, 100 * seed).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = session.run(inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found.floats().iter().all(|value| value.is_finite()), "{name}, output {at}");
            let apart = difference(found, expected, CLOSE);
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
fn an_lstm_agrees_with_the_reference() {
    let module = example("lstm").initialised().expect("it fits");
    let x = tensor(DType::F32, &[5, 3, 128], Fill::Ordinary, None, &mut Random::new(3));
    agrees("lstm", &module, &[x]);
}
