//! Which buffers kernels read and write: what memory planning and the split into prepare and run ask.

use super::{Axis, Body, BufferId, ExprId, ExprKind, Kernel, Stage, Step, Store};
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeSet;

impl Stage {
    /// What it stores.
    pub fn stores(&self) -> &[Store] {
        match self {
            Stage::Reduce { .. } => &[],
            Stage::Sweep { stores, .. } => stores,
            Stage::Running { store, .. } => std::slice::from_ref(store),
        }
    }
}

impl Kernel {
    /// Expressions that its stores, reductions and sums need; passes leave others behind.
    pub fn live_exprs(&self) -> BTreeSet<ExprId> {
        let mut left: Vec<ExprId> = Vec::new();
        match &self.body {
            Body::Contract(contract) => left.extend([contract.lhs, contract.rhs]),
            Body::Attention(attention) => {
                left.extend([attention.query, attention.key, attention.score, attention.value]);
                for dim in [&attention.first, &attention.end] {
                    dim.visit_symbols(&mut |symbol| left.extend(ExprId::of_symbol(symbol)));
                }
            }
            Body::Nest(nest) => left.extend(nest.stages.iter().flat_map(|stage| match stage {
                Stage::Reduce { reductions, .. } => reductions.iter().map(|reduction| reduction.value).collect(),
                Stage::Sweep { .. } => Vec::new(),
                Stage::Running { reduction, .. } => vec![reduction.value],
            })),
        }
        for store in self.stores() {
            left.push(store.value);
            store.offset.visit_symbols(&mut |symbol| left.extend(ExprId::of_symbol(symbol)));
        }
        self.exprs.reached(left)
    }

    /// Buffers it loads elements from; a store that combines counts.
    pub fn loads(&self) -> BTreeSet<BufferId> {
        let live = self.live_exprs();
        let loaded = live.iter().filter_map(|id| match &self.exprs.get(*id).kind {
            ExprKind::Load(access) => Some(access.buffer),
            _ => None,
        });
        let combined = self.stores().into_iter().filter(|store| store.combine.is_some()).map(|store| store.buffer);
        loaded.chain(combined).collect()
    }

    /// Its stores, in order.
    pub fn stores(&self) -> Vec<&Store> {
        match &self.body {
            Body::Contract(contract) => contract.stores.iter().collect(),
            Body::Attention(attention) => attention.stores.iter().chain(&attention.row_stores).collect(),
            Body::Nest(nest) => nest.stages.iter().flat_map(Stage::stores).collect(),
        }
    }

    /// All its indices, in order of declaration.
    pub fn axes(&self) -> Vec<&Axis> {
        match &self.body {
            Body::Contract(c) => [&c.batch, &c.rows, &c.columns, &c.depth].into_iter().flatten().collect(),
            Body::Attention(a) => [&a.batch, &a.rows, &a.columns, &a.keys, &a.depth].into_iter().flatten().collect(),
            Body::Nest(nest) => {
                let inner = nest.stages.iter().flat_map(|stage| match stage {
                    Stage::Reduce { axes, .. } | Stage::Sweep { axes, .. } => axes.as_slice(),
                    Stage::Running { axis, .. } => std::slice::from_ref(axis),
                });
                nest.parallel.iter().chain(inner).collect()
            }
        }
    }

    /// Extents of all its indices.
    pub fn extents(&self) -> Vec<&Dim> {
        self.axes().into_iter().map(|axis| &axis.extent).collect()
    }

    /// Whether the same elements are stored whatever that symbol's value is.
    pub fn stores_regardless_of(&self, symbol: &Symbol) -> bool {
        let fixed = |dim: &Dim| !dim.mentions(symbol) && dim.symbols().iter().all(|s| super::ExprId::of_symbol(s).is_none());
        self.extents().into_iter().all(|extent| !extent.mentions(symbol)) && self.stores().iter().all(|store| fixed(&store.offset))
    }
}

impl Step {
    /// Calls `f` on each kernel, those inside loops included, in order.
    pub fn visit_kernels<'a>(&'a self, f: &mut dyn FnMut(&'a Kernel)) {
        match self {
            Step::Run(kernel) => f(kernel),
            Step::Loop { body, .. } => body.iter().for_each(|step| step.visit_kernels(f)),
        }
    }
}

/// Every buffer that these steps load or store.
pub fn buffers_touched(steps: &[Step]) -> BTreeSet<BufferId> {
    let mut found = BTreeSet::new();
    for step in steps {
        step.visit_kernels(&mut |kernel| {
            found.extend(kernel.loads());
            found.extend(kernel.stores().iter().map(|store| store.buffer));
        });
    }
    found
}
