//! Training against PyTorch (`files/torch`): what layers give in training mode and their gradients, then whole steps with losses,
//! bounds, optimisers and running statistics, all compiled.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::schema::schema;
use kiln::frontend::model::{Language, Model, parse};
use kiln::pipeline::Config;
use kiln::training::{LOSS, OBJECTIVE, objective};
use kiln_ir::graph::Parameter;
use kiln_ir::{DType, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::Npz;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::recipe::Slot;
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::steps::{Trained, numbers, train};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The types that networks are computed in, and how far results may be from PyTorch's in f64.
const PRECISIONS: [(DType, Tolerance); 2] =
    [(DType::F64, Tolerance { absolute: 1e-10, relative: 1e-10 }), (DType::F32, Tolerance { absolute: 1e-5, relative: 1e-5 })];

/// A network, and what PyTorch computes of it: see `files/torch/make.py`.
struct Case {
    name: String,
    model: Model,
    dtype: DType,
    arrays: Npz,
}

impl Case {
    fn read(path: &Path, dtype: DType) -> Case {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}"));
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let model = parse(&name, &name, &format!("dtype = \"{dtype}\"\n{text}"), Language::Toml);
        let model = model.unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let arrays = Npz::open(&path.with_extension("npz")).unwrap_or_else(|error| panic!("{error}"));
        Case { name, model, dtype, arrays }
    }

    fn array(&mut self, name: &str) -> Option<Array> {
        self.arrays.read(name).unwrap_or_else(|error| panic!("{error}"))
    }

    fn flat(&mut self, name: &str) -> Vec<f64> {
        let array = self.array(name).unwrap_or_else(|| panic!("{}: no array {name}", self.name));
        numbers(&array)
    }

    /// Parameters by name, as an array has them one behind the other.
    fn parameters(&mut self, name: &str) -> BTreeMap<String, Vec<f64>> {
        let values = self.flat(name);
        let mut rest = &values[..];
        let mut found = BTreeMap::new();
        for (name, info) in &self.model.parameters {
            let (own, others) = rest.split_at(info.slot(name).shape.iter().product());
            found.insert(name.clone(), own.to_vec());
            rest = others;
        }
        assert!(rest.is_empty(), "{}: {name} has more numbers than the network", self.name);
        found
    }

    /// The batch of a step.
    fn batch(&mut self, name: &str, step: usize) -> Tensor {
        let array = self.array(name).unwrap_or_else(|| panic!("{}: no array {name}", self.name));
        let (steps, shape) = array.shape().split_first().expect("steps are first");
        let size = array.len() / steps;
        let values = (step * size..(step + 1) * size).map(|i| array.get_f64(i));
        match array.dtype().is_float() {
            true => Tensor::from_floats(self.dtype, shape.to_vec(), values),
            false => Tensor::from_ints(array.dtype(), shape.to_vec(), values.map(|value| value as i128)),
        }
    }
}

fn cases(dtype: DType) -> Vec<Case> {
    let folder = repository().join("tests/files/torch");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    paths.iter().map(|path| Case::read(path, dtype)).collect()
}

fn host() -> CpuTarget {
    CpuTarget::host(CpuLevel::Native).expect("this machine")
}

/// The first difference between numbers, in words.
fn apart(found: Vec<f64>, expected: Vec<f64>, tolerance: Tolerance) -> Option<String> {
    let [found, expected] = [found, expected].map(|values| Tensor::from_floats(DType::F64, vec![values.len()], values));
    difference(&found, &expected, tolerance)
}

