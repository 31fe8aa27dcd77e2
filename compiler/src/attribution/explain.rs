//! The methods, on compiled code: what each part of a sample has to do with a score.

use super::function::{Explained, Extra, POINT, Point, TARGET, Wanted, explained};
use super::maps::{enlarged, grad_cam, rollout};
use super::path::{Along, integrate};
use super::windows::Places;
use super::{Baseline, Method};
use crate::artifact::describe::ModelFacts;
use crate::artifact::names::symbol_name;
use crate::backend::cpu::jit::Predictor;
use crate::backend::cpu::target::{CpuLevel, CpuTarget};
use crate::compile::compile;
use crate::pipeline::Config;
use kiln_ir::artifact::{Extent, Layout};
use kiln_ir::{DType, Diagnostic, Module};
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;

/// Points that are computed at once, where the size of batches is open.
const POINTS: usize = 32;

/// How a method is used.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// The class whose score is explained; `None`: the one that scores highest.
    pub target: Option<usize>,
    /// What stands for nothing.
    pub baseline: Baseline,
    /// Points between baseline and input at most.
    pub steps: usize,
    /// Side of the windows that are covered; `None`: [`Settings::usual_window`].
    pub window: Option<usize>,
    /// From one window to the next; `None`: a window.
    pub stride: Option<usize>,
    /// Order of the axes of pictures.
    pub layout: Option<Layout>,
}

impl Settings {
    /// Side of the windows that are covered unless it is said: 4 where places have two axes or more, else 1.
    pub fn usual_window(axes: usize) -> usize {
        if axes > 1 { 4 } else { 1 }
    }
}

/// What was found about one sample.
#[derive(Clone, PartialEq, Debug)]
pub struct Attribution {
    /// The class that is explained; `None`: the output is one number.
    pub target: Option<usize>,
    /// The class that scores highest.
    pub predicted: Option<usize>,
    /// Its score, or that of the target.
    pub score: f64,
    /// What the network gives, classes along the last axis summed over the axes between.
    pub scores: Vec<f64>,
    /// The score of the baseline, where there is one.
    pub baseline_score: Option<f64>,
    /// Sizes of `values`: those of the sample, or of its places alone.
    pub shape: Vec<usize>,
    /// What each part has to do with the score.
    pub values: Vec<f64>,
    /// What was varied, as it is in the sample: the input, what tokens are embedded as, a spectrogram.
    pub point: Vec<f64>,
    /// Its sizes, without the batch.
    pub point_shape: Vec<usize>,
    /// Of an attention: each layer, `[heads, n, n]`.
    pub attention: Vec<Vec<f64>>,
}

impl Attribution {
    /// What all parts add up to.
    pub fn sum(&self) -> f64 {
        self.values.iter().sum()
    }

    /// How much more the score is than that of the baseline.
    pub fn difference(&self) -> Option<f64> {
        self.baseline_score.map(|base| self.score - base)
    }

    /// By how much the sum of the parts misses that difference, of which integrated gradients are a decomposition.
    pub fn gap(&self) -> Option<f64> {
        self.difference().map(|difference| self.sum() - difference)
    }
}

/// A network compiled for attribution.
pub struct Explainer {
    /// How it was made ready.
    pub explained: Explained,
    score: Predictor,
    embed: Option<Predictor>,
    method: Method,
    pool: ThreadPool,
}

/// Results of the function at several points, each as rows of floats.
struct Points {
    scores: Vec<f64>,
    predictions: Vec<Vec<f64>>,
    extras: Vec<Vec<Vec<f64>>>,
    extra_shapes: Vec<Vec<usize>>,
}

impl Explainer {
    /// Compiles a network for a method. Errors: as [`explained`], and as [`compile`].
    pub fn new(
        module: &Module,
        facts: &ModelFacts,
        wanted: &Wanted,
        config: &Config,
        pool: ThreadPool,
    ) -> Result<Explainer, Vec<Diagnostic>> {
        let explained = explained(module, facts, wanted, config)?;
        let target = CpuTarget::host(CpuLevel::Native).map_err(|error| vec![error])?;
        let compiled = |module: &Module| {
            // Pictures and labels are the network's, not those of this function.
            let facts = ModelFacts { name: symbol_name(&module.name), usual_sizes: facts.usual_sizes.clone(), ..ModelFacts::default() };
            compile(module, target.clone(), facts, config)?.predictor(&pool).map_err(|error| vec![error])
        };
        let score = compiled(&explained.score)?;
        let embed = explained.embed.as_ref().map(compiled).transpose()?;
        Ok(Explainer { explained, score, embed, method: wanted.method, pool })
    }

