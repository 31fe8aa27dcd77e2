//! Walks a protobuf file without decoding it: is every length inside its parent, and how much memory would it take?
//!
//! A sub-message of two bytes becomes a structure of hundreds, so a small hostile file could ask for a hundred times its
//! size. The scan costs one pass over the structure (weights are skipped, not read), allocates nothing, and finds the
//! place where a truncated file ends, which the decoder cannot name.

use super::proto;
use kiln_ir::Diagnostic;
use std::mem::size_of;

/// Which message a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// A `.onnx` model.
    Model,
    /// A `.pb` tensor, as test data comes.
    Tensor,
}

/// Decoding may take this many times the size of the file. A plain node of 150 bytes takes about 1600 decoded, so a
/// graph with all its weights elsewhere is near this for every size of file above a few megabytes …
const BUDGET_FACTOR: u64 = 9;
/// … plus this.
const BUDGET_BYTES: u64 = 40 << 20;
/// Messages inside messages; the decoder's own limit is the same.
const MAX_DEPTH: usize = 100;

/// Checks that `file` is well-formed protobuf for `root` and that decoding it takes a bounded multiple of its size.
///
/// Errors: `onnx_truncated`, `onnx_malformed`, `onnx_too_deep`, `onnx_expands`; each names the field.
pub fn scan(file: &[u8], root: Root) -> Result<(), Diagnostic> {
    let mut scanner = Scanner { file, cost_bytes: 0, budget_bytes: (file.len() as u64) * BUDGET_FACTOR + BUDGET_BYTES, path: Vec::new() };
    let message = match root {
        Root::Model => &MODEL,
        Root::Tensor => &TENSOR,
    };
    scanner.message(message, 0, file.len())
}

/// One message type: what it costs decoded and which of its fields matter.
struct Message {
    name: &'static str,
    decoded_bytes: usize,
    fields: &'static [(u32, &'static str, Kind)],
}

