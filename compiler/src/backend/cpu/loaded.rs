//! Code in the memory of this process.

use super::emit::Isas;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, default_libcall_names};
use kiln_ir::Diagnostic;

/// Address space for one module: calls between functions of one reservation are always in range. Only what is used costs memory.
const RESERVED_BYTES: usize = 256 << 20;

/// Name of the weights in code in memory.
pub const WEIGHTS_SYMBOL: &str = "weights";

/// Name of the function that is told of each kernel that ran, in code that is observed.
pub const OBSERVER_SYMBOL: &str = "observer";

/// Finished code; its memory is given back when this is dropped.
pub struct LoadedCode(Option<JITModule>);

impl LoadedCode {
    /// An empty module whose [`WEIGHTS_SYMBOL`] is at that address, and whose [`OBSERVER_SYMBOL`] is that function.
    ///
    /// Errors: `memory` when the system gives no address space.
    pub fn module(isas: &Isas, weights: Option<*const u8>, observer: Option<extern "C" fn(i64)>) -> Result<JITModule, Diagnostic> {
        let mut builder = JITBuilder::with_isa(isas.baseline().clone(), default_libcall_names());
        builder.memory_provider(Box::new(ArenaMemoryProvider::new_with_size(RESERVED_BYTES).map_err(refused)?));
        if let Some(address) = weights {
            builder.symbol(WEIGHTS_SYMBOL, address);
        }
        if let Some(observer) = observer {
            builder.symbol(OBSERVER_SYMBOL, observer as *const u8);
        }
        Ok(JITModule::new(builder))
    }

    /// Makes the code of a module executable.
    ///
    /// Errors: `memory` when the system refuses.
    pub fn load(mut module: JITModule) -> Result<LoadedCode, Diagnostic> {
        let finished = module.finalize_definitions();
        let code = LoadedCode(Some(module));
        finished.map_err(refused)?;
        Ok(code)
    }

    /// Where a function starts. It may be called as long as `self` lives.
    pub fn address(&self, function: FuncId) -> *const u8 {
        self.0.as_ref().expect("code is there until it is dropped").get_finalized_function(function)
    }
}

fn refused(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new("memory", format!("the system gives no memory for code: {error}"))
}

impl Drop for LoadedCode {
    fn drop(&mut self) {
        if let Some(module) = self.0.take() {
            // SAFETY: whoever called a function borrowed or owned this value, so nothing runs any more.
            unsafe { module.free_memory() };
        }
    }
}