    /// Explains one sample: `inputs` of the network, in their order, with one row each.
    ///
    /// Errors: `attribute_target`; `attribute_layer`; inputs that do not fit; what generated code reports.
    pub fn explain(&self, inputs: &[Array], settings: &Settings) -> Result<Attribution, Diagnostic> {
        let point = self.point(inputs)?;
        let x = numbers(&point);
        let shape = point.shape().get(1..).unwrap_or_default().to_vec();
        let first = self.at(std::slice::from_ref(&x), &point, inputs, 0)?;
        let scores = first.predictions[0].clone();
        let predicted = self.explained.classes.map(|_| largest(&scores));
        let target = match (self.explained.classes, settings.target) {
            (None, None | Some(0)) => None,
            (None, Some(_)) => {
                let error = Diagnostic::new("attribute_target", "the output is one number for each sample, and has no classes");
                return Err(error.help("leave --class away"));
            }
            (Some(classes), Some(target)) if target >= classes => {
                return Err(Diagnostic::new("attribute_target", format!("class {target}: the output has {classes}, numbered from 0")));
            }
            (Some(_), target) => target.or(predicted),
        };
        let class = target.unwrap_or(0);
        let here = self.at(std::slice::from_ref(&x), &point, inputs, class)?;
        let mut found = Attribution {
            target,
            predicted,
            score: here.scores[0],
            scores,
            baseline_score: None,
            shape: shape.clone(),
            values: Vec::new(),
            point: x.clone(),
            point_shape: shape.clone(),
            attention: Vec::new(),
        };
        let base = self.baseline(inputs, &x, settings.baseline)?;
        match self.method {
            Method::GradientXInput => {
                found.values = self.extra(&here, Extra::Gradient)[0].iter().zip(&x).map(|(gradient, x)| gradient * x).collect();
            }
            Method::IntegratedGradients => {
                let delta: Vec<f64> = base.iter().zip(&x).map(|(base, x)| x - base).collect();
                let mut function = |places: &[f64]| {
                    let mut along = Along { scores: Vec::new(), gradients: Vec::new() };
                    for places in places.chunks(POINTS) {
                        let at = |part: &f64| base.iter().zip(&delta).map(|(base, delta)| base + part * delta).collect::<Vec<f64>>();
                        let mut there = self.at(&places.iter().map(at).collect::<Vec<_>>(), &point, inputs, class)?;
                        along.scores.append(&mut there.scores);
                        along.gradients.append(&mut there.extras[0]);
                    }
                    Ok(along)
                };
                let integral = integrate(settings.steps, &delta, &mut function)?;
                found.values = integral.gradient.iter().zip(&delta).map(|(gradient, delta)| gradient * delta).collect();
                found.baseline_score = Some(integral.start);
            }
            Method::Occlusion => {
                let places = self.places(&shape, settings.layout);
                let side = settings.window.unwrap_or_else(|| Settings::usual_window(places.axes.len())).max(1);
                let elements = places.elements_by_place();
                let (mut sums, mut counts) = (vec![0.0; elements.len()], vec![0.0f64; elements.len()]);
                for corners in places.corners(side, settings.stride.unwrap_or(side).max(1)).chunks(POINTS) {
                    let windows: Vec<Vec<usize>> = corners.iter().map(|corner| places.window(corner, side)).collect();
                    let cover = |window: &Vec<usize>| {
                        let mut point = x.clone();
                        window.iter().flat_map(|place| &elements[*place]).for_each(|at| point[*at] = base[*at]);
                        point
                    };
                    let there = self.at(&windows.iter().map(cover).collect::<Vec<_>>(), &point, inputs, class)?;
                    for (window, score) in windows.iter().zip(there.scores) {
                        for place in window {
                            sums[*place] += here.scores[0] - score;
                            counts[*place] += 1.0;
                        }
                    }
                }
                // All elements of a place are covered together, so they are told once.
                found.values = sums.iter().zip(counts).map(|(sum, count)| sum / count.max(1.0)).collect();
                found.shape = places.sizes();
                found.baseline_score = Some(self.at(&[base], &point, inputs, class)?.scores[0]);
            }
            Method::GradCam => {
                let (activation, gradient) = (&self.extra(&here, Extra::Layer)[0], &self.extra(&here, Extra::LayerGradient)[0]);
                let layer = &here.extra_shapes[0];
                let map = grad_cam(activation, gradient, layer[1]);
                let places = self.places(&shape, settings.layout);
                // Convolutions over time see the features of a spectrogram as channels.
                let mut sizes = places.sizes();
                if layer.len() == 3 {
                    sizes.truncate(1);
                }
                if sizes.len() == layer.len() - 2 {
                    (found.values, found.shape) = (enlarged(&map, &layer[2..], &sizes), sizes);
                } else {
                    (found.values, found.shape) = (map, layer[2..].to_vec());
                }
            }
            Method::Attention => {
                let n = here.extra_shapes[0][2];
                found.attention = here.extras.iter().map(|layer| layer[0].clone()).collect();
                if here.extra_shapes.iter().any(|shape| shape[2] != n || shape[3] != n) {
                    return Err(Diagnostic::new(
                        "attribute_layer",
                        "attentions are over sequences of different lengths, which no rollout joins",
                    ));
                }
                let all = rollout(&found.attention, n);
                // What all places look at together: the mean over queries.
                found.values = (0..n).map(|key| (0..n).map(|query| all[query * n + key]).sum::<f64>() / n.max(1) as f64).collect();
                found.shape = vec![n];
            }
        }
        if self.explained.point == Point::Embedding && matches!(self.method, Method::IntegratedGradients | Method::GradientXInput) {
            // Of a token, what all numbers of its embedding say together.
            let width = shape.last().copied().unwrap_or(1).max(1);
            found.values = found.values.chunks(width).map(|numbers| numbers.iter().sum()).collect();
            found.shape.pop();
        }
        Ok(found)
    }

