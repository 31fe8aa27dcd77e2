//! What exporters write for a composite is recognised as it, and what only looks like one is left alone.
//!
//! `files/spellings/` has small models, exported by the script there; `recognised.txt` beside them lists the composites that each
//! is left with. The name of a model says what it must contain.

use kiln::artifact::describe::ModelFacts;
use kiln::autodiff::{Variable, differentiate};
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::compile::compile;
use kiln::egraph::rule::Freedom;
use kiln::frontend::onnx::{Options, import};
use kiln::passes::recognise::{Recognition, recognised};
use kiln::pipeline::{Config, Context, OptLevel};
use kiln_ir::eval::evaluate;
use kiln_ir::ops::Meaning;
use kiln_ir::{Builder, DType, Graph, Module, NodeKind, Op, Symbol, Tensor, Value};
use kiln_runtime::threads::ThreadPool;
use kiln_tests::bless::{check_file, repository};
use kiln_tests::samples::{Fill, Random, tensor};
use std::collections::BTreeMap;

/// Results before and after differ by rounding alone.
const TOLERANCE: f64 = 1e-5;
/// Of 16-bit floats: scores and shares are rounded to them before, and are not afterwards.
const TOLERANCE_OF_HALVES: f64 = 4e-3;

struct Spelling {
    name: String,
    module: Module,
}

fn spellings() -> Vec<Spelling> {
    let folder = repository().join("tests/files/spellings");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|e| e.unwrap_or_else(|e| panic!("{e}")).path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    let read = |path: std::path::PathBuf| Spelling {
        name: path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        module: import(&path, &Options::default()).unwrap_or_else(|e| panic!("{}: {}", path.display(), e[0])),
    };
    paths.into_iter().map(read).collect()
}

impl Spelling {
    /// Another function outside a domain: recognised only on request.
    fn is_approximate(&self) -> bool {
        self.name.contains("_finite_mask_")
    }

    fn recognised(&self, freedom: Freedom) -> Graph {
        self.recognised_at(OptLevel::Saturated, freedom)
    }

    fn recognised_at(&self, level: OptLevel, freedom: Freedom) -> Graph {
        let config = Config::at(level);
        let context = Context::new(&config, &self.module.parameters);
        recognised(&self.module.functions["predict"], &context, &Recognition { freedom, ..Recognition::default() }).graph
    }

    /// With the freedom that the spelling needs.
    fn recognition(&self) -> Recognition {
        let freedom = if self.is_approximate() { Freedom::Approximation } else { Freedom::Reassociation };
        Recognition { freedom, ..Recognition::default() }
    }

    fn result(&self) -> Graph {
        self.recognised(self.recognition().freedom)
    }

    /// Ordinary values for a size of 5 where one is open.
    fn inputs(&self, random: &mut Random) -> Vec<Tensor> {
        let graph = &self.module.functions["predict"];
        let input = |(_, value): &(String, Value)| {
            let ty = graph.ty(*value);
            // What is called `total` is as long as a cache and what is new together.
            let size = |symbol: &Symbol| Some(if symbol.name() == "total" { 10 } else { 5 });
            let shape: Vec<usize> = ty.shape.iter().filter_map(|d| d.evaluate(&size)).map(|d| d as usize).collect();
            // Every query sees a key: with none, an approximation is another function.
            let ones = self.is_approximate() && ty.rank() == 4 && shape[3] == 7 && shape[1] == 1;
            tensor(ty.dtype, &shape, Fill::Ordinary, Some(if ones { (1.0, 1.0) } else { (-2.0, 2.0) }), random)
        };
        graph.inputs().iter().map(input).collect()
    }

    /// Results are as expected, wherever those are numbers.
    fn compare(&self, expected: &[Tensor], results: &[Tensor]) {
        for (old, new) in expected.iter().zip(results) {
            assert_eq!(old.ty(), new.ty(), "{}", self.name);
            let tolerance = if old.dtype() == DType::F16 { TOLERANCE_OF_HALVES } else { TOLERANCE };
            let close = |(a, b): (&f64, &f64)| a.is_nan() || (a - b).abs() <= tolerance * (1.0 + a.abs());
            let (a, b) = (old.floats(), new.floats());
            assert!(a.iter().zip(&b).all(close), "{}: {a:?} became {b:?}", self.name);
        }
    }

