//! Tests: lowered kernels give the bits of the kernel interpreter, in the tile evaluator (which refuses every access outside a
//! buffer) and as machine code, however the tasks are split.

mod contracts;
mod depthwise;
mod indexing;
mod machine;
mod nests;
mod operators;
mod random;

use super::{VectorIsa, lower};
use crate::kernel::eval::Memory;
use crate::kernel::{BufferId, BufferKind, Program, Step};
use crate::schedule::contractions::schedule;
use crate::tuning::{Answers, Tuning};
use kiln_ir::{Symbol, Tensor};
use machine::Machine;
use std::collections::BTreeMap;

/// The vector units that kernels are lowered for.
const ISAS: [VectorIsa; 3] = [VectorIsa::V128, VectorIsa::AVX2, VectorIsa::AVX512];

/// Runs the program for every vector unit, both ways, and compares every output buffer.
fn check(program: &Program, sizes: &BTreeMap<Symbol, i64>, given: &BTreeMap<BufferId, Tensor>) {
    let mut expected = Memory::new(program, sizes, given).unwrap_or_else(|e| panic!("{e}"));
    crate::kernel::eval::run(program, sizes, &mut expected).unwrap_or_else(|e| panic!("{e}"));
    for isa in &ISAS {
        let mut scheduled = program.clone();
        schedule(&mut scheduled, isa);
        // The evaluator is slow, and how tasks are split does not concern the vector unit.
        let splits: &[(i64, bool)] =
            if *isa == VectorIsa::V128 { &[(1, false), (1, true), (3, false), (3, true)] } else { &[(3, false), (1, true)] };
        for &(split, native) in splits {
            check_one(program, &scheduled, isa, (split, native), sizes, given, &expected);
        }
        for tuning in other_ways(&scheduled, isa) {
            scheduled.tuning = tuning;
            check_one(program, &scheduled, isa, (2, true), sizes, given, &expected);
        }
    }
}

/// Of the ways that tuning tries, one in so many is tested with a program, in turn: there are many programs.
const OTHER_WAYS: usize = 12;

/// Some of all that tuning tries of a program's kernels.
fn other_ways(program: &Program, isa: &VectorIsa) -> Vec<Tuning> {
    let model = Tuning::known(Answers::new());
    let asking = Program { tuning: model.clone(), ..program.clone() };
    let mut answers = BTreeMap::new();
    for step in asking.prepare.iter().chain(&asking.steps) {
        step.visit_kernels(&mut |kernel| {
            for decision in lower(kernel, &asking, isa).decisions {
                let most: &mut usize = answers.entry(decision.subject).or_default();
                *most = decision.answers.max(*most);
            }
        });
    }
    let ways = answers.into_iter().flat_map(|(subject, most)| (1..most).map(move |number| (subject, number)));
    let first = format!("{:?} {isa:?}", program.steps).len() % OTHER_WAYS;
    ways.skip(first).step_by(OTHER_WAYS).map(|(subject, number)| model.trial(subject, number)).collect()
}

fn check_one(
    original: &Program,
    program: &Program,
    isa: &VectorIsa,
    (split, native): (i64, bool),
    sizes: &BTreeMap<Symbol, i64>,
    given: &BTreeMap<BufferId, Tensor>,
    expected: &Memory,
) {
    let mut machine = if native { Machine::native(isa) } else { Machine::evaluator() };
    if !machine.runs_here() {
        return;
    }
    let initial = Memory::new(program, sizes, given).unwrap_or_else(|e| panic!("{e}"));
    let buffers: Vec<Tensor> = (0..program.buffers.len()).map(|i| initial.tensor(program, BufferId(i as u32))).collect();
    machine.place(&buffers);
    let mut symbols = sizes.clone();
    run(program, &program.prepare, isa, &mut symbols, &mut machine, split);
    run(program, &program.steps, isa, &mut symbols, &mut machine, split);
    for (i, buffer) in original.buffers.iter().enumerate() {
        if !matches!(buffer.kind, BufferKind::Output(_)) {
            continue;
        }
        let want = expected.tensor(original, BufferId(i as u32));
        let got = machine.read(i, &want);
        assert_same(
            &buffer.name,
            &want,
            &got,
            &format!("{isa:?}, native {native}, split {split}, sizes {sizes:?}\n{}", text(program, isa)),
        );
    }
    assert_eq!(machine.error() != 0, expected.error != 0, "error cell");
}

fn text(program: &Program, isa: &VectorIsa) -> String {
    let mut text = String::new();
    for step in program.prepare.iter().chain(&program.steps) {
        if let Step::Run(kernel) = step {
            text += &format!("{:#?}\n", kernel.body);
            for (id, expr) in kernel.exprs.iter() {
                text += &format!("%{} = {} {:?}\n", id.0, expr.dtype, expr.kind);
            }
            let lowered = lower(kernel, program, isa);
            if std::env::var("KILN_PRINT_TILE").is_ok() {
                text += &lowered.program.to_string();
            }
        }
    }
    text
}

fn run(program: &Program, steps: &[Step], isa: &VectorIsa, symbols: &mut BTreeMap<Symbol, i64>, machine: &mut Machine, split: i64) {
    for step in steps {
        match step {
            Step::Run(kernel) => {
                let lowered = lower(kernel, program, isa);
                machine.run(&lowered, symbols, split);
            }
            Step::Loop { index, extent, body, .. } => {
                for i in 0..extent.evaluate(&|s| symbols.get(s).copied()).expect("known sizes") {
                    symbols.insert(index.clone(), i);
                    run(program, body, isa, symbols, machine, split);
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
