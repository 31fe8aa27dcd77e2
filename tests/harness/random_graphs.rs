//! Random functions of several operators: shared values, views of views, several outputs, one symbolic size `n`.
//!
//! They are made of operators in which small errors stay small, so that results can be compared.

use crate::samples::{self, Fill, Random};
use kiln_ir::graph::Parameter;
use kiln_ir::ops::{self, ReduceKind};
use kiln_ir::{Builder, DType, Dim, Graph, Module, Tensor, TensorType, Value};

/// Operators of one graph.
const STEPS: usize = 12;
/// Elements of one value for n = 1, at most.
const LARGEST: i64 = 600;

/// A module with a random function of a symbol `n`, whose floats are of that type.
pub fn module(dtype: DType, random: &mut Random) -> Module {
    let mut module = Module { name: "random".into(), ..Module::default() };
    let mut graph = Graph::new();
    let shapes: [&[i64]; 5] = [&[-1, 3, 7, 5], &[4, -1], &[-1, 19], &[3, 1, 5], &[-1, 2, 6]];
    let mut grown = Grown { values: Vec::new(), parameters: Vec::new() };
    for i in 0..2 + random.below(2) {
        let dims = shapes[if i == 0 { [0, 2, 4][random.below(3)] } else { random.below(shapes.len()) }];
        let shape = dims.iter().map(|&d| if d < 0 { Dim::symbol("n") } else { Dim::from(d) }).collect();
        grown.values.push(graph.add_input(format!("x{i}"), TensorType { dtype, shape }));
    }
    for _ in 0..STEPS {
        grown.step(&mut Builder::new(&mut graph), random);
    }
    let count = grown.values.len();
    let mut outputs = vec![count - 1];
    outputs.extend((0..random.below(3)).map(|_| random.below(count)));
    for (i, at) in outputs.into_iter().enumerate() {
        graph.add_output(format!("y{i}"), grown.values[at]);
    }
    for (name, value) in grown.parameters {
        module.parameters.insert(name, Parameter { ty: value.ty(), value: Some(value) });
    }
    module.functions.insert("predict".into(), graph);
    module
}

/// The function's inputs for a value of `n`.
pub fn inputs(graph: &Graph, n: i64, random: &mut Random) -> Vec<Tensor> {
    let size = |d: &Dim| d.evaluate(&|_| Some(n)).and_then(|v| usize::try_from(v).ok()).expect("an input's size is n or a constant");
    let tensor = |(_, value): &(String, Value)| {
        let ty = graph.ty(*value);
        let shape: Vec<usize> = ty.shape.iter().map(size).collect();
        samples::tensor(ty.dtype, &shape, Fill::Ordinary, Some((-3.0, 3.0)), random)
    };
    graph.inputs().iter().map(tensor).collect()
}

struct Grown {
    values: Vec<Value>,
    parameters: Vec<(String, Tensor)>,
}

impl Grown {
    /// Adds one operator on values there are; recent ones are likelier, so that chains come about.
    fn step(&mut self, b: &mut Builder, random: &mut Random) {
        let recent = self.values.len().saturating_sub(3);
        let x = if random.below(4) > 0 {
            self.values[recent + random.below(self.values.len() - recent)]
        } else {
            self.values[random.below(self.values.len())]
        };
        let result = match random.below(13) {
            0 | 1 => Some(self.unary(b, x, random)),
            2 | 3 => self.binary(b, x, random),
            4 => self.reduce(b, x, random),
            5 => transposed(b, x, random),
            6 => merged_axes(b, x, random),
            7 => sliced(b, x, random),
            8 => padded(b, x, random),
            9 => self.concatenated(b, x, random),
            10 => self.dense(b, x, random),
            11 => self.convolution(b, x, random),
            _ => gathered(b, x, random),
        };
        let small = |v: &Value| Dim::product(&b.shape(*v)).evaluate(&|_| Some(1)).is_some_and(|count| count <= LARGEST);
        self.values.extend(result.filter(small));
    }

    fn unary(&self, b: &mut Builder, x: Value, random: &mut Random) -> Value {
        if !b.dtype(x).is_float() {
            return match random.below(3) {
                0 => b.neg(x),
                1 => b.abs(x),
                _ => b.sign(x),
            };
        }
        let axis = random.below(b.shape(x).len().max(1));
        match random.below(7) {
            0 => b.tanh(x),
            1 => b.op(ops::Relu {}, &[x]),
            2 => b.op(ops::Sigmoid {}, &[x]),
            3 => b.sin(x),
            4 => b.neg(x),
            5 if !b.shape(x).is_empty() => b.op(ops::Softmax { axis }, &[x]),
            _ => b.abs(x),
        }
    }

    /// With another value of the same shape, or with a row or column of itself.
    fn binary(&self, b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
        let shape = b.shape(x);
        let same: Vec<Value> = self.values.iter().copied().filter(|v| b.shape(*v) == shape).collect();
        let mut y = same[random.below(same.len())];
        if !shape.is_empty() && random.below(2) == 0 {
            let axis = random.below(shape.len());
            y = b.reduce_max(y, &[axis], true);
            y = if b.dtype(y).is_float() { b.tanh(y) } else { y };
        }
        Some(match random.below(5) {
            0 => b.add(x, y),
            1 => b.sub(x, y),
            2 => b.mul(x, y),
            3 => b.max(x, y),
            _ => b.min(x, y),
        })
    }

