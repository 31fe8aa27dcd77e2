//! Which use of a rewrite rule first changes results: a search by halves over the logs of both saturations.
//!
//! The first k uses of the log lead to a graph of their own; k grows until results no longer agree. A use that is found is the first
//! after which they do not. Uses whose graphs are not the cheapest change nothing, so the one that is named may have let an earlier one
//! through: its round and its place say which came before.

use crate::egraph::provenance::Applied;
use crate::egraph::rule::Exactness;
use crate::passes::optimise::optimised;
use crate::passes::recognise::recognised;
use crate::passes::regions::visit;
use crate::pipeline::{Config, Context, run_passes_before};
use crate::rewrites::all_rules;
use kiln_ir::{Diagnostic, Module};

/// The use of a rule that first changes results.
#[derive(Clone, PartialEq, Debug)]
pub struct Culprit {
    /// The pass that used it.
    pub pass: &'static str,
    /// The rule, its round and where it was used.
    pub used: Applied,
    /// How exact the rule says it is; `None` for a rule that is in no table.
    pub exactness: Option<Exactness>,
    /// Its place in the log, from 1.
    pub place: usize,
    /// How many uses the log has.
    pub of: usize,
}

/// What a search by halves found.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// With all rules results agree.
    NoRule,
    /// Without any rule they do not agree either.
    NotRules,
    /// This one first changes them.
    Rule(Box<Culprit>),
}

/// The saturations, in their order.
const PASSES: [&str; 2] = ["recognise", "optimise"];

/// Finds the first use of a rule after which a module compiled in a configuration does not agree with what it should compute.
///
/// Errors: those of `agrees`, which compiles and runs.
pub fn bisect_rules(
    module: &Module,
    config: &Config,
    agrees: &mut dyn FnMut(&Config) -> Result<bool, Vec<Diagnostic>>,
) -> Result<Verdict, Vec<Diagnostic>> {
    if agrees(config)? {
        return Ok(Verdict::NoRule);
    }
    if !agrees(&limited(config, [0, 0]))? {
        return Ok(Verdict::NotRules);
    }
    // The second saturation works on what the first leaves.
    let all = [usize::MAX, usize::MAX];
    let pass = usize::from(agrees(&limited(config, [all[0], 0]))?);
    let limits = |most: usize| if pass == 0 { [most, 0] } else { [all[0], most] };
    let log = |config: &Config| log_of(module, config, PASSES[pass]);
    let of = log(&limited(config, limits(usize::MAX)))?.into_iter().map(|log| log.len()).max().unwrap_or(0);
    // Results agree after `good` uses, and do not after `bad`.
    let (mut good, mut bad) = (0, of);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match agrees(&limited(config, limits(middle)))? {
            true => good = middle,
            false => bad = middle,
        }
    }
    let used = log(&limited(config, limits(bad)))?.into_iter().find(|log| log.len() == bad).and_then(|mut log| log.pop());
    let used = used.unwrap_or_else(|| panic!("bisect: no log has {bad} uses of rules"));
    let exactness = all_rules().into_iter().find(|rule| rule.name == used.rule).map(|rule| rule.exactness);
    Ok(Verdict::Rule(Box::new(Culprit { pass: PASSES[pass], used, exactness, place: bad, of })))
}

/// The configuration with so many uses of rules in each saturation.
fn limited(config: &Config, most: [usize; 2]) -> Config {
    let mut config = config.clone();
    if let Some(how) = &mut config.recognise {
        how.limits.applications = most[0];
    }
    if let Some(how) = &mut config.optimise {
        how.limits.applications = most[1];
    }
    config
}

