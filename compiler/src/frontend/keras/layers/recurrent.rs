//! Recurrent layers over `[batch, time, features]`, and the cells that `RNN` repeats.
//! `kernel: [features, gates·units]`, `recurrent_kernel: [units, gates·units]`, `bias: [gates·units]`, below the name of the cell;
//! gates in Keras's order: i, f, c, o (LSTM), z, r, h (GRU), whose bias is `[2, 3·units]` with `reset_after`.

use super::super::super::model::context::Weight;
use super::super::super::model::tree::{Mistake, Node};
use super::super::call::Call;
use super::super::config::Object;
use super::super::layer::Layer;
use super::super::network::snake_case;
use super::Results;
use super::activation::Activation;
use super::dense::{GLOROT, ZEROS};
use kiln_ir::attr::Real;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{self, Op, Slice};
use kiln_ir::{Dim, Tensor, Value};

/// A kind of cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// hₜ = f(W·xₜ + R·hₜ₋₁ + b)
    Simple,
    /// With a memory cell.
    Lstm,
    /// Gated.
    Gru,
}

impl Cell {
    /// By the class of a layer or of a cell.
    pub fn of(class: &str) -> Option<Cell> {
        Some(match class {
            "SimpleRNN" | "SimpleRNNCell" => Cell::Simple,
            "LSTM" | "LSTMCell" => Cell::Lstm,
            "GRU" | "GRUCell" => Cell::Gru,
            _ => return None,
        })
    }

