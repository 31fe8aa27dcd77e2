//! Recurrent layers whose turns one kernel of a GPU can take.

use crate::attention_cases::tolerance;
use crate::compare::Tolerance;
use crate::samples::{Fill, Random, tensor};
use kiln::artifact::describe::ModelFacts;
use kiln::backend::ptx::generation::Generation;
use kiln::pipeline::Config;
use kiln::tuning::{Answers, Subject, Tuning};
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{DType, Module, Symbol, Tensor};

/// Steps of time, and samples.
pub type Sizes = [i64; 2];

/// One of them.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The operator.
    pub layer: &'static str,
    /// Features of an input, and of the state.
    pub features: [i64; 2],
    /// Type of everything but lengths.
    pub dtype: &'static str,
    /// Attributes that are not as in a plain layer, a `;` between them.
    pub attributes: &'static str,
    /// Sizes that the compiler is told of, for certain where they are the only ones that the code is run with.
    pub usual: Sizes,
    /// Sizes that the code is run with.
    pub runs: &'static [Sizes],
    /// Blocks of a cluster that can share it, on a GPU with clusters.
    pub clusters: &'static [u32],
}

const SMALL: &[Sizes] = &[[3, 1], [1, 3], [2, 9], [0, 2], [2, 0]];

/// All of them.
pub const CASES: &[Case] = &[
    Case { name: "lstm", layer: "lstm", features: [5, 24], dtype: "f32", attributes: "", usual: [50, 8], runs: SMALL, clusters: &[2, 1] },
    Case {
        name: "lstm of one sample",
        layer: "lstm",
        features: [6, 128],
        dtype: "f32",
        attributes: "",
        usual: [3, 1],
        runs: &[[3, 1]],
        clusters: &[8, 4, 2],
    },
    Case {
        name: "lstm of bf16 backwards with lengths",
        layer: "lstm",
        features: [8, 40],
        dtype: "bf16",
        attributes: "reverse=true; has_lengths=true; clip=2.5",
        usual: [50, 3],
        runs: SMALL,
        clusters: &[4, 2, 1],
    },
    Case {
        name: "lstm with peepholes",
        layer: "lstm",
        features: [3, 37],
        dtype: "f32",
        attributes: "has_peepholes=true; input_forget=true",
        usual: [10, 2],
        runs: SMALL,
        clusters: &[4, 2, 1],
    },
    Case { name: "gru", layer: "gru", features: [4, 37], dtype: "f32", attributes: "", usual: [50, 8], runs: SMALL, clusters: &[4, 2, 1] },
    Case {
        name: "gru of f16 that resets products",
        layer: "gru",
        features: [4, 32],
        dtype: "f16",
        attributes: "linear_before_reset=true; reverse=true",
        usual: [50, 5],
        runs: SMALL,
        clusters: &[8, 4, 2, 1],
    },
    Case {
        name: "rnn of f64 and few units",
        layer: "rnn",
        features: [7, 5],
        dtype: "f64",
        attributes: "",
        usual: [9, 20],
        runs: SMALL,
        clusters: &[2, 1],
    },
];

/// A case whose weights fit into no block's memory.
pub const TOO_LARGE: Case = Case {
    name: "lstm of too many units",
    layer: "lstm",
    features: [3, 1024],
    dtype: "f32",
    attributes: "",
    usual: [50, 8],
    runs: &[],
    clusters: &[],
};

/// The way of that number to take a loop's turns; 0 is kernel after kernel.
pub fn by_one_kernel(way: usize) -> Config {
    Config { tuning: Tuning::known(Answers::new()).trial(Subject::Loop, way), ..Config::default() }
}

impl Case {
    fn symbols(&self) -> [String; 2] {
        if *self.runs == [self.usual] { self.usual.map(|size| size.to_string()) } else { ["t", "b"].map(str::to_string) }
    }

