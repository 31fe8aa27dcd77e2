//! One statement while it is decoded: modifiers that must all be used, operands that must have the right types.

use super::scope::Scope;
use crate::fault::ParseError;
use crate::instruction::{Address, PredicateSource, Source, Special, WARP};
use crate::parse::lexer::error_at;
use crate::parse::{Operand, Space, Statement};
use crate::types::{Kind, Type};
use std::cell::Cell;

pub(crate) type Decoded<T> = Result<T, ParseError>;

/// A statement and the names around it.
pub(crate) struct Line<'a> {
    pub scope: &'a Scope<'a>,
    pub statement: &'a Statement,
    /// The opcode up to its first dot.
    pub base: &'a str,
    modifiers: Vec<(&'a str, Cell<bool>)>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(scope: &'a Scope<'a>, statement: &'a Statement) -> Line<'a> {
        let mut parts = statement.opcode.split('.');
        let base = parts.next().unwrap_or("");
        Line { scope, statement, base, modifiers: parts.map(|m| (m, Cell::new(false))).collect() }
    }

    pub(crate) fn error<T>(&self, message: impl AsRef<str>) -> Decoded<T> {
        Err(error_at(self.scope.source, self.statement.line, format!("`{}`: {}", self.statement.opcode, message.as_ref())))
    }

    /// Whether the modifier is there; it counts as understood.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let mut found = false;
        for (modifier, used) in &self.modifiers {
            if *modifier == name && !used.get() && !found {
                used.set(true);
                found = true;
            }
        }
        found
    }

    /// The first of `names` that is there.
    pub(crate) fn one_of(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.flag(name))
    }

    /// Whether the modifier is there, without using it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.modifiers.iter().any(|(m, _)| *m == name)
    }

    /// Every unused modifier that `known` understands, in order.
    pub(crate) fn all<T>(&self, known: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let unused = self.modifiers.iter().filter(|(_, used)| !used.get());
        unused.filter_map(|(m, used)| known(m).inspect(|_| used.set(true))).collect()
    }

    /// The types among the modifiers, in order.
    pub(crate) fn types(&self) -> Vec<Type> {
        self.all(Type::parse)
    }

    /// The one type of the instruction.
    pub(crate) fn ty(&self) -> Decoded<Type> {
        match self.types()[..] {
            [ty] => Ok(ty),
            [] => self.error("the type is missing or not supported"),
            _ => self.error("one type expected"),
        }
    }

    /// All modifiers are understood and there are `count` operands.
    pub(crate) fn finish(&self, count: usize) -> Decoded<()> {
        if let Some((modifier, _)) = self.modifiers.iter().find(|(_, used)| !used.get()) {
            return self.error(format!("modifier `.{modifier}` is not supported here"));
        }
        if self.statement.operands.len() != count {
            return self.error(format!("{count} operands expected, {} given", self.statement.operands.len()));
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.statement.operands.len()
    }

    pub(crate) fn operand(&self, i: usize) -> Decoded<&'a Operand> {
        match self.statement.operands.get(i) {
            Some(operand) => Ok(operand),
            None => self.error(format!("operand {} is missing", i + 1)),
        }
    }

    fn wrong<T>(&self, name: &str, register: Type, ty: Type) -> Decoded<T> {
        self.error(format!("register `{name}` is {register}, which does not fit {ty}"))
    }

    /// A destination register that fits `ty`.
    pub(crate) fn to(&self, operand: &Operand, ty: Type) -> Decoded<u32> {
        match self.register(operand)? {
            (name, class, _) if !ty.accepts(class) => self.wrong(name, class, ty),
            (_, _, index) => Ok(index),
        }
    }

    pub(crate) fn d(&self, ty: Type) -> Decoded<u32> {
        self.to(self.operand(0)?, ty)
    }

    /// A destination that may be wider than `ty`, with its width; `_` is none.
    pub(crate) fn to_wider(&self, operand: &Operand, ty: Type) -> Decoded<Option<(u32, u32)>> {
        if *operand == Operand::Sink {
            return Ok(None);
        }
        match self.register(operand)? {
            (name, class, _) if !ty.accepts_wider(class) => self.wrong(name, class, ty),
            (_, class, index) => Ok(Some((index, class.width()))),
        }
    }

    pub(crate) fn register(&self, operand: &'a Operand) -> Decoded<(&'a str, Type, u32)> {
        match operand {
            Operand::Name(name, 0) => match self.scope.register(name) {
                Some((class, index)) => Ok((name, class, index)),
                None => self.error(format!("`{name}` is not a register")),
            },
            _ => self.error("a register is expected"),
        }
    }

    /// A source operand of type `ty`.
    pub(crate) fn source(&self, i: usize, ty: Type) -> Decoded<Source> {
        self.read(self.operand(i)?, ty)
    }

    pub(crate) fn read(&self, operand: &Operand, ty: Type) -> Decoded<Source> {
        self.value(operand, ty, false)
    }

    pub(crate) fn read_wider(&self, operand: &Operand, ty: Type) -> Decoded<Source> {
        self.value(operand, ty, true)
    }

    fn value(&self, operand: &Operand, ty: Type, wider: bool) -> Decoded<Source> {
        let immediate = |bits: u64| Ok(Source::Immediate(Box::new([bits & ty.mask(); WARP])));
        let float = !ty.is_integer() && ty.kind != Kind::Bits;
        match operand {
            Operand::Integer(value) if !float => immediate(*value as u64),
            Operand::Single(bits) if ty.width() == 32 && !ty.is_integer() => immediate(u64::from(*bits)),
            Operand::Single(bits) if ty == Type::F64 => immediate(f64::from(f32::from_bits(*bits)).to_bits()),
            Operand::Double(bits) if ty == Type::F32 => immediate(u64::from((f64::from_bits(*bits) as f32).to_bits())),
            Operand::Double(bits) if ty.width() == 64 && !ty.is_integer() => immediate(*bits),
            Operand::Name(name, offset) => {
                if let Some((class, index)) = self.scope.register(name) {
                    let fits = if wider { ty.accepts_wider(class) } else { ty.accepts(class) };
                    if !fits {
                        return self.wrong(name, class, ty);
                    }
                    if *offset != 0 {
                        return self.error(format!("`{name}` is a register: nothing can be added to it here"));
                    }
                    return Ok(Source::Register(index));
                }
                if let Some((special, class)) = special(name) {
                    let fits = if wider { ty.accepts_wider(class) } else { ty.accepts(class) };
                    if !fits {
                        return self.wrong(name, class, ty);
                    }
                    return Ok(Source::Special(special));
                }
                match self.scope.place(name) {
                    Some((Space::Global | Space::Const, index)) => Ok(Source::Symbol(index as u32, *offset)),
                    Some((_, address)) => Ok(Source::Immediate(Box::new([address.wrapping_add(*offset as u64); WARP]))),
                    None => self.error(format!("`{name}` is not declared")),
                }
            }
            _ => self.error(format!("a register or constant of type {ty} is expected")),
        }
    }

    /// A predicate operand, perhaps with `!`.
    pub(crate) fn predicate(&self, operand: &Operand) -> Decoded<PredicateSource> {
        match operand {
            Operand::Not(inner) => match self.predicate(inner)? {
                PredicateSource::Register(p, negated) => Ok(PredicateSource::Register(p, !negated)),
                PredicateSource::Constant(value) => Ok(PredicateSource::Constant(!value)),
            },
            Operand::Integer(value) => Ok(PredicateSource::Constant(*value != 0)),
            _ => Ok(PredicateSource::Register(self.to(operand, Type::PRED)?, false)),
        }
    }

    /// A memory operand.
    pub(crate) fn address(&self, i: usize, space: Space) -> Decoded<Address> {
        let Operand::Address { base, offset, coordinates } = self.operand(i)? else {
            return self.error("an address in brackets is expected");
        };
        if !coordinates.is_empty() {
            return self.error("coordinates do not belong here");
        }
        self.address_of(base, *offset, space)
    }

    pub(crate) fn address_of(&self, base: &Operand, offset: i64, space: Space) -> Decoded<Address> {
        let base = match base {
            Operand::Name(name, _) => {
                if let Some((class, index)) = self.scope.register(name) {
                    let narrow = class.width() == 32 && matches!(space, Space::Shared | Space::Local | Space::Param | Space::Const);
                    if !matches!(class.kind, Kind::Bits | Kind::Unsigned | Kind::Signed) || !(class.width() == 64 || narrow) {
                        return self.error(format!("register `{name}` is {class}, which is not an address of this space"));
                    }
                    Source::Register(index)
                } else {
                    match self.scope.place(name) {
                        // `.param` variables of a body, for calls.
                        Some((Space::Local, address)) if space == Space::Param => {
                            let base = Source::Immediate(Box::new([address; WARP]));
                            return Ok(Address { space: Space::Local, base, offset });
                        }
                        Some((found, _)) if found != space && space != Space::Generic => {
                            return self.error(format!("`{name}` lies in {found:?} memory, not in {space:?}"));
                        }
                        Some((Space::Shared | Space::Local | Space::Param, _)) if space == Space::Generic => {
                            return self.error(format!("`{name}` is not a generic address: use `cvta`, or name the space"));
                        }
                        Some((Space::Global | Space::Const, index)) => Source::Symbol(index as u32, 0),
                        Some((_, address)) => Source::Immediate(Box::new([address; WARP])),
                        None => return self.error(format!("`{name}` is not declared")),
                    }
                }
            }
            Operand::Integer(value) => Source::Immediate(Box::new([*value as u64; WARP])),
            _ => return self.error("an address is expected"),
        };
        Ok(Address { space, base, offset })
    }

    /// The elements of `{…}`, or the operand itself.
    pub(crate) fn elements(&self, i: usize) -> Decoded<&'a [Operand]> {
        match self.operand(i)? {
            Operand::Vector(elements) => Ok(elements),
            other => Ok(std::slice::from_ref(other)),
        }
    }
}

