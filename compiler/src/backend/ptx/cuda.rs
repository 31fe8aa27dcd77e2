//! NVIDIA GPUs through the driver, which is looked for when it is needed: programs start without one.
//!
//! *Source*: CUDA Driver API 12.8.

use super::LANGUAGE;
use super::device::{Argument, Device, Grid, TensorMap};
use super::generation::Generation;
use super::image::{Image, Loader, Report};
use crate::tile::MOST_TENSOR_AXES;
use cudarc::driver::{DriverError, result, sys};
use kiln_ir::{DType, Diagnostic};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::panic::{UnwindSafe, catch_unwind, set_hook, take_hook};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// The oldest driver that reads [`LANGUAGE`]: of CUDA 11.8.
const OLDEST_DRIVER: i32 = 11_080;

/// The oldest driver whose recordings know of kernels that begin early: of CUDA 12.3.
const OLDEST_EARLY: i32 = 12_030;

/// Bytes for what the driver says of a module that it refuses.
const LOG_BYTES: usize = 8192;

/// What is known of a GPU.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Facts {
    /// Its number.
    pub number: i32,
    /// What it is called.
    pub name: String,
    /// Its generation: 8.0 is sm_80.
    pub compute_capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// What the driver knows: 12080 is CUDA 12.8.
    pub driver: i32,
}

impl Facts {
    /// The generation whose kernels are the fastest here.
    pub fn generation(&self) -> Generation {
        Generation::of_device(self.compute_capability, self.driver)
    }
}

/// The GPUs of this machine.
///
/// Errors: `cuda_driver` without a driver, or with one that is too old.
pub fn devices() -> Result<Vec<Facts>, Diagnostic> {
    guarded(|| {
        let driver = start()?;
        let count = result::device::get_count().map_err(|error| told("count devices", error))?;
        (0..count).map(|number| facts(number, driver)).collect()
    })
}

/// The GPU of that number.
///
/// Errors: as [`devices`]; `cuda` where there is no such GPU.
pub fn device(number: i32) -> Result<Facts, Diagnostic> {
    guarded(|| facts(number, start()?))
}

fn facts(number: i32, driver: i32) -> Result<Facts, Diagnostic> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
    };
    let ask = || -> Result<Facts, DriverError> {
        let device = result::device::get(number)?;
        // SAFETY: the driver gave this device.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) };
        let major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Facts {
            number,
            name: result::device::get_name(device)?,
            compute_capability: (major, minor),
            multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            // SAFETY: as above.
            memory_bytes: unsafe { result::device::total_mem(device)? },
            driver,
        })
    };
    ask().map_err(|error| told(&format!("say what device {number} is"), error))
}

/// Looks for the driver and starts it; gives its version. Errors: `cuda_driver`.
fn start() -> Result<i32, Diagnostic> {
    let none = |message: &str| Diagnostic::new("cuda_driver", message).help("run on the CPU instead: --backend cpu");
    // SAFETY: loading the driver's library runs its initialisers, as any program that uses it does.
    if !unsafe { sys::is_culib_present() } {
        return Err(none("there is no NVIDIA driver here: its library (libcuda.so.1, nvcuda.dll) cannot be loaded"));
    }
    match result::init() {
        Ok(()) => {}
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(none("there is an NVIDIA driver, but no GPU that it may use")),
        Err(error) => return Err(told("start", error)),
    }
    let mut version = 0;
    // SAFETY: the driver writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(|error| told("say its version", error))?;
    if version < OLDEST_DRIVER {
        let (found, wanted, (major, minor)) = (spelled(version), spelled(OLDEST_DRIVER), LANGUAGE);
        return Err(none(&format!("the NVIDIA driver is of CUDA {found}: PTX {major}.{minor} needs one of {wanted} or newer")));
    }
    Ok(version)
}

