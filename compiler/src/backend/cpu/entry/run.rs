//! The function that runs everything, and its parts: writing arguments, running kernels.

use super::{Body, Emit, KERNELS_PER_FUNCTION, WeightsSource};
use crate::backend::cpu::size_code::SizeCode;
use crate::lower::Arg;
use crate::schedule::launches::{ERROR_CELL_BYTES, Launch, LaunchStep, Place, launches};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value, types};
use cranelift_module::{FuncId, Linkage, Module};
use kiln_ir::artifact::{ALIGNMENT, Call, Pool, Status};
use kiln_ir::{Dim, Symbol};
use std::collections::BTreeMap;
use std::mem::offset_of;

/// Work (scalar operations, as kernels estimate theirs; some 15 per nanosecond) below which handing it to a thread costs more than
/// it saves: a spinning thread takes a chunk in half a microsecond, a parked one in ten.
const WORTH_A_CHUNK: i64 = 1 << 16;

/// Turns of a loop for each worker from which on they are taken whole: fewer are hard to share evenly.
const TURNS_PER_WORKER: i64 = 2;

impl<M: Module> Emit<'_, M> {
    /// `status m_predict(call)`.
    pub(super) fn entry(&mut self, name: &str, sizes: FuncId, weights: WeightsSource) -> FuncId {
        let plan = self.plan;
        let launches = launches(&plan.steps);
        let setups: Vec<FuncId> =
            launches.chunks(KERNELS_PER_FUNCTION).enumerate().map(|(at, chunk)| self.setup(&format!("setup{at}"), chunk)).collect();
        let launch = self.launch();
        let mut turns = BTreeMap::new();
        // An observer is told of every kernel, which only works where they run one after the other.
        if self.observer.is_none() {
            self.turns_of(&plan.steps, &mut turns);
        }
        let parts: Vec<FuncId> = (chunks_of(&plan.steps).into_iter().enumerate())
            .map(|(at, steps)| self.steps(&format!("steps{at}"), steps, launch, &turns))
            .collect();
        self.function(name, Linkage::Export, 1, true, |body, params| {
            let call = params[0];
            let weights = body.weights(call, weights);
            body.check_arena(call, sizes);
            let (arena, zero) = (body.arena(call), body.constant(0));
            body.f.ins().store(MemFlagsData::trusted(), zero, arena, 0);
            for setup in setups {
                body.call_local(setup, &[call, weights]);
            }
            body.observe(-1);
            for part in parts {
                body.call_checked(part, &[call]);
            }
            let ok = body.status(Status::Ok);
            body.f.ins().return_(&[ok]);
        })
    }

    /// `setupN(call, weights)`: writes all arguments but loop indices.
    fn setup(&mut self, name: &str, launches: &[&Launch]) -> FuncId {
        let name = self.local_name(name);
        self.function(&name, Linkage::Local, 2, false, |body, params| {
            let (call, weights) = (params[0], params[1]);
            let (arena, dims) = (body.arena(call), body.call_field(call, offset_of!(Call, dims)));
            let mut sizes = body.size_code(dims, false);
            for launch in launches {
                for (position, arg) in launch.args.iter().enumerate() {
                    if let Some(value) = body.argument(arg, call, arena, weights, &mut sizes) {
                        body.store_argument(arena, launch, position, value);
                    }
                }
            }
            body.f.ins().return_(&[]);
        })
    }

    /// `status stepsN(call)`.
    fn steps(&mut self, name: &str, steps: &[LaunchStep], launch: FuncId, turns: &BTreeMap<Symbol, FuncId>) -> FuncId {
        let name = self.local_name(name);
        self.function(&name, Linkage::Local, 1, true, |body, params| {
            let call = params[0];
            let (arena, dims) = (body.arena(call), body.call_field(call, offset_of!(Call, dims)));
            let pool = body.call_field(call, offset_of!(Call, pool));
            let sizes = body.size_code(dims, false);
            Running { call, arena, pool, launch, turns, sizes }.steps(body, steps);
            let ok = body.status(Status::Ok);
            body.f.ins().return_(&[ok]);
        })
    }

    /// `launch(pool, kernel, args, tasks, work_per_task)`: one kernel, on the pool where that pays.
    fn launch(&mut self) -> FuncId {
        let name = self.local_name("launch");
        let kernel_signature = self.signature(4, false);
        let parallel_signature = self.signature(5, false);
        self.function(&name, Linkage::Local, 5, false, |body, params| {
            let [pool, kernel, args, tasks, work] = params[..] else { panic!("entry: launch takes five parameters") };
            let (inline, maybe, parallel, done) =
                (body.f.create_block(), body.f.create_block(), body.f.create_block(), body.f.create_block());
            let none = body.f.ins().icmp_imm_s(IntCC::SignedLessThanOrEqual, tasks, 0);
            let some = body.f.create_block();
            body.f.ins().brif(none, done, &[], some, &[]);
            body.f.switch_to_block(some);
            let single = body.f.ins().icmp_imm_s(IntCC::Equal, tasks, 1);
            let alone = body.f.ins().icmp_imm_s(IntCC::Equal, pool, 0);
            let inline_now = body.f.ins().bor(single, alone);
            body.f.ins().brif(inline_now, inline, &[], maybe, &[]);

            body.f.switch_to_block(maybe);
            let (one, worth) = (body.constant(1), body.constant(WORTH_A_CHUNK));
            let work = body.f.ins().smax(work, one);
            let quotient = body.f.ins().udiv(worth, work);
            let grain = body.f.ins().smax(quotient, one);
            let few = body.f.ins().icmp(IntCC::SignedLessThanOrEqual, tasks, grain);
            body.f.ins().brif(few, inline, &[], parallel, &[]);

            body.f.switch_to_block(parallel);
            let data = body.call_field(pool, offset_of!(Pool, data));
            let parallel_for = body.call_field(pool, offset_of!(Pool, parallel_for));
            let signature = body.f.import_signature(parallel_signature);
            body.f.ins().call_indirect(signature, parallel_for, &[data, tasks, grain, kernel, args]);
            body.f.ins().jump(done, &[]);

            body.f.switch_to_block(inline);
            let zero = body.constant(0);
            let signature = body.f.import_signature(kernel_signature);
            body.f.ins().call_indirect(signature, kernel, &[args, zero, zero, tasks]);
            body.f.ins().jump(done, &[]);
            body.f.switch_to_block(done);
            body.f.ins().return_(&[]);
        })
    }
}

