//! Training, epoch after epoch: batches, steps, evaluation, checkpoints, and what is told on the way.

use super::adapters::merged;
use super::augment::augment;
use super::checkpoint::{Progress, load, read, save};
use super::data::{DataOptions, Dataset, Wanted, open};
use super::events::EventFile;
use super::examined::Examined;
use super::history::{EpochRecord, Measured, Point, write_csv, write_jsonl};
use super::interruption::Interruption;
use super::learnt::Learnt;
use super::loader::each;
use super::measure::measure;
use super::metrics::{Impossible, first_impossible};
use super::order::{bucketed, shuffled};
use super::parts::{Part, Parts};
use super::progress::{bar, grouped, tell_left_out};
use super::rate::Plateau;
use super::recipe::{Initial, RateSchedule, Recipe, Slot};
use super::report::Report;
use super::stepper::{Evaluates, Functions, Stepper};
use super::vary_sounds::Variation;
use crate::arrays::Array;
use crate::files::{file_error, remove_unfinished, write_whole};
use crate::program::Failure;
use crate::threads::ThreadPool;
use crate::weights::hexadecimal;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Signature, TextInput};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is asked of a training.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrainOptions {
    /// Where the data are, and how they are read.
    pub data: DataOptions,
    /// The directory for what comes out.
    pub out: PathBuf,
    /// Passes over the data, in place of the recipe's.
    pub epochs: Option<u32>,
    /// Samples in a step, in place of the recipe's.
    pub batch: Option<u32>,
    /// What random numbers depend on, in place of the recipe's.
    pub seed: Option<u64>,
    /// The learning rate, in place of the recipe's.
    pub learning_rate: Option<f64>,
    /// Parameters to begin with.
    pub parameters: Option<PathBuf>,
    /// Go on from the checkpoint there is.
    pub resume: bool,
    /// Begin anew although there is a checkpoint.
    pub overwrite: bool,
    /// Seconds between checkpoints; each epoch ends with one as well.
    pub checkpoint_seconds: Option<f64>,
    /// Let Ctrl-C and SIGTERM end it with a checkpoint: for programs, whose signals these are.
    pub signals: bool,
    /// Tell each epoch as a line of JSON.
    pub json: bool,
}

/// The functions of a trainer and how they are driven.
pub struct Trainer<'m> {
    /// How they are driven.
    pub recipe: Recipe,
    /// The functions.
    pub functions: Functions<'m>,
    /// The file of parameters that it has itself, to begin with where options name none.
    pub start: Option<&'m [u8]>,
}

/// What a training goes on from.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Points of the course of the loss in one epoch.
const POINTS: u64 = 50;

