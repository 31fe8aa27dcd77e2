//! What a [`Session`](kiln::backend::ptx::run::Session) of a test runs programs on: the PTX interpreter, or the NVIDIA GPU whose number the
//! environment variable `KILN_GPU` gives.

use crate::samples::{Random, special_floats};
use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::Module as Kernels;
use kiln::backend::ptx::assemble::Found;
use kiln::backend::ptx::cubins::Cubins;
use kiln::backend::ptx::cuda::{Gpu, Recording, device};
use kiln::backend::ptx::device::{Argument, Device, Grid};
use kiln::backend::ptx::generation::Generation;
use kiln::backend::ptx::image::Image;
use kiln::backend::ptx::run::Session;
use kiln::compile::compile_ptx;
use kiln::pipeline::Config;
use kiln_ir::{DType, Diagnostic, Module};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Blocks of a launch, and threads of a block: few, so that the interpreter's time goes into tasks, and unlike the driver's, as a kernel
/// computes all of its tasks whatever the grid. Threads that compute together are as many as they have to be.
const GRIDS: [(u32, u32); 3] = [(3, 32), (1, 32), (2, 96)];

/// How often a launch with variants beside it is tried with special numbers in memory.
const DISTURBED: u64 = 3;

/// The interpreter with a module.
pub struct Interpreted {
    device: kiln_ptx::Device,
    module: kiln_ptx::Module,
    /// Of the next launch's schedule.
    seed: u64,
    /// What is launched while it is recorded.
    recording: Option<Vec<Launch>>,
    /// Instructions until now, at each mark.
    marks: Vec<u64>,
    instructions: u64,
    /// What is launched beside kernels, on copies of memory, as long as it does the same.
    variants: Vec<Variant>,
}

/// Another text of a kernel.
#[derive(Clone)]
pub struct Variant {
    /// Whoever made it knows it by that.
    pub number: usize,
    /// The kernel.
    pub entry: String,
    /// A module with it.
    pub module: Rc<kiln_ptx::Module>,
}

/// A launch: entry, threads, arguments.
pub type Launch = (String, Grid, Vec<Argument>);

impl Interpreted {
    /// The interpreter with these kernels, whose launches are scheduled by seeds from this one on. Panics when it cannot read them.
    pub fn new(kernels: &Kernels, seed: u64) -> Interpreted {
        let module = kiln_ptx::Module::parse(&kernels.text).unwrap_or_else(|error| panic!("{error}\n{}", kernels.text));
        Interpreted {
            device: kiln_ptx::Device::new(),
            module,
            seed,
            recording: None,
            marks: Vec::new(),
            instructions: 0,
            variants: Vec::new(),
        }
    }

    /// The same, of whose kernels each takes at most so many instructions of warps.
    pub fn within(mut self, instructions: u64) -> Interpreted {
        self.device.set_step_limit(instructions);
        self
    }

    /// The same, which launches these beside their kernels, on memory as it is and with special numbers in it, each until it fails or
    /// leaves something else in memory.
    pub fn beside(mut self, variants: Vec<Variant>) -> Interpreted {
        self.variants = variants;
        self
    }

    /// Those that did the same in all launches until now.
    pub fn alike(&self) -> &[Variant] {
        &self.variants
    }

    /// Lines of the text of its kernels, numbered from 1, that any thread has executed.
    pub fn executed_lines(&self) -> BTreeSet<u32> {
        self.device.executed_lines(&self.module)
    }
}

/// Special numbers in stretches of memory, mostly one infinity: its product with what should be neutral is NaN, and what stands beside it
/// stays what it is.
fn disturb(device: &mut kiln_ptx::Device, random: &mut Random) {
    let special = special_floats(DType::F32);
    let mut other = Random::new(random.bits());
    let infinity = [f64::INFINITY, f64::NEG_INFINITY][random.below(2)];
    let (mut left, mut rarely) = (0, None);
    let mut skip = || {
        if left == 0 {
            (left, rarely) = (64 << random.below(8), [None, None, Some(8), Some(64)][random.below(4)]);
        }
        let words = rarely.map_or(left, |rarely| 1 + random.below(2 * rarely)).min(left);
        left -= words;
        words
    };
    device.disturb(&mut skip, &mut || {
        let value = if other.below(12) == 0 { special[other.below(special.len())] } else { infinity };
        (value as f32).to_bits()
    });
}

