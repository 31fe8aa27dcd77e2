//! Attributions of predictions: against PyTorch, finite differences, sums by hand, and the completeness of integrated gradients.

use kiln::artifact::describe::ModelFacts;
use kiln::attribution::explain::{Attribution, Explainer, Settings};
use kiln::attribution::function::{Point, Wanted};
use kiln::attribution::{Baseline, Method};
use kiln::pipeline::Config;
use kiln_ir::artifact::AudioInput;
use kiln_ir::eval::evaluate;
use kiln_ir::graph::Parameter;
use kiln_ir::{DType, Module, Symbol, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, write_npz};
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::run::TrainOptions;
use kiln_tests::samples::Random;
use kiln_tests::training::{array, network, run_here, values};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SETTINGS: Settings =
    Settings { target: None, baseline: Baseline::Number(0.0), steps: 256, window: Some(1), stride: Some(1), layout: None };

fn initialised(text: &str) -> Module {
    network(text).initialised().unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn explainer(module: &Module, method: Method) -> Explainer {
    let wanted = Wanted { method, input: None, output: None, layer: None };
    Explainer::new(module, &ModelFacts::default(), &wanted, &Config::default(), ThreadPool::new(2)).unwrap_or_else(|e| panic!("{e:?}"))
}

fn explain(module: &Module, method: Method, x: &Array, settings: Settings) -> Attribution {
    explainer(module, method).explain(&[row(x, 0)], &settings).unwrap_or_else(|error| panic!("{error}"))
}

/// One sample of a batch, in a batch of its own.
fn row(x: &Array, at: usize) -> Array {
    let shape = [&[1], &x.shape()[1..]].concat();
    let width = x.bytes().len() / x.shape()[0];
    Array::from_bytes(x.dtype(), shape, &x.bytes()[at * width..(at + 1) * width]).expect("small")
}

fn assert_within(bound: f64, found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let most = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= bound * most, "{what}: {found} and {expected}, of {most}");
    }
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_within(1e-9, found, expected, what);
}

/// How far from PyTorch a method may be: 256 points of a path with kinks are not its 8,000.
fn bound(method: Method) -> f64 {
    if method == Method::IntegratedGradients { 5e-3 } else { 1e-9 }
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("files/attribution")
}

/// A network of the fixtures with PyTorch's parameters, and the rest of its file.
fn fixture(name: &str) -> (Module, Npz) {
    let text = std::fs::read_to_string(files().join(format!("{name}.toml"))).expect("it is there");
    let mut module = initialised(&text);
    let mut file = Npz::open(&files().join(format!("{name}.npz"))).expect("it is there");
    for (name, parameter) in &mut module.parameters {
        let given = read(&mut file, name);
        let value = Tensor::from_vec(given.dtype(), given.shape().to_vec(), given.bytes().to_vec());
        *parameter = Parameter { ty: parameter.ty.clone(), value: Some(value) };
    }
    (module, file)
}

