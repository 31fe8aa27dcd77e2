//! Index maps of the movement operators: where the element at an index of the result lies in the operand.

use kiln_ir::ops::PadMode;
use kiln_ir::{Dim, Proof, Ranges};

/// The operand's index under `transpose`.
pub fn transpose(perm: &[usize], index: &[Dim]) -> Vec<Dim> {
    let mut from = vec![Dim::ZERO; perm.len()];
    for (to, &axis) in perm.iter().enumerate() {
        from[axis] = index[to].clone();
    }
    from
}

/// The operand's index under `broadcast`: its axes are the last ones, those of size 1 stay at 0.
pub fn broadcast(operand: &[Dim], shape: &[Dim], index: &[Dim], ranges: &Ranges) -> Vec<Dim> {
    let new = shape.len() - operand.len();
    operand
        .iter()
        .zip(&shape[new..])
        .zip(&index[new..])
        .map(|((from, to), i)| {
            if from.is(1) {
                Dim::ZERO
            } else if ranges.provably_equal(from, to) == Proof::Yes {
                i.clone()
            } else {
                // 1 or the full size, known only at run time: a stride of 0 or 1.
                i * (from - Dim::ONE).minimum(&Dim::ONE).simplify(ranges)
            }
        })
        .collect()
}

/// The operand's index under `reshape`. Runs of axes with equal products are mapped on their own, so that untouched axes stay as
/// they are and offsets rarely need division.
pub fn reshape(operand: &[Dim], shape: &[Dim], index: &[Dim], ranges: &Ranges) -> Vec<Dim> {
    let mut from = Vec::with_capacity(operand.len());
    for (inside, outside) in groups(operand, shape) {
        let (axes, sizes, at) = (&operand[inside.clone()], &shape[outside.clone()], &index[outside]);
        let position = at.iter().zip(sizes).fold(Dim::ZERO, |p, (i, size)| p * size + i).simplify(ranges);
        from.extend(split(&position, axes, ranges));
    }
    from
}

/// Splits a row-major position into an index per axis.
pub fn split(position: &Dim, axes: &[Dim], ranges: &Ranges) -> Vec<Dim> {
    let mut index = Vec::with_capacity(axes.len());
    let mut rest = position.clone();
    // The outermost axis of more than one element takes the quotient: its own bound is implied.
    let outermost = axes.iter().position(|d| !d.is(1)).unwrap_or(0);
    for (axis, size) in axes.iter().enumerate().rev() {
        if size.is(1) {
            index.push(Dim::ZERO);
        } else if axis == outermost {
            index.push(rest.clone());
        } else {
            index.push(rest.modulo(size).simplify(ranges));
            rest = rest.floor_div(size).simplify(ranges);
        }
    }
    index.reverse();
    index
}

/// Pairs of axis ranges with equal products, as short as possible, covering both shapes in order.
fn groups(a: &[Dim], b: &[Dim]) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let found = (1..=a.len() - i + b.len() - j).find_map(|total| {
            (0..=total.min(a.len() - i)).find_map(|n| {
                let m = total - n;
                (m <= b.len() - j && Dim::product(&a[i..i + n]) == Dim::product(&b[j..j + m])).then_some((n, m))
            })
        });
        // Products that are equal only under a guard stay one group.
        let (n, m) = found.unwrap_or((a.len() - i, b.len() - j));
        groups.push((i..i + n, j..j + m));
        i += n;
        j += m;
    }
    groups
}

/// The operand's index under `slice`.
pub fn slice(starts: &[Dim], steps: &[i64], index: &[Dim]) -> Vec<Dim> {
    index.iter().zip(starts).zip(steps).map(|((i, start), &step)| i * Dim::from(step) + start).collect()
}

/// The operand's index under `pad`; under `constant` it may lie outside.
pub fn pad(mode: PadMode, operand: &[Dim], low: &[Dim], index: &[Dim], ranges: &Ranges) -> Vec<Dim> {
    index
        .iter()
        .zip(operand)
        .zip(low)
        .map(|((i, size), low)| {
            let inner = (i - low).simplify(ranges);
            if low.is(0) && mode != PadMode::Constant && ranges.within(&inner, size) {
                return inner;
            }
            match mode {
                PadMode::Constant => inner,
                PadMode::Edge => inner.maximum(&Dim::ZERO).minimum(&(size - Dim::ONE)).simplify(ranges),
                PadMode::Reflect => {
                    // An axis of one element reflects onto itself: a period of 1, as one of 0 has no remainder.
                    let period = ((size - Dim::ONE) * Dim::from(2)).maximum(&Dim::ONE).simplify(ranges);
                    let phase = inner.modulo(&period);
                    phase.minimum(&(&period - &phase))
                }
                PadMode::Wrap => inner.modulo(size),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_ir::Symbol;

    #[test]
    fn splitting_heads_needs_no_division() {
        let mut ranges = Ranges::default();
        let (b, t) = (Dim::symbol("b"), Dim::symbol("t"));
        let shape = [b.clone(), t.clone(), Dim::from(12), Dim::from(64)];
        let index: Vec<Dim> = (0..4)
            .map(|i| {
                let symbol = Symbol::new(&format!("i{i}"));
                ranges.set_index(symbol.clone(), shape[i].clone());
                Dim::from(symbol)
            })
            .collect();
        let from = reshape(&[b, t, Dim::from(768)], &shape, &index, &ranges);
        assert_eq!(from, vec![index[0].clone(), index[1].clone(), &index[2] * Dim::from(64) + &index[3]]);
        let back = reshape(&shape[2..], &[Dim::from(768)], &[from[2].clone()], &ranges);
        assert_eq!(back, index[2..].to_vec());
    }
}
