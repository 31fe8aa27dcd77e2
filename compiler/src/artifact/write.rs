//! Writes a compiled model: which parts go where for each kind of artefact.

use super::archive::write_archive;
use super::describe::{ModelFacts, describe};
use super::header::c_header;
use super::link::{link_executable, link_shared};
use super::output::{directory_beside, file_error, is_stream, rename_into_place, write_file};
use crate::backend::cpu::object::{Main, ObjectParts, exported_symbols, model_object};
use crate::backend::cpu::target::CpuTarget;
use crate::schedule::plan::ProgramPlan;
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{Signature, WeightsDecl, WeightsFooter, WeightsLocation};
use kiln_runtime::weights::hexadecimal;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Weights up to this size are a section of an executable; larger ones follow it in the file, past the linker.
const LARGEST_SECTION_BYTES: u64 = 8 << 20;

/// Code reaches data relative to itself: larger weights must be a file of their own.
const LARGEST_EMBEDDED_BYTES: u64 = 3 << 29;

/// Weights in an executable's file start at a multiple of this, so that they can be mapped on any machine.
const TAIL_ALIGNMENT: u64 = 1 << 16;

/// Kinds of artefacts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArtifactKind {
    /// A program of its own.
    Executable,
    /// An object file and a header.
    Object,
    /// A static library and a header.
    StaticLibrary,
    /// A shared library and a header.
    SharedLibrary,
}

/// Where weights go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WeightsChoice {
    /// Into the artefact.
    #[default]
    Embed,
    /// Into a file beside it.
    External,
}

/// A model ready to be written.
pub struct ArtifactParts<'a> {
    /// Its code to be.
    pub plan: &'a ProgramPlan,
    /// The CPU it is for.
    pub target: &'a CpuTarget,
    /// What its signature says besides.
    pub facts: &'a ModelFacts,
    /// The weights image.
    pub weights: &'a [u8],
}

/// Files that were written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The artefact.
    pub artifact: PathBuf,
    /// The header, for what C programs use.
    pub header: Option<PathBuf>,
    /// The weights, when they are a file of their own.
    pub weights: Option<PathBuf>,
}

/// Writes an artefact and what belongs to it, each file all or nothing.
///
/// Errors: `file`, `linker`, `weights_too_large`.
pub fn write_artifact(parts: &ArtifactParts, kind: ArtifactKind, choice: WeightsChoice, out: &Path) -> Result<Written, Diagnostic> {
    let bytes = parts.weights.len() as u64;
    let location = match (choice, kind) {
        (WeightsChoice::External, _) if bytes > 0 => WeightsLocation::External(format!("{}.weights", parts.facts.name)),
        (WeightsChoice::Embed, ArtifactKind::Executable) if bytes > LARGEST_SECTION_BYTES => WeightsLocation::Tail,
        (WeightsChoice::Embed, _) if bytes > LARGEST_EMBEDDED_BYTES => {
            let message = format!("{bytes} bytes of weights are too many to lie beside code");
            return Err(Diagnostic::new("weights_too_large", message).help("write `--weights external`"));
        }
        (WeightsChoice::Embed | WeightsChoice::External, _) => WeightsLocation::Embedded,
    };
    let digest: [u8; 32] = Sha256::digest(parts.weights).into();
    let decl = WeightsDecl { bytes, sha256: hexadecimal(&digest), location };
    let signature = describe(&parts.plan.program, parts.facts, parts.target.features(), decl);
    let embedded = (signature.weights.location == WeightsLocation::Embedded).then_some(parts.weights);
    let mut written = Written { artifact: out.to_path_buf(), header: None, weights: None };
    if let WeightsLocation::External(name) = &signature.weights.location {
        if is_stream(out) {
            let error = Diagnostic::new("file", format!("no file of weights can lie beside {}, which is no file itself", out.display()));
            return Err(error.help("embed the weights, or name a file"));
        }
        let path = out.with_file_name(name);
        write_file(&path, |file| file.write_all(parts.weights))?;
        written.weights = Some(path);
    }

    let main = if kind == ArtifactKind::Executable { Main::Predict } else { Main::None };
    let object = model_object(parts.plan, parts.target, &ObjectParts { signature: &signature, weights: embedded, main });
    let write_object = |file: &mut dyn Write| object.write_stream(file).map_err(io_error);
    match kind {
        ArtifactKind::Executable => link_executable(out, &[&write_object], |file| match signature.weights.location {
            WeightsLocation::Tail => append(file, bytes, digest, |file| file.write_all(parts.weights)),
            WeightsLocation::Embedded | WeightsLocation::External(_) => Ok(()),
        })?,
        ArtifactKind::Object => write_file(out, write_object)?,
        ArtifactKind::StaticLibrary => write_library(out, &format!("{}.o", signature.name), write_object)?,
        ArtifactKind::SharedLibrary => link_shared(out, &write_object, &exported_symbols(&signature.name))?,
    }
    if kind != ArtifactKind::Executable && !is_stream(out) {
        written.header = Some(write_header(out, &signature)?);
    }
    Ok(written)
}

