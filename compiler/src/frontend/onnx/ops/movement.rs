//! Operators that give the same elements another shape or order.

use crate::frontend::onnx::context::{Context, MAX_RANK};
use crate::frontend::onnx::registry::{ANY, Results, Row, row};
use kiln_ir::{Diagnostic, Dim, Value};

/// The operators.
pub const ROWS: &[Row] = &[
    row("Concat", 1, (1, ANY), concat),
    row("DepthToSpace", 1, (1, 1), depth_to_space),
    row("Expand", 8, (2, 2), expand),
    row("Flatten", 1, (1, 1), flatten),
    row("Reshape", 1, (1, 2), reshape),
    row("SpaceToDepth", 1, (1, 1), space_to_depth),
    row("Squeeze", 1, (1, 2), squeeze),
    row("Tile", 1, (2, 3), tile),
    row("Transpose", 1, (1, 1), transpose),
    row("Unsqueeze", 1, (1, 2), unsqueeze),
];

fn concat(cx: &mut Context) -> Results {
    let parts = cx.all_inputs()?;
    let rank = cx.rank(parts[0]);
    // The first operator set had a default.
    let axis = if cx.opset < 4 { cx.attributes.int_or("axis", 1)? } else { cx.attributes.required_int("axis")? };
    let axis = cx.axis(axis, rank)?;
    Ok(vec![cx.concat(&parts, axis)?])
}

fn flatten(cx: &mut Context) -> Results {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let axis = cx.attributes.int_or("axis", 1)?;
    // The axis is a position between axes: the rank itself is allowed.
    let axis = if axis == shape.len() as i64 { shape.len() } else { cx.axis(axis, shape.len())? };
    Ok(vec![cx.reshape(x, &[Dim::product(&shape[..axis]), Dim::product(&shape[axis..])])?])
}

/// 0 copies a size (unless `allowzero`), -1 takes what is left.
fn reshape(cx: &mut Context) -> Results {
    cx.attributes.ignore(&["consumed_inputs"]);
    let target = if cx.opset < 5 {
        cx.attributes.required_ints("shape")?.iter().map(|&d| Dim::from(d)).collect()
    } else {
        cx.required_dims(1, "the shape")?
    };
    let allow_zero = cx.attributes.flag_or("allowzero", false)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if target.len() > MAX_RANK {
        return Err(cx.error("onnx_rank", format!("{} axes, at most {MAX_RANK} are supported", target.len())));
    }
    let mut result = Vec::new();
    let mut open = None;
    for (axis, dim) in target.iter().enumerate() {
        result.push(match dim.as_const() {
            Some(-1) => {
                if open.replace(axis).is_some() {
                    return Err(cx.error("onnx_reshape", format!("more than one size is -1 in {target:?}")));
                }
                Dim::ONE
            }
            Some(0) if !allow_zero => match shape.get(axis) {
                Some(d) => d.clone(),
                None => {
                    return Err(cx.error("onnx_reshape", format!("size 0 of axis {axis} copies an axis that the operand does not have")));
                }
            },
            Some(d) if d < 0 => return Err(cx.error("onnx_reshape", format!("size {d} of axis {axis} is negative"))),
            _ => dim.clone(),
        });
    }
    if let Some(open) = open {
        result[open] = left_over(cx, &shape, &result)?;
    }
    Ok(vec![cx.reshape(x, &result)?])
}

/// The size that -1 stands for: axes that stay as they are cancel before anything is multiplied out.
fn left_over(cx: &Context, from: &[Dim], to: &[Dim]) -> Result<Dim, Diagnostic> {
    let (mut above, mut below) = (from.to_vec(), to.to_vec());
    above.retain(|d| match below.iter().position(|b| b == d && !d.is(0)) {
        Some(position) => {
            below.swap_remove(position);
            false
        }
        None => true,
    });
    let (above, below) = (Dim::product(&above), Dim::product(&below));
    if below.is(0) {
        return Err(cx.error("onnx_reshape", "-1 beside a size 0 could be anything"));
    }
    if let (Some(a), Some(b)) = (above.as_const(), below.as_const())
        && a % b != 0
    {
        return Err(cx.error("onnx_reshape", format!("{a} elements cannot be split into rows of {b}: {from:?} to {to:?}")));
    }
    Ok(above.floor_div(&below).simplify(cx.ranges()))
}

fn squeeze(cx: &mut Context) -> Results {
    let axes = cx.ints_by_opset("axes", 13, 1)?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let axes = match axes {
        Some(axes) => cx.axes(&axes, shape.len())?,
        // Without axes, whatever is 1 for certain.
        None => (0..shape.len()).filter(|&a| shape[a].is(1)).collect(),
    };
    for &axis in &axes {
        cx.require_equal(&shape[axis], &Dim::ONE, "squeeze drops axes of size 1")?;
    }
    let kept: Vec<Dim> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a].clone()).collect();
    Ok(vec![cx.reshape(x, &kept)?])
}

fn unsqueeze(cx: &mut Context) -> Results {
    let Some(axes) = cx.ints_by_opset("axes", 13, 1)? else {
        return Err(cx.error("onnx_arity", "Unsqueeze needs to know which axes to insert"));
    };
    let x = cx.input(0)?;
    let mut shape = cx.shape(x);
    let rank = shape.len() + axes.len();
    if rank > MAX_RANK {
        return Err(cx.error("onnx_rank", format!("{rank} axes, at most {MAX_RANK} are supported")));
    }
    for axis in cx.axes(&axes, rank)? {
        shape.insert(axis, Dim::ONE);
    }
    Ok(vec![cx.reshape(x, &shape)?])
}

