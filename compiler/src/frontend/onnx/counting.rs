//! What a loop counts, and when its condition first fails, from the arithmetic of its body on whole numbers.
//!
//! ```text
//! i ← i + 2, from 1, going on while i < 8      →      i = 1 + 2·step, 4 steps
//! ```
//! Exporters write the end of a loop into its condition, and count in a carried value what the loop counts already.

use super::attributes::Attributes;
use super::import::Importer;
use super::operand::{KnownInts, OperandId};
use super::proto::{GraphProto, NodeProto, TensorProto};
use super::symbolic::ShapeNode;
use kiln_ir::dim::Range;
use kiln_ir::{DType, Diagnostic, Dim, Ranges, Symbol, Tensor};
use std::collections::HashMap;

/// Longer chains of arithmetic are not followed.
const MAX_DEPTH: usize = 32;

/// A carried value that is a whole number and grows by the same number in every step.
#[derive(Clone)]
pub(super) struct Counter {
    /// What it is at first, one element.
    pub first: KnownInts,
    /// What a step adds.
    pub step: i64,
}

impl Counter {
    /// What it is after so many steps.
    pub fn after(&self, steps: &Dim) -> KnownInts {
        KnownInts { elements: vec![&self.first.elements[0] + steps * Dim::from(self.step)], ..self.first.clone() }
    }
}

/// What a carried value is that the loop need not carry.
#[derive(Clone)]
pub(super) enum Carried {
    /// A number that counts.
    Counter(Counter),
    /// What it is at first, in every step.
    Unchanged,
    /// Something else, which has to be carried.
    Changing,
}

/// When a condition of a loop is false for the first time.
#[derive(Clone, PartialEq)]
pub(super) enum Fails {
    /// In no step.
    Never,
    /// In this one at the latest, counted from 0, and in none before it.
    At(Dim),
    /// Only the run tells.
    Unknown,
}

/// What is known of a loop before its body is imported.
pub(super) struct Counting {
    /// What each carried value is.
    pub carried: Vec<Carried>,
    /// When the condition that the body computes first fails.
    pub condition: Fails,
}

/// Whole numbers of one step, by name.
struct Numbers<'a> {
    body: &'a GraphProto,
    initializers: HashMap<&'a str, &'a TensorProto>,
    makers: HashMap<&'a str, &'a NodeProto>,
    known: HashMap<String, Option<KnownInts>>,
    ranges: Ranges,
}

impl Numbers<'_> {
    /// The name of what a value is as it stands.
    fn source<'n>(&'n self, name: &'n str) -> &'n str {
        let mut name = name;
        // Names of a graph that go in circles make nothing.
        for _ in 0..MAX_DEPTH {
            match self.makers.get(name) {
                Some(node) if node.op_type == "Identity" && is_standard(node) && node.input.len() == 1 => name = &node.input[0],
                _ => break,
            }
        }
        name
    }
}

