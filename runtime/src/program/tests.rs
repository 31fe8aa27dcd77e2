//! The whole command line on a model written by hand.

use super::*;
use crate::fake_model::{classifier, describe, descriptor};
use crate::files::tests::Scratch;
use crate::files::write_whole;
use crate::npz::Npz;
use kiln_ir::DType;
use std::path::PathBuf;

struct Ran {
    code: c_int,
    out: String,
    err: String,
}

fn run_model(model: &ModelDescriptor, arguments: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // SAFETY: a whole descriptor whose data are never freed.
    let code = unsafe { run(OsStr::new("./fake"), arguments.iter().map(OsString::from), model, None, &mut out, &mut err) };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code, out: text(out), err: text(err) }
}

fn run_fake(arguments: &[&str]) -> Ran {
    run_model(&descriptor(), arguments)
}

fn npz(scratch: &Scratch, name: &str, array_name: &str, dtype: DType, shape: &[usize]) -> String {
    let mut array = Array::zeroed(dtype, shape.to_vec()).expect("small");
    (0..array.len()).for_each(|index| array.set_f64(index, (index % 4) as f64));
    let path = scratch.file(name);
    write_npz(&path, [(array_name, &array)]).expect("writes");
    path.to_str().expect("plain").to_owned()
}

fn png(scratch: &Scratch, name: &str, pixels: [u8; 4]) -> String {
    let path: PathBuf = scratch.file(name);
    write_whole(&path, |mut sink| {
        let mut encoder = png::Encoder::new(&mut sink, 2, 2);
        encoder.set_color(png::ColorType::Grayscale);
        Ok(encoder.write_header()?.write_image_data(&pixels)?)
    })
    .expect("writes");
    path.to_str().expect("plain").to_owned()
}

