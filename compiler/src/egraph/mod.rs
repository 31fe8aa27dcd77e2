//! Equality saturation over the graph IR.
//!
//! [`lang`] has the e-nodes, [`analysis`] what is known of a class, [`convert`] takes graphs in and out. [`view`] and [`forms`] are
//! how rules look at classes, [`rule`] is what a rule is, [`saturate`] applies rules, [`extract`] chooses the cheapest graph by
//! [`cost`] or [`roofline`], [`provenance`] tells what became what. The rules themselves are in [`crate::rewrites`].
//!
//! A graph has one e-graph; regions of control flow have their own, as every pass sees one graph at a time.

pub mod analysis;
pub mod choices;
pub mod convert;
pub mod cost;
pub mod extract;
pub mod forms;
pub mod ilp;
pub mod lang;
pub mod order;
pub mod provenance;
pub mod roofline;
pub mod rule;
pub mod saturate;
pub mod view;

/// A class of the e-graph, by its number.
pub type ClassId = egg::Id;

/// An e-graph over a graph.
pub type EGraph = egg::EGraph<lang::ENode, analysis::Knowledge>;
