//! What a compiled program does: read inputs, run, say or write what came out.

pub mod inputs;
pub mod network;
pub mod options;
mod pictures;
pub mod sounds;
mod streams;
pub mod text;
pub mod write;

use crate::arrays::Array;
use crate::bench::{Limits, Measurement, measure};
use crate::files::file_error;
use crate::model::{Model, read_signature};
use crate::npz::write_npz;
use crate::pictures::image_input;
use crate::report::{RankedClass, Summary, rank, summarise};
use crate::threads::{ThreadPool, default_workers};
use crate::training::interruption::exit_status;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Extent, ModelDescriptor, Signature};
use network::{Compiled, Network};
use options::{Options, help};
use serde::Serialize;
use std::ffi::{OsStr, OsString, c_char, c_int};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Rows of a batch whose classes are printed; the rest is in the output file.
const MAX_ROWS_PRINTED: usize = 10;

/// Why a program ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: exit status 2.
    Usage(String),
    /// Something else is: exit status 1.
    Error(Diagnostic),
    /// A signal asked it to end before it was done: the signal, and what is left. The exit status is that of its signal.
    Interrupted(i32, Diagnostic),
}

impl From<Diagnostic> for Failure {
    fn from(error: Diagnostic) -> Failure {
        Failure::Error(error)
    }
}

impl From<io::Error> for Failure {
    /// Only writing to standard output gives bare I/O errors here.
    fn from(error: io::Error) -> Failure {
        Failure::Error(file_error("write to", Path::new("standard output"), &error))
    }
}

/// Runs a model on what options name, with names for its classes, and prints what it says.
pub type Answers = fn(&Options, &mut dyn Network, Option<&[String]>, &mut dyn Write) -> Result<(), Failure>;

/// What a program does with a kind of input that other programs need nothing of: sounds, texts.
pub struct Special {
    /// Whether the options mean it.
    pub is_meant: fn(&Options, &Signature) -> bool,
    /// Runs the model on what the options name, or on standard input, and prints what it says of it.
    pub answer: Answers,
    /// The inputs for the first of these files.
    pub read_first: fn(&[PathBuf], &Signature) -> Result<Vec<Array>, Failure>,
    /// Lines for `--help`.
    pub help: fn(&str, &Signature) -> String,
}

/// `main` of compiled programs whose model takes neither sounds nor texts.
///
/// # Safety
/// `argv` holds `argc` C strings; `model` is a descriptor that Kiln compiled, with code and data that are never freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_runtime_main(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { start(argc, argv, model, None) }
}

/// `main` of compiled programs whose model takes sounds.
///
/// # Safety
/// As [`kiln_runtime_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_listener_main(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor) -> c_int {
    crate::audio::compressed::install();
    // SAFETY: the caller's promise.
    unsafe { start(argc, argv, model, Some(&sounds::SOUNDS)) }
}

/// `main` of every compiled program that takes texts: what others need nothing of is reached from here alone.
///
/// # Safety
/// As [`kiln_runtime_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_text_main(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { start(argc, argv, model, Some(&text::TEXTS)) }
}

/// The same of those whose texts a `tokenizer.json` cuts.
///
/// # Safety
/// As [`kiln_runtime_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_tokenizer_main(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor) -> c_int {
    crate::text::foreign::install();
    // SAFETY: the caller's promise.
    unsafe { kiln_text_main(argc, argv, model) }
}

/// `main` of compiled programs that write texts.
///
/// # Safety
/// As [`kiln_runtime_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_writer_main(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor) -> c_int {
    occupy_standard_streams();
    // SAFETY: the caller's promise.
    let mut arguments = unsafe { arguments(argc, argv) }.into_iter();
    let program = arguments.next().unwrap_or_else(|| OsString::from("write"));
    // SAFETY: the caller's promise.
    unsafe { write::run(&program, arguments, &*model, &mut io::stdout().lock(), &mut io::stderr().lock()) }
}

/// The same of those whose texts a `tokenizer.json` cuts.
///
/// # Safety
/// As [`kiln_runtime_main`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kiln_tokenizer_writer_main(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor) -> c_int {
    crate::text::foreign::install();
    // SAFETY: the caller's promise.
    unsafe { kiln_writer_main(argc, argv, model) }
}

/// What every `main` does; programs carry what is `special` only where theirs names it.
///
/// # Safety
/// As [`kiln_runtime_main`].
unsafe fn start(argc: c_int, argv: *const *const c_char, model: *const ModelDescriptor, special: Option<&Special>) -> c_int {
    occupy_standard_streams();
    // SAFETY: the caller's promise.
    let mut arguments = unsafe { arguments(argc, argv) }.into_iter();
    let program = arguments.next().unwrap_or_else(|| OsString::from("model"));
    // SAFETY: the caller's promise.
    unsafe { run(&program, arguments, &*model, special, &mut io::stdout().lock(), &mut io::stderr().lock()) }
}

