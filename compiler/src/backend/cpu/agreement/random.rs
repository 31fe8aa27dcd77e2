//! Random programs: nested loops and branches over mixed types.

use super::operations::kept;
use super::{Output, Random, check, check_wide, special_bits};
use crate::tile::{Binary, Builder, Compare, Convert, Lane, Mem, Reg, TileProgram, Type, Unary, Wanted};

#[test]
fn random_programs_agree() {
    for seed in 0..150 {
        let (program, input, outputs) = random_program(seed);
        check(&program, &input, 512 * outputs.len(), &outputs);
    }
}

#[test]
fn random_programs_of_wide_vectors_agree() {
    for seed in 0..600 {
        let (program, input, outputs) = random_program(1000 + seed);
        check_wide(&program, &input, 512 * outputs.len(), &outputs);
    }
}

/// A program with its input and outputs.
fn random_program(seed: u64) -> (TileProgram, Vec<u8>, Vec<Output>) {
    let mut random = Random::new(seed + 1);
    let mut input = vec![];
    for mem in [Mem::F32, Mem::F64, Mem::F16, Mem::I32, Mem::I64, Mem::Bool] {
        for _ in 0..64 {
            let bits = special_bits(&mut random, mem).to_le_bytes();
            input.extend(&bits[..mem.size_bytes() as usize]);
        }
    }
    input.resize(4096, 0);
    let mut b = Builder::new(format!("random_{seed}"), 2);
    let [from, to] = b.params();
    let scratch = b.scratch(512, random.pick(&[1, 16, 64]));
    let mut writer = Writer { b, random, from, scratch };
    let mut pool = vec![];
    for lanes in [1, 4, 16] {
        pool.push(writer.b.float(Type::F32.times(lanes), 1.5));
        pool.push(writer.b.int(Type::I32.times(lanes), 7));
        pool.push(writer.b.int(Type::MASK.times(lanes), 1));
    }
    writer.block(&mut pool, 2, 24);
    let mut outputs = vec![];
    for (at, &reg) in pool.iter().enumerate() {
        let mem = kept(reg.ty.lane);
        writer.b.store(mem, reg, to, 512 * at as i32);
        outputs.push(Output { offset: 512 * at, mem, lanes: reg.ty.lanes as usize, label: format!("{reg}") });
    }
    (writer.b.finish(), input, outputs)
}

struct Writer {
    b: Builder,
    random: Random,
    from: Reg,
    scratch: Reg,
}

impl Writer {
    /// Appends statements, and to `pool` the values they define.
    fn block(&mut self, pool: &mut Vec<Reg>, depth: u32, statements: usize) {
        for _ in 0..statements {
            match self.random.below(13) {
                0 if depth > 0 => self.looped(pool, depth),
                1 if depth > 0 => self.branch(pool, depth),
                2 | 3 => {
                    let value = self.load();
                    pool.push(value);
                }
                4 => {
                    // Through scratch memory and back: written first, so nothing undefined is read.
                    let value = self.random.pick(pool);
                    if let Some(mem) = stored_as(value.ty.lane) {
                        self.b.store(mem, value, self.scratch, 0);
                        pool.push(self.b.load(mem, value.ty, self.scratch, 0));
                    }
                }
                5 => {
                    // Of memory, and of what is none.
                    let address = self.random.pick(&[self.from, self.scratch]);
                    let offset = self.random.pick(&[0, 8, i32::MAX - 4096]);
                    self.b.prefetch(address, offset, self.random.pick(&[Wanted::ToRead, Wanted::ToReadLater, Wanted::ToWrite]));
                }
                _ => self.compute(pool),
            }
        }
    }

    fn load(&mut self) -> Reg {
        let lanes = self.random.pick(&[1, 2, 4, 8, 16]);
        let all = [
            (Mem::F16, Lane::F32),
            (Mem::BF16, Lane::F32),
            (Mem::U8, Lane::I8),
            (Mem::F32, Lane::F32),
            (Mem::F64, Lane::F64),
            (Mem::I8, Lane::I32),
            (Mem::U16, Lane::I64),
            (Mem::I32, Lane::I32),
            (Mem::I64, Lane::I64),
            (Mem::Bool, Lane::Mask),
        ];
        let (mem, lane) = self.random.pick(&all);
        let offset = self.random.below(1024) as i32;
        self.b.load(mem, Type { lane, lanes }, self.from, offset)
    }

