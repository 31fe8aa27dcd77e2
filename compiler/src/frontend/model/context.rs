//! What a layer sees while it is built: the graph, its parameters, and where it stands.

use super::sequences::Sequences;
use super::states::States;
use super::tree::Mistake;
use crate::losses::Penalty;
use crate::optim::Constraint;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::RandomUniform;
use kiln_ir::random::stream_number;
use kiln_ir::{Builder, DType, Dim, Graph, Op, Origin, TensorType, Value};
use kiln_runtime::training::recipe::{Initial, Slot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A parameter of the network.
#[derive(Clone, PartialEq, Debug)]
pub struct ParameterInfo {
    /// Its type.
    pub ty: TensorType,
    /// How its first values are drawn.
    pub initialiser: Initialiser,
    /// How many inputs each output that it makes sums, and how many outputs each input goes to.
    pub fans: (usize, usize),
    /// Whether gradients change it; statistics, for instance, they do not.
    pub trainable: bool,
    /// What the layer's settings ask of its matrices.
    pub care: Care,
    /// The axes along which the weights of one output lie.
    pub incoming: Vec<usize>,
}

impl ParameterInfo {
    /// What a trainer is told about it.
    pub fn slot(&self, name: &str) -> Slot {
        let size = |dim: &Dim| dim.as_const().and_then(|d| usize::try_from(d).ok()).expect("parameters have known sizes");
        let initial = Initial::Drawn { initialiser: self.initialiser, fans: self.fans };
        Slot { name: name.to_string(), dtype: self.ty.dtype, shape: self.ty.shape.iter().map(size).collect(), initial }
    }
}

/// What training does about the weight matrices of a layer, beside following gradients.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Care {
    /// What they add to the loss.
    pub penalty: Penalty,
    /// What they obey after each step.
    pub constraint: Option<Constraint>,
}

/// What a layer asks for.
pub struct Weight<'a> {
    /// Its name inside the layer.
    pub name: &'a str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How its first values are drawn.
    pub initialiser: Initialiser,
    /// See [`ParameterInfo::fans`].
    pub fans: (usize, usize),
    /// See [`ParameterInfo::trainable`].
    pub trainable: bool,
    /// See [`ParameterInfo::incoming`]; none for what is no matrix.
    pub incoming: Vec<usize>,
}

