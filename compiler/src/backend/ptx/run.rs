//! Runs a planned program on a device, kernel after kernel: what a driver and the interpreter of the tests have in common.
//!
//! A session keeps its memory, so that a run allocates nothing. The second run of the same sizes is recorded, and later ones are one launch
//! of all kernels. States stay on the device, where a run leaves them for the next one.

use super::costs::{KernelCost, costs};
use super::device::{Argument, Device, Grid, TensorMap};
use super::{BLOCK_THREADS, Compiled};
use crate::kernel::{Buffer, BufferId, BufferKind};
use crate::lower::{self, Arg};
use crate::samples::median;
use crate::schedule::launches::{EntryPlan, Launch, LaunchStep, Place, launches};
use crate::schedule::plan::ProgramPlan;
use crate::schedule::weights::value_of;
use crate::tile::TileProgram;
use kiln_ir::{DType, Diagnostic, Dim, Symbol, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks that are launched at most: these take several tasks each.
const MOST_BLOCKS: i64 = 1 << 16;

/// Bytes that strides of tensor maps are multiples of.
const STRIDE_UNIT: u64 = 16;

/// Recordings that are kept; data of more sizes (sentences of any length) make them anew.
const MOST_RECORDINGS: usize = 16;

/// A program on a device, with its weights.
pub struct Session<D: Device> {
    compiled: Arc<Compiled>,
    device: D,
    weights: u64,
    /// An i64 that is not 0 after an index was out of range.
    error_cell: u64,
    inputs: Vec<Memory>,
    outputs: Vec<Memory>,
    temporaries: Memory,
    /// Types and shapes of the states that are on the device: the last inputs.
    states: Vec<(DType, Vec<usize>)>,
    recordings: BTreeMap<Key, Option<D::Recording>>,
    /// The launches before which the time is marked on the device, where it is, by the place of their arguments.
    marked: Option<Vec<i64>>,
}

/// What one function of the module took in a run.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct KernelTime {
    /// Its entry in the module.
    pub entry: String,
    /// How often it was launched.
    pub launches: u64,
    /// Seconds of all launches.
    pub seconds: f64,
    /// Operations of all launches; a multiply-add is two.
    pub operations: i64,
    /// Bytes of the device's memory that they read and write.
    pub bytes: i64,
}

/// Memory that grows when more is needed.
#[derive(Clone, Copy, Default)]
struct Memory {
    address: u64,
    bytes: Option<u64>,
}

/// Sizes, and where all memory is: launches of equal ones are equal.
type Key = (Vec<i64>, Vec<u64>);

/// Sizes, and indices of loops.
type Symbols = BTreeMap<Symbol, i64>;

impl<D: Device> Session<D> {
    /// Fills the weights, on the device what is computed of them.
    ///
    /// Errors: `parameter` when a value is missing or of another type; of the device.
    pub fn new(compiled: Compiled, mut device: D) -> Result<Session<D>, Diagnostic> {
        let wanted = compiled.plan.weights.bytes;
        let weights = device.allocate(wanted).map_err(|error| error.help(format!("the weights of the model are {wanted} bytes")))?;
        let error_cell = match device.allocate(8) {
            Ok(address) => address,
            Err(error) => {
                device.free(weights);
                return Err(error);
            }
        };
        let compiled = Arc::new(compiled);
        let program = &compiled.plan.program;
        let mut session = Session {
            device,
            weights,
            error_cell,
            inputs: vec![Memory::default(); program.inputs.len()],
            outputs: vec![Memory::default(); program.outputs.len()],
            temporaries: Memory::default(),
            states: Vec::new(),
            recordings: BTreeMap::new(),
            marked: None,
            compiled: Arc::clone(&compiled),
        };
        session.device.upload(error_cell, &[0; 8])?;
        let Compiled { plan, module, .. } = &*compiled;
        for (id, offset) in &plan.weights.offsets {
            if plan.program.buffer(*id).kind != BufferKind::Prepared {
                session.device.upload(weights + offset, value_of(&plan.program, &module.parameters, *id)?.bytes())?;
            }
        }
        if let Some(prepare) = &plan.prepare {
            let mut sources = vec![Memory::default(); prepare.sources.len()];
            let mut temporaries = Memory::default();
            let outcome = session.prepare(&mut sources, &mut temporaries);
            sources.iter().chain([&temporaries]).for_each(|memory| memory.give_back(&mut session.device));
            outcome?;
        }
        Ok(session)
    }