impl Importer<'_> {
    /// What the body of a loop counts, given its first values. Errors: those of reading attributes.
    pub(super) fn counting(&mut self, body: &GraphProto, first: &[Option<OperandId>]) -> Result<Counting, Diagnostic> {
        let [number, going_on, states @ ..] = body.input.as_slice() else {
            return Ok(Counting { carried: Vec::new(), condition: Fails::Unknown });
        };
        let mut ranges = self.graph.symbols.clone();
        let mut symbol = |name: &str, range: Range| {
            let mut name = name.to_string();
            while ranges.iter().any(|(other, _)| other.name() == name) {
                name.push('_');
            }
            let symbol = Symbol::new(&name);
            ranges.set(symbol.clone(), range);
            symbol
        };
        let step = symbol("step", Range::SIZE);
        let any = Range { min: i64::MIN, max: i64::MAX };
        let firsts: Vec<Option<(KnownInts, Symbol)>> = first
            .iter()
            .map(|id| {
                let known = (*id).and_then(|id| self.operand(id).known_ints());
                let known = known.filter(|k| k.elements.len() == 1 && matches!(k.dtype, DType::I64 | DType::I32))?;
                Some((known, symbol("carried", any)))
            })
            .collect();
        let makers = body.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)));
        let mut numbers = Numbers {
            body,
            initializers: body.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
            makers: makers.collect(),
            known: HashMap::new(),
            ranges,
        };
        let truth = KnownInts { dtype: DType::Bool, shape: Vec::new(), elements: vec![Dim::ONE] };
        let given = [(number.name.clone(), KnownInts::scalar(Dim::from(step.clone()))), (going_on.name.clone(), truth)];
        let begin = || given.iter().map(|(name, known)| (name.clone(), Some(known.clone()))).collect::<HashMap<_, _>>();

        numbers.known = begin();
        for (info, first) in states.iter().zip(&firsts) {
            let unknown = |(known, symbol): &(KnownInts, Symbol)| KnownInts { elements: vec![Dim::from(symbol.clone())], ..known.clone() };
            numbers.known.insert(info.name.clone(), first.as_ref().map(unknown));
        }
        let mut carried = Vec::new();
        for ((info, first), next) in states.iter().zip(firsts).zip(body.output.iter().skip(1)) {
            if numbers.source(&next.name) == info.name {
                carried.push(Carried::Unchanged);
                continue;
            }
            let next = if first.is_some() { self.number(&mut numbers, &next.name, MAX_DEPTH)? } else { None };
            let counter = first.zip(next).and_then(|((first, symbol), next)| {
                let grows = (&next.elements[0] - Dim::from(symbol)).as_const();
                grows.filter(|_| next.ty() == first.ty()).map(|step| Counter { first, step })
            });
            carried.push(counter.map_or(Carried::Changing, Carried::Counter));
        }

        numbers.known = begin();
        for ((info, carried), first) in states.iter().zip(&carried).zip(first) {
            let known = match carried {
                Carried::Counter(counter) => Some(counter.after(&Dim::from(step.clone()))),
                Carried::Unchanged => first.and_then(|id| self.operand(id).known_ints()),
                Carried::Changing => None,
            };
            numbers.known.insert(info.name.clone(), known);
        }
        let condition = match body.output.first() {
            Some(output) => self.fails(&mut numbers, &output.name, &step, MAX_DEPTH)?,
            None => Fails::Unknown,
        };
        Ok(Counting { carried, condition })
    }

    /// The one element that a value of the body is, if sizes and steps tell.
    fn number(&mut self, numbers: &mut Numbers, name: &str, depth: usize) -> Result<Option<KnownInts>, Diagnostic> {
        if let Some(known) = numbers.known.get(name) {
            return Ok(known.clone());
        }
        let found = self.computed_number(numbers, name, depth)?.filter(|known| known.elements.len() == 1);
        numbers.known.insert(name.to_string(), found.clone());
        Ok(found)
    }

    fn computed_number(&mut self, numbers: &mut Numbers, name: &str, depth: usize) -> Result<Option<KnownInts>, Diagnostic> {
        if let Some(tensor) = numbers.initializers.get(name) {
            return Ok(small(tensor).as_ref().and_then(KnownInts::from_tensor));
        }
        let Some(&node) = numbers.makers.get(name) else {
            let outside = if numbers.body.input.iter().any(|info| info.name == name) { None } else { self.resolve(name)? };
            return Ok(outside.and_then(|id| self.operand(id).known_ints()));
        };
        let Some(depth) = depth.checked_sub(1).filter(|_| is_standard(node)) else { return Ok(None) };
        let attributes = Attributes::new(node)?;
        if node.op_type == "Constant" {
            let tensor = attributes.tensor("value")?.and_then(small);
            let tensor =
                tensor.or(attributes.int("value_int")?.map(|value| Tensor::from_ints(DType::I64, Vec::new(), [i128::from(value)])));
            return Ok(tensor.as_ref().and_then(KnownInts::from_tensor));
        }
        let mut known = Vec::new();
        for operand in &node.input {
            known.push(if operand.is_empty() { None } else { self.number(numbers, operand, depth)? });
        }
        let opset = self.opset("")?;
        let types = known.iter().map(|known: &Option<KnownInts>| known.as_ref().map(KnownInts::ty)).collect();
        let node = ShapeNode { op_type: &node.op_type, opset, attributes: &attributes, types, known, ranges: &numbers.ranges };
        Ok(node.evaluate()?.and_then(|results| results.into_iter().next()))
    }

    /// When a condition first fails that is made of comparisons and conjunctions.
    fn fails(&mut self, numbers: &mut Numbers, name: &str, step: &Symbol, depth: usize) -> Result<Fails, Diagnostic> {
        if let Some(truth) = self.number(numbers, name, depth)?.and_then(|known| known.elements[0].as_const()) {
            return Ok(if truth == 0 { Fails::At(Dim::ZERO) } else { Fails::Never });
        }
        let node = numbers.makers.get(name).copied().filter(|node| is_standard(node));
        let (Some(node), Some(depth)) = (node, depth.checked_sub(1)) else { return Ok(Fails::Unknown) };
        match (node.op_type.as_str(), node.input.as_slice()) {
            ("Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape", [inner, ..]) => self.fails(numbers, inner, step, depth),
            ("And", [a, b]) => Ok(match (self.fails(numbers, a, step, depth)?, self.fails(numbers, b, step, depth)?) {
                (Fails::Unknown, _) | (_, Fails::Unknown) => Fails::Unknown,
                (Fails::Never, other) | (other, Fails::Never) => other,
                (Fails::At(a), Fails::At(b)) => Fails::At(a.minimum(&b)),
            }),
            (comparison @ ("Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual"), [a, b]) => {
                let (Some(a), Some(b)) = (self.number(numbers, a, depth)?, self.number(numbers, b, depth)?) else {
                    return Ok(Fails::Unknown);
                };
                let (low, high) = if comparison.starts_with("Less") { (a, b) } else { (b, a) };
                let strictly = Dim::from(i64::from(!comparison.ends_with("OrEqual")));
                Ok(not_below_zero(&(&high.elements[0] - &low.elements[0] - strictly), step, &numbers.ranges))
            }
            _ => Ok(Fails::Unknown),
        }
    }
}

/// When a number is below zero for the first time.
fn not_below_zero(number: &Dim, step: &Symbol, ranges: &Ranges) -> Fails {
    if ranges.range(number).min >= 0 {
        return Fails::Never;
    }
    let falls = number.linear_in(step).and_then(|(slope, rest)| Some((slope.as_const().filter(|slope| *slope < 0)?.checked_neg()?, rest)));
    match falls {
        Some((by, rest)) => Fails::At((rest.floor_div(&Dim::from(by)) + Dim::ONE).maximum(&Dim::ZERO).simplify(ranges)),
        None => Fails::Unknown,
    }
}

fn is_standard(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// A tensor that stands in the file itself.
fn small(proto: &TensorProto) -> Option<Tensor> {
    super::tensor::TensorData::decode(proto, &mut super::external::ExternalFiles::default()).ok()?.to_tensor().ok()
}
