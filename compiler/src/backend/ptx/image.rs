//! What is loaded onto a GPU: machine code of its own, where an assembler makes it, else the text, which the driver assembles.
//!
//! The driver takes either. The assembler within it is as old as it is; which `ptxas` is used is the user's choice, and what that made of
//! a text is kept.

use super::Module;
use super::assemble::Found;
use super::cubins::Cubins;
use kiln_ir::Diagnostic;
use serde::Serialize;

/// What loads modules: a driver.
pub trait Loader {
    /// A module that is loaded.
    type Loaded;

    /// Loads machine code. Errors: what the driver says.
    fn load_cubin(&mut self, cubin: &[u8]) -> Result<Self::Loaded, Diagnostic>;

    /// Loads text, which the driver assembles. Errors: what the driver says.
    fn load_text(&mut self, text: &str) -> Result<Self::Loaded, Diagnostic>;
}

/// What a driver was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Machine code, by `ptxas`.
    Cubin,
    /// Text, assembled by the driver.
    Ptx,
}

/// How a module was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What the driver was given.
    pub kind: Kind,
    /// Why it was given no machine code, unless nobody wanted it to be, and what that means.
    pub note: Option<String>,
}

/// A module as one kind of device takes it.
pub struct Image<'m> {
    module: &'m Module,
    code: Code,
}

enum Code {
    Cubin(Vec<u8>),
    /// Only the text; with the reason, unless it was asked for.
    Text(Option<Diagnostic>),
}

/// Lines of what an assembler or a driver says that a note repeats.
const MOST_LINES: usize = 6;

impl<'m> Image<'m> {
    /// Assembles a module for a device of that compute capability, where that can be done. It may take a while.
    pub fn new(module: &'m Module, capability: (i32, i32), found: &Found, cubins: &Cubins) -> Image<'m> {
        let code = match found {
            Found::Unwanted => Code::Text(None),
            Found::Nowhere | Found::Assembler(_) => {
                let cubin = found.assembler().and_then(|assembler| {
                    let machine = module.generation.machine(capability).ok_or_else(|| {
                        let (generation, (major, minor)) = (module.generation, capability);
                        Diagnostic::new("ptxas", format!("kernels for {generation} have no machine code for sm_{major}{minor}"))
                    })?;
                    cubins.cubin(assembler, &module.text, &machine)
                });
                cubin.map_or_else(|why| Code::Text(Some(why)), Code::Cubin)
            }
        };
        Image { module, code }
    }

    /// The module.
    pub fn module(&self) -> &'m Module {
        self.module
    }

    /// Loads the machine code, and where there is none or the driver refuses it, the text.
    ///
    /// Errors: what the driver says of the text.
    pub fn load<L: Loader>(&self, loader: &mut L) -> Result<(L::Loaded, Report), Diagnostic> {
        let why = match &self.code {
            Code::Cubin(cubin) => match loader.load_cubin(cubin) {
                Ok(loaded) => return Ok((loaded, Report { kind: Kind::Cubin, note: None })),
                Err(error) => Some(with_a_reason(error)),
            },
            Code::Text(why) => why.clone(),
        };
        let loaded = loader.load_text(&self.module.text)?;
        Ok((loaded, Report { kind: Kind::Ptx, note: why.as_ref().map(note) }))
    }
}

/// What a driver says of machine code that it refuses, behind what the usual reason is.
fn with_a_reason(mut error: Diagnostic) -> Diagnostic {
    let usual = "is `ptxas` newer than the driver? Install a newer driver, or let KILN_PTXAS name an older one";
    let help = error.help.take().map_or(usual.to_string(), |said| format!("{usual}\n{said}"));
    error.help(help)
}

