//! Shape arithmetic on dims: what a shape tensor contains is worked out here, so that a dynamic `Reshape` or `Slice` gets
//! symbolic sizes instead of waiting for the run.
//!
//! ```text
//! Shape(x: f32[n, 3, h, w]) → [n, 3, h, w];  Gather 0 → n;  Concat with [-1] → [n, -1];  Reshape → f32[n, 3*h*w]
//! ```
//!
//! Numbers wrap as the element type does while they are constants; dims of symbols are sizes and do not overflow.

use super::attributes::Attributes;
use super::operand::{KnownInts, MAX_KNOWN_ELEMENTS};
use kiln_ir::{DType, Diagnostic, Dim, Proof, Ranges, TensorType};

/// One node, as far as shape arithmetic is concerned.
pub struct ShapeNode<'a> {
    /// The operator, of the standard domain.
    pub op_type: &'a str,
    /// Version of its operator set.
    pub opset: i64,
    /// Its attributes.
    pub attributes: &'a Attributes<'a>,
    /// Types of its operands; `None` where one is left out.
    pub types: Vec<Option<TensorType>>,
    /// Their contents, where known.
    pub known: Vec<Option<KnownInts>>,
    /// What is known of the symbols.
    pub ranges: &'a Ranges,
}

impl ShapeNode<'_> {
    /// The contents of the node's results; `None` when they must be computed at run time.
    ///
    /// Errors: those of reading attributes. Wrong operands are left for the importer to report.
    pub fn evaluate(&self) -> Result<Option<Vec<KnownInts>>, Diagnostic> {
        let result = match self.op_type {
            "Shape" => self.shape()?,
            "Size" => self.ty(0).map(|ty| KnownInts::scalar(ty.elements())),
            "Identity" => self.known(0).cloned(),
            "Cast" => self.cast()?,
            "Gather" => self.gather()?,
            "Slice" => self.slice()?,
            "Concat" => self.concat(),
            "Squeeze" => self.squeeze()?,
            "Unsqueeze" => self.unsqueeze()?,
            "Reshape" => self.reshape(),
            "Split" => return self.split(),
            "ConstantOfShape" | "Expand" => self.expand()?,
            "Range" => self.range(),
            "Where" => self.select(),
            "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" => self.arithmetic()?,
            "Neg" => self.map(|d| Some(Dim::ZERO - d)),
            "Abs" => self.map(|d| if self.ranges.range(d).min >= 0 { Some(d.clone()) } else { d.as_const()?.checked_abs().map(Dim::from) }),
            "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => self.compare(),
            "And" | "Or" | "Xor" | "Not" => self.logic(),
            "ReduceProd" | "ReduceSum" => self.reduce()?,
            _ => None,
        };
        Ok(result.filter(|k| k.elements.len() <= MAX_KNOWN_ELEMENTS && k.is_simple()).map(|k| vec![k]))
    }

    fn known(&self, i: usize) -> Option<&KnownInts> {
        self.known.get(i)?.as_ref()
    }

    fn ty(&self, i: usize) -> Option<&TensorType> {
        self.types.get(i)?.as_ref()
    }

    fn constants(&self, i: usize) -> Option<Vec<i64>> {
        self.known(i)?.constants()
    }

    fn shape(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let Some(ty) = self.ty(0) else { return Ok(None) };
        let rank = ty.rank() as i64;
        let clamp = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
        let (start, end) = (clamp(self.attributes.int_or("start", 0)?), clamp(self.attributes.int_or("end", rank)?));
        Ok(Some(KnownInts::vector(ty.shape.get(start..end.max(start)).unwrap_or_default().to_vec())))
    }

    fn cast(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let dtype = self.attributes.int("to")?.and_then(|to| super::tensor::dtype(i32::try_from(to).ok()?).ok());
        self.attributes.ignore(&["saturate", "round_mode"]);
        let (Some(dtype), Some(x)) = (dtype.filter(|d| !d.is_float()), self.known(0)) else { return Ok(None) };
        let convert = |d: &Dim| match (d.as_const(), dtype) {
            (Some(c), DType::Bool) => Some(Dim::from(i64::from(c != 0))),
            (Some(c), _) => Some(Dim::from(wrapped(c, dtype))),
            // Sizes fit 32 bits or the tensor could not exist; smaller types may truncate.
            (None, DType::I64 | DType::I32 | DType::U64 | DType::U32) => Some(d.clone()),
            (None, _) => None,
        };
        let elements: Option<Vec<Dim>> = x.elements.iter().map(convert).collect();
        Ok(elements.map(|elements| KnownInts { dtype, shape: x.shape.clone(), elements }))
    }

    fn gather(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let axis = self.attributes.int_or("axis", 0)?;
        let (Some(x), Some(indices), Some(positions)) = (self.known(0), self.known(1), self.constants(1)) else { return Ok(None) };
        if x.shape.len() != 1 || !matches!(axis, 0 | -1) {
            return Ok(None);
        }
        let n = x.elements.len() as i64;
        let pick = |&i: &i64| x.elements.get(usize::try_from(if i < 0 { i.checked_add(n)? } else { i }).ok()?).cloned();
        let elements: Option<Vec<Dim>> = positions.iter().map(pick).collect();
        Ok(elements.map(|elements| KnownInts { dtype: x.dtype, shape: indices.shape.clone(), elements }))
    }

    fn slice(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let (starts, ends, axes, steps);
        if self.opset < 10 {
            starts = self.attributes.ints("starts")?.map(<[i64]>::to_vec);
            ends = self.attributes.ints("ends")?.map(<[i64]>::to_vec);
            axes = self.attributes.ints("axes")?.map(<[i64]>::to_vec);
            steps = None;
        } else {
            (starts, ends, axes, steps) = (self.constants(1), self.constants(2), self.constants(3), self.constants(4));
        }
        let (Some(x), Some([start]), Some([end])) = (self.known(0), starts.as_deref(), ends.as_deref()) else { return Ok(None) };
        let unknown_operand = |i: usize, read: &Option<Vec<i64>>| self.opset >= 10 && read.is_none() && self.ty(i).is_some();
        if x.shape.len() != 1 || unknown_operand(3, &axes) || unknown_operand(4, &steps) {
            return Ok(None);
        }
        if !matches!(axes.as_deref(), None | Some([0] | [-1])) {
            return Ok(None);
        }
        let step = match steps.as_deref() {
            None => 1,
            Some(&[s]) if s != 0 => s,
            Some(_) => return Ok(None),
        };
        let n = x.elements.len() as i64;
        let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let (mut at, end) = (wrap(*start).clamp(low.max(0), high), wrap(*end).clamp(low, high));
        let mut elements = Vec::new();
        while if step > 0 { at < end } else { at > end } {
            elements.push(x.elements[at as usize].clone());
            at = at.saturating_add(step);
        }
        Ok(Some(KnownInts { dtype: x.dtype, shape: vec![elements.len()], elements }))
    }

    fn concat(&self) -> Option<KnownInts> {
        // The axis of vectors can only be 0.
        self.attributes.ignore(&["axis"]);
        let first = self.known(0)?;
        let mut elements = Vec::new();
        for part in &self.known {
            let part = part.as_ref().filter(|p| p.shape.len() == 1 && p.dtype == first.dtype)?;
            elements.extend(part.elements.iter().cloned());
        }
        Some(KnownInts { dtype: first.dtype, shape: vec![elements.len()], elements })
    }

    /// `axes`, an attribute before opset 13 and an operand since.
    fn axes(&self) -> Result<Option<Vec<i64>>, Diagnostic> {
        if self.opset < 13 { Ok(self.attributes.ints("axes")?.map(<[i64]>::to_vec)) } else { Ok(self.constants(1)) }
    }

    fn squeeze(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let axes = self.axes()?;
        let Some(x) = self.known(0) else { return Ok(None) };
        if axes.is_none() && self.ty(1).is_some() {
            return Ok(None);
        }
        let rank = x.shape.len() as i64;
        let drop = |axis: usize| match &axes {
            None => x.shape[axis] == 1,
            Some(axes) => axes.iter().any(|&a| a == axis as i64 || a.checked_add(rank) == Some(axis as i64)),
        };
        let shape: Vec<usize> = (0..x.shape.len()).filter(|&a| !drop(a)).map(|a| x.shape[a]).collect();
        Ok(reshaped(x, shape))
    }

    fn unsqueeze(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let axes = self.axes()?;
        let (Some(x), Some(axes)) = (self.known(0), axes) else { return Ok(None) };
        let rank = (x.shape.len() + axes.len()) as i64;
        let mut axes: Vec<i64> = axes.into_iter().map(|a| if a < 0 { a.saturating_add(rank) } else { a }).collect();
        axes.sort_unstable();
        let mut shape = x.shape.clone();
        for axis in axes {
            match usize::try_from(axis) {
                Ok(axis) if axis <= shape.len() => shape.insert(axis, 1),
                _ => return Ok(None),
            }
        }
        Ok(reshaped(x, shape))
    }

    fn reshape(&self) -> Option<KnownInts> {
        self.attributes.ignore(&["allowzero"]);
        let (x, target) = (self.known(0)?, self.constants(1)?);
        let total = x.elements.len();
        let known: i64 = target.iter().filter(|&&d| d != -1).try_fold(1i64, |n, &d| n.checked_mul(d))?;
        let size = |&d: &i64| usize::try_from(if d == -1 { (total as i64).checked_div(known)? } else { d }).ok().filter(|&d| d > 0);
        let shape: Option<Vec<usize>> = target.iter().map(size).collect();
        reshaped(x, shape?)
    }

    fn split(&self) -> Result<Option<Vec<KnownInts>>, Diagnostic> {
        let sizes = if self.opset < 13 { self.attributes.ints("split")?.map(<[i64]>::to_vec) } else { self.constants(1) };
        let (Some(x), Some(sizes)) = (self.known(0), sizes) else { return Ok(None) };
        self.attributes.ignore(&["axis", "num_outputs"]);
        let total = sizes.iter().try_fold(0i64, |n, &s| n.checked_add(s).filter(|_| s >= 0));
        if x.shape.len() != 1 || total != Some(x.elements.len() as i64) {
            return Ok(None);
        }
        let mut rest = x.elements.as_slice();
        let parts = sizes.iter().map(|&size| {
            let (part, left) = rest.split_at(size as usize);
            rest = left;
            KnownInts { dtype: x.dtype, shape: vec![part.len()], elements: part.to_vec() }
        });
        Ok(Some(parts.collect()))
    }

    fn expand(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let fill = self.op_type == "ConstantOfShape";
        let target = self.constants(usize::from(!fill));
        let x = if fill {
            match self.attributes.tensor("value")? {
                Some(proto) => {
                    let data = super::tensor::TensorData::decode(proto, &mut super::external::ExternalFiles::default())?;
                    data.to_tensor().ok().as_ref().and_then(KnownInts::from_tensor)
                }
                // The default is a float zero.
                None => None,
            }
        } else {
            self.known(0).cloned()
        };
        let (Some(target), Some(x)) = (target, x) else { return Ok(None) };
        let target: Option<Vec<usize>> = target.into_iter().map(|d| usize::try_from(d).ok()).collect();
        let shape = target.and_then(|t| if fill { Some(t) } else { broadcast_shape(&x.shape, &t) });
        let Some(shape) = shape else { return Ok(None) };
        let x = KnownInts { shape: if fill { Vec::new() } else { x.shape.clone() }, ..x };
        Ok(broadcast_to(&x, &shape))
    }

    fn range(&self) -> Option<KnownInts> {
        let (start, limit, delta) = (self.known(0)?, self.known(1)?, self.known(2)?);
        let number = |k: &KnownInts| if k.elements.len() == 1 { k.elements[0].as_const() } else { None };
        let (mut at, limit, delta) = (number(start)?, number(limit)?, number(delta)?);
        let mut elements = Vec::new();
        while delta != 0 && if delta > 0 { at < limit } else { at > limit } {
            if elements.len() > MAX_KNOWN_ELEMENTS {
                return None;
            }
            elements.push(Dim::from(at));
            at = at.checked_add(delta)?;
        }
        Some(KnownInts { dtype: start.dtype, shape: vec![elements.len()], elements })
    }

    fn select(&self) -> Option<KnownInts> {
        let (condition, a, b) = (self.known(0)?, self.known(1)?, self.known(2)?);
        let shape = broadcast_shape(&broadcast_shape(&condition.shape, &a.shape)?, &b.shape)?;
        let (condition, a, b) = (broadcast_to(condition, &shape)?, broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
        let choices = condition.constants()?;
        let pick = |i: usize| if choices[i] != 0 { a.elements[i].clone() } else { b.elements[i].clone() };
        Some(KnownInts { dtype: a.dtype, elements: (0..choices.len()).map(pick).collect(), shape })
    }

    fn arithmetic(&self) -> Result<Option<KnownInts>, Diagnostic> {
        let fmod = self.op_type == "Mod" && self.attributes.int_or("fmod", 0)? != 0;
        let mut operands = self.known.iter();
        let Some(Some(first)) = operands.next() else { return Ok(None) };
        let mut result = first.clone();
        for operand in operands {
            let Some(operand) = operand else { return Ok(None) };
            let combined = self.zip(&result, operand, |a, b, dtype| match (a.as_const(), b.as_const()) {
                (Some(a), Some(b)) => number(self.op_type, a, b, fmod).map(|c| Dim::from(wrapped(c, dtype))),
                _ => self.dim(a, b),
            });
            match combined {
                Some(combined) => result = KnownInts { dtype: first.dtype, ..combined },
                None => return Ok(None),
            }
        }
        Ok(Some(result))
    }

    fn dim(&self, a: &Dim, b: &Dim) -> Option<Dim> {
        // ONNX divides toward zero, dims toward minus infinity: the same for sizes.
        let sizes = || self.ranges.range(a).min >= 0 && self.ranges.range(b).min > 0;
        match self.op_type {
            "Add" => Some(a + b),
            "Sub" => Some(a - b),
            "Mul" => Some(a * b),
            "Div" if sizes() || (b.as_const().is_some_and(|b| b > 0) && self.ranges.range(a).min >= 0) => Some(a.floor_div(b)),
            "Mod" if sizes() => Some(a.modulo(b)),
            "Min" => Some(Dim::minimum(a, b)),
            "Max" => Some(Dim::maximum(a, b)),
            _ => None,
        }
        .map(|d| d.simplify(self.ranges))
    }

    fn compare(&self) -> Option<KnownInts> {
        let decided = |proof: Proof| match proof {
            Proof::Yes => Some(true),
            Proof::No => Some(false),
            Proof::Unknown => None,
        };
        let result = self.zip(self.known(0)?, self.known(1)?, |a, b, _| {
            let at_most = |a: &Dim, b: &Dim| decided(self.ranges.at_most(a, b));
            let truth = match self.op_type {
                "Equal" => decided(self.ranges.provably_equal(a, b)),
                "LessOrEqual" => at_most(a, b),
                "GreaterOrEqual" => at_most(b, a),
                "Less" => at_most(b, a).map(|t| !t),
                _ => at_most(a, b).map(|t| !t),
            };
            truth.map(|t| Dim::from(i64::from(t)))
        });
        result.map(|k| KnownInts { dtype: DType::Bool, ..k })
    }

    fn logic(&self) -> Option<KnownInts> {
        if self.op_type == "Not" {
            return self.map(|d| d.as_const().map(|c| Dim::from(i64::from(c == 0))));
        }
        self.zip(self.known(0)?, self.known(1)?, |a, b, _| {
            let (a, b) = (a.as_const()? != 0, b.as_const()? != 0);
            let truth = match self.op_type {
                "And" => a && b,
                "Or" => a || b,
                _ => a != b,
            };
            Some(Dim::from(i64::from(truth)))
        })
    }

    fn reduce(&self) -> Result<Option<KnownInts>, Diagnostic> {
        // Only the reduction of a whole vector or scalar: what element counts are made of.
        let keep = self.attributes.int_or("keepdims", 1)? != 0;
        self.attributes.ignore(&["axes", "noop_with_empty_axes"]);
        let Some(x) = self.known(0).filter(|x| x.shape.len() == 1) else { return Ok(None) };
        if self.attributes.int_or("noop_with_empty_axes", 0)? != 0 || (self.ty(1).is_some() && self.constants(1).is_none()) {
            return Ok(None);
        }
        let element = if self.op_type == "ReduceProd" { Dim::product(&x.elements) } else { Dim::sum(&x.elements) };
        Ok(Some(KnownInts { dtype: x.dtype, shape: if keep { vec![1] } else { vec![] }, elements: vec![element] }))
    }

    fn map(&self, f: impl Fn(&Dim) -> Option<Dim>) -> Option<KnownInts> {
        let x = self.known(0)?;
        let elements: Option<Vec<Dim>> = x.elements.iter().map(f).collect();
        Some(KnownInts { dtype: x.dtype, shape: x.shape.clone(), elements: elements? })
    }

    fn zip(&self, a: &KnownInts, b: &KnownInts, f: impl Fn(&Dim, &Dim, DType) -> Option<Dim>) -> Option<KnownInts> {
        let shape = broadcast_shape(&a.shape, &b.shape)?;
        let (left, right) = (broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
        let elements: Option<Vec<Dim>> = left.elements.iter().zip(&right.elements).map(|(x, y)| f(x, y, a.dtype)).collect();
        Some(KnownInts { dtype: a.dtype, shape, elements: elements? })
    }
}

/// Integer arithmetic as ONNX defines it, before wrapping to the element type; `None` for a division by zero.
fn number(op_type: &str, a: i64, b: i64, fmod: bool) -> Option<i64> {
    match op_type {
        "Add" => Some(a.wrapping_add(b)),
        "Sub" => Some(a.wrapping_sub(b)),
        "Mul" => Some(a.wrapping_mul(b)),
        "Div" if b != 0 => Some(a.wrapping_div(b)),
        // The remainder has the sign of the divisor, as in Python, unless `fmod` asks for C's.
        "Mod" if b != 0 && fmod => Some(a.wrapping_rem(b)),
        "Mod" if b != 0 => Some(a.wrapping_rem(b).wrapping_add(b).wrapping_rem(b)),
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        _ => None,
    }
}

/// The value wrapped into an integer type.
fn wrapped(value: i64, dtype: DType) -> i64 {
    match dtype {
        DType::Bool => i64::from(value != 0),
        DType::I8 => i64::from(value as i8),
        DType::U8 => i64::from(value as u8),
        DType::I16 => i64::from(value as i16),
        DType::U16 => i64::from(value as u16),
        DType::I32 => i64::from(value as i32),
        DType::U32 => i64::from(value as u32),
        DType::I64 | DType::U64 | DType::F16 | DType::BF16 | DType::F32 | DType::F64 => value,
    }
}

fn reshaped(x: &KnownInts, shape: Vec<usize>) -> Option<KnownInts> {
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    (elements == x.elements.len()).then(|| KnownInts { dtype: x.dtype, shape, elements: x.elements.clone() })
}

fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| if axis + shape.len() < rank { 1 } else { shape[axis + shape.len() - rank] };
    let shape = (0..rank).map(|axis| match (size(a, axis), size(b, axis)) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    });
    shape.collect()
}

