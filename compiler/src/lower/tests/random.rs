//! Random kernels: any mix of types, strides, slices, padding and broadcasting, with sizes known or not.

use crate::backend::cpu::agreement::Random;
use crate::kernel::{
    Access, Axis, BinaryFn, Body, Bound, Buffer, BufferId, BufferKind, CompareFn, ExprId, ExprKind, Exprs, Kernel, Program, Step, UnaryFn,
};
use kiln_ir::{DType, Dim, Symbol, Tensor};
use std::collections::BTreeMap;

/// A program being made, with the data it runs on.
pub(super) struct Maker {
    pub random: Random,
    pub program: Program,
    pub exprs: Exprs,
    pub sizes: BTreeMap<Symbol, i64>,
    pub given: BTreeMap<BufferId, Tensor>,
}

impl Maker {
    pub(super) fn new(seed: u64) -> Maker {
        let program = Program { name: "test".into(), ..Program::default() };
        Maker { random: Random::new(seed), program, exprs: Exprs::default(), sizes: BTreeMap::new(), given: BTreeMap::new() }
    }

    /// An axis of this extent, known to the compiler or not.
    pub(super) fn axis(&mut self, name: &str, extent: i64) -> Axis {
        let dim = if self.random.below(3) == 0 {
            let symbol = Symbol::new(&format!("n_{name}"));
            self.sizes.insert(symbol.clone(), extent);
            self.program.symbol_order.push(symbol.clone());
            Dim::from(symbol)
        } else {
            Dim::from(extent)
        };
        Axis { index: Symbol::new(name), extent: dim }
    }

    pub(super) fn axes(&mut self, prefix: &str, count: usize, extents: &[i64]) -> Vec<Axis> {
        (0..count)
            .map(|i| {
                let extent = self.random.pick(extents);
                self.axis(&format!("{prefix}{i}"), extent)
            })
            .collect()
    }

    pub(super) fn size(&self, dim: &Dim) -> i64 {
        dim.evaluate(&|s| self.sizes.get(s).copied()).expect("known sizes")
    }

    pub(super) fn output(&mut self, dtype: DType, shape: Vec<Dim>) -> BufferId {
        let n = self.program.outputs.len();
        let kind = BufferKind::Output(n);
        let id = self.program.add_buffer(Buffer { name: format!("y{n}"), dtype, shape, kind });
        self.program.outputs.push((format!("y{n}"), id));
        id
    }

    pub(super) fn input(&mut self, dtype: DType, shape: Vec<Dim>, kind: BufferKind) -> BufferId {
        let name = format!("x{}", self.program.buffers.len());
        let dims: Vec<usize> = shape.iter().map(|d| self.size(d) as usize).collect();
        let count: usize = dims.iter().product();
        let values: Vec<f64> = (0..count).map(|_| self.number(dtype)).collect();
        let id = self.program.add_buffer(Buffer { name, dtype, shape, kind });
        self.given.insert(id, Tensor::from_floats(dtype, dims, values));
        id
    }

