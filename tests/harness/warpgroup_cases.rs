//! Graphs whose kernels four warps together compute on a GPU of the generation sm_90a.

use crate::block_cases::{Case, facts, module};
use kiln::compile::compile_ptx;
use kiln::pipeline::Config;
use kiln::schedule::launches::launches;
use kiln::tuning::{Answers, Subject, Tuning};

const SHARED: &[&str] = &["wgmma.mma_async", "cp.async.cg", "shared_at_launch"];

/// All of them. Lines of operands are whole chunks of 16 bytes; rows are as many as data say.
pub const WARPGROUP_CASES: &[Case] = &[
    Case {
        name: "bf16 by warpgroups",
        graph: "(%x: bf16[m,k], %w: bf16[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [130, 264, 200],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16", "cp.async.cg", "shared_at_launch"],
    },
    Case {
        name: "any number of rows by warpgroups in wide tiles",
        graph: "(%x: bf16[m,136], %w: bf16[136,504]) { %y = dot %x, %w {DOT} return %y }",
        usual: [16896, 1, 1],
        fixed: false,
        runs: &[[1, 1, 1], [65, 1, 1], [129, 1, 1], [0, 1, 1]],
        kernels: 1,
        has: &["m64n256k16", "wgmma.wait_group.sync.aligned 1;"],
    },
    Case {
        name: "f16 of turned operands by warpgroups",
        graph: "(%x: f16[k,m], %w: f16[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[1]} return %y }",
        usual: [136, 150, 328],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["f32.f16.f16"],
    },
    Case {
        name: "any number of rows by warpgroups in tiles of 128 columns",
        graph: "(%x: bf16[m,72], %w: bf16[72,1280]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1664, 1, 1],
        fixed: false,
        runs: &[[1, 1, 1], [131, 1, 1]],
        kernels: 1,
        has: &["m64n128k16"],
    },
    Case {
        name: "weights across depth by warpgroups in tiles of 192 columns",
        graph: "(%x: bf16[m,136], %w: bf16[136,520]) { %y = dot %x, %w {DOT} return %y }",
        usual: [16896, 1, 1],
        fixed: false,
        runs: &[[130, 1, 1]],
        kernels: 1,
        has: &["m64n192k16"],
    },
    Case {
        name: "weights along depth by warpgroups in tiles of 192 columns",
        graph: "(%x: bf16[m,136], %w: bf16[576,136]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [16896, 1, 1],
        fixed: false,
        runs: &[[67, 1, 1]],
        kernels: 1,
        has: &["m64n192k16"],
    },
    Case {
        name: "weights across depth by warpgroups in tiles of 160 columns",
        graph: "(%x: bf16[m,136], %w: bf16[136,1272]) { %y = dot %x, %w {DOT} return %y }",
        usual: [2048, 1, 1],
        fixed: false,
        runs: &[[130, 1, 1]],
        kernels: 1,
        has: &["m64n160k16"],
    },
    Case {
        name: "weights along depth by warpgroups in tiles of 160 columns",
        graph: "(%x: bf16[m,136], %w: bf16[1280,136]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [2048, 1, 1],
        fixed: false,
        runs: &[[67, 1, 1]],
        kernels: 1,
        has: &["m64n160k16"],
    },
    Case {
        name: "weights across depth by warpgroups in tiles of 96 columns",
        graph: "(%x: bf16[m,136], %w: bf16[136,768]) { %y = dot %x, %w {DOT} return %y }",
        usual: [2048, 1, 1],
        fixed: false,
        runs: &[[130, 1, 1]],
        kernels: 1,
        has: &["m64n96k16"],
    },
    Case {
        name: "weights along depth by warpgroups in tiles of 96 columns",
        graph: "(%x: bf16[m,136], %w: bf16[760,136]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [2048, 1, 1],
        fixed: false,
        runs: &[[67, 1, 1]],
        kernels: 1,
        has: &["m64n96k16"],
    },
    Case {
        name: "both operands along depth by warpgroups in wide tiles",
        graph: "(%x: bf16[m,64], %w: bf16[512,64]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [16896, 1, 1],
        fixed: false,
        runs: &[[200, 1, 1]],
        kernels: 1,
        has: &["m64n256k16"],
    },
    Case {
        name: "an image of three channels by warpgroups",
        graph: "(%x: f16[m,3,n,k], %w: f16[64,3,7,7]) { %y = conv %x, %w {strides=[2,2], dilations=[1,1], lhs_dilations=[1,1], low=[3,3], high=[3,3], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[1, 9, 7], [2, 6, 11], [1, 1, 1]],
        kernels: 1,
        has: &["cp.async.cg", "_taps", "m64n64k16"],
    },
    Case {
        name: "a function of few bits by warpgroups",
        graph: "(%x: bf16[m,k], %w: bf16[k,n]) { %d = dot %x, %w {DOT} %t = tanh %d %y = erf %t return %y }",
        usual: [128, 72, 136],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["wgmma.mma_async", "ex2.approx"],
    },
    Case {
        name: "batches by warpgroups",
        graph: "(%x: bf16[3,k,m], %w: bf16[3,k,n]) { %y = dot %x, %w {a_batch=[0], b_batch=[0], a_contract=[1], b_contract=[1]} return %y }",
        usual: [72, 72, 80],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["m64n64k16"],
    },
    Case {
        name: "an epilogue by warpgroups",
        graph: "(%x: bf16[m,k], %w: bf16[k,n], %b: bf16[1,n], %r: bf16[m,n]) {
            %d = dot %x, %w {DOT} %c = broadcast %b {shape=[m,n]} %e = add %d, %c %t = tanh %e %y = add %t, %r return %y }",
        usual: [128, 136, 72],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: SHARED,
    },
];

