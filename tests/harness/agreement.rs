//! Whether what is compiled means what the reference interpreter does: on examples of operators, and on random graphs.

use crate::closeness::beyond;
use crate::compare::{Tolerance, difference};
use crate::instances::{self, Instance};
use crate::random_graphs;
use crate::samples::{Fill, Random};
use kiln_ir::eval::{evaluate, evaluate_observed};
use kiln_ir::ops::Example;
use kiln_ir::{DType, Dim, Graph, Module, Symbol, Tensor};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A compiled module that runs. Errors: why it does not.
pub type Run<'a> = Box<dyn FnMut(&[Tensor]) -> Result<Vec<Tensor>, String> + 'a>;

/// One way to compile and run.
pub struct Way<'a> {
    /// What it is called in reports.
    pub name: String,
    /// Whether sizes are known to the compiler.
    pub fixed: bool,
    /// The values that operands are filled with.
    pub fills: &'a [Fill],
    /// Compiles a module. Errors: why there is none.
    pub compile: &'a dyn Fn(&Module) -> Result<Run<'a>, String>,
}

/// What is wrong with an example compiled in one way, at every size.
pub fn example_agrees(name: &'static str, example: &Example, way: &Way) -> Vec<String> {
    let function = instances::function(example).unwrap_or_else(|(label, message)| panic!("{message} ({label})"));
    let mut artefact: Option<(String, Run)> = None;
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
            match (way.compile)(&module) {
                Ok(run) => artefact = Some((text, run)),
                Err(_) if !guards_hold => continue,
                Err(error) => return vec![format!("{instance} {}: {error}", way.name)],
            }
        }
        let Some((_, run)) = &mut artefact else { continue };
        let mut random = instance.random();
        if !guards_hold {
            if run(&instance.inputs(Fill::Ordinary, &mut random)).is_ok() {
                wrong.push(format!("{instance} {}: runs although a guard does not hold", way.name));
            }
            continue;
        }
        for fill in way.fills {
            let inputs = instance.inputs(*fill, &mut random);
            let expected = evaluate(&module, &instance.graph, &inputs).unwrap_or_else(|error| panic!("{error}"));
            let found = match run(&inputs) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(format!("{instance} {}: {error}", way.name));
                    break;
                }
            };
            let differences = found.iter().zip(&expected).enumerate();
            let apart = differences.filter_map(|(i, (f, e))| Some(format!("result {i}, {}", beyond(&op, &inputs, i, f, e)?))).next();
            if let Some(apart) = apart {
                wrong.push(format!("{instance} {} {fill:?}: {apart}", way.name));
                break;
            }
        }
    }
    wrong
}

/// A module of one function.
pub fn module_of(graph: &Graph) -> Module {
    let mut module = Module { name: "law".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph.clone());
    module
}

/// What is wrong with the random graph of that number, at some values of its symbol.
pub fn graph_agrees(seed: u64, sizes: &[i64], way: &Way) -> Vec<String> {
    let mut random = Random::new(seed);
    // Integers agree in every bit; f64 shows mistakes that hide in the tolerance of f32.
    let dtype = [DType::F32, DType::F64, DType::I32][seed as usize % 3];
    let module = random_graphs::module(dtype, &mut random);
    let graph = module.predict().expect("just made");
    let mut run = match (way.compile)(&module) {
        Ok(run) => run,
        Err(error) => return vec![format!("graph {seed} {}: {error}\n{module}", way.name)],
    };
    for n in sizes {
        let inputs = random_graphs::inputs(graph, *n, &mut random);
        let mut largest = 1f64;
        let parameter = |name: &str| module.parameters.get(name)?.value.clone();
        let expected = evaluate_observed(&parameter, graph, &inputs, &mut |_, value| {
            if value.dtype().is_float() {
                largest = value.floats().into_iter().filter(|v| v.is_finite()).fold(largest, |m, v| m.max(v.abs()));
            }
        });
        let expected = expected.unwrap_or_else(|error| panic!("{error}"));
        let found = match run(&inputs) {
            Ok(found) => found,
            Err(error) => return vec![format!("graph {seed} {}, n = {n}: {error}\n{module}", way.name)],
        };
        // Every step adds a rounding error of the largest value's size, and sums of tens of terms pass it on.
        let unit = if dtype == DType::F64 { 1e-13 } else { 2e-5 };
        let tolerance = if dtype.is_float() { Tolerance { absolute: unit * largest, relative: unit } } else { Tolerance::EXACT };
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            if let Some(apart) = difference(f, e, tolerance) {
                return vec![format!("graph {seed} {}, n = {n}: output {i}, {apart} (largest value {largest:e})\n{module}", way.name)];
            }
        }
    }
    Vec::new()
}

/// A panic is one more thing that is wrong.
pub fn guarded(place: &str, check: impl FnOnce() -> Vec<String>) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        vec![format!("{place}: panics: {}", text.unwrap_or_default())]
    })
}

/// Runs checks on two threads, each with a state of its own, and reports everything that is wrong.
pub fn check_all<S>(count: usize, state: impl Fn() -> S + Sync, check: impl Fn(usize, &S) -> Vec<String> + Sync) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let state = state();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let found = check(at, &state);
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
