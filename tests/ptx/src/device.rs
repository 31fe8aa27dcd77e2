//! The device: memory that outlives launches, and launches.

use crate::decode::SHARED_START;
use crate::exec::Machine;
use crate::fault::{Fault, FaultKind, ThreadId};
use crate::memory::{GlobalMemory, Region};
use crate::module::{Kernel, Module};
use crate::parse::Space;
use crate::schedule::{Random, Stop};
use crate::tensor_map::TensorMap;
use std::collections::{BTreeSet, HashMap};

/// Most bytes of shared memory of a block: 227 KiB, as of sm_90.
const MOST_SHARED: u64 = 227 * 1024;
/// Most threads of a block.
const MOST_THREADS: u64 = 1024;

/// An argument of a kernel. Its size must be that of the parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// 32 bits, unsigned.
    U32(u32),
    /// 32 bits, signed.
    S32(i32),
    /// 64 bits; device addresses are such.
    U64(u64),
    /// 64 bits, signed.
    S64(i64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// Raw bytes, for `.b8` arrays and small types.
    Bytes(Vec<u8>),
    /// A tensor map, for a parameter of 128 bytes aligned to 64.
    TensorMap(TensorMap),
}

impl Argument {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Argument::U32(v) => v.to_le_bytes().to_vec(),
            Argument::S32(v) => v.to_le_bytes().to_vec(),
            Argument::U64(v) => v.to_le_bytes().to_vec(),
            Argument::S64(v) => v.to_le_bytes().to_vec(),
            Argument::F32(v) => v.to_le_bytes().to_vec(),
            Argument::F64(v) => v.to_le_bytes().to_vec(),
            Argument::Bytes(bytes) => bytes.clone(),
            Argument::TensorMap(map) => map.encode().to_vec(),
        }
    }
}

/// What a launch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Instructions of warps.
    pub warp_instructions: u64,
    /// Instructions of lanes: guards that are false do not count.
    pub lane_instructions: u64,
    /// Blocks.
    pub blocks: u64,
}

/// A device without hardware: global memory and the power to launch kernels.
///
/// ```
/// use kiln_ptx::{Argument, Device, Module};
/// let module = Module::parse("
///     .version 8.0
///     .target sm_80
///     .address_size 64
///     .visible .entry double(.param .u64 data, .param .u32 n) {
///         .reg .pred %p;
///         .reg .b32 %r<6>;
///         .reg .b64 %rd<3>;
///         ld.param.u64 %rd0, [data];
///         ld.param.u32 %r0, [n];
///         mov.u32 %r1, %ctaid.x;
///         mov.u32 %r2, %ntid.x;
///         mov.u32 %r3, %tid.x;
///         mad.lo.s32 %r4, %r1, %r2, %r3;
///         setp.ge.u32 %p, %r4, %r0;
///         @%p ret;
///         mul.wide.u32 %rd1, %r4, 4;
///         add.s64 %rd2, %rd0, %rd1;
///         ld.global.u32 %r5, [%rd2];
///         shl.b32 %r5, %r5, 1;
///         st.global.u32 [%rd2], %r5;
///         ret;
///     }")?;
/// let mut device = Device::new();
/// let data = device.alloc(40);
/// device.write(data, &(0..10u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())?;
/// let done = device.launch(&module, "double", [1, 1, 1], [32, 1, 1], 0, &[Argument::U64(data), Argument::U32(10)], 1)?;
/// assert_eq!(device.read(data + 36, 4)?, 18u32.to_le_bytes());
/// assert_eq!(done.blocks, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Device {
    memory: GlobalMemory,
    /// Addresses of the variables of modules that were used.
    modules: HashMap<u64, Vec<u64>>,
    resident: usize,
    step_limit: u64,
    /// Lines of modules, numbered from 1, whose instructions a lane has executed.
    executed: HashMap<u64, BTreeSet<u32>>,
}

impl Default for Device {
    fn default() -> Device {
        Device::new()
    }
}

impl Device {
    /// A device with empty memory.
    pub fn new() -> Device {
        Device { memory: GlobalMemory::default(), modules: HashMap::new(), resident: 4, step_limit: 1 << 28, executed: HashMap::new() }
    }

    /// How many blocks run at a time (4 unless set). Kernels whose blocks wait for each other need them all.
    pub fn set_resident_blocks(&mut self, blocks: usize) {
        self.resident = blocks.max(1);
    }

    /// How many instructions of warps a launch may take (2²⁸ unless set) before it counts as endless.
    pub fn set_step_limit(&mut self, instructions: u64) {
        self.step_limit = instructions;
    }

    /// The lines of a module's text, numbered from 1, whose instructions any lane has executed in launches until now.
    pub fn executed_lines(&self, module: &Module) -> BTreeSet<u32> {
        self.executed.get(&module.id).cloned().unwrap_or_default()
    }

