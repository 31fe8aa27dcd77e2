//! What TOML and JSON have in common, with the place of every value in the text.

use kiln_ir::Diagnostic;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use toml::de::{DeTable, DeValue};

/// Bytes of the text, from the first to one past the last.
pub type Span = (usize, usize);

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

impl Node {
    /// The entries of a table.
    pub fn table(&self) -> Option<&[(Key, Node)]> {
        if let Kind::Table(entries) = &self.kind { Some(entries) } else { None }
    }

    /// The value of that name in a table.
    pub fn field(&self, name: &str) -> Option<&Node> {
        self.table()?.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The items of a list.
    pub fn list(&self) -> Option<&[Node]> {
        if let Kind::List(items) = &self.kind { Some(items) } else { None }
    }

    /// Text.
    pub fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// A whole number.
    pub fn integer(&self) -> Option<i64> {
        if let Kind::Integer(number) = self.kind { Some(number) } else { None }
    }

    /// A number, whole or not.
    pub fn number(&self) -> Option<f64> {
        match self.kind {
            Kind::Integer(number) => Some(number as f64),
            Kind::Float(number) => Some(number),
            _ => None,
        }
    }
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// JSON's null; TOML has none.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Node>),
    /// Values by name.
    Table(Vec<(Key, Node)>),
}

/// The name of a value in a table.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// Something in a model file that is wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// Where, if that is known yet.
    pub span: Option<Span>,
    /// What to do.
    pub help: Option<String>,
}

impl Mistake {
    /// A mistake without a place.
    pub fn new(message: impl Into<String>) -> Mistake {
        Mistake { message: message.into(), span: None, help: None }
    }

    /// The same at a place, unless it has one.
    pub fn at(self, span: Span) -> Mistake {
        Mistake { span: self.span.or(Some(span)), ..self }
    }

    /// As a diagnostic of the file that is called `place`.
    pub fn told(self, code: &'static str, place: &str) -> Diagnostic {
        let error = Diagnostic::new(code, self.message).at_span(place, self.span.unwrap_or((0, 0)), "here");
        self.help.into_iter().fold(error, Diagnostic::help)
    }

    /// The same with a next step.
    pub fn help(self, help: impl Into<String>) -> Mistake {
        Mistake { help: Some(help.into()), ..self }
    }
}

/// Reads TOML. Errors: the first mistake of syntax.
pub fn read_toml(text: &str) -> Result<Node, Mistake> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().map_or((0, 0), |span| (span.start, span.end));
        Mistake::new(error.message()).at(span)
    })?;
    let span = (table.span().start, table.span().end);
    from_toml(DeValue::Table(table.into_inner()), span)
}

fn from_toml(value: DeValue<'_>, span: Span) -> Result<Node, Mistake> {
    let nested = |value: toml::Spanned<DeValue<'_>>| {
        let span = (value.span().start, value.span().end);
        from_toml(value.into_inner(), span)
    };
    let kind = match value {
        DeValue::String(text) => Kind::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Kind::Integer(number),
            Err(_) => return Err(Mistake::new(format!("{number} is too large a number")).at(span)),
        },
        DeValue::Float(number) => Kind::Float(number.as_str().parse().map_err(|_| Mistake::new("not a number").at(span))?),
        DeValue::Boolean(value) => Kind::Bool(value),
        DeValue::Datetime(_) => return Err(Mistake::new("nothing here is a date").at(span)),
        DeValue::Array(items) => Kind::List(items.into_iter().map(nested).collect::<Result<_, _>>()?),
        DeValue::Table(table) => {
            let entry = |(key, value): (toml::Spanned<Cow<'_, str>>, _)| {
                let span = (key.span().start, key.span().end);
                Ok((Key { name: key.into_inner().into_owned(), span }, nested(value)?))
            };
            Kind::Table(table.into_iter().map(entry).collect::<Result<_, Mistake>>()?)
        }
    };
    Ok(Node { span, kind })
}

/// Lists and tables inside one another that are read; TOML's parser has a limit of its own.
const MAX_DEPTH: usize = 64;

