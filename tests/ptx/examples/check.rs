//! Parses PTX files and names what is not supported: `cargo run --manifest-path tests/ptx/Cargo.toml --example check FILE…`.

fn main() {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        let read = std::fs::read_to_string(&path).map_err(|e| e.to_string());
        match read.and_then(|text| kiln_ptx::Module::parse(&text).map_err(|e| e.to_string())) {
            Ok(module) => println!("{path}: {}", module.kernel_names().collect::<Vec<_>>().join(", ")),
            Err(error) => {
                failed = true;
                eprintln!("{path}: {error}");
            }
        }
    }
    std::process::exit(i32::from(failed));
}
