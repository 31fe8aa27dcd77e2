//! A compiled model behind a safe interface: named inputs in, checked sizes, named outputs out.

use crate::arrays::Array;
use crate::cpu::missing_features;
use crate::memory::AlignedBytes;
use crate::threads::ThreadPool;
use crate::weights::Weights;
use kiln_ir::artifact::{ABI_VERSION, Call, Extent, ModelDescriptor, Signature, Status};
use kiln_ir::{DType, Diagnostic};
use std::ffi::c_void;
use std::path::Path;
use std::{ptr, slice};

/// A model that is ready to be called.
pub struct Model {
    descriptor: ModelDescriptor,
    signature: Signature,
    weights: Weights,
}

/// A symbol's value and the first axis that says so.
#[derive(Clone, Copy)]
struct SolvedAt {
    size: i64,
    input: usize,
    axis: usize,
}

/// Memory for calls with certain sizes; calling again allocates nothing.
pub struct Session<'a> {
    model: &'a Model,
    pool: &'a ThreadPool,
    dims: Vec<i64>,
    arena: AlignedBytes,
    arena_bytes: i64,
    outputs: Vec<Array>,
    output_dims: Vec<i64>,
    planned_dims: Vec<i64>,
    solved: Vec<Option<SolvedAt>>,
    input_addresses: Vec<*const c_void>,
    output_addresses: Vec<*mut c_void>,
}

impl Model {
    /// Loads a model: checks its ABI version and this CPU, and finds its weights (in `weights` when given).
    ///
    /// # Safety
    /// The descriptor must be one that Kiln compiled; code and data behind it must live as long as the model.
    ///
    /// Errors: `abi_version`; `signature`; `cpu`; `weights`; `file`.
    pub unsafe fn load(descriptor: &ModelDescriptor, weights: Option<&Path>) -> Result<Model, Diagnostic> {
        // SAFETY: the caller's promise.
        let signature = unsafe { read_signature(descriptor)? };
        let missing = missing_features(&signature.cpu);
        if !missing.is_empty() {
            let message = format!("this CPU lacks {}, which the compiled code needs", missing.join(", "));
            return Err(Diagnostic::new("cpu", message).help("compile the model for this CPU, or with --cpu baseline for any"));
        }
        let weights = Weights::find(descriptor, &signature.weights, weights)?;
        Ok(Model { descriptor: *descriptor, signature, weights })
    }

    /// What the model says about itself.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Compares the weights' digest with the signature's; reads all of them.
    ///
    /// Errors: `weights`.
    pub fn verify_weights(&self) -> Result<(), Diagnostic> {
        self.weights.verify(&self.descriptor, &self.signature.weights)
    }

