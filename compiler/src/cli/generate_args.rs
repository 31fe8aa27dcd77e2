//! What can be asked of `kiln generate`.

use super::args::{Backend, ModelArgs};
use super::rewrite_args::RewriteArgs;
use clap::Args as ClapArgs;

/// Write what follows a text, token by token, by a network that scores the next token
///
/// The function that writes is compiled first. It takes the tokens that are new and remembers keys and values of those before them,
/// so a token takes one step, however long the text is. `kiln compile` makes a program of it, with the same options.
///
/// Examples:
///
///   kiln generate writer.toml --parameters trained/model.safetensors "Once upon a time"
///   kiln generate writer.toml --parameters trained/model.safetensors --greedy --tokens 50 < prompts.txt
///   kiln generate writer.toml --parameters trained/model.safetensors "Once" --temperature 0.8 --top-p 0.9 --seed 7
///   kiln generate writer.toml --parameters trained/model.safetensors "Once" --beams 4 --json
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    /// Texts to go on with, one after the other; without any, the lines of standard input
    #[arg(value_name = "PROMPT")]
    pub prompts: Vec<String>,
    /// Another way to name one
    #[arg(short, long = "prompt", value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Tokens to write
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200)]
    pub tokens: usize,
    /// Divide scores by it: below 1 bolder choices are rarer, 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f64,
    /// Take the likeliest token each time
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "beams"])]
    pub greedy: bool,
    /// Choose among the K likeliest tokens
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that have the probability P together
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Search for the likeliest text, keeping N at a time, in place of choosing by chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub beams: usize,
    /// What choices depend on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// End behind this text
    #[arg(long, value_name = "TEXT")]
    pub stop: Option<String>,
    /// Remember nothing, and compute all tokens anew for each one: slow, and the same tokens
    #[arg(long)]
    pub no_cache: bool,
    /// Tell on standard error how long steps took
    #[arg(long)]
    pub timing: bool,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What computes
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}
