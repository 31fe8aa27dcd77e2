//! What the test suites share: checked-in texts, files of tests/files, sample values, programs made from the operator table's
//! examples, random graphs, kernels with mistakes in them, comparison, steps of training, networks that are trained here.

pub mod agreement;
pub mod attention_cases;
pub mod bless;
pub mod block_cases;
pub mod closeness;
pub mod compare;
pub mod faults;
pub mod filetest;
pub mod gpu;
pub mod instances;
pub mod mutants;
pub mod mutated_programs;
pub mod objectives;
pub mod random_graphs;
pub mod random_loops;
pub mod recurrent_cases;
pub mod row_cases;
pub mod samples;
pub mod slopes;
pub mod steps;
pub mod training;
pub mod warpgroup_cases;
