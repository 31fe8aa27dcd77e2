//! Ways to compute the same, chosen by measurement in place of the model of costs (`--tune`).
//!
//! Where the compiler knows several ways, it asks a *question*: what is computed, the way that its model of costs prefers, and the others.
//! [`Tuning`] answers. Without it the model's way is taken, and nothing is asked. [`search`] compiles a network once for each of the other
//! ways, all kernels at a time, and keeps what was faster; [`kept`] remembers that on this machine. No way changes what is computed but
//! for the rounding that other graphs, convolutions in tiles, and a GPU's own order of sums, are allowed anyway.
//!
//! *Source*: measuring what a model of costs lists first is what AutoTVM does, Chen et al. 2018, "Learning to Optimize Tensor Programs".

pub mod cpu;
pub mod gpu;
pub mod kept;
pub mod network;
pub mod search;

use kiln_ir::graph::Origin;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a question is about, in the order in which these are answered: what is asked later depends on the answers before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// Which of the graphs that compute the same becomes kernels.
    Graph,
    /// How a convolution is computed: as it is written, or in tiles with fewer multiplications, and in which.
    Convolution,
    /// Whether a tile's rows go on in the next line of an image.
    Lines,
    /// The part of a contraction that registers, or a block of a GPU's threads, hold at a time.
    Tile,
    /// How many rows of a contraction one task takes.
    TaskRows,
    /// Along which axis vectors run.
    Axis,
    /// How a GPU takes the turns of a loop: kernel after kernel, or all by one whose blocks stay.
    Loop,
}

/// All of them, in order.
pub const SUBJECTS: [Subject; 7] =
    [Subject::Graph, Subject::Convolution, Subject::Lines, Subject::Tile, Subject::TaskRows, Subject::Axis, Subject::Loop];

/// What costs so many times what the best does, by the model, is not tried.
pub const HOPELESS: f64 = 3.0;

/// Answers by question.
pub type Answers = BTreeMap<String, String>;

/// How questions are answered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tuning {
    /// Known answers; without them nothing is asked.
    answers: Option<Arc<Answers>>,
    /// To questions of this subject without one, the answer of this number; 0 is the model's.
    trial: Option<(Subject, usize)>,
}

impl Tuning {
    /// Known answers, and the model's to all other questions.
    pub fn known(answers: Answers) -> Tuning {
        Tuning { answers: Some(Arc::new(answers)), trial: None }
    }

    /// The same, but to questions of a subject without a known answer the one of this number, where there are as many.
    pub fn trial(&self, subject: Subject, number: usize) -> Tuning {
        Tuning { answers: self.answers.clone(), trial: Some((subject, number)) }
    }

    /// Whether the model's ways are taken without asking.
    pub fn is_off(&self) -> bool {
        self.answers.is_none()
    }
}

/// A question that was asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// What it is about.
    pub subject: Subject,
    /// What is computed; equal questions have equal answers.
    pub question: String,
    /// How many answers there are.
    pub answers: usize,
    /// The one that was taken.
    pub taken: String,
    /// The nodes whose kernels it changes; none where it changes all that it lies with: a kernel, or a program.
    pub origins: Vec<Arc<Origin>>,
}

/// Asks about one thing.
pub struct Asking<'a> {
    tuning: &'a Tuning,
    /// What is computed.
    what: String,
    /// What was asked.
    pub decisions: Vec<Decision>,
}

impl<'a> Asking<'a> {
    /// About something that this text, which equal things share, says.
    pub fn about(tuning: &'a Tuning, what: String) -> Asking<'a> {
        Asking { tuning, what, decisions: Vec::new() }
    }

    /// The way to take: `usual`, or one of the `others`. `name` tells them apart, also when asked in a later process.
    pub fn choose<T: Clone>(&mut self, subject: Subject, usual: T, others: impl FnOnce() -> Vec<T>, name: impl Fn(&T) -> String) -> T {
        let Some(answers) = &self.tuning.answers else { return usual };
        let mut ways = vec![(name(&usual), usual)];
        for way in others() {
            let name = name(&way);
            if ways.iter().all(|(known, _)| *known != name) {
                ways.push((name, way));
            }
        }
        if ways.len() == 1 {
            return ways.remove(0).1;
        }
        let question = format!("{subject:?} {}", self.what);
        let known = answers.get(&question).and_then(|answer| ways.iter().position(|(name, _)| name == answer));
        let tried = self.tuning.trial.filter(|(about, number)| *about == subject && *number < ways.len()).map(|(_, number)| number);
        let number = known.or(tried).unwrap_or(0);
        let (taken, way) = ways[number].clone();
        self.decisions.push(Decision { subject, question, answers: ways.len(), taken, origins: Vec::new() });
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(tuning: &Tuning, subject: Subject) -> (i64, Vec<Decision>) {
        let mut asking = Asking::about(tuning, "x".into());
        let way = asking.choose(subject, 6, || vec![4, 6, 8], i64::to_string);
        (way, asking.decisions)
    }

    #[test]
    fn nothing_is_asked_without_answers() {
        assert_eq!(ask(&Tuning::default(), Subject::Tile), (6, vec![]));
        assert_eq!(ask(&Tuning::default().trial(Subject::Tile, 1), Subject::Tile), (6, vec![]));
    }

    #[test]
    fn known_answers_come_first_then_those_tried_then_the_models() {
        let none = Tuning::known(Answers::new());
        assert_eq!(ask(&none, Subject::Tile).0, 6);
        assert_eq!([0, 1, 2, 3].map(|number| ask(&none.trial(Subject::Tile, number), Subject::Tile).0), [6, 4, 8, 6]);
        assert_eq!(ask(&none.trial(Subject::Axis, 1), Subject::Tile).0, 6);
        let question = ask(&none, Subject::Tile).1.remove(0);
        assert_eq!((question.answers, question.taken.as_str()), (3, "6"));
        let known = Tuning::known([(question.question, "8".to_string())].into());
        assert_eq!(ask(&known, Subject::Tile).0, 8);
        assert_eq!(ask(&known.trial(Subject::Tile, 1), Subject::Tile).0, 8);
    }

    #[test]
    fn an_answer_that_is_none_any_more_is_no_answer() {
        let question = ask(&Tuning::known(Answers::new()), Subject::Tile).1.remove(0).question;
        assert_eq!(ask(&Tuning::known([(question, "10".to_string())].into()), Subject::Tile).0, 6);
    }

    #[test]
    fn one_way_is_no_question() {
        let tuning = Tuning::known(Answers::new());
        let mut asking = Asking::about(&tuning, "x".into());
        assert_eq!(asking.choose(Subject::Tile, 6, || vec![6], i64::to_string), 6);
        assert!(asking.decisions.is_empty());
    }
}