fn transpose(cx: &mut Context) -> Results {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let perm: Vec<usize> = match cx.attributes.ints("perm")? {
        Some(perm) => perm.iter().map(|&a| cx.axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(cx.attributes.refuse("perm", format!("is {perm:?}, must name each of {rank} axes once")));
    }
    Ok(vec![cx.transpose(x, &perm)?])
}

/// Broadcasting both ways: the shape may also be smaller than the operand's.
fn expand(cx: &mut Context) -> Results {
    let target = cx.required_dims(1, "the shape")?;
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if let Some(bad) = target.iter().find(|d| d.as_const().is_some_and(|c| c < 0)) {
        return Err(cx.error("onnx_reshape", format!("size {bad} is negative")));
    }
    let shape = cx.broadcast_shape(&[shape, target])?;
    Ok(vec![cx.broadcast_to(x, &shape)?])
}

/// Repeats along each axis: a broadcast over new axes that are then merged with the old ones.
fn tile(cx: &mut Context) -> Results {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let repeats = if cx.opset < 6 {
        let (count, axis) = (cx.required_dims(1, "the number of tiles")?, cx.required_ints(2, "the axis")?);
        let ([count], &[axis]) = (count.as_slice(), axis.as_slice()) else {
            return Err(cx.error("onnx_size", "Tile takes one number of tiles and one axis"));
        };
        let axis = cx.axis(axis, shape.len())?;
        (0..shape.len()).map(|a| if a == axis { count.clone() } else { Dim::ONE }).collect()
    } else {
        cx.required_dims(1, "the number of repeats")?
    };
    if repeats.len() != shape.len() {
        return Err(cx.error("onnx_size", format!("{} repeats for an operand with {} axes", repeats.len(), shape.len())));
    }
    Ok(vec![repeat(cx, x, &repeats)?])
}

/// `x` repeated as often as `repeats` says on each axis.
pub fn repeat(cx: &mut Context, x: Value, repeats: &[Dim]) -> Result<Value, Diagnostic> {
    let shape = cx.shape(x);
    let (mut split, mut spread, mut merged) = (Vec::new(), Vec::new(), Vec::new());
    for (dim, count) in shape.iter().zip(repeats) {
        if !count.is(1) {
            split.push(Dim::ONE);
            spread.push(count.clone());
        }
        split.push(dim.clone());
        spread.push(dim.clone());
        merged.push(dim * count);
    }
    let x = cx.reshape(x, &split)?;
    let x = cx.broadcast_to(x, &spread)?;
    cx.reshape(x, &merged)
}

fn block_size(cx: &Context) -> Result<i64, Diagnostic> {
    let size = cx.attributes.required_int("blocksize")?;
    if size > 0 { Ok(size) } else { Err(cx.attributes.refuse("blocksize", format!("is {size}, must be positive"))) }
}

fn image(cx: &mut Context) -> Result<(Value, [Dim; 4]), Diagnostic> {
    let x = cx.input(0)?;
    match <[Dim; 4]>::try_from(cx.shape(x)) {
        Ok(shape) => Ok((x, shape)),
        Err(shape) => Err(cx.error("onnx_rank", format!("{} takes [N, C, H, W], got {} axes", cx.node.op_type, shape.len()))),
    }
}

fn depth_to_space(cx: &mut Context) -> Results {
    let block = Dim::from(block_size(cx)?);
    let (x, [n, c, h, w]) = image(cx)?;
    let depth = c.floor_div(&(&block * &block));
    cx.require_equal(&(&depth * (&block * &block)), &c, "the depth is a multiple of the block's area")?;
    let (b, d) = (block.clone(), depth);
    let (split, perm) = match cx.attributes.string_or("mode", "DCR")? {
        "DCR" => ([n.clone(), b.clone(), b.clone(), d.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n.clone(), d.clone(), b.clone(), b.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3]),
        other => return Err(cx.attributes.refuse("mode", format!("is {other:?}, must be DCR or CRD"))),
    };
    let x = cx.reshape(x, &split)?;
    let x = cx.transpose(x, &perm)?;
    Ok(vec![cx.reshape(x, &[n, d, h * &block, w * &block])?])
}

fn space_to_depth(cx: &mut Context) -> Results {
    let b = Dim::from(block_size(cx)?);
    let (x, [n, c, h, w]) = image(cx)?;
    let (rows, columns) = (h.floor_div(&b), w.floor_div(&b));
    cx.require_equal(&(&rows * &b), &h, "the height is a multiple of the block")?;
    cx.require_equal(&(&columns * &b), &w, "the width is a multiple of the block")?;
    let split = [n.clone(), c.clone(), rows.clone(), b.clone(), columns.clone(), b.clone()];
    let x = cx.reshape(x, &split)?;
    let perm = match cx.attributes.string_or("mode", "DCR")? {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return Err(cx.attributes.refuse("mode", format!("is {other:?}, must be DCR or CRD"))),
    };
    let x = cx.transpose(x, &perm)?;
    Ok(vec![cx.reshape(x, &[n, c * &b * &b, rows, columns])?])
}
