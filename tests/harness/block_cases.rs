//! Graphs whose kernels blocks of threads compute together on a GPU.

use kiln::artifact::describe::ModelFacts;
use kiln_ir::text::{ConstantTable, parse_module};
use kiln_ir::{Module, Symbol};

/// Sizes of symbols in the order `m, n, k`.
pub type Sizes = [i64; 3];

/// A graph that blocks compute.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Its operands and what is done, over the symbols `m`, `n` and `k`.
    pub graph: &'static str,
    /// Sizes that the compiler is told of.
    pub usual: Sizes,
    /// Whether it knows them for certain, and is run with them.
    pub fixed: bool,
    /// Sizes that the code is run with, where they are open.
    pub runs: &'static [Sizes],
    /// How many of its kernels blocks compute.
    pub kernels: usize,
    /// Instructions that they have.
    pub has: &'static [&'static str],
}

const LARGE: Sizes = [4096, 4096, 4096];
const ODD: &[Sizes] = &[[1, 1, 1], [130, 129, 37], [5, 200, 514], [61, 67, 1031], [0, 3, 4], [3, 0, 4], [3, 4, 0]];

const ROWS: &[Sizes] = &[[1, 1, 1], [5, 17, 1], [3, 64, 1], [7, 200, 1], [2, 1029, 1], [40, 33, 1], [0, 5, 1], [5, 0, 1]];

