//! Which buffers are made again, and that nothing else changes.

use super::*;
use crate::kernel::{Buffer, Step};
use crate::schedule::testing::{copy, looped};
use kiln_ir::{DType, Dim};

const BYTES: i64 = 4096;

/// An input that goes through `depth` layers, each result of which is read again on the way back, last one first.
fn there_and_back(depth: u32) -> Program {
    let mut program = Program::default();
    let buffer = |name: String, kind| Buffer { name, dtype: DType::F32, shape: vec![Dim::from(BYTES / 4)], kind };
    let input = program.add_buffer(buffer("x".into(), BufferKind::Input(0)));
    program.inputs.push(("x".into(), input));
    for at in 1..=depth {
        program.add_buffer(buffer(format!("h{at}"), BufferKind::Temporary));
    }
    program.steps = (0..depth).map(|at| copy((at, Dim::ZERO), (at + 1, Dim::ZERO))).collect();
    for at in (1..=depth).rev() {
        let output = program.add_buffer(buffer(format!("y{at}"), BufferKind::Output((depth - at) as usize)));
        program.outputs.push((format!("y{at}"), output));
        program.steps.push(copy((at, Dim::ZERO), (output.0, Dim::ZERO)));
    }
    program
}

/// What each output is made of: the kernels on the way to it.
fn meanings(program: &Program) -> Vec<Vec<String>> {
    let mut made: BTreeMap<BufferId, Vec<String>> = program.inputs.iter().map(|(name, id)| (*id, vec![name.clone()])).collect();
    for step in &program.steps {
        let Step::Run(kernel) = step else { panic!("no loops here") };
        let from = *kernel.loads().first().expect("one");
        let way = made[&from].iter().chain([&kernel.name]).cloned().collect();
        made.insert(kernel.stores()[0].buffer, way);
    }
    program.outputs.iter().map(|(_, id)| made[id].clone()).collect()
}

#[test]
fn fewer_bytes_cost_more_steps_and_outputs_stay_what_they_are() {
    let program = there_and_back(16);
    let mut steps = Vec::new();
    for buffers in [16, 12, 8, 6, 5] {
        let (mut changed, mut least) = (program.clone(), 0);
        let done = rematerialise(&mut changed, 0, buffers * BYTES, &mut least).unwrap_or_else(|error| panic!("{buffers}: {error}"));
        assert!(done.bytes_after <= buffers * BYTES && done.bytes_after == temporary_bytes(&changed).expect("small"));
        assert_eq!(done.bytes_before, 16 * BYTES);
        assert_eq!(changed.steps.len(), program.steps.len() + done.steps);
        assert_eq!(meanings(&changed), meanings(&program));
        steps.push(done.steps);
    }
    assert_eq!(steps[0], 0);
    assert!(steps.is_sorted(), "{steps:?}");
    let error = rematerialise(&mut program.clone(), 0, BYTES / 2, &mut 0).expect_err("one buffer is more");
    assert_eq!(error.code, "memory_budget");
}

#[test]
fn the_choice_is_the_same_each_time() {
    let within = || {
        let mut program = there_and_back(12);
        rematerialise(&mut program, 0, 5 * BYTES, &mut 0).expect("it fits");
        program
    };
    assert_eq!(within(), within());
}

#[test]
fn what_an_update_has_overwritten_is_not_read_again() {
    // The input is a state, whose new value takes its memory before the way back.
    let mut program = there_and_back(6);
    let new = program.add_buffer(Buffer { kind: BufferKind::Output(6), ..program.buffer(BufferId(0)).clone() });
    program.outputs.push(("new".into(), new));
    program.steps.insert(6, copy((6, Dim::ZERO), (new.0, Dim::ZERO)));
    let (mut changed, mut least) = (program.clone(), 0);
    // From the first layer on, all can be done again.
    rematerialise(&mut changed, 1, 4 * BYTES, &mut least).expect("it fits");
    let overwritten = changed.steps.iter().position(|step| {
        let Step::Run(kernel) = step else { return false };
        kernel.stores()[0].buffer == new
    });
    let reads = |step: &Step| matches!(step, Step::Run(kernel) if kernel.loads().contains(&BufferId(0)));
    let last = changed.steps.iter().rposition(reads);
    assert!(last < overwritten, "{last:?} {overwritten:?}");
}

#[test]
fn loops_are_left_alone_where_nothing_waits() {
    let mut program = looped();
    let before = temporary_bytes(&program).expect("small");
    let error = rematerialise(&mut program, 0, before - 1, &mut 0).expect_err("nothing to do again");
    insta::assert_snapshot!(error, @"error[memory_budget]: no plan of the step takes less than 192 bytes");
}
