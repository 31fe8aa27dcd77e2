//! What an artefact says about itself: names, types and shapes of its inputs and outputs, and what they mean.

#[cfg(doc)]
use super::TextInput;
use crate::dtype::DType;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The self-description inside every artefact, as JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// [`super::ABI_VERSION`] of the compiler.
    pub abi_version: u32,
    /// Name of the model: prefix of the exported symbols.
    pub name: String,
    /// Name and version of the compiler.
    pub compiler: String,
    /// SHA-256 of the model file that was compiled, in hexadecimal.
    pub model_sha256: String,
    /// CPU features that the code needs, in Rust's spelling (`avx2`, `fma`); empty for the architecture's baseline.
    pub cpu: Vec<String>,
    /// Sizes known only at run time. Each stands alone on at least one axis of an input.
    pub symbols: Vec<SymbolDecl>,
    /// Inputs, in the order of `Call::inputs`.
    pub inputs: Vec<TensorDecl>,
    /// Outputs, in the order of `Call::outputs`.
    pub outputs: Vec<TensorDecl>,
    /// What must hold between sizes, as text; `Status::Guard` gives an index into it.
    pub guards: Vec<String>,
    /// Names of nodes that can fail; `Status::Index` gives an index into it.
    pub nodes: Vec<String>,
    /// Where the weights are.
    pub weights: WeightsDecl,
    /// True when some output dims depend on data and not only on symbols (see `Call::output_dims`).
    #[serde(default)]
    pub data_dependent: bool,
    /// Floating-point operations of one run (a multiply-add counts two), when known.
    #[serde(default)]
    pub flops: Option<Extent>,
    /// How many of the last inputs are states: the outputs at the same places from the end are their next values, and may be the
    /// same memory.
    #[serde(default)]
    pub states: usize,
    /// Class names along the last axis of the first output.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// How pictures become an input.
    #[serde(default)]
    pub image: Option<ImageInput>,
    /// How sounds become an input: an [`AudioInput`](super::AudioInput) as JSON, kept as text so that programs of other models need
    /// no code to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// How an output spells text: a [`CtcOutput`](super::CtcOutput) as JSON, kept as text likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctc: Option<String>,
    /// How texts become an input: a [`TextInput`] as JSON, so that programs without texts need nothing that reads it.
    #[serde(default)]
    pub text: Option<String>,
    /// What the first output means, where the training says so.
    #[serde(default)]
    pub scores: Option<Scores>,
}

impl Signature {
    /// Name of the second input of functions that write: how many tokens were seen before the new ones, `i64[]`.
    pub const START: &str = "write/start";
    /// Name of the size of their states along time.
    pub const ROOM: &str = "room";

    /// Name of the second input of functions that hear a stream: whether it ends, by its size.
    pub const END: &str = "hear/end";
    /// What names of that and of all they remember begin with.
    pub const HEARD: &str = "hear/";

    /// Whether this is a function that takes new tokens of a text and scores the next one, and has what it remembers as states.
    pub fn writes(&self) -> bool {
        self.inputs.get(1).is_some_and(|input| input.name == Signature::START)
    }
}

/// What scores of classes mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scores {
    /// A softmax along the last axis makes probabilities of them.
    Logits,
    /// Each is the probability of a yes.
    YesOrNo,
    /// A sigmoid makes such probabilities of them.
    YesOrNoLogits,
}

/// A size known only at run time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SymbolDecl {
    /// Its name, unique in the signature.
    pub name: String,
    /// Smallest allowed value.
    pub min: i64,
    /// Largest allowed value; `None` = bounded by memory only.
    pub max: Option<i64>,
}

/// Name and type of one input or output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TensorDecl {
    /// Name in the model that was compiled.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Axes, outermost first; empty for a scalar.
    pub shape: Vec<Extent>,
}

/// A size: a JSON integer, or a string that is a symbol's name or an expression over symbols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Known when the model was compiled.
    Fixed(i64),
    /// A symbol or an expression over symbols, in the text form of `Dim`.
    Expression(String),
}

/// Where the weights are, and how to recognise them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WeightsDecl {
    /// Size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Where.
    pub location: WeightsLocation,
}

/// Where an artefact's weights are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsLocation {
    /// In a read-only section of the object.
    Embedded,
    /// Behind the executable's last section, in the same file (see [`super::WeightsFooter`]).
    Tail,
    /// In a file of this name beside the artefact.
    External(String),
}

/// How a decoded picture becomes an input tensor: resize, grey or colour, then per channel
/// `((invert ? 255 − p : p) · scale − mean) / std`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ImageInput {
    /// Name of the input that takes pictures.
    pub input: String,
    /// Order of its axes.
    pub layout: Layout,
    /// 1 = grey (ITU-R BT.601 luma), 3 = red, green, blue.
    pub channels: u32,
    /// Factor on 8-bit values; 1/255 maps them to 0..1.
    pub scale: f64,
    /// Subtracted after scaling, one per channel; empty = 0.
    #[serde(default)]
    pub mean: Vec<f64>,
    /// Divided by at the end, one per channel; empty = 1.
    #[serde(default)]
    pub std: Vec<f64>,
    /// How a picture of another size is made to fit.
    #[serde(default)]
    pub resize: Resize,
    /// Length of the shorter side before cropping ([`Resize::Crop`]); `None` = just cover the input.
    #[serde(default)]
    pub shorter_side: Option<u32>,
    /// Dark ink on light paper, for a network that was trained on light strokes on dark ground.
    #[serde(default)]
    pub invert: bool,
}

/// Order of the axes of a picture input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[batch, channels, height, width]`
    Nchw,
    /// `[batch, height, width, channels]`
    Nhwc,
}

/// How a picture of another size is made to fit. Scaling down averages over all pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides scaled by themselves.
    #[default]
    Stretch,
    /// Scaled evenly to cover, the middle cut out.
    Crop,
    /// Scaled evenly to fit inside, the rest filled with 0 before `invert`, scale and mean.
    Pad,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Fixed(n) => write!(f, "{n}"),
            Extent::Expression(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for TensorDecl {
    /// `name: f32[batch, 3, 224, 224]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[", self.name, self.dtype)?;
        for (axis, extent) in self.shape.iter().enumerate() {
            write!(f, "{}{extent}", if axis > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Extent::Fixed(n) => serializer.serialize_i64(*n),
            Extent::Expression(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Extent, D::Error> {
        struct ExtentVisitor;
        impl Visitor<'_> for ExtentVisitor {
            type Value = Extent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or an expression over symbols")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Extent, E> {
                Ok(Extent::Fixed(n))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Extent, E> {
                i64::try_from(n).map(Extent::Fixed).map_err(|_| E::custom("a size beyond 63 bits"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Extent, E> {
                Ok(Extent::Expression(text.to_owned()))
            }
        }
        deserializer.deserialize_any(ExtentVisitor)
    }
}
