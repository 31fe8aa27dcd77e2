//! A CUDA driver without a GPU: the functions of `libcuda` that Kiln calls, over the interpreter of PTX. Programs that load it from
//! `LD_LIBRARY_PATH` run on one device of sm_80, or of the generation that `KILN_CUDA_DRIVER_CAPABILITY` says (`9.0`), from the command line to
//! the last copy, and faults are errors of the next call.
//!
//! What it takes for machine code is the same text behind the head [`CUBIN`], which assemblers of tests write.
//!
//! *Source*: CUDA Driver API 12.8: names, arguments and numbers of errors.

#![allow(non_snake_case, reason = "the driver's names")]
#![allow(clippy::missing_safety_doc, reason = "as the driver's manual says: pointers are valid, handles were given by it")]

use kiln_ptx::{Argument, Device, Module, Swizzle, TensorMap};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, MutexGuard};

/// `CUresult`.
type Status = c_int;
/// A handle: a number that the program takes for a pointer.
type Handle = usize;

const SUCCESS: Status = 0;
const INVALID_VALUE: Status = 1;
const OUT_OF_MEMORY: Status = 2;
const INVALID_IMAGE: Status = 200;
const INVALID_PTX: Status = 218;
const INVALID_HANDLE: Status = 400;
const NOT_FOUND: Status = 500;
const LAUNCH_FAILED: Status = 719;

/// Bytes of memory, unless `KILN_CUDA_DRIVER_MEMORY` says another number.
const MEMORY: u64 = 1 << 30;
/// The version of CUDA: 12.8.
pub const VERSION: c_int = 12_080;

/// How machine code of this device begins: as an ELF file. A text ends in a zero here, too.
pub const CUBIN: &[u8] = b"\x7fELF of the interpreter\n";

/// A launch: module, kernel, grid, block, dynamic shared memory, arguments.
#[derive(Clone)]
struct Launch {
    module: Handle,
    kernel: String,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u64,
    arguments: Vec<Argument>,
}

struct Driver {
    device: Device,
    used: u64,
    sizes: Vec<(u64, u64)>,
    modules: Vec<Option<Module>>,
    functions: Vec<(Handle, String)>,
    /// What is launched while it is recorded.
    recording: Option<Vec<Launch>>,
    graphs: Vec<Vec<Launch>>,
    /// Instructions of warps until now, at each event.
    events: Vec<u64>,
    instructions: u64,
    seed: u64,
    /// A kernel has failed: nothing works any more.
    failed: bool,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

/// The driver, started if need be.
fn driver() -> MutexGuard<'static, Option<Driver>> {
    let mut driver = DRIVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    driver.get_or_insert_with(|| Driver {
        device: Device::new(),
        used: 0,
        sizes: Vec::new(),
        modules: Vec::new(),
        functions: Vec::new(),
        recording: None,
        graphs: Vec::new(),
        events: Vec::new(),
        instructions: 0,
        seed: 0,
        failed: false,
    });
    driver
}

/// Does `work` with the driver, unless a kernel has failed.
fn with(work: impl FnOnce(&mut Driver) -> Status) -> Status {
    let mut guard = driver();
    let driver = guard.as_mut().expect("it was started");
    if driver.failed { LAUNCH_FAILED } else { work(driver) }
}

/// Bytes of memory.
fn memory() -> u64 {
    std::env::var("KILN_CUDA_DRIVER_MEMORY").ok().and_then(|text| text.parse().ok()).unwrap_or(MEMORY)
}

/// Major and minor number of the compute capability.
fn capability() -> (c_int, c_int) {
    let text = std::env::var("KILN_CUDA_DRIVER_CAPABILITY").unwrap_or_default();
    let said = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    said.unwrap_or((8, 0))
}

