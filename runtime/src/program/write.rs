//! Programs that write: what follows a text, token by token, printed as it is chosen.

use super::network::{Compiled, Network};
use super::{Failure, finish, print_json};
use crate::model::{Model, read_signature};
use crate::text::choice::Choice;
use crate::text::writing::{Times, Writer};
use crate::text::{Tokeniser, text_input};
use crate::threads::{ThreadPool, default_workers};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{ModelDescriptor, Signature};
use lexopt::{Arg, Parser, ValueExt};
use serde::Serialize;
use std::ffi::{OsStr, OsString, c_int};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

/// What is to be written, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Choices {
    /// Texts to go on with; without any, the lines of standard input.
    pub prompts: Vec<String>,
    /// Tokens to write.
    pub tokens: usize,
    /// How each one is chosen.
    pub choice: Choice,
    /// Texts that are kept while searching; 1 does not search.
    pub beams: usize,
    /// What choices depend on.
    pub seed: u64,
    /// A text behind which to end.
    pub stop: Option<String>,
    /// Compute all tokens anew for each one.
    pub is_uncached: bool,
    /// Tell how long steps took.
    pub timing: bool,
    /// Machine-readable answers.
    pub json: bool,
}

impl Default for Choices {
    fn default() -> Choices {
        Choices {
            prompts: Vec::new(),
            tokens: 200,
            choice: Choice::default(),
            beams: 1,
            seed: 0,
            stop: None,
            is_uncached: false,
            timing: false,
            json: false,
        }
    }
}

impl Choices {
    /// Errors: a text about the first one that is impossible.
    pub fn check(&self) -> Result<(), String> {
        let Choice { temperature, top_k, top_p } = self.choice;
        if !(0.0..=1e6).contains(&temperature) {
            return Err(format!("--temperature is a number from 0 to 1000000, got {temperature}"));
        }
        if !(0.0..=1.0).contains(&top_p) {
            return Err(format!("--top-p is a probability, got {top_p}"));
        }
        if top_k == Some(0) {
            return Err("--top-k is at least 1".to_owned());
        }
        if !(1..=1024).contains(&self.beams) {
            return Err(format!("--beams is a number from 1 to 1024, got {}", self.beams));
        }
        if self.beams > 1 && (self.choice != Choice::default() || self.stop.is_some()) {
            return Err("--beams searches for the likeliest text: it goes with none of --temperature, --top-k, --top-p, --stop".to_owned());
        }
        if self.stop.as_deref() == Some("") {
            return Err("--stop wants a text".to_owned());
        }
        Ok(())
    }
}

/// What the user asked a program for.
#[derive(Default)]
struct Options {
    choices: Choices,
    threads: Option<usize>,
    weights: Option<PathBuf>,
    verify: bool,
    help: bool,
    version: bool,
}

/// Runs the program with these arguments and streams, and gives its exit status.
///
/// # Safety
/// `model` is a descriptor that Kiln compiled, with code and data that are never freed.
pub unsafe fn run(
    program: &OsStr,
    arguments: impl IntoIterator<Item = OsString>,
    model: &ModelDescriptor,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> c_int {
    let program = program.to_string_lossy();
    let options = parse(arguments).map_err(|error| error.to_string()).and_then(|options| options.choices.check().map(|()| options));
    // SAFETY: the caller's promise.
    let outcome = options.map_err(Failure::Usage).and_then(|options| unsafe { execute(&program, &options, model, out, err) });
    finish(&program, outcome, out, err)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut options = Options::default();
    let choices = &mut options.choices;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("prompt") | Arg::Short('p') => choices.prompts.push(parser.value()?.string()?),
            Arg::Value(prompt) => choices.prompts.push(prompt.string()?),
            Arg::Long("tokens") | Arg::Short('n') => choices.tokens = parser.value()?.parse()?,
            Arg::Long("temperature") => choices.choice.temperature = parser.value()?.parse()?,
            Arg::Long("greedy") => choices.choice.temperature = 0.0,
            Arg::Long("top-k") => choices.choice.top_k = Some(parser.value()?.parse()?),
            Arg::Long("top-p") => choices.choice.top_p = parser.value()?.parse()?,
            Arg::Long("beams") => choices.beams = parser.value()?.parse()?,
            Arg::Long("seed") => choices.seed = parser.value()?.parse()?,
            Arg::Long("stop") => choices.stop = Some(parser.value()?.string()?),
            Arg::Long("no-cache") => choices.is_uncached = true,
            Arg::Long("timing") => choices.timing = true,
            Arg::Long("json") => choices.json = true,
            Arg::Long("threads") | Arg::Short('t') => options.threads = Some(parser.value()?.parse()?),
            Arg::Long("weights") => options.weights = Some(parser.value()?.into()),
            Arg::Long("verify") => options.verify = true,
            Arg::Long("help") | Arg::Short('h') => options.help = true,
            Arg::Long("version") | Arg::Short('V') => options.version = true,
            Arg::Short(_) | Arg::Long(_) => return Err(argument.unexpected()),
        }
    }
    if options.threads == Some(0) {
        return Err("--threads must be at least 1".into());
    }
    Ok(options)
}