/// An argument as the interpreter takes it.
fn taken(argument: &Argument) -> kiln_ptx::Argument {
    match argument {
        Argument::Word(word) => kiln_ptx::Argument::U64(*word),
        Argument::TensorMap(map) => kiln_ptx::Argument::TensorMap(kiln_ptx::TensorMap {
            address: map.address,
            element_bytes: map.dtype.size_bytes() as u64,
            dims: map.extents.clone(),
            strides: map.strides.clone(),
            box_dims: map.boxes.iter().map(|length| u64::from(*length)).collect(),
            swizzle: kiln_ptx::Swizzle::B128,
        }),
    }
}

fn fault(fault: &kiln_ptx::Fault) -> Diagnostic {
    Diagnostic::new("ptx", fault.to_string())
}

impl Device for Interpreted {
    type Recording = Vec<Launch>;

    fn allocate(&mut self, bytes: u64) -> Result<u64, Diagnostic> {
        Ok(self.device.alloc(bytes))
    }

    fn free(&mut self, address: u64) {
        self.device.free(address).unwrap_or_else(|error| panic!("{error}"));
    }

    fn forget(&mut self, address: u64) {
        self.device.forget(address).unwrap_or_else(|error| panic!("{error}"));
    }

    fn upload(&mut self, address: u64, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.device.write(address, bytes).map_err(|error| fault(&error))
    }

    fn download(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        bytes.copy_from_slice(&self.device.read(address, bytes.len() as u64).map_err(|error| fault(&error))?);
        Ok(())
    }

    fn launch(&mut self, entry: &str, wanted: Grid, arguments: &[Argument]) -> Result<(), Diagnostic> {
        if let Some(recording) = &mut self.recording {
            recording.push((entry.to_string(), wanted, arguments.to_vec()));
            return Ok(());
        }
        let arguments: Vec<kiln_ptx::Argument> = arguments.iter().map(taken).collect();
        self.seed += 1;
        // Each kernel of a program meets all of them, however many it has.
        let (most, threads) = GRIDS[Random::new(self.seed).below(GRIDS.len())];
        let grid = [wanted.most(most * wanted.cluster), 1, 1];
        let threads = if wanted.together { wanted.threads } else { threads };
        let before = self.variants.iter().any(|variant| variant.entry == entry).then(|| {
            let disturbed = |number| {
                let mut device = self.device.copy();
                disturb(&mut device, &mut Random::new(self.seed * DISTURBED + number));
                device
            };
            (self.device.copy(), (0..DISTURBED).map(disturbed).collect::<Vec<_>>())
        });
        let launch = |device: &mut kiln_ptx::Device, module: &kiln_ptx::Module| {
            device.launch(module, entry, grid, [threads, 1, 1], u64::from(wanted.shared_bytes), &arguments, self.seed)
        };
        let does_the_same = |variant: &Variant, before: &kiln_ptx::Device, after: &kiln_ptx::Device| {
            let mut device = before.copy();
            launch(&mut device, &variant.module).is_ok() && device.holds_the_same_as(after)
        };
        let done = launch(&mut self.device, &self.module).map_err(|error| fault(&error))?;
        self.instructions += done.warp_instructions;
        if let Some((before, disturbed)) = before {
            self.variants.retain(|variant| variant.entry != entry || does_the_same(variant, &before, &self.device));
            for before in disturbed {
                let mut after = before.copy();
                launch(&mut after, &self.module).map_err(|error| fault(&error))?;
                self.variants.retain(|variant| variant.entry != entry || does_the_same(variant, &before, &after));
            }
        }
        Ok(())
    }

    fn record(&mut self) -> Result<(), Diagnostic> {
        self.recording = Some(Vec::new());
        Ok(())
    }

    fn recorded(&mut self) -> Result<Vec<Launch>, Diagnostic> {
        Ok(self.recording.take().expect("a recording was begun"))
    }

    fn replay(&mut self, recording: &Vec<Launch>) -> Result<(), Diagnostic> {
        recording.iter().try_for_each(|(entry, grid, arguments)| self.launch(entry, *grid, arguments))
    }

    fn mark(&mut self) -> Result<(), Diagnostic> {
        self.marks.push(self.instructions);
        Ok(())
    }

    /// An instruction of a warp counts as a nanosecond.
    fn between_marks(&mut self) -> Result<Vec<f64>, Diagnostic> {
        let marks = std::mem::take(&mut self.marks);
        Ok(marks.windows(2).map(|pair| (pair[1] - pair[0]) as f64 * 1e-9).collect())
    }
}

/// What tests run on.
pub enum Tested {
    /// The interpreter.
    Interpreter(Box<Interpreted>),
    /// An NVIDIA GPU.
    Hardware(Gpu),
}

