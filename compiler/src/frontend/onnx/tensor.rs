//! `TensorProto` → element type, sizes and little-endian bytes, without copying where the file already has them.

use super::external::ExternalFiles;
use super::proto::TensorProto;
use bytes::Bytes;
use kiln_ir::{DType, Diagnostic, Tensor};

/// A constant tensor: row-major little-endian elements, usually a slice of the mapped file.
///
/// The slice has whatever alignment the file gave it.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorData {
    /// Element type.
    pub dtype: DType,
    /// Sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// `shape.product() × dtype.size_bytes()` bytes.
    pub bytes: Bytes,
}

impl TensorData {
    /// Decodes a tensor.
    ///
    /// Errors: `onnx_dtype` (a type Kiln has not), `onnx_tensor_shape` (a negative or overflowing size),
    /// `onnx_tensor_data` (data that does not fit the shape), and those of [`ExternalFiles::slice`].
    pub fn decode(tensor: &TensorProto, files: &mut ExternalFiles) -> Result<Self, Diagnostic> {
        let place = || format!("tensor \"{}\"", tensor.name);
        let dtype = dtype(tensor.data_type).map_err(|d| d.at(place(), "declared here"))?;
        if tensor.segment.is_some() {
            return Err(
                Diagnostic::new("onnx_tensor_data", "segmented tensors are not supported").at(place(), "holds a part of a larger tensor")
            );
        }
        let (shape, elements) =
            checked_shape(&tensor.dims, dtype).map_err(|d| d.at(place(), format!("{}{:?}", dtype_name(tensor.data_type), tensor.dims)))?;
        let expected = elements * dtype.size_bytes();
        let bytes = if tensor.data_location == 1 {
            files.slice(tensor)?
        } else if !tensor.raw_data.is_empty() || elements == 0 {
            tensor.raw_data.clone()
        } else {
            typed_data(tensor, dtype, elements).map_err(|d| d.at(place(), "its data"))?
        };
        if bytes.len() != expected {
            return Err(Diagnostic::new("onnx_tensor_data", "a tensor's data does not fit its shape")
                .at(place(), format!("{dtype}{shape:?} takes {expected} bytes, there are {}", bytes.len()))
                .help("the model is damaged: export it again"));
        }
        Ok(TensorData { dtype, shape, bytes: normalised(dtype, bytes) })
    }

    /// The same as a tensor of the IR, sharing the bytes. Errors: `onnx_tensor_data`.
    pub fn to_tensor(&self) -> Result<Tensor, Diagnostic> {
        let owner = std::sync::Arc::new(self.bytes.clone());
        Tensor::from_bytes(self.dtype, self.shape.clone(), owner, 0).map_err(|e| Diagnostic::new("onnx_tensor_data", e))
    }

    /// The elements as integers, for `i64`, `i32` and the other integer types and `bool`; `None` for floating types.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let width = self.dtype.size_bytes();
        let signed = match self.dtype {
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => true,
            DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => false,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => return None,
        };
        let element = |chunk: &[u8]| {
            let negative = signed && chunk[width - 1] & 0x80 != 0;
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..width].copy_from_slice(chunk);
            i64::from_le_bytes(wide)
        };
        Some(self.bytes.chunks_exact(width).map(element).collect())
    }
}

/// `bool` is stored as 0 or 1; files may hold any non-zero byte.
fn normalised(dtype: DType, bytes: Bytes) -> Bytes {
    if dtype == DType::Bool && bytes.iter().any(|&b| b > 1) {
        return bytes.iter().map(|&b| u8::from(b != 0)).collect::<Vec<u8>>().into();
    }
    bytes
}

/// Sizes and number of elements of `dims`, with `elements × size` known to fit.
fn checked_shape(dims: &[i64], dtype: DType) -> Result<(Vec<usize>, usize), Diagnostic> {
    let negative = || Diagnostic::new("onnx_tensor_shape", "a constant has a negative size");
    let shape: Vec<usize> = dims.iter().map(|&d| usize::try_from(d).map_err(|_| negative())).collect::<Result<_, _>>()?;
    // A zero anywhere makes the product zero, however large the others are.
    let elements = if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) };
    match elements.filter(|n| n.checked_mul(dtype.size_bytes()).is_some_and(|b| b <= isize::MAX as usize)) {
        Some(elements) => Ok((shape, elements)),
        None => Err(Diagnostic::new("onnx_tensor_shape", "a constant is larger than memory can be")),
    }
}

/// Decodes `float_data`, `int32_data` and their kin.
fn typed_data(tensor: &TensorProto, dtype: DType, elements: usize) -> Result<Bytes, Diagnostic> {
    match dtype {
        DType::F32 => Ok(joined(&tensor.float_data)),
        DType::F64 => Ok(joined(&tensor.double_data)),
        DType::I64 => varints(&tensor.int64_data, 8, elements),
        DType::U64 => varints(&tensor.uint64_data, 8, elements),
        DType::U32 => varints(&tensor.uint64_data, 4, elements),
        DType::I32 => varints(&tensor.int32_data, 4, elements),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => varints(&tensor.int32_data, 2, elements),
        DType::Bool | DType::I8 | DType::U8 => varints(&tensor.int32_data, 1, elements),
    }
}

