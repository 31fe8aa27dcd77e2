//! As much of the zip format as `.npz` needs: entries stored or deflated, sizes beyond 4 GiB, checksums.
//!
//! Written by hand because it is in every compiled program: the `zip` crate would add 160 kB to each of them.
//! Source: PKWARE, "APPNOTE.TXT — .ZIP File Format Specification", 6.3.10, §4.3 and §4.5.3.

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
const FLAG_ENCRYPTED: u16 = 1;
const FLAG_UTF8: u16 = 1 << 11;
/// 1 January 1980, the first day the format knows: the same content gives the same bytes.
const FIXED_DATE: u16 = 1 << 5 | 1;
/// Deflate cannot shrink data more than this; an entry that claims more is not believed.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// The table of contents of an archive.
pub struct Archive {
    file: File,
    /// Entries in the order of the archive.
    pub entries: Vec<Entry>,
}

/// One file in an archive.
pub struct Entry {
    /// Its path.
    pub name: String,
    flags: u16,
    method: u16,
    crc: u32,
    stored_bytes: u64,
    header_at: u64,
    /// Bytes when unpacked: what the archive says, at most what its stored bytes can unpack to.
    pub bytes: u64,
}

impl Archive {
    /// Reads the table of contents.
    ///
    /// Errors: the system's; `InvalidData` with a text when this is no archive or a damaged one.
    pub fn open(mut file: File) -> io::Result<Archive> {
        let length = file.seek(SeekFrom::End(0))?;
        let tail_at = length.saturating_sub(22 + 65_535);
        let tail = read_at(&mut file, tail_at, (length - tail_at) as usize)?;
        let end = (0..tail.len().saturating_sub(21)).rev().find(|&at| Fields(&tail[at..]).u32(0) == Some(END));
        let end = end.ok_or_else(|| damaged("not a zip archive, or truncated: it has no end record"))?;
        let missing = || damaged("damaged: its end record is cut");

        let record = Fields(&tail[end..]);
        let mut directory_bytes = u64::from(record.u32(12).ok_or_else(missing)?);
        let mut directory_at = u64::from(record.u32(16).ok_or_else(missing)?);
        let locator = end.checked_sub(20).map(|at| Fields(&tail[at..end])).filter(|locator| locator.u32(0) == Some(END_64_LOCATOR));
        if let Some(locator) = locator {
            let record = read_at(&mut file, locator.u64(8).ok_or_else(missing)?, 56)?;
            let record = Fields(&record);
            if record.u32(0) != Some(END_64) {
                return Err(damaged("damaged: no zip64 end record where its locator points"));
            }
            directory_bytes = record.u64(40).ok_or_else(missing)?;
            directory_at = record.u64(48).ok_or_else(missing)?;
        }
        if directory_at.checked_add(directory_bytes).is_none_or(|end| end > length) {
            return Err(damaged("truncated: its table of contents lies beyond its end"));
        }
        let directory = read_at(&mut file, directory_at, directory_bytes as usize)?;
        Ok(Archive { file, entries: parse_directory(&directory)? })
    }

    /// Goes to the first stored byte of an entry. Errors: a text when the entry is encrypted, cut or damaged.
    fn seek_content(&mut self, index: usize) -> Result<u64, String> {
        let entry = &self.entries[index];
        if entry.flags & FLAG_ENCRYPTED != 0 {
            return Err("it is encrypted".to_owned());
        }
        let header = read_at(&mut self.file, entry.header_at, 30).map_err(|_| "truncated: its local header is missing".to_owned())?;
        let header = Fields(&header);
        let (Some(LOCAL), Some(name_bytes), Some(extra_bytes)) = (header.u32(0), header.u16(26), header.u16(28)) else {
            return Err("damaged: no local header where the table of contents points".to_owned());
        };
        let skip = i64::from(name_bytes) + i64::from(extra_bytes);
        self.file.seek(SeekFrom::Current(skip)).map_err(|error| error.to_string())
    }

