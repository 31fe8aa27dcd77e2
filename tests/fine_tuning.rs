//! Networks of other programs that are trained on: what their nodes do in a step, layers that begin anew, low-rank adapters.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::frontend::keras;
use kiln::frontend::model::context::{Care, ParameterInfo};
use kiln::frontend::model::tuning::{Adapters, Tuning, parse_tuning};
use kiln::frontend::model::{Language, Model};
use kiln::frontend::onnx::Options;
use kiln::frontend::onnx::proto::{ModelProto, NodeProto, TensorProto};
use kiln::frontend::onnx::trainable::{load_trainable, name_batch};
use kiln::pipeline::Config;
use kiln::training::adapters::with_adapters;
use kiln::training::plan;
use kiln_ir::eval::evaluate;
use kiln_ir::graph::Parameter;
use kiln_ir::initialiser::Initialiser;
use kiln_ir::ops::{Dot, Gather};
use kiln_ir::{Builder, DType, Graph, Module, NodeKind, Op, Tensor, TensorType};
use kiln_runtime::arrays::Array;
use kiln_runtime::npz::write_npz;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::data::DataOptions;
use kiln_runtime::training::run::{TrainOptions, Trainer, train};
use kiln_runtime::training::stepper::Functions;
use kiln_tests::bless::repository;
use kiln_tests::samples::Random;
use kiln_tests::steps;
use prost::Message;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn tuning(text: &str) -> Tuning {
    parse_tuning("tune.toml", text, Language::Toml).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn load(text: &str) -> Result<Model, String> {
    let path = repository().join("tests/files/tune/net.onnx");
    let tuning = tuning(text);
    let mut model = load_trainable(&path, &Options::default(), &tuning).map_err(|errors| errors[0].to_string())?;
    name_batch(&mut model);
    match &tuning.adapters {
        Some(adapters) => with_adapters(model, adapters).map_err(|error| error.to_string()),
        None => Ok(model),
    }
}

fn net(text: &str) -> Model {
    load(text).unwrap_or_else(|error| panic!("{error}"))
}

fn numbers(model: &Model, name: &str) -> Vec<f64> {
    model.module.parameters[name].value.as_ref().unwrap_or_else(|| panic!("`{name}` has no value")).floats()
}

/// What training begins with, by name.
fn start(model: &Model) -> BTreeMap<String, Vec<f64>> {
    let module = model.initialised().expect("small");
    module.parameters.iter().map(|(name, p)| (name.clone(), p.value.as_ref().expect("it was initialised").floats())).collect()
}

/// Points around a centre for each class.
fn points(count: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut random = Random::new(seed);
    let labels: Vec<f64> = (0..count).map(|_| (random.unit() * 3.0).floor()).collect();
    let x = labels.iter().flat_map(|label| (0..6).map(move |i| if i as f64 / 2.0 == *label { 2.0 } else { 0.0 }));
    let x: Vec<f64> = x.collect();
    (x.into_iter().map(|value| value + random.unit() - 0.5).collect(), labels)
}

fn array(dtype: DType, shape: &[usize], values: &[f64]) -> Array {
    let mut array = Array::zeroed(dtype, shape.to_vec()).expect("small");
    values.iter().enumerate().for_each(|(i, value)| array.set_f64(i, *value));
    array
}

fn trained(model: &Model, steps: usize) -> steps::Trained {
    let (x, labels) = points(16, 3);
    let config = model.config.as_ref().expect("it says how");
    steps::train(model, config, &start(model), steps, &mut |slot, _| match slot.is_target {
        true => array(DType::I64, &[16], &labels),
        false => array(DType::F32, &[16, 6], &x),
    })
}

const SGD: &str = "[train]\nloss = \"sparse_cross_entropy\"\noptimiser = \"sgd\"\nlearning_rate = 0.1\n";

/// A dropout drops by the key, and the batch normalisation keeps count; without training nothing is random.
#[test]
fn nodes_in_training_mode_train() {
    let model = net(SGD);
    assert!(!model.parameters["norm.mean"].trainable && !model.parameters["norm.variance"].trainable);
    let (x, _) = points(16, 3);
    let given = |key: u64| {
        let inputs = [Tensor::from_floats(DType::F32, vec![16, 6], x.iter().copied()), Tensor::from_ints(DType::U64, vec![], [key.into()])];
        let module = Module { functions: [("predict".to_string(), model.training.clone())].into(), ..model.module.clone() };
        evaluate(&module, &model.training, &inputs).unwrap_or_else(|error| panic!("{error}"))[0].floats()
    };
    assert_eq!(given(1), given(1));
    assert_ne!(given(1), given(2));
    assert_eq!(model.module.predict().expect("it predicts").inputs().len(), 1);

    let after = trained(&model, 1).states;
    let (weight, bias, old) = (numbers(&model, "first.weight"), numbers(&model, "first.bias"), numbers(&model, "norm.mean"));
    for unit in 0..8 {
        let of_sample = |sample: usize| (0..6).map(|i| x[sample * 6 + i] * weight[unit * 6 + i]).sum::<f64>() + bias[unit];
        let mean = (0..16).map(of_sample).sum::<f64>() / 16.0;
        let expected = 0.75 * old[unit] + 0.25 * mean;
        assert!((after["norm.mean"][unit] - expected).abs() < 1e-5, "{unit}: {}, expected {expected}", after["norm.mean"][unit]);
    }
}

/// Exported for inference, a batch normalisation keeps the statistics of the file, and a dropout drops all the same; an initialiser that
/// only says sizes is not trained.
#[test]
fn nodes_that_were_exported_for_inference_keep_their_statistics() {
    let bytes = fs::read(repository().join("tests/files/tune/net.onnx")).expect("it is there");
    let mut proto = ModelProto::decode(&bytes[..]).expect("a model");
    let graph = proto.graph.as_mut().expect("a graph");
    for node in &mut graph.node {
        match node.op_type.as_str() {
            "BatchNormalization" => {
                node.output.truncate(1);
                node.attribute.retain(|attribute| attribute.name != "training_mode");
            }
            "Dropout" => node.input.truncate(2),
            "Add" => node.input[1] = "spread".into(),
            _ => {}
        }
    }
    let node = |op: &str, input: &[&str], output: &str| NodeProto {
        op_type: op.into(),
        input: input.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    };
    graph.node.insert(0, node("Shape", &["like"], "sizes"));
    graph.node.insert(1, node("Expand", &["head.bias", "sizes"], "spread"));
    let raw_data = [1.0f32; 3].iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<u8>>().into();
    graph.initializer.push(TensorProto { name: "like".into(), dims: vec![1, 3], data_type: 1, raw_data, ..TensorProto::default() });
    let directory = tempfile::tempdir().expect("a place for files");
    let path = directory.path().join("inference.onnx");
    fs::write(&path, proto.encode_to_vec()).expect("it is written");

    let mut model = load_trainable(&path, &Options::default(), &tuning(SGD)).unwrap_or_else(|errors| panic!("{errors:?}"));
    name_batch(&mut model);
    assert!(!model.parameters["norm.mean"].trainable && !model.parameters["like"].trainable);
    let after = trained(&model, 3);
    for name in ["norm.mean", "norm.variance", "like"] {
        assert_eq!(after.states[name], numbers(&model, name), "{name}");
    }
    assert_ne!(after.states["norm.scale"], numbers(&model, "norm.scale"));
    assert_ne!(after.states["head.bias"], numbers(&model, "head.bias"));
    let drawn = model.training.order().into_iter().any(|id| matches!(&model.training.node(id).kind, NodeKind::Op(Op::RandomUniform(_))));
    assert!(drawn);
}

#[test]
fn a_new_head_learns_and_what_is_frozen_stays() {
    let text = "seed = 4\n[train]\nloss = \"sparse_cross_entropy\"\nlearning_rate = 0.02\nfreeze = [\"first.*\", \"norm.mean\"]\n";
    let model = net(&format!("{text}[fine_tune]\nreplace = [{{ pattern = \"head.weight\", units = 5 }}]"));
    let shape = |name: &str| model.parameters[name].ty.to_string();
    assert_eq!((shape("head.weight"), shape("head.bias")), ("f32[8, 5]".into(), "f32[5]".into()));
    let begun = start(&model);
    assert!(begun["head.bias"].iter().all(|value| *value == 0.0) && begun["head.weight"].iter().any(|value| *value != 0.0));
    let trained = trained(&model, 60);
    assert!(trained.losses[59] < 0.5 * trained.losses[0], "{:?}", trained.losses);
    for name in ["first.weight", "first.bias", "norm.mean"] {
        assert_eq!(trained.states[name], numbers(&model, name), "{name}");
    }
    assert_ne!(trained.states["norm.variance"], numbers(&model, "norm.variance"));
    assert_ne!(trained.states["norm.scale"], numbers(&model, "norm.scale"));
}

#[test]
fn what_cannot_begin_anew_is_told() {
    let cases = [
        ("pattern = \"tail\", units = 5", "no parameter is called `tail`"),
        ("pattern = \"norm.*\", units = 5", "is neither the weight nor the bias of a dense layer"),
        ("pattern = \"first.weight\", units = 5", "written for another number of units"),
    ];
    for (replacement, expected) in cases {
        let told = load(&format!("{SGD}[fine_tune]\nreplace = [{{ {replacement} }}]")).expect_err("refused");
        assert!(told.contains(expected), "{replacement}: {told}");
    }
    let wrong = [
        ("[fine_tune]\nreplace = [{ pattern = \"a\", units = 0 }]", "`units` is at least 1"),
        ("[fine_tune]\nadapters = { pattern = \"a\", rank = 0 }", "`rank` is at least 1"),
        ("[fine_tune]\nadapters = { pattern = \"a\", rank = 2, alpha = -1 }", "`alpha` is a number above 0"),
        ("[fine_tune]\nreplaces = []", "did you mean `replace`?"),
        ("[train]\nloss = \"mse\"\nprecision = \"bf16\"", "`precision` = \"bf16\" is for model files"),
    ];
    for (text, expected) in wrong {
        let errors = parse_tuning("tune.toml", text, Language::Toml).expect_err("refused");
        assert!(errors[0].to_string().contains(expected), "{text}: {}", errors[0]);
    }
    let told = load(&format!("{SGD}[fine_tune]\nadapters = {{ pattern = \"norm.*\", rank = 2 }}")).expect_err("refused");
    assert!(told.contains("no matrix that could be trained is called `norm.*`"), "{told}");
}

const ADAPTERS: &str = "[fine_tune]\nadapters = { pattern = \"*.weight\", rank = 2, alpha = 4 }\n";

#[test]
fn adapters_begin_with_the_network_as_it_is_and_leave_its_matrices() {
    let (plain, adapted) = (trained(&net(SGD), 1), trained(&net(&format!("{SGD}{ADAPTERS}")), 1));
    assert_eq!(plain.losses, adapted.losses);

    let model = net(&format!(
        "seed = 2\n{}learning_rate = 0.02\nfreeze = [\"*\"]\n{ADAPTERS}",
        SGD.replace("optimiser = \"sgd\"\nlearning_rate = 0.1\n", "")
    ));
    let trained = trained(&model, 60);
    assert!(trained.losses[59] < 0.6 * trained.losses[0], "{:?}", trained.losses);
    for name in ["first.weight", "first.bias", "norm.scale", "head.weight", "head.bias"] {
        assert_eq!(trained.states[name], numbers(&model, name), "{name}");
    }
    let shape = |name: &str| model.parameters[name].ty.to_string();
    // The first matrix lies transposed.
    let shapes = ["first.weight.lora_A", "first.weight.lora_B", "head.weight.lora_A", "head.weight.lora_B"].map(shape);
    assert_eq!(shapes, ["f32[2, 6]", "f32[8, 2]", "f32[8, 2]", "f32[2, 3]"]);
}

/// However a matrix is read, the network with adapters is the one whose matrix they are added to.
#[test]
fn merged_matrices_compute_what_adapters_do() {
    let mut graph = Graph::new();
    let matrix = TensorType::fixed(DType::F64, &[4, 4]);
    let (x, w) = (graph.add_input("x", matrix.clone()), graph.add_parameter("w", matrix.clone()));
    let mut b = Builder::new(&mut graph);
    let dot = |a: usize, b: usize| Dot { a_batch: vec![], b_batch: vec![], a_contract: vec![a], b_contract: vec![b] };
    let ways = [b.op(dot(1, 0), &[x, w]), b.op(dot(0, 1), &[x, w]), b.op(dot(0, 1), &[w, x]), b.op(dot(1, 0), &[w, x])];
    let turned = b.transpose(w, &[1, 0]);
    let (squared, turned) = (b.op(dot(1, 0), &[w, w]), b.op(dot(1, 0), &[x, turned]));
    let index = b.constant(Tensor::i64(&[2], &[3, 1]));
    let rows = b.op(Gather { axis: 0 }, &[w, index]);
    for (at, value) in ways.into_iter().chain([squared, turned, rows]).enumerate() {
        graph.add_output(format!("y{at}"), value);
    }
    let mut random = Random::new(5);
    let mut tensor =
        |shape: [usize; 2]| Tensor::from_floats(DType::F64, shape.to_vec(), (0..shape[0] * shape[1]).map(|_| random.unit() - 0.5));
    let (input, weight, first, second) = (tensor([4, 4]), tensor([4, 4]), tensor([4, 3]), tensor([3, 4]));
    let info = ParameterInfo {
        ty: matrix.clone(),
        initialiser: Initialiser::Constant(0.0),
        fans: (4, 4),
        trainable: true,
        care: Care::default(),
        incoming: Vec::new(),
    };
    let module = |graph: Graph, weight: Vec<f64>| Module {
        name: "m".into(),
        functions: [("predict".to_string(), graph)].into(),
        parameters: [("w".to_string(), Parameter { ty: matrix.clone(), value: Some(Tensor::from_floats(DType::F64, vec![4, 4], weight)) })]
            .into(),
        ..Module::default()
    };
    let model = Model {
        module: module(graph.clone(), weight.floats()),
        parameters: [("w".to_string(), info)].into(),
        seed: 0,
        training: graph.clone(),
        config: None,
        adapters: Vec::new(),
        writer: None,
        hearer: None,
    };
    let mut adapted = with_adapters(model, &Adapters { pattern: "w".into(), rank: 3, alpha: Some(6.0) }).expect("a matrix");
    for (name, value) in [("w.lora_A", &first), ("w.lora_B", &second)] {
        adapted.module.parameters.get_mut(name).expect("it was added").value = Some(value.clone());
    }
    let (w, a, b) = (weight.floats(), first.floats(), second.floats());
    let merged = (0..16).map(|i| w[i] + 2.0 * (0..3).map(|k| a[i / 4 * 3 + k] * b[k * 4 + i % 4]).sum::<f64>());
    let merged = module(graph, merged.collect());
    let run =
        |module: &Module| evaluate(module, module.predict().expect("it predicts"), std::slice::from_ref(&input)).expect("it computes");
    for (at, (found, expected)) in run(&adapted.module).iter().zip(run(&merged)).enumerate() {
        for (found, expected) in found.floats().into_iter().zip(expected.floats()) {
            assert!((found - expected).abs() < 1e-12, "y{at}: {found}, expected {expected}");
        }
    }
}

fn run_here(model: &Model, place: &Path, out: &Path, options: TrainOptions) -> Result<String, String> {
    let plan = plan(model, model.config.as_ref().expect("it says how")).unwrap_or_else(|errors| panic!("{errors:?}"));
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let compiled = plan.compile(&target, &ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let pool = ThreadPool::new(2);
    let [step, evaluation, trace] = compiled.load(&pool).expect("it loads");
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let parameters = place.join("start.safetensors");
    model.save_initialised(&parameters).unwrap_or_else(|errors| panic!("{errors:?}"));
    let options = TrainOptions {
        data: DataOptions { place: place.join("data.npz"), ..DataOptions::default() },
        out: out.to_path_buf(),
        parameters: Some(parameters),
        ..options
    };
    let mut told = Vec::new();
    let trainer = Trainer { recipe: plan.recipe, functions, start: None };
    train(trainer, &options, &pool, &mut told).map_err(|failure| format!("{failure:?}"))?;
    Ok(String::from_utf8(told).expect("text"))
}

/// Checkpoints are without the matrices that stay, and go on all the same; the network that is left has no adapters and computes what
/// the trained one does.
#[test]
fn what_adapters_learnt_becomes_part_of_the_network() {
    let directory = tempfile::tempdir().expect("a place for files");
    let place = directory.path();
    let ((x, y), (u, v)) = (points(96, 8), points(48, 9));
    let (x, u) = (array(DType::F32, &[96, 6], &x), array(DType::F32, &[48, 6], &u));
    let (y, v) = (array(DType::I64, &[96], &y), array(DType::I64, &[48], &v));
    write_npz(&place.join("data.npz"), [("x_train", &x), ("y_train", &y), ("x_test", &u), ("y_test", &v)]).expect("it is written");
    let text = |more: &str| {
        let train = "[train]\nloss = \"sparse_cross_entropy\"\nlearning_rate = 0.02\nbatch = 16\nepochs = 8\nfreeze = [\"first.bias\"]\n";
        format!("{train}{more}{ADAPTERS}")
    };
    let model = net(&text(""));
    let (whole, broken) = (place.join("whole"), place.join("broken"));
    run_here(&model, place, &whole, TrainOptions::default()).expect("it trains");
    let names = |file: &Path| -> Vec<String> {
        let bytes = fs::read(file).expect("it is there");
        let tensors = SafeTensors::deserialize(&bytes).expect("whole");
        tensors.names().into_iter().map(str::to_owned).collect()
    };
    let kept = names(&whole.join("checkpoint.safetensors"));
    assert!(kept.iter().any(|name| name == "head.weight.lora_B") && !kept.iter().any(|name| name == "head.weight"), "{kept:?}");
    let mut left = names(&whole.join("model.safetensors"));
    left.sort_unstable();
    assert_eq!(left, net(SGD).parameters.keys().cloned().collect::<Vec<_>>());

    // A process that ended behind its last checkpoint.
    fs::create_dir(&broken).expect("it is made");
    fs::copy(whole.join("checkpoint.safetensors"), broken.join("checkpoint.safetensors")).expect("it is copied");
    run_here(&model, place, &broken, TrainOptions { resume: true, ..TrainOptions::default() }).expect("it goes on");
    let read = |out: &Path| fs::read(out.join("model.safetensors")).expect("it is there");
    assert!(read(&whole) == read(&broken));
    let other = net(&format!(
        "seed = 9\n{}",
        text("").replace(ADAPTERS, &format!("{ADAPTERS}replace = [{{ pattern = \"head.weight\", units = 3 }}]\n"))
    ));
    let told_other =
        run_here(&other, place, &broken, TrainOptions { resume: true, ..TrainOptions::default() }).expect_err("other matrices");
    assert!(told_other.contains("is of another training"), "{told_other}");

    let best = place.join("best");
    let stopping = net(&text("early_stopping = { patience = 90 }\n"));
    let told = run_here(&stopping, place, &best, TrainOptions::default()).expect("it trains");
    assert!(names(&best.join("best.safetensors")).iter().any(|name| name == "head.weight.lora_A"));
    // The accuracy that training measured with adapters, and that of the network without.
    let accuracy = |line: &str| line.split("accuracy ").nth(1).and_then(|rest| rest.split(',').next()?.trim().parse::<f64>().ok());
    let measured = told.lines().find(|line| line.starts_with("test")).and_then(accuracy).unwrap_or_else(|| panic!("{told}"));
    let plain = net(SGD).trained(&best.join("model.safetensors")).unwrap_or_else(|errors| panic!("{errors:?}"));
    let inputs = [Tensor::from_vec(DType::F32, vec![48, 6], u.bytes().to_vec())];
    let scores = evaluate(&plain, plain.predict().expect("it predicts"), &inputs).expect("it computes")[0].floats();
    let beside = stopping.trained(&best.join("best.safetensors")).unwrap_or_else(|errors| panic!("{errors:?}"));
    let unmerged = evaluate(&beside, beside.predict().expect("it predicts"), &inputs).expect("it computes")[0].floats();
    for (merged, unmerged) in scores.iter().zip(&unmerged) {
        assert!((merged - unmerged).abs() < 1e-4 * (1.0 + unmerged.abs()), "{merged}, with adapters {unmerged}");
    }
    let right = scores.chunks(3).enumerate().filter(|(at, row)| {
        let best = (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("three");
        best as f64 == v.get_f64(*at)
    });
    let found = right.count() as f64 / 48.0;
    assert!((found - measured).abs() < 1e-3 && found > 0.9, "{found}, training measured {measured}");
}

/// A dense layer of Keras begins anew, its kernel named; the others keep the values of the file.
#[test]
fn layers_of_keras_begin_anew() {
    let path = repository().join("tests/files/keras/train_adam.keras");
    let plain = keras::load(&path).unwrap_or_else(|errors| panic!("{errors:?}")).model;
    let kernels: Vec<&String> = plain.parameters.keys().filter(|name| name.ends_with("/kernel")).collect();
    let last = plain.parameters.iter().filter(|(name, info)| name.ends_with("/kernel") && info.ty.rank() == 2).map(|(name, _)| name);
    let outputs = plain.module.predict().expect("it predicts");
    let classes = outputs.ty(outputs.outputs()[0].1).shape.last().and_then(kiln_ir::Dim::as_const).expect("known");
    let head = last.into_iter().find(|name| plain.parameters[*name].ty.shape[1].is(classes)).expect("a head").clone();
    let replace = &tuning(&format!("[fine_tune]\nreplace = [{{ pattern = \"{head}\", units = 7 }}]")).replace;
    let tuned = keras::load_with(&path, replace).unwrap_or_else(|errors| panic!("{errors:?}")).model;
    let bias = head.replace("/kernel", "/bias");
    for (name, parameter) in &tuned.module.parameters {
        if *name == head || *name == bias {
            assert!(parameter.value.is_none() && parameter.ty.shape.last().is_some_and(|units| units.is(7)), "{name}: {}", parameter.ty);
        } else {
            assert_eq!(parameter.value, plain.module.parameters[name].value, "{name}");
        }
    }
    let wrong = &tuning("[fine_tune]\nreplace = [{ pattern = \"tail/*\", units = 7 }]").replace;
    let told = format!("{:?}", keras::load_with(&path, wrong).expect_err("no such layer")[0]);
    assert!(told.contains("no kernel of a Dense layer is called `tail/*`") && told.contains(kernels[0].as_str()), "{told}");
}
