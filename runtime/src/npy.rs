//! `.npy`: one array in a file.   Source: NumPy, "NEP 1 — A Simple File Format for NumPy Arrays", versions 1.0 to 3.0.
//!
//! Big-endian and Fortran-ordered arrays are converted. `bfloat16` has no NumPy name: as ml_dtypes does, it travels as
//! two opaque bytes (`V2`). Complex numbers, text, dates, records and objects are refused by name.

use crate::arrays::{Array, byte_size};
use kiln_ir::DType;
use std::io::{self, Read};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// A header longer than this describes a record type, which is refused anyway.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// What a `.npy` header says.
struct Header {
    dtype: DType,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Where an array's elements lie in its file, row-major and little-endian.
pub struct Place {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Bytes before the first element.
    pub at: u64,
}

/// Finds the elements of an array that needs no conversion to be used where it lies; `None` if it does. `available` is how many bytes
/// the source has.
///
/// Errors: as [`read`].
pub fn place(mut source: impl Read, available: u64) -> Result<Option<Place>, String> {
    let (Header { dtype, big_endian, fortran_order, shape }, at) = read_header(&mut source)?;
    if byte_size(dtype, &shape).is_none_or(|bytes| bytes as u64 > available.saturating_sub(at)) {
        return Err(truncated(&shape));
    }
    let as_it_is = !big_endian && dtype != DType::Bool && (!fortran_order || shape.len() < 2);
    Ok(as_it_is.then_some(Place { dtype, shape, at }))
}

/// Reads an array. `available` is how many bytes the source has at most, so that a false header cannot make us allocate more.
///
/// Errors: a text that says what is wrong with the file.
pub fn read(mut source: impl Read, available: u64) -> Result<Array, String> {
    let (header, _) = read_header(&mut source)?;
    let bytes = byte_size(header.dtype, &header.shape).filter(|&bytes| bytes as u64 <= available);
    let bytes = bytes.ok_or_else(|| truncated(&header.shape))?;
    let mut array = Array::zeroed(header.dtype, header.shape.clone()).map_err(|error| error.message)?;
    debug_assert_eq!(array.bytes().len(), bytes);
    fill(&mut source, array.bytes_mut())?;
    if header.big_endian {
        array.bytes_mut().chunks_exact_mut(header.dtype.size_bytes()).for_each(<[u8]>::reverse);
    }
    if header.dtype == DType::Bool {
        // Any other value than 0 and 1 is nothing that generated code expects in a bool.
        array.bytes_mut().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    if header.fortran_order && header.shape.len() > 1 {
        array = to_row_major(&array)?;
    }
    Ok(array)
}

fn truncated(shape: &[usize]) -> String {
    format!("truncated: its header promises shape {shape:?}, more than the file holds")
}

/// What stands before the elements, and how many bytes that is.
fn read_header(source: &mut impl Read) -> Result<(Header, u64), String> {
    let mut head = [0; 8];
    fill(source, &mut head)?;
    if &head[..6] != MAGIC {
        return Err("not a .npy array: it does not begin with \\x93NUMPY".to_owned());
    }
    let (header_bytes, before) = if head[6] == 1 {
        let mut length = [0; 2];
        fill(source, &mut length)?;
        (usize::from(u16::from_le_bytes(length)), 10)
    } else if head[6] <= 3 {
        let mut length = [0; 4];
        fill(source, &mut length)?;
        (u32::from_le_bytes(length) as usize, 12)
    } else {
        return Err(format!(".npy version {}.{} is not known (1.0 to 3.0 are)", head[6], head[7]));
    };
    if header_bytes > MAX_HEADER_BYTES {
        return Err(format!("a .npy header of {header_bytes} bytes: record types are not supported"));
    }
    let mut text = vec![0; header_bytes];
    fill(source, &mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| "the .npy header is not text".to_owned())?;
    Ok((parse_header(text)?, before + header_bytes as u64))
}

/// The bytes that stand before an array's data in a `.npy` 1.0 file, padded to a multiple of 64 as NumPy does.
///
/// Errors: when the shape is too long for this version.
pub fn header(array: &Array) -> io::Result<Vec<u8>> {
    let axes: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    let comma = if axes.len() == 1 { "," } else { "" };
    let descr = descr_of(array.dtype());
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", axes.join(", "));
    let text_bytes = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let length = u16::try_from(text_bytes).map_err(|_| io::Error::other("a shape too long for .npy"))?;
    let mut header = [MAGIC.as_slice(), &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat();
    header.resize(10 + text_bytes - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

fn fill(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), String> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "truncated: it ends before its data do".to_owned(),
        _ => error.to_string(),
    })
}

/// NumPy's name of an element type, little-endian.
fn descr_of(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::U16 => "<u2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I64 => "<i8",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::BF16 => "|V2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
    }
}

/// Element type and byte order (true = big-endian) of a NumPy name such as `<f4`.
fn parse_descr(descr: &str) -> Result<(DType, bool), String> {
    let (order, name) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => descr.split_at(1),
        _ => ("=", descr),
    };
    let big_endian = order == ">" || order == "=" && cfg!(target_endian = "big");
    let dtype = match name {
        "bfloat16" => Some(DType::BF16),
        _ => DType::ALL.into_iter().find(|&dtype| descr_of(dtype)[1..] == *name),
    };
    if let Some(dtype) = dtype {
        return Ok((dtype, big_endian && dtype.size_bytes() > 1));
    }
    let kind = match name.as_bytes().first() {
        Some(b'c') => "complex numbers",
        Some(b'S' | b'U' | b'a') => "text",
        Some(b'O') => "Python objects",
        Some(b'M' | b'm') => "dates and times",
        Some(b'f') => "floats of this size",
        _ => "this element type",
    };
    Err(format!("dtype '{descr}': {kind} are not supported; convert with .astype()"))
}