    /// The point that inputs are at.
    fn point(&self, inputs: &[Array]) -> Result<Array, Diagnostic> {
        let Some(embed) = &self.embed else { return copied(&inputs[self.explained.input]) };
        let model = embed.model();
        let declared = &model.signature().inputs;
        let batch = declared[self.explained.input].shape.first();
        let rows = if let Some(Extent::Fixed(rows)) = batch { *rows as usize } else { 1 };
        let arrays = declared.iter().zip(inputs).map(|(input, array)| repeated(array, rows, input.shape.first() == batch));
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let mut session = model.session(&model.solve_symbols(&arrays)?, &self.pool)?;
        session.run(&arrays)?;
        // What a fixed batch is filled with is of no interest.
        repeated(&session.outputs()[0], 1, true)
    }

    /// The point that says nothing: of a sound the spectrogram of samples that are all the same, else numbers that are.
    fn baseline(&self, inputs: &[Array], x: &[f64], baseline: Baseline) -> Result<Vec<f64>, Diagnostic> {
        Ok(match baseline {
            Baseline::Mean => vec![x.iter().sum::<f64>() / x.len().max(1) as f64; x.len()],
            Baseline::Number(number) if self.explained.point == Point::Spectrogram => {
                let mut silent = inputs.iter().map(copied).collect::<Result<Vec<_>, _>>()?;
                let sound = &mut silent[self.explained.input];
                (0..sound.len()).for_each(|at| sound.set_f64(at, number));
                numbers(&self.point(&silent)?)
            }
            Baseline::Number(number) => vec![number; x.len()],
        })
    }

