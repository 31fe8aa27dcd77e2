//! The command line as users see it: texts, exit codes, files.

use kiln::frontend::onnx::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TensorTypeProto, TypeProto,
    TypeValue, ValueInfoProto,
};
use kiln_ir::{DType, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, write_npz};
use prost::Message as _;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A directory with models and inputs, where the commands run.
fn workplace() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).expect("writes");
    let relu = model("Relu").encode_to_vec();
    write("relu.onnx", &relu);
    write("truncated.onnx", &relu[..relu.len() - 7]);
    write("empty.onnx", b"");
    write("text.onnx", b"<html>not found</html>");
    write("unknown.onnx", &model("Rleu").encode_to_vec());
    write("broken.kiln", b"module m {\n  fn predict(%x: f32[4]) {\n    %y = rleu %x : f32[4]\n    return %y\n  }\n}\n");
    write("norm.kiln", NORM.as_bytes());
    write("expected.txt", b"test_relu\n");
    write("text.npy", b"no numbers");
    npz(&place.path().join("in.npz"), "x", &[2, 3], &[-1.0, 2.0, -3.0, 4.0, f32::NAN, 0.0]);
    npz(&place.path().join("wrong.npz"), "x", &[2, 4], &[0.0; 8]);
    npz(&place.path().join("other.npz"), "z", &[2, 3], &[0.0; 6]);
    npz(&place.path().join("expect.npz"), "y", &[2, 3], &[0.0, 2.0, 0.0, 4.5, f32::NAN, 0.0]);
    place
}

/// A logarithm of a softmax that is spelled out.
const NORM: &str = "module m {
  fn predict(%x: f32[n, 4]) {
    %m = reduce %x {kind = max, axes = [1], keep = true} from \"ReduceMax \\\"largest\\\"\"
    %b = broadcast %m {shape = [n, 4]} from \"Sub \\\"difference\\\"\"
    %d = sub %x, %b from \"Sub \\\"difference\\\"\"
    %e = exp %d from \"Exp \\\"powers\\\"\"
    %s = reduce %e {kind = sum, axes = [1], keep = true} from \"ReduceSum \\\"total\\\"\"
    %t = broadcast %s {shape = [n, 4]} from \"Div \\\"shares\\\"\"
    %p = div %e, %t from \"Div \\\"shares\\\"\"
    %y = log %p from \"Log \\\"logits\\\"\"
    return %y
  }
}
";

/// `y = op(x)` for x of f32[n, 3].
fn model(op: &str) -> ModelProto {
    let dims = [DimensionValue::Name("n".into()), DimensionValue::Size(3)];
    let shape = TensorShapeProto { dim: dims.into_iter().map(|value| DimensionProto { value: Some(value) }).collect() };
    let tensor = TensorTypeProto { elem_type: 1, shape: Some(shape) };
    let value = |name: &str| ValueInfoProto {
        name: name.into(),
        r#type: Some(Box::new(TypeProto { value: Some(TypeValue::Tensor(tensor.clone())) })),
    };
    let node =
        NodeProto { name: "first".into(), op_type: op.into(), input: vec!["x".into()], output: vec!["y".into()], ..Default::default() };
    let graph = GraphProto { node: vec![node], input: vec![value("x")], output: vec![value("y")], ..Default::default() };
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(Box::new(graph)), ..Default::default() }
}

fn npz(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
    let array = Array::from_bytes(DType::F32, shape.to_vec(), Tensor::f32(shape, values).bytes()).expect("small");
    write_npz(path, [(name, &array)]).expect("writes");
}

fn kiln(place: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(line.split_whitespace()).current_dir(place).env("COLUMNS", "100").output().expect("kiln starts")
}

/// What each command line prints and how it ends.
fn transcript(place: &Path, lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let output = kiln(place, line);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
        let said: String = said.split_inclusive('\n').filter(|line| !line.starts_with("took ")).collect();
        writeln!(text, "$ kiln {line}\n{said}exit {:?}\n", output.status.code().expect("no signal")).expect("a string takes anything");
    }
    text
}

