//! The operator table: one file per operator, one row here. Everything else (parser, printer, interpreter, laws, OPS.md)
//! loops over this table and needs no code per operator.

mod activation;
mod arithmetic;
mod elementwise;
mod expansion;
mod facts;
mod indexing;
mod markdown;
mod movement;
mod offsets;
mod recurrent;
mod reference;
mod scatter_gradient;
pub mod shape;
mod sliding;

pub use arg_reduce::ArgKind;
pub use attention::AttentionScores;
pub use cumulative::CumulativeKind;
pub use facts::{Facts, TypeError};
pub use gelu::GeluKind;
pub use indexing::ScatterReduction;
pub use markdown::ops_markdown;
pub use nll_loss::LossReduction;
pub use pad::PadMode;
pub use recurrent::Activation;
pub use reduce::ReduceKind;
pub use resize::{CoordinateMode, NearestMode, ResizeMode};
pub use window_reduce::WindowKind;

use crate::attr::{Attr, AttrMap, Attributes, Field};
use crate::{Builder, DType, Dim, Tensor, TensorType, Value};

/// What an operator's gradient is.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// Gradient of the loss by each operand; `None` where it does not depend on it.
    Operands(Vec<Option<Value>>),
    /// Differentiate the expansion instead.
    ThroughExpansion,
    /// The results computed again together with what gradients need, and the gradients: a loop that keeps its states.
    WithResults {
        /// What equals the results, from the same operands.
        results: Vec<Value>,
        /// Gradient by each operand.
        gradients: Vec<Option<Value>>,
    },
    /// Zero almost everywhere or undefined, and why.
    Stops(&'static str),
}

/// What an operator is made of.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// Nothing simpler: the compiler lowers it.
    Primitive,
    /// These values, built from simpler operators.
    Composite(Vec<Value>),
}

/// One operator: its meaning in one file.
pub trait Operator: Attributes {
    /// Types of the results. Conditions on symbolic dims go through `facts`. Errors: by label, `softmax_c1`.
    fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError>;
    /// Reference semantics: obvious loops, never fast, always right. All dims in attributes are constants here and
    /// the operands have passed `infer`. Errors: what only values can show (an index out of range).
    fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String>;
    /// Gradient, given operands, results and the gradients of the results.
    fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient;
    /// Expansion into simpler operators.
    fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning;
    /// Small typed uses that feed every suite: accepted ones, symbolic ones, and one rejected for each constraint (Cn).
    fn examples() -> Vec<Example>;
}

/// A use of an operator for the suites: it types (then every law is tested on it) or is rejected by a named constraint.
#[derive(Clone, Debug)]
pub struct Example {
    /// The operator with attributes.
    pub op: Op,
    /// Operand types, dims may be symbolic.
    pub inputs: Vec<TensorType>,
    /// Values an integer operand may take, inclusive; for floats the interval random values are drawn from.
    /// `None`: any value, special ones included.
    pub values: Vec<Option<(f64, f64)>>,
    /// The label it is rejected with, if it is.
    pub rejected: Option<&'static str>,
}

impl Example {
    /// An accepted use; operand types as text: `"f32[n, 3]"`.
    pub fn accepted(op: impl Into<Op>, inputs: &[&str]) -> Example {
        let inputs: Vec<TensorType> = inputs.iter().map(|t| parse_type(t)).collect();
        Example { op: op.into(), values: vec![None; inputs.len()], inputs, rejected: None }
    }

    /// A use that the constraint `label` rejects.
    pub fn rejected(label: &'static str, op: impl Into<Op>, inputs: &[&str]) -> Example {
        Example { rejected: Some(label), ..Example::accepted(op, inputs) }
    }

    /// Draws operand `position` from `low..=high`.
    pub fn with_values(mut self, position: usize, low: f64, high: f64) -> Example {
        self.values[position] = Some((low, high));
        self
    }
}

fn parse_type(text: &str) -> TensorType {
    crate::types::parse_tensor_type(text).unwrap_or_else(|e| panic!("type `{text}` of an example: {e}"))
}

