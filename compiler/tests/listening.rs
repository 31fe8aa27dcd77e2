//! What people do with a recogniser of sounds on the command line: train it on a list of recordings, measure it, compile it to a program
//! that says what is said in files and in a stream.

use std::f64::consts::TAU;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const NET: &str = "name = \"tones\"
labels = [\"\", \"low\", \"high\"]
[ctc]
separator = \" \"
[[input]]
name = \"sound\"
shape = [\"samples\"]
audio = { sample_rate = 4000, lengths = \"part\" }
[[input]]
name = \"part\"
shape = []
[[layer]]
type = \"log_mel\"
inputs = \"sound\"
n_fft = 64
hop_length = 40
n_mels = 8
floor = 1e-4
[[layer]]
type = \"normalise\"
over = \"global\"
[[layer]]
type = \"permute\"
order = [2, 1]
[[layer]]
type = \"conv1d\"
filters = 12
kernel = 9
padding = \"same\"
activation = \"tanh\"
[[layer]]
type = \"permute\"
order = [2, 1]
[[layer]]
type = \"dense\"
name = \"said\"
units = 3
[train]
loss = { type = \"ctc\", input_lengths = \"part\" }
epochs = 40
batch = 8
learning_rate = 0.03
validation = 0
metrics = [\"wer\", \"cer\"]
augment = { gain = 3, speed = 0.05 }
";

/// 0.1 s of silence, then for each word a tone of 0.15 s and silence.
fn sound(words: &[&str], rate: u32) -> Vec<i16> {
    let of = |seconds: f64| (seconds * f64::from(rate)) as usize;
    let mut samples = vec![0; of(0.1)];
    for word in words {
        let hertz = if *word == "low" { 400.0 } else { 1300.0 };
        samples.extend((0..of(0.15)).map(|i| (8000.0 * (TAU * hertz * i as f64 / f64::from(rate)).sin()) as i16));
        samples.extend(vec![0; of(0.1)]);
    }
    samples
}

/// A file of one channel of 16-bit samples.
fn wav(samples: &[i16], rate: u32) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut file = [b"RIFF".as_slice(), &(36 + bytes).to_le_bytes(), b"WAVEfmt ", &16u32.to_le_bytes()].concat();
    file.extend([1u16, 1].iter().flat_map(|n| n.to_le_bytes()));
    file.extend([rate, rate * 2].iter().flat_map(|n| n.to_le_bytes()));
    file.extend([2u16, 16].iter().flat_map(|n| n.to_le_bytes()));
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn run(program: &Path, place: &Path, arguments: &[&str], input: Option<&[u8]>) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(place).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.unwrap_or_default().to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // Who does not read it leaves a broken pipe.
    let _ = writing.join().expect("it writes");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn kiln(place: &Path, line: &str) -> (Option<i32>, String, String) {
    run(Path::new(env!("CARGO_BIN_EXE_kiln")), place, &line.split_whitespace().collect::<Vec<_>>(), None)
}

fn done(place: &Path, line: &str) -> String {
    let (code, out, error) = kiln(place, line);
    assert_eq!(code, Some(0), "{line}: {out}{error}");
    out
}

/// The words without their times.
fn first_line(out: &str) -> &str {
    out.lines().next().unwrap_or_default().split("  ").nth(1).unwrap_or_default()
}

#[test]
fn a_recogniser_is_trained_measured_and_listens() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = directory.path();
    fs::write(place.join("net.toml"), NET).expect("it is written");
    let sentences = ["low", "high", "low high", "high high", "low low high", "high low", "low low", "high high low low"];
    for (part, count) in [("train", 32), ("test", 8)] {
        let mut list = "file,text\n".to_owned();
        fs::create_dir_all(place.join("data").join(part)).expect("it is made");
        for n in 0..count {
            let text = sentences[n % sentences.len()];
            // Some have another rate.
            let rate = if n % 5 == 4 { 8000 } else { 4000 };
            let words: Vec<&str> = text.split(' ').collect();
            fs::write(place.join(format!("data/{part}/{n}.wav")), wav(&sound(&words, rate), rate)).expect("it is written");
            list += &format!("{n}.wav,{text}\n");
        }
        fs::write(place.join("data").join(part).join("list.csv"), list).expect("it is written");
    }
    let told = done(place, "train net.toml --data data --out trained --threads 2");
    let line = told.lines().find(|line| line.starts_with("test loss")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("wer 0.0000") && line.contains("cer 0.0000"), "{line}");
    done(place, "predict net.toml --data data --parameters trained/model.safetensors --out said.csv");
    let said = fs::read_to_string(place.join("said.csv")).expect("text");
    assert!(said.starts_with("sample,text\n0.wav,low\n1.wav,high\n2.wav,low high\n"), "{said}");

    // A program: the same rate and another one, text with times, JSON, a search, a stream in small and in large blocks.
    done(place, "compile net.toml --parameters trained/model.safetensors -o listen --emit exe");
    let program = place.join("listen");
    let listen = |arguments: &[&str], input: Option<&[u8]>| {
        let (code, out, error) = run(&program, place, arguments, input);
        assert_eq!(code, Some(0), "{arguments:?}: {out}{error}");
        out
    };
    let words = ["high", "low", "low", "high", "high"];
    let samples = sound(&words, 4000);
    fs::write(place.join("a.wav"), wav(&samples, 4000)).expect("it is written");
    fs::write(place.join("b.wav"), wav(&sound(&words, 11_025), 11_025)).expect("it is written");
    for file in ["a.wav", "b.wav"] {
        assert_eq!(first_line(&listen(&[file], None)), words.join(" "), "{file}");
    }
    let answer: serde_json::Value = serde_json::from_str(&listen(&["a.wav", "--json"], None)).expect("JSON");
    assert_eq!(answer["text"], words.join(" "));
    for (n, word) in answer["words"].as_array().expect("a list").iter().enumerate() {
        let begins = 0.1 + 0.25 * n as f64;
        let [begin, end] = ["begin", "end"].map(|name| word[name].as_f64().expect("a number"));
        // Somewhere in the tone, which lasts 0.15 s.
        assert!(begins - 0.1 < begin && begin < end && end < begins + 0.25, "{answer}");
    }
    assert_eq!(first_line(&listen(&["a.wav", "--beam", "8"], None)), words.join(" "));
    fs::write(place.join("words.txt"), "low\n").expect("it is written");
    let only = listen(&["a.wav", "--words", "words.txt"], None);
    assert!(!first_line(&only).contains("high") && first_line(&only).contains("low"), "{only}");
    let pcm: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    for block in ["0.3", "2"] {
        let told = listen(&["--stream", "--block", block, "--context", "0.2"], Some(&pcm));
        let heard: Vec<&str> = told.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
        assert_eq!(heard, words, "{told}");
    }
    assert_eq!(listen(&["--stream"], Some(&[])), "");
    assert!(listen(&["--help"], None).contains("16-bit samples, 4000 a second"));
    // In memory, compiled and interpreted.
    for backend in ["cpu", "reference"] {
        let told = done(place, &format!("run net.toml --parameters trained/model.safetensors a.wav --backend {backend}"));
        assert_eq!(first_line(&told), words.join(" "), "{backend}");
    }

    // Mistakes have a name.
    let refused = |arguments: &[&str]| {
        let (code, out, error) = run(&program, place, arguments, None);
        assert!(code == Some(1) || code == Some(2), "{arguments:?}: {code:?} {out}");
        error
    };
    fs::write(place.join("damaged.wav"), &wav(&samples, 4000)[..1001]).expect("it is written");
    fs::write(place.join("none.wav"), wav(&[], 4000)).expect("it is written");
    assert!(refused(&["damaged.wav"]).contains("damaged.wav: damaged"));
    assert!(refused(&["gone.wav"]).contains("gone.wav"));
    assert!(refused(&["none.wav"]).contains("none.wav: there is no sound in it"));
    assert!(refused(&["--stream", "a.wav"]).contains("--stream reads standard input"));
    assert!(refused(&["a.wav", "--words", "gone.txt"]).contains("cannot read gone.txt"));
    assert!(refused(&["a.wav", "--ngram", "words.txt"]).contains("ARPA"));
    let list = "file,text\n0.wav,low middle\n";
    fs::write(place.join("data/train/list.csv"), list).expect("it is written");
    let (_, _, error) = kiln(place, "train net.toml --data data --out other");
    assert!(error.contains("list.csv:2: `middle` of `low middle` is none of the network's labels"), "{error}");
}

#[test]
fn what_a_file_says_wrongly_of_sounds_is_told() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = directory.path();
    let told = |from: &str, to: &str| {
        assert!(NET.contains(from), "{from}");
        fs::write(place.join("net.toml"), NET.replace(from, to)).expect("it is written");
        let (code, _, error) = kiln(place, "inspect net.toml");
        let (code, error) = if code == Some(0) {
            let (code, _, error) = kiln(place, "train net.toml --data gone --out out");
            (code, error)
        } else {
            (code, error)
        };
        assert_ne!(code, Some(0), "{to}");
        error.lines().find(|line| line.starts_with("error")).unwrap_or_default().to_owned()
    };
    let errors = [
        told("shape = [\"samples\"]", "shape = [\"samples\", 2]"),
        told("sample_rate = 4000", "sample_rate = 4"),
        told("lengths = \"part\"", "lengths = \"parts\""),
        told("labels = [\"\", \"low\", \"high\"]\n", ""),
        told("\"high\"]", "\"low\"]"),
        told("\"high\"]", "\"\"]"),
        told("\"high\"]", "\"high\", \"more\"]"),
        told("separator = \" \"", "separator = \"\""),
        told("separator = \" \"", "blank = 3"),
        told("separator = \" \"", "separator = \" \"\noutput = \"other\""),
        told("n_mels = 8", "n_mels = 8\nsample_rate = 8000"),
        told("input_lengths = \"part\"", "input_lengths = \"sound\""),
        told("gain = 3", "flip = true"),
        told("augment = {", "augment = { time_shift = -1,"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