/// Reads JSON. Errors: the first mistake of syntax.
pub fn read_json(text: &str) -> Result<Node, Mistake> {
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| {
        let line = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        let at = (line + error.column().saturating_sub(1)).min(text.len());
        let message = error.to_string();
        Mistake::new(message.split(" at line").next().unwrap_or_default()).at((at, at))
    })?;
    from_json(whole, text, 0)
}

/// A value that is a slice of the whole text: its address says where it stands.
fn from_json(raw: &RawValue, text: &str, depth: usize) -> Result<Node, Mistake> {
    let part = raw.get();
    let span = span_of(part, text);
    if depth > MAX_DEPTH {
        return Err(Mistake::new(format!("values lie in one another more than {MAX_DEPTH} deep")).at(span));
    }
    let wrong = |error: serde_json::Error| Mistake::new(error.to_string()).at(span);
    let kind = match part.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(part).map_err(wrong)?;
            let entry = |(key, value): (&RawValue, &RawValue)| {
                let name = serde_json::from_str(key.get()).map_err(wrong)?;
                Ok((Key { name, span: span_of(key.get(), text) }, from_json(value, text, depth + 1)?))
            };
            Kind::Table(entries.into_iter().map(entry).collect::<Result<_, Mistake>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(part).map_err(wrong)?;
            Kind::List(items.into_iter().map(|item| from_json(item, text, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Kind::Text(serde_json::from_str(part).map_err(wrong)?),
        Some(b't' | b'f') => Kind::Bool(part.starts_with('t')),
        Some(b'n') => Kind::Null,
        _ => match part.parse() {
            Ok(number) => Kind::Integer(number),
            Err(_) => Kind::Float(serde_json::from_str(part).map_err(wrong)?),
        },
    };
    if let Kind::Table(entries) = &kind {
        for (at, (key, _)) in entries.iter().enumerate() {
            if entries[..at].iter().any(|(other, _)| other.name == key.name) {
                return Err(Mistake::new(format!("`{}` stands here twice", key.name)).at(key.span));
            }
        }
    }
    Ok(Node { span, kind })
}

fn span_of(part: &str, text: &str) -> Span {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    (start, start + part.len())
}

/// The entries of an object in their order, undecoded.
struct Entries<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'t> serde::Deserialize<'t> for Entries<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'t> Visitor<'t> for Collect {
            type Value = Entries<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Entries<'t>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and values with the text that their spans cover.
    fn places(node: &Node, text: &str, out: &mut Vec<String>) {
        if let Kind::Table(entries) = &node.kind {
            for (key, value) in entries {
                out.push(format!("{} is {}", &text[key.span.0..key.span.1], &text[value.span.0..value.span.1]));
                places(value, text, out);
            }
        }
    }

    #[test]
    fn every_value_knows_its_place_in_both_languages() {
        let mut found = Vec::new();
        let text = "a = 3\n[b]\nc = [1, 'x']\n";
        places(&read_toml(text).expect("it reads"), text, &mut found);
        assert!(found.contains(&"a is 3".to_string()) && found.contains(&"c is [1, 'x']".to_string()), "{found:?}");
        let (mut found, text) = (Vec::new(), "{\"a\": 3,\n \"b\": {\"c\": [1, \"x\"]}}");
        places(&read_json(text).expect("it reads"), text, &mut found);
        assert_eq!(found, ["\"a\" is 3", "\"b\" is {\"c\": [1, \"x\"]}", "\"c\" is [1, \"x\"]"]);
    }

    #[test]
    fn mistakes_of_syntax_have_places() {
        assert_eq!(read_toml("a = 3\nb = \n").expect_err("it is wrong").span, Some((10, 10)));
        let error = read_json("{\"a\": 3,\n \"b\" 4}").expect_err("it is wrong");
        assert_eq!((error.message.as_str(), error.span), ("expected `:`", Some((14, 14))));
        assert!(read_json(&("[".repeat(100_000) + &"]".repeat(100_000))).is_err());
        assert!(read_toml(&("a = ".to_string() + &"[".repeat(100_000))).is_err());
        assert_eq!(read_json("{\"a\": 1, \"a\": 2}").expect_err("it is wrong").message, "`a` stands here twice");
    }
}
