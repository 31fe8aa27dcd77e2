//! Blocks of transformers over `[batch, time, features]`: attention and two dense layers, each with a residual and a layer norm.
//! *Source*: Vaswani et al. 2017, figure 1; `norm_first`: Xiong et al. 2020, figure 1b.

use super::super::context::Context;
use super::super::tree::Mistake;
use super::Layer;
use super::activation::Activation;
use super::attention::Heads;
use super::dense::{GLOROT, ZEROS, affine, yes};
use super::normalisation::{epsilon, layer_norm};
use super::shape::dropout;
use kiln_ir::{Value, ops};
use schemars::JsonSchema;
use serde::Deserialize;

/// `transformer_encoder`: self-attention, then the dense layers.
#[derive(Deserialize, JsonSchema)]
pub struct Encoder {
    heads: u32,
    /// Features between the two dense layers.
    hidden: u32,
    #[serde(default = "relu")]
    activation: Activation,
    /// Whether an element sees no later one.
    #[serde(default)]
    causal: bool,
    /// See `multi_head_attention`.
    window: Option<u32>,
    #[serde(default)]
    rotary: bool,
    /// Whether norms stand before attention and dense layers rather than behind the residuals.
    #[serde(default)]
    norm_first: bool,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "epsilon")]
    epsilon: f64,
    /// Rate of dropout on what attention and dense layers add.
    #[serde(default)]
    dropout: f64,
}

impl Layer for Encoder {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let block = Block { norm_first: self.norm_first, epsilon: self.epsilon, dropout: self.dropout };
        let heads = Heads {
            count: self.heads as usize,
            features: None,
            causal: self.causal,
            window: self.window,
            rotary: self.rotary,
            bias: self.bias,
        };
        let y = block.residual(c, x[0], "attention", &|c, x| heads.build(c, x, x))?;
        block.residual(c, y, "feed_forward", &|c, x| feed_forward(c, x, self.hidden, self.activation, self.bias))
    }
}

/// `transformer_decoder`: causal self-attention over the first value, attention to the second, then the dense layers.
#[derive(Deserialize, JsonSchema)]
pub struct Decoder {
    heads: u32,
    /// Features between the two dense layers.
    hidden: u32,
    #[serde(default = "relu")]
    activation: Activation,
    #[serde(default)]
    rotary: bool,
    /// Whether norms stand before attention and dense layers rather than behind the residuals.
    #[serde(default)]
    norm_first: bool,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "epsilon")]
    epsilon: f64,
    /// Rate of dropout on what attention and dense layers add.
    #[serde(default)]
    dropout: f64,
}

impl Layer for Decoder {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let block = Block { norm_first: self.norm_first, epsilon: self.epsilon, dropout: self.dropout };
        let heads = |causal, rotary| Heads { count: self.heads as usize, features: None, causal, window: None, rotary, bias: self.bias };
        let y = block.residual(c, x[0], "attention", &|c, y| heads(true, self.rotary).build(c, y, y))?;
        let y = block.residual(c, y, "memory_attention", &|c, y| heads(false, false).build(c, y, x[1]))?;
        block.residual(c, y, "feed_forward", &|c, y| feed_forward(c, y, self.hidden, self.activation, self.bias))
    }
}

struct Block {
    norm_first: bool,
    epsilon: f64,
    dropout: f64,
}

impl Block {
    /// norm(x + dropout(f(x))), or x + dropout(f(norm(x))).
    fn residual(
        &self,
        c: &mut Context,
        x: Value,
        part: &str,
        f: &dyn Fn(&mut Context, Value) -> Result<Value, Mistake>,
    ) -> Result<Value, Mistake> {
        let norm = |c: &mut Context, x: Value| c.within(&format!("{part}_norm"), |c| layer_norm(c, x, self.epsilon));
        let inner = if self.norm_first { norm(c, x)? } else { x };
        // The padding of a text is that of its norm.
        c.keep_lengths(x, inner);
        let y = c.within(part, |c| f(c, inner))?;
        let y = c.within(part, |c| dropout(c, y, self.dropout, "dropout"))?;
        let sum = c.op(ops::Add {}, &[x, y])?;
        if self.norm_first { Ok(sum) } else { norm(c, sum) }
    }
}

fn feed_forward(c: &mut Context, x: Value, hidden: u32, activation: Activation, bias: bool) -> Result<Value, Mistake> {
    let features = c.size(x, 2, "features")?;
    let bias = bias.then_some(ZEROS);
    let y = c.within("first", |c| affine(c, x, hidden as usize, GLOROT, bias))?;
    let y = activation.apply(c, y)?;
    c.within("second", |c| affine(c, y, features, GLOROT, bias))
}

fn relu() -> Activation {
    Activation::Relu
}
