//! How far graphs are rewritten, as the commands are told.

use super::args::positive;
use super::engine::threads;
use super::tuning::told;
use clap::Args as ClapArgs;
use kiln::egraph::rule::Freedom;
use kiln::egraph::saturate::Limits;
use kiln::passes::optimise::Optimisation;
use kiln::passes::recognise::Recognition;
use kiln::passes::recurrent;
use kiln::pipeline::{Config, OptLevel};
use kiln::rewrites::all_rules;
use kiln::schedule::winograd::WinogradUse;
use kiln::tuning::kept;
use kiln::tuning::network::Tune;
use std::time::Duration;

/// How far rewriting may go.
#[derive(ClapArgs, Clone, Debug)]
pub struct RewriteArgs {
    /// How far the graph is rewritten: 0, not at all; 1, by steps that each make it cheaper, which compiles sooner; 2, by searching
    /// all that rules know for the cheapest
    #[arg(long, value_name = "LEVEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub opt: u8,
    /// Rewrite only where every value stays the same; sum attention, and on a GPU products of half floats and long sums, in the canonical order too
    #[arg(long, conflicts_with = "approximate")]
    pub exact: bool,
    /// On a GPU, round f32 to tf32 (10 bits behind the point in place of 23) for products on matrix units, which are several times faster;
    /// PyTorch calls it float32_matmul_precision "high"
    #[arg(long, conflicts_with = "exact")]
    pub tf32: bool,
    /// Rewrite also where that changes the function outside a usual domain
    #[arg(long)]
    pub approximate: bool,
    /// Leave one rewrite rule out (may be repeated); `kiln explain` names those that apply
    #[arg(long = "no-rule", value_name = "NAME", value_parser = rule)]
    pub without: Vec<String>,
    /// Compute every convolution as the sums it is written as, not in tiles with fewer multiplications, whose rounding errors are larger
    #[arg(long)]
    pub no_winograd: bool,
    /// Stop rewriting at so many nodes of alternatives
    #[arg(long, value_name = "N", default_value_t = Limits::default().nodes)]
    pub rewrite_nodes: usize,
    /// Stop rewriting after so many rounds, in each of which every rule looks at everything once
    #[arg(long, value_name = "N")]
    pub rewrite_rounds: Option<usize>,
    /// Stop rewriting after the round in which this time is over; what comes out then depends on how fast this machine is
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub rewrite_seconds: Option<f64>,
    /// Measure other graphs that rules make of the network, and other ways to compute each kernel, here and for so many seconds at most
    /// [60 if none are named], and take the fastest; what was measured is kept for the next time, and not used without --tune
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60", value_parser = positive)]
    pub tune: Option<f64>,
    /// How the cheapest graph is taken out of all alternatives: by steps that each make it cheaper, or also by integer linear programming,
    /// which may take longer and tells how good a choice can be
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Extract::Steps)]
    pub extract: Extract,
    /// Stop integer linear programming after this time with the best graph known by then
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    pub ilp_seconds: f64,
}

/// How graphs are taken out of alternatives.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extract {
    /// One exchange after the other, each of which makes the whole cheaper.
    Steps,
    /// The same, then by integer linear programming.
    Ilp,
}

impl RewriteArgs {
    /// The configuration of the compiler.
    pub fn config(&self) -> Config {
        self.config_on(threads(None))
    }

    /// The same, for runs on so many threads.
    pub fn config_on(&self, threads: usize) -> Config {
        let mut config = Config::at(self.level());
        if self.exact || self.no_winograd {
            config.winograd = WinogradUse::Never;
        }
        config.matrices = !self.exact;
        config.tf32 = self.tf32;
        let limit = |seconds: f64| Duration::from_secs_f64(seconds.min(1e9));
        config.tune = self.tune.map(|seconds| Tune { limit: limit(seconds), threads, kept: kept::place(), report: told() });
        config.recognise = config.recognise.map(|_| self.recognition());
        config.optimise = config.optimise.map(|how| self.optimisation(how));
        config
    }

    fn level(&self) -> OptLevel {
        match self.opt {
            0 => OptLevel::Unchanged,
            1 => OptLevel::Directed,
            _ => OptLevel::Saturated,
        }
    }

    /// How far primitives are rewritten.
    fn optimisation(&self, usual: Optimisation) -> Optimisation {
        let Recognition { freedom, limits, without, .. } = self.recognition();
        let (rounds, nodes) = (self.rewrite_rounds.unwrap_or(usual.limits.rounds), limits.nodes.min(usual.limits.nodes));
        let ilp = (self.extract == Extract::Ilp).then(|| Duration::from_secs_f64(self.ilp_seconds.min(1e6)));
        Optimisation { freedom, without, limits: Limits { rounds, nodes, ..limits }, ilp, ..usual }
    }

    /// How far composites are recognised.
    pub fn recognition(&self) -> Recognition {
        let freedom = match (self.exact, self.approximate) {
            (true, _) => Freedom::Values,
            (false, true) => Freedom::Approximation,
            (false, false) => Freedom::Reassociation,
        };
        let usual = Limits::default();
        let rounds = self.rewrite_rounds.unwrap_or(usual.rounds);
        let limits =
            Limits { rounds, nodes: self.rewrite_nodes, time: self.rewrite_seconds.map(|s| Duration::from_secs_f64(s.min(1e9))), ..usual };
        Recognition { freedom, limits, without: self.without.iter().cloned().collect(), ..Recognition::default() }
    }
}

fn rule(text: &str) -> Result<String, String> {
    let names: Vec<&str> = all_rules().into_iter().map(|rule| rule.name).chain([recurrent::NAME]).collect();
    match kiln_ir::diagnostic::nearest(text, names.iter().copied()) {
        _ if names.contains(&text) => Ok(text.to_string()),
        Some(near) => Err(format!("there is no such rule; did you mean `{near}`?")),
        None => Err(format!("there is no such rule among {}", names.join(", "))),
    }
}
