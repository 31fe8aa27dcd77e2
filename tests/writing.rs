//! Networks that write: what is remembered of a text changes neither scores nor tokens, whatever tells places apart, and programs
//! write what the tool writes.

use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::{Compiled as CompiledModel, compile};
use kiln::frontend::model::{Language, Model, parse};
use kiln::pipeline::Config;
use kiln_ir::artifact::TextInput;
use kiln_ir::eval::evaluate;
use kiln_ir::{DType, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::program::network::{Compiled, Network};
use kiln_runtime::text::Tokeniser;
use kiln_runtime::text::choice::Choice;
use kiln_runtime::text::writing::Writer;
use kiln_runtime::threads::ThreadPool;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Tokens that the networks see at once, if they tell places apart.
const LENGTH: usize = 12;
const BYTES: usize = 258;

/// Layers between an embedding of bytes and scores of the next one, and how many tokens the network sees at once.
const NETWORKS: &[(&str, &str, Option<u32>)] = &[
    (
        "learned",
        "{type='learned_position', length=20}, {type='transformer_encoder', heads=4, hidden=20, causal=true, norm_first=true, repeat=2}",
        Some(12),
    ),
    ("few_places", "{type='learned_position', length=9}, {type='multi_head_attention', heads=2, causal=true}", Some(9)),
    (
        "sinusoidal",
        "{type='sinusoidal_position'}, {type='transformer_encoder', heads=2, hidden=20, causal=true, activation='gelu'}",
        Some(12),
    ),
    (
        "rotary",
        "{type='residual', layers=[{type='rms_norm'}, {type='multi_head_attention', heads=3, head_features=4, rotary=true, bias=false, causal=true}]}",
        Some(12),
    ),
    ("window", "{type='multi_head_attention', heads=2, causal=true, window=3}", Some(12)),
    (
        "shared",
        "{type='multi_head_attention', name='a', heads=4, causal=true}, {type='multi_head_attention', share='a', heads=4, causal=true}",
        Some(12),
    ),
    ("gru", "{type='gru', units=10, return_sequences=true}, {type='gru', units=16, return_sequences=true}", None),
    ("lstm", "{type='lstm', units=16, return_sequences=true}", None),
    ("rnn", "{type='rnn', units=16, return_sequences=true}", None),
    ("both", "{type='gru', units=16, return_sequences=true}, {type='multi_head_attention', heads=4, causal=true}", Some(12)),
    ("neither", "{type='dropout', rate=0.1}", None),
];

fn read(layers: &str) -> Model {
    let text = format!(
        "name = 'writes'\nseed = 5\ninput = [{{name='text', shape=['time'], text={{tokens='byte', length={LENGTH}}}}}]\n\
         layer = [{{type='embedding', features=16, initialiser='normal(1)'}}, {layers}, {{type='dense', units={BYTES}, initialiser='normal(0.5)'}}]"
    );
    parse("test.toml", "test", &text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// The function that scores whole texts, and the one that writes, each with the number of its states.
fn functions(model: &Model) -> [(Module, usize); 2] {
    let predict = model.initialised().expect("small");
    let mut write = predict.clone();
    let states = model.writer.clone().expect("it scores the next token").expect("it writes").set_in(&mut write).expect("metadata");
    [(predict, 0), (write, states)]
}

fn compiled((module, states): &(Module, usize)) -> CompiledModel {
    let facts = ModelFacts { states: *states, ..ModelFacts::new("writes", "", &module.metadata).expect("facts") };
    compile(module, CpuTarget::host(CpuLevel::Native).expect("a CPU"), facts, &Config::default()).unwrap_or_else(|e| panic!("{e:?}"))
}

fn tokeniser(network: &dyn Network) -> Tokeniser {
    let text: TextInput = serde_json::from_str(network.signature().text.as_ref().expect("it takes texts")).expect("JSON");
    Tokeniser::new(text).expect("bytes are known")
}

fn tokens(rows: &[&[i64]]) -> Tensor {
    Tensor::i64(&[rows.len(), rows[0].len()], &rows.concat())
}

fn array(tensor: &Tensor) -> Array {
    Array::from_bytes(tensor.dtype(), tensor.shape().to_vec(), tensor.bytes()).expect("small")
}

fn floats(array: &Array) -> Vec<f64> {
    (0..array.len()).map(|i| array.get_f64(i)).collect()
}

/// The largest difference; infinite where one is no number.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |most, next| if next.is_nan() { f64::INFINITY } else { most.max(next) })
}

#[test]
fn steps_score_as_whole_texts_do_compiled_and_interpreted() {
    let pool = ThreadPool::new(2);
    let texts: [Vec<i64>; 2] = [0, 1].map(|row| (0..9).map(|i| 2 + (i * 37 + row * 101) % 256).collect());
    for (name, layers, _) in NETWORKS {
        let [predict, write] = functions(&read(layers));
        let whole = evaluate(&predict.0, predict.0.predict().expect("a function"), &[tokens(&[&texts[0], &texts[1]])]).expect("it runs");
        let whole = floats(&array(&whole[0]));
        let predictor = compiled(&write).predictor(&pool).expect("it compiles");
        let mut network = Compiled::new(predictor.model(), &pool);
        let graph = write.0.predict().expect("a function");
        let mut states: Vec<Array> = Vec::new();
        for (_, value) in &graph.inputs()[2..] {
            let ty = graph.ty(*value);
            let size = |dim: &kiln_ir::Dim| dim.as_const().map_or(if dim.to_string() == "batch" { 2 } else { 16 }, |size| size as usize);
            states.push(Array::zeroed(ty.dtype, ty.shape.iter().map(size).collect()).expect("small"));
        }
        assert_eq!(states.len(), write.1);
        // Several tokens at once, at the beginning and later, and one by one.
        for (start, end) in [(0, 3), (3, 4), (4, 5), (5, 7), (7, 8), (8, 9)] {
            let inputs = [tokens(&[&texts[0][start..end], &texts[1][start..end]]), Tensor::i64(&[], &[start as i64])];
            let before: Vec<Tensor> =
                states.iter().map(|state| Tensor::from_vec(state.dtype(), state.shape().to_vec(), state.bytes().to_vec())).collect();
            let expected = evaluate(&write.0, graph, &[&inputs[..], &before].concat()).expect("it runs");
            network.update(&inputs.each_ref().map(array), &mut states).expect("it runs");
            let scores = floats(&network.outputs()[0]);
            assert!(apart(&scores, &floats(&array(&expected[0]))) < 2e-5, "{name}: interpreted, {start}..{end}");
            for (state, expected) in states.iter().zip(&expected[1..]) {
                assert!(apart(&floats(state), &floats(&array(expected))) < 2e-5, "{name}: states, {start}..{end}");
            }
            for row in 0..2 {
                let at = (row * 9 + end - 1) * BYTES;
                assert!(apart(&scores[row * BYTES..][..BYTES], &whole[at..][..BYTES]) < 2e-5, "{name}: whole, {start}..{end}");
            }
        }
    }
}

/// The likeliest tokens by the function that scores whole texts, of which it sees a window.
fn greedy(predict: &(Module, usize), prompt: &[i64], window: Option<u32>, length: usize) -> Vec<i64> {
    let pool = ThreadPool::new(1);
    let predictor = compiled(predict).predictor(&pool).expect("it compiles");
    let mut network = Compiled::new(predictor.model(), &pool);
    let (mut text, mut from) = (prompt.to_vec(), 0);
    for _ in 0..length {
        while window.is_some_and(|window| text.len() - from > window as usize) {
            from += window.expect("it is some") as usize / 2;
        }
        let inputs = [array(&tokens(&[&text[from..]]))];
        network.prepare(&inputs).expect("it fits");
        network.run(&inputs).expect("it runs");
        let scores = floats(&network.outputs()[0]);
        let last = &scores[scores.len() - BYTES..];
        let best = (2..BYTES).max_by(|a, b| last[*a].total_cmp(&last[*b]).then(b.cmp(a))).expect("there are bytes");
        text.push(best as i64);
    }
    text.split_off(prompt.len())
}

#[test]
fn tokens_are_those_that_are_written_without_memory() {
    let prompt: Vec<i64> = "Once upon".bytes().map(|byte| i64::from(byte) + 2).collect();
    let choices = [
        Choice { temperature: 0.0, ..Choice::default() },
        Choice::default(),
        Choice { temperature: 0.7, top_k: Some(5), ..Choice::default() },
        Choice { temperature: 1.3, top_p: 0.8, ..Choice::default() },
    ];
    for (name, layers, window) in NETWORKS {
        let [predict, write] = functions(&read(layers));
        let writer = compiled(&write);
        let mut all = Vec::new();
        for (threads, is_uncached) in [(1, false), (1, true), (3, false)] {
            let pool = ThreadPool::new(threads);
            let predictor = writer.predictor(&pool).expect("it compiles");
            let mut network = Compiled::new(predictor.model(), &pool);
            let tokeniser = tokeniser(&network);
            assert_eq!(tokeniser.input().length, *window, "{name}");
            let mut writer = Writer::new(&mut network, &tokeniser, is_uncached).expect("it writes");
            let mut written = Vec::new();
            for (seed, choice) in choices.iter().enumerate() {
                let mut told = Vec::new();
                let mut tell = |token: i64| {
                    told.push(token);
                    Ok(true)
                };
                // More than any window, and than the room at first.
                let tokens = writer.sample(&prompt, 40, choice, seed as u64, &mut tell).expect("it writes");
                assert_eq!(tokens, told);
                assert!(tokens.len() == 40 && tokens.iter().all(|token| (2..BYTES as i64).contains(token)), "{name}");
                written.push(tokens);
            }
            for beams in [1, 3] {
                written.push(writer.search(&prompt, 40, beams).expect("it writes"));
            }
            // It begins anew each time.
            assert_eq!(writer.sample(&prompt, 40, &choices[1], 1, &mut |_| Ok(true)).expect("it writes"), written[1]);
            assert_eq!(writer.sample(&prompt, 40, &choices[1], 1, &mut |_| Ok(false)).expect("it writes").len(), 1);
            all.push(written);
        }
        assert_eq!(all[0], all[1], "{name}: without memory");
        assert_eq!(all[0], all[2], "{name}: on more threads");
        // The likeliest tokens are found by all ways, and chance finds others.
        assert_eq!(all[0][0], greedy(&predict, &prompt, *window, 40), "{name}");
        assert_eq!(all[0][0], all[0][4], "{name}");
        assert_ne!(all[0][0], all[0][1], "{name}");
        assert_eq!(all[0][5].len(), 40);
    }
}

#[test]
fn a_search_finds_the_likeliest_text() {
    let model = read(NETWORKS[0].1);
    let [predict, write] = functions(&model);
    let pool = ThreadPool::new(1);
    let predictor = compiled(&write).predictor(&pool).expect("it compiles");
    let mut network = Compiled::new(predictor.model(), &pool);
    let tokeniser = tokeniser(&network);
    // With as many beams as there are bytes nothing of two tokens is left out.
    let found = Writer::new(&mut network, &tokeniser, false).expect("it writes").search(&[70, 71], 2, 256).expect("it writes");
    let logs = |text: &[i64]| {
        let scores = evaluate(&predict.0, predict.0.predict().expect("a function"), &[tokens(&[text])]).expect("it runs");
        let scores = floats(&array(&scores[0]));
        let last = scores[scores.len() - BYTES + 2..].to_vec();
        let whole = last.iter().map(|score| score.exp()).sum::<f64>().ln();
        last.into_iter().map(|score| score - whole).collect::<Vec<f64>>()
    };
    let mut best = (f64::NEG_INFINITY, Vec::new());
    for (first, one) in logs(&[70, 71]).into_iter().enumerate() {
        for (second, two) in logs(&[70, 71, first as i64 + 2]).into_iter().enumerate() {
            if one + two > best.0 {
                best = (one + two, vec![first as i64 + 2, second as i64 + 2]);
            }
        }
    }
    assert_eq!(found, best.1);
}

#[test]
fn what_does_not_write_is_told_by_name() {
    let cases = [
        ("{type='multi_head_attention', heads=4}", "an attention that sees later elements"),
        ("{type='gru', units=8, return_sequences=true, bidirectional=true}", "walks backwards"),
        ("{type='concat', inputs=['layer_norm', 'layer_norm']}", "a `concat`"),
        ("{type='permute', order=[1, 2]}", "a `permute`"),
        ("{type='softmax', axis=1}", "along another axis"),
    ];
    for (layers, told) in cases {
        let text = format!("{{type='layer_norm'}}, {layers}");
        let error = read(&text).writer.expect("it scores the next token").expect_err("it does not write");
        assert!(error.message.contains(told), "{layers}: {error}");
    }
    let pooled = "input = [{name='text', shape=['time'], text={tokens='byte'}}]
        layer = [{type='embedding', features=4}, {type='sequence_pool'}, {type='dense', units=258}]";
    assert!(parse("test.toml", "test", pooled, Language::Toml).expect("a network").writer.is_none());
}

#[test]
fn probabilities_are_scores_too() {
    let network = |last: &str| {
        let text = format!(
            "name = 'writes'\nseed = 5\ninput = [{{name='text', shape=['time'], text={{tokens='byte'}}}}]\n\
             layer = [{{type='embedding', features=16, initialiser='normal(1)'}}, {{type='gru', units=16, return_sequences=true}}, \
             {{type='dense', units={BYTES}, initialiser='normal(0.5)'}}{last}]"
        );
        parse("test.toml", "test", &text, Language::Toml).expect("a network")
    };
    let pool = ThreadPool::new(1);
    let written = ["", ", {type='softmax'}", ", {type='log_softmax'}"].map(|last| {
        let [_, function] = functions(&network(last));
        let predictor = compiled(&function).predictor(&pool).expect("it compiles");
        let mut network = Compiled::new(predictor.model(), &pool);
        let tokeniser = tokeniser(&network);
        let mut writer = Writer::new(&mut network, &tokeniser, false).expect("it writes");
        writer.sample(&[80, 81], 30, &Choice { top_k: Some(50), ..Choice::default() }, 3, &mut |_| Ok(true)).expect("it writes")
    });
    assert_eq!(written[0], written[1]);
    assert_eq!(written[0], written[2]);
}

#[test]
fn programs_write_by_the_same_code() {
    let [_, write] = functions(&read(NETWORKS[0].1));
    let model = compiled(&write);
    let pool = ThreadPool::new(1);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("write");
    model.write(ArtifactKind::Executable, WeightsChoice::Embed, &path, &pool).expect("it links");
    let predictor = model.predictor(&pool).expect("it compiles");
    let mut network = Compiled::new(predictor.model(), &pool);
    let tokeniser = tokeniser(&network);
    let mut writer = Writer::new(&mut network, &tokeniser, false).expect("it writes");
    let prompt: Vec<i64> = "Once é".bytes().map(|byte| i64::from(byte) + 2).collect();
    let run = |arguments: &[&str], input: &str| {
        let mut child = Command::new(&path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // A program that reads nothing may have ended.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).expect("UTF-8"));
        (output.status.code().expect("it ends by itself"), out, err)
    };
    let choice = Choice { temperature: 0.9, top_k: Some(20), top_p: 0.95 };
    let expected = writer.sample(&prompt, 30, &choice, 7, &mut |_| Ok(true)).expect("it writes");
    let text = tokeniser.text(&expected).expect("bytes");
    let asked = ["--tokens", "30", "--temperature", "0.9", "--top-k", "20", "--top-p", "0.95", "--seed", "7"];
    let (code, out, _) = run(&[&asked[..], &["--prompt", "Once é"]].concat(), "");
    assert_eq!((code, out), (0, format!("Once é{text}\n")));
    // Lines of standard input, one answer each.
    let (code, out, _) = run(&[&asked[..], &["--json"]].concat(), "Once é\nOnce é\n");
    let answers: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((code, answers.len()), (0, 2));
    for answer in answers {
        assert_eq!((&answer["tokens"], &answer["text"]), (&serde_json::json!(expected), &serde_json::json!(text)));
    }
    let (_, out, _) = run(&[&asked[..], &["--json", "--no-cache", "Once é"]].concat(), "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).expect("JSON")["tokens"], serde_json::json!(expected));
    let searched = writer.search(&prompt, 9, 3).expect("it writes");
    let (_, out, _) = run(&["--beams", "3", "-n", "9", "Once é", "--json", "-t", "1"], "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).expect("JSON")["tokens"], serde_json::json!(searched));
    assert_eq!(run(&["--tokens", "0", "Once"], ""), (0, "Once\n".to_owned(), String::new()));
    let (code, _, err) = run(&["--timing", "--greedy", "-n", "5", "Once"], "");
    assert!(code == 0 && err.contains("tokens/s") && err.contains("weights: "), "{err}");
    let (code, out, _) = run(&["--help"], "");
    assert!(code == 0 && out.contains("sees 12 tokens at once") && out.contains("--top-p"), "{out}");
    // What is asked for wrongly.
    for (arguments, told) in [
        (&["--beams", "2", "--top-k", "3", "x"][..], "--beams searches"),
        (&["--temperature", "-1", "x"], "--temperature is a number"),
        (&["--top-p", "1.5", "x"], "--top-p is a probability"),
        (&["--top-k", "0", "x"], "--top-k is at least 1"),
        (&["--frobnicate"], "invalid option"),
        (&[""], "a prompt has none"),
    ] {
        let (code, out, err) = run(arguments, "");
        assert!(code == 2 && out.is_empty() && err.contains(told), "{arguments:?}: {code} {out} {err}");
    }
    assert_eq!(run(&[], ""), (0, String::new(), String::new()));
}

#[test]
fn states_that_are_too_small_are_told() {
    let [_, write] = functions(&read(NETWORKS[0].1));
    let pool = ThreadPool::new(1);
    let predictor = compiled(&write).predictor(&pool).expect("it compiles");
    let mut network = Compiled::new(predictor.model(), &pool);
    let mut states: Vec<Array> = (0..write.1).map(|_| Array::zeroed(DType::F32, vec![1, 4, 2, 4]).expect("small")).collect();
    let inputs = [array(&tokens(&[&[5, 6, 7]])), array(&Tensor::i64(&[], &[0]))];
    let error = network.update(&inputs, &mut states).expect_err("three tokens have no room for two");
    assert!(error.message.contains("an index is out of range"), "{error}");
}
