//! Where a model's weights are, and that they are the ones it was compiled with.
//!
//! Loading checks their size only, as reading hundreds of megabytes would cost more than the answer;
//! [`Weights::verify`] compares the digest.

use crate::files::file_error;
use crate::memory::{AlignedBytes, HUGE_PAGE_BYTES};
use kiln_ir::Diagnostic;
use kiln_ir::artifact::{ALIGNMENT, FOOTER_BYTES, ModelDescriptor, WeightsDecl, WeightsFooter, WeightsLocation};
use memmap2::{Mmap, MmapOptions};
use sha2::{Digest, Sha256};
use std::ffi::c_void;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{env, ptr, slice};

/// Weights of a file up to this size are read into memory of huge pages: what caches may hold from one call to the next. The
/// small pages of a mapped file lie scattered and drive each other out of a second-level cache that would hold them all.
const LARGEST_READ: u64 = 32 << 20;

/// Embedded weights of these sizes are copied for the same reason: smaller ones get no huge pages, and larger ones would take
/// twice the memory.
const COPIED: RangeInclusive<u64> = HUGE_PAGE_BYTES as u64..=8 << 20;

/// Weights, ready for use.
pub enum Weights {
    /// In the object itself, which knows where.
    Embedded,
    /// A file, or the tail of the executable, mapped read-only. Nothing is read before generated code touches it.
    Mapped(Mmap),
    /// A copy, on huge pages, of what is small enough.
    Copied(AlignedBytes),
}

impl Weights {
    /// Finds the weights where the signature says, or in `given` instead.
    ///
    /// Errors: `file`; `weights` when they are missing, or of another size than the model's.
    pub fn find(descriptor: &ModelDescriptor, declared: &WeightsDecl, given: Option<&Path>) -> Result<Weights, Diagnostic> {
        if let Some(path) = given {
            return open_file(path, declared);
        }
        match &declared.location {
            WeightsLocation::Tail | WeightsLocation::External(_) => Weights::outside(declared, "--weights FILE"),
            _ if declared.bytes == 0 => Ok(Weights::Embedded),
            WeightsLocation::Embedded if descriptor.weights.is_null() => {
                Err(Diagnostic::new("weights", "the artefact should embed its weights, but holds none").help("compile the model again"))
            }
            WeightsLocation::Embedded if COPIED.contains(&descriptor.weights_bytes) => {
                Ok(copy(embedded(descriptor)).map_or(Weights::Embedded, Weights::Copied))
            }
            WeightsLocation::Embedded => Ok(Weights::Embedded),
        }
    }

    /// Those that are behind the executable in its file, or in a file beside it; `option` is how else to say where.
    ///
    /// Errors: as [`Weights::find`].
    pub fn outside(declared: &WeightsDecl, option: &str) -> Result<Weights, Diagnostic> {
        match &declared.location {
            WeightsLocation::Embedded => Ok(Weights::Embedded),
            _ if declared.bytes == 0 => Ok(Weights::Embedded),
            WeightsLocation::Tail => open_tail(&own_executable(), declared),
            WeightsLocation::External(name) => {
                let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(|directory| directory.join(name)));
                let path = beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name));
                open_file(&path, declared)
                    .map_err(|error| error.help(format!("keep {name} beside the executable, or say where it is with {option}")))
            }
        }
    }

    /// The bytes of what is used elsewhere than in the object itself; none where it is there.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Weights::Embedded => &[],
            Weights::Mapped(map) => map,
            Weights::Copied(bytes) => bytes.as_slice(),
        }
    }

    /// What `Call::weights` wants: null for embedded weights.
    pub fn as_ptr(&self) -> *const c_void {
        match self {
            Weights::Embedded => ptr::null(),
            Weights::Mapped(_) | Weights::Copied(_) => self.bytes().as_ptr().cast(),
        }
    }

    /// Reads all weights and compares their digest with the signature's.
    ///
    /// Errors: `weights` when it differs.
    pub fn verify(&self, descriptor: &ModelDescriptor, declared: &WeightsDecl) -> Result<(), Diagnostic> {
        let bytes: &[u8] = match self {
            Weights::Embedded => embedded(descriptor),
            Weights::Mapped(_) | Weights::Copied(_) => self.bytes(),
        };
        let digest = hexadecimal(&Sha256::digest(bytes));
        if digest == declared.sha256.to_ascii_lowercase() {
            return Ok(());
        }
        let message = format!("the weights have SHA-256 {digest}, the model was compiled with {}", declared.sha256);
        Err(Diagnostic::new("weights", message).help("the file was damaged or belongs to another model; copy or compile it again"))
    }
}