/// Why the driver assembles, and what that means.
fn note(why: &Diagnostic) -> String {
    let mut lines = vec![
        format!("note: {}", why.message),
        "  so the driver assembles the kernels: results are the same, but starting and running may take longer".to_string(),
        "  (an empty KILN_PTXAS asks for that, without this note)".to_string(),
    ];
    if let Some(help) = &why.help {
        let said: Vec<&str> = help.lines().collect();
        lines.push(format!("  help: {}", said[..said.len().min(MOST_LINES)].join("\n  ")));
        if said.len() > MOST_LINES {
            lines.push(format!("  and {} more lines", said.len() - MOST_LINES));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::generation::Generation;
    use super::*;
    use std::collections::BTreeMap;

    /// A driver that takes no machine code, or any, and any text but an empty one.
    struct Driver {
        takes_cubins: bool,
    }

    impl Loader for Driver {
        type Loaded = Vec<u8>;

        fn load_cubin(&mut self, cubin: &[u8]) -> Result<Vec<u8>, Diagnostic> {
            if self.takes_cubins { Ok(cubin.to_vec()) } else { Err(Diagnostic::new("cuda", "the driver knows no such code")) }
        }

        fn load_text(&mut self, text: &str) -> Result<Vec<u8>, Diagnostic> {
            if text.is_empty() { Err(Diagnostic::new("cuda", "there is no text")) } else { Ok(text.into()) }
        }
    }

    fn module(text: &str, generation: Generation) -> Module {
        Module { text: text.into(), generation, entries: BTreeMap::new(), shared_bytes: BTreeMap::new() }
    }

    /// What a driver is given of a module on a device of capability 9.0, and what is said of it.
    fn loaded(module: &Module, found: &Found, cubins: &Cubins, takes_cubins: bool) -> Result<(String, Report), Diagnostic> {
        let (loaded, report) = Image::new(module, (9, 0), found, cubins).load(&mut Driver { takes_cubins })?;
        Ok((String::from_utf8(loaded).expect("text"), report))
    }

    #[test]
    fn without_an_assembler_the_text_is_loaded_and_it_is_said_why() {
        let (module, cubins) = (module("text", Generation::HOPPER), Cubins::within(None, 0));
        let (given, report) = loaded(&module, &Found::Nowhere, &cubins, true).expect("loaded");
        assert_eq!((given.as_str(), report.kind), ("text", Kind::Ptx));
        insta::assert_snapshot!(report.note.expect("a note"), @"
        note: there is no `ptxas` here, NVIDIA's assembler: not in KILN_PTXAS, CUDA_HOME, CUDA_PATH and PATH
          so the driver assembles the kernels: results are the same, but starting and running may take longer
          (an empty KILN_PTXAS asks for that, without this note)
          help: install the CUDA toolkit, or the Python package nvidia-cuda-nvcc
        ");
        // Whoever asks for it knows.
        let (given, report) = loaded(&module, &Found::Unwanted, &cubins, true).expect("loaded");
        assert_eq!((given.as_str(), report), ("text", Report { kind: Kind::Ptx, note: None }));
    }

    #[test]
    fn what_neither_form_is_taken_of_is_an_error() {
        let (module, cubins) = (module("", Generation::OLDEST), Cubins::within(None, 0));
        assert_eq!(loaded(&module, &Found::Nowhere, &cubins, false).expect_err("refused").message, "there is no text");
    }

    #[cfg(unix)]
    mod assembled {
        use super::super::super::assemble::tests::{script, starts};
        use super::*;

        const COPY: &str = "{ printf '\\177ELF%s ' \"$arch\"; cat \"$text\"; } > \"$out\"";

        /// The note without the place of the assembler.
        fn note(report: Report, place: &std::path::Path) -> String {
            report.note.expect("a note").replace(&place.display().to_string(), "PLACE")
        }

        #[test]
        fn machine_code_for_the_device_is_loaded_and_kept() {
            let place = tempfile::tempdir().expect("a directory");
            let kept = place.path().join("kept");
            let (found, cubins) = (Found::Assembler(script(place.path(), COPY)), Cubins::within(Some(&kept), 1 << 20));
            for (generation, expected) in [(Generation::OLDEST, "\x7fELFsm_90 text"), (Generation::HOPPER, "\x7fELFsm_90a text")] {
                let module = module("text", generation);
                for _ in 0..2 {
                    let (given, report) = loaded(&module, &found, &cubins, true).expect("loaded");
                    assert_eq!((given.as_str(), report), (expected, Report { kind: Kind::Cubin, note: None }));
                }
            }
            assert_eq!(starts(place.path()), 2);
        }

        #[test]
        fn where_machine_code_is_refused_the_text_is_loaded() {
            let place = tempfile::tempdir().expect("a directory");
            let (found, cubins) = (Found::Assembler(script(place.path(), COPY)), Cubins::within(None, 0));
            let module = module("text", Generation::HOPPER);
            let (given, report) = loaded(&module, &found, &cubins, false).expect("loaded");
            assert_eq!((given.as_str(), report.kind), ("text", Kind::Ptx));
            insta::assert_snapshot!(note(report, place.path()), @"
            note: the driver knows no such code
              so the driver assembles the kernels: results are the same, but starting and running may take longer
              (an empty KILN_PTXAS asks for that, without this note)
              help: is `ptxas` newer than the driver? Install a newer driver, or let KILN_PTXAS name an older one
            ");
        }

        #[test]
        fn where_the_assembler_fails_the_text_is_loaded() {
            let place = tempfile::tempdir().expect("a directory");
            let failing = script(place.path(), "for line in 1 2 3 4 5 6 7 8; do echo \"line $line: no\" >&2; done; exit 255");
            let (module, cubins) = (module("text", Generation::HOPPER), Cubins::within(None, 0));
            let (given, report) = loaded(&module, &Found::Assembler(failing), &cubins, true).expect("loaded");
            assert_eq!((given.as_str(), report.kind), ("text", Kind::Ptx));
            insta::assert_snapshot!(note(report, place.path()), @"
            note: PLACE/ptxas does not take the kernels for sm_90a
              so the driver assembles the kernels: results are the same, but starting and running may take longer
              (an empty KILN_PTXAS asks for that, without this note)
              help: line 1: no
              line 2: no
              line 3: no
              line 4: no
              line 5: no
              line 6: no
              and 2 more lines
            ");
        }

        #[test]
        fn text_for_another_device_is_not_assembled() {
            let place = tempfile::tempdir().expect("a directory");
            let (found, cubins) = (Found::Assembler(script(place.path(), COPY)), Cubins::within(None, 0));
            let module = module("text", "sm_100".parse().expect("known"));
            let (given, report) = loaded(&module, &found, &cubins, true).expect("loaded");
            assert_eq!((given.as_str(), starts(place.path())), ("text", 0));
            insta::assert_snapshot!(note(report, place.path()), @"
            note: kernels for sm_100 have no machine code for sm_90
              so the driver assembles the kernels: results are the same, but starting and running may take longer
              (an empty KILN_PTXAS asks for that, without this note)
            ");
        }
    }
}
