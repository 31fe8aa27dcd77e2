//! What goes wrong: errors of the text and faults of execution.

use std::fmt;

/// The text is not PTX that this crate runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line of the text, from 1.
    pub line: u32,
    /// What is wrong, with the names involved.
    pub message: String,
    /// The line itself.
    pub text: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}\n    {}", self.line, self.message, self.text)
    }
}

impl std::error::Error for ParseError {}

/// The family of a fault, for tests that expect one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The launch itself is wrong: no such kernel, wrong arguments, a block that the kernel forbids.
    Launch,
    /// A register is read that was never written, or whose asynchronous result was not waited for.
    UnwrittenRegister,
    /// Memory is read that was never written, or whose asynchronous copy was not waited for.
    UnwrittenMemory,
    /// An address outside every allocation, or an access that leaves one.
    OutOfBounds,
    /// An address that is not a multiple of the access's size.
    Misaligned,
    /// A store to memory that is read-only.
    ReadOnly,
    /// Two threads touch the same bytes, one writes, and nothing orders them.
    Race,
    /// A barrier that only some lanes of a warp reach, or a member mask that does not fit.
    Divergence,
    /// Nothing can go on.
    Deadlock,
    /// More instructions than the limit of the device.
    StepLimit,
    /// An operand whose value the instruction does not admit.
    BadOperand,
    /// A trap of the kernel.
    Trap,
}

/// A thread of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId {
    /// Block, x y z.
    pub block: [u32; 3],
    /// Thread inside the block, x y z.
    pub thread: [u32; 3],
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bx, by, bz] = self.block;
        let [x, y, z] = self.thread;
        write!(f, "block ({bx}, {by}, {bz}) thread ({x}, {y}, {z})")
    }
}

/// Why a launch failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its family.
    pub kind: FaultKind,
    /// What happened: addresses, allocations, the other thread of a race, states of barriers.
    pub message: String,
    /// Line of the module's text, where one instruction is to blame.
    pub line: Option<u32>,
    /// That line.
    pub text: String,
    /// A thread that it happened to.
    pub thread: Option<ThreadId>,
    /// The kernel.
    pub kernel: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}`: {}", self.kernel, self.message)?;
        if let Some(thread) = self.thread {
            write!(f, "\n  {thread}")?;
        }
        if let Some(line) = self.line {
            write!(f, "\n  PTX line {line}: {}", self.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// A fault before its instruction is known.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub kind: FaultKind,
    pub lane: u32,
    pub message: String,
}

impl Trouble {
    pub(crate) fn new(kind: FaultKind, lane: u32, message: impl Into<String>) -> Box<Trouble> {
        Box::new(Trouble { kind, lane, message: message.into() })
    }
}

/// The result of an instruction.
pub(crate) type Outcome<T = ()> = Result<T, Box<Trouble>>;
