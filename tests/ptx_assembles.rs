//! Every kernel that is emitted as PTX assembles, without spills and without advice (`C75xx`), for each generation of GPUs: of all
//! operators, of random graphs, of the example networks and of their steps of training.
//!
//! `KILN_PTXAS` names the assembler, of CUDA 13.0; without it nothing is assembled, and each test says so. `KILN_CASES` names a list of
//! directories of ONNX cases and `KILN_MODELS` a directory of ONNX models, of which the same holds.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::generation::Generation;
use kiln::compile::compile_ptx;
use kiln::frontend::model::{Language, parse};
use kiln::frontend::onnx::{Options, import};
use kiln::pipeline::Config;
use kiln::training::plan;
use kiln::tuning::{Answers, Subject, Tuning};
use kiln_ir::ops::Example;
use kiln_ir::{DType, Dim, Graph, Module, Op};
use kiln_tests::attention_cases;
use kiln_tests::bless::repository;
use kiln_tests::block_cases::{self, CASES, MATRIX_CASES, SPLIT_CASES, STREAM_CASES, TF32_CASES};
use kiln_tests::instances;
use kiln_tests::random_graphs;
use kiln_tests::recurrent_cases::{self, by_one_kernel};
use kiln_tests::row_cases::ROW_CASES;
use kiln_tests::samples::Random;
use kiln_tests::warpgroup_cases::{TF32_WARPGROUP_CASES, WARPGROUP_CASES, brought_by_the_engine};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architectures, each with a version of the language that knows it.
const TARGETS: [(&str, &str); 4] = [("sm_80", "7.8"), ("sm_90a", "8.0"), ("sm_100", "8.6"), ("sm_120", "8.7")];

/// What kernels declare for all of a module.
const SHARED_AT_LAUNCH: &str = ".extern .shared .align 1024 .b8 shared_at_launch0[];\n";

/// Kernels of one file: starting the assembler takes longer than a kernel does.
const KERNELS_AT_ONCE: usize = 200;

fn assembler() -> Option<PathBuf> {
    let path = std::env::var_os("KILN_PTXAS").filter(|named| !named.is_empty()).map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: KILN_PTXAS names no assembler");
    }
    path
}

/// Bodies of kernels, each once.
#[derive(Default)]
struct Kernels(BTreeSet<String>);

impl Kernels {
    /// Adds those of a module. Errors: why there is no PTX.
    fn add(&mut self, module: &Module, facts: &ModelFacts) -> Result<(), String> {
        self.add_as(module, facts, &Config::default())
    }

    /// The same as this says, for each generation.
    fn add_as(&mut self, module: &Module, facts: &ModelFacts, config: &Config) -> Result<(), String> {
        for generation in [Generation::OLDEST, Generation::HOPPER] {
            let config = Config { generation, ..config.clone() };
            let compiled = compile_ptx(module, facts, &config).map_err(|errors| format!("{errors:?}"))?;
            // Each follows a comment, as does the head.
            for kernel in compiled.kernels.text.split("\n// ").skip(1) {
                let (_, rest) = kernel.split_once(".entry ").expect("a kernel has an entry");
                let (_, body) = rest.split_once('(').expect("an entry has parameters");
                let body = body.trim_end();
                // How it begins and ends is all that tells most kernels from those for older ones.
                let is_plain = |line: &&str| body.contains("wgmma") || !line.contains("griddepcontrol");
                self.0.insert(body.lines().filter(is_plain).collect::<Vec<_>>().join("\n"));
            }
        }
        Ok(())
    }

