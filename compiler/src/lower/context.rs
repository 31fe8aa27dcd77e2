//! Where code is emitted: scopes, what is known in each, and hoisting on first use.
//!
//! Every loop and branch opens a [`Scope`]. A value is computed in the outermost scope that binds all it depends on, when it
//! is first needed, and remembered there; so nothing is computed again in an inner loop, and the generator needs no plan.
//! Loads do not leave a scope that guards memory, and nothing leaves a scope that rarely runs.

use super::Arg;
use super::isa::VectorIsa;
use super::operands::plain_load;
use crate::kernel::{Access, BufferId, ExprId, ExprKind, Exprs, Program};
use crate::tile::{Builder, Mem, Reg, Type};
use kiln_ir::{DType, Dim, Ranges, Symbol};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A register and the scope that it belongs to. One lane means: the same for all lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub reg: Reg,
    pub level: usize,
}

/// What an index stands for at the point being emitted.
#[derive(Clone, Debug)]
enum Place {
    /// The index of a loop.
    Register { reg: Reg, level: usize },
    /// A dim over other indices: an unrolled constant, a part of another index, the first lane of a vector.
    Replaced(Dim),
}

/// What may leave a scope for an outer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaves {
    /// Everything: a loop that runs at least once.
    Everything,
    /// Arithmetic, but no load: the scope's condition protects memory.
    Arithmetic,
    /// Nothing: the scope runs rarely.
    Nothing,
}

struct Scope {
    /// The builder's block.
    depth: usize,
    leaves: Leaves,
    dims: HashMap<Dim, Reg>,
    addresses: HashMap<(Base, Dim), Reg>,
    values: HashMap<ValueKey, Reg>,
    splats: HashMap<(u32, u32), Reg>,
    arguments: HashMap<usize, Reg>,
    /// What stages stored to a buffer where a mask held, by the first lane's offset and the mask, and which stage it was.
    stored: HashMap<(BufferId, Dim, Reg), (Reg, u32)>,
}

/// What an address starts from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Base {
    /// A buffer of the program.
    Buffer(BufferId),
    /// Memory of the kernel's own, by register.
    Own(Reg, usize),
}

/// Which lanes there are, the first ones, where a vector reaches beyond the end of its axis. Nothing is loaded or stored in others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub mask: Reg,
    /// How many, where that is known.
    pub count: Option<u32>,
}

/// An expression under the replacements that matter to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ValueKey {
    id: ExprId,
    replaced: Vec<Dim>,
    lanes: u32,
    /// For values that depend on memory written by this kernel: which stage.
    stage: u32,
    /// Which accumulators they were.
    accumulators: Vec<u32>,
}

/// Where what an access loads lies as well.
#[derive(Clone)]
pub(super) struct Elsewhere {
    pub access: Access,
    pub base: Base,
    pub offset: Dim,
}

/// What an expression depends on, directly or through its operands.
#[derive(Clone, Default, Debug)]
pub(super) struct Dependencies {
    pub symbols: BTreeSet<Symbol>,
    pub accumulators: BTreeSet<u32>,
    /// Reads memory or may write the error cell.
    pub loads: bool,
    /// Reads memory that this kernel writes.
    pub volatile: bool,
}

/// The state of lowering one kernel.
pub(super) struct Context<'a> {
    pub program: &'a Program,
    pub isa: &'a VectorIsa,
    pub exprs: Exprs,
    pub ranges: Ranges,
    /// Arguments in order of first use.
    pub args: Vec<Arg>,
    /// The index that lanes run along, and how many lanes.
    pub lanes: Option<(Symbol, u32)>,
    /// Which of them there are; none where all are.
    pub active: Option<Active>,
    /// Accumulators of earlier stages; `None` where a stage is skipped.
    pub accumulators: Vec<Value>,
    /// What is loaded from elsewhere at this point.
    pub elsewhere: Vec<Elsewhere>,
    /// What need not be loaded at this point: registers hold it.
    pub held: Vec<(Access, Reg)>,
    /// Whether all that is stored is rounded to half floats, so that few bits of what leads to it matter.
    pub stores_halves: bool,
    /// Whether functions may be wrong in bits that half floats do not have.
    pub approximates: bool,
    /// The lane that scalar index arithmetic stands for.
    pub(super) lane: u32,
    /// Whether what is loaded at one point is looked for at others.
    shares_loads: bool,
    loop_indices: BTreeMap<Symbol, Symbol>,
    dependencies: Vec<Dependencies>,
    places: BTreeMap<Symbol, Place>,
    scopes: Vec<Scope>,
    stage: u32,
    /// Buffers that this stage stores to.
    overwritten: BTreeSet<BufferId>,
    arguments: Reg,
}