    /// Which axes of a sample are places: of pictures height and width, of spectrograms time and frequency, of other sequences the time,
    /// of features themselves.
    fn places(&self, shape: &[usize], layout: Option<Layout>) -> Places {
        let axes = match (shape.len(), layout) {
            (0, _) => vec![],
            (2, _) if self.explained.point == Point::Spectrogram => vec![0, 1],
            (1 | 2, _) => vec![0],
            (3, Some(Layout::Nhwc)) => vec![0, 1],
            (rank, _) => (1..rank).collect(),
        };
        Places { shape: shape.to_vec(), axes }
    }

    fn extra<'p>(&self, points: &'p Points, extra: Extra) -> &'p [Vec<f64>] {
        let at = self.explained.extras.iter().position(|other| *other == extra).expect("the method asked for it");
        &points.extras[at]
    }

    /// The function at points of one sample.
    fn at(&self, points: &[Vec<f64>], like: &Array, inputs: &[Array], class: usize) -> Result<Points, Diagnostic> {
        let model = self.score.model();
        let signature = model.signature();
        let decl = signature.inputs.iter().find(|input| input.name == POINT).expect("it was added");
        // Where the network takes so many samples at once, the rest is filled.
        let rows = match decl.shape.first() {
            Some(Extent::Fixed(rows)) => *rows as usize,
            _ => points.len(),
        };
        let mut found =
            Points { scores: vec![], predictions: vec![], extras: vec![vec![]; self.explained.extras.len()], extra_shapes: vec![] };
        for points in points.chunks(rows.max(1)) {
            let mut arrays = Vec::new();
            let mut others = inputs.iter().enumerate().filter(|(at, _)| self.embed.is_some() || *at != self.explained.input);
            for input in &signature.inputs {
                arrays.push(match input.name.as_str() {
                    POINT => {
                        let mut array = Array::zeroed(like.dtype(), [&[rows], &like.shape()[1..]].concat())?;
                        for row in 0..rows {
                            let point = &points[row.min(points.len() - 1)];
                            point.iter().enumerate().for_each(|(i, value)| array.set_f64(row * point.len() + i, *value));
                        }
                        array
                    }
                    TARGET => {
                        let mut array = Array::zeroed(DType::I64, vec![rows])?;
                        (0..rows).for_each(|row| array.set_f64(row, class as f64));
                        array
                    }
                    _ => repeated(others.next().expect("all inputs are there").1, rows, input.shape.first() == decl.shape.first())?,
                });
            }
            let mut session = model.session(&model.solve_symbols(&arrays)?, &self.pool)?;
            session.run(&arrays)?;
            let outputs = session.outputs();
            found.scores.extend((0..points.len()).map(|row| outputs[0].get_f64(row)));
            let rows_of = |array: &Array| {
                let width = array.len() / rows.max(1);
                (0..points.len()).map(|row| (0..width).map(|i| array.get_f64(row * width + i)).collect::<Vec<f64>>()).collect::<Vec<_>>()
            };
            let classes = self.explained.classes.unwrap_or(1);
            let summed = |row: Vec<f64>| (0..classes).map(|class| row.iter().skip(class).step_by(classes).sum()).collect();
            found.predictions.extend(rows_of(&outputs[1]).into_iter().map(summed));
            for (extra, output) in found.extras.iter_mut().zip(&outputs[2..]) {
                extra.extend(rows_of(output));
            }
            found.extra_shapes = outputs[2..].iter().map(|output| output.shape().to_vec()).collect();
        }
        Ok(found)
    }
}

/// The rows of a sample so many times; what has none as it is.
fn repeated(array: &Array, rows: usize, has_rows: bool) -> Result<Array, Diagnostic> {
    if !has_rows {
        return copied(array);
    }
    let shape = [&[rows], array.shape().get(1..).unwrap_or_default()].concat();
    let width = array.bytes().len() / array.shape().first().copied().unwrap_or(1).max(1);
    Array::from_bytes(array.dtype(), shape, &array.bytes()[..width].repeat(rows))
}

fn copied(array: &Array) -> Result<Array, Diagnostic> {
    Array::from_bytes(array.dtype(), array.shape().to_vec(), array.bytes())
}

fn numbers(array: &Array) -> Vec<f64> {
    let width = array.len() / array.shape().first().copied().unwrap_or(1).max(1);
    (0..width).map(|i| array.get_f64(i)).collect()
}

fn largest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}
