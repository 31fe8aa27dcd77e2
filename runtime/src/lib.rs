//! What a program compiled by Kiln links: threads, arrays, pictures and texts in and out, its command line.
//!
//! Read in this order: [`model`] (a compiled model behind a safe interface) with [`weights`], [`cpu`], [`threads`] and
//! [`memory`]; [`arrays`], [`npz`], [`npy`], [`pictures`], [`audio`], [`text`] and [`files`] (data in and out); [`transcript`] (scores to text); [`bench`], [`report`] and
//! [`program`] (the command line).

pub mod arrays;
pub mod audio;
pub mod bench;
pub mod cpu;
#[cfg(test)]
mod fake_model;
pub mod files;
pub mod memory;
pub mod model;
pub mod npy;
pub mod npz;
pub mod pictures;
pub mod program;
pub mod report;
pub mod text;
pub mod threads;
pub mod training;
pub mod transcript;
pub mod weights;
pub mod zip;