impl<M: Module> Body<'_, '_, M> {
    /// The address of the weights: the caller's, else the embedded ones; fails where there are none.
    fn weights(&mut self, call: Value, source: WeightsSource) -> Value {
        let given = self.call_field(call, offset_of!(Call, weights));
        if !self.emit.plan.needs_weights {
            return given;
        }
        let absent = self.f.ins().icmp_imm_s(IntCC::Equal, given, 0);
        match source {
            WeightsSource::Symbol(data) => {
                let symbol = self.emit.module.declare_data_in_func(data, self.f.func);
                let embedded = self.f.ins().symbol_value(types::I64, symbol);
                self.f.ins().select(absent, embedded, given)
            }
            WeightsSource::Caller => {
                let detail = self.call_field(call, offset_of!(Call, detail));
                self.fail_if(absent, detail, Status::NoWeights, -1);
                given
            }
        }
    }

    /// Tells the observer, if there is one, where the run is.
    fn observe(&mut self, place: i64) {
        if let Some(observer) = self.emit.observer {
            let place = self.constant(place);
            self.call_local(observer, &[place]);
        }
    }

    /// Checks sizes, and that the arena is large enough and aligned.
    fn check_arena(&mut self, call: Value, sizes: FuncId) {
        let (dims, detail) = (self.call_field(call, offset_of!(Call, dims)), self.call_field(call, offset_of!(Call, detail)));
        let pool = self.call_field(call, offset_of!(Call, pool));
        let (given, merged) = (self.f.create_block(), self.f.create_block());
        let workers = self.f.append_block_param(merged, types::I64);
        let one = self.constant(1);
        self.f.ins().brif(pool, given, &[], merged, &[BlockArg::Value(one)]);
        self.f.switch_to_block(given);
        let of_pool = self.call_field(pool, offset_of!(Pool, workers));
        self.f.ins().jump(merged, &[BlockArg::Value(of_pool)]);
        self.f.switch_to_block(merged);
        let needed_at = self.stack_word();
        self.call_checked(sizes, &[dims, workers, needed_at, detail]);
        let needed = self.f.ins().load(types::I64, MemFlagsData::trusted(), needed_at, 0);
        let (arena, bytes) = (self.arena(call), self.call_field(call, offset_of!(Call, arena_bytes)));
        let small = self.f.ins().icmp(IntCC::SignedLessThan, bytes, needed);
        let low_bits = self.f.ins().band_imm_s(arena, ALIGNMENT as i64 - 1);
        let misaligned = self.f.ins().icmp_imm_s(IntCC::NotEqual, low_bits, 0);
        let wrong = self.f.ins().bor(small, misaligned);
        let next = self.branch_aside(wrong);
        self.fail(detail, Status::Arena, needed);
        self.f.switch_to_block(next);
    }