const DOT: &str = "a_batch=[], b_batch=[], a_contract=[1], b_contract=[0]";

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "a matrix that is turned",
        graph: "(%x: f32[m,n]) { %y = transpose %x {perm=[1,0]} return %y }",
        usual: [300, 200, 1],
        fixed: false,
        runs: &[[70, 45, 1], [1, 33, 1], [32, 1, 1], [1, 1, 1], [0, 5, 1], [5, 0, 1]],
        kernels: 1,
        has: &["shared0[4224]", "bar.sync"],
    },
    Case {
        name: "turned matrices of bf16 with one that is not",
        graph: "(%x: bf16[m,n,k], %z: bf16[m,k,n]) { %t = transpose %x {perm=[0,2,1]} %u = tanh %t %y = add %u, %z return %y }",
        usual: [3, 50, 66],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["bar.sync"],
    },
    Case {
        name: "an image with channels last",
        graph: "(%x: f64[m,24,n,k]) { %y = transpose %x {perm=[0,2,3,1]} return %y }",
        usual: [4, 20, 20],
        fixed: false,
        runs: &[[2, 7, 9], [1, 1, 1]],
        kernels: 1,
        has: &["bar.sync"],
    },
    Case {
        name: "dot",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &["shared0[33280]", "ld.shared.v4.f32"],
    },
    Case {
        name: "dot of turned operands",
        graph: "(%x: f32[k,m], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[1]} return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &[],
    },
    Case {
        name: "dot of sizes that are multiples of vectors",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [260, 132, 1028],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.f32", "ld.shared.v", "bar.sync"],
    },
    Case {
        name: "turned dot of sizes that are multiples of vectors",
        graph: "(%x: f32[k,m], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[1]} return %y }",
        usual: [68, 196, 36],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.f32", "bar.sync"],
    },
    Case {
        name: "dot of whole tiles",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [128, 256, 1024],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.f32", "ld.shared.v", "bar.sync"],
    },
    Case {
        name: "dot of f64",
        graph: "(%x: f64[m,k], %w: f64[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &[],
    },
    Case {
        name: "dot of i32",
        graph: "(%x: i32[m,k], %w: i32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &[],
    },
    Case {
        name: "dot of i64",
        graph: "(%x: i64[m,k], %w: i64[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [90, 90, 90],
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &[],
    },
    Case {
        name: "dot of u8",
        graph: "(%x: u8[m,k], %w: u8[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [96, 96, 96],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "a few rows",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 768, 768],
        fixed: false,
        runs: &[[1, 70, 770], [9, 33, 65]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "a few columns",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [768, 1, 768],
        fixed: false,
        runs: &[[70, 1, 770], [33, 9, 65]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "batches of products",
        graph: "(%x: f32[m,7,k], %w: f32[m,k,n]) { %y = dot %x, %w {a_batch=[0], b_batch=[0], a_contract=[2], b_contract=[1]} return %y }",
        usual: [12, 64, 64],
        fixed: false,
        runs: &[[3, 33, 40], [1, 1, 1], [0, 2, 2]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "an epilogue of a bias, a residual and a function",
        graph: "(%x: f32[m,k], %w: f32[k,n], %b: f32[1,n], %r: f32[m,n]) {
            %d = dot %x, %w {DOT} %c = broadcast %b {shape=[m,n]} %e = add %d, %c %t = tanh %e %y = add %t, %r return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &[],
    },
    Case {
        name: "an operand that is computed",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %e = exp %x %y = dot %e, %w {DOT} return %y }",
        usual: [100, 30, 100],
        fixed: false,
        runs: &[[40, 30, 70]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "a convolution of one axis",
        graph: "(%x: f32[m,5,n], %w: f32[9,5,4]) { %y = conv %x, %w {strides=[2], dilations=[1], lhs_dilations=[1], low=[1], high=[2], groups=1} return %y }",
        usual: [8, 64, 1],
        fixed: false,
        runs: &[[2, 37, 1], [0, 5, 1], [1, 1, 1]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "a convolution of two axes",
        graph: "(%x: f32[m,70,n,k], %w: f32[20,70,3,3]) { %y = conv %x, %w {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[1,1], high=[1,1], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[2, 7, 9], [1, 1, 1]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "groups and dilation",
        graph: "(%x: f32[m,12,n,k], %w: f32[16,3,3,2]) { %y = conv %x, %w {strides=[1,2], dilations=[2,1], lhs_dilations=[1,1], low=[2,0], high=[1,1], groups=4} return %y }",
        usual: [4, 32, 32],
        fixed: false,
        runs: &[[2, 11, 13]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "a convolution of three axes",
        graph: "(%x: f64[m,3,n,k,6], %w: f64[5,3,2,3,3]) { %y = conv %x, %w {strides=[1,1,1], dilations=[1,1,1], lhs_dilations=[1,1,1], low=[0,1,1], high=[1,1,0], groups=1} return %y }",
        usual: [2, 16, 16],
        fixed: false,
        runs: &[[2, 5, 7]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "softmax of rows",
        graph: "(%x: f32[m,n]) { %y = softmax %x {axis=1} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: ROWS,
        kernels: 1,
        has: &["shfl.sync.bfly"],
    },
    Case {
        name: "softmax of rows of f16",
        graph: "(%x: f16[m,n]) { %y = softmax %x {axis=1} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: ROWS,
        kernels: 1,
        has: &["shfl.sync.bfly"],
    },
    Case {
        name: "sums of rows",
        graph: "(%x: f64[m,n]) { %y = reduce %x {kind=sum, axes=[1], keep=false} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: ROWS,
        kernels: 1,
        has: &["shfl.sync.bfly"],
    },
    Case {
        name: "sums of columns",
        graph: "(%x: f32[m,n]) { %y = reduce %x {kind=sum, axes=[0], keep=false} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: ROWS,
        kernels: 1,
        has: &["bar.sync", "st.shared"],
    },
    Case {
        name: "products of columns",
        graph: "(%x: f64[m,n,k]) { %y = reduce %x {kind=prod, axes=[0], keep=true} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: &[[37, 5, 3], [1, 1, 1], [0, 3, 3]],
        kernels: 1,
        has: &["bar.sync", "st.shared"],
    },
    Case {
        name: "the sum of all",
        graph: "(%x: f32[m,n]) { %y = reduce %x {kind=sum, axes=[0, 1], keep=false} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: ROWS,
        kernels: 1,
        has: &[],
    },
    Case {
        name: "sums of two axes around one",
        graph: "(%x: f32[m,n,k]) { %y = reduce %x {kind=sum, axes=[0, 2], keep=false} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: &[[5, 3, 21], [2, 0, 3], [1, 1, 1]],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "largest of rows of integers",
        graph: "(%x: i16[m,n]) { %y = reduce %x {kind=max, axes=[1], keep=false} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: ROWS,
        kernels: 1,
        has: &["shfl.sync.bfly"],
    },
    Case {
        name: "whether all of a column hold",
        graph: "(%x: bool[m,n]) { %y = reduce %x {kind=and, axes=[0], keep=false} return %y }",
        usual: [64, 512, 1],
        fixed: false,
        runs: &[[37, 5, 1], [1, 40, 1], [0, 3, 1]],
        kernels: 1,
        has: &["bar.sync", "st.shared"],
    },
    Case {
        name: "rows of known length",
        graph: "(%x: f32[m,n]) { %y = softmax %x {axis=1} return %y }",
        usual: [7, 1000, 1],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["shfl.sync.bfly"],
    },
    Case {
        name: "a deep sum of few results",
        graph: "(%x: f32[m,1300], %w: f32[1300,n], %b: f32[1,n]) { %d = dot %x, %w {DOT} %c = broadcast %b {shape=[m,n]} %e = add %d, %c %y = tanh %e return %y }",
        usual: [4, 64, 1],
        fixed: false,
        runs: &[[1, 70, 1], [9, 33, 1], [0, 3, 1]],
        kernels: 1,
        has: &["chunks_of_its_depth", "ld.global.v4.f32"],
    },
    Case {
        name: "a deep sum of few results in whole chunks",
        graph: "(%x: f32[m,k], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [2, 72, 1536],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["chunks_of_its_depth", "ld.global.v4.f32"],
    },
    Case {
        name: "a deep sum of few results of integers",
        graph: "(%x: i32[m,k], %w: i32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [2, 72, 770],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["chunks_of_its_depth"],
    },
    Case {
        name: "a deep convolution of few results",
        graph: "(%x: f32[m,70,n,k], %w: f32[20,70,3,3]) { %y = conv %x, %w {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[1,1], high=[1,1], groups=1} return %y }",
        usual: [1, 7, 7],
        fixed: false,
        runs: &[[2, 7, 9], [1, 1, 1]],
        kernels: 1,
        has: &["chunks_of_its_depth"],
    },
];

/// What multiplies f32 that may lose bits.
const TF32: &[&str] = &["mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "ldmatrix", "cvt.rna.tf32.f32"];

/// Products of f32 on matrix units, which round their factors to tf32.
pub const TF32_CASES: &[Case] = &[
    Case {
        name: "tf32 of open sizes",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 2,
        has: TF32,
    },
    Case {
        name: "tf32 with lines along depth",
        graph: "(%x: f32[m,k], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [72, 136, 44],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "cp.async.cg"],
    },
    Case {
        name: "tf32 of turned operands in large tiles",
        graph: "(%x: f32[60,m], %w: f32[60,136]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[0]} return %y }",
        usual: [65536, 1, 1],
        fixed: false,
        runs: &[[130, 1, 1], [1, 1, 1], [0, 1, 1], [300, 1, 1]],
        kernels: 3,
        has: TF32,
    },
    Case {
        name: "tf32 with an epilogue",
        graph: "(%x: f32[m,k], %w: f32[k,n], %b: f32[1,n]) { %d = dot %x, %w {DOT} %c = broadcast %b {shape=[m,n]} %e = add %d, %c %y = tanh %e return %y }",
        usual: [80, 64, 64],
        fixed: true,
        runs: &[],
        kernels: 2,
        has: TF32,
    },
    Case {
        name: "batches of products of tf32",
        graph: "(%x: f32[m,17,k], %w: f32[m,k,n]) { %y = dot %x, %w {a_batch=[0], b_batch=[0], a_contract=[2], b_contract=[1]} return %y }",
        usual: [12, 64, 64],
        fixed: false,
        runs: &[[3, 33, 40], [1, 1, 1], [0, 2, 2]],
        kernels: 1,
        has: TF32,
    },
    Case {
        name: "a convolution of tf32",
        graph: "(%x: f32[m,20,n,k], %w: f32[24,20,3,3]) { %y = conv %x, %w {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[1,1], high=[1,1], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[2, 7, 9], [1, 1, 1]],
        kernels: 1,
        has: TF32,
    },
    Case {
        name: "an image of three channels in tf32",
        graph: "(%x: f32[m,3,n,k], %w: f32[64,3,7,7]) { %y = conv %x, %w {strides=[2,2], dilations=[1,1], lhs_dilations=[1,1], low=[3,3], high=[3,3], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[1, 9, 7], [2, 6, 11], [1, 1, 1]],
        kernels: 1,
        has: TF32,
    },
];

/// Products of half floats, which matrix units sum in an order of their own.
pub const MATRIX_CASES: &[Case] = &[
    Case {
        name: "bf16 of open sizes",
        graph: "(%x: bf16[m,k], %w: bf16[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: LARGE,
        fixed: false,
        runs: ODD,
        kernels: 1,
        has: &["mma.sync", "ldmatrix"],
    },
    Case {
        name: "f16 of turned operands",
        graph: "(%x: f16[k,m], %w: f16[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[1]} return %y }",
        usual: [136, 72, 104],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["mma.sync.aligned.m16n8k16.row.col.f32.f16", "ldmatrix", "cp.async.cg"],
    },
    Case {
        name: "bf16 in small tiles",
        graph: "(%x: bf16[m,k], %w: bf16[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [72, 136, 40],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["mma.sync.aligned.m16n8k16.row.col.f32.bf16", "ldmatrix", "cp.async.cg"],
    },
    Case {
        name: "bf16 in large tiles",
        graph: "(%x: bf16[m,104], %w: bf16[104,136]) { %y = dot %x, %w {DOT} return %y }",
        usual: [65536, 1, 1],
        fixed: false,
        runs: &[[130, 1, 1], [1, 1, 1], [0, 1, 1], [300, 1, 1]],
        kernels: 1,
        has: &["mma.sync.aligned.m16n8k16.row.col.f32.bf16", "ldmatrix", "cp.async.cg"],
    },
    Case {
        name: "f16 in large tiles, turned",
        graph: "(%x: f16[m,200], %w: f16[136,200]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [65536, 1, 1],
        fixed: false,
        runs: &[[130, 1, 1]],
        kernels: 1,
        has: &["mma.sync.aligned.m16n8k16.row.col.f32.f16", "ldmatrix", "cp.async.cg"],
    },
    Case {
        name: "an epilogue of a bias and a function",
        graph: "(%x: bf16[m,k], %w: bf16[k,n], %b: bf16[1,n]) { %d = dot %x, %w {DOT} %c = broadcast %b {shape=[m,n]} %e = add %d, %c %y = tanh %e return %y }",
        usual: [80, 64, 64],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["mma.sync.aligned.m16n8k16.row.col.f32.bf16", "ldmatrix", "cp.async.cg"],
    },
    Case {
        name: "batches of products of f16",
        graph: "(%x: f16[m,17,k], %w: f16[m,k,n]) { %y = dot %x, %w {a_batch=[0], b_batch=[0], a_contract=[2], b_contract=[1]} return %y }",
        usual: [12, 64, 64],
        fixed: false,
        runs: &[[3, 33, 40], [1, 1, 1], [0, 2, 2]],
        kernels: 1,
        has: &["mma.sync", "ldmatrix"],
    },
    Case {
        name: "an image of three channels",
        graph: "(%x: f16[m,3,n,k], %w: f16[64,3,7,7]) { %y = conv %x, %w {strides=[2,2], dilations=[1,1], lhs_dilations=[1,1], low=[3,3], high=[3,3], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[1, 9, 7], [2, 6, 11], [1, 1, 1]],
        kernels: 1,
        has: &["cp.async.cg", "_taps"],
    },
    Case {
        name: "an image of one channel without a margin",
        graph: "(%x: bf16[m,1,n,k], %w: bf16[16,1,3,3]) { %y = conv %x, %w {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[0,0], high=[0,0], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[2, 7, 9], [1, 3, 3]],
        kernels: 1,
        has: &["cp.async.cg", "_taps"],
    },
    Case {
        name: "an image whose channels come first",
        graph: "(%x: bf16[m,24,n], %w: bf16[32,24,3]) { %y = conv %x, %w {strides=[1], dilations=[1], lhs_dilations=[1], low=[1], high=[1], groups=1} return %y }",
        usual: [8, 64, 1],
        fixed: false,
        runs: &[[2, 7, 1], [3, 1, 1]],
        kernels: 2,
        has: &["cp.async.cg", "_taps"],
    },
    Case {
        name: "taps apart of an image of five channels",
        graph: "(%x: f16[m,5,n,k], %w: f16[24,5,3,2]) { %y = conv %x, %w {strides=[1,1], dilations=[2,3], lhs_dilations=[1,1], low=[2,1], high=[1,2], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[2, 7, 9], [1, 5, 4]],
        kernels: 1,
        has: &["cp.async.cg", "_taps"],
    },
    Case {
        name: "a volume of two channels",
        graph: "(%x: bf16[m,2,n,k,6], %w: bf16[20,2,3,3,3]) { %y = conv %x, %w {strides=[1,1,1], dilations=[1,1,1], lhs_dilations=[1,1,1], low=[1,1,1], high=[1,1,1], groups=1} return %y }",
        usual: [4, 16, 16],
        fixed: false,
        runs: &[[2, 3, 5]],
        kernels: 1,
        has: &["cp.async.cg", "_taps"],
    },
    Case {
        name: "a convolution of f16",
        graph: "(%x: f16[m,20,n,k], %w: f16[24,20,3,3]) { %y = conv %x, %w {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[1,1], high=[1,1], groups=1} return %y }",
        usual: [8, 32, 32],
        fixed: false,
        runs: &[[2, 7, 9], [1, 1, 1]],
        kernels: 1,
        has: &["mma.sync", "ldmatrix"],
    },
];

/// Sums whose order is not the canonical one, or whose zeros may have another sign.
pub const SPLIT_CASES: &[Case] = &[
    Case {
        name: "the gradient of a small convolution",
        graph: "(%x: f32[m,3,12,10], %dy: f32[m,5,10,10]) {
            %a = transpose %x {perm=[1,0,2,3]} %c = transpose %dy {perm=[1,0,2,3]}
            %y = conv %a, %c {strides=[1,1], dilations=[1,1], lhs_dilations=[1,1], low=[0,1], high=[0,1], groups=1} return %y }",
        usual: [64, 1, 1],
        fixed: false,
        runs: &[[71, 1, 1], [5, 1, 1], [1, 1, 1], [0, 1, 1]],
        kernels: 1,
        has: &["chunks_of_its_depth"],
    },
    Case {
        name: "a deep dot of open depth",
        graph: "(%x: f32[k,m], %w: f32[k,n]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[0], b_contract=[0]} return %y }",
        usual: [12, 20, 65536],
        fixed: false,
        runs: &[[12, 20, 1100], [3, 5, 512], [1, 1, 513], [9, 2, 7], [4, 4, 0]],
        kernels: 1,
        has: &["chunks_of_its_depth"],
    },
    Case {
        name: "a dot of forty chunks",
        graph: "(%x: f32[m,k], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [5, 6, 20481],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["chunks_of_its_depth"],
    },
    Case {
        name: "sums of channels",
        graph: "(%x: f32[m,7,n,k]) { %y = reduce %x {kind=sum, axes=[0, 2, 3], keep=false} return %y }",
        usual: [64, 26, 26],
        fixed: false,
        runs: &[[9, 11, 10], [1, 1, 1], [0, 4, 4], [3, 0, 2], [2, 40, 5]],
        kernels: 2,
        has: &["parts_of_its_sum"],
    },
    Case {
        name: "a mean of everything in f64",
        graph: "(%x: f64[m,n,k]) { %s = reduce %x {kind=sum, axes=[0, 1, 2], keep=false} %y = tanh %s return %y }",
        usual: [64, 40, 40],
        fixed: false,
        runs: &[[9, 11, 10], [1, 1, 1], [0, 4, 4]],
        kernels: 2,
        has: &["parts_of_its_sum"],
    },
];

/// Products of few rows with a matrix, which is read once.
pub const STREAM_CASES: &[Case] = &[
    Case {
        name: "a row and a matrix",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 200, 520],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.f32"],
    },
    Case {
        name: "a row and a matrix of open sizes",
        graph: "(%x: f32[m,k], %w: f32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 768, 768],
        fixed: false,
        runs: &[
            [1, 770, 300],
            [3, 5, 133],
            [9, 33, 65],
            [2, 64, 512],
            [1, 1, 30],
            [2, 2, 35],
            [1, 1, 1],
            [2, 3, 1],
            [1, 2, 3],
            [0, 3, 4],
            [1, 0, 4],
            [3, 4, 0],
        ],
        kernels: 1,
        has: &["ld.global.v4.f32"],
    },
    Case {
        name: "a row and a matrix of bf16",
        graph: "(%x: bf16[m,k], %w: bf16[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 256, 768],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.b32"],
    },
    Case {
        name: "a matrix of bf16 whose rows begin anywhere",
        graph: "(%x: bf16[m,k], %w: bf16[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 1003, 67],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.b32"],
    },
    Case {
        name: "rows of f16 and a matrix of open sizes",
        graph: "(%x: f16[m,k], %w: f16[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [3, 512, 512],
        fixed: false,
        runs: &[[3, 520, 130], [4, 77, 70], [1, 7, 9], [2, 1, 5], [1, 9, 1]],
        kernels: 1,
        has: &["ld.global.v4.b32"],
    },
    Case {
        name: "a row and a turned matrix",
        graph: "(%x: f16[m,k], %w: f16[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [1, 96, 776],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.b32", "shfl"],
    },
    Case {
        name: "rows and a turned matrix of open sizes",
        graph: "(%x: f32[m,k], %w: f32[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [2, 64, 4096],
        fixed: false,
        runs: &[[2, 33, 1030], [5, 3, 301], [1, 1, 1], [0, 3, 4], [1, 0, 4], [3, 4, 0]],
        kernels: 1,
        has: &["shfl"],
    },
    Case {
        name: "eight rows of f64",
        graph: "(%x: f64[8,k], %w: f64[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 101, 67],
        fixed: false,
        runs: &[[1, 101, 67], [1, 4, 64]],
        kernels: 1,
        has: &["ld.global.v2.f64"],
    },
    Case {
        name: "eight rows of bf16 and a turned matrix",
        graph: "(%x: bf16[8,k], %w: bf16[n,k]) { %y = dot %x, %w {a_batch=[], b_batch=[], a_contract=[1], b_contract=[1]} return %y }",
        usual: [1, 48, 64],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.b32"],
    },
    Case {
        name: "batches of rows and matrices",
        graph: "(%x: f32[m,2,k], %w: f32[m,k,n]) { %y = dot %x, %w {a_batch=[0], b_batch=[0], a_contract=[2], b_contract=[1]} return %y }",
        usual: [12, 64, 100],
        fixed: false,
        runs: &[[3, 33, 41], [1, 1, 1], [5, 1, 3], [0, 2, 2], [2, 64, 128]],
        kernels: 1,
        has: &["ld.global.v4.f32"],
    },
    Case {
        name: "a matrix and a few columns",
        graph: "(%w: f32[m,k], %x: f32[k,n]) { %y = dot %w, %x {DOT} return %y }",
        usual: [300, 2, 260],
        fixed: false,
        runs: &[[300, 2, 260], [41, 3, 77]],
        kernels: 1,
        has: &["shfl"],
    },
    Case {
        name: "an epilogue of a bias, a residual and a function",
        graph: "(%x: bf16[m,k], %w: bf16[k,n], %b: bf16[1,n], %r: bf16[m,n]) {
            %d = dot %x, %w {DOT} %c = broadcast %b {shape=[m,n]} %e = add %d, %c %t = tanh %e %y = add %t, %r return %y }",
        usual: [5, 104, 200],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.b32"],
    },
    Case {
        name: "a matrix of bytes with scales",
        graph: "(%x: f32[m,k], %w: i8[k,n], %s: f32[1,n]) {
            %f = cast %w {dtype=f32} %c = broadcast %s {shape=[k,n]} %q = mul %f, %c %y = dot %x, %q {DOT} return %y }",
        usual: [2, 104, 200],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &[],
    },
    Case {
        name: "integers",
        graph: "(%x: i32[m,k], %w: i32[k,n]) { %y = dot %x, %w {DOT} return %y }",
        usual: [1, 70, 90],
        fixed: true,
        runs: &[],
        kernels: 1,
        has: &["ld.global.v4.s32"],
    },
];

/// The module of a case.
pub fn module(case: &Case) -> Module {
    let text = format!("module test {{ fn predict{} }}", case.graph.replace("DOT", DOT));
    let mut module =
        parse_module("test.kiln", &text, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
    if case.fixed {
        for function in module.functions.values_mut() {
            *function = function.map_dims(&mut |d| d.substitute(&|s| size(&case.usual, s.name()).map(Into::into)));
        }
    }
    module
}

/// The size of that name.
pub fn size(sizes: &Sizes, name: &str) -> Option<i64> {
    ["m", "n", "k"].iter().position(|symbol| *symbol == name).map(|at| sizes[at])
}

/// What the compiler is told of a case.
pub fn facts(case: &Case) -> ModelFacts {
    let usual_sizes = ["m", "n", "k"].iter().map(|name| (Symbol::new(name), size(&case.usual, name).unwrap_or(1))).collect();
    ModelFacts { name: "net".into(), usual_sizes, ..ModelFacts::default() }
}
