//! What is known of a language: a list of its words, and how likely they follow one another.

use crate::files::file_error;
use kiln_ir::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Bound;
use std::path::Path;

/// The logarithm of the probability of words that a model has no number for.
const UNKNOWN: f64 = -23.0;

/// Scores of words, added to those of sound.
#[derive(Default)]
pub struct Language {
    /// The only words there are, if they are listed.
    pub words: Option<BTreeSet<String>>,
    /// How likely a word follows others.
    pub ngram: Option<Ngram>,
    /// What the logarithms of `ngram` are multiplied by.
    pub weight: f64,
    /// What each word adds.
    pub bonus: f64,
}

impl Language {
    /// Whether there is such a word.
    pub fn has(&self, word: &str) -> bool {
        self.words.as_ref().is_none_or(|words| words.contains(word))
    }

    /// Whether a word begins so.
    pub fn begins(&self, start: &str) -> bool {
        let first = |words: &BTreeSet<String>| {
            words.range::<str, _>((Bound::Included(start), Bound::Unbounded)).next().is_some_and(|word| word.starts_with(start))
        };
        self.words.as_ref().is_none_or(first)
    }

    /// What a word behind others adds.
    pub fn score(&self, before: &[String], word: &str) -> f64 {
        self.bonus + self.ngram.as_ref().map_or(0.0, |ngram| self.weight * ngram.score(before, word))
    }

    /// What the end behind words adds.
    pub fn end(&self, before: &[String]) -> f64 {
        self.ngram.as_ref().filter(|ngram| ngram.number(END).is_some()).map_or(0.0, |ngram| self.weight * ngram.score(before, END))
    }
}

const BEGIN: &str = "<s>";
const END: &str = "</s>";

/// An n-gram model with back-off. *Source*: Katz 1987; the file format is Doug Paul's ARPA format, `ngram-format(5)` of SRILM.
pub struct Ngram {
    numbers: BTreeMap<String, u32>,
    order: usize,
    /// Natural logarithms of probability and back-off weight, by words.
    grams: BTreeMap<Vec<u32>, (f64, f64)>,
}