/// Products of f32 by warpgroups, which drop bits of their factors.
pub const TF32_WARPGROUP_CASES: &[Case] = &[
    Case {
        name: "tf32 by warpgroups",
        graph: "(%x: f32[m,k], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [72, 136, 44],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: TF32,
    },
    Case {
        name: "tf32 of turned operands by warpgroups",
        graph: "(%x: f32[k,m], %w: f32[k,n]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[0]} return %y }",
        usual: [200, 72, 100],
        fixed: true,
        runs: &[],
        kernels: 3,
        has: TF32,
    },
    Case {
        name: "tf32 in wide tiles by warpgroups",
        graph: "(%x: f32[m,64], %w: f32[512,64]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [16896, 1, 1],
        fixed: false,
        runs: &[[200, 1, 1], [1, 1, 1], [0, 1, 1]],
        kernels: 1,
        has: &["m64n256k8.f32.tf32.tf32", "cp.async.cg"],
    },
    Case {
        name: "a convolution of tf32 by warpgroups",
        graph: "(%x: f32[m,20,n,k], %w: f32[72,20,3,3]) { %y = conv %x, %w {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[1,1], high=[1,1], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[2, 7, 9], [1, 1, 1]],
        kernels: 1,
        has: TF32,
    },
    Case {
        name: "tf32 with an epilogue by warpgroups",
        graph: "(%x: f32[m,k], %w: f32[n,k], %b: f32[1,n], %r: f32[m,n]) {
            %d = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]}
            %c = broadcast %b {shape=[m,n]} %e = add %d, %c %t = tanh %e %y = add %t, %r return %y }",
        usual: [130, 72, 132],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: TF32,
    },
];

/// What they multiply it by.
const TF32: &[&str] = &["k8.f32.tf32.tf32", "wgmma.mma_async", "cp.async.cg"];

/// Tilings of a case that the tensor copy engine brings operands for, as tuning would try them.
pub fn brought_by_the_engine(case: &Case, config: &Config) -> Vec<Config> {
    let (module, facts) = (module(case), facts(case));
    let tuning = Tuning::known(Answers::new());
    let config = |tuning: Tuning| Config { tuning, ..config.clone() };
    let compiled = |config: &Config| compile_ptx(&module, &facts, config).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    let plan = compiled(&config(tuning.clone())).plan;
    let most = launches(&plan.main.steps).iter().flat_map(|launch| &launch.decisions).map(|decision| decision.answers).max().unwrap_or(1);
    let ways = (1..most).map(|number| config(tuning.trial(Subject::Tile, number)));
    ways.filter(|config| compiled(config).kernels.text.contains("cp.async.bulk.tensor")).collect()
}