#[test]
fn mistakes_are_told_with_reason_and_next_step() {
    let place = workplace();
    let lines = [
        "run missing.onnx --inputs in.npz",
        "run empty.onnx",
        "run truncated.onnx --inputs in.npz",
        "run text.onnx",
        "compile unknown.onnx -o model",
        "run relu.onnx --inputs wrong.npz",
        "run relu.onnx --inputs wrong.npz --backend reference",
        "run relu.onnx --inputs other.npz",
        "run relu.onnx --inputs missing.npz",
        "run relu.onnx --input x=text.npy",
        "run relu.onnx --inputs in.npz --output no/such/place.npz",
        "compile relu.onnx -o no/such/place",
        "compile relu.onnx -o - --emit graph --after fold_constant",
        "inspect broken.kiln",
        "test .",
        "test missing",
        "test . --expect-failures expected.txt",
    ];
    insta::assert_snapshot!(transcript(place.path(), &lines));
    assert!(!place.path().join("model").exists());
}

#[test]
fn wrong_usage_ends_with_2() {
    let place = workplace();
    let lines = [
        "run relu.onnx",
        "run relu.onnx picture.png --inputs in.npz",
        "run relu.onnx --inputs in.npz --input y=in.npy",
        "run relu.onnx --inputs in.npz --dim m=2",
        "run relu.onnx --dim n",
        "run relu.onnx --threads 0",
        "compile relu.onnx",
        "compile relu.onnx -o - --emit obj",
        "compile relu.onnx -o x --after fold_constants",
        "bench relu.onnx --seconds -1",
        "cmpile relu.onnx",
    ];
    let text = transcript(place.path(), &lines);
    assert_eq!(text.matches("exit 2\n").count(), lines.len(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn what_was_recognised_is_explained() {
    let place = workplace();
    let lines = [
        "explain norm.kiln",
        "explain norm.kiln --node total",
        "explain norm.kiln --node missing",
        "explain norm.kiln --exact",
        "explain norm.kiln --no-rule log-of-softmax",
        "explain norm.kiln --no-rule log-of-softmx",
        "explain norm.kiln --rewrite-nodes 1",
        "explain relu.onnx --exact --approximate",
    ];
    insta::assert_snapshot!(transcript(place.path(), &lines));
}

/// At every level, compiled code agrees with the interpreter, and a page shows what was done.
#[test]
fn levels_of_rewriting_agree_and_are_explained() {
    let place = workplace();
    for level in ["0", "1", "2", "2 --exact", "2 --rewrite-rounds 1", "2 --rewrite-seconds 10"] {
        let output = kiln(place.path(), &format!("check norm.kiln --bisect-rules --opt {level}"));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.starts_with("agrees"), "{level}: {told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("no rewrite rule changes results"), "{told}");
    }
    let told = |line: &str| String::from_utf8_lossy(&kiln(place.path(), line).stdout).into_owned();
    assert_eq!(told("explain norm.kiln --opt 0"), "nothing is rewritten (--opt 0)\n");
    let kernels = told("explain norm.kiln --kernels --html page.html");
    assert!(kernels.contains("kernels:\n") && kernels.contains("from Log \"logits\""), "{kernels}");
    let page = std::fs::read_to_string(place.path().join("page.html")).expect("text");
    assert!(
        page.matches("<svg").count() == 2 && page.contains("log_softmax: softmax-of-exponentials → softmax-of-shifted → log-of-softmax"),
        "{page}"
    );
    assert!(!page.contains("http://") || page.matches("http").count() == page.matches("http://www.w3.org/2000/svg").count());
    assert_eq!(kiln(place.path(), "check norm.kiln --opt 3").status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_str(&told("explain norm.kiln --json")).expect("JSON");
    let candidates = answer["optimised"][0]["candidates"].as_array().expect("a list");
    assert!(answer["recognised"][0]["replaced"] == 1 && candidates[0]["what"] == "as it was", "{answer}");
    assert!(answer["seconds"]["saturating"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{answer}");
}

#[test]
fn a_full_disk_is_an_error() {
    if Path::new("/dev/full").exists() {
        let place = workplace();
        let output = kiln(place.path(), "run relu.onnx --inputs in.npz --output /dev/full");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "error[file]: cannot write /dev/full: No space left on device\n");
    }
}

/// A network of one layer, with a seed.
const NET: &str = "seed = 3\n[[input]]\nname = 'x'\nshape = [3]\n[[layer]]\ntype = 'dense'\nname = 'y'\nunits = 2\n";

#[test]
fn a_model_file_is_a_model_with_values_from_its_seed() {
    let place = workplace();
    let path = place.path();
    std::fs::write(path.join("net.toml"), NET).expect("writes");
    std::fs::write(path.join("wrong.toml"), NET.replace("units", "unit")).expect("writes");
    npz(&path.join("finite.npz"), "x", &[2, 3], &[-1.0, 2.0, -3.0, 4.0, 0.5, 0.0]);
    let read = |name: &str| {
        let array = Npz::open(&path.join(name)).expect("opens").read("y").expect("reads").expect("is there");
        (0..array.len()).map(|i| array.get_f64(i).to_bits()).collect::<Vec<_>>()
    };
    for line in ["run net.toml --inputs finite.npz --output cpu.npz", "compile net.toml -o net", "compile net.toml -o one --dim batch=2"] {
        let output = kiln(path, line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for program in ["net", "one"] {
        let arguments = ["--inputs", "finite.npz", "--output", "exe.npz"];
        let output = Command::new(path.join(program)).args(arguments).current_dir(path).output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(read("exe.npz"), read("cpu.npz"), "{program}");
    }
    insta::assert_snapshot!(transcript(path, &["inspect wrong.toml", "compile net.toml -o x --dim n=2"]), @r#"
    $ kiln inspect wrong.toml
    error[model_value]: nothing here is called `unit`
      ┌─ wrong.toml:8:1
      │
    8 │ unit = 2
      │ ^^^^ here
      │
      = help: did you mean `units`?

    exit 1

    $ kiln compile net.toml -o x --dim n=2
    error[usage_dim]: the model has no size named "n"
      help: it has batch
    exit 2
    "#);
}

/// A network that finds the largest of three numbers, and how it is trained.
const TRAINED: &str = "seed = 3
[[input]]
name = 'x'
shape = [3]
[[layer]]
type = 'dense'
units = 8
activation = 'tanh'
[[layer]]
type = 'dense'
name = 'scores'
units = 3
[train]
loss = 'sparse_cross_entropy'
epochs = 30
batch = 16
learning_rate = 0.02
";

/// Beside the models of [`workplace`], networks and data to train with.
fn training_place() -> tempfile::TempDir {
    let place = workplace();
    let path = place.path();
    for (name, text) in [("net.toml", NET), ("trained.toml", TRAINED), ("wrong.toml", &TRAINED.replace("'sparse_c", "'spare_c"))] {
        std::fs::write(path.join(name), text).expect("writes");
    }
    let value = |i: usize| ((i * i + 1) as f32 * 0.37).sin();
    let label = |row: &[f32]| (0..3).find(|i| row.iter().all(|v| *v <= row[*i])).expect("one is largest") as i64;
    let data = |name: &str, count: usize, features: usize, add: i64| {
        let values: Vec<f32> = (0..count * features).map(value).collect();
        let labels: Vec<i64> = values.chunks(features).map(|row| label(&row[..3]) + add).collect();
        let x = Array::from_bytes(DType::F32, vec![count, features], Tensor::f32(&[count, features], &values).bytes()).expect("small");
        let y = Array::from_bytes(DType::I64, vec![count], Tensor::i64(&[count], &labels).bytes()).expect("small");
        write_npz(&path.join(name), [("x_train", &x), ("y_train", &y), ("x_test", &x), ("y_test", &y)]).expect("writes");
    };
    data("data.npz", 200, 3, 0);
    data("wide.npz", 20, 4, 0);
    data("labels.npz", 20, 3, 1);
    data("one.npz", 1, 3, 0);
    place
}

#[test]
fn wrong_usage_of_training_ends_with_2() {
    let place = training_place();
    let lines = [
        "train trained.toml --out out",
        "train trained.toml --data data.npz",
        "train trained.toml --data data.npz --out out --epochs 0",
        "train trained.toml --data data.npz --out out --batch none",
        "train trained.toml --data data.npz --out out --learning-rate 0",
        "train trained.toml --data data.npz --out out --checkpoint-seconds -1",
        "train trained.toml --data data.npz --out out --resume --overwrite",
        "train trained.toml --data data.npz --out out --resume --parameters p.safetensors",
        "train trained.toml --data data.npz --out out --dim n=2",
        "schema trained.toml",
    ];
    let text = transcript(place.path(), &lines);
    assert_eq!(text.matches("exit 2\n").count(), lines.len(), "{text}");
    assert!(!place.path().join("out").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn what_cannot_be_trained_is_told() {
    let place = training_place();
    let lines = [
        "train missing.toml --data data.npz --out out",
        "train relu.onnx --data data.npz --out out",
        "train net.toml --data data.npz --out out",
        "train wrong.toml --data data.npz --out out",
        "train trained.toml --data missing --out out",
        "train trained.toml --data in.npz --out out",
        "train trained.toml --data text.npy --out out",
        "train trained.toml --data wide.npz --out out",
        "train trained.toml --data labels.npz --out out",
        "train trained.toml --data data.npz --out data.npz",
        "train trained.toml --data data.npz --out out --resume",
        "train trained.toml --data data.npz --out out --parameters in.npz",
    ];
    let text = transcript(place.path(), &lines);
    assert_eq!(text.matches("exit 1\n").count(), lines.len(), "{text}");
    insta::assert_snapshot!(text);
    assert!(!place.path().join("out/model.safetensors").exists());
}

/// Runs a command that must succeed, and gives what it prints.
fn done(place: &Path, line: &str) -> String {
    let output = kiln(place, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_network_is_trained_and_compiled() {
    let place = training_place();
    let path = place.path();
    let told = done(path, "train trained.toml --data data.npz --out out");
    for line in [
        "network        trained, 59 parameters",
        "data           180 samples to learn from, 20 for validation, 200 for test",
        "schedule       30 epochs, batch 16, learning rate 0.02",
        "epoch 30/30 ",
        "compile it: kiln compile trained.toml --parameters out/model.safetensors -o trained",
    ] {
        assert!(told.lines().any(|l| l.starts_with(line)), "no line `{line}` in\n{told}");
    }
    let mut files: Vec<String> =
        std::fs::read_dir(path.join("out")).expect("made").map(|f| f.expect("reads").file_name().into_string().expect("text")).collect();
    files.sort();
    let events = files.iter().position(|name| name.starts_with("events.out.tfevents.")).expect("an event file");
    files.remove(events);
    assert_eq!(files, ["checkpoint.safetensors", "history.csv", "history.jsonl", "model.safetensors", "report.html"]);
    let history = std::fs::read_to_string(path.join("out/history.csv")).expect("text");
    assert_eq!(history.lines().count(), 31, "{history}");

    // What was trained answers as the network does that is compiled of it.
    let mut data = Npz::open(&path.join("data.npz")).expect("opens");
    let [x, labels] = ["x_test", "y_test"].map(|name| data.read(name).expect("reads").expect("is there"));
    write_npz(&path.join("x.npz"), [("x", &x)]).expect("writes");
    done(path, "compile trained.toml --parameters out/model.safetensors -o trained");
    let program = Command::new(path.join("trained")).args(["--inputs", "x.npz", "--output", "y.npz"]).current_dir(path).output();
    assert!(program.expect("starts").status.success());
    let scores = Npz::open(&path.join("y.npz")).expect("opens").read("scores").expect("reads").expect("is there");
    let largest = |row: usize| (0..3).max_by(|a, b| scores.get_f64(row * 3 + a).total_cmp(&scores.get_f64(row * 3 + b))).expect("three");
    let right = (0..labels.len()).filter(|row| largest(*row) as f64 == labels.get_f64(*row)).count();
    assert!(right > 180, "{right} of {}", labels.len());
    let accuracy = told.lines().find(|l| l.starts_with("test")).expect("a line about the test");
    assert!(accuracy.contains(&format!("accuracy {:.4}", right as f64 / labels.len() as f64)), "{right}: {accuracy}");
}

#[test]
fn a_finished_training_is_kept_unless_told_otherwise() {
    let place = training_place();
    let path = place.path();
    let trained = |out: &str| std::fs::read(path.join(out).join("model.safetensors")).expect("it is there");
    done(path, "train trained.toml --data data.npz --out out --epochs 2 --threads 1");
    let first = trained("out");
    let lines = [
        "train trained.toml --data data.npz --out out --epochs 2",
        "train trained.toml --data data.npz --out out --epochs 3 --resume",
        "train trained.toml --data one.npz --out out --epochs 2 --resume",
    ];
    insta::assert_snapshot!(transcript(path, &lines), @r#"
    $ kiln train trained.toml --data data.npz --out out --epochs 2
    error[checkpoint]: out holds a checkpoint already
      help: --resume goes on from it, --overwrite begins anew
    exit 1

    $ kiln train trained.toml --data data.npz --out out --epochs 3 --resume
    error[checkpoint]: out/checkpoint.safetensors is of another training: network, settings, seed or data differ
      help: train with the same ones, or begin anew with --overwrite
    exit 1

    $ kiln train trained.toml --data one.npz --out out --epochs 2 --resume
    error[checkpoint]: out/checkpoint.safetensors is of another training: network, settings, seed or data differ
      help: train with the same ones, or begin anew with --overwrite
    exit 1
    "#);
    assert!(trained("out") == first);
    let told = done(path, "train trained.toml --data data.npz --out out --epochs 2 --resume");
    assert!(told.contains("going on       after step 24, in epoch 3"), "{told}");
    assert!(trained("out") == first);
    let told = done(path, "train trained.toml --data data.npz --out out --epochs 2 --seed 4 --overwrite --json --threads 2");
    let epochs: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(epochs.len() >= 2 && epochs[0]["epoch"] == 1 && epochs[1]["loss"].is_f64(), "{told}");
    assert!(trained("out") != first);
    done(path, "train trained.toml --data data.npz --out out --epochs 2 --overwrite --threads 2");
    assert!(trained("out") == first, "threads and what was there before change nothing");
    // Parameters to begin with: other ones at the end.
    done(path, "train trained.toml --data data.npz --out more --epochs 2 --parameters out/model.safetensors");
    assert!(trained("more") != first);
}

#[test]
fn a_trainer_as_a_program_does_the_same() {
    let place = training_place();
    let path = place.path();
    done(path, "train trained.toml --data data.npz --out out --epochs 3");
    done(path, "compile trained.toml --emit trainer -o trainer");
    let trainer = |line: &str| {
        let output = Command::new(path.join("trainer")).args(line.split_whitespace()).current_dir(path).output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(trainer("--data data.npz --out program --epochs 3"), (Some(0), String::new()));
    let read = |out: &str| std::fs::read(path.join(out).join("model.safetensors")).expect("it is there");
    assert!(read("out") == read("program"));
    // Checkpoints are of both.
    assert_eq!(trainer("--data data.npz --out out --epochs 3 --resume"), (Some(0), String::new()));
    let (code, text) = trainer("--data data.npz --out program --epochs 3");
    assert!(code == Some(1) && text.contains("holds a checkpoint already"), "{code:?} {text}");
    let (code, text) = trainer("--out program");
    assert!(code == Some(2) && text.contains("--data"), "{code:?} {text}");
}

/// Interrupted somewhere, it ends with the bits of one that was not.
#[test]
fn an_interrupted_training_goes_on() {
    let place = training_place();
    let path = place.path();
    done(path, "train trained.toml --data data.npz --out whole --epochs 300");
    let line = "train trained.toml --data data.npz --out out --epochs 300";
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    let mut child = command.args(line.split_whitespace()).current_dir(path).stdout(Stdio::null()).spawn().expect("kiln starts");
    let checkpoint = path.join("out/checkpoint.safetensors");
    while !checkpoint.exists() && child.try_wait().expect("it can be asked").is_none() {
        std::thread::yield_now();
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let told = done(path, &format!("{line} --resume"));
    assert!(told.contains("going on       after step "), "{told}");
    let trained = |out: &str| std::fs::read(path.join(out).join("model.safetensors")).expect("it is there");
    assert!(trained("out") == trained("whole"));
}

#[test]
fn the_schema_is_printed() {
    let place = workplace();
    let schema: serde_json::Value = serde_json::from_str(&done(place.path(), "schema")).expect("JSON");
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let layers = schema["definitions"]["layer"]["anyOf"].as_array().expect("a list");
    for word in kiln::frontend::model::layers::NAMES {
        assert!(layers.iter().any(|layer| layer["properties"]["type"]["const"] == *word), "{word}");
    }
    assert!(["epochs", "loss", "optimiser"].iter().all(|setting| schema["properties"]["train"]["properties"][setting].is_object()));
}

#[test]
fn both_backends_and_an_executable_answer_alike() {
    let place = workplace();
    let path = place.path();
    let read = |name: &str| {
        let array = Npz::open(&path.join(name)).expect("opens").read("y").expect("reads").expect("is there");
        (array.type_text(), (0..array.len()).map(|i| array.get_f64(i).to_string()).collect::<Vec<_>>().join(" "))
    };
    for line in [
        "run relu.onnx --inputs in.npz --output cpu.npz",
        "run relu.onnx --inputs in.npz --output reference.npz --backend reference",
        "run relu.onnx --inputs in.npz --output fixed.npz --dim n=2",
        "compile relu.onnx -o relu",
    ] {
        let output = kiln(path, line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let program = Command::new(path.join("relu")).args(["--inputs", "in.npz", "--output", "exe.npz"]).current_dir(path).output();
    assert!(program.expect("starts").status.success());
    for name in ["cpu.npz", "reference.npz", "fixed.npz", "exe.npz"] {
        assert_eq!(read(name), ("f32[2, 3]".to_string(), "0 2 0 4 NaN 0".to_string()), "{name}");
    }
}

#[test]
fn check_measures_and_finds_the_difference() {
    let place = workplace();
    let lines = [
        "check relu.onnx",
        "check relu.onnx --inputs in.npz --dump-values values",
        "check relu.onnx --inputs in.npz --expect expect.npz",
        "check relu.onnx --inputs in.npz --expect in.npz",
    ];
    insta::assert_snapshot!(transcript(place.path(), &lines));
    let mut values = Npz::open(&place.path().join("values/compiled.npz")).expect("dumped");
    assert!(values.read("00000.relu.0").expect("reads").is_some(), "{:?}", values.names());
}

#[test]
fn inspect_says_what_a_model_is() {
    let place = workplace();
    insta::assert_snapshot!(transcript(place.path(), &["inspect relu.onnx", "inspect relu.onnx --dim n=4 --json"]));
}

#[test]
fn bench_answers_with_one_object() {
    let place = workplace();
    let output = kiln(place.path(), "bench relu.onnx --runs 3 --json");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    let keys = [
        "median_us",
        "min_us",
        "max_us",
        "runs",
        "threads",
        "compile_ms",
        "arena_bytes",
        "weight_bytes",
        "artifact_bytes",
        "gflop",
        "gflops",
    ];
    assert!(keys.iter().all(|key| answer.get(key).is_some()), "{answer}");
    assert_eq!(answer["runs"], 3);
}

#[test]
fn cases_pass_fail_and_are_expected_to() {
    let place = workplace();
    let path = place.path();
    let tensor = |dims: &[i64], values: &[f32]| {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
        kiln::frontend::onnx::proto::TensorProto { dims: dims.to_vec(), data_type: 1, raw_data: raw, ..Default::default() }.encode_to_vec()
    };
    for (case, result, tolerance) in [("good", 2.0, None), ("bad", 2.5, None), ("loose", 2.5, Some("0.5 0"))] {
        let set = path.join("cases").join(case).join("test_data_set_0");
        std::fs::create_dir_all(&set).expect("made");
        std::fs::copy(path.join("relu.onnx"), path.join("cases").join(case).join("model.onnx")).expect("copied");
        std::fs::write(set.join("input_0.pb"), tensor(&[1, 3], &[-1.0, 2.0, f32::INFINITY])).expect("writes");
        std::fs::write(set.join("output_0.pb"), tensor(&[1, 3], &[0.0, result, f32::INFINITY])).expect("writes");
        if let Some(tolerance) = tolerance {
            std::fs::write(path.join("cases").join(case).join("tol.txt"), tolerance).expect("writes");
        }
    }
    std::fs::write(path.join("known.txt"), "bad dynamic cpu/no-fold # the expected output is wrong\n").expect("writes");
    std::fs::write(path.join("stale.txt"), "bad # wrong\ngood # was wrong\n").expect("writes");
    let lines = [
        "test cases",
        "test cases/good cases/loose --backend reference",
        "test cases --dynamic --expect-failures known.txt",
        "test cases --no-fold --expect-failures known.txt",
        "test cases --no-fold --backend reference --expect-failures known.txt",
        "test cases --expect-failures stale.txt",
    ];
    insta::assert_snapshot!(transcript(path, &lines));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = workplace();
    let mut command = Command::new("sh");
    let line = format!("{} compile relu.onnx -o - --emit asm | head -c 1; exit 0", env!("CARGO_BIN_EXE_kiln"));
    let output = command.args(["-c", &line]).current_dir(place.path()).output().expect("sh starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// A picture classifier of another program learns other classes, and what comes out is compiled.
#[test]
fn an_onnx_model_is_tuned_and_compiled() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/digits.onnx");
    std::fs::copy(digits, path.join("digits.onnx")).expect("it is copied");
    let tune = "[train]\nloss = { type = \"sparse_cross_entropy\", logits = false }\nlearning_rate = 0.003\nepochs = 4\nbatch = 16\n\
                freeze = [\"conv*\", \"dense1.weight\"]\n[fine_tune]\nreplace = [{ pattern = \"dense2.*\", units = 4 }]\n";
    std::fs::write(path.join("tune.toml"), tune).expect("it is written");
    // Which corner is bright says the class.
    let pictures = |count: usize| {
        let mut pixels = vec![0.0f32; count * 784];
        let labels: Vec<f64> = (0..count).map(|sample| (sample * 7 % 4) as f64).collect();
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let (sample, row, column) = (at / 784, at % 784 / 28, at % 28);
            let corner = row / 14 * 2 + column / 14;
            let noise = ((at * 2_654_435_761) % 1000) as f32 / 4000.0;
            *pixel = noise + if corner as f64 == labels[sample] && (4..24).contains(&row) { 0.7 } else { 0.0 };
        }
        let x = Array::from_bytes(DType::F32, vec![count, 1, 28, 28], Tensor::f32(&[count, 1, 28, 28], &pixels).bytes()).expect("small");
        let mut y = Array::zeroed(DType::I64, vec![count]).expect("small");
        labels.iter().enumerate().for_each(|(i, label)| y.set_f64(i, *label));
        (x, y)
    };
    let ((x, y), (u, v)) = (pictures(160), pictures(40));
    write_npz(&path.join("data.npz"), [("x_train", &x), ("y_train", &y), ("x_test", &u), ("y_test", &v)]).expect("it is written");
    write_npz(&path.join("in.npz"), [("image", &u)]).expect("it is written");

    let says = |line: &str| {
        let output = kiln(path, line);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        (output.status.success(), text)
    };
    let (done, told) = says("train digits.onnx --data data.npz --out tuned");
    assert!(!done && told.contains("does not say how it is trained") && told.contains("--config tune.toml"), "{told}");
    let (done, told) = says("train digits.onnx --config tune.toml --data data.npz --out tuned");
    assert!(done, "{told}");
    let losses: Vec<f64> = told.lines().filter_map(|line| line.split("loss ").nth(1)?.split_whitespace().next()?.parse().ok()).collect();
    assert!(losses[3] < 0.5 * losses[0], "{told}");

    let tuned = std::fs::read(path.join("tuned/model.safetensors")).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&tuned).expect("whole");
    let original = kiln::frontend::onnx::import(&path.join("digits.onnx"), &kiln::frontend::onnx::Options::default()).expect("it is read");
    for (name, parameter) in &original.parameters {
        let (tensor, value) = (tensors.tensor(name).expect("it is kept"), parameter.value.as_ref().expect("it has one"));
        let stays = name.starts_with("conv") || name == "dense1.weight";
        assert_eq!(tensor.data() == value.bytes(), stays, "{name}");
    }
    assert_eq!(tensors.tensor("dense2.bias").expect("it is there").shape(), [4]);

    let (done, told) = says("compile digits.onnx --parameters tuned/model.safetensors -o digits");
    assert!(!done && told.contains("`dense2.bias`"), "{told}");
    let (done, told) = says("compile digits.onnx --config tune.toml --parameters tuned/model.safetensors -o digits");
    assert!(done, "{told}");
    let status = Command::new(path.join("digits")).args(["--inputs", "in.npz", "--output", "out.npz"]).current_dir(path).status();
    assert!(status.expect("it runs").success());
    let scores = Npz::open(&path.join("out.npz")).and_then(|mut file| file.read("probabilities")).expect("readable").expect("it is there");
    assert_eq!(scores.shape(), [40, 4]);
    let right = (0..40).filter(|sample| {
        let best = (0..4).max_by(|a, b| scores.get_f64(sample * 4 + a).total_cmp(&scores.get_f64(sample * 4 + b))).expect("four");
        best as f64 == v.get_f64(*sample)
    });
    assert!(right.count() >= 38, "{told}");

    // Adapters leave a network of the same shapes, which needs no file of settings; checkpoints go on without its matrices.
    let adapt = "[train]\nloss = { type = \"sparse_cross_entropy\", logits = false }\nlearning_rate = 0.01\nepochs = 2\nbatch = 16\n\
                 freeze = [\"*\"]\n[fine_tune]\nadapters = { pattern = \"dense*.weight\", rank = 4, alpha = 8 }\n";
    std::fs::write(path.join("adapt.toml"), adapt).expect("it is written");
    let (done, told) = says("train digits.onnx --config adapt.toml --data data.npz --out adapted");
    assert!(done && !told.contains("--config"), "{told}");
    let file = path.join("adapted/model.safetensors");
    let learnt = std::fs::read(&file).expect("it is there");
    std::fs::remove_file(&file).expect("it is removed");
    let (done, told) = says("train digits.onnx --config adapt.toml --data data.npz --out adapted --resume");
    assert!(done && std::fs::read(&file).expect("it is there again") == learnt, "{told}");
    let tensors = safetensors::SafeTensors::deserialize(&learnt).expect("whole");
    assert!(original.parameters.keys().map(String::as_str).eq({
        let mut names = tensors.names();
        names.sort_unstable();
        names
    }));
    let (done, told) = says("compile digits.onnx --parameters adapted/model.safetensors -o digits");
    assert!(done, "{told}");

    let (done, told) = says("compile digits.onnx -o typed.rs --emit rust");
    assert!(done && path.join("libdigits.a").is_file(), "{told}");
    let module = std::fs::read_to_string(path.join("typed.rs")).expect("text");
    assert!(module.contains("pub struct Digits {") && module.contains("    pub image: &'a [f32],"), "{module}");
    let (done, told) = says("compile digits.onnx --config tune.toml --function train-step -o step.rs --emit rust");
    assert!(done, "{told}");
    // Frozen parameters come first, with the values of the file.
    let start = std::fs::read(path.join("digits_train_step.start")).expect("it is there");
    let first = original.parameters["conv1.bias"].value.as_ref().expect("it has one");
    assert!(start.starts_with(first.bytes()));
    for line in ["compile digits.onnx -o - --emit rust", "compile digits.onnx -o a.rs --emit rust --weights external"] {
        let (done, told) = says(line);
        assert!(!done && told.contains("error: "), "{told}");
    }

    // A trainer begins with the same values, inside or beside it, and comes to the same bits.
    for (config, weights, learnt) in [("tune", "embed", &tuned), ("tune", "external", &tuned), ("adapt", "embed", &learnt)] {
        let (done, told) = says(&format!("compile digits.onnx --config {config}.toml --emit trainer -o trainer --weights {weights}"));
        assert!(done, "{told}");
        assert_eq!(path.join("digits.start.safetensors").is_file(), weights == "external");
        let out = format!("by_{config}_{weights}");
        let train = |more: &[&str]| {
            let line = [&["--data", "data.npz", "--out", out.as_str()], more].concat();
            Command::new(path.join("trainer")).args(line).current_dir(path).output().expect("it runs")
        };
        let output = train(&[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let model = path.join(&out).join("model.safetensors");
        assert!(std::fs::read(&model).expect("it is there") == *learnt, "{config} {weights}");
        std::fs::remove_file(&model).expect("it is removed");
        assert!(train(&["--resume"]).status.success() && std::fs::read(&model).expect("it is there again") == *learnt);
        if weights == "external" {
            std::fs::remove_file(path.join("digits.start.safetensors")).expect("it is removed");
            let output = train(&["--overwrite"]);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && told.contains("--parameters FILE"), "{told}");
            let output = train(&["--overwrite", "--parameters", "by_tune_embed/model.safetensors", "--epochs", "1"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let (done, told) = says("eval digits.onnx --config tune.toml --data data.npz --parameters tuned/model.safetensors --report eval.html");
    let page = std::fs::read_to_string(path.join("eval.html")).expect("text");
    assert!(done && page.contains("Confusion") && page.contains("recall") && page.contains("conv1"), "{told}");
}

/// Pictures are explained as pages, arrays and pictures, by every method that a network of convolutions has.
#[test]
fn predictions_are_explained() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    std::fs::copy(digits.join("digits.onnx"), path.join("digits.onnx")).expect("it is copied");
    let picture = std::fs::read_dir(digits.join("pictures")).expect("it is there").next().expect("one").expect("readable").path();
    std::fs::copy(picture, path.join("digit.png")).expect("it is copied");
    for method in ["integrated_gradients --steps 32", "gradient_x_input", "grad_cam", "occlusion --window 7"] {
        let output = kiln(path, &format!("attribute digits.onnx digit.png --method {method} --out why --json"));
        assert!(output.status.success(), "{method}: {}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["samples"][0]["predicted"], answer["samples"][0]["class"], "{method}");
        let page = std::fs::read_to_string(path.join("why/attributions.html")).expect("text");
        assert!(page.contains("data:image/png;base64,") && !page.contains("<script"), "{method}");
        assert!(std::fs::read(path.join("why/0.png")).expect("it is there").starts_with(b"\x89PNG"));
        let read = |name: &str| Npz::open(&path.join("why/attributions.npz")).and_then(|mut file| file.read(name)).expect("whole");
        assert_eq!(read("attributions").expect("it is there").shape()[0], 1);
    }
    for (line, told) in [
        ("attribute digits.onnx --out why", "name what to explain"),
        ("attribute digits.onnx digit.png --samples 1 --out why", "numbers below 1"),
        ("attribute digits.onnx digit.png --class eleven --out why", "--class eleven"),
        ("attribute digits.onnx digit.png --baseline x --out why", "a number or `mean`"),
        ("attribute digits.onnx digit.png --method attention --out why", "no attention"),
    ] {
        let output = kiln(path, line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(told), "{line}: {text}");
    }
}
