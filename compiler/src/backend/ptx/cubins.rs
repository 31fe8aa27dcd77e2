//! Cubins that were made before: assembling takes a while, and the same text gives the same code.

use super::assemble::Assembler;
use crate::caches;
use kiln_ir::Diagnostic;
use kiln_runtime::weights::hexadecimal;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of all cubins that are kept. That of a small network has a tenth of a megabyte.
const MOST_BYTES: u64 = 512 << 20;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Where cubins are kept, the longest unused of which go when they are too large together.
///
/// A file is a cubin with a digest behind it, named after all that it was made of and by; it is used only where the digest says that it is
/// whole.
#[derive(Clone, Debug)]
pub struct Cubins {
    directory: Option<PathBuf>,
    most_bytes: u64,
}

impl Cubins {
    /// Those of this user; none are kept where there is no directory of caches, or where it cannot be written to.
    pub fn of_user() -> Cubins {
        Cubins { directory: caches::directory().map(|caches| caches.join("cubins")), most_bytes: MOST_BYTES }
    }

    /// The cubin of a text for an architecture, as it was kept, else from the assembler.
    ///
    /// Errors: as [`Assembler::cubin`].
    pub fn cubin(&self, assembler: &Assembler, text: &str, architecture: &str) -> Result<Vec<u8>, Diagnostic> {
        let Some(directory) = &self.directory else { return assembler.cubin(text, architecture) };
        let key = digest(&[text.as_bytes(), architecture.as_bytes(), assembler.identity().as_bytes()]);
        let path = directory.join(format!("{}.cubin", hexadecimal(&key)));
        if let Some(kept) = read(&path, &key) {
            return Ok(kept);
        }
        let made = assembler.cubin(text, architecture)?;
        let file = [made.as_slice(), &digest(&[&key, &made])].concat();
        // What is not kept is made again.
        if caches::keep(&path, &file).is_ok() {
            let _ = caches::bound(directory, self.most_bytes);
        }
        Ok(made)
    }
}

/// The digest of several pieces, in which it matters where one ends.
fn digest(pieces: &[&[u8]]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update((piece.len() as u64).to_le_bytes());
        hash.update(piece);
    }
    hash.finalize().into()
}

/// A cubin that was kept whole under that key.
fn read(path: &Path, key: &[u8; DIGEST]) -> Option<Vec<u8>> {
    let mut content = fs::read(path).ok()?;
    let length = content.len().checked_sub(DIGEST)?;
    if content[length..] != digest(&[key, &content[..length]]) {
        return None;
    }
    content.truncate(length);
    // So that those stay that are used.
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    Some(content)
}

#[cfg(test)]
impl Cubins {
    /// Those in a directory, with so many bytes at most.
    pub(super) fn within(directory: Option<&Path>, most_bytes: u64) -> Cubins {
        Cubins { directory: directory.map(Path::to_path_buf), most_bytes }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::assemble::tests::{script, starts};
    use super::*;

    /// A cubin of text and architecture.
    const COPY: &str = "{ printf '\\177ELF%s ' \"$arch\"; cat \"$text\"; } > \"$out\"";

    fn files(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("there").path()).collect()
    }

    #[test]
    fn what_was_assembled_before_is_not_assembled_again() {
        let place = tempfile::tempdir().expect("a directory");
        let kept = place.path().join("kept");
        let (assembler, cubins) = (script(place.path(), COPY), Cubins::within(Some(&kept), MOST_BYTES));
        for (text, architecture, all) in [("a", "sm_80", 1), ("a", "sm_80", 1), ("a", "sm_90", 2), ("b", "sm_80", 3), ("a", "sm_90", 3)] {
            let made = cubins.cubin(&assembler, text, architecture).expect("made");
            assert_eq!(made, format!("\x7fELF{architecture} {text}").into_bytes());
            assert_eq!(starts(place.path()), all);
        }
        let another = script(place.path(), &format!("{COPY}\n# another"));
        cubins.cubin(&another, "a", "sm_80").expect("made");
        assert_eq!((starts(place.path()), files(&kept).len()), (4, 4));
        // Refusals are not kept.
        let refusing = script(place.path(), "exit 1");
        cubins.cubin(&refusing, "c", "sm_80").expect_err("refused");
        cubins.cubin(&refusing, "c", "sm_80").expect_err("refused");
        assert_eq!((starts(place.path()), files(&kept).len()), (6, 4));
    }

    #[test]
    fn what_is_not_whole_is_made_again() {
        let place = tempfile::tempdir().expect("a directory");
        let kept = place.path().join("kept");
        let (assembler, cubins) = (script(place.path(), COPY), Cubins::within(Some(&kept), MOST_BYTES));
        let made = cubins.cubin(&assembler, "text", "sm_80").expect("made");
        let [path] = &files(&kept)[..] else { panic!("one file") };
        let whole = fs::read(path).expect("readable");
        let changed = |at: usize| {
            let mut content = whole.clone();
            content[at] ^= 1;
            content
        };
        let spoilt = [Vec::new(), vec![0; DIGEST], whole[..whole.len() - 1].to_vec(), changed(5), changed(whole.len() - 1)];
        for (count, content) in spoilt.iter().enumerate() {
            fs::write(path, content).expect("writes");
            assert_eq!(cubins.cubin(&assembler, "text", "sm_80").expect("made"), made);
            assert_eq!(starts(place.path()), count + 2);
            assert_eq!(fs::read(path).expect("readable"), whole);
        }
        // Whole, but of something else.
        let other = cubins.cubin(&assembler, "other", "sm_80").expect("made");
        let other_path = files(&kept).into_iter().find(|file| file != path).expect("a second file");
        fs::copy(path, other_path).expect("copies");
        assert_eq!(cubins.cubin(&assembler, "other", "sm_80").expect("made"), other);
    }

    #[test]
    fn cubins_are_made_where_none_can_be_kept() {
        let place = tempfile::tempdir().expect("a directory");
        let assembler = script(place.path(), COPY);
        // A file stands where the directory would be.
        let file = place.path().join("file");
        fs::write(&file, "").expect("writes");
        for directory in [None, Some(file.as_path())] {
            assert_eq!(Cubins::within(directory, MOST_BYTES).cubin(&assembler, "t", "sm_80").expect("made"), b"\x7fELFsm_80 t");
        }
    }

    #[test]
    fn the_longest_unused_go_when_all_are_too_large() {
        let place = tempfile::tempdir().expect("a directory");
        let kept = place.path().join("kept");
        let each = b"\x7fELFsm_80 a".len() + DIGEST;
        let (assembler, cubins) = (script(place.path(), COPY), Cubins::within(Some(&kept), 2 * each as u64));
        let old = |seconds: u64| {
            let written = SystemTime::now() - std::time::Duration::from_secs(seconds);
            for path in files(&kept) {
                File::options().write(true).open(path).and_then(|file| file.set_modified(written)).expect("older");
            }
        };
        cubins.cubin(&assembler, "a", "sm_80").expect("made");
        old(30);
        cubins.cubin(&assembler, "b", "sm_80").expect("made");
        old(20);
        // `a` is used once more, so that `b` goes when there is a third one.
        cubins.cubin(&assembler, "a", "sm_80").expect("kept");
        cubins.cubin(&assembler, "c", "sm_80").expect("made");
        assert_eq!((starts(place.path()), files(&kept).len()), (3, 2));
        cubins.cubin(&assembler, "a", "sm_80").expect("kept");
        assert_eq!(starts(place.path()), 3);
        cubins.cubin(&assembler, "b", "sm_80").expect("made");
        assert_eq!(starts(place.path()), 4);
    }
}
