//! What parameters are before training: the values that a seed gives.

use crate::random::Stream;
use serde::{Deserialize, Serialize};

/// How the first values of a parameter are drawn.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Initialiser {
    /// `zeros`, `ones`, `constant(c)`: every element the same.
    Constant(f64),
    /// `uniform(a)`: evenly in −a..a.
    Uniform(f64),
    /// `normal(s)`: mean 0, deviation s.
    Normal(f64),
    /// `truncated_normal(s)`: that, cut at two deviations.
    TruncatedNormal(f64),
    /// `glorot_…`, `he_…`, `lecun_…`: with a variance by the number of terms that a sum has.
    Scaled(Scale, Shape),
    /// `orthogonal(g)`: rows or columns of length g at right angles.
    Orthogonal(f64),
    /// One value from one place up to another, 0 elsewhere: the bias of one of several gates.
    Part {
        /// The first place.
        from: usize,
        /// One past the last.
        to: usize,
        /// What is there.
        value: f64,
    },
}

/// Which variance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Scale {
    /// 2 / (inputs + outputs). *Source*: Glorot & Bengio 2010, equation 16.
    Glorot,
    /// 2 / inputs. *Source*: He et al. 2015, equation 10.
    He,
    /// 1 / inputs. *Source*: LeCun et al. 1998, equation 16.
    LeCun,
}

/// Which distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Shape {
    /// Even, within √3 deviations.
    Uniform,
    /// Normal.
    Normal,
}

impl Initialiser {
    /// The values, in row-major order, for a parameter of that shape: a function of seed, name and shape. `fans` are how many inputs
    /// each of its outputs sums and the reverse. `None` when they do not fit into memory.
    pub fn values(self, seed: u64, name: &str, shape: &[usize], fans: (usize, usize)) -> Option<Vec<f64>> {
        let count = shape.iter().try_fold(1usize, |product, d| product.checked_mul(*d))?;
        let mut values = Vec::new();
        values.try_reserve_exact(count).ok()?;
        let stream = Stream::named(seed, name);
        let evenly = |n: u64, limit: f64| (2.0 * stream.uniform(n) - 1.0) * limit;
        match self {
            Initialiser::Orthogonal(gain) => orthogonal(&stream, shape, gain, &mut values),
            Initialiser::Constant(value) => values.resize(count, value),
            Initialiser::Part { from, to, value } => values.extend((0..count).map(|n| if (from..to).contains(&n) { value } else { 0.0 })),
            Initialiser::Uniform(limit) => values.extend((0..count as u64).map(|n| evenly(n, limit))),
            Initialiser::Normal(deviation) => values.extend((0..count as u64).map(|n| deviation * stream.normal(n))),
            Initialiser::TruncatedNormal(deviation) => {
                values.extend((0..count as u64).map(|n| deviation * stream.truncated_normal(n)));
            }
            Initialiser::Scaled(scale, shape) => {
                let (inputs, outputs) = (fans.0.max(1) as f64, fans.1.max(1) as f64);
                let variance = match scale {
                    Scale::Glorot => 2.0 / (inputs + outputs),
                    Scale::He => 2.0 / inputs,
                    Scale::LeCun => 1.0 / inputs,
                };
                values.extend((0..count as u64).map(|n| match shape {
                    Shape::Uniform => evenly(n, (3.0 * variance).sqrt()),
                    Shape::Normal => variance.sqrt() * stream.normal(n),
                }));
            }
        }
        Some(values)
    }
}

/// A matrix of the first axis by the others whose shorter side's vectors are orthonormal, times `gain`: normal numbers made orthogonal
/// by Gram and Schmidt, twice, so that rounding leaves nothing over. *Source*: Saxe et al. 2014.
fn orthogonal(stream: &Stream, shape: &[usize], gain: f64, values: &mut Vec<f64>) {
    let rows = shape.first().copied().unwrap_or(1);
    let columns: usize = shape.iter().skip(1).product();
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for i in 0..count {
        let mut vector: Vec<f64> = (0..length).map(|j| stream.normal((i * length + j) as u64)).collect();
        for _ in 0..2 {
            for other in &vectors {
                let shared: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= shared * b);
            }
        }
        let norm = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|a| *a /= norm);
        vectors.push(vector);
    }
    let at = |row: usize, column: usize| if rows <= columns { vectors[row][column] } else { vectors[column][row] };
    values.extend((0..rows * columns).map(|n| gain * at(n / columns, n % columns)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(initialiser: Initialiser, shape: &[usize], fans: (usize, usize)) -> Vec<f64> {
        initialiser.values(3, "w", shape, fans).expect("it fits")
    }

    #[test]
    fn draws_have_their_spread() {
        let deviation = |values: &[f64]| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
        let cases = [
            (Initialiser::Uniform(0.3), 0.3 / 3f64.sqrt()),
            (Initialiser::Normal(0.2), 0.2),
            (Initialiser::TruncatedNormal(0.2), 0.2 * 0.87963),
            (Initialiser::Scaled(Scale::Glorot, Shape::Uniform), (2.0f64 / 300.0).sqrt()),
            (Initialiser::Scaled(Scale::He, Shape::Normal), (2.0f64 / 200.0).sqrt()),
            (Initialiser::Scaled(Scale::LeCun, Shape::Uniform), (1.0f64 / 200.0).sqrt()),
        ];
        for (initialiser, expected) in cases {
            let found = deviation(&draw(initialiser, &[200, 100], (200, 100)));
            assert!((found / expected - 1.0).abs() < 0.02, "{initialiser:?}: {found}, expected {expected}");
        }
        assert_eq!(draw(Initialiser::Constant(0.25), &[2], (1, 1)), [0.25, 0.25]);
        assert_eq!(draw(Initialiser::Part { from: 1, to: 3, value: 1.0 }, &[4], (1, 1)), [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn orthogonal_is_orthogonal_either_way() {
        for (rows, columns) in [(4, 6), (6, 4), (3, 0)] {
            let q = draw(Initialiser::Orthogonal(2.0), &[rows, columns], (1, 1));
            let at = |i: usize, j: usize| if rows <= columns { q[i * columns + j] } else { q[j * columns + i] };
            let (count, length) = (rows.min(columns), rows.max(columns));
            for (i, j) in (0..count).flat_map(|i| (0..count).map(move |j| (i, j))) {
                let product: f64 = (0..length).map(|k| at(i, k) * at(j, k)).sum();
                assert!((product - if i == j { 4.0 } else { 0.0 }).abs() < 1e-12, "{rows}×{columns}: {i}, {j}: {product}");
            }
        }
    }
}
