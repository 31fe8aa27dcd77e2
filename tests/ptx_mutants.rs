//! The tests of PTX notice mistakes: of kernels with one instruction changed (left out, another offset, another register, another
//! constant, a predicate turned round), most give other bits on the interpreter, or a fault. Those that do not are mostly selections of
//! what a product beyond the depth is made of, where the other factor is neutral as well, and of NaN where both sides have one.
//!
//! Changed are instructions that a run reaches. Of those that none does, many divide numbers beyond 32 bits, which sizes and indices are
//! not here; the program of operators divides such numbers with the same code. What a change cannot show otherwise is left out by the
//! rules of [`equivalent`], each with its reason.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::run::Session;
use kiln::compile::compile_ptx;
use kiln::frontend::model::{Language, parse};
use kiln::pipeline::Config;
use kiln_ir::text::{ConstantTable, parse_graph};
use kiln_ir::{DType, Module, Tensor};
use kiln_tests::agreement::check_all;
use kiln_tests::gpu::Interpreted;
use kiln_tests::samples::{Fill, Random, special_floats, tensor};
use kiln_tests::training::{first_step, planned};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Mutants of each program.
const MUTANTS: usize = 60;
/// The part that must be noticed.
const CAUGHT: f64 = 0.85;
/// Instructions of warps after which a kernel counts as endless.
const STEPS: u64 = 1 << 22;
/// Schedules that a mutant is run with until one shows it.
const SCHEDULES: [u64; 2] = [1, 2];

/// What inputs hold.
#[derive(Clone, Copy)]
enum Draw {
    /// Ordinary numbers.
    Ordinary,
    /// Mostly special ones.
    Special,
    /// A special one now and then: what does not belong to a sum shows there.
    Sprinkled,
}

/// What inputs hold, and how many samples they are: more and fewer than loops take at once.
const DRAWS: [(Draw, usize); 6] =
    [(Draw::Ordinary, 35), (Draw::Special, 3), (Draw::Sprinkled, 33), (Draw::Ordinary, 35), (Draw::Special, 34), (Draw::Sprinkled, 65)];

/// Convolutions with padding and strides, pooling and a norm, over `[batch, 8, 9, 7]`. Sizes are a little more than tiles hold, as what
/// stands in a tile beyond the edge shows nowhere.
const CONVOLUTIONS: &str = "
seed = 3
outputs = ['scores']
input = [{ name = 'x', shape = [8, 9, 7] }]
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
";

/// A recurrent layer and a block of a transformer over `[batch, 5, 66]`.
const SEQUENCES: &str = "
seed = 5
outputs = ['scores']
input = [{ name = 'x', shape = [5, 66] }]
[[layer]]
type = 'gru'
units = 66
return_sequences = true
[[layer]]
type = 'transformer_encoder'
heads = 3
hidden = 67
causal = true
[[layer]]
type = 'dense'
name = 'scores'
units = 18
activation = 'softmax'
[train]
loss = 'cross_entropy'
";

/// Products of odd sizes, sums, elements picked by index, and divisions of integers, which are long where both are.
const OPERATORS: &str = "
graph (%a: f32[37, 67], %b: f32[67, 45], %c: f64[7, 35], %i: i64[4], %m: i64[70], %n: i64[70]) {
  %d = dot %a, %b {a_batch = [], a_contract = [1], b_batch = [], b_contract = [0]}
  %r = reduce %d {axes = [1], kind = max, keep = false}
  %s = softmax %c {axis = 1}
  %g = gather %c, %i {axis = 0}
  %q = div %m, %n
  %t = rem %m, %n
  return %d, %r, %s, %g, %q, %t
}
";

/// A program with values for everything it takes, several times.
struct Program {
    name: &'static str,
    module: Module,
    inputs: Vec<Vec<Tensor>>,
}

/// What a program gives, or how it fails.
type Outcome = Result<Vec<Vec<u8>>, String>;

