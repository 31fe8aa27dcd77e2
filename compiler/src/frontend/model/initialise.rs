//! What parameters are before training: how model files say it, and the values that a seed gives.

use super::read::{in_one_text, word_and_number};
use super::tree::Mistake;
use kiln_ir::random::Stream;
use kiln_ir::{Tensor, TensorType, ops};
use serde::de::{Deserialize, Deserializer};

/// How the first values of a parameter are drawn. In model files a word, with a number in parentheses where there is a choice:
/// `"he_normal"`, `"constant(0.1)"`, `"truncated_normal(0.02)"`.
#[derive(Clone, Copy, PartialEq, Debug)]
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
}

/// Which variance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// 2 / (inputs + outputs). *Source*: Glorot & Bengio 2010, equation 16.
    Glorot,
    /// 2 / inputs. *Source*: He et al. 2015, equation 10.
    He,
    /// 1 / inputs. *Source*: LeCun et al. 1998, equation 16.
    LeCun,
}

/// Which distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Even, within √3 deviations.
    Uniform,
    /// Normal.
    Normal,
}

/// The words of model files; those with a number say what it is when it is left out.
const WORDS: &[(&str, Option<f64>)] = &[
    ("zeros", None),
    ("ones", None),
    ("constant", Some(0.0)),
    ("uniform", Some(0.05)),
    ("normal", Some(0.05)),
    ("truncated_normal", Some(0.05)),
    ("orthogonal", Some(1.0)),
    ("glorot_uniform", None),
    ("glorot_normal", None),
    ("he_uniform", None),
    ("he_normal", None),
    ("lecun_uniform", None),
    ("lecun_normal", None),
];

/// The words that begin an initialiser.
pub fn initialiser_words() -> impl Iterator<Item = &'static str> + Clone {
    WORDS.iter().map(|(word, _)| *word)
}

impl Initialiser {
    /// Reads the text of a model file. Errors: no such initialiser, or no such number.
    pub fn parse(text: &str) -> Result<Initialiser, Mistake> {
        let (word, number) = word_and_number(text, "initialiser", WORDS)?;
        let shape = if word.ends_with("uniform") { Shape::Uniform } else { Shape::Normal };
        Ok(match word {
            "ones" => Initialiser::Constant(1.0),
            "uniform" => Initialiser::Uniform(number),
            "normal" => Initialiser::Normal(number),
            "truncated_normal" => Initialiser::TruncatedNormal(number),
            "orthogonal" => Initialiser::Orthogonal(number),
            "glorot_uniform" | "glorot_normal" => Initialiser::Scaled(Scale::Glorot, shape),
            "he_uniform" | "he_normal" => Initialiser::Scaled(Scale::He, shape),
            "lecun_uniform" | "lecun_normal" => Initialiser::Scaled(Scale::LeCun, shape),
            _ => Initialiser::Constant(number),
        })
    }

    /// The values for a parameter: a function of seed, name and type. `fans` are how many inputs each of its outputs sums and the
    /// reverse.
    ///
    /// Errors: it does not fit into memory.
    pub fn values(self, seed: u64, name: &str, ty: &TensorType, fans: (usize, usize)) -> Result<Tensor, Mistake> {
        let too_large = || Mistake::new(format!("parameter `{name}` is {ty}, which does not fit into memory"));
        let shape = ops::constants(&ty.shape).map_err(Mistake::new)?;
        let count = shape.iter().try_fold(1usize, |product, d| product.checked_mul(*d)).ok_or_else(too_large)?;
        let mut values = Vec::new();
        // Twice, as the tensor is made of them.
        values.try_reserve_exact(count.checked_mul(2).ok_or_else(too_large)?).map_err(|_| too_large())?;
        let stream = Stream::named(seed, name);
        let evenly = |n: u64, limit: f64| (2.0 * stream.uniform(n) - 1.0) * limit;
        match self {
            Initialiser::Orthogonal(gain) => orthogonal(&stream, &shape, gain, &mut values),
            Initialiser::Constant(value) => values.resize(count, value),
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
        Ok(Tensor::from_floats(ty.dtype, shape, values))
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

impl<'t> Deserialize<'t> for Initialiser {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Initialiser, D::Error> {
        Initialiser::parse(&String::deserialize(deserializer)?).map_err(in_one_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::DType;

    fn draw(text: &str, shape: &[usize], fans: (usize, usize)) -> Vec<f64> {
        let initialiser = Initialiser::parse(text).unwrap_or_else(|e| panic!("{}", e.message));
        initialiser.values(3, "w", &TensorType::fixed(DType::F64, shape), fans).expect("it fits").floats()
    }

    #[test]
    fn draws_have_their_spread() {
        let deviation = |values: &[f64]| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
        let cases = [
            ("uniform(0.3)", 0.3 / 3f64.sqrt()),
            ("normal(0.2)", 0.2),
            ("truncated_normal(0.2)", 0.2 * 0.87963),
            ("glorot_uniform", (2.0f64 / 300.0).sqrt()),
            ("he_normal", (2.0f64 / 200.0).sqrt()),
            ("lecun_uniform", (1.0f64 / 200.0).sqrt()),
        ];
        for (text, expected) in cases {
            let found = deviation(&draw(text, &[200, 100], (200, 100)));
            assert!((found / expected - 1.0).abs() < 0.02, "{text}: {found}, expected {expected}");
        }
        assert_eq!(draw("constant(0.25)", &[2], (1, 1)), [0.25, 0.25]);
        assert_eq!(draw("ones", &[1], (1, 1)), [1.0]);
    }

    #[test]
    fn orthogonal_is_orthogonal_either_way() {
        for (rows, columns) in [(4, 6), (6, 4), (3, 0)] {
            let q = draw("orthogonal(2)", &[rows, columns], (1, 1));
            let at = |i: usize, j: usize| if rows <= columns { q[i * columns + j] } else { q[j * columns + i] };
            let (count, length) = (rows.min(columns), rows.max(columns));
            for (i, j) in (0..count).flat_map(|i| (0..count).map(move |j| (i, j))) {
                let product: f64 = (0..length).map(|k| at(i, k) * at(j, k)).sum();
                assert!((product - if i == j { 4.0 } else { 0.0 }).abs() < 1e-12, "{rows}×{columns}: {i}, {j}: {product}");
            }
        }
    }

    #[test]
    fn mistakes_are_told() {
        let told = |text: &str| {
            let mistake = Initialiser::parse(text).expect_err("it is wrong");
            format!("{} / {}", mistake.message, mistake.help.unwrap_or_default())
        };
        assert_eq!(told("he_norml"), "there is no initialiser `he_norml` / did you mean `he_normal`?");
        assert_eq!(told("normal(x)"), "`x` is no number / such as \"normal(0.1)\"");
        assert_eq!(told("zeros(1)"), "`zeros` takes no number / ");
    }
}
