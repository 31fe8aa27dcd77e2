//! The tests of PTX notice mistakes: of kernels with one instruction changed (left out, another offset, another register, another
//! constant, a predicate turned round), at least 95 % do something else on the interpreter than what they were made from, or fail.
//!
//! A changed kernel is launched wherever its program launches it, on a copy of the device's memory as it is there, and of the same memory
//! with special numbers in it; what counts is every byte after the launch, with whether it was written. Changed are instructions that a
//! run reaches. What cannot show by the rules of [`equivalent`], each with its reason, does not count, and must not show.
//!
//! Those that survive are mostly neutral elements beyond the end of a sum, whose place must come together with an infinity; bits of sizes
//! above 32, which sizes do not have; numbers that no softmax reaches; and one thread that stores what all of its team hold.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::Compiled;
use kiln::backend::ptx::run::Session;
use kiln::compile::compile_ptx;
use kiln_tests::gpu::{Interpreted, Variant};
use kiln_tests::mutants::{Mutant, equivalent, mutants};
use kiln_tests::mutated_programs::{Program, programs};
use kiln_tests::samples::Random;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Mutants of each program.
const MUTANTS: usize = 60;
/// The part that must be noticed.
const CAUGHT: f64 = 0.95;
/// Instructions of warps after which a kernel counts as endless.
const STEPS: u64 = 1 << 22;
/// Schedules that a mutant is run with.
const SCHEDULES: [u64; 2] = [1, 2];

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

/// Runs a program, launches scheduled so, with variants of its kernels beside them.
fn run(program: &Program, seed: u64, variants: Vec<Variant>) -> Seen {
    let compiled = compiled(program);
    let device = Interpreted::new(&compiled.kernels, 100 * seed).within(STEPS).beside(variants);
    let mut session = Session::new(compiled, device).unwrap_or_else(|error| panic!("{}: {error}", program.name));
    let mut outcomes = Vec::new();
    for inputs in &program.inputs {
        let found = session.run(inputs).map_err(|error| error.to_string());
        outcomes.push(found.map(|tensors| tensors.iter().map(|tensor| tensor.bytes().to_vec()).collect()));
    }
    let device = session.device();
    Seen { outcomes, executed: device.executed_lines(), alike: device.alike().iter().map(|variant| variant.number).collect() }
}

fn compiled(program: &Program) -> Compiled {
    compile_ptx(&program.module, &ModelFacts::default(), &program.config).expect("it compiles")
}

#[test]
fn mistakes_in_kernels_are_noticed() {
    let mut total = (0, 0);
    for program in &programs() {
        let text = compiled(program).kernels.text;
        let lines: Vec<&str> = text.lines().collect();
        let all = mutants(&text);
        let mut random = Random::new(4);
        let mut chosen = BTreeSet::new();
        while chosen.len() < MUTANTS.min(all.len()) {
            chosen.insert(random.below(all.len()));
        }
        let chosen: Vec<&Mutant> = chosen.into_iter().map(|at| &all[at]).collect();
        // What cannot be read is no kernel.
        let variant = |(number, mutant): (usize, &&Mutant)| {
            let (entry, text) = mutant.kernel(&lines);
            kiln_ptx::Module::parse(&text).ok().map(|module| Variant { number, entry, module: Rc::new(module) })
        };
        let variants = &|| chosen.iter().enumerate().filter_map(variant).collect::<Vec<_>>();
        let runs = std::thread::scope(|scope| {
            SCHEDULES
                .each_ref()
                .map(|seed| scope.spawn(move || run(program, *seed, variants())))
                .map(|thread| thread.join().expect("no panic"))
        });
        let [one, other] = runs;
        // Some of what is picked by index is not there.
        let fails = one.outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).find(|error| !error.contains("out of range"));
        assert!(one.outcomes[0].is_ok() && fails.is_none(), "{}: {fails:?}", program.name);
        assert!(one.outcomes == other.outcomes, "{}: schedules differ", program.name);
        let is_reached = |mutant: &Mutant| [&one, &other].iter().any(|seen| seen.executed.contains(&(mutant.line as u32 + 1)));
        let tried: Vec<usize> = variants().iter().map(|variant| variant.number).filter(|number| is_reached(chosen[*number])).collect();
        let survivors: Vec<usize> =
            tried.iter().copied().filter(|number| one.alike.contains(number) && other.alike.contains(number)).collect();
        // A rule that is wrong would hide what tests have to notice.
        let (excused, tried): (Vec<usize>, Vec<usize>) =
            tried.into_iter().partition(|number| equivalent(&lines, chosen[*number]).is_some());
        if let Some(mutant) = excused.iter().find(|number| !survivors.contains(number)).map(|number| chosen[*number]) {
            let rule = equivalent(&lines, mutant).expect("it is excused");
            panic!("{}: {mutant:?} shows, and should not as it is {rule}", program.name);
        }
        let survivors: Vec<usize> = survivors.into_iter().filter(|number| !excused.contains(number)).collect();
        let (tried, caught) = (tried.len(), tried.len() - survivors.len());
        let beyond = all.iter().filter(|mutant| !is_reached(mutant)).count();
        println!(
            "{}: {caught} of {tried} are noticed, and {} excused, of {} changes, {beyond} of which are of instructions that no run reaches",
            program.name,
            excused.len(),
            all.len()
        );
        for mutant in survivors.into_iter().map(|number| chosen[number]) {
            println!("  {}: {}: `{}` for `{}`", mutant.line + 1, mutant.how, mutant.text.trim(), lines[mutant.line].trim());
        }
        assert!(tried > MUTANTS / 2, "{}: {tried} mutants", program.name);
        total = (total.0 + tried, total.1 + caught);
    }
    let (tried, caught) = total;
    println!("{caught} of {tried} are noticed");
    assert!(caught as f64 >= CAUGHT * tried as f64, "{caught} of {tried}");
}
