//! Short ways to write ONNX messages.

use bytes::Bytes;
use kiln::frontend::onnx::proto::*;

/// Element types by their ONNX number.
pub const F32: i32 = 1;
/// See [`F32`].
pub const I64: i32 = 7;

/// A model of one graph.
pub fn model(opset: i64, graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 9,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        graph: Some(Box::new(graph)),
        ..Default::default()
    }
}

/// A graph from nodes, with every name of `outputs` a float of unknown shape.
pub fn graph(input: Vec<ValueInfoProto>, initializer: Vec<TensorProto>, node: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    let output = outputs.iter().map(|name| ValueInfoProto { name: name.to_string(), ..Default::default() }).collect();
    GraphProto { name: "g".to_string(), input, initializer, node, output, ..Default::default() }
}

/// A node without attributes.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    NodeProto { op_type: op.to_string(), input: owned(inputs), output: owned(outputs), ..Default::default() }
}

/// An input; a negative size `-n` is the symbol `sn`, for as long as `symbols` holds.
pub fn input(name: &str, dtype: i32, shape: &[i64], symbols: bool) -> ValueInfoProto {
    let size = |&d: &i64| match symbols && d < 0 {
        true => DimensionValue::Name(format!("s{}", d.unsigned_abs())),
        false => DimensionValue::Size(d),
    };
    let dim = shape.iter().map(|d| DimensionProto { value: Some(size(d)) }).collect();
    let tensor = TensorTypeProto { elem_type: dtype, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_string(), r#type: Some(Box::new(TypeProto { value: Some(TypeValue::Tensor(tensor)) })) }
}

/// A list of 64-bit integers.
pub fn ints(name: &str, values: &[i64]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    raw_tensor(name, I64, &[values.len() as i64], raw)
}

/// One 64-bit integer.
pub fn scalar(name: &str, value: i64) -> TensorProto {
    raw_tensor(name, I64, &[], value.to_le_bytes().to_vec())
}

/// Floats 0.1, 0.2, … up to 1.6, over and over.
pub fn floats(name: &str, shape: &[i64]) -> TensorProto {
    let count = shape.iter().fold(1i64, |n, d| n.saturating_mul(*d)).clamp(0, 1 << 12);
    let raw = (0..count).flat_map(|i| ((i % 16 + 1) as f32 * 0.1).to_le_bytes()).collect::<Vec<u8>>();
    raw_tensor(name, F32, shape, raw)
}

/// A tensor from its parts.
pub fn raw_tensor(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto { name: name.to_string(), data_type, dims: dims.to_vec(), raw_data: Bytes::from(raw), ..Default::default() }
}

/// An integer attribute.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_string(), kind: attribute_type::INT, i, ..Default::default() }
}

/// A number attribute.
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_string(), kind: attribute_type::FLOAT, f, ..Default::default() }
}

/// A list attribute.
pub fn int_list(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.to_string(), kind: attribute_type::INTS, ints: ints.to_vec(), ..Default::default() }
}

/// A text attribute.
pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.to_string(), kind: attribute_type::STRING, s: Bytes::from(s.as_bytes().to_vec()), ..Default::default() }
}

/// A graph attribute.
pub fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { name: name.to_string(), kind: attribute_type::GRAPH, g: Some(Box::new(g)), ..Default::default() }
}

/// A node with attributes.
pub trait With {
    /// Adds one.
    fn with(self, attribute: AttributeProto) -> Self;
}

impl With for NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}
