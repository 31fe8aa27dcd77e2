//! Runs a planned program on a device, kernel after kernel: what a driver and the interpreter of the tests have in common.

use super::{BLOCK_THREADS, Compiled};
use crate::kernel::{Buffer, BufferId, BufferKind};
use crate::lower::Arg;
use crate::schedule::launches::{EntryPlan, Launch, LaunchStep, Place};
use crate::schedule::weights::value_of;
use kiln_ir::{Diagnostic, Dim, Symbol, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Memory and kernels of a GPU, one after the other.
pub trait Device {
    /// Memory of its own; what it holds is not said. Errors: `memory`.
    fn allocate(&mut self, bytes: u64) -> Result<u64, Diagnostic>;
    /// Gives memory back.
    fn free(&mut self, address: u64);
    /// Copies to the device. Errors: of the device.
    fn upload(&mut self, address: u64, bytes: &[u8]) -> Result<(), Diagnostic>;
    /// Copies from the device, when all that was launched is done. Errors: of the device, or of a kernel.
    fn download(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Diagnostic>;
    /// Runs an entry. Errors: of the device.
    fn launch(&mut self, entry: &str, grid: Grid, arguments: &[u64]) -> Result<(), Diagnostic>;
}

/// How many threads run an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Blocks; any number of them computes the same.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Whether the threads of a block compute tasks together: then there have to be as many.
    pub together: bool,
}

/// Blocks that are launched at most: these take several tasks each.
const MOST_BLOCKS: i64 = 1 << 16;

/// A program on a device, with its weights.
pub struct Session<D: Device> {
    compiled: Arc<Compiled>,
    device: D,
    weights: u64,
    /// An i64 that is not 0 after an index was out of range.
    error_cell: u64,
}

/// Sizes, and indices of loops.
type Symbols = BTreeMap<Symbol, i64>;

impl<D: Device> Session<D> {
    /// Fills the weights, on the device what is computed of them.
    ///
    /// Errors: `parameter` when a value is missing or of another type; of the device.
    pub fn new(compiled: Compiled, mut device: D) -> Result<Session<D>, Diagnostic> {
        let weights = device.allocate(compiled.plan.weights.bytes)?;
        let error_cell = device.allocate(8)?;
        let compiled = Arc::new(compiled);
        let mut session = Session { compiled: Arc::clone(&compiled), device, weights, error_cell };
        session.device.upload(error_cell, &[0; 8])?;
        let Compiled { plan, module, .. } = &*compiled;
        for (id, offset) in &plan.weights.offsets {
            if plan.program.buffer(*id).kind != BufferKind::Prepared {
                session.device.upload(weights + offset, value_of(&plan.program, &module.parameters, *id)?.bytes())?;
            }
        }
        if let Some(prepare) = &plan.prepare {
            let sources =
                prepare.sources.iter().map(|id| value_of(&plan.program, &module.parameters, *id)).collect::<Result<Vec<_>, _>>()?;
            let results: Vec<u64> = prepare.results.iter().map(|id| weights + plan.weights.offsets[id]).collect();
            session.holding(|session, held| {
                let sources = sources.iter().map(|tensor| session.uploaded(tensor, held)).collect::<Result<Vec<u64>, _>>()?;
                session.entry(&prepare.entry, &sources, &results, &mut Symbols::new())
            })?;
        }
        Ok(session)
    }

    /// Runs the function on inputs in the order of its signature.
    ///
    /// Errors: `input_shape`, `input_dtype` and `guard` for inputs that do not fit; `index`; of the device.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let compiled = Arc::clone(&self.compiled);
        let Compiled { plan, .. } = &*compiled;
        let mut symbols = sizes(&compiled, inputs)?;
        self.holding(|session, held| {
            let given = inputs.iter().map(|tensor| session.uploaded(tensor, held)).collect::<Result<Vec<u64>, _>>()?;
            let mut results = Vec::new();
            for (_, id) in &plan.program.outputs {
                results.push(session.device.allocate(bytes(plan.program.buffer(*id), &symbols))?);
                held.extend(results.last());
            }
            session.entry(&plan.main, &given, &results, &mut symbols)?;
            let mut outputs = Vec::new();
            for ((_, id), address) in plan.program.outputs.iter().zip(&results) {
                let buffer = plan.program.buffer(*id);
                let mut content = vec![0; bytes(buffer, &symbols) as usize];
                session.device.download(*address, &mut content)?;
                let shape = buffer.shape.iter().map(|dim| value(dim, &symbols) as usize).collect();
                outputs.push(Tensor::from_vec(buffer.dtype, shape, content));
            }
            Ok(outputs)
        })
    }

    /// Does `work`, then gives back what it noted down as held, whatever came of it.
    fn holding<R>(&mut self, work: impl FnOnce(&mut Self, &mut Vec<u64>) -> Result<R, Diagnostic>) -> Result<R, Diagnostic> {
        let mut held = Vec::new();
        let outcome = work(self, &mut held);
        held.into_iter().for_each(|address| self.device.free(address));
        outcome
    }

    /// A tensor on the device.
    fn uploaded(&mut self, tensor: &Tensor, held: &mut Vec<u64>) -> Result<u64, Diagnostic> {
        let address = self.device.allocate(tensor.bytes().len() as u64)?;
        held.push(address);
        self.device.upload(address, tensor.bytes())?;
        Ok(address)
    }

    fn entry(&mut self, entry: &EntryPlan, inputs: &[u64], outputs: &[u64], symbols: &mut Symbols) -> Result<(), Diagnostic> {
        let temporaries = self.device.allocate(value(&entry.temporary_bytes, symbols).max(0) as u64)?;
        let base = Bases { inputs, outputs, weights: self.weights, temporaries };
        let outcome = self.steps(&entry.steps, &entry.places, &base, symbols);
        self.device.free(temporaries);
        outcome?;
        let mut cell = [0; 8];
        self.device.download(self.error_cell, &mut cell)?;
        let Some(node) = usize::try_from(i64::from_le_bytes(cell)).ok().and_then(|one_more| one_more.checked_sub(1)) else { return Ok(()) };
        self.device.upload(self.error_cell, &[0; 8])?;
        let name = self.compiled.plan.program.checked_nodes.get(node).map_or("?", String::as_str);
        Err(Diagnostic::new("index", format!("node `{name}` got an index out of range")))
    }

    fn steps(
        &mut self,
        steps: &[LaunchStep],
        places: &BTreeMap<BufferId, Place>,
        base: &Bases,
        symbols: &mut Symbols,
    ) -> Result<(), Diagnostic> {
        for step in steps {
            match step {
                LaunchStep::Run(launch) => self.launch(launch, places, base, symbols)?,
                LaunchStep::Loop { index, extent, body } => {
                    for turn in 0..value(extent, symbols) {
                        symbols.insert(index.clone(), turn);
                        self.steps(body, places, base, symbols)?;
                    }
                    symbols.remove(index);
                }
            }
        }
        Ok(())
    }

    fn launch(&mut self, launch: &Launch, places: &BTreeMap<BufferId, Place>, base: &Bases, symbols: &Symbols) -> Result<(), Diagnostic> {
        let tasks = value(&launch.tasks, symbols);
        if tasks <= 0 {
            return Ok(());
        }
        let argument = |arg: &Arg| match arg {
            Arg::Buffer(id) => base.address(&places[id], symbols),
            Arg::Symbol(symbol) => symbols[symbol] as u64,
            Arg::ErrorCell => self.error_cell,
            Arg::WorkerScratch => panic!("ptx: threads have no scratch of workers"),
        };
        let mut arguments: Vec<u64> = launch.args.iter().map(argument).collect();
        arguments.push(tasks as u64);
        let blocks_of = |threads: u64| (tasks as u64).div_ceil(threads).min(MOST_BLOCKS as u64) as u32;
        let grid = match launch.block_threads {
            Some(threads) => Grid { blocks: blocks_of(1), threads, together: true },
            None => Grid { blocks: blocks_of(u64::from(BLOCK_THREADS)), threads: BLOCK_THREADS, together: false },
        };
        self.device.launch(&self.compiled.kernels.entries[&launch.function], grid, &arguments)
    }
}

