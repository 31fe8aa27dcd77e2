//! The last 64 bytes of an executable whose weights are a tail of its file.
//!
//! Layout, little-endian: magic `KILNTAIL`, u64 offset of the weights in the file, u64 their bytes, 32 bytes SHA-256,
//! u64 ABI version. The offset is a multiple of the page size, so that the weights can be mapped.

use super::ABI_VERSION;

/// Size of the footer.
pub const FOOTER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"KILNTAIL";

/// Where the weights lie in an executable's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeightsFooter {
    /// First byte of the weights, counted from the start of the file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Digest of those bytes.
    pub sha256: [u8; 32],
}

impl WeightsFooter {
    /// The footer as it stands in the file.
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..56].copy_from_slice(&self.sha256);
        out[56..].copy_from_slice(&u64::from(ABI_VERSION).to_le_bytes());
        out
    }

    /// Reads a footer; `None` when these bytes are none, or belong to another ABI version.
    pub fn decode(footer: &[u8; FOOTER_BYTES]) -> Option<WeightsFooter> {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&footer[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        if &footer[..8] != MAGIC || word(56) != u64::from(ABI_VERSION) {
            return None;
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&footer[24..56]);
        Some(WeightsFooter { offset: word(8), bytes: word(16), sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes_and_nothing_else() {
        let footer = WeightsFooter { offset: 4096, bytes: 12, sha256: [7; 32] };
        let mut bytes = footer.encode();
        assert_eq!(WeightsFooter::decode(&bytes), Some(footer));
        bytes[0] = b'k';
        assert_eq!(WeightsFooter::decode(&bytes), None);
        bytes = footer.encode();
        bytes[56] = 99;
        assert_eq!(WeightsFooter::decode(&bytes), None);
    }
}
