//! Data that people bring: tables, arrays, sounds and lists, rows that cannot be used, and files larger than memory should be.

use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::model::Model;
use kiln::pipeline::Config;
use kiln_ir::DType;
use kiln_ir::artifact::Scores;
use kiln_runtime::npy;
use kiln_runtime::npz::write_npz;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::data::DataOptions;
use kiln_runtime::training::run::TrainOptions;
use kiln_tests::bless::repository;
use kiln_tests::training::{array, network, run_here, train_on, write_trainer};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Three numbers in, scores of classes out.
fn classifier(train: &str) -> Model {
    let head = "[[input]]\nname = \"x\"\nshape = [3]\n[[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 3\n";
    network(&format!("{head}[train]\nloss = \"sparse_cross_entropy\"\nepochs = 30\nbatch = 8\nlearning_rate = 0.1\n{train}"))
}

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a place for files"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it is made");
        fs::write(&path, content).expect("it is written");
        path
    }

    fn train(&self, model: &Model, data: &Path) -> Result<String, String> {
        run_here(model, data, &self.file("out"), TrainOptions { overwrite: true, ..TrainOptions::default() })
    }

    fn labels(&self) -> String {
        fs::read_to_string(self.file("out/labels.txt")).unwrap_or_default()
    }
}

/// Rows of which the largest number says the class.
fn rows(count: usize, names: [&str; 3], separator: char) -> String {
    let mut text = String::new();
    for row in 0..count {
        let class = row * 7 % 3;
        for i in 0..3 {
            let number = if i == class { 1.5 } else { (row * 5 % 7) as f64 / 10.0 };
            write!(text, "{number}{separator}").expect("a string takes anything");
        }
        writeln!(text, "{}", names[class]).expect("a string takes anything");
    }
    text
}

