//! Tile programs as text, for `--emit`, snapshots and messages. It is written, never read back.
//!
//! ```text
//! tile relu(%0, %1, %2, %3) {
//!   %4: i64 = load.i64 [%0]
//!   loop %6 in %2..%3 step 4 {
//!     %7: f32x4 = load.f32 [%4 + 16]
//!     store.f32 %7 -> [%5]
//!   }
//! }
//! ```

use super::ir::{Block, Inst, Loop, Reg, Stmt, TileProgram};
use std::fmt::{Display, Formatter, Result, Write};

impl Display for TileProgram {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "tile {}({}) {{", self.name, regs(&self.params))?;
        for (at, scratch) in self.scratch.iter().enumerate() {
            let (size, align) = (scratch.size_bytes, scratch.align_bytes);
            writeln!(f, "  scratch {at}: {size} bytes, align {align}")?;
        }
        for (at, shared) in self.shared.iter().enumerate() {
            writeln!(f, "  shared {at}: {} bytes, align {}", shared.size_bytes, shared.align_bytes)?;
        }
        write_block(f, &self.body, 1)?;
        writeln!(f, "}}")
    }
}

impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "%{}", self.index)
    }
}

fn write_block(f: &mut Formatter<'_>, block: &Block, depth: usize) -> Result {
    for stmt in block {
        write!(f, "{:1$}", "", 2 * depth)?;
        write_stmt(f, stmt, depth)?;
        f.write_char('\n')?;
    }
    Ok(())
}

/// A nested block with its values and the closing brace.
fn write_nested(f: &mut Formatter<'_>, block: &Block, yields: &[Reg], depth: usize) -> Result {
    writeln!(f, "{{")?;
    write_block(f, block, depth + 1)?;
    if !yields.is_empty() {
        writeln!(f, "{:1$}yield {2}", "", 2 * depth + 2, regs(yields))?;
    }
    write!(f, "{:1$}}}", "", 2 * depth)
}

fn write_stmt(f: &mut Formatter<'_>, stmt: &Stmt, depth: usize) -> Result {
    match stmt {
        Stmt::Let { result, inst } => write!(f, "{result}: {} = {inst}", result.ty),
        Stmt::Store { mem, value, address, offset } => {
            let place = place(*address, *offset);
            write!(f, "store.{} {value} -> [{place}]", mem.name())
        }
        Stmt::StoreStrided { mem, value, address, offset, stride } => {
            let place = place(*address, *offset);
            write!(f, "store.{} {value} -> [{place}, lane * {stride}]", mem.name())
        }
        Stmt::Scatter { mem, value, address, offset, indices } => {
            let place = place(*address, *offset);
            write!(f, "scatter.{} {value} -> [{place} + {indices}]", mem.name())
        }
        Stmt::StoreMasked { mem, value, address, offset, mask } => {
            let place = place(*address, *offset);
            write!(f, "store.{} {value} -> [{place}] where {mask}", mem.name())
        }
        Stmt::Prefetch { address, offset, wanted } => {
            let place = place(*address, *offset);
            write!(f, "prefetch.{} [{place}]", wanted.name())
        }
        Stmt::Cooperative(stmt) => write!(f, "{stmt}"),
        Stmt::Loop(l) => write_loop(f, l, depth),
        Stmt::If { condition, then, otherwise, results } => {
            write!(f, "if {condition} ")?;
            write_nested(f, &then.0, &then.1, depth)?;
            if !otherwise.0.is_empty() || !otherwise.1.is_empty() {
                write!(f, " else ")?;
                write_nested(f, &otherwise.0, &otherwise.1, depth)?;
            }
            write_results(f, results)
        }
    }
}

fn write_loop(f: &mut Formatter<'_>, l: &Loop, depth: usize) -> Result {
    write!(f, "loop {} in {}..{} step {} ", l.index, l.start, l.end, l.step)?;
    for (carried, init) in l.carried.iter().zip(&l.init) {
        write!(f, "with {carried}: {} = {init} ", carried.ty)?;
    }
    write_nested(f, &l.body, &l.yields, depth)?;
    write_results(f, &l.results)
}

