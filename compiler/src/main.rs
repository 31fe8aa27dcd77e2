//! The command line of the compiler.

mod cli;

fn main() -> std::process::ExitCode {
    kiln_runtime::audio::compressed::install();
    kiln_runtime::text::foreign::install();
    cli::main()
}
