//! Attention that a CPU computes without storing scores, for every vector unit that is here: it gives what the reference interpreter
//! gives, and the same bits for one and two threads and wherever multiply-adds are fused.

use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::kernel::{Body, Step};
use kiln::pipeline::Config;
use kiln_ir::Tensor;
use kiln_ir::eval::evaluate;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::attention_cases::{CASES, Case, MATRIX_CASES, facts, module, operands, tolerance};
use kiln_tests::compare::difference;

/// Vector units, and whether they fuse multiply-adds.
const LEVELS: [(CpuLevel, bool); 3] = [(CpuLevel::Baseline, false), (CpuLevel::X86V3, true), (CpuLevel::X86V4, true)];

fn wrong(case: &Case) -> Vec<String> {
    // However few queries there are.
    let config = Config { least_queries: 0, ..Config::default() };
    let (module, facts) = (module(case), facts(case));
    let graph = module.predict().expect("a function");
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    let mut wrong = Vec::new();
    let mut fused: Vec<Option<Tensor>> = vec![None; case.runs.len()];
    let here = LEVELS.iter().filter_map(|(level, fuses)| Some((CpuTarget::host(*level).ok()?, level, fuses)));
    for (target, level, fuses) in here {
        let compiled = compile(&module, target, facts.clone(), &config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
        let is_one = |step: &Step| matches!(step, Step::Run(kernel) if matches!(kernel.body, Body::Attention(_)));
        if compiled.plan().program.steps.iter().filter(|step| is_one(step)).count() != 1 {
            wrong.push(format!("{} {level:?}: it is not one kernel", case.name));
        }
        for (run, sizes) in case.runs.iter().enumerate() {
            let inputs = operands(&module, sizes);
            let expected = evaluate(&module, graph, &inputs).unwrap_or_else(|error| panic!("{} {sizes:?}: {error}", case.name));
            let found = pools.each_ref().map(|pool| {
                let found = compiled.predictor(pool).and_then(|predictor| predictor.run(&inputs, pool));
                found.unwrap_or_else(|error| panic!("{} {sizes:?}: {error}", case.name)).remove(0)
            });
            let apart = difference(&found[0], &expected[0], tolerance(expected[0].dtype()));
            wrong.extend(apart.map(|apart| format!("{} {sizes:?} {level:?}: {apart}", case.name)));
            if found[0].bytes() != found[1].bytes() {
                wrong.push(format!("{} {sizes:?} {level:?}: two threads give other bits", case.name));
            }
            if *fuses && fused[run].get_or_insert_with(|| found[0].clone()).bytes() != found[0].bytes() {
                wrong.push(format!("{} {sizes:?} {level:?}: other bits", case.name));
            }
        }
    }
    wrong
}

/// What is no number stays with the queries that meet it, in the first block of keys and behind it.
#[test]
fn what_is_no_number_is_not_lost() {
    let cases = LONG.iter().filter(|case| case.operands.contains("300") || case.operands.contains("101"));
    for case in cases {
        let (module, facts) = (module(case), facts(case));
        let graph = module.predict().expect("a function");
        let mut inputs = operands(&module, &[]);
        // A feature of a query, and of the value of the last key.
        for (operand, at) in [(0, 33 * 32), (2, inputs[2].elements() - 1)] {
            let mut values = inputs[operand].floats();
            values[at] = f64::NAN;
            inputs[operand] = Tensor::from_floats(inputs[operand].dtype(), inputs[operand].shape().to_vec(), values);
        }
        let expected = evaluate(&module, graph, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name)).remove(0);
        let pool = ThreadPool::new(1);
        let target = CpuTarget::host(CpuLevel::Baseline).expect("every machine has it");
        let compiled = compile(&module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
        let found = compiled.predictor(&pool).and_then(|predictor| predictor.run(&inputs, &pool)).unwrap_or_else(|error| panic!("{error}"));
        let unknown = expected.floats().iter().filter(|value| value.is_nan()).count();
        assert!(unknown > 40 && unknown < expected.elements(), "{}: {unknown}", case.name);
        assert_eq!(difference(&found[0], &expected, tolerance(expected.dtype())), None, "{}", case.name);
    }
}

#[test]
fn attention_agrees_with_the_reference() {
    let cases: Vec<&Case> = CASES.iter().chain(MATRIX_CASES).chain(LONG).collect();
    check_all(cases.len(), || (), |at, ()| guarded(cases[at].name, || wrong(cases[at])));
}

/// Keys of several blocks, queries of several tasks.
const LONG: &[Case] = &[
    Case {
        name: "several blocks of keys",
        operands: "%q: f32[b,h,n,20], %k: f32[b,h,m,20], %v: f32[b,h,m,33]",
        attributes: "",
        then: "%y = reshape %a {shape=[b,h,n,33]}",
        usual: &[],
        runs: &[&[("b", 1), ("h", 1), ("n", 300), ("m", 541)], &[("b", 1), ("h", 2), ("n", 31), ("m", 240)]],
        has: &[],
    },
    Case {
        name: "several blocks of keys, some of which are hidden",
        operands: "%q: f32[b,h,n,16], %k: f32[b,h,m,16], %v: f32[b,h,m,16]",
        attributes: "left_window=100; causal=true",
        then: "%y = reshape %a {shape=[b,h,n,16]}",
        usual: &[],
        runs: &[&[("b", 1), ("h", 1), ("n", 600), ("m", 600)], &[("b", 1), ("h", 1), ("n", 600), ("m", 300)]],
        has: &[],
    },
    Case {
        name: "known sizes",
        operands: "%q: f32[1,2,67,32], %k: f32[1,2,300,32], %v: f32[1,2,300,40]",
        attributes: "",
        then: "%y = tanh %a",
        usual: &[],
        runs: &[&[]],
        has: &[],
    },
    Case {
        name: "one block of keys",
        operands: "%q: f32[1,2,67,32], %k: f32[1,2,101,32], %v: f32[1,2,101,40]",
        attributes: "",
        then: "%y = tanh %a",
        usual: &[],
        runs: &[&[]],
        has: &[],
    },
    Case {
        name: "one block of keys with a mask",
        operands: "%q: f32[2,1,70,32], %k: f32[2,1,96,32], %v: f32[2,1,96,20], %mask: f32[70,96]",
        attributes: "has_mask=true",
        then: "%y = tanh %a",
        usual: &[],
        runs: &[&[]],
        has: &[],
    },
    Case {
        name: "blocks of keys with a mask that is alike for all queries",
        operands: "%q: f32[2,2,33,16], %k: f32[2,2,310,16], %v: f32[2,2,310,16], %mask: f32[2,1,1,310]",
        attributes: "has_mask=true",
        then: "%y = tanh %a",
        usual: &[],
        runs: &[&[]],
        has: &[],
    },
    Case {
        name: "known sizes of whole panels",
        operands: "%q: f32[2,3,64,64], %k: f32[2,3,128,64], %v: f32[2,3,128,64]",
        attributes: "causal=true; past=64",
        then: "%y = tanh %a",
        usual: &[],
        runs: &[&[]],
        has: &[],
    },
];
