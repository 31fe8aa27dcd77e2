//! What a program compiled by Kiln links: threads, arrays and pictures in and out, its command line.
//!
//! Read in this order: [`model`] (a compiled model behind a safe interface) with [`weights`], [`cpu`], [`threads`] and
//! [`memory`]; [`arrays`], [`npz`], [`npy`], [`pictures`] and [`files`] (data in and out).

pub mod arrays;
pub mod cpu;
#[cfg(test)]
mod fake_model;
pub mod files;
pub mod memory;
pub mod model;
pub mod npy;
pub mod npz;
pub mod pictures;
pub mod threads;
pub mod weights;
mod zip;
