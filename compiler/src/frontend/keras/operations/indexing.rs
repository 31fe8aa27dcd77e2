//! Operations that pick elements.

use super::super::super::model::tree::{Kind, Mistake, Node};
use super::super::call::{Argument, Call};
use super::super::config::element_type;
use super::super::layer::Layer;
use super::operand::{Operand, constant, operand, value};
use kiln_ir::ops::{self, Gather, Slice};
use kiln_ir::{DType, Dim, Value};

/// `x[key]`: numbers, slices, `None` and `...`.
pub fn get_item(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    // A key may be `None`, so it is looked at as it stands.
    let key = call.arguments.get(1).or_else(|| call.named.iter().find(|(name, _)| *name == "key").map(|(_, key)| key));
    call.named("key");
    let Some(Argument::Setting(node)) = key else { return Err(Mistake::new("its index is a value; numbers and slices are supported")) };
    let alone = std::slice::from_ref(*node);
    let items = node.field("items").and_then(Node::list).or_else(|| node.list()).unwrap_or(alone);
    let from = l.shape(x);
    let class = |node: &Node| node.field("class_name").and_then(|n| n.text().map(str::to_string));
    let taken = items.iter().filter(|item| item.kind != Kind::Null && class(item).as_deref() != Some("__ellipsis__")).count();
    let missing = from.len().checked_sub(taken).ok_or_else(|| Mistake::new(format!("it has {taken} indices for {} axes", from.len())))?;
    let (mut starts, mut sizes, mut steps, mut shape) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let whole = |starts: &mut Vec<Dim>, sizes: &mut Vec<Dim>, steps: &mut Vec<i64>, shape: &mut Vec<Dim>| {
        let size = from[starts.len()].clone();
        starts.push(Dim::ZERO);
        sizes.push(size.clone());
        steps.push(1);
        shape.push(size);
    };
    let mut open = false;
    for item in items {
        match (&item.kind, class(item).as_deref()) {
            (Kind::Null, _) => shape.push(Dim::ONE),
            (_, Some("__ellipsis__")) if !open => {
                open = true;
                (0..missing).for_each(|_| whole(&mut starts, &mut sizes, &mut steps, &mut shape));
            }
            (Kind::Integer(index), _) => {
                let size = &from[starts.len()];
                starts.push(if *index < 0 { size + Dim::from(*index) } else { Dim::from(*index) });
                sizes.push(Dim::ONE);
                steps.push(1);
            }
            (_, Some("__slice__")) => {
                let (start, size, step) = range(item, &from[starts.len()])?;
                starts.push(start);
                sizes.push(size.clone());
                steps.push(step);
                shape.push(size);
            }
            _ => return Err(Mistake::new("its index is neither a number nor a slice")),
        }
    }
    while starts.len() < from.len() {
        whole(&mut starts, &mut sizes, &mut steps, &mut shape);
    }
    let picked = l.op(Slice { starts, sizes, steps }, &[x])?;
    l.op(ops::Reshape { shape }, &[picked])
}

/// Where a slice begins, how many elements it takes, and how far apart.
fn range(node: &Node, size: &Dim) -> Result<(Dim, Dim, i64), Mistake> {
    let number = |name: &str| match node.field("config").and_then(|config| config.field(name)) {
        None => Ok(None),
        Some(Node { kind: Kind::Null, .. }) => Ok(None),
        Some(node) => match node.integer().filter(|n| i32::try_from(*n).is_ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Mistake::new(format!("`{name}` of a slice is no number"))),
        },
    };
    let step = number("step")?.unwrap_or(1);
    if step == 0 {
        return Err(Mistake::new("the step of a slice is 0"));
    }
    let zero = Dim::ZERO;
    // Python clamps both ends to the axis; backwards, to one before its first element.
    let (least, most) = if step > 0 { (zero.clone(), size.clone()) } else { (Dim::from(-1), size - Dim::ONE) };
    let clamped = |number: Option<i64>, default: &Dim| match number {
        None => default.clone(),
        Some(n) if n < 0 => (size + Dim::from(n)).maximum(&least),
        Some(n) => Dim::from(n).minimum(&most),
    };
    let (start, stop) = if step > 0 {
        (clamped(number("start")?, &zero), clamped(number("stop")?, size))
    } else {
        (clamped(number("start")?, &most), clamped(number("stop")?, &least))
    };
    let reach = if step > 0 { &stop - &start } else { &start - &stop };
    let count = reach.ceil_div(&Dim::from(step.abs())).maximum(&zero);
    Ok((start, count, step))
}

/// Elements of `axis` by their places, which are numbers or a value.
pub fn take(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    let axis = match l.settings.integers("axis")?.as_deref() {
        Some([axis]) => l.axis(x, *axis)?,
        _ => return Err(Mistake::new("it needs an `axis`")),
    };
    let indices = match operand(call, 1, "indices")? {
        Operand::Value(indices) => indices,
        Operand::Numbers { numbers, shape, .. } => {
            let size = l.shape(x)[axis].as_const();
            if let Some(outside) = numbers.iter().find(|n| size.is_none_or(|size| **n >= size as f64 || **n < -(size as f64))) {
                return Err(Mistake::new(format!("axis {axis} of {} has no element {outside}", l.ty(x))));
            }
            constant(l, DType::I64, shape, &numbers)
        }
    };
    l.op(Gather { axis }, &[x, indices])
}

/// 1 at the place of each number among `num_classes`, else 0.
pub fn one_hot(l: &mut Layer, call: &Call) -> Result<Value, Mistake> {
    let x = value(call)?;
    if l.settings.integer_or("axis", -1)? != -1 {
        return Err(Mistake::new("another `axis` than the last is not supported"));
    }
    l.settings.refuse("sparse", "dense values are")?;
    let classes = l.settings.size("num_classes")?;
    let dtype = match l.settings.get("dtype").and_then(|node| node.text()) {
        Some(name) => element_type(name)?,
        None => l.dtypes.1,
    };
    let x = if l.ty(x).dtype.is_int() { x } else { l.cast(x, DType::I32) };
    let (index, rank) = (l.ty(x).dtype, l.rank(x));
    let mut b = l.b();
    let x = b.unsqueeze(x, &[rank]);
    let places = b.iota(index, &[Dim::from(classes)], 0);
    let hit = l.broadcast_op(ops::Equal {}, &[x, places])?;
    Ok(l.cast(hit, dtype))
}
