//! Ten thousand files through import, verification, passes, planning and code: no panic, no endless work, no more memory
//! than a multiple of the file. All of them are the same in every run.
//!
//! One input alone: `KILN_FUZZ_INPUT=1234 cargo test -p kiln-tests --test fuzz -- --nocapture`.

mod damage;
mod graphs;
mod hostile;
mod memory;
mod message;
mod random;

use bytes::Bytes;
use damage::Originals;
use kiln::artifact::describe::ModelFacts;
use kiln::artifact::write::{ArtifactKind, WeightsChoice};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::frontend::onnx::external::ExternalFiles;
use kiln::frontend::onnx::load::decode;
use kiln::frontend::onnx::{Options, import_model};
use kiln::pipeline::Config;
use kiln_ir::Diagnostic;
use kiln_runtime::threads::ThreadPool;
use prost::Message;
use random::Random;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const INPUTS: usize = 10_000;
const SEED: u64 = 0x6b69_6c6e;
const MEMORY_FACTOR: usize = 10;
const MEMORY_BYTES: usize = 64 << 20;
const TIME_LIMIT: Duration = Duration::from_secs(10);

static INPUT: AtomicUsize = AtomicUsize::new(0);
/// Milliseconds from the start to when the current input began; zero between inputs.
static BEGAN: AtomicU64 = AtomicU64::new(0);
static PANIC: Mutex<String> = Mutex::new(String::new());

/// The input under way, for whoever notices that it goes wrong.
pub fn current_input() -> usize {
    INPUT.load(Ordering::Relaxed)
}

/// How far an input came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reached {
    Refused,
    Decoded,
    Imported,
    Compiled,
    Emitted,
}

#[test]
fn ten_thousand_files_are_compiled_or_refused() {
    let digits = std::fs::read(kiln_tests::bless::repository().join("examples/digits/digits.onnx")).expect("the example is there");
    let originals = Originals::new(digits);
    watch();
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        let text = info.payload_as_str().unwrap_or("(no text)");
        let text: String = text.chars().take(400).collect();
        // The first is the cause; others come from threads that join it.
        let mut seen = PANIC.lock().unwrap_or_else(|e| e.into_inner());
        if seen.is_empty() {
            *seen = format!("{place}: {text}");
        }
    }));
    let chosen = std::env::var("KILN_FUZZ_INPUT").ok().and_then(|text| text.parse().ok());
    let inputs = chosen.map_or(0..INPUTS, |index| index..index + 1);
    let object = tempfile::tempdir().expect("a place for objects");
    let object = object.path().join("fuzz.o");
    let mut reached: BTreeMap<Reached, usize> = BTreeMap::new();
    let mut failures: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for index in inputs {
        INPUT.store(index, Ordering::Relaxed);
        let made = catch_unwind(AssertUnwindSafe(|| input(index, &originals)));
        let bytes = Bytes::from(made.unwrap_or_else(|_| panic_of_the_test(index)));
        if chosen.is_some() {
            std::fs::write(std::env::temp_dir().join(format!("kiln-fuzz-{index}.onnx")), &bytes).expect("written");
        }
        let size = bytes.len();
        let before = memory::live();
        memory::restart_peak();
        BEGAN.store(1 + START.elapsed().as_millis() as u64, Ordering::Relaxed);
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| attempt(bytes, if index % 2 == 0 { None } else { Some(&object) })));
        BEGAN.store(0, Ordering::Relaxed);
        let used = memory::peak().saturating_sub(before);
        if started.elapsed().as_secs() >= 1 {
            println!("input {index} took {:?} and {} MiB", started.elapsed(), used >> 20);
        }
        if used > MEMORY_FACTOR * size + MEMORY_BYTES {
            failures.entry(format!("memory: {} MiB for {size} bytes, {result:?}", used >> 20)).or_default().push(index);
        }
        match result {
            Ok((stage, errors)) => {
                *reached.entry(stage).or_default() += 1;
                for error in errors {
                    if chosen.is_some() {
                        println!("{error}");
                    }
                    *refusals.entry(error.code.to_string()).or_default() += 1;
                }
            }
            Err(_) => {
                let text = std::mem::take(&mut *PANIC.lock().unwrap_or_else(|e| e.into_inner()));
                failures.entry(text).or_default().push(index);
            }
        }
    }
    drop(std::panic::take_hook());
    println!("{reached:?}\nrefused: {refusals:?}");
    let list: Vec<String> = failures.iter().map(|(what, at)| format!("{} times, first input {}: {what}", at.len(), at[0])).collect();
    assert!(failures.is_empty(), "seed {SEED:#x}; set KILN_FUZZ_INPUT to one of the numbers to repeat it alone\n{}", list.join("\n"));
    if chosen.is_none() {
        let compiled = reached.get(&Reached::Compiled).unwrap_or(&0) + reached.get(&Reached::Emitted).unwrap_or(&0);
        assert!(compiled >= 1000, "only {compiled} inputs compiled: the test tests little");
    }
}

