//! Sounds on the command line: what was said in each file, with times, or which class it is; and the same of a stream of samples.

use super::network::Network;
use super::options::Options;
use super::pictures::classes_text;
use super::streams::Stream;
use super::{Failure, Special, print_json, write_outputs};
use crate::arrays::Array;
use crate::audio::hearing::Hearing;
use crate::audio::{audio_input, fixed_samples, read, sound_input, to_inputs};
use crate::report::{RankedClass, Summary, rank, summarise};
use crate::transcript::{Beam, Greedy, Language, Token, beam_search, ctc_output, log_probabilities, read_ngram, read_words, words_of};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{AudioInput, CtcOutput, Extent, Signature};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

/// What programs that take sounds do with them.
pub const SOUNDS: Special = Special { is_meant, answer, read_first, help };

fn is_meant(options: &Options, signature: &Signature) -> bool {
    options.stream || (signature.audio.is_some() && !options.pictures.is_empty())
}

/// What `--ngram` counts for unless it is said.
const NGRAM_WEIGHT: f64 = 0.5;
/// Texts that are kept while searching where a language is given, unless it is said.
const USUAL_BEAM: usize = 16;

/// How texts are found.
pub(super) struct Decoding {
    pub ctc: CtcOutput,
    pub output: usize,
    width: usize,
    language: Language,
}

#[derive(Serialize)]
pub(super) struct TimedWord {
    pub text: String,
    pub begin: f64,
    pub end: f64,
}

fn declared(signature: &Signature) -> Result<AudioInput, Failure> {
    audio_input(signature).ok_or_else(|| {
        let error = Diagnostic::new("sound_input", "this model does not say how it takes sounds");
        Failure::Error(error.help("audio = { sample_rate = 16000 } in [[input]] of its model file says so"))
    })
}

impl Decoding {
    /// What the model and the options say; `None` where no output spells text. Errors: what the language's files report; options
    /// for text where there is none.
    fn new(options: &Options, signature: &Signature) -> Result<Option<Decoding>, Failure> {
        let Some(ctc) = ctc_output(signature) else {
            let asked = options.beam.is_some() || options.words.is_some() || options.ngram.is_some();
            return match asked {
                true => Err(Failure::Usage("--beam, --words and --ngram are for models whose output spells text".to_owned())),
                false => Ok(None),
            };
        };
        let output = signature.outputs.iter().position(|output| output.name == ctc.output);
        let output = output.ok_or_else(|| Diagnostic::new("signature", format!("the model has no output `{}`", ctc.output)))?;
        let classes = signature.outputs[output].shape.last();
        if ctc.blank as usize >= ctc.labels.len()
            || classes != Some(&Extent::Fixed(ctc.labels.len() as i64))
            || signature.outputs[output].shape.len() != 3
        {
            let message = format!("output {} does not spell text with {} labels", signature.outputs[output], ctc.labels.len());
            return Err(Diagnostic::new("signature", message).help("[batch, time, classes] does, with a label for each class").into());
        }
        let language = Language {
            words: options.words.as_deref().map(read_words).transpose()?,
            ngram: options.ngram.as_deref().map(read_ngram).transpose()?,
            weight: options.ngram_weight.unwrap_or(NGRAM_WEIGHT),
            bonus: options.word_bonus.unwrap_or(0.0),
        };
        let helped = language.words.is_some() || language.ngram.is_some();
        let width = options.beam.unwrap_or(if helped { USUAL_BEAM } else { 1 });
        if width < 2 && (helped || options.word_bonus.is_some()) {
            return Err(Failure::Usage("--words, --ngram and --word-bonus need a --beam of 2 or more".to_owned()));
        }
        Ok(Some(Decoding { ctc, output, width, language }))
    }

    fn tokens(&self, outputs: &[Array]) -> (Vec<Token>, usize) {
        let logs = log_probabilities(&outputs[self.output], 0);
        if self.width > 1 {
            return (beam_search(&self.ctc, &logs, &Beam { width: self.width, language: &self.language }).0, logs.len());
        }
        let mut greedy = Greedy::new(self.ctc.blank as usize);
        logs.iter().for_each(|row| greedy.push(row));
        (greedy.rest(), logs.len())
    }
}