macro_rules! ops {
    ($($(#[$meta:meta])* $module:ident => $name:ident),* $(,)?) => {
        $(pub mod $module;)*
        $(pub use $module::$name;)*

        /// Every operator.
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Op { $(#[doc = concat!("`", stringify!($module), "`")] $name($name)),* }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op { Op::$name(op) }
        })*

        impl Op {
            /// Every operator's name, in table order.
            pub const NAMES: &[&str] = &[$(stringify!($module)),*];

            /// Its name in the text form.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => stringify!($module)),* }
            }

            /// See [`Operator::infer`].
            pub fn infer(&self, x: &[TensorType], facts: &mut Facts) -> Result<Vec<TensorType>, TypeError> {
                match self { $(Op::$name(op) => op.infer(x, facts)),* }
            }

            /// See [`Operator::eval`].
            pub fn eval(&self, x: &[Tensor]) -> Result<Vec<Tensor>, String> {
                match self { $(Op::$name(op) => op.eval(x)),* }
            }

            /// See [`Operator::vjp`].
            pub fn vjp(&self, b: &mut Builder, x: &[Value], y: &[Value], dy: &[Option<Value>]) -> Gradient {
                match self { $(Op::$name(op) => op.vjp(b, x, y, dy)),* }
            }

            /// See [`Operator::expand`].
            pub fn expand(&self, b: &mut Builder, x: &[Value]) -> Meaning {
                match self { $(Op::$name(op) => op.expand(b, x)),* }
            }

            /// Attribute names and values.
            pub fn to_attrs(&self) -> Vec<(&'static str, Attr)> {
                match self { $(Op::$name(op) => op.to_attrs()),* }
            }

            /// Attributes of the operator of that name, in declaration order.
            pub fn attribute_fields(name: &str) -> Option<&'static [Field]> {
                match name {
                    $(stringify!($module) => Some(<$name as Attributes>::FIELDS),)*
                    _ => None,
                }
            }

            /// The operator of that name with these attributes. Errors: no such operator, or what is wrong with an attribute.
            pub fn from_attrs(name: &str, attrs: &mut AttrMap) -> Result<Op, String> {
                match name {
                    $(stringify!($module) => $name::from_attrs(attrs).map(Op::$name),)*
                    _ => Err(format!("no operator `{name}`")),
                }
            }

            /// Applies `f` to every dim in its attributes.
            pub fn map_dims(&mut self, f: &mut dyn FnMut(&Dim) -> Dim) {
                match self { $(Op::$name(op) => op.map_dims(f)),* }
            }

            /// The examples of every operator: `(name, example)`.
            pub fn all_examples() -> Vec<(&'static str, Example)> {
                let mut all = Vec::new();
                $(all.extend($name::examples().into_iter().map(|e| (stringify!($module), e)));)*
                all
            }

            /// Each operator's name with the header of its file, from which OPS.md is made.
            pub fn all_docs() -> Vec<(&'static str, String)> {
                vec![$((stringify!($module), header(include_str!(concat!(stringify!($module), ".rs"))))),*]
            }
        }
    };
}

fn header(source: &str) -> String {
    source
        .lines()
        .take_while(|l| l.starts_with("//!"))
        .map(|l| l.trim_start_matches("//!").trim_start_matches(' '))
        .collect::<Vec<_>>()
        .join("\n")
}

