//! Row-major walks over strided views, the loop under most reference evaluations.

use crate::Tensor;

/// Distance in elements between neighbours along each axis of a row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The offsets `base + Σ index[i] · strides[i]` of every index of `sizes` in row-major order.
pub(crate) fn offsets(sizes: &[usize], strides: &[isize], base: isize) -> Vec<usize> {
    let count: usize = sizes.iter().product();
    let mut found = Vec::with_capacity(count);
    let mut index = vec![0; sizes.len()];
    let mut at = base;
    for _ in 0..count {
        found.push(at as usize);
        for axis in (0..sizes.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < sizes[axis] {
                break;
            }
            at -= strides[axis] * sizes[axis] as isize;
            index[axis] = 0;
        }
    }
    found
}

/// The offsets that the given axes of a row-major tensor span, the other indices being 0.
pub(crate) fn axis_offsets(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let all = strides(shape);
    let sizes: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
    let chosen: Vec<isize> = axes.iter().map(|&a| all[a] as isize).collect();
    offsets(&sizes, &chosen, 0)
}

/// Axes that are not among `axes`, in order.
pub(crate) fn other_axes(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|a| !axes.contains(a)).collect()
}

/// The tensor whose elements are those of `x` at `positions`.
pub(crate) fn pick(x: &Tensor, shape: Vec<usize>, positions: &[usize]) -> Tensor {
    let (size, from) = (x.dtype().size_bytes(), x.bytes());
    let mut bytes = Vec::with_capacity(positions.len() * size);
    for &position in positions {
        bytes.extend_from_slice(&from[position * size..][..size]);
    }
    Tensor::from_vec(x.dtype(), shape, bytes)
}
