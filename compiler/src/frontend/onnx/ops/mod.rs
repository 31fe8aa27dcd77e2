//! ONNX operators, by subject. Each file begins with its rows of the [registry](super::registry).

pub mod activation;
pub mod attention;
pub mod convolution;
pub mod elementwise;
pub mod generate;
pub mod image;
pub mod indexing;
pub mod losses;
pub mod matmul;
pub mod microsoft;
pub mod movement;
pub mod normalisation;
pub mod pooling;
pub mod recurrent;
pub mod reduction;
pub mod slicing;
pub mod window;
