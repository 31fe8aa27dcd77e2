//! Attentions that kernels compute without storing scores: blocks of threads on a GPU, and CPUs.

use crate::compare::Tolerance;
use crate::samples::{Fill, Random, tensor};
use kiln::artifact::describe::ModelFacts;
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{DType, Module, Symbol, Tensor};

/// Values of symbols.
pub type Sizes = &'static [(&'static str, i64)];

/// One of them.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Its operands; those called `mask` and `lengths` are such.
    pub operands: &'static str,
    /// Attributes that are not as in a plain attention, a `;` between them.
    pub attributes: &'static str,
    /// What is done with the result `%a`, up to `%y`.
    pub then: &'static str,
    /// Sizes that the compiler is told of.
    pub usual: Sizes,
    /// Sizes that the code is run with.
    pub runs: &'static [Sizes],
    /// Instructions that the kernel has.
    pub has: &'static [&'static str],
}

const PLAIN: [(&str, &str); 9] = [
    ("scale", "none"),
    ("softcap", "none"),
    ("causal", "false"),
    ("past", "0"),
    ("left_window", "none"),
    ("right_window", "none"),
    ("has_mask", "false"),
    ("has_lengths", "false"),
    ("scores", "none"),
];

const MANY: Sizes = &[("b", 8), ("h", 12), ("g", 12), ("n", 512), ("m", 512)];
const FEW: Sizes = &[("b", 1), ("h", 12), ("g", 12), ("n", 1), ("m", 2048)];

const SELF: &[Sizes] = &[
    &[("b", 1), ("h", 1), ("n", 1)],
    &[("b", 1), ("h", 2), ("n", 131)],
    &[("b", 2), ("h", 1), ("n", 64)],
    &[("b", 0), ("h", 1), ("n", 3)],
];
const CROSS: &[Sizes] = &[
    &[("b", 1), ("h", 2), ("n", 5), ("m", 97)],
    &[("b", 2), ("h", 1), ("n", 67), ("m", 1)],
    &[("b", 1), ("h", 1), ("n", 3), ("m", 0)],
    &[("b", 1), ("h", 1), ("n", 0), ("m", 3)],
];
const SHORT: &[Sizes] = &[&[("b", 1), ("h", 2), ("n", 5), ("m", 97)], &[("b", 1), ("h", 1), ("n", 3), ("m", 0)]];
const CACHED: &[Sizes] = &[
    &[("b", 1), ("h", 4), ("g", 2), ("n", 1), ("m", 1)],
    &[("b", 2), ("h", 4), ("g", 2), ("n", 1), ("m", 300)],
    &[("b", 1), ("h", 6), ("g", 1), ("n", 3), ("m", 129)],
    &[("b", 1), ("h", 3), ("g", 3), ("n", 40), ("m", 71)],
    &[("b", 1), ("h", 2), ("g", 2), ("n", 5), ("m", 5)],
];

const fn case(name: &'static str, operands: &'static str, attributes: &'static str, usual: Sizes, runs: &'static [Sizes]) -> Case {
    Case { name, operands, attributes, then: "%y = reshape %a {shape=[b,h,n,COLUMNS]}", usual, runs, has: &["ld.shared", "bar.sync"] }
}

