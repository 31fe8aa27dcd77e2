//! Files of goldens: three lines of text, then the results, deflated; of a kernel that hardware stops, what the driver calls the error.
//!
//! The bytes are laid out by their place in 32-bit words first (all lowest bytes, then the next), which makes floats smaller.

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::io::{Error, ErrorKind, Read, Write};

/// The first line, where there are results and where there are none.
const MAGIC: &str = "kiln golden 1";
const MAGIC_STOPPED: &str = "kiln golden 1: stopped";

/// What hardware gave.
pub struct Golden {
    /// The GPU.
    pub gpu: String,
    /// The version of CUDA that the driver is of.
    pub driver: String,
    pub outcome: Outcome,
}

/// How a kernel ended.
pub enum Outcome {
    Results(Vec<u8>),
    /// The driver's name of the error.
    Stopped(String),
}

impl Golden {
    pub fn write(&self) -> std::io::Result<Vec<u8>> {
        let results = match &self.outcome {
            Outcome::Results(results) => results,
            Outcome::Stopped(error) => return Ok(format!("{MAGIC_STOPPED}\n{}\n{}\n{error}\n", self.gpu, self.driver).into_bytes()),
        };
        let head = format!("{MAGIC}\n{}\n{}\n", self.gpu, self.driver);
        let mut encoder = ZlibEncoder::new(head.into_bytes(), Compression::best());
        let planes = (0..4).flat_map(|p| results.iter().skip(p).step_by(4).copied());
        encoder.write_all(&planes.collect::<Vec<u8>>())?;
        encoder.finish()
    }

    pub fn read(file: &[u8]) -> std::io::Result<Golden> {
        let bad = |what: &str| Error::new(ErrorKind::InvalidData, what.to_string());
        let mut parts = file.splitn(4, |b| *b == b'\n');
        let mut line = || parts.next().and_then(|l| std::str::from_utf8(l).ok()).map(str::to_string).ok_or_else(|| bad("no head"));
        let first = line()?;
        let (gpu, driver) = (line()?, line()?);
        match first.as_str() {
            MAGIC => {}
            MAGIC_STOPPED => return Ok(Golden { gpu, driver, outcome: Outcome::Stopped(line()?.trim().to_string()) }),
            _ => return Err(bad("not a golden of this version")),
        }
        let mut planes = Vec::new();
        ZlibDecoder::new(parts.next().unwrap_or(&[])).read_to_end(&mut planes)?;
        let mut results = vec![0; planes.len()];
        let mut from = planes.into_iter();
        for p in 0..4 {
            for to in results.iter_mut().skip(p).step_by(4) {
                *to = from.next().ok_or_else(|| bad("bytes are missing"))?;
            }
        }
        Ok(Golden { gpu, driver, outcome: Outcome::Results(results) })
    }
}
