//! The function of a network that hears a stream: it takes the samples behind those that it has heard, and what it remembers of those.
//! ```text
//! hear (sound: f32[batch, new], %hear/end: f32[end], states..) { … return outputs.., states.. }
//! ```
//! States are what windows along time still need of what came before them, keys and values of attention, places, and what recurrent
//! layers go on from. Those along time have sizes of their own, as it depends on how much was heard how much waits for a window to be
//! full. `end` is 1 with the last samples, behind which convolutions pad, and 0 before. All pieces together give what the whole sound
//! gives, time step by time step, as late as windows look ahead: each of a time step's sums is the same.

use super::context::Context;
use super::tree::Mistake;
use kiln_ir::artifact::{AudioInput, SoundStream};
use kiln_ir::{DType, Diagnostic, Dim, Graph, Module, Symbol, TensorType, Value};
use std::collections::BTreeMap;

/// The function that hears.
#[derive(Clone, Debug)]
pub struct Hearer {
    /// See the head of this file.
    pub graph: Graph,
    /// How streams are given to it.
    pub stream: SoundStream,
}

impl Hearer {
    /// Lets a module compute this function. Errors: `metadata`.
    pub fn set_in(self, module: &mut Module) -> Result<(), Diagnostic> {
        module.functions = [("predict".to_string(), self.graph)].into();
        let text = module.metadata.get("kiln.audio").map_or("", String::as_str);
        let unreadable = |error| Diagnostic::new("metadata", format!("metadata `kiln.audio` is unreadable: {error}"));
        let audio: AudioInput = serde_json::from_str(text).map_err(unreadable)?;
        let audio = AudioInput { lengths: None, stream: Some(self.stream), ..audio };
        module.metadata.insert("kiln.audio".to_string(), serde_json::json!(audio).to_string());
        Ok(())
    }
}

/// What layers of such a function use and leave.
pub struct Hearing {
    /// 1 with the last samples, else 0.
    end: Dim,
    /// Where time steps lie, by the number of those of a piece.
    grids: BTreeMap<Dim, Grid>,
    /// Windows along time, in the order of the layers: what fills each of them once is the least of a first piece.
    windows: Vec<Window>,
    /// Sizes of states before the first samples, by name.
    past: BTreeMap<String, u32>,
}

impl Default for Hearing {
    /// Nothing is remembered yet.
    fn default() -> Hearing {
        let grid = Grid { step: 1, begin: 0 };
        Hearing {
            end: Dim::symbol(Hearing::END),
            grids: [(Dim::symbol(Hearing::NEW), grid)].into(),
            windows: Vec::new(),
            past: BTreeMap::new(),
        }
    }
}

/// Where time steps lie.
#[derive(Clone, Copy)]
struct Grid {
    /// Samples from one to the next.
    step: u64,
    /// The sample that the first begins at: before 0 where windows begin with zeros.
    begin: i64,
}

/// A window along time.
#[derive(Clone, Copy)]
struct Window {
    span: u64,
    stride: u64,
    low: u64,
}

/// How windows slide along the axes behind the second.
pub struct Sliding<'a> {
    /// Elements of a window.
    pub window: &'a [usize],
    /// Elements from one to the next.
    pub strides: &'a [usize],
    /// Elements of the operand from one of a window to the next.
    pub dilations: &'a [usize],
    /// Zeros before the operand.
    pub low: &'a mut [Dim],
    /// Zeros behind it.
    pub high: &'a mut [Dim],
}

impl Hearing {
    /// Layers whose output for a time step depends on it, on some behind it, and on those before it through states alone.
    pub const LAYERS: &[&str] = &[
        "stft",
        "spectrogram",
        "mel",
        "log_mel",
        "normalise",
        "spec_augment",
        "conv1d",
        "conv2d",
        "conv3d",
        "depthwise_conv1d",
        "depthwise_conv2d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "batch_norm",
        "layer_norm",
        "rms_norm",
        "dropout",
        "reshape",
        "permute",
        "dense",
        "sinusoidal_position",
        "multi_head_attention",
        "transformer_encoder",
        "rnn",
        "lstm",
        "gru",
        "add",
        "multiply",
        "activation",
        "leaky_relu",
        "elu",
        "softmax",
        "log_softmax",
        "sequence",
        "residual",
    ];
    /// The name of sizes of new samples.
    pub const NEW: &str = "new";
    /// The name of the size that says whether more follows.
    pub const END: &str = "end";
    /// The name of the size of the batch, the only other one that is open.
    const BATCH: &str = "batch";

