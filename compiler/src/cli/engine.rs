//! A model that runs, compiled or interpreted.

use super::args::Backend;
use super::model::{Loaded, predict};
use kiln::arrays::{to_array, to_tensor};
use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::jit::Predictor;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::backend::ptx::cubins::Cubins;
use kiln::backend::ptx::cuda::{Gpu, device};
use kiln::backend::ptx::image::Image;
use kiln::backend::ptx::run::Session;
use kiln::backend::ptx::{self, assemble::Found};
use kiln::compile::{Compiled, compile, compile_ptx};
use kiln::pipeline::Config;
use kiln::tuning;
use kiln_ir::artifact::{ABI_VERSION, Extent, Signature, SymbolDecl, TensorDecl, WeightsDecl, WeightsLocation};
use kiln_ir::eval::evaluate;
use kiln_ir::{Diagnostic, Dim, Graph, Module, Tensor, Value};
use kiln_runtime::arrays::Array;
use kiln_runtime::program::network::Network;
use kiln_runtime::threads::{ThreadPool, default_workers};
use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

/// A model that runs, compiled or interpreted.
pub enum Engine {
    /// Compiled code in this process.
    Compiled(Box<Predictor>, ThreadPool),
    /// The reference interpreter.
    Reference(Box<Module>),
    /// Kernels on an NVIDIA GPU.
    Gpu(Box<RefCell<Session<Gpu>>>),
}

impl Engine {
    /// Makes a module ready to run on this many threads.
    ///
    /// Errors: what the compiler reports.
    pub fn new(loaded: &Loaded, backend: Backend, config: &Config, threads: usize) -> Result<Engine, Vec<Diagnostic>> {
        match backend {
            Backend::Reference => Ok(Engine::Reference(Box::new(loaded.module.clone()))),
            Backend::Cpu => Engine::compiled(loaded, CpuLevel::Native, config, threads),
            Backend::Ptx => Ok(Engine::Gpu(Box::new(RefCell::new(on_gpu(&loaded.module, &loaded.facts, config)?)))),
        }
    }

    /// Compiles a module for that level of this CPU.
    ///
    /// Errors: what the compiler reports; `cpu_host` where the CPU lacks something.
    pub fn compiled(loaded: &Loaded, level: CpuLevel, config: &Config, threads: usize) -> Result<Engine, Vec<Diagnostic>> {
        let pool = ThreadPool::new(threads);
        let predictor = compile_for(loaded, level, config)?.predictor(&pool).map_err(|error| vec![error])?;
        Ok(Engine::Compiled(Box::new(predictor), pool))
    }

    /// Runs once; inputs and outputs in the order of the graph.
    ///
    /// Errors: inputs that do not fit; what fails while running.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        match self {
            Engine::Compiled(predictor, pool) => predictor.run(inputs, pool),
            Engine::Reference(module) => evaluate(module, predict(module)?, inputs),
            Engine::Gpu(session) => session.borrow_mut().run(inputs),
        }
    }
}

/// A module for the first NVIDIA GPU, where it is opened. Says so where the driver has to assemble its kernels.
///
/// Errors: what the compiler reports; `cuda_driver`, `cuda`, `memory`; `ptxas` where the assembler that is named is none.
pub fn on_gpu(module: &Module, facts: &ModelFacts, config: &Config) -> Result<Session<Gpu>, Vec<Diagnostic>> {
    let gpu = device(0).map_err(|error| vec![error])?;
    let assembler = Found::here().map_err(|error| vec![error])?;
    let cubins = Cubins::of_user();
    let open = |kernels: &ptx::Module| Gpu::open(gpu.number, &Image::new(kernels, gpu.compute_capability, &assembler, &cubins));
    let mut config = Config { generation: gpu.generation(), ..config.clone() };
    if let Some(tune) = config.tune.take() {
        let device = format!("{}; driver {}", gpu.name, gpu.driver);
        config.tuning = tuning::gpu::tuned(module, facts, &config, &tune, &device, open)?;
    }
    let compiled = compile_ptx(module, facts, &config)?;
    let gpu = open(&compiled.kernels).map_err(|error| vec![error])?;
    tell(gpu.report().note.as_deref());
    Session::new(compiled, gpu).map_err(|error| vec![error])
}

/// Prints the first note on how kernels were loaded: others of the same command say much the same.
fn tell(note: Option<&str>) {
    static TOLD: Once = Once::new();
    if let Some(note) = note {
        // Where nobody can read it, nothing is lost but the reason.
        TOLD.call_once(|| drop(writeln!(io::stderr(), "{note}")));
    }
}

