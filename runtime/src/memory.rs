//! Buffers aligned as generated code wants them.

use kiln_ir::artifact::ALIGNMENT;
use memmap2::MmapMut;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::slice;

/// Buffers from this size on come from the system page by page: what is never written costs nothing, and the system is asked for
/// pages of this size, since rows of a matrix each on a small page of its own cost more to find than to read.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes at an address that is a multiple of [`ALIGNMENT`], zero at first. Large ones cost memory only where written.
pub struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
    /// What the bytes are part of, where they are not the allocator's.
    map: Option<MmapMut>,
}

impl AlignedBytes {
    /// `len` zero bytes; `None` when the system has no room for them.
    pub fn zeroed(len: usize) -> Option<AlignedBytes> {
        if len >= HUGE_PAGE_BYTES {
            return Self::mapped(len);
        }
        let layout = layout_of(len)?;
        // SAFETY: `layout_of` never answers a layout of size 0.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map(|start| AlignedBytes { start, len, map: None })
    }

    fn mapped(len: usize) -> Option<AlignedBytes> {
        // Room for whole huge pages, wherever the system puts the map.
        let mut map = MmapMut::map_anon(len.checked_add(HUGE_PAGE_BYTES).filter(|len| isize::try_from(*len).is_ok())?).ok()?;
        // Systems without such pages refuse, and small ones do.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let skipped = map.as_ptr().align_offset(HUGE_PAGE_BYTES);
        let start = NonNull::new(map[skipped..].as_mut_ptr())?;
        Some(AlignedBytes { start, len, map: Some(map) })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points at `len` initialised bytes that `self` owns.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Address for generated code; writes through it need exclusive access to `self`.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if let (None, Some(layout)) = (&self.map, layout_of(self.len)) {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

// SAFETY: plain bytes without interior mutability, owned by this value.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

/// A whole number of alignment units, at least one, so that the size is never 0.
fn layout_of(len: usize) -> Option<Layout> {
    let size = len.max(1).checked_next_multiple_of(ALIGNMENT)?;
    Layout::from_size_align(size, ALIGNMENT).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_aligned_zero_and_writable() {
        for len in [0, 1, 63, 64, 65, 1 << 20, (2 << 20) - 1, 2 << 20, (6 << 20) + 1] {
            let mut bytes = AlignedBytes::zeroed(len).expect("small enough");
            assert_eq!(bytes.as_mut_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(bytes.as_slice(), vec![0; len]);
            bytes.as_mut_slice().fill(7);
            assert_eq!(bytes.as_slice(), vec![7; len]);
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(AlignedBytes::zeroed(usize::MAX).is_none());
        assert!(AlignedBytes::zeroed(usize::MAX / 2).is_none());
    }
}
