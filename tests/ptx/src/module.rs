//! Modules and kernels after decoding.

use crate::decode;
use crate::fault::ParseError;
use crate::instruction::Instruction;
use crate::parse::{self, Variable};
use std::sync::atomic::{AtomicU64, Ordering};

/// A decoded kernel.
pub(crate) struct Kernel {
    pub name: String,
    /// Name, offset, bytes of every parameter.
    pub params: Vec<(String, u64, u64)>,
    pub param_bytes: u64,
    pub code: Vec<Instruction>,
    /// Whether it lets the next grid begin early: then so is it itself, after such a one.
    pub begins_early: bool,
    pub registers: u32,
    pub predicates: u32,
    pub register_names: Vec<String>,
    pub predicate_names: Vec<String>,
    /// Shared variables: name, address, bytes.
    pub shared: Vec<(String, u64, u64)>,
    /// Where static shared memory ends and `extern` arrays begin.
    pub shared_end: u64,
    pub local_bytes: u64,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    /// Blocks of a cluster, along x.
    pub cluster: u32,
}

/// A module of PTX, parsed, checked and decoded.
///
/// ```
/// let module = kiln_ptx::Module::parse(
///     ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry nothing() { ret; }",
/// )?;
/// assert_eq!(module.kernel_names().collect::<Vec<_>>(), ["nothing"]);
/// # Ok::<(), kiln_ptx::ParseError>(())
/// ```
pub struct Module {
    pub(crate) id: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) kernels: Vec<Kernel>,
    /// Variables in global and constant memory.
    pub(crate) variables: Vec<Variable>,
    version: (u32, u32),
    target: String,
}

static NEXT_MODULE: AtomicU64 = AtomicU64::new(1);

impl Module {
    /// Reads the text of a module and decodes every kernel of it.
    ///
    /// # Errors
    /// Text that is not PTX, an instruction or modifier that this crate does not run, or a register of the wrong type, with its line.
    pub fn parse(text: &str) -> Result<Module, ParseError> {
        let tree = parse::tree(text)?;
        let (kernels, variables) = decode::decode(text, &tree)?;
        Ok(Module {
            id: NEXT_MODULE.fetch_add(1, Ordering::Relaxed),
            lines: text.lines().map(|l| l.trim().to_string()).collect(),
            kernels,
            variables,
            version: tree.version,
            target: tree.target,
        })
    }

    /// Names of its kernels, in the order of the text.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|k| k.name.as_str())
    }

    /// Bytes of each parameter of a kernel; none if there is no such kernel.
    pub fn parameter_bytes(&self, kernel: &str) -> Option<Vec<u64>> {
        let found = self.kernels.iter().find(|k| k.name == kernel)?;
        Some(found.params.iter().map(|(_, _, size)| *size).collect())
    }

    /// The number after `.version`: major, minor.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The name after `.target`, as `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("target", &self.target).field("kernels", &self.kernel_names().collect::<Vec<_>>()).finish()
    }
}
