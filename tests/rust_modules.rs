//! Rust modules of compiled models, used by programs that rustc compiles with nothing else.

use kiln::artifact::describe::ModelFacts;
use kiln::artifact::rust_module::rust_module;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::{Compiled, compile};
use kiln::frontend::model::{Language, Model, parse};
use kiln::pipeline::Config;
use kiln::training::plan;
use kiln_ir::artifact::{Extent, Signature, TensorDecl, WeightsDecl, WeightsLocation};
use kiln_ir::{DType, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::steps;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

fn network(text: &str) -> Model {
    parse("net.toml", "net", text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn compiled(module: &kiln_ir::Module, facts: ModelFacts) -> Compiled {
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    compile(module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// What a program prints whose modules lie in `place`.
fn run(place: &Path, main: &str) -> Vec<String> {
    fs::write(place.join("main.rs"), main).expect("it is written");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "-D", "warnings", "main.rs", "-L", "native=.", "-o", "program"]).current_dir(place);
    let told = rustc.output().expect("a Rust compiler");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = Command::new(place.join("program")).output().expect("it runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn a_predictor_is_called_by_the_names_of_its_inputs() {
    let place = tempfile::tempdir().expect("a place for files");
    let model = network(
        "name = 'net'\nseed = 3\ninput = [{ name = 'x', shape = ['time', 4] }, { name = 'type', shape = [3], dtype = 'i64' }]\n\
         outputs = ['y', 'z']\n\
         layer = [{ type = 'conv1d', inputs = ['turned'], filters = 2, kernel = 3, strides = 2, name = 'y' },\n\
         { type = 'embedding', inputs = ['type'], vocabulary = 5, features = 2, name = 'z' }]"
            .replace("layer = [", "layer = [{ type = 'permute', inputs = ['x'], order = [2, 1], name = 'turned' },\n")
            .as_str(),
    );
    let module = model.initialised().unwrap_or_else(|errors| panic!("{errors:?}"));
    let facts = ModelFacts { name: "net".into(), ..ModelFacts::default() };
    let compiled = compiled(&module, facts);
    let pool = ThreadPool::new(2);
    compiled.write_rust(&place.path().join("net.rs"), None, &pool).unwrap_or_else(|error| panic!("{error}"));
    let lines = run(
        place.path(),
        "mod net;
        fn main() {
            let mut network = net::Net::new(net::Sizes { batch: 2, time: 9 }).unwrap();
            let x: Vec<f32> = (0..2 * 9 * 4).map(|i| (i as f32 * 0.37).sin()).collect();
            let mut outputs = network.outputs();
            assert_eq!((outputs.y.len(), outputs.z.len()), (2 * 2 * 4, 2 * 3 * 2));
            network.predict(&net::Inputs { x: &x, type_: &[0, 4, 1, 2, 3, 3] }, &mut outputs).unwrap();
            outputs.y.iter().chain(&outputs.z).for_each(|value| println!(\"{value:?}\"));
            let told = network.predict(&net::Inputs { x: &x[1..], type_: &[0; 6] }, &mut outputs).unwrap_err();
            println!(\"{told}\");
            outputs.z.pop();
            println!(\"{}\", network.predict(&net::Inputs { x: &x, type_: &[0; 6] }, &mut outputs).unwrap_err());
            outputs = network.outputs();
            println!(\"{}\", network.predict(&net::Inputs { x: &x, type_: &[9; 6] }, &mut outputs).unwrap_err());
        }",
    );
    let x = Tensor::from_floats(DType::F32, vec![2, 9, 4], (0..72).map(|i| f64::from((i as f32 * 0.37).sin())));
    let inputs = [x, Tensor::i64(&[2, 3], &[0, 4, 1, 2, 3, 3])];
    let expected = compiled.predictor(&pool).expect("it loads").run(&inputs, &pool).expect("it runs");
    let expected: Vec<f64> = expected.iter().flat_map(Tensor::floats).collect();
    let (numbers, told) = lines.split_at(expected.len());
    let found: Vec<f64> = numbers.iter().map(|line| f64::from(line.parse::<f32>().expect("a number"))).collect();
    assert_eq!(found, expected);
    assert_eq!(told[0], "`inputs.x` has 71 elements, 72 are needed");
    assert_eq!(told[1], "`outputs.z` has 11 elements, 12 are needed");
    assert!(told[2].starts_with("an index is out of range"), "{told:?}");
}

#[test]
fn a_step_of_training_learns() {
    let place = tempfile::tempdir().expect("a place for files");
    let model = network(
        "name = 'line'\nseed = 8\noutputs = ['y']\ninput = [{ name = 'x', shape = [2] }]\n\
         layer = [{ type = 'dense', name = 'h', units = 4, activation = 'tanh' }, { type = 'dense', name = 'y', units = 1 }]\n\
         [train]\nloss = 'mse'\nfreeze = ['h.bias']\nlearning_rate = 0.05\nema = 0.5\n",
    );
    let plan = plan(&model, model.config.as_ref().expect("it says how")).unwrap_or_else(|errors| panic!("{errors:?}"));
    let facts = ModelFacts { name: "line_train_step".into(), states: plan.recipe.states.len(), ..ModelFacts::default() };
    let compiled = compiled(&plan.step, facts);
    let start = plan.first_values(&model).expect("small");
    let frozen = plan.recipe.fixed.len();
    let written = compiled.write_rust(&place.path().join("line.rs"), Some((frozen, &start)), &ThreadPool::new(1));
    written.unwrap_or_else(|error| panic!("{error}"));
    let lines = run(
        place.path(),
        "mod line;
        fn main() {
            let x: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
            let target: Vec<f32> = x.chunks(2).map(|x| x[0] - x[1] * x[1]).collect();
            let mut step = line::LineTrainStep::new(line::Sizes { batch: 16 }).unwrap();
            let (frozen, mut states, mut outputs) = (line::Frozen::initial(), line::States::initial(), step.outputs());
            assert_eq!(states.y_weight, states.y_weight_average);
            let before = states.clone();
            for count in 1..=200 {
                let inputs = line::Inputs { x: &x, target_y: &target, key: count as u64, learning_rate: 0.05, count };
                step.step(&inputs, &frozen, &mut states, &mut outputs).unwrap();
                println!(\"{:?}\", outputs.loss);
            }
            assert_ne!(before.h_weight, states.h_weight);
        }",
    );
    let losses: Vec<f64> = lines.iter().map(|line| f64::from(line.parse::<f32>().expect("a number"))).collect();
    let values = |slot: &kiln_runtime::training::recipe::Slot, array: &Array| (slot.name.clone(), steps::numbers(array));
    let begun: BTreeMap<String, Vec<f64>> =
        plan.recipe.fixed.iter().chain(&plan.recipe.states).zip(&start).map(|(s, a)| values(s, a)).collect();
    let x: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
    let config = model.config.as_ref().expect("it says how");
    let trained = steps::train(&model, config, &begun, 200, &mut |slot, _| {
        let numbers: Vec<f32> = if slot.is_target { x.chunks(2).map(|x| x[0] - x[1] * x[1]).collect() } else { x.clone() };
        let shape = if slot.is_target { vec![16, 1] } else { vec![16, 2] };
        Array::from_bytes(DType::F32, shape.clone(), Tensor::f32(&shape, &numbers).bytes()).expect("small")
    });
    assert_eq!(losses, trained.losses);
    assert!(losses[199] < 0.2 * losses[0], "{} and {}", losses[0], losses[199]);
}

/// Names that Rust has for itself, names that become alike, sizes that are formulas, and elements that Rust has no type for.
#[test]
fn any_signature_becomes_a_module() {
    let tensor = |name: &str, dtype: DType, shape: &[Extent]| TensorDecl { name: name.into(), dtype, shape: shape.to_vec() };
    let size = |text: &str| Extent::Expression(text.into());
    let symbol = |name: &str| kiln_ir::artifact::SymbolDecl { name: name.into(), min: 0, max: None };
    let signature = Signature {
        abi_version: 1,
        name: "m_7".into(),
        compiler: "kiln".into(),
        model_sha256: String::new(),
        cpu: Vec::new(),
        symbols: vec![symbol("n"), symbol("loop")],
        inputs: vec![
            tensor("self", DType::F16, &[size("n"), size("floordiv(loop - 1, 2) + 1")]),
            tensor("a b", DType::Bool, &[size("n")]),
            tensor("a/b", DType::F64, &[size("max(n, loop)*2")]),
        ],
        outputs: vec![tensor("7 é", DType::BF16, &[size("min(n, mod(loop, 3))")])],
        guards: Vec::new(),
        nodes: Vec::new(),
        weights: WeightsDecl { bytes: 0, sha256: String::new(), location: WeightsLocation::Embedded },
        data_dependent: false,
        flops: None,
        states: 0,
        labels: None,
        image: None,
        audio: None,
        ctc: None,
        text: None,
        scores: None,
    };
    let place = tempfile::tempdir().expect("a place for files");
    fs::write(place.path().join("m.rs"), rust_module(&signature, None).expect("known sizes")).expect("it is written");
    let user = "#![crate_type = \"lib\"]\npub mod m;\npub fn sizes(m: &mut m::M7) -> m::Outputs {\n    \
                let inputs = m::Inputs { self_: &[], a_b: &[true], a_b_2: &[0.0f64] };\n    let mut out = m.outputs();\n    \
                out.m_7.push(3u16);\n    let _ = m.predict(&inputs, &mut out);\n    let _ = m::Sizes { n: 1, loop_: 2 };\n    out\n}\n";
    fs::write(place.path().join("main.rs"), user).expect("it is written");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // Without the code of a model there is nothing to link.
    rustc.args(["--edition", "2024", "-D", "warnings", "--emit", "metadata", "main.rs"]).current_dir(place.path());
    let told = rustc.output().expect("a Rust compiler");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let depends = Signature { data_dependent: true, ..signature.clone() };
    assert!(rust_module(&depends, None).expect_err("refused").message.contains("depend on its data"));
    let open = Signature { states: 1, ..signature };
    assert!(rust_module(&open, None).expect_err("refused").message.contains("has a size that only the run knows"));
}
