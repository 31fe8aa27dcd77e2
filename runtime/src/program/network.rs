//! What answers on the command line: compiled code here, and in the compiler also its reference interpreter.

use crate::arrays::Array;
use crate::model::{Model, Session};
use crate::threads::ThreadPool;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::Signature;

/// What answers inputs with outputs.
pub trait Network {
    /// What it takes and gives.
    fn signature(&self) -> &Signature;
    /// Gets ready for inputs of these sizes, so that [`Network::run`] does nothing but compute.
    ///
    /// Errors: inputs that do not fit the signature; `memory`.
    fn prepare(&mut self, inputs: &[Array]) -> Result<(), Diagnostic>;
    /// Computes once, on inputs as large as the prepared ones.
    ///
    /// Errors: what fails while computing.
    fn run(&mut self, inputs: &[Array]) -> Result<(), Diagnostic>;
    /// Computes once, on inputs of any sizes, for a model with states: their next values take their place.
    ///
    /// Errors: as [`Network::prepare`] and [`Network::run`].
    fn update(&mut self, inputs: &[Array], states: &mut [Array]) -> Result<(), Diagnostic>;
    /// What the last run gave, in signature order, states left out; empty before the first.
    fn outputs(&self) -> &[Array];
}

/// Compiled code on a pool of threads.
pub struct Compiled<'a> {
    model: &'a Model,
    pool: &'a ThreadPool,
    session: Option<Session<'a>>,
}

impl<'a> Compiled<'a> {
    /// The model, ready for any sizes.
    pub fn new(model: &'a Model, pool: &'a ThreadPool) -> Compiled<'a> {
        Compiled { model, pool, session: None }
    }
}

impl Network for Compiled<'_> {
    fn signature(&self) -> &Signature {
        self.model.signature()
    }

    fn prepare(&mut self, inputs: &[Array]) -> Result<(), Diagnostic> {
        let dims = self.model.solve_symbols(inputs)?;
        if self.session.as_ref().is_none_or(|session| session.dims() != dims) {
            self.session = Some(self.model.session(&dims, self.pool)?);
        }
        Ok(())
    }

    fn run(&mut self, inputs: &[Array]) -> Result<(), Diagnostic> {
        match &mut self.session {
            Some(session) => session.run(inputs),
            None => Err(Diagnostic::new("session", "nothing was prepared for these inputs")),
        }
    }

    fn update(&mut self, inputs: &[Array], states: &mut [Array]) -> Result<(), Diagnostic> {
        let fits = self.session.as_mut().is_some_and(|session| session.fits(inputs.iter().chain(states.iter())));
        if !fits {
            let dims = self.model.solve_symbols(inputs.iter().chain(states.iter()))?;
            self.session = Some(self.model.session(&dims, self.pool)?);
        }
        match &mut self.session {
            Some(session) => session.update(inputs, states),
            None => Err(Diagnostic::new("session", "nothing was prepared for these inputs")),
        }
    }

    fn outputs(&self) -> &[Array] {
        self.session.as_ref().map_or(&[], |session| session.outputs())
    }
}
