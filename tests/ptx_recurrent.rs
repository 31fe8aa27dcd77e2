//! Recurrent layers whose turns one kernel takes, on the interpreter of PTX: such a kernel is made where weights fit, gives what the
//! reference interpreter gives, and the same bits however threads and blocks of a cluster are scheduled.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::generation::Generation;
use kiln::compile::compile_ptx;
use kiln::pipeline::Config;
use kiln::schedule::launches::LaunchStep;
use kiln_ir::eval::evaluate;
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{DType, Module, Tensor};
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::bless::repository;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::faults::Fault;
use kiln_tests::gpu::on_device;
use kiln_tests::random_loops::RandomLoop;
use kiln_tests::recurrent_cases::{CASES, Case, TOO_LARGE, by_one_kernel};
use kiln_tests::samples::{Fill, Random, tensor};
use kiln_tests::training::{first_step, network, planned};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Schedules of threads.
const SCHEDULES: [u64; 3] = [1, 2, 3];

/// Sums of hundreds of products in f32, whose order may be another one.
const CLOSE: Tolerance = Tolerance { absolute: 2e-5, relative: 1e-4 };

/// A loop that is no layer: a softmax of a product, in which each unit needs all others of its row, and what was largest until now.
const SCAN: &str = "
module scan {
  fn predict(%x: f32[t, b, 6], %w: f32[6, 6], %h0: f32[b, 6]) {
    %h, %m, %y = scan %h0, %h0, %x, %w {body = graph (%h: f32[b, 6], %m: f32[b, 6], %x: f32[b, 6], %w: f32[6, 6]) {
      %0 = dot %h, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}
      %1 = add %0, %x
      %2 = softmax %1 {axis = 1}
      %3 = sub %2, %x
      %largest = max %m, %3
      return %3, %largest, %2
    }, carried = 2, scanned = 1, reverse = false}
    return %h, %m, %y
  }
}
";

/// Loops whose kernels are launched in each turn.
fn launched_loops(module: &Module, facts: &ModelFacts, config: &Config) -> usize {
    let compiled = compile_ptx(module, facts, config).unwrap_or_else(|errors| panic!("{errors:?}"));
    compiled.plan.main.steps.iter().filter(|step| matches!(step, LaunchStep::Loop { .. })).count()
}

/// How results are apart from the reference's, and from schedule to schedule.
fn apart(module: &Module, facts: &ModelFacts, config: &Config, inputs: &[Tensor], close: Tolerance) -> Vec<String> {
    let expected = evaluate(module, module.predict().expect("a function"), inputs).unwrap_or_else(|error| panic!("{error}"));
    let (mut wrong, mut first): (Vec<String>, Option<Vec<Tensor>>) = (Vec::new(), None);
    for seed in SCHEDULES {
        let mut session = on_device(module, facts, config, 100 * seed).unwrap_or_else(|error| panic!("{error}"));
        let found = match session.run(inputs) {
            Ok(found) => found,
            Err(error) => return vec![error.to_string()],
        };
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            wrong.extend(difference(found, expected, close).map(|apart| format!("schedule {seed}, result {at}: {apart}")));
        }
        let first = first.get_or_insert_with(|| found.clone());
        if first.iter().zip(&found).any(|(a, b)| a.bytes() != b.bytes()) {
            wrong.push(format!("schedule {seed} gives other bits"));
        }
    }
    wrong
}

