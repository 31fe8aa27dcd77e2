//! Kiln: neural networks become native code.
//!
//! [`frontend`] reads models into graphs, [`autodiff`] makes the graphs of their
//! gradients, [`attribution`] explains predictions by them, [`losses`] and [`optim`] what training adds to them, [`training`] whole steps of it, [`pipeline`] runs [`passes`] over them, [`cut`] makes structured kernels ([`kernel`]) of
//! graphs, [`schedule`] plans them, [`lower`] writes them as programs of one language ([`tile`]), [`backend`] makes code of these and [`artifact`] writes it. [`compile`] is the way through; [`export`] writes
//! networks for other programs.

pub mod frontend;

pub mod attribution;
pub mod autodiff;
pub mod bisect;
pub mod losses;
pub mod optim;
pub mod passes;
pub mod pipeline;
pub mod training;
pub mod tuning;

pub mod egraph;
pub mod explanation;
pub mod rewrites;

pub mod cut;
pub mod kernel;
pub mod lower;
pub mod samples;
pub mod schedule;
pub mod tile;

pub mod backend;
pub mod caches;
pub mod calibration;

pub mod arrays;
pub mod artifact;
pub mod compile;
pub mod conformance;
pub mod export;
mod parallel;
pub mod runtime_object;
