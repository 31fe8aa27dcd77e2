//! What a GPU does for a session: a driver in earnest, an interpreter in tests.

use kiln_ir::{DType, Diagnostic};

/// Memory and kernels of a GPU, one after the other.
pub trait Device {
    /// Launches that were recorded.
    type Recording;

    /// Memory of its own; what it holds is not said. Errors: `memory`.
    fn allocate(&mut self, bytes: u64) -> Result<u64, Diagnostic>;
    /// Gives memory back.
    fn free(&mut self, address: u64);
    /// Says that nobody reads what the memory at an address holds before it is written anew.
    fn forget(&mut self, _address: u64) {}
    /// Copies to the device. Errors: of the device.
    fn upload(&mut self, address: u64, bytes: &[u8]) -> Result<(), Diagnostic>;
    /// Copies from the device, when all that was launched is done. Errors: of the device, or of a kernel.
    fn download(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Diagnostic>;
    /// Runs an entry. Errors: of the device.
    fn launch(&mut self, entry: &str, grid: Grid, arguments: &[Argument]) -> Result<(), Diagnostic>;

    /// Makes what is launched from now on part of a recording, in place of running it. Errors: of the device.
    fn record(&mut self) -> Result<(), Diagnostic>;
    /// Ends the recording. Errors: of the device.
    fn recorded(&mut self) -> Result<Self::Recording, Diagnostic>;
    /// Runs all that was recorded, in one launch. Errors: of the device.
    fn replay(&mut self, recording: &Self::Recording) -> Result<(), Diagnostic>;

    /// Marks the time at which all that was launched before will be done. Errors: of the device.
    fn mark(&mut self) -> Result<(), Diagnostic>;
    /// Seconds from each mark to the next, and no marks any more. Errors: of the device, or of a kernel.
    fn between_marks(&mut self) -> Result<Vec<f64>, Diagnostic>;
}

/// How many threads run an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Blocks; any number of them computes the same.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory that a block is given beside what the kernel says.
    pub shared_bytes: u32,
    /// Whether the threads of a block compute tasks together: then there have to be as many.
    pub together: bool,
    /// Whether blocks take tasks until none is left: then as many as run at the same time do best.
    pub persistent: bool,
    /// Blocks are a multiple of it.
    pub cluster: u32,
}

impl Grid {
    /// As many blocks as wanted, but no more than `most` where that is a whole cluster.
    pub fn most(&self, most: u32) -> u32 {
        self.blocks.min(most / self.cluster * self.cluster).max(self.cluster)
    }
}

/// What an entry is given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Argument {
    /// 64 bits: an address, or a size.
    Word(u64),
    /// A tensor whose boxes the tensor copy engine brings to shared memory.
    TensorMap(TensorMap),
}

/// A tensor in the device's memory and its boxes, which become lines of 128 bytes with their chunks of 16 bytes exchanged by the number of
/// the line; axes go from the innermost, along which elements are neighbours, outwards. Elements that do not exist are zeros.
///
/// *Source*: CUDA Driver API 12.8, `cuTensorMapEncodeTiled`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TensorMap {
    /// Of the first element, a multiple of 16.
    pub address: u64,
    /// Of elements.
    pub dtype: DType,
    /// Elements along each axis: 1 to 2³².
    pub extents: Vec<u64>,
    /// Bytes from neighbour to neighbour along each axis but the innermost: multiples of 16 below 2⁴⁰.
    pub strides: Vec<u64>,
    /// Elements of a box along each axis: 1 to 256.
    pub boxes: Vec<u32>,
}
