//! Layers around other layers.

use super::super::super::model::tree::{Kind, Mistake, Node};
use super::super::call::{Argument, Call};
use super::super::config::Object;
use super::super::layer::{Layer, Release};
use super::super::network::{Place, apply};
use super::Results;
use super::recurrent::{Walk, direction};
use kiln_ir::ops::{self, Reshape};
use kiln_ir::{Dim, Value};

/// `Bidirectional`: a recurrent layer from the first step to the last and one back; `merge_mode` says what becomes of both outputs.
pub fn bidirectional<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Results, Mistake> {
    let mut values = call.values();
    values.extend(call.named_values("initial_state"));
    let (&x, initial) = values.split_first().ok_or_else(|| Mistake::new("it is called with nothing"))?;
    let forward = l.settings.get("layer").ok_or_else(|| Mistake::new("the setting `layer` is missing"))?;
    // Without settings of its own the way back has those of the way there.
    let backward = l.settings.get("backward_layer").unwrap_or(forward);
    let (first, second) = (Object::read(forward)?, Object::read(backward)?);
    let flag = |name: &str| matches!(first.config.field(name), Some(Node { kind: Kind::Bool(true), .. }));
    let (sequences, return_state) = (flag("return_sequences"), flag("return_state"));
    if flag("go_backwards") {
        return Err(Mistake::new("its layer walks backwards already").help("give it a layer with go_backwards=False"));
    }
    let (ours, theirs) = initial.split_at(initial.len() / 2);
    let ahead = one_way(l, &first, "forward_", x, ours)?;
    let back = one_way(l, &second, "backward_", x, theirs)?;
    let (y, z) = if sequences { (ahead.outputs, back.outputs) } else { (ahead.last, back.last) };
    let mode = match l.settings.get("merge_mode") {
        Some(node) => node.text().unwrap_or_default(),
        None => "none",
    };
    let mut results = match mode {
        "concat" => {
            let axis = l.rank(y) - 1;
            vec![l.op(ops::Concat { axis }, &[y, z])?]
        }
        "sum" => vec![l.op(ops::Add {}, &[y, z])?],
        "mul" => vec![l.op(ops::Mul {}, &[y, z])?],
        "ave" => {
            let sum = l.op(ops::Add {}, &[y, z])?;
            let mut b = l.b();
            let half = b.like(sum, 0.5);
            vec![b.mul(sum, half)]
        }
        "none" => vec![y, z],
        other => return Err(Mistake::new(format!("the merge mode `{other}` is not supported: concat, sum, mul and ave are"))),
    };
    if return_state {
        results.extend(ahead.states);
        results.extend(back.states);
    }
    Ok(results.into())
}

/// The layer of one direction, there or back. Keras puts the prefix before its name, in files of Keras 2 after it wrote its settings.
fn one_way<'t>(l: &mut Layer<'_, 't>, object: &Object<'t>, prefix: &str, x: Value, initial: &[Value]) -> Result<Walk, Mistake> {
    let name = if object.name().starts_with(prefix) { object.name().to_string() } else { format!("{prefix}{}", object.name()) };
    l.part(&name, &format!("{prefix}layer"), object.config, |l| {
        let walk = direction(l, object.class, x, initial, prefix == "backward_")?;
        l.settings.finish()?;
        Ok(walk)
    })
}

/// Steps that a layer is written out for, one by one.
const MOST_STEPS: i64 = 64;

/// `TimeDistributed`: a layer on each step of `[batch, time, ..]`, as if every step were a sample; but in training Keras 3 normalises each
/// step by statistics of its own.
pub fn time_distributed<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Value, Mistake> {
    let x = call.value()?;
    let node: &'t Node = l.settings.get("layer").ok_or_else(|| Mistake::new("the setting `layer` is missing"))?;
    let object = Object::read(node)?;
    let shape = l.shape(x);
    if shape.len() < 3 {
        return Err(Mistake::new(format!("takes [batch, time, ..], but what comes in is {}", l.ty(x))));
    }
    let place = Place {
        path: format!("{}/{}", l.path, object.name()),
        group: format!("{}/layer", l.group),
        owners: l.owners.clone(),
        dtypes: l.dtypes,
    };
    let of = |l: &mut Layer<'_, 't>, x: Value| -> Result<Value, Mistake> {
        let call = Call::new(vec![Argument::Value(x)], Vec::new());
        let results = apply(l.import, &object, &call, &place)?;
        let [y] = results[..] else { return Err(Mistake::new("its layer gives several values; one is supported")) };
        Ok(y)
    };
    if l.import.release == Release::Three && normalises_batches(node) {
        match shape[1].as_const().filter(|steps| (1..=MOST_STEPS).contains(steps)) {
            None => l.leave_out("batch statistics of each step by itself"),
            Some(steps) if l.import.training.is_some() => {
                let mut made = Vec::new();
                for step in 0..steps {
                    let one = l.b().slice_axis(x, 1, &Dim::from(step), &Dim::ONE);
                    let one = l.op(Reshape { shape: [&shape[..1], &shape[2..]].concat() }, &[one])?;
                    let y = of(l, one)?;
                    made.push(l.b().unsqueeze(y, &[1]));
                }
                return l.op(ops::Concat { axis: 1 }, &made);
            }
            Some(_) => {}
        }
    }
    let steps = [vec![&shape[0] * &shape[1]], shape[2..].to_vec()].concat();
    let folded = l.op(Reshape { shape: steps }, &[x])?;
    let y = of(l, folded)?;
    let made = l.shape(y);
    let Some((_, rest)) = made.split_first() else { return Err(Mistake::new("its layer gives a single number")) };
    let unfolded: Vec<Dim> = shape[..2].iter().chain(rest).cloned().collect();
    l.op(Reshape { shape: unfolded }, &[y])
}

/// Whether a layer is a batch normalisation, or has one inside.
fn normalises_batches(node: &Node) -> bool {
    match &node.kind {
        Kind::Table(entries) => entries.iter().any(|(key, value)| {
            let is_one = key.name == "class_name" && value.text() == Some("BatchNormalization");
            is_one || normalises_batches(value)
        }),
        Kind::List(items) => items.iter().any(normalises_batches),
        _ => false,
    }
}