/// Parses the Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_header(text: &str) -> Result<Header, String> {
    let bad = |what: &str| format!("a .npy header with {what}: {}", text.trim());
    let body = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(|| bad("no dictionary"))?;
    let (mut dtype, mut fortran_order, mut shape) = (None, None, None);
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(|| bad("a strange key"))?;
        rest = after.trim_start().strip_prefix(':').ok_or_else(|| bad("a key without a value"))?.trim_start();
        let after = match key {
            "descr" => {
                let (descr, after) = quoted(rest).ok_or_else(|| bad("a record type, which is not supported"))?;
                dtype = Some(parse_descr(descr)?);
                after
            }
            "fortran_order" => {
                let value = [("True", true), ("False", false)].into_iter().find(|(word, _)| rest.starts_with(word));
                let (word, value) = value.ok_or_else(|| bad("a strange fortran_order"))?;
                fortran_order = Some(value);
                &rest[word.len()..]
            }
            "shape" => {
                let tuple = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
                let (axes, after) = tuple.ok_or_else(|| bad("a strange shape"))?;
                let axes = axes.split(',').map(|axis| axis.trim().trim_end_matches('L')).filter(|axis| !axis.is_empty());
                shape = Some(axes.map(str::parse).collect::<Result<Vec<usize>, _>>().map_err(|_| bad("a strange shape"))?);
                after
            }
            _ => return Err(bad("an unknown key")),
        };
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    match (dtype, fortran_order, shape) {
        (Some((dtype, big_endian)), Some(fortran_order), Some(shape)) => Ok(Header { dtype, big_endian, fortran_order, shape }),
        _ => Err(bad("a key missing")),
    }
}