impl Driver {
    fn run(&mut self, launch: &Launch) {
        let Some(module) = self.modules.get(launch.module).and_then(Option::as_ref) else { return };
        self.seed += 1;
        let Launch { kernel, grid, block, shared, arguments, .. } = launch;
        match self.device.launch(module, kernel, *grid, *block, *shared, arguments, self.seed) {
            Ok(done) => self.instructions += done.warp_instructions,
            Err(fault) => {
                eprintln!("the interpreter of PTX: {fault}");
                self.failed = true;
            }
        }
    }
}

/// Writes what a function gives.
///
/// # Safety
/// `to` is null or valid.
unsafe fn give<T>(to: *mut T, value: T) -> Status {
    if to.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(value) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: of the caller.
    unsafe { give(version, VERSION) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    // SAFETY: of the caller.
    unsafe { give(count, 1) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    if ordinal != 0 {
        return INVALID_VALUE;
    }
    // SAFETY: of the caller.
    unsafe { give(device, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, _device: c_int) -> Status {
    let text = c"Interpreter of PTX".to_bytes_with_nul();
    let count = text.len().min(length.max(0) as usize);
    // SAFETY: of the caller, who says how long it is.
    unsafe { text.as_ptr().cast::<c_char>().copy_to(name, count) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, _device: c_int) -> Status {
    // Multiprocessors; major and minor number of the compute capability.
    let found = match attribute {
        16 => 4,
        75 => capability().0,
        76 => capability().1,
        _ => return INVALID_VALUE,
    };
    // SAFETY: of the caller.
    unsafe { give(value, found) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> Status {
    // SAFETY: of the caller.
    unsafe { give(bytes, memory() as usize) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, _device: c_int) -> Status {
    // SAFETY: of the caller.
    unsafe { give(context, 1) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(_context: Handle) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut Handle,
    image: *const c_char,
    count: c_uint,
    options: *const c_uint,
    values: *const *mut c_void,
) -> Status {
    /// `CU_JIT_ERROR_LOG_BUFFER`, `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
    const LOG: [c_uint; 2] = [5, 6];
    // SAFETY: PTX ends in a zero, and an ELF file has one in its head.
    let image = unsafe { CStr::from_ptr(image) };
    let is_text = !image.to_bytes().starts_with(b"\x7fELF");
    let text = std::str::from_utf8(image.to_bytes().strip_prefix(CUBIN).unwrap_or(image.to_bytes()));
    let parsed = text.map_err(|error| error.to_string()).and_then(|text| Module::parse(text).map_err(|error| error.to_string()));
    match parsed {
        Ok(parsed) => with(|driver| {
            driver.modules.push(Some(parsed));
            // SAFETY: of the caller.
            unsafe { give(module, driver.modules.len()) }
        }),
        Err(said) => {
            // SAFETY: there are as many options and values as the caller says.
            let option = |which| (0..count as usize).find(|at| unsafe { *options.add(*at) } == which).map(|at| unsafe { *values.add(at) });
            if let (Some(log), Some(bytes)) = (option(LOG[0]), option(LOG[1])) {
                let length = said.len().min((bytes as usize).saturating_sub(1));
                // SAFETY: the caller says how long the log is.
                unsafe { said.as_ptr().copy_to(log.cast(), length) };
            }
            if is_text { INVALID_PTX } else { INVALID_IMAGE }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> Status {
    // SAFETY: of the caller.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    with(|driver| {
        let Some(Some(found)) = driver.modules.get(module - 1) else { return INVALID_HANDLE };
        if !found.kernel_names().any(|kernel| kernel == name) {
            return NOT_FOUND;
        }
        driver.functions.push((module - 1, name));
        // SAFETY: of the caller.
        unsafe { give(function, driver.functions.len()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: Handle, _attribute: c_uint, _value: c_int) -> Status {
    // Of any kernel as much shared memory is taken as a launch says.
    with(|driver| if driver.functions.get(function - 1).is_some() { SUCCESS } else { INVALID_HANDLE })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: Handle) -> Status {
    with(|driver| match driver.modules.get_mut(module - 1) {
        Some(found) => {
            *found = None;
            SUCCESS
        }
        None => INVALID_HANDLE,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    with(|driver| {
        let bytes = bytes as u64;
        if bytes == 0 {
            return INVALID_VALUE;
        }
        if bytes > memory().saturating_sub(driver.used) {
            return OUT_OF_MEMORY;
        }
        let found = driver.device.alloc(bytes);
        driver.used += bytes;
        driver.sizes.push((found, bytes));
        // SAFETY: of the caller.
        unsafe { give(address, found) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Status {
    with(|driver| {
        let Some(at) = driver.sizes.iter().position(|(found, _)| *found == address) else { return INVALID_VALUE };
        driver.used -= driver.sizes.swap_remove(at).1;
        driver.device.free(address).map_or(INVALID_VALUE, |()| SUCCESS)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    with(|driver| {
        // SAFETY: of the caller.
        unsafe {
            give(free, memory().saturating_sub(driver.used) as usize);
            give(total, memory() as usize)
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, _stream: Handle) -> Status {
    // SAFETY: of the caller.
    let bytes = unsafe { std::slice::from_raw_parts(from, bytes) };
    with(
        |driver| {
            if driver.recording.is_some() { INVALID_VALUE } else { driver.device.write(to, bytes).map_or(INVALID_VALUE, |()| SUCCESS) }
        },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize) -> Status {
    with(|driver| match driver.device.read(from, bytes as u64) {
        Ok(content) => {
            // SAFETY: of the caller.
            unsafe { content.as_ptr().copy_to(to, bytes) };
            SUCCESS
        }
        Err(fault) => {
            eprintln!("the interpreter of PTX: {fault}");
            INVALID_VALUE
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> Status {
    // SAFETY: of the caller.
    unsafe { give(stream, 1) }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: Handle) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: Handle) -> Status {
    with(|driver| if driver.recording.is_some() { INVALID_VALUE } else { SUCCESS })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the driver's")]
unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    _stream: Handle,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> Status {
    with(|driver| {
        let Some((module, kernel)) = driver.functions.get(function - 1).cloned() else { return INVALID_HANDLE };
        let Some(Some(found)) = driver.modules.get(module) else { return INVALID_HANDLE };
        let sizes = found.parameter_bytes(&kernel).expect("the function was found");
        let argument = |(at, bytes): (usize, u64)| {
            // SAFETY: of the caller, who passes as many pointers to values as large.
            let bytes = unsafe { std::slice::from_raw_parts((*parameters.add(at)).cast::<u8>(), bytes as usize) };
            Argument::Bytes(bytes.to_vec())
        };
        let arguments = sizes.into_iter().enumerate().map(argument).collect();
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let launch = Launch { module, kernel, grid, block, shared: u64::from(shared), arguments };
        match &mut driver.recording {
            Some(recording) => recording.push(launch),
            None => driver.run(&launch),
        }
        SUCCESS
    })
}

/// `CUlaunchConfig`.
#[repr(C)]
struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const c_void,
    attribute_count: c_uint,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernelEx(
    config: *const LaunchConfig,
    function: Handle,
    parameters: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Status {
    // SAFETY: of the caller. Kernels run one after the other here, whatever the attributes allow.
    unsafe {
        let LaunchConfig { grid: [x, y, z], block: [block_x, block_y, block_z], shared, stream, .. } = *config;
        cuLaunchKernel(function, x, y, z, block_x, block_y, block_z, shared, stream, parameters, extra)
    }
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the driver's")]
unsafe extern "C" fn cuTensorMapEncodeTiled(
    to: *mut [u8; 128],
    element: c_uint,
    rank: c_uint,
    address: u64,
    dims: *const u64,
    strides: *const u64,
    boxes: *const u32,
    steps: *const u32,
    interleave: c_uint,
    swizzle: c_uint,
    _promotion: c_uint,
    fill: c_uint,
) -> Status {
    let rank = rank as usize;
    // Half, float and bfloat16; boxes of neighbours, in lines of 128 bytes whose chunks are exchanged, with zeros outside.
    let element_bytes = match element {
        6 | 9 => 2,
        7 => 4,
        _ => return INVALID_VALUE,
    };
    if !(1..=5).contains(&rank) || (interleave, swizzle, fill) != (0, 3, 0) || !(to as usize).is_multiple_of(64) {
        return INVALID_VALUE;
    }
    // SAFETY: of the caller, who passes as many numbers as the rank says, strides one less.
    let (dims, strides, boxes, steps) = unsafe {
        let list = |from: *const u64, count| std::slice::from_raw_parts(from, count).to_vec();
        let short = |from: *const u32| std::slice::from_raw_parts(from, rank).iter().map(|n| u64::from(*n)).collect::<Vec<u64>>();
        (list(dims, rank), list(strides, rank - 1), short(boxes), short(steps))
    };
    let map = TensorMap { address, element_bytes, dims, strides, box_dims: boxes, swizzle: Swizzle::B128 };
    if let Some(complaint) = map.complaint() {
        eprintln!("the interpreter of PTX: {map:?}: {complaint}");
        return INVALID_VALUE;
    }
    if steps.iter().any(|step| *step != 1) {
        return INVALID_VALUE;
    }
    // SAFETY: of the caller.
    unsafe { give(to, map.encode()) }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(_stream: Handle, _mode: c_uint) -> Status {
    with(|driver| {
        driver.recording = Some(Vec::new());
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(_stream: Handle, graph: *mut Handle) -> Status {
    with(|driver| {
        let Some(recording) = driver.recording.take() else { return INVALID_VALUE };
        driver.graphs.push(recording);
        // SAFETY: of the caller.
        unsafe { give(graph, driver.graphs.len()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(executable: *mut Handle, graph: Handle, _flags: u64) -> Status {
    with(|driver| {
        let Some(recording) = driver.graphs.get(graph - 1).cloned() else { return INVALID_HANDLE };
        driver.graphs.push(recording);
        // SAFETY: of the caller.
        unsafe { give(executable, driver.graphs.len()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: Handle) -> Status {
    with(|driver| {
        driver.graphs.get_mut(graph - 1).map_or(INVALID_HANDLE, |graph| {
            graph.clear();
            SUCCESS
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(executable: Handle) -> Status {
    cuGraphDestroy(executable)
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(executable: Handle, _stream: Handle) -> Status {
    with(|driver| {
        let Some(recording) = driver.graphs.get(executable - 1).cloned() else { return INVALID_HANDLE };
        recording.iter().for_each(|launch| driver.run(launch));
        SUCCESS
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Status {
    with(|driver| {
        driver.events.push(0);
        // SAFETY: of the caller.
        unsafe { give(event, driver.events.len()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, _stream: Handle) -> Status {
    with(|driver| {
        let now = driver.instructions;
        driver.events.get_mut(event - 1).map_or(INVALID_HANDLE, |event| {
            *event = now;
            SUCCESS
        })
    })
}

/// In milliseconds; an instruction of a warp counts as a nanosecond.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, from: Handle, to: Handle) -> Status {
    with(|driver| {
        let [Some(from), Some(to)] = [from, to].map(|event| driver.events.get(event - 1)) else { return INVALID_HANDLE };
        // SAFETY: of the caller.
        unsafe { give(milliseconds, (to - from) as f32 * 1e-6) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(_event: Handle) -> Status {
    SUCCESS
}

/// Name and words of an error.
fn told(error: Status) -> (&'static CStr, &'static CStr) {
    match error {
        SUCCESS => (c"CUDA_SUCCESS", c"no error"),
        OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        INVALID_IMAGE => (c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
        INVALID_PTX => (c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
        INVALID_HANDLE => (c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
        NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        LAUNCH_FAILED => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        _ => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: Status, text: *mut *const c_char) -> Status {
    // SAFETY: of the caller.
    unsafe { give(text, told(error).0.as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: Status, text: *mut *const c_char) -> Status {
    // SAFETY: of the caller.
    unsafe { give(text, told(error).1.as_ptr()) }
}
