//! Runs structured kernels point by point: the oracle that backends are compared with. Obvious, never fast.
//!
//! Sums are made in the canonical order, so a backend gives the same bits wherever only additions, products, fused
//! multiply-adds, square roots, comparisons and conversions are involved; transcendental functions are those of `f64`, rounded.

mod number;

pub use number::Number;

use super::{
    Attention, Axis, BinaryFn, Body, BufferId, BufferKind, Combine, Contract, ExprId, ExprKind, Keep, Kernel, Nest, Program, Reduction,
    Stage, Step, Store, UnaryFn, sum_dtype,
};
use kiln_ir::{Dim, Symbol, Tensor};
use number::{binary, cast, combine, compare, multiply_add, unary};
use std::collections::BTreeMap;

/// The buffers of a program while it runs.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Elements of each buffer, by id.
    pub buffers: Vec<Vec<Number>>,
    /// 0, or one more than the number of a node whose index was out of range.
    pub error: i64,
}

impl Memory {
    /// Memory for these sizes: constants in place, inputs and parameters taken from `given`, the rest zero.
    ///
    /// Errors: a size is unknown, or a tensor is missing or has the wrong number of elements.
    pub fn new(program: &Program, sizes: &BTreeMap<Symbol, i64>, given: &BTreeMap<BufferId, Tensor>) -> Result<Memory, String> {
        let mut buffers = Vec::new();
        for (i, buffer) in program.buffers.iter().enumerate() {
            let elements = buffer.elements().evaluate(&|s| sizes.get(s).copied()).ok_or_else(|| format!("size of {}", buffer.name))?;
            let tensor = match &buffer.kind {
                BufferKind::Constant(tensor) => Some(tensor),
                _ => given.get(&BufferId(i as u32)),
            };
            buffers.push(match tensor {
                Some(tensor) if tensor.elements() as i64 == elements => number::elements(tensor),
                Some(tensor) => return Err(format!("{} holds {elements} elements, got {}", buffer.name, tensor.elements())),
                None => vec![Number::zero(buffer.dtype); elements.max(0) as usize],
            });
        }
        Ok(Memory { buffers, error: 0 })
    }

    /// A buffer's contents as a tensor of one axis.
    pub fn tensor(&self, program: &Program, id: BufferId) -> Tensor {
        number::tensor(program.buffer(id).dtype, &self.buffers[id.0 as usize])
    }
}

/// Runs the prepare steps, then the steps.
///
/// Errors: an offset outside its buffer, or a dim that cannot be evaluated: both are bugs of whoever made the program.
pub fn run(program: &Program, sizes: &BTreeMap<Symbol, i64>, memory: &mut Memory) -> Result<(), String> {
    let mut symbols = sizes.clone();
    steps(program, &program.prepare, &mut symbols, memory)?;
    steps(program, &program.steps, &mut symbols, memory)
}

fn steps(program: &Program, list: &[Step], symbols: &mut BTreeMap<Symbol, i64>, memory: &mut Memory) -> Result<(), String> {
    for step in list {
        match step {
            Step::Run(kernel) => run_kernel(program, kernel, symbols, memory).map_err(|e| format!("{}: {e}", kernel.name))?,
            Step::Loop { index, extent, body, .. } => {
                let n = extent.evaluate(&|s| symbols.get(s).copied()).ok_or_else(|| format!("extent {extent} of {index}"))?;
                for i in 0..n {
                    symbols.insert(index.clone(), i);
                    steps(program, body, symbols, memory)?;
                }
                symbols.remove(index);
            }
        }
    }
    Ok(())
}

/// Runs one kernel; `symbols` are the sizes and enclosing loop indices.
pub fn run_kernel(program: &Program, kernel: &Kernel, symbols: &BTreeMap<Symbol, i64>, memory: &mut Memory) -> Result<(), String> {
    let mut point = Point { program, kernel, symbols: symbols.clone(), accumulators: vec![], memory, values: vec![] };
    match &kernel.body {
        Body::Nest(nest) => point.over(&nest.parallel, &mut |point| point.nest(nest)),
        Body::Contract(contract) => point.contract(contract),
        Body::Attention(attention) => point.attention(attention),
    }
}

