//! What can be asked of the compiler.

use super::attribute_args::AttributeArgs;
use super::generate_args::GenerateArgs;
use super::rewrite_args::RewriteArgs;
use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use kiln::backend::cpu::target::CpuLevel;
use kiln::backend::ptx::generation::Generation;
use kiln::pipeline::Config;
use kiln::schedule::rematerialise::MemoryBudget;
use std::path::PathBuf;

/// Compiles neural networks to small native programs.
///
/// A first session:
///
///   kiln inspect model.onnx                     what goes in, what comes out, what it costs
///   kiln run model.onnx --input picture.png     run it once, here
///   kiln compile model.onnx -o model            make an executable that needs nothing else
///   ./model picture.png
#[derive(Parser, Debug)]
#[command(name = "kiln", version, verbatim_doc_comment, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    Compile(CompileArgs),
    Run(RunArgs),
    Generate(GenerateArgs),
    Train(TrainArgs),
    Eval(EvalArgs),
    Predict(PredictArgs),
    Attribute(AttributeArgs),
    Export(ExportArgs),
    Bench(BenchArgs),
    Test(TestArgs),
    Inspect(InspectArgs),
    Explain(ExplainArgs),
    Check(CheckArgs),
    Schema(SchemaArgs),
    Devices(DevicesArgs),
    Calibrate(CalibrateArgs),
}

/// Measure what this machine can do at best: operations, bytes from caches and memory, and starting work on all threads
///
/// `kiln bench --breakdown` compares kernels with it, and measures by itself where nothing is kept. It takes about a second, in which the
/// machine should do nothing else.
#[derive(ClapArgs, Debug)]
pub struct CalibrateArgs {
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// List what can compute here: the CPU, NVIDIA GPUs for --backend ptx, and the assembler of their machine code
///
/// Examples:
///
///   kiln devices
///   kiln devices --json
///
/// The assembler is NVIDIA's ptxas: the one that KILN_PTXAS names, else that of CUDA_HOME, CUDA_PATH
/// or PATH. --backend ptx loads the machine code that it makes, and keeps it in the user's directory
/// of caches. Where there is none, or KILN_PTXAS is empty, the driver assembles the kernels itself.
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct DevicesArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Print the JSON schema of model files, by which editors complete and check them
///
/// Examples:
///
///   kiln schema > kiln.schema.json          and in net.toml, first line: #:schema ./kiln.schema.json
///   kiln schema --tuning > tune.schema.json
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct SchemaArgs {
    /// Of the files that --config names, with tables [train] and [fine_tune]
    #[arg(long)]
    pub tuning: bool,
}

/// How a model is read.
#[derive(ClapArgs, Clone, Debug)]
pub struct ModelArgs {
    /// The model: an .onnx file, a .keras or .h5 file of Keras or its config in .json, or a .toml or .json file of layers
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Fix a size that the model leaves open (may be repeated)
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = dim)]
    pub dims: Vec<(String, i64)>,
    /// Parameters as training leaves them, in place of those that the seed or the file of the network gives
    #[arg(long, value_name = "FILE.safetensors")]
    pub parameters: Option<PathBuf>,
    /// How the network is trained on: a file with tables [train] and [fine_tune], as MODELS.md describes them
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// How much memory a step of training may take.
#[derive(ClapArgs, Clone, Debug)]
pub struct MemoryArgs {
    /// Let the intermediate values of a step take at most so much memory (512MB, 1.5GiB), at the batch size of training: what does not
    /// fit is computed again in the backward pass, to the same bits
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<i64>,
}

impl MemoryArgs {
    /// The configuration with this budget, for steps on so many threads.
    pub fn within(&self, config: Config, workers: usize) -> Config {
        Config { memory: self.memory.map(|bytes| MemoryBudget { bytes, workers }), ..config }
    }
}