fn broadcast_to(x: &KnownInts, shape: &[usize]) -> Option<KnownInts> {
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_KNOWN_ELEMENTS)?;
    let new = shape.len().checked_sub(x.shape.len())?;
    let from = |position: usize| {
        let index = kiln_ir::tensor::unravel(position, shape);
        let clipped: Vec<usize> = index[new..].iter().zip(&x.shape).map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
        x.elements[kiln_ir::tensor::ravel(&clipped, &x.shape)].clone()
    };
    Some(KnownInts { dtype: x.dtype, shape: shape.to_vec(), elements: (0..elements).map(from).collect() })
}

#[cfg(test)]
mod tests {
    use super::super::proto::{AttributeProto, NodeProto, attribute_type};
    use super::*;

    fn evaluate(op_type: &str, attributes: &[(&str, i64)], known: Vec<KnownInts>) -> Option<Vec<Dim>> {
        let attribute = |&(name, i): &(&str, i64)| AttributeProto { name: name.into(), kind: attribute_type::INT, i, ..Default::default() };
        let proto = NodeProto { op_type: op_type.into(), attribute: attributes.iter().map(attribute).collect(), ..Default::default() };
        let attributes = Attributes::new(&proto).expect("valid");
        let node = ShapeNode {
            op_type,
            opset: 17,
            attributes: &attributes,
            types: known.iter().map(|k| Some(k.ty())).collect(),
            known: known.into_iter().map(Some).collect(),
            ranges: &Ranges::default(),
        };
        node.evaluate().expect("valid").map(|results| results[0].elements.clone())
    }

