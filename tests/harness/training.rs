//! Networks that are trained here: compiled, driven over data, written as programs.

use kiln::arrays::to_tensor;
use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::WeightsChoice;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::frontend::model::{Language, Model, parse};
use kiln::pipeline::Config;
use kiln::training::compiled::CompiledTrainer;
use kiln::training::{TrainingPlan, plan};
use kiln_ir::{DType, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::data::DataOptions;
use kiln_runtime::training::run::{TrainOptions, Trainer, train};
use kiln_runtime::training::stepper::Functions;
use std::path::Path;

/// The network of a model file.
pub fn network(text: &str) -> Model {
    parse("net.toml", "net", text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The functions of its trainer.
pub fn planned(model: &Model) -> TrainingPlan {
    plan(model, model.config.as_ref().expect("it says how")).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The inputs of the first step of training on these data: key of random numbers, learning rate, number of the step, and first values.
pub fn first_step(plan: &TrainingPlan, model: &Model, data: Vec<Tensor>) -> Vec<Tensor> {
    let numbers = [Tensor::from_ints(DType::U64, vec![], [7]), Tensor::from_floats(DType::F64, vec![], [0.01]), Tensor::i64(&[], &[1])];
    let values = plan.first_values(model).unwrap_or_else(|error| panic!("{error}"));
    let values = values.iter().map(to_tensor);
    data.into_iter().chain(numbers).chain(values).collect()
}

/// Those compiled for this machine.
pub fn compiled(plan: &TrainingPlan) -> CompiledTrainer {
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let facts = ModelFacts { name: "net".into(), ..ModelFacts::default() };
    plan.compile(&target, &facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Trains on data in this process, on two threads, and gives what was told.
pub fn train_on(model: &Model, data: &DataOptions, out: &Path, options: TrainOptions) -> Result<String, String> {
    let plan = planned(model);
    let pool = ThreadPool::new(2);
    let [step, evaluation, trace] = compiled(&plan).load(&pool).expect("it loads");
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let trainer = Trainer { recipe: plan.recipe, functions, start: None };
    let options = TrainOptions { data: data.clone(), out: out.to_path_buf(), ..options };
    let mut told = Vec::new();
    train(trainer, &options, &pool, &mut told).map_err(|failure| format!("{failure:?}"))?;
    Ok(String::from_utf8(told).expect("text"))
}

/// The same of data that are read as usual.
pub fn run_here(model: &Model, data: &Path, out: &Path, options: TrainOptions) -> Result<String, String> {
    train_on(model, &DataOptions { place: data.to_path_buf(), ..DataOptions::default() }, out, options)
}

/// Writes the trainer as a program.
pub fn write_trainer(model: &Model, program: &Path) {
    let plan = planned(model);
    compiled(&plan).write(&plan.recipe, None, WeightsChoice::Embed, program, &ThreadPool::new(2)).unwrap_or_else(|error| panic!("{error}"));
}

/// An array of the first of these values.
pub fn array(dtype: DType, shape: &[usize], values: impl Iterator<Item = f64>) -> Array {
    let mut array = Array::zeroed(dtype, shape.to_vec()).expect("small");
    values.take(array.len()).enumerate().for_each(|(i, value)| array.set_f64(i, value));
    array
}

/// The values of an array.
pub fn values(array: &Array) -> Vec<f64> {
    (0..array.len()).map(|i| array.get_f64(i)).collect()
}
