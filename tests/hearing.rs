//! Networks that hear streams: however a sound is cut into pieces, all outputs together are those for the whole of it, compiled and
//! interpreted; what needs the end of a stream first says so; programs print the same of streams and of files.

use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::{Compiled as CompiledModel, compile};
use kiln::frontend::model::{Language, Model, parse};
use kiln::pipeline::Config;
use kiln_ir::artifact::AudioInput;
use kiln_ir::eval::evaluate;
use kiln_ir::{DType, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::audio::hearing::Hearing;
use kiln_runtime::program::network::{Compiled, Network};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::samples::Random;
use std::io::Write as _;
use std::process::{Command, Stdio};

const MEL: &str = "{type='log_mel', inputs='sound', n_fft=64, win_length=50, hop_length=20, n_mels=8, center=false}";

/// Layers behind the features, and how many samples a time step stands for.
const NETWORKS: &[(&str, &str, u64)] = &[
    ("features", "{type='normalise', inputs=['log_mel', 'part'], over='global'}, {type='spec_augment'}", 20),
    ("gru", "{type='gru', units=6, return_sequences=true}, {type='dense', units=3, activation='softmax'}", 20),
    ("lstm", "{type='lstm', units=5, return_sequences=true}, {type='rnn', units=4, return_sequences=true}", 20),
    (
        "causal_convolutions",
        "{type='permute', order=[2, 1]}, {type='residual', layers=[{type='conv1d', filters=8, kernel=3, padding='causal', dilation=2, \
         activation='relu'}, {type='batch_norm'}]}, {type='depthwise_conv1d', kernel=5, padding='causal'}, {type='permute', order=[2, 1]}",
        20,
    ),
    // Two convolutions that look ahead, as in recognisers.
    (
        "subsampled",
        "{type='reshape', shape=[1, -1, 8]}, {type='conv2d', filters=3, kernel=3, strides=2, padding=1}, \
         {type='conv2d', filters=4, kernel=3, strides=2, padding=1, activation='relu'}, {type='permute', order=[2, 1, 3]}, \
         {type='reshape', shape=[-1, 8]}, {type='transformer_encoder', heads=2, hidden=9, causal=true, rotary=true, norm_first=true}",
        80,
    ),
    (
        "looks_ahead",
        "{type='permute', order=[2, 1]}, {type='conv1d', filters=5, kernel=7, padding='same'}, {type='conv1d', filters=4, kernel=4, strides=3}",
        60,
    ),
    (
        "pools",
        "{type='permute', order=[2, 1]}, {type='max_pool1d', size=3, strides=2}, {type='avg_pool1d', size=2}, {type='permute', order=[2, 1]}",
        80,
    ),
    (
        "attention",
        "{type='sinusoidal_position'}, {type='multi_head_attention', heads=2, causal=true}, {type='layer_norm'}, \
         {type='multi_head_attention', heads=4, causal=true, window=3, rotary=true}",
        20,
    ),
    ("last_state", "{type='gru', units=6}, {type='dense', units=3}", 20),
];

fn text(layers: &str) -> String {
    format!(
        "name = 'hears'\nseed = 5\ninput = [{{name='sound', shape=['samples'], audio={{sample_rate=8000, lengths='part'}}}}, \
         {{name='part', shape=[]}}]\nlayer = [{MEL}, {layers}]"
    )
}

fn read(layers: &str) -> Model {
    let text = text(layers);
    parse("test.toml", "test", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// The function for whole sounds, and the one that hears.
fn functions(model: &Model) -> [Module; 2] {
    let predict = model.initialised().expect("small");
    let mut hear = predict.clone();
    let hearer = model.hearer.clone().expect("it takes a sound").unwrap_or_else(|error| panic!("{error}"));
    hearer.set_in(&mut hear).expect("metadata");
    [predict, hear]
}

fn compiled(module: &Module) -> CompiledModel {
    let facts = ModelFacts::new("hears", "", &module.metadata).expect("facts");
    compile(module, CpuTarget::host(CpuLevel::Native).expect("a CPU"), facts, &Config::default()).unwrap_or_else(|e| panic!("{e:?}"))
}

fn sound(samples: usize) -> Vec<f32> {
    let mut random = Random::new(3);
    let mut turn = 0.0;
    let mut next = |i: usize| {
        // Another tone every tenth of a second.
        turn += 0.1 + 0.4 * ((i / 800 * 7) % 11) as f32 / 11.0;
        turn.sin() * 0.4 + (random.unit() as f32 - 0.5) * 0.02
    };
    (0..samples).map(&mut next).collect()
}

fn floats(array: &Array) -> Vec<f64> {
    (0..array.len()).map(|i| array.get_f64(i)).collect()
}

fn array(tensor: &Tensor) -> Array {
    Array::from_bytes(tensor.dtype(), tensor.shape().to_vec(), tensor.bytes()).expect("small")
}

/// What the function for whole sounds gives, by the interpreter.
fn whole(predict: &Module, samples: &[f32]) -> Array {
    let sound = Tensor::from_floats(DType::F32, vec![1, samples.len()], samples.iter().map(|x| f64::from(*x)));
    let inputs = [sound, Tensor::from_floats(DType::F32, vec![1], [1.0])];
    array(&evaluate(predict, predict.predict().expect("a function"), &inputs).expect("it runs")[0])
}

/// A network by the interpreter.
struct Interpreted {
    module: Module,
    signature: kiln_ir::artifact::Signature,
    outputs: Vec<Array>,
}

impl Network for Interpreted {
    fn signature(&self) -> &kiln_ir::artifact::Signature {
        &self.signature
    }

    fn prepare(&mut self, _: &[Array]) -> Result<(), kiln_ir::Diagnostic> {
        Ok(())
    }

    fn run(&mut self, inputs: &[Array]) -> Result<(), kiln_ir::Diagnostic> {
        let tensors: Vec<Tensor> =
            inputs.iter().map(|input| Tensor::from_vec(input.dtype(), input.shape().to_vec(), input.bytes().to_vec())).collect();
        let results = evaluate(&self.module, self.module.predict().expect("a function"), &tensors);
        self.outputs = results.expect("it runs").iter().map(array).collect();
        Ok(())
    }

    fn update(&mut self, _: &[Array], _: &mut [Array]) -> Result<(), kiln_ir::Diagnostic> {
        unreachable!("sizes of what is remembered change")
    }

    fn outputs(&self) -> &[Array] {
        &self.outputs
    }
}

/// The first outputs for pieces of a sound, one after the other along their axis of time; of those without, the last one.
fn pieces(samples: &[f32], cuts: &[usize], network: &mut dyn Network, time: Option<usize>) -> Vec<f64> {
    let signature = network.signature().clone();
    let audio: AudioInput = serde_json::from_str(signature.audio.as_ref().expect("it takes sounds")).expect("JSON");
    let mut hearing = Hearing::new(&audio, &signature).expect("it fits").expect("it hears");
    let (mut rows, mut from) = (Vec::new(), 0);
    for (number, to) in cuts.iter().chain([&samples.len()]).enumerate() {
        let output = &hearing.hear(&samples[from..*to], number == cuts.len(), network).expect("it runs")[0];
        let count = time.map_or(1, |axis| output.shape()[..axis].iter().product());
        rows.resize(count, Vec::new());
        if time.is_none() {
            rows[0].clear();
        }
        for (row, values) in rows.iter_mut().zip(floats(output).chunks((output.len() / count).max(1))) {
            row.extend_from_slice(values);
        }
        from = *to;
    }
    rows.concat()
}

#[test]
fn pieces_give_what_the_whole_gives_compiled_and_interpreted() {
    let pool = ThreadPool::new(2);
    let samples = sound(1907);
    for (name, layers, step) in NETWORKS {
        let [predict, hear] = functions(&read(layers));
        let expected = whole(&predict, &samples);
        let model = compiled(&hear);
        let predictor = model.predictor(&pool).expect("it compiles");
        let signature = predictor.model().signature().clone();
        let audio: AudioInput = serde_json::from_str(signature.audio.as_ref().expect("it takes sounds")).expect("JSON");
        let stream = audio.stream.expect("it hears");
        if *name != "last_state" {
            assert_eq!(stream.step, *step, "{name}");
        }
        let (first, least) = (stream.first as usize, stream.least as usize);
        let mut random = Random::new(11);
        let mut cuttings = vec![vec![], vec![first], vec![first + 1, 900]];
        // As small as pieces may be, and of any size.
        cuttings.push((0..).map(|i| first + i * least).take_while(|cut| cut + least <= samples.len()).collect());
        let mut cuts = vec![first + random.below(30)];
        while cuts[cuts.len() - 1] + 3 * least + 60 < samples.len() {
            cuts.push(cuts[cuts.len() - 1] + least + random.below(60));
        }
        cuttings.push(cuts);
        let mut compiled = Compiled::new(predictor.model(), &pool);
        let mut interpreted = Interpreted { module: hear.clone(), signature: signature.clone(), outputs: Vec::new() };
        for cuts in &cuttings {
            for (how, network) in [("compiled", &mut compiled as &mut dyn Network), ("interpreted", &mut interpreted)] {
                let time = match *name {
                    "last_state" => None,
                    "looks_ahead" => Some(2),
                    _ => Some(1),
                };
                let values = pieces(&samples, cuts, network, time);
                assert_eq!(values.len(), expected.len(), "{name}, {how}, {cuts:?}");
                let apart = values.iter().zip(floats(&expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(apart < 3e-5, "{name}, {how}: {apart} apart with {cuts:?}");
            }
        }
    }
}

#[test]
fn a_sound_that_is_shorter_than_a_window_has_zeros_behind() {
    let [_, hear] = functions(&read(NETWORKS[4].1));
    let pool = ThreadPool::new(1);
    let model = compiled(&hear);
    let predictor = model.predictor(&pool).expect("it compiles");
    let mut network = Compiled::new(predictor.model(), &pool);
    let short = sound(7);
    let padded: Vec<f32> = short.iter().copied().chain(std::iter::repeat_n(0.0, 200)).collect();
    let values = pieces(&short, &[], &mut network, Some(1));
    let long = pieces(&padded, &[], &mut network, Some(1));
    assert!(!values.is_empty() && long.len() >= values.len());
}

#[test]
fn what_needs_the_end_of_a_stream_first_says_so() {
    let why = |layers: &str| match read(layers).hearer.expect("it takes a sound") {
        Ok(_) => panic!("{layers} hears streams"),
        Err(error) => error.message,
    };
    let cases = [
        ("{type='normalise', inputs=['log_mel', 'part']}", "the mean over a stream is not known before its end"),
        ("{type='gru', units=4, bidirectional=true}", "a recurrent layer that walks backwards needs the end of a stream first"),
        ("{type='multi_head_attention', heads=2}", "an attention that sees later elements does not hear a stream piece by piece"),
        ("{type='deltas'}", "a `deltas` does not hear a stream piece by piece"),
        ("{type='softmax', axis=1}", "axis 1 of "),
        ("{type='reshape', shape=[-1, 4]}", "time steps of "),
        (
            "{type='permute', order=[2, 1]}, {type='conv1d', filters=2, kernel=3, strides=2, padding='same'}",
            "pads a stream by as much as its end says",
        ),
        ("{type='permute', order=[2, 1]}, {type='max_pool1d', size=3, strides=1, padding=1}", "pads a stream, and not with zeros"),
        ("{type='permute', order=[2, 1]}, {type='conv1d', filters=2, kernel=1, strides=2}", "windows of 1 time steps, 2 apart"),
        (
            "{type='residual', layers=[{type='permute', order=[2, 1]}, {type='conv1d', filters=8, kernel=3, padding=1}, {type='permute', order=[2, 1]}]}",
            "a residual adds",
        ),
    ];
    for (layers, expected) in cases {
        let message = why(layers);
        assert!(message.contains(expected), "{layers}: {message}");
    }
    let centred = text("{type='gru', units=4}").replace(", center=false", "");
    let model = parse("test.toml", "test", &centred, Language::Toml).expect("it is a network");
    let error = model.hearer.expect("it takes a sound").expect_err("frames lie about their places");
    assert!(error.to_string().contains("`center = false`"), "{error}");
}

#[test]
fn programs_say_of_a_stream_what_they_say_of_its_file() {
    let layers = "{type='layer_norm'}, {type='gru', units=12, return_sequences=true, initialiser='normal(1)'}, \
                  {type='dense', units=4, initialiser='normal(3)'}";
    let spelled = text(layers).replace("seed = 5\n", "seed = 5\nlabels = ['', 'up', 'down', 'left']\nctc = {separator=' '}\n");
    let model = parse("test.toml", "test", &spelled, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let [_, hear] = functions(&model);
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("listen");
    let pool = ThreadPool::new(1);
    compiled(&hear).write(ArtifactKind::Executable, WeightsChoice::Embed, &program, &pool).expect("it is written");
    // The samples as a file and as a stream.
    let samples: Vec<i16> = sound(24_011).iter().map(|x| (x * 32767.0) as i16).collect();
    let path = folder.path().join("sound.wav");
    let spec = hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(&path, spec).expect("a file");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("it is written"));
    writer.finalize().expect("it is written");
    let file = Command::new(&program).arg(&path).arg("--json").output().expect("it runs");
    assert!(file.status.success(), "{}", String::from_utf8_lossy(&file.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&file.stdout).expect("JSON");
    let said: Vec<serde_json::Value> = answer["words"].as_array().expect("words").clone();
    assert!(said.len() > 3, "{answer}");
    for block in ["0.05", "0.25", "2"] {
        let mut child = Command::new(&program)
            .args(["--stream", "--json", "--block", block])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        child.stdin.take().expect("it is piped").write_all(&bytes).expect("it listens");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success());
        let lines = String::from_utf8(output.stdout).expect("text");
        let heard: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(heard, said, "pieces of {block} s");
    }
    let context = Command::new(&program).args(["--stream", "--context", "1"]).stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(context.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&context.stderr).contains("remembers what it has heard"), "{context:?}");
}
