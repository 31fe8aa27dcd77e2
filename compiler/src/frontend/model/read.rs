//! From trees to structs, through serde: names and values that are wrong are told with their place and the nearest right one.

use super::tree::{Kind, Mistake, Node};
use kiln_ir::diagnostic::nearest;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::fmt;

/// Reads a struct. Errors: the first value that does not fit, or name that is unknown.
pub fn read<'t, T: Deserialize<'t>>(node: &'t Node) -> Result<T, Mistake> {
    T::deserialize(node)
}

/// `did you mean …?`, or what there is to choose from.
pub fn suggest<'a>(mistake: Mistake, word: &str, choices: impl IntoIterator<Item = &'a str> + Clone) -> Mistake {
    match nearest(word, choices.clone()) {
        Some(near) => mistake.help(format!("did you mean `{near}`?")),
        None => mistake.help(format!("one of {}", choices.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// Reads `word` or `word(number)`: the word, which is one of `words`, and its number where it takes one, which they give where it is
/// left out. Errors: no such word, no such number.
pub fn word_and_number(text: &str, what: &str, words: &[(&'static str, Option<f64>)]) -> Result<(&'static str, f64), Mistake> {
    let (word, number) = match text.split_once('(') {
        None => (text.trim(), None),
        Some((word, rest)) => (word.trim(), Some(rest.strip_suffix(')').unwrap_or(rest))),
    };
    let Some((word, default)) = words.iter().copied().find(|(w, _)| *w == word) else {
        return Err(suggest(Mistake::new(format!("there is no {what} `{word}`")), word, words.iter().map(|(w, _)| *w)));
    };
    match (number, default) {
        (Some(_), None) => Err(Mistake::new(format!("`{word}` takes no number"))),
        (Some(number), Some(_)) => match number.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok((word, number)),
            _ => Err(Mistake::new(format!("`{number}` is no number")).help(format!("such as \"{word}(0.1)\""))),
        },
        (None, default) => Ok((word, default.unwrap_or_default())),
    }
}

/// A mistake in a text as one of serde's, which are one text without help.
pub fn in_one_text<E: Error>(mistake: Mistake) -> E {
    let help = mistake.help.map(|help| format!("; {help}")).unwrap_or_default();
    E::custom(format!("{}{help}", mistake.message))
}

impl std::error::Error for Mistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Mistake {
        Mistake::new(message.to_string())
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Mistake {
        Mistake::new(format!("expected {}, found {found}", in_words(expected)))
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Mistake {
        Mistake::invalid_type(found, expected)
    }

    fn missing_field(field: &'static str) -> Mistake {
        Mistake::new(format!("`{field}` is missing"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Mistake {
        suggest(Mistake::new(format!("there is no `{variant}`")), variant, expected.iter().copied())
    }
}

/// What serde expects, without the names of Rust's types.
fn in_words(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "u32" | "u64" => "a whole number from 0 on".into(),
        "i64" => "a whole number".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "text in quotes".into(),
        "a sequence" => "a list".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Integer(value) => visitor.visit_i64(*value),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(value) => visitor.visit_str(value),
            Kind::List(items) => visitor.visit_seq(Items(items.iter())),
            Kind::Table(entries) => visitor.visit_map(Fields { entries: entries.iter(), value: None }),
        }
        .map_err(|mistake| mistake.at(self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        if self.kind == Kind::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        if let Kind::Table(entries) = &self.kind
            && let Some((key, _)) = entries.iter().find(|(key, _)| !fields.contains(&key.name.as_str()))
        {
            let mistake = Mistake::new(format!("nothing here is called `{}`", key.name)).at(key.span);
            return Err(suggest(mistake, &key.name, fields.iter().copied()));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Mistake> {
        let Kind::Text(word) = &self.kind else { return Err(Mistake::new("expected a word in quotes").at(self.span)) };
        let word: StrDeserializer<'_, Mistake> = word.as_str().into_deserializer();
        visitor.visit_enum(word).map_err(|mistake| mistake.at(self.span))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'t>(std::slice::Iter<'t, Node>);

impl<'t> SeqAccess<'t> for Items<'t> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        self.0.next().map(|node| seed.deserialize(node).map_err(|mistake| mistake.at(node.span))).transpose()
    }
}

struct Fields<'t> {
    entries: std::slice::Iter<'t, (super::tree::Key, Node)>,
    value: Option<&'t Node>,
}

impl<'t> MapAccess<'t> for Fields<'t> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StrDeserializer<'_, Mistake> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<T::Value, Mistake> {
        let value = self.value.take().expect("serde asks for a key first");
        seed.deserialize(value).map_err(|mistake| mistake.at(value.span))
    }
}

/// A number for every axis alike, or a list with one for each.
#[derive(Clone, PartialEq, Debug)]
pub struct PerAxis(Vec<usize>);

impl PerAxis {
    /// The same on every axis.
    pub fn all(value: usize) -> PerAxis {
        PerAxis(vec![value])
    }

    /// One for each axis.
    pub fn list(values: Vec<usize>) -> PerAxis {
        PerAxis(values)
    }

    /// One number for each of `rank` axes. Errors: there are others.
    pub fn on(&self, rank: usize, what: &str) -> Result<Vec<usize>, Mistake> {
        match self.0.len() {
            1 => Ok(vec![self.0[0]; rank]),
            n if n == rank => Ok(self.0.clone()),
            n => Err(Mistake::new(format!("`{what}` lists {n} numbers for {rank} axes"))),
        }
    }
}

impl JsonSchema for PerAxis {
    fn schema_name() -> Cow<'static, str> {
        "PerAxis".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "integer", "minimum": 0 });
        json_schema!({ "anyOf": [number, { "type": "array", "items": number, "minItems": 1 }] })
    }
}

impl<'t> Deserialize<'t> for PerAxis {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<PerAxis, D::Error> {
        struct Numbers;
        impl<'t> Visitor<'t> for Numbers {
            type Value = PerAxis;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 on, or a list with one for each axis")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<PerAxis, E> {
                let number = u32::try_from(value).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))?;
                Ok(PerAxis(vec![number as usize]))
            }
            fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<PerAxis, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = items.next_element::<u32>()? {
                    numbers.push(number as usize);
                }
                if numbers.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(PerAxis(numbers)) }
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}