    /// What is computed of weights once.
    fn prepare(&mut self, sources: &mut [Memory], temporaries: &mut Memory) -> Result<(), Diagnostic> {
        let compiled = Arc::clone(&self.compiled);
        let Compiled { plan, module, .. } = &*compiled;
        let prepare = plan.prepare.as_ref().expect("something is prepared");
        for (memory, id) in sources.iter_mut().zip(&prepare.sources) {
            let value = value_of(&plan.program, &module.parameters, *id)?;
            memory.hold(value.bytes().len() as u64, &mut self.device)?;
            self.device.upload(memory.address, value.bytes())?;
        }
        let mut symbols = Symbols::new();
        temporaries.hold(value(&prepare.entry.temporary_bytes, &symbols).max(0) as u64, &mut self.device)?;
        let inputs: Vec<u64> = sources.iter().map(|memory| memory.address).collect();
        let outputs: Vec<u64> = prepare.results.iter().map(|id| self.weights + plan.weights.offsets[id]).collect();
        let base = Bases { inputs: &inputs, outputs: &outputs, weights: self.weights, temporaries: temporaries.address };
        self.steps(&prepare.entry.steps, &prepare.entry.places, &base, &mut symbols)?;
        self.found_errors()
    }

    /// What it runs on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Bytes for intermediate values, of the largest run until now.
    pub fn arena_bytes(&self) -> u64 {
        self.temporaries.bytes.unwrap_or(0)
    }

