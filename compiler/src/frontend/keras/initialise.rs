//! Initialisers, penalties and constraints as Keras names them.

use super::super::model::context::Care;
use super::super::model::tree::{Mistake, Node};
use crate::losses::Penalty;
use crate::optim::Constraint;
use kiln_ir::initialiser::{Initialiser, Scale, Shape};

/// The initialiser that a config holds, or what stands for it. Errors: none that is known.
pub fn initialiser(node: Option<&Node>, default: Initialiser) -> Result<Initialiser, Mistake> {
    let Some(node) = node else { return Ok(default) };
    let (class, config) = class_of(node).ok_or_else(|| Mistake::new("an initialiser has no `class_name`"))?;
    let number = |name: &str, default: f64| config.and_then(|c| c.field(name)).and_then(Node::number).unwrap_or(default);
    let unknown = || Mistake::new(format!("the initialiser `{class}` is not known here")).help("save the model with its weights");
    // Letters alone, as "GlorotUniform" and "glorot_uniform" are the same.
    let word: String = class.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    let scaled = |scale, shape| Ok(Initialiser::Scaled(scale, shape));
    match word.as_str() {
        "zeros" => Ok(Initialiser::Constant(0.0)),
        "ones" => Ok(Initialiser::Constant(1.0)),
        "constant" => Ok(Initialiser::Constant(number("value", 0.0))),
        "uniform" | "randomuniform" if number("minval", -0.05) == -number("maxval", 0.05) => {
            Ok(Initialiser::Uniform(number("maxval", 0.05)))
        }
        "normal" | "randomnormal" if number("mean", 0.0) == 0.0 => Ok(Initialiser::Normal(number("stddev", 0.05))),
        "truncatednormal" if number("mean", 0.0) == 0.0 => Ok(Initialiser::TruncatedNormal(number("stddev", 0.05))),
        "orthogonal" => Ok(Initialiser::Orthogonal(number("gain", 1.0))),
        "glorotuniform" => scaled(Scale::Glorot, Shape::Uniform),
        "glorotnormal" => scaled(Scale::Glorot, Shape::Normal),
        "heuniform" => scaled(Scale::He, Shape::Uniform),
        "henormal" => scaled(Scale::He, Shape::Normal),
        "lecununiform" => scaled(Scale::LeCun, Shape::Uniform),
        "lecunnormal" => scaled(Scale::LeCun, Shape::Normal),
        "variancescaling" => {
            let text = |name: &str| config.and_then(|c| c.field(name)).and_then(Node::text).unwrap_or_default();
            let shape = if text("distribution") == "uniform" { Shape::Uniform } else { Shape::Normal };
            match (text("mode"), number("scale", 1.0)) {
                ("fan_avg", 1.0) => scaled(Scale::Glorot, shape),
                ("fan_in", 1.0) => scaled(Scale::LeCun, shape),
                ("fan_in", 2.0) => scaled(Scale::He, shape),
                _ => Err(unknown()),
            }
        }
        _ => Err(unknown()),
    }
}

/// What training does about a weight whose outputs sum over the axes `incoming`, and what it would have to leave out.
pub fn care(regulariser: Option<&Node>, constraint: Option<&Node>, incoming: &[usize]) -> (Care, Vec<String>) {
    let (mut care, mut left_out) = (Care::default(), Vec::new());
    if let Some(node) = regulariser {
        match penalty(node).filter(|_| !incoming.is_empty()) {
            Some(penalty) => care.penalty = penalty,
            None => left_out.push("the regulariser".to_string()),
        }
    }
    if let Some(node) = constraint {
        care.constraint = constraint_of(node, incoming);
        left_out.extend(care.constraint.is_none().then(|| "the constraint".to_string()));
    }
    (care, left_out)
}

fn penalty(node: &Node) -> Option<Penalty> {
    let (class, config) = class_of(node)?;
    let number = |name: &str| config.and_then(|c| c.field(name)).and_then(Node::number);
    let word = class.to_lowercase();
    let (l1, l2) = (number("l1"), number("l2"));
    match word.as_str() {
        "l1" => Some(Penalty { l1: l1.unwrap_or(0.01), l2: 0.0 }),
        "l2" => Some(Penalty { l1: 0.0, l2: l2.unwrap_or(0.01) }),
        // What Keras 2 writes whatever it was; the texts mean 0.01.
        "l1l2" | "l1_l2" => Some(Penalty { l1: l1.unwrap_or(0.0), l2: l2.unwrap_or(0.0) }),
        _ => None,
    }
}

fn constraint_of(node: &Node, incoming: &[usize]) -> Option<Constraint> {
    let (class, config) = class_of(node)?;
    let axes = config.and_then(|c| c.field("axis")).map_or(vec![0], |node| match node.list() {
        Some(items) => items.iter().filter_map(Node::integer).collect(),
        None => node.integer().into_iter().collect(),
    });
    let along_incoming = axes.iter().copied().eq(incoming.iter().map(|axis| *axis as i64));
    match class.to_lowercase().replace('_', "").as_str() {
        "nonneg" if !incoming.is_empty() => Some(Constraint::NonNegative),
        "unitnorm" if along_incoming => Some(Constraint::UnitNorm),
        "maxnorm" if along_incoming => {
            Some(Constraint::MaxNorm(config.and_then(|c| c.field("max_value")).and_then(Node::number).unwrap_or(2.0)))
        }
        _ => None,
    }
}

/// The class that an object or a text names, and its settings.
fn class_of(node: &Node) -> Option<(&str, Option<&Node>)> {
    match node.text() {
        Some(word) => Some((word, None)),
        None => Some((node.field("class_name")?.text()?, node.field("config"))),
    }
}