/// Whether a register may not be called `name`.
pub(crate) fn is_reserved(name: &str) -> bool {
    special(name).is_some() || special(&format!("{name}.x")).is_some()
}

/// Special registers and their types.
fn special(name: &str) -> Option<(Special, Type)> {
    let axis = |rest: &str| ["x", "y", "z"].iter().position(|a| *a == rest);
    let name = name.strip_prefix('%')?;
    if let Some((group, rest)) = name.split_once('.') {
        let axis = axis(rest)?;
        let special = match group {
            "tid" => Special::Thread(axis),
            "ntid" => Special::ThreadCount(axis),
            "ctaid" => Special::Block(axis),
            "nctaid" => Special::BlockCount(axis),
            "clusterid" => Special::Cluster(axis),
            "nclusterid" => Special::ClusterCount(axis),
            "cluster_ctaid" if axis == 0 => Special::ClusterRank,
            "cluster_nctaid" if axis == 0 => Special::ClusterSize,
            "cluster_ctaid" => Special::Constant(0),
            "cluster_nctaid" => Special::Constant(1),
            _ => return None,
        };
        return Some((special, Type::U32));
    }
    Some(match name {
        "laneid" => (Special::Lane, Type::U32),
        "warpid" => (Special::Warp, Type::U32),
        "nwarpid" => (Special::WarpCount, Type::U32),
        "clock" | "clock_hi" => (Special::Clock, Type::U32),
        "clock64" | "globaltimer" => (Special::Clock, Type::U64),
        "dynamic_smem_size" => (Special::DynamicShared, Type::U32),
        "total_smem_size" => (Special::TotalShared, Type::U32),
        "lanemask_eq" => (Special::LaneMask(|l, i| i == l), Type::U32),
        "lanemask_lt" => (Special::LaneMask(|l, i| i < l), Type::U32),
        "lanemask_le" => (Special::LaneMask(|l, i| i <= l), Type::U32),
        "lanemask_gt" => (Special::LaneMask(|l, i| i > l), Type::U32),
        "lanemask_ge" => (Special::LaneMask(|l, i| i >= l), Type::U32),
        "smid" | "gridid" => (Special::Constant(0), Type::U32),
        "cluster_ctarank" => (Special::ClusterRank, Type::U32),
        "cluster_nctarank" => (Special::ClusterSize, Type::U32),
        "nsmid" => (Special::Constant(1), Type::U32),
        _ => return None,
    })
}
