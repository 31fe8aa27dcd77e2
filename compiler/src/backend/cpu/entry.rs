//! The functions that callers see: they check sizes, lay out the arena, and run kernel after kernel.
//!
//! For a model `m` and its function `predict`:
//!
//! | function | does |
//! |---|---|
//! | `m_predict(call)` | checks, then runs everything; 0 or a status |
//! | `m_arena_bytes(dims, threads, bytes)` | checks CPU and sizes and answers the arena's |
//! | `m_output_shapes(dims, shapes)` | checks sizes and answers the outputs' dims |
//! | local `predict.cpu` | asks the CPU for what the code needs |
//! | local `predict.sizes` | ranges, guards, overflow, arena size: what the three share |
//! | local `predict.setupN` | writes the arguments of some kernels into the arena |
//! | local `predict.stepsN` | runs some kernels |
//! | local `predict.turnsN` | runs turns of a loop, to the pool a kernel |
//! | local `launch` | runs one kernel, in parallel where its work is worth it |
//!
//! Everything is integer code without libcalls, traps or writable data. Long programs are cut into several `setup` and
//! `steps` functions, since the time to compile a function grows faster than its size.

mod run;
mod sizes;
mod turns;

use super::size_code::SizeCode;
use crate::kernel::Program;
use crate::schedule::launches::EntryPlan;
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Block, Function, InstBuilder, MemFlagsData, Signature, UserFuncName, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use kiln_ir::artifact::{Call, Status};
use std::collections::BTreeMap;
use std::mem::offset_of;

/// Kernels per `setup` or `steps` function.
const KERNELS_PER_FUNCTION: usize = 128;

/// How generated code finds the weights when the caller gives none.
#[derive(Clone, Copy)]
pub enum WeightsSource {
    /// At this symbol.
    Symbol(DataId),
    /// Not at all: the caller must say.
    Caller,
}

/// Names of a model's exported functions.
pub fn export_name(model: &str, function: &str) -> String {
    format!("{model}_{function}")
}

/// The exported functions of a model.
#[derive(Clone, Copy, Debug)]
pub struct Exports {
    /// `m_predict`.
    pub predict: FuncId,
    /// `m_arena_bytes`.
    pub arena_bytes: FuncId,
    /// `m_output_shapes`.
    pub output_shapes: FuncId,
}

/// Emits one function with its helpers, and for `predict` the two that answer sizes.
///
/// `kernels` are the functions behind [`Launch::function`]; `observer` is called with [`Launch::args_offset`] after each kernel, and
/// with −1 before the first; `checked_features` are what `m_arena_bytes`, which every caller needs
/// before the first run, asks the CPU for.
#[allow(clippy::too_many_arguments)] // what is emitted, into what, for whom
pub fn emit_predict<M: Module>(
    module: &mut M,
    model: &str,
    program: &Program,
    plan: &EntryPlan,
    kernels: &BTreeMap<usize, FuncId>,
    weights: WeightsSource,
    observer: Option<FuncId>,
    checked_features: &[&str],
) -> Exports {
    let mut emit = Emit { observer, ..Emit::new(module, program, plan, kernels) };
    let sizes = emit.sizes();
    let cpu = (!checked_features.is_empty()).then(|| emit.cpu_check(checked_features));
    let arena_bytes = emit.arena_bytes(&export_name(model, "arena_bytes"), sizes, cpu);
    let output_shapes = emit.output_shapes(&export_name(model, "output_shapes"), sizes);
    let predict = emit.entry(&export_name(model, &plan.name), sizes, weights);
    Exports { predict, arena_bytes, output_shapes }
}

/// Emits `m_prepare` alone: its arena is of a fixed size.
pub fn emit_prepare<M: Module>(
    module: &mut M,
    model: &str,
    program: &Program,
    plan: &EntryPlan,
    kernels: &BTreeMap<usize, FuncId>,
) -> FuncId {
    let mut emit = Emit::new(module, program, plan, kernels);
    let sizes = emit.fixed_sizes();
    emit.entry(&export_name(model, &plan.name), sizes, WeightsSource::Caller)
}

/// What all functions of one plan are emitted with.
struct Emit<'a, M> {
    module: &'a mut M,
    program: &'a Program,
    plan: &'a EntryPlan,
    kernels: &'a BTreeMap<usize, FuncId>,
    observer: Option<FuncId>,
    builder_context: FunctionBuilderContext,
}

impl<'a, M: Module> Emit<'a, M> {
    fn new(module: &'a mut M, program: &'a Program, plan: &'a EntryPlan, kernels: &'a BTreeMap<usize, FuncId>) -> Self {
        Emit { module, program, plan, kernels, observer: None, builder_context: FunctionBuilderContext::new() }
    }