/// A generator's own mistake, told although the hook keeps panics quiet.
fn panic_of_the_test(index: usize) -> ! {
    drop(std::panic::take_hook());
    panic!("input {index} cannot be made: {}", PANIC.lock().unwrap_or_else(|e| e.into_inner()));
}

/// The bytes of input `index`: right, hostile or damaged.
fn input(index: usize, originals: &Originals) -> Vec<u8> {
    let mut random = Random::of_input(SEED, index);
    if let Some(bytes) = originals.all().nth(index) {
        return bytes.clone();
    }
    if let Some(deep) = hostile::DEEP.get(index.wrapping_sub(10)) {
        return deep().encode_to_vec();
    }
    match index % 2 {
        0 if random.chance(250) => hostile::hostile_model(&mut random).encode_to_vec(),
        0 => graphs::random_model(&mut random).encode_to_vec(),
        _ => originals.damaged(&mut random),
    }
}

/// The compiler's front door, as far as the input goes: to code in memory, or to an object where a place for it is given.
fn attempt(bytes: Bytes, object: Option<&Path>) -> (Reached, Vec<Diagnostic>) {
    let model = match decode(bytes, ExternalFiles::default()) {
        Ok(model) => model,
        Err(error) => return (Reached::Refused, vec![error]),
    };
    let module = match import_model(model, &Options { name: "fuzz".to_string(), ..Options::default() }) {
        Ok(module) => module,
        Err(errors) => return (Reached::Decoded, errors),
    };
    let target = CpuTarget::host(CpuLevel::Native).expect("tests run on a supported machine");
    let facts = match ModelFacts::new(&module.name, "00", &module.metadata) {
        Ok(facts) => facts,
        Err(error) => return (Reached::Imported, vec![error]),
    };
    let compiled = match compile(&module, target, facts, &Config::default()) {
        Ok(compiled) => compiled,
        Err(errors) => return (Reached::Imported, errors),
    };
    let pool = ThreadPool::new(1);
    let emitted = match object {
        Some(path) => compiled.write(ArtifactKind::Object, WeightsChoice::Embed, path, &pool).map(drop),
        None => compiled.predictor(&pool).map(drop),
    };
    match emitted {
        Ok(()) => (Reached::Emitted, vec![]),
        Err(error) => (Reached::Compiled, vec![error]),
    }
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// Ends the process when an input takes too long: a thread that computes cannot be stopped otherwise.
fn watch() {
    std::sync::LazyLock::force(&START);
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let began = BEGAN.load(Ordering::Relaxed);
            if began != 0 && START.elapsed().saturating_sub(Duration::from_millis(began)) > TIME_LIMIT {
                eprintln!(
                    "fuzz: input {} runs for more than {TIME_LIMIT:?} (seed {SEED:#x}); repeat it with KILN_FUZZ_INPUT",
                    current_input()
                );
                std::process::abort();
            }
        }
    });
}