/// The weights that an object holds.
fn embedded(descriptor: &ModelDescriptor) -> &[u8] {
    if descriptor.weights.is_null() {
        return &[];
    }
    // SAFETY: the descriptor's constant data, which lives as long as the program.
    unsafe { slice::from_raw_parts(descriptor.weights, descriptor.weights_bytes as usize) }
}

fn copy(bytes: &[u8]) -> Option<AlignedBytes> {
    let mut copy = AlignedBytes::zeroed(bytes.len())?;
    copy.as_mut_slice().copy_from_slice(bytes);
    Some(copy)
}

fn open_file(path: &Path, declared: &WeightsDecl) -> Result<Weights, Diagnostic> {
    let mut file = File::open(path).map_err(|error| file_error("read", path, &error))?;
    let length = file.metadata().map_err(|error| file_error("read", path, &error))?.len();
    if length != declared.bytes {
        let message = format!("{} has {length} bytes, the model's weights have {}", path.display(), declared.bytes);
        return Err(Diagnostic::new("weights", message));
    }
    if length == 0 {
        return Ok(Weights::Embedded);
    }
    load(&mut file, 0, length).map_err(|error| file_error("read", path, &error))
}

fn open_tail(path: &Path, declared: &WeightsDecl) -> Result<Weights, Diagnostic> {
    let failed = |error: io::Error| file_error("read weights from", path, &error);
    let cut = |what: &str| {
        let message = format!("{}: {what}", path.display());
        Diagnostic::new("weights", message).help("the file was cut or stripped after it was compiled; copy or compile it again")
    };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut footer = [0; FOOTER_BYTES];
    let at = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| cut("no weights at its end"))?;
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut footer)).map_err(failed)?;
    let footer = WeightsFooter::decode(&footer).ok_or_else(|| cut("no weights at its end"))?;
    if footer.bytes != declared.bytes || hexadecimal(&footer.sha256) != declared.sha256.to_ascii_lowercase() {
        return Err(cut("the weights at its end belong to another model"));
    }
    if footer.offset.checked_add(footer.bytes).is_none_or(|end| end > at) || !footer.offset.is_multiple_of(ALIGNMENT as u64) {
        return Err(cut("the weights at its end are cut"));
    }
    load(&mut file, footer.offset, footer.bytes).map_err(failed)
}

/// Part of `file`, read where it is small and there is room for it, mapped otherwise.
fn load(file: &mut File, offset: u64, bytes: u64) -> io::Result<Weights> {
    let len = usize::try_from(bytes).map_err(|_| io::Error::other("too large for this machine"))?;
    if bytes <= LARGEST_READ
        && let Some(mut read) = AlignedBytes::zeroed(len)
    {
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(read.as_mut_slice())?;
        return Ok(Weights::Copied(read));
    }
    // SAFETY: the map is only read, by generated code that takes any bytes for weights. Whoever changes the file while
    // the program runs gets other answers, or the signal that every mapped program gets.
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(&*file)? };
    Ok(Weights::Mapped(map))
}

/// The file this program was started from, also when it has been renamed since.
fn own_executable() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    if link.exists() { link.to_owned() } else { env::current_exe().unwrap_or_else(|_| link.to_owned()) }
}