fn read(file: &mut Npz, name: &str) -> Array {
    file.read(name).expect("whole").unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn gradients_and_maps_are_those_of_pytorch() {
    let (module, mut file) = fixture("network");
    let (x, target) = (read(&mut file, "x"), read(&mut file, "target"));
    let methods = [
        (Method::GradientXInput, "gradient_x_input", SETTINGS.baseline),
        (Method::IntegratedGradients, "integrated_gradients", Baseline::Number(-0.25)),
        (Method::GradCam, "grad_cam", SETTINGS.baseline),
    ];
    for (method, name, baseline) in methods {
        let expected = read(&mut file, name);
        for sample in 0..2 {
            let found = explainer(&module, method).explain(&[row(&x, sample)], &Settings { baseline, ..SETTINGS }).expect("it runs");
            assert_eq!(found.predicted, Some(target.get_f64(sample) as usize));
            assert_eq!(found.shape, expected.shape()[1..]);
            assert_within(bound(method), &found.values, &values(&row(&expected, sample)), name);
        }
    }
}

#[test]
fn attentions_and_parts_of_tokens_are_those_of_pytorch() {
    let (module, mut file) = fixture("tokens");
    let (tokens, target) = (read(&mut file, "tokens"), read(&mut file, "target"));
    for (method, name) in [
        (Method::GradientXInput, "gradient_x_input"),
        (Method::IntegratedGradients, "integrated_gradients"),
        (Method::Attention, "rollout"),
    ] {
        let expected = read(&mut file, name);
        let layers = ["attention.first", "attention.second"].map(|layer| read(&mut file, layer));
        let explainer = explainer(&module, method);
        for sample in 0..2 {
            let found = explainer.explain(&[row(&tokens, sample)], &SETTINGS).expect("it runs");
            assert_eq!((found.predicted, found.shape.as_slice()), (Some(target.get_f64(sample) as usize), [5].as_slice()));
            assert_within(bound(method), &found.values, &values(&row(&expected, sample)), name);
            if method == Method::Attention {
                assert_eq!(found.attention.len(), 2);
                for (layer, expected) in found.attention.iter().zip(&layers) {
                    assert_close(layer, &values(&row(expected, sample)), "attention");
                    assert!(layer.chunks(5).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
                }
                assert!(explainer.explained.layers[0].contains("\"first\"") && explainer.explained.layers[1].contains("\"second\""));
            }
        }
    }
}

const DENSE: &str = "name = \"dense\"\nseed = 4\ndtype = \"f64\"\n[[input]]\nname = \"x\"\nshape = [7]\n\
    [[layer]]\ntype = \"dense\"\nunits = 24\nactivation = \"gelu\"\nbias_initialiser = \"normal(0.5)\"\n\
    [[layer]]\ntype = \"dense\"\nunits = 16\nactivation = \"relu\"\nbias_initialiser = \"normal(0.5)\"\n\
    [[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 3\n";

fn wave(dtype: DType, shape: &[usize], scale: f64) -> Array {
    array(dtype, shape, (0..).map(move |i| (f64::from(i) * scale).sin() * 1.5))
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let module = initialised(DENSE);
    // Away from 0, where the product says nothing of the gradient.
    let x = array(DType::F64, &[1, 7], (1..).map(|i| (f64::from(i) * 0.9).sin() * 1.5));
    let explainer = explainer(&module, Method::GradientXInput);
    for target in 0..3 {
        let settings = Settings { target: Some(target), ..SETTINGS };
        let found = explainer.explain(&[row(&x, 0)], &settings).expect("it runs");
        for at in 0..7 {
            let score = |step: f64| {
                let mut moved = row(&x, 0);
                moved.set_f64(at, x.get_f64(at) + step);
                explainer.explain(&[moved], &settings).expect("it runs").score
            };
            let slope = (score(1e-5) - score(-1e-5)) / 2e-5;
            let part = slope * x.get_f64(at);
            assert!((found.values[at] - part).abs() < 1e-6 * part.abs().max(1.0), "{} and {part}", found.values[at]);
        }
    }
}

/// Within 1 % at 256 steps, wherever the scores differ by more than 0.05.
fn assert_complete(module: &Module, inputs: &[Array], baseline: Baseline) {
    let explainer = explainer(module, Method::IntegratedGradients);
    let mut checked = 0;
    for x in inputs {
        let found = explainer.explain(std::slice::from_ref(x), &Settings { baseline, ..SETTINGS }).expect("it runs");
        let (sum, difference) = (found.values.iter().sum::<f64>(), found.score - found.baseline_score.expect("it has one"));
        if difference.abs() > 0.05 {
            assert!((sum - difference).abs() <= 0.01 * difference.abs(), "{sum} and {difference}");
            checked += 1;
        }
    }
    assert!(checked * 2 > inputs.len(), "{checked} of {}", inputs.len());
}

#[test]
fn integrated_gradients_add_up_to_the_difference_of_the_scores() {
    let x = wave(DType::F64, &[12, 7], 0.77);
    let rows: Vec<Array> = (0..12).map(|at| row(&x, at)).collect();
    assert_complete(&initialised(DENSE), &rows, Baseline::Number(0.0));
    assert_complete(&initialised(DENSE), &rows, Baseline::Mean);
    // In f32, behind a softmax.
    let text = DENSE.replace("f64", "f32") + "[[layer]]\ntype = \"softmax\"\n";
    let x = wave(DType::F32, &[12, 7], 0.77);
    let rows: Vec<Array> = (0..12).map(|at| row(&x, at)).collect();
    assert_complete(&initialised(&text), &rows, Baseline::Number(0.0));
}

/// Pictures with a bright bar, upright or level: a network that has learnt which it is sees it where it is.
#[test]
fn a_trained_network_looks_at_what_tells_the_classes_apart() {
    let directory = tempfile::tempdir().expect("a place for files");
    let (data, out) = (directory.path().join("data.npz"), directory.path().join("out"));
    let mut random = Random::new(8);
    let mut part = |count: usize| {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (is_level, at) = (random.below(2) == 1, random.below(8));
            let bright = |place: usize| if is_level { place / 8 == at } else { place % 8 == at };
            x.extend((0..64).map(|place| if bright(place) { 1.0 } else { 0.0 } + random.unit() * 0.3));
            y.push(f64::from(u8::from(is_level)));
        }
        [array(DType::F32, &[count, 1, 8, 8], x.into_iter()), array(DType::I64, &[count], y.into_iter())]
    };
    let (train, test) = (part(192), part(24));
    write_npz(&data, [("x_train", &train[0]), ("y_train", &train[1]), ("x_test", &test[0]), ("y_test", &test[1])]).expect("it is written");
    let model = network(
        "name = \"bars\"\nseed = 2\n[[input]]\nname = \"x\"\nshape = [1, 8, 8]\n\
         [[layer]]\ntype = \"conv2d\"\nfilters = 8\nkernel = 3\nactivation = \"relu\"\n\
         [[layer]]\ntype = \"conv2d\"\nfilters = 8\nkernel = 3\nactivation = \"relu\"\n\
         [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 2\n\
         [train]\nloss = \"sparse_cross_entropy\"\noptimiser = \"adam\"\nlearning_rate = 0.01\nbatch = 16\nepochs = 8\nvalidation = 0.0\n",
    );
    run_here(&model, &data, &out, TrainOptions::default()).expect("it trains");
    let module = model.trained(&out.join("model.safetensors")).unwrap_or_else(|errors| panic!("{errors:?}"));
    let rows: Vec<Array> = (0..24).map(|at| row(&test[0], at)).collect();
    assert_complete(&module, &rows, Baseline::Number(0.0));
    for method in [Method::IntegratedGradients, Method::GradientXInput] {
        let explainer = explainer(&module, method);
        let (mut right, mut inside, mut whole) = (0, 0.0, 0.0);
        for (x, at) in rows.iter().zip(0..) {
            let found = explainer.explain(std::slice::from_ref(x), &SETTINGS).expect("it runs");
            right += usize::from(found.predicted == Some(test[1].get_f64(at) as usize));
            whole += found.sum();
            inside += found.values.iter().zip(values(x)).filter(|(_, x)| *x > 0.9).map(|(part, _)| part).sum::<f64>();
        }
        // An eighth of the pixels says more than half of it.
        assert!(right >= 22 && inside > 0.5 * whole, "{method:?}: {right} right, {inside} of {whole}");
    }
}

const TEXT: &str = "name = \"text\"\nseed = 6\n[[input]]\nname = \"tokens\"\nshape = [\"time\"]\ndtype = \"i64\"\n\
    [[layer]]\ntype = \"embedding\"\nvocabulary = 20\nfeatures = 16\ninitialiser = \"normal(1.0)\"\n\
    [[layer]]\ntype = \"transformer_encoder\"\nrepeat = 2\nheads = 2\nhidden = 32\n\
    [[layer]]\ntype = \"lstm\"\nunits = 12\n\
    [[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 4\n";

fn tokens(time: usize, seed: usize) -> Array {
    array(DType::I64, &[1, time], (0..time).map(|i| ((i * 7 + seed * 5) % 20) as f64))
}

#[test]
fn tokens_are_attributed_to_through_their_embedding() {
    let module = initialised(TEXT);
    let inputs: Vec<Array> = (1..9).map(|time| tokens(time, time)).collect();
    assert_complete(&module, &inputs, Baseline::Number(0.0));
    for method in [Method::IntegratedGradients, Method::GradientXInput, Method::Occlusion, Method::Attention] {
        let found = explainer(&module, method).explain(&[tokens(6, 2)], &SETTINGS).expect("it runs");
        assert_eq!((found.shape.as_slice(), found.values.len()), ([6].as_slice(), 6), "{method:?}");
    }
    let looks = explainer(&module, Method::Attention).explain(&[tokens(6, 2)], &SETTINGS).expect("it runs");
    assert_eq!(looks.attention.iter().map(Vec::len).collect::<Vec<_>>(), [72, 72]);
    for layer in &looks.attention {
        assert!(layer.chunks(6).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-5));
    }
    assert!((looks.values.iter().sum::<f64>() - 1.0).abs() < 1e-5);
}