fn joined(runs: &[Bytes]) -> Bytes {
    match runs {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

/// Packed varints → their low `width` bytes each. A varint of `n` bytes gives at most `8n`.
fn varints(runs: &[Bytes], width: usize, elements: usize) -> Result<Bytes, Diagnostic> {
    let encoded: usize = runs.iter().map(Bytes::len).sum();
    if encoded < elements {
        return Err(Diagnostic::new("onnx_tensor_data", format!("{elements} elements are declared, {encoded} bytes of numbers are there")));
    }
    let mut out = Vec::with_capacity(elements * width);
    for run in runs {
        let mut rest: &[u8] = run;
        while !rest.is_empty() {
            let value = prost::encoding::decode_varint(&mut rest)
                .map_err(|e| Diagnostic::new("onnx_tensor_data", format!("a damaged number: {e}")))?;
            if out.len() == elements * width {
                return Err(Diagnostic::new("onnx_tensor_data", format!("there are more numbers than the {elements} declared")));
            }
            out.extend_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    Ok(out.into())
}

/// Kiln's type for a number of `TensorProto.DataType`.
///
/// Errors: `onnx_dtype`, naming the type.
pub fn dtype(data_type: i32) -> Result<DType, Diagnostic> {
    Ok(match data_type {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        other => {
            return Err(Diagnostic::new("onnx_dtype", format!("element type {} is not supported", dtype_name(other)))
                .help("supported: bool, int8-64, uint8-64, float16, bfloat16, float32, float64"));
        }
    })
}

/// The number of `TensorProto.DataType` for Kiln's type.
pub fn data_type(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::BF16 => 16,
    }
}

/// The name ONNX gives a `TensorProto.DataType`, in lower case.
pub fn dtype_name(data_type: i32) -> String {
    const NAMES: [&str; 29] = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
        "float8e8m0",
        "uint2",
        "int2",
        "float6e2m3",
        "float6e3m2",
    ];
    let known = usize::try_from(data_type).ok().and_then(|i| NAMES.get(i));
    known.map_or_else(|| format!("number {data_type}"), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(tensor: TensorProto) -> Result<TensorData, Diagnostic> {
        TensorData::decode(&tensor, &mut ExternalFiles::default())
    }

    fn int32_tensor(data_type: i32, encoded: &'static [u8], dims: &[i64]) -> TensorProto {
        TensorProto { data_type, dims: dims.to_vec(), int32_data: vec![Bytes::from_static(encoded)], ..Default::default() }
    }

    #[test]
    fn raw_data_is_not_copied() {
        let raw = Bytes::from(vec![0u8; 24]);
        let tensor = TensorProto { dims: vec![2, 3], data_type: 1, raw_data: raw.clone(), ..Default::default() };
        let data = decode(tensor).expect("valid");
        assert_eq!((data.dtype, &data.shape[..]), (DType::F32, &[2, 3][..]));
        assert_eq!(data.bytes.as_ptr(), raw.as_ptr());
    }

    #[test]
    fn small_types_come_packed_in_int32_data() {
        // −1 as a ten-byte varint, then 5.
        let minus_one_five = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x05";
        let i8s = decode(int32_tensor(3, minus_one_five, &[2])).expect("int8");
        assert_eq!(i8s.to_i64(), Some(vec![-1, 5]));
        let i16s = decode(int32_tensor(5, minus_one_five, &[2])).expect("int16");
        assert_eq!(i16s.bytes, &[0xff, 0xff, 5, 0][..]);
        // 0x3c00 is 1.0 in float16: varint 80 78.
        let f16 = decode(int32_tensor(10, b"\x80\x78", &[1])).expect("float16");
        assert_eq!(f16.bytes, &[0x00, 0x3c][..]);
        let bools = decode(int32_tensor(9, b"\x00\x02\x01", &[3])).expect("bool");
        assert_eq!(bools.bytes, &[0, 1, 1][..]);
    }

    #[test]
    fn zero_sized_tensors_need_no_data() {
        let empty = TensorProto { dims: vec![0, 1 << 62, 4], data_type: 1, ..Default::default() };
        assert!(decode(empty).expect("empty").bytes.is_empty());
    }

    #[test]
    fn hostile_sizes_and_types_are_refused() {
        let code = |t: TensorProto| decode(t).expect_err("must be refused").code;
        let sized =
            |dims: &[i64]| TensorProto { dims: dims.to_vec(), data_type: 1, raw_data: Bytes::from_static(&[0; 4]), ..Default::default() };
        assert_eq!(code(sized(&[-1])), "onnx_tensor_shape");
        assert_eq!(code(sized(&[i64::MAX, i64::MAX])), "onnx_tensor_shape");
        assert_eq!(code(sized(&[1 << 61])), "onnx_tensor_shape");
        assert_eq!(code(sized(&[1 << 40])), "onnx_tensor_data");
        assert_eq!(code(sized(&[2])), "onnx_tensor_data");
        assert_eq!(code(int32_tensor(6, b"\x01", &[1 << 50])), "onnx_tensor_data");
        assert_eq!(code(int32_tensor(6, b"\x01\x02\x03", &[2])), "onnx_tensor_data");
        assert_eq!(code(int32_tensor(6, b"\x01\xff", &[2])), "onnx_tensor_data");
        assert_eq!(code(TensorProto { data_type: 8, ..Default::default() }), "onnx_dtype");
        assert_eq!(code(TensorProto { data_type: 22, ..Default::default() }), "onnx_dtype");
        assert_eq!(code(TensorProto { data_type: -7, ..Default::default() }), "onnx_dtype");
    }
}
