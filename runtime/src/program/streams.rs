//! A stream of samples on standard input: what is said in it as soon as it is known, or which class each piece is.
//!
//! A network that remembers what it has heard ([`Hearing`]) is given what is new. Any other sees block by block with what stands before
//! and behind it, and the time steps of the block alone count.

use super::Failure;
use super::network::Network;
use super::options::Options;
use super::sounds::{Decoding, TimedWord, hundredths, tell_class, tell_word};
use crate::arrays::Array;
use crate::audio::hearing::Hearing;
use crate::audio::{fixed_samples, sound_input, to_inputs};
use crate::transcript::{Greedy, Token, log_probabilities};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{AudioInput, CtcOutput};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Instant;

/// Seconds of a stream that are decoded at once, and that are looked at before and behind them, unless it is said.
const BLOCK: f64 = 1.0;
const CONTEXT: f64 = 1.0;
/// Seconds that are decoded at once by a network that remembers, unless it is said.
const PIECE: f64 = 0.25;

/// What a stream goes through.
pub struct Stream<'s, 'o> {
    /// Samples: 16 bits each, the lower byte first.
    pub source: &'s mut dyn Read,
    /// How the network takes them.
    pub audio: &'s AudioInput,
    /// How texts are found; without it pieces have classes.
    pub decoding: Option<&'s Decoding>,
    /// What was asked for.
    pub options: &'s Options,
    /// What classes are called.
    pub labels: Option<&'s [String]>,
    /// Where words and classes go.
    pub out: &'o mut dyn Write,
}

impl Stream<'_, '_> {
    /// Says what is heard until the stream ends. Errors: what fails while reading, computing or writing.
    pub fn run(mut self, network: &mut dyn Network) -> Result<(), Failure> {
        let mut transcript = self.decoding.map(|decoding| Transcript::new(&decoding.ctc));
        match Hearing::new(self.audio, network.signature())? {
            Some(hearing) => self.by_pieces(hearing, network, &mut transcript)?,
            None => self.by_blocks(network, &mut transcript)?,
        }
        transcript.map_or(Ok(()), |transcript| transcript.end(self.options, self.out))
    }

    fn samples(&self, given: Option<f64>, usual: f64) -> usize {
        (given.unwrap_or(usual) * f64::from(self.audio.sample_rate)).round() as usize
    }

    /// Gives what is new to a network that remembers.
    fn by_pieces(&mut self, mut hearing: Hearing, network: &mut dyn Network, transcript: &mut Option<Transcript>) -> Result<(), Failure> {
        if self.options.context.is_some() {
            return Err(Failure::Usage("this network remembers what it has heard: --context is for those that do not".to_owned()));
        }
        let rate = f64::from(self.audio.sample_rate);
        let signature = network.signature().clone();
        let (mut waiting, mut bytes, mut ended) = (VecDeque::new(), Bytes::default(), false);
        let (mut heard, mut steps) = (0, 0);
        while !ended {
            let (least, kept_back) = hearing.least();
            let wanted = self.samples(self.options.block, PIECE).max(least) + kept_back;
            while !ended && waiting.len() < wanted {
                ended = bytes.read(self.source, &mut waiting)?;
            }
            let piece: Vec<f32> = waiting.drain(..waiting.len() - if ended { 0 } else { kept_back }).collect();
            if heard + piece.len() == 0 {
                break;
            }
            let begin = Instant::now();
            let outputs = hearing.hear(&piece, ended, network)?;
            match (self.decoding, transcript.as_mut()) {
                (Some(decoding), Some(transcript)) => {
                    let logs = log_probabilities(&outputs[decoding.output], 0);
                    for row in &logs {
                        transcript.push(hearing.seconds(steps), row);
                        steps += 1;
                    }
                    transcript.tell(self.options, self.out)?;
                }
                _ => {
                    let name = format!("{:.2}-{:.2}", heard as f64 / rate, (heard + piece.len()) as f64 / rate);
                    let (seconds, ms) = (piece.len() as f64 / rate, begin.elapsed().as_secs_f64() * 1e3);
                    tell_class(self.options, self.out, &name, seconds, &signature, outputs, self.labels, ms)?;
                }
            }
            heard += piece.len();
            self.out.flush()?;
        }
        Ok(())
    }

