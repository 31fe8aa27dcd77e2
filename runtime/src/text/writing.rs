//! Goes on with texts, token by token, by a function that remembers: `new` tokens and how many were seen go in, scores of the next one
//! come out, and states are what is remembered.
//!
//! All texts at a time have the same number of tokens, and rows of states. States along time have room for some tokens and are made
//! larger, twice as large each time, when a text outgrows them. A network that sees so many tokens at most sees a window of the text: when
//! it is full, the last half of it is read anew.

use super::choice::{Choice, Chooser};
use super::{Tokeniser, to_array};
use crate::arrays::Array;
use crate::program::network::Network;
use kiln_ir::artifact::{Extent, Signature, TensorDecl};
use kiln_ir::random::Stream;
use kiln_ir::{DType, Diagnostic};
use std::time::Instant;

/// Room for tokens at first.
const FIRST_ROOM: usize = 32;

/// How long steps took.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Times {
    /// Milliseconds of the steps of several tokens at once.
    pub several_ms: f64,
    /// Tokens that those took.
    pub several_tokens: usize,
    /// Milliseconds of each step of one token.
    pub one_ms: Vec<f64>,
}

impl Times {
    /// The median of the steps of one token, if there were some.
    pub fn median_ms(&self) -> Option<f64> {
        let mut sorted = self.one_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// What is told each token of a text that is written, and says whether to go on.
pub type Told<'t> = dyn FnMut(i64) -> Result<bool, Diagnostic> + 't;

/// Writes texts.
pub struct Writer<'n> {
    network: &'n mut dyn Network,
    signature: Signature,
    /// Whether nothing is remembered from one token to the next.
    is_uncached: bool,
    /// Tokens that the network sees at most.
    window: Option<usize>,
    /// Tokens that there are.
    size: usize,
    /// Tokens that stand for nothing to be written.
    unwritten: Vec<i64>,
    padding: i64,
    /// Where the window begins.
    from: usize,
    /// Tokens of it that the states are of.
    seen: usize,
    states: Vec<Array>,
    /// Where rows of states go when they change their places.
    spare: Vec<Array>,
    /// The new tokens of each text, and how many were seen.
    inputs: [Array; 2],
    scores: Vec<f64>,
    chooser: Chooser,
    times: Times,
}

impl<'n> Writer<'n> {
    /// By a function that writes, and what makes tokens for it. Errors: `writes_nothing` for other functions, `text_length` for windows of
    /// fewer than two tokens.
    pub fn new(network: &'n mut dyn Network, tokeniser: &Tokeniser, is_uncached: bool) -> Result<Writer<'n>, Diagnostic> {
        let signature = network.signature().clone();
        if !signature.writes() {
            return Err(Diagnostic::new("writes_nothing", format!("`{}` is no function that writes", signature.name)));
        }
        let input = tokeniser.input();
        let rooms = signature.inputs[2..].iter().filter_map(|decl| match decl.shape.get(2) {
            Some(Extent::Fixed(room)) if decl.shape.len() == 4 => usize::try_from(*room).ok(),
            _ => None,
        });
        let window = rooms.chain(input.length.map(|length| length as usize)).min();
        if window.is_some_and(|window| window < 2) {
            return Err(Diagnostic::new("text_length", "the network sees fewer than two tokens at once, so it goes on with no text"));
        }
        let dtype = signature.inputs[0].dtype;
        Ok(Writer {
            network,
            signature,
            is_uncached,
            window,
            size: tokeniser.size(),
            unwritten: std::iter::once(input.padding).chain(input.unknown).collect(),
            padding: input.padding,
            from: 0,
            seen: 0,
            states: Vec::new(),
            spare: Vec::new(),
            inputs: [Array::zeroed(dtype, vec![0, 0])?, Array::zeroed(DType::I64, Vec::new())?],
            scores: Vec::new(),
            chooser: Chooser::default(),
            times: Times::default(),
        })
    }

    /// Tokens behind a prompt, chosen one by one and told as they are chosen.
    ///
    /// Errors: `text` for an empty prompt or scores that are no numbers; what fails while computing or telling.
    pub fn sample(&mut self, prompt: &[i64], length: usize, choice: &Choice, seed: u64, told: &mut Told) -> Result<Vec<i64>, Diagnostic> {
        let mut texts = [prompt.to_vec()];
        texts[0].reserve(length);
        self.forget();
        let stream = Stream::named(seed, "writing");
        for at in 0..length {
            self.read(&texts)?;
            self.load_scores(0)?;
            let token = self.chooser.token(choice, &self.scores, stream.uniform(at as u64)).ok_or_else(nothing)?;
            texts[0].push(token as i64);
            if !told(token as i64)? {
                break;
            }
        }
        let [mut text] = texts;
        Ok(text.split_off(prompt.len()))
    }

    /// The likeliest tokens behind a prompt, as far as keeping so many texts at a time finds them. Errors: as [`Writer::sample`].
    pub fn search(&mut self, prompt: &[i64], length: usize, beams: usize) -> Result<Vec<i64>, Diagnostic> {
        self.forget();
        let mut texts = vec![prompt.to_vec()];
        let mut sums = vec![0.0];
        let mut found: Vec<(f64, usize, i64)> = Vec::new();
        for _ in 0..length {
            self.read(&texts)?;
            found.clear();
            for (row, sum) in sums.iter().enumerate() {
                self.load_scores(row)?;
                let largest = self.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let whole = largest + self.scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln();
                let possible = self.scores.iter().zip(0..).filter(|(score, _)| **score > f64::NEG_INFINITY);
                found.extend(possible.map(|(score, token)| (sum + score - whole, row, token)));
            }
            let by_sum = |a: &(f64, usize, i64), b: &(f64, usize, i64)| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)));
            if found.is_empty() {
                return Err(nothing());
            }
            if beams < found.len() {
                found.select_nth_unstable_by(beams - 1, by_sum);
                found.truncate(beams);
            }
            found.sort_unstable_by(by_sum);
            let rows: Vec<usize> = found.iter().map(|(_, row, _)| *row).collect();
            self.keep_rows(&rows)?;
            texts = found.iter().map(|(_, row, token)| texts[*row].iter().copied().chain([*token]).collect()).collect();
            sums = found.iter().map(|(sum, ..)| *sum).collect();
        }
        Ok(texts.swap_remove(0).split_off(prompt.len()))
    }

    /// How long the steps took since this was last asked.
    pub fn take_times(&mut self) -> Times {
        std::mem::take(&mut self.times)
    }

    /// Begins another text.
    fn forget(&mut self) {
        (self.from, self.seen) = (0, 0);
    }

    /// Where the window begins of so many tokens: it moves by half its length, so that what is remembered is of use for many.
    fn window_of(&self, tokens: usize) -> usize {
        let Some(window) = self.window else { return 0 };
        tokens.saturating_sub(window).next_multiple_of((window / 2).max(1))
    }

    /// Lets the network see what it has not seen of texts of the same length.
    fn read(&mut self, texts: &[Vec<i64>]) -> Result<(), Diagnostic> {
        let length = texts[0].len();
        let from = self.window_of(length);
        if length == 0 {
            return Err(Diagnostic::new("text", "there is no text to go on with"));
        }
        if self.is_uncached || from != self.from {
            (self.from, self.seen) = (from, 0);
        }
        self.fit_states(texts.len(), length - from)?;
        let new = length - from - self.seen;
        if self.inputs[0].shape() != [texts.len(), new] {
            self.inputs[0] = to_array(&vec![Vec::new(); texts.len()], new, self.padding, self.signature.inputs[0].dtype)?;
        }
        for (row, text) in texts.iter().enumerate() {
            for (at, token) in text[length - new..].iter().enumerate() {
                self.inputs[0].set_f64(row * new + at, *token as f64);
            }
        }
        self.inputs[1].set_f64(0, self.seen as f64);
        let begin = Instant::now();
        self.network.update(&self.inputs, &mut self.states)?;
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        if new == 1 {
            self.times.one_ms.push(ms);
        } else {
            self.times.several_ms += ms;
            self.times.several_tokens += new;
        }
        self.seen = length - from;
        Ok(())
    }

    /// Makes states large enough for so many texts of so many tokens, and zero if nothing was seen.
    fn fit_states(&mut self, texts: usize, tokens: usize) -> Result<(), Diagnostic> {
        let decls = &self.signature.inputs[2..];
        let room = |array: &Array| array.shape()[2];
        let has_room = |(array, decl): (&Array, &TensorDecl)| !is_open(decl, 2, Signature::ROOM) || room(array) >= tokens;
        let fits = self.states.len() == decls.len() && self.states.iter().zip(decls).all(has_room);
        let is_new = self.seen == 0 && self.states.iter().any(|state| state.shape()[0] != texts);
        if !fits || is_new {
            let room = tokens.next_power_of_two().max(FIRST_ROOM);
            let room = self.window.map_or(room, |window| room.min(window.max(tokens)));
            let states: Result<Vec<Array>, Diagnostic> = decls.iter().map(|decl| empty(decl, texts, room)).collect();
            let old = std::mem::replace(&mut self.states, states?);
            self.spare.clear();
            if self.seen > 0 {
                self.states.iter_mut().zip(&old).for_each(|(new, old)| move_into(old, new));
            }
        } else if self.seen == 0 {
            self.states.iter_mut().for_each(|state| state.bytes_mut().fill(0));
        }
        Ok(())
    }

    /// Lets row i of all states be what row `rows[i]` was.
    fn keep_rows(&mut self, rows: &[usize]) -> Result<(), Diagnostic> {
        let is_same = |state: &Array| state.shape()[0] == rows.len() && rows.iter().enumerate().all(|(to, from)| to == *from);
        if self.states.iter().all(is_same) {
            return Ok(());
        }
        let fits = |(spare, state): (&Array, &Array)| spare.shape()[0] == rows.len() && spare.shape()[1..] == state.shape()[1..];
        if self.spare.len() != self.states.len() || !self.spare.iter().zip(&self.states).all(fits) {
            let like = |state: &Array| Array::zeroed(state.dtype(), [&[rows.len()], &state.shape()[1..]].concat());
            self.spare = self.states.iter().map(like).collect::<Result<_, _>>()?;
        }
        for (spare, state) in self.spare.iter_mut().zip(&self.states) {
            let bytes = state.bytes().len() / state.shape()[0].max(1);
            for (to, from) in rows.iter().enumerate() {
                spare.bytes_mut()[to * bytes..][..bytes].copy_from_slice(&state.bytes()[from * bytes..][..bytes]);
            }
        }
        std::mem::swap(&mut self.spare, &mut self.states);
        Ok(())
    }

    /// The scores of a text's next token, as logarithms of probabilities up to a summand; of what is not to be written, −∞.
    fn load_scores(&mut self, row: usize) -> Result<(), Diagnostic> {
        let output = &self.network.outputs()[0];
        let classes = output.shape().last().copied().unwrap_or(0);
        self.scores.clear();
        self.scores.extend((0..classes).map(|class| output.get_f64(row * classes + class)));
        if self.scores.iter().any(|score| score.is_nan()) {
            return Err(Diagnostic::new("text", "the network's scores of the next token are no numbers (NaN)"));
        }
        // A network may end with a softmax.
        let sum: f64 = self.scores.iter().sum();
        if (sum - 1.0).abs() < 1e-3 && self.scores.iter().all(|score| *score >= 0.0) {
            self.scores.iter_mut().for_each(|score| *score = score.ln());
        }
        self.scores.truncate(self.size);
        for token in &self.unwritten {
            if let Some(score) = usize::try_from(*token).ok().and_then(|token| self.scores.get_mut(token)) {
                *score = f64::NEG_INFINITY;
            }
        }
        Ok(())
    }
}

fn nothing() -> Diagnostic {
    Diagnostic::new("text", "the network's vocabulary has no token to write")
}

fn is_open(decl: &TensorDecl, axis: usize, name: &str) -> bool {
    matches!(decl.shape.get(axis), Some(Extent::Expression(text)) if text == name)
}

/// A state of nothing. Errors: `memory`.
fn empty(decl: &TensorDecl, texts: usize, room: usize) -> Result<Array, Diagnostic> {
    let size = |(axis, extent): (usize, &Extent)| match extent {
        Extent::Fixed(size) => usize::try_from(*size).unwrap_or(0),
        Extent::Expression(_) if axis == 0 => texts,
        Extent::Expression(_) => room,
    };
    Array::zeroed(decl.dtype, decl.shape.iter().enumerate().map(size).collect())
}

/// Copies what a state has to the front of one that has more room along its third axis, or none.
fn move_into(old: &Array, new: &mut Array) {
    let rows: usize = old.shape().iter().take(2).product();
    if rows == 0 {
        return;
    }
    let (from, to) = (old.bytes().len() / rows, new.bytes().len() / rows);
    for row in 0..rows {
        new.bytes_mut()[row * to..][..from].copy_from_slice(&old.bytes()[row * from..][..from]);
    }
}
