//! Random graphs of supported operators. Each choice is what fits, except now and then: a number, a name or an element type is then
//! replaced by a hostile one, so that graphs are wrong in every place where something can be wrong.

use crate::message::*;
use crate::random::Random;
use kiln::frontend::onnx::proto::*;

const UNARY: [&str; 24] = [
    "Relu",
    "Abs",
    "Neg",
    "Exp",
    "Log",
    "Sqrt",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Sin",
    "Cos",
    "Softplus",
    "Reciprocal",
    "HardSwish",
    "Elu",
    "LeakyRelu",
    "Selu",
    "Softsign",
    "Identity",
    "Celu",
];
const BINARY: [&str; 10] = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Equal", "Less", "Greater"];
const REDUCTIONS: [&str; 8] =
    ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"];

/// Operators with anything for operands and attributes: name, greatest number of operands, attributes.
const ANYTHING: [(&str, usize, &[&str]); 36] = [
    ("Attention", 7, &["q_num_heads", "kv_num_heads", "is_causal"]),
    ("AveragePool", 1, &["kernel_shape", "strides", "pads", "ceil_mode", "dilations"]),
    ("BitShift", 2, &["direction"]),
    ("CastLike", 2, &[]),
    ("Clip", 3, &[]),
    ("CumSum", 2, &["exclusive", "reverse"]),
    ("DepthToSpace", 1, &["blocksize", "mode"]),
    ("Dropout", 3, &[]),
    ("Einsum", 2, &["equation"]),
    ("EyeLike", 1, &["k", "dtype"]),
    ("GatherElements", 2, &["axis"]),
    ("GatherND", 2, &["batch_dims"]),
    ("GroupNormalization", 3, &["num_groups"]),
    ("Hardmax", 1, &["axis"]),
    ("InstanceNormalization", 3, &[]),
    ("LRN", 1, &["size"]),
    ("LpNormalization", 1, &["axis", "p"]),
    ("LpPool", 1, &["kernel_shape", "strides", "p"]),
    ("LSTM", 8, &["hidden_size", "direction"]),
    ("GRU", 6, &["hidden_size", "direction"]),
    ("RNN", 6, &["hidden_size", "direction"]),
    ("Mod", 2, &["fmod"]),
    ("NegativeLogLikelihoodLoss", 3, &["ignore_index", "reduction"]),
    ("OneHot", 3, &["axis"]),
    ("PRelu", 2, &[]),
    ("Resize", 4, &["mode", "coordinate_transformation_mode", "nearest_mode"]),
    ("RotaryEmbedding", 4, &["num_heads", "interleaved"]),
    ("ScatterElements", 3, &["axis", "reduction"]),
    ("ScatterND", 3, &["reduction"]),
    ("SoftmaxCrossEntropyLoss", 3, &["ignore_index", "reduction"]),
    ("SpaceToDepth", 1, &["blocksize"]),
    ("Split", 2, &["axis", "num_outputs"]),
    ("TopK", 2, &["axis", "largest"]),
    ("Trilu", 2, &["upper"]),
    ("Where", 3, &[]),
    ("ConvTranspose", 3, &["strides", "pads", "output_padding", "group", "output_shape"]),
];

const WORDS: [&str; 14] = [
    "bidirectional",
    "reverse",
    "LEFT",
    "RIGHT",
    "CRD",
    "linear",
    "cubic",
    "nearest",
    "align_corners",
    "none",
    "mean",
    "ij,jk->ik",
    "...a,...b->...ab",
    "ii->i",
];

#[rustfmt::skip]
const HOSTILE: [i64; 20] = [
    0, -1, 1, 2, 3, -2, 7, 64, -64, 65_536, 1_000_003, 1 << 31, -(1 << 31), 1 << 33, 1 << 40, 1 << 56, i64::MAX, i64::MIN, i64::MAX - 1, -(1 << 62),
];

