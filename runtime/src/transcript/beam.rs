//! Prefix beam search: the likeliest texts, each with all the ways in which time steps spell it, and with what a language says of it.
//! *Source*: Graves & Jaitly 2014, algorithm 1; Hannun et al. 2014, algorithm 1.

use super::Token;
use super::align::align;
use super::language::Language;
use kiln_ir::artifact::CtcOutput;
use std::collections::BTreeMap;

/// How texts are searched.
pub struct Beam<'l> {
    /// Texts that are kept after each time step.
    pub width: usize,
    /// What is known of the language.
    pub language: &'l Language,
}

/// Classes whose logarithm of probability lies further below the best one's are not followed.
const LEAST: f64 = -20.0;

/// A text so far: the label at its end, and what stands before.
struct Prefix {
    parent: usize,
    label: usize,
    /// Whole words.
    words: Vec<String>,
    /// The word that is being spelled, of characters.
    part: String,
    /// What the language adds for the whole words.
    language: f64,
    children: BTreeMap<usize, usize>,
}

/// Logarithms of the probabilities of all ways to spell a text that end in a blank, and in its last label.
#[derive(Clone, Copy)]
struct Ways {
    blank: f64,
    label: f64,
}

const NONE: Ways = Ways { blank: f64::NEG_INFINITY, label: f64::NEG_INFINITY };

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

impl Ways {
    fn all(self) -> f64 {
        log_add(self.blank, self.label)
    }
}

/// The best text for logarithms of probabilities `[time][classes]`, and its score. Where words are listed and none of them was spelled,
/// the text is empty.
pub fn beam_search(ctc: &CtcOutput, logs: &[Vec<f64>], beam: &Beam) -> (Vec<Token>, f64) {
    let blank = ctc.blank as usize;
    let empty = Prefix { parent: 0, label: blank, words: Vec::new(), part: String::new(), language: 0.0, children: BTreeMap::new() };
    let mut search = Search { ctc, language: beam.language, prefixes: vec![empty] };
    let mut alive: Vec<(usize, Ways)> = vec![(0, Ways { blank: 0.0, label: f64::NEG_INFINITY })];
    for row in logs {
        let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let followed: Vec<usize> = (0..row.len()).filter(|class| *class != blank && row[*class] >= best + LEAST).collect();
        let mut next: BTreeMap<usize, Ways> = BTreeMap::new();
        for (at, ways) in &alive {
            let last = search.prefixes[*at].label;
            let own = next.entry(*at).or_insert(NONE);
            own.blank = log_add(own.blank, ways.all() + row[blank]);
            if *at != 0 {
                own.label = log_add(own.label, ways.label + row[last]);
            }
            for class in &followed {
                // The same label again begins anew only behind a blank.
                let from = if *at != 0 && *class == last { ways.blank } else { ways.all() };
                if from == f64::NEG_INFINITY {
                    continue;
                }
                if let Some(child) = search.child(*at, *class) {
                    let ways = next.entry(child).or_insert(NONE);
                    ways.label = log_add(ways.label, from + row[*class]);
                }
            }
        }
        alive = next.into_iter().collect();
        // By score, then by age, so that ties fall the same way everywhere.
        alive.sort_by(|a, b| search.score(b).total_cmp(&search.score(a)).then(a.0.cmp(&b.0)));
        alive.truncate(beam.width.max(1));
    }
    let ended = alive.iter().filter_map(|(at, ways)| Some((*at, ways.all() + search.ending(*at)?)));
    let best = ended.fold(None, |best: Option<(usize, f64)>, one| if best.is_none_or(|best| one.1 > best.1) { Some(one) } else { best });
    best.map_or((Vec::new(), f64::NEG_INFINITY), |(at, score)| (align(logs, &search.labels(at), blank), score))
}

struct Search<'s> {
    ctc: &'s CtcOutput,
    language: &'s Language,
    prefixes: Vec<Prefix>,
}