    /// Attributes by name, and the number of gates.
    fn layer(&self) -> (Vec<(&str, String)>, i64) {
        let [_, hidden] = self.features;
        let (functions, gates) = match self.layer {
            "lstm" => (&["sigmoid", "tanh", "tanh"][..], 4),
            "gru" => (&["sigmoid", "tanh"][..], 3),
            _ => (&["tanh"][..], 1),
        };
        let zeros = vec!["0.0"; functions.len()].join(", ");
        let mut attributes = vec![("hidden", hidden.to_string()), ("activations", format!("[{}]", functions.join(", ")))];
        attributes.extend([("alphas", format!("[{zeros}]")), ("betas", format!("[{zeros}]")), ("clip", "none".to_string())]);
        attributes.extend(["reverse", "has_lengths"].map(|name| (name, "false".to_string())));
        let own: &[&str] = match self.layer {
            "lstm" => &["input_forget", "has_peepholes"],
            "gru" => &["linear_before_reset"],
            _ => &[],
        };
        attributes.extend(own.iter().map(|name| (*name, "false".to_string())));
        for given in self.attributes.split(';').filter(|given| !given.is_empty()) {
            let (name, value) = given.trim().split_once('=').expect("a name and a value");
            attributes.iter_mut().find(|(known, _)| *known == name).expect("the layer has it").1 = value.to_string();
        }
        (attributes, gates)
    }

    /// The layer as a function of its operands.
    pub fn module(&self) -> Module {
        let (attributes, gates) = self.layer();
        let ([features, hidden], [time, batch], dtype) = (self.features, self.symbols(), self.dtype);
        let rows = gates * hidden;
        let mut operands = vec![
            format!("%x: {dtype}[{time}, {batch}, {features}]"),
            format!("%w: {dtype}[{rows}, {features}]"),
            format!("%r: {dtype}[{rows}, {hidden}]"),
            format!("%bias: {dtype}[{}]", 2 * rows),
            format!("%h0: {dtype}[{batch}, {hidden}]"),
        ];
        let is_set = |name: &str| attributes.iter().any(|(known, value)| *known == name && value == "true");
        operands.extend((self.layer == "lstm").then(|| format!("%c0: {dtype}[{batch}, {hidden}]")));
        operands.extend(is_set("has_lengths").then(|| format!("%lengths: i64[{batch}]")));
        operands.extend(is_set("has_peepholes").then(|| format!("%peepholes: {dtype}[{}]", 3 * hidden)));
        let names: Vec<&str> = operands.iter().map(|operand| operand.split_once(':').expect("a type").0).collect();
        let results = &["%y", "%h", "%c"][..if self.layer == "lstm" { 3 } else { 2 }];
        let attributes: Vec<String> = attributes.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let text = format!(
            "module test {{ fn predict({}) {{ {} = {} {} {{{}}} return {} }} }}",
            operands.join(", "),
            results.join(", "),
            self.layer,
            names.join(", "),
            attributes.join(", "),
            results.join(", "),
        );
        parse_module("test.kiln", &text, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{}: {errors:?}", self.name))
    }

    /// What the compiler is told.
    pub fn facts(&self) -> ModelFacts {
        let usual_sizes = ["t", "b"].into_iter().zip(self.usual).map(|(name, size)| (Symbol::new(name), size)).collect();
        ModelFacts { name: "net".into(), usual_sizes, ..ModelFacts::default() }
    }

    /// Operands of these sizes: weights that leave gates between open and shut, lengths from none to all steps.
    pub fn operands(&self, module: &Module, [time, batch]: Sizes) -> Vec<Tensor> {
        let mut random = Random::new(9);
        let graph = module.predict().expect("there is one");
        let size = |name: &str| Some(if name == "t" { time } else { batch });
        let one = |(name, value): &(String, kiln_ir::Value)| {
            let ty = graph.ty(*value);
            let shape: Vec<usize> = ty.shape.iter().map(|d| d.evaluate(&|s| size(s.name())).expect("a size") as usize).collect();
            let range = if name == "lengths" { (0.0, time as f64) } else { (-0.5, 0.5) };
            tensor(ty.dtype, &shape, Fill::Ordinary, Some(range), &mut random)
        };
        graph.inputs().iter().map(one).collect()
    }

    /// The way of each of its sizes of clusters, by their place in the list.
    pub fn by_clusters(&self, place: usize) -> Config {
        Config { generation: Generation::HOPPER, ..by_one_kernel(place + 1) }
    }

    /// How far results may be from the reference's: as far as those of attention, which are sums of as many products.
    pub fn tolerance(&self) -> Tolerance {
        tolerance(DType::from_name(self.dtype).expect("a type"))
    }
}
