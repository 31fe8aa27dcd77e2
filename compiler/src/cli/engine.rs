//! A model that runs, compiled or interpreted.

use super::args::Backend;
use kiln_ir::eval::evaluate;
use kiln_ir::{Diagnostic, Module, Tensor};

/// A model that runs, compiled or interpreted.
pub enum Engine {
    /// The reference interpreter.
    Reference(Module),
}

impl Engine {
    /// Makes a module ready to run.
    ///
    /// Errors: what the compiler reports.
    pub fn new(module: Module, backend: Backend, fold: bool) -> Result<Engine, Vec<Diagnostic>> {
        let _ = fold;
        match backend {
            Backend::Reference => Ok(Engine::Reference(module)),
            Backend::Cpu => todo!(),
        }
    }

    /// Runs once; inputs and outputs in the order of the graph.
    ///
    /// Errors: inputs that do not fit; what fails while running.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        match self {
            Engine::Reference(module) => evaluate(module, predict(module), inputs),
        }
    }
}

/// The inference function, which every imported module has.
pub fn predict(module: &Module) -> &kiln_ir::Graph {
    module.predict().unwrap_or_else(|error| panic!("import: {error}"))
}
