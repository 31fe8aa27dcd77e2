//! Byte memory of separate regions: an access must lie inside one of them.

/// The memory a tile program sees in the evaluator.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    regions: Vec<(i64, Vec<u8>)>,
}

impl Memory {
    /// No regions.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Adds a region and gives its address (64-byte aligned; a gap follows every region).
    pub fn add(&mut self, bytes: Vec<u8>) -> i64 {
        let address = match self.regions.last() {
            None => 0x1000_0000,
            Some((base, last)) => (base + last.len() as i64 + 0x1_0000 + 63) / 64 * 64,
        };
        self.regions.push((address, bytes));
        address
    }

    /// The bytes of the region that starts at `address`. Panics when none does.
    pub fn region(&self, address: i64) -> &[u8] {
        let found = self.regions.iter().find(|(base, _)| *base == address);
        &found.expect("tile memory: no region starts here").1
    }

    /// `size` bytes at `address` as a little-endian number.
    pub fn read(&self, address: i64, size: u32) -> Result<u64, String> {
        let (region, at) = self.locate(address, size)?;
        let mut bits = [0; 8];
        bits[..size as usize].copy_from_slice(&self.regions[region].1[at..at + size as usize]);
        Ok(u64::from_le_bytes(bits))
    }

    /// Writes the low `size` bytes of `bits`.
    pub fn write(&mut self, address: i64, size: u32, bits: u64) -> Result<(), String> {
        let (region, at) = self.locate(address, size)?;
        self.regions[region].1[at..at + size as usize].copy_from_slice(&bits.to_le_bytes()[..size as usize]);
        Ok(())
    }

    fn locate(&self, address: i64, size: u32) -> Result<(usize, usize), String> {
        for (region, (base, bytes)) in self.regions.iter().enumerate() {
            let at = address.wrapping_sub(*base);
            if at >= 0 && at + i64::from(size) <= bytes.len() as i64 {
                return Ok((region, at as usize));
            }
        }
        Err(format!("{size} bytes at {address:#x} are outside every region"))
    }
}
