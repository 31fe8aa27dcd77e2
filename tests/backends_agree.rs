//! Compiled code means what the reference interpreter does: on random graphs, at several sizes from one artefact.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::jit::Predictor;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::pipeline::Config;
use kiln_ir::eval::evaluate_observed;
use kiln_ir::{DType, Module, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::random_graphs;
use kiln_tests::samples::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Random graphs to try.
const GRAPHS: usize = 200;
/// Values of their symbol.
const SIZES: [i64; 4] = [0, 1, 5, 18];

/// One way to compile.
#[derive(Clone, Copy, Debug)]
struct Way {
    level: CpuLevel,
    fold: bool,
}

/// The pools that every run is repeated on: threads change no bit.
struct Pools([ThreadPool; 2]);

impl Pools {
    fn new() -> Pools {
        Pools([ThreadPool::new(1), ThreadPool::new(2)])
    }

    fn run(&self, predictor: &Predictor, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [alone, both] = self.0.each_ref().map(|pool| predictor.run(inputs, pool).map_err(|error| error.to_string()));
        let (alone, both) = (alone?, both?);
        let same = alone.iter().zip(&both).all(|(a, b)| a.ty() == b.ty() && a.bytes() == b.bytes());
        if same { Ok(alone) } else { Err("two threads give other bits than one".into()) }
    }
}

fn compiled(module: &Module, way: Way, pools: &Pools) -> Result<Predictor, String> {
    let target = CpuTarget::host(way.level).map_err(|error| error.to_string())?;
    let facts = ModelFacts { name: "law".into(), ..ModelFacts::default() };
    let mut config = Config::default();
    if !way.fold {
        config.fold = None;
    }
    let compiled = compile(module, target, facts, &config).map_err(|errors| format!("{errors:?}"))?;
    compiled.predictor(&pools.0[0]).map_err(|error| error.to_string())
}

#[test]
fn random_graphs_compiled_agree_with_the_reference() {
    check_all(GRAPHS, |seed, pools| guarded(&format!("graph {seed}"), || graph_agrees(seed as u64, pools)));
}

fn graph_agrees(seed: u64, pools: &Pools) -> Vec<String> {
    let mut random = Random::new(seed);
    // Integers agree in every bit; f64 shows mistakes that hide in the tolerance of f32.
    let dtype = [DType::F32, DType::F64, DType::I32][seed as usize % 3];
    let module = random_graphs::module(dtype, &mut random);
    let graph = module.predict().expect("just made");
    let way = Way { level: if seed % 4 == 3 { CpuLevel::Baseline } else { CpuLevel::Native }, fold: seed.is_multiple_of(2) };
    let predictor = match compiled(&module, way, pools) {
        Ok(predictor) => predictor,
        Err(error) => return vec![format!("graph {seed} {way:?}: {error}\n{module}")],
    };
    for n in SIZES {
        let inputs = random_graphs::inputs(graph, n, &mut random);
        let mut largest = 1f64;
        let parameter = |name: &str| module.parameters.get(name)?.value.clone();
        let expected = evaluate_observed(&parameter, graph, &inputs, &mut |_, value| {
            if value.dtype().is_float() {
                largest = value.floats().into_iter().filter(|v| v.is_finite()).fold(largest, |m, v| m.max(v.abs()));
            }
        });
        let expected = expected.unwrap_or_else(|error| panic!("{error}"));
        let found = match pools.run(&predictor, &inputs) {
            Ok(found) => found,
            Err(error) => return vec![format!("graph {seed} {way:?}, n = {n}: {error}\n{module}")],
        };
        // Every step adds a rounding error of the largest value's size, and sums of tens of terms pass it on.
        let unit = if dtype == DType::F64 { 1e-13 } else { 2e-5 };
        let tolerance = if dtype.is_float() { Tolerance { absolute: unit * largest, relative: unit } } else { Tolerance::EXACT };
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            if let Some(apart) = difference(f, e, tolerance) {
                return vec![format!("graph {seed} {way:?}, n = {n}: output {i}, {apart} (largest value {largest:e})\n{module}")];
            }
        }
    }
    Vec::new()
}

/// A panic is one more thing that is wrong.
fn guarded(place: &str, check: impl FnOnce() -> Vec<String>) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        vec![format!("{place}: panics: {}", text.unwrap_or_default())]
    })
}

/// Runs checks on two threads and reports everything that is wrong.
fn check_all(count: usize, check: impl Fn(usize, &Pools) -> Vec<String> + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let pools = Pools::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let found = check(at, &pools);
                    wrong.lock().expect("no check panics").extend(found.into_iter().map(|text| (at, text)));
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("no check panics");
    wrong.sort();
    let shown: Vec<&str> = wrong.iter().take(60).map(|(_, text)| text.as_str()).collect();
    assert!(wrong.is_empty(), "{} are wrong, the first:\n{}", wrong.len(), shown.join("\n"));
}