    fn number(&mut self, dtype: DType) -> f64 {
        if dtype == DType::Bool {
            return self.random.below(2) as f64;
        }
        let small = self.random.below(401) as f64 / 16.0 - 12.5;
        if dtype.is_float() && self.random.below(40) == 0 {
            return self.random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e30, 1e-40]);
        }
        small
    }

    /// A load over some of the axes in some order, perhaps sliced, strided, reversed, padded.
    pub(super) fn load(&mut self, dtype: DType, axes: &[Axis], plain: bool) -> ExprId {
        let mut order: Vec<usize> = (0..axes.len()).collect();
        if self.random.below(3) == 0 {
            for i in (1..order.len()).rev() {
                order.swap(i, self.random.below(i + 1));
            }
        }
        let used: Vec<usize> = order.into_iter().filter(|_| self.random.below(6) != 0).collect();
        let (mut shape, mut indices, mut bounds) = (vec![], vec![], vec![]);
        for place in used {
            let axis = &axes[place];
            let i = Dim::from(axis.index.clone());
            let (extent, index) = match if plain { 9 } else { self.random.below(10) } {
                0 => (&axis.extent * Dim::from(2) + Dim::from(1), i * Dim::from(2) + Dim::from(1)),
                1 => (&axis.extent + Dim::from(3), i + Dim::from(2)),
                2 => (axis.extent.clone(), &axis.extent - Dim::ONE - i),
                3 | 4 => {
                    // Padding on both sides.
                    let extent = (&axis.extent - Dim::from(2)).maximum(&Dim::ONE);
                    let index = i - Dim::ONE;
                    bounds.push(Bound { index: index.clone(), extent: extent.clone() });
                    (extent, index)
                }
                5 => {
                    // Nearest neighbour.
                    (axis.extent.ceil_div(&Dim::from(2)), i.floor_div(&Dim::from(2)))
                }
                _ => (axis.extent.clone(), i),
            };
            shape.push(extent);
            indices.push(index);
        }
        let offset = shape.iter().zip(&indices).fold(Dim::ZERO, |o, (n, i)| o * n + i);
        let kind = if self.random.below(3) == 0 { BufferKind::Parameter("w".into()) } else { BufferKind::Input(0) };
        let buffer = self.input(dtype, shape, kind);
        let otherwise = (!bounds.is_empty()).then(|| self.exprs.constant(dtype, 0.0));
        self.exprs.add(dtype, ExprKind::Load(Access { buffer, offset, bounds, otherwise }))
    }

    /// A random expression of that type over the axes.
    pub(super) fn expr(&mut self, dtype: DType, axes: &[Axis], accumulators: &[DType], depth: usize) -> ExprId {
        if depth == 0 || self.random.below(4) == 0 {
            let matching: Vec<usize> = (0..accumulators.len()).filter(|i| accumulators[*i] == dtype).collect();
            return match self.random.below(6) {
                0 => {
                    let value = self.number(dtype);
                    self.exprs.constant(dtype, value)
                }
                1 if dtype == DType::I64 && !axes.is_empty() => {
                    let axis = &axes[self.random.below(axes.len())];
                    let index =
                        Dim::from(axis.index.clone()) * Dim::from(self.random.below(5) as i64) + Dim::from(self.random.below(3) as i64);
                    self.exprs.add(dtype, ExprKind::Index(index))
                }
                2 | 3 if !matching.is_empty() => {
                    let which = self.random.pick(&matching);
                    self.exprs.add(dtype, ExprKind::Accumulator(which as u32))
                }
                _ => self.load(dtype, axes, false),
            };
        }
        let kind = match self.random.below(if dtype == DType::Bool { 4 } else { 8 }) {
            0 => {
                let from = self.random.pick(&DType::ALL);
                ExprKind::Cast(self.expr(from, axes, accumulators, depth - 1))
            }
            1 if dtype == DType::Bool => {
                let of = self.random.pick(&DType::ALL);
                let (a, b) = (self.expr(of, axes, accumulators, depth - 1), self.expr(of, axes, accumulators, depth - 1));
                let function = self.random.pick(&[
                    CompareFn::Equal,
                    CompareFn::NotEqual,
                    CompareFn::Less,
                    CompareFn::LessEqual,
                    CompareFn::Greater,
                    CompareFn::GreaterEqual,
                ]);
                ExprKind::Compare(function, a, b)
            }
            2 => {
                let mask = self.expr(DType::Bool, axes, accumulators, depth - 1);
                let (a, b) = (self.expr(dtype, axes, accumulators, depth - 1), self.expr(dtype, axes, accumulators, depth - 1));
                ExprKind::Select(mask, a, b)
            }
            3 if dtype != DType::Bool => {
                let a = self.expr(dtype, axes, accumulators, depth - 1);
                let functions: &[UnaryFn] = if dtype.is_float() {
                    &[UnaryFn::Neg, UnaryFn::Abs, UnaryFn::Sqrt, UnaryFn::Floor, UnaryFn::Sign]
                } else {
                    &[UnaryFn::Abs, UnaryFn::Sign, UnaryFn::BitNot]
                };
                ExprKind::Unary(self.random.pick(functions), a)
            }
            _ => {
                let (a, b) = (self.expr(dtype, axes, accumulators, depth - 1), self.expr(dtype, axes, accumulators, depth - 1));
                let functions: &[BinaryFn] = match dtype {
                    DType::Bool => &[BinaryFn::And, BinaryFn::Or, BinaryFn::Xor],
                    _ if dtype.is_float() && self.random.below(6) == 0 => &[BinaryFn::Rem],
                    _ if dtype.is_float() => &[BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul, BinaryFn::Div, BinaryFn::Min, BinaryFn::Max],
                    _ => &[BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul, BinaryFn::Div, BinaryFn::Rem, BinaryFn::Min, BinaryFn::Max],
                };
                ExprKind::Binary(self.random.pick(functions), a, b)
            }
        };
        self.exprs.add(dtype, kind)
    }

    /// The element offset of a store over all axes, and the shape it fills.
    pub(super) fn target(&mut self, axes: &[Axis]) -> (Vec<Dim>, Dim) {
        let mut order: Vec<&Axis> = axes.iter().collect();
        if self.random.below(3) == 0 {
            for i in (1..order.len()).rev() {
                order.swap(i, self.random.below(i + 1));
            }
        }
        let offset = order.iter().fold(Dim::ZERO, |o, a| o * &a.extent + Dim::from(a.index.clone()));
        (order.iter().map(|a| a.extent.clone()).collect(), offset)
    }

    /// Ends a kernel.
    pub(super) fn kernel(&mut self, body: Body) {
        let exprs = std::mem::take(&mut self.exprs);
        self.program.steps.push(Step::Run(Kernel { name: "k".into(), origins: vec![], exprs, body }));
    }
}
