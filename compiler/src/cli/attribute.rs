//! `kiln attribute`: which parts of an input a prediction comes from.

use super::attribute_args::AttributeArgs;
use super::attribute_samples::{Sample, samples};
use super::engine::{describe, threads};
use super::failure::Failure;
use super::model::{self, predict};
use super::predict::labels;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln::attribution::explain::{Attribution, Explainer, Settings};
use kiln::attribution::function::{Point, Wanted};
use kiln::attribution::heat::Pixels;
use kiln::attribution::looks::Looks;
use kiln::attribution::page::{Entry, Page, gap_part, gap_text};
use kiln::attribution::{Baseline, Method};
use kiln_ir::artifact::{ImageInput, Layout, Resize};
use kiln_ir::{DType, Diagnostic};
use kiln_runtime::arrays::Array;
use kiln_runtime::files::{file_error, write_whole};
use kiln_runtime::npz::write_npz;
use kiln_runtime::pictures::{image_input_named, pixels_of};
use kiln_runtime::threads::ThreadPool;
use serde_json::json;
use std::io::Write;

/// Parts that the answer in JSON lists of a sample.
const LISTED: usize = 20;

/// Runs the command.
pub fn attribute(args: &AttributeArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = model::read(&args.model)?;
    let signature = describe(predict(&loaded.module)?, &loaded.facts);
    let method = args.method.method();
    let classes = labels(args.labels.as_deref(), &args.model, &loaded)?;
    let target = args.class.as_deref().map(|class| class_named(class, classes.as_deref())).transpose()?;
    let samples = samples(args, &signature)?;
    let wanted = Wanted { method, input: args.of.as_deref(), output: args.output.as_deref(), layer: args.layer.as_deref() };
    let pool = ThreadPool::new(threads(args.threads));
    let explainer = Explainer::new(&loaded.module, &loaded.facts, &wanted, &args.rewrites.config(), pool)?;
    let explained = &explainer.explained;
    let declared = &signature.inputs[explained.input];
    let image = image_input_named(&signature, &declared.name);
    let settings = Settings {
        target,
        baseline: args.baseline,
        steps: args.steps as usize,
        window: args.window.map(|window| window as usize),
        stride: args.stride.map(|stride| stride as usize),
        layout: image.as_ref().map(|image| image.layout),
    };
    // Seen on terminals only.
    let progress = ProgressBar::with_draw_target(Some(samples.len() as u64), ProgressDrawTarget::stderr_with_hz(10));
    progress.set_style(ProgressStyle::with_template("  explaining {bar:36} {pos}/{len}  {eta} left").expect("it is well formed"));
    let mut found: Vec<Attribution> = Vec::new();
    for sample in &samples {
        found.push(explainer.explain(&sample.inputs, &settings)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let looks: Vec<Looks> = samples.iter().zip(&found).map(|(sample, found)| looks(sample, found, &explainer, image.as_ref())).collect();

    std::fs::create_dir_all(&args.out).map_err(|error| file_error("create", &args.out, &error))?;
    write_arrays(args, &found)?;
    for ((looks, found), at) in looks.iter().zip(&found).zip(0..) {
        if let Some(png) = looks.png(found)? {
            write_whole(&args.out.join(format!("{at}.png")), |sink| sink.write_all(&png))?;
        }
    }
    let mut facts = vec![("input", declared.to_string())];
    if matches!(method, Method::IntegratedGradients | Method::GradientXInput) {
        facts.push(("attributed to", of_point(explained.point).to_owned()));
    }
    let base = baseline_text(args.baseline, explained.point);
    match method {
        Method::IntegratedGradients => {
            facts.extend([("baseline", base), ("steps", args.steps.to_string())]);
            facts.extend(worst_gap(&samples, &found).map(|gap| ("largest completeness gap", gap)));
        }
        Method::Occlusion => {
            let window = args.window.map_or("4 of pictures and spectrograms, 1 of others".to_owned(), |window| window.to_string());
            facts.extend([("baseline", base), ("window", window)]);
        }
        Method::GradCam => facts.extend(explained.layers.first().map(|layer| ("layer", layer.clone()))),
        Method::GradientXInput | Method::Attention => {}
    }
    let entries = samples.iter().zip(looks).zip(&found);
    let entries = entries.map(|((sample, looks), found)| Entry { sample: sample.name.clone(), looks, found }).collect();
    let page = Page {
        name: &loaded.facts.name,
        method,
        facts,
        classes: classes.as_deref(),
        layers: &explained.layers,
        is_sound: explained.point == Point::Spectrogram,
        entries,
    };
    let text = page.text()?;
    write_whole(&args.out.join("attributions.html"), |sink| sink.write_all(text.as_bytes()))?;
    tell(args, &samples, &found, classes.as_deref(), out)
}

/// A class by its name or its number.
fn class_named(text: &str, classes: Option<&[String]>) -> Result<usize, Failure> {
    if let Some(at) = classes.and_then(|names| names.iter().position(|name| name == text)) {
        return Ok(at);
    }
    text.parse().map_err(|_| {
        let known = classes.map_or("its number".to_string(), |names| format!("one of {}", names.join(", ")));
        Failure::Usage(format!("--class {text}: expected {known}"))
    })
}

fn looks(sample: &Sample, found: &Attribution, explainer: &Explainer, image: Option<&ImageInput>) -> Looks {
    let input = &sample.inputs[explainer.explained.input];
    if explainer.explained.point == Point::Embedding {
        let numbers = || (0..input.len()).map(|at| input.get_f64(at).to_string()).collect();
        return Looks::Tokens(sample.words.clone().filter(|words| words.len() == input.len()).unwrap_or_else(numbers));
    }
    let guessed = picture_of(input.shape());
    let pixels = image.or(guessed.as_ref()).and_then(|image| pixels_of(input, 0, image));
    match (pixels, &found.point_shape[..]) {
        (Some((height, width, components, bytes)), _) => Looks::Picture(Pixels { height, width, components, bytes }),
        (None, [time, features]) if time * features > 0 => Looks::sequence(&found.point, *time, *features),
        _ => Looks::Numbers,
    }
}

/// How an input without a word on pictures would be one: `[1, channels, height, width]` with the channels of grey or colour.
fn picture_of(shape: &[usize]) -> Option<ImageInput> {
    let [1, channels @ (1 | 3), height, width] = *shape else { return None };
    (height > 3 && width > 3).then(|| ImageInput {
        input: String::new(),
        layout: Layout::Nchw,
        channels: channels as u32,
        scale: 1.0 / 255.0,
        mean: Vec::new(),
        std: Vec::new(),
        resize: Resize::default(),
        shorter_side: None,
        invert: false,
    })
}

fn of_point(point: Point) -> &'static str {
    match point {
        Point::Input => "the input",
        Point::Embedding => "tokens, each by the sum over its embedding",
        Point::Spectrogram => "the spectrogram that the first layer makes of a sound",
    }
}

fn baseline_text(baseline: Baseline, point: Point) -> String {
    match (baseline, point) {
        (Baseline::Number(number), Point::Input) => format!("{number} everywhere"),
        (Baseline::Number(number), Point::Embedding) => format!("embeddings of {number}"),
        (Baseline::Number(0.0), Point::Spectrogram) => "silence".to_owned(),
        (Baseline::Number(number), Point::Spectrogram) => format!("the spectrogram of samples of {number}"),
        (Baseline::Mean, _) => "the mean of the sample".to_owned(),
    }
}

/// The sample whose attributions miss most of the difference of its scores, and by how much.
fn worst_gap(samples: &[Sample], found: &[Attribution]) -> Option<String> {
    let parts = samples.iter().zip(found).filter_map(|(sample, found)| Some((sample, found, gap_part(found)?)));
    let (sample, found, _) = parts.max_by(|a, b| a.2.total_cmp(&b.2))?;
    Some(format!("{} in {}", gap_text(found, found.gap()?), sample.name))
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
    for (at, one) in found.iter().enumerate() {
        for (layer, looks) in one.attention.iter().enumerate() {
            let places = one.shape[0];
            let shape = vec![looks.len() / (places * places).max(1), places, places];
            arrays.push((format!("attention.{at}.{layer}"), array(DType::F32, shape, &mut looks.iter().copied())?));
        }
    }
    arrays.push(("score".into(), array(DType::F32, vec![n], &mut found.iter().map(|one| one.score))?));
    if found.iter().all(|one| one.baseline_score.is_some()) {
        arrays.push(("baseline_score".into(), array(DType::F32, vec![n], &mut found.iter().filter_map(|one| one.baseline_score))?));
    }
    if found.iter().all(|one| one.target.is_some()) {
        arrays.push(("class".into(), array(DType::I64, vec![n], &mut found.iter().filter_map(|one| one.target).map(|t| t as f64))?));
    }
    Ok(write_npz(&args.out.join("attributions.npz"), arrays.iter().map(|(name, array)| (name.as_str(), array)))?)
}

fn tell(
    args: &AttributeArgs,
    samples: &[Sample],
    found: &[Attribution],
    classes: Option<&[String]>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let name_of = |class: usize| classes.and_then(|names| names.get(class)).cloned();
    let (page, arrays) = (args.out.join("attributions.html"), args.out.join("attributions.npz"));
    let is_complete = args.method.method() == Method::IntegratedGradients;
    if args.json {
        let sample = |(sample, one): (&Sample, &Attribution)| {
            json!({
                "sample": sample.name, "predicted": one.predicted, "predicted_name": one.predicted.and_then(name_of),
                "class": one.target, "class_name": one.target.and_then(name_of), "score": one.score,
                "baseline_score": one.baseline_score, "sum": one.sum(),
                "completeness_gap": one.gap().filter(|_| is_complete), "shape": one.shape, "top": top(sample, one),
            })
        };
        let list: Vec<_> = samples.iter().zip(found).map(sample).collect();
        let answer = json!({ "method": args.method.method().name(), "samples": list, "page": page, "arrays": arrays });
        return Ok(writeln!(out, "{answer}")?);
    }
    let class = |class: usize| name_of(class).unwrap_or_else(|| format!("class {class}"));
    for (sample, one) in samples.iter().zip(found) {
        let predicted = one.predicted.map_or(String::new(), |predicted| format!("predicted {}, ", class(predicted)));
        let of = one.target.map_or(String::new(), |target| format!(" of {}", class(target)));
        write!(out, "{}: {predicted}score{of} {:.4}", sample.name, one.score)?;
        if let Some(difference) = one.difference() {
            write!(out, ", {difference:.4} more than the baseline")?;
        }
        if let Some(gap) = one.gap().filter(|_| is_complete) {
            write!(out, "; attributions add up to {:.4}, completeness gap {}", one.sum(), gap_text(one, gap))?;
        }
        writeln!(out)?;
    }
    Ok(writeln!(out, "wrote {}, {} and a picture of each sample", page.display(), arrays.display())?)
}

/// The parts that count most, with their places; of texts all of them, with their words.
fn top(sample: &Sample, found: &Attribution) -> Vec<serde_json::Value> {
    let words = sample.words.as_ref().filter(|words| words.len() == found.values.len());
    if let Some(words) = words {
        return words.iter().zip(&found.values).map(|(token, value)| json!({ "token": token, "attribution": value })).collect();
    }
    let mut order: Vec<usize> = (0..found.values.len()).collect();
    order.sort_by(|a, b| found.values[*b].abs().total_cmp(&found.values[*a].abs()));
    let part = |at: usize| json!({ "place": kiln_ir::tensor::unravel(at, &found.shape), "attribution": found.values[at] });
    order.into_iter().take(LISTED).map(part).collect()
}
