//! Plain row-major tensors: what the reference interpreter computes with and what constants hold.

use crate::{DType, Dim, TensorType};
use half::{bf16, f16};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Bytes somebody else owns: a vector, a mapped file.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A row-major tensor of little-endian elements. Cloning shares the bytes; a tensor may be a window of a mapped file.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    owner: Bytes,
    start: usize,
    size: usize,
}

impl Tensor {
    /// A tensor over `bytes[start..]`, which need not be aligned.
    ///
    /// Errors: a message when the shape overflows or the bytes end too early.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, owner: Bytes, start: usize) -> Result<Tensor, String> {
        let size = byte_size(dtype, &shape).ok_or_else(|| format!("shape {shape:?} of {dtype} overflows"))?;
        let available = (*owner).as_ref().len();
        match start.checked_add(size) {
            Some(end) if end <= available => Ok(Tensor { dtype, shape, owner, start, size }),
            _ => Err(format!("{dtype}{shape:?} needs {size} bytes from byte {start}, there are {available}")),
        }
    }

    /// A tensor owning its bytes. Panics when their number does not fit the shape: for callers that made both.
    pub fn from_vec(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Tensor {
        assert_eq!(byte_size(dtype, &shape), Some(bytes.len()), "bytes do not fit {dtype}{shape:?}");
        Tensor { dtype, shape, size: bytes.len(), owner: Arc::new(bytes), start: 0 }
    }

    /// Floating elements, rounded to `dtype` (nearest, ties to even); for integer types truncated and saturated, NaN gives 0.
    pub fn from_floats(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = f64>) -> Tensor {
        let mut bytes = Vec::new();
        for v in values {
            match dtype {
                DType::F16 => bytes.extend(f16::from_f32(to_odd_f32(v)).to_le_bytes()),
                DType::BF16 => bytes.extend(bf16::from_f32(to_odd_f32(v)).to_le_bytes()),
                DType::F32 => bytes.extend((v as f32).to_le_bytes()),
                DType::F64 => bytes.extend(v.to_le_bytes()),
                DType::Bool => bytes.push(u8::from(v != 0.0)),
                DType::U64 => bytes.extend((v as u64).to_le_bytes()),
                DType::I64 => bytes.extend((v as i64).to_le_bytes()),
                DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 => {
                    let (low, high) = dtype.int_range().unwrap_or((0, 0));
                    push_int(dtype, (v as i64 as i128).clamp(low, high), &mut bytes);
                }
            }
        }
        Tensor::from_vec(dtype, shape, bytes)
    }

    /// Integer elements, wrapped to `dtype`; for floating types converted with rounding.
    pub fn from_ints(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = i128>) -> Tensor {
        let mut bytes = Vec::new();
        if dtype == DType::F32 {
            // Not by way of f64, which would round twice.
            values.into_iter().for_each(|v| bytes.extend((v as f32).to_le_bytes()));
            return Tensor::from_vec(dtype, shape, bytes);
        }
        if dtype.is_float() {
            return Tensor::from_floats(dtype, shape, values.into_iter().map(|v| v as f64));
        }
        for v in values {
            push_int(dtype, v, &mut bytes);
        }
        Tensor::from_vec(dtype, shape, bytes)
    }

    /// Truth values.
    pub fn from_bools(shape: Vec<usize>, values: impl IntoIterator<Item = bool>) -> Tensor {
        Tensor::from_vec(DType::Bool, shape, values.into_iter().map(u8::from).collect())
    }

    /// An `f32` tensor.
    pub fn f32(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(DType::F32, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An `i64` tensor.
    pub fn i64(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::from_vec(DType::I64, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A scalar of any type, from a float.
    pub fn scalar(dtype: DType, value: f64) -> Tensor {
        Tensor::from_floats(dtype, Vec::new(), [value])
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.size / self.dtype.size_bytes()
    }

    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType { dtype: self.dtype, shape: self.shape.iter().map(|&d| Dim::from(d)).collect() }
    }

    /// The elements' bytes, little-endian, row-major.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.start..self.start + self.size]
    }

    /// The same elements under another shape of as many elements. Panics otherwise: for callers that checked.
    pub fn reshaped(&self, shape: Vec<usize>) -> Tensor {
        assert_eq!(byte_size(self.dtype, &shape), Some(self.size), "reshape of {:?} to {shape:?}", self.shape);
        Tensor { shape, ..self.clone() }
    }

    /// Elements as `f64`, whatever the type.
    pub fn floats(&self) -> Vec<f64> {
        let b = self.bytes();
        match self.dtype {
            DType::F32 => b.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect(),
            DType::F64 => b.chunks_exact(8).map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect(),
            DType::F16 => b.chunks_exact(2).map(|c| f16::from_le_bytes([c[0], c[1]]).to_f64()).collect(),
            DType::BF16 => b.chunks_exact(2).map(|c| bf16::from_le_bytes([c[0], c[1]]).to_f64()).collect(),
            _ => self.ints().into_iter().map(|v| v as f64).collect(),
        }
    }

    /// Elements as integers, whatever the type; floats are truncated and saturated to `i64`.
    pub fn ints(&self) -> Vec<i128> {
        let b = self.bytes();
        match self.dtype {
            DType::Bool => b.iter().map(|&v| i128::from(v != 0)).collect(),
            DType::U8 => b.iter().map(|&v| i128::from(v)).collect(),
            DType::I8 => b.iter().map(|&v| i128::from(v as i8)).collect(),
            DType::U16 => b.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]).into()).collect(),
            DType::I16 => b.chunks_exact(2).map(|c| i16::from_le_bytes([c[0], c[1]]).into()).collect(),
            DType::U32 => b.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]).into()).collect(),
            DType::I32 => b.chunks_exact(4).map(|c| i32::from_le_bytes([c[0], c[1], c[2], c[3]]).into()).collect(),
            DType::U64 => b.chunks_exact(8).map(|c| u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]).into()).collect(),
            DType::I64 => b.chunks_exact(8).map(|c| i64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]).into()).collect(),
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => self.floats().into_iter().map(|v| i128::from(v as i64)).collect(),
        }
    }

    /// Elements as truth values: everything but zero is true.
    pub fn bools(&self) -> Vec<bool> {
        if self.dtype.is_float() {
            self.floats().iter().map(|&v| v != 0.0).collect()
        } else {
            self.ints().iter().map(|&v| v != 0).collect()
        }
    }

    /// Splits a row-major position into an index per axis.
    pub fn index_of(&self, position: usize) -> Vec<usize> {
        unravel(position, &self.shape)
    }
}

