//! How model files say what parameters are before training: a word, with a number in parentheses where there is a choice:
//! `"he_normal"`, `"constant(0.1)"`, `"truncated_normal(0.02)"`.

use super::read::{in_one_text, word_and_number};
use super::tree::Mistake;
use kiln_ir::initialiser::{Initialiser, Scale, Shape};
use serde::de::{Deserialize, Deserializer};

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

/// For fields of layers: `#[serde(deserialize_with = "initialiser")]`.
pub fn initialiser<'t, D: Deserializer<'t>>(deserializer: D) -> Result<Initialiser, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(in_one_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_their_numbers() {
        assert_eq!(parse("ones").ok(), Some(Initialiser::Constant(1.0)));
        assert_eq!(parse("constant(0.25)").ok(), Some(Initialiser::Constant(0.25)));
        assert_eq!(parse("he_normal").ok(), Some(Initialiser::Scaled(Scale::He, Shape::Normal)));
        assert_eq!(parse("orthogonal").ok(), Some(Initialiser::Orthogonal(1.0)));
    }

    #[test]
    fn mistakes_are_told() {
        let told = |text: &str| {
            let mistake = parse(text).expect_err("it is wrong");
            format!("{} / {}", mistake.message, mistake.help.unwrap_or_default())
        };
        assert_eq!(told("he_norml"), "there is no initialiser `he_norml` / did you mean `he_normal`?");
        assert_eq!(told("normal(x)"), "`x` is no number / such as \"normal(0.1)\"");
        assert_eq!(told("zeros(1)"), "`zeros` takes no number / ");
    }
}