/// The logs of a saturation, one for each graph of the module and its regions.
fn log_of(module: &Module, config: &Config, pass: &str) -> Result<Vec<Vec<Applied>>, Vec<Diagnostic>> {
    let module = run_passes_before(module, config, pass)?;
    let context = Context::new(config, &module.parameters);
    let mut logs = Vec::new();
    for graph in module.functions.values() {
        visit(graph, &mut |graph| match (pass, &config.recognise, &config.optimise) {
            ("recognise", Some(how), _) => logs.push(recognised(graph, &context, how).log),
            ("optimise", _, Some(how)) => logs.push(optimised(graph, &context, how).log),
            _ => {}
        });
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egraph::rule::{Freedom, Rewrite, Rule, Term};
    use crate::egraph::view::View;
    use crate::pipeline::run_passes;
    use crate::rewrites;
    use egg::Id;
    use kiln_ir::eval::evaluate;
    use kiln_ir::ops::Neg;
    use kiln_ir::text::{ConstantTable, parse_module};
    use kiln_ir::{Op, Tensor};

    /// x · w is not −x.
    static PLANTED: Rule = Rule {
        name: "product-is-negation",
        mathematics: "wrong on purpose",
        exactness: Exactness::SameBits,
        roots: &["dot"],
        rewrite: Rewrite::Class(product_is_negation),
        examples: &[],
    };

    fn product_is_negation(view: View, root: Id) -> Option<Term> {
        view.find(root, |op, x| matches!(op, Op::Dot(_)).then(|| Term::of(Neg {}, &[x[0]])))
    }

    fn first(freedom: Freedom) -> Vec<&'static Rule> {
        rewrites::rules(freedom).into_iter().chain([&PLANTED]).collect()
    }

    fn second(freedom: Freedom) -> Vec<&'static Rule> {
        rewrites::optimising_rules(freedom).into_iter().chain([&PLANTED]).collect()
    }

    const PROGRAM: &str = "module m {
      fn predict(%x: f32[n, 4]) {
        %e = exp %x
        %s = reduce %e {kind = sum, axes = [1], keep = true}
        %b = broadcast %s {shape = [n, 4]}
        %p = div %e, %b
        %l = log %p
        %w = const f32[4, 4] [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7]
        %d = dot %l, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} from \"MatMul \\\"planted\\\"\"
        %t = transpose %d {perm = [1, 0]}
        %u = transpose %t {perm = [1, 0]}
        %y = neg %u
        return %y
      }
    }";

    fn verdict(config: &Config) -> Verdict {
        let module = parse_module("", PROGRAM, &ConstantTable::new()).unwrap_or_else(|e| panic!("{}", e[0]));
        let x = Tensor::f32(&[2, 4], &[1.0, 2.0, 0.5, -1.0, 0.0, 0.25, 3.0, 1.0]);
        let run = |module: &Module| evaluate(module, &module.functions["predict"], std::slice::from_ref(&x)).expect("it runs").remove(0);
        let expected = run(&module).floats();
        let mut agrees = |config: &Config| {
            let rewritten = run_passes(&module, config)?.module;
            Ok(run(&rewritten).floats().iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0)))
        };
        bisect_rules(&module, config, &mut agrees).unwrap_or_else(|e| panic!("{}", e[0]))
    }

    #[test]
    fn a_wrong_rule_is_found_in_each_saturation() {
        let sound = Config::default();
        assert_eq!(verdict(&sound), Verdict::NoRule);
        let mut recognising = sound.clone();
        recognising.recognise.as_mut().expect("it is on").rules = first;
        let mut optimising = sound.clone();
        optimising.optimise.as_mut().expect("it is on").rules = second;
        for (config, pass) in [(recognising, "recognise"), (optimising, "optimise")] {
            let Verdict::Rule(culprit) = verdict(&config) else { panic!("{pass}: no rule was found") };
            assert_eq!((culprit.pass, culprit.used.rule, culprit.used.origin.as_str()), (pass, PLANTED.name, "MatMul \"planted\""));
            assert!(culprit.place >= 1 && culprit.place <= culprit.of, "{culprit:?}");
        }
    }

    #[test]
    fn what_is_wrong_without_rules_is_not_blamed_on_one() {
        let module = parse_module("", PROGRAM, &ConstantTable::new()).unwrap_or_else(|e| panic!("{}", e[0]));
        assert_eq!(bisect_rules(&module, &Config::default(), &mut |_| Ok(false)), Ok(Verdict::NotRules));
    }
}