/// Bytes of a tensor, if they do not overflow.
pub fn byte_size(dtype: DType, shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(dtype.size_bytes(), |n, &d| n.checked_mul(d)).filter(|&n| n <= isize::MAX as usize)
}

/// Splits a row-major position into an index per axis.
pub fn unravel(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &d) in shape.iter().enumerate().rev() {
        index[i] = position % d.max(1);
        position /= d.max(1);
    }
    index
}

/// The row-major position of an index.
pub fn ravel(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |p, (&i, &d)| p * d + i)
}

/// Every index of a shape in row-major order; one empty index for a scalar, none when an axis is empty.
pub fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.iter().product::<usize>()).map(|p| unravel(p, shape))
}

/// `v` as an f32 whose last bit says whether anything was cut off, so that rounding it on to 16 bits is the same as rounding `v`
/// itself once. (Rounding to the nearest f32 first could make a tie, or miss one.)
fn to_odd_f32(v: f64) -> f32 {
    let nearest = v as f32;
    let back = f64::from(nearest);
    if !v.is_finite() || back == v {
        return nearest;
    }
    let towards_zero = if back.abs() > v.abs() { f32::from_bits(nearest.to_bits() - 1) } else { nearest };
    f32::from_bits(towards_zero.to_bits() | 1)
}

fn push_int(dtype: DType, v: i128, bytes: &mut Vec<u8>) {
    match dtype {
        DType::Bool => bytes.push(u8::from(v != 0)),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => {
            unreachable!("integers are pushed as integers")
        }
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => {
            bytes.extend(&v.to_le_bytes()[..dtype.size_bytes()]);
        }
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && ((Arc::ptr_eq(&self.owner, &other.owner) && self.start == other.start) || self.bytes() == other.bytes())
    }
}

impl Eq for Tensor {}

/// Hashes type, size and the first bytes: enough to tell constants apart, cheap for large ones.
impl Hash for Tensor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.dtype.hash(state);
        self.shape.hash(state);
        self.bytes()[..self.size.min(256)].hash(state);
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.ty())?;
        let floats = self.floats();
        f.debug_list().entries(floats.iter().take(16)).finish()?;
        if floats.len() > 16 { write!(f, " … {} more", floats.len() - 16) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_are_rounded_once() {
        let round = |dtype, v: f64| Tensor::scalar(dtype, v).floats()[0];
        let tiny = 2f64.powi(-40);
        // Halfway between neighbours goes to the even one, a little more goes up, a little less down.
        for (dtype, step) in [(DType::F16, 2f64.powi(-10)), (DType::BF16, 2f64.powi(-7))] {
            assert_eq!(round(dtype, 1.0 + step / 2.0), 1.0);
            assert_eq!(round(dtype, 1.0 + step / 2.0 + tiny), 1.0 + step);
            assert_eq!(round(dtype, -1.0 - step / 2.0 - tiny), -1.0 - step);
            assert_eq!(round(dtype, 1.0 + 1.5 * step - tiny), 1.0 + step);
        }
        assert_eq!(round(DType::F16, 65520.0 - 1e-6), 65504.0);
        assert_eq!(round(DType::F16, 65520.0), f64::INFINITY);
        assert_eq!(round(DType::F16, 1e300), f64::INFINITY);
        assert_eq!(round(DType::BF16, 1e-300), 0.0);
        assert_eq!(round(DType::F16, 2f64.powi(-25) + 2f64.powi(-60)), 2f64.powi(-24));
        assert!(round(DType::F16, f64::NAN).is_nan());
    }

    #[test]
    fn large_integers_become_floats_by_one_rounding() {
        // Halfway between two f32 neighbours and one more: f64 would lose the one.
        let v = (1i128 << 62) + (1i128 << 38) + 1;
        assert_eq!(Tensor::from_ints(DType::F32, vec![], [v]).floats()[0], ((1i128 << 62) + (1i128 << 39)) as f64);
    }
}
