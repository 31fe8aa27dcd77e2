//! The search for faster ways: a network is compiled once for each number of an answer, all its kernels at a time, and measured.

use super::{Answers, Decision, SUBJECTS, Subject, Tuning};
use crate::samples::median;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a way has to gain to be kept: less may be noise.
const LEAST_GAIN: f64 = 0.02;
/// Times that a network with all that was found is compared with the one before.
const COMPARISONS: usize = 3;

/// A network compiled and measured once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Round {
    /// Seconds of all kernels.
    pub seconds: f64,
    /// What was asked, with the seconds of the kernels that it changes.
    pub asked: Vec<(Decision, f64)>,
}

/// What the search is doing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Progress {
    /// So many rounds of a subject, at most so many, are done.
    Rounds {
        /// What is tried.
        subject: Subject,
        /// Rounds that are done.
        done: usize,
        /// Rounds at most.
        of: usize,
    },
    /// It is over.
    Done(Outcome),
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outcome {
    /// Seconds of all kernels before, and with what is kept, both measured at the end; none where nothing was.
    pub seconds: Option<[f64; 2]>,
    /// Questions that were answered by measurement.
    pub answered: usize,
    /// Those of them that are answered otherwise than by the model.
    pub otherwise: usize,
    /// Whether the time ended before everything was tried.
    pub in_time: bool,
}

/// Answers what a network asks, beginning with what is known, until the time is over: what was not tried wholly by then stays open.
/// `measure` compiles and measures once.
///
/// Errors: those of `measure`.
pub fn search<E>(
    known: &mut Answers,
    limit: Duration,
    mut measure: impl FnMut(&Tuning) -> Result<Round, E>,
    mut report: impl FnMut(Progress),
) -> Result<Outcome, E> {
    let begin = Instant::now();
    let model = Tuning::known(known.clone());
    let mut usual = Answers::new();
    let mut in_time = true;
    let mut current = measure(&model)?;
    for subject in SUBJECTS {
        let now = Tuning::known(known.clone());
        let mut tries = Tries::of(subject, &current, known);
        let most = tries.most_answers();
        for number in 1..most {
            report(Progress::Rounds { subject, done: number - 1, of: most - 1 });
            if begin.elapsed() > limit {
                in_time = false;
                break;
            }
            tries.add(&measure(&now.trial(subject, number))?, number);
        }
        let found = tries.finished();
        let mut better: Answers =
            found.iter().filter(|(_, tried)| tried.gains()).map(|(q, tried)| (q.clone(), tried.best.clone())).collect();
        if !better.is_empty() {
            better = confirmed(&now, known, subject, better, &mut measure)?;
        }
        for (question, tried) in found {
            let answer = better.get(&question).unwrap_or(&tried.usual);
            known.insert(question.clone(), answer.clone());
            usual.insert(question, tried.usual);
        }
        if !in_time {
            break;
        }
        if !better.is_empty() {
            // Other ways ask other questions.
            current = measure(&Tuning::known(known.clone()))?;
        }
    }
    let mut seconds = None;
    if !usual.is_empty() {
        let rounds = compared([&model, &Tuning::known(known.clone())], &mut measure)?;
        let [before, after] = rounds.map(|rounds| median(rounds.iter().map(|round| round.seconds).collect()));
        // What is no faster with all of it together was luck, question by question.
        if after >= before {
            known.extend(usual.clone());
        }
        seconds = Some([before, after.min(before)]);
    }
    let (answered, otherwise) = (usual.len(), usual.iter().filter(|(question, answer)| known[*question] != **answer).count());
    let outcome = Outcome { seconds, answered, otherwise, in_time };
    report(Progress::Done(outcome));
    Ok(outcome)
}

/// One question while its answers are tried.
struct Tried {
    usual: String,
    usual_seconds: f64,
    best: String,
    best_seconds: f64,
    answers: usize,
    tried: usize,
}

