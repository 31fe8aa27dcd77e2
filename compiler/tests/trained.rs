//! What people do with a trained network on the command line: measure it, let it predict.

use kiln_ir::DType;
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::{Npz, write_npz};
use std::fs;
use std::path::Path;
use std::process::Command;

const NET: &str = "name = \"flowers\"
[[input]]
name = \"x\"
shape = [2]
[[layer]]
type = \"dense\"
name = \"kind\"
units = 3
[train]
loss = \"sparse_cross_entropy\"
epochs = 40
batch = 8
learning_rate = 0.1
metrics = [\"accuracy\", \"f1\"]
";

/// Rows `x, y, kind` of three clusters.
fn rows(count: usize) -> String {
    let kinds = [("iris", 0.0, 2.0), ("rose", 2.0, 0.0), ("tulip", -2.0, -2.0)];
    let row = |n: usize| {
        let (kind, x, y) = kinds[n * 5 % 3];
        format!("{},{},{kind}\n", x + (n % 7) as f64 / 10.0, y - (n % 5) as f64 / 10.0)
    };
    (0..count).map(row).collect()
}

fn kiln(place: &Path, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    let output = command.args(line.split_whitespace()).current_dir(place).output().expect("kiln starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
    (output.status.code(), said)
}

fn done(place: &Path, line: &str) -> String {
    let (code, said) = kiln(place, line);
    assert_eq!(code, Some(0), "{line}: {said}");
    said
}

fn values(array: &Array) -> Vec<f64> {
    (0..array.len()).map(|i| array.get_f64(i)).collect()
}

#[test]
fn a_trained_network_is_measured_and_predicts() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = directory.path();
    let write = |name: &str, text: &str| fs::write(place.join(name), text).expect("it is written");
    write("net.toml", NET);
    fs::create_dir(place.join("data")).expect("it is made");
    write("data/train.csv", &format!("a,b,kind\n{}", rows(120)));
    write("data/test.csv", &format!("a,b,kind\n{}", rows(40)));
    let trained = done(place, "train net.toml --data data --out trained --threads 2");
    let line = trained.lines().find(|line| line.starts_with("test loss")).expect("it was tested").to_owned();

    // The same numbers that training ended with, in text and in JSON; on the samples that it held back those of its last epoch.
    let told = done(place, "eval net.toml --data data --parameters trained/model.safetensors");
    assert_eq!(told, format!("{line}, over 40 samples\n"));
    let answer = done(place, "eval net.toml --data data --parameters trained/model.safetensors --part validation --json --threads 1");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let history = fs::read_to_string(place.join("trained/history.csv")).expect("text");
    let last: Vec<&str> = history.lines().last().expect("40 epochs").split(',').collect();
    assert_eq!((answer["part"].as_str(), answer["samples"].as_u64()), (Some("validation"), Some(12)));
    assert_eq!(answer["loss"].as_f64().expect("a number").to_string(), last[4], "{history}");
    assert_eq!(answer["metrics"]["accuracy"].as_f64().expect("a number").to_string(), last[5]);
    assert!(answer["metrics"]["f1"].as_f64().expect("a number") > 0.9);
    let other = done(place, "eval net.toml --data data --parameters trained/model.safetensors --part validation --seed 9 --json");
    assert_ne!(serde_json::from_str::<serde_json::Value>(&other).expect("JSON")["loss"], answer["loss"], "other samples");
    let all = done(place, "eval net.toml --data data/test.csv --parameters trained/model.safetensors --part all");
    assert_eq!(all, told.replacen("test", "all", 1));
    let (code, said) = kiln(place, "eval net.toml --data data");
    assert!(code == Some(2) && said.contains("has no parameters of its own") && said.contains("model.safetensors"), "{said}");
    let (code, said) = kiln(place, "eval net.toml --data data/test.csv --parameters trained/model.safetensors --part test");
    assert!(code == Some(1) && said.contains("the data have no part for test") && said.contains("--part all"), "{said}");

    write("torn.csv", "a,b,kind\n1,2,rose\n1,2\n");
    let told = done(place, "eval net.toml --data torn.csv --parameters trained/model.safetensors --part all --skip-bad 1 --json");
    let answer: serde_json::Value = serde_json::from_str(&told).expect("one object");
    assert_eq!((answer["samples"].as_u64(), answer["left_out"].as_array().map(Vec::len)), (Some(1), Some(1)), "{told}");

    // Without labels, in the same words; compiled and interpreted; the raw scores and what they mean.
    let bare: String = rows(40).lines().map(|row| row.rsplit_once(',').map_or("", |(x, _)| x).to_owned() + "\n").collect();
    write("bare.csv", &bare);
    let said = done(place, "predict net.toml --data bare.csv --parameters trained/model.safetensors --out predictions.csv");
    assert_eq!(said, "wrote 40 predictions to predictions.csv\n");
    let table = fs::read_to_string(place.join("predictions.csv")).expect("text");
    let (header, body) = table.split_once('\n').expect("a header");
    assert_eq!(header, "sample,label,confidence,kind[0],kind[1],kind[2]");
    for (row, (found, expected)) in body.lines().zip(rows(40).lines()).enumerate() {
        let fields: Vec<&str> = found.split(',').collect();
        assert_eq!((fields[0], fields[1]), (row.to_string().as_str(), expected.rsplit(',').next().expect("a kind")));
        let scores: Vec<f64> = fields[3..].iter().map(|field| field.parse().expect("a number")).collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        let sure = 1.0 / scores.iter().map(|score| (score - most).exp()).sum::<f64>();
        assert!((fields[2].parse::<f64>().expect("a number") - sure).abs() < 1e-6, "{found}");
    }
    done(place, "predict net.toml --data data --parameters trained/model.safetensors --out again.csv --batch 7 --backend reference");
    let close = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-4 * (1.0 + b.abs()),
        _ => a == b,
    };
    let again = fs::read_to_string(place.join("again.csv")).expect("text");
    let fields = |text: &str| text.split([',', '\n']).map(str::to_owned).collect::<Vec<_>>();
    assert!(fields(&again).iter().zip(fields(&table)).all(|(a, b)| close(a, &b)), "{again}");
    let said = done(place, "predict net.toml --data data --parameters trained/model.safetensors --out p.npz --part train --json");
    assert!(said.contains("\"samples\":120"), "{said}");
    let mut npz = Npz::open(&place.join("p.npz")).expect("it is there");
    assert_eq!(npz.names(), ["kind", "label", "confidence"]);
    let mut read = |name: &str| npz.read(name).expect("reads").expect("it is there");
    assert_eq!((read("kind").type_text(), read("confidence").type_text()), ("f32[120, 3]".into(), "f32[120]".into()));
    assert_eq!(values(&read("label"))[..3], [0.0, 2.0, 1.0]);
    // As a file for others it says the same.
    let said = done(place, "export net.toml --parameters trained/model.safetensors -o net.onnx");
    assert!(said.starts_with("wrote net.onnx: ") && said.contains(" nodes of operator set 21, "), "{said}");
    done(place, "predict net.onnx --data data --out exported.csv --labels trained/labels.txt");
    let exported = fs::read_to_string(place.join("exported.csv")).expect("text");
    let of = |text: &str| text.lines().map(|line| line.split(',').nth(1).map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!((of(&exported), exported.lines().count()), (of(&table), 41));
    let (code, said) = kiln(place, "export net.toml -o net.pb");
    assert!(code == Some(2) && said.contains("it is named .onnx"), "{said}");
    let (code, said) = kiln(place, "predict net.toml --data data --parameters trained/model.safetensors --out p.txt");
    assert!(code == Some(2) && said.contains("predictions go into a .csv, .tsv, .npz or, labels of words, .conll file"), "{said}");
}

/// A model of one output of numbers and a fixed batch: the last batch is filled up, and nothing is said of labels.
#[test]
fn batches_of_a_fixed_size_are_filled_up() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = directory.path();
    let text = "module m {\n  fn predict(%x: f32[4, 2]) {\n    %y = reduce %x {kind = sum, axes = [1], keep = false} : f32[4]\n    return %y\n  }\n}\n";
    fs::write(place.join("sum.kiln"), text).expect("it is written");
    let mut x = Array::zeroed(DType::F32, vec![10, 2]).expect("small");
    (0..20).for_each(|i| x.set_f64(i, i as f64));
    write_npz(&place.join("x.npz"), [("x", &x)]).expect("it is written");
    done(place, "predict sum.kiln --data x.npz --out y.npz");
    let y = Npz::open(&place.join("y.npz")).expect("it is there").read("y").expect("reads").expect("it is there");
    assert_eq!(values(&y), (0..10).map(|i| f64::from(4 * i + 1)).collect::<Vec<_>>());
    done(place, "predict sum.kiln --data x.npz --out y.tsv");
    let table = fs::read_to_string(place.join("y.tsv")).expect("text");
    assert!(table.starts_with("sample\ty\n0\t1\n1\t5\n"), "{table}");
    fs::write(place.join("all.kiln"), text.replace("[1], keep = false} : f32[4]", "[0, 1], keep = false} : f32[]")).expect("it is written");
    let (code, said) = kiln(place, "predict all.kiln --data x.npz --out y.npz");
    assert!(code == Some(1) && said.contains("output y: f32[] has not one row for each sample"), "{said}");
}

