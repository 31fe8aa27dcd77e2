//! Convolutions in tiles with fewer multiplications: in every tiling and every block, what they store is the convolution's value up to
//! rounding, with what follows them and with their gradients.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::cut::winograd::Block;
use kiln::pipeline::Config;
use kiln::schedule::winograd::WinogradUse;
use kiln_ir::eval::evaluate;
use kiln_ir::graph::Parameter;
use kiln_ir::ops::Conv;
use kiln_ir::types::parse_tensor_type;
use kiln_ir::{Builder, Dim, Graph, Module, Tensor, Value};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::samples::{Fill, Random, tensor};

/// The largest difference allowed, relative to the largest value of the tensor.
const BOUND: f64 = 3e-4;

const TILINGS: [(usize, usize); 7] = [(2, 3), (4, 3), (3, 3), (3, 4), (2, 2), (5, 2), (1, 3)];
const BLOCKS: [Block; 5] = [Block::Whole, Block::Images(1), Block::Images(3), Block::Rows(1), Block::Channels(4)];

/// Sizes of one case: images (0 leaves them open), channels, features, height, width, kernel, padding.
const CASES: [[i64; 7]; 6] = [
    [2, 3, 5, 9, 11, 3, 1],
    [0, 5, 7, 8, 8, 3, 1],
    [0, 16, 32, 12, 5, 3, 0],
    [7, 4, 16, 6, 16, 3, 2],
    [1, 17, 3, 7, 7, 5, 2],
    [3, 2, 2, 13, 4, 4, 0],
];

fn conv(padding: i64) -> Conv {
    Conv { low: vec![Dim::from(padding); 2], high: vec![Dim::from(padding); 2], ..Conv::plain(2) }
}

/// relu(conv(tanh(conv x) + …)) with a bias and a residual: values between convolutions have margins, the last an epilogue.
fn network([images, channels, features, height, width, kernel, padding]: [i64; 7]) -> Graph {
    let mut graph = Graph::new();
    let images = if images == 0 { "n".to_string() } else { images.to_string() };
    let mut input = |name: &str, ty: String| graph.add_input(name, parse_tensor_type(&ty).expect("a type"));
    let x = input("x", format!("f32[{images}, {channels}, {height}, {width}]"));
    let first = input("first", format!("f32[{features}, {channels}, {kernel}, {kernel}]"));
    let second = input("second", format!("f32[{features}, {features}, 3, 3]"));
    let bias = input("bias", format!("f32[{features}]"));
    let mut b = Builder::new(&mut graph);
    let h = b.op(conv(padding), &[x, first]);
    let h = b.tanh(h);
    let y = b.op(conv(1), &[h, second]);
    let bias = b.unsqueeze(bias, &[1, 2]);
    let y = b.add(y, bias);
    let y = b.add(y, h);
    let zero = b.like(y, 0.0);
    let y = b.max(y, zero);
    let squares = b.mul(y, y);
    let loss = b.reduce_sum(squares, &[0, 1, 2, 3], false);
    graph.add_output("y", y);
    graph.add_output("loss", loss);
    graph
}

fn inputs(graph: &Graph, images: i64, random: &mut Random) -> Vec<Tensor> {
    let draw = |value: Value, random: &mut Random| {
        let ty = graph.ty(value);
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.as_const().unwrap_or(images) as usize).collect();
        tensor(ty.dtype, &shape, Fill::Ordinary, Some((-1.0, 1.0)), random)
    };
    graph.inputs().iter().map(|(_, value)| draw(*value, random)).collect()
}

fn module_of(graph: Graph) -> Module {
    let mut module = Module { name: "net".into(), ..Module::default() };
    module.functions.insert("predict".into(), graph);
    module
}

