//! Attention of a warpgroup whose products overlap with its exponentials.
//!
//! ```text
//! s ← query · key of the first tile, scored;   p ← exp(s − m)
//! for each tile but the last:   begin s' ← query · key of the next tile;   begin y ← y + p · value
//!                               wait for s';   p' ← exp(s' − m');   wait for y;   y ← y · exp(m − m');   p ← p'
//! y ← y + p · value of the last tile
//! ```
//!
//! Exponentials of a tile are computed while the values of the one before are added. Two tiles of keys, and two of values, are in shared
//! memory at a time. *Source*: Shah et al. 2024, "FlashAttention-3", algorithm 2 (intra-warpgroup pipelining).

use super::matrices::{Described, Factors, Matrices, Task, fours, joined};
use crate::lower::context::{Context, Leaves};
use crate::tile::{Builder, CooperativeStmt, Reg};
use kiln_ir::{Dim, Symbol};

/// A weight of a tile: sixteens of keys, of one product down.
type Powers = Vec<Vec<Reg>>;

impl Matrices {
    /// All tiles from the first to the last; keys of the first are there. Gives what the loop over tiles would.
    pub(super) fn overlapped(&self, cx: &mut Context, b: &mut Builder, task: &Task, [begin, last]: [Reg; 2], start: &[Reg]) -> Vec<Reg> {
        let Factors::Warpgroup([queries, keys, values]) = &task.factors else { panic!("lower: a warp alone has nothing to overlap") };
        let (queries, values) = ((&queries.0, queries.1), &values.0);
        let [key_bytes, value_bytes, _] = self.areas();
        let rows = 2;
        let (next, after) = (Symbol::new("#next"), Symbol::new("#after"));
        for index in [&next, &after] {
            cx.ranges.set_index(index.clone(), self.flat.keys.extent.ceil_div(&Dim::from(self.tile_keys())));
        }
        let [from_next, from_after] = [&next, &after].map(|index| Dim::from(index.clone()) * Dim::from(self.tile_keys()));
        let none = b.index(0);
        let key_size = b.index(key_bytes);
        // What lies in the other tile of two is where the other one is not.
        let keys_of = |b: &mut Builder, skipped: Reg| {
            let at = b.add(task.keys_at, skipped);
            keys.0.described(b, at)
        };
        let values_of = |b: &mut Builder, skipped: Reg| {
            let at = b.add(task.values_at, skipped);
            values.described(b, at)
        };
        let bring = |cx: &mut Context, b: &mut Builder, values_to: Reg, keys_to: Reg| {
            for (chunks, from, area, skipped) in
                [(task.values, &from_next, task.values_at, values_to), (task.keys, &from_after, task.keys_at, keys_to)]
            {
                let to = b.add(area, skipped);
                let begun = chunks.begin(cx, b, from, to);
                chunks.finish(cx, b, to, &begun);
            }
            b.together(CooperativeStmt::EndCopies);
        };
        let mut state = start.to_vec();
        // A scope of its own for what depends on the tile.
        let powers: Powers = cx.scoped(b, Leaves::Everything, |cx, b| {
            let second = b.add_int(begin, 1);
            let second = b.min_s(second, last);
            cx.bound(&next, begin, |cx| {
                cx.bound(&after, second, |cx| {
                    bring(cx, b, none, key_size);
                    b.together(CooperativeStmt::BeginProducts);
                    let described = keys_of(b, none);
                    let sums = self.begin_products(b, queries, (&keys.0, described));
                    b.together(CooperativeStmt::WaitForProducts(0));
                    let sums = vec![fours(b, sums)];
                    let scores = self.scores(cx, b, task, &from_next, &sums);
                    let (powers, _) = self.weigh(b, &mut state, &scores, rows);
                    self.packed(b, &powers)
                })
            })
        });
        let sixteens = powers.len();
        let init = [&state[..], &powers.concat(), &[key_size, none]].concat();
        let results = cx.counted(b, &Symbol::new("#turn"), begin, last, 1, &init, |cx, b, carried| {
            let (known, places) = carried.split_at(carried.len() - 2);
            let (state, powers) = known.split_at(start.len());
            let [keys_at, values_at] = [places[0], places[1]];
            let [keys_free, values_free] = [(key_bytes, keys_at), (value_bytes, values_at)].map(|(bytes, used)| {
                let bytes = b.index(bytes);
                b.sub(bytes, used)
            });
            let mut state = state.to_vec();
            let turn = cx.index(b, &Dim::symbol("#turn"));
            let following = b.add_int(turn, 1);
            let later = b.add_int(turn, 2);
            let later = b.min_s(later, last);
            self.meet(b);
            let powers = cx.bound(&next, following, |cx| {
                cx.bound(&after, later, |cx| {
                    bring(cx, b, values_free, keys_free);
                    let [keys_now, values_now] = [keys_of(b, keys_at), values_of(b, values_at)];
                    let means = joined(b, &state[2 * rows..]);
                    b.together(CooperativeStmt::BeginProducts);
                    let sums = self.begin_products(b, queries, (&keys.0, keys_now));
                    let means = self.begin_values(b, (values, values_now), &by_sixteens(powers), means);
                    b.together(CooperativeStmt::WaitForProducts(1));
                    let sums = vec![fours(b, sums)];
                    let scores = self.scores(cx, b, task, &from_next, &sums);
                    let (powers, factors) = self.weigh(b, &mut state, &scores, rows);
                    b.together(CooperativeStmt::WaitForProducts(0));
                    state[2 * rows..].copy_from_slice(&fours(b, means));
                    self.rescale(b, &mut state, &factors, rows);
                    // Factors of products that are under way, and of those to come, may not be written meanwhile.
                    self.packed(b, &powers)
                })
            });
            [&state[..], &powers.concat(), &[keys_free, values_free]].concat()
        });
        let mut state = results[..start.len()].to_vec();
        let powers = by_sixteens(&results[start.len()..start.len() + sixteens]);
        self.meet(b);
        let described: Described = (values, values_of(b, results[results.len() - 1]));
        let means = joined(b, &state[2 * rows..]);
        b.together(CooperativeStmt::BeginProducts);
        let means = self.begin_values(b, described, &powers, means);
        b.together(CooperativeStmt::WaitForProducts(0));
        state[2 * rows..].copy_from_slice(&fours(b, means));
        state
    }
}

fn by_sixteens(powers: &[Reg]) -> Powers {
    powers.iter().map(|power| vec![*power]).collect()
}
