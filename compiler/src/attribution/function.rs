//! A network as the function that attribution differentiates: the score of a class at a point.
//! ```text
//! score (inputs.., %point, %target: i64[batch]) { … return score: f32[batch], prediction, gradient, layer, layer_gradient }
//! ```
//! The point is the input itself where that is of floating numbers; of tokens what they are embedded as, of sounds their spectrogram,
//! if the network makes one.

use super::Method;
use crate::artifact::describe::ModelFacts;
use crate::pipeline::{Config, run_passes_until};
use kiln_ir::diagnostic::nearest;
use kiln_ir::gradient::gradients;
use kiln_ir::ops::{Attention, AttentionScores, GatherElements};
use kiln_ir::{Builder, DType, Diagnostic, Dim, Graph, Module, NodeId, NodeKind, Op, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What the point is called as an input of the function.
pub const POINT: &str = "attribution/point";
/// What the class is called.
pub const TARGET: &str = "attribution/target";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The method, which says what must be differentiated.
    pub method: Method,
    /// The input that is attributed to; `None`: the only one there can be.
    pub input: Option<&'a str>,
    /// The output whose score is explained; `None`: the first.
    pub output: Option<&'a str>,
    /// Part of the name of the layer that Grad-CAM looks at; `None`: the last convolution.
    pub layer: Option<&'a str>,
}

/// What is varied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The input itself.
    Input,
    /// What tokens are embedded as, `[batch, time, features]`.
    Embedding,
    /// What a sound becomes first, `[batch, frames, bins]`.
    Spectrogram,
}

/// A network made ready for attribution.
#[derive(Debug)]
pub struct Explained {
    /// What is varied.
    pub point: Point,
    /// From inputs to the point, if that is not an input itself.
    pub embed: Option<Module>,
    /// The score at a point.
    pub score: Module,
    /// Which of the network's inputs is attributed to.
    pub input: usize,
    /// Classes along the last axis of the output; `None`: its only number is the score.
    pub classes: Option<usize>,
    /// What each further output of `score` is, behind score and prediction.
    pub extras: Vec<Extra>,
    /// The layers that were looked at: of Grad-CAM one, of attention each.
    pub layers: Vec<String>,
}

/// An output of the function behind score and prediction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extra {
    /// The gradient of the score by the point.
    Gradient,
    /// What the layer gives: `[batch, channels, ..]`.
    Layer,
    /// The gradient of the score by that.
    LayerGradient,
    /// Probabilities of one attention: `[batch, heads, queries, keys]`.
    Attention,
}

/// Makes a network ready.
///
/// Errors: `attribute_input`, `attribute_output`, `attribute_layer` for what cannot be looked at; `not_differentiable`.
pub fn explained(module: &Module, facts: &ModelFacts, wanted: &Wanted, config: &Config) -> Result<Explained, Vec<Diagnostic>> {
    // Exporters spell attention out; recognised, it says what its probabilities are.
    let recognised = (wanted.method == Method::Attention).then(|| run_passes_until(module, config, "recognise")).transpose()?;
    let module = recognised.as_ref().unwrap_or(module);
    let graph = module.predict().map_err(|error| vec![Diagnostic::new("no_function", error)])?;
    let input = input_of(graph, facts, wanted.input).map_err(|error| vec![error])?;
    let output = output_of(graph, wanted.output).map_err(|error| vec![error])?;
    let (kind, point) = point_of(graph, facts, input).map_err(|error| vec![error])?;

    let mut score = graph.without_nodes();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    for (name, value) in graph.inputs() {
        if *value != point {
            map.insert(*value, score.add_input(name, graph.ty(*value).clone()));
        }
    }
    let at = score.add_input(POINT, graph.ty(point).clone());
    map.insert(point, at);
    let batch = graph.ty(output).shape[0].clone();
    let target = score.add_input(TARGET, TensorType::new(DType::I64, vec![batch]));
    let prediction = score.copy_from(graph, &[output], &mut map)[0];
    let value = score_of(&mut score, prediction, target);
    let classes = classes_of(graph.ty(output));
    score.add_output("score", value);
    score.add_output("prediction", prediction);

    let mut extras = Vec::new();
    let mut layers = Vec::new();
    match wanted.method {
        Method::IntegratedGradients | Method::GradientXInput => {
            let name = &graph.inputs()[input].0;
            let gradient = gradient_by(&mut score, value, at, name).map_err(|error| vec![error])?;
            score.add_output("gradient", gradient);
            extras.push(Extra::Gradient);
        }
        Method::GradCam => {
            let (name, activation) = layer_of(&score, at, value, wanted.layer).map_err(|error| vec![error])?;
            let gradient = gradient_by(&mut score, value, activation, &name).map_err(|error| vec![error])?;
            score.add_output("layer", activation);
            score.add_output("layer_gradient", gradient);
            extras.extend([Extra::Layer, Extra::LayerGradient]);
            layers.push(name);
        }
        Method::Occlusion => {}
        Method::Attention => {
            let found = attentions(&mut score, at, value);
            if found.is_empty() {
                let error = Diagnostic::new("attribute_layer", "no attention between the input and the score was found");
                return Err(vec![error.help("`kiln explain MODEL` says what was recognised; other methods need none")]);
            }
            for (number, (name, probabilities)) in found.into_iter().enumerate() {
                score.add_output(format!("attention.{number}"), probabilities);
                extras.push(Extra::Attention);
                layers.push(name);
            }
        }
    }

    let embed = (kind != Point::Input).then(|| {
        let mut embed = graph.without_nodes();
        let mut map: BTreeMap<Value, Value> =
            graph.inputs().iter().map(|(name, value)| (*value, embed.add_input(name, graph.ty(*value).clone()))).collect();
        let value = embed.copy_from(graph, &[point], &mut map)[0];
        embed.add_output(POINT, value);
        module_of(module, "embed", embed)
    });
    Ok(Explained { point: kind, embed, score: module_of(module, "score", score), input, classes, extras, layers })
}