#[test]
fn occlusion_is_what_the_score_loses() {
    let text = "name = \"linear\"\nseed = 2\ndtype = \"f64\"\n[[input]]\nname = \"x\"\nshape = [5]\n\
                [[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 2\n";
    let module = initialised(text);
    let weight = module.parameters["scores.weight"].value.as_ref().expect("it has one").floats();
    let x = wave(DType::F64, &[1, 5], 1.1);
    let parts: Vec<f64> = (0..5).map(|i| weight[i * 2 + 1] * (x.get_f64(i) - 0.5)).collect();
    let settings = Settings { target: Some(1), baseline: Baseline::Number(0.5), ..SETTINGS };
    let found = explain(&module, Method::Occlusion, &x, settings);
    assert_close(&found.values, &parts, "one by one");
    let found = explain(&module, Method::Occlusion, &x, Settings { window: Some(2), ..settings });
    // Four windows of two; what lies in two of them has the mean of both.
    let pair = |i: usize| parts[i] + parts[i + 1];
    let expected = [pair(0), (pair(0) + pair(1)) / 2.0, (pair(1) + pair(2)) / 2.0, (pair(2) + pair(3)) / 2.0, pair(3)];
    assert_close(&found.values, &expected, "pairs");
    let found = explain(&module, Method::Occlusion, &x, Settings { window: Some(9), ..settings });
    assert_close(&found.values, &[parts.iter().sum::<f64>(); 5], "all at once");
}

