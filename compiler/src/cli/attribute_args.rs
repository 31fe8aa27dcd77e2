//! What can be asked of `kiln attribute`.

use super::args::{DataPart, InputArgs, ModelArgs};
use super::rewrite_args::RewriteArgs;
use clap::{Args as ClapArgs, ValueEnum};
use kiln::attribution::{Baseline, Method};
use std::path::PathBuf;

/// How parts of an input are weighed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "snake_case")]
pub enum AttributionMethod {
    /// Gradients along the way from the baseline: they add up to the difference of the scores
    IntegratedGradients,
    /// The gradient times the input
    GradientXInput,
    /// Where a layer of convolutions finds what speaks for the class
    GradCam,
    /// What the score loses when a window is covered by the baseline
    Occlusion,
    /// Where attention looks, through all layers
    Attention,
}

impl AttributionMethod {
    /// The compiler's word for it.
    pub fn method(self) -> Method {
        match self {
            AttributionMethod::IntegratedGradients => Method::IntegratedGradients,
            AttributionMethod::GradientXInput => Method::GradientXInput,
            AttributionMethod::GradCam => Method::GradCam,
            AttributionMethod::Occlusion => Method::Occlusion,
            AttributionMethod::Attention => Method::Attention,
        }
    }
}

/// Show which parts of an input a prediction comes from
///
/// For each sample the score of a class is attributed to the parts of the input: to pixels, tokens, time steps or features. Gradients are
/// compiled once and run on as many points as a method takes. Tokens are attributed to through their embedding.
///
/// The directory gets attributions.html to look at, attributions.npz with the numbers, and 0.png, 1.png … of the samples: pictures and
/// spectrograms as they are, their attributions and both; heads of attention, a row for each layer; of anything else a strip of its parts.
///
/// Any model that Kiln reads will do: model files with --parameters, ONNX, Keras. Compiled programs have no gradients left. What a method
/// needs and a network lacks is told by name: grad_cam needs convolutions, attention an attention, the gradients a smooth way from the
/// input to the score.
///
/// Examples:
///
///   kiln attribute digits.onnx seven.png --out why/
///   kiln attribute net.toml --parameters trained/model.safetensors --data data/ --samples 0,3,7-9 --out why/
///   kiln attribute net.toml --data data/ --parameters trained/model.safetensors --method grad_cam --out why/
///   kiln attribute banking.toml --parameters trained/model.safetensors "my card is lost" --class lost_card --out why/
#[derive(ClapArgs, Debug)]
#[command(verbatim_doc_comment)]
pub struct AttributeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub rewrites: RewriteArgs,
    /// Pictures or sounds to explain, or texts for a network that takes texts
    #[arg(value_name = "FILE|TEXT")]
    pub things: Vec<PathBuf>,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Data whose samples are explained: what `kiln train --help` lists
    #[arg(long, value_name = "PLACE")]
    pub data: Option<PathBuf>,
    /// The column of a table, or of a list of files, that has the labels, in place of the last one, or of `label`
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub label: Option<String>,
    /// Leave out at most N rows or files that cannot be used
    #[arg(long, value_name = "N", default_value_t = 0, requires = "data")]
    pub skip_bad: usize,
    /// The part of the data, else what is for tests, else for validation, else all
    #[arg(long, value_enum)]
    pub part: Option<DataPart>,
    /// Which samples, by their numbers: 0,3,7-9 [default: the first 16]
    #[arg(long, value_name = "LIST")]
    pub samples: Option<String>,
    /// How parts are weighed
    #[arg(long, value_enum, default_value_t = AttributionMethod::IntegratedGradients)]
    pub method: AttributionMethod,
    /// The class whose score is explained, by name or number [default: the one that scores highest]
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// What stands for an input that says nothing: a number for each element, or `mean` for the mean of each sample; of tokens, a number
    /// for each element of their embedding; of sounds, for each of their samples (0 is silence)
    #[arg(long, value_name = "BASELINE", default_value = "0", allow_negative_numbers = true, value_parser = baseline)]
    pub baseline: Baseline,
    /// Gradients between baseline and input, for integrated gradients: half of them where the score changes most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Side of the windows that occlusion covers: pixels, time steps, tokens or features [default: 4 of pictures and spectrograms, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub window: Option<u32>,
    /// From one window to the next [default: the window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub stride: Option<u32>,
    /// Part of the name of the layer that grad_cam looks at [default: the last convolution]
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// The input that is attributed to, where there are several
    #[arg(long, value_name = "INPUT")]
    pub of: Option<String>,
    /// The output whose score is explained [default: the first]
    #[arg(long, value_name = "OUTPUT")]
    pub output: Option<String>,
    /// The directory for what comes out
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Threads at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

fn baseline(text: &str) -> Result<Baseline, String> {
    if text == "mean" {
        return Ok(Baseline::Mean);
    }
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.map(Baseline::Number).ok_or_else(|| format!("expected a number or `mean`, got `{text}`"))
}
