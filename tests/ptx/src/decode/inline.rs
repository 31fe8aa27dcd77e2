//! Calls: the body of the function is put in the place of the call, with labels of its own.
//!
//! Parameters of functions lie in the caller's `.param` variables, which are per-thread memory; the names of the callee are other names
//! for them.

use super::line::Decoded;
use crate::parse::lexer::error_at;
use crate::parse::{Item, Operand, Routine, Statement, Tree};

/// How deep functions may call each other; recursion ends here.
const DEEPEST: u32 = 16;
/// Most statements of a body with all its calls.
const MOST_ITEMS: usize = 1 << 20;

/// The body of `routine` without calls.
pub(crate) fn flatten(source: &str, tree: &Tree, routine: &Routine) -> Decoded<Vec<Item>> {
    let mut out = Vec::new();
    let mut count = 0;
    expand(source, tree, routine, "", 0, &mut count, &mut out)?;
    Ok(out)
}

fn expand(source: &str, tree: &Tree, routine: &Routine, mark: &str, depth: u32, count: &mut u32, out: &mut Vec<Item>) -> Decoded<()> {
    let end = format!("return{mark}");
    let own = |name: &str| format!("{name}{mark}");
    for item in &routine.body {
        if out.len() > MOST_ITEMS {
            return Err(error_at(source, routine.line, "the body is too long with all its calls"));
        }
        match item {
            Item::Label(name, line) => out.push(Item::Label(own(name), *line)),
            Item::Targets { name, labels } => out.push(Item::Targets { name: own(name), labels: labels.iter().map(|l| own(l)).collect() }),
            Item::Statement(statement) => {
                let base = statement.opcode.split('.').next().unwrap_or("");
                match base {
                    "call" => call(source, tree, statement, depth, count, out)?,
                    "ret" if !mark.is_empty() => out.push(Item::Statement(Statement {
                        opcode: "bra".into(),
                        operands: vec![Operand::Name(end.clone(), 0)],
                        ..statement.clone()
                    })),
                    "bra" | "brx" => {
                        let mut statement = statement.clone();
                        if let Some(Operand::Name(name, 0)) = statement.operands.last_mut() {
                            *name = own(name);
                        }
                        out.push(Item::Statement(statement));
                    }
                    _ => out.push(item.clone()),
                }
            }
            other => out.push(other.clone()),
        }
    }
    if !mark.is_empty() {
        out.push(Item::Label(end, routine.line));
    }
    Ok(())
}

fn call(source: &str, tree: &Tree, statement: &Statement, depth: u32, count: &mut u32, out: &mut Vec<Item>) -> Decoded<()> {
    let error = |message: String| Err(error_at(source, statement.line, message));
    let (results, name, arguments): (&[Operand], _, &[Operand]) = match &statement.operands[..] {
        [Operand::List(results), Operand::Name(name, 0), Operand::List(arguments)] => (results, name, arguments),
        [Operand::Name(name, 0), Operand::List(arguments)] => (&[], name, arguments),
        [Operand::List(results), Operand::Name(name, 0)] => (results, name, &[]),
        [Operand::Name(name, 0)] => (&[], name, &[]),
        _ => return error("indirect calls are not supported".into()),
    };
    let Some(callee) = tree.routines.iter().find(|r| !r.entry && r.name == *name) else {
        return error(format!("function `{name}` has no body in this module: calls of it are not supported"));
    };
    if statement.guard.is_some() {
        return error("calls under a guard are not supported: branch around them".into());
    }
    if depth >= DEEPEST {
        return error(format!("`{name}` is called more than {DEEPEST} calls deep: recursion is not supported"));
    }
    if results.len() != callee.returns.len() || arguments.len() != callee.params.len() {
        return error(format!("`{name}` has {} results and {} parameters", callee.returns.len(), callee.params.len()));
    }
    *count += 1;
    out.push(Item::Open);
    for (variable, operand) in callee.returns.iter().chain(&callee.params).zip(results.iter().chain(arguments)) {
        let Operand::Name(target, 0) = operand else { return error("results and arguments must be `.param` variables".into()) };
        out.push(Item::Alias { name: variable.name.clone(), target: target.clone(), line: statement.line });
    }
    let mark = format!(" of {name} {count}");
    expand(source, tree, callee, &mark, depth + 1, count, out)?;
    out.push(Item::Close);
    Ok(())
}