/// Runs the model on each sound, or on a stream, and prints what it says of them.
fn answer(options: &Options, network: &mut dyn Network, labels: Option<&[String]>, out: &mut dyn Write) -> Result<(), Failure> {
    let signature = &network.signature().clone();
    let audio = declared(signature)?;
    let decoding = Decoding::new(options, signature)?;
    if options.stream {
        if !options.pictures.is_empty() || options.output.is_some() || decoding.as_ref().is_some_and(|decoding| decoding.width > 1) {
            return Err(Failure::Usage(
                "--stream reads standard input: it goes without files, --output, --beam, --words and --ngram".to_owned(),
            ));
        }
        let (source, decoding) = (&mut io::stdin().lock(), decoding.as_ref());
        return Stream { source, audio: &audio, decoding, options, labels, out }.run(network);
    }
    if options.output.is_some() && options.pictures.len() != 1 {
        return Err(Failure::Usage("--output holds the outputs for one sound".to_owned()));
    }
    for path in &options.pictures {
        let samples = read(path, &audio)?;
        let seconds = samples.len() as f64 / f64::from(audio.sample_rate);
        let begin = Instant::now();
        let mut hearing = Hearing::new(&audio, signature)?;
        let outputs = match &mut hearing {
            Some(hearing) => hearing.hear(&samples, true, network)?,
            None => {
                let inputs = to_inputs(&samples, &audio, signature)?;
                network.prepare(&inputs)?;
                network.run(&inputs)?;
                network.outputs()
            }
        };
        let name = path.to_string_lossy();
        match &decoding {
            Some(decoding) => {
                let (tokens, steps) = decoding.tokens(outputs);
                let ms = begin.elapsed().as_secs_f64() * 1e3;
                // A network that takes a fixed number of samples heard so many.
                let heard = fixed_samples(sound_input(&audio, signature)?).unwrap_or(samples.len());
                let step = heard as f64 / f64::from(audio.sample_rate) / steps.max(1) as f64;
                let time = |at: usize| hearing.as_ref().map_or(at as f64 * step, |hearing| hearing.seconds(at));
                let words: Vec<TimedWord> = words_of(&decoding.ctc, &tokens)
                    .into_iter()
                    .map(|word| TimedWord { text: word.text, begin: hundredths(time(word.begin)), end: hundredths(time(word.end)) })
                    .collect();
                tell_text(options, out, &name, &words, seconds, ms)?;
            }
            None => {
                let ms = begin.elapsed().as_secs_f64() * 1e3;
                tell_class(options, out, &name, seconds, signature, outputs, labels, ms)?;
            }
        }
        if let Some(path) = &options.output {
            write_outputs(path, signature, outputs)?;
        }
    }
    Ok(())
}

/// The inputs for the first sound.
fn read_first(paths: &[PathBuf], signature: &Signature) -> Result<Vec<Array>, Failure> {
    let audio = declared(signature)?;
    let path = paths.first().ok_or_else(|| Failure::Usage("no sound given".to_owned()))?;
    let samples = read(path, &audio)?;
    Ok(match Hearing::new(&audio, signature)? {
        Some(mut hearing) => hearing.inputs(&samples, true, signature)?,
        None => to_inputs(&samples, &audio, signature)?,
    })
}

pub(super) fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn tell_text(options: &Options, out: &mut dyn Write, name: &str, words: &[TimedWord], seconds: f64, ms: f64) -> Result<(), Failure> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let text = texts.join(" ");
    if options.json {
        #[derive(Serialize)]
        struct Answer<'a> {
            sound: &'a str,
            text: &'a str,
            words: &'a [TimedWord],
            seconds: f64,
            ms: f64,
        }
        return print_json(out, &Answer { sound: name, text: &text, words, seconds, ms });
    }
    writeln!(out, "{name}  {text}")?;
    for word in words {
        writeln!(out, "  {:>7.2} {:>7.2}  {}", word.begin, word.end, word.text)?;
    }
    Ok(writeln!(out, "  {seconds:.2} s of sound in {ms:.1} ms")?)
}

#[allow(clippy::too_many_arguments, reason = "one place that prints a line")]
pub(super) fn tell_class(
    options: &Options,
    out: &mut dyn Write,
    name: &str,
    seconds: f64,
    signature: &Signature,
    outputs: &[Array],
    labels: Option<&[String]>,
    ms: f64,
) -> Result<(), Failure> {
    let ranking = rank(outputs, labels, options.top.unwrap_or(1)).filter(|ranking| ranking.rows.len() == 1);
    let summaries = summarise(signature, outputs);
    let classes = ranking.as_ref().map(|ranking| (ranking, ranking.rows[0].as_slice()));
    if options.json {
        #[derive(Serialize)]
        struct Answer<'a> {
            sound: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            top: Option<&'a [RankedClass]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            outputs: Option<&'a [Summary]>,
            seconds: f64,
            ms: f64,
        }
        let outputs = if classes.is_none() { Some(summaries.as_slice()) } else { None };
        return print_json(out, &Answer { sound: name, top: classes.map(|(_, row)| row), outputs, seconds, ms });
    }
    Ok(writeln!(out, "{name}  {}  {ms:.3} ms", classes_text(classes, &summaries))?)
}

pub(super) fn tell_word(options: &Options, word: &TimedWord, out: &mut dyn Write) -> Result<(), Failure> {
    match options.json {
        true => print_json(out, word),
        false => Ok(writeln!(out, "{:>7.2} {:>7.2}  {}", word.begin, word.end, word.text)?),
    }
}

/// What `--help` says of sounds.
fn help(program: &str, signature: &Signature) -> String {
    let rate = audio_input(signature).map_or(0, |audio| audio.sample_rate);
    let what = if signature.ctc.is_some() { "say what is said in WAV files, with times" } else { "classify WAV files, one line each" };
    let mut text = format!("  {program} SOUND...                        {what}\n");
    text +=
        &format!("  {program} --stream                         the same of standard input: 16-bit samples, {rate} a second, one channel\n");
    let remembers = audio_input(signature).is_some_and(|audio| audio.stream.is_some());
    text + if signature.ctc.is_some() { SPELLING } else { "" } + if remembers { REMEMBERED } else { STREAM }
}

const SPELLING: &str = "
Text:
  --beam N               search with N texts instead of taking the likeliest class of each time step
  --words FILE           only these words, one a line
  --ngram FILE           how likely words follow one another, in ARPA format
    --ngram-weight W     what its logarithms count (0.5)
    --word-bonus B       what each word adds (0)
";

const REMEMBERED: &str = "
Streams:
  --block S              seconds that are decoded at once (0.25); the network remembers what it has heard before
";

const STREAM: &str = "
Streams:
  --block S              seconds that are looked at anew each time (1; half of what the model takes where that is fixed)
  --context S            seconds that are looked at before and behind them (1), so that answers come as much later
";
