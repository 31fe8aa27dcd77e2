//! Pooling over the spatial axes of `[batch, channels, spatial..]`.

use super::super::context::Context;
use super::super::hearing;
use super::super::read::{PerAxis, in_one_text, suggest};
use super::super::tree::Mistake;
use super::Layer;
use super::convolution::one;
use kiln_ir::ops::{AvgPool, Mean, ReduceKind, WindowKind, WindowReduce};
use kiln_ir::{Dim, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use std::borrow::Cow;

/// What stands around an input: `"valid"` nothing, `"same"` so much that each stride gives a result, `"causal"` so much before it, else as many elements at both
/// ends, for every axis or for each.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Padding {
    /// Nothing.
    #[default]
    Valid,
    /// Results ⌈size / stride⌉; an odd element more stands at the end.
    Same,
    /// All before each axis, so that no result depends on what comes after its place. *Source*: Keras `Conv1D`.
    Causal,
    /// So many at both ends.
    Both(PerAxis),
}

impl Padding {
    /// Elements before and after each axis.
    pub fn amounts(
        &self,
        sizes: &[Dim],
        window: &[usize],
        strides: &[usize],
        dilations: &[usize],
    ) -> Result<(Vec<Dim>, Vec<Dim>), Mistake> {
        let rank = window.len();
        Ok(match self {
            Padding::Valid => (vec![Dim::ZERO; rank], vec![Dim::ZERO; rank]),
            Padding::Both(amounts) => {
                let amounts: Vec<Dim> = amounts.on(rank, "padding")?.into_iter().map(Dim::from).collect();
                (amounts.clone(), amounts)
            }
            Padding::Causal => {
                let span = |axis: usize| Dim::from(window[axis].saturating_sub(1) * dilations[axis]);
                ((0..rank).map(span).collect(), vec![Dim::ZERO; rank])
            }
            Padding::Same => (0..rank)
                .map(|axis| {
                    let stride = Dim::from(strides[axis].max(1));
                    let span = Dim::from(window[axis].saturating_sub(1) * dilations[axis]);
                    // The last window begins at (results − 1)·stride and reaches `span` further.
                    let reach = if stride.is(1) {
                        span
                    } else {
                        let last = (sizes[axis].ceil_div(&stride) - Dim::ONE) * &stride;
                        (last + span + Dim::ONE - &sizes[axis]).maximum(&Dim::ZERO)
                    };
                    let low = reach.floor_div(&Dim::from(2));
                    (low.clone(), reach - low)
                })
                .unzip(),
        })
    }
}

impl JsonSchema for Padding {
    fn schema_name() -> Cow<'static, str> {
        "Padding".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": ["valid", "same", "causal"] }, PerAxis::json_schema(generator)] })
    }
}

impl<'t> Deserialize<'t> for Padding {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Padding, D::Error> {
        #[derive(serde::Deserialize, JsonSchema)]
        #[serde(untagged, expecting = "\"valid\", \"same\", \"causal\", a number, or a list with one for each axis")]
        enum Either {
            Word(String),
            Number(u32),
            Numbers(Vec<u32>),
        }
        match Either::deserialize(deserializer)? {
            Either::Word(word) => match word.as_str() {
                "valid" => Ok(Padding::Valid),
                "same" => Ok(Padding::Same),
                "causal" => Ok(Padding::Causal),
                _ => {
                    let mistake = Mistake::new(format!("there is no padding `{word}`"));
                    Err(in_one_text(suggest(mistake, &word, ["valid", "same", "causal"])))
                }
            },
            Either::Number(number) => Ok(Padding::Both(PerAxis::all(number as usize))),
            Either::Numbers(numbers) => Ok(Padding::Both(PerAxis::list(numbers.into_iter().map(|n| n as usize).collect()))),
        }
    }
}

/// Sizes of the spatial axes. Errors: there are not `RANK` of them.
pub(super) fn spatial_sizes<const RANK: usize>(c: &Context, x: Value) -> Result<Vec<Dim>, Mistake> {
    let axes = ["batch", "channels", "depth", "height", "width"];
    let spatial: &[&str] = if RANK == 1 { &["length"] } else { &axes[axes.len() - RANK..] };
    c.expect(x, &[&axes[..2], spatial].concat())?;
    Ok(c.graph.ty(x).shape[2..].to_vec())
}

