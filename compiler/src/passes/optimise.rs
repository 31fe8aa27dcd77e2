//! Computes the same sooner: the second saturation, over primitives, for a target.
//! ```text
//! q = x · Wq ; k = x · Wk ; v = x · Wv      →      p = x · [Wq Wk Wv] ; q, k, v = parts of p
//! %d = dot (dot x, %a), %b ; y = add (dot x, %w), %d      →      y = dot x, (add %w, (dot %a, %b))
//! ```
//! Needs: composites expanded; values of parameters help.  Keeps: what the rules' exactness says; interface, guards, origins.
//! Skips: levels below `--opt 2`; rules beyond the freedom of the configuration; what makes no graph cheaper.
//!
//! The graph becomes an e-graph, [`crate::rewrites::OPTIMISING`] add what they know, and cheap graphs are taken out by the roofline of
//! e-nodes. That does not know which values become kernels, so each candidate, and the graph as it was, is cut and priced as kernels;
//! the cheapest is the result, unless another was measured to be faster ([`crate::tuning`]). What depends on parameters alone is
//! computed once and costs nothing, unless it is more than may be prepared, which shows in the kernels. In a step of training
//! parameters are inputs, so nothing is free.

use super::deduplicate::deduplicate;
use super::fold_constants::fold_constants;
use super::remove_dead::remove_dead;
use super::simplify_movement::simplify_movement;
use crate::cut::cut;
use crate::egraph::ClassId;
use crate::egraph::convert::Embedded;
use crate::egraph::extract::{Extraction, cost_as_given, extract};
use crate::egraph::ilp::{Proof, extract_by_ilp};
use crate::egraph::lang::ENode;
use crate::egraph::provenance::{Applied, Replacement, applied, replacements, used};
use crate::egraph::roofline::OnMachine;
use crate::egraph::rule::{Freedom, Rule};
use crate::egraph::saturate::{Limits, Outcome, Report, saturate};
use crate::kernel::roofline::{Machine, seconds};
use crate::pipeline::Context;
use crate::rewrites::optimising_rules;
use crate::schedule::choices::choices;
use crate::tuning::{Asking, HOPELESS, Subject, Tuning};
use kiln_ir::{Graph, Module, Symbol};
use kiln_runtime::weights::hexadecimal;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::time::{Duration, Instant};

/// Graphs whose kernels take no less than this part of each other's time are equally fast: prices are not known any better.
const LEAST_GAIN: f64 = 0.999;

/// Nodes of all graphs that are priced together, so that large ones are not priced again and again; two always are.
const MOST_NODES: usize = 5000;

/// How far optimising may go, and for what.
#[derive(Clone, Debug)]
pub struct Optimisation {
    /// The rules of a freedom.
    pub rules: fn(Freedom) -> Vec<&'static Rule>,
    /// Which of them apply.
    pub freedom: Freedom,
    /// Rules that are left out, by name.
    pub without: BTreeSet<String>,
    /// When it stops before nothing changes.
    pub limits: Limits,
    /// Graphs that are priced as kernels, at most, the one given included.
    pub candidates: usize,
    /// What the target can do.
    pub machine: Machine,
    /// Sizes that symbols usually have.
    pub usual_sizes: BTreeMap<Symbol, i64>,
    /// How long integer linear programming may look for the best choice of e-nodes, after the usual extraction; not at all by default.
    pub ilp: Option<Duration>,
}

impl Optimisation {
    /// As usual, for a machine.
    pub fn on(machine: Machine) -> Optimisation {
        let limits = Limits { rounds: 8, nodes: 50_000, ..Limits::default() };
        Optimisation {
            rules: optimising_rules,
            freedom: Freedom::Reassociation,
            without: BTreeSet::new(),
            limits,
            candidates: 8,
            machine,
            usual_sizes: BTreeMap::new(),
            ilp: None,
        }
    }
}

/// A graph that was considered.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The rules that it does without, as it was tried whether they pay; all of them for the graph given.
    pub without: Without,
    /// Cost of its e-nodes, in picoseconds.
    pub estimate: u64,
    /// What its kernels take; none where nothing promised to be cheaper than the graph given.
    pub price: Option<Price>,
}

