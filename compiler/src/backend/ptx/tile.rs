//! A tile program of scalars as PTX: each register becomes one, loops and branches become labels.
//!
//! The program computes a range of tasks; a thread computes one after the other, as far apart as there are threads.

use super::function::Function;
use super::inst::{Class, Cmp, Inst, Op, Operand, Reg, Space, Ty};
use super::select;
use crate::lower::Arg;
use crate::tile::{self, Inst as TileInst, Lane, Loop, Mem, Stmt, TileProgram};
use std::collections::HashMap;

/// Names of parameters, by number.
pub const PARAMETER: &str = "a";
/// Name of the parameter that says how many tasks there are.
pub const TASKS: &str = "tasks";
/// Names of pieces of a thread's own memory, by number.
pub const SCRATCH: &str = "scratch";

/// The state of translating one program.
pub(super) struct Translation<'a> {
    program: &'a TileProgram,
    arguments: &'a [Arg],
    registers: HashMap<u32, Reg>,
    /// Registers whose value is known.
    constants: HashMap<u32, i64>,
    /// Registers that hold the address of the error cell.
    error_cells: Vec<u32>,
    /// Where memory is that is not the error cell.
    space: Space,
}

/// The function that runs the program for all tasks. `arguments` are what its array of arguments holds.
pub(super) fn kernel(program: &TileProgram, arguments: &[Arg]) -> Function {
    let mut f = Function::default();
    let space = if program.scratch.is_empty() { Space::Global } else { Space::Generic };
    let mut t = Translation { program, arguments, registers: HashMap::new(), constants: HashMap::new(), error_cells: vec![], space };
    let tasks = f.ld(Space::Param, Ty::B64, Operand::Name(TASKS), 0);
    let special = |f: &mut Function, name| f.op(Op::Mov, Ty::U32, [Operand::Name(name)]);
    let wide = |f: &mut Function, reg| f.cvt(super::inst::Round::None, Ty::U64, Ty::U32, reg);
    let [block, size, thread, blocks] = ["%ctaid.x", "%ntid.x", "%tid.x", "%nctaid.x"].map(|name| special(&mut f, name));
    let [block, size, thread, blocks] = [block, size, thread, blocks].map(|reg| wide(&mut f, reg));
    let start = f.op(Op::MulLo, Ty::U64, [block.into(), size.into()]);
    let start = f.op(Op::Add, Ty::U64, [start.into(), thread.into()]);
    let stride = f.op(Op::MulLo, Ty::U64, [size.into(), blocks.into()]);
    let task = f.reg(Class::B64);
    f.set(task, start);
    let [_, worker, begin, end] = [0, 1, 2, 3].map(|at| program.params[at].index);
    f.repeat_while(
        &mut t,
        |f, _| f.setp(Cmp::Lt, Ty::U64, task, tasks),
        |f, t| {
            let next = f.op(Op::Add, Ty::U64, [task.into(), Operand::Int(1)]);
            t.registers.insert(begin, task);
            t.registers.insert(end, next);
            // There is no scratch of workers to number.
            let none = f.op(Op::Mov, Ty::U64, [Operand::Int(0)]);
            t.registers.insert(worker, none);
            t.block(f, &t.program.body);
            let later = f.op(Op::Add, Ty::U64, [task.into(), stride.into()]);
            f.set(task, later);
        },
    );
    f.push(Inst::Ret);
    f.remove_unread();
    f
}

