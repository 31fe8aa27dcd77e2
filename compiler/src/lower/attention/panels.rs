//! Attention by one thread: panels of queries against blocks of keys, whose scores stay in the cache.
//!
//! ```text
//! task (batch, block of queries):   pack queries turned;   m ← −∞, l ← 0, y ← 0
//!   for each block of keys that a query sees:   pack keys and values
//!     for each panel of queries:                s[key][query] ← key · query, scored        (register tiles of keys × queries)
//!                                               m' ← max(m, max s);   s ← exp(s − m');   l ← l · exp(m − m') + Σ s
//!                                               y ← y · exp(m − m') + s · value            (register tiles of queries × features)
//!   y / l to each result
//! ```
//!
//! Lanes hold neighbouring queries, so that largest scores and sums go along keys, one after the other, and no bit depends on the vector
//! unit. Keys are met in blocks whose length depends on nothing but how many there are. A block that a panel does not see is left out,
//! which changes no bit: all its exponentials are 0.
//! *Source*: Milakov & Gimelshein 2018; Dao et al. 2022, "FlashAttention".

use super::{Flat, Sight, finite};
use crate::kernel::{Axis, ExprId};
use crate::lower::context::{Base, Context, Value};
use crate::lower::contract::{operand, store_operand};
use crate::lower::nest::Tasks;
use crate::lower::offsets::Address;
use crate::lower::ops::{lane_of, memory_of};
use crate::lower::plan::masks_rest;
use crate::lower::stage::along_axis;
use crate::lower::tasks::for_each_task;
use crate::lower::tile::{Epilogue, Left, Tile};
use crate::lower::transposed::transpose;
use crate::lower::{Arg, VectorIsa};
use crate::tile::{Builder, Reg, Type, math};
use kiln_ir::{Dim, Symbol};

/// Keys of a block where how many there are is not known, and the most where it is: a multiple of every vector unit's register tile.
/// Their scores beside a panel of queries, or their values beside a panel of features, nearly fill the first-level cache.
const BLOCK_KEYS: i64 = 240;
const MOST_BLOCK_KEYS: i64 = 288;
/// Every register tile's rows divide it.
const KEY_STEP: i64 = 12;
/// Queries of a task, where there are more: enough to pay for packing keys and values.
const TASK_ROWS: i64 = 256;
/// Queries of a task at least, where there are more, and tasks that are left for threads to share.
const LEAST_TASK_ROWS: i64 = 64;
const ENOUGH_TASKS: i64 = 8;

/// An attention, and how it is computed.
pub(in crate::lower) struct QueryPanels {
    flat: Flat,
    /// Queries beside each other.
    panel: i64,
    /// Panels of a task.
    task_panels: i64,
    /// Keys of a block.
    block: i64,
    /// Features beside each other in a panel of values.
    feature_panel: i64,
    /// Lanes of vectors along queries and features.
    lanes: u32,
    /// Lanes of a register of sums.
    sum_lanes: u32,
    /// Rows of register tiles: keys, and queries.
    heights: [i64; 2],
    /// Whether all queries see all keys.
    sees_all: bool,
    /// Whether these are some, and one block: what it gives is the result, and nothing is taken on.
    is_only: bool,
}

/// Where the parts of a worker's scratch begin, in elements.
struct Areas {
    queries: Dim,
    scores: Dim,
    values: Dim,
    means: Dim,
    largest: Dim,
    sums: Dim,
    peaks: Dim,
    corrections: Dim,
    keys: Dim,
    all: i64,
}

/// A task's memory and its first query.
struct Work {
    memory: Base,
    areas: Areas,
    first: Dim,
}

impl QueryPanels {
    /// How an attention is computed on this vector unit.
    pub(in crate::lower) fn new(flat: Flat, isa: &VectorIsa) -> QueryPanels {
        let panel = isa.panel_columns(flat.dtype);
        let keys = flat.keys.extent.as_const();
        let block = keys.map_or(BLOCK_KEYS, |keys| {
            let blocks = ((keys + MOST_BLOCK_KEYS - 1) / MOST_BLOCK_KEYS).max(1);
            let each = (keys + blocks - 1) / blocks;
            ((each + KEY_STEP - 1) / KEY_STEP).max(1) * KEY_STEP
        });
        let is_one_block = keys.is_some_and(|keys| keys <= block);
        let key_height = keys.filter(|_| is_one_block).map_or(isa.tile_rows(), |keys| isa.tile_rows_of(keys));
        let sees_all = flat.seen[0].is(0) && flat.seen[1] == flat.keys.extent;
        QueryPanels {
            panel,
            task_panels: task_panels(&flat, panel),
            block,
            feature_panel: panel,
            lanes: isa.lanes(4),
            sum_lanes: isa.sum_lanes(flat.dtype),
            heights: [key_height, isa.tile_rows_of(panel)],
            sees_all,
            is_only: sees_all && is_one_block && keys != Some(0),
            flat,
        }
    }

