//! What the importer knows of an ONNX value: its type, and where possible its contents.
//!
//! A value whose contents are known need not be in the graph at all: shape arithmetic (`Shape → Gather → Concat →
//! Reshape`) is carried out here on dims and leaves no nodes behind. It is put into the graph when a node reads it as data.

use kiln_ir::{DType, Dim, Tensor, TensorType, Value};

/// More elements than this are never tracked as dims.
pub const MAX_KNOWN_ELEMENTS: usize = 1024;

/// Names an operand of the importer.
pub type OperandId = usize;

/// One ONNX value.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Its type, as inferred.
    pub ty: TensorType,
    /// Its node in the graph, once something reads it as data.
    pub value: Option<Value>,
    /// Its contents, if they do not depend on the run.
    pub constant: Option<Tensor>,
    /// Its contents as dims, if it is a small integer tensor that depends on sizes alone.
    pub known: Option<KnownInts>,
    /// How many regions are around the graph that it belongs to.
    pub depth: usize,
}

impl Operand {
    /// A value computed by the graph.
    pub fn computed(value: Value, ty: TensorType) -> Operand {
        Operand { ty, value: Some(value), constant: None, known: None, depth: 0 }
    }

    /// A constant that is not in the graph yet.
    pub fn constant(tensor: Tensor) -> Operand {
        Operand { ty: tensor.ty(), value: None, constant: Some(tensor), known: None, depth: 0 }
    }

    /// Sizes that are not in the graph yet.
    pub fn known(known: KnownInts) -> Operand {
        let constant = known.to_tensor();
        Operand { ty: known.ty(), value: None, constant, known: Some(known), depth: 0 }
    }

    /// The contents as dims: those that shape arithmetic found, or a small integer constant.
    pub fn known_ints(&self) -> Option<KnownInts> {
        if self.known.is_some() {
            return self.known.clone();
        }
        KnownInts::from_tensor(self.constant.as_ref()?)
    }
}

/// A small integer (or truth value) tensor whose elements are dims.
#[derive(Clone, PartialEq, Debug)]
pub struct KnownInts {
    /// An integer type or `bool`.
    pub dtype: DType,
    /// Sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub elements: Vec<Dim>,
}

impl KnownInts {
    /// The elements of a small integer constant; `None` for other tensors.
    pub fn from_tensor(tensor: &Tensor) -> Option<KnownInts> {
        if tensor.dtype().is_float() || tensor.elements() > MAX_KNOWN_ELEMENTS {
            return None;
        }
        let elements: Option<Vec<Dim>> = tensor.ints().into_iter().map(|v| i64::try_from(v).ok().map(Dim::from)).collect();
        Some(KnownInts { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), elements: elements? })
    }

    /// A vector of `i64`.
    pub fn vector(elements: Vec<Dim>) -> KnownInts {
        KnownInts { dtype: DType::I64, shape: vec![elements.len()], elements }
    }

    /// A scalar of `i64`.
    pub fn scalar(element: Dim) -> KnownInts {
        KnownInts { dtype: DType::I64, shape: Vec::new(), elements: vec![element] }
    }

    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::fixed(self.dtype, &self.shape)
    }

    /// All elements as numbers; `None` when one depends on a symbol.
    pub fn constants(&self) -> Option<Vec<i64>> {
        self.elements.iter().map(Dim::as_const).collect()
    }

    /// As a constant; `None` when an element depends on a symbol.
    pub fn to_tensor(&self) -> Option<Tensor> {
        let values = self.constants()?;
        Some(Tensor::from_ints(self.dtype, self.shape.clone(), values.into_iter().map(i128::from)))
    }

    /// False when the elements have grown past what is worth carrying along.
    pub fn is_simple(&self) -> bool {
        self.elements.iter().all(|d| d.as_const().is_some() || d.terms().iter().map(|t| 1 + t.atoms.len()).sum::<usize>() <= 64)
    }
}
