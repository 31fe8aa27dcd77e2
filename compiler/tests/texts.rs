//! Networks of texts from data to programs: trained, measured, asked.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A classifier of a few words.
const CLASSIFIER: &str = r#"
name = "moods"
outputs = ["scores"]
[[input]]
name = "text"
shape = ["time"]
text = { tokens = "word", lower_case = true, vocabulary = 30, length = 6 }
[[layer]]
type = "word_dropout"
rate = 0.1
[[layer]]
type = "embedding"
features = 8
[[layer]]
type = "transformer_encoder"
heads = 2
hidden = 8
[[layer]]
type = "sequence_pool"
[[layer]]
type = "dense"
name = "scores"
units = 3
[train]
loss = "sparse_cross_entropy"
epochs = 12
batch = 8
learning_rate = 0.02
validation = 0.0
"#;

/// A tagger that sees both neighbours of a word.
const TAGGER: &str = r#"
name = "tagger"
outputs = ["tags"]
[[input]]
name = "text"
shape = ["time"]
text = { tokens = "word", vocabulary = 30 }
[[layer]]
type = "embedding"
features = 8
[[layer]]
type = "lstm"
units = 8
bidirectional = true
return_sequences = true
[[layer]]
type = "dense"
name = "tags"
units = 4
[train]
loss = "sparse_cross_entropy"
metrics = ["entity_f1", "accuracy"]
epochs = 20
batch = 8
learning_rate = 0.02
validation = 0.0
"#;

fn place(files: &[(&str, String)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in one")).expect("it is made");
        fs::write(path, text).expect("writes");
    }
    place
}

