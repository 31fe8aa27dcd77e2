//! Arrays: an element type, a shape and row-major bytes.

use crate::memory::AlignedBytes;
use half::{bf16, f16};
use kiln_ir::{DType, Diagnostic};

/// A row-major, little-endian array whose bytes are aligned for generated code.
pub struct Array {
    dtype: DType,
    shape: Vec<usize>,
    data: AlignedBytes,
}

impl Array {
    /// An array of zeros.
    ///
    /// Errors: `memory` when it cannot be allocated or its size overflows.
    pub fn zeroed(dtype: DType, shape: Vec<usize>) -> Result<Array, Diagnostic> {
        byte_size(dtype, &shape)
            .and_then(AlignedBytes::zeroed)
            .map(|data| Array { dtype, shape: shape.clone(), data })
            .ok_or_else(|| Diagnostic::new("memory", format!("no memory for an array {}", type_text(dtype, &shape))))
    }

    /// An array with these little-endian bytes, as many as dtype and shape ask for.
    ///
    /// Errors: `memory`; `array_bytes` when the number of bytes is another one.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Result<Array, Diagnostic> {
        let mut array = Array::zeroed(dtype, shape)?;
        if array.bytes().len() != bytes.len() {
            let message = format!("{} has {} bytes, got {}", array.type_text(), array.bytes().len(), bytes.len());
            return Err(Diagnostic::new("array_bytes", message));
        }
        array.bytes_mut().copy_from_slice(bytes);
        Ok(array)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if some axis has size 0.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Type and shape as the compiler prints them: `f32[2, 3]`.
    pub fn type_text(&self) -> String {
        type_text(self.dtype, &self.shape)
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data.as_slice()[..self.len() * self.dtype.size_bytes()]
    }

    /// The elements' bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len() * self.dtype.size_bytes();
        &mut self.data.as_mut_slice()[..len]
    }

    /// Address of the first element, for generated code that writes.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data.as_mut_ptr()
    }

    /// Gives the same memory another shape, if that has no more elements than the array was made with.
    pub(crate) fn reshape_within(&mut self, shape: &[usize]) -> bool {
        let fits = byte_size(self.dtype, shape).is_some_and(|bytes| bytes <= self.data.as_slice().len());
        if fits {
            self.shape.clear();
            self.shape.extend_from_slice(shape);
        }
        fits
    }

    /// Element `index` in row-major order as `f64`: see [`element`].
    pub fn get_f64(&self, index: usize) -> f64 {
        let size = self.dtype.size_bytes();
        element(self.dtype, &self.bytes()[index * size..(index + 1) * size])
    }

    /// Stores `value` at `index`: floats round to nearest even, integers round and saturate, `bool` is `value ≠ 0`.
    pub fn set_f64(&mut self, index: usize, value: f64) {
        let integer = value.round_ties_even();
        let raw = match self.dtype {
            DType::Bool => u64::from(value != 0.0),
            DType::U8 => u64::from(integer as u8),
            DType::U16 => u64::from(integer as u16),
            DType::U32 => u64::from(integer as u32),
            DType::U64 => integer as u64,
            DType::I8 => integer as i8 as u64,
            DType::I16 => integer as i16 as u64,
            DType::I32 => integer as i32 as u64,
            DType::I64 => integer as i64 as u64,
            DType::F16 => u64::from(f16::from_f64(value).to_bits()),
            DType::BF16 => u64::from(bf16::from_f64(value).to_bits()),
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F64 => value.to_bits(),
        };
        let size = self.dtype.size_bytes();
        self.bytes_mut()[index * size..(index + 1) * size].copy_from_slice(&raw.to_le_bytes()[..size]);
    }
}

/// The little-endian bytes of one element as `f64`: exact except for integers beyond 2⁵³. `bool` is 0 or 1.
pub(crate) fn element(dtype: DType, bytes: &[u8]) -> f64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let raw = u64::from_le_bytes(word);
    match dtype {
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => raw as f64,
        DType::I8 => f64::from(raw as i8),
        DType::I16 => f64::from(raw as i16),
        DType::I32 => f64::from(raw as i32),
        DType::I64 => raw as i64 as f64,
        DType::F16 => f16::from_bits(raw as u16).to_f64(),
        DType::BF16 => bf16::from_bits(raw as u16).to_f64(),
        DType::F32 => f64::from(f32::from_bits(raw as u32)),
        DType::F64 => f64::from_bits(raw),
    }
}

