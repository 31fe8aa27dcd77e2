//! Passes keep meaning: what a graph computes before them, it computes after them.

use kiln::pipeline::{Config, FoldBudget, OptLevel, PASSES, Pass, run, run_passes};
use kiln_ir::eval::evaluate;
use kiln_ir::graph::{NodeKind, Parameter};
use kiln_ir::ops::{Broadcast, Cast, Concat, Dot, Meaning, Pad, PadMode, Reshape, Slice, Transpose};
use kiln_ir::text::{PrintOptions, parse_module, print_module};
use kiln_ir::verify::verify_module;
use kiln_ir::{Builder, DType, Dim, Graph, Module, Op, Tensor, TensorType, Value};
use kiln_tests::compare::{Tolerance, difference};
use kiln_tests::instances;
use kiln_tests::samples::{Fill, Random, tensor};

const FILLS: [Fill; 2] = [Fill::Ordinary, Fill::Special];
const LEVELS: [OptLevel; 3] = [OptLevel::Unchanged, OptLevel::Directed, OptLevel::Saturated];

fn module_of(graph: &Graph) -> Module {
    let mut module = Module { name: "test".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph.clone());
    module
}

fn predict(module: &Module) -> &Graph {
    module.predict().unwrap_or_else(|e| panic!("{e}"))
}

/// What differs between two modules on the same inputs.
fn disagreement(before: &Module, after: &Module, inputs: &[Tensor], tolerance: &dyn Fn(DType) -> Tolerance) -> Option<String> {
    match (evaluate(before, predict(before), inputs), evaluate(after, predict(after), inputs)) {
        (Ok(expected), Ok(found)) => {
            let pairs = found.iter().zip(&expected).enumerate();
            pairs.filter_map(|(i, (f, e))| difference(f, e, tolerance(e.dtype())).map(|d| format!("result {i}, {d}"))).next()
        }
        // An index out of range is one before and after.
        (Err(before), Err(after)) if before.code == after.code => None,
        (before, after) => Some(format!("{before:?} and {after:?}")),
    }
}

#[test]
fn every_operator_verifies_and_reads_back() {
    for instance in instances::all() {
        let module = module_of(&instance.graph);
        verify_module(&module).unwrap_or_else(|e| panic!("{instance}: {}", e[0]));
        let printed = print_module(&module, PrintOptions { origins: true });
        let read = parse_module("", &printed.text, &printed.constants).unwrap_or_else(|e| panic!("{instance}: {}", e[0]));
        assert_eq!(read, module, "{}", printed.text);
    }
}