/// Of f32 and f64, on the units of threads.
pub const CASES: &[Case] = &[
    Case {
        has: &["cp.async", "ld.shared.v4.f32"],
        ..case("f32", "%q: f32[b,h,n,64], %k: f32[b,h,n,64], %v: f32[b,h,n,64]", "", MANY, SELF)
    },
    Case {
        has: &["cp.async", "ld.shared.v4.f32"],
        ..case("long heads", "%q: f32[b,h,n,128], %k: f32[b,h,n,128], %v: f32[b,h,n,128]", "causal=true", MANY, SELF)
    },
    case("the longest heads", "%q: f32[b,h,n,256], %k: f32[b,h,m,256], %v: f32[b,h,m,200]", "causal=true", MANY, CROSS),
    case("f64", "%q: f64[b,h,n,40], %k: f64[b,h,m,40], %v: f64[b,h,m,24]", "right_window=7", MANY, CROSS),
    case("long heads of f64", "%q: f64[b,h,n,256], %k: f64[b,h,m,256], %v: f64[b,h,m,256]", "", MANY, SHORT),
    case("odd heads", "%q: f32[b,h,n,7], %k: f32[b,h,m,7], %v: f32[b,h,m,13]", "causal=true; past=m - n", MANY, CROSS),
    case("heads of one feature", "%q: f32[b,h,n,1], %k: f32[b,h,m,1], %v: f32[b,h,m,1]", "scale=0.5", MANY, CROSS),
    case("long values", "%q: f32[b,h,n,20], %k: f32[b,h,m,20], %v: f32[b,h,m,300]", "softcap=3.0", MANY, CROSS),
    case("a window", "%q: f32[b,h,n,16], %k: f32[b,h,n,16], %v: f32[b,h,n,16]", "left_window=9; right_window=2", MANY, SELF),
    case("no window", "%q: f32[b,h,n,16], %k: f32[b,h,n,16], %v: f32[b,h,n,16]", "left_window=0; causal=true", MANY, SELF),
    case("keys hidden from early queries", "%q: f32[b,h,n,16], %k: f32[b,h,m,16], %v: f32[b,h,m,16]", "causal=true; past=-3", MANY, CROSS),
    case("a mask", "%q: f32[b,h,n,32], %k: f32[b,h,m,32], %v: f32[b,h,m,32], %mask: f32[n,m]", "has_mask=true", MANY, CROSS),
    case(
        "a mask of keys",
        "%q: f32[b,h,n,32], %k: f32[b,h,m,32], %v: f32[b,h,m,32], %mask: f32[b,1,1,m]",
        "has_mask=true; causal=true; past=m - n",
        MANY,
        CROSS,
    ),
    case(
        "a mask of heads",
        "%q: f32[b,h,n,8], %k: f32[b,h,m,8], %v: f32[b,h,m,8], %mask: f32[b,h,n,m]",
        "has_mask=true; softcap=2.0",
        MANY,
        CROSS,
    ),
    case("heads that share keys", "%q: f32[b,h,n,24], %k: f32[b,g,m,24], %v: f32[b,g,m,24]", "causal=true; past=m - n", MANY, CACHED),
    case(
        "lengths",
        "%q: f32[b,h,n,16], %k: f32[b,g,m,16], %v: f32[b,g,m,16], %lengths: i64[b]",
        "has_lengths=true; causal=true",
        MANY,
        CACHED,
    ),
    case("a query", "%q: f32[b,h,n,64], %k: f32[b,h,m,64], %v: f32[b,h,m,64]", "causal=true; past=m - n", FEW, CROSS),
    case("a query with long heads", "%q: f32[b,h,n,128], %k: f32[b,h,m,128], %v: f32[b,h,m,96]", "", FEW, CROSS),
    case("a query with the longest heads", "%q: f32[b,h,n,250], %k: f32[b,h,m,250], %v: f32[b,h,m,130]", "left_window=90", FEW, CROSS),
    case(
        "a query of heads that share keys",
        "%q: f32[b,h,n,48], %k: f32[b,g,m,48], %v: f32[b,g,m,48]",
        "causal=true; past=m - n",
        FEW,
        CACHED,
    ),
    case(
        "a query with lengths",
        "%q: f32[b,h,n,16], %k: f32[b,g,m,16], %v: f32[b,g,m,16], %mask: f32[n,m], %lengths: i32[b]",
        "has_lengths=true; causal=true; has_mask=true",
        FEW,
        CACHED,
    ),
    case("a query of f64", "%q: f64[b,h,n,64], %k: f64[b,h,m,64], %v: f64[b,h,m,64]", "", FEW, CROSS),
    Case {
        then: "%t = transpose %a {perm=[0,2,1,3]} %r = reshape %t {shape=[b,n,h*32]} %y = tanh %r",
        ..case("results turned", "%q: f32[b,h,n,32], %k: f32[b,h,m,32], %v: f32[b,h,m,32]", "", MANY, CROSS)
    },
];

const MATRICES: &[&str] = &["mma.sync.aligned.m16n8k16.row.col.f32", "ldmatrix", "ex2.approx.f32"];

/// Of half floats, on matrix units.
pub const MATRIX_CASES: &[Case] = &[
    Case { has: MATRICES, ..case("bf16", "%q: bf16[b,h,n,64], %k: bf16[b,h,n,64], %v: bf16[b,h,n,64]", "", MANY, SELF) },
    Case {
        has: MATRICES,
        ..case("causal bf16", "%q: bf16[b,h,n,128], %k: bf16[b,h,n,128], %v: bf16[b,h,n,128]", "causal=true", MANY, SELF)
    },
    Case { has: MATRICES, ..case("f16", "%q: f16[b,h,n,96], %k: f16[b,h,m,96], %v: f16[b,h,m,80]", "softcap=4.0", MANY, CROSS) },
    Case {
        has: MATRICES,
        ..case("the longest heads of bf16", "%q: bf16[b,h,n,256], %k: bf16[b,h,m,256], %v: bf16[b,h,m,256]", "left_window=30", MANY, CROSS)
    },
    Case {
        has: MATRICES,
        ..case("odd heads of f16", "%q: f16[b,h,n,19], %k: f16[b,h,m,19], %v: f16[b,h,m,13]", "causal=true; past=m - n", MANY, CROSS)
    },
    Case { has: MATRICES, ..case("long values of bf16", "%q: bf16[b,h,n,40], %k: bf16[b,h,m,40], %v: bf16[b,h,m,200]", "", MANY, CROSS) },
    Case {
        has: MATRICES,
        ..case(
            "a mask of f16",
            "%q: f16[b,h,n,32], %k: f16[b,h,m,32], %v: f16[b,h,m,32], %mask: f16[b,1,n,m]",
            "has_mask=true",
            MANY,
            CROSS,
        )
    },
    Case {
        has: MATRICES,
        ..case(
            "heads of bf16 that share keys",
            "%q: bf16[b,h,n,64], %k: bf16[b,g,m,64], %v: bf16[b,g,m,64]",
            "causal=true; past=m - n",
            MANY,
            CACHED,
        )
    },
    Case { has: MATRICES, ..case("a query of bf16", "%q: bf16[b,h,n,64], %k: bf16[b,h,m,64], %v: bf16[b,h,m,64]", "", FEW, CROSS) },
    Case {
        has: MATRICES,
        ..case(
            "a query of heads of bf16 that share keys",
            "%q: bf16[b,h,n,128], %k: bf16[b,g,m,128], %v: bf16[b,g,m,128]",
            "causal=true; past=m - n",
            FEW,
            CACHED,
        )
    },
    Case {
        has: MATRICES,
        ..case(
            "a query of f16 with lengths",
            "%q: f16[b,h,n,16], %k: f16[b,g,m,16], %v: f16[b,g,m,24], %lengths: i64[b]",
            "has_lengths=true; causal=true",
            FEW,
            CACHED,
        )
    },
    Case {
        has: MATRICES,
        then: "%t = transpose %a {perm=[0,2,1,3]} %y = reshape %t {shape=[b,n,h*64]}",
        ..case("turned keys and values of bf16", "%q: bf16[b,h,n,64], %k: bf16[b,h,m,64], %v: bf16[b,h,m,64]", "", MANY, CROSS)
    },
];

