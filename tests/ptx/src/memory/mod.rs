//! Memory as named allocations: every byte knows whether it was written, every access whether it is inside.

pub(crate) mod races;

use crate::fault::FaultKind;
use races::Shadow;

/// Generic addresses of shared memory begin here.
pub(crate) const SHARED_WINDOW: u64 = 0x1000_0000_0000;
/// Generic addresses of local memory begin here.
pub(crate) const LOCAL_WINDOW: u64 = 0x2000_0000_0000;
/// Generic addresses of parameters begin here.
pub(crate) const PARAM_WINDOW: u64 = 0x3000_0000_0000;
/// Bytes of each window.
pub(crate) const WINDOW_BYTES: u64 = 1 << 32;
/// The first allocation; later ones follow with gaps.
const DEVICE_START: u64 = 0x0400_0000_0000;
/// Unused addresses after every allocation.
const GAP: u64 = 4096;
/// What unwritten bytes hold.
const POISON: u8 = 0xcb;

/// Bytes at consecutive addresses.
pub(crate) struct Region {
    pub base: u64,
    pub data: Vec<u8>,
    /// One bit per byte: it was written.
    written: Vec<u64>,
    pub shadow: Shadow,
}

impl Region {
    pub(crate) fn new(base: u64, bytes: u64) -> Region {
        Region { base, data: vec![POISON; bytes as usize], written: vec![0; (bytes as usize).div_ceil(64)], shadow: Shadow::default() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.data.len() as u64
    }

    /// The same bytes, of which no access is known.
    fn copy(&self) -> Region {
        Region { base: self.base, data: self.data.clone(), written: self.written.clone(), shadow: Shadow::default() }
    }

    /// Whether the same bytes were written, with the same values.
    fn is_like(&self, other: &Region) -> bool {
        self.base == other.base && self.written == other.written && self.data == other.data
    }

    /// Whether `[address, address + bytes)` lies inside.
    #[inline]
    pub(crate) fn holds(&self, address: u64, bytes: u64) -> bool {
        address >= self.base && address - self.base <= self.size() && bytes <= self.size() - (address - self.base)
    }

    /// The first byte of the range that was never written.
    #[inline]
    pub(crate) fn unwritten(&self, offset: u64, bytes: u64) -> Option<u64> {
        if bytes > 0 && (offset & 63) + bytes <= 64 {
            let mask = crate::types::mask(bytes as u32) << (offset & 63);
            let missing = !self.written[(offset >> 6) as usize] & mask;
            return (missing != 0).then(|| (offset & !63) + u64::from(missing.trailing_zeros()));
        }
        (offset..offset + bytes).find(|o| self.written[(o >> 6) as usize] >> (o & 63) & 1 == 0)
    }

    /// Marks a range as written or not.
    #[inline]
    pub(crate) fn mark(&mut self, offset: u64, bytes: u64, written: bool) {
        let mut at = offset;
        while at < offset + bytes {
            let n = (64 - (at & 63)).min(offset + bytes - at);
            let mask = crate::types::mask(n as u32) << (at & 63);
            let word = &mut self.written[(at >> 6) as usize];
            *word = if written { *word | mask } else { *word & !mask };
            at += n;
        }
    }

    /// Writes `bytes` at `offset`.
    #[inline]
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.data[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        self.mark(offset, bytes.len() as u64, true);
    }
}

/// An allocation of global memory.
pub(crate) struct Allocation {
    pub region: Region,
    pub name: String,
    pub constant: bool,
}

/// Global memory of a device.
#[derive(Default)]
pub(crate) struct GlobalMemory {
    allocations: Vec<Allocation>,
    end: u64,
    /// The allocation that was found last: most accesses hit it again.
    last: usize,
    count: usize,
}

impl GlobalMemory {
    /// A new allocation of `bytes`; its address is a multiple of 512.
    pub(crate) fn alloc(&mut self, bytes: u64, name: Option<String>, constant: bool) -> u64 {
        let base = self.end.max(DEVICE_START).next_multiple_of(512);
        self.end = base + bytes + GAP;
        let name = name.unwrap_or_else(|| format!("allocation {}", self.count));
        self.count += 1;
        self.allocations.push(Allocation { region: Region::new(base, bytes), name, constant });
        base
    }

    /// Removes the allocation that begins at `address`.
    pub(crate) fn free(&mut self, address: u64) -> bool {
        let before = self.allocations.len();
        self.allocations.retain(|a| a.region.base != address);
        self.last = 0;
        self.allocations.len() < before
    }

    /// The same allocations with the same contents, as a launch finds them.
    pub(crate) fn copy(&self) -> GlobalMemory {
        let one = |a: &Allocation| Allocation { region: a.region.copy(), name: a.name.clone(), constant: a.constant };
        GlobalMemory { allocations: self.allocations.iter().map(one).collect(), ..*self }
    }

