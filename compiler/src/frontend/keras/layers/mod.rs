//! The layers of Keras: one file a family, one row here a class.

pub mod activation;
mod attention;
mod convolution;
mod convolution_transpose;
mod dense;
mod merge;
mod noise;
mod normalisation;
mod pooling;
mod recurrent;
pub mod shape;
mod wrapper;

use super::super::model::tree::Mistake;
use super::call::Call;
use super::layer::Layer;
use super::operations::OPERATIONS;
use kiln_ir::Value;
use kiln_ir::diagnostic::nearest;

/// What a layer gives.
pub struct Results(pub Vec<Value>);

impl From<Value> for Results {
    fn from(value: Value) -> Results {
        Results(vec![value])
    }
}

impl From<Vec<Value>> for Results {
    fn from(values: Vec<Value>) -> Results {
        Results(values)
    }
}

macro_rules! classes {
    ($($class:literal => $build:expr),* $(,)?) => {
        /// Every class that can be imported.
        pub const CLASSES: &[&str] = &[$($class),*];

        /// Builds a layer of that class; `None` if there is no such class. Errors: what does not fit.
        pub fn build_layer<'t>(layer: &mut Layer<'_, 't>, call: &Call<'t>) -> Option<Result<Vec<Value>, Mistake>> {
            match layer.class {
                $($class => Some($build(layer, call).map(|results| Results::from(results).0)),)*
                _ => None,
            }
        }
    };
}

classes! {
    // Affine
    "Dense" => dense::dense,
    "EinsumDense" => dense::einsum_dense,
    "Embedding" => dense::embedding,
    "Conv1D" => convolution::convolution::<1>,
    "Conv2D" => convolution::convolution::<2>,
    "Conv3D" => convolution::convolution::<3>,
    "DepthwiseConv1D" => convolution::depthwise::<1>,
    "DepthwiseConv2D" => convolution::depthwise::<2>,
    "SeparableConv1D" => convolution::separable::<1>,
    "SeparableConv2D" => convolution::separable::<2>,
    "Conv1DTranspose" => convolution_transpose::convolution_transpose::<1>,
    "Conv2DTranspose" => convolution_transpose::convolution_transpose::<2>,
    "Conv3DTranspose" => convolution_transpose::convolution_transpose::<3>,
    // Pooling
    "MaxPooling1D" => pooling::max::<1>,
    "MaxPooling2D" => pooling::max::<2>,
    "MaxPooling3D" => pooling::max::<3>,
    "AveragePooling1D" => pooling::average::<1>,
    "AveragePooling2D" => pooling::average::<2>,
    "AveragePooling3D" => pooling::average::<3>,
    "GlobalMaxPooling1D" => pooling::global_max::<1>,
    "GlobalMaxPooling2D" => pooling::global_max::<2>,
    "GlobalMaxPooling3D" => pooling::global_max::<3>,
    "GlobalAveragePooling1D" => pooling::global_average::<1>,
    "GlobalAveragePooling2D" => pooling::global_average::<2>,
    "GlobalAveragePooling3D" => pooling::global_average::<3>,
    // Normalisation
    "BatchNormalization" => normalisation::batch,
    "LayerNormalization" => normalisation::layer,
    "RMSNormalization" => normalisation::rms,
    "GroupNormalization" => normalisation::group,
    "UnitNormalization" => normalisation::unit,
    "Normalization" => normalisation::by_statistics,
    "Rescaling" => normalisation::rescaling,
    // Shape
    "Identity" => shape::identity,
    "Flatten" => shape::flatten,
    "Reshape" => shape::reshape,
    "Permute" => shape::permute,
    "RepeatVector" => shape::repeat_vector,
    "ZeroPadding1D" => shape::zero_padding::<1>,
    "ZeroPadding2D" => shape::zero_padding::<2>,
    "ZeroPadding3D" => shape::zero_padding::<3>,
    "Cropping1D" => shape::cropping::<1>,
    "Cropping2D" => shape::cropping::<2>,
    "Cropping3D" => shape::cropping::<3>,
    "UpSampling1D" => shape::up_sampling::<1>,
    "UpSampling2D" => shape::up_sampling::<2>,
    "UpSampling3D" => shape::up_sampling::<3>,
    // What training alone changes
    "Dropout" => noise::dropout,
    "SpatialDropout1D" => noise::spatial_dropout,
    "SpatialDropout2D" => noise::spatial_dropout,
    "SpatialDropout3D" => noise::spatial_dropout,
    "GaussianDropout" => noise::gaussian_dropout,
    "GaussianNoise" => noise::gaussian_noise,
    "AlphaDropout" => noise::alpha_dropout,
    "ActivityRegularization" => noise::activity_regularization,
    // Activation functions
    "Activation" => activation::activation_layer,
    "ReLU" => activation::relu_layer,
    "LeakyReLU" => activation::leaky_relu_layer,
    "ELU" => activation::elu_layer,
    "PReLU" => activation::prelu_layer,
    "Softmax" => activation::softmax_layer,
    "ThresholdedReLU" => activation::thresholded_relu_layer,
    // Sequences
    "SimpleRNN" => recurrent::recurrent,
    "LSTM" => recurrent::recurrent,
    "GRU" => recurrent::recurrent,
    "RNN" => recurrent::recurrent,
    "Bidirectional" => wrapper::bidirectional,
    "TimeDistributed" => wrapper::time_distributed,
    "MultiHeadAttention" => attention::multi_head,
    "GroupQueryAttention" => attention::grouped_query,
    "Attention" => attention::dot_product,
    // Several values
    "Add" => merge::add,
    "Subtract" => merge::subtract,
    "Multiply" => merge::multiply,
    "Average" => merge::average,
    "Maximum" => merge::maximum,
    "Minimum" => merge::minimum,
    "Concatenate" => merge::concatenate,
    "Dot" => merge::dot,
}

/// What to do about a class that is not supported.
pub fn nearest_class(class: &str, operation: bool) -> String {
    let near = match class {
        "Masking" => Some("leave it out: sequences of one length need no mask"),
        "Lambda" => Some("its function is code that is not in the file; write it with keras.ops or layers"),
        "AdditiveAttention" => Some("Attention and MultiHeadAttention are supported"),
        "ConvLSTM1D" | "ConvLSTM2D" | "ConvLSTM3D" => Some("TimeDistributed convolutions and LSTM are supported"),
        "LocallyConnected1D" | "LocallyConnected2D" => Some("Conv1D and Conv2D are supported"),
        "TFOpLambda" | "SlicingOpLambda" | "TensorFlowOpLayer" => Some("save the model with Keras 3, which writes operations by name"),
        "SpectralNormalization" => Some("save the layer that it wraps"),
        "StringLookup" | "TextVectorization" | "IntegerLookup" | "CategoryEncoding" | "Hashing" | "Discretization" => {
            Some("prepare the data before the model: it takes numbers")
        }
        _ => None,
    };
    match (near, operation) {
        (Some(near), _) => near.to_string(),
        (None, true) => suggestion(class, OPERATIONS),
        (None, false) => suggestion(class, CLASSES),
    }
}

fn suggestion(word: &str, choices: &[&str]) -> String {
    match nearest(word, choices.iter().copied()) {
        Some(near) => format!("the nearest that is supported is `{near}`"),
        None => "compiler/KERAS.md lists what is; or export the model to ONNX".to_string(),
    }
}