/// Splits a quoted string off the front.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// Reorders column-major elements; the first axis runs fastest in the source.
fn to_row_major(source: &Array) -> Result<Array, String> {
    let mut target = Array::zeroed(source.dtype(), source.shape().to_vec()).map_err(|error| error.message)?;
    let size = source.dtype().size_bytes();
    let shape = source.shape().to_vec();
    let strides: Vec<usize> = shape.iter().scan(1, |stride, n| Some(std::mem::replace(stride, *stride * n))).collect();
    let mut index = vec![0; shape.len()];
    let mut from = 0;
    for element in target.bytes_mut().chunks_exact_mut(size) {
        element.copy_from_slice(&source.bytes()[from * size..(from + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            from -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, fortran_order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
        let mut file = [MAGIC.as_slice(), &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        file.extend_from_slice(data);
        file
    }

    fn read_all(file: &[u8]) -> Result<Array, String> {
        read(file, file.len() as u64)
    }

    fn message(file: &[u8]) -> String {
        read_all(file).map(|array| array.type_text()).expect_err("refused")
    }

    #[test]
    fn every_dtype_and_rank_round_trips() {
        for dtype in DType::ALL {
            for shape in [vec![], vec![0], vec![5], vec![2, 0, 3], vec![2, 3, 4]] {
                let mut array = Array::zeroed(dtype, shape).expect("small");
                for index in 0..array.len() {
                    array.set_f64(index, (index % 2) as f64);
                }
                let header = header(&array).expect("a short shape");
                assert_eq!(header.len() % 64, 0);
                let file = [&header, array.bytes()].concat();
                let again = read_all(&file).expect("reads");
                assert_eq!((again.type_text(), again.bytes()), (array.type_text(), array.bytes()));
            }
        }
    }

    #[test]
    fn big_endian_and_fortran_order_are_converted() {
        let big = read_all(&npy("'>i2'", "False", "(2,)", &[0, 1, 1, 0])).expect("reads");
        assert_eq!([big.get_f64(0), big.get_f64(1)], [1.0, 256.0]);
        let columns = read_all(&npy("'|u1'", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6])).expect("reads");
        assert_eq!(columns.bytes(), [1, 2, 3, 4, 5, 6]);
        let cube = read_all(&npy("'|u1'", "True", "(2, 1, 2)", &[0, 2, 1, 3])).expect("reads");
        assert_eq!(cube.bytes(), [0, 1, 2, 3]);
    }

    #[test]
    fn headers_of_old_python_and_of_bfloat16_are_read() {
        assert_eq!(read_all(&npy("'<f4'", "False", "(1L,)", &[0; 4])).expect("reads").type_text(), "f32[1]");
        assert_eq!(read_all(&npy("'<V2'", "False", "()", &[0; 2])).expect("reads").type_text(), "bf16[]");
        assert_eq!(read_all(&npy("\"bfloat16\"", "False", "()", &[0; 2])).expect("reads").type_text(), "bf16[]");
    }

    #[test]
    fn bools_are_normalised() {
        assert_eq!(read_all(&npy("'|b1'", "False", "(3,)", &[0, 2, 255])).expect("reads").bytes(), [0, 1, 1]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(message(b"PK\x03\x04 and so on"), "not a .npy array: it does not begin with \\x93NUMPY");
        assert_eq!(message(b"\x93NUM"), "truncated: it ends before its data do");
        assert_eq!(
            message(&npy("'<c8'", "False", "(1,)", &[0; 8])),
            "dtype '<c8': complex numbers are not supported; convert with .astype()"
        );
        assert!(message(&npy("[('a', '<f4')]", "False", "(1,)", &[0; 4])).contains("record type"));
        assert!(message(&npy("'<f4'", "False", "(-1,)", &[])).contains("strange shape"));
        assert!(message(&npy("'<f4'", "False", "(99999999999, 99999999999)", &[])).contains("truncated"));
        assert!(message(&npy("'<f4'", "False", "(3,)", &[0; 11])).contains("truncated"));
        let whole = npy("'<f4'", "False", "(3,)", &[0; 12]);
        for length in 0..whole.len() {
            assert!(read_all(&whole[..length]).is_err(), "cut at {length}");
        }
    }
}
