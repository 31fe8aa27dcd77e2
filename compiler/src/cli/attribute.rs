//! `kiln attribute`: which parts of an input a prediction comes from.

use super::args::{AttributeArgs, AttributionMethod, DataPart};
use super::engine::{describe, threads};
use super::failure::Failure;
use super::model::{self, Loaded, predict};
use super::run::input_options;
use kiln::attribution::explain::{Attribution, Explainer, Settings};
use kiln::attribution::function::Wanted as WantedFunction;
use kiln::attribution::heat::{Pixels, panels};
use kiln::attribution::page::{Entry, Looks, Page, drawn, parts_of};
use kiln::attribution::{Baseline, Method};
use kiln_ir::artifact::{ImageInput, Signature};
use kiln_ir::{DType, Diagnostic};
use kiln_runtime::arrays::Array;
use kiln_runtime::files::{file_error, write_whole};
use kiln_runtime::npz::write_npz;
use kiln_runtime::pictures::{decode, image_input, image_input_named, pixels_of, to_input};
use kiln_runtime::program::{inputs, read_labels};
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::data::{DataOptions, Wanted, open};
use kiln_runtime::training::parts::dataset_of;
use kiln_runtime::training::predict::slot;
use serde_json::json;
use std::io::Write;

/// Samples that are explained where the command line does not say how many.
const USUAL_SAMPLES: usize = 16;

/// Samples, and what they are called.
struct Samples {
    names: Vec<String>,
    /// For each sample the inputs of the network, one row each.
    inputs: Vec<Vec<Array>>,
}

/// Runs the command.
pub fn attribute(args: &AttributeArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = model::read(&args.model)?;
    let graph = predict(&loaded.module)?;
    let signature = describe(graph, &loaded.facts);
    let method = args.method.method();
    let samples = samples(args, &signature)?;
    let wanted = WantedFunction { method, input: args.of.as_deref(), output: args.output.as_deref(), layer: args.layer.as_deref() };
    let pool = ThreadPool::new(threads(args.threads));
    let explainer = Explainer::new(&loaded.module, &loaded.facts, &wanted, &args.rewrites.config(), pool)?;
    let input = explainer.explained.input;
    let declared = &signature.inputs[input];
    let image = image_input_named(&signature, &declared.name);
    let classes = classes(args, &loaded)?;
    let settings = Settings {
        target: args.target.as_deref().map(|target| class_named(target, classes.as_deref())).transpose()?,
        baseline: args.baseline,
        steps: args.steps as usize,
        window: args.window as usize,
        stride: args.stride.unwrap_or(args.window) as usize,
        layout: image.as_ref().map(|image| image.layout),
    };
    let progress = super::compile::Progress::start();
    let mut found: Vec<Attribution> = Vec::new();
    progress.say("explaining samples");
    for inputs in &samples.inputs {
        found.push(explainer.explain(inputs, &settings)?);
    }
    drop(progress);
    let looks: Vec<Looks> =
        samples.inputs.iter().map(|inputs| looks(&inputs[input], image.as_ref(), explainer.explained.embed.is_some())).collect();

    std::fs::create_dir_all(&args.out).map_err(|error| file_error("create", &args.out, &error))?;
    write_arrays(args, &found)?;
    for ((looks, found), at) in looks.iter().zip(&found).zip(0..) {
        if let (Looks::Picture(picture) | Looks::Sequence(picture), Some(parts)) = (looks, parts_of(looks, found)) {
            let png = panels(picture, &parts)?;
            write_whole(&args.out.join(format!("{at}.png")), |sink| sink.write_all(&png))?;
        }
    }
    let mut facts = vec![("input", declared.to_string())];
    match method {
        Method::IntegratedGradients => facts.extend([("baseline", baseline_text(args.baseline)), ("steps", args.steps.to_string())]),
        Method::Occlusion => facts.extend([("baseline", baseline_text(args.baseline)), ("window", args.window.to_string())]),
        Method::GradCam => facts.extend(explainer.explained.layer.clone().map(|layer| ("layer", layer))),
        Method::GradientXInput | Method::Attention => {}
    }
    let entries = (samples.names.iter().zip(looks).zip(&found))
        .map(|((sample, looks), found)| Entry { sample: sample.clone(), looks, found })
        .collect();
    let page = Page { name: &loaded.facts.name, method, facts, classes: classes.as_deref(), entries };
    let text = page.text()?;
    let path = args.out.join("attributions.html");
    write_whole(&path, |sink| sink.write_all(text.as_bytes()))?;
    tell(args, &samples.names, &found, classes.as_deref(), out)
}

