//! Answers that were measured on this machine, kept in a file.

use super::Answers;
use crate::caches;
use kiln_ir::Diagnostic;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Answers of one device.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What they were measured on: a CPU, its features and a number of threads, or a GPU.
    device: String,
    answers: Answers,
}

/// The file in the user's directory of caches, if there is such a directory.
pub fn place() -> Option<PathBuf> {
    Some(caches::directory()?.join("tuned.json"))
}

/// What a file has of a device; nothing where it cannot be read.
pub fn load(path: &Path, device: &str) -> Answers {
    load_all(path).into_iter().find(|kept| kept.device == device).map(|kept| kept.answers).unwrap_or_default()
}

/// Adds answers to what a file has of a device. Errors: `file`.
pub fn save(path: &Path, device: &str, answers: &Answers) -> Result<(), Diagnostic> {
    let mut all = load_all(path);
    match all.iter_mut().find(|kept| kept.device == device) {
        Some(kept) => kept.answers.extend(answers.clone()),
        None => all.push(Kept { device: device.to_string(), answers: answers.clone() }),
    }
    let text = serde_json::to_string_pretty(&all).unwrap_or_else(|error| panic!("tuning: {error}"));
    caches::keep(path, text.as_bytes())
}

fn load_all(path: &Path) -> Vec<Kept> {
    let text = std::fs::read_to_string(path).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(list: &[(&str, &str)]) -> Answers {
        list.iter().map(|(question, answer)| (question.to_string(), answer.to_string())).collect()
    }

    #[test]
    fn answers_of_a_device_are_added_to_those_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new/tuned.json");
        assert_eq!(load(&path, "a"), Answers::new());
        save(&path, "a", &answers(&[("x", "1"), ("y", "2")])).expect("saved");
        save(&path, "b", &answers(&[("x", "7")])).expect("saved");
        save(&path, "a", &answers(&[("y", "3")])).expect("saved");
        assert_eq!(load(&path, "a"), answers(&[("x", "1"), ("y", "3")]));
        assert_eq!(load(&path, "b"), answers(&[("x", "7")]));
    }

    #[test]
    fn a_broken_file_is_none_and_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tuned.json");
        std::fs::write(&path, "[{\"device\": 1").expect("written");
        assert_eq!(load(&path, "a"), Answers::new());
        save(&path, "a", &answers(&[("x", "1")])).expect("saved");
        assert_eq!(load(&path, "a"), answers(&[("x", "1")]));
    }
}