fn module_of(module: &Module, suffix: &str, graph: Graph) -> Module {
    let functions = [("predict".to_string(), graph)].into();
    Module { name: format!("{}_{suffix}", module.name), functions, parameters: module.parameters.clone(), ..Module::default() }
}

/// The input that is attributed to: the one that is asked for, else that of pictures, sounds or texts, else the only one that has a
/// gradient. Errors: `attribute_input`.
fn input_of(graph: &Graph, facts: &ModelFacts, wanted: Option<&str>) -> Result<usize, Diagnostic> {
    let names: Vec<&str> = graph.inputs().iter().map(|(name, _)| name.as_str()).collect();
    let wrong = |text: String| Diagnostic::new("attribute_input", text);
    if let Some(name) = wanted {
        return names.iter().position(|n| *n == name).ok_or_else(|| match nearest(name, names.iter().copied()) {
            Some(near) => wrong(format!("the network has no input `{name}`")).help(format!("did you mean `{near}`?")),
            None => wrong(format!("the network has no input `{name}`")).help(format!("it has {}", names.join(", "))),
        });
    }
    let described = [
        facts.image.as_ref().map(|image| image.input.as_str()),
        facts.audio.as_ref().map(|audio| audio.input.as_str()),
        facts.text.as_ref().map(|text| text.input.as_str()),
    ];
    let described: Vec<usize> = described.into_iter().flatten().filter_map(|name| names.iter().position(|n| *n == name)).collect();
    if let [only] = described[..] {
        return Ok(only);
    }
    let floats: Vec<usize> = (0..names.len()).filter(|at| graph.ty(graph.inputs()[*at].1).dtype.is_float()).collect();
    let embedded = || (0..names.len()).filter(|at| point_of(graph, facts, *at).is_ok()).collect::<Vec<_>>();
    let found = if floats.is_empty() { embedded() } else { floats };
    match found[..] {
        [only] => Ok(only),
        [] => Err(wrong("no input is of floating numbers or goes through an embedding, so none has a gradient".into())),
        _ => {
            let listed: Vec<&str> = found.iter().map(|at| names[*at]).collect();
            Err(wrong(format!("the network has several inputs: {}", listed.join(", "))).help("name one: --of NAME"))
        }
    }
}