/// The samples that were asked for.
fn samples(args: &AttributeArgs, signature: &Signature) -> Result<Samples, Failure> {
    let options = input_options(&args.inputs);
    let given = [!args.pictures.is_empty(), inputs::are_given(&options), args.data.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Failure::Usage("name what to explain: pictures, --inputs FILE.npz, or --data PLACE".to_string()));
    }
    if let Some(place) = &args.data {
        let slots = signature.inputs.iter().map(slot).collect::<Result<Vec<_>, _>>()?;
        let data = DataOptions { place: place.clone(), ..DataOptions::default() };
        let splits = open(&Wanted::new(&slots, signature, &data))?;
        let dataset = dataset_of(&splits, args.part.map(DataPart::name))?;
        let chosen = chosen(args, dataset.len())?;
        let name = |at: &usize| dataset.names.as_ref().map_or_else(|| at.to_string(), |names| names[*at].clone());
        let rows = chosen.iter().map(|at| dataset.batch(&[*at], vec![])).collect::<Result<_, _>>()?;
        return Ok(Samples { names: chosen.iter().map(name).collect(), inputs: rows });
    }
    let (names, whole) = if args.pictures.is_empty() {
        (None, inputs::read(&options, signature)?)
    } else {
        let image = image_input(signature).ok_or_else(|| Diagnostic::new("picture_input", "no input takes pictures"))?;
        let pictures = args.pictures.iter().map(|path| decode(path)).collect::<Result<Vec<_>, _>>()?;
        let names = args.pictures.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        (Some(names), vec![to_input(&pictures, &image, signature)?])
    };
    if whole.len() != signature.inputs.len() {
        return Err(Failure::Usage("pictures are for networks with one input; give others with --inputs".to_string()));
    }
    let count = names.as_ref().map_or_else(|| whole.iter().filter_map(|array| array.shape().first()).copied().max().unwrap_or(0), Vec::len);
    let chosen = chosen(args, count)?;
    let row = |array: &Array, at: usize| -> Result<Array, Diagnostic> {
        if array.shape().first() != Some(&count) && names.is_none() {
            return Array::from_bytes(array.dtype(), array.shape().to_vec(), array.bytes());
        }
        let width = array.bytes().len() / array.shape()[0].max(1);
        let shape = [&[1], &array.shape()[1..]].concat();
        Array::from_bytes(array.dtype(), shape, &array.bytes()[at * width..(at + 1) * width])
    };
    let inputs = chosen.iter().map(|at| whole.iter().map(|array| row(array, *at)).collect()).collect::<Result<_, _>>()?;
    let name = |at: &usize| names.as_ref().map_or_else(|| at.to_string(), |names| names[*at].clone());
    Ok(Samples { names: chosen.iter().map(name).collect(), inputs })
}