/// Compile a model to an executable, an object, a library, or a readable stage on the way
///
/// Examples:
///
///   kiln compile digits.onnx -o digits                      an executable: ./digits picture.png
///   kiln compile digits.onnx -o digits.o --emit obj         an object file with a C interface and its header digits.h
///   kiln compile bert.onnx -o bert --dim batch=1            with one size fixed
///   kiln compile bert.onnx -o bert --weights external       weights in bert.weights beside it
///   kiln compile net.onnx -o - --emit graph --after fold_constants
///   kiln compile net.toml -o train_net --emit trainer       a program that trains: ./train_net --data data --out trained
///   kiln compile net.onnx --config tune.toml -o tune --emit trainer    one that begins with the weights of the file
///   kiln compile writer.toml --parameters trained/model.safetensors -o write    a program that writes: ./write --prompt "Once"
///   kiln compile net.toml -o step.o --emit obj --function train-step
///   kiln compile net.onnx -o net.rs --emit rust             a Rust module with typed methods, and libnet.a beside it
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct CompileArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Where to write it; `-` is standard output (for text)
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = Emit::Exe)]
    pub emit: Emit,
    /// Which function of a model file; those of training need its [train] table [default: write for executables of networks that write,
    /// else predict]
    #[arg(long, value_enum)]
    pub function: Option<Function>,
    /// Print the graph as this pass leaves it (with --emit graph)
    #[arg(long, value_name = "PASS")]
    pub after: Option<String>,
    /// The CPU to compile for
    #[arg(long, value_enum, default_value_t = Cpu::Native)]
    pub cpu: Cpu,
    /// Where the weights go
    #[arg(long, value_enum, default_value_t = Weights::Embed)]
    pub weights: Weights,
    /// What kernels of --emit ptx and cubin are for: cuda, which every GPU since sm_80 runs as PTX, or one generation
    #[arg(long, value_name = "cuda[:sm_XX]", value_parser = cuda_target)]
    pub target: Option<CudaTarget>,
}

/// GPUs that code is for: one generation of them, or all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CudaTarget(pub Option<Generation>);

fn cuda_target(text: &str) -> Result<CudaTarget, String> {
    match text.strip_prefix("cuda") {
        Some("") => Ok(CudaTarget(None)),
        Some(rest) if rest.starts_with(':') => Ok(CudaTarget(Some(rest[1..].parse()?))),
        _ => Err("targets are cuda and cuda:sm_XX, as cuda:sm_90a; CPUs are named by --cpu".to_string()),
    }
}

/// What `compile` writes.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emit {
    /// Executable with its own command line
    Exe,
    /// Executable that trains the network by the [train] table of its model file
    Trainer,
    /// Object file and C header
    Obj,
    /// Static library and C header
    Lib,
    /// Shared library and C header
    Shared,
    /// Static library and a Rust module with typed methods
    Rust,
    /// The graph as text
    Graph,
    /// The kernels as text
    Kernels,
    /// Cranelift's intermediate form
    Clif,
    /// Machine instructions
    Asm,
    /// The kernels as PTX, for NVIDIA GPUs
    Ptx,
    /// The kernels as machine code of the GPUs that --target names, by NVIDIA's assembler (ptxas; `kiln devices` says which)
    Cubin,
    /// What each of them computes and moves, as tab-separated values
    PtxCosts,
}

/// A function of a network.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// From inputs to outputs
    Predict,
    /// From new tokens of a text to scores of the next one; the last inputs and outputs are states, what is remembered of the text
    Write,
    /// From new samples of a sound to outputs for new time steps; the last inputs and outputs are what is remembered of the sound
    Hear,
    /// One step of training, in which the last inputs and outputs are states
    TrainStep,
    /// From inputs, targets and parameters to the loss and outputs
    Evaluate,
}

/// The CPU that code is for.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cpu {
    /// This machine's
    Native,
    /// Every CPU of this architecture
    Baseline,
    /// x86-64 with SSE4.2
    #[value(name = "x86-64-v2")]
    X86V2,
    /// x86-64 with AVX2 and FMA
    #[value(name = "x86-64-v3")]
    X86V3,
    /// x86-64 with AVX-512
    #[value(name = "x86-64-v4")]
    X86V4,
}

impl Cpu {
    /// The level of that name.
    pub fn level(self) -> CpuLevel {
        match self {
            Cpu::Native => CpuLevel::Native,
            Cpu::Baseline => CpuLevel::Baseline,
            Cpu::X86V2 => CpuLevel::X86V2,
            Cpu::X86V3 => CpuLevel::X86V3,
            Cpu::X86V4 => CpuLevel::X86V4,
        }
    }
}

/// Where weights go.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weights {
    /// Into the artefact
    Embed,
    /// Into a file beside it
    External,
}

/// What computes.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Compiled code
    Cpu,
    /// The reference interpreter: slow, and what everything else is compared with
    Reference,
    /// Kernels on the first NVIDIA GPU; `kiln devices` lists GPUs, and what makes their machine code
    Ptx,
}