impl Tried {
    fn gains(&self) -> bool {
        self.best_seconds < (1.0 - LEAST_GAIN) * self.usual_seconds
    }
}

/// The open questions of a subject.
struct Tries {
    subject: Subject,
    questions: BTreeMap<String, Tried>,
}

impl Tries {
    fn of(subject: Subject, first: &Round, known: &Answers) -> Tries {
        let open = seconds_of(first, subject).into_iter().filter(|(question, _)| !known.contains_key(question));
        let tried = |(question, (decision, seconds)): (String, (&Decision, f64))| {
            let usual = decision.taken.clone();
            let tried =
                Tried { best: usual.clone(), usual, usual_seconds: seconds, best_seconds: seconds, answers: decision.answers, tried: 1 };
            (question, tried)
        };
        Tries { subject, questions: open.map(tried).collect() }
    }

    fn most_answers(&self) -> usize {
        self.questions.values().map(|tried| tried.answers).max().unwrap_or(0)
    }

    /// A round with the answers of this number.
    fn add(&mut self, round: &Round, number: usize) {
        for (question, (decision, seconds)) in seconds_of(round, self.subject) {
            let Some(tried) = self.questions.get_mut(&question).filter(|tried| number < tried.answers) else { continue };
            tried.tried += 1;
            if seconds < tried.best_seconds {
                (tried.best, tried.best_seconds) = (decision.taken.clone(), seconds);
            }
        }
    }

    /// Those all answers of which were tried.
    fn finished(self) -> BTreeMap<String, Tried> {
        self.questions.into_iter().filter(|(_, tried)| tried.tried >= tried.answers).collect()
    }
}

/// The questions of a subject, with the seconds of all kernels that their answers change.
fn seconds_of(round: &Round, subject: Subject) -> BTreeMap<String, (&Decision, f64)> {
    let mut found: BTreeMap<String, (&Decision, f64)> = BTreeMap::new();
    for (decision, seconds) in round.asked.iter().filter(|(decision, _)| decision.subject == subject) {
        found.entry(decision.question.clone()).or_insert((decision, 0.0)).1 += seconds;
    }
    found
}

/// Those of the answers that are better also where all of them are taken together, and the network, if it is.
fn confirmed<E>(
    now: &Tuning,
    known: &Answers,
    subject: Subject,
    better: Answers,
    measure: &mut impl FnMut(&Tuning) -> Result<Round, E>,
) -> Result<Answers, E> {
    let with = Tuning::known(known.iter().chain(&better).map(|(q, a)| (q.clone(), a.clone())).collect());
    let [before, after] = compared([now, &with], measure)?;
    let of = |rounds: &[Round], question: &str| {
        median(rounds.iter().map(|round| seconds_of(round, subject).get(question).map_or(f64::INFINITY, |(_, seconds)| *seconds)).collect())
    };
    let stays = |question: &String| of(&after, question) < (1.0 - LEAST_GAIN) * of(&before, question);
    Ok(better.into_iter().filter(|(question, _)| stays(question)).collect())
}

