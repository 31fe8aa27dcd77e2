//! Tensor maps: what `cp.async.bulk.tensor` copies from and to.

/// Exchange of 16-byte chunks in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swizzle {
    /// Rows lie as they are.
    None,
    /// Inside rows of 32 bytes.
    B32,
    /// Inside rows of 64 bytes.
    B64,
    /// Inside rows of 128 bytes.
    B128,
}

/// A tiled tensor in global memory and the box that one copy moves: the fields of `cuTensorMapEncodeTiled` that matter here.
///
/// Dimensions go from the innermost (contiguous) one outwards; elements outside the tensor are read as zero and not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Device address of the first element; a multiple of 16.
    pub address: u64,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub element_bytes: u64,
    /// Elements along each dimension, innermost first.
    pub dims: Vec<u64>,
    /// Bytes between neighbours along each dimension but the innermost; multiples of 16.
    pub strides: Vec<u64>,
    /// Elements of the box along each dimension; at most 256.
    pub box_dims: Vec<u64>,
    /// How the box lies in shared memory.
    pub swizzle: Swizzle,
}

const MAGIC: u64 = 0x006b_696c_6e6d_6170;

impl TensorMap {
    /// What `cuTensorMapEncodeTiled` would refuse, in words.
    pub fn complaint(&self) -> Option<String> {
        let rank = self.dims.len();
        let inner = self.box_dims.first().copied().unwrap_or(0) * self.element_bytes;
        let row = row_bytes(self.swizzle);
        if !(1..=5).contains(&rank) || self.box_dims.len() != rank || self.strides.len() + 1 != rank {
            return Some(format!("rank {rank}, {} strides, {} box dimensions", self.strides.len(), self.box_dims.len()));
        }
        if !matches!(self.element_bytes, 1 | 2 | 4 | 8) {
            return Some(format!("elements of {} bytes", self.element_bytes));
        }
        if [self.address].iter().chain(&self.strides).any(|v| !v.is_multiple_of(16)) {
            return Some("address and strides must be multiples of 16".into());
        }
        if self.box_dims.iter().any(|b| !(1..=256).contains(b)) || !inner.is_multiple_of(16) {
            return Some(format!("a box of {:?}: 1 to 256 elements, rows of a multiple of 16 bytes", self.box_dims));
        }
        if self.swizzle != Swizzle::None && inner > row {
            return Some(format!("rows of {inner} bytes are longer than the swizzle's {row}"));
        }
        None
    }