    /// Values of the symbols, in signature order, for inputs of these shapes.
    ///
    /// Errors: `inputs`, `input_dtype`, `input_rank`, `input_shape`, `symbol_range`, each with the input's name and both sides.
    pub fn solve_symbols<'x>(&self, inputs: impl IntoIterator<Item = &'x Array, IntoIter: Clone>) -> Result<Vec<i64>, Diagnostic> {
        let mut solved = vec![None; self.signature.symbols.len()];
        self.solve(inputs.into_iter(), &mut solved)?;
        Ok(solved.iter().flatten().map(|place| place.size).collect())
    }

    /// Checks inputs and finds where each symbol gets its value; allocates only to report an error.
    fn solve<'x>(&self, inputs: impl Iterator<Item = &'x Array> + Clone, solved: &mut [Option<SolvedAt>]) -> Result<(), Diagnostic> {
        let Signature { symbols, inputs: decls, .. } = &self.signature;
        let given = inputs.clone().count();
        if given != decls.len() {
            return Err(Diagnostic::new("inputs", format!("{given} inputs given, the model takes {}", decls.len())));
        }
        solved.fill(None);
        for (input, (decl, array)) in decls.iter().zip(inputs).enumerate() {
            let wrong = |code: &str, text: String| {
                Diagnostic::new(code, format!("input `{}`: {text}", decl.name)).at("the model takes", decl.to_string())
            };
            if decl.dtype != array.dtype() {
                let help = format!("convert it with .astype({})", numpy_name(decl.dtype));
                return Err(wrong("input_dtype", format!("expected {}, got {}", decl.dtype, array.type_text())).help(help));
            }
            if decl.shape.len() != array.shape().len() {
                return Err(wrong("input_rank", format!("expected rank {}, got {}", decl.shape.len(), array.type_text())));
            }
            for (axis, (extent, &size)) in decl.shape.iter().zip(array.shape()).enumerate() {
                let size = i64::try_from(size).unwrap_or(i64::MAX);
                match extent {
                    Extent::Fixed(n) if *n == size => {}
                    Extent::Fixed(n) => {
                        return Err(wrong("input_shape", format!("axis {axis} must be {n}, got {}", array.type_text())));
                    }
                    Extent::Expression(name) => {
                        let index = symbols.iter().position(|symbol| symbol.name == *name);
                        let index = index.ok_or_else(|| wrong("signature", format!("axis {axis} is `{name}`, which is no symbol")))?;
                        let first = *solved[index].get_or_insert(SolvedAt { size, input, axis });
                        if first.size != size {
                            let place = format!("axis {} of input `{}` is {}", first.axis, decls[first.input].name, first.size);
                            return Err(wrong("input_shape", format!("axis {axis} ({name}) is {size}, but {place}")));
                        }
                    }
                }
            }
        }
        for (symbol, solved) in symbols.iter().zip(solved) {
            let Some(SolvedAt { size, input, axis }) = *solved else {
                return Err(Diagnostic::new("signature", format!("symbol `{}` stands alone on no axis of an input", symbol.name)));
            };
            if size < symbol.min || symbol.max.is_some_and(|max| size > max) {
                let allowed = symbol.max.map_or(format!("at least {}", symbol.min), |max| format!("from {} to {max}", symbol.min));
                let place = format!("axis {axis} of input `{}` ({})", decls[input].name, symbol.name);
                return Err(Diagnostic::new("symbol_range", format!("{place} is {size}; {allowed} is possible")));
            }
        }
        Ok(())
    }

    /// Allocates what calls with these symbols need.
    ///
    /// Errors: `memory`; what the model's own checks refuse.
    pub fn session<'a>(&'a self, dims: &[i64], pool: &'a ThreadPool) -> Result<Session<'a>, Diagnostic> {
        let mut arena_bytes = -1;
        // SAFETY: loaded from a descriptor that Kiln wrote; `dims` has one value per symbol.
        let status = unsafe { (self.descriptor.arena_bytes)(self.checked_dims(dims)?.as_ptr(), pool.workers() as i64, &mut arena_bytes) };
        self.check(status, arena_bytes)?;
        let ranks: usize = self.signature.outputs.iter().map(|output| output.shape.len()).sum();
        let mut planned_dims = vec![0; ranks];
        // SAFETY: as above; `planned_dims` has one place per axis of every output.
        let status = unsafe { (self.descriptor.output_shapes)(dims.as_ptr(), planned_dims.as_mut_ptr()) };
        self.check(status, -1)?;
        let mut rest = planned_dims.as_slice();
        let own = self.signature.outputs.len().saturating_sub(self.signature.states);
        let mut outputs = Vec::with_capacity(own);
        for output in &self.signature.outputs[..own] {
            let (shape, after) = rest.split_at(output.shape.len());
            outputs.push(Array::zeroed(output.dtype, sizes(shape)?)?);
            rest = after;
        }
        let arena = usize::try_from(arena_bytes).ok().and_then(AlignedBytes::zeroed);
        let arena = arena.ok_or_else(|| Diagnostic::new("memory", format!("no memory for {arena_bytes} bytes of intermediate values")))?;
        let output_addresses = outputs.iter_mut().map(|output| output.as_mut_ptr().cast()).collect();
        Ok(Session {
            model: self,
            pool,
            dims: dims.to_vec(),
            arena,
            arena_bytes,
            outputs,
            output_dims: planned_dims.clone(),
            planned_dims,
            solved: vec![None; dims.len()],
            input_addresses: Vec::with_capacity(self.signature.inputs.len()),
            output_addresses,
        })
    }

    fn checked_dims<'d>(&self, dims: &'d [i64]) -> Result<&'d [i64], Diagnostic> {
        let expected = self.signature.symbols.len();
        let message = || format!("{} sizes given, the model has {expected} symbols", dims.len());
        (dims.len() == expected).then_some(dims).ok_or_else(|| Diagnostic::new("symbols", message()))
    }

    /// The text of a status, with the guard, symbol or node that `detail` points at.
    fn check(&self, status: i32, detail: i64) -> Result<(), Diagnostic> {
        let signature = &self.signature;
        let index = usize::try_from(detail).unwrap_or(usize::MAX);
        let Some(known) = Status::from_code(status) else {
            return Err(Diagnostic::new("status", format!("the compiled code answered {status}, which is no known status")));
        };
        let place = match known {
            Status::Ok => return Ok(()),
            Status::SymbolRange => signature.symbols.get(index).map(|symbol| format!("symbol `{}`", symbol.name)),
            Status::Guard => signature.guards.get(index).map(|guard| format!("must hold: {guard}")),
            Status::Index => signature.nodes.get(index).map(|node| format!("node `{node}`")),
            Status::Arena if detail >= 0 => Some(format!("{detail} bytes needed")),
            Status::Arena | Status::Overflow | Status::Cpu | Status::NoWeights | Status::AbiVersion => None,
        };
        let place = place.map_or(String::new(), |place| format!(" ({place})"));
        Err(Diagnostic::new(format!("status_{status}"), format!("{}{place}", known.text())))
    }
}