impl<'a> Context<'a> {
    /// A context at the start of a function of four parameters. `stored` are the buffers that the kernel writes.
    pub fn new(
        program: &'a Program,
        isa: &'a VectorIsa,
        exprs: Exprs,
        ranges: Ranges,
        loop_indices: BTreeMap<Symbol, Symbol>,
        stored: &BTreeSet<BufferId>,
        b: &Builder,
    ) -> Context<'a> {
        let [arguments, _, _, _] = b.params();
        let dependencies = dependencies(&exprs, stored);
        let mut cx = Context {
            program,
            isa,
            exprs,
            ranges,
            args: vec![],
            lanes: None,
            active: None,
            accumulators: vec![],
            elsewhere: vec![],
            held: vec![],
            stores_halves: stored.iter().all(|id| matches!(program.buffer(*id).dtype, DType::F16 | DType::BF16)),
            approximates: false,
            lane: 0,
            shares_loads: false,
            loop_indices,
            dependencies,
            places: BTreeMap::new(),
            scopes: vec![],
            stage: 0,
            overwritten: BTreeSet::new(),
            arguments,
        };
        cx.enter(b, Leaves::Everything);
        cx
    }

    // ---- scopes ------------------------------------------------------------------------------------

    /// The innermost scope.
    pub fn top(&self) -> usize {
        self.scopes.len() - 1
    }

    fn enter(&mut self, b: &Builder, leaves: Leaves) {
        self.scopes.push(Scope {
            depth: b.depth(),
            leaves,
            dims: HashMap::new(),
            addresses: HashMap::new(),
            values: HashMap::new(),
            splats: HashMap::new(),
            arguments: HashMap::new(),
            stored: HashMap::new(),
        });
    }

    /// Runs `emit` in a new scope for the builder's innermost block.
    pub fn scoped<R>(&mut self, b: &mut Builder, leaves: Leaves, emit: impl FnOnce(&mut Self, &mut Builder) -> R) -> R {
        self.enter(b, leaves);
        let result = emit(self, b);
        self.scopes.pop();
        result
    }

    /// Emits in the scope `level`, before everything open inside it.
    pub fn at_level<R>(&mut self, b: &mut Builder, level: usize, emit: impl FnOnce(&mut Self, &mut Builder) -> R) -> R {
        let inside = self.scopes.split_off(level + 1);
        let depth = self.scopes[level].depth;
        let result = b.hoisted(depth, |b| emit(self, b));
        self.scopes.extend(inside);
        result
    }

    /// The outermost scope that arithmetic (or a load) may be hoisted to.
    fn floor(&self, loads: bool) -> usize {
        let stops = |s: &Scope| s.leaves == Leaves::Nothing || (loads && s.leaves == Leaves::Arithmetic);
        self.scopes.iter().rposition(stops).unwrap_or(0)
    }

    /// Runs one of two branches in scopes of their own; `otherwise` is the rare one when `rare`.
    pub fn branch(
        &mut self,
        b: &mut Builder,
        condition: Reg,
        rare: bool,
        then: impl FnOnce(&mut Self, &mut Builder) -> Vec<Reg>,
        otherwise: impl FnOnce(&mut Self, &mut Builder) -> Vec<Reg>,
    ) -> Vec<Reg> {
        let leaves = if rare { Leaves::Nothing } else { Leaves::Arithmetic };
        let cell = std::cell::RefCell::new(self);
        b.if_else(
            condition,
            |b| cell.borrow_mut().scoped(b, Leaves::Arithmetic, |cx, b| then(cx, b)),
            |b| cell.borrow_mut().scoped(b, leaves, |cx, b| otherwise(cx, b)),
        )
    }

    /// Runs `body` where the extent is above zero, so that loads may leave the loops inside; `empty` are the results elsewhere.
    pub fn when_nonempty(
        &mut self,
        b: &mut Builder,
        extent: &Dim,
        empty: &[Reg],
        body: impl FnOnce(&mut Self, &mut Builder) -> Vec<Reg>,
    ) -> Vec<Reg> {
        let extent = self.resolve(extent);
        if self.ranges.range(&extent).min >= 1 {
            return body(self, b);
        }
        let count = self.index_value(b, &extent).reg;
        let zero = self.index_value(b, &Dim::ZERO).reg;
        let condition = b.gt(count, zero);
        self.branch(b, condition, false, body, |_, _| empty.to_vec())
    }

    /// A loop whose index is `symbol`, with carried values.
    #[allow(clippy::too_many_arguments)] // a loop has this many parts
    pub fn counted(
        &mut self,
        b: &mut Builder,
        symbol: &Symbol,
        start: Reg,
        end: Reg,
        step: i64,
        init: &[Reg],
        body: impl FnOnce(&mut Self, &mut Builder, &[Reg]) -> Vec<Reg>,
    ) -> Vec<Reg> {
        b.loop_carrying(start, end, step, init, |b, index, carried| {
            self.scoped(b, Leaves::Everything, |cx, b| cx.bound(symbol, index, |cx| body(cx, b, carried)))
        })
    }

    // ---- indices -----------------------------------------------------------------------------------

    /// With `symbol` held by a register of the innermost scope.
    pub fn bound<R>(&mut self, symbol: &Symbol, reg: Reg, inside: impl FnOnce(&mut Self) -> R) -> R {
        let place = Place::Register { reg, level: self.top() };
        self.placed(symbol, place, inside)
    }

    /// With `symbol` standing for a dim over other indices.
    pub fn replaced<R>(&mut self, symbol: &Symbol, dim: Dim, inside: impl FnOnce(&mut Self) -> R) -> R {
        self.placed(symbol, Place::Replaced(dim), inside)
    }

    fn placed<R>(&mut self, symbol: &Symbol, place: Place, inside: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.places.insert(symbol.clone(), place);
        let result = inside(self);
        match before {
            Some(place) => self.places.insert(symbol.clone(), place),
            None => self.places.remove(symbol),
        };
        result
    }

    /// With lanes along `symbol`, the first of them at `first`.
    pub fn vectored<R>(&mut self, symbol: &Symbol, first: Dim, lanes: u32, inside: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.lanes.replace((symbol.clone(), lanes));
        let result = self.replaced(symbol, first, inside);
        self.lanes = before;
        result
    }

    /// The first lanes of `lanes`, of which there are as many as `left`, at least one.
    pub fn first_lanes(&mut self, b: &mut Builder, left: &Dim, lanes: u32) -> Option<Active> {
        let left = self.resolve(left);
        match left.as_const() {
            Some(n) if n >= i64::from(lanes) => None,
            Some(n) => {
                // Remembered under a name that no index has.
                let name = Dim::symbol(&format!("#first{n}of{lanes}"));
                let mask = |_: &mut Self, b: &mut Builder| {
                    let count = b.index(n);
                    b.first_lanes(count, lanes)
                };
                Some(Active { mask: self.remembered_dim(b, &name, 0, mask).reg, count: Some(n as u32) })
            }
            None => {
                let count = self.index(b, &left.minimum(&Dim::from(i64::from(lanes))).maximum(&Dim::ZERO));
                Some(Active { mask: b.first_lanes(count, lanes), count: None })
            }
        }
    }

    /// With those lanes alone.
    pub fn with_active<R>(&mut self, active: Option<Active>, inside: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.active, active);
        let result = inside(self);
        self.active = before;
        result
    }

    /// What the symbol is replaced by, if it is.
    pub fn replacement(&self, symbol: &Symbol) -> Option<Dim> {
        match self.places.get(symbol) {
            Some(Place::Replaced(dim)) => Some(dim.clone()),
            Some(Place::Register { .. }) | None => None,
        }
    }

    /// The register that holds a symbol at this point: a loop index, or an argument.
    pub fn symbol(&mut self, b: &mut Builder, symbol: &Symbol) -> Value {
        match self.places.get(symbol) {
            Some(Place::Register { reg, level }) => Value { reg: *reg, level: *level },
            Some(Place::Replaced(dim)) => panic!("lower: {symbol} was to be replaced by {dim}"),
            None => {
                let name = self.loop_indices.get(symbol).unwrap_or(symbol).clone();
                Value { reg: self.argument(b, Arg::Symbol(name)), level: 0 }
            }
        }
    }

    /// The scope that binds a symbol.
    pub fn symbol_level(&self, symbol: &Symbol) -> usize {
        match self.places.get(symbol) {
            None => 0,
            Some(Place::Register { level, .. }) => *level,
            Some(Place::Replaced(dim)) => {
                let mut level = 0;
                dim.visit_symbols(&mut |s| level = level.max(self.symbol_level(s)));
                level
            }
        }
    }

    /// The value of an argument, loaded at the start of the function.
    pub fn argument(&mut self, b: &mut Builder, arg: Arg) -> Reg {
        let position = self.args.iter().position(|a| *a == arg).unwrap_or_else(|| {
            self.args.push(arg);
            self.args.len() - 1
        });
        if let Some(reg) = self.scopes[0].arguments.get(&position) {
            return *reg;
        }
        let arguments = self.arguments;
        let reg = self.at_level(b, 0, |_, b| b.load(Mem::I64, Type::I64, arguments, 8 * position as i32));
        self.scopes[0].arguments.insert(position, reg);
        reg
    }

    // ---- memory of what was computed ---------------------------------------------------------------

    /// The scope in which something with these dependencies is computed.
    pub fn level_of(&self, needs: &Dependencies) -> usize {
        if needs.volatile {
            return self.top();
        }
        self.bound_level(needs).max(self.floor(needs.loads))
    }

    /// The innermost scope that binds any of these dependencies.
    fn bound_level(&self, needs: &Dependencies) -> usize {
        let symbols = needs.symbols.iter().map(|s| self.symbol_level(s));
        let accumulators = needs.accumulators.iter().map(|a| self.accumulators[*a as usize].level);
        symbols.chain(accumulators).fold(0, usize::max)
    }

    /// The value of an expression, where it is remembered: also what may not be computed there any more, but was.
    pub fn known(&self, id: ExprId, key: &ValueKey) -> Option<Value> {
        let needs = self.needs(id);
        let level = self.level_of(needs);
        let outermost = if needs.volatile { level } else { self.bound_level(needs) };
        (outermost..=level).rev().find_map(|level| Some(Value { reg: *self.scopes[level].values.get(key)?, level }))
    }

    /// The scope in which an index dim (with replacements made) is computed.
    pub fn dim_level(&self, dim: &Dim) -> usize {
        let mut level = self.floor(false);
        dim.visit_symbols(&mut |s| {
            level = level.max(match ExprId::of_symbol(s) {
                Some(id) => self.level_of(self.needs(id)),
                None => self.symbol_level(s),
            });
        });
        level
    }

    /// What an expression depends on.
    pub fn needs(&self, id: ExprId) -> &Dependencies {
        &self.dependencies[id.0 as usize]
    }

    /// Loads these accesses anew in every stage, as if stages wrote what they load.
    pub fn forget_after_stages(&mut self, accesses: &[&Access]) {
        for (id, expr) in self.exprs.iter() {
            let is_one = matches!(&expr.kind, ExprKind::Load(access) if accesses.contains(&access));
            let volatile = is_one || self.exprs.operands(id).iter().any(|operand| self.dependencies[operand.0 as usize].volatile);
            self.dependencies[id.0 as usize].volatile |= volatile;
        }
    }

    /// Adds an expression after the fact.
    pub fn add_expr(&mut self, dtype: kiln_ir::DType, kind: ExprKind) -> ExprId {
        let id = self.exprs.add(dtype, kind);
        if id.0 as usize == self.dependencies.len() {
            let needs = needs_of(&self.exprs, id, &self.dependencies, &BTreeSet::new());
            self.dependencies.push(needs);
        }
        id
    }

    /// Whether the value differs between lanes.
    pub fn varies(&self, id: ExprId) -> bool {
        let Some((symbol, _)) = &self.lanes else { return false };
        let needs = self.needs(id);
        needs.symbols.contains(symbol) || needs.accumulators.iter().any(|a| !self.accumulators[*a as usize].reg.ty.is_scalar())
    }

    /// Whether the dim's value differs between lanes.
    pub fn dim_varies(&self, dim: &Dim) -> bool {
        let Some((symbol, _)) = &self.lanes else { return false };
        let mut varies = false;
        dim.visit_symbols(&mut |s| varies |= s == symbol || ExprId::of_symbol(s).is_some_and(|id| self.varies(id)));
        varies
    }

    /// With loads remembered by where they load from, so that points which replace an index share them.
    pub fn sharing_loads<R>(&mut self, inside: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.shares_loads, true);
        let result = inside(self);
        self.shares_loads = before;
        result
    }

    /// Where a load without bounds or gathers loads from.
    fn place_loaded(&self, id: ExprId) -> Option<Dim> {
        let access = plain_load(&self.exprs, id)?;
        Some(self.resolve(&access.offset))
    }

    /// The key under which the value of an expression at this point is remembered.
    pub fn key(&self, id: ExprId) -> ValueKey {
        let needs = self.needs(id);
        let lanes = if self.varies(id) { self.lanes.as_ref().map_or(1, |l| l.1) } else { 1 };
        let shared = if self.shares_loads { self.place_loaded(id) } else { None };
        let replaced = match shared {
            Some(place) => vec![place],
            None => needs.symbols.iter().filter_map(|s| self.replacement(s)).collect(),
        };
        ValueKey {
            id,
            replaced,
            lanes,
            stage: if needs.volatile { self.stage } else { 0 },
            accumulators: needs.accumulators.iter().map(|a| self.accumulators[*a as usize].reg.index).collect(),
        }
    }

    /// What `compute` gives, emitted in the scope `level` and remembered there.
    pub fn remember(
        &mut self,
        b: &mut Builder,
        key: ValueKey,
        level: usize,
        compute: impl FnOnce(&mut Self, &mut Builder) -> Reg,
    ) -> Value {
        let reg = self.at_level(b, level, compute);
        self.scopes[level].values.insert(key, reg);
        Value { reg, level }
    }

    /// What was remembered of an index dim in the scope `level`, or what `compute` gives, emitted there.
    pub fn remembered_dim(
        &mut self,
        b: &mut Builder,
        dim: &Dim,
        level: usize,
        compute: impl FnOnce(&mut Self, &mut Builder) -> Reg,
    ) -> Value {
        if let Some(reg) = self.scopes[level].dims.get(dim) {
            return Value { reg: *reg, level };
        }
        let reg = self.at_level(b, level, compute);
        self.scopes[level].dims.insert(dim.clone(), reg);
        Value { reg, level }
    }

    /// As [`Context::remembered_dim`], for addresses.
    pub fn remembered_address(
        &mut self,
        b: &mut Builder,
        key: (Base, Dim),
        level: usize,
        compute: impl FnOnce(&mut Self, &mut Builder) -> Reg,
    ) -> Reg {
        if let Some(reg) = self.scopes[level].addresses.get(&key) {
            return *reg;
        }
        let reg = self.at_level(b, level, compute);
        self.scopes[level].addresses.insert(key, reg);
        reg
    }

    /// The value in `lanes` lanes.
    pub fn widened(&mut self, b: &mut Builder, value: Value, lanes: u32) -> Reg {
        if value.reg.ty.lanes == lanes {
            return value.reg;
        }
        // A scope that rarely runs keeps even splats of outer values.
        let level = value.level.max(self.floor(false));
        let key = (value.reg.index, lanes);
        if let Some(reg) = self.scopes[level].splats.get(&key) {
            return *reg;
        }
        let reg = self.at_level(b, level, |_, b| b.splat(value.reg, lanes));
        self.scopes[level].splats.insert(key, reg);
        reg
    }

    /// This stage stores to a buffer.
    pub fn overwrites(&mut self, buffer: BufferId) {
        self.overwritten.insert(buffer);
    }

    /// This stage stores lanes side by side where a mask holds, the first one at that offset. Later ones need not load them: what is
    /// stored so cannot be read back before it is in the cache.
    pub fn keep_stored(&mut self, buffer: BufferId, offset: Dim, mask: Reg, value: Reg) {
        let (top, stage) = (self.top(), self.stage);
        self.scopes[top].stored.insert((buffer, offset, mask), (value, stage));
    }

    /// What earlier stages stored there.
    pub fn kept_stored(&self, buffer: BufferId, offset: &Dim, mask: Reg, ty: Type) -> Option<Reg> {
        let key = (buffer, offset.clone(), mask);
        let (value, stage) = self.scopes.iter().rev().find_map(|scope| scope.stored.get(&key))?;
        (*stage < self.stage && value.ty == ty).then_some(*value)
    }

    /// A stage ends: what it stored may be loaded now, and what was kept of the buffers before it is gone.
    pub fn next_stage(&mut self) {
        let (stage, overwritten) = (self.stage, std::mem::take(&mut self.overwritten));
        for scope in &mut self.scopes {
            scope.stored.retain(|(buffer, ..), (_, of)| *of == stage || !overwritten.contains(buffer));
        }
        self.stage += 1;
    }
}

