//! The command line of a compiled program.

use kiln_ir::artifact::{Extent, Signature, WeightsLocation};
use lexopt::{Arg, Parser, ValueExt};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the user asked for.
#[derive(Default)]
pub struct Options {
    /// Archives with inputs by name.
    pub npz: Vec<PathBuf>,
    /// Single inputs: name (empty = the only input) and file.
    pub inputs: Vec<(String, PathBuf)>,
    /// Pictures to classify one by one, sounds, or texts to answer.
    pub pictures: Vec<PathBuf>,
    /// Take sound from standard input.
    pub stream: bool,
    /// Seconds of a stream that are looked at anew each time.
    pub block: Option<f64>,
    /// Seconds that are looked at before and behind them.
    pub context: Option<f64>,
    /// Texts that are kept while searching.
    pub beam: Option<usize>,
    /// A list of the only words.
    pub words: Option<PathBuf>,
    /// An n-gram model.
    pub ngram: Option<PathBuf>,
    /// What its logarithms count.
    pub ngram_weight: Option<f64>,
    /// What each word adds.
    pub word_bonus: Option<f64>,
    /// Sizes for made-up inputs.
    pub dims: Vec<(String, i64)>,
    /// Where the outputs go.
    pub output: Option<PathBuf>,
    /// Weights in another file than the signature says.
    pub weights: Option<PathBuf>,
    /// Names of the classes, one a line.
    pub labels: Option<PathBuf>,
    /// Threads wanted.
    pub threads: Option<usize>,
    /// Classes to print.
    pub top: Option<usize>,
    /// Time it.
    pub bench: bool,
    /// Timed runs at most.
    pub runs: Option<u64>,
    /// Seconds at most.
    pub seconds: Option<f64>,
    /// Machine-readable answers.
    pub json: bool,
    /// Check the weights' digest.
    pub verify: bool,
    /// Print the help.
    pub help: bool,
    /// Print the version.
    pub version: bool,
}

impl Options {
    /// Parses arguments, the program's name left out.
    ///
    /// Errors: a text about the first argument that is wrong.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
        parse(arguments).map_err(|error| error.to_string())
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("inputs") => options.npz.push(parser.value()?.into()),
            Arg::Long("input") | Arg::Short('i') => {
                let value = parser.value()?.string()?;
                let (name, path) = value.split_once('=').unwrap_or(("", &value));
                options.inputs.push((name.to_owned(), PathBuf::from(path)));
            }
            Arg::Long("output") | Arg::Short('o') => options.output = Some(parser.value()?.into()),
            Arg::Long("dim") => {
                let value = parser.value()?.string()?;
                let dim = value.split_once('=').and_then(|(name, size)| Some((name.to_owned(), size.parse().ok()?)));
                options.dims.push(dim.ok_or_else(|| lexopt::Error::from(format!("--dim wants NAME=SIZE, got `{value}`")))?);
            }
            Arg::Long("weights") => options.weights = Some(parser.value()?.into()),
            Arg::Long("stream") => options.stream = true,
            Arg::Long("block") => options.block = Some(parser.value()?.parse()?),
            Arg::Long("context") => options.context = Some(parser.value()?.parse()?),
            Arg::Long("beam") => options.beam = Some(parser.value()?.parse()?),
            Arg::Long("words") => options.words = Some(parser.value()?.into()),
            Arg::Long("ngram") => options.ngram = Some(parser.value()?.into()),
            Arg::Long("ngram-weight") => options.ngram_weight = Some(parser.value()?.parse()?),
            Arg::Long("word-bonus") => options.word_bonus = Some(parser.value()?.parse()?),
            Arg::Long("labels") => options.labels = Some(parser.value()?.into()),
            Arg::Long("threads") | Arg::Short('t') => options.threads = Some(parser.value()?.parse()?),
            Arg::Long("top") => options.top = Some(parser.value()?.parse()?),
            Arg::Long("bench") => options.bench = true,
            Arg::Long("runs") => options.runs = Some(parser.value()?.parse()?),
            Arg::Long("seconds") => options.seconds = Some(parser.value()?.parse()?),
            Arg::Long("json") => options.json = true,
            Arg::Long("verify") => options.verify = true,
            Arg::Long("help") | Arg::Short('h') => options.help = true,
            Arg::Long("version") | Arg::Short('V') => options.version = true,
            Arg::Value(path) => options.pictures.push(path.into()),
            Arg::Short(_) | Arg::Long(_) => return Err(argument.unexpected()),
        }
    }
    if options.threads == Some(0) {
        return Err("--threads must be at least 1".into());
    }
    if options.seconds.is_some_and(|seconds| seconds.is_nan() || seconds < 0.0) {
        return Err("--seconds must not be negative".into());
    }
    let sizes = [options.block, options.context, options.ngram_weight];
    if sizes.into_iter().flatten().any(|size| !(0.0..=3600.0).contains(&size)) || options.word_bonus.is_some_and(|bonus| !bonus.is_finite())
    {
        return Err("--block, --context and --ngram-weight are numbers from 0 to 3600, --word-bonus is a number".into());
    }
    Ok(options)
}