    fn looped(&mut self, pool: &mut Vec<Reg>, depth: u32) {
        let init: Vec<Reg> = (0..self.random.below(4)).map(|_| self.random.pick(pool)).collect();
        let (start, turns, step) = (self.random.below(5) as i64 - 2, self.random.below(4), self.random.pick(&[1, 3]));
        let (start, end) = (self.b.index(start), self.b.index(start + turns as i64));
        let (index, carried) = {
            // The closure of loop_carrying cannot borrow this writer, so the builder moves in and out.
            let mut inner_pool = pool.clone();
            let b = std::mem::replace(&mut self.b, Builder::new("", 0));
            let mut b = b;
            let (random, from, scratch) = (&mut self.random, self.from, self.scratch);
            let results = b.loop_carrying(start, end, step, &init, |b, index, carried| {
                let taken = std::mem::replace(b, Builder::new("", 0));
                let inner_random = Random::new(random.bits());
                let mut inner = Writer { b: taken, random: inner_random, from, scratch };
                inner_pool.push(index);
                inner_pool.extend(carried);
                inner.block(&mut inner_pool, depth - 1, 8);
                let yields = carried.iter().map(|c| inner.latest(&inner_pool, c.ty)).collect();
                *b = inner.b;
                yields
            });
            self.b = b;
            (start, results)
        };
        pool.push(index);
        pool.extend(carried);
    }

    fn branch(&mut self, pool: &mut Vec<Reg>, depth: u32) {
        let masks: Vec<Reg> = pool.iter().copied().filter(|r| r.ty == Type::MASK).collect();
        let condition = self.random.pick(&masks);
        let gives: Vec<Reg> = (0..self.random.below(3)).map(|_| self.random.pick(pool)).collect();
        let mut b = std::mem::replace(&mut self.b, Builder::new("", 0));
        let (from, scratch) = (self.from, self.scratch);
        let seeds = [self.random.bits(), self.random.bits()];
        let arm = |b: &mut Builder, seed: u64| {
            let taken = std::mem::replace(b, Builder::new("", 0));
            let mut inner = Writer { b: taken, random: Random::new(seed), from, scratch };
            let mut inner_pool = pool.clone();
            inner.block(&mut inner_pool, depth - 1, 5);
            let values = gives.iter().map(|g| inner.latest(&inner_pool, g.ty)).collect();
            *b = inner.b;
            values
        };
        let results = b.if_else(condition, |b| arm(b, seeds[0]), |b| arm(b, seeds[1]));
        self.b = b;
        pool.extend(results);
    }

    /// The newest value of a type: most likely defined inside the block.
    fn latest(&self, pool: &[Reg], ty: Type) -> Reg {
        *pool.iter().rev().find(|r| r.ty == ty).expect("the pool only grows")
    }

    /// One instruction on a random value and others of its type.
    fn compute(&mut self, pool: &mut Vec<Reg>) {
        use Binary::*;
        let x = self.random.pick(pool);
        let same: Vec<Reg> = pool.iter().copied().filter(|r| r.ty == x.ty).collect();
        let (y, z) = (self.random.pick(&same), self.random.pick(&same));
        let lane = x.ty.lane;
        let value = match self.random.below(8) {
            0 => {
                let op = self.random.pick(&[Unary::Neg, Unary::Abs, Unary::Not, Unary::Floor, Unary::Nearest]);
                op.accepts(lane).then(|| self.b.unary(op, x))
            }
            1 | 2 => {
                let op = self.random.pick(&[Add, Sub, Mul, Div, DivS, RemU, And, Or, Xor, Shl, ShrS, Minimum, MaxOrSecond, MinS, MaxU]);
                op.accepts(lane).then(|| self.b.binary(op, x, y))
            }
            3 => {
                let op = self.random.pick(&[Compare::Eq, Compare::Ne, Compare::Lt, Compare::Ge]);
                op.accepts(lane).then(|| self.b.compare(op, x, y))
            }
            4 => {
                let masks: Vec<Reg> = pool.iter().copied().filter(|r| r.ty == x.ty.mask()).collect();
                (!masks.is_empty()).then(|| {
                    let mask = self.random.pick(&masks);
                    self.b.select(mask, x, y)
                })
            }
            5 => lane.is_float().then(|| self.b.fma(x, y, z)),
            6 => {
                let op =
                    self.random.pick(&[Convert::ExtendS, Convert::Wrap, Convert::IntToFloatS, Convert::FloatToIntS, Convert::FloatToFloat]);
                let all = [Lane::I8, Lane::I16, Lane::I32, Lane::I64, Lane::F32, Lane::F64];
                let to = self.random.pick(&all);
                op.accepts(lane, to).then(|| self.b.convert(op, x, to))
            }
            _ if x.ty.lanes > 1 => Some(match self.random.below(3) {
                0 => self.b.low_half(x),
                1 => self.b.high_half(x),
                _ => {
                    let lane = self.random.below(x.ty.lanes as usize) as u32;
                    self.b.extract(x, lane)
                }
            }),
            _ => Some(self.b.splat(x, 8)),
        };
        pool.extend(value);
    }
}

fn stored_as(lane: Lane) -> Option<Mem> {
    match lane {
        Lane::F32 => Some(Mem::F32),
        Lane::F64 => Some(Mem::F64),
        Lane::I32 => Some(Mem::I32),
        Lane::I64 => Some(Mem::I64),
        Lane::Mask => Some(Mem::Bool),
        Lane::I8 | Lane::I16 => None,
    }
}
