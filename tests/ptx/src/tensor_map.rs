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
    pub(crate) fn complaint(&self) -> Option<String> {
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
    pub(crate) fn encode(&self) -> [u8; 128] {
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

    /// The pieces of a box at `coordinates`, each inside 16 bytes of shared memory at `shared`: shared address, global address (none
    /// outside the tensor), bytes.
    pub(crate) fn pieces(&self, coordinates: &[i64], shared: u64) -> Vec<(u64, Option<u64>, u64)> {
        let row = self.box_dims[0] * self.element_bytes;
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
                let to = crate::descriptor::swizzle(shared + r * row + chunk * 16, row_bytes(self.swizzle));
                let first = coordinates[0] + (chunk * per_chunk) as i64;
                let within = |e: u64| inside && first + e as i64 >= 0 && ((first + e as i64) as u64) < self.dims[0];
                let global = |e: u64| self.address.wrapping_add(offset).wrapping_add((first + e as i64) as u64 * self.element_bytes);
                // A box may begin at any element, so that its chunks need not be aligned in global memory.
                if (0..per_chunk).all(within) && global(0).is_multiple_of(16) {
                    pieces.push((to, Some(global(0)), 16));
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
    fn boxes_begin_at_any_element() {
        let pieces = map().pieces(&[3, 0], 1024);
        assert_eq!(pieces[..2], [(1024, Some(0x1006), 2), (1026, Some(0x1008), 2)]);
    }

    #[test]
    fn boxes_are_cut_at_the_edge() {
        let pieces = map().pieces(&[32, 2], 1024);
        // The first row: 8 elements inside, the other 56 of the box outside; later rows lie outside altogether.
        assert_eq!(pieces[0], (1024, Some(0x1000 + 160 + 64), 16));
        assert!(pieces[1..].iter().all(|(_, global, bytes)| global.is_none() && *bytes == 2));
        assert_eq!(pieces.iter().map(|p| p.2).sum::<u64>(), 64 * 256 * 2);
    }
}
