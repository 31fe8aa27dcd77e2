//! ONNX conformance cases, compiled to PTX and run by the interpreter.
//!
//! `KILN_CASES` names a file that lists directories of cases, one a line; without it nothing is run, and the test says so.

use kiln::artifact::describe::ModelFacts;
use kiln::conformance::agreement::compare;
use kiln::conformance::cases::{DataSet, data_sets, skip_reason, tolerance};
use kiln::frontend::onnx::{Options, import_model, load};
use kiln::pipeline::Config;
use kiln_tests::agreement::{check_all, guarded};
use kiln_tests::gpu::interpreted;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases that ran, of all.
static RAN: AtomicUsize = AtomicUsize::new(0);

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
    println!("{} of {} cases ran, all of them right", RAN.load(Ordering::Relaxed), cases.len());
}

/// Errors: what is wrong with a case.
fn wrong(case: &Path, seed: u64) -> Result<(), String> {
    let model = load(&case.join("model.onnx")).map_err(|error| error.to_string())?;
    if skip_reason(&model.proto).is_some() {
        return Ok(());
    }
    let tolerance = tolerance(case).map_err(|error| error.to_string())?;
    let module = import_model(model, &Options { name: "case".into(), ..Options::default() }).map_err(|errors| format!("{errors:?}"))?;
    let graph = module.predict()?;
    let mut session = interpreted(&module, &ModelFacts::default(), &Config::default(), seed)?;
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
