//! What `kiln explain --json` says: how both saturations ended, what was considered, and how long it took.

use super::explain::Accounts;
use kiln::passes::optimise::{Candidate, Optimised, Without};
use kiln::passes::recognise::Recognised;
use serde::Serialize;

/// The answer. Everything but `seconds` is computed; these were measured.
#[derive(Serialize)]
pub struct Answer {
    /// Nodes of all graphs as they were read.
    nodes: usize,
    recognised: Vec<RecognisedGraph>,
    optimised: Vec<OptimisedGraph>,
    seconds: Seconds,
}

#[derive(Serialize)]
struct RecognisedGraph {
    graph: String,
    outcome: &'static str,
    rounds: usize,
    e_nodes: usize,
    replaced: usize,
    cost_before: u64,
    cost_after: u64,
}

#[derive(Serialize)]
struct OptimisedGraph {
    graph: String,
    outcome: &'static str,
    rounds: usize,
    e_nodes: usize,
    replaced: usize,
    /// The rules that were used, each once.
    rules: Vec<&'static str>,
    candidates: Vec<CandidateGraph>,
    /// Which of them is compiled.
    chosen: usize,
    /// How good a choice of e-nodes can be, with `--extract ilp`.
    bound: Option<BoundOfGraph>,
}

#[derive(Serialize)]
struct BoundOfGraph {
    /// No choice of e-nodes is estimated below.
    least_us: f64,
    /// The usual extraction.
    extracted_us: f64,
    /// The best choice that is known.
    best_us: f64,
    interrupted: bool,
    /// Pieces of the choice that depend on nothing outside them.
    pieces: usize,
    /// Variables of the largest table that proves it.
    widest: usize,
    seconds: f64,
}

#[derive(Serialize)]
struct CandidateGraph {
    what: &'static str,
    /// The rules that it does without.
    without: Vec<&'static str>,
    /// By the roofline of operators.
    estimate_us: f64,
    /// By the roofline of kernels; none where nothing promised to be cheaper than the graph given.
    kernels_us: Option<f64>,
    /// How many kernels these are.
    kernels: Option<usize>,
}

#[derive(Serialize)]
struct Seconds {
    recognising: f64,
    saturating: f64,
    extracting: f64,
    proving: f64,
    pricing: f64,
}

impl Answer {
    /// Of these accounts of a model with so many nodes.
    pub fn of(accounts: &Accounts, nodes: usize) -> Answer {
        let times = accounts.times();
        Answer {
            nodes,
            recognised: accounts.recognised.iter().map(|(graph, found)| recognised(graph, found)).collect(),
            optimised: accounts.optimised.iter().map(|(graph, found)| optimised(graph, found)).collect(),
            seconds: Seconds {
                recognising: times.recognising.as_secs_f64(),
                saturating: times.optimising.saturating.as_secs_f64(),
                extracting: times.optimising.extracting.as_secs_f64(),
                proving: times.optimising.proving.as_secs_f64(),
                pricing: times.optimising.pricing.as_secs_f64(),
            },
        }
    }
}

fn recognised(graph: &str, found: &Recognised) -> RecognisedGraph {
    RecognisedGraph {
        graph: graph.to_string(),
        outcome: found.outcome.text(),
        rounds: found.rounds,
        e_nodes: found.nodes,
        replaced: found.replacements.len(),
        cost_before: found.cost_before,
        cost_after: found.cost_after,
    }
}

fn optimised(graph: &str, found: &Optimised) -> OptimisedGraph {
    let mut rules: Vec<&'static str> = Vec::new();
    for (rule, _) in found.replacements.iter().flat_map(|replacement| &replacement.rules) {
        if !rules.contains(rule) {
            rules.push(rule);
        }
    }
    OptimisedGraph {
        graph: graph.to_string(),
        outcome: found.outcome.text(),
        rounds: found.rounds,
        e_nodes: found.nodes,
        replaced: found.replacements.len(),
        rules,
        candidates: found.candidates.iter().map(candidate).collect(),
        chosen: found.chosen,
        bound: found.bound.map(|bound| BoundOfGraph {
            least_us: bound.least as f64 * 1e-6,
            extracted_us: bound.extracted as f64 * 1e-6,
            best_us: bound.best as f64 * 1e-6,
            interrupted: bound.interrupted,
            pieces: bound.pieces,
            widest: bound.widest,
            seconds: bound.time.as_secs_f64(),
        }),
    }
}

fn candidate(found: &Candidate) -> CandidateGraph {
    let (what, without) = match &found.without {
        Without::All => ("as it was", Vec::new()),
        Without::None => ("by all rules", Vec::new()),
        Without::Proven => ("by all rules and integer linear programming", Vec::new()),
        Without::Rules(rules) => ("without rules", rules.iter().copied().collect()),
    };
    CandidateGraph {
        what,
        without,
        estimate_us: found.estimate as f64 * 1e-6,
        kernels_us: found.price.map(|price| price.seconds * 1e6),
        kernels: found.price.map(|price| price.kernels),
    }
}