fn run(place: &Path, program: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.current_dir(place).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // Programs that read nothing may have ended by now.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// What the tool prints, or its error.
fn kiln(place: &Path, line: &str) -> Result<String, String> {
    let arguments: Vec<&str> = line.split(' ').collect();
    told(run(place, env!("CARGO_BIN_EXE_kiln"), &arguments, ""))
}

fn told(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn done(place: &Path, line: &str) -> String {
    kiln(place, line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Sentences of which one word says the class.
fn moods(count: usize, from: usize) -> String {
    let words = [["glad", "happy"], ["sad", "gloomy"], ["angry", "cross"]];
    let mut text = "text,mood\n".to_owned();
    for at in from..from + count {
        let class = at * 7 % 3;
        let filler = ["I am", "we are all", "\"well, now he is\"", "she seems"][at % 4];
        let filler = filler.trim_matches('"');
        text += &format!("\"{filler} {}{}\",{}\n", words[class][at % 2], ["", "!", " today"][at % 5 % 3], ["good", "low", "hot"][class]);
    }
    text
}

fn number(text: &str, name: &str) -> f64 {
    let rest = text.rsplit(name).next().unwrap_or_default().trim_start();
    rest.split([',', '\n', ' ']).next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_classifier_is_trained_measured_and_asked() {
    let place = place(&[
        ("net.toml", CLASSIFIER.into()),
        ("data/train.csv", moods(90, 0)),
        ("data/test.csv", moods(30, 90)),
        ("new.csv", "text\nI am cross\n\n\"SAD, sad\"\n".into()),
        ("new.txt", "happy\n\nnobody knows\n".into()),
    ]);
    let at = place.path();
    let trained = done(at, "train net.toml --data data --out out");
    assert!(number(&trained, "accuracy") > 0.95, "{trained}");
    let parameters = "--parameters out/model.safetensors";
    // Neither classes nor vocabulary are those of the data that it is measured on.
    let measured = done(at, &format!("eval net.toml --data data/test.csv --part all {parameters}"));
    assert_eq!(number(&measured, "accuracy"), number(&trained, "accuracy"));
    let few = "text,mood\nwe are all cross,hot\n".to_owned();
    fs::write(at.join("few.csv"), few).expect("writes");
    let measured = done(at, &format!("eval net.toml --data few.csv --part all {parameters}"));
    assert_eq!(number(&measured, "accuracy"), 1.0, "{measured}");
    // A finished training that goes on knows the same words.
    assert!(done(at, "train net.toml --data data --out out --resume").contains("going on"));

    done(at, &format!("predict net.toml --data new.csv {parameters} --out new_out.csv"));
    let predictions = fs::read_to_string(at.join("new_out.csv")).expect("written");
    let labels: Vec<&str> = predictions.lines().skip(1).map(|line| line.split(',').nth(1).expect("a label")).collect();
    assert_eq!(labels, ["hot", "low"], "{predictions}");
    done(at, &format!("predict net.toml --data new.txt {parameters} --out lines.csv"));
    let predictions = fs::read_to_string(at.join("lines.csv")).expect("written");
    assert_eq!(predictions.lines().count(), 4, "an empty line is a text without words: {predictions}");

    done(at, &format!("compile net.toml {parameters} -o moods"));
    let moods = at.join("moods").display().to_string();
    let asked = told(run(at, &moods, &["I am HAPPY!!", "angry", ""], "")).expect("it answers");
    let lines: Vec<&str> = asked.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("good  ") && lines[1].starts_with("hot  ") && lines[0].ends_with(" %"), "{asked}");
    let read = told(run(at, &moods, &["--json"], "I am happy\n\n\u{1F600} \u{FFFD}\n")).expect("it answers");
    let answers: Vec<serde_json::Value> = read.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((answers.len(), &answers[0]["top"][0]["label"], &answers[2]["text"]), (3, &"good".into(), &"\u{1F600} \u{FFFD}".into()));
    let many = told(run(at, &moods, &["--top", "3", "glad"], "")).expect("it answers");
    assert_eq!(many.matches('%').count(), 3, "{many}");
    let help = told(run(at, &moods, &["--help"], "")).expect("help");
    assert!(help.contains("TEXT...") && !help.contains("PICTURE"), "{help}");
    let here = done(at, &format!("run net.toml {parameters} glad"));
    assert!(here.starts_with("good  "), "{here}");
    let both = told(run(at, &moods, &["glad", "--inputs", "x.npz"], "")).expect_err("one of them");
    assert!(both.contains("give either texts or inputs"), "{both}");

    // A trainer as a program finds the same words and classes.
    done(at, "compile net.toml --emit trainer -o trainer");
    let trainer = at.join("trainer").display().to_string();
    told(run(at, &trainer, &["--data", "data", "--out", "theirs"], "")).expect("it trains");
    let file = |place: &str| fs::read(at.join(place).join("model.safetensors")).expect("written");
    assert_eq!(file("theirs"), file("out"));
    let arguments = ["--evaluate", "--data", "few.csv", "--part", "all", "--parameters", "theirs/model.safetensors"];
    assert_eq!(number(&told(run(at, &trainer, &arguments, "")).expect("it measures"), "accuracy"), 1.0);
}

#[test]
fn texts_that_cannot_be_used_are_told() {
    let place = place(&[
        ("net.toml", CLASSIFIER.into()),
        ("data/train.csv", moods(20, 0)),
        ("short.csv", "text,mood\nonly this\nglad,good\n".into()),
        ("latin.csv", String::new()),
    ]);
    let at = place.path();
    fs::write(at.join("latin.csv"), b"text,mood\ncaf\xe9,good\n").expect("writes");
    let wrong = |line: &str| kiln(at, line).expect_err("refused");
    let told = [
        wrong("run net.toml glad"),
        wrong("predict net.toml --data data --out out.csv"),
        wrong("train net.toml --data short.csv --out out"),
        wrong("train net.toml --data latin.csv --out out"),
    ];
    insta::assert_snapshot!(told.join(""), @r#"
    error[text_vocabulary]: which tokens input `text` knows is not said
      help: training finds out and keeps it in model.safetensors: name that file with --parameters
    error[text_vocabulary]: which tokens input `text` knows is not said
      help: training finds out and keeps it in model.safetensors: name that file with --parameters
    error[data]: short.csv:2: 1 fields, and 2 are wanted
      help: mend it, or let N such rows or files at most be left out by --skip-bad N
    error[data]: latin.csv:2: field 1 is no text in UTF-8
      help: mend it, or let N such rows or files at most be left out by --skip-bad N
    "#);
    let unknown = |change: (&str, &str)| {
        fs::write(at.join("other.toml"), CLASSIFIER.replace(change.0, change.1)).expect("writes");
        wrong("inspect other.toml")
    };
    let told = [
        unknown(("\"word\"", "\"wrd\"")),
        unknown(("vocabulary = 30, ", "")),
        unknown(("vocabulary = 30", "vocabulary = 2")),
        unknown(("shape = [\"time\"]", "shape = [3, 4]")),
        unknown(("shape = [\"time\"]", "shape = [8]")),
        unknown(("features = 8", "features = 8\nvocabulary = 20")),
        unknown(("text = {", "dtype = \"f32\"\ntext = {")),
        unknown(("text = { tokens = \"word\", lower_case = true, vocabulary = 30, length = 6 }", "dtype = \"i64\"")),
    ];
    insta::assert_snapshot!(told.join(""), @r#"
    error[model_value]: there are no tokens of kind `wrd`
      ┌─ other.toml:5:8
      │
    5 │ name = "text"
      │        ^^^^^^ here
      │
      = help: one of word, char, byte, or the path of a tokenizer.json

    error[model_value]: `vocabulary` is missing: how many words or characters the network tells apart at most
      ┌─ other.toml:5:8
      │
    5 │ name = "text"
      │        ^^^^^^ here

    error[model_value]: a `vocabulary` has a token at least beside those for padding and for unknown ones
      ┌─ other.toml:5:8
      │
    5 │ name = "text"
      │        ^^^^^^ here

    error[model_value]: a text's shape is [time]: a name, or the number of tokens of each text
      ┌─ other.toml:5:8
      │
    5 │ name = "text"
      │        ^^^^^^ here

    error[model_value]: `length` is 6, and the input's shape says 8
      ┌─ other.toml:5:8
      │
    5 │ name = "text"
      │        ^^^^^^ here

    error[model_layer]: `vocabulary` is 20, and the text that comes in has 30 different tokens
       ┌─ other.toml:12:8
       │
    12 │ type = "embedding"
       │        ^^^^^^^^^^^ here
       │
       = help: leave it out here: it is that of the text

    error[model_value]: tokens are integers: the `dtype` is i64 or i32
      ┌─ other.toml:5:8
      │
    5 │ name = "text"
      │        ^^^^^^ here

    error[model_layer]: takes the tokens of a text
      ┌─ other.toml:9:8
      │
    9 │ type = "word_dropout"
      │        ^^^^^^^^^^^^^^ here
      │
      = help: it stands behind an input with a `text` table, before the embedding
    "#);
}

#[test]
fn a_tagger_is_trained_measured_and_asked() {
    let sentence = |at: usize| {
        let (name, town) = (["Ada", "Bob", "Cy"][at % 3], ["Rome", "New York", "Bonn"][at / 3 % 3]);
        let mut lines = format!("{name}\tB-person\nlives\tO\nin\tO\n");
        town.split(' ').zip(["B-town", "I-town"]).for_each(|(word, label)| lines += &format!("{word}\t{label}\n"));
        if at.is_multiple_of(2) { lines + " \t\n" } else { lines + ".\tO\n\n" }
    };
    let text = |range: std::ops::Range<usize>| range.map(sentence).collect::<String>();
    let place = place(&[
        ("net.toml", TAGGER.to_owned()),
        ("data/train.conll", text(0..60)),
        ("data/test.conll", text(60..80)),
        ("new.conll", "Bob\nlives\nin\nBonn\n\nAda\n".into()),
        ("wrong.conll", "Bob\tB-person\nlives\n".into()),
    ]);
    let at = place.path();
    let trained = done(at, "train net.toml --data data --out out");
    assert!(number(&trained, "entity_f1") > 0.99 && number(&trained, "accuracy") > 0.99, "{trained}");
    let parameters = "--parameters out/model.safetensors";
    let measured = done(at, &format!("eval net.toml --data data/test.conll --part all {parameters}"));
    assert_eq!(number(&measured, "entity_f1"), number(&trained, "entity_f1"));
    done(at, &format!("predict net.toml --data new.conll {parameters} --out tags.conll"));
    let tags = fs::read_to_string(at.join("tags.conll")).expect("written");
    assert_eq!(tags, "Bob\tB-person\nlives\tO\nin\tO\nBonn\tB-town\n\nAda\tB-person\n\n");
    let refused = kiln(at, &format!("predict net.toml --data new.conll {parameters} --out tags.csv")).expect_err("no table");
    assert!(refused.contains("--out NAME.conll"), "{refused}");
    let refused = kiln(at, "train net.toml --data wrong.conll --out other").expect_err("no label");
    assert!(refused.contains("wrong.conll:2: a label is missing behind the word"), "{refused}");
    done(at, &format!("compile net.toml {parameters} -o tagger"));
    let tagger = at.join("tagger").display().to_string();
    let asked = told(run(at, &tagger, &["Cy lives in New York"], "")).expect("it answers");
    assert_eq!(asked, "Cy/B-person lives/O in/O New/B-town York/I-town\n");
    let json: serde_json::Value = serde_json::from_str(&told(run(at, &tagger, &["--json"], "Ada\n")).expect("it answers")).expect("JSON");
    assert_eq!((&json["tokens"][0]["token"], &json["tokens"][0]["label"]), (&"Ada".into(), &"B-person".into()));
}

/// A network that scores the next byte, as its seed makes it.
const WRITER: &str = r#"
name = "bytes"
seed = 3
[[input]]
name = "text"
shape = ["time"]
text = { tokens = "byte", length = 16 }
[[layer]]
type = "embedding"
features = 8
initialiser = "normal(1)"
[[layer]]
type = "transformer_encoder"
heads = 2
hidden = 8
causal = true
[[layer]]
type = "dense"
units = 258
initialiser = "normal(1)"
"#;

#[test]
fn networks_write_in_the_tool_and_in_programs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let net = directory.path().join("bytes.toml");
    fs::write(&net, WRITER).expect("written");
    let kiln = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kiln")).args(arguments).current_dir(directory.path()).output().expect("kiln runs");
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        (output.status.code().expect("it ends by itself"), out, err)
    };
    let asked = ["--tokens", "40", "--temperature", "0.5", "--top-k", "9", "--seed", "4", "--json", "Once"];
    let tokens = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON")["tokens"].clone();
    let (code, out, err) = kiln(&[&["generate", "bytes.toml"], &asked[..]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    let written = tokens(&out);
    assert_eq!(written.as_array().map(Vec::len), Some(40));
    for more in [&["--backend", "reference"][..], &["--no-cache"], &["--threads", "1"]] {
        let (code, out, err) = kiln(&[&["generate", "bytes.toml"], &asked[..], more].concat());
        assert_eq!((code, tokens(&out)), (0, written.clone()), "{more:?} {err}");
    }
    let (code, _, err) = kiln(&["compile", "bytes.toml", "-o", "bytes"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let output = Command::new(directory.path().join("bytes")).args(asked).output().expect("it runs");
    assert_eq!(tokens(&String::from_utf8_lossy(&output.stdout)), written);
    // The function that scores whole texts is still there, and what cannot write says so.
    let (code, _, err) = kiln(&["compile", "bytes.toml", "-o", "scores", "--function", "predict"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let help = Command::new(directory.path().join("scores")).arg("--help").output().expect("it runs");
    assert!(String::from_utf8_lossy(&help.stdout).contains("answer the lines of a file"));
    fs::write(&net, WRITER.replace("causal = true", "")).expect("written");
    let (code, _, err) = kiln(&["compile", "bytes.toml", "-o", "scores"]);
    assert!(code == 0 && err.contains("does not write them: an attention that sees later elements"), "{err}");
    let (code, _, err) = kiln(&["generate", "bytes.toml", "Once"]);
    assert!(code == 1 && err.contains("an attention that sees later elements") && err.contains("bytes.toml:13"), "{err}");
    let (code, _, err) = kiln(&["generate", "bytes.toml", "Once", "--beams", "0"]);
    assert!(code == 2 && err.contains("--beams is a number from 1"), "{err}");
}
