//! Every dependency may be used under a licence that `deny.toml` allows: what `cargo deny check licenses` finds, without installing it.

use kiln_tests::bless::repository;
use spdx::{Expression, LicenseReq, ParseMode};
use std::process::Command;

/// The allowed licences of `deny.toml`, as expressions of their own.
fn allowed() -> Vec<LicenseReq> {
    let text = std::fs::read_to_string(repository().join("deny.toml")).expect("deny.toml is there");
    let rules: toml::Table = text.parse().expect("deny.toml is TOML");
    let list = rules["licenses"]["allow"].as_array().expect("a list of licences");
    let licence = |value: &toml::Value| {
        let text = value.as_str().expect("a licence is a string");
        let expression = Expression::parse(text).unwrap_or_else(|e| panic!("deny.toml: {text}: {e}"));
        expression.requirements().next().expect("one licence").req.clone()
    };
    list.iter().map(licence).collect()
}

fn is_allowed(expression: &str, allowed: &[LicenseReq]) -> bool {
    // Older manifests write `MIT/Apache-2.0`.
    Expression::parse_mode(expression, ParseMode::LAX).is_ok_and(|e| e.evaluate(|req| allowed.contains(req)))
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"];
    let output = Command::new(cargo).args(arguments).current_dir(repository()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 50, "only {} packages: the list is not that of the workspace", packages.len());
    let allowed = allowed();
    let refused: Vec<String> = packages
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(|licence| is_allowed(licence, &allowed)))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "not under a licence that deny.toml allows:\n{}", refused.join("\n"));
}

#[test]
fn other_licences_are_refused() {
    let allowed = allowed();
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("Apache-2.0 WITH Classpath-exception-2.0", false),
        ("no licence", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
