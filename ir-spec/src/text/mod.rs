//! The text form of modules and graphs: `parse(print(m)) == m`. SPEC.md has the grammar.
//!
//! ```text
//! module mlp {
//!   parameter w: f32[784, 128] = @6c62272e07bb014262b821756295c58d
//!   fn predict(%x: f32[batch, 784]) where batch in 1..=64 {
//!     %h = dot %x, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]} : f32[batch, 128]
//!     return %h
//!   }
//! }
//! ```
//!
//! Large tensors stand as a digest in the text and live beside it in a [`ConstantTable`].

mod constants;
mod elements;
mod lex;
mod names;
mod parse;
mod parse_attributes;
mod print;

pub use constants::{ConstantTable, Digest, INLINE_ELEMENTS};
pub(crate) use names::is_word;
pub use names::value_names;
pub use parse::{parse_graph, parse_module};
pub use print::{PrintOptions, Printed, print_graph, print_module};

#[cfg(test)]
mod tests;
