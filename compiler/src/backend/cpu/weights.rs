//! Fills the weights image: copies parameters and constants, and runs `prepare` for the rest.

use super::emit::{Isas, emit_prepare};
use super::loaded::LoadedCode;
use super::target::{CpuLevel, CpuTarget, Placement};
use crate::kernel::BufferKind;
use crate::schedule::plan::{PreparePlan, ProgramPlan};
use crate::schedule::weights::value_of;
use kiln_ir::artifact::{Call, PredictFn, Status};
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Tensor};
use kiln_runtime::memory::AlignedBytes;
use kiln_runtime::threads::ThreadPool;
use std::collections::BTreeMap;
use std::ptr;

/// The weights image of a program, with these parameters.
///
/// `prepare` is compiled for `target` and run here; on a machine that lacks what the target has, for this machine instead
/// (results differ only where one of the two has no fused multiply-add).
///
/// Errors: `parameter` when a value is missing or of another type; `memory`.
pub fn fill_weights(
    plan: &ProgramPlan,
    parameters: &BTreeMap<String, Parameter>,
    target: &CpuTarget,
    pool: &ThreadPool,
) -> Result<AlignedBytes, Diagnostic> {
    let bytes = plan.weights.bytes;
    let image = usize::try_from(bytes).ok().and_then(AlignedBytes::zeroed);
    let mut image = image.ok_or_else(|| Diagnostic::new("memory", format!("no memory for {bytes} bytes of weights")))?;
    for (id, offset) in &plan.weights.offsets {
        if plan.program.buffer(*id).kind != BufferKind::Prepared {
            let tensor = value_of(&plan.program, parameters, *id)?;
            let start = *offset as usize;
            image.as_mut_slice()[start..start + tensor.bytes().len()].copy_from_slice(tensor.bytes());
        }
    }
    if let Some(prepare) = &plan.prepare {
        run_prepare(plan, prepare, parameters, target, pool, &mut image)?;
    }
    Ok(image)
}

fn run_prepare(
    plan: &ProgramPlan,
    prepare: &PreparePlan,
    parameters: &BTreeMap<String, Parameter>,
    target: &CpuTarget,
    pool: &ThreadPool,
    image: &mut AlignedBytes,
) -> Result<(), Diagnostic> {
    let here = if target.runs_here() { target.clone() } else { CpuTarget::host(CpuLevel::Native)? };
    let isas = Isas::new(&here, Placement::Memory);
    let mut module = LoadedCode::module(&isas, None, None)?;
    let function = emit_prepare(&mut module, "model", plan, prepare, &isas);
    let code = LoadedCode::load(module)?;
    // SAFETY: `m_prepare` has the type of `m_predict`.
    let run = unsafe { std::mem::transmute::<*const u8, PredictFn>(code.address(function)) };

    let sources: Vec<&Tensor> = prepare.sources.iter().map(|id| value_of(&plan.program, parameters, *id)).collect::<Result<_, _>>()?;
    let inputs: Vec<_> = sources.iter().map(|tensor| tensor.bytes().as_ptr().cast()).collect();
    let start = image.as_mut_ptr();
    // SAFETY: offsets of the plan lie inside the image, which has the plan's size.
    let outputs: Vec<_> = prepare.results.iter().map(|id| unsafe { start.add(plan.weights.offsets[id] as usize) }.cast()).collect();
    let arena_bytes = prepare.entry.fixed_arena_bytes(pool.workers() as i64).expect("prepare has no symbolic sizes");
    let arena = usize::try_from(arena_bytes).ok().and_then(AlignedBytes::zeroed);
    let mut arena = arena.ok_or_else(|| Diagnostic::new("memory", format!("no memory for {arena_bytes} bytes to prepare weights")))?;
    let (pool, mut detail) = (pool.as_abi(), -1);
    let call = Call {
        inputs: inputs.as_ptr(),
        outputs: outputs.as_ptr(),
        dims: ptr::null(),
        arena: arena.as_mut_ptr().cast(),
        arena_bytes,
        weights: ptr::null(),
        pool: &raw const pool,
        detail: &raw mut detail,
        output_dims: ptr::null_mut(),
    };
    // SAFETY: inputs and outputs have the sizes of their buffers, the arena the size of the plan; the code is alive.
    let status = unsafe { run(&raw const call) };
    match Status::from_code(status) {
        Some(Status::Ok) => Ok(()),
        Some(Status::Index) => {
            let node = usize::try_from(detail).ok().and_then(|at| plan.program.checked_nodes.get(at)).map_or("?", String::as_str);
            Err(Diagnostic::new("index", format!("node `{node}` indexes constants out of range")))
        }
        _ => panic!("prepare of {} answered {status} ({detail})", plan.program.name),
    }
}