    /// Shows blocks to a network that does not, each with what stands before and behind it.
    fn by_blocks(&mut self, network: &mut dyn Network, transcript: &mut Option<Transcript>) -> Result<(), Failure> {
        let signature = network.signature().clone();
        let (mut block, mut context) = (self.samples(self.options.block, BLOCK), self.samples(self.options.context, CONTEXT));
        if let Some(fixed) = fixed_samples(sound_input(self.audio, &signature)?) {
            // The whole of what it takes, half of which is new.
            block = self.options.block.map_or(fixed.div_ceil(2), |_| block.min(fixed)).max(1);
            context = (fixed - block.min(fixed)) / 2;
        }
        if block == 0 {
            return Err(Failure::Usage("--block is a number of seconds above 0".to_owned()));
        }
        let rate = f64::from(self.audio.sample_rate);
        let (mut samples, mut bytes, mut ended) = (VecDeque::new(), Bytes::default(), false);
        // The place of the first of `samples`, and of the block, in the stream.
        let (mut start, mut at) = (0, 0);
        loop {
            while !ended && start + samples.len() < at + block + context {
                ended = bytes.read(self.source, &mut samples)?;
            }
            let end = start + samples.len();
            if at >= end {
                return Ok(());
            }
            let (from, to) = (at.saturating_sub(context).max(start), (at + block + context).min(end));
            let window: Vec<f32> = samples.range(from - start..to - start).copied().collect();
            let begin = Instant::now();
            let inputs = to_inputs(&window, self.audio, &signature)?;
            let heard = inputs.iter().map(Array::len).max().unwrap_or(window.len());
            network.prepare(&inputs)?;
            network.run(&inputs)?;
            match (self.decoding, transcript.as_mut()) {
                (Some(decoding), Some(transcript)) => {
                    let logs = log_probabilities(&network.outputs()[decoding.output], 0);
                    let step = heard as f64 / logs.len().max(1) as f64;
                    for (number, row) in logs.iter().enumerate() {
                        // A time step belongs to the block that its middle is in.
                        let place = from as f64 + (number as f64 + 0.5) * step;
                        if place >= at as f64 && place < ((at + block).min(end)) as f64 {
                            transcript.push((place - 0.5 * step).max(0.0) / rate, row);
                        }
                    }
                    transcript.tell(self.options, self.out)?;
                }
                _ => {
                    let name = format!("{:.2}-{:.2}", from as f64 / rate, to as f64 / rate);
                    let (seconds, ms) = (window.len() as f64 / rate, begin.elapsed().as_secs_f64() * 1e3);
                    tell_class(self.options, self.out, &name, seconds, &signature, network.outputs(), self.labels, ms)?;
                }
            }
            self.out.flush()?;
            at += block;
            let unused = at.saturating_sub(context).saturating_sub(start).min(samples.len());
            samples.drain(..unused);
            start += unused;
        }
    }
}

/// Bytes of a sample that has not come as a whole.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// Reads some samples, and whether there are no more. Errors: `file`.
    fn read(&mut self, source: &mut dyn Read, samples: &mut VecDeque<f32>) -> Result<bool, Diagnostic> {
        let mut bytes = [0u8; 1 << 13];
        let read = match source.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            read => read.map_err(|error| Diagnostic::new("file", format!("cannot read standard input: {error}")))?,
        };
        self.0.extend_from_slice(&bytes[..read]);
        let whole = self.0.len() / 2 * 2;
        samples.extend(self.0[..whole].chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0));
        self.0.drain(..whole);
        Ok(read == 0)
    }
}

/// What is said, as time steps come in.
struct Transcript<'c> {
    ctc: &'c CtcOutput,
    greedy: Greedy,
    /// Seconds at which time steps begin, and the number of the first of them.
    times: VecDeque<f64>,
    first_step: usize,
    /// The word whose characters are being heard.
    word: Option<TimedWord>,
}

impl<'c> Transcript<'c> {
    fn new(ctc: &'c CtcOutput) -> Transcript<'c> {
        Transcript { ctc, greedy: Greedy::new(ctc.blank as usize), times: VecDeque::new(), first_step: 0, word: None }
    }

    /// Takes a time step, which begins at so many seconds.
    fn push(&mut self, seconds: f64, row: &[f64]) {
        self.times.push_back(seconds);
        self.greedy.push(row);
    }

    /// Tells words as soon as they are whole.
    fn tell(&mut self, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
        let finished = self.greedy.finished();
        self.tell_tokens(&finished, options, out)?;
        // Times of what is told are not needed any more.
        let open = self.greedy.tokens().first().map_or(self.greedy.steps(), |token| token.begin);
        while self.first_step < open && self.times.len() > 1 {
            self.times.pop_front();
            self.first_step += 1;
        }
        Ok(())
    }

    /// Tells what is left.
    fn end(mut self, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
        let rest = self.greedy.rest();
        self.tell_tokens(&rest, options, out)?;
        self.word.take().map_or(Ok(()), |word| tell_word(options, &word, out))
    }

    fn tell_tokens(&mut self, tokens: &[Token], options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
        for Token { label, begin, end } in tokens {
            let text = &self.ctc.labels[*label];
            let heard = TimedWord { text: text.clone(), begin: self.time(*begin), end: self.time(*end) };
            if !self.ctc.separator.is_empty() {
                tell_word(options, &heard, out)?;
            } else if text.trim().is_empty() {
                self.word.take().map_or(Ok(()), |word| tell_word(options, &word, out))?;
            } else {
                let word = self.word.get_or_insert(TimedWord { text: String::new(), ..heard });
                (word.text, word.end) = (format!("{}{text}", word.text), heard.end);
            }
        }
        Ok(())
    }

    fn time(&self, step: usize) -> f64 {
        let place = step.saturating_sub(self.first_step).min(self.times.len().saturating_sub(1));
        hundredths(self.times.get(place).copied().unwrap_or(0.0))
    }
}