    /// How streams are given to the function whose time steps of interest are so many a piece.
    pub fn stream(self, time: Option<&Dim>) -> SoundStream {
        let whole = self.grids.values().map(|grid| grid.step).max().unwrap_or(1);
        let grid = time.and_then(|time| self.grids.get(time)).copied().unwrap_or(Grid { step: whole, begin: 0 });
        let first = self.windows.iter().rev().fold(1, |needed: u64, window| {
            needed.saturating_sub(1).saturating_mul(window.stride).saturating_add(window.span).saturating_sub(window.low).max(1)
        });
        SoundStream { first, least: whole, step: grid.step, begin: grid.begin, past: self.past }
    }

    /// A new size of states along time, which is `first` before the first samples.
    fn new_past(&mut self, first: u32) -> Dim {
        let name = format!("past_{}", self.past.len() + 1);
        self.past.insert(name.clone(), first);
        Dim::symbol(&name)
    }

    /// The axis of a shape that is time: the one that is open.
    pub fn time_axis(shape: &[Dim]) -> Result<Option<usize>, Mistake> {
        let is_open = |axis: &usize| {
            let dim = &shape[*axis];
            dim.as_const().is_none() && dim.as_symbol().is_none_or(|symbol| *symbol != Symbol::new(Hearing::BATCH))
        };
        let mut open = (0..shape.len()).filter(is_open);
        match (open.next(), open.next()) {
            (axis, None) => Ok(axis),
            (_, Some(_)) => Err(Mistake::new("does not hear a stream piece by piece: what comes in has two axes of open size")),
        }
    }
}

