//! Arguments of operations: values, or numbers that take the type of the value beside them.

use super::super::super::model::tree::{Kind, Mistake, Node};
use super::super::call::{Argument, Call};
use super::super::layer::Layer;
use kiln_ir::{DType, Tensor, Value};

/// An argument of an operation.
pub enum Operand {
    /// A value.
    Value(Value),
    /// Numbers, of which some have fractions, and their shape.
    Numbers { numbers: Vec<f64>, shape: Vec<usize>, fractions: bool },
}

/// The argument at a position or of a name. Errors: it is missing, or neither a value nor numbers.
pub fn operand(call: &Call, position: usize, name: &str) -> Result<Operand, Mistake> {
    match call.argument(position, name) {
        Some(Argument::Value(value)) => Ok(Operand::Value(*value)),
        Some(Argument::Setting(node)) => {
            let (mut numbers, mut fractions) = (Vec::new(), false);
            let shape = numbers_of(node, &mut numbers, &mut fractions);
            let shape = shape.ok_or_else(|| Mistake::new(format!("its argument `{name}` is neither a value nor numbers")))?;
            Ok(Operand::Numbers { numbers, shape, fractions })
        }
        Some(Argument::List(_)) | None => Err(Mistake::new(format!("it is called without `{name}`"))),
    }
}

/// The only value. Errors: it is missing.
pub fn value(call: &Call) -> Result<Value, Mistake> {
    match operand(call, 0, "x")? {
        Operand::Value(value) => Ok(value),
        Operand::Numbers { .. } => Err(Mistake::new("it is called with a number where a value is wanted")),
    }
}

/// The shape of numbers in lists; `None` if something else is among them or the lists differ in length.
fn numbers_of(node: &Node, out: &mut Vec<f64>, fractions: &mut bool) -> Option<Vec<usize>> {
    if let Some(items) = node.list() {
        let shapes = items.iter().map(|item| numbers_of(item, out, fractions)).collect::<Option<Vec<_>>>()?;
        let same = shapes.windows(2).all(|pair| pair[0] == pair[1]);
        let inside = shapes.first().cloned().unwrap_or_default();
        return same.then(|| [vec![items.len()], inside].concat());
    }
    match node.kind {
        Kind::Bool(value) => out.push(f64::from(u8::from(value))),
        _ => {
            *fractions |= node.integer().is_none();
            out.push(node.number()?);
        }
    }
    Some(Vec::new())
}

/// Both as values of one type: numbers take that of the value beside them, values the wider of theirs. Errors: both are numbers.
pub fn together(l: &mut Layer, a: Operand, b: Operand) -> Result<[Value; 2], Mistake> {
    Ok(match (a, b) {
        (Operand::Value(a), Operand::Value(b)) => {
            let dtype = wider(l.ty(a).dtype, l.ty(b).dtype);
            [l.cast(a, dtype), l.cast(b, dtype)]
        }
        (Operand::Value(a), numbers) => {
            let b = beside(l, numbers, a)?;
            let a = l.cast(a, l.ty(b).dtype);
            [a, b]
        }
        (numbers, Operand::Value(b)) => {
            let a = beside(l, numbers, b)?;
            let b = l.cast(b, l.ty(a).dtype);
            [a, b]
        }
        _ => return Err(Mistake::new("it is called with numbers alone")),
    })
}

/// Numbers in the type of a value, or in the layer's where they have fractions and it has none.
fn beside(l: &mut Layer, numbers: Operand, value: Value) -> Result<Value, Mistake> {
    let Operand::Numbers { numbers, shape, fractions } = numbers else { return Err(Mistake::new("a value where a number is wanted")) };
    let dtype = match l.ty(value).dtype {
        dtype if dtype.is_float() => dtype,
        _ if fractions => l.dtypes.1,
        DType::Bool => DType::I32,
        dtype => dtype,
    };
    Ok(constant(l, dtype, shape, &numbers))
}

/// A constant of numbers.
pub fn constant(l: &mut Layer, dtype: DType, shape: Vec<usize>, numbers: &[f64]) -> Value {
    let tensor = if dtype.is_float() {
        Tensor::from_floats(dtype, shape, numbers.iter().copied())
    } else {
        Tensor::from_ints(dtype, shape, numbers.iter().map(|number| *number as i128))
    };
    l.b().constant(tensor)
}

/// The type that holds both: floats before whole numbers, more bits before fewer.
fn wider(a: DType, b: DType) -> DType {
    if a == b {
        return a;
    }
    let rank = |dtype: DType| match dtype {
        DType::Bool => 0,
        DType::U8 => 1,
        DType::I8 => 2,
        DType::U16 => 3,
        DType::I16 => 4,
        DType::U32 => 5,
        DType::I32 => 6,
        DType::U64 => 7,
        DType::I64 => 8,
        DType::F16 => 9,
        DType::BF16 => 10,
        DType::F32 => 11,
        DType::F64 => 12,
    };
    // The two halves have a common type of more bits.
    match (a, b) {
        (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => DType::F32,
        _ if rank(a) > rank(b) => a,
        _ => b,
    }
}
