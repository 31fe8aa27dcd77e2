//! Static libraries: one object in an archive with a symbol index.

use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use std::fs::File;
use std::io::{self, Seek, Write};

/// Writes an archive that holds this object. The object is mapped, not read.
pub fn write_archive<W: Write + Seek>(out: &mut W, object: &File, member_name: &str) -> io::Result<()> {
    // SAFETY: the file is a temporary one of our own that nobody else writes to.
    let bytes = unsafe { memmap2::Mmap::map(object)? };
    let mut member = NewArchiveMember::new(bytes, &DEFAULT_OBJECT_READER, member_name.to_string());
    // The same bytes each time: no owner, no date.
    (member.mtime, member.uid, member.gid, member.perms) = (0, 0, 0, 0o644);
    write_archive_to_stream(out, &[member], ArchiveKind::Gnu, false, None)
}
