//! Log-mel features, compiled in f32, against torchaudio's in f64 (`files/audio`), to 1e-4.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln_ir::{DType, Tensor};
use kiln_runtime::npz::Npz;
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::repository;

/// The cases of `files/audio/make.py`.
const CASES: &[(&str, &str)] = &[
    ("htk", "sample_rate = 16000, n_fft = 400, hop_length = 160, n_mels = 80"),
    ("slaney", "sample_rate = 16000, n_fft = 512, win_length = 400, hop_length = 160, n_mels = 64, norm = 'slaney', mel_scale = 'slaney'"),
    ("narrow", "sample_rate = 8000, n_fft = 255, hop_length = 80, n_mels = 40, f_min = 60.0, f_max = 3800.0, window = 'hamming'"),
    (
        "magnitudes",
        "sample_rate = 22050, n_fft = 1024, hop_length = 256, n_mels = 128, power = 1.0, center = false, mel_scale = 'slaney', \
         window = 'blackman'",
    ),
];

#[test]
fn log_mel_features_are_those_of_torchaudio() {
    let pool = ThreadPool::new(2);
    let mut arrays = Npz::open(&repository().join("tests/files/audio/features.npz")).expect("it is there");
    let mut array = |name: &str| arrays.read(name).expect("it is whole").expect("it has it");
    let sound = array("sound");
    for (name, settings) in CASES {
        let text = format!("input = [{{ name = 'x', shape = ['samples'] }}]\nlayer = [{{ type = 'log_mel', floor = 1e-6, {settings} }}]");
        let model = parse("test.toml", "test", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let compiled = compile(&model.module, target, ModelFacts::default(), &Config::default());
        let predictor = compiled.unwrap_or_else(|errors| panic!("{errors:?}")).predictor(&pool).expect("it loads");
        let samples = (0..sound.len()).map(|i| sound.get_f64(i));
        // Twice the sound, as a batch.
        let x = Tensor::from_floats(DType::F32, vec![2, sound.len()], samples.clone().chain(samples));
        let found = predictor.run(&[x], &pool).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = array(name);
        assert_eq!(found[0].shape()[1..], *expected.shape(), "{name}");
        let values = found[0].floats();
        for row in values.chunks(expected.len()) {
            let apart = row.iter().enumerate().map(|(i, value)| (value - expected.get_f64(i)).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-4, "{name}: {apart:e} apart");
        }
    }
}

/// What counts is normalised as if nothing stood behind it, and what does not becomes 0.
#[test]
fn padding_does_not_change_what_is_normalised() {
    let pool = ThreadPool::new(2);
    let run = |layer: &str, inputs: &[Tensor]| {
        let all = ["{ name = 'x', shape = ['time', 2] }", "{ name = 'part', shape = [] }"][..inputs.len()].join(", ");
        let names = ["'x'", "['x', 'part']"][inputs.len() - 1];
        let text = format!("input = [{all}]\nlayer = [{{ type = 'normalise', inputs = {names}{layer} }}]");
        let model = parse("test.toml", "test", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
        let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
        let compiled = compile(&model.module, target, ModelFacts::default(), &Config::default());
        let predictor = compiled.unwrap_or_else(|errors| panic!("{errors:?}")).predictor(&pool).expect("it loads");
        predictor.run(inputs, &pool).unwrap_or_else(|error| panic!("{error}"))[0].floats()
    };
    let own = [0.5, -1.0, 2.0, 0.25, 1.0, 3.0];
    let alone = run("", &[Tensor::from_floats(DType::F32, vec![1, 3, 2], own)]);
    let padded = own.into_iter().chain([7.0; 4]).chain([1.0; 10]);
    let x = Tensor::from_floats(DType::F32, vec![2, 5, 2], padded);
    let found = run("", &[x, Tensor::f32(&[2], &[0.6, 0.0])]);
    assert!(found[..6].iter().zip(&alone).all(|(found, alone)| (found - alone).abs() < 1e-5), "{found:?}, not {alone:?}");
    // Of a sample without any time, its first step counts, which is its own mean.
    assert!(found[6..].iter().all(|value| *value == 0.0), "{found:?}");
}

#[test]
fn what_does_not_fit_is_told() {
    let refused = |shape: &str, layer: &str| {
        let text = format!("input = [{{ name = 'x', shape = {shape} }}]\nlayer = [{{ {layer} }}]");
        let errors = parse("test.toml", "test", &text, Language::Toml).expect_err("refused");
        errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("\n")
    };
    let said = [
        refused("[2, 100]", "type = 'stft', n_fft = 16"),
        refused("[100]", "type = 'stft', n_fft = 1"),
        refused("[100]", "type = 'stft', n_fft = 16, win_length = 17"),
        refused("[100]", "type = 'stft', n_fft = 16, hop_length = 0"),
        refused("[100]", "type = 'stft', n_fft = 128, center = false"),
        refused("[100]", "type = 'spectrogram', n_fft = 16, power = 3"),
        refused("[100]", "type = 'log_mel', n_fft = 16, n_mels = 4"),
        refused("[100]", "type = 'log_mel', n_fft = 16, n_mels = 4, sample_rate = 8000, f_max = 5000"),
        refused("[100]", "type = 'log_mel', n_fft = 16, n_mels = 0, sample_rate = 8000"),
        refused("[100]", "type = 'log_mel', n_fft = 16, n_mels = 4, sample_rate = 8000, floor = 0"),
        refused("[4, 3]", "type = 'deltas', win_length = 4"),
        refused("[4, 3]", "type = 'deltas', order = 0"),
        refused("[4, 3]", "type = 'spec_augment', time_part = 2"),
        refused("[4]", "type = 'normalise'"),
    ];
    insta::assert_snapshot!(said.join("\n"));
}
