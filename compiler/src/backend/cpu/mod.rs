//! The CPU backend: tile programs and entry functions become machine code.
//!
//! Read in this order: [`target`] (which CPU), [`clif`] (tile programs by Cranelift) and [`x86`] (by our emitter of wide vectors),
//! [`entry`] with [`size_code`] (the functions that callers see), [`emit`] (all of it into a Cranelift
//! module), [`weights`] (the weights image), [`jit`] with [`loaded`] (running it here), [`breakdown`] (where its time goes), [`object`] (as an object file).

#[cfg(test)]
pub(crate) mod agreement;
pub mod breakdown;
pub mod clif;
pub mod cpu_check;
pub mod emit;
pub mod entry;
pub mod jit;
pub mod loaded;
pub mod object;
pub mod roofline;
pub mod size_code;
pub mod target;
pub mod weights;
pub mod x86;