    /// Runs the function on inputs in the order of its signature.
    ///
    /// Errors: `input_shape`, `input_dtype` and `guard` for inputs that do not fit; `index`; of the device.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        self.states.clear();
        let symbols = self.compute(inputs)?;
        (0..self.outputs.len()).map(|at| self.output(at, &symbols)).collect()
    }

    /// Puts states, the last inputs of the function, on the device.
    ///
    /// Errors: `memory`; of the device.
    pub fn put_states(&mut self, states: &[Tensor]) -> Result<(), Diagnostic> {
        let first = self.inputs.len() - states.len();
        for (memory, state) in self.inputs[first..].iter_mut().zip(states) {
            memory.hold(state.bytes().len() as u64, &mut self.device)?;
            self.device.upload(memory.address, state.bytes())?;
        }
        self.states = states.iter().map(|state| (state.dtype(), state.shape().to_vec())).collect();
        Ok(())
    }

    /// The states as they are now.
    ///
    /// Errors: of the device.
    pub fn states(&mut self) -> Result<Vec<Tensor>, Diagnostic> {
        let first = self.inputs.len() - self.states.len();
        let read = |((dtype, shape), memory): (&(DType, Vec<usize>), &Memory)| {
            let mut content = vec![0; shape.iter().product::<usize>() * dtype.size_bytes()];
            self.device.download(memory.address, &mut content)?;
            Ok(Tensor::from_vec(*dtype, shape.clone(), content))
        };
        self.states.iter().zip(&self.inputs[first..]).map(read).collect()
    }

    /// Runs the function on the other inputs and the states of [`Session::put_states`], whose next values, the last outputs, take their
    /// place; it was compiled with as many states in its facts. Gives the other outputs.
    ///
    /// Errors: as [`Session::run`]; then states may have changed.
    pub fn update(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let symbols = self.compute(inputs)?;
        (0..self.outputs.len() - self.states.len()).map(|at| self.output(at, &symbols)).collect()
    }

    /// Runs the function once, kernel after kernel, and gives what each function of the module took, in the order in which they run first.
    /// States of [`Session::put_states`] are changed.
    ///
    /// Errors: as [`Session::run`].
    pub fn profile(&mut self, inputs: &[Tensor]) -> Result<Vec<KernelTime>, Diagnostic> {
        let (marks, symbols) = self.marked_run(inputs)?;
        let functions: BTreeMap<i64, usize> = self.launched().iter().map(|launch| (launch.args_offset, launch.function)).collect();
        let mut found: Vec<KernelTime> = Vec::new();
        for (place, seconds) in marks {
            let entry = &self.compiled.kernels.entries[&functions[&place]];
            match found.iter_mut().find(|kernel| kernel.entry == *entry) {
                Some(kernel) => (kernel.launches, kernel.seconds) = (kernel.launches + 1, kernel.seconds + seconds),
                None => found.push(KernelTime { entry: entry.clone(), launches: 1, seconds, operations: 0, bytes: 0 }),
            }
        }
        for KernelCost { entry, runs, operations, bytes, .. } in costs(&self.compiled, &symbols) {
            if let Some(kernel) = found.iter_mut().find(|kernel| kernel.entry == entry) {
                kernel.operations = kernel.operations.saturating_add(operations.saturating_mul(runs));
                kernel.bytes = kernel.bytes.saturating_add(bytes.saturating_mul(runs));
            }
        }
        Ok(found)
    }

    /// Runs the function several times, kernel after kernel, and gives the median seconds of each launch of the plan, all turns of loops
    /// together.
    ///
    /// Errors: as [`Session::run`].
    pub fn launch_seconds(&mut self, inputs: &[Tensor], runs: usize) -> Result<Vec<f64>, Diagnostic> {
        let places: BTreeMap<i64, usize> = self.launched().iter().enumerate().map(|(at, launch)| (launch.args_offset, at)).collect();
        let mut samples = vec![Vec::with_capacity(runs); places.len()];
        for _ in 0..runs {
            let mut sums = vec![0.0; places.len()];
            for (place, seconds) in self.marked_run(inputs)?.0 {
                sums[places[&place]] += seconds;
            }
            samples.iter_mut().zip(sums).for_each(|(list, sum)| list.push(sum));
        }
        Ok(samples.into_iter().map(median).collect())
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &ProgramPlan {
        &self.compiled.plan
    }

    fn launched(&self) -> Vec<&Launch> {
        launches(&self.compiled.plan.main.steps)
    }

    /// One run, kernel after kernel: the place of each launch's arguments with its seconds, in order, and the sizes.
    fn marked_run(&mut self, inputs: &[Tensor]) -> Result<(Vec<(i64, f64)>, Symbols), Diagnostic> {
        self.marked = Some(Vec::new());
        let ran = self.compute(inputs);
        let places = self.marked.take().expect("it was set");
        let seconds = self.device.mark().and_then(|()| self.device.between_marks());
        let symbols = ran?;
        Ok((places.into_iter().zip(seconds?).collect(), symbols))
    }

    /// Runs the function several times on the same inputs, which are copied once, so that the device does not slow down meanwhile. Gives
    /// the seconds of each run from its first kernel to the end of its last one.
    ///
    /// Errors: as [`Session::run`].
    pub fn device_seconds(&mut self, inputs: &[Tensor], runs: usize) -> Result<Vec<f64>, Diagnostic> {
        let mut symbols = self.put_inputs(inputs)?;
        let measured = (0..runs).map(|_| {
            let ran = self.device.mark().and_then(|()| self.enqueue(&mut symbols)).and_then(|()| self.device.mark());
            // Marks are taken back whatever happened.
            let seconds = self.device.between_marks();
            ran?;
            Ok(seconds?.iter().sum())
        });
        let seconds = measured.collect();
        self.found_errors()?;
        seconds
    }

    /// Runs all kernels on inputs, to which the states are added.
    fn compute(&mut self, inputs: &[Tensor]) -> Result<Symbols, Diagnostic> {
        let mut symbols = self.put_inputs(inputs)?;
        self.enqueue(&mut symbols)?;
        self.found_errors()?;
        Ok(symbols)
    }

    /// Puts inputs on the device, where there is memory for all else then. Gives the sizes.
    fn put_inputs(&mut self, inputs: &[Tensor]) -> Result<Symbols, Diagnostic> {
        let compiled = Arc::clone(&self.compiled);
        let given = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape().to_vec())).chain(self.states.iter().cloned()).collect();
        let symbols = sizes(&compiled, given)?;
        self.hold(&symbols)?;
        for (memory, tensor) in self.inputs.iter().zip(inputs) {
            self.device.upload(memory.address, tensor.bytes())?;
        }
        Ok(symbols)
    }

    /// Launches all kernels, at once where they are recorded.
    fn enqueue(&mut self, symbols: &mut Symbols) -> Result<(), Diagnostic> {
        let compiled = Arc::clone(&self.compiled);
        let made = &self.outputs[..self.outputs.len() - self.states.len()];
        made.iter().chain([&self.temporaries]).for_each(|memory| self.device.forget(memory.address));
        let addresses = |memory: &[Memory]| memory.iter().map(|memory| memory.address).collect::<Vec<u64>>();
        let inputs = addresses(&self.inputs);
        // Next values of states take the place of the old ones.
        let outputs = [addresses(made), inputs[inputs.len() - self.states.len()..].to_vec()].concat();
        let base = Bases { inputs: &inputs, outputs: &outputs, weights: self.weights, temporaries: self.temporaries.address };
        let places = [inputs.as_slice(), &outputs, &[self.temporaries.address]].concat();
        let key = (symbols.values().copied().collect(), places);
        let EntryPlan { steps, places, .. } = &compiled.plan.main;
        match self.recordings.get(&key) {
            _ if self.marked.is_some() => self.steps(steps, places, &base, symbols)?,
            Some(Some(recording)) => self.device.replay(recording)?,
            Some(None) => {
                self.device.record()?;
                let outcome = self.steps(steps, places, &base, symbols);
                let recording = self.device.recorded();
                outcome?;
                let recording = recording?;
                self.device.replay(&recording)?;
                self.recordings.insert(key, Some(recording));
            }
            None => {
                self.steps(steps, places, &base, symbols)?;
                if self.recordings.len() == MOST_RECORDINGS {
                    self.recordings.clear();
                }
                self.recordings.insert(key, None);
            }
        }
        Ok(())
    }

    /// Memory for a run of these sizes. Errors: `memory`, with how much that is.
    fn hold(&mut self, symbols: &Symbols) -> Result<(), Diagnostic> {
        let plan = &self.compiled.plan;
        let size = |(_, id): &(String, BufferId)| bytes(plan.program.buffer(*id), symbols);
        let temporary = value(&plan.main.temporary_bytes, symbols).max(0) as u64;
        let made = self.outputs.len() - self.states.len();
        let wanted: Vec<u64> = plan.program.inputs.iter().chain(&plan.program.outputs[..made]).map(size).chain([temporary]).collect();
        let all = self.inputs.iter_mut().chain(&mut self.outputs[..made]).chain([&mut self.temporaries]);
        for (memory, bytes) in all.zip(&wanted) {
            memory.hold(*bytes, &mut self.device).map_err(|error| {
                let (weights, run) = (plan.weights.bytes, wanted.iter().sum::<u64>());
                error.help(format!(
                    "a run of these sizes needs {run} bytes, {temporary} of them for intermediate values, beside {weights} bytes of weights"
                ))
            })?;
        }
        Ok(())
    }

    fn output(&mut self, at: usize, symbols: &Symbols) -> Result<Tensor, Diagnostic> {
        let buffer = self.compiled.plan.program.buffer(self.compiled.plan.program.outputs[at].1);
        let mut content = vec![0; bytes(buffer, symbols) as usize];
        let shape = buffer.shape.iter().map(|dim| value(dim, symbols) as usize).collect();
        let dtype = buffer.dtype;
        self.device.download(self.outputs[at].address, &mut content)?;
        Ok(Tensor::from_vec(dtype, shape, content))
    }

    /// Errors: `index` when a kernel has found an index out of range; of the device.
    fn found_errors(&mut self) -> Result<(), Diagnostic> {
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
                LaunchStep::Loop { index, extent, body, .. } => {
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
            Arg::Buffer(id) => Ok(Argument::Word(base.address(&places[id], symbols))),
            Arg::Symbol(symbol) => Ok(Argument::Word(symbols[symbol] as u64)),
            Arg::ErrorCell => Ok(Argument::Word(self.error_cell)),
            Arg::TensorMap(map) => tensor_map(map, base.address(&places[&map.buffer], symbols), symbols).map(Argument::TensorMap),
            Arg::WorkerScratch => panic!("ptx: threads have no scratch of workers"),
        };
        let mut arguments = launch.args.iter().map(argument).collect::<Result<Vec<Argument>, Diagnostic>>()?;
        arguments.push(Argument::Word(tasks as u64));
        let blocks_of = |threads: u64| (tasks as u64).div_ceil(threads).min(MOST_BLOCKS as u64) as u32;
        let entry = &self.compiled.kernels.entries[&launch.function];
        let shared_bytes = self.compiled.kernels.shared_bytes.get(entry).copied().unwrap_or(0);
        let TileProgram { persistent, cluster, .. } = self.compiled.plan.functions[launch.function].program;
        let (blocks, threads) = match launch.block_threads {
            Some(threads) => (blocks_of(1), threads),
            None => (blocks_of(u64::from(BLOCK_THREADS)), BLOCK_THREADS),
        };
        let grid = Grid { blocks, threads, shared_bytes, together: launch.block_threads.is_some(), persistent, cluster };
        if let Some(places) = &mut self.marked {
            places.push(launch.args_offset);
            self.device.mark()?;
        }
        self.device.launch(entry, grid, &arguments)
    }
}

