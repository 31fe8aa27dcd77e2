//! An operator and its expansion compute the same, on every accepted example.

use kiln_ir::eval::evaluate;
use kiln_ir::graph::Module;
use kiln_ir::ops::{Example, Meaning, Op};
use kiln_ir::{Builder, DType, Dim, Graph, Tensor, Value};

/// A small generator of our own, so that failures repeat everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // Knuth's MMIX constants.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn unit(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 31) as f64
    }

    fn tensor(&mut self, dtype: DType, shape: Vec<usize>, range: Option<(f64, f64)>) -> Tensor {
        let special = [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-40, -3e38, 3e38];
        let count = shape.iter().product::<usize>();
        if dtype.is_float() {
            let values: Vec<f64> = (0..count)
                .map(|_| match range {
                    Some((low, high)) => low + (high - low) * self.unit(),
                    None if self.next().is_multiple_of(4) => special[self.next() as usize % special.len()],
                    None => (self.unit() - 0.5) * 20.0,
                })
                .collect();
            Tensor::from_floats(dtype, shape, values)
        } else {
            let (low, high) = range.unwrap_or((-100.0, 100.0));
            let values: Vec<i128> = (0..count).map(|_| low as i128 + i128::from(self.next()) % (high as i128 - low as i128 + 1)).collect();
            Tensor::from_ints(dtype, shape, values)
        }
    }
}

fn graph(example: &Example, mut build: impl FnMut(&mut Builder, &[Value]) -> Vec<Value>) -> Graph {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = example.inputs.iter().enumerate().map(|(i, ty)| graph.add_input(format!("x{i}"), ty.clone())).collect();
    let results = build(&mut Builder::new(&mut graph), &inputs);
    results.into_iter().enumerate().for_each(|(i, v)| graph.add_output(format!("y{i}"), v));
    graph
}

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        DType::F32 => 2e-5,
        DType::F64 => 1e-12,
        _ => 0.0,
    }
}

fn difference(expected: &Tensor, got: &Tensor) -> Option<String> {
    if (expected.dtype(), expected.shape()) != (got.dtype(), got.shape()) {
        return Some(format!("{} from eval, {} from the expansion", expected.ty(), got.ty()));
    }
    let pairs = expected.floats().into_iter().zip(got.floats()).enumerate();
    let far = |(_, (a, b)): &(usize, (f64, f64))| {
        !(a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance(expected.dtype()) * a.abs().max(1.0))
    };
    pairs.into_iter().find(far).map(|(i, (a, b))| format!("element {i}: eval {a}, expansion {b}"))
}

#[test]
fn expansion_equals_eval() {
    let mut random = Random(7);
    let mut failures = Vec::new();
    for (name, example) in Op::all_examples().into_iter().filter(|(_, e)| e.rejected.is_none()) {
        let direct = graph(&example, |b, x| b.ops(example.op.clone(), x));
        let mut primitive = false;
        let through = graph(&example, |b, x| match example.op.expand(b, x) {
            Meaning::Composite(values) => values,
            Meaning::Primitive => {
                primitive = true;
                Vec::new()
            }
        });
        if primitive {
            continue;
        }
        for ((_, v), (_, w)) in direct.outputs().iter().zip(through.outputs()) {
            if direct.ty(*v) != through.ty(*w) {
                failures.push(format!("{name} {:?}: is {}, expands to {}", example.op, direct.ty(*v), through.ty(*w)));
            }
        }
        let mut ran = 0;
        for sizes in [[1, 1, 1, 1], [2, 2, 2, 2], [5, 5, 5, 5], [4, 3, 6, 5], [2, 7, 3, 0]] {
            let bind = |s: &kiln_ir::Symbol| Some(Dim::from(sizes[s.name().bytes().map(usize::from).sum::<usize>() % 4]));
            let inputs: Vec<Tensor> = example
                .inputs
                .iter()
                .zip(&example.values)
                .map(|(ty, range)| {
                    let shape = ty.shape.iter().map(|d| d.substitute(&bind).as_const().expect("bound") as usize).collect();
                    random.tensor(ty.dtype, shape, *range)
                })
                .collect();
            let module = Module::default();
            let expected = match evaluate(&module, &direct, &inputs) {
                Ok(values) => values,
                Err(e) if e.code == "guard" => continue,
                Err(e) => {
                    failures.push(format!("{name} {:?}: {}", example.op, e.message));
                    break;
                }
            };
            ran += 1;
            let got = match evaluate(&module, &through, &inputs) {
                Ok(values) => values,
                Err(e) => {
                    failures.push(format!("{name} {:?}: expansion: {}", example.op, e.message));
                    break;
                }
            };
            let differences = expected.iter().zip(&got).enumerate().filter_map(|(i, (a, b))| Some((i, difference(a, b)?)));
            failures.extend(differences.map(|(i, d)| format!("{name} {:?} {sizes:?} result {i}: {d}", example.op)));
        }
        if ran == 0 {
            failures.push(format!("{name} {:?}: no sizes fit", example.op));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn rejected_examples_are_rejected_by_their_constraint() {
    for (name, example) in Op::all_examples() {
        let ranges = kiln_ir::Ranges::default();
        let result = example.op.infer(&example.inputs, &mut kiln_ir::ops::Facts::new(&ranges));
        match (example.rejected, result) {
            (None, Ok(_)) => {}
            (Some(label), Err(e)) if e.label == label => {}
            (expected, result) => panic!("{name} {:?}: expected {expected:?}, got {result:?}", example.op),
        }
    }
}
