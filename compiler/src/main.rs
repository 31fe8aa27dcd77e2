//! The command line of the compiler.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