    /// The value of an argument that is known before anything runs; none for loop indices.
    fn argument(&mut self, arg: &Arg, call: Value, arena: Value, weights: Value, sizes: &mut SizeCode) -> Option<Value> {
        let plan = self.emit.plan;
        match arg {
            Arg::Symbol(symbol) => sizes.order.contains(symbol).then(|| sizes.symbol(&mut self.f, symbol)),
            Arg::ErrorCell => Some(arena),
            Arg::TensorMap(_) => panic!("entry: tensor maps are for GPUs"),
            Arg::WorkerScratch => {
                let offset = sizes.value(&mut self.f, &plan.scratch_at());
                Some(self.f.ins().iadd(arena, offset))
            }
            Arg::Buffer(id) => Some(match plan.places.get(id) {
                Some(Place::Input(position)) => self.pointer(call, offset_of!(Call, inputs), *position),
                Some(Place::Output(position)) => self.pointer(call, offset_of!(Call, outputs), *position),
                Some(Place::Weights(offset)) => self.f.ins().iadd_imm_s(weights, *offset as i64),
                Some(Place::Temporary(offset)) => {
                    let offset = sizes.value(&mut self.f, &(offset + Dim::from(plan.temporaries_at())));
                    self.f.ins().iadd(arena, offset)
                }
                // Of the first worker, where threads share kernels.
                Some(Place::Worker(offset)) => {
                    let offset = sizes.value(&mut self.f, &(offset + plan.scratch_at()));
                    self.f.ins().iadd(arena, offset)
                }
                None => panic!("entry: buffer `{}` has no place in {}", self.emit.program.buffer(*id).name, plan.name),
            }),
        }
    }

    /// The n-th pointer of an array in the call.
    fn pointer(&mut self, call: Value, array: usize, position: usize) -> Value {
        let array = self.call_field(call, array);
        self.f.ins().load(types::I64, MemFlagsData::trusted(), array, 8 * position as i32)
    }

    fn store_argument(&mut self, arena: Value, launch: &Launch, position: usize, value: Value) {
        self.f.ins().store(MemFlagsData::trusted(), value, arena, launch.argument_at(position));
    }

    /// Runs `inside` for each number in `begin..end`.
    pub(super) fn counted(&mut self, begin: Value, end: Value, inside: impl FnOnce(&mut Self, Value)) {
        let (head, turn, done) = (self.f.create_block(), self.f.create_block(), self.f.create_block());
        let now = self.f.append_block_param(head, types::I64);
        self.f.ins().jump(head, &[BlockArg::Value(begin)]);
        self.f.switch_to_block(head);
        let more = self.f.ins().icmp(IntCC::SignedLessThan, now, end);
        self.f.ins().brif(more, turn, &[], done, &[]);
        self.f.switch_to_block(turn);
        inside(self, now);
        let next = self.f.ins().iadd_imm_s(now, 1);
        self.f.ins().jump(head, &[BlockArg::Value(next)]);
        self.f.switch_to_block(done);
    }
}

/// Values that running kernels needs at hand.
struct Running<'t> {
    call: Value,
    arena: Value,
    pool: Value,
    launch: FuncId,
    /// Functions of loops whose turns threads may take.
    turns: &'t BTreeMap<Symbol, FuncId>,
    sizes: SizeCode,
}

