//! From a network and a `[train]` table to the functions of a trainer: one step, with forward pass, gradients and updates, and one
//! evaluation.
//!
//! Reading order: [`config`] (what is asked for), `states` (what is remembered), `step` and `update` (what one step
//! computes), `evaluation`, `trace`, [`plan`] (all of them, and how they are driven), [`compiled`].

pub mod compiled;
pub mod config;
mod evaluation;
mod objective;
mod plan;
mod states;
mod step;
mod trace;
mod update;

pub use objective::{LOSS, OBJECTIVE, objective};
pub use plan::{TrainingPlan, plan};