    /// The composite that the name begins with.
    fn expected(&self) -> Option<&'static str> {
        composite_of(&self.name)
    }

    /// The composite that it must not become: `no_X_…` looks like X, and `near_…` like attention.
    fn forbidden(&self) -> Option<&'static str> {
        let near = self.name.starts_with("near_").then_some("attention");
        near.or_else(|| self.name.strip_prefix("no_").and_then(composite_of))
    }
}

/// The composite that a name begins with.
fn composite_of(name: &str) -> Option<&'static str> {
    Op::NAMES.iter().filter(|op| name.starts_with(**op)).max_by_key(|op| op.len()).copied()
}

/// Composites of a graph, with how often each is in it.
fn composites(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for id in graph.order() {
        let NodeKind::Op(op) = &graph.node(id).kind else { continue };
        let mut scratch = graph.clone();
        if matches!(op.expand(&mut Builder::new(&mut scratch), &graph.node(id).inputs), Meaning::Composite(_)) {
            *counts.entry(op.name()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn spellings_are_recognised_and_near_misses_left_alone() {
    let mut faults = Vec::new();
    let mut list = String::from("# What each model is left with; written by `cargo bless`.\n");
    let (mut attentions, mut misses) = (0, 0);
    for spelling in spellings() {
        let found = composites(&spelling.result());
        let counts: Vec<String> = found.iter().map(|(op, n)| format!("{op} {n}")).collect();
        list += &format!("{:<40} {}\n", spelling.name, if counts.is_empty() { "-".into() } else { counts.join(", ") });
        if let Some(forbidden) = spelling.forbidden() {
            misses += 1;
            if found.contains_key(forbidden) {
                faults.push(format!("{} is no {forbidden}, found {found:?}", spelling.name));
            }
            continue;
        }
        let expected = spelling.expected().unwrap_or_else(|| panic!("{}: its name begins with no composite", spelling.name));
        attentions += usize::from(expected == "attention");
        if found.get(expected) != Some(&1) {
            faults.push(format!("{}: expected one {expected}, found {found:?}\n{}", spelling.name, spelling.result()));
        }
    }
    assert!(faults.is_empty(), "{} of them:\n{}", faults.len(), faults.join("\n"));
    assert!(attentions >= 80 && misses >= 30, "{attentions} spellings of attention and {misses} near misses");
    check_file(&repository().join("tests/files/spellings/recognised.txt"), &list);
}

#[test]
fn directed_steps_find_what_saturation_finds_where_each_step_pays() {
    let mut random = Random::new(31);
    let mut missed = Vec::new();
    for spelling in spellings() {
        let freedom = spelling.recognition().freedom;
        let after = spelling.recognised_at(OptLevel::Directed, freedom);
        if composites(&after) != composites(&spelling.result()) {
            missed.push(spelling.name.clone());
        }
        let inputs = spelling.inputs(&mut random);
        let run = |graph: &Graph| evaluate(&spelling.module, graph, &inputs).unwrap_or_else(|e| panic!("{}: {}", spelling.name, e.message));
        spelling.compare(&run(&spelling.module.functions["predict"]), &run(&after));
    }
    // What these are made of is found by steps that do not make the graph cheaper by themselves.
    let of_attention = ["columns_ts", "keras_one_head_tf", "keras_other_batches_tf", "keras_other_tf", "keras_self_tf"];
    let more_of_attention = ["keras_three_batches_tf", "keras_without_bias_tf", "sam_rows_and_columns", "sam_rows_and_columns_ts"];
    let of_gelu = ["gelu_by_erf_after", "gelu_by_erf_after_ts", "gelu_by_erf_and_sum_text", "gelu_by_sum_ts", "gelu_tanh_by_parts_text"];
    let of_norms = ["layer_norm_axis_inserted_after", "layer_norm_axis_inserted_after_ts", "layer_norm_flax_text"];
    let of_logarithms = ["log_softmax_nll", "log_softmax_nll_ts", "mish_by_hand", "mish_by_softplus_module"];
    let of_roots = ["rms_norm_axis_inserted_after", "rms_norm_axis_inserted_after_ts", "rms_norm_by_length_ts"];
    let attentions = of_attention.iter().chain(&more_of_attention).map(|name| format!("attention_{name}"));
    let others = of_gelu.iter().chain(&of_norms).chain(&of_logarithms).chain(&of_roots).map(ToString::to_string);
    let expected: Vec<String> = attentions.chain(others).collect();
    assert_eq!(missed, expected);
}

#[test]
fn approximations_are_made_on_request_only() {
    for spelling in spellings().iter().filter(|s| s.is_approximate()) {
        let found = composites(&spelling.recognised(Freedom::Reassociation));
        assert_eq!(found.get("attention"), None, "{}", spelling.name);
    }
}

#[test]
fn exact_rules_recognise_nothing_that_rounds_otherwise() {
    for spelling in spellings() {
        let (before, after) = (composites(&spelling.module.functions["predict"]), composites(&spelling.recognised(Freedom::Values)));
        assert_eq!(before, after, "{}", spelling.name);
    }
}

#[test]
fn recognising_keeps_results() {
    let mut random = Random::new(23);
    for spelling in spellings() {
        let before = &spelling.module.functions["predict"];
        let after = spelling.result();
        for _ in 0..3 {
            let inputs = spelling.inputs(&mut random);
            let run =
                |graph: &Graph| evaluate(&spelling.module, graph, &inputs).unwrap_or_else(|e| panic!("{}: {}", spelling.name, e.message));
            spelling.compare(&run(before), &run(&after));
        }
    }
}

#[test]
fn compiled_code_agrees_with_and_without_recognising() {
    let mut random = Random::new(29);
    let pool = ThreadPool::new(1);
    for spelling in spellings() {
        let inputs = spelling.inputs(&mut random);
        let expected = evaluate(&spelling.module, &spelling.module.functions["predict"], &inputs);
        let expected = expected.unwrap_or_else(|e| panic!("{}: {}", spelling.name, e.message));
        for recognise in [None, Some(spelling.recognition())] {
            let config = Config { recognise, ..Config::default() };
            let target = CpuTarget::host(CpuLevel::Native).unwrap_or_else(|e| panic!("{e}"));
            let facts = ModelFacts { name: "spelling".into(), ..ModelFacts::default() };
            let compiled = compile(&spelling.module, target, facts, &config).unwrap_or_else(|e| panic!("{}: {}", spelling.name, e[0]));
            let results = compiled.predictor(&pool).and_then(|predictor| predictor.run(&inputs, &pool));
            spelling.compare(&expected, &results.unwrap_or_else(|e| panic!("{}: {e}", spelling.name)));
        }
    }
}

#[test]
fn the_same_model_gives_the_same_graph() {
    for spelling in spellings() {
        assert_eq!(spelling.result().to_string(), spelling.result().to_string(), "{}", spelling.name);
    }
}

/// Gradients of all outputs by all floating inputs and parameters, taken before recognising and after it.
#[test]
fn gradients_of_recurrent_layers_are_those_of_their_steps() {
    let mut random = Random::new(37);
    let mut compared = 0;
    for spelling in spellings().iter().filter(|s| matches!(s.expected(), Some("rnn" | "gru" | "lstm"))) {
        let module = &spelling.module;
        let gradient = |graph: &Graph| {
            let floats = graph.outputs().iter().filter(|(_, value)| graph.ty(*value).dtype.is_float());
            let names: Vec<&str> = floats.map(|(name, _)| name.as_str()).collect();
            let inputs = graph.inputs().iter().map(|(name, _)| Variable::Input(name.clone()));
            let by: Vec<Variable> = inputs.chain(module.parameters.keys().cloned().map(Variable::Parameter)).collect();
            differentiate(graph, &names, &by).unwrap_or_else(|e| panic!("{}: {}", spelling.name, e[0]))
        };
        let inputs = spelling.inputs(&mut random);
        let run = |graph: &Graph| evaluate(module, graph, &inputs).unwrap_or_else(|e| panic!("{}: {}", spelling.name, e.message));
        spelling.compare(&run(&gradient(&module.functions["predict"])), &run(&gradient(&spelling.result())));
        compared += 1;
    }
    assert!(compared >= 20, "{compared} recurrent layers");
}

/// The steps of x that loops of `written.py` go over, worked out by hand from their conditions, and what their counters end with.
const LOOPS: [(&str, &[usize], Option<i128>); 9] = [
    ("rnn_loop_condition_handed_on_text", &[0, 1, 2, 3, 4, 5], None),
    ("rnn_loop_while_below_text", &[0, 1, 2, 3, 4, 5], None),
    ("rnn_loop_while_next_below_text", &[0, 1, 2, 3, 4, 5], None),
    ("rnn_loop_ends_by_condition_text", &[0, 1, 2, 3], None),
    ("rnn_loop_hands_weights_on_text", &[0, 1, 2, 3, 4, 5], None),
    ("rnn_loop_counted_in_value_text", &[0, 1, 2, 3, 4, 5], Some(6)),
    ("rnn_loop_counted_from_two_text", &[2, 3, 4, 5], Some(6)),
    ("no_rnn_loop_every_second_text", &[0, 2, 4], Some(6)),
    ("no_rnn_loop_backwards_text", &[5, 4, 3, 2, 1, 0], Some(-1)),
];

#[test]
fn loops_run_as_often_as_their_conditions_say() {
    let mut random = Random::new(41);
    let spellings = spellings();
    let weight = |from: f64, by: f64, at: usize| from + by * at as f64;
    for (name, steps, counter) in LOOPS {
        let spelling = spellings.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("there is no {name}"));
        let inputs = spelling.inputs(&mut random);
        let (x, mut h) = (inputs[0].floats(), inputs[1].floats());
        for step in steps {
            let sum = |sample: usize, j: usize| {
                let of_input: f64 = (0..3).map(|i| x[(step * 2 + sample) * 3 + i] * weight(-0.5, 0.1, i * 4 + j)).sum();
                let of_state: f64 = (0..4).map(|i| h[sample * 4 + i] * weight(0.4, -0.05, i * 4 + j)).sum();
                of_input + of_state + [0.1, -0.2, 0.3, -0.4][j]
            };
            h = (0..8).map(|at| sum(at / 4, at % 4).tanh()).collect();
        }
        let results = evaluate(&spelling.module, &spelling.module.functions["predict"], &inputs);
        let results = results.unwrap_or_else(|e| panic!("{name}: {}", e.message));
        spelling.compare(&[Tensor::from_floats(DType::F32, vec![2, 4], h)], &results[..1]);
        assert_eq!(results.get(1).map(|t| t.ints()[0]), counter, "{name}");
    }
}

#[test]
fn batches_that_must_be_equal_have_one_name() {
    let spellings = spellings();
    let batches = |name: &str| -> Vec<String> {
        let spelling = spellings.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("there is no {name}"));
        let graph = &spelling.module.functions["predict"];
        graph.inputs().iter().map(|(_, value)| graph.ty(*value).shape[0].to_string()).collect()
    };
    // Heads that were merged into a batch are 2·b of each, which is never 1.
    assert_eq!(batches("attention_keras_three_batches_tf"), ["batch_0", "batch_0", "batch_0"]);
    assert_eq!(batches("attention_keras_other_batches_tf"), ["batch_0", "batch_0"]);
    // A batch of one may be repeated for others.
    assert_eq!(batches("attention_keras_luong_batches_tf"), ["batch_0", "batch_1", "batch_2"]);
}

#[test]
fn heads_that_queries_share_are_not_repeated() {
    let names = [
        "rotated_expanded",
        "rotated_expanded_ts",
        "rotated_interleaved",
        "rotated_interleaved_ts",
        "rotated_by_index",
        "rotated_by_index_ts",
        "repeated_before_heads_move",
        "repeated_before_heads_move_ts",
    ];
    let shared = |s: &Spelling| s.name.strip_prefix("attention_grouped_").is_some_and(|name| names.contains(&name));
    let mut seen = 0;
    for spelling in spellings().iter().filter(|s| shared(s)) {
        let graph = spelling.result();
        let of_attention = |id: &kiln_ir::NodeId| matches!(&graph.node(*id).kind, NodeKind::Op(Op::Attention(_)));
        let node = graph.order().into_iter().find(of_attention).unwrap_or_else(|| panic!("{}: no attention", spelling.name));
        let heads: Vec<String> = graph.node(node).inputs[..3].iter().map(|v| graph.ty(*v).shape[1].to_string()).collect();
        assert_eq!(heads, ["4", "2", "2"], "{}", spelling.name);
        seen += 1;
    }
    assert_eq!(seen, names.len());
}
