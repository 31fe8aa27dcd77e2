//! From a network and a `[train]` table to the functions of a trainer: one step, with forward pass, gradients and updates, and one
//! evaluation.
//!
//! Reading order: [`config`] (what is asked for), [`step`] (what one step computes), [`evaluation`], [`plan`] (both, and how they are
//! driven), [`compiled`].

pub mod compiled;
pub mod config;
mod evaluation;
mod objective;
mod plan;
mod step;

pub use plan::{TrainingPlan, plan};