/// Calls a method of whichever it is.
macro_rules! either {
    ($tested:expr, $device:ident => $call:expr) => {
        match $tested {
            Tested::Interpreter($device) => $call,
            Tested::Hardware($device) => $call,
        }
    };
}

/// What either of them recorded.
pub enum Recorded {
    /// The interpreter.
    Interpreter(Vec<Launch>),
    /// An NVIDIA GPU.
    Hardware(Recording),
}

impl Device for Tested {
    type Recording = Recorded;

    fn allocate(&mut self, bytes: u64) -> Result<u64, Diagnostic> {
        either!(self, device => device.allocate(bytes))
    }

    fn free(&mut self, address: u64) {
        either!(self, device => device.free(address));
    }

    fn forget(&mut self, address: u64) {
        either!(self, device => device.forget(address));
    }

    fn upload(&mut self, address: u64, bytes: &[u8]) -> Result<(), Diagnostic> {
        either!(self, device => device.upload(address, bytes))
    }

    fn download(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        either!(self, device => device.download(address, bytes))
    }

    fn launch(&mut self, entry: &str, grid: Grid, arguments: &[Argument]) -> Result<(), Diagnostic> {
        either!(self, device => device.launch(entry, grid, arguments))
    }

    fn record(&mut self) -> Result<(), Diagnostic> {
        either!(self, device => device.record())
    }

    fn recorded(&mut self) -> Result<Recorded, Diagnostic> {
        match self {
            Tested::Interpreter(device) => device.recorded().map(Recorded::Interpreter),
            Tested::Hardware(device) => device.recorded().map(Recorded::Hardware),
        }
    }

    fn replay(&mut self, recording: &Recorded) -> Result<(), Diagnostic> {
        match (self, recording) {
            (Tested::Interpreter(device), Recorded::Interpreter(recording)) => device.replay(recording),
            (Tested::Hardware(device), Recorded::Hardware(recording)) => device.replay(recording),
            _ => panic!("recorded elsewhere"),
        }
    }

    fn mark(&mut self) -> Result<(), Diagnostic> {
        either!(self, device => device.mark())
    }

    fn between_marks(&mut self) -> Result<Vec<f64>, Diagnostic> {
        either!(self, device => device.between_marks())
    }
}

/// The number in `KILN_GPU`, or nothing without it. Panics when it is no number.
fn hardware() -> Option<i32> {
    let number = std::env::var("KILN_GPU").ok()?;
    Some(number.parse().unwrap_or_else(|error| panic!("KILN_GPU is the number of a GPU, not `{number}`: {error}")))
}

/// The generation of what tests run on: the oldest one's code runs everywhere, a GPU has its own.
pub fn generation() -> Generation {
    let Some(number) = hardware() else { return Generation::OLDEST };
    device(number).unwrap_or_else(|error| panic!("{error}")).generation()
}

/// A module on what tests run on; the interpreter schedules by the seed. Errors: what the compiler reports.
pub fn on_device(module: &Module, facts: &ModelFacts, config: &Config, seed: u64) -> Result<Session<Tested>, String> {
    let compiled = compile_ptx(module, facts, config).map_err(|errors| format!("{errors:?}"))?;
    let device = match hardware() {
        Some(number) => Tested::Hardware(open(number, &compiled.kernels).map_err(|error| error.to_string())?),
        None => Tested::Interpreter(Box::new(Interpreted::new(&compiled.kernels, seed))),
    };
    Session::new(compiled, device).map_err(|error| error.to_string())
}

/// A GPU with kernels, loaded as commands do. Errors: of the device.
fn open(number: i32, kernels: &Kernels) -> Result<Gpu, Diagnostic> {
    let capability = device(number)?.compute_capability;
    Gpu::open(number, &Image::new(kernels, capability, &Found::here()?, &Cubins::of_user()))
}

/// A module on the interpreter, with something in the text of its kernels changed. Errors: what the compiler reports.
pub fn interpreted_after(
    module: &Module,
    facts: &ModelFacts,
    config: &Config,
    seed: u64,
    change: &dyn Fn(&str) -> String,
) -> Result<Session<Interpreted>, String> {
    let mut compiled = compile_ptx(module, facts, config).map_err(|errors| format!("{errors:?}"))?;
    compiled.kernels.text = change(&compiled.kernels.text);
    let device = Interpreted::new(&compiled.kernels, seed);
    Session::new(compiled, device).map_err(|error| error.to_string())
}
