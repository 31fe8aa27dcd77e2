//! Steps of training within a budget of memory: less memory, the same bits, and an error where that is not enough.

use kiln::artifact::describe::ModelFacts;
use kiln::backend::cpu::target::{CpuLevel, CpuTarget};
use kiln::frontend::model::Model;
use kiln::pipeline::Config;
use kiln::schedule::rematerialise::MemoryBudget;
use kiln_ir::{DType, Diagnostic};
use kiln_runtime::arrays::Array;
use kiln_runtime::threads::ThreadPool;
use kiln_runtime::training::recipe::Allowed;
use kiln_runtime::training::stepper::{Functions, Stepper};
use kiln_tests::training::{array, network, planned};

/// What three steps leave: losses, the bytes of all states, and of the arena.
struct Outcome {
    losses: Vec<f64>,
    states: Vec<Vec<u8>>,
    arena: i64,
    temporaries: i64,
    again: usize,
}

fn steps(model: &Model, shape: &[usize], bytes: Option<i64>, workers: usize) -> Result<Outcome, Vec<Diagnostic>> {
    let plan = planned(model);
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    let config = Config { memory: bytes.map(|bytes| MemoryBudget { bytes, workers }), ..Config::default() };
    let compiled = plan.compile(&target, &ModelFacts::default(), &config)?;
    let pool = ThreadPool::new(workers);
    let [step, evaluation, trace] = compiled.load(&pool).expect("it loads");
    let functions = Functions::compiled([step.model(), evaluation.model(), trace.model()], &pool);
    let mut stepper = Stepper::new(&plan.recipe, functions, 1).expect("it fits");
    let wave = |scale: f64| (0..).map(move |i| (f64::from(i) * scale).sin());
    let data: Vec<Array> = (plan.recipe.data.iter())
        .map(|slot| match slot.allowed {
            Allowed::Classes(_, last) => array(DType::I64, &shape[..1], (0..).map(|i| f64::from(i % (last as i32 + 1)))),
            _ => array(DType::F32, shape, wave(0.37)),
        })
        .collect();
    let losses = (0..3).map(|_| stepper.step(&data, 0.01)).collect::<Result<Vec<f64>, _>>().unwrap_or_else(|error| panic!("{error}"));
    let main = &compiled.step.plan().main;
    let temporaries = main.temporary_bytes.evaluate(&|_| Some(shape[0] as i64)).expect("only the batch is open");
    let again = compiled.step.recomputed().map_or(0, |recomputed| recomputed.steps);
    Ok(Outcome {
        losses,
        states: stepper.states().iter().map(|array| array.bytes().to_vec()).collect(),
        arena: stepper.arena_bytes(),
        temporaries,
        again,
    })
}

/// With so much of the memory of intermediate values, the same bits come out of no more than that.
fn assert_same_within(model: &Model, shape: &[usize], part: f64) {
    let free = steps(model, shape, None, 2).expect("it compiles");
    for workers in [1, 2] {
        let whole = steps(model, shape, None, workers).expect("it compiles");
        assert_eq!((whole.again, &whole.states), (0, &free.states));
        // Scratch of the threads stays.
        let budget = whole.arena - (whole.temporaries as f64 * (1.0 - part)) as i64;
        let kept = steps(model, shape, Some(budget), workers).unwrap_or_else(|errors| panic!("{}", errors[0]));
        assert!(kept.arena <= budget, "{} bytes, allowed are {budget} of {}", kept.arena, whole.arena);
        assert!(kept.again > 0);
        assert_eq!(kept.losses, free.losses);
        assert_eq!(kept.states, free.states);
    }
    let errors = steps(model, shape, Some(free.arena / 1000), 2).err().expect("so little is not possible");
    assert_eq!(errors[0].code, "memory_budget");
    // What is said to be possible is.
    let help = errors[0].help.clone().expect("a way out");
    let least: i64 = help.trim_start_matches("--memory ").split("MB").next().and_then(|n| n.parse().ok()).expect("a size");
    let told = steps(model, shape, Some(least * 1_000_000), 2);
    assert!(told.is_ok_and(|told| told.states == free.states), "{help}");
}

const TRAIN: &str = "[train]\nloss = \"sparse_cross_entropy\"\noptimiser = \"adam\"\nlearning_rate = 0.01\n";

#[test]
fn a_deep_network_with_dropout_fits_into_a_third() {
    let text = format!(
        "name = \"deep\"\nseed = 3\n[[input]]\nname = \"x\"\nshape = [64]\n\
         [[layer]]\ntype = \"sequence\"\nrepeat = 24\n[[layer.layers]]\ntype = \"dense\"\nunits = 64\nactivation = \"tanh\"\n\
         [[layer.layers]]\ntype = \"dropout\"\nrate = 0.1\n\
         [[layer]]\ntype = \"dense\"\nunits = 5\n{TRAIN}batch = 2048\n"
    );
    assert_same_within(&network(&text), &[2048, 64], 0.35);
}

#[test]
fn convolutions_with_norms_and_sums_of_layers_fit_into_two_thirds() {
    let text = format!(
        "name = \"residual\"\nseed = 3\noutputs = [\"scores\"]\n[[input]]\nname = \"x\"\nshape = [3, 16, 16]\n\
         [[layer]]\ntype = \"conv2d\"\nfilters = 8\nkernel = 3\npadding = \"same\"\n\
         [[layer]]\ntype = \"residual\"\nrepeat = 4\n\
         [[layer.layers]]\ntype = \"batch_norm\"\n[[layer.layers]]\ntype = \"activation\"\nfunction = \"relu\"\n\
         [[layer.layers]]\ntype = \"conv2d\"\nfilters = 8\nkernel = 3\npadding = \"same\"\n\
         [[layer]]\ntype = \"global_avg_pool\"\n[[layer]]\nname = \"scores\"\ntype = \"dense\"\nunits = 5\n{TRAIN}batch = 64\n"
    );
    assert_same_within(&network(&text), &[64, 3, 16, 16], 0.65);
}

#[test]
fn a_recurrent_network_is_done_again_loop_by_loop() {
    let text = format!(
        "name = \"recurrent\"\nseed = 3\n[[input]]\nname = \"x\"\nshape = [12, 8]\n\
         [[layer]]\ntype = \"lstm\"\nrepeat = 6\nunits = 32\nreturn_sequences = true\n\
         [[layer]]\ntype = \"lstm\"\nunits = 16\n[[layer]]\ntype = \"dense\"\nunits = 4\n{TRAIN}batch = 64\n"
    );
    assert_same_within(&network(&text), &[64, 12, 8], 0.4);
}

#[test]
fn open_sizes_are_told_by_name() {
    let text = format!(
        "name = \"open\"\nseed = 3\n[[input]]\nname = \"x\"\nshape = [\"time\", 8]\n\
         [[layer]]\ntype = \"lstm\"\nunits = 16\n[[layer]]\ntype = \"dense\"\nunits = 4\n{TRAIN}batch = 64\n"
    );
    let errors = steps(&network(&text), &[64, 12, 8], Some(1 << 20), 1).err().expect("refused");
    insta::assert_snapshot!(errors[0], @r"
    error[memory_open]: how much memory a step takes depends on time, which the network leaves open
      help: a budget needs sizes: --dim time=128
    ");
}