#[test]
fn all_passes_together_keep_every_operator() {
    let mut failures = Vec::new();
    for (instance, level) in instances::all().iter().flat_map(|instance| LEVELS.map(|level| (instance, level))) {
        let mut random = instance.random();
        let before = module_of(&instance.graph);
        let config = Config::at(level);
        let after = run_passes(&before, &config).unwrap_or_else(|e| panic!("{instance}: {}", e[0])).module;
        let text = after.to_string();
        assert_eq!(run_passes(&before, &config).map(|passed| passed.module.to_string()), Ok(text), "{instance}: not deterministic");
        if let Some(composite) = composite_in(predict(&after)) {
            failures.push(format!("{instance}: `{composite}` is left"));
        }
        if !instance.guards_hold() {
            continue;
        }
        for fill in FILLS {
            let inputs = instance.inputs(fill, &mut random);
            if let Some(found) = disagreement(&before, &after, &inputs, &|dtype| Tolerance::of_composite(&instance.example.op, dtype)) {
                failures.push(format!("{instance}, {level:?}: {found}; inputs {inputs:?}\n{after}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures, the first:\n{}", failures.len(), failures[0]);
}

/// A composite that is left, at any depth.
fn composite_in(graph: &Graph) -> Option<&'static str> {
    graph.order().into_iter().find_map(|id| {
        let node = graph.node(id);
        let NodeKind::Op(op) = &node.kind else { return None };
        if let Op::Scan(scan) = op
            && let Some(inner) = composite_in(&scan.body)
        {
            return Some(inner);
        }
        let mut scratch = graph.clone();
        match op.expand(&mut Builder::new(&mut scratch), &node.inputs) {
            Meaning::Primitive => None,
            Meaning::Composite(_) => Some(op.name()),
        }
    })
}

#[test]
fn folding_computes_what_running_would() {
    let fold: Vec<Pass> = PASSES.iter().copied().filter(|p| p.0 == "fold_constants").collect();
    let config = Config { fold: Some(FoldBudget { node_work: u64::MAX, total_bytes: u64::MAX, parameters: true }), ..Config::default() };
    for instance in instances::all().iter().filter(|i| i.symbols.is_empty()) {
        let mut random = instance.random();
        let inputs = instance.inputs(Fill::Special, &mut random);
        // The operands become parameters with values.
        let mut graph = Graph::new();
        let mut before = Module { name: "test".into(), ..Module::default() };
        let mut operands = Vec::new();
        for (i, value) in inputs.into_iter().enumerate() {
            operands.push(graph.add_parameter(&format!("p{i}"), value.ty()));
            before.parameters.insert(format!("p{i}"), Parameter { ty: value.ty(), value: Some(value) });
        }
        let results = graph.add(instance.example.op.clone(), &operands, None).unwrap_or_else(|e| panic!("{instance}: {e}"));
        results.into_iter().enumerate().for_each(|(i, v)| graph.add_output(format!("y{i}"), v));
        before.functions.insert("predict".into(), graph);
        let after = run(&before, &config, &fold).unwrap_or_else(|e| panic!("{instance}: {}", e[0])).module;
        if let Some(found) = disagreement(&before, &after, &[], &|_| Tolerance::EXACT) {
            panic!("{instance}: {found}\n{after}");
        }
    }
}

#[test]
fn chains_of_movement_move_the_same_elements() {
    let simplify: Vec<Pass> = PASSES.iter().copied().filter(|p| p.0 == "simplify_movement").collect();
    let mut random = Random::new(3);
    let mut removed = 0;
    for _ in 0..3000 {
        let graph = random_chain(&mut random);
        let before = module_of(&graph);
        let after = run(&before, &Config::default(), &simplify).unwrap_or_else(|e| panic!("{}\n{before}", e[0])).module;
        removed += graph.order().len() - predict(&after).order().len();
        for (n, m) in [(3, 2), (1, 1), (0, 4)] {
            let size = |d: &Dim| d.evaluate(&|s| Some(if s.name() == "n" { n } else { m })).unwrap_or_default() as usize;
            let shapes = graph.inputs().iter().map(|(_, v)| graph.ty(*v).shape.iter().map(size).collect::<Vec<_>>());
            let count = |s: &[usize]| s.iter().product::<usize>() as i128;
            let inputs: Vec<Tensor> = shapes.map(|s| Tensor::from_ints(DType::I32, s.clone(), 1..=count(&s))).collect();
            if evaluate(&before, predict(&before), &inputs).is_err() {
                continue;
            }
            if let Some(found) = disagreement(&before, &after, &inputs, &|_| Tolerance::EXACT) {
                panic!("n = {n}, m = {m}: {found}\n{before}{after}");
            }
        }
    }
    assert!(removed > 2000, "only {removed} operators went away");
}

/// Movements one after another, each on the result of the one before.
fn random_chain(random: &mut Random) -> Graph {
    let mut graph = Graph::new();
    let dims = [Dim::symbol("n"), Dim::symbol("m"), Dim::ONE, Dim::from(2), Dim::from(3)];
    let mut shape = vec![Dim::symbol("n"), Dim::symbol("m")];
    shape.extend((0..random.below(2)).map(|_| dims[random.below(5)].clone()));
    let mut x = graph.add_input("x", TensorType::new(DType::I32, shape));
    for _ in 0..2 + random.below(5) {
        let step = random_movement(random, &graph, x);
        let (op, with_value): (Op, bool) = step;
        let mut operands = vec![x];
        if with_value {
            operands.push(graph.add_constant(Tensor::from_ints(DType::I32, vec![], [-(random.below(2) as i128)])));
        }
        if matches!(op, Op::Cast(_)) {
            // There and back, so that the chain keeps its element type.
            operands = graph.add(op, &operands, None).unwrap_or_default();
            x = Builder::new(&mut graph).op(Cast { dtype: DType::I32 }, &operands);
        } else if let Ok(results) = graph.add(op, &operands, None) {
            x = results[0];
        }
    }
    graph.add_output("y", x);
    graph
}

/// A movement that may not fit, and whether it takes a padding value.
fn random_movement(random: &mut Random, graph: &Graph, x: Value) -> (Op, bool) {
    let shape = &graph.ty(x).shape;
    let rank = shape.len();
    let small = |random: &mut Random, low: i64, n: usize| Dim::from(low + random.below(n) as i64);
    match random.below(7) {
        0 => {
            let mut perm: Vec<usize> = (0..rank).collect();
            (0..rank).rev().for_each(|i| perm.swap(i, random.below(i + 1)));
            (Transpose { perm }.into(), false)
        }
        1 => {
            let mut to = shape.clone();
            match random.below(4) {
                0 => to = vec![Dim::product(shape)],
                1 => to.insert(random.below(rank + 1), Dim::ONE),
                2 => to.retain(|d| !d.is(1)),
                _ => to = to.into_iter().rev().collect(),
            }
            (Reshape { shape: to }.into(), false)
        }
        2 => {
            let mut to = shape.clone();
            for dim in to.iter_mut().filter(|d| d.is(1)) {
                *dim = [Dim::ONE, Dim::from(2), Dim::symbol("m")][random.below(3)].clone();
            }
            if rank < 5 && random.below(2) == 0 {
                to.insert(0, [Dim::ONE, Dim::symbol("n")][random.below(2)].clone());
            }
            (Broadcast { shape: to }.into(), false)
        }
        3 => {
            let mut slice = Slice { starts: vec![], sizes: vec![], steps: vec![] };
            for dim in shape {
                let (start, size, step) = match random.below(4) {
                    0 => (dim - Dim::ONE, dim.clone(), -1),
                    1 => (Dim::ZERO, dim.ceil_div(&Dim::from(2)), 2),
                    2 => (small(random, 0, 2), Dim::ONE, 1),
                    _ => (Dim::ZERO, dim.clone(), 1),
                };
                slice.starts.push(start);
                slice.sizes.push(size);
                slice.steps.push(step);
            }
            (slice.into(), false)
        }
        4 => {
            let mode = [PadMode::Constant, PadMode::Constant, PadMode::Constant, PadMode::Edge][random.below(4)];
            let low = if random.below(3) == 0 { -1 } else { 0 };
            let mut amounts = || (0..rank).map(|_| small(random, low, 2)).collect();
            (Pad { low: amounts(), high: amounts(), mode }.into(), true)
        }
        5 => (Cast { dtype: [DType::F64, DType::I64, DType::F32, DType::I32][random.below(4)] }.into(), false),
        _ => (Concat { axis: random.below(rank.max(1)) }.into(), false),
    }
}

#[test]
fn products_shrink_to_the_same_values() {
    products_keep_their_values("shrink_products", 200);
}

#[test]
fn products_are_optimised_to_the_same_values() {
    products_keep_their_values("optimise", 50);
}

/// Random products before and after a pass, which must change at least so many of them.
fn products_keep_their_values(pass: &str, least: usize) {
    let passes: Vec<Pass> = PASSES.iter().copied().filter(|p| p.0 == pass).collect();
    let mut random = Random::new(9);
    let mut changed = 0;
    for _ in 0..600 {
        let graph = random_products(&mut random);
        let mut before = module_of(&graph);
        for id in graph.order() {
            if let NodeKind::Parameter(name) = &graph.node(id).kind {
                let ty = graph.node(id).types[0].clone();
                let shape = ty.fixed_shape().expect("parameters have known sizes");
                let value = Some(tensor(DType::F64, &shape, Fill::Ordinary, Some((-1.0, 1.0)), &mut random));
                before.parameters.insert(name.to_string(), Parameter { ty, value });
            }
        }
        let after = run(&before, &Config::default(), &passes).unwrap_or_else(|e| panic!("{}\n{before}", e[0])).module;
        changed += usize::from(after != before);
        for (n, m) in [(3, 2), (1, 1), (0, 4), (4, 0)] {
            let size = |d: &Dim| d.evaluate(&|s| Some(if s.name() == "n" { n } else { m })).unwrap_or_default() as usize;
            let shapes = graph.inputs().iter().map(|(_, v)| graph.ty(*v).shape.iter().map(size).collect::<Vec<_>>());
            let draw = |shape: Vec<usize>| tensor(DType::F64, &shape, Fill::Ordinary, Some((-1.0, 1.0)), &mut random);
            let inputs: Vec<Tensor> = shapes.map(draw).collect();
            let close = |_| Tolerance { absolute: 1e-8, relative: 1e-9 };
            if let Some(found) = disagreement(&before, &after, &inputs, &close) {
                panic!("{found}\n{before}\n{after}");
            }
        }
    }
    assert!(changed > least, "only {changed} graphs changed: the test tests little");
}

/// Products, sums and what lies between them: repeated values, heads split and merged, scales and offsets.
fn random_products(random: &mut Random) -> Graph {
    let mut graph = Graph::new();
    let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
    let mut inputs = 0;
    // What has known sizes is a parameter every other time.
    let mut input = |graph: &mut Graph, shape: &[Dim]| {
        inputs += 1;
        let ty = TensorType::new(DType::F64, shape.to_vec());
        match ty.fixed_shape() {
            Some(_) if inputs % 2 == 0 => graph.add_parameter(&format!("p{inputs}"), ty),
            _ => graph.add_input(format!("x{inputs}"), ty),
        }
    };
    let mut value = input(&mut graph, &[n.clone(), m.clone(), Dim::from(6)]);
    for _ in 0..3 + random.below(7) {
        let shape = graph.ty(value).shape.clone();
        let rank = shape.len();
        let axis = random.below(rank.max(1));
        // Of the same shape, and the same along some axes.
        let partner = |graph: &mut Graph, random: &mut Random, input: &mut dyn FnMut(&mut Graph, &[Dim]) -> Value| {
            let small: Vec<Dim> = shape.iter().map(|d| if random.below(2) == 0 { Dim::ONE } else { d.clone() }).collect();
            let small = input(graph, &small);
            Builder::new(graph).broadcast_to(small, &shape)
        };
        value = match random.below(8) {
            0 if rank > 1 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.swap(axis, random.below(rank));
                Builder::new(&mut graph).transpose(value, &perm)
            }
            1 if rank > 0 && rank < 5 && shape[axis].is(6) => {
                let split = [&shape[..axis], &[Dim::from(2), Dim::from(3)], &shape[axis + 1..]].concat();
                Builder::new(&mut graph).reshape(value, &split)
            }
            1 if rank > 1 && axis > 0 => {
                let merged = [&shape[..axis - 1], &[&shape[axis - 1] * &shape[axis]], &shape[axis + 1..]].concat();
                Builder::new(&mut graph).reshape(value, &merged)
            }
            2 => {
                let other = partner(&mut graph, random, &mut input);
                let mut b = Builder::new(&mut graph);
                if random.below(2) == 0 { b.add(value, other) } else { b.sub(other, value) }
            }
            3 => {
                let other = partner(&mut graph, random, &mut input);
                Builder::new(&mut graph).mul(value, other)
            }
            4 if rank > 0 => {
                let weight = input(&mut graph, &[shape[axis].clone(), Dim::from(6)]);
                let dot = Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![axis], b_contract: vec![0] };
                Builder::new(&mut graph).op(dot, &[value, weight])
            }
            5 if rank > 0 => Builder::new(&mut graph).reduce_sum(value, &[axis], random.below(2) == 0),
            6 if rank < 4 => {
                let wide = [&shape[..axis], std::slice::from_ref(&m), &shape[axis..]].concat();
                let mut b = Builder::new(&mut graph);
                let unit = b.unsqueeze(value, &[axis]);
                b.broadcast_to(unit, &wide)
            }
            7 if rank > 1 => {
                let other = partner(&mut graph, random, &mut input);
                let contract: Vec<usize> = (0..rank).filter(|a| *a != axis).collect();
                let dot = Dot { a_batch: vec![], b_batch: vec![], a_contract: contract.clone(), b_contract: contract };
                Builder::new(&mut graph).op(dot, &[value, other])
            }
            _ => Builder::new(&mut graph).neg(value),
        };
    }
    graph.add_output("y", value);
    graph
}