unsafe fn execute(
    program: &str,
    options: &Options,
    descriptor: &ModelDescriptor,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    if options.help || options.version {
        // SAFETY: the caller's promise.
        let signature = unsafe { read_signature(descriptor)? };
        let text = match options.help {
            true => help(program, &signature)?,
            false => {
                format!("{}, compiled by {} from a model with SHA-256 {}\n", signature.name, signature.compiler, signature.model_sha256)
            }
        };
        return Ok(out.write_all(text.as_bytes())?);
    }
    // SAFETY: the caller's promise.
    let model = unsafe { Model::load(descriptor, options.weights.as_deref())? };
    if options.verify {
        model.verify_weights()?;
        writeln!(err, "weights: {} bytes, digest as compiled", model.signature().weights.bytes)?;
    }
    let pool = ThreadPool::new(options.threads.unwrap_or(usize::MAX).min(default_workers()));
    write(&options.choices, &mut Compiled::new(&model, &pool), out, err)
}

/// What is printed with `--json`, for each prompt a line.
#[derive(Serialize)]
struct Answer<'a> {
    prompt: &'a str,
    /// What follows it.
    text: &'a str,
    tokens: &'a [i64],
    ms: f64,
    /// Of the steps of several tokens, the prompt's and those of a window that moved.
    prefill_ms: f64,
    /// The median of the steps of one token.
    decode_ms: Option<f64>,
    tokens_per_second: Option<f64>,
    weight_bytes: u64,
}

/// Writes what follows each prompt, on `out` as it is chosen; remarks go to `err`.
///
/// Errors: usage for a prompt without tokens; a function that writes nothing; what fails while computing or writing.
pub fn write(choices: &Choices, network: &mut dyn Network, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
    let weight_bytes = network.signature().weights.bytes;
    let input = text_input(network.signature())?.ok_or_else(|| Diagnostic::new("writes_nothing", "the model takes no texts"))?;
    let tokeniser = Tokeniser::new(input)?;
    let mut writer = Writer::new(network, &tokeniser, choices.is_uncached)?;
    let mut each = |prompt: &str| one(choices, prompt, &tokeniser, &mut writer, weight_bytes, out, err);
    if choices.prompts.is_empty() {
        for (number, line) in io::stdin().lock().lines().enumerate() {
            let line =
                line.map_err(|error| Diagnostic::new("file", format!("cannot read line {} of standard input: {error}", number + 1)))?;
            each(&line)?;
        }
    }
    choices.prompts.iter().try_for_each(|prompt| each(prompt))
}

/// Goes on with one prompt.
fn one(
    choices: &Choices,
    prompt: &str,
    tokeniser: &Tokeniser,
    writer: &mut Writer,
    weight_bytes: u64,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let begins: Vec<i64> = tokeniser.all_tokens(prompt)?.into_iter().map(|token| token.number).collect();
    if begins.is_empty() {
        return Err(Failure::Usage("it goes on with a text, and a prompt has none: --prompt \"Once upon a time\"".to_owned()));
    }
    let unknown = begins.iter().filter(|token| Some(**token) == tokeniser.input().unknown).count();
    if unknown > 0 {
        writeln!(err, "note: {unknown} of {} tokens of the prompt are unknown to the network", begins.len())?;
    }
    let begin = Instant::now();
    let mut spelt = Spelling::new(tokeniser, &begins)?;
    let is_live = !choices.json;
    if is_live {
        out.write_all(prompt.as_bytes())?;
        out.flush()?;
    }
    let tokens = match choices.beams {
        1 => {
            // What cannot be written is kept until telling has ended.
            let mut failed = None;
            let mut told = |token: i64| -> Result<bool, Diagnostic> {
                let part = spelt.add(token)?;
                let written = if is_live { out.write_all(part.as_bytes()).and_then(|()| out.flush()) } else { Ok(()) };
                failed = written.err();
                Ok(failed.is_none() && !choices.stop.as_deref().is_some_and(|stop| spelt.text.contains(stop)))
            };
            let tokens = writer.sample(&begins, choices.tokens, &choices.choice, choices.seed, &mut told)?;
            match failed {
                Some(error) => return Err(error.into()),
                None => tokens,
            }
        }
        beams => {
            let tokens = writer.search(&begins, choices.tokens, beams)?;
            for token in &tokens {
                let part = spelt.add(*token)?;
                if is_live {
                    out.write_all(part.as_bytes())?;
                }
            }
            tokens
        }
    };
    let rest = spelt.end()?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let times = writer.take_times();
    let decode_ms = times.median_ms();
    let tokens_per_second = decode_ms.map(|ms| 1e3 / ms);
    match is_live {
        true => writeln!(out, "{rest}")?,
        false => print_json(
            out,
            &Answer {
                prompt,
                text: &spelt.text,
                tokens: &tokens,
                ms,
                prefill_ms: times.several_ms,
                decode_ms,
                tokens_per_second,
                weight_bytes,
            },
        )?,
    }
    if choices.timing {
        out.flush()?;
        tell_times(&times, tokens.len(), ms, weight_bytes, err)?;
    }
    Ok(())
}