    fn size(&self) -> i64 {
        self.flat.dtype.size_bytes() as i64
    }

    fn ty(&self, lanes: u32) -> Type {
        Type::scalar(lane_of(self.flat.dtype)).times(lanes)
    }

    fn task_rows(&self) -> i64 {
        self.task_panels * self.panel
    }

    fn depth(&self) -> i64 {
        self.flat.depth.extent.as_const().expect("lower: kernels of attention have known numbers of features")
    }

    fn features(&self) -> i64 {
        self.flat.column.extent.as_const().expect("lower: kernels of attention have known numbers of features")
    }

    /// Features in whole panels.
    fn padded_features(&self) -> i64 {
        (self.features() + self.feature_panel - 1) / self.feature_panel * self.feature_panel
    }

    fn areas(&self) -> Areas {
        let mut all = 0;
        let mut area = |elements: i64| {
            let begin = Dim::from(all);
            all += elements;
            begin
        };
        let (rows, features) = (self.task_rows(), self.padded_features());
        Areas {
            queries: area(rows * self.depth()),
            scores: area(self.block * self.panel),
            values: area(self.block * features),
            means: area(rows * features),
            largest: area(rows),
            sums: area(rows),
            peaks: area(self.panel),
            corrections: area(self.panel),
            keys: area(self.block * self.depth()),
            all,
        }
    }

    /// Bytes of scratch that one worker needs.
    pub(in crate::lower) fn scratch_bytes(&self) -> Dim {
        Dim::from(self.areas().all * self.size())
    }

    /// Emits the kernel.
    pub(in crate::lower) fn lower(&self, cx: &mut Context, b: &mut Builder) -> Tasks {
        let [_, worker, _, _] = b.params();
        let bytes = cx.index(b, &(self.scratch_bytes().ceil_div(&Dim::from(64)) * Dim::from(64)));
        let skipped = b.mul(worker, bytes);
        let all = cx.argument(b, Arg::WorkerScratch);
        let memory = Base::Own(b.add(all, skipped), 0);
        let rows = Dim::from(self.task_rows());
        let block = Axis { index: Symbol::new("#rows"), extent: self.flat.row.extent.ceil_div(&rows) };
        let work = Work { memory, areas: self.areas(), first: Dim::from(block.index.clone()) * &rows };
        let digits = [self.flat.batch.clone(), vec![block]].concat();
        for_each_task(cx, b, &digits, |cx, b| self.task(cx, b, &work));
        let points = Dim::from(self.depth() + self.features()) * self.flat.keys.extent.maximum(&Dim::ONE);
        Tasks { count: Dim::product(digits.iter().map(|a| &a.extent)), work: points * rows.minimum(&self.flat.row.extent) }
    }

    fn task(&self, cx: &mut Context, b: &mut Builder, work: &Work) {
        let panel = Symbol::new("#panel");
        cx.ranges.set_index(panel.clone(), Dim::from(self.task_panels));
        let rows = (&self.flat.row.extent - &work.first).minimum(&Dim::from(self.task_rows()));
        let (none, panels) = (cx.index(b, &Dim::ZERO), cx.index(b, &rows.ceil_div(&Dim::from(self.panel))));
        cx.counted(b, &panel, none, panels, 1, &[], |cx, b, _| {
            self.pack_queries(cx, b, work);
            self.begin(cx, b, work);
            vec![]
        });
        let sight = self.flat.sight(cx, b, &work.first, self.task_rows(), self.block);
        let [begin, end] = sight.tiles;
        let some = b.lt(begin, end);
        let key_block = Symbol::new("#key_block");
        cx.ranges.set_index(key_block.clone(), self.flat.keys.extent.ceil_div(&Dim::from(self.block)));
        let attend = |cx: &mut Context, b: &mut Builder| {
            cx.counted(b, &key_block, begin, end, 1, &[], |cx, b, _| {
                let count = (&self.flat.keys.extent - self.from()).minimum(&Dim::from(self.block));
                let count = cx.index(b, &count);
                self.pack_keys(cx, b, work, none, count);
                cx.counted(b, &panel, none, panels, 1, &[], |cx, b, _| {
                    self.panel(cx, b, work, count);
                    vec![]
                });
                vec![]
            });
            vec![]
        };
        cx.branch(b, some, false, attend, |_, _| vec![]);
        self.finish(cx, b, work, &rows);
    }