/// The module of a case.
pub fn module(case: &Case) -> Module {
    let mut attributes: Vec<(&str, &str)> = PLAIN.to_vec();
    for given in case.attributes.split(';').filter(|given| !given.is_empty()) {
        let (name, value) = given.trim().split_once('=').expect("a name and a value");
        attributes.iter_mut().find(|(known, _)| *known == name).expect("attention has it").1 = value;
    }
    let attributes: Vec<String> = attributes.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let names: Vec<&str> = case.operands.split('%').skip(1).map(|operand| operand.split_once(':').expect("a type").0).collect();
    let operands: Vec<String> = names.iter().map(|name| format!("%{name}")).collect();
    let columns = case.operands.split_once("%v: ").and_then(|(_, rest)| rest.split([',', ']']).nth(3)).expect("values have features");
    let text = format!(
        "module test {{ fn predict({}) {{ %a = attention {} {{{}}} {} return %y }} }}",
        case.operands,
        operands.join(", "),
        attributes.join(", "),
        case.then.replace("COLUMNS", columns)
    );
    parse_module("test.kiln", &text, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name))
}

/// What the compiler is told of a case.
pub fn facts(case: &Case) -> ModelFacts {
    let usual_sizes = case.usual.iter().map(|(name, size)| (Symbol::new(name), *size)).collect();
    ModelFacts { name: "net".into(), usual_sizes, ..ModelFacts::default() }
}

/// Operands of these sizes. Masks hide about a third of keys, and of every fifth query all; lengths are any that there may be.
pub fn operands(module: &Module, sizes: Sizes) -> Vec<Tensor> {
    let mut random = Random::new(5);
    let graph = module.predict().expect("there is one");
    let size = |name: &str| sizes.iter().find(|(known, _)| *known == name).map(|(_, size)| *size);
    let one = |(name, value): &(String, kiln_ir::Value)| {
        let ty = graph.ty(*value);
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.evaluate(&|s| size(s.name())).expect("a size") as usize).collect();
        match name.as_str() {
            "mask" => {
                let keys = shape.last().copied().unwrap_or(1).max(1);
                let count: usize = shape.iter().product();
                let hides = |at: usize, random: &mut Random| (at / keys % 5 == 2 || random.below(3) == 0).then_some(f64::NEG_INFINITY);
                let values: Vec<f64> = (0..count).map(|at| hides(at, &mut random).unwrap_or_else(|| 2.0 * random.unit() - 1.0)).collect();
                Tensor::from_floats(ty.dtype, shape, values)
            }
            "lengths" => tensor(ty.dtype, &shape, Fill::Ordinary, Some((0.0, size("m").unwrap_or(0) as f64)), &mut random),
            _ => tensor(ty.dtype, &shape, Fill::Ordinary, Some((-1.5, 1.5)), &mut random),
        }
    };
    graph.inputs().iter().map(one).collect()
}

/// How far results may be from the reference, which keeps every value in f64.
pub fn tolerance(dtype: DType) -> Tolerance {
    match dtype {
        DType::F64 => Tolerance { absolute: 1e-13, relative: 1e-12 },
        // Exponentials are rounded to half floats, and so is the result.
        DType::F16 => Tolerance { absolute: 2e-3, relative: 2e-3 },
        DType::BF16 => Tolerance { absolute: 1e-2, relative: 1e-2 },
        // Scores of tens of products of size two, and sums of as many.
        _ => Tolerance { absolute: 1e-5, relative: 1e-5 },
    }
}
