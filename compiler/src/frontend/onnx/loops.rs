//! `Scan` and `Loop`: a body that runs once for each slice of tensors, or a number of times that sizes tell, becomes a `scan`.
//!
//! Not supported are loops that end when their data say so, and carried values whose type changes.

use super::attributes::Attributes;
use super::context::Context;
use super::counting::{Carried, Counter, Counting, Fails};
use super::import::{Importer, Scope};
use super::operand::{KnownInts, Operand, OperandId};
use super::order::describe;
use super::proto::{GraphProto, NodeProto, ValueInfoProto};
use super::regions::Turns;
use kiln_ir::graph::Origin;
use kiln_ir::{DType, Diagnostic, Dim, Tensor, Value, ops};
use std::sync::Arc;

/// The first operator set in which the operands of `Scan` have no batch axis.
const UNBATCHED: i64 = 9;

impl Importer<'_> {
    /// `Scan`: carried values and slices of operands go in, carried values and slices of results come out.
    ///
    /// Errors: `onnx_arity`, `onnx_axis`, `onnx_attribute`; `onnx_unsupported` for lengths of sequences, which operator set 8 had.
    pub(super) fn scan_node(
        &mut self,
        node: &NodeProto,
        attributes: &Attributes,
        opset: i64,
        operands: &[Option<OperandId>],
    ) -> Result<Vec<OperandId>, Diagnostic> {
        if opset < 8 {
            return Err(Diagnostic::new("onnx_unsupported_op", format!("Scan exists since operator set 8, the model uses {opset}")));
        }
        let batched = opset < UNBATCHED;
        let operands = match operands {
            [None, rest @ ..] if batched => rest,
            [Some(_), ..] if batched => {
                return Err(Diagnostic::new("onnx_unsupported", "Scan with lengths of sequences is not supported")
                    .help("export the model for operator set 9 or newer, which has none"));
            }
            all => all,
        };
        let body = attributes.required_graph("body")?;
        let scanned = attributes.required_int("num_scan_inputs")?;
        let carried = usize::try_from(scanned).ok().filter(|n| *n > 0).and_then(|n| operands.len().checked_sub(n));
        let Some(carried) = carried else {
            return Err(attributes.refuse("num_scan_inputs", format!("is {scanned}, of {} operands", operands.len())));
        };
        expect(node, "operands of the body", operands.len(), body.input.len())?;
        let Some(stacked) = body.output.len().checked_sub(carried) else {
            return Err(Diagnostic::new(
                "onnx_arity",
                format!("the body of Scan has {} results, it carries {carried} values", body.output.len()),
            ));
        };
        let read = |name: &str, count: usize| -> Result<Vec<i64>, Diagnostic> {
            match attributes.ints(name)? {
                None => Ok(vec![0; count]),
                Some(list) if list.len() == count => Ok(list.to_vec()),
                Some(list) => Err(attributes.refuse(name, format!("has {} entries, must have {count}", list.len()))),
            }
        };
        let scanned = operands.len() - carried;
        let forward = |count: usize| vec![0; count];
        let (in_axes, in_directions, out_axes, out_directions) = if batched {
            (forward(scanned), read("directions", scanned)?, forward(stacked), forward(stacked))
        } else {
            let inputs = (read("scan_input_axes", scanned)?, read("scan_input_directions", scanned)?);
            let outputs = (read("scan_output_axes", stacked)?, read("scan_output_directions", stacked)?);
            (inputs.0, inputs.1, outputs.0, outputs.1)
        };
        attributes.finish()?;
        let backward = |directions: &[i64]| -> Result<Vec<bool>, Diagnostic> {
            let flag = |d: &i64| match d {
                0 => Ok(false),
                1 => Ok(true),
                other => Err(Diagnostic::new("onnx_attribute", format!("a direction of Scan is {other}, must be 0 or 1"))),
            };
            directions.iter().map(flag).collect()
        };
        let (inputs_backward, outputs_backward) = (backward(&in_directions)?, backward(&out_directions)?);
        let origin = self.origin(node);

        let values = operands.iter().map(|id| self.given(node, *id)).collect::<Result<Vec<_>, _>>()?;
        let steps = Steps { node, body, origin: origin.clone(), in_axes, inputs_backward, out_axes, outputs_backward };
        let results = if batched {
            // Each sample is a loop of its own.
            let names = (0..values.len()).map(|i| format!("sample{i}"));
            let turns = Turns { carried: Vec::new(), scanned: names.zip(values).collect(), reverse: false };
            self.scan(&turns, &origin, |me, samples| {
                let results = steps.import(me, carried, samples)?;
                Ok(results.into_iter().enumerate().map(|(i, value)| (format!("result{i}"), value)).collect())
            })?
        } else {
            steps.import(self, carried, &values)?
        };
        Ok(self.computed(results))
    }

    /// `Loop`: a body that runs a number of times, which a constant, sizes or the arithmetic of its condition tell.
    ///
    /// Errors: `onnx_arity`; `onnx_data_dependent` when only the run will tell how often.
    pub(super) fn loop_node(
        &mut self,
        node: &NodeProto,
        attributes: &Attributes,
        operands: &[Option<OperandId>],
    ) -> Result<Vec<OperandId>, Diagnostic> {
        let body = attributes.required_graph("body")?;
        attributes.finish()?;
        let ([count, condition, first @ ..], [number, going_on, states @ ..]) = (operands, body.input.as_slice()) else {
            return Err(Diagnostic::new("onnx_arity", "Loop and its body take 2 operands at least"));
        };
        expect(node, "carried values", first.len(), states.len())?;
        if body.output.len() < 1 + states.len() {
            let what = format!("the body of Loop has {} results, it carries {} values and a condition", body.output.len(), states.len());
            return Err(Diagnostic::new("onnx_arity", what));
        }
        let depends = |what: &str| {
            Diagnostic::new("onnx_data_dependent", format!("{what} of Loop depends on data that only the run has"))
                .help("make the number of steps a constant or a size, and the condition true throughout")
        };
        let number_of =
            |me: &Self, id: OperandId| me.operand(id).known_ints().filter(|known| known.elements.len() == 1).map(|k| k.elements[0].clone());
        let given = |me: &Self, id: &Option<OperandId>, what: &str| match id {
            None => Ok(None),
            Some(id) => number_of(me, *id).map(Some).ok_or_else(|| depends(what)),
        };
        let begins = given(self, condition, "the condition")?.is_none_or(|c| !c.is(0));
        let Counting { carried, condition } = self.counting(body, first)?;
        let ends = match &condition {
            Fails::At(step) => Some(step + Dim::ONE),
            Fails::Never | Fails::Unknown => None,
        };
        let count = given(self, count, "the number of steps")?.map(|steps| steps.maximum(&Dim::ZERO));
        let steps = match (count, ends) {
            _ if !begins => Dim::ZERO,
            (Some(count), Some(ends)) => count.simplify(&self.graph.symbols).minimum(&ends).simplify(&self.graph.symbols),
            (Some(steps), None) | (None, Some(steps)) => steps.simplify(&self.graph.symbols),
            (None, None) => return Err(depends("the end")),
        };

        let origin = self.origin(node);
        let places: Vec<usize> = (0..states.len()).filter(|at| first[*at].is_none() || matches!(carried[*at], Carried::Changing)).collect();
        let changing = places.iter().map(|at| self.given(node, first[*at])).collect::<Result<Vec<_>, _>>()?;
        let mut context = self.context(node, attributes, &origin);
        let numbers = context.op(ops::Iota { shape: vec![steps.clone()], axis: 0, dtype: DType::I64 }, &[])?;
        let names = places.iter().map(|at| states[*at].name.clone());
        let turns = Turns { carried: names.zip(changing).collect(), scanned: vec![(number.name.clone(), numbers)], reverse: false };
        let results = self.scan(&turns, &origin, |me, inputs| {
            let mut scope = me.scope_of(node, body)?;
            let (changing, slices) = inputs.split_at(places.len());
            me.name_inputs(&mut scope, turns.carried.iter().zip(changing).chain(turns.scanned.iter().zip(slices)))?;
            for ((info, carried), first) in states.iter().zip(&carried).zip(first) {
                let id = match (carried, first) {
                    (Carried::Counter(counter), _) => {
                        let value = counted(&mut me.context(node, attributes, &origin), counter, slices[0])?;
                        me.computed(vec![value])[0]
                    }
                    (Carried::Unchanged, Some(first)) => *first,
                    _ => continue,
                };
                if scope.names.insert(info.name.clone(), id).is_some() {
                    return Err(Diagnostic::new("onnx_duplicate", format!("two inputs are named \"{}\"", info.name)));
                }
            }
            let yes = me.add(Operand::constant(Tensor::from_ints(DType::Bool, Vec::new(), [1])));
            scope.names.insert(going_on.name.clone(), yes);
            let results = me.import_body(scope, body)?;
            if condition == Fails::Unknown && !number_of(me, results[0]).is_some_and(|c| c.is(1)) {
                return Err(depends("the condition"));
            }
            let kept = places.iter().copied().chain(states.len()..body.output.len() - 1);
            let (infos, ids): (Vec<_>, Vec<_>) = kept.map(|at| (&body.output[1 + at], results[1 + at])).unzip();
            me.named(&infos, &ids)
        })?;
        let mut results = self.computed(results).into_iter();
        let mut all = Vec::new();
        for at in 0..body.output.len() - 1 {
            match (carried.get(at), first.get(at)) {
                (Some(Carried::Counter(counter)), _) => all.push(self.add(Operand::known(counter.after(&steps)))),
                (Some(Carried::Unchanged), Some(first)) => all.extend(*first),
                _ => all.extend(results.next()),
            }
        }
        Ok(all)
    }

    /// An operand that must be there, in the graph.
    fn given(&mut self, node: &NodeProto, id: Option<OperandId>) -> Result<Value, Diagnostic> {
        match id {
            Some(id) => self.materialise(id),
            None => Err(Diagnostic::new("onnx_arity", format!("an operand of {} is missing", node.op_type))),
        }
    }

    fn computed(&mut self, values: Vec<Value>) -> Vec<OperandId> {
        let operand = |me: &Self, value: Value| Operand::computed(value, me.graph.ty(value).clone());
        values.into_iter().map(|value| self.add(operand(self, value))).collect()
    }

    /// Binds the inputs of a body to their values. Errors: `onnx_duplicate`.
    fn name_inputs<'a>(
        &mut self,
        scope: &mut Scope,
        inputs: impl Iterator<Item = (&'a (String, Value), &'a Value)>,
    ) -> Result<(), Diagnostic> {
        for ((name, _), value) in inputs {
            let id = self.computed(vec![*value])[0];
            if scope.names.insert(name.clone(), id).is_some() {
                return Err(Diagnostic::new("onnx_duplicate", format!("two inputs are named \"{name}\"")));
            }
        }
        Ok(())
    }

    /// Results of a body as values of the graph, with their names.
    fn named(&mut self, infos: &[&ValueInfoProto], ids: &[OperandId]) -> Result<Vec<(String, Value)>, Diagnostic> {
        let value = |(info, id): (&&ValueInfoProto, &OperandId)| Ok((info.name.clone(), self.materialise(*id)?));
        infos.iter().zip(ids).map(value).collect()
    }
}