impl<D: Device> Drop for Session<D> {
    fn drop(&mut self) {
        self.device.free(self.weights);
        self.device.free(self.error_cell);
    }
}

/// What places of buffers are counted from.
struct Bases<'a> {
    inputs: &'a [u64],
    outputs: &'a [u64],
    weights: u64,
    temporaries: u64,
}

impl Bases<'_> {
    fn address(&self, place: &Place, symbols: &Symbols) -> u64 {
        match place {
            Place::Input(at) => self.inputs[*at],
            Place::Output(at) => self.outputs[*at],
            Place::Weights(offset) => self.weights + offset,
            Place::Temporary(offset) => self.temporaries + value(offset, symbols) as u64,
        }
    }
}

fn value(dim: &Dim, symbols: &Symbols) -> i64 {
    dim.evaluate(&|symbol| symbols.get(symbol).copied()).unwrap_or_else(|| panic!("ptx: no value of {dim}"))
}

fn bytes(buffer: &Buffer, symbols: &Symbols) -> u64 {
    value(&buffer.elements(), symbols).max(0) as u64 * buffer.dtype.size_bytes() as u64
}

/// The sizes that inputs say. Errors: `input_shape`, `input_dtype`, `guard`.
fn sizes(compiled: &Compiled, inputs: &[Tensor]) -> Result<Symbols, Diagnostic> {
    let program = &compiled.plan.program;
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|tensor| tensor.shape().to_vec()).collect();
    let graph = compiled.module.predict().map_err(|error| Diagnostic::new("no_function", error))?;
    let symbols = graph.bind_symbols(&shapes).map_err(|error| Diagnostic::new("input_shape", error))?;
    for ((name, id), tensor) in program.inputs.iter().zip(inputs) {
        let expected = program.buffer(*id).dtype;
        if tensor.dtype() != expected {
            return Err(Diagnostic::new("input_dtype", format!("input `{name}` is {}, expected {expected}", tensor.dtype())));
        }
    }
    match program.guards.iter().find(|guard| guard.holds(&|s| symbols.get(s).copied()) != Some(true)) {
        Some(guard) => Err(Diagnostic::new("guard", format!("the given sizes do not fit: {guard}"))),
        None => Ok(symbols),
    }
}
