//! Typed access to a node's attributes, with errors that name node, attribute and both types.
//!
//! Every attribute must be read or set aside: [`Attributes::finish`] refuses what is left over, because an attribute that
//! an importer does not know changes what the node means.

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type as kind};
use kiln_ir::Diagnostic;
use std::cell::Cell;

/// The attributes of one node.
pub struct Attributes<'a> {
    node: &'a NodeProto,
    read: Vec<Cell<bool>>,
}

impl<'a> Attributes<'a> {
    /// Errors: `onnx_attribute` when an attribute comes twice or still refers to a function's parameter.
    pub fn new(node: &'a NodeProto) -> Result<Self, Diagnostic> {
        for (i, attribute) in node.attribute.iter().enumerate() {
            let name = attribute.name.as_str();
            if node.attribute[..i].iter().any(|a| a.name == name) {
                return Err(Self::error(node, name, "comes twice".to_string()));
            }
            if !attribute.ref_attr_name.is_empty() {
                let what = format!("refers to the parameter {:?} outside a function", attribute.ref_attr_name);
                return Err(Self::error(node, name, what));
            }
        }
        Ok(Attributes { node, read: vec![Cell::new(false); node.attribute.len()] })
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Diagnostic> {
        Ok(self.find(name, kind::INT)?.map(|a| a.i))
    }

    /// An integer, or `default` when it is absent.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Diagnostic> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// An integer that must be there.
    pub fn required_int(&self, name: &str) -> Result<i64, Diagnostic> {
        self.int(name)?.ok_or_else(|| self.missing(name))
    }

    /// 0 or 1 as a truth value, or `default` when it is absent.
    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool, Diagnostic> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(self.refuse(name, format!("is {other}, must be 0 or 1"))),
        }
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<Option<f32>, Diagnostic> {
        Ok(self.find(name, kind::FLOAT)?.map(|a| a.f))
    }

    /// A number, or `default` when it is absent.
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, Diagnostic> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// A text.
    pub fn string(&self, name: &str) -> Result<Option<&'a str>, Diagnostic> {
        let Some(attribute) = self.find(name, kind::STRING)? else {
            return Ok(None);
        };
        match std::str::from_utf8(&attribute.s) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.refuse(name, "is not UTF-8".to_string())),
        }
    }

    /// A text, or `default` when it is absent.
    pub fn string_or(&self, name: &str, default: &'static str) -> Result<&'a str, Diagnostic> {
        Ok(self.string(name)?.unwrap_or(default))
    }

    /// Texts.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<&'a str>>, Diagnostic> {
        let Some(attribute) = self.find(name, kind::STRINGS)? else {
            return Ok(None);
        };
        let text = |s: &'a bytes::Bytes| std::str::from_utf8(s);
        match attribute.strings.iter().map(text).collect() {
            Ok(texts) => Ok(Some(texts)),
            Err(_) => Err(self.refuse(name, "is not UTF-8".to_string())),
        }
    }

    /// Integers.
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Diagnostic> {
        Ok(self.find(name, kind::INTS)?.map(|a| a.ints.as_slice()))
    }

    /// Integers that must be there.
    pub fn required_ints(&self, name: &str) -> Result<&'a [i64], Diagnostic> {
        self.ints(name)?.ok_or_else(|| self.missing(name))
    }

    /// Numbers.
    pub fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, Diagnostic> {
        Ok(self.find(name, kind::FLOATS)?.map(|a| a.floats.as_slice()))
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, Diagnostic> {
        Ok(self.find(name, kind::TENSOR)?.and_then(|a| a.t.as_deref()))
    }

    /// A graph that must be there.
    pub fn required_graph(&self, name: &str) -> Result<&'a GraphProto, Diagnostic> {
        let attribute = self.find(name, kind::GRAPH)?;
        attribute.and_then(|a| a.g.as_deref()).ok_or_else(|| self.missing(name))
    }

    /// Marks attributes as known to have no effect here.
    pub fn ignore(&self, names: &[&str]) {
        for (attribute, read) in self.node.attribute.iter().zip(&self.read) {
            if names.contains(&attribute.name.as_str()) {
                read.set(true);
            }
        }
    }

    /// Refuses attributes that nobody read. Errors: `onnx_attribute`.
    pub fn finish(&self) -> Result<(), Diagnostic> {
        let left = self.node.attribute.iter().zip(&self.read).find(|(_, read)| !read.get());
        match left {
            Some((attribute, _)) => Err(self.refuse(&attribute.name, "is not known for this operator".to_string())),
            None => Ok(()),
        }
    }

    /// An error about the value of attribute `name`: `onnx_attribute`.
    pub fn refuse(&self, name: &str, what: String) -> Diagnostic {
        Self::error(self.node, name, what)
    }

    fn missing(&self, name: &str) -> Diagnostic {
        self.refuse(name, "is missing".to_string())
    }

    fn error(node: &NodeProto, name: &str, what: String) -> Diagnostic {
        Diagnostic::new("onnx_attribute", format!("attribute `{name}` of {} {what}", node.op_type))
    }

    fn find(&self, name: &str, expected: i32) -> Result<Option<&'a AttributeProto>, Diagnostic> {
        let Some(index) = self.node.attribute.iter().position(|a| a.name == name) else {
            return Ok(None);
        };
        self.read[index].set(true);
        let attribute = &self.node.attribute[index];
        // Files of the first format version do not say which member counts.
        if attribute.kind == expected || attribute.kind == kind::UNDEFINED {
            return Ok(Some(attribute));
        }
        let what = format!("is {}, must be {}", kind_name(attribute.kind), kind_name(expected));
        Err(self.refuse(name, what))
    }
}

fn kind_name(number: i32) -> &'static str {
    match number {
        kind::FLOAT => "a number",
        kind::INT => "an integer",
        kind::STRING => "a text",
        kind::TENSOR => "a tensor",
        kind::GRAPH => "a graph",
        kind::FLOATS => "numbers",
        kind::INTS => "integers",
        kind::STRINGS => "texts",
        kind::SPARSE_TENSOR => "a sparse tensor",
        kind::TYPE_PROTO => "a type",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attributes: Vec<AttributeProto>) -> NodeProto {
        NodeProto { op_type: "Softmax".into(), attribute: attributes, ..Default::default() }
    }

    fn axis(i: i64) -> AttributeProto {
        AttributeProto { name: "axis".into(), kind: kind::INT, i, ..Default::default() }
    }

    #[test]
    fn defaults_apply_only_when_absent() {
        let node = node(vec![axis(0)]);
        let attributes = Attributes::new(&node).expect("valid");
        assert_eq!(attributes.int_or("axis", -1).expect("an integer"), 0);
        assert_eq!(attributes.float_or("alpha", 0.5).expect("absent"), 0.5);
        attributes.finish().expect("all read");
    }

    #[test]
    fn wrong_kinds_duplicates_and_strangers_are_refused() {
        let one = node(vec![axis(1)]);
        let attributes = Attributes::new(&one).expect("valid");
        let message = |d: Diagnostic| d.message;
        assert_eq!(message(attributes.finish().expect_err("unread")), "attribute `axis` of Softmax is not known for this operator");
        assert_eq!(
            message(attributes.float("axis").expect_err("wrong kind")),
            "attribute `axis` of Softmax is an integer, must be a number"
        );
        assert!(attributes.required_ints("pads").is_err());
        assert!(Attributes::new(&node(vec![axis(1), axis(1)])).is_err());
    }
}
