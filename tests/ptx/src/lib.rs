//! A PTX interpreter: runs the printed text of kernels on the CPU, so that a backend for NVIDIA GPUs is tested without a GPU.
//!
//! [`Module::parse`] decodes the text; [`Device::launch`] runs a kernel of it. Warps of 32 lanes run in lock-step with a place of their own
//! per lane; blocks and warps take turns in an order that a seed chooses. Hardware forgives much by accident; this crate does not:
//!
//! - every register and byte starts unwritten, and reading one is a fault;
//! - every access must lie inside one allocation and be aligned;
//! - two accesses of which one writes must be ordered by barriers, `__syncwarp`, mbarriers, or fences with atomics;
//! - asynchronous copies and multiplications take effect only when they are waited for, as late as they may;
//! - barriers in divergent code, deadlocks and endless loops are reported with the state of every warp.
//!
//! What instructions compute is compared with a Hopper GPU, whose results `goldens/` keeps (`tests/goldens.rs`); sums on tensor cores are
//! rounded as it rounds them, on other generations the last bits differ.
//!
//! What it does not model: proxies of memory, the order of strong accesses between blocks beyond fences and atomics, loads and stores to
//! shared memory of other blocks of a cluster, textures, and the errors of approximate functions. Compare those with tolerances.

mod decode;
mod descriptor;
mod device;
mod exec;
mod fault;
mod instruction;
mod lift;
mod matrix;
mod memory;
mod module;
mod numbers;
mod parse;
mod schedule;
mod tensor_core;
mod tensor_map;
mod types;

pub use device::{Argument, Device, Statistics};
pub use fault::{Fault, FaultKind, ParseError, ThreadId};
pub use module::Module;
pub use tensor_map::{Swizzle, TensorMap};