/// What the network gives in training mode, its loss, and the gradients by parameters and inputs.
fn compare_gradients(case: &mut Case, tolerance: Tolerance, pool: &ThreadPool, complaints: &mut Vec<String>) {
    let name = case.name.clone();
    let graph = objective(&case.model, case.model.config.as_ref().expect("it says how")).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let network = case.model.module.predict().expect("it predicts").clone();
    let smooth = network.inputs().iter().filter(|(_, value)| network.ty(*value).dtype.is_float());
    let parameters = case.model.parameters.iter().filter(|(_, info)| info.trainable).map(|(name, _)| Variable::Parameter(name.clone()));
    let by: Vec<Variable> = parameters.chain(smooth.map(|(name, _)| Variable::Input(name.clone()))).collect();
    let gradient = differentiate(&graph, &[OBJECTIVE], &by).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));

    let inputs: Vec<Tensor> = gradient
        .inputs()
        .iter()
        .map(|(input, value)| match gradient.ty(*value).dtype {
            DType::U64 => Tensor::from_ints(DType::U64, vec![], [3]),
            _ if input.starts_with("target/") => case.batch(input, 0),
            _ => case.batch(&format!("x/{input}"), 0),
        })
        .collect();
    let mut module = Module { name: "gradient".into(), ..Module::default() };
    for (parameter, values) in case.parameters("start") {
        let Slot { dtype, shape, .. } = case.model.parameters[&parameter].slot(&parameter);
        let value = Tensor::from_floats(dtype, shape, values);
        module.parameters.insert(parameter, Parameter { ty: value.ty(), value: Some(value) });
    }
    let outputs: Vec<String> = gradient.outputs().iter().map(|(output, _)| output.clone()).collect();
    module.functions.insert("predict".into(), gradient);
    let compiled = compile(&module, host(), ModelFacts::default(), &Config::default()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let predictor = compiled.predictor(pool).expect("it loads");
    let found = predictor.run(&inputs, pool).unwrap_or_else(|error| panic!("{name}: {error}"));
    let flat = |tensors: &[Tensor]| tensors.iter().flat_map(Tensor::floats).collect::<Vec<f64>>();
    let loss = outputs.iter().position(|output| output == LOSS).expect("it was added");
    for (what, found, expected) in [
        ("outputs", flat(&found[..network.outputs().len()]), case.flat("outputs")),
        ("loss", flat(&found[loss..=loss]), case.flat("losses")[..1].to_vec()),
        ("gradient", flat(&found[found.len() - by.len()..]), case.flat("gradient")),
    ] {
        complaints.extend(apart(found, expected, tolerance).map(|apart| format!("{name}, {what}: {apart}")));
    }
}

/// The losses of some steps, and parameters, running statistics and running means after them.
fn compare_steps(case: &mut Case, tolerance: Tolerance, _: &ThreadPool, complaints: &mut Vec<String>) {
    let name = case.name.clone();
    let (model, config) = (case.model.clone(), case.model.config.clone().expect("it says how"));
    let (start, expected) = (case.parameters("start"), case.flat("losses"));
    let Trained { losses, states, .. } = train(&model, &config, &start, expected.len(), &mut |slot, step| {
        let tensor = case.batch(&format!("{}/{}", if slot.is_target { "target" } else { "x" }, slot.name), step);
        Array::from_bytes(tensor.dtype(), tensor.shape().to_vec(), tensor.bytes()).expect("small")
    });
    complaints.extend(apart(losses, expected, tolerance).map(|apart| format!("{name}, losses: {apart}")));
    for (parameter, expected) in case.parameters("end") {
        let apart = apart(states[&parameter].clone(), expected, tolerance);
        complaints.extend(apart.map(|apart| format!("{name}, after all steps, {parameter}: {apart}")));
    }
    if config.ema.is_some() {
        let averages = states.iter().filter(|(state, _)| state.ends_with("/average")).flat_map(|(_, values)| values.clone());
        let apart = apart(averages.collect(), case.flat("average"), tolerance);
        complaints.extend(apart.map(|apart| format!("{name}, running means: {apart}")));
    }
}

fn compare_all(precisions: &[(DType, Tolerance)], compare: fn(&mut Case, Tolerance, &ThreadPool, &mut Vec<String>)) {
    let (pool, mut complaints) = (ThreadPool::new(2), Vec::new());
    for (dtype, tolerance) in precisions {
        for mut case in cases(*dtype) {
            case.name = format!("{} in {dtype}", case.name);
            compare(&mut case, *tolerance, &pool, &mut complaints);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn outputs_and_gradients_in_training_mode_are_those_of_pytorch() {
    compare_all(&PRECISIONS, compare_gradients);
}

#[test]
fn steps_end_where_those_of_pytorch_do() {
    // In f32 an update that divides by small gradients may be far off at once.
    compare_all(&PRECISIONS[..1], compare_steps);
}

#[test]
fn every_layer_loss_and_optimiser_is_compared() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).expect("JSON");
    let mut words = Vec::new();
    let mut collect = |schemas: &serde_json::Value| {
        let tables = schemas.as_array().into_iter().flatten();
        words.extend(tables.filter_map(|table| table["properties"]["type"]["const"].as_str()).map(str::to_string));
    };
    collect(&schema["definitions"]["layer"]["anyOf"]);
    let train = &schema["properties"]["train"]["properties"];
    collect(&train["optimiser"]["anyOf"]);
    collect(&train["loss"]["anyOf"][0]["anyOf"]);
    assert!(words.len() > 55, "{words:?}");
    let texts: String = std::fs::read_dir(repository().join("tests/files/torch"))
        .unwrap_or_else(|error| panic!("{error}"))
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| std::fs::read_to_string(path).expect("text"))
        .collect();
    words.retain(|word| !texts.contains(&format!("\"{word}\"")));
    // PyTorch draws other random numbers; slopes and their own tests are about them.
    assert_eq!(words, ["dropout", "word_dropout", "spec_augment"]);
}