    /// Allocates `bytes` of global memory and gives its device address, a multiple of 512. Reading it before it is written is a fault.
    pub fn alloc(&mut self, bytes: u64) -> u64 {
        self.memory.alloc(bytes, None, false)
    }

    /// As [`Device::alloc`], with a name for messages.
    pub fn alloc_named(&mut self, bytes: u64, name: &str) -> u64 {
        self.memory.alloc(bytes, Some(format!("`{name}`")), false)
    }

    /// Frees the allocation that begins at `address`; later accesses to it are out of bounds.
    ///
    /// # Errors
    /// No allocation begins there.
    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        if self.memory.free(address) { Ok(()) } else { Err(host(FaultKind::OutOfBounds, format!("no allocation begins at {address:#x}"))) }
    }

    /// Makes the allocation that begins at `address` unwritten, as it was when it was new.
    ///
    /// # Errors
    /// No allocation begins there.
    pub fn forget(&mut self, address: u64) -> Result<(), Fault> {
        let found = self.memory.find(address, 0).map_err(|(kind, message)| host(kind, message))?;
        let bytes = found.region.size();
        found.region.mark(0, bytes, false);
        Ok(())
    }

    /// Copies `bytes` to device memory.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let found = self.memory.find(address, bytes.len() as u64).map_err(|(kind, message)| host(kind, message))?;
        let offset = address - found.region.base;
        found.region.write(offset, bytes);
        Ok(())
    }

    /// Copies `bytes` bytes from device memory.
    ///
    /// # Errors
    /// The range is not inside one allocation, or was never written.
    pub fn read(&mut self, address: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        let found = self.memory.find(address, bytes).map_err(|(kind, message)| host(kind, message))?;
        let offset = address - found.region.base;
        if let Some(missing) = found.region.unwritten(offset, bytes) {
            let message = format!("byte {missing} of {} is read and was never written", found.name);
            return Err(host(FaultKind::UnwrittenMemory, message));
        }
        Ok(found.region.data[offset as usize..(offset + bytes) as usize].to_vec())
    }

    /// Another device with the same memory, which has executed nothing.
    pub fn copy(&self) -> Device {
        Device { memory: self.memory.copy(), modules: self.modules.clone(), executed: HashMap::new(), ..*self }
    }

    /// Replaces words of four bytes that were written, each so many beyond the one before it as `skip` says, by what `word` says.
    pub fn disturb(&mut self, skip: &mut dyn FnMut() -> usize, word: &mut dyn FnMut() -> u32) {
        self.memory.disturb(skip, word);
    }

    /// Whether memory of both devices is alike: the same allocations, in which the same bytes were written, with the same values.
    pub fn holds_the_same_as(&self, other: &Device) -> bool {
        self.memory.is_like(&other.memory)
    }

    /// Address of a `.global` or `.const` variable of `module`.
    ///
    /// # Errors
    /// The module has no such variable.
    pub fn symbol(&mut self, module: &Module, name: &str) -> Result<u64, Fault> {
        let index = module.variables.iter().position(|v| v.name == name);
        let index = index.ok_or_else(|| host(FaultKind::Launch, format!("the module has no variable `{name}`")))?;
        Ok(self.load(module)?[index])
    }

    /// Places the variables of a module in memory, once.
    fn load(&mut self, module: &Module) -> Result<Vec<u64>, Fault> {
        if let Some(addresses) = self.modules.get(&module.id) {
            return Ok(addresses.clone());
        }
        let mut addresses = Vec::new();
        for variable in &module.variables {
            let constant = variable.space == Space::Const;
            addresses.push(self.memory.alloc(variable.size, Some(format!("`{}`", variable.name)), constant));
        }
        for (variable, address) in module.variables.iter().zip(&addresses) {
            let mut bytes = variable.initial.clone();
            bytes.resize(variable.size as usize, 0);
            for (at, name, offset) in &variable.pointers {
                let target = module.variables.iter().position(|v| v.name == *name);
                let target = target
                    .ok_or_else(|| host(FaultKind::Launch, format!("`{}` points to `{name}`, which is not a variable", variable.name)))?;
                let pointer = addresses[target].wrapping_add(*offset as u64).to_le_bytes();
                let end = (at + 8).min(bytes.len());
                bytes[*at..end].copy_from_slice(&pointer[..end - at]);
            }
            self.write(*address, &bytes)?;
        }
        self.modules.insert(module.id, addresses.clone());
        Ok(addresses)
    }

    /// Runs `kernel` over `grid` blocks of `block` threads, each block with `dynamic_shared` bytes for `.extern .shared` arrays.
    /// `seed` chooses one of the schedules that hardware could choose; a correct kernel gives the same result for all.
    ///
    /// # Errors
    /// The launch does not fit the kernel, or a thread did what hardware punishes, or might punish.
    #[allow(clippy::too_many_arguments, reason = "the parameters of a launch, as in the driver's call")]
    pub fn launch(
        &mut self,
        module: &Module,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: u64,
        arguments: &[Argument],
        seed: u64,
    ) -> Result<Statistics, Fault> {
        let refuse = |message: String| Fault { kernel: kernel.to_string(), ..host(FaultKind::Launch, message) };
        let Some(found) = module.kernels.iter().find(|k| k.name == kernel) else {
            let names: Vec<_> = module.kernel_names().collect();
            return Err(refuse(format!("the module has no such kernel; it has {}", names.join(", "))));
        };
        check_shape(found, grid, block, dynamic_shared).map_err(refuse)?;
        let params = parameters(found, arguments).map_err(refuse)?;
        let symbols = self.load(module)?;
        self.memory.forget_accesses();
        let mut machine = Machine {
            kernel: found,
            memory: &mut self.memory,
            symbols,
            grid,
            dims: block,
            params,
            dynamic: dynamic_shared,
            random: Random::new(seed),
            steps: 0,
            lane_steps: 0,
            published: HashMap::new(),
            messages: Vec::new(),
            clusters: HashMap::new(),
            executed: vec![false; found.code.len()],
        };
        let blocks = grid.iter().map(|g| u64::from(*g)).product();
        let outcome = machine.run_grid(self.resident, self.step_limit);
        let lines = found.code.iter().zip(&machine.executed).filter(|(_, executed)| **executed).map(|(instruction, _)| instruction.line);
        self.executed.entry(module.id).or_default().extend(lines);
        match outcome {
            Ok(()) => Ok(Statistics { warp_instructions: machine.steps, lane_instructions: machine.lane_steps, blocks }),
            Err(Stop { trouble, line, block: index, warp }) => {
                let text = line.and_then(|l| module.lines.get(l as usize - 1)).cloned().unwrap_or_default();
                let thread = crate::exec::unravel(warp as u32 * 32 + trouble.lane, block);
                Err(Fault {
                    kind: trouble.kind,
                    message: trouble.message,
                    line,
                    text,
                    thread: Some(ThreadId { block: index, thread }),
                    kernel: kernel.to_string(),
                })
            }
        }
    }
}

