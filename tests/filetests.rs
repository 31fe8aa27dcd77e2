//! Every file under tests/files: an input and what a stage makes of it. See `harness/filetest.rs` for the format.

include!(concat!(env!("OUT_DIR"), "/filetests.rs"));
