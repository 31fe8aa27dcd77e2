//! `kiln export`: writes a network for other programs.

use super::args::ExportArgs;
use super::failure::Failure;
use super::model::read;
use kiln::artifact::output::write_file;
use kiln::export::onnx::{OPSET, export as to_onnx};
use prost::Message;
use std::io::Write;

/// Runs the command.
pub fn export(args: &ExportArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.output.extension().is_none_or(|extension| extension != "onnx") {
        return Err(Failure::Usage(format!("-o {}: the file is written in ONNX, so it is named .onnx", args.output.display())));
    }
    let model = to_onnx(&read(&args.model)?.module)?;
    let bytes = model.encode_to_vec();
    write_file(&args.output, |file| file.write_all(&bytes))?;
    let nodes = model.graph.as_ref().map_or(0, |graph| graph.node.len());
    Ok(writeln!(out, "wrote {}: {nodes} nodes of operator set {OPSET}, {} bytes", args.output.display(), bytes.len())?)
}