/// The output that is explained. Errors: `attribute_output`.
fn output_of(graph: &Graph, wanted: Option<&str>) -> Result<Value, Diagnostic> {
    let names = || graph.outputs().iter().map(|(name, _)| name.as_str());
    let wrong = |text: String| Diagnostic::new("attribute_output", text);
    let at = match wanted {
        None => 0,
        Some(name) => names().position(|n| n == name).ok_or_else(|| match nearest(name, names()) {
            Some(near) => wrong(format!("the network has no output `{name}`")).help(format!("did you mean `{near}`?")),
            None => wrong(format!("the network has no output `{name}`")).help(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
        })?,
    };
    let Some((name, value)) = graph.outputs().get(at) else { return Err(wrong("the network has no output".into())) };
    let ty = graph.ty(*value);
    if !ty.dtype.is_float() || ty.rank() == 0 {
        let error = wrong(format!("output `{name}` is {ty}: a score is a floating number of each sample"));
        return Err(error.help("name another one: --output NAME"));
    }
    Ok(*value)
}

/// The value that is varied: the input, what its tokens are looked up as, or the spectrogram of a sound. Errors: `attribute_input`.
fn point_of(graph: &Graph, facts: &ModelFacts, input: usize) -> Result<(Point, Value), Diagnostic> {
    let (name, value) = &graph.inputs()[input];
    if graph.ty(*value).dtype.is_float() {
        let is_sound = facts.audio.as_ref().is_some_and(|audio| audio.input == *name);
        let spectrogram = is_sound.then(|| spectrogram_of(graph, *value)).flatten();
        return Ok(spectrogram.map_or((Point::Input, *value), |spectrogram| (Point::Spectrogram, spectrogram)));
    }
    let depends = dependent(graph, *value);
    let is_lookup = |id: &NodeId| {
        let node = graph.node(*id);
        matches!(node.kind, NodeKind::Op(Op::Gather(_)))
            && node.types[0].dtype.is_float()
            && !depends.contains(&node.inputs[0].node)
            && depends.contains(&node.inputs[1].node)
    };
    let lookups: Vec<NodeId> = graph.order().into_iter().filter(is_lookup).collect();
    match lookups[..] {
        [only] => Ok((Point::Embedding, Value { node: only, result: 0 })),
        [] => {
            let message = format!("input `{name}` is {}, and goes through no embedding: it has no gradient", graph.ty(*value));
            Err(Diagnostic::new("attribute_input", message))
        }
        _ => Err(Diagnostic::new(
            "attribute_input",
            format!("input `{name}` goes through {} embeddings, and one is possible", lookups.len()),
        )),
    }
}

/// What the layer that cuts a sound into frames makes of it, `[batch, frames, bins]`: a convolution by numbers that are not learnt
/// begins the layer. `None` where the network listens to samples, or to them as well.
fn spectrogram_of(graph: &Graph, sound: Value) -> Option<Value> {
    let depends = dependent(graph, sound);
    let order = graph.order();
    let is_constant = |value: &Value| matches!(graph.node(value.node).kind, NodeKind::Constant(_));
    let frames = |id: &&NodeId| {
        let node = graph.node(**id);
        depends.contains(*id) && matches!(node.kind, NodeKind::Op(Op::Conv(_))) && node.inputs.get(1).is_some_and(is_constant)
    };
    let layer = graph.node(*order.iter().find(frames)?).origin.clone()?;
    let is_spectrogram = |id: &&NodeId| {
        let node = graph.node(**id);
        depends.contains(*id) && node.origin.as_ref() == Some(&layer) && node.types[0].rank() == 3 && node.types[0].dtype.is_float()
    };
    let last = *order.iter().rev().find(is_spectrogram)?;
    // What lies behind it must hear the sound through it alone.
    let others = graph.order_from(graph.outputs().iter().map(|(_, value)| value.node), &|id| id == last);
    (!others.contains(&sound.node)).then_some(Value { node: last, result: 0 })
}

/// What depends on a value, itself included.
fn dependent(graph: &Graph, value: Value) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::from([value.node]);
    for id in graph.order() {
        if graph.node(id).inputs.iter().any(|operand| found.contains(&operand.node)) {
            found.insert(id);
        }
    }
    found
}

fn classes_of(ty: &TensorType) -> Option<usize> {
    let last = ty.shape.last().and_then(|dim| dim.as_const())?;
    (ty.rank() > 1 && last > 1).then_some(last as usize)
}