    /// Where an entry that is not packed lies in the file, and how long it is; `None` if it is packed. [`Archive::stored_content`] then
    /// begins there.
    ///
    /// Errors: as [`Archive::read`].
    pub fn stored(&mut self, index: usize) -> Result<Option<(u64, u64)>, String> {
        let at = self.seek_content(index)?;
        let entry = &self.entries[index];
        let end = self.file.metadata().map_err(|error| error.to_string())?.len();
        if at.checked_add(entry.stored_bytes).is_none_or(|last| last > end) {
            return Err("truncated: it lies beyond the end of the archive".to_owned());
        }
        Ok((entry.method == 0).then_some((at, entry.stored_bytes)))
    }

    /// The archive from where it was left on.
    pub fn stored_content(&self) -> impl Read + '_ {
        &self.file
    }

    /// Lets `consume` read the unpacked content of an entry, then checks that it was read to its end and undamaged.
    ///
    /// Errors: those of `consume`; a text when the entry is encrypted, packed in another way, cut or damaged.
    pub fn read<T>(&mut self, index: usize, consume: impl FnOnce(&mut dyn Read) -> Result<T, String>) -> Result<T, String> {
        self.seek_content(index)?;
        let entry = &self.entries[index];
        let stored = BufReader::with_capacity(1 << 16, (&self.file).take(entry.stored_bytes));
        let mut unpacked: Checked<Box<dyn Read + '_>> = Checked {
            source: match entry.method {
                0 => Box::new(stored),
                8 => Box::new(DeflateDecoder::new(stored)),
                other => return Err(format!("packed with method {other}; stored (0) and deflated (8) are supported")),
            },
            crc: Crc::new(),
        };
        let result = consume(&mut unpacked)?;
        match unpacked.read(&mut [0]) {
            Ok(0) if unpacked.crc.sum() == entry.crc => Ok(result),
            Ok(0) => Err("damaged: its checksum differs".to_owned()),
            Ok(_) => Err("damaged: more data than its header promises".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Sums what passes through.
struct Checked<R> {
    source: R,
    crc: Crc,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.crc.update(&buffer[..n]);
        Ok(n)
    }
}

fn parse_directory(mut directory: &[u8]) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while !directory.is_empty() {
        let (entry, bytes) = parse_entry(directory).ok_or_else(|| damaged("damaged: its table of contents is cut or garbled"))?;
        entries.push(entry);
        directory = &directory[bytes..];
    }
    Ok(entries)
}

/// One record of the table of contents and its length.
fn parse_entry(record: &[u8]) -> Option<(Entry, usize)> {
    let fields = Fields(record);
    if fields.u32(0)? != CENTRAL {
        return None;
    }
    let (name_bytes, extra_bytes, comment_bytes) = (fields.u16(28)?, fields.u16(30)?, fields.u16(32)?);
    let name_end = 46 + usize::from(name_bytes);
    let extra_end = name_end + usize::from(extra_bytes);
    let mut bytes = u64::from(fields.u32(24)?);
    let mut stored_bytes = u64::from(fields.u32(20)?);
    let mut header_at = u64::from(fields.u32(42)?);
    let mut extra = record.get(name_end..extra_end)?;
    while extra.len() >= 4 {
        let (id, length) = (Fields(extra).u16(0)?, usize::from(Fields(extra).u16(2)?));
        let field = extra.get(4..4 + length)?;
        if id == 1 {
            // Zip64: 64-bit values, in this order, of those that do not fit into their 32-bit fields.
            let large = [&mut bytes, &mut stored_bytes, &mut header_at].into_iter().filter(|value| **value == u64::from(u32::MAX));
            for (index, value) in large.enumerate() {
                *value = Fields(field).u64(8 * index)?;
            }
        }
        extra = &extra[4 + length..];
    }
    let method = fields.u16(10)?;
    let believable = if method == 0 { stored_bytes } else { stored_bytes.saturating_mul(MAX_DEFLATE_RATIO) };
    let entry = Entry {
        name: String::from_utf8_lossy(record.get(46..name_end)?).into_owned(),
        flags: fields.u16(8)?,
        method,
        crc: fields.u32(16)?,
        stored_bytes,
        header_at,
        bytes: bytes.min(believable),
    };
    let length = extra_end + usize::from(comment_bytes);
    (length <= record.len()).then_some((entry, length))
}

/// Little-endian numbers at byte offsets.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }
    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }
    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }
    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

