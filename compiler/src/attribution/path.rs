//! The integral of integrated gradients, from the baseline at 0 to the sample at 1.
//!
//! Scores change in jumps along the way: at a kink of a ReLU, or next to a baseline that is all the same, which a norm turns into
//! something else at once. So the way is cut into panels, and the panels whose gradients miss most of what the scores themselves say are
//! cut again, until as many points as there may be are spent.

use super::maps::gauss_legendre;
use kiln_ir::Diagnostic;

/// Points of a panel.
const ORDER: usize = 4;
/// Panels that are computed at once.
const AT_ONCE: usize = 8;
/// Where a panel next to the baseline is cut: norms behind each other make jumps there that are orders of magnitude nearer than others.
const NEAR: f64 = 1.0 / 32.0;

/// What the function gives at some places of the way.
pub struct Along {
    /// The score at each.
    pub scores: Vec<f64>,
    /// Its gradient at each.
    pub gradients: Vec<Vec<f64>>,
}

/// The mean gradient on the way, and the score at its beginning.
pub struct Integral {
    /// For each element of a sample.
    pub gradient: Vec<f64>,
    /// The score of the baseline.
    pub start: f64,
}

/// Both ends of a stretch of the way, and the scores there.
type Stretch = ([f64; 2], [f64; 2]);

/// A stretch of the way.
struct Panel {
    ends: [f64; 2],
    scores: [f64; 2],
    /// The integral of the gradient.
    gradient: Vec<f64>,
    /// By how much that misses the difference of the scores.
    gap: f64,
}

/// Integrates the gradient over the way whose direction is `delta`, by at most `steps` points, and a score at each end of a panel.
///
/// Errors: those of the function.
///
/// *Source*: Sundararajan, Taly & Yan 2017, equation 1 and proposition 1, by which panels are chosen.
pub fn integrate(
    steps: usize,
    delta: &[f64],
    function: &mut dyn FnMut(&[f64]) -> Result<Along, Diagnostic>,
) -> Result<Integral, Diagnostic> {
    // Half of the points go to panels that are chosen beforehand, denser next to the baseline.
    let count = if steps < 4 * ORDER { 1 } else { steps / (2 * ORDER) };
    let rule = gauss_legendre(if count == 1 { steps.max(1) } else { ORDER });
    let edges: Vec<f64> = (0..=count).map(|edge| (edge as f64 / count as f64).powi(2)).collect();
    let scores = function(&edges)?.scores;
    let start = scores[0];
    let stretches: Vec<Stretch> =
        edges.windows(2).zip(scores.windows(2)).map(|(ends, scores)| ([ends[0], ends[1]], [scores[0], scores[1]])).collect();
    let mut panels = Vec::new();
    // Gradients are as large as samples, so few are kept before they are summed.
    for some in stretches.chunks(AT_ONCE) {
        panels.extend(computed(some, &rule, delta, function)?);
    }
    let splits = if count == 1 { 0 } else { (steps - count * ORDER) / (2 * ORDER) };
    for _ in 0..splits {
        let worst = (0..panels.len()).max_by(|a, b| panels[*a].gap.abs().total_cmp(&panels[*b].gap.abs())).unwrap_or(0);
        let Panel { ends: [from, to], scores: [before, behind], .. } = panels.swap_remove(worst);
        let middle = if from == 0.0 { to * NEAR } else { (from + to) / 2.0 };
        let between = function(&[middle])?.scores[0];
        panels.extend(computed(&[([from, middle], [before, between]), ([middle, to], [between, behind])], &rule, delta, function)?);
    }
    // Sums are taken along the way, whichever panels were cut.
    panels.sort_by(|a, b| a.ends[0].total_cmp(&b.ends[0]));
    let mut gradient = vec![0.0; delta.len()];
    for panel in &panels {
        gradient.iter_mut().zip(&panel.gradient).for_each(|(sum, part)| *sum += part);
    }
    Ok(Integral { gradient, start })
}

fn computed(
    stretches: &[Stretch],
    rule: &[(f64, f64)],
    delta: &[f64],
    function: &mut dyn FnMut(&[f64]) -> Result<Along, Diagnostic>,
) -> Result<Vec<Panel>, Diagnostic> {
    let places: Vec<f64> = stretches.iter().flat_map(|([from, to], _)| rule.iter().map(move |(at, _)| from + at * (to - from))).collect();
    let along = function(&places)?;
    let panel = |(gradients, (ends, scores)): (&[Vec<f64>], &Stretch)| {
        let mut sums = vec![0.0; delta.len()];
        for (gradient, (_, weight)) in gradients.iter().zip(rule) {
            sums.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += weight * (ends[1] - ends[0]) * gradient);
        }
        let along: f64 = sums.iter().zip(delta).map(|(sum, delta)| sum * delta).sum();
        Panel { ends: *ends, scores: *scores, gap: along - (scores[1] - scores[0]), gradient: sums }
    };
    Ok(along.gradients.chunks(rule.len()).zip(stretches).map(panel).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral of the slope of a function of one number, and how many slopes were asked for.
    fn slopes(steps: usize, score: fn(f64) -> f64, slope: fn(f64) -> f64) -> (f64, usize) {
        let mut asked = 0;
        let mut function = |places: &[f64]| {
            asked += places.len();
            Ok(Along { scores: places.iter().map(|x| score(*x)).collect(), gradients: places.iter().map(|x| vec![slope(*x)]).collect() })
        };
        let found = integrate(steps, &[1.0], &mut function).expect("it is computed");
        assert_eq!(found.start, score(0.0));
        (found.gradient[0], asked)
    }

    #[test]
    fn smooth_functions_are_exact_by_any_number_of_points() {
        for steps in [1, 2, 15, 16, 17, 100, 256] {
            let (found, asked) = slopes(steps, |x| x * x, |x| 2.0 * x);
            assert!((found - 1.0).abs() < 1e-12, "{steps}: {found}");
            // Slopes and, for each panel, a score.
            assert!(asked <= steps + steps / 4 + 2, "{steps}: {asked}");
        }
    }

    #[test]
    fn jumps_are_found() {
        // What a norm makes of a sample next to nothing, and a kink.
        let (found, _) = slopes(256, |x| x / (x * x + 1e-6).sqrt(), |x| 1e-6 / (x * x + 1e-6).powf(1.5));
        assert!((found - 1.0).abs() < 1e-4, "{found}");
        let (found, _) = slopes(256, |x| x / (x * x + 1e-18).sqrt(), |x| 1e-18 / (x * x + 1e-18).powf(1.5));
        assert!((found - 1.0).abs() < 1e-2, "{found}");
        let (found, _) = slopes(256, |x| (x - 0.7).max(0.0), |x| f64::from(x > 0.7));
        assert!((found - 0.3).abs() < 1e-4, "{found}");
    }
}