/// The score of each sample: of its class along the last axis, summed over the axes between.
fn score_of(graph: &mut Graph, prediction: Value, target: Value) -> Value {
    let ty = graph.ty(prediction).clone();
    let mut b = Builder::new(graph);
    let mut value = prediction;
    let last = ty.rank() - 1;
    if classes_of(&ty).is_some() {
        let mut shape = ty.shape.clone();
        shape[last] = Dim::ONE;
        let ones = [vec![shape[0].clone()], vec![Dim::ONE; last]].concat();
        let index = b.reshape(target, &ones);
        let index = b.broadcast_to(index, &shape);
        value = b.op(GatherElements { axis: last }, &[value, index]);
    }
    let axes: Vec<usize> = (1..ty.rank()).collect();
    if axes.is_empty() { value } else { b.reduce_sum(value, &axes, false) }
}

/// The gradient of the sum of scores by a value. Errors: `not_differentiable`.
fn gradient_by(graph: &mut Graph, score: Value, by: Value, name: &str) -> Result<Value, Diagnostic> {
    let ones = Builder::new(graph).like(score, 1.0);
    let found = gradients(graph, &[(score, ones)], &[by]);
    let Some(gradient) = found.by[0] else {
        let error = Diagnostic::new("not_differentiable", format!("the score does not depend smoothly on `{name}`"));
        return Err(match found.stops.first() {
            Some((node, why)) => {
                error.at(graph.node(*node).origin.as_ref().map_or("it stops", |origin| origin.text.as_str()).to_string(), *why)
            }
            None => error,
        });
    };
    *graph = graph.substitute(&found.same);
    Ok(gradient)
}

/// The layer that Grad-CAM looks at, `[batch, channels, ..]`, with its name. Errors: `attribute_layer`.
fn layer_of(graph: &Graph, point: Value, score: Value, wanted: Option<&str>) -> Result<(String, Value), Diagnostic> {
    let depends = dependent(graph, point);
    let order = graph.order_from([score.node], &|_| false);
    let text = |id: NodeId| graph.node(id).origin.as_ref().map_or_else(|| format!("node {}", id.index()), |origin| origin.text.clone());
    let fits = |id: NodeId| {
        let ty = &graph.node(id).types[0];
        (3..=5).contains(&ty.rank()) && ty.dtype.is_float() && depends.contains(&id) && matches!(graph.node(id).kind, NodeKind::Op(_))
    };
    let head = match wanted {
        None => order.iter().rev().copied().find(|id| matches!(graph.node(*id).kind, NodeKind::Op(Op::Conv(_))) && fits(*id)),
        Some(part) => order.iter().rev().copied().find(|id| fits(*id) && text(*id).contains(part)),
    };
    let Some(head) = head else {
        let mut names: Vec<String> = Vec::new();
        for id in order.iter().copied().filter(|id| fits(*id)) {
            if !names.contains(&text(id)) {
                names.push(text(id));
            }
        }
        let error = Diagnostic::new(
            "attribute_layer",
            match wanted {
                Some(part) => format!("no layer with `{part}` in its name gives [batch, channels, ..] on the way to the score"),
                None => "the network has no convolution on the way to the score".to_string(),
            },
        );
        return Err(if names.is_empty() { error } else { error.help(format!("--layer: there are {}", names.join(", "))) });
    };
    // A layer is what its last value of that shape is, bias and activation included.
    let shape = &graph.node(head).types[0].shape;
    let same = |id: &NodeId| fits(*id) && text(*id) == text(head) && graph.node(*id).types[0].shape == *shape;
    let last = order.iter().rev().copied().find(same).unwrap_or(head);
    Ok((text(head), Value { node: last, result: 0 }))
}

/// The probabilities of every attention of a sequence to itself that lies between the point and the score, in order, with its layer.
fn attentions(graph: &mut Graph, point: Value, score: Value) -> Vec<(String, Value)> {
    let depends = dependent(graph, point);
    let mut found = Vec::new();
    for id in graph.order_from([score.node], &|_| false) {
        let node = graph.node(id).clone();
        let NodeKind::Op(Op::Attention(attention)) = &node.kind else { continue };
        if !depends.contains(&id) || graph.ty(node.inputs[0]).shape[2] != graph.ty(node.inputs[1]).shape[2] {
            continue;
        }
        let telling = Attention { scores: Some(AttentionScores::Probabilities), ..attention.clone() };
        let layer = node.origin.as_ref().map_or_else(|| format!("attention {}", found.len()), |origin| origin.text.clone());
        found.push((layer, Builder::from_origin(graph, node.origin.clone()).ops(telling, &node.inputs)[1]));
    }
    found
}
