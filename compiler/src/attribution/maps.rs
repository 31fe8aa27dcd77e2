//! Arithmetic of attributions: points of an integral, Grad-CAM and its enlargement, attention through several layers.

/// Points from 0 to 1 with their weights, which add up to 1: Gauss–Legendre quadrature.
///
/// *Source*: Press et al. 2007, "Numerical Recipes", §4.6.1: Newton's method on the recurrence of Legendre polynomials.
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let point = |at: usize| {
        let mut x = (std::f64::consts::PI * (at as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut before, mut value) = (1.0, x);
            for degree in 2..=n {
                let degree = degree as f64;
                (before, value) = (value, ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * before) / degree);
            }
            slope = n as f64 * (x * value - before) / (x * x - 1.0);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        ((1.0 - x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(point).collect()
}

/// Grad-CAM of one sample: channels `[channels, places]` weighed by the means of their gradients, and what is left above 0.
///
/// *Source*: Selvaraju et al. 2017, equations 1 and 2.
pub fn grad_cam(activation: &[f64], gradient: &[f64], channels: usize) -> Vec<f64> {
    let places = activation.len() / channels.max(1);
    let mut map = vec![0.0; places];
    for channel in 0..channels {
        let of = channel * places..(channel + 1) * places;
        let weight = gradient[of.clone()].iter().sum::<f64>() / places.max(1) as f64;
        map.iter_mut().zip(&activation[of]).for_each(|(sum, value)| *sum += weight * value);
    }
    map.into_iter().map(|value| value.max(0.0)).collect()
}

/// The map in other sizes, linear in between along each axis. Pixels are squares: edges, not centres, lie on each other.
pub fn enlarged(map: &[f64], from: &[usize], to: &[usize]) -> Vec<f64> {
    let mut map = map.to_vec();
    let mut shape = from.to_vec();
    for axis in 0..from.len() {
        let (old, new) = (shape[axis], to[axis]);
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let mut next = Vec::with_capacity(outer * new * inner);
        for row in 0..outer {
            for at in 0..new {
                let place = ((at as f64 + 0.5) * old as f64 / new as f64 - 0.5).clamp(0.0, old.saturating_sub(1) as f64);
                let (low, part) = (place.floor() as usize, place.fract());
                let high = (low + 1).min(old.saturating_sub(1));
                let value = |at: usize, i: usize| map[(row * old + at) * inner + i];
                next.extend((0..inner).map(|i| value(low, i) * (1.0 - part) + value(high, i) * part));
            }
        }
        (map, shape[axis]) = (next, new);
    }
    map
}

/// How much each of `n` places looks at each, through all layers: `[queries, keys]`. Each layer is the mean of its heads, half of it
/// what passes by.
///
/// *Source*: Abnar & Zuidema 2020, §3.
pub fn rollout(layers: &[Vec<f64>], n: usize) -> Vec<f64> {
    let mut all: Vec<f64> = (0..n * n).map(|at| f64::from(at / n.max(1) == at % n.max(1))).collect();
    for layer in layers {
        let heads = layer.len() / (n * n).max(1);
        let mean = |at: usize| (0..heads).map(|head| layer[head * n * n + at]).sum::<f64>() / heads.max(1) as f64;
        let mixed: Vec<f64> = (0..n * n).map(|at| 0.5 * mean(at) + 0.5 * f64::from(at / n == at % n)).collect();
        let row = |query: usize| mixed[query * n..(query + 1) * n].iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let product = |query: usize, key: usize| (0..n).map(|k| mixed[query * n + k] * all[k * n + key]).sum::<f64>() / row(query);
        all = (0..n * n).map(|at| product(at / n, at % n)).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_exactly() {
        for n in [1, 2, 3, 8, 64, 256] {
            let points = gauss_legendre(n);
            assert!(points.is_sorted_by(|a, b| a.0 < b.0) && points.iter().all(|(x, weight)| *x > 0.0 && *x < 1.0 && *weight > 0.0));
            let integral = |power: i32| points.iter().map(|(x, weight)| weight * x.powi(power)).sum::<f64>();
            // Up to degree 2n − 1.
            for power in 0..(2 * n as i32).min(40) {
                assert!((integral(power) - 1.0 / f64::from(power + 1)).abs() < 1e-13, "{n} points, power {power}");
            }
        }
        assert!(gauss_legendre(0).is_empty());
    }

    #[test]
    fn channels_count_by_the_mean_of_their_gradients_and_nothing_below_zero() {
        let map = grad_cam(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, -1.0, -1.0], 2);
        assert_eq!(map, [0.0, 0.0]);
        let map = grad_cam(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, -0.5, 0.0], 2);
        assert_eq!(map, [1.25, 3.0]);
        assert!(grad_cam(&[], &[], 0).is_empty());
    }

    #[test]
    fn maps_become_larger_as_pixels_do() {
        // What torch.nn.functional.interpolate(mode="linear", align_corners=False) gives.
        assert_eq!(enlarged(&[0.0, 1.0], &[2], &[4]), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(enlarged(&[0.0, 1.0, 2.0, 3.0], &[2, 2], &[2, 2]), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(enlarged(&[5.0], &[1, 1], &[2, 3]), [5.0; 6]);
    }

    #[test]
    fn attention_goes_through_layers_and_rows_stay_shares() {
        let looks = vec![0.0, 1.0, 1.0, 0.0];
        assert_eq!(rollout(std::slice::from_ref(&looks), 2), [0.5, 0.5, 0.5, 0.5]);
        let twice = rollout(&[vec![1.0, 0.0, 1.0, 0.0], looks], 2);
        assert_eq!(twice, [0.75, 0.25, 0.75, 0.25]);
        assert!(twice.chunks(2).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    }
}