/// How a length-delimited field decodes.
#[derive(Clone, Copy)]
enum Kind {
    /// A message of its own, boxed or in a vector.
    Message(&'static Message),
    /// A copied string.
    Text,
    /// A slice of the file.
    Slice,
    /// Numbers that must be packed, kept as a slice.
    PackedSlice,
    /// Numbers decoded into a vector of elements this large.
    Numbers(usize),
}

/// A vector that grows by doubling is up to half empty.
const VECTOR_GROWTH: usize = 2;

const TEXT_BYTES: u64 = (size_of::<String>() * VECTOR_GROWTH) as u64;
const SLICE_BYTES: u64 = (size_of::<bytes::Bytes>() * VECTOR_GROWTH) as u64;

const fn message<T>(name: &'static str, fields: &'static [(u32, &'static str, Kind)]) -> Message {
    Message { name, decoded_bytes: size_of::<T>() * VECTOR_GROWTH, fields }
}

static MODEL: Message = message::<proto::ModelProto>(
    "model",
    &[
        (2, "producer_name", Kind::Text),
        (3, "producer_version", Kind::Text),
        (7, "graph", Kind::Message(&GRAPH)),
        (8, "opset_import", Kind::Message(&OPERATOR_SET)),
        (14, "metadata_props", Kind::Message(&ENTRY)),
        (25, "functions", Kind::Message(&FUNCTION)),
    ],
);
static OPERATOR_SET: Message = message::<proto::OperatorSetIdProto>("operator set", &[(1, "domain", Kind::Text)]);
static ENTRY: Message = message::<proto::StringStringEntryProto>("entry", &[(1, "key", Kind::Text), (2, "value", Kind::Text)]);
static GRAPH: Message = message::<proto::GraphProto>(
    "graph",
    &[
        (1, "node", Kind::Message(&NODE)),
        (2, "name", Kind::Text),
        (5, "initializer", Kind::Message(&TENSOR)),
        (11, "input", Kind::Message(&VALUE_INFO)),
        (12, "output", Kind::Message(&VALUE_INFO)),
        (13, "value_info", Kind::Message(&VALUE_INFO)),
        (14, "quantization_annotation", Kind::Message(&ANNOTATION)),
        (15, "sparse_initializer", Kind::Message(&SPARSE_TENSOR)),
    ],
);
static NODE: Message = message::<proto::NodeProto>(
    "node",
    &[
        (1, "input", Kind::Text),
        (2, "output", Kind::Text),
        (3, "name", Kind::Text),
        (4, "op_type", Kind::Text),
        (5, "attribute", Kind::Message(&ATTRIBUTE)),
        (7, "domain", Kind::Text),
        (8, "overload", Kind::Text),
    ],
);
static ATTRIBUTE: Message = message::<proto::AttributeProto>(
    "attribute",
    &[
        (1, "name", Kind::Text),
        (21, "ref_attr_name", Kind::Text),
        (4, "s", Kind::Slice),
        (5, "t", Kind::Message(&TENSOR)),
        (6, "g", Kind::Message(&GRAPH)),
        (7, "floats", Kind::Numbers(4)),
        (8, "ints", Kind::Numbers(8)),
        (9, "strings", Kind::Slice),
        (14, "tp", Kind::Message(&TYPE)),
        (22, "sparse_tensor", Kind::Message(&SPARSE_TENSOR)),
    ],
);
static TENSOR: Message = message::<proto::TensorProto>(
    "tensor",
    &[
        (1, "dims", Kind::Numbers(8)),
        (3, "segment", Kind::Message(&SEGMENT)),
        (4, "float_data", Kind::PackedSlice),
        (5, "int32_data", Kind::PackedSlice),
        (6, "string_data", Kind::Slice),
        (7, "int64_data", Kind::PackedSlice),
        (8, "name", Kind::Text),
        (9, "raw_data", Kind::Slice),
        (10, "double_data", Kind::PackedSlice),
        (11, "uint64_data", Kind::PackedSlice),
        (13, "external_data", Kind::Message(&ENTRY)),
    ],
);
static SEGMENT: Message = message::<proto::SegmentProto>("segment", &[]);
static SPARSE_TENSOR: Message = message::<proto::SparseTensorProto>(
    "sparse tensor",
    &[(1, "values", Kind::Message(&TENSOR)), (2, "indices", Kind::Message(&TENSOR)), (3, "dims", Kind::Numbers(8))],
);
static VALUE_INFO: Message = message::<proto::ValueInfoProto>("value info", &[(1, "name", Kind::Text), (2, "type", Kind::Message(&TYPE))]);
static TYPE: Message = message::<proto::TypeProto>(
    "type",
    &[
        (1, "tensor_type", Kind::Message(&TENSOR_TYPE)),
        (4, "sequence_type", Kind::Message(&ELEMENT_TYPE)),
        (5, "map_type", Kind::Message(&MAP_TYPE)),
        (8, "sparse_tensor_type", Kind::Message(&TENSOR_TYPE)),
        (9, "optional_type", Kind::Message(&ELEMENT_TYPE)),
    ],
);
static TENSOR_TYPE: Message = message::<proto::TensorTypeProto>("tensor type", &[(2, "shape", Kind::Message(&SHAPE))]);
static ELEMENT_TYPE: Message = message::<proto::ElementTypeProto>("element type", &[(1, "elem_type", Kind::Message(&TYPE))]);
static MAP_TYPE: Message = message::<proto::MapTypeProto>("map type", &[(2, "value_type", Kind::Message(&TYPE))]);
static SHAPE: Message = message::<proto::TensorShapeProto>("shape", &[(1, "dim", Kind::Message(&DIMENSION))]);
static DIMENSION: Message = message::<proto::DimensionProto>("dimension", &[(2, "dim_param", Kind::Text)]);
static FUNCTION: Message = message::<proto::FunctionProto>(
    "function",
    &[
        (1, "name", Kind::Text),
        (4, "input", Kind::Text),
        (5, "output", Kind::Text),
        (6, "attribute", Kind::Text),
        (7, "node", Kind::Message(&NODE)),
        (9, "opset_import", Kind::Message(&OPERATOR_SET)),
        (10, "domain", Kind::Text),
        (11, "attribute_proto", Kind::Message(&ATTRIBUTE)),
        (12, "value_info", Kind::Message(&VALUE_INFO)),
        (13, "overload", Kind::Text),
    ],
);
static ANNOTATION: Message = message::<proto::TensorAnnotation>(
    "annotation",
    &[(1, "tensor_name", Kind::Text), (2, "quant_parameter_tensor_names", Kind::Message(&ENTRY))],
);

struct Scanner<'a> {
    file: &'a [u8],
    cost_bytes: u64,
    budget_bytes: u64,
    /// Field names from the root to here, with how many of that field came before.
    path: Vec<(&'static str, u32)>,
}

impl Scanner<'_> {
    fn message(&mut self, message: &'static Message, start: usize, end: usize) -> Result<(), Diagnostic> {
        if self.path.len() >= MAX_DEPTH {
            return Err(Diagnostic::new("onnx_too_deep", format!("messages are nested more than {MAX_DEPTH} deep"))
                .at(self.place(), "the innermost message that was looked at"));
        }
        let mut counts = [0u32; 16];
        let mut at = start;
        while at < end {
            let key = self.varint(&mut at, end, message)?;
            let (tag, wire) = (key >> 3, key & 7);
            if tag == 0 || tag > (1 << 29) - 1 {
                return Err(self.malformed(at, message, format!("field number {tag} does not exist")));
            }
            let field = message.fields.iter().position(|f| u64::from(f.0) == tag);
            match wire {
                0 => {
                    self.varint(&mut at, end, message)?;
                    self.number(field.map(|f| message.fields[f]), at, message)?;
                }
                1 | 5 => {
                    let length = if wire == 1 { 8 } else { 4 };
                    self.skip(&mut at, end, length, message, field)?;
                    self.number(field.map(|f| message.fields[f]), at, message)?;
                }
                2 => {
                    let length = self.varint(&mut at, end, message)?;
                    let content = at;
                    self.skip(&mut at, end, length, message, field)?;
                    let Some(index) = field else { continue };
                    let (_, name, kind) = message.fields[index];
                    let cost = match kind {
                        Kind::Message(inner) => inner.decoded_bytes as u64,
                        Kind::Text => TEXT_BYTES + length,
                        Kind::Slice | Kind::PackedSlice => SLICE_BYTES,
                        // A packed number takes at least one byte.
                        Kind::Numbers(4) => length * VECTOR_GROWTH as u64,
                        Kind::Numbers(element) => length * (element * VECTOR_GROWTH) as u64,
                    };
                    self.pay(cost)?;
                    if let Kind::Message(inner) = kind {
                        let count = counts[index];
                        counts[index] += 1;
                        self.path.push((name, count));
                        self.message(inner, content, at)?;
                        self.path.pop();
                    }
                }
                3 | 4 => {
                    let what = "a group, which ONNX never uses";
                    return Err(self.malformed(at, message, what.to_string()));
                }
                _ => {
                    return Err(self.malformed(at, message, format!("wire type {wire} does not exist")));
                }
            }
        }
        Ok(())
    }

    /// A number outside a packed run.
    fn number(&mut self, field: Option<(u32, &'static str, Kind)>, at: usize, message: &Message) -> Result<(), Diagnostic> {
        match field {
            None => Ok(()),
            Some((_, _, Kind::Numbers(element))) => self.pay((element * VECTOR_GROWTH) as u64),
            Some((_, name, Kind::PackedSlice)) => Err(self
                .malformed(at, message, format!("`{name}` is not packed, as ONNX declares it"))
                .help("load the model with the `onnx` Python package and save it again")),
            Some((_, name, Kind::Message(_) | Kind::Text | Kind::Slice)) => {
                Err(self.malformed(at, message, format!("`{name}` is a number, not bytes")))
            }
        }
    }

    fn pay(&mut self, cost: u64) -> Result<(), Diagnostic> {
        self.cost_bytes += cost;
        if self.cost_bytes > self.budget_bytes {
            return Err(Diagnostic::new(
                "onnx_expands",
                format!("{} bytes of file would become more than {} bytes in memory", self.file.len(), self.budget_bytes),
            )
            .at(self.place(), "the budget ends here: too many small messages")
            .help("real models stay far below this; the file is damaged or made to exhaust memory"));
        }
        Ok(())
    }

    fn skip(&self, at: &mut usize, end: usize, length: u64, message: &Message, field: Option<usize>) -> Result<(), Diagnostic> {
        let left = (end - *at) as u64;
        if length <= left {
            *at += length as usize;
            return Ok(());
        }
        let field = field.map_or("a field", |f| message.fields[f].1);
        Err(self.truncated(format!("`{field}` says {length} bytes, {left} are left")))
    }

    fn varint(&self, at: &mut usize, end: usize, message: &Message) -> Result<u64, Diagnostic> {
        let start = *at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if *at >= end {
                return Err(self.truncated(format!("it stops inside a number at byte {start}")));
            }
            let byte = self.file[*at];
            *at += 1;
            // The tenth byte holds one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(start, message, "a number longer than 64 bits".to_string()))
    }

    fn truncated(&self, what: String) -> Diagnostic {
        Diagnostic::new("onnx_truncated", "the file is truncated or damaged".to_string())
            .at(self.place(), what)
            .help("copy or download the file again and compare its size")
    }

    fn malformed(&self, at: usize, message: &Message, what: String) -> Diagnostic {
        Diagnostic::new("onnx_malformed", "the file is not an ONNX model".to_string())
            .at(self.place(), format!("{what}, in a {} message before byte {at}", message.name))
            .help("is this a `.onnx` file, whole and not compressed?")
    }

    /// `graph.node[3].attribute[0]`
    fn place(&self) -> String {
        if self.path.is_empty() {
            return "the file's top level".to_string();
        }
        let parts: Vec<String> = self
            .path
            .iter()
            .map(|&(name, n)| match name {
                "graph" | "t" | "g" | "type" | "tensor_type" | "shape" => name.to_string(),
                _ => format!("{name}[{n}]"),
            })
            .collect();
        parts.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn code(file: &[u8]) -> String {
        scan(file, Root::Model).expect_err("must be refused").code
    }

    #[test]
    fn accepts_what_the_encoder_writes() {
        let model = proto::ModelProto {
            ir_version: 8,
            graph: Some(Box::new(proto::GraphProto {
                node: vec![proto::NodeProto { op_type: "Relu".into(), ..Default::default() }],
                ..Default::default()
            })),
            ..Default::default()
        };
        scan(&model.encode_to_vec(), Root::Model).expect("well formed");
    }

    #[test]
    fn names_the_place_where_a_file_ends() {
        let node = proto::NodeProto { op_type: "Relu".repeat(20), ..Default::default() };
        let graph = proto::GraphProto { node: vec![node; 3], ..Default::default() };
        let model = proto::ModelProto { graph: Some(Box::new(graph)), ..Default::default() };
        let whole = model.encode_to_vec();
        let error = scan(&whole[..whole.len() - 10], Root::Model).expect_err("truncated");
        assert_eq!(error.code, "onnx_truncated");
        for end in 1..whole.len() {
            if let Err(error) = scan(&whole[..end], Root::Model) {
                assert_eq!(error.code, "onnx_truncated", "cut at {end}");
            }
        }
    }

    #[test]
    fn refuses_a_bomb_of_empty_messages() {
        // graph { node {} node {} … }: two bytes each, hundreds decoded.
        let body = [0x0a, 0x00].repeat(4 << 20);
        let mut file = vec![0x3a];
        let mut length = body.len();
        while length >= 0x80 {
            file.push(length as u8 | 0x80);
            length >>= 7;
        }
        file.push(length as u8);
        file.extend(body);
        assert_eq!(code(&file), "onnx_expands");
    }

    #[test]
    fn refuses_deep_nesting_groups_and_endless_numbers() {
        // model.graph.node.attribute.g.node.attribute.g …
        let mut inner: Vec<u8> = Vec::new();
        let wrap = |tag: u8, inner: &[u8]| {
            let mut out = vec![tag << 3 | 2];
            prost::encode_length_delimiter(inner.len(), &mut out).expect("fits");
            out.extend_from_slice(inner);
            out
        };
        for _ in 0..40 {
            inner = wrap(1, &wrap(5, &wrap(6, &inner)));
        }
        assert_eq!(code(&wrap(7, &inner)), "onnx_too_deep");
        assert_eq!(code(&[0x0b]), "onnx_malformed");
        assert_eq!(code(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), "onnx_malformed");
        assert_eq!(code(&[0x07]), "onnx_malformed");
    }
}