/// The help: what the model takes and gives, `files`, which is about files of other kinds than arrays, and the options.
pub fn help(program: &str, signature: &Signature, files: &str) -> String {
    let mut text = format!("{}, compiled by {}\n\n", signature.name, signature.compiler);
    for (title, tensors) in [("Inputs", &signature.inputs), ("Outputs", &signature.outputs)] {
        text += &format!("{title}:\n");
        let (heard, shown): (Vec<_>, Vec<_>) = tensors.iter().partition(|tensor| tensor.name.starts_with(Signature::HEARD));
        shown.into_iter().for_each(|tensor| text += &format!("  {tensor}\n"));
        if !heard.is_empty() {
            text += &format!("  and {} more: what it remembers of a sound\n", heard.len());
        }
    }
    // Sizes of what is remembered say nothing to whoever gives sounds.
    let remembers = signature.inputs.iter().any(|input| input.name == Signature::END);
    if !signature.symbols.is_empty() && !remembers {
        text += "Sizes:\n";
        for symbol in &signature.symbols {
            let max = symbol.max.map_or("…".to_owned(), |max| max.to_string());
            text += &format!("  {}: {} to {max}\n", symbol.name, symbol.min);
        }
    }
    signature.guards.iter().filter(|_| !remembers).for_each(|guard| text += &format!("  {guard}\n"));
    if signature.weights.bytes > 0 {
        let place = match &signature.weights.location {
            WeightsLocation::Embedded | WeightsLocation::Tail => "in this file".to_owned(),
            WeightsLocation::External(name) => format!("in {name}"),
        };
        text += &format!("Weights: {} bytes, {place}\n", signature.weights.bytes);
    }
    match &signature.flops {
        Some(Extent::Fixed(flops)) => text += &format!("Work: {flops} floating-point operations a run\n"),
        Some(Extent::Expression(flops)) => text += &format!("Work: {flops} floating-point operations a run\n"),
        None => {}
    }
    text += "\nUsage:\n";
    text += files;
    text += &format!("  {program} --inputs IN.npz --output OUT.npz   run on arrays that bear the inputs' names\n");
    text += &format!("  {program} --bench                            time it\n");
    text += OPTIONS;
    text
}

const OPTIONS: &str = "
Options:
  --inputs FILE.npz      inputs by name (arr_0, arr_1 ... : by order)
  --input NAME=FILE      one input, from a .npy, .png or .jpg file (the name may be left out when there is one input)
  --output FILE.npz      write the outputs under their names
  --threads N            threads to use (at most, and unless told otherwise: the CPUs this process may use)
  --labels FILE          names of the classes, one a line
  --top K                print the K likeliest classes
  --json                 answer in JSON
  --bench                time repeated runs, on made-up inputs unless some are given
    --runs N             stop after N runs (1000)
    --seconds S          stop after S seconds (3)
    --dim NAME=SIZE      size of made-up inputs
  --weights FILE         take the weights from this file
  --verify               compare the weights with their SHA-256 digest
  --help, --version

Exit status: 0 success, 1 failure, 2 wrong usage.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_model::signature;
    use kiln_ir::DType;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn arguments_in_any_order_and_form() {
        let options = parse(&["a.png", "--threads=2", "--input", "x=b=c.npy", "-i", "d.npy", "--bench", "--", "--e.png"]).expect("parses");
        assert_eq!(options.pictures, [PathBuf::from("a.png"), PathBuf::from("--e.png")]);
        assert_eq!(options.inputs, [("x".to_owned(), "b=c.npy".into()), (String::new(), "d.npy".into())]);
        assert_eq!((options.threads, options.bench), (Some(2), true));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |arguments: &[&str]| parse(arguments).err().expect("refused");
        assert_eq!(message(&["--thread", "2"]), "invalid option '--thread'");
        assert_eq!(message(&["--threads", "two"]), "cannot parse argument \"two\": invalid digit found in string");
        assert_eq!(message(&["--threads", "0"]), "--threads must be at least 1");
        assert_eq!(message(&["--output"]), "missing argument for option '--output'");
        assert_eq!(message(&["--dim", "batch"]), "--dim wants NAME=SIZE, got `batch`");
        assert_eq!(message(&["--seconds", "-1"]), "--seconds must not be negative");
    }

    #[test]
    fn help_prints_the_signature() {
        let signature = signature(&[("x", DType::F32, &[-1, 3])], &[("y", DType::I64, &[])]);
        let text = help("./m", &signature, "");
        assert!(
            text.starts_with("fake, compiled by kiln test\n\nInputs:\n  x: f32[s0, 3]\nOutputs:\n  y: i64[]\nSizes:\n  s0: 0 to …\n"),
            "{text}"
        );
        assert!(!text.contains("PICTURE"));
    }
}