impl Ngram {
    fn number(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    fn score(&self, before: &[String], word: &str) -> f64 {
        let Some(word) = self.number(word).or_else(|| self.number("<unk>")) else { return UNKNOWN };
        let of = |word: &str| self.number(word).or_else(|| self.number("<unk>")).unwrap_or(u32::MAX);
        let begin = self.number(BEGIN);
        let all = begin.into_iter().chain(before.iter().map(|word| of(word)));
        let history: Vec<u32> = all.collect();
        let history = &history[history.len().saturating_sub(self.order - 1)..];
        let mut backed_off = 0.0;
        for start in 0..=history.len() {
            let context = &history[start..];
            if let Some((log, _)) = self.grams.get(&[context, &[word]].concat()) {
                return backed_off + log;
            }
            backed_off += self.grams.get(context).map_or(0.0, |(_, weight)| *weight);
        }
        UNKNOWN
    }
}

/// Reads a list of words, one a line. Errors: `file`; `language` when there are none.
pub fn read_words(path: &Path) -> Result<BTreeSet<String>, Diagnostic> {
    let text = fs::read(path).map_err(|error| file_error("read", path, &error))?;
    let text = String::from_utf8_lossy(&text);
    let words: BTreeSet<String> = text.lines().map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    match words.is_empty() {
        true => Err(Diagnostic::new("language", format!("{}: there are no words", path.display())).help("one word a line")),
        false => Ok(words),
    }
}

/// Reads an n-gram model in ARPA format. Errors: `file`; `language` with the line that is wrong.
pub fn read_ngram(path: &Path) -> Result<Ngram, Diagnostic> {
    let text = fs::read(path).map_err(|error| file_error("read", path, &error))?;
    parse_ngram(&String::from_utf8_lossy(&text)).map_err(|(line, text)| {
        let message = format!("{}:{line}: {text}", path.display());
        Diagnostic::new("language", message).help("an n-gram model is a text file in ARPA format, beginning with \\data\\")
    })
}

fn parse_ngram(text: &str) -> Result<Ngram, (usize, String)> {
    let mut model = Ngram { numbers: BTreeMap::new(), order: 0, grams: BTreeMap::new() };
    let (mut begun, mut order) = (false, 0);
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        let wrong = |what: &str| (line, format!("{what}: `{}`", text.chars().take(80).collect::<String>()));
        match text {
            "" => {}
            "\\data\\" => begun = true,
            "\\end\\" => break,
            _ if !begun => {}
            _ if text.starts_with('\\') => {
                let number = text.strip_prefix('\\').and_then(|rest| rest.strip_suffix("-grams:")).and_then(|n| n.parse().ok());
                order = number.filter(|n: &usize| (1..=16).contains(n)).ok_or_else(|| wrong("no head of n-grams"))?;
                model.order = model.order.max(order);
            }
            _ if order == 0 => {}
            _ => {
                let fields: Vec<&str> = text.split_whitespace().collect();
                let number = |text: &str| text.parse::<f64>().ok().filter(|n| !n.is_nan()).map(|n| n.max(-99.0) * std::f64::consts::LN_10);
                let log = fields.first().and_then(|field| number(field)).ok_or_else(|| wrong("no logarithm first"))?;
                let backoff = match fields.len() {
                    n if n == order + 1 => 0.0,
                    n if n == order + 2 => number(fields[order + 1]).ok_or_else(|| wrong("no back-off weight last"))?,
                    _ => return Err(wrong(&format!("not {order} words with a logarithm before them"))),
                };
                let words = fields[1..=order].iter().map(|word| {
                    let next = model.numbers.len() as u32;
                    *model.numbers.entry((*word).to_owned()).or_insert(next)
                });
                let gram = words.collect::<Vec<u32>>();
                model.grams.insert(gram, (log, backoff));
            }
        }
    }
    match model.grams.is_empty() {
        true => Err((1, "there are no n-grams".into())),
        false => Ok(model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARPA: &str = "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1\t<s>\t-0.5\n-0.5\ta\t-0.25\n-0.75\tb\n-1\t</s>\n\n\\2-grams:\n-0.1 <s> a\n-0.2 a b\n\n\\end\\\n";

    #[test]
    fn words_follow_one_another_or_back_off() {
        let ngram = parse_ngram(ARPA).expect("it is one");
        let before = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let of = |words: &[&str], word: &str| ngram.score(&before(words), word) / std::f64::consts::LN_10;
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        close(of(&[], "a"), -0.1);
        close(of(&["b", "a"], "b"), -0.2);
        // Not after the beginning: the back-off of `<s>`, then `b` alone.
        close(of(&[], "b"), -1.25);
        close(of(&["a"], "a"), -0.75);
        assert_eq!(ngram.score(&[], "other"), UNKNOWN);
        let language = Language { ngram: Some(ngram), weight: 2.0, bonus: 1.0, ..Language::default() };
        close((language.score(&[], "a") - 1.0) / std::f64::consts::LN_10, -0.2);
        close(language.end(&before(&["b"])) / std::f64::consts::LN_10, -2.0);
    }

    #[test]
    fn mistakes_have_their_line() {
        let error = |text: &str| parse_ngram(text).err().expect("refused");
        assert_eq!(error("").1, "there are no n-grams");
        assert_eq!(error("\\data\\\n\\1-grams:\nx a\n"), (3, "no logarithm first: `x a`".into()));
        assert_eq!(error("\\data\\\n\\2-grams:\n-1 a\n"), (3, "not 2 words with a logarithm before them: `-1 a`".into()));
        assert_eq!(error("\\data\\\n\\many-grams:\n").0, 2);
    }

    #[test]
    fn words_are_those_of_the_list() {
        let words = ["one", "once", "two"].map(str::to_owned).into();
        let language = Language { words: Some(words), ..Language::default() };
        assert!(language.has("one") && !language.has("on") && language.begins("on") && language.begins("") && !language.begins("ont"));
        assert!(Language::default().has("any") && Language::default().begins("x"));
    }
}
