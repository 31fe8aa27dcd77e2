//! Backends: structured kernels become machine code here, one folder per kind of machine.

pub mod cpu;
pub mod ptx;
