//! Tokens of texts, odd characters included, against the library `tokenizers` for Python: see `files/tokens/make.py`.

use kiln_ir::DType;
use kiln_ir::artifact::{Extent, TensorDecl, TextInput, Tokens};
use kiln_runtime::text::foreign::{facts, install};
use kiln_runtime::text::vocabulary::Counts;
use kiln_runtime::text::{Tokeniser, to_array, width};
use kiln_tests::bless::repository;
use serde_json::Value as Json;

fn made() -> Json {
    let text = std::fs::read_to_string(repository().join("tests/files/tokens/texts.json")).expect("it is there");
    serde_json::from_str(&text).expect("JSON")
}

fn strings(list: &Json) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// What a network would say of its input, before it has learnt a vocabulary.
fn input(way: &str, of: &Json, length: u32) -> TextInput {
    let plain = TextInput {
        input: "text".into(),
        tokens: Tokens::Word,
        lower_case: false,
        length: Some(length),
        size: 400,
        least_count: 2,
        padding: TextInput::PADDING,
        unknown: Some(TextInput::UNKNOWN),
        vocabulary: None,
    };
    match way {
        "word" => plain,
        "word_lower" => TextInput { lower_case: true, ..plain },
        "char" => TextInput { tokens: Tokens::Char, size: 120, ..plain },
        _ => {
            let json = of["tokenizer"].as_str().expect("a tokeniser");
            let facts = facts(json).expect("it is read");
            let padding = i64::from(facts.padding.expect("it has padding"));
            let (size, unknown) = (facts.size, facts.unknown.map(i64::from));
            TextInput { tokens: Tokens::Tokenizer(json.to_owned()), padding, size, unknown, ..plain }
        }
    }
}

#[test]
fn tokens_places_cuts_and_padding_are_those_of_the_library() {
    install();
    let made = made();
    let (texts, corpus, length) = (strings(&made["texts"]), strings(&made["corpus"]), made["length"].as_u64().expect("a number"));
    let ways = made["ways"].as_object().expect("a table");
    assert_eq!(ways.len(), 6);
    for (way, of) in ways {
        let mut input = input(way, of, length as u32);
        if input.is_learnt() {
            let mut counts = Counts::default();
            corpus.iter().for_each(|text| counts.add(text, &input));
            let vocabulary = counts.vocabulary(&input);
            assert_eq!(vocabulary, strings(&of["vocabulary"]), "{way}");
            input.vocabulary = Some(vocabulary);
        }
        let decl = TensorDecl { name: "text".into(), dtype: DType::I64, shape: vec![Extent::Fixed(1), Extent::Fixed(length as i64)] };
        let width = width(0, &decl, &input);
        let padding = input.padding;
        let tokeniser = Tokeniser::new(input).expect("it is whole");
        let rows = of["rows"].as_array().expect("a list");
        assert_eq!(rows.len(), texts.len());
        for (text, row) in texts.iter().zip(rows) {
            let tokens = tokeniser.tokens(text).expect("tokens");
            let numbers: Vec<i64> = tokens.iter().map(|token| token.number).collect();
            let array = to_array(std::slice::from_ref(&numbers), width, padding, DType::I64).expect("small");
            let found: Vec<u64> = (0..array.len()).map(|i| array.get_f64(i) as u64).collect();
            let expected: Vec<u64> = row[0].as_array().expect("numbers").iter().map(|number| number.as_u64().expect("one")).collect();
            assert_eq!(found, expected, "{way}: {text:?}");
            assert_eq!(Some(tokens.len() as u64), row[2].as_u64(), "{way}: {text:?}");
            let places: Vec<Json> = tokens.iter().map(|token| serde_json::json!([token.place.start, token.place.end])).collect();
            assert_eq!(places[..], row[1].as_array().expect("places")[..places.len()], "{way}: {text:?}");
        }
    }
}

#[test]
fn texts_of_tokens_are_texts() {
    install();
    let made = made();
    for way in ["char", "wordpiece", "bpe"] {
        let of = &made["ways"][way];
        let mut input = input(way, of, 1000);
        input.vocabulary = (way == "char").then(|| strings(&of["vocabulary"]));
        let tokeniser = Tokeniser::new(input).expect("it is whole");
        let text = "my card has not arrived";
        let numbers: Vec<i64> = tokeniser.all_tokens(text).expect("tokens").iter().map(|token| token.number).collect();
        assert_eq!(tokeniser.text(&numbers).expect("a text"), text, "{way}");
        assert!(numbers.iter().all(|number| (0..tokeniser.size() as i64).contains(number)), "{way}");
    }
}

#[test]
fn what_is_no_tokeniser_is_told() {
    install();
    for json in ["", "{}", "{\"model\": {\"type\": \"WordPiece\"}}", "[1, 2"] {
        assert_eq!(facts(json).err().expect("refused").code, "tokenizer", "{json}");
    }
}
