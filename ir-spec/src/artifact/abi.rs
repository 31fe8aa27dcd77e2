//! The C ABI between generated code and its callers. Field order is the contract: generated code reads these offsets.

use std::ffi::c_void;

/// Version of this contract. Generated code, runtime and header must agree on it ([`super::Status::AbiVersion`]).
pub const ABI_VERSION: u32 = 1;

/// Alignment in bytes of the arena, of weights and (preferred) of tensors.
pub const ALIGNMENT: usize = 64;

/// A chunk of parallel work: computes tasks `begin..end` as worker `worker`.
///
/// `worker` picks per-worker scratch inside the arena. Two chunks of one call never run at once with the same worker.
pub type Kernel = unsafe extern "C" fn(args: *const c_void, worker: i64, begin: i64, end: i64);

/// Splits `[0, tasks)` into chunks of at least `grain` tasks (the whole when fewer) and returns when all are done.
///
/// How the range is split must not change results. A chunk never waits for another chunk. A kernel that calls
/// `parallel_for` again gets the whole range inline, under its own worker number.
pub type ParallelFor = unsafe extern "C" fn(data: *mut c_void, tasks: i64, grain: i64, kernel: Kernel, args: *const c_void);

/// `kiln_pool`: how generated code runs loops in parallel. A null pool means: sequentially, as worker 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Passed back to `parallel_for`.
    pub data: *mut c_void,
    /// Worker numbers are in `0..workers`; at least 1. `arena_bytes` is asked with this number.
    pub workers: i64,
    /// The loop itself.
    pub parallel_for: ParallelFor,
}

/// `kiln_call`: everything one run reads and writes.
///
/// Tensors are row-major and contiguous, in signature order. Inputs, outputs and arena must not overlap, except
/// that inputs may overlap each other, and that a state may be the same memory as its next value
/// ([`super::Signature::states`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// One pointer per input, aligned to its element size ([`ALIGNMENT`] preferred).
    pub inputs: *const *const c_void,
    /// One pointer per output, aligned likewise.
    pub outputs: *const *mut c_void,
    /// Values of the signature's symbols, in order.
    pub dims: *const i64,
    /// Scratch, aligned to [`ALIGNMENT`]; contents are undefined before and after.
    pub arena: *mut c_void,
    /// Bytes at `arena`: at least what [`ArenaBytesFn`] answers for the same dims and the pool's workers.
    pub arena_bytes: i64,
    /// The weights, aligned to [`ALIGNMENT`]; null = those embedded in the artefact.
    pub weights: *const c_void,
    /// Null = sequential.
    pub pool: *const Pool,
    /// May be null. After a failure: which guard, symbol or node (see [`super::Status`]).
    pub detail: *mut i64,
    /// Null unless the signature says [`super::Signature::data_dependent`]; then as long as what
    /// [`OutputShapesFn`] writes and filled with it; generated code overwrites dims that depend on data with
    /// their true values, and outputs are contiguous in those.
    pub output_dims: *mut i64,
}

/// Runs the model: 0 or a [`super::Status`] code.
pub type PredictFn = unsafe extern "C" fn(call: *const Call) -> i32;

/// Writes the arena size in bytes for these symbols and that many workers: 0 or a [`super::Status`] code, and then the
/// failure's detail in place of the size.
pub type ArenaBytesFn = unsafe extern "C" fn(dims: *const i64, threads: i64, bytes: *mut i64) -> i32;

/// Writes all outputs' dims, concatenated in order: 0 or a [`super::Status`] code.
pub type OutputShapesFn = unsafe extern "C" fn(dims: *const i64, shapes: *mut i64) -> i32;

/// `kiln_model`: what an artefact exports as `<name>_model`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ModelDescriptor {
    /// [`ABI_VERSION`] of the compiler that wrote it.
    pub abi_version: u32,
    /// Reserved, 0.
    pub flags: u32,
    /// UTF-8 JSON of [`super::Signature`], not terminated.
    pub signature: *const u8,
    /// Bytes at `signature`.
    pub signature_bytes: u64,
    /// Embedded weights, aligned to [`ALIGNMENT`]; null when there are none or they are a tail or external.
    pub weights: *const u8,
    /// Bytes of weights, wherever they are.
    pub weights_bytes: u64,
    /// Runs the model.
    pub predict: PredictFn,
    /// Sizes the arena.
    pub arena_bytes: ArenaBytesFn,
    /// Sizes the outputs.
    pub output_shapes: OutputShapesFn,
}

/// What the `main` of a trainer hands to the runtime.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TrainerDescriptor {
    /// One step of training.
    pub step: *const ModelDescriptor,
    /// One evaluation.
    pub evaluation: *const ModelDescriptor,
    /// Which layers give finite numbers.
    pub trace: *const ModelDescriptor,
    /// UTF-8 JSON of how they are driven, not terminated.
    pub recipe: *const u8,
    /// Bytes at `recipe`.
    pub recipe_bytes: u64,
}

// SAFETY: a descriptor is constant data and functions without state; nothing behind its pointers is ever written.
unsafe impl Sync for ModelDescriptor {}
// SAFETY: as above.
unsafe impl Send for ModelDescriptor {}
// SAFETY: `data` belongs to a pool whose `parallel_for` may be called from any thread.
unsafe impl Sync for Pool {}
// SAFETY: as above.
unsafe impl Send for Pool {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    /// Old artefacts meet new runtimes: these numbers change only together with [`ABI_VERSION`].
    #[test]
    fn layout_is_the_contract() {
        assert_eq!(size_of::<Pool>(), 24);
        assert_eq!(offset_of!(Pool, workers), 8);
        assert_eq!(offset_of!(Pool, parallel_for), 16);
        assert_eq!(size_of::<Call>(), 72);
        assert_eq!(offset_of!(Call, dims), 16);
        assert_eq!(offset_of!(Call, arena), 24);
        assert_eq!(offset_of!(Call, weights), 40);
        assert_eq!(offset_of!(Call, pool), 48);
        assert_eq!(offset_of!(Call, detail), 56);
        assert_eq!(offset_of!(Call, output_dims), 64);
        assert_eq!(size_of::<ModelDescriptor>(), 64);
        assert_eq!(offset_of!(ModelDescriptor, signature), 8);
        assert_eq!(offset_of!(ModelDescriptor, predict), 40);
    }
}
