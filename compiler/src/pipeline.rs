//! The order of passes over graphs, and their runner: it verifies, times and stops where it is asked to. Passes do none of that.

use crate::backend::cpu::roofline::CORE;
use crate::backend::ptx::generation::Generation;
use crate::passes::optimise::{self, Optimisation};
use crate::passes::recognise::{self, Recognition};
use crate::passes::{deduplicate, expand_composites, fold_constants, regions, remove_dead, shrink_products, simplify_movement};
use crate::schedule::rematerialise::MemoryBudget;
use crate::schedule::winograd::WinogradUse;
use crate::tuning::network::Tune;
use crate::tuning::{Decision, Tuning};
use kiln_ir::graph::Parameter;
use kiln_ir::verify::verify_module;
use kiln_ir::{Diagnostic, Graph, Module};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A step over one graph: its name in `--after NAME`, and what it does.
#[derive(Clone, Copy)]
pub struct Pass(pub &'static str, pub fn(&Graph, &Context) -> Graph);

/// All passes over graphs, in order.
pub const PASSES: &[Pass] = &[
    Pass("recognise", recognise::recognise),
    Pass("expand_composites", expand_composites::expand_composites),
    Pass("shrink_products", shrink_products::shrink_products),
    Pass("fold_constants", fold_constants::fold_constants),
    Pass("optimise", optimise::optimise),
    Pass("simplify_movement", simplify_movement::simplify_movement),
    Pass("deduplicate", deduplicate::deduplicate),
    Pass("remove_dead", remove_dead::remove_dead),
];

/// How far graphs are rewritten (`--opt`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OptLevel {
    /// Not at all: composites become primitives, and these become kernels as they are written.
    Unchanged,
    /// By directed steps, each of which makes the graph cheaper by itself.
    Directed,
    /// By saturation: every rule adds what it knows, and the cheapest graph is taken out.
    Saturated,
}

/// Choices that change what passes do. Of the target they know what it can do in a second.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far graphs are rewritten.
    pub level: OptLevel,
    /// How far composites are recognised from their spellings; `None` leaves every spelling as it is.
    pub recognise: Option<Recognition>,
    /// How far primitives are rewritten for a target; `None` leaves them as they are.
    pub optimise: Option<Optimisation>,
    /// Composites that stay whole, by name, because a backend computes them directly; those of them that no kernel is made of do not.
    pub keep: BTreeSet<&'static str>,
    /// Attentions of fewer queries do not stay whole. Measured on a CPU against as many keys of 64 features: 8 queries take 1.2 of the
    /// time of several kernels as one, 16 take 0.9, 128 take 0.7.
    pub least_queries: i64,
    /// `None` switches constant folding off (`--no-fold`).
    pub fold: Option<FoldBudget>,
    /// When convolutions are computed in tiles with fewer multiplications.
    pub winograd: WinogradUse,
    /// Whether kernels may sum in an order of their own where that is faster: attention, and on a GPU products of half floats on matrix
    /// units.
    pub matrices: bool,
    /// Whether a GPU may round f32 to tf32, of 10 bits behind the point in place of 23, for products on matrix units.
    pub tf32: bool,
    /// The GPUs that kernels are for. The oldest one's run on newer ones.
    pub generation: Generation,
    /// How much memory the intermediate values of a step of training may take; values that do not fit are computed again.
    pub memory: Option<MemoryBudget>,
    /// How questions of the compiler are answered.
    pub tuning: Tuning,
    /// Answers are measured first, where they are not known; for a CPU, which has to be this one.
    pub tune: Option<Tune>,
    /// Verify after every pass, not only in builds with assertions.
    pub verify: bool,
}

/// How much constant folding may compute. What exceeds it is computed when the parameters are prepared, by compiled code.
#[derive(Clone, Copy, Debug)]
pub struct FoldBudget {
    /// Multiply-adds, or elements read and written, of one node.
    pub node_work: u64,
    /// Bytes of all folded values of a graph together.
    pub total_bytes: u64,
    /// Whether values of parameters may be folded into the code.
    pub parameters: bool,
}

impl Default for FoldBudget {
    fn default() -> FoldBudget {
        FoldBudget { node_work: 1 << 20, total_bytes: 16 << 20, parameters: true }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            level: OptLevel::Saturated,
            recognise: Some(Recognition::default()),
            optimise: Some(Optimisation::on(CORE)),
            keep: BTreeSet::new(),
            least_queries: 16,
            fold: Some(FoldBudget::default()),
            winograd: WinogradUse::default(),
            matrices: true,
            tf32: false,
            generation: Generation::OLDEST,
            memory: None,
            tuning: Tuning::default(),
            tune: None,
            verify: false,
        }
    }
}

