//! `kiln test`: runs test cases and compares what comes out.

use super::args::{Backend, Cpu, TestArgs};
use super::engine::Engine;
use super::expected_failures::ExpectedFailures;
use super::failure::Failure;
use super::model::{Loaded, predict};
use super::panics;
use kiln::artifact::describe::ModelFacts;
use kiln::conformance::agreement::compare;
use kiln::conformance::cases::{DataSet, data_sets, find, skip_reason, tolerance};
use kiln::frontend::onnx::{Options, import_model, load};
use kiln_ir::Diagnostic;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Cases at a time.
const WORKERS: usize = 2;

/// Stack of a worker: models nest, and a debug build's frames are large.
const STACK_BYTES: usize = 64 << 20;

/// How a case ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
enum Outcome {
    /// All outputs of all data sets agree.
    Passed,
    /// Something does not, as text.
    Failed(String),
    /// It needs types that Kiln has not.
    Skipped(String),
}

/// A case and how it ended.
#[derive(Serialize)]
struct Report {
    case: String,
    directory: String,
    #[serde(flatten)]
    outcome: Outcome,
    /// Why it was expected to fail, if it was.
    expected_failure: Option<String>,
    ms: f64,
}

impl Report {
    /// True if it ended otherwise than expected.
    fn surprises(&self) -> bool {
        match self.outcome {
            Outcome::Passed => self.expected_failure.is_some(),
            Outcome::Failed(_) => self.expected_failure.is_none(),
            Outcome::Skipped(_) => false,
        }
    }
}

/// Runs the command.
pub fn test(args: &TestArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.backend != Backend::Cpu && args.cpu != Cpu::Native {
        return Err(Failure::Usage("--cpu says what CPU to compile for: it goes with --backend cpu".to_string()));
    }
    let expected = args.expect_failures.as_deref().map(ExpectedFailures::read).transpose()?.unwrap_or_default();
    let directories = find(&args.directories)?;
    let mut holds = vec![args.backend.name()];
    holds.extend(args.dynamic.then_some("dynamic"));
    holds.extend(args.no_fold.then_some("no-fold"));
    holds.extend((!args.dynamic && !args.no_fold).then_some("static"));

    let mut reports = Vec::with_capacity(directories.len());
    each_in_order(
        &directories,
        |directory| run_case(directory, args),
        |directory, (outcome, ms)| {
            let case = directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let expected_failure = expected.cause(&case, &holds).map(str::to_owned);
            let report = Report { case, directory: directory.display().to_string(), outcome, expected_failure, ms };
            if !args.json {
                print(&report, out)?;
            }
            reports.push(report);
            Ok(())
        },
    )?;
    summarise(args.json, &reports, out)
}

fn print(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    match (&report.outcome, &report.expected_failure) {
        (Outcome::Passed, None) => {}
        (Outcome::Passed, Some(cause)) => writeln!(out, "PASSED  {} although expected to fail: {cause}", report.case)?,
        (Outcome::Failed(reason), None) => writeln!(out, "FAILED  {}: {reason}", report.case)?,
        (Outcome::Failed(_), Some(cause)) => writeln!(out, "failed  {} as expected: {cause}", report.case)?,
        (Outcome::Skipped(reason), _) => writeln!(out, "skipped {}: {reason}", report.case)?,
    }
    Ok(())
}

fn summarise(json: bool, reports: &[Report], out: &mut dyn Write) -> Result<(), Failure> {
    let count = |f: &dyn Fn(&Outcome) -> bool| reports.iter().filter(|r| f(&r.outcome)).count();
    let passed = count(&|o| matches!(o, Outcome::Passed));
    let failed = count(&|o| matches!(o, Outcome::Failed(_)));
    let skipped = count(&|o| matches!(o, Outcome::Skipped(_)));
    let surprises = reports.iter().filter(|r| r.surprises()).count();
    if json {
        #[derive(Serialize)]
        struct Answer<'a> {
            passed: usize,
            failed: usize,
            skipped: usize,
            unexpected: usize,
            cases: &'a [Report],
        }
        let answer = Answer { passed, failed, skipped, unexpected: surprises, cases: reports };
        let text = serde_json::to_string(&answer).unwrap_or_else(|error| panic!("test report: {error}"));
        writeln!(out, "{text}")?;
    } else {
        if failed > 0 && surprises == 0 {
            writeln!(out, "all failures were expected")?;
        }
        writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    }
    if surprises > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// `work` of every item on [`WORKERS`] threads; `then` sees the results in order, as soon as they are there.