/// Two lower-case digits for each byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_model::descriptor;
    use crate::files::tests::Scratch;
    use std::fs;

    fn declared(content: &[u8], location: WeightsLocation) -> WeightsDecl {
        WeightsDecl { bytes: content.len() as u64, sha256: hexadecimal(&Sha256::digest(content)), location }
    }

    #[test]
    fn a_given_file_is_checked_for_size_and_verified() {
        let scratch = Scratch::new("weights-file");
        let path = scratch.file("m.weights");
        fs::write(&path, b"12345678").expect("writes");
        let model = descriptor();
        let right = declared(b"12345678", WeightsLocation::External("m.weights".into()));
        let weights = Weights::find(&model, &right, Some(&path)).expect("opens");
        assert_eq!(weights.bytes(), b"12345678");
        weights.verify(&model, &right).expect("the same digest");
        let other = declared(b"87654321", right.location.clone());
        assert!(weights.verify(&model, &other).is_err());
        let longer = declared(b"123456789", right.location);
        let error = Weights::find(&model, &longer, Some(&path)).err().expect("another size");
        assert_eq!(error.message, format!("{} has 8 bytes, the model's weights have 9", path.display()));
    }

    #[test]
    fn a_tail_is_found_by_its_footer_and_cut_files_are_refused() {
        let scratch = Scratch::new("weights-tail");
        let path = scratch.file("program");
        let content = [7; 100];
        let declared = declared(&content, WeightsLocation::Tail);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&Sha256::digest(content));
        let footer = WeightsFooter { offset: 4096, bytes: 100, sha256 }.encode();
        let mut file = vec![0; 4096];
        file.extend_from_slice(&content);
        file.extend_from_slice(&footer);
        fs::write(&path, &file).expect("writes");
        let weights = open_tail(&path, &declared).expect("opens");
        assert_eq!((weights.bytes(), weights.as_ptr() as usize % ALIGNMENT), (content.as_slice(), 0));
        for length in [0, 10, 4096, file.len() - 1] {
            fs::write(&path, &file[..length]).expect("writes");
            assert!(open_tail(&path, &declared).is_err(), "cut at {length}");
        }
        fs::write(&path, [&file[..4096], &footer].concat()).expect("writes");
        assert!(open_tail(&path, &declared).err().expect("cut").message.ends_with("the weights at its end are cut"));
    }

    #[test]
    fn small_files_are_read_and_large_ones_mapped() {
        let scratch = Scratch::new("weights-sizes");
        let path = scratch.file("m.weights");
        for (length, is_read) in [(1, true), (5 << 20, true), (LARGEST_READ as usize, true), (LARGEST_READ as usize + 1, false)] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            fs::write(&path, &content).expect("writes");
            let right = declared(&content, WeightsLocation::External("m.weights".into()));
            let weights = Weights::find(&descriptor(), &right, Some(&path)).expect("opens");
            assert_eq!((weights.bytes() == content, matches!(weights, Weights::Copied(_))), (true, is_read), "{length} bytes");
            assert_eq!(weights.as_ptr() as usize % ALIGNMENT, 0);
            weights.verify(&descriptor(), &right).expect("the same digest");
        }
    }

    #[test]
    fn embedded_weights_are_copied_where_that_gives_huge_pages_for_little_memory() {
        for (length, is_copied) in [(0, false), (100, false), (2 << 20, true), (5 << 20, true), (8 << 20, true), ((8 << 20) + 1, false)] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let model = ModelDescriptor { weights: content.as_ptr(), weights_bytes: content.len() as u64, ..descriptor() };
            let right = declared(&content, WeightsLocation::Embedded);
            let weights = Weights::find(&model, &right, None).expect("they are there");
            assert_eq!(weights.as_ptr().is_null(), !is_copied, "{length} bytes");
            assert_eq!(weights.bytes(), if is_copied { content.as_slice() } else { &[] });
            weights.verify(&model, &right).expect("the same digest");
        }
    }

    #[test]
    fn a_missing_external_file_says_what_to_do() {
        let declared = declared(b"1", WeightsLocation::External("no-such.weights".into()));
        let error = Weights::find(&descriptor(), &declared, None).err().expect("missing");
        assert_eq!(error.message, "cannot read no-such.weights: No such file or directory");
        assert!(error.help.is_some_and(|help| help.contains("--weights FILE")));
    }
}
