//! The signature of a compiled model.

use crate::kernel::{Body, BufferId, Program, Step};
use kiln_ir::artifact::{
    ABI_VERSION, AudioInput, CtcOutput, Extent, ImageInput, Scores, Signature, SymbolDecl, TensorDecl, TextInput, WeightsDecl,
};
use kiln_ir::{Diagnostic, Dim, Symbol};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What a signature says besides the program.
#[derive(Clone, Default, Debug)]
pub struct ModelFacts {
    /// Name of the model, fit for symbols.
    pub name: String,
    /// SHA-256 of the model file in hexadecimal, empty when there is none.
    pub model_sha256: String,
    /// Class names along the last axis of the first output.
    pub labels: Option<Vec<String>>,
    /// How pictures become an input.
    pub image: Option<ImageInput>,
    /// How sounds become an input.
    pub audio: Option<AudioInput>,
    /// How an output spells text.
    pub ctc: Option<CtcOutput>,
    /// How texts become an input.
    pub text: Option<TextInput>,
    /// See [`Signature::scores`].
    pub scores: Option<Scores>,
    /// See [`Signature::states`].
    pub states: usize,
    /// Sizes that symbols usually have: see [`Program::usual_sizes`].
    pub usual_sizes: BTreeMap<Symbol, i64>,
}

impl ModelFacts {
    /// Facts of a model with this metadata: `kiln.labels` has class names as a JSON list or one per line, `kiln.image` is an [`ImageInput`],
    /// `kiln.text` a [`TextInput`], `kiln.audio` an [`AudioInput`], `kiln.ctc` a [`CtcOutput`] as JSON, `kiln.scores` the [`Scores`] that
    /// the first output has.
    ///
    /// Errors: `metadata` when one of them is none.
    pub fn new(name: &str, model_sha256: &str, metadata: &BTreeMap<String, String>) -> Result<ModelFacts, Diagnostic> {
        let audio: Option<AudioInput> = read(metadata, "kiln.audio")?;
        if audio.as_ref().is_some_and(|audio| audio.sample_rate == 0) {
            return Err(Diagnostic::new("metadata", "metadata `kiln.audio` has 0 samples a second"));
        }
        Ok(ModelFacts {
            name: super::names::symbol_name(name),
            model_sha256: model_sha256.to_string(),
            labels: metadata.get("kiln.labels").map(|text| class_names(text)),
            states: 0,
            usual_sizes: BTreeMap::new(),
            image: read(metadata, "kiln.image")?,
            audio,
            ctc: read(metadata, "kiln.ctc")?,
            text: read(metadata, "kiln.text")?,
            scores: read(metadata, "kiln.scores")?,
        })
    }
}

impl ModelFacts {
    /// How texts become an input, as signatures have it.
    pub fn text_json(&self) -> Option<String> {
        self.text.as_ref().map(|text| serde_json::to_string(text).unwrap_or_else(|error| panic!("text input: {error}")))
    }
}

/// What metadata have under that key as JSON.
fn read<T: DeserializeOwned>(metadata: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, Diagnostic> {
    let value = metadata.get(key).map(|text| serde_json::from_str(text)).transpose();
    value.map_err(|error| Diagnostic::new("metadata", format!("metadata `{key}` is unreadable: {error}")))
}

fn class_names(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| text.lines().map(str::to_owned).collect())
}

/// The signature of a program compiled for these CPU features.
pub fn describe(program: &Program, facts: &ModelFacts, cpu: &[&str], weights: WeightsDecl) -> Signature {
    let tensors = |list: &[(String, BufferId)]| {
        let decl = |(name, id): &(String, BufferId)| {
            let buffer = program.buffer(*id);
            TensorDecl { name: name.clone(), dtype: buffer.dtype, shape: buffer.shape.iter().map(extent).collect() }
        };
        list.iter().map(decl).collect()
    };
    let symbol = |symbol: &kiln_ir::Symbol| {
        let range = program.symbols.of_symbol(symbol);
        SymbolDecl { name: symbol.name().to_string(), min: range.min, max: (range.max != i64::MAX).then_some(range.max) }
    };
    Signature {
        abi_version: ABI_VERSION,
        name: facts.name.clone(),
        compiler: concat!("kiln ", env!("CARGO_PKG_VERSION")).to_string(),
        model_sha256: facts.model_sha256.clone(),
        cpu: cpu.iter().map(ToString::to_string).collect(),
        symbols: program.symbol_order.iter().map(symbol).collect(),
        inputs: tensors(&program.inputs),
        outputs: tensors(&program.outputs),
        guards: program.guards.iter().map(ToString::to_string).collect(),
        nodes: program.checked_nodes.clone(),
        weights,
        data_dependent: false,
        flops: Some(extent(&flops(&program.steps))),
        labels: facts.labels.clone(),
        image: facts.image.clone(),
        audio: facts.audio.as_ref().map(|audio| serde_json::json!(audio).to_string()),
        ctc: facts.ctc.as_ref().map(|ctc| serde_json::json!(ctc).to_string()),
        text: facts.text_json(),
        scores: facts.scores,
        states: facts.states,
    }
}

fn extent(dim: &Dim) -> Extent {
    match dim.as_const() {
        Some(n) => Extent::Fixed(n),
        None => Extent::Expression(dim.to_string()),
    }
}

/// Floating-point operations of contractions, a multiply-add counted as two. Element-wise work is not counted.
pub fn flops(steps: &[Step]) -> Dim {
    let mut sum = Dim::ZERO;
    for step in steps {
        sum = sum
            + match step {
                Step::Loop { extent, body, .. } => flops(body) * extent,
                Step::Run(kernel) => match &kernel.body {
                    Body::Nest(_) => Dim::ZERO,
                    Body::Contract(_) => Dim::product(kernel.extents()) * Dim::from(2),
                    Body::Attention(a) => {
                        let size = |axes: &[crate::kernel::Axis]| Dim::product(axes.iter().map(|axis| &axis.extent));
                        size(&a.batch) * size(&a.rows) * size(&a.keys) * (size(&a.depth) + size(&a.columns)) * Dim::from(2)
                    }
                },
            };
    }
    sum
}
