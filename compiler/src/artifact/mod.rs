//! Artefacts: what compiled models are written as.
//!
//! Read in this order: [`describe`] (the signature), [`write`] (which parts go where), [`header`], [`link`], [`archive`], [`output`].

pub mod archive;
pub mod describe;
pub mod header;
pub mod link;
pub mod names;
pub mod output;
pub mod write;
