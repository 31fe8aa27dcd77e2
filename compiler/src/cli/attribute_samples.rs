//! Samples that `kiln attribute` explains: pictures, sounds and texts of the command line, arrays, or data.

use super::args::DataPart;
use super::attribute_args::AttributeArgs;
use super::failure::Failure;
use super::run::input_options;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Extent, Signature};
use kiln_runtime::arrays::Array;
use kiln_runtime::audio::{audio_input, read as read_sound, to_inputs};
use kiln_runtime::pictures::{decode, image_input, to_input};
use kiln_runtime::program::inputs;
use kiln_runtime::text::{Tokeniser, text_input, to_array, width};
use kiln_runtime::training::data::{DataOptions, Wanted, open};
use kiln_runtime::training::parts::dataset_of;
use kiln_runtime::training::predict::slot;

/// Samples that are explained where the command line does not say how many.
const USUAL_SAMPLES: usize = 16;

/// A sample, and what it is called.
pub struct Sample {
    /// Its number, its file or its text.
    pub name: String,
    /// The inputs of the network, one row each.
    pub inputs: Vec<Array>,
    /// What its tokens are made of, where that is known.
    pub words: Option<Vec<String>>,
}

/// The samples that were asked for.
///
/// Errors: usage unless it is said in one way which; what reading reports.
pub fn samples(args: &AttributeArgs, signature: &Signature) -> Result<Vec<Sample>, Failure> {
    let options = input_options(&args.inputs);
    let given = [!args.things.is_empty(), inputs::are_given(&options), args.data.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Failure::Usage("name what to explain: pictures, sounds or texts, --inputs FILE.npz, or --data PLACE".to_string()));
    }
    if args.data.is_some() {
        return of_data(args, signature);
    }
    if args.things.is_empty() {
        return of_arrays(args, &inputs::read(&options, signature)?, signature);
    }
    let one = |at: usize| {
        let thing = &args.things[at];
        let (inputs, words) = of_thing(thing, signature)?;
        Ok(Sample { name: thing.to_string_lossy().into_owned(), inputs, words })
    };
    chosen(args, args.things.len())?.into_iter().map(one).collect()
}

fn of_data(args: &AttributeArgs, signature: &Signature) -> Result<Vec<Sample>, Failure> {
    let slots = signature.inputs.iter().map(slot).collect::<Result<Vec<_>, _>>()?;
    let place = args.data.clone().unwrap_or_default();
    let data = DataOptions { place, label: args.label.clone(), skip_bad: args.skip_bad };
    let text = text_input(signature)?;
    let wanted = Wanted::new(&slots, signature, &data).with_text(text.clone(), false);
    let splits = open(&wanted)?;
    let dataset = dataset_of(&splits, args.part.map(DataPart::name))?;
    let tokeniser = text.map(Tokeniser::new).transpose()?;
    let one = |at: usize| {
        let name = dataset.names.as_ref().map_or_else(|| format!("sample {at}"), |names| names[at].clone());
        let mut inputs = dataset.batch(&[at], vec![], None)?;
        let words = match &tokeniser {
            Some(tokeniser) => {
                inputs = without_padding(inputs, tokeniser, signature)?;
                Some(words_of(&inputs, tokeniser, signature)?)
            }
            None => None,
        };
        Ok(Sample { name, inputs, words })
    };
    chosen(args, dataset.len())?.into_iter().map(one).collect()
}

/// Rows of arrays; what has another number of rows than the most belongs to all samples.
fn of_arrays(args: &AttributeArgs, whole: &[Array], signature: &Signature) -> Result<Vec<Sample>, Failure> {
    let count = whole.iter().filter_map(|array| array.shape().first()).copied().max().unwrap_or(0);
    let row = |array: &Array, at: usize| -> Result<Array, Diagnostic> {
        if array.shape().first() != Some(&count) {
            return Array::from_bytes(array.dtype(), array.shape().to_vec(), array.bytes());
        }
        let width = array.bytes().len() / count;
        let shape = [&[1], &array.shape()[1..]].concat();
        Array::from_bytes(array.dtype(), shape, &array.bytes()[at * width..(at + 1) * width])
    };
    // A vocabulary that is not known yet says no words, and numbers do.
    let tokeniser = text_input(signature)?.and_then(|text| Tokeniser::new(text).ok());
    let one = |at: usize| {
        let inputs = whole.iter().map(|array| row(array, at)).collect::<Result<Vec<_>, _>>()?;
        let words = tokeniser.as_ref().map(|tokeniser| words_of(&inputs, tokeniser, signature)).transpose()?;
        Ok(Sample { name: format!("sample {at}"), inputs, words })
    };
    chosen(args, count)?.into_iter().map(one).collect()
}