    fn gates(self) -> usize {
        match self {
            Cell::Simple => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    fn states(self) -> usize {
        if self == Cell::Lstm { 2 } else { 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Cell::Simple => "simple_rnn_cell",
            Cell::Lstm => "lstm_cell",
            Cell::Gru => "gru_cell",
        }
    }
}

/// What walking over a sequence gives.
pub struct Walk {
    /// The outputs `[batch, time, units]`, each standing where its input stands.
    pub outputs: Value,
    /// The output of the step that is computed last, `[batch, units]`.
    pub last: Value,
    /// The last states `[batch, units]`: of an LSTM the output, then the memory.
    pub states: Vec<Value>,
}

/// Walks a cell over `x: [batch, time, features]`, whose settings are the part's; backwards if `reverse`. Errors: what does not fit.
fn walk<'t>(l: &mut Layer<'_, 't>, cell: Cell, x: Value, initial: &[Value], reverse: bool) -> Result<Walk, Mistake> {
    l.expect(x, &["batch", "time", "features"])?;
    let (units, gates) = (l.settings.size("units")?, cell.gates());
    let (features, batch) = (l.size(x, 2, "features")?, l.shape(x)[0].clone());
    let columns = gates.saturating_mul(units);
    let after = cell != Cell::Gru || l.settings.flag("reset_after", false)?;
    l.settings.refuse("stateful", "states that stay from call to call are none of a function's")?;
    for (setting, what) in [("dropout", "the dropout"), ("recurrent_dropout", "the recurrent dropout")] {
        if l.settings.number_or(setting, 0.0)? > 0.0 {
            l.leave_out(what);
        }
    }
    let dtype = l.dtypes.1;

    let weight = |name, rows: usize, initialiser| Weight { fans: (rows, columns), ..Weight::matrix(name, rows, columns, initialiser) };
    let kernel = l.parameter("kernel", weight("kernel", features, GLOROT))?;
    let recurrent = l.parameter("recurrent", weight("recurrent_kernel", units, Initialiser::Orthogonal(1.0)))?;
    let (kernel, recurrent) = (by_gates(l, kernel, cell, units)?, by_gates(l, recurrent, cell, units)?);
    let bias = match l.settings.flag("use_bias", true)? {
        false => l.uniform(&[2 * columns], 0.0),
        true if cell == Cell::Gru && after => {
            let weight = Weight { shape: vec![2, columns], ..Weight::vector("bias", 1, ZEROS) };
            let both = l.parameter("bias", weight)?;
            l.op(ops::Reshape { shape: vec![Dim::from(2 * columns)] }, &[both])?
        }
        true => {
            let bias = l.parameter("bias", Weight::vector("bias", columns, ZEROS))?;
            if cell == Cell::Lstm && l.settings.flag("unit_forget_bias", true)? && !l.import.has_weights {
                // The second gate forgets, and does not at first. *Source*: Jozefowicz et al. 2015.
                let forgets = |n: usize| if n / units.max(1) == 1 { 1.0 } else { 0.0 };
                let first = Tensor::from_floats(l.dtypes.0, vec![columns], (0..columns).map(forgets));
                l.import.fixed.insert(format!("{}/bias", l.path), first);
            }
            let bias = by_gates(l, bias, cell, units)?;
            let zeros = l.uniform(&[columns], 0.0);
            l.op(ops::Concat { axis: 0 }, &[bias, zeros])?
        }
    };
    let mut states = initial.to_vec();
    if states.is_empty() {
        let zero = l.scalar(0.0);
        states = vec![l.b().broadcast_to(zero, &[batch, Dim::from(units)]); cell.states()];
    }
    if states.len() != cell.states() {
        return Err(Mistake::new(format!("it has {} states and is given {}", cell.states(), states.len())));
    }
    states.iter_mut().for_each(|state| *state = l.cast(*state, dtype));
    let op = operator(l, cell, units, after, reverse)?;
    let steps = l.transpose(x, &[1, 0, 2])?;
    let results = l.ops(op, &[vec![steps, kernel, recurrent, bias], states].concat())?;
    let outputs = l.transpose(results[0], &[1, 0, 2])?;
    Ok(Walk { outputs, last: results[1], states: results[1..].to_vec() })
}

/// Weights `[.., gates·units]` as the operators take them, `[gates·units, ..]` with the gates of an LSTM in the order i, o, f, c.
fn by_gates(l: &mut Layer, weight: Value, cell: Cell, units: usize) -> Result<Value, Mistake> {
    let rank = l.rank(weight);
    let rows = if rank == 2 { l.transpose(weight, &[1, 0])? } else { weight };
    if cell != Cell::Lstm {
        return Ok(rows);
    }
    let shape = l.shape(rows);
    let gate = |l: &mut Layer, n: usize| {
        let (mut starts, mut sizes) = (vec![Dim::ZERO; rank], shape.clone());
        (starts[0], sizes[0]) = (Dim::from(n * units), Dim::from(units));
        l.op(Slice { starts, sizes, steps: vec![1; rank] }, &[rows])
    };
    let gates = [0, 3, 1, 2].map(|n| gate(l, n)).into_iter().collect::<Result<Vec<_>, _>>()?;
    l.op(ops::Concat { axis: 0 }, &gates)
}

fn operator(l: &mut Layer, cell: Cell, hidden: usize, linear_before_reset: bool, reverse: bool) -> Result<Op, Mistake> {
    let release = l.import.release;
    let outer = Activation::read(&l.settings, "activation", "tanh")?;
    let functions = match cell {
        Cell::Simple => vec![outer],
        Cell::Lstm => vec![Activation::read(&l.settings, "recurrent_activation", "sigmoid")?, outer, outer],
        Cell::Gru => vec![Activation::read(&l.settings, "recurrent_activation", "sigmoid")?, outer],
    };
    let (mut activations, mut alphas, mut betas) = (Vec::new(), Vec::new(), Vec::new());
    for function in functions {
        let Some((activation, alpha, beta)) = function.of_cell(release) else {
            let mistake = Mistake::new(format!("a recurrent cell with the activation function `{}` is not supported", function.name()));
            return Err(mistake.help("tanh, sigmoid, relu, linear, elu, leaky_relu, softplus, softsign and hard_sigmoid are"));
        };
        activations.push(activation);
        alphas.push(Real(alpha));
        betas.push(Real(beta));
    }
    Ok(match cell {
        Cell::Simple => ops::Rnn { hidden, activations, alphas, betas, clip: None, reverse, has_lengths: false }.into(),
        Cell::Lstm => ops::Lstm {
            hidden,
            activations,
            alphas,
            betas,
            clip: None,
            input_forget: false,
            reverse,
            has_lengths: false,
            has_peepholes: false,
        }
        .into(),
        Cell::Gru => ops::Gru { hidden, activations, alphas, betas, clip: None, linear_before_reset, reverse, has_lengths: false }.into(),
    })
}

/// Steps of `[batch, time, ..]` from the last to the first.
fn flipped(l: &mut Layer, x: Value) -> Result<Value, Mistake> {
    let sizes = l.shape(x);
    let (mut starts, mut steps) = (vec![Dim::ZERO; sizes.len()], vec![1; sizes.len()]);
    (starts[1], steps[1]) = (&sizes[1] - Dim::ONE, -1);
    l.op(Slice { starts, sizes, steps }, &[x])
}

/// One direction of a recurrent layer with settings of its own. Errors: what does not fit.
pub fn direction<'t>(l: &mut Layer<'_, 't>, class: &str, x: Value, initial: &[Value], reverse: bool) -> Result<Walk, Mistake> {
    l.settings.ignore(&["return_sequences", "return_state", "reset_after", "unit_forget_bias", "use_cudnn", "go_backwards"]);
    if class == "RNN" {
        return stack(l, x, initial, reverse);
    }
    let cell = Cell::of(class).ok_or_else(|| Mistake::new(format!("`{class}` is no recurrent layer that is supported")))?;
    // The cell has the settings of the layer.
    let (path, group) = (l.path.clone(), l.group.clone());
    l.path = format!("{path}/{}", cell.name());
    l.group = format!("{group}/cell");
    let walk = walk(l, cell, x, initial, reverse);
    (l.path, l.group) = (path, group);
    walk
}