/// Trains and writes `model.safetensors`, `checkpoint.safetensors`, `report.html`, `history.csv`, `history.jsonl` and an event file for
/// TensorBoard into the output directory, and `labels.txt` if the data call classes by names.
///
/// Errors: usage; data that cannot be read or do not fit; a checkpoint that is there, or is not; a loss that is not finite; `file`.
pub fn train(mut trainer: Trainer, options: &TrainOptions, pool: &ThreadPool, out: &mut dyn Write) -> Result<(), Failure> {
    let schedule = &mut trainer.recipe.schedule;
    schedule.epochs = options.epochs.unwrap_or(schedule.epochs);
    schedule.batch = options.batch.unwrap_or(schedule.batch);
    schedule.learning_rate = options.learning_rate.unwrap_or(schedule.learning_rate);
    trainer.recipe.seed = options.seed.unwrap_or(trainer.recipe.seed);
    std::fs::create_dir_all(&options.out).map_err(|error| file_error("create", &options.out, &error))?;
    let signature = trainer.functions.step.signature().clone();
    let checkpoint = options.out.join(CHECKPOINT);
    let known = match options.resume && checkpoint.exists() {
        true => Some(checkpoint.as_path()),
        false => options.parameters.as_deref(),
    };
    let known = known.map_or_else(|| Ok(Learnt::default()), Learnt::of_file)?;
    let text = trainer.recipe.text.clone().map(|text| TextInput { vocabulary: known.vocabulary, ..text });
    let wanted = Wanted::new(&trainer.recipe.data, &signature, &options.data).with_text(text, true).with_labels(known.labels);
    let splits = open(&wanted)?;
    match options.json {
        true if wanted.left_out().is_empty() => {}
        true => writeln!(out, "{}", serde_json::json!({ "left_out": wanted.left_out() }))?,
        false => tell_left_out(&wanted, out)?,
    }
    let parts = Parts::new(&trainer.recipe, &splits);
    check_validation(&trainer.recipe, &parts)?;
    let schedule = &trainer.recipe.schedule;
    let steps = parts.train.samples.len().div_ceil(schedule.batch as usize);
    if (steps as u64).saturating_mul(u64::from(schedule.epochs)) < u64::from(schedule.accumulate) {
        let message = format!("{} epochs of {steps} steps are fewer than `accumulate` adds up", schedule.epochs);
        return Err(Diagnostic::new("train_accumulate", message).help("lower `accumulate`, or train for more epochs").into());
    }
    let measured = trainer.functions.evaluation.signature().clone();
    let stepper = Stepper::new(&trainer.recipe, trainer.functions, trainer.recipe.seed)?;
    let (recipe, ahead) = (&trainer.recipe, pool.workers() > 1);
    let labels = splits.classes.clone();
    let learnt = Learnt { name: recipe.name.clone(), labels, vocabulary: wanted.vocabulary().map(<[String]>::to_vec) };
    let mut run = Run {
        recipe,
        options,
        parts,
        learnt,
        stepper,
        ahead,
        interruption: None,
        events: None,
        progress: Progress::default(),
        examined: None,
        signature: &measured,
        start: trainer.start,
    };
    run.begin(out)?;
    if options.signals {
        run.interruption = Some(Interruption::listen()?);
    }
    let finished = run.epochs(out)?;
    run.finish(finished, out)
}

/// Errors: `no_validation` when the recipe looks at results of a part that there is not.
fn check_validation(recipe: &Recipe, parts: &Parts) -> Result<(), Diagnostic> {
    let needs = match recipe.schedule.rate {
        RateSchedule::ReduceOnPlateau { .. } => Some("the schedule `reduce_on_plateau`"),
        _ => recipe.early_stopping.map(|_| "`early_stopping`"),
    };
    match needs.filter(|_| parts.validation.is_none()) {
        None => Ok(()),
        Some(what) => {
            let error = Diagnostic::new("no_validation", format!("{what} needs data to validate with, and there are none"));
            Err(error.help("set `validation = 0.1` in [train] to hold a tenth of the training data back"))
        }
    }
}

/// A training under way.
struct Run<'m, 'r> {
    recipe: &'r Recipe,
    options: &'r TrainOptions,
    parts: Parts<'r>,
    /// What the data say of classes and texts.
    learnt: Learnt,
    stepper: Stepper<'m>,
    /// Whether a thread of its own makes the next batch meanwhile.
    ahead: bool,
    interruption: Option<Interruption>,
    events: Option<EventFile>,
    progress: Progress,
    /// The last evaluation, looked into.
    examined: Option<(Measured, Examined)>,
    /// Of the evaluation.
    signature: &'r Signature,
    /// See [`Trainer::start`].
    start: Option<&'m [u8]>,
}

impl Run<'_, '_> {
    fn file(&self, name: &str) -> PathBuf {
        self.options.out.join(name)
    }