    /// The first key of the block.
    fn from(&self) -> Dim {
        Dim::symbol("#key_block") * Dim::from(self.block)
    }

    /// The first query of the panel within the task.
    fn skipped(&self) -> Dim {
        Dim::symbol("#panel") * Dim::from(self.panel)
    }

    fn address(&self, cx: &mut Context, b: &mut Builder, work: &Work, offset: &Dim) -> Address {
        let offset = cx.resolve(offset);
        cx.address(b, work.memory, &offset, self.size() as u32)
    }

    fn load(&self, cx: &mut Context, b: &mut Builder, work: &Work, offset: &Dim, lanes: u32) -> Reg {
        let at = self.address(cx, b, work, offset);
        b.load(memory_of(self.flat.dtype), self.ty(lanes), at.reg, at.offset)
    }

    fn store(&self, cx: &mut Context, b: &mut Builder, work: &Work, offset: &Dim, value: Reg) {
        let at = self.address(cx, b, work, offset);
        b.store(memory_of(self.flat.dtype), value, at.reg, at.offset);
    }

    /// The queries of a panel as `[depth][query]`, zeros beyond the last one.
    fn pack_queries(&self, cx: &mut Context, b: &mut Builder, work: &Work) {
        let lanes = i64::from(self.lanes);
        let group = Symbol::new("#group");
        cx.ranges.set_index(group.clone(), Dim::from(self.panel));
        let first = &work.first + self.skipped() + Dim::from(group.clone());
        let to = &work.areas.queries + self.skipped() * Dim::from(self.depth()) + Dim::from(group.clone());
        let (none, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &Dim::from(self.panel)));
        let is_whole = self.flat.row.extent.as_const().is_some_and(|rows| rows % self.panel == 0);
        cx.counted(b, &group, none, end, lanes, &[], |cx, b, _| {
            if is_whole {
                self.pack_group(cx, b, work, &first, &to);
                return vec![];
            }
            let left = cx.index(b, &(&self.flat.row.extent - &first));
            let all = b.index(lanes);
            let all_there = b.ge(left, all);
            let whole = |cx: &mut Context, b: &mut Builder| {
                self.pack_group(cx, b, work, &first, &to);
                vec![]
            };
            let some = |cx: &mut Context, b: &mut Builder| {
                let depth = Symbol::new("#at_depth");
                cx.ranges.set_index(depth.clone(), self.flat.depth.extent.clone());
                let (none, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &self.flat.depth.extent));
                let at = &to + Dim::from(depth.clone()) * Dim::from(self.panel);
                cx.counted(b, &depth, none, end, 1, &[], |cx, b, _| {
                    let zero = b.float(self.ty(self.lanes), 0.0);
                    self.store(cx, b, work, &at, zero);
                    vec![]
                });
                let query = Symbol::new("#query");
                cx.ranges.set_index(query.clone(), Dim::from(lanes));
                cx.counted(b, &query, none, left, 1, &[], |cx, b, _| {
                    let one = &to + Dim::from(query.clone()) + Dim::from(self.flat.depth.index.clone()) * Dim::from(self.panel);
                    cx.replaced(&self.flat.row.index, &first + Dim::from(query.clone()), |cx| {
                        cx.counted(b, &self.flat.depth.index, none, end, 1, &[], |cx, b, _| {
                            store_operand(cx, b, self.flat.query, self.flat.dtype, work.memory, &one);
                            vec![]
                        });
                    });
                    vec![]
                });
                vec![]
            };
            cx.branch(b, all_there, false, whole, some);
            vec![]
        });
    }

    /// As many queries as lanes, from `first` on: blocks of as many features are turned in registers.
    fn pack_group(&self, cx: &mut Context, b: &mut Builder, work: &Work, first: &Dim, to: &Dim) {
        let flat = &self.flat;
        let (lanes, depth) = (i64::from(self.lanes), self.depth());
        let is_turned = self.size() == 4 && lanes >= 4;
        let whole = if is_turned { depth - depth % lanes } else { 0 };
        let feature = Symbol::new("#feature");
        cx.ranges.set_index(feature.clone(), flat.depth.extent.clone());
        let [begin, middle, end] = [0, whole, depth].map(|at| cx.index(b, &Dim::from(at)));
        let place = |ahead: i64| to + (Dim::from(feature.clone()) + Dim::from(ahead)) * Dim::from(self.panel);
        if whole > 0 {
            cx.counted(b, &feature, begin, middle, lanes, &[], |cx, b, _| {
                let rows = (0..lanes).map(|ahead| {
                    cx.replaced(&flat.row.index, first + Dim::from(ahead), |cx| {
                        cx.vectored(&flat.depth.index, Dim::from(feature.clone()), self.lanes, |cx| self.operand(cx, b, flat.query))
                    })
                });
                let rows: Vec<Reg> = rows.collect();
                for (ahead, column) in transpose(b, rows).into_iter().enumerate() {
                    self.store(cx, b, work, &place(ahead as i64), column);
                }
                vec![]
            });
        }
        if whole < depth {
            cx.counted(b, &feature, middle, end, 1, &[], |cx, b, _| {
                let value = cx.replaced(&flat.depth.index, Dim::from(feature.clone()), |cx| {
                    cx.vectored(&flat.row.index, first.clone(), self.lanes, |cx| self.operand(cx, b, flat.query))
                });
                self.store(cx, b, work, &place(0), value);
                vec![]
            });
        }
    }

    /// An operand in all lanes of vectors, in the type of sums.
    fn operand(&self, cx: &mut Context, b: &mut Builder, id: ExprId) -> Reg {
        let reg = operand(cx, b, id, self.flat.dtype);
        let level = cx.top();
        cx.widened(b, Value { reg, level }, self.lanes)
    }

    /// Nothing is known of the queries of a panel.
    fn begin(&self, cx: &mut Context, b: &mut Builder, work: &Work) {
        if self.is_only {
            return;
        }
        let ty = self.ty(self.sum_lanes);
        let (never, zero) = (b.float(ty, f64::NEG_INFINITY), b.float(ty, 0.0));
        for vector in (0..self.panel).step_by(self.sum_lanes as usize) {
            let at = self.skipped() + Dim::from(vector);
            self.store(cx, b, work, &(&work.areas.largest + &at), never);
            self.store(cx, b, work, &(&work.areas.sums + &at), zero);
        }
        let features = self.padded_features();
        let element = Symbol::new("#element");
        cx.ranges.set_index(element.clone(), Dim::from(self.panel * features));
        let (none, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &Dim::from(self.panel * features)));
        let at = &work.areas.means + self.skipped() * Dim::from(features) + Dim::from(element.clone());
        cx.counted(b, &element, none, end, i64::from(self.sum_lanes), &[], |cx, b, _| {
            self.store(cx, b, work, &at, zero);
            vec![]
        });
    }

    /// The block's keys as `[key][depth]`, and its values in panels of features `[panel][key][feature]`.
    fn pack_keys(&self, cx: &mut Context, b: &mut Builder, work: &Work, none: Reg, count: Reg) {
        let flat = &self.flat;
        let row = Symbol::new("#key_row");
        cx.ranges.set_index(row.clone(), Dim::from(self.block));
        let key = self.from() + Dim::from(row.clone());
        let vectors = |cx: &Context, id: ExprId, axis: &Axis| (self.lanes, masks_rest(cx, &[id], &[], &axis.index));
        let of_keys = vectors(cx, flat.key, &flat.depth);
        let of_values = vectors(cx, flat.value, &flat.column);
        let to = &work.areas.keys + Dim::from(row.clone()) * Dim::from(self.depth()) + Dim::from(flat.depth.index.clone());
        cx.counted(b, &row, none, count, 1, &[], |cx, b, _| {
            cx.replaced(&flat.keys.index, key.clone(), |cx| {
                along_axis(cx, b, &flat.depth, (&Dim::ZERO, &flat.depth.extent), of_keys, &mut |cx, b| {
                    store_operand(cx, b, flat.key, flat.dtype, work.memory, &to);
                });
            });
            vec![]
        });
        for first in (0..self.features()).step_by(self.feature_panel as usize) {
            let end = self.features().min(first + self.feature_panel);
            let panel = &work.areas.values + Dim::from(first * self.block) - Dim::from(first);
            let to = panel + Dim::from(row.clone()) * Dim::from(self.feature_panel) + Dim::from(flat.column.index.clone());
            let part = (Dim::from(first), Dim::from(end));
            cx.counted(b, &row, none, count, 1, &[], |cx, b, _| {
                cx.replaced(&flat.keys.index, key.clone(), |cx| {
                    along_axis(cx, b, &flat.column, (&part.0, &part.1), of_values, &mut |cx, b| {
                        store_operand(cx, b, flat.value, flat.dtype, work.memory, &to);
                    });
                });
                vec![]
            });
        }
    }

    /// A panel of queries against a block of keys, of which there are `count`.
    fn panel(&self, cx: &mut Context, b: &mut Builder, work: &Work, count: Reg) {
        let here = Symbol::new("#keys_here");
        cx.ranges.set_index(here.clone(), Dim::from(self.block + 1));
        if self.sees_all {
            return cx.bound(&here, count, |cx| self.attend(cx, b, work, None));
        }
        let sight = self.flat.sight(cx, b, &(&work.first + self.skipped()), self.panel, self.block);
        let from = cx.index(b, &self.from());
        let end = b.sub(sight.seen[1], from);
        let end = b.min_s(end, count);
        let behind = b.add(from, count);
        let (none, zero) = (b.gt(behind, sight.seen[0]), b.index(0));
        let some = b.gt(end, zero);
        let sees = b.and(none, some);
        let attend = |cx: &mut Context, b: &mut Builder| {
            cx.bound(&here, end, |cx| self.attend(cx, b, work, Some(&sight)));
            vec![]
        };
        cx.branch(b, sees, false, attend, |_, _| vec![]);
    }

    /// The same against the block's first keys, `#keys_here` of them.
    fn attend(&self, cx: &mut Context, b: &mut Builder, work: &Work, sight: Option<&Sight>) {
        let flat = &self.flat;
        let is_alike = sight.is_none() && !cx.needs(flat.score).symbols.contains(&flat.row.index);
        self.scores(cx, b, work, is_alike);
        let first = &work.first + self.skipped();
        let end = (&first + Dim::from(self.panel)).minimum(&flat.row.extent);
        let vectors = (self.lanes, masks_rest(cx, &[flat.score], &[], &flat.row.index));
        along_axis(cx, b, &flat.row, (&first, &end), vectors, &mut |cx, b| {
            if !is_alike {
                self.score_in_lanes(cx, b, work, sight);
            }
            self.weigh(cx, b, work);
        });
        self.add_values(cx, b, work, &(end - first));
    }

    /// Products of keys and queries as `[key][query]`, or at once their scores, where these are alike for all queries.
    fn scores(&self, cx: &mut Context, b: &mut Builder, work: &Work, is_alike: bool) {
        let (panel, depth) = (self.panel, self.depth());
        // How many keys are left to the last tile is known where all are seen.
        let extent = if self.sees_all { self.flat.keys.extent.clone() } else { Dim::symbol("#keys_here") };
        let row = Axis { index: Symbol::new("#key_row"), extent };
        let column = Axis { index: Symbol::new("#query"), extent: Dim::from(panel) };
        let left = Left {
            base: work.memory,
            offset: &work.areas.keys + Dim::from(row.index.clone()) * Dim::from(depth),
            steps: vec![(self.flat.depth.clone(), Dim::ONE)],
            dtype: self.flat.dtype,
        };
        let right = self.address(cx, b, work, &(&work.areas.queries + self.skipped() * Dim::from(depth)));
        let tile = self.tile(&left, right, (&row, &column), panel, self.heights[0]);
        let bounds = [0, depth].map(|at| cx.index(b, &Dim::from(at)));
        let lanes = i64::from(self.sum_lanes);
        let vectors = (panel / lanes) as usize;
        let peak = |vector: usize| &work.areas.peaks + Dim::from(vector as i64 * lanes);
        for vector in (0..vectors).filter(|_| is_alike) {
            let largest = self.largest_before(cx, b, work, &(self.skipped() + Dim::from(vector as i64 * lanes)), self.sum_lanes);
            self.store(cx, b, work, &peak(vector), largest);
        }
        tile.sums_of_rows(cx, b, (&Dim::ZERO, &Dim::symbol("#keys_here")), bounds, Some(depth), &mut |cx, b, row, _, sums| {
            let mut scores = sums.to_vec();
            if is_alike {
                let mut peaks: Vec<Reg> = (0..vectors).map(|vector| self.load(cx, b, work, &peak(vector), self.sum_lanes)).collect();
                for (at, score) in scores.iter_mut().enumerate() {
                    let key = self.from() + row + Dim::from(at / vectors);
                    *score = self.score(cx, b, &key, *score);
                    let largest = &mut peaks[at % vectors];
                    *largest = b.max_or_second(*score, *largest);
                }
                for (vector, largest) in peaks.into_iter().enumerate() {
                    self.store(cx, b, work, &peak(vector), largest);
                }
            }
            for (at, score) in scores.into_iter().enumerate() {
                // Rows of a tile lie one behind the other.
                self.store(cx, b, work, &(&work.areas.scores + row * Dim::from(panel) + Dim::from(at as i64 * lanes)), score);
            }
        });
    }

    /// The largest score of each query in the blocks before.
    fn largest_before(&self, cx: &mut Context, b: &mut Builder, work: &Work, in_task: &Dim, lanes: u32) -> Reg {
        match self.is_only {
            true => b.float(self.ty(lanes), f64::NEG_INFINITY),
            false => self.load(cx, b, work, &(&work.areas.largest + in_task), lanes),
        }
    }

    /// The lanes' query within the task, and its score of the key `#key_row` within the block.
    fn in_lanes(&self, cx: &mut Context, work: &Work) -> (Dim, Symbol, Dim) {
        let in_task = Dim::from(self.flat.row.index.clone()) - &work.first;
        let row = Symbol::new("#key_row");
        cx.ranges.set_index(row.clone(), Dim::from(self.block));
        let at = &work.areas.scores + Dim::from(row.clone()) * Dim::from(self.panel) + &in_task - self.skipped();
        (in_task, row, at)
    }

    /// Products of as many queries as there are lanes become scores.
    fn score_in_lanes(&self, cx: &mut Context, b: &mut Builder, work: &Work, sight: Option<&Sight>) {
        let flat = &self.flat;
        let lanes = cx.lanes.as_ref().map_or(1, |l| l.1);
        let (in_task, row, at) = self.in_lanes(cx, work);
        let (none, count) = (cx.index(b, &Dim::ZERO), cx.index(b, &Dim::symbol("#keys_here")));
        let before = self.largest_before(cx, b, work, &in_task, lanes);
        let scored = |cx: &mut Context, b: &mut Builder, seen: Option<[Reg; 2]>| {
            cx.counted(b, &row, none, count, 1, &[before], |cx, b, largest| {
                let sum = self.load(cx, b, work, &at, lanes);
                let key = self.from() + Dim::from(row.clone());
                let mut score = self.score(cx, b, &key, sum);
                if let Some([first, end]) = seen {
                    let never = b.float(self.ty(lanes), f64::NEG_INFINITY);
                    let key = cx.index(b, &key);
                    let key = if lanes > 1 { b.splat(key, lanes) } else { key };
                    let (above, below) = (b.ge(key, first), b.lt(key, end));
                    let sees = b.and(above, below);
                    score = b.select(sees, score, never);
                }
                self.store(cx, b, work, &at, score);
                vec![b.max_or_second(score, largest[0])]
            })
        };
        let largest = match sight {
            None => scored(cx, b, None)[0],
            Some(sight) => {
                let (from, behind) = (cx.index(b, &self.from()), cx.index(b, &(self.from() + Dim::symbol("#keys_here"))));
                let (above, below) = (b.ge(from, sight.common[0]), b.le(behind, sight.common[1]));
                let whole = b.and(above, below);
                let hidden = |cx: &mut Context, b: &mut Builder| {
                    let seen = flat.seen.clone().map(|dim| {
                        let reg = cx.index_vector(b, &dim);
                        if reg.ty.lanes == lanes { reg } else { b.splat(reg, lanes) }
                    });
                    scored(cx, b, Some(seen))
                };
                cx.branch(b, whole, false, |cx, b| scored(cx, b, None), hidden)[0]
            }
        };
        self.store(cx, b, work, &(&work.areas.peaks + &in_task - self.skipped()), largest);
    }

    /// Scores of as many queries as there are lanes become exponentials.
    fn weigh(&self, cx: &mut Context, b: &mut Builder, work: &Work) {
        let lanes = cx.lanes.as_ref().map_or(1, |l| l.1);
        let (in_task, row, at) = self.in_lanes(cx, work);
        let in_panel = &in_task - self.skipped();
        let (none, count) = (cx.index(b, &Dim::ZERO), cx.index(b, &Dim::symbol("#keys_here")));
        let largest = self.load(cx, b, work, &(&work.areas.peaks + &in_panel), lanes);
        let taken = finite(b, largest);
        let zero = b.float(self.ty(lanes), 0.0);
        let sum = cx.counted(b, &row, none, count, 1, &[zero], |cx, b, sum| {
            let score = self.load(cx, b, work, &at, lanes);
            let difference = b.sub(score, taken);
            let power = math::exp_to_zero(b, difference);
            self.store(cx, b, work, &at, power);
            vec![b.add(sum[0], power)]
        })[0];
        let [sums_at, largest_at] = [&work.areas.sums, &work.areas.largest].map(|area| area + &in_task);
        let sum = if self.is_only {
            sum
        } else {
            let before = self.load(cx, b, work, &largest_at, lanes);
            let change = b.sub(before, taken);
            let correction = math::exp_to_zero(b, change);
            self.store(cx, b, work, &(&work.areas.corrections + &in_panel), correction);
            let sum_before = self.load(cx, b, work, &sums_at, lanes);
            b.fma(sum_before, correction, sum)
        };
        self.store(cx, b, work, &largest_at, largest);
        self.store(cx, b, work, &sums_at, sum);
    }

    /// The score of a sum of products at this query and a key.
    fn score(&self, cx: &mut Context, b: &mut Builder, key: &Dim, sum: Reg) -> Reg {
        let level = cx.top();
        let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg: sum, level }]);
        let score = cx.replaced(&self.flat.keys.index, key.clone(), |cx| cx.eval(b, self.flat.score));
        cx.accumulators = before;
        cx.widened(b, score, sum.ty.lanes)
    }

    /// The means of a panel's queries, of which there are `rows`, taken on by the block's values.
    fn add_values(&self, cx: &mut Context, b: &mut Builder, work: &Work, rows: &Dim) {
        let (panel, features) = (self.panel, self.features());
        let is_whole = self.flat.row.extent.as_const().is_some_and(|rows| rows % panel == 0);
        let extent = if is_whole { Dim::from(panel) } else { Dim::symbol("#queries_here") };
        let row = Axis { index: Symbol::new("#query_row"), extent };
        let column = Axis { index: Symbol::new("#feature"), extent: Dim::from(self.feature_panel) };
        let left = Left {
            base: work.memory,
            offset: &work.areas.scores + Dim::from(row.index.clone()),
            steps: vec![(Axis { index: Symbol::new("#key_row"), extent: Dim::symbol("#keys_here") }, Dim::from(panel))],
            dtype: self.flat.dtype,
        };
        let known = self.flat.keys.extent.as_const().filter(|keys| self.sees_all && keys % 4 == 0).map(|keys| keys.min(self.block));
        let bounds = [Dim::ZERO, Dim::symbol("#keys_here")].map(|at| cx.index(b, &at));
        let number = Symbol::new("#feature_panel");
        let whole = features / self.feature_panel;
        cx.ranges.set_index(number.clone(), Dim::from(whole.max(1)));
        let at_panel = |cx: &mut Context, b: &mut Builder, number: &Dim, columns: i64| {
            let right = self.address(cx, b, work, &(&work.areas.values + number * Dim::from(self.block * self.feature_panel)));
            let tile = self.tile(&left, right, (&row, &column), columns, self.heights[1]);
            let vectors = columns / i64::from(self.sum_lanes);
            tile.sums_of_rows(cx, b, (&Dim::ZERO, rows), bounds, known, &mut |cx, b, row, count, sums| {
                for i in 0..count as i64 {
                    let query = row + Dim::from(i);
                    let correction = (!self.is_only).then(|| {
                        let correction = self.load(cx, b, work, &(&work.areas.corrections + &query), 1);
                        b.splat(correction, self.sum_lanes)
                    });
                    let line = &work.areas.means + (self.skipped() + query) * Dim::from(self.padded_features());
                    for j in 0..vectors {
                        let place = &line + number * Dim::from(self.feature_panel) + Dim::from(j * i64::from(self.sum_lanes));
                        let sum = sums[(i * vectors + j) as usize];
                        let mean = correction.map_or(sum, |correction| {
                            let before = self.load(cx, b, work, &place, self.sum_lanes);
                            b.fma(before, correction, sum)
                        });
                        self.store(cx, b, work, &place, mean);
                    }
                }
            });
        };
        if whole > 0 {
            let (none, end) = (cx.index(b, &Dim::ZERO), cx.index(b, &Dim::from(whole)));
            cx.counted(b, &number, none, end, 1, &[], |cx, b, _| {
                at_panel(cx, b, &Dim::from(number.clone()), self.feature_panel);
                vec![]
            });
        }
        let lanes = i64::from(self.sum_lanes);
        let narrow = (features % self.feature_panel + lanes - 1) / lanes * lanes;
        if narrow > 0 {
            at_panel(cx, b, &Dim::from(whole), narrow);
        }
    }

    /// Register tiles against a panel, of which `columns` are computed.
    fn tile<'a>(&self, left: &'a Left, right: Address, (row, column): (&'a Axis, &'a Axis), columns: i64, height: i64) -> Tile<'a> {
        let epilogue = Epilogue { stores: &[], row, column, first_column: Dim::ZERO, lanes: self.sum_lanes, is_cheap: true };
        Tile {
            dtype: self.flat.dtype,
            panel_dtype: self.flat.dtype,
            panel_columns: self.panel,
            columns,
            result_columns: Some(columns),
            lanes: self.sum_lanes,
            points: left.steps[0].0.extent.clone(),
            height,
            written_out: false,
            chunk: self.block,
            left,
            right,
            panels: None,
            epilogue,
        }
    }

    /// Means to results.
    fn finish(&self, cx: &mut Context, b: &mut Builder, work: &Work, rows: &Dim) {
        let flat = &self.flat;
        let (start, end) = (cx.index(b, &work.first), cx.index(b, &(&work.first + rows)));
        let in_task = Dim::from(flat.row.index.clone()) - &work.first;
        let values: Vec<ExprId> = flat.stores.iter().map(|store| store.value).collect();
        cx.counted(b, &flat.row.index, start, end, 1, &[], |cx, b, _| {
            let sum = self.load(cx, b, work, &(&work.areas.sums + &in_task), 1);
            let (one, zero) = (b.float(sum.ty, 1.0), b.float(sum.ty, 0.0));
            // Where nothing was seen, means are 0.
            let nothing = b.eq(sum, zero);
            let divisor = b.select(nothing, one, sum);
            let factor = Value { reg: b.div(one, divisor), level: cx.top() };
            let vectors = (self.lanes, masks_rest(cx, &values, &flat.stores, &flat.column.index));
            let at = &work.areas.means + &in_task * Dim::from(self.padded_features()) + Dim::from(flat.column.index.clone());
            along_axis(cx, b, &flat.column, (&Dim::ZERO, &flat.column.extent), vectors, &mut |cx, b| {
                let lanes = cx.lanes.as_ref().map_or(1, |l| l.1);
                let mean = self.load(cx, b, work, &at, lanes);
                let factor = cx.widened(b, factor, lanes);
                let reg = b.mul(mean, factor);
                let level = cx.top();
                let before = std::mem::replace(&mut cx.accumulators, vec![Value { reg, level }]);
                flat.stores.iter().for_each(|store| cx.store(b, store));
                cx.accumulators = before;
            });
            if !flat.row_stores.is_empty() {
                let largest = self.load(cx, b, work, &(&work.areas.largest + &in_task), 1);
                flat.store_row(cx, b, (&Dim::from(flat.row.index.clone()), &Dim::ZERO), largest, sum);
            }
            vec![]
        });
    }
}

/// Panels of a task: as many as pay for packing, few enough to leave tasks for several threads. Sizes of the batch that are not known
/// count as 1, as a batch often is.
fn task_panels(flat: &Flat, panel: i64) -> i64 {
    let batch = flat.batch.iter().map(|axis| axis.extent.as_const().unwrap_or(1)).fold(1, i64::saturating_mul).max(1);
    let rows = flat.row.extent.as_const();
    let mut most = TASK_ROWS;
    if let Some(rows) = rows {
        most = most.min(rows.max(1));
        while most >= 2 * LEAST_TASK_ROWS && batch.saturating_mul((rows + most - 1) / most) < ENOUGH_TASKS {
            most = (most + 1) / 2;
        }
    }
    (most + panel - 1) / panel
}
