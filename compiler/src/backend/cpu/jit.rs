//! A compiled model in the memory of this process.

use super::emit::{Isas, emit_main};
use super::entry::{Exports, WeightsSource};
use super::loaded::{LoadedCode, OBSERVER_SYMBOL, WEIGHTS_SYMBOL};
use super::target::{CpuTarget, Placement};
use crate::arrays::{to_array, to_tensor};
use crate::schedule::plan::ProgramPlan;
use cranelift_codegen::ir::{AbiParam, types};
use cranelift_module::{Linkage, Module as _};
use kiln_ir::artifact::{ABI_VERSION, ArenaBytesFn, ModelDescriptor, OutputShapesFn, PredictFn, Signature};
use kiln_ir::{Diagnostic, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::memory::AlignedBytes;
use kiln_runtime::model::Model;
use kiln_runtime::threads::ThreadPool;
use std::ptr;

/// A model that is compiled and ready to run here.
///
/// [`Predictor::model`] gives the runtime's view of it, with sessions that allocate nothing from call to call.
pub struct Predictor {
    /// Refers to everything below, hence dropped first.
    model: Model,
    _code: LoadedCode,
    _signature: Box<[u8]>,
    _weights: AlignedBytes,
}

impl Predictor {
    /// Compiles the main steps of a plan for this machine.
    ///
    /// Errors: `cpu_host` when the target is another machine; `memory`; what loading a model refuses.
    pub fn new(plan: &ProgramPlan, target: &CpuTarget, signature: &Signature, weights: AlignedBytes) -> Result<Predictor, Diagnostic> {
        Predictor::with_observer(plan, target, signature, weights, None)
    }

    /// As [`Predictor::new`]; `observer` is called with the `args_offset` of each launch after its kernel ran, and with −1 before the
    /// first.
    ///
    /// Errors: as there.
    pub fn with_observer(
        plan: &ProgramPlan,
        target: &CpuTarget,
        signature: &Signature,
        weights: AlignedBytes,
        observer: Option<extern "C" fn(i64)>,
    ) -> Result<Predictor, Diagnostic> {
        if !target.runs_here() {
            let message = format!("this machine cannot run code for {} with {}", target.triple(), target.features().join(", "));
            return Err(Diagnostic::new("cpu_host", message).help("compile with `--cpu native` to run here"));
        }
        let isas = Isas::new(target, Placement::Memory);
        let image = weights.as_slice();
        let mut module = LoadedCode::module(&isas, Some(image.as_ptr()), observer)?;
        let data = module.declare_data(WEIGHTS_SYMBOL, Linkage::Import, false, false);
        let data = data.unwrap_or_else(|error| panic!("jit: {error}"));
        let observer = observer.map(|_| {
            let mut signature = module.make_signature();
            signature.params = vec![AbiParam::new(types::I64)];
            let declared = module.declare_function(OBSERVER_SYMBOL, Linkage::Import, &signature);
            declared.unwrap_or_else(|error| panic!("jit: {error}"))
        });
        let exports = emit_main(&mut module, "model", plan, &isas, WeightsSource::Symbol(data), observer, &[]);
        let code = LoadedCode::load(module)?;
        let json = serde_json::to_vec(signature).unwrap_or_else(|error| panic!("jit: signature: {error}")).into_boxed_slice();
        let descriptor = descriptor(&code, &exports, &json, image, plan.weights.bytes);
        // SAFETY: the descriptor was just made; code, signature and weights live as long as the model, in one value.
        let model = unsafe { Model::load(&descriptor, None) }?;
        Ok(Predictor { model, _code: code, _signature: json, _weights: weights })
    }

    /// The runtime's view: signature, sessions.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Runs once; inputs and outputs are in the order of the signature.
    ///
    /// Errors: inputs that do not fit the signature; what generated code reports.
    pub fn run(&self, inputs: &[Tensor], pool: &ThreadPool) -> Result<Vec<Tensor>, Diagnostic> {
        let arrays: Vec<Array> = inputs.iter().map(to_array).collect::<Result<_, _>>()?;
        let mut session = self.model.session(&self.model.solve_symbols(&arrays)?, pool)?;
        session.run(&arrays)?;
        Ok(session.outputs().iter().map(to_tensor).collect())
    }
}

fn descriptor(code: &LoadedCode, exports: &Exports, signature: &[u8], weights: &[u8], weights_bytes: u64) -> ModelDescriptor {
    // SAFETY: each function was emitted with the C signature of the type it becomes.
    unsafe {
        ModelDescriptor {
            abi_version: ABI_VERSION,
            flags: 0,
            signature: signature.as_ptr(),
            signature_bytes: signature.len() as u64,
            weights: if weights_bytes == 0 { ptr::null() } else { weights.as_ptr() },
            weights_bytes,
            predict: std::mem::transmute::<*const u8, PredictFn>(code.address(exports.predict)),
            arena_bytes: std::mem::transmute::<*const u8, ArenaBytesFn>(code.address(exports.arena_bytes)),
            output_shapes: std::mem::transmute::<*const u8, OutputShapesFn>(code.address(exports.output_shapes)),
        }
    }
}
