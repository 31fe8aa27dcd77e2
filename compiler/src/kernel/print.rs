//! Programs as text, for people and snapshots: `kiln compile --emit kernels`.
//!
//! ```text
//! predict (x: f32[n, 3]) -> (y: f32[n, 3])
//!   temporary sum: f32[n, 3]
//!   nest add [i < n, j < 3]
//!     %0: f32 = x[3*i + j]
//!     %1: f32 = add %0 %0
//!     sum[3*i + j] = %1
//! ```
//! Values that an expression needs stand before it; an offset names a value it depends on as `%3`.

use super::{
    Access, Attention, Axis, Body, Buffer, BufferId, BufferKind, Combine, Contract, DEPTH_CHUNK, ExprId, ExprKind, Keep, Kernel, LoopKind,
    Nest, Program, Reduction, Scalar, Stage, Step, Store,
};
use kiln_ir::Dim;
use std::fmt::{self, Display, Formatter};

impl Display for Program {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let signature = |list: &[(String, BufferId)]| {
            let one = |(name, id): &(String, BufferId)| format!("{name}: {}", type_text(self.buffer(*id)));
            list.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "{} ({}) -> ({})", self.name, signature(&self.inputs), signature(&self.outputs))?;
        for symbol in &self.symbol_order {
            let range = self.symbols.of_symbol(symbol);
            match range.max {
                i64::MAX => writeln!(f, "  size {symbol} from {}", range.min)?,
                max => writeln!(f, "  size {symbol} from {} to {max}", range.min)?,
            }
        }
        for guard in &self.guards {
            writeln!(f, "  guard {guard}")?;
        }
        for (at, buffer) in self.buffers.iter().enumerate() {
            let kind = match &buffer.kind {
                BufferKind::Input(_) | BufferKind::Output(_) => continue,
                BufferKind::Constant(_) => "constant",
                BufferKind::Parameter(_) => "parameter",
                BufferKind::Prepared => "prepared",
                BufferKind::Temporary => "temporary",
            };
            writeln!(f, "  {kind} {}: {}", self.name_of(BufferId(at as u32)), type_text(buffer))?;
        }
        if !self.prepare.is_empty() {
            writeln!(f, "  prepare")?;
            Text { program: self, indent: 4 }.steps(f, &self.prepare)?;
        }
        writeln!(f, "  run")?;
        Text { program: self, indent: 4 }.steps(f, &self.steps)
    }
}

impl Program {
    /// A buffer's name, with its number where several have that name.
    fn name_of(&self, id: BufferId) -> String {
        let name = &self.buffer(id).name;
        let shared = self.buffers.iter().filter(|buffer| buffer.name == *name).count() > 1;
        if shared { format!("{name}#{}", id.0) } else { name.clone() }
    }
}

fn type_text(buffer: &Buffer) -> String {
    let shape: Vec<String> = buffer.shape.iter().map(Dim::to_string).collect();
    format!("{}[{}]", buffer.dtype, shape.join(", "))
}

/// Writes the parts of a program at an indentation.
struct Text<'a> {
    program: &'a Program,
    indent: usize,
}

