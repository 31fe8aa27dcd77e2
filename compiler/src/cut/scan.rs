//! Scans: the body is cut like a function and repeated; state lives in buffers of its own.

use super::{Choices, Cutter, Place, Region, row_major_strides};
use crate::kernel::{LoopKind, Step};
use kiln_ir::ops::Scan;
use kiln_ir::{Diagnostic, Dim, NodeId, Value};
use std::collections::BTreeMap;

impl Cutter {
    pub(super) fn scan(
        &mut self,
        region: &mut Region,
        id: NodeId,
        op: &Scan,
        wanted: &mut BTreeMap<Value, Place>,
    ) -> Result<(), Diagnostic> {
        let graph = region.graph;
        let inputs = graph.node(id).inputs.clone();
        let (carried, rest) = inputs.split_at(op.carried);
        let (scanned, captured) = rest.split_at(op.scanned);
        let body = &op.body;
        let index = self.loop_index();
        let extent = scan_length(region, op, scanned, id);

        // Final states and stacked slices go where their users want them; a state is updated in place after each turn.
        let results = graph.node(id).types.len();
        let mut places = Vec::new();
        for result in 0..results {
            let value = Value { node: id, result: result as u32 };
            places.push(self.destination(region, value, wanted));
        }
        for (&init, state) in carried.iter().zip(&places) {
            self.store_value(region, init, state.clone())?;
        }
        let turn = if op.reverse { &extent - Dim::ONE - Dim::from(index.clone()) } else { Dim::from(index.clone()) };
        let slice = |place: &Place| Place {
            buffer: place.buffer,
            base: &place.base + &turn * &place.strides[0],
            strides: place.strides[1..].to_vec(),
            margins: place.margins[1..].to_vec(),
        };
        let mut inside = BTreeMap::new();
        for (position, (_, value)) in body.inputs().iter().enumerate() {
            let place = match position {
                p if p < carried.len() => places[p].clone(),
                p if p < carried.len() + scanned.len() => slice(&self.stored(region, scanned[p - carried.len()])?),
                p => self.stored(region, captured[p - carried.len() - scanned.len()])?,
            };
            inside.insert(*value, place);
        }
        // New states are made beside the old ones, which the whole turn may read, and copied at its end.
        let mut outputs = Vec::new();
        let mut updates = Vec::new();
        for (position, (_, value)) in body.outputs().iter().enumerate() {
            if position < carried.len() {
                let ty = body.ty(*value);
                let next = self.temporary("state", ty.dtype, &ty.shape);
                outputs.push((*value, next.clone()));
                updates.push((next, places[position].clone(), ty.clone()));
            } else {
                outputs.push((*value, slice(&places[position])));
            }
        }
        let mut ranges = region.ranges.clone();
        ranges.set_index(index.clone(), extent.clone());
        let mut steps = self.function(body, region.choices.bodies.get(&id).unwrap_or(&Choices::default()), inside, outputs, ranges)?;
        for (from, to, ty) in updates {
            steps.push(Step::Run(super::nest::copy(&from, &to, &ty)));
        }
        region.steps.push(Step::Loop { index, extent, kind: LoopKind::Sequential, body: steps });
        Ok(())
    }

    /// Where a value lies, storing it first if nothing has.
    fn stored(&mut self, region: &mut Region, value: Value) -> Result<Place, Diagnostic> {
        if let Some(place) = region.places.get(&value) {
            return Ok(place.clone());
        }
        let ty = region.graph.ty(value).clone();
        let place = self.temporary(&super::value_name(region.graph, value), ty.dtype, &ty.shape);
        self.store_value(region, value, place.clone())?;
        debug_assert_eq!(place.strides, row_major_strides(&ty.shape));
        region.places.insert(value, place.clone());
        Ok(place)
    }
}

/// How many turns: the first axis of what is scanned, or of what is stacked.
fn scan_length(region: &Region, op: &Scan, scanned: &[Value], id: NodeId) -> Dim {
    match scanned.first() {
        Some(value) => region.graph.ty(*value).shape[0].clone(),
        None => region.graph.node(id).types.get(op.carried).and_then(|ty| ty.shape.first().cloned()).unwrap_or(Dim::ZERO),
    }
}
