//! Layers that make one value of several.

use super::super::context::Context;
use super::super::tree::Mistake;
use super::Layer;
use super::activation::axis_of;
use kiln_ir::Value;
use kiln_ir::ops::{self, Op};
use schemars::JsonSchema;
use serde::Deserialize;

/// `add`: the sum of values that broadcast.
#[derive(Deserialize, JsonSchema)]
pub struct Add {}

impl Layer for Add {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        all(c, ops::Add {}.into(), x)
    }
}

/// `multiply`: their product.
#[derive(Deserialize, JsonSchema)]
pub struct Multiply {}

impl Layer for Multiply {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        all(c, ops::Mul {}.into(), x)
    }
}

/// `concat`: one after another along an axis; −1 is the last, 0 the batch, 1 the channels of pictures.
#[derive(Deserialize, JsonSchema)]
pub struct Concat {
    #[serde(default = "last")]
    axis: i64,
}

impl Layer for Concat {
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake> {
        let axis = axis_of(c, x[0], self.axis)?;
        c.op(ops::Concat { axis }, x)
    }
}

fn all(c: &mut Context, op: Op, x: &[Value]) -> Result<Value, Mistake> {
    let (first, rest) = x.split_first().expect("the table says two or more");
    rest.iter().try_fold(*first, |sum, next| c.broadcast_op(op.clone(), &[sum, *next]))
}

fn last() -> i64 {
    -1
}