impl Text<'_> {
    fn deeper(&self) -> Self {
        Text { program: self.program, indent: self.indent + 2 }
    }

    fn line(&self, f: &mut Formatter, text: impl Display) -> fmt::Result {
        writeln!(f, "{:1$}{text}", "", self.indent)
    }

    fn steps(&self, f: &mut Formatter, steps: &[Step]) -> fmt::Result {
        for step in steps {
            match step {
                Step::Run(kernel) => self.kernel(f, kernel)?,
                Step::Loop { index, extent, kind, body } => {
                    let how = match kind {
                        LoopKind::Sequential => String::new(),
                        LoopKind::Independent => " independently".to_string(),
                        LoopKind::Persistent { blocks } => format!(" by clusters of {blocks} that stay"),
                    };
                    self.line(f, format_args!("loop {index} < {extent}{how}"))?;
                    self.deeper().steps(f, body)?;
                }
            }
        }
        Ok(())
    }

    fn kernel(&self, f: &mut Formatter, kernel: &Kernel) -> fmt::Result {
        let inside = self.deeper();
        match &kernel.body {
            Body::Nest(nest) => {
                let order = if nest.serial { "serial " } else { "" };
                self.line(f, format_args!("{order}nest {} [{}]", kernel.name, axes(&nest.parallel)))?;
                inside.exprs(f, kernel)?;
                inside.stages(f, nest)
            }
            Body::Contract(contract) => {
                let Contract { batch, rows, columns, depth, chunk, lhs, rhs, stores } = contract;
                self.line(f, format_args!("contract {}", kernel.name))?;
                for (name, list) in [("batch", batch), ("rows", rows), ("columns", columns), ("depth", depth)] {
                    if !list.is_empty() {
                        inside.line(f, format_args!("{name} [{}]", axes(list)))?;
                    }
                }
                inside.exprs(f, kernel)?;
                let chunks = if *chunk == DEPTH_CHUNK { String::new() } else { format!(" in chunks of {chunk}") };
                inside.line(f, format_args!("accumulator 0 = sum of {} · {}{chunks}", value(*lhs), value(*rhs)))?;
                stores.iter().try_for_each(|store| inside.store(f, store))
            }
            Body::Attention(attention) => {
                let Attention { batch, rows, columns, keys, depth, query, key, score, value: of, first, end, stores, row_stores } =
                    attention;
                self.line(f, format_args!("attention {}", kernel.name))?;
                for (name, list) in [("batch", batch), ("rows", rows), ("columns", columns), ("keys", keys), ("depth", depth)] {
                    if !list.is_empty() {
                        inside.line(f, format_args!("{name} [{}]", axes(list)))?;
                    }
                }
                inside.exprs(f, kernel)?;
                inside.line(f, format_args!("accumulator 0 = sum of {} · {}", value(*query), value(*key)))?;
                inside
                    .line(f, format_args!("accumulator 0 = mean of {} by exp of {} from {first} up to {end}", value(*of), value(*score)))?;
                stores.iter().try_for_each(|store| inside.store(f, store))?;
                if row_stores.is_empty() {
                    return Ok(());
                }
                inside.line(f, "accumulator 0 = log of the sum of exp")?;
                row_stores.iter().try_for_each(|store| inside.store(f, store))
            }
        }
    }

    fn stages(&self, f: &mut Formatter, nest: &Nest) -> fmt::Result {
        let mut accumulators = 0;
        let inside = self.deeper();
        for stage in &nest.stages {
            match stage {
                Stage::Reduce { axes: over, reductions } => {
                    self.line(f, format_args!("reduce [{}]", axes(over)))?;
                    for reduction in reductions {
                        inside.line(f, format_args!("accumulator {accumulators} = {}", reduction_text(reduction)))?;
                        accumulators += 1;
                    }
                }
                Stage::Sweep { axes: over, stores } if over.is_empty() => stores.iter().try_for_each(|store| self.store(f, store))?,
                Stage::Sweep { axes: over, stores } => {
                    self.line(f, format_args!("sweep [{}]", axes(over)))?;
                    stores.iter().try_for_each(|store| inside.store(f, store))?;
                }
                Stage::Running { axis, descending, exclusive, reduction, store } => {
                    let order = if *descending { " descending" } else { "" };
                    let part = if *exclusive { " exclusive" } else { "" };
                    self.line(f, format_args!("running{order}{part} [{}]", axes(std::slice::from_ref(axis))))?;
                    inside.line(f, format_args!("accumulator {accumulators} = {}", reduction_text(reduction)))?;
                    accumulators += 1;
                    inside.store(f, store)?;
                }
            }
        }
        Ok(())
    }

    fn exprs(&self, f: &mut Formatter, kernel: &Kernel) -> fmt::Result {
        for id in kernel.live_exprs() {
            let expr = kernel.exprs.get(id);
            self.line(f, format_args!("{}: {} = {}", value(id), expr.dtype, self.expr(&expr.kind)))?;
        }
        Ok(())
    }

    fn expr(&self, kind: &ExprKind) -> String {
        match kind {
            ExprKind::Constant(Scalar::Int(n)) => n.to_string(),
            ExprKind::Constant(Scalar::Float(bits)) => format!("{:?}", f64::from_bits(*bits)),
            ExprKind::Index(dim) => format!("index {dim}"),
            ExprKind::Load(access) => self.load(access),
            ExprKind::Unary(function, a) => format!("{} {}", word(function), value(*a)),
            ExprKind::Binary(function, a, b) => format!("{} {} {}", word(function), value(*a), value(*b)),
            ExprKind::Compare(function, a, b) => format!("{} {} {}", word(function), value(*a), value(*b)),
            ExprKind::Select(c, a, b) => format!("select {} {} {}", value(*c), value(*a), value(*b)),
            ExprKind::Cast(a) => format!("cast {}", value(*a)),
            ExprKind::Accumulator(n) => format!("accumulator {n}"),
            ExprKind::CheckedIndex { index, extent, node } => {
                let name = self.program.checked_nodes.get(*node as usize).map_or("?", String::as_str);
                format!("checked {} < {extent} for {name}", value(*index))
            }
        }
    }

    fn load(&self, access: &Access) -> String {
        let mut text = format!("{}[{}]", self.program.name_of(access.buffer), access.offset);
        for (at, bound) in access.bounds.iter().enumerate() {
            let word = if at == 0 { "where" } else { "and" };
            text.push_str(&format!(" {word} 0 <= {} < {}", bound.index, bound.extent));
        }
        if let Some(otherwise) = access.otherwise {
            text.push_str(&format!(" else {}", value(otherwise)));
        }
        text
    }

    fn store(&self, f: &mut Formatter, store: &Store) -> fmt::Result {
        let combine = store.combine.map_or(String::new(), |combine| format!("{} ", combine_text(combine)));
        self.line(f, format_args!("{}[{}] = {combine}{}", self.program.name_of(store.buffer), store.offset, value(store.value)))
    }
}

fn value(id: ExprId) -> String {
    id.symbol().to_string()
}

fn axes(axes: &[Axis]) -> String {
    axes.iter().map(|axis| format!("{} < {}", axis.index, axis.extent)).collect::<Vec<_>>().join(", ")
}

fn reduction_text(reduction: &Reduction) -> String {
    let keep = match reduction.keep {
        Keep::Value => "",
        Keep::FirstPosition => "first position of ",
        Keep::LastPosition => "last position of ",
    };
    format!("{keep}{} {}", combine_text(reduction.combine), value(reduction.value))
}

fn combine_text(combine: Combine) -> &'static str {
    match combine {
        Combine::Sum => "sum",
        Combine::Product => "product",
        Combine::Max => "max",
        Combine::Min => "min",
        Combine::And => "and",
        Combine::Or => "or",
    }
}

/// `IsInf { .. }` and `ShiftLeft` as operators are spelled: the variant's name in snake case.
fn word(function: &impl fmt::Debug) -> String {
    let mut text = String::new();
    for c in format!("{function:?}").chars() {
        if c.is_ascii_uppercase() {
            if !text.is_empty() {
                text.push('_');
            }
            text.push(c.to_ascii_lowercase());
        } else {
            text.push(c);
        }
    }
    text
}
