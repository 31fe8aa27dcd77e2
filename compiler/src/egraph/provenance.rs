//! Which operators of a graph became which, by which rules: read from the log of saturation and the choice of extraction.

use super::convert::Embedded;
use super::lang::{ENode, Kind};
use super::saturate::{Application, Report};
use crate::cut::role::{Role, role};
use egg::Id;
use kiln_ir::NodeKind;
use kiln_ir::graph::Origin;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An operator that stands for others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replacement {
    /// Its name.
    pub op: &'static str,
    /// Where its result came from.
    pub origin: String,
    /// The operators that it stands for, operands first: name and origin. What others still need is not among them.
    pub sources: Vec<(&'static str, String)>,
    /// The rules that led from those to it, in the order of application: name and round.
    pub rules: Vec<(&'static str, usize)>,
}

/// A use of a rule, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The rule.
    pub rule: &'static str,
    /// In which round, from 1.
    pub round: usize,
    /// Where the class came from that it was used at; nothing where no rule kept it.
    pub origin: String,
}

/// The log with places.
pub fn applied(program: &Embedded, report: &Report) -> Vec<Applied> {
    let origins = program.origins();
    let place = |a: &Application| origin(&origins, program.egraph.find(a.root));
    report.log.iter().map(|a| Applied { rule: a.rule, round: a.round, origin: place(a) }).collect()
}

/// Every operator of the chosen graph that rules made in the place of others, operands first.
pub fn replacements(program: &Embedded, choice: &BTreeMap<Id, ENode>, report: &Report) -> Vec<Replacement> {
    let (first, origins) = (program.first_choice(), program.origins());
    let live = reachable(choice, program.outputs(), &|_| true);
    let alive: BTreeSet<Id> = live.iter().copied().collect();
    let mut found = Vec::new();
    for class in live {
        let chosen = &choice[&class];
        let Some(before) = first.get(&class).filter(|node| *node != chosen) else { continue };
        // From the operands of what it was, down to what is still computed.
        let gone = reachable(&first, before.operands.iter().copied(), &|id| !alive.contains(&id));
        let replaced: BTreeSet<Id> = gone.iter().copied().chain([class]).collect();
        let source = |id: &Id| name(program, &first[id]).map(|name| (name, origin(&origins, *id)));
        let sources = gone.iter().chain([&class]).filter_map(source).collect();
        let rules = chain(program, &report.log, &replaced, class, chosen);
        found.extend(name(program, chosen).map(|op| Replacement { op, origin: origin(&origins, class), sources, rules }));
    }
    found
}

/// Where the nodes came from that rules made others of: by each class that computes something in their place, or moves it where nothing
/// new is computed.
pub fn made_of(program: &Embedded, choice: &BTreeMap<Id, ENode>) -> BTreeMap<Id, Vec<Arc<Origin>>> {
    let (first, origins, given) = (program.first_choice(), program.origins(), program.given());
    let live = reachable(choice, program.outputs(), &|_| true);
    let alive: BTreeSet<Id> = live.iter().copied().collect();
    let computes = |class: &Id| match program.egraph.analysis.kind(&choice[class]) {
        Kind::Node(NodeKind::Op(op)) => !matches!(role(op), Role::View(_)),
        _ => false,
    };
    let mut found: BTreeMap<Id, Vec<Arc<Origin>>> = BTreeMap::new();
    for class in live {
        let Some(before) = first.get(&class).filter(|node| **node != choice[&class]) else { continue };
        let gone = reachable(&first, before.operands.iter().copied(), &|id| !alive.contains(&id));
        let sources: Vec<Arc<Origin>> = gone.iter().chain([&class]).filter_map(|id| origins.get(id).cloned()).collect();
        let made = reachable(choice, std::iter::once(class), &|id| id == class || !given.contains(&id) && !program.egraph[id].data.fixed);
        let mut made_of = |class: Id| {
            let others = found.entry(class).or_default();
            sources.iter().for_each(|origin| {
                if !others.contains(origin) {
                    others.push(origin.clone())
                }
            });
        };
        match made.iter().any(computes) {
            true => made.into_iter().filter(computes).for_each(&mut made_of),
            false => made_of(class),
        }
    }
    found
}

/// The applications that led to the chosen e-node of a class, from first to last: all before it below the class, and at the class
/// those whose e-node a later one started from.
fn chain(program: &Embedded, log: &[Application], replaced: &BTreeSet<Id>, class: Id, chosen: &ENode) -> Vec<(&'static str, usize)> {
    let mut found = Vec::new();
    let mut started_from: BTreeSet<&'static str> = BTreeSet::new();
    for application in log.iter().rev() {
        let at = program.egraph.find(application.root);
        let mut made = program.egraph.nodes()[usize::from(application.made)].clone();
        made.operands.iter_mut().for_each(|id| *id = program.egraph.find(*id));
        let leads = match at == class {
            true if found.is_empty() => made == *chosen,
            true => started_from.contains(made.kind.name),
            false => !found.is_empty() && replaced.contains(&at),
        };
        if leads {
            found.push((application.rule, application.round));
            started_from.extend(application.roots.iter().filter(|_| at == class));
        }
    }
    found.reverse();
    found
}

/// The rules that made what is chosen in the place of something else, each once, in the order of their first use.
pub fn used(program: &Embedded, choice: &BTreeMap<Id, ENode>, report: &Report) -> Vec<&'static str> {
    let live: BTreeSet<Id> = reachable(choice, program.outputs(), &|_| true).into_iter().collect();
    let mut used: Vec<&'static str> = Vec::new();
    for application in report.log.iter().filter(|a| live.contains(&program.egraph.find(a.root))) {
        let mut made = program.egraph.nodes()[usize::from(application.made)].clone();
        made.operands.iter_mut().for_each(|id| *id = program.egraph.find(*id));
        if choice[&program.egraph.find(application.root)] == made && !used.contains(&application.rule) {
            used.push(application.rule);
        }
    }
    used
}

/// Classes that these need under a choice, operands first, as far as `enter` allows.
fn reachable(choice: &BTreeMap<Id, ENode>, from: impl Iterator<Item = Id>, enter: &dyn Fn(Id) -> bool) -> Vec<Id> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for root in from {
        let mut stack = vec![(root, 0usize)];
        while let Some((class, next)) = stack.pop() {
            if next == 0 && (!enter(class) || !seen.insert(class)) {
                continue;
            }
            match choice[&class].operands.get(next) {
                Some(operand) => stack.extend([(class, next + 1), (*operand, 0)]),
                None => order.push(class),
            }
        }
    }
    order
}

fn name(program: &Embedded, node: &ENode) -> Option<&'static str> {
    match program.egraph.analysis.kind(node) {
        Kind::Node(NodeKind::Op(op)) => Some(op.name()),
        Kind::Node(NodeKind::Input(_) | NodeKind::Parameter(_) | NodeKind::Constant(_)) | Kind::Result(_) => None,
    }
}

fn origin(origins: &BTreeMap<Id, Arc<Origin>>, class: Id) -> String {
    origins.get(&class).map_or_else(String::new, |origin| origin.text.clone())
}
