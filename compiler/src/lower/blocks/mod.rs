//! Kernels that a block of threads computes together, as on a GPU: what several threads need goes through shared memory, and what one
//! row needs is spread over the lanes of a warp. Values, addresses and stores are lowered as everywhere; bits do not depend on it.

pub(super) mod attention;
mod boxes;
mod chunks;
pub(super) mod contract;
mod copied_rows;
mod epilogue;
mod joined;
pub(super) mod matrices;
mod members;
pub(super) mod neighbours;
mod persistent;
pub(super) mod rows;
mod shared_matrix;
mod staging;
pub(super) mod streams;
mod strides;
pub(super) mod teams;
mod tiles;
pub(super) mod turned;
pub(super) mod warpgroups;

pub(crate) use persistent::PersistentLoop;
pub(crate) use strides::in_one_piece;
pub(crate) use tiles::usual;