    /// What the assembler says of all of them.
    fn assemble(&self, ptxas: &PathBuf) {
        let place = tempfile::tempdir().expect("a directory");
        let mut wrong = Vec::new();
        for (arch, version) in TARGETS {
            // What Hopper alone has, others refuse; clusters came with it.
            let is_for = |body: &&String| match arch {
                "sm_90a" => true,
                "sm_80" => !body.contains("wgmma") && !body.contains(".explicitcluster"),
                _ => !body.contains("wgmma"),
            };
            let bodies: Vec<&String> = self.0.iter().filter(is_for).collect();
            for (number, bodies) in bodies.chunks(KERNELS_AT_ONCE).enumerate() {
                let mut text = format!(".version {version}\n.target {arch}\n.address_size 64\n{SHARED_AT_LAUNCH}");
                for (at, body) in bodies.iter().enumerate() {
                    text += &format!(".visible .entry k{at}({body}\n");
                }
                let file = place.path().join(format!("{number}_{arch}.ptx"));
                std::fs::write(&file, text).expect("writes");
                let mut command = Command::new(ptxas);
                command.arg(format!("-arch={arch}")).args(["-warn-spills", "-Werror", "-o"]).arg(file.with_extension("cubin")).arg(&file);
                let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", ptxas.display()));
                let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                if !output.status.success() || said.contains("(C75") {
                    let first: String = said.lines().take(4).collect::<Vec<_>>().join("\n");
                    let culprit = bodies.iter().enumerate().find(|(at, _)| said.contains(&format!("'k{at}'"))).map_or("", |(_, body)| body);
                    wrong.push(format!("{arch}: {first}\n{culprit}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{} files of {} kernels are refused, the first:\n{}", wrong.len(), self.0.len(), wrong[0]);
    }
}

fn module_of(graph: Graph) -> Module {
    let mut module = Module { name: "law".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph);
    module
}

/// The example with its symbols open, where its inputs define them all, and at sizes unlike each other.
fn graphs(example: &Example) -> Vec<Graph> {
    let function = instances::function(example).unwrap_or_else(|(label, message)| panic!("{message} ({label})"));
    let symbols = instances::sizes(example).pop().expect("there are sizes");
    let open = instances::bind_undefined(&function, &symbols);
    let fixed = function.map_dims(&mut |d| d.substitute(&|s| symbols.get(s).map(|v| Dim::from(*v))));
    vec![open, fixed]
}

#[test]
fn kernels_of_every_operator_assemble() {
    let Some(ptxas) = assembler() else { return };
    let (mut kernels, mut left) = (Kernels::default(), BTreeSet::new());
    let mut examples = Op::all_examples();
    examples.retain(|(_, example)| example.rejected.is_none());
    left.extend(examples.iter().map(|(name, _)| *name));
    for (name, example) in &examples {
        for graph in graphs(example) {
            // An artefact takes its symbols from whole axes of its inputs, and some sizes break what an example promises of them.
            if kernels.add(&module_of(graph), &ModelFacts::default()).is_ok() {
                left.remove(name);
            }
        }
    }
    assert!(left.is_empty(), "of no example of these there is PTX: {left:?}");
    assert!(kernels.0.len() > 500, "{}", kernels.0.len());
    kernels.assemble(&ptxas);
}

#[test]
fn kernels_of_random_graphs_assemble() {
    let Some(ptxas) = assembler() else { return };
    let mut kernels = Kernels::default();
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let module = random_graphs::module([DType::F32, DType::F64, DType::I32, DType::F16][seed as usize % 4], &mut random);
        kernels.add(&module, &ModelFacts::default()).unwrap_or_else(|error| panic!("graph {seed}: {error}"));
    }
    kernels.assemble(&ptxas);
}

#[test]
fn kernels_of_blocks_assemble() {
    let Some(ptxas) = assembler() else { return };
    let mut kernels = Kernels::default();
    let cases = CASES.iter().chain(MATRIX_CASES).chain(SPLIT_CASES).chain(STREAM_CASES).chain(ROW_CASES).chain(WARPGROUP_CASES);
    for case in cases {
        kernels.add(&block_cases::module(case), &block_cases::facts(case)).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
    for case in TF32_CASES.iter().chain(TF32_WARPGROUP_CASES) {
        let tf32 = Config { tf32: true, ..Config::default() };
        let added = kernels.add_as(&block_cases::module(case), &block_cases::facts(case), &tf32);
        added.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
    for (tf32, cases) in [(false, WARPGROUP_CASES), (true, TF32_WARPGROUP_CASES)] {
        let config = Config { tf32, generation: Generation::HOPPER, ..Config::default() };
        for case in cases {
            for way in brought_by_the_engine(case, &config) {
                let added = kernels.add_as(&block_cases::module(case), &block_cases::facts(case), &way);
                added.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            }
        }
    }
    assert!(kernels.0.iter().any(|body| body.contains("cp.async.bulk.tensor")));
    kernels.assemble(&ptxas);
}

#[test]
fn kernels_of_attention_assemble() {
    let Some(ptxas) = assembler() else { return };
    let mut kernels = Kernels::default();
    for case in attention_cases::CASES.iter().chain(attention_cases::MATRIX_CASES) {
        let (module, facts) = (attention_cases::module(case), attention_cases::facts(case));
        kernels.add(&module, &facts).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let overlapped = Config { tuning: Tuning::known(Answers::new()).trial(Subject::Tile, 1), ..Config::default() };
        kernels.add_as(&module, &facts, &overlapped).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
    assert!(kernels.0.iter().any(|body| body.contains("wgmma.wait_group.sync.aligned 1;")));
    kernels.assemble(&ptxas);
}

#[test]
fn kernels_that_take_whole_loops_assemble() {
    let Some(ptxas) = assembler() else { return };
    let mut kernels = Kernels::default();
    for case in recurrent_cases::CASES {
        let ways = (0..case.clusters.len()).map(|place| case.by_clusters(place));
        for way in ways.chain(case.clusters.contains(&1).then(|| by_one_kernel(1))) {
            kernels.add_as(&case.module(), &case.facts(), &way).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
    }
    assert!(kernels.0.iter().any(|body| body.contains("barrier.cluster.wait")));
    kernels.assemble(&ptxas);
}

#[test]
fn kernels_of_example_networks_and_of_their_training_assemble() {
    let Some(ptxas) = assembler() else { return };
    let mut kernels = Kernels::default();
    for name in ["fashion/cnn", "fashion/deep", "fashion/mlp", "fashion/gru", "networks/lstm", "networks/text_transformer"] {
        let path = repository().join(format!("examples/{name}.toml"));
        let text = std::fs::read_to_string(&path).expect("it is there");
        let model = parse("test.toml", "test", &text, Language::Toml).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        kernels.add(&model.module, &ModelFacts::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan = plan(&model, model.config.as_ref().expect("it says how")).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let facts = ModelFacts { states: plan.recipe.states.len(), ..ModelFacts::default() };
        kernels.add(&plan.step, &facts).unwrap_or_else(|error| panic!("training {name}: {error}"));
    }
    kernels.assemble(&ptxas);
}

/// Adds the kernels of a model file, unless no backend takes it. Errors: there is no PTX.
fn add_file(path: &Path, kernels: &mut Kernels) -> Result<(), String> {
    match import(path, &Options { name: "model".into(), ..Options::default() }) {
        Ok(module) => kernels.add(&module, &ModelFacts::default()).map_err(|error| format!("{}: {error}", path.display())),
        Err(_) => Ok(()),
    }
}

#[test]
fn kernels_of_onnx_cases_assemble() {
    let Some(ptxas) = assembler() else { return };
    let Some(list) = std::env::var_os("KILN_CASES") else {
        eprintln!("skipped: KILN_CASES names no list of cases");
        return;
    };
    let list = std::fs::read_to_string(list).expect("the list is there");
    let mut kernels = Kernels::default();
    for case in list.lines().filter(|line| !line.is_empty()) {
        add_file(&Path::new(case).join("model.onnx"), &mut kernels).unwrap_or_else(|error| panic!("{error}"));
    }
    println!("{} kernels", kernels.0.len());
    kernels.assemble(&ptxas);
}

#[test]
fn kernels_of_onnx_models_assemble() {
    let Some(ptxas) = assembler() else { return };
    let Some(place) = std::env::var_os("KILN_MODELS") else {
        eprintln!("skipped: KILN_MODELS names no directory of models");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(place).expect("it is there").map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    assert!(!files.is_empty(), "there are no models");
    files.sort();
    let mut kernels = Kernels::default();
    for path in &files {
        let before = kernels.0.len();
        add_file(path, &mut kernels).unwrap_or_else(|error| panic!("{error}"));
        assert!(kernels.0.len() > before, "{}: no kernel of its own", path.display());
    }
    println!("{} kernels of {} models", kernels.0.len(), files.len());
    kernels.assemble(&ptxas);
}