/// A value of the graph, as far as the generator follows.
#[derive(Clone)]
struct Known {
    name: String,
    shape: Option<Vec<i64>>,
}

struct Builder<'r> {
    random: &'r mut Random,
    /// How often something hostile stands in place of what fits, in a thousand.
    hostility: usize,
    values: Vec<Known>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    names: usize,
}

/// A random model.
pub fn random_model(random: &mut Random) -> ModelProto {
    let hostility = random.pick(&[0, 0, 15, 40, 150]);
    let opset = random.pick(&[9, 11, 13, 17, 17, 18, 21, 23]);
    let mut builder = Builder { random, hostility, values: Vec::new(), nodes: Vec::new(), tensors: Vec::new(), names: 0 };
    let symbols = builder.random.chance(250);
    let inputs: Vec<ValueInfoProto> = (0..1 + builder.random.below(2)).map(|_| builder.input(symbols)).collect();
    for _ in 0..1 + builder.random.below(7) {
        builder.any_node(opset);
    }
    let outputs: Vec<String> = (0..1 + builder.random.below(2))
        .map(|back| {
            let last = builder.values.len() - 1;
            let name = builder.values[last.saturating_sub(back)].name.clone();
            builder.name(name)
        })
        .collect();
    let mut outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    if hostility == 0 {
        outputs.dedup();
    }
    model(opset, graph(inputs, builder.tensors, builder.nodes, &outputs))
}

