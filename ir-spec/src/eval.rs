//! The reference interpreter: walks the nodes and calls each operator's `eval`. Everything else is compared with it.

use crate::graph::{Graph, Module, NodeKind, Value};
use crate::{Diagnostic, Dim, Tensor};
use std::collections::BTreeMap;

/// Runs a function of a module on inputs in order.
///
/// Errors: shapes that do not fit, a guard that fails, a parameter without a value, an index out of range; each names the node.
pub fn evaluate(module: &Module, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
    evaluate_observed(&|name| module.parameters.get(name)?.value.clone(), graph, inputs, &mut |_, _| {})
}

/// The same with parameters from anywhere, and every value shown to `observe` as it is computed.
pub fn evaluate_observed(
    parameter: &dyn Fn(&str) -> Option<Tensor>,
    graph: &Graph,
    inputs: &[Tensor],
    observe: &mut dyn FnMut(Value, &Tensor),
) -> Result<Vec<Tensor>, Diagnostic> {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| t.shape().to_vec()).collect();
    let symbols = graph.bind_symbols(&shapes).map_err(|e| Diagnostic::new("input_shape", e))?;
    for ((name, value), tensor) in graph.inputs().iter().zip(inputs) {
        let expected = graph.ty(*value).dtype;
        if tensor.dtype() != expected {
            return Err(Diagnostic::new("input_dtype", format!("input `{name}` is {}, expected {expected}", tensor.dtype())));
        }
    }
    for guard in &graph.guards {
        if guard.holds(&|s| symbols.get(s).copied()) != Some(true) {
            return Err(Diagnostic::new("guard", format!("the given sizes do not fit: {guard}")));
        }
    }
    let bind = |d: &Dim| d.substitute(&|s| symbols.get(s).map(|v| Dim::from(*v)));

    let order = graph.order();
    let mut uses: BTreeMap<Value, usize> = BTreeMap::new();
    let operands = order.iter().flat_map(|id| graph.node(*id).inputs.iter());
    for value in operands.chain(graph.outputs().iter().map(|(_, v)| v)) {
        *uses.entry(*value).or_default() += 1;
    }
    let mut values: BTreeMap<Value, Tensor> = BTreeMap::new();
    for id in order {
        let node = graph.node(id);
        let place = || node.origin.as_ref().map_or_else(|| format!("node {}", id.index()), |o| o.text.clone());
        let results = match &node.kind {
            NodeKind::Input(position) => vec![inputs[*position].clone()],
            NodeKind::Constant(tensor) => vec![tensor.clone()],
            NodeKind::Parameter(name) => match parameter(name) {
                Some(tensor) => vec![tensor],
                None => {
                    return Err(Diagnostic::new("parameter", format!("parameter `{name}` has no value")));
                }
            },
            NodeKind::Op(op) => {
                let operands: Vec<Tensor> = node.inputs.iter().map(|v| values[v].clone()).collect();
                let mut op = op.clone();
                op.map_dims(&mut |d| bind(d));
                op.eval(&operands).map_err(|e| Diagnostic::new("evaluate", format!("{}: {e}", op.name())).at(place(), "computed here"))?
            }
        };
        for (result, tensor) in results.into_iter().enumerate() {
            let value = Value { node: id, result: result as u32 };
            observe(value, &tensor);
            values.insert(value, tensor);
        }
        for operand in &node.inputs {
            if let Some(left) = uses.get_mut(operand) {
                *left -= 1;
                if *left == 0 {
                    values.remove(operand);
                }
            }
        }
    }
    Ok(graph.outputs().iter().map(|(_, v)| values[v].clone()).collect())
}