impl Running<'_> {
    fn steps<M: Module>(&mut self, body: &mut Body<'_, '_, M>, steps: &[LaunchStep]) {
        for step in steps {
            match step {
                LaunchStep::Run(launch) => self.run(body, launch),
                LaunchStep::Loop { index, extent, body: inner, .. } => match self.turns.get(index) {
                    Some(turns) => self.share_turns(body, *turns, index, extent, inner),
                    None => self.repeat(body, index, extent, inner),
                },
            }
        }
    }

    fn run<M: Module>(&mut self, body: &mut Body<'_, '_, M>, launch: &Launch) {
        if launch.tasks.as_const().is_some_and(|tasks| tasks <= 0) {
            return;
        }
        let args = body.f.ins().iadd_imm_s(self.arena, ERROR_CELL_BYTES + launch.args_offset);
        let tasks = self.sizes.value(&mut body.f, &launch.tasks);
        let kernel = body.emit.kernels[&launch.function];
        if launch.always_inline() {
            let zero = body.constant(0);
            body.call_local(kernel, &[args, zero, zero, tasks]);
        } else {
            let work = self.sizes.value(&mut body.f, &launch.work_per_task);
            let reference = body.emit.module.declare_func_in_func(kernel, body.f.func);
            let address = body.f.ins().func_addr(types::I64, reference);
            body.call_local(self.launch, &[self.pool, address, args, tasks, work]);
        }
        body.observe(launch.args_offset);
        if launch.args.contains(&Arg::ErrorCell) {
            let cell = body.f.ins().load(types::I64, MemFlagsData::trusted(), self.arena, 0);
            let next = body.branch_aside(cell);
            let node = body.f.ins().iadd_imm_s(cell, -1);
            let detail = body.call_field(self.call, offset_of!(Call, detail));
            body.fail(detail, Status::Index, node);
            body.f.switch_to_block(next);
        }
    }

    /// Has threads take turns where there are some for each, else has them share each kernel.
    fn share_turns<M: Module>(&mut self, body: &mut Body<'_, '_, M>, turns: FuncId, index: &Symbol, extent: &Dim, steps: &[LaunchStep]) {
        let (given, shared, alone, done) = (body.f.create_block(), body.f.create_block(), body.f.create_block(), body.f.create_block());
        let count = self.sizes.value(&mut body.f, extent);
        body.f.ins().brif(self.pool, given, &[], alone, &[]);
        body.f.switch_to_block(given);
        let workers = body.call_field(self.pool, offset_of!(Pool, workers));
        let enough = body.f.ins().imul_imm_s(workers, TURNS_PER_WORKER);
        let many = body.f.ins().icmp(IntCC::SignedGreaterThanOrEqual, count, enough);
        body.f.ins().brif(many, shared, &[], alone, &[]);
        body.f.switch_to_block(shared);
        let work = Dim::sum(&launches(steps).iter().map(|launch| &launch.tasks * &launch.work_per_task).collect::<Vec<_>>());
        let work = self.sizes.value(&mut body.f, &work);
        let reference = body.emit.module.declare_func_in_func(turns, body.f.func);
        let address = body.f.ins().func_addr(types::I64, reference);
        body.call_local(self.launch, &[self.pool, address, self.call, count, work]);
        body.f.ins().jump(done, &[]);
        body.f.switch_to_block(alone);
        self.repeat(body, index, extent, steps);
        body.f.ins().jump(done, &[]);
        body.f.switch_to_block(done);
    }

    fn repeat<M: Module>(&mut self, body: &mut Body<'_, '_, M>, index: &Symbol, extent: &Dim, steps: &[LaunchStep]) {
        let extent = self.sizes.value(&mut body.f, extent);
        let zero = body.constant(0);
        body.counted(zero, extent, |body, now| {
            for launch in launches(steps) {
                for position in launch.positions_of(index) {
                    body.store_argument(self.arena, launch, position, now);
                }
            }
            let outer = self.sizes.indices.insert(index.clone(), now);
            self.steps(body, steps);
            self.sizes.indices.remove(index);
            self.sizes.indices.extend(outer.map(|value| (index.clone(), value)));
        });
    }
}

impl Launch {
    /// Where an argument lies in the arena.
    pub(super) fn argument_at(&self, position: usize) -> i32 {
        let offset = ERROR_CELL_BYTES + self.args_offset + 8 * position as i64;
        i32::try_from(offset).expect("entry: arguments of kernels take less than 2 GiB")
    }

    /// The arguments that are the index of a loop.
    pub(super) fn positions_of(&self, index: &Symbol) -> impl Iterator<Item = usize> {
        (0..self.args.len()).filter(move |at| matches!(&self.args[*at], Arg::Symbol(symbol) if symbol == index))
    }

    /// Whether the pool is no use for any size.
    fn always_inline(&self) -> bool {
        match (self.tasks.as_const(), self.work_per_task.as_const()) {
            (Some(1), _) => true,
            (Some(tasks), Some(work)) => tasks.saturating_mul(work) < WORTH_A_CHUNK,
            _ => false,
        }
    }
}

/// The steps in slices of about [`KERNELS_PER_FUNCTION`] kernels; a loop stays whole.
fn chunks_of(steps: &[LaunchStep]) -> Vec<&[LaunchStep]> {
    let (mut chunks, mut start, mut kernels) = (Vec::new(), 0, 0);
    for (at, step) in steps.iter().enumerate() {
        kernels += launches(std::slice::from_ref(step)).len();
        if kernels >= KERNELS_PER_FUNCTION {
            chunks.push(&steps[start..=at]);
            (start, kernels) = (at + 1, 0);
        }
    }
    if start < steps.len() {
        chunks.push(&steps[start..]);
    }
    chunks
}