/// The steps of `Scan` over operands without a batch axis.
struct Steps<'a> {
    node: &'a NodeProto,
    body: &'a GraphProto,
    origin: Arc<Origin>,
    /// The axis of each scanned operand, and whether it is walked backwards.
    in_axes: Vec<i64>,
    inputs_backward: Vec<bool>,
    /// The axis on which each result is stacked, and whether each slice stands before the earlier ones.
    out_axes: Vec<i64>,
    outputs_backward: Vec<bool>,
}

impl Steps<'_> {
    fn import(&self, importer: &mut Importer, carried: usize, operands: &[Value]) -> Result<Vec<Value>, Diagnostic> {
        let (states, tensors) = operands.split_at(carried);
        // One direction for all; what goes the other way is turned around.
        let reverse = self.inputs_backward.iter().all(|b| *b);
        let attributes = Attributes::new(self.node)?;
        let mut context = importer.context(self.node, &attributes, &self.origin);
        let mut stacked = Vec::new();
        for ((&value, &axis), &backward) in tensors.iter().zip(&self.in_axes).zip(&self.inputs_backward) {
            let rank = context.rank(value);
            let axis = context.axis(axis, rank)?;
            let front: Vec<usize> = [axis].into_iter().chain((0..rank).filter(|a| *a != axis)).collect();
            let value = context.transpose(value, &front)?;
            stacked.push(if backward == reverse { value } else { turned(&mut context, value)? });
        }
        let names: Vec<String> = self.body.input.iter().map(|info| info.name.clone()).collect();
        let mut names = names.into_iter();
        let carried = names.by_ref().zip(states.iter().copied()).take(carried).collect::<Vec<_>>();
        let turns = Turns { scanned: names.zip(stacked).collect(), carried, reverse };
        let mut results = importer.scan(&turns, &self.origin, |me, inputs| {
            let mut scope = me.scope_of(self.node, self.body)?;
            me.name_inputs(&mut scope, turns.carried.iter().chain(&turns.scanned).zip(inputs))?;
            let results = me.import_body(scope, self.body)?;
            me.named(&self.body.output.iter().collect::<Vec<_>>(), &results)
        })?;
        let mut context = importer.context(self.node, &attributes, &self.origin);
        let outputs = results[states.len()..].iter_mut().zip(&self.out_axes).zip(&self.outputs_backward);
        for ((result, &axis), &backward) in outputs {
            let rank = context.rank(*result);
            let axis = context.axis(axis, rank)?;
            let value = if backward == reverse { *result } else { turned(&mut context, *result)? };
            let back: Vec<usize> = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
            *result = context.transpose(value, &back)?;
        }
        Ok(results)
    }
}