/// What kernels take.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Seconds of a run.
    pub seconds: f64,
    /// How many there are.
    pub kernels: usize,
}

impl Price {
    /// Whether these are faster than others, or as fast and fewer.
    fn beats(&self, other: &Price) -> bool {
        let is_no_slower = LEAST_GAIN * self.seconds <= other.seconds;
        self.seconds < LEAST_GAIN * other.seconds || is_no_slower && self.kernels < other.kernels
    }
}

/// What a candidate does without.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Without {
    /// Every rule: it is the graph given.
    All,
    /// No rule.
    None,
    /// No rule, taken out by integer linear programming.
    Proven,
    /// These rules.
    Rules(BTreeSet<&'static str>),
}

/// Where the time of a search went.
#[derive(Clone, Copy, Default, Debug)]
pub struct Times {
    /// Applying rules.
    pub saturating: Duration,
    /// Taking graphs out.
    pub extracting: Duration,
    /// The same by integer linear programming, if it was asked for.
    pub proving: Duration,
    /// Cutting them into kernels, and pricing these.
    pub pricing: Duration,
}

/// How good a choice of e-nodes can be at all, in picoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// No choice costs less.
    pub least: u64,
    /// Cost of the usual extraction.
    pub extracted: u64,
    /// Cost of the best choice that is known.
    pub best: u64,
    /// Whether tables were too large, or time was over, before the bound could come closer.
    pub interrupted: bool,
    /// Pieces of the choice that depend on nothing outside them, without what every choice does.
    pub pieces: usize,
    /// Variables of the largest table that proves it.
    pub widest: usize,
    /// How long it took.
    pub time: Duration,
}

/// A graph that was optimised, and how.
pub struct Optimised {
    /// The graph.
    pub graph: Graph,
    /// Why saturation ended.
    pub outcome: Outcome,
    /// Its rounds.
    pub rounds: usize,
    /// E-nodes in the end.
    pub nodes: usize,
    /// What was considered, the graph given first.
    pub candidates: Vec<Candidate>,
    /// Which of them is the graph.
    pub chosen: usize,
    /// What became what, by which rules.
    pub replacements: Vec<Replacement>,
    /// Every use of a rule, in order.
    pub log: Vec<Applied>,
    /// Where the time went.
    pub times: Times,
    /// How good it can be, if integer linear programming was asked for.
    pub bound: Option<Bound>,
}

/// See the head of this file.
pub fn optimise(graph: &Graph, context: &Context) -> Graph {
    match &context.config.optimise {
        None => graph.clone(),
        Some(how) => search(graph, context, how).chosen().map_or_else(|| graph.clone(), |taken| taken.graph.clone()),
    }
}

/// The same, with an account of what was done.
pub fn optimised(graph: &Graph, context: &Context, how: &Optimisation) -> Optimised {
    let search = search(graph, context, how);
    let (program, report, chosen) = (&search.program, &search.report, search.chosen());
    Optimised {
        outcome: report.outcome,
        rounds: report.rounds,
        nodes: report.nodes,
        chosen: search.chosen,
        replacements: chosen.map_or_else(Vec::new, |taken| replacements(program, &taken.choice, report)),
        log: applied(program, report),
        times: search.times,
        bound: search.bound,
        // Equal values are one and movement is short in what was searched, but that is the business of other passes.
        graph: chosen.map_or_else(|| graph.clone(), |taken| taken.graph.clone()),
        candidates: search.found,
    }
}

fn search<'a>(graph: &Graph, context: &'a Context<'a>, how: &'a Optimisation) -> Search<'a> {
    let use_values = context.config.fold.is_some_and(|fold| fold.parameters);
    let nothing = BTreeMap::new();
    // Movement in its shortest form, so that rules see what is moved.
    let given = tidy(graph, context);
    let mut program = Embedded::new(&given, if use_values { context.parameters } else { &nothing });
    let mut rules = (how.rules)(how.freedom);
    rules.retain(|rule| !how.without.contains(rule.name));
    let cost = OnMachine { machine: &how.machine, usual_sizes: &how.usual_sizes };
    let as_given = cost_as_given(&program, &cost);
    let report = saturate(&mut program, &rules, &how.limits);
    let times = Times { saturating: report.time, ..Times::default() };
    let (found, taken) = (Vec::new(), Vec::new());
    let mut search = Search { context, how, program, report, as_given, found, taken, chosen: 0, times, bound: None };
    search.search(&given);
    search.ask(&given);
    search
}