    fn ints(values: &[i64]) -> KnownInts {
        KnownInts::vector(values.iter().map(|&v| Dim::from(v)).collect())
    }

    #[test]
    fn a_flattened_size_is_a_product_of_symbols() {
        let n = Dim::symbol("n");
        let shape = KnownInts::vector(vec![n.clone(), Dim::from(3), Dim::from(8)]);
        assert_eq!(evaluate("Gather", &[("axis", 0)], vec![shape.clone(), ints(&[-3])]), Some(vec![n.clone()]));
        assert_eq!(evaluate("ReduceProd", &[("keepdims", 0)], vec![shape.clone()]), Some(vec![&n * Dim::from(24)]));
        assert_eq!(evaluate("Slice", &[], vec![shape.clone(), ints(&[1]), ints(&[i64::MAX])]), Some(vec![Dim::from(3), Dim::from(8)]));
        assert_eq!(evaluate("Div", &[], vec![shape, ints(&[2])]).map(|d| d[0].clone()), Some(n.floor_div(&Dim::from(2))));
    }

    #[test]
    fn numbers_wrap_and_truncate_toward_zero() {
        assert_eq!(evaluate("Div", &[], vec![ints(&[-7]), ints(&[2])]), Some(vec![Dim::from(-3)]));
        assert_eq!(evaluate("Mod", &[], vec![ints(&[-7]), ints(&[3])]), Some(vec![Dim::from(2)]));
        assert_eq!(evaluate("Add", &[], vec![ints(&[i64::MAX]), ints(&[1])]), Some(vec![Dim::from(i64::MIN)]));
        assert_eq!(evaluate("Div", &[], vec![ints(&[1]), ints(&[0])]), None);
    }

    #[test]
    fn what_depends_on_the_run_stays_unknown() {
        let n = KnownInts::vector(vec![Dim::symbol("n")]);
        assert_eq!(evaluate("Equal", &[], vec![n.clone(), ints(&[-1])]), Some(vec![Dim::ZERO]));
        assert_eq!(evaluate("Equal", &[], vec![n.clone(), ints(&[4])]), None);
        assert_eq!(evaluate("Range", &[], vec![ints(&[0]), ints(&[1 << 40]), ints(&[1])]), None);
        assert_eq!(evaluate("Expand", &[], vec![n, ints(&[1 << 31, 1 << 33])]), None);
    }

    #[test]
    fn growing_polynomials_are_dropped() {
        let mut x = KnownInts::vector(vec![Dim::symbol("n") + Dim::symbol("m")]);
        for _ in 0..40 {
            match evaluate("Mul", &[], vec![x.clone(), x.clone()]) {
                Some(elements) => x = KnownInts::vector(elements),
                None => return,
            }
        }
        panic!("the polynomial was allowed to grow");
    }
}
