//! What one core of a CPU does in a second, as far as it decides between graphs that compute the same.
//!
//! Measured with `kiln bench --breakdown --threads 1` on a core of an AMD EPYC with AVX-512 and 32 MiB of last-level cache: projections
//! of 128 tokens and convolutions run at 210 to 260 GFLOP/s, products with one row read weights at 41 GB/s, softmax and means between
//! them move 65 to 120 GB/s, an exponential of each of 200 000 elements takes 24 µs, and the smallest kernels 0.2 to 0.4 µs. Transforms of
//! Winograd's with 36 loads take 10 to 21 µs longer where these are bounded. Other cores are slower in much the same proportions, and
//! only these decide.

use crate::kernel::roofline::Machine;

/// A core of a present desktop or server.
pub const CORE: Machine = Machine {
    flops_per_second: 240e9,
    operations_per_second: 150e9,
    close_bytes_per_second: 90e9,
    far_bytes_per_second: 41e9,
    close_bytes: 32e6,
    launch_seconds: 0.3e-6,
    bounded_load_seconds: 0.3e-6,
    tile: [6.0, 16.0],
};