impl Context<'_> {
    /// In the function that hears, the axis of a value that is time. Errors: it has several open axes.
    pub fn time_axis(&mut self, x: Value) -> Result<Option<usize>, Mistake> {
        if self.hearing().is_none() {
            return Ok(None);
        }
        Hearing::time_axis(&self.graph.ty(x).shape)
    }

    /// Errors: in the function that hears, the axis of a value is time, along which a layer would need all at once.
    pub fn expect_not_time(&mut self, x: Value, axis: usize) -> Result<(), Mistake> {
        match self.time_axis(x)? {
            Some(time) if time == axis => {
                Err(Mistake::new(format!("axis {axis} of {} is time, of which a stream has a piece at a time", self.graph.ty(x))))
            }
            _ => Ok(()),
        }
    }

    /// Errors: in the function that hears, a layer that moves elements changes time steps.
    pub fn expect_same_time(&mut self, x: Value, y: Value) -> Result<(), Mistake> {
        let Some(from) = self.time_axis(x)? else { return Ok(()) };
        let (given, made) = (self.graph.ty(x).shape.clone(), self.graph.ty(y).shape.clone());
        let to = Hearing::time_axis(&made)?;
        match to {
            Some(to) if given[from] == made[to] && Dim::product(&given[..from]) == Dim::product(&made[..to]) => Ok(()),
            _ => Err(Mistake::new(format!("time steps of {} are not those of {}", self.graph.ty(x), self.graph.ty(y)))),
        }
    }

    /// In the function that hears, lets windows along time begin with what they still need of what came before: `x` with that before
    /// it, and zeros behind it at the end. What it stands between is then padded no more along time.
    ///
    /// Errors: padding that depends on how much follows, or where `with_zeros` is false, any; windows apart from each other.
    pub fn slid(&mut self, x: Value, with_zeros: bool, sliding: Sliding) -> Result<Value, Mistake> {
        let Some(axis) = self.time_axis(x)? else { return Ok(x) };
        let ty = self.graph.ty(x).clone();
        let at = axis.checked_sub(2).ok_or_else(|| Mistake::new(format!("{ty} has no channels before time")))?;
        let (stride, span) = (sliding.strides[at] as u64, (sliding.window[at].saturating_sub(1) * sliding.dilations[at] + 1) as u64);
        let zeros = |dim: &Dim| dim.as_const().and_then(|n| u32::try_from(n).ok());
        let (Some(low), Some(high)) = (zeros(&sliding.low[at]), zeros(&sliding.high[at])) else {
            let mistake = Mistake::new("pads a stream by as much as its end says");
            return Err(mistake.help("padding = \"causal\", \"valid\" or a number"));
        };
        if !with_zeros && (low, high) != (0, 0) {
            return Err(Mistake::new("pads a stream, and not with zeros").help("padding = \"valid\""));
        }
        if span < stride || stride == 0 {
            return Err(Mistake::new(format!("windows of {span} time steps, {stride} apart, pass some of a stream over")));
        }
        (sliding.low[at], sliding.high[at]) = (Dim::ZERO, Dim::ZERO);
        let Some(hearing) = self.hearing() else { return Ok(x) };
        // Windows at every place that begin with nothing but zeros always need as much.
        let is_even = stride == 1 && u64::from(low) + 1 == span;
        let past = if is_even { Dim::from(i64::from(low)) } else { hearing.new_past(low) };
        let behind = Dim::from(i64::from(high)) * &hearing.end;
        let time = ty.shape[axis].clone();
        let all = &past + &time + &behind;
        let (dim_span, dim_stride) = (Dim::from(span as i64), Dim::from(stride as i64));
        let steps = (&all - &dim_span).floor_div(&dim_stride) + Dim::ONE;
        let grid = hearing.grids.get(&time).copied().unwrap_or(Grid { step: 1, begin: 0 });
        hearing.windows.push(Window { span, stride, low: u64::from(low) });
        let begin = grid.begin - i64::from(low) * grid.step as i64;
        hearing.grids.insert(steps.clone(), Grid { step: grid.step * stride, begin });
        let before = TensorType::new(ty.dtype, with_size(&ty.shape, axis, past));
        let Some((place, before)) = self.state("past", before) else { return Ok(x) };
        let mut parts = vec![before, x];
        let mut b = self.b();
        if high > 0 {
            let zero = b.scalar(ty.dtype, 0.0);
            parts.push(b.broadcast_to(zero, &with_size(&ty.shape, axis, behind)));
        }
        let joined = b.concat(&parts, axis);
        let used = steps * dim_stride;
        let after = b.slice_axis(joined, axis, &used, &(all - &used));
        self.keep_state(place, after);
        Ok(joined)
    }

    /// In the function that hears, keys and values `[batch, heads, new, features]` behind those before them, of which at most `window`
    /// are remembered, and how many those are.
    pub fn heard(&mut self, parts: &mut [Value; 2], window: Option<usize>) -> Result<Option<Dim>, Mistake> {
        let Some(hearing) = self.hearing() else { return Ok(None) };
        let past = hearing.new_past(0);
        for (name, value) in ["key", "value"].into_iter().zip(parts) {
            let ty = self.graph.ty(*value).clone();
            let Some((place, before)) = self.state(name, TensorType::new(ty.dtype, with_size(&ty.shape, 2, past.clone()))) else {
                continue;
            };
            let mut b = self.b();
            let joined = b.concat(&[before, *value], 2);
            let all = b.shape(joined)[2].clone();
            let kept = window.map_or_else(|| all.clone(), |window| all.minimum(&Dim::from(window)));
            let after = b.slice_axis(joined, 2, &(&all - &kept), &kept);
            self.keep_state(place, after);
            *value = joined;
        }
        Ok(Some(past))
    }

    /// In the function that hears, how many time steps this layer has had: `i64[]`.
    pub fn steps_before(&mut self, time: &Dim) -> Option<Value> {
        let (place, before) = self.state("steps", TensorType::fixed(DType::I64, &[]))?;
        let mut b = self.b();
        let count = b.dims(std::slice::from_ref(time));
        let count = b.reshape(count, &[]);
        let after = b.add(before, count);
        self.keep_state(place, after);
        Some(before)
    }
}

/// A shape with another size of an axis.
fn with_size(shape: &[Dim], axis: usize, size: Dim) -> Vec<Dim> {
    let mut shape = shape.to_vec();
    shape[axis] = size;
    shape
}

/// That a network has no function that hears.
pub fn hears_nothing(name: &str) -> Diagnostic {
    let error = Diagnostic::new("hears_nothing", format!("`{name}` takes no sound of open length, or something else as well"));
    error.help("an input with `audio` and shape [\"samples\"] takes one")
}