fn dependencies(exprs: &Exprs, stored: &BTreeSet<BufferId>) -> Vec<Dependencies> {
    let mut all: Vec<Dependencies> = Vec::new();
    for (id, _) in exprs.iter() {
        let needs = needs_of(exprs, id, &all, stored);
        all.push(needs);
    }
    all
}

fn needs_of(exprs: &Exprs, id: ExprId, earlier: &[Dependencies], stored: &BTreeSet<BufferId>) -> Dependencies {
    let mut needs = Dependencies::default();
    let mut dim = |d: &Dim| {
        d.visit_symbols(&mut |s| {
            if ExprId::of_symbol(s).is_none() {
                needs.symbols.insert(s.clone());
            }
        });
    };
    match &exprs.get(id).kind {
        ExprKind::Index(d) => dim(d),
        ExprKind::Load(access) => {
            dim(&access.offset);
            for bound in &access.bounds {
                dim(&bound.index);
                dim(&bound.extent);
            }
            needs.loads = true;
            needs.volatile = stored.contains(&access.buffer);
        }
        ExprKind::CheckedIndex { extent, .. } => {
            dim(extent);
            needs.loads = true;
        }
        ExprKind::Accumulator(n) => {
            needs.accumulators.insert(*n);
        }
        ExprKind::Constant(_)
        | ExprKind::Unary(..)
        | ExprKind::Binary(..)
        | ExprKind::Compare(..)
        | ExprKind::Select(..)
        | ExprKind::Cast(_) => {}
    }
    for operand in exprs.operands(id) {
        let of = &earlier[operand.0 as usize];
        needs.symbols.extend(of.symbols.iter().cloned());
        needs.accumulators.extend(&of.accumulators);
        needs.loads |= of.loads;
        needs.volatile |= of.volatile;
    }
    needs
}
