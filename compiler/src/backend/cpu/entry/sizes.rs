//! Checks of sizes, and the two exported functions that answer sizes.

use super::{Body, Emit};
use crate::backend::cpu::cpu_check::check_code;
use crate::kernel::Program;
use crate::schedule::memory::buffer_bytes;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value, types};
use cranelift_module::{FuncId, Linkage, Module};
use kiln_ir::Dim;
use kiln_ir::artifact::Status;
use kiln_ir::graph::Relation;
use std::collections::BTreeSet;

impl<M: Module> Emit<'_, M> {
    /// `status sizes(dims, threads, bytes, detail)`: every check on symbols, then the arena's size.
    pub(super) fn sizes(&mut self) -> FuncId {
        let name = self.local_name("sizes");
        self.function(&name, Linkage::Local, 4, true, |body, params| {
            let [dims, threads, bytes, detail] = params[..] else { panic!("entry: sizes takes four parameters") };
            body.check_symbols(dims, detail);
            body.check_guards(dims, detail);
            let checked = sizes_to_check(body.emit.program);
            body.arena_size(&checked, dims, threads, bytes, detail);
        })
    }

    /// The same for steps that depend on no symbol, where there is nothing to check.
    pub(super) fn fixed_sizes(&mut self) -> FuncId {
        let name = self.local_name("sizes");
        self.function(&name, Linkage::Local, 4, true, |body, params| {
            let [dims, threads, bytes, detail] = params[..] else { panic!("entry: sizes takes four parameters") };
            let nothing = SizesToCheck::default();
            body.arena_size(&nothing, dims, threads, bytes, detail);
        })
    }

    /// `status cpu()`.
    pub(super) fn cpu_check(&mut self, features: &[&str]) -> FuncId {
        let name = self.local_name("cpu");
        let signature = self.signature(0, true);
        let id = self.module.declare_function(&name, Linkage::Local, &signature).unwrap_or_else(|error| panic!("entry: {name}: {error}"));
        if let Err(error) = self.module.define_function_bytes(id, 16, &check_code(features), &[]) {
            panic!("entry: {name}: {error}");
        }
        id
    }

    /// `status m_arena_bytes(dims, threads, bytes)`; after a failure, `bytes` holds the detail.
    pub(super) fn arena_bytes(&mut self, name: &str, sizes: FuncId, cpu: Option<FuncId>) -> FuncId {
        self.function(name, Linkage::Export, 3, true, |body, params| {
            if let Some(cpu) = cpu {
                body.call_checked(cpu, &[]);
            }
            let status = body.call_local(sizes, &[params[0], params[1], params[2], params[2]]).expect("sizes answers a status");
            body.f.ins().return_(&[status]);
        })
    }

    /// `status m_output_shapes(dims, shapes)`.
    pub(super) fn output_shapes(&mut self, name: &str, sizes: FuncId) -> FuncId {
        self.function(name, Linkage::Export, 2, true, |body, params| {
            let (dims, shapes) = (params[0], params[1]);
            let (one, null, unused) = (body.constant(1), body.constant(0), body.stack_word());
            body.call_checked(sizes, &[dims, one, unused, null]);
            let program = body.emit.program;
            let mut sizes = body.size_code(dims, false);
            let extents = program.outputs.iter().flat_map(|(_, id)| &program.buffer(*id).shape);
            for (position, extent) in extents.enumerate() {
                let value = sizes.value(&mut body.f, extent);
                body.f.ins().store(MemFlagsData::trusted(), value, shapes, 8 * position as i32);
            }
            let ok = body.status(Status::Ok);
            body.f.ins().return_(&[ok]);
        })
    }
}

