//! Masks, which say that places of a sequence do not count. They are followed so far that a model in which one would change a result is
//! refused, rather than computed without it.

use super::super::model::tree::Mistake;
use super::call::Call;
use super::config::Object;
use super::layer::Import;
use kiln_ir::Value;

/// Layers that compute otherwise where a mask says so.
const READERS: &[&str] = &[
    "SimpleRNN",
    "LSTM",
    "GRU",
    "RNN",
    "Bidirectional",
    "TimeDistributed",
    "MultiHeadAttention",
    "Attention",
    "AdditiveAttention",
    "GlobalAveragePooling1D",
    "Softmax",
];

/// Layers whose results have no mask whatever comes in.
const ENDS: &[&str] = &["Flatten", "Reshape", "GlobalMaxPooling1D", "Conv1D", "MaxPooling1D", "AveragePooling1D", "RepeatVector"];

fn masked<'i>(import: &'i Import, call: &Call) -> Option<&'i String> {
    let named = call.named.iter().flat_map(|(_, argument)| argument.values());
    call.values().into_iter().chain(named).find_map(|value| import.masked.get(&value))
}

/// Errors: the layer would read a mask.
pub fn refuse(import: &Import, class: &str, call: &Call) -> Result<(), Mistake> {
    match masked(import, call).filter(|_| READERS.contains(&class)) {
        None => Ok(()),
        Some(source) => {
            let mistake = Mistake::new(format!("it reads the mask that `{source}` makes (`mask_zero`), and masks are not supported"));
            Err(mistake.help("make the model with mask_zero=False"))
        }
    }
}

/// Notes which results have masks.
pub fn follow(import: &mut Import, object: &Object, makes: bool, call: &Call, results: &[Value]) {
    let source = if makes { Some(object.name().to_string()) } else { masked(import, call).cloned() };
    if let Some(source) = source.filter(|_| !ENDS.contains(&object.class)) {
        results.iter().for_each(|value| drop(import.masked.insert(*value, source.clone())));
    }
}
