//! A tile program as PTX: each lane of a register becomes one, loops and branches become labels.
//!
//! Either a thread computes a task, and one after the other as far apart as there are threads; or a block of threads computes one
//! together, and blocks take tasks likewise.

use super::facts::Facts;
use super::function::Function;
use super::inst::{Class, Cmp, Inst, Op, Operand, Plain, Reg, Space, Ty};
use super::{block, memory, select};
use crate::lower::Arg;
use crate::tile::{self, Inst as TileInst, Lane, Loop, Mem, Stmt, TileProgram};
use std::collections::HashMap;

/// Names of parameters, by number.
pub const PARAMETER: &str = "a";
/// Name of the parameter that says how many tasks there are.
pub const TASKS: &str = "tasks";
/// Names of pieces of a thread's own memory, by number.
pub const SCRATCH: &str = "scratch";
/// Names of pieces of a block's memory, by number.
pub const SHARED: &str = "shared";
/// Name of a block's memory whose size is said when it is launched, before the number of the only one.
pub const SHARED_AT_LAUNCH: &str = "shared_at_launch";
/// Bytes of a block's memory of which more have to be said when it is launched.
const MOST_STATIC: u32 = 48 << 10;

/// Bytes of memory that blocks are given when they are launched, or 0 where the kernel says them itself.
pub(super) fn shared_at_launch(program: &TileProgram) -> u32 {
    let bytes = shared_before(program, program.shared.len());
    if bytes > MOST_STATIC { bytes } else { 0 }
}

/// Bytes of the block's memory before one of its pieces, where they lie one behind the other.
pub(super) fn shared_before(program: &TileProgram, piece: usize) -> u32 {
    program.shared[..piece].iter().enumerate().fold(0, |bytes, (at, one)| {
        let next = program.shared.get(at + 1).map_or(1, |piece| piece.align_bytes);
        (bytes + one.size_bytes).next_multiple_of(next)
    })
}

/// The state of translating one program.
pub(super) struct Translation<'a> {
    pub(super) program: &'a TileProgram,
    arguments: &'a [Arg],
    pub(super) facts: Facts,
    /// One register for each lane.
    registers: HashMap<u32, Vec<Reg>>,
    /// Registers whose value is known.
    constants: HashMap<u32, i64>,
    /// Registers that hold the address of the error cell.
    error_cells: Vec<u32>,
    /// The lane that is being computed.
    lane: usize,
    /// Whether the block's memory is of a size that is said when it is launched.
    pub(super) shared_at_launch: bool,
    /// The lanes of the warp that exchange values with this one.
    pub(super) members: Option<Reg>,
}

/// The function that runs the program for all tasks, each by a block where `is_block` says so. `arguments` are what its array of
/// arguments holds. Where it `begins_early`, it is launched while the kernel before it ends, and lets the next one begin likewise.
pub(super) fn kernel(program: &TileProgram, arguments: &[Arg], is_block: bool, begins_early: bool) -> Function {
    let mut f = Function::default();
    if begins_early {
        // Before anything is read: whoever waits for this kernel knows then that those before it are done, too.
        f.push(Inst::Plain(Plain::WaitForKernels));
    }
    let mut t = Translation {
        program,
        arguments,
        facts: Facts::of(program, arguments),
        registers: HashMap::new(),
        constants: HashMap::new(),
        error_cells: vec![],
        lane: 0,
        shared_at_launch: shared_at_launch(program) > 0,
        members: None,
    };
    let tasks = f.ld(Space::Param, Ty::B64, Operand::Name(TASKS), 0);
    let [block, size, thread, blocks] = ["%ctaid.x", "%ntid.x", "%tid.x", "%nctaid.x"].map(|name| {
        let special = f.op(Op::Mov, Ty::U32, [Operand::Name(name)]);
        f.cvt(super::inst::Round::None, Ty::U64, Ty::U32, special)
    });
    let (start, stride) = match is_block {
        true => {
            t.members = is_block.then(|| block::members(&mut f));
            (block, blocks)
        }
        false => {
            let start = f.op(Op::MulLo, Ty::U64, [block.into(), size.into()]);
            (f.op(Op::Add, Ty::U64, [start.into(), thread.into()]), f.op(Op::MulLo, Ty::U64, [size.into(), blocks.into()]))
        }
    };
    let [_, worker, first, end] = [0, 1, 2, 3].map(|at| program.params[at].index);
    if program.persistent {
        t.registers.extend([(worker, vec![thread]), (first, vec![start]), (end, vec![tasks])]);
        t.block(&mut f, &program.body);
    } else {
        let task = f.reg(Class::B64);
        f.set(task, start);
        f.repeat_while(
            &mut t,
            false,
            |f, _| f.setp(Cmp::Lt, Ty::U64, task, tasks),
            |f, t| {
                let next = f.op(Op::Add, Ty::U64, [task.into(), Operand::Int(1)]);
                t.registers.insert(first, vec![task]);
                t.registers.insert(end, vec![next]);
                // Where threads share nothing, none has a number.
                let number = if is_block { thread } else { f.op(Op::Mov, Ty::U64, [Operand::Int(0)]) };
                t.registers.insert(worker, vec![number]);
                t.block(f, &t.program.body);
                let later = f.op(Op::Add, Ty::U64, [task.into(), stride.into()]);
                f.set(task, later);
            },
        );
    }
    if begins_early {
        // Not before, as blocks of the next kernel would gather on the first multiprocessors that have room.
        f.push(Inst::Plain(Plain::LaunchNext));
    }
    f.push(Inst::Plain(Plain::Ret));
    f.remove_unread();
    f
}

