//! Writing tile programs: one method per instruction, closures for loops and branches.
//!
//! The builder knows types from the registers it is given and panics, at the generator's own line, when
//! they do not fit: that is a bug of the generator, never of a user's model.

use super::ir::{Binary, Block, Compare, Convert, Inst, Loop, Reg, Scratch, Shuffle, Stmt, TileProgram, Unary, Wanted};
use super::types::{Lane, Mem, Type};

/// Writes one [`TileProgram`].
pub struct Builder {
    program: TileProgram,
    /// Blocks being written, the innermost last.
    open: Vec<Block>,
}

/// Methods that emit a one-operand instruction of the operand's type.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        $($(#[$doc])* #[track_caller] pub fn $name(&mut self, a: Reg) -> Reg { self.unary(Unary::$op, a) })*
    };
}

/// Methods that emit a two-operand instruction of the operands' type.
macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        $($(#[$doc])* #[track_caller] pub fn $name(&mut self, a: Reg, b: Reg) -> Reg { self.binary(Binary::$op, a, b) })*
    };
}

/// Methods that emit a comparison.
macro_rules! compare {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        $($(#[$doc])* #[track_caller] pub fn $name(&mut self, a: Reg, b: Reg) -> Reg { self.compare(Compare::$op, a, b) })*
    };
}

/// Methods that emit a conversion to another lane kind.
macro_rules! convert {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        $($(#[$doc])* #[track_caller] pub fn $name(&mut self, a: Reg, to: Lane) -> Reg { self.convert(Convert::$op, a, to) })*
    };
}

impl Builder {
    /// A program with `params` scalar `I64` parameters; kernels have four: args pointer, worker, begin, end.
    pub fn new(name: impl Into<String>, params: u32) -> Builder {
        let params: Vec<Reg> = (0..params).map(|index| Reg { index, ty: Type::I64 }).collect();
        Builder {
            program: TileProgram {
                name: name.into(),
                registers: params.len() as u32,
                params,
                scratch: vec![],
                shared: vec![],
                blocks_beside: 1,
                persistent: false,
                cluster: 1,
                body: vec![],
            },
            open: vec![vec![]],
        }
    }

    /// The parameters: `let [args, worker, begin, end] = b.params();`. Panics when the count differs.
    #[track_caller]
    pub fn params<const N: usize>(&self) -> [Reg; N] {
        self.program.params[..].try_into().expect("tile: the number of parameters differs from the one given to Builder::new")
    }

    /// The finished program.
    pub fn finish(mut self) -> TileProgram {
        assert_eq!(self.open.len(), 1, "tile: finish inside a loop or branch of {}", self.program.name);
        self.program.body = self.open.pop().unwrap_or_default();
        self.program
    }

    // ---- constants, memory -------------------------------------------------------------------------

    /// Every lane is `value`, wrapped to the lane; for masks, 0 is false and all else true.
    #[track_caller]
    pub fn int(&mut self, ty: Type, value: i64) -> Reg {
        self.emit(ty, Inst::Int(value))
    }

    /// Every lane is `value`, rounded to the lane.
    #[track_caller]
    pub fn float(&mut self, ty: Type, value: f64) -> Reg {
        self.emit(ty, Inst::Float(value.to_bits()))
    }

    /// A scalar `I64` constant: sizes, strides, addresses.
    pub fn index(&mut self, value: i64) -> Reg {
        self.int(Type::I64, value)
    }

    /// The address of fresh stack memory, alive until the program returns; not initialised.
    pub fn scratch(&mut self, size_bytes: u32, align_bytes: u32) -> Reg {
        self.program.scratch.push(Scratch { size_bytes, align_bytes });
        self.emit(Type::I64, Inst::Scratch(self.program.scratch.len() as u32 - 1))
    }

    /// `ty.lanes` consecutive elements from `address + offset` bytes, converted as [`Mem`] says.
    #[track_caller]
    pub fn load(&mut self, mem: Mem, ty: Type, address: Reg, offset: i32) -> Reg {
        self.emit(ty, Inst::Load { mem, address, offset })
    }

    /// One element from `address + offset` in every lane.
    #[track_caller]
    pub fn load_splat(&mut self, mem: Mem, ty: Type, address: Reg, offset: i32) -> Reg {
        let scalar = self.load(mem, ty.element(), address, offset);
        self.splat(scalar, ty.lanes)
    }

    /// Elements `stride` bytes apart (scalar `I64`), the first at `address + offset`.
    #[track_caller]
    pub fn load_strided(&mut self, mem: Mem, ty: Type, address: Reg, offset: i32, stride: Reg) -> Reg {
        self.emit(ty, Inst::LoadStrided { mem, address, offset, stride })
    }

    /// Elements at `address + offset + indices[lane]` bytes; `indices` are `I64`.
    #[track_caller]
    pub fn gather(&mut self, mem: Mem, ty: Type, address: Reg, offset: i32, indices: Reg) -> Reg {
        self.emit(ty, Inst::Gather { mem, address, offset, indices })
    }

    /// Consecutive elements to `address + offset` bytes, converted as [`Mem`] says.
    #[track_caller]
    pub fn store(&mut self, mem: Mem, value: Reg, address: Reg, offset: i32) {
        self.push(Stmt::Store { mem, value, address, offset });
    }

    /// Elements to addresses `stride` bytes apart (scalar `I64`), in ascending order of lanes.
    #[track_caller]
    pub fn store_strided(&mut self, mem: Mem, value: Reg, address: Reg, offset: i32, stride: Reg) {
        self.push(Stmt::StoreStrided { mem, value, address, offset, stride });
    }

    /// Elements to `address + offset + indices[lane]` bytes, in ascending order of lanes.
    #[track_caller]
    pub fn scatter(&mut self, mem: Mem, value: Reg, address: Reg, offset: i32, indices: Reg) {
        self.push(Stmt::Scatter { mem, value, address, offset, indices });
    }

    /// As [`Builder::load`] where the mask holds, else zero.
    #[track_caller]
    pub fn load_masked(&mut self, mem: Mem, ty: Type, address: Reg, offset: i32, mask: Reg) -> Reg {
        self.emit(ty, Inst::LoadMasked { mem, address, offset, mask })
    }

    /// As [`Builder::store`] where the mask holds.
    #[track_caller]
    pub fn store_masked(&mut self, mem: Mem, value: Reg, address: Reg, offset: i32, mask: Reg) {
        self.push(Stmt::StoreMasked { mem, value, address, offset, mask });
    }

    /// The mask of the first `count` of so many lanes.
    #[track_caller]
    pub fn first_lanes(&mut self, count: Reg, lanes: u32) -> Reg {
        self.emit(Type::MASK.times(lanes), Inst::FirstLanes(count))
    }

    /// Asks for the cache line of `address + offset` bytes.
    #[track_caller]
    pub fn prefetch(&mut self, address: Reg, offset: i32, wanted: Wanted) {
        self.push(Stmt::Prefetch { address, offset, wanted });
    }

    // ---- lanes -------------------------------------------------------------------------------------

    /// The scalar in each of `lanes` lanes (the scalar itself for one lane).
    #[track_caller]
    pub fn splat(&mut self, scalar: Reg, lanes: u32) -> Reg {
        if lanes == 1 {
            return scalar;
        }
        self.emit(scalar.ty.times(lanes), Inst::Splat(scalar))
    }

    /// The scalar in lane `lane` (the operand itself when it is a scalar).
    #[track_caller]
    pub fn extract(&mut self, vector: Reg, lane: u32) -> Reg {
        if vector.ty.is_scalar() && lane == 0 {
            return vector;
        }
        self.emit(vector.ty.element(), Inst::Extract(vector, lane))
    }

    /// The vector with lane `lane` replaced.
    #[track_caller]
    pub fn insert(&mut self, vector: Reg, lane: u32, scalar: Reg) -> Reg {
        self.emit(vector.ty, Inst::Insert { vector, lane, scalar })
    }

    /// The lower half of the lanes.
    #[track_caller]
    pub fn low_half(&mut self, vector: Reg) -> Reg {
        let half = vector.ty.times(vector.ty.lanes / 2);
        self.emit(half, Inst::Half { vector, high: false })
    }

    /// The upper half of the lanes.
    #[track_caller]
    pub fn high_half(&mut self, vector: Reg) -> Reg {
        let half = vector.ty.times(vector.ty.lanes / 2);
        self.emit(half, Inst::Half { vector, high: true })
    }

    /// The lanes of `low`, then those of `high`.
    #[track_caller]
    pub fn concat(&mut self, low: Reg, high: Reg) -> Reg {
        self.emit(low.ty.times(low.ty.lanes * 2), Inst::Concat(low, high))
    }

    /// Lanes of two vectors of 32-bit lanes.
    #[track_caller]
    pub fn shuffle(&mut self, op: Shuffle, a: Reg, b: Reg) -> Reg {
        self.emit(a.ty, Inst::Shuffle(op, a, b))
    }

    /// All lanes combined by a fixed tree: lane `l` with lane `l + lanes/2`, then the halves of that, and
    /// so on to a scalar. The tree depends on the lane count only, so every emitter gives the same bits.
    pub fn reduce_lanes(&mut self, vector: Reg, combine: impl Fn(&mut Builder, Reg, Reg) -> Reg) -> Reg {
        let mut value = vector;
        while value.ty.lanes > 1 {
            let (low, high) = (self.low_half(value), self.high_half(value));
            value = combine(self, low, high);
        }
        value
    }

    // ---- arithmetic --------------------------------------------------------------------------------

    /// A one-operand instruction.
    #[track_caller]
    pub fn unary(&mut self, op: Unary, a: Reg) -> Reg {
        self.emit(a.ty, Inst::Unary(op, a))
    }

    /// A two-operand instruction.
    #[track_caller]
    pub fn binary(&mut self, op: Binary, a: Reg, b: Reg) -> Reg {
        self.emit(a.ty, Inst::Binary(op, a, b))
    }

    /// A comparison; the result is a mask.
    #[track_caller]
    pub fn compare(&mut self, op: Compare, a: Reg, b: Reg) -> Reg {
        self.emit(a.ty.mask(), Inst::Compare(op, a, b))
    }

    /// A conversion to lanes of kind `to`.
    #[track_caller]
    pub fn convert(&mut self, op: Convert, a: Reg, to: Lane) -> Reg {
        self.emit(a.ty.with_lane(to), Inst::Convert(op, a))
    }

    unary! {
        /// `−a`: [`Unary::Neg`].
        neg => Neg;
        /// `|a|`: [`Unary::Abs`].
        abs => Abs;
        /// Bits or truth inverted: [`Unary::Not`].
        not => Not;
        /// Square root: [`Unary::Sqrt`].
        sqrt => Sqrt;
        /// Towards +∞: [`Unary::Ceil`].
        ceil => Ceil;
        /// Towards −∞: [`Unary::Floor`].
        floor => Floor;
        /// Towards zero: [`Unary::Trunc`].
        trunc => Trunc;
        /// Nearest integer, ties to even: [`Unary::Nearest`].
        nearest => Nearest;
        /// Rounded to binary16's values: [`Unary::RoundF16`].
        round_f16 => RoundF16;
        /// Rounded to bfloat16's values: [`Unary::RoundBF16`].
        round_bf16 => RoundBF16;
    }

    binary! {
        /// `a + b`: [`Binary::Add`].
        add => Add;
        /// `a − b`: [`Binary::Sub`].
        sub => Sub;
        /// `a · b`: [`Binary::Mul`].
        mul => Mul;
        /// Float quotient: [`Binary::Div`].
        div => Div;
        /// Signed integer quotient: [`Binary::DivS`].
        div_s => DivS;
        /// Unsigned integer quotient: [`Binary::DivU`].
        div_u => DivU;
        /// Signed integer remainder: [`Binary::RemS`].
        rem_s => RemS;
        /// Unsigned integer remainder: [`Binary::RemU`].
        rem_u => RemU;
        /// Bits or truth: [`Binary::And`].
        and => And;
        /// Bits or truth: [`Binary::Or`].
        or => Or;
        /// Bits or truth: [`Binary::Xor`].
        xor => Xor;
        /// Left shift: [`Binary::Shl`].
        shl => Shl;
        /// Right shift with sign: [`Binary::ShrS`].
        shr_s => ShrS;
        /// Right shift with zeros: [`Binary::ShrU`].
        shr_u => ShrU;
        /// NaN-propagating minimum: [`Binary::Minimum`].
        minimum => Minimum;
        /// NaN-propagating maximum: [`Binary::Maximum`].
        maximum => Maximum;
        /// `a < b ? a : b`: [`Binary::MinOrSecond`].
        min_or_second => MinOrSecond;
        /// `a > b ? a : b`: [`Binary::MaxOrSecond`].
        max_or_second => MaxOrSecond;
        /// `a · 2ᵇ`: [`Binary::Scale`].
        scale => Scale;
        /// Signed integer minimum: [`Binary::MinS`].
        min_s => MinS;
        /// Unsigned integer minimum: [`Binary::MinU`].
        min_u => MinU;
        /// Signed integer maximum: [`Binary::MaxS`].
        max_s => MaxS;
        /// Unsigned integer maximum: [`Binary::MaxU`].
        max_u => MaxU;
    }

    compare! {
        /// `a = b`: [`Compare::Eq`].
        eq => Eq;
        /// `a ≠ b`, true for NaN: [`Compare::Ne`].
        ne => Ne;
        /// `a < b`: [`Compare::Lt`].
        lt => Lt;
        /// `a ≤ b`: [`Compare::Le`].
        le => Le;
        /// `a > b`: [`Compare::Gt`].
        gt => Gt;
        /// `a ≥ b`: [`Compare::Ge`].
        ge => Ge;
        /// Unsigned `a < b`: [`Compare::LtU`].
        lt_u => LtU;
        /// Unsigned `a ≤ b`: [`Compare::LeU`].
        le_u => LeU;
        /// Unsigned `a > b`: [`Compare::GtU`].
        gt_u => GtU;
        /// Unsigned `a ≥ b`: [`Compare::GeU`].
        ge_u => GeU;
    }

    convert! {
        /// Wider signed integer: [`Convert::ExtendS`].
        extend_s => ExtendS;
        /// Wider unsigned integer: [`Convert::ExtendU`].
        extend_u => ExtendU;
        /// Narrower integer: [`Convert::Wrap`].
        wrap => Wrap;
        /// Signed integer to float: [`Convert::IntToFloatS`].
        int_to_float_s => IntToFloatS;
        /// Unsigned integer to float: [`Convert::IntToFloatU`].
        int_to_float_u => IntToFloatU;
        /// Float to signed integer: [`Convert::FloatToIntS`].
        float_to_int_s => FloatToIntS;
        /// Float to unsigned integer: [`Convert::FloatToIntU`].
        float_to_int_u => FloatToIntU;
        /// `F32` to `F64` or back: [`Convert::FloatToFloat`].
        float_to_float => FloatToFloat;
        /// The same bits: [`Convert::Bitcast`].
        bitcast => Bitcast;
    }

    /// `a · b + c`: [`Inst::Fma`].
    #[track_caller]
    pub fn fma(&mut self, a: Reg, b: Reg, c: Reg) -> Reg {
        self.emit(a.ty, Inst::Fma(a, b, c))
    }

    /// `mask ? a : b`, lane by lane: [`Inst::Select`].
    #[track_caller]
    pub fn select(&mut self, mask: Reg, a: Reg, b: Reg) -> Reg {
        self.emit(a.ty, Inst::Select(mask, a, b))
    }

    /// Integers: `a + constant` (`a` itself for 0).
    #[track_caller]
    pub fn add_int(&mut self, a: Reg, constant: i64) -> Reg {
        if constant == 0 {
            return a;
        }
        let constant = self.int(a.ty, constant);
        self.add(a, constant)
    }

    /// Integers: `a · constant` (`a` itself for 1).
    #[track_caller]
    pub fn mul_int(&mut self, a: Reg, constant: i64) -> Reg {
        if constant == 1 {
            return a;
        }
        let constant = self.int(a.ty, constant);
        self.mul(a, constant)
    }

    // ---- control -----------------------------------------------------------------------------------

    /// `for i in start..end step step { body }`: nothing carried.
    pub fn for_each(&mut self, start: Reg, end: Reg, step: i64, body: impl FnOnce(&mut Builder, Reg)) {
        self.loop_carrying(start, end, step, &[], |b, i, _| {
            body(b, i);
            vec![]
        });
    }

    /// A loop with carried values: `body(builder, i, carried)` gives the next turn's values; the result are
    /// the last ones (`init` when no turn ran).
    #[track_caller]
    pub fn loop_carrying(
        &mut self,
        start: Reg,
        end: Reg,
        step: i64,
        init: &[Reg],
        body: impl FnOnce(&mut Builder, Reg, &[Reg]) -> Vec<Reg>,
    ) -> Vec<Reg> {
        assert!(start.ty == Type::I64 && end.ty == Type::I64 && step > 0, "tile: loop bounds are scalar i64 and the step is above zero");
        let index = self.fresh(Type::I64);
        let carried: Vec<Reg> = init.iter().map(|r| self.fresh(r.ty)).collect();
        let (body, yields) = self.aside(|b| body(b, index, &carried));
        assert_same_types(init, &yields);
        let results: Vec<Reg> = init.iter().map(|r| self.fresh(r.ty)).collect();
        self.push(Stmt::Loop(Loop { index, start, end, step, init: init.to_vec(), carried, body, yields, results: results.clone() }));
        results
    }

    /// Runs `then` when the scalar mask holds.
    pub fn if_then(&mut self, condition: Reg, then: impl FnOnce(&mut Builder)) {
        self.if_else(
            condition,
            |b| {
                then(b);
                vec![]
            },
            |_| vec![],
        );
    }

    /// Runs one of two blocks, as the scalar mask says; both give values of the same types.
    #[track_caller]
    pub fn if_else(
        &mut self,
        condition: Reg,
        then: impl FnOnce(&mut Builder) -> Vec<Reg>,
        otherwise: impl FnOnce(&mut Builder) -> Vec<Reg>,
    ) -> Vec<Reg> {
        assert_eq!(condition.ty, Type::MASK, "tile: an `if` takes a scalar mask");
        let (then_block, then_values) = self.aside(then);
        let (otherwise_block, otherwise_values) = self.aside(otherwise);
        assert_same_types(&then_values, &otherwise_values);
        let results: Vec<Reg> = then_values.iter().map(|r| self.fresh(r.ty)).collect();
        self.push(Stmt::If {
            condition,
            then: (then_block, then_values),
            otherwise: (otherwise_block, otherwise_values),
            results: results.clone(),
        });
        results
    }

    // ---- hoisting ----------------------------------------------------------------------------------

    /// Number of the innermost open block: 0 is the function's body, each loop or branch inside adds one.
    pub fn depth(&self) -> usize {
        self.open.len() - 1
    }

    /// Emits at the present end of the enclosing block `depth`: before the loops and branches that are open inside it.
    /// So a generator can compute what does not depend on a loop outside of it when it meets the first use.
    #[track_caller]
    pub fn hoisted<R>(&mut self, depth: usize, emit: impl FnOnce(&mut Builder) -> R) -> R {
        assert!(depth < self.open.len(), "tile: block {depth} is not open");
        let inside = self.open.split_off(depth + 1);
        let result = emit(self);
        assert_eq!(self.open.len(), depth + 1, "tile: a block stayed open in hoisted code");
        self.open.extend(inside);
        result
    }

    // ---- inside ------------------------------------------------------------------------------------

    /// A builder for the same program with its body still to be written: how passes rewrite programs.
    pub(super) fn rewriting(program: &TileProgram) -> Builder {
        Builder { program: TileProgram { body: vec![], ..program.clone() }, open: vec![vec![]] }
    }

    /// The statements that `write` emits, kept out of the block being written.
    pub(super) fn aside<T>(&mut self, write: impl FnOnce(&mut Builder) -> T) -> (Block, T) {
        self.open_block();
        let value = write(self);
        (self.close_block(), value)
    }

    /// Starts a block: statements go into it until [`Builder::close_block`].
    pub(super) fn open_block(&mut self) {
        self.open.push(vec![]);
    }

    /// The statements since [`Builder::open_block`].
    pub(super) fn close_block(&mut self) -> Block {
        self.open.pop().expect("a block was opened")
    }

    /// Appends a finished statement.
    pub(super) fn append(&mut self, stmt: Stmt) {
        self.open.last_mut().expect("a block is always open").push(stmt);
    }

    fn fresh(&mut self, ty: Type) -> Reg {
        let index = self.program.registers;
        self.program.registers += 1;
        Reg { index, ty }
    }

    /// Says how many blocks a multiprocessor should have room for.
    pub fn set_blocks_beside(&mut self, blocks: u32) {
        self.program.blocks_beside = blocks;
    }

    /// Says how many blocks are a cluster.
    pub fn set_cluster(&mut self, blocks: u32) {
        self.program.cluster = blocks;
    }

    /// Says that a block is called once, for all of its tasks.
    pub fn set_persistent(&mut self) {
        self.program.persistent = true;
    }

    /// Adds a piece of shared memory.
    pub(super) fn add_shared(&mut self, piece: Scratch) -> u32 {
        self.program.shared.push(piece);
        self.program.shared.len() as u32 - 1
    }

    #[track_caller]
    pub(super) fn emit(&mut self, ty: Type, inst: Inst) -> Reg {
        assert!(ty.is_valid(), "tile: {ty} has no valid lane count");
        if let Some(why) = inst.type_error(ty) {
            panic!("tile: {}: {inst:?}: {why}", self.program.name);
        }
        let result = self.fresh(ty);
        self.push(Stmt::Let { result, inst });
        result
    }

    #[track_caller]
    pub(super) fn push(&mut self, stmt: Stmt) {
        if let Some(why) = stmt.type_error() {
            panic!("tile: {}: {why}", self.program.name);
        }
        self.open.last_mut().expect("a block is always open").push(stmt);
    }
}

#[track_caller]
fn assert_same_types(a: &[Reg], b: &[Reg]) {
    let types = |regs: &[Reg]| regs.iter().map(|r| r.ty).collect::<Vec<_>>();
    assert_eq!(types(a), types(b), "tile: values of a loop or branch change type");
}
