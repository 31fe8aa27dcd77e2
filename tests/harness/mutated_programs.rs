//! Programs whose kernels are changed to see whether tests notice: networks and steps of their training, and graphs of operators, with
//! values and sizes that reach what kernels have for edges, steps and special numbers.

use crate::recurrent_cases::by_one_kernel;
use crate::samples::{Fill, Random, tensor};
use crate::training::{first_step, planned};
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln_ir::text::{ConstantTable, parse_graph};
use kiln_ir::{DType, Module, Tensor};

/// What data hold, run by run. Launches are compared with special numbers in memory as well.
const FILLS: [Fill; 5] = [Fill::Ordinary, Fill::Ordinary, Fill::Special, Fill::Ordinary, Fill::Ordinary];

/// A network: its name, its file, the shape of a sample, and how many samples runs have: more and fewer than loops take at once.
struct Network {
    names: [&'static str; 2],
    file: &'static str,
    sample: &'static [usize],
    batches: [usize; 5],
}

/// Sizes are one more than tiles and steps hold, of which there are several: what stands in a tile beyond the edge shows nowhere.
const NETWORKS: [Network; 3] = [
    // Convolutions with padding and strides, a norm and pooling.
    Network {
        names: ["convolutions", "training of convolutions"],
        file: "
seed = 3
outputs = ['scores']
input = [{ name = 'x', shape = [9, 9, 7] }]
[[layer]]
type = 'conv2d'
filters = 33
kernel = 3
strides = 2
padding = 1
activation = 'relu'
[[layer]]
type = 'batch_norm'
[[layer]]
type = 'max_pool2d'
size = 2
[[layer]]
type = 'flatten'
[[layer]]
type = 'dense'
name = 'scores'
units = 17
[train]
loss = 'sparse_cross_entropy'
optimiser = 'adamw'
",
        sample: &[9, 9, 7],
        batches: [9, 33, 3, 22, 70],
    },
    Network {
        names: ["recurrent", "training of recurrent"],
        file: "
seed = 5
outputs = ['scores']
input = [{ name = 'x', shape = [3, 65] }]
[[layer]]
type = 'gru'
units = 65
return_sequences = true
[[layer]]
type = 'dense'
name = 'scores'
units = 18
activation = 'softmax'
[train]
loss = 'cross_entropy'
",
        sample: &[3, 65],
        batches: [9, 35, 3, 22, 70],
    },
    Network {
        names: ["transformer", "training of transformer"],
        file: "
seed = 5
outputs = ['scores']
input = [{ name = 'x', shape = [65, 33] }]
[[layer]]
type = 'transformer_encoder'
heads = 3
hidden = 65
causal = true
[[layer]]
type = 'dense'
name = 'scores'
units = 18
activation = 'softmax'
[train]
loss = 'cross_entropy'
",
        sample: &[65, 33],
        batches: [1, 2, 1, 3, 7],
    },
];

/// Products, sums, elements picked by index, and divisions of integers, which are long where both are.
const OPERATORS: &str = "
graph (%a: f32[37, k], %b: f32[k, 45], %c: f64[37, 35], %i: i64[4], %m: i64[70], %n: i64[70], %u: u64[70], %v: u64[70]) {
  %d = dot %a, %b {a_batch = [], a_contract = [1], b_batch = [], b_contract = [0]}
  %r = reduce %d {axes = [1], kind = max, keep = false}
  %x = reduce %c {axes = [1], kind = max, keep = false}
  %e = exp %c
  %g = gather %c, %i {axis = 0}
  %q = div %m, %n
  %t = rem %m, %n
  %w = div %u, %v
  return %d, %r, %x, %e, %g, %q, %t, %w
}
";

/// Products of half floats on matrix units, and attention: of many queries, of few in streams that share keys, and of half floats.
const MATRICES: &str = "
graph (%a: bf16[b, 37, m], %w: bf16[m, 41], %q: f32[b, 2, n, 20], %k: f32[b, 2, m, 20], %v: f32[b, 2, m, 36],
    %f: f32[b, 2, 5, 19], %g: f32[b, 2, m, 19], %p: f16[b, 2, n, 24], %s: f16[b, 2, m, 24]) {
  %d = dot %a, %w {a_batch = [], a_contract = [2], b_batch = [], b_contract = [0]}
  %many = attention %q, %k, %v {scale = none, softcap = none, causal = true, past = 0, left_window = 40, right_window = none, has_mask = false, has_lengths = false, scores = none}
  %few = attention %f, %g, %v {scale = none, softcap = none, causal = false, past = 0, left_window = none, right_window = none, has_mask = false, has_lengths = false, scores = none}
  %half = attention %p, %s, %s {scale = none, softcap = none, causal = true, past = 0, left_window = none, right_window = none, has_mask = false, has_lengths = false, scores = none}
  return %d, %many, %few, %half
}
";

/// Samples, queries and keys of them.
const SIZES: [[usize; 3]; 8] = [[1, 3, 5], [1, 20, 33], [2, 65, 48], [1, 33, 65], [1, 97, 129], [2, 70, 140], [1, 129, 257], [1, 20, 900]];

/// Depths of the product: of one step, and of several, with the end at any place of a step, and of memory, which grows.
const DEPTHS: [usize; 17] = [1, 9, 14, 23, 27, 35, 45, 54, 62, 70, 78, 83, 96, 107, 121, 129, 193];

/// A program with values for everything it takes, several times.
pub struct Program {
    /// For reports.
    pub name: &'static str,
    /// Its function `predict`.
    pub module: Module,
    /// What it takes, run by run.
    pub inputs: Vec<Vec<Tensor>>,
    /// How it is compiled.
    pub config: Config,
}

/// Labels of seventeen classes: all are there, but for the last of the second run, and for all of the third.
fn labels(run: usize, batch: usize, random: &mut Random) -> Tensor {
    let label = |at: usize| match run == 2 || (run == 1 && at + 1 == batch) {
        true => [17, -18][random.below(2)],
        false => random.below(17) as i64,
    };
    Tensor::i64(&[batch], &(0..batch).map(label).collect::<Vec<_>>())
}

/// The function that predicts of a network, and its step of training, with values that are not zero.
fn programs_of(network: &Network, random: &mut Random) -> [Program; 2] {
    let Network { names, file, sample, batches } = network;
    let model = parse("test.toml", names[0], file, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut module = model.initialised().unwrap_or_else(|errors| panic!("{errors:?}"));
    for parameter in module.parameters.values_mut() {
        let shape: Vec<usize> = parameter.ty.shape.iter().map(|dim| dim.as_const().expect("known") as usize).collect();
        // Variances are above 0.
        parameter.value = Some(tensor(parameter.ty.dtype, &shape, Fill::Ordinary, Some((0.1, 1.3)), random));
    }
    let runs = FILLS.into_iter().zip(batches);
    let data: Vec<Tensor> = runs.map(|(fill, batch)| tensor(DType::F32, &[&[*batch], *sample].concat(), fill, None, random)).collect();
    let plan = planned(&model);
    let mut inputs = Vec::new();
    for (run, (x, batch)) in data.iter().zip(batches).enumerate() {
        let target = match names[0] {
            "convolutions" => labels(run, *batch, random),
            _ => tensor(DType::F32, &[*batch, sample[0], 18], Fill::Ordinary, Some((0.0, 1.0)), random),
        };
        // What the optimiser remembers is not zero either.
        let states = plan.recipe.states.len();
        let mut row = first_step(&plan, &model, vec![x.clone(), target]);
        let first = row.len() - states;
        // The number of the step.
        row[4] = Tensor::i64(&[], &[1 + 7 * run as i64]);
        for state in row[first..].iter_mut().filter(|state| state.dtype().is_float() && !state.shape().is_empty()) {
            *state = tensor(state.dtype(), state.shape(), Fill::Ordinary, Some((0.1, 0.9)), random);
        }
        inputs.push(row);
    }
    // Only slopes of weights are sums over samples, of which more than a step of a sum are worth their time.
    let few = data.into_iter().take(4).map(|x| vec![x]).collect();
    let predict = Program { name: names[0], module, inputs: few, config: Config::default() };
    [predict, Program { name: names[1], module: plan.step, inputs, config: Config::default() }]
}

/// A graph, run on inputs that are made run by run.
fn program_of_graph(name: &'static str, text: &str, inputs: Vec<Vec<Tensor>>) -> Program {
    let graph = parse_graph(name, text, &ConstantTable::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let module = Module { functions: [("predict".to_string(), graph)].into(), ..Module::default() };
    Program { name, module, inputs, config: Config::default() }
}

/// All of them.
pub fn programs() -> Vec<Program> {
    let mut random = Random::new(9);
    let mut found: Vec<Program> = NETWORKS.iter().flat_map(|network| programs_of(network, &mut random)).collect();
    let inputs = DEPTHS.iter().enumerate().map(|(run, depth)| {
        let fill = FILLS[run % FILLS.len()];
        let mut floats = |dtype, shape: &[usize], fill| tensor(dtype, shape, fill, None, &mut random);
        let factors = [[37, *depth], [*depth, 45]].map(|shape| floats(DType::F32, &shape, Fill::Ordinary));
        let c = floats(DType::F64, &[37, 35], fill);
        // As many bits as there may be, of the dividend and of the divisor.
        let mut wide = |dtype: DType| {
            let mut one = || match dtype {
                DType::U64 => i128::from(random.bits() >> random.below(64)),
                _ => i128::from(random.bits() as i64 >> random.below(64)),
            };
            // The first beyond those that are divided as 32 bits.
            Tensor::from_ints(dtype, vec![70], (0..70).map(|at| if at % 9 == 0 { 1 << 32 } else { one() }).collect::<Vec<_>>())
        };
        let [m, n, u, v] = [DType::I64, DType::I64, DType::U64, DType::U64].map(&mut wide);
        // Row 37 is none.
        let indices = Tensor::i64(&[4], &[36, 0, if run == 2 { 37 } else { 3 }, -36]);
        factors.into_iter().chain([c, indices, m, n, u, v]).collect()
    });
    found.push(program_of_graph("operators", OPERATORS, inputs.collect()));
    let inputs = SIZES.into_iter().map(|[b, n, m]| {
        let shapes: [(DType, &[usize]); 9] = [
            (DType::BF16, &[b, 37, m]),
            (DType::BF16, &[m, 41]),
            (DType::F32, &[b, 2, n, 20]),
            (DType::F32, &[b, 2, m, 20]),
            (DType::F32, &[b, 2, m, 36]),
            (DType::F32, &[b, 2, 5, 19]),
            (DType::F32, &[b, 2, m, 19]),
            (DType::F16, &[b, 2, n, 24]),
            (DType::F16, &[b, 2, m, 24]),
        ];
        shapes.map(|(dtype, shape)| tensor(dtype, shape, Fill::Ordinary, None, &mut random)).to_vec()
    });
    found.push(program_of_graph("matrices", MATRICES, inputs.collect()));
    let recurrent = found.iter().find(|program| program.name == "recurrent").expect("it is among the networks");
    let (module, inputs) = (recurrent.module.clone(), recurrent.inputs.clone());
    found.push(Program { name: "recurrent by blocks that stay", module, inputs, config: by_one_kernel(1) });
    found
}
