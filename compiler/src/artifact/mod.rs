//! Artefacts: what compiled models are written as.
//!
//! Read in this order: [`describe`] (the signature), [`write`] (which parts go where), [`header`], [`rust_module`], [`link`], [`archive`], [`output`].

pub mod archive;
pub mod describe;
pub mod header;
pub mod link;
pub mod names;
pub mod output;
pub mod rust_module;
mod rust_size;
pub mod write;