fn accuracy(told: &str) -> f64 {
    let line = told.lines().find(|line| line.starts_with("test")).unwrap_or_else(|| panic!("{told}"));
    line.split("accuracy ").nth(1).and_then(|rest| rest.split(',').next()?.trim().parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn tables_are_read_with_and_without_names() {
    let place = Place::new();
    let model = classifier("");
    let names = ["cat", "dog", "eel"];
    let train = place.write("named/train.csv", format!("a,b,c,kind\n{}", rows(90, names, ',')));
    place.write("named/test.csv", format!("a,b,c,kind\n{}", rows(30, names, ',')));
    let told = place.train(&model, &place.file("named")).expect("it trains");
    assert!(told.contains("81 samples to learn from, 9 for validation, 30 for test") && accuracy(&told) > 0.99, "{told}");
    assert_eq!(place.labels(), "cat\ndog\neel\n");

    // Numbers of classes, tabs, no names of columns, one file.
    let told = place.train(&model, &place.write("plain.tsv", rows(90, ["0", "1", "2"], '\t'))).expect("it trains");
    assert!(told.contains("81 samples to learn from, 9 for validation"), "{told}");
    assert_eq!(place.labels(), "", "numbers have no names");

    // The label by its name, in front; quoted fields and spaces around them.
    let text = fs::read_to_string(&train).expect("text");
    let turned: String = text.lines().map(|line| line.rsplit_once(',').map_or(String::new(), |(x, y)| format!("\"{y}\", {x}\n"))).collect();
    let turned = place.write("turned.csv", turned);
    assert!(
        place.train(&model, &turned).expect_err("numbers in the last column").contains("turned.csv:2: column `kind`: `cat` is no number")
    );
    let options = DataOptions { place: turned.clone(), label: Some("kind".into()), skip_bad: 0 };
    let overwrite = || TrainOptions { overwrite: true, ..TrainOptions::default() };
    train_on(&model, &options, &place.file("out"), overwrite()).expect("it trains");
    assert_eq!(place.labels(), "cat\ndog\neel\n");
    let other = DataOptions { label: Some("sort".into()), ..options };
    let error = train_on(&model, &other, &place.file("out"), overwrite()).expect_err("no such column");
    assert!(error.contains("there is no column `sort` for the labels"), "{error}");

    let error = place.train(&model, &place.write("far.csv", "1,2,3,0\n1,2,3,3\n")).expect_err("no such class");
    assert!(error.contains("far.csv:2: column 4: class 3 is out of range"), "{error}");

    // Too many columns and too few; an unknown class in the test.
    let wide = place.write("wide.csv", "id,a,b,c,kind\n1,2,3,4,cat\n");
    assert!(place.train(&model, &wide).expect_err("4 numbers").contains("`x` takes 3 columns, and 4 are left for it"));
    let narrow = place.write("narrow.csv", "a,kind\n1,cat\n");
    assert!(place.train(&model, &narrow).expect_err("1 number").contains("`x` takes 3 columns, and 1 are left for it"));
    place.write("named/test.csv", "a,b,c,kind\n1,2,3,bird\n");
    let error = place.train(&model, &place.file("named")).expect_err("no such class");
    assert!(error.contains("test.csv:2: column `kind`: `bird` is no class: the classes are cat, dog, eel"), "{error}");
    assert!(place.train(&model, &place.write("empty.csv", "")).expect_err("nothing").contains("empty.csv is empty"));
}

#[test]
fn rows_that_cannot_be_used_are_told_and_so_many_left_out() {
    let place = Place::new();
    let model = classifier("validation = 0.0");
    let mut text = format!("a,b,c,kind\n{}", rows(20, ["cat", "dog", "eel"], ','));
    text += "1,2,3\n1,2,x,cat\n,2,3,cat\n1,nan,3,dog\n";
    let mut bytes = text.into_bytes();
    bytes.extend(b"1,2,3,\xff\n4,5,6,eel\n");
    let data = place.write("train.csv", bytes);
    let train = |skip_bad| {
        let options = DataOptions { place: data.clone(), label: None, skip_bad };
        train_on(&model, &options, &place.file("out"), TrainOptions { overwrite: true, ..TrainOptions::default() })
    };
    let error = train(0).expect_err("a bad row");
    assert!(error.contains("train.csv:22: 3 fields, and 4 are wanted") && error.contains("--skip-bad N"), "{error}");
    let error = train(4).expect_err("a fifth one");
    assert!(error.contains("train.csv:26: field 4 is no text in UTF-8") && error.contains("as many as --skip-bad allows"), "{error}");
    let told = train(5).expect("it trains");
    for line in
        [":22: 3 fields", ":23: column `c`: `x` is no number", ":24: column `a`: it is empty", ":25: column `b`: `nan` is no number"]
    {
        assert!(told.lines().any(|text| text.starts_with("left out: ") && text.contains(line)), "{line} in {told}");
    }
    assert!(told.contains("21 samples to learn from"), "{told}");
    assert_eq!(place.labels(), "cat\ndog\neel\n");
}

#[test]
fn columns_of_several_inputs_and_targets_go_by_name() {
    let place = Place::new();
    let text = "outputs = [\"price\", \"kind\"]\n[[input]]\nname = \"size\"\nshape = [1]\n[[input]]\nname = \"place\"\nshape = [2]\n\
        [[layer]]\ntype = \"concat\"\nname = \"all\"\ninputs = [\"size\", \"place\"]\n[[layer]]\ntype = \"dense\"\nname = \"price\"\nunits = 1\n\
        [[layer]]\ntype = \"dense\"\nname = \"kind\"\ninputs = \"all\"\nunits = 2\n\
        [train]\nepochs = 1\nvalidation = 0.0\nloss = [{ type = \"mse\", output = \"price\" }, { type = \"sparse_cross_entropy\", output = \"kind\" }]\n";
    let model = network(text);
    let good = place.write("good.csv", "kind,place[1],size,place[0],price\n0,1,2,3,4\n1,5,6,7,8\n");
    assert!(place.train(&model, &good).expect("it trains").contains("2 samples to learn from"));
    let missing = place.write("missing.csv", "kind,place[1],size,price\n0,1,2,4\n");
    let error = place.train(&model, &missing).expect_err("a column is missing");
    assert!(error.contains("`place` takes 2 columns, and 1 are left for it"), "{error}");
    let error = place.train(&model, &place.write("bare.csv", "1,2,3,4,0\n")).expect_err("no names");
    assert!(error.contains("there are several targets, and not all have columns of their names"), "{error}");
}

#[test]
fn arrays_in_files_of_their_own_are_read() {
    let place = Place::new();
    let model = classifier("");
    let write = |name: &str, dtype, shape: &[usize]| {
        let array = array(dtype, shape, (0..).map(|i| f64::from(i % 3)));
        place.write(name, [&npy::header(&array).expect("short"), array.bytes()].concat());
    };
    write("parts/train/x.npy", DType::F64, &[12, 3]);
    write("parts/train/y.npy", DType::U8, &[12]);
    write("parts/val/x.npy", DType::F32, &[5, 3]);
    write("parts/val/y.npy", DType::I64, &[5]);
    let told = place.train(&model, &place.file("parts")).expect("it trains");
    assert!(told.contains("12 samples to learn from, 5 for validation"), "{told}");
    write("flat/x_train.npy", DType::F32, &[12, 3]);
    write("flat/scores_train.npy", DType::I32, &[12]);
    write("flat/x_test.npy", DType::F32, &[4, 3]);
    let error = place.train(&model, &place.file("flat")).expect_err("no targets to test");
    assert!(error.contains("there is no file for `scores`") && error.contains("y_test.npy"), "{error}");
    write("flat/y_test.npy", DType::I32, &[4]);
    let told = place.train(&model, &place.file("flat")).expect("it trains");
    assert!(told.contains("11 samples to learn from, 1 for validation, 4 for test"), "{told}");
    let options = DataOptions { place: place.file("parts"), label: Some("y".into()), skip_bad: 0 };
    let error = train_on(&model, &options, &place.file("out"), TrainOptions::default()).expect_err("no columns");
    assert!(error.contains("has no columns, so none is `y`"), "{error}");
    let error = place.train(&model, &place.file("parts/train/x.npy")).expect_err("one array");
    assert!(error.contains("x.npy is one array, and x, scores are wanted"), "{error}");
    let error = place.train(&model, &place.write("data.json", "[]")).expect_err("no such kind");
    assert!(error.contains("holds no data that Kiln knows"), "{error}");
    write("one/x.npy", DType::F32, &[10, 3]);
    write("one/y.npy", DType::I32, &[9]);
    let error = place.train(&model, &place.file("one")).expect_err("different numbers");
    assert!(error.contains("10 samples of `x`, but 9 of `scores`"), "{error}");
}

/// A sound of 16 bits, whose pitch says its class.
fn write_wav(path: &Path, samples: usize, channels: u16, rate: u32, class: usize) {
    fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it is made");
    let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(path, spec).expect("it is made");
    for i in 0..samples {
        let value = ((i as f64) * [0.1, 0.9][class]).sin() * 20000.0;
        (0..channels).for_each(|_| writer.write_sample(value as i16).expect("it is written"));
    }
    writer.finalize().expect("it is written");
}

#[test]
fn sounds_in_lists_and_folders_are_read() {
    let place = Place::new();
    let text = "[[input]]\nname = \"sound\"\nshape = [1, 64]\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 32\nactivation = \"relu\"\n\
        [[layer]]\ntype = \"dense\"\nname = \"word\"\nunits = 2\n\
        [train]\nloss = \"sparse_cross_entropy\"\nepochs = 40\nbatch = 4\nlearning_rate = 0.01\nvalidation = 0.0\n";
    let model = network(text);
    let mut list = "file,label\n".to_owned();
    for n in 0..16 {
        let (class, name) = (n % 2, format!("wav/{n}.wav"));
        // Some too short, some too long, some of two channels.
        write_wav(&place.file(&format!("list/{name}")), 40 + n * 5, 1 + (n % 3 == 0) as u16, 8000, class);
        writeln!(list, "{name},{}", ["no", "yes"][class]).expect("a string takes anything");
        write_wav(&place.file(&format!("folders/train/{}/{n}.wav", ["no", "yes"][class])), 64, 1, 8000, class);
        write_wav(&place.file(&format!("folders/test/{}/{n}.wav", ["no", "yes"][class])), 70, 1, 8000, class);
    }
    place.write("list/list.csv", &list);
    let told = place.train(&model, &place.file("list")).expect("it trains");
    assert!(told.contains("16 samples to learn from"), "{told}");
    assert_eq!(place.labels(), "no\nyes\n");
    let told = place.train(&model, &place.file("folders")).expect("it trains");
    assert!(told.contains("16 samples to learn from, 16 for test") && accuracy(&told) > 0.99, "{told}");

    write_wav(&place.file("list/fast.wav"), 64, 1, 16000, 0);
    place.write("list/cut.wav", b"RIFF....WAVEfmt ");
    list += "fast.wav,no\ncut.wav,no\ngone.wav,no\nlist.csv,no\nwav/1.wav,yes\nwav/2.wav,\n";
    place.write("list/list.csv", &list);
    let options = |skip_bad| DataOptions { place: place.file("list/list.csv"), label: None, skip_bad };
    let train =
        |skip_bad| train_on(&model, &options(skip_bad), &place.file("out"), TrainOptions { overwrite: true, ..TrainOptions::default() });
    let error = train(0).expect_err("another rate");
    assert!(error.contains("it has 16000 samples a second, those before have 8000") && error.contains("list.csv:18"), "{error}");
    let told = train(5).expect("five are left out");
    for text in
        ["fast.wav: it has 16000", "cut.wav: no sound", "gone.wav: no sound", "`list.csv` is no picture", "list.csv:23: `` is no class"]
    {
        assert!(told.lines().any(|line| line.starts_with("left out: ") && line.contains(text)), "{text} in {told}");
    }
    place.write("list/list.csv", list.replace("1.wav,yes", "1.wav,maybe"));
    let error = train(9).expect_err("three classes");
    assert!(error.contains("there are 3 classes, and `word` tells 2 apart") && error.contains("maybe, no, yes"), "{error}");
    let flat = classifier("");
    let error = place.train(&flat, &place.write("net/list.csv", "name,label\n")).expect_err("no files");
    assert!(error.contains("has no column `file`"), "{error}");
}

#[test]
fn pictures_in_a_list_are_read_and_damaged_ones_left_out() {
    let place = Place::new();
    let head = "[[input]]\nname = \"image\"\nshape = [1, 28, 28]\nimage = {}\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 10\n";
    let model = network(&format!("{head}[train]\nloss = \"sparse_cross_entropy\"\nepochs = 1\nvalidation = 0.0\n"));
    let mut list = "label,file\n".to_owned();
    for entry in fs::read_dir(repository().join("examples/digits/pictures")).expect("they are there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        writeln!(list, "{},{}", &name[..1], path.display()).expect("a string takes anything");
    }
    place.write("broken.png", b"\x89PNG\r\n\x1a\n and so on");
    list += "3,broken.png\n";
    let data = place.write("list.csv", list);
    let error = place.train(&model, &data).expect_err("one is broken");
    assert!(error.contains("broken.png") && error.contains("list.csv:22"), "{error}");
    let options = DataOptions { place: data, label: None, skip_bad: 1 };
    let told = train_on(&model, &options, &place.file("out"), TrainOptions { overwrite: true, json: true, ..TrainOptions::default() });
    let told = told.expect("it trains");
    let first: serde_json::Value = serde_json::from_str(told.lines().next().expect("a line")).expect("JSON");
    assert!(first["left_out"][0].as_str().expect("text").contains("broken.png"), "{told}");
    assert_eq!(place.labels(), "", "numbers have no names");
}

/// Memory at most, as the system counted it.
fn high_water_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Arrays and pictures of up to half a gigabyte, most of it holes, are learnt from in a fraction of that memory.
#[test]
#[cfg(target_os = "linux")]
fn data_larger_than_memory_should_be_are_read_batch_by_batch() {
    const SAMPLES: usize = 131_072;
    let place = Place::new();
    let text = "[[input]]\nname = \"x\"\nshape = [1, 32, 32]\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nname = \"scores\"\nunits = 2\n\
        [train]\nloss = \"sparse_cross_entropy\"\nepochs = 1\nbatch = 1024\n";
    let program = place.file("trainer");
    write_trainer(&network(text), &program);
    let labels = array(DType::I64, &[SAMPLES], std::iter::empty());
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    };
    let holes = |path: PathBuf, bytes: usize| {
        let file = File::options().write(true).open(path).expect("it is there");
        let length = file.metadata().expect("it is there").len();
        file.set_len(length + bytes as u64).expect("holes cost nothing");
    };
    let pixels = SAMPLES * 1024;
    holes(place.write("arrays/x.npy", header(&format!("({SAMPLES}, 1, 32, 32)"))), 4 * pixels);
    place.write("arrays/y.npy", [&npy::header(&labels).expect("short"), labels.bytes()].concat());
    let idx = |shape: &[usize]| {
        let sizes = shape.iter().flat_map(|size| (*size as u32).to_be_bytes());
        [0, 0, 8, shape.len() as u8].into_iter().chain(sizes).collect::<Vec<u8>>()
    };
    holes(place.write("idx/train-images-idx3-ubyte", idx(&[SAMPLES, 32, 32])), pixels);
    holes(place.write("idx/train-labels-idx1-ubyte", idx(&[SAMPLES])), SAMPLES);
    // An archive has no holes, so it is smaller.
    let part = SAMPLES / 4;
    let pictures = array(DType::F32, &[part, 1, 32, 32], std::iter::empty());
    write_npz(&place.file("data.npz"), [("x", &pictures), ("y", &array(DType::U8, &[part], std::iter::empty()))]).expect("it is written");
    for (data, bytes) in [("arrays", 4 * pixels), ("idx", pixels), ("data.npz", pixels)] {
        let mut command = Command::new(&program);
        command.arg("--data").arg(place.file(data)).arg("--out").arg(place.file("out")).args(["--threads", "2", "--overwrite"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut most = 0;
        while child.try_wait().expect("it is ours").is_none() {
            most = most.max(high_water_bytes(child.id()).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(most > 0 && most < 64 << 20 && most < bytes as u64 / 2, "{data}: {most} bytes of memory for {bytes} of data");
    }
}

#[test]
fn texts_have_any_number_of_labels() {
    let place = Place::new();
    let text = "[[input]]\nname = \"text\"\nshape = [\"time\"]\ntext = { tokens = \"word\", vocabulary = 40, least_count = 1 }\n\
        [[layer]]\ntype = \"embedding\"\nfeatures = 8\n[[layer]]\ntype = \"sequence_pool\"\nkind = \"max\"\n\
        [[layer]]\ntype = \"dense\"\nname = \"marks\"\nunits = 3\n\
        [train]\nloss = \"binary_cross_entropy\"\nepochs = 60\nbatch = 8\nlearning_rate = 0.05\nmetrics = [\"accuracy\", \"f1\"]\n";
    let model = network(text);
    // Each mark is there if its word is, in any order, with other words around.
    let (marks, words) = (["big", "old", "red"], ["large", "ancient", "scarlet"]);
    let rows = |from: usize, to: usize| {
        let mut rows = "marks,text\n".to_owned();
        for row in from..to {
            let has = |i: &usize| (row >> i) & 1 == 1;
            let mut order: Vec<usize> = (0..3).collect();
            order.rotate_left(row % 3);
            let labels: Vec<&str> = order.iter().copied().filter(has).map(|i| marks[i]).collect();
            let said: Vec<&str> = order.iter().copied().filter(has).map(|i| words[i]).collect();
            writeln!(rows, "{},\"a {} house, {} doors\"", labels.join(" | "), said.join(" and "), row % 5)
                .expect("a string takes anything");
        }
        rows
    };
    place.write("data/train.csv", rows(0, 64));
    place.write("data/test.csv", rows(100, 124));
    let told = place.train(&model, &place.file("data")).expect("it trains");
    assert!(accuracy(&told) > 0.99, "{told}");
    assert_eq!(place.labels(), "big\nold\nred\n");

    let trained = model.trained(&place.file("out/model.safetensors")).expect("it is whole");
    let facts = ModelFacts { scores: Some(Scores::YesOrNoLogits), ..ModelFacts::new("marks", "", &trained.metadata).expect("facts") };
    let compiled = compile(&trained, CpuTarget::host(CpuLevel::Native).expect("a CPU"), facts, &Config::default()).expect("it compiles");
    let program = place.file("marks");
    compiled.write(ArtifactKind::Executable, WeightsChoice::Embed, &program, &ThreadPool::new(1)).expect("it is written");
    let texts = ["a scarlet and ancient house", "a house", "large"];
    let answer = Command::new(&program).args(texts).output().expect("it runs");
    let answer = String::from_utf8(answer.stdout).expect("text");
    let names = |line: &str| line.split_whitespace().filter(|word| marks.contains(word) || *word == "none").map(str::to_owned).collect();
    let mut said: Vec<Vec<String>> = answer.lines().map(names).collect();
    said.iter_mut().for_each(|names| names.sort());
    assert_eq!(said, [vec!["old", "red"], vec!["none"], vec!["big"]], "{answer}");

    place.write("data/test.csv", rows(100, 124).replace("big", "huge"));
    let error = place.train(&model, &place.file("data")).expect_err("no such label");
    assert!(error.contains("column `marks`: `huge` is no class: the classes are big, old, red"), "{error}");
    place.write("data/train.csv", rows(0, 64) + "green,a green house\n");
    let error = place.train(&model, &place.file("data")).expect_err("four labels");
    assert!(error.contains("there are 4 classes, and `marks` tells 3 apart"), "{error}");
}