impl Translation<'_> {
    /// The register of a tile register.
    pub(super) fn get(&self, reg: tile::Reg) -> Reg {
        assert!(reg.ty.is_scalar(), "ptx: {reg} holds more than one element");
        *self.registers.get(&reg.index).unwrap_or_else(|| panic!("ptx: {reg} has no value"))
    }

    /// The same as an operand of instructions on integers: the value itself where it is known.
    pub(super) fn operand(&self, reg: tile::Reg) -> Operand {
        self.constant(reg).map_or_else(|| self.get(reg).into(), Operand::Int)
    }

    /// The value of an integer register, where it is known.
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
                let value = match *inst {
                    TileInst::Load { mem, address, offset } if address == self.program.params[0] => self.argument(f, mem, offset, *result),
                    TileInst::Load { mem, address, offset } => self.load(f, mem, address, None, offset, result.ty.lane),
                    // One lane: strides move nothing.
                    TileInst::LoadStrided { mem, address, offset, .. } => self.load(f, mem, address, None, offset, result.ty.lane),
                    TileInst::Gather { mem, address, offset, indices } => self.load(f, mem, address, Some(indices), offset, result.ty.lane),
                    _ => select::inst(self, f, inst, result.ty.lane),
                };
                self.registers.insert(result.index, value);
                if let TileInst::Int(value) = *inst
                    && result.ty.lane.is_int()
                {
                    self.constants.insert(result.index, wrapped(result.ty.lane, value));
                }
            }
            Stmt::Store { mem, value, address, offset } | Stmt::StoreStrided { mem, value, address, offset, .. } => {
                self.store(f, *mem, *value, *address, None, *offset);
            }
            Stmt::Scatter { mem, value, address, offset, indices } => self.store(f, *mem, *value, *address, Some(*indices), *offset),
            Stmt::Prefetch { address, offset, .. } => {
                let base = self.get(*address);
                f.push(Inst::Prefetch { base, offset: i64::from(*offset) });
            }
            Stmt::Loop(l) => self.counted(f, l),
            Stmt::If { condition, then, otherwise, results } => {
                let condition = self.get(*condition);
                let outs: Vec<Reg> = results.iter().map(|r| f.reg(class_of(r.ty.lane))).collect();
                let branch = |branch: &(Vec<Stmt>, Vec<tile::Reg>), f: &mut Function, t: &mut Self| {
                    t.block(f, &branch.0);
                    for (out, value) in outs.iter().zip(&branch.1) {
                        f.set(*out, t.get(*value));
                    }
                };
                f.if_else(self, condition, |f, t| branch(then, f, t), |f, t| branch(otherwise, f, t));
                self.registers.extend(results.iter().map(|r| r.index).zip(outs.iter().copied()));
            }
        }
    }

    fn counted(&mut self, f: &mut Function, l: &Loop) {
        let (index, end) = (f.reg(Class::B64), self.get(l.end));
        f.set(index, self.get(l.start));
        let carried: Vec<Reg> = l.carried.iter().map(|r| f.reg(class_of(r.ty.lane))).collect();
        for (reg, value) in carried.iter().zip(&l.init) {
            f.set(*reg, self.get(*value));
        }
        // The body may not overwrite what it counts by.
        self.registers.insert(l.index.index, index);
        self.registers.extend(l.carried.iter().map(|r| r.index).zip(carried.iter().copied()));
        f.repeat_while(
            self,
            |f, _| f.setp(Cmp::Lt, Ty::S64, index, end),
            |f, t| {
                t.block(f, &l.body);
                // All are read before the first is overwritten.
                let next: Vec<Reg> = l.yields.iter().map(|value| t.get(*value)).collect();
                let kept: Vec<Reg> = next.iter().map(|reg| if carried.contains(reg) { copy(f, *reg) } else { *reg }).collect();
                for (reg, value) in carried.iter().zip(kept) {
                    f.set(*reg, value);
                }
                let later = f.op(Op::Add, Ty::S64, [index.into(), Operand::Int(l.step)]);
                f.set(index, later);
            },
        );
        self.registers.extend(l.results.iter().map(|r| r.index).zip(carried.iter().copied()));
    }

    /// An element of the array of arguments, which are parameters here.
    fn argument(&mut self, f: &mut Function, mem: Mem, offset: i32, result: tile::Reg) -> Reg {
        assert!(mem == Mem::I64 && offset % 8 == 0, "ptx: an argument is an i64");
        let at = (offset / 8) as usize;
        if self.arguments[at] == Arg::ErrorCell {
            self.error_cells.push(result.index);
        }
        f.ld(Space::Param, Ty::B64, Operand::Variable(PARAMETER, at as u32), 0)
    }

    fn load(&mut self, f: &mut Function, mem: Mem, address: tile::Reg, index: Option<tile::Reg>, offset: i32, lane: Lane) -> Reg {
        let base = self.address(f, address, index);
        select::load(f, self.space, mem, base, i64::from(offset), lane)
    }

    fn store(&mut self, f: &mut Function, mem: Mem, value: tile::Reg, address: tile::Reg, index: Option<tile::Reg>, offset: i32) {
        let space = if self.error_cells.contains(&address.index) { Space::RelaxedGlobal } else { self.space };
        let base = self.address(f, address, index);
        let value = self.get(value);
        select::store(f, space, mem, base, i64::from(offset), value);
    }

    fn address(&mut self, f: &mut Function, address: tile::Reg, index: Option<tile::Reg>) -> Reg {
        let base = self.get(address);
        match index {
            Some(index) => f.op(Op::Add, Ty::S64, [base.into(), self.get(index).into()]),
            None => base,
        }
    }
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
