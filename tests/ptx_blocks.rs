//! Kernels that blocks of threads compute together, on the interpreter of PTX: they are chosen, their results have the bits of the CPU,
//! whatever the sizes and however threads are scheduled, and the interpreter notices when one of their instructions is wrong.

use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::backend::ptx::generation::Generation;
use kiln::compile::{compile, compile_ptx};
use kiln::pipeline::Config;
use kiln::schedule::winograd::WinogradUse;
use kiln_ir::{DType, Module, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::block_cases::{CASES, Case, MATRIX_CASES, SPLIT_CASES, STREAM_CASES, Sizes, TF32_CASES, facts, module, size};
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::faults::Fault;
use kiln_tests::gpu::on_device;
use kiln_tests::row_cases::ROW_CASES;
use kiln_tests::samples::{Fill, Random, tensor};
use kiln_tests::warpgroup_cases::{TF32_WARPGROUP_CASES, WARPGROUP_CASES, brought_by_the_engine};
use std::sync::Mutex;

fn config() -> Config {
    Config { winograd: WinogradUse::Never, ..Config::default() }
}

fn inputs(module: &Module, sizes: &Sizes, fill: Fill) -> Vec<Tensor> {
    let mut random = Random::new(11);
    let graph = module.predict().expect("there is one");
    let types = graph.inputs().iter().map(|(_, value)| graph.ty(*value).clone());
    types
        .map(|ty| {
            let shape: Vec<usize> = ty.shape.iter().map(|d| d.evaluate(&|s| size(sizes, s.name())).expect("a size") as usize).collect();
            tensor(ty.dtype, &shape, fill, None, &mut random)
        })
        .collect()
}

/// The same for the generation that multiplies by warpgroups.
fn hopper() -> Config {
    Config { generation: Generation::HOPPER, ..config() }
}

/// The same without any order of sums of a GPU's own.
fn exact() -> Config {
    Config { matrices: false, ..config() }
}

/// What is wrong with a case.
fn wrong(case: &Case, config: &Config, apart: &dyn Fn(&Tensor, &Tensor) -> Option<String>, fills: &[Fill]) -> Vec<String> {
    wrong_of(case, config, apart, fills, &|inputs| inputs.to_vec())
}

/// What is wrong with a case, whose results the CPU gives of inputs changed as said.
fn wrong_of(
    case: &Case,
    config: &Config,
    apart: &dyn Fn(&Tensor, &Tensor) -> Option<String>,
    fills: &[Fill],
    changed: &dyn Fn(&[Tensor]) -> Vec<Tensor>,
) -> Vec<String> {
    let (module, facts) = (module(case), facts(case));
    let ptx = compile_ptx(&module, &facts, config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    let found = ptx.plan.functions.iter().filter(|function| function.block_threads.is_some()).count();
    let mut wrong = Vec::new();
    if found != case.kernels {
        wrong.push(format!("{}: blocks compute {found} kernels", case.name));
    }
    let lacks = case.has.iter().filter(|instruction| !ptx.kernels.text.contains(**instruction));
    wrong.extend(lacks.map(|instruction| format!("{}: no kernel has {instruction}", case.name)));
    let pool = ThreadPool::new(1);
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = compile(&module, target, facts.clone(), config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    let runs = if case.fixed { std::slice::from_ref(&case.usual) } else { case.runs };
    for (at, sizes) in runs.iter().enumerate() {
        let mut session = on_device(&module, &facts, config, 7 * at as u64).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for fill in fills.iter().copied() {
            let inputs = inputs(&module, sizes, fill);
            let expected =
                compiled.predictor(&pool).and_then(|p| p.run(&changed(&inputs), &pool)).unwrap_or_else(|error| panic!("{error}"));
            match session.run(&inputs) {
                Err(error) => wrong.push(format!("{} {sizes:?}: {error}", case.name)),
                Ok(found) => wrong.extend(
                    found.iter().zip(&expected).filter_map(|(f, e)| Some(format!("{} {sizes:?} {fill:?}: {}", case.name, apart(f, e)?))),
                ),
            }
        }
    }
    wrong
}

/// The first element whose bits differ; one NaN is like another.
fn apart(found: &Tensor, expected: &Tensor) -> Option<String> {
    if found.ty() != expected.ty() {
        return Some(format!("{} for {}", found.ty(), expected.ty()));
    }
    if !found.dtype().is_float() {
        return (found.bytes() != expected.bytes()).then(|| "integers differ".to_string());
    }
    let pairs = found.floats().into_iter().zip(expected.floats());
    let same = |f: f64, e: f64| f.to_bits() == e.to_bits() || (f.is_nan() && e.is_nan());
    pairs.enumerate().find(|(_, (f, e))| !same(*f, *e)).map(|(at, (f, e))| format!("element {at} is {f:e}, expected {e:e}"))
}

#[test]
fn blocks_give_the_bits_of_the_cpu() {
    check_all(
        CASES.len(),
        || (),
        |at, ()| guarded(CASES[at].name, || wrong(&CASES[at], &exact(), &apart, &[Fill::Ordinary, Fill::Special])),
    );
}

/// What differs more than sums of matrix units may.
fn apart_beyond_type(found: &Tensor, expected: &Tensor) -> Option<String> {
    // One unit of the result, and what a thousand products below 16 lose when units round each sixteen of them towards zero.
    let unit = if expected.dtype() == DType::BF16 { 2f64.powi(-7) } else { 2f64.powi(-10) };
    difference(found, expected, Tolerance { absolute: 0.01, relative: unit })
}

#[test]
fn matrix_units_are_as_close_as_their_type() {
    check_all(
        MATRIX_CASES.len(),
        || (),
        |at, ()| guarded(MATRIX_CASES[at].name, || wrong(&MATRIX_CASES[at], &config(), &apart_beyond_type, &[Fill::Ordinary])),
    );
}

#[test]
fn warpgroups_are_as_close_as_their_type() {
    check_all(
        WARPGROUP_CASES.len(),
        || (),
        |at, ()| guarded(WARPGROUP_CASES[at].name, || wrong(&WARPGROUP_CASES[at], &hopper(), &apart_beyond_type, &[Fill::Ordinary])),
    );
}

#[test]
fn the_copy_engine_brings_what_warpgroups_multiply() {
    let has = &["mbarrier.try_wait.parity", "mbarrier.arrive.expect_tx", "setmaxnreg.inc", "setmaxnreg.dec", "wgmma.mma_async"];
    let (brought, texts) = (Mutex::new(0), Mutex::new(String::new()));
    check_all(
        WARPGROUP_CASES.len(),
        || (),
        |at, ()| {
            let case = Case { has, ..WARPGROUP_CASES[at] };
            guarded(case.name, || {
                let ways = brought_by_the_engine(&case, &hopper());
                *brought.lock().expect("no panic") += usize::from(!ways.is_empty());
                for config in &ways {
                    let compiled = compile_ptx(&module(&case), &facts(&case), config).unwrap_or_else(|errors| panic!("{errors:?}"));
                    texts.lock().expect("no panic").push_str(&compiled.kernels.text);
                }
                ways.iter().flat_map(|config| wrong(&case, config, &apart_beyond_type, &[Fill::Ordinary])).collect()
            })
        },
    );
    // Images and what lines do not let begin at multiples of 16 bytes are copied by threads alone.
    let brought = brought.into_inner().expect("no panic");
    assert!(brought >= 9 && brought < WARPGROUP_CASES.len(), "{brought} of {}", WARPGROUP_CASES.len());
    // Columns come to two blocks at once; results are stored in boxes, and where these do not do, by threads.
    let texts = texts.into_inner().expect("no panic");
    for instruction in [".multicast::cluster", "barrier.cluster.wait", ".tile.bulk_group", "cp.async.bulk.wait_group.read"] {
        assert!(texts.contains(instruction), "no kernel has {instruction}");
    }
}

/// The same inputs with 10 bits behind the point of the first two, the factors: rounded to nearest, halves away from zero, or cut.
fn as_tf32(inputs: &[Tensor], rounds: bool) -> Vec<Tensor> {
    let added = if rounds { 0x1000 } else { 0 };
    let changed = |value: f64| f64::from(f32::from_bits(((value as f32).to_bits() + added) & !0x1fff));
    let each = |input: &Tensor| Tensor::from_floats(input.dtype(), input.shape().to_vec(), input.floats().into_iter().map(changed));
    inputs[..2].iter().map(each).chain(inputs[2..].iter().cloned()).collect()
}

/// What is wrong with products of f32 that lost bits before them, as said.
fn wrong_as_tf32(cases: &[Case], generation: Generation, rounds: bool) {
    let config = Config { tf32: true, generation, ..config() };
    // What units lose when they round sums of exact products towards zero: less than factors with all bits would differ by.
    let apart = |found: &Tensor, expected: &Tensor| difference(found, expected, Tolerance { absolute: 1e-3, relative: 1e-5 });
    let changed = |inputs: &[Tensor]| as_tf32(inputs, rounds);
    let wrong = |at: usize| wrong_of(&cases[at], &config, &apart, &[Fill::Ordinary], &changed);
    check_all(cases.len(), || (), |at, ()| guarded(cases[at].name, || wrong(at)));
}

#[test]
fn tf32_products_are_those_of_rounded_factors() {
    wrong_as_tf32(TF32_CASES, Generation::OLDEST, true);
}

#[test]
fn tf32_products_by_warpgroups_are_those_of_cut_factors() {
    wrong_as_tf32(TF32_WARPGROUP_CASES, Generation::HOPPER, false);
}

#[test]
fn f32_keeps_its_bits_where_nobody_asked() {
    for case in TF32_CASES.iter().chain(TF32_WARPGROUP_CASES) {
        let (module, facts) = (module(case), facts(case));
        for config in [config(), hopper(), Config { tf32: true, ..exact() }] {
            let text = compile_ptx(&module, &facts, &config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name)).kernels.text;
            assert!(!text.contains("tf32"), "{}", case.name);
        }
    }
}

#[test]
fn sums_that_are_split_are_as_close_as_their_type() {
    let apart = |found: &Tensor, expected: &Tensor| difference(found, expected, Tolerance { absolute: 1e-4, relative: 1e-5 });
    check_all(
        SPLIT_CASES.len(),
        || (),
        |at, ()| guarded(SPLIT_CASES[at].name, || wrong(&SPLIT_CASES[at], &config(), &apart, &[Fill::Ordinary])),
    );
}

/// What two orders of a sum may differ by, and roundings to the type of the result.
fn close(found: &Tensor, expected: &Tensor) -> Option<String> {
    let relative = match expected.dtype() {
        DType::BF16 => 2f64.powi(-7),
        DType::F16 => 2f64.powi(-10),
        _ => 1e-5,
    };
    difference(found, expected, Tolerance { absolute: 10.0 * relative, relative })
}

#[test]
fn rows_are_as_close_as_their_type() {
    check_all(ROW_CASES.len(), || (), |at, ()| guarded(ROW_CASES[at].name, || wrong(&ROW_CASES[at], &config(), &close, &[Fill::Ordinary])));
}

#[test]
fn rows_have_the_bits_of_the_cpu_where_they_are_asked_for() {
    for case in ROW_CASES {
        let (module, facts) = (module(case), facts(case));
        let exact = compile_ptx(&module, &facts, &exact()).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name)).kernels.text;
        let own = compile_ptx(&module, &facts, &config()).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name)).kernels.text;
        assert_eq!(exact == own, case.kernels == 0, "{}", case.name);
    }
}

