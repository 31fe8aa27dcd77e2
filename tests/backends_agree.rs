//! Compiled code means what the reference interpreter does: for every operator of the table, and for random graphs of them.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::jit::Predictor;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::pipeline::Config;
use kiln_ir::eval::{evaluate, evaluate_observed};
use kiln_ir::ops::Example;
use kiln_ir::{DType, Dim, Graph, Module, Op, Symbol, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::closeness::beyond;
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::instances::{self, Instance};
use kiln_tests::random_graphs;
use kiln_tests::samples::{Fill, Random};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ordinary values once, special ones several times, as each draw meets a few of their combinations.
const FILLS: [Fill; 4] = [Fill::Ordinary, Fill::Special, Fill::Special, Fill::Special];

/// Random graphs to try.
const GRAPHS: usize = 200;
/// Values of their symbol.
const SIZES: [i64; 4] = [0, 1, 5, 18];

/// One way to compile.
#[derive(Clone, Copy, Debug)]
struct Way {
    level: CpuLevel,
    fold: bool,
    /// Whether sizes are known to the compiler.
    fixed: bool,
}

const WAYS: [Way; 3] = [
    Way { level: CpuLevel::Native, fold: true, fixed: false },
    Way { level: CpuLevel::Baseline, fold: false, fixed: false },
    Way { level: CpuLevel::Native, fold: true, fixed: true },
];

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
fn every_operator_compiled_agrees_with_its_reference() {
    let mut examples = Op::all_examples();
    examples.retain(|(_, example)| example.rejected.is_none());
    check_all(examples.len(), |at, pools| {
        let (name, example) = &examples[at];
        WAYS.iter().flat_map(|way| guarded(name, || example_agrees(name, example, *way, pools))).collect()
    });
}

/// What is wrong with an example compiled in one way, at every size.
fn example_agrees(name: &'static str, example: &Example, way: Way, pools: &Pools) -> Vec<String> {
    let function = instances::function(example).unwrap_or_else(|(label, message)| panic!("{message} ({label})"));
    let mut artefact: Option<(String, Predictor)> = None;
    let mut wrong = Vec::new();
    let mut sizes = instances::sizes(example);
    if way.fixed {
        // The last is unlike between symbols.
        sizes.drain(..sizes.len() - 1);
    }
    for symbols in sizes {
        let bind = |d: &Dim| d.substitute(&|s| symbols.get(s).map(|v| Dim::from(*v)));
        let graph = if way.fixed { function.map_dims(&mut |d| bind(d)) } else { instances::bind_undefined(&function, &symbols) };
        // An artefact takes its symbols from whole axes of its inputs.
        let partial: BTreeSet<Symbol> =
            example.inputs.iter().flat_map(|ty| &ty.shape).filter(|d| d.as_symbol().is_none()).flat_map(Dim::symbols).collect();
        let graph = graph.map_dims(&mut |d| d.substitute(&|s| partial.contains(s).then(|| Dim::from(symbols[s]))));
        let mut op = example.op.clone();
        op.map_dims(&mut |d| bind(d));
        // Fixed sizes may break what `bcast` promises; then the type rule says so, and so must the compiler.
        let bound_inputs = example.inputs.iter().map(|ty| ty.with_shape(ty.shape.iter().map(bind).collect::<Vec<Dim>>())).collect();
        let bound = Example { op: op.clone(), inputs: bound_inputs, ..example.clone() };
        let guards_hold =
            instances::function(&bound).is_ok() && function.guards.iter().all(|g| g.holds(&|s| symbols.get(s).copied()) == Some(true));
        let instance = Instance { name, example: example.clone(), graph, symbols: symbols.clone() };
        let module = module_of(&instance.graph);
        let text = module.to_string();
        if artefact.as_ref().is_none_or(|(made_of, _)| *made_of != text) {
            match compiled(&module, way, pools) {
                Ok(predictor) => artefact = Some((text, predictor)),
                Err(_) if !guards_hold => continue,
                Err(error) => return vec![format!("{instance} {way:?}: {error}")],
            }
        }
        let Some((_, predictor)) = &artefact else { continue };
        let mut random = instance.random();
        if !guards_hold {
            if predictor.run(&instance.inputs(Fill::Ordinary, &mut random), &pools.0[0]).is_ok() {
                wrong.push(format!("{instance} {way:?}: runs although a guard does not hold"));
            }
            continue;
        }
        for fill in FILLS {
            let inputs = instance.inputs(fill, &mut random);
            let expected = evaluate(&module, &instance.graph, &inputs).unwrap_or_else(|error| panic!("{error}"));
            let found = match pools.run(predictor, &inputs) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(format!("{instance} {way:?}: {error}"));
                    break;
                }
            };
            let differences = found.iter().zip(&expected).enumerate();
            let apart = differences.filter_map(|(i, (f, e))| Some(format!("result {i}, {}", beyond(&op, &inputs, i, f, e)?))).next();
            if let Some(apart) = apart {
                wrong.push(format!("{instance} {way:?} {fill:?}: {apart}"));
                break;
            }
        }
    }
    wrong
}

fn module_of(graph: &Graph) -> Module {
    let mut module = Module { name: "law".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph.clone());
    module
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
    let way = Way { level: if seed % 4 == 3 { CpuLevel::Baseline } else { CpuLevel::Native }, fold: seed.is_multiple_of(2), fixed: false };
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
