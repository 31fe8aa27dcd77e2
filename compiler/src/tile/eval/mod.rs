//! Runs a tile program lane by lane: the oracle that every emitter is compared with. Obvious, never fast.

mod lane;
mod memory;

pub use memory::Memory;

use super::ir::{Block, Inst, Reg, Stmt, TileProgram};
use super::types::{Lane, Mem, Type};
use lane::{binary, compare, convert, fma, from_memory, int_bits, to_memory, unary};

/// Runs `program` on `memory`. `fused` says whether fused multiply-add rounds once, as on the ISA compared with.
///
/// Errors: an access outside every region, or more steps than any sensible test needs.
pub fn eval(program: &TileProgram, params: &[i64], memory: &mut Memory, fused: bool) -> Result<(), String> {
    assert_eq!(params.len(), program.params.len(), "parameters of {}", program.name);
    let scratch = program.scratch.iter().map(|s| memory.add(vec![0xAA; s.size_bytes as usize])).collect();
    let mut machine = Machine { registers: vec![vec![]; program.registers as usize], scratch, memory, fused, steps_left: 100_000_000 };
    for (reg, value) in program.params.iter().zip(params) {
        machine.set(*reg, vec![*value as u64]);
    }
    machine.block(&program.body)
}

struct Machine<'a> {
    /// Lanes of each register: the low bits of a `u64` each; masks are 0 or 1.
    registers: Vec<Vec<u64>>,
    /// Addresses of the scratch pieces.
    scratch: Vec<i64>,
    memory: &'a mut Memory,
    fused: bool,
    steps_left: u64,
}

