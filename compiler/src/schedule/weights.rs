//! Where parameters, constants and what `prepare` computes of them lie in the weights image.

use super::memory::buffer_bytes;
use crate::kernel::{BufferId, BufferKind, Program, Step, buffers_touched};
use kiln_ir::artifact::ALIGNMENT;
use kiln_ir::graph::Parameter;
use kiln_ir::{Diagnostic, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Offsets in the weights image.
#[derive(Clone, PartialEq, Debug)]
pub struct WeightsPlan {
    /// Byte offset of each buffer that the main steps read: a multiple of 64.
    pub offsets: BTreeMap<BufferId, u64>,
    /// Size of the image.
    pub bytes: u64,
}

/// Plans the image: what the main steps read, in the program's order. What only `prepare` reads is not in it.
///
/// Errors: `arena_too_large` when a size is beyond any memory.
pub fn plan_weights(program: &Program) -> Result<WeightsPlan, Diagnostic> {
    let mut plan = WeightsPlan { offsets: BTreeMap::new(), bytes: 0 };
    for id in buffers_touched(&program.steps) {
        if is_weight(program, id) {
            let bytes = buffer_bytes(program, id)?
                .as_const()
                .unwrap_or_else(|| panic!("weights: `{}` has a symbolic size", program.buffer(id).name));
            plan.offsets.insert(id, plan.bytes);
            plan.bytes = (plan.bytes + bytes.max(0) as u64).next_multiple_of(ALIGNMENT as u64);
        }
    }
    Ok(plan)
}

fn is_weight(program: &Program, id: BufferId) -> bool {
    match program.buffer(id).kind {
        BufferKind::Constant(_) | BufferKind::Parameter(_) | BufferKind::Prepared => true,
        BufferKind::Input(_) | BufferKind::Output(_) | BufferKind::Temporary => false,
    }
}

/// Parameters and constants that the steps read.
pub fn sources_of(program: &Program, steps: &[Step]) -> Vec<BufferId> {
    let is_source = |id: &BufferId| matches!(program.buffer(*id).kind, BufferKind::Constant(_) | BufferKind::Parameter(_));
    buffers_touched(steps).into_iter().filter(is_source).collect()
}

/// What the steps keep for themselves: temporaries, and for `prepare` also what the main steps never read.
pub fn scratch_of(program: &Program, steps: &[Step], weights: &WeightsPlan) -> BTreeSet<BufferId> {
    let is_scratch = |id: &BufferId| match program.buffer(*id).kind {
        BufferKind::Temporary => true,
        BufferKind::Prepared => !weights.offsets.contains_key(id),
        BufferKind::Input(_) | BufferKind::Output(_) | BufferKind::Constant(_) | BufferKind::Parameter(_) => false,
    };
    buffers_touched(steps).into_iter().filter(is_scratch).collect()
}

/// The value of a parameter or constant.
///
/// Errors: `parameter` when it is missing or of another type.
pub fn value_of<'a>(program: &'a Program, parameters: &'a BTreeMap<String, Parameter>, id: BufferId) -> Result<&'a Tensor, Diagnostic> {
    let buffer = program.buffer(id);
    let name = match &buffer.kind {
        BufferKind::Constant(tensor) => return Ok(tensor),
        BufferKind::Parameter(name) => name,
        BufferKind::Input(_) | BufferKind::Output(_) | BufferKind::Prepared | BufferKind::Temporary => {
            panic!("weights: `{}` is no parameter", buffer.name)
        }
    };
    let parameter = parameters.get(&**name).and_then(|parameter| parameter.value.as_ref());
    let tensor = parameter.ok_or_else(|| Diagnostic::new("parameter", format!("parameter `{name}` has no value")))?;
    let expected: Option<Vec<usize>> = buffer.shape.iter().map(|dim| dim.as_const().and_then(|n| usize::try_from(n).ok())).collect();
    if tensor.dtype() != buffer.dtype || expected.as_deref() != Some(tensor.shape()) {
        let shape: Vec<String> = buffer.shape.iter().map(ToString::to_string).collect();
        let message = format!("parameter `{name}` is {}, the model needs {}[{}]", tensor.ty(), buffer.dtype, shape.join(", "));
        return Err(Diagnostic::new("parameter", message));
    }
    Ok(tensor)
}