impl Backend {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Reference => "reference",
            Backend::Ptx => "ptx",
        }
    }
}

/// Where inputs come from.
#[derive(ClapArgs, Clone, Debug)]
pub struct InputArgs {
    /// Inputs by name (arr_0, arr_1 …: by order); may be repeated
    #[arg(long = "inputs", value_name = "FILE.npz")]
    pub inputs: Vec<PathBuf>,
    /// One input, from a .npy, .png or .jpg file (the name may be left out when there is one input); may be repeated
    #[arg(short, long = "input", value_name = "NAME=FILE", value_parser = named_file)]
    pub input: Vec<(String, PathBuf)>,
}

/// Run a model once, here
///
/// Examples:
///
///   kiln run digits.onnx seven.png three.png --labels names.txt
///   kiln run banking.toml --parameters trained/model.safetensors "my card has not arrived"
///   kiln run bert.onnx --inputs in.npz --output out.npz
///   kiln run net.onnx --input x=x.npy --input mask=mask.npy --backend reference
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    /// Pictures to classify, sounds to listen to, or texts to answer, one answer each; a model of texts without any reads lines from
    /// standard input
    #[arg(value_name = "FILE|TEXT")]
    pub pictures: Vec<PathBuf>,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Write the outputs under their names
    #[arg(short, long, value_name = "FILE.npz")]
    pub output: Option<PathBuf>,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Print the K likeliest classes
    #[arg(long, value_name = "K")]
    pub top: Option<usize>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Train a network that a model file describes, by its [train] table, or one of Keras, as it was compiled, or any by --config
///
/// The step of training, forward, backward and update, is compiled first. Data are
///
///   train.npz, train.csv or train.tsv       and validation and test beside it, or one such file
///   train.conll, train.txt                  words with labels, running text, for networks whose input takes texts
///   train/x.npy, train/y.npy                or x_train.npy, y_train.npy, or x.npy, y.npy
///   train-images-idx3-ubyte …               the files of MNIST and its like, .gz too
///   train/CLASS/*.png, .jpg, .wav, .mp3, …  a directory for each class
///   train/list.csv                          lines `file,label` that name such files, or `file,text` of what is said in them
///
/// A table has a row for each sample, names of columns in the first one, and the label in the last column or in --label. Large arrays
/// stay in their files and are read batch by batch.
///
/// The output directory gets model.safetensors, report.html, history.csv and history.jsonl, an event file (tensorboard --logdir DIR),
/// checkpoint.safetensors, and labels.txt where the data call classes by names. From the checkpoint --resume goes on to the
/// very bits of a training that was never interrupted. Results do not depend on the number of threads. Ctrl-C and SIGTERM end it after
/// the present step, with a checkpoint, and with exit code 130 or 143; a second one ends it at once.
///
/// Examples:
///
///   kiln train net.toml --data data/ --out trained/
///   kiln train net.toml --data data/ --out trained/ --epochs 20 --seed 7 --resume
///   kiln train net.toml --data data/ --out trained/ --batch 256 --memory 512MB
///   kiln train net.keras --data data/ --out trained/               from the weights in the file
///   kiln train net.onnx --config tune.toml --data data/ --out tuned/    from the weights in the file, by [train] and [fine_tune]
///   kiln compile net.toml --parameters trained/model.safetensors -o net
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct TrainArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// The directory for what comes out
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Passes over the data
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Samples in a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// What first values, the order of samples and dropout depend on
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Size of the steps
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub learning_rate: Option<f64>,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Go on from the checkpoint in the output directory
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Begin anew although the output directory holds a checkpoint
    #[arg(long)]
    pub overwrite: bool,
    /// Seconds between checkpoints within an epoch
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = seconds)]
    pub checkpoint_seconds: f64,
    /// Tell each epoch as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Where data are, and how they are read.
#[derive(ClapArgs, Clone, Debug)]
pub struct DataArgs {
    /// A directory or a file with the data
    #[arg(long = "data", value_name = "PLACE")]
    pub place: PathBuf,
    /// The column of a table, or of a list of files, that has the labels, in place of the last one, or of `label`
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// Leave out at most N rows or files that cannot be used, telling each
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_bad: usize,
}

/// A part of the data.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataPart {
    /// What is learnt from
    Train,
    /// What decides when to stop: the data's own, else what is held back by the seed
    Validation,
    /// What the end is measured by
    Test,
    /// Every sample of data without parts
    All,
}

