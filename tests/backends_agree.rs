//! Compiled code means what the reference interpreter does: for every operator of the table, and for random graphs of them.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::jit::Predictor;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::pipeline::{Config, OptLevel};
use kiln_ir::{Module, Op, Tensor};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::agreement::{self, Run, check_all, example_agrees, graph_agrees, guarded};
use kiln_tests::samples::Fill;

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
    opt: OptLevel,
    fold: bool,
    /// Whether sizes are known to the compiler.
    fixed: bool,
}

const WAYS: [Way; 8] = [
    Way { level: CpuLevel::Native, opt: OptLevel::Saturated, fold: true, fixed: false },
    Way { level: CpuLevel::Baseline, opt: OptLevel::Saturated, fold: false, fixed: false },
    Way { level: CpuLevel::X86V2, opt: OptLevel::Saturated, fold: true, fixed: false },
    Way { level: CpuLevel::X86V3, opt: OptLevel::Saturated, fold: true, fixed: false },
    Way { level: CpuLevel::X86V4, opt: OptLevel::Saturated, fold: true, fixed: false },
    Way { level: CpuLevel::Native, opt: OptLevel::Saturated, fold: true, fixed: true },
    Way { level: CpuLevel::Native, opt: OptLevel::Directed, fold: true, fixed: false },
    Way { level: CpuLevel::Native, opt: OptLevel::Unchanged, fold: false, fixed: false },
];

/// The levels that this machine can run; what it cannot is said.
fn levels() -> Vec<CpuLevel> {
    let (here, missing): (Vec<CpuLevel>, Vec<CpuLevel>) = CpuLevel::NAMES
        .into_iter()
        .map(|(_, level)| level)
        .partition(|level| CpuTarget::host(*level).is_ok_and(|target| target.runs_here()));
    if !missing.is_empty() {
        println!("skipped: this CPU runs no code for {missing:?}");
    }
    here
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
    let mut config = Config::at(way.opt);
    if !way.fold {
        config.fold = None;
    }
    let compiled = compile(module, target, facts, &config).map_err(|errors| format!("{errors:?}"))?;
    compiled.predictor(&pools.0[0]).map_err(|error| error.to_string())
}

/// With this way as the suites know it.
fn with_way<R>(way: Way, pools: &Pools, use_it: impl FnOnce(&agreement::Way) -> R) -> R {
    let compile = |module: &Module| {
        let predictor = compiled(module, way, pools)?;
        Ok(Box::new(move |inputs: &[Tensor]| pools.run(&predictor, inputs)) as Run)
    };
    use_it(&agreement::Way { name: format!("{way:?}"), fixed: way.fixed, fills: &FILLS, compile: &compile })
}

#[test]
fn every_operator_compiled_agrees_with_its_reference() {
    let mut examples = Op::all_examples();
    examples.retain(|(_, example)| example.rejected.is_none());
    let levels = levels();
    check_all(examples.len(), Pools::new, |at, pools| {
        let (name, example) = &examples[at];
        let check = |way: &Way| guarded(name, || with_way(*way, pools, |way| example_agrees(name, example, way)));
        WAYS.iter().filter(|way| levels.contains(&way.level)).flat_map(check).collect()
    });
}

#[test]
fn random_graphs_compiled_agree_with_the_reference() {
    let levels = levels();
    check_all(GRAPHS, Pools::new, |seed, pools| {
        let level = levels[seed / 5 % levels.len()];
        let opt = [OptLevel::Saturated, OptLevel::Directed, OptLevel::Saturated, OptLevel::Unchanged, OptLevel::Saturated][seed % 5];
        let way = Way { level, opt, fold: seed.is_multiple_of(2), fixed: false };
        guarded(&format!("graph {seed}"), || with_way(way, pools, |way| graph_agrees(seed as u64, &SIZES, way)))
    });
}
