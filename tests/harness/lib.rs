//! What the test suites share: sample values, programs made from the operator table's examples, comparison.

pub mod compare;
pub mod instances;
pub mod samples;
