//! What a program compiled by Kiln links.

pub mod threads;