/// Constants computed, movement simplified, equal values one.
fn tidy(graph: &Graph, context: &Context) -> Graph {
    let folded = fold_constants(graph, context);
    remove_dead(&deduplicate(&simplify_movement(&folded, context), context), context)
}

/// What was taken out of the e-graph.
struct Taken {
    graph: Graph,
    choice: BTreeMap<ClassId, ENode>,
}

struct Search<'a> {
    context: &'a Context<'a>,
    how: &'a Optimisation,
    program: Embedded,
    report: Report,
    /// Cost of the graph given.
    as_given: u64,
    /// What was considered, the graph given first.
    found: Vec<Candidate>,
    /// The graphs of the others, in order.
    taken: Vec<Taken>,
    /// Which of them is the result.
    chosen: usize,
    times: Times,
    bound: Option<Bound>,
}

impl Search<'_> {
    /// The whole saturation first, then what is left of it without one of the rules that it used after the other: without those that do
    /// not pay it goes on.
    fn search(&mut self, given: &Graph) {
        let all = self.extract(&BTreeSet::new());
        let proven = self.how.ilp.map(|limit| self.prove(&all, limit));
        let least = proven.as_ref().map_or(all.cost_after, |proven| proven.cost_after);
        if least >= self.as_given {
            self.found.push(Candidate { without: Without::All, estimate: self.as_given, price: None });
            return;
        }
        let Some(as_given) = self.price(given) else { return };
        self.found.push(Candidate { without: Without::All, estimate: self.as_given, price: Some(as_given) });
        if let Some(proven) = proven.filter(|proven| proven.cost_after < all.cost_after) {
            self.consider(proven, Without::Proven);
        }
        let mut untried = used(&self.program, &all.choice, &self.report);
        untried.reverse();
        let mut tried: BTreeSet<&str> = untried.iter().copied().collect();
        let mut current = self.consider(all, Without::None);
        let mut without = BTreeSet::new();
        let most = self.how.candidates.min(MOST_NODES / given.order().len().max(1));
        while let Some(rule) = untried.pop().filter(|_| self.found.len() < most && tried.len() > 1) {
            let mut fewer: BTreeSet<&'static str> = without.clone();
            fewer.insert(rule);
            let extraction = self.extract(&fewer);
            // What other rules make of it instead is looked at next.
            let next = used(&self.program, &extraction.choice, &self.report);
            let price = self.consider(extraction, Without::Rules(fewer.clone()));
            if beats(&price, &current) {
                untried.extend(next.into_iter().filter(|rule| tried.insert(rule)));
                (without, current) = (fewer, price);
            }
        }
    }

    fn extract(&mut self, without: &BTreeSet<&str>) -> Extraction {
        let start = Instant::now();
        let cost = OnMachine { machine: &self.how.machine, usual_sizes: &self.how.usual_sizes };
        let extraction = extract(&self.program, &self.report, &cost, without);
        self.times.extracting += start.elapsed();
        extraction
    }

    /// The best choice of e-nodes, as far as time allows.
    fn prove(&mut self, extracted: &Extraction, limit: Duration) -> Extraction {
        let cost = OnMachine { machine: &self.how.machine, usual_sizes: &self.how.usual_sizes };
        let Proof { extraction, bound, interrupted, pieces, widest, time } = extract_by_ilp(&self.program, &cost, &extracted.choice, limit);
        self.times.proving += time;
        let (extracted, best) = (extracted.cost_after, extraction.cost_after);
        self.bound = Some(Bound { least: bound, extracted, best, interrupted, pieces, widest, time });
        extraction
    }

    /// Prices a choice as kernels; the best so far is kept.
    fn consider(&mut self, extraction: Extraction, without: Without) -> Option<Price> {
        let graph = tidy(&self.program.graph(&extraction.choice), self.context);
        let price = Some(self.price(&graph)?);
        if beats(&price, &self.found[self.chosen].price) {
            self.chosen = self.found.len();
        }
        self.found.push(Candidate { without, estimate: extraction.cost_after, price });
        self.taken.push(Taken { graph, choice: extraction.choice });
        price
    }

    /// The result, where it is not the graph given.
    fn chosen(&self) -> Option<&Taken> {
        self.chosen.checked_sub(1).map(|at| &self.taken[at])
    }

    /// Lets what was measured choose among those that are not much more expensive, cheap ones first. The question is about all of them,
    /// so that it is another one where other rules find other graphs.
    fn ask(&mut self, given: &Graph) {
        let tuning = &self.context.config.tuning;
        if tuning.is_off() {
            return;
        }
        let digest = |text: String| hexadecimal(&Sha256::digest(text));
        let graphs = iter::once(given).chain(self.taken.iter().map(|taken| &taken.graph));
        let names: Vec<String> = graphs.map(|graph| digest(graph.to_string())).collect();
        let mut asking = Asking::about(tuning, digest(format!("{names:?} {:?}", self.how.usual_sizes)));
        let found = &self.found;
        let others = || {
            let seconds = |at: &usize| found[*at].price.map_or(f64::INFINITY, |price| price.seconds);
            let mut others: Vec<usize> = (0..found.len()).filter(|at| seconds(at) <= HOPELESS * seconds(&self.chosen)).collect();
            others.sort_by(|a, b| seconds(a).total_cmp(&seconds(b)));
            others
        };
        let chosen = asking.choose(Subject::Graph, self.chosen, others, |at| names[*at].clone());
        self.context.record(asking.decisions);
        self.chosen = chosen;
    }

    /// What the kernels of a graph take; `None` if it cannot be cut, which is told when it is compiled.
    fn price(&mut self, graph: &Graph) -> Option<Price> {
        let start = Instant::now();
        let price = self.price_of_kernels(graph);
        self.times.pricing += start.elapsed();
        price
    }

    fn price_of_kernels(&self, graph: &Graph) -> Option<Price> {
        let choices = choices(graph, self.context.config.winograd, &self.how.usual_sizes, &Tuning::default());
        let functions = BTreeMap::from([("predict".to_string(), graph.clone())]);
        let module = Module { name: "candidate".into(), functions, ..Module::default() };
        let mut program = cut(&module, "predict", &choices).ok()?;
        program.usual_sizes.clone_from(&self.how.usual_sizes);
        let mut kernels = 0;
        program.steps.iter().for_each(|step| step.visit_kernels(&mut |_| kernels += 1));
        Some(Price { seconds: seconds(&program, &self.how.machine), kernels })
    }
}