impl Search<'_> {
    fn score(&self, (at, ways): &(usize, Ways)) -> f64 {
        ways.all() + self.prefixes[*at].language
    }

    /// The text with a label more; `None` if the language has none that begins so.
    fn child(&mut self, at: usize, label: usize) -> Option<usize> {
        if let Some(child) = self.prefixes[at].children.get(&label) {
            return Some(*child);
        }
        let parent = &self.prefixes[at];
        let text = self.ctc.labels[label].as_str();
        let (mut words, mut part, mut language) = (parent.words.clone(), parent.part.clone(), parent.language);
        let is_space = self.ctc.separator.is_empty() && text.trim().is_empty();
        if !self.ctc.separator.is_empty() {
            if !self.language.has(text) {
                return None;
            }
            language += self.language.score(&words, text);
            words.push(text.to_owned());
        } else if !is_space {
            part.push_str(text);
            if !self.language.begins(&part) {
                return None;
            }
        } else if !part.is_empty() {
            if !self.language.has(&part) {
                return None;
            }
            language += self.language.score(&words, &part);
            words.push(std::mem::take(&mut part));
        }
        let child = self.prefixes.len();
        self.prefixes.push(Prefix { parent: at, label, words, part, language, children: BTreeMap::new() });
        self.prefixes[at].children.insert(label, child);
        Some(child)
    }

    /// What the language adds to a text that ends here; `None` if its last word is none.
    fn ending(&self, at: usize) -> Option<f64> {
        let Prefix { words, part, language, .. } = &self.prefixes[at];
        if part.is_empty() {
            return Some(language + self.language.end(words));
        }
        self.language.has(part).then(|| {
            let all: Vec<String> = words.iter().chain([part]).cloned().collect();
            language + self.language.score(words, part) + self.language.end(&all)
        })
    }

    fn labels(&self, mut at: usize) -> Vec<usize> {
        let mut labels = Vec::new();
        while at != 0 {
            labels.push(self.prefixes[at].label);
            at = self.prefixes[at].parent;
        }
        labels.reverse();
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ctc;
    use super::*;
    use kiln_ir::random::Stream;

    fn labels(tokens: &[Token]) -> Vec<usize> {
        tokens.iter().map(|token| token.label).collect()
    }

    /// Every way through the classes, with what it spells.
    fn exhaustive(logs: &[Vec<f64>]) -> BTreeMap<Vec<usize>, f64> {
        let mut sums = BTreeMap::new();
        let classes = logs[0].len();
        for way in 0..classes.pow(logs.len() as u32) {
            let steps: Vec<usize> = (0..logs.len()).map(|t| way / classes.pow(t as u32) % classes).collect();
            let log: f64 = steps.iter().zip(logs).map(|(class, row)| row[*class]).sum();
            let mut spelled = steps;
            spelled.dedup();
            spelled.retain(|class| *class != 0);
            let sum = sums.entry(spelled).or_insert(f64::NEG_INFINITY);
            *sum = log_add(*sum, log);
        }
        sums
    }

    fn random(seed: u64, time: usize, classes: usize) -> Vec<Vec<f64>> {
        let stream = Stream::named(seed, "beam");
        let row = |t: usize| {
            let scores: Vec<f64> = (0..classes).map(|c| 2.0 * stream.normal((t * classes + c) as u64)).collect();
            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
            scores.iter().map(|s| s - sum.ln()).collect()
        };
        (0..time).map(row).collect()
    }

    #[test]
    fn a_wide_beam_finds_the_likeliest_text_of_all() {
        let language = Language::default();
        for seed in 0..40 {
            let logs = random(seed, 6, 4);
            let (tokens, score) = beam_search(&ctc(&["", "a", "b", "c"], ""), &logs, &Beam { width: 10_000, language: &language });
            let all = exhaustive(&logs);
            let best = all.iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("there are some");
            assert_eq!(labels(&tokens), *best.0, "seed {seed}");
            assert!((score - best.1).abs() < 1e-9, "seed {seed}: {score}, not {}", best.1);
        }
    }

    #[test]
    fn listed_words_and_n_grams_decide_between_what_sounds_alike() {
        let letters = ctc(&["", "a", "b", " "], "");
        // `a`, then nearly even between `a` and `b` behind a blank.
        let row = |weights: [f64; 4]| weights.iter().map(|w| (w / weights.iter().sum::<f64>()).ln()).collect::<Vec<f64>>();
        let logs = vec![row([0.1, 9.0, 0.1, 0.1]), row([9.0, 0.1, 0.1, 0.1]), row([0.1, 5.0, 4.5, 0.1])];
        let text = |language: &Language| labels(&beam_search(&letters, &logs, &Beam { width: 20, language }).0);
        assert_eq!(text(&Language::default()), [1, 1]);
        assert_eq!(text(&Language { words: Some(["ab".to_owned()].into()), ..Language::default() }), [1, 2]);
        // However unlikely it sounds, it is the only word; and of words that no label begins, none but spaces is heard.
        assert_eq!(text(&Language { words: Some(["ba".to_owned()].into()), ..Language::default() }), [2, 1]);
        assert!(text(&Language { words: Some(["c".to_owned()].into()), ..Language::default() }).iter().all(|label| *label == 3));
    }

    #[test]
    fn tokens_are_where_they_are_heard_and_no_time_is_no_text() {
        let language = Language::default();
        let beam = Beam { width: 5, language: &language };
        let sure = |class: usize| (0..3).map(|c| if c == class { -0.01 } else { -6.0 }).collect::<Vec<f64>>();
        let (tokens, _) = beam_search(&ctc(&["", "x", "y"], ""), &[sure(0), sure(1), sure(1), sure(0), sure(1)], &beam);
        assert_eq!(tokens.iter().map(|token| (token.label, token.begin)).collect::<Vec<_>>(), [(1, 1), (1, 4)]);
        assert_eq!(beam_search(&ctc(&["", "x"], ""), &[], &beam), (Vec::new(), 0.0));
    }
}
