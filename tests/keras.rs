//! Keras models: every layer with its options against what Keras computes (`files/keras/make.py`), files of three formats, configs
//! without weights, and damaged files.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::keras::layers::CLASSES;
use kiln::frontend::keras::operations::OPERATIONS;
use kiln::frontend::keras::training::Setting;
use kiln::frontend::keras::{Imported, load, parse};
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate;
use kiln_ir::verify::verify_module;
use kiln_ir::{DType, Diagnostic, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, read_npy};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::samples::Random;
use std::path::{Path, PathBuf};

/// Keras computes in f32, in another order.
const CLOSE: Tolerance = Tolerance { absolute: 1e-4, relative: 1e-4 };
/// What bfloat16 leaves: eight bits.
const COARSE: Tolerance = Tolerance { absolute: 3e-2, relative: 3e-2 };

fn file(name: &str) -> PathBuf {
    repository().join("tests/files/keras").join(name)
}

fn read(path: &Path) -> Module {
    let imported = load(path).unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
    imported.model.initialised().unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()))
}

/// The array in the element type of an input.
fn tensor(array: &Array, dtype: DType) -> Tensor {
    let values = (0..array.len()).map(|i| array.get_f64(i));
    if dtype.is_float() {
        Tensor::from_floats(dtype, array.shape().to_vec(), values)
    } else {
        Tensor::from_ints(dtype, array.shape().to_vec(), values.map(|value| value as i128))
    }
}

/// How results are computed.
type Executor = fn(&Module, &[Tensor]) -> Vec<Tensor>;

fn reference(module: &Module, inputs: &[Tensor]) -> Vec<Tensor> {
    evaluate(module, module.predict().expect("it predicts"), inputs).unwrap_or_else(|error| panic!("{error}"))
}

fn compiled(module: &Module, inputs: &[Tensor]) -> Vec<Tensor> {
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let facts = ModelFacts { name: module.name.clone(), ..ModelFacts::default() };
    let compiled = compile(module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(2);
    let predictor = compiled.predictor(&pool).expect("it loads");
    predictor.run(inputs, &pool).unwrap_or_else(|error| panic!("{error}"))
}

/// Compares every output of a model with the arrays beside it.
fn compare(name: &str, tolerance: Tolerance, executor: Executor) -> Vec<String> {
    let module = read(&file(name));
    verify_module(&module).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let stem = name.split('.').next().expect("it has a name");
    let mut arrays = Npz::open(&file(&format!("{stem}.npz"))).unwrap_or_else(|error| panic!("{error}"));
    let mut array = |name: &str| arrays.read(name).unwrap_or_else(|error| panic!("{error}"));
    let graph = module.predict().expect("it predicts");
    let inputs: Vec<Tensor> = graph
        .inputs()
        .iter()
        .map(|(input, value)| tensor(&array(input).unwrap_or_else(|| panic!("{name}: no input {input}")), graph.ty(*value).dtype))
        .collect();
    let found = executor(&module, &inputs);
    let mut complaints = Vec::new();
    for (position, ((output, _), found)) in graph.outputs().iter().zip(&found).enumerate() {
        let expected = array(&format!("output_{position}")).or_else(|| array(&format!("output_{output}")));
        let expected = expected.unwrap_or_else(|| panic!("{name}: no output {position} ({output})"));
        let apart = difference(found, &tensor(&expected, found.dtype()), tolerance);
        complaints.extend(apart.map(|apart| format!("{name}: output {position} ({output}): {apart}")));
    }
    complaints
}

/// The models with what they may be apart.
const MODELS: &[(&str, Tolerance)] = &[
    ("affine.keras", CLOSE),
    ("convolution.keras", CLOSE),
    ("convolution_transpose.keras", CLOSE),
    ("pooling.keras", CLOSE),
    ("normalisation.keras", CLOSE),
    ("activation.keras", CLOSE),
    ("shape.keras", CLOSE),
    ("recurrent.keras", CLOSE),
    ("attention.keras", CLOSE),
    ("merge.keras", CLOSE),
    ("operations.keras", CLOSE),
    ("nested.keras", CLOSE),
    ("nested_old.h5", CLOSE),
    ("trained.keras", CLOSE),
    ("mixed.keras", COARSE),
    ("keras2_functional.h5", CLOSE),
    ("keras2_archive.keras", CLOSE),
    ("keras2_sequential.h5", CLOSE),
    ("keras2_double.keras", CLOSE),
];

fn compare_all(executor: Executor) {
    let complaints: Vec<String> = MODELS.iter().flat_map(|(name, tolerance)| compare(name, *tolerance, executor)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_layer_computes_what_keras_does() {
    compare_all(reference);
}

#[test]
fn compiled_code_computes_what_keras_does() {
    compare_all(compiled);
}