fn each_in_order<T: Send>(
    items: &[PathBuf],
    work: impl Fn(&Path) -> T + Sync,
    mut then: impl FnMut(&Path, T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let body = move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    if sender.send((at, work(item))).is_err() {
                        return;
                    }
                }
            };
            let started = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, body);
            started.map_err(|error| Diagnostic::new("threads", format!("cannot start a thread: {error}")))?;
        }
        drop(sender);
        let mut waiting: BTreeMap<usize, T> = BTreeMap::new();
        let mut printed = 0;
        // Moved in, so that the workers stop when this ends early.
        for (at, result) in receiver {
            waiting.insert(at, result);
            while let Some(result) = waiting.remove(&printed) {
                then(&items[printed], result)?;
                printed += 1;
            }
        }
        Ok(())
    })
}

/// Runs one case, whatever happens in it, and says how long that took in milliseconds.
fn run_case(directory: &Path, args: &TestArgs) -> (Outcome, f64) {
    let begin = Instant::now();
    let outcome = match panics::catch(|| attempt(directory, args)) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(errors)) => Outcome::Failed(one_line(&errors)),
        Err(panic) => Outcome::Failed(format!("a bug in kiln: {}", panic.replace('\n', " | "))),
    };
    (outcome, begin.elapsed().as_secs_f64() * 1e3)
}

fn attempt(directory: &Path, args: &TestArgs) -> Result<Outcome, Vec<Diagnostic>> {
    let one = |error| vec![error];
    let model = load(&directory.join("model.onnx")).map_err(one)?;
    if let Some(reason) = skip_reason(&model.proto) {
        return Ok(Outcome::Skipped(reason));
    }
    let tolerance = tolerance(directory).map_err(one)?;
    let options = Options { dynamic: args.dynamic, name: "case".to_string(), ..Options::default() };
    let module = import_model(model, &options)?;
    let graph = predict(&module).map_err(one)?;
    let sets: Vec<DataSet> =
        data_sets(directory).map_err(one)?.iter().map(|set| DataSet::read(set, graph)).collect::<Result<_, _>>().map_err(one)?;
    if sets.is_empty() {
        return Ok(Outcome::Skipped("it has no data".to_string()));
    }
    let names: Vec<String> = graph.outputs().iter().map(|(name, _)| name.clone()).collect();
    let facts = ModelFacts { name: "case".to_string(), ..ModelFacts::default() };
    let mut config = args.rewrites.config();
    if args.no_fold {
        config.fold = None;
    }
    let loaded = Loaded { module, facts, losses: Vec::new() };
    let engine = match args.backend {
        Backend::Cpu => Engine::compiled(&loaded, args.cpu.level(), &config, 1)?,
        Backend::Reference | Backend::Ptx => Engine::new(&loaded, args.backend, &config, 1)?,
    };
    for (number, set) in sets.iter().enumerate() {
        let outputs = engine.run(&set.inputs).map_err(one)?;
        for ((name, expected), got) in names.iter().zip(&set.outputs).zip(&outputs) {
            let place = if sets.len() > 1 { format!("data set {number}, output \"{name}\"") } else { format!("output \"{name}\"") };
            match compare(expected, got, tolerance) {
                Ok(agreement) if agreement.holds() => {}
                Ok(agreement) => return Ok(Outcome::Failed(format!("{place}{}", agreement.text()))),
                Err(text) => return Ok(Outcome::Failed(format!("{place}: {text}"))),
            }
        }
    }
    Ok(Outcome::Passed)
}

/// The first diagnostic on one line.
fn one_line(errors: &[Diagnostic]) -> String {
    let Some(first) = errors.first() else { return "no reason given".to_string() };
    let text = first.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ");
    if errors.len() > 1 { format!("{text} (and {} more)", errors.len() - 1) } else { text }
}
