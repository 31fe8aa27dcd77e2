//! Checks a tile program: types, one assignment per register, every use inside the scope of its definition.

use super::ir::{Block, Reg, Stmt, TileProgram};
use super::types::Type;

/// Everything wrong with the program, each with the statement it is about; empty when it is sound.
/// Emitters rely on it and do not check again.
pub fn verify(program: &TileProgram) -> Vec<String> {
    let mut check = Check {
        program,
        visible: vec![None; program.registers as usize],
        assigned: vec![false; program.registers as usize],
        errors: vec![],
    };
    for scratch in program.scratch.iter().chain(&program.shared) {
        if !scratch.align_bytes.is_power_of_two() || scratch.align_bytes > 64 {
            check.error(format!("scratch alignment {}", scratch.align_bytes));
        }
    }
    for &param in &program.params {
        if param.ty != Type::I64 {
            check.error(format!("parameter %{} is {}, not i64", param.index, param.ty));
        }
        check.define(param);
    }
    check.block(&program.body, &[]);
    check.errors
}

struct Check<'a> {
    program: &'a TileProgram,
    /// Type of each register that can be used here.
    visible: Vec<Option<Type>>,
    assigned: Vec<bool>,
    errors: Vec<String>,
}

impl Check<'_> {
    fn error(&mut self, what: String) {
        self.errors.push(format!("{}: {what}", self.program.name));
    }

    fn define(&mut self, reg: Reg) {
        if !reg.ty.is_valid() {
            self.error(format!("%{} has type {}", reg.index, reg.ty));
        }
        match self.assigned.get_mut(reg.index as usize) {
            None => self.error(format!("%{} is beyond the register count", reg.index)),
            Some(true) => self.error(format!("%{} is assigned twice", reg.index)),
            Some(assigned) => {
                *assigned = true;
                self.visible[reg.index as usize] = Some(reg.ty);
            }
        }
    }

    fn use_of(&mut self, reg: Reg, by: &str) {
        match self.visible.get(reg.index as usize).copied().flatten() {
            None => self.error(format!("{by} uses %{}, which is not defined there", reg.index)),
            Some(ty) if ty != reg.ty => self.error(format!("{by} uses %{} as {}, but it is {ty}", reg.index, reg.ty)),
            Some(_) => {}
        }
    }

    /// Checks a block that may use `entry` besides what is visible, then hides what it defined.
    fn scope(&mut self, block: &Block, entry: &[Reg], yields: &[Reg]) {
        let outside = self.visible.clone();
        for &reg in entry {
            self.define(reg);
        }
        self.block(block, yields);
        self.visible = outside;
    }

    fn block(&mut self, block: &Block, yields: &[Reg]) {
        for stmt in block {
            if let Some(why) = stmt.type_error() {
                self.error(why);
            }
            self.stmt(stmt);
        }
        for &reg in yields {
            self.use_of(reg, "the end of a block");
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { result, inst } => {
                for operand in inst.operands() {
                    self.use_of(operand, &format!("%{}", result.index));
                }
                if let super::ir::Inst::Scratch(at) = inst
                    && *at as usize >= self.program.scratch.len()
                {
                    self.error(format!("%{} names scratch {at} of none", result.index));
                }
                if let super::ir::Inst::Cooperative(super::Cooperative::Shared(at)) = inst
                    && *at as usize >= self.program.shared.len()
                {
                    self.error(format!("%{} names shared memory {at} of none", result.index));
                }
                self.define(*result);
            }
            Stmt::Store { value, address, .. } => {
                self.use_of(*value, "a store");
                self.use_of(*address, "a store");
            }
            Stmt::StoreStrided { value, address, stride: third, .. }
            | Stmt::Scatter { value, address, indices: third, .. }
            | Stmt::StoreMasked { value, address, mask: third, .. } => {
                for reg in [value, address, third] {
                    self.use_of(*reg, "a store");
                }
            }
            Stmt::Prefetch { address, .. } => self.use_of(*address, "a prefetch"),
            Stmt::Cooperative(stmt) => stmt.operands().into_iter().for_each(|reg| self.use_of(reg, "what a block does")),
            Stmt::Loop(l) => {
                for &reg in [l.start, l.end].iter().chain(&l.init) {
                    self.use_of(reg, "a loop");
                }
                let entry: Vec<Reg> = std::iter::once(l.index).chain(l.carried.iter().copied()).collect();
                self.scope(&l.body, &entry, &l.yields);
                for &reg in &l.results {
                    self.define(reg);
                }
            }
            Stmt::If { condition, then, otherwise, results } => {
                self.use_of(*condition, "an if");
                self.scope(&then.0, &[], &then.1);
                self.scope(&otherwise.0, &[], &otherwise.1);
                for &reg in results {
                    self.define(reg);
                }
            }
        }
    }
}
