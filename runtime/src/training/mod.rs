//! Training: what drives the compiled step of a network over data.
//!
//! Read in this order: [`recipe`] (what is known beforehand), [`stepper`] (the compiled functions with their memory), [`data`] (what
//! they are driven over) with [`parts`], [`order`], [`loader`], [`augment`] and [`vary_sounds`], [`run`] (epoch after epoch) with [`rate`], [`measure`],
//! [`metrics`], [`entities`] and [`interruption`], [`checkpoint`], [`learnt`] and [`adapters`], [`history`], [`events`], [`examined`] and [`report`] (what is left), [`evaluate`], and [`predict`]
//! with [`meaning`] and `tags` (what a trained network is used for), [`program`] (the command line of trainers).

pub mod adapters;
pub mod augment;
pub mod checkpoint;
pub mod data;
pub mod entities;
pub mod evaluate;
pub mod events;
pub mod examined;
pub mod history;
pub mod interruption;
pub mod learnt;
pub mod loader;
pub mod meaning;
pub mod measure;
pub mod metrics;
pub mod order;
pub mod parts;
pub mod predict;
pub mod program;
pub mod progress;
pub mod rate;
pub mod recipe;
pub mod report;
pub mod run;
pub mod stepper;
mod tags;
pub mod vary_sounds;