/// Windows of pictures go over rows and columns, through all channels: each is what the interpreter says less when they are covered.
#[test]
fn windows_of_pictures_are_those_of_the_network_run_by_hand() {
    let (module, mut file) = fixture("network");
    let x = row(&read(&mut file, "x"), 1);
    let settings = Settings { target: Some(2), baseline: Baseline::Number(0.5), window: None, stride: Some(3), ..SETTINGS };
    let found = explain(&module, Method::Occlusion, &x, settings);
    assert_eq!(found.shape, [9, 7]);
    let score = |x: &Array| {
        let tensor = Tensor::from_vec(x.dtype(), x.shape().to_vec(), x.bytes().to_vec());
        evaluate(&module, module.predict().expect("one"), &[tensor]).expect("it runs")[0].floats()[2]
    };
    let whole = score(&x);
    assert!((found.score - whole).abs() < 1e-12);
    let (mut sums, mut counts) = ([0.0; 63], [0.0; 63]);
    for (top, left) in [0, 3, 5].iter().flat_map(|top| [0, 3].map(|left| (*top, left))) {
        let mut covered = row(&x, 0);
        let places = || (top..top + 4).flat_map(move |y| (left..left + 4).map(move |x| y * 7 + x));
        places().for_each(|place| (0..2).for_each(|channel| covered.set_f64(channel * 63 + place, 0.5)));
        let lost = whole - score(&covered);
        places().for_each(|place| (sums[place], counts[place]) = (sums[place] + lost, counts[place] + 1.0));
    }
    let expected: Vec<f64> = sums.iter().zip(counts).map(|(sum, count)| sum / count).collect();
    assert_close(&found.values, &expected, "windows");
}

