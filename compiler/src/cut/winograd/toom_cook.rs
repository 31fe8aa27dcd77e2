//! Short correlations with fewer multiplications: transforms at points.
//!
//! ```text
//! F(m, r):   yᵢ = Σₖ x₍ᵢ₊ₖ₎ wₖ   (i < m, k < r)      =      Aᵀ · ((Bᵀ x) ∘ (G w)),   n = m + r − 1 products
//! ```
//!
//! The points are 0, ±1, ±2 and infinity. Rows of a matrix that belong to ±a share their even and their odd part.
//! Source: Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"; Blahut 2010, Fast Algorithms for Signal
//! Processing, chapter 5.

use crate::kernel::{BinaryFn, ExprId, ExprKind, Exprs};
use kiln_ir::DType;

/// The transforms of F(m, r).
pub struct ToomCook {
    /// Products: m + r − 1.
    pub points: usize,
    /// Bᵀ, n × n.
    input: Vec<Vec<f64>>,
    /// G, n × r.
    taps: Vec<Vec<f64>>,
    /// Aᵀ, m × n.
    output: Vec<Vec<f64>>,
    /// Positions of the points a and −a.
    pairs: Vec<(usize, usize)>,
}

/// The finite points, in the order in which they are taken.
const POINTS: [f64; 5] = [0.0, 1.0, -1.0, 2.0, -2.0];

/// The most products that there are points for.
pub const MOST_POINTS: usize = POINTS.len() + 1;

impl ToomCook {
    /// F(`outputs`, `taps`), of at least 2 and at most [`MOST_POINTS`] products.
    pub fn new(outputs: usize, taps: usize) -> ToomCook {
        let points = outputs + taps - 1;
        let finite = &POINTS[..points - 1];
        let others = |i: usize| finite.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, a)| *a);
        let powers = |a: f64, count: usize| (0..count).map(move |k| a.powi(k as i32));
        let at_infinity = |count: usize| (0..count).map(move |k| if k + 1 == count { 1.0 } else { 0.0 });

        let mut input: Vec<Vec<f64>> = (0..finite.len()).map(|i| polynomial(others(i), points)).collect();
        input.push(polynomial(finite.iter().copied(), points));
        let scale = |i: usize| others(i).map(|a| finite[i] - a).product::<f64>();
        let mut weight: Vec<Vec<f64>> = finite.iter().enumerate().map(|(i, a)| powers(*a, taps).map(|p| p / scale(i)).collect()).collect();
        weight.push(at_infinity(taps).collect());
        let last: Vec<f64> = at_infinity(outputs).collect();
        let output = (0..outputs).map(|i| finite.iter().map(|a| a.powi(i as i32)).chain([last[i]]).collect()).collect();
        let pairs = (0..finite.len()).filter_map(|i| Some((i, finite.iter().position(|a| *a == -finite[i] && *a < 0.0)?))).collect();
        ToomCook { points, input, taps: weight, output, pairs }
    }

    /// Bᵀ along every axis of a patch of n per axis.
    pub fn of_input(&self, exprs: &mut Exprs, dtype: DType, rank: usize, patch: Vec<ExprId>) -> Vec<ExprId> {
        along_all(rank, self.points, patch, &mut |x| by_rows(&self.input, &self.pairs, exprs, dtype, x))
    }

    /// G along every axis of r taps per axis.
    pub fn of_taps(&self, exprs: &mut Exprs, dtype: DType, rank: usize, taps: Vec<ExprId>) -> Vec<ExprId> {
        along_all(rank, self.taps[0].len(), taps, &mut |x| by_rows(&self.taps, &self.pairs, exprs, dtype, x))
    }

    /// Aᵀ along every axis of n products per axis: m outputs per axis.
    pub fn of_products(&self, exprs: &mut Exprs, dtype: DType, rank: usize, products: Vec<ExprId>) -> Vec<ExprId> {
        along_all(rank, self.points, products, &mut |x| self.outputs(exprs, dtype, x))
    }

    /// Sums and differences of what belongs to ±a are taken once for all rows.
    fn outputs(&self, exprs: &mut Exprs, dtype: DType, x: &[ExprId]) -> Vec<ExprId> {
        let mut values = x.to_vec();
        for &(plus, minus) in &self.pairs {
            values[plus] = exprs.add(dtype, ExprKind::Binary(BinaryFn::Add, x[plus], x[minus]));
            values[minus] = exprs.add(dtype, ExprKind::Binary(BinaryFn::Sub, x[plus], x[minus]));
        }
        let row = |row: &Vec<f64>| {
            let mut row = row.clone();
            for &(plus, minus) in &self.pairs {
                let (even, odd) = ((row[plus] + row[minus]) / 2.0, (row[plus] - row[minus]) / 2.0);
                (row[plus], row[minus]) = (even, odd);
            }
            row
        };
        self.output.iter().map(|r| linear(&row(r), exprs, dtype, &values)).collect()
    }
}