/// [`Price::beats`], where what has no price is beaten by what has one.
fn beats(price: &Option<Price>, other: &Option<Price>) -> bool {
    match (price, other) {
        (Some(price), Some(other)) => price.beats(other),
        (price, _) => price.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Config, OptLevel, run_passes};
    use crate::tuning::{Answers, Decision};
    use kiln_ir::graph::NodeId;
    use kiln_ir::text::{ConstantTable, parse_module};
    use kiln_ir::{NodeKind, Op};

    /// Three products of one value, and a chain of two matrices: more than one rule finds something.
    fn projections(rows: usize) -> Module {
        let dot = |result: &str, x: &str, w: &str| {
            format!("%{result} = dot %{x}, %{w} {{a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}}\n")
        };
        let body = [dot("q", "x", "a"), dot("k", "x", "b"), dot("v", "x", "c"), dot("h", "q", "b"), dot("y", "h", "c")];
        let values: String = ["a", "b", "c"].map(|name| format!("parameter {name}: f32[64, 64]\n")).concat();
        let text = format!("module m {{\n{values}fn predict(%x: f32[{rows}, 64]) {{\n{}return %k, %v, %y\n}}\n}}", body.concat());
        parse_module("", &text, &ConstantTable::new()).unwrap_or_else(|errors| panic!("{}", errors[0]))
    }

    fn passed(module: &Module, tuning: Tuning) -> (Graph, Vec<Decision>) {
        let config = Config { tuning, ..Config::default() };
        let passed = run_passes(module, &config).unwrap_or_else(|errors| panic!("{errors:?}"));
        (passed.module.functions["predict"].clone(), passed.decisions)
    }

    #[test]
    fn graphs_that_were_priced_are_one_question() {
        let module = projections(48);
        let (usual, none) = passed(&module, Tuning::default());
        assert!(none.is_empty());
        let known = Tuning::known(Answers::new());
        let (graph, mut decisions) = passed(&module, known.clone());
        assert_eq!(graph, usual, "asking changes nothing");
        let decision = decisions.remove(0);
        assert!(decisions.is_empty() && decision.subject == Subject::Graph && decision.origins.is_empty(), "{decision:?}");
        let others: Vec<(Graph, Decision)> = (1..decision.answers)
            .map(|number| passed(&module, known.trial(Subject::Graph, number)))
            .map(|(graph, mut decisions)| (graph, decisions.remove(0)))
            .collect();
        let config = Config::at(OptLevel::Directed);
        let given = run_passes(&module, &config).unwrap_or_else(|errors| panic!("{errors:?}")).module.functions["predict"].clone();
        assert!(others.iter().any(|(graph, _)| *graph == given), "the graph given is one of {}", others.len());
        for (at, (graph, asked)) in others.iter().enumerate() {
            assert!(*graph != usual && others[..at].iter().all(|(other, _)| other != graph), "{at}: the same graph again");
            assert_eq!((&asked.question, asked.answers), (&decision.question, decision.answers));
            let answers = Answers::from([(asked.question.clone(), asked.taken.clone())]);
            assert_eq!(passed(&module, Tuning::known(answers)).0, *graph, "{at}: by its name");
        }
    }

    #[test]
    fn the_one_of_fewer_kernels_is_taken_and_says_what_it_is_made_of() {
        let (mut values, mut body) = (String::new(), String::new());
        for result in ["q", "k", "v"] {
            values += &format!("parameter of_{result}: f32[64, 64]\n");
            let axes = "{a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}";
            body += &format!("%{result} = dot %x, %of_{result} {axes} from \"{result}\"\n%s{result} = softmax %{result} {{axis = 1}}\n");
        }
        let text = format!(
            "module m {{\n{values}fn predict(%x: f32[48, 64]) {{\n{body}%sum = add %sq, %sk\n%y = add %sum, %sv\nreturn %y\n}}\n}}"
        );
        let module = parse_module("", &text, &ConstantTable::new()).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let graph = passed(&module, Tuning::default()).0;
        let is_dot = |id: &NodeId| matches!(&graph.node(*id).kind, NodeKind::Op(Op::Dot(_)));
        let dots: Vec<NodeId> = graph.order().into_iter().filter(is_dot).collect();
        assert_eq!(dots.len(), 1, "{graph}");
        let origin = graph.node(dots[0]).origin.as_ref().expect("it came from somewhere");
        let texts: BTreeSet<String> = origin.all().iter().map(|origin| origin.text.clone()).collect();
        assert_eq!(texts, ["k", "q", "v"].map(String::from).into());
    }

    #[test]
    fn prices_that_are_nearly_the_same_are_the_same() {
        let price = |seconds, kernels| Price { seconds, kernels };
        let given = price(1.0, 3);
        assert!(price(0.99, 4).beats(&given) && price(1.0005, 2).beats(&given) && price(0.9995, 2).beats(&given));
        assert!(!price(0.9995, 3).beats(&given) && !price(0.9995, 4).beats(&given) && !price(1.01, 2).beats(&given));
        assert!(beats(&Some(given), &None) && !beats(&None, &Some(given)) && !beats(&None, &None));
    }

    #[test]
    fn an_answer_is_for_one_network() {
        let question = |rows| passed(&projections(rows), Tuning::known(Answers::new())).1.remove(0).question;
        assert_eq!(question(48), question(48));
        assert_ne!(question(48), question(96));
    }
}