/// `11.8` of 11080.
fn spelled(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Whoever is asking the driver: there is one hook for panics of all threads.
static ASKING: Mutex<()> = Mutex::new(());

/// An old driver lacks functions, of which the bindings only panic; nobody needs to read that.
fn guarded<T>(ask: impl FnOnce() -> Result<T, Diagnostic> + UnwindSafe) -> Result<T, Diagnostic> {
    let _one = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(ask);
    set_hook(hook);
    outcome.unwrap_or_else(|_| {
        Err(Diagnostic::new("cuda_driver", "the NVIDIA driver lacks functions that are needed: it is too old").help("install a newer one"))
    })
}

fn told(what: &str, error: DriverError) -> Diagnostic {
    let name = error.error_name().map_or_else(|_| format!("{:?}", error.0), |name| name.to_string_lossy().into_owned());
    let text = error.error_string().map_or_else(|_| String::new(), |text| format!(": {}", text.to_string_lossy()));
    Diagnostic::new("cuda", format!("the NVIDIA driver could not {what} ({name}{text})"))
}

/// One GPU with a module, and a stream on which everything happens in order.
pub struct Gpu {
    module: sys::CUmodule,
    entries: HashMap<String, sys::CUfunction>,
    stream: sys::CUstream,
    report: Report,
    /// Whether kernels are launched while those before them end: they wait inside.
    begins_early: bool,
    multiprocessors: u32,
    marks: Vec<sys::CUevent>,
}

/// Launches that the driver runs at once.
pub struct Recording(sys::CUgraphExec);

impl Drop for Recording {
    fn drop(&mut self) {
        // SAFETY: the graph was instantiated here; the driver waits for one that runs.
        let _ = unsafe { result::graph::exec_destroy(self.0) };
    }
}

impl Gpu {
    /// Opens the device of that number, of which the image is, and loads it.
    ///
    /// Errors: `cuda_driver`; `cuda` with what the driver says of the module.
    pub fn open(number: i32, image: &Image<'_>) -> Result<Gpu, Diagnostic> {
        let module = image.module();
        guarded(|| {
            let driver = start()?;
            let device = result::device::get(number).map_err(|error| told(&format!("open device {number}"), error))?;
            // SAFETY: the driver gave this device; its primary context lives as long as the process.
            let context = unsafe { result::primary_ctx::retain(device) }.map_err(|error| told("open the device", error))?;
            // SAFETY: the context was just made.
            unsafe { result::ctx::set_current(context) }.map_err(|error| told("open the device", error))?;
            let (loaded, report) = image.load(&mut Driver)?;
            let mut entries = HashMap::new();
            for entry in module.entries.values() {
                let name = CString::new(entry.as_str()).expect("names of entries have no zeros");
                // SAFETY: the module is loaded.
                let function = unsafe { result::module::get_function(loaded, name) }.map_err(|error| told("find a kernel", error))?;
                if let Some(bytes) = module.shared_bytes.get(entry) {
                    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                    // SAFETY: the function was just found.
                    unsafe { result::function::set_function_attribute(function, attribute, *bytes as i32) }
                        .map_err(|error| told(&format!("give blocks of {entry} {bytes} bytes of shared memory"), error))?;
                }
                entries.insert(entry.clone(), function);
            }
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(|error| told("make a stream", error))?;
            let begins_early = module.generation.begins_early() && driver >= OLDEST_EARLY;
            let multiprocessors = facts(number, driver)?.multiprocessors.max(1) as u32;
            Ok(Gpu { module: loaded, entries, stream, report, begins_early, multiprocessors, marks: Vec::new() })
        })
    }

    /// How the module was loaded.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// The driver, with the context of a device.
struct Driver;

impl Loader for Driver {
    type Loaded = sys::CUmodule;

    fn load_cubin(&mut self, cubin: &[u8]) -> Result<sys::CUmodule, Diagnostic> {
        load(cubin, "load the machine code of the kernels")
    }

    fn load_text(&mut self, text: &str) -> Result<sys::CUmodule, Diagnostic> {
        load(text.as_bytes(), "load the kernels")
    }
}

/// Loads machine code as an assembler wrote it, or text; with the driver's own words where it refuses that.
fn load(image: &[u8], what: &str) -> Result<sys::CUmodule, Diagnostic> {
    use sys::CUjit_option_enum::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    // The end of a text; machine code says itself how long it is.
    let image = [image, &[0]].concat();
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The size is passed as if it were a pointer.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
    let mut module = null_mut();
    // SAFETY: the image ends in a zero, or where its own head says; the log has the size that is said, and both options have values.
    let status = unsafe { sys::cuModuleLoadDataEx(&raw mut module, image.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr()) };
    status.result().map_err(|error| {
        let said = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string();
        let error = told(what, error);
        if said.is_empty() { error } else { error.help(said) }
    })?;
    Ok(module)
}

/// An argument as the driver takes it: by its address.
enum Value {
    Word(u64),
    TensorMap(sys::CUtensorMap),
}

impl Value {
    fn of(argument: &Argument) -> Result<Value, Diagnostic> {
        match argument {
            Argument::Word(word) => Ok(Value::Word(*word)),
            Argument::TensorMap(map) => encoded(map).map(Value::TensorMap),
        }
    }

    fn place(&mut self) -> *mut c_void {
        match self {
            Value::Word(word) => (&raw mut *word).cast(),
            Value::TensorMap(map) => (&raw mut *map).cast(),
        }
    }
}

/// A tensor map as kernels take it. Errors: what the driver says.
fn encoded(map: &TensorMap) -> Result<sys::CUtensorMap, Diagnostic> {
    use sys::{
        CUtensorMapDataType_enum as Element, CUtensorMapFloatOOBfill_enum as Outside, CUtensorMapInterleave_enum as Interleave,
        CUtensorMapL2promotion_enum as Promotion, CUtensorMapSwizzle_enum as Swizzle,
    };
    let element = match map.dtype {
        DType::F16 => Element::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DType::BF16 => Element::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::F32 => Element::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        other => panic!("cuda: no tensor of {other} is copied in boxes"),
    };
    let rank = map.extents.len();
    assert!((1..=MOST_TENSOR_AXES).contains(&rank) && map.strides.len() == rank - 1 && map.boxes.len() == rank, "cuda: {map:?}");
    let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
    let steps = vec![1u32; rank];
    // SAFETY: all lists have as many elements as the rank says, strides one less; the driver reads them before it returns, and writes one map.
    let status = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
            element,
            rank as u32,
            map.address as *mut c_void,
            map.extents.as_ptr(),
            map.strides.as_ptr(),
            map.boxes.as_ptr(),
            steps.as_ptr(),
            Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            Outside::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    status.result().map_err(|error| told(&format!("describe the tensor {map:?}"), error))?;
    Ok(encoded)
}

impl Gpu {
    /// Waits until all that was launched is done. Errors: what failed meanwhile.
    fn wait(&self) -> Result<(), Diagnostic> {
        // SAFETY: the stream was made by `open`.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| told("run the kernels", error))
    }
}

impl Device for Gpu {
    type Recording = Recording;

    fn allocate(&mut self, bytes: u64) -> Result<u64, Diagnostic> {
        // SAFETY: what the memory holds is not read before it is written.
        unsafe { result::malloc_sync(bytes.max(1) as usize) }.map_err(|error| {
            let (free, all) = result::mem_get_info().unwrap_or((0, 0));
            Diagnostic::new("memory", format!("no memory for {bytes} bytes on the GPU: {free} of its {all} are free ({error:?})"))
        })
    }

    fn free(&mut self, address: u64) {
        // SAFETY: the address was allocated here. What fails while freeing shows up in the next call.
        let _ = unsafe { result::free_sync(address) };
    }

    fn upload(&mut self, address: u64, bytes: &[u8]) -> Result<(), Diagnostic> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller allocated as much. The driver has read memory like this when it returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream) }.map_err(|error| told("copy to the GPU", error))
    }

    fn download(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        self.wait()?;
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller allocated as much, and nothing is written to it meanwhile.
        unsafe { result::memcpy_dtoh_sync(bytes, address) }.map_err(|error| told("copy from the GPU", error))
    }

    fn launch(&mut self, entry: &str, grid: Grid, arguments: &[Argument]) -> Result<(), Diagnostic> {
        let mut values = arguments.iter().map(Value::of).collect::<Result<Vec<Value>, Diagnostic>>()?;
        let mut places: Vec<*mut c_void> = values.iter_mut().map(Value::place).collect();
        let failed = |error| told(&format!("launch {entry}"), error);
        // One of them fills a multiprocessor.
        let blocks = if grid.persistent { grid.most(self.multiprocessors) } else { grid.blocks };
        if !self.begins_early {
            let (shared_bytes, grid, block) = (grid.shared_bytes, (blocks, 1, 1), (grid.threads, 1, 1));
            // SAFETY: the entry takes as many parameters of these sizes, which the driver copies before it returns.
            let status = unsafe { result::launch_kernel(self.entries[entry], grid, block, shared_bytes, self.stream, &mut places) };
            return status.map_err(failed);
        }
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: blocks,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes,
            hStream: self.stream,
            attrs: &raw mut early,
            numAttrs: 1,
        };
        // SAFETY: as above; the configuration with its one attribute is read before the driver returns. The entry waits for the kernels
        // before it, as all of its module do.
        let status = unsafe { sys::cuLaunchKernelEx(&raw const config, self.entries[entry], places.as_mut_ptr(), null_mut()) };
        status.result().map_err(failed)
    }

    fn record(&mut self) -> Result<(), Diagnostic> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream was made by `open`.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(|error| told("record kernels", error))
    }

    fn recorded(&mut self) -> Result<Recording, Diagnostic> {
        let failed = |error| told("record kernels", error);
        // SAFETY: `record` began it; the graph is not used after it is destroyed.
        unsafe {
            let graph = result::stream::end_capture(self.stream).map_err(failed)?;
            let instantiated = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            instantiated.map(Recording).map_err(failed)
        }
    }

    fn replay(&mut self, recording: &Recording) -> Result<(), Diagnostic> {
        // SAFETY: both were made here.
        unsafe { result::graph::launch(recording.0, self.stream) }.map_err(|error| told("launch the kernels", error))
    }

    fn mark(&mut self) -> Result<(), Diagnostic> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(|error| told("make an event", error))?;
        self.marks.push(event);
        // SAFETY: both were made here.
        unsafe { result::event::record(event, self.stream) }.map_err(|error| told("record an event", error))
    }

    fn between_marks(&mut self) -> Result<Vec<f64>, Diagnostic> {
        let done = self.wait();
        let marks = std::mem::take(&mut self.marks);
        // SAFETY: the events were made and recorded by `mark`, and the stream is done with them.
        let elapsed = |pair: &[sys::CUevent]| unsafe { result::event::elapsed(pair[0], pair[1]) };
        let times: Result<Vec<f32>, DriverError> = marks.windows(2).map(elapsed).collect();
        marks.into_iter().for_each(|event| {
            // SAFETY: as above; nothing refers to it any more.
            let _ = unsafe { result::event::destroy(event) };
        });
        done?;
        let milliseconds = times.map_err(|error| told("measure kernels", error))?;
        Ok(milliseconds.into_iter().map(|time| f64::from(time) / 1e3).collect())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: the stream and the module were made by `open`, and nothing of them is used any more.
        unsafe {
            let _ = result::stream::destroy(self.stream);
            let _ = result::module::unload(self.module);
        }
    }
}
