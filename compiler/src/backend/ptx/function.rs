//! A function in the making: registers, labels, and structured control flow as branches.

use super::inst::{Class, Cmp, Inst, Label, Op, Operand, Plain, Reg, Round, Space, Ty};
use std::collections::BTreeMap;

/// Instructions so far, and how many registers of each class they use.
#[derive(Default)]
pub struct Function {
    insts: Vec<Inst>,
    registers: BTreeMap<Class, u32>,
    labels: u32,
}

impl Function {
    /// A register of its own.
    pub fn reg(&mut self, class: Class) -> Reg {
        let count = self.registers.entry(class).or_insert(0);
        *count += 1;
        Reg { class, number: *count - 1 }
    }

    /// Appends an instruction.
    pub fn push(&mut self, inst: Inst) {
        inst.check();
        self.insts.push(inst);
    }

    /// Drops what computes values that nothing reads, such as constants that became part of instructions.
    pub fn remove_unread(&mut self) {
        let mut reads: BTreeMap<Reg, usize> = BTreeMap::new();
        self.insts.iter().flat_map(Inst::reads).for_each(|reg| *reads.entry(reg).or_insert(0) += 1);
        let mut kept = Vec::with_capacity(self.insts.len());
        for inst in std::mem::take(&mut self.insts).into_iter().rev() {
            let results = inst.results();
            let is_read = results.is_empty() || results.iter().any(|reg| reads.get(reg).is_some_and(|count| *count > 0));
            if is_read {
                kept.push(inst);
            } else {
                inst.reads().iter().for_each(|reg| *reads.get_mut(reg).expect("it is read here") -= 1);
            }
        }
        kept.reverse();
        self.insts = kept;
    }

    /// The instructions.
    pub fn insts(&self) -> &[Inst] {
        &self.insts
    }

    /// How many registers of each class there are.
    pub fn registers(&self) -> impl Iterator<Item = (Class, u32)> {
        Class::ALL.into_iter().filter_map(|class| Some((class, *self.registers.get(&class)?)))
    }

    /// `op.ty`, into a register of its own.
    pub fn op<const N: usize>(&mut self, op: Op, ty: Ty, args: [Operand; N]) -> Reg {
        let dst = self.reg(ty.class());
        self.push(Inst::Op { op, ty, dst, args: args.to_vec() });
        dst
    }

    /// Overwrites a register.
    pub fn set(&mut self, dst: Reg, value: impl Into<Operand>) {
        self.push(Inst::Op { op: Op::Mov, ty: dst.class.ty(), dst, args: vec![value.into()] });
    }

    /// A predicate.
    pub fn setp(&mut self, cmp: Cmp, ty: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let dst = self.reg(Class::Pred);
        self.push(Inst::Setp { cmp, ty, dst, a: a.into(), b: b.into() });
        dst
    }

    /// The first where the predicate holds, else the second.
    pub fn selp(&mut self, ty: Ty, a: impl Into<Operand>, b: impl Into<Operand>, condition: Reg) -> Reg {
        self.op(Op::Selp, ty, [a.into(), b.into(), condition.into()])
    }

    /// A conversion.
    pub fn cvt(&mut self, round: Round, to: Ty, from: Ty, src: Reg) -> Reg {
        let dst = self.reg(to.class());
        self.push(Inst::Cvt { round, to, from, dst, src });
        dst
    }

    /// The same bits in a register of another class.
    pub fn bits(&mut self, class: Class, src: Reg) -> Reg {
        let dst = self.reg(class);
        self.push(Inst::Bits { dst, src });
        dst
    }

    /// An element of memory.
    pub fn ld(&mut self, space: Space, ty: Ty, base: impl Into<Operand>, offset: i64) -> Reg {
        let dst = self.reg(ty.class());
        self.push(Inst::Ld { space, ty, dst, base: base.into(), offset });
        dst
    }

    fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// `while condition { body }`; the condition's instructions give a predicate. A loop that does not unroll stays one.
    pub fn repeat_while<S>(
        &mut self,
        state: &mut S,
        unrolls: bool,
        condition: impl FnOnce(&mut Function, &mut S) -> Reg,
        body: impl FnOnce(&mut Function, &mut S),
    ) {
        let (again, after) = (self.label(), self.label());
        self.push(Inst::Label(again));
        if !unrolls {
            self.push(Inst::Plain(Plain::NoUnroll));
        }
        let holds = condition(self, state);
        self.push(Inst::Bra { to: after, when: Some((holds, false)) });
        body(self, state);
        self.push(Inst::Bra { to: again, when: None });
        self.push(Inst::Label(after));
    }

    /// `do { body } while !done`: the body sets the predicate.
    pub fn repeat_until(&mut self, done: Reg, body: impl FnOnce(&mut Function)) {
        let again = self.label();
        self.push(Inst::Label(again));
        body(self);
        self.push(Inst::Bra { to: again, when: Some((done, false)) });
    }

    /// `if condition { then } else { otherwise }`; nothing is jumped over where there is nothing else.
    pub fn if_else<S>(
        &mut self,
        state: &mut S,
        condition: Reg,
        then: impl FnOnce(&mut Function, &mut S),
        otherwise: impl FnOnce(&mut Function, &mut S),
    ) {
        let (no, after) = (self.label(), self.label());
        self.push(Inst::Bra { to: no, when: Some((condition, false)) });
        then(self, state);
        let end = self.insts.len();
        self.push(Inst::Bra { to: after, when: None });
        self.push(Inst::Label(no));
        let begin = self.insts.len();
        otherwise(self, state);
        if self.insts.len() == begin {
            self.insts.truncate(end);
            return self.push(Inst::Label(no));
        }
        self.push(Inst::Label(after));
    }
}
