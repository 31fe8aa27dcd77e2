//! Training as a whole: what layers do during it, settings of `[train]`, data, checkpoints, and trainers as programs.

use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::frontend::model::{Language, Model, parse};
use kiln::pipeline::Config;
use kiln::training::{TrainingPlan, plan};
use kiln_ir::eval::evaluate;
use kiln_ir::{Builder, DType, Dim, Graph, Module, Tensor, TensorType};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::write_npz;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::run::TrainOptions;
use kiln_runtime::training::stepper::{Functions, Stepper};
use kiln_tests::samples::Random;
use kiln_tests::steps;
use kiln_tests::training::{array, compiled, planned, run_here, values, write_trainer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A network with everything that behaves differently during training.
const NET: &str = r#"
name = "net"
seed = 5
[[input]]
name = "x"
shape = [1, 6, 6]
[[layer]]
type = "conv2d"
filters = 4
kernel = 3
l2 = 0.001
[[layer]]
type = "batch_norm"
momentum = 0.75
[[layer]]
type = "activation"
function = "relu"
[[layer]]
type = "dropout"
rate = 0.25
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
name = "scores"
units = 3
constraint = "max_norm(2)"
"#;

fn network(train: &str) -> Model {
    let text = format!("{NET}\n[train]\nloss = \"sparse_cross_entropy\"\n{train}");
    parse("net.toml", "net", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Pictures whose brightest third says the class.
fn batch(count: usize, seed: u64) -> Vec<Array> {
    let mut random = Random::new(seed);
    let labels: Vec<usize> = (0..count).map(|_| (random.unit() * 3.0) as usize).collect();
    let mut pixels = Vec::new();
    for label in &labels {
        pixels.extend((0..36).map(|i| random.unit() * 0.5 + if i / 12 == *label { 0.5 } else { 0.0 }));
    }
    vec![array(DType::F32, &[count, 1, 6, 6], pixels.into_iter()), array(DType::I64, &[count], labels.into_iter().map(|l| l as f64))]
}

/// Steps on batches, and the states after them, by name; `sizes` are the batches' sizes.
fn states_after(model: &Model, threads: usize, sizes: &[usize]) -> Vec<(String, Vec<f64>)> {
    let plan = planned(model);
    let pool = ThreadPool::new(threads);
    let [step, evaluation, trace] = compiled(&plan).load(&pool).expect("it loads");
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let mut stepper = Stepper::new(&plan.recipe, functions, 5).expect("it fits");
    let all = batch(sizes.iter().sum(), 1);
    let mut from = 0;
    for size in sizes {
        let [pictures, labels] = &all[..] else { unreachable!() };
        let part = [
            array(DType::F32, &[*size, 1, 6, 6], values(pictures)[from * 36..].iter().copied()),
            array(DType::I64, &[*size], values(labels)[from..].iter().copied()),
        ];
        stepper.step(&part, 0.01).unwrap_or_else(|error| panic!("{error}"));
        from += size;
    }
    plan.recipe.states.iter().zip(stepper.states()).map(|(slot, state)| (slot.name.clone(), values(state))).collect()
}

#[test]
fn compiled_steps_are_what_the_reference_computes() {
    let model = network("clip_norm = 1.0\nema = 0.9\naccumulate = 2\nfreeze = [\"scores.bias\"]");
    let TrainingPlan { step, recipe, .. } = planned(&model);
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let facts = ModelFacts { name: "step".into(), ..ModelFacts::default() };
    let compiled = kiln::compile::compile(&step, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(2);
    let predictor = compiled.predictor(&pool).expect("it loads");
    let graph = step.predict().expect("it is there");
    let mut random = Random::new(9);
    for (count, applies) in [(1i64, true), (2, false), (7, true)] {
        let data = batch(count as usize, count as u64);
        let mut inputs: Vec<Tensor> = data.iter().map(|a| Tensor::from_vec(a.dtype(), a.shape().to_vec(), a.bytes().to_vec())).collect();
        inputs.push(Tensor::from_ints(DType::U64, vec![], [i128::from(count) * 77_777_777_777]));
        inputs.push(Tensor::scalar(DType::F64, 0.01));
        inputs.push(Tensor::i64(&[], &[count]));
        inputs.push(Tensor::from_ints(DType::Bool, vec![], [i128::from(applies)]));
        for slot in recipe.fixed.iter().chain(&recipe.states) {
            let elements = slot.shape.iter().product();
            inputs.push(Tensor::from_floats(slot.dtype, slot.shape.clone(), (0..elements).map(|_| random.unit() + 0.1)));
        }
        let expected = evaluate(&step, graph, &inputs).unwrap_or_else(|error| panic!("{error}"));
        let found = predictor.run(&inputs, &pool).unwrap_or_else(|error| panic!("{error}"));
        for ((name, _), (found, expected)) in graph.outputs().iter().zip(found.iter().zip(&expected)) {
            for (found, expected) in found.floats().into_iter().zip(expected.floats()) {
                assert!((found - expected).abs() <= 2e-5 * (1.0 + expected.abs()), "{name}: {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let model = network("ema = 0.9");
    let [one, two, three] = [1, 2, 3].map(|threads| states_after(&model, threads, &[5, 32, 32, 1]));
    assert_eq!(one, two);
    assert_eq!(one, three);
}

/// Without what depends on the batch as a whole, two half batches make one update like the whole batch does.
#[test]
fn accumulated_gradients_are_those_of_the_whole_batch() {
    let simple = |train: &str| {
        let text = "[[input]]\nname = \"x\"\nshape = [1, 6, 6]\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 3\n";
        let text = format!("dtype = \"f32\"\n{text}[train]\nloss = \"sparse_cross_entropy\"\n{train}");
        parse("net.toml", "net", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
    };
    let whole = states_after(&simple(""), 1, &[8, 8]);
    let parts = states_after(&simple("accumulate = 2"), 1, &[4, 4, 4, 4]);
    for (name, values) in whole {
        let (_, others) = parts.iter().find(|(other, _)| *other == name).expect("it is there too");
        for (a, b) in values.iter().zip(others) {
            assert!((a - b).abs() < 2e-5, "{name}: {a} and {b}");
        }
    }
}

#[test]
fn frozen_parameters_stay_and_means_follow() {
    let before = states_after(&network("ema = 0.5"), 1, &[]);
    let model = network("ema = 0.5\nfreeze = [\"conv2d.*\"]");
    assert_eq!(planned(&model).recipe.fixed.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>(), ["conv2d.bias", "conv2d.weight"]);
    let after = states_after(&model, 1, &[6]);
    let of = |list: &[(String, Vec<f64>)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).expect("it is there");
    let [old, new, mean] = [of(&before, "scores.weight"), of(&after, "scores.weight"), of(&after, "scores.weight/average")];
    assert_ne!(old, new);
    for ((old, new), mean) in old.iter().zip(&new).zip(&mean) {
        assert!(((old + new) / 2.0 - mean).abs() < 1e-6);
    }
    let running = of(&after, "batch_norm.mean");
    assert!(running.iter().any(|mean| *mean != 0.0));
}

/// Data in one archive, and the names of the parts.
fn write_data(path: &Path) {
    let (train, test) = (batch(203, 3), batch(50, 4));
    let arrays = [("x_train", &train[0]), ("y_train", &train[1]), ("x_test", &test[0]), ("y_test", &test[1])];
    write_npz(path, arrays).expect("it is written");
}

#[test]
fn a_network_learns_stops_early_and_keeps_its_best_epoch() {
    let directory = tempfile::tempdir().expect("a place for files");
    let (data, out) = (directory.path().join("data.npz"), directory.path().join("out"));
    write_data(&data);
    let model = network("epochs = 60\nbatch = 16\nvalidation = 0.2\nearly_stopping = { patience = 3 }\nmetrics = [\"accuracy\", \"f1\"]");
    let told = run_here(&model, &data, &out, TrainOptions { learning_rate: Some(0.01), ..TrainOptions::default() }).expect("it trains");
    let accuracy: f64 = told
        .lines()
        .find(|line| line.starts_with("test"))
        .and_then(|line| line.split("accuracy ").nth(1)?.split(',').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{told}"));
    assert!(accuracy > 0.9, "{told}");
    assert!(told.contains("the best epoch was") && !told.contains("epoch 60/60"), "{told}");
    for name in ["model.safetensors", "best.safetensors", "checkpoint.safetensors", "history.csv", "report.html"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let report = fs::read_to_string(out.join("report.html")).expect("text");
    assert!(report.contains("<svg") && report.contains("validation loss") && report.contains("f1"));
    // What is measured last is looked into: which classes are confused, the worst samples as pictures, the layers.
    let table = report.split("<h2>Confusion</h2>").nth(1).expect("it is there").split("</table>").next().expect("it ends");
    assert!(table.contains("50 samples for test") && table.contains("recall") && table.contains("precision"), "{table}");
    assert!(report.contains("<h2>Most wrong</h2>"));
    let layers = report.split("<h2>Model</h2>").nth(1).expect("it is there");
    let parameters: usize = planned(&model).recipe.summary.iter().map(|layer| layer.parameters).sum();
    let slots = &planned(&model).recipe;
    let own = slots.states[..slots.parameters].iter().chain(&slots.fixed).map(|slot| slot.shape.iter().product::<usize>());
    assert_eq!(parameters, own.sum::<usize>());
    assert!(layers.contains("conv2d") && layers.contains("f32[batch, "), "{layers}");
    assert!(!report.contains("<script") && !report.contains("src=\"http") && !report.contains("href="));
    let table = fs::read_to_string(out.join("history.csv")).expect("text");
    assert!(table.starts_with("epoch,loss,learning_rate,seconds,validation_loss,validation_accuracy,validation_f1\n1,"), "{table}");

    let lines = fs::read_to_string(out.join("history.jsonl")).expect("text");
    assert_eq!(lines.lines().count() + 1, table.lines().count());
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().expect("an epoch")).expect("JSON");
    let row: Vec<&str> = table.lines().last().expect("an epoch").split(',').collect();
    for (name, value) in table.lines().next().expect("names").split(',').zip(row) {
        assert_eq!(last[name].to_string().parse::<f64>(), value.parse::<f64>(), "{name}");
    }
    let events = |out: &Path| {
        let files = fs::read_dir(out).expect("it is there").map(|entry| entry.expect("readable").path());
        let mut events = files.filter(|path| path.to_string_lossy().contains("events.out.tfevents."));
        let (only, other) = (events.next().expect("there is one"), events.next());
        assert!(other.is_none(), "{other:?}");
        String::from_utf8_lossy(&fs::read(only).expect("readable")).into_owned()
    };
    for (tag, count) in [("loss/train", lines.lines().count()), ("f1/validation", lines.lines().count())] {
        assert_eq!(events(&out).matches(tag).count(), count, "{tag}");
    }
    assert!(events(&out).matches("loss/steps").count() > lines.lines().count());

    let again = run_here(&model, &data, &out, TrainOptions::default()).expect_err("there is a checkpoint");
    assert!(again.contains("holds a checkpoint already"), "{again}");
    let other = run_here(&network("epochs = 9"), &data, &out, TrainOptions { resume: true, ..TrainOptions::default() });
    assert!(other.expect_err("it is of another training").contains("is of another training"));
    let nothing = run_here(&model, &data, &directory.path().join("new"), TrainOptions { resume: true, ..TrainOptions::default() });
    assert!(nothing.expect_err("there is none").contains("no checkpoint to go on from"));
}

#[test]
fn a_loss_that_is_not_finite_ends_training() {
    let directory = tempfile::tempdir().expect("a place for files");
    let data = directory.path().join("train.npz");
    let mut arrays = batch(20, 3);
    arrays[0].set_f64(700, f64::NAN);
    write_npz(&data, [("X", &arrays[0]), ("Y", &arrays[1])]).expect("it is written");
    let model = network("epochs = 2\nbatch = 4\nvalidation = 0.0");
    let error = run_here(&model, directory.path(), &directory.path().join("out"), TrainOptions::default()).expect_err("NaN");
    assert!(error.contains("the loss is NaN in step") && error.contains("input `x`"), "{error}");

    let mut arrays = batch(20, 3);
    (0..arrays[0].len()).for_each(|i| arrays[0].set_f64(i, 1e38));
    write_npz(&data, [("X", &arrays[0]), ("Y", &arrays[1])]).expect("it is written");
    let error = run_here(&model, directory.path(), &directory.path().join("out2"), TrainOptions::default()).expect_err("overflow");
    assert!(error.contains("what layer net.toml:") && error.contains("gives"), "{error}");
}

/// The trainer as a program, killed at any moment and told to go on, ends with the bits of one that was left alone.
#[test]
fn a_killed_trainer_goes_on_to_the_same_bits() {
    let directory = tempfile::tempdir().expect("a place for files");
    let (data, program) = (directory.path().join("data.npz"), directory.path().join("trainer"));
    write_data(&data);
    let model = network(
        "epochs = 40\nbatch = 8\nvalidation = 0.1\nearly_stopping = { patience = 100 }\nema = 0.9\naugment = { flip = true, shift = 1 }",
    );
    write_trainer(&model, &program);
    let trainer = |out: &Path, resume: bool, threads: &str| {
        let mut command = Command::new(&program);
        command.arg("--data").arg(&data).arg("--out").arg(out).args(["--threads", threads, "--checkpoint-seconds", "0.005"]);
        command.args(resume.then_some("--resume")).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let (whole, broken) = (directory.path().join("whole"), directory.path().join("broken"));
    assert!(trainer(&whole, false, "1").status().expect("it runs").success());
    let mut random = Random::new(2);
    let mut kills = 0;
    loop {
        let resume = broken.join("checkpoint.safetensors").exists();
        let mut child = trainer(&broken, resume, "2").spawn().expect("it runs");
        std::thread::sleep(Duration::from_micros((random.unit() * 60_000.0) as u64 + 2000));
        child.kill().expect("it can be killed");
        let output = child.wait_with_output().expect("it ends");
        if output.status.success() {
            break;
        }
        assert!(output.status.code().is_none(), "{}", String::from_utf8_lossy(&output.stderr));
        kills += 1;
        if kills == 12 {
            let resume = broken.join("checkpoint.safetensors").exists();
            assert!(trainer(&broken, resume, "2").status().expect("it runs").success());
            break;
        }
    }
    assert!(kills > 0, "it was never killed");
    let read = |out: &Path| fs::read(out.join("model.safetensors")).expect("it is there");
    assert!(read(&whole) == read(&broken), "after {kills} kills");
}

/// Asked to end by a signal, a trainer writes what it has, says how to go on, and goes on to the bits of one that was left alone.
#[test]
fn a_trainer_that_is_asked_to_end_leaves_a_checkpoint_to_go_on_from() {
    let directory = tempfile::tempdir().expect("a place for files");
    let (data, program) = (directory.path().join("data.npz"), directory.path().join("trainer"));
    write_data(&data);
    write_trainer(&network("epochs = 400\nbatch = 8\nvalidation = 0.1"), &program);
    let trainer = |out: &Path, more: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--data").arg(&data).arg("--out").arg(out).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let (whole, broken) = (directory.path().join("whole"), directory.path().join("broken"));
    assert!(trainer(&whole, &["--epochs", "60", "--threads", "1"]).output().expect("it runs").status.success());
    let epochs = |out: &Path| fs::read_to_string(out.join("history.csv")).map_or(0, |table| table.lines().count().saturating_sub(1));
    let mut done = 0;
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let more: &[&str] = if done == 0 { &["--epochs", "60"] } else { &["--epochs", "60", "--resume"] };
        // A checkpoint within an epoch is its answer to the signal: none is due by itself.
        let child = trainer(&broken, more).args(["--checkpoint-seconds", "1000"]).spawn().expect("it runs");
        while epochs(&broken) <= done {
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
        assert!(sent.expect("there is a `kill`").success());
        let output = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{told}");
        assert!(told.contains("interrupted after step") && told.contains("--resume goes on from there"), "{told}");
        assert!(!broken.join("model.safetensors").exists(), "it is not done");
        done = epochs(&broken);
        assert!((1..60).contains(&done), "{done} epochs");
    }
    assert!(trainer(&broken, &["--epochs", "60", "--resume"]).output().expect("it runs").status.success());
    let events = fs::read_dir(&broken).expect("it is there").map(|entry| entry.expect("readable").path());
    let events: Vec<_> = events.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    let text = String::from_utf8_lossy(&fs::read(&events[0]).expect("it is there")).into_owned();
    assert_eq!((events.len(), text.matches("loss/train").count()), (1, 60), "each epoch once");
    let evaluate = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--evaluate").arg("--data").arg(&data).args(more);
        command.output().expect("it runs")
    };
    let model = broken.join("model.safetensors");
    let measured = evaluate(&["--parameters", &model.to_string_lossy(), "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&measured.stdout).expect("JSON");
    assert_eq!((answer["part"].as_str(), answer["samples"].as_u64()), (Some("test"), Some(50)));
    assert!(answer["metrics"]["accuracy"].as_f64().expect("a number") > 0.8, "{answer}");
    for (wrong, expected) in [(evaluate(&[]), "it needs --parameters"), (evaluate(&["--part", "tests"]), "`tests` is no part of data")] {
        assert!(wrong.status.code() == Some(2) && String::from_utf8_lossy(&wrong.stderr).contains(expected), "{wrong:?}");
    }
    let read = |out: &Path| fs::read(out.join("model.safetensors")).expect("it is there");
    assert!(read(&whole) == read(&broken));
}

/// Forward and backward pass in 16 bits stay beside those in f32, and the parameters are f32; an overflow changes nothing but the factor.
#[test]
fn mixed_precision_keeps_wide_parameters_and_skips_overflows() {
    let sizes = [16, 16, 16];
    let wide = states_after(&network(""), 1, &sizes);
    let find = |list: &[(String, Vec<f64>)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).expect("it is there");
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    for precision in ["bf16", "f16"] {
        let model = network(&format!("precision = \"{precision}\""));
        assert!(planned(&model).recipe.states.iter().all(|slot| slot.dtype != DType::BF16 && slot.dtype != DType::F16));
        let skips = precision == "f16";
        let (begun, narrow) = (states_after(&model, 1, &[]), states_after(&model, 2, &[16; 12][..if skips { 12 } else { 3 }]));
        for name in ["conv2d.weight", "scores.weight", "batch_norm.mean"] {
            let [first, exact, found] = [&begun, &wide, &narrow].map(|list| find(list, name));
            assert!(distance(&first, &found) > 0.0, "{precision} {name} stays");
            let (apart, size) = (distance(&exact, &found), exact.iter().map(|a| a * a).sum::<f64>().sqrt());
            assert!(apart < 0.1 * size || skips, "{precision} {name}: {apart} of {size}");
        }
        if skips {
            // Gradients times 65536 are beyond f16 at first.
            let scale = find(&narrow, "loss_scale/factor")[0];
            assert_eq!(find(&begun, "loss_scale/factor"), [65536.0]);
            assert!((1.0..65536.0).contains(&scale) && scale.log2().fract() == 0.0, "{scale}");
            let one = states_after(&model, 1, &sizes[..1]);
            assert_eq!(find(&one, "loss_scale/factor"), [32768.0]);
            for name in ["conv2d.weight", "scores.weight/adam.mean", "loss_scale/updates"] {
                assert_eq!(find(&one, name), find(&begun, name), "{name}");
            }
        }
    }
}

/// A step as an object: a program in C trains with it, its states in place.
#[test]
fn a_program_in_c_trains() {
    let directory = tempfile::tempdir().expect("a place for files");
    let net =
        "name = \"line\"\noutputs = [\"y\"]\n[[input]]\nname = \"x\"\nshape = [1]\n[[layer]]\ntype = \"dense\"\nname = \"y\"\nunits = 1\n";
    let model = parse("line.toml", "line", &format!("{net}[train]\nloss = \"mse\"\n"), Language::Toml).unwrap_or_else(|e| panic!("{e:?}"));
    let compiled = compiled(&planned(&model));
    let object = directory.path().join("step.o");
    let written = compiled.step.write(ArtifactKind::Object, WeightsChoice::Embed, &object, &ThreadPool::new(1));
    let header = fs::read_to_string(written.expect("it is written").header.expect("a header")).expect("text");
    assert!(header.contains("The last 6 inputs are states: the last 6 outputs are their next values"), "{header}");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("files/abi/line_step.c");
    let program = directory.path().join("line");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(directory.path()).arg(source).arg(&object).arg("-o").arg(&program);
    let told = cc.output().expect("a C compiler");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = Command::new(&program).output().expect("it runs");
    assert!(told.status.success(), "{}", told.status);
    let losses: Vec<f64> = String::from_utf8_lossy(&told.stdout).lines().map(|line| line.parse().expect("a number")).collect();
    // The mean of (3x − 1)² over the eight points, then nearly nothing.
    assert!((losses[0] - 0.835_937_5).abs() < 1e-5 && losses[1] < 1e-4, "{losses:?}");
}

/// The bytes of an IDX file.
fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn data_of_every_kind_are_read_and_damaged_ones_refused() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = |name: &str| directory.path().join(name);
    let model = network("epochs = 1\nbatch = 1000");
    let run = |data: &Path| run_here(&model, data, &place("out"), TrainOptions { overwrite: true, ..TrainOptions::default() });

    let files = place("idx");
    fs::create_dir(&files).expect("it is made");
    let pixels: Vec<u8> = (0..20 * 36).map(|i| (i * 7 % 256) as u8).collect();
    let labels: Vec<u8> = (0..20).map(|i| i % 3).collect();
    let images = idx(&[20, 6, 6], &pixels);
    fs::write(files.join("train-images-idx3-ubyte"), &images).expect("written");
    assert!(run(&files).expect_err("no labels").contains("has no train-labels-idx1-ubyte beside it"));
    fs::write(files.join("train-labels-idx1-ubyte"), idx(&[20], &labels)).expect("written");
    let told = run(&files).expect("it trains");
    assert!(told.contains("18 samples to learn from, 2 for validation"), "{told}");
    let others = [
        (images[..100].to_vec(), "720 bytes are promised, 84 are there"),
        (idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), "its sizes overflow"),
        (idx(&[u32::MAX, 1000, 1000], &[]), "bytes are promised, 0 are there"),
        (b"\0\0\x0d\x03".to_vec(), "does not begin with"),
        (idx(&[19, 6, 6], &pixels[..19 * 36]), "19 samples of `x`, but 20 of `scores`"),
        (idx(&[20, 6, 5], &pixels[..600]), "axis 3 must be 6"),
    ];
    for (bytes, expected) in others {
        fs::write(files.join("train-images-idx3-ubyte"), bytes).expect("written");
        let error = run(&files).expect_err("damaged");
        assert!(error.contains(expected), "{error}, expected {expected}");
    }

    let arrays = place("arrays");
    fs::create_dir(&arrays).expect("it is made");
    let write = |name: &str, part: &[Array]| {
        write_npz(&arrays.join(name), [("x", &part[0]), ("scores", &part[1])]).expect("it is written");
    };
    write("train.npz", &batch(1, 1));
    write("validation.npz", &batch(3, 2));
    write("test.npz", &batch(5, 3));
    let told = run(&arrays).expect("one sample is enough");
    assert!(told.contains("1 samples to learn from, 3 for validation, 5 for test"), "{told}");
    for label in [-1.0, 3.0] {
        let mut part = batch(4, 1);
        part[1].set_f64(2, label);
        write("train.npz", &part);
        assert!(run(&arrays).expect_err("no such class").contains("of sample 2 is"), "{label}");
    }
    let part = batch(4, 1);
    write("train.npz", &[array(DType::F32, &[4, 1, 6, 6], values(&part[0]).into_iter()), array(DType::F32, &[4], [0.5; 4].into_iter())]);
    assert!(run(&arrays).expect_err("no label").contains("has 0.5, which is no i64"));
    assert!(run(&place("nothing")).expect_err("nowhere").contains("no such file or directory"));
    fs::create_dir(place("empty")).expect("it is made");
    assert!(run(&place("empty")).expect_err("nothing there").contains("holds no data that Kiln knows"));
}

#[test]
fn pictures_in_a_directory_for_each_class_are_read() {
    let directory = tempfile::tempdir().expect("a place for files");
    let text = "[[input]]\nname = \"image\"\nshape = [1, 28, 28]\nimage = {}\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 10\n";
    let text = format!("{text}[train]\nloss = \"sparse_cross_entropy\"\nepochs = 2\nbatch = 4\naugment = {{ rotate = 5 }}\n");
    let model = parse("net.toml", "net", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pictures = kiln_tests::bless::repository().join("examples/digits/pictures");
    for entry in fs::read_dir(pictures).expect("they are there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        for part in ["train", "test"] {
            let class = directory.path().join(part).join(&name[..1]);
            fs::create_dir_all(&class).expect("it is made");
            fs::copy(&path, class.join(&name)).expect("it is copied");
        }
    }
    let out = directory.path().join("out");
    let told = run_here(&model, directory.path(), &out, TrainOptions::default()).expect("it trains");
    assert!(told.contains("18 samples to learn from, 2 for validation, 20 for test"), "{told}");
    fs::rename(directory.path().join("test/9"), directory.path().join("test/nine")).expect("it is renamed");
    let error =
        run_here(&model, directory.path(), &out, TrainOptions { overwrite: true, ..TrainOptions::default() }).expect_err("no such class");
    assert!(error.contains("`nine` is no class: the classes are 0, 1"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_told() {
    let wrong = |train: &str| {
        let text = format!("{NET}\n[train]\n{train}");
        let model = parse("net.toml", "net", &text, Language::Toml).map_err(|errors| errors[0].to_string());
        match model {
            Err(error) => error,
            Ok(model) => plan(&model, model.config.as_ref().expect("it says how")).err().map_or("nothing".into(), |e| e[0].to_string()),
        }
    };
    let loss = "loss = \"sparse_cross_entropy\"\n";
    let cases = [
        ("epochs = 3", "`loss` is missing"),
        ("loss = \"sparse_cross_entropi\"", "did you mean `sparse_cross_entropy`?"),
        ("loss = { type = \"mse\", output = \"score\" }", "did you mean `scores`?"),
        ("loss = [\"mse\", \"mae\"]", "has two losses"),
        ("loss = { type = \"mse\", weight = -1 }", "`weight` is -1"),
        (&format!("{loss}optimiser = {{ type = \"adam\", beta1 = 1.0 }}"), "`beta1` is 1, but a part from 0 up to 1 is wanted"),
        (&format!("{loss}optimiser = {{ type = \"adam\", bta1 = 0.5 }}"), "nothing here is called `bta1`"),
        (&format!("{loss}schedule = \"cosin\""), "did you mean `cosine`?"),
        (&format!("{loss}metrics = [\"acuracy\"]"), "did you mean `accuracy`?"),
        (&format!("{loss}freeze = [\"*\"]"), "no parameter to train"),
        (&format!("{loss}freeze = [\"convolution\"]"), "no parameter is called `convolution`"),
        (&format!("{loss}precision = \"fp16\""), "there is no `fp16`"),
        (&format!("{loss}early_stopping = {{ patience = 1, least_gain = nan }}"), "`least_gain`"),
        ("loss = \"ctc\"", "ctc takes [batch, time, classes]"),
    ];
    for (train, expected) in cases {
        let told = wrong(train);
        assert!(told.contains(expected), "{train}: {told}");
    }
    let narrow = format!("dtype = \"f16\"\n{NET}\n[train]\n{loss}precision = \"f16\"");
    assert!(parse("net.toml", "net", &narrow, Language::Toml).is_err());
    let flat = "[[input]]\nname = \"x\"\nshape = [6]\n[[layer]]\ntype = \"dense\"\nunits = 3\n";
    let flat = parse("n.toml", "n", &format!("{flat}[train]\n{loss}augment = {{ flip = true }}"), Language::Toml).expect("it is read");
    let error = plan(&flat, flat.config.as_ref().expect("it says how")).expect_err("no pictures")[0].to_string();
    assert!(error.contains("not exactly one input takes such"), "{error}");
}

/// States that exchange places or read one another's elements cannot simply be overwritten.
#[test]
fn states_that_need_one_another_are_updated_as_if_at_once() {
    let ty = TensorType::fixed(DType::F32, &[40]);
    let mut graph = Graph::new();
    let [x, a, b] = ["x", "a", "b"].map(|name| graph.add_input(name, ty.clone()));
    let mut builder = Builder::new(&mut graph);
    let sum = builder.add(a, x);
    let places = Tensor::i64(&[40], &(0..40).rev().collect::<Vec<i64>>());
    let places = builder.constant(places);
    let back = builder.gather(a, places, 0);
    let new_a = builder.mul(back, b);
    let new_b = builder.add(a, sum);
    graph.add_output("sum", sum);
    graph.add_output("a", new_a);
    graph.add_output("b", new_b);
    let module = Module { name: "states".into(), functions: [("predict".to_string(), graph)].into(), ..Module::default() };
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let facts = ModelFacts { name: "states".into(), states: 2, ..ModelFacts::default() };
    let compiled = kiln::compile::compile(&module, target, facts, &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(2);
    let predictor = compiled.predictor(&pool).expect("it loads");
    let model = predictor.model();
    let numbers = |scale: f64| array(DType::F32, &[40], (0..40).map(move |i| scale * (f64::from(i) - 17.0)));
    let (input, mut states) = ([numbers(0.25)], [numbers(0.5), numbers(0.125)]);
    let mut session = model.session(&model.solve_symbols(input.iter().chain(&states)).expect("it fits"), &pool).expect("small");
    let (mut a, mut b) = (values(&states[0]), values(&states[1]));
    for _ in 0..3 {
        session.update(&input, &mut states).expect("it runs");
        let x = values(&input[0]);
        let back: Vec<f64> = a.iter().rev().copied().collect();
        let new_b: Vec<f64> = a.iter().zip(&x).map(|(a, x)| a + (a + x)).collect();
        (a, b) = (back.iter().zip(&b).map(|(a, b)| a * b).collect(), new_b);
        assert_eq!(values(&states[0]), a);
        assert_eq!(values(&states[1]), b);
    }
    assert!(session.run(&input).is_err(), "it has states");
}

/// Targets of a size that the network computes from an open one: any length trains like a network that is written for it.
#[test]
fn targets_may_have_sizes_that_are_computed() {
    let model = |length: &str, loss: &str| {
        let text = format!(
            "input = [{{ name = 'x', shape = [2, {length}] }}]\n\
             layer = [{{ type = 'conv1d', name = 'y', filters = 3, kernel = 3, strides = 2 }}, {{ type = 'permute', order = [2, 1] }}]\n\
             [train]\nloss = '{loss}'\n"
        );
        parse("net.toml", "net", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
    };
    for (loss, dtype, target) in [("mse", DType::F32, vec![4, 4, 3]), ("sparse_cross_entropy", DType::I64, vec![4, 4])] {
        let trained = |model: &Model| {
            let config = model.config.as_ref().expect("it says how");
            let trained = steps::train(model, config, &BTreeMap::new(), 3, &mut |slot, step| {
                let wave = (0..).map(move |i| ((i + step) as f64 * 0.7).sin());
                match slot.is_target {
                    true if dtype == DType::I64 => array(dtype, &target, wave.map(|v| (v + 1.5).floor())),
                    true => array(dtype, &target, wave),
                    false => array(DType::F32, &[4, 2, 9], wave),
                }
            });
            (trained.losses, trained.states)
        };
        assert_eq!(trained(&model("'time'", loss)), trained(&model("9", loss)), "{loss}");
    }
    let step = planned(&model("'time'", "mse")).step;
    let graph = step.predict().expect("it is there");
    let wrong = graph.inputs().iter().map(|(_, value)| {
        let size = |d: &Dim| d.evaluate(&|s| Some(if s.name() == "time" { 9 } else { 5 })).expect("known") as usize;
        let shape: Vec<usize> = graph.ty(*value).shape.iter().map(size).collect();
        Tensor::from_floats(graph.ty(*value).dtype, shape.clone(), vec![0.0; shape.iter().product()])
    });
    let error = evaluate(&step, graph, &wrong.collect::<Vec<_>>()).expect_err("four steps are made, five given");
    assert!(error.message.contains("the targets of `output`"), "{error}");
}

/// Where the data say how many time steps of each sample count, what lies behind them changes no bit; arrays that say nonsense are told.
#[test]
fn time_steps_behind_the_length_of_a_sample_do_not_matter() {
    let directory = tempfile::tempdir().expect("a place for files");
    let text = "input = [{ name = 'sound', shape = ['time', 3] }]\nlayer = [{ type = 'dense', name = 'scores', units = 4 }]\n\
                [train]\nloss = { type = 'ctc', input_lengths = 'sound_lengths' }\nepochs = 2\nbatch = 5\nlearning_rate = 0.1\n";
    let model = parse("net.toml", "net", text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let lengths: Vec<f64> = (0..12).map(|sample| f64::from(4 + sample * 5 % 6)).collect();
    let write = |name: &str, padding: f64, lengths: Option<&[f64]>| {
        let wave = (0..12 * 9 * 3).map(|at| {
            let (sample, time) = (at / 27, at % 27 / 3);
            if (time as f64) < 4.0 + f64::from(sample * 5 % 6) { (f64::from(at) * 0.9).sin() } else { padding }
        });
        let sound = array(DType::F32, &[12, 9, 3], wave);
        let labels = array(DType::I64, &[12, 2], (0..24).map(|at| if at % 4 == 3 { -1.0 } else { f64::from(1 + at % 3) }));
        let place = directory.path().join(name);
        let mut arrays = vec![("x_train", sound), ("y_train", labels)];
        arrays.extend(lengths.map(|lengths| ("sound_lengths_train", array(DType::I64, &[12], lengths.iter().copied()))));
        write_npz(&place, arrays.iter().map(|(name, array)| (*name, array))).expect("it is written");
        place
    };
    let train = |data: &Path, out: &str| {
        let out = directory.path().join(out);
        run_here(&model, data, &out, TrainOptions::default())
            .map(|told| (told, fs::read(out.join("model.safetensors")).expect("it is there")))
    };
    let (told, silent) = train(&write("silent.npz", 0.0, Some(&lengths)), "silent").expect("it trains");
    let (loud_told, loud) = train(&write("loud.npz", 1000.0, Some(&lengths)), "loud").expect("it trains");
    assert!(silent == loud, "{told}\n{loud_told}");
    let rate = |told: &str| told.split("error_rate ").nth(1).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    assert!(rate(&told).is_some() && rate(&told) == rate(&loud_told), "{told}\n{loud_told}");
    let whole = vec![9.0; 12];
    let (_, all) = train(&write("whole.npz", 0.0, Some(&whole)), "whole").expect("it trains");
    assert!(silent != all);
    let missing = train(&write("missing.npz", 0.0, None), "missing").expect_err("no lengths");
    assert!(missing.contains("has no array for the lengths `sound_lengths`"), "{missing}");
    let wrong = train(&write("wrong.npz", 0.0, Some(&[-1.0; 12])), "wrong").expect_err("below 0");
    assert!(wrong.contains("numbers of time steps, from 0 on"), "{wrong}");
    let own = text.replace("sound_lengths", "scores");
    let model = parse("net.toml", "net", &own, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let error = plan(&model, model.config.as_ref().expect("it says how")).expect_err("the array is taken")[0].to_string();
    assert!(error.contains("has the targets of that output"), "{error}");
}
