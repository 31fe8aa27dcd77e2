//! Low-rank adapters: what training adds to matrices that stay, and the sum that is left of both.

use super::recipe::{Adapter, Recipe, Slot};
use crate::arrays::Array;
use kiln_ir::Diagnostic;

/// The network's own parameters: those that stay and those that change, where what adapters learnt is part of their matrices.
///
/// *Shapes*: `weight: [m, n]`, `first: [m, r]`, `second: [r, n]`; the sums are computed in f64. Errors: `memory`.
pub fn merged<'a>(
    recipe: &'a Recipe,
    fixed: &[Array],
    changed: impl Iterator<Item = &'a Array> + Clone,
) -> Result<Vec<(&'a Slot, Array)>, Diagnostic> {
    let copy = |slot: &Slot, array: &Array| Array::from_bytes(slot.dtype, slot.shape.clone(), array.bytes());
    let changed: Vec<&Array> = changed.collect();
    let mut tensors = Vec::new();
    for (at, (slot, array)) in recipe.fixed.iter().zip(fixed).enumerate() {
        let mut array = copy(slot, array)?;
        for adapter in recipe.adapters.iter().filter(|adapter| adapter.weight == at) {
            add(&mut array, changed[adapter.first], changed[adapter.second], adapter.scale);
        }
        tensors.push((slot, array));
    }
    let of_adapters = |at: usize| recipe.adapters.iter().any(|Adapter { first, second, .. }| [*first, *second].contains(&at));
    for (at, (slot, array)) in recipe.states[..recipe.parameters].iter().zip(changed).enumerate() {
        if !of_adapters(at) {
            tensors.push((slot, copy(slot, array)?));
        }
    }
    Ok(tensors)
}

/// `weight` + `scale` · `first` · `second`.
fn add(weight: &mut Array, first: &Array, second: &Array, scale: f64) {
    let (rank, columns) = (second.shape()[0], second.shape()[1]);
    for at in 0..weight.len() {
        let (row, column) = (at / columns, at % columns);
        let sum: f64 = (0..rank).map(|k| first.get_f64(row * rank + k) * second.get_f64(k * columns + column)).sum();
        weight.set_f64(at, weight.get_f64(at) + scale * sum);
    }
}
