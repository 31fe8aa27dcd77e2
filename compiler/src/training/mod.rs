//! From a network and a `[train]` table to the functions of a trainer: one step, with forward pass, gradients and updates, and one
//! evaluation.
//!
//! Reading order: [`config`] (what is asked for), `states` (what is remembered), `step` and `update` (what one step
//! computes), `evaluation`, `trace`, [`adapters`] (matrices that stay, and what is trained beside them), [`plan`] (all of them, and how they
//! are driven), `start` (first values), [`compiled`].

pub mod adapters;
pub mod compiled;
pub mod config;
mod evaluation;
mod objective;
pub mod pattern;
mod plan;
mod start;
mod states;
mod step;
mod summary;
mod trace;
mod update;

pub use objective::{LOSS, OBJECTIVE, objective};
pub use plan::{TrainingPlan, plan};
