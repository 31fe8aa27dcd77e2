//! Tile programs: the one low-level language between structured kernels and the code of every backend.
//!
//! A *tile program* is one leaf function in structured SSA: straight-line scalar and vector code inside
//! counted loops and `if`s. Generators write it with [`Builder`]; [`verify`](verify::verify) checks it;
//! it prints as text; [`eval`](eval::eval) runs it obviously and slowly, the oracle of every emitter. Backends have the emitters.
//!
//! ```
//! use kiln::tile::{Builder, Mem, Type, verify::verify};
//!
//! // y[i] = max(x[i], 0) for begin <= i < end, four at a time (the caller passes multiples of four).
//! let mut b = Builder::new("relu", 4);
//! let [args, _worker, begin, end] = b.params();
//! let x = b.load(Mem::I64, Type::I64, args, 0);
//! let y = b.load(Mem::I64, Type::I64, args, 8);
//! let f32x4 = Type::F32.times(4);
//! let zero = b.float(f32x4, 0.0);
//! b.for_each(begin, end, 4, |b, i| {
//!     let at = b.mul_int(i, 4);
//!     let (from, to) = (b.add(x, at), b.add(y, at));
//!     let value = b.load(Mem::F32, f32x4, from, 0);
//!     let value = b.maximum(value, zero);
//!     b.store(Mem::F32, value, to, 0);
//! });
//! let program = b.finish();
//! assert_eq!(verify(&program), Vec::<String>::new());
//! ```

mod builder;
mod cooperative;
pub mod eval;
pub mod expand;
pub mod float_bits;
pub mod fragments;
mod ir;
pub mod math;
mod pipeline;
mod print;
mod types;
pub mod verify;

pub use builder::Builder;
pub use cooperative::{Cooperative, CooperativeStmt, EXCHANGE_LANES, MatrixElement};
pub use ir::{Binary, Block, Compare, Convert, Inst, Loop, Reg, Scratch, Shuffle, Stmt, TileProgram, Unary, Wanted};
pub use pipeline::{MOST_TENSOR_AXES, PipelineStmt};
pub use types::{Lane, Mem, Type};