/// Data that nobody has labelled: pictures in one directory, files as MNIST's, one array.
#[test]
fn samples_without_labels_are_predicted() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = directory.path();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let model = examples.join("digits.onnx");
    let (model, pictures) = (model.display(), examples.join("pictures"));
    done(place, &format!("predict {model} --data {} --out digits.csv --batch 7", pictures.display()));
    let table = fs::read_to_string(place.join("digits.csv")).expect("text");
    assert!(table.starts_with("sample,label,confidence,"), "{table}");
    assert_eq!(table.lines().count(), 21);
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        // The first letter of a file says which digit it is.
        assert!(fields[0].ends_with(".png") && fields[0].starts_with(fields[1]), "{line}");
    }
    fs::write(place.join("train-images-idx3-ubyte"), [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28][..], &[0; 2 * 784]].concat())
        .expect("writes");
    let said = done(place, &format!("predict {model} --data . --out idx.npz"));
    assert_eq!(said, "wrote 2 predictions to idx.npz\n");
    let mut x = Array::zeroed(DType::F32, vec![3, 1, 28, 28]).expect("small");
    (0..x.len()).for_each(|i| x.set_f64(i, (i % 5) as f64 / 5.0));
    let header = kiln_runtime::npy::header(&x).expect("short");
    fs::write(place.join("x.npy"), [&header, x.bytes()].concat()).expect("writes");
    assert_eq!(done(place, &format!("predict {model} --data x.npy --out x.tsv")), "wrote 3 predictions to x.tsv\n");
}
