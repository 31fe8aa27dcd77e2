//! Training: what drives the compiled step of a network over data.
//!
//! Read in this order: [`recipe`] (what is known beforehand), [`stepper`] (the compiled functions with their memory), [`data`].

pub mod data;
pub mod recipe;
pub mod stepper;