/// One point of a kernel's iteration space.
struct Point<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    symbols: BTreeMap<Symbol, i64>,
    accumulators: Vec<Number>,
    memory: &'a mut Memory,
    /// Values of expressions at this point.
    values: Vec<Option<Number>>,
}

type Outcome = Result<(), String>;

impl Point<'_> {
    /// Runs `body` at every point of `axes` in row-major order.
    fn over(&mut self, axes: &[Axis], body: &mut dyn FnMut(&mut Self) -> Outcome) -> Outcome {
        let [axis, rest @ ..] = axes else { return body(self) };
        for i in 0..self.dim(&axis.extent)? {
            self.symbols.insert(axis.index.clone(), i);
            self.over(rest, body)?;
        }
        self.symbols.remove(&axis.index);
        Ok(())
    }

    fn nest(&mut self, nest: &Nest) -> Outcome {
        self.accumulators.clear();
        for stage in &nest.stages {
            match stage {
                Stage::Reduce { axes, reductions } => {
                    let mut results = Vec::new();
                    for reduction in reductions {
                        results.push(self.reduce(axes, reduction)?);
                    }
                    self.accumulators.extend(results);
                }
                Stage::Sweep { axes, stores } => self.over(axes, &mut |point| point.store_all(stores))?,
                Stage::Running { axis, descending, exclusive, reduction, store } => {
                    let dtype = self.kernel.exprs.get(reduction.value).dtype;
                    let sum = sum_dtype(dtype);
                    let mut total = Number::identity(reduction.combine, sum);
                    let n = self.dim(&axis.extent)?;
                    for turn in 0..n {
                        self.symbols.insert(axis.index.clone(), if *descending { n - 1 - turn } else { turn });
                        let before = total;
                        total = combine(reduction.combine, sum, total, self.fresh(reduction.value)?);
                        self.accumulators.push(cast(sum, dtype, if *exclusive { before } else { total }));
                        self.store_all(std::slice::from_ref(store))?;
                        self.accumulators.pop();
                    }
                    self.symbols.remove(&axis.index);
                    self.accumulators.push(cast(sum, dtype, total));
                }
            }
        }
        Ok(())
    }

    fn reduce(&mut self, axes: &[Axis], reduction: &Reduction) -> Result<Number, String> {
        let dtype = self.kernel.exprs.get(reduction.value).dtype;
        let sum = sum_dtype(dtype);
        let mut values = Vec::new();
        self.over(axes, &mut |point| {
            values.push(point.fresh(reduction.value)?);
            Ok(())
        })?;
        if reduction.keep != Keep::Value {
            return Ok(Number::Int(extreme(&values, reduction.combine == Combine::Max, reduction.keep == Keep::LastPosition) as i128));
        }
        let identity = Number::identity(reduction.combine, sum);
        let mut lanes = vec![identity; 16];
        for (position, value) in values.into_iter().enumerate() {
            lanes[position % 16] = combine(reduction.combine, sum, lanes[position % 16], value);
        }
        while lanes.len() > 1 {
            let high = lanes.split_off(lanes.len() / 2);
            lanes = lanes.into_iter().zip(high).map(|(a, b)| combine(reduction.combine, sum, a, b)).collect();
        }
        Ok(cast(sum, dtype, lanes[0]))
    }

    fn contract(&mut self, contract: &Contract) -> Outcome {
        let outer = [contract.batch.clone(), contract.rows.clone(), contract.columns.clone()].concat();
        let sum = sum_dtype(self.kernel.exprs.get(contract.lhs).dtype);
        self.over(&outer, &mut |point| {
            let mut products = Vec::new();
            point.over(&contract.depth, &mut |point| {
                let (lhs, rhs) = (point.fresh(contract.lhs)?, point.fresh(contract.rhs)?);
                products.push((lhs, rhs));
                Ok(())
            })?;
            let chain = |chunk: &[(Number, Number)]| chunk.iter().fold(Number::zero(sum), |t, (a, b)| multiply_add(sum, *a, *b, t));
            let chunks: Vec<Number> = products.chunks(contract.chunk as usize).map(chain).collect();
            let total = chunks.into_iter().reduce(|a, b| combine(Combine::Sum, sum, a, b)).unwrap_or(Number::zero(sum));
            point.accumulators = vec![total];
            point.store_all(&contract.stores)
        })
    }

    /// Scores first, then their largest, then sums in the order of keys.
    fn attention(&mut self, attention: &Attention) -> Outcome {
        let dtype = sum_dtype(self.kernel.exprs.get(attention.query).dtype);
        let outer = [attention.batch.clone(), attention.rows.clone()].concat();
        self.over(&outer, &mut |point| {
            point.values.clear();
            let (first, end) = (point.dim(&attention.first)?, point.dim(&attention.end)?);
            let seen = |point: &Self| {
                let at = attention.keys.first().and_then(|axis| point.symbols.get(&axis.index).copied()).unwrap_or(0);
                first <= at && at < end
            };
            let mut scores = Vec::new();
            point.over(&attention.keys, &mut |point| {
                let mut sum = Number::zero(dtype);
                point.over(&attention.depth, &mut |point| {
                    let (query, key) = (point.fresh(attention.query)?, point.fresh(attention.key)?);
                    sum = multiply_add(dtype, query, key, sum);
                    Ok(())
                })?;
                point.accumulators = vec![sum];
                let score = point.fresh(attention.score)?;
                scores.push(if seen(point) { score } else { Number::identity(Combine::Max, dtype) });
                Ok(())
            })?;
            let never = Number::identity(Combine::Max, dtype);
            let largest = scores.iter().fold(never, |m, score| combine(Combine::Max, dtype, m, *score));
            let blind = largest == never;
            let m = if blind { Number::zero(dtype) } else { largest };
            let power = |score: &Number| unary(UnaryFn::Exp, dtype, binary(BinaryFn::Sub, dtype, *score, m));
            let powers: Vec<Number> = scores.iter().map(power).collect();
            let sum = powers.iter().fold(Number::zero(dtype), |sum, power| combine(Combine::Sum, dtype, sum, *power));
            point.over(&attention.columns, &mut |point| {
                let (mut total, mut at) = (Number::zero(dtype), 0);
                point.over(&attention.keys, &mut |point| {
                    total = multiply_add(dtype, powers[at], point.fresh(attention.value)?, total);
                    at += 1;
                    Ok(())
                })?;
                point.accumulators = vec![if blind { Number::zero(dtype) } else { binary(BinaryFn::Div, dtype, total, sum) }];
                point.store_all(&attention.stores)
            })?;
            let log = binary(BinaryFn::Add, dtype, m, unary(UnaryFn::Log, dtype, sum));
            point.accumulators = vec![if blind { never } else { log }];
            point.store_all(&attention.row_stores)
        })
    }

    fn store_all(&mut self, stores: &[Store]) -> Outcome {
        let values: Vec<Number> = stores.iter().map(|store| self.fresh(store.value)).collect::<Result<_, _>>()?;
        stores.iter().zip(values).try_for_each(|(store, value)| self.store(store, value))
    }

    fn store(&mut self, store: &Store, value: Number) -> Outcome {
        if self.checks_into_nothing(&store.offset)? {
            return Ok(());
        }
        let at = self.place(store.buffer, &store.offset)?;
        let dtype = self.program.buffer(store.buffer).dtype;
        let cell = &mut self.memory.buffers[store.buffer.0 as usize][at];
        *cell = match store.combine {
            None => value,
            Some(how) => cast(sum_dtype(dtype), dtype, combine(how, sum_dtype(dtype), *cell, value)),
        };
        Ok(())
    }

    /// Whether a checked index in the offset points into an empty axis: then there is no element.
    fn checks_into_nothing(&mut self, offset: &Dim) -> Result<bool, String> {
        let mut ids = Vec::new();
        offset.visit_symbols(&mut |s| ids.extend(ExprId::of_symbol(s)));
        while let Some(id) = ids.pop() {
            if let ExprKind::CheckedIndex { extent, .. } = &self.kernel.exprs.get(id).kind
                && self.dim(extent)? == 0
            {
                return Ok(true);
            }
            ids.extend(self.kernel.exprs.operands(id));
        }
        Ok(false)
    }

    fn place(&mut self, buffer: BufferId, offset: &Dim) -> Result<usize, String> {
        let at = self.dim(offset)?;
        let length = self.memory.buffers[buffer.0 as usize].len();
        usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(|| {
            format!("offset {offset} = {at} of {} (length {length}) at {:?}", self.program.buffer(buffer).name, self.symbols)
        })
    }

    fn dim(&mut self, dim: &Dim) -> Result<i64, String> {
        let mut exprs = BTreeMap::new();
        let mut ids = Vec::new();
        dim.visit_symbols(&mut |s| ids.extend(ExprId::of_symbol(s)));
        for id in ids {
            exprs.insert(id.symbol(), self.value(id)?.int() as i64);
        }
        dim.evaluate(&|s| exprs.get(s).or_else(|| self.symbols.get(s)).copied()).ok_or_else(|| format!("{dim} at {:?}", self.symbols))
    }

    /// The value at a point just reached.
    fn fresh(&mut self, id: ExprId) -> Result<Number, String> {
        self.values = vec![None; id.0 as usize + 1];
        self.value(id)
    }

    fn value(&mut self, id: ExprId) -> Result<Number, String> {
        if let Some(Some(value)) = self.values.get(id.0 as usize) {
            return Ok(*value);
        }
        let value = self.compute(id)?;
        if self.values.len() <= id.0 as usize {
            self.values.resize(id.0 as usize + 1, None);
        }
        self.values[id.0 as usize] = Some(value);
        Ok(value)
    }

    fn compute(&mut self, id: ExprId) -> Result<Number, String> {
        let expr = self.kernel.exprs.get(id).clone();
        let dtype_of = |id: ExprId| self.kernel.exprs.get(id).dtype;
        Ok(match expr.kind {
            ExprKind::Constant(scalar) => Number::constant(expr.dtype, scalar),
            ExprKind::Index(dim) => Number::Int(self.dim(&dim)?.into()),
            ExprKind::Load(access) => {
                let mut inside = !self.checks_into_nothing(&access.offset)?;
                for bound in &access.bounds {
                    let (index, extent) = (self.dim(&bound.index)?, self.dim(&bound.extent)?);
                    inside &= 0 <= index && index < extent;
                }
                if inside {
                    let at = self.place(access.buffer, &access.offset)?;
                    self.memory.buffers[access.buffer.0 as usize][at]
                } else {
                    match access.otherwise {
                        Some(otherwise) => self.value(otherwise)?,
                        None => Number::zero(expr.dtype),
                    }
                }
            }
            ExprKind::Unary(function, x) => unary(function, dtype_of(x), self.value(x)?),
            ExprKind::Binary(function, x, y) => binary(function, expr.dtype, self.value(x)?, self.value(y)?),
            ExprKind::Compare(function, x, y) => compare(function, self.value(x)?, self.value(y)?),
            ExprKind::Select(mask, x, y) => {
                let (mask, x, y) = (self.value(mask)?, self.value(x)?, self.value(y)?);
                if mask.int() != 0 { x } else { y }
            }
            ExprKind::Cast(x) => cast(dtype_of(x), expr.dtype, self.value(x)?),
            ExprKind::Accumulator(n) => *self.accumulators.get(n as usize).ok_or_else(|| format!("accumulator {n} is not there yet"))?,
            ExprKind::CheckedIndex { index, extent, node } => {
                let (index, extent) = (self.value(index)?.int(), i128::from(self.dim(&extent)?));
                let wrapped = if index < 0 { index + extent } else { index };
                if 0 <= wrapped && wrapped < extent {
                    Number::Int(wrapped)
                } else {
                    self.memory.error = i64::from(node) + 1;
                    Number::Int(0)
                }
            }
        })
    }
}

/// The position of the extreme element; NaN is more extreme than any number. 0 when there is none.
fn extreme(values: &[Number], max: bool, last: bool) -> usize {
    let better = |x: Number, y: Number| match (x.is_nan(), y.is_nan()) {
        (true, other) => !other,
        (false, true) => false,
        (false, false) => {
            if max {
                x.float_or_int_cmp(y).is_gt()
            } else {
                x.float_or_int_cmp(y).is_lt()
            }
        }
    };
    let mut best = 0;
    for i in 1..values.len() {
        if better(values[i], values[best]) || (last && !better(values[best], values[i])) {
            best = i;
        }
    }
    best
}