impl Session<'_> {
    /// Runs a model without states on inputs in signature order, of the sizes this session was made for.
    ///
    /// Errors: those of [`Model::solve_symbols`]; `session` for other sizes; what generated code reports.
    pub fn run<'x>(&mut self, inputs: impl IntoIterator<Item = &'x Array, IntoIter: Clone>) -> Result<(), Diagnostic> {
        self.update(inputs, &mut [])
    }

    /// Runs the model on inputs in signature order, whose last ones are the states; their next values take their place.
    ///
    /// Errors: as [`Session::run`]. When generated code reports a failure, the states are neither the old nor the new ones.
    pub fn update<'x>(
        &mut self,
        inputs: impl IntoIterator<Item = &'x Array, IntoIter: Clone>,
        states: &mut [Array],
    ) -> Result<(), Diagnostic> {
        let inputs = inputs.into_iter();
        let expected = self.model.signature.states;
        if states.len() != expected {
            return Err(Diagnostic::new("session", format!("{} states given, the model has {expected}", states.len())));
        }
        self.model.solve(inputs.clone().map(|input| -> &Array { input }).chain(states.iter()), &mut self.solved)?;
        if !self.solved.iter().zip(&self.dims).all(|(solved, &dim)| solved.is_some_and(|place| place.size == dim)) {
            return Err(Diagnostic::new("session", "the inputs have other sizes than this session was made for"));
        }
        self.input_addresses.clear();
        self.input_addresses.extend(inputs.map(|input| input.bytes().as_ptr().cast::<c_void>()));
        self.output_addresses.truncate(self.outputs.len());
        for state in states {
            let address = state.as_mut_ptr().cast::<c_void>();
            self.input_addresses.push(address);
            self.output_addresses.push(address);
        }
        self.output_dims.copy_from_slice(&self.planned_dims);
        let data_dependent = self.model.signature.data_dependent;
        let pool = self.pool.as_abi();
        let mut detail = -1;
        let call = Call {
            inputs: self.input_addresses.as_ptr(),
            outputs: self.output_addresses.as_ptr(),
            dims: self.dims.as_ptr(),
            arena: self.arena.as_mut_ptr().cast(),
            arena_bytes: self.arena_bytes,
            weights: self.model.weights.as_ptr(),
            pool: &raw const pool,
            detail: &raw mut detail,
            output_dims: if data_dependent { self.output_dims.as_mut_ptr() } else { ptr::null_mut() },
        };
        // SAFETY: dtypes and shapes of inputs and states were checked above, outputs and arena were allocated for these dims and
        // this pool and belong to `self` alone, states are borrowed exclusively and may be overwritten where they are read, and the
        // model was loaded from a descriptor that Kiln wrote.
        let status = unsafe { (self.model.descriptor.predict)(&raw const call) };
        self.model.check(status, detail)?;
        if data_dependent {
            let mut rest = self.output_dims.as_slice();
            for (output, decl) in self.outputs.iter_mut().zip(&self.model.signature.outputs) {
                let (shape, after) = rest.split_at(decl.shape.len());
                if !output.reshape_within(&sizes(shape)?) {
                    return Err(Diagnostic::new("status", format!("output `{}` came out larger than planned: {shape:?}", decl.name)));
                }
                rest = after;
            }
        }
        Ok(())
    }

    /// Whether inputs, states included, have the sizes that this session was made for.
    pub fn fits<'x>(&mut self, inputs: impl IntoIterator<Item = &'x Array, IntoIter: Clone>) -> bool {
        let is_solved = self.model.solve(inputs.into_iter(), &mut self.solved).is_ok();
        is_solved && self.solved.iter().zip(&self.dims).all(|(solved, &dim)| solved.is_some_and(|place| place.size == dim))
    }

    /// The outputs of the last run, in signature order.
    pub fn outputs(&self) -> &[Array] {
        &self.outputs
    }

    /// Values of the symbols this session was made for.
    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// Size of the memory for intermediate values.
    pub fn arena_bytes(&self) -> i64 {
        self.arena_bytes
    }
}

