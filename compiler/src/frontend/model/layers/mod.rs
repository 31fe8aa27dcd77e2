//! The layers of model files: one file a family, one row here a layer.

mod activation;
mod attention;
mod audio;
mod convolution;
mod dense;
mod embedding;
mod merge;
pub(crate) mod normalisation;
pub(crate) mod pooling;
mod recurrent;
mod sequence_pool;
pub(crate) mod shape;
mod transformer;

use super::context::Context;
use super::read::read;
use super::tree::{Mistake, Node};
use kiln_ir::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::ops::RangeInclusive;

/// A layer as it was read, ready to become operators.
pub trait Layer {
    /// Writes the layer into the graph. Errors: what comes in does not fit.
    fn build(&self, c: &mut Context, x: &[Value]) -> Result<Value, Mistake>;
}

/// A layer and how many values it takes.
pub struct Read {
    /// The layer.
    pub layer: Box<dyn Layer>,
    /// How many values it takes.
    pub operands: RangeInclusive<usize>,
}

macro_rules! layers {
    ($($word:literal takes $operands:expr => $layer:ty),* $(,)?) => {
        /// Every type of layer.
        pub const NAMES: &[&str] = &[$($word),*];

        /// Every type of layer with the JSON schema of its settings.
        pub fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
            vec![$(($word, <$layer>::json_schema(generator))),*]
        }

        /// Reads the settings of a layer of that type; `None` if there is no such type. Errors: what is wrong with them.
        pub fn read_layer(word: &str, settings: &Node) -> Option<Result<Read, Mistake>> {
            match word {
                $($word => Some(read::<$layer>(settings).map(|layer| Read { layer: Box::new(layer), operands: $operands })),)*
                _ => None,
            }
        }
    };
}

layers! {
    // Affine
    "dense" takes 1..=1 => dense::Dense,
    "conv1d" takes 1..=1 => convolution::Convolution<1>,
    "conv2d" takes 1..=1 => convolution::Convolution<2>,
    "conv3d" takes 1..=1 => convolution::Convolution<3>,
    "depthwise_conv1d" takes 1..=1 => convolution::Depthwise<1>,
    "depthwise_conv2d" takes 1..=1 => convolution::Depthwise<2>,
    "conv_transpose1d" takes 1..=1 => convolution::Transposed<1>,
    "conv_transpose2d" takes 1..=1 => convolution::Transposed<2>,
    "conv_transpose3d" takes 1..=1 => convolution::Transposed<3>,
    // Pooling
    "max_pool1d" takes 1..=1 => pooling::MaxPool<1>,
    "max_pool2d" takes 1..=1 => pooling::MaxPool<2>,
    "max_pool3d" takes 1..=1 => pooling::MaxPool<3>,
    "avg_pool1d" takes 1..=1 => pooling::AveragePool<1>,
    "avg_pool2d" takes 1..=1 => pooling::AveragePool<2>,
    "avg_pool3d" takes 1..=1 => pooling::AveragePool<3>,
    "global_max_pool" takes 1..=1 => pooling::GlobalMaxPool,
    "global_avg_pool" takes 1..=1 => pooling::GlobalAveragePool,
    // Normalisation
    "batch_norm" takes 1..=1 => normalisation::BatchNormalisation,
    "layer_norm" takes 1..=1 => normalisation::LayerNormalisation,
    "group_norm" takes 1..=1 => normalisation::GroupNormalisation,
    "rms_norm" takes 1..=1 => normalisation::RmsNormalisation,
    // Shape
    "flatten" takes 1..=1 => shape::Flatten,
    "reshape" takes 1..=1 => shape::Reshape,
    "permute" takes 1..=1 => shape::Permute,
    "dropout" takes 1..=1 => shape::Dropout,
    // Sequences
    "embedding" takes 1..=1 => embedding::Embedding,
    "word_dropout" takes 1..=1 => embedding::WordDropout,
    "sinusoidal_position" takes 1..=1 => embedding::SinusoidalPosition,
    "learned_position" takes 1..=1 => embedding::LearnedPosition,
    "sequence_pool" takes 1..=1 => sequence_pool::SequencePool,
    "multi_head_attention" takes 1..=2 => attention::MultiHeadAttention,
    "transformer_encoder" takes 1..=1 => transformer::Encoder,
    "transformer_decoder" takes 2..=2 => transformer::Decoder,
    "rnn" takes 1..=1 => recurrent::SimpleRecurrent,
    "lstm" takes 1..=1 => recurrent::LongShortTerm,
    "gru" takes 1..=1 => recurrent::GatedRecurrent,
    // Several values
    "add" takes 2..=64 => merge::Add,
    "multiply" takes 2..=64 => merge::Multiply,
    "concat" takes 2..=64 => merge::Concat,
    // Sounds
    "stft" takes 1..=1 => audio::Stft,
    "spectrogram" takes 1..=1 => audio::Spectrogram,
    "mel" takes 1..=1 => audio::Mel,
    "log_mel" takes 1..=1 => audio::LogMel,
    "normalise" takes 1..=2 => audio::Normalise,
    "deltas" takes 1..=1 => audio::Deltas,
    "spec_augment" takes 1..=1 => audio::SpecAugment,
    // Activation functions
    "activation" takes 1..=1 => activation::ActivationLayer,
    "leaky_relu" takes 1..=1 => activation::LeakyRelu,
    "elu" takes 1..=1 => activation::Elu,
    "softmax" takes 1..=1 => activation::Softmax,
    "log_softmax" takes 1..=1 => activation::LogSoftmax,
}