/// Measure a trained network: its loss and every metric of its [train] table
///
/// On the data for tests; where there are none, on those for validation, which are the samples that training held back, by the same
/// seed. What data may be, `kiln train --help` says.
///
/// Examples:
///
///   kiln eval net.toml --data data/ --parameters trained/model.safetensors
///   kiln eval net.toml --data new.csv --part all --parameters trained/model.safetensors --json
///   kiln eval net.toml --data data/ --parameters trained/model.safetensors --report wrong.html
///   kiln eval net.keras --data data/                               the weights in the file
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Measure on this part of the data
    #[arg(long, value_enum)]
    pub part: Option<DataPart>,
    /// Samples at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// The seed that the network was trained with, if it is not that of the model file
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write a page about it: which classes are confused, which samples are most wrong, what the network is made of
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Write what a model says of each sample of data
///
/// A row for each sample: its number, or its file; for scores of classes the label and how likely it is; then the outputs as they are.
/// Data need no labels here: a table may lack that column, and files may lie in one directory. Names of classes are the network's own,
/// or those in --labels, or in labels.txt beside the parameters.
///
/// Examples:
///
///   kiln predict net.toml --data new.csv --parameters trained/model.safetensors --out predictions.csv
///   kiln predict model.onnx --data pictures/ --out predictions.npz
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct PredictArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Predict this part of the data, else what is for tests, else for validation, else all
    #[arg(long, value_enum)]
    pub part: Option<DataPart>,
    /// Where the predictions go: a .csv, .tsv or .npz file, or labels of words in a .conll file
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Samples at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Write a network as an ONNX file, with its weights, for other programs
///
/// Operators that ONNX has are written as such, others as what they are made of; one that has no spelling is told by name. Sizes that
/// are open stay open.
///
/// Examples:
///
///   kiln export net.toml --parameters trained/model.safetensors -o net.onnx
///   kiln export net.keras -o net.onnx --dim batch=1
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct ExportArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where to write it
    #[arg(short, long, value_name = "FILE.onnx")]
    pub output: PathBuf,
}

/// Measure how fast a compiled model runs here
///
/// Inputs are made up unless some are given. Stops after N runs or S seconds, whichever comes first, after a warm-up.
///
/// Examples:
///
///   kiln bench resnet50.onnx --threads 1
///   kiln bench bert.onnx --dim batch=8 --inputs in.npz --seconds 10 --json
///   kiln bench net.toml --train-step --inputs batch.npz
///   kiln bench net.toml --train-step --inputs batch.npz --memory 512MB    what computing values again costs
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Timed runs at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub runs: u64,
    /// Seconds at most
    #[arg(long, value_name = "S", default_value_t = 3.0, allow_negative_numbers = true, value_parser = seconds)]
    pub seconds: f64,
    /// Time every kernel: microseconds, GFLOP/s, GB/s, longest first, and which part of its time its work takes at least here
    /// (products, or moving buffers once, at the rates of `kiln calibrate`)
    #[arg(long)]
    pub breakdown: bool,
    /// Time whole steps of training, forward, backward, update and loss, on a batch (--inputs) of a model file with a [train] table
    #[arg(long, requires = "inputs")]
    pub train_step: bool,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Run test cases: directories with model.onnx and test_data_set_*/input_*.pb, output_*.pb