/// How a window slides over spatial axes.
struct Sliding {
    /// What they slide over.
    operand: Value,
    window: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    low: Vec<Dim>,
    high: Vec<Dim>,
}

impl Sliding {
    /// Strides are the window's sizes unless given. Errors: a window might hold nothing but padding, of which there is no mean and no
    /// largest.
    fn new<const RANK: usize>(
        c: &mut Context,
        x: Value,
        size: &PerAxis,
        strides: Option<&PerAxis>,
        padding: &Padding,
    ) -> Result<Sliding, Mistake> {
        let (sizes, window) = (spatial_sizes::<RANK>(c, x)?, size.on(RANK, "size")?);
        let (strides, dilations) = (strides.unwrap_or(size).on(RANK, "strides")?, one().on(RANK, "dilation")?);
        if let Padding::Both(amounts) = padding {
            let amounts = amounts.on(RANK, "padding")?;
            if let Some((amount, size)) = amounts.iter().zip(&window).find(|(amount, size)| amount >= size) {
                let mistake = Mistake::new(format!("a window of {size} may hold nothing but a padding of {amount}"));
                return Err(mistake.help("`padding` is smaller than `size`"));
            }
        }
        let (mut low, mut high) = padding.amounts(&sizes, &window, &strides, &dilations)?;
        let sliding = hearing::Sliding { window: &window, strides: &strides, dilations: &dilations, low: &mut low, high: &mut high };
        let operand = c.slid(x, false, sliding)?;
        Ok(Sliding { operand, window, strides, dilations, low, high })
    }
}

/// `max_pool1d` … `max_pool3d`.
#[derive(serde::Deserialize, JsonSchema)]
pub struct MaxPool<const RANK: usize> {
    size: PerAxis,
    strides: Option<PerAxis>,
    #[serde(default)]
    padding: Padding,
}

impl<const RANK: usize> Layer for MaxPool<RANK> {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let Sliding { operand, window, strides, dilations, low, high } =
            Sliding::new::<RANK>(c, x[0], &self.size, self.strides.as_ref(), &self.padding)?;
        c.op(WindowReduce { kind: WindowKind::Max, window, strides, dilations, low, high }, &[operand])
    }
}

/// `avg_pool1d` … `avg_pool3d`; padding does not count.
#[derive(serde::Deserialize, JsonSchema)]
pub struct AveragePool<const RANK: usize> {
    size: PerAxis,
    strides: Option<PerAxis>,
    #[serde(default)]
    padding: Padding,
}

impl<const RANK: usize> Layer for AveragePool<RANK> {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let Sliding { operand, window, strides, dilations, low, high } =
            Sliding::new::<RANK>(c, x[0], &self.size, self.strides.as_ref(), &self.padding)?;
        let overhang = vec![Dim::ZERO; RANK];
        c.op(AvgPool { window, strides, dilations, low, high, overhang, count_padding: false }, &[operand])
    }
}

/// `global_max_pool`: `[batch, channels, spatial..]` → `[batch, channels]`.
#[derive(serde::Deserialize, JsonSchema)]
pub struct GlobalMaxPool {}

impl Layer for GlobalMaxPool {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let axes = all_spatial(c, x[0])?;
        Ok(c.b().reduce(ReduceKind::Max, x[0], &axes, false))
    }
}

/// `global_avg_pool`: `[batch, channels, spatial..]` → `[batch, channels]`.
#[derive(serde::Deserialize, JsonSchema)]
pub struct GlobalAveragePool {}

impl Layer for GlobalAveragePool {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let axes = all_spatial(c, x[0])?;
        c.op(Mean { axes, keep: false }, x)
    }
}

fn all_spatial(c: &Context, x: Value) -> Result<Vec<usize>, Mistake> {
    c.expect_floats(x)?;
    let ty = c.graph.ty(x);
    if ty.rank() < 3 {
        return Err(Mistake::new(format!("takes [batch, channels, spatial..], but what comes in is {ty}")));
    }
    Ok((2..ty.rank()).collect())
}