#[test]
fn streams_are_as_close_as_their_type() {
    check_all(
        STREAM_CASES.len(),
        || (),
        |at, ()| {
            let case = &STREAM_CASES[at];
            guarded(case.name, || {
                let mut wrong = wrong(case, &config(), &close, &[Fill::Ordinary]);
                let text = compile_ptx(&module(case), &facts(case), &config()).expect("it compiles").kernels.text;
                if text.contains("chunks_of_its_depth") || text.contains("mma.sync") {
                    wrong.push(format!("{}: no kernel reads a matrix once", case.name));
                }
                wrong
            })
        },
    );
}

#[test]
fn without_matrix_units_half_floats_have_the_bits_of_the_cpu() {
    let case = &MATRIX_CASES[0];
    let (module, facts, exact) = (module(case), facts(case), exact());
    let inputs = inputs(&module, &[130, 129, 37], Fill::Ordinary);
    let found = on_device(&module, &facts, &exact, 3).and_then(|mut s| s.run(&inputs).map_err(|e| e.to_string())).expect("it runs");
    let pool = ThreadPool::new(1);
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = compile(&module, target, facts, &exact).unwrap_or_else(|errors| panic!("{errors:?}"));
    let expected = compiled.predictor(&pool).and_then(|p| p.run(&inputs, &pool)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(apart(&found[0], &expected[0]), None);
}

const FAULTS: &[Fault] = &[
    Fault { case: "dot of whole tiles", what: "no barrier before the first step", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "dot of whole tiles", what: "no barrier after a step", from: "bar.sync 0;", nth: 1, to: "" },
    Fault { case: "bf16 in small tiles", what: "no barrier before a step", from: "bar.sync 0;", nth: 0, to: "" },
    Fault {
        case: "bf16 in small tiles",
        what: "copies are not waited for",
        from: "cp.async.wait_group 1;",
        nth: 0,
        to: "cp.async.wait_group 2;",
    },
    Fault { case: "bf16 in small tiles", what: "a matrix is not turned", from: "x4.trans", nth: 0, to: "x4" },
    Fault { case: "bf16 in small tiles", what: "chunks are not exchanged", from: "xor.b64", nth: 0, to: "or.b64" },
    Fault { case: "f16 of turned operands", what: "chunks are not exchanged when they are stored", from: "xor.b64", nth: 8, to: "or.b64" },
    Fault { case: "rows of known length", what: "the wrong partner", from: ", 8, 31,", nth: 0, to: ", 4, 31," },
    Fault {
        case: "dot of sizes that are multiples of vectors",
        what: "results are stored in other rows",
        from: "min.s64",
        nth: -2,
        to: "max.s64",
    },
    Fault { case: "bf16 by warpgroups", what: "no barrier before a step", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "bf16 by warpgroups", what: "no barrier before sums are read", from: "bar.sync 0;", nth: 2, to: "" },
    Fault {
        case: "bf16 by warpgroups",
        what: "copies are not waited for",
        from: "cp.async.wait_group 1;",
        nth: 0,
        to: "cp.async.wait_group 2;",
    },
    Fault {
        case: "bf16 by warpgroups",
        what: "products are not waited for",
        from: "wgmma.wait_group.sync.aligned 0;",
        nth: 0,
        to: "wgmma.wait_group.sync.aligned 1;",
    },
    Fault { case: "bf16 by warpgroups", what: "a factor is not turned", from: ", 1, 1, 1, 0, 1;", nth: 2, to: ", 1, 1, 1, 0, 0;" },
    Fault { case: "bf16 by warpgroups", what: "chunks are not exchanged", from: "xor.b64", nth: 0, to: "or.b64" },
    Fault { case: "bf16 by warpgroups", what: "a group is never ended", from: "wgmma.commit_group.sync.aligned;", nth: 0, to: "" },
    Fault { case: "dot of whole tiles", what: "sums rounded twice", from: "fma.rn.f32", nth: 0, to: "FMA" },
    Fault { case: "a row and a matrix", what: "no barrier before groups meet", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "a row and a matrix", what: "no barrier before parts are added", from: "bar.sync 0;", nth: 1, to: "" },
    Fault {
        case: "a matrix of bf16 whose rows begin anywhere",
        what: "a chunk behind the buffer is read",
        from: "min.s64",
        nth: 0,
        to: "max.s64",
    },
    Fault { case: "a row and a turned matrix", what: "the wrong partner", from: ", 8, 31,", nth: 0, to: ", 4, 31," },
    Fault { case: "softmax of long rows", what: "no barrier before half-warps meet", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "softmax of long rows", what: "the wrong partner", from: ", 2, 31,", nth: -1, to: ", 4, 31," },
    Fault { case: "a layer norm of odd rows", what: "what lies behind a row is read", from: "min.s64", nth: -1, to: "max.s64" },
    Fault {
        case: "softmax of rows in shared memory",
        what: "copies are not waited for",
        from: "cp.async.wait_group 0;",
        nth: 0,
        to: "cp.async.wait_group 1;",
    },
    Fault { case: "softmax of odd rows in shared memory", what: "no barrier before rows are read", from: "bar.sync 0;", nth: 0, to: "" },
    Fault {
        case: "a layer norm of odd rows in shared memory",
        what: "rows do not begin where memory does",
        from: "and.b64",
        nth: 1,
        to: "or.b64",
    },
    Fault { case: "bf16 by warpgroups", what: "kernels before it are not waited for", from: "griddepcontrol.wait;", nth: 0, to: "" },
    Fault { case: "a matrix that is turned", what: "no barrier before rows are columns", from: "bar.sync 0;", nth: 0, to: "" },
    Fault { case: "a map of bf16", what: "a neighbour keeps bits of another", from: "and.b32", nth: -1, to: "or.b32" },
];

/// Faults of kernels whose operands the copy engine brings to two blocks of a cluster.
const PIPELINE_FAULTS: &[Fault] = &[
    Fault { case: "bf16 by warpgroups", what: "rooms are waited for of the wrong parity", from: "xor.b32", nth: 0, to: "or.b32" },
    Fault { case: "bf16 by warpgroups", what: "bytes are not expected", from: ", 24576;", nth: 0, to: ", 24560;" },
    Fault { case: "bf16 by warpgroups", what: "a room is free when one block has used it", from: "], 16;", nth: 0, to: "], 8;" },
    Fault {
        case: "bf16 by warpgroups",
        what: "barriers are used before they are made",
        from: "barrier.cluster.wait",
        nth: 0,
        to: "// barrier.cluster.wait",
    },
    Fault {
        case: "bf16 by warpgroups",
        what: "a block ends before the other is done",
        from: "barrier.cluster.wait",
        nth: 1,
        to: "// barrier.cluster.wait",
    },
    Fault { case: "bf16 by warpgroups", what: "columns come to one block", from: "mov.b16 %h0, 3;", nth: 0, to: "mov.b16 %h0, 1;" },
    Fault { case: "bf16 by warpgroups", what: "sums are read before they are there", from: "bar.sync %r", nth: 0, to: "// bar.sync %r" },
    Fault {
        case: "bf16 by warpgroups",
        what: "results are stored before they are there",
        from: "bar.sync %r",
        nth: 1,
        to: "// bar.sync %r",
    },
    Fault {
        case: "bf16 by warpgroups",
        what: "a room is left before its products are done",
        from: "wgmma.wait_group.sync.aligned 1;",
        nth: 0,
        to: "wgmma.wait_group.sync.aligned 2;",
    },
    Fault {
        case: "bf16 by warpgroups",
        what: "results are left where others are stored from",
        from: "cp.async.bulk.wait_group.read 0;",
        nth: 0,
        to: "",
    },
    Fault {
        case: "bf16 by warpgroups",
        what: "the last room is never left",
        from: "mapa.shared::cluster",
        nth: -2,
        to: "// mapa.shared::cluster",
    },
    Fault {
        case: "bf16 by warpgroups",
        what: "each block asks for the same half",
        from: "%cluster_ctarank",
        nth: 0,
        to: "%cluster_nctarank",
    },
    Fault { case: "bf16 by warpgroups", what: "boxes are of the step before", from: "shl.b64", nth: 6, to: "shr.u64" },
];

/// Whether a fault in a case's kernels is noticed.
fn is_noticed(case: &Case, config: &Config, fault: &Fault, schedules: u64) -> bool {
    let (module, facts) = (module(case), facts(case));
    fault.is_noticed(&module, &facts, config, &inputs(&module, &case.usual, Fill::Ordinary), schedules)
}

#[test]
fn faults_in_kernels_of_blocks_are_noticed() {
    for fault in FAULTS {
        let by_warpgroups = WARPGROUP_CASES.iter().any(|case| case.name == fault.case);
        let config = if by_warpgroups { hopper() } else { config() };
        let case = CASES
            .iter()
            .chain(MATRIX_CASES)
            .chain(STREAM_CASES)
            .chain(ROW_CASES)
            .chain(WARPGROUP_CASES)
            .find(|case| case.name == fault.case)
            .expect("it is among the cases");
        assert!(is_noticed(case, &config, fault, 3), "{}: {} goes unnoticed", fault.case, fault.what);
    }
}

#[test]
fn faults_in_pipelines_are_noticed() {
    let mut unnoticed = Vec::new();
    for fault in PIPELINE_FAULTS {
        let case = WARPGROUP_CASES.iter().find(|case| case.name == fault.case).expect("it is among the cases");
        let ways = brought_by_the_engine(case, &hopper());
        let in_pairs = ways.iter().find(|config| {
            let compiled = compile_ptx(&module(case), &facts(case), config).unwrap_or_else(|errors| panic!("{errors:?}"));
            compiled.kernels.text.contains(".multicast::cluster") && compiled.kernels.text.contains("m64n64k16")
        });
        if !is_noticed(case, in_pairs.expect("two blocks share columns"), fault, 24) {
            unnoticed.push(fault.what);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