/// Compiles for this machine.
///
/// Errors: what the compiler reports.
pub fn compile_here(loaded: &Loaded, config: &Config) -> Result<Compiled, Vec<Diagnostic>> {
    compile_for(loaded, CpuLevel::Native, config)
}

fn compile_for(loaded: &Loaded, level: CpuLevel, config: &Config) -> Result<Compiled, Vec<Diagnostic>> {
    let target = CpuTarget::host(level).map_err(|error| vec![error])?;
    compile(&loaded.module, target, loaded.facts.clone(), config)
}

/// Threads to use: as many as the process may, or fewer if so told.
pub fn threads(wanted: Option<u16>) -> usize {
    wanted.map_or(usize::MAX, usize::from).min(default_workers())
}

/// An engine of tensors as something that answers on the command line: all but compiled code.
pub struct Answering {
    engine: Engine,
    signature: Signature,
    outputs: Vec<Array>,
}

impl Answering {
    /// An engine on a model.
    ///
    /// Errors: `no_function`; what the compiler reports.
    pub fn new(loaded: &Loaded, backend: Backend, config: &Config) -> Result<Answering, Vec<Diagnostic>> {
        let signature = describe(predict(&loaded.module).map_err(|error| vec![error])?, &loaded.facts);
        Ok(Answering { engine: Engine::new(loaded, backend, config, threads(None))?, signature, outputs: Vec::new() })
    }

    /// Computes the outputs. Errors: as [`Engine::run`].
    pub(super) fn answer(&mut self, given: &[Tensor]) -> Result<(), Diagnostic> {
        self.outputs = self.engine.run(given)?.iter().map(to_array).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The same on inputs that end in the states, whose next values take their place. Errors: as [`Engine::run`].
    pub(super) fn advance(&mut self, given: &[Tensor], states: &mut [Array]) -> Result<(), Diagnostic> {
        self.answer(given)?;
        let next = self.outputs.split_off(self.outputs.len() - states.len());
        states.iter_mut().zip(next).for_each(|(state, next)| *state = next);
        Ok(())
    }
}

impl Network for Answering {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn prepare(&mut self, _inputs: &[Array]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn run(&mut self, inputs: &[Array]) -> Result<(), Diagnostic> {
        self.answer(&inputs.iter().map(to_tensor).collect::<Vec<_>>())
    }

    fn update(&mut self, inputs: &[Array], states: &mut [Array]) -> Result<(), Diagnostic> {
        let given: Vec<Tensor> = inputs.iter().chain(states.iter()).map(to_tensor).collect();
        self.advance(&given, states)
    }

    fn outputs(&self) -> &[Array] {
        &self.outputs
    }
}

/// What a graph takes and gives, in the words of artefacts.
pub fn describe(graph: &Graph, facts: &ModelFacts) -> Signature {
    let extent = |dim: &Dim| dim.as_const().map_or_else(|| Extent::Expression(dim.to_string()), Extent::Fixed);
    let tensors = |list: &[(String, Value)]| {
        let decl = |(name, value): &(String, Value)| {
            let ty = graph.ty(*value);
            TensorDecl { name: name.clone(), dtype: ty.dtype, shape: ty.shape.iter().map(extent).collect() }
        };
        list.iter().map(decl).collect()
    };
    let symbol = |(symbol, range): (&kiln_ir::Symbol, kiln_ir::dim::Range)| SymbolDecl {
        name: symbol.name().to_string(),
        min: range.min,
        max: (range.max != i64::MAX).then_some(range.max),
    };
    Signature {
        abi_version: ABI_VERSION,
        name: facts.name.clone(),
        compiler: concat!("kiln ", env!("CARGO_PKG_VERSION")).to_string(),
        model_sha256: facts.model_sha256.clone(),
        cpu: Vec::new(),
        symbols: graph.symbols.iter().map(symbol).collect(),
        inputs: tensors(graph.inputs()),
        outputs: tensors(graph.outputs()),
        guards: graph.guards.iter().map(ToString::to_string).collect(),
        nodes: Vec::new(),
        weights: WeightsDecl { bytes: 0, sha256: String::new(), location: WeightsLocation::Embedded },
        data_dependent: false,
        flops: None,
        labels: facts.labels.clone(),
        image: facts.image.clone(),
        audio: facts.audio.as_ref().map(|audio| serde_json::json!(audio).to_string()),
        ctc: facts.ctc.as_ref().map(|ctc| serde_json::json!(ctc).to_string()),
        text: facts.text_json(),
        scores: facts.scores,
        states: facts.states,
    }
}