fn wrong(case: &Case, config: &Config, blocks: u32) -> Vec<String> {
    let (module, facts) = (case.module(), case.facts());
    let compiled = compile_ptx(&module, &facts, config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    let mut wrong = Vec::new();
    if launched_loops(&module, &facts, config) != 0 {
        wrong.push(format!("{}: kernels are launched turn by turn", case.name));
    }
    let clusters = format!(".reqnctapercluster {blocks}\n");
    if (blocks > 1) != compiled.kernels.text.contains(&clusters) {
        wrong.push(format!("{}: no clusters of {blocks}", case.name));
    }
    for sizes in case.runs {
        let apart = apart(&module, &facts, config, &case.operands(&module, *sizes), case.tolerance());
        wrong.extend(apart.into_iter().map(|apart| format!("{} by {blocks} {sizes:?}: {apart}", case.name)));
    }
    wrong
}

#[test]
fn blocks_that_stay_agree_with_the_reference() {
    let alone: Vec<&Case> = CASES.iter().filter(|case| case.clusters.contains(&1)).collect();
    assert!(alone.len() >= 6);
    check_all(alone.len(), || (), |at, ()| guarded(alone[at].name, || wrong(alone[at], &by_one_kernel(1), 1)));
}

#[test]
fn clusters_that_stay_agree_with_the_reference() {
    let ways: Vec<(&Case, usize)> = CASES.iter().flat_map(|case| (0..case.clusters.len()).map(move |at| (case, at))).collect();
    check_all(
        ways.len(),
        || (),
        |at, ()| {
            let (case, way) = ways[at];
            guarded(case.name, || wrong(case, &case.by_clusters(way), case.clusters[way]))
        },
    );
}

#[test]
fn a_loop_that_is_no_layer_agrees_with_the_reference() {
    let module = parse_module("scan", SCAN, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let facts = CASES[0].facts();
    for config in [by_one_kernel(1), CASES[0].by_clusters(0)] {
        assert_eq!(launched_loops(&module, &facts, &config), 0);
        for (time, batch) in [(3, 1), (4, 11), (0, 2)] {
            let mut random = Random::new(1);
            let shapes = [vec![time, batch, 6], vec![6, 6], vec![batch, 6]];
            let inputs = shapes.map(|shape| tensor(DType::F32, &shape, Fill::Ordinary, None, &mut random));
            let apart = apart(&module, &facts, &config, &inputs, CLOSE);
            assert!(apart.is_empty(), "{time} steps of {batch}: {apart:?}");
        }
    }
}

/// Random loops that are compared.
const LOOPS: u64 = 60;

#[test]
fn random_loops_agree_with_the_reference() {
    let (facts, taken) = (CASES[0].facts(), AtomicUsize::new(0));
    check_all(
        LOOPS as usize,
        || (),
        |at, ()| {
            let random = &mut Random::new(at as u64);
            let looped = RandomLoop::new(random);
            guarded(&looped.text, || {
                let mut wrong = Vec::new();
                for config in [by_one_kernel(1), CASES[0].by_clusters(0)] {
                    taken.fetch_add(usize::from(launched_loops(&looped.module, &facts, &config) == 0), Ordering::Relaxed);
                    for (turns, rows) in [(3, 1), (2, 10)] {
                        let apart = apart(&looped.module, &facts, &config, &looped.inputs(turns, rows, random), CLOSE);
                        wrong.extend(apart.into_iter().map(|apart| format!("{turns} turns of {rows}: {apart}\n{}", looped.text)));
                    }
                }
                wrong
            })
        },
    );
    let taken = taken.into_inner();
    assert!(taken >= LOOPS as usize, "one kernel takes {taken} of {}", 2 * LOOPS);
}

#[test]
fn networks_of_recurrent_layers_and_their_training_agree_with_the_reference() {
    let text = std::fs::read_to_string(repository().join("examples/networks/lstm.toml")).expect("it is there");
    // Adam divides gradients by their size, also those that are hardly more than rounding.
    let model = network(&text.replace("optimiser = \"adam\"", "optimiser = \"sgd\""));
    assert!(model.config.as_ref().is_some_and(|config| config.optimiser_name == "sgd"));
    let config = CASES[0].by_clusters(0);
    let data = tensor(DType::F32, &[3, 2, 128], Fill::Ordinary, Some((-0.5, 0.5)), &mut Random::new(3));
    let module = model.initialised().expect("it fits");
    assert_eq!(launched_loops(&module, &ModelFacts::default(), &config), 0);
    assert_eq!(apart(&module, &ModelFacts::default(), &config, std::slice::from_ref(&data), CLOSE), Vec::<String>::new());
    let plan = planned(&model);
    let facts = ModelFacts { states: plan.recipe.states.len(), ..ModelFacts::default() };
    // Two layers forwards, and two backwards.
    let turn_by_turn = launched_loops(&plan.step, &facts, &Config { generation: Generation::HOPPER, ..Config::default() });
    assert_eq!((turn_by_turn, launched_loops(&plan.step, &facts, &config)), (4, 0));
    let inputs = first_step(&plan, &model, vec![data, Tensor::i64(&[2], &[4, 9])]);
    assert_eq!(apart(&plan.step, &ModelFacts::default(), &config, &inputs, CLOSE), Vec::<String>::new());
}

#[test]
fn without_tuning_or_room_kernels_are_launched_turn_by_turn() {
    let case = &CASES[0];
    let loops = |case: &Case, config: &Config| launched_loops(&case.module(), &case.facts(), config);
    assert_eq!(loops(case, &Config { generation: Generation::HOPPER, ..Config::default() }), 1);
    assert_eq!(loops(case, &by_one_kernel(0)), 1);
    assert_eq!(loops(&TOO_LARGE, &case.by_clusters(0)), 1);
    // Those who want the canonical order of sums.
    assert_eq!(loops(case, &Config { matrices: false, ..by_one_kernel(1) }), 1);
}

const FAULTS: &[Fault] = &[
    Fault { case: "lstm", what: "the state is taken before all have stored it", from: "barrier.cluster.wait.acquire;", nth: 0, to: "" },
    Fault { case: "lstm", what: "the state is stored before all have taken it", from: "barrier.cluster.wait.acquire;", nth: 1, to: "" },
    Fault { case: "lstm", what: "sums are taken before groups have stored them", from: "bar.sync 0;", nth: 1, to: "" },
    Fault { case: "lstm", what: "products begin before the state is there", from: "bar.sync 0;", nth: 0, to: "" },
];

#[test]
fn faults_in_blocks_that_stay_are_noticed() {
    for fault in FAULTS {
        let case = CASES.iter().find(|case| case.name == fault.case).expect("it is among the cases");
        let module = case.module();
        let is_noticed = fault.is_noticed(&module, &case.facts(), &case.by_clusters(0), &case.operands(&module, [4, 9]), 6);
        assert!(is_noticed, "{}: {} goes unnoticed", fault.case, fault.what);
    }
}
