//! The CPU backend: kernels become tile programs, tile programs and entry functions become machine code.
//!
//! Read in this order: [`target`] (which CPU), [`schedule`] (layouts and packing), [`lower`] (kernels to tile programs), [`tile`] (tile programs to code), [`plan`]
//! (memory and launches), [`entry`] with [`size_code`] (the functions that callers see), [`emit`] (all of it into a Cranelift
//! module), [`weights`] (the weights image), [`jit`] with [`loaded`] (running it here), [`breakdown`] (where its time goes), [`object`] (as an object file).

pub mod breakdown;
pub mod cpu_check;
pub mod emit;
pub mod entry;
pub mod jit;
pub mod loaded;
pub mod lower;
pub mod object;
pub mod plan;
pub mod roofline;
pub mod schedule;
pub mod size_code;
pub mod target;
pub mod tile;
pub mod weights;