/// The numbers of the samples: those of --samples, else the first ones. Errors: usage for one that there is not.
fn chosen(args: &AttributeArgs, count: usize) -> Result<Vec<usize>, Failure> {
    if count == 0 {
        return Err(Failure::Usage("there is no sample to explain".to_string()));
    }
    let Some(text) = &args.samples else { return Ok((0..count.min(USUAL_SAMPLES)).collect()) };
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

/// A class by its name or its number.
fn class_named(text: &str, classes: Option<&[String]>) -> Result<usize, Failure> {
    if let Some(at) = classes.and_then(|names| names.iter().position(|name| name == text)) {
        return Ok(at);
    }
    text.parse().map_err(|_| {
        let known = classes.map_or("its number".to_string(), |names| format!("one of {}", names.join(", ")));
        Failure::Usage(format!("--target {text}: expected {known}"))
    })
}

fn classes(args: &AttributeArgs, loaded: &Loaded) -> Result<Option<Vec<String>>, Failure> {
    if let Some(path) = &args.labels {
        return Ok(Some(read_labels(path)?));
    }
    let beside = args.model.parameters.as_ref().map(|path| path.with_file_name("labels.txt")).filter(|path| path.is_file());
    match (&loaded.facts.labels, beside) {
        (None, Some(path)) => Ok(Some(read_labels(&path)?)),
        (own, _) => Ok(own.clone()),
    }
}

fn looks(sample: &Array, image: Option<&ImageInput>, is_tokens: bool) -> Looks {
    if is_tokens {
        return Looks::Tokens((0..sample.len()).map(|at| sample.get_f64(at) as i64).collect());
    }
    let pixels = image.and_then(|image| pixels_of(sample, 0, image));
    match (pixels, sample.shape()) {
        (Some((height, width, components, bytes)), _) => Looks::Picture(Pixels { height, width, components, bytes }),
        (None, [1, time, features]) if time * features > 0 => {
            Looks::Sequence(drawn(&(0..sample.len()).map(|at| sample.get_f64(at)).collect::<Vec<_>>(), *time, *features))
        }
        _ => Looks::Numbers,
    }
}

fn baseline_text(baseline: Baseline) -> String {
    match baseline {
        Baseline::Number(number) => number.to_string(),
        Baseline::Mean => "the mean of the sample".to_string(),
    }
}

/// `attributions.npz`: attributions, scores and classes of all samples, or of each by its number where their sizes differ.
fn write_arrays(args: &AttributeArgs, found: &[Attribution]) -> Result<(), Failure> {
    let array = |dtype, shape: Vec<usize>, values: &mut dyn Iterator<Item = f64>| {
        let mut array = Array::zeroed(dtype, shape)?;
        values.enumerate().for_each(|(i, value)| array.set_f64(i, value));
        Ok::<_, Diagnostic>(array)
    };
    let n = found.len();
    let mut arrays: Vec<(String, Array)> = Vec::new();
    if found.iter().all(|one| one.shape == found[0].shape) {
        let shape = [&[n], found[0].shape.as_slice()].concat();
        let all = array(DType::F32, shape, &mut found.iter().flat_map(|one| one.values.iter().copied()))?;
        arrays.push(("attributions".into(), all));
    } else {
        for (at, one) in found.iter().enumerate() {
            arrays.push((format!("attributions.{at}"), array(DType::F32, one.shape.clone(), &mut one.values.iter().copied())?));
        }
    }
    arrays.push(("score".into(), array(DType::F32, vec![n], &mut found.iter().map(|one| one.score))?));
    if found.iter().all(|one| one.baseline_score.is_some()) {
        arrays.push(("baseline_score".into(), array(DType::F32, vec![n], &mut found.iter().filter_map(|one| one.baseline_score))?));
    }
    if found.iter().all(|one| one.target.is_some()) {
        arrays.push(("target".into(), array(DType::I64, vec![n], &mut found.iter().filter_map(|one| one.target).map(|t| t as f64))?));
    }
    Ok(write_npz(&args.out.join("attributions.npz"), arrays.iter().map(|(name, array)| (name.as_str(), array)))?)
}

fn tell(
    args: &AttributeArgs,
    names: &[String],
    found: &[Attribution],
    classes: Option<&[String]>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let class = |class: usize| classes.and_then(|names| names.get(class)).cloned().unwrap_or_else(|| class.to_string());
    let page = args.out.join("attributions.html");
    if args.json {
        let sample = |(name, one): (&String, &Attribution)| {
            json!({
                "sample": name, "predicted": one.predicted, "target": one.target, "score": one.score,
                "baseline_score": one.baseline_score, "sum": one.values.iter().sum::<f64>(),
            })
        };
        let samples: Vec<_> = names.iter().zip(found).map(sample).collect();
        let answer = json!({ "method": args.method.method().name(), "samples": samples, "page": page });
        return Ok(writeln!(out, "{answer}")?);
    }
    for (name, one) in names.iter().zip(found) {
        let predicted = one.predicted.map_or(String::new(), |predicted| format!("predicted {}, ", class(predicted)));
        let of = one.target.map_or(String::new(), |target| format!(" of {}", class(target)));
        write!(out, "sample {name}: {predicted}score{of} {:.4}", one.score)?;
        if let Some(base) = one.baseline_score {
            write!(out, ", {:.4} more than the baseline", one.score - base)?;
        }
        if args.method == AttributionMethod::IntegratedGradients {
            write!(out, "; attributions add up to {:.4}", one.values.iter().sum::<f64>())?;
        }
        writeln!(out)?;
    }
    Ok(writeln!(out, "wrote {} and {}", args.out.join("attributions.npz").display(), page.display())?)
}
