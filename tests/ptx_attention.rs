//! Attention that blocks of threads compute, on the interpreter of PTX: it is chosen, gives what the reference interpreter gives, and the
//! same bits however threads are scheduled.

use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::backend::ptx::generation::Generation;
use kiln::compile::{compile, compile_ptx};
use kiln::pipeline::Config;
use kiln::tuning::{Answers, Subject, Tuning};
use kiln_ir::Tensor;
use kiln_ir::eval::evaluate;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::attention_cases::{CASES, Case, MATRIX_CASES, facts, module, operands, tolerance};
use kiln_tests::compare::difference;
use kiln_tests::faults::Fault;
use kiln_tests::gpu::{interpreted_after, on_device};

/// Schedules of threads.
const SCHEDULES: [u64; 3] = [1, 2, 3];

fn wrong(case: &Case, config: &Config, has: &[&str]) -> Vec<String> {
    let (module, facts) = (module(case), facts(case));
    let ptx = compile_ptx(&module, &facts, config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    let mut wrong = Vec::new();
    let found = ptx.plan.functions.iter().filter(|function| function.block_threads.is_some()).count();
    // Parts of the keys of few queries are merged by another one.
    let is_split = case.usual.contains(&("n", 1));
    if found != 1 + usize::from(is_split) {
        wrong.push(format!("{}: blocks compute {found} kernels", case.name));
    }
    let lacks = has.iter().filter(|instruction| !ptx.kernels.text.contains(**instruction));
    wrong.extend(lacks.map(|instruction| format!("{}: no kernel has {instruction}", case.name)));
    let graph = module.predict().expect("a function");
    for sizes in case.runs {
        let inputs = operands(&module, sizes);
        let expected = evaluate(&module, graph, &inputs).unwrap_or_else(|error| panic!("{} {sizes:?}: {error}", case.name));
        let mut first: Option<Vec<Tensor>> = None;
        for seed in SCHEDULES {
            let mut session = on_device(&module, &facts, config, 100 * seed).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            match session.run(&inputs) {
                Err(error) => wrong.push(format!("{} {sizes:?}: {error}", case.name)),
                Ok(found) => {
                    let apart = difference(&found[0], &expected[0], tolerance(expected[0].dtype()));
                    wrong.extend(apart.map(|apart| format!("{} {sizes:?}, schedule {seed}: {apart}", case.name)));
                    if first.get_or_insert_with(|| found.clone())[0].bytes() != found[0].bytes() {
                        wrong.push(format!("{} {sizes:?}: schedule {seed} gives other bits", case.name));
                    }
                }
            }
        }
    }
    wrong
}

#[test]
fn attention_by_blocks_agrees_with_the_reference() {
    check_all(CASES.len(), || (), |at, ()| guarded(CASES[at].name, || wrong(&CASES[at], &Config::default(), CASES[at].has)));
}

#[test]
fn attention_on_matrix_units_agrees_with_the_reference() {
    check_all(
        MATRIX_CASES.len(),
        || (),
        |at, ()| guarded(MATRIX_CASES[at].name, || wrong(&MATRIX_CASES[at], &Config::default(), MATRIX_CASES[at].has)),
    );
}

/// Cases whose heads are whole panels of shared memory, and whose queries are more than a few.
const BY_WARPGROUPS: [&str; 4] = ["bf16", "causal bf16", "heads of bf16 that share keys", "turned keys and values of bf16"];

#[test]
fn attention_by_warpgroups_agrees_with_the_reference() {
    let hopper = Config { generation: Generation::HOPPER, ..Config::default() };
    let has = |case: &Case| if BY_WARPGROUPS.contains(&case.name) { &["wgmma.mma_async"][..] } else { &[] };
    check_all(
        MATRIX_CASES.len(),
        || (),
        |at, ()| guarded(MATRIX_CASES[at].name, || wrong(&MATRIX_CASES[at], &hopper, has(&MATRIX_CASES[at]))),
    );
}

#[test]
fn attention_whose_products_overlap_agrees_with_the_reference() {
    let overlapped = Tuning::known(Answers::new()).trial(Subject::Tile, 1);
    let hopper = Config { generation: Generation::HOPPER, tuning: overlapped, ..Config::default() };
    let cases: Vec<&Case> = MATRIX_CASES.iter().filter(|case| BY_WARPGROUPS.contains(&case.name)).collect();
    // The next tile's products are begun before this one's exponentials.
    let has = &["wgmma.mma_async", "wgmma.wait_group.sync.aligned 1;"];
    check_all(cases.len(), || (), |at, ()| guarded(cases[at].name, || wrong(cases[at], &hopper, has)));
}

const FAULTS: &[Fault] = &[
    Fault { case: "f32", what: "no barrier before keys are read", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "f32", what: "no barrier before values are read", from: "bar.sync 0;", nth: 1, to: "" },
    Fault { case: "f32", what: "values are not waited for", from: "cp.async.wait_group 0;", nth: 1, to: "cp.async.wait_group 1;" },
    Fault { case: "f32", what: "keys are not waited for", from: "cp.async.wait_group 0;", nth: 0, to: "cp.async.wait_group 1;" },
    Fault { case: "f32", what: "the wrong partner", from: ", 4, 31,", nth: 0, to: ", 2, 31," },
    Fault { case: "f32", what: "the largest of some scores", from: "max.NaN.f32", nth: 3, to: "min.NaN.f32" },
    Fault { case: "f32", what: "chunks are not exchanged", from: "xor.b64", nth: 2, to: "or.b64" },
    Fault { case: "long heads", what: "the first key is not seen", from: "setp.ge.s64", nth: 1, to: "setp.gt.s64" },
    Fault { case: "a query", what: "streams are merged before they are there", from: "bar.sync 0;", nth: 3, to: "" },
    Fault { case: "bf16", what: "no barrier before keys are read", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "bf16", what: "no barrier before values are read", from: "bar.sync 0;", nth: 2, to: "" },
    Fault { case: "bf16", what: "values are not waited for", from: "cp.async.wait_group 0;", nth: 2, to: "cp.async.wait_group 1;" },
    Fault { case: "bf16", what: "values are not turned", from: "x4.trans", nth: 0, to: "x4" },
    Fault { case: "bf16", what: "halves are exchanged", from: "cvt.rn.bf16x2.f32", nth: 3, to: "cvt.rn.f16x2.f32" },
    Fault { case: "bf16", what: "the wrong partner", from: ", 1, 31,", nth: 0, to: ", 4, 31," },
    Fault { case: "bf16", what: "a product is left out", from: "ex2.approx.f32", nth: 5, to: "neg.f32" },
];

#[test]
fn faults_in_kernels_of_attention_are_noticed() {
    let mut unnoticed = Vec::new();
    for fault in FAULTS {
        let case = CASES.iter().chain(MATRIX_CASES).find(|case| case.name == fault.case).expect("it is among the cases");
        let (module, facts, config) = (module(case), facts(case), Config::default());
        let graph = module.predict().expect("a function");
        let is_right = |sizes, seed| {
            let inputs = operands(&module, sizes);
            let expected = evaluate(&module, graph, &inputs).unwrap_or_else(|error| panic!("{error}"));
            let session = interpreted_after(&module, &facts, &config, seed, &|text| fault.planted(text));
            let found = session.and_then(|mut session| session.run(&inputs).map_err(|error| error.to_string()));
            found.is_ok_and(|found| difference(&found[0], &expected[0], tolerance(expected[0].dtype())).is_none())
        };
        let noticed = case.runs.iter().any(|sizes| SCHEDULES.iter().any(|seed| !is_right(*sizes, *seed)));
        if !noticed {
            unnoticed.push(format!("{}: {}", fault.case, fault.what));
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

#[test]
fn without_an_order_of_its_own_attention_has_the_bits_of_the_cpu() {
    for case in [&CASES[0], &MATRIX_CASES[0]] {
        let (module, facts, config) = (module(case), facts(case), Config { matrices: false, ..Config::default() });
        let inputs = operands(&module, case.runs[1]);
        let found = on_device(&module, &facts, &config, 3).and_then(|mut s| s.run(&inputs).map_err(|e| e.to_string())).expect("it runs");
        let pool = ThreadPool::new(1);
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let compiled = compile(&module, target, facts, &config).unwrap_or_else(|errors| panic!("{errors:?}"));
        let expected = compiled.predictor(&pool).and_then(|p| p.run(&inputs, &pool)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found[0].bytes(), expected[0].bytes(), "{}", case.name);
    }
}
