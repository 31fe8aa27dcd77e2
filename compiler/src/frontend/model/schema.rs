//! What editors know of model files: their JSON schema (draft 7), made of the structs that read them.

use super::file::{Head, Input};
use super::{layers, train, tuning};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The schema, as text.
pub fn schema() -> String {
    let mut generator = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut layers: Vec<Value> = layers::schemas(&mut generator).into_iter().map(|(word, schema)| layer(word, schema)).collect();
    let inner = json!({ "layers": { "type": "array", "minItems": 1, "items": { "$ref": "#/definitions/layer" } } });
    for word in ["sequence", "residual"] {
        layers.push(layer(word, object(json!({ "properties": inner, "required": ["layers"] }))));
    }
    let mut file = properties(Head::json_schema(&mut generator));
    let input = Input::json_schema(&mut generator);
    file.insert("input".into(), json!({ "type": "array", "minItems": 1, "items": input }));
    file.insert("layer".into(), json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/definitions/layer" } }));
    file.insert("outputs".into(), names());
    file.insert("train".into(), train_table(&mut generator, &[]));
    let whole = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Kiln model file",
        "type": "object",
        "properties": file,
        "required": ["input", "layer"],
        "additionalProperties": false,
        "definitions": { "layer": { "anyOf": layers } },
    });
    format!("{whole:#}")
}

/// The schema of files that say how a network of another file is trained on, as text.
pub fn tuning_schema() -> String {
    let mut generator = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut file = properties(tuning::Head::json_schema(&mut generator));
    // Networks of other programs are trained in the types of their files.
    file.insert("train".into(), train_table(&mut generator, &["precision"]));
    let fine_tune = properties(tuning::Settings::json_schema(&mut generator));
    file.insert("fine_tune".into(), json!({ "type": "object", "properties": fine_tune, "additionalProperties": false }));
    let whole = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Kiln tuning file",
        "type": "object",
        "properties": file,
        "additionalProperties": false,
    });
    format!("{whole:#}")
}

/// The table `[train]`, but for some settings.
fn train_table(generator: &mut SchemaGenerator, without: &[&str]) -> Value {
    let (settings, words) = train::schemas(generator);
    let mut train = properties(settings);
    for (setting, words) in words {
        let several: Vec<Value> = words.into_iter().map(|(word, schema)| choice(setting, word, schema)).collect();
        let names: Vec<&str> = several.iter().filter_map(|schema| schema["properties"]["type"]["const"].as_str()).collect();
        let all: Vec<Value> = [vec![json!({ "enum": names })], several.clone()].concat();
        let one = json!({ "anyOf": all });
        let value = if setting == "loss" { json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] }) } else { one };
        train.insert(setting.into(), value);
    }
    train.retain(|setting, _| !without.contains(&setting.as_str()));
    json!({ "type": "object", "properties": train, "required": ["loss"], "additionalProperties": false })
}

fn object(value: Value) -> Schema {
    Schema::try_from(value).unwrap_or_else(|error| panic!("schema: {error}"))
}

/// The properties of an object's schema.
fn properties(schema: Schema) -> Map<String, Value> {
    match schema.get("properties") {
        Some(Value::Object(properties)) => properties.clone(),
        _ => Map::new(),
    }
}

fn required(schema: &Schema) -> Vec<Value> {
    schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A name, or a list of names.
fn names() -> Value {
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

/// A layer of that type: its own settings and those that every layer has.
fn layer(word: &str, schema: Schema) -> Value {
    let required: Vec<Value> = [vec![json!("type")], required(&schema)].concat();
    let mut all = properties(schema);
    let factor = json!({ "type": "number", "minimum": 0 });
    let common = [
        ("type", json!({ "const": word })),
        ("name", json!({ "type": "string", "pattern": "^[A-Za-z0-9_]+$" })),
        ("inputs", names()),
        ("share", json!({ "type": "string" })),
        ("repeat", json!({ "type": "integer", "minimum": 1 })),
        ("l1", factor.clone()),
        ("l2", factor.clone()),
        ("activity_l1", factor.clone()),
        ("activity_l2", factor),
        ("constraint", json!({ "type": "string" })),
    ];
    all.extend(common.map(|(name, schema)| (name.to_string(), schema)));
    json!({ "title": word, "type": "object", "properties": all, "required": required, "additionalProperties": false })
}

/// A table of that type.
fn choice(setting: &str, word: &str, schema: Schema) -> Value {
    let required: Vec<Value> = [vec![json!("type")], required(&schema)].concat();
    let mut all = properties(schema);
    all.insert("type".into(), json!({ "const": word }));
    if setting == "loss" {
        all.insert("output".into(), json!({ "type": "string" }));
        all.insert("weight".into(), json!({ "type": "number", "minimum": 0 }));
    }
    json!({ "title": word, "type": "object", "properties": all, "required": required, "additionalProperties": false })
}