/// Both ways of answering, measured by turns.
fn compared<E>(ways: [&Tuning; 2], measure: &mut impl FnMut(&Tuning) -> Result<Round, E>) -> Result<[Vec<Round>; 2], E> {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..COMPARISONS {
        for (way, rounds) in ways.iter().zip(&mut rounds) {
            rounds.push(measure(way)?);
        }
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::super::Asking;
    use super::*;
    use std::convert::Infallible;

    /// A network of two kernels, whose ways take these seconds: those of a tile, and those of an axis where the tile is the second.
    fn network(tuning: &Tuning, tiles: [f64; 3], axes: [f64; 2]) -> Result<Round, Infallible> {
        let name = |at: &usize| format!("way {at}");
        let mut first = Asking::about(tuning, "first".into());
        let tile = first.choose(Subject::Tile, 0, || vec![1, 2], name);
        let mut second = Asking::about(tuning, format!("second after {tile}"));
        let axis = second.choose(Subject::Axis, 0, || vec![1], name);
        let seconds = [tiles[tile], axes[axis]];
        let asked = first.decisions.into_iter().chain(second.decisions).zip(seconds).collect();
        Ok(Round { seconds: seconds.iter().sum(), asked })
    }

    fn found(tiles: [f64; 3], axes: [f64; 2], limit: Duration) -> (Answers, Outcome, usize) {
        let (mut known, mut rounds) = (Answers::new(), 0);
        let measure = |tuning: &Tuning| {
            rounds += 1;
            network(tuning, tiles, axes)
        };
        let Ok(outcome) = search(&mut known, limit, measure, |_| ());
        (known, outcome, rounds)
    }

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn the_fastest_way_is_found_and_later_questions_follow_from_it() {
        let (known, outcome, _) = found([3.0, 2.0, 2.5], [1.0, 0.5], LONG);
        let expected = [("Axis second after 1", "way 1"), ("Tile first", "way 1")];
        assert_eq!(known, expected.map(|(question, answer)| (question.to_string(), answer.to_string())).into());
        assert_eq!(outcome, Outcome { seconds: Some([4.0, 2.5]), answered: 2, otherwise: 2, in_time: true });
    }

    #[test]
    fn what_gains_too_little_stays_with_the_model() {
        let (known, outcome, _) = found([3.0, 2.99, 4.0], [1.0, 1.0], LONG);
        assert_eq!(known["Tile first"], "way 0");
        assert_eq!(outcome, Outcome { seconds: Some([4.0, 4.0]), answered: 2, otherwise: 0, in_time: true });
    }

    #[test]
    fn what_was_luck_is_not_kept() {
        let mut known = Answers::new();
        let mut rounds = 0;
        // The second way is fast in the round that tries it, after that of the model, and never again.
        let measure = |tuning: &Tuning| {
            rounds += 1;
            network(tuning, [3.0, if rounds == 2 { 1.0 } else { 3.0 }, 4.0], [1.0, 1.0])
        };
        let Ok(outcome) = search(&mut known, LONG, measure, |_| ());
        assert_eq!((known["Tile first"].as_str(), outcome.otherwise), ("way 0", 0));
    }

    #[test]
    fn what_is_slower_in_the_end_is_not_kept() {
        let mut known = Answers::new();
        let mut rounds = 0;
        // The second way is the faster one until all is compared with how it was.
        let measure = |tuning: &Tuning| {
            rounds += 1;
            network(tuning, [3.0, if rounds <= 12 { 1.0 } else { 4.0 }, 5.0], [1.0, 1.0])
        };
        let Ok(outcome) = search(&mut known, LONG, measure, |_| ());
        assert_eq!((known["Tile first"].as_str(), outcome.otherwise, outcome.seconds), ("way 0", 0, Some([4.0, 4.0])));
    }

    #[test]
    fn what_is_known_is_not_measured_again() {
        let (mut known, ..) = found([3.0, 2.0, 2.5], [1.0, 0.5], LONG);
        let before = known.clone();
        let mut rounds = 0;
        let measure = |tuning: &Tuning| {
            rounds += 1;
            network(tuning, [1.0, 2.0, 3.0], [1.0, 2.0])
        };
        let Ok(outcome) = search(&mut known, LONG, measure, |_| ());
        assert_eq!((known, rounds), (before, 1));
        assert_eq!(outcome, Outcome { seconds: None, answered: 0, otherwise: 0, in_time: true });
    }

    #[test]
    fn when_the_time_is_over_what_was_not_tried_stays_open() {
        let (known, outcome, _) = found([3.0, 2.0, 2.5], [1.0, 0.5], Duration::ZERO);
        assert_eq!((known, outcome.in_time, outcome.seconds), (Answers::new(), false, None));
    }
}