/// The cells of an `RNN`, one after the other at each step: the same as one layer after the other.
fn stack<'t>(l: &mut Layer<'_, 't>, x: Value, initial: &[Value], reverse: bool) -> Result<Walk, Mistake> {
    l.settings.refuse("stateful", "states that stay from call to call are none of a function's")?;
    let node = l.settings.get("cell").ok_or_else(|| Mistake::new("the setting `cell` is missing"))?;
    let cell = Object::read(node)?;
    let cells: Vec<(&'t Node, String, String)> = if cell.class == "StackedRNNCells" {
        let nodes = cell.config.field("cells").and_then(Node::list).ok_or_else(|| Mistake::new("`cells` is no list"))?;
        let mut counts: Vec<&str> = Vec::new();
        let mut cells = Vec::new();
        for node in nodes {
            let object = Object::read(node)?;
            let count = counts.iter().filter(|class| **class == object.class).count();
            counts.push(object.class);
            let stored = snake_case(object.class);
            let stored = if count == 0 { stored } else { format!("{stored}_{count}") };
            cells.push((node, format!("{}/{}", cell.name(), object.name()), format!("cell/cells/{stored}")));
        }
        cells
    } else {
        vec![(node, cell.name().to_string(), "cell".to_string())]
    };
    let (mut current, mut last, mut states, mut given) = (x, x, Vec::new(), initial);
    for (node, name, stored) in &cells {
        let object = Object::read(node)?;
        let Some(kind) = Cell::of(object.class) else {
            let mistake = Mistake::new(format!("the cell `{}` is not supported", object.class));
            return Err(mistake.help("SimpleRNNCell, LSTMCell, GRUCell and StackedRNNCells are"));
        };
        let count = if initial.is_empty() { 0 } else { kind.states().min(given.len()) };
        let (own, rest) = given.split_at(count);
        given = rest;
        let walk = l.part(name, stored, object.config, |l| {
            let walk = walk(l, kind, current, own, reverse)?;
            l.settings.ignore(&["reset_after", "unit_forget_bias"]);
            l.settings.finish()?;
            Ok(walk)
        })?;
        (current, last) = (walk.outputs, walk.last);
        states.extend(walk.states);
    }
    if given.is_empty() { Ok(Walk { outputs: current, last, states }) } else { Err(Mistake::new("it is given more states than it has")) }
}

/// `SimpleRNN`, `LSTM`, `GRU`, and `RNN` with a cell or several in a stack: the last output or all of them, then the states if they are
/// asked for.
pub fn recurrent<'t>(l: &mut Layer<'_, 't>, call: &Call<'t>) -> Result<Results, Mistake> {
    let mut values = call.values();
    values.extend(call.named_values("initial_state"));
    let (x, initial) = values.split_first().ok_or_else(|| Mistake::new("it is called with nothing"))?;
    let class = l.class;
    let reverse = l.settings.flag("go_backwards", false)?;
    let walk = direction(l, class, *x, initial, reverse)?;
    let y = match (l.settings.flag("return_sequences", false)?, reverse) {
        (false, _) => walk.last,
        (true, false) => walk.outputs,
        // Keras gives the outputs in the order in which they are computed.
        (true, true) => flipped(l, walk.outputs)?,
    };
    let states = if l.settings.flag("return_state", false)? { walk.states } else { Vec::new() };
    Ok([vec![y], states].concat().into())
}