    fn reduce(&self, b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
        let rank = b.shape(x).len();
        let axes: Vec<usize> = (0..rank).filter(|_| random.below(2) == 0).collect();
        let kind = [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min][random.below(3)];
        (!axes.is_empty()).then(|| b.reduce(kind, x, &axes, random.below(2) == 0))
    }

    fn concatenated(&self, b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
        let shape = b.shape(x);
        let same: Vec<Value> = self.values.iter().copied().filter(|v| b.shape(*v) == shape).collect();
        let axis = random.below(shape.len().max(1));
        let other = same[random.below(same.len())];
        (!shape.is_empty()).then(|| b.concat(&[x, other, x][..2 + random.below(2)], axis))
    }

    /// A product with a parameter along the last axis.
    fn dense(&mut self, b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
        let shape = b.shape(x);
        let depth = usize::try_from(shape.last()?.as_const()?).ok()?;
        let w = self.parameter(b, b.dtype(x), &[depth, [1, 6, 17][random.below(3)]], random);
        let dot = ops::Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![shape.len() - 1], b_contract: vec![0] };
        Some(b.op(dot, &[x, w]))
    }

    fn convolution(&mut self, b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
        let shape = b.shape(x);
        let sizes: Vec<i64> = shape.get(1..)?.iter().filter_map(Dim::as_const).collect();
        let spatial = shape.len().checked_sub(2).filter(|s| (1..=3).contains(s) && sizes.len() == s + 1)?;
        let channels = usize::try_from(sizes[0]).ok().filter(|c| *c > 0 && sizes[1..].iter().all(|s| *s > 0))?;
        let kernel = [vec![4, channels], vec![[1, 3][random.below(2)]; spatial]].concat();
        let w = self.parameter(b, b.dtype(x), &kernel, random);
        let stride = 1 + random.below(2);
        let margin = vec![Dim::ONE; spatial];
        let conv = ops::Conv {
            strides: vec![stride; spatial],
            dilations: vec![1; spatial],
            lhs_dilations: vec![1; spatial],
            low: margin.clone(),
            high: margin,
            groups: 1,
        };
        Some(b.op(conv, &[x, w]))
    }

    fn parameter(&mut self, b: &mut Builder, dtype: DType, shape: &[usize], random: &mut Random) -> Value {
        let name = format!("w{}", self.parameters.len());
        let tensor = samples::tensor(dtype, shape, Fill::Ordinary, Some((-1.0, 1.0)), random);
        let value = b.graph.add_parameter(&name, tensor.ty());
        self.parameters.push((name, tensor));
        value
    }
}

fn transposed(b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
    let rank = b.shape(x).len();
    let turn = random.below(rank.max(1));
    let mut perm: Vec<usize> = (0..rank).map(|i| (i + turn) % rank).collect();
    if rank > 2 && random.below(2) == 0 {
        perm.swap(0, rank - 1);
    }
    (rank > 1).then(|| b.transpose(x, &perm))
}

/// Two neighbouring axes become one, or a new axis of size 1 comes in between.
fn merged_axes(b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
    let mut shape = b.shape(x);
    if shape.len() < 2 || random.below(3) == 0 {
        return (shape.len() < 4).then(|| b.unsqueeze(x, &[random.below(shape.len() + 1)]));
    }
    let axis = random.below(shape.len() - 1);
    let second = shape.remove(axis + 1);
    shape[axis] = shape[axis].clone() * second;
    Some(b.reshape(x, &shape))
}

fn sliced(b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
    let shape = b.shape(x);
    let (axis, size) = constant_axis(&shape, random)?;
    let (start, step) = (random.below(size) as i64, 1 + random.below(2) as i64);
    let reversed = random.below(4) == 0;
    let (mut starts, mut steps, mut sizes) = (vec![Dim::ZERO; shape.len()], vec![1; shape.len()], shape.clone());
    starts[axis] = Dim::from(start);
    steps[axis] = if reversed { -step } else { step };
    let left = if reversed { start + 1 } else { size as i64 - start };
    sizes[axis] = Dim::from((left + step - 1) / step);
    Some(b.op(ops::Slice { starts, sizes, steps }, &[x]))
}

fn padded(b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
    let shape = b.shape(x);
    let axis = random.below(shape.len().max(1));
    let mut amounts =
        || -> Vec<Dim> { (0..shape.len()).map(|i| if i == axis { Dim::from(random.below(3) as i64) } else { Dim::ZERO }).collect() };
    let (low, high) = (amounts(), amounts());
    (!shape.is_empty()).then(|| b.pad(x, &low, &high, 2.0))
}

fn gathered(b: &mut Builder, x: Value, random: &mut Random) -> Option<Value> {
    let (axis, size) = constant_axis(&b.shape(x), random)?;
    let count = 1 + random.below(4);
    let indices: Vec<i64> = (0..count).map(|_| random.below(size) as i64).collect();
    let indices = b.constant(Tensor::i64(&[count], &indices));
    Some(b.gather(x, indices, axis))
}

/// An axis of a constant, positive size.
fn constant_axis(shape: &[Dim], random: &mut Random) -> Option<(usize, usize)> {
    let known = |(axis, d): (usize, &Dim)| Some((axis, usize::try_from(d.as_const()?).ok().filter(|n| *n > 0)?));
    let axes: Vec<(usize, usize)> = shape.iter().enumerate().filter_map(known).collect();
    (!axes.is_empty()).then(|| axes[random.below(axes.len())])
}
