//! Training: what drives the compiled step of a network over data.
//!
//! Read in this order: [`recipe`] (what is known beforehand), [`stepper`] (the compiled functions with their memory), [`data`] (what
//! they are driven over) with [`order`] and [`augment`], [`run`] (epoch after epoch) with [`rate`] and [`metrics`], [`checkpoint`] and [`adapters`],
//! [`history`] and [`report`] (what is left), [`program`] (the command line of trainers).

pub mod adapters;
pub mod augment;
pub mod checkpoint;
pub mod data;
pub mod history;
pub mod metrics;
pub mod order;
pub mod program;
pub mod rate;
pub mod recipe;
pub mod report;
pub mod run;
pub mod stepper;
