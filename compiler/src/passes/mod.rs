//! Passes: functions from graph to graph, one a file; [`crate::pipeline`] has their order. [`optimise`] alone is told what the target can do.

pub mod deduplicate;
pub mod expand_composites;
pub mod fold_constants;
pub mod optimise;
pub mod recognise;
pub mod recurrent;
pub mod regions;
pub mod remove_dead;
pub mod shrink_products;
pub mod simplify_movement;