impl<D: Device> Drop for Session<D> {
    fn drop(&mut self) {
        self.recordings.clear();
        let all = self.inputs.iter().chain(&self.outputs).chain([&self.temporaries]);
        all.for_each(|memory| memory.give_back(&mut self.device));
        self.device.free(self.weights);
        self.device.free(self.error_cell);
    }
}

impl Memory {
    /// Makes sure of room. What it held is lost where it grows. Errors: `memory`.
    fn hold(&mut self, bytes: u64, device: &mut impl Device) -> Result<(), Diagnostic> {
        if self.bytes.is_some_and(|held| held >= bytes) {
            return Ok(());
        }
        self.give_back(device);
        *self = Memory::default();
        *self = Memory { address: device.allocate(bytes)?, bytes: Some(bytes) };
        Ok(())
    }

    fn give_back(&self, device: &mut impl Device) {
        if self.bytes.is_some() {
            device.free(self.address);
        }
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
            Place::Worker(_) => panic!("ptx: threads of a GPU take no turns of loops"),
        }
    }
}

/// A tensor map of a buffer at an address. An axis without elements counts as one, which no task asks for.
///
/// Errors: `tensor_map` for an axis whose places have more than 31 bits, which kernels ask for by.
fn tensor_map(map: &lower::TensorMap, buffer: u64, symbols: &Symbols) -> Result<TensorMap, Diagnostic> {
    if let Some(extent) = map.extents.iter().map(|extent| value(extent, symbols)).find(|extent| i32::try_from(*extent).is_err()) {
        let message = format!("an axis of {extent} elements is too long for the tensor copy engine, which was chosen for shorter ones");
        return Err(Diagnostic::new("tensor_map", message).help("run without --tune"));
    }
    let size = map.dtype.size_bytes() as u64;
    let bytes = |dim: &Dim| value(dim, symbols) as u64 * size;
    Ok(TensorMap {
        address: buffer + bytes(&map.first),
        dtype: map.dtype,
        extents: map.extents.iter().map(|extent| value(extent, symbols).max(1) as u64).collect(),
        strides: map.strides.iter().map(|stride| bytes(stride).max(STRIDE_UNIT)).collect(),
        boxes: map.boxes.iter().map(|length| *length as u32).collect(),
    })
}