impl<'a> Weight<'a> {
    /// A trainable vector that is no matrix's: a bias, a scale.
    pub fn vector(name: &'a str, size: usize, initialiser: Initialiser) -> Weight<'a> {
        Weight { name, shape: vec![size], initialiser, fans: (size, size), trainable: true, incoming: Vec::new() }
    }

    /// A trainable matrix from `inputs` to `outputs`.
    pub fn matrix(name: &'a str, inputs: usize, outputs: usize, initialiser: Initialiser) -> Weight<'a> {
        Weight { name, shape: vec![inputs, outputs], initialiser, fans: (inputs, outputs), trainable: true, incoming: vec![0] }
    }
}

/// Numbers in all parameters together: what computing their first values in f64 may need memory for.
const MAX_ELEMENTS: usize = 1 << 31;

/// The parameters so far, by name, each with its value in the graph.
#[derive(Default)]
pub struct Parameters {
    by_name: BTreeMap<String, (ParameterInfo, Value)>,
    elements: usize,
}

impl Parameters {
    /// Whether a layer has a weight matrix.
    pub fn has_matrix(&self, path: &str) -> bool {
        let of_layer = |name: &String| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        self.by_name.iter().any(|(name, (info, _))| of_layer(name) && !info.incoming.is_empty())
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What they are.
    pub fn into_infos(self) -> BTreeMap<String, ParameterInfo> {
        self.by_name.into_iter().map(|(name, (info, _))| (name, info)).collect()
    }
}

/// See the head of this file.
pub struct Context<'n> {
    /// The function under construction.
    pub graph: &'n mut Graph,
    /// The parameters so far.
    pub parameters: &'n mut Parameters,
    /// The type of parameters and computed values.
    pub dtype: DType,
    /// The type of parameters between steps, which may be wider.
    pub stored: DType,
    /// What the names of the layer's parameters begin with.
    pub path: String,
    /// The place in the file.
    pub origin: Arc<Origin>,
    /// What the layer's settings ask of its matrices.
    pub care: Care,
    /// Samples of a second of sound, if an input takes sounds.
    pub sample_rate: Option<u32>,
    /// In the function that training differentiates; `None` in the one that predicts.
    pub training: Option<&'n mut TrainingMode>,
    /// What is known of values made of texts, where there can be some.
    pub sequences: Option<&'n mut Sequences>,
    /// What is remembered from call to call, in functions that do so.
    pub states: Option<&'n mut States>,
}

/// What layers that behave differently during training use and leave.
pub struct TrainingMode {
    /// What all random numbers of a step follow from: `u64[]`.
    pub key: Value,
    /// How many streams of random numbers each layer uses.
    streams: BTreeMap<String, usize>,
    /// Parameters that no gradient changes, but each step does: their values after it.
    pub statistics: BTreeMap<String, Value>,
}

impl TrainingMode {
    /// Random numbers by `key`.
    pub fn new(key: Value) -> TrainingMode {
        TrainingMode { key, streams: BTreeMap::new(), statistics: BTreeMap::new() }
    }
}

impl Context<'_> {
    /// During training, numbers in 0..1 for each element of `x`, in f32: those of this layer and step.
    pub fn random_like(&mut self, x: Value) -> Option<Value> {
        let shape = self.graph.ty(x).shape.clone();
        self.random(&shape)
    }

    /// The same of a shape.
    pub fn random(&mut self, shape: &[Dim]) -> Option<Value> {
        let training = self.training.as_deref_mut()?;
        let used = training.streams.entry(self.path.clone()).or_default();
        *used += 1;
        // Streams are numbered with 63 bits, which attributes hold.
        let stream = stream_number(&format!("{}#{used}", self.path)) >> 1;
        let (key, op) = (training.key, RandomUniform { shape: shape.to_vec(), stream: stream as usize, dtype: DType::F32 });
        Some(self.b().op(op, &[key]))
    }

    /// During training, lets the statistic of that name, now `old`, become momentum · old + (1 − momentum) · new.
    pub fn update_statistic(&mut self, name: &str, old: Value, new: Value, momentum: f64) {
        self.update_named_statistic(format!("{}.{name}", self.path), old, new, momentum);
    }

    /// The same under a name of the caller's choice.
    pub fn update_named_statistic(&mut self, name: String, old: Value, new: Value, momentum: f64) {
        // A shared layer that is used again goes on from where it was.
        let Some(old) = self.training.as_ref().map(|training| training.statistics.get(&name).copied().unwrap_or(old)) else { return };
        let mut b = self.b();
        let new = b.cast(new, b.dtype(old));
        let (kept, added) = (b.scalar(b.dtype(old), momentum), b.scalar(b.dtype(old), 1.0 - momentum));
        let (kept, added) = (b.mul(old, kept), b.mul(new, added));
        let value = b.add(kept, added);
        if let Some(training) = self.training.as_deref_mut() {
            training.statistics.insert(name, value);
        }
    }

    /// A builder whose nodes come from this layer.
    pub fn b(&mut self) -> Builder<'_> {
        Builder::from_origin(self.graph, Some(self.origin.clone()))
    }

    /// The same layer's part of that name.
    pub fn within<T>(&mut self, part: &str, f: impl FnOnce(&mut Context) -> Result<T, Mistake>) -> Result<T, Mistake> {
        let path = format!("{}.{part}", self.path);
        let origin = self.origin.clone();
        let sample_rate = self.sample_rate;
        let (training, sequences) = (self.training.as_deref_mut(), self.sequences.as_deref_mut());
        let states = self.states.as_deref_mut();
        f(&mut Context {
            graph: self.graph,
            parameters: self.parameters,
            dtype: self.dtype,
            stored: self.stored,
            path,
            origin,
            care: self.care,
            sample_rate,
            training,
            sequences,
            states,
        })
    }

