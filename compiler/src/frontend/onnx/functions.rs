//! Local functions: looked up by domain, name and overload, and instantiated with the attributes of a call.

use super::load::{canonical_domain, opsets};
use super::order::describe;
use super::proto::{AttributeProto, FunctionProto, NodeProto};
use kiln_ir::Diagnostic;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// The functions of a model.
pub struct Functions {
    /// By domain, name and overload.
    by_name: HashMap<(String, String, String), Rc<Function>>,
}

/// One function.
pub struct Function {
    /// Its declaration.
    pub proto: FunctionProto,
    /// Its operator sets; `None` when it declares none and uses the caller's.
    pub opsets: Option<Rc<BTreeMap<String, i64>>>,
}

impl Functions {
    /// Errors: `onnx_duplicate` when two functions have one name; `onnx_opset` from their operator sets.
    pub fn collect(functions: Vec<FunctionProto>) -> Result<Self, Diagnostic> {
        let mut by_name = HashMap::new();
        for proto in functions {
            let place = format!("function \"{}\"", proto.name);
            let opsets = match proto.opset_import.as_slice() {
                [] => None,
                imports => Some(Rc::new(opsets(imports).map_err(|d| d.at(place.clone(), "declared here"))?)),
            };
            let key = (canonical_domain(&proto.domain).to_string(), proto.name.clone(), proto.overload.clone());
            if by_name.insert(key, Rc::new(Function { proto, opsets })).is_some() {
                return Err(Diagnostic::new("onnx_duplicate", "two functions have the same domain and name").at(place, "the second one"));
            }
        }
        Ok(Functions { by_name })
    }

    /// The function that a node calls, if it calls one.
    pub fn find(&self, node: &NodeProto) -> Option<&Rc<Function>> {
        if self.by_name.is_empty() {
            return None;
        }
        self.by_name.get(&(canonical_domain(&node.domain).to_string(), node.op_type.clone(), node.overload.clone()))
    }

    /// Every function, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name.keys().map(|(domain, name, _)| (domain.as_str(), name.as_str()))
    }
}

impl Function {
    /// The body with the attributes of `call` filled in.
    ///
    /// Errors: `onnx_attribute` when the call leaves out an attribute that the function requires.
    pub fn instantiate(&self, call: &NodeProto) -> Result<Vec<NodeProto>, Diagnostic> {
        let given = |name: &str| call.attribute.iter().find(|a| a.name == name);
        if let Some(name) = self.proto.attribute.iter().find(|name| given(name).is_none()) {
            let what = format!("attribute `{name}` of {} is missing", call.op_type);
            return Err(Diagnostic::new("onnx_attribute", what).at(describe(call), "calls a function that requires it"));
        }
        let value = |name: &str| given(name).or_else(|| self.proto.attribute_proto.iter().find(|a| a.name == name));
        let mut nodes = self.proto.node.clone();
        nodes.iter_mut().for_each(|node| fill_in(node, &value));
        Ok(nodes)
    }
}

/// Replaces references to the function's attributes; one that has no value leaves the node's attribute out.
fn fill_in<'a>(node: &mut NodeProto, value: &dyn Fn(&str) -> Option<&'a AttributeProto>) {
    node.attribute.retain_mut(|attribute| {
        if attribute.ref_attr_name.is_empty() {
            if let Some(graph) = &mut attribute.g {
                graph.node.iter_mut().for_each(|inner| fill_in(inner, value));
            }
            return true;
        }
        let Some(actual) = value(&attribute.ref_attr_name) else { return false };
        *attribute = AttributeProto { name: std::mem::take(&mut attribute.name), ref_attr_name: String::new(), ..actual.clone() };
        true
    });
}

#[cfg(test)]
mod tests {
    use super::super::proto::attribute_type;
    use super::*;

    fn int(name: &str, i: i64) -> AttributeProto {
        AttributeProto { name: name.into(), kind: attribute_type::INT, i, ..Default::default() }
    }

    fn reference(name: &str, to: &str) -> AttributeProto {
        AttributeProto { name: name.into(), ref_attr_name: to.into(), ..Default::default() }
    }

    #[test]
    fn attributes_come_from_the_call_then_from_defaults_then_not_at_all() {
        let body = NodeProto {
            attribute: vec![reference("axis", "a"), reference("keepdims", "k"), reference("other", "o")],
            ..Default::default()
        };
        let proto =
            FunctionProto { attribute: vec!["a".into()], attribute_proto: vec![int("k", 0)], node: vec![body], ..Default::default() };
        let function = Function { proto, opsets: None };
        let call = NodeProto { attribute: vec![int("a", 3)], ..Default::default() };
        let nodes = function.instantiate(&call).expect("all required are given");
        assert_eq!(nodes[0].attribute, [int("axis", 3), int("keepdims", 0)]);
        assert!(function.instantiate(&NodeProto::default()).is_err());
    }
}