    /// The C signature with so many 64-bit parameters, answering a status or nothing.
    fn signature(&self, params: usize, answers_status: bool) -> Signature {
        let mut signature = self.module.make_signature();
        signature.params = vec![AbiParam::new(types::I64); params];
        if answers_status {
            signature.returns = vec![AbiParam::new(types::I32)];
        }
        signature
    }

    /// Declares and defines a function of so many 64-bit parameters; `body` ends every block of its own making.
    fn function(
        &mut self,
        name: &str,
        linkage: Linkage,
        params: usize,
        answers_status: bool,
        body: impl FnOnce(&mut Body<'_, 'a, M>, &[Value]),
    ) -> FuncId {
        let signature = self.signature(params, answers_status);
        let bug = |what: &dyn std::fmt::Debug| -> ! { panic!("entry: {name}: {what:?}") };
        let id = self.module.declare_function(name, linkage, &signature).unwrap_or_else(|error| bug(&error));
        let mut function = Function::with_name_signature(UserFuncName::user(0, id.as_u32()), signature);
        let mut builder_context = std::mem::take(&mut self.builder_context);
        let mut f = FunctionBuilder::new(&mut function, &mut builder_context);
        let entry = f.create_block();
        f.append_block_params_for_function_params(entry);
        f.switch_to_block(entry);
        let values = f.block_params(entry).to_vec();
        let config = self.module.target_config();
        let mut writing = Body { f, emit: self };
        body(&mut writing, &values);
        writing.f.seal_all_blocks();
        writing.f.finalize(config);
        self.builder_context = builder_context;
        let mut context = Context::for_function(function);
        self.module.define_function(id, &mut context).unwrap_or_else(|error| bug(&error));
        id
    }

    fn local_name(&self, what: &str) -> String {
        format!("{}.{what}", self.plan.name)
    }
}

/// One function being written.
struct Body<'f, 'a, M> {
    f: FunctionBuilder<'f>,
    emit: &'f mut Emit<'a, M>,
}

impl<M: Module> Body<'_, '_, M> {
    /// A field of the call, by its offset.
    fn call_field(&mut self, call: Value, offset: usize) -> Value {
        self.f.ins().load(types::I64, MemFlagsData::trusted(), call, offset as i32)
    }

    fn arena(&mut self, call: Value) -> Value {
        self.call_field(call, offset_of!(Call, arena))
    }

    /// Sizes from an array of the symbols' values, with or without watching for overflow.
    fn size_code(&mut self, dims: Value, checked: bool) -> SizeCode {
        let overflow = checked.then(|| self.f.ins().iconst(types::I8, 0));
        SizeCode { dims, order: self.emit.program.symbol_order.clone(), indices: BTreeMap::new(), overflow }
    }

    fn constant(&mut self, value: i64) -> Value {
        self.f.ins().iconst(types::I64, value)
    }

    fn status(&mut self, status: Status) -> Value {
        self.f.ins().iconst(types::I32, i64::from(status.code()))
    }

    /// Calls a function of this module; its status, if it answers one.
    fn call_local(&mut self, function: FuncId, args: &[Value]) -> Option<Value> {
        let reference = self.emit.module.declare_func_in_func(function, self.f.func);
        let call = self.f.ins().call(reference, args);
        self.f.inst_results(call).first().copied()
    }

    /// Calls a function of this module and returns its status unless it is 0.
    fn call_checked(&mut self, function: FuncId, args: &[Value]) {
        if let Some(status) = self.call_local(function, args) {
            self.return_unless_ok(status);
        }
    }

    /// Returns this status unless it is 0.
    fn return_unless_ok(&mut self, status: Value) {
        let next = self.branch_aside(status);
        self.f.ins().return_(&[status]);
        self.f.switch_to_block(next);
    }

    /// Opens the block that runs where the condition holds; answers the one that runs elsewhere.
    fn branch_aside(&mut self, condition: Value) -> Block {
        let (aside, next) = (self.f.create_block(), self.f.create_block());
        self.f.set_cold_block(aside);
        self.f.ins().brif(condition, aside, &[], next, &[]);
        self.f.switch_to_block(aside);
        next
    }

    /// Where the condition holds, fails with that status and detail.
    fn fail_if(&mut self, condition: Value, detail_address: Value, status: Status, detail: i64) {
        let next = self.branch_aside(condition);
        let detail = self.constant(detail);
        self.fail(detail_address, status, detail);
        self.f.switch_to_block(next);
    }

    /// Writes the detail of a failure where the caller wants it, and returns the status.
    fn fail(&mut self, detail_address: Value, status: Status, detail: Value) {
        let (wanted, done) = (self.f.create_block(), self.f.create_block());
        self.f.ins().brif(detail_address, wanted, &[], done, &[]);
        self.f.switch_to_block(wanted);
        self.f.ins().store(MemFlagsData::trusted(), detail, detail_address, 0);
        self.f.ins().jump(done, &[]);
        self.f.switch_to_block(done);
        let status = self.status(status);
        self.f.ins().return_(&[status]);
    }
}
