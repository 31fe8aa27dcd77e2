//! The list of cases that are known to fail, each with its cause.
//!
//! A line is `case [when…] # cause`. Words say when it fails, none = always; `/` joins words that must all hold.

use kiln_ir::Diagnostic;
use kiln_runtime::files::file_error;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Words that may stand in a condition.
const WORDS: [&str; 5] = ["cpu", "reference", "static", "dynamic", "no-fold"];

/// Known failures by case.
#[derive(Default, Debug)]
pub struct ExpectedFailures {
    cases: BTreeMap<String, Vec<Expectation>>,
}

#[derive(Debug)]
struct Expectation {
    /// Each a set of words that must all hold; any of them suffices. Empty = always.
    conditions: Vec<BTreeSet<String>>,
    cause: String,
}

impl ExpectedFailures {
    /// Reads a list.
    ///
    /// Errors: `file`; `expected_failures` for every line that is none.
    pub fn read(path: &Path) -> Result<ExpectedFailures, Vec<Diagnostic>> {
        let text = std::fs::read_to_string(path).map_err(|error| vec![file_error("read", path, &error)])?;
        ExpectedFailures::parse(&path.display().to_string(), &text)
    }

    fn parse(place: &str, text: &str) -> Result<ExpectedFailures, Vec<Diagnostic>> {
        let mut found = ExpectedFailures::default();
        let mut errors = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let span = (start, start + line.trim_end().len());
            start += line.len();
            match found.line(line.trim()) {
                Ok(()) => {}
                Err(message) => errors.push(
                    Diagnostic::new("expected_failures", message)
                        .at_span(place, span, "this line")
                        .help("write `case [cpu|reference|static|dynamic|no-fold]… # cause`"),
                ),
            }
        }
        if errors.is_empty() { Ok(found) } else { Err(errors) }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (left, cause) = line.split_once('#').map_or((line, ""), |(left, cause)| (left.trim(), cause.trim()));
        let mut words = left.split_whitespace();
        let Some(case) = words.next() else { return Ok(()) };
        if cause.is_empty() {
            return Err(format!("`{case}` is expected to fail without a cause"));
        }
        let mut conditions = Vec::new();
        for condition in words {
            let parts: BTreeSet<String> = condition.split('/').map(str::to_owned).collect();
            if let Some(unknown) = parts.iter().find(|word| !WORDS.contains(&word.as_str())) {
                return Err(format!("`{unknown}` is no condition"));
            }
            conditions.push(parts);
        }
        self.cases.entry(case.to_string()).or_default().push(Expectation { conditions, cause: cause.to_string() });
        Ok(())
    }

    /// Why this case is expected to fail where these words hold; `None` when it should pass.
    pub fn cause(&self, case: &str, holds: &[&str]) -> Option<&str> {
        let all = |words: &BTreeSet<String>| words.iter().all(|word| holds.contains(&word.as_str()));
        let applies = |e: &&Expectation| e.conditions.is_empty() || e.conditions.iter().any(all);
        self.cases.get(case)?.iter().find(applies).map(|e| e.cause.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_when_a_case_fails() {
        let text = "# a comment\n\na # always\nb cpu # compiled\nc cpu/dynamic reference/no-fold # some\n";
        let list = ExpectedFailures::parse("list", text).expect("parses");
        assert_eq!(list.cause("a", &["cpu", "static"]), Some("always"));
        assert_eq!(list.cause("b", &["reference", "static"]), None);
        assert_eq!(list.cause("c", &["cpu", "dynamic"]), Some("some"));
        assert_eq!(list.cause("c", &["cpu", "no-fold"]), None);
        assert_eq!(list.cause("d", &["cpu"]), None);
    }

    #[test]
    fn every_wrong_line_is_reported() {
        let errors = ExpectedFailures::parse("list", "a\nb gpu # x\nc # fine\n").expect_err("two are wrong");
        let texts: Vec<&str> = errors.iter().map(|e| e.message.as_str()).collect();
        assert_eq!(texts, ["`a` is expected to fail without a cause", "`gpu` is no condition"]);
        assert_eq!(errors[1].labels[0].span, Some((2, 11)));
    }
}
