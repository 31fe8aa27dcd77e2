//! Recurrent layers whose turns one kernel takes, on the interpreter of PTX: such a kernel is made where weights fit, gives what the
//! reference interpreter gives, and the same bits however threads and blocks of a cluster are scheduled.

use kiln::backend::ptx::generation::Generation;
use kiln::compile::compile_ptx;
use kiln::pipeline::Config;
use kiln::schedule::launches::LaunchStep;
use kiln::tuning::{Answers, Subject, Tuning};
use kiln_ir::Tensor;
use kiln_ir::eval::evaluate;
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::compare::difference;
use kiln_tests::faults::Fault;
use kiln_tests::gpu::{interpreted_after, on_device};
use kiln_tests::recurrent_cases::{CASES, Case, TOO_LARGE};

/// Schedules of threads.
const SCHEDULES: [u64; 3] = [1, 2, 3];

/// The way of that number to take a loop's turns; 0 is kernel after kernel.
fn config(generation: Generation, way: usize) -> Config {
    Config { generation, tuning: Tuning::known(Answers::new()).trial(Subject::Loop, way), ..Config::default() }
}

/// Loops whose kernels are launched in each turn.
fn launched_loops(case: &Case, config: &Config) -> usize {
    let compiled = compile_ptx(&case.module(), &case.facts(), config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    compiled.plan.main.steps.iter().filter(|step| matches!(step, LaunchStep::Loop { .. })).count()
}

fn wrong(case: &Case, config: &Config, blocks: u32) -> Vec<String> {
    let (module, facts) = (case.module(), case.facts());
    let compiled = compile_ptx(&module, &facts, config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    let mut wrong = Vec::new();
    if launched_loops(case, config) != 0 {
        wrong.push(format!("{}: kernels are launched turn by turn", case.name));
    }
    let clusters = format!(".reqnctapercluster {blocks}\n");
    if (blocks > 1) != compiled.kernels.text.contains(&clusters) {
        wrong.push(format!("{}: no clusters of {blocks}", case.name));
    }
    let graph = module.predict().expect("a function");
    for sizes in case.runs {
        let inputs = case.operands(&module, *sizes);
        let expected = evaluate(&module, graph, &inputs).unwrap_or_else(|error| panic!("{} {sizes:?}: {error}", case.name));
        let mut first: Option<Vec<Tensor>> = None;
        for seed in SCHEDULES {
            let mut session = on_device(&module, &facts, config, 100 * seed).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let found = match session.run(&inputs) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(format!("{} by {blocks} {sizes:?}: {error}", case.name));
                    break;
                }
            };
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let apart = difference(found, expected, case.tolerance());
                wrong.extend(apart.map(|apart| format!("{} by {blocks} {sizes:?}, schedule {seed}, result {at}: {apart}", case.name)));
            }
            let first = first.get_or_insert_with(|| found.clone());
            if first.iter().zip(&found).any(|(a, b)| a.bytes() != b.bytes()) {
                wrong.push(format!("{} by {blocks} {sizes:?}: schedule {seed} gives other bits", case.name));
            }
        }
    }
    wrong
}

#[test]
fn blocks_that_stay_agree_with_the_reference() {
    let alone: Vec<&Case> = CASES.iter().filter(|case| case.clusters.contains(&1)).collect();
    assert!(alone.len() >= 6);
    check_all(alone.len(), || (), |at, ()| guarded(alone[at].name, || wrong(alone[at], &config(Generation::OLDEST, 1), 1)));
}

#[test]
fn clusters_that_stay_agree_with_the_reference() {
    let ways: Vec<(&Case, usize)> = CASES.iter().flat_map(|case| (0..case.clusters.len()).map(move |at| (case, at))).collect();
    check_all(
        ways.len(),
        || (),
        |at, ()| {
            let (case, way) = ways[at];
            guarded(case.name, || wrong(case, &config(Generation::HOPPER, way + 1), case.clusters[way]))
        },
    );
}

#[test]
fn without_tuning_or_room_kernels_are_launched_turn_by_turn() {
    let case = &CASES[0];
    assert_eq!(launched_loops(case, &Config { generation: Generation::HOPPER, ..Config::default() }), 1);
    assert_eq!(launched_loops(case, &config(Generation::HOPPER, 0)), 1);
    assert_eq!(launched_loops(&TOO_LARGE, &config(Generation::HOPPER, 1)), 1);
    // Those who want the canonical order of sums.
    assert_eq!(launched_loops(case, &Config { matrices: false, ..config(Generation::HOPPER, 1) }), 1);
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
        let (module, facts, config) = (case.module(), case.facts(), config(Generation::HOPPER, 1));
        let inputs = case.operands(&module, [4, 9]);
        let run = |seed, change: &dyn Fn(&str) -> String| {
            interpreted_after(&module, &facts, &config, seed, change).and_then(|mut s| s.run(&inputs).map_err(|e| e.to_string()))
        };
        let right = run(1, &str::to_string).expect("it runs");
        let is_noticed = (0..6).any(|seed| {
            let found = run(seed, &|text| fault.planted(text));
            found.map_or(true, |found| found.iter().zip(&right).any(|(f, r)| f.bytes() != r.bytes()))
        });
        assert!(is_noticed, "{}: {} goes unnoticed", fault.case, fault.what);
    }
}