impl<M: Module> Body<'_, '_, M> {
    /// The address of eight bytes on the stack.
    pub(super) fn stack_word(&mut self) -> Value {
        let slot = self.f.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3));
        self.f.ins().stack_addr(types::I64, slot, 0)
    }

    fn check_symbols(&mut self, dims: Value, detail: Value) {
        let program = self.emit.program;
        for (position, symbol) in program.symbol_order.iter().enumerate() {
            let range = program.symbols.of_symbol(symbol);
            let value = self.size_code(dims, false).symbol(&mut self.f, symbol);
            let bounds = [(IntCC::SignedLessThan, range.min, i64::MIN), (IntCC::SignedGreaterThan, range.max, i64::MAX)];
            for (outside, bound, unbounded) in bounds {
                if bound != unbounded {
                    let wrong = self.f.ins().icmp_imm_s(outside, value, bound);
                    self.fail_if(wrong, detail, Status::SymbolRange, position as i64);
                }
            }
        }
    }

    fn check_guards(&mut self, dims: Value, detail: Value) {
        let program = self.emit.program;
        for (position, guard) in program.guards.iter().enumerate() {
            let mut sizes = self.size_code(dims, true);
            let (left, right) = (sizes.value(&mut self.f, &guard.left), sizes.value(&mut self.f, &guard.right));
            let wrong = match guard.relation {
                Relation::Equal => self.f.ins().icmp(IntCC::NotEqual, left, right),
                Relation::AtMost => self.f.ins().icmp(IntCC::SignedGreaterThan, left, right),
                Relation::Broadcasts => {
                    let differ = self.f.ins().icmp(IntCC::NotEqual, left, right);
                    let left_long = self.f.ins().icmp_imm_s(IntCC::NotEqual, left, 1);
                    let right_long = self.f.ins().icmp_imm_s(IntCC::NotEqual, right, 1);
                    let long = self.f.ins().band(left_long, right_long);
                    self.f.ins().band(differ, long)
                }
            };
            // Sides that overflow cannot be compared: the condition does not hold.
            sizes.note(&mut self.f, wrong);
            let wrong = sizes.overflow.unwrap_or(wrong);
            self.fail_if(wrong, detail, Status::Guard, position as i64);
        }
    }

    /// Ends the function with the arena's size, or with a failure where some size overflows or is negative.
    fn arena_size(&mut self, checked: &SizesToCheck, dims: Value, threads: Value, bytes: Value, detail: Value) {
        let plan = self.emit.plan;
        let mut sizes = self.size_code(dims, true);
        for extent in &checked.not_negative {
            let value = sizes.value(&mut self.f, extent);
            let negative = self.f.ins().icmp_imm_s(IntCC::SignedLessThan, value, 0);
            sizes.note(&mut self.f, negative);
        }
        for size in &checked.not_overflowing {
            sizes.value(&mut self.f, size);
        }
        let one = self.constant(1);
        let threads = self.f.ins().smax(threads, one);
        let fixed = sizes.value(&mut self.f, &plan.scratch_at());
        let each = sizes.value(&mut self.f, &plan.worker_bytes);
        let scratch = sizes.multiply(&mut self.f, threads, each);
        let total = sizes.add(&mut self.f, fixed, scratch);
        if let Some(overflow) = sizes.overflow {
            self.fail_if(overflow, detail, Status::Overflow, -1);
        }
        self.f.ins().store(MemFlagsData::trusted(), total, bytes, 0);
        let ok = self.status(Status::Ok);
        self.f.ins().return_(&[ok]);
    }
}

/// Sizes that must be looked at before any offset is computed from them.
#[derive(Default)]
struct SizesToCheck {
    not_negative: BTreeSet<Dim>,
    not_overflowing: BTreeSet<Dim>,
}

fn sizes_to_check(program: &Program) -> SizesToCheck {
    let mut found = SizesToCheck::default();
    let is_size = |dim: &Dim| dim.symbols().iter().all(|symbol| program.symbol_order.contains(symbol));
    for (position, buffer) in program.buffers.iter().enumerate() {
        for extent in &buffer.shape {
            if extent.as_const().is_none() && is_size(extent) && program.symbols.range(extent).min < 0 {
                found.not_negative.insert(extent.clone());
            }
        }
        // Constant sizes were checked when memory was planned.
        if let Ok(bytes) = buffer_bytes(program, crate::kernel::BufferId(position as u32))
            && bytes.as_const().is_none()
            && is_size(&bytes)
        {
            found.not_overflowing.insert(bytes);
        }
    }
    found
}
