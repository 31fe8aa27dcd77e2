//! Operations that functional graphs contain beside layers (`keras.ops`), one row each: by name, with settings in their config and
//! arguments in their calls.

mod elements;
mod indexing;
mod movement;
mod operand;
mod products;
mod reduction;

use super::super::model::tree::Mistake;
use super::call::Call;
use super::layer::Layer;
use super::layers::Results;
use kiln_ir::Value;
use kiln_ir::ops::{self, ReduceKind};

macro_rules! operations {
    ($($class:literal => $build:expr),* $(,)?) => {
        /// Every operation that can be imported.
        pub const OPERATIONS: &[&str] = &[$($class),*];

        /// Builds an operation of that class; `None` if there is no such one. Errors: what does not fit.
        pub fn build_operation<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Option<Result<Vec<Value>, Mistake>> {
            match l.class {
                $($class => {
                    let build: fn(&mut Layer<'_, 't>, &Call<'t>) -> _ = $build;
                    Some(build(l, call).map(|results| Results::from(results).0))
                })*
                _ => None,
            }
        }
    };
}

operations! {
    // One value
    "Absolute" => |l, c| elements::unary(l, c, ops::Abs {}),
    "Negative" => |l, c| elements::unary(l, c, ops::Neg {}),
    "Exp" => |l, c| elements::float_unary(l, c, ops::Exp {}),
    "Expm1" => |l, c| elements::float_unary(l, c, ops::Expm1 {}),
    "Log" => |l, c| elements::float_unary(l, c, ops::Log {}),
    "Log1p" => |l, c| elements::float_unary(l, c, ops::Log1p {}),
    "Sqrt" => |l, c| elements::float_unary(l, c, ops::Sqrt {}),
    "Rsqrt" => elements::rsqrt,
    "Square" => elements::square,
    "Reciprocal" => |l, c| elements::float_unary(l, c, ops::Reciprocal {}),
    "Sin" => |l, c| elements::float_unary(l, c, ops::Sin {}),
    "Cos" => |l, c| elements::float_unary(l, c, ops::Cos {}),
    "Tan" => |l, c| elements::float_unary(l, c, ops::Tan {}),
    "Arcsin" => |l, c| elements::float_unary(l, c, ops::Asin {}),
    "Arccos" => |l, c| elements::float_unary(l, c, ops::Acos {}),
    "Arctan" => |l, c| elements::float_unary(l, c, ops::Atan {}),
    "Sinh" => |l, c| elements::float_unary(l, c, ops::Sinh {}),
    "Cosh" => |l, c| elements::float_unary(l, c, ops::Cosh {}),
    "Tanh" => |l, c| elements::float_unary(l, c, ops::Tanh {}),
    "Erf" => |l, c| elements::float_unary(l, c, ops::Erf {}),
    "Floor" => |l, c| elements::float_unary(l, c, ops::Floor {}),
    "Ceil" => |l, c| elements::float_unary(l, c, ops::Ceil {}),
    "Sign" => |l, c| elements::unary(l, c, ops::Sign {}),
    "LogicalNot" => elements::logical_not,
    "Cast" => elements::cast,
    "Clip" => elements::clip,
    "Copy" => elements::same,
    "StopGradient" => elements::same,
    "OnesLike" => |l, c| elements::like(l, c, 1.0),
    "ZerosLike" => |l, c| elements::like(l, c, 0.0),
    // Activation functions
    "Relu" => |l, c| elements::function(l, c, "relu"),
    "Relu6" => |l, c| elements::function(l, c, "relu6"),
    "Sigmoid" => |l, c| elements::function(l, c, "sigmoid"),
    "SparseSigmoid" => |l, c| elements::function(l, c, "sparse_sigmoid"),
    "Softplus" => |l, c| elements::function(l, c, "softplus"),
    "Softsign" => |l, c| elements::function(l, c, "softsign"),
    "SparsePlus" => |l, c| elements::function(l, c, "sparse_plus"),
    "Silu" => |l, c| elements::function(l, c, "silu"),
    "LogSigmoid" => |l, c| elements::function(l, c, "log_sigmoid"),
    "HardSigmoid" => |l, c| elements::function(l, c, "hard_sigmoid"),
    "HardSilu" => |l, c| elements::function(l, c, "hard_silu"),
    "HardTanh" => |l, c| elements::function(l, c, "hard_tanh"),
    "TanhShrink" => |l, c| elements::function(l, c, "tanh_shrink"),
    "Selu" => |l, c| elements::function(l, c, "selu"),
    "LeakyRelu" => elements::leaky_relu,
    "Elu" => elements::elu,
    "Celu" => elements::celu,
    "Gelu" => elements::gelu,
    "Softmax" => elements::softmax,
    "LogSoftmax" => elements::log_softmax,
    // Two values that broadcast
    "Add" => |l, c| elements::binary(l, c, ops::Add {}),
    "Subtract" => |l, c| elements::binary(l, c, ops::Sub {}),
    "Multiply" => |l, c| elements::binary(l, c, ops::Mul {}),
    "Divide" => |l, c| elements::float_binary(l, c, ops::Div {}),
    "TrueDivide" => |l, c| elements::float_binary(l, c, ops::Div {}),
    "Power" => |l, c| elements::binary(l, c, ops::Pow {}),
    "FloorDivide" => elements::floor_divide,
    "Mod" => elements::modulo,
    "Maximum" => |l, c| elements::binary(l, c, ops::Max {}),
    "Minimum" => |l, c| elements::binary(l, c, ops::Min {}),
    "Equal" => |l, c| elements::binary(l, c, ops::Equal {}),
    "NotEqual" => |l, c| elements::binary(l, c, ops::NotEqual {}),
    "Greater" => |l, c| elements::binary(l, c, ops::Greater {}),
    "GreaterEqual" => |l, c| elements::binary(l, c, ops::GreaterEqual {}),
    "Less" => |l, c| elements::binary(l, c, ops::Less {}),
    "LessEqual" => |l, c| elements::binary(l, c, ops::LessEqual {}),
    "LogicalAnd" => |l, c| elements::logical(l, c, ops::And {}),
    "LogicalOr" => |l, c| elements::logical(l, c, ops::Or {}),
    "LogicalXor" => |l, c| elements::logical(l, c, ops::Xor {}),
    "Where" => elements::choose,
    // Over axes
    "Sum" => |l, c| reduction::reduce(l, c, ReduceKind::Sum),
    "Prod" => |l, c| reduction::reduce(l, c, ReduceKind::Prod),
    "Max" => |l, c| reduction::reduce(l, c, ReduceKind::Max),
    "Amax" => |l, c| reduction::reduce(l, c, ReduceKind::Max),
    "Min" => |l, c| reduction::reduce(l, c, ReduceKind::Min),
    "Amin" => |l, c| reduction::reduce(l, c, ReduceKind::Min),
    "Any" => |l, c| reduction::reduce(l, c, ReduceKind::Or),
    "All" => |l, c| reduction::reduce(l, c, ReduceKind::And),
    "Mean" => reduction::mean,
    "Var" => reduction::variance,
    "Std" => reduction::deviation,
    "Logsumexp" => reduction::log_sum_exp,
    "Argmax" => |l, c| reduction::arg(l, c, ops::ArgKind::Max),
    "Argmin" => |l, c| reduction::arg(l, c, ops::ArgKind::Min),
    "Normalize" => reduction::normalize,
    // Shapes
    "Reshape" => movement::reshape,
    "Transpose" => movement::transpose,
    "Swapaxes" => movement::swap_axes,
    "Moveaxis" => movement::move_axis,
    "ExpandDims" => movement::expand_dims,
    "Squeeze" => movement::squeeze,
    "Concatenate" => movement::concatenate,
    "Stack" => movement::stack,
    "Split" => movement::split,
    "Flip" => movement::flip,
    "Repeat" => movement::repeat,
    "Tile" => movement::tile,
    "Pad" => movement::pad,
    "BroadcastTo" => movement::broadcast_to,
    "GetItem" => indexing::get_item,
    "Take" => indexing::take,
    "OneHot" => indexing::one_hot,
    // Products
    "Matmul" => products::matmul,
    "Einsum" => products::einsum,
}