    /// The 128 bytes that a kernel parameter holds; their layout is this crate's own.
    pub fn encode(&self) -> [u8; 128] {
        let mut words = vec![MAGIC, self.address, self.element_bytes | (self.dims.len() as u64) << 8 | row_bytes(self.swizzle) << 16];
        words.extend(&self.dims);
        words.extend(&self.strides);
        // Boxes need one byte each: 256 is stored as 0.
        words.push(self.box_dims.iter().rev().fold(0, |w, b| w << 8 | b & 0xff));
        let mut bytes = [0; 128];
        words.iter().zip(bytes.chunks_exact_mut(8)).for_each(|(w, b)| b.copy_from_slice(&w.to_le_bytes()));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<TensorMap> {
        let word = |i: usize| bytes.get(i * 8..i * 8 + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        if word(0)? != MAGIC {
            return None;
        }
        let packed = word(2)?;
        let rank = (packed >> 8 & 0xff) as usize;
        let list = |from: usize, n: usize| (from..from + n).map(word).collect::<Option<Vec<_>>>();
        let boxes = word(2 + 2 * rank)?;
        Some(TensorMap {
            address: word(1)?,
            element_bytes: packed & 0xff,
            dims: list(3, rank)?,
            strides: list(3 + rank, rank - 1)?,
            box_dims: (0..rank).map(|i| (boxes >> (8 * i)).wrapping_sub(1) & 0xff).map(|b| b + 1).collect(),
            swizzle: match packed >> 16 {
                32 => Swizzle::B32,
                64 => Swizzle::B64,
                128 => Swizzle::B128,
                _ => Swizzle::None,
            },
        })
    }

    /// Why hardware stops at a copy of the box at `coordinates`, if it does.
    pub(crate) fn misplaced(&self, coordinates: &[i64], to_shared: bool) -> Option<String> {
        if coordinates[0] * self.element_bytes as i64 % 16 != 0 {
            let bytes = self.element_bytes;
            return Some(format!("a box at {coordinates:?} of elements of {bytes} bytes: rows must begin at multiples of 16 bytes"));
        }
        let before = !to_shared && coordinates.iter().any(|c| *c < 0);
        before.then(|| format!("a box at {coordinates:?}: copies to global memory must not begin before the tensor"))
    }

    /// The pieces of a box at `coordinates`, each inside 16 bytes of shared memory at `shared`: shared address, global address (none
    /// outside the tensor), bytes. Elements outside are zero in shared memory; to global memory go 16 bytes at a time, and the last of a row
    /// may reach beyond its end.
    pub(crate) fn pieces(&self, coordinates: &[i64], shared: u64, to_shared: bool) -> Vec<(u64, Option<u64>, u64)> {
        let row = self.box_dims[0] * self.element_bytes;
        // Swizzled rows take the swizzle's width, however short they are.
        let pitch = if self.swizzle == Swizzle::None { row } else { row_bytes(self.swizzle) };
        let rows: u64 = self.box_dims[1..].iter().product();
        let per_chunk = 16 / self.element_bytes;
        let mut pieces = Vec::new();
        for r in 0..rows {
            let (mut rest, mut inside, mut offset) = (r, true, 0u64);
            let outer = coordinates[1..].iter().zip(&self.box_dims[1..]).zip(self.dims[1..].iter().zip(&self.strides));
            for ((first, extent), (dim, stride)) in outer {
                let at = first + (rest % extent) as i64;
                rest /= extent;
                inside &= at >= 0 && (at as u64) < *dim;
                offset = offset.wrapping_add((at as u64).wrapping_mul(*stride));
            }
            for chunk in 0..row / 16 {
                let to = crate::descriptor::swizzle(shared + r * pitch + chunk * 16, row_bytes(self.swizzle));
                let first = coordinates[0] + (chunk * per_chunk) as i64;
                let within = |e: u64| inside && first + e as i64 >= 0 && ((first + e as i64) as u64) < self.dims[0];
                let global = |e: u64| self.address.wrapping_add(offset).wrapping_add((first + e as i64) as u64 * self.element_bytes);
                if (0..per_chunk).all(within) || !to_shared {
                    pieces.push((to, within(0).then(|| global(0)), 16));
                } else {
                    pieces.extend((0..per_chunk).map(|e| (to + e * self.element_bytes, within(e).then(|| global(e)), self.element_bytes)));
                }
            }
        }
        pieces
    }
}

fn row_bytes(swizzle: Swizzle) -> u64 {
    match swizzle {
        Swizzle::None => 16,
        Swizzle::B32 => 32,
        Swizzle::B64 => 64,
        Swizzle::B128 => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> TensorMap {
        TensorMap {
            address: 0x1000,
            element_bytes: 2,
            dims: vec![40, 3],
            strides: vec![80],
            box_dims: vec![64, 256],
            swizzle: Swizzle::B128,
        }
    }

    #[test]
    fn maps_survive_their_128_bytes() {
        assert_eq!(TensorMap::decode(&map().encode()), Some(map()));
        let three = TensorMap { dims: vec![8, 9, 10], strides: vec![16, 144], box_dims: vec![8, 2, 3], swizzle: Swizzle::None, ..map() };
        assert_eq!(TensorMap::decode(&three.encode()), Some(three));
        assert_eq!(TensorMap::decode(&[0; 128]), None);
        assert!(map().complaint().is_none() && TensorMap { address: 8, ..map() }.complaint().is_some());
    }

    #[test]
    fn what_goes_to_global_memory_is_not_cut_inside_chunks() {
        let map = TensorMap { dims: vec![12, 3], box_dims: vec![16, 1], swizzle: Swizzle::B64, ..map() };
        assert_eq!(map.pieces(&[0, 1], 1024, false), [(1024, Some(0x1050), 16), (1040, Some(0x1060), 16)]);
        assert_eq!(map.pieces(&[8, 1], 1024, false), [(1024, Some(0x1060), 16), (1040, None, 16)]);
        assert_eq!(map.pieces(&[8, 1], 1024, true)[..5].iter().filter(|p| p.1.is_some()).count(), 4);
    }

    #[test]
    fn short_rows_keep_the_width_of_the_swizzle() {
        let map = TensorMap { box_dims: vec![8, 2], swizzle: Swizzle::B64, ..map() };
        assert_eq!(map.pieces(&[0, 0], 1024, true), [(1024, Some(0x1000), 16), (1088, Some(0x1050), 16)]);
    }

    #[test]
    fn places_that_hardware_refuses() {
        assert!(map().misplaced(&[-8, -1], true).is_none() && map().misplaced(&[8, 1], false).is_none());
        assert!(map().misplaced(&[4, 0], true).is_some_and(|m| m.contains("16 bytes")));
        assert!(map().misplaced(&[8, -1], false).is_some_and(|m| m.contains("before")));
    }

    #[test]
    fn boxes_are_cut_at_the_edge() {
        let pieces = map().pieces(&[32, 2], 1024, true);
        // The first row: 8 elements inside, the other 56 of the box outside; later rows lie outside altogether.
        assert_eq!(pieces[0], (1024, Some(0x1000 + 160 + 64), 16));
        assert!(pieces[1..].iter().all(|(_, global, bytes)| global.is_none() && *bytes == 2));
        assert_eq!(pieces.iter().map(|p| p.2).sum::<u64>(), 64 * 256 * 2);
    }
}