    /// Applies an operator to values whose shapes the user chose. Errors: they do not fit.
    pub fn ops(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Vec<Value>, Mistake> {
        let types: Vec<String> = x.iter().map(|v| self.graph.ty(*v).to_string()).collect();
        self.b().try_op(op, x).map_err(|error| Mistake::new(format!("{error}; the layer's values are {}", types.join(", "))))
    }

    /// The same for an operator of one result.
    pub fn op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Value, Mistake> {
        Ok(self.ops(op, x)?[0])
    }

    /// An element-wise operator on values that broadcast. Errors: they do not.
    pub fn broadcast_op(&mut self, op: impl Into<Op>, x: &[Value]) -> Result<Value, Mistake> {
        let types: Vec<String> = x.iter().map(|v| self.graph.ty(*v).to_string()).collect();
        let x = self.b().try_broadcast_all(x, "shapes");
        let x = x.map_err(|_| Mistake::new(format!("the shapes of {} do not fit one another", types.join(" and "))))?;
        self.op(op, &x)
    }

    /// A parameter of this layer; the same one again where layers share. Errors: it is shared with another shape.
    pub fn parameter(&mut self, weight: Weight) -> Result<Value, Mistake> {
        self.named_parameter(format!("{}.{}", self.path, weight.name), weight)
    }

    /// The same under a name of the caller's choice.
    pub fn named_parameter(&mut self, name: String, weight: Weight) -> Result<Value, Mistake> {
        // What no gradient changes is added up over many steps.
        let dtype = if weight.trainable { self.dtype } else { self.stored };
        let ty = TensorType::fixed(dtype, &weight.shape);
        if let Some((info, value)) = self.parameters.by_name.get(&name) {
            if info.ty != ty {
                return Err(Mistake::new(format!("the shared parameter `{name}` is {}, here {ty} is needed", info.ty)));
            }
            if self.care != Care::default() && !weight.incoming.is_empty() && info.care != self.care {
                return Err(Mistake::new(format!("`{name}` is shared: its first layer says what it costs and obeys")));
            }
            return Ok(*value);
        }
        let total = self.parameters.elements.saturating_add(product(&weight.shape));
        if total > MAX_ELEMENTS {
            return Err(Mistake::new(format!("with `{name}`, {ty}, the network has more than {MAX_ELEMENTS} parameters")));
        }
        self.parameters.elements = total;
        let value = self.graph.add_parameter(&name, ty.clone());
        // Vectors (biases, scales) are left as they are.
        let care = if weight.incoming.is_empty() { Care::default() } else { self.care };
        let Weight { initialiser, fans, trainable, incoming, .. } = weight;
        let info = ParameterInfo { ty, initialiser, fans, trainable, care, incoming };
        self.parameters.by_name.insert(name, (info, value));
        Ok(value)
    }

    /// Errors unless the value has the rank of the axes named and floats.
    pub fn expect(&self, x: Value, axes: &[&str]) -> Result<(), Mistake> {
        let ty = self.graph.ty(x);
        if ty.rank() != axes.len() {
            return Err(Mistake::new(format!("takes [{}], but what comes in is {ty}", axes.join(", "))));
        }
        self.expect_floats(x)
    }

    /// Errors unless the value holds floating numbers.
    pub fn expect_floats(&self, x: Value) -> Result<(), Mistake> {
        let ty = self.graph.ty(x);
        if ty.dtype.is_float() { Ok(()) } else { Err(Mistake::new(format!("takes floating numbers, but what comes in is {ty}"))) }
    }

    /// A size that parameters depend on, which must be a number. Errors: it is open.
    pub fn size(&self, x: Value, axis: usize, what: &str) -> Result<usize, Mistake> {
        let ty = self.graph.ty(x);
        let size = ty.shape.get(axis).and_then(Dim::as_const).and_then(|d| usize::try_from(d).ok());
        size.ok_or_else(|| Mistake::new(format!("needs a known number of {what}, axis {axis} of {ty}")))
    }
}

/// The product of sizes, or the largest number if it is larger.
pub fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
}
