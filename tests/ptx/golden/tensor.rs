//! Copies of boxes of tensors: swizzles, edges, places before the tensor.

use super::values::{halves, words};
use super::{Bound, Case, Kind, Map, Parameter, Stretch};

const TEXT: &str = include_str!("../kernels/golden/tensor.ptx");
const LOADS: [&str; 5] = ["load_1d", "load_2d", "load_3d", "load_4d", "load_5d"];
const STORES: [&str; 5] = ["store_1d", "store_2d", "store_3d", "store_4d", "store_5d"];
/// Bytes of shared memory that stores begin with.
const IMAGE: usize = 8192;

/// A box of a tensor, innermost dimension first.
struct One {
    name: &'static str,
    element: u64,
    dims: &'static [u64],
    /// Bytes.
    strides: &'static [u64],
    boxes: &'static [u64],
    swizzle: u64,
    /// Where the box begins.
    at: &'static [i32],
    /// Where it lies in shared memory.
    shared: u64,
}

impl One {
    fn bytes(&self) -> u64 {
        self.boxes.iter().product::<u64>() * self.element
    }

    /// Bytes of the tensor in memory, with what lies between its rows.
    fn tensor(&self) -> u64 {
        match (self.dims.last(), self.strides.last()) {
            (Some(n), Some(stride)) => n * stride,
            _ => self.dims[0] * self.element,
        }
        .next_multiple_of(16)
    }

    fn map(&self, of: usize) -> Parameter {
        Parameter::Map(Map {
            of,
            element_bytes: self.element,
            dims: self.dims.to_vec(),
            strides: self.strides.to_vec(),
            box_dims: self.boxes.to_vec(),
            swizzle: self.swizzle,
        })
    }

    fn load(&self) -> Case {
        // What the box covers and a little on each side, which must stay as it was.
        let shown = self.shared + self.bytes() + 128;
        Case {
            name: format!("tensor_load_{}", self.name),
            text: TEXT.into(),
            kernel: LOADS[self.dims.len() - 1],
            blocks: 1,
            threads: 128,
            parameters: vec![
                self.map(6),
                Parameter::input(words(self.at.iter().map(|c| *c as u32))),
                Parameter::Number(self.shared),
                Parameter::Number(self.bytes()),
                Parameter::Number(shown),
                Parameter::output(shown as usize),
                Parameter::input(halves(0..self.tensor() as u16 / 2)),
            ],
            stretches: vec![Stretch { label: "shared memory".into(), count: shown as usize / 4, kind: Kind::Bits32, bound: Bound::Exact }],
        }
    }

    fn store(&self) -> Case {
        let bytes = self.tensor() as usize;
        Case {
            name: format!("tensor_store_{}", self.name),
            text: TEXT.into(),
            kernel: STORES[self.dims.len() - 1],
            blocks: 1,
            threads: 128,
            parameters: vec![
                self.map(4),
                Parameter::input(words(self.at.iter().map(|c| *c as u32))),
                Parameter::Number(self.shared),
                Parameter::input(halves(0..IMAGE as u16 / 2)),
                Parameter::output(bytes),
            ],
            stretches: vec![Stretch { label: "the tensor".into(), count: bytes / 4, kind: Kind::Bits32, bound: Bound::Exact }],
        }
    }
}

pub fn cases() -> Vec<Case> {
    let plain = One { name: "2d", element: 2, dims: &[40, 20], strides: &[80], boxes: &[16, 8], swizzle: 0, at: &[8, 4], shared: 0 };
    let swizzled = |name, swizzle, boxes, at, shared| One { name, boxes, swizzle, at, shared, ..plain };
    let moved = |name, at| One { name, at, ..plain };
    let all = [
        One { ..plain },
        moved("2d_edge", &[32, 15]),
        moved("2d_before", &[-8, -3]),
        moved("2d_left", &[-8, 2]),
        moved("2d_above", &[8, -3]),
        moved("2d_far_left", &[-64, 2]),
        moved("2d_far_right", &[104, 2]),
        moved("2d_far_above", &[8, -20]),
        moved("2d_far_below", &[8, 40]),
        // Rows must begin at multiples of 16 bytes.
        moved("2d_odd", &[3, 1]),
        moved("2d_half", &[4, 1]),
        moved("2d_odd_before", &[-5, 1]),
        swizzled("2d_32", 32, &[16, 16], &[8, 0], 0),
        swizzled("2d_64", 64, &[32, 16], &[8, 2], 0),
        swizzled("2d_128", 128, &[64, 16], &[0, 1], 0),
        swizzled("2d_128_edges", 128, &[64, 16], &[-8, -2], 1024),
        // Rows shorter than the swizzle's, and boxes that do not begin where the pattern does.
        swizzled("2d_128_short", 128, &[24, 16], &[8, 0], 0),
        swizzled("2d_64_short", 64, &[8, 16], &[0, 3], 0),
        swizzled("2d_128_shifted", 128, &[64, 8], &[8, 5], 128),
        swizzled("2d_64_shifted", 64, &[32, 8], &[0, 5], 384),
        swizzled("2d_32_shifted", 32, &[16, 8], &[0, 5], 128),
        One { shared: 64, ..moved("2d_misplaced", &[8, 4]) },
        One { name: "1d", element: 4, dims: &[50], strides: &[], boxes: &[32], at: &[28], ..plain },
        One { name: "1d_odd", element: 4, dims: &[50], strides: &[], boxes: &[32], at: &[30], ..plain },
        One { name: "1d_before", element: 1, dims: &[300], strides: &[], boxes: &[64], at: &[-16], ..plain },
        One { name: "3d", element: 4, dims: &[10, 5, 4], strides: &[48, 256], boxes: &[8, 3, 3], at: &[4, 3, 0], ..plain },
        One { name: "3d_before", element: 4, dims: &[10, 5, 4], strides: &[48, 256], boxes: &[8, 3, 3], at: &[4, 3, -1], ..plain },
        One {
            name: "3d_128",
            element: 2,
            dims: &[70, 5, 4],
            strides: &[144, 736],
            boxes: &[64, 3, 2],
            swizzle: 128,
            at: &[-8, 1, 3],
            shared: 2048,
        },
        One { name: "4d", element: 8, dims: &[5, 4, 3, 4], strides: &[48, 192, 576], boxes: &[4, 2, 2, 3], at: &[2, 1, 2, 1], ..plain },
        One {
            name: "4d_before",
            element: 8,
            dims: &[5, 4, 3, 4],
            strides: &[48, 192, 576],
            boxes: &[4, 2, 2, 3],
            at: &[2, -1, 2, -1],
            ..plain
        },
        One {
            name: "5d",
            element: 2,
            dims: &[9, 3, 3, 2, 3],
            strides: &[32, 96, 288, 576],
            boxes: &[8, 2, 2, 2, 2],
            at: &[0, 2, 1, 1, 2],
            ..plain
        },
        One {
            name: "5d_before",
            element: 2,
            dims: &[9, 3, 3, 2, 3],
            strides: &[32, 96, 288, 576],
            boxes: &[8, 2, 2, 2, 2],
            at: &[8, 2, -1, 0, -1],
            ..plain
        },
    ];
    all.iter().map(One::load).chain(all.iter().filter(|o| o.shared + o.bytes() <= IMAGE as u64).map(One::store)).collect()
}
