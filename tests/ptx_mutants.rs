//! The tests of PTX notice mistakes: of kernels with one instruction changed (left out, another offset, another register, another
//! constant, a predicate turned round), most give other bits on the interpreter, or a fault. Those that do not are mostly selections of
//! what a product beyond the depth is made of, where the other factor is neutral as well, and of NaN where both sides have one.
//!
//! Changed are instructions that a run reaches. Of those that none does, many divide numbers beyond 32 bits, which sizes and indices are
//! not here; the program of operators divides such numbers with the same code. What a change cannot show otherwise is left out by the
//! rules of [`equivalent`], each with its reason.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::Compiled;
use kiln::backend::ptx::run::Session;
use kiln::compile::compile_ptx;
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln_ir::text::{ConstantTable, parse_graph};
use kiln_ir::{DType, Module, Tensor};
use kiln_tests::gpu::{Interpreted, Variant};
use kiln_tests::mutants::{Mutant, equivalent, mutants};
use kiln_tests::samples::{Fill, Random, tensor};
use kiln_tests::training::{first_step, planned};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Mutants of each program.
const MUTANTS: usize = 60;
/// The part that must be noticed.
const CAUGHT: f64 = 0.85;
/// Instructions of warps after which a kernel counts as endless.
const STEPS: u64 = 1 << 22;
/// Schedules that a mutant is run with.
const SCHEDULES: [u64; 2] = [1, 2];

/// What data hold, run by run. Launches are compared with special numbers in memory as well.
const FILLS: [Fill; 4] = [Fill::Ordinary, Fill::Ordinary, Fill::Special, Fill::Ordinary];

/// A network: its name, its file, the shape of a sample, and how many samples runs have: more and fewer than loops take at once.
struct Network {
    names: [&'static str; 2],
    file: &'static str,
    sample: &'static [usize],
    batches: [usize; 4],
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
        batches: [70, 9, 3, 33],
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
        batches: [9, 35, 3, 70],
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
        batches: [1, 2, 1, 1],
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

/// Depths of the product: of one step, and of several, with the end at any place of a step, and of memory, which grows.
const DEPTHS: [usize; 17] = [1, 9, 14, 23, 27, 35, 45, 54, 62, 70, 78, 83, 96, 107, 121, 129, 193];

/// A program with values for everything it takes, several times.
struct Program {
    name: &'static str,
    module: Module,
    inputs: Vec<Vec<Tensor>>,
}

/// What a program gives, or how it fails.
type Outcome = Result<Vec<Vec<u8>>, String>;

/// What was seen of a program.
struct Seen {
    outcomes: Vec<Outcome>,
    /// Lines that were executed.
    executed: BTreeSet<u32>,
    /// The variants that did the same as their kernels in all launches.
    alike: BTreeSet<usize>,
}

impl Program {
    /// Runs it, launches scheduled so, with variants of its kernels beside them.
    fn run(&self, seed: u64, variants: Vec<Variant>) -> Seen {
        let compiled = self.compiled();
        let device = Interpreted::new(&compiled.kernels, 100 * seed).within(STEPS).beside(variants);
        let mut session = Session::new(compiled, device).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut outcomes = Vec::new();
        for inputs in &self.inputs {
            let found = session.run(inputs).map_err(|error| error.to_string());
            outcomes.push(found.map(|tensors| tensors.iter().map(|tensor| tensor.bytes().to_vec()).collect()));
            if std::env::var("SURVEY").is_ok() {
                println!("{} left", session.device().alike().len());
            }
        }
        let device = session.device();
        Seen { outcomes, executed: device.executed_lines(), alike: device.alike().iter().map(|variant| variant.number).collect() }
    }

    fn compiled(&self) -> Compiled {
        compile_ptx(&self.module, &ModelFacts::default(), &Config::default()).expect("it compiles")
    }
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
    let predict = Program { name: names[0], module, inputs: data.into_iter().map(|x| vec![x]).collect() };
    [predict, Program { name: names[1], module: plan.step, inputs }]
}

/// A graph, run on inputs that are made run by run.
fn program_of_graph(name: &'static str, text: &str, inputs: Vec<Vec<Tensor>>) -> Program {
    let graph = parse_graph(name, text, &ConstantTable::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let module = Module { functions: [("predict".to_string(), graph)].into(), ..Module::default() };
    Program { name, module, inputs }
}

fn programs() -> Vec<Program> {
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
    found
}

#[test]
fn mistakes_in_kernels_are_noticed() {
    let mut total = (0, 0);
    let wanted: usize = std::env::var("SURVEY").map_or(MUTANTS, |n| n.parse().unwrap());
    for program in &programs() {
        if std::env::var("ONLY").is_ok_and(|name| name != program.name) {
            continue;
        }
        let time = std::time::Instant::now();
        let text = program.compiled().kernels.text;
        let lines: Vec<&str> = text.lines().collect();
        let all = mutants(&text);
        let mut random = Random::new(4);
        let mut chosen = BTreeSet::new();
        while chosen.len() < wanted.min(all.len()) {
            chosen.insert(random.below(all.len()));
        }
        let chosen: Vec<&Mutant> = chosen.into_iter().map(|at| &all[at]).filter(|mutant| equivalent(&lines, mutant).is_none()).collect();
        // What cannot be read is no kernel.
        let variant = |(number, mutant): (usize, &&Mutant)| {
            let (entry, text) = mutant.kernel(&lines);
            kiln_ptx::Module::parse(&text).ok().map(|module| Variant { number, entry, module: Rc::new(module) })
        };
        let variants = &|| chosen.iter().enumerate().filter_map(variant).collect::<Vec<_>>();
        let runs = std::thread::scope(|scope| {
            SCHEDULES
                .each_ref()
                .map(|seed| scope.spawn(move || program.run(*seed, variants())))
                .map(|thread| thread.join().expect("no panic"))
        });
        let [one, other] = runs;
        assert!(one.outcomes == other.outcomes, "{}: schedules differ", program.name);
        assert!(one.outcomes[0].is_ok() && other.outcomes.len() == one.outcomes.len(), "{}: {:?}", program.name, one.outcomes);
        let is_reached = |mutant: &Mutant| [&one, &other].iter().any(|seen| seen.executed.contains(&(mutant.line as u32 + 1)));
        let tried: Vec<usize> = variants().iter().map(|variant| variant.number).filter(|number| is_reached(chosen[*number])).collect();
        let survivors: Vec<usize> =
            tried.iter().copied().filter(|number| one.alike.contains(number) && other.alike.contains(number)).collect();
        let (tried, caught) = (tried.len(), tried.len() - survivors.len());
        let beyond = all.iter().filter(|mutant| !is_reached(mutant)).count();
        println!(
            "{}: {caught} of {tried} are noticed, of {} changes, {beyond} of which are of instructions that no run reaches {:?}",
            program.name,
            all.len(),
            time.elapsed()
        );
        for mutant in survivors.into_iter().map(|number| chosen[number]) {
            println!("  {}: {}: `{}` for `{}`", mutant.line + 1, mutant.how, mutant.text.trim(), lines[mutant.line].trim());
        }
        if let Ok(dir) = std::env::var("DUMP") {
            std::fs::write(format!("{dir}/{}.ptx", program.name), &text).unwrap();
        }
        assert!(tried > MUTANTS / 2, "{}: {tried} mutants", program.name);
        total = (total.0 + tried, total.1 + caught);
    }
    let (tried, caught) = total;
    assert!(caught as f64 >= CAUGHT * tried as f64, "{caught} of {tried}");
}
