//! Runs the small kernels of `golden/` on an NVIDIA GPU and keeps what they give: `record_goldens DIR [NAME…]`.
//!
//! `cargo build -p kiln-ptx --example record_goldens` makes a program that needs nothing but itself and the driver. It writes `NAME.golden`
//! for each case, or for those that are named, and prints a line a case; it ends with 1 if one failed. A kernel that ends the context, or
//! does not end, takes the process with it: each run of cases is a process of its own, and another goes on behind the case that failed.

#[path = "../golden/mod.rs"]
mod golden;

use cudarc::driver::{DriverError, result, sys};
use golden::file::{Golden, Outcome};
use golden::{Case, Map, Parameter};
use std::ffi::{CString, c_void};
use std::path::Path;
use std::process::{Command, ExitCode, exit};
use std::ptr::null_mut;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a kernel may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How a process ends that another must go on for.
const GO_ON: i32 = 3;
/// Bytes for what the driver says of a module that it refuses.
const LOG_BYTES: usize = 8192;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next().filter(|a| !a.starts_with('-')) else {
        eprintln!("usage: record_goldens DIR [NAME…]\nRuns kernels on the GPU and writes what they give to DIR/NAME.golden.");
        return ExitCode::from(2);
    };
    let mut rest: Vec<String> = arguments.collect();
    // A process of ours begins at this case.
    let from = rest.first().and_then(|a| a.strip_prefix("--from=")).and_then(|n| n.parse().ok());
    if from.is_some() {
        rest.remove(0);
    }
    let mut cases = golden::cases();
    cases.retain(|c| rest.is_empty() || rest.contains(&c.name));
    if let Some(missing) = rest.iter().find(|n| !cases.iter().any(|c| c.name == **n)) {
        eprintln!("there is no case {missing}");
        return ExitCode::from(2);
    }
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("{folder}: {error}");
        return ExitCode::from(2);
    }
    match from {
        Some(from) => record(&folder, &cases, from),
        None => supervise(&folder, &rest, cases.len()),
    }
}

/// Starts processes until all cases were tried.
fn supervise(folder: &str, names: &[String], cases: usize) -> ExitCode {
    let progress = Path::new(folder).join(".next");
    let (mut from, mut failed) = (0, false);
    while from < cases {
        let program = match std::env::current_exe() {
            Ok(program) => program,
            Err(error) => {
                eprintln!("this program does not know where it lies: {error}");
                return ExitCode::from(2);
            }
        };
        let _ = std::fs::write(&progress, from.to_string());
        let ended = Command::new(program).arg(folder).arg(format!("--from={from}")).args(names).status();
        match ended.map(|s| s.code()) {
            Ok(Some(0)) => break,
            Ok(Some(1)) => {
                failed = true;
                break;
            }
            Ok(Some(2)) => return ExitCode::from(2),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
            // The case that it was at was stopped, or ended the process.
            Ok(code) => {
                failed |= code != Some(GO_ON);
                let reached = std::fs::read_to_string(&progress).ok().and_then(|t| t.parse().ok()).unwrap_or(from);
                from = reached.max(from) + 1;
            }
        }
    }
    let _ = std::fs::remove_file(&progress);
    ExitCode::from(u8::from(failed))
}

/// What the driver says of a call that failed.
fn told(what: &str, error: DriverError) -> String {
    format!("the driver could not {what}: {}", name(error))
}

fn name(error: DriverError) -> String {
    error.error_name().map_or_else(|_| format!("{:?}", error.0), |n| n.to_string_lossy().into_owned())
}