impl Program {
    /// What it gives with that text of its kernels for each of its inputs, until that is not as expected, and the lines that were executed.
    fn run(&self, text: Option<&str>, seed: u64, expected: Option<&[Outcome]>) -> (Vec<Outcome>, BTreeSet<u32>) {
        let mut compiled = compile_ptx(&self.module, &ModelFacts::default(), &Config::default()).expect("it compiles");
        if let Some(text) = text {
            compiled.kernels.text = text.to_string();
        }
        let device = Interpreted::new(&compiled.kernels, 100 * seed).within(STEPS);
        let mut session = match Session::new(compiled, device) {
            Ok(session) => session,
            Err(error) => return (vec![Err(error.to_string())], BTreeSet::new()),
        };
        let mut outcomes = Vec::new();
        for (at, inputs) in self.inputs.iter().enumerate() {
            let found = session.run(inputs).map_err(|error| error.to_string());
            outcomes.push(found.map(|tensors| tensors.iter().map(|tensor| tensor.bytes().to_vec()).collect()));
            if expected.is_some_and(|expected| expected[at] != outcomes[at]) {
                break;
            }
        }
        (outcomes, session.device().executed_lines())
    }

    fn text(&self) -> String {
        compile_ptx(&self.module, &ModelFacts::default(), &Config::default()).expect("it compiles").kernels.text
    }
}

/// A tensor of floats of a draw.
fn floats(dtype: DType, shape: &[usize], draw: Draw, random: &mut Random) -> Tensor {
    match draw {
        Draw::Ordinary => tensor(dtype, shape, Fill::Ordinary, None, random),
        Draw::Special => tensor(dtype, shape, Fill::Special, None, random),
        Draw::Sprinkled => {
            let special = special_floats(dtype);
            let mut values = tensor(dtype, shape, Fill::Ordinary, None, random).floats();
            for value in &mut values {
                if random.below(150) == 0 {
                    *value = special[random.below(special.len())];
                }
            }
            Tensor::from_floats(dtype, shape.to_vec(), values)
        }
    }
}

/// Labels of seventeen classes: all are there, but for the last of the third draw, and for all of the fourth.
fn labels(draw: usize, random: &mut Random) -> Tensor {
    let batch = DRAWS[draw].1;
    let label = |at: usize| match draw == 3 || (draw == 2 && at + 1 == batch) {
        true => [17, -18][random.below(2)],
        false => random.below(17) as i64,
    };
    Tensor::i64(&[batch], &(0..batch).map(label).collect::<Vec<_>>())
}