    /// Replaces words of four bytes that were written, each so many beyond the one before it as `skip` says, by what `word` says.
    pub(crate) fn disturb(&mut self, skip: &mut dyn FnMut() -> usize, word: &mut dyn FnMut() -> u32) {
        for region in self.allocations.iter_mut().map(|allocation| &mut allocation.region) {
            let mut at = 4 * skip();
            while at + 4 <= region.data.len() {
                if region.unwritten(at as u64, 4).is_none() {
                    region.data[at..at + 4].copy_from_slice(&word().to_le_bytes());
                }
                at += 4 * skip().max(1);
            }
        }
    }

    /// Whether allocations and what is written in them are the same.
    pub(crate) fn is_like(&self, other: &GlobalMemory) -> bool {
        let pairs = || self.allocations.iter().zip(&other.allocations);
        self.allocations.len() == other.allocations.len() && pairs().all(|(a, b)| a.region.is_like(&b.region))
    }

    /// The allocation that holds the range.
    #[inline]
    pub(crate) fn find(&mut self, address: u64, bytes: u64) -> Result<&mut Allocation, (FaultKind, String)> {
        let hit = self.allocations.get(self.last).is_some_and(|a| a.region.holds(address, bytes));
        if !hit {
            let after = self.allocations.partition_point(|a| a.region.base <= address);
            match after.checked_sub(1).filter(|i| self.allocations[*i].region.holds(address, bytes)) {
                Some(index) => self.last = index,
                None => return Err((FaultKind::OutOfBounds, self.describe(address, bytes))),
            }
        }
        Ok(&mut self.allocations[self.last])
    }

    /// Begins a launch: what earlier launches did is ordered before it.
    pub(crate) fn forget_accesses(&mut self) {
        self.allocations.iter_mut().for_each(|a| a.region.shadow.clear());
    }

    fn describe(&self, address: u64, bytes: u64) -> String {
        let distance = |a: &Allocation| {
            let (start, end) = (a.region.base, a.region.base + a.region.size());
            if address < start { start - address } else { address.saturating_add(bytes).saturating_sub(end) }
        };
        let nearest = self.allocations.iter().min_by_key(|a| distance(a));
        match nearest {
            Some(a) if distance(a) < 1 << 32 => {
                let (start, size) = (a.region.base, a.region.size());
                let place = if address < start {
                    format!("{} bytes before it begins", start - address)
                } else if address - start < size {
                    format!("from its byte {} past its end", address - start)
                } else {
                    format!("{} bytes past its end", address - start - size)
                };
                format!("{bytes} bytes at {address:#x} are in no allocation; nearest: {} ({size} bytes at {start:#x}), {place}", a.name)
            }
            _ => format!("{bytes} bytes at {address:#x} are not device memory: a host pointer, a shared address or garbage"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bits_cross_words() {
        let mut region = Region::new(0, 200);
        region.mark(60, 100, true);
        assert_eq!(region.unwritten(60, 100), None);
        assert_eq!(region.unwritten(59, 4), Some(59));
        assert_eq!(region.unwritten(100, 61), Some(160));
        region.mark(70, 1, false);
        assert_eq!(region.unwritten(64, 16), Some(70));
    }

    #[test]
    fn copies_are_alike_until_something_is_written() {
        let mut memory = GlobalMemory::default();
        let a = memory.alloc(16, None, false);
        memory.find(a, 8).ok().unwrap().region.write(0, &[7; 8]);
        let mut copy = memory.copy();
        assert!(copy.is_like(&memory));
        // The same value, where there was none.
        copy.find(a, 16).ok().unwrap().region.write(8, &[POISON]);
        assert!(!copy.is_like(&memory));
        // Of four words, the second and the last: only what was written changes.
        let mut copy = memory.copy();
        let mut skips = [1, 2, 9].into_iter();
        copy.disturb(&mut || skips.next().unwrap(), &mut || 1);
        let region = &copy.find(a, 16).ok().unwrap().region;
        assert_eq!(region.data[..8], [7, 7, 7, 7, 1, 0, 0, 0]);
        assert_eq!((region.unwritten(0, 8), region.unwritten(12, 4)), (None, Some(12)));
        assert!(!copy.is_like(&memory));
    }

    #[test]
    fn ranges_outside_name_the_nearest_allocation() {
        let mut memory = GlobalMemory::default();
        let a = memory.alloc(100, Some("x".into()), false);
        assert!(memory.find(a + 96, 4).is_ok());
        assert!(memory.find(a + 98, 4).err().unwrap().1.contains("nearest: x (100 bytes"));
        assert!(memory.find(0x7fff_0000_0000, 4).err().unwrap().1.contains("host pointer"));
        assert!(memory.find(u64::MAX - 1, 4).is_err());
    }
}
