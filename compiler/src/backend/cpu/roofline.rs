//! What one core of a CPU does in a second, as far as it decides between graphs that compute the same.
//!
//! Measured on a Zen 3 core at 3.1 GHz with `kiln bench --breakdown`: register tiles reach 85 of 100 GFLOP/s, kernels of element-wise
//! work 2 to 4 operations a nanosecond, a launch with its arguments takes half a microsecond. Other cores scale all of it alike, and only ratios
//! decide.

use crate::kernel::roofline::Machine;

/// A core of a present desktop or server.
pub const CORE: Machine = Machine {
    flops_per_second: 85e9,
    operations_per_second: 6e9,
    close_bytes_per_second: 40e9,
    far_bytes_per_second: 12e9,
    close_bytes: 8e6,
    launch_seconds: 0.5e-6,
    tile: [6.0, 16.0],
};
