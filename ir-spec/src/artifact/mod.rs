//! The compiled-model format: what the compiler writes and what runtime and callers read.
//!
//! An artefact exports one read-only [`ModelDescriptor`] and three functions with the C ABI; the descriptor carries
//! a [`Signature`] as JSON. Generated code writes no globals and calls nothing but the [`Pool`] it is given; all
//! memory belongs to the caller. This is version [`ABI_VERSION`] of the contract; SPEC.md states it for other languages.

mod abi;
mod audio;
mod footer;
mod signature;
mod status;
mod text;

pub use abi::{
    ABI_VERSION, ALIGNMENT, ArenaBytesFn, Call, Kernel, ModelDescriptor, OutputShapesFn, ParallelFor, Pool, PredictFn, TrainerDescriptor,
};
pub use audio::{AudioInput, CtcOutput, SoundStream};
pub use footer::{FOOTER_BYTES, WeightsFooter};
pub use signature::{Extent, ImageInput, Layout, Resize, Scores, Signature, SymbolDecl, TensorDecl, WeightsDecl, WeightsLocation};
pub use status::Status;
pub use text::{TextInput, Tokens};