/// A trainer ready to be written.
pub struct TrainerParts<'a> {
    /// One step.
    pub step: ArtifactParts<'a>,
    /// One evaluation.
    pub evaluation: ArtifactParts<'a>,
    /// Where numbers stop being finite.
    pub trace: ArtifactParts<'a>,
    /// How they are driven, as JSON.
    pub recipe: &'a str,
    /// What follows the program in its file: see [`start_of`].
    pub tail: Option<&'a Path>,
}

/// Where a trainer at `out` will have the parameters of this file, which it begins with. External ones are put there.
///
/// Errors: `file`.
pub fn start_of(file: &Path, name: &str, choice: WeightsChoice, out: &Path) -> Result<WeightsDecl, Diagnostic> {
    let failed = |error: io::Error| file_error("read", file, &error);
    let mut digest = Sha256::new();
    let bytes = File::open(file).and_then(|mut file| io::copy(&mut file, &mut Hashing(&mut digest))).map_err(failed)?;
    let location = match choice {
        WeightsChoice::Embed => WeightsLocation::Tail,
        WeightsChoice::External => {
            let beside = format!("{name}.start.safetensors");
            write_file(&out.with_file_name(&beside), |sink| io::copy(&mut File::open(file)?, sink).map(drop))?;
            WeightsLocation::External(beside)
        }
    };
    Ok(WeightsDecl { bytes, sha256: hexadecimal(&digest.finalize()), location })
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a program that trains.
///
/// Errors: `file`, `linker`.
pub fn write_trainer(trainer: &TrainerParts, out: &Path) -> Result<(), Diagnostic> {
    let object = |parts: &ArtifactParts, signature: &Signature, main: Main| {
        let embedded = ObjectParts { signature, weights: Some(parts.weights), main };
        let object = model_object(parts.plan, parts.target, &embedded);
        object.write().map_err(|error| file_error("write", out, &io::Error::other(error.to_string())))
    };
    let described = |parts: &ArtifactParts| {
        let sha256 = hexadecimal(&Sha256::digest(parts.weights));
        let decl = WeightsDecl { bytes: parts.weights.len() as u64, sha256, location: WeightsLocation::Embedded };
        describe(&parts.plan.program, parts.facts, parts.target.features(), decl)
    };
    let TrainerParts { step, evaluation, trace, recipe, tail } = trainer;
    let [of_step, of_evaluation, of_trace] = [step, evaluation, trace].map(described);
    let main = Main::Train { step: &of_step.name, trace: &of_trace.name, recipe };
    let objects = [object(step, &of_step, Main::None)?, object(evaluation, &of_evaluation, main)?, object(trace, &of_trace, Main::None)?];
    let [first, second, third] = objects.each_ref().map(|bytes| move |file: &mut dyn Write| file.write_all(bytes));
    link_executable(out, &[&first, &second, &third], |program| {
        let Some(tail) = tail else { return Ok(()) };
        let mut digest = Sha256::new();
        let bytes = io::copy(&mut File::open(tail)?, &mut Hashing(&mut digest))?;
        append(program, bytes, digest.finalize().into(), |program| io::copy(&mut File::open(tail)?, program).map(drop))
    })
}

/// The header lies beside the artefact, under the model's name: programs include what they call.
fn write_header(out: &Path, signature: &Signature) -> Result<PathBuf, Diagnostic> {
    let path = out.with_file_name(format!("{}.h", signature.name));
    write_file(&path, |file| file.write_all(c_header(signature).as_bytes()))?;
    Ok(path)
}

fn write_library(out: &Path, member: &str, write_object: impl Fn(&mut dyn Write) -> io::Result<()>) -> Result<(), Diagnostic> {
    let directory = directory_beside(out)?;
    let library = directory.path().join("library");
    let write = || {
        let mut object = BufWriter::new(tempfile::tempfile_in(directory.path())?);
        write_object(&mut object)?;
        let object = object.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut archive = BufWriter::new(File::create(&library)?);
        write_archive(&mut archive, &object, member)?;
        archive.flush()
    };
    write().map_err(|error: io::Error| file_error("write", out, &error))?;
    rename_into_place(&library, out)
}

/// Puts so many bytes of weights, which `content` writes, and their footer behind a program.
fn append(file: &mut File, bytes: u64, sha256: [u8; 32], content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let offset = end.next_multiple_of(TAIL_ALIGNMENT);
    file.write_all(&vec![0; (offset - end) as usize])?;
    content(file)?;
    file.write_all(&WeightsFooter { offset, bytes, sha256 }.encode())
}

fn io_error(error: Box<dyn std::error::Error>) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(error) => io::Error::other(error.to_string()),
    }
}
