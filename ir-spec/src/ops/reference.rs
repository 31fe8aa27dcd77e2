//! Pieces that several reference evaluations share.

use super::arithmetic::maximum;
use crate::tensor::{indices, ravel};

/// Positions of the elements that differ in `axes` only, one list per index of the other axes, both in row-major order.
pub fn groups(shape: &[usize], axes: &[usize]) -> Vec<Vec<usize>> {
    let part = |inside: bool| shape.iter().enumerate().map(|(a, &d)| if axes.contains(&a) == inside { d } else { 1 }).collect::<Vec<_>>();
    let (outer, inner) = (part(false), part(true));
    let group = |o: Vec<usize>| indices(&inner).map(|i| ravel(&o.iter().zip(&i).map(|(a, b)| a + b).collect::<Vec<_>>(), shape)).collect();
    indices(&outer).map(group).collect()
}

/// Applies `f` to the values of each group in place.
pub fn map_groups(values: &mut [f64], shape: &[usize], axes: &[usize], f: impl Fn(&mut Vec<f64>)) {
    for group in groups(shape, axes) {
        let mut lane: Vec<f64> = group.iter().map(|&p| values[p]).collect();
        f(&mut lane);
        group.iter().zip(lane).for_each(|(&p, v)| values[p] = v);
    }
}

/// The mean and the variance (divided by the count) of a lane.
pub fn moments(lane: &[f64]) -> (f64, f64) {
    let count = lane.len() as f64;
    let mean = lane.iter().sum::<f64>() / count;
    (mean, lane.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count)
}

/// The largest value: NaN if there is one, −∞ if there is nothing.
pub fn largest(lane: &[f64]) -> f64 {
    lane.iter().fold(f64::NEG_INFINITY, |m, &v| maximum(m, v))
}

/// Where an operand of `shape` that is broadcast to the result holds the element for the result's `index`.
pub fn broadcast_position(index: &[usize], shape: &[usize]) -> usize {
    let aligned = &index[index.len() - shape.len()..];
    ravel(&aligned.iter().zip(shape).map(|(&i, &d)| if d == 1 { 0 } else { i }).collect::<Vec<_>>(), shape)
}
