//! Samples of one slot, put one behind the other while they are read.

use super::Wanted;
use super::dataset::Column;
use crate::arrays::{Array, byte_size};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::Extent;

/// Samples of one slot in the type that the step takes, the batch in front.
pub struct Stack {
    slot: usize,
    bytes: Vec<u8>,
    element: Array,
}

impl Stack {
    /// No sample yet. Errors: `data` when the samples of that slot do not lie one behind the other.
    pub fn new(slot: usize, wanted: &Wanted) -> Result<Stack, Diagnostic> {
        let decl = wanted.decl(slot);
        if wanted.slots[slot].batch_axis != 0 {
            let error = Diagnostic::new("data", format!("`{}` counts its samples along axis {}", decl.name, wanted.slots[slot].batch_axis));
            return Err(error.help("tables and files one by one need the batch in front: bring such data as arrays, in .npz or .npy"));
        }
        Ok(Stack { slot, bytes: Vec::new(), element: Array::zeroed(decl.dtype, Vec::new())? })
    }

    /// Puts elements behind those there are.
    pub fn push(&mut self, elements: impl Iterator<Item = f64>) {
        for element in elements {
            self.element.set_f64(0, element);
            self.bytes.extend_from_slice(self.element.bytes());
        }
    }

    /// Puts bytes of the type behind those there are.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The column of samples that have so many elements each; an axis whose size is open takes what the others leave of them.
    ///
    /// Errors: `data`, `memory`.
    pub fn column(self, elements: usize, wanted: &Wanted, place: &str) -> Result<Column, Diagnostic> {
        let decl = wanted.decl(self.slot);
        let fixed = decl.shape[1..].iter().map(|extent| if let Extent::Fixed(size) = extent { *size as usize } else { 1 });
        let open = decl.shape[1..].iter().filter(|extent| matches!(extent, Extent::Expression(_))).count();
        let rest = elements.checked_div(fixed.product()).unwrap_or(0);
        if open > 1 {
            let error =
                Diagnostic::new("data", format!("{place}: `{}` has several open sizes, and {elements} numbers a sample", decl.name));
            return Err(wanted.takes(error).help("fix one with --dim NAME=SIZE"));
        }
        let count = self.bytes.len() / decl.dtype.size_bytes() / elements.max(1);
        let mut shape = vec![count];
        shape.extend(decl.shape[1..].iter().map(|extent| if let Extent::Fixed(size) = extent { *size as usize } else { rest }));
        if byte_size(decl.dtype, &shape) != Some(self.bytes.len()) {
            let error = Diagnostic::new("data", format!("{place}: samples of {elements} numbers do not fit `{}`", decl.name));
            return Err(wanted.takes(error));
        }
        self.column_of(shape, wanted, place)
    }

    /// The column of samples with these sizes, the number of samples in front. Errors: `data`, `memory`.
    pub fn column_of(self, shape: Vec<usize>, wanted: &Wanted, place: &str) -> Result<Column, Diagnostic> {
        let array = Array::from_bytes(wanted.decl(self.slot).dtype, shape, &self.bytes)?;
        wanted.column(self.slot, array.into(), None, place)
    }
}