#[test]
fn arrays_in_arrays_out_under_the_outputs_names() {
    let scratch = Scratch::new("program-arrays");
    let input = npz(&scratch, "in.npz", "x", DType::F32, &[2, 1, 2, 2]);
    let output = scratch.file("out.npz");
    let ran = run_fake(&["--inputs", &input, "--output", output.to_str().expect("plain"), "--threads", "2", "--top", "2"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out.starts_with("p[0]\n  class 3                     50.00 %\n  class 2                     33.33 %\np[1]\n"),
        "{}",
        ran.out
    );
    let mut npz = Npz::open(&output).expect("written");
    assert_eq!(npz.names(), ["p", "total"]);
    let total = npz.read("total").expect("reads").expect("is there");
    assert_eq!((total.get_f64(0), total.get_f64(1)), (6.0, 6.0));
}

#[test]
fn pictures_give_a_line_each_and_json_on_request() {
    let scratch = Scratch::new("program-pictures");
    let (a, b) = (png(&scratch, "a.png", [0, 0, 0, 255]), png(&scratch, "longer.png", [255, 0, 0, 0]));
    let labels = scratch.file("labels.txt");
    std::fs::write(&labels, "zero\none\ntwo\nthree\n").expect("writes");
    let labels = labels.to_str().expect("plain");
    let ran = run_fake(&[&a, &b, "--labels", labels]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((ran.code, lines.len()), (0, 2), "{}{}", ran.out, ran.err);
    assert!(lines[0].starts_with(&format!("{a}       three        100.00 %  ")), "{}", lines[0]);
    assert!(lines[1].starts_with(&format!("{b}  zero         100.00 %  ")), "{}", lines[1]);
    let output = scratch.file("out.npz");
    let ran = run_fake(&[&a, &b, "--json", "--top", "1", "--output", output.to_str().expect("plain")]);
    let first = ran.out.lines().next().expect("two lines");
    assert!(
        first.starts_with(&format!("{{\"picture\":\"{a}\",\"top\":[{{\"class\":3,\"label\":null,\"confidence\":1.0}}],\"ms\":")),
        "{first}"
    );
    let p = Npz::open(&output).and_then(|mut npz| npz.read("p")).expect("reads").expect("is there");
    assert_eq!((p.shape(), p.get_f64(3), p.get_f64(4)), ([2, 4].as_slice(), 1.0, 1.0));
}

#[test]
fn a_single_input_may_come_from_npy_or_picture_without_its_name() {
    let scratch = Scratch::new("program-input");
    let picture = png(&scratch, "a.png", [255, 0, 0, 0]);
    for argument in [format!("x={picture}"), picture] {
        let ran = run_fake(&["--input", &argument, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("\"name\":\"total\",\"dtype\":\"f32\",\"shape\":[1],\"min\":1.0"), "{}", ran.out);
    }
    let by_order = npz(&scratch, "in.npz", "arr_0", DType::F32, &[1, 1, 2, 2]);
    assert_eq!(run_fake(&["--inputs", &by_order]).code, 0);
}

#[test]
fn bench_answers_in_one_json_object_with_made_up_inputs_or_given_ones() {
    let scratch = Scratch::new("program-bench");
    let input = npz(&scratch, "in.npz", "x", DType::F32, &[3, 1, 2, 2]);
    let ran = run_fake(&["--inputs", &input, "--bench", "--runs", "7", "--seconds", "5", "--threads", "1", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert_eq!((answer["runs"].as_u64(), answer["threads"].as_u64()), (Some(7), Some(1)));
    assert!(answer["min_us"].as_f64() <= answer["median_us"].as_f64() && answer["median_us"].as_f64() <= answer["max_us"].as_f64());
    // Made-up integers are 0, which this model takes; it refuses negative ones.
    let mut integers = classifier();
    integers.inputs[0].dtype = DType::I32;
    let ran = run_model(&describe(&integers), &["--bench", "--dim", "batch=5", "--runs", "2"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("over 2 runs"), "{}", ran.out);
    assert_eq!(run_fake(&["--bench", "--dim", "size=5"]).code, 2);
    assert_eq!(run_fake(&["--bench", "--dim", "batch=500"]).code, 1);
}

#[test]
fn mistakes_end_with_their_code_and_a_text() {
    let scratch = Scratch::new("program-mistakes");
    let wrong_type = npz(&scratch, "type.npz", "x", DType::F64, &[1, 1, 2, 2]);
    let wrong_name = npz(&scratch, "name.npz", "y", DType::F32, &[1, 1, 2, 2]);
    let guard = npz(&scratch, "guard.npz", "x", DType::F32, &[13, 1, 2, 2]);
    let cut = scratch.file("cut.npz");
    std::fs::write(&cut, &std::fs::read(&wrong_type).expect("reads")[..100]).expect("writes");
    let cases: [(&[&str], c_int, &str); 10] = [
        (&[], 2, "no inputs given; the model takes\n  x: f32[batch, 1, 2, 2]"),
        (&["--nonsense"], 2, "invalid option '--nonsense'"),
        (&["--inputs", "missing.npz"], 1, "cannot read missing.npz: No such file or directory"),
        (&["--inputs", cut.to_str().expect("plain")], 1, "not a zip archive, or truncated"),
        (&["--inputs", &wrong_type], 1, "input `x`: expected f32, got f64[1, 1, 2, 2]"),
        (&["--inputs", &wrong_name], 1, "input `x` is missing"),
        (&["--inputs", &guard], 1, "must hold: batch != 13"),
        (&["--input", "z=a.npy"], 2, "the model's inputs are `x`"),
        (&["missing.png"], 1, "cannot read missing.png"),
        (&["a.png", "--inputs", "b.npz"], 2, "either pictures or inputs"),
    ];
    for (arguments, code, text) in cases {
        let ran = run_fake(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(text), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_closed_standard_output_is_an_error_and_no_panic() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut err = Vec::new();
    // SAFETY: a whole descriptor whose data are never freed.
    let code = unsafe { run(OsStr::new("m"), [OsString::from("--help")], &descriptor(), None, &mut Closed, &mut err) };
    assert_eq!((code, String::from_utf8_lossy(&err).as_ref()), (1, "error[file]: cannot write to standard output: broken pipe\n"));
}

#[test]
fn help_version_and_verify() {
    assert!(run_fake(&["--help"]).out.contains("./fake PICTURE..."));
    assert!(run_fake(&["--version"]).out.starts_with("fake, compiled by kiln test"));
    let ran = run_fake(&["--verify"]);
    assert_eq!(ran.code, 1, "an empty digest in the signature differs from that of no bytes: {}", ran.out);
}
