//! Statements into instructions: opcodes become functions, names become numbers, and what is unknown becomes an error.

mod asynchronous;
mod atomic;
mod bits;
mod collective;
mod compare;
mod control;
mod convert;
mod float;
mod half;
mod inline;
mod integer;
pub(crate) mod line;
mod matrix;
mod memory;
mod scope;
mod warpgroup;

use crate::fault::ParseError;
use crate::instruction::{Instruction, Op};
use crate::module::Kernel;
use crate::parse::lexer::error_at;
use crate::parse::{Item, Routine, Space, Tree, Variable};
use crate::types::Type;
use line::{Decoded, Line};
use scope::Scope;
pub(crate) use scope::{LOCAL_START, SHARED_START};

/// Decodes every kernel; gives them and the variables in global and constant memory.
pub(crate) fn decode(source: &str, tree: &Tree) -> Result<(Vec<Kernel>, Vec<Variable>), ParseError> {
    let mut kernels = Vec::new();
    for routine in tree.routines.iter().filter(|r| r.entry) {
        kernels.push(kernel(source, tree, routine)?);
    }
    let variables = tree.variables.iter().filter(|v| matches!(v.space, Space::Global | Space::Const)).cloned().collect();
    Ok((kernels, variables))
}

fn kernel(source: &str, tree: &Tree, routine: &Routine) -> Decoded<Kernel> {
    let (mut scope, params, param_bytes) = Scope::new(source, &tree.variables, routine)?;
    let body = inline::flatten(source, tree, routine)?;
    // Labels and shared variables are known to the whole body, before any instruction is decoded.
    let mut position = 0u32;
    for item in &body {
        match item {
            Item::Label(name, line) if scope.labels.contains_key(name) => {
                return Err(error_at(source, *line, format!("label `{name}` stands twice")));
            }
            Item::Label(name, _) => {
                scope.labels.insert(name.clone(), position);
            }
            Item::Targets { name, labels } => {
                scope.targets.insert(name.clone(), labels.clone());
            }
            Item::Variable(variable, line) if variable.space == Space::Shared => scope.declare(variable, *line)?,
            Item::Statement(_) => position += 1,
            _ => {}
        }
    }
    scope.place_external();
    let mut code = Vec::new();
    for item in &body {
        match item {
            Item::Open => scope.open(),
            Item::Close => scope.close(),
            Item::Registers { class, prefix, count, line } => {
                if line::is_reserved(prefix) {
                    return Err(error_at(source, *line, format!("`{prefix}` is the name of a special register")));
                }
                if let Err(name) = scope.add_registers(*class, prefix, *count) {
                    return Err(error_at(source, *line, format!("register `{name}` is declared twice")));
                }
            }
            Item::Alias { name, target, line } => scope.alias(name, target, *line)?,
            Item::Variable(variable, line) if variable.space != Space::Shared => scope.declare(variable, *line)?,
            Item::Statement(statement) => {
                let line = Line::new(&scope, statement);
                let guard = match &statement.guard {
                    None => None,
                    Some((name, negated)) => match scope.register(name) {
                        Some((Type::PRED, index)) => Some((index, *negated)),
                        _ => return line.error(format!("guard `{name}` is not a predicate register")),
                    },
                };
                code.push(Instruction { guard, op: operation(&line)?, line: statement.line });
            }
            Item::Label(..) | Item::Targets { .. } | Item::Variable(..) => {}
        }
    }
    // Falling off the end is a return.
    code.push(Instruction { guard: None, op: Op::Exit, line: code.last().map_or(routine.line, |i| i.line) });
    Ok(Kernel {
        name: routine.name.clone(),
        params,
        param_bytes,
        begins_early: code.iter().any(|instruction| matches!(instruction.op, Op::LaunchNextGrid)),
        code,
        registers: scope.register_names.len() as u32,
        predicates: scope.predicate_names.len() as u32,
        register_names: scope.register_names,
        predicate_names: scope.predicate_names,
        shared: scope.shared,
        shared_end: scope.shared_end,
        local_bytes: scope.local_end,
        max_threads: routine.max_threads,
        required_threads: routine.required_threads,
        cluster: routine.cluster,
    })
}

/// Asks each family in turn whether the opcode is its own.
fn operation(line: &Line) -> Decoded<Op> {
    for family in [
        integer::decode,
        bits::decode,
        float::decode,
        half::decode,
        compare::decode,
        convert::decode,
        control::decode,
        memory::decode,
        atomic::decode,
        collective::decode,
        matrix::decode,
        asynchronous::decode,
        warpgroup::decode,
    ] {
        if let Some(op) = family(line)? {
            return Ok(op);
        }
    }
    line.error("this instruction is not supported")
}