/// A sound is explained by its spectrogram, against that of silence; how long it is stays as it is.
#[test]
fn sounds_are_attributed_to_through_their_spectrogram() {
    let text = "name = \"sound\"\nseed = 3\n[[input]]\nname = \"sound\"\nshape = [400]\n\
        audio = { sample_rate = 4000, lengths = \"part\" }\n[[input]]\nname = \"part\"\nshape = []\n\
        [[layer]]\ntype = \"log_mel\"\ninputs = \"sound\"\nn_fft = 64\nhop_length = 25\nn_mels = 12\nfloor = 1e-4\n\
        [[layer]]\ntype = \"normalise\"\ninputs = [\"log_mel\", \"part\"]\n\
        [[layer]]\ntype = \"permute\"\norder = [2, 1]\n\
        [[layer]]\ntype = \"conv1d\"\nfilters = 8\nkernel = 3\nstrides = 2\nactivation = \"relu\"\n\
        [[layer]]\ntype = \"global_avg_pool\"\n[[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 3\n";
    let module = initialised(text);
    let facts = ModelFacts {
        audio: Some(AudioInput { input: "sound".into(), sample_rate: 4000, lengths: Some("part".into()), stream: None }),
        ..ModelFacts::default()
    };
    let part = array(DType::F32, &[1], [0.75].into_iter());
    for method in [Method::IntegratedGradients, Method::GradientXInput, Method::Occlusion, Method::GradCam] {
        let wanted = Wanted { method, input: None, output: None, layer: None };
        let explainer =
            Explainer::new(&module, &facts, &wanted, &Config::default(), ThreadPool::new(2)).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!((explainer.explained.point, explainer.explained.input), (Point::Spectrogram, 0));
        let mut checked = 0;
        for n in 1..7 {
            let sound = array(DType::F32, &[1, 400], (0..).map(|i| (f64::from(i * n) * 0.21).sin() * (f64::from(i) * 0.01).cos()));
            let inputs = [sound, row(&part, 0)];
            let found = explainer.explain(&inputs, &Settings { window: Some(4), stride: Some(4), ..SETTINGS }).expect("it runs");
            let frames: &[usize] = if method == Method::GradCam { &[17] } else { &[17, 12] };
            assert_eq!((found.shape.as_slice(), found.point_shape.as_slice()), (frames, [17, 12].as_slice()));
            if let (Method::IntegratedGradients, Some(difference)) = (method, found.difference().filter(|d| d.abs() > 0.05)) {
                let gap = found.gap().expect("it has a baseline");
                assert!(gap.abs() <= 0.01 * difference.abs(), "{gap} of {difference}");
                checked += 1;
            }
        }
        assert!(checked >= 3 || method != Method::IntegratedGradients, "{checked}");
    }
}

#[test]
fn a_fixed_batch_gives_the_same() {
    let open = initialised(DENSE);
    let mut fixed = open.clone();
    fixed.specialise(&BTreeMap::from([(Symbol::new("batch"), 5)]));
    let x = wave(DType::F64, &[1, 7], 0.9);
    for method in [Method::IntegratedGradients, Method::GradientXInput, Method::Occlusion] {
        let [a, b] = [&open, &fixed].map(|module| explain(module, method, &x, SETTINGS));
        assert_close(&a.values, &b.values, "fixed");
        assert_eq!((a.predicted, a.shape), (b.predicted, b.shape));
    }
    let open = initialised(TEXT);
    let mut fixed = open.clone();
    fixed.specialise(&BTreeMap::from([(Symbol::new("batch"), 3), (Symbol::new("time"), 6)]));
    let [a, b] = [&open, &fixed].map(|module| explain(module, Method::IntegratedGradients, &tokens(6, 1), SETTINGS));
    assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-4), "{:?} and {:?}", a.values, b.values);
}

#[test]
fn what_cannot_be_explained_is_told() {
    let refused = |text: &str, wanted: &Wanted| {
        let explainer = Explainer::new(&initialised(text), &ModelFacts::default(), wanted, &Config::default(), ThreadPool::new(1));
        explainer.err().expect("refused")[0].to_string()
    };
    let wanted = Wanted { method: Method::GradCam, input: None, output: None, layer: None };
    insta::assert_snapshot!(refused(DENSE, &wanted), @"error[attribute_layer]: the network has no convolution on the way to the score");
    let wanted = Wanted { method: Method::Attention, ..wanted };
    insta::assert_snapshot!(refused(DENSE, &wanted), @"
    error[attribute_layer]: no attention between the input and the score was found
      help: `kiln explain MODEL` says what was recognised; other methods need none
    ");
    let wanted = Wanted { method: Method::Occlusion, output: Some("score"), ..wanted };
    insta::assert_snapshot!(refused(DENSE, &wanted), @"
    error[attribute_output]: the network has no output `score`
      help: did you mean `scores`?
    ");
    let error = explainer(&initialised(DENSE), Method::Occlusion)
        .explain(&[wave(DType::F64, &[1, 7], 1.0)], &Settings { target: Some(3), ..SETTINGS })
        .expect_err("refused");
    insta::assert_snapshot!(error, @"error[attribute_target]: class 3: the output has 3, numbered from 0");
}
