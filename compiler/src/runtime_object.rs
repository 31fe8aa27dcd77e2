//! The runtime of compiled programs, carried inside `kiln`: linking needs nothing but `cc` (see build.rs).

/// A relocatable object that defines `kiln_runtime_main` and needs the C library.
pub static RUNTIME_OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kiln_runtime.o"));

/// What `cc` is told when it links [`RUNTIME_OBJECT`] into an executable: no library beyond the C library's family, no
/// function that is not called, the same bytes each time.
pub const LINK_FLAGS: [&str; 6] = ["-static-libgcc", "-Wl,--gc-sections", "-Wl,--build-id=none", "-lpthread", "-ldl", "-lm"];