/// The arguments of C's `main`.
///
/// # Safety
/// `argv` holds `argc` C strings.
#[cfg(unix)]
pub(crate) unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    use std::{ffi::CStr, os::unix::ffi::OsStrExt};
    // SAFETY: the caller's promise.
    let argument = |index| OsStr::from_bytes(unsafe { CStr::from_ptr(*argv.add(index)) }.to_bytes()).to_owned();
    (0..usize::try_from(argc).unwrap_or(0)).map(argument).collect()
}

/// The arguments as the system keeps them: those of C's `main` have lost what is not in the code page.
#[cfg(not(unix))]
unsafe fn arguments(_argc: c_int, _argv: *const *const c_char) -> Vec<OsString> {
    std::env::args_os().collect()
}

/// Gives a closed standard stream to `/dev/null`, lest the next opened file take its number and get our messages.
#[cfg(unix)]
pub(crate) fn occupy_standard_streams() {
    use std::os::fd::AsRawFd;
    while let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        if null.as_raw_fd() > 2 {
            break;
        }
        std::mem::forget(null);
    }
}

/// Elsewhere a closed stream's handle is not given to the next file.
#[cfg(not(unix))]
pub(crate) fn occupy_standard_streams() {}

/// Runs the program with these arguments and streams, and gives its exit status; `special` is what its model takes beside arrays and pictures.
///
/// # Safety
/// As [`kiln_runtime_main`].
pub unsafe fn run(
    program: &OsStr,
    arguments: impl IntoIterator<Item = OsString>,
    model: &ModelDescriptor,
    special: Option<&Special>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> c_int {
    let program = program.to_string_lossy();
    // SAFETY: the caller's promise.
    let execute = |options: Options| unsafe { execute(&program, &options, model, special, out) };
    let outcome = Options::parse(arguments).map_err(Failure::Usage).and_then(execute);
    finish(&program, outcome, out, err)
}

/// Says how a program ended, and gives its exit status.
pub(crate) fn finish(program: &str, outcome: Result<(), Failure>, out: &mut dyn Write, err: &mut dyn Write) -> c_int {
    let (code, message) = match outcome.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => return 0,
        Err(Failure::Usage(text)) => (2, format!("error: {text}\n  help: `{program} --help` says what is possible")),
        Err(Failure::Error(error)) => (1, error.to_string()),
        Err(Failure::Interrupted(signal, left)) => (exit_status(signal), left.to_string()),
    };
    // If nobody can read the message, the exit status must do.
    let _ = writeln!(err, "{message}");
    code
}

unsafe fn execute(
    program: &str,
    options: &Options,
    descriptor: &ModelDescriptor,
    special: Option<&Special>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if options.help || options.version {
        // SAFETY: the caller's promise.
        let signature = unsafe { read_signature(descriptor)? };
        let text = match options.help {
            true => {
                let files = match special {
                    Some(special) => (special.help)(program, &signature),
                    None if image_input(&signature).is_some() => pictures::help(program),
                    None => String::new(),
                };
                help(program, &signature, &files)
            }
            false => {
                format!("{}, compiled by {} from a model with SHA-256 {}\n", signature.name, signature.compiler, signature.model_sha256)
            }
        };
        return Ok(out.write_all(text.as_bytes())?);
    }
    // SAFETY: the caller's promise.
    let model = unsafe { Model::load(descriptor, options.weights.as_deref())? };
    let signature = model.signature();
    if options.verify {
        model.verify_weights()?;
        if !options.json {
            writeln!(out, "weights: {} bytes, digest as compiled", signature.weights.bytes)?;
        }
    }
    let threads = options.threads.unwrap_or(usize::MAX).min(default_workers());
    let given = inputs::are_given(options);
    if given && !options.pictures.is_empty() {
        let what = if signature.text.is_some() { "texts" } else { "pictures" };
        return Err(Failure::Usage(format!("give either {what} or inputs, not both")));
    }
    let made_up = options.bench && !given && options.pictures.is_empty();
    if !options.dims.is_empty() && !made_up {
        return Err(Failure::Usage("--dim sizes made-up inputs: it goes with --bench and no inputs".to_owned()));
    }
    let pool = ThreadPool::new(threads);
    if options.bench {
        let inputs = match (made_up, options.pictures.is_empty()) {
            (true, _) => inputs::make_up(options, signature)?,
            (false, true) => inputs::read(options, signature)?,
            (false, false) => match special {
                Some(special) => (special.read_first)(&options.pictures, signature)?,
                None => pictures::read_first(&options.pictures, signature)?,
            },
        };
        return time(options, &model, &pool, &inputs, out);
    }
    if options.verify && !given && options.pictures.is_empty() {
        return Ok(());
    }
    answer(options, &mut Compiled::new(&model, &pool), special, out)
}