    /// Finds out where to begin, and says so.
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let recipe = self.recipe;
        let text = serde_json::to_string(recipe).map_err(std::io::Error::other)?;
        let measured = self.parts.measured().map_or(0, |part| part.samples.len());
        let tested = self.parts.test.as_ref().map_or(0, |part| part.samples.len());
        let label = &self.options.data.label;
        let samples = self.parts.train.dataset.len();
        let mut digest = Sha256::new_with_prefix(format!("{text} on {samples} samples, {measured} and {tested}, labels {label:?}"));
        if let Some(vocabulary) = &self.learnt.vocabulary {
            digest.update(format!("{vocabulary:?}"));
        }
        if !recipe.adapters.is_empty() {
            // Checkpoints are without what adapters are for, so it must be the same again.
            if let Some(fixed) = self.given(&recipe.fixed)? {
                self.stepper.restore_fixed(fixed);
            }
            self.stepper.fixed().iter().for_each(|array| digest.update(array.bytes()));
        }
        let run = hexadecimal(&digest.finalize());
        for name in [CHECKPOINT, "best.safetensors", "model.safetensors", "history.csv", "history.jsonl", "report.html", "labels.txt"] {
            remove_unfinished(&self.file(name));
        }
        let path = self.file(CHECKPOINT);
        match (path.exists(), self.options.resume) {
            (true, false) if !self.options.overwrite => {
                let message = format!("{} holds a checkpoint already", self.options.out.display());
                return Err(Diagnostic::new("checkpoint", message).help("--resume goes on from it, --overwrite begins anew").into());
            }
            (false, true) => {
                let message = format!("{} holds no checkpoint to go on from", self.options.out.display());
                return Err(Diagnostic::new("checkpoint", message).help("leave --resume away to begin").into());
            }
            (true, true) => {
                let (mut arrays, text) = load(&path, held(recipe).iter().chain(&recipe.states))?;
                let progress: Progress = serde_json::from_str(&text)
                    .map_err(|error| Diagnostic::new("checkpoint", format!("{}: its progress is unreadable: {error}", path.display())))?;
                if progress.run != run {
                    let message = format!("{} is of another training: network, settings, seed or data differ", path.display());
                    return Err(Diagnostic::new("checkpoint", message)
                        .help("train with the same ones, or begin anew with --overwrite")
                        .into());
                }
                let states = arrays.split_off(held(recipe).len());
                if recipe.adapters.is_empty() {
                    self.stepper.restore_fixed(arrays);
                }
                self.stepper.restore_states(states, progress.steps);
                self.progress = progress;
            }
            (_, false) => {
                if let Some(parameters) = self.given(recipe.fixed.iter().chain(&recipe.states[..recipe.parameters]))? {
                    self.take_parameters(parameters, 0)?;
                }
                // What an earlier training left must not be taken for this one's.
                for name in [CHECKPOINT, "best.safetensors", "labels.txt"] {
                    let path = self.file(name);
                    if path.exists() {
                        std::fs::remove_file(&path).map_err(|error| file_error("remove", &path, &error))?;
                    }
                }
                self.progress.run = run;
                self.progress.vocabulary.clone_from(&self.learnt.vocabulary);
            }
        }
        if let Some(classes) = &self.learnt.labels {
            write_whole(&self.file("labels.txt"), |sink| classes.iter().try_for_each(|name| writeln!(sink, "{name}")))?;
        }
        if !self.options.json {
            for (what, value) in self.facts() {
                writeln!(out, "{what:<14} {value}")?;
            }
            if self.options.resume {
                let Progress { epochs, steps, .. } = self.progress;
                writeln!(out, "{:<14} after step {steps}, in epoch {}", "going on", epochs + 1)?;
            }
        }
        Ok(())
    }

    /// The values of slots in the file that the options name, or else in the trainer's own. Errors: as [`load`].
    fn given<'s>(&self, slots: impl IntoIterator<Item = &'s Slot>) -> Result<Option<Vec<Array>>, Diagnostic> {
        let read = match (&self.options.parameters, self.start) {
            (Some(path), _) => load(path, slots),
            (None, Some(bytes)) => read("the parameters of this program", bytes, slots),
            (None, None) => return Ok(None),
        };
        read.map(|(arrays, _)| Some(arrays))
    }

    /// Puts these parameters, those that stay first, in the place of the present ones, after so many steps; the optimiser remembers what
    /// it did.
    fn take_parameters(&mut self, mut fixed: Vec<Array>, steps: u64) -> Result<(), Diagnostic> {
        let recipe = self.recipe;
        let mut states = fixed.split_off(recipe.fixed.len());
        for (slot, old) in recipe.states.iter().zip(self.stepper.states()).skip(recipe.parameters) {
            let source = if let Initial::Of(at) = slot.initial { &states[at] } else { old };
            states.push(Array::from_bytes(slot.dtype, slot.shape.clone(), source.bytes())?);
        }
        self.stepper.restore_fixed(fixed);
        self.stepper.restore_states(states, steps);
        Ok(())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let recipe = self.recipe;
        let count = |slots: &[Slot]| slots.iter().map(|slot| slot.shape.iter().product::<usize>()).sum::<usize>();
        let parameters = count(&recipe.fixed) + count(&recipe.states[..recipe.parameters]);
        let mut data = format!("{} samples to learn from", grouped(self.parts.train.samples.len() as f64));
        for part in [&self.parts.validation, &self.parts.test].into_iter().flatten() {
            data += &format!(", {} for {}", grouped(part.samples.len() as f64), part.name);
        }
        let schedule = &recipe.schedule;
        vec![
            ("network", format!("{}, {} parameters", recipe.name, grouped(parameters as f64))),
            ("data", data),
            ("schedule", format!("{} epochs, batch {}, learning rate {}", schedule.epochs, schedule.batch, schedule.learning_rate)),
            ("seed", recipe.seed.to_string()),
        ]
    }

    /// Trains to the last epoch, or until nothing gets better. Gives whether that was so.
    fn epochs(&mut self, out: &mut dyn Write) -> Result<bool, Failure> {
        let steps = self.parts.train.samples.len().div_ceil(self.recipe.schedule.batch as usize);
        let mut events = EventFile::begin(&self.options.out, steps as u64)?;
        // Points of an epoch under way come with its end, as the others do.
        let whole = self.progress.points.iter().take_while(|point| point.epochs <= f64::from(self.progress.epochs)).count();
        events.tell(&self.progress.history, &self.progress.points[..whole])?;
        self.events = Some(events);
        if self.stops() {
            return Ok(true);
        }
        while self.progress.epochs < self.recipe.schedule.epochs {
            self.epoch()?;
            let record = self.progress.history.last().expect("an epoch ended");
            if self.options.json {
                let text = serde_json::to_string(record).map_err(std::io::Error::other)?;
                writeln!(out, "{text}")?;
            } else {
                let measured = record.measured.as_ref().map_or(String::new(), |measured| format!("   {}", measured.text()));
                let (epochs, rate, seconds) = (self.recipe.schedule.epochs, grouped(record.samples_per_second), record.seconds);
                let number = format!("{:>1$}/{epochs}", record.epoch, epochs.to_string().len());
                writeln!(out, "epoch {number}   loss {:.4}{measured}   {rate} samples/s, {seconds:.1} s", record.loss)?;
            }
            out.flush()?;
            if self.stops() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether so many epochs have passed without a better one that it is time to stop.
    fn stops(&self) -> bool {
        let Some(stopping) = self.recipe.early_stopping else { return false };
        self.progress.best.is_some_and(|(_, epoch)| self.progress.epochs - epoch > stopping.patience)
    }

    fn epoch(&mut self) -> Result<(), Failure> {
        let recipe = self.recipe;
        let schedule = &recipe.schedule;
        let epoch = self.progress.epochs;
        let Part { dataset, samples: learnt, .. } = &self.parts.train;
        let dataset: &Dataset = dataset;
        let order: Vec<usize> = shuffled(learnt.len(), recipe.seed, epoch).into_iter().map(|at| learnt[at]).collect();
        let order = match dataset.lengths() {
            Some(lengths) => bucketed(order, &lengths, schedule.batch as usize, recipe.seed, epoch),
            None => order,
        };
        let batches: Vec<&[usize]> = order.chunks(schedule.batch as usize).collect();
        let bar = bar(order.len() as u64, format!("epoch {}/{}", epoch + 1, schedule.epochs));
        let every = Duration::from_secs_f64(self.options.checkpoint_seconds.unwrap_or(60.0).clamp(0.0, 1e9));
        let (begin, mut saved) = (Instant::now(), Instant::now());
        let (mut samples_now, mut since) = (0u64, [0.0; 2]);
        let length = batches.len() as f64;
        let rate_at = |at: usize, plateau: &Plateau| schedule.rate_at(f64::from(epoch) + at as f64 / length, 1.0 / length, plateau);
        let variation = recipe.sounds.and_then(|sounds| Variation::new(recipe.augment, sounds.rate, recipe.seed, epoch));
        let make = |at: usize, spent| {
            let samples = batches[at];
            let mut data = dataset.batch(samples, spent, variation.as_ref())?;
            if let Some(slot) = recipe.pictures {
                augment(&recipe.augment, &mut data[slot], samples, recipe.seed, epoch);
            }
            if let (Some(sounds), Some(variation)) = (recipe.sounds, &variation)
                && dataset.is_array(sounds.slot)
            {
                variation.apply_to_rows(&mut data[sounds.slot], samples);
            }
            Ok(data)
        };
        let first = self.progress.steps_in_epoch as usize;
        let outcome = each(first..batches.len(), self.ahead, make, |at, data| {
            let loss = self.stepper.step(data, rate_at(at, &self.progress.plateau))?;
            if !loss.is_finite() {
                return Err(Failure::from(self.not_finite(loss, data, batches[at])?));
            }
            let (samples, progress) = (batches[at].len() as u64, &mut self.progress);
            progress.steps_in_epoch += 1;
            progress.steps += 1;
            progress.samples += samples;
            progress.loss_sum += loss * samples as f64;
            samples_now += samples;
            since = [since[0] + loss, since[1] + 1.0];
            let point = |steps: usize| steps as u64 * POINTS / batches.len() as u64;
            if point(at + 1) > point(at) {
                let epochs = f64::from(epoch) + (at + 1) as f64 / length;
                progress.points.push(Point { epochs, loss: since[0] / since[1] });
                since = [0.0; 2];
            }
            bar.set_position(progress.samples);
            bar.set_message(format!("loss {:.4}", progress.loss_sum / progress.samples as f64));
            if self.signal().is_some() {
                return Ok(ControlFlow::Break(()));
            }
            if saved.elapsed() >= every && at + 1 < batches.len() {
                self.save_checkpoint()?;
                saved = Instant::now();
            }
            Ok(ControlFlow::Continue(()))
        });
        bar.finish_and_clear();
        if outcome?.is_break() {
            return Err(self.interrupted()?);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let measured = match self.parts.measured() {
            None => None,
            Some(part) => {
                let mut examined = Examined::new(recipe, part, self.signature);
                let names = self.learnt.labels.as_deref();
                match measure(recipe, &mut self.stepper, part, names, self.ahead, self.interruption.as_ref(), Some(&mut examined))? {
                    None => return Err(self.interrupted()?),
                    Some(measured) => {
                        self.examined = Some((measured.clone(), examined));
                        Some(measured)
                    }
                }
            }
        };
        let rate = rate_at(batches.len() - 1, &self.progress.plateau);
        self.stepper.settle()?;
        if let Some(error) = self.unsound(measured.as_ref()) {
            return Err(error.into());
        }
        let progress = &mut self.progress;
        progress.epochs += 1;
        if let Some(measured) = measured.as_ref().filter(|measured| measured.part == "validation") {
            progress.plateau.observe(schedule, measured.loss);
            let gain = recipe.early_stopping.map_or(0.0, |stopping| stopping.least_gain);
            if progress.best.is_none_or(|(best, _)| measured.loss < best - gain) {
                progress.best = Some((measured.loss, progress.epochs));
                if recipe.early_stopping.is_some() {
                    let path = self.options.out.join("best.safetensors");
                    save_parameters(recipe, &self.stepper, &self.learnt, &path)?;
                }
            }
        }
        progress.history.push(EpochRecord {
            epoch: progress.epochs,
            loss: progress.loss_sum / progress.samples.max(1) as f64,
            learning_rate: rate,
            measured,
            seconds,
            samples_per_second: samples_now as f64 / seconds.max(1e-9),
        });
        (progress.steps_in_epoch, progress.samples, progress.loss_sum) = (0, 0, 0.0);
        self.save_checkpoint()?;
        self.write_report()?;
        let Progress { history, points, .. } = &self.progress;
        self.events.as_mut().map_or(Ok(()), |events| events.tell(history, points)).map_err(Failure::from)
    }

    fn signal(&self) -> Option<i32> {
        self.interruption.as_ref().and_then(Interruption::signal)
    }

    /// Writes a checkpoint of what is done, and says how to go on with the rest.
    fn interrupted(&mut self) -> Result<Failure, Diagnostic> {
        self.save_checkpoint()?;
        Ok(self.ended_by_signal())
    }

    fn ended_by_signal(&self) -> Failure {
        let Progress { steps, epochs, .. } = self.progress;
        let place = self.file(CHECKPOINT);
        let message = format!("interrupted after step {steps}, in epoch {}: {} holds what was reached", epochs + 1, place.display());
        let without = if self.options.overwrite { ", without --overwrite," } else { "" };
        let help = format!("the same command with --resume{without} goes on from there to the same bits");
        Failure::Interrupted(self.signal().unwrap_or_default(), Diagnostic::new("interrupted", message).help(help))
    }

    /// The first parameter with a number that is not finite.
    fn infinite_parameter(&self) -> Option<&str> {
        let states = self.recipe.states[..self.recipe.parameters].iter().zip(self.stepper.states());
        let found = states.into_iter().find(|(_, state)| (0..state.len()).any(|i| !state.get_f64(i).is_finite()));
        found.map(|(slot, _)| slot.name.as_str())
    }

    /// Why an epoch must not be kept: numbers that are not finite.
    fn unsound(&self, measured: Option<&Measured>) -> Option<Diagnostic> {
        let epoch = self.progress.epochs + 1;
        if let Some(name) = self.infinite_parameter() {
            let error = Diagnostic::new("loss_not_finite", format!("parameter `{name}` is not finite after epoch {epoch}"));
            return Some(error.help("lower the `learning_rate`, or bound gradients by `clip_norm`"));
        }
        let measured = measured.filter(|measured| !measured.loss.is_finite())?;
        let message = format!("the loss of {} is {} after epoch {epoch}", measured.part, measured.loss);
        let help = "look for numbers that are not finite in those data, or, with `ctc`, for labels that so few time steps cannot spell";
        Some(Diagnostic::new("loss_not_finite", message).help(help))
    }

    /// What there is to say about a loss that is not finite: where it comes from.
    fn not_finite(&mut self, loss: f64, data: &[Array], samples: &[usize]) -> Result<Diagnostic, Diagnostic> {
        self.stepper.settle()?;
        let recipe = self.recipe;
        let message = format!("the loss is {loss} in step {} of epoch {}", self.progress.steps_in_epoch + 1, self.progress.epochs + 1);
        let error = Diagnostic::new("loss_not_finite", message);
        if let Some(name) = self.infinite_parameter() {
            let error = error.at("it comes from", format!("parameter `{name}`, which the update before made infinite"));
            return Ok(error.help("lower the `learning_rate`, or bound gradients by `clip_norm`"));
        }
        let finite = self.stepper.trace(data, recipe.parameters)?;
        Ok(match finite.iter().position(|finite| !finite) {
            Some(at) if recipe.layers[at].starts_with("input ") => {
                error.at("it comes from", recipe.layers[at].clone()).help("look for numbers that are not finite in the data")
            }
            Some(at) => {
                let error = error.at("it comes from", format!("what layer {} gives", recipe.layers[at]));
                error.help("lower the `learning_rate`, bound gradients by `clip_norm`, or let a norm come before that layer")
            }
            None => match self.impossible(data, samples)? {
                Some(text) => {
                    let error = error.at("it comes from", text);
                    error.help("let the network keep more time steps, or `drop_impossible = true` of the loss leave such samples out")
                }
                None => error.help("what the network gives is finite: look at the targets"),
            },
        })
    }

    /// The first sample of a batch whose labels the output's time steps cannot spell, in words.
    fn impossible(&mut self, data: &[Array], samples: &[usize]) -> Result<Option<String>, Diagnostic> {
        let (_, outputs) = self.stepper.evaluate(data)?;
        let found = self.recipe.metrics.iter().find_map(|measured| first_impossible(measured, outputs, data));
        Ok(found.map(|Impossible { sample, labels, needed, steps }| {
            let number = samples[sample];
            let name = self.parts.train.dataset.names.as_ref().map_or(number.to_string(), |names| names[number].clone());
            format!("sample {name}: its {labels} labels take {needed} time steps, and the output has {steps}")
        }))
    }

    fn save_checkpoint(&mut self) -> Result<(), Diagnostic> {
        self.stepper.settle()?;
        let text = serde_json::to_string(&self.progress).map_err(|error| Diagnostic::new("checkpoint", error.to_string()))?;
        let tensors = (held(self.recipe).iter().zip(self.stepper.fixed())).chain(self.recipe.states.iter().zip(self.stepper.states()));
        save(&self.file(CHECKPOINT), tensors, &text)
    }

    fn write_report(&self) -> Result<(), Diagnostic> {
        write_csv(&self.file("history.csv"), &self.progress.history)?;
        write_jsonl(&self.file("history.jsonl"), &self.progress.history)?;
        let Progress { history, points, .. } = &self.progress;
        let report = Report {
            name: &self.recipe.name,
            what: "training",
            facts: self.facts(),
            history,
            points,
            best: self.progress.best.map(|(_, epoch)| epoch),
            examined: self.examined.as_ref().map(|(measured, examined)| (measured, examined)),
            classes: self.learnt.labels.as_deref().or(self.signature.labels.as_deref()),
            layers: &self.recipe.summary,
        };
        report.write(&self.file("report.html"))
    }

    /// Writes the parameters, and measures them by the test.
    fn finish(&mut self, stopped: bool, out: &mut dyn Write) -> Result<(), Failure> {
        let recipe = self.recipe;
        let path = self.file("model.safetensors");
        let best = self.file("best.safetensors");
        if best.exists() {
            let (parameters, _) = load(&best, recipe.fixed.iter().chain(&recipe.states[..recipe.parameters]))?;
            self.take_parameters(parameters, self.progress.steps)?;
        }
        match recipe.adapters.is_empty() {
            true => save_parameters(recipe, &self.stepper, &self.learnt, &path)?,
            false => {
                let tensors = merged(recipe, self.stepper.fixed(), self.stepper.evaluated())?;
                save(&path, tensors.iter().map(|(slot, array)| (*slot, array)), &self.learnt.to_text())?;
            }
        }
        // The report is about the parameters that are written: those of the best epoch may not be the last ones.
        let again = self.parts.validation.as_ref().filter(|_| best.exists());
        if let Some(part) = self.parts.test.as_ref().or(again) {
            let mut examined = Examined::new(recipe, part, self.signature);
            let names = self.learnt.labels.as_deref();
            match measure(recipe, &mut self.stepper, part, names, self.ahead, self.interruption.as_ref(), Some(&mut examined))? {
                // The checkpoint of the last epoch stays: the parameters may be those of the best one by now.
                None => return Err(self.ended_by_signal()),
                Some(measured) => self.examined = Some((measured, examined)),
            }
        }
        self.write_report()?;
        let tested = self.examined.as_ref().map(|(measured, _)| measured).filter(|_| self.parts.test.is_some());
        if self.options.json {
            let best = self.progress.best.map(|(_, epoch)| epoch);
            let answer =
                serde_json::json!({ "finished": true, "stopped_early": stopped, "best_epoch": best, "test": tested, "model": path });
            writeln!(out, "{answer}")?;
            return Ok(());
        }
        if let (true, Some((loss, epoch))) = (best.exists(), self.progress.best) {
            let why = if stopped { "stopped early; " } else { "" };
            writeln!(out, "{why}the best epoch was {epoch}, with a validation loss of {loss:.4}")?;
        }
        if let Some(tested) = tested {
            writeln!(out, "{}", tested.text())?;
        }
        writeln!(out, "wrote {}, and {} to look at", path.display(), self.file("report.html").display())?;
        Ok(())
    }
}

/// What stays and is in checkpoints nevertheless: nothing where adapters are trained, which are small beside it.
fn held(recipe: &Recipe) -> &[Slot] {
    if recipe.adapters.is_empty() { &recipe.fixed } else { &[] }
}

/// Writes the parameters that evaluation uses, by the names of the network.
fn save_parameters(recipe: &Recipe, stepper: &Stepper, learnt: &Learnt, path: &Path) -> Result<(), Diagnostic> {
    let changed = recipe.states[..recipe.parameters].iter().zip(stepper.evaluated());
    save(path, recipe.fixed.iter().zip(stepper.fixed()).chain(changed), &learnt.to_text())
}