// The only list of operators, by subject.
ops! {
    // Of one operand, element by element
    neg => Neg,
    abs => Abs,
    sign => Sign,
    ceil => Ceil,
    floor => Floor,
    trunc => Trunc,
    round => Round,
    sqrt => Sqrt,
    reciprocal => Reciprocal,
    exp => Exp,
    expm1 => Expm1,
    log => Log,
    log1p => Log1p,
    sin => Sin,
    cos => Cos,
    tan => Tan,
    asin => Asin,
    acos => Acos,
    atan => Atan,
    sinh => Sinh,
    cosh => Cosh,
    tanh => Tanh,
    asinh => Asinh,
    acosh => Acosh,
    atanh => Atanh,
    erf => Erf,
    not => Not,
    bit_not => BitNot,
    is_nan => IsNan,
    is_inf => IsInf,
    // Of two operands, element by element
    add => Add,
    sub => Sub,
    mul => Mul,
    div => Div,
    rem => Rem,
    pow => Pow,
    min => Min,
    max => Max,
    and => And,
    or => Or,
    xor => Xor,
    bit_and => BitAnd,
    bit_or => BitOr,
    bit_xor => BitXor,
    shift_left => ShiftLeft,
    shift_right => ShiftRight,
    // Comparisons, choice, conversion
    equal => Equal,
    not_equal => NotEqual,
    less => Less,
    less_equal => LessEqual,
    greater => Greater,
    greater_equal => GreaterEqual,
    select => Select,
    cast => Cast,
    // Movement
    broadcast => Broadcast,
    reshape => Reshape,
    transpose => Transpose,
    slice => Slice,
    pad => Pad,
    concat => Concat,
    gather => Gather,
    gather_elements => GatherElements,
    gather_nd => GatherNd,
    scatter_elements => ScatterElements,
    scatter_nd => ScatterNd,
    // Sources
    iota => Iota,
    dims => Dims,
    // Reductions
    reduce => Reduce,
    arg_reduce => ArgReduce,
    cumulative => Cumulative,
    window_reduce => WindowReduce,
    window_arg_max => WindowArgMax,
    top_k => TopK,
    // Contractions
    dot => Dot,
    conv => Conv,
    // Loops
    scan => Scan,
    // Composites: activation functions
    relu => Relu,
    leaky_relu => LeakyRelu,
    prelu => Prelu,
    elu => Elu,
    celu => Celu,
    selu => Selu,
    sigmoid => Sigmoid,
    hard_sigmoid => HardSigmoid,
    silu => Silu,
    swish => Swish,
    swiglu => Swiglu,
    hard_swish => HardSwish,
    mish => Mish,
    softplus => Softplus,
    softsign => Softsign,
    thresholded_relu => ThresholdedRelu,
    gelu => Gelu,
    clip => Clip,
    // Composites: random numbers
    random_uniform => RandomUniform,
    // Composites: reductions, normalisations, sampling
    mean => Mean,
    log_sum_exp => LogSumExp,
    softmax => Softmax,
    log_softmax => LogSoftmax,
    layer_norm => LayerNorm,
    rms_norm => RmsNorm,
    batch_norm => BatchNorm,
    instance_norm => InstanceNorm,
    group_norm => GroupNorm,
    mean_variance_norm => MeanVarianceNorm,
    lp_norm => LpNorm,
    lrn => Lrn,
    avg_pool => AvgPool,
    resize => Resize,
    // Composites: indices, masks, losses
    one_hot => OneHot,
    trilu => Trilu,
    nll_loss => NllLoss,
    softmax_cross_entropy => SoftmaxCrossEntropy,
    // Composites: sequences
    reverse_sequence => ReverseSequence,
    rotary_embedding => RotaryEmbedding,
    attention => Attention,
    rnn => Rnn,
    gru => Gru,
    lstm => Lstm,
}

/// Constant dims as sizes, for reference evaluation. Errors: one is symbolic, negative or too large.
pub fn constants(dims: &[Dim]) -> Result<Vec<usize>, String> {
    dims.iter().map(|d| d.as_const().and_then(|c| usize::try_from(c).ok()).ok_or_else(|| format!("{d} is not a size"))).collect()
}

/// The result types of an operator whose operands have constant dims, for reference evaluation. Errors: the type rule's.
pub(crate) fn inferred_types(op: &impl Operator, x: &[TensorType]) -> Result<Vec<TensorType>, String> {
    op.infer(x, &mut Facts::new(&crate::Ranges::default())).map_err(|e| e.to_string())
}

/// The shape of its first result as sizes. Errors: the type rule's.
pub(crate) fn inferred_shape(op: &impl Operator, x: &[TensorType]) -> Result<Vec<usize>, String> {
    constants(&inferred_types(op, x)?[0].shape)
}

/// True for element types that arithmetic is defined on.
pub fn is_number(dtype: DType) -> bool {
    dtype != DType::Bool
}
