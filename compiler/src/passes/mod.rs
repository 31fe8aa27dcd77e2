//! Passes: functions from graph to graph, one a file. None asks about the target; [`crate::pipeline`] has their order.

pub mod deduplicate;
pub mod expand_composites;
pub mod fold_constants;
pub mod recognise;
pub mod regions;
pub mod remove_dead;
pub mod shrink_products;
pub mod simplify_movement;