fn record(folder: &str, cases: &[Case], from: usize) -> ExitCode {
    let (gpu, driver, stream) = match open() {
        Ok(facts) => facts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for (i, case) in cases.iter().enumerate().skip(from) {
        let _ = std::fs::write(Path::new(folder).join(".next"), i.to_string());
        match run(case, stream) {
            Ok(results) => {
                let bytes = results.len();
                match keep(folder, case, Golden { gpu: gpu.clone(), driver: driver.clone(), outcome: Outcome::Results(results) }) {
                    Ok(size) => println!("{}: {bytes} bytes of results, {size} in the file", case.name),
                    Err(error) => {
                        eprintln!("{error}");
                        return ExitCode::from(2);
                    }
                }
            }
            Err(Failure::Refused(message)) => {
                println!("{}: FAILED: {message}", case.name);
                failed = true;
            }
            Err(Failure::Stopped(error)) => {
                println!("{}: stopped: {error}", case.name);
                if let Err(error) = keep(folder, case, Golden { gpu, driver, outcome: Outcome::Stopped(error) }) {
                    eprintln!("{error}");
                    return ExitCode::from(2);
                }
                // The context is of no more use.
                exit(GO_ON);
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Writes a golden and gives its size.
fn keep(folder: &str, case: &Case, golden: Golden) -> Result<usize, String> {
    let path = Path::new(folder).join(format!("{}.golden", case.name));
    let bytes = golden.write().map_err(|error| error.to_string())?;
    std::fs::write(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes.len())
}

/// Opens the first device; gives its name, the version of the driver and a stream.
fn open() -> Result<(String, String, sys::CUstream), String> {
    // SAFETY: loading the driver's library runs its initialisers, as any program that uses it does.
    if !unsafe { sys::is_culib_present() } {
        return Err("there is no NVIDIA driver here".into());
    }
    let ask = || -> Result<(String, String, sys::CUstream), DriverError> {
        result::init()?;
        let device = result::device::get(0)?;
        // SAFETY: the driver gave this device; its primary context lives as long as the process.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        // SAFETY: the context was just made.
        unsafe { result::ctx::set_current(context) }?;
        let mut version = 0;
        // SAFETY: the driver writes one int.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        Ok((result::device::get_name(device)?, format!("CUDA {}.{}", version / 1000, version % 1000 / 10), stream))
    };
    ask().map_err(|error| told("open the device", error))
}

enum Failure {
    /// The case cannot be run; others can.
    Refused(String),
    /// Hardware stopped the kernel: the driver's name of the error.
    Stopped(String),
}

/// Runs a case and gives its results.
fn run(case: &Case, stream: sys::CUstream) -> Result<Vec<u8>, Failure> {
    let refused = |what: &'static str| move |error| Failure::Refused(told(what, error));
    let module = load(&case.text)?;
    // SAFETY: the module is loaded, and unloaded only below.
    let function = unsafe { result::module::get_function(module, CString::new(case.kernel).expect("names have no zeros")) };
    let function = function.map_err(refused("find the kernel"))?;
    let mut addresses = Vec::new();
    for parameter in &case.parameters {
        addresses.push(match parameter {
            Parameter::Data { bytes, .. } => {
                // SAFETY: all of it is written before it is read.
                let address = unsafe { result::malloc_sync(bytes.len().max(1)) }.map_err(refused("find memory"))?;
                // SAFETY: it was just allocated, and the bytes live as long as the case.
                unsafe { result::memcpy_htod_async(address, bytes, stream) }.map_err(refused("copy operands"))?;
                address
            }
            Parameter::Number(number) => *number,
            Parameter::Map(_) => 0,
        });
    }
    // A parameter is 64 bits, or a map of 128 bytes.
    let mut maps = Vec::new();
    for parameter in &case.parameters {
        if let Parameter::Map(map) = parameter {
            maps.push(encode(map, addresses[map.of])?);
        }
    }
    let (mut numbers, mut next) = (addresses.clone(), maps.iter_mut());
    let mut places = Vec::new();
    for (parameter, number) in case.parameters.iter().zip(&mut numbers) {
        places.push(match (parameter, number) {
            (Parameter::Map(_), _) => (&raw mut *next.next().expect("one for each")).cast::<c_void>(),
            (_, number) => (&raw mut *number).cast::<c_void>(),
        });
    }
    let (grid, block) = ((case.blocks, 1, 1), (case.threads, 1, 1));
    // SAFETY: the kernel has these parameters, which the driver copies before it returns.
    unsafe { result::launch_kernel(function, grid, block, 0, stream, &mut places) }.map_err(refused("launch the kernel"))?;
    let watch = watch(&case.name);
    // SAFETY: the stream was made by `open`.
    let ended = unsafe { result::stream::synchronize(stream) };
    drop(watch);
    ended.map_err(|error| Failure::Stopped(name(error)))?;
    let mut results = Vec::new();
    for (parameter, address) in case.parameters.iter().zip(&addresses) {
        let Parameter::Data { bytes, result: kept, .. } = parameter else { continue };
        if *kept {
            let mut read = vec![0u8; bytes.len()];
            // SAFETY: as much was allocated, and nothing writes to it any more.
            unsafe { result::memcpy_dtoh_sync(&mut read, *address) }.map_err(refused("copy results"))?;
            results.extend(read);
        }
        // SAFETY: it was allocated above.
        unsafe { result::free_sync(*address) }.map_err(refused("free memory"))?;
    }
    // SAFETY: nothing of it runs.
    unsafe { result::module::unload(module) }.map_err(refused("unload the kernel"))?;
    Ok(results)
}

/// Ends the process if what is returned lives too long.
fn watch(name: &str) -> Sender<()> {
    let (sender, receiver) = channel();
    let name = name.to_string();
    std::thread::spawn(move || {
        if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            println!("{name}: FAILED: the kernel has not ended after {PATIENCE:?}");
            // The driver would wait for the kernel if the process ended as usual.
            std::process::abort();
        }
    });
    sender
}

/// Loads PTX, with the driver's own words where it refuses it.
fn load(text: &str) -> Result<sys::CUmodule, Failure> {
    use sys::CUjit_option_enum::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    let image = CString::new(text).expect("PTX has no zeros");
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The size is passed as if it were a pointer.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
    let mut module = null_mut();
    // SAFETY: the image ends in a zero, the log has the size that is said, and both options have values.
    let status = unsafe { sys::cuModuleLoadDataEx(&raw mut module, image.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr()) };
    let said = || String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string();
    status.result().map_err(|error| Failure::Refused(format!("{}\n{}", told("load the kernel", error), said())))?;
    Ok(module)
}

fn encode(map: &Map, address: u64) -> Result<sys::CUtensorMap, Failure> {
    use sys::CUtensorMapSwizzle_enum as Swizzle;
    let element = match map.element_bytes {
        1 => sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        2 => sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_UINT16,
        4 => sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        _ => sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_UINT64,
    };
    let swizzle = match map.swizzle {
        128 => Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        64 => Swizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        32 => Swizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        _ => Swizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
    };
    let boxes: Vec<u32> = map.box_dims.iter().map(|b| *b as u32).collect();
    let ones = vec![1u32; boxes.len()];
    let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: the arrays have as many numbers as the rank says (strides: one less), and the driver reads no more.
    let status = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
            element,
            boxes.len() as u32,
            address as *mut c_void,
            map.dims.as_ptr(),
            map.strides.as_ptr(),
            boxes.as_ptr(),
            ones.as_ptr(),
            sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_NONE,
            sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    status.result().map_err(|error| Failure::Refused(told("encode the tensor map", error)))?;
    Ok(encoded)
}