impl Translation<'_> {
    /// The register of the present lane of a tile register; of its only one, if it has one.
    pub(super) fn get(&self, reg: tile::Reg) -> Reg {
        let lanes = self.lanes(reg);
        lanes[self.lane.min(lanes.len() - 1)]
    }

    /// The registers of all lanes.
    pub(super) fn lanes(&self, reg: tile::Reg) -> &[Reg] {
        self.registers.get(&reg.index).unwrap_or_else(|| panic!("ptx: {reg} has no value"))
    }

    /// The present lane as an operand of instructions on integers: the value itself where it is known.
    pub(super) fn operand(&self, reg: tile::Reg) -> Operand {
        self.constant(reg).map_or_else(|| self.get(reg).into(), Operand::Int)
    }

    /// The value of an integer register, the same in all lanes, where it is known.
    pub(super) fn constant(&self, reg: tile::Reg) -> Option<i64> {
        self.constants.get(&reg.index).copied()
    }

    fn block(&mut self, f: &mut Function, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(f, stmt);
        }
    }

    fn stmt(&mut self, f: &mut Function, stmt: &Stmt) {
        match stmt {
            Stmt::Let { result, inst } => {
                let values = self.values(f, *result, inst);
                self.registers.insert(result.index, values);
                if let TileInst::Int(value) = *inst
                    && result.ty.lane.is_int()
                {
                    self.constants.insert(result.index, wrapped(result.ty.lane, value));
                }
            }
            Stmt::Store { mem, value, address, offset } => {
                let space = self.space(*address);
                let place =
                    memory::Place { space, base: self.get(*address), offset: i64::from(*offset), divisor: self.facts.divisor(*address) };
                memory::store(f, *mem, place, self.lanes(*value));
            }
            Stmt::StoreStrided { mem, value, address, offset, stride } => {
                let space = self.space(*address);
                let places = self.strided(f, *address, *stride, value.ty.lanes);
                for (base, value) in places.into_iter().zip(self.lanes(*value).to_vec()) {
                    memory::store(f, *mem, memory::Place { space, base, offset: i64::from(*offset), divisor: 1 }, &[value]);
                }
            }
            Stmt::Scatter { mem, value, address, offset, indices } => {
                let space = self.space(*address);
                let places = self.indexed(f, *address, *indices);
                for (base, value) in places.into_iter().zip(self.lanes(*value).to_vec()) {
                    memory::store(f, *mem, memory::Place { space, base, offset: i64::from(*offset), divisor: 1 }, &[value]);
                }
            }
            Stmt::StoreMasked { .. } => panic!("ptx: masked stores are expanded"),
            Stmt::Prefetch { address, offset, .. } => {
                let base = self.get(*address);
                f.push(Inst::Prefetch { base, offset: i64::from(*offset) });
            }
            Stmt::Cooperative(stmt) => block::stmt(self, f, stmt),
            Stmt::Loop(l) => self.counted(f, l),
            Stmt::If { condition, then, otherwise, results } => {
                let condition = self.get(*condition);
                let outs: Vec<Vec<Reg>> = results.iter().map(|r| fresh(f, r.ty)).collect();
                let branch = |branch: &(Vec<Stmt>, Vec<tile::Reg>), f: &mut Function, t: &mut Self| {
                    t.block(f, &branch.0);
                    for (out, value) in outs.iter().zip(&branch.1) {
                        t.move_lanes(f, out, *value);
                    }
                };
                f.if_else(self, condition, |f, t| branch(then, f, t), |f, t| branch(otherwise, f, t));
                self.registers.extend(results.iter().map(|r| r.index).zip(outs.iter().cloned()));
            }
        }
    }

    /// The lanes of an instruction's value.
    fn values(&mut self, f: &mut Function, result: tile::Reg, inst: &TileInst) -> Vec<Reg> {
        let (lane, lanes) = (result.ty.lane, result.ty.lanes as usize);
        match *inst {
            TileInst::Load { mem, address, offset } if address == self.program.params[0] => vec![self.argument(f, mem, offset, result)],
            TileInst::Load { mem, address, offset } => {
                let divisor = self.facts.divisor(address);
                let place = memory::Place { space: self.facts.space(address), base: self.get(address), offset: i64::from(offset), divisor };
                memory::load(f, mem, place, lane, lanes)
            }
            TileInst::LoadStrided { mem, address, offset, stride } => {
                let space = self.facts.space(address);
                let places = self.strided(f, address, stride, result.ty.lanes);
                let one = |base| memory::Place { space, base, offset: i64::from(offset), divisor: 1 };
                places.into_iter().flat_map(|base| memory::load(f, mem, one(base), lane, 1)).collect()
            }
            TileInst::Gather { mem, address, offset, indices } => {
                let space = self.facts.space(address);
                let places = self.indexed(f, address, indices);
                let one = |base| memory::Place { space, base, offset: i64::from(offset), divisor: 1 };
                places.into_iter().flat_map(|base| memory::load(f, mem, one(base), lane, 1)).collect()
            }
            TileInst::Splat(a) => vec![self.get(a); lanes],
            TileInst::Extract(a, at) => vec![self.lanes(a)[at as usize]],
            TileInst::Insert { vector, lane, scalar } => {
                let mut all = self.lanes(vector).to_vec();
                all[lane as usize] = self.get(scalar);
                all
            }
            TileInst::Half { vector, high } => {
                let (low, upper) = self.lanes(vector).split_at(lanes);
                if high { upper } else { low }.to_vec()
            }
            TileInst::Concat(a, b) => [self.lanes(a), self.lanes(b)].concat(),
            TileInst::Shuffle(op, a, b) => {
                let source = |at| {
                    let (second, from) = op.source(at, result.ty.lanes);
                    self.lanes(if second { b } else { a })[from as usize]
                };
                (0..result.ty.lanes).map(source).collect()
            }
            TileInst::Cooperative(ref inst) => block::inst(self, f, inst, result.ty),
            // Constants are the same in all lanes.
            TileInst::Int(_) | TileInst::Float(_) => vec![select::inst(self, f, inst, lane); lanes],
            _ => {
                let each = |at| {
                    self.lane = at;
                    select::inst(self, f, inst, lane)
                };
                let all = (0..lanes).map(each).collect();
                self.lane = 0;
                all
            }
        }
    }

    fn move_lanes(&self, f: &mut Function, to: &[Reg], from: tile::Reg) {
        for (to, from) in to.iter().zip(self.lanes(from)) {
            f.set(*to, *from);
        }
    }

    fn counted(&mut self, f: &mut Function, l: &Loop) {
        let (index, end) = (f.reg(Class::B64), self.get(l.end));
        f.set(index, self.get(l.start));
        let carried: Vec<Vec<Reg>> = l.carried.iter().map(|r| fresh(f, r.ty)).collect();
        for (regs, value) in carried.iter().zip(&l.init) {
            self.move_lanes(f, regs, *value);
        }
        // The body may not overwrite what it counts by.
        self.registers.insert(l.index.index, vec![index]);
        self.registers.extend(l.carried.iter().map(|r| r.index).zip(carried.iter().cloned()));
        let all: Vec<Reg> = carried.iter().flatten().copied().collect();
        // Loops inside one that is unrolled would each take registers.
        let unrolls = !l.body.iter().any(Stmt::has_loops);
        f.repeat_while(
            self,
            unrolls,
            |f, _| f.setp(Cmp::Lt, Ty::S64, index, end),
            |f, t| {
                t.block(f, &l.body);
                // All are read before the first is overwritten. What was changed where it lies stays.
                let next = l.yields.iter().flat_map(|value| t.lanes(*value).to_vec());
                let moved: Vec<(Reg, Reg)> = all.iter().copied().zip(next).filter(|(to, from)| to != from).collect();
                let kept: Vec<Reg> = moved.iter().map(|(_, from)| if all.contains(from) { copy(f, *from) } else { *from }).collect();
                for ((to, _), value) in moved.iter().zip(kept) {
                    f.set(*to, value);
                }
                let later = f.op(Op::Add, Ty::S64, [index.into(), Operand::Int(l.step)]);
                f.set(index, later);
            },
        );
        self.registers.extend(l.results.iter().map(|r| r.index).zip(carried.iter().cloned()));
    }

    /// An element of the array of arguments, which are parameters here.
    fn argument(&mut self, f: &mut Function, mem: Mem, offset: i32, result: tile::Reg) -> Reg {
        assert!(mem == Mem::I64 && offset % 8 == 0, "ptx: an argument is an i64");
        let at = (offset / 8) as usize;
        match self.arguments[at] {
            Arg::ErrorCell => self.error_cells.push(result.index),
            Arg::TensorMap(_) => {
                let place = f.op(Op::Mov, Ty::B64, [Operand::Variable(PARAMETER, at as u32)]);
                return f.op(Op::CvtaParam, Ty::U64, [place.into()]);
            }
            Arg::Buffer(_) | Arg::Symbol(_) | Arg::WorkerScratch => {}
        }
        f.ld(Space::Param, Ty::B64, Operand::Variable(PARAMETER, at as u32), 0)
    }

    /// Where a store to an address goes.
    fn space(&self, address: tile::Reg) -> Space {
        if self.error_cells.contains(&address.index) { Space::RelaxedGlobal } else { self.facts.space(address) }
    }

    /// Addresses of lanes so many bytes apart.
    fn strided(&mut self, f: &mut Function, address: tile::Reg, stride: tile::Reg, lanes: u32) -> Vec<Reg> {
        let mut places = vec![self.get(address)];
        let stride = self.operand(stride);
        for at in 1..lanes as usize {
            places.push(f.op(Op::Add, Ty::S64, [places[at - 1].into(), stride.clone()]));
        }
        places
    }

    /// Addresses of lanes at offsets of their own.
    fn indexed(&mut self, f: &mut Function, address: tile::Reg, indices: tile::Reg) -> Vec<Reg> {
        let base = self.get(address);
        self.lanes(indices).to_vec().into_iter().map(|index| f.op(Op::Add, Ty::S64, [base.into(), index.into()])).collect()
    }
}

/// Registers of a value.
fn fresh(f: &mut Function, ty: tile::Type) -> Vec<Reg> {
    (0..ty.lanes).map(|_| f.reg(class_of(ty.lane))).collect()
}

/// An integer as wide as the lane, its sign kept.
fn wrapped(lane: Lane, value: i64) -> i64 {
    let unused = 64 - lane.bits();
    value << unused >> unused
}

fn copy(f: &mut Function, reg: Reg) -> Reg {
    f.op(Op::Mov, reg.class.ty(), [reg.into()])
}

/// The class of registers that hold a lane.
pub(super) fn class_of(lane: Lane) -> Class {
    match lane {
        Lane::Mask => Class::Pred,
        Lane::I8 | Lane::I16 | Lane::I32 => Class::B32,
        Lane::I64 => Class::B64,
        Lane::F32 => Class::F32,
        Lane::F64 => Class::F64,
    }
}
