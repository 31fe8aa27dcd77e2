//! Loops whose turns threads take whole: to the pool a loop is a kernel, and each turn a task of it.

use super::Emit;
use crate::lower::Arg;
use crate::schedule::launches::{Launch, LaunchStep, Place, launches};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_module::{FuncId, Linkage, Module};
use kiln_ir::Symbol;
use kiln_ir::artifact::Call;
use std::collections::BTreeMap;
use std::mem::offset_of;

impl<M: Module> Emit<'_, M> {
    /// A function for each loop whose turns threads may take, by the loop's index.
    pub(super) fn turns_of(&mut self, steps: &[LaunchStep], found: &mut BTreeMap<Symbol, FuncId>) {
        for step in steps {
            match step {
                LaunchStep::Run(_) => {}
                LaunchStep::Loop { index, by_turns: true, body, .. } => {
                    let function = self.turns(&format!("turns{}", found.len()), index, &launches(body));
                    found.insert(index.clone(), function);
                }
                LaunchStep::Loop { body, .. } => self.turns_of(body, found),
            }
        }
    }

    /// `turnsN(call, worker, begin, end)`: those turns, with arguments and temporaries of the worker's own.
    fn turns(&mut self, name: &str, index: &Symbol, kernels: &[&Launch]) -> FuncId {
        let name = self.local_name(name);
        let plan = self.plan;
        self.function(&name, Linkage::Local, 4, false, |body, params| {
            let [call, worker, begin, end] = params[..] else { panic!("entry: turns take four parameters") };
            let (arena, dims) = (body.arena(call), body.call_field(call, offset_of!(Call, dims)));
            let mut sizes = body.size_code(dims, false);
            let (each, at) = (sizes.value(&mut body.f, &plan.worker_bytes), sizes.value(&mut body.f, &plan.scratch_at()));
            let skipped = body.f.ins().imul(worker, each);
            let own = body.f.ins().iadd(arena, at);
            let own = body.f.ins().iadd(own, skipped);
            let mut places = Vec::new();
            let mut next = 0;
            for launch in kernels {
                places.push(next);
                for (position, arg) in launch.args.iter().enumerate() {
                    let value = match arg {
                        Arg::Symbol(symbol) if symbol == index => continue,
                        Arg::Buffer(id) if let Some(Place::Worker(offset)) = plan.places.get(id) => {
                            let offset = sizes.value(&mut body.f, offset);
                            body.f.ins().iadd(own, offset)
                        }
                        // As it was written for all.
                        _ => body.f.ins().load(types::I64, MemFlagsData::trusted(), arena, launch.argument_at(position)),
                    };
                    body.f.ins().store(MemFlagsData::trusted(), value, own, next + 8 * position as i32);
                }
                next += 8 * launch.args.len() as i32;
            }
            let tasks: Vec<Value> = kernels.iter().map(|launch| sizes.value(&mut body.f, &launch.tasks)).collect();
            body.counted(begin, end, |body, now| {
                for ((launch, at), tasks) in kernels.iter().zip(&places).zip(tasks) {
                    for position in launch.positions_of(index) {
                        body.f.ins().store(MemFlagsData::trusted(), now, own, at + 8 * position as i32);
                    }
                    let args = body.f.ins().iadd_imm_s(own, i64::from(*at));
                    let zero = body.constant(0);
                    body.call_local(body.emit.kernels[&launch.function], &[args, worker, zero, tasks]);
                }
            });
            body.f.ins().return_(&[]);
        })
    }
}
