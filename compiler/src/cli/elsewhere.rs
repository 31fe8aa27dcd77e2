//! Functions of training that are not compiled for this CPU: on an NVIDIA GPU, or in the reference interpreter.

use super::args::Backend;
use super::engine::{Answering, describe, on_gpu};
use super::model::{Loaded, Trainable, predict};
use kiln::arrays::{to_array, to_tensor};
use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::cuda::Gpu;
use kiln::backend::ptx::image::Kind;
use kiln::backend::ptx::run::Session;
use kiln::pipeline::Config;
use kiln::training::TrainingPlan;
use kiln_ir::artifact::Signature;
use kiln_ir::{Diagnostic, Module, Tensor};
use kiln_runtime::arrays::Array;
use kiln_runtime::program::network::Network;
use kiln_runtime::training::stepper::{Function, Functions};

/// The functions of a plan on a backend other than compiled code, and how the kernels of the step were loaded where it has some.
///
/// Errors: what the compiler reports; of the device.
pub fn functions(
    plan: &TrainingPlan,
    trainable: &Trainable,
    backend: Backend,
    config: &Config,
) -> Result<(Functions<'static>, Option<Kind>), Vec<Diagnostic>> {
    let of = |module: &Module, states: usize, config: &Config| function(module, states, plan, trainable, backend, config);
    // Without a backward pass there is nothing to compute again, and the step is what takes the time.
    let forward = Config { memory: None, tune: None, ..config.clone() };
    let (step, image) = of(&plan.step, plan.recipe.states.len(), config)?;
    Ok((Functions { step, evaluation: of(&plan.evaluation, 0, &forward)?.0, trace: of(&plan.trace, 0, &forward)?.0 }, image))
}

/// The evaluation alone.
///
/// Errors: as [`functions`].
pub fn evaluation(
    plan: &TrainingPlan,
    trainable: &Trainable,
    backend: Backend,
    config: &Config,
) -> Result<Box<dyn Function>, Vec<Diagnostic>> {
    Ok(function(&plan.evaluation, 0, plan, trainable, backend, config)?.0)
}

/// A function, and how its kernels were loaded where it has some.
type Made = (Box<dyn Function>, Option<Kind>);

fn function(
    module: &Module,
    states: usize,
    plan: &TrainingPlan,
    trainable: &Trainable,
    backend: Backend,
    config: &Config,
) -> Result<Made, Vec<Diagnostic>> {
    let facts = ModelFacts { name: module.name.clone(), states, ..plan.with_usual_sizes(&trainable.facts) };
    if backend == Backend::Ptx {
        let signature = describe(predict(module).map_err(|error| vec![error])?, &facts);
        let session = on_gpu(module, &facts, config)?;
        let image = Some(session.device().report().kind);
        return Ok((Box::new(OnGpu { session, signature, outputs: Vec::new(), has_states: false }), image));
    }
    let loaded = Loaded { module: module.clone(), facts, losses: Vec::new() };
    Ok((Box::new(Answering::new(&loaded, backend, config)?), None))
}

fn tensors<'i>(inputs: impl IntoIterator<Item = &'i Array>) -> Vec<Tensor> {
    inputs.into_iter().map(to_tensor).collect()
}

/// A function whose states stay on the device.
struct OnGpu {
    session: Session<Gpu>,
    signature: Signature,
    outputs: Vec<Array>,
    has_states: bool,
}

impl OnGpu {
    /// What the function gave. Errors: `memory`.
    fn keep(&mut self, given: &[Tensor]) -> Result<&[Array], Diagnostic> {
        self.outputs = given.iter().map(to_array).collect::<Result<_, _>>()?;
        Ok(&self.outputs)
    }
}

impl Function for OnGpu {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[&Array]) -> Result<&[Array], Diagnostic> {
        let given = self.session.run(&tensors(inputs.iter().copied()))?;
        self.keep(&given)
    }

    fn update(&mut self, inputs: &[&Array], states: &mut [Array]) -> Result<&[Array], Diagnostic> {
        if !self.has_states {
            self.session.put_states(&tensors(states.iter()))?;
            self.has_states = true;
        }
        let given = self.session.update(&tensors(inputs.iter().copied()))?;
        self.keep(&given)
    }

    fn place(&mut self) {
        self.has_states = false;
    }

    fn fetch(&mut self, states: &mut [Array]) -> Result<(), Diagnostic> {
        for (state, tensor) in states.iter_mut().zip(self.session.states()?) {
            state.bytes_mut().copy_from_slice(tensor.bytes());
        }
        Ok(())
    }

    fn arena_bytes(&self) -> i64 {
        self.session.arena_bytes() as i64
    }
}

/// A function in the reference interpreter.
impl Function for Answering {
    fn signature(&self) -> &Signature {
        Network::signature(self)
    }

    fn run(&mut self, inputs: &[&Array]) -> Result<&[Array], Diagnostic> {
        self.answer(&tensors(inputs.iter().copied()))?;
        Ok(self.outputs())
    }

    fn update(&mut self, inputs: &[&Array], states: &mut [Array]) -> Result<&[Array], Diagnostic> {
        self.advance(&tensors(inputs.iter().copied().chain(states.iter())), states)?;
        Ok(self.outputs())
    }

    fn arena_bytes(&self) -> i64 {
        0
    }
}