fn write_results(f: &mut Formatter<'_>, results: &[Reg]) -> Result {
    if results.is_empty() {
        return Ok(());
    }
    let typed: Vec<String> = results.iter().map(|r| format!("{r}: {}", r.ty)).collect();
    write!(f, " -> {}", typed.join(", "))
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Inst::Int(value) => write!(f, "int {value}"),
            Inst::Float(bits) => write!(f, "float {:?}", f64::from_bits(*bits)),
            Inst::Scratch(at) => write!(f, "scratch {at}"),
            Inst::Splat(a) => write!(f, "splat {a}"),
            Inst::Load { mem, address, offset } => write!(f, "load.{} [{}]", mem.name(), place(*address, *offset)),
            Inst::LoadStrided { mem, address, offset, stride } => {
                let place = place(*address, *offset);
                write!(f, "load.{} [{place}, lane * {stride}]", mem.name())
            }
            Inst::Gather { mem, address, offset, indices } => {
                let place = place(*address, *offset);
                write!(f, "gather.{} [{place} + {indices}]", mem.name())
            }
            Inst::LoadMasked { mem, address, offset, mask } => {
                write!(f, "load.{} [{}] where {mask}", mem.name(), place(*address, *offset))
            }
            Inst::FirstLanes(a) => write!(f, "first_lanes {a}"),
            Inst::Unary(op, a) => write!(f, "{} {a}", word(op)),
            Inst::Binary(op, a, b) => write!(f, "{} {a}, {b}", word(op)),
            Inst::Fma(a, b, c) => write!(f, "fma {a}, {b}, {c}"),
            Inst::Compare(op, a, b) => write!(f, "{} {a}, {b}", word(op)),
            Inst::Select(mask, a, b) => write!(f, "select {mask}, {a}, {b}"),
            Inst::Convert(op, a) => write!(f, "{} {a}", word(op)),
            Inst::Extract(a, lane) => write!(f, "extract {a}[{lane}]"),
            Inst::Insert { vector, lane, scalar } => write!(f, "insert {vector}[{lane}] = {scalar}"),
            Inst::Half { vector, high } => {
                write!(f, "{}_half {vector}", if *high { "high" } else { "low" })
            }
            Inst::Concat(a, b) => write!(f, "concat {a}, {b}"),
            Inst::Shuffle(op, a, b) => write!(f, "{} {a}, {b}", word(op)),
            Inst::Cooperative(inst) => write!(f, "{inst}"),
        }
    }
}

fn place(address: Reg, offset: i32) -> String {
    match offset {
        0 => format!("{address}"),
        _ => format!("{address} {offset:+}"),
    }
}

fn regs(regs: &[Reg]) -> String {
    let names: Vec<String> = regs.iter().map(Reg::to_string).collect();
    names.join(", ")
}

/// `MinOrSecond` → `min_or_second`.
fn word(op: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for (at, letter) in format!("{op:?}").chars().enumerate() {
        if at > 0 && letter.is_ascii_uppercase() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use crate::tile::{Builder, Mem, Type, Wanted};

    #[test]
    fn a_program_prints_every_kind_of_statement() {
        let mut b = Builder::new("sum", 4);
        let [args, _, begin, end] = b.params();
        let zero = b.float(Type::F32.times(4), -0.5);
        let sum = b.loop_carrying(begin, end, 4, &[zero], |b, i, carried| {
            let at = b.add(args, i);
            let x = b.load(Mem::F16, Type::F32.times(4), at, -8);
            vec![b.min_or_second(carried[0], x)]
        });
        b.prefetch(args, 64, Wanted::ToWrite);
        let some = b.lt(begin, end);
        b.if_then(some, |b| b.store(Mem::F32, sum[0], args, 0));
        assert_eq!(
            b.finish().to_string(),
            "\
tile sum(%0, %1, %2, %3) {
  %4: f32x4 = float -0.5
  loop %5 in %2..%3 step 4 with %6: f32x4 = %4 {
    %7: i64 = add %0, %5
    %8: f32x4 = load.f16 [%7 -8]
    %9: f32x4 = min_or_second %6, %8
    yield %9
  } -> %10: f32x4
  prefetch.write [%0 +64]
  %11: mask = lt %2, %3
  if %11 {
    store.f32 %10 -> [%0]
  }
}
"
        );
    }
}