impl Config {
    /// The choices of a level, all others as usual.
    pub fn at(level: OptLevel) -> Config {
        let usual = Config { level, ..Config::default() };
        match level {
            OptLevel::Unchanged => Config { recognise: None, optimise: None, fold: None, winograd: WinogradUse::Never, ..usual },
            OptLevel::Directed => Config { optimise: None, ..usual },
            OptLevel::Saturated => usual,
        }
    }

    /// Whether graphs may be changed where that is not needed to compile them.
    pub fn rewrites(&self) -> bool {
        self.level > OptLevel::Unchanged
    }
}

/// What a pass may know beside its graph.
pub struct Context<'a> {
    /// Choices.
    pub config: &'a Config,
    /// Parameters of the module.
    pub parameters: &'a BTreeMap<String, Parameter>,
    /// What passes asked.
    decisions: RefCell<Vec<Decision>>,
}

impl<'a> Context<'a> {
    /// Where nothing was asked yet.
    pub fn new(config: &'a Config, parameters: &'a BTreeMap<String, Parameter>) -> Context<'a> {
        Context { config, parameters, decisions: RefCell::default() }
    }

    /// Puts down what a pass asked, for the program that becomes of its graph.
    pub fn record(&self, decisions: Vec<Decision>) {
        self.decisions.borrow_mut().extend(decisions);
    }
}

/// How long a pass took over all functions, and what it left.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The pass.
    pub pass: &'static str,
    /// Wall time, without verification.
    pub time: Duration,
    /// Live nodes afterwards.
    pub nodes: usize,
}

/// What passes made of a module.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The module.
    pub module: Module,
    /// How long each took.
    pub timings: Vec<Timing>,
    /// What they asked.
    pub decisions: Vec<Decision>,
}

/// Runs every pass.
///
/// Errors: what the verifier finds in the module as given.
pub fn run_passes(module: &Module, config: &Config) -> Result<Passed, Vec<Diagnostic>> {
    run(module, config, PASSES)
}

/// Runs the passes up to and including the one of that name, for `--emit graph --after NAME`.
///
/// Errors: no such pass; what the verifier finds in the module as given.
pub fn run_passes_until(module: &Module, config: &Config, after: &str) -> Result<Module, Vec<Diagnostic>> {
    let names = || PASSES.iter().map(|p| p.0);
    match names().position(|n| n == after) {
        Some(last) => run(module, config, &PASSES[..=last]).map(|passed| passed.module),
        None => {
            let error = Diagnostic::new("unknown_pass", format!("no pass `{after}`"));
            Err(vec![error.help(match kiln_ir::diagnostic::nearest(after, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("in order: {}", names().collect::<Vec<_>>().join(", ")),
            })])
        }
    }
}

/// Runs the passes before the one of that name, which must exist.
///
/// Errors: what the verifier finds in the module as given.
pub fn run_passes_before(module: &Module, config: &Config, before: &str) -> Result<Module, Vec<Diagnostic>> {
    let end = PASSES.iter().position(|pass| pass.0 == before).unwrap_or_else(|| panic!("no pass `{before}`"));
    run(module, config, &PASSES[..end]).map(|passed| passed.module)
}

/// Runs one pass alone. Panics if it breaks the module, which is our mistake.
///
/// Errors: what the verifier finds in the module as given.
pub fn run(module: &Module, config: &Config, passes: &[Pass]) -> Result<Passed, Vec<Diagnostic>> {
    verify_module(module)?;
    let mut module = module.clone();
    let (mut timings, mut decisions) = (Vec::new(), Vec::new());
    for Pass(name, pass) in passes {
        let start = Instant::now();
        let context = Context::new(config, &module.parameters);
        let functions = module.functions.iter().map(|(n, g)| (n.clone(), regions::apply(g, &context, *pass))).collect();
        decisions.extend(context.decisions.into_inner());
        module.functions = functions;
        let time = start.elapsed();
        timings.push(Timing { pass: name, time, nodes: module.functions.values().map(|g| g.order().len()).sum() });
        if (config.verify || cfg!(debug_assertions))
            && let Err(errors) = verify_module(&module)
        {
            let list: Vec<String> = errors.iter().map(Diagnostic::to_string).collect();
            panic!("pass `{name}` broke the module:\n{}\n\n{module}", list.join("\n"));
        }
    }
    Ok(Passed { module, timings, decisions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_pass_is_told_with_the_nearest() {
        let error = run_passes_until(&Module::default(), &Config::default(), "fold_constant").unwrap_err();
        assert_eq!(error[0].to_string(), "error[unknown_pass]: no pass `fold_constant`\n  help: did you mean `fold_constants`?");
    }

    #[test]
    fn names_of_passes_are_unique() {
        let names: BTreeSet<&str> = PASSES.iter().map(|p| p.0).collect();
        assert_eq!(names.len(), PASSES.len());
    }
}