/// The function that predicts of a model file, and its step of training, with values that are not zero.
fn programs() -> Vec<Program> {
    let mut found = Vec::new();
    let mut random = Random::new(9);
    for (names, text, shape) in [
        (["convolutions", "training of convolutions"], CONVOLUTIONS, [8, 9, 7].as_slice()),
        (["sequences", "training of sequences"], SEQUENCES, &[5, 66]),
    ] {
        let model = parse("test.toml", names[0], text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"));
        let mut module = model.initialised().unwrap_or_else(|errors| panic!("{errors:?}"));
        for parameter in module.parameters.values_mut() {
            let shape: Vec<usize> = parameter.ty.shape.iter().map(|dim| dim.as_const().expect("known") as usize).collect();
            // Variances are above 0.
            parameter.value = Some(tensor(parameter.ty.dtype, &shape, Fill::Ordinary, Some((0.1, 1.3)), &mut random));
        }
        let data: Vec<Tensor> =
            DRAWS.iter().map(|(draw, batch)| floats(DType::F32, &[&[*batch], shape].concat(), *draw, &mut random)).collect();
        found.push(Program { name: names[0], module, inputs: data.iter().map(|x| vec![x.clone()]).collect() });
        let plan = planned(&model);
        let mut inputs = Vec::new();
        for (turn, x) in data.into_iter().enumerate() {
            let target = match names[0] {
                "convolutions" => labels(turn, &mut random),
                _ => tensor(DType::F32, &[DRAWS[turn].1, 5, 18], Fill::Ordinary, Some((0.0, 1.0)), &mut random),
            };
            // What the optimiser remembers is not zero either.
            let states = plan.recipe.states.len();
            let mut row = first_step(&plan, &model, vec![x, target]);
            let first = row.len() - states;
            for state in row[first..].iter_mut().filter(|state| state.dtype().is_float() && !state.shape().is_empty()) {
                *state = tensor(state.dtype(), state.shape(), Fill::Ordinary, Some((0.1, 0.9)), &mut random);
            }
            inputs.push(row);
        }
        found.push(Program { name: names[1], module: plan.step, inputs });
    }
    let graph = parse_graph("operators", OPERATORS, &ConstantTable::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let module = Module { functions: [("predict".to_string(), graph)].into(), ..Module::default() };
    let inputs = DRAWS.iter().map(|(draw, _)| {
        let mut floats = |dtype, shape: &[usize]| floats(dtype, shape, *draw, &mut random);
        let [a, b, c] = [floats(DType::F32, &[37, 67]), floats(DType::F32, &[67, 45]), floats(DType::F64, &[7, 35])];
        // As many bits as there may be, of the dividend and of the divisor.
        let mut wide = || Tensor::i64(&[70], &(0..70).map(|_| (random.bits() as i64) >> random.below(64)).collect::<Vec<_>>());
        let [m, n] = [wide(), wide()];
        vec![a, b, c, Tensor::i64(&[4], &[6, 0, 3, -7]), m, n]
    });
    found.push(Program { name: "operators", module, inputs: inputs.collect() });
    found
}

/// A change of one line.
#[derive(Clone, Debug)]
struct Mutant {
    line: usize,
    /// What stands there instead.
    text: String,
    how: &'static str,
}

/// Every change of a module's text.
fn mutants(text: &str) -> Vec<Mutant> {
    let mut found = Vec::new();
    for (line, instruction) in text.lines().enumerate() {
        let Some(body) = instruction.strip_prefix("    ").filter(|body| !body.starts_with('.') && *body != "ret;") else { continue };
        let mut add = |how, text: String| found.push(Mutant { line, text: format!("    {text}"), how });
        add("left out", String::new());
        if let Some(rest) = body.strip_prefix("@!") {
            add("predicate", format!("@{rest}"));
        } else if let Some(rest) = body.strip_prefix('@') {
            add("predicate", format!("@!{rest}"));
        }
        let Some(operands) = body.find(' ') else { continue };
        for (from, to) in words(body).into_iter().filter(|(from, _)| *from > operands) {
            let word = &body[from..to];
            let replaced = |with: &str| format!("{}{with}{}", &body[..from], &body[to..]);
            let in_brackets = body[..from].rfind('[').is_some_and(|open| !body[open..from].contains(']'));
            if let Some((class, number)) = register(word) {
                let is_result = body[operands..from].trim_start_matches([' ', '{']).is_empty() && !body.starts_with("st.");
                if !is_result {
                    add("register", replaced(&format!("{class}{}", if number > 0 { number - 1 } else { 1 })));
                }
                if in_brackets && body[to..].starts_with(']') && !body.contains(".param") {
                    add("offset", format!("{}+4{}", &body[..to], &body[to..]));
                }
            } else if let Ok(number) = word.parse::<i64>() {
                let is_offset = in_brackets && body[..from].ends_with('+');
                let step = if is_offset { 4 } else { 1 };
                add(if is_offset { "offset" } else { "constant" }, replaced(&(number + step).to_string()));
            }
        }
    }
    found
}

/// Places of words: registers and numbers.
fn words(body: &str) -> Vec<(usize, usize)> {
    let (mut found, mut from) = (Vec::new(), None);
    let part = |c: char| c.is_ascii_alphanumeric() || c == '%' || c == '_' || c == '.';
    for (at, c) in body.char_indices().chain([(body.len(), ' ')]) {
        match (part(c), from) {
            (true, None) => from = Some(at),
            (false, Some(start)) => {
                found.push((start, at));
                from = None;
            }
            _ => {}
        }
    }
    found
}

/// The class of a register and its number.
fn register(word: &str) -> Option<(&str, u32)> {
    let digits = word.find(|c: char| c.is_ascii_digit())?;
    let number = word[digits..].parse().ok()?;
    word.starts_with('%').then_some((&word[..digits], number))
}

/// Why a change cannot show, if so.
fn equivalent(lines: &[&str], mutant: &Mutant) -> Option<&'static str> {
    let old = lines[mutant.line].trim();
    let next_labels = || lines[mutant.line + 1..].iter().take_while(|line| line.ends_with(':')).map(|line| line.trim_end_matches(':'));
    if mutant.how == "left out"
        && let Some(label) = old.split("bra ").nth(1).map(|label| label.trim_end_matches(';'))
        && next_labels().any(|next| next == label)
    {
        return Some("a jump to what comes next anyway");
    }
    // Loops check before each turn; where a first turn is worth skipping what it begins with, they are checked before that as well.
    let checks_again =
        || lines[mutant.line + 1..].iter().find(|line| !line.trim().starts_with("mov.")).is_some_and(|line| line.ends_with(':'));
    if mutant.how == "left out" && old.starts_with("@!") && old.contains(" bra ") && checks_again() {
        return Some("a loop without turns");
    }
    // Quotients of small numbers by a constant are products and shifts, for which a larger factor does as well.
    if mutant.how == "constant"
        && let Some((factor, shift)) = quotient(old, lines[mutant.line + 1].trim())
        && let Some((other, _)) = quotient(&mutant.text, lines[mutant.line + 1].trim())
        && (0..1u64 << 20).all(|n| n.wrapping_mul(factor) >> shift == n.wrapping_mul(other) >> shift)
    {
        return Some("the same quotients");
    }
    None
}

/// The factor and the shift of two lines that divide by a constant.
fn quotient(product: &str, shift: &str) -> Option<(u64, u32)> {
    let last = |line: &str| line.trim_end_matches(';').rsplit(' ').next()?.parse().ok();
    let (factor, shift) =
        (product.trim().starts_with("mul.lo.s64").then(|| last(product))??, shift.starts_with("shr.u64").then(|| last(shift))??);
    Some((factor, shift as u32))
}

#[test]
fn mistakes_in_kernels_are_noticed() {
    let mut total = (0, 0);
    for program in programs() {
        let text = program.text();
        let lines: Vec<&str> = text.lines().collect();
        let runs = SCHEDULES.map(|seed| program.run(None, seed, None));
        let expected = &runs[0].0;
        assert!(*expected == runs[1].0, "{}: schedules differ", program.name);
        let executed: BTreeSet<u32> = runs.iter().flat_map(|(_, lines)| lines).copied().collect();
        assert!(expected[0].is_ok() && expected.len() == DRAWS.len(), "{}: {expected:?}", program.name);
        let (all, beyond): (Vec<Mutant>, Vec<Mutant>) =
            mutants(&text).into_iter().partition(|mutant| executed.contains(&(mutant.line as u32 + 1)));
        println!("{}: {} changes, and {} of instructions that no run reaches", program.name, all.len(), beyond.len());
        let mut random = Random::new(4);
        let mut chosen = BTreeSet::new();
        while chosen.len() < MUTANTS.min(all.len()) {
            chosen.insert(random.below(all.len()));
        }
        let chosen: Vec<&Mutant> = chosen.into_iter().map(|at| &all[at]).collect();
        let outcome = Mutex::new((0, 0, Vec::new()));
        check_all(
            chosen.len(),
            || (),
            |at, ()| {
                let mutant = chosen[at];
                if equivalent(&lines, mutant).is_some() {
                    return Vec::new();
                }
                let mut changed: Vec<&str> = lines.clone();
                changed[mutant.line] = &mutant.text;
                let changed = changed.join("\n") + "\n";
                // What cannot be read is no kernel.
                if kiln_ptx::Module::parse(&changed).is_err() {
                    return Vec::new();
                }
                let survives = SCHEDULES.iter().all(|seed| program.run(Some(&changed), *seed, Some(expected)).0 == *expected);
                let mut outcome = outcome.lock().expect("no panic");
                outcome.0 += 1;
                outcome.1 += usize::from(!survives);
                if survives {
                    outcome.2.push((mutant.line, format!("{}: `{}` for `{}`", mutant.how, mutant.text.trim(), lines[mutant.line].trim())));
                }
                Vec::new()
            },
        );
        let (tried, caught, mut survivors) = outcome.into_inner().expect("no panic");
        survivors.sort();
        println!("{}: {caught} of {tried} are noticed", program.name);
        survivors.iter().for_each(|(line, text)| println!("  {line}: {text}"));
        assert!(tried > MUTANTS / 2, "{}: {tried} mutants", program.name);
        total = (total.0 + tried, total.1 + caught);
    }
    let (tried, caught) = total;
    assert!(caught as f64 >= CAUGHT * tried as f64, "{caught} of {tried}");
}