fn tell_times(times: &Times, tokens: usize, ms: f64, weight_bytes: u64, err: &mut dyn Write) -> Result<(), Failure> {
    writeln!(err, "{tokens} tokens in {ms:.1} ms; {} tokens at once in {:.3} ms", times.several_tokens, times.several_ms)?;
    if let Some(median) = times.median_ms() {
        let (rate, steps) = (1e3 / median, times.one_ms.len());
        let gigabytes = weight_bytes as f64 * rate / 1e9;
        writeln!(err, "one token at a time: median {median:.4} ms of {steps} steps, {rate:.0} tokens/s")?;
        writeln!(err, "weights: {weight_bytes} bytes, read at most once for a token: {gigabytes:.2} GB/s")?;
    }
    Ok(())
}

/// The text of tokens that come one by one. A token may be a part of a character, so what is not whole yet waits.
struct Spelling<'t> {
    tokeniser: &'t Tokeniser,
    tokens: Vec<i64>,
    /// Tokens from here on say how the next ones are spelt.
    from: usize,
    /// Tokens whose text is out.
    done: usize,
    /// The text so far, that of the first tokens left out.
    text: String,
}

/// Tokens before one that say how it is spelt.
const BEFORE: usize = 8;

impl<'t> Spelling<'t> {
    fn new(tokeniser: &'t Tokeniser, tokens: &[i64]) -> Result<Spelling<'t>, Diagnostic> {
        let last = tokens[tokens.len().saturating_sub(BEFORE)..].to_vec();
        Ok(Spelling { tokeniser, done: last.len(), from: 0, tokens: last, text: String::new() })
    }

    /// Adds a token, and gives what is whole.
    fn add(&mut self, token: i64) -> Result<String, Diagnostic> {
        self.tokens.push(token);
        let (old, new) = self.both()?;
        if new.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        (self.from, self.done) = (self.done, self.tokens.len());
        Ok(self.kept(behind(&old, &new)))
    }

    /// What is left at the end, whole or not.
    fn end(&mut self) -> Result<String, Diagnostic> {
        let (old, new) = self.both()?;
        self.done = self.tokens.len();
        Ok(self.kept(behind(&old, &new)))
    }

    fn both(&self) -> Result<(String, String), Diagnostic> {
        Ok((self.tokeniser.text(&self.tokens[self.from..self.done])?, self.tokeniser.text(&self.tokens[self.from..])?))
    }

    fn kept(&mut self, part: &str) -> String {
        self.text.push_str(part);
        part.to_owned()
    }
}

/// What a text has behind what it shares with an older one: tokenisers may spell tokens in another way by what follows.
fn behind<'t>(old: &str, new: &'t str) -> &'t str {
    let shared: usize = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    &new[shared..]
}

/// The help. Errors: `signature`.
fn help(program: &str, signature: &Signature) -> Result<String, Diagnostic> {
    let length = text_input(signature)?.and_then(|text| text.length);
    let window = match length {
        Some(length) => format!(
            "The network sees {length} tokens at once. When a text outgrows them, it goes on with the last half of them,\nwhich it reads anew."
        ),
        None => "The network goes on with texts of any length.".to_owned(),
    };
    Ok(format!(
        "{name}, compiled by {compiler}: writes what follows a text, token by token.

Usage:
  {program} PROMPT...           go on with each text, as it is written
  {program} < FILE              go on with each line of a file

{window}
Weights: {bytes} bytes

Options:
  -p, --prompt TEXT         a text to go on with (may be repeated)
  -n, --tokens N            tokens to write (200)
  --temperature T           divide scores by T: below 1 bolder choices are rarer, 0 takes the likeliest token (1)
  --greedy                  take the likeliest token each time
  --top-k K                 choose among the K likeliest tokens
  --top-p P                 choose among the likeliest tokens that have the probability P together (1)
  --beams N                 search for the likeliest text, keeping N at a time, in place of choosing by chance
  --seed N                  what choices depend on (0)
  --stop TEXT               end behind this text
  --json                    answer in JSON: prompt, text, tokens, times
  --timing                  tell on standard error how long steps took
  --no-cache                remember nothing, and compute all tokens anew for each one: slow, and the same tokens
  --threads N               threads to use (at most, and unless told otherwise: the CPUs this process may use)
  --weights FILE            take the weights from this file
  --verify                  compare the weights with their SHA-256 digest
  --help, --version

Exit status: 0 success, 1 failure, 2 wrong usage.
",
        name = signature.name,
        compiler = signature.compiler,
        bytes = signature.weights.bytes,
    ))
}