impl Machine<'_> {
    fn get(&self, reg: Reg) -> &[u64] {
        &self.registers[reg.index as usize]
    }

    fn scalar(&self, reg: Reg) -> i64 {
        self.get(reg)[0] as i64
    }

    fn set(&mut self, reg: Reg, lanes: Vec<u64>) {
        assert_eq!(lanes.len(), reg.ty.lanes as usize, "lanes of %{}", reg.index);
        self.registers[reg.index as usize] = lanes;
    }

    fn copy(&mut self, from: &[Reg], to: &[Reg]) {
        let values: Vec<Vec<u64>> = from.iter().map(|r| self.get(*r).to_vec()).collect();
        for (reg, value) in to.iter().zip(values) {
            self.set(*reg, value);
        }
    }

    fn block(&mut self, block: &Block) -> Result<(), String> {
        for stmt in block {
            self.stmt(stmt)?;
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), String> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or("too many steps")?;
        match stmt {
            Stmt::Let { result, inst } => {
                let value = self.inst(inst, result.ty)?;
                self.set(*result, value);
            }
            Stmt::Store { mem, value, address, offset } => {
                let places = self.places(*address, *offset, value.ty, mem.size_bytes() as i64);
                self.store(*mem, *value, &places)?;
            }
            Stmt::StoreStrided { mem, value, address, offset, stride } => {
                let places = self.places(*address, *offset, value.ty, self.scalar(*stride));
                self.store(*mem, *value, &places)?;
            }
            Stmt::Scatter { mem, value, address, offset, indices } => {
                let places = self.indexed(*address, *offset, *indices);
                self.store(*mem, *value, &places)?;
            }
            Stmt::StoreMasked { mem, value, address, offset, mask } => {
                let places = self.places(*address, *offset, value.ty, mem.size_bytes() as i64);
                let (lanes, mask) = (self.get(*value).to_vec(), self.get(*mask).to_vec());
                for lane in (0..places.len()).filter(|lane| mask[*lane] != 0) {
                    self.memory.write(places[lane], mem.size_bytes(), to_memory(*mem, lanes[lane]))?;
                }
            }
            Stmt::Prefetch { .. } => {}
            Stmt::Cooperative(stmt) => panic!("tile: `{stmt}` takes a block of threads, and the evaluator is one"),
            Stmt::Loop(l) => {
                let end = self.scalar(l.end);
                let mut index = self.scalar(l.start);
                self.copy(&l.init, &l.carried);
                while index < end {
                    self.set(l.index, vec![index as u64]);
                    self.block(&l.body)?;
                    self.copy(&l.yields, &l.carried);
                    index = index.wrapping_add(l.step);
                }
                self.copy(&l.carried, &l.results);
            }
            Stmt::If { condition, then, otherwise, results } => {
                let taken = if self.scalar(*condition) != 0 { then } else { otherwise };
                self.block(&taken.0)?;
                self.copy(&taken.1, results);
            }
        }
        Ok(())
    }

    /// The address of each lane.
    fn places(&self, address: Reg, offset: i32, ty: Type, stride: i64) -> Vec<i64> {
        let base = self.scalar(address).wrapping_add(i64::from(offset));
        let lane = |l: u32| base.wrapping_add(stride.wrapping_mul(i64::from(l)));
        (0..ty.lanes).map(lane).collect()
    }

    fn indexed(&self, address: Reg, offset: i32, indices: Reg) -> Vec<i64> {
        let base = self.scalar(address).wrapping_add(i64::from(offset));
        let lane = |i: &u64| base.wrapping_add(*i as i64);
        self.get(indices).iter().map(lane).collect()
    }

    fn load(&self, mem: Mem, lane: Lane, places: &[i64]) -> Result<Vec<u64>, String> {
        places.iter().map(|&at| Ok(from_memory(mem, lane, self.memory.read(at, mem.size_bytes())?))).collect()
    }

    fn store(&mut self, mem: Mem, value: Reg, places: &[i64]) -> Result<(), String> {
        let lanes = self.get(value).to_vec();
        for (&at, bits) in places.iter().zip(lanes) {
            self.memory.write(at, mem.size_bytes(), to_memory(mem, bits))?;
        }
        Ok(())
    }

    fn inst(&mut self, inst: &Inst, ty: Type) -> Result<Vec<u64>, String> {
        let every = |bits: u64| vec![bits; ty.lanes as usize];
        Ok(match *inst {
            Inst::Int(value) => every(int_bits(ty.lane, value)),
            Inst::Float(bits) => every(match ty.lane {
                Lane::F32 => u64::from((f64::from_bits(bits) as f32).to_bits()),
                _ => bits,
            }),
            Inst::Scratch(at) => every(self.scratch[at as usize] as u64),
            Inst::Splat(a) => every(self.get(a)[0]),
            Inst::Load { mem, address, offset } => {
                let places = self.places(address, offset, ty, mem.size_bytes() as i64);
                self.load(mem, ty.lane, &places)?
            }
            Inst::LoadStrided { mem, address, offset, stride } => {
                let places = self.places(address, offset, ty, self.scalar(stride));
                self.load(mem, ty.lane, &places)?
            }
            Inst::Gather { mem, address, offset, indices } => {
                let places = self.indexed(address, offset, indices);
                self.load(mem, ty.lane, &places)?
            }
            Inst::LoadMasked { mem, address, offset, mask } => {
                let places = self.places(address, offset, ty, mem.size_bytes() as i64);
                let one = |(at, holds): (&i64, &u64)| match holds {
                    0 => Ok(0),
                    _ => Ok(self.load(mem, ty.lane, &[*at])?[0]),
                };
                places.iter().zip(self.get(mask)).map(one).collect::<Result<Vec<u64>, String>>()?
            }
            Inst::FirstLanes(count) => {
                let count = self.scalar(count);
                if !(0..=i64::from(ty.lanes)).contains(&count) {
                    return Err(format!("the first {count} of {} lanes", ty.lanes));
                }
                (0..i64::from(ty.lanes)).map(|lane| u64::from(lane < count)).collect()
            }
            Inst::Unary(op, a) => self.map(|l| unary(op, ty.lane, l[0]), &[a]),
            Inst::Binary(op, a, b) => self.map(|l| binary(op, ty.lane, l[0], l[1]), &[a, b]),
            Inst::Fma(a, b, c) => {
                let fused = self.fused;
                self.map(|l| fma(ty.lane, l[0], l[1], l[2], fused), &[a, b, c])
            }
            Inst::Compare(op, a, b) => self.map(|l| u64::from(compare(op, a.ty.lane, l[0], l[1])), &[a, b]),
            Inst::Select(mask, a, b) => self.map(|l| if l[0] != 0 { l[1] } else { l[2] }, &[mask, a, b]),
            Inst::Convert(op, a) => self.map(|l| convert(op, a.ty.lane, ty.lane, l[0]), &[a]),
            Inst::Extract(a, lane) => vec![self.get(a)[lane as usize]],
            Inst::Insert { vector, lane, scalar } => {
                let mut lanes = self.get(vector).to_vec();
                lanes[lane as usize] = self.get(scalar)[0];
                lanes
            }
            Inst::Half { vector, high } => {
                let lanes = self.get(vector);
                let (low, upper) = lanes.split_at(lanes.len() / 2);
                if high { upper } else { low }.to_vec()
            }
            Inst::Concat(a, b) => [self.get(a), self.get(b)].concat(),
            Inst::Cooperative(inst) => panic!("tile: `{inst}` takes a block of threads, and the evaluator is one"),
            Inst::Shuffle(op, a, b) => {
                let (a, b) = (self.get(a), self.get(b));
                let lane = |lane| {
                    let (second, from) = op.source(lane, ty.lanes);
                    if second { b[from as usize] } else { a[from as usize] }
                };
                (0..ty.lanes).map(lane).collect()
            }
        })
    }

    /// `f` of the operands' lanes, lane by lane.
    fn map(&self, f: impl Fn(&[u64]) -> u64, operands: &[Reg]) -> Vec<u64> {
        let lanes: Vec<&[u64]> = operands.iter().map(|r| self.get(*r)).collect();
        (0..lanes[0].len()).map(|l| f(&lanes.iter().map(|o| o[l]).collect::<Vec<_>>())).collect()
    }
}
