//! ONNX conformance cases, compiled to PTX and run by the interpreter, or by the GPU that `KILN_GPU` numbers.
//!
//! `KILN_CASES` names a file that lists directories of cases, one a line; without it nothing is run, and the test says so.

use kiln::artifact::describe::ModelFacts;
use kiln::conformance::agreement::compare;
use kiln::conformance::cases::{DataSet, data_sets, skip_reason, tolerance};
use kiln::frontend::onnx::{Options, import_model, load};
use kiln::pipeline::Config;
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::gpu::{generation, on_device};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases whose expected values were rounded to f16 after each of their operators: attention on the matrix units of an H100, which rounds
/// once, is up to two units of f16 away from them.
const ROUNDED_BETWEEN: [&str; 1] = ["test_attention_4d_causal_fp16_expanded"];

/// Cases that ran, and those that no backend takes: their shapes depend on data of the run.
static RAN: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn cases_pass_on_the_interpreter() {
    let Some(list) = std::env::var_os("KILN_CASES") else {
        eprintln!("skipped: KILN_CASES names no list of cases");
        return;
    };
    let list = std::fs::read_to_string(list).expect("the list is there");
    let cases: Vec<&str> = list.lines().filter(|line| !line.is_empty()).collect();
    assert!(!cases.is_empty());
    check_all(
        cases.len(),
        || (),
        |at, ()| {
            guarded(cases[at], || {
                wrong(Path::new(cases[at]), at as u64).err().map(|why| format!("{}: {why}", cases[at])).into_iter().collect()
            })
        },
    );
    let (ran, refused) = (RAN.load(Ordering::Relaxed), REFUSED.load(Ordering::Relaxed));
    println!("{ran} cases ran, all of them right; {refused} are models that are not read");
    // Of the second tier more are read by nobody than of the first.
    assert!(ran >= 2 * refused, "hardly any case ran");
}

/// Errors: what is wrong with a case.
fn wrong(case: &Path, seed: u64) -> Result<(), String> {
    let model = load(&case.join("model.onnx")).map_err(|error| error.to_string())?;
    if skip_reason(&model.proto).is_some() {
        return Ok(());
    }
    let mut tolerance = tolerance(case).map_err(|error| error.to_string())?;
    if case.file_name().is_some_and(|name| ROUNDED_BETWEEN.iter().any(|case| name == *case)) {
        tolerance.relative = 2f64.powi(-9);
    }
    let Ok(module) = import_model(model, &Options { name: "case".into(), ..Options::default() }) else {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    };
    let graph = module.predict()?;
    let config = Config { generation: generation(), ..Config::default() };
    let mut session = on_device(&module, &ModelFacts::default(), &config, seed)?;
    for set in data_sets(case).map_err(|error| error.to_string())? {
        let set = DataSet::read(&set, graph).map_err(|error| error.to_string())?;
        let found = session.run(&set.inputs).map_err(|error| error.to_string())?;
        for ((name, _), (expected, found)) in graph.outputs().iter().zip(set.outputs.iter().zip(&found)) {
            let agreement = compare(expected, found, tolerance).map_err(|text| format!("{name}: {text}"))?;
            if !agreement.holds() {
                return Err(format!("{name}{}", agreement.text()));
            }
        }
    }
    RAN.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