fn host(kind: FaultKind, message: String) -> Fault {
    Fault { kind, message, line: None, text: String::new(), thread: None, kernel: "(host)".into() }
}

fn check_shape(kernel: &Kernel, grid: [u32; 3], block: [u32; 3], dynamic: u64) -> Result<(), String> {
    let threads: u64 = block.iter().map(|b| u64::from(*b)).product();
    let blocks: u128 = grid.iter().map(|g| u128::from(*g)).product();
    if threads == 0 || threads > MOST_THREADS || block[2] > 64 {
        return Err(format!("{threads} threads in a block of {block:?}: 1 to {MOST_THREADS} are possible, 64 along z"));
    }
    if blocks == 0 || blocks * 1024 >= 1 << 31 || grid[1] > 65535 || grid[2] > 65535 {
        return Err(format!("a grid of {grid:?} is empty or too large"));
    }
    if !grid[0].is_multiple_of(kernel.cluster) || (kernel.cluster > 1 && grid[1] * grid[2] != 1) {
        return Err(format!("a grid of {grid:?} blocks for clusters of {} along x", kernel.cluster));
    }
    if let Some(required) = kernel.required_threads
        && required != block
    {
        return Err(format!("the kernel requires blocks of {required:?} (.reqntid), not {block:?}"));
    }
    if let Some(most) = kernel.max_threads {
        let most: u64 = most.iter().map(|b| u64::from(*b)).product();
        if threads > most {
            return Err(format!("{threads} threads in a block; the kernel admits {most} (.maxntid)"));
        }
    }
    let shared = kernel.shared_end - SHARED_START + dynamic;
    if shared > MOST_SHARED {
        return Err(format!("{shared} bytes of shared memory; {MOST_SHARED} are possible"));
    }
    Ok(())
}

fn parameters(kernel: &Kernel, arguments: &[Argument]) -> Result<Region, String> {
    if arguments.len() != kernel.params.len() {
        return Err(format!("{} arguments for {} parameters", arguments.len(), kernel.params.len()));
    }
    let mut region = Region::new(0, kernel.param_bytes);
    for ((name, offset, size), argument) in kernel.params.iter().zip(arguments) {
        if let Argument::TensorMap(map) = argument
            && let Some(complaint) = map.complaint()
        {
            return Err(format!("tensor map `{name}`: {complaint}"));
        }
        let bytes = argument.bytes();
        if bytes.len() as u64 != *size {
            return Err(format!("parameter `{name}` has {size} bytes; {argument:?} has {}", bytes.len()));
        }
        region.write(*offset, &bytes);
    }
    Ok(region)
}
