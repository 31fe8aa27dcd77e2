//! Files of sound in every format that Kiln reads, against what libsndfile reads from them (`files/audio/make_files.py`); and damaged ones.

use kiln_runtime::audio::{compressed, decode};
use kiln_runtime::npz::Npz;
use kiln_tests::bless::repository;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    repository().join("tests/files/audio").join(name)
}

/// The mean of two channels, as libsndfile decoded a file of that format.
fn expected(format: &str) -> Vec<f32> {
    let mut arrays = Npz::open(&file("decoded.npz")).expect("it is there");
    let array = arrays.read(format).expect("it is whole").expect("it has it");
    assert_eq!(array.shape()[1], 2);
    (0..array.shape()[0]).map(|at| ((array.get_f64(2 * at) + array.get_f64(2 * at + 1)) / 2.0) as f32).collect()
}

/// The largest difference of two sounds.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_format_is_read_as_other_libraries_read_it() {
    compressed::install();
    let wav = decode(&file("sound.wav"), None).expect("it is whole");
    assert_eq!((wav.rate, wav.samples.len()), (22_050, 6615));
    let flac = decode(&file("sound.flac"), None).expect("it is whole");
    assert_eq!((flac.rate, flac.samples), (22_050, wav.samples.clone()));
    for format in ["mp3", "ogg"] {
        let sound = decode(&file(&format!("sound.{format}")), None).expect("it is whole");
        assert_eq!(sound.rate, 22_050, "{format}");
        let difference = difference(&sound.samples, &expected(format));
        assert!(difference < 1e-4, "{format}: {difference}");
    }
    for format in ["wav", "flac", "mp3", "ogg"] {
        let first = decode(&file(&format!("sound.{format}")), Some(100)).expect("it is whole");
        let whole = decode(&file(&format!("sound.{format}")), None).expect("it is whole");
        assert_eq!(first.samples, whole.samples[..100], "{format}");
    }
}

#[test]
fn damaged_files_are_errors_or_shorter_sounds() {
    compressed::install();
    let place = tempfile::tempdir().expect("a directory");
    for format in ["flac", "mp3", "ogg"] {
        let path = place.path().join(format!("damaged.{format}"));
        let whole = std::fs::read(file(&format!("sound.{format}"))).expect("it is there");
        let samples = decode(&file(&format!("sound.{format}")), None).expect("it is whole").samples.len();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("writes");
            decode(&path, None)
        };
        for length in (0..whole.len() - 1).step_by(61) {
            match read(&whole[..length]) {
                // Neither of these formats says in each file how long it is.
                Ok(sound) => assert!(format != "flac" && sound.samples.len() <= samples, "{format}, {length} bytes"),
                Err(error) => assert!(error.to_string().contains(&format!("damaged.{format}")), "{error}"),
            }
        }
        for at in (0..whole.len()).step_by(13) {
            let mut broken = whole.clone();
            broken[at] ^= 1 << (at % 8);
            if let Ok(sound) = read(&broken) {
                assert!(sound.samples.len() < 4 * samples, "{format}: {} samples", sound.samples.len());
            }
        }
        assert!(read(b"this is no sound").is_err_and(|error| error.to_string().contains("no sound that can be read")), "{format}");
    }
}
