//! Operators element by element. ONNX repeats operands itself, so of those that are repeated only what they repeat is written, as long
//! as one operand has the whole shape.

use super::Spelled;
use super::writer::{Operand, Writer, float, int, text};
use crate::frontend::onnx::proto::AttributeProto;
use crate::frontend::onnx::tensor::data_type;
use kiln_ir::TensorType;
use kiln_ir::ops::{GeluKind, Op};

/// The name and the attributes in ONNX.
fn spelling(op: &Op) -> Option<(&'static str, Vec<AttributeProto>)> {
    let plain = |name| Some((name, vec![]));
    match op {
        Op::Neg(_) => plain("Neg"),
        Op::Abs(_) => plain("Abs"),
        Op::Sign(_) => plain("Sign"),
        Op::Ceil(_) => plain("Ceil"),
        Op::Floor(_) => plain("Floor"),
        Op::Round(_) => plain("Round"),
        Op::Sqrt(_) => plain("Sqrt"),
        Op::Reciprocal(_) => plain("Reciprocal"),
        Op::Exp(_) => plain("Exp"),
        Op::Log(_) => plain("Log"),
        Op::Sin(_) => plain("Sin"),
        Op::Cos(_) => plain("Cos"),
        Op::Tan(_) => plain("Tan"),
        Op::Asin(_) => plain("Asin"),
        Op::Acos(_) => plain("Acos"),
        Op::Atan(_) => plain("Atan"),
        Op::Sinh(_) => plain("Sinh"),
        Op::Cosh(_) => plain("Cosh"),
        Op::Tanh(_) => plain("Tanh"),
        Op::Asinh(_) => plain("Asinh"),
        Op::Acosh(_) => plain("Acosh"),
        Op::Atanh(_) => plain("Atanh"),
        Op::Erf(_) => plain("Erf"),
        Op::Not(_) => plain("Not"),
        Op::BitNot(_) => plain("BitwiseNot"),
        Op::IsNan(_) => plain("IsNaN"),
        Op::IsInf(_) => plain("IsInf"),
        Op::Add(_) => plain("Add"),
        Op::Sub(_) => plain("Sub"),
        Op::Mul(_) => plain("Mul"),
        Op::Div(_) => plain("Div"),
        Op::Pow(_) => plain("Pow"),
        Op::Rem(_) => Some(("Mod", vec![int("fmod", 1)])),
        Op::Min(_) => plain("Min"),
        Op::Max(_) => plain("Max"),
        Op::And(_) => plain("And"),
        Op::Or(_) => plain("Or"),
        Op::Xor(_) => plain("Xor"),
        Op::BitAnd(_) => plain("BitwiseAnd"),
        Op::BitOr(_) => plain("BitwiseOr"),
        Op::BitXor(_) => plain("BitwiseXor"),
        Op::Equal(_) => plain("Equal"),
        Op::Less(_) => plain("Less"),
        Op::LessEqual(_) => plain("LessOrEqual"),
        Op::Greater(_) => plain("Greater"),
        Op::GreaterEqual(_) => plain("GreaterOrEqual"),
        Op::Select(_) => plain("Where"),
        Op::Cast(cast) => Some(("Cast", vec![int("to", i64::from(data_type(cast.dtype)))])),
        Op::Relu(_) => plain("Relu"),
        Op::Sigmoid(_) => plain("Sigmoid"),
        Op::HardSwish(_) => plain("HardSwish"),
        Op::Mish(_) => plain("Mish"),
        Op::Softplus(_) => plain("Softplus"),
        Op::Softsign(_) => plain("Softsign"),
        Op::LeakyRelu(op) => Some(("LeakyRelu", vec![float("alpha", op.alpha.0)])),
        Op::Elu(op) => Some(("Elu", vec![float("alpha", op.alpha.0)])),
        Op::Celu(op) => Some(("Celu", vec![float("alpha", op.alpha.0)])),
        Op::Selu(op) => Some(("Selu", vec![float("alpha", op.alpha.0), float("gamma", op.gamma.0)])),
        Op::HardSigmoid(op) => Some(("HardSigmoid", vec![float("alpha", op.alpha.0), float("beta", op.beta.0)])),
        Op::ThresholdedRelu(op) => Some(("ThresholdedRelu", vec![float("alpha", op.alpha.0)])),
        Op::Gelu(op) => {
            let approximate = match op.approximate {
                GeluKind::Erf => "none",
                GeluKind::Tanh => "tanh",
            };
            Some(("Gelu", vec![text("approximate", approximate)]))
        }
        // Other families', or made of these.
        _ => None,
    }
}

/// Writes the operator if it is one of these.
pub fn spell(w: &mut Writer, op: &Op, x: &[Operand], types: &[TensorType]) -> Spelled {
    if let Op::NotEqual(_) = op {
        let inputs = operands(w, x)?;
        let equal = w.node("Equal", &inputs, vec![]);
        return Ok(Some(w.results("Not", vec![equal], vec![], types)));
    }
    if let Op::Clip(_) = op {
        return w.plain("Clip", x, vec![], types);
    }
    let Some((name, attributes)) = spelling(op) else { return Ok(None) };
    let inputs = operands(w, x)?;
    Ok(Some(w.results(name, inputs, attributes, types)))
}

fn operands(w: &mut Writer, x: &[Operand]) -> Result<Vec<String>, kiln_ir::Diagnostic> {
    // One must have the whole shape: where none has it, the first is repeated to it.
    let whole = x.iter().position(|x| w.repeats(*x).is_none()).unwrap_or(0);
    let written = |w: &mut Writer, (at, x): (usize, &Operand)| {
        let source = w.repeats(*x).filter(|_| at != whole).unwrap_or(*x);
        w.name(source)
    };
    x.iter().enumerate().map(|x| written(w, x)).collect()
}