fn read_at(file: &mut File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn damaged(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Writes an archive of stored entries, front to back.
pub struct Writer<'a> {
    sink: &'a mut dyn Write,
    at: u64,
    directory: Vec<u8>,
    n_entries: u64,
}

impl<'a> Writer<'a> {
    /// An archive that begins at `sink`'s present end.
    pub fn new(sink: &'a mut dyn Write) -> Writer<'a> {
        Writer { sink, at: 0, directory: Vec::new(), n_entries: 0 }
    }

    /// Adds an entry whose content is these pieces, one after the other.
    pub fn add(&mut self, name: &str, pieces: &[&[u8]]) -> io::Result<()> {
        let name_bytes = u16::try_from(name.len()).map_err(|_| io::Error::other("a name longer than 65535 bytes"))?;
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut crc = Crc::new();
        pieces.iter().for_each(|piece| crc.update(piece));
        // Both headers hold 32-bit sizes; zip64's are used in every entry that needs one.
        let large = bytes >= u64::from(u32::MAX) || self.at >= u64::from(u32::MAX);
        let small = |value: u64| if large { u32::MAX } else { value as u32 };
        let version: u16 = if large { 45 } else { 20 };

        let mut common = Vec::new();
        for field in [version, FLAG_UTF8, 0, 0, FIXED_DATE] {
            common.extend_from_slice(&field.to_le_bytes());
        }
        for field in [crc.sum(), small(bytes), small(bytes)] {
            common.extend_from_slice(&field.to_le_bytes());
        }
        common.extend_from_slice(&name_bytes.to_le_bytes());
        let sizes = [bytes.to_le_bytes(), bytes.to_le_bytes()].concat();
        let extra = |values: &[u8]| match large {
            true => [&1u16.to_le_bytes(), &(values.len() as u16).to_le_bytes(), values].concat(),
            false => Vec::new(),
        };

        let local_extra = extra(&sizes);
        let mut local = [&LOCAL.to_le_bytes(), common.as_slice(), &(local_extra.len() as u16).to_le_bytes(), name.as_bytes()].concat();
        local.extend_from_slice(&local_extra);

        let central_extra = extra(&[sizes.as_slice(), &self.at.to_le_bytes()].concat());
        let made_by = version.to_le_bytes();
        self.directory.extend_from_slice(&[&CENTRAL.to_le_bytes(), made_by.as_slice(), &common].concat());
        self.directory.extend_from_slice(&(central_extra.len() as u16).to_le_bytes());
        self.directory.extend_from_slice(&[0; 10]); // comment, disk, attributes
        self.directory.extend_from_slice(&small(self.at).to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        self.directory.extend_from_slice(&central_extra);

        self.sink.write_all(&local)?;
        for piece in pieces {
            self.sink.write_all(piece)?;
        }
        self.at += local.len() as u64 + bytes;
        self.n_entries += 1;
        Ok(())
    }

    /// Writes the table of contents.
    pub fn finish(self) -> io::Result<()> {
        self.sink.write_all(&self.directory)?;
        let directory_bytes = self.directory.len() as u64;
        let large = self.at >= u64::from(u32::MAX) || directory_bytes >= u64::from(u32::MAX) || self.n_entries >= u64::from(u16::MAX);
        if large {
            let mut end = Vec::new();
            end.extend_from_slice(&END_64.to_le_bytes());
            end.extend_from_slice(&44u64.to_le_bytes());
            end.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for field in [self.n_entries, self.n_entries, directory_bytes, self.at] {
                end.extend_from_slice(&field.to_le_bytes());
            }
            end.extend_from_slice(&END_64_LOCATOR.to_le_bytes());
            end.extend_from_slice(&0u32.to_le_bytes());
            end.extend_from_slice(&(self.at + directory_bytes).to_le_bytes());
            end.extend_from_slice(&1u32.to_le_bytes());
            self.sink.write_all(&end)?;
        }
        let entries = if large { u16::MAX } else { self.n_entries as u16 };
        let small = |value: u64| if large { u32::MAX } else { value as u32 };
        let mut end = [END.to_le_bytes(), [0; 4]].concat();
        end.extend_from_slice(&[entries.to_le_bytes(), entries.to_le_bytes()].concat());
        end.extend_from_slice(&[small(directory_bytes).to_le_bytes(), small(self.at).to_le_bytes()].concat());
        end.extend_from_slice(&[0; 2]);
        self.sink.write_all(&end)
    }
}