/// Reads the signature behind a descriptor.
///
/// # Safety
/// The descriptor must be one that Kiln compiled.
///
/// Errors: `abi_version` when another version of Kiln compiled it; `signature` when it cannot be read.
pub unsafe fn read_signature(descriptor: &ModelDescriptor) -> Result<Signature, Diagnostic> {
    if descriptor.abi_version != ABI_VERSION {
        let message = format!("the model was compiled for ABI version {}, this program has {ABI_VERSION}", descriptor.abi_version);
        return Err(Diagnostic::new("abi_version", message).help("compile the model again"));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { slice::from_raw_parts(descriptor.signature, descriptor.signature_bytes as usize) };
    serde_json::from_slice(text).map_err(|error| Diagnostic::new("signature", format!("the model's signature is unreadable: {error}")))
}

fn sizes(dims: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let sizes = dims.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>();
    sizes.map_err(|_| Diagnostic::new("status", format!("an output came out with the impossible shape {dims:?}")))
}

/// How a Python user makes an array of this type.
fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "numpy.bool_",
        DType::I8 => "numpy.int8",
        DType::U8 => "numpy.uint8",
        DType::I16 => "numpy.int16",
        DType::U16 => "numpy.uint16",
        DType::I32 => "numpy.int32",
        DType::U32 => "numpy.uint32",
        DType::I64 => "numpy.int64",
        DType::U64 => "numpy.uint64",
        DType::F16 => "numpy.float16",
        DType::BF16 => "ml_dtypes.bfloat16",
        DType::F32 => "numpy.float32",
        DType::F64 => "numpy.float64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_model::{describe, descriptor, signature};

    fn load(descriptor: &ModelDescriptor) -> Result<Model, Diagnostic> {
        // SAFETY: a whole descriptor whose data are never freed.
        unsafe { Model::load(descriptor, None) }
    }

    fn pictures(n: usize) -> Array {
        let mut array = Array::zeroed(DType::F32, vec![n, 1, 2, 2]).expect("small");
        (0..array.len()).for_each(|index| array.set_f64(index, (index % 5) as f64 + 1.0));
        array
    }

    fn message(model: &Model, input: Array) -> String {
        model.solve_symbols(&[input]).expect_err("refused").message
    }

    #[test]
    fn any_batch_runs_and_threads_do_not_matter() {
        let model = load(&descriptor()).expect("loads");
        for n in [1, 2, 7, 100] {
            let input = [pictures(n)];
            let dims = model.solve_symbols(&input).expect("solves");
            let results: Vec<Vec<u8>> = [1, 2, 3]
                .into_iter()
                .map(|threads| {
                    let pool = ThreadPool::new(threads);
                    let mut session = model.session(&dims, &pool).expect("small");
                    session.run(&input).expect("runs");
                    assert_eq!(session.outputs()[0].shape(), [n, 4]);
                    session.outputs()[0].bytes().to_vec()
                })
                .collect();
            assert!(results.iter().all(|result| *result == results[0]));
        }
    }

    #[test]
    fn wrong_inputs_are_described_by_name() {
        let model = load(&descriptor()).expect("loads");
        let zeros = |dtype, shape: &[usize]| Array::zeroed(dtype, shape.to_vec()).expect("small");
        assert_eq!(message(&model, zeros(DType::F64, &[1, 1, 2, 2])), "input `x`: expected f32, got f64[1, 1, 2, 2]");
        assert_eq!(message(&model, zeros(DType::F32, &[2, 2])), "input `x`: expected rank 4, got f32[2, 2]");
        assert_eq!(message(&model, zeros(DType::F32, &[1, 3, 2, 2])), "input `x`: axis 1 must be 1, got f32[1, 3, 2, 2]");
        assert_eq!(message(&model, zeros(DType::F32, &[101, 1, 2, 2])), "axis 0 of input `x` (batch) is 101; from 1 to 100 is possible");
        let mut shared = signature(&[("a", DType::F32, &[-1]), ("b", DType::F32, &[-1])], &[]);
        shared.inputs[1].shape = shared.inputs[0].shape.clone();
        shared.symbols.truncate(1);
        let model = load(&describe(&shared)).expect("loads");
        let error = model.solve_symbols(&[zeros(DType::F32, &[2]), zeros(DType::F32, &[3])]).expect_err("they disagree");
        assert_eq!(error.message, "input `b`: axis 0 (s0) is 3, but axis 0 of input `a` is 2");
    }

    #[test]
    fn a_status_names_its_guard_or_node() {
        let model = load(&descriptor()).expect("loads");
        let pool = ThreadPool::new(1);
        let run =
            |input: Array| model.session(&[input.shape()[0] as i64], &pool).expect("small").run(&[input]).expect_err("refused").message;
        assert_eq!(run(pictures(13)), "a condition on the input sizes does not hold (must hold: batch != 13)");
        let mut negative = pictures(1);
        negative.set_f64(0, -1.0);
        assert_eq!(run(negative), "an index is out of range (node `lookup`)");
        assert_eq!(model.check(77, 0).expect_err("unknown").message, "the compiled code answered 77, which is no known status");
    }

    #[test]
    fn another_abi_version_or_cpu_is_refused_at_load() {
        let mut old = descriptor();
        old.abi_version = 0;
        assert_eq!(load(&old).err().expect("refused").code, "abi_version");
        let mut signature = signature(&[], &[]);
        signature.cpu = vec!["quantum".to_owned()];
        let error = load(&describe(&signature)).err().expect("refused");
        assert_eq!(error.message, "this CPU lacks quantum, which the compiled code needs");
    }
}