impl Builder<'_> {
    fn hostile(&mut self) -> bool {
        self.random.chance(self.hostility)
    }

    fn number(&mut self, fits: i64) -> i64 {
        if self.hostile() { self.random.pick(&HOSTILE) } else { fits }
    }

    fn numbers(&mut self, fit: &[i64]) -> Vec<i64> {
        let mut numbers: Vec<i64> = fit.iter().map(|&n| self.number(n)).collect();
        if self.hostile() {
            numbers.truncate(1);
        }
        numbers
    }

    fn dtype(&mut self) -> i32 {
        if self.hostile() { self.random.below(24) as i32 } else { F32 }
    }

    /// The name, or none, an unknown one, or that of a value which exists already or only later.
    fn name(&mut self, fits: String) -> String {
        if !self.hostile() {
            return fits;
        }
        match self.random.below(4) {
            0 => String::new(),
            1 => "nowhere".to_string(),
            2 => format!("v{}", self.random.below(self.names + 3)),
            _ => self.values[self.random.below(self.values.len())].name.clone(),
        }
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn input(&mut self, symbols: bool) -> ValueInfoProto {
        let shapes: [&[i64]; 8] = [&[2, 3], &[4], &[1, 3, 8, 8], &[2, 5, 6], &[], &[1, 4, 5, 6, 3], &[3, 0, 2], &[2, 2, 9]];
        let shape = self.random.pick(&shapes);
        let mut shape = self.numbers(shape);
        if symbols && !shape.is_empty() {
            shape[0] = -1 - self.random.below(2) as i64;
        }
        let (name, dtype) = (self.fresh(), self.dtype());
        let message = input(&name, dtype, &shape, symbols);
        self.values.push(Known { name, shape: Some(shape) });
        message
    }

    fn value(&mut self) -> Known {
        // Recent ones more often, so that graphs become deep.
        let back = self.random.below(self.values.len()).min(self.random.below(self.values.len()));
        self.values[self.values.len() - 1 - back].clone()
    }

    fn tensor(&mut self, make: impl FnOnce(&str) -> TensorProto) -> String {
        let name = self.fresh();
        let mut tensor = make(&name);
        if self.hostile() {
            tensor.data_type = self.random.below(24) as i32;
        }
        if self.hostile() {
            let dims = tensor.dims.clone();
            tensor.dims = self.numbers(&dims);
        }
        self.tensors.push(tensor);
        name
    }

    fn list(&mut self, fit: &[i64]) -> String {
        let numbers = self.numbers(fit);
        self.tensor(|name| ints(name, &numbers))
    }

    fn one(&mut self, fits: i64) -> String {
        let number = self.number(fits);
        self.tensor(|name| scalar(name, number))
    }

    /// Adds a node with one result of that shape.
    fn add(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>, shape: Option<Vec<i64>>) {
        let result = self.fresh();
        let inputs: Vec<String> = inputs.iter().map(|name| self.name(name.to_string())).collect();
        let made = self.name(result.clone());
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut message = node(op, &inputs, &[&made]);
        message.attribute = attributes;
        if self.hostile() {
            message.attribute.push(int("axis", 1));
        }
        self.nodes.push(message);
        self.values.push(Known { name: result, shape });
    }

    fn any_node(&mut self, opset: i64) {
        let x = self.value();
        let (name, shape) = (x.name.as_str(), x.shape.clone());
        let rank = shape.as_ref().map_or(2, Vec::len) as i64;
        let axis = self.axis(rank);
        let axis = self.number(axis);
        match self.random.below(24) {
            0..=3 => {
                let op = self.random.pick(&UNARY);
                self.add(op, &[name], vec![], shape);
            }
            4..=6 => {
                let op = self.random.pick(&BINARY);
                let other = match self.random.below(3) {
                    0 => name.to_string(),
                    1 => self.tensor(|n| floats(n, &[])),
                    _ => self.tensor(|n| {
                        floats(n, shape.as_deref().and_then(|s| s.last()).filter(|d| **d > 0).map_or(&[1], std::slice::from_ref))
                    }),
                };
                self.add(op, &[name, &other], vec![], shape);
            }
            7 => self.matmul(&x),
            8 | 9 => self.conv(&x),
            10 => {
                let to = self.random.pick(&[1, 1, 6, 7, 9, 10, 11, 16, 2, 3]);
                let to = self.number(to);
                self.add("Cast", &[name], vec![int("to", to)], shape);
            }
            11 => {
                let fit: &[i64] = self.random.pick(&[&[-1], &[1, -1], &[0, -1], &[2, -1], &[0, 0, -1]]);
                let to = self.list(fit);
                self.add("Reshape", &[name, &to], vec![], None);
            }
            12 => {
                let perm: Vec<i64> = (0..rank).rev().collect();
                let perm = self.numbers(&perm);
                let turned = shape.map(|s| s.into_iter().rev().collect());
                self.add("Transpose", &[name], vec![int_list("perm", &perm)], turned);
            }
            13 => self.add("Concat", &[name, name], vec![int("axis", axis)], None),
            14 => {
                let (starts, ends, axes) = (self.list(&[0]), self.list(&[1]), self.list(&[0]));
                let steps = self.list(&[1]);
                self.add("Slice", &[name, &starts, &ends, &axes, &steps], vec![], None);
            }
            15 => {
                let op = self.random.pick(&REDUCTIONS);
                let keep = int("keepdims", self.random.below(2) as i64);
                match opset {
                    18.. => {
                        let axes = self.list(&[axis]);
                        self.add(op, &[name, &axes], vec![keep], None);
                    }
                    _ => self.add(op, &[name], vec![keep], None),
                }
            }
            16 => self.add("Softmax", &[name], vec![int("axis", axis)], shape),
            17 => {
                let pads = self.list(&vec![1; 2 * rank as usize]);
                let mode = self.random.pick(&["constant", "reflect", "edge", "wrap"]);
                self.add("Pad", &[name, &pads], vec![text("mode", mode)], None);
            }
            18 => {
                let repeats = self.list(&vec![2; rank as usize]);
                let op = self.random.pick(&["Tile", "Expand"]);
                self.add(op, &[name, &repeats], vec![], None);
            }
            19 => {
                let size = self.list(&[2, 3]);
                self.add("ConstantOfShape", &[&size], vec![], None);
            }
            20 => {
                let (start, end, step) = (self.one(0), self.one(6), self.one(2));
                self.add("Range", &[&start, &end, &step], vec![], None);
            }
            21 => {
                let index = self.list(&[0, 0]);
                self.add("Gather", &[name, &index], vec![int("axis", axis)], None);
            }
            22 => self.pool(&x),
            _ => self.anything(),
        }
    }

    fn axis(&mut self, rank: i64) -> i64 {
        if rank == 0 { 0 } else { self.random.below(2 * rank as usize) as i64 - rank }
    }

    fn matmul(&mut self, x: &Known) {
        let (inner, columns) = (x.shape.as_ref().and_then(|s| s.last().copied()).unwrap_or(3), 1 + self.random.below(9) as i64);
        let shape = self.numbers(&[inner, columns]);
        let weight = self.tensor(|n| floats(n, &shape));
        let made = x.shape.clone().filter(|s| !s.is_empty()).map(|mut s| {
            s.pop();
            s.push(columns);
            s
        });
        self.add("MatMul", &[&x.name, &weight], vec![], made);
    }

    fn conv(&mut self, x: &Known) {
        let shape = x.shape.clone().filter(|s| s.len() >= 3).unwrap_or_else(|| vec![1, 3, 5]);
        let (channels, kernel) = (1 + self.random.below(5) as i64, 1 + self.random.below(3) as i64);
        let mut weight = vec![channels, shape[1]];
        weight.resize(shape.len(), kernel);
        let weight = self.numbers(&weight);
        let weight = self.tensor(|n| floats(n, &weight));
        let spatial = shape.len() - 2;
        let mut attributes = Vec::new();
        if self.random.chance(300) {
            let pads = self.numbers(&vec![1; 2 * spatial]);
            attributes.push(int_list("pads", &pads));
        }
        if self.random.chance(300) {
            let strides = self.numbers(&vec![2; spatial]);
            attributes.push(int_list("strides", &strides));
        }
        if self.random.chance(200) {
            let dilations = self.numbers(&vec![2; spatial]);
            attributes.push(int_list("dilations", &dilations));
        }
        if self.hostile() {
            let group = self.number(3);
            attributes.push(int("group", group));
        }
        self.add("Conv", &[&x.name, &weight], attributes, None);
    }

    fn pool(&mut self, x: &Known) {
        let spatial = x.shape.as_ref().map_or(1, |s| s.len().saturating_sub(2));
        let kernel = self.numbers(&vec![2; spatial]);
        let strides = self.numbers(&vec![1; spatial]);
        let op = self.random.pick(&["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"]);
        let attributes = match op {
            "MaxPool" | "AveragePool" => vec![int_list("kernel_shape", &kernel), int_list("strides", &strides)],
            _ => vec![],
        };
        self.add(op, &[&x.name], attributes, None);
    }

    fn anything(&mut self) {
        let (op, most, names) = self.random.pick(&ANYTHING);
        let operands: Vec<String> = (0..1 + self.random.below(most))
            .map(|_| match self.random.below(4) {
                0 => self.list(&[1, 2]),
                1 => self.one(1),
                2 => self.tensor(|n| floats(n, &[2, 3])),
                _ => self.value().name,
            })
            .collect();
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        let mut attributes = Vec::new();
        for name in names {
            if self.random.chance(300) {
                continue;
            }
            attributes.push(match *name {
                "kernel_shape" | "strides" | "pads" | "dilations" | "output_padding" | "output_shape" => {
                    let list = self.numbers(&[2, 2]);
                    int_list(name, &list)
                }
                "direction" | "mode" | "coordinate_transformation_mode" | "nearest_mode" | "reduction" | "equation" => {
                    text(name, self.random.pick(&WORDS))
                }
                _ => {
                    let number = self.random.below(4) as i64;
                    let number = self.number(number);
                    int(name, number)
                }
            });
        }
        self.add(op, &operands, attributes, None);
    }
}