/// Coefficients of Π (x − root), lowest first, `count` of them.
fn polynomial(roots: impl Iterator<Item = f64>, count: usize) -> Vec<f64> {
    let mut result = vec![0.0; count];
    result[0] = 1.0;
    for root in roots {
        for k in (0..count).rev() {
            result[k] = if k == 0 { 0.0 } else { result[k - 1] } - root * result[k];
        }
    }
    result
}

/// A matrix times a vector, where rows in pairs are the sum and the difference of one even and one odd part.
fn by_rows(matrix: &[Vec<f64>], pairs: &[(usize, usize)], exprs: &mut Exprs, dtype: DType, x: &[ExprId]) -> Vec<ExprId> {
    let mut rows: Vec<Option<ExprId>> = vec![None; matrix.len()];
    for &(plus, minus) in pairs {
        let both = |f: fn(f64, f64) -> f64| matrix[plus].iter().zip(&matrix[minus]).map(|(p, m)| f(*p, *m) / 2.0).collect::<Vec<_>>();
        let even = linear(&both(|p, m| p + m), exprs, dtype, x);
        let odd = linear(&both(|p, m| p - m), exprs, dtype, x);
        rows[plus] = Some(exprs.add(dtype, ExprKind::Binary(BinaryFn::Add, even, odd)));
        rows[minus] = Some(exprs.add(dtype, ExprKind::Binary(BinaryFn::Sub, even, odd)));
    }
    rows.into_iter().zip(matrix).map(|(known, row)| known.unwrap_or_else(|| linear(row, exprs, dtype, x))).collect()
}

/// Σ coefficient · value, over what is not 0.
fn linear(coefficients: &[f64], exprs: &mut Exprs, dtype: DType, x: &[ExprId]) -> ExprId {
    let mut terms: Vec<(f64, ExprId)> = coefficients.iter().copied().zip(x.iter().copied()).filter(|(c, _)| *c != 0.0).collect();
    // One factor of all is taken out.
    let common = terms.first().map_or(1.0, |(c, _)| c.abs());
    let common = if terms.iter().all(|(c, _)| c.abs() == common) { common } else { 1.0 };
    terms.iter_mut().for_each(|(c, _)| *c /= common);
    // One that needs no factor first.
    terms.sort_by_key(|(c, _)| *c != 1.0);
    let mut sum = None;
    for (coefficient, value) in terms {
        let (negative, size) = (coefficient < 0.0, coefficient.abs());
        let binary = |exprs: &mut Exprs, f, a, b| exprs.add(dtype, ExprKind::Binary(f, a, b));
        let scaled = |exprs: &mut Exprs, factor: f64| match factor == 1.0 {
            true => value,
            false => {
                let factor = exprs.constant(dtype, factor);
                binary(exprs, BinaryFn::Mul, value, factor)
            }
        };
        sum = Some(match sum {
            None => scaled(exprs, coefficient),
            Some(sum) => {
                let term = scaled(exprs, size);
                binary(exprs, if negative { BinaryFn::Sub } else { BinaryFn::Add }, sum, term)
            }
        });
    }
    match sum {
        None => exprs.constant(dtype, 0.0),
        Some(sum) if common == 1.0 => sum,
        Some(sum) => {
            let common = exprs.constant(dtype, common);
            exprs.add(dtype, ExprKind::Binary(BinaryFn::Mul, sum, common))
        }
    }
}

