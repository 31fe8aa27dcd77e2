//! Every operator of the table: the machine code of its kernels, interpreted, stores what the evaluator of tile programs does, for
//! AVX2 and AVX-512 whatever this CPU has.

use super::machine::Machine;
use super::{assert_same, run, text};
use crate::backend::cpu::agreement::Random;
use crate::cut::{Choices, cut};
use crate::kernel::eval::Memory;
use crate::kernel::{BufferId, BufferKind, Program};
use crate::lower::VectorIsa;
use crate::pipeline::{Config, OptLevel, run_passes};
use crate::schedule::contractions::schedule;
use kiln_ir::ops::Example;
use kiln_ir::{DType, Dim, Graph, Module, Op, Symbol, Tensor, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Values of the first symbol of an example, the others being one more each: below a vector, and beyond one of 16 lanes.
const SIZES: [i64; 2] = [3, 17];

/// The symbols of an example with their values.
fn sizes(example: &Example, first: i64) -> BTreeMap<Symbol, i64> {
    let mut symbols: BTreeSet<Symbol> = example.inputs.iter().flat_map(|ty| &ty.shape).flat_map(Dim::symbols).collect();
    example.op.clone().map_dims(&mut |d| {
        symbols.extend(d.symbols());
        d.clone()
    });
    symbols.into_iter().zip(first..).collect()
}

/// The kernels of the operator; symbols that are no axis of an input are known to the compiler. `None` where sizes break its conditions.
fn program(example: &Example, sizes: &BTreeMap<Symbol, i64>) -> Option<Program> {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = example.inputs.iter().enumerate().map(|(i, ty)| graph.add_input(format!("x{i}"), ty.clone())).collect();
    let results = graph.add(example.op.clone(), &inputs, None).unwrap_or_else(|error| panic!("{}", error.message));
    for (i, value) in results.iter().enumerate() {
        graph.add_output(format!("y{i}"), *value);
    }
    let defined: BTreeSet<Symbol> =
        graph.inputs().iter().flat_map(|(_, v)| &graph.ty(*v).shape).filter_map(|d| d.as_symbol().cloned()).collect();
    let bind = |s: &Symbol| if defined.contains(s) { None } else { sizes.get(s).map(|v| Dim::from(*v)) };
    let graph = graph.map_dims(&mut |d| d.substitute(&bind));
    if !graph.guards.iter().all(|guard| guard.holds(&|s| sizes.get(s).copied()) == Some(true)) {
        return None;
    }
    let mut module = Module { name: "law".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph);
    let module = run_passes(&module, &Config::at(OptLevel::Directed)).unwrap_or_else(|errors| panic!("{errors:?}")).module;
    Some(cut(&module, "predict", &Choices::default()).unwrap_or_else(|error| panic!("{error}")))
}

/// A value of that type in the interval; beyond ordinary ones the special floats where there is none.
fn operand(dtype: DType, shape: &[usize], interval: Option<(f64, f64)>, random: &mut Random) -> Tensor {
    let count: usize = shape.iter().product();
    let unit = |random: &mut Random| random.below(1 << 20) as f64 / f64::from(1 << 20);
    if dtype.is_float() {
        let (low, high) = interval.unwrap_or((-4.0, 4.0));
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e30, -1e-40];
        let one = |random: &mut Random| match interval {
            None if random.below(12) == 0 => random.pick(&special),
            _ => low + (high - low) * unit(random),
        };
        return Tensor::from_floats(dtype, shape.to_vec(), (0..count).map(|_| one(random)).collect::<Vec<f64>>());
    }
    let (least, greatest) = dtype.int_range().unwrap_or((0, 1));
    let (low, high) = interval.map_or((-20, 20), |(low, high)| (low as i128, high as i128));
    let (low, high) = (low.max(least), high.min(greatest));
    let one = |random: &mut Random| low + i128::from(random.bits() >> 1) % (high - low + 1);
    Tensor::from_ints(dtype, shape.to_vec(), (0..count).map(|_| one(random)).collect::<Vec<i128>>())
}

/// Contents of all buffers before the run.
fn contents(program: &Program, example: &Example, sizes: &BTreeMap<Symbol, i64>, random: &mut Random) -> Vec<Tensor> {
    let mut given = BTreeMap::new();
    for (at, buffer) in program.buffers.iter().enumerate() {
        if let BufferKind::Input(number) = buffer.kind {
            let size = |d: &Dim| d.evaluate(&|s| sizes.get(s).copied()).unwrap_or_else(|| panic!("{d} of {sizes:?}")) as usize;
            let shape: Vec<usize> = buffer.shape.iter().map(size).collect();
            given.insert(BufferId(at as u32), operand(buffer.dtype, &shape, example.values[number], random));
        }
    }
    let memory = Memory::new(program, sizes, &given).unwrap_or_else(|error| panic!("{error}"));
    (0..program.buffers.len()).map(|at| memory.tensor(program, BufferId(at as u32))).collect()
}

/// Runs a program both ways and compares every output; how many kernels ran as machine code, of how many.
fn check_kernels(program: &Program, example: &Example, sizes: &BTreeMap<Symbol, i64>, isa: &VectorIsa, seed: u64) -> (usize, usize) {
    let mut program = program.clone();
    schedule(&mut program, isa);
    let before = contents(&program, example, sizes, &mut Random::new(seed));
    let [mut evaluated, mut interpreted] = [Machine::evaluator(), Machine::interpreter(isa)].map(|mut machine| {
        machine.place(&before);
        let mut symbols = sizes.clone();
        run(&program, &program.prepare, isa, &mut symbols, &mut machine, 1);
        run(&program, &program.steps, isa, &mut symbols, &mut machine, 1);
        machine
    });
    for (at, buffer) in program.buffers.iter().enumerate().filter(|(_, buffer)| matches!(buffer.kind, BufferKind::Output(_))) {
        let [want, got] = [&mut evaluated, &mut interpreted].map(|machine| machine.read(at, &before[at]));
        let place = format!("{:?} on {:?}, {isa:?}, sizes {sizes:?}\n{}", example.op, example.inputs, text(&program, isa));
        assert_same(&buffer.name, &want, &got, &place);
    }
    assert_eq!(evaluated.error(), interpreted.error(), "error cell of {:?}", example.op);
    interpreted.interpreted()
}

fn check_table(isa: &VectorIsa) {
    let (mut covered, mut all) = (0, 0);
    for (name, example) in Op::all_examples().into_iter().filter(|(_, example)| example.rejected.is_none()) {
        for first in SIZES {
            let sizes = sizes(&example, first);
            let Some(program) = program(&example, &sizes) else { continue };
            let seed = name.bytes().fold(first as u64, |seed, b| seed.wrapping_mul(31).wrapping_add(u64::from(b)));
            let (ours, kernels) = check_kernels(&program, &example, &sizes, isa, seed);
            (covered, all) = (covered + ours, all + kernels);
            if sizes.is_empty() {
                break;
            }
        }
    }
    // The rest has lanes of 8 or 16 bits or floats of 16 bits, which the emitter leaves to Cranelift.
    assert!(covered * 3 > all * 2, "the emitter takes {covered} of {all} kernels");
}

#[test]
fn every_operator_interpreted_with_avx2_agrees_with_the_evaluator() {
    check_table(&VectorIsa::AVX2);
}

#[test]
fn every_operator_interpreted_with_avx512_agrees_with_the_evaluator() {
    check_table(&VectorIsa::AVX512);
}