/// What a counter is in the step of that number.
fn counted(context: &mut Context, counter: &Counter, number: Value) -> Result<Value, Diagnostic> {
    let KnownInts { dtype, shape, elements } = &counter.first;
    let mut value = number;
    if counter.step != 1 {
        let step = context.dim_scalar(&Dim::from(counter.step), DType::I64)?;
        value = context.op(ops::Mul {}, &[value, step])?;
    }
    if !elements[0].is(0) {
        let first = context.dim_scalar(&elements[0], DType::I64)?;
        value = context.op(ops::Add {}, &[value, first])?;
    }
    let shape: Vec<Dim> = shape.iter().map(|size| Dim::from(*size)).collect();
    let value = context.cast(value, *dtype)?;
    context.reshape(value, &shape)
}

/// The slices along axis 0 from the last to the first.
fn turned(context: &mut Context, x: Value) -> Result<Value, Diagnostic> {
    let sizes = context.shape(x);
    let mut op = ops::Slice { starts: vec![Dim::ZERO; sizes.len()], steps: vec![1; sizes.len()], sizes };
    op.starts[0] = &op.sizes[0] - Dim::ONE;
    op.steps[0] = -1;
    context.op(op, &[x])
}

fn expect(node: &NodeProto, what: &str, given: usize, expected: usize) -> Result<(), Diagnostic> {
    if given == expected {
        return Ok(());
    }
    Err(Diagnostic::new("onnx_arity", format!("{what} of {}: {given} are given, {expected} expected", describe(node))))
}