/// Applies a map of vectors along each axis of a cube of `size` elements per axis.
fn along_all(rank: usize, size: usize, values: Vec<ExprId>, f: &mut dyn FnMut(&[ExprId]) -> Vec<ExprId>) -> Vec<ExprId> {
    let mut shape = vec![size; rank];
    let mut values = values;
    for axis in 0..rank {
        let inner: usize = shape[axis + 1..].iter().product();
        let lines: Vec<Vec<ExprId>> = (0..values.len() / shape[axis])
            .map(|line| {
                let start = line / inner * inner * shape[axis] + line % inner;
                f(&(0..shape[axis]).map(|i| values[start + i * inner]).collect::<Vec<_>>())
            })
            .collect();
        let made = lines.first().map_or(0, Vec::len);
        let outer = lines.len() / inner;
        values = (0..outer * made * inner).map(|at| lines[at / (made * inner) * inner + at % inner][at / inner % made]).collect();
        shape[axis] = made;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scalar;

    /// The value of a sum of products of constants.
    fn value(exprs: &Exprs, id: ExprId) -> f64 {
        match exprs.get(id).kind {
            ExprKind::Constant(Scalar::Float(bits)) => f64::from_bits(bits),
            ExprKind::Binary(f, a, b) => {
                let (a, b) = (value(exprs, a), value(exprs, b));
                match f {
                    BinaryFn::Add => a + b,
                    BinaryFn::Sub => a - b,
                    BinaryFn::Mul => a * b,
                    _ => panic!("only sums and products are used"),
                }
            }
            _ => panic!("only constants go in"),
        }
    }

    #[test]
    fn transforms_give_the_correlation_along_one_and_two_axes() {
        for (m, r) in [(2, 3), (3, 2), (4, 3), (3, 4), (2, 2), (5, 2), (2, 5)] {
            let scheme = ToomCook::new(m, r);
            assert_eq!(scheme.points, m + r - 1);
            for rank in [1, 2] {
                let mut exprs = Exprs::default();
                let n = scheme.points;
                let number = |seed: usize, i: usize| ((seed + i * 37) % 23) as f64 - 11.0;
                let x: Vec<f64> = (0..n.pow(rank)).map(|i| number(5, i)).collect();
                let w: Vec<f64> = (0..r.pow(rank)).map(|i| number(12, i)).collect();
                let constants = |exprs: &mut Exprs, v: &[f64]| v.iter().map(|v| exprs.constant(DType::F64, *v)).collect::<Vec<_>>();
                let (a, b) = (constants(&mut exprs, &x), constants(&mut exprs, &w));
                let rank = rank as usize;
                let a = scheme.of_input(&mut exprs, DType::F64, rank, a);
                let b = scheme.of_taps(&mut exprs, DType::F64, rank, b);
                let products = a.iter().zip(&b).map(|(a, b)| exprs.add(DType::F64, ExprKind::Binary(BinaryFn::Mul, *a, *b))).collect();
                let y = scheme.of_products(&mut exprs, DType::F64, rank, products);
                assert_eq!(y.len(), m.pow(rank as u32));
                let other = |size: usize| if rank == 2 { size } else { 1 };
                for (at, y) in y.iter().enumerate() {
                    let (i, j) = (at / other(m), at % other(m));
                    let direct: f64 = (0..w.len())
                        .map(|k| {
                            let (k, l) = (k / other(r), k % other(r));
                            x[(i + k) * other(n) + j + l] * w[k * other(r) + l]
                        })
                        .sum();
                    assert!((value(&exprs, *y) - direct).abs() < 1e-9, "F({m}, {r}) along {rank}: {} for {direct}", value(&exprs, *y));
                }
            }
        }
    }

    #[test]
    fn matrices_are_those_of_the_literature() {
        let scheme = ToomCook::new(4, 3);
        assert_eq!(scheme.input[0], [4.0, 0.0, -5.0, 0.0, 1.0, 0.0]);
        assert_eq!(scheme.input[3], [0.0, -2.0, -1.0, 2.0, 1.0, 0.0]);
        assert_eq!(scheme.taps[3], [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0]);
        assert_eq!(scheme.output[3], [0.0, 1.0, -1.0, 8.0, -8.0, 1.0]);
        assert_eq!(scheme.pairs, [(1, 2), (3, 4)]);
    }
}