/// A text where the network takes texts, else the file of a sound or of a picture.
fn of_thing(thing: &std::path::Path, signature: &Signature) -> Result<(Vec<Array>, Option<Vec<String>>), Failure> {
    let alone = |name: &str| match &signature.inputs[..] {
        [only] if only.name == name => Ok(()),
        _ => Err(Failure::Usage(format!("the network takes more than `{name}`; give all of it with --inputs FILE.npz or --data PLACE"))),
    };
    if let Some(text) = text_input(signature)? {
        alone(&text.input)?;
        let tokeniser = Tokeniser::new(text)?;
        let text = thing.to_string_lossy();
        let tokens = tokeniser.tokens(&text)?;
        let decl = &signature.inputs[0];
        let wide = if matches!(decl.shape.get(1), Some(Extent::Expression(_))) {
            tokens.len().max(1)
        } else {
            width(tokens.len(), decl, tokeniser.input())
        };
        let numbers = tokens.iter().map(|token| token.number).collect();
        let inputs = vec![to_array(&[numbers], wide, tokeniser.input().padding, decl.dtype)?];
        // The letters themselves say more than the vocabulary, which has only what it knows.
        let mut words = words_of(&inputs, &tokeniser, signature)?;
        for (word, token) in words.iter_mut().zip(&tokens) {
            if let Some(written) = text.get(token.place.clone()).filter(|written| !written.is_empty()) {
                *word = written.to_owned();
            }
        }
        return Ok((inputs, Some(words)));
    }
    if let Some(audio) = audio_input(signature) {
        return Ok((to_inputs(&read_sound(thing, &audio)?, &audio, signature)?, None));
    }
    let image = image_input(signature).ok_or_else(|| {
        let error = Diagnostic::new("picture_input", "the network does not say that it takes pictures, sounds or texts");
        error.help("give arrays with --inputs FILE.npz, or --data PLACE")
    })?;
    alone(&image.input)?;
    Ok((vec![to_input(&[decode(thing)?], &image, signature)?], None))
}

/// Which input takes tokens.
fn text_at(tokeniser: &Tokeniser, signature: &Signature) -> Option<usize> {
    signature.inputs.iter().position(|input| input.name == tokeniser.input().input)
}

/// The only input without what fills it up, where it takes texts of any length: nothing is said of what is not there.
fn without_padding(mut inputs: Vec<Array>, tokeniser: &Tokeniser, signature: &Signature) -> Result<Vec<Array>, Diagnostic> {
    let open = matches!(&signature.inputs[..], [only] if matches!(only.shape.get(1), Some(Extent::Expression(_))));
    if let (true, [1, _]) = (open, inputs[0].shape()) {
        let tokens: Vec<i64> = (0..inputs[0].len()).map(|at| inputs[0].get_f64(at) as i64).collect();
        let count = tokens.iter().rposition(|token| *token != tokeniser.input().padding).map_or(1, |last| last + 1);
        inputs[0] = to_array(&[tokens], count, tokeniser.input().padding, inputs[0].dtype())?;
    }
    Ok(inputs)
}

/// What each token of a text is called.
fn words_of(inputs: &[Array], tokeniser: &Tokeniser, signature: &Signature) -> Result<Vec<String>, Diagnostic> {
    let Some(at) = text_at(tokeniser, signature) else { return Ok(Vec::new()) };
    let tokens = (0..inputs[at].len()).map(|i| inputs[at].get_f64(i) as i64);
    let word = |token: i64| {
        if token == tokeniser.input().padding {
            return Ok("·".to_owned());
        }
        if Some(token) == tokeniser.input().unknown {
            return Ok("[unknown]".to_owned());
        }
        let text = tokeniser.text(&[token])?;
        Ok(if text.trim().is_empty() { format!("[{token}]") } else { text })
    };
    tokens.map(word).collect()
}

/// The numbers of the samples: those of --samples, else the first ones. Errors: usage for one that there is not.
fn chosen(args: &AttributeArgs, count: usize) -> Result<Vec<usize>, Failure> {
    if count == 0 {
        return Err(Failure::Usage("there is no sample to explain".to_string()));
    }
    let Some(text) = &args.samples else {
        // What is named one by one is all meant.
        return Ok((0..if args.things.is_empty() { count.min(USUAL_SAMPLES) } else { count }).collect());
    };
    let wrong = || Failure::Usage(format!("--samples {text}: expected numbers below {count}, as in 0,3,7-9"));
    let mut chosen = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (usize, usize) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first > last || last >= count {
            return Err(wrong());
        }
        chosen.extend(first..=last);
    }
    Ok(chosen)
}