fn check(name: &str, module: &Module, winograd: WinogradUse, images: &[i64], pool: &ThreadPool, random: &mut Random) {
    let target = CpuTarget::host(CpuLevel::Native).unwrap_or_else(|error| panic!("{error}"));
    let config = Config { winograd, ..Config::default() };
    let compiled = compile(module, target, ModelFacts::default(), &config).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
    let multiplied = compiled.plan().program.steps.iter().any(|step| {
        let mut found = false;
        step.visit_kernels(&mut |kernel| found |= kernel.name.ends_with("_multiply"));
        found
    });
    assert!(multiplied, "{name}: no convolution is computed in tiles");
    let predictor = compiled.predictor(pool).unwrap_or_else(|error| panic!("{name}: {error}"));
    let graph = module.predict().unwrap_or_else(|_| panic!("{name}: no function"));
    for &images in images {
        let inputs = inputs(graph, images, random);
        let expected = evaluate(module, graph, &inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = predictor.run(&inputs, pool).unwrap_or_else(|error| panic!("{name}: {error}"));
        let alone = predictor.run(&inputs, &ThreadPool::new(1)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (((found, alone), expected), (output, _)) in found.iter().zip(&alone).zip(&expected).zip(graph.outputs()) {
            assert_eq!(found.bytes(), alone.bytes(), "{name}, {images} images: {output} depends on threads");
            let (found, expected) = (found.floats(), expected.floats());
            let largest = expected.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart <= BOUND * largest, "{name}, {images} images: {output} is off by {apart:e} of {largest:e}");
        }
    }
}

#[test]
fn every_tiling_and_block_gives_the_convolution_and_its_gradients() {
    let pool = ThreadPool::new(2);
    let mut random = Random::new(5);
    for case in CASES {
        let graph = network(case);
        let variables = graph.inputs().iter().map(|(name, _)| Variable::Input(name.clone())).collect::<Vec<_>>();
        let gradient = differentiate(&graph, &["loss"], &variables).unwrap_or_else(|errors| panic!("{case:?}: {errors:?}"));
        let images: &[i64] = if case[0] == 0 { &[1, 5] } else { &[0] };
        for (at, (outputs, taps)) in TILINGS.into_iter().enumerate() {
            // Every block meets every tiling over the cases.
            for block in [BLOCKS[at % BLOCKS.len()], BLOCKS[(at + case[0] as usize + case[1] as usize) % BLOCKS.len()]] {
                let winograd = WinogradUse::Always { outputs, taps, block };
                let name = format!("{case:?} in {winograd:?}");
                check(&name, &module_of(graph.clone()), winograd, images, &pool, &mut random);
                check(&format!("gradient of {name}"), &module_of(gradient.clone()), winograd, images, &pool, &mut random);
            }
        }
    }
}

#[test]
fn convolutions_along_one_axis_are_tiled_too() {
    let mut graph = Graph::new();
    let x = graph.add_input("x", parse_tensor_type("f32[n, 6, 29]").expect("a type"));
    let w = graph.add_input("w", parse_tensor_type("f32[10, 6, 3]").expect("a type"));
    let mut b = Builder::new(&mut graph);
    let y = b.op(Conv { low: vec![Dim::from(1)], high: vec![Dim::from(2)], ..Conv::plain(1) }, &[x, w]);
    graph.add_output("y", y);
    for (outputs, taps) in TILINGS {
        let winograd = WinogradUse::Always { outputs, taps, block: Block::Whole };
        check("along one axis", &module_of(graph.clone()), winograd, &[0, 1, 3], &ThreadPool::new(2), &mut Random::new(6));
    }
}

#[test]
fn taps_of_parameters_are_transformed_once() {
    let ty = parse_tensor_type("f32[32, 32, 3, 3]").expect("a type");
    let mut graph = Graph::new();
    let x = graph.add_input("x", parse_tensor_type("f32[1, 32, 32, 32]").expect("a type"));
    let w = graph.add_parameter("w", ty.clone());
    let mut b = Builder::new(&mut graph);
    let y = b.op(conv(1), &[x, w]);
    graph.add_output("y", y);
    let mut module = module_of(graph);
    let value = tensor(ty.dtype, &[32, 32, 3, 3], Fill::Ordinary, Some((-1.0, 1.0)), &mut Random::new(7));
    module.parameters.insert("w".into(), Parameter { ty, value: Some(value) });
    check("chosen by cost", &module, WinogradUse::WhereFaster, &[0], &ThreadPool::new(1), &mut Random::new(8));
    let target = CpuTarget::host(CpuLevel::Native).unwrap_or_else(|error| panic!("{error}"));
    let compiled = compile(&module, target, ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let program = &compiled.plan().program;
    let count = |steps: &[kiln::kernel::Step], what: &str| {
        let mut found = 0;
        steps.iter().for_each(|step| {
            step.visit_kernels(&mut |kernel| {
                found += usize::from(kernel.stores().iter().any(|s| program.buffer(s.buffer).name.ends_with(what)))
            });
        });
        found
    };
    assert_eq!((count(&program.prepare, "_taps"), count(&program.steps, "_taps")), (1, 0));
}