/// Bytes of an array; `None` on overflow. An axis of size 0 does not excuse others that overflow.
pub(crate) fn byte_size(dtype: DType, shape: &[usize]) -> Option<usize> {
    let bytes = shape.iter().try_fold(dtype.size_bytes(), |product, &n| product.checked_mul(n.max(1)));
    bytes.filter(|&bytes| isize::try_from(bytes).is_ok()).map(|bytes| if shape.contains(&0) { 0 } else { bytes })
}

/// `f32[2, 3]`
pub(crate) fn type_text(dtype: DType, shape: &[usize]) -> String {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{dtype}[{}]", axes.join(", "))
}

/// The first `wanted` of `items` along the first axis; an output without such an axis stays whole.
pub(crate) fn first_items(output: &Array, items: usize, wanted: usize) -> Result<Array, Diagnostic> {
    let mut shape = output.shape().to_vec();
    if shape.first() == Some(&items) && items > 0 {
        shape[0] = wanted.min(items);
    }
    let bytes = shape.iter().product::<usize>() * output.dtype().size_bytes();
    Array::from_bytes(output.dtype(), shape, &output.bytes()[..bytes])
}

/// Puts arrays one behind the other along the first axis; scalars become a list.
pub(crate) fn concatenate<'a>(arrays: impl Iterator<Item = &'a Array> + Clone) -> Result<Array, Diagnostic> {
    let mut items = 0;
    let mut first: Option<&Array> = None;
    for array in arrays.clone() {
        let same = first.is_none_or(|first| first.shape().get(1..) == array.shape().get(1..));
        if !same {
            let message = format!("outputs of different shapes do not go into one file: {:?}", array.shape());
            return Err(Diagnostic::new("output", message).help("run the samples one by one"));
        }
        first.get_or_insert(array);
        items += array.shape().first().copied().unwrap_or(1);
    }
    let Some(first) = first else {
        return Err(Diagnostic::new("output", "no outputs"));
    };
    let shape = [&[items], first.shape().get(1..).unwrap_or(&[])].concat();
    let bytes: Vec<u8> = arrays.flat_map(|array| array.bytes().iter().copied()).collect();
    Array::from_bytes(first.dtype(), shape, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_keeps_small_values() {
        for dtype in DType::ALL {
            let mut array = Array::zeroed(dtype, vec![2, 3]).expect("small");
            for index in 0..6 {
                array.set_f64(index, (index % 2) as f64);
            }
            let values: Vec<f64> = (0..6).map(|index| array.get_f64(index)).collect();
            assert_eq!(values, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0], "{dtype}");
            assert_eq!(array.bytes().len(), 6 * dtype.size_bytes());
        }
    }

    #[test]
    fn integers_saturate_and_keep_their_sign() {
        for (dtype, low, high) in [(DType::I8, -128.0, 127.0), (DType::U8, 0.0, 255.0), (DType::I32, -2147483648.0, 2147483647.0)] {
            let mut array = Array::zeroed(dtype, vec![2]).expect("small");
            array.set_f64(0, -1e30);
            array.set_f64(1, 1e30);
            assert_eq!((array.get_f64(0), array.get_f64(1)), (low, high), "{dtype}");
        }
    }

    #[test]
    fn hostile_shapes_are_errors() {
        assert!(Array::zeroed(DType::F32, vec![usize::MAX, 2]).is_err());
        assert!(Array::zeroed(DType::F32, vec![0, usize::MAX, usize::MAX]).is_err());
        assert!(Array::zeroed(DType::F64, vec![1 << 62]).is_err());
        assert_eq!(Array::zeroed(DType::F64, vec![]).expect("a scalar").len(), 1);
        assert!(Array::from_bytes(DType::F32, vec![2], &[0; 7]).is_err());
    }
}