/// Runs once on what the options name, arrays, pictures or what is `special`, and prints and writes what comes out.
///
/// Errors: usage when no inputs are given; inputs that cannot be read or do not fit; what fails while computing or writing.
pub fn answer(options: &Options, network: &mut dyn Network, special: Option<&Special>, out: &mut dyn Write) -> Result<(), Failure> {
    let labels = match &options.labels {
        Some(path) => Some(read_labels(path)?),
        None => network.signature().labels.clone(),
    };
    if let Some(special) = special.filter(|special| (special.is_meant)(options, network.signature())) {
        return (special.answer)(options, network, labels.as_deref(), out);
    }
    if options.stream {
        return Err(Failure::Usage("--stream is for models that take sounds".to_owned()));
    }
    if !options.pictures.is_empty() {
        return pictures::classify(options, network, labels.as_deref(), out);
    }
    let signature = network.signature();
    if !inputs::are_given(options) && !signature.inputs.is_empty() {
        let inputs: Vec<String> = signature.inputs.iter().map(|input| format!("\n  {input}")).collect();
        return Err(Failure::Usage(format!("no inputs given; the model takes{}", inputs.concat())));
    }
    predict(options, network, labels.as_deref(), out)
}

/// Runs once on arrays.
fn predict(options: &Options, network: &mut dyn Network, labels: Option<&[String]>, out: &mut dyn Write) -> Result<(), Failure> {
    let inputs = inputs::read(options, network.signature())?;
    network.prepare(&inputs)?;
    let begin = Instant::now();
    network.run(&inputs)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let (signature, outputs) = (network.signature(), network.outputs());
    if let Some(path) = &options.output {
        write_outputs(path, signature, outputs)?;
    }
    let ranking = rank(outputs, labels, options.top.unwrap_or(5));
    if options.json {
        #[derive(Serialize)]
        struct Answer {
            outputs: Vec<Summary>,
            top: Option<Vec<Vec<RankedClass>>>,
            ms: f64,
        }
        let outputs = summarise(signature, outputs);
        return print_json(out, &Answer { outputs, top: ranking.map(|ranking| ranking.rows), ms });
    }
    match ranking {
        Some(ranking) => {
            let name = &signature.outputs[ranking.output].name;
            for (row, classes) in ranking.rows.iter().take(MAX_ROWS_PRINTED).enumerate() {
                writeln!(out, "{name}[{row}]")?;
                for class in classes {
                    writeln!(out, "  {:<24} {:>10}", class.name(), class.confidence_text(ranking.is_distribution))?;
                }
            }
            if ranking.rows.len() > MAX_ROWS_PRINTED {
                writeln!(out, "and {} more rows", ranking.rows.len() - MAX_ROWS_PRINTED)?;
            }
        }
        None => {
            for summary in summarise(signature, outputs) {
                writeln!(out, "{}", summary.text())?;
            }
        }
    }
    Ok(writeln!(out, "{ms:.3} ms")?)
}

/// Times repeated runs.
fn time(options: &Options, model: &Model, pool: &ThreadPool, inputs: &[Array], out: &mut dyn Write) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Answer {
        #[serde(flatten)]
        measured: Measurement,
        threads: usize,
        arena_bytes: i64,
        weight_bytes: u64,
        gflops: Option<f64>,
    }
    let mut session = model.session(&model.solve_symbols(inputs)?, pool)?;
    let limits = Limits { runs: options.runs.unwrap_or(1000), seconds: options.seconds.unwrap_or(3.0) };
    let measured = measure(limits, || session.run(inputs))?;
    if let Some(path) = &options.output {
        write_outputs(path, model.signature(), session.outputs())?;
    }
    let flops = match model.signature().flops {
        Some(Extent::Fixed(flops)) => Some(flops as f64),
        Some(Extent::Expression(_)) | None => None,
    };
    let answer = Answer {
        measured,
        threads: pool.workers(),
        arena_bytes: session.arena_bytes(),
        weight_bytes: model.signature().weights.bytes,
        gflops: flops.map(|flops| flops / measured.median_us / 1e3),
    };
    if options.json {
        return print_json(out, &answer);
    }
    let Measurement { median_us, min_us, max_us, runs } = measured;
    write!(out, "median {median_us:.1} µs, min {min_us:.1} µs, max {max_us:.1} µs over {runs} runs, {} threads", answer.threads)?;
    if let Some(gflops) = answer.gflops {
        write!(out, ", {gflops:.1} GFLOP/s")?;
    }
    Ok(writeln!(out)?)
}

fn write_outputs(path: &Path, signature: &Signature, outputs: &[Array]) -> Result<(), Diagnostic> {
    write_npz(path, signature.outputs.iter().map(|output| output.name.as_str()).zip(outputs))
}

fn print_json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    Ok(writeln!(out, "{text}")?)
}

/// Names of classes, one a line. Errors: `file`.
pub fn read_labels(path: &Path) -> Result<Vec<String>, Diagnostic> {
    let text = std::fs::read(path).map_err(|error| file_error("read", path, &error))?;
    Ok(String::from_utf8_lossy(&text).lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests;
