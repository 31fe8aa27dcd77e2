//! Tensors too large for the text: named there by a digest, kept beside it.

use crate::Tensor;
use std::collections::BTreeMap;
use std::fmt;

/// A constant with more elements than this stands as a digest.
pub const INLINE_ELEMENTS: usize = 64;

/// 128-bit FNV-1a of a tensor's type and bytes: stable over versions and machines. It tells constants apart; it is no
/// protection against somebody who wants two to collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of a tensor.
    pub fn of(tensor: &Tensor) -> Digest {
        let header = tensor.ty().to_string();
        Digest(fnv1a(tensor.bytes(), fnv1a(header.as_bytes(), FNV_OFFSET)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Tensors by digest.
#[derive(Clone, Default, Debug)]
pub struct ConstantTable {
    tensors: BTreeMap<Digest, Tensor>,
}

impl ConstantTable {
    /// An empty table.
    pub fn new() -> ConstantTable {
        ConstantTable::default()
    }

    /// Adds a tensor (its bytes are shared, not copied) and gives its digest.
    pub fn insert(&mut self, tensor: &Tensor) -> Digest {
        let digest = Digest::of(tensor);
        self.tensors.insert(digest, tensor.clone());
        digest
    }

    /// The tensor of that digest.
    pub fn get(&self, digest: Digest) -> Option<&Tensor> {
        self.tensors.get(&digest)
    }

    /// All of them, by digest.
    pub fn iter(&self) -> impl Iterator<Item = (Digest, &Tensor)> {
        self.tensors.iter().map(|(d, t)| (*d, t))
    }
}

// Source: Fowler, Noll, Vo; draft-eastlake-fnv, the 128-bit parameters.
const FNV_OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
const FNV_PRIME: u128 = 0x0000000001000000000000000000013b;

fn fnv1a(bytes: &[u8], start: u128) -> u128 {
    bytes.iter().fold(start, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b"", FNV_OFFSET), FNV_OFFSET);
        assert_eq!(fnv1a(b"a", FNV_OFFSET), 0xd228cb696f1a8caf78912b704e4a8964);
        assert_eq!(fnv1a(b"foobar", FNV_OFFSET), 0x343e1662793c64bf6f0d3597ba446f18);
    }

    #[test]
    fn type_and_bytes_both_count() {
        let row = Tensor::f32(&[1, 2], &[1.0, 2.0]);
        assert_ne!(Digest::of(&row), Digest::of(&row.reshaped(vec![2, 1])));
        assert_ne!(Digest::of(&row), Digest::of(&Tensor::f32(&[1, 2], &[1.0, 3.0])));
        assert_eq!(Digest::of(&row), Digest::of(&row.reshaped(vec![2]).reshaped(vec![1, 2])));
    }
}
