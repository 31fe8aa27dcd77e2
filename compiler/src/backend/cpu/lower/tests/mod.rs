//! Tests: lowered kernels give the bits of the kernel interpreter, in the tile evaluator (which refuses every access outside a
//! buffer) and as machine code, however the tasks are split.

mod contracts;
mod indexing;
mod machine;
mod nests;
mod random;

use super::{VectorIsa, lower};
use crate::backend::cpu::schedule::schedule;
use crate::kernel::eval::Memory;
use crate::kernel::{BufferId, BufferKind, Program, Step};
use kiln_ir::{Symbol, Tensor};
use machine::Machine;
use std::collections::BTreeMap;

/// Runs the program both ways and compares every output buffer.
fn check(program: &Program, sizes: &BTreeMap<Symbol, i64>, given: &BTreeMap<BufferId, Tensor>) {
    let mut expected = Memory::new(program, sizes, given).unwrap_or_else(|e| panic!("{e}"));
    crate::kernel::eval::run(program, sizes, &mut expected).unwrap_or_else(|e| panic!("{e}"));
    let mut scheduled = program.clone();
    schedule(&mut scheduled, &VectorIsa::V128);
    let (original, program) = (program, &scheduled);
    for split in [1, 3] {
        for native in [false, true] {
            let mut machine = if native { Machine::native() } else { Machine::evaluator() };
            let initial = Memory::new(program, sizes, given).unwrap_or_else(|e| panic!("{e}"));
            let buffers: Vec<Tensor> = (0..program.buffers.len()).map(|i| initial.tensor(program, BufferId(i as u32))).collect();
            machine.place(&buffers);
            let mut symbols = sizes.clone();
            run(program, &program.prepare, &mut symbols, &mut machine, split);
            run(program, &program.steps, &mut symbols, &mut machine, split);
            for (i, buffer) in original.buffers.iter().enumerate() {
                if !matches!(buffer.kind, BufferKind::Output(_)) {
                    continue;
                }
                let want = expected.tensor(original, BufferId(i as u32));
                let got = machine.read(i, &want);
                assert_same(&buffer.name, &want, &got, &format!("native {native}, split {split}, sizes {sizes:?}\n{}", text(program)));
            }
            assert_eq!(machine.error() != 0, expected.error != 0, "error cell");
        }
    }
}

fn text(program: &Program) -> String {
    let isa = VectorIsa::V128;
    let mut text = String::new();
    for step in program.prepare.iter().chain(&program.steps) {
        if let Step::Run(kernel) = step {
            text += &format!("{:#?}\n", kernel.body);
            for (id, expr) in kernel.exprs.iter() {
                text += &format!("%{} = {} {:?}\n", id.0, expr.dtype, expr.kind);
            }
            let lowered = lower(kernel, program, &isa);
            if std::env::var("KILN_PRINT_TILE").is_ok() {
                text += &lowered.program.to_string();
            }
        }
    }
    text
}

fn run(program: &Program, steps: &[Step], symbols: &mut BTreeMap<Symbol, i64>, machine: &mut Machine, split: i64) {
    for step in steps {
        match step {
            Step::Run(kernel) => {
                let lowered = lower(kernel, program, &VectorIsa::V128);
                machine.run(&lowered, symbols, split);
            }
            Step::Loop { index, extent, body } => {
                for i in 0..extent.evaluate(&|s| symbols.get(s).copied()).expect("known sizes") {
                    symbols.insert(index.clone(), i);
                    run(program, body, symbols, machine, split);
                }
            }
        }
    }
}

/// Equal bits; NaNs agree as NaNs.
fn assert_same(name: &str, want: &Tensor, got: &Tensor, context: &str) {
    if want == got {
        return;
    }
    let size = want.dtype().size_bytes();
    let (w, g) = (want.floats(), got.floats());
    for i in 0..w.len() {
        let same = want.bytes()[i * size..(i + 1) * size] == got.bytes()[i * size..(i + 1) * size];
        assert!(same || (w[i].is_nan() && g[i].is_nan()), "{name}[{i}] of {}: expected {}, got {}; {context}", w.len(), w[i], g[i]);
    }
}