fn value(dim: &Dim, symbols: &Symbols) -> i64 {
    dim.evaluate(&|symbol| symbols.get(symbol).copied()).unwrap_or_else(|| panic!("ptx: no value of {dim}"))
}

fn bytes(buffer: &Buffer, symbols: &Symbols) -> u64 {
    value(&buffer.elements(), symbols).max(0) as u64 * buffer.dtype.size_bytes() as u64
}

/// The sizes that inputs of these types and shapes say. Errors: `input_shape`, `input_dtype`, `guard`.
fn sizes(compiled: &Compiled, inputs: Vec<(DType, Vec<usize>)>) -> Result<Symbols, Diagnostic> {
    let program = &compiled.plan.program;
    let (dtypes, shapes): (Vec<DType>, Vec<Vec<usize>>) = inputs.into_iter().unzip();
    let graph = compiled.module.predict().map_err(|error| Diagnostic::new("no_function", error))?;
    let symbols = graph.bind_symbols(&shapes).map_err(|error| Diagnostic::new("input_shape", error))?;
    for ((name, id), dtype) in program.inputs.iter().zip(dtypes) {
        let expected = program.buffer(*id).dtype;
        if dtype != expected {
            return Err(Diagnostic::new("input_dtype", format!("input `{name}` is {dtype}, expected {expected}")));
        }
    }
    match program.guards.iter().find(|guard| guard.holds(&|s| symbols.get(s).copied()) != Some(true)) {
        Some(guard) => Err(Diagnostic::new("guard", format!("the given sizes do not fit: {guard}"))),
        None => Ok(symbols),
    }
}