///
/// A directory may also hold such directories. `tol.txt` in a case has its relative and absolute tolerance (else 1e-3 1e-7).
/// The last line is `N passed, N failed, N skipped`; a failure that was not expected, or an expected one that passes, is an error.
///
/// A file of expected failures has one case a line, then words that say when it fails (none: always), then the cause:
///
///   test_cumsum_1d              # sums are not implemented
///   test_range reference        # only with the reference interpreter
///   test_tile cpu/dynamic       # only compiled, and only with symbolic sizes
///
/// Words are cpu, reference, static, dynamic and no-fold; `/` joins words that must all hold.
///
/// Examples:
///
///   kiln test cases/node
///   kiln test cases/node/test_add cases/node/test_sub --dynamic --backend reference
///   kiln test cases --cpu x86-64-v3
///   kiln test cases --expect-failures expected.txt --json
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct TestArgs {
    /// Case directories, or directories that hold some
    #[arg(value_name = "DIR", required = true)]
    pub directories: Vec<PathBuf>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// The CPU to compile for, which must be able to run here
    #[arg(long, value_enum, default_value_t = Cpu::Native)]
    pub cpu: Cpu,
    /// Make every size of every input symbolic; the data say what it is
    #[arg(long)]
    pub dynamic: bool,
    /// Fold no constants, so that compiled code computes everything
    #[arg(long)]
    pub no_fold: bool,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    /// Cases that are known to fail
    #[arg(long, value_name = "FILE")]
    pub expect_failures: Option<PathBuf>,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Show a model: inputs, outputs, operators, parameters, work, memory and kernels
///
/// Examples:
///
///   kiln inspect model.onnx
///   kiln inspect model.onnx --dim batch=1 --json
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Show how a model is rewritten: which operators were recognised as a softmax, an attention, …, what is computed otherwise to be
/// faster, and by which rules
///
/// Examples:
///
///   kiln explain bert.onnx
///   kiln explain bert.onnx --kernels                        and which nodes each kernel computes
///   kiln explain bert.onnx --html bert.html                 as a page: before and after
///   kiln explain bert.onnx --node MatMul_53                 only what that node became part of
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    /// Part of a node's name
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Write a page that shows the graph before and after, side by side, and the rules that led to each kernel
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// List the kernels that are run, and the nodes that each comes from
    #[arg(long)]
    pub kernels: bool,
    /// As JSON: how searching ended, which graphs were considered, what their kernels should take, and how long the search took
    #[arg(long, conflicts_with_all = ["node", "html", "kernels"])]
    pub json: bool,
}

/// Compare compiled code with the reference interpreter or with given outputs, and find the first node that differs
///
/// Examples:
///
///   kiln check model.onnx                                     on made-up inputs
///   kiln check model.onnx --inputs in.npz --expect out.npz    with outputs of another program
///   kiln check model.onnx --dump-values values                and keep every value
///   kiln check model.onnx --bisect-rules                      which rewrite rule is to blame, if one is
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct CheckArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// What the outputs must be, by name; else the reference interpreter says
    #[arg(long, value_name = "FILE.npz")]
    pub expect: Option<PathBuf>,
    /// Relative tolerance
    #[arg(long, value_name = "R", default_value_t = 1e-3)]
    pub rtol: f64,
    /// Absolute tolerance [default: 1e-5, or 1e-4 of the largest expected value where that is more]
    #[arg(long, value_name = "A")]
    pub atol: Option<f64>,
    /// What is compared with the reference interpreter
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Where results differ, find the rewrite rule that first changes them, and where it was used
    #[arg(long, conflicts_with = "dump_values")]
    pub bisect_rules: bool,
    /// Write every intermediate value, compiled and reference, into this directory
    #[arg(long, value_name = "DIR")]
    pub dump_values: Option<PathBuf>,
    /// Answer with one JSON object
    #[arg(long, action = ArgAction::SetTrue)]
    pub json: bool,
}

fn dim(text: &str) -> Result<(String, i64), String> {
    let wrong = || format!("expected NAME=SIZE, got `{text}`");
    let (name, size) = text.split_once('=').ok_or_else(wrong)?;
    let size = size.parse().ok().filter(|size| *size >= 0).ok_or_else(wrong)?;
    Ok((name.to_string(), size))
}

/// A number of bytes, with a unit of SI or IEC.
fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || format!("expected a size such as 512MB, 1.5GiB or 1000000, got `{text}`");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => f64::from(1 << 10),
        "mib" => f64::from(1 << 20),
        "gib" => f64::from(1 << 30),
        "tib" => (1i64 << 40) as f64,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let bytes = number * unit;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as i64) } else { Err(wrong()) }
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').unwrap_or(("", text));
    Ok((name.to_string(), PathBuf::from(path)))
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s: &f64| *s >= 0.0).ok_or_else(|| format!("expected a number of seconds, got `{text}`"))
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0).ok_or_else(|| format!("expected a number above 0, got `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::CommandFactory;

    #[test]
    fn sizes_have_units() {
        let sizes = ["512MB", "1.5GiB", "1000000", "2 g", "0MB", "-1MB", "1XB", "MB", "1e30GB"].map(super::bytes);
        assert_eq!(sizes[..4], [Ok(512_000_000), Ok(1_610_612_736), Ok(1_000_000), Ok(2_000_000_000)]);
        assert!(sizes[4..].iter().all(Result::is_err), "{sizes:?}");
    }

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
