//! Every dependency may be used under a licence that `deny.toml` allows: what `cargo deny check licenses` finds, without installing it.

use kiln_tests::bless::repository;
use spdx::{Expression, LicenseReq, ParseMode};
use std::process::Command;

/// The `[licenses]` of `deny.toml`.
fn rules() -> toml::Table {
    let text = std::fs::read_to_string(repository().join("deny.toml")).expect("deny.toml is there");
    let rules: toml::Table = text.parse().expect("deny.toml is TOML");
    rules["licenses"].as_table().expect("a table of licences").clone()
}

/// The licences of a list, as expressions of their own.
fn licences(list: &toml::Value) -> Vec<LicenseReq> {
    let licence = |value: &toml::Value| {
        let text = value.as_str().expect("a licence is a string");
        let expression = Expression::parse(text).unwrap_or_else(|e| panic!("deny.toml: {text}: {e}"));
        expression.requirements().next().expect("one licence").req.clone()
    };
    list.as_array().expect("a list of licences").iter().map(licence).collect()
}

/// The licences that one package may have besides those that all may.
fn exceptions(rules: &toml::Table, package: &str) -> Vec<LicenseReq> {
    let all = rules["exceptions"].as_array().expect("a list of exceptions");
    all.iter()
        .filter(|exception| exception["crate"].as_str() == Some(package))
        .flat_map(|exception| licences(&exception["allow"]))
        .collect()
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
    let rules = rules();
    let allowed = licences(&rules["allow"]);
    let may = |p: &serde_json::Value, licence: &str| {
        let name = p["name"].as_str().expect("packages have names");
        is_allowed(licence, &[&allowed[..], &exceptions(&rules, name)].concat())
    };
    let refused: Vec<String> = packages
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(|licence| may(p, licence)))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "not under a licence that deny.toml allows:\n{}", refused.join("\n"));
}

#[test]
fn other_licences_are_refused() {
    let rules = rules();
    let allowed = licences(&rules["allow"]);
    assert!(exceptions(&rules, "serde").is_empty());
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0-only", false),
        ("MPL-2.0", false),
        ("MIT AND GPL-3.0-only", false),
        ("Apache-2.0 WITH Classpath-exception-2.0", false),
        ("no licence", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
