//! Ways that tuning tries, in whole networks: each computes what the reference interpreter does, and so does what is found.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::{compile, compile_ptx};
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln::schedule::launches::launches;
use kiln::schedule::plan::ProgramPlan;
use kiln::tuning::network::Tune;
use kiln::tuning::search::{Outcome, Progress};
use kiln::tuning::{Answers, SUBJECTS, Subject, Tuning, gpu, kept};
use kiln_ir::eval::evaluate;
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{DType, Diagnostic, Module, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::compare::farthest;
use kiln_tests::gpu::{Interpreted, on_device};
use kiln_tests::samples::{Fill, Random, tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The largest difference allowed, relative to the largest value: that of convolutions in tiles.
const BOUND: f64 = 3e-4;

const CONVOLUTIONS: &str = "
input = [{ name = 'x', shape = [5, 13, 17] }]
layer = [
    { type = 'conv2d', filters = 11, kernel = 3, padding = 'same', activation = 'relu' },
    { type = 'conv2d', filters = 9, kernel = 3, activation = 'tanh' },
    { type = 'max_pool2d', size = 2 },
    { type = 'conv2d', filters = 8, kernel = 3, activation = 'sigmoid' },
    { type = 'flatten' },
    { type = 'dense', units = 37, activation = 'gelu' },
    { type = 'softmax' },
]
";

const SEQUENCES: &str = "
input = [{ name = 'x', shape = [7, 6] }]
layer = [
    { type = 'lstm', units = 8, return_sequences = true },
    { type = 'transformer_encoder', heads = 2, hidden = 12 },
    { type = 'layer_norm' },
]
";

/// Networks with the shape of an input.
fn networks() -> [(&'static str, Module, Vec<usize>); 2] {
    [("convolutions", CONVOLUTIONS, vec![3, 5, 13, 17]), ("sequences", SEQUENCES, vec![3, 7, 6])].map(|(name, text, shape)| {
        let model = parse("test.toml", name, text, Language::Toml).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        (name, model.initialised().unwrap_or_else(|errors| panic!("{name}: {errors:?}")), shape)
    })
}

fn input(shape: &[usize]) -> Tensor {
    tensor(DType::F32, shape, Fill::Ordinary, Some((-1.0, 1.0)), &mut Random::new(3))
}

fn agree(name: &str, module: &Module, given: &[Tensor], found: &[Tensor]) {
    let expected = evaluate(module, module.predict().expect("it predicts"), given).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (found, expected) in found.iter().zip(&expected) {
        let (apart, size) = farthest(&found.floats(), &expected.floats());
        assert!(apart <= BOUND * size, "{name}: {apart} apart of {size}");
    }
}

/// Questions of a program by their subject, with how many answers the largest has.
fn asked(plan: &ProgramPlan) -> BTreeMap<Subject, usize> {
    let mut most = BTreeMap::new();
    let decisions = launches(&plan.main.steps).into_iter().flat_map(|launch| &launch.decisions).chain(&plan.program.decisions);
    for decision in decisions {
        let most: &mut usize = most.entry(decision.subject).or_default();
        *most = decision.answers.max(*most);
    }
    most
}

#[test]
fn every_way_computes_what_the_reference_does() {
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    let mut subjects = Vec::new();
    for (name, module, shape) in networks() {
        let given = [input(&shape)];
        let run = |tuning: Tuning| {
            let config = Config { tuning, ..Config::default() };
            let facts = ModelFacts { name: "net".into(), ..ModelFacts::default() };
            let compiled = compile(&module, target.clone(), facts, &config).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            let predictor = compiled.predictor(&pools[0]).unwrap_or_else(|error| panic!("{name}: {error}"));
            let [alone, both] = pools.each_ref().map(|pool| predictor.run(&given, pool).unwrap_or_else(|error| panic!("{name}: {error}")));
            assert_eq!(alone, both, "{name}: threads change no bit");
            (asked(compiled.plan()), alone)
        };
        let model = Tuning::known(Answers::new());
        let (most, usual) = run(model.clone());
        assert_eq!(usual, run(Tuning::default()).1, "{name}: asking alone changes nothing");
        for (subject, most) in most {
            subjects.push(subject);
            for number in 1..most {
                let way = format!("{name}, {subject:?} {number}");
                let found = run(model.trial(subject, number)).1;
                agree(&way, &module, &given, &found);
                // Other graphs and convolutions in tiles round otherwise; all other ways add up the same.
                assert!(matches!(subject, Subject::Graph | Subject::Convolution) || found == usual, "{way}: other bits");
            }
        }
    }
    subjects.sort();
    subjects.dedup();
    // Loops that one kernel takes are a GPU's.
    assert_eq!([&subjects[..], &[Subject::Loop]].concat(), SUBJECTS, "all subjects are met");
}

/// Products of these inputs.
fn products(inputs: &str, pairs: &[&str]) -> Module {
    let dot = |(at, pair): (usize, &&str)| {
        format!("    %y{at} = dot {pair} {{a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}}\n")
    };
    let dots: String = pairs.iter().enumerate().map(dot).collect();
    let results: Vec<String> = (0..pairs.len()).map(|at| format!("%y{at}")).collect();
    let text = format!("module m {{\n  fn predict({inputs}) {{\n{dots}    return {}\n  }}\n}}\n", results.join(", "));
    parse_module("test", &text, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn every_tile_of_a_gpu_computes_what_the_reference_does() {
    let module = products("%x: f32[70, 66], %w: f32[66, 72], %h: bf16[130, 64], %v: bf16[64, 136]", &["%x, %w", "%h, %v"]);
    let types = [(DType::F32, [70, 66]), (DType::F32, [66, 72]), (DType::BF16, [130, 64]), (DType::BF16, [64, 136])];
    let mut random = Random::new(5);
    let given = types.map(|(dtype, shape)| tensor(dtype, &shape, Fill::Ordinary, Some((-1.0, 1.0)), &mut random));
    let facts = ModelFacts::default();
    for generation in ["sm_80", "sm_90a"].map(|name| name.parse().expect("a generation")) {
        let config = |tuning| Config { tuning, generation, ..Config::default() };
        let model = Tuning::known(Answers::new());
        let most = asked(&compile_ptx(&module, &facts, &config(model.clone())).unwrap_or_else(|errors| panic!("{errors:?}")).plan);
        assert!(most[&Subject::Tile] > 2, "{most:?}");
        for number in 1..most[&Subject::Tile] {
            let mut session = on_device(&module, &facts, &config(model.trial(Subject::Tile, number)), 7).unwrap_or_else(|e| panic!("{e}"));
            let found = session.run(&given).unwrap_or_else(|error| panic!("tile {number}: {error}"));
            let expected = evaluate(&module, module.predict().expect("it predicts"), &given).unwrap_or_else(|error| panic!("{error}"));
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let (apart, size) = farthest(&found.floats(), &expected.floats());
                // The second product is rounded to bf16, whose neighbours are 2⁻⁷ apart.
                let bound = if at == 0 { 1e-5 } else { 1.0 / 128.0 };
                assert!(apart <= bound * size, "tile {number}, output {at}: {apart} apart of {size}");
            }
        }
    }
}

/// As much as there is to measure, kept in a file; and where it is put down how it ended.
fn all_of_it(kept: PathBuf) -> (Tune, Arc<Mutex<Option<Outcome>>>) {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    let report = Arc::new(move |progress| {
        if let Progress::Done(outcome) = progress {
            *told.lock().expect("no panic") = Some(outcome);
        }
    });
    (Tune { limit: Duration::from_secs(600), threads: 2, kept: Some(kept), report }, outcome)
}

#[test]
fn what_is_measured_is_kept_and_computes_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let (_, module, shape) = &networks()[0];
    let (tune, outcome) = all_of_it(directory.path().join("tuned.json"));
    let config = Config { tune: Some(tune), ..Config::default() };
    let given = [input(shape)];
    let pool = ThreadPool::new(2);
    let mut outcomes = Vec::new();
    // Where all that was found is no faster in the end, the model's ways are kept, whose kernels may ask what was not asked yet.
    while outcomes.last().is_none_or(|outcome: &Outcome| outcome.answered > 0) {
        assert!(outcomes.len() < 10, "{outcomes:?}");
        let compiled = compile(module, target.clone(), ModelFacts::default(), &config).unwrap_or_else(|errors| panic!("{errors:?}"));
        let found = compiled.predictor(&pool).and_then(|predictor| predictor.run(&given, &pool)).unwrap_or_else(|error| panic!("{error}"));
        agree("tuned", module, &given, &found);
        outcomes.push(outcome.lock().expect("no panic").take().expect("it ended"));
    }
    assert!(outcomes[0].answered > 0 && outcomes[0].seconds.is_some() && outcomes[0].in_time, "{outcomes:?}");
    assert_eq!(outcomes.last(), Some(&Outcome { seconds: None, answered: 0, otherwise: 0, in_time: true }));
}

#[test]
fn a_gpu_is_measured_by_its_own_clock_and_kept_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tuned.json");
    let (tune, outcome) = all_of_it(path.clone());
    let module = products("%x: f32[33, 40], %w: f32[40, 48]", &["%x, %w"]);
    let open = |kernels: &kiln::backend::ptx::Module| Ok::<_, Diagnostic>(Interpreted::new(kernels, 1));
    let tuned = gpu::tuned(&module, &ModelFacts::default(), &Config::default(), &tune, "a device", open);
    assert!(!tuned.unwrap_or_else(|errors| panic!("{errors:?}")).is_off());
    assert_eq!(outcome.lock().expect("no panic").take().map(|outcome| outcome.answered), Some(1));
    assert_eq!((kept::load(&path, "a device").len(), kept::load(&path, "another device").len()), (1, 0));
}
